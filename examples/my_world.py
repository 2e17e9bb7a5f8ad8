"""A world that is no chemistry, and its reward: lattice paths, which pay by the number of their turns.

    oreflow check examples/my_world.yaml --plugin examples/my_world.py
    oreflow train examples/my_world.yaml --plugin examples/my_world.py --out runs/paths
    oreflow sample runs/paths -n 100 --unique --plugin examples/my_world.py
    oreflow exact runs/paths --plugin examples/my_world.py

A path takes `size` steps to the right and `size` up, in any order. State: int16 [batch, 2 size + 1], a step each (0:
none yet, 1: right, 2: up), and 1 once stopped. Backward action 0 takes the last step back, 1 un-stops.
"""

from dataclasses import dataclass, field

import numpy as np

from oreflow import rewards
from oreflow.envs.contract.enumeration import enumerate_states
from oreflow.envs.objects.rows import Rows
from oreflow.envs.registry import World, register_world

RIGHT, UP, STOP = 0, 1, 2


class PathKernel:
    """Transition kernel of lattice paths; what each member is for is written in `TransitionKernel`."""

    n_actions, n_backward_actions, enumeration_unavailable_reason = 3, 2, None
    action_factors = np.array([[RIGHT], [UP]])
    action_blocks = (np.arange(3),)

    def __init__(self, size):
        self.size, self.length, self.max_steps, self.state_shape = size, 2 * size, 2 * size + 1, (2 * size + 1,)
        self.n_tokens = 2 * self.length  # each step with its direction
        self.token_factors = np.stack(np.divmod(np.arange(self.n_tokens), 2), axis=1)
        self.state_high = np.append(np.full(self.length, 2), 1).astype(np.int16)

    def initial(self, batch):
        return np.zeros((batch, *self.state_shape), dtype=np.int16)

    def n_taken(self, states):
        return (states[:, :-1] > 0).sum(axis=1)

    def step(self, states, actions, out=None):
        out = np.empty_like(states) if out is None else out
        out[:] = states
        rows = np.flatnonzero(np.asarray(actions) >= 0)  # -1: a row that stays as it is
        chosen = np.asarray(actions)[rows]
        out[rows, np.where(chosen == STOP, -1, self.n_taken(states[rows]))] = np.where(chosen == STOP, 1, chosen + 1)
        return out

    def unstep(self, states, backward_actions):
        states = states.copy()
        states[np.arange(len(states)), np.where(backward_actions == 1, -1, self.n_taken(states) - 1)] = 0
        return states

    def forward_allowed(self, states, out=None):
        out = np.empty((len(states), 3), dtype=np.bool_) if out is None else out
        for action in (RIGHT, UP):
            out[:, action] = (states[:, :-1] == action + 1).sum(axis=1) < self.size
        out[:, STOP] = (self.n_taken(states) == self.length) & (states[:, -1] == 0)
        return out

    def action_block(self, states):
        return np.zeros(len(states), dtype=np.int64)

    def backward_allowed(self, states):
        stopped = states[:, -1] == 1
        return np.stack([~stopped & (self.n_taken(states) > 0), stopped], axis=1)

    def inverse_action(self, states, actions):
        return (np.asarray(actions) == STOP).astype(np.int64)

    def redo_action(self, states, backward_actions):
        last = states[np.arange(len(states)), np.maximum(self.n_taken(states) - 1, 0)].astype(np.int64)
        return np.where(np.asarray(backward_actions) == 1, STOP, last - 1)

    def is_terminal(self, states):
        return states[:, -1] == 1

    def encode(self, states):
        steps = states[:, :-1].astype(np.int64)
        return np.where(steps > 0, 2 * np.arange(self.length) + steps - 1, self.n_tokens)

    def describe(self, states):
        return ["".join(".RU"[step] for step in row[:-1]) + ("" if row[-1] else "…") for row in states.tolist()]

    def objects(self, states):
        return Rows("lattice_paths", states[:, :-1])

    def enumerate(self):
        return enumerate_states(self)


@register_world("lattice_paths")
@dataclass(frozen=True)
class LatticePaths(World):
    """Monotone paths from one corner of a square lattice to the other."""

    size: int = field(default=5, metadata={"description": "steps to the right, and as many up"})

    def __post_init__(self):
        if not 1 <= self.size <= 50:
            raise ValueError(f"expected size from 1 to 50, got {self.size}")

    def kernel(self):
        return PathKernel(self.size)

    def summary(self, objects):
        return {"mean_turns": float(Turns()(objects).values.mean())}


@rewards.register("turns")
class Turns:
    """How often a path turns."""

    name, unit, version, citations, requires = "turns", "", "1", (), "lattice_paths"

    def __call__(self, batch):
        turns = (np.diff(batch.values, axis=1) != 0).sum(axis=1)
        return rewards.TermValues(turns.astype(float), np.ones(len(batch), dtype=np.bool_))
