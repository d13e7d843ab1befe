"""One helper for tests that compare a module of ours with torch's."""

import numpy as np
import torch
from parity_cases import assert_close

from scratchnet import nn


def assert_modules_agree(ours, theirs, inputs):
    """Same state_dict keys; same output, gradients and buffers for the same state."""
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    tensors = [torch.from_numpy(x.copy()) for x in inputs]
    tensors[0].requires_grad_()
    y, cache = ours.forward(*inputs)
    their_y = theirs(*tensors)
    assert_close(y, their_y.detach(), 0, "output")
    dy = np.asarray(np.random.default_rng(0).standard_normal(y.shape), y.dtype)
    dx = ours.backward(dy, cache)
    their_y.backward(torch.from_numpy(dy))
    # What is subtracted within dx is of the size of dy: dy − y²·dy in tanh, dy less its mean in batch normalisation.
    cancels = isinstance(ours, nn.Tanh | nn.BatchNorm1d | nn.BatchNorm2d)
    assert_close(dx, tensors[0].grad, dy if cancels else 0, "dx")
    for (name, mine), yours in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_close(mine.grad, yours.grad, 0, name)
    state = ours.state_dict()
    for name, value in theirs.state_dict().items():
        if value.is_floating_point():
            assert_close(state[name], value, 0, name)
        else:
            assert state[name] == value.item()
