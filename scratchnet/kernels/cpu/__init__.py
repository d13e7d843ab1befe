"""The numba rung: the same functions as scratchnet/ops, compiled for the CPU at hand.

Read in this order: vector.py, the few micro-kernels that do the arithmetic; _compile.py, how a Python function becomes
a kernel on several threads; linear.py, the shortest use of both; then conv.py and fused.py.
"""
