"""`gymnasium.Env` over any transition kernel. It owns seed, spaces and episode; the kernel owns the rules."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from oreflow.envs.arrays import AnyInts, Bools, Floats, States
from oreflow.envs.contract.protocol import Scorer, TransitionKernel
from oreflow.envs.contract.scores import scores_of, warn_of_missing
from oreflow.envs.errors import DeadEndError, IllegalActionError


def uniform_scorer(states: States) -> Floats:
    """log R = 0 for every object: the target is the uniform distribution."""
    return np.zeros(len(states))


class KernelEnv(gymnasium.Env[States, np.int64]):
    """One object at a time.

    Observation: the kernel's state. Action: a forward action of the kernel. The reward is 0 on the way and log R(x) on
    the last step. `info["action_mask"]` (int8, 1 = allowed) comes with every observation; `action_masks()` gives the
    same as booleans, as sb3-contrib asks for it. Episodes are finite by construction, so `truncated` is always False.

    An action that the mask does not allow ends the episode with `illegal_log_reward` and `info["invalid_action"]=True`
    and leaves the state as it was; with `strict=True` it raises `IllegalActionError` instead. An object whose reward is
    not finite (the scorer found no valid value) also gets `illegal_log_reward`, with `info["invalid_reward"]=True`.
    """

    metadata = {  # noqa: RUF012 - Gymnasium declares it on the class this way
        "render_modes": ["ansi"],
        "render_fps": 1,
    }

    def __init__(
        self,
        kernel: TransitionKernel,
        scorer: Scorer | None = None,
        *,
        strict: bool = False,
        illegal_log_reward: float = -100.0,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise ValueError(f"expected render_mode None or 'ansi', got {render_mode!r}")
        self.kernel = kernel
        self.scorer = scorer or uniform_scorer
        self.strict = strict
        self.illegal_log_reward = illegal_log_reward
        self.render_mode = render_mode
        high = kernel.state_high
        self.observation_space = spaces.Box(np.zeros_like(high), high, dtype=high.dtype.type)
        self.action_space = spaces.Discrete(kernel.n_actions)
        self._state = kernel.initial(1)
        self._allowed = kernel.forward_allowed(self._state)[0]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[States, dict[str, Any]]:
        """Starts from the initial state; options are ignored."""
        super().reset(seed=seed)
        self._state = self.kernel.initial(1)
        self._allowed = self.kernel.forward_allowed(self._state)[0]
        return self._state[0].copy(), self._info()

    def step(self, action: np.int64 | int) -> tuple[States, float, bool, bool, dict[str, Any]]:
        """One forward action.

        Raises:
            IllegalActionError: for what is no single whole number, and for a forbidden action when `strict`.
            ScorerContractError: when the scorer returns something else than one number a state.
            DeadEndError: if the state reached has no allowed action, which would be a defect of the kernel.
        """
        if np.ndim(action) or not np.issubdtype(np.asarray(action).dtype, np.integer):
            raise IllegalActionError(
                f"expected one action, a whole number from 0 to {self.kernel.n_actions - 1}, got {action!r}; for many "
                "objects at a time take the vector environment, gymnasium.make_vec"
            )
        if not (0 <= int(action) < self.kernel.n_actions and self._allowed[int(action)]):
            if self.strict:
                state = self.kernel.describe(self._state)[0]
                raise IllegalActionError(
                    f"action {int(action)} is not allowed in state {state!r}; choose one where action_masks() is True"
                )
            self._allowed = np.zeros_like(self._allowed)
            return self._state[0].copy(), self.illegal_log_reward, True, False, self._info() | {"invalid_action": True}
        self._state = self.kernel.step(self._state, np.array([int(action)]))
        self._allowed = self.kernel.forward_allowed(self._state)[0]
        info = self._info()
        if not self.kernel.is_terminal(self._state)[0]:
            if not self._allowed.any():
                raise DeadEndError(f"no action is allowed in state {self.kernel.describe(self._state)[0]!r}")
            return self._state[0].copy(), 0.0, False, False, info
        scores = scores_of(self.scorer, self._state)
        log_reward = float(scores[0])
        if not np.isfinite(log_reward):
            warn_of_missing(scores, self.illegal_log_reward)
            log_reward, info["invalid_reward"] = self.illegal_log_reward, True
        return self._state[0].copy(), log_reward, True, False, info

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self._allowed.astype(np.int8)}

    def action_masks(self) -> Bools:
        """Allowed actions, bool [n_actions]."""
        return self._allowed.copy()

    def render(self) -> str | None:
        """The state as text when `render_mode="ansi"`."""
        return self.kernel.describe(self._state)[0] if self.render_mode == "ansi" else None


class MaskInObservation(gymnasium.ObservationWrapper[dict[str, AnyInts], np.int64, States]):
    """Puts the mask into the observation, `{"observation", "action_mask"}`, as TorchRL and RLlib expect it."""

    def __init__(self, env: gymnasium.Env[States, np.int64]) -> None:
        super().__init__(env)
        n_actions = int(env.action_space.n)  # type: ignore[attr-defined]
        self.observation_space = spaces.Dict(  # type: ignore[assignment]
            {"observation": env.observation_space, "action_mask": spaces.MultiBinary(n_actions)}
        )

    def observation(self, observation: States) -> dict[str, AnyInts]:
        """Put the mask beside a state.

        Args:
            observation: integer [*state_shape], what the wrapped environment shows.

        Returns:
            "observation": the same. "action_mask": int8 [n_actions], 1 where an action is allowed.
        """
        return {"observation": observation, "action_mask": self.unwrapped.action_masks().astype(np.int8)}  # type: ignore[attr-defined]
