"""What is measured with mirror images."""

import numpy as np

from scratchnet import nn
from scratchnet.training.metrics import evaluate, predict


def first_pixel(x):
    return x[:, 0, 0, :1]


def test_an_image_and_its_mirror_image_count_equally():
    x = np.arange(12.0).reshape(2, 1, 2, 3)
    np.testing.assert_array_equal(predict(first_pixel, x), [[0], [6]])
    np.testing.assert_array_equal(predict(first_pixel, x, mirror=True), [[1], [7]])


def test_evaluate_asks_for_both():
    """A network that looks at the first column alone: 1 there is class 1, and the image counts half."""
    fc = nn.Linear(3, 2, bias=False, rng=0)
    fc.weight.data[...] = [[0, 0, 0], [1, 0, 0]]
    model = nn.Sequential(nn.Flatten(), fc)
    x, target = np.array([[[[-1, 0, 3]]]], "float32"), np.array([1])
    plain, both = (evaluate(model, nn.CrossEntropyLoss(), [(x, target)], mirror=mirror) for mirror in (False, True))
    assert plain.accuracy == 0
    assert both.accuracy == 1
    np.testing.assert_allclose([plain.loss, both.loss], np.log1p(np.exp([1.0, -1.0])), rtol=1e-6)
