"""Given crystals as states of a crystal world: the inverse of decoding, with rounding to the world's bins.

A crystal is brought into the reduced cell that stands for it, its geometry to the nearest bins, and its labeling into
canonical form. Crystals that the world does not hold are told apart by reason.
"""

import numpy as np

from oreflow.envs.arrays import Bools, Ints, States
from oreflow.envs.crystal.finding.outside import Outside, judge_cells, judge_decorations
from oreflow.envs.crystal.finding.reduced_cells import settings
from oreflow.envs.crystal.finding.rounding import NO_ROOM, SETTLED, TOO_CLOSE, settle
from oreflow.envs.crystal.finding.shapes import nearest_shapes
from oreflow.envs.crystal.labelings_of_states import label_rows
from oreflow.envs.crystal.layout.world import World
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.flat_tables import GroupTables

_TIE = 1e-6


def find_states(
    space: WyckoffSpace, tables: GroupTables, world: World, crystals: Crystals
) -> tuple[States, Bools, list[str | None]]:
    """See `WyckoffKernel.find`."""
    n = len(crystals)
    states = np.zeros((n, world.stopped + 1), dtype=np.int16)
    reasons: list[str | None] = [None] * n
    element_of = np.full(256, -1, dtype=np.int64)
    element_of[world.atomic_numbers] = np.arange(world.n_elements)
    elements = element_of[np.clip(crystals.atomic_number, 0, 255)]
    judge_decorations(space, tables, world, crystals, elements, states, reasons)
    if world.geometry:
        judge_cells(world, crystals, reasons)
        _place(space, tables, world, crystals, element_of, states, reasons)
    inside = np.array([reason is None for reason in reasons], dtype=np.bool_)
    states[~inside] = 0
    return states, inside, reasons


def _place(
    space: WyckoffSpace,
    tables: GroupTables,
    world: World,
    crystals: Crystals,
    element_of: Ints,
    states: States,
    reasons: list[str | None],
) -> None:
    """Geometry: of all settings of a crystal the one that the grid strains least.

    Of equally strained ones the one whose atoms move least, and of these the smallest state.
    """
    rows = np.array([i for i, reason in enumerate(reasons) if reason is None], dtype=np.int64)
    if not len(rows):
        return
    cells, source = settings(crystals[rows])
    shapes, strains = np.zeros((len(cells), 5), dtype=np.int64), np.zeros(len(cells))
    nearest_shapes(world, cells.space_group.astype(np.int64), cells.lattice, shapes, strains)
    least = np.full(len(rows), np.inf)
    np.minimum.at(least, source, np.where(np.isneginf(strains), np.inf, strains))
    for i in np.flatnonzero(np.isinf(least)).tolist():
        a, b, c, *angles = crystals.lattice[rows[i]].tolist()
        highest = (1 + space.length_bin) ** (world.lattice_grid.n_ratios / 2 - 0.25)  # c/a; the grid for b/a ends later
        wide = np.isneginf(strains[source == i]).all()
        reasons[rows[i]] = (
            f"{Outside.AXIS_RATIO}: expected b/a and c/a up to {highest:.3g} and not below the inverse, "
            f"got {b / a:.3g} and {c / a:.3g}"
            if wide
            else f"{Outside.ANGLE}: expected a cell near an allowed shape, got {b / a:.3g}, {c / a:.3g} and {angles}"
        )
    kept = np.flatnonzero(np.isfinite(strains) & (strains <= least[source] + _TIE))
    cells, shapes, source = cells[kept], shapes[kept], source[kept]
    found = np.zeros((len(kept), states.shape[1]), dtype=np.int16)
    verdicts, displacements = np.zeros(len(kept), dtype=np.int64), np.zeros(len(kept))
    volumes = np.zeros((len(kept), 2))
    codes = cells.letter.astype(np.int64) * world.n_elements + element_of[cells.atomic_number] + 1
    groups = cells.space_group.astype(np.int64)
    settle(
        tables,
        world,
        groups,
        cells.site_offsets,
        codes,
        cells.lattice,
        cells.parameters,
        shapes,
        found,
        verdicts,
        displacements,
        volumes,
    )
    canonical = found.copy()
    label_rows(tables, world, found, canonical)
    order = np.lexsort((*canonical.T[::-1], np.round(displacements / 1e-4), verdicts, source))
    _, first = np.unique(source[order], return_index=True)
    for k in order[first].tolist():
        row = rows[source[k]]
        if verdicts[k] == SETTLED:
            states[row] = canonical[k]
            continue
        volume, smallest = volumes[k]
        low, high = space.volume_a3_per_atom
        if verdicts[k] == TOO_CLOSE:
            reasons[row] = (
                f"{Outside.TOO_CLOSE}: expected atoms {world.min_distance:g} A and {world.min_contact:g} of their "
                f"covalent radii apart, which takes {smallest:.3g} A^3 an atom, got {volume:.3g}"
            )
        elif verdicts[k] == NO_ROOM:
            reasons[row] = (
                f"{Outside.NO_ROOM}: expected a place on the grid for each site; raise grid "
                f"({world.coordinate_grid.grid})"
            )
        else:
            reasons[row] = f"{Outside.VOLUME}: expected {low:g} to {high:g} A^3 an atom, got {volume:.3g}"
