"""`sampler.engine: torchgfn` reaches R/Z, repeats, resumes, and has our losses."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gfn", reason="torchgfn needs numpy below 2")

from oreflow.agent.config.run import Config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.learners.gflownet import GFlowNetLearner
from oreflow.agent.learners.torchgfn import TorchGFNLearner
from oreflow.agent.rollout.rollout import evaluate
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training import loop as module
from oreflow.agent.training.build import make_kernel, make_learner, make_policy, make_reward, make_scorer
from oreflow.agent.training.loop import train
from oreflow.envs.faces.torchgfn_env import ragged
from oreflow.rewards import RewardValues
from tests.agent.training.test_training import Failing, run, tiny


def engine(**sampler: object) -> Config:
    return tiny(engine="torchgfn", **sampler)


def total_variation(config: Config, folder: RunFolder) -> float:
    trained = load_run(folder)
    exact = compare_exactly(trained.kernel, trained.policy, make_scorer(trained.kernel, make_reward(config)))
    return exact.total_variation


def test_it_reaches_the_target(tmp_path: Path) -> None:
    """The same bound as our own engine under the same config, which draws other numbers."""
    variations = []
    for name in ("torchgfn", "oreflow"):
        config = tiny(engine=name, steps=200, backward="learned", learning_rate=3e-3)
        folder, result = run(config, tmp_path / name)
        variations.append(total_variation(config, folder))
        assert result.metrics["n_objects"] == 200 * 64
    start = total_variation(tiny(steps=1), run(tiny(steps=1), tmp_path / "start")[0])
    assert max(variations) < 0.12 < start / 3, (variations, start)


def test_same_seed_same_numbers_and_resuming_repeats_them(tmp_path: Path) -> None:
    weights = []
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        folder, result = run(engine(steps=20).model_copy(update={"seed": seed}), tmp_path / name)
        weights.append(load_run(folder).policy.state_dict())
        torch.rand(7)  # whatever others draw is of no consequence
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert not any(torch.equal(weights[0][k], weights[2][k]) for k in weights[0])
    folder = RunFolder(tmp_path / "a")
    middle = folder.checkpoints / "step_00000010"
    whole = folder.metrics_path.read_text()
    result = train(engine(steps=20), folder, resume_from=middle, quiet=True)
    resumed = load_run(folder).policy.state_dict()
    assert result.steps == 20
    assert all(torch.equal(weights[0][k], resumed[k]) for k in resumed)
    assert folder.metrics_path.read_text() == whole


def test_the_callers_random_state_is_left_alone() -> None:
    config = engine()
    kernel = make_kernel(config)
    learner = make_learner(config, kernel)
    before = torch.random.get_rng_state()
    learner.step(0, scores(config, kernel))
    assert torch.equal(torch.random.get_rng_state(), before)


def scores(config: Config, kernel: Any) -> Any:
    reward = make_reward(config)
    return lambda states: reward(kernel.objects(states))


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize("backward", ["uniform", "learned"])
@pytest.mark.parametrize(
    "objective", ["trajectory_balance", "sub_trajectory_balance", "detailed_balance", "log_partition_variance"]
)
def test_one_step_of_each_objective_has_our_loss(objective: str, backward: str, epsilon: float) -> None:
    """On the same trajectories, with a third of the rewards missing, drawn with and without exploration."""
    keys = {"objective": objective, "backward": backward, "epsilon_start": epsilon}
    config = engine(**keys)
    kernel = make_kernel(config)
    policy = make_policy(config, kernel)
    learner = TorchGFNLearner(config, kernel, policy, np.random.default_rng(0))
    drawn = []
    sample = learner.model.sample_trajectories

    def record(*arguments: Any, **keywords: Any) -> Any:
        drawn.append(sample(*arguments, **keywords))
        return drawn[-1]

    learner.model.sample_trajectories = record
    score = scores(config, kernel)
    calls = []

    def partly(states: np.ndarray) -> RewardValues:
        values = score(states)
        valid = np.arange(len(states)) % 3 != 0
        calls.append(len(states))
        log_reward = np.where(valid, values.log_reward, np.nan)
        return RewardValues(log_reward, valid, values.terms, values.log_scores, values.bounded)

    learner.step(0, partly)  # starts log Z
    assert learner.log_z_started
    frozen = copy.deepcopy(policy)
    update = learner.step(0, partly)
    assert calls == [64, 64]

    terminal, offsets, states, actions = ragged(drawn[-1])
    assert np.array_equal(terminal, update.states)
    t = evaluate(kernel, frozen, terminal, offsets, states, actions).select(update.values.valid)
    referee = GFlowNetLearner(tiny(**keys), kernel, frozen, np.random.default_rng(0))
    referee.partition.started[:] = True
    ours = referee._loss(t, torch.from_numpy(update.values.log_reward[update.values.valid]))
    assert update.loss == pytest.approx(ours.item(), rel=1e-5)
    assert not update.skipped
    changed = [not torch.equal(a, b) for a, b in zip(policy.parameters(), frozen.parameters())]
    assert sum(changed) >= len(changed) - 1  # log Z stays where no gradient reaches it


def test_invalid_rewards_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = module.make_reward
    monkeypatch.setattr(module, "make_reward", lambda config: Failing(make(config), 0.3))
    config = engine(steps=10)
    config = config.model_copy(update={"reward": config.reward.model_copy(update={"invalid_budget": 0.5})})
    _, result = run(config, tmp_path / "run")
    assert result.metrics["n_objects"] == 640
    assert 0.2 * 640 < result.metrics["n_invalid"] < 0.4 * 640
    assert np.isfinite(result.metrics["loss"])


def test_a_batch_without_any_reward_is_skipped() -> None:
    config = engine()
    kernel = make_kernel(config)
    learner = make_learner(config, kernel)
    score = scores(config, kernel)

    def nothing(states: np.ndarray) -> RewardValues:
        values = score(states)
        missing = np.full(len(states), np.nan)
        return RewardValues(missing, np.isfinite(missing), values.terms, values.log_scores, values.bounded)

    update = learner.step(0, nothing)
    assert update.skipped
    assert len(update.states) == 64


@pytest.mark.parametrize("key", ["temperature_start", "temperature_end"])
def test_what_the_engine_cannot_do_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="trains without replay, local_search, temperature, epsilon_first"):
        engine(**{key: 0.5})
