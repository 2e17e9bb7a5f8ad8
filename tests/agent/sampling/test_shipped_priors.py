"""The priors that ship: size, cards against draws, what they find likely, and worlds within theirs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import oreflow
from oreflow.agent.config.run import validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.rollout.log_probabilities import log_terminating_probability
from oreflow.agent.sampling.prior_card import shares_by_rules
from oreflow.agent.sampling.trained_run import TrainedRun, load_run, open_prior
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.storage.shipped_priors import pack, shipped_card, shipped_names, unpack
from oreflow.agent.training.build import make_checked, make_learner, make_reward, make_scorer
from oreflow.agent.training.loop import train
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from tests.support.cli import done, refused
from tests.support.repository import ROOT

MOST_BYTES = 6_000_000  # of all weights that ship


@pytest.fixture(scope="module")
def compositions() -> TrainedRun:
    return open_prior("compositions")


def test_all_weights_together_are_small() -> None:
    files = [path for folder in ("agent", "rewards") for path in (ROOT / folder).rglob("*.safetensors")]
    assert len(files) == 4
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert shipped_names() == ("compositions", "decorations")


@pytest.mark.parametrize("name", ["compositions", "decorations"])
def test_draws_are_as_the_card_says(name: str) -> None:
    run, card = open_prior(name), shipped_card(name)
    n = 2000
    drawn = run.sampler.draw(n, np.random.default_rng(5))
    shares = shares_by_rules(run.kernel.objects(drawn))
    for key, value in card["draws"].items():
        if key.startswith(("share_neutral", "share_smact")):
            assert shares[key] == pytest.approx(value, abs=4 * np.sqrt(value * (1 - value) / n)), key
    assert len({row.tobytes() for row in drawn}) / n > 0.97
    if name == "decorations":
        assert shares["entropy_space_groups_nats"] == pytest.approx(card["draws"]["entropy_space_groups_nats"], abs=0.1)


def test_known_formulas_are_likelier_than_random_ones_by_tens_of_nats(compositions: TrainedRun) -> None:
    known = ["LiCoO2", "SrTiO3", "MgAl2O4", "NaCl", "CsPbI3", "Fe2O3", "GaAs", "Li3PS4", "ZnS", "CaF2"]
    states, inside = compositions.kernel.find(Compositions.from_dicts([parse_formula(formula) for formula in known]))  # type: ignore[attr-defined]
    assert inside.all()
    random = compositions.kernel.sample_uniform(200, np.random.default_rng(0))  # type: ignore[attr-defined]
    of_known, of_random = (
        log_terminating_probability(compositions.kernel, compositions.policy, s)  # type: ignore[arg-type]
        for s in (states, random)
    )
    assert of_known.mean() > -14
    assert np.median(of_random) < of_known.mean() - 20


def test_rounding_to_eight_bits_loses_half_a_step() -> None:
    generator = torch.Generator().manual_seed(0)
    state = {"w": torch.randn(40, 30, generator=generator) * 3, "b": torch.randn(7, generator=generator)}
    seen = np.arange(40) % 3 != 0
    back = unpack(pack(state, {"w": seen}), state)
    step = state["w"].abs().amax(dim=1, keepdim=True) / 127
    assert ((back["w"] - state["w"]).abs() <= 0.51 * step + 1e-3 * state["w"].abs())[torch.from_numpy(seen)].all()
    assert (back["w"][torch.from_numpy(~seen)] == 0).all()
    assert torch.allclose(back["b"], state["b"], rtol=1e-3)


def config_of(**sampler: Any) -> Any:
    world = {"elements": ["Li", "Mn", "O"], "n_elements": [2, 3], "n_atoms": [2, 12], "neutrality": "hard"}
    terms = [{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}]
    sections = {"world": world, "reward": {"terms": terms}, "target": {"prior": "compositions"}, "run": {"threads": 1}}
    return validate_config({"schema_version": 1, "sampler": sampler} | sections, "test")


def test_a_narrow_world_takes_its_prior_from_the_wide_one(tmp_path: Path) -> None:
    config = config_of(steps=400, batch=128, learning_rate=0.001)
    kernel, _ = make_checked(config, "test")
    assert config.sampler.hidden == open_prior("compositions").config.sampler.hidden
    folder = RunFolder(tmp_path / "run")
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    run = load_run(folder)
    scorer = make_scorer(run.kernel, make_reward(config))
    exact = compare_exactly(run.kernel, run.policy, scorer, prior=run.prior)  # type: ignore[arg-type]
    assert exact.total_variation < 0.02
    # By hand: the likelihood of each formula in the prior's own world, times R.
    wide = open_prior("compositions")
    states, inside = wide.kernel.find(run.kernel.objects(exact.objects))  # type: ignore[attr-defined]
    assert inside.all()
    log_p = log_terminating_probability(wide.kernel, wide.policy, states)  # type: ignore[arg-type]
    weight = np.exp(log_p + scorer(exact.objects))
    assert exact.target == pytest.approx(weight / weight.sum(), rel=1e-4)
    assert kernel.n_actions < wide.kernel.n_actions


def test_a_sampler_begins_as_the_prior_among_what_the_world_allows() -> None:
    config = config_of(steps=1)
    kernel, _ = make_checked(config, "test")
    policy, wide = make_learner(config, kernel).policy, open_prior("compositions")
    assert policy is not None
    assert wide.policy is not None
    states = kernel.step(kernel.initial(3), np.flatnonzero(kernel.forward_allowed(kernel.initial(1))[0])[[0, 5, 9]])
    inclusion = kernel.included_in(wide.kernel)  # type: ignore[attr-defined]
    ours, _ = policy(torch.from_numpy(kernel.encode(states)))
    theirs, _ = wide.policy(torch.from_numpy(wide.kernel.encode(inclusion.states(states))))
    torch.testing.assert_close(ours, theirs[:, torch.from_numpy(inclusion.actions)], rtol=1e-4, atol=1e-4)


def test_sample_draws_and_completes_by_a_prior(tmp_path: Path) -> None:
    out = tmp_path / "some"
    result = done("sample", "--prior", "compositions", "-n", 40, "--unique", "--start", "Li ? P S", "--out", out)
    assert "completions of Li ? P S, by the run's policy conditioned step by step" in result.stdout
    frame = pd.read_parquet(out / "candidates.parquet")
    assert len(frame) == 40
    assert all({"Li", "P", "S"} < set(system.split("-")) for system in frame["chemsys"])
    assert set(frame["nelements"]) == {4}
    table = oreflow.sample("compositions", 20, seed=3)
    assert len(table) == 20


def test_what_cannot_be_sampled_is_refused(tmp_path: Path) -> None:
    for words, message in (
        (("--prior", "composition", "-n", 5), "got 'composition'; did you mean 'compositions'"),
        (("-n", 5), "expected a run or --prior, and not both"),
        ((tmp_path, "--prior", "compositions", "-n", 5), "expected a run or --prior, and not both"),
    ):
        refused(message, "sample", *words)
    with pytest.raises(ConfigError, match=r"got 'decoration'; did you mean 'decorations'"):
        make_checked(config_of_prior("decoration"), "test")
    with pytest.raises(ConfigError, match="fitted in a world of kind wyckoff, and this one is of kind composition"):
        make_checked(config_of_prior("decorations"), "test")


def config_of_prior(name: str) -> Any:
    config = config_of(steps=1)
    config.target.prior = name
    return config


def test_rows_of_a_prior_are_ranked_by_its_likelihood_and_not_by_a_reward(tmp_path: Path) -> None:
    out = tmp_path / "rows"
    result = done("sample", "--prior", "compositions", "-n", 60, "--unique", "--near", "LiFePO4", "--out", out)
    assert "ranked by log_pf" in result.stdout
    frame = pd.read_parquet(out / "candidates.parquet")
    assert frame.sort_values("rank")["log_pf"].round(2).is_monotonic_decreasing
    assert (frame["changes"] != "").all()
    assert {"changes", "log_pf"} <= set(pd.read_csv(out / "candidates.csv").columns)
