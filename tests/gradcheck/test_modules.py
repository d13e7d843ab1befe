"""The gradient check of every module, in training and in evaluation, on every rung that runs on the CPU."""

import numpy as np
import pytest

import scratchnet
from scratchnet import nn
from scratchnet.backend import CPU_RUNGS
from scratchnet.study import gradcheck

INDICES = np.array([0, 2, 1, 2])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def moved(module):
    """BatchNorm with parameters and statistics of its own."""
    for i, parameter in enumerate(module.parameters()):
        parameter.data = normal(*parameter.shape, seed=i)
    if module.running_mean is not None:
        module.running_mean, module.running_var = normal(module.num_features), normal(module.num_features) ** 2
    return module


MODULES = {
    "Linear": lambda: (nn.Linear(3, 4, rng=0), normal(5, 3)),
    "Linear without bias": lambda: (nn.Linear(3, 4, bias=False, rng=0), normal(2, 2, 3)),
    "Conv1d": lambda: (nn.Conv1d(2, 3, 3, stride=2, padding=2, dilation=2, rng=0), normal(2, 2, 7)),
    "Conv1d circular": lambda: (nn.Conv1d(2, 3, 3, padding=2, padding_mode="circular", rng=0), normal(2, 2, 4)),
    "Conv2d": lambda: (nn.Conv2d(2, 3, 3, stride=2, padding=1, rng=0), normal(1, 2, 5, 4)),
    "Conv2d dilated": lambda: (nn.Conv2d(1, 2, (2, 3), dilation=(2, 1), rng=0), normal(2, 1, 5, 4)),
    "Conv2d groups": lambda: (nn.Conv2d(4, 2, 2, groups=2, bias=False, rng=0), normal(1, 4, 4, 3)),
    "Conv2d same": lambda: (nn.Conv2d(1, 2, (2, 4), padding="same", rng=0), normal(1, 1, 4, 5)),
    "Conv2d reflect": lambda: (nn.Conv2d(1, 2, 3, padding=(2, 1), padding_mode="reflect", rng=0), normal(1, 1, 4, 3)),
    "Conv2d replicate": lambda: (
        nn.Conv2d(1, 2, 3, stride=2, padding=2, padding_mode="replicate", rng=0),
        normal(1, 1, 4, 3),
    ),
    "Conv2d circular": lambda: (nn.Conv2d(1, 2, 3, padding=2, padding_mode="circular", rng=0), normal(1, 1, 3, 4)),
    "Conv2d same reflect": lambda: (
        nn.Conv2d(1, 2, 4, padding="same", padding_mode="reflect", rng=0),
        normal(1, 1, 4, 4),
    ),
    "ConvTranspose2d": lambda: (
        nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1, rng=0),
        normal(1, 2, 3, 2),
    ),
    "BatchNorm1d": lambda: (moved(nn.BatchNorm1d(3)), normal(5, 3)),
    "BatchNorm1d 3-D": lambda: (moved(nn.BatchNorm1d(2, momentum=None)), normal(3, 2, 4)),
    "BatchNorm2d": lambda: (moved(nn.BatchNorm2d(2)), 5 + 3 * normal(3, 2, 2, 3)),
    "BatchNorm2d bare": lambda: (moved(nn.BatchNorm2d(2, affine=False)), normal(3, 2, 2, 3)),
    "BatchNorm2d of the batch": lambda: (moved(nn.BatchNorm2d(2, track_running_stats=False)), normal(3, 2, 2, 3)),
    "MaxPool2d": lambda: (nn.MaxPool2d(3, 2, padding=1), normal(1, 2, 6, 5)),
    "AvgPool2d": lambda: (nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False), normal(1, 2, 6, 5)),
    "AdaptiveAvgPool2d": lambda: (nn.AdaptiveAvgPool2d((2, 3)), normal(1, 2, 5, 4)),
    "ReLU": lambda: (nn.ReLU(), normal(4, 5)),
    "LeakyReLU": lambda: (nn.LeakyReLU(0.1), normal(4, 5)),
    "Sigmoid": lambda: (nn.Sigmoid(), normal(4, 5)),
    "Tanh": lambda: (nn.Tanh(), normal(4, 5)),
    "GELU": lambda: (nn.GELU(), normal(4, 5)),
    "GELU tanh": lambda: (nn.GELU("tanh"), normal(4, 5)),
    "Softmax": lambda: (nn.Softmax(-1), normal(4, 5)),
    "LogSoftmax": lambda: (nn.LogSoftmax(1), normal(4, 5)),
    "Dropout": lambda: (nn.Dropout(0.3, rng=0), normal(6, 5)),
    "Dropout2d": lambda: (nn.Dropout2d(0.3, rng=0), normal(3, 4, 2, 2)),
    "Flatten": lambda: (nn.Flatten(), normal(2, 2, 3)),
    "Identity": lambda: (nn.Identity(), normal(2, 3)),
    "CrossEntropyLoss": lambda: (
        nn.CrossEntropyLoss(np.array([0.5, 2, 1], "float32"), ignore_index=1, label_smoothing=0.2),
        normal(4, 3),
        INDICES,
    ),
    "CrossEntropyLoss none": lambda: (nn.CrossEntropyLoss(reduction="none"), normal(4, 3), INDICES),
    "NLLLoss": lambda: (nn.NLLLoss(reduction="sum"), normal(4, 3), INDICES),
    "MSELoss": lambda: (nn.MSELoss(), normal(4, 3), normal(4, 3, seed=1)),
    "Sequential": lambda: (nn.Sequential(nn.Linear(3, 4, rng=0), nn.Tanh(), nn.Linear(4, 2, rng=1)), normal(4, 3)),
    "Residual": lambda: (nn.Residual(nn.Sequential(nn.Linear(3, 3, rng=0), nn.Tanh())), normal(4, 3)),
    "Concat": lambda: (nn.Concat(nn.Linear(3, 2, rng=0), nn.Identity(), nn.Tanh()), normal(4, 3)),
}


@pytest.mark.parametrize("rung", CPU_RUNGS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_gradient(name, training, rung):
    module, *inputs = MODULES[name]()
    module.train(training)
    with scratchnet.use(rung):
        report = gradcheck(module, *inputs, mode="elements")
    report.check()
    checked = {result.name: result.checked for result in report}
    sizes = {parameter_name: parameter.size for parameter_name, parameter in module.named_parameters()}
    assert checked == {next(iter(checked)): inputs[0].size, **sizes}
    assert not any(result.kinks for result in report)


def test_every_module_has_a_case():
    others = {"Activations", "Chain", "Module", "Parameter", "Summary"}
    classes = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)} - others
    assert {name.split()[0] for name in MODULES} >= classes
