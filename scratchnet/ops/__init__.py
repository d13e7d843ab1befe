"""The mathematics: every layer's forward and backward pass, one concept a file.

Each op is a pair of pure functions over plain arrays::

    y, cache = conv2d(x, weight, bias, stride=1, padding=1)
    dx, dweight, dbias = conv2d_backward(dy, cache)

`x` is the input, `y` the output, `dy` the gradient of the loss L with respect to y (∂L/∂y, same shape as y), and
the backward function returns the gradient of L with respect to each input: `dx` = ∂L/∂x and so on. `cache` holds
only what backward needs. All gradients follow from one rule, the chain rule summed over every path from an
element to the loss::

    ∂L/∂x[i] = Σ_j ∂L/∂y[j] · ∂y[j]/∂x[i]

Letters for shapes: N images, C channels, H × W pixels, O output channels, OH × OW output pixels,
KH × KW kernel, G groups. Images are laid out N C H W, as in torch.

Nothing here validates its arguments or chooses a device: `scratchnet.functional` does both. The code runs on
NumPy and on CuPy arrays alike (`xp` is the array's own module).
"""

from scratchnet.ops.activation import (
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
from scratchnet.ops.conv import conv2d, conv2d_backward
from scratchnet.ops.conv_transpose import conv_transpose2d, conv_transpose2d_backward
from scratchnet.ops.dropout import dropout, dropout_backward
from scratchnet.ops.flatten import flatten, flatten_backward
from scratchnet.ops.linear import linear, linear_backward
from scratchnet.ops.loss import (
    cross_entropy,
    cross_entropy_backward,
    mse_loss,
    mse_loss_backward,
    nll_loss,
    nll_loss_backward,
)
from scratchnet.ops.norm import batch_norm, batch_norm_backward
from scratchnet.ops.pad import pad2d, pad2d_backward
from scratchnet.ops.pool import (
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
    "conv2d",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
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
