"""python -m scratchnet.doctor, here and in strange places."""

import json
import os
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

import scratchnet.__main__
import scratchnet.doctor
from scratchnet.diagnosis import Finding, Section, cpu, data, examine, gpu, packages, self_test

ROOT = Path(__file__).parents[2]


def doctor(*arguments, cwd=None, **environment):
    """(exit code, findings by name, stderr) of a process of its own."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    argv = [sys.executable, "-m", "scratchnet.doctor", "--json", *arguments]
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    assert found.pop("works") == (done.returncode == 0)
    return done.returncode, {finding["name"]: finding for part in found.values() for finding in part}, done.stderr


def without(folder: Path, *names: str) -> str:
    """A PYTHONPATH on which these packages cannot be imported."""
    for name in names:
        (folder / f"{name}.py").write_text("raise ImportError('planted')")
    return os.pathsep.join([str(folder), str(ROOT)])


# Here


def test_here_it_works(tmp_path):
    code, found, error = doctor(cwd=tmp_path)
    assert (code, error) == (0, "")
    for name in ("processor", "compiled kernels", "vectors", "kernel cache", "BLAS", "mnist", "numba", "torch"):
        assert found[name]["state"] == "ok", found[name]
    assert "within" in found["compiled kernels"]["text"]
    assert "10,000 test images read" in found["mnist"]["text"]
    assert not any(finding["state"] == "not ok" for finding in found.values() if finding["essential"])


@pytest.fixture
def quick(monkeypatch):
    """No second process."""
    monkeypatch.setattr(self_test, "_in_another_process", lambda: dict(GOOD))


GOOD = {
    "numba": "1.2.3",
    "bytes": 32,
    "avx512": False,
    "neon": False,
    "cache": None,
    "threads": 2,
    "difference": 1e-7,
    "seconds": 1.5,
    "layer": "omp",
}


def test_the_text_fits_100_columns_and_says_all(capsys, quick, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert scratchnet.__main__.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines() if "/" not in line) <= 100
    for part in ("CPU\n", "GPU\n", "Files\n", "Packages\n", "Extras\n", "AVX2: 8 float32 numbers at once"):
        assert part in text
    assert "  not ok      OPENBLAS_CORETYPE" in text
    assert "→ unset OPENBLAS_CORETYPE" in text
    assert text.splitlines()[-1].startswith("Training on the CPU works. See what is “not ok” above: ")
    assert scratchnet.__main__.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["works"] is True


def test_long_paths_and_advice_are_wrapped():
    section = Section(
        "Part", [Finding("name", "not ok", "word " * 40, "advice " * 20), Finding("n" * 30, "ok", "text")]
    )
    text = scratchnet.doctor.as_text([section])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].startswith("  not ok      name                  word word")
    assert any(line.startswith(" " * 34 + "→ advice") for line in lines)
    assert lines[-1] == "Training on the CPU works. See what is “not ok” above: 1 thing."


def test_exit_code_1_only_for_what_training_needs(capsys, monkeypatch):
    def essential(value):
        return [Section("CPU", [Finding("x", "not ok", "broken", essential=value)])]

    for value, code in ((False, 0), (True, 1)):
        monkeypatch.setattr(scratchnet.doctor, "examine_everything", lambda value=value: essential(value))
        assert scratchnet.doctor.main([]) == code
    assert "Training on the CPU does not work." in capsys.readouterr().out


def test_a_check_that_fails_is_a_finding_and_stops_no_other():
    def strange_check():
        yield Finding("first", "ok", "before")
        raise ZeroDivisionError("planted")

    def next_check():
        yield Finding("last", "ok", "after")

    first, failed, last = examine("Part", strange_check, next_check).findings
    assert (first.name, failed.name, last.name) == ("first", "strange check", "last")
    assert failed.state == "not ok"
    assert "ZeroDivisionError: planted" in failed.text


# Strange places, as processes


def test_without_numba(tmp_path):
    code, found, _ = doctor(PYTHONPATH=without(tmp_path, "numba"))
    assert code == 1
    assert found["compiled kernels"]["state"] == "not ok"
    assert "ImportError: planted" in found["compiled kernels"]["text"]
    assert "--rung im2col" in found["compiled kernels"]["advice"]
    assert found["numba"]["state"] == "not ok"
    assert found["mnist"]["state"] == "ok"


def test_without_what_can_be_done_without(tmp_path):
    path = without(tmp_path, "threadpoolctl", "PIL", "torch", "matplotlib", "cupy")
    code, found, _ = doctor(PYTHONPATH=path)
    assert code == 0
    assert found["Pillow"]["state"] == "not ok"
    assert "cannot be imported: ImportError: planted" in found["Pillow"]["text"]
    assert found["blas"]["state"] == "not ok"  # the check, which could not find it out
    assert "planted" in found["blas"]["text"]


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    code, found, error = doctor(NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert (code, error) == (0, "")
    assert found["kernel cache"]["state"] == "not ok"
    assert "NUMBA_CACHE_DIR" in found["kernel cache"]["advice"]
    assert found["compiled kernels"]["state"] == "ok"


def test_code_for_another_processor_ends_the_self_test_and_not_the_doctor(monkeypatch):
    done = types.SimpleNamespace(returncode=-4, stdout="", stderr="")
    monkeypatch.setattr(self_test.subprocess, "run", lambda *args, **options: done)
    (finding,) = self_test.kernels()
    assert (finding.state, finding.essential) == ("not ok", True)
    assert "signal 4 (illegal instruction)" in finding.text


def test_no_data_and_a_rung_that_is_none(tmp_path):
    code, found, _ = doctor(SCRATCHNET_DATA=str(tmp_path), SCRATCHNET_RUNG="warp")
    assert code == 1
    assert "expected one of loops, im2col, numba" in found["SCRATCHNET_RUNG"]["text"]
    assert found["cifar10"]["state"] == "not needed"
    assert "scratchnet.data download cifar10" in found["cifar10"]["advice"]
    assert found["mnist"]["state"] == "ok"  # the package's


# Strange places, pretended


def states(check) -> dict[str, str]:
    return {finding.name: finding.state for finding in check()}


def only(check) -> Finding:
    (finding,) = check()
    return finding


def test_no_proc_cpuinfo(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "nowhere")
    monkeypatch.setattr(cpu.platform, "processor", lambda: "")
    monkeypatch.setattr(cpu.platform, "machine", lambda: "riscv64")
    assert only(cpu.processor).text.startswith("riscv64, ")


@pytest.mark.parametrize(
    ("content", "state"), [("50000 100000", "not ok"), ("max 100000", "ok"), ("rubbish", "ok"), ("1 0", "ok")]
)
def test_a_container_with_less_than_the_processors_it_shows(monkeypatch, tmp_path, content, state):
    (tmp_path / "cpu.max").write_text(content)
    monkeypatch.setattr(cpu, "QUOTA", tmp_path / "cpu.max")
    finding = only(cpu.threads)
    assert finding.state == state
    assert ("may use 0.5 cores" in finding.text) == (state == "not ok")
    assert finding.advice.endswith("--threads 1") == (state == "not ok")


@pytest.mark.parametrize(
    ("name", "value", "state", "essential"),
    [
        ("SCRATCHNET_RUNG", "loops", "not ok", False),
        ("SCRATCHNET_RUNG", "numba", None, False),
        ("NUMBA_DISABLE_JIT", "1", "not ok", True),
        ("NUMBA_DISABLE_JIT", "0", None, False),
        ("OPENBLAS_CORETYPE", "Haswell", "not ok", False),
        ("NUMBA_CPU_NAME", "generic", "not ok", False),
        ("MKL_NUM_THREADS", "1", "ok", False),
        ("MKL_NUM_THREADS", "four", None, False),
    ],
)
def test_settings(monkeypatch, name, value, state, essential):
    for known in (*cpu.SLOW, *cpu.THREADS, "SCRATCHNET_RUNG", "NUMBA_DISABLE_JIT"):
        monkeypatch.delenv(known, raising=False)
    monkeypatch.setattr(cpu, "_usable", lambda: 8)
    assert states(cpu.settings) == {"settings": "ok"}
    monkeypatch.setenv(name, value)
    finding = only(cpu.settings)
    assert (finding.name, finding.state) == (name, state) if state else finding.name == "settings"
    assert finding.essential == essential


def test_kernels_that_compute_wrongly(monkeypatch):
    monkeypatch.setattr(self_test, "_in_another_process", lambda: {**GOOD, "difference": 0.3})
    finding = next(self_test.kernels())
    assert (finding.state, finding.essential) == ("not ok", True)


def test_the_self_test_sees_a_wrong_kernel(monkeypatch):
    from scratchnet import backend

    assert self_test._difference() < self_test.TOLERANCE
    backend.implementation("conv2d", "numba")
    pair = backend._table["conv2d", "numba"]

    def wrong(dy, cache):
        dx, dweight, dbias = pair.backward(dy, cache)
        return dx, dweight * 1.001, dbias

    monkeypatch.setitem(backend._table, ("conv2d", "numba"), pair._replace(backward=wrong))
    assert self_test._difference() > self_test.TOLERANCE


def test_a_folder_where_nothing_can_be_written(monkeypatch):
    monkeypatch.setattr(cpu.os, "access", lambda *arguments: False)
    finding = only(cpu.run_folder)
    assert finding.state == "not ok"
    assert "--out" in finding.advice


def test_damaged_data(monkeypatch, tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in (
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
    ):
        (folder / name).write_bytes(b"rubbish")
    monkeypatch.setenv("SCRATCHNET_DATA", str(tmp_path))
    finding = next(each for each in data.datasets() if each.name == "mnist")
    assert (finding.state, finding.essential) == ("not ok", True)
    assert "t10k-images-idx3-ubyte" in finding.text


# Packages


def test_the_packages_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra in {*wanted} - {"test", "dev", "docs", "cuda12", "cuda13"}:  # CuPy has a section of its own
        listed = [f"{package}>={oldest}" for package, (_, oldest) in packages.PACKAGES[extra].items()]
        assert listed == wanted[extra], extra


def test_packages_that_are_missing_or_old(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setattr(
        packages.metadata, "version", lambda name: {"numba": "0.60.1", "numpy": "10.0rc1"}.get(name, "99")
    )
    required = {finding.name: finding for finding in packages.required()}
    assert required["numba"].state == "not ok"
    assert required["numba"].text == "0.60.1, older than 0.61"
    assert required["numba"].advice == "pip install 'numba>=0.61'"
    assert required["numpy"].state == "ok"
    torch = next(finding for finding in packages.extras() if finding.name == "torch")
    assert torch.state == "not needed"
    assert "torchvision not installed" in torch.text
    assert torch.advice == "pip install 'scratchnet[torch]'"


# GPUs


def driver(cuda=(12, 4), gpus=("NVIDIA X, 80 GiB",), problem=""):
    return lambda: gpu.Driver(cuda, gpus, problem)


@pytest.fixture
def cupy(monkeypatch):
    """A function that pretends a driver and distributions of CuPy."""

    def pretend(ask_driver, **installed):
        names = {f"cupy-{key}" if key != "cupy" else key: version for key, version in installed.items()}
        monkeypatch.setattr(gpu, "ask_driver", ask_driver)
        monkeypatch.setattr(gpu, "_installed_cupy", lambda: names)
        monkeypatch.setattr(gpu, "_try_cupy", lambda text, usable: Finding("CuPy", "ok", f"{text}, tried"))
        return only(gpu.cupy)

    return pretend


def test_cupy_in_all_its_states(cupy):
    assert cupy(driver(None, ())).state == "not needed"
    missing = cupy(driver())
    assert (missing.state, missing.advice) == ("not ok", "pip install 'scratchnet[cuda12]', then --device gpu")
    assert "scratchnet[cuda13]" in cupy(driver((13, 1))).advice
    assert cupy(driver(), cuda12x="14.0").text == "cupy-cuda12x 14.0, tried"
    twice = cupy(driver(), cuda12x="14.0", cuda13x="14.0")
    assert twice.state == "not ok"
    assert "pip uninstall cupy-cuda12x cupy-cuda13x, then pip install 'scratchnet[cuda12]'" in twice.advice
    new = cupy(driver(), cuda13x="14.0")
    assert (new.state, new.text) == ("not ok", "cupy-cuda13x 14.0 needs a driver for CUDA 13")


def test_cupy_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    finding = gpu._try_cupy("cupy-cuda12x 14.0", usable=True)
    assert finding.state == "not ok"
    assert "ModuleNotFoundError" in finding.text
    monkeypatch.setattr(gpu, "ask_driver", driver())
    monkeypatch.setattr(gpu, "_installed_cupy", lambda: {"cupy-cuda12x": "14.0"})
    assert only(gpu.nvrtc).state == "not ok"


class Library:
    """libcuda as far as it is used."""

    def __init__(self, code=0, count=1):
        self.code, self.count = code, count

    def cuInit(self, flags):
        return self.code

    def cuDriverGetVersion(self, version):
        version._obj.value = 12040

    def cuDeviceGetCount(self, count):
        count._obj.value = self.count

    def cuDeviceGet(self, device, index):
        device._obj.value = index

    def cuDeviceGetName(self, name, size, device):
        name.value = b"NVIDIA X"

    def cuDeviceTotalMem_v2(self, memory, device):
        memory._obj.value = 80 << 30

    def cuGetErrorName(self, code, name):
        name._obj.value = b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (None, {"CUDA driver": "not needed"}),
        (Library(), {"CUDA driver": "ok", "gpu:0": "ok"}),
        (Library(count=2), {"CUDA driver": "ok", "gpu:0": "ok", "gpu:1": "ok"}),
        (Library(gpu.NO_DEVICE), {"CUDA driver": "ok", "GPU": "not needed"}),
        (Library(803), {"CUDA driver": "not ok"}),
    ],
)
def test_what_the_driver_says(monkeypatch, library, expected):
    gpu.ask_driver.cache_clear()
    monkeypatch.setattr(gpu, "_load", lambda names: library)
    assert states(gpu.driver) == expected
    first = next(gpu.driver())
    assert ("CUDA 12.4" in first.text) == (library is not None)
    assert ("MISMATCH (803)" in first.text) == (expected["CUDA driver"] == "not ok")
    gpu.ask_driver.cache_clear()


def test_distributions_of_cupy_are_found_by_any_name(monkeypatch):
    names = ["NumPy", "cupy-cuda12x", "CuPy", "cupy-rocm-5-0", "cupyx-tools", None]
    made = [types.SimpleNamespace(metadata={"Name": name}, version="1") for name in names]
    monkeypatch.setattr(gpu.metadata, "distributions", lambda: made)
    assert [*gpu._installed_cupy()] == ["cupy", "cupy-cuda12x", "cupy-rocm-5-0"]


def test_a_program_that_only_diagnoses_imports_neither_torch_nor_matplotlib():
    code = "import sys, scratchnet.doctor as d; d.examine_everything(); print({'torch', 'matplotlib'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"


def test_bad_arguments():
    with pytest.raises(SystemExit) as stop:
        scratchnet.doctor.main(["--fix"])
    assert stop.value.code == 2
