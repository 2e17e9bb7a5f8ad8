"""Why a crystal is not of a world: its decoration and its cell judged, before any bin is looked for."""

from enum import StrEnum
from itertools import permutations

import numpy as np

from oreflow.envs.arrays import Bools, Ints, States
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.feasibility.search import may_close
from oreflow.envs.crystal.feasibility.sums import Search, search_memory
from oreflow.envs.crystal.feasibility.tables import AMOUNT, BIT, GROUPS
from oreflow.envs.crystal.grid.lattice import SYSTEM
from oreflow.envs.crystal.layout.world import GROUP, PAIRS, SIZE, World
from oreflow.envs.crystal.space import SYSTEMS, WyckoffSpace
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.canonical import canonicalise
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, N_LETTERS, GroupTables
from oreflow.envs.symmetry.space_groups import LETTERS

_SKEW_DEG, _UNEQUAL = 0.01, 1e-4  # how far a given cell may be from what its crystal system demands


class Outside(StrEnum):
    """Why a crystal is not of a world."""

    SPACE_GROUP = "space_group"
    POSITION = "position"  # the group has no such position
    OCCUPIED_TWICE = "occupied_twice"  # a position without freedom
    ELEMENT = "element"
    N_ATOMS = "n_atoms"
    N_ELEMENTS = "n_elements"
    COMPOSITION = "composition"  # required elements, or the stoichiometry
    NEUTRALITY = "neutrality"
    NO_GEOMETRY = "no_geometry"
    CELL = "cell"  # not one of the crystal system
    AXIS_RATIO = "axis_ratio"
    ANGLE = "angle"
    VOLUME = "volume"
    TOO_CLOSE = "too_close"
    NO_ROOM = "no_room"  # several sites for one tuple of bins


def judge_decorations(
    space: WyckoffSpace,
    tables: GroupTables,
    world: World,
    crystals: Crystals,
    elements: Ints,
    states: States,
    reasons: list[str | None],
) -> None:
    """Give a reason to crystals whose decoration is not of the world, and the others their states without geometry."""
    groups = np.clip(crystals.space_group, 1, 230)
    crystal = np.repeat(np.arange(len(crystals)), np.diff(crystals.site_offsets))
    letters = crystals.letter.astype(np.int64)
    exists = (letters >= 0) & (letters < tables.group[groups[crystal], N_LETTERS])
    rows = np.where(exists, tables.group[groups[crystal], FIRST_ROW] + letters, 0)
    atoms = np.bincount(crystal, np.where(exists, world.position[rows, SIZE], 0), minlength=len(crystals))
    known = (groups == crystals.space_group) & (world.place[groups] >= 0)
    names, bounds = symbols(), crystals.site_offsets.tolist()
    low, high = world.sites.n_atoms_min, world.sites.n_atoms_max
    chosen = []
    for i, number in enumerate(crystals.space_group.tolist()):
        sites = slice(bounds[i], bounds[i + 1])
        own, fixed = letters[sites], letters[sites][tables.row[rows[sites], DOF] == 0]
        if not known[i]:
            reasons[i] = f"{Outside.SPACE_GROUP}: expected a space group of this world, got {number}"
        elif not exists[sites].all():
            last = LETTERS[tables.group[number, N_LETTERS] - 1]
            reasons[i] = (
                f"{Outside.POSITION}: expected positions a to {last} of space group {number}, got number {own.max()}"
            )
        elif len(set(fixed.tolist())) < len(fixed):
            letter = LETTERS[int(np.bincount(fixed).argmax())]
            reasons[i] = f"{Outside.OCCUPIED_TWICE}: expected one element on position {letter}, which has no freedom"
        elif elements[sites].min(initial=0) < 0:
            z = int(crystals.atomic_number[sites][elements[sites] < 0][0])
            name = names[z] if 0 < z < len(names) else f"number {z}"
            reasons[i] = f"{Outside.ELEMENT}: expected elements of this world, got {name}"
        elif not low <= atoms[i] <= high:
            cell = f"{space.cell} cell"
            reasons[i] = f"{Outside.N_ATOMS}: expected {low} to {high} atoms in the {cell}, got {atoms[i]:.0f}"
        else:
            chosen.append(i)
    if not chosen:
        return
    for i in chosen:
        sites = slice(bounds[i], bounds[i + 1])
        n_sites = bounds[i + 1] - bounds[i]
        states[i, GROUP] = groups[i]
        states[i, PAIRS : PAIRS + n_sites] = letters[sites] * world.n_elements + elements[sites] + 1
    picked = np.array(chosen)
    partial = states[picked]
    closes = _close_rows(tables, world, search_memory(world.sites), partial)
    partial[:, world.stopped] = 1
    states[picked] = partial
    for i in picked[~closes].tolist():
        sites = slice(bounds[i], bounds[i + 1])
        reasons[i] = _why_not(world, elements[sites], world.position[rows[sites], SIZE])


@njit
def _close_rows(tables: GroupTables, world: World, work: Search, states: States) -> Bools:
    """Brings decorations into canonical form in place; bool [batch], whether every rule of composition admits them."""
    out = np.zeros(len(states), dtype=np.bool_)
    codes, scratch = np.zeros(world.n_slots, dtype=np.int64), np.zeros(world.n_slots + 1, dtype=np.int64)
    elements, counts = np.zeros(world.n_slots + 1, dtype=np.int64), np.zeros(world.n_slots + 1, dtype=np.int64)
    for row in range(len(states)):
        group, n, k, atoms = states[row, GROUP], 0, 0, 0
        while n < world.n_slots and states[row, PAIRS + n]:
            codes[n] = states[row, PAIRS + n]
            position = tables.group[group, FIRST_ROW] + (codes[n] - 1) // world.n_elements
            element, size = (codes[n] - 1) % world.n_elements, world.position[position, SIZE]
            j = 0
            while j < k and elements[j] != element:
                j += 1
            if j == k:
                elements[k], counts[k] = element, 0
                k += 1
            counts[j] += size
            atoms += size
            n += 1
        out[row] = may_close(world.sites, elements, counts, k, atoms, work)
        canonicalise(tables, group, world.n_elements, codes, n, -1, scratch)
        for i in range(n):
            states[row, PAIRS + i] = codes[i]
    return out


def _why_not(world: World, elements: Ints, sizes: Ints) -> str:
    """The rule of composition that a decoration breaks."""
    names = symbols()
    counts = {e: int(sizes[elements == e].sum()) for e in sorted(set(elements.tolist()))}
    formula = "".join(f"{names[world.atomic_numbers[e]]}{n if n > 1 else ''}" for e, n in counts.items())
    low, high = world.sites.n_elements_min, world.sites.n_elements_max
    if not low <= len(counts) <= high:
        return f"{Outside.N_ELEMENTS}: expected {low} to {high} elements, got {len(counts)}"
    met = int(np.bitwise_or.reduce(world.sites.element[list(counts), GROUPS]))
    if met != world.sites.all_groups or not _plays_roles(world, counts):
        return f"{Outside.COMPOSITION}: expected the required elements in the prescribed proportions, got {formula}"
    return f"{Outside.NEUTRALITY}: expected a composition that oxidation states can balance, got {formula}"


def _plays_roles(world: World, counts: dict[int, int]) -> bool:
    """Whether elements can fill the parts of a prescribed stoichiometry, charges aside."""
    if not len(world.sites.role):
        return True
    units = sum(counts.values()) / int(world.sites.role[:, AMOUNT].sum())
    return any(
        all(
            counts[e] == units * amount and world.sites.element[e, GROUPS] & bit
            for e, (amount, bit) in zip(order, world.sites.role[:, [AMOUNT, BIT]].tolist())
        )
        for order in permutations(counts)
    )


def judge_cells(world: World, crystals: Crystals, reasons: list[str | None]) -> None:
    """Give a reason to crystals without geometry, and to those with a cell that their crystal system does not have."""
    lattice = crystals.lattice
    system = world.lattice_grid.cell[np.clip(crystals.space_group, 1, 230), SYSTEM]
    given = np.isfinite(lattice).all(axis=1) & (lattice[:, :3] > 0).all(axis=1)
    crystal = np.repeat(np.arange(len(crystals)), np.diff(crystals.site_offsets))
    given &= np.bincount(crystal, ~np.isfinite(crystals.parameters).all(axis=1), minlength=len(crystals)) == 0
    right = np.abs(lattice[:, 3:] - 90) <= _SKEW_DEG
    gamma_120 = np.abs(lattice[:, 5] - 120) <= _SKEW_DEG
    same_ab = np.abs(lattice[:, 1] / lattice[:, 0] - 1) <= _UNEQUAL
    same_ac = np.abs(lattice[:, 2] / lattice[:, 0] - 1) <= _UNEQUAL
    fits = np.ones(len(crystals), dtype=np.bool_)
    triclinic, monoclinic, orthorhombic, tetragonal, trigonal, hexagonal, cubic = (
        system == i for i in range(len(SYSTEMS))
    )
    fits &= ~monoclinic | (right[:, 0] & right[:, 2])
    fits &= ~(orthorhombic | tetragonal | cubic) | right.all(axis=1)
    fits &= ~(trigonal | hexagonal) | (right[:, 0] & right[:, 1] & gamma_120)
    fits &= triclinic | monoclinic | orthorhombic | same_ab
    fits &= ~cubic | same_ac
    x, y, z = np.cos(np.radians(lattice[:, 3:])).T
    fits &= 1 - x * x - y * y - z * z + 2 * x * y * z > 1e-6
    for i in np.flatnonzero(~(given & fits)).tolist():
        if reasons[i] is None and not given[i]:
            reasons[i] = f"{Outside.NO_GEOMETRY}: expected lattice and coordinates, got a decoration alone"
        elif reasons[i] is None:
            cell = ", ".join(f"{v:g}" for v in lattice[i])
            reasons[i] = f"{Outside.CELL}: expected the standard cell of a {SYSTEMS[system[i]]} crystal, got {cell}"
