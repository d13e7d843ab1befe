"""The layer table: system C's figures by torchinfo's conventions, shared layers, what backward needs."""

import pytest

import scratchnet
import scratchnet.summary
from scratchnet import models, nn


@pytest.mark.filterwarnings("ignore:.*dropout2d")
def test_system_c_has_torchinfos_figures():
    table = nn.summary(models.build("cifar10", "cnn", rng=0), (64, 3, 32, 32))
    assert table.parameters == 554_890
    assert f"{table.mult_adds / 1e6:.2f}" == "289.00"
    assert f"{table.forward_backward / 1e6:.2f}" == "42.21"
    weights_only = sum(
        row.mult_adds * (1 - bias / row.parameters)
        for row, bias in ((row, row.output_shape[1]) for row in table.rows if row.kind in ("Conv2d", "Linear"))
    )
    assert f"{weights_only / 1e6:.2f}" == "286.33"


def test_what_is_saved_is_measured():
    model = nn.Sequential(nn.Linear(10, 20, rng=0), nn.ReLU(), nn.Linear(20, 5, rng=0))
    with scratchnet.use("im2col"):
        rows = nn.summary(model, (8, 10)).rows
    # x, the mask of ReLU (one byte an element), and the second layer's input; weights are held anyway
    assert [row.saved for row in rows] == [8 * 10 * 4, 8 * 20, 8 * 20 * 4]


def test_a_shared_layer_is_counted_once_but_works_twice():
    layer = nn.Linear(4, 4, rng=0)
    table = nn.summary(nn.Sequential(layer, nn.Tanh(), layer), (2, 4))
    assert [row.parameters for row in table.rows] == [20, 0, 0]
    assert [row.mult_adds for row in table.rows] == [40, 0, 40]
    assert table.parameters == 20


def test_the_model_is_left_as_it_was():
    model = models.build("cifar10", "resnet20", rng=0).eval()
    before = model.state_dict()
    table = nn.summary(model, (2, 3, 32, 32))
    assert table.parameters == 272_474
    assert "layer2.0.residual.shortcut.0" in [row.name for row in table.rows]
    assert not model.training
    assert all((before[key] == value).all() for key, value in model.state_dict().items())


def test_the_command_prints_the_table(capsys):
    assert scratchnet.summary.main(["mnist", "--batch-size", "5"]) == 0
    text = capsys.readouterr().out
    assert "5 × 32 × 7 × 7" in text
    assert "28,938 parameters" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["mnist", "--model", "vgg"], "got 'vgg'"), (["mnist", "--batch-size", "0"], "expected a whole number ≥ 1")],
)
def test_wrong_arguments_exit_with_2(capsys, argv, message):
    try:
        code = scratchnet.summary.main(argv)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err
