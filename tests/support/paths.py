"""Every path of `back_and_forth`, by brute force in plain Python, and a second kernel to try it on."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np

from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.contract.protocol import TransitionKernel
from tests.support.worlds import SPACES, TINY

State = bytes
Path = tuple[State, ...]


class Grid:
    """A hypergrid (Bengio et al. 2021): raise one coordinate by one, or stop. State [[x, y], [stopped, 0]].

    Nothing of chemistry, a state with two axes, objects with many paths of the same actions, and cells where stopping
    is forbidden (x + y = 1).
    """

    n_actions = n_backward_actions = 3
    action_blocks: tuple[np.ndarray, ...] = (np.arange(3),)
    state_shape = (2, 2)

    def __init__(self, side: int) -> None:
        self.side = side
        self.max_steps = 2 * (side - 1) + 1

    def initial(self, batch: int) -> np.ndarray:
        return np.zeros((batch, 2, 2), dtype=np.int16)

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return self._add(states, actions, 1)

    def unstep(self, states: np.ndarray, backward_actions: np.ndarray) -> np.ndarray:
        return self._add(states, backward_actions, -1)

    def _add(self, states: np.ndarray, actions: np.ndarray, change: int) -> np.ndarray:
        flat = states.reshape(len(states), 4).copy()
        flat[np.arange(len(flat)), actions] += change
        return flat.reshape(-1, 2, 2)

    def forward_allowed(self, states: np.ndarray) -> np.ndarray:
        can_stop = states[:, 0].sum(axis=1) != 1
        allowed = np.concatenate([states[:, 0] < self.side - 1, can_stop[:, None]], axis=1)
        return allowed & ~self.is_terminal(states)[:, None]

    def action_block(self, states: np.ndarray) -> np.ndarray:
        return np.zeros(len(states), dtype=np.int64)

    def backward_allowed(self, states: np.ndarray) -> np.ndarray:
        stopped = self.is_terminal(states)[:, None]
        return np.concatenate([(states[:, 0] > 0) & ~stopped, stopped], axis=1)

    def inverse_action(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return actions

    def redo_action(self, states: np.ndarray, backward_actions: np.ndarray) -> np.ndarray:
        return backward_actions

    def is_terminal(self, states: np.ndarray) -> np.ndarray:
        return states[:, 1, 0] == 1

    def describe(self, states: np.ndarray) -> list[str]:
        return [str(row.tolist()) for row in states]


def tiny_kernel(name: str) -> TransitionKernel:
    """Kernels of some 20 to 100 objects."""
    if name == "grid":
        return Grid(4)
    small = {"n_elements": (1, 3), "n_atoms": (1, 6), "count": (1, 4)}
    spaces = {
        "free": replace(TINY, n_atoms=(1, 5), count=(1, 4)),
        "canonical": replace(TINY, n_atoms=(1, 5), count=(1, 4), order="canonical"),
        "hard": replace(SPACES["hard"], **small),
        "hard_canonical": replace(SPACES["hard_canonical"], **small),
    }
    return CompositionKernel(spaces[name])


TINY_KERNELS = ("free", "canonical", "hard", "hard_canonical", "grid")


class Move(NamedTuple):
    """One path of `back_and_forth`: where it leads, its probability, and that of its reversal."""

    target: int
    probability: float
    reverse_probability: float


class Paths:
    """The graph of a kernel, found by walking it state by state, and all moves between its objects."""

    def __init__(self, kernel: TransitionKernel, go_on: float) -> None:
        self.go_on = go_on
        self.children: dict[State, list[State]] = {}
        self.parents: dict[State, list[State]] = {}
        todo = [kernel.initial(1)]
        terminal = []
        while todo:
            state = todo.pop()
            if state.tobytes() in self.children:
                continue
            ahead = [kernel.step(state, np.array([a])) for a in np.flatnonzero(kernel.forward_allowed(state)[0])]
            behind = [kernel.unstep(state, np.array([a])) for a in np.flatnonzero(kernel.backward_allowed(state)[0])]
            self.children[state.tobytes()] = [child.tobytes() for child in ahead]
            self.parents[state.tobytes()] = [parent.tobytes() for parent in behind]
            todo += ahead
            if not ahead:
                terminal.append(state)
        self.objects = np.concatenate(terminal)
        self.index = {state.tobytes(): i for i, state in enumerate(terminal)}
        self.forth = cache(self._forth)

    def index_of(self, states: np.ndarray) -> np.ndarray:
        """Object indices of terminal states [batch]; KeyError for what is no object."""
        return np.array([self.index[state.tobytes()] for state in states], dtype=np.int64)

    def _forth(self, start: State) -> list[Path]:
        if not self.children[start]:
            return [(start,)]
        return [(start, *rest) for child in self.children[start] for rest in self.forth(child)]

    def back(self, start: State) -> Iterator[Path]:
        """All walks back from a state, of one step and more."""
        for parent in self.parents[start]:
            yield (start, parent)
            for rest in self.back(parent):
                yield (start, *rest)

    def back_probability(self, back: Path) -> float:
        """Of a walk back, its length included, from the definition."""
        p = self.go_on ** (len(back) - 2)
        if self.parents[back[-1]]:
            p *= 1 - self.go_on
        return p * math.prod(1 / len(self.parents[state]) for state in back[:-1])

    def forth_probability(self, forth: Path) -> float:
        """Of a walk forth, from the definition."""
        return math.prod(1 / len(self.children[state]) for state in forth[:-1])

    def moves(self, x: int) -> Iterator[Move]:
        """All moves from object x."""
        for back in self.back(self.objects[x].tobytes()):
            for forth in self.forth(back[-1]):
                forward = self.back_probability(back) * self.forth_probability(forth)
                reverse = self.back_probability(forth[::-1]) * self.forth_probability(back[::-1])
                yield Move(self.index[forth[-1]], forward, reverse)

    def transition_matrix(self, log_reward: np.ndarray, hastings: bool = True) -> np.ndarray:
        """K(x, y) of Metropolis-Hastings, float64 [object, object]; without the Hastings ratio on request."""
        matrix = np.zeros((len(self.objects), len(self.objects)))
        for x in range(len(matrix)):
            for y, forward, reverse in self.moves(x):
                ratio = np.exp(log_reward[y] - log_reward[x]) * (reverse / forward if hastings else 1.0)
                accepted = forward * min(1.0, ratio)
                matrix[x, y] += accepted
                matrix[x, x] += forward - accepted
        return matrix
