"""Shares of the numbers of elements: P(x) = p(k) R(x)/Z_k, exactly, on a world of formulas that can be listed."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oreflow.agent.config.run import Config, dump_config, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import compare_exactly, log_target
from oreflow.agent.policy.prior import start_from
from oreflow.agent.rollout.log_probabilities import log_terminating_probability
from oreflow.agent.sampling.sample import sample
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_checked, make_policy, make_prior, make_reward, make_scorer
from oreflow.agent.training.loop import train
from oreflow.agent.training.resume import find_checkpoint
from oreflow.agent.training.target import make_strata
from tests.support.cli import done, refused

WORLD = {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 8], "neutrality": "off"}
TERMS = [{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}]
SHARES = {1: 0.2, 2: 0.3, 3: 0.5}


def config_of(**sections: Any) -> Config:
    sampler = {"batch": 128, "hidden": [64, 64], "learning_rate": 0.004, "epsilon_start": 0.0}
    data = {"schema_version": 1, "world": WORLD, "reward": {"terms": TERMS}, "run": {"threads": 1}}
    data |= {"target": {"n_elements": SHARES}}
    return validate_config(data | sections | {"sampler": sampler | sections.get("sampler", {})}, "test")


def trained(config: Config, path: Path) -> Any:
    make_checked(config, "test")
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    return load_run(folder)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven binary formulas, LiO being there twice, and two ternary ones."""
    path = tmp_path_factory.mktemp("known") / "known.csv"
    formulas = [f"Li{a}O{b}" for a, b in itertools.product((1, 2, 3), (1, 2))] + ["Li2MnO3", "LiMnO2", "MnO2", "Mn2O3"]
    path.write_text("\n".join(["formula", *formulas]) + "\n")
    return path


@pytest.fixture(scope="module")
def prior(known: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior of the world without shares."""
    sampler = {"kind": "prior", "warm_start": {"path": str(known)}, "steps": 300, "held_out": 0.0}
    path = tmp_path_factory.mktemp("prior") / "run"
    trained(config_of(sampler=sampler, target={}), path)
    return path


def by_hand(n_elements: np.ndarray, weight: np.ndarray, shares: dict[int, float] = SHARES) -> np.ndarray:
    """p(k) times the weight, normalised among the formulas of k elements."""
    out = np.zeros(len(weight))
    for k, share in shares.items():
        out[n_elements == k] = share * weight[n_elements == k] / weight[n_elements == k].sum()
    return out


SAMPLERS: dict[str, tuple[dict[str, Any], float]] = {
    "trajectory balance": ({"steps": 600}, 0.02),
    "variance": ({"objective": "log_partition_variance", "steps": 600}, 0.02),
    "sub-trajectory balance": ({"objective": "sub_trajectory_balance", "steps": 800}, 0.02),
    "detailed balance": ({"objective": "detailed_balance", "steps": 1500}, 0.02),
    "learned backward": ({"backward": "learned", "steps": 600}, 0.02),
    "policy gradient": ({"kind": "policy_gradient", "steps": 600}, 0.03),
    "replay": ({"replay": {"share": 0.25}, "steps": 600}, 0.02),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_reach_shares_times_reward(name: str, tmp_path: Path) -> None:
    sampler, least = SAMPLERS[name]
    config = config_of(sampler=sampler)
    run = trained(config, tmp_path / "run")
    scorer = make_scorer(run.kernel, make_reward(config))
    exact = compare_exactly(run.kernel, run.policy, scorer)
    numbers = run.kernel.objects(exact.objects).n_elements
    assert exact.target == pytest.approx(by_hand(numbers, np.exp(scorer(exact.objects))), rel=1e-6)
    assert exact.total_variation < least
    for k, share in SHARES.items():
        assert exact.learned[numbers == k].sum() == pytest.approx(share, abs=1e-9)
    log_p = log_terminating_probability(run.kernel, run.policy, exact.objects)
    assert np.exp(log_p) == pytest.approx(exact.learned, rel=1e-4)


WITH_PRIOR: dict[str, tuple[dict[str, Any], float]] = {
    "relative trajectory balance": ({"steps": 800, "epsilon_start": 0.1}, 0.02),
    "its variance form": ({"objective": "log_partition_variance", "steps": 800, "epsilon_start": 0.1}, 0.02),
    "policy gradient": ({"kind": "policy_gradient", "steps": 800}, 0.03),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_PRIOR)
def test_samplers_reach_shares_times_prior_times_reward(name: str, prior: Path, tmp_path: Path) -> None:
    sampler, least = WITH_PRIOR[name]
    config = config_of(sampler=sampler, target={"n_elements": SHARES, "prior": str(prior), "tau": 2.0})
    run = trained(config, tmp_path / "run")
    scorer = make_scorer(run.kernel, make_reward(config))
    exact = compare_exactly(run.kernel, run.policy, scorer, prior=run.prior, tau=2.0)
    of_prior = load_run(RunFolder(prior))
    p0 = np.exp(log_terminating_probability(of_prior.kernel, of_prior.policy, run.kernel.plain_states(exact.objects)))
    numbers = run.kernel.objects(exact.objects).n_elements
    assert exact.target == pytest.approx(by_hand(numbers, p0 * np.exp(scorer(exact.objects) / 2)), rel=1e-4)
    assert exact.total_variation < least
    wanted = log_target(run.kernel, run.policy, exact.objects, scorer(exact.objects), run.prior, 2.0)
    assert np.exp(wanted) == pytest.approx(exact.target, rel=0.1, abs=1e-4)


def test_a_sampler_starts_from_its_prior_within_each_number(prior: Path) -> None:
    config = config_of(target={"n_elements": SHARES, "prior": str(prior)})
    kernel, _ = make_checked(config, "test")
    policy, fitted = make_policy(config, kernel), make_prior(config, kernel)
    assert fitted is not None
    assert start_from(policy, fitted)
    world = kernel.enumerate()
    states = world.states[1:]
    ours = policy(torch.from_numpy(kernel.encode(states)))[0]
    plain = kernel.plain  # type: ignore[attr-defined]
    theirs = fitted.policy(torch.from_numpy(plain.encode(kernel.plain_states(states))))[0]  # type: ignore[attr-defined]
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"n_elements": "uniform"}, {1: 1 / 3, 2: 1 / 3, 3: 1 / 3}),
        ({"n_elements": {2: 0.25, 3: 0.75}}, {2: 0.25, 3: 0.75}),
        ({"n_elements": {1: 0.0, 3: 1.0}}, {3: 1.0}),
        ({"n_elements": "known"}, {1: 1 / 12, 2: 8 / 12, 3: 3 / 12}),
    ],
)
def test_shares(target: dict[str, Any], expected: dict[int, float], known: Path, tmp_path: Path) -> None:
    if target["n_elements"] == "known":
        target = target | {"reference": str(known)}
    config = config_of(target=target)
    kernel, _ = make_checked(config, "test")
    strata = make_strata(config, kernel)
    assert strata is not None
    assert dict(zip(map(int, strata.names), np.exp(strata.log_share))) == pytest.approx(expected)
    (tmp_path / "again.yaml").write_text(dump_config(config))  # a run needs the reference no more
    assert config.target.reference is None
    config_of(target=config.target.model_dump(mode="json"))


def test_shares_that_do_not_sum_to_one_are_normalised_and_said() -> None:
    config = config_of(target={"n_elements": {2: 3, 3: 1}})
    with pytest.warns(UserWarning, match=r"sum to 4, not to 1; taken as \{2: 0\.75, 3: 0\.25\}"):
        make_checked(config, "test")
    assert config.target.n_elements == {2: 0.75, 3: 0.25}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"target": {"n_elements": {4: 1.0}}}, "target.n_elements: expected numbers of elements of which the world"),
        ({"target": {"n_elements": {2: 0, 3: 0}}}, "expected at least one share above 0, got {2: 0"),
        ({"target": {"n_elements": {2: -1}}}, "target.n_elements"),
        ({"target": {"n_elements": {"two": 1}}}, "target.n_elements"),
        ({"target": {"n_elements": "by_system"}}, "target.n_elements"),
        ({"target": {"n_elements": "known"}}, "reference: expected known compounds"),
        ({"target": {"n_elements": "uniform", "reference": "x.csv"}}, "reference: expected known compounds"),
        ({"target": {"n_elements": "uniform", "space_groups": "uniform"}}, "those of crystals"),
        ({"sampler": {"kind": "genetic"}}, "target.n_elements: sampler.kind genetic learns nothing"),
        ({"sampler": {"kind": "prior", "warm_start": {"path": "x"}}}, "target.n_elements: a prior is fitted to known"),
        ({"sampler": {"family": {"kind": "temperature"}}}, "target.n_elements: a family of rewards"),
        ({"world": {"kind": "alloy", "elements": ["Fe", "Ni"]}}, "got world.kind alloy; leave it at counted"),
        ({"world": {"kind": "wyckoff", "elements": ["Zn", "O"]}}, "and prescribe space_groups"),
    ],
)
def test_bad_shares(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_checked(config_of(**sections), "test")
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["trajectory balance", "policy gradient", "replay"])
def test_a_run_that_was_stopped_goes_on_to_the_last_bit(tmp_path: Path, name: str) -> None:
    config = config_of(sampler=SAMPLERS[name][0] | {"steps": 12}, run={"threads": 1, "log_every_steps": 4})
    through = trained(config, tmp_path / "through")
    folder = RunFolder(tmp_path / "stopped")
    folder.create(config, overwrite=False, plugins=[])
    assert train(config, folder, quiet=True, callback=lambda line: True).steps == 4
    train(config, folder, quiet=True, resume_from=find_checkpoint(folder, fall_back=False)[0])
    again = load_run(folder)
    for parameter, value in through.policy.state_dict().items():
        assert torch.equal(again.policy.state_dict()[parameter], value), parameter
    assert folder.metrics_path.read_bytes() == (tmp_path / "through" / "metrics.jsonl").read_bytes()


def test_summaries_say_what_was_sampled(tmp_path: Path, known: Path) -> None:
    config = config_of(sampler={"steps": 30})
    (tmp_path / "c.yaml").write_text(dump_config(config))
    shares = "each of the 3 numbers of elements has its share (1: 0.2, 2: 0.3, 3: 0.5)"
    words = f"{shares}; within one, formulas in proportion to R"
    assert f"target: {words}" in done("train", tmp_path / "c.yaml", "--out", tmp_path / "run").stdout
    shown = done("sample", tmp_path / "run", "-n", 2000).stdout
    assert f"sampled                    {words}" in shown
    assert "numbers of elements        1: " in shown
    summary = sample(RunFolder(tmp_path / "run"), 2000, out=tmp_path / "out", quiet=True, seed=1)
    assert summary["target"] == words
    assert summary["shares"] == pytest.approx({"1": 0.2, "2": 0.3, "3": 0.5})
    assert summary["shares_of_rows"] == pytest.approx({"1": 0.2, "2": 0.3, "3": 0.5}, abs=0.05)
    assert "numbers of elements        3 of prescribed shares" in done("exact", tmp_path / "run").stdout
    refused("got 5; leave it out", "check", tmp_path / "c.yaml", "--set", "target.n_elements={5: 1}")


def test_known_compounds_of_numbers_without_a_share_are_left_out_and_counted(known: Path, tmp_path: Path) -> None:
    start = {"warm_start": {"path": str(known)}, "replay": {"share": 0.5}, "steps": 3}
    with pytest.warns(UserWarning, match="7 rows left out of the warm start, such as: LiO is no object"):
        run = trained(config_of(target={"n_elements": {3: 1.0}}, sampler=start), tmp_path / "run")
    assert set(run.kernel.objects(run.sampler.draw(50, np.random.default_rng(0))).n_elements.tolist()) == {3}
