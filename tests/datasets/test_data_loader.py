import itertools
import json

import numpy as np
import pytest

from scratchnet.datasets import (
    ArrayDataset,
    Compose,
    DataLoader,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    ToFloat,
)

N = 23
DATASET = ArrayDataset(
    "toy",
    "train",
    np.random.default_rng(1).integers(0, 256, (N, 2, 3, 4), dtype=np.uint8),
    np.arange(N),  # a label names its sample
    tuple(map(str, range(N))),
)


def labels_of(batches):
    return [labels.tolist() for _, labels in batches]


def epochs(loader, n):
    return [labels_of(loader) for _ in range(n)]


def restored(state, **options):
    loader = DataLoader(DATASET, **options)
    loader.load_state_dict(json.loads(json.dumps(state)))
    return loader


def test_batches_in_order_with_a_short_last_one():
    loader = DataLoader(DATASET, batch_size=5)
    batches = list(loader)
    assert len(loader) == len(batches) == 5
    assert labels_of(batches) == [list(range(i, min(i + 5, N))) for i in range(0, N, 5)]
    for x, labels in batches:
        assert x.dtype == np.float32
        assert x.flags.c_contiguous
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(x, ToFloat()(DATASET.images[labels]))


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "limit", "sizes"),
    [
        (5, True, None, [5] * 4),
        (5, False, 2, [5, 5]),
        (5, False, 5, [5] * 4 + [3]),
        (5, True, 9, [5] * 4),
        (23, False, None, [23]),
        (23, True, None, [23]),
        (24, False, None, [23]),
        (24, True, None, []),
        (1, False, None, [1] * 23),
    ],
)
def test_sizes(batch_size, drop_last, limit, sizes):
    loader = DataLoader(DATASET, batch_size, drop_last=drop_last, limit_batches=limit)
    assert [len(labels) for _, labels in loader] == sizes
    assert len(loader) == len(sizes)


def test_an_empty_dataset():
    loader = DataLoader(DATASET.subset(0), batch_size=5)
    assert len(loader) == 0
    assert list(loader) == []


def test_shuffling_keeps_images_with_their_labels_and_visits_every_sample_once():
    loader = DataLoader(DATASET, 5, shuffle=True, rng=0)
    first, second = epochs(loader, 2)
    for epoch in (first, second):
        assert sorted(itertools.chain(*epoch)) == list(range(N))
    assert first != second
    for x, labels in loader:
        np.testing.assert_array_equal(x, ToFloat()(DATASET.images[labels]))


def test_a_seed_decides_the_order():
    def run(rng):
        return epochs(DataLoader(DATASET, 5, shuffle=True, rng=rng), 3)

    assert run(7) == run(7) == run(np.int64(7)) == run(np.random.default_rng(7))
    assert run(7) != run(8)
    assert run(None) != run(None)
    order = np.random.default_rng(7).permutation(N)
    assert list(itertools.chain(*run(7)[0])) == order.tolist()


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    epochs(DataLoader(DATASET, 5, shuffle=True), 1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_permutation_is_drawn_at_iter():
    generator = np.random.default_rng(0)
    iterator = iter(DataLoader(DATASET, 5, shuffle=True, rng=generator))
    generator.random(100)
    assert labels_of(iterator) == epochs(DataLoader(DATASET, 5, shuffle=True, rng=0), 1)[0]


def test_a_transform_is_applied_to_the_batch():
    transform = Compose([ToFloat("float64"), Normalize((0.1, 0.2), (0.3, 0.4), inplace=True)])
    x, labels = next(iter(DataLoader(DATASET, 5, transform=transform)))
    np.testing.assert_array_equal(x, transform(DATASET.images[labels]))
    turned = DataLoader(DATASET, 5, transform=lambda b: ToFloat()(b).transpose(0, 1, 3, 2))
    x, labels = next(iter(turned))
    assert x.shape == (5, 2, 4, 3)
    assert x.flags.c_contiguous


def test_batches_are_new_arrays():
    loader = DataLoader(DATASET, 5)
    for x, labels in loader:
        x[:] = -1
        labels[:] = -1
    again = list(loader)
    assert labels_of(again)[0] == [0, 1, 2, 3, 4]
    assert not np.shares_memory(again[0][0], again[1][0])
    np.testing.assert_array_equal(again[0][0], ToFloat()(DATASET.images[:5]))


BIT_GENERATORS = [
    np.random.PCG64,
    np.random.PCG64DXSM,
    np.random.MT19937,
    np.random.Philox,
    np.random.SFC64,
]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("taken_after", range(6))
def test_a_loader_restored_within_an_epoch_goes_on_as_the_first_did(taken_after, drop_last):
    options = {"batch_size": 5, "shuffle": True, "drop_last": drop_last}
    loader = DataLoader(DATASET, rng=3, **options)
    epochs(loader, 2)
    iterator = iter(loader)
    done = labels_of(itertools.islice(iterator, taken_after))
    state = loader.state_dict()
    rest, following = labels_of(iterator), epochs(loader, 2)

    other = restored(state, rng=99, **options)
    assert other.state_dict() == state
    # Asked for more batches than there are, the epoch has ended: the state is that of the next one's start.
    if taken_after > len(loader):
        assert epochs(other, 2) == following
    else:
        assert len(done) + len(rest) == len(loader)
        assert labels_of(other) == rest
        assert epochs(other, 2) == following


@pytest.mark.parametrize("bit_generator", BIT_GENERATORS)
def test_every_bit_generator_is_restored(bit_generator):
    loader = DataLoader(DATASET, 5, shuffle=True, rng=np.random.Generator(bit_generator(3)))
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    rest, following = labels_of(iterator), epochs(loader, 1)
    other = restored(state, batch_size=5, shuffle=True, rng=np.random.Generator(bit_generator(4)))
    assert labels_of(other) == rest
    assert epochs(other, 1) == following


def test_a_loader_restored_between_epochs_starts_the_next_one():
    loader = DataLoader(DATASET, 5, shuffle=True, rng=3)
    fresh = loader.state_dict()
    first = labels_of(loader)
    between = loader.state_dict()
    second = labels_of(loader)
    assert epochs(restored(fresh, batch_size=5, shuffle=True), 2) == [first, second]
    assert epochs(restored(between, batch_size=5, shuffle=True), 1) == [second]
    other_size = restored(between, batch_size=7, shuffle=True)
    assert list(itertools.chain(*labels_of(other_size))) == list(itertools.chain(*second))


def test_state_taken_in_the_loop_of_the_last_batch_leaves_an_empty_rest():
    loader = DataLoader(DATASET, 5, shuffle=True, rng=3)
    for _ in loader:
        state = loader.state_dict()
    following = epochs(loader, 2)
    other = restored(state, batch_size=5, shuffle=True)
    assert labels_of(other) == []
    assert epochs(other, 2) == following


def test_an_epoch_left_early_is_not_resumed_by_itself():
    loader = DataLoader(DATASET, 5)
    next(iter(loader))
    assert labels_of(loader)[0] == [0, 1, 2, 3, 4]
    loader.load_state_dict({**loader.state_dict(), "next_batch": 3})
    assert [len(epoch) for epoch in epochs(loader, 2)] == [2, 5]


def test_limited_epochs_are_resumed():
    options = {"batch_size": 5, "shuffle": True, "limit_batches": 3}
    loader = DataLoader(DATASET, rng=3, **options)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    rest, following = labels_of(iterator), epochs(loader, 2)
    assert len(rest) == 2
    other = restored(state, **options)
    assert [labels_of(other), *epochs(other, 2)] == [rest, *following]


def test_state_without_shuffling():
    loader = DataLoader(DATASET, 5)
    next(iter(loader))
    state = loader.state_dict()
    assert state == {"rng": None, "next_batch": 1, "batch_size": 5, "samples": N}
    assert labels_of(restored(state, batch_size=5))[0] == [5, 6, 7, 8, 9]


def test_an_older_iterator_does_not_move_the_newer_ones_state():
    loader = DataLoader(DATASET, 5)
    old = iter(loader)
    next(old)
    new = iter(loader)
    list(old)
    assert loader.state_dict()["next_batch"] == 0
    next(new)
    assert loader.state_dict()["next_batch"] == 1


def test_a_failing_transform_does_not_count_as_a_batch():
    loader = DataLoader(DATASET, 5, transform=lambda batch: batch)
    with pytest.raises(TypeError, match="expected transform to return a floating-point array, got uint8"):
        next(iter(loader))
    assert loader.state_dict()["next_batch"] == 0


AUGMENTED = Compose([RandomCrop((3, 4), padding=1), RandomHorizontalFlip(), ToFloat()])


def pixels_of(batches):
    return [x.tobytes() for x, _ in batches]


@pytest.mark.parametrize("shuffle", [False, True])
def test_random_transforms_draw_anew_in_every_batch_and_epoch_and_a_seed_decides(shuffle):
    def run(rng):
        loader = DataLoader(DATASET, 5, shuffle=shuffle, rng=rng, transform=AUGMENTED)
        return [pixels_of(loader) for _ in range(3)]

    assert run(7) == run(7) == run(np.random.default_rng(7))
    assert run(7) != run(8)
    assert len(set(itertools.chain(*run(7)))) == 15
    images = np.broadcast_to(np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4), (40, 1, 3, 4))
    same = ArrayDataset("toy", "train", images, np.zeros(40, int), ("a",))
    batches = pixels_of(DataLoader(same, 10, shuffle=shuffle, rng=7, transform=AUGMENTED))
    assert len(set(batches)) == 4  # of equal images, so it is the draws that differ


def test_random_transforms_leave_the_order_and_the_labels_alone():
    plain = labels_of(DataLoader(DATASET, 5, shuffle=True, rng=7))
    augmented = DataLoader(DATASET, 5, shuffle=True, rng=7, transform=AUGMENTED)
    assert labels_of(augmented) == plain
    assert labels_of(DataLoader(DATASET, 5, rng=7, transform=AUGMENTED)) == labels_of(DataLoader(DATASET, 5))
    flipped = Compose([RandomHorizontalFlip(1.0), ToFloat()])
    for x, labels in DataLoader(DATASET, 5, shuffle=True, rng=7, transform=flipped):
        np.testing.assert_array_equal(x, ToFloat()(DATASET.images[labels])[..., ::-1])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("taken_after", range(6))
def test_random_transforms_go_on_as_they_would_have(taken_after, shuffle):
    options = {"batch_size": 5, "shuffle": shuffle, "transform": AUGMENTED}
    loader = DataLoader(DATASET, rng=3, **options)
    epochs(loader, 1)
    iterator = iter(loader)
    list(itertools.islice(iterator, taken_after))
    state = loader.state_dict()
    rest = pixels_of(iterator)
    following = [pixels_of(loader) for _ in range(2)]

    other = restored(state, rng=99, **options)
    assert pixels_of(other) == rest
    assert [pixels_of(other) for _ in range(2)] == following


@pytest.mark.parametrize("bit_generator", BIT_GENERATORS)
def test_random_transforms_with_every_bit_generator(bit_generator):
    def loader(seed):
        rng = np.random.Generator(bit_generator(seed))
        return DataLoader(DATASET, 5, shuffle=True, rng=rng, transform=AUGMENTED)

    first, second = loader(1), loader(2)
    iterator = iter(first)
    next(iterator)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert pixels_of(second) == pixels_of(iterator)


def test_a_random_transform_needs_the_state_of_a_generator():
    with pytest.raises(ValueError, match="the state of a loader with a random transform, got one with shuffle=False"):
        DataLoader(DATASET, 5, transform=AUGMENTED).load_state_dict(DataLoader(DATASET, 5).state_dict())


GOOD = DataLoader(DATASET, 5, shuffle=True, rng=0).state_dict()
BAD_STATES = {
    "no next_batch": ({k: v for k, v in GOOD.items() if k != "next_batch"}, "a state with next_batch, got"),
    "negative": ({**GOOD, "next_batch": -1}, "next_batch between 0 and 5, got -1"),
    "too far": ({**GOOD, "next_batch": 6}, "next_batch between 0 and 5, got 6"),
    "a fraction": ({**GOOD, "next_batch": 1.5}, "next_batch between 0 and 5, got 1.5"),
    "batch size": ({**GOOD, "next_batch": 1, "batch_size": 4}, "batch_size 4: expected the same here, got 5"),
    "samples": ({**GOOD, "next_batch": 1, "samples": 20}, "samples 20: expected the same here, got 23"),
    "not shuffled": ({**GOOD, "rng": None}, "with shuffle=True, got one with shuffle=False"),
    "other generator": (
        {**GOOD, "rng": {**GOOD["rng"], "bit_generator": "MT19937"}},
        "a state of the PCG64 generator, got",
    ),
    "no generator": ({**GOOD, "rng": {}}, "a state of the PCG64 generator, got {}"),
    "broken generator": (
        {**GOOD, "rng": {**GOOD["rng"], "state": {"state": 1}}},
        "a state of the PCG64 generator, got",
    ),
    "word for a number": (
        {**GOOD, "rng": {**GOOD["rng"], "state": {"state": "1", "inc": 1}}},
        "a state of the PCG64 generator, got",
    ),
}


@pytest.mark.parametrize(("state", "message"), BAD_STATES.values(), ids=BAD_STATES.keys())
def test_a_bad_state_is_rejected_and_changes_nothing(state, message):
    loader = DataLoader(DATASET, 5, shuffle=True, rng=11)
    with pytest.raises(ValueError, match=f"DataLoader: .*{message}"):
        loader.load_state_dict(state)
    assert epochs(loader, 2) == epochs(DataLoader(DATASET, 5, shuffle=True, rng=11), 2)


@pytest.mark.parametrize("bit_generator", BIT_GENERATORS)
def test_half_a_generator_state_changes_nothing(bit_generator):
    loader = DataLoader(DATASET, 5, shuffle=True, rng=np.random.Generator(bit_generator(3)))
    before = loader.state_dict()
    advanced = DataLoader(DATASET, 5, shuffle=True, rng=np.random.Generator(bit_generator(4))).state_dict()
    keys = [key for key in advanced["rng"] if key != "bit_generator"]
    inner = advanced["rng"]["state"]
    broken = [{k: v for k, v in advanced["rng"].items() if k != key} for key in keys]
    broken += [{**advanced["rng"], "state": {k: v for k, v in inner.items() if k != key}} for key in inner]
    for rng_state in broken:
        with pytest.raises(ValueError, match=f"a state of the {bit_generator.__name__} generator, got"):
            loader.load_state_dict({**advanced, "rng": rng_state})
        assert loader.state_dict() == before


def test_other_states_are_rejected():
    with pytest.raises(ValueError, match="with shuffle=False, got one with shuffle=True"):
        DataLoader(DATASET, 5).load_state_dict(GOOD)
    with pytest.raises(TypeError, match="a state that is a dict, got NoneType"):
        DataLoader(DATASET, 5).load_state_dict(None)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size of at least 1, got 0"),
        ({"batch_size": -5}, ValueError, "batch_size of at least 1, got -5"),
        ({"batch_size": True}, ValueError, "batch_size of at least 1, got True"),
        ({"batch_size": 2.5}, TypeError, "batch_size to be an int, got 2.5"),
        ({"batch_size": None}, TypeError, "batch_size to be an int, got None"),
        ({"limit_batches": 0}, ValueError, "limit_batches of at least 1, got 0"),
        ({"limit_batches": "3"}, TypeError, "limit_batches to be an int, got '3'"),
        ({"rng": -1}, ValueError, "seed of at least 0, got -1"),
        ({"rng": "seed"}, TypeError, "rng to be a numpy Generator, an int or None, got 'seed'"),
        ({"rng": True}, TypeError, "rng to be a numpy Generator, an int or None, got True"),
        ({"shuffle": np.random.default_rng(0)}, TypeError, "shuffle to be True or False, got Generator"),
        ({"drop_last": None}, TypeError, "drop_last to be True or False, got None"),
        ({"transform": 3}, TypeError, "transform to be callable or None, got 3"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=f"DataLoader: expected .*{message}"):
        DataLoader(DATASET, **options)


def test_other_datasets_and_transforms():
    with pytest.raises(TypeError, match="expected an ArrayDataset, got list"):
        DataLoader([1, 2, 3])
    with pytest.raises(ValueError, match=r"return 5 samples, got shape \(2, 3, 4\)"):
        next(iter(DataLoader(DATASET, 5, transform=lambda batch: ToFloat()(batch[0]))))
    with pytest.raises(TypeError, match="floating-point array, got list"):
        next(iter(DataLoader(DATASET, 5, transform=lambda batch: [batch])))
