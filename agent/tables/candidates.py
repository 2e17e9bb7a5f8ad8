"""The candidate table with all its columns: one row a draw or a distinct composition."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oreflow.envs.arrays import Bools, Floats, Ints
from oreflow.envs.chemistry.oxidation import TableSpec, resolve_table
from oreflow.envs.objects.anions import anion_chemistries
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.formulas import formula_as_written, formula_columns
from oreflow.envs.objects.labels import protostructure_labels, wyckoff_labels
from oreflow.envs.registry import ChargeRule
from oreflow.envs.structure_io.crystal_text import crystal_to_text
from oreflow.envs.structure_io.encode import found_space_groups
from oreflow.envs.symmetry.space_groups import space_group
from oreflow.rewards import Reward, RewardValues
from oreflow.rewards.contract.protocol import Batch, RewardTerm, TermValues
from oreflow.rewards.isolation.term import IsolatedTerm
from oreflow.rewards.models.composition.model import DEFAULT_MODEL
from oreflow.rewards.models.crystal.model import DEFAULT_CRYSTAL_MODEL
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance, witnesses
from oreflow.rewards.terms.composition.electronegativity_balance import ElectronegativityBalance
from oreflow.rewards.terms.energy.crystal_formation_energy import CrystalFormationEnergy
from oreflow.rewards.terms.energy.energy_above_hull import EnergyAboveHull
from oreflow.rewards.terms.energy.formation_energy import FormationEnergy

EnergyTerm = FormationEnergy | CrystalFormationEnergy
_ENERGY_COLUMNS = ("std", "distance", "extrapolates")


def unit_slug(unit: str) -> str:
    """A unit as part of a column name: "eV/atom" becomes "ev_per_atom"."""
    return re.sub(r"[^a-z0-9]+", "_", unit.lower().replace("/", "_per_")).strip("_")


def candidate_id(row: int) -> str:
    """Name the candidate of a row, the first being 0."""
    return f"c{row + 1:07d}"


def term_column(name: str, unit: str) -> str:
    """The column of a reward term's values: its name and unit."""
    return "_".join(part for part in (name, unit_slug(unit)) if part)


def candidate_table(
    objects: Batch,
    result: RewardValues,
    *,
    terms: Sequence[RewardTerm],
    energy_model: EnergyTerm | None,
    rule: ChargeRule | None,
    descriptions: Sequence[str],
    further: Mapping[str, Sequence[Any]],
    n_times_sampled: Ints,
    is_unique: Bools,
    is_novel: Bools | None,
    log_pf: Floats | None,
    log_reward_std: Floats | None = None,
) -> pd.DataFrame:
    """Builds the table: the columns it always has, and every reward term's value, share of log R and further columns.

    Args:
        terms: the reward's, for their units and versions.
        energy_model: predicts the formation energies that the table of compositions or crystals has in any case: plain
            means, without a limit. None for other objects.
        rule: by which `charge_neutral` and `electronegativity_ok` are judged; None leaves these columns out.
        descriptions: what the column `object` holds, where objects are neither compositions nor crystals.
        further: the columns that the world adds.
        is_novel: None when there is no reference list; the column is then empty.
        log_pf: log-probability that the sampler ends in the object, all build orders summed; None leaves it empty.
        log_reward_std: how far the models' standard deviations move log R; None leaves the column out.
    """
    n = len(objects)
    columns: dict[str, object] = {"candidate_id": [candidate_id(i) for i in range(n)]}
    if isinstance(objects, Compositions | Crystals):
        columns |= object_columns(objects)
    else:
        columns["object"] = list(descriptions)
    columns |= further
    columns["log_reward"] = result.log_reward
    if log_reward_std is not None:
        columns["log_reward_std"] = log_reward_std
    units = {term.name: term.unit for term in terms}
    for name, term in result.terms.items():
        column = term_column(name, units[name])
        columns[column if column not in columns else f"{name}_value"] = np.where(term.valid, term.values, np.nan)
        columns[f"{name}_valid"] = term.valid
        columns[f"{name}_log_score"] = result.log_scores[name]
    in_any_case: set[tuple[str, str]] = set()  # columns of terms that the table has already
    if energy_model is not None:
        energy = _energy_of_reward(terms, result, energy_model) or energy_model(objects)  # type: ignore[arg-type]
        columns["formation_energy_per_atom_pred"] = np.where(energy.valid, energy.values, np.nan)
        for column in _ENERGY_COLUMNS:
            columns[f"formation_energy_{column}"] = energy.columns[f"{energy_model.name}_{column}"]
        same = [term.name for term in terms if term.version == energy_model.version]
        in_any_case = {(name, f"{energy_model.name}_{c}") for name in same for c in (*_ENERGY_COLUMNS, "mean")}
    if rule is not None and isinstance(objects, Compositions | Crystals):
        columns |= _charge_columns(objects, rule)
    columns["is_unique"] = is_unique
    columns["n_times_sampled"] = n_times_sampled
    if isinstance(objects, Compositions | Crystals):
        columns["is_novel"] = pd.array([pd.NA] * n if is_novel is None else is_novel.tolist(), dtype="boolean")
    columns["log_pf"] = np.full(n, np.nan) if log_pf is None else log_pf
    for name, term in result.terms.items():
        for column, values in term.columns.items():
            if (name, column) in in_any_case:
                continue
            columns[column if column not in columns else f"{name}_{column}"] = _storable(values)
    if isinstance(objects, Crystals):
        columns["structure"] = crystal_to_text(objects)
    return pd.DataFrame(columns)


def _charge_columns(objects: Compositions | Crystals, rule: ChargeRule) -> dict[str, object]:
    """Verdicts on charge neutrality and electronegativity, with a set of states that adds up to zero."""
    table, mixed = resolve_table(rule.table), rule.mixed_valence
    compositions = objects.formula_units()
    neutral, ordered = verdicts(compositions, table, mixed)
    return {
        "charge_neutral": neutral,
        "oxidation_states": witnesses(compositions, table, mixed),
        "oxidation_table": table.label + (" (mixed valence)" if mixed else ""),
        "electronegativity_ok": ordered,
    }


def object_columns(objects: Compositions | Crystals) -> dict[str, object]:
    """What an object is: its formula, and of a crystal space group, atoms in the primitive cell and labels."""
    if isinstance(objects, Compositions):
        n = len(objects)
        missing = {"space_group_number": pd.array([pd.NA] * n, dtype="Int64")}
        return _names(objects) | missing | {"wyckoff_label": pd.array([pd.NA] * n, dtype="string")}
    columns = _names(objects.compositions)
    columns["nsites"] = objects.compositions.n_atoms.tolist()  # of the primitive cell, as Materials Project counts
    columns["space_group_number"] = pd.array(objects.space_group.tolist(), dtype="Int64")
    columns["space_group_symbol"] = [space_group(number).symbol for number in objects.space_group.tolist()]
    columns["wyckoff_label"] = pd.array(wyckoff_labels(objects), dtype="string")
    columns["protostructure"] = protostructure_labels(objects)
    if objects.has_geometry.all():
        columns["space_group_found"] = found_space_groups(objects)
    return columns


def _names(compositions: Compositions) -> dict[str, object]:
    """Formulas and what they say at once: as written by chemists, and by databases; the anion."""
    columns = formula_columns(compositions)
    written = [formula_as_written(pretty) for pretty in columns["formula_pretty"]]
    return {"formula": written, **columns, "anion": anion_chemistries(compositions)}


def energy_model_of(reward: Reward, crystals: bool = False) -> EnergyTerm:
    """The model that a reward judges formation energies by, for plain predictions; else the one that ships.

    Args:
        crystals: whether the objects are crystals, which a model that reads space group and positions then judges.
    """
    if crystals:
        for term, _ in reward.terms:
            judge = term.unwrapped
            if isinstance(judge, CrystalFormationEnergy):
                return CrystalFormationEnergy(judge.model.directory)
            if isinstance(judge, IsolatedTerm) and judge.registered_name == "crystal_formation_energy":
                return CrystalFormationEnergy(judge.params.get("model", DEFAULT_CRYSTAL_MODEL))
        return CrystalFormationEnergy()
    for term, _ in reward.terms:
        own = term.unwrapped
        if isinstance(own, FormationEnergy | EnergyAboveHull):
            return FormationEnergy(own.model.directory)
        if isinstance(own, IsolatedTerm) and own.registered_name in ("formation_energy", "energy_above_hull"):
            return FormationEnergy(own.params.get("model", DEFAULT_MODEL))
    return FormationEnergy()


def _energy_of_reward(terms: Sequence[RewardTerm], result: RewardValues, energy_model: EnergyTerm) -> TermValues | None:
    """What `energy_model` says, where a term of the reward has said it already."""
    plain = (energy_model.name, energy_model.version, 0.0, None)  # a label would rename the columns
    for term in terms:
        if isinstance(term, EnergyTerm) and (term.name, term.version, term.std_weight, term.max_distance) == plain:
            return result.terms[term.name]
    return None


def _storable(values: NDArray[Any]) -> NDArray[Any]:
    """A column that every file format can hold: objects other than text become text."""
    if values.dtype.kind == "S":
        return np.char.decode(values, errors="replace")
    if values.dtype.kind != "O":
        return values
    cells = [cell if cell is None or isinstance(cell, str) else str(cell) for cell in values.tolist()]
    return np.array([*cells, None], dtype=object)[:-1]


def verdicts(
    objects: Compositions, table: TableSpec, mixed_valence: bool
) -> tuple[pd.arrays.BooleanArray, pd.arrays.BooleanArray]:
    """`charge_neutral` and `electronegativity_ok`; missing where the table or scale does not cover an element."""
    residual = ChargeBalance(table, mixed_valence)(objects)
    ordered = ElectronegativityBalance(table, mixed_valence)(objects)
    return _nullable(residual.values == 0, residual), _nullable(ordered.values == 1, ordered)


def _nullable(flags: Bools, term: TermValues) -> pd.arrays.BooleanArray:
    return pd.arrays.BooleanArray(flags, ~term.valid)
