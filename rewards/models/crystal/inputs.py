"""From crystals to what the network of the crystal energy model is given."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oreflow.envs.arrays import Float32s, Ints
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.models.composition.inputs import EncodedRows, Prototypes, encode
from oreflow.rewards.models.crystal.site_tables import site_tables

N_SITE_FEATURES = 6
# Of the group's 11, and five of the cell.
N_CRYSTAL_FEATURES = 16


@dataclass(frozen=True)
class CrystalVocabulary:
    """What has a vector of its own in the network; everything else shares the vector 0.

    Attributes:
        space_groups: int64, ascending numbers.
        symbols: names of site symmetries, ascending.
        prototypes: hashes of positions with ranked elements (`ordered`) and of positions alone (`anonymous`).
    """

    space_groups: Ints
    symbols: tuple[str, ...]
    prototypes: Prototypes


@dataclass(frozen=True)
class EncodedCrystals:
    """Input of the network, row by row. A row without sites is a composition of which the crystal is not known.

    Attributes:
        composition: the rows' compositions.
        features: float32 [batch, 16], of the space group and the cell.
        space_group: int64 [batch], 1 + position in the vocabulary; 0 for a rare one.
        prototypes: int64 [batch, 2], likewise.
        site_offsets: int64 [batch + 1], the sites of row i are site_offsets[i]:site_offsets[i + 1].
        site_element: int64 [site], position among the elements in scope.
        site_symmetry: int64 [site], 1 + position in the vocabulary; 0 for a rare one.
        site_features: float32 [site, 6].
        site_fraction: float32 [site], share of the crystal's atoms.
    """

    composition: EncodedRows
    features: Float32s
    space_group: Ints
    prototypes: Ints
    site_offsets: Ints
    site_element: Ints
    site_symmetry: Ints
    site_features: Float32s
    site_fraction: Float32s

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: Ints) -> "EncodedCrystals":
        """Rows at the given positions."""
        counts = np.diff(self.site_offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        site = np.repeat(self.site_offsets[rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        return EncodedCrystals(
            self.composition[rows],
            self.features[rows],
            self.space_group[rows],
            self.prototypes[rows],
            offsets,
            self.site_element[site],
            self.site_symmetry[site],
            self.site_features[site],
            self.site_fraction[site],
        )


def _place(values: NDArray[Any], known: NDArray[Any]) -> Ints:
    """1 + position in the ascending `known`, or 0."""
    if len(known) == 0:
        return np.zeros(len(values), dtype=np.int64)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[place] == values, place + 1, 0)


def _sums(values: Ints, offsets: Ints) -> Ints:
    """Sum over the sites of each row, int64 [batch]."""
    running = np.concatenate([[0], np.cumsum(values)])
    return running[offsets[1:]] - running[offsets[:-1]]


def vocabulary_of(crystals: Crystals, *, at_least: int) -> CrystalVocabulary:
    """Space groups, site symmetries and prototypes that occur in at least so many crystals (or on so many sites)."""
    from oreflow.rewards.chemistry.stoichiometry import frequent_prototypes
    from oreflow.rewards.models.crystal.prototypes import prototype_hashes

    tables = site_tables()
    groups, n_groups = np.unique(crystals.space_group, return_counts=True)
    group_of_site = np.repeat(crystals.space_group.astype(np.int64), np.diff(crystals.site_offsets))
    symbols, n_symbols = np.unique(tables.symbol[group_of_site, crystals.letter], return_counts=True)
    hashes = prototype_hashes(crystals)
    return CrystalVocabulary(
        groups[n_groups >= at_least].astype(np.int64),
        tuple(tables.symbols[k] for k in symbols[n_symbols >= at_least]),
        Prototypes(*(frequent_prototypes(hashes[:, k], at_least=at_least) for k in (0, 1))),
    )


def encode_crystals(
    crystals: Crystals,
    compositions: Compositions,
    index: Ints,
    feature_mean: Float32s,
    feature_std: Float32s,
    composition_prototypes: Prototypes,
    vocabulary: CrystalVocabulary,
) -> EncodedCrystals:
    """Encodes crystals of which all elements are in scope.

    Args:
        crystals: the crystals; their geometry is not used.
        compositions: `crystals.compositions`, which is not recomputed where the caller has it.
        index: as `oreflow.rewards.models.composition.inputs.element_index` gives it.
        feature_mean, feature_std: float32 [feature], of the composition.
        composition_prototypes, vocabulary: what has a vector of its own.
    """
    from oreflow.rewards.chemistry.stoichiometry import prototype_index
    from oreflow.rewards.models.crystal.prototypes import prototype_hashes

    tables = site_tables()
    group, n_sites = crystals.space_group.astype(np.int64), np.diff(crystals.site_offsets)
    group_of_site, letter = np.repeat(group, n_sites), crystals.letter
    atoms = tables.atoms[group_of_site, letter]
    n_atoms, n_free = (
        _sums(atoms, crystals.site_offsets),
        _sums(tables.dof[group_of_site, letter], crystals.site_offsets),
    )
    units = n_atoms / compositions.reduced().n_atoms
    cell = (np.log(n_atoms) - 2.0, np.log(n_sites) - 1.0, 1.0 / n_atoms, np.log(units), n_free / n_atoms)
    all_atoms = np.repeat(n_atoms, n_sites)
    fraction = atoms / all_atoms
    site = (*tables.features[group_of_site, letter].T, fraction, np.sqrt(fraction), np.log2(all_atoms) - 3.0)
    hashes, symbols = prototype_hashes(crystals), np.array(tables.symbols)
    symbol_place = _place(symbols, np.array(vocabulary.symbols, dtype=symbols.dtype))
    return EncodedCrystals(
        composition=encode(compositions, index, feature_mean, feature_std, composition_prototypes),
        features=np.concatenate([tables.group_features[group], np.stack(cell, axis=1)], axis=1).astype(np.float32),
        space_group=_place(group, vocabulary.space_groups),
        prototypes=np.stack(
            [
                prototype_index(hashes[:, 0], vocabulary.prototypes.ordered),
                prototype_index(hashes[:, 1], vocabulary.prototypes.anonymous),
            ],
            axis=1,
        ),
        site_offsets=crystals.site_offsets,
        site_element=index[crystals.atomic_number],
        site_symmetry=symbol_place[tables.symbol[group_of_site, letter]],
        site_features=np.stack(site, axis=1).astype(np.float32),
        site_fraction=fraction.astype(np.float32),
    )


def encode_compositions(composition: EncodedRows) -> EncodedCrystals:
    """Rows of which the composition is known and the crystal is not."""
    n, none = len(composition.features), np.zeros(0, dtype=np.int64)
    return EncodedCrystals(
        composition,
        np.zeros((n, N_CRYSTAL_FEATURES), dtype=np.float32),
        np.zeros(n, dtype=np.int64),
        np.zeros((n, 2), dtype=np.int64),
        np.zeros(n + 1, dtype=np.int64),
        none,
        none,
        np.zeros((0, N_SITE_FEATURES), dtype=np.float32),
        np.zeros(0, dtype=np.float32),
    )


def concatenate(first: EncodedCrystals, second: EncodedCrystals) -> EncodedCrystals:
    """Rows of both, in order."""
    a, b = first.composition, second.composition
    width = max(a.elements.shape[1], b.elements.shape[1])

    def wide(array: np.ndarray, padding: int) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=padding)

    composition = EncodedRows(
        np.concatenate([a.features, b.features]),
        np.concatenate([wide(a.elements, -1), wide(b.elements, -1)]),
        np.concatenate([wide(a.fractions, 0), wide(b.fractions, 0)]),
        np.concatenate([a.prototypes, b.prototypes]),
    )
    names = ("features", "space_group", "prototypes", "site_element", "site_symmetry", "site_features", "site_fraction")
    joined = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names}
    offsets = np.concatenate([first.site_offsets, first.site_offsets[-1] + second.site_offsets[1:]])
    return EncodedCrystals(composition=composition, site_offsets=offsets, **joined)
