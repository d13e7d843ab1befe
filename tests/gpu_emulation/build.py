"""From a `.cu` source to a library that Python can call: g++, cached by content.

Two processes (or threads) may build the same library at the same time: each writes a file of its own and renames it
into place.
"""

import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).parent
COMMON = [
    "-std=c++17",
    "-fPIC",
    "-march=native",
    "-g1",
    "-gdwarf-4",
    "-fno-exceptions",
    "-fno-strict-aliasing",
    "-fno-gnu-unique",
]
COMMON += ["-Wno-unknown-pragmas"]
CHECKS = "thread", "alignment", "bounds", "shift", "integer-divide-by-zero", "signed-integer-overflow"
MODES = {
    "fast": ["-O2"],
    "checked": ["-O1", *(f"-fsanitize={name}" for name in CHECKS)],
}
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s*)?([\w ]+?)\s+(\w+)\s*\[\s*\]")
_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)


class CompileError(Exception):
    """g++ refused the source; the message is g++'s."""


def missing() -> str | None:
    """Why nothing can be emulated here, or None."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"the emulated GPU needs Linux on x86-64, this is {platform.system()} on {platform.machine()}"
    absent = [tool for tool in ("g++", "nm", "addr2line") if shutil.which(tool) is None]
    return f"the emulated GPU needs {', '.join(absent)}" if absent else None


def expand(source: str, name: str, folders: list[Path], seen: set[Path]) -> str:
    """The source with every `#include "…"` in place, for the hash and for `_DYNAMIC`."""
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate(source.splitlines(), 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not found:
            lines.append(line)
            continue
        path = next((folder / found[1] for folder in folders if (folder / found[1]).exists()), None)
        if path is None:
            raise CompileError(f"{name}:{number}: no {found[1]} in {', '.join(map(str, folders)) or 'any folder'}")
        if path not in seen:
            seen.add(path)
            lines.append(expand(path.read_text(), path.name, folders, seen))
        lines.append(f'#line {number + 1} "{name}"')
    text = "\n".join(lines)
    return _DYNAMIC.sub(r"\1* const \2 = (\1*)emu_dynamic_shared()", text.replace("#pragma once", ""))


def kernels(source: str) -> dict[str, list[str]]:
    """Kernel → the names of its parameters."""
    plain = _COMMENT.sub("", source)
    return {
        name: [p.split()[-1].strip("*") for p in text.split(",") if p.strip()] for name, text in _KERNEL.findall(plain)
    }


def library(source: str, defines: list[str], mode: str) -> Path:
    """The shared library for an expanded source."""
    entries = "".join(
        f'extern "C" EmuKernel emu_kernel_{name};\nEmuKernel emu_kernel_{name} = emu_describe(&{name});\n'
        for name in kernels(source)
    )
    runtime = _runtime()
    key = _hash(source, entries, *defines, mode, runtime.name)

    def build(out: Path) -> None:
        unit, compiled = out.with_suffix(".cpp"), out.with_suffix(".o")
        unit.write_text(f"{source}\n{entries}")
        try:
            _run(
                "g++",
                *COMMON,
                *MODES[mode],
                *defines,
                "-include",
                str(HERE / "cuda_on_host.h"),
                "-c",
                unit,
                "-o",
                compiled,
            )
            _run("g++", "-shared", "-Wl,-Bsymbolic", compiled, runtime, "-o", out)
        finally:
            unit.unlink(missing_ok=True)
            compiled.unlink(missing_ok=True)

    return _cached(f"module_{mode}_{key}.so", build)


def shared_arrays(path: Path) -> list[tuple[int, int]]:
    """(offset, bytes) of the `__shared__` arrays: the only variables that live inside functions (_ZZ…)."""
    rows = (line.split() for line in _run("nm", "-S", "--defined-only", path).splitlines())
    found = (row for row in rows if len(row) == 4 and row[2] in "bBuVvdD" and row[3].startswith("_ZZ"))
    return [(int(row[0], 16), int(row[1], 16)) for row in found]


def line_of(path: Path, offset: int) -> str:
    """file:line of an instruction; the caller's, where the instruction came from an inlined function of ours."""
    places = _run("addr2line", "-i", "-e", path, hex(offset)).splitlines()
    theirs = [place for place in places if "cuda_on_host.h" not in place] or places
    return theirs[0].partition(" (")[0].rsplit("/", 1)[-1]


@functools.cache
def _runtime() -> Path:
    """Scheduler and checker in one object, never instrumented."""
    files = [HERE / name for name in ("scheduler.cpp", "checker.cpp")]
    texts = [path.read_text() for path in (*files, HERE / "cuda_on_host.h", HERE / "scheduler.h")]
    text = "".join(f'#include "{path}"\n#undef PC\n' for path in files)

    def build(out: Path) -> None:
        unit = out.with_suffix(".cpp")
        unit.write_text(text)
        _run("g++", *COMMON, "-O2", "-c", unit, "-o", out)
        unit.unlink()

    return _cached(f"runtime_{_hash(*texts)}.o", build)


def _hash(*texts: str) -> str:
    digest = hashlib.sha256("\0".join([*texts, *COMMON, *map(str, MODES.values()), _processor()]).encode())
    return digest.hexdigest()[:20]


@functools.cache
def _processor() -> str:
    """-march=native: a library is for the processor that it was compiled on."""
    with open("/proc/cpuinfo") as file:
        return next((line for line in file if line.startswith("flags")), "")


def _folder() -> Path:
    chosen = os.environ.get("SCRATCHNET_GPU_EMULATION_CACHE")
    folder = Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"scratchnet-gpu-emulation-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _cached(name: str, build) -> Path:
    path = _folder() / name
    if not path.exists():
        fresh = path.with_name(f"{os.getpid()}_{threading.get_ident()}_{name}")
        build(fresh)
        fresh.replace(path)
    return path


def _run(*command) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise CompileError(done.stderr)
    return done.stdout
