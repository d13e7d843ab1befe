"""scratchnet: deep learning with every backward pass written by hand.

The mathematics is in `scratchnet.ops`, one concept a file; start with `scratchnet/ops/conv.py`. Above it,
`scratchnet.functional` checks arguments and picks an implementation, `scratchnet.nn` holds parameters,
`scratchnet.optim` moves them. `python -m scratchnet` lists the commands.
"""

from scratchnet import backend, functional, nn, optim, weights
from scratchnet.backend import override, use
from scratchnet.interchange import asarray
from scratchnet.nn.fuse import fuse
from scratchnet.nn.grad_mode import no_grad
from scratchnet.threads import get_num_threads, set_num_threads
from scratchnet.training import Trainer

__version__ = "0.1.0"

__all__ = [
    "Trainer",
    "__version__",
    "asarray",
    "backend",
    "functional",
    "fuse",
    "get_num_threads",
    "nn",
    "no_grad",
    "optim",
    "override",
    "set_num_threads",
    "use",
    "weights",
]
