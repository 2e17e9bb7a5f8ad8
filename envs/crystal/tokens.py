"""What a network is told of a partial crystal: a bag of tokens.

Space group, occupied positions (position with element, position within its group, size with element), what each element
adds up to, the charge that can carry, bins chosen so far, and what is to be chosen next for which site. Everything
follows from the state; what a network would have to learn by heart (sizes, charges) is spelled out.
"""

from typing import Any

import numpy as np

from oreflow.envs.arrays import Ints, States
from oreflow.envs.chemistry.elements import groups as element_groups
from oreflow.envs.compiled.bitsets import get_bit, set_bit
from oreflow.envs.compiled.jit import njit
from oreflow.envs.compiled.records import Record
from oreflow.envs.composition.rules import Rules
from oreflow.envs.composition.tokens import charge_rules
from oreflow.envs.crystal.feasibility.sums import add_charges
from oreflow.envs.crystal.layout.memory import COUNTS, ELEMENTS, Memory, memory, read_pairs
from oreflow.envs.crystal.layout.progress import n_pairs, next_coordinate, next_shape_column
from oreflow.envs.crystal.layout.world import CLOSED, GROUP, MOST_LETTERS, PAIRS, PENDING, SIZE, World
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, N_LETTERS, GroupTables
from oreflow.envs.symmetry.space_groups import space_group

_N_STAGES = 13  # group, letter, element, five columns of the shape, three coordinates, volume, end
_COARSE = 4  # neighbouring bins that share a factor


class TokenBlocks(Record):
    """Where each kind of token begins, and how positions and sizes are numbered."""

    group: int
    occupied: int  # letter * n_elements + element
    position: int  # a position of a group
    sized: int  # size * n_elements + element
    pending: int  # a position of a group
    current: int  # a position of a group, whose coordinates are being chosen
    current_element: int
    amount: int  # element * (n_atoms_max + 1) + atoms
    atoms: int
    charge: int  # lowest, highest, smallest absolute charge; one more each for none
    shape: int
    coordinate: int  # (slot * 3 + k) * grid + bin
    volume: int
    n: int
    position_of: Ints  # int64 [row], a world's positions in order, -1
    size_of: Ints  # int64 [row], a world's sizes in order, -1


class WyckoffTokens:
    """Numbers the tokens of a crystal world.

    Attributes:
        n: number of tokens.
        factors: int64 [n, 3], what tokens share: kind with crystal system or element, kind with size or period, bins.
        action_factors: int64 [n_actions - 1, 2].
    """

    def __init__(self, space: WyckoffSpace, tables: GroupTables, world: World, rules: Rules) -> None:
        self.tables, self.world = tables, world
        self.rules = charge_rules(space.compositions, rules)
        self.has_charges = self.rules.n_charges > 1
        starts = tables.group[world.groups, FIRST_ROW].tolist()
        rows = [s + i for s, n in zip(starts, tables.group[world.groups, N_LETTERS].tolist()) for i in range(n)]
        rows = [r for r in rows if world.position[r, SIZE] <= world.sites.n_atoms_max]
        position_of, size_of = np.full(len(tables.row), -1), np.full(len(tables.row), -1)
        position_of[rows] = np.arange(len(rows))
        sizes, size_of[rows] = np.unique(world.position[rows, SIZE], return_inverse=True)
        e, a = world.n_elements, world.sites.n_atoms_max
        n_shape = 2 * world.lattice_grid.n_ratios + 3 * len(world.lattice_grid.angles)
        lengths = [
            _N_STAGES,
            len(world.groups),
            MOST_LETTERS * e,
            len(rows),
            len(sizes) * e,
            len(rows),
            len(rows) if world.geometry else 0,
            e if world.geometry else 0,
            e * (a + 1),
            a + 1,
            3 * (self.rules.n_charges + 1) if self.has_charges else 0,
            n_shape if world.geometry else 0,
            3 * world.n_slots * world.coordinate_grid.grid if world.geometry else 0,
            world.lattice_grid.n_volumes + 1 if world.geometry else 0,
        ]
        starts = np.cumsum(lengths).tolist()
        fields: list[Any] = [*starts, position_of, size_of]
        self.blocks = TokenBlocks(*fields)
        self.n = starts[-1]
        self.width = 6 + 6 * world.n_slots + world.sites.n_elements_max + 5 + 2
        self.factors = self._factors(rows, len(sizes))
        self.action_factors = self._action_factors()

    def encode(self, states: States) -> Ints:
        """Tokens of states, int64 [batch, width], padded with `n`."""
        tokens = np.full((len(states), self.width), self.n, dtype=np.int64)
        _encode(
            self.tables,
            self.world,
            memory(self.tables, self.world),
            self.rules,
            self.has_charges,
            self.blocks,
            states,
            tokens,
        )
        return tokens

    def _factors(self, rows: list[int], n_sizes: int) -> Ints:
        world, blocks = self.world, self.blocks
        e, a = world.n_elements, world.sites.n_atoms_max
        numbered = _Numbering(self.n)
        group_of = element_groups()[world.atomic_numbers]
        systems = [space_group(g) for g in world.groups.tolist()]
        for i, g in enumerate(systems):
            numbered.set(blocks.group + i, ("system", g.crystal_system), ("centring", g.centring), None)
        for code in range(MOST_LETTERS * e):
            numbered.set(blocks.occupied + code, ("element", code % e), ("letter", code // e), None)
        for i, row in enumerate(rows):
            key = (int(world.position[row, SIZE]), int(self.tables.row[row, DOF]))
            numbered.set(blocks.position + i, ("position", key), None, None)
            numbered.set(blocks.pending + i, ("pending", key), None, None)
            if world.geometry:
                numbered.set(blocks.current + i, ("current", key), None, None)
        for code in range(n_sizes * e):
            numbered.set(blocks.sized + code, ("on", code % e), ("size", code // e, int(group_of[code % e])), None)
        for i in range(e * (a + 1)):
            numbered.set(
                blocks.amount + i, ("of", i // (a + 1)), ("amount", i % (a + 1), int(group_of[i // (a + 1)])), None
            )
        if world.geometry:
            grid = world.coordinate_grid.grid
            for i in range(blocks.volume - blocks.coordinate):
                numbered.set(blocks.coordinate + i, ("bin", i // grid % 3, i % grid), ("slot", i // (3 * grid)), None)
            for i in range(blocks.coordinate - blocks.shape):
                numbered.set(blocks.shape + i, ("shape", i // _COARSE), None, None)
        return numbered.ids

    def _action_factors(self) -> Ints:
        world = self.world
        numbered = _Numbering(world.n_actions - 1, 2)
        for i, g in enumerate(world.groups.tolist()):
            group = space_group(g)
            numbered.set(i, ("system", group.crystal_system), ("centring", group.centring))
        for i, z in enumerate(world.atomic_numbers.tolist()):
            numbered.set(world.first_element + i, ("group", int(element_groups()[z])), None)
        if world.geometry:
            for i in range(world.first_ratio, world.n_actions - 1):
                numbered.set(
                    i,
                    ("coarse", (i - world.first_ratio) // _COARSE),
                    ("wide", (i - world.first_ratio) // (4 * _COARSE)),
                )
        return numbered.ids


class _Numbering:
    """Ids of factors by name, one column each; rows that are not set share the id 0."""

    def __init__(self, n: int, columns: int = 3) -> None:
        self.ids = np.zeros((n, columns), dtype=np.int64)
        self._known: list[dict[object, int]] = [{} for _ in range(columns)]

    def set(self, row: int, *names: object) -> None:
        for column, name in enumerate(names):
            if name is not None:
                known = self._known[column]
                self.ids[row, column] = known.setdefault(name, len(known) + 1)


@njit
def _encode(
    tables: GroupTables,
    world: World,
    work: Memory,
    rules: Rules,
    has_charges: bool,
    blocks: TokenBlocks,
    states: States,
    tokens: Ints,
) -> None:
    bits = np.zeros((world.sites.n_elements_max + 2, 1 + ((rules.n_charges + 63) >> 6)), dtype=np.uint64)
    for row in range(len(states)):
        group = states[row, GROUP]
        if group == 0:
            tokens[row, 0] = 0
            continue
        n = n_pairs(world, states, row)
        first_row = tables.group[group, FIRST_ROW]
        out = tokens[row]
        out[1] = blocks.group + world.place[group]
        slot = 2
        for i in range(n):
            code = states[row, PAIRS + i] - 1
            position, element = first_row + code // world.n_elements, code % world.n_elements
            out[slot] = blocks.occupied + code
            out[slot + 1] = blocks.position + blocks.position_of[position]
            out[slot + 2] = blocks.sized + blocks.size_of[position] * world.n_elements + element
            slot += 3
        k, atoms, _ = read_pairs(tables, world, states, row, n, work)
        for i in range(k):
            out[slot] = blocks.amount + work.lists[ELEMENTS, i] * (world.sites.n_atoms_max + 1) + work.lists[COUNTS, i]
            slot += 1
        out[slot] = blocks.atoms + atoms
        slot += 1
        if has_charges and states[row, CLOSED] == 0:
            bits[0, :] = np.uint64(0)
            set_bit(bits[0, 1:], rules.zero_charge)
            for i in range(k):
                add_charges(rules, bits, i + 1, i, rules.class_of[work.lists[ELEMENTS, i]], work.lists[COUNTS, i])
            lowest, highest, nearest = rules.n_charges, rules.n_charges, rules.n_charges
            for q in range(rules.n_charges):
                if get_bit(bits[k, 1:], q):
                    if lowest == rules.n_charges:
                        lowest = q
                    highest = q
                    if nearest == rules.n_charges or abs(q - rules.zero_charge) < abs(nearest - rules.zero_charge):
                        nearest = q
            out[slot] = blocks.charge + lowest
            out[slot + 1] = blocks.charge + rules.n_charges + 1 + highest
            out[slot + 2] = blocks.charge + 2 * (rules.n_charges + 1) + nearest
            slot += 3
        if states[row, PENDING]:
            out[0] = 2
            out[slot] = blocks.pending + blocks.position_of[first_row + states[row, PENDING] - 1]
            continue
        out[0] = 1
        if states[row, CLOSED] == 0:
            continue
        n_ratios, n_angles = world.lattice_grid.n_ratios, len(world.lattice_grid.angles)
        for column in range(5):
            value = states[row, world.shape + column]
            if value:
                first = column * n_ratios if column < 2 else 2 * n_ratios + (column - 2) * n_angles
                out[slot] = blocks.shape + first + value - 1
                slot += 1
        column = next_shape_column(world, states, row)
        if column < 5:
            out[0] = 3 + column
            continue
        for i in range(3 * n):
            value = states[row, world.coordinate + i]
            if value:
                out[slot] = blocks.coordinate + i * world.coordinate_grid.grid + value - 1
                slot += 1
        site, k = next_coordinate(tables, world, states, row, n)
        if site < n:
            code = states[row, PAIRS + site] - 1
            out[0] = 8 + k
            out[slot] = blocks.current + blocks.position_of[first_row + code // world.n_elements]
            out[slot + 1] = blocks.current_element + code % world.n_elements
        elif states[row, world.volume] == 0:
            out[0] = 11
        else:
            out[0] = 12
            out[slot] = blocks.volume + states[row, world.volume] - 1
