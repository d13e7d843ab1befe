"""The gradient checker: right code passes, every planted error fails, and the message says what and where."""

import numpy as np
import pytest

import scratchnet
from scratchnet import functional as F
from scratchnet import nn
from scratchnet.study import GradcheckReport, gradcheck

MODES = ("elements", "directions")


@pytest.fixture(autouse=True)
def _im2col():
    with scratchnet.use("im2col"):  # whose caches the planted errors know
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def linear_arguments(rng, n=4, inputs=3, outputs=3):
    return rng.standard_normal((n, inputs)), rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs)


def changed(backward, change):
    """A backward function whose list of gradients goes through `change`."""

    def wrong(dy, cache):
        return change(*backward(dy, cache))

    return wrong


def message_of(report):
    assert not report.ok
    with pytest.raises(AssertionError) as caught:
        report.check()
    return str(caught.value)


# Right code


@pytest.mark.parametrize("mode", MODES)
def test_right_functions_pass(rng, mode):
    report = gradcheck((F.linear, F.linear_backward), *linear_arguments(rng), mode=mode)
    report.check()
    assert report.ok
    assert report.mode == mode
    assert [result.name for result in report] == ["x", "weight", "bias"]
    assert all(result.error < 0.1 for result in report)
    assert report["weight"].shape == (3, 3)
    assert report["weight"].checked == (9 if mode == "elements" else 8)
    assert report["x"].analytic == pytest.approx(report["x"].numeric)


def test_auto_goes_by_the_number_of_elements(rng):
    assert gradcheck(nn.Tanh(), rng.standard_normal(10)).mode == "elements"
    report = gradcheck(nn.Tanh(), rng.standard_normal(5000))
    assert report.mode == "directions"
    report.check()


def test_float32_is_converted_and_integers_are_not(rng):
    logits, target = rng.standard_normal((5, 4)).astype("float32"), np.array([0, 3, 1, 2, 2])
    report = gradcheck(nn.CrossEntropyLoss(), logits, target)
    report.check()
    assert [result.name for result in report] == ["logits"]
    assert logits.dtype == np.float32


def test_the_module_stays_as_it_was(rng):
    model = nn.Sequential(nn.Linear(4, 6, rng=0), nn.BatchNorm1d(6), nn.Dropout(0.5, rng=1))
    model[0].weight.grad = np.ones((6, 4), "float32")
    before = model.state_dict()
    x = rng.standard_normal((5, 4)).astype("float32")
    x.flags.writeable = False
    gradcheck(model, x).check()
    after = model.state_dict()
    assert all(np.array_equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)
    assert model[2].calls == 0
    assert (model[0].weight.grad == 1).all()
    assert model[1].weight.grad is None


class Counting(nn.Module):
    """State of every kind, and an output that depends on all of it."""

    def __init__(self):
        self.register_buffer("seen", np.zeros(3))
        self.count, self.history, self.rng = 0, [], np.random.default_rng(0)

    def forward(self, x):
        self.count += 1
        self.history.append(self.count)
        self.seen += x.mean()  # in place, as a learner's may be
        factor = self.count + len(self.history) + self.rng.standard_normal() + self.seen.sum()
        return x * factor, (x, factor)

    def backward(self, dy, cache):
        x, factor = cache
        return dy * factor + 3 * (dy * x).sum() / x.size


@pytest.mark.parametrize("mode", MODES)
def test_every_evaluation_starts_from_the_same_state(rng, mode):
    gradcheck(Counting(), rng.standard_normal((2, 3)), mode=mode).check()


@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_that_is_zero_by_mathematics(rng, mode):
    model = nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), nn.BatchNorm2d(3), nn.Tanh())
    x = rng.standard_normal((3, 2, 5, 5))
    report = gradcheck(model, x, mode=mode)
    report.check()
    assert abs(report["0.bias"].analytic) < 1e-12


class ConvWithWrongBias(nn.Conv2d):
    offset = 1e-10

    def backward(self, dy, cache):
        dx = super().backward(dy, cache)
        self.bias.grad = self.bias.grad + self.offset
        return dx


@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_that_should_be_zero_and_is_not(rng, mode):
    model = nn.Sequential(ConvWithWrongBias(2, 3, 3, rng=0), nn.BatchNorm2d(3), nn.Tanh())
    report = gradcheck(model, rng.standard_normal((3, 2, 5, 5)), mode=mode)
    assert [result.name for result in report if not result.ok] == ["0.bias"]


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_units_do_not_matter(rng, size, factor):
    x, weight, bias = linear_arguments(rng)
    wrong = changed(F.linear_backward, lambda dx, dweight, dbias: (dx, dweight * factor, dbias))
    report = gradcheck((F.linear, wrong), x * size, weight / size, bias)
    assert report.ok == (factor == 1)


def test_a_strongly_bent_function_is_no_kink(rng):
    def forward(x):
        return np.tanh(x * 1e4), x

    def backward(dy, x):
        return dy * 1e4 / np.cosh(x * 1e4) ** 2

    x = rng.standard_normal(20) * 1e-4
    x[0] = 1.0  # makes the steps of all the others far too long at first
    assert gradcheck((forward, lambda dy, x: dy * 1e4 / np.cosh(np.minimum(x * 1e4, 300)) ** 2), x).ok
    report = gradcheck((forward, lambda dy, x: 1.001 * dy * 1e4 / np.cosh(np.minimum(x * 1e4, 300)) ** 2), x)
    assert report["x"].wrong == 19
    assert report["x"].kinks == 0


def test_a_bend_that_no_step_resolves_is_no_kink_either():
    def forward(x):
        return np.tanh(x * 1e7), x

    report = gradcheck(
        (forward, lambda dy, x: 1.01 * dy * 1e7 / np.cosh(np.minimum(x * 1e7, 300)) ** 2), np.array([5e-8, 1])
    )
    assert (report["x"].wrong, report["x"].kinks) == (1, 0)


# Planted errors: values


@pytest.mark.parametrize("factor", [0.0, 1.001, 1 + 3e-6, 0.5, -1.0])
def test_one_element_of_a_big_tensor(rng, factor):
    def one_wrong(dx, dweight, dbias):
        dweight = dweight.copy()
        dweight[17, 23] *= factor
        return dx, dweight, dbias

    report = gradcheck((F.linear, changed(F.linear_backward, one_wrong)), *linear_arguments(rng, 6, 40, 30))
    assert [result.name for result in report if not result.ok] == ["weight"]
    assert (report["weight"].index, report["weight"].wrong, report["weight"].checked) == ((17, 23), 1, 1200)
    assert report.worst is report["weight"]
    message = message_of(report)
    assert "weight" in message
    assert "(17,23)" in message
    assert "1 of 1200 elements is wrong" in message


PLANTED = {
    "sign": (lambda dx, dweight, dbias: (dx, -dweight, dbias), "weight", "wrong sign"),
    "factor": (lambda dx, dweight, dbias: (dx / 4, dweight, dbias), "x", "numeric = 4 × analytic"),
    "mean for sum": (lambda dx, dweight, dbias: (dx, dweight, dbias / 5), "bias", "numeric = 5 × analytic"),
    "transposed": (lambda dx, dweight, dbias: (dx, dweight.T, dbias), "weight", "transposed"),
    "missing term": (lambda dx, dweight, dbias: (dx - 0.25, dweight, dbias), "x", "analytic + 0.25"),
    "zero": (lambda dx, dweight, dbias: (dx, dweight, 0 * dbias), "bias", "zero everywhere"),
    "flipped": (lambda dx, dweight, dbias: (dx, dweight[::-1, ::-1], dbias), "weight", "flipped"),
    "1e-3 relative": (lambda dx, dweight, dbias: (dx, dweight, dbias * 1.001), "bias", "same factor"),
    "1e-6 relative": (lambda dx, dweight, dbias: (dx * (1 + 2e-6), dweight, dbias), "x", None),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", PLANTED)
def test_a_wrong_gradient_is_found_and_the_others_are_not_blamed(rng, error, mode):
    change, name, hint = PLANTED[error]
    report = gradcheck((F.linear, changed(F.linear_backward, change)), *linear_arguments(rng, 5), mode=mode)
    assert [result.name for result in report if not result.ok] == [name]
    message = message_of(report)
    assert name in message
    if hint and (mode == "elements" or error in ("sign", "factor", "mean for sum", "zero")):
        assert hint in message


def test_nan_in_the_gradient(rng):
    def with_nan(dx, dweight, dbias):
        dx = dx.copy()
        dx[2, 1] = np.nan
        return dx, dweight, dbias

    report = gradcheck((F.linear, changed(F.linear_backward, with_nan)), *linear_arguments(rng))
    assert report["x"].index == (2, 1)
    assert not report["x"].ok
    assert "nan" in message_of(report)


def test_batch_norm_without_its_third_path(rng):
    def without_the_variance(dy, cache):
        x_hat, inv_std, weight, *_ = cache.cache
        dx = (dy - dy.mean(axis=0)) * inv_std * weight
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    def forward(x, weight, bias):
        (y, _, _), cache = F.batch_norm(x, None, None, weight, bias, training=True)
        return y, cache

    arguments = rng.standard_normal((6, 4)), rng.standard_normal(4), rng.standard_normal(4)
    gradcheck((forward, F.batch_norm_backward), *arguments).check()
    report = gradcheck((forward, without_the_variance), *arguments)
    assert [result.name for result in report if not result.ok] == ["x"]


# Planted errors: everything but values


def test_dy_written_in_place(rng):
    def backward(dy, cache):
        dy *= cache.cache.active
        return dy

    message = message_of(gradcheck((F.relu, backward), np.array([1.0, -1.0, 2.0])))
    assert "dy: backward wrote into it (first at (1))" in message


def test_inputs_written_in_place(rng):
    def forward(x):
        x[x < 0] = 0
        return x.copy(), x > 0

    def backward(dy, active):
        return dy * active

    message = message_of(gradcheck((forward, backward), np.array([1.0, -1.0, 2.0])))
    assert "x: forward wrote into it (first at (1))" in message

    def clearing(dy, cache):
        cache.cache.x[...] = 0
        return F.linear_backward(dy, cache)

    message = message_of(gradcheck((F.linear, clearing), *linear_arguments(rng)))
    assert "x: backward wrote into it (first at (0,0))" in message


class WritesItsWeight(nn.Linear):
    def backward(self, dy, cache):
        dx = super().backward(dy, cache)
        self.weight.data -= 0.1 * self.weight.grad
        return dx


def test_parameters_written_in_place(rng):
    message = message_of(gradcheck(WritesItsWeight(3, 2, rng=0), rng.standard_normal((4, 3))))
    assert "weight: backward wrote into it" in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda dx, dw, db: (dx, dw.T, db), "weight: the gradient has shape (3, 2), the input (2, 3): transposed?"),
        (lambda dx, dw, db: (dx, dw, db[None]), "bias: the gradient has shape (1, 2), the input (2,)"),
        (lambda dx, dw, db: (dx.astype("float32"), dw, db), "x: the gradient is float32, the input float64"),
        (lambda dx, dw, db: (dx, dw), "expected 3 gradients, one for each input (x, weight, bias)"),
        (lambda dx, dw, db: dx, "expected 3 gradients, one for each input (x, weight, bias)"),
        (lambda dx, dw, db: (dx, dw, None), "bias: backward gave no gradient"),
        (lambda dx, dw, db: (dx, dw, list(db)), "bias: the gradient is no array but list"),
    ],
)
def test_wrong_shapes_dtypes_and_counts_are_failures_with_a_message(rng, change, expected):
    report = gradcheck((F.linear, changed(F.linear_backward, change)), *linear_arguments(rng, 4, 3, 2))
    assert expected in " ".join(message_of(report).replace("\n      ", " ").split())


class ForgetsTheBias(nn.Linear):
    def backward(self, dy, cache):
        dx, dweight, _ = F.linear_backward(dy, cache)
        self.weight.accumulate(dweight.T)
        return dx


def test_parameters_without_a_gradient_or_with_a_transposed_one(rng):
    message = message_of(gradcheck(ForgetsTheBias(4, 3, rng=0), rng.standard_normal((5, 4))))
    assert "bias: backward gave no gradient" in message
    assert "weight: the gradient has shape (4, 3), the parameter (3, 4): transposed?" in message


def test_a_frozen_parameter_is_left_out(rng):
    layer = nn.Linear(4, 3, rng=0)
    layer.weight.requires_grad = False
    report = gradcheck(layer, rng.standard_normal((5, 4)))
    report.check()
    assert [result.name for result in report] == ["x", "bias"]


def test_a_forward_function_of_another_dtype(rng):
    def forward(x):
        return x.astype("float32"), None

    message = message_of(gradcheck((forward, lambda dy, cache: dy), rng.standard_normal(3)))
    assert "output: forward gives float32 for float64 inputs" in message


def test_an_output_that_is_not_finite():
    def forward(x):
        with np.errstate(divide="ignore"):
            return np.log(x), x

    message = message_of(gradcheck((forward, lambda dy, x: dy / x), np.array([1.0, 0.0])))
    assert "output: forward gives -inf at (1)" in message


# Kinks


@pytest.mark.parametrize("mode", MODES)
def test_relu_at_zero_is_a_kink(mode):
    x = np.array([0.0, 1.0, -1.0, 0.0, 2.0])
    report = gradcheck((F.relu, F.relu_backward), x, mode=mode)
    report.check()
    assert report["x"].kinks == (2 if mode == "elements" else 8)


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-6, 1e-7, 1e-8])
@pytest.mark.parametrize("side", [-1, 1])
def test_next_to_a_kink_the_step_shrinks(distance, side):
    x = np.array([side * distance, 1.0])
    report = gradcheck((F.relu, F.relu_backward), x)
    report.check()
    assert report["x"].kinks == 0
    halfway = gradcheck((F.relu, lambda dy, cache: dy * np.where(cache.cache.active, 1, 0.5)), x)
    steep = gradcheck((F.relu, lambda dy, cache: dy * np.where(cache.cache.active, 0.5, 0)), x)
    for wrong in (halfway, steep):
        assert wrong.ok == (wrong is halfway and side > 0)


@pytest.mark.parametrize(
    ("slope", "ok"), [(0, True), (0.3, True), (1, True), (-0.01, False), (1.01, False), (2, False)]
)
def test_at_a_kink_what_lies_between_the_two_slopes_passes(slope, ok):
    def backward(dy, cache):
        return dy * np.where(x == 0, slope, x > 0)

    x = np.array([0.0, 1.0, -1.0])
    report = gradcheck((F.relu, backward), x)
    assert report.ok == ok
    assert report["x"].kinks == 1
    if not ok:
        assert report["x"].index == (0,)
        assert "a kink: the slope is" in message_of(report)


def test_an_error_elsewhere_does_not_hide_among_kinks():
    x = np.array([0.0, 0.0, 1.0, -1.0])
    report = gradcheck((F.relu, lambda dy, cache: dy * (x > 0) * 1.001), x)
    assert report["x"].index == (2,)
    assert (report["x"].wrong, report["x"].kinks) == (1, 2)


def test_a_wrong_slope_at_a_smooth_point_is_no_kink():
    for point in (0.0, 1e-7, 0.3):

        def forward(x):
            return x * x * x + x, x

        x = np.array([point, 1.0])
        report = gradcheck((forward, lambda dy, x: dy * (3 * x * x + 1.01)), x)
        assert (report["x"].wrong, report["x"].kinks) == (2, 0)


def test_a_jump_is_no_kink():
    def forward(x):
        return np.where(x >= 0, x + 1, x), x

    report = gradcheck((forward, lambda dy, x: dy * 1.0), np.array([0.0, 2.0]))
    assert report["x"].index == (0,)
    assert "forward jumps here" in message_of(report)


def all_tied_maxima(dy, cache):
    """Max pooling's backward as it is often written: every pixel equal to the maximum gets the gradient."""
    x, y = cache
    dx = np.zeros_like(x)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            window = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            dx[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] += (window == y[:, :, i, j, None, None]) * dy[
                :, :, i, j, None, None
            ]
    return dx


def pool_forward(x):
    y, _ = F.max_pool2d(x, 2)
    return y, (x, y)


def test_ties(rng):
    x = rng.integers(0, 3, (2, 2, 4, 4)).astype("float64")
    report = gradcheck((lambda x: F.max_pool2d(x, 2), F.max_pool2d_backward), x)
    report.check()
    assert report["x"].kinks > 8
    distinct = rng.permutation(64).reshape(2, 2, 4, 4).astype("float64")
    gradcheck((pool_forward, all_tied_maxima), distinct).check()
    report = gradcheck((pool_forward, all_tied_maxima), x)
    message = message_of(report)
    assert "does every tied maximum get the gradient" in message
    assert "elements on kinks, moved together" in message


def test_ties_are_found_in_directions_too(rng):
    x = np.zeros((1, 1, 4, 4))
    wrong = gradcheck((pool_forward, all_tied_maxima), x, mode="directions", directions=32)
    assert not wrong.ok


def test_where_kinks_meet_inside_a_network_the_message_says_what_to_do():
    """y = 2·relu(x) − relu(−x) has the slopes 2 and 1 at zero, and by relu′(0) = 0 backward says 0."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    model[0].weight.data, model[2].weight.data = np.array([[1.0], [-1.0]]), np.array([[2.0, -1.0]])
    message = " ".join(message_of(gradcheck(model, np.zeros((1, 1)))).split())
    assert "where several kinks meet, as in blank regions of an image, check a randomly moved point" in message
    gradcheck(model, np.full((1, 1), 1e-6)).check()


# Dropout


@pytest.mark.parametrize("mode", MODES)
def test_dropout_keeps_its_mask_from_call_to_call(rng, mode):
    x = rng.standard_normal((4, 10))
    gradcheck(nn.Dropout(0.4, rng=3), x, mode=mode).check()
    gradcheck(nn.Dropout2d(0.4, rng=3), rng.standard_normal((4, 10, 2, 2)), mode=mode).check()


class AnotherMask(nn.Dropout):
    def backward(self, dy, cache):
        return F.dropout(dy, self.p, seed=self.seed, stream=self.stream, call=self.calls)[0]


class Unscaled(nn.Dropout):
    def backward(self, dy, cache):
        return F.dropout_backward(dy, cache) * (1 - self.p)


@pytest.mark.parametrize("mode", MODES)
def test_wrong_dropouts(rng, mode):
    x = rng.standard_normal((4, 10))
    assert not gradcheck(AnotherMask(0.4, rng=3), x, mode=mode).ok
    message = message_of(gradcheck(Unscaled(0.4, rng=3), x, mode=mode))
    assert "numeric = 1.66667 × analytic" in message


class FreshMask(nn.Module):
    """Backward draws a mask of its own, and another one every time."""

    generator = np.random.default_rng(0)

    def __init__(self):
        self.mask = np.random.default_rng(1).random((4, 10)) < 0.5

    def forward(self, x):
        return x * self.mask, None

    def backward(self, dy, cache):
        return dy * (FreshMask.generator.random(dy.shape) < 0.5)


@pytest.mark.parametrize("mode", MODES)
def test_a_backward_pass_that_differs_from_call_to_call_cannot_hide_as_rounding(rng, mode):
    assert not gradcheck(FreshMask(), rng.standard_normal((4, 10)), mode=mode).ok


def test_a_forward_pass_that_differs_from_call_to_call():
    generator = np.random.default_rng(0)

    def forward(x):
        mask = generator.random(x.shape) < 0.5
        return x * mask, mask

    with pytest.raises(ValueError, match="different outputs for the same inputs"):
        gradcheck((forward, lambda dy, mask: dy * mask), np.ones(20))


# Arguments and odd shapes


def test_bad_arguments(rng):
    x = np.ones(3)
    with pytest.raises(ValueError, match="mode as one of auto, elements, directions, got 'fast'"):
        gradcheck(nn.ReLU(), x, mode="fast")
    with pytest.raises(ValueError, match="directions ≥ 1, got 0"):
        gradcheck(nn.ReLU(), x, directions=0)
    with pytest.raises(ValueError, match="tol between 0 and 1"):
        gradcheck(nn.ReLU(), x, tol=0)
    with pytest.raises(TypeError, match="a Module or a pair"):
        gradcheck(F.relu, x)
    with pytest.raises(TypeError, match="input 0 as a NumPy array, got list"):
        gradcheck(nn.ReLU(), [1.0, 2.0])
    with pytest.raises(ValueError, match="no floating-point input"):
        gradcheck((lambda x: (x, None), lambda dy, cache: dy), np.arange(3))
    with pytest.raises(TypeError, match=r"must return \(y, cache\), got ndarray"):
        gradcheck((lambda x: x, lambda dy, cache: dy), x)


def test_an_exception_inside_comes_through(rng):
    with pytest.raises(ValueError, match="expected 3 input features"):
        gradcheck(nn.Linear(3, 2), rng.standard_normal((2, 5)))


def test_scalars_and_empty_arrays(rng):
    gradcheck(nn.Tanh(), np.array(0.3)).check()
    report = gradcheck(nn.Linear(3, 2, rng=0), np.zeros((0, 3)))
    report.check()
    assert report["x"].checked == 0
    assert report["weight"].checked == 6


def test_a_minimum_and_an_input_of_zeros(rng):
    x = rng.standard_normal((3, 4))
    gradcheck((lambda a: F.mse_loss(a, x), F.mse_loss_backward), x).check()
    gradcheck(nn.Linear(4, 2, rng=0), np.zeros((3, 4))).check()
    for mode in MODES:
        for _ in range(20):  # x + h and x − h are rounded differently, so the difference is not centred at the minimum
            x = rng.standard_normal(5) * 10.0 ** rng.integers(-3, 4, 5)
            gradcheck((lambda a, x=x: F.mse_loss(a, x), F.mse_loss_backward), x, mode=mode).check()


def test_the_same_seed_gives_the_same_report(rng):
    x = rng.standard_normal((4, 3))
    layer = nn.Linear(3, 2, rng=0)
    assert str(gradcheck(layer, x)) == str(gradcheck(layer, x))
    assert str(gradcheck(layer, x)) != str(gradcheck(layer, x, seed=1))


def test_report_type(rng):
    report = gradcheck(nn.ReLU(), rng.standard_normal(3))
    assert isinstance(report, GradcheckReport)
    assert "ReLU(): 1 of 1 tensors agree" in str(report)
