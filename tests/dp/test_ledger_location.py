"""Where the ledger is found, and that nothing secret is in what names it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from dp.ledger import Ledger, resolve
from fedsec.errors import ConfigError


def test_option_before_environment_before_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FEDSEC_HOME")
    monkeypatch.delenv("FEDSEC_LEDGER", raising=False)
    default = resolve().path
    assert default is not None
    assert default.name == "ledger.sqlite"
    assert tmp_path in default.parents
    monkeypatch.setenv("FEDSEC_LEDGER", str(tmp_path / "environment"))
    assert resolve().path == tmp_path / "environment"
    assert resolve(tmp_path / "option").path == tmp_path / "option"
    assert resolve(f"sqlite:///{tmp_path}/url").path == tmp_path / "url"
    assert resolve("~/mine").path == tmp_path / "mine"


def test_secrets_lie_beside_the_ledger_and_are_the_owners_alone(tmp_path: Path) -> None:
    place = resolve(tmp_path / "ledger.sqlite")
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.split_key("fraud", 0.2)
    assert place.path is not None
    for path in (place.path, place.key_path, place.secrets_path):
        assert path.parent == tmp_path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_ledger_in_a_folder_that_does_not_exist_is_a_typing_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Ledger.open(tmp_path / "mistyped" / "ledger.sqlite")
    assert not (tmp_path / "mistyped").exists()


def test_a_database_urls_password_is_in_no_message_and_no_file_name() -> None:
    place = resolve("postgresql+psycopg://bank:hunter2@db.example/ledger")
    assert place.path is None
    assert place.url.password == "hunter2"
    assert "hunter2" not in place.label + str(place.key_path) + str(place.secrets_path)
    other = resolve("postgresql+psycopg://bank:changed@db.example/ledger")
    assert (other.key_path, other.secrets_path) == (place.key_path, place.secrets_path)
    for spelling in ("postgresql://bank@db.example/ledger", "postgresql+psycopg://bank@db.example/ledger?password=h2"):
        same = resolve(spelling)
        assert same.key_path == place.key_path
        assert "h2" not in same.label
    assert resolve("postgresql://bank@db.example/another").key_path != place.key_path


def test_a_place_printed_by_a_debugger_or_a_log_shows_no_password() -> None:
    """SQLAlchemy hides the password before the host and shows those among the parameters."""
    place = resolve("postgresql://bank:hunter1@db.example/ledger?password=hunter2&sslpassword=hunter3")
    assert "db.example" in repr(place)
    assert "hunter" not in repr(place)
    assert "hunter2" in repr(place.url)  # control


@pytest.mark.parametrize(
    "option",
    ["://", "nonsense://:port:/x", "sqlite://", "sqlite:///:memory:", "mysql://u@h/d", "postgresql+psycopg2://u@h/d"],
)
def test_a_url_that_cannot_hold_a_ledger_is_refused(option: str) -> None:
    with pytest.raises(ConfigError):
        resolve(option)


def test_a_folder_is_not_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        resolve(tmp_path)


@pytest.mark.parametrize("url", ["postgresql+psycopg://", "postgresql+psycopg://bank@db.example/"])
def test_a_server_without_a_database_is_told_that_and_not_that_it_is_no_postgresql(url: str) -> None:
    with pytest.raises(ConfigError, match="names no database") as caught:
        resolve(url)
    assert "not postgresql" not in caught.value.message
    with pytest.raises(ConfigError, match="not mysql"):  # control: another database is told apart
        resolve("mysql://bank@db.example/ledger")
