"""Each test closes the stores that it opened."""

import pytest

from oreflow.rewards.store.opened import close_stores


@pytest.fixture(autouse=True)
def _closed():
    yield
    close_stores()
