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
