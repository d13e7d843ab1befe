"""The `cuda` rung: CUDA C kernels (`*.cu`) and what launches them (the `.py` of the same name), through CuPy.

Each kernel is a few lines, and the order and the names are those of the ops. How to read one: it is the body of a loop
over all threads of a grid of blocks. `blockIdx`, `threadIdx` and `blockDim` say which thread this is, and that is how
it finds the element it computes. Threads of a block can share memory and wait for each other; blocks cannot.
`common.cuh` has the little that several files need, `_launch.py` compiles and launches.
"""
