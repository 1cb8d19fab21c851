"""``fedsec run``: train one model over all banks, within a privacy budget, and report on it."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cli.output import EXIT_INTERRUPTED, drop_output, print_failure, print_json
from fedsec.errors import CohortError, ConfigError, FedsecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.progress import Display
    from compliance.report import ReportOutcome
    from fl_engine.records import RunSummary
    from fl_engine.run import Run

_PUBLIC: tuple[tuple[str, dict[str, Any]], ...] = (
    ("epsilon", {"type": float, "help": "Target ε of each split part, against the server with c banks. [3]"}),
    ("delta", {"type": float, "help": "δ of ε, below 1 / records. [1e-5, less for large data]"}),
    ("dp-mode", {"type": click.Choice(["distributed", "local"]), "help": "Who adds enough noise. [distributed]"}),
    ("banks", {"type": int, "help": "Simulated banks, 5 to 200. [10]"}),
    ("max-corrupt", {"type": int, "help": "c, banks that may be dishonest. [(banks - 1) // 3]"}),
    ("rounds", {"type": int, "help": "Training rounds. [30; local mode: 10]"}),
    ("local-epochs", {"type": int, "help": "Passes over a bank's rows a round, local mode. [1]"}),
    ("learning-rate", {"type": float, "help": "Of Adam, at the server; in local mode at the banks."}),
    ("clip", {"type": float, "help": "L2 bound of one record's or entity's gradient. [1]"}),
    ("unit-rows", {"type": int, "help": "With --unit-column: most rows of an entity that count, 1 to 64. [8]"}),
    ("drop-rate", {"type": float, "help": "Chance that a bank drops out of a round, at a random step. [0]"}),
    ("evaluation", {"type": click.Choice(["public", "federated"]), "help": "[own data: federated; else public]"}),
    ("holdout", {"type": float, "help": "Share of the records held out. [0.2]"}),
    ("seed", {"type": int, "help": "Of synthetic data, partition, initialisation, dropouts; never of noise. [1]"}),
    ("engine", {"type": click.Choice(["local"]), "help": "[local: all banks in this process]"}),
)
_DATA: tuple[tuple[str, dict[str, Any]], ...] = (
    ("data", {"metavar": "FILE", "help": "CSV or Parquet file; without it, synthetic banks."}),
    ("label", {"metavar": "COLUMN", "help": "Column of 0 and 1 to predict."}),
    ("bank-column", {"metavar": "COLUMN", "help": "Column that says whose record it is; else dealt out."}),
    ("unit-column", {"metavar": "COLUMN", "help": "Column of customers or accounts to protect with all their rows."}),
    ("drop", {"metavar": "A,B", "help": "Columns to leave out, separated by commas."}),
    ("schema", {"metavar": "FILE", "help": "TOML file of types, bounds and categories; else types are inferred."}),
    ("dataset-id", {"metavar": "NAME", "help": "The ledger's account. [the file's name without its ending]"}),
    ("rows", {"type": int, "help": "Rows of synthetic data. [60000]"}),
)


def _options(table: tuple[tuple[str, dict[str, Any]], ...]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def add(command: Callable[..., None]) -> Callable[..., None]:
        for name, settings in reversed(table):
            command = click.option(f"--{name}", **settings)(command)
        return command

    return add


@click.command()
@_options(_PUBLIC)
@_options(_DATA)
@click.option(
    "--keep-masked-inputs",
    is_flag=True,
    default=None,
    help="Keep masked inputs and seeds, so that sums can be recomputed; only as safe as the key exchange.",
)
@click.option("--keep-masked-inputs-until", metavar="YYYY-MM-DD", help="When they are to be deleted. [in 90 days]")
@click.option("--config", metavar="FILE", help="TOML file of the settings above; options come before it.")
@click.option("--resume", metavar="RUN", help="Go on with an unfinished run; takes no other settings.")
@click.option("--out", metavar="DIR", default="runs", show_default=True, help="Where runs are kept.")
@click.option("--ledger", metavar="FILE|URL", help="The privacy ledger. [FEDSEC_LEDGER, else the user's own]")
@click.option("--offline", is_flag=True, help="Ask no language model, whatever the environment says.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; progress goes to standard error.")
@click.option(
    "--insecure-deterministic-noise",
    is_flag=True,
    default=None,
    help="For debugging: noise that anybody can repeat. The run is NOT PRIVATE.",
)
@click.pass_context
def run(
    context: click.Context,
    /,
    *,
    config: str | None,
    resume: str | None,
    out: str,
    ledger: str | None,
    offline: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train one fraud model over all banks, within a privacy budget, and write a report.

    Without --data, ten synthetic banks of 60,000 records in all are made from --seed.

    \b
    Examples:
      fedsec run --epsilon 3
      fedsec run --epsilon 3 --data cards.parquet --label Class --drop Time
      fedsec run --epsilon 3 --data cards.csv --label fraud --bank-column bank
      fedsec run --epsilon 3 --data cards.csv --label fraud --bank-column bank --unit-column customer
      fedsec run --resume runs/20260102-030405-ab12.partial
      OPENAI_BASE_URL=https://llm.bank.example/v1 OPENAI_MODEL=our-model fedsec run --epsilon 3

    A language model writes the report's text only where OPENAI_API_KEY or OPENAI_BASE_URL is set; OPENAI_API=chat asks
    servers without OpenAI's Responses API. `fedsec report --help` says the rest.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if resume is not None and (given or config):
        raise ConfigError("--resume takes no other settings: the run keeps its own", remedy="Leave them out.")
    settings = None if resume is not None else _settings(given, config)
    import torch

    from cli.progress import Display
    from compliance.narrative import NarratorSettings
    from dp.ledger import Ledger, resolve
    from fl_engine.run import Run, ledger_of

    if not offline:
        NarratorSettings.from_environment()  # a wrong variable is told before the work, not after it
    torch.set_num_threads(1)  # a micro-batch is too small to share: two threads only wait for each other
    display = Display(as_json=as_json)
    if settings is None:
        assert resume is not None
        with Ledger.open(ledger or ledger_of(Path(resume)), create=False) as opened:
            display.note("reading the data again")
            _finish(context, Run.resume(Path(resume), ledger=opened), display, offline=offline, as_json=as_json)
        return
    public, data = settings
    place = resolve(ledger)
    new = " (new: no budget, nothing charged yet)" if place.path is not None and not place.path.exists() else ""
    with Ledger.open(ledger) as opened:
        doing = "reading data" if data.data else "making synthetic banks"
        display.note(f"{doing}; ledger {place.label}{new}")
        begun = Run.start(public, data, out=Path(out), ledger=opened)
        if (until := begun.settings.keep_masked_inputs_until) is not None:
            display.note(
                f"masked inputs and seeds are kept in the evidence: whoever breaks the key exchange reads each bank's "
                f"input from them; delete them after {until}"
            )
        _finish(context, begun, display, offline=offline, as_json=as_json)


def _finish(context: click.Context, run: Run, display: Display, *, offline: bool, as_json: bool) -> None:
    from compliance.attest import attest_report

    where = shlex.quote(str(run.directory.path))
    go_on = f"`fedsec run --resume {where}`"
    try:
        display.begin(run)
        with display.live(run):
            for record in run.attempts():
                display.attempt(record)
        summary = run.complete()
        began = time.perf_counter()
        display.note("writing the report")
        outcome = _report(run, summary, display, offline=offline)
        attest_report(run.directory.path, key=run.report_key, writer=outcome.narrative)
        run.publish()
        seconds = {"report": time.perf_counter() - began, "total": run.watch.total}
    except CohortError:
        run.settle()  # what was not attempted is given back; the directory stays .partial
        raise
    except (KeyboardInterrupt, BrokenPipeError) as error:
        if isinstance(error, BrokenPipeError):
            drop_output()
        print_failure(
            kind="interrupted",
            message="interrupted; all that the run reserved stays charged until it is resumed or settled",
            remedy=f"Go on with {go_on}, or give the rest back, deleting the directory, with "
            f"`fedsec ledger settle {where}`.",
            as_json=as_json,
        )
        context.exit(EXIT_INTERRUPTED)
    except FedsecError as error:
        error.remedy = f"{error.remedy}; go on with {go_on}".removeprefix("; ")
        raise
    except OSError as error:
        error.add_note(f"go on with {go_on}")
        raise
    finally:
        run.close()
    if as_json:
        print_json(_result(run, summary, outcome, seconds))
    else:
        display.result(run, summary, outcome)


def _report(run: Run, summary: RunSummary, display: Display, *, offline: bool) -> ReportOutcome:
    from compliance.identifiers import Identifiers, identifiers_path
    from compliance.narrative import NarratorSettings
    from compliance.report import write_report

    data, dataset = run.data, run.dataset
    named = [path for path in (data.data, data.schema_file) if path is not None]
    paths = {str(path) for each in named for path in (each, each.resolve())} | {str(run.directory.path.resolve())}
    no_inputs = [column for column in (data.label, data.bank_column, data.unit_column) if column is not None]
    identifiers = Identifiers(
        banks=dataset.bank_names,
        paths=tuple(sorted(paths)),
        files=tuple(path.name for path in named),
        datasets=(run.account,),
        columns=(*dataset.schema.column_names, *no_inputs, *data.drop) if data.data is not None else (),
        keys=(
            *(key.hex() for key in (run.roster.server, *(key for _, key in run.roster.members))),
            *(summary.roster, summary.ledger_head.public_key, summary.ledger_head.hash),
        ),
        # Declared sizes only: what is withheld must not depend on a private count.
        figures=tuple(float(bank.slots) for bank in dataset.banks),
    ).with_machine()
    identifiers.save(identifiers_path(run.directory.name))
    narrator = None if offline else NarratorSettings.from_environment()
    if narrator is not None and narrator.configured and narrator.refusal is None:
        display.note(f"asking {narrator.model} at {narrator.host} for the narrative; --offline asks nobody")
    return write_report(run.directory.path, narrator=narrator, identifiers=identifiers)


def _settings(given: dict[str, Any], config: str | None) -> tuple[Any, Any]:
    """The public and the data settings: defaults, then the ``--config`` file, then the options."""
    from fl_engine.settings import DataSettings, RunSettings, read_config, validated

    if "data" in given and "bank_column" in given and "banks" in given:
        raise ConfigError(
            "--banks and --bank-column exclude each other", remedy="The column says how many banks there are."
        )
    if "drop" in given:
        given["drop"] = tuple(name.strip() for name in given["drop"].split(",") if name.strip())
    if "schema" in given:
        given["schema_file"] = given.pop("schema")
    data = {name: value for name, value in given.items() if name in DataSettings.model_fields}
    public = {name: value for name, value in given.items() if name in RunSettings.model_fields}
    from_file = read_config(Path(config)) if config else {}
    validated(RunSettings, from_file, where=f"{config}: ")
    return validated(RunSettings, {**from_file, **public}), validated(DataSettings, data)


def _result(run: Run, summary: RunSummary, outcome: ReportOutcome, seconds: dict[str, float]) -> dict[str, Any]:
    statement = run.statement()
    metrics = summary.final
    return {
        "run": str(run.directory.path),
        "private": statement.private,
        "privacy": {
            "epsilon": statement.epsilon,
            "delta": statement.delta,
            "unit": statement.unit,
            "unit_rows": statement.unit_rows,
            "neighbours": statement.neighbours,
            "adversaries": [{"name": each.name, "epsilon": each.epsilon} for each in statement.adversaries],
        },
        "metrics": {
            "roc_auc": metrics.roc_auc,
            "average_precision": metrics.average_precision,
            "accuracy": metrics.accuracy,
            "calibration_error": metrics.calibration_error,
            "best_f1": metrics.best_f1,
            "best_f1_threshold": metrics.best_f1_threshold,
        },
        "intervals": summary.intervals,
        "rounds": summary.rounds_opened,
        "survivors_min": summary.survivors_min,
        "seconds": {**msgspec.structs.asdict(summary.seconds), **seconds},
        "ledger": [
            {
                "account": balance.account.name,
                "spent_epsilon": balance.spent_epsilon,
                "budget_epsilon": balance.budget_epsilon,
            }
            for balance in run.balances()
        ],
        "report": str(run.directory.path / "report.html"),
        "narrative": {"writer": outcome.narrative, "reason": outcome.reason, **outcome.spending.as_json()},
    }
