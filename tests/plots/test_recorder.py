"""The recorder draws every picture and leaves no trace in the training."""

import hashlib
import random
import sys

import numpy as np
import pytest

import scratchnet
from scratchnet import datasets, nn, optim
from scratchnet.plots import recorder as module
from scratchnet.plots.recorder import Recorder
from scratchnet.training import Callback
from scratchnet.training.state import pack


class Net(nn.Chain):
    """Every kind of state that a picture could disturb: running statistics, dropout counters, momentum."""

    def __init__(self, channels=1):
        rng = np.random.default_rng(0)
        self.conv = nn.Conv2d(channels, 4, 3, padding=1, rng=rng)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 4 * 4, 3, rng=rng)
        self.chain = [
            ("conv", self.conv),
            ("bn", self.bn),
            ("relu", nn.ReLU()),
            ("pool", nn.MaxPool2d(2)),
            ("flatten", nn.Flatten()),
            ("dropout", nn.Dropout(0.3, rng=rng)),
            ("fc", self.fc),
        ]


def image_set(split, channels=1, n=36, classes=("ant", "bee", "cow")):
    rng = np.random.default_rng(len(split))
    labels = np.arange(n) % len(classes)
    images = rng.integers(0, 100, (n, channels, 8, 8)) + 50 * labels[:, None, None, None]
    return datasets.ArrayDataset("toy", split, images.astype("uint8"), labels, classes)


def train(out, callbacks=(), epochs=2, channels=1, resume=False, model=None, ema=None):
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    model = model or Net(channels)
    batches = datasets.DataLoader(image_set("train", channels), 6, shuffle=True, rng=3)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    trainer = scratchnet.Trainer(model, nn.CrossEntropyLoss(), optimizer, out=out, callbacks=callbacks, ema=ema)
    test_batches = datasets.DataLoader(image_set("test", channels), 12)
    trainer.fit(batches, test_batches, epochs, resume=resume)
    return trainer, batches


def recorder(out, channels=1, **options):
    options = {"tsne_every": 4, "every": 2, "tsne_iterations": 250} | options
    return Recorder(
        out / "plots", image_set("train", channels), image_set("test", channels), datasets.ToFloat(), **options
    )


def digest(trainer, batches) -> str:
    """The whole state of a training: weights, gradients, modes, running statistics, counters, the optimizer's memory,
    and every random state, NumPy's and Python's global ones included."""
    checkpoint = pack(trainer, batches)
    state = {key: value for key, value in checkpoint.metadata.items() if key != "position"}
    parts = [repr(state)] + [f"{name}{value.tobytes()}" for name, value in sorted(checkpoint.arrays().items())]
    parts += [f"{name}{parameter.grad.tobytes()}" for name, parameter in trainer.model.named_parameters()]
    parts += [f"{name}{submodule.training}" for name, submodule in trainer.model.named_modules()]
    parts += [repr(np.random.get_state()), repr(random.getstate())]  # noqa: NPY002
    return hashlib.sha256("".join(parts).encode()).hexdigest()


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made, but files stay empty and maps are noise: drawing takes most of the time."""

    def touch(figure, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def noise(features, previous, iterations):
        return np.random.default_rng(len(features)).random((len(features), 2))

    monkeypatch.setattr(module, "save", touch)
    monkeypatch.setattr(module.tsne, "embed", noise)
    monkeypatch.setattr(module.tsne, "animate", lambda frames, labels, classes, path: path.touch())


@pytest.fixture
def always(monkeypatch):
    """Pictures are drawn anew whenever they could be."""
    monkeypatch.setattr(module, "REFRESH", 0.0)
    monkeypatch.setattr(module, "PAUSE", 0.0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return digest(*train(tmp_path_factory.mktemp("plain")))


@pytest.mark.parametrize("channels", [1, 3])
def test_draws_everything(tmp_path, channels):
    from PIL import Image

    train(tmp_path, [recorder(tmp_path, channels)], channels=channels)
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    layers = {"features-relu.png", "filters-conv.png", "tsne.png", "tsne.gif", "gradients.png", "saliency.png"}
    results = {"image.png", "batch.png", "curves.png", "predictions.png", "confusion.png", "mistakes.png"}
    assert names == layers | results | {"history.npz"}
    for path in (tmp_path / "plots").glob("*.png"):
        with Image.open(path) as file:
            picture = np.asarray(file.convert("L"))
        assert min(picture.shape) >= 100
        assert picture.std() > 3  # not blank
        edges = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert edges.min() > 200  # nothing is cut off at the border
    with Image.open(tmp_path / "plots" / "tsne.gif") as animation:
        assert animation.n_frames == 4 + 3 * 5  # before training, steps 4, 8, 12, and the ways between


def test_a_training_ends_with_the_same_bits(tmp_path, plain):
    assert digest(*train(tmp_path, [recorder(tmp_path)])) == plain


@pytest.mark.usefixtures("undrawn")
def test_averaged_weights_are_measured_and_put_back(tmp_path):
    alone = digest(*train(tmp_path / "alone", ema=0.5, epochs=1))
    assert digest(*train(tmp_path / "beside", [recorder(tmp_path)], ema=0.5, epochs=1)) == alone


@pytest.mark.usefixtures("always", "undrawn")
def test_every_step_is_as_without_pictures(tmp_path):
    """The end of a training could hide what the next step would have mended."""

    class Watch(Callback):
        def __init__(self):
            self.seen = []

        def on_gradients(self, trainer):
            self._note(trainer)

        def on_step_end(self, trainer, loss):
            self._note(trainer)

        def _note(self, trainer):
            parts = [value.tobytes() for value in trainer.model.state_dict().values()]
            parts += [parameter.grad.tobytes() for parameter in trainer.model.parameters()]
            parts += [bytes([submodule.training]) for submodule in trainer.model.modules()]
            self.seen.append(hashlib.sha256(b"".join(parts)).hexdigest())

    alone, beside = Watch(), Watch()
    train(tmp_path / "alone", [alone])
    train(tmp_path / "beside", [recorder(tmp_path, tsne_every=3, every=1), beside])
    assert len(alone.seen) == 24
    assert beside.seen == alone.seen


class Careless(Callback):
    """What a picture could do wrong."""

    def __init__(self, what):
        self.what = what

    def on_step_end(self, trainer, loss):
        x = np.ones((2, 1, 8, 8), "float32")
        if self.what == "trains on a picture":
            trainer.model.train().activations(x)  # running statistics and dropout counters
        elif self.what == "draws from the loader's generator":
            trainer.rng.random()
        elif self.what == "draws from the global generator":
            np.random.random()  # noqa: NPY002
        elif self.what == "moves a weight":
            trainer.model.fc.weight.data.flat[0] = np.nextafter(trainer.model.fc.weight.data.flat[0], np.float32(9))

    def on_train_end(self, trainer):
        if self.what == "leaves evaluation mode":
            trainer.model.eval()
        elif self.what == "leaves gradients":
            trainer.model.fc.weight.grad += 1e-7


@pytest.mark.parametrize(
    "what",
    [
        "trains on a picture",
        "draws from the loader's generator",
        "draws from the global generator",
        "moves a weight",
        "leaves evaluation mode",
        "leaves gradients",
    ],
)
def test_the_check_above_sees_a_careless_callback(tmp_path, plain, what):
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    model = Net()
    batches = datasets.DataLoader(image_set("train"), 6, shuffle=True, rng=3)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    trainer = scratchnet.Trainer(model, nn.CrossEntropyLoss(), optimizer, out=tmp_path, callbacks=[Careless(what)])
    trainer.rng = batches.rng
    trainer.fit(batches, datasets.DataLoader(image_set("test"), 12), 2)
    assert digest(trainer, batches) != plain


def test_the_check_above_passes_a_careful_callback(tmp_path, plain):
    assert digest(*train(tmp_path, [Careless("nothing")])) == plain


@pytest.mark.usefixtures("undrawn")
def test_a_continued_run_goes_on_with_its_pictures(tmp_path):
    train(tmp_path, [recorder(tmp_path)], epochs=1)
    second = recorder(tmp_path)
    train(tmp_path, [second], epochs=2, resume=True)
    whole = recorder(tmp_path / "whole")
    train(tmp_path / "whole", [whole], epochs=2)
    assert [row[0] for row in second.samples] == [row[0] for row in whole.samples] == [1, 2, 4, 6, 8, 10, 12]
    np.testing.assert_array_equal([row[1] for row in second.samples], [row[1] for row in whole.samples])
    assert [step for step, _ in whole.maps] == [0, 4, 8, 12]
    assert [step for step, _ in second.maps] == [0, 4, 6, 8, 12]  # 6: the end of what was then the whole training


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("damage", ["cut short", "another network's", "other images", "not there"])
def test_a_continued_run_does_without_a_history_that_is_not_its_own(tmp_path, damage):
    train(tmp_path, [recorder(tmp_path)], epochs=1)
    history = tmp_path / "plots" / "history.npz"
    if damage == "cut short":
        history.write_bytes(history.read_bytes()[:-100])
    elif damage == "another network's":
        with np.load(history) as file:
            np.savez(history, **{**file, "norms": file["norms"][:, :1], "ratios": file["ratios"][:, :1]})
    elif damage == "not there":
        history.unlink()
    second = recorder(tmp_path, tsne_images=20 if damage == "other images" else 500)
    train(tmp_path, [second], epochs=2, resume=True)
    kept = [1, 2, 4, 6] if damage == "other images" else []
    assert [row[0] for row in second.samples] == [*kept, 8, 10, 12]
    assert [step for step, _ in second.maps] == [*([0, 4, 6] if damage == "another network's" else []), 8, 12]


@pytest.mark.usefixtures("always", "undrawn")
def test_an_interrupted_run_keeps_what_it_noted(tmp_path):
    class Interrupt(Callback):
        def on_step_end(self, trainer, loss):
            if trainer.global_step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, [recorder(tmp_path, tsne_every=None), Interrupt()], epochs=1)
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert {"features-relu.png", "filters-conv.png", "gradients.png", "saliency.png"} <= names
    with np.load(tmp_path / "plots" / "history.npz") as file:
        assert file["steps"].tolist() == [1, 2, 4]


@pytest.mark.parametrize("option", [{"layers": ["conv", "relu9"]}, {"tsne_layer": "relu9"}])
def test_an_unknown_layer_is_an_error_that_lists_them(tmp_path, option):
    with pytest.raises(ValueError, match="expected some of conv, bn, relu, pool, flatten, dropout, fc, got 'relu9'"):
        train(tmp_path, [recorder(tmp_path, **option)])


def test_a_layer_without_feature_maps_is_an_error_that_says_so(tmp_path):
    message = r"'flatten' has no feature maps \(N, C, H, W\), its output is \(1, 64\); .*: conv, bn, relu, pool$"
    with pytest.raises(ValueError, match=message):
        train(tmp_path, [recorder(tmp_path, layers=["flatten"])])


@pytest.mark.usefixtures("undrawn")
def test_a_network_without_feature_maps(tmp_path):
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=rng), nn.ReLU(), nn.Linear(5, 3, rng=rng))
    train(tmp_path, [recorder(tmp_path, tsne_layer="1")], model=model)
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert "saliency.png" in names
    assert not any(name.startswith(("features", "filters")) for name in names)


class OwnPasses(nn.Module):
    """No chain: nothing but the input's gradient can be drawn."""

    def __init__(self):
        self.fc = nn.Linear(64, 3, rng=np.random.default_rng(0))

    def forward(self, x):
        y, cache = self.fc.forward(x.reshape(len(x), -1))
        return y, (x.shape, cache)

    def backward(self, dy, cache):
        shape, cache = cache
        return self.fc.backward(dy, cache).reshape(shape)


@pytest.mark.usefixtures("undrawn")
def test_a_network_that_writes_its_own_passes(tmp_path):
    train(tmp_path, [recorder(tmp_path, tsne_every=None)], model=OwnPasses())
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert {"saliency.png", "gradients.png", "confusion.png"} <= names
    assert not any(name.startswith(("features", "filters", "tsne")) for name in names)
    with pytest.raises(ValueError, match="tsne_every: the model has no linear layer whose input to map"):
        train(tmp_path / "maps", [recorder(tmp_path)], model=OwnPasses())


@pytest.mark.usefixtures("undrawn")
def test_layers_names_further_convolutions(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FILTERS", 0)
    train(tmp_path, [recorder(tmp_path, layers=["bn"], tsne_every=None)], epochs=1)
    assert not list((tmp_path / "plots").glob("filters*"))
    train(tmp_path / "named", [recorder(tmp_path, layers=["conv"], tsne_every=None)], epochs=1)
    assert [path.name for path in (tmp_path / "plots").glob("filters*")] == ["filters-conv.png"]


@pytest.mark.usefixtures("undrawn")
def test_what_stands_beside_a_filter_is_the_gradient_and_the_update_of_that_step(tmp_path):
    class Keep(Callback):
        def on_gradients(self, trainer):
            if trainer.global_step == 5:
                self.old, self.gradient = (a.copy() for a in (conv.weight.data, conv.weight.grad))

        def on_step_end(self, trainer, loss):
            if trainer.global_step == 6:
                self.new = conv.weight.data.copy()

    keep, watcher, model = Keep(), recorder(tmp_path, tsne_every=None, every=6), Net()
    conv = model.conv
    train(tmp_path, [watcher, keep], epochs=1, model=model)
    step, (weight, gradient, update) = watcher._latest["conv"]
    assert step == 6
    np.testing.assert_array_equal(weight, keep.old)
    np.testing.assert_array_equal(gradient, keep.gradient)
    np.testing.assert_array_equal(update, keep.new - keep.old)
    norms, ratios = dict(zip([1, 6], [row[1:] for row in watcher.samples], strict=True))[6]
    assert norms[0] == pytest.approx(np.linalg.norm(keep.gradient), rel=1e-6)
    assert ratios[0] == pytest.approx(np.linalg.norm(keep.new - keep.old) / np.linalg.norm(keep.old), rel=1e-6)


@pytest.mark.usefixtures("undrawn")
def test_gradients_are_of_the_loss_that_is_trained(tmp_path, monkeypatch):
    seen = []
    original = module.inspection.features_and_gradients

    def watched(model, x, target, criterion):
        seen.append(criterion)
        return original(model, x, target, criterion)

    monkeypatch.setattr(module.inspection, "features_and_gradients", watched)
    trainer, _ = train(tmp_path, [recorder(tmp_path, tsne_every=None)], epochs=1)
    assert seen == [trainer.criterion]


@pytest.mark.usefixtures("always")
def test_a_training_that_diverges_ends_with_its_own_error(tmp_path):
    class Explode(Callback):
        def on_step_end(self, trainer, loss):
            trainer.model.fc.weight.data[...] = np.inf
            trainer.model.conv.weight.data[...] = np.nan

    with pytest.raises(scratchnet.training.NonFiniteLossError):
        train(tmp_path, [Explode(), recorder(tmp_path, tsne_every=1, every=1)])


def test_without_scikit_learn_the_error_comes_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    watcher = recorder(tmp_path, tsne_every=None)
    with pytest.raises(RuntimeError, match=r"t-SNE needs scikit-learn .*pip install 'scratchnet\[plots\]'"):
        train(tmp_path, [watcher])
    assert watcher.samples == []


@pytest.mark.parametrize("option", [{"tsne_every": -1}, {"every": 0}, {"tsne_images": 2.5}])
def test_a_wrong_number_is_an_error(tmp_path, option):
    with pytest.raises(ValueError, match=f"Recorder: expected {next(iter(option))} as a whole number ≥ 1, got"):
        recorder(tmp_path, **option)
