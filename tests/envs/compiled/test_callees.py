"""Functions that compiled functions call: built into their callers, and compiled again where Python calls them."""

import threading

import numpy as np
import pytest

from oreflow.envs.arrays import Floats
from oreflow.envs.compiled.callees import is_callee
from oreflow.envs.compiled.jit import njit


def test_a_callee_has_no_code_of_its_own_until_python_calls_it() -> None:
    @njit
    def halved(x: float) -> float:
        return x / 2.0

    @njit
    def of_all(xs: Floats) -> float:
        total = 0.0
        for x in xs:
            total += halved(x)
        return total

    assert of_all(np.arange(5.0)) == 5.0
    assert [is_callee(version) for version in halved.overloads.values()] == [True]
    assert halved(3.0) == 1.5
    assert [is_callee(version) for version in halved.overloads.values()] == [False]
    assert of_all(np.arange(6.0)) == 7.5


def test_a_callee_that_raises_says_what() -> None:
    """Messages lie in a function's environment, which has to come along."""

    @njit
    def checked(x: int) -> int:
        if x > 2:
            raise ValueError("expected at most 2")
        return x

    @njit
    def total(xs: Floats) -> int:
        out = 0
        for x in xs:
            out += checked(x)
        return out

    assert total(np.arange(3)) == 3
    with pytest.raises(ValueError, match=r"^expected at most 2$"):
        total(np.arange(5))


def test_python_calls_while_another_thread_compiles_callers() -> None:
    """A call from Python must not be given the version without a wrapper, which would crash the process."""

    @njit
    def base(x: int) -> int:
        return x + 1

    callers = []
    for _ in range(4):

        @njit
        def caller(x: int) -> int:
            return base(x) * 2

        callers.append(caller)

    found: list[int] = []
    threads = [threading.Thread(target=lambda c=c: found.append(c(1))) for c in callers]
    threads += [threading.Thread(target=lambda: found.append(base(3))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [4] * 8
