"""Histograms in a line: bars are counts, ends are the ends, and a terminal without blocks gets other characters."""

import os
import subprocess
import sys

import numpy as np
import pytest

from oreflow.agent.runtime.sparkline import sparkline
from tests.support.repository import ROOT


@pytest.mark.parametrize(
    ("values", "n_bins", "encoding", "expected"),
    [
        ([0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0], 4, "utf-8", "0 ▂█▄▂ 3"),
        ([0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0], 4, "ascii", "0 :#=: 3"),
        ([-1.0, *[4.0] * 999], 5, "utf-8", "-1 ▁   █ 4"),  # one of a thousand is seen
        ([np.nan, 2.0, -np.inf, 2.0], 5, "utf-8", "2"),
        ([np.nan, np.inf], 5, "utf-8", ""),
        ([], 5, "utf-8", ""),
        ([0.0, 1.0], 2, "no-such-encoding", "0 ## 1"),
    ],
)
def test_bars_are_in_proportion_to_counts(values: list[float], n_bins: int, encoding: str, expected: str) -> None:
    assert sparkline(np.array(values), n_bins, encoding) == expected


@pytest.mark.slow
def test_a_terminal_of_ascii_alone_is_told_everything() -> None:
    config = ROOT / "runs" / "configs" / "tiny_exact.yaml"
    program = [sys.executable, "-m", "oreflow.agent.cli", "check", config]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(program, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode("ascii")
    assert "0 #" in said  # charge_balance: most of the formulas are at its low end
    assert "training   3,000 steps" in said
