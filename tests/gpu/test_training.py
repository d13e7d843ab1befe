"""Training on the emulated GPU: as on the CPU, without ever waiting for the device, and across devices."""

import gpu_emulation
import numpy as np
import pytest

from scratchnet import backend, datasets, models, nn, recipes, train
from scratchnet.datasets import ArrayDataset, DataLoader
from scratchnet.nn.utils import clip_grad_norm_
from scratchnet.training import Callback, NonFiniteLossError, Trainer
from scratchnet.training.setup import make_optimizer, make_scheduler, make_transform

SYSTEMS = {"A": ("mnist", "cnn"), "C": ("cifar10", "cnn"), "ResNet-20": ("cifar10", "resnet20")}
STEPS = {"A": 5, "C": 5, "ResNet-20": 1}


def images(family, count):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *recipes.IMAGES[family]), dtype=np.uint8)
    return ArrayDataset("noise", "train", pixels, rng.integers(0, 10, count), tuple("0123456789"))


def trainer_and_batches(system, place, dtype="float64", **changes):
    """A trainer of the system's recipe, and its batches of two images."""
    family, model_name = SYSTEMS[system]
    recipe = recipes.find(family, model_name)
    device = backend.device(place)
    model = models.build(family, model_name, 10, 0).to(dtype).to(device)
    optimizer = make_optimizer(recipe, model)
    options = {"clip_norm": 5.0, "ema": 0.9, "scheduler": make_scheduler(recipe, optimizer, 5), **changes}
    trainer = Trainer(model, nn.CrossEntropyLoss(label_smoothing=0.1), optimizer, **options)
    transform = make_transform(recipe, dtype, augment=True)
    return trainer, DataLoader(images(family, 12), 2, True, 0, transform=transform, device=device)


def host(state):
    return {name: value if isinstance(value, np.ndarray | np.generic) else value.get() for name, value in state.items()}


@pytest.mark.filterwarnings("ignore:dropout2d")  # system C's Dropout2d on a 2-D input is the tutorial's
@pytest.mark.parametrize("fuse", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_steps_are_those_of_the_cpu_and_wait_for_nothing(gpu, system, fuse):
    losses, weights = {}, {}
    for place in ("cpu", "gpu"):
        trainer, batches = trainer_and_batches(system, place, fuse=fuse)
        steps = iter(batches)
        trainer.train_step([next(steps)])  # compiles the kernels, and makes the tables of the optimizer
        before = gpu_emulation.counters.launches
        with gpu_emulation.no_sync():
            some = [trainer.train_step([next(steps)]) for _ in range(STEPS[system])]
        if gpu.ndarray is gpu_emulation.arrays.ndarray:
            assert (gpu_emulation.counters.launches > before) == (place == "gpu")
        losses[place] = [float(loss) for loss in some]
        weights[place] = host(trainer.model.state_dict())
    np.testing.assert_allclose(losses["gpu"], losses["cpu"], rtol=1e-10)
    for name, value in weights["cpu"].items():
        np.testing.assert_allclose(weights["gpu"][name], value, rtol=1e-8, atol=1e-10, err_msg=name)


class Looks(Callback):
    def on_step_end(self, trainer, loss):
        float(loss)


def test_a_callback_that_waits_is_seen(emulated):
    trainer, batches = trainer_and_batches("A", "gpu", callbacks=[Looks()])
    with gpu_emulation.no_sync(), pytest.raises(gpu_emulation.SynchronizationError):
        trainer.fit(batches)


def test_the_data_lie_on_the_device_as_bytes_if_they_fit(gpu):
    transform = make_transform(recipes.find("cifar10", "resnet20"), "float32", augment=True)
    device, data = backend.device("gpu"), images("cifar10", 50)
    augmented = datasets.Compose([datasets.RandomCrop(32, padding=4), datasets.RandomHorizontalFlip(), transform])
    expected = list(DataLoader(data, 20, True, 3, transform=augmented))
    resident = DataLoader(data, 20, True, 3, transform=augmented, device=device)
    assert resident._images.dtype == np.uint8
    assert isinstance(resident._images, gpu.ndarray)
    gpu.get_default_memory_pool().set_limit(2 * data.images.nbytes)
    streamed = DataLoader(data, 20, True, 3, transform=augmented, device=device)
    assert isinstance(streamed._images, np.ndarray)
    gpu.get_default_memory_pool().set_limit(0)
    for loader in (resident, streamed):
        with gpu_emulation.no_sync():
            batches = list(loader)
        for (x, labels), (x_cpu, labels_cpu) in zip(batches, expected, strict=True):
            np.testing.assert_array_equal(x.get(), x_cpu)
            np.testing.assert_array_equal(labels.get(), labels_cpu)


def test_out_of_memory_says_which_batch_would_fit(gpu):
    trainer, _ = trainer_and_batches("A", "gpu", dtype="float32", fuse=False, ema=None, clip_norm=None)
    x = gpu.zeros((64, 1, 28, 28), gpu.float32)
    target = gpu.zeros(64, gpu.int64)
    pool = gpu.get_default_memory_pool()
    trainer.train_step([(x[:8], target[:8])])
    pool.set_limit(pool.used_bytes() + (8 << 20))
    with pytest.raises(
        MemoryError, match=r"a batch of 64 does not fit .*allocating [\d,]+ bytes.*; a batch of (\d+) fi"
    ) as error:
        trainer.fit([(x, target)])
    fits = int(str(error.value).split("a batch of ")[2].split()[0])
    assert 1 <= fits < 64
    trainer.train_step([(x[:fits], target[:fits])])
    pool.set_limit(0)


@pytest.mark.parametrize(("first", "second"), [("cpu", "gpu"), ("gpu", "cpu")])
def test_a_checkpoint_of_one_device_is_resumed_on_the_other(gpu, tmp_path, first, second):
    """To the weights of a run that never moved."""

    def run(place, folder, epochs, resume):
        trainer, batches = trainer_and_batches("A", place, out=folder)
        trainer.fit(batches, epochs=epochs, resume=resume)
        return host(trainer.model.state_dict())

    stayed = run(first, tmp_path / "stayed", 2, False)
    run(first, tmp_path / "moved", 1, False)
    moved = run(second, tmp_path / "moved", 2, True)
    for name, value in stayed.items():
        np.testing.assert_allclose(moved[name], value, rtol=1e-7, atol=1e-9, err_msg=name)


def test_a_loss_that_is_not_finite_stops_the_run_where_it_is_logged(gpu):
    trainer, batches = trainer_and_batches("A", "gpu")
    next(iter(trainer.model.parameters())).data[...] = np.nan
    with pytest.raises(NonFiniteLossError, match="the loss is nan at step 6, or became so within the 50 steps before"):
        trainer.fit(batches)


def test_the_command_on_a_gpu(gpu, tmp_path, capsys):
    arguments = ["mnist", "--model", "mlp", "--epochs", "1", "--limit-batches", "3", "--batch-size", "4"]
    assert train.main([*arguments, "--device", "gpu", "--out", str(tmp_path / "run"), "--memory-limit", "4"]) == 0
    out = capsys.readouterr().out
    assert "on gpu:0" in out
    assert "test accuracy" in out
    gpu.get_default_memory_pool().set_limit(0)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, np.inf])
def test_clipping_by_the_norm_waits_for_nothing(gpu, norm_type):
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal(shape) for shape in [(3, 4), (5,)]]
    for limit in (0.5, 1e3):
        ours, theirs = [], []
        for place, found in ((gpu.asarray, ours), (np.asarray, theirs)):
            params = [nn.Parameter(place(np.zeros_like(g))) for g in gradients]
            for param, gradient in zip(params, gradients, strict=True):
                param.grad = place(gradient.copy())
            with gpu_emulation.no_sync():
                total = clip_grad_norm_(params, limit, norm_type)
            found += [float(total), *(param.grad for param in params)]
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a if isinstance(a, float) else a.get(), b, rtol=1e-12)
