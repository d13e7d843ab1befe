"""Single layers of the systems as steps: the op alone, forward, or forward and backward."""

from typing import Any

from benchmarks.steps import Step

# name → (op, the sizes that differ from the ladder's default)
LAYERS: dict[str, tuple[str, dict[str, int]]] = {
    "conv1 of A": ("conv2d", {"in_channels": 1, "out_channels": 16, "size": 28}),
    "conv2 of A": ("conv2d", {}),
    "conv2 of B": ("conv2d", {"batch_size": 64, "in_channels": 4, "out_channels": 8}),
    "conv1 of C64": (
        "conv2d",
        {"batch_size": 64, "in_channels": 3, "out_channels": 4, "size": 32, "kernel_size": 3, "padding": 1},
    ),
    "conv5 of C64": (
        "conv2d",
        {"batch_size": 64, "in_channels": 32, "out_channels": 64, "size": 8, "kernel_size": 3, "padding": 1},
    ),
    "batch_norm1 of C64": ("batch_norm", {}),
    "relu1 of A": ("relu", {}),
    "pool1 of A": ("max_pool2d", {}),
    "pool2 of C64": ("avg_pool2d", {}),
    "pool of ResNet20": ("adaptive_avg_pool2d", {}),
    "fc1 of D20": ("linear", {"batch_size": 20, "in_features": 784, "out_features": 256}),
    "fc1 of D128": ("linear", {"batch_size": 128, "in_features": 784, "out_features": 256}),
    "fc1 of E": ("linear", {}),
    "dropout of B": ("dropout", {}),
    "cross entropy of A": ("cross_entropy", {}),
}
PASSES = ("forward", "both")


def build(framework: str, variant: str, layer: str, passes: str) -> Step:
    """passes is "forward", or "both": forward and backward."""
    from scratchnet.study._ladder_cases import make_case, sizes_of

    if layer not in LAYERS:
        raise ValueError(f"layer: expected one of {', '.join(LAYERS)}, got {layer!r}")
    op, changes = LAYERS[layer]
    case = make_case(op, sizes_of(op, changes))
    if framework == "torch":
        return _torch_step(op, case, variant, passes)
    return _scratchnet_step(op, case, variant, passes)


def _scratchnet_step(op: str, case: Any, variant: str, passes: str) -> Step:
    import numpy

    import scratchnet
    from scratchnet import functional

    scratchnet.use(variant)
    run, run_backward = getattr(functional, op), getattr(functional, f"{op}_backward")
    result = run(*case.arrays, **case.options)[0]
    dy = numpy.ones_like(result[0] if isinstance(result, tuple) else result)

    def forward() -> None:
        run(*case.arrays, **case.options)

    def both() -> None:
        run_backward(dy, run(*case.arrays, **case.options)[1])

    return Step(forward if passes == "forward" else both, f"scratchnet, {variant}")


def _torch_step(op: str, case: Any, variant: str, passes: str) -> Step:
    import torch

    tensors = [torch.from_numpy(array) for array in case.arrays]
    if variant == "channels_last":
        tensors = [t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in tensors]
    elif variant != "eager":
        raise ValueError(f"variant of a layer: expected eager or channels_last, got {variant!r}")
    sources = [t.requires_grad_() for t, wanted in zip(tensors, case.differentiable, strict=True) if wanted]
    run = getattr(torch.nn.functional, op, None) or getattr(torch, op)
    dy = torch.ones_like(run(*tensors, **case.options).detach())

    def forward() -> None:
        run(*tensors, **case.options)

    def both() -> None:
        torch.autograd.grad(run(*tensors, **case.options), sources, dy)

    return Step(forward if passes == "forward" else both, f"torch {torch.__version__}, {variant}")
