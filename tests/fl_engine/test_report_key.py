"""The report key that a run's directory names is one of the report keys, whatever the directory says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedsec.errors import ConfigError
from fl_engine.evidence import report_key
from secagg.identity import Identity


def test_a_directory_cannot_name_another_private_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's name comes from a file that anybody may have written: as a path it would reach every key of the user."""
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path))
    report_key.make("20260101-000000-0000")
    other = Identity.generate()
    for name, file in (("../other", tmp_path / "other"), (str(tmp_path / "other"), tmp_path / "other")):
        file.write_bytes(other.private_bytes())
        assert Identity.from_private_bytes((tmp_path / "report-keys" / name).read_bytes())  # control: it is reachable
        for use in (report_key.load, report_key.make, report_key.forget):
            with pytest.raises(ConfigError, match="no name of a run"):
                use(name)
        assert file.exists()
    assert report_key.load("20260101-000000-0000").public_key != other.public_key  # control: a name is found
