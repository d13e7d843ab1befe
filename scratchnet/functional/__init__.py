"""The public face of every op (torch users know it as F): checks its arguments, picks the rung, calls it.

    y, cache = F.conv2d(x, weight, bias, stride=1, padding=2)
    dx, dweight, dbias = F.conv2d_backward(dy, cache)

Names, options and defaults are those of torch.nn.functional; what differs is that every function also returns the
cache for its backward function, and that nothing is written in place. Arrays are NumPy's or CuPy's, float32 or
float64, of any strides. Bad arguments raise ValueError or TypeError.
"""

from scratchnet.functional.activation import (
    gelu,
    gelu_backward,
    leaky_relu,
    leaky_relu_backward,
    log_softmax,
    log_softmax_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
)
from scratchnet.functional.conv import (
    conv1d,
    conv1d_backward,
    conv2d,
    conv2d_backward,
    conv_transpose2d,
    conv_transpose2d_backward,
    pad2d,
    pad2d_backward,
)
from scratchnet.functional.dropout import dropout, dropout2d, dropout_backward
from scratchnet.functional.linear import flatten, flatten_backward, linear, linear_backward
from scratchnet.functional.loss import (
    cross_entropy,
    cross_entropy_backward,
    mse_loss,
    mse_loss_backward,
    nll_loss,
    nll_loss_backward,
)
from scratchnet.functional.norm import batch_norm, batch_norm_backward
from scratchnet.functional.pool import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "conv1d",
    "conv1d_backward",
    "conv2d",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout2d",
    "dropout_backward",
    "flatten",
    "flatten_backward",
    "gelu",
    "gelu_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward",
    "log_softmax",
    "log_softmax_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "mse_loss",
    "mse_loss_backward",
    "nll_loss",
    "nll_loss_backward",
    "pad2d",
    "pad2d_backward",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "tanh",
    "tanh_backward",
]
