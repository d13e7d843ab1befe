"""Pictures of a network and its training. Each function gives a matplotlib Figure; `save` writes it.

They need no screen, touch no global state of matplotlib, and change nothing of the model. `pip install
'scratchnet[plots]'` brings what they need, which is imported when the first picture is made.
"""

from scratchnet.plots.confusion import confusion_matrix
from scratchnet.plots.curves import curves
from scratchnet.plots.features import feature_maps
from scratchnet.plots.figure import save
from scratchnet.plots.filters import filters
from scratchnet.plots.gradients import gradient_norms
from scratchnet.plots.images import image_grid, mistakes, predictions
from scratchnet.plots.inspection import features_and_gradients, input_of_last_linear, spatial_layers
from scratchnet.plots.saliency import saliency
from scratchnet.plots.tsne import animate, embed, scatter

__all__ = [
    "animate",
    "confusion_matrix",
    "curves",
    "embed",
    "feature_maps",
    "features_and_gradients",
    "filters",
    "gradient_norms",
    "image_grid",
    "input_of_last_linear",
    "mistakes",
    "predictions",
    "saliency",
    "save",
    "scatter",
    "spatial_layers",
]
