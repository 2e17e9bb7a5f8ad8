"""Families of targets: one policy for all values of a property, alone, with weights of the terms, and with a prior."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oreflow.agent.config.family import FamilyConfig
from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.errors import ConditionError, ConfigError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.learners.families.conditions import choose
from oreflow.agent.learners.families.joint import Joint, conditions_in_hindsight, make_family
from oreflow.agent.learners.families.target import Target
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.training.build import make_reward, make_scorer
from oreflow.rewards import RewardValues
from tests.support.target_families import (
    BALANCE,
    BOTH,
    ENERGY,
    FAMILY,
    HIGH,
    LOW,
    VALUES,
    WIDTH,
    rewards_of_all,
    run,
    tiny,
)


def same(one: RewardValues, other: RewardValues) -> bool:
    arrays = [(one.log_reward, other.log_reward), (one.bounded, other.bounded)]
    arrays += [(one.log_scores[name], other.log_scores[name]) for name in other.log_scores]
    return all(np.array_equal(a, b, equal_nan=True) for a, b in arrays)


@pytest.mark.parametrize("reward", [{}, {"beta": 0.7, "log_min": -3.0, "log_max": -0.5}])
def test_a_member_is_the_reward_with_another_value_to_the_last_bit(reward: dict[str, Any]) -> None:
    """The judge is the reward of a config that has the value in its shape: bounds, beta and log-scores."""
    config = tiny()
    config.reward = config.reward.model_copy(update=reward)
    values, family = rewards_of_all(config), make_family(config)
    assert isinstance(family, Target)
    expected = []
    for value in VALUES:
        wanted = rewards_of_all(_with(config, value))
        assert same(family.rewards(values, np.array([[value]])), wanted)
        condition = choose(config, target={ENERGY: value})
        assert condition is not None
        assert same(condition.rewards(values), wanted)
        expected.append(wanted.log_reward)
    each = np.arange(len(values.valid)) % len(VALUES)  # every object under a value of its own
    mixed = family.log_reward(values, np.array(VALUES)[each][:, None])
    assert np.array_equal(mixed, np.stack(expected)[each, np.arange(len(each))])
    assert len({tuple(one) for one in expected}) == len(VALUES)
    assert any(rewards_of_all(_with(config, value)).bounded.any() for value in VALUES)


def _with(config: Config, value: float) -> Config:
    data = config.model_dump(mode="json")
    data["reward"]["terms"][1]["shape"]["value"] = value
    return validate_config(data, "test")


def test_what_a_shape_is_applied_to_is_what_is_compared_with_the_value() -> None:
    """Near holes of the hull a term gives shapes a larger value than the one it shows, in a column of its own."""
    values, family = rewards_of_all(tiny()), make_family(tiny())
    assert family is not None
    term = values.terms[ENERGY]
    scored = replace(term, columns={f"{ENERGY}_scored": term.values + 0.3})
    under = family.rewards(replace(values, terms=values.terms | {ENERGY: scored}), np.array([[-2.0]]))
    assert np.allclose(under.log_scores[ENERGY], -0.5 * ((term.values + 2.3) / WIDTH) ** 2)


def test_the_default_is_the_value_of_the_config_where_it_lies_in_the_range() -> None:
    values = rewards_of_all(tiny())
    condition = choose(tiny())
    assert condition is not None
    assert condition.is_default
    assert same(condition.rewards(values), values)
    outside = choose(tiny(value=3.0))
    assert outside is not None
    assert outside.numbers.tolist() == [-1.5]


def test_conditions_are_uniform_and_seen_apart(rng: np.random.Generator) -> None:
    family = make_family(tiny())
    assert family is not None
    drawn = family.draw(8000, rng)
    assert LOW - 0.1 <= drawn.min() < LOW - 0.05  # the ends lie within what is trained
    assert HIGH + 0.05 < drawn.max() <= HIGH + 0.1
    assert np.histogram(drawn, bins=8)[0] == pytest.approx(1000, abs=150)
    features = family.features(drawn)
    assert features.shape == (8000, family.n_conditions)
    assert features.dtype == torch.float32
    assert features.abs().max() <= 1.3
    assert len(torch.unique(features[:500], dim=0)) == 500


def test_hindsight_asks_for_what_objects_have(rng: np.random.Generator) -> None:
    config = tiny(FAMILY | {"hindsight": 0.5})
    values, family = rewards_of_all(config), make_family(config)
    energies = values.terms[ENERGY].values
    inside = (energies > LOW) & (energies < HIGH)
    assert 0 < inside.sum() < len(inside)
    near = np.concatenate([family.draw_near(values, rng) for _ in range(400)], axis=1)  # type: ignore[union-attr]
    within = near[inside & (energies > LOW + 3 * WIDTH) & (energies < HIGH - 3 * WIDTH)]
    of_those = energies[inside & (energies > LOW + 3 * WIDTH) & (energies < HIGH - 3 * WIDTH)]
    assert np.abs(within.mean(axis=1) - of_those).max() < 0.06
    assert within.std(axis=1).mean() == pytest.approx(WIDTH, rel=0.1)
    assert ((near >= LOW - 0.1001) & (near <= HIGH + 0.1001)).all()
    low = Target(ENERGY, LOW, -1.8, -2.0, WIDTH, 1.0, -15.0, 200.0)
    beyond = energies > -1.8 + 5 * WIDTH
    assert beyond.sum() > 10
    anywhere = np.concatenate([low.draw_near(values, rng)[beyond] for _ in range(100)])
    assert anywhere.mean() == pytest.approx((LOW - 1.8) / 2, abs=0.03)
    found = conditions_in_hindsight(config.sampler.family, family, values, rng)
    assert found is not None
    which, features, log_reward = found
    assert 0.3 < which.mean() < 0.7
    assert len(features) == len(log_reward) == which.sum()
    state = rng.bit_generator.state
    assert conditions_in_hindsight(tiny(FAMILY | {"hindsight": 0.0}).sampler.family, family, values, rng) is None
    assert conditions_in_hindsight(config.sampler.family, None, values, rng) is None
    assert rng.bit_generator.state == state  # runs without it are as they were


def test_weights_are_of_the_scores_under_the_value(rng: np.random.Generator) -> None:
    config = tiny(BOTH)
    values, family = rewards_of_all(config), make_family(config)
    assert isinstance(family, Joint)
    condition = choose(config, weights={ENERGY: 3.0, BALANCE: 1.0}, target={ENERGY: -2.0})
    assert condition is not None
    energy, balance = values.terms[ENERGY].values, values.terms[BALANCE].values
    total = 2 * (0.75 * -0.5 * ((energy + 2.0) / WIDTH) ** 2 + 0.25 * -2.0 * (1 - balance))
    assert np.allclose(condition.rewards(values).log_reward, np.clip(total, -15.0, 200.0), atol=1e-12)
    assert condition.rewards(values).bounded.tolist() == (total < -15.0).tolist()
    every = tiny(FAMILY | {"kind": ["temperature", "target", "preference"], "beta": [0.5, 2.0]})
    hot = choose(every, beta=0.5, weights={ENERGY: 3.0, BALANCE: 1.0}, target={ENERGY: -2.0})
    assert hot is not None
    assert np.allclose(hot.rewards(values).log_reward, 0.5 * np.clip(total, -15.0, 200.0), atol=1e-12)
    drawn = family.draw(50, rng)
    assert drawn.shape == (50, family.n_numbers) == (50, 3)
    assert np.allclose(drawn[:, 1:].sum(axis=1), 1.0)
    assert family.features(drawn).shape == (50, family.n_conditions)
    assert condition.describe(make_reward(config)) == {
        "kind": ["target", "preference"],
        "target": {ENERGY: -2.0},
        "weights": {BALANCE: 0.25, ENERGY: 0.75},
        "unit": "eV/atom",
        "is_default": False,
        "defaults": [],
    }


TRAINED: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "trajectory_balance": (FAMILY, {}, 0.06),
    "detailed_balance": (FAMILY, {"objective": "detailed_balance"}, 0.16),
    "gae": (FAMILY, {"kind": "policy_gradient", "batch": 256, "steps": 2500}, 0.10),
    "preference": (BOTH, {}, 0.10),
    "prior": (FAMILY, {}, 0.06),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_every_value_is_reached(name: str, tmp_path: Path) -> None:
    """Exact total variation of one policy to R(.|t)/Z(t) at five values; R is that of a config with the value."""
    family, own, bound = TRAINED[name]
    sections: dict[str, Any] = {"target": {"prior": str(_prior(tmp_path))}} if name == "prior" else {}
    explored = {} if name == "gae" else {"epsilon_start": 0.1}
    sampler = {"steps": 1000, "batch": 128, "hidden": [64, 64], "learning_rate": 0.005} | explored | own
    config = tiny(family, sections=sections, **sampler)
    folder = run(config, tmp_path / "run")
    weights: dict[str, Any] = {"weights": {ENERGY: 2.0, BALANCE: 1.0}} if name == "preference" else {}
    found, log_z = [], []
    for value in VALUES:
        member = load_run(folder, target={ENERGY: value}, **weights)
        assert member.condition is not None
        assert member.policy is not None
        judge = _with(config, value)
        judge.sampler.family = FamilyConfig(kind="preference" if weights else "none")
        scorer = make_scorer(member.kernel, make_reward(judge), choose(judge, **weights))
        exact = compare_exactly(member.kernel, member.policy, scorer, member.condition.features, member.prior)
        print(f"{name} {value:+.1f}: TV {exact.total_variation:.4f}, log Z {exact.log_z:.2f} {exact.log_z_error:+.4f}")
        assert exact.learned.sum() == pytest.approx(1.0, abs=1e-9)
        found.append((exact.total_variation, abs(exact.log_z_error)))
        log_z.append(exact.log_z)
    assert max(tv for tv, _ in found) < bound
    assert max(error for _, error in found) < 0.15
    assert max(log_z) - min(log_z) > 1.0  # else one log Z would do for all


def _prior(folder: Path) -> Path:
    """A prior in the world of these tests, which knows a few oxides."""
    known = folder / "known.csv"
    known.write_text("formula\nLi2O\nMnO\nMnO2\nMn2O3\nLiMnO2\nLi2MnO3\nLi2O2\nMn3O4\n")
    fitted = {"kind": "prior", "warm_start": {"path": str(known)}, "held_out": 0.0, "steps": 60}
    return run(tiny({"kind": "none"}, **fitted), folder / "prior").path


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ({"kind": "targte"}, "sampler.family.kind: expected none, temperature, preference, target, or a list"),
        ({"kind": "targte"}, "did you mean 'target'"),
        ({"kind": ["target", "target"]}, "each once, got ['target', 'target']"),
        ({"kind": ["target", "none"]}, "each once, got ['target', 'none']"),
        ({"kind": []}, "each once, got []"),
        ({"kind": 3}, "each once, got 3"),
        ({"kind": "target"}, "sampler.family: term: expected with kind target"),
        ({"kind": "target", "term": ENERGY}, "sampler.family: range: expected with kind target"),
        ({"kind": "temperature", "range": [0, 1]}, "got kind temperature and range (0.0, 1.0); set kind to target"),
        ({"term": ENERGY}, "got kind none and term 'formation_energy'"),
        (FAMILY | {"range": [-1, -2]}, "range: expected low < high, got -1 and -2; change them"),
        (FAMILY | {"range": [-1, math.inf]}, "sampler.family.range.1: Input should be a finite number"),
        (FAMILY | {"term": "formation_enrgy"}, "got 'formation_enrgy'; did you mean 'formation_energy'"),
        (FAMILY | {"term": BALANCE}, "expected a term whose shape is target"),
        (FAMILY | {"term": BALANCE}, "got electronegativity_balance of shape verdict; give it {kind: target, value"),
        (FAMILY | {"hindsight": 1.5}, "sampler.family.hindsight"),
        (FAMILY | {"rnge": [0, 1]}, "did you mean 'range'"),
    ],
)
def test_configs_that_do_not_fit_are_refused(family: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        tiny(family)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"kind": "target", "value": -1.0}, "the shape of formation_energy: shape 'target' needs the parameter width"),
        ({"kind": "target", "value": "low", "width": 0.1}, "expected value to be a finite number, got 'low'"),
        ({"kind": "target", "value": -1.0, "width": 0.1, "with": 1}, "takes no parameter 'with'; did you mean 'width'"),
    ],
)
def test_a_shape_without_its_numbers_is_refused_before_any_work(shape: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        tiny(sections={"reward": {"terms": [{"name": ENERGY, "shape": shape}]}})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ({"objective": "log_partition_variance"}, "family: target has many rewards, but log_partition_variance"),
        ({"replay": {"share": 0.5}}, "replay.share: the buffer holds objects under one reward"),
        ({"kind": "genetic"}, "kind genetic learns nothing"),
    ],
)
def test_samplers_that_know_one_reward_are_refused(sampler: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        tiny(**sampler)
    assert message in str(error.value)
    with pytest.raises(ConfigError, match=r"target\.n_elements: a family of rewards \(target and preference\) has one"):
        tiny(FAMILY | {"kind": ["target", "preference"]}, sections={"target": {"n_elements": "uniform"}})


def test_a_label_names_the_term() -> None:
    shape = {"kind": "target", "value": -1.0, "width": 0.1}
    terms = [
        {"name": ENERGY, "label": "low", "shape": {"kind": "below", "threshold": 0.0, "width": 0.1}},
        {"name": ENERGY, "label": "wanted", "shape": shape},
    ]
    config = tiny(FAMILY | {"term": "wanted"}, sections={"reward": {"terms": terms}})
    condition = choose(config, target={"wanted": -2.0})
    assert condition is not None
    assert condition.describe(make_reward(config))["unit"] == "eV/atom"
    with pytest.raises(ConditionError, match="this run was trained for values of wanted alone, got low"):
        choose(config, target={"low": -2.0})
    with pytest.raises(ConditionError, match=r"for wanted from -2\.5 to -0\.5 eV/atom, got 1; choose a value between"):
        choose(config, target={"wanted": 1.0})
