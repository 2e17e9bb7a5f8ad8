"""What the energy model is told of a Wyckoff position, and which labelings of positions describe one crystal.

Letters are labels: an origin shift swaps 4a and 4b of Fm-3m and leaves the crystal as it is. The model therefore never
sees a letter. Positions that the normalizer of the space group maps onto one another form a class and have one
description, that of its first letter; a prototype is the smallest of all equivalent labelings.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from oreflow.envs.arrays import Float32s, Ints
from oreflow.envs.symmetry.letter_maps import letter_maps
from oreflow.envs.symmetry.space_groups import CRYSTAL_SYSTEMS, LETTERS, N_SPACE_GROUPS, SpaceGroup, space_group

N_LETTERS = len(LETTERS)
_SYSTEMS = tuple(CRYSTAL_SYSTEMS)
# Systems in which axes may be permuted: there the order of the symbol's parts, and its dots, are labels too.
_FREE_AXES = ("triclinic", "monoclinic", "orthorhombic")


@dataclass(frozen=True)
class SiteTables:
    """Tables by space-group number (row 0 is empty) and letter; read-only.

    Attributes:
        symbols: names of site symmetries, ascending.
        symbol: int64 [group, letter], index into `symbols`; -1 beyond the last letter.
        features: float32 [group, letter, 3]: log2 of the atoms in a primitive cell, free coordinates, log2 of the order
            of the site-symmetry group.
        atoms: int64 [group, letter], atoms of the position in a primitive cell; 0 beyond the last letter.
        dof: int64 [group, letter], free coordinates.
        group_features: float32 [group, 11]: one-hot crystal system, log2 of the order of the point group, whether it
            has an inversion, number of axes along which the origin is free, log2 of the lattice points in the cell.
        map_start: int64 [group + 1]: maps map_start[g]:map_start[g + 1] belong to group g.
        maps: int64 [map, letter], the letters' images under each equivalent labeling.
    """

    symbols: tuple[str, ...]
    symbol: Ints
    features: Float32s
    atoms: Ints
    dof: Ints
    group_features: Float32s
    map_start: Ints
    maps: Ints


def _symbol(group: SpaceGroup, letter: int) -> str:
    symbol = group.site_symmetry[letter]
    if group.crystal_system not in _FREE_AXES:
        return symbol
    plain = symbol.replace(".", "")
    return "".join(sorted(plain)) if set(plain) <= {"2", "m"} else plain


@cache
def site_tables() -> SiteTables:
    """Built on first use, in a fifth of a second."""
    groups = [space_group(number) for number in range(1, N_SPACE_GROUPS + 1)]
    shape = (N_SPACE_GROUPS + 1, N_LETTERS)
    names = np.full(shape, "", dtype=object)
    features = np.zeros((*shape, 3), dtype=np.float32)
    atoms, dof = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    group_features = np.zeros((N_SPACE_GROUPS + 1, len(_SYSTEMS) + 4), dtype=np.float32)
    all_maps, starts = [], [0, 0]
    for group in groups:
        number, n = group.number, len(group.letters)
        maps = letter_maps(group)
        first_of_class = maps.min(axis=0)
        atoms[number, :n] = group.multiplicity // group.n_centring
        dof[number, :n] = group.dof
        names[number, :n] = [_symbol(group, letter) for letter in first_of_class]
        columns = (np.log2(atoms[number, :n]), group.dof, np.log2(group.site_symmetry_order))
        features[number, :n] = np.stack(columns, axis=1)
        group_features[number, _SYSTEMS.index(group.crystal_system)] = 1.0
        inversion = (group.rotations == -np.eye(3, dtype=np.int8)).all(axis=(1, 2)).any()
        order = len(group.rotations) / group.n_centring
        others = (np.log2(order), inversion, group.polar.sum(), np.log2(group.n_centring))
        group_features[number, len(_SYSTEMS) :] = others
        all_maps.append(np.pad(maps, ((0, 0), (0, N_LETTERS - n)), constant_values=-1))
        starts.append(starts[-1] + len(maps))
    symbols = tuple(sorted(set(names[names != ""].tolist())))
    index = {name: k for k, name in enumerate(symbols)} | {"": -1}
    symbol = np.vectorize(index.__getitem__, otypes=[np.int64])(names)
    tables = SiteTables(
        symbols, symbol, features, atoms, dof, group_features, np.array(starts), np.concatenate(all_maps)
    )
    for name in ("symbol", "features", "atoms", "dof", "group_features", "map_start", "maps"):
        getattr(tables, name).setflags(write=False)
    return tables
