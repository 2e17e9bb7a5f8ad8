"""Runs that tests make reports of."""

from pathlib import Path

import pytest

from tests.agent.reporting.pages import CONFIG
from tests.support.cli import done


@pytest.fixture(scope="package")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two seeds, each sampled."""
    folder = tmp_path_factory.mktemp("reported")
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "known.csv").write_text(
        "formula,formation_energy_per_atom\nLi2O,-2.07\nMnO,-2.0\nMnO2,-1.8\nLi2S,-1.5\nMnS,-1.1\nSO2,-1.0\n"
    )
    done("train", folder / "config.yaml", "--seeds", "0-1", "--out", folder / "runs", "-q")
    for seed in (0, 1):
        run = folder / "runs" / f"seed_{seed}"
        done("sample", run, "-n", 60, "--unique", "--reference", folder / "known.csv", "-q")
    return folder


@pytest.fixture(scope="package")
def page(runs: Path) -> Path:
    """The report of the first seed, with figures for papers beside it."""
    done("report", runs / "runs" / "seed_0", "--reference", runs / "known.csv", "--figures", "-q")
    return runs / "runs" / "seed_0" / "report" / "index.html"
