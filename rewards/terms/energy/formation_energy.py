"""Predicted formation energy as a reward term."""

from pathlib import Path

from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.models.composition.model import DEFAULT_MODEL
from oreflow.rewards.terms.energy.prediction import PredictionTerm


class FormationEnergy(PredictionTerm):
    """Formation energy predicted from the composition, eV/atom relative to the elements in their reference states.

    The lower, the more energy the compound releases when it forms. It does not say whether the compound is stable: that
    takes the competing phases of its chemical system (Bartel et al., npj Comput. Mater. 6, 97, 2020).

    Values are ensemble means, or mean + `std_weight` · std. Columns: `formation_energy_std` (eV/atom), calibrated so
    that mean ± 1.645 std covers 90 % of the validation data; `formation_energy_distance` from the training data, and
    `formation_energy_extrapolates`, whether it is beyond the model's threshold; `formation_energy_mean` (eV/atom) where
    `std_weight` is not 0. Rows outside the model's scope are invalid, with a reason.
    """

    name = "formation_energy"
    unit = "eV/atom"

    def __init__(
        self, model: str | Path = DEFAULT_MODEL, std_weight: float = 0.0, max_distance: float | None = None
    ) -> None:
        """Reads the model's description; the weights follow on the first call.

        Args:
            model: the name of a shipped model, or a directory written by `oreflow fit`.
            std_weight: the value is mean + std_weight · std. A positive number is a pessimist's energy: a sampler that
                minimises it is not paid for compositions that the model knows little about.
            max_distance: rows farther from the training data are invalid. By default none is, however far: the distance
                and the flag are in the columns. A search proposes many formulas that resemble no known one, and the
                model's threshold as a limit would refuse more of them than the `invalid_budget` of a run allows
                (`python -m benchmarks.rewards.bench_energy --config FILE` gives the share).

        Raises:
            EnergyModelError: when there is no such model, or its description cannot be used.
            RewardParameterError: for a model of another property, or a parameter out of range.
        """
        super().__init__(model, std_weight, max_distance)
        if not self.model.is_formation_energy:
            raise RewardParameterError(
                f"formation_energy: expected a model of formation energies, got one of {self.model.target_name!r} in "
                f"{self.model.directory}; use the reward 'predicted_property' for it"
            )
