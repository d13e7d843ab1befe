"""python -m scratchnet.export runs/mnist-1 --format onnx: a trained network for other programs."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy

from scratchnet import _cli, backend, weights
from scratchnet.training.restore import Restored, restore
from scratchnet.weights.files import SUFFIXES, write

FORMATS = {"torch": ".pt", "onnx": ".onnx", "safetensors": ".safetensors", "npz": ".npz"}
TOLERANCE = 1e-5  # of the largest logit


def command(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.export", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a run folder, which stands for its best checkpoint, or a file")
    parser.add_argument("--format", choices=list(FORMATS), help="default: by the suffix of --out")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: beside the checkpoint")
    parser.add_argument(
        "--batch-size", type=_batch_size, metavar="N", help="of onnx: a number, or dynamic, for any (default)"
    )
    parser.add_argument("--opset", type=_cli.positive_int, help="of onnx: the version of its operators (default: 17)")
    options = parser.parse_args(argv)
    format = options.format or {**SUFFIXES, ".onnx": "onnx"}.get(options.out.suffix if options.out else "")
    if format is None:
        raise _cli.UsageError(f"expected --format as one of {', '.join(FORMATS)}, or an --out that ends like its files")
    if format != "onnx" and (options.batch_size, options.opset) != (None, None):
        raise _cli.UsageError(f"--batch-size and --opset are of onnx, got --format {format}")
    if format == "onnx":
        _export_onnx(options)
    else:
        state_dict = weights.load(options.checkpoint)
        out = _out(options, state_dict.path, format)
        weights.save(state_dict, out, format)
        size = sum(array.size for array in state_dict.values())
        print(f"{out}: {len(state_dict)} arrays, {size:,} numbers, as {format}")


def _batch_size(text: str) -> int:
    """0 stands for a batch of any size."""
    return 0 if text == "dynamic" else _cli.positive_int(text)


def _out(options: argparse.Namespace, source: Path, format: str) -> Path:
    """Where to write: never over the checkpoint."""
    middle = ".weights" if source.suffix == FORMATS[format] else ""
    out = options.out or source.with_name(f"{source.stem}{middle}{FORMATS[format]}")
    if out.exists() and out.samefile(source):
        raise _cli.UsageError(f"--out: expected another file than the checkpoint itself, got {out}")
    return out


def _export_onnx(options: argparse.Namespace) -> None:
    restored = restore(options.checkpoint)
    source = restored.checkpoint.path or options.checkpoint
    out = _out(options, source, "onnx")
    shape = (options.batch_size or None, *restored.image_shape)
    opset = {} if options.opset is None else {"opset": options.opset}
    try:
        model = weights.to_onnx(restored.model, shape, metadata=describe(restored), **opset)
    except ValueError as error:
        raise _cli.UsageError(error) from None
    difference = compare(model, restored, options.batch_size or 4)
    write(out, model.SerializeToString())
    batch, *sizes = shape
    print(
        f"{out}: {type(restored.model).__name__} as ONNX, opset {model.opset_import[0].version}, "
        f"input {batch or 'batch'} × {' × '.join(map(str, sizes))}, {len(restored.classes)} classes"
    )
    if difference is None:
        print("onnxruntime is not installed, so its logits were not compared: pip install 'scratchnet[onnx]'")
    else:
        print(f"onnxruntime gives the same logits: they differ by {difference:.1e} of the largest")


def describe(restored: Restored) -> dict[str, str]:
    """What a program needs to know to use the file: its metadata_props. Lists are JSON."""
    channels, height, width = restored.image_shape
    mean, std = restored.recipe.normalize or (0.0, 1.0)
    colour = "RGB" if channels == 3 else "grey"
    return {
        "classes": json.dumps(restored.classes),
        "mean": json.dumps(numpy.broadcast_to(mean, channels).tolist()),
        "std": json.dumps(numpy.broadcast_to(std, channels).tolist()),
        "input": f"float32 (N, {channels}, {height}, {width}): {colour} pixels / 255, less mean, over std",
        "output": f"float32 (N, {len(restored.classes)}): logits in the order of classes",
        "dataset": restored.recipe.dataset,
        "model": restored.recipe.model,
    }


def compare(model: Any, restored: Restored, batch_size: int) -> float | None:
    """The largest difference between onnxruntime's logits and ours, over the largest logit; None without onnxruntime.

    Raises:
        RuntimeError: it is more than 1e-5.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    images = numpy.random.default_rng(0).integers(0, 256, (batch_size, *restored.image_shape), "uint8")
    x = restored.transform(images)
    with backend.use("im2col"):
        ours = restored.model(x)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"input": x.astype("float32")})
    difference = float(numpy.abs(theirs - ours).max() / numpy.abs(ours).max())
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"export: onnxruntime's logits differ by {difference:.1e} of the largest; nothing was written"
        )
    return difference


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
