"""Which GPU, and the paragraph for each way in which there is none."""

import importlib
import sys

import pytest

from scratchnet import backend, train
from scratchnet.diagnosis import gpu as diagnosis
from scratchnet.diagnosis.gpu import Driver, why_not
from scratchnet.kernels.gpu import _launch

CARD = ("NVIDIA X, 80 GiB",)


@pytest.mark.parametrize(
    ("driver", "cupys", "says"),
    [
        (Driver(None, ()), {}, ["no NVIDIA driver", "nvidia-smi", "--device cpu"]),
        (Driver((12, 4), (), "cuInit: CUDA_ERROR_UNKNOWN (999)"), {}, ["does not start", "999", "restart the machine"]),
        (Driver((12, 4), ()), {}, ["finds no GPU", "CUDA_VISIBLE_DEVICES"]),
        (Driver((11, 8), CARD), {}, ["CUDA 11.8", "CUDA 12 or newer", "install a newer NVIDIA driver"]),
        (Driver((12, 4), CARD), {}, ["CuPy is not installed", "pip install 'scratchnet[cuda12]'"]),
        (Driver((13, 1), CARD), {}, ["pip install 'scratchnet[cuda13]'"]),
        (Driver((14, 0), CARD), {}, ["pip install 'scratchnet[cuda13]'"]),
        (
            Driver((12, 4), CARD),
            {"cupy-cuda12x": "14.0.0", "cupy-cuda13x": "14.2.0"},
            ["installed 2 times", "pip uninstall cupy-cuda12x cupy-cuda13x, then pip install 'scratchnet[cuda12]'"],
        ),
        (
            Driver((12, 4), CARD),
            {"cupy-cuda13x": "14.2.0"},
            ["needs a driver for CUDA 13", "this one is for CUDA 12.4"],
        ),
        (Driver((13, 0), CARD), {"cupy-cuda13x": "14.2.0"}, ["ImportError: no lib", "scratchnet.doctor"]),
    ],
)
def test_each_reason_has_its_next_step(monkeypatch, driver, cupys, says):
    monkeypatch.setattr(diagnosis, "ask_driver", lambda: driver)
    monkeypatch.setattr(diagnosis, "_installed_cupy", lambda: cupys)
    paragraph = why_not("ImportError: no lib")
    for part in says:
        assert part.lower() in paragraph.lower(), paragraph


@pytest.fixture
def no_gpu(monkeypatch):
    def missing(name, *args):
        if name == "cupy":
            raise ImportError("no module named cupy")
        return real(name, *args)

    real = importlib.import_module
    monkeypatch.setattr(backend, "import_module", missing)
    monkeypatch.setattr(diagnosis, "ask_driver", lambda: Driver(None, ()))


def test_without_a_gpu_the_command_ends_at_once(no_gpu, capsys, tmp_path):
    code = train.main(["mnist", "--device", "gpu", "--out", str(tmp_path / "run")])
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("error: device gpu: no NVIDIA driver was found on this machine")
    assert "no module named cupy" in error
    assert not (tmp_path / "run").exists()


def test_a_rung_of_another_device_is_a_wrong_argument(gpu, capsys):
    assert train.main(["mnist", "--device", "cpu", "--rung", "cuda"]) == 2
    assert "--rung cuda: works on the gpu, and this run is on the cpu" in capsys.readouterr().err
    assert train.main(["mnist", "--device", "gpu", "--rung", "numba"]) == 2
    assert "--rung numba: works on the cpu, and this run is on the gpu" in capsys.readouterr().err


def test_auto_is_the_cpu_then(no_gpu):
    assert backend.device("auto").kind == "cpu"


@pytest.mark.parametrize(("driver", "imported"), [(Driver(None, ()), []), (Driver((12, 4), CARD), ["cupy"])])
def test_auto_does_not_import_cupy_without_a_driver(monkeypatch, driver, imported):
    """It would load 170 MB of CUDA's libraries."""

    def note(name):
        asked.append(name)
        raise ImportError(name)

    asked = []
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(backend, "import_module", note)
    monkeypatch.setattr(diagnosis, "ask_driver", lambda: driver)
    assert backend.device("auto").kind == "cpu"
    assert asked == imported


def test_auto_is_the_gpu_where_there_is_one(gpu):
    assert (backend.device("auto").kind, str(backend.device("auto"))) == ("gpu", "gpu:0")
    assert backend.device("auto").xp is sys.modules["cupy"]


def test_an_index_out_of_range(gpu):
    with pytest.raises(backend.DeviceError, match=r"device gpu:3: this machine has 1 GPU; use gpu, which is gpu:0"):
        backend.device("gpu:3")


def test_a_kernel_that_does_not_compile_says_so_with_the_compiler_s_words(gpu, monkeypatch, tmp_path):
    (tmp_path / "broken.cu").write_text('extern "C" __global__ void k(float* x) { x[0] = nothing; }\n')
    monkeypatch.setattr(_launch, "FOLDER", tmp_path)
    with pytest.raises(
        _launch.KernelCompileError, match=r"(?s)broken\.cu does not compile .*nothing.*scratchnet\.doctor"
    ):
        _launch.launch("broken", "k", "float32", 1, 1, gpu.zeros(1, "float32"))


@pytest.mark.parametrize(
    ("value", "error"), [(2**31, "a kernel's int cannot hold 2147483648"), (-(2**31), "cannot hold -2147483648")]
)
def test_numbers_that_an_int_cannot_hold(gpu, value, error):
    with pytest.raises(ValueError, match=error):
        _launch.launch("pool", "max_pool2d", "float32", 1, 1, value)
