"""weights.load and weights.save: every format, what is in them, and every way in which a file can be wrong."""

import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from scratchnet import models, nn, weights
from scratchnet.training.checkpoint import Checkpoint, CheckpointError, save_checkpoint

SUFFIXES = [".safetensors", ".pt", ".pth", ".npz"]


def awkward():
    """Arrays that a format may get wrong: orders, strides, byte orders, dtypes, sizes, and names."""
    x = np.arange(24, dtype="float32").reshape(4, 6)
    read_only = x.copy()
    read_only.flags.writeable = False
    return {
        "contiguous": x,
        "transposed": x.T,
        "fortran": np.asfortranarray(x),
        "sliced": x[::2, 1::2],
        "reversed": x[::-1],
        "broadcast": np.broadcast_to(np.float32(2), (3, 2)),
        "read_only": read_only,
        "big_endian": x.astype(">f4"),
        "double": x.astype("float64"),
        "count": np.array(7),
        "bytes": np.arange(5, dtype="uint8"),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3), "float32"),
        "file": np.ones(2, "float32"),  # numpy.savez has an argument of that name
        "a/b.0.größe": np.ones(1, "float32"),
        "special": np.array([np.nan, np.inf, -np.inf, -0.0, 1e-42], "float32"),
    }


def assert_equal(ours, expected):
    assert sorted(ours) == sorted(expected)
    for name, value in expected.items():
        assert ours[name].shape == value.shape, name
        assert ours[name].dtype == value.dtype.newbyteorder("="), name
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    weights.save(awkward(), path)
    loaded = weights.load(path)
    assert_equal(loaded, awkward())
    assert loaded.path == path
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_safetensors_itself_writes_such_arrays_wrongly(tmp_path):
    """Why save makes arrays C-contiguous; if this fails, safetensors has been mended."""
    transposed = awkward()["transposed"]
    assert (safetensors.numpy.load(safetensors.numpy.save({"x": transposed}))["x"] != transposed).any()


@pytest.mark.parametrize(
    ("suffix", "read"),
    [
        (".safetensors", safetensors.numpy.load_file),
        (".safetensors", lambda p: {k: v.numpy() for k, v in safetensors.torch.load_file(p).items()}),
        (".pt", lambda p: {k: v.numpy() for k, v in torch.load(p, weights_only=True).items()}),
        (".npz", lambda p: dict(np.load(p))),
    ],
)
def test_what_we_write_others_read(suffix, read, tmp_path):
    weights.save(awkward(), tmp_path / f"x{suffix}")
    assert_equal(read(tmp_path / f"x{suffix}"), awkward())


def torch_write(tensors, path):
    torch.save(tensors, path)


def numpy_write(tensors, path):
    np.savez_compressed(path, **{name: tensor.numpy() for name, tensor in tensors.items()})


@pytest.mark.parametrize(
    ("suffix", "write"), [(".safetensors", safetensors.torch.save_file), (".pt", torch_write), (".npz", numpy_write)]
)
def test_what_others_write_we_read(suffix, write, tmp_path):
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "d": torch.ones(2, dtype=torch.float64), "n": torch.tensor(3)}
    write(tensors, tmp_path / f"x{suffix}")
    assert_equal(weights.load(tmp_path / f"x{suffix}"), {name: tensor.numpy() for name, tensor in tensors.items()})


def test_the_suffix_can_be_overruled(tmp_path):
    weights.save({"w": np.ones(2)}, tmp_path / "x.bin", format="torch")
    assert torch.load(tmp_path / "x.bin", weights_only=True)["w"].tolist() == [1, 1]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("model", [models.build("mnist", "cnn", rng=0), models.build("cifar10", "resnet20", rng=0)])
def test_models_travel(suffix, model, tmp_path):
    weights.save(model.state_dict(), tmp_path / f"x{suffix}")
    other = type(model)(rng=1)
    other.load_state_dict(weights.load(tmp_path / f"x{suffix}"))
    assert_equal(other.state_dict(), model.state_dict())


def test_save_takes_parameters_and_tensors(tmp_path):
    weights.save({"p": nn.Parameter([1.0, 2.0]), "t": torch.ones(2, 2)}, tmp_path / "x.npz")
    assert_equal(weights.load(tmp_path / "x.npz"), {"p": np.array([1, 2], "float32"), "t": np.ones((2, 2), "float32")})


HALVES = {"half": torch.tensor([1.5, -0.1, 65504.0]).half(), "full": torch.tensor([0.1])}
BRAIN = {"brain": torch.tensor([[1.5, -0.1, 3e38]]).bfloat16(), "full": torch.tensor([0.1])}


@pytest.mark.parametrize(("tensors", "word"), [(HALVES, "float16"), (BRAIN, "bfloat16")])
@pytest.mark.parametrize(("suffix", "write"), [(".safetensors", safetensors.torch.save_file), (".pt", torch_write)])
def test_halves_become_float32_and_say_so(suffix, write, tensors, word, tmp_path):
    path = tmp_path / f"x{suffix}"
    write(tensors, path)
    with pytest.warns(UserWarning, match=rf"x\{suffix}: {word} became float32$"):
        loaded = weights.load(path)
    assert_equal(loaded, {name: tensor.float().numpy() for name, tensor in tensors.items()})


def test_halves_in_npz(tmp_path):
    np.savez(tmp_path / "x.npz", w=np.array([0.1, 2], "float16"))
    with pytest.warns(UserWarning, match="float16 became float32"):
        loaded = weights.load(tmp_path / "x.npz")
    assert_equal(loaded, {"w": np.array([0.1, 2], "float16").astype("float32")})


LINEAR = torch.nn.Linear(3, 2)


@pytest.mark.parametrize(
    "contents",
    [
        LINEAR.state_dict(),
        {"epoch": 3, "state_dict": LINEAR.state_dict(), "optimizer": {"lr": 0.1}},
        {"model": LINEAR.state_dict()},
        {"model_state_dict": LINEAR.state_dict(), "loss": torch.ones(1)},
        {"state_dict": {"model": LINEAR.state_dict()}},
        torch.nn.DataParallel(LINEAR).state_dict(),
        {"model": {f"module._orig_mod.{key}": value for key, value in LINEAR.state_dict().items()}},
        {key: torch.nn.Parameter(value) for key, value in LINEAR.state_dict().items()},
    ],
    ids=["plain", "state_dict", "model", "model_state_dict", "nested", "DataParallel", "compiled", "parameters"],
)
def test_checkpoints_of_torch(contents, tmp_path):
    torch.save(contents, tmp_path / "x.pt")
    model = nn.Linear(3, 2)
    model.load_state_dict(weights.load(tmp_path / "x.pt"))
    np.testing.assert_array_equal(model.weight.data, LINEAR.weight.detach().numpy())
    np.testing.assert_array_equal(model.bias.data, LINEAR.bias.detach().numpy())


def test_a_prefix_that_not_all_names_share_stays(tmp_path):
    torch.save({"module.w": torch.ones(1), "n_averaged": torch.tensor(2)}, tmp_path / "x.pt")
    assert list(weights.load(tmp_path / "x.pt")) == ["module.w", "n_averaged"]


def test_a_checkpoint_of_ours_gives_the_models_weights(tmp_path):
    model, averaged = nn.Linear(3, 2, rng=0).state_dict(), nn.Linear(3, 2, rng=1).state_dict()
    optimizer = {"weight.exp_avg": np.ones((2, 3), "float32")}
    save_checkpoint(Checkpoint(model, {"epoch": 1}, optimizer), tmp_path / "last.safetensors")
    assert_equal(weights.load(tmp_path / "last.safetensors"), model)
    save_checkpoint(Checkpoint(model, {"epoch": 1}, optimizer, averaged), tmp_path / "best.safetensors")
    assert_equal(weights.load(tmp_path / "best.safetensors"), averaged)
    assert_equal(weights.load(tmp_path), averaged)
    assert weights.load(tmp_path).path == tmp_path / "best.safetensors"
    data = bytearray((tmp_path / "last.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "last.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"last\.safetensors.*checksum"):
        weights.load(tmp_path / "last.safetensors")


# What is wrong with a file


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_such_file(suffix, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"missing\{suffix}"):
        weights.load(tmp_path / f"missing{suffix}")


@pytest.mark.parametrize("name", ["x", "x.txt", "x.onnx", "x.PT.zip"])
def test_an_unknown_suffix(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    for call in (lambda: weights.load(tmp_path / name), lambda: weights.save({}, tmp_path / name)):
        with pytest.raises(ValueError, match=r"expected a file that ends in \.safetensors, \.pt, \.pth, \.npz"):
            call()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "data", [b"", b"x", b"<html><body>404</body></html>" * 30, b"version https://git-lfs.github.com/spec/v1\n", b"PK"]
)
def test_not_of_this_format(suffix, data, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"x\{suffix}: expected a whole .*, got {len(data):,} bytes"):
        weights.load(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_short_at_any_place(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    weights.save({"weight": np.arange(300, dtype="float32"), "bias": np.ones(7)}, path)
    data = path.read_bytes()
    for length in [*range(0, 60, 7), *range(60, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=rf"x\{suffix}: expected a whole"):
            weights.load(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_flipped_bytes_never_crash(suffix, tmp_path):
    """Plain safetensors and torch load a flipped number without a word; anything else is a ValueError."""
    path = tmp_path / f"x{suffix}"
    weights.save({"weight": np.arange(30, dtype="float32"), "bias": np.ones(7)}, path)
    data, rng, messages = path.read_bytes(), np.random.default_rng(0), []
    for position in rng.permutation(len(data))[:250]:
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            weights.load(path)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(message.startswith(str(path)) for message in messages)


def test_npz_finds_every_flipped_byte_of_its_arrays(tmp_path):
    path = tmp_path / "x.npz"
    values = np.arange(30, dtype="float32")
    weights.save({"w": values}, path)
    data = bytearray(path.read_bytes())
    data[data.index(values.tobytes()) + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="CRC"):
        weights.load(path)


def test_pickled_objects_in_npz_are_refused_and_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trap"), "w"))

    np.savez(tmp_path / "x.npz", w=np.ones(2), o=np.array([Trap()], dtype=object))
    (tmp_path / "x.pt").write_bytes(pickle.dumps({"w": Trap()}))
    torch.save({"w": Trap()}, tmp_path / "y.pt")
    with pytest.raises(ValueError, match=r"x\.npz: .*pickled objects"):
        weights.load(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"x\.pt: expected a whole file of torch\.save"):
        weights.load(tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"y\.pt: expected tensors only, got (_io|io)\.open"):
        weights.load(tmp_path / "y.pt")
    assert not (tmp_path / "trap").exists()


def test_a_whole_model_in_pt_is_refused(tmp_path):
    torch.save(LINEAR, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt: .*torch\.nn\.modules\.linear\.Linear.*save model\.state_dict\(\)"):
        weights.load(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (torch.ones(2), "expected a state_dict, got a Tensor"),
        ([torch.ones(2)], "expected a state_dict, got a list"),
        (
            {"epoch": 1, "net": {"w": torch.ones(2)}},
            "expected a state_dict, alone or under one of state_dict, .* got 'epoch': int",
        ),
        ({0: torch.ones(2)}, ".*got 0: Tensor"),
        ({"s": torch.eye(2).to_sparse()}, "expected dense tensors, got s"),
    ],
)
def test_no_state_dict_in_pt(contents, message, tmp_path):
    torch.save(contents, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=rf"x\.pt: {message}"):
        weights.load(tmp_path / "x.pt")


def test_dtypes_that_numpy_has_not(tmp_path):
    safetensors.torch.save_file({"q": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors: expected dtypes that NumPy has, got q of F8_E4M3"):
        weights.load(tmp_path / "x.safetensors")
    torch.save({"q": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt: .*q of float8_e4m3fn"):
        weights.load(tmp_path / "x.pt")
    np.savez(tmp_path / "x.npz", q=np.array(["a"]))
    with pytest.raises(ValueError, match=r"x\.npz: expected numbers, got q of str"):
        weights.load(tmp_path / "x.npz")


def test_npz_with_another_file_in_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"x\.npz: expected a whole \.npz file"):
        weights.load(tmp_path / "x.npz")


def test_keys_that_do_not_fit_name_the_file(tmp_path):
    weights.save(nn.Linear(3, 2).state_dict(), tmp_path / "theirs.npz")
    with pytest.raises(RuntimeError, match=r"theirs\.npz: .*weight: expected shape \(2, 4\), got \(2, 3\)"):
        nn.Linear(4, 2).load_state_dict(weights.load(tmp_path / "theirs.npz"))
    with pytest.raises(RuntimeError, match=r"theirs\.npz: unexpected keys: bias"):
        nn.Linear(3, 2, bias=False).load_state_dict(weights.load(tmp_path / "theirs.npz"))
    with pytest.raises(RuntimeError, match=r"load_state_dict: missing keys"):  # a mapping without a file
        nn.Linear(3, 2).load_state_dict({})


def test_without_torch_the_message_says_what_to_install(tmp_path):
    torch.save(LINEAR.state_dict(), tmp_path / "x.pt")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from scratchnet import weights\n"
        "for call in (weights.load, lambda path: weights.save({}, path)):\n"
        "    try: call(sys.argv[1])\n"
        "    except RuntimeError as error: print(error)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "x.pt")]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 2
    assert all("x.pt: " in line and "pip install 'scratchnet[torch]'" in line for line in lines)


# What is wrong with what is to be saved, and where


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        ([np.ones(2)], "expected a mapping of names to arrays, got list"),
        ({"w": [1.0]}, "save: w: .*got list"),
        ({0: np.ones(1)}, "expected names as strings, got 0"),
        ({"w": np.array(["a"])}, "expected w as an array of numbers, got <U1"),
        ({"w": np.array([None])}, "expected w as an array of numbers, got object"),
        ({"w": torch.ones(2, requires_grad=True)}, r"save: w: .*x\.detach"),
    ],
)
def test_what_cannot_be_saved(state_dict, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        weights.save(state_dict, tmp_path / "x.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_format(tmp_path):
    with pytest.raises(ValueError, match="expected one of safetensors, torch, npz, got 'onnx'"):
        weights.save({}, tmp_path / "x.npz", format="onnx")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_old_file_survives_a_write_that_fails(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"x{suffix}"
    weights.save({"w": np.ones(2)}, path)
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match=rf"x\{suffix}: could not be written \(No space left on device\)"):
        weights.save({"w": np.zeros(2)}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/x\.npz: could not be written"):
        weights.save({}, tmp_path / "nowhere" / "x.npz")


def test_the_same_weights_give_the_same_bytes(tmp_path):
    for suffix in SUFFIXES:
        for name in ("a", "b"):
            weights.save(awkward(), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}  # not the time of writing


def test_safetensors_tell_huggingface_whose_layout_it_is(tmp_path):
    weights.save({"w": np.ones(1)}, tmp_path / "x.safetensors")
    data = (tmp_path / "x.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}
