"""Arrays cross by DLPack and __array_interface__: the memory is shared, which writing through it shows."""

import gc

import numpy as np
import pytest
import torch

import scratchnet
from scratchnet import functional as F
from scratchnet import nn


@pytest.fixture
def parameter():
    return nn.Parameter(np.arange(6, dtype="float32").reshape(2, 3))


@pytest.mark.parametrize("view", [np.asarray, np.from_dlpack, scratchnet.asarray, torch.from_dlpack, torch.as_tensor])
def test_a_parameter_shares_its_memory(view, parameter):
    shared = view(parameter)
    assert shared.shape == (2, 3)
    parameter.data[1, 2] = 50
    assert shared[1, 2] == 50
    shared[0, 1] = -7
    assert parameter.data[0, 1] == -7


@pytest.mark.parametrize("view", [np.asarray, np.from_dlpack, torch.from_dlpack])
@pytest.mark.parametrize("data", [np.ones((4, 6), "float32").T, np.ones((4, 6))[:, ::2], np.array(3.0)])
def test_any_strides_and_dtype(view, data):
    shared = view(nn.Parameter(data))
    assert tuple(shared.shape) == data.shape
    data[...] = 5
    assert (np.asarray(shared) == 5).all()
    assert np.asarray(shared).dtype == data.dtype


@pytest.mark.parametrize("view", [np.asarray, np.from_dlpack, torch.from_dlpack])
def test_shared_memory_outlives_the_parameters_data(view):
    parameter = nn.Parameter(np.full(100_000, 3.0, "float32"))
    shared = view(parameter)
    parameter.data = np.zeros(100_000, "float32")  # what load_state_dict and .to do
    gc.collect()
    others = [np.full(100_000, float(i), "float32") for i in range(20)]  # would be given the memory if it were free
    assert (np.asarray(shared) == 3).all()
    assert len(others) == 20


def test_array_copies_as_numpy_2_asks(parameter):
    assert np.shares_memory(np.array(parameter, copy=False), parameter.data)
    assert not np.shares_memory(np.array(parameter), parameter.data)
    assert not np.shares_memory(np.array(parameter, copy=True), parameter.data)
    assert np.asarray(parameter, dtype="float64").dtype == np.float64
    assert parameter.__array__(copy=None) is parameter.data
    assert parameter.__array__(copy=True) is not parameter.data
    with pytest.raises(ValueError, match="copy"):
        parameter.__array__("float64", copy=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_a_tensor_comes_in_without_a_copy(dtype):
    tensor = torch.zeros(3, 4, dtype=dtype).T
    array = scratchnet.asarray(tensor)
    assert isinstance(array, np.ndarray)
    assert array.shape == (4, 3)
    tensor[2, 1] = 1
    assert array[2, 1] == 1
    array[0, 0] = 1
    assert tensor[0, 0] == 1


class OnlyInterface:
    def __init__(self, array):
        self.array = array
        self.__array_interface__ = array.__array_interface__


def test_array_interface_alone_is_enough():
    array = np.ones((2, 3))
    assert np.shares_memory(scratchnet.asarray(OnlyInterface(array)), array)


def test_an_array_comes_back_as_it_is():
    array = np.ones(3)
    assert scratchnet.asarray(array) is array


def test_a_layer_computes_on_tensors_and_torch_takes_its_output():
    tensor = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    layer = nn.Linear(3, 4, rng=0).eval()
    output = layer(scratchnet.asarray(tensor))
    back = torch.from_numpy(output)
    expected = torch.nn.functional.linear(tensor, torch.from_dlpack(layer.weight), torch.from_dlpack(layer.bias))
    torch.testing.assert_close(back, expected)
    back[0, 0] = 99
    assert output[0, 0] == 99
    torch.from_dlpack(output)[0, 1] = 98
    assert output[0, 1] == 98


def test_a_tensor_that_requires_grad_is_told_to_detach():
    tensor = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"x\.detach\(\)"):
        scratchnet.asarray(tensor)
    assert scratchnet.asarray(tensor.detach()).shape == (3,)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([1.0, 2.0], "got list; numpy.array"),
        (3.0, "got float"),
        (None, "got NoneType"),
        (torch.ones(2, dtype=torch.bfloat16), "Tensor of torch.bfloat16"),
        (torch.ones(2, device="meta"), "meta"),
        (torch.ones(2, dtype=torch.complex64).conj(), "conj"),
        (torch.eye(2).to_sparse(), "Tensor of torch.float32"),
    ],
)
def test_what_cannot_be_shared_says_why(x, message):
    with pytest.raises(TypeError, match=message):
        scratchnet.asarray(x)


def test_a_tensor_on_a_gpu_without_cupy(monkeypatch):
    class OnGpu:
        def __dlpack__(self, **options):
            raise AssertionError("never called")

        def __dlpack_device__(self):
            return 2, 0

    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(TypeError, match="pip install cupy-cuda12x"):
        scratchnet.asarray(OnGpu())


@pytest.mark.parametrize(
    "call",
    [
        lambda t: F.relu(t),
        lambda t: nn.Linear(3, 4)(t),
        lambda t: F.linear(np.ones((2, 3), "float32"), t),
        lambda t: F.relu_backward(t, F.relu(np.ones((2, 3), "float32"))[1]),
        lambda t: F.cross_entropy(np.ones((2, 3), "float32"), t[:, 0].long()),
    ],
)
def test_ops_name_the_function_that_helps(call):
    with pytest.raises(TypeError, match=r"got Tensor; scratchnet\.asarray makes it an array without a copy"):
        call(torch.ones(2, 3))


def test_ops_do_not_recommend_it_where_it_does_not_help():
    with pytest.raises(TypeError, match=r"got list$"):
        F.relu([1.0])
