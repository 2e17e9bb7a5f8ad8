"""Every command and every Python example of the README and of docs/guide runs, with short trainings."""

import csv
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

GUIDE = (
    *(
        "judge_formulas",
        "repair",
        "own_elements",
        "rewards",
        "expensive_rewards",
        "crystals",
        "campaigns",
        "alloys",
        "proof",
        "samplers",
        "completion",
        "report",
        "executors",
    ),
    "other_trainers",
)
PAGES = [ROOT / "README.md", *(ROOT / "docs" / "guide" / f"{name}.md" for name in GUIDE)]
README = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)  # in the order in which files come to be
SHORT = ["--set", "sampler.steps=15", "--set", "run.log_every_steps=5"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone holds besides the packages, and a CSV to fit."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "runs" / "configs", folder / "runs" / "configs")
    shutil.copytree(ROOT / "runs" / "campaigns", folder / "runs" / "campaigns")
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for lock in ROOT.glob("requirements*.lock"):
        shutil.copy(lock, folder)
    metals, anions = ("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Zn"), ("F", "Cl", "Br", "I", "O", "S", "Se")
    rows = [f"{m}{i}{x}{j},{-0.1 * i - 0.2 * j}" for m in metals for x in anions for i in (1, 2) for j in (1, 2, 3)]
    (folder / "my_energies.csv").write_text("formula,formation_energy_per_atom\n" + "\n".join(rows) + "\n")
    (folder / "my_gaps.csv").write_text("formula,band_gap\n" + "\n".join(rows).replace("-", "") + "\n")
    known = ("Li2O,-2.07", "Fe2O3,-1.71", "P2O5,-2.2", "SiO2,-3.2")
    (folder / "known.csv").write_text("\n".join(["formula,formation_energy_per_atom", *known]) + "\n")
    program = Path(sys.executable).with_name("oreflow")
    (folder / "cluster.yaml").write_text(f"kind: files\nfolder: runs/requests\nsubmit: {program} worker {{folder}}\n")
    return folder


def test_the_readme_fits_two_screens_and_no_guide_is_left_out() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 100
    words_only = {"first_run", "installation", "promises", "limits"}
    assert {page.stem for page in (ROOT / "docs" / "guide").glob("*.md")} == set(GUIDE) | words_only
    for name in words_only:
        assert not re.search(r"```(bash|python)", (ROOT / "docs" / "guide" / f"{name}.md").read_text(encoding="utf-8"))


def test_every_test_that_a_promise_names_is_there() -> None:
    promises = (ROOT / "docs" / "guide" / "promises.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)`", promises)
    assert len(named) > 8
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_the_pictures_are_drawn_from_the_data_beside_them() -> None:
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs" / "pictures" / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    for name in ("proof", "flow"):
        picture = (ROOT / "docs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
        assert picture == getattr(draw, name)(), f"run python docs/pictures/draw.py: {name}.svg is not what it draws"
    rows = list(csv.DictReader((ROOT / "docs" / "pictures" / "proof.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 610
    for name in ("target", *(panel[0] for panel in draw.PANELS)):
        assert abs(sum(float(row[name]) for row in rows) - 1.0) < 1e-5
    assert draw.total_variation(rows, "gflownet") < 0.001 < draw.total_variation(rows, "policy_gradient") < 0.005
    assert draw.total_variation(rows, "without_log_p_b") > 0.1


def test_the_readme_shows_every_verb() -> None:
    verbs = {line.split()[1] for line in commands() if line.startswith("oreflow ")}
    assert verbs == {
        "design",
        "warm-up",
        "train",
        "resume",
        "sample",
        "evaluate",
        "exact",
        "compare",
        "score",
        "check",
        "list",
        "init",
        "fit",
        "fit-energy",
        "fit-prior",
    } | {
        "encode",
        "export",
        "realise",
        "relax",
        "report",
        "select",
        "campaign",
        "worker",
        "rewards",
        "merge",
        "repair",
    }


@pytest.mark.slow
def test_every_oreflow_command_runs_in_order(workplace: Path) -> None:
    program = Path(sys.executable).with_name("oreflow")
    for line in commands():
        words = shlex.split(line)
        if words[0] != "oreflow":
            continue
        if words[1] in ("train", "design") or words[:3] == ["oreflow", "exact", "runs/configs/tiny_exact.yaml"]:
            words += SHORT
        if words[1] == "resume" and "--plugin" not in words:
            assert words[-1] == "sampler.steps=5000"  # beyond the 4 000 of the config; here beyond the 15 of SHORT
            words[-1] = "sampler.steps=30"
        if words[1] == "relax":
            if importlib.util.find_spec("chgnet") is None:
                continue
            words += ["-n", "2", "--steps", "3"]
        if words[1] == "campaign":
            if importlib.util.find_spec("chgnet") is None:
                continue
            small = ("run=runs/cubic", "rounds=2", "draws=20", "relaxations=3", "steps=3", "rank=contacts")
            words += [word for setting in small for word in ("--set", setting)]
        if words[1:3] == ["evaluate", "runs/cubic/relaxed"] and importlib.util.find_spec("chgnet") is None:
            continue
        if words[1] == "fit-prior":
            words[words.index("--steps") + 1] = "15"
        if words[1] in ("fit", "fit-energy"):
            words += ["--members", "1", "--max-minutes", "0.2"]
        done = subprocess.run([program, *words[1:]], cwd=workplace, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        assert "Warning" not in done.stderr


@pytest.mark.slow
def test_make_design_writes_the_candidates(workplace: Path) -> None:
    """The recipe itself, with this environment in place of a fresh one and a short training."""
    bin_folder = Path(sys.executable).parent
    venv = workplace / "venv"
    venv.mkdir()
    (venv / "bin").symlink_to(bin_folder)
    for stamp in (".torch", ".installed"):
        (venv / stamp).touch()
    flags = " ".join(SHORT)
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VENV", "PYTHON")
    }
    done = subprocess.run(
        ["make", "design", f"VENV={venv}", f"TRAIN_FLAGS={flags}", "SAMPLES=50"],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = (workplace / "runs" / "quickstart" / "samples" / "candidates.csv").read_text().splitlines()
    assert len(table) == 51
    assert "charge-neutral             100.0%" in done.stdout
    assert (workplace / "runs" / "quickstart" / "eval" / "metrics.json").is_file()


def test_the_reward_of_the_readme_passes_check(workplace: Path) -> None:
    """The YAML of the README, in a small world."""
    world = "schema_version: 1\nworld: {elements: [Li, Na, Fe, P, S, O], n_elements: [2, 3], n_atoms: [2, 10]}\n"
    (workplace / "readme.yaml").write_text(world + blocks("yaml")[0])
    program = Path(sys.executable).with_name("oreflow")
    done = subprocess.run([program, "check", "readme.yaml"], cwd=workplace, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name in ("energy_above_hull", "novelty", "hazardous_elements"):
        assert re.search(rf"{name}: median [-\d.e]+, valid 100.0%; contract holds", done.stdout)


def test_both_make_targets_are_the_ones_the_readme_names() -> None:
    targets = [line.split()[1] for line in commands() if line.startswith("make ")]
    assert targets == ["design", "test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_examples_run(number: int, workplace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", blocks("python")[number]],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
