"""What a study command is given: a checkpoint, or the name of a dataset for a network that has not been trained."""

import os
from dataclasses import dataclass

import numpy

from scratchnet import _cli, datasets, models, recipes
from scratchnet.nn import Module
from scratchnet.nn.module import float_dtype
from scratchnet.ops.shape import Array
from scratchnet.recipes import Recipe
from scratchnet.training.restore import Restored, open_split, restore
from scratchnet.training.setup import load_split, make_transform, seed_streams


@dataclass
class Opened:
    """A network with the images that belong to it, both in `dtype`."""

    model: Module
    recipe: Recipe
    title: str
    dtype: str
    restored: Restored | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return recipes.IMAGES[self.recipe.family]

    def split(self, name: str, data_dir: str | None) -> datasets.ArrayDataset:
        if self.restored is not None:
            return open_split(self.restored, name, data_dir)
        return load_split(self.recipe, name, data_dir)

    def batch(self, images: Array) -> Array:
        """uint8 (N, C, H, W) → what the model takes."""
        return make_transform(self.recipe, self.dtype)(images)

    def images(self, split: str, numbers: list[int], data_dir: str | None) -> tuple[Array, Array]:
        """(x, targets) of the images with these numbers."""
        dataset = self.split(split, data_dir)
        for number in numbers:
            if number >= len(dataset):
                raise _cli.UsageError(f"--image: the {split} split has {len(dataset):,} images, got number {number}")
        return self.batch(dataset.images[numbers]), dataset.labels[numbers]


def open_model(what: str, model: str | None, seed: int, dtype: str) -> Opened:
    """The network of a checkpoint or run folder; or, for a dataset's name, a new one as training starts with.

    Raises:
        UsageError: no such dataset, model or file.
        CheckpointError: the checkpoint is damaged or of a model that is not this library's.
    """
    if what in recipes.FAMILIES:
        try:
            recipe = recipes.find(what, model)
        except ValueError as error:
            raise _cli.UsageError(error) from None
        network: Module = models.build(recipe.family, recipe.model, rng=seed_streams(seed)[0])
        title = f"{what} {recipe.model}, untrained, seed {seed}"
        return Opened(network.to(float_dtype(dtype)).eval(), recipe, title, dtype)
    if not os.path.exists(what):
        raise _cli.UsageError(f"expected a checkpoint or one of {', '.join(recipes.FAMILIES)}, got {what!r}")
    if model is not None:
        raise _cli.UsageError("--model: a checkpoint has its own network; --model goes with a dataset's name")
    restored = restore(what)
    recipe = restored.recipe
    title = f"{what}: {recipe.dataset} {recipe.model}, trained"
    return Opened(restored.model.to(float_dtype(dtype)), recipe, title, dtype, restored)


def random_batch(shape: tuple[int, int, int], count: int, seed: int, dtype: str) -> Array:
    """Images of normal noise: no two pixels tie, and no activation is exactly 0."""
    return numpy.random.default_rng(seed).standard_normal((count, *shape)).astype(dtype)
