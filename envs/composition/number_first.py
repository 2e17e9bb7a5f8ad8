"""The composition world with one decision before all others: how many elements the formula will have.

It is there for shares of the numbers of elements: what is drawn first can be drawn by shares that are given.

State: int16 [batch, n + 2], as in `kernel.py` with one column more before the last: the number of elements that was
chosen, 0 before it was. Actions are numbered as there, so that a network of the plain world serves here, too. In the
initial state forward action k - 1 chooses k elements; behind it backward action 0 takes that choice back, as no element
is there to be taken out.

Masks are those of the plain world with `n_elements = (k, k)`: each number has a feasibility table of its own. Compiled
code of the plain world reads counts from the first n columns and the stop from the last, which is the same here.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from oreflow.envs.arrays import Bools, Int16s, Ints, States
from oreflow.envs.composition.completion import CompletedKernel
from oreflow.envs.composition.feasibility import FeasibilityTable
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.masks import allow_rows, are_objects, backward_allowed
from oreflow.envs.composition.rules import Rules
from oreflow.envs.composition.uniform import sample_uniform
from oreflow.envs.contract.enumeration import enumerate_states
from oreflow.envs.contract.inclusion import Inclusion
from oreflow.envs.contract.protocol import EnumeratedWorld
from oreflow.envs.errors import EmptyWorldError
from oreflow.envs.objects.compositions import Compositions


class NumberFirstKernel:
    """Transition kernel over the formulas of a composition world, whose number of elements is chosen first.

    Args:
        plain: the kernel of the same world without that choice.
        numbers: which numbers are open; by default all of which there is a formula.

    Attributes:
        numbers: int64, ascending: the open numbers.

    Raises:
        ValueError: for a number of which there is no formula in the world.
    """

    def __init__(self, plain: CompositionKernel, numbers: Sequence[int] | None = None) -> None:
        self.space = plain.space
        self.plain = plain
        self._by_number: dict[int, tuple[Rules, FeasibilityTable]] = {}
        possible = range(plain.rules.n_elements_min, plain.rules.n_elements_max + 1)
        for k in possible if numbers is None else sorted({*numbers} & {*possible}):
            found = plain.of_number(k)
            if found is not None:
                self._by_number[k] = found
        self.numbers = np.array(sorted(self._by_number), dtype=np.int64)
        missing = sorted({*(numbers or ())} - {*self._by_number})
        if missing:
            there = [k for k in possible if k in self._by_number or plain.of_number(k) is not None]
            raise ValueError(
                f"expected numbers of elements of which the world has a formula ({', '.join(map(str, there))}), got "
                f"{', '.join(map(str, missing))}; leave it out, or widen the world"
            )
        self._n = plain.rules.n
        self.n_actions = plain.n_actions
        self.n_backward_actions = plain.n_backward_actions
        self.max_steps = plain.max_steps + 1
        self.state_shape: tuple[int, ...] = (self._n + 2,)
        self.atomic_numbers = plain.atomic_numbers
        self.n_tokens = plain.n_tokens + plain.n_elements_max
        shared = np.broadcast_to(plain.token_factors[-1], (plain.n_elements_max, 3))
        self.token_factors = np.concatenate([plain.token_factors, shared])
        self.action_factors = plain.action_factors
        self.action_blocks = plain.action_blocks
        self.enumeration_unavailable_reason = plain.enumeration_unavailable_reason

    @property
    def state_high(self) -> Int16s:
        """Largest value of each entry of a state, int16 [n + 2]."""
        return np.insert(self.plain.state_high, self._n, self.numbers[-1])

    def initial(self, batch: int) -> Int16s:
        """Make states in which nothing is chosen, int16 [batch, n + 2]."""
        return np.zeros((batch, *self.state_shape), dtype=np.int16)

    def plain_states(self, states: States) -> Int16s:
        """The states of the plain world that these are once their number is chosen, int16 [batch, n + 1]."""
        return np.delete(states, self._n, axis=1)

    def step(self, states: States, actions: Ints, out: States | None = None) -> States:
        """Carry out allowed forward actions: choose the number, then as in the plain world.

        Args:
            states: int16 [batch, n + 2].
            actions: int64 [batch]; a row whose action is -1 stays as it is.
            out: int16 [batch, n + 2], written and returned instead of a new array; may be `states` itself.
        """
        if out is None:
            out = states.copy()
        elif out is not states:
            out[:] = states
        actions = np.asarray(actions)
        chooses = (out[:, self._n] == 0) & (actions >= 0)
        counts = self.plain.step(self.plain_states(out), np.where(chooses, -1, actions))
        out[:, : self._n], out[:, -1] = counts[:, :-1], counts[:, -1]
        out[chooses, self._n] = actions[chooses] + 1
        return out

    def unstep(self, states: States, backward_actions: Ints) -> States:
        """Undo: take elements out, take the stop back, or, where there is no element, the number.

        Args:
            states: int16 [batch, n + 2]; left as they are.
            backward_actions: int64 [batch], allowed ones.
        """
        states, backward = states.copy(), np.asarray(backward_actions)
        column = np.where(backward == self._n, self._n + 1, backward)
        column = np.where(self._without_elements(states), self._n, column)
        states[np.arange(len(states)), column] = 0
        return states

    def _without_elements(self, states: States) -> Bools:
        return ~states[:, : self._n].any(axis=1)

    def forward_allowed(self, states: States, out: Bools | None = None) -> Bools:
        """Find the open numbers, or the additions after which a formula of the chosen number can be finished, and stop.

        Args:
            states: int16 [batch, n + 2].
            out: bool [batch, n_actions], C-contiguous, written and returned instead of a new array.
        """
        if out is None:
            out = np.empty((len(states), self.n_actions), dtype=np.bool_)
        chosen = np.where(states[:, -1] == 1, -1, states[:, self._n])
        for k in np.flatnonzero(np.bincount(chosen + 1, minlength=1)) - 1:
            rows = np.flatnonzero(chosen == k)
            if k <= 0:
                out[rows] = False
                if k == 0:
                    out[np.ix_(rows, self.numbers - 1)] = True
            elif k in self._by_number:
                allow_rows(*self._by_number[int(k)], states, rows, out)
            else:
                out[rows] = False
        return out

    def action_block(self, states: States) -> Ints:
        """Name the block of the actions of each state, int64 [batch]: 0, as there is one block."""
        return np.zeros(len(states), dtype=np.int64)

    def backward_allowed(self, states: States) -> Bools:
        """Find the elements that can be taken out, bool [batch, n + 1], and last whether the stop can.

        Of a state with a number and no element the first action takes the number back.
        """
        allowed = backward_allowed(self.plain.rules, states)
        allowed[:, 0] |= self._without_elements(states) & (states[:, self._n] > 0)
        return allowed

    def inverse_action(self, states: States, actions: Ints) -> Ints:
        """Name the backward action, int64 [batch], that undoes each forward action."""
        return np.where(states[:, self._n] == 0, 0, self.plain.inverse_action(states, actions))

    def redo_action(self, states: States, backward_actions: Ints) -> Ints:
        """Name the forward action, int64 [batch], that leads back to a state from where a backward action led."""
        again = self.plain.redo_action(states, backward_actions)
        return np.where(self._without_elements(states), states[:, self._n].astype(np.int64) - 1, again)

    def is_terminal(self, states: States) -> Bools:
        """Tell which states have stopped, bool [batch]."""
        return states[:, -1] == 1

    def encode(self, states: States) -> Ints:
        """Translate states to tokens, int64 [batch, token], padded with `n_tokens`: those of the plain world.

        Once the number is chosen one token more says how many elements are still to come.
        """
        tokens = self.plain.encode(states)
        tokens[tokens == self.plain.n_tokens] = self.n_tokens
        left = states[:, self._n] - (states[:, : self._n] > 0).sum(axis=1)
        number = np.where(left > 0, self.plain.n_tokens + left - 1, self.n_tokens)
        return np.concatenate([tokens, number[:, None]], axis=1)

    def objects(self, states: States) -> Compositions:
        """The compositions of states, finished or not."""
        return self.plain.objects(states)

    def within(self, part: CompletedKernel) -> "NumberFirstKernel":
        """The same decision first, over the formulas of this world that keep to the bounds of a part.

        Raises:
            EmptyWorldError: when none of them has an open number of elements.
        """
        low, high = part.rules.n_elements_min, part.rules.n_elements_max
        numbers = [k for k in self.numbers.tolist() if low <= k <= high and part.of_number(k) is not None]
        if not numbers:
            raise EmptyWorldError("no formula of the open numbers of elements keeps to these bounds")
        return NumberFirstKernel(part, numbers)

    def holds(self, terminal: States) -> Bools:
        """Tell which terminal states of a larger world are formulas of this one, bool [batch]."""
        number = np.isin(terminal[:, self._n], self.numbers)
        return number & are_objects(self.plain.rules, self.plain_states(terminal))

    def find(self, compositions: Compositions) -> tuple[Int16s, Bools]:
        """Terminal states of compositions, and which are objects of this world, bool [batch]; others mean nothing."""
        plain, inside = self.plain.find(compositions)
        states = self._with_numbers(plain)
        return states, inside & np.isin(states[:, self._n], self.numbers)

    def _with_numbers(self, plain: Int16s) -> Int16s:
        """Terminal states of the plain world as states of this one."""
        return np.insert(plain, self._n, (plain[:, :-1] > 0).sum(axis=1), axis=1)

    def describe(self, states: States) -> list[str]:
        """Formulas in element order; of an unfinished one with an ellipsis and the number of elements to be."""
        lines = self.plain.describe(states)
        return [
            line if row[-1] or not row[-2] else f"{line} of {row[-2]} elements"
            for line, row in zip(lines, states.tolist())
        ]

    def enumerate(self) -> EnumeratedWorld:
        """List all states with the transitions between them.

        Raises:
            ValueError: with `enumeration_unavailable_reason`, when there are too many.
        """
        if self.enumeration_unavailable_reason:
            raise ValueError(f"this world cannot be enumerated: {self.enumeration_unavailable_reason}")
        return enumerate_states(self)

    def included_in(self, larger: CompositionKernel) -> Inclusion:
        """Translate states behind the choice of the number, actions and tokens into those of a larger plain world.

        Raises:
            ValueError: naming what the larger world lacks.
        """
        plain = self.plain.included_in(larger)
        unknown = np.full(self.n_tokens - self.plain.n_tokens, -1, dtype=np.int64)
        tokens = np.concatenate([plain.tokens, unknown])
        return Inclusion(lambda states: plain.states(self.plain_states(states)), plain.actions, tokens)

    def sample_uniform(self, n: int, rng: np.random.Generator) -> Int16s:
        """Terminal states drawn uniformly from all objects of the world, [n, *state_shape].

        Raises:
            TooRareError: when fewer than one random count vector in 10^7 is an object.
        """
        low, high = int(self.numbers[0]), int(self.numbers[-1])
        rules = replace(self.plain.rules, n_elements_min=low, n_elements_max=high)
        parts: list[Int16s] = []
        while sum(len(part) for part in parts) < n:
            states = self._with_numbers(sample_uniform(rules, n, rng))
            parts.append(states[np.isin(states[:, self._n], self.numbers)])  # numbers between may be left out
        return np.concatenate(parts)[:n]
