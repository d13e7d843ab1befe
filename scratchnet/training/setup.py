"""From a recipe to what it takes to train: the images, the transforms, the optimizer, the schedule."""

import re
from typing import Any

import numpy

from scratchnet import datasets, optim, recipes
from scratchnet.nn import Module
from scratchnet.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from scratchnet.recipes import Recipe

EVAL_BATCH = 250  # im2col's columns of 250 images stay below 100 MB


def load_split(recipe: Recipe, split: str, data_dir: str | None) -> datasets.ArrayDataset:
    """A split of the recipe's dataset; images of a folder are brought to the size that its networks take."""
    if not recipe.dataset.startswith("folder:"):
        return datasets.load(recipe.dataset, split, data_dir)
    channels, *size = recipes.IMAGES[recipe.family]
    return datasets.load(recipe.dataset, split, data_dir, size=tuple(size), mode="RGB" if channels == 3 else "L")


def make_transform(recipe: Recipe, dtype: str, augment: bool = False) -> datasets.Compose:
    """Bytes to what the network takes; with augment, as training images are changed at random."""
    steps: list[Any] = []
    if augment:
        steps += [_augmentation(name, recipes.IMAGES[recipe.family][1:]) for name in recipe.augment]
    steps.append(datasets.ToFloat(dtype))
    if recipe.normalize:
        mean, std = recipe.normalize
        steps.append(datasets.Normalize(mean, std, inplace=True))
    return datasets.Compose(steps)


def _augmentation(name: str, size: tuple[int, int]) -> Any:
    crop = re.fullmatch(r"crop(\d+)", name)
    if crop:
        return datasets.RandomCrop(size, padding=int(crop[1]))
    if name == "flip":
        return datasets.RandomHorizontalFlip()
    raise ValueError(f"augment: expected cropN (N pixels, such as crop4) or flip, got {name!r}")


def init_from_images(model: Any, dataset: datasets.ArrayDataset, transform: datasets.Compose) -> None:
    """Let a model that asks for it (ResNet8) choose its first weights by up to 5,000 of its training images."""
    if hasattr(model, "init_from_images"):
        model.init_from_images(transform(dataset.images[:: -(-len(dataset) // 5000)]))


def make_optimizer(recipe: Recipe, model: Module) -> optim.Optimizer:
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "adam":
        return optim.Adam(model.parameters(), **options)
    return optim.SGD(model.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **options)


def make_scheduler(recipe: Recipe, optimizer: optim.Optimizer, steps_per_epoch: int) -> LRScheduler | None:
    """The schedule of the learning rate over the steps of the whole run."""
    steps = recipe.epochs * steps_per_epoch
    if recipe.schedule == "onecycle":
        return OneCycleLR(optimizer, recipe.lr, total_steps=steps, pct_start=recipe.warmup, cycle_momentum=False)
    if recipe.schedule == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    return None


def seed_streams(seed: int) -> tuple[numpy.random.Generator, numpy.random.Generator]:
    """Independent generators for the model (weights, dropout) and for the order of the images."""
    model, order = numpy.random.SeedSequence(seed).spawn(2)
    return numpy.random.default_rng(model), numpy.random.default_rng(order)
