"""Batch normalisation, with torch.nn's signatures and state_dict keys."""

from typing import Any

import numpy

from scratchnet import functional as F
from scratchnet.functional import _check as check
from scratchnet.nn.module import Module, float_dtype
from scratchnet.nn.parameter import Parameter
from scratchnet.ops.shape import Array


class _BatchNorm(Module):
    """Batch normalisation of each channel; the two subclasses differ in the inputs that they accept.

    Parameters weight (γ) and bias (β), buffers running_mean, running_var, num_batches_tracked, all of shape
    (num_features,) but for the counter. momentum=None averages over all batches equally; affine=False has no
    parameters, bias=False no β; track_running_stats=False has no buffers and normalises by the batch in evaluation too.
    """

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array
    _layout: str
    _ndims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        name, dtype = type(self).__name__, float_dtype(dtype)
        n = self.num_features = check.integer(name, "num_features", num_features, 0)
        self.eps = check.number(name, "eps", eps)
        if self.eps <= 0:
            raise ValueError(f"{name}: expected eps > 0, got {eps}")
        self.momentum = None if momentum is None else check.number(name, "momentum", momentum)
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", Parameter(numpy.ones(n, dtype)) if affine else None)
        self.register_parameter("bias", Parameter(numpy.zeros(n, dtype)) if affine and bias else None)
        self.register_buffer("running_mean", numpy.zeros(n, dtype) if track_running_stats else None)
        self.register_buffer("running_var", numpy.ones(n, dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", numpy.array(0) if track_running_stats else None)
        if device is not None:
            self.to(device)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def forward(self, x: Array) -> tuple[Array, Any]:
        name = type(self).__name__
        check.check_float(name, "the input", x)
        check.check_ndim(name, x, self._ndims, self._layout)
        if x.shape[1] != self.num_features:
            raise ValueError(f"{name}: expected {self.num_features} channels, got an input of shape {x.shape}")
        running, options, moving = self.statistics()
        weight = None if self.weight is None else self.weight.data
        bias = None if self.bias is None else self.bias.data
        use_batch, momentum, eps = options
        (y, mean, var), cache = F.batch_norm(x, *running, weight, bias, use_batch, momentum, eps)
        if moving:
            self.move(mean, var)
        return y, cache

    def statistics(self) -> tuple[tuple[Array | None, Array | None], tuple[bool, float, float], bool]:
        """What batch_norm is given: (running_mean, running_var), (training, momentum, eps); and whether they move."""
        mean, var = self.running_mean, self.running_var
        use_batch, moving = self.training or mean is None, self.training and mean is not None
        running = (mean, var) if moving or not use_batch else (None, None)
        momentum = self.momentum
        if momentum is None:  # the cumulative mean: the k-th batch has weight 1/k
            momentum = 1 / (int(self.num_batches_tracked) + 1) if moving else 0.0
        return running, (use_batch, momentum, self.eps), moving

    def move(self, mean: Array, var: Array) -> None:
        self._buffers.update(running_mean=mean, running_var=var, num_batches_tracked=self.num_batches_tracked + 1)

    def backward(self, dy: Array, cache: Any) -> Array:
        dx, dweight, dbias = F.batch_norm_backward(dy, cache)
        self.accumulate(dweight, dbias)
        return dx

    def accumulate(self, dweight: Array | None, dbias: Array | None) -> None:
        for parameter, gradient in ((self.weight, dweight), (self.bias, dbias)):
            if parameter is not None:
                parameter.accumulate(gradient)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of x (N, C) or (N, C, L)."""

    _ndims, _layout = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of x (N, C, H, W)."""

    _ndims, _layout = (4,), "(N, C, H, W)"


for _cls in (BatchNorm1d, BatchNorm2d):
    _cls.__doc__ = f"{_cls.__doc__}\n\n{_BatchNorm.__doc__}"
