"""The Trainer: epochs of steps over batches, measured, saved, and continued where they were interrupted."""

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import numpy

from scratchnet import backend
from scratchnet.datasets import DataLoader
from scratchnet.nn import Module
from scratchnet.nn.fuse import fuse as fused
from scratchnet.nn.utils import clip_grad_norm_
from scratchnet.ops.shape import Array, array_module
from scratchnet.optim import Optimizer
from scratchnet.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from scratchnet.training.averaging import ModelEMA
from scratchnet.training.callback import Callback
from scratchnet.training.checkpoint import Checkpoint, load_checkpoint, previous, save_checkpoint
from scratchnet.training.early_stopping import EarlyStopping
from scratchnet.training.metrics import Evaluation, evaluate
from scratchnet.training.non_finite import NonFiniteLossError, first_non_finite, non_finite_weight
from scratchnet.training.run import RunFolder, environment
from scratchnet.training.signals import Pending, deferred
from scratchnet.training.state import dropout_counters, pack, unpack

Batches = Iterable[tuple[Array, Array]]
LOG_EVERY = 50  # steps between two rows of metrics.csv within an epoch


class Trainer:
    """Trains a model, and keeps what a run needs to survive.

    Args:
        model: any Module. Its steps are run by fused kernels where there are any (`fuse=False`: never).
        criterion: the loss, a Module such as CrossEntropyLoss(), a mean over the batch.
        optimizer: over the model's parameters.
        scheduler: a learning-rate scheduler, stepped after every epoch, or after every step with schedule_per="step".
        accumulate: add up the gradients of so many batches before the optimizer's step, weighted so that the sum is
            the gradient of the mean over all their images. steps count optimizer steps.
        clip_norm: bring the norm of all gradients together down to this, before the step.
        ema: keep an exponential moving average of the weights with this decay, and measure and use that one.
        early_stopping: an EarlyStopping, asked after every epoch.
        mirror: measure the mean of the outputs for each image and for its mirror image.
        out: the run's folder: config.json, metrics.csv, last.safetensors, best.safetensors. None writes nothing.
        save_every: write `last` every so many steps too, not only after epochs.
        callbacks: Callbacks, told of what happens.
        about: what to note in the checkpoints' metadata and in config.json, as JSON values.

    Attributes:
        epoch, step: the epoch that is being trained, counted from 1, and how many of its steps are done.
        global_step: how many steps are done in all.
        model, fast_model: the model, and what computes it: the same Parameters, in fused kernels.

    Example:
        >>> trainer = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), out="runs/mine")
        >>> trainer.fit(train_batches, test_batches, epochs=10, resume=True)
    """

    def __init__(
        self,
        model: Module,
        criterion: Module,
        optimizer: Optimizer,
        *,
        scheduler: LRScheduler | ReduceLROnPlateau | None = None,
        schedule_per: str = "epoch",
        accumulate: int = 1,
        clip_norm: float | None = None,
        ema: float | None = None,
        early_stopping: EarlyStopping | None = None,
        mirror: bool = False,
        fuse: bool = True,
        out: str | os.PathLike[str] | RunFolder | None = None,
        save_every: int | None = None,
        callbacks: Sequence[Callback] = (),
        about: dict[str, Any] | None = None,
    ) -> None:
        if schedule_per not in ("epoch", "step"):
            raise ValueError(f"Trainer: expected schedule_per as 'epoch' or 'step', got {schedule_per!r}")
        for name, value in (("accumulate", accumulate), ("save_every", save_every or 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Trainer: expected {name} as a whole number ≥ 1, got {value!r}")
        if isinstance(scheduler, ReduceLROnPlateau) and schedule_per == "step":
            raise ValueError("Trainer: ReduceLROnPlateau looks at the metrics of epochs: expected schedule_per='epoch'")
        self.model, self.criterion, self.optimizer = model, criterion, optimizer
        self.fast_model = fused(model, input_grad=False) if fuse else model
        self.scheduler, self.schedule_per = scheduler, schedule_per
        self.accumulate, self.clip_norm = accumulate, clip_norm
        self.ema = None if ema is None else ModelEMA(model, ema)
        self.early_stopping = early_stopping
        self.mirror = mirror
        self.run = RunFolder(out) if isinstance(out, str | os.PathLike) else out
        self.save_every = save_every
        self.callbacks = list(callbacks)
        self.about = about or {}

        self.epoch, self.step, self.global_step, self.steps_per_epoch = 1, 0, 0, 0
        self.images, self.seconds = 0, 0.0  # of this epoch so far
        self.total_loss: float | Array = 0.0  # as well; on a GPU it lies there until it is logged
        self.best: float | None = None  # test accuracy, or −test loss where there are no classes
        self.stopped = False  # by early_stopping
        self.result: Evaluation | None = None  # of the last epoch

    def fit(
        self,
        train_batches: Batches,
        test_batches: Batches | None = None,
        epochs: int = 1,
        *,
        eval_every: int | None = None,
        eval_batches: Batches | None = None,
        resume: bool | str | os.PathLike[str] | Checkpoint = False,
    ) -> list[dict[str, Any]]:
        """Train until `epochs` epochs are done in all.

        Args:
            train_batches: pairs (x, target), anew at every iteration: a DataLoader, which can also be continued in
                the middle of an epoch, or any sized iterable such as a list.
            test_batches: what to measure after every epoch.
            eval_every: measure within epochs as well, after every so many steps, on eval_batches (default:
                test_batches).
            resume: a checkpoint, or a path to one, to continue from; True takes `last` of the run's folder if there
                is one, and begins anew if not. False after an interruption begins the present epoch again.

        Returns:
            the metrics of the epochs that were trained now: epoch, step, train_loss, test_loss, test_accuracy, lr,
            seconds.

        With a run folder Ctrl-C and SIGTERM finish the step and save before they stop the program. On the CPU with
        the same number of threads a continued run ends with the bits of one that was never interrupted.

        Raises:
            NonFiniteLossError: the loss became NaN or infinite; says where that began. The last checkpoint stays.
            CheckpointError: one cannot be read, written or continued from.
            MemoryError: on a GPU it says which batch would fit. Last checkpoint and weights are as before the step.
        """
        if not hasattr(train_batches, "__len__"):
            raise TypeError(
                "Trainer.fit: expected batches that have a length and can be iterated anew, such as a DataLoader or a "
                f"list, got {type(train_batches).__name__}"
            )
        self.steps_per_epoch = -(-len(train_batches) // self.accumulate)  # type: ignore[arg-type]
        self._begin(train_batches, resume)
        history = []
        with deferred() if self.run else nullcontext(Pending()) as pending:
            self._tell("on_train_begin")
            while self.epoch <= epochs and not self.stopped:
                self._train_epoch(train_batches, pending, eval_every, eval_batches or test_batches)
                history.append(self._end_epoch(test_batches))
                self._save(train_batches, best=self._is_best(history[-1]))
                if pending:
                    pending.raise_()
            self._tell("on_train_end")
            if pending:
                pending.raise_()
        return history

    def train_step(self, batches: Sequence[tuple[Array, Array]]) -> float | Array:
        """One step of the optimizer on one batch, or on several whose gradients add up → the mean loss before it.

        On a GPU the loss stays there, as an array of no dimensions: `float(loss)` would wait until the step is done,
        and Python could not prepare the next one meanwhile. That it is finite is looked up where it is logged.
        """
        self.fast_model.train()
        self.optimizer.zero_grad()
        images = sum(len(target) for _, target in batches)
        mean: float | Array = 0.0
        for x, target in batches:
            dropout = dropout_counters(self.model)
            loss = self.criterion(self.fast_model(x), target)
            on_host = array_module(loss) is numpy
            loss = float(loss) if on_host else loss.astype("float64")  # as sums over an epoch want it
            if on_host and not math.isfinite(loss):
                raise NonFiniteLossError(
                    f"the loss is {loss} at step {self.global_step + 1}: {first_non_finite(self.model, x, dropout)}; "
                    "a smaller learning rate often helps"
                )
            share = len(target) / images
            mean = mean + share * loss
            self.fast_model.backward(self.criterion.backward(share))
        if self.clip_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self._tell("on_gradients")
        self.optimizer.step()
        if self.scheduler is not None and self.schedule_per == "step":
            self.scheduler.step()
        if self.ema is not None:
            self.ema.update()
        return mean

    def evaluate(self, batches: Batches) -> Evaluation:
        """Measure the model, with the averaged weights where there are any."""
        with self.averaged():
            return evaluate(self.fast_model, self.criterion, self._on_device(batches), mirror=self.mirror)

    def averaged(self) -> AbstractContextManager[None]:
        """Within a `with` the model has its averaged weights, if they are kept."""
        return self.ema.applied() if self.ema else nullcontext()

    @property
    def lr(self) -> float:
        """The learning rate of the next step, of the first group of parameters."""
        return self.optimizer.param_groups[0]["lr"]

    def _begin(self, batches: Batches, resume: bool | str | os.PathLike[str] | Checkpoint) -> None:
        """Be where the checkpoint was taken, or at the beginning, with a folder in which that is saved."""
        if resume is True and self.run is None:
            raise ValueError("Trainer: resume=True needs a run folder, out=…")
        if resume is True:
            assert self.run is not None
            resume = self.run.path if self.run.exists() else False
        self._begin_epoch()  # one that was interrupted begins again, unless it is resumed
        source = None
        if isinstance(resume, bool):
            _leave_epoch(batches)
        else:
            checkpoint = resume if isinstance(resume, Checkpoint) else load_checkpoint(resume, prefer="last")
            unpack(self, batches, checkpoint)
            source = checkpoint.path and checkpoint.path.resolve()
        if self.run is None:
            return
        last = self.run.last.resolve()
        self.run.create(new=source is None or source.parent != last.parent)
        self.run.write_config({**environment(), **self.about})
        self.run.forget_after(self.global_step)
        # `last` is what is resumed, or, where that is the generation before it, damaged: not one to keep
        self._save(batches, keep_previous=source not in (last, previous(last)))

    def _train_epoch(
        self, batches: Batches, pending: Pending, eval_every: int | None, eval_batches: Batches | None
    ) -> None:
        """The steps of the epoch that are still to be done."""
        start = time.perf_counter() - self.seconds
        for group in _groups(self._on_device(batches), self.accumulate):
            loss = self._step_within_memory(group)
            self.step += 1
            self.global_step += 1
            images = sum(len(target) for _, target in group)
            self.total_loss, self.images = self.total_loss + loss * images, self.images + images
            if self.global_step % LOG_EVERY == 0 or self.step == self.steps_per_epoch:
                self._check_total_loss()
            self.seconds = time.perf_counter() - start
            self._tell("on_step_end", loss)
            self._report(loss, eval_every, eval_batches)
            if self.step < self.steps_per_epoch:  # after the last step the epoch's end saves
                if pending or (self.save_every and self.global_step % self.save_every == 0):
                    self._save(batches)
                if pending:
                    pending.raise_()

    def _step_within_memory(self, group: Sequence[tuple[Array, Array]]) -> float | Array:
        """train_step; if the GPU's memory does not suffice, the error says for what batch it would."""
        try:
            return self.train_step(group)
        except MemoryError as error:
            problem = str(error)
            if array_module(group[0][0]) is numpy:
                raise
        # Out here the error is gone, and with it the arrays of the step that failed.
        size, fits = len(group[0][1]), self._largest_that_fits(*group[0])
        advice = f"a batch of {fits} fits" if fits else "not even a batch of 1 fits"
        raise MemoryError(f"a batch of {size} does not fit into the GPU's memory ({problem}); {advice}")

    def _largest_that_fits(self, x: Array, target: Array) -> int:
        """The largest half, quarter, … of the batch whose forward and backward pass have memory enough; 0 if none."""
        size = len(target) // 2
        while size:
            self.optimizer.zero_grad()
            array_module(x).get_default_memory_pool().free_all_blocks()
            try:
                self.criterion(self.fast_model(x[:size]), target[:size])
                self.fast_model.backward(self.criterion.backward())
                return size
            except MemoryError:
                size //= 2
        return 0

    def _check_total_loss(self) -> None:
        """A loss that was not finite shows in the sum of all; on the CPU train_step has looked at each."""
        self.total_loss = float(self.total_loss)
        if not math.isfinite(self.total_loss):
            raise NonFiniteLossError(
                f"the loss is {self.total_loss} at step {self.global_step}, or became so within the {LOG_EVERY} steps "
                "before; on the CPU the message says in which layer; a smaller learning rate often helps"
            )

    def _report(self, loss: float | Array, eval_every: int | None, eval_batches: Batches | None) -> None:
        """Measure and note, where it is time to."""
        result = None
        if eval_every and eval_batches is not None and self.step % eval_every == 0:
            result = self.evaluate(eval_batches)
            self._tell("on_evaluation", loss, result)
        if self.run and (result or self.global_step % LOG_EVERY == 0):
            measured = {"test_loss": result.loss, "test_accuracy": result.accuracy} if result else {}
            self._note("step", train_loss=loss, **measured)

    def _end_epoch(self, test_batches: Batches | None) -> dict[str, Any]:
        """Measure the model and go on to the next epoch → the metrics of this one."""
        metrics: dict[str, Any] = {
            "epoch": self.epoch,
            "step": self.global_step,
            "train_loss": self.total_loss / self.images if self.images else math.nan,
            "lr": self.lr,
            "seconds": self.seconds,
        }
        if test_batches is not None:
            self.result = self.evaluate(test_batches)
            metrics |= {"test_loss": self.result.loss, "test_accuracy": self.result.accuracy}
        if self.run:
            noted = {key: value for key, value in metrics.items() if key not in ("epoch", "step", "lr")}
            self._note("epoch", **noted)
        self._tell("on_epoch_end", metrics)
        if self.scheduler is not None and self.schedule_per == "epoch":
            if isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step(metrics.get("test_loss", metrics["train_loss"]))
            else:
                self.scheduler.step()
        self.stopped = self.early_stopping is not None and self.early_stopping.update(metrics)
        self.epoch += 1
        self._begin_epoch()
        return metrics

    def _begin_epoch(self) -> None:
        self.step, self.total_loss, self.images, self.seconds = 0, 0.0, 0, 0.0

    def _is_best(self, metrics: dict[str, Any]) -> bool:
        score = metrics.get("test_accuracy", math.nan)
        if math.isnan(score):
            score = -metrics.get("test_loss", math.nan)
        better = not math.isnan(score) and (self.best is None or score > self.best)
        if better:
            self.best = score
        return better

    def _save(self, batches: Batches, best: bool = False, keep_previous: bool = True) -> None:
        if self.run is None:
            return
        if weight := non_finite_weight(self.model):
            raise NonFiniteLossError(
                f"{weight} is not finite after step {self.global_step}, so nothing was saved: "
                f"{self.run.last} is from before; a smaller learning rate often helps"
            )
        checkpoint = pack(self, batches)
        if best:
            save_checkpoint(checkpoint, self.run.best)
        save_checkpoint(checkpoint, self.run.last, keep_previous)

    def _note(self, event: str, **values: Any) -> None:
        assert self.run is not None
        numbers = {name: repr(float(value)) for name, value in {"lr": self.lr, **values}.items()}
        self.run.add_row(event=event, epoch=self.epoch, step=self.global_step, **numbers)

    def _tell(self, event: str, *values: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *values)

    def _on_device(self, batches: Batches) -> Iterator[tuple[Array, Array]]:
        """The batches where the model's parameters are; those of a DataLoader with this device are there already."""
        parameter = next(iter(self.model.parameters()), None)
        if parameter is None or array_module(parameter.data).__name__ == "numpy":
            yield from batches
            return
        device = backend.device(f"gpu:{parameter.data.device.id}")
        for x, target in batches:
            yield device.asarray(x), device.asarray(target)


def _leave_epoch(batches: Batches) -> None:
    """Let a loader's state be that of an epoch's beginning, if someone took its first batches to look at them."""
    if isinstance(batches, DataLoader):
        iter(batches)
        batches.load_state_dict(batches.state_dict())


def _groups(batches: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """The batches in lists of `size`; the last list may be shorter."""
    while group := list(islice(batches, size)):
        yield group
