"""Direction of imports, quiet imports, and the size of files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

MAY_IMPORT = {
    "envs": {"envs"},
    "rewards": {"envs", "rewards"},
    "agent": {"envs", "rewards", "agent"},
}


def top_level(module: str) -> str:
    """The package that a module belongs to: one of the three houses, or somebody else's."""
    return module.removeprefix("oreflow.").split(".")[0]


def imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(top_level(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.update(top_level(f"{node.module}.{alias.name}") for alias in node.names)
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_point_one_way(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 5
    for path in files:
        wrong = (imported_packages(path) & MAY_IMPORT.keys()) - MAY_IMPORT[package]
        assert not wrong or "templates" in path.parts, f"{path} imports {wrong}"


def test_only_one_file_imports_torchgfn() -> None:
    users = [p.name for package in MAY_IMPORT for p in (ROOT / package).rglob("*.py") if "gfn" in imported_packages(p)]
    assert users == ["torchgfn_env.py"]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("oreflow.envs", {"torch", "numba", "pandas", "pymatgen"}),
        ("oreflow.rewards", {"torch", "numba", "pandas", "pymatgen"}),
        ("oreflow.agent.cli", {"torch", "numba", "pandas", "pymatgen", "numpy", "gymnasium"}),
    ],
)
def test_imports_are_quiet_and_cheap(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(sorted(sys.modules.keys() & {heavy!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_files_stay_readable() -> None:
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, f"{path}: split it by responsibility"
