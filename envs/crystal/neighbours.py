"""The crystals of a world whose decoration is within a few changes of a given one, as an explicit set.

One change is the element on a site exchanged for another, a site with its element added, or a site taken out; the space
group stays. Decorations are compared up to the choice of the origin and the axes, as the Euclidean normalizer has it.
The set is listed change by change, so that masks which lead into it are looked up: no dead ends, and nothing outside.
"""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np

from oreflow.envs.arrays import Bools, States
from oreflow.envs.crystal.completion import CompletedCrystals, pair_codes
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.layout.world import CLOSED, GROUP, PAIRS
from oreflow.envs.errors import StartError
from oreflow.envs.objects.partial import Partial
from oreflow.envs.symmetry.canonical import canonicalise
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_RELABELING, FIRST_ROW, LAST_RELABELING, N_LETTERS
from oreflow.envs.symmetry.space_groups import LETTERS, space_group

MAX_NEIGHBOURS = 50_000
Codes = tuple[int, ...]  # ascending pair codes


class ChosenCrystals(CompletedCrystals):
    """Transition kernel that starts from given sites and ends in decorations of a given set.

    Args:
        base: the kernel of the world, whose layout it has.
        number: the space group.
        start: canonical pair codes of the sites that are there from the start.
        chosen: canonical pair codes of decorations of the world.

    Raises:
        StartError: when none of them has the sites.
    """

    def __init__(self, base: WyckoffKernel, number: int, start: Codes, chosen: list[Codes]) -> None:
        vars(self).update({name: value for name, value in vars(base).items() if name != "_enumerated"})
        place = int(base.world.place[number])
        self._starts = np.zeros((len(base.world.groups), *base.state_shape), dtype=np.int16)
        self._starts[place] = _state(base, number, start)
        self.has_sites = True  # also where there are none: what goes from a bare group is the group
        self.world = replace(base.world, can_host=np.arange(len(base.world.groups)) == place)
        states = _states(base, number, chosen)
        ends = states[self._holds_start(states)]
        if not len(ends):
            raise StartError("none of these decorations has these sites")
        self._allowed = self._ways_to(ends)
        self._ends = {row.tobytes() for row in ends}

    def _ways_to(self, ends: States) -> dict[bytes, set[int]]:
        """Allowed actions by state, of all states on the way to these decorations."""
        end = self.world.close if self.world.geometry else self.n_actions - 1
        allowed: dict[bytes, set[int]] = {row.tobytes(): {end} for row in ends}
        states = ends
        while len(states):
            row, backward = np.nonzero(self.backward_allowed(states))
            parents = self.unstep(states[row], backward)
            for parent, action in zip(parents, self.redo_action(states[row], backward).tolist()):
                allowed.setdefault(parent.tobytes(), set()).add(action)
            states = np.unique(parents[parents[:, GROUP] > 0], axis=0)
        return allowed

    def forward_allowed(self, states: States, out: Bools | None = None) -> Bools:
        """Find the allowed forward actions, bool [batch, n_actions]: those that lead to a decoration of the set."""
        if out is None:
            out = np.empty((len(states), self.n_actions), dtype=np.bool_)
        out[:] = False
        decided = (states[:, CLOSED] == 1) | (states[:, -1] == 1)
        if decided.any():
            out[decided] = super().forward_allowed(states[decided])
        for row in np.flatnonzero(~decided):
            actions = self._allowed.get(np.ascontiguousarray(states[row]).tobytes())
            if actions:
                out[row, list(actions)] = True
        return out

    def holds(self, terminal: States) -> Bools:
        """Tell which terminal states of the world have a decoration of the set, bool [batch]."""
        bare = terminal.copy()
        bare[:, CLOSED], bare[:, self.world.shape :] = 0, 0
        return np.array([row.tobytes() in self._ends for row in bare], dtype=np.bool_)


class CrystalNeighbourhood:
    """The decorations of a world within a few changes of a given one.

    Args:
        base: the kernel of the world.
        near: the given crystal, a space group and all sites; it need not be of the world itself.
        changes: how many there may be, at least one.

    Raises:
        StartError: when it leaves something open or cannot be, when no decoration of the world is that near, and when
            too many may be.
    """

    def __init__(self, base: WyckoffKernel, near: Partial, changes: int) -> None:
        self.base, self.number = base, _complete_group(base, near)
        self._elements = base.space.compositions.elements
        self._as_written, fault = pair_codes(base.tables, self._elements, near, self.number)
        if fault:
            raise StartError(f"{near.text!r}: {fault}")
        self.given = self._canonical(self._as_written)
        found = self._within(changes)
        found.discard(self.given)
        fitting = [codes for codes in sorted(found) if len(codes) <= base.world.n_slots and codes]
        end = base.world.close if base.world.geometry else base.n_actions - 1
        ends = base.forward_allowed(_states(base, self.number, fitting))[:, end]
        self.decorations = [codes for codes, is_end in zip(fitting, ends.tolist()) if is_end]
        kept = {
            self._canonical(list(rest))
            for n in range(min(changes, len(self.given)) + 1)
            for rest in itertools.combinations(self.given, len(self.given) - n)
        }
        self.kernels: list[ChosenCrystals] = []
        for start in sorted(kept):
            if len(start) > base.world.n_slots:
                continue
            try:
                self.kernels.append(ChosenCrystals(base, self.number, start, self.decorations))
            except StartError:  # nothing of the world keeps these sites
                continue
        if not self.kernels:
            raise StartError(
                f"no crystal of this world is within {changes} change{'s' * (changes > 1)} of this one; allow more "
                "changes, or choose another (world.elements, n_elements, n_atoms and neutrality hold)"
            )

    def _within(self, changes: int) -> set[Codes]:
        """Canonical pair codes of all decorations so near, of the world or not, the given one among them.

        Raises:
            StartError: when there are too many.
        """
        found, last = {self.given}, {self.given}
        for _ in range(changes):
            new: set[Codes] = set()
            for one in last:
                new |= {self._canonical(codes) for codes in self._one_change(one)} - found
                if len(found) + len(new) > MAX_NEIGHBOURS:
                    raise StartError(
                        f"more than {MAX_NEIGHBOURS:,} decorations are within {changes} changes, too many to list; "
                        "lower --changes, or take a run of fewer elements"
                    )
            found, last = found | new, new
        return found

    def _canonical(self, codes: list[int]) -> Codes:
        own = np.array([*codes, 0], dtype=np.int64)
        canonicalise(self.base.tables, self.number, len(self._elements), own, len(codes), -1, np.zeros_like(own))
        return tuple(own[:-1].tolist())

    def _one_change(self, codes: Codes) -> list[list[int]]:
        """Pair codes one change away, in any labeling; those with a full position taken twice are left out."""
        tables, n = self.base.tables, len(self._elements)
        first = tables.group[self.number, FIRST_ROW]
        taken, out = {(code - 1) // n for code in codes}, []
        for i in range(len(codes)):
            rest, letter = [*codes[:i], *codes[i + 1 :]], (codes[i] - 1) // n
            out.append(rest)
            out += [[*rest, letter * n + e + 1] for e in range(n)]
        for letter in range(int(tables.group[self.number, N_LETTERS])):
            if tables.row[first + letter, DOF] > 0 or letter not in taken:
                out += [[*codes, letter * n + e + 1] for e in range(n)]
        return out

    def changes(self, states: States) -> list[list[str]]:
        """Say what leads from the given crystal to those of states, one text a change.

        Such as "Fe -> Mn on 4a", "O added on 3c"; letters are those of the given crystal as it was written.
        """
        shape = self.base.world.shape
        return [self._changes_of(tuple(int(code) for code in row[PAIRS:shape] if code)) for row in states]

    def _changes_of(self, codes: Codes) -> list[str]:
        tables, n = self.base.tables, len(self._elements)
        best: list[str] | None = None
        given = Counter(divmod(code - 1, n) for code in self._as_written)
        for p in range(tables.group[self.number, FIRST_RELABELING], tables.group[self.number, LAST_RELABELING]):
            letters = tables.relabeling[p]
            moved = Counter((int(letters[(code - 1) // n]), (code - 1) % n) for code in codes)
            texts = self._texts(given - moved, moved - given)
            if best is None or len(texts) < len(best):
                best = texts
        return best or []

    def _texts(self, gone: Counter[tuple[int, int]], new: Counter[tuple[int, int]]) -> list[str]:
        group, texts = space_group(self.number), []
        for letter in sorted({letter for letter, _ in (*gone, *new)}):
            old = [self._elements[e] for own, e in sorted(gone.elements()) if own == letter]
            instead = [self._elements[e] for own, e in sorted(new.elements()) if own == letter]
            on = f"on {group.multiplicity[letter]}{LETTERS[letter]}"
            texts += [f"{a} -> {b} {on}" for a, b in zip(old, instead)]
            texts += [f"{b} added {on}" for b in instead[len(old) :]] + [
                f"{a} removed {on}" for a in old[len(instead) :]
            ]
        return texts


def _complete_group(kernel: WyckoffKernel, near: Partial) -> int:
    """The space group of a crystal that leaves nothing open.

    Raises:
        StartError: when it does, or is not of the world's elements and groups.
    """
    open_ = set(near.counts) - {symbol for symbol, _, _ in near.sites}
    if near.group is None or not near.sites or open_ or near.n_more or near.any_more:
        raise StartError(
            f"{near.text!r}: expected a space group and an element on each site, such as '221: Sr@1a Ti@1b O@3c', or "
            "a file with one structure"
        )
    near.expect_elements(kernel.space.compositions.elements)
    if near.group not in kernel.space.space_groups:
        raise StartError(f"{near.text!r}: space group {near.group} is not among world.space_groups")
    return near.group


def _state(kernel: WyckoffKernel, number: int, codes: Codes) -> States:
    return _states(kernel, number, [codes])[0]


def _states(kernel: WyckoffKernel, number: int, decorations: list[Codes]) -> States:
    """Open states with these sites, int16 [decoration, *state_shape]."""
    states = np.zeros((len(decorations), *kernel.state_shape), dtype=np.int16)
    states[:, GROUP] = number
    for row, codes in enumerate(decorations):
        states[row, PAIRS : PAIRS + len(codes)] = codes
    return states
