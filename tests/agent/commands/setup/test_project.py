"""`check`, `init`, `list` and every help text: what a newcomer types first."""

import json
import re
from pathlib import Path

import pytest

from oreflow.rewards.shaping import SHAPES
from tests.support.cli import CONFIG, done, oreflow, plugin, refused

VERBS = ("train", "sample", "evaluate", "exact", "score", "fit", "fit-energy", "list", "init", "check")


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
