"""Dropout: the values, the mask, and the random numbers behind it."""

import math

import numpy as np
import pytest
import torch
from parity_cases import DTYPES, normal

from scratchnet import functional as F
from scratchnet.kernels.loops.dropout import philox4x32
from scratchnet.ops.dropout import keep_mask, philox

ONES = np.ones((100, 100))


def mask_of(x=ONES, p=0.5, **options):
    return F.dropout(x, p, **options)[0] != 0


def deviation(n, failures=1e-9):
    """How far a count of n coin tosses may be from its mean: by chance further only once in 10⁹ (Hoeffding)."""
    return math.sqrt(n * math.log(2 / failures) / 2)


def agreements_are_chance(a, b, p):
    """Whether two masks agree as often as independent ones, which do with probability p² + (1 − p)²."""
    return abs((a == b).sum() - a.size * (p * p + (1 - p) ** 2)) <= deviation(a.size)


# The random numbers: known answers of Random123 (kat_vectors, philox4x32 10)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter, key, expected):
    counter, key, expected = ([int(word, 16) for word in words.split()] for words in (counter, key, expected))
    assert philox4x32(tuple(counter), tuple(key)) == tuple(expected)


def test_philox_of_many_counters_is_philox_of_each():
    """The array form against the scalar one, which the known answers cover, up to the ends of every word."""
    rng = np.random.default_rng(0)
    draws = [(tuple(map(int, rng.integers(2**32, size=2))), int(rng.integers(2**63))) for _ in range(20)]
    ends = [((0, 0), 0), ((2**32 - 1, 2**32 - 1), 2**64 - 1), ((0, 2**32 - 1), 2**32), ((1, 2), 2**32 - 1)]
    for key, call in draws + ends:
        words = [philox4x32((block, 0, call % 2**32, call >> 32), key) for block in range(3)]
        np.testing.assert_array_equal(philox(key, call, 11, np), np.ravel(words)[:11])
    assert philox((0, 0), 0, 4, np).tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4, 5), ()])
@pytest.mark.parametrize("layout", [np.array, lambda a: np.array(a, order="F")])
def test_the_mask_is_a_function_of_seed_stream_and_call_on_every_rung(p, shape, layout):
    """Bit r of an element, counted in row-major order, keeps it if r ≥ p·2³²."""
    x = layout(np.ones(shape))
    for seed, stream, call in ((0, 0, 0), (1, 2, 3), (2**32 - 1, 5, 2**64 - 1), (5, 2**32 - 1, 2**32)):
        expected = keep_mask(shape, p, (seed, stream), call, np)
        np.testing.assert_array_equal(mask_of(x, p, seed=seed, stream=stream, call=call), expected)


def test_a_mask_worked_by_hand():
    """Of the first known answer, 6627e8d5 e169c58d bc57ac4c 9b00dbd8, only the first is below 2³¹."""
    np.testing.assert_array_equal(mask_of(np.ones(4)), [False, True, True, True])


# Values and gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("op", ["dropout", "dropout2d"])
def test_values_are_zero_or_scaled_and_backward_uses_the_same_mask(op, p, dtype):
    x, dy = normal(20, 5, 3, 2).astype(dtype), normal(20, 5, 3, 2, seed=1).astype(dtype)
    before = x.tobytes(), dy.tobytes()
    y, cache = getattr(F, op)(x, p, seed=1)
    F.dropout(-x, p, seed=2)
    dx = F.dropout_backward(dy, cache)
    assert (x.tobytes(), dy.tobytes()) == before
    kept = y != 0
    assert kept.any()
    assert kept.all() == (p == 0)
    eps = 2 * np.finfo(dtype).eps
    for ours, given in ((y, x), (dx, dy)):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours[kept], given[kept] / (1 - p), rtol=eps, atol=0)
        np.testing.assert_array_equal(ours[~kept], 0)


def test_nothing_is_dropped_at_zero():
    x = normal(5, 6)
    y, cache = F.dropout(x, 0)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(F.dropout_backward(x, cache), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_everything_is_dropped_at_one(dtype):
    """1/(1 − p) is infinite there; nothing may become NaN."""
    x = normal(5, 6).astype(dtype)
    y, cache = F.dropout(x, 1.0)
    dx = F.dropout_backward(x, cache)
    np.testing.assert_array_equal(y, np.zeros((5, 6)))
    np.testing.assert_array_equal(dx, np.zeros((5, 6)))
    assert y.dtype == dx.dtype == dtype
    assert not torch.nn.functional.dropout(torch.ones(5), 1.0).any()


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_p_is_a_probability(p):
    with pytest.raises(ValueError, match="probability p between 0 and 1"):
        F.dropout(ONES, p)


def test_empty_batch():
    y, cache = F.dropout(np.ones((0, 3)))
    assert y.shape == F.dropout_backward(y, cache).shape == (0, 3)


# Statistics


@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.8])
def test_keep_rate(p):
    for call in range(3):
        assert abs(mask_of(p=p, call=call).sum() - ONES.size * (1 - p)) <= deviation(ONES.size)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_masks_of_other_calls_streams_and_seeds_are_unrelated(p):
    options = [{}, {"call": 1}, {"call": 2}, {"call": 2**32}, {"stream": 1}, {"stream": 2}, {"seed": 1}, {"seed": 2}]
    masks = [mask_of(p=p, **each) for each in options]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert agreements_are_chance(a, b, p)


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8, 100])
def test_neighbours_are_unrelated(lag):
    """Within a block, from block to block, and from row to row."""
    mask = mask_of().ravel()
    assert agreements_are_chance(mask[lag:], mask[:-lag], 0.5)


# Whole channels


def test_dropout2d_drops_whole_channels():
    y, cache = F.dropout2d(np.ones((50, 40, 2, 3)), 0.3, seed=4)
    channel = y[:, :, :1, :1]
    np.testing.assert_array_equal(y, np.broadcast_to(channel, y.shape))
    assert abs((channel != 0).sum() - 2000 * 0.7) <= deviation(2000)
    dx = F.dropout_backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dx, y)
    expected = keep_mask((50, 40), 0.3, (4, 0), 0, np)
    np.testing.assert_array_equal(channel[:, :, 0, 0] != 0, expected)


def test_dropout2d_on_other_shapes_warns_as_torch():
    """(N, C): single elements; (N, C, L): whole channels of a batch."""
    for shape in ((60, 40), (60, 40, 3)):
        with pytest.warns(UserWarning, match="dropout2d"):
            y, _ = F.dropout2d(np.ones(shape), 0.5)
        with pytest.warns(UserWarning, match="dropout2d"):
            theirs = torch.nn.functional.dropout2d(torch.ones(shape), 0.5).numpy()
        for a in (y, theirs):
            rows = a.reshape(60, 40, -1)
            assert (rows == rows[..., :1]).all()
            assert 0 < (rows[..., 0] != 0).mean(axis=1).min() < (rows[..., 0] != 0).mean(axis=1).max() < 1
    with pytest.raises(ValueError, match="dropout2d"):
        F.dropout2d(np.ones(5))
