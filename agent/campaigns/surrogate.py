"""What is known of a decoration before it is relaxed: the crystal model against the hull, and what it rests on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oreflow.agent.campaigns.calibration import Inputs
from oreflow.agent.judging.stability import Hull
from oreflow.envs.arrays import Bools
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.models.crystal.model import DEFAULT_CRYSTAL_MODEL
from oreflow.rewards.terms.energy.crystal_energy_above_hull import CrystalEnergyAboveHull
from oreflow.rewards.terms.structure.free_parameters import FreeParameters

FEATURES = (
    "predicted_ev_per_atom",
    "predicted_std_ev_per_atom",
    "distance",
    "hull_energy_ev_per_atom",
    "n_free_parameters",
    "log_n_atoms",
    "n_elements",
    "n_sites",
)
"""What a calibration reads beside the shares of the elements."""


@dataclass(frozen=True)
class Screened:
    """What the surrogate says of crystals; all arrays are [row].

    Attributes:
        inputs: 0 in rows without a prediction.
        in_scope: whether there is a prediction.
        holes: why the hull is not to be trusted there, "" where nothing speaks against it.
    """

    inputs: Inputs
    in_scope: Bools
    holes: list[str]


class Surrogate:
    """A crystal model minus the hull of known phases.

    Args:
        hull, aligned_by, max_residual: as `oreflow.rewards.reference.alignment.read_aligned` takes them.
        model: of crystals, a name or a folder; None for the one that ships.

    Raises:
        TableError, ReferenceTableError: when a reference cannot be read, or the two cannot be aligned.
        EnergyModelError: when there is no such model.
    """

    def __init__(self, hull: str, aligned_by: str | None, max_residual: float, model: str | None) -> None:
        self._term = CrystalEnergyAboveHull(
            reference=hull, model=model or DEFAULT_CRYSTAL_MODEL, aligned_by=aligned_by, max_residual=max_residual
        )
        self._free_parameters = FreeParameters()

    @property
    def version(self) -> str:
        """Name the model and the hull, with digests."""
        return self._term.version

    @property
    def hull(self) -> Hull:
        """The hull that the referee is judged by, too."""
        term = self._term
        return Hull(term.reference, term.phases, term.alignment, "include")

    @property
    def hull_path(self) -> Path:
        """Where its phases were read."""
        return self._term.reference.path

    def screen(self, crystals: Crystals) -> Screened:
        """Predict energies above the hull, and gather what the prediction rests on."""
        prediction = self._term.model.predict(crystals)  # type: ignore[arg-type]
        found = self._term.above_hull(prediction, crystals.compositions)
        dense = crystals.compositions.dense().astype(np.float64)
        n_atoms = dense.sum(axis=1)
        columns = (
            found.values,
            prediction.std,
            prediction.distance,
            found.columns["hull_energy_ev_per_atom"],
            self._free_parameters(crystals).values,
            np.log(np.maximum(n_atoms, 1)),
            crystals.compositions.n_elements.astype(np.float64),
            np.diff(crystals.site_offsets).astype(np.float64),
        )
        features = np.nan_to_num(np.stack(columns, axis=1))
        inputs = Inputs(
            np.nan_to_num(found.values),
            np.nan_to_num(prediction.std),
            features,
            dense / np.maximum(n_atoms, 1)[:, None],
        )
        return Screened(inputs, found.valid, [str(text) for text in found.columns["hull_hole"].tolist()])
