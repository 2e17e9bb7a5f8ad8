"""The hypergrid of the GFlowNet literature as a kernel: a world with published figures that is not chemistry at all.

State: int16 [batch, dimensions + 1], the coordinates and 1 once stopped. Forward action d adds one along dimension d,
the last one stops, which is allowed everywhere. Reward (Bengio et al. 2021, arXiv:2106.04399, section 4.1), with |y|
the distance from the middle of an axis scaled to [0, 0.5]:

    R = R0 + R1 * [all 0.25 < |y| <= 0.5] + R2 * [all 0.3 < |y| < 0.4]
"""

import itertools

import numpy as np

from oreflow.envs.contract.protocol import EnumeratedWorld
from oreflow.rewards.composite import RewardValues


class HypergridKernel:
    """Transition kernel over `side ** dimensions` objects; see the module's docstring."""

    enumeration_unavailable_reason: str | None = None

    def __init__(self, dimensions: int = 2, side: int = 16) -> None:
        self.dimensions, self.side = dimensions, side
        self.n_actions = self.n_backward_actions = dimensions + 1
        self.max_steps = dimensions * (side - 1) + 1
        self.state_shape: tuple[int, ...] = (dimensions + 1,)
        self.n_tokens = dimensions * side
        self.token_factors = np.stack(np.divmod(np.arange(self.n_tokens), side), axis=1)
        self.action_factors = np.arange(dimensions)[:, None]
        self.action_blocks: tuple[np.ndarray, ...] = (np.arange(self.n_actions),)

    @property
    def state_high(self) -> np.ndarray:
        return np.append(np.full(self.dimensions, self.side - 1), 1).astype(np.int16)

    def initial(self, batch: int) -> np.ndarray:
        return np.zeros((batch, *self.state_shape), dtype=np.int16)

    def step(self, states: np.ndarray, actions: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        out = np.empty_like(states) if out is None else out
        out[:] = states
        moving = np.flatnonzero(np.asarray(actions) >= 0)
        out[moving, np.asarray(actions)[moving]] += 1
        return out

    def unstep(self, states: np.ndarray, backward_actions: np.ndarray) -> np.ndarray:
        states = states.copy()
        states[np.arange(len(states)), backward_actions] -= 1
        return states

    def forward_allowed(self, states: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        allowed = np.logical_and(states < self.state_high, states[:, -1:] == 0, out=out)
        return allowed  # type: ignore[no-any-return]

    def action_block(self, states: np.ndarray) -> np.ndarray:
        return np.zeros(len(states), dtype=np.int64)

    def backward_allowed(self, states: np.ndarray) -> np.ndarray:
        allowed = states > 0
        allowed[:, :-1] &= states[:, -1:] == 0
        return allowed

    def inverse_action(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return np.asarray(actions)

    def redo_action(self, states: np.ndarray, backward_actions: np.ndarray) -> np.ndarray:
        return np.asarray(backward_actions)

    def is_terminal(self, states: np.ndarray) -> np.ndarray:
        return states[:, -1] == 1

    def encode(self, states: np.ndarray) -> np.ndarray:
        return states[:, :-1].astype(np.int64) + np.arange(self.dimensions) * self.side

    def describe(self, states: np.ndarray) -> list[str]:
        return [" ".join(map(str, row[:-1])) + ("" if row[-1] else "…") for row in states.tolist()]

    def objects(self, states: np.ndarray) -> np.ndarray:
        return states[:, :-1]

    def enumerate(self) -> EnumeratedWorld:
        cells = sorted(itertools.product(range(self.side), repeat=self.dimensions), key=lambda cell: (sum(cell), cell))
        number = {cell: i for i, cell in enumerate(cells)}
        edges = [
            (number[cell], number[(*cell[:d], cell[d] + 1, *cell[d + 1 :])], d)
            for cell in cells
            for d in range(self.dimensions)
            if cell[d] + 1 < self.side
        ]
        states = np.zeros((len(cells), self.dimensions + 1), dtype=np.int16)
        states[:, :-1] = cells
        parent, child, action = np.array(edges).T
        return EnumeratedWorld(states, parent, child, action, np.ones(len(cells), dtype=np.bool_))


class HypergridReward:
    """log R of coordinates [batch, dimensions], in the form that training asks for."""

    nondeterministic: tuple[str, ...] = ()

    def __init__(self, side: int = 16, r0: float = 0.1, r1: float = 0.5, r2: float = 2.0) -> None:
        self.side, self.r0, self.r1, self.r2 = side, r0, r1, r2

    def __call__(self, coordinates: np.ndarray) -> RewardValues:
        # Twice the distance from the middle, in whole numbers: at side 16 two cells of each axis lie on |y| = 0.3.
        n = self.side - 1
        y = np.abs(2 * coordinates.astype(np.int64) - n)
        outer = (4 * y > 2 * n).all(axis=1)
        inner = ((10 * y > 6 * n) & (10 * y < 8 * n)).all(axis=1)
        log_reward = np.log(self.r0 + self.r1 * outer + self.r2 * inner)
        valid = np.ones(len(log_reward), dtype=np.bool_)
        return RewardValues(log_reward, valid, {}, {}, np.zeros_like(valid))
