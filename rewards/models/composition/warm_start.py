"""Start a fit from the weights of an earlier model, whatever elements and prototypes the new table has."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from oreflow.envs.arrays import Floats, Ints
from oreflow.rewards.models.composition.inputs import Prototypes
from oreflow.rewards.models.composition.model import EnergyModel
from oreflow.rewards.models.composition.network import Architecture, initial_parameters
from oreflow.rewards.models.composition.weights import ModelWeights
from oreflow.rewards.models.ensemble.layers import Parameters
from oreflow.rewards.models.ensemble.tables import EnergyDataError

_SAME = ("n_features", "prototype_width", "node_width", "n_rounds", "trunk_width", "n_blocks")
_OF_ELEMENTS = ("embedding", "round0.table", "round1.table")


@dataclass(frozen=True)
class Inputs:
    """What the inputs of a network mean.

    Attributes:
        elements: atomic numbers, by node index.
        feature_mean, feature_std: float64 [feature], of the standardisation.
        prototypes: those with a vector of their own.
    """

    elements: tuple[int, ...]
    feature_mean: Floats
    feature_std: Floats
    prototypes: Prototypes

    @staticmethod
    def of(model: EnergyModel, prototypes: Prototypes) -> "Inputs":
        """Give the inputs of a model by its description."""
        mean, std = (np.asarray(model.card[key], dtype=np.float64) for key in ("feature_mean", "feature_std"))
        return Inputs(model.elements, mean, std, prototypes)


def start_from(name_or_path: str | Path, now: Inputs, architecture: Architecture, seed: int) -> Parameters:
    """Give the parameters with which a network starts that shall begin where a fitted model ended.

    Args:
        name_or_path: the model, as `EnergyModel.load` takes it.
        now: what the inputs of the new network mean.

    Raises:
        EnergyDataError: for a network of other widths, rounds, blocks or features.
    """
    model = EnergyModel.load(name_or_path)
    weights = model.weights
    differing = [name for name in _SAME if getattr(weights.architecture, name) != getattr(architecture, name)]
    if differing:
        raise EnergyDataError(
            f"expected a network like that of {name_or_path} to start from its weights, got another "
            f"{', '.join(differing)}; leave these as they are by default, or start from random weights"
        )
    return transplanted(weights, Inputs.of(model, weights.prototypes), now, architecture, seed)


def transplanted(
    earlier: ModelWeights, before: Inputs, now: Inputs, architecture: Architecture, seed: int
) -> Parameters:
    """Give the parameters with which a network says of formulas what an earlier one did, but for a new, random head.

    Vectors of elements and prototypes that the earlier model does not know are random. The weights of the features are
    scaled to the new standardisation: with x' = (f - m') / s', (f - m) / s = x' s' / s + (m' - m) / s. Member i starts
    from member i of the earlier ensemble, counted in a circle.

    Args:
        earlier: has the widths, rounds, blocks and features of `architecture`.
        before, now: what the inputs of the earlier and of the new network mean.
    """
    parameters = initial_parameters(architecture, seed)
    members = torch.arange(architecture.n_members) % earlier.architecture.n_members
    given = {name: tensor[members] for name, tensor in earlier.parameters.items()}
    scale = torch.from_numpy((now.feature_std / before.feature_std).astype(np.float32))
    shift = torch.from_numpy(((now.feature_mean - before.feature_mean) / before.feature_std).astype(np.float32))
    n = architecture.n_features
    of_features = given["trunk.weight"][:, :n]
    given["trunk.bias"] = given["trunk.bias"] + torch.einsum("f,mft->mt", shift, of_features)[:, None]
    given["trunk.weight"] = torch.cat([of_features * scale[:, None], given["trunk.weight"][:, n:]], dim=1)
    kept = [(old, new) for new, z in enumerate(now.elements) for old in [_place(before.elements, z)] if old >= 0]
    for name, tensor in parameters.items():
        if name.startswith("head.") and name != "head.norm":
            continue
        if name in _OF_ELEMENTS:
            _copy_rows(tensor, given[name], kept)
        elif name == "ordered.prototype":
            _copy_rows(tensor, given[name], _shared(before.prototypes.ordered, now.prototypes.ordered))
        elif name == "anonymous.prototype":
            _copy_rows(tensor, given[name], _shared(before.prototypes.anonymous, now.prototypes.anonymous))
        else:
            tensor.copy_(given[name])
    return parameters


def _place(values: tuple[int, ...], wanted: int) -> int:
    return values.index(wanted) if wanted in values else -1


def _shared(before: Ints, now: Ints) -> list[tuple[int, int]]:
    """Places of the prototypes that both know; 0 stands for the rare ones, the others follow in order."""
    _, old, new = np.intersect1d(before, now, return_indices=True)
    return [(0, 0), *zip((old + 1).tolist(), (new + 1).tolist())]


def _copy_rows(to: torch.Tensor, source: torch.Tensor, places: list[tuple[int, int]]) -> None:
    for old, new in places:
        to[:, new] = source[:, old]
