"""Dropout with masks that can be given, so that two frameworks drop the same elements."""

from collections.abc import Callable

import numpy
import torch
from torch import nn

from scratchnet.nn import Dropout as ScratchDropout
from scratchnet.nn import Module
from scratchnet.ops.dropout import keep_mask

MaskSource = Callable[[tuple[int, ...]], numpy.ndarray]


class _Maskable:
    """What Dropout and Dropout2d share: `mask_source`, a function from x's shape to a mask, True where x is kept."""

    mask_source: MaskSource | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mask_source is None or not self.training:
            return super().forward(x)
        mask = torch.from_numpy(self.mask_source(tuple(x.shape))).to(x.dtype)
        return mask * x / (1 - self.p)


class Dropout(_Maskable, nn.Dropout):
    """torch.nn.Dropout, unless mask_source is set."""


class Dropout2d(_Maskable, nn.Dropout2d):
    """torch.nn.Dropout2d, unless mask_source is set."""


def share_masks(ours: Module, theirs: nn.Module) -> None:
    """Let every dropout layer of a torch_ref model draw the masks that the scratchnet model's layer draws.

    Layers are matched by their order. The masks follow from seed, stream and call number, so the two models may
    run in any order, as long as both have been called equally often in training mode.
    """
    sources = [module for module in ours.modules() if isinstance(module, ScratchDropout)]
    targets = [module for module in theirs.modules() if isinstance(module, _Maskable)]
    if len(sources) != len(targets):
        raise ValueError(f"share_masks: expected {len(sources)} dropout layers, got {len(targets)}")
    for source, target in zip(sources, targets, strict=True):
        target.mask_source = _masks_of(source)


def _masks_of(source: ScratchDropout) -> MaskSource:
    key, calls = (source.seed, source.stream), source.calls

    def next_mask(shape: tuple[int, ...]) -> numpy.ndarray:
        nonlocal calls
        mask = keep_mask(shape, source.p, key, calls, numpy)
        calls += 1
        return mask

    return next_mask
