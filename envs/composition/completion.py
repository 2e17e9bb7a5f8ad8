"""A composition world narrowed to what completes a partial formula; states, actions and tokens stay those of the world.

A policy that was trained in the world reads the states of the narrowed one. Its masks come from the same constraints
with the named elements required, their counts fixed, and the number of elements bounded: they are solved anew and
exact, so that there are no dead ends. Under free order counts that are given stand from the start and are never taken
out. Under canonical order a formula has one build order, which may begin with other elements: it starts from nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Int16s, States
from oreflow.envs.composition.feasibility import NOTHING, FeasibilityTable, solve
from oreflow.envs.composition.kernel import CompositionKernel, relaxations
from oreflow.envs.composition.masks import are_objects, forward_allowed
from oreflow.envs.composition.rules import Rules
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.errors import EmptyWorldError, StartError
from oreflow.envs.objects.partial import Partial, parse_partial


@dataclass(frozen=True)
class Bounds:
    """What a composition world is narrowed to.

    Attributes:
        fixed: elements with their counts.
        n_elements: smallest and largest number of distinct elements.
        open: further elements that occur, their counts open.
        barred: by symbol, a count that an element may not have.
    """

    fixed: Mapping[str, int]
    n_elements: tuple[int, int]
    open: tuple[str, ...] = ()
    barred: Mapping[str, int] = field(default_factory=dict)


class CompletedKernel(CompositionKernel):
    """Transition kernel over the formulas of a world that keep to bounds; see the module's docstring.

    Args:
        space: the world, whose layout of states, actions and tokens it has.
        bounds: what the world is narrowed to.

    Raises:
        EmptyWorldError: when no formula does.
        ValueError: when the bounds contradict the world by themselves.
    """

    def __init__(self, space: CompositionSpace, bounds: Bounds) -> None:
        layout = self._layout = space.rules()
        self._lay_out(space, layout)
        self.bounds = bounds
        self.rules = _narrowed(space, bounds).rules(layout, bounds.barred)
        self._start = np.zeros((1, self.rules.n + 1), dtype=np.int16)
        if space.order == "free":
            for symbol, count in bounds.fixed.items():
                self._start[0, space.elements.index(symbol)] = count
        self.table = solve(self.rules, _cell(self.rules, self._start[0]))
        if not self.forward_allowed(self._start).any():
            raise EmptyWorldError("no formula of the world keeps to these bounds")
        self.enumeration_unavailable_reason = self._enumeration_unavailable_reason()

    @property
    def begins_with_parts(self) -> bool:
        """Whether the initial state holds something already."""
        return bool(self._start.any())

    def initial(self, batch: int) -> Int16s:
        """Make states with the counts that are given, int16 [batch, n + 1]; without any under canonical order."""
        return np.repeat(self._start, batch, axis=0)

    def backward_allowed(self, states: States) -> Bools:
        """Find the elements that can be taken out, those of the start excepted, bool [batch, n + 1]; last the stop."""
        allowed = super().backward_allowed(states)
        allowed[:, :-1] &= self._start[0, :-1] == 0
        return allowed

    def of_number(self, k: int) -> tuple[Rules, FeasibilityTable] | None:
        """Rules and solved table of formulas of exactly k elements, built from nothing; None where there is none."""
        try:
            narrowed = _narrowed(self.space, replace(self.bounds, n_elements=(k, k)))
            rules = narrowed.rules(self._layout, self.bounds.barred)
        except ValueError:
            return None
        table = solve(rules, NOTHING)
        nothing = np.zeros((1, rules.n + 1), dtype=np.int16)
        return (rules, table) if forward_allowed(rules, table, nothing).any() else None

    def holds(self, terminal: States) -> Bools:
        """Tell which terminal states of the world keep to the bounds, bool [batch]."""
        return are_objects(self.rules, terminal)

    def _count_partial(self) -> Floats:
        """float64 [k, a]: partial compositions of k elements and a atoms, constraints on several elements aside."""
        symbols, rules = self.space.elements, self.rules
        present = [symbols[e] for e in np.flatnonzero(self._start[0, :-1])]
        named = [*self.bounds.fixed, *self.bounds.open]
        n_others = rules.n_elements_max - len(named)
        ways = np.zeros((rules.n_elements_max + 1, rules.n_atoms_max + 1))
        ways[len(present), int(self._start[0, :-1].sum())] = 1
        for e in sorted(range(rules.n), key=lambda e: symbols[e] in named):  # the others first: there are but so many
            if symbols[e] in present:
                continue
            cls, before = rules.class_of[e], ways.copy()
            last = -1 if symbols[e] in named else len(present) + n_others
            for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
                ways[1 : len(ways) if last < 0 else last + 1, count:] += before[
                    : len(ways) - 1 if last < 0 else last, : ways.shape[1] - count
                ]
        return ways


def complete_composition(space: CompositionSpace, start: str) -> CompletedKernel:
    """Make the kernel of the formulas that complete a partial one, such as "Li3 P S4 ?".

    Args:
        space: the world.
        start: as `oreflow.envs.objects.partial` reads it.

    Raises:
        StartError: when it cannot be read, or no formula of the world completes it; naming the constraint.
    """
    partial = parse_partial(start)
    bounds = _bounds(space, partial)
    try:
        return CompletedKernel(space, bounds)
    except ValueError as error:
        why = _why_not(space, partial)
        raise StartError(
            f"start {start!r} cannot be completed in this world; it could be without {why}"
            if why
            else f"start {start!r} cannot be completed in this world: {error}"
        ) from None


def _bounds(space: CompositionSpace, partial: Partial) -> Bounds:
    """What a partial formula asks for, held to each constraint by itself.

    Raises:
        StartError: naming the constraint.
    """
    where = f"start {partial.text!r}"
    if partial.group is not None or partial.sites:
        raise StartError(f"{where}: space groups and sites are those of crystals, and this world has formulas")
    partial.expect_elements(space.elements)
    n_elements = partial.more(space.n_elements)
    fixed = {symbol: count for symbol, count in partial.counts.items() if count is not None}
    for symbol, count in fixed.items():
        low, high = space.count_by_element.get(symbol, space.count)
        if not low <= count <= high:
            raise StartError(f"{where}: {symbol}{count} is outside the world's counts of {symbol}, {low} to {high}")
    open_ = tuple(symbol for symbol in partial.counts if symbol not in fixed)
    least = sum(fixed.values()) + sum(space.count_by_element.get(symbol, space.count)[0] for symbol in open_)
    least += partial.n_more * min(space.count_by_element.get(e, space.count)[0] for e in space.elements)
    low, high = space.n_atoms
    if least > high:
        raise StartError(f"{where}: it has {least} atoms at least, more than world.n_atoms allows, {low} to {high}")
    if len(fixed) == n_elements[1]:  # nothing can come to it
        if least < low:
            raise StartError(
                f"{where}: it has {least} atoms, fewer than world.n_atoms allows, {low} to {high}; leave a count open, "
                "or add ?"
            )
        divisor = int(np.gcd.reduce(list(fixed.values())))
        if divisor > 1:
            raise StartError(
                f"{where}: its counts have the common divisor {divisor}, and objects are reduced formulas; divide by it"
            )
        missing = [symbol for symbol in space.required if symbol not in fixed]
        missing += [" or ".join(group) for group in space.required_groups if not set(group) & set(fixed)]
        if missing:
            raise StartError(f"{where}: the world requires {missing[0]}, and nothing can come to it; name it, or add ?")
    return Bounds(fixed, n_elements, open_)


def _why_not(space: CompositionSpace, partial: Partial) -> str:
    """Constraints without any one of which the partial formula could be completed; "" for several together."""
    culprits = []
    for name, change in relaxations(space).items():
        try:
            relaxed = replace(space, **change)
            CompletedKernel(relaxed, _bounds(relaxed, partial))
        except ValueError:
            continue
        culprits.append(f"world.{name}")
    return " or ".join(culprits)


def _narrowed(space: CompositionSpace, bounds: Bounds) -> CompositionSpace:
    """The same world with named elements required, their counts fixed, and the number of elements bounded."""
    named = {*bounds.fixed, *bounds.open}
    return CompositionSpace(
        elements=space.elements,
        n_elements=bounds.n_elements,
        n_atoms=space.n_atoms,
        count=space.count,
        count_by_element={**space.count_by_element, **{e: (n, n) for e, n in bounds.fixed.items()}},
        required=tuple(e for e in space.elements if e in named or e in space.required),
        required_groups=tuple(group for group in space.required_groups if not named & set(group)),
        neutrality=space.neutrality,
        oxidation_table=space.oxidation_table,
        mixed_valence=space.mixed_valence,
        order=space.order,
    )


def _cell(rules: Rules, state: Int16s) -> tuple[int, int, int, int]:
    """The cell of a state, as `solve` takes it."""
    k, a, r, groups = NOTHING
    for e in np.flatnonzero(state[:-1]).tolist():
        count = int(state[e])
        k, a, groups = k + 1, a + count, groups | int(rules.element_groups[e])
        r = int(rules.next_radical[r, count - rules.count_min])
    return k, a, r, groups
