import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from scratchnet.datasets import Compose, Normalize, ToFloat

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
BATCH = np.random.default_rng(0).integers(0, 256, (5, 3, 7, 9), dtype=np.uint8)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def identical(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ours.tobytes() == theirs.tobytes()


def pil(image):  # (C, H, W)
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


@pytest.mark.parametrize("batch", [EVERY_BYTE, BATCH], ids=["every byte", "colour"])
def test_to_float_is_to_tensor_bit_for_bit(batch):
    theirs = torch.stack([T.ToTensor()(pil(image)) for image in batch]).numpy()
    identical(ToFloat()(batch), theirs)


def test_to_float_in_float64():
    theirs = torch.from_numpy(EVERY_BYTE).to(torch.float64).div(255).numpy()
    identical(ToFloat("float64")(EVERY_BYTE), theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("batch", "mean", "std"),
    [
        (EVERY_BYTE, (0.1307,), (0.3081,)),
        (BATCH, MEAN, STD),
        (BATCH, (0.5,), (0.25,)),
        (BATCH, MEAN, (0.25,)),
        (BATCH[0], MEAN, STD),
        (BATCH[:0], MEAN, STD),
    ],
    ids=["every byte", "colour", "one for all channels", "mixed", "one image", "no image"],
)
def test_normalize_is_torchvisions_bit_for_bit(batch, mean, std, inplace, dtype):
    x = ToFloat(dtype)(batch)
    theirs = T.Normalize(mean, std)(torch.from_numpy(x.copy())).numpy()
    identical(Normalize(mean, std, inplace=inplace)(x), theirs)


def test_a_number_stands_for_every_channel():
    x = ToFloat()(BATCH)
    identical(Normalize(0.5, 0.25)(x), Normalize((0.5,) * 3, (0.25,) * 3)(x))


@pytest.mark.parametrize("inplace", [False, True])
def test_compose_is_torchvisions_bit_for_bit(inplace):
    theirs = T.Compose([T.ToTensor(), T.Normalize(MEAN, STD)])
    ours = Compose([ToFloat(), Normalize(MEAN, STD, inplace=inplace)])
    identical(ours(BATCH), torch.stack([theirs(pil(image)) for image in BATCH]).numpy())


def test_compose_applies_in_order():
    assert Compose([lambda x: x + 1, lambda x: x * 10])(np.array([1])).tolist() == [20]
    assert Compose([])(BATCH) is BATCH


def test_input_stays_as_it_was():
    before = BATCH.copy()
    x = Compose([ToFloat(), Normalize(MEAN, STD, inplace=True)])(BATCH)
    np.testing.assert_array_equal(BATCH, before)
    floats = x.copy()
    y = Normalize(MEAN, STD)(x)
    np.testing.assert_array_equal(x, floats)
    assert not np.shares_memory(x, y)


def test_inplace_writes_into_its_input():
    x = ToFloat()(BATCH)
    assert Normalize(MEAN, STD, inplace=True)(x) is x


@pytest.mark.parametrize("batch", [BATCH[::-1], BATCH.transpose(0, 1, 3, 2), np.asfortranarray(BATCH)])
def test_any_strides(batch):
    transform = Compose([ToFloat(), Normalize(MEAN, STD)])
    out = transform(batch)
    identical(out, transform(np.ascontiguousarray(batch)))
    assert out.flags.c_contiguous


def test_reprs():
    assert repr(Compose([ToFloat(), Normalize(0.1307, 0.3081)])) == (
        "Compose(\n    ToFloat(dtype=float32)\n    Normalize(mean=(0.1307,), std=(0.3081,))\n)"
    )
    assert repr(Normalize(0.5, 0.5, inplace=True)) == "Normalize(mean=(0.5,), std=(0.5,), inplace=True)"
    assert repr(Compose([Compose([ToFloat()])])) == ("Compose(\n    Compose(\n        ToFloat(dtype=float32)\n    )\n)")


@pytest.mark.parametrize("std", [0, 0.0, (0.2, 0.0, 0.3), 1e-60])
def test_std_of_zero(std):
    with pytest.raises(ValueError, match="Normalize: expected a std other than 0"):
        Normalize(0.5, std)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (float("nan"), 1, "mean to be finite, got .nan"),
        (0, float("inf"), "std to be finite, got .inf"),
        (1e300, 1, "mean to be finite"),
        ((), 1, "mean to be a number or one number per channel"),
        ([[0.5]], 1, "mean to be a number or one number per channel"),
        ((0.1, 0.2), (0.1, 0.2, 0.3), "same channels, got 2 and 3"),
    ],
)
def test_normalize_rejects_bad_constants(mean, std, message):
    with pytest.raises(ValueError, match=f"Normalize: expected .*{message}"):
        Normalize(mean, std)


@pytest.mark.parametrize("shape", [(5, 1, 4, 4), (5, 2, 4, 4), (3, 4)])
def test_normalize_rejects_other_channels(shape):
    with pytest.raises(ValueError, match=r"expected a batch of shape \(\.\.\., 3, H, W\), got \("):
        Normalize(MEAN, STD)(np.zeros(shape, np.float32))


def test_wrong_dtypes():
    with pytest.raises(TypeError, match="Normalize: expected a floating-point batch, got uint8"):
        Normalize(MEAN, STD)(BATCH)
    with pytest.raises(TypeError, match="ToFloat: expected a batch of dtype uint8, got float32"):
        ToFloat()(BATCH.astype(np.float32))
    with pytest.raises(ValueError, match="ToFloat: expected dtype float32 or float64, got int32"):
        ToFloat("int32")
    with pytest.raises(TypeError, match="Compose: expected callables, got 3"):
        Compose([ToFloat(), 3])
