"""The same parameters, gradients and optimizer options in scratchnet and in torch, side by side."""

import copy

import numpy as np
import pytest
import torch

import scratchnet
from scratchnet import optim
from scratchnet.nn.parameter import Parameter

RUNGS = ("im2col", "numba")  # the textbook's update of each parameter, and one compiled pass over all
SHAPES = [(3, 4), (5,), (2, 3, 2, 2), ()]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


class Pair:
    """An optimizer of ours and torch's over equal parameters, in two groups with options of their own.

    The parameters of index 1 and 3 have no gradient at some steps, that of index 3 none at the first two.
    """

    def __init__(self, name, dtype="float64", seed=0, groups=True, **options):
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype
        values = [np.asarray(self.rng.standard_normal(shape), dtype=dtype) for shape in SHAPES]
        self.ours = [Parameter(value.copy()) for value in values]
        self.theirs = [torch.nn.Parameter(torch.from_numpy(value.copy())) for value in values]
        self.name, self.options, self.groups = name, options, groups
        self.optimizer = self.make_ours(self.ours)
        self.reference = self.make_theirs(self.theirs)
        self.steps = 0

    def _groups(self, params):
        if not self.groups:
            return params
        return [{"params": params[:2]}, {"params": params[2:], "lr": 0.02, "weight_decay": 0.03}]

    def make_ours(self, params):
        return getattr(optim, self.name)(self._groups(params), **self.options)

    def make_theirs(self, params):
        return getattr(torch.optim, self.name)(self._groups(params), **self.options)

    def draw_gradients(self):
        for i, (ours, theirs) in enumerate(zip(self.ours, self.theirs, strict=True)):
            grad = np.asarray(self.rng.standard_normal(ours.shape), dtype=self.dtype)
            absent = (i == 1 and self.steps % 4 == 1) or (i == 3 and self.steps % 5 < 2)
            ours.grad = None if absent else grad
            theirs.grad = None if absent else torch.from_numpy(grad.copy())
        self.steps += 1

    def run(self, steps):
        for _ in range(steps):
            self.draw_gradients()
            before = [None if p.grad is None else p.grad.copy() for p in self.ours]
            self.optimizer.step()
            self.reference.step()
            for param, grad in zip(self.ours, before, strict=True):
                assert (param.grad is None) == (grad is None)
                assert grad is None or np.array_equal(param.grad, grad)
        return self

    def assert_agree(self):
        """Parameters, and every array of the state, within the tolerance of the dtype."""
        for ours, theirs in zip(self.ours, self.theirs, strict=True):
            self._assert_close(ours.data, theirs.detach().numpy())
        state, reference = self.optimizer.state_dict()["state"], self.reference.state_dict()["state"]
        assert state.keys() == reference.keys()
        for index, entries in state.items():
            assert entries.keys() == reference[index].keys()
            for key, value in entries.items():
                self._assert_close(value, reference[index][key].numpy())

    def _assert_close(self, ours, theirs):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert np.isfinite(theirs).all()
        assert np.linalg.norm(ours - theirs) <= TOLERANCE[self.dtype] * np.linalg.norm(theirs)

    def load_ours_into_theirs(self):
        """Replace torch's optimizer by a new one that has loaded the state of ours."""
        state_dict = copy.deepcopy(self.optimizer.state_dict())
        state_dict["state"] = {
            index: {key: torch.from_numpy(value) for key, value in entries.items()}
            for index, entries in state_dict["state"].items()
        }
        self.reference = self.make_theirs(self.theirs)
        self.reference.load_state_dict(state_dict)

    def load_theirs_into_ours(self):
        """Replace our optimizer by a new one that has loaded the state of torch's, tensors as they are."""
        state_dict = self.reference.state_dict()
        self.optimizer = self.make_ours(self.ours)
        self.optimizer.load_state_dict(state_dict)


@pytest.fixture(autouse=True, scope="module", params=RUNGS)
def rung(request):
    with scratchnet.use(request.param):
        yield request.param


@pytest.fixture(scope="session")
def make_pair():
    return Pair
