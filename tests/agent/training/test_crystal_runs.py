"""Runs in the crystal world: samplers reach R/Z over crystals; the command line goes from config to CIF and back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from benchmarks.envs.bench_crystals import by_moyopy, holds_group
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice

from oreflow.agent.config.run import Config, load_config, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.rollout.log_probabilities import log_terminating_probability
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.tables import candidate_structures, known_crystals
from oreflow.agent.tables.known_crystals import is_known_object
from oreflow.agent.training.build import make_kernel, make_reward, make_scorer
from oreflow.agent.training.loop import train
from oreflow.agent.training.warm_start import known_objects
from oreflow.envs.contract.labelings import canonical, count_objects, every_labeling
from oreflow.envs.errors import EncodeError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.crystal_text import crystal_from_text, crystal_to_text
from oreflow.envs.structure_io.encode import encode_structures
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures
from oreflow.envs.structure_io.reading.checks import Reason
from oreflow.envs.structure_io.reading.files import read_structure_files
from oreflow.rewards.terms.energy.crystal_formation_energy import CrystalFormationEnergy
from tests.support.cli import done, oreflow
from tests.support.prototypes import from_group, prototypes

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

ENERGY = {
    "name": "crystal_formation_energy",
    "params": {"std_weight": 0.5},
    "shape": {"kind": "minimise", "beta": 1.0},
}


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
    from oreflow.agent.search.random_walks import random_rollout

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
        "reward": {"terms": [*TERMS, ENERGY]},
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
    values = make_reward(load_config(config_file))(crystals)  # of what the table says the crystals are
    assert frame["log_reward"].to_numpy() == pytest.approx(values.log_reward, rel=1e-6)
    plain = CrystalFormationEnergy()(crystals).values
    assert frame["formation_energy_per_atom_pred"].to_numpy() == pytest.approx(plain, rel=1e-6)
    careful = frame["crystal_formation_energy_ev_per_atom"].to_numpy()  # plus half a standard deviation
    assert careful == pytest.approx(plain + 0.5 * frame["formation_energy_std"].to_numpy(), rel=1e-6)
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
    from oreflow.envs.structure_io.writers import cif_text

    known = [p for p in prototypes() if p.name in ("rock salt", "perovskite")]
    crystals, _, _ = encode_structures([p.structure for p in known])
    (tmp_path / "cifs").mkdir()
    for name, text in zip(("a", "b"), cif_text(crystals)):
        (tmp_path / "cifs" / f"{name}.cif").write_text(text)
    (tmp_path / "cifs" / "bad.cif").write_text("data_bad\n_cell_length_a x\n")
    result = oreflow("score", "--in", tmp_path / "cifs", "--json")
    rows = json.loads(result.stdout)
    assert [Path(row["structure_id"].split()[0]).name for row in rows] == ["a.cif", "b.cif"]
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
    wide = Crystals([8], [0, 1], [1], [3], [[132.1, 1470.4, 90.0, 90.0, 100.0, 90.0]], [[0.1, 0.2, 0.3]])
    assert np.array_equal(crystal_from_text(crystal_to_text(wide)).lattice, wide.lattice)


CUBE = [3.905] * 3 + [90.0] * 3
PEROVSKITE = Crystals([221], [0, 3], [0, 1, 2], [38, 22, 8], [CUBE], np.zeros((3, 3)))


def tetragonal_perovskite(c: float) -> Crystals:
    """SrTiO3 written in P4/mmm; with c = a it is the cubic one."""
    lattice = [[*CUBE[:2], c, *CUBE[3:]]]
    return Crystals([123], [0, 4], [0, 3, 2, 4], [38, 22, 8, 8], lattice, np.zeros((4, 3)))


def test_a_known_crystal_is_recognised_in_whichever_group_it_is_written() -> None:
    other_origin = Crystals([221], [0, 3], [1, 0, 3], [38, 22, 8], [CUBE], np.zeros((3, 3)))
    swapped = Crystals([221], [0, 3], [0, 1, 2], [22, 38, 8], [CUBE], np.zeros((3, 3)))
    decoration = Crystals([221], [0, 3], [0, 1, 2], [38, 22, 8], [[np.nan] * 6], np.full((3, 3), np.nan))
    pseudo, stretched = tetragonal_perovskite(3.905), tetragonal_perovskite(4.2)
    objects = Crystals.concatenate([PEROVSKITE, other_origin, swapped, pseudo, stretched, decoration])
    assert is_known_object(objects, PEROVSKITE).tolist() == [True, True, False, True, False, True]
    assert is_known_object(objects, pseudo).tolist() == [True, True, False, True, True, True]  # as written as well
    assert is_known_object(objects, stretched).tolist() == [False, False, False, False, True, False]
    assert is_known_object(objects, PEROVSKITE.compositions).all()  # one formula
    rutile = Crystals([136], [0, 2], [0, 5], [22, 8], [[4.6, 4.6, 2.95, 90, 90, 90]], [[0, 0, 0], [0.305, 0, 0]])
    formulas = Compositions.from_dicts([{22: 1, 8: 2}, {22: 3, 8: 6}, {22: 2, 8: 3}])
    assert is_known_object(formulas, rutile).tolist() == [True, True, False]  # whose cell holds Ti2O4
    assert is_known_object(rutile, formulas[:1]).all()


def warm(path: Path) -> Config:
    world = {"n_atoms": [2, 6], "length_bin": 0.1, "axis_ratio_max": 2.0}
    return small(world, replay={"share": 0.25}, warm_start={"path": str(path)})


def test_training_starts_from_the_known_crystals_of_its_world(tmp_path: Path) -> None:
    zincite = from_group(186, Lattice.hexagonal(3.25, 5.2), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]])
    salt, rutile = (p.structure for p in prototypes() if p.name in ("rutile", "rock salt"))
    for name, structure in (("a", rutile), ("b", salt), ("d", zincite)):
        structure.to(filename=str(tmp_path / f"{name}.cif"))
    bad = tmp_path / "c.cif"
    bad.write_text("data_bad\n_cell_length_a x\n")
    config = warm(tmp_path)
    kernel = make_kernel(config)
    with pytest.warns(UserWarning, match=r"2 entries left out of the warm start, such as: .*c\.cif"):
        states = known_objects(config, kernel)
    assert states is not None
    for found, structure in zip(pymatgen_structures(kernel.objects(states)), (rutile, zincite), strict=True):
        assert StructureMatcher().fit(found, structure)
    bad.unlink()
    with pytest.warns(UserWarning, match="1 entries left out of the warm start, such as: ClNa: element: expected"):
        known_objects(config, kernel)


def test_a_warm_start_without_a_crystal_of_the_world_is_refused(tmp_path: Path) -> None:
    next(p.structure for p in prototypes() if p.name == "rock salt").to(filename=str(tmp_path / "a.cif"))
    (tmp_path / "formulas.csv").write_text("formula\nZnO\n")
    for name, said in (
        ("a.cif", "none of the 1 in .* is one; the first is not, because element: expected"),
        ("formulas.csv", "expected structures, .* got formulas"),
    ):
        config = warm(tmp_path / name)
        with pytest.raises(ConfigError, match=rf"sampler\.warm_start\.path: .*{said}"):
            known_objects(config, make_kernel(config))


def test_labels_stay_with_their_crystals_when_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle one of three is read and then found to be no crystal."""
    refusal = EncodeError(Reason.NO_SYMMETRY, "no group")

    def refuses_salt(structures: list[Any]) -> tuple[Crystals, np.ndarray, list[EncodeError | None]]:
        errors = [refusal if structure.reduced_formula == "NaCl" else None for structure in structures]
        rows = np.flatnonzero([error is None for error in errors])
        return encode_structures([structures[row] for row in rows])[0], rows, errors

    monkeypatch.setattr(known_crystals, "encode_structures", refuses_salt)
    for name, chosen in (("a", "rutile"), ("b", "rock salt"), ("c", "fluorite")):
        next(p.structure for p in prototypes() if p.name == chosen).to(filename=str(tmp_path / f"{name}.cif"))
    crystals, labels, bad = known_crystals.read_crystals(tmp_path)
    assert crystals.space_group.tolist() == [136, 225]
    assert [Path(label.split()[0]).name for label in labels] == ["a.cif", "c.cif"]
    assert len(bad) == 1
    assert "b.cif" in bad[0]


def test_all_rows_become_structures_and_the_first_become_cifs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven rows, read three at a time; five CIFs at most. Each crystal has a cell of its own."""
    monkeypatch.setattr(candidate_structures, "_ROWS", 3)
    monkeypatch.setattr(candidate_structures, "N_CIFS", 5)
    edges = [3.9 + 0.01 * i for i in range(7)]
    crystals = Crystals.concatenate([tetragonal_perovskite(edge) for edge in edges])
    columns = dict.fromkeys(candidate_structures._COLUMNS, 0.5)
    frame = pd.DataFrame({"candidate_id": list("bcadefg"), "structure": crystal_to_text(crystals)} | columns)
    frame.to_parquet(tmp_path / "table.parquet")
    cifs, extxyz = tmp_path / "cif", tmp_path / "all.extxyz"
    candidate_structures.write_structures(tmp_path / "table.parquet", extxyz, cifs)
    assert sorted(path.stem for path in cifs.iterdir()) == list("abcde")
    for name, edge in zip("bcade", edges):
        lines = (cifs / f"{name}.cif").read_text().splitlines()
        assert lines[0] == f"data_{name}"
        assert float(next(line for line in lines if "_cell_length_c" in line).split()[1]) == pytest.approx(edge)
    entries = [(entry.block, entry.structure.lattice.c) for entry in read_structure_files([extxyz])]
    assert [c for _, c in entries] == pytest.approx(edges)
