"""python -m scratchnet COMMAND …: the same as python -m scratchnet.COMMAND …"""

import importlib
import sys

COMMANDS = {
    "train": "train a network by a recipe",
    "evaluate": "what a trained network gets right, and what it confuses",
    "predict": "what a trained network takes pictures of yours for",
    "summary": "a network as a table of layers",
    "export": "a trained network for PyTorch, ONNX runtimes, safetensors or NumPy",
    "data": "list, verify, download and show datasets",
    "doctor": "what works on this machine, and what to do about what does not",
    "warmup": "compile all kernels now, not when a training first needs them",
    "step": "one training step of a tiny network, with every number",
    "explain": "the whole story of one op, optimizer or concept, with small numbers",
    "gradcheck": "is a network's backward pass the derivative of its forward pass",
    "lockstep": "a network and its PyTorch twin side by side: the first tensor that differs",
    "trace": "the terms that one element of a gradient is the sum of, and the way back to the loss",
    "ladder": "what each implementation of an op buys: time, memory, share of the processor's peak",
    "museum": "real mistakes of from-scratch libraries: look at them, run them, hunt them",
    "exercise": "write a backward pass yourself, and have it judged",
}


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: scratchnet COMMAND [options]\n\ncommands (each has --help):")
        for name, purpose in COMMANDS.items():
            print(f"  {name:<10} {purpose}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"error: expected a command ({', '.join(COMMANDS)}), got {name!r}", file=sys.stderr)
        return 2
    return importlib.import_module(f"scratchnet.{name}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
