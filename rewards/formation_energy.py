"""Predicted formation energy as a reward term."""

from pathlib import Path
from typing import Literal

from envs.compositions import Compositions
from rewards.energy_model import EnergyModel
from rewards.protocol import TermValues


class FormationEnergy:
    """Formation energy predicted from the composition, eV/atom relative to the elements in their reference states.

    The lower, the more energy the compound releases when it forms. It does not say whether the compound is stable: that
    takes the competing phases of its chemical system (Bartel et al., npj Comput. Mater. 6, 97, 2020).

    Values are ensemble means; the column `formation_energy_std` (eV/atom) is calibrated so that mean ± 1.645 std covers
    90 % of the validation data. Rows outside the model's scope are invalid, with a reason.
    """

    name = "formation_energy"
    unit = "eV/atom"
    requires: Literal["composition", "structure"] = "composition"

    def __init__(self, model: str | Path = "energy_v1") -> None:
        """Reads the model's description; the weights follow on the first call.

        Args:
            model: the name of a shipped model, or a directory written by `oreflow fit-energy`.

        Raises:
            EnergyModelError: when there is no such model, or its description cannot be used.
        """
        self.model = EnergyModel.load(model)
        self.version = f"{self.model.directory.name}-{self.model.card['weights_sha256'][:12]}"
        self.citations: tuple[str, ...] = tuple(self.model.card["citations"])

    def __call__(self, batch: Compositions) -> TermValues:
        """Predicted formation energy and its standard deviation for every row; NaN where invalid.

        Raises:
            EnergyModelError: when the weights are missing, damaged, or do not belong to the description.
        """
        prediction = self.model.predict(batch)
        return TermValues(
            values=prediction.mean,
            valid=prediction.in_scope,
            columns={"formation_energy_std": prediction.std},
            reasons=prediction.reasons,
        )
