"""Validity verdicts: agreement with SMACT on every formula of a table, and formulas a second of both, on one core.

    python -m benchmarks.rewards.bench_smact --data formulas.csv [--rounds 3] [--all]

Method: the formulas are dealt out to the rounds. Each round times SMACT on its share, and `SmactValidity` ten times on
the same share; the figures are medians over rounds, the ratio the median of the paired ratios. Reading, parsing,
imports and compilation are not timed for either. All rounds together cover each formula once, and every verdict that
differs is printed with its reason.
"""

import argparse
import statistics
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd

from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.terms.composition.smact_validity import SmactValidity

NAMES = {
    "smact14": "smact14",
    "smact_icsd16": "icsd16",
    "smact_icsd24": "icsd24",
    "smact_pymatgen_sp": "pymatgen_sp",
    "smact_wiki": "wiki",
    None: None,
}
NEUTRAL = {"use_pauling_test": False, "include_alloys": False}
ORDERED = {"use_pauling_test": True, "include_alloys": False}
OPTION_SETS: list[tuple[str, str | None, dict[str, bool]]] = [
    *((f"{table}: neutral", table, NEUTRAL) for table in ("smact14", "smact_icsd24")),
    *((f"{table}: neutral, Pauling", table, ORDERED) for table in ("smact14", "smact_icsd24")),
    *((f"{table}: neutral, Pauling, or alloy", table, {}) for table in ("smact14", "smact_icsd24")),
    ("SMACT's defaults", None, {}),
]
FURTHER: list[tuple[str, str | None, dict[str, bool]]] = [
    *((f"{table}: neutral, Pauling", table, ORDERED) for table in ("smact_icsd16", "smact_pymatgen_sp", "smact_wiki")),
    ("smact14: mixed valence", "smact14", {"mixed_valence": True}),
]
_REPEATS = 10


def read_formulas(path: str) -> list[str]:
    """The column `formula`; NaN is sodium nitride."""
    return pd.read_csv(path, keep_default_na=False, dtype=str)["formula"].tolist()


def smact_verdicts(compositions: list[Any], table: str | None, options: dict[str, bool]) -> list[bool | str]:
    """SMACT's verdicts, or what it raised."""
    from smact.screening import smact_validity

    verdicts: list[bool | str] = []
    for composition in compositions:
        try:
            verdicts.append(smact_validity(composition, oxidation_states_set=NAMES[table], **options))
        except Exception as error:
            verdicts.append(f"{type(error).__name__}: {error}")
    return verdicts


def difference(row: int, ours: TermValues, theirs: bool | str) -> str:
    """Why a verdict differs; "" where it does not."""
    verdict = bool(ours.values[row]) if ours.valid[row] else None
    if verdict == theirs:
        return ""
    if isinstance(theirs, str):
        return f"SMACT raises {theirs}" + ("; oreflow has no verdict either" if verdict is None else "")
    return ours.reasons.get(row, f"unexplained: oreflow says {verdict}, SMACT {theirs}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CSV, also gzipped, with a column `formula`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all", action="store_true", help="SMACT's other tables and mixed valence too; takes minutes")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # SMACT and pymatgen warn about missing data
    from pymatgen.core import Composition

    texts = read_formulas(arguments.data)
    compositions, rows, errors = parse_formulas(texts)
    readable = [texts[row] for row in rows.tolist()]
    theirs_in = [Composition(text) for text in readable]
    print(f"{len(texts)} formulas, {sum(map(bool, errors))} unreadable")
    for title, table, options in OPTION_SETS + (FURTHER if arguments.all else []):
        term = SmactValidity(table=table, **options)
        term(compositions[:10])  # compiles
        smact_verdicts(theirs_in[:10], table, options)  # reads its files
        ours_rates, smact_rates, n_valid, differences = [], [], 0, []
        for first in range(arguments.rounds):
            share = np.arange(first, len(compositions), arguments.rounds)
            batch: Compositions = compositions[share]
            start = time.perf_counter()
            theirs = smact_verdicts([theirs_in[i] for i in share.tolist()], table, options)
            smact_rates.append(len(share) / (time.perf_counter() - start))
            start = time.perf_counter()
            for _ in range(_REPEATS):
                ours = term(batch)
            ours_rates.append(_REPEATS * len(share) / (time.perf_counter() - start))
            n_valid += sum(verdict is True for verdict in theirs)
            reasons = [(readable[i], difference(row, ours, theirs[row])) for row, i in enumerate(share.tolist())]
            differences += [(text, reason) for text, reason in reasons if reason]
        n = len(compositions)
        ratio = statistics.median(a / b for a, b in zip(ours_rates, smact_rates))
        print(
            f"{title:41s} equal {n - len(differences)} of {n} ({n_valid / n:.1%} valid)   "
            f"oreflow {statistics.median(ours_rates):11,.0f}/s   SMACT {statistics.median(smact_rates):7,.0f}/s   "
            f"{ratio:6.0f} x",
            flush=True,
        )
        for text, reason in differences:
            print(f"    {text}: {reason}")


if __name__ == "__main__":
    main()
