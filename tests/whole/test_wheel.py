"""The wheel, installed beside folders of somebody else that are called as ours are: one name, `oreflow`, is enough."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.repository import ROOT

SCRIPT = """
import oreflow

assert "site-packages" in oreflow.__file__, oreflow.__file__
run = oreflow.train("search/config.yaml", "run", overrides=["sampler.steps=5"], plugins=["search/my_reward.py"])
candidates = oreflow.sample(run, 20, unique=True, seed=1)
print(len(candidates), oreflow.score("NaCl")["charge_neutral"][0], len(oreflow.sample("compositions", 7)))
"""


def tracked_files(folder: Path, *paths: str) -> Path:
    """Copy what git tracks, or some of it, into a new folder."""
    tracked = subprocess.run(["git", "archive", "HEAD", *paths], cwd=ROOT, capture_output=True, check=True).stdout
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", folder], input=tracked, check=True)
    return folder


def built(source: Path, out: Path) -> Path:
    """Build the wheel of a source, without the network."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*build, "-w", out, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(out.glob("oreflow-*.whl"))


def contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist() if not entry.filename.endswith("/RECORD")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git tracks."""
    folder = tmp_path_factory.mktemp("wheel")
    return built(tracked_files(folder / "source"), folder)


@pytest.mark.slow
def test_the_image_is_built_from_all_that_the_wheel_needs(wheel: Path, tmp_path: Path) -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert contents(built(tracked_files(tmp_path / "source", *copied), tmp_path)) == contents(wheel)


@pytest.mark.slow
def test_it_holds_one_package_with_its_data_and_its_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"oreflow"}
    for package in ("agent", "envs", "rewards"):
        sources = {path.relative_to(ROOT / package) for path in (ROOT / package).rglob("*.py")}
        assert {
            Path(name).relative_to(f"oreflow/{package}") for name in names if name.startswith(f"oreflow/{package}/")
        } >= sources
    needed = ("py.typed", "agent/templates/config.yaml", "envs/data/wyckoff.npz", "rewards/data/element_volumes.csv")
    configs = {path.name for path in (ROOT / "runs" / "configs").glob("*.yaml")}
    assert "quickstart.yaml" in configs
    needed += tuple(f"agent/configs/{name}" for name in configs)
    needed += tuple(f"agent/reporting/page/report.{suffix}" for suffix in ("html.j2", "css", "js"))
    assert {f"oreflow/{name}" for name in needed} <= set(names)
    assert sum(name.endswith("weights.safetensors") for name in names) == 4


@pytest.mark.slow
def test_folders_of_the_same_names_do_no_harm(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    bin_folder = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as content:  # as an installer unpacks it
        content.extractall(site)
    program = bin_folder / "oreflow"
    program.write_text(f"#!{bin_folder / 'python'}\nfrom oreflow.agent.cli import main\nmain()\n")
    program.chmod(0o755)
    work = tmp_path / "work"
    for package in ("agent", "envs", "rewards"):
        (work / package).mkdir(parents=True)
        (work / package / "__init__.py").write_text("raise RuntimeError('somebody else\\'s package')\n")
    (work / "script.py").write_text(SCRIPT)
    # What oreflow depends on comes from this environment; oreflow itself does not, as .pth files are not read there.
    environment = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}

    def run(*words: str | Path) -> str:
        done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(program, "init", "search")
    run(program, "design", "tiny_exact", "-n", "9", "--set", "sampler.steps=5")
    assert (work / "oreflow_tiny_exact" / "report" / "index.html").is_file()
    assert run(bin_folder / "python", "script.py").split() == ["20", "True", "7"]
    run(
        program,
        "train",
        "search/config.yaml",
        "--plugin",
        "search/my_reward.py",
        "--out",
        "again",
        "--set",
        "sampler.steps=5",
    )
    assert (work / "again" / "config.resolved.yaml").is_file()
