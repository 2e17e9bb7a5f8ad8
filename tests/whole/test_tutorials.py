"""Each tutorial, block by block as a reader would follow it, in a folder that holds what a clone holds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)(?: title=\"([\w./]+)\")?\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def run(words: list[str], folder: Path, shown: str) -> None:
    """Run a command with the interpreter and the scripts of this environment; a warning is a failure."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, f"{shown}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, shown
    assert "Warning" not in done.stderr, done.stderr


def test_there_are_seven() -> None:
    names = [
        "crystals",
        "features_and_models",
        "own_elements",
        "own_policy",
        "own_potential",
        "own_reward",
        "own_world",
    ]
    assert [page.stem for page in TUTORIALS] == names


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_block_of_a_tutorial_runs(page: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "runs" / "configs", tmp_path / "runs" / "configs")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    text = page.read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("\n```") // 2, "a block was not understood"
    assert sum(language in ("bash", "python") for language, _, _ in blocks) >= 3
    for language, name, body in blocks:
        if name:
            (tmp_path / name).write_text(body, encoding="utf-8")
        elif language == "bash":
            for line in body.splitlines():
                run(["bash", "-c", line], tmp_path, line)
        elif language == "python":
            run([sys.executable, "-W", "error::UserWarning", "-c", body], tmp_path, body)
        else:
            assert language == "text", f"{page.name}: a block of {language} without a title is not used"
