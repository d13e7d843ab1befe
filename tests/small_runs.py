"""A small training run in many variations, for the tests of what a Trainer saves and continues."""

import signal

import numpy as np

from scratchnet import nn, optim
from scratchnet.datasets import ArrayDataset, Compose, DataLoader, RandomCrop, RandomHorizontalFlip, ToFloat
from scratchnet.training import Callback, Trainer, load_checkpoint
from scratchnet.training.run import read_metrics

CLASSES = ("a", "b", "c")
EPOCHS, STEPS = 2, 4  # what the runs below take


def images(n: int, seed: int) -> ArrayDataset:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 1, 6, 6), dtype=np.uint8)
    return ArrayDataset("noise", "train", pixels, rng.integers(0, 3, n), CLASSES)


TRAIN, TEST = images(26, 1), images(15, 2)


def loader(seed=0, batch_size=7, augment=False, dtype="float32", **options) -> DataLoader:
    """Four batches of 7, 7, 7 and 5 images."""
    steps = [RandomCrop(6, padding=1), RandomHorizontalFlip()] if augment else []
    options = {"shuffle": True, "rng": seed, **options}
    return DataLoader(TRAIN, batch_size, transform=Compose([*steps, ToFloat(dtype)]), **options)


def held_out(dtype="float32") -> DataLoader:
    return DataLoader(TEST, 8, transform=ToFloat(dtype))


class Net(nn.Chain):
    """Everything that has a state: weights, running statistics, and two dropouts."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.conv = nn.Conv2d(1, 3, 3, padding=1, rng=rng)
        self.bn = nn.BatchNorm2d(3)
        self.drop = nn.Dropout2d(0.3, rng=rng)
        self.fc1 = nn.Linear(27, 8, rng=rng)
        self.fc2 = nn.Linear(8, 3, rng=rng)
        self.chain = [
            ("conv", self.conv),
            ("bn", self.bn),
            ("relu1", nn.ReLU()),
            ("pool", nn.MaxPool2d(2)),
            ("drop", self.drop),
            ("flatten", nn.Flatten()),
            ("fc1", self.fc1),
            ("relu2", nn.ReLU()),
            ("drop2", nn.Dropout(0.4, rng=rng)),
            ("fc2", self.fc2),
        ]


def mlp(seed=0) -> nn.Sequential:
    rng = np.random.default_rng(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8, rng=rng), nn.ReLU(), nn.Linear(8, 3, rng=rng))


def trainer(out=None, model=None, optimizer=None, schedule=None, criterion=None, **options) -> Trainer:
    """optimizer: parameters → Optimizer; schedule: Optimizer → scheduler."""
    model = mlp() if model is None else model
    optimizer = (optimizer or (lambda p: optim.SGD(p, lr=0.1, momentum=0.9)))(model.parameters())
    scheduler = schedule(optimizer) if schedule else None
    return Trainer(model, criterion or nn.CrossEntropyLoss(), optimizer, scheduler=scheduler, out=out, **options)


class CrashError(Exception):
    pass


class Interrupt(Callback):
    """Ends a run after `step` steps in all.

    "signal": by Ctrl-C, so that it saves and stops. "crash": in the middle of the step that follows, when weights and
    random states in memory have moved on from what was saved last.
    """

    def __init__(self, step, how="signal"):
        self.at, self.how = step, how

    def on_step_end(self, trainer, loss):
        if self.how == "signal" and trainer.global_step == self.at:
            signal.raise_signal(signal.SIGINT)

    def on_gradients(self, trainer):
        if self.how == "crash" and trainer.global_step == self.at:
            raise CrashError


def outcome(folder) -> dict:
    """All that a run left behind, except for the seconds that it took."""
    result = {
        "rows": [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(folder / "metrics.csv")]
    }
    for name in ("last", "best"):
        if not (folder / f"{name}.safetensors").exists():
            continue
        checkpoint = load_checkpoint(folder / f"{name}.safetensors")
        for key, value in checkpoint.arrays().items():
            result[name, key] = (value.dtype, value.shape, value.tobytes())
        for key, value in checkpoint.metadata.items():
            result[name, key] = value if key != "position" else {k: v for k, v in value.items() if k != "seconds"}
    return result


def different(one: dict, other: dict) -> list:
    """The names of what differs between two outcomes; [] if nothing does."""
    return [key for key in one.keys() | other.keys() if one.get(key, "none") != other.get(key, "none")]
