"""Mistakes in batch normalisation. Each function is that of scratchnet/ops/norm.py but for the mistake."""

from scratchnet.ops import norm
from scratchnet.ops.norm import BatchNormCache, _per_channel
from scratchnet.ops.shape import Array, array_module
from scratchnet.study.museum.exhibit import exhibit, replaces

FAMILY = "batch normalisation"
Forward = tuple[tuple[Array, Array | None, Array | None], BatchNormCache]
Gradients = tuple[Array, Array | None, Array | None]


@exhibit(
    "batch-norm-forgets-the-mean",
    title="BatchNorm's gradient without the path through the mean",
    family=FAMILY,
    right=norm.batch_norm_backward,
    bug=replaces("batch_norm_backward"),
    check="gradcheck",
    case="batch norm",
    why="The mean and the variance are taken for constants, one of them at least. But every x moves the mean that all "
    "the others are measured by.",
    effect="dx no longer sums to zero over a channel, so a bias or a constant below BatchNorm gets a gradient although "
    "it cannot change the loss. Training goes on, with noise.",
    notice="Sum dx over (N, H, W): the right one is 0 for every channel, to rounding.",
)
def batch_norm_forgets_the_mean(dy: Array, cache: BatchNormCache) -> Gradients:
    x_hat, inv_std, weight, has_bias, training = cache
    axes = (0, *range(2, dy.ndim))
    dweight = (dy * x_hat).sum(axis=axes)  # (C,)
    dbias = dy.sum(axis=axes)  # (C,)
    scale = inv_std if weight is None else inv_std * weight  # (C,): γ·s
    if training:
        n = dy.size // dy.shape[1] if dy.size else 1
        dx = dy - x_hat * _per_channel(dweight / n, dy.ndim)
    else:
        dx = dy
    dx = dx * _per_channel(scale, dy.ndim)  # (N, C, …)
    return dx, None if weight is None else dweight, dbias if has_bias else None


@exhibit(
    "batch-norm-forgets-the-variance",
    title="BatchNorm's gradient without the path through the variance",
    family=FAMILY,
    right=norm.batch_norm_backward,
    bug=replaces("batch_norm_backward"),
    check="gradcheck",
    case="batch norm",
    why="Of the three paths this one has the longest derivation, −½·(σ² + ε)^(−3/2) and so on, and dx looks plausible "
    "without it.",
    effect="dx keeps a part along x̂. The forward pass does not care how long the weights below are, since it divides "
    "by σ; this gradient does, and pulls at it.",
    notice="Multiply dx by x̂ and sum over (N, H, W): the right one is 0 for every channel, but for ε.",
)
def batch_norm_forgets_the_variance(dy: Array, cache: BatchNormCache) -> Gradients:
    x_hat, inv_std, weight, has_bias, training = cache
    axes = (0, *range(2, dy.ndim))
    dweight = (dy * x_hat).sum(axis=axes)  # (C,)
    dbias = dy.sum(axis=axes)  # (C,)
    scale = inv_std if weight is None else inv_std * weight  # (C,): γ·s
    if training:
        n = dy.size // dy.shape[1] if dy.size else 1
        dx = dy - _per_channel(dbias / n, dy.ndim)
    else:
        dx = dy
    dx = dx * _per_channel(scale, dy.ndim)  # (N, C, …)
    return dx, None if weight is None else dweight, dbias if has_bias else None


@exhibit(
    "batch-norm-constant-statistics",
    title="BatchNorm's gradient as in evaluation, always",
    family=FAMILY,
    right=norm.batch_norm_backward,
    bug=replaces("batch_norm_backward"),
    check="gradcheck",
    case="batch norm",
    why="y = γ·(x − μ)/σ + β is read as a line with slope γ/σ. That is what it is in evaluation.",
    effect="dx keeps both parts that normalisation makes meaningless. Deep networks feel it most: every BatchNorm adds "
    "its own error.",
    notice="In evaluation mode the check passes, in training mode it fails: the gradient lacks the terms with 1/n.",
)
def batch_norm_constant_statistics(dy: Array, cache: BatchNormCache) -> Gradients:
    x_hat, inv_std, weight, has_bias, _ = cache
    axes = (0, *range(2, dy.ndim))
    dweight = (dy * x_hat).sum(axis=axes)  # (C,)
    dbias = dy.sum(axis=axes)  # (C,)
    scale = inv_std if weight is None else inv_std * weight  # (C,): γ·s
    dx = dy
    dx = dx * _per_channel(scale, dy.ndim)  # (N, C, …)
    return dx, None if weight is None else dweight, dbias if has_bias else None


@exhibit(
    "batch-norm-divides-by-batch",
    title="BatchNorm's n is N where it is N·H·W",
    family=FAMILY,
    right=norm.batch_norm_backward,
    bug=replaces("batch_norm_backward"),
    check="gradcheck",
    case="batch norm",
    why="The formulas of the paper and of most tutorials are for vectors, where n is the batch size m. For images each "
    "channel has N·H·W numbers.",
    effect="The two correction terms are H·W times too large and swamp dy: the gradient of everything below is wrong "
    "in size and direction.",
    notice="BatchNorm1d on (N, C) passes and BatchNorm2d fails; with H = W = 1 both pass.",
)
def batch_norm_divides_by_batch(dy: Array, cache: BatchNormCache) -> Gradients:
    x_hat, inv_std, weight, has_bias, training = cache
    axes = (0, *range(2, dy.ndim))
    dweight = (dy * x_hat).sum(axis=axes)  # (C,)
    dbias = dy.sum(axis=axes)  # (C,)
    scale = inv_std if weight is None else inv_std * weight  # (C,): γ·s
    if training:
        n = len(dy) if dy.size else 1
        dx = dy - _per_channel(dbias / n, dy.ndim) - x_hat * _per_channel(dweight / n, dy.ndim)
    else:
        dx = dy
    dx = dx * _per_channel(scale, dy.ndim)  # (N, C, …)
    return dx, None if weight is None else dweight, dbias if has_bias else None


@exhibit(
    "batch-norm-running-var-biased",
    title="The running variance is kept biased",
    family=FAMILY,
    right=norm.batch_norm,
    bug=replaces("batch_norm"),
    check="parity",
    case="batch norm",
    why="The variance is at hand, so it is kept. The paper's algorithm (and torch) keep n/(n − 1) times it, the "
    "unbiased estimate, since the running average stands for the whole population.",
    effect="None in training. In evaluation everything is divided by a σ that is too small by √((n − 1)/n): 1.6% for "
    "n = 32, and next to nothing for n = N·H·W of an image.",
    notice="A buffer, not a gradient: gradcheck cannot see it. One batch of [1, 2, 3, 4] has to move running_var from "
    "1 to 1.0667 (momentum 0.1); the biased variance gives 1.025.",
    seen=(
        "tinygrad/tinygrad pull request 807: running_var did not match PyTorch's",
        "keras-team/keras issue 8982: the population variance with small batches",
    ),
)
def batch_norm_running_var_biased(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Forward:
    xp = array_module(x)
    axes = (0, *range(2, x.ndim))
    if training:
        n = x.size // x.shape[1] if x.size else 0
        mean = x.sum(axis=axes) / max(n, 1)  # (C,)
        var = xp.square(x - _per_channel(mean, x.ndim)).sum(axis=axes) / max(n, 1)  # (C,), biased
        if running_mean is not None and running_var is not None and n:  # an empty batch moves nothing
            running_mean = (1 - momentum) * running_mean + momentum * mean
            running_var = (1 - momentum) * running_var + momentum * var
    else:
        mean, var = running_mean, running_var
    inv_std = 1 / xp.sqrt(var + eps)  # (C,)
    x_hat = (x - _per_channel(mean, x.ndim)) * _per_channel(inv_std, x.ndim)  # (N, C, …)
    y = x_hat if weight is None else x_hat * _per_channel(weight, x.ndim)
    y = y if bias is None else y + _per_channel(bias, x.ndim)
    return (y, running_mean, running_var), BatchNormCache(x_hat, inv_std, weight, bias is not None, training)


@exhibit(
    "batch-norm-momentum-inverted",
    title="BatchNorm's momentum the wrong way round",
    family=FAMILY,
    right=norm.batch_norm,
    bug=replaces("batch_norm"),
    check="parity",
    case="batch norm",
    why="There are two conventions. In torch momentum is the weight of the new batch (0.1); in Keras and in many "
    "courses it is the weight of the past (0.9 or 0.99). Code is copied from one and numbers from the other.",
    effect="None in training. The running statistics are those of the last batch, for 90%: evaluation jumps from one "
    "to the next, and gets worse the more the last batch was unlike the others.",
    notice="A buffer, not a gradient: gradcheck cannot see it. After one batch the running mean must have moved by a "
    "tenth of the way.",
    seen=(
        "CS231n's assignment writes running_mean = momentum · running_mean + (1 − momentum) · sample_mean: right with "
        "its own 0.9, wrong with torch's 0.1",
    ),
)
def batch_norm_momentum_inverted(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Forward:
    xp = array_module(x)
    axes = (0, *range(2, x.ndim))
    if training:
        n = x.size // x.shape[1] if x.size else 0
        mean = x.sum(axis=axes) / max(n, 1)  # (C,)
        var = xp.square(x - _per_channel(mean, x.ndim)).sum(axis=axes) / max(n, 1)  # (C,), biased
        if running_mean is not None and running_var is not None and n:  # an empty batch moves nothing
            running_mean = momentum * running_mean + (1 - momentum) * mean
            running_var = momentum * running_var + (1 - momentum) * (n / (n - 1)) * var
    else:
        mean, var = running_mean, running_var
    inv_std = 1 / xp.sqrt(var + eps)  # (C,)
    x_hat = (x - _per_channel(mean, x.ndim)) * _per_channel(inv_std, x.ndim)  # (N, C, …)
    y = x_hat if weight is None else x_hat * _per_channel(weight, x.ndim)
    y = y if bias is None else y + _per_channel(bias, x.ndim)
    return (y, running_mean, running_var), BatchNormCache(x_hat, inv_std, weight, bias is not None, training)


@exhibit(
    "batch-norm-batch-statistics-in-evaluation",
    title="Evaluation normalises by the batch at hand",
    family=FAMILY,
    right=norm.batch_norm,
    bug=replaces("batch_norm"),
    check="evaluation",
    case="batch norm in evaluation",
    why="The layer has no evaluation mode, or nobody switches it on.",
    effect="Training is untouched, and the measured accuracy is good as long as test batches are large and mixed. One "
    "image alone, or a batch of one class, gets another answer than it gets in company.",
    notice="Evaluate one image alone and within two batches: the answers must be equal. gradcheck passes, since the "
    "backward pass is that of training too; parity with torch in evaluation mode fails.",
    seen=("anitan0925/vaegan issue 1: at test time the result depends on the batch size and on the other examples",),
)
def batch_norm_batch_statistics_in_evaluation(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Forward:
    training = True
    xp = array_module(x)
    axes = (0, *range(2, x.ndim))
    if training:
        n = x.size // x.shape[1] if x.size else 0
        mean = x.sum(axis=axes) / max(n, 1)  # (C,)
        var = xp.square(x - _per_channel(mean, x.ndim)).sum(axis=axes) / max(n, 1)  # (C,), biased
        if running_mean is not None and running_var is not None and n:  # an empty batch moves nothing
            running_mean = (1 - momentum) * running_mean + momentum * mean
            running_var = (1 - momentum) * running_var + momentum * (n / (n - 1)) * var
    else:
        mean, var = running_mean, running_var
    inv_std = 1 / xp.sqrt(var + eps)  # (C,)
    x_hat = (x - _per_channel(mean, x.ndim)) * _per_channel(inv_std, x.ndim)  # (N, C, …)
    y = x_hat if weight is None else x_hat * _per_channel(weight, x.ndim)
    y = y if bias is None else y + _per_channel(bias, x.ndim)
    return (y, running_mean, running_var), BatchNormCache(x_hat, inv_std, weight, bias is not None, training)


@exhibit(
    "batch-norm-eps-outside-the-root",
    title="BatchNorm adds ε to σ instead of σ²",
    family=FAMILY,
    right=norm.batch_norm,
    bug=replaces("batch_norm"),
    check="parity",
    case="batch norm",
    why="Both keep the denominator from being zero, and Adam has its ε outside of the root.",
    effect="None where σ is of the order of 1. A channel that is almost constant (a dead filter, a blank border) is "
    "divided by 10⁻⁵ where it should be by √10⁻⁵ ≈ 0.003: its noise is blown up 300 times.",
    notice="The difference to torch is of the order of ε/σ, and invisible in float32 for ordinary inputs: compare in "
    "float64, or feed a constant channel.",
)
def batch_norm_eps_outside_the_root(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Forward:
    xp = array_module(x)
    axes = (0, *range(2, x.ndim))
    if training:
        n = x.size // x.shape[1] if x.size else 0
        mean = x.sum(axis=axes) / max(n, 1)  # (C,)
        var = xp.square(x - _per_channel(mean, x.ndim)).sum(axis=axes) / max(n, 1)  # (C,), biased
        if running_mean is not None and running_var is not None and n:  # an empty batch moves nothing
            running_mean = (1 - momentum) * running_mean + momentum * mean
            running_var = (1 - momentum) * running_var + momentum * (n / (n - 1)) * var
    else:
        mean, var = running_mean, running_var
    inv_std = 1 / (xp.sqrt(var) + eps)  # (C,)
    x_hat = (x - _per_channel(mean, x.ndim)) * _per_channel(inv_std, x.ndim)  # (N, C, …)
    y = x_hat if weight is None else x_hat * _per_channel(weight, x.ndim)
    y = y if bias is None else y + _per_channel(bias, x.ndim)
    return (y, running_mean, running_var), BatchNormCache(x_hat, inv_std, weight, bias is not None, training)
