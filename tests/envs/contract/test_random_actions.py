"""Random legal actions against a brute-force choice, and the vector environment's own arrays."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from oreflow import envs  # noqa: F401 - registers oreflow/Composition-v0
from oreflow.envs.contract import random_actions
from oreflow.envs.contract.random_actions import random_allowed_actions, rows_without_action
from oreflow.envs.faces.vector import KernelVectorEnv
from tests.support.worlds import kernel


@pytest.mark.parametrize("n_rows", [7, 300], ids=["serial", "parallel"])
@pytest.mark.parametrize("n_actions", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_draws_equal_brute_force(n_rows: int, n_actions: int, share: float, rng: np.random.Generator) -> None:
    allowed = rng.random((n_rows, n_actions)) < share
    uniform = rng.random(n_rows)
    uniform[:2] = 0.0, np.nextafter(1.0, 0.0)
    expected = [
        choices[int(u * len(choices))] if len(choices := np.flatnonzero(row)) else -1
        for row, u in zip(allowed, uniform)
    ]
    assert random_allowed_actions(allowed, uniform).tolist() == expected
    assert random_allowed_actions(allowed.view(np.int8), uniform).tolist() == expected


def test_a_grid_of_uniforms_gives_every_allowed_action_equally_often(rng: np.random.Generator) -> None:
    for n_allowed in (1, 3, 16):
        row = np.zeros(40, dtype=np.bool_)
        row[rng.permutation(40)[:n_allowed]] = True
        grid = (np.arange(50 * n_allowed) + 0.5) / (50 * n_allowed)
        drawn = random_allowed_actions(np.repeat(row[None], len(grid), axis=0), grid)
        assert np.array_equal(np.bincount(drawn, minlength=40), 50 * row)


def test_python_source_agrees(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = rng.random((20, 70)) < 0.3
    allowed[3] = False
    uniform, rows = rng.random(20), rng.random(20) < 0.8
    drawn, stuck = random_allowed_actions(allowed, uniform), rows_without_action(allowed, rows)
    assert np.array_equal(stuck, rows & ~allowed.any(axis=1))
    assert np.array_equal(rows_without_action.py_func(allowed, rows), stuck)
    for name in ("_count", "_draw"):
        monkeypatch.setattr(random_actions, name, getattr(random_actions, name).py_func)
    assert np.array_equal(random_allowed_actions(allowed, uniform), drawn)


def test_masks_of_another_kind_are_refused() -> None:
    for allowed, uniform in [(np.ones((2, 3)), np.zeros(2)), (np.ones((2, 3), dtype=np.bool_), np.zeros(3))]:
        with pytest.raises(ValueError, match="expected a bool or int8 mask"):
            random_allowed_actions(allowed, uniform)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_own_arrays_hold_what_copies_hold(mode: AutoresetMode, rng: np.random.Generator) -> None:
    """`copy=False` gives the same values in arrays that the next step overwrites; copies stay as they were."""
    pair = [KernelVectorEnv(kernel("groups"), num_envs=70, autoreset_mode=mode, copy=copy) for copy in (True, False)]
    (copied, info), (own, own_info) = (env.reset(seed=0) for env in pair)
    first, first_mask, n_ends = copied.copy(), info["action_mask"].copy(), 0
    kept, kept_mask = copied, info["action_mask"]
    for _ in range(30):
        assert np.array_equal(copied, own)
        assert np.array_equal(info["action_mask"], own_info["action_mask"])
        assert own_info["action_mask"].dtype == np.int8
        actions = random_allowed_actions(info["action_mask"], rng.random(70))
        actions[rng.random(70) < 0.05] = -1  # an illegal action now and then
        (copied, rewards, ends, _, info), (own, own_rewards, own_ends, _, own_info) = (e.step(actions) for e in pair)
        assert np.array_equal(rewards, own_rewards)
        assert np.array_equal(ends, own_ends)
        n_ends += int(ends.sum())
        if mode == AutoresetMode.DISABLED and ends.any():
            (copied, info), (own, own_info) = (env.reset(options={"reset_mask": ends}) for env in pair)
    assert n_ends > 100
    assert np.array_equal(kept, first)
    assert np.array_equal(kept_mask, first_mask)


def test_make_vec_passes_copy_on() -> None:
    env = gymnasium.make_vec("oreflow/Composition-v0", num_envs=2, elements=("Li", "O"), n_atoms=(1, 6), copy=False)
    mask = env.reset()[1]["action_mask"]
    info = env.step(random_allowed_actions(mask, np.zeros(2)))[-1]
    assert np.shares_memory(mask, info["action_mask"])
