"""What the commands that use a checkpoint share: their options, and the model as a function of images."""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scratchnet import _cli, backend, no_grad
from scratchnet.nn.fuse import fuse
from scratchnet.threads import set_num_threads
from scratchnet.training.metrics import predict
from scratchnet.training.restore import Restored, restore
from scratchnet.training.setup import EVAL_BATCH

Logits = Callable[[np.ndarray], np.ndarray]


class Trained(NamedTuple):
    restored: Restored
    logits: Logits  # uint8 (N, C, H, W) → (N, classes), in host memory


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="a .safetensors file of scratchnet.train, or a run's folder (its best)")
    parser.add_argument("--device", default="auto", help="auto, cpu, gpu or gpu:N")
    parser.add_argument("--threads", type=_cli.positive_int, help="of the kernels and of BLAS (default: all cores)")


def open_trained(options: argparse.Namespace, batch_size: int = EVAL_BATCH) -> Trained:
    """The model of the checkpoint on the device, computing so many images at a time.

    Raises:
        UsageError, DeviceError: the device's name is wrong, or it cannot be used.
        CheckpointError: there is none, or it is not usable.
    """
    try:
        device = backend.device(options.device)
    except ValueError as error:
        raise _cli.UsageError(error) from None
    if options.threads:
        set_num_threads(options.threads)
    restored = restore(options.checkpoint, device)
    model = fuse(restored.model) if device.kind == "cpu" else restored.model
    host, mirror = backend.device("cpu"), restored.recipe.mirror

    def logits(images: np.ndarray) -> np.ndarray:
        starts = range(0, max(len(images), 1), batch_size)
        batches = (restored.transform(images[start : start + batch_size]) for start in starts)
        with no_grad():
            return np.concatenate([host.asarray(predict(model, device.asarray(batch), mirror)) for batch in batches])

    return Trained(restored, logits)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, classes) in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
