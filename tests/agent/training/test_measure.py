"""Figures that a training writes down as it goes: right, and without a trace in the training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.statistics import rank_correlation
from oreflow.agent.rollout.log_probabilities import log_terminating_probability
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.sampling.against_target import compare_with_target
from oreflow.agent.sampling.measure import N_DRAWN, N_RANKED, N_TOP, Measurement
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.training.build import make_reward
from oreflow.agent.training.loop import train
from oreflow.agent.training.resume import find_checkpoint
from oreflow.envs.contract.labelings import canonical
from tests.agent.training.test_resume import Killed, contents, made, run_until, tiny
from tests.support.cli import CONFIG, done, refused

SAMPLERS: dict[str, dict[str, Any]] = {
    "trajectory_balance": {},
    "learned_backward": {"backward": "learned"},
    "replay": {"replay": {"share": 0.5, "capacity": 40}, "epsilon_start": 0.2},
    "policy_gradient": {"kind": "policy_gradient"},
    "temperature": {"family": {"kind": "temperature"}},
}


def measured(config: Config, every: int = 5) -> Config:
    return config.model_copy(update={"run": config.run.model_copy(update={"measure_every": every})})


def lines(folder: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.metrics_path.read_text().splitlines()]


def run_measured(config: Config, folder: Any, **options: Any) -> Any:
    from oreflow.agent.training.build import make_kernel

    kernel = make_kernel(config)
    return train(config, folder, kernel=kernel, measure=Measurement(config, kernel), quiet=True, **options)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_training_leaves_the_same_to_the_last_bit_with_and_without_it(tmp_path: Path, name: str) -> None:
    config = tiny(**SAMPLERS[name])
    plain, watched = made(tmp_path / "plain", config), made(tmp_path / "watched", measured(config))
    train(config, plain, quiet=True)
    result = run_measured(measured(config), watched)
    assert result.seconds_measuring > 0
    figures = [{key for key in line if key not in other} for line, other in zip(lines(watched), lines(plain))]
    assert all({"exact_total_variation", "top_log_reward", "rank_correlation"} <= found for found in figures)
    assert len(figures) == 5
    stripped = [
        {key: value for key, value in line.items() if key in other} for line, other in zip(lines(watched), lines(plain))
    ]
    assert stripped == lines(plain)
    one, other = contents(plain), contents(watched)
    for found in (one, other):
        del found["metrics"]
        for key in ("config", "metrics", "log_sizes"):
            del found["state"][key]
    assert [key for key in one if one[key] != other[key]] == []


def test_stopped_twice_and_resumed_it_writes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = measured(tiny(), every=10)
    through, stopped = made(tmp_path / "through", config), made(tmp_path / "stopped", config)
    run_measured(config, through)
    kernel = load_run(through).kernel
    options = {"kernel": kernel, "measure": Measurement(config, kernel)}
    run_until(config, stopped, monkeypatch, 13, **options)
    run_until(config, stopped, monkeypatch, None, resume_from=stopped.latest_checkpoint(), **options)
    assert contents(through) == contents(stopped)
    assert ["exact_total_variation" in line for line in lines(through)] == [False, True, False, True, True]


def test_the_figures_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    """Against `exact`, and by hand with another library from the same draws."""
    config = measured(tiny())
    folder = made(tmp_path / "run", config)
    last = run_measured(config, folder).metrics
    run = load_run(folder)
    assert last["exact_total_variation"] == pytest.approx(compare_with_target(run, "run")["total_variation"])
    states = canonical(run.kernel, run.sampler.draw(N_DRAWN, stream(0, "measurement", 23)))
    first = sorted(np.unique(states, axis=0, return_index=True)[1])
    distinct = states[first]
    log_reward = make_reward(config)(run.kernel.objects(distinct)).log_reward
    assert last["top_log_reward"] == pytest.approx(np.sort(log_reward)[-N_TOP:].mean())
    log_p = log_terminating_probability(run.kernel, run.policy, distinct[:N_RANKED])
    assert last["rank_correlation"] == pytest.approx(spearmanr(log_p, log_reward[:N_RANKED]).statistic)
    systems = [frozenset(np.flatnonzero(row)) for row in run.kernel.objects(states).dense()]
    share = np.array([systems.count(system) for system in set(systems)]) / N_DRAWN
    assert last["n_chemical_systems_drawn"] == len(share)
    assert last["entropy_chemical_systems_nats"] == pytest.approx(-(share * np.log(share)).sum())


def test_rank_correlation_by_another_library(rng: np.random.Generator) -> None:
    x = rng.normal(size=50).round(1)
    y = (x + rng.normal(size=50)).round(1)  # with ties
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert rank_correlation(np.append(x, np.nan), np.append(y, 1.0)) == rank_correlation(x, y)
    assert rank_correlation(x, np.ones(50)) is None
    assert rank_correlation(x[:2], y[:2]) is None


def test_a_measurement_that_fails_leaves_a_checkpoint(tmp_path: Path) -> None:
    config = measured(tiny())
    folder = made(tmp_path / "run", config)

    def failing(policy: Any, step: int) -> dict[str, Any]:
        if step == 10:
            raise Killed
        return {}

    with pytest.raises(Killed):
        train(config, folder, quiet=True, measure=failing)
    assert find_checkpoint(folder, fall_back=False)[1]["step"] == 10
    run_measured(config, folder, resume_from=folder.latest_checkpoint())
    assert lines(folder)[-1]["step"] == 23


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"run": {"measure_every": 30}}, r"expected a multiple of log_every_steps \(20\).*got 30"),
        ({"run": {"measure_every": -20}}, "measure_every"),
        ({"run": {"measure_every": 20}, "sampler": {"kind": "random"}}, "random has no probabilities"),
        (
            {"run": {"measure_every": 20}, "sampler": {"kind": "prior", "warm_start": {"path": "x"}}},
            "prior has no probabilities",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(sections: dict[str, Any], message: str) -> None:
    terms = [{"name": "charge_balance", "shape": {"kind": "minimise", "beta": 0.5}}]
    with pytest.raises(ConfigError, match=message):
        validate_config(
            {"schema_version": 1, "world": {"elements": ["Li", "O"]}, "reward": {"terms": terms}} | sections, "test"
        )


def test_the_command_line_says_what_was_measured_and_what_it_cost(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    out = tmp_path / "run"
    shown = done("train", tmp_path / "c.yaml", "--out", out, "--set", "run.measure_every=20").stdout
    assert "measured: exact total variation 0." in shown
    assert "% of the time" in shown
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert ["exact_total_variation" in row for row in rows] == [False, True, False, True]
    timings = [json.loads(line) for line in (out / "timings.jsonl").read_text().splitlines()]
    assert ["seconds_measuring" in row for row in timings] == [False, True, False, True]
    assert all(row["seconds_measuring"] < row["seconds"] for row in timings[1::2])
    # One checkpoint of each of the newest two steps: 20 and 40
    for step in (20, 40):
        figures = json.loads(done("exact", out, "--step", step, "--json").stdout)
        assert figures["step"] == step
        assert figures["total_variation"] == pytest.approx(rows[step // 10 - 1]["exact_total_variation"])
    assert "of step 20" in done("exact", out, "--step", 20).stdout
    refused("has no checkpoint of step 30; expected one of 20, 40", "exact", out, "--step", 30)
    refused("leave the step out", "exact", tmp_path / "c.yaml", "--step", 20)
