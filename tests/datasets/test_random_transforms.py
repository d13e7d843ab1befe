import numpy as np
import pytest
import torch
from torchvision.transforms import functional as TF

from scratchnet.datasets import Compose, RandomCrop, RandomHorizontalFlip, ToFloat, crop, hflip

BATCH = np.random.default_rng(0).integers(1, 256, (12, 3, 8, 10), dtype=np.uint8)
POSITIONS = np.arange(BATCH[0, 0].size, dtype=np.int64).reshape(1, 1, 8, 10)  # a pixel names its place


def torch_crop(image, top, left, height, width, padding):
    return TF.crop(TF.pad(torch.from_numpy(image), [padding] * 4), top, left, height, width).numpy()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("size", "padding"), [((8, 10), 0), ((8, 10), 4), ((5, 7), 0), ((5, 7), 2), (3, 1), (8, 1)])
def test_crop_is_torchvisions(size, padding, dtype):
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng(1)
    images = BATCH.astype(dtype)
    tops = rng.integers(8 + 2 * padding - height + 1, size=12)
    lefts = rng.integers(10 + 2 * padding - width + 1, size=12)
    tops[:2], lefts[:2] = 0, 0
    tops[2:4], lefts[2:4] = 8 + 2 * padding - height, 10 + 2 * padding - width  # the last place
    ours = crop(images, tops, lefts, size, padding)
    theirs = [torch_crop(*each, height, width, padding) for each in zip(images, tops, lefts, strict=True)]
    np.testing.assert_array_equal(ours, np.stack(theirs))
    assert ours.dtype == images.dtype


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_hflip_is_torchvisions(dtype):
    images = BATCH.astype(dtype)
    mask = np.random.default_rng(1).random(12) < 0.5
    ours = hflip(images, mask)
    theirs = [TF.hflip(torch.from_numpy(x)).numpy() if flip else x for x, flip in zip(images, mask, strict=True)]
    np.testing.assert_array_equal(ours, np.stack(theirs))
    assert ours.dtype == images.dtype
    assert 0 < mask.sum() < 12


@pytest.mark.parametrize("images", [BATCH[::-1], np.asfortranarray(BATCH), BATCH.transpose(0, 1, 3, 2)])
def test_any_strides_and_new_arrays(images):
    before = images.copy()
    n = len(images)
    for out in (
        crop(images, np.ones(n, int), np.ones(n, int), 4, 1),
        hflip(images, np.ones(n, bool)),
        hflip(images, np.zeros(n, bool)),
    ):
        assert not np.shares_memory(out, images)
        out[...] = 0
    np.testing.assert_array_equal(images, before)
    contiguous = np.ascontiguousarray(images)
    np.testing.assert_array_equal(
        crop(images, np.ones(n, int), np.ones(n, int), 4, 1), crop(contiguous, np.ones(n, int), np.ones(n, int), 4, 1)
    )
    np.testing.assert_array_equal(hflip(images, np.ones(n, bool)), contiguous[..., ::-1])


def test_empty_batches():
    none = np.zeros(0, int)
    assert crop(BATCH[:0], none, none, (4, 5), 1).shape == (0, 3, 4, 5)
    assert hflip(BATCH[:0], none.astype(bool)).shape == (0, 3, 8, 10)
    assert RandomCrop(4)(BATCH[:0], np.random.default_rng(0)).shape == (0, 3, 4, 4)


def test_every_place_is_drawn_equally_often():
    images = np.repeat(POSITIONS, 6000, axis=0)
    cropped = RandomCrop((6, 8))(images, np.random.default_rng(0))  # 3 × 3 places
    tops, lefts = np.divmod(cropped[:, 0, 0, 0], 10)
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (tops, lefts), 1)
    assert (np.abs(counts - 6000 / 9) < 5 * np.sqrt(6000 / 9)).all()


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_flips_are_as_likely_as_p(p):
    images = np.repeat(POSITIONS, 4000, axis=0)
    flipped = RandomHorizontalFlip(p)(images, np.random.default_rng(0))[:, 0, 0, 0] == 9
    assert abs(flipped.sum() - 4000 * p) <= 5 * np.sqrt(4000 * p * (1 - p))


def test_each_image_is_drawn_for_itself_and_a_seed_decides():
    images = np.repeat(POSITIONS, 12, axis=0)
    for transform in (RandomCrop(6, padding=2), RandomHorizontalFlip()):
        once = transform(images, np.random.default_rng(3))
        assert len({image.tobytes() for image in once}) > 1
        np.testing.assert_array_equal(once, transform(images, np.random.default_rng(3)))
        assert (once != transform(images, np.random.default_rng(4))).any()


def test_crops_of_the_whole_range_with_padding_reach_both_ends():
    cropped = RandomCrop((8, 10), padding=4)(np.repeat(POSITIONS + 1, 3000, axis=0), np.random.default_rng(0))
    black_rows_above = (cropped[:, 0].max(axis=2) == 0).cumprod(axis=1).sum(axis=1)
    black_rows_below = (cropped[:, 0, ::-1].max(axis=2) == 0).cumprod(axis=1).sum(axis=1)
    assert set(black_rows_above) == set(black_rows_below) == {0, 1, 2, 3, 4}


def test_compose_hands_the_generator_on():
    transform = Compose([RandomCrop(6, padding=1), Compose([RandomHorizontalFlip()]), ToFloat()])
    assert transform.random is True
    assert Compose([ToFloat()]).random is False
    rng = np.random.default_rng(5)
    expected = ToFloat()(RandomHorizontalFlip()(RandomCrop(6, padding=1)(BATCH, rng), rng))
    np.testing.assert_array_equal(transform(BATCH, np.random.default_rng(5)), expected)
    assert Compose([ToFloat()])(BATCH).dtype == np.float32
    with pytest.raises(TypeError, match=r"RandomCrop: expected a numpy Generator as the second argument, got None"):
        transform(BATCH)


def test_reprs():
    transform = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip(), ToFloat()])
    assert repr(transform) == (
        "Compose(\n    RandomCrop(size=(32, 32), padding=4)\n    RandomHorizontalFlip(p=0.5)\n"
        "    ToFloat(dtype=float32)\n)"
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RandomCrop(0), ValueError, "RandomCrop: expected size of at least 1, got 0"),
        (lambda: RandomCrop((4, -1)), ValueError, "RandomCrop: expected size of at least 1, got -1"),
        (lambda: RandomCrop((4, 4, 4)), ValueError, r"RandomCrop: expected size to be .*got \(4, 4, 4\)"),
        (lambda: RandomCrop(4.5), TypeError, "RandomCrop: expected size in whole pixels, got 4.5"),
        (lambda: RandomCrop(True), ValueError, "RandomCrop: expected size of at least 1, got True"),
        (lambda: RandomCrop(4, padding=-1), ValueError, "RandomCrop: expected padding of at least 0, got -1"),
        (lambda: RandomCrop(4, padding="1"), TypeError, "RandomCrop: expected padding in whole pixels, got '1'"),
        (lambda: RandomHorizontalFlip(1.1), ValueError, "RandomHorizontalFlip: expected p between 0 and 1, got 1.1"),
        (lambda: RandomHorizontalFlip(float("nan")), ValueError, "expected p between 0 and 1, got nan"),
        (lambda: RandomHorizontalFlip("0.5"), TypeError, "expected p to be a number, got '0.5'"),
        (lambda: RandomHorizontalFlip()(BATCH[0], np.random.default_rng(0)), ValueError, r"got \(3, 8, 10\)"),
        (lambda: RandomCrop(4)(BATCH[0], np.random.default_rng(0)), ValueError, r"\(N, C, H, W\), got \(3, 8, 10\)"),
        (
            lambda: RandomCrop((8, 13), padding=1)(BATCH, np.random.default_rng(0)),
            ValueError,
            "RandomCrop: expected images of at least 8×13 with their padding of 1, got 8×10",
        ),
        (lambda: RandomHorizontalFlip()(BATCH, 3), TypeError, "a numpy Generator as the second argument, got 3"),
        (lambda: crop(BATCH, np.zeros(3, int), np.zeros(12, int), 4), ValueError, r"crop: expected tops to be 12 int"),
        (lambda: crop(BATCH, np.zeros(12, int), np.zeros(12), 4), ValueError, "lefts to be 12 integers, got float64"),
        (lambda: crop(BATCH, np.full(12, 5), np.zeros(12, int), 4), ValueError, "tops between 0 and 4, got 5 … 5"),
        (lambda: crop(BATCH, np.zeros(12, int), np.full(12, -1), 4), ValueError, "lefts between 0 and 6, got -1 … -1"),
        (lambda: crop(BATCH, np.zeros(12, int), np.zeros(12, int), 9), ValueError, "tops between 0 and -1"),
        (lambda: crop(BATCH, np.zeros(12, int), np.zeros(12, int), 4, -1), ValueError, "padding of at least 0, got -1"),
        (lambda: hflip(BATCH, np.ones(12)), ValueError, "hflip: expected a mask of 12 bools, got float64"),
        (lambda: hflip(BATCH, np.ones(3, bool)), ValueError, r"hflip: expected a mask of 12 bools, got bool of shape"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
