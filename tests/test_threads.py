"""scratchnet.set_num_threads: what it accepts, whom it reaches, and what the number of threads changes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import scratchnet
from scratchnet import threads
from scratchnet.kernels.cpu import _compile


def run(script, **environment):
    """What a Python process prints, as JSON. It may use two threads, whatever there are here."""
    environment = os.environ | {"NUMBA_NUM_THREADS": "2"} | environment
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture
def as_before():
    before = threads._chosen, _compile.get_num_threads()
    yield
    threads._chosen = before[0]
    _compile.set_num_threads(before[1])


@pytest.mark.parametrize("bad", [0, -1, np.int64(0)])
def test_numbers_below_one(bad):
    with pytest.raises(ValueError, match=rf"set_num_threads: expected at least 1 thread, got {bad}"):
        scratchnet.set_num_threads(bad)


@pytest.mark.parametrize("bad", [1.0, "2", None, True, [1], np.ones(2)])
def test_what_is_no_integer(bad):
    before = scratchnet.get_num_threads()
    with pytest.raises(TypeError, match="set_num_threads: expected an integer, got "):
        scratchnet.set_num_threads(bad)
    assert scratchnet.get_num_threads() == before


def test_kernels_follow(as_before):
    scratchnet.set_num_threads(np.int64(1))
    assert scratchnet.get_num_threads() == _compile.get_num_threads() == 1


def test_blas_follows():
    script = """
import json
import scratchnet
from threadpoolctl import threadpool_info
def blas(): return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
before = blas()
scratchnet.set_num_threads(1)
print(json.dumps([before, blas()]))
"""
    before, after = run(script, OPENBLAS_NUM_THREADS="2")
    assert before
    assert set(after) == {1}


def test_the_number_waits_for_the_kernels():
    script = """
import json, sys
import scratchnet
first = scratchnet.get_num_threads()
scratchnet.set_num_threads(1)
light = "numba" not in sys.modules
from scratchnet.kernels.cpu import _compile
early = _compile.get_num_threads()
scratchnet.set_num_threads(1000)
print(json.dumps([first, light, early, _compile.get_num_threads(), scratchnet.get_num_threads()]))
"""
    assert run(script) == [2, True, 1, 2, 2]


TRAIN = """
import hashlib, json, threading
import numpy as np
import scratchnet
from scratchnet import models, nn, optim
from scratchnet.training.loop import train_step

def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()

def train(name, seed, batch=20, steps=4):
    model = models.build("mnist", name, rng=seed)
    rng = np.random.default_rng(seed)
    optimizer = optim.Adam(model.parameters())
    losses = []
    for _ in range(steps):
        x, labels = rng.standard_normal((batch, 1, 28, 28)).astype("f"), rng.integers(0, 10, batch)
        losses.append(float(train_step(model, nn.CrossEntropyLoss(), optimizer, x, labels)))
    return digest(*[p.data for p in model.parameters()]), losses
"""


def test_one_number_of_threads_gives_the_same_bits():
    script = """
results = {}
for threads in (1, 2, 1, 2):
    scratchnet.set_num_threads(threads)
    for name in ("mlp", "cnn"):
        results.setdefault(f"{name} {threads}", []).append(train(name, 3))
print(json.dumps(results))
"""
    results = run(TRAIN + script)
    for (first, losses), again in results.values():
        assert again == [first, losses]
        assert losses[-1] != losses[0]
    for name in ("mlp", "cnn"):  # 1 and 2 threads: the same to rounding
        np.testing.assert_allclose(results[f"{name} 1"][0][1], results[f"{name} 2"][0][1], rtol=1e-4)


def test_another_number_changes_nothing_but_gradients_of_parameters():
    script = """
results = []
for threads in (1, 2):
    scratchnet.set_num_threads(threads)
    model = models.build("mnist", "cnn", rng=0)
    x = np.random.default_rng(0).standard_normal((50, 1, 28, 28)).astype("f")
    y = model(x)
    dx = model.backward(np.random.default_rng(1).standard_normal(y.shape).astype("f"))
    results.append([digest(y), digest(dx), [p.grad.ravel()[:50].tolist() for p in model.parameters()]])
print(json.dumps(results))
"""
    (y1, dx1, grads1), (y2, dx2, grads2) = run(TRAIN + script)
    assert y1 == y2
    assert dx1 == dx2
    for one, two in zip(grads1, grads2, strict=True):
        assert np.linalg.norm(np.subtract(one, two)) <= 1e-5 * np.linalg.norm(one)


@pytest.mark.parametrize("layer", ["default", "workqueue"])  # of Numba; the latter aborts if two threads enter it
def test_two_python_threads_train_at_once(layer):
    script = """
jobs = [("mlp", 0), ("mlp", 1), ("cnn", 2), ("cnn", 3)]
alone = [train(*job) for job in jobs]
results = [None] * len(jobs)
def work(indices):
    for i in indices:
        results[i] = train(*jobs[i])
for _ in range(3):
    pair = [threading.Thread(target=work, args=(indices,)) for indices in ((0, 2), (3, 1))]
    for thread in pair: thread.start()
    for thread in pair: thread.join()
    assert results == alone, (results, alone)
print(json.dumps(len(set(digest for digest, _ in alone))))
"""
    assert run(TRAIN + script, NUMBA_THREADING_LAYER=layer) == 4
