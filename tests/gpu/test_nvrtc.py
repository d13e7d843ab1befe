"""Every kernel compiles for real GPUs, with NVIDIA's own compiler: no warnings, no spills, no doubles."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import scratchnet

KERNELS = Path(scratchnet.__file__).parent / "kernels" / "gpu"
TARGETS = "sm_75", "sm_80", "sm_90"


@pytest.fixture(scope="module")
def nvrtc():
    """CuPy's binding of NVRTC, if the library can be loaded."""
    module = pytest.importorskip("cupy.cuda", reason="needs CuPy, for its binding of NVRTC", exc_type=ImportError).nvrtc
    try:
        module.getVersion()
    except (OSError, RuntimeError) as error:
        pytest.skip(f"needs NVRTC (pip install nvidia-cuda-nvrtc): {error}")
    return module


def compiled(nvrtc, source: str, target: str, options: tuple[str, ...] = ()) -> tuple[str, str]:
    """(PTX, the log with ptxas's figures); an AssertionError with the log for a warning or an error."""
    program = nvrtc.createProgram(source, "kernel.cu", [], [])
    strict = f"--gpu-architecture={target}", "--std=c++17", "--ptxas-options=-v"
    try:
        nvrtc.compileProgram(program, [*strict, *options])
        ptx, log = nvrtc.getPTX(program).decode(), nvrtc.getProgramLog(program)
    except nvrtc.NVRTCError:
        raise AssertionError(nvrtc.getProgramLog(program)) from None
    finally:
        nvrtc.destroyProgram(program)
    assert "warning" not in log, log  # -Werror is not an option of every version of NVRTC
    return ptx, log


def figures(log: str) -> dict[str, tuple[int, int]]:
    """Kernel → (registers, bytes spilled)."""
    found = {}
    for part in log.split("Compiling entry function '")[1:]:
        registers = re.search(r"Used (\d+) registers", part)
        spilled = re.search(r"(\d+) bytes spill stores", part)
        assert registers, f"no figures of ptxas in: {part}"
        assert spilled, f"no figures of ptxas in: {part}"
        found[part.partition("'")[0]] = int(registers[1]), int(spilled[1])
    return found


def examine(nvrtc, source: str, target: str, real: str, options: tuple[str, ...] = ()) -> dict[str, tuple[int, int]]:
    """The figures of each kernel; an AssertionError for a spill, or for a double in float32's variant."""
    ptx, log = compiled(nvrtc, source, target, (f"-DREAL={real}", *options))
    found = figures(log)
    assert found, f"ptxas named no kernel: {log}"
    spilling = {name: spilled for name, (_, spilled) in found.items() if spilled}
    assert not spilling, f"registers spilled, in bytes: {spilling}"
    doubles = [line.strip() for line in ptx.splitlines() if ".f64" in line]
    assert real == "double" or not doubles, f"float64 in a float32 kernel: {doubles[:5]}"
    return found


def variants(name: str) -> list[tuple[str, ...]]:
    """The options, beside REAL, that the launchers give for a file: VARIANTS in kernels/gpu/_launch.py."""
    table = {}
    if (KERNELS / "_launch.py").exists() and find_spec("cupy"):
        table = getattr(import_module("scratchnet.kernels.gpu._launch"), "VARIANTS", {})
    return [tuple(options) for options in table.get(name, [()])]


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.cu")), ids=lambda path: path.stem)
def test_every_variant_compiles(nvrtc, path, capsys):
    rows = [f"{'kernel':32}{'variant':24}{'target':>8}{'registers':>11}"]
    for real in ("float", "double"):
        for options in variants(path.name):
            for target in TARGETS:
                found = examine(nvrtc, path.read_text(), target, real, (f"-I{KERNELS}", *options))
                label = " ".join([real, *options])
                rows += [f"{kernel:32}{label:24}{target:>8}{count:>11}" for kernel, (count, _) in found.items()]
    with capsys.disabled():
        print("", *rows, sep="\n")


KERNEL = 'extern "C" __global__ void k(REAL* x) {\n%s\n}\n'


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("real", ["float", "double"])
def test_a_sound_kernel_passes(nvrtc, real, target):
    found = examine(nvrtc, KERNEL % "x[threadIdx.x] *= (REAL)0.5;", target, real)
    assert found["k"][0] > 0


@pytest.mark.parametrize(
    ("body", "options", "message"),
    [
        ("x[threadIdx.x] *= 0.1;", (), "float64 in a float32 kernel"),
        ("int never_used = 3;", (), "never_used"),
        ("x[0] = nothing;", (), "nothing"),
        ("REAL r[64];\n#pragma unroll\nfor (int i = 0; i < 64; ++i) r[i] = x[i * 32 + threadIdx.x];\n__syncthreads();\n"
         "#pragma unroll\nfor (int i = 0; i < 64; ++i) x[i * 32 + threadIdx.x] = r[63 - i] * r[i];",
         ("--maxrregcount=32",), "spilled"),
    ],
    ids=["a double", "a warning", "an error", "a spill"],
)  # fmt: skip
def test_planted_defects_are_seen(nvrtc, body, options, message):
    with pytest.raises(AssertionError, match=message):
        examine(nvrtc, KERNEL % body, "sm_80", "float", options)
