"""A slow model of the composition world in plain Python: dictionaries, loops, no shared code with the kernel."""

import itertools
import math

from oreflow.envs.chemistry.elements import atomic_number
from oreflow.envs.chemistry.oxidation import oxidation_states
from oreflow.envs.composition.space import CompositionSpace

Formula = tuple[tuple[str, int], ...]


def is_neutral(formula: Formula, table: str, mixed_valence: bool) -> bool:
    """Whether some choice of oxidation states sums to zero: one state an element, or one an atom of many units."""
    states = oxidation_states(table)
    own = [(count, states.get(atomic_number(symbol), ())) for symbol, count in formula]
    if mixed_valence:
        return _sums_to_zero(own, units=12) if all(s for _, s in own) else False
    return any(sum(pick) == 0 for pick in itertools.product(*({s * n for s in each} for n, each in own)))


def _sums_to_zero(own: list[tuple[int, tuple[int, ...]]], units: int) -> bool:
    """Whether 1 to `units` formula units, each atom with a state of its own, can be neutral."""
    for k in range(1, units + 1):
        sums = {0}
        for count, states in own:
            for _ in range(k * count):
                sums = {total + state for total in sums for state in states}
        if 0 in sums:
            return True
        lowest, highest = min(sums), max(sums)
        if lowest > 0 or highest < 0:
            return False  # and so for any other number of units
    return False


def all_objects(space: CompositionSpace) -> set[Formula]:
    """Every reduced formula of the world, found by trying all of them."""
    objects = set()
    for k in range(space.n_elements[0], space.n_elements[1] + 1):
        for subset in itertools.combinations(space.elements, k):
            if not set(space.required) <= set(subset):
                continue
            if any(not set(group) & set(subset) for group in space.required_groups):
                continue
            ranges = []
            for symbol in subset:
                low, high = space.count_by_element.get(symbol, space.count)
                ranges.append(range(low, min(high, space.n_atoms[1]) + 1))
            for counts in itertools.product(*ranges):
                if not space.n_atoms[0] <= sum(counts) <= space.n_atoms[1] or math.gcd(*counts) != 1:
                    continue
                formula = tuple(zip(subset, counts))
                if space.neutrality != "hard" or is_neutral(formula, space.oxidation_table, space.mixed_valence):
                    objects.add(formula)
    return objects


def all_partials(space: CompositionSpace, objects: set[Formula]) -> set[Formula]:
    """Every partial composition from which some object can be reached: subsets, or prefixes under canonical order."""
    partials: set[Formula] = set()
    for formula in objects:
        if space.order == "canonical":
            partials.update(formula[:i] for i in range(len(formula) + 1))
        else:
            for size in range(len(formula) + 1):
                partials.update(itertools.combinations(formula, size))
    return partials


def children(space: CompositionSpace, partial: Formula, partials: set[Formula]) -> set[tuple[str, int]]:
    """The (element, count) additions to `partial` that lead to another member of `partials`."""
    used = {symbol for symbol, _ in partial}
    last = max((space.elements.index(symbol) for symbol in used), default=-1)
    moves = set()
    for index, symbol in enumerate(space.elements):
        if symbol in used or (space.order == "canonical" and index < last):
            continue
        for count in range(1, space.n_atoms[1] + 1):
            child = tuple(sorted([*partial, (symbol, count)], key=lambda pair: space.elements.index(pair[0])))
            if child in partials:
                moves.add((symbol, count))
    return moves
