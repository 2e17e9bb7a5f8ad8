"""From compositions to what the network of a property model is given."""

from dataclasses import dataclass

import numpy as np

from oreflow.envs.arrays import Float32s, Ints
from oreflow.envs.chemistry.elements import N_ELEMENTS
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.chemistry.magpie import magpie_features

# Standardised features are cut off here: a rare element may lie far outside the rest in a single property.
FEATURE_CLIP = 6.0


@dataclass(frozen=True)
class EncodedRows:
    """Input of the network, row by row.

    Attributes:
        features: float32 [batch, feature], standardised and cut off at ±6.
        elements: int64 [batch, slot], position among the elements in scope; -1 pads.
        fractions: float32 [batch, slot], atomic fractions.
        prototypes: int64 [batch, 2], index of the prototype by electronegativity and by size; 0 is a rare one.
    """

    features: Float32s
    elements: Ints
    fractions: Float32s
    prototypes: Ints

    def __getitem__(self, rows: Ints) -> "EncodedRows":
        """Rows at the given positions."""
        return EncodedRows(self.features[rows], self.elements[rows], self.fractions[rows], self.prototypes[rows])


@dataclass(frozen=True)
class Prototypes:
    """Ascending hashes, int64 each, of the prototypes that have a vector of their own."""

    ordered: Ints
    anonymous: Ints


def composition_features(batch: Compositions, dtype: type[np.floating] = np.float64) -> Float32s:
    """The 132 Magpie features and 24 of stoichiometry and charge, [batch, 156]; every row has an element in scope."""
    from oreflow.rewards.chemistry.stoichiometry import stoichiometric_features

    magpie, _ = magpie_features(batch, dtype)
    return np.concatenate([magpie, stoichiometric_features(batch).astype(dtype)], axis=1)


def prototypes_of(batch: Compositions, *, at_least: int) -> Prototypes:
    """The prototypes that occur at least so often in a batch."""
    from oreflow.rewards.chemistry.stoichiometry import frequent_prototypes, prototype_hashes

    hashes = prototype_hashes(batch)
    return Prototypes(*(frequent_prototypes(hashes[:, k], at_least=at_least) for k in (0, 1)))


def element_index(elements: tuple[int, ...]) -> Ints:
    """int64 [119]: position among `elements` by atomic number; -1 for all others and for the padding 0."""
    index = np.full(N_ELEMENTS + 1, -1, dtype=np.int64)
    index[list(elements)] = np.arange(len(elements))
    return index


def encode(
    batch: Compositions, index: Ints, feature_mean: Float32s, feature_std: Float32s, prototypes: Prototypes
) -> EncodedRows:
    """Encodes compositions of which all elements are in scope.

    Args:
        batch: the compositions.
        index: as `element_index` gives it.
        feature_mean, feature_std: float32 [feature].
        prototypes: those with a vector of their own.
    """
    from oreflow.rewards.chemistry.stoichiometry import prototype_hashes, prototype_index

    features = composition_features(batch, np.float32)
    features -= feature_mean
    features /= feature_std
    np.clip(features, -FEATURE_CLIP, FEATURE_CLIP, out=features)
    hashes = prototype_hashes(batch)
    known = (prototypes.ordered, prototypes.anonymous)
    return EncodedRows(
        features,
        index[batch.atomic_numbers],
        (batch.counts / batch.n_atoms[:, None]).astype(np.float32),
        np.stack([prototype_index(hashes[:, k], known[k]) for k in (0, 1)], axis=1),
    )
