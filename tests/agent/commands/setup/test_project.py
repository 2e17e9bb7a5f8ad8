"""`score`, `check`, `init`, `list` and every help text: what a newcomer types first."""

import json
import re
import shlex
from pathlib import Path

import pytest

from oreflow.agent.tables.formulas import read_table
from oreflow.rewards.shaping import SHAPES
from tests.support.cli import CONFIG, done, oreflow, plugin, refused

VERBS = ("train", "sample", "evaluate", "exact", "score", "fit", "fit-energy", "list", "init", "check")
NUMBERS = (
    "charge_balance_e",
    "electronegativity_balance_verdict",
    "formation_energy_ev_per_atom",
    "formation_energy_std",
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_text_has_an_example_that_names_the_verb(verb: str) -> None:
    text = " ".join(done(verb, "--help").stdout.split())
    assert f"Example: oreflow {verb} " in text
    assert "--debug" in text
    assert "--quiet" in text
    assert "--json" in text


def test_the_help_of_all_lists_the_verbs() -> None:
    text = done("--help").stdout
    assert all(f" {verb} " in text for verb in VERBS)
    assert "Example: oreflow train" in " ".join(text.split())


def test_score_by_hand() -> None:
    rows = json.loads(done("score", "NaCl", "Fe3O4", "NaN", "CsPbI3", "H2O", "Og", "--json").stdout)
    by_hand = [
        ("NaCl", "ClNa", 0, 1, True, "1 Na+; 1 Cl-"),
        ("Fe3O4", "Fe3O4", 1, 0, False, ""),
        ("NaN", "NNa", 2, 0, False, ""),
        ("CsPbI3", "CsI3Pb", 0, 1, True, "1 Cs+; 1 Pb2+; 3 I-"),
        ("H2O", "H2O", 0, 1, True, "2 H+; 1 O2-"),
        ("Og", "Og", None, None, None, ""),
    ]
    keys = ("formula", "formula_reduced", *NUMBERS[:2], "charge_neutral", "oxidation_states")
    assert [tuple(row[key] for key in keys) for row in rows] == by_hand
    assert {row["oxidation_table"] for row in rows} == {"pymatgen_common"}
    assert [row["formation_energy_ev_per_atom"] is None for row in rows] == [False] * 5 + [True]
    assert rows[0]["formation_energy_ev_per_atom"] < -1.0
    assert rows[1]["note"] == "neutral only with mixed valence: 1 Fe2+; 2 Fe3+; 4 O2-"
    assert "charge_balance: no oxidation state of Og in pymatgen_common" in rows[5]["note"]
    assert "formation_energy: Og outside" in rows[5]["note"]
    assert rows[0]["note"] == ""


def test_score_with_mixed_valence_and_another_table() -> None:
    mixed = json.loads(done("score", "Fe3O4", "--mixed-valence", "--json").stdout)[0]
    assert (mixed["charge_balance_e"], mixed["oxidation_states"]) == (0, "1 Fe2+; 2 Fe3+; 4 O2-")
    assert (mixed["oxidation_table"], mixed["note"]) == ("pymatgen_common (mixed valence)", "")
    assert (
        json.loads(done("score", "NaN", "--oxidation-table", "smact14", "--json").stdout)[0]["charge_neutral"] is True
    )


def test_score_prints_a_table_and_names_its_rule() -> None:
    lines = done("score", "NaCl", "Og", "--reward", "charge_balance").stdout.splitlines()
    assert lines[0].split() == [
        "formula",
        "charge_balance_e",
        "charge_neutral",
        "oxidation_states",
        "note",
    ]
    assert lines[2].split() == ["NaCl", "0", "True", "1", "Na+;", "1", "Cl-"]
    assert lines[3].startswith("Og")
    assert "nan" not in " ".join(lines).lower().replace("formation", "")
    assert lines[-1] == "neutrality by pymatgen_common"


def test_score_keeps_the_place_of_what_it_cannot_read(tmp_path: Path) -> None:
    result = oreflow("score", "NaCl", "Fe0.5O", "=1+1", "NaN", "Og", "--json")
    assert result.exit_code == 2
    rows = json.loads(result.stdout)
    assert [row["formula"] for row in rows] == ["NaCl", "Fe0.5O", "=1+1", "NaN", "Og"]
    assert [row["charge_balance_e"] for row in rows] == [0, None, None, 2, None]
    assert ["no oxidation state of Og" in row["note"] for row in rows] == [False] * 4 + [True]
    assert "got 0.5 Fe in 'Fe0.5O'" in rows[1]["note"]
    assert (rows[1]["charge_neutral"], rows[1]["formula_reduced"]) == (None, "")
    assert oreflow("score", "??", "--json").exit_code == 2  # none at all

    result = oreflow("score", "=1+1", "NaN", "--out", tmp_path / "new folder" / "scores.csv")
    assert result.exit_code == 2
    assert "2 rows written to" in result.stdout
    assert read_table(tmp_path / "new folder" / "scores.csv")["formula"].tolist() == ["'=1+1", "NaN"]


def test_score_reads_a_table_and_a_reward_of_the_users_own(tmp_path: Path) -> None:
    table = tmp_path / "in.csv"
    table.write_text("name,formula\n1,NaN\n2,LiFePO4\n")
    own = plugin(tmp_path, unit="")
    rows = json.loads(done("score", "KCl", "--in", table, "--reward", "mine", "--plugin", own, "--json").stdout)
    assert [(row["formula"], row["mine"]) for row in rows] == [("KCl", 2.0), ("NaN", 2.0), ("LiFePO4", 4.0)]
    assert rows[2]["spread"] == pytest.approx(4 / 7)


def test_score_blames_the_item_that_a_reward_fails_on(tmp_path: Path) -> None:
    own = plugin(tmp_path, values="values if values.max() < 4 else 1 / 0")
    result = done("score", "NaCl", "LiFePO4", "--reward", "mine", "--plugin", own, "--json")
    rows = json.loads(result.stdout)
    assert [row["mine_kg"] for row in rows] == [2.0, None]
    assert rows[1]["note"] == "mine: ZeroDivisionError: division by zero"


def test_check_of_a_good_config(config: Path) -> None:
    text = done("check", config).stdout
    assert "expect nothing of it" in text
    assert "charge_balance: median" in text
    assert "contract holds" in text
    figures = json.loads(done("check", config, "--json").stdout)
    assert (figures["n_elements"], figures["enumerable"], figures["share_valid_reward"]) == (3, True, 1.0)
    assert len(figures["examples"]) == 5
    assert figures["world"].endswith(" objects")
    assert done("check", config, "--quiet").output == ""


MINE = "reward.terms.1={name: mine, shape: {kind: maximise, beta: 0.1}}"


@pytest.mark.parametrize(
    ("values", "message", "code"),
    [
        ("np.random.default_rng().random(len(batch))", "gives different values when called twice", 4),
        ("batch.n_atoms.astype(float)", "changes with the number of formula units", 4),
        ("values / values.max()", "do not normalise over the batch", 4),
        ("values[:1]", "expected values and valid of shape", 4),
        ("1 / 0", "raises ZeroDivisionError: division by zero; set valid to False", 4),
        ("values * np.nan", "calls it valid: expected a finite number, or valid set to False", 4),
    ],
)
def test_check_names_what_is_wrong_with_a_reward(
    config: Path, tmp_path: Path, values: str, message: str, code: int
) -> None:
    refused(message, "check", config, "--plugin", plugin(tmp_path, values=values), "--set", MINE, code=code)


def test_check_holds_the_share_of_invalid_rewards_against_the_budget(config: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path, values="values")
    path.write_text(path.read_text().replace("np.ones(len(batch)", "np.zeros(len(batch)"))
    message = "100.0% of random objects have no valid reward, more than reward.invalid_budget = 0.01"
    refused(message, "check", config, "--plugin", path, "--set", MINE)


def test_check_refuses_negative_values_where_the_value_is_the_reward(config: Path, tmp_path: Path) -> None:
    shape = "reward.terms.1={name: mine, shape: {kind: logarithm, exponent: 1.0}}"
    message = "mine: the value -1 of"
    path = plugin(tmp_path, values="1.0 - values")
    refused(message, "check", config, "--plugin", path, "--set", shape, code=4)
    done("check", config, "--plugin", plugin(tmp_path, values="values"), "--set", shape)


def test_check_of_bad_worlds(config: Path) -> None:
    refused("n_atoms", "check", config, "--set", "world.n_atoms=[5, 2]")
    hard = ("--set", "world.neutrality=hard", "--set")
    refused("", "check", config, *hard, "world.elements=[Li, Na, K]")  # cations only: nothing is neutral
    refused("'mine'", "check", config, "--set", MINE)


def test_init_of_crystals_writes_what_check_accepts(tmp_path: Path) -> None:
    done("init", tmp_path, "--crystals")
    command = ["check", tmp_path / "config.yaml", "--plugin", tmp_path / "my_reward.py"]
    for change in ("world.space_groups=[221,225]", "world.n_atoms=[2,5]", "sampler.batch=8"):
        command += ["--set", change]
    checked = done(*command).stdout
    assert "reward     light_elements: median" in checked
    assert re.search(r"examples   2(21|25): [^;]+; 2(21|25): ", checked)
    assert "reward.log_min" not in checked
    cut = [*command, "--set", "reward.log_min=0"]
    assert re.search(r"\n +(\d\d\.\d)% at reward.log_min = 0\n", done(*cut).stdout)
    assert 0 < json.loads(done(*cut, "--json").stdout)["share_at_log_min"] < 1


def test_init_writes_what_check_accepts(tmp_path: Path) -> None:
    folder = tmp_path / "my search"
    text = done("init", folder).stdout
    assert f"next: oreflow check {folder / 'config.yaml'} --plugin {folder / 'my_reward.py'}" in text
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "my_reward.py"]
    checked = done("check", folder / "config.yaml", "--plugin", folder / "my_reward.py").stdout
    assert "light_elements: median" in checked

    (folder / "config.yaml").write_text("mine\n")
    (folder / "my_reward.py").unlink()
    again = json.loads(done("init", folder, "--json").stdout)
    assert again == {"written": [str(folder / "my_reward.py")], "kept": [str(folder / "config.yaml")]}
    assert (folder / "config.yaml").read_text() == "mine\n"
    (tmp_path / "file").write_text("")
    refused(str(tmp_path / "file"), "init", tmp_path / "file" / "x", code=5)


def test_list_names_everything_a_config_may_hold(tmp_path: Path) -> None:
    worlds = json.loads(done("list", "envs", "--json").stdout)
    assert worlds["element presets"]["mp84"] == "84 elements: H to Pu"
    assert set(worlds["oxidation-state tables"]) >= {"pymatgen_common", "smact14"}
    listed = json.loads(done("list", "rewards", "--json", "--plugin", plugin(tmp_path)).stdout)
    assert listed["rewards"]["mine"] == "[kg] Something of the user's own. (plug-in)"
    assert "Parameters: table=pymatgen_common, mixed_valence=False." in listed["rewards"]["charge_balance"]
    assert all(text.split(" [")[0] for text in listed["rewards"].values())
    assert set(listed["shapes"]) == set(SHAPES)
    assert listed["shapes"]["minimise"].startswith("beta: log-score = -beta * value")
    samplers = done("list", "samplers").stdout
    assert "gflownet" in samplers
    assert "trajectory_balance" in samplers
    assert done("list", "envs", "--quiet").output == ""


@pytest.fixture
def band_gaps(tmp_path: Path) -> Path:
    metals, anions = ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Zn"), ("F", "Cl", "Br", "O", "S")
    rows = [f"{m}{i}{x}{j},{i + 0.5 * j}" for m in metals for x in anions for i in (1, 2) for j in (1, 3)]
    path = tmp_path / "gaps.csv"
    path.write_text("formula,band_gap\n" + "\n".join([*rows, "Si,1.1", 'GaAs,"1,4"', ""]) + "\n")
    return path


def test_fit_energy_fits_any_property(tmp_path: Path, band_gaps: Path) -> None:
    small = ("--members", 1, "--epochs", 2, "--quiet")
    options = ("--column", "band_gap", "--unit", "eV", "--source", "made up", "--cite", "A & B (2026)")
    assert done("fit-energy", band_gaps, "--out", tmp_path / "a", *options, *small).output == ""
    card = json.loads((tmp_path / "a" / "model.json").read_text(encoding="utf-8"))
    assert card["target"]["name"] == "band_gap"
    assert (card["target"]["unit"], card["target"]["formation_energy"]) == ("eV", False)
    assert (card["data"]["source"], card["citations"]) == ("made up", ["A & B (2026)"])
    assert card["fit"]["epochs_run"] == 2
    assert [bad["line"] for bad in card["data"]["bad_rows_first"]] == [163, 164]

    # The command of the card gives the same weights.
    assert card["command"].startswith("oreflow fit-energy gaps.csv --out a ")
    words = shlex.split(card["command"].replace("\\\n", " "))[2:]
    again = [band_gaps if w == "gaps.csv" else tmp_path / "b" if w == "a" else w for w in words]
    text = done("fit-energy", *again).stdout
    assert f"SHA-256 {card['weights_sha256']}" in text
    assert "line 163: '1,4' is not a number; write a decimal point instead of the comma" in text
    assert "model of band_gap written to" in text
    assert "161 of 163" in text


def test_fit_energy_refuses_what_it_cannot_fit(tmp_path: Path, band_gaps: Path) -> None:
    out = ("--out", tmp_path / "out")
    refused("expected a column 'formation_energy_per_atom'", "fit-energy", band_gaps, *out)
    energies = ("--column", "band_gap", "--formation-energy", "--unit", "kJ/mol")
    refused("expected formation energies in eV/atom", "fit-energy", band_gaps, *out, *energies)
    (tmp_path / "pointer.csv").write_text("version https://git-lfs.github.com/spec/v1\n")
    refused("git lfs pull", "fit-energy", tmp_path / "pointer.csv", *out)
    assert not (tmp_path / "out").exists()


@pytest.mark.kind("mixed valence")
@pytest.mark.parametrize("formula", ["Sb2O4", "SbO2", "TlBr2", "Cs2SbCl6", "Fe3O4"])
def test_mixed_valence_judges_a_crystal_of_many_formula_units(formula: str) -> None:
    (row,) = json.loads(done("score", formula, "--mixed-valence", "--json").stdout)
    assert (row["charge_balance_e"], row["charge_neutral"]) == (0, True)
    (plain,) = json.loads(done("score", formula, "--json").stdout)
    assert plain["charge_neutral"] is False
    assert plain["note"] == f"neutral only with mixed valence: {row['oxidation_states']}"


UNKNOWN = """
schema_version: 1
world: {elements: [Li, Fe, O, Pm, Cl], n_elements: [2, 3], n_atoms: [2, 10]}
reward: {terms: [{name: price, shape: {kind: minimise, beta: 0.1}}]}
sampler: {steps: 1000, batch: 16, hidden: [16]}
run: {threads: 1}
"""


@pytest.mark.kind("check: phases, costs, remedies")
def test_check_says_what_it_does_what_it_costs_and_which_elements_to_forbid(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(UNKNOWN)
    result = oreflow("check", tmp_path / "c.yaml")
    assert result.exit_code == 2
    assert "No object with Pm has one: add  forbidden: [Pm]  to world" in result.stderr
    mended = done("check", tmp_path / "c.yaml", "--set", "world.forbidden=[Pm]")
    stages = [line for line in mended.stderr.splitlines() if line.startswith("check ")]
    assert [line.split("  ")[0] for line in stages] == [f"check {i}/5" for i in range(1, 6)]
    assert re.search(r"reward +price: .* contract holds; [\d.]+ .s an object", mended.stdout)
    assert re.search(r"training +1,000 steps of 16 objects: about [\d.]+ (s|min|ms) at", mended.stdout)
    figures = json.loads(done("check", tmp_path / "c.yaml", "--set", "world.forbidden=[Pm]", "--json", "-q").stdout)
    assert figures["terms"]["price"]["microseconds_per_object"] > 0
    assert figures["training_seconds"] == pytest.approx(1000 * figures["seconds_per_step"])
    assert done("check", tmp_path / "c.yaml", "--set", "world.forbidden=[Pm]", "-q").stderr == ""
