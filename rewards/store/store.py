"""The reward store: recall values, claim those that are missing, record them. Safe under many writers."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from oreflow.rewards.errors import StoreError
from oreflow.rewards.store.connection import BUSY_S, Connection
from oreflow.rewards.store.entry import Entry
from oreflow.rewards.store.identity import TermIdentity
from oreflow.rewards.store.owner import Watch, is_dead_here, this_process
from oreflow.rewards.store.schema import claims, owners, terms, values

LEASE_S = 300.0
"""So long the beat of a process on another machine may stand still before its claims are taken over."""
_BEATS_A_LEASE = 10
_AT_ONCE = 300  # keys in one statement, of at most three parameters each: old SQLites take 999
_TRIES = 20


@dataclass(frozen=True)
class Claimed:
    """What a claim found.

    Attributes:
        mine: keys that this process is to compute now.
        others: keys that another process is computing.
        known: values that have come since.
    """

    mine: list[str]
    others: list[str]
    known: dict[str, Entry]


class RewardStore:
    """Values of many terms, shared by processes and machines.

    A process that is to compute a value claims it first. Its claims hold as long as it lives: a thread lets a number in
    the store go up, and other processes take claims over when that number stands still (`owner.Watch`).

    Args:
        place: path of a SQLite file, or a URL of SQLAlchemy.
        create: whether a store that is not there is made.
        lease_s, busy_s: how long to trust a process that gives no sign of life, and to wait for another writer.

    Raises:
        StoreError: when it cannot be opened, is no store, or has a newer schema.
    """

    def __init__(self, place: str, *, create: bool = True, lease_s: float = LEASE_S, busy_s: float = BUSY_S) -> None:
        self._connection = Connection(place, create=create, busy_s=busy_s)
        self.name = self._connection.name
        self.owner = this_process()
        self._lease_s = lease_s
        self._watch = Watch(lease_s)
        self._is_entered = False
        self._held: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._beating: threading.Thread | None = None
        self._stop = threading.Event()

    def enter_term(self, identity: TermIdentity, unit: str, requires: str) -> str:
        """Enter a term, where it is not there yet, and return its id."""
        row = {"id": identity.id, "name": identity.name, "version": identity.version, "unit": unit}
        row |= {"parameters": identity.parameters, "requires": requires}
        for _ in self._tries("enter a term into"):
            try:
                with self._connection.writing() as connection:
                    if connection.execute(sa.select(terms.c.id).where(terms.c.id == identity.id)).first() is None:
                        connection.execute(terms.insert().values(row))
                return identity.id
            except sa.exc.IntegrityError:
                continue
        raise AssertionError

    def recall(self, term: str, keys: Sequence[str]) -> dict[str, Entry]:
        """The values that are there, by key."""
        with self._connection.reading() as connection:
            return self._recalled(connection, term, keys)

    def claim(self, term: str, keys: Sequence[str]) -> Claimed:
        """Claim what nobody has computed and nobody is computing.

        Claims of processes that have ended are taken over.
        """
        mine: list[str] = []
        for _ in self._tries("claim values of"):
            try:
                with self._connection.writing() as connection:
                    self._enter(connection)
                    held = self._claims(connection, term, keys)
                    free = [key for key in dict.fromkeys(keys) if key not in held]
                    for part in _parts(sorted(free)):  # in one order everywhere: two that insert never block each other
                        rows = [{"term": term, "object": key, "owner": self.owner.id} for key in part]
                        connection.execute(claims.insert().values(rows))
                    # After the claims: whoever recorded one of these values has given its claim up by now.
                    known = self._recalled(connection, term, keys)
                    self._unclaim(connection, term, [key for key in free if key in known])
                mine = [key for key in free if key not in known]
                break
            except sa.exc.IntegrityError:  # another process claimed one between the two statements
                continue
        self._hold((term, key) for key in mine)
        others = [key for key in dict.fromkeys(keys) if key not in known and key not in set(mine)]
        return Claimed(mine, others, known)

    def record(self, term: str, entries: Mapping[str, Entry], *, replace: bool = False) -> int:
        """Write values, end all claims on them, and return how many were new.

        A value that is there already stays, unless `replace`: whoever asked has been answered with it.
        """
        for _ in self._tries("write values to"):
            try:
                with self._connection.writing() as connection:
                    there = set() if replace else set(self._recalled(connection, term, list(entries)))
                    rows = [
                        {"term": term, "object": key, **entry.as_row()}
                        for key, entry in sorted(entries.items())
                        if key not in there
                    ]
                    if replace:
                        self._delete(connection, values, term, list(entries))
                    if rows:
                        connection.execute(values.insert(), rows)
                    self._delete(connection, claims, term, list(entries))  # whoever's: what is there is not under way
                break
            except sa.exc.IntegrityError:
                continue
        self._let_go((term, key) for key in entries)
        return len(rows)

    def release(self, term: str, keys: Sequence[str]) -> None:
        """Give claims up without a value: another process may compute it."""
        if keys:
            with self._connection.writing() as connection:
                self._unclaim(connection, term, keys)
            self._let_go((term, key) for key in keys)

    def close(self) -> None:
        """Give all claims up, and close."""
        self._stop.set()
        try:
            if self._is_entered:
                with self._connection.writing() as connection:
                    connection.execute(claims.delete().where(claims.c.owner == self.owner.id))
                    connection.execute(owners.delete().where(owners.c.id == self.owner.id))
        finally:
            self._held.clear()
            self._is_entered = False
            self._connection.close()

    # What the command line asks for

    def listing(self) -> list[dict[str, object]]:
        """One mapping a term: name, version, parameters, unit, and sums over its values."""
        columns = (
            *(terms.c.id, terms.c.name, terms.c.version, terms.c.parameters, terms.c.unit, terms.c.requires),
            sa.func.count(values.c.object).label("n_values"),
            sa.func.sum(sa.case((values.c.valid, 1), else_=0)).label("n_valid"),
            sa.func.sum(sa.case((values.c.failed, 1), else_=0)).label("n_failed"),
            sa.func.sum(values.c.seconds).label("seconds"),
            sa.func.sum(values.c.cost).label("cost"),
            sa.func.max(values.c.made_at).label("last_made_at"),
        )
        joined = terms.outerjoin(values, values.c.term == terms.c.id)
        query = sa.select(*columns).select_from(joined).group_by(terms.c.id).order_by(terms.c.name, terms.c.version)
        with self._connection.reading() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            counts = sa.select(claims.c.term, sa.func.count()).group_by(claims.c.term)
            under_way = {str(row[0]): int(row[1]) for row in connection.execute(counts)}
        return [row | {"n_under_way": under_way.get(row["id"], 0)} for row in rows]

    def all_entries(self, term: str) -> Iterator[tuple[str, Entry]]:
        """Keys and values of a term, in the order of the keys."""
        query = sa.select(values).where(values.c.term == term).order_by(values.c.object)
        with self._connection.reading() as connection:
            for row in connection.execute(query):
                yield row.object, self._entry(row)

    def forget(self, term: str, *, failed_only: bool) -> int:
        """Remove values of a term, and return how many."""
        which = values.c.term == term
        which = which & values.c.failed if failed_only else which
        with self._connection.writing() as connection:
            return int(connection.execute(values.delete().where(which)).rowcount)

    # Within one transaction

    def _recalled(self, connection: sa.Connection, term: str, keys: Sequence[str]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for part in _parts(keys):
            query = sa.select(values).where(values.c.term == term, values.c.object.in_(part))
            found |= {row.object: self._entry(row) for row in connection.execute(query)}
        return found

    def _entry(self, row: sa.Row) -> Entry:
        try:
            return Entry.from_row(row)
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreError(
                f"the reward store {self.name} holds an unreadable value of {row.label!r} ({error}); restore a "
                "copy, or remove that row"
            ) from None

    def _claims(self, connection: sa.Connection, term: str, keys: Sequence[str]) -> set[str]:
        """Keys with a claim that counts; those of processes that have ended are removed."""
        held: set[str] = set()
        joined = claims.outerjoin(owners, owners.c.id == claims.c.owner)
        columns = claims.c.object, claims.c.owner, owners.c.beat, owners.c.machine, owners.c.process
        for part in _parts(keys):
            query = sa.select(*columns).select_from(joined).where(claims.c.term == term, claims.c.object.in_(part))
            for row in connection.execute(query).all():
                if row.owner != self.owner.id and self._watch.is_dead(
                    row.owner, row.beat, row.machine or "", row.process or ""
                ):
                    connection.execute(claims.delete().where(claims.c.owner == row.owner))
                    connection.execute(owners.delete().where(owners.c.id == row.owner))
                elif (row.owner == self.owner.id) and (term, row.object) not in self._held:
                    self._unclaim(connection, term, [row.object])  # given up while the store could not be written
                else:
                    held.add(row.object)
        return held

    def _unclaim(self, connection: sa.Connection, term: str, keys: Sequence[str]) -> None:
        for part in _parts(keys):
            which = (claims.c.term == term) & claims.c.object.in_(part) & (claims.c.owner == self.owner.id)
            connection.execute(claims.delete().where(which))

    def _delete(self, connection: sa.Connection, table: sa.Table, term: str, keys: Sequence[str]) -> None:
        for part in _parts(keys):
            connection.execute(table.delete().where(table.c.term == term, table.c.object.in_(part)))

    def _enter(self, connection: sa.Connection) -> None:
        """Enter this process among the owners; anew where it was thought dead, as after a long sleep."""
        if connection.execute(sa.select(owners.c.id).where(owners.c.id == self.owner.id)).first() is None:
            me = self.owner
            at_work = sa.select(claims.c.owner)
            for other in connection.execute(sa.select(owners).where(owners.c.id.not_in(at_work))).all():
                if is_dead_here(other.machine, other.process):  # a process that was killed leaves its row
                    connection.execute(owners.delete().where(owners.c.id == other.id))
            row = {"id": me.id, "beat": 0, "machine": me.machine, "process": me.process, "name": me.name}
            connection.execute(owners.insert().values(row))
        self._is_entered = True

    # Signs of life

    def _hold(self, held: Iterable[tuple[str, str]]) -> None:
        with self._lock:
            self._held.update(held)
            if self._held and (self._beating is None or not self._beating.is_alive()):
                self._beating = threading.Thread(target=self._beat, name="reward store", daemon=True)
                self._beating.start()

    def _let_go(self, held: Iterable[tuple[str, str]]) -> None:
        with self._lock:
            self._held.difference_update(held)

    def _beat(self) -> None:
        while not self._stop.wait(self._lease_s / _BEATS_A_LEASE):
            with self._lock:
                if not self._held:
                    self._beating = None
                    return
            try:
                with self._connection.writing() as connection:
                    me = owners.c.id == self.owner.id
                    connection.execute(owners.update().where(me).values(beat=owners.c.beat + 1))
            except StoreError:  # locked or full: the next beat may do; whoever claims or records says so
                continue

    def _tries(self, doing: str) -> Iterator[int]:
        yield from range(_TRIES)
        raise StoreError(
            f"cannot {doing} the reward store {self.name}: other writers were faster {_TRIES} times; run again"
        )


def _parts(keys: Sequence[str]) -> Iterator[list[str]]:
    listed = list(keys)
    for first in range(0, len(listed), _AT_ONCE):
        yield listed[first : first + _AT_ONCE]
