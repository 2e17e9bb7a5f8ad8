"""Bad input, failing rewards and unwritable places: one sentence, no traceback, the documented exit code."""

from pathlib import Path
from typing import Any

import pytest

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


NAN_TERM = "{name: mine, shape: {kind: maximise, beta: 0.1}}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("values * np.nan", "objects have no valid reward, more than reward.invalid_budget = 0.01 allows"),
        ("values / 0 if False else 1 / 0", "most often: mine: ZeroDivisionError"),
        ("values[:2]", "expected values and valid of shape ("),
    ],
)
def test_a_failing_reward_stops_training_with_code_4(config: Path, tmp_path: Path, values: str, message: str) -> None:
    own = plugin(tmp_path, values=values)
    settings = ("--set", f"reward.terms.0={NAN_TERM}", "--set", "world.neutrality=off", "--set", "sampler.batch=512")
    refused(message, "train", config, "--out", tmp_path / "run", "--plugin", own, "-q", *settings, code=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "absent.yaml", "--out", "x"], "cannot read the config absent.yaml: No such file or directory"),
        (
            ["train", "CONFIG", "--out", "x", "--set", "sampler.stepz=1"],
            "unknown key sampler.stepz; did you mean 'steps'",
        ),
        (
            ["train", "CONFIG", "--out", "x", "--set", "reward.terms.1.name=formation"],
            "did you mean 'formation_energy'",
        ),
        (["train", "CONFIG", "--out", "x", "--set", "world.elements=[Lii]"], "did you mean 'Li'"),
        (["train", "CONFIG", "--out", "x", "--plugin", "absent.py"], "expected a Python file, found none at absent.py"),
        (["train", "CONFIG", "--out", "x", "--seed", "-1"], "'--seed'"),
        (["train", "CONFIG"], "Missing option '--out'"),
        (["sample", "absent", "-n", "5"], "found no config.resolved.yaml in absent; train first"),
        (["sample", "RUN", "-n", "0"], "'-n'"),
        (["sample", "RUN", "-n", "-5"], "'-n'"),
        (["sample", "RUN", "-n", "many"], "'-n'"),
        (["sample", "RUN", "-n", "5", "--max-draws", "0"], "'--max-draws'"),
        (["sample", "RUN", "-n", "5", "--uniqe"], "No such option"),
        (["sample", "RUN", "-n", "5", "--reference", "absent.csv"], "found none at absent.csv"),
        (["exact", "absent"], "cannot read the config absent"),
        (["evaluate", "absent.csv"], "expected a CSV or Parquet file, found none at absent.csv"),
        (["evaluate", "CONFIG"], "tiny world.yaml"),
        (["fit-energy", "absent.csv", "--out", "x"], "absent.csv"),
        (["score"], "expected formulas, or --in FILE"),
        (["score", "NaCl", "--reward", "formation_enrgy"], "did you mean 'formation_energy'"),
        (["score", "NaCl", "--oxidation-table", "smact"], "did you mean 'smact14'"),
        (["score", "--in", "absent.csv"], "found none at absent.csv"),
        (["check", "absent.yaml"], "cannot read the config absent.yaml"),
        (["list", "reward"], "expected envs, rewards or samplers, got 'reward'; did you mean 'rewards'"),
        (["lst"], "No such command 'lst'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_ends_with_code_2(
    arguments: list[str], message: str, config: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places: dict[str, Any] = {"CONFIG": config, "RUN": trained}
    refused(message, *[places.get(argument, argument) for argument in arguments])
    assert list(tmp_path.iterdir()) == []  # refused before any work


@pytest.mark.parametrize("verb", ["train", "sample", "score"])
def test_a_place_that_cannot_be_written_is_refused(verb: str, config: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "run"
    arguments = {"train": [config], "sample": [trained, "-n", 2, "-q"], "score": ["NaCl"]}[verb]
    refused(str(tmp_path / "file"), verb, *arguments, "--out", out, code=2 if verb == "train" else 5)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("world.n_elements=[2,9]", "world.n_elements: expected at most"),
        ("world.n_elements=[0,2]", "1 <= low <= high"),
        ("world.count=[-1,3]", "1 <= low <= high"),
        ("world.count=[300,400]", "expected count to start at or below the largest n_atoms"),
        ("world.elements=[]", "expected 1 to 94 elements, got 0"),
        ("world.elements=[Li, Xx]", "got 'Xx'"),
        ("world.required_groups=[[]]", "got an empty list; fill it or take it out"),
        ("world.required_groups=[[He]]", "required group He"),
        ("world.n_atom=[2,3]", "did you mean 'n_atoms'?"),
        ("reward.terms=[]", "reward.terms"),
        ("reward.terms.0.shape.beta=-3", "reward.terms.0 (charge_balance): expected beta to be a positive number"),
        ("reward.terms=[{name: charge_balance, shape: {kind: minimize, beta: 1}}]", "reward.terms.0 (charge_balance)"),
    ],
)
def test_config_errors_name_file_key_and_remedy_and_write_nothing(
    override: str, message: str, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    refused(message, "train", config, "--set", override, "--out", out)
    refused(str(config), "train", config, "--set", override, "--out", out)
    assert not out.exists()


def test_overwrite_spares_a_folder_that_holds_no_run(config: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "report" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    refused("holds files, but no run to overwrite", "train", config, "--out", tmp_path, "--overwrite")
    assert thesis.read_text() == "mine"
