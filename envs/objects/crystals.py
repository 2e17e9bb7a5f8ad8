"""Batches of crystals as integer and float arrays: what the Wyckoff world emits and structure rewards read."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from oreflow.envs.arrays import AnyInts, Bools, Floats, Int8s, Int16s, Ints
from oreflow.envs.objects.atoms import Atoms
from oreflow.envs.objects.compositions import Compositions


@dataclass(frozen=True)
class Crystals:
    """Crystals as a space group and occupied Wyckoff positions, ragged; read-only.

    Attributes:
        space_group: int16 [batch], number in the International Tables, 1 to 230. Settings are the standard ones: unique
            axis b and cell choice 1, hexagonal axes for rhombohedral groups, origin choice 2.
        site_offsets: int64 [batch + 1], the sites of crystal i are site_offsets[i]:site_offsets[i + 1].
        letter: int8 [site], 0 for position a, 1 for b, ...; 26 for position A of space group 47.
        atomic_number: int16 [site].
        lattice: float64 [batch, 6], a, b, c in angstrom and alpha, beta, gamma in degrees of the conventional cell; NaN
            where a crystal is only a decoration (no geometry).
        parameters: float64 [site, 3], the free coordinates of each site, in the order in which the position's first
            coordinate triplet names x, y, z; entries beyond its degrees of freedom are 0; NaN without geometry.
    """

    kind: ClassVar[str] = "structure"
    space_group: Int16s
    site_offsets: Ints
    letter: Int8s
    atomic_number: Int16s
    lattice: Floats
    parameters: Floats

    def __post_init__(self) -> None:
        types: dict[str, type] = {
            "space_group": np.int16,
            "site_offsets": np.int64,
            "letter": np.int8,
            "atomic_number": np.int16,
        }
        types |= {"lattice": np.float64, "parameters": np.float64}
        for name, dtype in types.items():
            array: np.ndarray = np.ascontiguousarray(getattr(self, name), dtype=dtype).view()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        n, n_sites = len(self.space_group), len(self.letter)
        shapes = (self.site_offsets.shape, self.atomic_number.shape, self.lattice.shape, self.parameters.shape)
        if shapes != ((n + 1,), (n_sites,), (n, 6), (n_sites, 3)) or self.site_offsets[-1] != n_sites:
            raise ValueError(f"expected arrays of {n} crystals with {n_sites} sites in all, got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.space_group)

    def __getitem__(self, index: slice | AnyInts | Bools) -> "Crystals":
        """Crystals chosen by a slice, by numbers or by a boolean array."""
        rows = np.arange(len(self))[index]
        counts = np.diff(self.site_offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        site = np.repeat(self.site_offsets[rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Crystals(
            self.space_group[rows],
            offsets,
            self.letter[site],
            self.atomic_number[site],
            self.lattice[rows],
            self.parameters[site],
        )

    @staticmethod
    def concatenate(batches: Sequence["Crystals"]) -> "Crystals":
        """Rows of all batches, in order."""
        counts = [np.diff(b.site_offsets) for b in batches]
        return Crystals(
            np.concatenate([b.space_group for b in batches]),
            np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
            np.concatenate([b.letter for b in batches]),
            np.concatenate([b.atomic_number for b in batches]),
            np.concatenate([b.lattice for b in batches]),
            np.concatenate([b.parameters for b in batches]),
        )

    @property
    def has_geometry(self) -> Bools:
        """bool [batch], whether lattice and coordinates are given."""
        return ~np.isnan(self.lattice[:, 0])

    @cached_property
    def _row(self) -> Ints:
        """int64 [site], the position's row in `group_tables`."""
        from oreflow.envs.symmetry.flat_tables import FIRST_ROW, group_tables

        group = np.repeat(self.space_group, np.diff(self.site_offsets))
        return group_tables().group[group, FIRST_ROW] + self.letter

    @cached_property
    def multiplicity(self) -> Ints:
        """int64 [site], atoms of each site in the conventional cell."""
        from oreflow.envs.symmetry.flat_tables import MULTIPLICITY, group_tables

        return group_tables().row[self._row, MULTIPLICITY]

    @cached_property
    def compositions(self) -> Compositions:
        """What is in one primitive cell; `reduced()` gives the formula."""
        from oreflow.envs.symmetry.flat_tables import N_CENTRING, group_tables

        crystal = np.repeat(np.arange(len(self)), np.diff(self.site_offsets))
        counts = self.multiplicity // group_tables().group[self.space_group[crystal], N_CENTRING]
        pairs, inverse = np.unique(np.stack([crystal, self.atomic_number]), axis=1, return_inverse=True)
        totals = np.bincount(inverse.reshape(-1), weights=counts).astype(np.int32)
        slot = np.arange(len(totals)) - np.searchsorted(pairs[0], pairs[0])
        shape = (len(self), int(slot.max(initial=0)) + 1)
        atomic_numbers, amounts = np.zeros(shape, dtype=np.int16), np.zeros(shape, dtype=np.int32)
        atomic_numbers[pairs[0], slot], amounts[pairs[0], slot] = pairs[1], totals
        return Compositions(atomic_numbers, amounts)

    def formula_units(self) -> Compositions:
        """Return the reduced composition of every crystal, as `Compositions` have it too."""
        return self.compositions.reduced()

    def atoms(self, primitive: bool = True) -> Atoms:
        """Place all atoms in the primitive cell, or in the conventional one.

        The first atom of each orbit is the site's first coordinate triplet in the International Tables.

        Raises:
            ValueError: for crystals without geometry.
        """
        from oreflow.envs.objects.expand_sites import expand

        if not self.has_geometry.all():
            raise ValueError("expected crystals with lattice and coordinates, got decorations; set geometry: true")
        return expand(
            self.space_group,
            self.site_offsets,
            self._row,
            self.atomic_number,
            self.lattice,
            self.parameters,
            primitive,
        )

    def fault(self) -> str:
        """What is wrong with groups, positions and elements."""
        from oreflow.envs.symmetry.flat_tables import N_LETTERS, group_tables

        number = self.space_group.astype(np.int64)
        if ((number < 1) | (number > 230)).any():
            return f"expected space groups from 1 to 230, got {int(number[(number < 1) | (number > 230)][0])}"
        n_letters = group_tables().group[np.repeat(number, np.diff(self.site_offsets)), N_LETTERS]
        if ((self.letter < 0) | (self.letter >= n_letters)).any():
            return "expected letters of positions that the space group has, 0 for a, got others"
        if ((self.atomic_number < 1) | (self.atomic_number > 118)).any():
            return "expected an atomic number from 1 to 118 at each site, got others"
        return ""

    def labels(self) -> list[str]:
        """What messages call the items: formula and space group."""
        formulas = self.compositions.reduced().formulas()
        return [f"{formula} in space group {number}" for formula, number in zip(formulas, self.space_group.tolist())]

    def key_bytes(self) -> list[bytes]:
        """Hashable bytes, equal for crystals with equal sites in any order and geometry equal to about 1e-7."""
        out = []
        lattice = np.where(self.has_geometry[:, None], np.round(self.lattice * 2**20), -1).astype(np.int64)
        parameters = np.round(np.nan_to_num(self.parameters, nan=-1.0) * 2**20).astype(np.int64)
        sites = np.column_stack([self.letter, self.atomic_number, parameters]).astype(np.int64)
        for i, (first, last) in enumerate(zip(self.site_offsets[:-1], self.site_offsets[1:])):
            own = sites[first:last]
            order = np.lexsort(own.T[::-1])
            out.append(self.space_group[i : i + 1].tobytes() + lattice[i].tobytes() + own[order].tobytes())
        return out
