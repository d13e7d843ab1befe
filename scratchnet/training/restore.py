"""From a checkpoint back to the model, its classes, and the images that it was trained on."""

import os
from dataclasses import dataclass, fields
from typing import Any

import numpy

from scratchnet import datasets, models
from scratchnet.nn import Module
from scratchnet.recipes import IMAGES, Recipe
from scratchnet.training.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from scratchnet.training.setup import load_split, make_transform


@dataclass
class Restored:
    """A trained model, ready for use: in evaluation mode, with averaged weights where there are any."""

    model: Module
    recipe: Recipe
    classes: tuple[str, ...]
    transform: datasets.Compose  # uint8 (N, C, H, W) → what the model takes
    checkpoint: Checkpoint

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that it takes."""
        return IMAGES[self.recipe.family]


def restore(checkpoint: str | os.PathLike[str] | Checkpoint, device: Any = "cpu") -> Restored:
    """The model of a checkpoint that `python -m scratchnet.train` wrote, or of a run folder (its best).

    Raises:
        CheckpointError: there is none, it is damaged, or a program of your own wrote it.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = load_checkpoint(checkpoint)
    run = checkpoint.metadata.get("run") or {}
    if "recipe" not in run:
        raise CheckpointError(
            f"{checkpoint.path}: written by a Trainer of your own with a {checkpoint.metadata.get('model')}, which the "
            "commands cannot build: use model.load_state_dict(load_checkpoint(path).weights)"
        )
    try:
        recipe = recipe_from(run["recipe"])
        model = models.build(recipe.family, recipe.model, len(run["classes"]), rng=numpy.random.default_rng(0))
        model.to(run["options"]["dtype"]).load_state_dict(checkpoint.weights)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"{checkpoint.path}: does not fit the model it names: {error}") from error
    model.to(device).eval()
    transform = make_transform(recipe, run["options"]["dtype"])
    return Restored(model, recipe, tuple(run["classes"]), transform, checkpoint)


def recipe_from(values: dict[str, Any]) -> Recipe:
    """A recipe from JSON, where tuples are lists."""
    known = {field.name for field in fields(Recipe)}
    return Recipe(**{name: _tuples(value) for name, value in values.items() if name in known})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def open_split(restored: Restored, split: str, data_dir: str | None = None) -> datasets.ArrayDataset:
    """The run's dataset, from where it was then unless data_dir says otherwise; its classes must be the model's."""
    run = restored.checkpoint.metadata["run"]
    dataset = load_split(restored.recipe, split, data_dir or run["options"].get("data_dir"))
    if dataset.classes != restored.classes:
        raise CheckpointError(
            f"{restored.checkpoint.path}: the model tells {', '.join(restored.classes)} apart, "
            f"but {restored.recipe.dataset} now has {', '.join(dataset.classes)}"
        )
    return dataset
