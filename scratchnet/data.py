"""python -m scratchnet.data list|verify|download|show: look after datasets."""

import argparse
import os
import sys
import warnings
from typing import TextIO

import numpy as np

from scratchnet import _cli
from scratchnet.datasets import ArrayDataset, DatasetNotFoundError, data_root, download, load, verify
from scratchnet.datasets.registry import DATASETS, dataset_files, folder_path
from scratchnet.datasets.sources import SOURCES, download_command

SHADES = " ░▒▓█"
SPLITS = ("train", "test")
RESET = "\x1b[0m"


def main(argv: list[str] | None = None) -> int:
    return _cli.run(_command, argv)


def _command(argv: list[str] | None) -> int:
    options = _parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = _print_warning
        return options.command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.data", description="Look after datasets.")
    commands = parser.add_subparsers(required=True, metavar="list|verify|download|show")

    listing = commands.add_parser("list", help="which datasets there are, and where they were found")
    listing.set_defaults(command=_list)

    verifying = commands.add_parser("verify", help="read datasets and compare them with what is published")
    verifying.add_argument("name", nargs="?", type=_name, help="default: every dataset that is there")
    verifying.set_defaults(command=_verify)

    downloading = commands.add_parser("download", help="fetch a dataset into the data root")
    downloading.add_argument("name", choices=list(SOURCES), metavar="NAME", help=", ".join(SOURCES))
    downloading.add_argument("--offline", action="store_true", default=None, help="reach for no server")
    downloading.add_argument("--timeout", type=_cli.positive_float, default=30.0, metavar="SECONDS")
    downloading.set_defaults(command=_download)

    showing = commands.add_parser("show", help="an image as text, with its label")
    showing.add_argument("name", type=_name, help=f"{', '.join(DATASETS)} or folder:PATH")
    showing.add_argument("--split", choices=SPLITS, default="train")
    showing.add_argument("--index", type=_cli.non_negative_int, default=0, metavar="N")
    showing.set_defaults(command=_show)

    for command in (listing, verifying, downloading, showing):
        command.add_argument("--data-dir", metavar="DIR", help="the data root (default: $SCRATCHNET_DATA, or a cache)")
    return parser


def _name(text: str) -> str:
    try:
        known = folder_path(text) is not None or text in DATASETS
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not known:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(DATASETS)} or folder:PATH, got {text!r}")
    return text


def _list(options: argparse.Namespace) -> int:
    print(f"data root: {data_root(options.data_dir)}")
    for name, source in SOURCES.items():
        train, test = source.images
        shape = "×".join(map(str, source.shape))
        images = f"{train:,} + {test:,}"
        print(f"{name:<14} {images:<16} {shape:<8} {source.classes} classes  {_where(name, options.data_dir)}")
    print("folder:PATH    images of your own, in PATH/train/CLASS and PATH/test/CLASS, or in PATH/CLASS")
    return 0


def _where(name: str, data_dir: str | None) -> str:
    try:
        folders = {os.path.dirname(str(file)) for split in SPLITS for file in dataset_files(name, split, data_dir)}
    except DatasetNotFoundError:
        return f"not found; {download_command(name, data_dir)}"
    root = str(data_root(data_dir))
    return " and ".join(folder if folder.startswith(root) else "comes with the package" for folder in sorted(folders))


def _verify(options: argparse.Namespace) -> int:
    names = [options.name] if options.name else list(DATASETS)
    return max(_verify_one(name, options.data_dir, required=bool(options.name)) for name in names)


def _verify_one(name: str, data_dir: str | None, required: bool) -> int:
    code = 0
    for split in SPLITS:
        try:
            result = verify(name, split, data_dir)
        except DatasetNotFoundError:
            if required:
                raise
            print(f"{name} {split}: not found; {download_command(name, data_dir)}")
            continue
        print(f"{name} {split}: {result.message}")
        for problem in result.problems:
            print(f"    {problem}")
        code = max(code, 0 if result.readable else 1)
    return code


def _download(options: argparse.Namespace) -> int:
    folder = download(options.name, options.data_dir, options.offline, options.timeout)
    print(f"{options.name}: complete in {folder}")
    return 0


def _show(options: argparse.Namespace) -> int:
    dataset = load(options.name, options.split, options.data_dir)
    if options.index >= len(dataset):
        raise _cli.UsageError(
            f"--index: expected a number below {len(dataset)} ({options.name} {options.split}), got {options.index}"
        )
    print(f"{options.name} {options.split} {options.index}: {_label(dataset, options.index)}")
    image = dataset.images[options.index]  # (C, H, W)
    print(in_colour(image) if sys.stdout.isatty() and "NO_COLOR" not in os.environ else in_shades(image))
    return 0


def _label(dataset: ArrayDataset, index: int) -> str:
    label = int(dataset.labels[index])
    name = dataset.classes[label]
    return f"label {label}" if name == str(label) else f"label {label}, {name}"


def in_shades(image: np.ndarray) -> str:
    """An image (C, H, W) as one line of text a row, two characters a pixel, which are about as wide as high."""
    weights = np.array([0.299, 0.587, 0.114]) if len(image) == 3 else np.ones(1)  # ITU-R BT.601 luma
    luma = np.tensordot(weights, image, 1)  # (H, W)
    levels = np.minimum(luma * len(SHADES) / 256, len(SHADES) - 1).astype(int)
    return "\n".join("".join(2 * SHADES[level] for level in row).rstrip() for row in levels)


def in_colour(image: np.ndarray) -> str:
    """An image (C, H, W) in 24-bit terminal colours: a half block carries two pixels, one above the other."""
    colours = np.broadcast_to(image, (3, *image.shape[1:]))
    lines = []
    for top in range(0, image.shape[1], 2):
        upper, lower = colours[:, top].T, colours[:, top + 1 : top + 2].reshape(3, -1).T  # (W, 3), and (0, 3) at an end
        cells = [f"\x1b[38;2;{r};{g};{b}m" for r, g, b in upper]
        behind = [f"\x1b[48;2;{r};{g};{b}m" for r, g, b in lower] or [""] * len(cells)
        lines.append("".join(f"{front}{back}▀" for front, back in zip(cells, behind, strict=True)) + RESET)
    return "\n".join(lines)


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
