"""What the pictures show: the numbers that were given, on scales that say what they say."""

import numpy as np
import pytest

from scratchnet import models, nn, plots

RNG = np.random.default_rng(0)


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
    assert "input channel 0 of 2" in figure.get_suptitle()
    rgb = plots.filters(weight[:, :1].repeat(3, 1), gradient[:, :1].repeat(3, 1), update[:, :1].repeat(3, 1), "conv")
    assert drawn(rgb.axes[0]).shape == (3, 3, 3)


def test_the_mistakes_are_the_surest_ones():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.3, 0.7]])
    images = np.zeros((4, 1, 2, 2), np.uint8)
    figure = plots.mistakes(images, probabilities, np.array([0, 0, 0, 1]), ["x", "y"])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["y 80%\n(x 20%)", "y 55%\n(x 45%)"]
    assert "2 mistakes on 4 images" in figure.get_suptitle()
    none = plots.mistakes(images[:1], probabilities[:1], np.array([0]), ["x", "y"])
    assert "no mistakes on 1 images" in none.get_suptitle()


def test_the_confusion_matrix_counts_rows_as_labels():
    figure = plots.confusion_matrix(np.array([[3, 1], [0, 4]]), ["x", "y"])
    assert figure.get_suptitle() == "7 of 8 images recognised (87.50%)"
    np.testing.assert_array_equal(drawn(figure.axes[0]), [[0.75, 0.25], [0, 1]])
    assert {(t.get_position(), t.get_text()) for t in figure.axes[0].texts} == {
        ((0, 0), "3"),
        ((1, 0), "1"),
        ((1, 1), "4"),
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
    assert lines["training, single batches"] == ([50], [1.5])
    assert lines["training, epoch"] == ([100], [1.0])
    assert lines["test"] == ([100, 200], [0.9, 0.8])
    assert accuracy.lines[-1].get_label() == "test, epoch, best 70.00%"
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
    difference = activations.grad["relu2"] - 3 * expected.grad["relu2"]
    assert np.linalg.norm(difference) < 1e-5 * np.linalg.norm(activations.grad["relu2"])
    assert all((model.state_dict()[key] == value).all() for key, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert plots.spatial_layers(model, x) == ["relu1", "relu2"]
    assert plots.input_of_last_linear(model, x) == "dropout"


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    figure = plots.image_grid(np.zeros((1, 1, 2, 2), np.uint8), ["a"])
    path = plots.save(figure, tmp_path / "new" / "a.png")
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        plots.save(figure, path)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]
    assert path.read_bytes() == before


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError, match=r"pip install 'scratchnet\[plots\]'"):
        plots.curves([{"event": "epoch", "step": "1", "train_loss": "1", "test_loss": "", "test_accuracy": ""}])
