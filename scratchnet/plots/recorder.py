"""Draws a training while it goes on: `python -m scratchnet.train … --plots`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from scratchnet import datasets
from scratchnet.nn import Conv2d, Module, Parameter
from scratchnet.plots import inspection
from scratchnet.plots.confusion import confusion_matrix
from scratchnet.plots.curves import curves
from scratchnet.plots.features import feature_maps
from scratchnet.plots.figure import save
from scratchnet.plots.filters import filters
from scratchnet.plots.gradients import gradient_norms
from scratchnet.plots.images import image_grid, mistakes, predictions
from scratchnet.plots.saliency import saliency
from scratchnet.plots.tsne import animate, embed, scatter
from scratchnet.training.callback import Callback
from scratchnet.training.run import read_metrics

if TYPE_CHECKING:
    from scratchnet.training.trainer import Trainer

Weights = dict[str, numpy.ndarray]


class Recorder(Callback):
    """Writes pictures into a folder at the beginning, after every epoch, and at the end of a training.

    | file | what |
    | --- | --- |
    | image.png, batch.png | the first training image, the first 20, with their labels |
    | curves.png | losses and accuracy |
    | features-LAYER.png | the feature maps of a test image, beside each its gradient |
    | filters-LAYER.png | the filters of a convolution, their gradients, their updates |
    | saliency.png | which pixels the loss hangs on |
    | gradients.png | norms of gradients and updates over time |
    | tsne.png, tsne.gif | a map of the features of test images, and how it came about |
    | predictions.png, confusion.png, mistakes.png | at the end, of the test images |

    It only looks: with and without it a training ends with the same bits.

    Args:
        folder: where to write; made if it is not there. history.npz in it is what a continued run needs.
        layers: the activations to draw; by default the first five ReLUs with feature maps.
        tsne_layer: whose features to map; by default the input of the last linear layer.
        tsne_every: steps between two maps; by default one at the end.
        tsne_images, tsne_iterations: how many test images are on the map, and how long t-SNE arranges them.
        every: steps between two samples of the norms.

    Raises:
        ValueError: the model has no layer of that name.
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
        self.folder = Path(folder)
        self.train_set, self.test_set, self.transform = train_set, test_set, transform
        self.layers, self.tsne_layer, self.tsne_every = layers, tsne_layer, tsne_every
        self.tsne_iterations = tsne_iterations
        self.mapped = test_set.subset(min(tsne_images, len(test_set)))
        self.every = every
        self.samples: list[tuple[int, list[float], list[float]]] = []  # (step, norms, ratios) of the layers' weights
        self.maps: list[tuple[int, numpy.ndarray]] = []  # (step, points)
        self._before: Weights | None = None
        self._latest: dict[str, tuple[numpy.ndarray, ...]] = {}  # weight, gradient, update of the convolutions

    def on_train_begin(self, trainer: "Trainer") -> None:
        x = self.transform(self.test_set.images[:1])
        inspection.check_names(
            trainer.model, x, [*(self.layers or []), *([self.tsne_layer] if self.tsne_layer else [])]
        )
        self.layers = self.layers or inspection.spatial_layers(trainer.model, x)
        self.tsne_layer = self.tsne_layer or inspection.input_of_last_linear(trainer.model, x)
        if trainer.global_step:
            self._read_history(trainer.global_step)
        names = [self.train_set.classes[label] for label in self.train_set.labels[:20]]
        images = self.train_set.images[:20]
        save(image_grid(images[:1], [f"label {names[0]}"], title="the first training image"), self.folder / "image.png")
        save(image_grid(images, names, title="the first training images"), self.folder / "batch.png")

    def on_gradients(self, trainer: "Trainer") -> None:
        if (trainer.global_step + 1) % self.every == 0 or trainer.global_step == 0:
            self._before = {name: parameter.data.copy() for name, parameter in trainer.model.named_parameters()}

    def on_step_end(self, trainer: "Trainer", loss: float) -> None:
        if self._before is not None:
            self._sample(trainer, self._before)
            self._before = None
        if self.tsne_every and trainer.global_step % self.tsne_every == 0:
            self._map(trainer)

    def on_epoch_end(self, trainer: "Trainer", metrics: dict[str, Any]) -> None:
        if trainer.run and (rows := read_metrics(trainer.run.metrics)):
            save(curves(rows), self.folder / "curves.png")
        self._draw_layers(trainer.model, metrics["epoch"])
        for name, (weight, gradient, update) in self._latest.items():
            save(filters(weight, gradient, update, name), self.folder / f"filters-{name}.png")
        if self.samples:
            steps, norms, ratios = zip(*self.samples, strict=True)
            parameters = [name for name, _ in _weights(trainer.model)]
            figure = gradient_norms(steps, numpy.array(norms), numpy.array(ratios), parameters)
            save(figure, self.folder / "gradients.png")
        self._write_history()

    def on_train_end(self, trainer: "Trainer") -> None:
        if not self.maps or self.maps[-1][0] != trainer.global_step:
            self._map(trainer)
        if len(self.maps) > 1:
            frames = [(self._map_title(step), points) for step, points in self.maps]
            animate(frames, self.mapped.labels, self.mapped.classes, self.folder / "tsne.gif")
        with trainer.averaged():
            self._draw_results(trainer.model.copy().eval())
        self._write_history()

    def _sample(self, trainer: "Trainer", before: Weights) -> None:
        """Note how large gradients and updates were in the step that was just made."""
        norms, ratios = [], []
        for name, parameter in _weights(trainer.model):
            gradient = numpy.zeros_like(parameter.data) if parameter.grad is None else parameter.grad
            update = parameter.data - before[name]
            norms.append(float(numpy.linalg.norm(gradient)))
            ratios.append(float(numpy.linalg.norm(update) / (numpy.linalg.norm(before[name]) or 1)))
        self.samples.append((trainer.global_step, norms, ratios))
        for name, module in trainer.model.named_modules():
            drawn = name in self._latest or len(self._latest) < 5
            if isinstance(module, Conv2d) and module.weight.grad is not None and drawn:
                weight = before[f"{name}.weight"]
                self._latest[name] = weight, module.weight.grad.copy(), module.weight.data - weight

    def _draw_layers(self, model: Module, epoch: int) -> None:
        """Feature maps and saliency of the first test images."""
        images, labels = self.test_set.images[:8], self.test_set.labels[:8]
        activations = inspection.features_and_gradients(model, self.transform(images), labels)
        classes = [self.test_set.classes[label] for label in labels]
        for name in self.layers or []:
            if activations[name].ndim != 4:
                continue  # (N, F): no maps to draw
            title = f"{name}, {classes[0]!r} after epoch {epoch}"
            figure = feature_maps(activations[name][0], activations.grad[name][0], title)
            save(figure, self.folder / f"features-{name}.png")
        save(saliency(images, activations.grad["input"], classes), self.folder / "saliency.png")

    def _draw_results(self, model: Module) -> None:
        """What the trained model makes of the test images."""
        classes = self.test_set.classes
        loader = datasets.DataLoader(self.test_set, 250, transform=self.transform)
        logits = numpy.concatenate([model(x) for x, _ in loader]).astype("float64")
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
        points = embed(features, self.maps[-1][1] if self.maps else None, iterations=self.tsne_iterations)
        self.maps.append((trainer.global_step, points))
        figure = scatter(points, self.mapped.labels, self.mapped.classes, self._map_title(trainer.global_step))
        save(figure, self.folder / "tsne.png")

    def _map_title(self, step: int) -> str:
        return f"t-SNE of {self.tsne_layer} for {len(self.mapped)} test images, after step {step:,}"

    def _write_history(self) -> None:
        """What the pictures over time are made of, so that a continued run can go on with them."""
        steps, norms, ratios = zip(*self.samples, strict=True) if self.samples else ([], [], [])
        self.folder.mkdir(parents=True, exist_ok=True)
        numpy.savez(
            self.folder / "history.npz",
            steps=numpy.array(steps, int),
            norms=numpy.array(norms),
            ratios=numpy.array(ratios),
            map_steps=numpy.array([step for step, _ in self.maps], int),
            maps=numpy.array([points for _, points in self.maps]),
        )

    def _read_history(self, until: int) -> None:
        try:
            with numpy.load(self.folder / "history.npz") as file:
                rows = zip(file["steps"].tolist(), file["norms"].tolist(), file["ratios"].tolist(), strict=True)
                self.samples = [row for row in rows if row[0] <= until]
                maps = zip(file["map_steps"].tolist(), file["maps"], strict=True)
                self.maps = [(step, points) for step, points in maps if step <= until]
        except (OSError, ValueError, KeyError):  # drawn without --plots until now
            return


def _weights(model: Module) -> list[tuple[str, Parameter]]:
    """The weights of the layers, without biases and what BatchNorm learns, which would crowd the picture."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.ndim > 1]
