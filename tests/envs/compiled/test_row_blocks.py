"""Blocks of rows on threads: every row once, faults arrive, and a forked process has threads of its own."""

import multiprocessing
import threading
from collections.abc import Iterator

import numba
import numpy as np
import pytest

from oreflow.envs.compiled.row_blocks import in_blocks


@pytest.fixture(params=[1, 2])
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = numba.get_num_threads()
    numba.set_num_threads(min(request.param, numba.config.NUMBA_NUM_THREADS))
    yield numba.get_num_threads()
    numba.set_num_threads(before)


@pytest.mark.parametrize("n_rows", [0, 1, 15, 16, 17, 63, 64, 65, 1000])
def test_every_row_is_done_once_in_blocks_worth_their_while(n_rows: int, n_threads: int) -> None:
    times, blocks = np.zeros(n_rows, dtype=int), []

    def work(first: int, last: int) -> None:
        times[first:last] += 1
        blocks.append(last - first)

    in_blocks(work, n_rows, least=16)
    assert (times == 1).all()
    assert all(size >= 16 for size in sorted(blocks)[1:]), "only the last may be smaller"


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
@pytest.mark.parametrize("n_threads", [2], indirect=True)
def test_blocks_run_side_by_side(n_threads: int) -> None:
    both_inside = threading.Barrier(2, timeout=20)
    in_blocks(lambda first, last: both_inside.wait() if first < 32 else None, 64, least=16)  # first: 0, 16, 32, 48


def test_a_fault_arrives(n_threads: int) -> None:
    def work(first: int, last: int) -> None:
        if last == 64:
            raise ValueError("in the last block")

    with pytest.raises(ValueError, match="in the last block"):
        in_blocks(work, 64, least=16)


def _sum(queue: "multiprocessing.Queue[int]") -> None:
    parts: list[int] = []
    in_blocks(lambda first, last: parts.append(sum(range(first, last))), 100, least=10)
    queue.put(sum(parts))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_forked_process_works() -> None:
    in_blocks(lambda first, last: None, 100, least=10)  # threads that the child does not inherit
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_sum, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=30) == sum(range(100))
    finally:
        child.kill()
        child.join()
