"""The networks: their figures, the names that tutorials' checkpoints have, their activations, their errors."""

import inspect
import re

import numpy as np
import pytest
import torch

from scratchnet import models, nn
from torch_ref.models import MODELS as TORCH_MODELS

NAMES = [(family, name) for family, found in models.MODELS.items() for name in found]
SHAPES = {"mnist": (2, 1, 28, 28), "cifar10": (2, 3, 32, 32)}
PARAMETERS = {
    ("mnist", "cnn"): 28_938,
    ("mnist", "dropout"): 207_258,
    ("mnist", "mlp"): 269_322,
    ("mnist", "lenet5"): 61_706,
    ("mnist", "deep"): 101_306,
    ("cifar10", "cnn"): 554_890,
    ("cifar10", "simple"): 1_059_306,
    ("cifar10", "resnet20"): 272_474,
    ("cifar10", "resnet8"): 1_972_802,
}

pytestmark = pytest.mark.filterwarnings("ignore:.*dropout2d")


@pytest.mark.parametrize(("family", "name"), NAMES)
def test_parameters(family, name):
    ours = sum(p.size for p in models.build(family, name, rng=0).parameters())
    theirs = sum(p.numel() for p in TORCH_MODELS[family][name]().parameters())
    assert ours == theirs == PARAMETERS[family, name]


@pytest.mark.parametrize(("family", "name"), NAMES)
def test_a_twin_gives_the_same_logits_in_evaluation(family, name):
    theirs = TORCH_MODELS[family][name](num_classes=7).double().eval()
    ours = models.build(family, name, num_classes=7, rng=0).double().eval()
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).uniform(0, 1, SHAPES[family])
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    assert expected.shape == (2, 7)
    np.testing.assert_allclose(ours(x), expected, rtol=0, atol=1e-12 * np.linalg.norm(expected))


@pytest.mark.parametrize(("family", "name"), NAMES)
def test_the_same_seed_gives_the_same_weights(family, name):
    first, again, other = (models.build(family, name, rng=seed).state_dict() for seed in (0, 0, 1))
    assert all((first[key] == again[key]).all() for key in first)
    assert any((first[key] != other[key]).any() for key in first)


@pytest.mark.parametrize(("family", "name"), NAMES)
def test_the_shapes_in_the_comments_are_true(family, name):
    """A chain's steps are commented with what they give: ("conv1", self.conv1),  # (N, 16, 14, 14)."""
    model = models.build(family, name, rng=0)
    activations = model.activations(np.zeros(SHAPES[family], "float32"))
    commented = re.findall(r'\("(\w+)", .*\),  # \(N, ([\d, ]+)\)', inspect.getsource(type(model)))
    assert len(commented) >= 4
    for step, shape in commented:
        assert activations[step].shape == (2, *map(int, shape.split(", "))), step


def test_system_a_shows_its_1568_features():
    features = models.MnistCNN(rng=0).activations(np.zeros((3, 1, 28, 28), "float32"))["flatten"]
    assert features.shape == (3, 1568)


def test_system_b_shows_its_two_feature_maps():
    activations = models.MnistDropoutCNN(rng=0).activations(np.zeros((1, 1, 28, 28), "float32"))
    assert activations["relu1"].shape == (1, 4, 28, 28)
    assert activations["relu2"].shape == (1, 8, 14, 14)


def test_a_layer_used_twice_has_two_names_and_one_state():
    model = models.MnistDropoutCNN(rng=0)
    steps = dict(model.chain)
    assert steps["pool1"] is steps["pool2"]
    assert [name for name, _ in model.named_modules()].count("pool") == 1


def test_the_error_for_a_wrong_image_size_says_what_fc1_expected():
    with pytest.raises(
        ValueError, match=r"fc1: linear: expected 2048 input features .* got an input of shape \(1, 8192\)"
    ):
        models.CifarSimpleCNN(rng=0)(np.zeros((1, 3, 64, 64), "float32"))
    assert models.CifarSimpleCNN(image_size=64, rng=0)(np.zeros((1, 3, 64, 64), "float32")).shape == (1, 10)


@pytest.mark.parametrize(("family", "name"), NAMES)
def test_a_checkpoint_written_by_torch_loads(tmp_path, family, name):
    theirs = TORCH_MODELS[family][name]()
    torch.save(theirs.state_dict(), tmp_path / "model.pt")
    ours = models.build(family, name, rng=0)
    ours.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    for key, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[key], value.numpy(), err_msg=key)


def test_every_step_of_every_model_is_a_module_with_its_own_name():
    for family, name in NAMES:
        model = models.build(family, name, rng=0)
        names = [step for step, _ in model.chain]
        assert len(set(names)) == len(names)
        assert all(isinstance(module, nn.Module) for _, module in model.chain)


def test_resnet8_whitens_the_patches_of_images():
    """Over the patches of the images the first half of its first convolution's outputs, and the other, is white."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((200, 3, 1, 32)) + 0.1 * rng.standard_normal((200, 3, 32, 32))  # equal lines, nearly
    for model in (models.ResNet8(rng=0).double(), TORCH_MODELS["cifar10"]["resnet8"]().double()):
        model.init_from_images(images)
        weight = np.asarray(model.state_dict()["whiten.weight"])
        np.testing.assert_array_equal(weight[12:], -weight[:12])
        y = np.lib.stride_tricks.sliding_window_view(images, (2, 2), (2, 3))
        y = np.einsum("nchwuv,ocuv->onhw", y, weight[:12]).reshape(12, -1)
        moments = y @ y.T / y.shape[1]
        np.testing.assert_allclose(np.diag(moments)[:6], 1, atol=0.01)
        np.testing.assert_allclose(np.diag(moments)[6:], 1, atol=0.06)  # ε takes some from the least directions
        np.testing.assert_allclose(moments - np.diag(np.diag(moments)), 0, atol=1e-9)


def test_resnet8_does_not_train_its_first_weights():
    model = models.ResNet8(rng=0)
    model.backward(np.ones_like(model(np.ones((2, 3, 32, 32), "float32"))))
    assert model.whiten.weight.grad is None
    assert model.whiten.bias.grad is not None


@pytest.mark.parametrize("shape", [(3, 32, 32), (0, 3, 32, 32), (5, 3, 1, 32)])
def test_whitening_needs_images(shape):
    with pytest.raises(ValueError, match=re.escape(f"at least 2 × 2, got an array of shape {shape}")):
        models.ResNet8(rng=0).init_from_images(np.zeros(shape))
