"""Two small real runs of the command line: one as by default, one whose masked inputs were kept."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.main import invoke
from fedsec_verify import bundle as names
from secagg.identity import Identity
from tests.verifier.cases import Case, Keys

# Five banks, t = 4: with this seed a training attempt aborts, and another one is opened with a dropout at "mask".
SETTINGS = ("--banks", "5", "--rows", "1000", "--rounds", "5", "--epsilon", "3", "--drop-rate", "0.15", "--offline")
SEED = "3"


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Finished runs, each with the other one beside it."""

    plain: Case
    kept: Case


def make_runs(folder: Path) -> Runs:
    """Run twice below ``folder``, which FEDSEC_HOME and FEDSEC_LEDGER do not matter for."""
    with noted_keys() as keys:
        plain, kept = (
            finished(folder, *SETTINGS, "--seed", SEED, *options) for options in ((), ("--keep-masked-inputs",))
        )
    return Runs(
        plain=Case(path=plain, other=kept, keys=keys),
        kept=Case(path=kept, other=plain, keys=keys),
    )


@contextlib.contextmanager
def noted_keys() -> Iterator[Keys]:
    """The keys of every identity that is made meanwhile."""
    keys: Keys = {}
    original = Identity.__init__

    def note(self: Identity, key: Ed25519PrivateKey) -> None:
        original(self, key)
        keys[self.public_key.hex()] = key

    with mock.patch.object(Identity, "__init__", note):
        yield keys


def finished(folder: Path, *options: str) -> Path:
    """The directory of a run with ``options``, finished."""
    with mock.patch.dict(
        "os.environ", {"FEDSEC_HOME": str(folder / "home"), "FEDSEC_LEDGER": str(folder / "ledger.sqlite")}
    ):
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            assert invoke(["run", *options, "--out", str(folder / "runs"), "--json"]) == 0
    run = Path(json.loads(told.getvalue())["run"])
    assert (run / names.STATEMENT).exists()
    return run
