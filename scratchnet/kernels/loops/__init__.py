"""The loops rung: every op as nested Python loops, the definition made executable.

One loop for each index of the formula, one multiplication at a time: slow, and nothing is hidden. The formulas and
their derivations are in the docstrings of scratchnet.ops, under the same file names. Backward has the loops of
forward. Where forward reads `total += weight[o, c, u, v] * pixel`, backward stands at the same place and passes the
gradient to both factors::

    dweight[o, c, u, v] += dy[n, o, i, j] * pixel
    dx[n, c, row, column] += dy[n, o, i, j] * weight[o, c, u, v]

Sums are taken in double precision, and the result is stored in the input's dtype. flatten has nothing to loop over:
it is left to scratchnet.ops.
"""
