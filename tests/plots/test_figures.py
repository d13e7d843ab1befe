"""What the pictures show: the numbers that were given, on scales that say what they say."""

import os
import subprocess
import sys

import numpy as np
import pytest

from scratchnet import models, nn, plots
from scratchnet.plots import inspection, tsne
from scratchnet.plots.figure import percent

RNG = np.random.default_rng(0)


def assert_nothing_is_cut_off(figure, monkeypatch):
    """Every text that is drawn lies within the figure, and no two texts lie over each other."""
    from matplotlib.text import Text

    figure.draw_without_rendering()  # lays it out
    texts = []
    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", lambda self, renderer: texts.append(self))
        figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [(text, text.get_window_extent()) for text in texts if text.get_text().strip()]
    assert boxes
    for text, box in boxes:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -1, f"{text} is cut off"
    straight = [(text, box) for text, box in boxes if text.get_rotation() % 90 == 0]
    for i, (text, box) in enumerate(straight):
        for other, its in straight[:i]:
            across = min(box.x1, its.x1) - max(box.x0, its.x0)
            up = min(box.y1, its.y1) - max(box.y0, its.y0)
            assert min(across, up) <= 1.5, f"{text} lies over {other}"


def drawn(axes):
    """The pixels that an axes shows."""
    return np.asarray(axes.images[0].get_array())


def test_image_grid_shows_grey_and_colour_with_captions():
    grey = RNG.integers(0, 256, (3, 1, 5, 4), dtype=np.uint8)
    figure = plots.image_grid(grey, ["a", "b", "c"], columns=2)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["a", "b", "c"]
    np.testing.assert_array_equal(drawn(figure.axes[2]), grey[2, 0])
    colour = RNG.integers(0, 256, (1, 3, 5, 4), dtype=np.uint8)
    np.testing.assert_array_equal(drawn(plots.image_grid(colour, ["a"]).axes[0]), colour[0].transpose(1, 2, 0))
    with pytest.raises(ValueError, match="expected a caption for each of at least one image, got 1"):
        plots.image_grid(grey, ["a"])


def test_feature_maps_stand_left_of_their_gradients_on_a_scale_around_zero():
    maps, gradients = RNG.uniform(0, 2, (20, 4, 4)), RNG.standard_normal((20, 4, 4))
    figure = plots.feature_maps(maps, gradients, "relu1")
    assert "16 of 20 feature maps of 4 × 4" in figure.get_suptitle()
    left, right = figure.axes[2], figure.axes[3]
    np.testing.assert_array_equal(drawn(left), maps[1])
    np.testing.assert_array_equal(drawn(right), gradients[1])
    low, high = right.images[0].get_clim()
    assert -low == high == np.abs(gradients[:16]).max()
    with pytest.raises(ValueError, match=r"got \(20, 4, 4\) and \(4, 4\)"):
        plots.feature_maps(maps, gradients[0], "relu1")


def test_filters_stand_beside_gradient_and_update():
    weight, gradient, update = (RNG.standard_normal((3, 2, 3, 3)) for _ in range(3))
    figure = plots.filters(weight, gradient, update, "conv")
    for axes, values in zip(figure.axes[3:6], (weight, gradient, update), strict=True):
        np.testing.assert_array_equal(drawn(axes), values[1, 0])
    assert figure.axes[4].get_xlabel() == f"±{np.abs(gradient[1, 0]).max():.2g}"
    for axes in figure.axes[3:6]:
        assert axes.images[0].get_clim() == pytest.approx((-np.abs(drawn(axes)).max(), np.abs(drawn(axes)).max()))
    assert "input channel 0 of 2" in figure.get_suptitle()
    rgb = plots.filters(weight[:, :1].repeat(3, 1), gradient[:, :1].repeat(3, 1), update[:, :1].repeat(3, 1), "conv")
    grey = (weight[0, 0] / np.abs(weight[0, 0]).max() + 1) / 2  # three channels alike
    np.testing.assert_allclose(drawn(rgb.axes[0]), np.stack([grey] * 3, axis=-1))


def test_the_mistakes_are_the_surest_ones():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.3, 0.7]])
    images = np.zeros((4, 1, 2, 2), np.uint8)
    figure = plots.mistakes(images, probabilities, np.array([0, 0, 0, 1]), ["x", "y"])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["y: 80.0%\n(x: 20.0%)", "y: 55.0%\n(x: 45.0%)"]
    assert "the worst 2 of 2 mistakes on 4 images" in figure.get_suptitle()
    none = plots.mistakes(images[:1], probabilities[:1], np.array([0]), ["x", "y"])
    assert "no mistakes on 1 images" in none.get_suptitle()


def test_the_confusion_matrix_counts_rows_as_labels():
    figure = plots.confusion_matrix(np.array([[3, 1], [0, 4]]), ["x", "y"])
    assert figure.get_suptitle() == "7 of 8 images recognised (87.50%)"
    np.testing.assert_array_equal(drawn(figure.axes[0]), [[0.75, 0.25], [0, 1]])
    assert {(t.get_position(), t.get_text()) for t in figure.axes[0].texts} == {
        ((0, 0), "3\n75.0%"),
        ((1, 0), "1\n25.0%"),
        ((1, 1), "4\n100%"),
    }
    assert figure.axes[0].get_ylabel() == "label"


def test_curves_take_the_rows_of_metrics_csv():
    rows = [
        {"event": "step", "step": "50", "train_loss": "1.5", "test_loss": "", "test_accuracy": ""},
        {"event": "epoch", "step": "100", "train_loss": "1.0", "test_loss": "0.9", "test_accuracy": "0.7"},
        {"event": "epoch", "step": "200", "train_loss": "nan", "test_loss": "0.8", "test_accuracy": "0.6"},
    ]
    loss, accuracy = plots.curves(rows).axes
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in loss.lines}
    assert lines["single training batches"] == ([50], [1.5])
    assert lines["training, epoch mean"] == ([100], [1.0])
    assert lines["test"] == ([100, 200], [0.9, 0.8])
    assert accuracy.lines[-1].get_label() == "test, best 70.00%"
    with pytest.raises(ValueError, match="got none"):
        plots.curves([])


def test_t_sne_keeps_classes_together_and_starts_from_the_last_map():
    centres = 10 * RNG.standard_normal((3, 20))
    labels = np.arange(60) % 3
    features = (centres[labels] + RNG.standard_normal((60, 20))).astype("float32")
    points = plots.embed(features, iterations=500)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(60)
    assert (labels[distance.argmin(axis=1)] == labels).all()
    again = plots.embed(features + 0.01, points, iterations=500)

    def turned(other):
        """1 if the three clusters lie in the same directions, −1 if they lie in opposite ones."""
        a, b = (np.stack([p[labels == i].mean(axis=0) for i in range(3)]) for p in (points, other))
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        return (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)

    assert turned(again) > 0.95
    assert turned(points @ [[0.0, 1], [-1, 0]]) < 0.1  # a quarter turn would be seen
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        plots.embed(features[:3])
    for useless in (np.ones((9, 4)), np.full((9, 4), np.nan)):
        with pytest.raises(ValueError, match="expected finite features that differ"):
            plots.embed(useless)


def test_a_point_of_a_map_stays_where_its_features_stay():
    rng = np.random.default_rng(3)
    labels = np.arange(160) % 8
    features = 2 * rng.standard_normal((8, 20))[labels] + rng.standard_normal((160, 20))
    points = plots.embed(features, iterations=1000)
    again = plots.embed(features + 0.1 * rng.standard_normal((160, 20)), points, iterations=1000)
    moved = np.median(np.linalg.norm(again - points, axis=1)) / points.std()
    assert moved < 0.3  # 0.9 when the second map begins anew


def test_a_map_is_turned_and_mirrored_to_lie_as_the_one_before():
    points = RNG.standard_normal((9, 2))
    mirrored = points @ [[0.6, 0.8], [0.8, -0.6]] + 5
    np.testing.assert_allclose(tsne._turned(mirrored, points), points - points.mean(axis=0), atol=1e-12)


def test_points_glide_from_map_to_map(tmp_path):
    from PIL import Image

    points = RNG.standard_normal((5, 2))
    path = plots.animate([("first", points), ("second", points + 1)], np.arange(5), list("abcde"), tmp_path / "a.gif")
    with Image.open(path) as animation:
        assert animation.n_frames == 7
        durations = []
        for i in range(7):
            animation.seek(i)
            durations.append(animation.info["duration"])
    assert durations == [700, 60, 60, 60, 60, 60, 3000]


def test_points_are_drawn_as_their_classes():
    points = RNG.standard_normal((4, 2))
    figure = plots.scatter(points, np.array([0, 1, 0, 1]), ["a", "b"], "a title")
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b", "a", "b"]
    np.testing.assert_array_equal([text.get_position() for text in figure.axes[0].texts], points)
    numbered = plots.scatter(points, np.array([0, 1, 0, 1]), ["cat", "dog"])
    assert [text.get_text() for text in numbered.axes[0].texts] == ["0", "1", "0", "1"]
    assert [text.get_text() for text in numbered.legends[0].texts] == ["0 cat", "1 dog"]


def test_saliency_shows_the_largest_channel():
    images = RNG.integers(0, 256, (2, 3, 4, 4), dtype=np.uint8)
    gradients = RNG.standard_normal((2, 3, 4, 4))
    figure = plots.saliency(images, gradients, ["a", "b"])
    np.testing.assert_array_equal(drawn(figure.axes[3]), np.abs(gradients[1]).max(axis=0))


def test_gradient_norms_are_on_a_log_scale_by_layer():
    norms = np.array([[1.0, 0.0], [0.5, 0.2]])
    figure = plots.gradient_norms([1, 50], norms, norms / 10, ["a", "b"])
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), [np.nan, 0.2])
    many = np.exp(RNG.standard_normal((600, 1)))
    left = plots.gradient_norms(range(600), many, many, ["a"]).axes[0]
    raw, smooth = (line.get_ydata() for line in left.lines)
    np.testing.assert_array_equal(raw, many[:, 0])
    assert smooth[300] == pytest.approx(np.exp(np.log(many[290:311]).mean()))


def test_features_and_gradients_are_the_models_own():
    model = models.build("mnist", "dropout", rng=0)
    x, labels = RNG.random((3, 1, 28, 28), dtype="float32"), np.array([1, 2, 3])
    before = model.state_dict()
    activations = plots.features_and_gradients(model, x, labels)
    twin = model.copy().eval()
    expected = twin.activations(x)
    criterion = nn.CrossEntropyLoss()
    _, cache = criterion.forward(expected.output, labels)
    expected.backward(criterion.backward(None, cache))
    smoothed = nn.CrossEntropyLoss(label_smoothing=0.5)
    other = plots.features_and_gradients(model, x, labels, smoothed)
    assert np.linalg.norm(other.grad["relu2"] - activations.grad["relu2"]) > 0.1 * np.linalg.norm(other.grad["relu2"])
    assert smoothed.reduction == "mean"
    difference = activations.grad["relu2"] - 3 * expected.grad["relu2"]
    assert np.linalg.norm(difference) < 1e-5 * np.linalg.norm(activations.grad["relu2"])
    assert all((model.state_dict()[key] == value).all() for key, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert plots.spatial_layers(model, x) == ["relu1", "relu2"]
    assert plots.input_of_last_linear(model, x) == "relu3"
    assert model.training


def test_features_are_those_of_evaluation():
    model = models.build("cifar10", "cnn", rng=0).train()
    x = RNG.random((5, 3, 32, 32), dtype="float32")
    before = model.state_dict()
    found = inspection.features(model, iter([x[:3], x[3:]]), "pool1")
    np.testing.assert_allclose(found, model.copy().eval().activations(x)["pool1"].reshape(5, -1), rtol=1e-4, atol=1e-5)
    assert model.training
    assert all((model.state_dict()[key] == value).all() for key, value in before.items())


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    figure = plots.image_grid(np.zeros((1, 1, 2, 2), np.uint8), ["a"])
    path = plots.save(figure, tmp_path / "new" / "a.png")
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        plots.save(figure, path)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]
    assert path.read_bytes() == before


NAMES = ["golden retriever, a puppy", "cost in $", r"$\frac$", "automobile"]


@pytest.mark.parametrize(
    "figure",
    [
        lambda: plots.image_grid(np.zeros((12, 1, 6, 6), np.uint8), NAMES * 3, title="a title"),
        lambda: plots.image_grid(np.zeros((1, 3, 9, 4), np.uint8), ["label"], title="the first training image"),
        lambda: plots.predictions(np.zeros((10, 1, 6, 6), np.uint8), [0] * 10, [0, 1, 2, 3, 0] * 2, NAMES),
        lambda: plots.mistakes(np.zeros((8, 3, 6, 9), np.uint8), np.eye(4)[[0] * 8], np.arange(8) % 4, NAMES),
        lambda: plots.confusion_matrix(np.full((4, 4), 12345), NAMES),
        lambda: plots.confusion_matrix(np.eye(10, dtype=int), NAMES[3:] * 10),
        lambda: plots.feature_maps(RNG.standard_normal((4, 8, 8)), RNG.standard_normal((4, 8, 8)), "one row"),
        lambda: plots.feature_maps(RNG.standard_normal((20, 8, 8)), 1e-7 * RNG.standard_normal((20, 8, 8)), "relu1"),
        lambda: plots.feature_maps(np.ones((1, 12, 3)), np.zeros((1, 12, 3)), "one dead channel"),
        lambda: plots.feature_maps(*np.full((2, 5, 3, 12), np.nan), "nothing finite"),
        lambda: plots.filters(*RNG.standard_normal((3, 16, 3, 3, 3)), "conv1, step 1,200"),
        lambda: plots.filters(*1e-9 * RNG.standard_normal((3, 5, 2, 7, 3)), "tall"),
        lambda: plots.filters(*np.full((3, 1, 1, 1, 1), np.inf), "c"),
        lambda: plots.saliency(np.zeros((8, 1, 6, 6), np.uint8), np.zeros((8, 1, 6, 6)), NAMES * 2),
        lambda: plots.saliency(np.zeros((1, 3, 6, 9), np.uint8), np.full((1, 3, 6, 9), np.nan), NAMES[:1]),
        lambda: plots.gradient_norms(
            range(0, 250000, 1000), *RNG.random((2, 250, 24)), [f"layer{i}" for i in range(24)]
        ),
        lambda: plots.gradient_norms([1], np.array([[np.nan]]), np.array([[np.inf]]), ["conv1.weight"]),
        lambda: plots.curves(
            [{"event": "epoch", "step": "1", "train_loss": "nan", "test_loss": "", "test_accuracy": ""}]
        ),
        lambda: plots.scatter(100.0 * np.eye(2), np.arange(2), [f"class {i}" for i in range(60)], "a title"),
        lambda: plots.scatter(np.ones((1, 2)), np.zeros(1, int), ["$"], "t-SNE of flatten"),
    ],
)
def test_no_text_is_cut_off_or_lies_over_another(figure, monkeypatch):
    assert_nothing_is_cut_off(figure(), monkeypatch)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (1, "100%"), (0.9997, ">99.9%"), (0.0003, "<0.1%"), (0.5, "50.0%"), (0.999, "99.9%"), (0.001, "0.1%")],
)
def test_percentages_do_not_round_to_certainty(share, text):
    assert percent(share) == text


def test_pictures_need_no_screen_and_leave_matplotlib_as_it_was():
    program = (
        "import io, sys, numpy, matplotlib; from scratchnet import plots\n"
        "before = matplotlib.rcParams.copy()\n"
        "figure = plots.confusion_matrix(numpy.eye(2, dtype=int), ['a', 'b'])\n"
        "figure.savefig(io.BytesIO())\n"
        "print('matplotlib.pyplot' in sys.modules, matplotlib.rcParams.copy() == before)"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "MPLBACKEND")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError, match=r"pip install 'scratchnet\[plots\]'"):
        plots.curves([{"event": "epoch", "step": "1", "train_loss": "1", "test_loss": "", "test_accuracy": ""}])
