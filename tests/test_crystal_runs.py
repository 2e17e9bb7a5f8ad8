"""Runs in the crystal world: samplers reach R/Z over crystals; the command line goes from config to CIF and back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from agent.build import make_reward, make_scorer
from agent.config import Config, validate_config
from agent.exact import compare_exactly, log_terminating_probability
from agent.run_dir import RunFolder
from agent.sampling import load_run
from agent.train import train
from envs.labelings import canonical, count_objects, every_labeling
from envs.structures import crystal_from_text, pymatgen_structures
from tests.benchmarks.bench_crystals import by_moyopy, holds_group
from tests.cli import done, oreflow

WORLD: dict[str, Any] = {
    "kind": "wyckoff",
    "space_groups": [136, 186, 225],
    "elements": ["Zn", "Ti", "O"],
    "n_elements": [2, 2],
    "n_atoms": [2, 4],
    "grid": 24,
    "length_bin": 0.5,
    "axis_ratio_max": 1.5,
    "volume_a3_per_atom": [10.0, 22.0],
}
TERMS = [
    {"name": "volume_ratio", "shape": {"kind": "target", "value": 1.0, "width": 1.0}},
    {"name": "contact_ratio", "shape": {"kind": "target", "value": 1.0, "width": 0.5}},
]


def small(world: dict[str, Any] | None = None, **sampler: object) -> Config:
    return validate_config(
        {
            "schema_version": 1,
            "world": WORLD | (world or {}),
            "reward": {"terms": TERMS, "log_min": -6.0},
            "sampler": {"batch": 128, "hidden": [64, 64], "learning_rate": 0.004} | sampler,
            "run": {"threads": 1},
        },
        "test",
    )


def trained(config: Config, path: Path) -> Any:
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    return load_run(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampler", [{"kind": "gflownet", "epsilon_start": 0.2}, {"kind": "policy_gradient", "epsilon_start": 0.0}]
)
def test_samplers_reach_the_target_over_crystals(tmp_path: Path, sampler: dict[str, object]) -> None:
    """Crystals of several labelings included: P_T of a crystal is the sum over the states that it is."""
    run = trained(small(steps=1500, **sampler), tmp_path / "run")
    reward = make_reward(run.config)
    exact = compare_exactly(run.kernel, run.policy, make_scorer(run.kernel, reward))
    assert len(exact.objects) == count_objects(run.kernel) < run.kernel.enumerate().n_objects
    assert exact.learned.sum() == pytest.approx(1.0, abs=1e-9)
    values = reward(run.kernel.objects(exact.objects))
    assert exact.target == pytest.approx(np.exp(values.log_reward - exact.log_z))  # R of the crystal, undivided
    assert exact.log_z == pytest.approx(np.logaddexp.reduce(values.log_reward))
    assert exact.total_variation < 0.03
    log_p = log_terminating_probability(run.kernel, run.policy, exact.objects)
    assert np.exp(log_p) == pytest.approx(exact.learned, rel=1e-4)


def test_every_labeling_is_one_crystal(rng: np.random.Generator) -> None:
    from agent.build import make_kernel
    from agent.moves import random_rollout

    kernel = make_kernel(small())
    states = random_rollout(kernel, kernel.initial(50), rng)[0]
    labelings, row = every_labeling(kernel, states)
    counts, _ = kernel.labelings(states)  # type: ignore[union-attr]
    assert np.array_equal(np.bincount(row), counts)
    assert counts.max() > 1
    assert np.array_equal(canonical(kernel, labelings), canonical(kernel, states)[row])


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crystals") / "config.yaml"
    data = {
        "schema_version": 1,
        "purpose": "crystals small enough for a test",
        "world": WORLD,
        "reward": {"terms": [*TERMS, {"name": "crystal_formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}]},
        "sampler": {"steps": 20, "batch": 64, "hidden": [16]},
        "run": {"threads": 1, "log_every_steps": 10},
    }
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")  # pymatgen turns 0.333333333333 into 1/3
def test_from_config_to_cifs_and_back(config_file: Path, tmp_path: Path) -> None:
    from pymatgen.core import Structure

    run, samples = tmp_path / "run", tmp_path / "run" / "samples"
    printed = done("check", config_file).stdout
    assert "3 elements" in printed
    assert "contract holds" in printed
    done("train", config_file, "--out", run, "-q")
    summary = json.loads(done("sample", run, "-n", 30, "--unique", "--json").stdout)
    assert summary["n_rows"] == 30
    assert summary["random_objects"] == "random build orders"
    assert summary["share_neutral"] == 1.0
    frame = pd.read_parquet(samples / "candidates.parquet")
    crystals = crystal_from_text(frame["structure"].tolist())
    structures = pymatgen_structures(crystals)
    assert frame["space_group_number"].tolist() == crystals.space_group.tolist()
    assert frame["nsites"].tolist() == [len(structure) for structure in structures]
    assert np.isfinite(frame["log_pf"]).all()
    assert frame["structure"].is_unique
    cells = crystals.atoms(primitive=False)
    for row, (number, found) in enumerate(zip(frame["space_group_number"], frame["space_group_found"])):
        of_moyopy, rotations, translations = by_moyopy(cells, row, 1e-4)
        assert of_moyopy == found
        assert holds_group(number, rotations, translations)  # that group or a supergroup
    cifs = sorted((samples / "cif").iterdir())
    assert [path.stem for path in cifs] == frame["candidate_id"].tolist()
    for path, structure in zip(cifs[:5], structures):
        again = Structure.from_file(path, primitive=True)
        assert again.reduced_formula == structure.reduced_formula
        assert again.volume / len(again) == pytest.approx(structure.volume / len(structure), rel=1e-6)
    frames = (samples / "structures.extxyz").read_text().count("Lattice=")
    assert frames == 30

    # the same crystals as a reference: none is new, by whichever files they come
    for reference in (samples / "cif", samples / "candidates.csv", samples / "structures.extxyz"):
        out = tmp_path / reference.name
        done("sample", run, "-n", 30, "--unique", "--reference", reference, "--out", out, "-q")
        assert not pd.read_parquet(out / "candidates.parquet")["is_novel"].any(), reference
        metrics = json.loads(done("evaluate", samples / "candidates.csv", "--reference", reference, "--json").stdout)
        assert metrics["n_unique_crystals"] == 30
        assert metrics["share_novel_protostructures"] == 0.0


def test_random_and_other_baselines_run(config_file: Path, tmp_path: Path) -> None:
    for kind in ("random", "metropolis_hastings", "genetic"):
        run = tmp_path / kind
        done("train", config_file, "--out", run, "-q", "--set", f"sampler.kind={kind}", "--set", "sampler.steps=3")
        summary = json.loads(done("sample", run, "-n", 5, "--unique", "--json").stdout)
        assert summary["n_rows"] == 5


def test_a_term_that_the_world_cannot_serve_is_refused(config_file: Path) -> None:
    refused = oreflow("check", config_file, "--set", "world.geometry=false")
    assert refused.exit_code == 2
    assert (
        "reward.terms.0 (volume_ratio): expected a reward of decorations, as world.geometry is false" in refused.stderr
    )
    data = yaml.safe_load(config_file.read_text())
    data["world"] = {"elements": ["Zn", "O"]}
    flat = config_file.with_name("flat.yaml")
    flat.write_text(yaml.safe_dump(data))
    refused = oreflow("check", flat)
    assert refused.exit_code == 2
    assert "set world.kind: wyckoff" in refused.stderr


def test_an_impossible_composition_names_the_groups_that_could_host_it(config_file: Path, tmp_path: Path) -> None:
    overrides = ["--set", "world.space_groups=[227]", "--set", "world.composition=ZnTiO3"]
    overrides += ["--set", "world.n_atoms=[5, 5]", "--set", "world.n_elements=[3, 3]"]
    refused = oreflow("train", config_file, "--out", tmp_path / "run", *overrides)
    assert refused.exit_code == 2
    assert not (tmp_path / "run").exists()
    assert "227 (Fd-3m) cannot" in refused.stderr
    assert "221" in refused.stderr


def test_structures_are_scored(tmp_path: Path) -> None:
    """Rock salt and perovskite: what the rewards say of them by themselves, and with the reward of a config."""
    from envs.encode_structure import encode_structures
    from envs.structure_writers import cif_text
    from tests.prototypes import prototypes

    known = [p for p in prototypes() if p.name in ("rock salt", "perovskite")]
    crystals, _, _ = encode_structures([p.structure for p in known])
    (tmp_path / "cifs").mkdir()
    for name, text in zip(("a", "b"), cif_text(crystals)):
        (tmp_path / "cifs" / f"{name}.cif").write_text(text)
    (tmp_path / "cifs" / "bad.cif").write_text("data_bad\n_cell_length_a x\n")
    result = oreflow("score", "--in", tmp_path / "cifs", "--json")
    rows = json.loads(result.stdout)
    assert [row["formula_reduced"] for row in rows] == ["ClNa", "O3SrTi"]
    assert [row["space_group_number"] for row in rows] == [225, 221]
    assert all(row["charge_neutral"] for row in rows)
    assert all(row["crystal_formation_energy_ev_per_atom"] < -1 for row in rows)
    assert "1 structures" in result.stderr
    assert "bad.cif" in result.stderr
    refused = oreflow("score", "NaCl", "--in", tmp_path / "cifs")
    assert refused.exit_code == 2
    assert "got both" in refused.stderr


def test_crystals_as_wide_as_they_need_are_written_and_read() -> None:
    from envs.crystals import Crystals
    from envs.structures import crystal_to_text

    wide = Crystals([8], [0, 1], [1], [3], [[132.1, 1470.4, 90.0, 90.0, 100.0, 90.0]], [[0.1, 0.2, 0.3]])
    assert np.array_equal(crystal_from_text(crystal_to_text(wide)).lattice, wide.lattice)
