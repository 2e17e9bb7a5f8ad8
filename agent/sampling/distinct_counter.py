"""Counting distinct objects among millions: 128-bit keys in a hash table, 40 bytes an object and none a draw."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oreflow.envs.arrays import Ints, States, UInt64s
from oreflow.envs.compiled.jit import njit

_FREE = -1


@njit
def _mixed(word: np.uint64) -> np.uint64:
    """SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), which spreads every input bit over the word."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@njit
def _keys(rows: NDArray[Any]) -> UInt64s:
    """uint64 [batch, 2] of uint8 [batch, byte]: two hashes from different starts, of eight bytes at a time."""
    out = np.empty((len(rows), 2), dtype=np.uint64)
    for i in range(len(rows)):
        a, b = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
        for first in range(0, rows.shape[1], 8):
            word = np.uint64(0)
            for j in range(first, min(first + 8, rows.shape[1])):
                word = (word << np.uint64(8)) | np.uint64(rows[i, j])
            a = _mixed((a ^ word) + np.uint64(0x9E3779B97F4A7C15))
            b = _mixed((b ^ word) + np.uint64(0xD1B54A32D192ED03))
        out[i, 0], out[i, 1] = a, b
    return out


@njit
def _place(slots: Ints, known: UInt64s, key: UInt64s) -> int:
    """The slot that holds a key, or the free one where it belongs; the number of slots is a power of two."""
    last = np.uint64(len(slots) - 1)
    slot = key[0] & last
    while slots[slot] != _FREE and (known[slots[slot], 0] != key[0] or known[slots[slot], 1] != key[1]):
        slot = (slot + np.uint64(1)) & last
    return np.int64(slot)  # type: ignore[return-value]


@njit
def _fill(slots: Ints, known: UInt64s, n: int) -> None:
    for i in range(n):
        slots[_place(slots, known, known[i])] = i


@njit
def _count(slots: Ints, known: UInt64s, times: Ints, n: int, keys: UInt64s, stop_at: int, out: Ints) -> tuple[int, int]:
    """Fills `out` with the rows' numbers; returns how many are distinct now, and how many rows that took."""
    for i in range(len(keys)):
        if n == stop_at:
            return n, i
        slot = _place(slots, known, keys[i])
        if slots[slot] == _FREE:
            slots[slot] = n
            known[n] = keys[i]
            n += 1
        out[i] = slots[slot]
        times[out[i]] += 1
    return n, len(keys)


class DistinctCounter:
    """Numbers distinct rows in the order of their first appearance and counts how often each occurs.

    Rows are told apart by 128 bits of hash: among a million objects two share theirs with a probability of 10^-27.
    """

    def __init__(self) -> None:
        self._n = 0
        self._known = np.empty((1024, 2), dtype=np.uint64)
        self._times = np.zeros(1024, dtype=np.int64)
        self._slots = np.full(4096, _FREE, dtype=np.int64)

    def __len__(self) -> int:
        return self._n

    @property
    def times(self) -> Ints:
        """int64 [distinct]: how often each row occurred so far."""
        return self._times[: self._n]

    def add(self, rows: States, stop_at: int | None = None) -> Ints:
        """Counts rows [batch, ...], all of one type in all calls.

        Args:
            stop_at: leaves out what follows the row that makes so many distinct ones.

        Returns:
            The number of each row, int64 [row].
        """
        flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
        self._make_room(self._n + len(rows))
        numbers = np.empty(len(rows), dtype=np.int64)
        tables = self._slots, self._known, self._times
        self._n, n_rows = _count(
            *tables, self._n, _keys(flat.view(np.uint8)), -1 if stop_at is None else stop_at, numbers
        )
        return numbers[:n_rows]

    def _make_room(self, n: int) -> None:
        size = len(self._known)
        if n <= size:
            return
        while size < n:
            size *= 2
        known, times = self._known, self._times
        self._known, self._times = np.empty((size, 2), dtype=np.uint64), np.zeros(size, dtype=np.int64)
        self._known[: self._n], self._times[: self._n] = known[: self._n], times[: self._n]
        self._slots = np.full(2 * size, _FREE, dtype=np.int64)
        _fill(self._slots, self._known, self._n)
