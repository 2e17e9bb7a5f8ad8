"""The verbs that make and judge candidates, run in this process: what they write, print and return."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oreflow.agent.tables.formulas import read_table
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards import registry
from oreflow.rewards.reference.tables import read_table as as_it_is
from oreflow.rewards.terms.energy.formation_energy import FormationEnergy
from tests.support.cli import CONFIG, done, plugin, refused


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny world.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def trained(config: Path) -> Path:
    run = config.parent / "läufe" / "run 1"
    done("train", config, "--out", run, "--quiet")
    return run


def test_training_leaves_a_run_that_explains_itself(trained: Path, config: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"checkpoints", "config.resolved.yaml", "metrics.jsonl", "timings.jsonl", "provenance.json"} <= names
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
    assert {"loss", "log_z", "mean_log_reward", "share_neutral", "n_invalid", "n_objects"} <= set(lines[-1])
    assert lines[-1]["n_objects"] == 40 * 32
    provenance = json.loads((trained / "provenance.json").read_text())
    assert {"created", "command", "versions", "seed", "git_commit"} <= set(provenance)
    refused("holds a run already; choose another --out, or add --overwrite", "train", config, "--out", trained)


def test_training_prints_a_summary_and_json(tmp_path: Path, config: Path) -> None:
    result = done("train", config, "--out", tmp_path / "a", "--set", "sampler.steps=4", "--seed", 3)
    assert "trained 4 steps in" in result.stdout
    assert f"next: oreflow sample {tmp_path / 'a'} -n 1000 --unique" in result.stdout
    again = done("train", config, "--out", tmp_path / "a", "--set", "sampler.steps=3", "--overwrite", "--json", "-q")
    summary = json.loads(again.stdout)
    assert (summary["steps"], summary["of_steps"], summary["stopped_by"]) == (3, 3, None)
    assert len((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()) == 1
    assert done("train", config, "--out", tmp_path / "b", "--set", "sampler.steps=1", "--quiet").output == ""


MINE = "{name: mine, shape: {kind: maximise, beta: 0.1}}"
COLUMNS_BEFORE_TERMS = (
    "formula formula_pretty formula_reduced formula_anonymous chemsys nelements nsites anion space_group_number "
    "wyckoff_label log_reward log_reward_std"
)
FOR_PEOPLE = (
    "formula anion log_reward charge_balance_e formation_energy_ev_per_atom n_times_sampled formation_energy_std "
    "oxidation_states log_pf charge_neutral chemsys nelements nsites"
)
TERM_COLUMNS = (
    "charge_balance_e charge_balance_valid charge_balance_log_score "
    "formation_energy_ev_per_atom formation_energy_valid formation_energy_log_score"
)
COLUMNS_AFTER_TERMS = (
    "formation_energy_per_atom_pred formation_energy_std formation_energy_distance formation_energy_extrapolates "
    "charge_neutral oxidation_states oxidation_table electronegativity_ok is_unique n_times_sampled is_novel log_pf"
)


def check_table(folder: Path, further: tuple[str, ...] = (), novelty: tuple[str, ...] = ()) -> pd.DataFrame:
    """The columns of the design, in order; the CSV has those for people; each row agrees with itself."""
    frame = pd.read_parquet(folder / "candidates.parquet")
    first = ["candidate_id", *further]
    assert list(frame.columns) == [*first, *f"{COLUMNS_BEFORE_TERMS} {TERM_COLUMNS} {COLUMNS_AFTER_TERMS}".split()]
    csv = as_it_is(folder / "candidates.csv")
    shown = FOR_PEOPLE.replace("n_times_sampled", " ".join([*novelty, "n_times_sampled"]))
    assert list(csv.columns) == [*first, *shown.split()][:15]
    decimals = json.loads((folder / "summary.json").read_text())["log_reward_decimals"]
    for name in csv.columns:
        if pd.api.types.is_bool_dtype(frame[name]) or frame[name].dtype == object:
            same = csv[name] == frame[name].astype(object).where(frame[name].notna(), "").astype(str)
            assert same.all(), name
        else:
            texts = np.array([float(cell or "nan") for cell in csv[name]])
            energies = ("formation_energy_ev_per_atom", "formation_energy_std")
            half = dict.fromkeys(("log_reward", "log_pf"), 0.5 * 10.0**-decimals) | dict.fromkeys(energies, 0.0005)
            there = frame[name].to_numpy(dtype=float, na_value=np.nan)
            np.testing.assert_allclose(texts, there, rtol=1e-12, atol=half.get(name, 0.0) * (1 + 1e-9), err_msg=name)
    joined = read_table(folder / "candidates.csv")
    pd.testing.assert_frame_equal(joined.reset_index(drop=True), frame)
    assert frame["candidate_id"].tolist() == [f"c{i + 1:07d}" for i in range(len(frame))]
    assert [parse_formula(p) == parse_formula(r) for p, r in zip(frame["formula_pretty"], frame["formula_reduced"])]
    scores = frame[["charge_balance_log_score", "formation_energy_log_score"]].sum(axis=1)
    np.testing.assert_allclose(frame["log_reward"], scores, rtol=1e-12)
    assert (frame["charge_neutral"] == (frame["charge_balance_e"] == 0)).all()
    assert ((frame["oxidation_states"] != "") == frame["charge_neutral"]).all()
    assert (frame["formation_energy_per_atom_pred"] == frame["formation_energy_ev_per_atom"]).all()
    assert ((frame["formation_energy_std"] > 0) == (frame["nelements"] > 1)).all()  # an element is its own reference
    assert set(frame["oxidation_table"]) == {"pymatgen_common"}
    assert (frame["log_pf"] <= 0).all()
    assert frame[["space_group_number", "wyckoff_label"]].isna().all(axis=None)
    return frame


def test_raw_draws_and_the_files_they_go_to(trained: Path, tmp_path: Path) -> None:
    done("sample", trained, "-n", 200, "--seed", 1, "--out", tmp_path / "a", "--quiet")
    frame = check_table(tmp_path / "a")
    assert len(frame) == 200
    distinct = frame["formula_reduced"].value_counts()
    assert frame["is_unique"].sum() == len(distinct)
    assert frame["n_times_sampled"].tolist() == distinct[frame["formula_reduced"]].tolist()
    assert (~frame["formula_reduced"].duplicated() == frame["is_unique"]).all()
    assert frame["is_novel"].isna().all()
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert (summary["n_rows"], summary["n_draws"], summary["complete"]) == (200, 200, True)
    assert summary["n_unique"] == len(distinct)
    assert summary["share_neutral"] == pytest.approx(frame["charge_neutral"].mean())

    done("sample", trained, "-n", 200, "--seed", 1, "--out", tmp_path / "b", "--quiet")
    assert (tmp_path / "a" / "candidates.csv").read_bytes() == (tmp_path / "b" / "candidates.csv").read_bytes()
    done("sample", trained, "-n", 200, "--seed", 2, "--out", tmp_path / "b", "--quiet", "--overwrite")
    assert (tmp_path / "a" / "candidates.csv").read_bytes() != (tmp_path / "b" / "candidates.csv").read_bytes()


def test_distinct_candidates_are_ranked_and_compared_with_a_reference(trained: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.csv"
    known.write_text("formula\nMn4O8\nO4Li2\nnonsense\nO\n")
    result = done("sample", trained, "-n", 60, "--unique", "--reference", known, "--json", "-q")
    assert "1 rows of" in result.stderr
    assert json.loads(result.stdout)["n_unique"] == 60
    frame = check_table(trained / "samples", ("rank",), ("is_novel",))
    assert len(set(frame["formula_reduced"])) == len(frame) == 60
    assert frame["is_unique"].all()
    assert sorted(frame["rank"]) == list(range(1, 61))
    decimals = json.loads((trained / "samples" / "summary.json").read_text())["log_reward_decimals"]
    assert frame.sort_values("rank")["log_reward"].round(decimals).is_monotonic_decreasing
    assert set(frame["formula_reduced"][~frame["is_novel"]]) == set(frame["formula_reduced"]) & {"MnO2", "LiO2", "O"}

    more = done("sample", trained, "-n", 100_000, "--unique", "--max-draws", 300, "--out", tmp_path / "few")
    assert "of 100000 after 300 draws; raise --max-draws" in more.stderr
    assert "300 draws" in more.stdout


def test_a_reward_that_fails_on_every_draw_leaves_an_empty_table(trained: Path, tmp_path: Path) -> None:
    """The rejected draws are counted, and no file holds the NaN that JSON does not know."""
    run = tmp_path / "run"
    settings = ("--set", f"reward.terms.1={MINE}", "--set", "sampler.steps=2")
    (tmp_path / "config.yaml").write_text(CONFIG)
    done("train", tmp_path / "config.yaml", "--out", run, "-q", "--plugin", plugin(tmp_path), *settings)
    registry.REWARDS.own.clear()
    broken = plugin(tmp_path, values="values * np.nan")
    refused("8 of 8 objects have no valid reward", "sample", run, "-n", 8, "--plugin", broken, "-q", code=4)
    summary = json.loads((run / "samples" / "summary.json").read_text(), parse_constant=pytest.fail)
    assert (summary["n_rows"], summary["n_rejected_invalid_reward"], summary["share_neutral"]) == (0, 8, None)
    assert len(read_table(run / "samples" / "candidates.csv")) == 0


def test_evaluate_reads_back_what_sample_wrote(trained: Path, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("formula,oxidation_table\nNaCl,smact14\nNa2Cl2,smact14\nNaN,smact14\nFe3O4,smact14\n???,smact14\n")
    reference = tmp_path / "known.csv"
    reference.write_text("formula\nClNa\nKCl\nbad row\n")
    result = done("evaluate", table, "--reference", reference, "--json")
    assert "1 rows of" in result.stderr
    assert "row 6" in result.stderr
    assert "row 4" in result.stderr
    metrics = json.loads(result.stdout)
    expected = {
        "n_rows": 4,
        "n_unreadable": 1,
        "n_unique": 3,
        "share_unique": 0.75,
        "neutrality_rule": "smact14, no mixed valence",
        "share_neutral": 0.75,  # N- is a state of this table; three Fe of one state are no match for four O
        "n_reference": 2,
        "share_novel": pytest.approx(2 / 3),
        "n_recovered": 1,
        "share_recovered": 0.5,
        "n_chemical_systems": 3,
        "elements_present": ["N", "O", "Na", "Cl", "Fe"],
    }
    assert {name: metrics[name] for name in expected} == expected
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics

    done("sample", trained, "-n", 20, "--quiet", "--overwrite")
    done("evaluate", trained / "samples" / "candidates.parquet", "--quiet")
    assert json.loads((trained / "eval" / "metrics.json").read_text())["n_rows"] == 20
    common = json.loads(done("evaluate", table, "--oxidation-table", "pymatgen_common", "--json", "-q").stdout)
    assert (common["share_neutral"], common["neutrality_rule"]) == (0.5, "pymatgen_common, no mixed valence")
    mixed = json.loads(
        done("evaluate", table, "--oxidation-table", "pymatgen_common", "--mixed-valence", "--json", "-q").stdout
    )
    assert (mixed["share_neutral"], mixed["neutrality_rule"]) == (1.0, "pymatgen_common, mixed valence")


def test_exact_of_a_run_and_of_a_config(trained: Path, config: Path) -> None:
    figures = json.loads(done("exact", trained, "--json").stdout)
    assert figures["learned_mass"] == pytest.approx(1.0, abs=1e-9)
    assert 0 < figures["total_variation"] < 1
    assert figures["step"] == 40
    assert "exact total variation" in done("exact", config, "--set", "sampler.steps=2").stdout
    refused("this run is trained already", "exact", trained, "--seed", 1)
    refused("this world cannot be enumerated", "exact", config, "--set", "world.elements=[mp84]")


def test_a_reward_of_the_users_own_has_its_columns_in_the_table(config: Path, tmp_path: Path) -> None:
    own = plugin(tmp_path)
    run = tmp_path / "run"
    settings = ("--set", f"reward.terms.1={MINE}", "--set", "sampler.steps=3", "--plugin", own)
    done("train", config, "--out", run, "--quiet", *settings)
    registry.REWARDS.own.clear()
    refused("got 'mine' (one of your own needs --plugin FILE.py)", "sample", run, "-n", 5)
    done("sample", run, "-n", 5, "--quiet", "--plugin", own)
    frame = read_table(run / "samples" / "candidates.csv")
    assert frame["mine_kg"].astype(float).tolist() == frame["nelements"].astype(float).tolist()
    assert frame["spread"].astype(float).tolist() == pytest.approx((frame["nelements"].astype(float) / 7).tolist())
    assert "mine_log_score" in frame
    assert frame["formation_energy_per_atom_pred"].notna().all()


def test_a_few_draws_without_a_reward_are_left_out_and_counted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / "config.yaml").write_text(CONFIG)
    own = plugin(tmp_path, values="np.where(batch.n_elements == 1, np.nan, values)")
    settings = ("--set", f"reward.terms.1={MINE}", "--set", "sampler.steps=2", "--set", "reward.invalid_budget=1")
    done("train", tmp_path / "config.yaml", "--out", run, "-q", "--plugin", own, *settings)
    registry.REWARDS.own.clear()
    result = done("sample", run, "-n", 200, "--plugin", own, "-q")
    frame = read_table(run / "samples" / "candidates.csv")
    assert set(frame["nelements"]) == {2, 3}
    assert 0 < len(frame) < 200
    assert f"{200 - len(frame)} left out without a valid reward" in result.stderr


def test_pessimism_is_in_the_reward_and_not_in_the_predicted_energy(config: Path, tmp_path: Path) -> None:
    term = "reward.terms.1={name: formation_energy, params: {std_weight: 2.0}, shape: {kind: minimise, beta: 1.0}}"
    done("train", config, "--set", term, "--out", tmp_path / "run", "--quiet")
    done("sample", tmp_path / "run", "-n", "50", "--quiet")
    frame = pd.read_parquet(tmp_path / "run" / "samples" / "candidates.parquet")
    predicted, std = frame["formation_energy_per_atom_pred"], frame["formation_energy_std"]
    assert (std > 0.01).any()
    np.testing.assert_allclose(frame["formation_energy_ev_per_atom"], predicted + 2.0 * std, atol=1e-5)
    summary = json.loads((tmp_path / "run" / "samples" / "summary.json").read_text())
    assert summary["median_formation_energy_std_ev_per_atom"] == pytest.approx(std.median(), rel=1e-12)
    far = frame["formation_energy_distance"] > FormationEnergy().model.distance_threshold
    assert (frame["formation_energy_extrapolates"] == far).all()
    assert summary["share_far_from_training_data"] == pytest.approx(far.mean(), rel=1e-12)


def test_rows_that_a_reference_loses_are_said_on_the_screen(tmp_path: Path) -> None:
    table = tmp_path / "known.csv"
    table.write_text('formula,formation_energy_per_atom\nLi2O,"-2,0"\nP2O5,-2.2\n')
    program = Path(sys.executable).with_name("oreflow")
    parameter = f"energy_above_hull.reference={table}"
    command = [program, "score", "Li3PO4", "--reward", "energy_above_hull", "--param", parameter]
    done_ = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "oreflow: warning: " in done_.stderr
    assert "1 of 2 rows set aside" in done_.stderr
    assert "row 2" in done_.stderr


def test_columns_of_terms_never_replace_those_of_the_table(tmp_path: Path) -> None:
    path = plugin(tmp_path)
    path.write_text(path.read_text().replace('"spread"', '"formula"'))
    row = json.loads(done("score", "LiFePO4", "--reward", "mine", "--plugin", path, "--json").stdout)[0]
    assert (row["formula"], row["mine_formula"]) == ("LiFePO4", 4 / 7)
