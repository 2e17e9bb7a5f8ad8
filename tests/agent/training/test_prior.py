"""Priors: what known objects look like, learned by likelihood, and samplers whose target is prior times reward."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.agent.config.run import Config, dump_config, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import compare_exactly, terminating_distribution, total_variation
from oreflow.agent.learners.prior import split
from oreflow.agent.rollout.log_probabilities import action_log_probabilities, log_terminating_probability
from oreflow.agent.sampling.sample import sample
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.tables.formulas import read_reference
from oreflow.agent.training.build import make_checked, make_kernel, make_reward, make_scorer
from oreflow.agent.training.loop import train
from oreflow.agent.training.priors import make_prior
from oreflow.agent.training.resume import find_checkpoint
from oreflow.agent.training.warm_start import known_objects
from tests.support.cli import done, refused

WORLD = {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 8], "neutrality": "off"}
TERMS = [{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}]


def config_of(**sections: Any) -> Config:
    sampler = {"batch": 128, "hidden": [64, 64], "learning_rate": 0.004, "epsilon_start": 0.0}
    data = {"schema_version": 1, "world": WORLD, "reward": {"terms": TERMS}, "run": {"threads": 1}}
    return validate_config(data | sections | {"sampler": sampler | sections.get("sampler", {})}, "test")


def trained(config: Config, path: Path) -> Any:
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    return load_run(folder)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Oxides of few atoms, the simpler ones more often than the others."""
    path = tmp_path_factory.mktemp("known") / "known.csv"
    formulas = [f"Li{a}O{b}" for a, b in itertools.product((1, 2, 3), (1, 2))] + ["Li2MnO3", "LiMnO2", "MnO2", "Mn2O3"]
    path.write_text("\n".join(["formula", *formulas]) + "\n")
    return path


@pytest.fixture(scope="module")
def prior(known: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    sampler = {"kind": "prior", "warm_start": {"path": str(known)}, "steps": 300, "held_out": 0.0}
    path = tmp_path_factory.mktemp("prior") / "run"
    return path, trained(config_of(sampler=sampler), path)


def test_a_prior_becomes_the_law_of_the_known_objects(prior: Any, known: Path) -> None:
    _, run = prior
    world = run.kernel.enumerate()
    law = terminating_distribution(world, action_log_probabilities(run.kernel, run.policy, world.states))
    objects = run.kernel.objects(world.states[world.can_stop]).key_bytes()
    listed = set(read_reference(known)[0].key_bytes())
    target = np.array([key in listed for key in objects], dtype=np.float64)
    assert target.sum() == len(listed)
    assert total_variation(law, target / target.sum()) < 0.1  # as sharp as 300 steps make it
    assert law[target > 0].sum() > 0.9


SAMPLERS: dict[str, tuple[dict[str, Any], float]] = {
    "relative trajectory balance": ({"steps": 800}, 0.02),
    "its variance form": ({"objective": "log_partition_variance", "steps": 800}, 0.02),
    "sub-trajectory balance": ({"objective": "sub_trajectory_balance", "steps": 800}, 0.02),
    "detailed balance": ({"objective": "detailed_balance", "steps": 1500}, 0.02),
    "policy gradient": ({"kind": "policy_gradient", "steps": 800}, 0.03),
    "replay": ({"replay": {"share": 0.25}, "steps": 800}, 0.02),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_reach_prior_times_reward(name: str, prior: Any, tmp_path: Path) -> None:
    path, of_prior = prior
    sampler, least = SAMPLERS[name]
    config = config_of(sampler=sampler, target={"prior": str(path), "tau": 2.0})
    run = trained(config, tmp_path / "run")
    scorer = make_scorer(run.kernel, make_reward(config))
    exact = compare_exactly(run.kernel, run.policy, scorer, prior=run.prior, tau=2.0)
    # By hand: the law of the prior times the root of R, normalised.
    p0 = np.exp(log_terminating_probability(of_prior.kernel, of_prior.policy, exact.objects))
    weight = p0 * np.exp(scorer(exact.objects) / 2)
    assert exact.target == pytest.approx(weight / weight.sum(), rel=1e-4)
    assert exact.total_variation < least
    plain = compare_exactly(run.kernel, run.policy, scorer)
    assert plain.total_variation > 0.2  # the prior matters


def test_a_sampler_starts_as_a_copy_of_its_prior(prior: Any, tmp_path: Path) -> None:
    path, of_prior = prior
    config = config_of(sampler={"steps": 1, "learning_rate": 1e-9}, target={"prior": str(path)})
    run = trained(config, tmp_path / "run")
    world = run.kernel.enumerate()
    laws = [
        terminating_distribution(world, action_log_probabilities(r.kernel, r.policy, world.states))
        for r in (run, of_prior)
    ]
    assert total_variation(*laws) < 1e-4
    summary = sample(RunFolder(tmp_path / "run"), 50, out=tmp_path / "out", quiet=True)
    assert summary["log_reward_minus_log_pf_std"] is not None


def test_held_out_objects_are_measured_and_stops_go_on(known: Path, tmp_path: Path) -> None:
    sampler = {"kind": "prior", "warm_start": {"path": str(known)}, "steps": 12, "held_out": 0.3}
    config = config_of(sampler=sampler, run={"threads": 1, "log_every_steps": 4})
    trained(config, tmp_path / "through")
    folder = RunFolder(tmp_path / "stopped")
    folder.create(config, overwrite=False, plugins=[])
    assert train(config, folder, quiet=True, callback=lambda line: True).steps == 4
    train(config, folder, quiet=True, resume_from=find_checkpoint(folder, fall_back=False)[0])
    metrics = folder.metrics_path.read_bytes()
    assert b"nats_per_watched_object" in metrics
    assert metrics == (tmp_path / "through" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"sampler": {"kind": "prior"}}, "a prior is fitted to known objects; name their file"),
        ({"sampler": {"kind": "prior", "warm_start": {"path": "x"}, "replay": {"share": 0.1}}}, "leave replay"),
        (
            {"sampler": {"kind": "random"}, "target": {"prior": "x"}},
            "works with gflownet, policy_gradient and rejection",
        ),
        (
            {"sampler": {"backward": "learned"}, "target": {"prior": "x"}},
            "works with gflownet, policy_gradient and rejection",
        ),
        ({"target": {"tau": 0}}, "tau"),
        ({"target": {"tau": 2.0}}, "tau: expected a prior beside it"),
    ],
)
def test_bad_configs(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**sections)


def test_a_prior_of_another_world_or_none_is_refused(prior: Any, tmp_path: Path) -> None:
    path, _ = prior
    other = config_of(world=WORLD | {"elements": ["Li", "Fe", "O"]}, target={"prior": str(path)})
    with pytest.raises(ConfigError, match=r"knows another world: this world has the element Fe"):
        make_prior(other, make_kernel(other))
    plain = config_of(sampler={"steps": 1})
    trained(plain, tmp_path / "plain")
    wrong = config_of(target={"prior": str(tmp_path / "plain")})
    with pytest.raises(ConfigError, match=r"expected a run of sampler\.kind prior"):
        make_checked(wrong, "test")


def test_fit_prior_writes_a_run_and_a_card(known: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(dump_config(config_of()))
    arguments = ("fit-prior", known, "--config", tmp_path / "c.yaml", "--steps", 60, "--set", "sampler.held_out=0.3")
    shown = done(*arguments, "--out", tmp_path / "prior").stdout
    assert "held-out compounds met" in shown
    card = json.loads((tmp_path / "prior" / "card.json").read_text())
    assert (card["data"]["n_fitted"], card["data"]["n_held_out"]) == (6, 3)
    run = load_run(RunFolder(tmp_path / "prior"))
    states = known_objects(run.config, run.kernel)
    assert states is not None
    held_out, fitted = split(states, run.config)
    assert len(held_out) == 3
    assert len(fitted) == 6
    exact = -log_terminating_probability(run.kernel, run.policy, held_out).mean()
    assert card["likelihood"]["nats_per_object"] == pytest.approx(exact)
    assert card["likelihood"]["nats_along_one_order"] > exact
    drawn = run.kernel.objects(run.sampler.draw(10_000, np.random.default_rng(1)))
    assert card["draws"]["share_distinct"] == pytest.approx(len(set(drawn.key_bytes())) / 10_000, abs=0.01)
    refused("holds a run already", *arguments, "--out", tmp_path / "prior")
    done("sample", tmp_path / "prior", "-n", 5, "-q")
    refused("a prior is fitted to known objects and not to R/Z", "exact", tmp_path / "prior")
