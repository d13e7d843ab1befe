"""python -m scratchnet.export, as a user types it."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch
from onnx_runs import assert_same, run, stir

import scratchnet.__main__
import scratchnet.export
import scratchnet.train
import torch_ref.models
from scratchnet import models, nn, recipes, weights
from scratchnet.training.checkpoint import Checkpoint, save_checkpoint
from scratchnet.training.restore import restore

NETWORKS = [(family, name) for family, names in models.MODELS.items() for name in names]


@pytest.fixture
def checkpoint(tmp_path):
    """A function that leaves a run folder with a checkpoint of a network in it."""

    def make(family="mnist", name="cnn", dtype="float32", **changes):
        recipe = dataclasses.replace(recipes.find(family, name), **changes)
        model = stir(models.build(family, name, rng=3).to(dtype), np.random.default_rng(3))
        classes = [f"class {i}" for i in range(10)]
        run = {"recipe": dataclasses.asdict(recipe), "classes": classes, "options": {"dtype": dtype}}
        folder = tmp_path / "run"
        folder.mkdir()
        save_checkpoint(Checkpoint(model.state_dict(), {"run": run}), folder / "best.safetensors")
        return folder

    return make


def export(*argv):
    return scratchnet.export.main([str(argument) for argument in argv])


def exported(capsys, *argv):
    code = export(*argv)
    output = capsys.readouterr()
    assert (code, output.err) == (0, "")
    return output.out


def failed(capsys, code, *argv):
    assert export(*argv) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


def pixels(folder, count):
    """Random images, as bytes and as the network takes them."""
    restored = restore(folder)
    images = np.random.default_rng(5).integers(0, 256, (count, *restored.image_shape), "uint8")
    return images, restored.transform(images), restored.model


@pytest.mark.parametrize(("family", "name"), NETWORKS)
def test_onnx(family, name, checkpoint, capsys):
    folder = checkpoint(family, name)
    text = exported(capsys, folder, "--format", "onnx")
    assert text.startswith(f"{folder / 'best.onnx'}: {type(models.build(family, name)).__name__} as ONNX, opset 17")
    assert "onnxruntime gives the same logits" in text
    proto = onnx.load(folder / "best.onnx")
    onnx.checker.check_model(proto, full_check=True)
    for count in (1, 7):
        _, x, model = pixels(folder, count)
        assert_same(proto, model, x)


@pytest.mark.filterwarnings("ignore:dropout2d")  # the tutorial's, in evaluation too
@pytest.mark.parametrize(("family", "name"), NETWORKS)
def test_torch_twin_loads_it_strictly_and_gives_the_same_logits(family, name, checkpoint, capsys):
    folder = checkpoint(family, name)
    assert "arrays" in exported(capsys, folder, "--format", "torch")
    twin = torch_ref.models.MODELS[family][name]()
    twin.load_state_dict(torch.load(folder / "best.pt", weights_only=True), strict=True)
    _, x, model = pixels(folder, 3)
    with torch.no_grad():
        theirs = twin.eval()(torch.from_numpy(x)).numpy()
    ours = model(x)
    assert np.abs(theirs - ours).max() <= 1e-5 * np.abs(ours).max()


@pytest.mark.parametrize(
    ("format", "name", "read"),
    [
        ("safetensors", "best.weights.safetensors", safetensors.numpy.load_file),
        ("npz", "best.npz", lambda path: dict(np.load(path))),
    ],
)
def test_arrays(format, name, read, checkpoint, capsys):
    folder = checkpoint("cifar10", "cnn")
    text = exported(capsys, folder, "--format", format)
    expected = restore(folder).model.state_dict()
    numbers = sum(value.size for value in expected.values())
    assert text == f"{folder / name}: {len(expected)} arrays, {numbers:,} numbers, as {format}\n"
    arrays = read(folder / name)
    assert arrays.keys() == expected.keys()
    assert all((arrays[key] == value).all() and arrays[key].dtype == value.dtype for key, value in expected.items())
    restore(folder)  # the checkpoint is still there


def test_metadata_is_enough_to_use_the_file(checkpoint, capsys):
    folder = checkpoint("cifar10", "simple", normalize=((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))
    exported(capsys, folder, "--format", "onnx")
    proto = onnx.load(folder / "best.onnx")
    about = {entry.key: entry.value for entry in proto.metadata_props}
    mean, std = (np.array(json.loads(about[key]), "float32").reshape(3, 1, 1) for key in ("mean", "std"))
    assert json.loads(about["classes"]) == [f"class {i}" for i in range(10)]
    assert about["input"] == "float32 (N, 3, 32, 32): RGB pixels / 255, less mean, over std"
    images, x, model = pixels(folder, 2)
    ours, theirs = model(x), run(proto, (images.astype("float32") / 255 - mean) / std)
    assert np.abs(theirs - ours).max() <= 1e-5 * np.abs(ours).max()


def test_metadata_of_pixels_that_are_not_normalized(checkpoint, capsys):
    folder = checkpoint()
    exported(capsys, folder, "--format", "onnx")
    about = {entry.key: entry.value for entry in onnx.load(folder / "best.onnx").metadata_props}
    assert (about["mean"], about["std"], about["dataset"], about["model"]) == ("[0.0]", "[1.0]", "mnist", "cnn")
    assert about["input"].startswith("float32 (N, 1, 28, 28): grey pixels / 255")


def test_a_float64_run(checkpoint, capsys):
    folder = checkpoint("cifar10", "cnn", dtype="float64")
    assert "same logits" in exported(capsys, folder, "--format", "onnx")
    exported(capsys, folder, "--format", "npz")
    assert np.load(folder / "best.npz")["fc1.weight"].dtype == np.float64


@pytest.mark.parametrize(("option", "first"), [(["--batch-size", "dynamic"], "batch"), (["--batch-size", "6"], 6)])
def test_batch_size_and_opset(option, first, checkpoint, capsys):
    folder = checkpoint()
    text = exported(capsys, folder, "--format", "onnx", "--opset", "19", *option)
    assert f"opset 19, input {first} × 1 × 28 × 28, 10 classes" in text
    proto = onnx.load(folder / "best.onnx")
    dim = proto.graph.input[0].type.tensor_type.shape.dim[0]
    assert (dim.dim_param or dim.dim_value) == first
    assert proto.opset_import[0].version == 19


def test_the_suffix_of_out_chooses_the_format(checkpoint, capsys, tmp_path):
    folder = checkpoint()
    for name in ("a.pt", "a.npz", "a.safetensors", "a.onnx"):
        assert exported(capsys, folder, "--out", tmp_path / name).startswith(str(tmp_path / name))
    exported(capsys, folder / "best.safetensors", "--out", tmp_path / "a.bin", "--format", "torch")
    assert torch.load(tmp_path / "a.bin", weights_only=True).keys() == torch.load(tmp_path / "a.pt").keys()


def test_converts_weights_of_others(tmp_path, capsys):
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "theirs.pt")
    exported(capsys, tmp_path / "theirs.pt", "--format", "safetensors")
    assert weights.load(tmp_path / "theirs.safetensors").keys() == {"weight", "bias"}


def test_what_train_leaves(tmp_path, capsys):
    argv = ["mnist", "--limit-batches", "2", "--eval-limit", "50", "--eval-every", "2", "--out", str(tmp_path / "run")]
    assert scratchnet.train.main(argv) == 0
    capsys.readouterr()
    assert scratchnet.__main__.main(["export", str(tmp_path / "run"), "--format", "onnx"]) == 0
    (file,) = (tmp_path / "run").glob("*.onnx")
    assert str(file) in capsys.readouterr().out


# Mistakes


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "expected --format as one of torch, onnx, safetensors, npz"),
        (["--out", "x.txt"], "expected --format as one of"),
        (["--format", "npz", "--opset", "17"], "--batch-size and --opset are of onnx, got --format npz"),
        (["--format", "torch", "--batch-size", "dynamic"], "--batch-size and --opset are of onnx"),
        (["--format", "onnx", "--opset", "5"], "opset between 13 and"),
    ],
)
def test_wrong_arguments(argv, message, checkpoint, capsys):
    folder = checkpoint()
    assert message in failed(capsys, 2, folder, *argv)
    assert [path.name for path in folder.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize(
    "argv", [["--format", "keras"], ["--batch-size", "0"], ["--batch-size", "any"], ["--opset", "x"]]
)
def test_arguments_that_argparse_refuses(argv, checkpoint):
    with pytest.raises(SystemExit) as stop:
        export(checkpoint(), *argv)
    assert stop.value.code == 2


def test_never_over_the_checkpoint(checkpoint, capsys):
    folder = checkpoint()
    before = (folder / "best.safetensors").read_bytes()
    for source in (folder, folder / "best.safetensors"):
        text = failed(capsys, 2, source, "--out", folder / ".." / "run" / "best.safetensors")
        assert "expected another file than the checkpoint itself" in text
    assert (folder / "best.safetensors").read_bytes() == before


@pytest.mark.parametrize("format", ["onnx", "torch", "safetensors", "npz"])
def test_no_checkpoint(format, tmp_path, capsys):
    assert "missing.safetensors" in failed(capsys, 1, tmp_path / "missing.safetensors", "--format", format)
    assert str(tmp_path) in failed(capsys, 1, tmp_path, "--format", format)


@pytest.mark.parametrize("format", ["onnx", "torch", "safetensors", "npz"])
def test_a_damaged_checkpoint(format, checkpoint, capsys):
    folder = checkpoint()
    file = folder / "best.safetensors"
    whole = file.read_bytes()
    for data in (whole[:-30], whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(data)
        assert "best.safetensors" in failed(capsys, 1, folder, "--format", format)
    assert [path.name for path in folder.iterdir()] == ["best.safetensors"]


def test_a_model_that_the_command_does_not_know(tmp_path, capsys):
    save_checkpoint(Checkpoint(nn.Linear(3, 2).state_dict(), {"model": "Linear"}), tmp_path / "x.safetensors")
    assert "Trainer of your own" in failed(capsys, 1, tmp_path / "x.safetensors", "--format", "onnx")
    exported(capsys, tmp_path / "x.safetensors", "--format", "torch")
    assert torch.load(tmp_path / "x.pt", weights_only=True)["weight"].shape == (2, 3)


def test_no_such_folder(checkpoint, capsys, tmp_path):
    folder = checkpoint()
    for name in ("x.onnx", "x.npz"):
        assert f"nowhere/{name}: could not be written" in failed(
            capsys, 1, folder, "--out", tmp_path / "nowhere" / name
        )


def test_a_file_with_other_logits_is_not_written(checkpoint, capsys, monkeypatch):
    honest = weights.to_onnx

    def wrong_epsilon(*args, **options):
        proto = honest(*args, **options)
        node = next(node for node in proto.graph.node if node.op_type == "BatchNormalization")
        next(a for a in node.attribute if a.name == "epsilon").f = 1e-2
        return proto

    monkeypatch.setattr(weights, "to_onnx", wrong_epsilon)
    folder = checkpoint("cifar10", "cnn")
    assert "logits differ by" in failed(capsys, 1, folder, "--format", "onnx")
    assert not (folder / "best.onnx").exists()


def test_without_onnxruntime_or_onnx(checkpoint):
    folder = checkpoint()
    code = (
        "import sys; sys.modules[sys.argv[1]] = None\n"
        "from scratchnet import export\n"
        "sys.exit(export.main([sys.argv[2], '--format', 'onnx']))"
    )

    def without(package):
        argv = [sys.executable, "-c", code, package, str(folder)]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    result = without("onnx")
    assert (result.returncode, result.stdout) == (1, "")
    assert "pip install 'scratchnet[onnx]'" in result.stderr
    result = without("onnxruntime")
    assert result.returncode == 0
    assert "not installed" in result.stdout
    assert (folder / "best.onnx").exists()
