"""python -m scratchnet.lockstep mnist: a network and its PyTorch twin side by side, step by step.

Same weights, same batches of random images, same dropout masks. It stops at the first step, layer and tensor that
differ by more than the tolerance (exit code 1), or says how long the two agreed. Needs PyTorch.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy

from scratchnet import _cli, backend, fuse, models, nn, recipes
from scratchnet.nn.module import float_dtype
from scratchnet.ops.shape import Array
from scratchnet.training.setup import make_optimizer, seed_streams

if TYPE_CHECKING:
    from scratchnet.study.lockstep import Agreement

# float32 rounds at 6e-8, and sums of some thousand terms differ by up to 6e-6 between healthy twins, until the input of
# a ReLU is above 0 in one framework and below it in the other. Only gradients of parameters need more: one that is zero
# by mathematics, as of a bias in front of BatchNorm, is measured against 1/1000 of the largest, which makes up to 6e-4.
TOLERANCE: dict[str, float | dict[str, float]] = {
    "float64": 1e-9,
    "float32": {
        **dict.fromkeys(("activation", "loss", "activation gradient", "buffer"), 1e-5),
        "parameter": 2e-5,
        "gradient": 1e-3,
    },
}


def command(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scratchnet.lockstep", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("family", choices=list(models.MODELS), help="whose networks to choose from")
    parser.add_argument("--model", help="which network, with its recipe (default: the dataset's first)")
    parser.add_argument("--steps", type=_cli.positive_int, default=50, help="default: 50")
    parser.add_argument("--batch-size", type=_cli.positive_int, help="default: the recipe's")
    parser.add_argument("--lr", type=_cli.positive_float, help="default: the recipe's")
    parser.add_argument("--dtype", choices=list(TOLERANCE), default="float64", help="default: float64")
    parser.add_argument("--tolerance", type=_cli.positive_float, help="default: 1e-9; float32: 1e-5 to 1e-3 by kind")
    parser.add_argument("--rung", choices=backend.CPU_RUNGS, default="im2col", help="default: im2col, the textbook")
    parser.add_argument("--fuse", action="store_true", help="ours fused; nothing between its layers is compared")
    parser.add_argument("--seed", type=_cli.non_negative_int, default=0, help="of weights and images (default: 0)")
    parser.add_argument("--json", action="store_true", help="every tensor's largest difference, for programs")
    options = parser.parse_args(argv)
    try:
        recipe = recipes.find(options.family, options.model)
    except ValueError as error:
        raise _cli.UsageError(error) from None
    try:
        agreement = _run(recipe, options)
    except ModuleNotFoundError as error:
        raise RuntimeError(f"lockstep needs PyTorch ({error}): pip install 'scratchnet[torch]'") from None
    title = f"{recipe.family} {recipe.model}, {options.dtype}, rung {options.rung}{', fused' * options.fuse}"
    print(_cli.as_json({"model": title, **as_json(agreement)}) if options.json else page(title, agreement))
    return 0 if agreement.ok else 1


def _run(recipe: recipes.Recipe, options: argparse.Namespace) -> "Agreement":
    import torch

    from scratchnet.study.lockstep import lockstep

    share_masks = import_module("torch_ref.masks").share_masks
    twins, torch_train = import_module("torch_ref.models").MODELS, import_module("torch_ref.train")
    recipe = dataclasses.replace(recipe, lr=options.lr or recipe.lr)
    numbers, noise = seed_streams(options.seed)
    ours: nn.Module = models.build(recipe.family, recipe.model, rng=numbers).to(float_dtype(options.dtype))
    theirs = twins[recipe.family][recipe.model]().to(getattr(torch, options.dtype))
    theirs.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in ours.state_dict().items()})
    share_masks(ours, theirs)
    optimizer, torch_optimizer = make_optimizer(recipe, ours), torch_train.make_optimizer(recipe, theirs)
    batches = _batches(recipe, options.batch_size or recipe.batch_size, options.steps, options.dtype, noise)
    tolerance = options.tolerance or TOLERANCE[options.dtype]
    with backend.use(options.rung), _cli.tutorials_dropout2d():
        model = fuse(ours) if options.fuse else ours
        return lockstep(model, theirs, optimizer, torch_optimizer, batches, tolerance, not options.fuse)


def _batches(
    recipe: recipes.Recipe, size: int, steps: int, dtype: str, rng: numpy.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """Images of random pixels with random labels: the network learns nothing, but every formula is used."""
    for _ in range(steps):
        yield rng.random((size, *recipes.IMAGES[recipe.family])).astype(dtype), rng.integers(0, 10, size)


def page(title: str, agreement: "Agreement") -> str:
    steps = f"{agreement.steps} step{'' if agreement.steps == 1 else 's'}"
    verdict = f"agrees with torch within {_bounds(agreement.tolerance)} for {steps}"
    if agreement.first is not None:
        verdict += f"; then the first to differ is\n{agreement.first}"
    lines = [f"{title}: {verdict}", "", f"{'the largest differences':<52}{'error':>9}{'step':>6}"]
    for (kind, tensor), worst in agreement.worst.items():
        lines.append(f"  {kind:<21}{tensor:<29}{worst.error:9.1e}{worst.step:6}")
    return "\n".join(lines)


def _bounds(tolerance: float | dict[str, float]) -> str:
    values = sorted(set(tolerance.values())) if isinstance(tolerance, dict) else [tolerance]
    return " to ".join(f"{value:.0e}" for value in dict.fromkeys((values[0], values[-1])))


def as_json(agreement: "Agreement") -> dict[str, Any]:
    return {
        "ok": agreement.ok,
        "steps": agreement.steps,
        "tolerance": agreement.tolerance,
        "first": None if agreement.first is None else agreement.first._asdict(),
        "worst": [worst._asdict() for worst in agreement.worst.values()],
    }


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
