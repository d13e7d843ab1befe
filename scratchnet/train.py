"""python -m scratchnet.train mnist: train a network by a recipe, any part of which an option replaces."""

import argparse
import dataclasses
import sys
import time
import warnings
from collections.abc import Iterator

import numpy

from scratchnet import _cli, backend, datasets, models, nn, optim, recipes
from scratchnet.nn.fuse import fuse
from scratchnet.nn.module import float_dtype
from scratchnet.ops.shape import Array
from scratchnet.recipes import Recipe
from scratchnet.threads import set_num_threads
from scratchnet.training import evaluate, train_epoch
from scratchnet.training.report import Report

EVAL_BATCH = 250  # im2col's columns of 250 images stay below 100 MB


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """The options that scratchnet.train and torch_ref.train share."""
    parser.add_argument("dataset", help=f"{', '.join(recipes.FAMILIES)}, or folder:PATH for images of your own")
    parser.add_argument("--rgb", action="store_true", help="folder:PATH in colour, 32 × 32, not grey, 28 × 28")
    parser.add_argument("--model", help="which network (default: the dataset's first)")
    parser.add_argument("--recipe", help="a named setting of everything (default: tutorial)")
    parser.add_argument("--epochs", type=_cli.positive_int)
    parser.add_argument("--batch-size", type=_cli.positive_int)
    parser.add_argument("--lr", type=_cli.positive_float, help="learning rate")
    parser.add_argument("--optimizer", choices=["sgd", "adam"])
    parser.add_argument("--momentum", type=_cli.non_negative_float, help="of sgd")
    parser.add_argument("--weight-decay", type=_cli.non_negative_float)
    parser.add_argument("--eval-every", type=_cli.positive_int, metavar="STEPS", help="report within an epoch")
    parser.add_argument("--eval-limit", type=_cli.positive_int, metavar="N", help="images of those reports")
    parser.add_argument("--eval-train", action="store_true", default=None, help="at the end measure the training set")
    parser.add_argument("--limit-batches", type=_cli.positive_int, metavar="N", help="end every epoch after N batches")
    parser.add_argument("--seed", type=_cli.non_negative_int, default=0, help="of weights, order and dropout")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--threads", type=_cli.positive_int, help="of the kernels and of BLAS (default: all cores)")
    parser.add_argument("--data-dir", metavar="DIR", help="where datasets lie, in torchvision's layout")


def chosen_recipe(options: argparse.Namespace) -> Recipe:
    """The named recipe with what the options replace."""
    try:
        recipe = recipes.find(options.dataset, options.model, options.recipe, options.rgb)
    except ValueError as error:
        raise _cli.UsageError(error) from None
    fields = {field.name for field in dataclasses.fields(Recipe)} - {"family", "dataset", "model"}
    changes = {name: value for name, value in vars(options).items() if name in fields and value is not None}
    return dataclasses.replace(recipe, **changes)


def load_split(recipe: Recipe, split: str, data_dir: str | None) -> datasets.ArrayDataset:
    """A split of the recipe's dataset; images of a folder are brought to the size that its networks take."""
    if not recipe.dataset.startswith("folder:"):
        return datasets.load(recipe.dataset, split, data_dir)
    channels, *size = recipes.IMAGES[recipe.family]
    return datasets.load(recipe.dataset, split, data_dir, size=tuple(size), mode="RGB" if channels == 3 else "L")


def make_transform(recipe: Recipe, dtype: str) -> datasets.Compose:
    steps: list = [datasets.ToFloat(dtype)]
    if recipe.normalize:
        mean, std = recipe.normalize
        steps.append(datasets.Normalize(mean, std, inplace=True))
    return datasets.Compose(steps)


def make_optimizer(recipe: Recipe, model: nn.Module) -> optim.Optimizer:
    if recipe.optimizer == "adam":
        return optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    return optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def seed_streams(seed: int) -> tuple[numpy.random.Generator, numpy.random.Generator]:
    """Independent generators for the model (weights, dropout) and for the order of the images."""
    model, order = numpy.random.SeedSequence(seed).spawn(2)
    return numpy.random.default_rng(model), numpy.random.default_rng(order)


def on_device(batches: datasets.DataLoader, device: backend.Device) -> Iterator[tuple[Array, Array]]:
    for x, target in batches:
        yield device.asarray(x), device.asarray(target)


def train(recipe: Recipe, options: argparse.Namespace, device: backend.Device) -> None:
    train_set = load_split(recipe, "train", options.data_dir)
    test_set = load_split(recipe, "test", options.data_dir)
    model_rng, order_rng = seed_streams(options.seed)
    model: nn.Module = models.build(recipe.family, recipe.model, len(train_set.classes), model_rng)
    model.to(float_dtype(options.dtype)).to(device)
    name = type(model).__name__
    if device.kind == "cpu" and not options.no_fuse:
        model = fuse(model, input_grad=False)
    criterion = nn.CrossEntropyLoss()
    optimizer = make_optimizer(recipe, model)

    transform = make_transform(recipe, options.dtype)
    batches = datasets.DataLoader(
        train_set,
        recipe.batch_size,
        recipe.shuffle,
        order_rng,
        transform=transform,
        limit_batches=options.limit_batches,
    )

    def measure(dataset: datasets.ArrayDataset, limit: int | None = None):
        part = dataset.subset(min(limit or len(dataset), len(dataset)))
        loader = datasets.DataLoader(part, EVAL_BATCH, transform=transform)
        return evaluate(model, criterion, on_device(loader, device), len(dataset.classes))

    report = Report(recipe, len(batches))
    sizes = sum(parameter.size for parameter in model.parameters())
    report.start(name, sizes, device, train_set, test_set)
    for epoch in range(1, recipe.epochs + 1):

        def after_step(step: int, loss: float, epoch: int = epoch) -> None:
            report.step(epoch, step, loss)
            if recipe.eval_every and step % recipe.eval_every == 0:
                report.progress(epoch, step, loss, measure(test_set, recipe.eval_limit))

        start = time.perf_counter()
        loss = train_epoch(model, criterion, optimizer, on_device(batches, device), after_step)
        seconds = time.perf_counter() - start
        test_result = measure(test_set)
        report.epoch(epoch, loss, test_result, seconds)

    x, labels = next(iter(datasets.DataLoader(test_set.subset(10), 10, transform=transform)))
    predictions = model.eval()(device.asarray(x)).argmax(axis=1)
    train_result = measure(train_set) if recipe.eval_train else None
    report.finish(test_set, test_result, train_result, predictions.tolist(), labels.tolist())


def command(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.train", description=__doc__)
    add_recipe_options(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, gpu or gpu:N")
    parser.add_argument("--rung", choices=list(backend.RUNGS), help="which implementation (default: the fastest)")
    parser.add_argument("--no-fuse", action="store_true", help="run every layer on its own (default on a GPU)")
    options = parser.parse_args(argv)
    recipe = chosen_recipe(options)
    try:
        device = backend.device(options.device)
    except ValueError as error:
        raise _cli.UsageError(error) from None
    if options.threads:
        set_num_threads(options.threads)
    rung = options.rung or backend.rung_on(device.kind)
    with backend.use(rung), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dropout2d")  # system C's Dropout2d on a 2-D input is the tutorial's
        train(recipe, options, device)


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
