"""Prescribed shares of the space groups and R as a density: exact on worlds that can be listed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import compare_exactly, log_target
from oreflow.agent.rollout.log_probabilities import log_terminating_probability
from oreflow.agent.sampling.sample import sample
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.storage.shipped_priors import shipped_card
from oreflow.agent.training.build import make_checked, make_kernel, make_policy, make_reward, make_scorer
from oreflow.agent.training.loop import train
from oreflow.agent.training.resume import find_checkpoint
from oreflow.agent.training.target import make_strata, shares

WORLD = {
    "kind": "wyckoff",
    "space_groups": [186, 216, 221, 225, 227],
    "elements": ["Zn", "O", "S"],
    "n_elements": [2, 2],
    "n_atoms": [2, 4],
    "grid": 24,
    "length_bin": 0.5,
    "axis_ratio_max": 2.0,
    "volume_a3_per_atom": [10.0, 22.0],
}
TERMS = [{"name": "contact_ratio", "shape": {"kind": "target", "value": 1.0, "width": 0.4}}]


def config_of(target: dict[str, Any], world: dict[str, Any] | None = None, **sampler: Any) -> Config:
    return validate_config(
        {
            "schema_version": 1,
            "world": WORLD | (world or {}),
            "reward": {"terms": TERMS, "log_min": -6.0},
            "target": target,
            "sampler": {"batch": 128, "hidden": [64, 64], "learning_rate": 0.004, "epsilon_start": 0.0} | sampler,
            "run": {"threads": 1},
        },
        "test",
    )


def trained(config: Config, path: Path) -> Any:
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    return load_run(folder)


SAMPLERS: dict[str, dict[str, Any]] = {
    "trajectory balance": {},
    "variance": {"objective": "log_partition_variance"},
    "sub-trajectory balance": {"objective": "sub_trajectory_balance", "steps": 1600},
    "detailed balance": {"objective": "detailed_balance", "steps": 3000},
    "policy gradient": {"kind": "policy_gradient"},
    "replay": {"replay": {"share": 0.25}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_reach_the_target_within_each_group_and_overall(tmp_path: Path, name: str) -> None:
    config = config_of(
        {"space_groups": {"186": 1, "cubic": 3}, "measure": "density"}, **{"steps": 800} | SAMPLERS[name]
    )
    run = trained(config, tmp_path / "run")
    scorer = make_scorer(run.kernel, make_reward(config), target=config.target)
    exact = compare_exactly(run.kernel, run.policy, scorer)
    by_name = {stratum.name: stratum for stratum in exact.strata}
    assert by_name["186"].share == pytest.approx(0.25)
    assert sum(stratum.share for stratum in exact.strata) == pytest.approx(1.0)
    assert exact.learned.sum() == pytest.approx(1.0, abs=1e-9)
    groups = run.kernel.objects(exact.objects).space_group
    for stratum in exact.strata:  # the sampler's shares are those asked for, whatever it has learned
        assert exact.learned[groups == int(stratum.name)].sum() == pytest.approx(stratum.share, abs=1e-9)
    assert exact.total_variation < 0.03
    assert max(stratum.total_variation for stratum in exact.strata) < 0.08
    assert max(abs(stratum.log_z_error) for stratum in exact.strata) < 0.1
    log_p = log_terminating_probability(run.kernel, run.policy, exact.objects)
    assert np.exp(log_p) == pytest.approx(exact.learned, rel=1e-4)


def test_the_target_is_a_product_of_tables() -> None:
    """By hand: p(G) times R over the number of geometries, normalised within each group."""
    config = config_of({"space_groups": "by_system", "measure": "density"})
    kernel, reward = make_kernel(config), make_reward(config)
    exact = compare_exactly(kernel, make_policy(config, kernel), make_scorer(kernel, reward, target=config.target))
    objects = kernel.objects(exact.objects)
    weight = np.exp(reward(objects).log_reward - kernel.log_geometries(exact.objects))  # type: ignore[attr-defined]
    expected = np.zeros(len(weight))
    cubic = np.isin(objects.space_group, range(195, 231))
    n_cubic = len(np.unique(objects.space_group[cubic]))
    for group in np.unique(objects.space_group):
        here = objects.space_group == group
        expected[here] = (0.5 if group == 186 else 0.5 / n_cubic) * weight[here] / weight[here].sum()
    assert exact.target == pytest.approx(expected)


def decorations(grid: int, measure: str) -> dict[str, float]:
    """Probability of each decoration of a polar group and another one under the exact target."""
    config = config_of({"measure": measure}, {"space_groups": [129, 186], "grid": grid})
    kernel, reward = make_kernel(config), make_reward(config)
    exact = compare_exactly(kernel, make_policy(config, kernel), make_scorer(kernel, reward, target=config.target))
    found: dict[str, float] = {}
    for text, p in zip(kernel.describe(exact.objects), exact.target.tolist()):
        name = text.partition(" |")[0]
        found[name] = found.get(name, 0.0) + p
    return found


def test_a_density_does_not_depend_on_the_bins() -> None:
    """Grid 24 against 48; counted, a decoration of k free coordinates weighs 2^k times as much."""
    moved = {}
    for measure in ("density", "counted"):
        coarse, fine = decorations(24, measure), decorations(48, measure)
        if measure == "density":  # along the polar axis the first site has one bin, however fine the grid
            polar = [sum(p for d, p in found.items() if d.startswith("186")) for found in (coarse, fine)]
            assert polar[1] == pytest.approx(polar[0], rel=0.15)
        moved[measure] = 0.5 * sum(abs(coarse.get(d, 0.0) - fine.get(d, 0.0)) for d in coarse | fine)
    assert moved["density"] < 0.02
    assert moved["counted"] > 5 * moved["density"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"space_groups": "uniform"}, [0.2] * 5),
        ({"space_groups": "by_system"}, [0.5] + [0.125] * 4),
        ({"space_groups": {"186": 1, "225": 3}}, [0.25, 0, 0, 0.75, 0]),
        ({"space_groups": {"P6_3mc": 1, "cubic": 1}}, [0.5] + [0.125] * 4),
    ],
)
def test_shares(target: dict[str, Any], expected: list[float]) -> None:
    weights = shares(config_of(target), np.array([186, 216, 221, 225, 227]))
    assert (weights / weights.sum()).tolist() == pytest.approx(expected)


def test_known_shares_are_counts_of_a_reference_and_one(tmp_path: Path) -> None:
    from tests.support.cifs import ROCK_SALT

    for number in range(3):
        (tmp_path / f"{number}.cif").write_text(ROCK_SALT)
    weights = shares(
        config_of({"space_groups": "known", "reference": str(tmp_path)}), np.array([186, 216, 221, 225, 227])
    )
    assert weights.tolist() == [1, 1, 1, 4, 1]


def test_known_shares_of_a_prior_are_those_of_the_compounds_that_it_was_fitted_on() -> None:
    groups = np.array([186, 216, 221, 225, 227, 9])
    weights = shares(config_of({"space_groups": "known", "prior": "decorations"}), groups)
    data = shipped_card("decorations")["data"]
    assert sum(data["share_by_space_group"].values()) == pytest.approx(1.0)
    expected = [1 + data["n_fitted"] * data["share_by_space_group"].get(str(g), 0.0) for g in groups.tolist()]
    assert weights.tolist() == pytest.approx(expected)
    assert weights == pytest.approx(weights.round())  # counts
    assert weights[3] > 500  # rock salts, Heusler phases, elpasolites


def test_a_run_keeps_known_shares_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    from tests.support.cifs import ROCK_SALT

    (tmp_path / "salt.cif").write_text(ROCK_SALT)
    config = config_of({"space_groups": "known", "reference": str(tmp_path / "salt.cif")})
    make_checked(config, "test")
    (tmp_path / "salt.cif").unlink()
    again = validate_config(config.model_dump(mode="json"), "test")
    strata = make_strata(again, make_kernel(again))
    assert strata is not None
    assert dict(zip(strata.names, np.exp(strata.log_share)))["225"] == pytest.approx(2 / (len(strata) + 1))


def test_groups_that_can_host_nothing_have_no_share() -> None:
    config = config_of({"space_groups": "uniform"}, {"space_groups": [221, 225, 230], "n_atoms": [2, 2]})
    kernel = make_kernel(config)
    strata = make_strata(config, kernel)
    assert strata is not None
    assert strata.names == ("221", "225")
    assert np.exp(strata.log_share).tolist() == pytest.approx([0.5, 0.5])
    world = kernel.enumerate()
    open_states = world.states[world.can_stop]
    terminal = kernel.step(open_states, np.full(len(open_states), kernel.n_actions - 1))
    names = [strata.names[g] for g in strata.of_objects(kernel, terminal).tolist()]
    assert names == [str(number) for number in kernel.objects(terminal).space_group.tolist()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": {"space_groups": {"14": 1}}}, "no object of the world has space group 14"),
        ({"target": {"space_groups": {"xyz": 1}}}, "target.space_groups: "),
        ({"target": {"space_groups": {"225": 0}}}, "expected at least one share above 0"),
        ({"target": {"space_groups": {"225": -1}}}, "space_groups"),
        ({"target": {"space_groups": "known"}}, "with space_groups: known (structures)"),
        ({"target": {"space_groups": "power"}}, "power: expected a number of 0 or more with space_groups: power"),
        ({"target": {"space_groups": "uniform", "power": 0.5}}, "and none with anything else, got 0.5"),
        ({"target": {"space_groups": "power", "power": -1}}, "target.power"),
        ({"target": {"space_groups": "uniform"}, "sampler": {"kind": "prior", "warm_start": {"path": "x"}}}, "a prior"),
        ({"target": {"space_groups": "equal"}}, "space_groups"),
        ({"target": {"space_groups": "uniform"}, "sampler": {"kind": "random"}}, "learns nothing"),
        (
            {"target": {"space_groups": "uniform"}, "sampler": {"family": {"kind": "temperature"}}},
            "one log Z a condition",
        ),
        (
            {"target": {"measure": "density"}, "world": {"elements": ["Li", "O"]}},
            "space groups and geometries are those of crystals",
        ),
    ],
)
def test_bad_targets(change: dict[str, Any], message: str) -> None:
    data = {"schema_version": 1, "world": WORLD, "reward": {"terms": TERMS}} | change
    with pytest.raises(ConfigError) as error:
        _strata_of(data)
    assert message in str(error.value)


def _strata_of(data: dict[str, Any]) -> None:
    config = validate_config(data, "test")
    make_strata(config, make_kernel(config))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trajectory balance", "variance", "policy gradient"])
@pytest.mark.parametrize("power", [0.5, 1.0])
def test_shares_become_a_power_of_the_sums_of_the_groups(tmp_path: Path, name: str, power: float) -> None:
    """With power 1 P(x) is R(x)/Z over all groups."""
    target = {"space_groups": "power", "power": power, "measure": "density"}
    config = config_of(target, **{"steps": 800} | SAMPLERS[name])
    run = trained(config, tmp_path / "run")
    scorer = make_scorer(run.kernel, make_reward(config), target=config.target)
    exact = compare_exactly(run.kernel, run.policy, scorer)
    groups = run.kernel.objects(exact.objects).space_group
    of_objects = make_scorer(run.kernel, make_reward(config), of_states=False, target=config.target)
    weight = np.exp(of_objects(exact.objects))
    sums = {group: weight[groups == group].sum() ** power for group in np.unique(groups).tolist()}
    wanted = np.array([sums[group] for group in groups.tolist()]) / sum(sums.values())
    for group in sums:
        wanted[groups == group] *= weight[groups == group] / weight[groups == group].sum()
    by_name = {int(stratum.name): stratum.exact_share for stratum in exact.strata}
    assert by_name == pytest.approx({group: share / sum(sums.values()) for group, share in sums.items()})
    assert 0.5 * np.abs(exact.learned - wanted).sum() < 0.03
    assert exact.shares_total_variation < 0.01
    assert exact.total_variation < 0.03
    if power == 1:
        assert wanted == pytest.approx(weight / weight.sum())


def test_what_has_no_share_is_no_part_of_the_target() -> None:
    config = config_of({"space_groups": {"225": 1.0}})
    kernel, reward = make_kernel(config), make_reward(config)
    policy = make_policy(config, kernel)
    exact = compare_exactly(kernel, policy, make_scorer(kernel, reward, target=config.target))
    groups = kernel.objects(exact.objects).space_group
    assert len(np.unique(groups)) == 5
    assert exact.target[groups != 225].max() == 0
    assert exact.learned[groups == 225].sum() == pytest.approx(1.0)
    assert [stratum.name for stratum in exact.strata] == ["225"]
    wanted = log_target(kernel, policy, exact.objects, np.zeros(len(groups)))
    assert np.isneginf(wanted[groups != 225]).all()
    assert np.isfinite(wanted[groups == 225]).all()


@pytest.mark.parametrize("name", ["trajectory balance", "variance", "policy gradient", "power"])
def test_a_run_that_was_stopped_goes_on_to_the_last_bit(tmp_path: Path, name: str) -> None:
    shares_of = {"space_groups": "power", "power": 0.5} if name == "power" else {"space_groups": "uniform"}
    config = config_of({"measure": "density"} | shares_of, steps=12, **SAMPLERS.get(name, {}))
    config = config.model_copy(update={"run": config.run.model_copy(update={"log_every_steps": 4})})
    through = trained(config, tmp_path / "through")
    folder = RunFolder(tmp_path / "stopped")
    folder.create(config, overwrite=False, plugins=[])
    assert train(config, folder, quiet=True, callback=lambda line: True).steps == 4
    train(config, folder, quiet=True, resume_from=find_checkpoint(folder, fall_back=False)[0])
    again = load_run(folder)
    for parameter, value in through.policy.state_dict().items():
        assert torch.equal(again.policy.state_dict()[parameter], value), parameter
    assert again.policy.strata.log_share.tolist() == through.policy.strata.log_share.tolist()
    assert folder.metrics_path.read_bytes() == (tmp_path / "through" / "metrics.jsonl").read_bytes()


def test_samples_say_what_was_asked_for(tmp_path: Path) -> None:
    config = config_of({"space_groups": "uniform", "measure": "density"}, steps=30)
    trained(config, tmp_path / "run")
    summary = sample(RunFolder(tmp_path / "run"), 500, out=tmp_path / "out", quiet=True, seed=0)
    assert summary["target"] == (
        "each of the 5 space groups has the same share; within one, crystals in proportion to R, R a density over "
        "geometries whatever their bins"
    )
    assert summary["shares"] == pytest.approx(dict.fromkeys(("186", "216", "221", "225", "227"), 0.2))
    assert summary["n_space_groups"] == 5
    assert summary["entropy_space_groups_nats"] == pytest.approx(np.log(5), abs=0.02)
    assert summary["median_std_within_space_groups"] > 0
