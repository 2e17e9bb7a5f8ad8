"""What the reward terms of predicted energies above a hull share."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.models.composition.model import EnergyModel
from oreflow.rewards.models.ensemble.predictions import Prediction
from oreflow.rewards.reference.alignment import MAX_RESIDUAL_EV_PER_ATOM, read_aligned
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.hull_holes import LOWEST_TRUSTED
from oreflow.rewards.reference.hull_holes import holes as find_holes


class AboveHullTerm(Term):
    """mean + std_weight · std of a model of formation energies, minus the hull of a reference, with its columns.

    Subclasses set `name`. Columns: `hull_energy_ev_per_atom`, `decomposition`, `n_competing_compounds`, `hull_hole`;
    `_std`, and where holes are avoided `_scored`, named after the term.
    """

    name: str
    unit = "eV/atom"
    path_params: tuple[str, ...] = ("reference", "model")
    model_type: type[EnergyModel] = EnergyModel

    def __init__(
        self,
        reference: str | Path,
        model: str | Path,
        std_weight: float,
        same_formula: str,
        holes: str,
        *,
        aligned_by: str | Path | None = None,
        max_residual: float = MAX_RESIDUAL_EV_PER_ATOM,
        **options: Any,
    ) -> None:
        """Reads the reference and the model's description; `options` are those of `read_reference`."""
        for name, value in (("std_weight", std_weight), ("max_residual", max_residual)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise RewardParameterError(f"expected {name} to be a finite number, got {value!r}")
        if same_formula not in ("include", "exclude"):
            raise RewardParameterError(f"expected same_formula to be 'include' or 'exclude', got {same_formula!r}")
        if holes not in ("avoid", "keep"):
            raise RewardParameterError(f"expected holes to be 'avoid' or 'keep', got {holes!r}")
        self.model = self.model_type.load(model)
        if not self.model.is_formation_energy:
            raise RewardParameterError(
                f"{self.name}: expected a model of formation energies, got one of {self.model.target_name!r} in "
                f"{self.model.directory}"
            )
        self.reference, self.alignment = read_aligned(reference, aligned_by, max_residual=max_residual, **options)
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

    def above_hull(self, prediction: Prediction, compositions: Compositions) -> TermValues:
        """Put what the model says of a batch, and its compositions, against the hull; NaN where invalid."""
        hull = self.phases.hull(compositions, include_same_formula=self.include_same_formula)
        values = prediction.mean + self.std_weight * prediction.std - hull.energies
        valid = prediction.in_scope & np.isfinite(hull.energies)
        reasons = dict(prediction.reasons)
        for row in np.flatnonzero(prediction.in_scope & ~valid).tolist():
            reasons[row] = "the linear programme of the convex hull did not converge"
        reasons_of_holes, scored = find_holes(compositions, hull, values, LOWEST_TRUSTED)
        columns = {
            "hull_energy_ev_per_atom": hull.energies,
            "decomposition": np.array(self.phases.decompositions(hull), dtype=object),
            f"{self.name}_std": prediction.std,
            "n_competing_compounds": hull.n_competing,
            "hull_hole": np.array(reasons_of_holes, dtype=object),
        }
        if self.avoid_holes:
            columns[f"{self.name}_scored"] = scored
        return TermValues(values, valid, columns, reasons)
