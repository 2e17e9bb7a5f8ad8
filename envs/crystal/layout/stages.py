"""Stages of a crystal's construction: each state is in one of them, and allows actions of that stage alone."""

import itertools

import numpy as np

from oreflow.envs.arrays import Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.layout.progress import n_pairs, next_coordinate, next_shape_column
from oreflow.envs.crystal.layout.world import CLOSED, GROUP, PENDING, World
from oreflow.envs.symmetry.flat_tables import GroupTables

_GROUP, _LETTER, _ELEMENT, _B_RATIO, _C_RATIO, _ANGLE, _COORDINATE, _VOLUME, _STOP = range(9)


def stage_actions(world: World) -> tuple[Ints, ...]:
    """List the actions of each stage, ascending int64.

    The stages: space group; letter, with what ends the decoration (close, or stop without geometry); element; b/a; c/a;
    any angle; any coordinate; volume; stop. Without geometry there are the first three.
    """
    letters = np.arange(world.first_letter, world.first_element)
    end = world.close if world.geometry else world.n_actions - 1
    decoration = (
        np.arange(world.first_letter),
        np.append(letters, end),
        np.arange(world.first_element, world.close),
    )
    if not world.geometry:
        return decoration
    c_ratio = world.first_ratio + world.lattice_grid.n_ratios
    bounds = [world.first_ratio, c_ratio, world.first_angle, world.first_coordinate, world.first_volume]
    bounds += [world.n_actions - 1, world.n_actions]
    return decoration + tuple(np.arange(a, b) for a, b in itertools.pairwise(bounds))


@njit
def stages(tables: GroupTables, world: World, states: States) -> Ints:
    """The stage of each state, int64 [batch], as `stage_actions` numbers them; any for a terminal one."""
    out = np.empty(len(states), dtype=np.int64)
    for row in range(len(states)):
        if states[row, GROUP] == 0:
            out[row] = _GROUP
        elif states[row, CLOSED] == 0:
            out[row] = _ELEMENT if states[row, PENDING] else _LETTER
        else:
            out[row] = _stage_of_geometry(tables, world, states, row)
    return out


@njit
def _stage_of_geometry(tables: GroupTables, world: World, states: States, row: int) -> int:
    if states[row, world.volume]:
        return _STOP
    column = next_shape_column(world, states, row)
    if column < 5:
        return _B_RATIO if column == 0 else _C_RATIO if column == 1 else _ANGLE
    n = n_pairs(world, states, row)
    site, _ = next_coordinate(tables, world, states, row, n)
    return _COORDINATE if site < n else _VOLUME
