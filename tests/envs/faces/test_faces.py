"""The faces: Gymnasium single and vector environments, wrapper, MaskablePPO; each against a plain model."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from oreflow import envs  # noqa: F401 - registers oreflow/Composition-v0
from oreflow.envs.errors import IllegalActionError
from oreflow.envs.faces.single import KernelEnv, MaskInObservation
from oreflow.envs.faces.vector import KernelVectorEnv
from tests.support.oracle import all_objects, all_partials, children
from tests.support.worlds import SPACES, kernel

KWARGS = {"elements": ("Li", "Mn", "O"), "n_elements": (1, 3), "n_atoms": (1, 8), "count": (1, 6), "neutrality": "off"}


def atoms(states: np.ndarray) -> np.ndarray:
    """A stand-in for log R that tells objects apart."""
    return states[:, :-1].sum(axis=1) + 0.5


@pytest.mark.parametrize("name", SPACES)
def test_check_env(name: str) -> None:
    check_env(KernelEnv(kernel(name), atoms, render_mode="ansi"), skip_render_check=True)


def test_make_and_make_vec() -> None:
    env = gymnasium.make("oreflow/Composition-v0", scorer=atoms, **KWARGS)
    _, info = env.reset(seed=1)
    assert info["action_mask"].dtype == np.int8
    assert np.array_equal(info["action_mask"].astype(bool), env.unwrapped.action_masks())
    vector = gymnasium.make_vec("oreflow/Composition-v0", num_envs=3, scorer=atoms, **KWARGS)
    observations, _ = vector.reset(seed=1)
    assert observations.shape == (3, *env.observation_space.shape)
    assert vector.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP


def test_wrapper_puts_the_mask_into_the_observation() -> None:
    env = MaskInObservation(gymnasium.make("oreflow/Composition-v0", **KWARGS))
    observation, info = env.reset()
    assert env.observation_space.contains(observation)
    assert np.array_equal(observation["action_mask"], info["action_mask"])
    observation, _, _, truncated, info = env.step(int(np.argmax(info["action_mask"])))
    assert truncated is False
    assert np.array_equal(observation["action_mask"], info["action_mask"])


def test_illegal_action_has_one_outcome() -> None:
    env = KernelEnv(kernel("off"), atoms, illegal_log_reward=-7.0)
    before, _ = env.reset()
    stop = env.kernel.n_actions - 1
    assert not env.action_masks()[stop]
    after, reward, terminated, truncated, info = env.step(stop)
    assert np.array_equal(before, after)
    assert (reward, terminated, truncated, info["invalid_action"]) == (-7.0, True, False, True)
    assert not info["action_mask"].any()
    strict = KernelEnv(kernel("off"), atoms, strict=True)
    strict.reset()
    with pytest.raises(IllegalActionError, match=f"action {stop} is not allowed"):
        strict.step(stop)
    with pytest.raises(IllegalActionError):
        strict.step(stop + 5)


@pytest.mark.filterwarnings("ignore:the scorer returned nan")
def test_invalid_reward_is_flagged_not_passed_on() -> None:
    env = KernelEnv(kernel("off"), lambda states: np.full(len(states), np.nan), illegal_log_reward=-9.0)
    env.reset()
    env.step(0)
    _, reward, terminated, _, info = env.step(env.kernel.n_actions - 1)
    assert (reward, terminated, info["invalid_reward"]) == (-9.0, True, True)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("name", ["hard", "off"])
def test_vector_env_equals_single_envs(mode: AutoresetMode, name: str, rng: np.random.Generator) -> None:
    """Random legal and illegal actions, row by row the same as independent single environments."""
    n = 5
    vector = KernelVectorEnv(kernel(name), atoms, num_envs=n, autoreset_mode=mode)
    singles = [KernelEnv(kernel(name), atoms) for _ in range(n)]
    observations, info = vector.reset()
    for row, env in enumerate(singles):
        assert np.array_equal(env.reset()[0], observations[row])
    ended = np.zeros(n, dtype=bool)
    n_ends = 0
    for _ in range(60):
        if mode == AutoresetMode.DISABLED and ended.any():
            with pytest.raises(RuntimeError, match="reset them first"):
                vector.step(np.zeros(n, dtype=np.int64))
            observations, info = vector.reset(options={"reset_mask": ended})
            for row in np.flatnonzero(ended):
                assert np.array_equal(singles[row].reset()[0], observations[row])
            ended[:] = False
        mask = info["action_mask"].astype(float)
        noise = rng.random(mask.shape) * (mask + 0.02)  # an illegal action now and then
        actions = noise.argmax(axis=1)
        observations, rewards, terminated, truncated, info = vector.step(actions)
        assert not truncated.any()
        for row, env in enumerate(singles):
            if mode == AutoresetMode.NEXT_STEP and ended[row]:
                observation, single_info = env.reset()
                assert (rewards[row], terminated[row]) == (0.0, False)
            else:
                observation, reward, done, _, single_info = env.step(actions[row])
                assert (rewards[row], terminated[row]) == (reward, done)
                assert bool(info.get("invalid_action", np.zeros(n))[row]) == single_info.get("invalid_action", False)
                if mode == AutoresetMode.SAME_STEP and done:
                    assert np.array_equal(info["final_obs"][row], observation)
                    observation, single_info = env.reset()
            assert np.array_equal(observations[row], observation)
            assert np.array_equal(info["action_mask"][row], single_info["action_mask"])
        ended = terminated
        n_ends += int(terminated.sum())
    assert n_ends > 20


class EnvAgainstPlainModel(RuleBasedStateMachine):
    """Legal and illegal steps, resets and vector steps, beside a model made of tuples and dictionaries."""

    SPACE = SPACES["groups"]
    OBJECTS = all_objects(SPACE)
    PARTIALS = all_partials(SPACE, OBJECTS)

    @initialize()
    def start(self) -> None:
        self.env = KernelEnv(kernel("groups"), atoms)
        self.vector = KernelVectorEnv(kernel("groups"), atoms, num_envs=2, autoreset_mode=AutoresetMode.DISABLED)
        self.reset()

    @rule()
    def reset(self) -> None:
        self.env.reset()
        self.vector.reset()
        self.formula: tuple[tuple[str, int], ...] = ()
        self.over = False

    @rule(choice=st.integers(0, 10_000))
    def legal_step(self, choice: int) -> None:
        if self.over:
            return
        moves = sorted(children(self.SPACE, self.formula, self.PARTIALS), key=str)
        can_stop = self.formula in self.OBJECTS
        pick = choice % (len(moves) + can_stop)
        if pick == len(moves):
            self._both(self.env.kernel.n_actions - 1, expected=(float(atoms(self.env._state)[0]), True))
            self.over = True
            return
        symbol, count = moves[pick]
        rules = self.env.kernel.rules
        self._both(self.SPACE.elements.index(symbol) * rules.width + count - rules.count_min, expected=(0.0, False))
        order = self.SPACE.elements.index
        self.formula = tuple(sorted([*self.formula, (symbol, count)], key=lambda pair: order(pair[0])))

    @rule(action=st.integers(0, 30))
    def any_step(self, action: int) -> None:
        action %= self.env.kernel.n_actions
        if self.over or self.env.action_masks()[action]:
            return
        self._both(action, expected=(self.env.illegal_log_reward, True))
        self.over = True

    def _both(self, action: int, expected: tuple[float, bool]) -> None:
        observation, reward, terminated, _, _ = self.env.step(action)
        assert (reward, terminated) == expected
        observations, rewards, ends, _, _ = self.vector.step(np.array([action, action]))
        assert (observations == observation).all()
        assert (rewards == reward).all()
        assert (ends == terminated).all()

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "formula"):
            return
        counts = dict(self.formula)
        assert self.env._state[0, :-1].tolist() == [counts.get(e, 0) for e in self.SPACE.elements]
        rules = self.env.kernel.rules
        expected = np.zeros(self.env.kernel.n_actions, dtype=bool)
        if not self.over:
            for symbol, count in children(self.SPACE, self.formula, self.PARTIALS):
                expected[self.SPACE.elements.index(symbol) * rules.width + count - rules.count_min] = True
            expected[-1] = self.formula in self.OBJECTS
        assert np.array_equal(self.env.action_masks(), expected)
        assert np.array_equal(self.vector.action_masks()[1], expected)


TestEnvAgainstPlainModel = EnvAgainstPlainModel.TestCase


def test_maskable_ppo_trains_on_the_single_env() -> None:
    from sb3_contrib import MaskablePPO

    env = KernelEnv(kernel("hard"), atoms, strict=True)  # strict: an unmasked action would raise
    model = MaskablePPO("MlpPolicy", env, n_steps=64, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(128)
    observation, _ = env.reset()
    for _ in range(env.kernel.max_steps):
        action, _ = model.predict(observation, action_masks=env.action_masks())
        observation, _, terminated, _, _ = env.step(int(action))
        if terminated:
            break
    assert terminated
