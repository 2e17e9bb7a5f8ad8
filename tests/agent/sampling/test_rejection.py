"""Rejection from a prior: its draws follow P0 R^(1/tau) / Z, and what it cannot do is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oreflow
from oreflow.agent.config.run import validate_config
from oreflow.agent.errors import ConfigError, TrainingError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.rollout.log_probabilities import log_prior
from oreflow.agent.sampling.sampler import BaselineSampler
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_policy, make_reward, make_scorer
from oreflow.envs.arrays import Floats, States
from oreflow.envs.contract.labelings import canonical

WORLDS: dict[str, dict[str, Any]] = {
    "compositions": {"elements": ["Li", "Mn", "O"], "n_elements": [2, 3], "n_atoms": [2, 7], "neutrality": "off"},
    "decorations": {
        "kind": "wyckoff",
        "elements": ["Sr", "Ti", "O"],
        "space_groups": [62, 129, 194, 221, 225],
        "n_atoms": [2, 5],
        "geometry": False,
        "neutrality": "off",
    },
}
FORMULAS = ["LiO", "Li2O", "Li3O", "LiO2", "Li2MnO3", "LiMnO2", "MnO2", "Mn2O3", "MnO"]
SMALL = {"compositions": {"n_atoms": [3, 7]}, "decorations": {"space_groups": [129, 194, 221, 225]}}
COUNTED = {"space_groups": "counted", "power": None}
HARD = {"name": "complexity", "shape": {"kind": "below", "threshold": 2.0, "width": 0.5}}


@pytest.fixture(scope="module")
def priors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A prior of formulas, and one of decorations that was hardly fitted, in worlds larger than those sampled from."""
    folder = tmp_path_factory.mktemp("priors")
    (folder / "known.csv").write_text("\n".join(["formula", *FORMULAS]) + "\n")
    write_cif(folder / "known.cif")
    for name, world in WORLDS.items():
        path = folder / ("known.csv" if name == "compositions" else "known.cif")
        sampler = {"kind": "prior", "warm_start": {"path": str(path)}, "steps": 60, "held_out": 0.0, "hidden": [32]}
        config = {"schema_version": 1, "world": world, "reward": {"terms": [HARD]}, "sampler": sampler}
        oreflow.train(config, folder / name)
    return {name: folder / name for name in WORLDS}


def write_cif(path: Path) -> None:
    from tests.support.cifs import ROCK_SALT

    path.write_text(ROCK_SALT.replace("Na", "Sr").replace("Cl", "O"))


def config_of(prior: Path, term: dict[str, Any] = HARD, **target: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "world": WORLDS[prior.name] | SMALL[prior.name],
        "target": {"prior": str(prior)} | target,
        "reward": {"terms": [term]},
        "sampler": {"kind": "rejection", "steps": 2, "batch": 64},
        "run": {"threads": 1},
    }


@pytest.mark.parametrize(
    ("prior", "tau", "least"),
    [
        ("compositions", 1.0, None),
        ("compositions", 3.0, None),
        ("decorations", 0.5, None),
        ("compositions", 1.0, -4.0),
        ("decorations", 0.5, -4.0),
    ],
)
def test_draws_follow_prior_times_reward(
    prior: str, tau: float, least: float | None, priors: dict[str, Path], tmp_path: Path
) -> None:
    config = validate_config(config_of(priors[prior], tau=tau, least_log_prior=least), "test")
    oreflow.train(config, tmp_path / "run")
    run = load_run(RunFolder(tmp_path / "run"))
    assert run.prior is not None
    learns = config.model_copy(update={"sampler": config.sampler.model_copy(update={"kind": "gflownet"})})
    exact = compare_exactly(
        run.kernel,
        make_policy(learns, run.kernel),
        make_scorer(run.kernel, make_reward(config), target=config.target),
        prior=run.prior,
        tau=tau,
    )
    target = exact.target
    if least is not None:
        likely = log_prior(run.kernel, run.prior, exact.objects) >= least
        assert 0.2 < target[likely].sum() < 0.9
        target = np.where(likely, target, 0.0) / target[likely].sum()
    n = 6000
    drawn = canonical(run.kernel, run.sampler.draw(n, np.random.default_rng(5)))
    place = {state.tobytes(): i for i, state in enumerate(canonical(run.kernel, exact.objects))}
    counts = np.bincount([place[state.tobytes()] for state in drawn], minlength=len(place))
    # The expected total variation of n independent draws of the target itself, and its spread.
    rng = np.random.default_rng(0)
    floor = [0.5 * np.abs(rng.multinomial(n, target) / n - target).sum() for _ in range(200)]
    found = 0.5 * np.abs(counts / n - target).sum()
    assert found < np.mean(floor) + 4 * np.std(floor)
    prior_alone = 0.5 * np.abs(counts / n - target**0.5 / (target**0.5).sum()).sum()
    assert prior_alone > np.mean(floor) + 8 * np.std(floor)  # another target would be told from it


def test_a_run_says_how_many_draws_are_taken_and_its_table_is_ranked(priors: dict[str, Path], tmp_path: Path) -> None:
    run = oreflow.train(config_of(priors["compositions"]), tmp_path / "run")
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["acceptance"] < 1
    rows = oreflow.sample(run, 20, unique=True, out=tmp_path / "out")
    total = rows["log_prior"] + rows["log_reward"]
    assert (np.diff(total) <= 1e-6).all()
    assert "P0 · R" in json.loads((tmp_path / "out" / "summary.json").read_text())["target"]


def test_what_has_no_reward_is_never_drawn(priors: dict[str, Path], tmp_path: Path) -> None:
    oreflow.train(config_of(priors["compositions"]), tmp_path / "run")
    run = load_run(RunFolder(tmp_path / "run"))
    assert isinstance(run.sampler, BaselineSampler)

    def score(states: States) -> Floats:
        return np.where(run.kernel.objects(states).n_elements == 2, -0.5, np.nan)

    drawn = run.sampler.searcher.draw(300, np.random.default_rng(0), score)
    assert (run.kernel.objects(drawn).n_elements == 2).all()
    anything = run.sampler.searcher.propose(300, np.random.default_rng(0))
    assert (run.kernel.objects(anything).n_elements == 3).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": {}}, "rejection takes draws of a prior; add target.prior"),
        ({"target": {"least_log_prior": -9.0}}, "least_log_prior: expected a prior beside it"),
        (
            {"target": {"prior": "p", "least_log_prior": -9.0}, "sampler": {"kind": "gflownet"}},
            "works with sampler.kind rejection, got gflownet",
        ),
        ({"world": WORLDS["decorations"] | {"geometry": True}}, "set world.geometry to false"),
        ({"reward": {"terms": [{"name": "complexity", "shape": {"kind": "minimise", "beta": 1.0}}]}}, "largest log R"),
    ],
)
def test_what_it_cannot_do_is_said(change: dict[str, Any], message: str) -> None:
    prior = Path("decorations" if "world" in change else "compositions")
    with pytest.raises(ConfigError, match=message):
        validate_config(config_of(prior) | change, "test")


def test_a_bound_makes_unbounded_shapes_possible_and_a_sharp_reward_gives_up(
    priors: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(priors["compositions"], {"name": "complexity", "shape": {"kind": "minimise", "beta": 50.0}})
    config["reward"] |= {"log_max": 0.0, "log_min": -1e4}
    run = oreflow.train(config, tmp_path / "run")
    monkeypatch.setattr("oreflow.agent.learners.rejection._MOST_IN_VAIN", 2000)
    config["reward"]["log_max"] = 150.0
    sharp = oreflow.train(config, tmp_path / "sharp")
    with pytest.raises(TrainingError, match="too sharp for rejection"):
        oreflow.sample(sharp, 5)
    assert len(oreflow.sample(run, 5)) == 5


def test_space_groups_have_shares_of_a_power_of_their_z(priors: dict[str, Path], tmp_path: Path) -> None:
    config = validate_config(
        config_of(priors["decorations"], space_groups="power", power=0.4)
        | {"sampler": {"kind": "rejection", "steps": 20, "batch": 256}},
        "test",
    )
    oreflow.train(config, tmp_path / "run")
    run = load_run(RunFolder(tmp_path / "run"))
    assert run.prior is not None
    assert run.strata is not None
    plain = config.model_copy(update={"target": config.target.model_copy(update=COUNTED)})
    learns = plain.model_copy(update={"sampler": plain.sampler.model_copy(update={"kind": "gflownet"})})
    exact = compare_exactly(
        run.kernel, make_policy(learns, run.kernel), make_scorer(run.kernel, make_reward(config)), prior=run.prior
    )
    group = run.strata.of_objects(run.kernel, exact.objects)
    z = np.bincount(group, exact.target)
    share = z**0.4 / (z**0.4).sum()
    np.testing.assert_allclose(np.exp(run.strata.log_share), share, rtol=0.2)  # measured on 5 120 draws
    target = exact.target / z[group] * np.exp(run.strata.log_share)[group]
    n = 6000
    drawn = canonical(run.kernel, run.sampler.draw(n, np.random.default_rng(5)))
    place = {state.tobytes(): i for i, state in enumerate(canonical(run.kernel, exact.objects))}
    counts = np.bincount([place[state.tobytes()] for state in drawn], minlength=len(place))
    rng = np.random.default_rng(0)
    floor = [0.5 * np.abs(rng.multinomial(n, target) / n - target).sum() for _ in range(200)]
    assert 0.5 * np.abs(counts / n - target).sum() < np.mean(floor) + 4 * np.std(floor)
    assert 0.5 * np.abs(counts / n - exact.target).sum() > np.mean(floor) + 8 * np.std(floor)
    rows = oreflow.sample(tmp_path / "run", 200, seed=1, out=tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "proportional to Z^0.4, Z the sum of P0 · R in each" in summary["target"]
    assert summary["shares"].keys() == {"129", "194", "221", "225"}
    assert set(rows["space_group_number"]) <= {129, 194, 221, 225}


def test_shares_that_rejection_cannot_give_are_refused(priors: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"target.space_groups: .*rejection thins space groups by a power"):
        validate_config(config_of(priors["decorations"], space_groups="uniform"), "test")
