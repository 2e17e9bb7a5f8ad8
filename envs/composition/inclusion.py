"""A composition world within a larger one: fewer elements, counts, atoms, or a charge rule more."""

from typing import Any

import numpy as np

from oreflow.envs.arrays import Ints, States
from oreflow.envs.contract.inclusion import Inclusion, lacking_rules, refuse


def include(ours: Any, theirs: Any) -> Inclusion:
    """Find the objects of one composition world in another.

    Raises:
        ValueError: naming what the larger world lacks.
    """
    lacking = lacking_rules(ours.space, theirs.space)
    if ours.space.order != theirs.space.order:
        lacking.append(f"order {ours.space.order}, there {theirs.space.order}")
    wide, narrow = theirs.rules, ours.rules
    place = {symbol: i for i, symbol in enumerate(theirs.space.elements)}
    for i, symbol in enumerate(ours.space.elements):
        if symbol not in place:
            continue
        ours_of, theirs_of = (
            (int(rules.class_low[rules.class_of[e]]), int(rules.class_high[rules.class_of[e]]))
            for rules, e in ((narrow, i), (wide, place[symbol]))
        )
        if ours_of[0] < theirs_of[0] or ours_of[1] > theirs_of[1]:
            lacking.append(
                f"{symbol} {ours_of[0]} to {ours_of[1]} times in a formula, there {theirs_of[0]} to {theirs_of[1]}"
            )
    refuse(lacking)
    column = np.array([place[symbol] for symbol in ours.space.elements])

    def states(of: States) -> States:
        out = theirs.initial(len(of))
        out[:, column] = of[:, :-1]
        out[:, -1] = of[:, -1]
        return out

    element, step = np.divmod(np.arange(narrow.n * narrow.width), narrow.width)
    there = step + narrow.count_min - wide.count_min
    addition = np.where((there >= 0) & (there < wide.width), column[element] * wide.width + there, -1)
    atoms = wide.n * wide.width + np.arange(narrow.n_atoms_max + 1)
    tokens: Ints = np.full(ours.n_tokens, -1, dtype=np.int64)
    tokens[: len(addition) + len(atoms)] = np.concatenate([addition, atoms])
    if ours.space == theirs.space:
        tokens = np.arange(ours.n_tokens)  # those of charges, too; which can be carried depends on the world
    return Inclusion(states, np.append(addition, theirs.n_actions - 1), tokens)
