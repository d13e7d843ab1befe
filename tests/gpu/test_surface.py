"""The stand-in promises nothing that the real CuPy lacks: its names exist there, and take its parameters."""

import inspect
from types import ModuleType, SimpleNamespace

import gpu_emulation
import pytest

VARIADIC = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL


@pytest.fixture(scope="module")
def real():
    """CuPy itself, which imports without a GPU."""
    pytest.importorskip("cupyx.scipy.special", exc_type=ImportError)
    return {"cupy": pytest.importorskip("cupy"), "cupyx": pytest.importorskip("cupyx")}


def differences(ours: object, theirs: object, name: str) -> list[str]:
    """What a name of ours has and theirs has not: names within modules and classes, parameters of functions."""
    if isinstance(ours, ModuleType | SimpleNamespace) or inspect.isclass(ours):
        found = []
        for part, value in vars(ours).items():
            if part.startswith("_") or (inspect.isclass(ours) and part in ("mode", "backwards")):
                continue  # the last two are the emulator's own settings of RawModule
            if not hasattr(theirs, part):
                found.append(f"{name}.{part}")
            elif not isinstance(value, type) or value.__module__.startswith(("cupy", "gpu_emulation")):
                found += differences(value, getattr(theirs, part), f"{name}.{part}")
        return found + (_parameters(ours.__init__, theirs, name) if inspect.isclass(ours) else [])
    return _parameters(ours, theirs, name) if inspect.isfunction(ours) else []


def _parameters(ours, theirs, name: str) -> list[str]:
    try:
        known = inspect.signature(theirs).parameters
        mine = inspect.signature(ours).parameters
    except (TypeError, ValueError):
        return []  # compiled without a signature
    if any(parameter.kind in VARIADIC for parameter in known.values()):
        return []
    own = [p for p, parameter in mine.items() if parameter.kind not in VARIADIC and p != "self"]
    return [f"{name}({p})" for p in own if p not in known]


def test_every_name_and_parameter_exists_in_cupy(real):
    modules = gpu_emulation.stand_in()
    found = [line for name in ("cupy", "cupyx") for line in differences(modules[name], real[name], name)]
    assert found == []


def test_an_invented_name_and_an_invented_parameter_are_seen(real):
    modules = gpu_emulation.stand_in()
    modules["cupy"].invented = lambda: None
    modules["cupy"].stack = lambda tup, axis=0, invented=1: None
    assert differences(modules["cupy"], real["cupy"], "cupy") == ["cupy.stack(invented)", "cupy.invented"]
