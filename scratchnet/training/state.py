"""All that a run is, as a checkpoint, and back: weights, optimizer, schedule, position, and every random state."""

from typing import TYPE_CHECKING, Any

import scratchnet
from scratchnet.nn import Dropout, Module
from scratchnet.optim import Optimizer
from scratchnet.training.checkpoint import Arrays, Checkpoint, CheckpointError

if TYPE_CHECKING:
    from scratchnet.training.trainer import Trainer

POSITION = ("epoch", "step", "global_step", "total_loss", "images", "seconds", "best", "stopped")


def pack(trainer: "Trainer", batches: Any) -> Checkpoint:
    """The trainer's whole state, and where the batches are in their epoch."""
    optimizer, groups = _pack_optimizer(trainer.optimizer, trainer.model)
    metadata = {
        "scratchnet": scratchnet.__version__,
        "model": type(trainer.model).__name__,
        "position": {name: getattr(trainer, name) for name in POSITION} | {"total_loss": float(trainer.total_loss)},
        "optimizer": {"class": type(trainer.optimizer).__name__, "param_groups": groups},
        "scheduler": trainer.scheduler and _with_class(trainer.scheduler),
        "early_stopping": trainer.early_stopping and _with_class(trainer.early_stopping),
        "ema_steps": trainer.ema and trainer.ema.steps,
        "dropout": dropout_counters(trainer.model),
        "batches": batches.state_dict() if hasattr(batches, "state_dict") else None,
        "run": trainer.about,
    }
    ema = trainer.ema.state_dict() if trainer.ema else {}
    return Checkpoint(trainer.model.state_dict(), metadata, optimizer, ema)


def unpack(trainer: "Trainer", batches: Any, checkpoint: Checkpoint) -> None:
    """Put the trainer and its batches where the checkpoint was taken.

    Raises:
        CheckpointError: the checkpoint is of another model, optimizer or schedule, or cannot be continued here. The
            trainer may be halfway there then.
    """
    metadata = checkpoint.metadata
    try:
        _check_class("model", trainer.model, metadata["model"])
        _check_class("optimizer", trainer.optimizer, metadata["optimizer"]["class"])
        for name in ("scheduler", "early_stopping"):
            _check_class(name, getattr(trainer, name), metadata[name] and metadata[name]["class"])
        if bool(trainer.ema) != bool(checkpoint.ema):
            raise CheckpointError(f"expected {'' if trainer.ema else 'no '}averaged weights (ema)")
        state = {
            "state": _unpack_optimizer(trainer.optimizer, trainer.model, checkpoint.optimizer),
            "param_groups": metadata["optimizer"]["param_groups"],
        }
        position = {name: metadata["position"][name] for name in POSITION}
        if position["step"] and not hasattr(batches, "load_state_dict"):
            raise CheckpointError(
                f"it was taken within an epoch, which a {type(batches).__name__} cannot continue: use a DataLoader"
            )
        trainer.model.load_state_dict(checkpoint.model)
        trainer.optimizer.load_state_dict(state)
        if hasattr(batches, "load_state_dict") and metadata["batches"]:
            batches.load_state_dict(metadata["batches"])
        for name in ("scheduler", "early_stopping"):
            if metadata[name]:
                getattr(trainer, name).load_state_dict(metadata[name]["state"])
        if trainer.ema:
            trainer.ema.load_state_dict(checkpoint.ema)
            trainer.ema.steps = metadata["ema_steps"]
        set_dropout_counters(trainer.model, metadata["dropout"])
    except (CheckpointError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{checkpoint.path}: cannot be continued here: {error}") from error
    vars(trainer).update(position)


def dropout_counters(model: Module) -> dict[str, list[int]]:
    """The random state of every dropout module: name → [seed, stream, calls]."""
    return {
        name: [module.seed, module.stream, module.calls]
        for name, module in model.named_modules()
        if isinstance(module, Dropout)
    }


def set_dropout_counters(model: Module, counters: dict[str, list[int]]) -> None:
    modules = dict(model.named_modules())
    for name in counters.keys() ^ dropout_counters(model).keys():
        raise CheckpointError(f"expected dropout called {name!r} {'here' if name in counters else 'there'} as well")
    for name, (seed, stream, calls) in counters.items():
        modules[name].seed, modules[name].stream, modules[name].calls = seed, stream, calls


def _with_class(thing: Any) -> dict[str, Any]:
    return {"class": type(thing).__name__, "state": thing.state_dict()}


def _check_class(what: str, here: Any, there: str | None) -> None:
    name = None if here is None else type(here).__name__
    if name != there:
        raise CheckpointError(f"{what}: expected {name or 'none'}, as here, got {there or 'none'}")


def _names(optimizer: Optimizer, model: Module) -> list[str]:
    """The name of each of the optimizer's parameters, in its order; one that is not the model's has its number."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    params = [param for group in optimizer.param_groups for param in group["params"]]
    return [names.get(id(param), f"#{i}") for i, param in enumerate(params)]


def _pack_optimizer(optimizer: Optimizer, model: Module) -> tuple[Arrays, list[dict[str, Any]]]:
    state = optimizer.state_dict()
    names = _names(optimizer, model)
    arrays = {
        f"{names[index]}.{key}": value for index, entries in state["state"].items() for key, value in entries.items()
    }
    return arrays, state["param_groups"]


def _unpack_optimizer(optimizer: Optimizer, model: Module, arrays: Arrays) -> dict[int, dict[str, Any]]:
    """Arrays by name → torch's format, by number."""
    index = {name: i for i, name in enumerate(_names(optimizer, model))}
    state: dict[int, dict[str, Any]] = {}
    for full, value in arrays.items():
        name, _, key = full.rpartition(".")
        if name not in index:
            raise CheckpointError(f"optimizer: it has no parameter {name!r} here")
        state.setdefault(index[name], {})[key] = value
    return state
