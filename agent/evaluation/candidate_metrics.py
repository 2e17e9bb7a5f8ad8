"""What a candidate set is worth: each metric defined where it is computed, each percentage with its rule."""

from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.tables.candidates import verdicts
from oreflow.agent.tables.formulas import is_known
from oreflow.agent.tables.known_crystals import is_known_object
from oreflow.agent.tables.structures import crystals_of
from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.chemistry.oxidation import TableSpec, resolve_table
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.labels import protostructure_labels
from oreflow.rewards.terms.energy.crystal_formation_energy import CrystalFormationEnergy
from oreflow.rewards.terms.energy.formation_energy import FormationEnergy

_MAX_PAIRS = 200_000


def evaluate(
    candidates: Compositions,
    n_unreadable: int,
    reference: Compositions | None,
    *,
    table: TableSpec,
    mixed_valence: bool,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Metrics of a candidate set, in row order duplicates included.

    Validity: share of rows that are neutral, and share that also have a Pauling-ordered choice of oxidation states,
    under the named table; rows that the table does not cover count as not valid and are counted apart.
    Uniqueness: distinct reduced formulas over rows. Novelty: share of distinct formulas absent from the reference.
    Recovery: share of the reference's distinct formulas that are among the candidates.
    Diversity: mean distance of two random distinct formulas, half the L1 distance of their element fractions (0 to 1).
    """
    n = len(candidates)
    neutral, ordered = verdicts(candidates, table, mixed_valence)
    keys = candidates.key_bytes()
    _, first = np.unique(np.array(keys, dtype=object), return_index=True)
    distinct = candidates[np.sort(first)]
    energy = FormationEnergy()(distinct)
    energies = energy.values[energy.valid]
    present = np.unique(distinct.atomic_numbers[distinct.atomic_numbers > 0])
    metrics: dict[str, Any] = {
        "n_rows": n,
        "n_unreadable": n_unreadable,
        "neutrality_rule": f"{resolve_table(table).label}, {'mixed' if mixed_valence else 'no mixed'} valence",
        "share_neutral": float(neutral.fillna(False).mean()),
        "share_neutral_and_electronegativity_ok": float(ordered.fillna(False).mean()),
        "share_not_covered_by_rule": float((neutral.isna() | ordered.isna()).mean()),
        "n_unique": len(distinct),
        "share_unique": len(distinct) / n,
        "n_elements_present": len(present),
        "elements_present": [symbols()[z] for z in present.tolist()],
        "n_chemical_systems": len({tuple(row) for row in distinct.atomic_numbers.tolist()}),
        "mean_pairwise_fraction_distance": _diversity(distinct, rng),
        "formation_energy_ev_per_atom": _statistics(energies) | {"model": FormationEnergy().version},
        "share_outside_energy_model": float((~energy.valid).mean()),
    }
    if reference is not None:
        known = is_known(distinct, reference)
        found = is_known(reference, distinct)
        reference_keys = np.array(reference.key_bytes(), dtype=object)
        metrics["n_reference"] = len(np.unique(reference_keys))
        metrics["share_novel"] = float((~known).mean())
        metrics["n_recovered"] = len(np.unique(reference_keys[found])) if found.any() else 0
        metrics["share_recovered"] = metrics["n_recovered"] / metrics["n_reference"]
    return metrics


def evaluate_crystals(frame: pd.DataFrame, source: str, reference: Crystals | None) -> dict[str, Any]:
    """What a table with a column `structure` holds as crystals, beside the metrics of its formulas.

    Uniqueness: distinct crystals (all of lattice and coordinates alike) and distinct protostructures (space group,
    occupied positions, elements). Novelty: share of distinct protostructures absent from the reference. Energies:
    predicted by the crystal model that ships, over distinct crystals.
    """
    crystals, _, bad_rows = crystals_of(frame, source, decorations=True)
    _, first = np.unique(np.array(crystals.key_bytes(), dtype=object), return_index=True)
    distinct = crystals[np.sort(first)]
    labels = np.array(protostructure_labels(distinct), dtype=object)
    _, each = np.unique(labels, return_index=True)
    model = CrystalFormationEnergy()
    energy = model(distinct)
    metrics: dict[str, Any] = {
        "n_unreadable_structures": len(bad_rows),
        "n_unique_crystals": len(distinct),
        "n_unique_protostructures": len(each),
        "n_space_groups": len(np.unique(distinct.space_group)),
        "crystal_formation_energy_ev_per_atom": _statistics(energy.values[energy.valid]) | {"model": model.version},
    }
    if reference is not None:
        metrics["share_novel_protostructures"] = float((~is_known_object(distinct[each], reference)).mean())
    return metrics


def _diversity(distinct: Compositions, rng: np.random.Generator) -> dict[str, float] | None:
    if len(distinct) < 2:
        return None
    fractions = distinct.dense()[:, 1:].astype(np.float32)
    fractions /= fractions.sum(axis=1, keepdims=True)
    n_pairs = min(_MAX_PAIRS, len(distinct) * (len(distinct) - 1))
    a = rng.integers(len(distinct), size=n_pairs)
    b = (a + rng.integers(1, len(distinct), size=n_pairs)) % len(distinct)
    distances = np.concatenate(
        [
            0.5 * np.abs(fractions[a[i : i + 10_000]] - fractions[b[i : i + 10_000]]).sum(axis=1)
            for i in range(0, n_pairs, 10_000)
        ]
    )
    return {
        "value": float(distances.mean()),
        "standard_error": float(distances.std() / np.sqrt(n_pairs)),
        "n_pairs": n_pairs,
    }


def _statistics(values: Floats) -> dict[str, Any]:
    if not len(values):
        return {"n": 0}
    quantiles = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    names = ("quantile_05", "quantile_25", "median", "quantile_75", "quantile_95")
    return {"n": len(values), "mean": float(values.mean())} | dict(zip(names, map(float, quantiles)))
