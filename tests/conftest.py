"""Shared seeds and profiles of the test suite. No test needs a network, a GPU or data outside the repository."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from oreflow.envs import plugins
from oreflow.rewards.contract import guard

# Derandomised: the same examples on every machine, so a red run can be repeated. `HYPOTHESIS_PROFILE=nightly` explores.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20_261_121)


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plug-ins that a test loads, and side effects that it reports, are forgotten after it."""
    monkeypatch.setattr(guard, "_reported", set())
    yield
    plugins.forget_all()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real-life inputs say of which kind these are, so that a table can count them."""
    for item in items:
        for mark in item.iter_markers("kind"):
            item.user_properties.append(("kind", mark.args[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what kinds of input were tried, how many cases each, and how many came out right."""
    cases: dict[str, list[int]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, kind in report.user_properties:
                if name == "kind":
                    counts = cases.setdefault(str(kind), [0, 0])
                    counts[0] += 1
                    counts[1] += outcome == "passed"
    if cases:
        width = max(map(len, cases))
        terminalreporter.section("inputs as people have them")
        terminalreporter.line(f"{'kind':{width}}  cases  right")
        for kind, (n, right) in sorted(cases.items()):
            terminalreporter.line(f"{kind:{width}}  {n:5d}  {right:5d}")
