"""Files that oreflow did not write are never touched: the list of own files, and the verbs that use it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from oreflow.agent.errors import PlaceError
from oreflow.agent.storage.manifest import (
    MANIFEST,
    add_to_manifest,
    check_place,
    own_files,
    remove_own,
    take_over,
)
from tests.support.cifs import ROCK_SALT
from tests.support.cli import CONFIG, done, refused

pytestmark = pytest.mark.kind("users' files and edited configs")

CRYSTALS = """
schema_version: 1
purpose: "crystals small enough for a test"
world: {kind: wyckoff, space_groups: [225], elements: [Na, Cl], n_elements: [2, 2], n_atoms: [2, 4]}
reward: {terms: [{name: density, shape: {kind: maximise, beta: 0.1}}]}
sampler: {steps: 2, batch: 4, hidden: [8]}
run: {threads: 1}
"""


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_text(errors="replace") for path in files}


def new_files(scratch: Path, *names: str) -> dict[str, Path]:
    files = {}
    for number, name in enumerate(names):
        files[name] = scratch / str(number)
        files[name].write_text(f"new {name}")
    return files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_own_files_are_replaced_and_removed_and_no_others(folder: Path, tmp_path: Path) -> None:
    take_over(folder, new_files(tmp_path, "table.csv", "cif/a.cif", "cif/b.cif"))
    (folder / "cif" / "mine.cif").write_text("mine")
    take_over(folder, new_files(tmp_path, "table.csv", "cif/a.cif"))
    assert sorted(tree(folder)) == ["cif/a.cif", "cif/mine.cif", "table.csv"]
    assert own_files(folder) == {"table.csv", "cif/a.cif"}
    remove_own(folder)
    assert tree(folder) == {"cif/mine.cif": "mine"}


def test_a_folder_of_own_files_alone_goes_with_them(folder: Path, tmp_path: Path) -> None:
    take_over(folder, new_files(tmp_path, "table.csv", "cif/a.cif"))
    remove_own(folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("prepare", "overwrite", "says"),
    [
        (lambda out: (out / "a.csv").write_text("mine"), True, "was not written by oreflow into this folder and stays"),
        (lambda out: add_to_manifest(out, ["a.csv"]) or (out / "a.csv").write_text("ours"), False, "add --overwrite"),
        (lambda out: (out / "cif").symlink_to(out.parent), True, "is a link"),
        (lambda out: (out / "a.csv").symlink_to(out.parent / "x"), True, "is a link"),
        (lambda out: (out / "cif").write_text("a file"), True, "is a file, expected a folder"),
    ],
)
def test_what_may_not_be_written(folder: Path, prepare: Callable[[Path], object], overwrite: bool, says: str) -> None:
    prepare(folder)
    with pytest.raises(PlaceError, match=says):
        check_place(folder, ["a.csv", "cif/a.cif"], overwrite)


def test_a_free_place_and_own_files_may_be_written(folder: Path) -> None:
    check_place(folder, ["a.csv", "cif/a.cif"], False)
    add_to_manifest(folder, ["a.csv"])
    (folder / "a.csv").write_text("ours")
    check_place(folder, ["a.csv", "cif/a.cif"], True)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"files": ["a.csv"]}', '{"about": "files that oreflow wrote into this folder"}']
)
def test_a_damaged_list_makes_nothing_ours(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    (folder / "a.csv").write_text("mine")
    assert own_files(folder) == set()


def test_a_list_leads_out_of_no_folder(folder: Path) -> None:
    (folder.parent / "victim").write_text("mine")
    names = ["../victim", str(folder.parent / "victim"), "victim"]
    (folder / MANIFEST).write_text(json.dumps({"about": "files that oreflow wrote into this folder", "files": names}))
    remove_own(folder)
    assert (folder.parent / "victim").read_text() == "mine"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    (place / "config.yaml").write_text(CONFIG)
    done("train", place / "config.yaml", "--out", place / "run", "-q")
    return place / "run"


def test_samples_never_replace_a_users_table(run: Path, tmp_path: Path) -> None:
    (tmp_path / "candidates.csv").write_text("mine")
    refused("was not written by oreflow", "sample", run, "-n", "3", "--out", tmp_path, "--overwrite")
    assert tree(tmp_path) == {"candidates.csv": "mine"}


def test_a_second_sample_needs_a_word_or_another_folder(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done("sample", run, "-n", "3", "--out", out, "-q")
    before = tree(out)
    refused("add --overwrite", "sample", run, "-n", "4", "--out", out)
    assert tree(out) == before
    done("sample", run, "-n", "4", "--out", out, "--overwrite", "-q")
    assert len((out / "candidates.csv").read_text().splitlines()) == 5
    done("sample", run, "-n", "3", "-q")
    done("sample", run, "-n", "3", "-q")
    assert (run / "samples" / "candidates.csv").is_file()
    assert (run / "samples_2" / "candidates.csv").is_file()


def test_cifs_of_a_user_stay_beside_ours(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CRYSTALS)
    done("train", tmp_path / "config.yaml", "--out", tmp_path / "run", "-q")
    out = tmp_path / "out"
    (out / "cif").mkdir(parents=True)
    (out / "cif" / "mine.cif").write_text("mine")
    done("sample", tmp_path / "run", "-n", "3", "--out", out, "-q")
    done("sample", tmp_path / "run", "-n", "2", "--out", out, "--overwrite", "-q")
    assert sorted(path.name for path in (out / "cif").iterdir()) == ["c0000001.cif", "c0000002.cif", "mine.cif"]
    (out / "cif" / "c0000003.cif").write_text("mine, too")
    refused("c0000003.cif was not written", "sample", tmp_path / "run", "-n", "3", "--out", out, "--overwrite")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "cif").symlink_to(out / "cif")
    refused("is a link", "sample", tmp_path / "run", "-n", "3", "--out", tmp_path / "link")
    assert not (tmp_path / "link" / "candidates.csv").exists()


def test_training_anew_leaves_a_users_files_in_the_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    done("train", tmp_path / "config.yaml", "--out", tmp_path / "run", "-q")
    done("sample", tmp_path / "run", "-n", "3", "-q")
    mine = [tmp_path / "run" / name for name in ("samples/notes.txt", "eval/plot.svg", "checkpoints/README")]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    done("train", tmp_path / "config.yaml", "--out", tmp_path / "run", "--overwrite", "-q")
    assert [path.read_text() for path in mine] == ["mine"] * 3
    assert not (tmp_path / "run" / "samples" / "candidates.csv").exists()


def test_other_verbs_ask_before_they_replace(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(ROCK_SALT)
    mine = tmp_path / "mine.csv"
    mine.write_text("mine")
    refused("is there already", "encode", tmp_path / "a.cif", "--out", mine)
    refused("is there already", "score", "NaCl", "--out", mine)
    (tmp_path / "table.csv").write_text("formula\nNaCl\n")
    (tmp_path / "metrics.json").write_text('{"mine": 1}')
    refused("is there already", "evaluate", tmp_path / "table.csv")
    assert mine.read_text() == "mine"
    assert (tmp_path / "metrics.json").read_text() == '{"mine": 1}'
    done("encode", tmp_path / "a.cif", "--out", tmp_path / "crystals.csv", "-q")
    (tmp_path / "cifs").mkdir()
    (tmp_path / "cifs" / "a.cif").write_text("mine")
    refused("was not written by oreflow", "export", tmp_path / "crystals.csv", "--out", tmp_path / "cifs")
    assert (tmp_path / "cifs" / "a.cif").read_text() == "mine"
    done("export", tmp_path / "crystals.csv", "--out", tmp_path / "more", "-q")
    refused("add --overwrite", "export", tmp_path / "crystals.csv", "--out", tmp_path / "more")
    done("export", tmp_path / "crystals.csv", "--out", tmp_path / "more", "--overwrite", "-q")


def test_metrics_of_an_earlier_call_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("formula\nNaCl\n")
    done("evaluate", tmp_path / "table.csv", "-q")
    done("evaluate", tmp_path / "table.csv", "-q")


@pytest.mark.parametrize("verb", [("sample", "-n", "3"), ("exact",)])
def test_a_config_that_was_edited_is_refused(run: Path, tmp_path: Path, verb: tuple[str, ...]) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    config = copy / "config.resolved.yaml"
    config.write_text(config.read_text().replace("beta: 1.0", "beta: 3.0"))
    assert "beta: 3.0" in config.read_text()
    refused("reward.terms.1.shape.beta was 1.0, is 3.0", verb[0], copy, *verb[1:])
    config.write_text(config.read_text().replace("beta: 3.0", "beta: 1.0").replace("a run small", "another"))
    done(verb[0], copy, *verb[1:], "-q")
