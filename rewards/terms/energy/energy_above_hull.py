"""Predicted energy above the convex hull of known phases as a reward term."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.models.composition.model import DEFAULT_MODEL
from oreflow.rewards.reference.known_phases import ENERGY_COLUMN
from oreflow.rewards.reference.predicted_hull import PREDICTED
from oreflow.rewards.terms.energy.above_hull import AboveHullTerm


class EnergyAboveHull(AboveHullTerm):
    """Predicted formation energy minus the convex hull of reference phases, eV/atom.

    0 is on the hull; below 0 the compound is predicted to be more stable than every mixture of phases in the reference;
    above 0 it would release that energy by decomposing into the phases of the column `decomposition`. Model and
    reference must be of one kind: energies of other calculations or corrections shift the difference.

    A composition that is in the reference competes with its own entry, so that its value is the model's error or, with
    another polymorph predicted, the distance to the known one; `same_formula: exclude` gives the decomposition
    enthalpy instead. An element is on the hull, at 0.

    Columns: `hull_energy_ev_per_atom`; `decomposition`, the phases at the hull with their fractions by atoms;
    `energy_above_hull_std` (eV/atom), the model's standard deviation, the reference counting as exact;
    `n_competing_compounds`, how many compounds of the row's chemical system the reference holds (where that is 0
    nothing is known there, and the value is the formation energy); `hull_hole`, why the reference is likely to lack a
    competing compound, empty where nothing says so.

    A search for low values finds such holes sooner than stable compounds. With `holes: avoid` shapes are applied to the
    column `energy_above_hull_scored`: values below -0.1 eV/atom count as ten times as far above that as they are below,
    and 1 eV is added for each atom of a metal and a non-metal element side by side among the products.

    Rows outside the model's scope are invalid, with a reason.
    """

    name = "energy_above_hull"

    def __init__(
        self,
        reference: str | Path | Sequence[str | Path] = PREDICTED,
        model: str | Path = DEFAULT_MODEL,
        std_weight: float = 0.0,
        same_formula: Literal["include", "exclude"] = "include",
        holes: Literal["avoid", "keep"] = "avoid",
        formula_column: str | None = None,
        energy_column: str = ENERGY_COLUMN,
        sha256: str | None = None,
    ) -> None:
        """Reads the reference and the model's description.

        Args:
            reference: CSV, CSV.gz or Parquet of formulas and formation energies (eV/atom), or a JSON file of entries;
                see `oreflow.rewards.reference.known_phases.read_reference`. "predicted" is the hull of the shipped
                model's own predictions of binaries and neutral ternaries, which needs no file. Of a list, such as
                [known.csv, predicted], the first that holds a formula gives its energy.
            model: the name of a shipped energy model, or a directory written by `oreflow fit`.
            std_weight: how many standard deviations are added to the predicted energy: above 0 for candidates that are
                stable with some certainty, below 0 to search where the model is unsure.
            same_formula: whether reference entries of a row's own reduced formula are competing phases.
            holes: "avoid" keeps a search out of the reference's holes, "keep" pays for the plain value. With
                `same_formula: exclude` the plain value counts in any case: stable compounds lie far below 0 there.
            formula_column, energy_column: names of the reference's columns.
            sha256: when given, what the reference's SHA-256 must be.

        Raises:
            RewardParameterError: for a value out of range.
            TableError, ReferenceTableError: when the reference cannot be read or used.
            EnergyModelError: when there is no such model.
        """
        super().__init__(
            reference,
            model,
            std_weight,
            same_formula,
            holes,
            formula_column=formula_column,
            energy_column=energy_column,
            sha256=sha256,
        )

    def __call__(self, batch: Compositions) -> TermValues:
        """Energy above the hull of every row; NaN where invalid.

        Raises:
            EnergyModelError: when the weights are missing, damaged, or do not belong to the description.
        """
        return self.above_hull(self.model.predict(batch), batch)
