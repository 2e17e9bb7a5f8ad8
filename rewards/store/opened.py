"""The stores that this process has open: each once, however many terms are kept in it."""

import atexit
import contextlib

from oreflow.rewards.contract.protocol import RewardTerm
from oreflow.rewards.errors import StoreError
from oreflow.rewards.store.identity import TermIdentity
from oreflow.rewards.store.store import RewardStore
from oreflow.rewards.store.term import StoredTerm

_open: dict[str, RewardStore] = {}


def stored(term: RewardTerm, place: str, identity: TermIdentity, cost: float | None = None) -> StoredTerm:
    """Wrap a term so that its values are kept in a store.

    Args:
        place: path of a file, or a URL.

    Raises:
        StoreError: when the store cannot be used.
    """
    if not _open:
        atexit.register(_close_quietly)
    if place not in _open:
        _open[place] = RewardStore(place)
    return StoredTerm(term, _open[place], identity, cost)


def close_stores() -> None:
    """Close every store that this process has open, and give its claims up."""
    while _open:
        _, store = _open.popitem()
        store.close()


def _close_quietly() -> None:
    with contextlib.suppress(StoreError):
        close_stores()
