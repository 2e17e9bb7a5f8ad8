"""Values of a term on their way into a store: what the store cannot take now waits, and nothing paid for is lost."""

import warnings
import weakref
from collections.abc import Mapping, Sequence

from oreflow.rewards.errors import RewardWarning, StoreError
from oreflow.rewards.store.entry import Entry
from oreflow.rewards.store.exported import write_aside
from oreflow.rewards.store.identity import TermIdentity
from oreflow.rewards.store.store import RewardStore


class Writing:
    """Writes values of one term into a store, and recalls them.

    Values that cannot be written, as when the disk is full, stay in memory and are written with the next ones. What
    still waits when this object goes is tried once more, and then written to a file beside the work.

    Args:
        store: where to.
        identity, unit, requires: of the term.

    Attributes:
        term: id of the term in the store.
    """

    def __init__(self, store: RewardStore, identity: TermIdentity, unit: str, requires: str) -> None:
        self.term = store.enter_term(identity, unit, requires)
        self._store = store
        self._waiting: dict[str, Entry] = {}
        self._warned = False
        about = identity, unit, requires
        weakref.finalize(self, _write_at_last, store, self.term, about, self._waiting)

    def __contains__(self, key: str) -> bool:
        """Whether a value waits."""
        return key in self._waiting

    def recall(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The values that are there, by key, those that wait included.

        Raises:
            StoreError: when the store cannot be read.
        """
        here = {key: self._waiting[key] for key in keys if key in self._waiting}
        rest = [key for key in keys if key not in here]
        return here | (self._store.recall(self.term, rest) if rest else {})

    def record(self, new: Mapping[str, Entry]) -> None:
        """Write values, and those that wait; where the store takes none, all wait, and the first time that is said."""
        self._waiting.update(new)
        if not self._waiting:
            return
        try:
            self._store.record(self.term, self._waiting)
        except StoreError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(f"{error}", RewardWarning, stacklevel=3)
        else:
            self._waiting.clear()
            self._warned = False


def _write_at_last(
    store: RewardStore, term: str, about: tuple[TermIdentity, str, str], waiting: dict[str, Entry]
) -> None:
    if not waiting:
        return
    try:
        store.record(term, waiting)
    except StoreError:
        write_aside(store.name, *about, waiting, store.owner.id)
