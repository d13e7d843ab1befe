"""torch's own samples of every optimizer, and its own error inputs, through ours.

They come from what PyTorch tests itself with (OptimizerInfo).
"""

import numpy as np
import pytest
import torch
from torch_internals import arrays, torch_internals

from scratchnet import optim
from scratchnet.nn import Parameter

optimizers = torch_internals("common_optimizers")

SAMPLES = {"SGD": 9, "Adam": 5, "AdamW": 5, "RMSprop": 8, "Adagrad": 7}
ERRORS = {"SGD": 7, "Adam": 12, "AdamW": 12, "RMSprop": 7, "Adagrad": 7}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}

pytestmark = pytest.mark.parametrize("name", SAMPLES)


def optim_info(name):
    (info,) = (info for info in optimizers.optim_db if info.optim_cls.__name__ == name)
    return info


def as_parameters(params, known):
    """torch's params argument with a Parameter for each tensor, the same one for the same tensor."""
    if isinstance(params, torch.Tensor):
        return known.setdefault(id(params), Parameter(params.detach().numpy().copy()))
    if isinstance(params, dict):
        return {key: as_parameters(value, known) if key == "params" else value for key, value in params.items()}
    if isinstance(params, list | tuple):
        return type(params)(as_parameters(value, known) for value in params)
    return params


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_samples(name, dtype):
    info, ran = optim_info(name), 0
    for sample in info.optim_inputs_func(device="cpu", dtype=dtype):
        # A learning rate is a number here. torch takes a tensor too, so that a compiled step can be used again.
        options = {
            key: value.item() if isinstance(value, torch.Tensor) else value for key, value in sample.kwargs.items()
        }
        generator = torch.Generator().manual_seed(ran)
        theirs = [torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for shape in ((3, 4), (5,), ())]
        ours = as_parameters(theirs, {})
        optimizer, reference = getattr(optim, name)(ours, **options), info.optim_cls(theirs, **options)
        for _ in range(5):
            for mine, yours in zip(ours, theirs, strict=True):
                yours.grad = torch.randn(yours.shape, dtype=dtype, generator=generator)
                mine.grad = yours.grad.numpy().copy()
            optimizer.step()
            reference.step()
        for mine, yours in zip(ours, arrays(theirs), strict=True):
            assert np.linalg.norm(mine.data - yours) <= TOLERANCE[dtype] * np.linalg.norm(yours), sample.desc
        ran += 1
    assert ran >= SAMPLES[name]


def test_error_inputs(name):
    """What torch rejects we reject; where it warns, so do we."""
    errors = optim_info(name).optim_error_inputs_func("cpu", torch.float64)
    assert len(errors) >= ERRORS[name]
    for error in errors:
        sample = error.optimizer_error_input
        params = [torch.zeros(2)] if sample.params is None else sample.params
        expected = (UserWarning,) if error.error_type is UserWarning else (ValueError, TypeError, NotImplementedError)
        params, options = as_parameters(params, {}), arrays(sample.kwargs)
        with pytest.raises(expected):
            getattr(optim, name)(params, **options)
