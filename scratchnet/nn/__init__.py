"""Modules: what holds parameters and calls `scratchnet.functional`. Names and signatures are torch.nn's."""

from scratchnet.nn.activations import Activations
from scratchnet.nn.containers import Chain, Concat, Identity, Residual, Sequential
from scratchnet.nn.grad_mode import grad_enabled, no_grad
from scratchnet.nn.layers import BatchNorm1d, BatchNorm2d, Conv2d, Linear
from scratchnet.nn.losses import CrossEntropyLoss, MSELoss, NLLLoss
from scratchnet.nn.module import Module
from scratchnet.nn.parameter import Parameter
from scratchnet.nn.stateless import (
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    Dropout,
    Dropout2d,
    Flatten,
    LeakyReLU,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)

__all__ = [
    "GELU",
    "Activations",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Chain",
    "Concat",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "Identity",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "NLLLoss",
    "Parameter",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "grad_enabled",
    "no_grad",
]
