"""python -m scratchnet.warmup: compile all kernels now, so that no training has to wait for them."""

import argparse
import sys
import time
from collections.abc import Iterator

import numpy

import scratchnet
from scratchnet import _cli, models, nn, optim, recipes
from scratchnet.nn.module import float_dtype
from scratchnet.training.loop import train_step
from scratchnet.training.setup import make_optimizer

STEPS = 2  # an optimizer's first step makes its state, by another way than all later ones
BATCH = 4

OPTIMIZERS = (optim.SGD, optim.Adam, optim.RMSprop, optim.Adagrad)


def rare_layers() -> Iterator[tuple[nn.Module, nn.Module]]:
    """What none of the networks has, as small networks for images of (3, 8, 8), with losses."""
    activations = [nn.LeakyReLU(), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.Softmax(1)]
    pools = [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    padded = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect", rng=0)
    layers = [padded, nn.ConvTranspose2d(3, 4, 3, rng=0), *activations, *pools, nn.Linear(16, 10, rng=0)]
    yield nn.Sequential(*layers), nn.MSELoss()
    yield nn.Sequential(nn.Flatten(), nn.Linear(192, 10, rng=0), nn.LogSoftmax(1)), nn.NLLLoss()


def run_everything(dtype: str) -> None:
    """A few steps of every network, layer, loss and optimizer, through the same calls as a training's."""
    rng = numpy.random.default_rng(0)
    labels = numpy.arange(BATCH)
    for family, networks in models.MODELS.items():
        x = rng.standard_normal((BATCH, *recipes.IMAGES[family])).astype(dtype)
        for name in networks:
            model: nn.Module = models.build(family, name, rng=0).to(float_dtype(dtype))
            optimizer = make_optimizer(recipes.find(family, name), model)
            for network in (model, scratchnet.fuse(model)):
                for _ in range(STEPS):
                    train_step(network, nn.CrossEntropyLoss(), optimizer, x, labels)
            model.eval()(x)

    small = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, rng=0), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10, rng=0))
    small.to(float_dtype(dtype))
    x, many = rng.standard_normal((16, 64, 2, 2)).astype(dtype), numpy.arange(16) % 10
    for network in (small, scratchnet.fuse(small)):  # a large batch of small images is convolved in another way
        train_step(network, nn.CrossEntropyLoss(), optim.SGD(small.parameters(), lr=1e-3), x, many)

    # What is mostly zeros is multiplied in another way, if it is much.
    wide, dark = nn.Linear(16, 128, rng=0).to(float_dtype(dtype)), numpy.eye(32, 16, dtype=dtype)
    train_step(wide, nn.CrossEntropyLoss(), optim.SGD(wide.parameters(), lr=1e-3), dark, numpy.arange(32))

    x = rng.standard_normal((BATCH, 3, 8, 8)).astype(dtype)
    for model, criterion in rare_layers():
        model.to(float_dtype(dtype))
        target = numpy.zeros((BATCH, 10), dtype) if isinstance(criterion, nn.MSELoss) else labels
        for make in OPTIMIZERS:
            optimizer = make(model.parameters(), lr=1e-3)
            for _ in range(STEPS):
                train_step(model, criterion, optimizer, x, target)


def count() -> tuple[int, int]:
    """How many kernels this process has compiled, and how many it has found in the cache."""
    from scratchnet.kernels.cpu._compile import Kernel

    modules = [module for name, module in sys.modules.items() if name.startswith("scratchnet.kernels.cpu.")]
    kernels = {value for module in modules for value in vars(module).values() if isinstance(value, Kernel)}
    stats = [code.stats for kernel in kernels for code in (kernel.serial, kernel.parallel) if code is not None]
    compiled = sum(sum(each.cache_misses.values()) for each in stats)
    return compiled, sum(sum(each.cache_hits.values()) for each in stats)


def warm_up(dtype: str) -> None:
    from scratchnet.kernels.cpu import _compile

    # Small work is not worth a second thread, and its code would not be compiled: here it is.
    grain, _compile.GRAIN = _compile.GRAIN, 1
    try:
        with scratchnet.use("numba"), _cli.tutorials_dropout2d():
            run_everything(dtype)
    finally:
        _compile.GRAIN = grain


def command(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.warmup", description=__doc__)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--threads", type=_cli.positive_int, help="of the kernels and of BLAS (default: all cores)")
    options = parser.parse_args(argv)
    if options.threads:
        scratchnet.set_num_threads(options.threads)
    start = time.perf_counter()
    warm_up(options.dtype)
    seconds = time.perf_counter() - start

    from scratchnet.kernels.cpu._compile import cache_directory

    compiled, found = count()
    print(
        f"{options.dtype}, --threads {scratchnet.get_num_threads()}: {compiled} kernels compiled, "
        f"{found} found in the cache, {seconds:.1f} s"
    )
    directory = cache_directory()
    if directory is not None:
        print(f"kept in {directory}")


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
