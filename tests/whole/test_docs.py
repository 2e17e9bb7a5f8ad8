"""The site builds offline without a warning, shows every public name, and fetches nothing."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

OFFLINE = "import socket; socket.socket.connect = None; from mkdocs.__main__ import cli; cli()"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` builds, by a process that cannot open a connection."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-c", OFFLINE, "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_pages_are_there_and_fetch_nothing(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    for name in ("index", "GLOSSARY", "ARCHITECTURE", "tutorials/own_world", "guide/limits", "rewards/index"):
        assert f"{name}.html" in pages
    for name, text in pages.items():
        fetched = re.findall(
            r"<(?:script|img|iframe)[^>]* src=\"?(?:https?:)?//|<link[^>]* href=\"?(?:https?:)?//", text
        )
        assert not fetched, f"{name} fetches something"
        assert 'class="mermaid"' not in text, f"{name}: Mermaid is loaded from the network; draw an SVG"
    assert (site / "pictures" / "proof.svg").is_file()


@pytest.mark.slow
def test_every_public_name_links_to_its_documentation(site: Path) -> None:
    from oreflow import __all__

    text = (site / "interface" / "oreflow.html").read_text(encoding="utf-8")
    missing = [name for name in __all__ if name[0] != "_" and name not in ("agent", "envs", "rewards")]
    assert [name for name in missing if f">oreflow.{name}</a>" not in text] == []


def test_arguments_in_docstrings_are_arguments() -> None:
    """The names before a colon in "Args:", also several at once ("zs, counts: ..."), are in the signature."""
    wrong, seen = [], 0
    for path in [p for house in ("envs", "rewards", "agent") for p in (ROOT / house).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            functions = {}
            if isinstance(node, ast.FunctionDef):
                functions[node.name] = (ast.get_docstring(node), node)
            if isinstance(node, ast.ClassDef):
                start = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
                if start:
                    functions[node.name] = (ast.get_docstring(node), start[0])
            for name, (text, function) in functions.items():
                entries = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text or "", flags=re.MULTILINE)
                a = function.args
                given = {x.arg for x in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg] if x is not None}
                for entry in re.findall(r"^    (\w[\w, *]*):", entries[1] if entries else "", flags=re.MULTILINE):
                    seen += 1
                    unknown = {word.strip(" *") for word in entry.split(",")} - given
                    if unknown:
                        wrong.append(f"{path.relative_to(ROOT)}: {name}: {sorted(unknown)}")
    assert seen > 100
    assert wrong == []
