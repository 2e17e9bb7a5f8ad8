"""What a network is told of a part of an alloy: elements with their steps, steps lacking, number of elements."""

import numpy as np

from oreflow.envs.alloy.space import AlloyRules, AlloySpace
from oreflow.envs.arrays import Ints, States
from oreflow.envs.chemistry.elements import groups
from oreflow.envs.compiled.jit import njit


class AlloyTokens:
    """Numbers the tokens of an alloy world.

    First one for each element with each number of steps, in the order of the actions that add it; then one for each
    number of steps that can be lacking, from 0 to N; then one for each number of elements.

    Attributes:
        n: number of tokens.
        factors: int64 [n, 3], ids of element, steps, and group with steps; the further tokens share one id each.
        additions: int64 [n_actions - 1, 3], the same of the actions that add.
    """

    def __init__(self, space: AlloySpace, rules: AlloyRules) -> None:
        self.rules = rules
        n_additions = rules.n * rules.width
        self.n = n_additions + rules.n_steps + 1 + rules.n_elements_max + 1
        element, column = np.divmod(np.arange(n_additions), rules.width)
        group = groups()[space.atomic_numbers][element]
        self.additions = np.stack([element, column, group * rules.width + column], axis=1).astype(np.int64)
        nothing_shared = np.broadcast_to(self.additions.max(axis=0) + 1, (self.n - n_additions, 3))
        self.factors = np.concatenate([self.additions, nothing_shared])

    def encode(self, states: States) -> Ints:
        """Tokens of states [batch, n_elements + 1], int64 [batch, token], padded with `n`."""
        return _encode(self.rules, self.n, states)


@njit
def _encode(rules: AlloyRules, n_tokens: int, states: States) -> Ints:
    tokens = np.full((len(states), rules.n_elements_max + 2), n_tokens, dtype=np.int64)
    lacking_first = rules.n * rules.width
    for i in range(len(states)):
        slot, lacking = 0, rules.n_steps
        for e in range(rules.n):
            if states[i, e]:
                tokens[i, slot] = e * rules.width + states[i, e] - 1
                slot += 1
                lacking -= states[i, e]
        tokens[i, rules.n_elements_max] = lacking_first + lacking
        tokens[i, rules.n_elements_max + 1] = lacking_first + rules.n_steps + 1 + slot
    return tokens
