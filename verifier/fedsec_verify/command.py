"""``fedsec-verify RUN``, which ``fedsec verify`` is, too.

Exit code 0: every step holds. 1: one does not. 2: RUN is no finished run with evidence, or an option cannot be used.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from fedsec_verify.bundle import STATEMENT, Bundle, Options
from fedsec_verify.decoding import from_json
from fedsec_verify.findings import Refused
from fedsec_verify.formats import Roster
from fedsec_verify.steps import ASSUMED, ATTESTED, Step, carry_out
from fedsec_verify.table import STEPS

EXIT_FAILED, EXIT_USAGE = 1, 2
_PARTIAL = ".partial"
_SMALL = 1 << 20


@click.command(short_help="Check a run's evidence offline, step by step.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--roster",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The coordinator's and the banks' public keys as you have them from elsewhere, in the format of "
    "evidence/roster.json.",
)
@click.option(
    "--ledger-key",
    metavar="FILE|HEX",
    help="The ledger's public key as you have it from elsewhere: 64 hex digits, or a file with them or a PEM key.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def verify(context: click.Context, run: Path, roster: Path | None, ledger_key: str | None, *, as_json: bool) -> None:
    """Check the evidence of the finished run in the directory RUN; exit 0 only if every step holds.

    Nothing is asked of a network, of the ledger or of the banks. Each step says what it rests on: recomputed here,
    attested by somebody's signature, or assumed.

    \b
    Examples:
      fedsec verify runs/latest
      fedsec verify runs/latest --roster roster.json --ledger-key ledger.pub
    """
    bundle = Bundle(_directory(context, run))
    options = Options(
        roster=None if roster is None else _roster(context, roster),
        ledger_key=None if ledger_key is None else _public_key(context, ledger_key),
        today=datetime.now(UTC).date().isoformat(),
    )
    steps = []
    for step in carry_out(STEPS, bundle, options):
        steps.append(step)
        if not as_json:
            _print_step(step)
    failed = next((step for step in steps if not step.ok), None)
    if as_json:
        click.echo(json.dumps(result(steps), ensure_ascii=False, indent=2))
    elif failed is None:
        _print_rest(steps)
    else:
        _print_failed(failed)
    if failed is not None:
        context.exit(EXIT_FAILED)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console entry of the distribution of its own."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a δ on an ASCII terminal is no reason to fail
    try:
        with verify.make_context("fedsec-verify", list(sys.argv[1:] if arguments is None else arguments)) as context:
            verify.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        sys.exit(EXIT_USAGE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # its reader has left: no flush may fail again
        sys.exit(EXIT_FAILED)
    sys.exit(0)


def result(steps: Sequence[Step]) -> dict[str, Any]:
    """What ``--json`` prints; ``failed`` is the first step that does not hold, if one does not."""
    failed = next((step for step in steps if not step.ok), None)
    told: dict[str, Any] = {
        "ok": failed is None,
        "steps": [
            {"number": step.number, "name": step.name, "kind": step.kind, "ok": step.ok, "detail": _plain(step.detail)}
            for step in steps
        ],
    }
    if failed is not None:
        told["failed"] = {
            "number": failed.number,
            "name": failed.name,
            "file": _plain(failed.file),
            "expected": _plain(failed.expected),
            "detail": _plain(failed.detail),
        }
    return told


def _print_step(step: Step) -> None:
    verdict = "holds" if step.kind != ASSUMED else "—"
    if not step.ok:
        verdict = "FAILED" if step.checked else "—"
    click.echo(f"{step.number:>2}  {step.name:<17}  {step.kind:<10}  {verdict:<6}  {_plain(step.detail)}")


def _print_rest(steps: Sequence[Step]) -> None:
    assumed = [step for step in steps if step.kind == ASSUMED]
    attested = [step for step in steps if step.kind == ATTESTED]
    click.echo(
        f"Every step holds. {len(attested)} of {len(steps)} rest on a signature only, {len(assumed)} are assumed:"
    )
    for step in assumed:
        click.echo(f"  {step.number} {step.name}: {_plain(step.detail)}")


def _print_failed(step: Step) -> None:
    where = f", {_plain(step.file)}" if step.file else ""
    click.echo(f"Step {step.number} ({step.name}) does not hold{where}: expected {_plain(step.expected)}.")


def _plain(text: str) -> str:
    """``text`` from a file that may be hostile: no control codes reach the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _directory(context: click.Context, run: Path) -> Path:
    try:
        folder = run.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        raise click.UsageError(f"{run} cannot be reached", ctx=context) from None
    if folder.name.endswith(_PARTIAL):
        told = f"{run} is the directory of a run that did not finish: `fedsec run --resume {run}` goes on with it"
    elif not folder.is_dir():
        told = f"{run} is no run's directory: give the one that `fedsec run` named"
    elif not os.path.lexists(folder / STATEMENT):
        told = f"{run} holds no evidence, there is no {STATEMENT}: give the directory that `fedsec run` named"
    else:
        return folder
    raise click.UsageError(told, ctx=context)


def _roster(context: click.Context, file: Path) -> Roster:
    try:
        return from_json(_bytes(file), Roster, str(file))
    except OSError as error:
        raise click.UsageError(f"--roster {file} cannot be read: {error.strerror}", ctx=context) from None
    except Refused as refused:
        raise click.UsageError(f"--roster {file} is no roster: {refused.found}", ctx=context) from None


def _public_key(context: click.Context, source: str) -> bytes:
    """The 32-byte key that ``source`` is, in hex, or that a file holds, in hex or as PEM of either half."""
    text = source.strip().encode()
    if (key := _from_hex(text)) is not None:
        return key
    try:
        text = _bytes(Path(source).expanduser()).strip()
    except (OSError, ValueError):
        raise click.UsageError(f"--ledger-key {source} is neither 64 hex digits nor a file", ctx=context) from None
    if (key := _from_hex(text)) is not None:
        return key
    for load in (load_pem_public_key, lambda pem: load_pem_private_key(pem, None)):
        try:
            loaded = load(text)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        if isinstance(loaded, Ed25519PrivateKey):
            loaded = loaded.public_key()
        if isinstance(loaded, Ed25519PublicKey):
            return loaded.public_bytes_raw()
    raise click.UsageError(f"the file {source} of --ledger-key holds no Ed25519 key", ctx=context)


def _bytes(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_SMALL)


def _from_hex(text: bytes) -> bytes | None:
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return None
    return key if len(key) == 32 else None
