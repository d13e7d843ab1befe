"""Packages that scratchnet needs, and those of its extras."""

import importlib
import importlib.util
import re
from collections.abc import Iterator
from importlib import metadata

from scratchnet.diagnosis.finding import Finding

# What pyproject.toml says: extra → package → (module, oldest version). "" is what every installation needs.
PACKAGES: dict[str, dict[str, tuple[str, str]]] = {
    "": {
        "numba": ("numba", "0.61"),
        "numpy": ("numpy", "2.0"),
        "Pillow": ("PIL", "10"),
        "safetensors": ("safetensors", "0.4"),
        "threadpoolctl": ("threadpoolctl", "3.1"),
        "tqdm": ("tqdm", "4.60"),
    },
    "torch": {"torch": ("torch", "2.4"), "torchvision": ("torchvision", "0.19")},
    "plots": {"matplotlib": ("matplotlib", "3.8"), "scikit-learn": ("sklearn", "1.4")},
    "onnx": {"onnx": ("onnx", "1.16"), "onnxruntime": ("onnxruntime", "1.18")},
    "tensorboard": {"tensorboardX": ("tensorboardX", "2.6")},
}
NOT_ESSENTIAL = ("Pillow", "threadpoolctl")  # for pictures, and for --threads
PURPOSE = {
    "torch": "torch_ref, parity, .pt files",
    "plots": "pictures",
    "onnx": "export to ONNX",
    "tensorboard": "--tensorboard",
}


def required() -> Iterator[Finding]:
    """Each of them is imported: an installation may be damaged."""
    for package, (module, oldest) in PACKAGES[""].items():
        state, text = _look(package, module, oldest)
        advice = f"pip install '{package}>={oldest}'"
        try:
            importlib.import_module(module)
        except Exception as error:
            if state == "ok":
                state, text = "damaged", f"{text}, cannot be imported: {type(error).__name__}: {error}"
                advice = f"pip install --force-reinstall '{package}>={oldest}'"
        good, essential = state == "ok", package not in NOT_ESSENTIAL
        yield Finding(package, "ok" if good else "not ok", text, "" if good else advice, essential)


def extras() -> Iterator[Finding]:
    """One line for each extra: all of its packages, or what to install."""
    for extra, packages in PACKAGES.items():
        if not extra:
            continue
        looked = {package: _look(package, *wanted) for package, wanted in packages.items()}
        text = ", ".join(f"{package} {text}" for package, (_, text) in looked.items())
        states = {state for state, _ in looked.values()}
        advice = "" if states == {"ok"} else f"pip install 'scratchnet[{extra}]'"
        old = "old" in states
        yield Finding(
            extra, "not ok" if old else "ok" if not advice else "not needed", f"{text} ({PURPOSE[extra]})", advice
        )


def _look(package: str, module: str, oldest: str) -> tuple[str, str]:
    """("ok", its version), ("old", its version and the oldest that will do) or ("missing", "not installed")."""
    try:
        there = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # sys.modules says that it cannot be imported
        there = False
    if not there:
        return "missing", "not installed"
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return "ok", "of unknown version"
    if _numbers(version) < _numbers(oldest):
        return "old", f"{version}, older than {oldest}"
    return "ok", version


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", re.match(r"[\d.]*", version)[0])]  # type: ignore[index]
