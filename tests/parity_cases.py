"""One helper for all parity tests: an op of scratchnet.functional against torch, forward and every gradient.

    assert_parity("conv2d", [x, weight, bias], stride=(1, 2))

runs ours, on whatever rung is in use, and torch's function on the same numbers, in float64 and in float32. The inputs
are the arrays that have a gradient (None: left out); everything else, arrays included, is an option. `CASES` has a
typical call of every op, for the tests of what holds for all of them.
"""

import math
import warnings

import numpy as np
import torch

from scratchnet import functional as F

DTYPES = ("float64", "float32")
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def tied(*shape, seed=0):
    """A few small integers, negative ones too: windows full of ties."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype("float64")


# What torch calls each op


def _torch_pad2d(x, pads, mode="zeros"):
    return torch.nn.functional.pad(x, pads, mode=PAD_MODES[mode])


def _torch_batch_norm(x, weight, bias, running_mean=None, running_var=None, **options):
    y = torch.nn.functional.batch_norm(x, running_mean, running_var, weight, bias, **options)
    return y, running_mean, running_var


REFERENCE = {
    "batch_norm": _torch_batch_norm,
    "flatten": torch.flatten,
    "pad2d": _torch_pad2d,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def _reference(op):
    return REFERENCE.get(op) or getattr(torch.nn.functional, op)


def forward(op, inputs, options):
    """Our op: (y, cache)."""
    if op == "batch_norm":
        x, weight, bias = inputs
        return F.batch_norm(x, weight=weight, bias=bias, **{"running_mean": None, "running_var": None, **options})
    return getattr(F, op)(*inputs, **options)


# s, the size that an error is measured against: the op's sums once more, over the absolute values of their terms


def _absolute(a):
    return np.asarray(abs(a))  # of a 0-d array too


def _absolute_inputs(op, inputs, dy, options):
    """Ops linear in every input, and in dy: torch's own function on absolute values."""
    return run_torch(op, each_array(_absolute, inputs), abs(dy), options)


def _absolute_dy(op, inputs, dy, options):
    """Ops that pick or scale numbers, so that only dy is summed."""
    return run_torch(op, inputs, abs(dy), options)


def _sigmoid_terms(op, inputs, dy, options):
    y = 1 / (1 + np.exp(-inputs[0]))
    return [y], [abs(dy) * y * (1 + y)]


def _tanh_terms(op, inputs, dy, options):
    y = np.tanh(inputs[0])
    return [y], [abs(dy) * (1 + y * y)]


def _gelu_terms(op, inputs, dy, options):
    x = abs(inputs[0])
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    if options.get("approximate") == "tanh":
        t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        density = 0.5 * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return [x], [abs(dy) * (1 + x * density)]  # |½x| + |½x·erf| ≤ |x|, and ½ + ½|erf| ≤ 1


def _softmax_terms(op, inputs, dy, options):
    x, dim = inputs[0], options["dim"]
    e = np.exp(x - x.max(axis=dim, keepdims=True, initial=-np.inf))
    p = e / e.sum(axis=dim, keepdims=True)
    if op == "softmax":
        return [p], [p * (abs(dy) + (p * abs(dy)).sum(axis=dim, keepdims=True))]
    y = abs(x) + abs(x).max(axis=dim, keepdims=True, initial=0) + np.log(e.sum(axis=dim, keepdims=True))
    return [y], [abs(dy) + p * abs(dy).sum(axis=dim, keepdims=True)]


def _cross_entropy_terms(op, inputs, dy, options):
    logits, target, weight = inputs[0], options["target"], options.get("weight")
    smoothing, reduction = options.get("label_smoothing", 0.0), options.get("reduction", "mean")
    axis = 0 if logits.ndim == 1 else 1
    z, classes = np.moveaxis(logits, axis, -1), logits.shape[axis]  # (…, C)
    w = np.ones(classes) if weight is None else weight
    if target.dtype.kind == "f":
        truth, counts = np.moveaxis(target, axis, -1), np.ones(z.shape[:-1], bool)
        divisor = counts.size
    else:
        counts = target != options.get("ignore_index", -100)
        truth = (target[..., None] == np.arange(classes)) & counts[..., None]
        divisor = (truth * w).sum()
    q = w * ((1 - smoothing) * truth + smoothing / classes) * counts[..., None]
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    log_p = abs(z) + abs(z).max(axis=-1, keepdims=True) + np.log(e.sum(axis=-1, keepdims=True))
    losses, share = (q * log_p).sum(axis=-1), abs(dy) if reduction != "mean" else abs(dy) / max(divisor, 1)
    dz = (share[..., None] if reduction == "none" else share) * (p * q.sum(axis=-1, keepdims=True) + q)
    loss = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / max(divisor, 1)}[reduction]
    return [loss], [np.moveaxis(dz, -1, axis)]


def _mse_terms(op, inputs, dy, options):
    """x − t becomes |x| + |t|."""
    return run_torch(op, [_absolute(inputs[0])], abs(dy), {**options, "target": np.asarray(-abs(options["target"]))})


def _batch_norm_terms(op, inputs, dy, options):
    x, weight, bias = inputs
    running_mean, running_var = options.get("running_mean"), options.get("running_var")
    eps, momentum, training = options.get("eps", 1e-5), options.get("momentum", 0.1), options.get("training", False)
    axes, shape = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
    n = max(x.size // max(x.shape[1], 1), 1)
    mean = x.sum(axis=axes) / n if training else running_mean
    var = ((x - mean.reshape(shape)) ** 2).sum(axis=axes) / n if training else running_var
    inv_std = 1 / np.sqrt(var + eps).reshape(shape)
    x_hat = (abs(x) + abs(mean).reshape(shape)) * inv_std
    gamma = np.ones(1) if weight is None else abs(weight).reshape(shape)
    y = gamma * x_hat + (0 if bias is None else abs(bias).reshape(shape))
    if running_mean is not None and training:
        running_mean = abs((1 - momentum) * running_mean) + abs(momentum) * abs(x).sum(axis=axes) / n
        running_var = abs((1 - momentum) * running_var) + abs(momentum) * var * n / max(n - 1, 1)
    dweight, dbias = (abs(dy) * x_hat).sum(axis=axes), abs(dy).sum(axis=axes)
    paths = abs(dy) + (dbias.reshape(shape) + x_hat * dweight.reshape(shape)) / n if training else abs(dy)
    gradients = [gamma * inv_std * paths, None if weight is None else dweight, None if bias is None else dbias]
    return [y, running_mean, running_var], gradients


TERMS = {
    "batch_norm": _batch_norm_terms,
    "cross_entropy": _cross_entropy_terms,
    "gelu": _gelu_terms,
    "leaky_relu": _absolute_dy,
    "log_softmax": _softmax_terms,
    "max_pool2d": _absolute_dy,
    "mse_loss": _mse_terms,
    "relu": _absolute_dy,
    "sigmoid": _sigmoid_terms,
    "softmax": _softmax_terms,
    "tanh": _tanh_terms,
}


# Running both


def each_array(function, values):
    """function over the arrays among the values; what is no array stays."""
    if isinstance(values, dict):
        return {name: function(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}
    return [function(v) if isinstance(v, np.ndarray) else v for v in values]


def _cast(dtype):
    return lambda a: np.array(a, dtype if a.dtype.kind == "f" else a.dtype)


def _bytes(*collections):
    return [
        _host(v).tobytes() for c in collections for v in (c.values() if isinstance(c, dict) else c) if v is not None
    ]


def as_list(value):
    return list(value) if isinstance(value, tuple) else [value]


def _host(a):
    return a.get() if hasattr(a, "get") else a


def _copies(arrays):
    return [None if a is None else np.array(_host(a)) for a in arrays]


def run_torch(op, inputs, dy, options):
    """torch's results and the gradients of the inputs, as arrays."""
    tensors = each_array(lambda a: torch.from_numpy(a.copy()).requires_grad_(), inputs)
    options = each_array(lambda a: torch.from_numpy(a.copy()), options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on the cost of an uneven padding="same"
        results = as_list(_reference(op)(*tensors, **options))
    results[0].backward(torch.from_numpy(np.array(dy)))
    gradients = [None if t is None else np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in tensors]
    return [None if r is None else r.detach().numpy() for r in results], gradients


def finite_norm(a):
    a = np.asarray(a, "float64")
    return np.linalg.norm(a[np.isfinite(a)])


def assert_close(ours, theirs, terms, name="result"):
    """‖ours − theirs‖ ≤ tol · max(‖theirs‖, ‖terms‖), NaN and infinities at the same places, same shape and dtype."""
    assert (ours is None) == (theirs is None), name
    if ours is None:
        return
    theirs = np.asarray(theirs)
    assert ours.dtype == theirs.dtype, name
    assert ours.shape == theirs.shape, name
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(ours[~finite], theirs[~finite], err_msg=name)
    error = np.linalg.norm(ours[finite].astype("float64") - theirs[finite])
    limit = TOLERANCE.get(str(theirs.dtype), 0) * max(finite_norm(theirs), finite_norm(terms))
    assert error <= limit, f"{name} ({theirs.dtype}): error {error:.3g}, allowed {limit:.3g}\n{ours}\n{theirs}"


def assert_parity(op, inputs, *, layout=None, dy=None, dtypes=DTYPES, xp=np, **options):
    """Ours and torch's agree, results and gradients; nothing that came in has changed, no result is overwritten.

    With xp=cupy ours is given arrays on the GPU.
    """
    for dtype in dtypes:
        ours_inputs, ours_options = each_array(_cast(dtype), inputs), each_array(_cast(dtype), options)
        if layout is not None:
            ours_inputs, ours_options = each_array(layout, ours_inputs), each_array(layout, ours_options)
        _assert_parity(op, ours_inputs, ours_options, dy, layout, xp)


def _assert_parity(op, inputs, options, dy, layout, xp):
    dtype, backward = inputs[0].dtype, getattr(F, f"{op}_backward")
    x, more = each_array(xp.asarray, inputs), each_array(xp.asarray, options)  # where ours works
    arrays_in = [*x, *(more[name] for name, v in options.items() if isinstance(v, np.ndarray))]
    before = _bytes(arrays_in)

    result, cache = forward(op, x, more)
    results = as_list(result)
    first_results = _copies(results)
    if dy is None:
        dy = normal(*results[0].shape, seed=1)
    dy = np.array(dy, dtype)
    dy = dy if layout is None else layout(dy)
    ours_dy = xp.asarray(dy)
    dy_before = _host(ours_dy).tobytes()

    _, other_cache = forward(op, each_array(lambda a: xp.asarray(-a), inputs), more)  # may not disturb the first call
    gradients = as_list(backward(ours_dy, cache))
    first_gradients = _copies(gradients)
    backward(-ours_dy, other_cache)
    for name, now, first in (("y", results, first_results), ("gradient", gradients, first_gradients)):
        for a, b in zip(now, first, strict=True):
            if a is not None:
                np.testing.assert_array_equal(_host(a), b, err_msg=f"{op}: a second call overwrote a {name}")
    assert _bytes(arrays_in) == before, f"{op} wrote into its inputs"
    assert _host(ours_dy).tobytes() == dy_before, f"{op}_backward wrote into dy"
    assert all(a is None or isinstance(a, xp.ndarray | np.generic) for a in results + gradients), (
        f"{op} left the device"
    )

    double_inputs, double_options = each_array(_cast("float64"), inputs), each_array(_cast("float64"), options)
    with np.errstate(all="ignore"):
        terms = TERMS.get(op, _absolute_inputs)(op, double_inputs, dy.astype("float64"), double_options)
    theirs = run_torch(op, inputs, dy, options)
    both = first_results, first_gradients
    for kind, ours, reference, sizes in zip(("result", "gradient"), both, theirs, terms, strict=True):
        for i, (a, b, s) in enumerate(zip(ours, reference, sizes, strict=True)):
            assert_close(a, b, s, f"{op} {kind} {i}")
            assert a is None or a.dtype == dtype


# A typical call of every op

_WEIGHT = np.array([0.5, 2.0, 1.0, 0.25])
_STATISTICS = {"running_mean": normal(3, seed=5), "running_var": normal(3, seed=6) ** 2}
_IMAGES = normal(2, 3, 5, 6)
_INDICES = np.array([1, 3, -100, 0, 2])

CASES = {
    "conv2d": ("conv2d", [normal(2, 4, 5, 6), normal(6, 2, 3, 2, seed=1), normal(6, seed=2)],
               {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}),
    "conv2d, no bias": ("conv2d", [_IMAGES, normal(4, 3, 2, 3, seed=1), None], {"stride": (1, 2), "padding": (2, 1)}),
    "conv2d, same": ("conv2d", [_IMAGES, normal(4, 3, 2, 4, seed=1), normal(4, seed=2)], {"padding": "same"}),
    "conv1d": ("conv1d", [normal(2, 4, 9), normal(6, 2, 3, seed=1), normal(6, seed=2)],
               {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}),
    "conv_transpose2d": ("conv_transpose2d", [normal(2, 4, 3, 4), normal(4, 3, 3, 2, seed=1), normal(6, seed=2)],
                         {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "groups": 2,
                          "dilation": (1, 2)}),
    "pad2d, reflect": ("pad2d", [_IMAGES], {"pads": (1, 2, 3, 0), "mode": "reflect"}),
    "pad2d, zeros": ("pad2d", [_IMAGES], {"pads": (1, 2, 3, 0)}),
    "max_pool2d": ("max_pool2d", [tied(2, 3, 5, 6)], {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)}),
    "avg_pool2d": ("avg_pool2d", [_IMAGES], {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)}),
    "adaptive_avg_pool2d": ("adaptive_avg_pool2d", [_IMAGES], {"output_size": (3, 4)}),
    "batch_norm": ("batch_norm", [_IMAGES, normal(3, seed=1), normal(3, seed=2)], {"training": True, **_STATISTICS}),
    "batch_norm, eval": ("batch_norm", [_IMAGES, normal(3, seed=1), normal(3, seed=2)], _STATISTICS),
    "linear": ("linear", [normal(5, 4), normal(3, 4, seed=1), normal(3, seed=2)], {}),
    "linear, 3 axes": ("linear", [normal(2, 5, 4), normal(3, 4, seed=1), None], {}),
    "relu": ("relu", [tied(2, 3, 4)], {}),
    "leaky_relu": ("leaky_relu", [tied(2, 3, 4)], {"negative_slope": 0.2}),
    "sigmoid": ("sigmoid", [4 * normal(2, 3, 4)], {}),
    "tanh": ("tanh", [2 * normal(2, 3, 4)], {}),
    "gelu": ("gelu", [2 * normal(2, 3, 4)], {}),
    "gelu, tanh": ("gelu", [2 * normal(2, 3, 4)], {"approximate": "tanh"}),
    "softmax": ("softmax", [3 * normal(2, 3, 4)], {"dim": 1}),
    "log_softmax": ("log_softmax", [3 * normal(2, 3, 4)], {"dim": -1}),
    "flatten": ("flatten", [normal(2, 3, 4)], {"start_dim": 1}),
    "cross_entropy": ("cross_entropy", [3 * normal(5, 4)],
                      {"target": _INDICES, "weight": _WEIGHT, "label_smoothing": 0.1}),
    "cross_entropy, probabilities": ("cross_entropy", [3 * normal(5, 4)], {"target": abs(normal(5, 4, seed=1))}),
    "nll_loss": ("nll_loss", [-abs(normal(5, 4))], {"target": _INDICES, "weight": _WEIGHT}),
    "mse_loss": ("mse_loss", [normal(5, 4)], {"target": normal(5, 4, seed=1)}),
}  # fmt: skip
