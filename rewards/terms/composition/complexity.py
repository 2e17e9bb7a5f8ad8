"""Complexity: how long a code the coefficients of a formula need."""

import numpy as np

from oreflow.envs.arrays import AnyInts, Floats
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term


class Complexity(Term):
    """Code length of the coefficients of the reduced formula, nats: 0 for MgO, 1.19 for SrTiO3, 11.58 for La7Er11F54.

    The sum over elements of Rissanen's log* n = ln n + ln ln n + … (positive parts alone), n the element's count: what
    a whole number costs when nobody says how large it may be. A coefficient 1 is free, so that elements count only by
    what their numbers say; which elements they are plays no part. LiFePO4 has 1.71, YBa2Cu3O7 4.50, the garnet
    Ca3Al2Si3O12 6.47. Of 76 500 known inorganic formulas half lie below 3.3 and nine tenths below 8.5; of neutral
    formulas of two to five elements and up to 45 atoms, all equally likely, half lie above 11. Drawn with as many
    elements as known ones have, the known one is the simpler with probability 0.84.
    """

    name = "complexity"
    unit = "nats"
    version = "1"
    citations = ("Rissanen, Ann. Statist. 11, 416 (1983), doi:10.1214/aos/1176346150",)

    def __call__(self, batch: Compositions) -> TermValues:
        """Code length of every row."""
        valid = batch.n_elements > 0
        reasons = dict.fromkeys(np.flatnonzero(~valid).tolist(), "a composition without elements")
        return TermValues(_log_star(batch.reduced().counts).sum(axis=1), valid, reasons=reasons)


def _log_star(counts: AnyInts) -> Floats:
    """log* of whole numbers, float64 of their shape; 0 for 0, which pads, as for 1."""
    part = np.maximum(counts, 1).astype(np.float64)
    total = np.zeros(part.shape)
    while (part > 1).any():
        part = np.log(np.maximum(part, 1.0))
        total += part
    return total
