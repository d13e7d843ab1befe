"""How fast scratchnet is beside PyTorch: one framework per process, in turns, medians, on 1 and on 2 threads.

    python -m benchmarks.hot_loop      a whole training step of each system, and evaluation
    python -m benchmarks.ops           single layers, forward and backward
    python -m benchmarks.memory        peak memory of training
    python -m benchmarks.startup       seconds from the start of a process to its first step; whole train commands
    pytest benchmarks                  the same steps under pytest-benchmark, to compare one version with another

The first four start `python -m benchmarks.worker` again and again. This file imports nothing: the worker sets the
number of threads before any library is loaded.
"""
