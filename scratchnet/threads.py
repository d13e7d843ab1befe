"""How many threads compute: one number for the compiled kernels and for NumPy's BLAS."""

import os
import sys
from numbers import Integral

_chosen: int | None = None


def set_num_threads(threads: int) -> None:
    """Compute on that many threads from here on, in the whole process: compiled kernels and BLAS alike.

    More threads than the processors that this process may use (or than NUMBA_NUM_THREADS says) are not started.

    One number of threads always gives the same bits. Between two numbers, sums over the batch that threads share are
    rounded differently, which means the gradients of weights and biases; outputs and gradients of inputs are the same.
    BLAS, which the im2col rung uses, promises no such thing for its matrix products.

    Raises:
        TypeError: threads is no integer.
        ValueError: threads < 1.
    """
    global _chosen
    if isinstance(threads, bool) or not isinstance(threads, Integral):
        raise TypeError(f"set_num_threads: expected an integer, got {threads!r}")
    if threads < 1:
        raise ValueError(f"set_num_threads: expected at least 1 thread, got {threads}")
    from threadpoolctl import threadpool_limits

    _chosen = min(int(threads), _available())
    threadpool_limits(_chosen, user_api="blas")
    # Numba is slow to import. The kernels ask for the number themselves when they are first needed.
    kernels = sys.modules.get("scratchnet.kernels.cpu._compile")
    if kernels is not None:
        kernels.set_num_threads(_chosen)


def get_num_threads() -> int:
    """How many threads the compiled kernels use: what `set_num_threads` said, at first all there are."""
    return _chosen or _available()


def _available() -> int:
    limit = os.environ.get("NUMBA_NUM_THREADS", "")
    if limit.isdecimal():
        return max(int(limit), 1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
