"""`oreflow resume`, and run folders at the command line: what is refused and how, and that nothing is lost by it."""

import ast
import json
import platform
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from oreflow.agent.storage.checkpoint import list_checkpoints
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.resume import CHANGEABLE
from tests.support import processes
from tests.support.checkpoints import edit_state, empty, flip_a_bit, truncate
from tests.support.cli import done, oreflow, plugin, refused
from tests.support.repository import ROOT
from tests.whole.test_process_faults import CONFIG, differences

# The command shows warnings; in other tests they are errors.
pytestmark = pytest.mark.filterwarnings("default::oreflow.agent.errors.CheckpointWarning")
MINE = ("--set", "reward.terms.0={name: mine, shape: {kind: maximise, beta: 0.1}}", "--set", "world.neutrality=off")
FILES = ("policy.safetensors", "optimizer.safetensors", "buffer.npz", "state.json", "MANIFEST.json")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def finished(config: Path) -> Path:
    """A run of 60 steps with checkpoints at 56 and 60; not to be changed."""
    done("train", config, "--out", config.parent / "finished", "--quiet")
    return config.parent / "finished"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_named_and_passed_over_on_request(
    finished: Path, run: Path, name: str, damage: Callable[[Path], None]
) -> None:
    newest = RunFolder(run).latest_checkpoint()
    damage(newest / name)
    before = everything(run)
    result = oreflow("resume", run)
    assert result.exit_code == 2
    assert str(newest) in result.stderr
    assert "add --auto to go on from an older checkpoint" in result.stderr
    if name != "MANIFEST.json":
        assert f"{newest / name} is missing or does not match its checksum" in result.stderr
    elif damage is not flip_a_bit:  # a flipped bit shows as another file's name or digest
        assert "has no readable MANIFEST.json" in result.stderr
    assert everything(run) == before
    result = done("resume", run, "--auto", "--quiet")
    assert "oreflow: warning: " in result.stderr
    assert "; going on from step_00000056 instead\n" in result.stderr
    assert differences(finished, run) == []


def test_a_damaged_checkpoint_does_not_outlive_the_one_that_replaces_it(run: Path) -> None:
    """Else it would be the newest again, and the good one would go in its place."""
    empty(RunFolder(run).latest_checkpoint() / "policy.safetensors")
    settings = ("--set", "sampler.steps=58", "--set", "run.keep_checkpoints=1", "--quiet")
    done("resume", run, "--auto", *settings)
    assert [path.name for path in list_checkpoints(run / "checkpoints")] == ["step_00000058"]
    done("sample", run, "-n", "3", "--quiet")


@pytest.mark.parametrize("verb", ["resume", "sample"])
@pytest.mark.parametrize("schema", [1, 99])
def test_another_schema_is_refused(run: Path, schema: int, verb: str) -> None:
    edit_state(RunFolder(run).latest_checkpoint(), schema_version=schema)
    more = ("--set", "sampler.steps=70") if verb == "resume" else ("-n", "3")
    refused(f"step_00000060 has schema {schema}, this version of oreflow reads 2; go on with", verb, run, *more)


def test_another_world_is_refused(run: Path) -> None:
    text = (run / "config.resolved.yaml").read_text()
    assert "Mn" in text
    (run / "config.resolved.yaml").write_text(text.replace("Mn", "Fe"))
    before = everything(run)
    refused("world.elements was ['Li', 'Mn', 'O'], is ['Li', 'Fe', 'O']", "resume", run)
    refused("step_00000060 belongs to another world or network", "sample", run, "-n", "3")
    assert everything(run) == before


def test_another_version_of_torch_is_warned_of_once(run: Path) -> None:
    edit_state(RunFolder(run).latest_checkpoint(), versions={"torch": "1.0.0", "numpy": "1.0.0"})
    for arguments in (("sample", run, "-n", "3"), ("resume", run, "--set", "sampler.steps=61")):
        said = done(*arguments, "--quiet").stderr
        for package in ("torch", "numpy"):
            assert said.count(f"step_00000060 was written with {package} 1.0.0, this is") == 1
        assert said.count("oreflow: warning: ") == 2
        assert ".py:" not in said


def test_only_some_keys_may_change(run: Path) -> None:
    before = everything(run)
    result = oreflow("resume", run, "--set", "sampler.learning_rate=1", "--json")
    assert result.exit_code == 2
    assert "sampler.learning_rate was 0.001, is 1.0. Change these back" in result.stderr
    assert f"only {', '.join(CHANGEABLE)} may change" in result.stderr
    assert json.loads(result.stdout)["error"] in result.stderr
    assert everything(run) == before
    text = (run / "config.resolved.yaml").read_text()
    (run / "config.resolved.yaml").write_text(text.replace("learning_rate: 0.001", "learning_rate: 0.002"))
    refused("sampler.learning_rate was 0.001, is 0.002. Change", "resume", run, "--set", "sampler.steps=70")
    (run / "config.resolved.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    refused("seed was 0, is 1. Change", "resume", run)
    (run / "config.resolved.yaml").write_text(text + "\n  - {[")
    refused("config.resolved.yaml is no valid YAML", "resume", run)
    refused("config.resolved.yaml is no valid YAML", "sample", run, "-n", "3")


def test_a_finished_run_goes_on_only_beyond_its_end(run: Path) -> None:
    before = everything(run)
    result = oreflow("resume", run, "--json")
    said = f"{run} has done 60 steps, and sampler.steps is 60; for more, add --set sampler.steps=N with a larger N"
    assert (result.exit_code, result.stderr) == (2, f"oreflow: {said}\n")
    assert json.loads(result.stdout) == {"error": said, "exit_code": 2}
    assert everything(run) == before
    result = done("resume", run, "--set", "sampler.steps=66", "--json", "--quiet")
    assert json.loads(result.stdout, parse_constant=pytest.fail)["steps"] == 66
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines][-3:] == [60, 65, 66]
    assert [entry["from_step"] for entry in json.loads((run / "provenance.json").read_text())["resumed"]] == [60]


def test_an_unreadable_provenance_is_not_written_over(run: Path) -> None:
    (run / "provenance.json").write_text("{")
    refused("provenance.json cannot be read; restore it, or remove it", "resume", run, "--set", "sampler.steps=61")
    (run / "provenance.json").unlink()
    done("resume", run, "--set", "sampler.steps=61", "--quiet")


def test_the_plug_in_of_a_run_is_asked_for(config: Path, tmp_path: Path) -> None:
    own = plugin(tmp_path)
    term = (
        "--set",
        "reward.terms.0={name: mine, shape: {kind: maximise, beta: 0.1}}",
        "--set",
        "sampler.steps=8",
        "--set",
        "world.neutrality=off",
    )
    train = ["train", str(config), "--plugin", str(own), "--out", str(tmp_path / "run"), "--quiet", *term]
    assert processes.oreflow(tmp_path / "said", *train).wait() == 0
    said = f"the run was trained with rewards of its own (mine); add --plugin {own}"
    more = ("--set", "sampler.steps=9", "--quiet")
    refused(said, "resume", tmp_path / "run", *more)
    refused(said, "sample", tmp_path / "run", "-n", "3")
    done("resume", tmp_path / "run", "--plugin", own, *more)
    message = oreflow("resume", tmp_path / "run", "--plugin", own, "--set", "reward.terms.0.name=charge_balanc").output
    assert "did you mean 'charge_balance'" in message
    assert "of its own" not in message


def test_a_run_in_use_is_left_alone_until_its_holder_is_gone(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    long = ("train", config, "--out", run, "--set", "sampler.steps=1000000", "--quiet")
    process = processes.oreflow(tmp_path / "said", *long)
    try:
        process.wait_for(lambda: bool(list_checkpoints(run / "checkpoints")))
        who = f"{run} is in use by process {process.pid} on host {platform.node()} since 20"
        for arguments in (long, (*long, "--overwrite"), ("resume", run)):
            refused(who, *arguments)
        process.send(signal.SIGKILL)
    finally:
        process.process.kill()
        process.wait()
    step = int(list_checkpoints(run / "checkpoints")[-1].name.removeprefix("step_"))
    done("resume", run, "--quiet", "--set", f"sampler.steps={step + 2}")
    refused(f"{run} holds a run already; choose another --out, or add --overwrite", *long)
    done(*long[:4], "--quiet", "--overwrite", "--set", "sampler.steps=2")
    assert [path.name for path in list_checkpoints(run / "checkpoints")] == ["step_00000002"]


def test_folders_that_exist_already(config: Path, tmp_path: Path) -> None:
    short = ("train", config, "--set", "sampler.steps=1", "--quiet", "--out")
    for name, overwrite in (("new", False), ("newer", True), ("empty", False), ("emptier", True)):
        if name.startswith("empt"):
            (tmp_path / name).mkdir()
        done(*short, tmp_path / name, *["--overwrite"] * overwrite)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    refused(f"{foreign} holds files, but no run to overwrite", *short, foreign, "--overwrite")
    assert everything(foreign) == {"thesis.tex": b"years of work"}
    done(*short, foreign)
    done(*short, foreign, "--overwrite")
    assert (foreign / "thesis.tex").read_text() == "years of work"


def test_a_train_that_never_began_blocks_no_later_one(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    short = ("train", config, "--set", "sampler.steps=1", "--quiet", "--out", run, "--overwrite")
    refused("did you mean 'Li'", *short, "--set", "world.elements=[Lii]")
    refused("did you mean", *short, "--set", "sampler.stepz=1")
    assert not run.exists()
    run.mkdir()
    for name in (".run.lock", ".run.lock.json", ".run.lock.json.123.tmp", ".config.resolved.yaml.123.tmp"):
        (run / name).write_text("")  # what a kill just after the start leaves
    done(*short)
    assert sorted(path.name for path in run.glob(".*")) == [".run.lock"]


def test_places_with_odd_names(config: Path, tmp_path: Path) -> None:
    odd = tmp_path / "mes matériaux 材料 'x' \"y\" %s {z}"
    deep = tmp_path.joinpath(*["ein ziemlich langer Name " * 8] * 15)
    for run in (odd, deep):
        done("train", config, "--out", run, "--quiet", "--set", "sampler.steps=8")
        done("resume", run, "--quiet", "--set", "sampler.steps=9")
        done("sample", run, "-n", "3", "--quiet")
    assert len(str(deep)) > 3000


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file/run", "Not a directory"),
        ("file", "Not a directory"),
        ("n" * 300, "File name too long"),
        ("/".join(["d" * 100] * 50), "File name too long"),
        ("/".join(["d" * 100] * 39), "File name too long"),  # the folder itself is not, but what goes there is
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_places_that_cannot_be_used_show_before_training(
    config: Path, tmp_path: Path, place: str, reason: str, overwrite: bool
) -> None:
    (tmp_path / "file").write_text("in the way")
    if place.count("/") == 38:
        place += "/" + "e" * (4060 - len(str(tmp_path / place)))
    result = oreflow("train", config, "--out", tmp_path / place, "--json", *["--overwrite"] * overwrite)
    assert result.exit_code == 2, result.output
    assert reason in result.stderr
    assert "; choose another" in result.stderr
    assert json.loads(result.stdout) == {"error": result.stderr.strip().removeprefix("oreflow: "), "exit_code": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_json_is_strict_in_every_ending(config: Path, tmp_path: Path) -> None:
    """Of a training where no loss is a number, of one that is stopped, of one that fails."""
    run = tmp_path / "run"
    own = plugin(tmp_path, values="values * np.nan")
    arguments = ("train", config, "--plugin", own, "--out", run, "--json", "--overwrite", *MINE)
    failed = oreflow(*arguments)
    assert failed.exit_code == 4
    figures = json.loads(failed.stdout, parse_constant=pytest.fail)
    assert figures["exit_code"] == 4
    assert figures["error"] in failed.stderr
    allowed = oreflow(*arguments, "--set", "reward.invalid_budget=1", "--set", "sampler.steps=3")
    assert allowed.exit_code == 0, allowed.output
    assert json.loads(allowed.stdout, parse_constant=pytest.fail)["last_loss"] is None
    process = processes.oreflow(tmp_path / "said", *map(str, ("train", config, "--out", tmp_path / "other", "--json")))
    process.wait_for(lambda: (tmp_path / "other" / ".run.lock.json").exists())
    process.send(signal.SIGTERM)
    assert process.wait() == 3
    figures = json.loads(process.out, parse_constant=pytest.fail)
    assert figures["stopped_by"] == "SIGTERM"
    assert figures["steps"] < figures["of_steps"] == 60


@pytest.mark.parametrize("path", sorted((ROOT / "agent").rglob("*.py")), ids=lambda path: path.stem)
def test_durations_are_of_a_clock_that_nobody_sets(path: Path) -> None:
    """`time.time` jumps where the machine's clock is set."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
            assert node.attr in ("monotonic", "perf_counter", "sleep")
        if isinstance(node, ast.ImportFrom):
            assert node.module != "time"
