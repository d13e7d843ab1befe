"""Weights that travel: files that PyTorch, Hugging Face, NumPy and ONNX runtimes write or read.

model.load_state_dict(weights.load("theirs.pt"))
weights.save(model.state_dict(), "ours.safetensors")
weights.to_onnx(model, (None, 3, 32, 32), "ours.onnx")
"""

from scratchnet.weights.files import StateDict, load, save
from scratchnet.weights.onnx import to_onnx

__all__ = ["StateDict", "load", "save", "to_onnx"]
