"""Training: it reaches R/Z, repeats exactly, keeps its promises when rewards fail, losses poison or signals arrive."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oreflow.agent.config.run import Config, load_config, validate_config
from oreflow.agent.errors import TrainingError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.learners import gflownet as objectives
from oreflow.agent.learners import policy_gradient as policy_gradients
from oreflow.agent.learners.learner import make_optimizer
from oreflow.agent.learners.policy_gradient import PolicyGradientLearner
from oreflow.agent.learners.schedules import cosine, linear
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.checkpoint import list_checkpoints
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training import loop as module
from oreflow.agent.training.build import make_kernel, make_policy, make_scorer
from oreflow.agent.training.loop import train
from oreflow.rewards import Reward, RewardValues
from oreflow.rewards.errors import RewardBudgetError
from tests.support.repository import CONFIGS


def tiny(**sampler: object) -> Config:
    """A few dozen steps on Li, Mn, O; one thread, so that numbers repeat exactly."""
    return validate_config(
        {
            "schema_version": 1,
            "world": {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 8], "neutrality": "soft"},
            "reward": {"terms": [{"name": "charge_balance", "shape": {"kind": "minimise", "beta": 0.5}}]},
            "sampler": {"steps": 30, "batch": 64, "hidden": [32, 32]} | sampler,
            "run": {"threads": 1, "log_every_steps": 10, "checkpoint_every_steps": 10},
        },
        "test",
    )


def run(config: Config, path: Path) -> tuple[RunFolder, module.TrainingResult]:
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[])
    return folder, train(config, folder, quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["free", "canonical"])
@pytest.mark.parametrize("backward", ["uniform", "learned"])
def test_tiny_exact_world_reaches_its_target(tmp_path: Path, backward: str, order: str) -> None:
    """The shipped config, with either backward policy and either build order."""
    steps = 1500 if (backward, order) == ("uniform", "free") else 800
    overrides = [f"sampler.steps={steps}", f"sampler.backward={backward}", f"world.order={order}", "run.threads=1"]
    folder, result = run(load_config(CONFIGS / "tiny_exact.yaml", overrides), tmp_path / "run")
    trained = load_run(folder)
    reward = module.make_reward(trained.config)
    exact = compare_exactly(trained.kernel, trained.policy, make_scorer(trained.kernel, reward))
    assert len(exact.objects) == 610
    assert exact.learned.sum() == pytest.approx(1.0, abs=1e-9)
    assert exact.total_variation < 0.02
    assert abs(exact.log_z_error) < 0.02
    assert result.metrics["log_z"] == pytest.approx(exact.log_z + exact.log_z_error, abs=1e-9)


def test_same_seed_same_numbers_other_seed_other_numbers(tmp_path: Path) -> None:
    weights = []
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        folder, _ = run(tiny().model_copy(update={"seed": seed}), tmp_path / name)
        weights.append(load_run(folder).policy.state_dict())
        lines = [json.loads(line) for line in folder.metrics_path.read_text().splitlines()]
        assert [line["step"] for line in lines] == [10, 20, 30]
    same = [torch.equal(weights[0][k], weights[1][k]) for k in weights[0]]
    other = [torch.equal(weights[0][k], weights[2][k]) for k in weights[0]]
    assert all(same)
    assert not any(other)


def test_checkpoints_appear_and_old_ones_go(tmp_path: Path) -> None:
    folder, result = run(tiny(), tmp_path / "run")
    assert [path.name for path in list_checkpoints(folder.checkpoints)] == ["step_00000020", "step_00000030"]
    assert result.checkpoint.name == "step_00000030"
    assert result.stopped_by is None


def test_learning_rates_and_exploration_follow_the_schedule() -> None:
    assert cosine(0.01, 0.0) == 1.0
    assert cosine(0.01, 0.5) == pytest.approx(0.505)
    assert cosine(0.01, 1.0) == pytest.approx(0.01)
    assert [linear(0.2, 0.1, done) for done in (0.0, 0.5, 1.0)] == [0.2, pytest.approx(0.15), pytest.approx(0.1)]
    config = tiny()
    optimizer = make_optimizer(make_policy(config, make_kernel(config)), config)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 0.1]


class Failing(Reward):
    """A reward that has no value for formulas that hold manganese."""

    def __init__(self, inner: Reward, share: float) -> None:
        super().__init__(inner.terms)
        self.share = share
        self.rng = np.random.default_rng(0)

    def __call__(self, batch):
        result = super().__call__(batch)
        valid = self.rng.random(len(batch)) >= self.share
        return RewardValues(
            np.where(valid, result.log_reward, np.nan), valid, result.terms, result.log_scores, result.bounded
        )


def test_too_many_invalid_rewards_stop_training_after_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = module.make_reward
    monkeypatch.setattr(module, "make_reward", lambda config: Failing(make(config), 0.3))
    monkeypatch.setattr(RewardValues, "reasons", lambda self: {0: "charge_balance: made up"})
    with pytest.raises(RewardBudgetError, match=r"more than reward\.invalid_budget = 0\.01 .* made up"):
        run(tiny(), tmp_path / "run")
    assert list_checkpoints(tmp_path / "run" / "checkpoints")


def test_few_invalid_rewards_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = module.make_reward
    monkeypatch.setattr(module, "make_reward", lambda config: Failing(make(config), 0.3))
    config = tiny()
    config = config.model_copy(update={"reward": config.reward.model_copy(update={"invalid_budget": 0.5})})
    _, result = run(config, tmp_path / "run")
    assert 0.2 * 1920 < result.metrics["n_invalid"] < 0.4 * 1920
    assert result.metrics["n_objects"] == 1920
    assert np.isfinite(result.metrics["loss"])
    assert result.metrics["n_skipped"] == 0


@pytest.mark.parametrize("poisoned", [3, 40])
def test_poisoned_losses_are_skipped_and_end_training_when_they_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poisoned: int
) -> None:
    honest = objectives.trajectory_balance
    calls = []

    def loss(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return honest(*arguments) * (float("nan") if 5 < len(calls) <= 5 + poisoned else 1.0)

    monkeypatch.setattr(objectives, "trajectory_balance", loss)
    if poisoned > 20:
        with pytest.raises(TrainingError, match="20 losses in a row"):
            run(tiny(), tmp_path / "run")
    else:
        _, result = run(tiny(), tmp_path / "run")
        assert result.metrics["n_skipped"] == poisoned
    policy = load_run(RunFolder(tmp_path / "run")).policy
    assert all(torch.isfinite(p).all() for p in policy.parameters())


def weights_of(folder: RunFolder) -> dict[str, torch.Tensor]:
    policy = load_run(folder).policy
    assert policy is not None
    return policy.state_dict()


@pytest.mark.parametrize("place", ["loss", "gradient"])
@pytest.mark.parametrize("poisoned", [3, 40])
@pytest.mark.parametrize("objective", ["baseline", "entropic_ppo"])
def test_poisoned_policy_gradients_are_skipped_and_the_last_good_weights_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, poisoned: int, place: str
) -> None:
    config = tiny(kind="policy_gradient", objective=objective, ppo_epochs=2, batch=16)
    honest, steps, stop_after = PolicyGradientLearner.step, [], 100
    honest_loss = policy_gradients.value_loss

    def step(learner: PolicyGradientLearner, *arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return honest(learner, *arguments)

    def value_loss(values: torch.Tensor, *arguments: Any) -> torch.Tensor:
        loss = honest_loss(values, *arguments)
        if not 5 < len(steps) <= 5 + poisoned:
            return loss
        return loss * float("nan") if place == "loss" else loss + (0 * values.sum()).square().sqrt()

    monkeypatch.setattr(PolicyGradientLearner, "step", step)
    stop_after = 5
    good, _ = run(config, tmp_path / "good")
    steps.clear()
    stop_after = 100
    monkeypatch.setattr(policy_gradients, "value_loss", value_loss)
    if poisoned > 20:
        with pytest.raises(TrainingError, match="20 losses in a row"):
            run(config, tmp_path / "run")
        assert len(steps) == 25
        before, after = weights_of(good), weights_of(RunFolder(tmp_path / "run"))
        assert [name for name in before if not torch.equal(before[name], after[name])] == []
    else:
        folder, result = run(config, tmp_path / "run")
        assert (result.metrics["n_skipped"], result.steps) == (poisoned, 30)
        assert all(tensor.isfinite().all() for tensor in weights_of(folder).values())


def test_values_start_at_the_first_finite_return(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A batch whose log P are no numbers must not become log Z, which no later step would mend."""
    honest, calls = policy_gradients.forward_rollout, []

    def rollout(*arguments: Any, **options: Any) -> Any:
        drawn = honest(*arguments, **options)
        calls.append(1)
        if len(calls) == 1:
            return dataclasses.replace(drawn, log_pf=drawn.log_pf * float("nan"))
        return drawn

    monkeypatch.setattr(policy_gradients, "forward_rollout", rollout)
    folder, result = run(tiny(kind="policy_gradient", objective="baseline", batch=16), tmp_path / "run")
    assert (result.steps, result.metrics["n_skipped"]) == (30, 0)
    assert all(tensor.isfinite().all() for tensor in weights_of(folder).values())


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_stops_at_a_step_boundary_with_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    honest = objectives.trajectory_balance
    calls = []

    def loss(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 7:
            os.kill(os.getpid(), getattr(signal, name))
        return honest(*arguments)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(objectives, "trajectory_balance", loss)
    folder, result = run(tiny(), tmp_path / "run")
    assert (result.stopped_by, result.steps) == (name, 7)
    assert load_run(folder).step == 7
    assert json.loads(folder.metrics_path.read_text().splitlines()[-1])["step"] == 7
    assert signal.getsignal(signal.SIGTERM) is before


def test_log_z_keeps_float64_and_scaling_the_reward_shifts_it(tmp_path: Path) -> None:
    """log R shifted by a constant shifts log Z by it and leaves the probabilities (first batch sets log Z)."""
    config = tiny(steps=1)
    _, base = run(config, tmp_path / "a")

    class Shifted(Reward):
        def __call__(self, batch):
            result = super().__call__(batch)
            return RewardValues(
                result.log_reward + 100.0, result.valid, result.terms, result.log_scores, result.bounded
            )

    make = module.make_reward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "make_reward", lambda config: Shifted(make(config).terms))
        _, shifted = run(config, tmp_path / "b")
    assert shifted.metrics["log_z"] - base.metrics["log_z"] == pytest.approx(100.0, abs=1e-9)
    assert shifted.metrics["loss"] == pytest.approx(base.metrics["loss"], rel=1e-9)


def test_a_short_run_is_held_against_the_budget_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer objects than the grace period: all rewards invalid must not pass for success."""
    make = module.make_reward
    monkeypatch.setattr(module, "make_reward", lambda config: Failing(make(config), 1.1))
    monkeypatch.setattr(RewardValues, "reasons", lambda self: {0: "charge_balance: made up"})
    with pytest.raises(RewardBudgetError, match="320 of 320"):
        run(tiny(steps=5), tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "NaN" not in lines
    assert json.loads(lines.splitlines()[-1])["loss"] is None
