"""A buffer of distinct terminal objects with their log R, drawn again by priority."""

import numpy as np

from oreflow.envs.arrays import Arrays, Floats, States


class ReplayBuffer:
    """Keeps the objects of highest log R, each once.

    Args:
        capacity: largest number of objects.
        priority: an object is drawn with probability proportional to R ** priority.
        state_shape, dtype: of the kernel's states.
    """

    def __init__(self, capacity: int, priority: float, state_shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.capacity = capacity
        self.priority = priority
        self._states = np.empty((0, *state_shape), dtype=dtype)
        self._log_reward = np.empty(0)
        self._known: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._states)

    def add(self, states: States, log_reward: Floats) -> None:
        """Adds terminal states [batch, *state_shape] with finite log R [batch]; known ones are passed over."""
        fresh = []
        for i, row in enumerate(states):
            key = row.tobytes()
            if key not in self._known:
                self._known.add(key)
                fresh.append(i)
        if not fresh:
            return
        self._states = np.concatenate([self._states, states[fresh]])
        self._log_reward = np.concatenate([self._log_reward, log_reward[fresh]])
        if len(self) > self.capacity:
            order = np.argsort(-self._log_reward, kind="stable")
            for row in self._states[order[self.capacity :]]:
                self._known.discard(row.tobytes())
            keep = np.sort(order[: self.capacity])
            self._states, self._log_reward = self._states[keep], self._log_reward[keep]

    def draw(self, n: int, rng: np.random.Generator) -> tuple[States, Floats]:
        """States [n, *state_shape] and their log R [n], drawn with replacement."""
        weights = np.exp(self.priority * (self._log_reward - self._log_reward.max()))
        cumulative = np.cumsum(weights)
        rows = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
        rows = np.minimum(rows, len(self) - 1)
        return self._states[rows], self._log_reward[rows]

    def arrays(self) -> Arrays:
        """Everything that `load_arrays` needs to go on exactly."""
        return {"replay_states": self._states, "replay_log_reward": self._log_reward}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""
        self._states, self._log_reward = arrays["replay_states"], arrays["replay_log_reward"]
        self._known = {row.tobytes() for row in self._states}
