"""A crystal world narrowed to what completes a partial crystal; states, actions and tokens stay those of the world.

The first action still chooses the space group, and now brings the given sites with it: it leads to the state that has
them and nothing else. Groups in which that state cannot be finished are not allowed. What follows has the masks of the
same world with the named elements required and the number of elements bounded, solved exactly.

Sites are given up to the choice of the origin and of the axes: a crystal has them if one of its descriptions by the
Euclidean normalizer does. In Pm-3m, Sr on 1a is Sr on 1b.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from oreflow.envs.arrays import Bools, Int16s, Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.layout.progress import n_pairs
from oreflow.envs.crystal.layout.world import CLOSED, GROUP, PAIRS, PENDING, SIZE, World, make_world
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.errors import StartError
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.partial import Partial, parse_partial
from oreflow.envs.symmetry.canonical import canonicalise, relabel
from oreflow.envs.symmetry.flat_tables import FIRST_RELABELING, FIRST_ROW, LAST_RELABELING, GroupTables
from oreflow.envs.symmetry.space_groups import LETTERS, space_group


class CompletedCrystals(WyckoffKernel):
    """Transition kernel over the crystals of a world that complete a partial one; see the module's docstring.

    Args:
        base: the kernel of the world, whose layout it has.
        partial: what is given.

    Raises:
        StartError: when no crystal of the world completes it; naming a constraint that forbids it by itself.
    """

    def __init__(self, base: WyckoffKernel, partial: Partial) -> None:
        vars(self).update({name: value for name, value in vars(base).items() if name != "_enumerated"})
        _check(base.space, partial)
        narrowed = _narrowed(base.space, partial)
        _, world, _ = make_world(replace(narrowed, geometry=False))
        self.world = replace(base.world, sites=world.sites)
        self._starts = np.zeros((len(base.world.groups), *base.state_shape), dtype=np.int16)
        fits = np.zeros(len(base.world.groups), dtype=np.bool_)
        reason = ""
        for place, number in enumerate(base.world.groups.tolist()):
            if partial.group in (None, number):
                fault = self._put_sites(partial, place, number)
                fits[place], reason = not fault, reason or fault
        if not fits.any():
            if partial.group is None and reason:
                reason = f"no space group of the world has these sites; in the first, {reason}"
            raise StartError(f"start {partial.text!r}: {reason}")
        fits[fits] = self.forward_allowed(self._starts[fits]).any(axis=1)
        self.world = replace(self.world, can_host=fits)
        self.partial = partial
        self.has_sites = bool(partial.sites)

    @property
    def begins_with_parts(self) -> bool:
        """Whether a space group comes with sites."""
        return self.has_sites

    def _put_sites(self, partial: Partial, place: int, number: int) -> str:
        """Write the start in one space group into `_starts`, and return what forbids it; "" where nothing does."""
        world = self.world
        own, fault = pair_codes(self.tables, self.space.compositions.elements, partial, number)
        if fault:
            return fault
        rows = [self.tables.group[number, FIRST_ROW] + (code - 1) // world.n_elements for code in own]
        atoms = int(world.position[rows, SIZE].sum())
        if atoms > world.sites.n_atoms_max or len(own) > world.n_slots:
            return (
                f"its sites have {atoms} atoms in the {self.space.cell} cell, more than world.n_atoms allows, "
                f"{world.sites.n_atoms_min} to {world.sites.n_atoms_max}"
            )
        codes = np.array([*own, 0], dtype=np.int64)
        n = len(partial.sites)
        canonicalise(self.tables, number, world.n_elements, codes, n, -1, np.zeros_like(codes))
        self._starts[place, GROUP] = number
        self._starts[place, PAIRS : PAIRS + n] = codes[:n]
        return ""

    def _holds_start(self, states: States) -> Bools:
        """Tell which states have the sites that are given, bool [batch]."""
        return _has_start(self.tables, self.world, states, self._starts)

    def step(self, states: States, actions: Ints, out: States | None = None) -> States:
        """Carry out allowed forward actions, int64 [batch]; a space group comes with the sites that are given."""
        actions = np.asarray(actions)
        begins = (states[:, GROUP] == 0) & (actions >= 0)
        after = super().step(states, actions, out)
        after[begins] = self._starts[actions[begins]]
        return after

    def unstep(self, states: States, backward_actions: Ints) -> States:
        """Undo: the states before allowed backward actions, int64 [batch]; given sites go with the space group."""
        before = super().unstep(states, backward_actions)
        before[before[:, GROUP] == 0] = 0
        return before

    def backward_allowed(self, states: States) -> Bools:
        """Find the allowed backward actions, bool [batch, n_backward_actions]; given sites stay."""
        allowed = super().backward_allowed(states)
        if self.has_sites:
            _keep_start(self.tables, self.world, states, self._starts, allowed)
        return allowed

    def find(self, crystals: Crystals) -> tuple[States, Bools, list[str | None]]:
        """Terminal states of crystals, which of them complete the start, and why the others do not."""
        states, inside, reasons = super().find(crystals)
        hosted = np.where(inside, self.world.can_host[self.world.place[states[:, GROUP]]], False)
        if self.has_sites:
            hosted[inside] &= self._holds_start(states[inside])
        for row in np.flatnonzero(inside & ~hosted):
            reasons[row] = f"start: expected a crystal that completes {self.partial.text!r}"
        states[~hosted] = 0
        return states, hosted, reasons


def complete_crystal(kernel: WyckoffKernel, start: str) -> CompletedCrystals:
    """Make the kernel of the crystals that complete a partial one, such as "221: Sr@1a Ti ?".

    Args:
        kernel: of the world.
        start: as `oreflow.envs.objects.partial` reads it.

    Raises:
        StartError: when it cannot be read, or no crystal of the world completes it; naming the constraint.
    """
    partial = parse_partial(start)
    completed = CompletedCrystals(kernel, partial)
    if completed.world.can_host.any():
        return completed
    why = _why_not(kernel.space, partial)
    raise StartError(
        f"start {start!r} cannot be completed in this world; "
        + (f"it could be without {why}" if why else "several constraints together forbid it")
    )


def pair_codes(tables: GroupTables, elements: Sequence[str], partial: Partial, number: int) -> tuple[list[int], str]:
    """Find the pair codes of a partial crystal's sites in one space group, in the order of the sites.

    Returns:
        codes: as in `oreflow.envs.symmetry.canonical`.
        fault: what keeps the group from having such sites; "" where nothing does.
    """
    group = space_group(number)
    codes: list[int] = []
    taken: set[str] = set()
    for symbol, letter, multiplicity in partial.sites:
        index = LETTERS.index(letter)
        if index >= len(group.letters):
            return codes, f"space group {number} has no position {letter}, only a to {group.letters[-1]}"
        own = int(group.multiplicity[index])
        if multiplicity not in (None, own):
            return codes, f"position {letter} of space group {number} is {own}{letter}, not {multiplicity}{letter}"
        if group.dof[index] == 0 and letter in taken:
            return codes, (
                f"position {own}{letter} of space group {number} is full: it has no freedom, and takes one site"
            )
        taken.add(letter)
        codes.append(index * len(elements) + elements.index(symbol) + 1)
    return codes, ""


def _check(space: WyckoffSpace, partial: Partial) -> None:
    """Hold what is given to each constraint of the elements and groups by itself.

    Raises:
        StartError: naming the constraint.
    """
    where = f"start {partial.text!r}"
    counted = [f"{symbol}{count}" for symbol, count in partial.counts.items() if count is not None]
    if counted:
        raise StartError(
            f"{where}: {counted[0]} has a count, and in crystals sites say how many atoms there are; write it without "
            "one, or set world.composition"
        )
    partial.expect_elements(space.compositions.elements)
    if partial.group is not None and partial.group not in space.space_groups:
        raise StartError(
            f"{where}: space group {partial.group} is not among world.space_groups; take another, or leave it out"
        )


def _narrowed(space: WyckoffSpace, partial: Partial) -> WyckoffSpace:
    """The same world with the named elements required and the number of elements bounded.

    Raises:
        StartError: when the numbers of elements exclude each other.
    """
    named = set(partial.counts)
    return replace(
        space,
        n_elements=partial.more(space.compositions.n_elements),
        required=(*space.required, *(symbol for symbol in partial.counts if symbol not in space.required)),
        required_groups=tuple(group for group in space.required_groups if not named & set(group)),
    )


def _why_not(space: WyckoffSpace, partial: Partial) -> str:
    """Constraints without any one of which the partial crystal could be completed; "" for several together."""
    relaxations: dict[str, dict[str, Any]] = {
        "neutrality (hard)": {"neutrality": "off"},
        "n_atoms": {"n_atoms": (1, min(64, max(40, 2 * space.n_atoms[1])))},
        "n_elements": {"n_elements": (1, min(8, len(space.compositions.elements)))},
        "required and required_groups": {"required": (), "required_groups": ()},
        "composition, chemical_system and stoichiometry": {
            "composition": None,
            "chemical_system": None,
            "stoichiometry": (),
            "elements": space.compositions.elements,
            "n_elements": space.compositions.n_elements,
        },
    }
    culprits = []
    for name, change in relaxations.items():
        try:
            relaxed = CompletedCrystals(WyckoffKernel(replace(space, geometry=False, **change)), partial)
        except ValueError:
            continue
        if relaxed.world.can_host.any():
            culprits.append(f"world.{name}")
    return " or ".join(culprits)


@njit
def _is_there(tables: GroupTables, world: World, states: States, row: int, skip: int, starts: Int16s) -> bool:
    """Whether the pairs of a row, but for the slot `skip`, hold an image of the start in its space group."""
    group, n = states[row, GROUP], n_pairs(world, states, row)
    place = world.place[group]
    m = n_pairs(world, starts, place)
    for p in range(tables.group[group, FIRST_RELABELING], tables.group[group, LAST_RELABELING]):
        held = True
        for i in range(m):
            code, wanted, there = starts[place, PAIRS + i], 0, 0
            moved = relabel(code, tables.relabeling[p], world.n_elements)
            for j in range(m):
                wanted += starts[place, PAIRS + j] == code
            for j in range(n):
                there += j != skip and states[row, PAIRS + j] == moved
            held = held and there >= wanted
        if held:
            return True
    return False


@njit
def _has_start(tables: GroupTables, world: World, states: States, starts: Int16s) -> Bools:
    """Tell which states hold an image of the start, bool [batch]."""
    out = np.zeros(len(states), dtype=np.bool_)
    for row in range(len(states)):
        out[row] = _is_there(tables, world, states, row, -1, starts)
    return out


@njit
def _keep_start(tables: GroupTables, world: World, states: States, starts: Int16s, allowed: Bools) -> None:
    """Bars the backward actions, in `allowed`, after which an image of the start would no longer be there."""
    for row in range(len(states)):
        group = states[row, GROUP]
        if group == 0 or states[row, CLOSED] or states[row, PENDING] or states[row, world.stopped]:
            continue
        n = n_pairs(world, states, row)
        if n == n_pairs(world, starts, world.place[group]):
            allowed[row, :] = False
            allowed[row, world.n_slots] = True  # the start itself: what goes is the space group with all its sites
            continue
        for i in range(n):
            allowed[row, i] = allowed[row, i] and _is_there(tables, world, states, row, i, starts)
