"""Sets of small numbers as bits of 64-bit words, for compiled code."""

import numpy as np

from oreflow.envs.arrays import UInt64s
from oreflow.envs.compiled.jit import njit


@njit
def get_bit(words: UInt64s, index: int) -> bool:
    """Read a bit: whether number `index`, from 0 up, is in the set `words`, uint64 [word]."""
    return (words[index >> 6] >> np.uint64(index & 63)) & np.uint64(1) != np.uint64(0)


@njit
def set_bit(words: UInt64s, index: int) -> None:
    """Set a bit in place: number `index`, from 0 up, joins the set `words`, uint64 [word]."""
    words[index >> 6] |= np.uint64(1) << np.uint64(index & 63)


@njit
def or_shifted(target: UInt64s, source: UInt64s, shift: int, n_bits: int) -> None:
    """target |= source << shift (towards higher indices; negative: lower), cut to bits [0, n_bits) of `target`."""
    word, bit = shift >> 6, np.uint64(shift & 63)  # floors, so bit counts upwards for either sign
    for i in range(len(source)):
        if source[i] == np.uint64(0):
            continue
        j = i + word
        if 0 <= j < len(target):
            target[j] |= source[i] << bit
        if bit > np.uint64(0) and 0 <= j + 1 < len(target):
            target[j + 1] |= source[i] >> (np.uint64(64) - bit)
    if n_bits & 63:
        target[n_bits >> 6] &= (np.uint64(1) << np.uint64(n_bits & 63)) - np.uint64(1)


@njit
def overlaps_shifted(target: UInt64s, row: int, source: UInt64s, shift: int) -> bool:
    """Whether any bit of `source << shift` (negative: towards lower indices) is set in `target[row]`.

    Takes the row as an index: a slice would count references, which threads then fight over.
    """
    word, bit = shift >> 6, np.uint64(shift & 63)  # floors, so bit counts upwards for either sign
    for i in range(len(source)):
        if source[i] == np.uint64(0):
            continue
        j = i + word
        if 0 <= j < target.shape[1] and (target[row, j] & (source[i] << bit)) != np.uint64(0):
            return True
        if (
            bit > np.uint64(0)
            and 0 <= j + 1 < target.shape[1]
            and (target[row, j + 1] & (source[i] >> (np.uint64(64) - bit))) != np.uint64(0)
        ):
            return True
    return False


_PAIRS, _FOURS = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)


_EIGHTS, _BYTES = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)


@njit(inline="always")
def count_bits(word: np.uint64) -> np.int64:
    """Count the bits of a word that are set, in pairs, fours and bytes at once."""
    word -= (word >> np.uint64(1)) & _PAIRS
    word = (word & _FOURS) + ((word >> np.uint64(2)) & _FOURS)
    word = (word + (word >> np.uint64(4))) & _EIGHTS
    return np.int64((word * _BYTES) >> np.uint64(56))
