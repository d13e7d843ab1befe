"""Batches of a dataset, shuffled by an explicit generator, resumable within an epoch."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scratchnet.backend import Device
from scratchnet.datasets.base import ArrayDataset
from scratchnet.datasets.transforms import ToFloat, Transform, apply, is_random
from scratchnet.ops.shape import Array, array_module

Batch = tuple[Array, Array]


@dataclass
class _Epoch:
    """Where an epoch began and how far it has come."""

    rng_state: dict[str, Any] | None  # of the generator, before the permutation was drawn
    next_batch: int
    finished: bool = False


class DataLoader:
    """Iterates over a dataset in batches ``(x, labels)``.

    Args:
        dataset: what to draw from.
        batch_size: samples in a batch; the last batch of an epoch may be smaller.
        shuffle: draw a new permutation from the generator at every ``iter(loader)``, i.e. once an epoch.
        rng: a ``numpy.random.Generator``, which nothing else should draw from, or an int seed. None makes a
            fresh, unseeded generator. Only used with ``shuffle=True`` or a random transform.
        drop_last: leave out a last batch that is smaller than ``batch_size``.
        transform: from uint8 (N, C, H, W) to floating-point x. None is ``ToFloat()``: float32 in [0, 1]. A random
            transform (one whose attribute ``random`` is True) is called with a generator as well.
        limit_batches: end an epoch after so many batches. None is no limit.
        device: a GPU (``scratchnet.backend.device("gpu")``) on which to transform the images and to leave the batches.
            The whole dataset is copied there, as bytes, if it takes no more than half of the free memory; otherwise
            the bytes of each batch are, through CuPy's pinned memory, and nothing waits for that. None is the CPU.

    Shape:
        - x: (N, C, H, W) with N ≤ ``batch_size``; a new C-contiguous floating-point array for every batch
        - labels: int64, (N,)

    A run with the same seed sees the same batches. ``state_dict()``, taken in the body of the loop, makes
    another loader over the same data yield the batches that were still to come in this epoch (none after its
    last batch) and then the same following epochs. Taken between epochs, it stands for the beginning of the
    next one.

    Random transforms: at the beginning of an epoch, after the permutation, four integers are drawn. Batch i gets
    the generator ``default_rng([*integers, i])``, so what it draws depends on neither the batches before
    nor the place where the epoch was resumed.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range; a transform whose result is not
            a floating-point array with a row for each label.
    """

    def __init__(
        self,
        dataset: ArrayDataset,
        batch_size: int = 1,
        shuffle: bool = False,
        rng: np.random.Generator | int | None = None,
        drop_last: bool = False,
        transform: Transform | None = None,
        limit_batches: int | None = None,
        device: Device | None = None,
    ) -> None:
        if not isinstance(dataset, ArrayDataset):
            raise TypeError(f"DataLoader: expected an ArrayDataset, got {type(dataset).__name__}")
        for name, flag in (("shuffle", shuffle), ("drop_last", drop_last)):
            if not isinstance(flag, bool):
                raise TypeError(f"DataLoader: expected {name} to be True or False, got {flag!r}")
        if transform is not None and not callable(transform):
            raise TypeError(f"DataLoader: expected transform to be callable or None, got {transform!r}")
        self.dataset = dataset
        self.batch_size = _positive("batch_size", batch_size)
        self.shuffle = shuffle
        self.transform = ToFloat() if transform is None else transform
        generator = _generator(rng)
        self.rng = generator if shuffle or is_random(self.transform) else None
        self.drop_last = drop_last
        self.limit_batches = None if limit_batches is None else _positive("limit_batches", limit_batches)
        self.device = None if device is None or device.kind == "cpu" else device
        self._images, self._labels = dataset.images, dataset.labels
        if self.device and self._images.nbytes + self._labels.nbytes <= self.device.free_memory() // 2:
            self._images, self._labels = self.device.asarray(self._images), self.device.asarray(self._labels)
        self._epoch = _Epoch(self._rng_state(), next_batch=0, finished=True)
        self._resume_at = 0

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        batches = self._batches_in_dataset()
        return batches if self.limit_batches is None else min(batches, self.limit_batches)

    def __iter__(self) -> Iterator[Batch]:
        # Everything is drawn here and not at the first next(), hence no generator function.
        epoch = self._epoch = _Epoch(self._rng_state(), next_batch=self._resume_at)
        self._resume_at = 0
        order, seed = self._draw()
        return self._batches(order, seed, epoch)

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs, as plain JSON values.

        ``rng`` is the generator's state at the beginning of the epoch (None if nothing is random),
        ``next_batch`` the index of the batch that comes next in it; ``batch_size`` and ``samples`` say what
        that index counts.
        """
        epoch = _Epoch(self._rng_state(), next_batch=0) if self._epoch.finished else self._epoch
        return {
            "rng": epoch.rng_state,
            "next_batch": epoch.next_batch,
            "batch_size": self.batch_size,
            "samples": len(self.dataset),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict()`` was taken: the next ``iter(loader)`` starts at ``next_batch``.

        Raises:
            TypeError: ``state`` is no dict.
            ValueError: a key is missing or its value is wrong, one loader shuffles and the other does not,
                or, within an epoch, batch size or number of samples differ. The loader is then unchanged.
        """
        if not isinstance(state, dict):
            raise TypeError(f"DataLoader: expected a state that is a dict, got {type(state).__name__}")
        missing = {"rng", "next_batch", "batch_size", "samples"} - set(state)
        if missing:
            raise ValueError(f"DataLoader: expected a state with {', '.join(sorted(missing))}, got {sorted(state)}")
        rng_state, next_batch = state["rng"], state["next_batch"]
        here = {"batch_size": self.batch_size, "samples": len(self.dataset)}
        for key, value in here.items():
            if next_batch != 0 and state[key] != value:
                raise ValueError(
                    f"DataLoader: the state was taken within an epoch with {key} {state[key]!r}: "
                    f"expected the same here, got {value}"
                )
        last = self._batches_in_dataset()
        if type(next_batch) is not int or not 0 <= next_batch <= last:
            raise ValueError(f"DataLoader: expected next_batch between 0 and {last}, got {next_batch!r}")
        if (rng_state is None) != (self.rng is None):
            what = "a random transform" if self.rng is not None and not self.shuffle else f"shuffle={self.shuffle}"
            raise ValueError(
                f"DataLoader: expected the state of a loader with {what}, got one with shuffle={rng_state is not None}"
            )
        if self.rng is not None:
            _set_rng_state(self.rng, rng_state)
        self._epoch = _Epoch(self._rng_state(), next_batch)
        self._resume_at = next_batch

    def _draw(self) -> tuple[np.ndarray, list[int]]:
        """The order of an epoch, and the seed of its random transforms."""
        n = len(self.dataset)
        order = self.rng.permutation(n) if self.rng is not None and self.shuffle else np.arange(n)
        if self.rng is None or not is_random(self.transform):
            return order, []
        return order, self.rng.integers(2**32, size=4).tolist()

    def _batches(self, order: np.ndarray, seed: list[int], epoch: _Epoch) -> Iterator[Batch]:
        for index in range(epoch.next_batch, len(self)):
            chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
            rng = np.random.default_rng([*seed, index]) if seed else None
            x = apply(self.transform, self._rows(self._images, chosen), rng)
            labels = self._rows(self._labels, chosen)
            _check_batch(x, labels)
            epoch.next_batch = index + 1
            yield array_module(x).ascontiguousarray(x), labels
        epoch.finished = True

    def _rows(self, array: Array, chosen: np.ndarray) -> Array:
        """These rows, on the device of the batches."""
        if self.device is None:
            return array[chosen]
        if isinstance(array, np.ndarray):
            return self.device.asarray(array[chosen])
        return array[self.device.asarray(chosen)]

    def _batches_in_dataset(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def _rng_state(self) -> dict[str, Any] | None:
        return None if self.rng is None else _plain(self.rng.bit_generator.state)


def _check_batch(x: Array, labels: Array) -> None:
    if not isinstance(x, type(labels)) or x.dtype.kind != "f":
        got = x.dtype if isinstance(x, type(labels)) else type(x).__name__
        raise TypeError(f"DataLoader: expected transform to return a floating-point array, got {got}")
    if x.shape[:1] != labels.shape:
        raise ValueError(f"DataLoader: expected transform to return {len(labels)} samples, got shape {x.shape}")


def _generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    if isinstance(rng, bool) or not (rng is None or isinstance(rng, (np.random.Generator, int, np.integer))):
        raise TypeError(f"DataLoader: expected rng to be a numpy Generator, an int or None, got {rng!r}")
    if isinstance(rng, (int, np.integer)) and rng < 0:
        raise ValueError(f"DataLoader: expected rng to be a seed of at least 0, got {rng}")
    return np.random.default_rng(rng)


def _positive(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"DataLoader: expected {name} to be an int, got {value!r}") from None
    if isinstance(value, bool) or number < 1:
        raise ValueError(f"DataLoader: expected {name} of at least 1, got {value!r}")
    return number


def _set_rng_state(rng: np.random.Generator, state: dict[str, Any]) -> None:
    bit_generator = rng.bit_generator
    trial = type(bit_generator)()  # a bad state must not leave half of itself in the loader's generator
    try:
        trial.state = state
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"DataLoader: expected a state of the {type(bit_generator).__name__} generator, got {state!r:.80}"
        ) from error
    bit_generator.state = state


def _plain(value: Any) -> Any:
    """A bit generator's state with its arrays as lists, so that JSON can hold it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
