"""The constraints of a crystal world, as a user states them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.elements import atomic_number, resolve
from oreflow.envs.chemistry.oxidation import TableSpec, resolve_table
from oreflow.envs.composition.rules import Rules
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.errors import expect_range

GRID_UNIT = 24  # translations of space groups and their normalizers are multiples of 1/24
MAX_ATOMS = 64
SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")


@dataclass(frozen=True)
class WyckoffSpace:
    """Which crystals exist.

    Attributes:
        space_groups: numbers (225), symbols ("Fm-3m"), crystal systems ("cubic") or "all"; stored as ascending numbers.
        elements, forbidden, n_elements, required, required_groups, neutrality, oxidation_table, mixed_valence: as in
            `CompositionSpace`.
        n_atoms: smallest and largest number of atoms in the cell, inclusive.
        cell: which cell `n_atoms` counts in: "primitive" or "conventional".
        composition: a reduced formula that all crystals have, such as "SrTiO3"; None leaves it open.
        chemical_system: elements that all occur and no others, such as "Li-P-S"; None leaves it open.
        stoichiometry: parts of the formula unit, each (elements, amount): every crystal has as many elements as there
            are parts, a different one for each, in these proportions. Empty leaves it open.
        geometry: whether lattice and coordinates are built too; False: only the decoration.
        grid: bins of a free coordinate, a multiple of 24.
        length_bin: ratio between neighbouring bins of axis ratios and of the volume, minus 1.
        angle_bin_deg: width of the bins of free angles, degrees.
        axis_ratio_max: largest b/a and c/a; the smallest is its inverse.
        volume_a3_per_atom: smallest and largest volume, cubic angstrom. Where even the largest leaves atoms closer than
            the two keys below allow, the crystal gets as much volume as it needs.
        min_distance_a: no two atoms are closer, angstrom.
        min_contact: nor closer than this share of the sum of their covalent radii.
    """

    space_groups: Sequence[int | str] = ("all",)
    elements: tuple[str, ...] = ("mp84",)
    forbidden: tuple[str, ...] = ()
    n_elements: tuple[int, int] = (2, 4)
    n_atoms: tuple[int, int] = (2, 20)
    cell: str = "primitive"
    required: tuple[str, ...] = ()
    required_groups: tuple[tuple[str, ...], ...] = ()
    composition: str | None = None
    chemical_system: str | None = None
    stoichiometry: tuple[tuple[tuple[str, ...], int], ...] = ()
    neutrality: str = "hard"
    oxidation_table: TableSpec = DEFAULT_TABLE
    mixed_valence: bool = False
    geometry: bool = True
    grid: int = 48
    length_bin: float = 0.03
    angle_bin_deg: float = 2.0
    axis_ratio_max: float = 16.0
    volume_a3_per_atom: tuple[float, float] = (4.0, 150.0)
    min_distance_a: float = 0.5
    min_contact: float = 0.7

    def __post_init__(self) -> None:
        object.__setattr__(self, "space_groups", group_numbers(self.space_groups))
        object.__setattr__(self, "oxidation_table", resolve_table(self.oxidation_table))
        given = [k for k in ("composition", "chemical_system", "stoichiometry") if getattr(self, k)]
        if len(given) > 1:
            raise ValueError(f"expected at most one of composition, chemical_system and stoichiometry, got {given}")
        roles: tuple[tuple[tuple[str, ...], int], ...] = ()
        if self.composition:
            from oreflow.envs.chemistry.elements import symbols
            from oreflow.envs.objects.formulas import parse_formula

            counts = parse_formula(self.composition)
            divisor = int(np.gcd.reduce(list(counts.values())))
            roles = tuple(((symbols()[z],), n // divisor) for z, n in sorted(counts.items()))
            object.__setattr__(self, "_roles", roles)
        elif self.stoichiometry:
            roles = tuple((resolve(tuple(names)), int(amount)) for names, amount in self.stoichiometry)
            object.__setattr__(self, "stoichiometry", roles)
            object.__setattr__(self, "_roles", roles)
        else:
            object.__setattr__(self, "_roles", ())
        self._check()

    def _check(self) -> None:
        if self.cell not in ("primitive", "conventional"):
            raise ValueError(f"expected cell to be primitive or conventional, got {self.cell!r}")
        for name in ("n_elements", "n_atoms", "volume_a3_per_atom"):
            expect_range(name, getattr(self, name))
        if not 1 <= self.n_atoms[0] <= self.n_atoms[1] <= MAX_ATOMS:
            raise ValueError(f"expected n_atoms = (low, high) with 1 <= low <= high <= {MAX_ATOMS}, got {self.n_atoms}")
        if self.grid % GRID_UNIT or not GRID_UNIT <= self.grid <= 96:
            raise ValueError(
                f"expected grid to be 24, 48, 72 or 96, got {self.grid}: only multiples of {GRID_UNIT} hold every "
                "special position and every shift of the origin"
            )
        if not 0.001 <= self.length_bin <= 0.5:
            raise ValueError(f"expected length_bin from 0.001 to 0.5, got {self.length_bin}")
        if not 0.1 <= self.angle_bin_deg <= 10:
            raise ValueError(f"expected angle_bin_deg from 0.1 to 10, got {self.angle_bin_deg}")
        if not 1.5 <= self.axis_ratio_max <= 100:
            raise ValueError(f"expected axis_ratio_max from 1.5 to 100, got {self.axis_ratio_max}")
        if self.geometry and int(self.space_groups[0]) < 75 and self.axis_ratio_max < (1 + self.length_bin) ** 2:
            raise ValueError(
                f"expected axis_ratio_max of at least (1 + length_bin)^2 = {(1 + self.length_bin) ** 2:.4g}, got "
                f"{self.axis_ratio_max}: three axes of different lengths, in groups below 75, need two bins above 1"
            )
        low, high = self.volume_a3_per_atom
        if not 0.5 <= low < high <= 1000:
            raise ValueError(f"expected volume_a3_per_atom = (low, high), 0.5 <= low < high <= 1000, got {low}, {high}")
        if not (0 < self.min_distance_a <= 2 and 0 <= self.min_contact <= 1):
            raise ValueError(
                f"expected min_distance_a in (0, 2] and min_contact in [0, 1], got {self.min_distance_a} and "
                f"{self.min_contact}"
            )
        for names, amount in self.roles:
            if not names or not 1 <= amount <= self.n_atoms[1]:
                raise ValueError(f"expected elements and an amount from 1 to n_atoms in stoichiometry, got {amount}")
        if len(self.roles) > 6:
            raise ValueError(f"expected at most 6 parts in a stoichiometry, got {len(self.roles)}")

    @property
    def roles(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        """The parts of the formula unit, where it is prescribed."""
        return self._roles  # type: ignore[attr-defined]

    @cached_property
    def compositions(self) -> CompositionSpace:
        """The element rules as those of a composition world whose formulas are what the cell holds."""
        elements, n_elements, required = self.elements, self.n_elements, self.required
        if self.chemical_system:
            elements = required = tuple(part.strip() for part in self.chemical_system.split("-"))
            n_elements = (len(elements), len(elements))
        if self.roles:
            elements = tuple(sorted({e for names, _ in self.roles for e in names}, key=atomic_number))
            n_elements = (len(self.roles), len(self.roles))
        return CompositionSpace(
            elements=elements,
            forbidden=self.forbidden,
            n_elements=n_elements,
            n_atoms=self.n_atoms,
            count=(1, self.n_atoms[1]),
            required=required,
            required_groups=(*self.required_groups, *(names for names, _ in self.roles)),
            neutrality=self.neutrality,
            oxidation_table=self.oxidation_table,
            mixed_valence=self.mixed_valence,
        )

    def rules(self) -> tuple[Rules, tuple[int, ...], tuple[int, ...]]:
        """The element rules as arrays, and amount and group bit of each part of the stoichiometry."""
        first = len(self.compositions.required) + len(self.required_groups)
        return (
            self.compositions.rules(),
            tuple(amount for _, amount in self.roles),
            tuple(1 << (first + r) for r in range(len(self.roles))),
        )


def group_numbers(names: Sequence[int | str]) -> tuple[int, ...]:
    """List the numbers of space groups from numbers, symbols, crystal systems and "all".

    Raises:
        ValueError: for what is none of these.
    """
    from oreflow.envs.symmetry.space_groups import space_group_number, space_groups_of_system

    chosen: set[int] = set()
    for name in [names] if isinstance(names, int | str) else names:
        if name == "all":
            chosen |= set(range(1, 231))
        elif name in SYSTEMS:
            chosen |= set(space_groups_of_system(str(name)))
        else:
            chosen.add(space_group_number(name))
    if not chosen:
        raise ValueError("expected at least one space group, got none; write [all] for all 230")
    return tuple(sorted(chosen))
