"""What the first thirty rows of a run's candidates are like, and how close all rows are to the hull.

    python -m benchmarks.agent.bench_first_page runs/quickstart

Prints a line for each demand on the first page: at most five rows of one anion chemistry, at most three with two rare
earths or more, no radioactive element, at least 60 % of the rows within 0.05 eV/atom of the hull. Chemistries are
counted twice: by the column `anion`, and by the most electronegative element alone, which takes phosphates for oxides.
Beside it stands what the first thirty would be by rank alone. The exit code is 1 where a demand is not met.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
from pymatgen.core import Composition, Element

from oreflow.agent.tables.candidate_rows import newest_table
from oreflow.agent.tables.formulas import read_table

N_ROWS, MOST_OF_ONE, MOST_MIXTURES, NEAR_HULL, LEAST_NEAR = 30, 5, 3, 0.05, 0.6


def figures(rows: pd.DataFrame) -> dict[str, object]:
    """Counts of some rows, by pymatgen and by nothing of oreflow but the column `anion`."""
    elements = [[Element(symbol) for symbol in text.split("-")] for text in rows["chemsys"]]
    most = Counter(max(found, key=lambda e: e.X).symbol for found in elements)
    return {
        "by anion": dict(Counter(rows["anion"]).most_common()),
        "by most electronegative element": dict(most.most_common()),
        "mixtures of rare earths": sum(sum(e.is_rare_earth for e in found) > 1 for found in elements),
        "with a radioactive element": sum(any(e.is_radioactive for e in found) for found in elements),
        "mean number of atoms": float(rows["formula"].map(lambda text: Composition(text).num_atoms).mean()),
        "mean log R": float(rows["log_reward"].mean()),
        "within 0.05 eV/atom of the hull": float((rows["energy_above_hull_ev_per_atom"] <= NEAR_HULL).mean()),
    }


def main() -> None:
    """Print the figures and whether the demands are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, or a table of candidates")
    run = parser.parse_args().run
    table = read_table(newest_table(run) if run.is_dir() else run)
    first, by_rank = table.head(N_ROWS), table.sort_values("rank").head(N_ROWS)
    found, plain, of_all = figures(first), figures(by_rank), figures(table)
    print("first rows:", ", ".join(first["formula"]))
    for name, value in found.items():
        print(f"{name:34s} {_text(value)}   (by rank alone: {_text(plain[name])})")
    near = float((table["energy_above_hull_ev_per_atom"] <= NEAR_HULL).mean())
    demands = {
        f"at most {MOST_OF_ONE} of one anion chemistry": max(found["by anion"].values()) <= MOST_OF_ONE,  # type: ignore[attr-defined]
        f"at most {MOST_MIXTURES} mixtures of rare earths": found["mixtures of rare earths"] <= MOST_MIXTURES,  # type: ignore[operator]
        "no radioactive element in any row": of_all["with a radioactive element"] == 0,
        f"{near:.1%} of {len(table)} rows within {NEAR_HULL} eV/atom of the hull": near >= LEAST_NEAR,
    }
    for demand, is_met in demands.items():
        print(f"{'met    ' if is_met else 'NOT MET'} {demand}")
    sys.exit(0 if all(demands.values()) else 1)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{n} {name}" for name, n in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
