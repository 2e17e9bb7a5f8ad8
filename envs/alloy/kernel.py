"""The alloy world: concentrations in steps of 1/N that sum to one, built by setting one element's share at a time.

State: int16 [batch, n + 1], the steps of each of the n elements (ordered by atomic number) and, last, 1 once stopped.
Forward action: `e * width + (steps - 1)` gives absent element e so many steps; the last action stops.
Backward action: e takes element e out again; the last one un-stops.

Stop is allowed exactly when all N steps are given out and every constraint of the space holds, so each vector of
concentrations is one terminal object, the equimolar ones included. An addition is allowed exactly when the result can
still be finished (`masks.py`). An alloy of k elements has k! build orders.
"""

from functools import partial

import numpy as np

from oreflow.envs.alloy.masks import allow_rows, backward_allowed
from oreflow.envs.alloy.names import alloy_names
from oreflow.envs.alloy.space import AlloySpace
from oreflow.envs.alloy.tokens import AlloyTokens
from oreflow.envs.alloy.uniform import n_alloys, n_partial_alloys, sample_uniform
from oreflow.envs.arrays import Bools, Int16s, Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.compiled.row_blocks import in_blocks
from oreflow.envs.contract.enumeration import enumerate_states
from oreflow.envs.contract.protocol import EnumeratedWorld
from oreflow.envs.errors import EmptyWorldError
from oreflow.envs.objects.compositions import Compositions

MAX_ENUMERATED_STATES = 2_000_000


@njit
def _step(states: States, actions: Ints, width: int) -> None:
    """Carries out actions [batch] in place; -1 does nothing."""
    stopped = states.shape[1] - 1
    for i in range(len(actions)):
        if actions[i] >= 0:
            element = actions[i] // width
            # Stop is n * width, so its element index is n: the stopped flag's own column.
            states[i, element] = 1 if element == stopped else actions[i] % width + 1


class AlloyKernel:
    """Transition kernel over the alloys of an `AlloySpace`; see the module's docstring.

    Raises:
        EmptyWorldError: when no alloy satisfies the constraints.
    """

    def __init__(self, space: AlloySpace) -> None:
        self.space = space
        self.rules = space.rules()
        self.n_alloys = n_alloys(self.rules)
        if not self.n_alloys:
            raise EmptyWorldError(
                f"expected at least one alloy that satisfies every constraint, found none: {space.n_elements[0]} to "
                f"{space.n_elements[1]} elements within their fractions do not add up to 1; widen fraction, or change "
                "n_elements"
            )
        self.n_actions = self.rules.n * self.rules.width + 1
        self.n_backward_actions = self.rules.n + 1
        self.max_steps = self.rules.n_elements_max + 1
        self.state_shape: tuple[int, ...] = (self.rules.n + 1,)
        self.atomic_numbers = space.atomic_numbers
        self.tokens = AlloyTokens(space, self.rules)
        self.n_tokens = self.tokens.n
        self.token_factors = self.tokens.factors
        self.action_factors = self.tokens.additions
        self.action_blocks: tuple[Ints, ...] = (np.arange(self.n_actions),)
        bound = n_partial_alloys(self.rules)
        self.enumeration_unavailable_reason: str | None = None
        if bound > MAX_ENUMERATED_STATES:
            self.enumeration_unavailable_reason = (
                f"{self.n_alloys:.4g} alloys, and up to {bound:.2g} unfinished ones, more than the "
                f"{MAX_ENUMERATED_STATES:,} that can be enumerated; use fewer elements or steps"
            )

    @property
    def state_high(self) -> Int16s:
        """int16 [n + 1]."""
        high = np.append(self.rules.class_high, 0)[self.rules.class_of]  # class -1 is the 0 at the end
        return np.append(high, 1).astype(np.int16)

    def initial(self, batch: int) -> Int16s:
        """Nothing given out yet."""
        return np.zeros((batch, *self.state_shape), dtype=np.int16)

    def step(self, states: States, actions: Ints, out: States | None = None) -> States:
        """States after allowed actions."""
        if out is None:
            out = states.copy()
        elif out is not states:
            out[:] = states
        _step(out, np.asarray(actions), self.rules.width)
        return out

    def unstep(self, states: States, backward_actions: Ints) -> States:
        """States before allowed backward actions."""
        states = states.copy()
        states[np.arange(len(states)), backward_actions] = 0
        return states

    def forward_allowed(self, states: States, out: Bools | None = None) -> Bools:
        """Allowed actions, bool [batch, n_actions]."""
        if out is None:
            out = np.empty((len(states), self.n_actions), dtype=np.bool_)
        in_blocks(partial(allow_rows, self.rules, states, out), len(states), least=64)
        return out

    def action_block(self, states: States) -> Ints:
        """One block holds all actions."""
        return np.zeros(len(states), dtype=np.int64)

    def backward_allowed(self, states: States) -> Bools:
        """Allowed backward actions, bool [batch, n + 1]."""
        return backward_allowed(self.rules, states)

    def inverse_action(self, states: States, actions: Ints) -> Ints:
        """The element that an action adds."""
        return np.asarray(actions) // self.rules.width

    def redo_action(self, states: States, backward_actions: Ints) -> Ints:
        """The action that adds what a backward action takes out."""
        element = np.asarray(backward_actions)
        column = states[np.arange(len(states)), element].astype(np.int64) - 1
        return np.where(element == self.rules.n, self.n_actions - 1, element * self.rules.width + column)

    def is_terminal(self, states: States) -> Bools:
        """Whether the alloy is finished."""
        return states[:, -1] == 1

    def encode(self, states: States) -> Ints:
        """Tokens of states, int64 [batch, token]."""
        return self.tokens.encode(states)

    def objects(self, states: States) -> Compositions:
        """Alloys, finished or not, as reduced compositions: CoCrFeMnNi has one atom of each."""
        present = states[:, :-1] > 0
        width = max(int(present.sum(axis=1).max(initial=0)), 1)
        order = np.argsort(~present, axis=1, kind="stable")[:, :width]
        counts = np.take_along_axis(states[:, :-1], order, axis=1).astype(np.int32)
        return Compositions(np.where(counts > 0, self.atomic_numbers[order], 0), counts).reduced()

    def find(self, compositions: Compositions) -> tuple[Int16s, Bools]:
        """Terminal states of compositions, and which are alloys of this world, bool [batch]; others mean nothing."""
        reduced = compositions.reduced()
        n_atoms = reduced.n_atoms
        times = self.rules.n_steps // np.maximum(n_atoms, 1)
        counts = reduced.dense()[:, self.atomic_numbers].astype(np.int64)
        inside = (counts.sum(axis=1) == n_atoms) & (times * n_atoms == self.rules.n_steps)
        states = np.zeros((len(reduced), *self.state_shape), dtype=np.int16)
        states[inside, :-1] = counts[inside] * times[inside, None]
        inside &= (states <= self.state_high).all(axis=1) & self._above_low(states)
        inside[inside] = self.forward_allowed(states[inside])[:, -1] if inside.any() else False
        states[:, -1] = 1
        return states, inside

    def _above_low(self, states: States) -> Bools:
        low = np.append(self.rules.class_low, 0)[self.rules.class_of]
        steps = states[:, :-1]
        return ((steps == 0) | (steps >= low)).all(axis=1)

    def describe(self, states: States) -> list[str]:
        """Names as Al0.5CoCrFeNi; of an unfinished alloy symbols with steps, and an ellipsis."""
        names = alloy_names(self.objects(states))
        for i in np.flatnonzero(states[:, -1] == 0).tolist():
            steps = zip(self.space.elements, states[i, :-1].tolist())
            names[i] = "".join(f"{symbol}{n}" for symbol, n in steps if n) + f" of {self.rules.n_steps}…"
        return names

    def enumerate(self) -> EnumeratedWorld:
        """All states.

        Raises:
            ValueError: when there are too many.
        """
        if self.enumeration_unavailable_reason:
            raise ValueError(f"this world cannot be enumerated: {self.enumeration_unavailable_reason}")
        return enumerate_states(self)

    def sample_uniform(self, n: int, rng: np.random.Generator) -> Int16s:
        """Terminal states drawn uniformly from all alloys of the world, int16 [n, *state_shape]."""
        return sample_uniform(self.rules, n, rng)
