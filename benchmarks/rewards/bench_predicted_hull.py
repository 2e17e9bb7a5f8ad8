"""How well a hull tells stable compounds: the list of known ones, and the predicted hull that ships.

    python -m benchmarks.rewards.bench_predicted_hull --data compositions.csv.gz

The table has the columns `formula`, `formation_energy_per_atom` and `decomposition_enthalpy_per_atom`, and is the one
that the shipped model was fitted to. Judged are the formulas that the fit left out, by the same split: random ones, and
those of whole chemical systems. Stable means a decomposition enthalpy of at most 0. The score is the model's energy
less the hull of all other formulas: a formula's own entry is left out. AUC: the chance that a stable formula has a
lower score than another one. F1: of "score at most 0".
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from oreflow.envs.arrays import Bools, Floats
from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.models.composition.data import read_property_table
from oreflow.rewards.models.composition.fit import TEST_CHEMSYS_SHARE, TEST_SHARE, VALIDATION_SHARE
from oreflow.rewards.models.composition.model import DEFAULT_MODEL, EnergyModel
from oreflow.rewards.models.ensemble.tables import split_table
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.known_phases import Reference, read_reference
from oreflow.rewards.reference.predicted_hull import hull_reference, predicted_hull
from oreflow.rewards.reference.tables import read_table

ENERGY, ENTHALPY = "formation_energy_per_atom", "decomposition_enthalpy_per_atom"


def auc(stable: Bools, score: Floats) -> float:
    """Area under the curve, ties counted half."""
    ranks = rankdata(score)
    n = int(stable.sum())
    return 1 - float((ranks[stable].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def f1(stable: Bools, called: Bools) -> float:
    """Harmonic mean of precision and recall."""
    return float(2 * (stable & called).sum() / (stable.sum() + called.sum()))


def main() -> None:
    """Print a line a hull."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    table = read_property_table(data, formula_column="formula", target_column=ENERGY, formation_energy=True)
    seed = np.random.SeedSequence(0).spawn(3)[0]  # as `fit_energy` splits
    split = split_table(table, seed, validation=VALIDATION_SHARE, test=TEST_SHARE, test_chemsys=TEST_CHEMSYS_SHARE)
    model = EnergyModel.load(DEFAULT_MODEL)
    counted = {key: model.card["split"][key] for key in ("train", "test", "test_chemsys")}
    if counted != {"train": len(split.train), "test": len(split.test), "test_chemsys": len(split.test_chemsys)}:
        raise SystemExit(f"expected the table that {DEFAULT_MODEL} was fitted to, with the split {counted}")
    batch = table.compositions[np.concatenate([split.test, split.test_chemsys])].reduced()
    prediction = model.predict(batch)
    batch, energies = batch[prediction.in_scope], prediction.mean[prediction.in_scope]
    frame = read_table(data)
    enthalpies = dict(
        zip(parse_formulas(frame["formula"].tolist())[0].reduced().key_bytes(), frame[ENTHALPY].astype(float).tolist())
    )
    stable = np.array([enthalpies[key] <= 0 for key in batch.key_bytes()])
    print(f"{len(batch)} formulas that the fit left out, {stable.mean():.1%} stable; AUC (2, 3, more elements), F1")
    predicted, n = predicted_hull(), batch.n_elements
    pairs = predicted.compositions.n_elements == 2
    hulls: dict[str, Reference] = {
        "known list": read_reference(data),
        "predicted": predicted,
        "predicted, binaries alone": Reference(
            predicted.path, "", predicted.compositions[pairs], predicted.energies[pairs], (), {}
        ),
        "known list and predicted": hull_reference([data, "predicted"]),
    }
    for name, reference in hulls.items():
        hull = CompetingPhases(reference).hull(batch, include_same_formula=False)
        score = energies - hull.energies
        by_n = ", ".join(f"{auc(stable[rows], score[rows]):.3f}" for rows in (n == 2, n == 3, n > 3))
        print(f"{name:26s} AUC {auc(stable, score):.3f} ({by_n})  F1 {f1(stable, score <= 0):.3f}", flush=True)


if __name__ == "__main__":
    main()
