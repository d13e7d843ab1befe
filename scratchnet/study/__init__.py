"""Tools to study and to check a backward pass: your own as well as this library's.

    gradcheck(target, *inputs)               is the backward pass the derivative of the forward pass?
    parity(ours, torch_module, *inputs)      does a module compute what torch's computes, forward and backward?

Both return a report: print it, ask `report.ok`, or call `report.check()` in a test.
"""

from scratchnet.study.gradcheck import GradcheckReport, TensorCheck, gradcheck
from scratchnet.study.parity import ParityReport, TensorParity, parity

__all__ = ["GradcheckReport", "ParityReport", "TensorCheck", "TensorParity", "gradcheck", "parity"]
