"""Repair by Metropolis-Hastings, as Sawada, Morikawa and Fujii do it: compiled, beside the exact searches.

Protocol: arXiv:1910.11499 and the code published with it. The state is the element fractions of the formula's own
elements, rounded to two decimals. Each step draws 256 proposals from a normal distribution around the state, of
variance 0.05 for each element, cuts them off below 1e-6, scales them to sum to 1 and rounds them to two decimals. The
one of the smallest net valence v is accepted with probability min(1, exp(v_now^2 - v_new^2)). The chain ends when v is
0, and after 10 000 steps otherwise.

Here v is the smallest over all choices of oxidation states. The published code pairs the first states of all elements,
the second ones and so on, leaves formulas alone whose elements have different numbers of several states, and stops at
any proposal of negative charge; this version is the stronger one.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit

STEPS = 10_000
_PROPOSALS, _VARIANCE, _DECIMALS = 256, 0.05, 2
_LEAST, _ZERO = 1e-6, 1e-6


@njit(nogil=True)
def _net_valence(x: Floats, choices: Ints, mixed: bool) -> float:
    """|sum x s|, smallest over `choices` int64 [choice, element]; mixed: two choices, lowest and highest states."""
    if mixed:
        low, high = 0.0, 0.0
        for e in range(len(x)):
            low += x[e] * choices[0, e]
            high += x[e] * choices[1, e]
        return max(low, -high, 0.0)
    smallest = np.inf
    for c in range(len(choices)):
        charge = 0.0
        for e in range(len(x)):
            charge += x[e] * choices[c, e]
        smallest = min(smallest, abs(charge))
    return smallest


@njit(nogil=True)
def _step(x: Floats, now: float, choices: Ints, mixed: bool, noise: Floats, threshold: float, best: Floats) -> float:
    """One move of the chain in place; returns its net valence. `noise` [proposal, element]; `best` is for work."""
    proposal, smallest = np.empty(len(x)), np.inf
    for i in range(len(noise)):
        total = 0.0
        for e in range(len(x)):
            proposal[e] = max(x[e] + noise[i, e], _LEAST)
            total += proposal[e]
        for e in range(len(x)):
            proposal[e] = np.round(proposal[e] / total, _DECIMALS)
        valence = _net_valence(proposal, choices, mixed)
        if valence < smallest:
            smallest = valence
            copy_first(best, proposal, len(x))
    if best.sum() > 0 and threshold < np.exp(now * now - smallest * smallest):
        copy_first(x, best, len(x))
        return smallest
    return now


def walk(
    weights: Mapping[int, float],
    states: Mapping[int, Sequence[int]],
    mixed_valence: bool,
    rng: np.random.Generator,
    steps: int = STEPS,
) -> dict[int, int]:
    """Move element fractions to a small net valence; hundredths by atomic number, elements without one left out.

    Rounding may leave their sum at 99 or 101, as it does in the published code.

    Args:
        weights: amounts by atomic number, in any unit.
        states: by atomic number, at least one of each element.
        mixed_valence: whether atoms of one element may differ, as `charge_balance` means it.
        steps: the most that are made.
    """
    elements = sorted(weights)
    total = sum(weights.values())
    x = np.round(np.array([weights[z] / total for z in elements]), _DECIMALS)
    own = [sorted(states[z]) for z in elements]
    pairs = [[s[0] for s in own], [s[-1] for s in own]]
    choices = np.array(pairs if mixed_valence else list(itertools.product(*own)), dtype=np.int64)
    now, best = _net_valence(x, choices, mixed_valence), np.empty(len(x))
    for _ in range(steps if len(x) > 1 else 0):
        if now < _ZERO:
            break
        noise = rng.normal(0.0, np.sqrt(_VARIANCE), (_PROPOSALS, len(x)))
        now = _step(x, now, choices, mixed_valence, noise, rng.random(), best)
    hundredths = np.rint(x * 10**_DECIMALS).astype(np.int64).tolist()
    return {z: n for z, n in zip(elements, hundredths) if n}
