"""Fits a property model to a table of formulas and values, and writes it with its model card.

Made for formation energies; any property of which there is a table of formulas and values is fitted in the same way.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oreflow.rewards.models.composition.data import read_property_table
from oreflow.rewards.models.composition.inputs import composition_features, element_index, encode, prototypes_of
from oreflow.rewards.models.composition.model import DEFAULT_MODEL, EnergyModel
from oreflow.rewards.models.ensemble.folder import FORMATION_ENERGY_COLUMN, FORMATION_ENERGY_UNIT, SCHEMA_VERSION
from oreflow.rewards.models.ensemble.tables import EnergyDataError, split_table

if TYPE_CHECKING:
    from oreflow.rewards.models.ensemble.training import Progress

NO_UNIT = ("", "1")
"""Units of a property that is a number alone."""
VALIDATION_SHARE, TEST_SHARE, TEST_CHEMSYS_SHARE = 0.04, 0.05, 0.03
# A prototype of fewer training rows has no vector of its own.
_ROWS_PER_PROTOTYPE = 20


@dataclass(frozen=True)
class Effort:
    """How much a fit takes: members of the ensemble, passes over the training rows, minutes that training may last."""

    n_members: int
    n_epochs: int
    max_minutes: float


FULL, QUICK = Effort(4, 48, 45.0), Effort(2, 10, 3.0)


def _target(column: str, formation_energy: bool | None, unit: str | None, property_name: str | None) -> dict[str, Any]:
    """Name, unit and kind of the property. Raises EnergyDataError for a formation energy in another unit."""
    if formation_energy is None:
        formation_energy = FORMATION_ENERGY_COLUMN in (column, property_name)
    if property_name is not None:
        _check_name(property_name)
        if unit is None and not formation_energy:
            raise EnergyDataError(
                f"expected the unit of {property_name!r}, got none; add --unit, as --unit eV or --unit K, or --unit 1 "
                "for a number without a unit"
            )
    unit = "" if unit in NO_UNIT else unit
    if unit is None:
        unit = FORMATION_ENERGY_UNIT if formation_energy else ""
    if formation_energy and unit != FORMATION_ENERGY_UNIT:
        raise EnergyDataError(
            f"expected formation energies in {FORMATION_ENERGY_UNIT}, the unit of the reward 'formation_energy', got "
            f"the unit {unit!r} for column {column!r}; convert the column, or fit it as a property of another kind "
            "(formation_energy=False) under another column name"
        )
    name = column if property_name is None else property_name
    return {"name": name, "unit": unit, "formation_energy": formation_energy}


def _check_name(property_name: str) -> None:
    if not re.search(r"[A-Za-z]", property_name):
        raise EnergyDataError(
            f"expected a property's name with a letter in it, such as band_gap, got {property_name!r}; columns of "
            "tables are called after it"
        )


def fit_energy(
    csv_path: str | Path,
    out_dir: str | Path,
    *,
    target_column: str = FORMATION_ENERGY_COLUMN,
    formula_column: str = "formula",
    formation_energy: bool | None = None,
    unit: str | None = None,
    property_name: str | None = None,
    quick: bool = False,
    from_pretrained: bool = False,
    n_members: int | None = None,
    n_epochs: int | None = None,
    node_width: int = 128,
    trunk_width: int = 128,
    n_blocks: int = 4,
    seed: int = 0,
    max_minutes: float | None = None,
    data_source: str = "",
    citations: Sequence[str] = (),
    progress: "Progress | None" = None,
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
        unit: of the column, "1" for a number without one; None is eV/atom for a formation energy, which needs that
            unit, and none otherwise.
        property_name: what the property is called, where that is not the column's name; it needs a unit.
        quick: whether fewer members, epochs and minutes are the default: `QUICK` instead of `FULL`.
        from_pretrained: whether the fit starts from the weights of the shipped formation-energy model, which may help
            where rows are few and the property is akin to an energy; the widths then are the default ones.
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
        EnergyDataError: for a table that cannot be read or used, for a formation energy in another unit, and for a
            property with a name and without a unit.
        FitOutputError: when the folder cannot be written.
    """
    arguments = dict(locals())
    from oreflow.rewards.models.composition.baselines import baseline_errors
    from oreflow.rewards.models.composition.card import render_card
    from oreflow.rewards.models.composition.network import Architecture, forward, initial_parameters, pack
    from oreflow.rewards.models.composition.warm_start import Inputs, start_from
    from oreflow.rewards.models.composition.weights import ModelWeights
    from oreflow.rewards.models.ensemble import fit as shared
    from oreflow.rewards.models.ensemble.distance import summarise_training_rows
    from oreflow.rewards.models.ensemble.training import FitSettings, FittedRows, Network, fit_parameters

    # Read and split the table.
    report = shared.reporter(progress)
    effort = QUICK if quick else FULL
    n_members, n_epochs = n_members or effort.n_members, n_epochs or effort.n_epochs
    max_minutes = effort.max_minutes if max_minutes is None else max_minutes
    target = _target(target_column, formation_energy, unit, property_name)
    seed_split, seed_fit, seed_summary = np.random.SeedSequence(seed).spawn(3)
    report(shared.stage_event("read", n_epochs))
    table = read_property_table(
        csv_path,
        formula_column=formula_column,
        target_column=target_column,
        formation_energy=target["formation_energy"],
    )
    split = split_table(
        table, seed_split, validation=VALIDATION_SHARE, test=TEST_SHARE, test_chemsys=TEST_CHEMSYS_SHARE
    )
    trained = table.compositions[split.train]
    scope = shared.scope_and_normalisation(trained, composition_features(trained), table.values[split.train])
    card: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **scope, "target": {**target, **scope["target"]}}

    # Encode its rows, and fit the network.
    scope_model = EnergyModel(Path(out_dir), card)
    in_scope, _ = scope_model.scope(table.compositions)
    validation = split.validation[in_scope[split.validation]]
    prototypes = prototypes_of(trained, at_least=_ROWS_PER_PROTOTYPE)
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
    now = Inputs.of(scope_model, prototypes)
    network = Network(
        initial=lambda seed: (
            start_from(DEFAULT_MODEL, now, architecture, seed)
            if from_pretrained
            else initial_parameters(architecture, seed)
        ),
        forward=lambda parameters, batch, dropout: forward(parameters, batch, architecture, dropout),
        encode=lambda rows: pack(encoded[rows], architecture.n_elements),
    )
    fitted_rows = FittedRows(table.values, card["target"]["mean"], card["target"]["std"], split.train, validation)
    fitted, record = fit_parameters(
        network, fitted_rows, settings, seed=seed_fit, max_minutes=max_minutes, progress=report
    )

    # Measure it with the weights as stored: calibration and all errors are those that users will see.
    report(shared.stage_event("test", n_epochs))
    summary = summarise_training_rows(encoded.features[split.train], seed_summary)
    content = ModelWeights(fitted, architecture, prototypes, summary).to_bytes()
    weights = ModelWeights.from_bytes(content, architecture.to_dict())
    unseen = np.concatenate([split.test, split.test_chemsys])
    rows = shared.MeasuredRows(table.compositions, table.values, split, validation, unseen)
    shared.measure(EnergyModel(Path(out_dir), card, weights), card, rows, summary)
    card["baselines"] = baseline_errors(encoded.features, table.values, split.train, rows.parts(), in_scope)
    card |= {
        "architecture": architecture.to_dict(),
        "n_parameters": sum(tensor.numel() for tensor in weights.parameters.values()),
        "fit": {**settings.to_dict(), **record, "quick": quick, "from_pretrained": from_pretrained, "seed": seed},
        **shared.provenance(fit_energy, arguments, content, table.report),
    }
    shared.write_model(Path(out_dir), card, content, render_card(card))
    return card
