"""python -m torch_ref.train mnist: the recipe of scratchnet.train in PyTorch, on the same batches in the same order."""

import argparse
import math
import sys
import time
import warnings
from itertools import islice
from typing import Any

import numpy

try:
    import torch
except ImportError as error:
    sys.exit(f"error: torch_ref needs PyTorch ({error}): pip install 'scratchnet[torch]'")
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from scratchnet import _cli, datasets
from scratchnet.recipes import Recipe
from scratchnet.train import RUN_DEFAULTS, add_recipe_options, chosen_recipe
from scratchnet.training.metrics import Evaluation
from scratchnet.training.report import Report
from scratchnet.training.setup import EVAL_BATCH, init_from_images, load_split, make_transform, seed_streams
from torch_ref.models import MODELS


@torch.no_grad()
def predict(model: nn.Module, x: numpy.ndarray, mirror: bool) -> torch.Tensor:
    images = torch.from_numpy(x)
    return (model(images) + model(images.flip(-1))) / 2 if mirror else model(images)


@torch.no_grad()
def evaluate(
    model: nn.Module, criterion: nn.Module, batches: datasets.DataLoader, num_classes: int, mirror: bool
) -> Evaluation:
    model.eval()
    loss = 0.0
    correct, total = numpy.zeros(num_classes, int), numpy.zeros(num_classes, int)
    for x, target in batches:
        logits = predict(model, x, mirror)
        loss += float(criterion(logits, torch.from_numpy(target))) * len(target)
        hit = target[logits.argmax(1).numpy() == target]
        correct += numpy.bincount(hit, minlength=num_classes)
        total += numpy.bincount(target, minlength=num_classes)
    return Evaluation(loss / max(int(total.sum()), 1), correct, total)


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    options = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), **options)
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **options)


def make_scheduler(recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    if recipe.schedule == "onecycle":
        return lr_scheduler.OneCycleLR(
            optimizer, recipe.lr, total_steps=steps, pct_start=recipe.warmup, cycle_momentum=False
        )
    if recipe.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return None


def make_average(recipe: Recipe, model: nn.Module) -> AveragedModel | None:
    """An exponential moving average of weights and buffers; the first weights are forgotten sooner."""
    if recipe.ema is None:
        return None

    def average(old: torch.Tensor, new: torch.Tensor, steps: torch.Tensor | int) -> torch.Tensor:
        if not old.is_floating_point():
            return new
        return old + (1 - min(recipe.ema, (1 + int(steps)) / (10 + int(steps)))) * (new - old)

    averaged = AveragedModel(model, avg_fn=average, use_buffers=True)
    averaged.n_averaged += 1  # the first weights are an average already: steps counts from 1
    return averaged


def train(recipe: Recipe, options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    train_set = load_split(recipe, "train", options.data_dir)
    test_set = load_split(recipe, "test", options.data_dir)
    _, order_rng = seed_streams(options.seed)
    transform = make_transform(recipe, options.dtype)
    model = MODELS[recipe.family][recipe.model](num_classes=len(train_set.classes)).to(getattr(torch, options.dtype))
    init_from_images(model, train_set, transform)
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    optimizer = make_optimizer(recipe, model)
    batches = datasets.DataLoader(
        train_set,
        recipe.batch_size,
        recipe.shuffle,
        order_rng,
        transform=make_transform(recipe, options.dtype, augment=True),
        limit_batches=options.limit_batches,
    )
    steps = -(-len(batches) // recipe.accumulate)
    scheduler = make_scheduler(recipe, optimizer, recipe.epochs * steps)
    averaged = make_average(recipe, model)
    best, waited = math.inf, 0  # of the test loss, for early stopping

    def measure(dataset: datasets.ArrayDataset, limit: int | None = None) -> Evaluation:
        part = dataset.subset(min(limit or len(dataset), len(dataset)))
        loader = datasets.DataLoader(part, EVAL_BATCH, transform=transform)
        return evaluate(averaged or model, criterion, loader, len(dataset.classes), recipe.mirror)

    def step_on(group: list[tuple[numpy.ndarray, numpy.ndarray]]) -> float:
        """One step on the mean over all images of the batches."""
        model.train()
        optimizer.zero_grad()
        images = sum(len(target) for _, target in group)
        mean = 0.0
        for x, target in group:
            loss = criterion(model(torch.from_numpy(x)), torch.from_numpy(target)) * (len(target) / images)
            loss.backward()
            mean += loss.item()
        if recipe.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        if scheduler:
            scheduler.step()
        if averaged:
            averaged.update_parameters(model)
        return mean

    report = Report(recipe.epochs, steps)
    sizes = sum(parameter.numel() for parameter in model.parameters())
    device = f"cpu (torch {torch.__version__})"
    report.start(recipe, type(model).__name__, sizes, device, train_set, test_set)
    for epoch in range(1, recipe.epochs + 1):
        start, total, images = time.perf_counter(), 0.0, 0
        iterator = iter(batches)
        for step in range(1, steps + 1):
            group = list(islice(iterator, recipe.accumulate))
            loss, count = step_on(group), sum(len(target) for _, target in group)
            total, images = total + loss * count, images + count
            report.step(epoch, step, loss)
            if recipe.eval_every and step % recipe.eval_every == 0:
                report.progress(epoch, step, loss, measure(test_set, recipe.eval_limit))
        seconds = time.perf_counter() - start
        test_result = measure(test_set)
        report.epoch(epoch, total / images, test_result.loss, test_result.accuracy, seconds)
        best, waited = (test_result.loss, 0) if test_result.loss < best else (best, waited + 1)
        if recipe.patience and waited >= recipe.patience:
            break

    x, labels = next(iter(datasets.DataLoader(test_set.subset(min(10, len(test_set))), 10, transform=transform)))
    predictions = predict((averaged or model).eval(), x, recipe.mirror).argmax(1)
    train_result = measure(train_set) if recipe.eval_train else None
    report.finish(test_set, test_result, train_result, predictions.tolist(), labels.tolist())


def command(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m torch_ref.train", description=__doc__)
    add_recipe_options(parser)
    options = parser.parse_args(argv)
    for name, value in RUN_DEFAULTS.items():
        setattr(options, name, value if getattr(options, name) is None else getattr(options, name))
    if options.threads:
        torch.set_num_threads(options.threads)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dropout2d")  # system C's Dropout2d on a 2-D input is the tutorial's
        train(chosen_recipe(options), options)


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
