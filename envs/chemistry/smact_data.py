"""SMACT's element lists and its counts of oxidation states in the ICSD, so that its rules work without the package.

Data: `data/smact_elements.csv` and `data/smact_icsd24_counts.csv`, see `data/README.md` for their origin.
"""

import csv
from functools import cache
from importlib.resources import files

import numpy as np

from oreflow.envs.arrays import Bools
from oreflow.envs.chemistry.elements import N_ELEMENTS, atomic_number, smact_rows
from oreflow.envs.chemistry.oxidation import OxidationTable, resolve_table
from oreflow.envs.errors import OxidationTableError
from oreflow.envs.suggestions import nearest

_COMMONALITY = {"low": 0.0, "medium": 10.0, "high": 50.0}


@cache
def smact_elements(which: str) -> Bools:
    """bool [119], by atomic number.

    Args:
        which: "covered", the 103 elements that SMACT knows; "is_metal", its list of metals (without Pm and Lr, with Ge
            and Sb); or "is_mixed_valence", the 24 elements that its `mixed_valence` option is about.
    """
    flags = np.zeros(N_ELEMENTS + 1, dtype=np.bool_)
    for row in smact_rows():
        flags[atomic_number(row["symbol"])] = which == "covered" or row[which] == "1"
    flags.setflags(write=False)
    return flags


@cache
def _counts() -> dict[str, dict[int, int]]:
    counts: dict[str, dict[int, int]] = {}
    with files("oreflow.envs").joinpath("data/smact_icsd24_counts.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            counts.setdefault(row["symbol"], {})[int(row["oxidation_state"])] = int(row["n_reports"])
    return counts


def icsd24_table(consensus: int = 3, include_zero: bool = False, commonality: str | float = "low") -> OxidationTable:
    """SMACT's filter of the oxidation states reported in the ICSD of 2024, `smact.screening.ICSD24FilterConfig`.

    Args:
        consensus: smallest number of reports of a state.
        include_zero: whether the state 0 is kept.
        commonality: smallest share of a state among an element's reports that pass `consensus`, in percent; or "low"
            (0), "medium" (10), "high" (50), or "main", the most reported state of each element (of equals the lowest).

    Raises:
        OxidationTableError: for a value out of range, and when nothing passes.
    """
    if not isinstance(consensus, int) or isinstance(consensus, bool) or consensus < 0:
        raise OxidationTableError(f"expected consensus as a whole number of reports from 0, got {consensus!r}")
    if isinstance(commonality, bool) or not isinstance(commonality, str | int | float):
        raise OxidationTableError(f"expected commonality as a word or a percentage, got {commonality!r}")
    words = (*_COMMONALITY, "main")
    if isinstance(commonality, str) and commonality not in words:
        hint = nearest(commonality, words)
        raise OxidationTableError(f"expected commonality as a percentage or a known word, got {commonality!r}; {hint}")
    if not isinstance(commonality, str) and not 0 <= commonality <= 100:
        raise OxidationTableError(f"expected commonality from 0 to 100 percent, got {commonality!r}")
    states = {}
    for symbol, reports in _counts().items():
        kept = {state: n for state, n in reports.items() if n >= consensus and (state != 0 or include_zero)}
        if kept and commonality == "main":
            states[symbol] = [max(sorted(kept), key=lambda state, n=kept: n[state])]  # type: ignore[misc]
        elif kept:
            least = _COMMONALITY[commonality] if isinstance(commonality, str) else commonality
            total = sum(kept.values())
            states[symbol] = [state for state, n in kept.items() if n / total * 100 >= least]
    zero = "_zero" if include_zero else ""
    return resolve_table({"name": f"smact_icsd24_consensus{consensus}{zero}_{commonality}", "states": states})
