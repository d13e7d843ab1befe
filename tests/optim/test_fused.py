"""The compiled pass over many parameters: where it is taken, where not, and that its result is the textbook's."""

import numpy as np
import pytest

import scratchnet
from scratchnet import optim
from scratchnet.kernels.cpu import optim as kernels
from scratchnet.nn.parameter import Parameter

OPTIMIZERS = {
    "SGD": (optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "SGD dampened": (optim.SGD, {"momentum": 0.9, "dampening": 0.3}),
    "SGD plain": (optim.SGD, {}),
    "SGD nesterov": (optim.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    "Adam": (optim.Adam, {"weight_decay": 0.1}),
    "Adam amsgrad": (optim.Adam, {"amsgrad": True}),
    "AdamW": (optim.AdamW, {"maximize": True}),
    "RMSprop": (optim.RMSprop, {}),
    "RMSprop momentum": (optim.RMSprop, {"momentum": 0.9, "weight_decay": 0.1}),
    "RMSprop centered": (optim.RMSprop, {"centered": True}),
    "RMSprop both": (optim.RMSprop, {"centered": True, "momentum": 0.9}),
    "Adagrad": (optim.Adagrad, {}),
    "Adagrad decay": (optim.Adagrad, {"lr_decay": 0.1, "weight_decay": 0.1}),
}
UPDATES = ("sgd_update", "adam_update", "rmsprop_update", "adagrad_update")


@pytest.fixture
def passes(monkeypatch):
    """For every compiled pass, in order: how many parameters it was over."""
    counts = []

    def spy(function):
        def record(rows, **options):
            counts.append(len(rows))
            function(rows, **options)

        return record

    for name in UPDATES:
        monkeypatch.setattr(kernels, name, spy(getattr(kernels, name)))
    return counts


def parameters(*shapes, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    params = [Parameter(np.asarray(rng.standard_normal(shape), dtype)) for shape in shapes]
    draw_gradients(params, rng)
    return params


def draw_gradients(params, rng):
    for param in params:
        param.grad = np.asarray(rng.standard_normal(param.shape), param.dtype)


def steps(optimizer, count=2):
    """The first makes the state, by the textbook; compiled passes come after it."""
    for _ in range(count):
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_pass_over_all_parameters_on_the_numba_rung(name, passes, rung):
    make, options = OPTIMIZERS[name]
    params = parameters((3, 4), (5,), (), (2, 3, 1, 2), (0, 3))
    optimizer = make(params, **options)
    steps(optimizer, 3)
    without_state = name in ("SGD plain", "Adagrad", "Adagrad decay")  # Adagrad makes it in the constructor
    assert passes == {"im2col": [], "numba": [5] * (3 if without_state else 2)}[rung]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_size_with_nothing_written_beyond(name, dtype):
    """Every size from 0 to 70, so every tail of a vector; parameters with numbers before and after them in memory."""
    make, options = OPTIMIZERS[name]
    guarded, alone = [], []
    for size in range(71):
        memory = np.full(size + 32, 7.0, dtype)
        memory[16 : 16 + size] = np.random.default_rng(size).standard_normal(size)
        guarded.append(memory)
        alone.append(Parameter(memory[16 : 16 + size].copy()))
    inside = [Parameter(memory[16:-16]) for memory in guarded]
    optimizer, reference = make(inside, **options), make(alone, **options)
    for seed in range(4):
        for params in (inside, alone):
            draw_gradients(params, np.random.default_rng(seed))
        optimizer.step()
        with scratchnet.use("im2col"):
            reference.step()
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for memory, ours, theirs in zip(guarded, inside, alone, strict=True):
        assert np.linalg.norm(ours.data - theirs.data) <= tolerance * np.linalg.norm(theirs.data)
        assert (memory[:16] == 7).all()
        assert (memory[len(memory) - 16 :] == 7).all()


class Subclass(np.ndarray):
    pass


def read_only(x):
    x.flags.writeable = False
    return x


def unaligned(x):
    return np.frombuffer(bytearray(b"." + x.tobytes()), x.dtype, offset=1).reshape(x.shape)


UNFIT_GRADIENTS = {
    "not contiguous": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "Fortran's order": np.asfortranarray,
    "read-only": read_only,
    "a subclass": lambda x: x.view(Subclass),
    "unaligned": unaligned,
}


@pytest.mark.parametrize("case", UNFIT_GRADIENTS)
def test_gradient_that_compiled_code_cannot_read(case, passes, rung):
    """Its parameter alone goes the textbook's way, with the same result."""
    params, usual = (parameters((3, 4), (5, 6), (2, 2)) for _ in range(2))
    for group in (params, usual):
        optimizer = optim.SGD(group, lr=0.1)
        group[1].grad = UNFIT_GRADIENTS[case](group[1].grad) if group is params else group[1].grad
        optimizer.step()
    assert passes == ([2, 3] if rung == "numba" else [])
    for ours, expected in zip(params, usual, strict=True):
        np.testing.assert_allclose(ours.data, expected.data, rtol=1e-6)


UNFIT_DATA = {
    "not contiguous": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "a subclass": lambda x: x.view(Subclass),
    "unaligned": unaligned,
    "other byte order": lambda x: x.astype(">f4"),
    "half precision": lambda x: x.astype(np.float16),
}


class AnyParameter:
    def __init__(self, data, grad):
        self.data, self.grad = data, grad


@pytest.mark.parametrize("case", UNFIT_DATA)
def test_parameter_that_compiled_code_cannot_change(case, passes, rung):
    usual = parameters((3, 4), (5, 6))
    data = UNFIT_DATA[case](usual[1].data.copy())
    param = AnyParameter(data, usual[1].grad.astype(data.dtype))
    before = data.copy()
    optim.SGD([parameters((3, 4))[0], param], lr=0.1).step()
    assert passes == ([1] if rung == "numba" else [])
    assert param.data is data
    np.testing.assert_allclose(data, before - 0.1 * param.grad, rtol=1e-2 if data.dtype.itemsize == 2 else 1e-6)


def test_read_only_parameter_is_an_error_on_every_rung():
    param = parameters((3,))[0]
    param.data.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        optim.SGD([param]).step()


def test_state_that_does_not_fit_the_pass(passes, rung):
    params = parameters((4, 4), (5,))
    optimizer = optim.SGD(params, momentum=0.9)
    optimizer.step()
    optimizer.state[params[0]]["momentum_buffer"] = np.asfortranarray(optimizer.state[params[0]]["momentum_buffer"])
    optimizer.step()
    assert passes == ([1] if rung == "numba" else [])


def test_dtypes_and_step_counts_are_batches_of_their_own(passes, rung):
    params = parameters((3,), (4,), (5,)) + parameters((6,), dtype="float64")
    optimizer = optim.Adam(params)
    grad, params[0].grad = params[0].grad, None
    optimizer.step()
    params[0].grad = grad
    steps(optimizer, 2)
    if rung == "numba":  # in the second step the first parameter still goes the textbook's way
        assert passes == [2, 1, 1, 2, 1]
    assert [float(optimizer.state[param]["step"]) for param in params] == [2, 3, 3, 3]


def test_what_a_subclass_replaces_is_what_runs(passes):
    class OwnUpdate(optim.SGD):
        @staticmethod
        def update(param, grad, momentum_buffer, **options):
            param += 1

    def sgd_update(param, grad, momentum_buffer, **options):
        param += 1

    class SameName(optim.SGD):
        update = staticmethod(sgd_update)

    class OwnUpdateParameter(optim.SGD):
        def update_parameter(self, param, group):
            param.data += 1

    for make in (OwnUpdate, SameName, OwnUpdateParameter):
        params = parameters((3,))
        before = params[0].data.copy()
        make(params).step()
        np.testing.assert_array_equal(params[0].data, before + 1)
    optimizer, before = optim.SGD(params), params[0].data.copy()
    optimizer.update_parameter = lambda param, group: None
    optimizer.step()
    np.testing.assert_array_equal(params[0].data, before)
    assert passes == []


def test_arrays_that_share_memory_are_updated_in_turn(passes):
    vector = np.ones(10, np.float32)
    shared = [Parameter(vector[:6]), Parameter(vector[4:])]
    for param in shared:
        param.grad = np.ones(6, np.float32)
    optim.SGD(shared, lr=0.25).step()
    assert passes == []
    np.testing.assert_array_equal(vector, [0.75] * 4 + [0.5] * 2 + [0.75] * 4)

    chained = [Parameter(np.ones(3)), Parameter(np.full(3, 2.0))]
    chained[0].grad, chained[1].grad = np.ones(3), chained[0].data
    optim.SGD(chained, lr=0.25).step()
    assert passes == []
    np.testing.assert_array_equal(chained[1].data, np.full(3, 2 - 0.25 * 0.75))


def test_views_of_one_vector_are_one_pass(passes, rung):
    vector = np.ones(10, np.float32)
    params = [Parameter(vector[6:]), Parameter(vector[:6])]
    for param in params:
        param.grad = np.ones(param.shape, np.float32)
    optim.SGD(params, lr=0.25).step()
    assert passes == ([2] if rung == "numba" else [])
    np.testing.assert_array_equal(vector, [0.75] * 10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_infinity_and_nan_go_where_they_go_in_the_textbook(name):
    make, options = OPTIMIZERS[name]
    specials = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0] * 6)
    ours, theirs = (Parameter(specials.copy()) for _ in range(2))
    optimizer, reference = make([ours], **options), make([theirs], **options)
    for step in range(4):
        for param in (ours, theirs):
            param.grad = np.repeat(np.roll([0.0, 1.0, 0.0, np.inf, -1.0, np.nan], step), 6)
        optimizer.step()
        with scratchnet.use("im2col"):
            reference.step()
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-12)


def test_amsgrads_maximum_keeps_nan():
    param = parameters((20,))[0]
    optimizer = optim.Adam([param], amsgrad=True)
    optimizer.step()
    optimizer.state[param]["max_exp_avg_sq"][7] = np.nan
    optimizer.step()
    assert np.isnan(optimizer.state[param]["max_exp_avg_sq"]).nonzero()[0].tolist() == [7]
