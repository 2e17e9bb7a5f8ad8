"""The composition world: a reduced formula, built by setting one element's count at a time.

State: int16 [batch, n + 1], the count of each of the n elements (ordered by atomic number) and, last, 1 once stopped.
Forward action: `e * width + (count - count_min)` sets absent element e to `count`; the last action stops.
Backward action: e takes element e out again; the last one un-stops.

Stop is allowed exactly when the counts satisfy every constraint of the space and have no common divisor, so each
reduced formula is one terminal object and each terminal object one reduced formula. An addition is allowed exactly when
the result can still be finished; `feasibility.py` says how this is known. A formula of k elements has k! build orders
under `order="free"` and one under `order="canonical"`.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Int16s, Int32s, Ints, States
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.compiled.jit import njit
from oreflow.envs.composition.feasibility import NOTHING, FeasibilityTable, solve
from oreflow.envs.composition.inclusion import include
from oreflow.envs.composition.masks import backward_allowed, forward_allowed
from oreflow.envs.composition.rules import Rules
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.composition.tokens import CompositionTokens
from oreflow.envs.composition.uniform import sample_uniform
from oreflow.envs.contract.enumeration import enumerate_states
from oreflow.envs.contract.inclusion import Inclusion
from oreflow.envs.contract.protocol import EnumeratedWorld
from oreflow.envs.errors import EmptyWorldError
from oreflow.envs.objects.compositions import Compositions

MAX_ENUMERATED_STATES = 2_000_000


@njit
def _step(states: States, actions: Ints, width: int, count_min: int) -> None:
    """Carries out actions [batch] in place; -1 does nothing."""
    stopped = states.shape[1] - 1
    for i in range(len(actions)):
        if actions[i] >= 0:
            element = actions[i] // width
            # Stop is n * width, so its element index is n: the stopped flag's own column.
            states[i, element] = 1 if element == stopped else actions[i] % width + count_min


@njit
def _pairs(atomic_numbers: Int16s, slots: int, states: States) -> tuple[Int16s, Int32s]:
    zs = np.zeros((len(states), slots), dtype=np.int16)
    ns = np.zeros((len(states), slots), dtype=np.int32)
    for i in range(len(states)):
        slot = 0
        for e in range(len(atomic_numbers)):
            if states[i, e]:
                zs[i, slot] = atomic_numbers[e]
                ns[i, slot] = states[i, e]
                slot += 1
    return zs, ns


class CompositionKernel:
    """Transition kernel over the reduced formulas of a `CompositionSpace`; see the module's docstring.

    Raises:
        EmptyWorldError: when no formula satisfies the constraints.
    """

    def __init__(self, space: CompositionSpace) -> None:
        self.rules = space.rules()
        self._lay_out(space, self.rules)
        self.table = solve(self.rules, NOTHING)
        if not self.forward_allowed(self.initial(1)).any():
            raise EmptyWorldError(_why_empty(space))
        self.enumeration_unavailable_reason: str | None = self._enumeration_unavailable_reason()

    def _lay_out(self, space: CompositionSpace, rules: Rules) -> None:
        """Say what states, actions and tokens look like, which the masks may narrow but not change."""
        self.space = space
        self.n_elements_max = rules.n_elements_max
        self.n_actions = rules.n * rules.width + 1
        self.n_backward_actions = rules.n + 1
        self.max_steps = rules.n_elements_max + 1
        self.state_shape: tuple[int, ...] = (rules.n + 1,)
        self.atomic_numbers = space.atomic_numbers
        self.tokens = CompositionTokens(space, rules)
        self.n_tokens = self.tokens.n
        self.token_factors = self.tokens.factors
        self.action_factors = self.tokens.additions
        self.action_blocks: tuple[Ints, ...] = (np.arange(self.n_actions),)

    def of_number(self, k: int) -> tuple[Rules, FeasibilityTable] | None:
        """Rules and solved table of the world's formulas of exactly k elements; None where there is none."""
        return _solved(replace(self.space, n_elements=(k, k)))

    @property
    def state_high(self) -> Int16s:
        """Largest value of each entry of a state, int16 [n + 1]."""
        return np.append(self.rules.class_high[self.rules.class_of], 1).astype(np.int16)

    def initial(self, batch: int) -> Int16s:
        """Make states without an element, int16 [batch, n + 1]."""
        return np.zeros((batch, *self.state_shape), dtype=np.int16)

    def step(self, states: States, actions: Ints, out: States | None = None) -> States:
        """Carry out allowed forward actions: set an absent element to a count, or stop.

        Args:
            states: int16 [batch, n + 1].
            actions: int64 [batch]; a row whose action is -1 stays as it is.
            out: int16 [batch, n + 1], written and returned instead of a new array; may be `states` itself.
        """
        if out is None:
            out = states.copy()
        elif out is not states:
            out[:] = states
        _step(out, np.asarray(actions), self.rules.width, self.rules.count_min)
        return out

    def unstep(self, states: States, backward_actions: Ints) -> States:
        """Undo: take elements out of states, or take the stop back.

        Args:
            states: int16 [batch, n + 1]; left as they are.
            backward_actions: int64 [batch], allowed ones.
        """
        states = states.copy()
        states[np.arange(len(states)), backward_actions] = 0
        return states

    def forward_allowed(self, states: States, out: Bools | None = None) -> Bools:
        """Find the additions after which the formula can still be finished, and whether it may stop.

        Args:
            states: int16 [batch, n + 1].
            out: bool [batch, n_actions], C-contiguous, written and returned instead of a new array.
        """
        return forward_allowed(self.rules, self.table, states, out)

    def action_block(self, states: States) -> Ints:
        """Name the block of the actions of each state, int64 [batch]: 0, as there is one block."""
        return np.zeros(len(states), dtype=np.int64)

    def backward_allowed(self, states: States) -> Bools:
        """Find the elements that can be taken out, bool [batch, n + 1], and last whether the stop can.

        Under canonical order that is the last element alone; of a stopped state only the stop.
        """
        return backward_allowed(self.rules, states)

    def inverse_action(self, states: States, actions: Ints) -> Ints:
        """Name the backward action, int64 [batch], that undoes each forward action: the element that it adds."""
        return np.asarray(actions) // self.rules.width

    def redo_action(self, states: States, backward_actions: Ints) -> Ints:
        """Name the forward action, int64 [batch], that adds again what a backward action takes out of a state."""
        element = np.asarray(backward_actions)
        column = states[np.arange(len(states)), element].astype(np.int64) - self.rules.count_min
        return np.where(element == self.rules.n, self.n_actions - 1, element * self.rules.width + column)

    def is_terminal(self, states: States) -> Bools:
        """Tell which states have stopped, bool [batch]."""
        return states[:, -1] == 1

    def encode(self, states: States) -> Ints:
        """Translate states to tokens, int64 [batch, token], padded with `n_tokens`; see `CompositionTokens`."""
        return self.tokens.encode(states)

    def objects(self, states: States) -> Compositions:
        """The compositions of states, finished or not."""
        return Compositions(*_pairs(self.atomic_numbers, self.rules.n_elements_max, states))

    def states_of(self, compositions: Compositions) -> Int16s:
        """Terminal states of compositions, the inverse of `objects`.

        Raises:
            ValueError: naming the formulas that are no object of this world.
        """
        states, inside = self.find(compositions)
        if not inside.all():
            missing = [f for f, ok in zip(compositions.reduced().formulas(), inside) if not ok]
            raise ValueError(f"expected formulas of this world, got {len(missing)} others: {', '.join(missing[:5])}")
        return states

    def find(self, compositions: Compositions) -> tuple[Int16s, Bools]:
        """Terminal states of compositions, and which are objects of this world, bool [batch]; others mean nothing."""
        reduced = compositions.reduced()
        dense = reduced.dense()
        states = np.zeros((len(reduced), *self.state_shape), dtype=np.int16)
        states[:, :-1] = dense[:, self.atomic_numbers]
        inside = states[:, :-1].sum(axis=1) == reduced.n_atoms
        inside[inside] = self.forward_allowed(states[inside])[:, -1] if inside.any() else False
        states[:, -1] = 1
        return states, inside

    def describe(self, states: States) -> list[str]:
        """Formulas in element order; an unfinished one ends in an ellipsis."""
        names = symbols()
        lines = []
        for row in states.tolist():
            parts = [f"{names[z]}{n if n > 1 else ''}" for z, n in zip(self.atomic_numbers.tolist(), row) if n]
            lines.append("".join(parts) + ("" if row[-1] else "…"))
        return lines

    def _enumeration_unavailable_reason(self) -> str | None:
        bound = float(self._count_partial().sum())
        if bound <= MAX_ENUMERATED_STATES:
            return None
        return (
            f"up to {bound:.2g} partial compositions, more than the {MAX_ENUMERATED_STATES:,} that can be enumerated; "
            "use fewer elements, atoms or counts"
        )

    def _count_partial(self) -> Floats:
        """float64 [k, a]: choices of k distinct elements with counts that sum to a, other constraints aside."""
        ways = np.zeros((self.rules.n_elements_max + 1, self.rules.n_atoms_max + 1))
        ways[0, 0] = 1
        for cls in self.rules.class_of:
            before = ways.copy()
            for count in range(self.rules.class_low[cls], self.rules.class_high[cls] + 1):
                ways[1:, count:] += before[:-1, : ways.shape[1] - count]
        return ways

    def enumerate(self) -> EnumeratedWorld:
        """List all states with the transitions between them.

        Raises:
            ValueError: with `enumeration_unavailable_reason`, when there are too many.
        """
        if self.enumeration_unavailable_reason:
            raise ValueError(f"this world cannot be enumerated: {self.enumeration_unavailable_reason}")
        return enumerate_states(self)

    def included_in(self, larger: "CompositionKernel") -> Inclusion:
        """Translate states, actions and tokens into those of a larger composition world.

        Raises:
            ValueError: naming what the larger world lacks.
        """
        return include(self, larger)

    def sample_uniform(self, n: int, rng: np.random.Generator) -> Int16s:
        """Terminal states drawn uniformly from all objects of the world, [n, *state_shape].

        Raises:
            TooRareError: when fewer than one random count vector in 10^7 is an object.
        """
        return sample_uniform(self.rules, n, rng)


def _solved(space: CompositionSpace) -> tuple[Rules, FeasibilityTable] | None:
    """Rules and solved table of a world; None for an empty one."""
    try:
        rules = space.rules()
    except EmptyWorldError:
        return None
    table = solve(rules, NOTHING)
    return (rules, table) if forward_allowed(rules, table, np.zeros((1, rules.n + 1), dtype=np.int16)).any() else None


def relaxations(space: CompositionSpace) -> dict[str, dict[str, Any]]:
    """Constraints by name, and the fields that take each of them away, to find which of them leaves nothing."""
    return {
        "neutrality (hard)": {"neutrality": "off"},
        "n_atoms": {"n_atoms": (1, min(200, max(60, 2 * space.n_atoms[1])))},
        "n_elements": {"n_elements": (1, min(8, len(space.elements)))},
        "count": {"count": (1, space.n_atoms[1]), "count_by_element": {}},
        "required and required_groups": {"required": (), "required_groups": ()},
    }


def _why_empty(space: CompositionSpace) -> str:
    """Names the constraints whose removal alone would leave something to build."""
    culprits = []
    for name, change in relaxations(space).items():
        relaxed = replace(space, **change)
        rules = relaxed.rules()
        if forward_allowed(rules, solve(rules, NOTHING), np.zeros((1, rules.n + 1), dtype=np.int16)).any():
            culprits.append(name)
    hint = " or ".join(culprits) if culprits else "several constraints together"
    return f"expected at least one formula that satisfies every constraint, found none; relax {hint}"
