"""Families of rewards: what a condition pays, what the policy sees of it, and that it reaches every member's R/Z."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from oreflow.agent.config.run import Config, dump_config, validate_config
from oreflow.agent.errors import ConditionError, ConfigError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.learners.families.conditions import choose, parse_weights
from oreflow.agent.learners.families.joint import make_family
from oreflow.agent.learners.families.kinds import Preference, Temperature
from oreflow.agent.rollout.rollout import backward_rollout, evaluate, forward_rollout
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_kernel, make_policy, make_reward, make_scorer
from oreflow.agent.training.loop import train
from tests.support.cli import done, refused
from tests.support.repository import ROOT

TEMPERATURE = {"family": {"kind": "temperature", "beta": [0.25, 4.0]}}
PREFERENCE = {"family": {"kind": "preference"}}
TERMS = ("charge_balance", "electronegativity_balance")
BETAS: list[dict[str, Any]] = [{"beta": beta} for beta in (0.25, 1.0, 4.0)]
WEIGHTS: list[dict[str, Any]] = [{"weights": {TERMS[0]: w, TERMS[1]: 1 - w}} for w in (0.1, 0.5, 0.9)]


def tiny(n_terms: int = 2, **sampler: Any) -> Config:
    terms = [
        {"name": TERMS[0], "shape": {"kind": "minimise", "beta": 0.5}},
        {"name": TERMS[1], "shape": {"kind": "verdict", "log_penalty": 2.0}},
    ]
    return validate_config(
        {
            "schema_version": 1,
            "world": {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 8], "neutrality": "soft"},
            "reward": {"terms": terms[:n_terms]},
            "sampler": {"steps": 20, "batch": 64, "hidden": [16]} | sampler,
            "run": {"threads": 1, "log_every_steps": 10, "checkpoint_every_steps": 10},
        },
        "test",
    )


def run(config: Config, path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "choices", "objective", "bound"),
    [
        (TEMPERATURE, BETAS, "trajectory_balance", 0.03),
        (PREFERENCE, WEIGHTS, "trajectory_balance", 0.02),
        (TEMPERATURE, BETAS, "sub_trajectory_balance", 0.05),
        (PREFERENCE, WEIGHTS, "detailed_balance", 0.05),
        (TEMPERATURE, BETAS, "gae", 0.05),
    ],
    ids=["temperature", "preference", "temperature_subtb", "preference_db", "temperature_gae"],
)
def test_every_member_is_reached(
    family: dict[str, Any], choices: list[dict[str, Any]], objective: str, bound: float, tmp_path: Path
) -> None:
    """Total variation and log Z, exact, at both ends and in the middle."""
    explored = {"kind": "policy_gradient"} if objective == "gae" else {"epsilon_start": 0.1}
    sampler = {"steps": 1500, "batch": 256, "hidden": [64, 64], "learning_rate": 0.003, "objective": objective}
    folder = run(tiny(**sampler, **explored, **family), tmp_path / "run")
    log_z = []
    for choice in choices:
        member = load_run(folder, **choice)
        assert member.condition is not None
        assert member.policy is not None
        scorer = make_scorer(member.kernel, make_reward(member.config), member.condition)
        exact = compare_exactly(member.kernel, member.policy, scorer, member.condition.features)
        print(f"{choice} total variation {exact.total_variation:.4f}, log Z error {exact.log_z_error:+.4f}")
        assert exact.learned.sum() == pytest.approx(1.0, abs=1e-9)
        assert exact.total_variation < bound
        assert abs(exact.log_z_error) < 0.05
        log_z.append(exact.log_z)
    assert max(log_z) - min(log_z) > 0.3  # else one log Z would do for all


def test_the_default_is_the_reward_of_the_config() -> None:
    config = tiny(**PREFERENCE)
    kernel, reward = make_kernel(config), make_reward(config)
    world = kernel.enumerate()
    values = reward(kernel.objects(world.states[world.can_stop]))
    for family in (make_family(config), make_family(tiny(**TEMPERATURE))):
        assert family is not None
        same = family.log_reward(values, family.default()[None])
        assert np.allclose(same, values.log_reward, atol=1e-12)
        assert choose(tiny(**PREFERENCE)).rewards(values).bounded.sum() == 0
    assert Temperature(4.0, 9.0).default() == pytest.approx([6.0])
    twice = Temperature(0.5, 4.0).log_reward(values, np.array([[2.0]]))
    assert np.allclose(twice, 2 * values.log_reward)
    one = choose(config, weights={TERMS[1]: 3.0}).rewards(values)
    assert np.allclose(one.log_reward, 2 * values.log_scores[TERMS[1]])


def test_a_term_of_weight_zero_has_no_say_and_bounds_hold() -> None:
    values = make_reward(tiny())(make_kernel(tiny()).objects(make_kernel(tiny()).enumerate().states[1:3]))
    scores = dict(zip(TERMS, (np.array([-np.inf, -3.0]), np.array([-1.0, -60.0]))))
    values = type(values)(np.array([-50.0, -50.0]), np.array([True, True]), values.terms, scores, values.bounded)
    family = Preference(TERMS, 1.0, -50.0, 200.0)
    got = family.log_reward(values, np.array([[0.0, 1.0]]))
    assert got.tolist() == [-2.0, -50.0]
    assert family.log_reward(values, np.array([[1.0, 0.0]])).tolist() == [-50.0, -6.0]
    assert choose(tiny(**PREFERENCE), weights={TERMS[1]: 1.0}).rewards(values).bounded.tolist() == [False, True]


@pytest.mark.parametrize("family", [Temperature(0.1, 10.0), Preference(("a", "b", "c"), 0.5, -50.0, 200.0)])
def test_conditions_are_drawn_from_the_family_and_seen_apart(
    family: Temperature | Preference, rng: np.random.Generator
) -> None:
    drawn = family.draw(4000, rng)
    if isinstance(family, Temperature):
        assert 0.05 < drawn.min() < 0.1  # the ends lie within what is trained
        assert 10.0 < drawn.max() < 20.0
        assert np.log(drawn).mean() == pytest.approx(0.0, abs=0.1)
    else:
        assert drawn.sum(axis=1) == pytest.approx(1.0)
        assert drawn.mean(axis=0) == pytest.approx(1 / 3, abs=0.03)
    features = family.features(drawn)
    assert features.shape == (4000, family.n_conditions)
    assert features.dtype == torch.float32
    assert features.abs().max() <= 4
    assert len(torch.unique(features[:500], dim=0)) == 500


@pytest.mark.parametrize("objective", ["trajectory_balance", "detailed_balance"])
def test_one_condition_for_all_gives_what_it_gives_one_by_one(objective: str, rng: np.random.Generator) -> None:
    """States shared by members are computed once where the condition is shared; the numbers are the same."""
    config = tiny(objective=objective, backward="learned", **TEMPERATURE)
    kernel, policy = make_kernel(config), make_policy(config, make_kernel(config))
    with torch.no_grad():
        for parameter in policy.parameters():  # conditions begin without effect
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    family = make_family(config)
    assert family is not None
    features = family.features(np.array([[0.5], [3.0]]))
    with torch.no_grad():
        both = forward_rollout(kernel, policy, 60, rng, condition=features.repeat(30, 1))
        for which in (0, 1):
            mine = both.select(np.arange(60) % 2 == which)
            given = mine.terminal, mine.offsets, mine.states, mine.actions
            again = evaluate(kernel, policy, *given, condition=features[which].expand(30, -1))
            other = evaluate(kernel, policy, *given, condition=features[1 - which].expand(30, -1))
            for one, two, three in zip(*[(t.log_pf, t.log_pb, t.log_flow) for t in (mine, again, other)]):
                if one is not None:
                    assert torch.allclose(one, two, atol=1e-5)
                    assert not torch.allclose(one, three, atol=1e-3)
        back = backward_rollout(kernel, policy, both.terminal, rng, condition=both.condition)
    assert back.condition is both.condition
    assert policy.log_partition(features).shape == (2,)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ({"family": {"kind": "temperature", "beta": [2, 2]}}, "family: beta: expected 0 < low < high, got 2 and 2"),
        ({"family": {"kind": "temperature", "beta": [0, 2]}}, "expected 0 < low < high"),
        ({"family": {"kind": "temperatur"}}, "sampler.family.kind"),
        ({"family": {"bta": [1, 2]}}, "did you mean 'beta'"),
        ({"family": {"concentration": 0}}, "sampler.family.concentration"),
        (TEMPERATURE | {"objective": "log_partition_variance"}, "must share one reward"),
        (TEMPERATURE | {"engine": "torchgfn"}, "torchgfn trains for one reward"),
        (TEMPERATURE | {"replay": {"share": 0.5}}, "replay.share: the buffer holds objects under one reward"),
        (TEMPERATURE | {"local_search": {"rounds": 1}}, "local_search.rounds: it compares objects"),
        (TEMPERATURE | {"kind": "genetic"}, "kind genetic learns nothing"),
        (PREFERENCE | {"n_terms": 1}, "expected at least 2, got 1"),
    ],
)
def test_configs_that_do_not_fit_are_refused(sampler: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        tiny(**sampler)
    assert message in str(error.value)


def test_weights_are_read_and_normalised() -> None:
    assert parse_weights(" a = 0.5, b=2") == {"a": 0.5, "b": 2.0}
    for text in ("a", "a=", "=1", "a=x", "a=1,a=2", "a=1,", ""):
        with pytest.raises(ConditionError, match="expected TERM=NUMBER"):
            parse_weights(text)
    chosen = choose(tiny(**PREFERENCE), weights={TERMS[0]: 1e308, TERMS[1]: 1e308})
    assert chosen is not None
    assert chosen.numbers.tolist() == [0.5, 0.5]
    for weights, message in [
        ({TERMS[0]: -1.0}, "of 0 or more, got charge_balance=-1"),
        ({TERMS[0]: math.inf}, "finite"),
        ({TERMS[0]: 0.0}, "expected one above 0"),
        ({"charge": 1.0}, "did you mean 'charge_balance'"),
    ]:
        with pytest.raises(ConditionError, match=message):
            choose(tiny(**PREFERENCE), weights=weights)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("families")
    samplers = {"temperature": TEMPERATURE, "preference": PREFERENCE, "none": {}}
    return {name: run(tiny(**sampler), folder / name).path for name, sampler in samplers.items()}


def test_candidates_belong_to_the_condition(runs: dict[str, Path], tmp_path: Path) -> None:
    tables = {}
    for name, option in {"default": (), "one": ("--beta", 1), "hot": ("--beta", 0.5)}.items():
        summary = json.loads(
            done("sample", runs["temperature"], "-n", 40, "--out", tmp_path / name, "--json", *option).stdout
        )
        assert summary["condition"]["is_default"] == (name == "default")
        assert summary == json.loads((tmp_path / name / "summary.json").read_text())
        assert "hypervolume" not in summary
        tables[name] = pd.read_parquet(tmp_path / name / "candidates.parquet")
    assert tables["default"].equals(tables["one"])
    scores = tables["hot"][[f"{name}_log_score" for name in TERMS]].sum(axis=1)
    assert np.allclose(tables["hot"]["log_reward"], 0.5 * scores)
    shared = tables["hot"].merge(tables["one"], on="formula_pretty").drop_duplicates("formula_pretty")
    assert not np.allclose(shared["log_pf_x"], shared["log_pf_y"], atol=1e-6)
    text = done("sample", runs["temperature"], "-n", 5, "--out", tmp_path / "text").stdout
    assert "beta = 1 (default; choose with --beta)" in text


def test_hypervolume_is_in_the_summary_of_preferences(runs: dict[str, Path], tmp_path: Path) -> None:
    option = ("--weights", f"{TERMS[0]}=3,{TERMS[1]}=1")
    text = done("sample", runs["preference"], "-n", 40, "--out", tmp_path, *option).stdout
    assert "charge_balance = 0.75, electronegativity_balance = 0.25" in text
    assert "hypervolume of log-scores" in text
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["condition"]["weights"] == dict(zip(TERMS, (0.75, 0.25)))
    volume = summary["hypervolume"]
    assert 0 < volume["value"] <= volume["random_value"] + 1e-9  # 2000 of 118 objects are all of them
    assert volume["reference"][TERMS[1]] == -2.0
    frame = pd.read_parquet(tmp_path / "candidates.parquet")
    weighted = 2 * (0.75 * frame[f"{TERMS[0]}_log_score"] + 0.25 * frame[f"{TERMS[1]}_log_score"])
    assert np.allclose(frame["log_reward"], weighted)


def test_exact_takes_the_condition(runs: dict[str, Path], tmp_path: Path) -> None:
    cold, hot = (json.loads(done("exact", runs["temperature"], "--json", "--beta", b).stdout) for b in (4, 0.25))
    assert cold["condition"] == {"kind": "temperature", "beta": 4.0, "is_default": False}
    assert hot["log_z_exact"] > cold["log_z_exact"] + 1
    assert "under                      charge_balance = 1, electronegativity_balance = 0" in " ".join(
        done("exact", runs["preference"], "--weights", "charge_balance=2").stdout.splitlines()
    )
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(tiny(**TEMPERATURE, steps=2)))
    refused("trained for 0.25 to 4, got 8", "exact", config, "--beta", 8)
    assert "beta = 2" in done("exact", config, "--beta", 2).stdout


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("none", ("--beta", 1), "beta: expected a run that was trained with sampler.family.kind temperature, got kind"),
        ("preference", ("--beta", 1), "got kind preference; leave beta out"),
        ("temperature", ("--weights", "charge_balance=1"), "weights: expected a run that was trained with"),
        ("temperature", ("--beta", 0.1), "this run was trained for 0.25 to 4, got 0.1; choose one between"),
        ("temperature", ("--beta", "nan"), "this run was trained for 0.25 to 4, got nan"),
        ("temperature", ("--beta", "cold"), "'--beta'"),
        ("preference", ("--weights", "charge_balnce=1"), "got 'charge_balnce'; did you mean 'charge_balance'"),
        ("preference", ("--weights", "charge_balance"), "expected TERM=NUMBER,TERM=NUMBER"),
        ("preference", ("--weights", "charge_balance=-1"), "of 0 or more"),
    ],
)
def test_bad_conditions_end_with_code_2(
    name: str, option: tuple[Any, ...], message: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    refused(message, "sample", runs[name], "-n", 5, "--out", tmp_path / "out", *option)
    refused(message, "exact", runs[name], *option)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["temperature", "preference"])
def test_check_tries_a_family(kind: str) -> None:
    path = ROOT / "runs" / "configs" / "tiny_exact.yaml"
    printed = done("check", path, "--set", f"sampler.family.kind={kind}").stdout
    assert "a step, as long as it is as it begins" in printed
    without = done("check", path, "--set", "sampler.kind=random").stdout
    assert "network" not in without
