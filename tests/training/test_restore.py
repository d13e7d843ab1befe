"""From a checkpoint back to a model that can be used."""

import dataclasses
import json

import numpy as np
import pytest
from small_runs import held_out, loader, trainer
from trained_runs import folder_of_shades, train

from scratchnet import models, recipes
from scratchnet.training import CheckpointError, load_checkpoint, save_checkpoint
from scratchnet.training.restore import open_split, recipe_from, restore

SHORT = ["mnist", "--limit-batches", "3", "--epochs", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """System B, with dropout, averaged weights and normalisation."""
    return train(tmp_path_factory.mktemp("restore") / "run", *SHORT, "--model", "dropout", "--ema", "0.9")


def altered(run, tmp_path, **changes):
    """The run's checkpoint with other settings in its metadata."""
    checkpoint = load_checkpoint(run)
    for name, value in changes.items():
        part = checkpoint.metadata["run"]
        for key in name.split("__")[:-1]:
            part = part[key]
        part[name.split("__")[-1]] = value
    return save_checkpoint(checkpoint, tmp_path / "x.safetensors")


def test_the_model_is_the_one_that_was_measured(run):
    restored = restore(run)
    checkpoint = load_checkpoint(run)
    assert restored.checkpoint.path == run / "best.safetensors"
    assert not restored.model.training
    assert checkpoint.ema
    for name, value in restored.model.state_dict().items():
        np.testing.assert_array_equal(value, checkpoint.ema[name])
    assert restored.classes == tuple("0123456789")
    assert restored.image_shape == (1, 28, 28)
    test = open_split(restored, "test")
    right = 0
    for i in range(0, len(test), 1000):
        logits = restored.model(restored.transform(test.images[i : i + 1000]))
        right += int((logits.argmax(axis=1) == test.labels[i : i + 1000]).sum())
    from scratchnet.training.run import read_metrics

    assert right / len(test) == float(read_metrics(run / "metrics.csv")[-1]["test_accuracy"])


def test_the_recipe_is_the_one_that_was_trained(run):
    expected = dataclasses.replace(recipes.find("mnist", "dropout"), ema=0.9, epochs=1)
    assert restore(run).recipe == expected
    assert restore(load_checkpoint(run / "last.safetensors")).recipe == expected


@pytest.mark.parametrize("family", recipes.RECIPES)
def test_every_recipe_survives_json(family):
    for model in recipes.RECIPES[family].values():
        for recipe in model.values():
            assert recipe_from(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe
            assert recipe_from({**dataclasses.asdict(recipe), "of a later version": 1}) == recipe


def test_float64(tmp_path):
    restored = restore(train(tmp_path / "run", *SHORT, "--model", "mlp", "--dtype", "float64"))
    assert {str(p.dtype) for p in restored.model.parameters()} == {"float64"}
    assert restored.transform(np.zeros((1, 1, 28, 28), np.uint8)).dtype == np.float64


def test_classes_of_a_folder(tmp_path):
    dataset = folder_of_shades(tmp_path / "shades")
    restored = restore(train(tmp_path / "run", dataset, "--epochs", "1", "--batch-size", "10"))
    assert restored.classes == ("black", "grey", "white")
    assert restored.model(np.zeros((2, 1, 28, 28), "float32")).shape == (2, 3)
    assert len(open_split(restored, "train")) == 60
    (tmp_path / "shades" / "train" / "grey").rename(tmp_path / "shades" / "train" / "gray")
    (tmp_path / "shades" / "test" / "grey").rename(tmp_path / "shades" / "test" / "gray")
    with pytest.raises(CheckpointError, match=r"tells black, grey, white apart, but .* now has black, gray, white"):
        open_split(restored, "train")


def test_a_users_own_run_says_how_to_load_it(tmp_path):
    t = trainer(tmp_path / "run")
    t.fit(loader(), held_out())
    with pytest.raises(CheckpointError, match=r"own with a Sequential, .* use model.load_state_dict") as caught:
        restore(tmp_path / "run")
    assert str(tmp_path / "run" / "best.safetensors") in str(caught.value)
    t.model.load_state_dict(load_checkpoint(tmp_path / "run").weights)  # what the message says


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe__model": "mlp"},
        {"recipe__model": "vgg"},
        {"recipe__family": "cifar10"},
        {"recipe__family": "imagenet"},
        {"classes": ["a", "b"]},
        {"options__dtype": "float16"},
        {"recipe": {}},
        {"recipe": {"family": "mnist"}},
        {"options": {}},
    ],
)
def test_a_checkpoint_that_does_not_fit_what_it_names(run, tmp_path, changes):
    path = altered(run, tmp_path, **changes)
    with pytest.raises(CheckpointError, match="does not fit the model it names") as caught:
        restore(path)
    assert str(path) in str(caught.value)


def test_damaged_and_missing_files(run, tmp_path):
    with pytest.raises(CheckpointError, match="expected a run folder"):
        restore(tmp_path)
    data = bytearray((run / "best.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "best.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum differs"):
        restore(tmp_path)


def test_building_draws_nothing_that_is_kept(run):
    assert all(
        np.array_equal(a, b)
        for a, b in zip(restore(run).model.state_dict().values(), restore(run).model.state_dict().values(), strict=True)
    )
    fresh = models.build("mnist", "dropout", 10, np.random.default_rng(0)).state_dict()
    assert not any(np.array_equal(value, fresh[name]) for name, value in restore(run).model.state_dict().items())
