"""Properties from composition: an ensemble of fitted networks with a calibrated standard deviation.

Made for formation energies, and fitted to any other property just as well. A model is a directory with `model.json`
(property and unit, scope, normalisation, calibration, measured errors, SHA-256 of the weights), `weights.safetensors`
(stored in half precision, computed in single precision) and a model card, `README.md`.
`rewards.models.composition.fit` writes it. Importing this module does not import torch; the first prediction does.
"""

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from oreflow.envs.arrays import Bools, Floats
from oreflow.envs.chemistry.elements import atomic_number, symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.models.composition.inputs import EncodedRows, element_index, encode
from oreflow.rewards.models.ensemble.folder import (
    MODEL_FILE,
    SCHEMA_VERSION,
    WEIGHTS_FILE,
    EnergyModelError,
    model_directory,
)
from oreflow.rewards.models.ensemble.predictions import Prediction, calibrated_std

if TYPE_CHECKING:
    from oreflow.rewards.models.composition.weights import ModelWeights
    from oreflow.rewards.models.ensemble.layers import Parameters

Weights = TypeVar("Weights")

DEFAULT_MODEL = "energy_v2"
# Rows computed at once, so that memory stays flat whatever the batch.
CHUNK = 1024


class EnergyModel:
    """A property model read from its directory. Use `EnergyModel.load`.

    Attributes:
        directory: where it was read.
        card: the content of `model.json`.
        target_name: the property, as the column it was fitted on.
        unit: of the predictions; "" where none was given.
        is_formation_energy: whether the property is a formation energy, so that pure elements get 0 by definition.
        distance_threshold: distance from the training data that 99 % of the validation rows keep.
        elements: atomic numbers in scope, ascending.
        min_elements, max_elements: the numbers of distinct elements in scope.
        kind: what the model predicts from; a directory of another kind is refused.
        default: name of the shipped model of this kind.
    """

    kind: ClassVar[str] = "composition"
    default: ClassVar[str] = DEFAULT_MODEL

    def __init__(self, directory: Path, card: dict[str, Any], weights: "ModelWeights | None" = None) -> None:
        self.directory = directory
        self.card = card
        self._given_weights = weights
        self.target_name = str(card["target"]["name"])
        self.unit = str(card["target"]["unit"])
        self.is_formation_energy = bool(card["target"]["formation_energy"])
        self.elements = tuple(atomic_number(symbol) for symbol in card["elements"])
        self.min_elements, self.max_elements = int(card["min_elements"]), int(card["max_elements"])
        self._index = element_index(self.elements)
        self._feature_mean = np.asarray(card["feature_mean"], dtype=np.float32)
        self._feature_std = np.asarray(card["feature_std"], dtype=np.float32)

    @property
    def distance_threshold(self) -> float:
        """Distance from the training data beyond which a composition counts as far; no unit."""
        return float(self.card["distance"]["threshold"])

    @classmethod
    def load(cls, name_or_path: str | Path | None = None) -> Self:
        """Reads a model's description; the weights are read, and checked, by the first prediction.

        Args:
            name_or_path: name of a shipped model, or a directory written by `oreflow fit`; None is the shipped
                model of this kind.

        Raises:
            EnergyModelError: when there is no model, or its description is damaged or of another schema version.
        """
        directory = model_directory(cls.default if name_or_path is None else name_or_path)
        path = directory / MODEL_FILE
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
            version = card["schema_version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EnergyModelError(
                f"expected a model description in {path}, could not read it ({error}); fetch or fit the model again"
            ) from None
        if version != SCHEMA_VERSION:
            raise EnergyModelError(
                f"expected schema version {SCHEMA_VERSION} in {path}, got {version!r}; "
                "fit the model again with this version of oreflow"
            )
        kind = card.get("kind", "composition")
        if kind != cls.kind:
            reward = "crystal_formation_energy" if kind == "crystal" else "formation_energy"
            raise EnergyModelError(
                f"expected a model that predicts from the {cls.kind} in {path}, got one that predicts from the {kind}; "
                f"use it with the reward {reward!r}"
            )
        try:
            model = cls(directory, card)
            float(model.distance_threshold)
            return model
        except (KeyError, TypeError, ValueError) as error:
            raise EnergyModelError(
                f"expected a complete model description in {path}, got one with a missing or wrong entry ({error}); "
                "fetch or fit the model again"
            ) from None

    @cached_property
    def _weights(self) -> "ModelWeights":
        return self._given_weights or self._read_weights()

    @property
    def weights(self) -> "ModelWeights":
        """All fitted numbers, read and checked when they are first asked for.

        Raises:
            EnergyModelError: when they are missing, damaged, or not those of `model.json`.
        """
        return self._weights

    @cached_property
    def _folded(self) -> "Parameters":
        from oreflow.rewards.models.composition.inference import fold

        return fold(self._weights.parameters, self._weights.architecture)

    def _read_weights(self) -> "ModelWeights":
        from oreflow.rewards.models.composition.weights import ModelWeights

        return self.checked_weights(lambda content: ModelWeights.from_bytes(content, self.card["architecture"]))

    def checked_weights(self, parse: Callable[[bytes], Weights]) -> Weights:
        """The file of weights, if its hash is that of the description, as `parse` reads it.

        Raises:
            EnergyModelError: when it is missing, damaged, or another one.
        """
        from safetensors import SafetensorError

        path = self.directory / WEIGHTS_FILE
        advice = f"fetch or fit the model again, so that {MODEL_FILE} and {WEIGHTS_FILE} belong together"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EnergyModelError(f"expected weights in {path}, could not read them ({error}); {advice}") from None
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.card["weights_sha256"]:
            raise EnergyModelError(
                f"expected weights with SHA-256 {self.card['weights_sha256']}, got {digest} in {path}; "
                f"the file is damaged or was replaced: {advice}"
            )
        try:
            return parse(content)
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise EnergyModelError(
                f"expected weights in {path} as {MODEL_FILE} describes, got {error}; {advice}"
            ) from None

    def scope(self, batch: Compositions) -> tuple[Bools, dict[int, str]]:
        """Which rows the model may judge: bool [batch], and the reason by row for the others.

        Of a formation energy model pure elements are in scope, although none was fitted: they have 0 by definition.
        """
        z = batch.atomic_numbers
        unknown = (z > 0) & (self._index[z] < 0)
        n_elements = batch.n_elements
        fewest = 1 if self.is_formation_energy else self.min_elements
        in_scope = ~unknown.any(axis=1) & (n_elements >= fewest) & (n_elements <= self.max_elements)
        reasons = {}
        for row in np.flatnonzero(~in_scope).tolist():
            outside = [symbols()[k] for k in z[row][unknown[row]]]
            if outside:
                kind = "energy" if self.is_formation_energy else self.target_name
                reasons[row] = f"{', '.join(outside)} outside the {len(self.elements)} elements of the {kind} model"
            elif n_elements[row] == 0:
                what = "formation energy" if self.is_formation_energy else self.target_name
                reasons[row] = f"a composition without elements has no {what}"
            else:
                kind = "energy" if self.is_formation_energy else self.target_name
                numbers = f"{self.min_elements} to {self.max_elements}"
                reasons[row] = f"{n_elements[row]} elements; the {kind} model was fitted on {numbers}"
        return in_scope, reasons

    def encode(self, batch: Compositions) -> EncodedRows:
        """What the network is given; every row must be in scope."""
        return encode(batch, self._index, self._feature_mean, self._feature_std, self._weights.prototypes)

    def predict_members(self, batch: Compositions) -> tuple[Floats, Floats, Floats]:
        """What each member of the ensemble says, before calibration; every row must be in scope.

        Returns:
            mean: float64 [member, batch].
            scale: float64 [member, batch], the member's own guess of its absolute error, in the same unit.
            distance: float64 [batch], from the training data; no unit.
        """
        import torch

        from oreflow.rewards.models.composition.inference import infer
        from oreflow.rewards.models.composition.network import pack

        architecture = self._weights.architecture
        mean = np.empty((architecture.n_members, len(batch)))
        log_scale, distance = np.empty_like(mean), np.empty(len(batch))
        order = np.argsort(-batch.n_elements, kind="stable")
        with torch.inference_mode():
            for start in range(0, len(batch), CHUNK):
                rows = order[start : start + CHUNK]
                encoded = self.encode(batch[rows])
                chunk_mean, chunk_log_scale = infer(self._folded, pack(encoded, len(self.elements)), architecture)
                mean[:, rows], log_scale[:, rows] = chunk_mean.numpy(), chunk_log_scale.numpy()
                distance[rows] = self._weights.summary.distance(encoded.features)
        target = self.card["target"]
        return target["mean"] + target["std"] * mean, target["std"] * np.exp(log_scale), distance

    def predict(self, batch: Compositions) -> Prediction:
        """Predicted values of a batch; formation energies are relative to the elements in their reference states.

        A row alone gets the value it gets in any batch, up to single-precision rounding (below 1e-5 eV/atom for the
        shipped model). A pure element gets a formation energy of 0 ± 0 at distance 0, which is what formation energy
        means; the network is not asked. For any other property a pure element is a composition like all others.

        Raises:
            EnergyModelError: when the weights are missing, damaged, or not those of `model.json`.
        """
        in_scope, reasons = self.scope(batch)
        mean, std, distance = (np.full(len(batch), np.nan) for _ in range(3))
        by_definition = in_scope & (batch.n_elements == 1) & self.is_formation_energy
        mean[by_definition] = std[by_definition] = distance[by_definition] = 0.0
        rows = np.flatnonzero(in_scope & ~by_definition)
        if len(rows):
            member_mean, member_scale, distance[rows] = self.predict_members(batch[rows])
            mean[rows] = member_mean.mean(axis=0)
            std[rows] = calibrated_std(member_mean, member_scale, **self.card["calibration"])
        return Prediction(mean, std, distance, in_scope, reasons)
