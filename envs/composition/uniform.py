"""Uniform random objects of a composition world, exactly, in worlds too large to enumerate.

Rejection from a superset that can be counted: all count vectors that satisfy the ranges of elements, atoms and counts
and the required groups. A dynamic program counts the ways to complete each prefix, so a vector is drawn uniformly,
element by element; those with a common divisor or, under a hard constraint, without neutrality are dropped.
"""

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Int16s, Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.composition.masks import are_objects
from oreflow.envs.composition.rules import Rules
from oreflow.envs.contract.drawing import TooRareError

_DRAWS_AT_ONCE = 50_000
_MAX_DRAWS_PER_OBJECT = 10_000_000
_MAX_COUNTED_GROUPS = 6  # further groups are left to rejection, so that the table stays small


def sample_uniform(rules: Rules, n: int, rng: np.random.Generator) -> Int16s:
    """Terminal states [n, elements + 1]; see `CompositionKernel.sample_uniform`.

    Raises:
        TooRareError: when fewer than one draw in 10^7 is an object.
    """
    forced, groups = _split_groups(rules)
    ways = _count_completions(rules, forced, groups)
    kept: list[Int16s] = []
    n_kept = n_drawn = 0
    while n_kept < n:
        states = np.zeros((_DRAWS_AT_ONCE, rules.n + 1), dtype=np.int16)
        states[:, :-1] = _draw_counts(rules, ways, forced, groups, rng.random((_DRAWS_AT_ONCE, rules.n)))
        states = states[are_objects(rules, states)]
        states[:, -1] = 1
        kept.append(states)
        n_kept += len(states)
        n_drawn += _DRAWS_AT_ONCE
        if n_drawn > _MAX_DRAWS_PER_OBJECT * max(n_kept, 1):
            raise TooRareError(f"only {n_kept} of {n_drawn} random count vectors were objects of this world")
    return np.concatenate(kept)[:n]


def _split_groups(rules: Rules) -> tuple[Bools, Ints]:
    """Elements that must occur, bool [n], and for each element the bits of the other groups it is in, int64 [n]."""
    forced = np.zeros(rules.n, dtype=np.bool_)
    bits = np.zeros(rules.n, dtype=np.int64)
    n_bits = 0
    for group in range(int(rules.all_groups).bit_length()):
        members = (rules.element_groups >> group) & 1 == 1
        if members.sum() == 1:
            forced |= members
        elif n_bits < _MAX_COUNTED_GROUPS:
            bits[members] |= 1 << n_bits
            n_bits += 1
    return forced, bits


def _count_completions(rules: Rules, forced: Bools, groups: Ints) -> Floats:
    """float64 [e, k, a, groups met]: choices for elements e and later, given k elements and a atoms so far."""
    n_patterns = int(np.bitwise_or.reduce(groups)) + 1
    ways = np.zeros((rules.n + 1, rules.n_elements_max + 1, rules.n_atoms_max + 1, n_patterns))
    ways[rules.n, rules.n_elements_min :, rules.n_atoms_min :, -1] = 1.0
    for e in range(rules.n - 1, -1, -1):
        if not forced[e]:
            ways[e] = ways[e + 1]
        met = np.arange(n_patterns) | groups[e]
        cls = rules.class_of[e]
        for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
            ways[e, :-1, : ways.shape[2] - count] += ways[e + 1, 1:, count:][..., met]
    return ways


@njit
def _draw_counts(rules: Rules, ways: Floats, forced: Bools, groups: Ints, uniform: Floats) -> Int16s:
    """Count vectors [row, n], each with equal probability; `uniform` [row, n] are random numbers in [0, 1)."""
    counts = np.zeros(uniform.shape, dtype=np.int16)
    for i in range(len(uniform)):
        k, a, met = 0, 0, 0
        for e in range(rules.n):
            target = uniform[i, e] * ways[e, k, a, met]
            if not forced[e]:
                target -= ways[e + 1, k, a, met]
            if target < 0 or k == rules.n_elements_max:
                continue
            cls = rules.class_of[e]
            chosen = 0
            for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
                if a + count > rules.n_atoms_max:
                    break
                weight = ways[e + 1, k + 1, a + count, met | groups[e]]
                if weight > 0:
                    chosen = count  # also the answer when rounding leaves the target just above the last weight
                    target -= weight
                    if target < 0:
                        break
            if chosen:
                counts[i, e] = chosen
                k += 1
                a += chosen
                met |= groups[e]
    return counts
