import re
import shutil
import warnings

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision import transforms as T

from scratchnet.datasets import DataLoader, DatasetError, DatasetNotFoundError, FolderDataset, load

RNG = np.random.default_rng(0)


def save(path, array=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = RNG.integers(0, 256, (6, 5), dtype=np.uint8) if array is None else array
    Image.fromarray(array).save(path, **options)
    return array


def flat(root, n=10, classes=("cat", "dog")):
    """PATH/CLASS/NN.png with n images in each class; the grey of an image tells its file."""
    for c, name in enumerate(classes):
        for i in range(n):
            save(root / name / f"{i:02d}.png", np.full((3, 4), 20 * c + i, np.uint8))
    return root


def greys(dataset):
    return dataset.images[:, 0, 0, 0].tolist()


def test_train_and_test_folders(tmp_path):
    train = {name: [save(tmp_path / "train" / name / f"{i}.png") for i in range(3)] for name in ("zebra", "ant", "bee")}
    test = save(tmp_path / "test" / "bee" / "0.png")
    dataset = load(f"folder:{tmp_path}", "train", size=(6, 5))
    assert isinstance(dataset, FolderDataset)
    assert dataset.classes == ("ant", "bee", "zebra")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert dataset.images.dtype == np.uint8
    np.testing.assert_array_equal(dataset.images[:, 0], np.stack(train["ant"] + train["bee"] + train["zebra"]))
    assert dataset.skipped == ()
    assert dataset.name == f"folder:{tmp_path}"
    tested = load(f"folder:{tmp_path}", "test", size=(6, 5))
    assert tested.classes == dataset.classes
    assert tested.labels.tolist() == [1]
    np.testing.assert_array_equal(tested.images[0, 0], test)


@pytest.mark.parametrize(("mode", "size"), [("L", 28), ("RGB", (20, 33)), ("L", (7, 5)), ("RGB", (64, 48))])
def test_images_are_torchvisions(tmp_path, mode, size):
    rng = np.random.default_rng(1)
    for i, suffix in enumerate(["png", "jpg", "bmp", "ppm", "tiff", "webp"]):
        save(tmp_path / "train" / "ab"[i % 2] / f"{i}.{suffix}", rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    save(tmp_path / "train" / "a" / "grey.png", rng.integers(0, 256, (48, 64), dtype=np.uint8))
    save(tmp_path / "train" / "b" / "alpha.png", rng.integers(0, 256, (48, 64, 4), dtype=np.uint8))
    ours = load(f"folder:{tmp_path}", "train", size=size, mode=mode)

    def loader(path):
        with Image.open(path) as image:
            return image.convert(mode)

    height, width = (size, size) if isinstance(size, int) else size
    transform = T.Compose([T.Resize((height, width)), T.PILToTensor()])
    theirs = torchvision.datasets.ImageFolder(tmp_path / "train", transform, loader=loader)
    assert list(ours.classes) == theirs.classes
    assert ours.labels.tolist() == theirs.targets
    np.testing.assert_array_equal(ours.images, torch.stack([image for image, _ in theirs]).numpy())
    assert ours.images.shape == (8, 1 if mode == "L" else 3, height, width)


def test_split_of_one_folder(tmp_path):
    root = flat(tmp_path, n=23)
    train, test = load(f"folder:{root}", "train"), load(f"folder:{root}", "test")
    assert np.bincount(test.labels).tolist() == [4, 4]  # a fifth of 23, rounded down
    assert np.bincount(train.labels).tolist() == [19, 19]
    assert sorted(greys(train) + greys(test)) == sorted([*range(23), *range(20, 43)])
    assert greys(test) == [2, 3, 4, 6, 22, 23, 24, 26]  # by SHA-256 of the file name: the same everywhere
    assert greys(load(f"folder:{root}", "test")) == greys(test)


def test_split_depends_on_names_alone(tmp_path):
    one = flat(tmp_path / "one")
    test = greys(load(f"folder:{one}", "test"))
    other = tmp_path / "other"
    for path in sorted(one.rglob("*.png"), reverse=True):  # created in another order, elsewhere
        (other / path.relative_to(one)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other / path.relative_to(one))
    assert greys(load(f"folder:{other}", "test")) == test


def test_a_new_file_moves_at_most_one_other(tmp_path):
    root = flat(tmp_path, n=20)
    before = set(greys(load(f"folder:{root}", "test")))
    for i in range(20):
        save(root / "cat" / f"new{i}.png", np.full((3, 4), 100 + i, np.uint8))
        after = set(greys(load(f"folder:{root}", "test")))
        assert len({grey for grey in before - after if grey < 100}) <= 1
        before = after


@pytest.mark.parametrize(("n", "n_test"), [(1, 0), (2, 1), (4, 1), (9, 1), (10, 2), (14, 2), (15, 3)])
def test_size_of_the_split(tmp_path, n, n_test):
    root = flat(tmp_path, n=n)
    assert len(load(f"folder:{root}", "train")) == 2 * (n - n_test)
    if n_test:
        assert len(load(f"folder:{root}", "test")) == 2 * n_test
    else:
        with pytest.raises(DatasetError, match=r"expected test images .*got none"):
            load(f"folder:{root}", "test")


def test_a_class_may_be_called_train(tmp_path):
    root = flat(tmp_path, n=5, classes=("plane", "test", "train"))
    assert load(f"folder:{root}").classes == ("plane", "test", "train")


def test_files_in_sub_folders_count_and_hidden_ones_do_not(tmp_path):
    flat(tmp_path / "train", n=2)
    save(tmp_path / "train" / "cat" / "deeper" / "still" / "x.png")
    for name in (".hidden.png", "._00.png", "Thumbs.db", "desktop.ini", ".git/x.png", "__MACOSX/x.png"):
        path = tmp_path / "train" / "cat" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no image")
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "notes.txt").write_text("beside the classes")
    assert load(f"folder:{tmp_path}").labels.tolist() == [0, 0, 0, 1, 1]


def test_unreadable_files_are_left_out_and_listed(tmp_path):
    root = flat(tmp_path / "train", n=3).parent
    bad = root / "train" / "cat" / "01.png"
    bad.write_bytes(b"no image")
    cut = root / "train" / "dog" / "00.png"
    cut.write_bytes(cut.read_bytes()[:50])
    with pytest.warns(UserWarning, match=f"2 of 6 train files left out: {re.escape(str(bad))}: no image that Pillow"):
        dataset = load(f"folder:{root}")
    assert [reason.split(": ")[0] for reason in dataset.skipped] == [str(bad), str(cut)]
    assert greys(dataset) == [0, 2, 21, 22]
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert dataset.subset(1).skipped == dataset.skipped
    with pytest.raises(DatasetError, match=f"{re.escape(str(bad))}: no image that Pillow can read; expected an image"):
        load(f"folder:{root}", strict=True)


def test_a_readable_folder_warns_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(f"folder:{flat(tmp_path)}", strict=True).skipped == ()


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    values = np.array([[0, 255, 256, 65535], [32768, 1000, 513, 65279]], np.uint16)
    save(tmp_path / "train" / "a" / "x.png", values)
    save(tmp_path / "train" / "b" / "x.tiff", values)
    dataset = load(f"folder:{tmp_path}", size=(2, 4))
    np.testing.assert_array_equal(dataset.images[0, 0], values >> 8)
    np.testing.assert_array_equal(dataset.images[1, 0], values >> 8)


def test_pixels_of_unknown_range_are_left_out(tmp_path):
    flat(tmp_path / "train", n=1)
    save(tmp_path / "train" / "cat" / "float.tiff", np.zeros((2, 2), np.float32))
    with pytest.warns(UserWarning, match="1 of 3 .*float.tiff: pixels of 32 bits"):
        assert len(load(f"folder:{tmp_path}")) == 2


def test_exif_orientation(tmp_path):
    array = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    save(tmp_path / "train" / "a" / "x.png", array, exif=exif)
    save(tmp_path / "train" / "b" / "x.png", array)
    dataset = load(f"folder:{tmp_path}", size=(3, 2))
    np.testing.assert_array_equal(dataset.images[0, 0], np.rot90(array, -1))


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (4, 4))
    image.putpalette([10, 20, 30, 40, 50, 60])
    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
        image.save(tmp_path / "train" / name / "x.png", transparency=b"\x00\x80")
    dataset = load(f"folder:{tmp_path}", size=4, mode="RGB")
    assert dataset.images[0, :, 0, 0].tolist() == [10, 20, 30]


def test_relative_paths_and_tilde(tmp_path, monkeypatch):
    flat(tmp_path / "pets")
    assert len(load("folder:pets", "test", tmp_path)) == 4
    assert len(load(f"folder:{tmp_path / 'pets'}", "test", "/elsewhere")) == 4
    monkeypatch.chdir(tmp_path)
    assert len(load("folder:pets", "test")) == 4
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    assert len(load("folder:~/pets", "test")) == 4


def test_a_loader_takes_it(tmp_path):
    x, labels = next(iter(DataLoader(load(f"folder:{flat(tmp_path)}"), batch_size=16)))
    assert x.shape == (16, 1, 28, 28)
    assert x.dtype == np.float32
    assert labels.tolist() == [0] * 8 + [1] * 8


def test_missing_folders(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=f"{re.escape(str(tmp_path / 'x'))}: expected a directory of images"):
        load("folder:x", "train", tmp_path)
    flat(tmp_path / "train")
    with pytest.raises(
        DatasetNotFoundError, match=f"{re.escape(str(tmp_path / 'test'))}: expected a directory for each"
    ):
        load(f"folder:{tmp_path}", "test")
    (tmp_path / "train").rename(tmp_path / "test")
    for split in ("train", "test"):
        with pytest.raises(DatasetNotFoundError, match=f"{re.escape(str(tmp_path / 'train'))}: expected a directory"):
            load(f"folder:{tmp_path}", split)


def test_no_class_one_class_and_a_class_without_images(tmp_path):
    with pytest.raises(DatasetError, match=r"expected at least two class directories \(PATH/.*got none"):
        load(f"folder:{tmp_path}")
    save(tmp_path / "x.png")
    with pytest.raises(DatasetError, match=r"expected at least two class directories .*got none"):
        load(f"folder:{tmp_path}")
    save(tmp_path / "cat" / "x.png")
    with pytest.raises(DatasetError, match=r"expected at least two class directories .*got only 'cat'"):
        load(f"folder:{tmp_path}")
    (tmp_path / "dog").mkdir()
    with pytest.raises(DatasetError, match=r"expected training images of every class, got none of dog$"):
        load(f"folder:{tmp_path}")
    (tmp_path / "cat" / "x.png").unlink()
    with pytest.raises(DatasetError, match=r"expected train images .*got none$"):
        load(f"folder:{tmp_path}")


def test_no_readable_image(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text("no image")
    with pytest.raises(
        DatasetError, match=r"expected train images .*got none; could not be read: .*cat/x.txt: no image"
    ):
        load(f"folder:{tmp_path}")
    save(tmp_path / "dog" / "x.txt", format="PNG")
    with pytest.raises(
        DatasetError, match=r"of every class, got none of cat; could not be read: .*cat/x.txt: no image"
    ):
        load(f"folder:{tmp_path}")


def test_a_test_class_without_training(tmp_path):
    flat(tmp_path / "train")
    flat(tmp_path / "test", classes=("cat", "cow"))
    with pytest.raises(DatasetError, match=r"expected only the classes of .*train \(cat, dog\), got cow as well"):
        load(f"folder:{tmp_path}", "test")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, ValueError, "a size of at least 1×1, got 0"),
        ({"size": (28, -1)}, ValueError, r"a size of at least 1×1, got \(28, -1\)"),
        ({"size": (28,)}, TypeError, r"size to be an int or \(height, width\), got \(28,\)"),
        ({"size": 28.0}, TypeError, r"size to be an int or \(height, width\), got 28.0"),
        ({"size": True}, TypeError, "size to be an int"),
        ({"mode": "CMYK"}, ValueError, "mode 'L' or 'RGB', got 'CMYK'"),
    ],
)
def test_bad_options(tmp_path, options, error, message):
    with pytest.raises(error, match=f"folder: expected {message}"):
        load(f"folder:{flat(tmp_path, n=1)}", **options)


def test_options_and_names_of_load(tmp_path):
    with pytest.raises(TypeError, match="mnist: expected no options, which are for 'folder:PATH', got size"):
        load("mnist", size=28)
    with pytest.raises(ValueError, match="expected 'folder:PATH' with the path of your images, got 'folder:'"):
        load("folder:")
    with pytest.raises(ValueError, match=r"unknown dataset 'pets'; expected one of .*or 'folder:PATH'"):
        load("pets")
    with pytest.raises(TypeError, match="load: expected a dataset's name, got None"):
        load(None)
    with pytest.raises(ValueError, match="folder: unknown split 'val'"):
        load(f"folder:{tmp_path}", "val")
