"""Compiled work on blocks of rows, side by side on Python's threads.

`numba.prange` does the same, but a function that takes dozens of arrays compiles three times for it, which took the
masks of crystals a fifth of their compilation. Here the compiled function only has to release the lock (`nogil`).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba

_BLOCKS_PER_THREAD = 4  # rows differ in their work: a thread that is done takes over some of another's


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="row_blocks")


if hasattr(os, "register_at_fork"):  # a child process has none of its parent's threads
    os.register_at_fork(after_in_child=_threads.cache_clear)


def in_blocks(work: Callable[[int, int], object], n_rows: int, least: int) -> None:
    """Calls `work(first, last)` until all rows are done, on as many threads as numba may use.

    Args:
        work: handles the rows [first, last), independently of all others.
        least: the fewest rows worth a block.
    """
    n_threads = numba.get_num_threads()
    size = max(least, -(-n_rows // (n_threads * _BLOCKS_PER_THREAD)))
    starts = range(0, n_rows, size)
    if n_threads == 1 or len(starts) <= 1:
        work(0, n_rows)
        return
    done = [_threads(n_threads).submit(work, first, min(n_rows, first + size)) for first in starts]
    for future in done:
        future.result()
