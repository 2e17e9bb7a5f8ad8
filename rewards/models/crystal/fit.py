"""Fits a crystal energy model to a table of structures, and writes it with its model card.

With a table of compositions beside it, the network also learns from energies of compounds whose structures are not in
the table. Tables of different releases differ by their corrections: the difference is fitted, element by element, on
the formulas that both tables hold, and added to the compositions' energies.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oreflow.envs.arrays import Bools, Ints
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.models.composition.inputs import composition_features, element_index, encode, prototypes_of
from oreflow.rewards.models.crystal.data import CrystalTable
from oreflow.rewards.models.crystal.inputs import concatenate, encode_compositions, encode_crystals, vocabulary_of
from oreflow.rewards.models.crystal.model import CrystalEnergyModel
from oreflow.rewards.models.crystal.training_tables import TrainingTables, formula_keys, training_tables
from oreflow.rewards.models.ensemble.folder import FORMATION_ENERGY_COLUMN, FORMATION_ENERGY_UNIT, SCHEMA_VERSION

if TYPE_CHECKING:
    from oreflow.rewards.models.ensemble.training import Progress

# Polymorphs of one formula that differ by less are not told apart by the data either, eV/atom.
POLYMORPH_DIFFERENCE = 0.02
# Predictions nearer than this differ by rounding, eV/atom.
_TIE = 1e-4
_ROWS_PER_FORMULA_PROTOTYPE, _ROWS_PER_CRYSTAL_PROTOTYPE = 30, 8


def _fitted_compositions(tables: TrainingTables) -> Bools:
    """Which rows of the table of compositions hold only elements of the training crystals; bool [composition]."""
    if not len(tables.compositions):
        return np.zeros(0, dtype=np.bool_)
    present = np.unique(tables.crystals.compositions[tables.split.train].atomic_numbers)
    return np.isin(tables.compositions.atomic_numbers, [0, *present.tolist()]).all(axis=1)


def polymorph_order(model: CrystalEnergyModel, table: CrystalTable, rows: Ints) -> dict[str, Any]:
    """How often the lower of two crystals of one formula is predicted to be the lower one.

    Returns:
        pairs, right, tied: numbers of pairs whose energies differ by at least `difference`, eV/atom; of those in order;
            and of those predicted to be equal, such as two crystals with one decoration.
    """
    mean = model.predict(table.crystals[rows]).mean
    keys, values = formula_keys(table.compositions[rows]), table.values[rows]
    by_formula: dict[bytes, list[int]] = {}
    for k in np.flatnonzero(~np.isnan(mean)).tolist():
        by_formula.setdefault(keys[k], []).append(k)
    pairs = right = tied = 0
    for group in by_formula.values():
        for place, i in enumerate(group):
            for j in group[:place]:
                if abs(values[i] - values[j]) >= POLYMORPH_DIFFERENCE:
                    pairs += 1
                    if abs(mean[i] - mean[j]) < _TIE:
                        tied += 1
                    else:
                        right += int((values[i] > values[j]) == (mean[i] > mean[j]))
    return {"pairs": pairs, "right": right, "tied": tied, "difference": POLYMORPH_DIFFERENCE}


def fit_crystal_energy(
    csv_path: str | Path,
    out_dir: str | Path,
    *,
    compositions_path: str | Path | None = None,
    target_column: str = FORMATION_ENERGY_COLUMN,
    n_members: int = 3,
    n_epochs: int = 36,
    node_width: int = 96,
    site_width: int = 96,
    trunk_width: int = 128,
    n_blocks: int = 3,
    crystal_repeats: int = 2,
    seed: int = 0,
    max_minutes: float = 60.0,
    data_source: str = "",
    citations: Sequence[str] = (),
    progress: "Progress | None" = None,
) -> dict[str, Any]:
    """Fits an ensemble to a CSV of structures and their formation energies, and writes it to a folder.

    Structures are split by reduced formula into training, validation (early stopping, calibration) and test rows; a
    second test holds whole chemical systems. Formulas held out are left out of the table of compositions, too. All
    reported errors are those of the stored weights.

    Args:
        csv_path: a CSV, plain or compressed, with columns `lattice`, `sites` (see `rewards.models.crystal.data`) and
            the energies.
        out_dir: receives `weights.safetensors`, `model.json` and `README.md`; a model already there is replaced.
        compositions_path: a CSV with a column `formula` and the same column of energies, of ground states.
        target_column: column of the formation energies, eV/atom.
        n_members: networks in the ensemble.
        n_epochs: passes over the training rows; early stopping may end the fit sooner.
        node_width, site_width, trunk_width, n_blocks: sizes of each network.
        crystal_repeats: how often a pass shows each crystal; compositions are shown once.
        seed: of the split, of the initial weights and of the order of rows.
        max_minutes: if the epochs do not fit into this time, the schedule is shortened to it.
        data_source: a sentence on the data's origin and licence, for the model card.
        citations: works to cite with the predictions.
        progress: called with plain numbers after each epoch and stage, as by
            `rewards.models.composition.fit.fit_energy`.

    Returns:
        The content of `model.json`.

    Raises:
        EnergyDataError: for a table that cannot be read or used.
        FitOutputError: when the folder cannot be written.
    """
    # The command in the model card names the file, not where it was.
    compositions_path = None if compositions_path is None else Path(compositions_path)
    arguments = dict(locals())
    from oreflow.rewards.models.composition.network import Architecture
    from oreflow.rewards.models.crystal.card import render_card
    from oreflow.rewards.models.crystal.network import CrystalArchitecture, forward, initial_parameters, pack_crystals
    from oreflow.rewards.models.crystal.prototypes import prototype_hashes
    from oreflow.rewards.models.crystal.weights import CrystalModelWeights
    from oreflow.rewards.models.ensemble import fit as shared
    from oreflow.rewards.models.ensemble.distance import summarise_training_rows
    from oreflow.rewards.models.ensemble.training import FitSettings, FittedRows, Network, fit_parameters

    # Read and split the tables.
    report = shared.reporter(progress)
    seed_split, seed_fit, seed_summary = np.random.SeedSequence(seed).spawn(3)
    report(shared.stage_event("read", n_epochs))
    tables = training_tables(csv_path, compositions_path, target_column, seed_split)
    table, split = tables.crystals, tables.split
    usable = _fitted_compositions(tables)
    trained_formulas = table.compositions[split.train]
    features, energies = composition_features(trained_formulas), table.values[split.train]
    if usable.any():
        features = np.concatenate([features, composition_features(tables.compositions[usable])])
        energies = np.concatenate([energies, tables.energies[usable]])
    scope = shared.scope_and_normalisation(trained_formulas, features, energies)
    target = {"name": target_column, "unit": FORMATION_ENERGY_UNIT, "formation_energy": True, **scope.pop("target")}
    card: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "kind": "crystal", "target": target, **scope}

    # Encode crystals and compositions as rows of one batch, and fit the network.
    in_scope, _ = CrystalEnergyModel(Path(out_dir), card).scope(table.compositions)
    known, validation = (rows[in_scope[rows]] for rows in (np.arange(len(table)), split.validation))
    others = tables.compositions[usable]
    trained = table.crystals[split.train]
    formulas = Compositions.concatenate([trained_formulas, others])
    formula_prototypes = prototypes_of(formulas, at_least=_ROWS_PER_FORMULA_PROTOTYPE)
    vocabulary = vocabulary_of(trained, at_least=_ROWS_PER_CRYSTAL_PROTOTYPE)
    index = element_index(tuple(CrystalEnergyModel(Path(out_dir), card).elements))
    norms = (np.asarray(card["feature_mean"], dtype=np.float32), np.asarray(card["feature_std"], dtype=np.float32))
    encoded = encode_crystals(
        table.crystals[known], table.compositions[known], index, *norms, formula_prototypes, vocabulary
    )
    place = np.full(len(table), -1)
    place[known] = np.arange(len(known))
    values = table.values[known]
    if len(others):
        encoded = concatenate(encoded, encode_compositions(encode(others, index, *norms, formula_prototypes)))
        values = np.concatenate([values, tables.energies[usable]])
    # In descending order of the number of elements, as the network wants its rows.
    order = np.argsort(-(encoded.composition.elements >= 0).sum(axis=1), kind="stable")
    new_place = np.empty_like(order)
    new_place[order] = np.arange(len(order))
    encoded, values = encoded[order], values[order]
    shown = [new_place[place[split.train]]] * crystal_repeats + [new_place[len(known) :]]

    composition = Architecture(
        n_members=n_members,
        n_elements=len(card["elements"]),
        n_features=encoded.composition.features.shape[1],
        n_ordered_prototypes=len(formula_prototypes.ordered) + 1,
        n_anonymous_prototypes=len(formula_prototypes.anonymous) + 1,
        node_width=node_width,
        trunk_width=trunk_width,
        n_blocks=n_blocks,
    )
    architecture = CrystalArchitecture(
        composition,
        n_space_groups=len(vocabulary.space_groups) + 1,
        n_symbols=len(vocabulary.symbols) + 1,
        n_ordered=len(vocabulary.prototypes.ordered) + 1,
        n_anonymous=len(vocabulary.prototypes.anonymous) + 1,
        site_width=site_width,
    )
    settings = FitSettings(n_epochs=n_epochs)
    network = Network(
        initial=lambda seed: initial_parameters(architecture, seed),
        forward=lambda parameters, batch, dropout: forward(parameters, batch, architecture, dropout),
        encode=lambda rows: pack_crystals(encoded[rows], composition.n_elements),
    )
    validation_places = np.sort(new_place[place[validation]])
    fitted_rows = FittedRows(values, target["mean"], target["std"], np.concatenate(shown), validation_places)
    fitted, record = fit_parameters(
        network, fitted_rows, settings, seed=seed_fit, max_minutes=max_minutes, progress=report
    )

    # Measure it with the weights as stored: calibration and all errors are those that users will see.
    report(shared.stage_event("test", n_epochs))
    training_features = encoded.composition.features[np.sort(new_place[place[split.train]])]
    summary = summarise_training_rows(training_features, seed_summary)
    seen = np.unique(prototype_hashes(trained)[:, 1])
    content = CrystalModelWeights(fitted, architecture, formula_prototypes, vocabulary, seen, summary).to_bytes()
    weights = CrystalModelWeights.from_bytes(content, architecture.to_dict(), list(vocabulary.symbols))
    model = CrystalEnergyModel(Path(out_dir), card, weights)
    unseen = np.sort(np.concatenate([split.test, split.test_chemsys]))
    rows = shared.MeasuredRows(table.crystals, table.values, split, validation, unseen)
    shared.measure(model, card, rows, summary)
    card["metrics"] |= shared.errors_of_parts(model, rows, {"unseen": unseen})
    seen_rows = model.prototype_known(table.crystals[unseen])
    by_prototype = {"known": unseen[seen_rows], "new": unseen[~seen_rows]}
    of_compositions = tables.report | ({"rows_fitted": len(others)} if tables.report else {})
    origin = shared.provenance(fit_crystal_energy, arguments, content, table.report | {"compositions": of_compositions})
    card |= {
        "site_symmetries": list(vocabulary.symbols),
        "by_prototype": shared.errors_of_parts(model, rows, by_prototype),
        "polymorphs": polymorph_order(model, table, unseen),
        "architecture": architecture.to_dict(),
        "n_parameters": sum(tensor.numel() for tensor in weights.parameters.values()),
        "n_prototypes_seen": len(seen),
        "fit": {**settings.to_dict(), **record, "crystal_repeats": crystal_repeats, "seed": seed},
        **origin,
    }
    card["versions"]["moyopy"] = version("moyopy")
    shared.write_model(Path(out_dir), card, content, render_card(card))
    return card
