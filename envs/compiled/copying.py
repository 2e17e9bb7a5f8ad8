"""Copies inside compiled functions."""

from typing import Any

from numpy.typing import NDArray

from oreflow.envs.compiled.jit import njit


@njit(inline="always")
def copy_first(to: NDArray[Any], of: NDArray[Any], n: int) -> None:
    """Copy the first n numbers; for `to[:n] = of[:n]` numba compiles the text of an error, which takes seconds."""
    for i in range(n):
        to[i] = of[i]
