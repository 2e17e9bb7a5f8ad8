"""Formation energies of crystals from space group and occupied positions: an ensemble with a calibrated deviation.

A model is a directory as `rewards.models.composition.model` describes it, of the kind "crystal";
`rewards.models.crystal.fit` writes it. Lattice and coordinates are not used: a crystal with geometry has the energy of
its decoration. Importing this module does not import torch; the first prediction does.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from oreflow.envs.arrays import Bools, Floats
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.models.composition.inputs import element_index
from oreflow.rewards.models.composition.model import CHUNK, EnergyModel
from oreflow.rewards.models.ensemble.predictions import Prediction, calibrated_std

if TYPE_CHECKING:
    from oreflow.rewards.models.crystal.inputs import EncodedCrystals
    from oreflow.rewards.models.crystal.weights import CrystalModelWeights
    from oreflow.rewards.models.ensemble.layers import Parameters

DEFAULT_CRYSTAL_MODEL = "crystal_energy_v1"


class CrystalEnergyModel(EnergyModel):
    """A crystal energy model read from its directory. Use `CrystalEnergyModel.load`."""

    kind: ClassVar[str] = "crystal"
    default: ClassVar[str] = DEFAULT_CRYSTAL_MODEL

    def __init__(self, directory: Path, card: dict[str, Any], weights: "CrystalModelWeights | None" = None) -> None:
        super().__init__(directory, card)
        self._given = weights
        self._index = element_index(self.elements)

    @cached_property
    def _crystal_weights(self) -> "CrystalModelWeights":
        from oreflow.rewards.models.crystal.weights import CrystalModelWeights

        def parse(content: bytes) -> CrystalModelWeights:
            return CrystalModelWeights.from_bytes(content, self.card["architecture"], self.card["site_symmetries"])

        return self._given or self.checked_weights(parse)

    @cached_property
    def _folded(self) -> "Parameters":
        from oreflow.rewards.models.crystal.inference import fold

        return fold(self._crystal_weights.parameters, self._crystal_weights.architecture)

    def encode(  # type: ignore[override]  # another kind of batch
        self, crystals: Crystals, compositions: Compositions | None = None
    ) -> "EncodedCrystals":
        """What the network is given; every row must be in scope. `compositions` are those of the crystals."""
        from oreflow.rewards.models.crystal.inputs import encode_crystals

        w = self._crystal_weights
        norms = (self._feature_mean, self._feature_std)
        compositions = crystals.compositions if compositions is None else compositions
        return encode_crystals(crystals, compositions, self._index, *norms, w.composition_prototypes, w.vocabulary)

    def predict_members(  # type: ignore[override]
        self, crystals: Crystals, compositions: Compositions | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """What each member says, before calibration; every row must be in scope.

        Returns:
            mean, scale: float64 [member, batch], as `EnergyModel.predict_members` returns them.
            distance: float64 [batch], of the compositions from those of the training crystals.
        """
        import torch

        from oreflow.rewards.models.crystal.inference import infer
        from oreflow.rewards.models.crystal.network import pack_crystals

        compositions = crystals.compositions if compositions is None else compositions
        w = self._crystal_weights
        n_members = w.architecture.composition.n_members
        mean, log_scale = np.empty((n_members, len(crystals))), np.empty((n_members, len(crystals)))
        distance = np.empty(len(crystals))
        order = np.argsort(-compositions.n_elements, kind="stable")
        with torch.inference_mode():
            for start in range(0, len(crystals), CHUNK):
                rows = order[start : start + CHUNK]
                encoded = self.encode(crystals[rows], compositions[rows])
                x = pack_crystals(encoded, len(self.elements))
                chunk_mean, chunk_log_scale = infer(self._folded, x, w.architecture)
                mean[:, rows], log_scale[:, rows] = chunk_mean.numpy(), chunk_log_scale.numpy()
                distance[rows] = w.summary.distance(encoded.composition.features)
        target = self.card["target"]
        return target["mean"] + target["std"] * mean, target["std"] * np.exp(log_scale), distance

    def prototype_known(self, crystals: Crystals) -> Bools:
        """Whether the training data hold a crystal with the same positions occupied, by whatever elements; [batch]."""
        from oreflow.rewards.models.crystal.prototypes import prototype_hashes

        return np.isin(prototype_hashes(crystals)[:, 1], self._crystal_weights.seen)

    def predict(self, crystals: Crystals) -> Prediction:  # type: ignore[override]
        """Predicted formation energies, relative to the elements in their reference states.

        A row alone gets the value it gets in any batch, up to single-precision rounding. Pure elements are out of
        scope: only the reference state has zero by definition, and the model has seen no other state of an element.

        Raises:
            EnergyModelError: when the weights are missing, damaged, or not those of `model.json`.
        """
        compositions = crystals.compositions
        in_scope, reasons = self.scope(compositions)
        pure = compositions.n_elements == 1
        for row in np.flatnonzero(pure & in_scope).tolist():
            reasons[row] = "a pure element; the crystal energy model was fitted on compounds"
        in_scope &= ~pure
        mean, std, distance = (np.full(len(crystals), np.nan) for _ in range(3))
        rows = np.flatnonzero(in_scope)
        if len(rows):
            member_mean, member_scale, distance[rows] = self.predict_members(crystals[rows], compositions[rows])
            mean[rows] = member_mean.mean(axis=0)
            std[rows] = calibrated_std(member_mean, member_scale, **self.card["calibration"])
        return Prediction(mean, std, distance, in_scope, reasons)
