"""Families of targets: one policy for all values of a property, alone, with weights of the terms, and with a prior."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import oreflow
from oreflow.agent.config.family import FamilyConfig
from oreflow.agent.config.run import Config, dump_config, validate_config
from oreflow.agent.errors import ConditionError, ConfigError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.learners.families.conditions import choose, parse_target
from oreflow.agent.learners.families.joint import Joint, conditions_in_hindsight, make_family
from oreflow.agent.learners.families.target import Target
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_kernel, make_reward, make_scorer
from oreflow.agent.training.loop import train
from oreflow.rewards import RewardValues
from tests.support.cli import done, plugin, refused

ENERGY, BALANCE = "formation_energy", "electronegativity_balance"
LOW, HIGH, WIDTH = -2.5, -0.5, 0.2
VALUES = (-2.5, -2.0, -1.5, -1.0, -0.5)
FAMILY: dict[str, Any] = {"kind": "target", "term": ENERGY, "range": [LOW, HIGH]}
BOTH = FAMILY | {"kind": ["preference", "target"]}
WORLD = {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 8], "neutrality": "off"}


def tiny(
    family: dict[str, Any] | None = None, value: float = -1.0, sections: dict[str, Any] | None = None, **sampler: Any
) -> Config:
    terms: list[dict[str, Any]] = [
        {"name": BALANCE, "shape": {"kind": "verdict", "log_penalty": 2.0}},
        {"name": ENERGY, "shape": {"kind": "target", "value": value, "width": WIDTH}},
    ]
    asked = FAMILY if family is None else family
    data = {
        "schema_version": 1,
        "world": WORLD,
        "reward": {"terms": terms, "log_min": -15.0},
        "sampler": {"steps": 20, "batch": 64, "hidden": [16], "family": asked} | sampler,
        "run": {"threads": 1, "log_every_steps": 10, "checkpoint_every_steps": 10},
    }
    return validate_config(data | (sections or {}), "test")


def run(config: Config, path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    return folder


def rewards_of_all(config: Config) -> RewardValues:
    kernel = make_kernel(config)
    world = kernel.enumerate()
    return make_reward(config)(kernel.objects(world.states[world.can_stop]))


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
    "gae": (FAMILY, {"kind": "policy_gradient", "batch": 256}, 0.10),
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


def test_values_are_read() -> None:
    assert parse_target(" a = -1.5") == {"a": -1.5}
    for text in ("a", "-1.5", "a=", "=1", "a=-1.5 eV/atom", "a=1,a=2", ""):
        with pytest.raises(ConditionError, match="target: expected TERM=NUMBER, the number in the term's unit"):
            parse_target(text)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("targets")
    families = {"target": FAMILY, "both": BOTH, "none": {"kind": "none"}}
    return {name: run(tiny(family), folder / name).path for name, family in families.items()}


def test_candidates_and_summary_belong_to_the_value(runs: dict[str, Path], tmp_path: Path) -> None:
    tables = {}
    for name, option in {
        "default": (),
        "same": ("--target", f"{ENERGY}=-1"),
        "low": ("--target", f"{ENERGY}=-2"),
    }.items():
        given = ("sample", runs["target"], "-n", 40, "--out", tmp_path / name, "--json", *option)
        summary = json.loads(done(*given).stdout)
        asked = -2.0 if name == "low" else -1.0
        assert summary["condition"] == {
            "kind": "target",
            "target": {ENERGY: asked},
            "unit": "eV/atom",
            "is_default": name == "default",
        }
        table = tables[name] = pd.read_parquet(tmp_path / name / "candidates.parquet")
        wish = next(wish for wish in summary["wishes"] if wish["term"] == ENERGY)
        energies = table["formation_energy_per_atom_pred"]
        assert wish["wish"] == f"{asked:g} ± 0.2 eV/atom"
        assert wish["share"] == pytest.approx(((energies - asked).abs() <= WIDTH).mean())
        assert np.allclose(table[f"{ENERGY}_log_score"], -0.5 * ((energies - asked) / WIDTH) ** 2, atol=1e-5)
        total = table[[f"{ENERGY}_log_score", f"{BALANCE}_log_score"]].sum(axis=1)
        assert np.allclose(table["log_reward"], total.clip(lower=-15.0))
    assert tables["default"].equals(tables["same"])
    shared = tables["default"].merge(tables["low"], on="formula_pretty").drop_duplicates("formula_pretty")
    assert not np.allclose(shared["log_pf_x"], shared["log_pf_y"], atol=1e-6)
    given = ("sample", runs["target"], "-n", 5, "--out", tmp_path / "text")
    text = done(*given).stdout
    assert "sampled under              formation_energy = -1 eV/atom (default; choose with --target)" in text
    assert "R, with the formation_energy asked for as its target (-2.5 to -0.5)" in " ".join(text.split())
    frame = oreflow.sample(runs["target"], 40, target={ENERGY: -2.0})
    assert frame["formula_pretty"].tolist() == tables["low"]["formula_pretty"].tolist()
    assert frame.attrs["summary"]["condition"]["target"] == {ENERGY: -2.0}


def test_reports_say_which_value_was_asked(runs: dict[str, Path], tmp_path: Path) -> None:
    done("sample", runs["target"], "-n", 20, "--out", tmp_path / "low", "--target", f"{ENERGY}=-2")
    folder = runs["target"] / "asked"
    done("sample", runs["target"], "-n", 20, "--out", folder, "--target", f"{ENERGY}=-2")
    lines = json.loads(done("report", folder, "--out", tmp_path / "page", "--json").stdout)
    assert "-2 ± 0.2 eV/atom" in json.dumps(lines, ensure_ascii=False)
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "target formation_energy -2" in page


def test_both_kinds_are_chosen_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    option = ("--target", f"{ENERGY}=-2", "--weights", f"{ENERGY}=3,{BALANCE}=1")
    text = done("sample", runs["both"], "-n", 20, "--out", tmp_path / "both", *option).stdout
    assert "formation_energy = -2 eV/atom; weights electronegativity_balance = 0.25, formation_energy = 0.75\n" in text
    summary = json.loads((tmp_path / "both" / "summary.json").read_text())
    assert summary["hypervolume"]["n_rows"] == 20
    frame = pd.read_parquet(tmp_path / "both" / "candidates.parquet")
    total = 2 * (0.75 * frame[f"{ENERGY}_log_score"] + 0.25 * frame[f"{BALANCE}_log_score"])
    assert np.allclose(frame["log_reward"], total.clip(lower=-15.0))
    half = done("sample", runs["both"], "-n", 5, "--out", tmp_path / "half", "--target", f"{ENERGY}=-2").stdout
    assert "formation_energy = -2 eV/atom; weights" in half
    assert "formation_energy = 0.5 (default; choose with --weights)" in half


def test_exact_takes_the_value(runs: dict[str, Path], tmp_path: Path) -> None:
    figures = {
        value: json.loads(done("exact", runs["target"], "--json", "--target", f"{ENERGY}={value}").stdout)
        for value in (-0.5, -2.5)
    }
    values = rewards_of_all(tiny())
    for value, found in figures.items():
        energy, balance = values.terms[ENERGY].values, values.terms[BALANCE].values
        total = -0.5 * ((energy - value) / WIDTH) ** 2 - 2.0 * (1 - balance)
        assert found["log_z_exact"] == pytest.approx(np.logaddexp.reduce(np.maximum(total, -15.0)))
        assert found["condition"]["target"] == {ENERGY: value}
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(tiny(steps=2)))
    printed = done("exact", config, "--target", f"{ENERGY}=-1.5").stdout
    assert "under                      formation_energy = -1.5 eV/atom\n" in printed
    assert "exact total variation" in printed
    refused("formation_energy from -2.5 to -0.5 eV/atom, got -3", "exact", config, "--target", f"{ENERGY}=-3")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "none",
            f"{ENERGY}=-1",
            "target: expected a run that was trained with sampler.family.kind target, got kind none",
        ),
        ("target", f"{ENERGY}=-3", "trained for formation_energy from -2.5 to -0.5 eV/atom, got -3; choose a value"),
        ("target", f"{ENERGY}=nan", "from -2.5 to -0.5 eV/atom, got nan"),
        ("target", "formation_enrgy=-1", "got 'formation_enrgy'; did you mean 'formation_energy'"),
        ("target", f"{BALANCE}=1", "trained for values of formation_energy alone, got electronegativity_balance"),
        ("target", f"{ENERGY}=-1 eV/atom", "expected TERM=NUMBER, the number in the term's unit and without it, got"),
        ("target", "-1", "expected TERM=NUMBER"),
    ],
)
def test_bad_values_end_with_code_2(name: str, value: str, message: str, runs: dict[str, Path], tmp_path: Path) -> None:
    refused(message, "sample", runs[name], "-n", 5, "--out", tmp_path / "out", "--target", value)
    refused(message, "exact", runs[name], "--target", value)
    assert not (tmp_path / "out").exists()
    refused("weights: expected a run that was trained with", "exact", runs["target"], "--weights", f"{ENERGY}=1")


def test_a_property_without_unit_is_a_plain_number(tmp_path: Path) -> None:
    file = plugin(tmp_path, "evenness", unit="")
    terms = [{"name": "evenness", "shape": {"kind": "target", "value": 1.0, "width": 0.3}}]
    family = {"kind": "target", "term": "evenness", "range": [1, 3]}
    path = tmp_path / "config.yaml"
    done("check", _written(path, family, terms), "--plugin", file)
    done("train", path, "--plugin", file, "--out", tmp_path / "run", "--quiet")
    given = ("sample", tmp_path / "run", "-n", 5, "--plugin", file, "--out", tmp_path / "out")
    assert "sampled under              evenness = 2.5\n" in done(*given, "--target", "evenness=2.5").stdout
    refused("for evenness from 1 to 3, got 4; choose", *given, "--target", "evenness=4", "--overwrite")


def _written(path: Path, family: dict[str, Any], terms: list[dict[str, Any]]) -> Path:
    data = tiny().model_dump(mode="json")
    data["reward"]["terms"], data["sampler"]["family"], data["sampler"]["steps"] = terms, family, 3
    path.write_text(json.dumps(data))
    return path
