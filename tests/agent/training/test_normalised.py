"""Geometries with a normaliser of their own: the exact target by hand, and samplers that reach it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import compare_exactly, log_target
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_decoration_scorer, make_kernel, make_policy, make_reward, make_scorer
from oreflow.agent.training.loop import train

WORLD: dict[str, Any] = {
    "kind": "wyckoff",
    "space_groups": [123, 166, 221, 225],
    "elements": ["Zn", "O", "S"],
    "n_elements": [2, 2],
    "n_atoms": [2, 4],
    "length_bin": 0.5,
    "axis_ratio_max": 2.0,
    "volume_a3_per_atom": [10.0, 22.0],
}
TERMS: list[dict[str, Any]] = [
    {"name": "crystal_formation_energy", "shape": {"kind": "minimise", "beta": 1.0}},
    {"name": "electronegativity_balance", "shape": {"kind": "verdict", "log_penalty": 1.0}},
    {"name": "contact_ratio", "shape": {"kind": "target", "value": 1.0, "width": 0.4}},
    {"name": "volume_ratio", "shape": {"kind": "target", "value": 1.0, "width": 1.0}},
]


def config_of(grid: int = 24, **sections: Any) -> Config:
    sampler: dict[str, Any] = {"batch": 256, "hidden": [128, 128], "learning_rate": 0.003}
    sections["sampler"] = sampler | sections.get("sampler", {})
    sections["target"] = {"measure": "normalised"} | sections.get("target", {})
    data: dict[str, Any] = {"schema_version": 1, "world": WORLD | {"grid": grid}, "run": {"threads": 1}}
    return validate_config(data | {"reward": {"terms": TERMS, "log_min": -8.0}} | sections, "test")


def target_of(config: Config, policy: Any = None) -> tuple[Any, Any]:
    """What `exact` compares a policy with, by default an untrained one."""
    kernel, reward = make_kernel(config), make_reward(config)
    scorer = make_scorer(kernel, reward, target=config.target)
    of_decorations = make_decoration_scorer(kernel, reward, config.target)
    policy = policy or make_policy(config, kernel)
    return kernel, compare_exactly(kernel, policy, scorer, log_decoration=of_decorations)


def decorations(kernel: Any, exact: Any) -> dict[str, float]:
    """Mass of each decoration in the target."""
    out: dict[bytes, float] = {}
    for key, mass in zip(names_of(kernel, exact), exact.target.tolist()):
        out[key] = out.get(key, 0.0) + mass
    return out


def names_of(kernel: Any, exact: Any) -> list[str]:
    """The decorations of the objects in words, such as "225: Zn a, O b"."""
    return [text.split(" | ")[0] for text in kernel.describe(exact.objects)]


def test_the_target_is_decorations_by_their_own_terms_and_geometries_by_the_others() -> None:
    config = config_of()
    kernel, exact = target_of(config)
    values = make_reward(config)(kernel.objects(exact.objects))
    scores = values.log_scores
    own = scores["crystal_formation_energy"] + scores["electronegativity_balance"]
    rest = np.clip(sum(scores.values()), -8.0, None) - own  # what the floor cuts is left to the geometry
    weight, per_decoration = np.zeros(len(own)), {}
    rows = np.array(names_of(kernel, exact))
    for label in sorted(set(rows)):
        here = np.flatnonzero(rows == label)
        per_decoration[label] = np.exp(own[here[0]])
        weight[here] = np.exp(own[here]) * np.exp(rest[here]) / np.exp(rest[here]).sum()
    assert len(per_decoration) > 20
    assert exact.target == pytest.approx(weight / weight.sum(), rel=1e-9)
    assert exact.log_z == pytest.approx(np.log(sum(per_decoration.values())), rel=1e-9)


def test_a_finer_grid_changes_no_decoration() -> None:
    coarse, fine = (decorations(*target_of(config_of(grid=grid))) for grid in (24, 48))
    assert coarse.keys() <= fine.keys()
    common = sum(fine[key] for key in coarse)
    assert [fine[key] / common for key in coarse] == pytest.approx(list(coarse.values()), rel=1e-6)


SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "trajectory balance": ("counted", {}),
    "variance": ("uniform", {"objective": "log_partition_variance"}),
    "sub-trajectory balance": ("uniform", {"objective": "sub_trajectory_balance"}),
    "policy gradient": ("counted", {"kind": "policy_gradient"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_reach_it(name: str, tmp_path: Path) -> None:
    shares, sampler = SAMPLERS[name]
    config = config_of(sampler=sampler | {"steps": 1600}, target={"space_groups": shares})
    folder = RunFolder(tmp_path / "run")
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    run = load_run(folder)
    kernel, exact = target_of(config, run.policy)
    assert exact.total_variation < 0.05
    scorer = make_scorer(kernel, make_reward(config), of_states=False, target=config.target)
    wanted = log_target(kernel, run.policy, exact.objects, scorer(exact.objects))  # type: ignore[arg-type]
    likely = exact.target > np.median(exact.target)
    spread = wanted[likely] - np.log(exact.target[likely])
    assert spread.std() < 0.3  # log Z_D is learned, too


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"sampler": {"replay": {"share": 0.2}}}, "normalised, but sampler.replay"),
        ({"sampler": {"local_search": {"rounds": 1}}}, "normalised, but sampler.local_search"),
        ({"sampler": {"engine": "torchgfn"}}, "normalised, but sampler.engine"),
        ({"world": WORLD | {"geometry": False}, "reward": {"terms": TERMS[:2]}}, "normalised, but world.geometry"),
    ],
)
def test_what_it_does_not_go_with(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**sections)
