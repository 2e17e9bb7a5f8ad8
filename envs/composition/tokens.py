"""What a network is told of a partial composition: elements with their counts, atoms, and the charge they carry.

Elements and counts determine the rest, but which charges they can add up to is hard to learn from examples, and under a
charge rule it decides how the composition can be finished.
"""

from dataclasses import replace

import numpy as np

from oreflow.envs.arrays import Ints, States
from oreflow.envs.chemistry.elements import groups
from oreflow.envs.compiled.bitsets import get_bit, or_shifted, set_bit
from oreflow.envs.compiled.jit import njit
from oreflow.envs.composition.rules import Rules
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.errors import EmptyWorldError


class CompositionTokens:
    """Numbers the tokens of a composition world.

    First one for each element with each count, in the order of the actions that add it; then one for each number of
    atoms; then, unless neutrality is off, one for each lowest, each highest and each smallest absolute charge that the
    oxidation states allow, and one for none. Charges that no part of a neutral object can carry are left out.

    Attributes:
        n: number of tokens.
        factors: int64 [n, 3], ids of element, count, and group with count; the further tokens share one id each.
    """

    def __init__(self, space: CompositionSpace, rules: Rules) -> None:
        self.rules = charge_rules(space, rules)
        n_additions = rules.n * rules.width
        self.has_charges = self.rules.n_charges > 1
        n_charge_tokens = 3 * (self.rules.n_charges + 1) if self.has_charges else 0
        self.n = n_additions + rules.n_atoms_max + 1 + n_charge_tokens
        element, column = np.divmod(np.arange(n_additions), rules.width)
        group = groups()[space.atomic_numbers][element]
        # What an element does is much like what its group does with the same count.
        self.additions = np.stack([element, column, group * rules.width + column], axis=1)
        nothing_shared = np.broadcast_to(self.additions.max(axis=0) + 1, (self.n - n_additions, 3))
        self.factors = np.concatenate([self.additions, nothing_shared])

    def encode(self, states: States) -> Ints:
        """Tokens of states [batch, n_elements + 1], int64 [batch, token], padded with `n`."""
        return _encode(self.rules, self.has_charges, self.n, states)


def charge_rules(space: CompositionSpace, rules: Rules) -> Rules:
    """Rules that know charges also where they are no constraint."""
    if space.neutrality != "soft":
        return rules
    try:
        return replace(space, neutrality="hard").rules()
    except EmptyWorldError:  # a required element has no oxidation state: no object is neutral
        return rules


@njit
def _encode(rules: Rules, has_charges: bool, n_tokens: int, states: States) -> Ints:
    tokens = np.full((len(states), rules.n_elements_max + 1 + 3 * has_charges), n_tokens, dtype=np.int64)
    n_words = (rules.n_charges + 63) >> 6
    charges, scratch = np.zeros(n_words, dtype=np.uint64), np.zeros(n_words, dtype=np.uint64)
    atoms_first = rules.n * rules.width
    lowest_first = atoms_first + rules.n_atoms_max + 1
    block = rules.n_charges + 1
    for i in range(len(states)):
        slot, atoms = 0, 0
        charges[:] = 0
        set_bit(charges, rules.zero_charge)
        for e in range(rules.n):
            if states[i, e] == 0:
                continue
            column = states[i, e] - rules.count_min
            tokens[i, slot] = e * rules.width + column
            slot += 1
            atoms += states[i, e]
            if has_charges:
                scratch[:] = 0
                entry = rules.class_of[e] * rules.width + column
                for d in range(rules.delta_start[entry], rules.delta_start[entry + 1]):
                    or_shifted(scratch, charges, rules.deltas[d], rules.n_charges)
                charges, scratch = scratch, charges
        tokens[i, rules.n_elements_max] = atoms_first + atoms
        if has_charges:
            lowest, highest, nearest = rules.n_charges, rules.n_charges, rules.n_charges  # none
            for q in range(rules.n_charges):
                if get_bit(charges, q):
                    if lowest == rules.n_charges:
                        lowest = q
                    highest = q
                    if nearest == rules.n_charges or abs(q - rules.zero_charge) < abs(nearest - rules.zero_charge):
                        nearest = q
            tokens[i, rules.n_elements_max + 1] = lowest_first + lowest
            tokens[i, rules.n_elements_max + 2] = lowest_first + block + highest
            tokens[i, rules.n_elements_max + 3] = lowest_first + 2 * block + nearest
    return tokens
