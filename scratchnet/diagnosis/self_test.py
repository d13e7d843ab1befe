"""A convolution on the numba rung, forward and backward, beside the textbook one.

It runs in a process of its own: code that was compiled for another processor ends its process without a word.
`python -m scratchnet.diagnosis.self_test` prints what it found as one line of JSON.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scratchnet.diagnosis.finding import Finding

TOLERANCE = 1e-5  # of the norm
SECONDS = 600
REINSTALL = "pip install --force-reinstall scratchnet numba llvmlite"
ELSE = "; until then --rung im2col works without it, slowly"


def run() -> dict[str, Any]:
    """What the numba rung does here: lanes, threads, cache, and how far it is from im2col."""
    import numba

    from scratchnet import get_num_threads
    from scratchnet.kernels.cpu import _compile, vector

    directory = _compile.cache_directory()
    start = time.perf_counter()
    difference = _difference()
    return {
        "numba": numba.__version__,
        "bytes": vector.BYTES,
        "avx512": vector.AVX512,
        "neon": "neon" in vector._FEATURES,
        "cache": directory and str(directory),
        "threads": get_num_threads(),
        "difference": difference,
        "seconds": time.perf_counter() - start,
        "layer": _threading_layer() if get_num_threads() > 1 else None,
    }


def _difference() -> float:
    """The largest ‖numba − im2col‖ / ‖im2col‖ of y, dx, dweight and dbias."""
    import numpy

    from scratchnet import functional as F
    from scratchnet import use

    rng = numpy.random.default_rng(0)
    x, weight, bias, dy = (
        rng.standard_normal(shape).astype("float32") for shape in ((8, 3, 15, 17), (5, 3, 3, 3), (5,), (8, 5, 15, 17))
    )
    results = {}
    for rung in ("numba", "im2col"):
        with use(rung):
            y, cache = F.conv2d(x, weight, bias, padding=1)
            results[rung] = [y, *F.conv2d_backward(dy, cache)]
    norm = numpy.linalg.norm
    return max(float(norm(ours - theirs) / norm(theirs)) for ours, theirs in zip(*results.values(), strict=True))


def _threading_layer() -> str:
    """Numba chooses it when threads are first needed."""
    import numba
    import numpy

    from scratchnet import functional as F
    from scratchnet.kernels.cpu import _compile

    _compile.GRAIN = 1  # small work would stay on one thread
    F.relu(numpy.ones((64, 64), "float32"))
    return numba.threading_layer()


def kernels() -> Iterator[Finding]:
    """Findings from a run in another process."""
    done = _in_another_process()
    if isinstance(done, str):
        yield Finding("compiled kernels", "not ok", done, REINSTALL + ELSE, essential=True)
        return
    good = done["difference"] <= TOLERANCE
    text = f"convolution forward and backward within {done['difference']:.0e} of im2col's, {done['seconds']:.1f} s"
    advice = "" if good else "This is a bug, or a fault of the machine: please report it. --rung im2col is right"
    yield Finding("compiled kernels", "ok" if good else "not ok", f"numba {done['numba']}: {text}", advice, True)
    yield _vectors(done)
    yield _layer(done)
    yield _cache(done["cache"])


def _vectors(done: dict[str, Any]) -> Finding:
    name = "AVX-512" if done["avx512"] else "AVX2" if done["bytes"] == 32 else "NEON" if done["neon"] else "SSE"
    asked = os.environ.get("NUMBA_CPU_NAME")
    text = f"{name}: {done['bytes'] // 4} float32 numbers at once" + (f", as NUMBA_CPU_NAME={asked} says" * bool(asked))
    return Finding("vectors", "ok", text)


def _layer(done: dict[str, Any]) -> Finding:
    layer = done["layer"]
    if layer is None:
        return Finding("threading layer", "not needed", "one thread")
    if layer == "workqueue":
        advice = "OpenMP wakes its threads faster: apt install libgomp1, or pip install tbb"
        return Finding("threading layer", "ok", "workqueue", advice)
    return Finding("threading layer", "ok", str(layer))


def _cache(directory: str | None) -> Finding:
    if directory is None:
        advice = "NUMBA_CACHE_DIR=DIR names another place; without one every process compiles for some seconds"
        return Finding("kernel cache", "not ok", "nothing can be written where compiled kernels are kept", advice)
    files = [file for file in Path(directory).rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    text = f"{directory}, {len(files)} files, {size:.0f} MB"
    return Finding("kernel cache", "ok", text, "" if len(files) > 100 else "scratchnet warmup compiles them all now")


def _in_another_process() -> dict[str, Any] | str:
    """What `run` gave there, or why it gave nothing."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__], env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"the self-test did not end within {SECONDS} seconds"
    except OSError as error:
        return f"the self-test could not be started: {error}"
    if done.returncode < 0:
        return (
            f"the self-test was ended by signal {-done.returncode}{' (illegal instruction)' * (done.returncode == -4)}"
        )
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return f"the self-test failed: {lines[-1]}"


if __name__ == "__main__":
    print(json.dumps(run()))
