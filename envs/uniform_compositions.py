"""Uniform random objects of a composition world, exactly, in worlds too large to enumerate."""

import numba
import numpy as np

from envs.composition_masks import are_objects
from envs.feasibility import Rules

_DRAWS_AT_ONCE = 50_000


def sample_uniform(rules: Rules, n: int, rng: np.random.Generator) -> np.ndarray:
    """Terminal states [n, elements + 1]; see `CompositionKernel.sample_uniform`."""
    suffix = np.zeros((rules.n + 1, rules.n_elements_max + 1, rules.n_atoms_max + 1))
    suffix[rules.n, rules.n_elements_min :, rules.n_atoms_min :] = 1.0  # indexed by what is used so far
    for e in range(rules.n - 1, -1, -1):
        suffix[e] = suffix[e + 1]
        cls = rules.class_of[e]
        for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
            suffix[e, :-1, : suffix.shape[2] - count] += suffix[e + 1, 1:, count:]
    kept: list[np.ndarray] = []
    n_kept = n_drawn = 0
    while n_kept < n:
        size = _DRAWS_AT_ONCE
        counts = _draw_counts(rules, suffix, rng.random((size, rules.n)))
        states = np.zeros((size, rules.n + 1), dtype=np.int16)
        states[:, :-1] = counts
        states = states[are_objects(rules, states)]
        states[:, -1] = 1
        kept.append(states)
        n_kept += len(states)
        n_drawn += size
        if n_drawn >= 10_000_000 and n_kept * 10_000_000 < n_drawn:
            raise RuntimeError(f"only {n_kept} of {n_drawn} draws were objects of this world")
    return np.concatenate(kept)[:n]


@numba.njit(cache=True)
def _draw_counts(rules: Rules, suffix: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Count vectors from the superset, uniformly; `suffix[e, k, a]` counts completions by elements e and later."""
    counts = np.zeros(uniform.shape, dtype=np.int16)
    for i in range(len(uniform)):
        k, a = 0, 0
        for e in range(rules.n):
            target = uniform[i, e] * suffix[e, k, a] - suffix[e + 1, k, a]
            if target < 0 or k == rules.n_elements_max:
                continue
            cls = rules.class_of[e]
            chosen = 0
            for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
                if a + count > rules.n_atoms_max:
                    break
                weight = suffix[e + 1, k + 1, a + count]
                if weight > 0:
                    chosen = count
                    target -= weight
                    if target < 0:
                        break
            counts[i, e] = chosen
            if chosen:
                k += 1
                a += chosen
    return counts
