"""Several layers as one kernel: `scratchnet.fuse(model)`.

A fused model computes what the model computes, with fewer trips to memory: it looks for runs of steps such as
convolution – ReLU – max pooling in the chains of the model, and hands each run to one function of the numba or the
cuda rung, forward and backward. It has no state of its own. Parameters, buffers, mode and dropout counters are the
model's, and either may be trained, saved or put into evaluation mode in place of the other.
"""

import functools
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Self

import numpy

from scratchnet import backend
from scratchnet.nn.activation import ReLU
from scratchnet.nn.containers import Chain, Residual, Step
from scratchnet.nn.conv import Conv2d
from scratchnet.nn.dropout import Dropout, Dropout2d
from scratchnet.nn.grad_mode import grad_enabled, no_grad
from scratchnet.nn.linear import Linear
from scratchnet.nn.module import Module
from scratchnet.nn.norm import BatchNorm2d
from scratchnet.nn.parameter import Parameter
from scratchnet.nn.pool import AvgPool2d, MaxPool2d
from scratchnet.ops.shape import Array, pair

KERNELS = {rung: backend.RUNGS[rung].package for rung in ("numba", "cuda")}  # the rungs that have fused kernels


def fuse(model: Module, input_grad: bool = True) -> Module:
    """The model with fused kernels; it shares everything with the original, and has the same state_dict.

    With input_grad=False backward returns None instead of the gradient of the network's input, which training does not
    need and which costs as much as the first layer's forward pass.

    What is fused: Conv2d–ReLU(–MaxPool2d), BatchNorm2d–ReLU(–pooling of 2 × 2) and Linear–ReLU(–Dropout), in any Chain
    or Sequential and inside Residual. A module that writes its own forward stays as it is. Where a fused kernel cannot
    work (another rung, an `override`) the plain layers run instead. Sums are taken in another order, so results
    agree to rounding only.
    """
    if not isinstance(model, Module):
        raise TypeError(f"fuse: expected a module, got {type(model).__name__}")
    fused = Fused(model)
    if not input_grad:
        fused.skip_input_grad()
    return fused


class Fused(Module):
    """A module computed in blocks. Its attributes, parameters and mode are those of the module."""

    def __init__(self, module: Module) -> None:
        self.__dict__["original"] = module
        for registry in ("_parameters", "_buffers", "_modules"):
            self.__dict__[registry] = module.__dict__[registry]
        self.__dict__["_blocks"] = list(_blocks(module))

    @property
    def training(self) -> bool:
        return self.original.training

    @training.setter
    def training(self, mode: bool) -> None:
        self.original.training = mode

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("training", "_latest"):
            object.__setattr__(self, name, value)
            return
        setattr(self.original, name, value)
        self.__dict__["_blocks"] = list(_blocks(self.original))

    def __getattr__(self, name: str) -> Any:
        if name == "original":
            raise AttributeError(name)
        return getattr(self.original, name)

    def named_children(self) -> Iterator[Step]:
        return self.original.named_children()

    def __repr__(self) -> str:
        return f"Fused{self.original!r}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        caches = []
        for block in self._blocks:
            x, cache = block.forward(x)
            if grad_enabled():
                caches.append(cache)
        return x, caches if grad_enabled() else None

    def backward(self, dy: Array, cache: Any) -> Array | None:
        if cache is None:
            raise RuntimeError(
                f"{type(self.original).__name__}.backward: the forward call ran under no_grad and kept nothing"
            )
        for block, block_cache in zip(reversed(self._blocks), reversed(cache), strict=True):
            dy = block.backward(dy, block_cache)
            if dy is None:  # not wanted from here on
                break
        return dy

    def skip_input_grad(self) -> bool:
        """Let the first block that has parameters return None from backward; False if it cannot."""
        for block in self._blocks:
            if isinstance(block, Fused | Block):
                return block.skip_input_grad()
            if any(True for _ in block.parameters()):
                return False
        return False


def _is_derived(module: Module) -> bool:
    """Whether forward and backward follow from what the module is made of, and so may be computed in blocks."""
    kind = type(module)
    return kind is Residual or (kind.forward is Chain.forward and kind.backward is Chain.backward)


def _blocks(module: Module) -> Iterator[Any]:
    """What computes the module, in order: fused blocks and modules."""
    if type(module) is Residual:
        yield FusedResidual(module)
    elif not _is_derived(module):
        yield module
    else:
        steps = [step for _, step in module.chain]
        while steps:
            block = next((block for kind in BLOCKS if (block := kind.match(steps)) is not None), None)
            if block is not None:
                steps = steps[len(block.modules) :]
                yield block
            else:
                step = steps.pop(0)
                yield Fused(step) if _is_derived(step) else step


class FusedResidual(Residual):
    """y = main(x) + shortcut(x), both fused."""

    def __init__(self, module: Residual) -> None:
        super().__init__(Fused(module.main), Fused(module.shortcut))


class Block:
    """A run of modules computed by one kernel forward and one backward."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = modules
        self.wants_dx = True
        self._fitted: Any = None  # of what kind the last x that fitted, and the parameters, were

    @classmethod
    def match(cls, steps: Sequence[Module]) -> Self | None:
        """The block made of the first of these steps, or None if they are not of its kind."""
        raise NotImplementedError

    def compute(self, x: Array, *arrays: Any) -> tuple[Array, Any]:
        """y, cache, by the kernel, of x and `_arrays`."""
        raise NotImplementedError

    def differentiate(self, dy: Array, cache: Any) -> Array | None:
        """dx, by the kernel; adds into the parameters' gradients."""
        raise NotImplementedError

    def skip_input_grad(self) -> bool:
        self.wants_dx = False
        return True

    def forward(self, x: Array) -> tuple[Array, Any]:
        arrays = self._arrays()
        if not self._fits(x, arrays):
            caches = []
            for module in self.modules:
                x, cache = module.forward(x)
                caches.append(cache)
            return x, (None, caches)
        y, cache = self.compute(x, *arrays)
        return y, (y, cache)

    def backward(self, dy: Array, cache: Any) -> Array | None:
        y, cache = cache
        if y is None:
            for module, module_cache in zip(reversed(self.modules), reversed(cache), strict=True):
                dy = module.backward(dy, module_cache)
            return dy if self.wants_dx else None
        if not isinstance(dy, type(y)) or dy.dtype != y.dtype or dy.shape != y.shape:
            got = f"{dy.dtype} {dy.shape}" if isinstance(dy, type(y)) else type(dy).__name__
            raise ValueError(f"{self!r}: backward expected dy as {y.dtype} {y.shape}, got {got}")
        return self.differentiate(dy, cache)

    def _fits(self, x: Array, arrays: list[Array | None]) -> bool:
        """Whether the kernel can take x. What is wrong with x, the plain layers say, given an empty batch of it."""
        if not hasattr(x, "dtype") or backend.rung_for(x) not in KERNELS or backend.overridden():
            return False
        kind = type(x), x.shape[1:], x.dtype, [None if a is None else (type(a), a.shape, a.dtype) for a in arrays]
        if kind != self._fitted:
            if x.size == 0 or not self.takes(x) or not all(a is None or isinstance(a, type(x)) for a in arrays):
                return False
            with no_grad(), backend.use("im2col"):  # the rung that need not be compiled
                y = x[:0]
                for module in self.modules:
                    if not isinstance(module, Dropout | BatchNorm2d):
                        y, _ = module.forward(y)
            self._fitted = kind
        return True

    def takes(self, x: Array) -> bool:
        """Whether the kernel is made for arrays like x; the plain layers take all others."""
        raise NotImplementedError

    def _arrays(self) -> list[Array | None]:
        """The arrays that the kernel is given: weight and bias, or None for one that is not there."""
        return [_data(self.modules[0].weight), _data(self.modules[0].bias)]

    def __repr__(self) -> str:
        return "–".join(type(module).__name__ for module in self.modules)


@functools.cache
def _file(package: str, name: str) -> Any:
    return import_module(f"{package}.{name}")


def _kernels(name: str, x: Array) -> Any:
    """The file of kernels for arrays like x, imported when it is first used."""
    return _file(KERNELS["numba" if isinstance(x, numpy.ndarray) else "cuda"], name)


def _data(parameter: Parameter | None) -> Array | None:
    return None if parameter is None else parameter.data


class ConvBlock(Block):
    """Conv2d, Conv2d–ReLU, or Conv2d–ReLU–MaxPool2d."""

    @classmethod
    def match(cls, steps: Sequence[Module]) -> Self | None:
        if type(steps[0]) is not Conv2d or steps[0].padding_mode != "zeros" or isinstance(steps[0].padding, str):
            return None
        if len(steps) < 2 or type(steps[1]) is not ReLU:
            return cls(steps[:1])
        conv = steps[0]
        pools = len(steps) > 2 and type(steps[2]) is MaxPool2d and not steps[2].return_indices
        if not pools or pair(steps[2].dilation) != (1, 1) or conv.groups > 1 or conv.dilation != (1, 1):
            return cls(steps[:2])
        kernel_h, kernel_w = pair(steps[2].kernel_size)
        return cls(steps[: 3 if kernel_h * kernel_w < 256 else 2])

    def takes(self, x: Array) -> bool:
        return x.ndim == 4

    def compute(self, x: Array, weight: Array, bias: Array | None) -> tuple[Array, Any]:
        conv = self.modules[0]
        if len(self.modules) < 3:
            return _kernels("conv", x).conv2d_relu(
                x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups, relu=len(self.modules) == 2
            )
        pool = self.modules[2]
        windows = pair(pool.kernel_size), pair(pool.stride), pair(pool.padding), pool.ceil_mode
        return _kernels("conv_pool", x).conv_relu_max_pool(x, weight, bias, conv.stride, conv.padding, *windows)

    def differentiate(self, dy: Array, cache: Any) -> Array | None:
        if len(self.modules) < 3:
            dx, dweight, dbias = _kernels("conv", dy).conv2d_backward(dy, cache, self.wants_dx)
        else:
            dx, dweight, dbias = _kernels("conv_pool", dy).conv_relu_max_pool_backward(dy, cache, self.wants_dx)
        self.modules[0]._accumulate(dweight, dbias)
        return dx


class LinearBlock(Block):
    """Linear, Linear–ReLU, or Linear–ReLU–Dropout."""

    @classmethod
    def match(cls, steps: Sequence[Module]) -> Self | None:
        if type(steps[0]) is not Linear:
            return None
        count = 1 + (len(steps) > 1 and type(steps[1]) is ReLU)
        if count == 2 and len(steps) > 2 and type(steps[2]) in (Dropout, Dropout2d):  # the same on (N, O)
            count = 3
        return cls(steps[:count])

    def takes(self, x: Array) -> bool:
        return x.ndim == 2

    def compute(self, x: Array, weight: Array, bias: Array | None) -> tuple[Array, Any]:
        rest, drop = self.modules[1:], None
        if len(rest) == 2 and rest[1].training:
            dropout = rest[1]
            drop = dropout.p, (dropout.seed, dropout.stream), dropout.calls
            dropout.calls += 1
        return _kernels("linear", x).linear_relu_dropout(x, weight, bias, bool(rest), drop)

    def differentiate(self, dy: Array, cache: Any) -> Array | None:
        linear = self.modules[0]
        dx, dweight, dbias = _kernels("linear", dy).linear_relu_dropout_backward(dy, cache, self.wants_dx)
        linear.weight.accumulate(dweight)
        if linear.bias is not None:
            linear.bias.accumulate(dbias)
        return dx


class NormBlock(Block):
    """BatchNorm2d–ReLU, or BatchNorm2d(–ReLU) and 2 × 2 pooling with stride 2."""

    @classmethod
    def match(cls, steps: Sequence[Module]) -> Self | None:
        if type(steps[0]) is not BatchNorm2d:
            return None
        count = 1 + (len(steps) > 1 and type(steps[1]) is ReLU)
        count += len(steps) > count and _is_square_pool(steps[count])
        return cls(steps[:count]) if count > 1 else None

    def takes(self, x: Array) -> bool:
        if x.ndim != 4 or min(x.shape[2:]) < 2:
            return False
        return all(a is None or (a.shape, a.dtype) == ((x.shape[1],), x.dtype) for a in self._arrays())

    def _arrays(self) -> list[Array | None]:
        norm = self.modules[0]
        return [*super()._arrays(), norm.running_mean, norm.running_var]

    def compute(self, x: Array, weight: Array | None, bias: Array | None, *_: Any) -> tuple[Array, Any]:
        norm, last = self.modules[0], self.modules[-1]
        kernels = _kernels("norm_pool", x)
        pool = {MaxPool2d: kernels.MAX_POOL, AvgPool2d: kernels.AVG_POOL}.get(type(last), kernels.NO_POOL)
        relu = type(self.modules[1]) is ReLU
        running, options, moving = norm.statistics()
        (y, mean, var), cache = kernels.batch_norm_relu_pool(x, weight, bias, *running, *options, relu, pool)
        if moving:
            norm.move(mean, var)
        return y, cache

    def differentiate(self, dy: Array, cache: Any) -> Array | None:
        dx, dweight, dbias = _kernels("norm_pool", dy).batch_norm_relu_pool_backward(dy, cache)
        self.modules[0].accumulate(dweight, dbias)
        return dx


def _is_square_pool(module: Module) -> bool:
    """2 × 2 pooling with stride 2 and nothing else."""
    if type(module) not in (MaxPool2d, AvgPool2d) or module.ceil_mode or pair(module.padding) != (0, 0):
        return False
    if type(module) is MaxPool2d and (module.return_indices or pair(module.dilation) != (1, 1)):
        return False
    if type(module) is AvgPool2d and module.divisor_override is not None:
        return False
    return pair(module.kernel_size) == (2, 2) == pair(module.stride)


BLOCKS: tuple[type[Block], ...] = (ConvBlock, NormBlock, LinearBlock)
