"""The table of entries in a database: short transactions, whole rows, and errors in one clear sentence.

Nothing here knows what an entry means. SQLite (one file, WAL, ``synchronous=FULL``) is the embedded default; a server
is PostgreSQL (:mod:`dp.ledger.postgres`).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    StaticPool,
    Table,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from dp.ledger import postgres
from dp.ledger.entries import Entry
from dp.ledger.export import is_export
from dp.ledger.keys import sync_folder
from dp.ledger.location import Location
from dp.ledger.postgres import LockedError
from dp.ledger.public_form import Form
from fedsec.errors import ConfigError, FedsecError, LedgerError

BUSY_SECONDS = 10.0
_RETRY_SECONDS = 0.05
_METADATA = MetaData()
_ENTRIES = Table(
    "entries",
    _METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    *(Column(name, LargeBinary, nullable=False) for name in Entry._fields[1:]),
)
_SELECT = "SELECT seq, payload, previous, hash, signature FROM entries"
# What SQLite and its driver may raise on a damaged file, besides an error of their own.
_UNREADABLE = (SQLAlchemyError, sqlite3.Error, ValueError, OverflowError, MemoryError)


class Store:
    """An open database. One connection, so its user serialises calls (``Ledger`` holds a lock).

    Use :meth:`open`, and :meth:`close` when done.
    """

    def __init__(self, location: Location, engine: Engine) -> None:
        self._location = location
        self._engine = engine

    @classmethod
    def open(cls, location: Location, *, create: bool) -> Store:
        """Connect; with ``create`` also make the folder, the file (mode 0600) and the table where they are
        missing.

        Raises:
            ConfigError: there is no ledger there, it cannot be opened, or another process holds it for 10 s.
            LedgerError: the file is something else or damaged.
        """
        if location.path is not None:
            _prepare_file(location.path, create=create)
        store = cls(location, _engine(location))
        try:
            store._prepare_table(create=create)
        except BaseException:
            store._engine.dispose()
            raise
        return store

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the table."""
        with _translated(self._location), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that no other writer overlaps; durable at its end, rolled back on an exception."""
        with (
            _translated(self._location),
            self._engine.connect() as connection,
            self._taking_turns(connection),
            connection.execution_options(fedsec_writes=True).begin(),
        ):
            yield connection

    def close(self) -> None:
        """Move the write-ahead log into the main file, as far as nobody else reads it, and disconnect."""
        try:
            if self._location.path is not None:
                with _translated(self._location):
                    connection = self._engine.raw_connection()
                    try:
                        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    finally:
                        connection.close()
        finally:
            self._engine.dispose()

    def _taking_turns(self, connection: Connection) -> AbstractContextManager[None]:
        return nullcontext() if self._location.path is not None else postgres.taking_turns(connection, self._location)

    def _prepare_table(self, *, create: bool) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with self.reading() as connection:
                    if inspect(connection).has_table(_ENTRIES.name):
                        fault = _structural_fault(connection, self._location)
                        if fault is None:
                            return
                        raise _damaged(self._location, fault)
                break
            except LockedError:
                # Switching a new file to WAL does not wait for another process that does the same.
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
        with self.writing() as connection:
            tables = inspect(connection).get_table_names()
            if _ENTRIES.name in tables:
                return
            if not create or (tables and self._location.path is not None):
                raise LedgerError(f"{self._location.label} is not a fedsec ledger", remedy="name another file")
            _METADATA.create_all(connection)


def entries_from(connection: Connection, seq: int) -> list[Entry]:
    """The entries from number ``seq`` on, in order, of whatever types the database gives back.

    Raises:
        DBAPIError: the database cannot read them.
    """
    # Plain text: a typed column would convert a damaged cell into something else before anybody could look at
    # it.
    rows = connection.execute(text(f"{_SELECT} WHERE seq >= :seq ORDER BY seq"), {"seq": seq})
    return [Entry(*row) for row in rows]


def append(connection: Connection, entry: Entry) -> None:
    """Insert ``entry`` in the transaction of ``connection``."""
    done = connection.execute(_ENTRIES.insert().values(entry._asdict()), execution_options={"preserve_rowcount": True})
    if done.rowcount != 1:
        raise LedgerError(
            f"the database took entry {entry.seq} without storing it: a trigger or rule is in the way",
            remedy="`fedsec ledger verify` names it; remove it",
        )


def has_good_types(entry: Entry) -> bool:
    """Whether every cell has its declared type; SQLite itself does not enforce that."""
    return isinstance(entry.seq, int) and all(isinstance(cell, bytes) for cell in entry[1:])


@contextmanager
def _reached(engine: Engine, location: Location) -> Iterator[Connection]:
    """A connection to a server that answers and has a ledger: whatever is wrong before that is no damage."""
    with _translated(location):
        connection = engine.connect()
    with connection:
        with _translated(location):
            connection.execute(text(f"{_SELECT} LIMIT 0"))
        yield connection


class Salvage:
    """What can be read of a ledger that may be damaged anywhere.

    Attributes:
        entries: the entries before the first that cannot be read, in order.
        resumes: number of the first entry after the unreadable stretch; ``None`` where nothing readable
            follows.
        complaint: the database's words, or ``None`` where every row was read.
        structure: what SQLite finds wrong in the file's own structure, e.g. cells that no page counts any more: one
            changed byte can take entries off the end without a trace in the rest.
        extras: what the file holds besides the table and its five columns, e.g. ``"trigger t"``.
        form: that every entry is to have: a database holds a ledger, never an extract.
    """

    form: Form = "full"

    def __init__(self, location: Location) -> None:
        self.entries: list[Entry] = []
        self.resumes: int | None = None
        self.complaint: str | None = None
        self.structure: str | None = None
        self.extras: tuple[str, ...] = ()
        if location.path is not None and not location.path.is_file():
            raise ConfigError(f"there is no ledger {location.label}", remedy="name the ledger's file with --ledger")
        engine = _reading_engine(location)
        try:
            with engine.connect() if location.path is not None else _reached(engine, location) as connection:
                self._read(connection, location)
        except _UNREADABLE as error:
            self.structure = _words(error, location)
        finally:
            engine.dispose()

    def _read(self, connection: Connection, location: Location) -> None:
        self.extras = _extras(connection, location)
        try:
            for row in connection.execute(text(f"{_SELECT} ORDER BY seq")):
                self.entries.append(Entry(*row))
        except _UNREADABLE as error:
            self.complaint = _words(error, location)
            try:
                for row in connection.execute(text("SELECT seq, hash FROM entries ORDER BY seq DESC")):
                    self.resumes = row[0]
            except _UNREADABLE:
                return  # the second end of the unreadable stretch
        self.structure = _structural_fault(connection, location)


def _structural_fault(connection: Connection, location: Location) -> str | None:
    if location.path is None:
        return None
    found = connection.execute(text("PRAGMA integrity_check(1)")).scalar()
    return None if found == "ok" else " ".join(str(found).split())


def _extras(connection: Connection, location: Location) -> tuple[str, ...]:
    columns = {column["name"] for column in inspect(connection).get_columns(_ENTRIES.name)}
    extras = [f"column {name}" for name in sorted(columns - set(Entry._fields))]
    if location.path is not None:
        found = connection.execute(text("SELECT type, name FROM sqlite_master ORDER BY type, name"))
        extras += [f"{kind} {name}" for kind, name in found if (kind, name) != ("table", _ENTRIES.name)]
    else:
        extras += postgres.extras(connection, _ENTRIES.name)
    return tuple(extras)


def _prepare_file(path: Path, *, create: bool) -> None:
    if path.is_file() and os.access(path, os.R_OK) and is_export(path):
        raise ConfigError(
            f"{path} is an exported ledger: it can be verified, not used",
            remedy=f"check it with `fedsec ledger verify --ledger {path}`, or name the ledger itself with --ledger",
        )
    if create:
        try:
            new = not path.exists()
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            if new:
                sync_folder(path.parent)
        except OSError as error:
            raise ConfigError(
                f"the ledger {path} cannot be opened: {error.strerror}",
                remedy="name another file with --ledger",
            ) from error
    elif not path.is_file():
        raise ConfigError(
            f"there is no ledger {path} yet",
            remedy="the first `fedsec run` or `fedsec ledger budget` makes it; or name another with --ledger",
        )


def _engine(location: Location, *, configure: bool = True) -> Engine:
    if location.path is None:
        return postgres.engine(location, busy_seconds=BUSY_SECONDS)
    engine = create_engine(
        location.url,
        poolclass=StaticPool,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
        if configure:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("fedsec_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _reading_engine(location: Location) -> Engine:
    """An engine that changes nothing in the file, but for what SQLite itself moves there from the write-ahead log."""
    if location.path is None or os.access(location.path.parent, os.W_OK):
        return _engine(location, configure=False)
    # SQLite cannot share a file in a folder where it may make no lock file; nobody can write there either.
    frozen = URL.create("sqlite", database=f"file:{quote(str(location.path))}", query={"immutable": "1", "uri": "true"})
    return _engine(replace(location, url=frozen), configure=False)


@contextmanager
def _translated(location: Location) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        told = None if location.path is not None else postgres.explained(error, _words(error, location), location)
        raise told or _explained(error, location) from error
    except sqlite3.Error as error:
        raise _explained(error, location) from error


def _explained(error: Exception, location: Location) -> FedsecError:
    words = _words(error, location)
    said = words.lower()
    if "locked" in said or "busy" in said:
        return LockedError(
            f"the ledger {location.label} is locked by another process",
            remedy="wait until the other fedsec command has finished, and try again",
        )
    if "unable to open" in said or "readonly" in said:
        return ConfigError(
            f"the ledger {location.label} cannot be written: {words}",
            remedy="name another file with --ledger",
        )
    if "not a database" in said or "malformed" in said or "corrupt" in said:
        return _damaged(location, words)
    return LedgerError(f"the ledger {location.label} could not be used: {words}")


def _damaged(location: Location, fault: str) -> LedgerError:
    return LedgerError(
        f"the ledger {location.label} is damaged, or no ledger: {fault}",
        remedy="restore it from a backup; `fedsec ledger verify` says which entries still hold",
    )


def _words(error: BaseException, location: Location) -> str:
    original: Any = getattr(error, "orig", None) or error
    words = str(original).splitlines()[0] if str(original) else type(original).__name__
    for secret in location.passwords:
        words = words.replace(secret, "***")
    return words
