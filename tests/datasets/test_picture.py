"""Pictures of the user's as inputs: how they are read, and what the network is given."""

import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scratchnet import datasets
from scratchnet.datasets import ink
from scratchnet.datasets.picture import PictureError, read_picture

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return datasets.load("mnist", "test").images[:, 0]


@pytest.fixture
def read(tmp_path):
    """A function that writes a Pillow image and reads it for a dataset."""

    def call(image, dataset="mnist", invert="auto", name="picture.png", **options):
        path = tmp_path / name
        image.save(path, **options)
        return read_picture(path, dataset, COLOUR if dataset == "cifar10" else GREY, invert)

    return call


def difference(picture, digit) -> float:
    """Mean absolute difference of the pixels, 0 … 255."""
    return float(np.abs(picture.pixels[0].astype(int) - digit).mean())


def enlarged(digit, factor=5) -> Image.Image:
    image = Image.fromarray(digit)
    return image.resize((28 * factor, 28 * factor), Image.Resampling.BICUBIC)


def test_all_of_mnist_is_like_mnist_and_stays_as_it_is(digits):
    assert all(ink.is_mnist_like(digit) and not ink.is_dark_on_light(digit) for digit in digits)
    assert all(ink.is_dark_on_light(255 - digit) for digit in digits)


def test_an_image_of_mnist_passes_unchanged(read, digits):
    for digit in digits[:20]:
        picture = read(Image.fromarray(digit))
        assert (picture.pixels[0] == digit).all()
        assert picture.pixels.dtype == np.uint8
        assert picture.changes == ()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "CMYK", "I;16"])
def test_modes_that_hold_the_same_picture(read, digits, mode):
    for digit in digits[:5]:
        image = Image.fromarray(digit)
        image = Image.fromarray(digit.astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
        picture = read(image, name="picture.tif")
        assert (picture.pixels[0] == digit).all()


def test_dark_on_light_is_inverted_and_says_so(read, digits):
    for digit in digits[:20]:
        picture = read(Image.fromarray(255 - digit))
        assert (picture.pixels[0] == digit).all()
        assert picture.changes == ("inverted",)
        assert picture.inverted


def test_invert_yes_and_no(read, digits):
    assert (read(Image.fromarray(digits[0]), invert="yes").pixels[0] != digits[0]).any()
    assert not read(Image.fromarray(255 - digits[0]), invert="no").inverted
    twice = read(Image.fromarray(255 - digits[0]), invert="yes")
    assert (twice.pixels[0] == digits[0]).all()
    with pytest.raises(ValueError, match="invert: expected one of auto, yes, no, got 'maybe'"):
        read(Image.fromarray(digits[0]), invert="maybe")


def test_a_digit_somewhere_in_a_larger_picture_is_cut_out_and_centred(read, digits):
    """With nothing but black added, nearly all come back to the pixel; faint edges may be cut off."""
    same = 0
    for digit in digits[:100]:
        page = np.zeros((90, 61), np.uint8)
        page[50:78, 3:31] = digit
        picture = read(Image.fromarray(page))
        assert picture.changes == ("centred",)
        assert picture.size == (61, 90)
        same += (picture.pixels[0] == digit).all()
    assert same >= 45  # 54 were


def test_enlarged_pictures_come_back_nearly_as_they_were(read, digits):
    differences = [difference(read(enlarged(digit)), digit) for digit in digits[:50]]
    assert np.mean(differences) < 8  # 6.1 was measured; digits one pixel off differ by 16
    boxes = [read(enlarged(digit)).pixels[0] for digit in digits[:50]]
    assert all(ink.is_mnist_like(box) for box in boxes)


def test_exif_orientation_is_followed(read, digits):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90° clockwise to view
    turned = Image.fromarray(digits[0]).rotate(90, expand=True)
    assert (read(turned, exif=exif).pixels[0] == digits[0]).all()
    assert (read(turned).pixels[0] != digits[0]).any()


@pytest.mark.parametrize("colour", [0, 255])
def test_a_drawing_on_transparency_whatever_its_colour(read, digits, colour):
    for digit in digits[:10]:
        image = Image.new("RGBA", (28, 28), (colour, colour, colour, 0))
        image.putalpha(Image.fromarray(digit))
        picture = read(image)
        assert picture.inverted == (colour == 0)
        assert difference(picture, digit) < 1  # 0.4 was measured


def test_a_picture_with_transparency_around_it_is_cut_out(read, digits):
    page = Image.new("RGBA", (200, 220), (0, 0, 0, 0))
    page.paste(Image.fromarray(255 - digits[0]).convert("RGBA"), (20, 90))
    picture = read(page)
    assert picture.inverted
    assert (picture.pixels[0] == digits[0]).all()


def test_a_bar_drawn_on_transparency(read):
    page = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    page.paste((0, 0, 0, 255), (28, 10, 32, 50))
    pixels = read(page).pixels[0]
    assert (pixels.max(1) > 0).sum() == 20
    assert (pixels.max(0) > 0).sum() == 2


def test_a_photo_that_is_darker_on_one_side_and_noisy(read, digits):
    rng = np.random.default_rng(0)
    differences = []
    for digit in digits[:5]:
        page = np.pad(np.asarray(enlarged(digit, 12)), ((60, 90), (200, 30))) / 255
        light = np.linspace(200, 140, page.shape[1]) + np.linspace(0, -20, page.shape[0])[:, None]
        photo = light * (1 - 0.75 * page) + rng.normal(0, 6, page.shape)
        picture = read(Image.fromarray(photo.clip(0, 255).astype(np.uint8)), name="photo.jpg")
        assert picture.changes == ("inverted", "centred")
        differences.append(difference(picture, digit))
    assert np.mean(differences) < 9  # 6.4 was measured; 16 with one level for all of the paper


def test_thin_strokes_are_as_bright_as_thick_ones(read):
    page = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(page).ellipse((60, 40, 240, 260), outline=0, width=2)
    assert read(page).pixels.max() == 255


@pytest.mark.parametrize("dataset", ["fashion_mnist", "kmnist"])
def test_clothes_and_hiragana_fill_the_image(read, digits, dataset):
    assert (read(Image.fromarray(digits[0]), dataset).pixels[0] == digits[0]).all()
    page = np.zeros((200, 200), np.uint8)
    page[10:80, 30:65] = 255
    pixels = read(Image.fromarray(page), dataset).pixels[0]
    assert (pixels > 0).sum() == 28 * 14
    assert (pixels[:, 7:21] == 255).all()


def test_colour_pictures_are_cropped_to_a_square_and_scaled_with_antialiasing(read):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    same = read(Image.fromarray(image), "cifar10")
    assert (same.pixels == image.transpose(2, 0, 1)).all()
    assert same.changes == ()
    wide = np.zeros((64, 104, 3), np.uint8)
    wide[:, 20:84] = image.repeat(2, 0).repeat(2, 1)
    wide[:, :20] = 255
    picture = read(Image.fromarray(wide), "cifar10")
    assert picture.changes == ("cropped to a square", "scaled to 32×32")
    stripes = np.zeros((320, 320, 3), np.uint8)
    stripes[:, np.arange(320) % 6 < 3] = 255
    assert np.ptp(read(Image.fromarray(stripes), "cifar10").pixels) < 30  # grey: each pixel is a mean of many
    assert (read(Image.fromarray(image), "cifar10", "yes").pixels == 255 - same.pixels).all()
    assert (read(Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "cifar10").pixels == 255).all()
    assert read(Image.new("L", (9, 9), 70), "cifar10").pixels.shape == COLOUR


def test_a_picture_for_a_folders_network_is_read_as_its_training_images_were(tmp_path, read):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 70)).astype(np.uint8))
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        image.save(tmp_path / "train" / name / "1.png")
    trained_on = datasets.load(f"folder:{tmp_path}", "train").images[0]
    picture = read(image, f"folder:{tmp_path}")
    assert (picture.pixels == trained_on).all()
    assert picture.changes == ()


BAD = {
    "empty file": (b"", "no picture that Pillow can read"),
    "text": (b"hello", "no picture that Pillow can read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_picture(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(PictureError, match=message):
        read_picture(tmp_path / "x.png", "mnist", GREY)


def test_a_file_that_is_missing_a_folder_or_cut_short(tmp_path, digits):
    with pytest.raises(PictureError, match="No such file"):
        read_picture(tmp_path / "nowhere.png", "mnist", GREY)
    with pytest.raises(PictureError, match="directory"):
        read_picture(tmp_path, "mnist", GREY)
    enlarged(digits[0]).save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:900])
    with pytest.raises(PictureError, match="truncated"):
        read_picture(tmp_path / "x.jpg", "mnist", GREY)


def gradient() -> np.ndarray:
    return np.linspace(0, 255, 100).astype(np.uint8)[None].repeat(80, 0)


@pytest.mark.parametrize(
    "page",
    [np.full((50, 40), 200, np.uint8), np.zeros((28, 28), np.uint8), np.zeros((1, 1), np.uint8), gradient()],
    ids=["grey", "black", "one pixel", "gradient"],
)
def test_an_empty_page_has_nothing_to_recognise(read, page):
    with pytest.raises(PictureError, match="nothing to recognise"):
        read(Image.fromarray(page))


def test_transparent_all_over(read):
    with pytest.raises(PictureError, match="transparent"):
        read(Image.new("RGBA", (30, 30), (0, 0, 0, 0)))


def test_pixels_without_a_known_range(read):
    with pytest.raises(PictureError, match="floating-point"):
        read(Image.fromarray(np.ones((30, 30), np.float32)), name="x.tif")
    with pytest.raises(PictureError, match="32 bits"):
        read(Image.fromarray(np.full((30, 30), 1 << 20, np.int32)), name="x.tif")


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_picture_the_answer_is_an_image_or_an_error(read, seed):
    """Noise, of any size and contrast, with any background."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 60, 2))
    level = int(rng.integers(1, 256))
    noise = rng.integers(0, level + 1, shape).astype(np.uint8) * (rng.random(shape) < rng.random()).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if np.ptp(noise) < ink.MIN_CONTRAST:
            with pytest.raises(PictureError, match="nothing to recognise"):
                read(Image.fromarray(noise))
        else:
            picture = read(Image.fromarray(noise))
            assert picture.pixels.shape == GREY
            assert picture.pixels.max() > 0
