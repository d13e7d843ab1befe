"""python -m torch_ref.train mnist: the recipe of scratchnet.train in PyTorch, on the same batches in the same order."""

import argparse
import sys
import time
import warnings

import numpy

try:
    import torch
except ImportError as error:
    sys.exit(f"error: torch_ref needs PyTorch ({error}): pip install 'scratchnet[torch]'")
from torch import nn

from scratchnet import _cli, datasets
from scratchnet.recipes import Recipe
from scratchnet.train import add_recipe_options, chosen_recipe, load_split, make_transform, seed_streams
from scratchnet.training.metrics import Evaluation
from scratchnet.training.report import Report
from torch_ref.models import MODELS


@torch.no_grad()
def evaluate(model: nn.Module, criterion: nn.Module, batches: datasets.DataLoader, num_classes: int) -> Evaluation:
    model.eval()
    loss = 0.0
    correct, total = numpy.zeros(num_classes, int), numpy.zeros(num_classes, int)
    for x, target in batches:
        logits = model(torch.from_numpy(x))
        loss += float(criterion(logits, torch.from_numpy(target))) * len(target)
        hit = target[logits.argmax(1).numpy() == target]
        correct += numpy.bincount(hit, minlength=num_classes)
        total += numpy.bincount(target, minlength=num_classes)
    return Evaluation(loss / max(int(total.sum()), 1), correct, total)


def train(recipe: Recipe, options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    train_set = load_split(recipe, "train", options.data_dir)
    test_set = load_split(recipe, "test", options.data_dir)
    _, order_rng = seed_streams(options.seed)
    model = MODELS[recipe.family][recipe.model](num_classes=len(train_set.classes)).to(getattr(torch, options.dtype))
    criterion = nn.CrossEntropyLoss()
    if recipe.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    transform = make_transform(recipe, options.dtype)
    batches = datasets.DataLoader(
        train_set,
        recipe.batch_size,
        recipe.shuffle,
        order_rng,
        transform=transform,
        limit_batches=options.limit_batches,
    )

    def measure(dataset: datasets.ArrayDataset, limit: int | None = None) -> Evaluation:
        part = dataset.subset(min(limit or len(dataset), len(dataset)))
        return evaluate(model, criterion, datasets.DataLoader(part, 250, transform=transform), len(dataset.classes))

    report = Report(recipe, len(batches))
    sizes = sum(parameter.numel() for parameter in model.parameters())
    report.start(type(model).__name__, sizes, f"cpu (torch {torch.__version__})", train_set, test_set)
    for epoch in range(1, recipe.epochs + 1):
        start, total, images = time.perf_counter(), 0.0, 0
        for step, (x, target) in enumerate(batches, start=1):
            model.train()
            optimizer.zero_grad()
            loss = criterion(model(torch.from_numpy(x)), torch.from_numpy(target))
            loss.backward()
            optimizer.step()
            total, images = total + loss.item() * len(target), images + len(target)
            report.step(epoch, step, loss.item())
            if recipe.eval_every and step % recipe.eval_every == 0:
                report.progress(epoch, step, loss.item(), measure(test_set, recipe.eval_limit))
        seconds = time.perf_counter() - start
        test_result = measure(test_set)
        report.epoch(epoch, total / images, test_result, seconds)

    x, labels = next(iter(datasets.DataLoader(test_set.subset(10), 10, transform=transform)))
    predictions = model.eval()(torch.from_numpy(x)).argmax(1)
    train_result = measure(train_set) if recipe.eval_train else None
    report.finish(test_set, test_result, train_result, predictions.tolist(), labels.tolist())


def command(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m torch_ref.train", description=__doc__)
    add_recipe_options(parser)
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dropout2d")  # system C's Dropout2d on a 2-D input is the tutorial's
        train(chosen_recipe(options), options)


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
