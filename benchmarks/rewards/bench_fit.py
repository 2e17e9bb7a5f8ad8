"""Fits of `oreflow fit`: the quick mode beside the shipped model, and small tables with and without its weights.

    python -m benchmarks.rewards.bench_fit --data compositions.csv.gz
    python -m benchmarks.rewards.bench_fit --data table.csv --column NAME --rows 300 2000

Quick: the table that the shipped model was fitted on is fitted with `--quick`, and both models' errors on the same
rows, which neither has seen, stand beside one another; seconds by the clock and of CPU, the reading included.
`--max-minutes` lifts the limit on a busy machine, so that no epoch is left out.

Small tables: 1 200 rows are set aside, models are fitted to so many of the others, from random weights and from
those of the shipped model (`--from-pretrained`), and all are judged on the rows set aside, beside the nearest of the
fitted formulas. Rows with an element that the fitted ones lack are left out for all.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.rewards.models.composition.baselines import nearest_rows
from oreflow.rewards.models.composition.data import read_property_table
from oreflow.rewards.models.composition.fit import fit_energy
from oreflow.rewards.models.composition.inputs import FEATURE_CLIP, composition_features
from oreflow.rewards.models.composition.model import EnergyModel
from oreflow.rewards.models.ensemble.tables import PropertyTable

SET_ASIDE = 1200
STARTS: dict[str, dict[str, Any]] = {
    "from random weights": {},
    "from random weights, 150 epochs": {"n_epochs": 150},
    "from the shipped weights": {"from_pretrained": True},
}


def quick(data: Path, max_minutes: float | None) -> None:
    shipped = EnergyModel.load()
    with tempfile.TemporaryDirectory(prefix="oreflow-fit-") as folder:
        clock, cpu = time.perf_counter(), time.process_time()
        card = fit_energy(data, Path(folder) / "model", quick=True, max_minutes=max_minutes)
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    same = card["data"]["sha256"] == shipped.card["data"]["sha256"]
    print(f"shipped model fitted on this table: {same}; {card['fit']['threads']} threads")
    for name, found in (("quick", card), (shipped.directory.name, shipped.card)):
        test, systems = found["metrics"]["test"], found["metrics"]["test_chemsys"]
        print(
            f"{name:12s} MAE {test['mae']:.4f} (random formulas, {test['n']}), {systems['mae']:.4f} (chemical systems, "
            f"{systems['n']}) {found['target']['unit']}; 90 % interval {100 * test['coverage_90']:.1f} %"
        )
    for name in ("nearest", "mean"):
        trivial = [card["baselines"][part][name]["mae"] for part in ("test", "test_chemsys")]
        print(f"{name:12s} MAE {trivial[0]:.4f}, {trivial[1]:.4f}")
    epochs = f"{card['fit']['epochs_run']} epochs in {card['fit']['fit_seconds']:.0f} s"
    print(f"quick fit: {clock:.0f} s by the clock, {cpu:.0f} s of CPU; {epochs}")


def small(data: Path, column: str, sizes: list[int], members: int | None) -> None:
    table = read_property_table(data, formula_column="formula", target_column=column, formation_energy=False)
    order = np.random.default_rng(0).permutation(len(table))
    held = order[:SET_ASIDE]
    for size in sizes:
        rows = np.sort(order[SET_ASIDE : SET_ASIDE + size])
        with tempfile.TemporaryDirectory(prefix="oreflow-fit-") as folder:
            path = write_rows(table, rows, column, Path(folder) / "rows.csv")
            for start, options in STARTS.items():
                fit_energy(path, Path(folder) / "model", target_column=column, n_members=members, **options)
                prediction = EnergyModel.load(Path(folder) / "model").predict(table.compositions[held])
                known = prediction.in_scope
                error = np.abs(prediction.mean - table.values[held])[known].mean()
                print(f"{column}, {size} rows, {start}: MAE {error:.4g} ({known.sum()} rows)")
        nearest = nearest_of(table, rows, held)
        trivial = {"nearest": table.values[nearest], "mean": np.full(len(held), table.values[rows].mean())}
        for name, answer in trivial.items():
            error = np.abs(answer - table.values[held])[known].mean()
            print(f"{column}, {size} rows, {name}: MAE {error:.4g}")


def write_rows(table: PropertyTable, rows: np.ndarray, column: str, path: Path) -> Path:
    formulas = table.compositions[rows].formulas()
    lines = [f"{formula},{value!r}" for formula, value in zip(formulas, table.values[rows].tolist())]
    path.write_text("\n".join([f"formula,{column}", *lines]) + "\n", encoding="utf-8")
    return path


def nearest_of(table: PropertyTable, rows: np.ndarray, held: np.ndarray) -> np.ndarray:
    known, asked = (composition_features(table.compositions[part], np.float32) for part in (rows, held))
    mean, std = known.mean(axis=0), known.std(axis=0)
    std[std < 1e-9] = 1.0
    known, asked = (np.clip((part - mean) / std, -FEATURE_CLIP, FEATURE_CLIP) for part in (known, asked))
    return rows[nearest_rows(asked, known)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--column", help="property of small tables; without it the quick mode is measured")
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 2000])
    parser.add_argument("--max-minutes", type=float)
    parser.add_argument("--members", type=int, default=1, help="networks of each fit of a small table")
    arguments = parser.parse_args()
    if arguments.column is None:
        quick(arguments.data, arguments.max_minutes)
    else:
        small(arguments.data, arguments.column, arguments.rows, arguments.members)


if __name__ == "__main__":
    main()
