"""python -m scratchnet.predict, as a user types it."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from trained_runs import folder_of_shades, mnist_cnn, train

import scratchnet.__main__
import scratchnet.predict
from scratchnet import datasets
from scratchnet.datasets import picture
from scratchnet.training.restore import restore

COUNT = 200
BICUBIC = Image.Resampling.BICUBIC


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return mnist_cnn(tmp_path_factory.mktemp("runs") / "mnist")


@pytest.fixture(scope="module")
def digits():
    return datasets.load("mnist", "test").images[:COUNT, 0]


@pytest.fixture(scope="module")
def taken_for(run, digits):
    """What the network takes the images themselves for, without any file."""
    restored = restore(run)
    return restored.model(restored.transform(digits[:, None])).argmax(1)


def output(capsys, *argv):
    capsys.readouterr()
    assert scratchnet.predict.main([*map(str, argv)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def enlarged(digit, factor=5):
    return Image.fromarray(digit).resize((28 * factor, 28 * factor), BICUBIC)


def inverted(image):
    return Image.fromarray(255 - np.asarray(image))


def padded(image):
    page = Image.new("L", (image.width + 90, image.height + 33))
    page.paste(image, (7, 30))
    return page


def on_nothing(image, colour):
    drawing = Image.new("RGBA", image.size, (*colour, 0))
    drawing.putalpha(image)
    return drawing


def as_jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    return Image.open(file)


# What is made of an image; how many of 200 predictions stayed the same when this was written; how many have to.
# With nothing inverted 9 of 200 do, with nothing centred 17 to 60.
VARIANTS = {
    "itself": (Image.fromarray, 200, 200),
    "inverted": (lambda digit: inverted(digit), 200, 200),
    "in colour": (lambda digit: Image.fromarray(digit).convert("RGB"), 200, 200),
    "palette": (lambda digit: Image.fromarray(255 - digit).convert("P"), 200, 200),
    "padded": (lambda digit: padded(Image.fromarray(digit)), 199, 197),
    "5 times as large": (enlarged, 197, 192),
    "large, dark on light": (lambda digit: inverted(enlarged(digit)), 197, 192),
    "large, in a corner": (lambda digit: padded(enlarged(digit)), 197, 192),
    "large, in squares": (lambda digit: Image.fromarray(digit.repeat(5, 0).repeat(5, 1)), 198, 192),
    "cut out": (lambda digit: Image.fromarray(digit).crop(Image.fromarray(digit).getbbox()), 198, 192),
    "white on nothing": (lambda digit: on_nothing(enlarged(digit), (255, 255, 255)), 198, 192),
    "black on nothing": (lambda digit: on_nothing(enlarged(digit), (0, 0, 0)), 198, 192),
    "pale": (lambda digit: Image.fromarray(180 - np.asarray(enlarged(digit)) // 4), 197, 192),
    "a bad JPEG": (lambda digit: as_jpeg(inverted(enlarged(digit))), 196, 192),
}


def agreement(folder, run, digits, taken_for, make) -> int:
    """How many pictures are taken for what the images are taken for."""
    files = [folder / f"{i}.png" for i in range(len(digits))]
    for file, digit in zip(files, digits, strict=True):
        make(digit).save(file)
    trained = scratchnet.predict.open_trained(scratchnet.predict.parser().parse_args([str(run), "x", "--threads", "1"]))
    predictions = scratchnet.predict.predict(trained, [*map(str, files)])
    return sum(each.probabilities.argmax() == c for each, c in zip(predictions, taken_for, strict=True))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_digit_is_taken_for_the_same_however_it_is_presented(tmp_path, run, digits, taken_for, name):
    make, _, least = VARIANTS[name]
    assert agreement(tmp_path, run, digits, taken_for, make) >= least


def test_the_variants_tell_when_nothing_is_inverted(tmp_path, run, digits, taken_for, monkeypatch):
    monkeypatch.setattr(picture, "is_dark_on_light", lambda grey: False)
    for name in ("inverted", "palette", "large, dark on light", "black on nothing", "pale", "a bad JPEG"):
        assert agreement(tmp_path, run, digits, taken_for, VARIANTS[name][0]) < 80, name


def test_the_variants_tell_when_nothing_is_centred(tmp_path, run, digits, taken_for, monkeypatch):
    def squeezed(grey, layout):
        return np.asarray(Image.fromarray(grey).resize((28, 28), BICUBIC))

    monkeypatch.setattr(picture, "fit", squeezed)
    for name in ("padded", "large, in a corner", "cut out"):
        assert agreement(tmp_path, run, digits, taken_for, VARIANTS[name][0]) < 80, name


@pytest.fixture
def pictures(tmp_path, digits):
    """A seven as it is, and large and dark on light."""
    files = tmp_path / "seven.png", tmp_path / "large.png"
    Image.fromarray(digits[0]).save(files[0])
    inverted(enlarged(digits[0])).save(files[1])
    return files


def test_a_line_for_each_picture(capsys, run, pictures):
    head, first, second = output(capsys, run, *pictures).splitlines()
    assert head.split() == ["picture", "class", "probability", "next"]
    assert first.split()[1] == "7"
    assert first.split()[2].endswith("%")
    assert len(first.split()) == 7  # file, class, probability, and two runners-up
    assert second.endswith("(inverted, centred)")
    assert max(map(len, (head, first, second))) <= 100


def test_json_is_a_list_of_objects(capsys, run, pictures, digits):
    first, second = json.loads(output(capsys, run, *pictures, "--json", "--top", "4"))
    restored = restore(run)
    logits = restored.model(restored.transform(digits[:1, None]))[0].astype(float)
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    ranked = np.argsort(-probabilities)[:4]
    assert [entry["index"] for entry in first["top"]] == ranked.tolist()
    assert [entry["class"] for entry in first["top"]] == [str(i) for i in ranked]
    found = [entry["probability"] for entry in first["top"]]
    np.testing.assert_allclose(found, probabilities[ranked], rtol=1e-4)
    assert (first["file"], first["class"], first["probability"]) == (str(pictures[0]), "7", found[0])
    assert (first["inverted"], first["changes"], first["size"]) == (False, [], [28, 28])
    assert (second["inverted"], second["changes"], second["size"]) == (True, ["inverted", "centred"], [140, 140])


def test_top_and_long_lines(capsys, run, pictures):
    assert len(output(capsys, run, pictures[0], "--top", "1").splitlines()[1].split()) == 3
    text = output(capsys, run, *pictures, "--top", "99")
    assert max(map(len, text.splitlines())) <= 100
    assert sum(f"{i} " in text for i in range(10)) == 10


def test_invert_can_be_told(capsys, run, pictures):
    no = json.loads(output(capsys, run, pictures[1], "--invert", "no", "--json"))
    yes = json.loads(output(capsys, run, pictures[1], "--invert", "yes", "--json"))
    assert not no[0]["inverted"]
    assert yes[0]["class"] == "7"
    assert no[0]["probability"] != yes[0]["probability"]


def test_show_prints_what_the_network_sees(capsys, run, pictures):
    lines = output(capsys, run, pictures[1], "--show").splitlines()
    assert len(lines) == 2 + 28
    assert sum("█" in line for line in lines) > 10


def test_bad_files_are_named_and_the_others_still_predicted(capsys, run, pictures, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    Image.new("L", (50, 50), 77).save(tmp_path / "empty.png")
    argv = [run, tmp_path / "nowhere.png", pictures[0], tmp_path / "text.png", tmp_path / "empty.png", pictures[1]]
    assert scratchnet.__main__.main(["predict", *map(str, argv)]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err.splitlines() == [
        f"error: {tmp_path / 'nowhere.png'}: No such file or directory",
        f"error: {tmp_path / 'text.png'}: no picture that Pillow can read",
        f"error: {tmp_path / 'empty.png'}: there is nothing to recognise: all of it has nearly the same brightness",
    ]
    assert scratchnet.__main__.main(["predict", *map(str, argv), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [entry["file"] for entry in found] == [str(file) for file in argv[1:]]
    assert [entry.get("class") for entry in found] == [None, "7", None, None, "7"]
    assert found[2]["error"] == "no picture that Pillow can read"


def test_no_good_file_at_all(capsys, run, tmp_path):
    assert scratchnet.predict.main([str(run), str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {tmp_path}: ")


def test_a_network_for_a_folders_pictures(capsys, tmp_path):
    data = folder_of_shades(tmp_path / "data")
    run = train(tmp_path / "run", data, "--epochs", "6", "--batch-size", "10")
    Image.new("RGB", (100, 20), (250, 250, 250)).save(tmp_path / "bright.png")
    Image.new("L", (9, 9), 4).save(tmp_path / "dark.png")
    found = json.loads(output(capsys, run, tmp_path / "bright.png", tmp_path / "dark.png", "--json"))
    assert [entry["class"] for entry in found] == ["white", "black"]
    assert len(found[0]["top"]) == 3


def test_wrong_arguments_exit_with_2(capsys, run, pictures):
    for argv, message in [
        ((run,), "required: IMAGE"),
        ((run, pictures[0], "--top", "0"), "--top: expected a whole number ≥ 1"),
        ((run, pictures[0], "--invert", "maybe"), "invalid choice: 'maybe'"),
        ((run, pictures[0], "--device", "tpu"), "device: expected auto, cpu, gpu or gpu:N, got 'tpu'"),
    ]:
        try:
            code = scratchnet.__main__.main(["predict", *map(str, argv)])
        except SystemExit as stop:  # argparse's own
            code = stop.code
        assert code == 2
        assert message in capsys.readouterr().err


def test_a_checkpoint_that_is_none_exits_with_1(capsys, pictures):
    assert scratchnet.predict.main([str(pictures[0]), str(pictures[0])]) == 1
    assert "expected a whole safetensors file" in capsys.readouterr().err
