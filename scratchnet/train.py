"""python -m scratchnet.train mnist: train a network by a recipe, any part of which an option replaces."""

import argparse
import dataclasses
import os
import shlex
import sys
from typing import Any

from scratchnet import _cli, backend, datasets, models, nn, recipes
from scratchnet.nn.module import float_dtype
from scratchnet.recipes import Recipe
from scratchnet.threads import get_num_threads, set_num_threads
from scratchnet.training import (
    Callback,
    Checkpoint,
    CheckpointError,
    EarlyStopping,
    RunFolder,
    Trainer,
    load_checkpoint,
)
from scratchnet.training.metrics import predict
from scratchnet.training.report import Report, Reporter
from scratchnet.training.restore import recipe_from
from scratchnet.training.setup import (
    EVAL_BATCH,
    init_from_images,
    load_split,
    make_optimizer,
    make_scheduler,
    make_transform,
    seed_streams,
)

# What a run is made of, beside its recipe: a continued run keeps it.
RUN_DEFAULTS = {"seed": 0, "dtype": "float32", "limit_batches": None}
# What a continued run may change, since no step depends on it.
FREE = {"epochs", "eval_every", "eval_limit", "eval_train", "mirror"}


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """The options that scratchnet.train and torch_ref.train share."""
    parser.add_argument(
        "dataset", nargs="?", help=f"{', '.join(recipes.FAMILIES)}, or folder:PATH for images of your own"
    )
    parser.add_argument("--rgb", action="store_true", help="folder:PATH in colour, 32 × 32, not grey, 28 × 28")
    parser.add_argument("--model", help="which network (default: the dataset's first)")
    parser.add_argument("--recipe", help="a named setting of everything: tutorial (default) or best")
    parser.add_argument("--epochs", type=_cli.positive_int)
    parser.add_argument("--batch-size", type=_cli.positive_int)
    parser.add_argument("--lr", type=_cli.positive_float, help="learning rate")
    parser.add_argument("--optimizer", choices=["sgd", "adam"])
    parser.add_argument("--momentum", type=_cli.non_negative_float, help="of sgd")
    parser.add_argument("--nesterov", action="store_true", default=None, help="Nesterov's momentum")
    parser.add_argument("--weight-decay", type=_cli.non_negative_float)
    parser.add_argument("--schedule", choices=["onecycle", "cosine"], help="of the learning rate, over all steps")
    parser.add_argument("--label-smoothing", type=_cli.share, metavar="S", help="0 … 1")
    parser.add_argument("--augment", nargs="*", metavar="HOW", help="of training images: cropN (N pixels), flip")
    parser.add_argument("--clip-norm", type=_cli.positive_float, metavar="NORM", help="of all gradients together")
    parser.add_argument("--accumulate", type=_cli.positive_int, metavar="N", help="batches for one step")
    parser.add_argument("--ema", type=_cli.share, metavar="DECAY", help="use averaged weights; 0.99 … 0.9999")
    parser.add_argument("--mirror", action="store_true", default=None, help="measure with mirror images as well")
    parser.add_argument("--patience", type=_cli.positive_int, metavar="N", help="stop after N epochs without progress")
    parser.add_argument("--eval-every", type=_cli.positive_int, metavar="STEPS", help="report within an epoch")
    parser.add_argument("--eval-limit", type=_cli.positive_int, metavar="N", help="images of those reports")
    parser.add_argument("--eval-train", action="store_true", default=None, help="at the end measure the training set")
    parser.add_argument("--limit-batches", type=_cli.positive_int, metavar="N", help="end every epoch after N batches")
    parser.add_argument("--seed", type=_cli.non_negative_int, help="of weights, order and dropout (default: 0)")
    parser.add_argument("--dtype", choices=["float32", "float64"], help="default: float32")
    parser.add_argument("--threads", type=_cli.positive_int, help="of the kernels and of BLAS (default: all cores)")
    parser.add_argument("--data-dir", metavar="DIR", help="where datasets lie, in torchvision's layout")


def chosen_recipe(options: argparse.Namespace) -> Recipe:
    """The named recipe with what the options replace."""
    if options.dataset is None:
        raise _cli.UsageError(f"dataset: expected one of {', '.join(recipes.FAMILIES)} or folder:PATH, got none")
    try:
        recipe = recipes.find(options.dataset, options.model, options.recipe, options.rgb)
        recipe = dataclasses.replace(recipe, **_changes(options, _RECIPE_OPTIONS))
        make_transform(recipe, "float32", augment=True)
    except ValueError as error:
        raise _cli.UsageError(error) from None
    if recipe.nesterov and not (recipe.optimizer == "sgd" and recipe.momentum):
        raise _cli.UsageError("--nesterov needs --optimizer sgd and a --momentum above 0")
    if recipe.ema == 1:
        raise _cli.UsageError("--ema: expected a decay below 1, with which the average can change, got 1")
    return recipe


_RECIPE_OPTIONS = {field.name for field in dataclasses.fields(Recipe)} - {"family", "dataset", "model", "name"}


def _changes(options: argparse.Namespace, names: Any) -> dict[str, Any]:
    """What was typed, of these options."""
    typed = {name: value for name, value in vars(options).items() if name in names and value is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in typed.items()}


def resumed_recipe(options: argparse.Namespace, run: dict[str, Any]) -> Recipe:
    """The recipe of a checkpoint's run. What was typed may repeat it; of the rest, only FREE options may differ."""
    recipe = recipe_from(run["recipe"])
    there = {**dataclasses.asdict(recipe), **run["options"], "recipe": recipe.name}
    if options.dataset is not None:
        options.dataset = _absolute(options.dataset)
    for name in {"dataset", "model", "recipe", *_RECIPE_OPTIONS, *RUN_DEFAULTS} - FREE:
        typed = getattr(options, name, None)
        typed = tuple(typed) if isinstance(typed, list) else typed
        if typed is not None and typed != there[name]:
            flag = name if name == "dataset" else "--" + name.replace("_", "-")
            raise _cli.UsageError(f"{flag} {typed}: the run to resume has {there[name]}; a new run can have another")
    if options.rgb and recipes.IMAGES[recipe.family][0] != 3:
        raise _cli.UsageError("--rgb: the run to resume has grey images; a new run can have others")
    changed = dataclasses.replace(recipe, **_changes(options, FREE))
    if recipe.schedule and changed.epochs != recipe.epochs:
        raise _cli.UsageError(
            f"--epochs {changed.epochs}: the run's {recipe.schedule} schedule is made for {recipe.epochs} epochs"
        )
    return changed


def _absolute(dataset: str) -> str:
    """A folder by a path that will still be right in another working directory."""
    kind, colon, path = dataset.partition(":")
    return f"folder:{os.path.abspath(path)}" if colon and kind == "folder" and path else dataset


def train(
    recipe: Recipe,
    options: argparse.Namespace,
    device: backend.Device,
    folder: RunFolder,
    resume: Checkpoint | None = None,
) -> None:
    train_set = load_split(recipe, "train", options.data_dir)
    test_set = load_split(recipe, "test", options.data_dir)
    if resume and resume.metadata["run"]["classes"] != list(train_set.classes):
        raise CheckpointError(
            f"{resume.path}: cannot be continued here: its classes are {', '.join(resume.metadata['run']['classes'])}, "
            f"but {recipe.dataset} now has {', '.join(train_set.classes)}"
        )
    model_rng, order_rng = seed_streams(options.seed)
    model: nn.Module = models.build(recipe.family, recipe.model, len(train_set.classes), model_rng)
    transform = make_transform(recipe, options.dtype)
    model.to(float_dtype(options.dtype))
    if not resume:
        init_from_images(model, train_set, transform)
    model.to(device)

    def batches(dataset: datasets.ArrayDataset, limit: int | None = None) -> datasets.DataLoader:
        part = dataset.subset(min(limit or len(dataset), len(dataset)))
        return datasets.DataLoader(part, EVAL_BATCH, transform=transform, device=device)

    train_batches = datasets.DataLoader(
        train_set,
        recipe.batch_size,
        recipe.shuffle,
        order_rng,
        transform=make_transform(recipe, options.dtype, augment=True),
        limit_batches=options.limit_batches,
        device=device,
    )
    steps = -(-len(train_batches) // recipe.accumulate)
    optimizer = make_optimizer(recipe, model)
    done = resume.metadata["position"]["global_step"] if resume else 0
    report = Report(recipe.epochs, steps, done)
    about = _about(recipe, options, device, train_set)
    trainer = Trainer(
        model,
        nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing),
        optimizer,
        scheduler=make_scheduler(recipe, optimizer, steps),
        schedule_per="step",
        accumulate=recipe.accumulate,
        clip_norm=recipe.clip_norm,
        ema=recipe.ema,
        early_stopping=EarlyStopping(recipe.patience) if recipe.patience else None,
        mirror=recipe.mirror,
        fuse=not options.no_fuse,
        out=folder,
        save_every=options.save_every,
        callbacks=[Reporter(report), *_watchers(options, folder, train_set, test_set, transform)],
        about=about,
    )
    sizes = sum(parameter.size for parameter in model.parameters())
    report.start(recipe, type(model).__name__, sizes, device, train_set, test_set)
    if options.summary:
        report.print(f"\n{nn.summary(model, (64, *recipes.IMAGES[recipe.family]))}\n")
    report.print(f"run folder {folder.path}" + (f", from step {done:,} of {resume.path}" if resume else ""))
    try:
        trainer.fit(
            train_batches,
            batches(test_set),
            recipe.epochs,
            eval_every=recipe.eval_every,
            eval_batches=batches(test_set, recipe.eval_limit),
            resume=resume or False,
        )
    except (KeyboardInterrupt, SystemExit):
        report.close()
        if folder.exists():
            print(f"resume with: python -m scratchnet.train --resume {shlex.quote(str(folder.path))}", file=sys.stderr)
        raise
    finally:
        report.close()
    if trainer.stopped:
        report.print(f"stopped early: the test loss has not improved for {recipe.patience} epochs")

    x, labels = next(iter(batches(test_set, 10)))
    with trainer.averaged():
        predictions = predict(trainer.fast_model.eval(), x, recipe.mirror).argmax(axis=1)
    test_result = trainer.result or trainer.evaluate(batches(test_set))
    train_result = trainer.evaluate(batches(train_set)) if recipe.eval_train else None
    report.finish(test_set, test_result, train_result, predictions.tolist(), labels.tolist())


def _about(
    recipe: Recipe, options: argparse.Namespace, device: backend.Device, train_set: datasets.ArrayDataset
) -> dict[str, Any]:
    """What config.json and the checkpoints say about the run."""
    kept = {name: getattr(options, name) for name in RUN_DEFAULTS}
    where = {"data_dir": options.data_dir and os.path.abspath(options.data_dir)}
    how = {"threads": get_num_threads(), "rung": backend.rung_on(device.kind), "fuse": not options.no_fuse}
    return {
        "recipe": {**dataclasses.asdict(recipe), "dataset": _absolute(recipe.dataset)},
        "options": {**kept, **where, **how, "device": options.device},
        "classes": list(train_set.classes),
    }


def _watchers(
    options: argparse.Namespace,
    folder: RunFolder,
    train_set: datasets.ArrayDataset,
    test_set: datasets.ArrayDataset,
    transform: datasets.Compose,
) -> list[Callback]:
    """What else looks on: the recorder of pictures, TensorBoard."""
    watchers: list[Callback] = []
    if options.plots:
        from scratchnet.plots.recorder import Recorder

        pictures = {"layers": options.layers, "tsne_layer": options.tsne_layer, "tsne_every": options.tsne_every}
        watchers.append(Recorder(folder.plots, train_set, test_set, transform, **pictures))
    if options.tensorboard:
        from scratchnet.training.tensorboard import TensorBoard

        watchers.append(TensorBoard(folder.path))
    return watchers


def command(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.train", description=__doc__)
    add_recipe_options(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, gpu or gpu:N")
    parser.add_argument("--memory-limit", type=_cli.positive_float, metavar="GIB", help="of the GPU's memory to use")
    parser.add_argument("--rung", choices=list(backend.RUNGS), help="which implementation (default: the fastest)")
    parser.add_argument("--no-fuse", action="store_true", help="run every layer on its own")
    parser.add_argument("--out", metavar="DIR", help="the run's folder (default: runs/DATASET-MODEL-NUMBER)")
    parser.add_argument("--resume", metavar="PATH", help="continue the run of this folder or checkpoint")
    parser.add_argument("--save-every", type=_cli.positive_int, metavar="STEPS", help="checkpoints within an epoch")
    parser.add_argument("--summary", action="store_true", help="the network as a table, for a batch of 64, first")
    parser.add_argument("--plots", action="store_true", help="pictures of the training, in the run's plots/")
    parser.add_argument("--layers", nargs="+", metavar="NAME", help="whose feature maps and gradients to show")
    parser.add_argument("--tsne-layer", metavar="NAME", help="whose features (default: the last before the classifier)")
    parser.add_argument("--tsne-every", type=_cli.positive_int, metavar="STEPS", help="refresh the t-SNE picture")
    parser.add_argument("--tensorboard", action="store_true", help="event files in the run's folder")
    options = parser.parse_args(argv)
    if not options.plots and (options.layers or options.tsne_layer or options.tsne_every):
        raise _cli.UsageError("--layers, --tsne-layer and --tsne-every say what --plots shows: give --plots too")
    resume = load_checkpoint(options.resume, prefer="last") if options.resume else None
    recipe = _restore_settings(options, resume) if resume else chosen_recipe(options)
    for name, value in RUN_DEFAULTS.items():
        setattr(options, name, value if getattr(options, name) is None else getattr(options, name))
    try:
        device = backend.device(options.device)
    except ValueError as error:
        raise _cli.UsageError(error) from None
    if options.rung and device.kind not in (places := backend.RUNGS[options.rung].devices):
        where = " or ".join(places)
        raise _cli.UsageError(f"--rung {options.rung}: works on the {where}, and this run is on the {device.kind}")
    if device.kind == "gpu":
        device.xp.cuda.Device(device.number).use()  # kernels run on the GPU that is current
    if options.memory_limit:
        if device.kind == "cpu":
            raise _cli.UsageError("--memory-limit: for the memory of a GPU, and this run is on the CPU")
        device.xp.get_default_memory_pool().set_limit(size=int(options.memory_limit * 2**30))
    if options.threads:
        set_num_threads(options.threads)
    rung = options.rung or backend.rung_on(device.kind)
    with backend.use(rung), _cli.tutorials_dropout2d():
        folder = _folder(recipe, options, resume)
        try:
            train(recipe, options, device, folder, resume)
        finally:
            folder.remove_if_empty()


def _restore_settings(options: argparse.Namespace, resume: Checkpoint) -> Recipe:
    """Fill the options that were not typed with those of the run that is resumed."""
    run = resume.metadata.get("run") or {}
    if "recipe" not in run:
        raise _cli.UsageError(f"--resume {resume.path}: a Trainer of your own wrote it; this command cannot build that")
    recipe = resumed_recipe(options, run)
    for name in ("data_dir", "threads", "rung", *RUN_DEFAULTS):
        if getattr(options, name) is None:
            setattr(options, name, run["options"].get(name))
    options.no_fuse = options.no_fuse or not run["options"]["fuse"]
    return recipe


def _folder(recipe: Recipe, options: argparse.Namespace, resume: Checkpoint | None) -> RunFolder:
    """Where the run goes on: --out, or the folder that it came from, or a new one."""
    if options.out:
        folder = RunFolder(options.out)
        if folder.exists() and not (resume and resume.path and resume.path.parent.samefile(folder.path)):
            raise _cli.UsageError(f"--out {options.out}: holds a run already; --resume {options.out} continues it")
        return folder
    if resume and resume.path:
        return RunFolder(resume.path.parent)
    name = os.path.basename(_absolute(recipe.dataset).removeprefix("folder:").rstrip(os.sep))
    return RunFolder.numbered(f"{name}-{recipe.model}")


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
