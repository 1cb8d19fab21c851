"""The console entry ``fedsec``: a group that imports a command only when called, and the last resort for errors."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

import click

import fedsec
from cli.output import EXIT_INTERRUPTED, EXIT_USAGE, drop_output, print_error, print_failure
from fedsec.errors import ConfigError, FedsecError


@dataclass(frozen=True, kw_only=True)
class _Lazy:
    """Where a command is, and its line in ``fedsec --help``, which must not import it."""

    module: str
    attribute: str
    help: str


_COMMANDS = {
    "run": _Lazy(module="cli.run", attribute="run", help="Train one model over all banks, within a privacy budget."),
    "report": _Lazy(module="cli.report", attribute="report", help="Write the compliance report of a run again."),
    "verify": _Lazy(
        module="fedsec_verify.command", attribute="verify", help="Check a run's evidence offline, step by step."
    ),
    "attack": _Lazy(module="cli.attack", attribute="attack", help="Play the dishonest server, and show what it gets."),
    "audit": _Lazy(module="cli.audit", attribute="audit", help="Measure with canaries what ε is at least."),
    "ledger": _Lazy(module="cli.ledger", attribute="ledger", help="Show, set, settle and verify privacy budgets."),
}

_ABSENT = {
    "federation": "`fedsec run` trains all banks on this machine",
    "bank": "`fedsec run` trains all banks on this machine",
}


class LazyGroup(click.Group):
    """A group whose commands are named in a table and imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """The commands that exist, in the order of use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        """Import the command; one that this version does not have is a ``ConfigError`` that says what to do instead."""
        if cmd_name in _ABSENT:
            raise ConfigError(f"fedsec {cmd_name} is not part of this version", remedy=_ABSENT[cmd_name])
        if cmd_name not in _COMMANDS:
            return None
        lazy = _COMMANDS[cmd_name]
        command = getattr(import_module(lazy.module), lazy.attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's signature)
        """List the commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in _COMMANDS.items()])


@click.group(cls=LazyGroup, name="fedsec", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fedsec.__version__, prog_name="fedsec", message="%(prog)s %(version)s")
def cli() -> None:
    """Train one fraud model between banks: secure aggregation, differential privacy, an enforced budget.

    \b
    Start with:
      fedsec run --epsilon 3
      fedsec verify runs/latest
      fedsec ledger show

    Exit codes: 0 done, 1 a check found something, 2 usage or bad input, 3 privacy budget refused,
    4 too few survivors, 5 protocol violation by a peer, 130 interrupted.
    """


def main() -> NoReturn:
    """The console entry."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ε on an ASCII terminal is no reason to fail
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: Sequence[str]) -> int:
    """Run the command line ``arguments`` (without the program's name); the exit code is returned, errors are told."""
    as_json = "--json" in arguments
    try:
        with cli.make_context("fedsec", list(arguments)) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        return _usage_failure(error, as_json=as_json)
    except FedsecError as error:
        return print_error(error, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        print_failure(
            kind="interrupted", message="interrupted; what was charged stays charged", remedy="", as_json=as_json
        )
        return EXIT_INTERRUPTED
    except OSError as error:
        return _os_failure(error, as_json=as_json)
    else:
        return 0


def _usage_failure(error: click.ClickException, *, as_json: bool) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message(), file=sys.stderr)
        return EXIT_USAGE
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = "fedsec" if context is None else context.command_path
    print_failure(kind="usage", message=error.format_message(), remedy=f"see `{path} --help`", as_json=as_json)
    return EXIT_USAGE


def _os_failure(error: OSError, *, as_json: bool) -> int:
    if error.errno == errno.EPIPE:
        drop_output()
        return 1
    what = error.strerror or str(error) or type(error).__name__
    where = f": {error.filename}" if error.filename is not None else ""
    remedies = ["free some space"] if error.errno == errno.ENOSPC else []
    remedies += getattr(error, "__notes__", ["try again"] if remedies else [])
    print_failure(kind="system", message=f"{what}{where}", remedy=", then ".join(remedies), as_json=as_json)
    return 1


if __name__ == "__main__":
    main()
