"""A finished run's directory can be handed on: no file in it names a bank, a path, a data set, a column or the machine.

The evidence is part of it: keys and indices stand for banks there, and no file says whose they are.

One file is allowed the columns of the inputs: ``model.safetensors`` has to say what the model reads, else nobody could
use it. It may not have the label's, the bank column's or a dropped one's name.
"""

from __future__ import annotations

import base64
import getpass
import json
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from safetensors import safe_open

from cli.main import invoke
from tests.fl_engine.run_helpers import own_place

BANKS = [f"Sparkasse-Quendel-{name}" for name in ("Aster", "Birke", "Cedern", "Distel", "Erle")]
INPUTS = ["umsatzZq", "stundeZq", "landZq"]
OTHERS = ["betrugZq", "institutZq", "kundennummerZq"]
CELLS = ["Xanadu-Land", "Ypern-Land", "K-900817"]


@dataclass
class Published:
    path: Path
    file: Path
    schema: Path | None = None


def publish(folder: Path, *, dataset_id: str | None = None) -> Published:
    generator = np.random.default_rng(8)
    rows = 400
    where = folder / "geheimer-ordner-Zq"
    where.mkdir()
    file = where / "kartenexport-Zq.csv"
    table = {
        "umsatzZq": generator.lognormal(3, 1, rows),
        "stundeZq": generator.integers(0, 24, rows),
        "landZq": generator.choice(["Xanadu-Land", "Ypern-Land"], rows),
        "kundennummerZq": [f"K-{900_000 + row}" for row in range(rows)],
        "betrugZq": (np.arange(rows) % 10 == 0).astype(int),
        "institutZq": [BANKS[row % 5] for row in range(rows)],
    }
    pa_csv.write_csv(pa.table(table), file)
    arguments = ["--label", "betrugZq", "--bank-column", "institutZq", "--drop", "kundennummerZq", "--rounds", "2"]
    named = [] if dataset_id is None else ["--dataset-id", dataset_id]
    with own_place(folder) as patch:
        patch.chdir(folder)
        assert invoke(["run", "--data", str(file), *arguments, *named, "--offline", "--json"]) == 0
    return Published(path=(folder / "runs" / "latest").resolve(), file=file)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish(tmp_path_factory.mktemp("maschine-Zq"), dataset_id="kartenbestand-Zq")


@pytest.fixture(scope="module")
def named_by_its_file(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish(tmp_path_factory.mktemp("maschine-Zq"))


def forbidden(run: Published) -> set[str]:
    whole = {*BANKS, *OTHERS, *CELLS, "kartenbestand-Zq", "kartenexport-Zq", "geheimer-ordner-Zq", "Sparkasse"}
    return whole | {str(run.file), str(run.path.parent), str(Path.home()), socket.gethostname(), "maschine-Zq"}


def found(run: Published, words: set[str], *, but: str = "") -> set[tuple[str, str]]:
    """(file, word) of every word in any file, name included, upper and lower case alike."""
    hits = set()
    for path in sorted(run.path.rglob("*")):
        if not path.is_file() or path.name == but:
            continue
        content = path.read_bytes().lower() + path.name.encode().lower()
        hits |= {(path.name, word) for word in words if word.lower().encode() in content}
    return hits


def test_no_file_names_a_bank_a_path_a_data_set_or_the_machine(
    published: Published, named_by_its_file: Published
) -> None:
    for run in (published, named_by_its_file):
        words = {word for word in forbidden(run) if len(word) > 3}
        assert len({path.name for path in run.path.iterdir()}) >= 8
        assert len(list((run.path / "evidence").rglob("*"))) >= 9
        assert found(run, words) == set()


def test_the_user_is_not_named(published: Published) -> None:
    user = getpass.getuser()
    if user != "root":  # a word that any text may contain
        assert found(published, {user}) == set()


def test_input_columns_are_named_in_the_model_alone(published: Published) -> None:
    assert found(published, set(INPUTS), but="model.safetensors") == set()
    with safe_open(published.path / "model.safetensors", framework="numpy") as model:
        metadata = model.metadata()
    assert set(metadata) == {"schema", "standardiser", "model", "brands"}
    assert all(name in metadata["schema"] for name in INPUTS)  # control: the search does find what is there


def test_control_a_name_that_slips_into_any_file_is_found(published: Published) -> None:
    for name in ("privacy.json", "report.html", "model.safetensors", "ledger.json", "000000.msgpack"):
        path = next(published.path.rglob(name))
        content = path.read_bytes()
        try:
            path.write_bytes(content + BANKS[0].upper().encode())
            assert (name, BANKS[0]) in found(published, {BANKS[0]})
        finally:
            path.write_bytes(content)


def test_evidence_hides_names_behind_no_encoding(published: Published) -> None:
    """Envelopes hold base64, the ledger payloads in JSON: the search looks into both."""

    def hidden(words: set[str]) -> set[str]:
        texts = []
        for path in sorted((published.path / "evidence").rglob("*")):
            content = path.read_bytes() if path.is_file() else b""
            texts.append(content)
            if path.name.endswith(".dsse.json"):
                texts.append(base64.b64decode(json.loads(content)["payload"]))
            if path.name == "ledger.json":
                texts += [entry["payload"].encode() for entry in json.loads(content)["entries"]]
        return {word for word in words if any(word.lower().encode() in text.lower() for text in texts)}

    words = {word for word in {*forbidden(published), *INPUTS} if len(word) > 3}
    assert hidden(words) == set()
    # controls: what is in the payloads is found
    assert hidden({"urn:fedsec:evidence:run:1", "urn:fedsec:evidence:report:1", "training"}) != set()
    assert hidden({"urn:fedsec:evidence:run:1"}) and hidden({"urn:fedsec:evidence:report:1"})


def test_the_same_bank_in_two_runs_has_nothing_in_common(published: Published, named_by_its_file: Published) -> None:
    """Keys are made for a run, so two runs' evidence cannot be joined by a bank."""
    rosters = [json.loads((run.path / "evidence/roster.json").read_bytes()) for run in (published, named_by_its_file)]
    keys = [{roster["server"], *roster["members"]} for roster in rosters]
    assert keys[0].isdisjoint(keys[1])
    assert all(len(each) == 6 for each in keys)  # control: they are all there


def test_no_figure_belongs_to_one_bank(published: Published) -> None:
    """Banks have 80 slots each: the number appears nowhere as a figure of a bank, only their sum does."""
    for name in ("summary.json", "privacy.json"):
        content = json.loads((published.path / name).read_bytes())
        assert content["slots"] == 400
        assert "slots_by_bank" not in content
        lists = [value for value in content.values() if isinstance(value, list) and len(value) == 5]
        assert [80] * 5 not in lists


def test_the_private_folder_knows_what_the_directory_does_not(published: Published) -> None:
    """Control: the names are kept, where they do not leave: the redaction needs them."""
    home = published.path.parents[1] / "home"
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert BANKS[0].encode() in kept
    assert all(path.stat().st_mode & 0o077 == 0 for path in home.rglob("*") if path.is_file())
