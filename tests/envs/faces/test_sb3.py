"""Stable-Baselines3's view of the vector environment, beside single environments and its own adapter."""

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from oreflow.envs.faces.sb3 import as_vec_env
from oreflow.envs.faces.single import KernelEnv
from oreflow.envs.faces.vector import KernelVectorEnv
from tests.support.worlds import kernel

N = 5


def atoms(states: np.ndarray) -> np.ndarray:
    """A stand-in for log R that tells objects apart; NaN, no valid reward, for objects of four atoms."""
    counts = states[:, :-1].sum(axis=1)
    return np.where(counts == 4, np.nan, counts + 0.5)


def vector(name: str, copy: bool = True, strict: bool = False) -> KernelVectorEnv:
    return KernelVectorEnv(kernel(name), atoms, num_envs=N, autoreset_mode="SameStep", copy=copy, strict=strict)


@pytest.mark.filterwarnings("ignore:the scorer returned nan")
@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("name", ["hard", "off"])
def test_step_for_step_what_sb3_makes_of_single_environments(name: str, copy: bool, rng: np.random.Generator) -> None:
    """Observations, masks, rewards, ends and the observation before a reset, under legal and illegal actions."""
    ours = as_vec_env(vector(name, copy))
    theirs = DummyVecEnv([lambda: KernelEnv(kernel(name), atoms)] * N)
    before = ours.reset()
    assert np.array_equal(before, theirs.reset())
    ends = invalid = illegal = 0
    for _ in range(80):
        masks = np.stack(ours.env_method("action_masks"))
        assert np.array_equal(masks, np.stack(theirs.env_method("action_masks")))
        assert np.array_equal(masks[[1, 3]], np.stack(ours.env_method("action_masks", indices=[1, 3])))
        actions = (rng.random(masks.shape) * (masks + 0.02)).argmax(axis=1)
        kept = before.copy()
        after, rewards, ended, infos = ours.step(actions)
        assert np.array_equal(before, kept)  # a trainer stores the observation it acted on after the step
        expected = theirs.step(actions)
        for mine, other in zip((after, rewards, ended), expected[:3]):
            assert np.array_equal(mine, other)
            assert mine.dtype == other.dtype
        for info, other in zip(infos, expected[3]):
            assert ("terminal_observation" in info) == ("terminal_observation" in other)
            if "terminal_observation" in info:
                assert np.array_equal(info["terminal_observation"], other["terminal_observation"])
                assert info["TimeLimit.truncated"] is other["TimeLimit.truncated"] is False
            for flag in ("invalid_action", "invalid_reward"):
                assert info.get(flag, False) == other.get(flag, False)
        ends += int(ended.sum())
        invalid += sum("invalid_reward" in info for info in infos)
        illegal += sum("invalid_action" in info for info in infos)
        before = after
    assert ends > 40
    assert invalid > 0
    assert illegal > 0


def test_maskable_ppo_trains_on_it() -> None:
    from sb3_contrib import MaskablePPO

    env = as_vec_env(vector("hard", strict=True))  # strict: an unmasked action would raise
    env.seed(3)
    model = MaskablePPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(2 * 32 * N)
    assert model.num_timesteps == 2 * 32 * N


def test_what_it_cannot_do_it_says() -> None:
    with pytest.raises(ValueError, match='autoreset_mode="SameStep"'):
        as_vec_env(KernelVectorEnv(kernel("off"), atoms, num_envs=2))
    env = as_vec_env(vector("off"))
    with pytest.raises(AttributeError, match="action_masks"):
        env.env_method("render")
    with pytest.raises(ValueError, match="for all rows at once"):
        env.set_attr("scorer", atoms, indices=[0])
    env.set_attr("scorer", len)
    assert env.get_attr("scorer", indices=[0, 2]) == [len, len]
    assert env.env_is_wrapped(KernelEnv) == [False] * N
