"""`gymnasium.vector.VectorEnv` over any transition kernel: one kernel call a step for the whole batch."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from oreflow.envs.arrays import AnyInts, Bools, Floats, States
from oreflow.envs.contract.protocol import Scorer, TransitionKernel
from oreflow.envs.contract.random_actions import rows_without_action
from oreflow.envs.contract.scores import scores_of, warn_of_missing
from oreflow.envs.errors import DeadEndError, IllegalActionError
from oreflow.envs.faces.single import uniform_scorer


class KernelVectorEnv(VectorEnv[States, AnyInts, NDArray[Any]]):
    """Many objects at a time, with the contract of `KernelEnv` row by row.

    `info["action_mask"]` is int8 [num_envs, n_actions]. `metadata["autoreset_mode"]` says what follows an episode's
    end: NEXT_STEP (the next step ignores its action and resets), SAME_STEP (the row resets at once; the last
    observation stands in `info["final_obs"]`), DISABLED (reset with `options={"reset_mask": ...}`).

    With `copy=False` observations and masks are the environment's own arrays, as in Gymnasium's `SyncVectorEnv`: up to
    two fifths faster in large worlds with thousands of rows, but the next `step` or `reset` overwrites them, and
    writing into a mask changes what the environment takes for legal. Rewards, ends and the rest of `info` are fresh
    arrays either way.
    """

    def __init__(
        self,
        kernel: TransitionKernel,
        scorer: Scorer | None = None,
        *,
        num_envs: int = 1,
        strict: bool = False,
        illegal_log_reward: float = -100.0,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
    ) -> None:
        self.kernel = kernel
        self.scorer = scorer or uniform_scorer
        self.num_envs = num_envs
        self.strict = strict
        self.illegal_log_reward = illegal_log_reward
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.copy = copy
        self.metadata = {"autoreset_mode": self.autoreset_mode}
        high = kernel.state_high
        self.single_observation_space = spaces.Box(np.zeros_like(high), high, dtype=high.dtype.type)
        self.single_action_space = spaces.Discrete(kernel.n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._states = kernel.initial(num_envs)
        self._allowed = kernel.forward_allowed(self._states)
        self._first_allowed = self._allowed[0].copy()
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[States, dict[str, Any]]:
        """Resets all rows, or those of `options["reset_mask"]` (bool [num_envs])."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        rows = (options or {}).get("reset_mask")
        if rows is None:
            rows = np.ones(self.num_envs, dtype=np.bool_)
        elif np.shape(rows) != (self.num_envs,) or np.asarray(rows).dtype != np.bool_:
            raise ValueError(f"expected options['reset_mask'] as a bool array of shape ({self.num_envs},)")
        self._restart(np.asarray(rows))
        return self._observations(), self._info()

    def _restart(self, rows: Bools) -> None:
        self._states[rows] = 0
        self._allowed[rows] = self._first_allowed
        self._ended[rows] = False

    def step(self, actions: AnyInts) -> tuple[States, Floats, Bools, Bools, dict[str, Any]]:
        """One forward action a row.

        Raises:
            IllegalActionError: for a forbidden action when `strict`.
            RuntimeError: for a step of an ended row under DISABLED.
            DeadEndError: if a state reached has no allowed action, which would be a defect of the kernel.
        """
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(
                f"expected actions as whole numbers of shape ({self.num_envs},), got {actions.dtype} of {actions.shape}"
            )
        resting = self._ended.copy()
        if resting.any():
            if self.autoreset_mode == AutoresetMode.DISABLED:
                raise RuntimeError(f"rows {np.flatnonzero(resting)[:8].tolist()} have ended; reset them first")
            self._restart(resting)  # NEXT_STEP; under SAME_STEP no row rests
        rows = np.arange(self.num_envs)
        inside = (actions >= 0) & (actions < self.kernel.n_actions)
        legal = inside & self._allowed[rows, np.where(inside, actions, 0)]
        illegal = ~legal & ~resting
        if self.strict and illegal.any():
            row = int(np.flatnonzero(illegal)[0])
            state = self.kernel.describe(self._states[row : row + 1])[0]
            raise IllegalActionError(f"row {row}: action {int(actions[row])} is not allowed in state {state!r}")
        moving = legal & ~resting
        self.kernel.step(self._states, np.where(moving, actions, -1), out=self._states)
        # All rows, not only those that moved: picking rows and putting them back costs more than a mask.
        self.kernel.forward_allowed(self._states, out=self._allowed)
        self._allowed[illegal] = False
        finished = moving & self.kernel.is_terminal(self._states)
        stuck = rows_without_action(self._allowed, moving & ~finished)
        if stuck.any():
            raise DeadEndError(f"no action is allowed in states {self.kernel.describe(self._states[stuck])[:3]}")
        log_rewards = np.where(illegal, self.illegal_log_reward, 0.0)
        invalid_reward = np.zeros(self.num_envs, dtype=np.bool_)
        if finished.any():
            scores = scores_of(self.scorer, self._states[finished])
            log_rewards[finished] = scores
            invalid_reward = finished & ~np.isfinite(log_rewards)
            warn_of_missing(scores, self.illegal_log_reward)
            log_rewards[invalid_reward] = self.illegal_log_reward
        terminated = finished | illegal
        self._ended = terminated.copy()
        extra: dict[str, Any] = {}
        if illegal.any():
            extra |= {"invalid_action": illegal, "_invalid_action": illegal.copy()}
        if invalid_reward.any():
            extra |= {"invalid_reward": invalid_reward, "_invalid_reward": invalid_reward.copy()}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and terminated.any():
            final = np.empty(self.num_envs, dtype=object)
            for row in np.flatnonzero(terminated):  # numpy would spread a list of arrays over the object array
                final[row] = self._states[row].copy()
            extra |= {"final_obs": final, "_final_obs": terminated.copy()}
            self._restart(terminated)
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        return self._observations(), log_rewards, terminated, truncated, self._info() | extra

    def _observations(self) -> States:
        return self._states.copy() if self.copy else self._states

    def _info(self) -> dict[str, Any]:
        present = np.ones(self.num_envs, dtype=np.bool_)
        mask = self._allowed.view(np.int8)
        return {"action_mask": mask.copy() if self.copy else mask, "_action_mask": present}

    def action_masks(self) -> Bools:
        """Allowed actions, bool [num_envs, n_actions]."""
        return self._allowed.copy()
