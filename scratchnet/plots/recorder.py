"""Draws a training while it goes on: `python -m scratchnet.train … --plots`."""

import io
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from scratchnet import datasets
from scratchnet.nn import Conv2d, Module, Parameter
from scratchnet.plots import inspection, tsne
from scratchnet.plots.confusion import confusion_matrix
from scratchnet.plots.curves import curves
from scratchnet.plots.features import feature_maps
from scratchnet.plots.figure import save
from scratchnet.plots.filters import filters
from scratchnet.plots.gradients import gradient_norms
from scratchnet.plots.images import image_grid, mistakes, predictions
from scratchnet.plots.inspection import to_host
from scratchnet.plots.saliency import saliency
from scratchnet.training.callback import Callback
from scratchnet.training.checkpoint import write_atomically
from scratchnet.training.run import read_metrics

if TYPE_CHECKING:
    from scratchnet.training.trainer import Trainer

REFRESH = 20.0  # seconds between two refreshes at least,
PAUSE = 10.0  # and so many times what the last one took
FILTERS = 5  # convolutions that are drawn unasked

Weights = dict[str, numpy.ndarray]
Change = tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]  # weight, its gradient, its update


class Recorder(Callback):
    """Writes pictures into a folder at the beginning, as training goes on, and at its end.

    | file | what | when |
    | --- | --- | --- |
    | image.png, batch.png | the first training image, the first 20, with their labels | at the beginning |
    | curves.png | losses and accuracy, of a run with a folder | all along |
    | features-LAYER.png | the feature maps of the first test image, beside each its gradient | all along |
    | filters-LAYER.png | the filters of a convolution, their gradients, their updates | all along |
    | saliency.png | which pixels the loss hangs on | all along |
    | gradients.png | norms of gradients and updates over time | all along |
    | tsne.png, tsne.gif | a map of the features of test images, and how it came about | every tsne_every, at the end |
    | predictions.png, confusion.png, mistakes.png | of the test images | at the end |

    A network without convolutions has no feature maps and no filters to draw. "All along" is at the end of the first
    epoch or step that comes 20 seconds after the last time, or later where drawing takes long.

    It only looks: with and without it a training ends with the same bits.

    Args:
        folder: where to write; made if it is not there. history.npz in it is what a continued run needs.
        train_set, test_set: what the pictures are of.
        transform: uint8 images (N, C, H, W) → what the model takes, as in evaluation.
        layers: the activations to draw, and the convolutions among them whose filters to draw; by default the first
            five ReLUs with feature maps. The filters of the first five convolutions are drawn in any case.
        tsne_layer: whose features to map; by default the input of the last linear layer.
        tsne_every: steps between two maps, the first of which is from before training; by default one at the end.
        tsne_images, tsne_iterations: how many test images are on the map, and how long t-SNE arranges them at most.
        every: steps between two samples of the norms.

    Raises:
        RuntimeError: when training begins without matplotlib or scikit-learn.
        ValueError: when training begins, the model has no layer of that name, or it has no feature maps.
    """

    def __init__(
        self,
        folder: str | Path,
        train_set: datasets.ArrayDataset,
        test_set: datasets.ArrayDataset,
        transform: datasets.Compose,
        *,
        layers: Sequence[str] | None = None,
        tsne_layer: str | None = None,
        tsne_every: int | None = None,
        tsne_images: int = 500,
        tsne_iterations: int = 5000,
        every: int = 50,
    ) -> None:
        for name, value in (("tsne_every", tsne_every or 1), ("tsne_images", tsne_images), ("every", every)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Recorder: expected {name} as a whole number ≥ 1, got {value!r}")
        self.folder = Path(folder)
        self.train_set, self.test_set, self.transform = train_set, test_set, transform
        self.layers, self.tsne_layer, self.tsne_every = layers, tsne_layer, tsne_every
        self.tsne_iterations = tsne_iterations
        self.mapped = test_set.subset(min(tsne_images, len(test_set)))
        self.every = every
        self.samples: list[tuple[int, list[float], list[float]]] = []  # (step, norms, ratios) of the layers' weights
        self.maps: list[tuple[int, numpy.ndarray]] = []  # (step, points)
        self._before: Weights | None = None
        self._latest: dict[str, tuple[int, Change]] = {}  # convolution → (step, change)
        self._due = 0.0

    def on_train_begin(self, trainer: "Trainer") -> None:
        tsne.estimator()
        self._choose_layers(trainer.model)
        if trainer.global_step:
            self._read_history(trainer)
        names = [self.train_set.classes[label] for label in self.train_set.labels[:20]]
        images = self.train_set.images[:20]
        save(image_grid(images[:1], [f"label {names[0]}"], title="the first training image"), self.folder / "image.png")
        save(image_grid(images, names, title="the first training images"), self.folder / "batch.png")
        if self.tsne_every and not trainer.global_step:
            self._map(trainer)
        self._due = time.monotonic() + REFRESH

    def on_gradients(self, trainer: "Trainer") -> None:
        if (trainer.global_step + 1) % self.every == 0 or trainer.global_step == 0:
            self._before = {name: to_host(weight.data).copy() for name, weight in _weights(trainer.model)}

    def on_step_end(self, trainer: "Trainer", loss: float) -> None:
        if self._before is not None:
            with numpy.errstate(all="ignore"):  # the Trainer says it where something is not finite
                self._sample(trainer, self._before)
            self._before = None
            self._draw_if_due(trainer)
        if self.tsne_every and trainer.global_step % self.tsne_every == 0:
            self._map(trainer)

    def on_epoch_end(self, trainer: "Trainer", metrics: dict[str, Any]) -> None:
        self._draw_if_due(trainer)

    def on_train_end(self, trainer: "Trainer") -> None:
        self._draw(trainer)
        if not self.maps or self.maps[-1][0] != trainer.global_step:
            self._map(trainer)
        if len(self.maps) > 1:
            frames = [(self._map_title(step), points) for step, points in self.maps]
            tsne.animate(frames, self.mapped.labels, self.mapped.classes, self.folder / "tsne.gif")
        with trainer.averaged():
            self._draw_results(trainer.model.copy().eval())
        self._write_history()

    def _choose_layers(self, model: Module) -> None:
        x = self.transform(self.test_set.images[:1])
        named = [*(self.layers or []), *([self.tsne_layer] if self.tsne_layer else [])]
        inspection.check_names(model, x, named)
        inspection.check_maps(model, x, self.layers or [])
        self.layers = self.layers or inspection.spatial_layers(model, x)
        self.tsne_layer = self.tsne_layer or inspection.input_of_last_linear(model, x)
        if self.tsne_every and self.tsne_layer is None:
            raise ValueError("tsne_every: the model has no linear layer whose input to map: name a tsne_layer")

    def _sample(self, trainer: "Trainer", before: Weights) -> None:
        """Note how large gradients and updates were in the step that was just made."""
        norms, ratios, changes = [], [], {}
        for name, parameter in _weights(trainer.model):
            old, new = before[name], to_host(parameter.data)
            gradient = numpy.zeros_like(old) if parameter.grad is None else to_host(parameter.grad).copy()
            norms.append(float(numpy.linalg.norm(gradient)))
            ratios.append(float(numpy.linalg.norm(new - old) / (numpy.linalg.norm(old) or 1)))
            changes[name] = old, gradient, new - old
        self.samples.append((trainer.global_step, norms, ratios))
        convolutions = [name for name, module in trainer.model.named_modules() if isinstance(module, Conv2d)]
        for i, name in enumerate(convolutions):
            if f"{name}.weight" in changes and (i < FILTERS or name in (self.layers or [])):
                self._latest[name] = trainer.global_step, changes[f"{name}.weight"]

    def _draw_if_due(self, trainer: "Trainer") -> None:
        if time.monotonic() >= self._due:
            start = time.monotonic()
            self._draw(trainer)
            self._due = time.monotonic() + max(REFRESH, PAUSE * (time.monotonic() - start))

    def _draw(self, trainer: "Trainer") -> None:
        """Every picture that changes as training goes on, but for the maps."""
        if trainer.run and (rows := read_metrics(trainer.run.metrics)):
            save(curves(rows), self.folder / "curves.png")
        self._draw_layers(trainer)
        for name, (step, (weight, gradient, update)) in self._latest.items():
            save(filters(weight, gradient, update, f"{name}, step {step:,}"), self.folder / f"filters-{name}.png")
        if self.samples:
            steps, norms, ratios = zip(*self.samples, strict=True)
            parameters = [name for name, _ in _weights(trainer.model)]
            figure = gradient_norms(steps, numpy.array(norms), numpy.array(ratios), parameters)
            save(figure, self.folder / "gradients.png")
        self._write_history()

    def _draw_layers(self, trainer: "Trainer") -> None:
        """Feature maps and saliency of the first test images."""
        images, labels = self.test_set.images[:8], self.test_set.labels[:8]
        activations = inspection.features_and_gradients(
            trainer.model, self.transform(images), labels, trainer.criterion
        )
        classes = [self.test_set.classes[label] for label in labels]
        for name in self.layers or []:
            title = f"{name}, {classes[0]!r} after step {trainer.global_step:,}"
            maps, gradients = to_host(activations[name][0]), to_host(activations.grad[name][0])
            save(feature_maps(maps, gradients, title), self.folder / f"features-{name}.png")
        save(saliency(images, to_host(activations.grad["input"]), classes), self.folder / "saliency.png")

    def _draw_results(self, model: Module) -> None:
        """What the trained model makes of the test images."""
        classes = self.test_set.classes
        loader = datasets.DataLoader(self.test_set, 250, transform=self.transform)
        logits = numpy.concatenate([to_host(model(inspection.beside(model, x))) for x, _ in loader]).astype("float64")
        odds = numpy.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = odds / odds.sum(axis=1, keepdims=True)
        labels, predicted = self.test_set.labels, logits.argmax(axis=1)
        images = self.test_set.images
        save(
            predictions(images[:10], predicted[:10].tolist(), labels[:10].tolist(), classes),
            self.folder / "predictions.png",
        )
        counts = numpy.zeros((len(classes), len(classes)), int)
        numpy.add.at(counts, (labels, predicted), 1)
        save(confusion_matrix(counts, classes), self.folder / "confusion.png")
        save(mistakes(images, probabilities, labels, classes), self.folder / "mistakes.png")

    def _map(self, trainer: "Trainer") -> None:
        if self.tsne_layer is None or len(self.mapped) < 4:
            return
        loader = datasets.DataLoader(self.mapped, 250, transform=self.transform)
        features = inspection.features(trainer.model, (x for x, _ in loader), self.tsne_layer)
        if not tsne.mappable(features):  # a network that died: the last map stays
            return
        points = tsne.embed(features, self.maps[-1][1] if self.maps else None, iterations=self.tsne_iterations)
        self.maps.append((trainer.global_step, points))
        figure = tsne.scatter(points, self.mapped.labels, self.mapped.classes, self._map_title(trainer.global_step))
        save(figure, self.folder / "tsne.png")
        self._write_history()

    def _map_title(self, step: int) -> str:
        when = f"after step {step:,}" if step else "before training"
        return f"t-SNE of {self.tsne_layer} for {len(self.mapped)} test images, {when}"

    def _write_history(self) -> None:
        """What the pictures over time are made of, so that a continued run can go on with them."""
        steps, norms, ratios = zip(*self.samples, strict=True) if self.samples else ([], [], [])
        self.folder.mkdir(parents=True, exist_ok=True)
        data = io.BytesIO()
        numpy.savez(
            data,
            steps=numpy.array(steps, int),
            norms=numpy.array(norms),
            ratios=numpy.array(ratios),
            map_layer=numpy.array(self.tsne_layer or ""),
            map_steps=numpy.array([step for step, _ in self.maps], int),
            maps=numpy.array([points for _, points in self.maps]),
        )
        write_atomically(self.folder / "history.npz", data.getvalue())

    def _read_history(self, trainer: "Trainer") -> None:
        """Take over what was drawn before, as far as it is of this network and of these images."""
        until, width = trainer.global_step, len(_weights(trainer.model))
        try:
            with numpy.load(io.BytesIO((self.folder / "history.npz").read_bytes())) as file:
                rows = zip(file["steps"].tolist(), file["norms"].tolist(), file["ratios"].tolist(), strict=True)
                samples = [row for row in rows if row[0] <= until and len(row[1]) == len(row[2]) == width]
                maps = zip(file["map_steps"].tolist(), file["maps"], strict=True)
                same = str(file["map_layer"]) == self.tsne_layer
                maps_then = [(s, p) for s, p in maps if same and s <= until and p.shape == (len(self.mapped), 2)]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # drawn without --plots until now
            return
        self.samples, self.maps = samples, maps_then


def _weights(model: Module) -> list[tuple[str, Parameter]]:
    """The weights of the layers, without biases and what BatchNorm learns, which would crowd the picture."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.ndim > 1]
