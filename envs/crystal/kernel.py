"""The crystal world: a space group, occupied Wyckoff positions, then shape, coordinates and volume of the cell.

Order of decisions: space group; then, in any order, positions with their elements (a letter, then its element); close;
then the free parameters of the cell's shape, the free coordinates site by site, and the volume. With `geometry` off the
decoration is the object. `wyckoff_world.py` has the layout of states and actions, `DESIGN.md` says why it is so.

States are canonical labelings of decorations modulo the Euclidean normalizer, so each decoration is one object. A
crystal with free coordinates may have several labelings, each a terminal state: `n_labelings` counts them, and log R is
to be shared out evenly among them.
"""

from functools import cached_property, partial

import numpy as np

from oreflow.envs.arrays import AnyInts, Bools, Floats, Ints, States
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.compiled.row_blocks import in_blocks
from oreflow.envs.contract.enumeration import TooManyStatesError, enumerate_states
from oreflow.envs.contract.inclusion import Inclusion
from oreflow.envs.contract.protocol import EnumeratedWorld
from oreflow.envs.crystal.describe import why_empty
from oreflow.envs.crystal.grid.lattice import SYSTEM
from oreflow.envs.crystal.inclusion import include
from oreflow.envs.crystal.labelings_of_states import images_of_row, label_rows, write_labelings
from oreflow.envs.crystal.layout.decode import decode_rows
from oreflow.envs.crystal.layout.memory import Memory, memory
from oreflow.envs.crystal.layout.stages import stage_actions, stages
from oreflow.envs.crystal.layout.world import CLOSED, GROUP, PAIRS, PENDING, SIZE, make_world
from oreflow.envs.crystal.masks.rows import allow_rows, backward_allowed
from oreflow.envs.crystal.moves import inverse_rows, redo_rows, step_rows, unstep_rows
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.crystal.tokens import WyckoffTokens
from oreflow.envs.errors import EmptyWorldError
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, N_LETTERS
from oreflow.envs.symmetry.space_groups import LETTERS, space_group

MAX_ENUMERATED_STATES = 2_000_000


class WyckoffKernel:
    """Transition kernel over the crystals of a `WyckoffSpace`; see the module's docstring.

    Raises:
        EmptyWorldError: when no crystal satisfies the constraints, naming space groups that could host some.
    """

    def __init__(self, space: WyckoffSpace) -> None:
        self.space = space
        self.tables, self.world, rules = make_world(space)
        if not self.world.can_host.any():
            raise EmptyWorldError(why_empty(space))
        self.n_actions = self.world.n_actions
        self.n_backward_actions = self.world.n_slots + 2
        # An element: the state does not tell which of several positions that hold it was filled last.
        self.ambiguous_actions = range(self.world.first_element, self.world.first_element + self.world.n_elements)
        self.state_shape: tuple[int, ...] = (self.world.stopped + 1,)
        self.max_steps = 2 + 2 * self.world.n_slots + (7 + 3 * self.world.n_slots if space.geometry else 0)
        self.tokens = WyckoffTokens(space, self.tables, self.world, rules)
        self.n_tokens = self.tokens.n
        self.token_factors = self.tokens.factors
        self.action_factors = self.tokens.action_factors
        self.action_blocks = stage_actions(self.world)

    @property
    def state_high(self) -> AnyInts:
        """Give the largest value of each entry of a state, int16 [*state_shape]."""
        world = self.world
        high = np.zeros(self.state_shape, dtype=np.int16)
        high[GROUP], high[PENDING], high[CLOSED] = 230, 27, int(world.geometry)
        high[PAIRS : world.shape] = 27 * world.n_elements
        if world.geometry:
            high[world.shape : world.shape + 2] = world.lattice_grid.n_ratios
            high[world.shape + 2 : world.coordinate] = len(world.lattice_grid.angles)
            high[world.coordinate : world.volume] = world.coordinate_grid.grid
            high[world.volume] = world.lattice_grid.n_volumes + 1
        high[world.stopped] = 1
        return high

    def initial(self, batch: int) -> States:
        """Make initial states, int16 [batch, *state_shape]."""
        return np.zeros((batch, *self.state_shape), dtype=np.int16)

    def step(self, states: States, actions: Ints, out: States | None = None) -> States:
        """Carry out allowed forward actions, int64 [batch]; rows whose action is -1 stay as they are."""
        if out is None:
            out = states.copy()
        elif out is not states:
            out[:] = states
        step_rows(self.tables, self.world, self._memory(), out, np.ascontiguousarray(actions, dtype=np.int64))
        return out

    def unstep(self, states: States, backward_actions: Ints) -> States:
        """Undo: the states before allowed backward actions, int64 [batch]."""
        states = states.copy()
        unstep_rows(
            self.tables, self.world, self._memory(), states, np.ascontiguousarray(backward_actions, dtype=np.int64)
        )
        return states

    def forward_allowed(self, states: States, out: Bools | None = None) -> Bools:
        """Find the allowed forward actions, bool [batch, n_actions]; no action exactly for terminal states."""
        if out is None:
            out = np.empty((len(states), self.n_actions), dtype=np.bool_)
        in_blocks(partial(self._mask, states, out), len(states), least=16)
        return out

    def _mask(self, states: States, out: Bools, first: int, last: int) -> None:
        allow_rows(self.tables, self.world, self._memory(), states, out, first, last)

    def _memory(self) -> Memory:
        """Make working memory for one call."""
        return memory(self.tables, self.world)

    def log_geometries(self, states: States) -> Floats:
        """Count the geometry bins that the decorations of terminal states have, as natural logarithms, float64 [batch].

        All bins of the free ratios, angles, coordinates and of the volume count, those in which atoms would be too
        close, too: 1 / count is then a volume element, and finer bins change nothing but its size. The first site of a
        polar group has one bin along each polar axis: the origin is there.
        """
        world = self.world
        if not world.geometry:
            return np.zeros(len(states))
        chosen = states[:, world.shape : world.volume] > 0
        n_ratios, n_angles = chosen[:, :2].sum(axis=1), chosen[:, 2 : world.coordinate - world.shape].sum(axis=1)
        n_coordinates = chosen[:, world.coordinate - world.shape :].sum(axis=1)
        n_coordinates -= self._n_polar_axes[states[:, GROUP]]
        bins = np.log(
            [
                max(world.lattice_grid.n_ratios, 1),
                max(len(world.lattice_grid.angles), 1),
                world.coordinate_grid.grid,
                world.lattice_grid.n_volumes,
            ]
        )
        return n_ratios * bins[0] + n_angles * bins[1] + n_coordinates * bins[2] + bins[3]

    @cached_property
    def _n_polar_axes(self) -> Ints:
        """Count the axes along which the origin is free, int64 [231], by the number of the space group."""
        out = np.zeros(231, dtype=np.int64)
        for number in self.space.space_groups:
            out[number] = space_group(number).polar.sum()
        return out

    def closes(self, actions: Ints) -> Bools:
        """Tell which forward actions close a decoration, bool [batch]; none where no geometry follows."""
        return np.asarray(actions) == (self.world.close if self.world.geometry else -1)

    def decorations(self, states: States) -> States:
        """Leave the geometry of terminal states out: the states right after the decorations were closed."""
        out = states.copy()
        out[:, self.world.shape :] = 0
        return out

    def action_block(self, states: States) -> Ints:
        """Name the block in which all allowed actions of each state lie, int64 [batch]."""
        return stages(self.tables, self.world, states)

    def backward_allowed(self, states: States) -> Bools:
        """Find the allowed backward actions, bool [batch, n_backward_actions]; none exactly for initial states."""
        return backward_allowed(self.tables, self.world, self._memory(), states)

    def inverse_action(self, states: States, actions: Ints) -> Ints:
        """Name the backward action, int64 [batch], that undoes each forward action."""
        return inverse_rows(
            self.tables, self.world, self._memory(), states, np.ascontiguousarray(actions, dtype=np.int64)
        )

    def redo_action(self, states: States, backward_actions: Ints) -> Ints:
        """Name the forward action, int64 [batch], that each backward action would undo."""
        return redo_rows(self.world, states, np.ascontiguousarray(backward_actions, dtype=np.int64))

    def is_terminal(self, states: States) -> Bools:
        """Tell which states are terminal, bool [batch]."""
        return states[:, -1] == 1

    def encode(self, states: States) -> Ints:
        """Encode states as bags of tokens, int64 [batch, token], padded with `n_tokens`."""
        return self.tokens.encode(states)

    def objects(self, states: States) -> Crystals:
        """The crystals of states; without geometry where it is not complete."""
        world = self.world
        first_site = np.concatenate([[0], np.cumsum(np.count_nonzero(states[:, PAIRS : world.shape], axis=1))])
        n = int(first_site[-1])
        letter, atomic_number = np.empty(n, dtype=np.int8), np.empty(n, dtype=np.int16)
        lattice, parameters = np.empty((len(states), 6)), np.empty((n, 3))
        out = (letter, atomic_number, lattice, parameters)
        in_blocks(partial(decode_rows, self.tables, world, states, first_site, *out), len(states), least=64)
        return Crystals(states[:, GROUP].astype(np.int16), first_site, letter, atomic_number, lattice, parameters)

    def find(self, crystals: Crystals) -> tuple[States, Bools, list[str | None]]:
        """Terminal states of crystals, with geometry rounded to the bins of the world: the inverse of `objects`.

        Returns:
            states: int16 [batch, *state_shape], canonical labelings; zeros for a crystal that is not of this world.
            inside: bool [batch], whether it is.
            reasons: why not, "code: sentence" with a code of `wyckoff_find.Outside`; None inside.
        """
        from oreflow.envs.crystal.finding.find import find_states

        return find_states(self.space, self.tables, self.world, crystals)

    def labelings(self, states: States) -> tuple[Ints, States]:
        """How many terminal states are the same crystal as each of `states`, and the one that stands for them all.

        Returns:
            n: int64 [batch], 1 throughout without geometry.
            canonical: [batch, *state_shape], equal for equal crystals.
        """
        canonical = states.copy()
        if not self.world.geometry:
            return np.ones(len(states), dtype=np.int64), canonical
        return label_rows(self.tables, self.world, states, canonical), canonical

    def every_labeling(self, states: States) -> tuple[States, Ints]:
        """All terminal states that are the same crystals as `states`.

        Returns:
            labelings: [labeling, *state_shape], distinct for each crystal.
            row: int64 [labeling], ascending: which of `states` each stands for.
        """
        if not self.world.geometry:
            return states, np.arange(len(states))
        parts = [images_of_row(self.tables, self.world, states, row) for row in range(len(states))]
        parts = [np.unique(part, axis=0) for part in parts]
        row = np.repeat(np.arange(len(states)), [len(part) for part in parts])
        labelings = states[row]
        if len(row):
            write_labelings(self.tables, self.world, labelings, np.concatenate(parts))
        return labelings, row

    def included_in(self, larger: "WyckoffKernel") -> Inclusion:
        """Translate decorations, actions and tokens into those of a larger world of decorations.

        Raises:
            ValueError: naming what the larger world lacks.
        """
        return include(self, larger)

    def n_parts(self, states: States) -> Floats:
        """An upper bound of how many decorations each of `states` can be built from, float64 [batch]."""
        codes = states[:, PAIRS : self.world.shape]
        times, product = np.ones(len(states)), np.ones(len(states))
        for i in range(codes.shape[1]):  # equal pairs stand together: any number of them may be there
            again = (codes[:, i] == codes[:, i - 1]) if i else np.zeros(len(states), dtype=np.bool_)
            times = np.where(again, times + 1, 1.0)
            product *= np.where(codes[:, i] > 0, (times + 1) / times, 1.0)
        return product

    def describe(self, states: States) -> list[str]:
        """Space group and sites, such as "225: Na a, Cl b"; an unfinished one ends in an ellipsis."""
        world, names = self.world, symbols()
        lines = []
        for row in states.tolist():
            sites = []
            for code in row[PAIRS : world.shape]:
                if code:
                    letter, element = divmod(code - 1, world.n_elements)
                    sites.append(f"{names[world.atomic_numbers[element]]} {LETTERS[letter]}")
            if row[PENDING]:
                sites.append(f"? {LETTERS[row[PENDING] - 1]}")
            text = f"{row[GROUP] or '?'}: {', '.join(sites)}"
            if world.geometry and row[CLOSED]:
                bins = ",".join(str(v - 1) if v else "." for v in row[world.shape : world.coordinate])
                dof = [
                    space_group(row[GROUP]).dof[(code - 1) // world.n_elements]
                    for code in row[PAIRS : world.shape]
                    if code
                ]
                places = row[world.coordinate : world.volume]
                sets = [
                    "/".join(str(v - 1) if v else "." for v in places[3 * i : 3 * i + d]) for i, d in enumerate(dof)
                ]
                text += f" | shape {bins} | {' '.join(s or '-' for s in sets)} | volume {row[world.volume] - 1}"
            lines.append(text + ("" if row[-1] else "…"))
        return lines

    @cached_property
    def _enumerated(self) -> EnumeratedWorld | None:
        if self._size_bound() > 1e9:
            return None
        try:
            return enumerate_states(self, MAX_ENUMERATED_STATES)
        except TooManyStatesError:
            return None

    @property
    def enumeration_unavailable_reason(self) -> str | None:
        """Say why `enumerate` raises; None where it does not."""
        if self._enumerated is not None:
            return None
        return (
            f"more than the {MAX_ENUMERATED_STATES:,} partial crystals that can be enumerated; use fewer space groups, "
            "elements or atoms, coarser bins, or geometry: false"
        )

    def enumerate(self) -> EnumeratedWorld:
        """Enumerate all states and the transitions between them.

        Raises:
            ValueError: when there are too many.
        """
        if self._enumerated is None:
            raise ValueError(f"this world cannot be enumerated: {self.enumeration_unavailable_reason}")
        return self._enumerated

    def _size_bound(self) -> float:
        """Rough upper bound on the number of terminal states, rules of composition aside."""
        world, total = self.world, 0.0
        n_max = world.sites.n_atoms_max
        for g in world.groups[world.can_host].tolist():
            ways = np.zeros(n_max + 1)
            ways[0] = 1
            first = self.tables.group[g, FIRST_ROW]
            for row in range(first, first + self.tables.group[g, N_LETTERS]):
                size, dof = int(world.position[row, SIZE]), int(self.tables.row[row, DOF])
                choices = world.n_elements * (world.coordinate_grid.grid**dof if world.geometry else 1)
                before = ways.copy()
                for k in range(1, (n_max // size if dof else 1) + 1):
                    if k * size > n_max:
                        break
                    ways[k * size :] += before[: n_max + 1 - k * size] * float(choices) ** k
            shapes = 1.0
            if world.geometry:
                free = world.lattice_grid.is_free[world.lattice_grid.cell[g, SYSTEM]]
                shapes = float(world.lattice_grid.n_ratios) ** int(free[:2].sum()) * len(
                    world.lattice_grid.angles
                ) ** int(free[2:].sum())
                shapes *= world.lattice_grid.n_volumes
            total += float(ways[world.sites.n_atoms_min :].sum()) * shapes
        return total
