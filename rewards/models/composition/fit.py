"""Fits a property model to a table of formulas and values, and writes it with its model card.

Made for formation energies; any property of which there is a table of formulas and values is fitted in the same way.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.envs.chemistry.elements import symbols
from oreflow.rewards.models.composition.data import read_table
from oreflow.rewards.models.composition.inputs import composition_features, element_index, encode, prototypes_of
from oreflow.rewards.models.composition.model import EnergyModel
from oreflow.rewards.models.ensemble.folder import (
    CARD_FILE,
    FORMATION_ENERGY_COLUMN,
    FORMATION_ENERGY_UNIT,
    MODEL_FILE,
    SCHEMA_VERSION,
    WEIGHTS_FILE,
    command_of,
    versions,
    write_atomically,
)
from oreflow.rewards.models.ensemble.metrics import calibrate, error_metrics, errors_by_distance, significant
from oreflow.rewards.models.ensemble.tables import EnergyDataError, PropertyTable, split_table

VALIDATION_SHARE, TEST_SHARE, TEST_CHEMSYS_SHARE = 0.04, 0.05, 0.03
# A number of elements is in scope when this share of the training rows has it.
_SCOPE_SHARE = 1e-3
# A prototype of fewer training rows has no vector of its own.
_ROWS_PER_PROTOTYPE = 20
# Shares of the validation rows at whose distances the table of errors by distance is divided; the last is the threshold
# beyond which a composition counts as far.
_DISTANCE_QUANTILES = (0.5, 0.9, 0.99)


def _target(column: str, formation_energy: bool | None, unit: str | None) -> dict[str, Any]:
    """Name, unit and kind of the property. Raises EnergyDataError for a formation energy in another unit."""
    if formation_energy is None:
        formation_energy = column == FORMATION_ENERGY_COLUMN
    if unit is None:
        unit = FORMATION_ENERGY_UNIT if formation_energy else ""
    if formation_energy and unit != FORMATION_ENERGY_UNIT:
        raise EnergyDataError(
            f"expected formation energies in {FORMATION_ENERGY_UNIT}, the unit of the reward 'formation_energy', got "
            f"the unit {unit!r} for column {column!r}; convert the column, or fit it as a property of another kind "
            "(formation_energy=False) under another column name"
        )
    return {"name": column, "unit": unit, "formation_energy": formation_energy}


def _scope_and_normalisation(table: PropertyTable, train: np.ndarray, target: dict[str, Any]) -> dict[str, Any]:
    compositions, values = table.compositions[train], table.values[train]
    sizes = np.flatnonzero(np.bincount(compositions.n_elements) >= _SCOPE_SHARE * len(train))
    sizes = sizes[np.isin(sizes, compositions.n_elements)]
    features = composition_features(compositions)
    spread = features.std(axis=0)
    present = np.unique(compositions.atomic_numbers)
    return {
        "target": {**target, "mean": float(values.mean()), "std": float(values.std()) or 1.0},
        "elements": [symbols()[z] for z in present[present > 0]],
        "min_elements": int(sizes.min()),
        "max_elements": int(sizes.max()),
        "feature_mean": features.mean(axis=0).tolist(),
        "feature_std": np.where(spread > 1e-9, spread, 1.0).tolist(),
    }


def fit_energy(
    csv_path: str | Path,
    out_dir: str | Path,
    *,
    target_column: str = FORMATION_ENERGY_COLUMN,
    formula_column: str = "formula",
    formation_energy: bool | None = None,
    unit: str | None = None,
    n_members: int = 4,
    n_epochs: int = 48,
    node_width: int = 128,
    trunk_width: int = 128,
    n_blocks: int = 4,
    seed: int = 0,
    max_minutes: float = 45.0,
    data_source: str = "",
    citations: Sequence[str] = (),
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Fits an ensemble to a CSV of formulas and values and writes it to a folder.

    The table is split by reduced formula into training, validation (early stopping, calibration) and test rows; a
    second test holds whole chemical systems of which no other part has a row. All reported errors are those of the
    stored half-precision weights.

    Args:
        csv_path: a CSV with a header, plain or compressed.
        out_dir: receives `weights.safetensors`, `model.json` and `README.md`; a model already there is replaced.
        target_column: column of the property.
        formula_column: formulas that pymatgen reads, with whole-number amounts.
        formation_energy: whether the property is a formation energy: pure elements then have 0 by definition, and of
            several values of one formula the lowest is kept. Of any other property pure elements are data, and the
            median is taken. None: it is if the column is called formation_energy_per_atom.
        unit: of the column; None is eV/atom for a formation energy, which needs that unit, and none otherwise.
        n_members: networks in the ensemble.
        n_epochs: passes over the training rows; early stopping may end the fit sooner.
        node_width, trunk_width, n_blocks: sizes of each network.
        seed: of the split, of the initial weights and of the order of rows.
        max_minutes: if the epochs do not fit into this time, the schedule is shortened to it.
        data_source: a sentence on the data's origin and licence, for the model card.
        citations: works to cite with the predictions.
        progress: called with plain numbers after each epoch and stage ("stage", "done" and "total"
            epochs, "elapsed_s", "validation_mae" in the property's unit, and others).

    Returns:
        The content of `model.json`.

    Raises:
        EnergyDataError: for a table that cannot be read or used, and for a formation energy in another unit.
        FitOutputError: when the folder cannot be written.
    """
    arguments = dict(locals())

    def report(event: dict[str, Any]) -> None:
        if progress is not None:
            progress(event)

    target = _target(target_column, formation_energy, unit)
    seed_split, seed_fit, seed_summary = np.random.SeedSequence(seed).spawn(3)
    report({"stage": "read", "done": 0, "total": n_epochs, "fraction_done": 0.0})
    table = read_table(
        csv_path,
        formula_column=formula_column,
        target_column=target_column,
        formation_energy=target["formation_energy"],
    )
    from oreflow.rewards.models.composition.card import render_card
    from oreflow.rewards.models.composition.network import Architecture, forward, initial_parameters, pack
    from oreflow.rewards.models.composition.weights import ModelWeights
    from oreflow.rewards.models.ensemble.distance import summarise
    from oreflow.rewards.models.ensemble.training import FitSettings, fit_parameters

    split = split_table(
        table, seed_split, validation=VALIDATION_SHARE, test=TEST_SHARE, test_chemsys=TEST_CHEMSYS_SHARE
    )
    card: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **_scope_and_normalisation(table, split.train, target)}
    scope_model = EnergyModel(Path(out_dir), card)
    in_scope, _ = scope_model.scope(table.compositions)
    validation = split.validation[in_scope[split.validation]]
    prototypes = prototypes_of(table.compositions[split.train], at_least=_ROWS_PER_PROTOTYPE)
    encoded = encode(
        table.compositions,
        element_index(scope_model.elements),
        np.asarray(card["feature_mean"], dtype=np.float32),
        np.asarray(card["feature_std"], dtype=np.float32),
        prototypes,
    )
    architecture = Architecture(
        n_members=n_members,
        n_elements=len(scope_model.elements),
        n_features=encoded.features.shape[1],
        n_ordered_prototypes=len(prototypes.ordered) + 1,
        n_anonymous_prototypes=len(prototypes.anonymous) + 1,
        node_width=node_width,
        trunk_width=trunk_width,
        n_blocks=n_blocks,
    )
    settings = FitSettings(n_epochs=n_epochs)
    fitted, record = fit_parameters(
        lambda seed: initial_parameters(architecture, seed),
        lambda parameters, batch, dropout: forward(parameters, batch, architecture, dropout),
        settings,
        encode=lambda rows: pack(encoded[rows], architecture.n_elements),
        values=table.values,
        target_mean=card["target"]["mean"],
        target_std=card["target"]["std"],
        train=split.train,
        validation=validation,
        seed=seed_fit,
        max_minutes=max_minutes,
        progress=report,
    )

    report({"stage": "test", "done": n_epochs, "total": n_epochs, "fraction_done": 1.0})
    summary = summarise(encoded.features[split.train], seed_summary)
    content = ModelWeights(fitted, architecture, prototypes, summary).to_bytes()
    # From here on with the weights as stored: calibration and all errors are those that users will see.
    weights = ModelWeights.from_bytes(content, architecture.to_dict())
    model = EnergyModel(Path(out_dir), card, weights)
    member_mean, member_scale, distance = model.predict_members(table.compositions[validation])
    card["calibration"] = calibrate(member_mean, member_scale, table.values[validation])
    edges = [significant(float(q)) for q in np.quantile(distance, _DISTANCE_QUANTILES)]
    parts = {"validation": split.validation, "test": split.test, "test_chemsys": split.test_chemsys}
    unseen = np.concatenate([split.test, split.test_chemsys])
    card |= {
        "metrics": {
            name: error_metrics(model, table.compositions[rows], table.values[rows]) for name, rows in parts.items()
        },
        "distance": {
            "threshold": edges[-1],
            "quantiles": list(_DISTANCE_QUANTILES),
            "test_errors": errors_by_distance(model, table.compositions[unseen], table.values[unseen], edges),
            "n_components": summary.projection.shape[1],
            "n_centres": len(summary.centres),
        },
        "split": {"train": len(split.train), **{name: len(rows) for name, rows in parts.items()}},
        "architecture": architecture.to_dict(),
        "n_parameters": sum(tensor.numel() for tensor in weights.parameters.values()),
        "fit": {**settings.to_dict(), **record, "seed": seed},
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "data": {"file": Path(csv_path).name, "source": data_source, "target_column": target_column, **table.report},
        "citations": list(citations),
        "command": command_of(fit_energy, arguments),
        "versions": versions(),
    }
    # The description last: until it is there, its hash tells that the weights are not the ones it describes.
    contents = {
        WEIGHTS_FILE: content,
        CARD_FILE: render_card(card).encode(),
        MODEL_FILE: (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    write_atomically(Path(out_dir), contents)
    return card
