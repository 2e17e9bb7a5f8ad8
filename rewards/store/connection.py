"""Opening a reward store: a file of SQLite, or any database that SQLAlchemy has a driver for."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url

from oreflow.rewards.errors import StoreError
from oreflow.rewards.store.schema import SCHEMA_VERSION, about, metadata

BUSY_S = 30.0
"""So long a statement waits for another writer of the same file."""
_WRITES = "oreflow_writes"


class Connection:
    """Transactions of one store.

    Args:
        place: path of a file, or a URL.
        create: whether a store that is not there is made; else it is an error.
        busy_s: how long to wait for another writer, in seconds.

    Raises:
        StoreError: when it cannot be opened, is no store, or has a newer schema.
    """

    def __init__(self, place: str, *, create: bool = True, busy_s: float = BUSY_S) -> None:
        self._url = store_url(place)
        self.name = self._url.render_as_string(hide_password=True) if "://" in place else place
        self._is_file = self._url.get_backend_name() == "sqlite"
        self._busy_s = busy_s
        path = Path(self._url.database or "") if self._is_file else None
        if path is not None and not path.exists() and not create:
            raise StoreError(f"there is no reward store at {self.name}; expected a file that `reward.store` names")
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(self._url, pool_pre_ping=not self._is_file)
        except ImportError as error:
            raise StoreError(
                f"the reward store {self.name} needs a driver that is not installed ({error}); install it, such as "
                "`pip install oreflow[postgresql]` for postgresql+psycopg://, or name a file"
            ) from None
        except OSError as error:
            raise StoreError(
                f"cannot open the reward store {self.name}: {error.strerror}; choose another path"
            ) from None
        if self._is_file:
            self._as_sqlite_should()
        with self.explained("open"):
            self._settle(create)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that changes nothing.

        Raises:
            StoreError: in place of what the database raises.
        """
        with self.explained("read"), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction; of a file, no other writer has one at the same time.

        Raises:
            StoreError: in place of what the database raises.
            sqlalchemy.exc.IntegrityError: when another writer was faster; to be tried again.
        """
        with self.explained("write"), self._engine.execution_options(**{_WRITES: True}).begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """Turn what the database raises into a sentence."""
        try:
            yield
        except sa.exc.IntegrityError:
            raise
        except sa.exc.SQLAlchemyError as error:
            said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StoreError(f"cannot {doing} the reward store {self.name}: {said}; {self._remedy(said)}") from error

    def _remedy(self, said: str) -> str:
        if "locked" in said or "busy" in said:
            return (
                f"another program has kept it locked for {self._busy_s:g} s: end that one, or wait. Values that were "
                "computed stay in memory and are written later"
            )
        if "not a database" in said or "malformed" in said or "no such table" in said or "no such column" in said:
            return (
                "the file is damaged or is none of oreflow's: restore a copy, or name another path. It is left as it is"
            )
        if "full" in said:
            return (
                "free some space; what is in it stays. Values that were computed stay in memory and are written later"
            )
        if "readonly" in said or "unable to open" in said or "permission" in said.lower():
            return "expected a file that may be read and written, in a folder that may be written; choose another path"
        return "see whether the database is there and may be written"

    def _as_sqlite_should(self) -> None:
        """Transactions as SQLite has them, and not as Python's driver guesses them; writers wait for each other."""

        @event.listens_for(self._engine, "connect")
        def _(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            connection.execute(f"PRAGMA busy_timeout = {int(1000 * self._busy_s)}")

        @event.listens_for(self._engine, "begin")
        def _(connection: sa.Connection) -> None:
            writes = connection.get_execution_options().get(_WRITES, False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    def _settle(self, create: bool) -> None:
        """Make the tables where there are none, and look at the version of those that are there."""
        names = set(sa.inspect(self._engine).get_table_names())
        if about.name not in names:
            if (self._is_file and names) or not create:
                raise StoreError(
                    f"{self.name} is a database of something else, with {', '.join(sorted(names)[:3]) or 'no tables'}; "
                    "it is left as it is. Name another path"
                )
            self._make()
        with self._engine.begin() as connection:
            found = connection.execute(sa.select(about.c.value).where(about.c.name == "schema_version")).scalar()
        if found is None or not str(found).isdigit():
            raise StoreError(f"{self.name} does not say which version of the store it is; restore a copy of it")
        if int(found) > SCHEMA_VERSION:
            raise StoreError(
                f"{self.name} has version {found} of the reward store, and this oreflow knows versions up to "
                f"{SCHEMA_VERSION}; install a newer oreflow, or name another path"
            )

    def _make(self) -> None:
        if self._is_file:  # readers need not wait for a writer; the file remembers it
            with self._engine.connect() as connection:
                raw = connection.connection.driver_connection
                assert raw is not None
                raw.execute("PRAGMA journal_mode = WAL")
        try:
            with self._engine.execution_options(**{_WRITES: True}).begin() as connection:
                metadata.create_all(connection)
                if connection.execute(sa.select(about.c.value)).first() is None:
                    connection.execute(about.insert().values(name="schema_version", value=str(SCHEMA_VERSION)))
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError):  # another process has just made them
            if about.name not in sa.inspect(self._engine).get_table_names():
                raise


def store_url(place: str) -> URL:
    """Read a path or a URL.

    Raises:
        StoreError: for a URL that cannot be read.
    """
    if "://" not in place:
        return URL.create("sqlite", database=str(Path(place).absolute()))
    try:
        return make_url(place)
    except sa.exc.ArgumentError:
        raise StoreError(
            f"expected the path of a reward store, or a URL such as postgresql+psycopg://host/database, got {place!r}"
        ) from None
