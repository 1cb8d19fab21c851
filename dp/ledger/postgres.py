"""A ledger on a PostgreSQL server: how it is connected, how its writers take turns, and what its errors mean.

Every transaction runs at SERIALIZABLE, and an entry's number is the primary key: these two alone keep two writers from
continuing the same head. So that writers wait for each other instead of failing, each holds an advisory lock from
before its snapshot is taken until after its commit. The server gives the lock up only when the session that holds it
has ended, so whoever gets it after a lost connection sees whether the lost commit happened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from dp.ledger.location import Location
from fedsec.errors import ConfigError, FedsecError, LedgerError

_WRITERS = 0x6665647365631  # the advisory lock's number, "fedsec" and 1; shared by all ledgers of one database
_OVERTAKEN = {"40001": "serialization failure", "40P01": "deadlock", "23505": "taken number"}
_LOGIN = ("password", "no pg_hba.conf entry", "authentication", "role")


class LockedError(ConfigError):
    """Another process holds the ledger."""


class TransientError(ConfigError):
    """The server is away, the connection broke, or another transaction was faster; the same may work now."""


def engine(location: Location, *, busy_seconds: float) -> Engine:
    """An engine whose sessions commit to disk and wait at most ``busy_seconds`` for a lock or a connection.

    Raises:
        ConfigError: the driver is not installed.
    """
    seconds = {} if "connect_timeout" in location.url.query else {"connect_timeout": int(busy_seconds)}
    try:
        made = create_engine(location.url, isolation_level="SERIALIZABLE", pool_pre_ping=True, connect_args=seconds)
    except ImportError as error:
        raise ConfigError(
            "a ledger on PostgreSQL needs the package psycopg, which is not installed",
            remedy="pip install 'fedsec[postgres]'",
        ) from error

    @event.listens_for(made, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{int(busy_seconds * 1000)}ms",))
        # A server set to answer before its disk does would let a burn be lost after the release.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.commit()

    return made


@contextmanager
def taking_turns(connection: Connection, location: Location) -> Iterator[None]:
    """Hold the writers' lock; a transaction begun inside sees all that earlier holders committed.

    Raises:
        LedgerError: the server does not force its log to disk, so nothing it says is durable.
    """
    fsync = connection.execute(
        text("SELECT pg_advisory_lock(:number), current_setting('fsync')"), {"number": _WRITERS}
    ).one()[1]
    try:
        connection.commit()  # the lock belongs to the session; the next transaction takes its snapshot after it
        if fsync != "on":
            raise LedgerError(
                f"the server of the ledger {location.label} runs with fsync off: what is charged could be lost",
                remedy="have fsync switched on in the server's settings",
            )
        yield
    finally:
        try:
            connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": _WRITERS})
            connection.commit()
        except SQLAlchemyError:
            # What was committed stands. A session that ends gives the lock up.
            with contextlib.suppress(SQLAlchemyError):
                connection.invalidate()


def extras(connection: Connection, table: str) -> list[str]:
    """What could change rows on their way: triggers and rules of ``table``, by kind and name."""
    found = connection.execute(
        text(
            "SELECT 'trigger', tgname FROM pg_trigger WHERE tgrelid = to_regclass(:table) AND NOT tgisinternal"
            " UNION ALL SELECT 'rule', rulename FROM pg_rewrite WHERE ev_class = to_regclass(:table) ORDER BY 1, 2"
        ),
        {"table": table},
    )
    return [f"{kind} {name}" for kind, name in found]


def explained(error: DBAPIError, words: str, location: Location) -> FedsecError | None:
    """The error to raise for one of the driver's; ``None`` where nothing better is known than its ``words``."""
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or state is None or state[:2] == "08" or state[:3] == "57P":
        return _unconnected(words, location.label)
    return _refused(state, words, location.label)


def _unconnected(words: str, label: str) -> FedsecError:
    if any(sign in words for sign in _LOGIN):
        return ConfigError(
            f"the server of the ledger {label} refuses the login: {words}",
            remedy="check the user and the password; it is read from the URL, PGPASSWORD or ~/.pgpass",
        )
    if "does not exist" in words:
        return ConfigError(f"there is no database for the ledger {label}: {words}", remedy="make it with createdb")
    return TransientError(
        f"the server of the ledger {label} cannot be reached: {words}",
        remedy="start the server, or check host, port and network, and try again",
    )


def _refused(state: str, words: str, label: str) -> FedsecError | None:
    overtaken = _OVERTAKEN.get(state, "")
    if overtaken:
        return TransientError(
            f"another process wrote to the ledger {label} at the same moment: {overtaken}", remedy="try again"
        )
    known = {
        "55P03": LockedError(
            f"the ledger {label} is locked by another process",
            remedy="wait until the other fedsec command has finished, and try again",
        ),
        "42501": ConfigError(
            f"the ledger {label} cannot be used: {words}",
            remedy="have SELECT and INSERT on the table entries granted, and for the first use CREATE on the schema",
        ),
        "25006": ConfigError(f"the ledger {label} cannot be written: {words}", remedy="name the primary server"),
        "42P01": ConfigError(f"there is no ledger {label} yet", remedy="the first `fedsec run` makes it"),
        "42703": LedgerError(f"{label} is not a fedsec ledger: {words}", remedy="name another database"),
    }
    return known.get(state)
