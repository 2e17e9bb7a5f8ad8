"""Compiled functions without a usable cache (C13): right results, one warning, and the cache mends itself."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from oreflow.agent.commands.common import verb
from tests.support.repository import ROOT

KERNEL = """
from oreflow.envs.compiled.jit import njit

@njit
def doubled(x):
    return 2 * x

@njit(nogil=True)
def total(xs):
    s = 0
    for x in xs:
        s += doubled(x)
    return s
"""
SCRIPT = "import numpy as np, kernel; print(kernel.total(np.arange(5)), sum(kernel.total.stats.cache_hits.values()))"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A folder with a small compiled module and a folder for its cache."""
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "kernel.py").write_text(KERNEL)
    return folder


def start(module: Path, **env: str | Path) -> subprocess.Popen[str]:
    path = os.pathsep.join(map(str, (module, ROOT / "src")))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "PYTHONWARN", "XDG_"))}
    environment |= {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | {k: str(v) for k, v in env.items()}
    command = [sys.executable, "-W", "always::RuntimeWarning", "-c", SCRIPT]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> tuple[int, int, str]:
    """The function's result, functions read from the cache, and what was said on stderr."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    result, hits = out.split()
    return int(result), int(hits), err


def test_cache_is_written_and_read(module: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert outcome(start(module, NUMBA_CACHE_DIR=cache)) == (20, 0, "")
    assert len(list(cache.rglob("*.nbc"))) == 1  # what it calls is part of it
    assert outcome(start(module, NUMBA_CACHE_DIR=cache)) == (20, 1, "")


def test_no_place_for_a_cache(module: Path, tmp_path: Path) -> None:
    """Every folder that numba tries lies below a regular file."""
    file = tmp_path / "file"
    file.write_text("")
    (module / "__pycache__").write_text("")
    places = {"NUMBA_CACHE_DIR": file / "cache", "HOME": file / "home", "XDG_CACHE_HOME": file / "xdg"}
    result, hits, said = outcome(start(module, **places))
    assert (result, hits, said.count("RuntimeWarning")) == (20, 0, 1)
    assert f"cannot be cached in {file / 'cache'}" in said
    assert "set the environment variable NUMBA_CACHE_DIR to a folder" in said


def test_cache_directory_that_is_a_file_falls_back_to_the_next_place(module: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert outcome(start(module, NUMBA_CACHE_DIR=file)) == (20, 0, "")
    assert list((module / "__pycache__").glob("*.nbi"))


def garble(content: bytes) -> bytes:
    """The same length, with the bytes of the middle third inverted."""
    third = len(content) // 3
    return content[:third] + bytes(255 - b for b in content[third : 2 * third]) + content[2 * third :]


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc", "*.nb?"])
@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[: len(content) // 2], garble, lambda content: bytes(range(200))],
    ids=["empty", "truncated", "garbled", "other"],
)
def test_damaged_cache_is_mended(module: Path, tmp_path: Path, pattern: str, damage) -> None:
    cache = tmp_path / "cache"
    outcome(start(module, NUMBA_CACHE_DIR=cache))
    damaged = list(cache.rglob(pattern))
    assert damaged
    for path in damaged:
        path.write_bytes(damage(path.read_bytes()))
    result, hits, said = outcome(start(module, NUMBA_CACHE_DIR=cache))
    assert (result, hits, said.count("RuntimeWarning")) == (20, 0, 1)
    assert f"cannot be read from the cache {cache}" in said
    assert outcome(start(module, NUMBA_CACHE_DIR=cache)) == (20, 1, "")


def test_cache_of_plain_numba_is_replaced_in_silence(module: Path, tmp_path: Path) -> None:
    """As after an upgrade: files of the same names that carry no checksums."""
    plain = KERNEL.replace("from oreflow.envs.compiled.jit", "from numba").replace("@njit\n", "@njit(cache=True)\n")
    (module / "kernel.py").write_text(plain.replace("nogil=True", "nogil=True, cache=True"))
    assert outcome(start(module, NUMBA_CACHE_DIR=tmp_path)) == (20, 0, "")
    (module / "kernel.py").write_text(KERNEL)
    before = len(list(tmp_path.rglob("*.nb?")))
    for hits in (0, 1):
        assert outcome(start(module, NUMBA_CACHE_DIR=tmp_path)) == (20, hits, "")
        assert len(list(tmp_path.rglob("*.nb?"))) == before == 4


def test_cache_that_vanishes_while_compiling(module: Path, tmp_path: Path) -> None:
    """The folder is there at import and replaced by a file before the first call."""
    cache = tmp_path / "cache"
    code = "\n".join(
        [
            "import pathlib, shutil, numpy as np, kernel",
            f"cache = pathlib.Path({str(cache)!r})",
            "shutil.rmtree(cache)",
            "cache.write_text('')",
            "print(kernel.total(np.arange(5)))",
        ]
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (module, ROOT / "src"))),
        "NUMBA_CACHE_DIR": str(cache),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "20"
    assert done.stderr.count("RuntimeWarning") == 1


def test_processes_share_a_cache(module: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    together = [start(module, NUMBA_CACHE_DIR=cache) for _ in range(2)]
    assert [(result, said) for result, _, said in map(outcome, together)] == [(20, "")] * 2
    assert outcome(start(module, NUMBA_CACHE_DIR=cache)) == (20, 1, "")


def test_nothing_else_compiles_past_this_module() -> None:
    for package in ("envs", "rewards", "agent"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "jit.py":
                text = path.read_text(encoding="utf-8")
                assert "numba.njit" not in text, path
                assert "from numba import njit" not in text, path


def test_a_change_in_another_file_is_seen(tmp_path: Path) -> None:
    """What is compiled into a function may lie in a file that the function's own file imports."""
    package = tmp_path / "oreflow" / "envs"
    (package / "compiled").mkdir(parents=True)
    for folder in (package.parent, package, package / "compiled"):
        (folder / "__init__.py").touch()
    for name in ("jit.py", "callees.py"):
        (package / "compiled" / name).write_text((ROOT / "envs" / "compiled" / name).read_text())
    (package / "far.py").write_text("FACTOR = 2\n")
    (package / "near.py").write_text(
        "from oreflow.envs.compiled.jit import njit\nfrom oreflow.envs.far import FACTOR\n\n"
        "@njit\ndef scaled(x):\n    return FACTOR * x\n"
    )
    (tmp_path / "kernel.py").write_text(
        "from oreflow.envs.compiled.jit import njit\nfrom oreflow.envs.near import scaled\n\n"
        "@njit\ndef total(xs):\n    s = 0\n    for x in xs:\n        s += scaled(x)\n    return s\n"
    )

    def run() -> tuple[int, int, str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
        environment |= {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", SCRIPT]
        out = subprocess.PIPE
        return outcome(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=out, stderr=out, text=True))

    assert run() == (20, 0, "")
    assert run() == (20, 1, "")
    (package / "far.py").write_text("FACTOR = 3\n")
    assert run() == (30, 0, "")


def test_cache_that_names_a_class_no_longer_there_is_replaced_in_silence(module: Path, tmp_path: Path) -> None:
    """As after an upgrade that renamed what a function takes: its index cannot even be read."""
    source = (
        "from typing import NamedTuple\nimport numpy as np\nfrom oreflow.envs.compiled.jit import njit\n\n"
        "class Pair(NamedTuple):\n    x: np.ndarray\n    y: np.ndarray\n\n"
        "@njit\ndef _total(pair):\n    return (pair.x + pair.y).sum()\n\n"
        "def total(xs):\n    return _total(Pair(xs, xs))\n\ntotal.stats = _total.stats\n"
    )
    for name, hits in (("Pair", 0), ("Pair", 1), ("Couple", 0), ("Couple", 1)):
        (module / "kernel.py").write_text(source.replace("Pair", name))
        assert outcome(start(module, NUMBA_CACHE_DIR=tmp_path)) == (20, hits, "")


def test_long_compilation_is_announced_once(module: Path, tmp_path: Path) -> None:
    names = ("first", "second", "third")
    functions = "".join(f"\n@njit\ndef {name}(x):\n    return x + 1\n" for name in names)
    (module / "kernel.py").write_text("from oreflow.envs.compiled.jit import njit\n" + functions)
    script = "import logging, kernel\nfrom oreflow.envs.compiled import jit\nlogging.basicConfig(level='INFO')\n"
    script += "jit._SECONDS_UNSAID = {}\n"
    script += "".join(f"kernel.{name}(1)\n" for name in names)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, (module, ROOT / "src")))}
    # Of three functions two begin after the limit; nothing is said when all come from the cache
    for seconds, cache, times in ((-1, "a", 1), (-1, "a", 0), (1000, "b", 0)):
        done = subprocess.run(
            [sys.executable, "-c", script.format(seconds)],
            env=environment | {"NUMBA_CACHE_DIR": str(tmp_path / cache)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr.count("compiling what this machine has not met before") == times


@pytest.mark.parametrize("quiet", [False, True])
def test_commands_show_information_unless_quiet(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("oreflow")

    @verb
    def command(quiet: bool = False) -> None:
        logger.info("compiling")

    with pytest.raises(typer.Exit):
        command(quiet=quiet)
    logger.info("after the command")
    assert capsys.readouterr().err == ("" if quiet else "oreflow: compiling\n")
