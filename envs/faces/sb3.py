"""Stable-Baselines3's `VecEnv` over the fast vector environment; the library is imported at the first call."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode

from oreflow.envs.arrays import Bools, Float32s, Ints, States
from oreflow.envs.faces.vector import KernelVectorEnv

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv


def as_vec_env(env: KernelVectorEnv) -> "VecEnv":  # noqa: C901 - counts the methods of the class inside
    """Make a Stable-Baselines3 `VecEnv` of a vector environment.

    Its trainers then step all rows in one compiled call, where `DummyVecEnv` over single environments makes one Python
    call a row for the same episodes. MaskablePPO of sb3-contrib finds the masks by `env_method("action_masks")`. As
    Stable-Baselines3 expects it, a row that ends is reset in the same step; its last observation is in
    `infos[row]["terminal_observation"]`.

    Args:
        env: a vector environment whose `autoreset_mode` is SAME_STEP.

    Returns:
        The adapter. Observations are the states, int16 [num_envs, *state_shape]; actions int64 [num_envs]; rewards
        float32 [num_envs], 0 on the way and log R at the end.

    Raises:
        ImportError: without Stable-Baselines3 (`pip install sb3-contrib`).
        ValueError: when the environment resets in another way, because trainers would then learn from steps that
            ignore their action.
    """
    try:
        from stable_baselines3.common.vec_env import VecEnv
    except ImportError as error:
        raise ImportError(
            "as_vec_env needs Stable-Baselines3, which is not installed: pip install sb3-contrib"
        ) from error
    if env.autoreset_mode != AutoresetMode.SAME_STEP:
        raise ValueError(
            f"expected a vector environment with autoreset_mode SAME_STEP, got {env.autoreset_mode.name}: "
            'build it with autoreset_mode="SameStep"'
        )

    class KernelVecEnv(VecEnv):
        """The adapter; it keeps the actions between `step_async` and `step_wait` and nothing else."""

        def __init__(self) -> None:
            self.env = env
            self._pending: Ints = np.zeros(env.num_envs, dtype=np.int64)
            super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

        def reset(self) -> States:
            """Reset all rows; returns the first observations [num_envs, *state_shape]."""
            seed = self._seeds[0]
            observations, _ = self.env.reset(seed=seed)
            self._reset_seeds()
            self._reset_options()
            self.reset_infos = [{} for _ in range(self.num_envs)]
            return self._own(observations)

        def _own(self, observations: States) -> States:
            """Copy what the environment would overwrite: trainers keep an observation over the next step."""
            return observations if self.env.copy else observations.copy()

        def step_async(self, actions: Ints) -> None:
            """Keep the actions, int64 [num_envs], for `step_wait`."""
            self._pending = np.asarray(actions)

        def step_wait(self) -> tuple[States, Float32s, Bools, list[dict[str, Any]]]:
            """Take the step: observations, rewards float32 [num_envs], ends bool [num_envs], one dict a row."""
            observations, rewards, ended, _, info = self.env.step(self._pending)
            infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
            for row in np.flatnonzero(ended).tolist():
                infos[row] = {"terminal_observation": info["final_obs"][row], "TimeLimit.truncated": False}
                for flag in ("invalid_action", "invalid_reward"):
                    if flag in info and info[flag][row]:
                        infos[row][flag] = True
            return self._own(observations), rewards.astype(np.float32), ended, infos

        def close(self) -> None:
            """Close the vector environment."""
            self.env.close()

        def _rows(self, indices: int | Sequence[int] | Ints | None) -> list[int]:
            return [int(row) for row in self._get_indices(indices)]

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            """Read an attribute of the vector environment, once for each row asked for."""
            value = getattr(self.env, attr_name)
            return [value for _ in self._rows(indices)]

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            """Set an attribute for all rows; rows share one environment, so a part of them cannot differ."""
            if len(set(self._rows(indices))) != self.num_envs:
                raise ValueError(f"expected {attr_name!r} to be set for all rows at once: they are one environment")
            setattr(self.env, attr_name, value)

        def env_method(
            self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
        ) -> list[Any]:
            """Call a method for each row. Only `action_masks` has an answer a row: bool [n_actions] each."""
            if method_name != "action_masks":
                raise AttributeError(f"expected 'action_masks', got {method_name!r}: the rows are one environment")
            masks: Bools = self.env.action_masks()
            return [masks[row] for row in self._rows(indices)]

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            """Say that no row is wrapped."""
            return [False for _ in self._rows(indices)]

    return KernelVecEnv()
