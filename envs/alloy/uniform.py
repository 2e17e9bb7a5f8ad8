"""How many alloys a world has, and alloys drawn uniformly from all of them, both by one dynamic program."""

import numpy as np

from oreflow.envs.alloy.space import AlloyRules
from oreflow.envs.arrays import Floats, Int16s


def count_completions(rules: AlloyRules, *, ignore_required: bool = False) -> Floats:
    """Count the ways to give out steps over the last elements.

    Args:
        ignore_required: whether required elements may be left out.

    Returns:
        ways: float64 [element + 1, k, steps], choices from the elements from this one on: exactly k of them, with these
            steps in all. Exact below 2^53.
    """
    ways = np.zeros((rules.n + 1, rules.n_elements_max + 1, rules.n_steps + 1))
    ways[rules.n, 0, 0] = 1
    for e in range(rules.n - 1, -1, -1):
        cls = rules.class_of[e]
        if cls < 0:
            ways[e] = ways[e + 1]
            continue
        if ignore_required or not rules.class_required[cls]:
            ways[e] = ways[e + 1]
        for steps in range(rules.class_low[cls], rules.class_high[cls] + 1):
            ways[e, 1:, steps:] += ways[e + 1, :-1, : rules.n_steps + 1 - steps]
    return ways


def n_alloys(rules: AlloyRules) -> float:
    """Count the alloys of a world."""
    return float(count_completions(rules)[0, rules.n_elements_min :, rules.n_steps].sum())


def n_partial_alloys(rules: AlloyRules) -> float:
    """Bound the number of unfinished alloys from above."""
    return float(count_completions(rules, ignore_required=True)[0].sum())


def sample_uniform(rules: AlloyRules, n: int, rng: np.random.Generator) -> Int16s:
    """Draw n alloys, each of all alloys with the same probability: terminal states, int16 [n, element + 1]."""
    ways = count_completions(rules)
    states = np.zeros((n, rules.n + 1), dtype=np.int16)
    states[:, -1] = 1
    totals = ways[0, :, rules.n_steps] * (np.arange(rules.n_elements_max + 1) >= rules.n_elements_min)
    k = rng.choice(len(totals), size=n, p=totals / totals.sum())
    lacking = np.full(n, rules.n_steps)
    for e in range(rules.n):
        weights = np.zeros((n, rules.width + 1))
        cls = rules.class_of[e]
        if cls < 0 or not rules.class_required[cls]:
            weights[:, 0] = ways[e + 1, k, lacking]
        for steps in range(rules.class_low[cls], rules.class_high[cls] + 1) if cls >= 0 else ():
            fits = (k > 0) & (lacking >= steps)
            weights[fits, steps] = ways[e + 1, k[fits] - 1, lacking[fits] - steps]
        cumulative = np.cumsum(weights, axis=1)
        uniform = rng.random(n) * cumulative[:, -1]
        chosen = np.minimum((cumulative <= uniform[:, None]).sum(axis=1), rules.width)
        states[:, e] = chosen
        k, lacking = k - (chosen > 0), lacking - chosen
    return states
