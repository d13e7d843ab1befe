"""Time one thing in one framework in this process, and print one line of JSON.

    python -m benchmarks.worker --framework torch --variant channels_last --system A --threads 1 --seconds 2

Two things would spoil a comparison silently, so both are errors: another framework in the same process, whose threads
disturb, and a number of threads other than the one asked for.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable
from typing import Any

from benchmarks import layers, steps
from benchmarks.systems import SYSTEMS

FOREIGN = {
    "scratchnet": ("torch", "jax", "tensorflow"),
    "torch": ("numba", "jax", "tensorflow"),
}
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)  # fmt: skip
LEAST_STEPS = 5


def limit_threads(threads: int) -> None:
    """By the environment, before any library is loaded: NumPy's BLAS and Numba read it once."""
    if "numpy" in sys.modules:
        raise RuntimeError("numpy is loaded already: the number of threads has to be set before")
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))


def apply_threads(framework: str, variant: str, threads: int) -> None:
    if framework == "torch":
        import torch

        torch.set_num_threads(threads)
    elif variant.startswith("numba"):
        from scratchnet.kernels.cpu import _compile

        _compile.set_num_threads(threads)


def threads_in_effect() -> dict[str, int]:
    """What every library that is loaded says of itself."""
    from threadpoolctl import threadpool_info

    counts = {f"{pool['user_api']}:{pool['prefix']}": pool["num_threads"] for pool in threadpool_info()}
    if "torch" in sys.modules:
        counts["torch"] = sys.modules["torch"].get_num_threads()
    compiled = sys.modules.get("scratchnet.kernels.cpu._compile")
    if compiled is not None:
        counts["numba"] = compiled.get_num_threads()
    return counts


def check_threads(counts: dict[str, int], cores_used: float, threads: int) -> None:
    wrong = {name: count for name, count in counts.items() if count != threads}
    if wrong:
        raise RuntimeError(f"threads: expected {threads} everywhere, got {wrong}")
    if cores_used > threads + 0.1:
        raise RuntimeError(f"threads: expected at most {threads} at work, {cores_used:.2f} cores were")


def check_alone(framework: str, modules: Iterable[str]) -> None:
    others = sorted(set(FOREIGN[framework]).intersection(modules))
    if others:
        raise RuntimeError(f"{framework}: expected to be alone in its process, {', '.join(others)} is loaded too")


def fallbacks(variant: str) -> list[str]:
    """The ops that this rung left to im2col in the steps that ran; flatten is no work on any rung."""
    from scratchnet import backend

    rung = variant.removesuffix("-unfused")
    return sorted(op for (op, of), pair in backend._table.items() if of == rung != pair.rung and op != "flatten")


def peak_memory() -> float:
    """MB of memory that this process has held at most."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def measure(options: argparse.Namespace) -> dict[str, Any]:
    started = time.perf_counter()
    limit_threads(options.threads)
    apply_threads(options.framework, options.variant, options.threads)
    if options.layer:
        step = layers.build(options.framework, options.variant, options.layer, options.passes)
    else:
        step = steps.build(options.framework, options.variant, SYSTEMS[options.system])
    resting, begin = peak_memory(), time.perf_counter()
    setup = begin - started
    value = step.run()
    first, first_at = time.perf_counter() - begin, time.time()

    warm_up = time.perf_counter() + min(0.3, options.seconds)
    count = 0
    while count < 3 or time.perf_counter() < warm_up:
        step.run()
        count += 1

    times: list[float] = []
    cpu, begin = time.process_time(), time.perf_counter()
    while len(times) < (options.steps or LEAST_STEPS) or (
        not options.steps and time.perf_counter() - begin < options.seconds
    ):
        start = time.perf_counter()
        value = step.run()
        times.append(time.perf_counter() - start)
    cores_used = (time.process_time() - cpu) / (time.perf_counter() - begin)

    counts = threads_in_effect()
    check_alone(options.framework, sys.modules)
    check_threads(counts, cores_used, options.threads)
    if value is not None and not math.isfinite(value):
        raise RuntimeError(f"the last value is {value}: what was timed did not train")
    low, median, high = statistics.quantiles(times, n=4)
    return {
        "framework": options.framework,
        "variant": options.variant,
        "subject": f"{options.layer}:{options.passes}" if options.layer else options.system,
        "description": step.description,
        "threads": options.threads,
        "median_ms": 1e3 * median,
        "q1_ms": 1e3 * low,
        "q3_ms": 1e3 * high,
        "steps": len(times),
        "setup_s": setup,
        "first_step_s": first,
        "first_step_at": first_at,
        "resting_mb": resting,
        "peak_mb": peak_memory(),
        "cores_used": cores_used,
        "threads_in_effect": counts,
        "fallbacks": fallbacks(options.variant) if options.framework == "scratchnet" else [],
        "value": value,
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("--framework", choices=list(FOREIGN), required=True)
    parser.add_argument("--variant", required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--system", choices=list(SYSTEMS))
    what.add_argument("--layer", choices=list(layers.LAYERS))
    parser.add_argument("--passes", choices=layers.PASSES, default="both", help="of a layer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--steps", type=int, help="exactly so many steps are timed, instead of --seconds")
    options = parser.parse_args(argv)
    try:
        print(json.dumps(measure(options)))
    except (RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
