"""Any property that a model was fitted to, as a reward term."""

import re
from pathlib import Path

from oreflow.rewards.terms.energy.prediction import PredictionTerm


class PredictedProperty(PredictionTerm):
    """A property predicted from the composition by a model of the user's own, in the unit of that model.

    `oreflow fit DATA.csv --property band_gap --unit eV --out DIR` fits one. Values are ensemble means, or mean +
    `std_weight` · std. Columns: `predicted_property_std`, calibrated so that mean ± 1.645 std covers 90 % of the
    validation data; `predicted_property_distance` from the training data, and `predicted_property_extrapolates`,
    whether it is beyond the model's threshold; `predicted_property_mean` where `std_weight` is not 0. Rows outside the
    model's scope are invalid, with a reason.

    In configs without a `label` and in `oreflow score` the term, and with it its columns, is called after the property:
    `band_gap_ev`, `band_gap_std`, and so on. In Python, give a second property in one reward a name of its own:

        @rewards.register("band_gap")
        class BandGap(PredictedProperty):
            name = "band_gap"
    """

    name = "predicted_property"

    def __init__(self, model: str | Path, std_weight: float = 0.0, max_distance: float | None = None) -> None:
        """Reads the model's description; the weights follow on the first call.

        Args:
            model: a directory written by `oreflow fit`, or the name of a shipped model.
            std_weight: the value is mean + std_weight · std. Take a positive number for a property to minimise and a
                negative one for a property to maximise, and the sampler is not paid for what the model does not know.
            max_distance: rows farther from the training data are invalid; by default none is, and the distance and the
                flag are in the columns.

        Raises:
            EnergyModelError: when there is no such model, or its description cannot be used.
            RewardParameterError: for a parameter out of range.
        """
        super().__init__(model, std_weight, max_distance)
        self.unit = self.model.unit

    @property
    def property_name(self) -> str:
        """What tables call the property: lower case, words joined by _ ("Bulk modulus" is bulk_modulus)."""
        words = re.sub(r"[^a-z0-9]+", "_", self.model.target_name.lower()).strip("_")
        return words if words[:1].isalpha() else f"property_{words}".rstrip("_")
