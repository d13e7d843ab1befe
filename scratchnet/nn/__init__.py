"""Modules: what holds parameters and calls `scratchnet.functional`. Names and signatures are torch.nn's."""

from scratchnet.nn import utils as utils
from scratchnet.nn.activation import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from scratchnet.nn.activations import Activations
from scratchnet.nn.containers import Chain, Concat, Identity, Residual, Sequential
from scratchnet.nn.conv import Conv1d, Conv2d, ConvTranspose2d
from scratchnet.nn.dropout import Dropout, Dropout2d
from scratchnet.nn.grad_mode import grad_enabled, no_grad
from scratchnet.nn.linear import Flatten, Linear
from scratchnet.nn.losses import CrossEntropyLoss, MSELoss, NLLLoss
from scratchnet.nn.module import Module
from scratchnet.nn.norm import BatchNorm1d, BatchNorm2d
from scratchnet.nn.parameter import Parameter
from scratchnet.nn.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from scratchnet.nn.summary import Summary, summary

__all__ = [
    "GELU",
    "Activations",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Chain",
    "Concat",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
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
    "Summary",
    "Tanh",
    "grad_enabled",
    "no_grad",
    "summary",
]
