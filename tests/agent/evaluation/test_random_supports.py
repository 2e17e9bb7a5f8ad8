"""Errors on random sub-supports: zero for a perfect sampler, exact for a known one; and the verb that prints them."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from oreflow.agent.config.run import load_config
from oreflow.agent.evaluation.exact import compare_exactly, total_variation
from oreflow.agent.evaluation.random_supports import log_partition_estimate, sub_support_error
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_reward, make_scorer
from oreflow.agent.training.loop import train
from tests.support.cli import done
from tests.support.repository import CONFIGS


def test_a_perfect_sampler_has_no_error_whatever_its_normalisation(rng: np.random.Generator) -> None:
    log_reward = rng.normal(0.0, 5.0, 300)
    found = sub_support_error(log_reward - 17.3, log_reward, rng)
    assert found is not None
    assert (found.size, found.n_supports) == (64, 200)
    assert found.mean < 1e-14
    assert found.standard_error < 1e-14


def test_the_mean_over_supports_is_that_over_all_pairs(rng: np.random.Generator) -> None:
    log_p, log_reward = rng.normal(size=(2, 7))
    pairs = []
    for pair in itertools.combinations(range(7), 2):
        p, r = np.exp(log_p[list(pair)]), np.exp(log_reward[list(pair)])
        pairs.append(total_variation(p / p.sum(), r / r.sum()))
    found = sub_support_error(log_p, log_reward, rng, size=2, n_supports=4000)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(pairs), abs=4 * found.standard_error)
    assert found.standard_error == pytest.approx(np.std(pairs) / 4000**0.5, rel=0.1)
    whole = sub_support_error(log_p, log_reward, rng, size=64)
    p, r = np.exp(log_p), np.exp(log_reward)
    assert whole is not None
    assert whole.size == 7
    assert whole.mean == pytest.approx(total_variation(p / p.sum(), r / r.sum()))
    assert sub_support_error(log_p[:1], log_reward[:1], rng) is None


def test_log_z_by_importance_is_right_within_its_error(rng: np.random.Generator) -> None:
    log_reward = rng.normal(0.0, 1.0, 50)
    p = np.exp(0.7 * log_reward)
    p /= p.sum()
    drawn = rng.choice(50, 4000, p=p)
    log_z, error = log_partition_estimate(np.log(p[drawn]), log_reward[drawn], rng)
    assert log_z == pytest.approx(np.logaddexp.reduce(log_reward), abs=4 * error)
    assert 0 < error < 0.02


def test_exact_in_a_large_world_agrees_with_the_enumeration_of_a_small_one(tmp_path: Path) -> None:
    """The same run judged both ways: by all objects, and as if there were too many of them."""
    from oreflow.agent.commands.training.exact import _drawn_lines
    from oreflow.agent.sampling.against_target import _on_draws

    config = load_config(CONFIGS / "tiny_exact.yaml", ["sampler.steps=60", "sampler.hidden=[32]", "run.threads=1"])
    folder = RunFolder(tmp_path / "run")
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    run = load_run(folder)
    reward = make_reward(run.config)
    assert run.policy is not None
    exact = compare_exactly(run.kernel, run.policy, make_scorer(run.kernel, reward))
    assert exact.total_variation > 0.02  # a training too short to be right
    figures = _on_draws(run, run.policy, reward)
    lines = _drawn_lines(figures)
    assert figures["log_z_importance"] == pytest.approx(
        exact.log_z, abs=4 * figures["log_z_importance_standard_error"] + 0.02
    )
    assert figures["log_z_learned"] == pytest.approx(exact.log_z + exact.log_z_error, abs=1e-9)
    assert 0.3 * exact.total_variation < figures["sub_support_random"] < 3 * exact.total_variation
    assert sum("0 for a perfect sampler" in line for line in lines) == 3


@pytest.mark.slow
def test_exact_takes_the_folder_of_a_run_in_a_large_world(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done("train", CONFIGS / "quickstart.yaml", "--out", run, "--set", "sampler.steps=3", "-q")
    printed = done("exact", run).stdout
    assert "too large to enumerate" in printed
    figures = json.loads(done("exact", run, "--json").stdout)
    assert figures["n_drawn"] == figures["n_random"] == 2000
    assert figures["log_reward_minus_log_p_std"] > 1
    assert 0 < figures["sub_support_drawn"] < 1
    assert f"{figures['sub_support_random']:.4f} ± " in printed
