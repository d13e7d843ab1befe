"""The recorder draws every picture and leaves no trace in the training."""

import hashlib

import numpy as np
import pytest

import scratchnet
from scratchnet import datasets, nn, optim
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


def train(out, callbacks=(), epochs=2, channels=1, resume=False, model=None):
    model = model or Net(channels)
    batches = datasets.DataLoader(image_set("train", channels), 6, shuffle=True, rng=3)
    trainer = scratchnet.Trainer(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.05, momentum=0.9), out=out, callbacks=callbacks
    )
    test_batches = datasets.DataLoader(image_set("test", channels), 12)
    trainer.fit(batches, test_batches, epochs, resume=resume)
    return trainer, batches


def recorder(out, channels=1, **options):
    options = {"tsne_every": 4, "every": 2, "tsne_iterations": 250} | options
    return Recorder(
        out / "plots", image_set("train", channels), image_set("test", channels), datasets.ToFloat(), **options
    )


def digest(trainer, batches) -> str:
    """The whole state of a training, its random states included."""
    checkpoint = pack(trainer, batches)
    state = {key: value for key, value in checkpoint.metadata.items() if key != "position"}
    parts = [repr(state)] + [f"{name}{value.tobytes()}" for name, value in sorted(checkpoint.arrays().items())]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


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
        assert animation.n_frames == 3  # steps 4, 8, 12


def test_a_training_ends_with_the_same_bits(tmp_path, plain):
    assert digest(*train(tmp_path, [recorder(tmp_path)])) == plain


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


@pytest.mark.parametrize("what", ["trains on a picture", "draws from the loader's generator"])
def test_the_check_above_sees_a_careless_callback(tmp_path, plain, what):
    model = Net()
    batches = datasets.DataLoader(image_set("train"), 6, shuffle=True, rng=3)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    trainer = scratchnet.Trainer(model, nn.CrossEntropyLoss(), optimizer, out=tmp_path, callbacks=[Careless(what)])
    trainer.rng = batches.rng
    trainer.fit(batches, datasets.DataLoader(image_set("test"), 12), 2)
    assert digest(trainer, batches) != plain


def test_a_continued_run_goes_on_with_its_pictures(tmp_path):
    train(tmp_path, [recorder(tmp_path)], epochs=1)
    second = recorder(tmp_path)
    train(tmp_path, [second], epochs=2, resume=True)
    whole = recorder(tmp_path / "whole")
    train(tmp_path / "whole", [whole], epochs=2)
    assert [row[0] for row in second.samples] == [row[0] for row in whole.samples] == [1, 2, 4, 6, 8, 10, 12]
    np.testing.assert_array_equal([row[1] for row in second.samples], [row[1] for row in whole.samples])
    assert {step for step, _ in whole.maps} <= {step for step, _ in second.maps}


@pytest.mark.parametrize("option", [{"layers": ["conv", "relu9"]}, {"tsne_layer": "relu9"}])
def test_an_unknown_layer_is_an_error_that_lists_them(tmp_path, option):
    with pytest.raises(ValueError, match="expected some of conv, bn, relu, pool, flatten, dropout, fc, got 'relu9'"):
        train(tmp_path, [recorder(tmp_path, **option)])


def test_a_network_without_feature_maps(tmp_path):
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=rng), nn.ReLU(), nn.Linear(5, 3, rng=rng))
    train(tmp_path, [recorder(tmp_path, layers=["2"], tsne_layer="1")], model=model)
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert "saliency.png" in names
    assert not any(name.startswith(("features", "filters")) for name in names)
