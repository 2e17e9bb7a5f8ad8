"""The content of a crystal energy model's `weights.safetensors`."""

from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save

from oreflow.envs.arrays import Ints
from oreflow.rewards.models.composition.inputs import Prototypes
from oreflow.rewards.models.crystal.inputs import CrystalVocabulary
from oreflow.rewards.models.crystal.network import CrystalArchitecture, parameter_shapes
from oreflow.rewards.models.ensemble.distance import TrainingSummary
from oreflow.rewards.models.ensemble.layers import Parameters
from oreflow.rewards.models.ensemble.stored_weights import check_stored, summary_tensors, take_summary

_HASHES = ("formula.ordered", "formula.anonymous", "crystal.ordered", "crystal.anonymous", "seen")
_GROUPS = "space_groups"
_SCALE = ".scale"
_LARGEST = 127.0


def _compressed(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Matrices and tables as whole numbers of one byte with a half-precision scale for each column; others in half."""
    if tensor.shape[1] == 1:
        return {name: tensor.half().contiguous()}
    scale = (tensor.abs().amax(dim=1, keepdim=True) / _LARGEST).clamp(min=1e-6).half()
    whole = (tensor / scale.to(torch.float32)).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
    return {name: whole.contiguous(), f"{name}{_SCALE}": scale.contiguous()}


@dataclass(frozen=True)
class CrystalModelWeights:
    """All fitted numbers of a crystal energy model that are not in its description.

    Attributes:
        parameters: of the network, float32.
        architecture: its sizes.
        composition_prototypes: of formulas, those with a vector of their own.
        vocabulary: space groups, site symmetries and crystal prototypes with a vector of their own.
        seen: int64, ascending hashes of all positions-only prototypes among the training crystals.
        summary: where the training crystals' compositions lie.
    """

    parameters: Parameters
    architecture: CrystalArchitecture
    composition_prototypes: Prototypes
    vocabulary: CrystalVocabulary
    seen: Ints
    summary: TrainingSummary

    def to_bytes(self) -> bytes:
        """As stored. The names of site symmetries stand in `model.json`."""
        tensors: dict[str, torch.Tensor] = {}
        for name, tensor in self.parameters.items():
            tensors |= _compressed(name, tensor)
        tensors |= summary_tensors(self.summary)
        tensors[_GROUPS] = torch.from_numpy(self.vocabulary.space_groups)
        formulas, crystals = self.composition_prototypes, self.vocabulary.prototypes
        hashes = (formulas.ordered, formulas.anonymous, crystals.ordered, crystals.anonymous, self.seen)
        tensors |= {f"hashes.{name}": torch.from_numpy(values) for name, values in zip(_HASHES, hashes)}
        return save(tensors)

    @staticmethod
    def from_bytes(content: bytes, architecture: dict[str, Any], symbols: list[str]) -> "CrystalModelWeights":
        """Reads what `to_bytes` wrote.

        Raises:
            KeyError, TypeError, ValueError, safetensors.SafetensorError: when it is not of this architecture.
        """
        a = CrystalArchitecture.from_dict(architecture)
        stored = load(content)
        *known, seen = (stored.pop(f"hashes.{name}").numpy() for name in _HASHES)
        groups = stored.pop(_GROUPS).numpy()
        summary = take_summary(stored)
        scales = {name: stored.pop(f"{name}{_SCALE}") for name in list(stored) if f"{name}{_SCALE}" in stored}
        parameters = {name: tensor.to(torch.float32) for name, tensor in stored.items()}
        for name, scale in scales.items():
            parameters[name] *= scale.to(torch.float32)
        check_stored(parameters, parameter_shapes(a), summary, a.composition.n_features)
        sizes = (a.composition.n_ordered_prototypes, a.composition.n_anonymous_prototypes, a.n_ordered, a.n_anonymous)
        if tuple(len(hashes) + 1 for hashes in known) != sizes or len(groups) + 1 != a.n_space_groups:
            raise ValueError("another number of prototypes or space groups")
        if len(symbols) + 1 != a.n_symbols:
            raise ValueError("another number of site symmetries")
        return CrystalModelWeights(
            parameters,
            a,
            Prototypes(*known[:2]),
            CrystalVocabulary(groups, tuple(symbols), Prototypes(*known[2:])),
            seen,
            summary,
        )
