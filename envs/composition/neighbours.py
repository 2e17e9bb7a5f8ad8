"""The formulas of a composition world within a few changes of a given one, as completions of what stays of it.

One change is an element exchanged for another (its count may differ), a count changed, an element added, or an element
taken out. Counts are compared as they are written: of Li2Fe2P2O8 one iron can be exchanged, of LiFePO4 only all iron.

The parts T of a formula that change, and what takes their place, are any choice of at most `changes` elements each: two
formulas differ by max(|T|, number of others) changes. So the neighbourhood falls apart into the completions of what
stays for each T, disjoint when no element of T may keep its count.
"""

import itertools
from collections.abc import Iterable, Mapping

import numpy as np

from oreflow.envs.chemistry.elements import atomic_number, electronegativities, symbols
from oreflow.envs.composition.completion import Bounds, CompletedKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.errors import StartError
from oreflow.envs.objects.formulas import parse_formula


def read_formula(text: str) -> dict[str, int]:
    """Counts by symbol as they are written, not reduced.

    Raises:
        FormulaError: for what is no formula.
    """
    return {symbols()[z]: count for z, count in parse_formula(text).items()}


def formula_neighbours(space: CompositionSpace, formula: Mapping[str, int], changes: int) -> list[CompletedKernel]:
    """Make a kernel for each choice of parts that change; each formula of the neighbourhood belongs to one of them.

    Args:
        space: the world.
        formula: counts by symbol; it need not be of the world itself.
        changes: how many there may be, at least one.

    Raises:
        StartError: when no formula of the world is that near.
    """
    found = []
    low, high = space.n_elements
    for n in range(min(changes, len(formula)) + 1):
        for parts in itertools.combinations(formula, n):
            fixed = {symbol: count for symbol, count in formula.items() if symbol not in parts}
            least, most = max(low, len(fixed) + (not parts)), min(high, len(fixed) + changes)
            in_range = all(
                symbol in space.elements and bounds[0] <= count <= bounds[1]
                for symbol, count in fixed.items()
                for bounds in [space.count_by_element.get(symbol, space.count)]
            )
            if least > most or not in_range or sum(fixed.values()) > space.n_atoms[1]:
                continue
            barred = {symbol: formula[symbol] for symbol in parts}
            try:
                found.append(CompletedKernel(space, Bounds(fixed, (least, most), barred=barred)))
            except ValueError:  # nothing of the world has these and no others
                continue
    if not found:
        written = "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in formula.items())
        raise StartError(
            f"no formula of this world is within {changes} change{'s' * (changes > 1)} of {written}; allow more "
            "changes, or choose another compound (world.elements, n_elements, n_atoms, count and neutrality hold)"
        )
    return found


def formula_changes(formula: Mapping[str, int], other: Mapping[str, int]) -> list[str]:
    """Say what leads from a formula to another, one text a change: "Fe -> Mn", "O4 -> O3", "F added", "Li removed".

    Exchanged elements are paired in the order of electronegativity.
    """
    gone = _in_order(symbol for symbol in formula if symbol not in other)
    new = _in_order(symbol for symbol in other if symbol not in formula)
    texts = []
    for old, instead in zip(gone, new):
        same = formula[old] == other[instead]
        texts.append(f"{old} -> {instead}" if same else f"{_part(old, formula)} -> {_part(instead, other)}")
    common = [symbol for symbol in formula if other.get(symbol, formula[symbol]) != formula[symbol]]
    texts += [f"{symbol}{formula[symbol]} -> {symbol}{other[symbol]}" for symbol in common]
    texts += [f"{_part(symbol, other)} added" for symbol in new[len(gone) :]]
    return texts + [f"{_part(symbol, formula)} removed" for symbol in gone[len(new) :]]


def _in_order(names: Iterable[str]) -> list[str]:
    scale = np.nan_to_num(electronegativities(), nan=np.inf)
    return sorted(names, key=lambda symbol: (scale[atomic_number(symbol)], atomic_number(symbol)))


def _part(symbol: str, counts: Mapping[str, int]) -> str:
    return f"{symbol}{counts[symbol] if counts[symbol] > 1 else ''}"
