"""Formation energies from composition: an ensemble of fitted networks with a calibrated standard deviation.

A model is a directory with `model.json` (scope, normalisation, calibration, measured errors, SHA-256 of the weights),
`weights.safetensors` (stored in half precision, computed in single precision) and a model card, `README.md`.
`rewards.fit_energy` writes it. Importing this module does not import torch; the first prediction does.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.compositions import Compositions
from envs.elements import N_ELEMENTS, atomic_number, nearest, symbols
from envs.errors import OreflowError
from rewards.features import magpie_features

if TYPE_CHECKING:
    from rewards._energy_network import Architecture, Parameters

SCHEMA_VERSION = 1
MODEL_FILE, WEIGHTS_FILE, CARD_FILE = "model.json", "weights.safetensors", "README.md"
# Standardised features are cut off here: a rare element may lie far outside the rest in a single property.
FEATURE_CLIP = 6.0
# Rows computed at once, so that memory stays flat whatever the batch.
CHUNK = 1024


class EnergyModelError(OreflowError, ValueError):
    """A directory that does not hold a usable energy model."""


@dataclass(frozen=True)
class EnergyPrediction:
    """Predicted formation energies of a batch.

    Attributes:
        mean: float64 [batch], eV/atom; NaN where out of scope.
        std: float64 [batch], eV/atom; mean ± 1.645 std covers 90 % of the validation rows. NaN where out of scope.
        in_scope: bool [batch].
        reasons: why a row is out of scope, by row.
    """

    mean: np.ndarray
    std: np.ndarray
    in_scope: np.ndarray
    reasons: dict[int, str]


def _pretrained() -> Path:
    return Path(str(files("rewards"))) / "pretrained"


def pretrained_names() -> tuple[str, ...]:
    """Names of the models that ship with oreflow."""
    return tuple(sorted(path.parent.name for path in _pretrained().glob(f"*/{MODEL_FILE}")))


def model_directory(name_or_path: str | Path) -> Path:
    """The directory of a shipped model by its name, or of a fitted one by its path.

    Raises:
        EnergyModelError: when it is neither.
    """
    if str(name_or_path) in pretrained_names():
        return _pretrained() / str(name_or_path)
    if (Path(name_or_path) / MODEL_FILE).is_file():
        return Path(name_or_path)
    raise EnergyModelError(
        f"expected the name of a shipped energy model or a directory with {MODEL_FILE}, got {str(name_or_path)!r}; "
        f"{nearest(str(name_or_path), pretrained_names())}; `oreflow fit-energy` fits a new one"
    )


class EnergyModel:
    """An energy model read from its directory. Use `EnergyModel.load`.

    Attributes:
        directory: where it was read.
        card: the content of `model.json`.
        elements: atomic numbers in scope, ascending.
        max_elements: the largest number of distinct elements in scope.
    """

    def __init__(
        self, directory: Path, card: dict[str, Any], network: "tuple[Parameters, Architecture] | None" = None
    ) -> None:
        self.directory = directory
        self.card = card
        self._given_network = network
        self.elements = tuple(atomic_number(symbol) for symbol in card["elements"])
        self.max_elements = int(card["max_elements"])
        self._index = np.full(N_ELEMENTS + 1, -1, dtype=np.int64)
        self._index[list(self.elements)] = np.arange(len(self.elements))
        self._feature_mean = np.asarray(card["feature_mean"], dtype=np.float32)
        self._feature_std = np.asarray(card["feature_std"], dtype=np.float32)

    @staticmethod
    def load(name_or_path: str | Path = "energy_v1") -> "EnergyModel":
        """Reads a model's description; the weights are read, and checked, by the first prediction.

        Args:
            name_or_path: name of a shipped model, or a directory written by `fit_energy`.

        Raises:
            EnergyModelError: when there is no model, or its description is damaged or of another schema version.
        """
        directory = model_directory(name_or_path)
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
        try:
            return EnergyModel(directory, card)
        except (KeyError, TypeError, ValueError) as error:
            raise EnergyModelError(
                f"expected a complete model description in {path}, got one with a missing or wrong entry ({error}); "
                "fetch or fit the model again"
            ) from None

    @cached_property
    def _network(self) -> "tuple[Parameters, Architecture]":
        from rewards._energy_inference import fold

        parameters, architecture = self._given_network or self._read_network()
        return fold(parameters, architecture), architecture

    def _read_network(self) -> "tuple[Parameters, Architecture]":
        import safetensors.torch
        import torch

        from rewards._energy_network import Architecture, parameter_shapes

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
            architecture = Architecture(**self.card["architecture"])
            stored = safetensors.torch.load(content)
        except (KeyError, TypeError, safetensors.SafetensorError) as error:
            raise EnergyModelError(
                f"expected weights in {path} as {MODEL_FILE} describes, got {error}; {advice}"
            ) from None
        shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
        if shapes != parameter_shapes(architecture):
            raise EnergyModelError(
                f"expected the parameters that {MODEL_FILE} describes, got others in {path}; {advice}"
            )
        return {name: tensor.to(torch.float32) for name, tensor in stored.items()}, architecture

    def scope(self, batch: Compositions) -> tuple[np.ndarray, dict[int, str]]:
        """Which rows the model may judge: bool [batch], and the reason by row for the others."""
        z = batch.atomic_numbers
        unknown = (z > 0) & (self._index[z] < 0)
        n_elements = batch.n_elements
        in_scope = ~unknown.any(axis=1) & (n_elements >= 1) & (n_elements <= self.max_elements)
        reasons = {}
        for row in np.flatnonzero(~in_scope).tolist():
            outside = [symbols()[k] for k in z[row][unknown[row]]]
            if outside:
                reasons[row] = f"{', '.join(outside)} outside the {len(self.elements)} elements of the energy model"
            elif n_elements[row] == 0:
                reasons[row] = "a composition without elements has no formation energy"
            else:
                reasons[row] = f"{n_elements[row]} elements; the energy model was fitted on up to {self.max_elements}"
        return in_scope, reasons

    def encode(self, batch: Compositions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the network is given: standardised features, element indices (-1 pads) and atomic fractions.

        Returns:
            features: float32 [batch, 132].
            elements: int64 [batch, slot].
            fractions: float32 [batch, slot].
        """
        features, _ = magpie_features(batch, np.float32)
        features -= self._feature_mean
        features /= self._feature_std
        np.clip(features, -FEATURE_CLIP, FEATURE_CLIP, out=features)
        # Index 0 pads `atomic_numbers` and maps to -1, as does whatever is outside the scope.
        fractions = (batch.counts / batch.n_atoms[:, None]).astype(np.float32)
        return features, self._index[batch.atomic_numbers], fractions

    def predict_members(self, batch: Compositions) -> tuple[np.ndarray, np.ndarray]:
        """What each member of the ensemble says, before calibration; every row must be in scope.

        Returns:
            mean: float64 [member, batch], eV/atom.
            scale: float64 [member, batch], eV/atom, the member's own guess of its absolute error.
        """
        import torch

        from rewards._energy_inference import infer
        from rewards._energy_network import pack

        weights, architecture = self._network
        mean = np.empty((architecture.n_members, len(batch)))
        log_scale = np.empty_like(mean)
        order = np.argsort(-batch.n_elements, kind="stable")
        with torch.inference_mode():
            for start in range(0, len(batch), CHUNK):
                rows = order[start : start + CHUNK]
                x = pack(*self.encode(batch[rows]), len(self.elements))
                chunk_mean, chunk_log_scale = infer(weights, x, architecture)
                mean[:, rows], log_scale[:, rows] = chunk_mean.numpy(), chunk_log_scale.numpy()
        target = self.card["target"]
        return target["mean"] + target["std"] * mean, target["std"] * np.exp(log_scale)

    def predict(self, batch: Compositions) -> EnergyPrediction:
        """Formation energies of a batch, relative to the elements in their reference states.

        A row alone gets the value it gets in any batch, up to single-precision rounding (below 1e-5 eV/atom). A pure
        element in scope gets 0 ± 0, which is what formation energy means; the network is not asked.

        Raises:
            EnergyModelError: when the weights are missing, damaged, or not those of `model.json`.
        """
        in_scope, reasons = self.scope(batch)
        mean, std = np.full(len(batch), np.nan), np.full(len(batch), np.nan)
        pure = in_scope & (batch.n_elements == 1)
        mean[pure] = std[pure] = 0.0
        rows = np.flatnonzero(in_scope & ~pure)
        if len(rows):
            member_mean, member_scale = self.predict_members(batch[rows])
            mean[rows] = member_mean.mean(axis=0)
            std[rows] = calibrated_std(member_mean, member_scale, **self.card["calibration"])
        return EnergyPrediction(mean, std, in_scope, reasons)


def calibrated_std(mean: np.ndarray, scale: np.ndarray, *, spread_weight: float, factor: float) -> np.ndarray:
    """factor · sqrt(spread_weight · variance between members + mean squared scale), float64 [batch].

    Args:
        mean: float64 [member, batch], the members' predictions.
        scale: float64 [member, batch], the members' guesses of their error, in the same unit.
        spread_weight: weight of the disagreement between members; fitted on validation rows.
        factor: fitted on validation rows so that mean ± 1.645 std covers 90 % of them.
    """
    return factor * np.sqrt(spread_weight * mean.var(axis=0) + (scale**2).mean(axis=0))
