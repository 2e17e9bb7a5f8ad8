"""A crystal world within a larger one: fewer space groups, elements, atoms, a prescribed formula, a geometry more."""

from typing import Any

import numpy as np

from oreflow.envs.arrays import Ints, States
from oreflow.envs.contract.inclusion import Inclusion, lacking_rules, refuse
from oreflow.envs.crystal.layout.world import CLOSED, GROUP, PAIRS, PENDING, World

_N_DECORATION_STAGES = 3  # tokens: group, letter, element


def include(ours: Any, theirs: Any) -> Inclusion:
    """Find the decorations of one crystal world among the objects of another, which builds decorations alone.

    States stay canonical: pair codes are compared by letter and then by element, and elements keep their order.

    Raises:
        ValueError: naming what the larger world lacks.
    """
    narrow, wide = ours.space, theirs.space
    lacking = lacking_rules(narrow.compositions, wide.compositions)
    lacking += [f"objects that do not complete {wide.start!r}, as all do there"] if getattr(wide, "start", None) else []
    absent = [str(g) for g in narrow.space_groups if g not in wide.space_groups]
    if absent:
        lacking.append(f"space group {', '.join(absent[:8])}{', …' if len(absent) > 8 else ''}")
    if narrow.cell != wide.cell:
        lacking.append(f"atoms counted in the {narrow.cell} cell, there in the {wide.cell} one")
    if wide.roles and wide.roles != narrow.roles:
        lacking.append("formulas other than those prescribed there")
    if wide.geometry:
        lacking.append("decorations, there decorations with a geometry")
    refuse(lacking)
    here, there = ours.world, theirs.world
    place = {z: i for i, z in enumerate(there.atomic_numbers.tolist())}
    element = np.array([place[z] for z in here.atomic_numbers.tolist()])

    def states(of: States) -> States:
        out = theirs.initial(len(of))
        out[:, GROUP], out[:, PENDING] = of[:, GROUP], of[:, PENDING]
        codes = of[:, PAIRS : PAIRS + here.n_slots].astype(np.int64) - 1
        letter, which = np.divmod(codes, here.n_elements)
        moved = np.where(codes >= 0, letter * there.n_elements + element[which] + 1, 0)
        n = min(here.n_slots, there.n_slots)
        out[:, PAIRS : PAIRS + n] = moved[:, :n]
        out[:, there.stopped] = np.maximum(of[:, CLOSED], of[:, here.stopped])
        return out

    actions: Ints = np.full(ours.n_actions, -1, dtype=np.int64)
    actions[: here.first_letter] = there.place[here.groups]
    actions[here.first_letter : here.first_element] = there.first_letter + np.arange(
        here.first_element - here.first_letter
    )
    actions[here.first_element : here.close] = there.first_element + element
    actions[here.close if here.geometry else ours.n_actions - 1] = theirs.n_actions - 1
    return Inclusion(states, actions, _tokens(ours, theirs, element))


def _tokens(ours: Any, theirs: Any, element: Ints) -> Ints:
    here, there = ours.world, theirs.world
    a, b = ours.tokens.blocks, theirs.tokens.blocks
    tokens: Ints = np.full(ours.n_tokens, -1, dtype=np.int64)
    tokens[:_N_DECORATION_STAGES] = np.arange(_N_DECORATION_STAGES)
    tokens[a.group : a.occupied] = b.group + there.place[here.groups]
    letter, which = np.divmod(np.arange(a.position - a.occupied), here.n_elements)
    tokens[a.occupied : a.position] = b.occupied + letter * there.n_elements + element[which]
    _rows(tokens, (a.position, b.position), (a.position_of, b.position_of))
    _rows(tokens, (a.pending, b.pending), (a.position_of, b.position_of))
    sizes = _sizes(ours)
    there_of = {size: i for i, size in enumerate(_sizes(theirs))}
    for i, size in enumerate(sizes):
        start = a.sized + i * here.n_elements
        if size in there_of:
            tokens[start : start + here.n_elements] = b.sized + there_of[size] * there.n_elements + element
    atoms = np.arange(here.sites.n_atoms_max + 1)
    for i, e in enumerate(element.tolist()):
        start = a.amount + i * len(atoms)
        tokens[start : start + len(atoms)] = b.amount + e * (there.sites.n_atoms_max + 1) + atoms
    tokens[a.atoms : a.atoms + len(atoms)] = b.atoms + atoms
    return tokens


def _rows(tokens: Ints, first: tuple[int, int], numbered: tuple[Ints, Ints]) -> None:
    """Fill in tokens that are numbered by positions of space groups."""
    rows = np.flatnonzero((numbered[0] >= 0) & (numbered[1] >= 0))
    tokens[first[0] + numbered[0][rows]] = first[1] + numbered[1][rows]


def _sizes(kernel: Any) -> list[int]:
    """List the sizes that tokens tell of, in their order."""
    size_of, world = kernel.tokens.blocks.size_of, kernel.world
    rows = np.flatnonzero(size_of >= 0)
    first = {int(size_of[row]): _size(world, row) for row in rows.tolist()}
    return [first[i] for i in range(len(first))]


def _size(world: World, row: int) -> int:
    return int(world.position[row, 0])
