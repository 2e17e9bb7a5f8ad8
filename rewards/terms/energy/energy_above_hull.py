"""Predicted energy above the convex hull of known phases as a reward term."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.models.composition.model import DEFAULT_MODEL, EnergyModel
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.hull_holes import LOWEST_TRUSTED
from oreflow.rewards.reference.hull_holes import holes as find_holes
from oreflow.rewards.reference.known_phases import ENERGY_COLUMN
from oreflow.rewards.reference.predicted_hull import PREDICTED, hull_reference


class EnergyAboveHull(Term):
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
    unit = "eV/atom"
    path_params = ("reference", "model")

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
            model: the name of a shipped energy model, or a directory written by `oreflow fit-energy`.
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
        if isinstance(std_weight, bool) or not isinstance(std_weight, int | float) or not math.isfinite(std_weight):
            raise RewardParameterError(f"expected std_weight to be a finite number, got {std_weight!r}")
        if same_formula not in ("include", "exclude"):
            raise RewardParameterError(f"expected same_formula to be 'include' or 'exclude', got {same_formula!r}")
        if holes not in ("avoid", "keep"):
            raise RewardParameterError(f"expected holes to be 'avoid' or 'keep', got {holes!r}")
        self.model = EnergyModel.load(model)
        if not self.model.is_formation_energy:
            raise RewardParameterError(
                f"energy_above_hull: expected a model of formation energies, got one of {self.model.target_name!r} in "
                f"{self.model.directory}"
            )
        self.reference = hull_reference(
            reference, formula_column=formula_column, energy_column=energy_column, sha256=sha256
        )
        self.reference.warn()
        self.phases = CompetingPhases(self.reference)
        self.std_weight = float(std_weight)
        self.include_same_formula = same_formula == "include"
        self.avoid_holes = self.include_same_formula and holes == "avoid"
        self.version = (
            f"{self.model.directory.name}-{self.model.card['weights_sha256'][:12]}-reference-{self.reference.version}"
            + ("-without-holes" if self.avoid_holes else "")
        )
        self.citations: tuple[str, ...] = (
            *self.model.card["citations"],
            "Ong et al., Chem. Mater. 20, 1798 (2008), doi:10.1021/cm702327g",
            "Bartel et al., npj Comput. Mater. 6, 97 (2020), doi:10.1038/s41524-020-00362-y",
        )

    def __call__(self, batch: Compositions) -> TermValues:
        """Energy above the hull of every row; NaN where invalid.

        Raises:
            EnergyModelError: when the weights are missing, damaged, or do not belong to the description.
        """
        hull = self.phases.hull(batch, include_same_formula=self.include_same_formula)
        prediction = self.model.predict(batch)
        values = prediction.mean + self.std_weight * prediction.std - hull.energies
        valid = prediction.in_scope & np.isfinite(hull.energies)
        reasons = dict(prediction.reasons)
        for row in np.flatnonzero(prediction.in_scope & ~valid).tolist():
            reasons[row] = "the linear programme of the convex hull did not converge"
        reasons_of_holes, scored = find_holes(batch, hull, values, LOWEST_TRUSTED)
        columns = {
            "hull_energy_ev_per_atom": hull.energies,
            "decomposition": np.array(self.phases.decompositions(hull), dtype=object),
            "energy_above_hull_std": prediction.std,
            "n_competing_compounds": hull.n_competing,
            "hull_hole": np.array(reasons_of_holes, dtype=object),
        }
        if self.avoid_holes:
            columns["energy_above_hull_scored"] = scored
        return TermValues(values, valid, columns, reasons)
