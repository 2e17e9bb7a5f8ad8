"""SMACT's score of how metallic a formula is, `metallicity_score` of SMACT 4.0.2, without the package."""

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import N_ELEMENTS, electronegativities
from oreflow.envs.chemistry.smact_data import smact_elements
from oreflow.envs.objects.compositions import Compositions

_CORES = (2, 10, 18, 36, 54, 86)
_LAST_WITH_VALENCE = 97
_D_BLOCK = (*range(21, 31), *range(39, 49), 57, *range(72, 81))  # as SMACT has it, with La in place of Lu


def metallicity_scores(batch: Compositions) -> Floats:
    """Score each formula from 0 (salt) to 1 (alloy); float64 [batch].

    Three tenths the share of metal atoms, two tenths that of d-block atoms, two tenths the number of metals up to
    three, 0.15 each how near to 8 the mean number of valence electrons is and how small the mean difference of
    Pauling's electronegativities.
    """
    metal, chi = smact_elements("is_metal"), electronegativities("smact")
    d_block = np.zeros(N_ELEMENTS + 1, dtype=np.bool_)
    d_block[list(_D_BLOCK)] = True
    scores = np.empty(len(batch))
    for row, (numbers, counts) in enumerate(zip(batch.atomic_numbers, batch.counts)):
        z, amount = numbers[numbers > 0], counts[numbers > 0].astype(np.float64)
        share = amount / amount.sum()
        electrons = np.array([_valence_electrons(int(number)) for number in z])
        mean = float((share * electrons).sum())
        near_eight = 0.5 if np.isnan(mean) else 1.0 - abs(mean - 8.0) / 8.0
        known = chi[z]
        if np.isnan(known).any() or (known <= 0).any():
            alike = 0.5
        else:
            first, second = np.triu_indices(len(z), 1)
            mismatch = float(np.abs(known[first] - known[second]).mean()) if len(first) else 0.0
            alike = 1.0 - min(mismatch / 3.0, 1.0)
        score = 0.3 * share[metal[z]].sum() + 0.2 * share[d_block[z]].sum()
        score += 0.2 * min(metal[z].sum() / 3.0, 1.0) + 0.15 * near_eight + 0.15 * alike
        scores[row] = min(max(float(score), 0.0), 1.0)
    return scores


def _valence_electrons(z: int) -> float:
    """Electrons beyond the last noble gas, and beyond full d and f shells from the groups 13 and 4 on; NaN above Bk."""
    if z > _LAST_WITH_VALENCE:
        return float("nan")
    n = z - max((core for core in _CORES if core < z), default=0)
    if 31 <= z <= 36 or 49 <= z <= 54:
        return n - 10
    if 71 <= z <= 80:
        return n - 14
    return n - 24 if 81 <= z <= 86 else n
