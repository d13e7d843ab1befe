"""Losses as modules: `loss = criterion(logits, target)`, then `dlogits = criterion.backward()`."""

from typing import Any

from scratchnet import functional as F
from scratchnet.functional import _check as check
from scratchnet.functional.loss import REDUCTIONS
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array


class _Loss(Module):
    """backward() starts from dloss = 1; with reduction "none" it needs dloss, one number for each loss."""

    reduction: str

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean") -> None:
        if size_average is not None or reduce is not None:
            raise NotImplementedError(
                f"{type(self).__name__}: size_average and reduce are not built (torch deprecates them): use reduction"
            )
        self.reduction = check.choice(type(self).__name__, "reduction", reduction, REDUCTIONS)

    def backward(self, dloss: Any, cache: Any) -> Array:
        name = type(self).__name__
        if cache is None:
            raise RuntimeError(f"{name}.backward: the forward call ran under no_grad and kept nothing")
        if dloss is None and cache.shape:
            raise ValueError(f"{name}.backward: reduction 'none' needs dloss of shape {cache.shape}, got none")
        dloss = 1.0 if dloss is None else dloss
        if isinstance(dloss, int | float):
            dloss = cache.dtype.type(dloss)
        return self._backward(dloss, cache)

    def _backward(self, dloss: Array, cache: Any) -> Array:
        raise NotImplementedError


class _ClassLoss(_Loss):
    """A loss over classes, with an optional weight of each class."""

    weight: Array | None

    def __init__(
        self,
        weight: Array | None = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if weight is not None:
            check.check_float(type(self).__name__, "weight", weight)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index


class CrossEntropyLoss(_ClassLoss):
    """Softmax cross entropy of logits (N, C, …) or (C,) with class indices or class probabilities.

    weight (C,) rescales each class; positions whose target is ignore_index do not count; label_smoothing mixes
    the target with the uniform distribution; reduction is "mean", "sum" or "none".
    """

    def __init__(
        self,
        weight: Array | None = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction)
        self.label_smoothing = check.number("CrossEntropyLoss", "label_smoothing", label_smoothing)
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(f"CrossEntropyLoss: expected label_smoothing between 0 and 1, got {label_smoothing}")

    def forward(self, logits: Array, target: Array) -> tuple[Array, Any]:
        options = self.weight, self.ignore_index, self.reduction, self.label_smoothing
        return F.cross_entropy(logits, target, *options)

    def _backward(self, dloss: Array, cache: Any) -> Array:
        return F.cross_entropy_backward(dloss, cache)


class NLLLoss(_ClassLoss):
    """Negative log likelihood of log probabilities (N, C, …) or (C,) at class indices."""

    def forward(self, log_probabilities: Array, target: Array) -> tuple[Array, Any]:
        return F.nll_loss(log_probabilities, target, self.weight, self.ignore_index, self.reduction)

    def _backward(self, dloss: Array, cache: Any) -> Array:
        return F.nll_loss_backward(dloss, cache)


class MSELoss(_Loss):
    """Mean squared error of two arrays of one shape."""

    def forward(self, x: Array, target: Array) -> tuple[Array, Any]:
        return F.mse_loss(x, target, self.reduction)

    def _backward(self, dloss: Array, cache: Any) -> Array:
        return F.mse_loss_backward(dloss, cache)
