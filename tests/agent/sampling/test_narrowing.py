"""`sample --start` and `--near`: rows keep to the bounds, log P is exact, and `world.start` is what is trained for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from oreflow.agent.api import sample as sample_frame
from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import compare_exactly, terminating_distribution
from oreflow.agent.policy.prior import Prior
from oreflow.agent.rollout.log_probabilities import action_log_probabilities, log_prior, log_terminating_probability
from oreflow.agent.sampling.trained_run import TrainedRun, load_run, narrowed
from oreflow.agent.search.random_walks import random_rollout
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_kernel, make_policy, make_reward, make_scorer
from oreflow.agent.training.loop import train
from oreflow.envs.composition.neighbours import read_formula
from oreflow.envs.crystal.completion import complete_crystal
from oreflow.envs.errors import StartError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from tests.envs.composition.test_neighbours import distance
from tests.support.cli import done, refused

WORLD = {"elements": ["Li", "Mn", "Fe", "O"], "n_elements": [1, 4], "n_atoms": [1, 8], "neutrality": "off"}
CRYSTALS = {
    "kind": "wyckoff",
    "space_groups": [123, 221, 225],
    "elements": ["O", "Ti", "Sr", "Ca"],
    "n_elements": [1, 3],
    "n_atoms": [1, 5],
    "geometry": False,
}
TERMS = [{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}]


def config_of(world: dict[str, Any], target: dict[str, Any] | None = None, **sampler: Any) -> Config:
    data = {"schema_version": 1, "world": world, "reward": {"terms": TERMS}, "run": {"threads": 1}}
    fitted = {"steps": 30, "batch": 128, "hidden": [32, 32], "learning_rate": 0.004, "epsilon_start": 0.0} | sampler
    return validate_config(data | {"sampler": fitted, "target": target or {}}, "test")


def trained(config: Config, path: Path) -> TrainedRun:
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    return load_run(folder)


@pytest.fixture(scope="module")
def formulas(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedRun]:
    path = tmp_path_factory.mktemp("formulas") / "run"
    return path, trained(config_of(WORLD), path)


@pytest.fixture(scope="module")
def crystals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedRun]:
    path = tmp_path_factory.mktemp("crystals") / "run"
    return path, trained(config_of(CRYSTALS, {"space_groups": {"221": 1, "123": 3}}), path)


def everything(run: TrainedRun) -> np.ndarray:
    world = run.kernel.enumerate()
    return run.kernel.step(world.states[world.can_stop], np.full(world.n_objects, run.kernel.n_actions - 1))


def assert_law(run: TrainedRun, objects: np.ndarray, n: int = 20_000) -> None:
    """log P of all objects sums to one, and is how often each is drawn."""
    p = np.exp(run.sampler.log_probability(objects))
    assert p.sum() == pytest.approx(1.0, abs=1e-6)
    draws, counts = np.unique(run.sampler.draw(n, np.random.default_rng(0)), axis=0, return_counts=True)
    place = {row.tobytes(): i for i, row in enumerate(objects)}
    observed = np.zeros(len(objects))
    observed[[place[row.tobytes()] for row in draws]] = counts / n
    assert np.abs(observed - p).max() < 5 * np.sqrt(0.25 / n)
    assert (observed[p == 0] == 0).all()


@pytest.mark.parametrize("start", ["Li ? O", "Li2 O *", "Mn ? ?"])
def test_completions_of_a_formula_follow_their_law(formulas: tuple[Path, TrainedRun], start: str) -> None:
    run = narrowed(formulas[1], start, None)
    assert_law(run, everything(run))


@pytest.mark.parametrize("changes", [1, 2])
def test_neighbours_of_a_formula_follow_their_law(formulas: tuple[Path, TrainedRun], changes: int) -> None:
    whole = formulas[1]
    run = narrowed(whole, None, "LiMnO2", changes)
    objects = everything(whole)
    near = read_formula("LiMnO2")
    rows = [
        {e: n for e, n in zip(WORLD["elements"], row) if n}  # type: ignore[arg-type]
        for row in objects[:, [0, 2, 3, 1]].tolist()
    ]
    assert run.kernel.describe(objects[:1]) == whole.kernel.describe(objects[:1])
    away = np.array([distance(near, row) for row in rows])
    p = np.exp(run.sampler.log_probability(objects))
    assert np.array_equal(p > 0, (away >= 1) & (away <= changes))
    assert_law(run, objects)


@pytest.mark.parametrize(("start", "near"), [("Li ? *", None), ("Li2 O *", None), (None, "LiMnO2"), (None, "MnO")])
def test_shares_of_numbers_of_elements_stay_in_proportion(tmp_path: Path, start: str | None, near: str | None) -> None:
    """Where a run chooses the number of elements first, by prescribed shares."""
    shares = {2: 0.2, 3: 0.6, 4: 0.2}
    whole = trained(config_of(WORLD, {"n_elements": shares}, steps=5), tmp_path / "run")
    run = narrowed(whole, start, near, 2)
    objects = everything(whole)
    assert_law(run, objects if near else everything(run), 4000)
    if near is None:
        p = np.exp(run.sampler.log_probability(everything(run)))
        n = whole.kernel.objects(everything(run)).n_elements
        left = sum(share for k, share in shares.items() if k >= n.min())
        for k in range(n.min(), 5):
            assert p[n == k].sum() == pytest.approx(shares[k] / left)
        return
    formula, elements = read_formula(near), whole.kernel.space.elements  # type: ignore[attr-defined]
    rows = [{e: n for e, n in zip(elements, row) if n} for row in objects[:, :4].tolist()]
    away = np.array([distance(formula, row) for row in rows])
    assert np.array_equal(np.exp(run.sampler.log_probability(objects)) > 0, (away >= 1) & (away <= 2))


def test_numbers_of_elements_without_a_share_are_no_completions(tmp_path: Path) -> None:
    whole = trained(config_of(WORLD, {"n_elements": {2: 0.5, 3: 0.5}}, steps=2), tmp_path / "run")
    with pytest.raises(StartError, match="no share to its numbers of elements; it has 2, 3"):
        narrowed(whole, "Li Mn Fe O", None)
    near = narrowed(whole, None, "LiMnO2", 1)
    assert np.exp(near.sampler.log_probability(everything(whole))).sum() == pytest.approx(1.0)


def test_a_completed_world_with_shares_of_numbers_reaches_its_target(tmp_path: Path) -> None:
    target = {"n_elements": {2: 0.5, 3: 0.5}}
    config = config_of(WORLD | {"start": "Li2 *"}, target, steps=500, hidden=[64, 64], epsilon_start=0.1)
    run = trained(config, tmp_path / "run")
    exact = compare_exactly(run.kernel, run.policy, make_scorer(run.kernel, make_reward(config)))  # type: ignore
    assert exact.total_variation < 0.03
    counts = run.kernel.objects(exact.objects).dense()
    assert (counts[:, 3] == 2).all()
    assert set((counts > 0).sum(axis=1).tolist()) == {2, 3}


@pytest.mark.parametrize(("start", "near"), [("221: Sr@1a ?", None), ("Ti@1b ? O", None), (None, "221: Sr@a Ti@b O@c")])
def test_crystals_within_bounds_follow_their_law(
    crystals: tuple[Path, TrainedRun], start: str | None, near: str | None
) -> None:
    """Also where a run prescribes the shares of its space groups: those that are left share what there is."""
    whole = crystals[1]
    run = narrowed(whole, start, near, 2)
    assert_law(run, everything(whole) if near else everything(run), 4000)
    assert whole.policy is not None
    assert len(whole.policy.strata or ()) == 2
    if start is not None and ":" not in start:
        groups = whole.kernel.objects(everything(run)).space_group
        p = np.exp(run.sampler.log_probability(everything(run)))
        assert p[groups == 123].sum() == pytest.approx(0.75)


def test_training_in_a_completed_world_reaches_its_target(tmp_path: Path) -> None:
    config = config_of(WORLD | {"start": "Li ? O"}, steps=400, hidden=[64, 64])
    run = trained(config, tmp_path / "run")
    exact = compare_exactly(run.kernel, run.policy, make_scorer(run.kernel, make_reward(config)))  # type: ignore
    assert exact.total_variation < 0.02
    assert abs(exact.log_z_error) < 0.02
    formulas = run.kernel.objects(exact.objects)
    assert ((formulas.dense()[:, [3, 8]] > 0).all(axis=1) & (formulas.n_elements == 3)).all()
    whole = trained(config_of(WORLD, steps=1), tmp_path / "whole")
    both = everything(whole)[:, :-1]
    n = ((both[:, [0, 1]] > 0).all(axis=1) & ((both > 0).sum(axis=1) == 3)).sum()
    assert len(exact.objects) == n
    with pytest.raises(ConfigError, match=r"trained with world.start = 'Li [?] O'"):
        narrowed(run, "Li *", None)


@pytest.mark.parametrize("start", ["Li ? O", "Li2 ? O *"])
def test_a_prior_completes_and_serves_a_completed_world(tmp_path: Path, start: str) -> None:
    """Also where the trajectories begin with parts: the prior begins there, too."""
    known = tmp_path / "known.csv"
    known.write_text("formula\nLi2O\nMnO\nLiMnO2\nFeO\nLiFeO2\nLi2MnO3\n")
    sampler = {"kind": "prior", "warm_start": {"path": str(known)}, "steps": 60, "held_out": 0.0}
    prior = trained(config_of(WORLD, **sampler), tmp_path / "prior")
    run = narrowed(prior, start, None)
    assert_law(run, everything(run), 4000)
    config = config_of(WORLD | {"start": start}, {"prior": str(tmp_path / "prior")}, steps=400, hidden=[64, 64])
    product = trained(config, tmp_path / "product")
    scorer = make_scorer(product.kernel, make_reward(config))
    exact = compare_exactly(product.kernel, product.policy, scorer, prior=product.prior)  # type: ignore[arg-type]
    assert exact.total_variation < 0.02
    whole = trained(config_of(WORLD, {"prior": str(tmp_path / "prior")}, steps=2), tmp_path / "whole")
    frame = sample_frame(tmp_path / "whole", 20, unique=True, start=start)
    formulas = Compositions.from_dicts([parse_formula(formula) for formula in frame["formula_reduced"]])
    states, _ = whole.kernel.find(formulas)  # type: ignore[attr-defined]
    wanted = frame["log_reward"] + log_prior(whole.kernel, whole.prior, states)  # type: ignore[arg-type]
    assert frame["log_target"].to_numpy() == pytest.approx(wanted.to_numpy(), rel=1e-4)
    assert (np.diff(frame.sort_values("rank")["log_target"]) < 0.1).all()  # ranked to a tenth of a nat


@pytest.mark.parametrize("start", ["221: Sr@1a *", "Ti@1b ? O", "123: *"])
def test_a_prior_of_crystals_begins_with_the_given_sites(crystals: tuple[Path, TrainedRun], start: str) -> None:
    """log P0 against the prior's probabilities pushed through all states of the completed world."""
    whole = crystals[1]
    kernel = complete_crystal(whole.kernel, start)  # type: ignore[arg-type]
    prior = Prior(whole.kernel, whole.policy, kernel.included_in(whole.kernel))  # type: ignore[arg-type]
    world = kernel.enumerate()
    log_pf = action_log_probabilities(prior.kernel, prior.policy, prior.inclusion.states(world.states))
    objects = kernel.step(world.states[world.can_stop], np.full(world.n_objects, kernel.n_actions - 1))
    if kernel.begins_with_parts:
        expected = terminating_distribution(world, log_pf[:, prior.inclusion.actions])
    else:
        expected = np.exp(log_terminating_probability(whole.kernel, prior.policy, objects))
    assert 0 < expected.sum() < 1
    assert np.exp(log_prior(kernel, prior, objects)) == pytest.approx(expected, rel=1e-5)


def test_a_prior_of_decorations_serves_a_completed_world_with_geometry(rng: np.random.Generator) -> None:
    world = {
        "kind": "wyckoff",
        "space_groups": [186, 225],
        "elements": ["Zn", "O", "S"],
        "n_elements": [2, 2],
        "n_atoms": [2, 4],
        "grid": 24,
        "length_bin": 0.1,
    }
    config = config_of(world | {"geometry": False})
    bare = make_kernel(config)
    policy = make_policy(config, bare)
    kernel = make_kernel(config_of(world | {"start": "186: Zn@2b ?"}))
    states = random_rollout(kernel, kernel.initial(50), rng)[0]
    log_p0 = log_prior(kernel, Prior(bare, policy, kernel.included_in(bare)), states)  # type: ignore[attr-defined]
    completed = make_kernel(config_of(world | {"geometry": False, "start": "186: Zn@2b ?"}))
    decorations = kernel.included_in(bare).states(states)  # type: ignore[attr-defined]
    prior = Prior(bare, policy, completed.included_in(bare))  # type: ignore[attr-defined]
    assert len(np.unique(decorations, axis=0)) > 1
    assert log_p0 == pytest.approx(log_prior(completed, prior, decorations), rel=1e-5)


def test_tables_and_summaries_say_what_was_asked_for(formulas: tuple[Path, TrainedRun], tmp_path: Path) -> None:
    path, _ = formulas
    out = tmp_path / "near"
    result = done("sample", path, "-n", 20, "--unique", "--near", "LiMnO2", "--out", out, "--seed", 1)
    assert (
        "sampled                    what differs from LiMnO2 by at most 1 change, by the run's policy" in result.stdout
    )
    frame = pd.read_parquet(out / "candidates.parquet")
    assert frame["formula_reduced"].is_unique
    near = read_formula("LiMnO2")
    for formula, changes in zip(frame["formula_reduced"], frame["changes"]):
        assert distance(near, read_formula(formula)) == len(changes.split(", ")) == 1
    assert {"Mn -> Fe", "Li1 -> Li2", "Fe added", "Li removed"} & set(frame["changes"])
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["near"], summary["changes"], summary["log_reward_minus_log_pf_std"]) == ("LiMnO2", 1, None)
    frame = sample_frame(path, 500, unique=True, start="Li ? O2")
    assert frame.attrs["summary"]["world_exhausted"]
    assert (frame["formula_reduced"].map(lambda f: read_formula(f)["O"] == 2 and "Li" in read_formula(f))).all()
    assert np.exp(frame["log_pf"]).sum() == pytest.approx(1.0, abs=1e-5)
    everywhere = done("sample", path, "-n", 500, "--unique", "--near", "LiMnO2", "--out", out, "--overwrite")
    assert "these are all that keep to the bounds" in everywhere.stderr
    frame = pd.read_parquet(out / "candidates.parquet")
    assert np.exp(frame["log_pf"]).sum() == pytest.approx(1.0, abs=1e-5)


def test_structures_of_files_have_neighbours(crystals: tuple[Path, TrainedRun], tmp_path: Path) -> None:
    from pymatgen.core import Lattice, Structure

    places = [[0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]
    structure = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], places)
    structure.to(filename=str(tmp_path / "near.cif"))
    for near in (str(tmp_path / "near.cif"), "221: Sr@1b Ti@1a O@3d"):
        run = narrowed(crystals[1], None, near)
        assert run.narrowing is not None
        states = run.sampler.draw(50, np.random.default_rng(0))
        assert [text[:8] for text in set(run.narrowing.columns(states)["changes"])] == ["Sr -> Ca"]
        assert {text.partition(":")[0] for text in run.kernel.describe(states)} == {"221"}
    with pytest.raises(StartError, match="cannot read '/nowhere/near"):
        narrowed(crystals[1], None, "/nowhere/near.cif")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start", "Na ?"], "start 'Na ?': Na cannot occur: not among world.elements"),
        (["--start", "Li9 ?"], "10 atoms at least"),
        (["--start", ""], "expected a partial object, got none"),
        (["--start", "Li ?", "--near", "LiO"], "expected --start or --near, got both"),
        (["--near", "Xx"], "expected an element symbol"),
        (["--near", "Cs3AuBr7"], "no formula of this world is within 1 change of Cs3AuBr7"),
        (["--changes", "2"], "add --near, or leave it out"),
        (["--near", "LiO", "--changes", "0"], "greater than or equal to 1"),
    ],
)
def test_bounds_that_cannot_be_are_refused(
    formulas: tuple[Path, TrainedRun], tmp_path: Path, options: list[str], message: str
) -> None:
    refused(message, "sample", formulas[0], "-n", 5, "--out", tmp_path / "s", *options)
    assert not (tmp_path / "s").exists()


def test_a_start_in_a_config_is_checked_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"world: start 'Li [+]': cannot read '[+]'"):
        config_of(WORLD | {"start": "Li +"})
    with pytest.raises(StartError, match="Na cannot occur"):
        trained(config_of(WORLD | {"start": "Na ?"}), tmp_path / "run")
    with pytest.raises(ConfigError, match="works in worlds of kind composition and wyckoff"):
        narrowed(TrainedRun(None, object(), object(), None, 0), "Li", None)  # type: ignore[arg-type]


def test_a_search_without_a_policy_cannot_complete(tmp_path: Path) -> None:
    run = trained(config_of(WORLD, kind="random", steps=2), tmp_path / "run")
    with pytest.raises(ConfigError, match="--start needs a policy"):
        narrowed(run, "Li *", None)


def test_changes_stand_in_the_table_beside_a_target_of_shares(tmp_path: Path) -> None:
    run = trained(config_of(WORLD, {"n_elements": {2: 0.5, 3: 0.5}}, steps=2), tmp_path / "run")
    assert run.prior is None
    done("sample", tmp_path / "run", "-n", 5, "--unique", "--near", "LiMnO2", "--out", tmp_path / "out")
    frame = pd.read_parquet(tmp_path / "out" / "candidates.parquet")
    assert "log_target" in frame
    assert (frame["changes"].str.len() > 0).all()
