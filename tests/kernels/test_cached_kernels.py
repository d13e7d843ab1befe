"""What was just compiled and what comes from the cache compute the same bits, so that a run can be continued later."""

import os
import subprocess
import sys

PROGRAM = """
import hashlib
import numpy as np
import scratchnet
from scratchnet import nn
from scratchnet.warmup import count

scratchnet.set_num_threads(1)
rng = np.random.default_rng(0)
model = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1, rng=rng), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Residual(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, rng=rng), nn.BatchNorm2d(16))),
    nn.Conv2d(16, 24, 5, stride=2, rng=rng), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24 * 49, 10, rng=rng),
)
x = rng.standard_normal((16, 3, 32, 32), dtype="float32")
criterion = nn.CrossEntropyLoss()
for network in (model, scratchnet.fuse(model)):
    loss = criterion(network(x), np.arange(16) % 10)
    dx = network.backward(criterion.backward())
gradients = b"".join(parameter.grad.tobytes() for parameter in model.parameters())
print(hashlib.sha256(loss.tobytes() + dx.tobytes() + gradients).hexdigest(), *count())
"""


def test_the_cache_changes_no_bit(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "SCRATCHNET_RUNG": "numba"}
    command = [sys.executable, "-c", PROGRAM]
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    (compiled, *first), (cached, *second) = (run.stdout.split() for run in runs)
    assert int(first[0]) > 10
    assert second == ["0", first[0]]  # nothing was compiled the second time
    assert compiled == cached
