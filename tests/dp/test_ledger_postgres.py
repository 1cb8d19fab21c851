"""A ledger on a real PostgreSQL server: it is durable, survives lost connections, and says clearly what is wrong."""

from __future__ import annotations

import builtins
import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import invoke
from dp.ledger import Ledger, resolve
from dp.ledger import ledger as ledger_module
from dp.ledger.log import Log
from fedsec.errors import BudgetError, ConfigError, FedsecError, LedgerError, LocalProtocolError
from tests.dp.ledger_helpers import charge, closing, reserve, spent
from tests.dp.severing import Moment, Proxy
from tests.postgres import PASSWORD, Server, server

MOMENTS: tuple[Moment, ...] = ("before the commit", "after the commit")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "home"))


@pytest.fixture
def url(postgres_server: Server) -> str:
    return postgres_server.fresh("ledger")


@pytest.fixture
def proxy(postgres_server: Server) -> Iterator[Proxy]:
    proxy = Proxy(postgres_server.port)
    yield proxy
    proxy.close()


def through(proxy: Proxy, postgres_server: Server) -> str:
    return postgres_server.url(schema="ledger", port=proxy.port)


def begin(url: str) -> None:
    with Ledger.open(url) as ledger:
        ledger.set_budget("fraud", 5.0, 1e-5)
        reserve(ledger, "run-1", charge(count=10))


def same_key(url: str, other: str) -> None:
    """Another spelling of the place needs the key under the name that goes with it."""
    resolve(other).key_path.write_bytes(resolve(url).key_path.read_bytes())


def test_a_run_from_reservation_to_verification(url: str) -> None:
    begin(url)
    with Ledger.open(url, create=False) as ledger:
        ledger.split_key("fraud", 0.2)
        for index in range(3):
            ledger.burn("run-1", "training", index)
        with pytest.raises(BudgetError):
            reserve(ledger, "run-2", charge(count=500))
        ledger.settle("run-1", closing("run-1", training=3))
        assert ledger.verify().ok
        assert ledger.verify(bytes(32)).ok is False  # control: another key's ledger does not verify
    for path in (resolve(url).key_path, resolve(url).secrets_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_changed_row_a_trigger_and_a_rule_are_found(url: str, postgres_server: Server) -> None:
    begin(url)
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok
        postgres_server.ask(
            "CREATE FUNCTION ledger.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        )
        postgres_server.ask(
            "CREATE TRIGGER silent BEFORE INSERT ON ledger.entries FOR EACH ROW EXECUTE FUNCTION ledger.nothing()"
        )
        assert "trigger silent" in ledger.verify().steps[0].detail
        with pytest.raises(LedgerError, match="without storing it"):
            ledger.burn("run-1", "training", 0)
        postgres_server.ask("DROP TRIGGER silent ON ledger.entries")
        ledger.burn("run-1", "training", 0)
        postgres_server.ask("CREATE RULE loud AS ON INSERT TO ledger.entries DO INSTEAD NOTHING")
        assert "rule loud" in ledger.verify().steps[0].detail
        postgres_server.ask("DROP RULE loud ON ledger.entries")
        assert ledger.verify().ok
        postgres_server.ask("UPDATE ledger.entries SET payload = payload || '\\x20' WHERE seq = 1")
        assert ledger.verify().first_bad == 1


def test_a_user_who_may_only_read_and_append_is_enough(url: str, postgres_server: Server) -> None:
    begin(url)
    postgres_server.ask("DROP ROLE IF EXISTS bank")
    postgres_server.ask("CREATE ROLE bank LOGIN PASSWORD 'bank'")
    other = postgres_server.url(schema="ledger", user="bank", password="bank")
    same_key(url, other)
    postgres_server.ask("GRANT USAGE ON SCHEMA ledger TO bank")
    with pytest.raises(ConfigError, match="permission denied"):
        Ledger.open(other)
    postgres_server.ask("GRANT SELECT ON ledger.entries TO bank")
    with Ledger.open(other) as ledger, pytest.raises(ConfigError, match="permission denied"):
        ledger.burn("run-1", "training", 0)
    postgres_server.ask("GRANT INSERT ON ledger.entries TO bank")
    with Ledger.open(other) as ledger:
        ledger.burn("run-1", "training", 0)
        assert ledger.verify().ok
    with postgres_server.connect(user="bank", password="bank") as connection, pytest.raises(Exception, match="denied"):
        connection.execute("DELETE FROM ledger.entries")
    postgres_server.ask("DROP OWNED BY bank")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_a_server_that_was_restarted_between_two_calls_is_found_again(
    url: str, postgres_server: Server, how: signal.Signals
) -> None:
    begin(url)
    with Ledger.open(url) as ledger:
        ledger.burn("run-1", "training", 0)
        postgres_server.stop(how)
        with pytest.raises(ConfigError, match="cannot be reached"):  # control: it was away
            ledger.burn("run-1", "training", 1)
        postgres_server.start()
        ledger.burn("run-1", "training", 1)
        assert ledger.burnt("run-1") == {"training": frozenset({0, 1})}
        assert ledger.verify().ok


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_burn_whose_commit_was_cut_off_is_written_once(
    url: str, postgres_server: Server, proxy: Proxy, moment: Moment
) -> None:
    begin(url)
    cut = through(proxy, postgres_server)
    same_key(url, cut)
    with Ledger.open(cut) as ledger:
        proxy.arm(moment)
        ledger.burn("run-1", "training", 0)
        ledger.burn("run-1", "training", 1)
    assert proxy.cuts == 1
    with Ledger.open(url) as ledger:
        assert ledger.burnt("run-1") == {"training": frozenset({0, 1})}
        assert ledger.head.entry == 4
        assert ledger.verify().ok


@pytest.mark.parametrize("moment", MOMENTS)
def test_control_without_looking_a_cut_commit_is_an_error_whatever_happened(
    url: str, postgres_server: Server, proxy: Proxy, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(_self: Log, _pending: object, _tried: object, error: Exception) -> None:
        raise error

    monkeypatch.setattr(Log, "_write_again", give_up)
    begin(url)
    cut = through(proxy, postgres_server)
    same_key(url, cut)
    with Ledger.open(cut) as ledger:
        proxy.arm(moment)
        with pytest.raises(ConfigError, match="cannot be reached"):
            ledger.burn("run-1", "training", 0)
        assert bool(ledger.burnt("run-1")["training"]) == (moment == "after the commit")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_reservation_whose_commit_was_cut_off_is_there_once(
    url: str, postgres_server: Server, proxy: Proxy, moment: Moment
) -> None:
    begin(url)
    cut = through(proxy, postgres_server)
    same_key(url, cut)
    with Ledger.open(cut) as ledger:
        proxy.arm(moment)
        reserve(ledger, "run-2", charge(count=10))
        assert proxy.cuts == 1
        with pytest.raises(LocalProtocolError, match="has a reservation already"):
            reserve(ledger, "run-2", charge(count=10))
        assert [line.run for line in ledger.history()] == ["run-1", "run-2"]
        assert ledger.verify().ok


def test_a_reservation_that_another_one_overtook_is_not_made_on_the_old_balance(
    url: str, postgres_server: Server, proxy: Proxy
) -> None:
    """Cut before its commit, and meanwhile another run takes what was left."""
    begin(url)
    cut = through(proxy, postgres_server)
    same_key(url, cut)

    def take_the_rest() -> None:
        with Ledger.open(url) as other:
            reserve(other, "run-2", charge(count=60))

    with Ledger.open(cut) as ledger:
        proxy.arm("before the commit", take_the_rest)
        with pytest.raises(ConfigError):
            reserve(ledger, "run-3", charge(count=40))
        with pytest.raises(BudgetError):
            reserve(ledger, "run-3", charge(count=40))
        held = spent(ledger)
        assert held is not None
        assert held <= 5.0
        proxy.arm("before the commit", lambda: begin_another(url))  # control: a burn stays right, and is made
        ledger.burn("run-1", "training", 0)
        assert ledger.burnt("run-1") == {"training": frozenset({0})}
        assert ledger.verify().ok


def test_an_attempt_that_another_process_burnt_in_the_same_second_is_not_taken_for_ones_own(
    url: str, postgres_server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same attempt, key, head and time stamp: still another entry, or one charge would pay for two releases."""
    monkeypatch.setattr(ledger_module, "now", lambda: "2026-03-14T10:15:00+00:00")
    begin(url)
    cut = through(proxy, postgres_server)
    same_key(url, cut)

    def burn_as_well() -> None:
        with Ledger.open(url) as other:
            other.burn("run-1", "training", 0)

    with Ledger.open(cut) as ledger:
        proxy.arm("before the commit", burn_as_well)
        with pytest.raises(LocalProtocolError, match="burnt already"):
            ledger.burn("run-1", "training", 0)
        proxy.arm("after the commit")  # control: its own entry is recognised
        ledger.burn("run-1", "training", 1)
        assert ledger.burnt("run-1") == {"training": frozenset({0, 1})}
        assert ledger.verify().ok


def begin_another(url: str) -> None:
    with Ledger.open(url) as other:
        other.set_budget("loans", 1.0, 1e-5)


def test_a_first_use_whose_commit_was_cut_off_keeps_the_key_that_the_ledger_names(
    url: str, postgres_server: Server, proxy: Proxy
) -> None:
    begin(postgres_server.fresh("ledger"))
    postgres_server.ask("DELETE FROM ledger.entries")  # the table is there, entry 0 is not
    resolve(url).key_path.unlink()
    cut = through(proxy, postgres_server)
    proxy.arm("after the commit")
    with Ledger.open(cut) as ledger:
        ledger.set_budget("fraud", 1.0, 1e-5)
        assert ledger.verify().ok
        assert ledger.head.entry == 1
    assert proxy.cuts == 1


def test_what_is_wrong_is_said_in_one_line_and_never_the_password(
    url: str, postgres_server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(url)
    cases = {
        url.replace(PASSWORD, "hunter2"): "refuses the login",
        url.replace(f":{PASSWORD}@", "@"): "refuses the login",
        url.replace("/postgres?", "/elsewhere?"): "there is no database",
        postgres_server.url(schema="ledger", port=1): "cannot be reached",
        postgres_server.url(schema="nowhere"): "not a fedsec ledger",
    }
    for place, told in cases.items():
        for command in (["show"], ["verify"]):
            assert invoke(["ledger", *command, "--ledger", place]) != 0
            captured = capsys.readouterr()
            assert told in captured.err or command == ["verify"], captured
            assert "Traceback" not in captured.err
            assert len(captured.err.splitlines()) <= 2
            for secret in (PASSWORD, "hunter2"):
                assert secret not in captured.out + captured.err
    real = builtins.__import__

    def without_driver(name: str, *arguments: Any, **named: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "psycopg":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_driver)
    assert invoke(["ledger", "show", "--ledger", url]) == 2
    assert "pip install 'fedsec[postgres]'" in capsys.readouterr().err
    monkeypatch.setattr(builtins, "__import__", real)
    assert invoke(["ledger", "show", "--ledger", url]) == 0  # control


def test_a_server_that_does_not_force_its_log_to_disk_is_refused() -> None:
    from tests.postgres import missing

    if why := missing():
        pytest.skip(why)
    with server() as careless:
        url = careless.fresh("ledger")
        with Ledger.open(url) as ledger:
            careless.stop()
            careless.start(fsync="off", synchronous_commit="off")
            with pytest.raises(LedgerError, match="fsync off"):
                ledger.set_budget("fraud", 1.0, 1e-5)
            careless.stop()
            careless.start(synchronous_commit="off")  # control: this one is made durable for the session
            ledger.set_budget("fraud", 1.0, 1e-5)
            with ledger._log._store.reading() as connection:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


def test_a_second_machine_without_the_key_can_read_and_not_write(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(url)
    key = resolve(url).key_path.read_bytes()
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "second"))
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok
        with pytest.raises(LedgerError, match="cannot be continued") as refused:
            ledger.burn("run-1", "training", 0)
        assert str(resolve(url).key_path) in refused.value.message
    resolve(url).key_path.write_bytes(key)  # control: with it
    with Ledger.open(url) as ledger:
        ledger.burn("run-1", "training", 0)


def test_the_command_line_runs_settles_and_verifies_on_a_server(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["run", "--banks", "5", "--rounds", "2", "--rows", "1000", "--offline", "--dataset-id", "fraud"]
    assert invoke([*tiny, "--ledger", url]) == 0, capsys.readouterr().err
    assert invoke(["ledger", "budget", "fraud", "--epsilon", "3.5", "--ledger", url]) == 0
    assert invoke([*tiny, "--ledger", url]) == 3
    capsys.readouterr()
    assert invoke(["ledger", "show", "--ledger", url, "--json"]) == 0
    shown = capsys.readouterr().out
    assert PASSWORD not in shown
    assert [run["status"] for run in json.loads(shown)["runs"]] == ["settled", "refused"]
    assert invoke(["ledger", "verify", "--ledger", url]) == 0
    for path in (tmp_path / "runs").rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
    with pytest.raises(FedsecError), Ledger.open(url) as ledger:  # control: the run that was refused charged nothing
        ledger.burn("never", "training", 0)
