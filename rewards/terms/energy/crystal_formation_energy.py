"""Predicted formation energy of a crystal as a reward term."""

from pathlib import Path

import numpy as np

from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.contract.protocol import Requires, TermValues
from oreflow.rewards.models.composition.model import EnergyModel
from oreflow.rewards.models.crystal.model import DEFAULT_CRYSTAL_MODEL, CrystalEnergyModel
from oreflow.rewards.terms.energy.prediction import PredictionTerm


class CrystalFormationEnergy(PredictionTerm):
    """Formation energy predicted from space group and occupied positions, eV/atom relative to the elements.

    Lattice and coordinates are not used and need not be there: the value is that of the relaxed crystal with this
    decoration. Like every formation energy it does not say whether the crystal is stable: that takes the competing
    phases (Bartel et al., npj Comput. Mater. 6, 97, 2020).

    Values are ensemble means, or mean + `std_weight` · std. Columns: `crystal_formation_energy_std` (eV/atom),
    calibrated so that mean ± 1.645 std covers 90 % of the validation data; `crystal_formation_energy_distance` of the
    composition from the training data, and `crystal_formation_energy_extrapolates`, whether it is beyond the model's
    threshold; `crystal_formation_energy_prototype_known`, whether the training data hold a crystal with the same
    positions occupied; `crystal_formation_energy_mean` (eV/atom) where `std_weight` is not 0. Rows outside the model's
    scope are invalid, with a reason.
    """

    name = "crystal_formation_energy"
    unit = "eV/atom"
    requires: Requires = "structure"
    needs_geometry = False
    model_type: type[EnergyModel] = CrystalEnergyModel

    def __init__(
        self, model: str | Path = DEFAULT_CRYSTAL_MODEL, std_weight: float = 0.0, max_distance: float | None = None
    ) -> None:
        """Reads the model's description; the weights follow on the first call.

        Args:
            model: the name of a shipped crystal model, or a directory that `oreflow fit-energy` wrote from structures.
            std_weight: the value is mean + std_weight · std; a positive number is a pessimist's energy.
            max_distance: rows farther from the training data are invalid. By default none is, however far.

        Raises:
            EnergyModelError: when there is no such model, it is one of compositions, or its description cannot be used.
            RewardParameterError: for a parameter out of range.
        """
        super().__init__(model, std_weight, max_distance)

    def __call__(self, batch: Crystals) -> TermValues:  # type: ignore[override]  # another kind of batch
        """Values of every row, NaN where invalid, with the columns named above.

        Raises:
            EnergyModelError: when the weights are missing, damaged, or do not belong to the description.
        """
        found = super().__call__(batch)  # type: ignore[arg-type]
        known = np.zeros(len(batch), dtype=bool)
        if len(batch):
            assert isinstance(self.model, CrystalEnergyModel)
            known = self.model.prototype_known(batch)
        columns = {**found.columns, f"{self.name}_prototype_known": known}
        return TermValues(found.values, found.valid, columns, found.reasons)
