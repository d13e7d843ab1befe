"""python -m benchmarks.gpu: a training step on the GPU beside PyTorch's on the same card.

One framework for each process, in turns; medians. A step is zero_grad, forward, loss, backward, optimizer step, on
batches that lie on the GPU. Nothing is read back in between, and the time is that between two events on the GPU, over
as many steps as make a tenth of a second. PyTorch runs eager, compiled, and as a CUDA graph of the whole step.

It needs a GPU, CuPy and a PyTorch that can use it; without them it says so and ends with exit code 2.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import steps
from benchmarks.systems import SYSTEMS, System

NAMES = ("A", "B", "C64", "D128", "E", "ResNet20")
VARIANTS = {
    "scratchnet": ("cuda", "cuda-unfused", "im2col"),
    "torch": ("eager", "eager+fused", "compile+fused", "graph"),
}
WINDOW = 0.1  # seconds between two events
WINDOWS = 20
WARM_UP = 10  # steps


def our_step(variant: str, system: System, device: Any) -> Callable[[], Any]:
    """A function that trains on the next batch and waits for nothing."""
    import numpy

    import scratchnet
    from scratchnet import models, nn, recipes
    from scratchnet.training.loop import train_step
    from scratchnet.training.setup import make_optimizer

    scratchnet.use(variant.removesuffix("-unfused"))
    model: Any = models.build(system.family, system.model, rng=numpy.random.default_rng(0)).to(device)
    optimizer = make_optimizer(recipes.find(system.family, system.model), model)
    if variant == "cuda":
        model = scratchnet.fuse(model, input_grad=False)
    model.train()
    batches = itertools.cycle([(device.asarray(x), device.asarray(t)) for x, t in steps._batches(system)])
    criterion = nn.CrossEntropyLoss()
    return lambda: train_step(model, criterion, optimizer, *next(batches))


def torch_step(variant: str, system: System, device: str) -> Callable[[], Any]:
    import torch

    from scratchnet import recipes
    from torch_ref.models import MODELS

    torch.manual_seed(0)
    how, _, fused = variant.partition("+")
    recipe = recipes.find(system.family, system.model)
    model = MODELS[system.family][system.model]().to(device).train()
    batches = [(torch.from_numpy(x).to(device), torch.from_numpy(t).to(device)) for x, t in steps._batches(system)]
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": True if fused else None}
    if recipe.optimizer == "adam":
        optimizer: Any = torch.optim.Adam(model.parameters(), capturable=how == "graph", **options)
    else:
        optimizer = torch.optim.SGD(model.parameters(), momentum=recipe.momentum, **options)
    criterion = torch.nn.CrossEntropyLoss()

    def loss_of(x: Any, target: Any) -> Any:
        return criterion(model(x), target)

    if how == "compile":
        loss_of = torch.compile(loss_of)

    def step(x: Any, target: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(x, target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    following = itertools.cycle(batches)
    if how != "graph":
        return lambda: step(*next(following))

    x, target = (tensor.clone() for tensor in batches[0])  # what the graph reads: a batch is copied into it
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(x, target)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(x, target)

    def replay() -> Any:
        for static, new in zip((x, target), next(following), strict=True):
            static.copy_(new)
        graph.replay()
        return loss

    return replay


def measure(step: Callable[[], Any], event: Callable[[], Any], elapsed: Callable[[Any, Any], float]) -> dict[str, Any]:
    """Milliseconds of a step. event() makes one and puts it into the stream; elapsed waits for the second of two."""
    for _ in range(WARM_UP):
        loss = step()
    elapsed(event(), event())
    start = time.perf_counter()
    elapsed(event(), (step(), event())[1])
    count = max(1, round(WINDOW / (time.perf_counter() - start)))
    times = []
    for _ in range(WINDOWS):
        first = event()
        for _ in range(count):
            loss = step()
        times.append(elapsed(first, event()) / count)
    low, median, high = statistics.quantiles(times, n=4)
    return {"median_ms": median, "q1_ms": low, "q3_ms": high, "steps": count * WINDOWS, "loss": float(loss)}


def measure_ours(variant: str, system: System) -> dict[str, Any]:
    from scratchnet import backend

    device = backend.device("gpu")
    cuda = device.xp.cuda

    def event() -> Any:
        made = cuda.Event()
        made.record()
        return made

    def elapsed(first: Any, second: Any) -> float:
        second.synchronize()
        return cuda.get_elapsed_time(first, second)

    return measure(our_step(variant, system, device), event, elapsed)


def measure_torch(variant: str, system: System) -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("this PyTorch cannot use a GPU")

    def event() -> Any:
        made = torch.cuda.Event(enable_timing=True)
        made.record()
        return made

    def elapsed(first: Any, second: Any) -> float:
        second.synchronize()
        return first.elapsed_time(second)

    return measure(torch_step(variant, system, "cuda"), event, elapsed)


def table(results: dict[tuple[str, str, str], list[float]]) -> str:
    """A row for each system and variant: median milliseconds, and how the best of PyTorch compares."""
    medians = {key: statistics.median(times) for key, times in results.items()}
    lines = [f"{'system':<10}{'framework':<12}{'variant':<16}{'ms':>9}{'best torch / this':>20}"]
    for (name, framework, variant), time_ms in medians.items():
        torch = [t for (other, of, _), t in medians.items() if (other, of) == (name, "torch")]
        ratio = f"{min(torch) / time_ms:.2f}" if torch else "–"
        lines.append(f"{name:<10}{framework:<12}{variant:<16}{time_ms:>9.3f}{ratio:>20}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--systems", default=",".join(NAMES), help=f"comma-separated, out of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each variant (default: 3)")
    parser.add_argument("--one", nargs=3, metavar=("FRAMEWORK", "VARIANT", "SYSTEM"), help="in this process, as JSON")
    options = parser.parse_args(argv)
    if options.one:
        framework, variant, name = options.one
        run = measure_ours if framework == "scratchnet" else measure_torch
        print(json.dumps(run(variant, SYSTEMS[name])))
        return 0

    from scratchnet import backend

    try:
        gpu = backend.device("gpu")
    except backend.DeviceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    properties = gpu.xp.cuda.runtime.getDeviceProperties(gpu.number)
    print(f"{properties['name'].decode()}, CuPy {gpu.xp.__version__}")
    jobs = [(n, f, v) for n in options.systems.split(",") for f, variants in VARIANTS.items() for v in variants]
    results: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(options.rounds):
        for job in jobs:
            name, framework, variant = job
            command = [sys.executable, "-m", "benchmarks.gpu", "--one", framework, variant, name]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
                print(f"left out: {' '.join(job)}: {reason}", file=sys.stderr)
                continue
            results.setdefault(job, []).append(json.loads(run.stdout.splitlines()[-1])["median_ms"])
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
