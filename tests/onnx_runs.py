"""What onnxruntime makes of an exported model, beside what the model itself gives."""

import numpy as np
import onnxruntime

from scratchnet import backend

SESSION = onnxruntime.SessionOptions()
SESSION.intra_op_num_threads = 1
SESSION.log_severity_level = 3


def run(proto, x):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), SESSION, providers=["CPUExecutionProvider"])
    return session.run(None, {proto.graph.input[0].name: x})[0]


def assert_same(proto, model, *inputs, tol=1e-5):
    """‖ours − theirs‖∞ ≤ tol · ‖ours‖∞ in evaluation mode, for every input."""
    model = model.copy().eval()
    for x in inputs:
        with backend.use("im2col"):
            ours = model(x)
        try:
            theirs = run(proto, x)
        except Exception as error:  # onnxruntime's own kinds
            raise AssertionError(f"onnxruntime: {error}") from None
        assert theirs.dtype == ours.dtype
        assert theirs.shape == ours.shape
        difference, scale = np.abs(theirs - ours).max(), np.abs(ours).max()
        assert difference <= tol * scale, f"differs by {difference} of {scale}"


def stir(model, rng):
    """Give BatchNorm statistics and weights that a wrong use of them would show in."""
    for module in model.modules():
        for name, value in module._buffers.items():
            if value is not None and name in ("running_mean", "running_var"):
                shape = value.shape
                moved = rng.standard_normal(shape) if name == "running_mean" else rng.uniform(0.2, 3, shape)
                module._buffers[name] = moved.astype(value.dtype)
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.1 * rng.standard_normal(parameter.shape).astype(parameter.dtype)
    return model
