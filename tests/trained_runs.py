"""Run folders with briefly trained networks, for the tests of what uses them."""

from pathlib import Path

import scratchnet.train


def train(folder: Path, *arguments: str) -> Path:
    """A run folder as python -m scratchnet.train writes it."""
    code = scratchnet.train.main([*arguments, "--out", str(folder), "--threads", "1"])
    assert code == 0
    return folder


def mnist_cnn(folder: Path) -> Path:
    """System A after 300 steps: some 95 % of the test images."""
    return train(folder, "mnist", "--limit-batches", "300", "--eval-every", "300", "--eval-limit", "100")


def folder_of_shades(folder: Path) -> str:
    """folder:PATH of three classes of flat pictures, told apart by their brightness."""
    from PIL import Image

    for split, count in (("train", 20), ("test", 5)):
        for name, level in (("black", 0), ("grey", 128), ("white", 255)):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("L", (40, 30), abs(level - i)).save(folder / split / name / f"{i}.png")
    return f"folder:{folder}"
