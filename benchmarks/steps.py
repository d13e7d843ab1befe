"""Build a step: a function without arguments that trains (or evaluates) on the next batch, by framework and system.

Nothing but the framework that is asked for gets imported. Batches are arrays before the clock starts: a few of them,
in turn, the same for every framework.
"""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.systems import EXTRA, OURS, System, torch_variants

BATCHES = 8


class Step(NamedTuple):
    run: Callable[[], float | None]  # → the loss in training, one logit in evaluation: a number to be sure of
    description: str


def build(framework: str, variant: str, system: System) -> Step:
    warnings.filterwarnings("ignore", ".*dropout2d.*")  # system C's Dropout2d on a 2-D input is the tutorial's
    if framework == "torch":
        if variant not in torch_variants(system):
            raise ValueError(f"variant of {system.name}: expected {', '.join(torch_variants(system))}, got {variant!r}")
        return _torch_step(variant, system)
    if framework != "scratchnet":
        raise ValueError(f"framework: expected torch or scratchnet, got {framework!r}")
    if variant not in OURS + EXTRA:
        raise ValueError(f"variant: expected {', '.join(OURS + EXTRA)}, got {variant!r}")
    return _scratchnet_step(variant, system)


def _batches(system: System) -> list[tuple[Any, Any]]:
    """MNIST's test images, which are in the package; noise in place of CIFAR-10, which may not be there."""
    import numpy

    from scratchnet import datasets

    count, rng = BATCHES if system.training else 2, numpy.random.default_rng(0)
    n = count * system.batch_size
    if system.family == "mnist":
        dataset = datasets.load("mnist", "test").subset(n)
        loader = datasets.DataLoader(dataset, system.batch_size, transform=datasets.ToFloat("float32"))
        batches = list(loader)
    else:
        images = rng.standard_normal((n, 3, 32, 32), dtype=numpy.float32)
        labels = rng.integers(0, 10, n)
        batches = [
            (images[i : i + system.batch_size], labels[i : i + system.batch_size])
            for i in range(0, n, system.batch_size)
        ]
    return [(numpy.ascontiguousarray(x), numpy.ascontiguousarray(target)) for x, target in batches]


def _scratchnet_step(variant: str, system: System) -> Step:
    import numpy

    import scratchnet
    from scratchnet import models, nn, recipes
    from scratchnet.training.loop import train_step
    from scratchnet.training.setup import make_optimizer

    scratchnet.use(variant.removesuffix("-unfused"))
    recipe = recipes.find(system.family, system.model)
    model: Any = models.build(system.family, system.model, rng=numpy.random.default_rng(0))
    optimizer = make_optimizer(recipe, model)
    fused = variant == "numba"
    if fused:
        model = scratchnet.fuse(model, input_grad=False)
    batches: Iterator[tuple[Any, Any]] = itertools.cycle(_batches(system))
    criterion = nn.CrossEntropyLoss()
    model.train(system.training)

    def train() -> float:
        x, target = next(batches)
        return float(train_step(model, criterion, optimizer, x, target))

    def evaluate() -> float:
        return float(model(next(batches)[0])[0, 0])

    return Step(train if system.training else evaluate, f"scratchnet, {variant}{', fused' if fused else ''}")


def _torch_step(variant: str, system: System) -> Step:
    import torch

    from scratchnet import recipes
    from torch_ref.models import MODELS

    torch.manual_seed(0)
    layout, _, fused = variant.partition("+")
    recipe = recipes.find(system.family, system.model)
    model = MODELS[system.family][system.model]()
    data = [(torch.from_numpy(x), torch.from_numpy(target)) for x, target in _batches(system)]
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        data = [(x.contiguous(memory_format=torch.channels_last), target) for x, target in data]
    batches = itertools.cycle(data)
    model.train(system.training)
    criterion = torch.nn.CrossEntropyLoss()
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": True if fused else None}
    if recipe.optimizer == "adam":
        optimizer: Any = torch.optim.Adam(model.parameters(), **options)
    else:
        optimizer = torch.optim.SGD(model.parameters(), momentum=recipe.momentum, **options)

    def loss_of(x: Any, target: Any) -> Any:
        return criterion(model(x), target)

    forward: Callable[..., Any] = model
    if layout == "compile":
        loss_of, forward = torch.compile(loss_of), torch.compile(model)

    def train() -> float:
        x, target = next(batches)
        optimizer.zero_grad()
        loss = loss_of(x, target)
        loss.backward()
        optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def evaluate() -> float:
        return forward(next(batches)[0])[0, 0].item()

    return Step(train if system.training else evaluate, f"torch {torch.__version__}, {variant}")
