"""Settings of a run, validated before anything is read, reserved or trained.

Two groups, kept apart on purpose: :class:`RunSettings` is public and is written to the run's ``config.toml``;
:class:`DataSettings` names files, columns and the data set, so it stays on the operator's machine.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import pydantic
import tomli_w

from dp.mechanism import ROW_CUT
from fedsec.errors import ConfigError

Fraction = Annotated[float, pydantic.Field(gt=0.0, lt=1.0)]
SMALLEST_COHORT = 5
NOT_AN_ID = re.compile(r"[^A-Za-z0-9._-]")
LARGEST_COMPLETE_GRAPH = 200
MOST_UNIT_ROWS = int(ROW_CUT)
KEEP_DAYS = 90
UNIT_ROWS = 8  # more rows make an entity's mean gradient steadier, and evaluation noisier in proportion


class RunSettings(pydantic.BaseModel):
    """What was promised and how the model is trained; None means "the default of this mode", filled in by the plan.

    Attributes:
        epsilon: target of the whole run against the server with ``max_corrupt`` banks, > 0, each split part.
        delta: of epsilon, in (0, 1/slots); None: 1e-5, or less where the data are larger.
        dp_mode: "distributed" (noise shares under secure aggregation) or "local" (each bank private on its own).
        banks: n, 5 to 200; ignored where the data have a bank column.
        max_corrupt: c; None: floor((n - 1) / 3).
        rounds: training rounds; None: 30 distributed, 10 local.
        local_epochs: expected passes over a bank's rows in a round of local mode.
        learning_rate: of the server's Adam (distributed) or the bank's (local).
        clip: C, L2 bound of one unit's gradient.
        unit_rows: m, the most rows of an entity that count, 1 to 64; None: 8 with a unit column, and none without.
        drop_rate: chance in [0, 1) that a bank drops out of a round, at a random step; sizes the spare rounds.
        evaluation: "public" or "federated"; None: public for synthetic data, federated for own data.
        holdout: share of the records held out, by an independent coin each.
        seed: of synthetic data, partition, initialisation and injected dropouts; never of noise, masks or splits.
        engine: "local", all banks in this process.
        keep_masked_inputs: whether masked inputs and revealed seeds go into the evidence, so that sums can be
            recomputed; keep_masked_inputs_until: when they are to be deleted; None: KEEP_DAYS days from the start.
        insecure_deterministic_noise: for debugging: noise and coins follow from ``seed``, so the run is NOT PRIVATE.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    epsilon: Annotated[float, pydantic.Field(gt=0.0, le=1000.0, allow_inf_nan=False)] = 3.0
    delta: Fraction | None = None
    dp_mode: Literal["distributed", "local"] = "distributed"
    banks: Annotated[int, pydantic.Field(ge=SMALLEST_COHORT, le=LARGEST_COMPLETE_GRAPH)] = 10
    max_corrupt: Annotated[int, pydantic.Field(ge=0)] | None = None
    rounds: Annotated[int, pydantic.Field(ge=1, le=10_000)] | None = None
    local_epochs: Annotated[int, pydantic.Field(ge=1, le=100)] = 1
    learning_rate: Annotated[float, pydantic.Field(gt=0.0, le=10.0)] | None = None
    clip: Annotated[float, pydantic.Field(gt=0.0, le=1e3)] = 1.0
    unit_rows: Annotated[int, pydantic.Field(ge=1, le=MOST_UNIT_ROWS)] | None = None
    drop_rate: Annotated[float, pydantic.Field(ge=0.0, lt=1.0)] = 0.0
    evaluation: Literal["public", "federated"] | None = None
    holdout: Fraction = 0.2
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**32)] = 1
    engine: Literal["local"] = "local"
    keep_masked_inputs: bool = False
    keep_masked_inputs_until: datetime.date | None = None
    insecure_deterministic_noise: bool = False

    @pydantic.model_validator(mode="after")
    def _kept_until(self) -> Self:
        if self.keep_masked_inputs_until is not None and not self.keep_masked_inputs:
            raise ValueError(
                "--keep-masked-inputs-until says how long, but nothing is kept without --keep-masked-inputs"
            )
        return self

    def to_toml(self) -> str:
        """The settings as ``--config`` reads them; unset ones are left out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))


class DataSettings(pydantic.BaseModel):
    """Where the records are; never written into a run's directory.

    Attributes:
        data: CSV or Parquet file; None: synthetic banks.
        label: column of 0 and 1 to predict.
        bank_column: column that says whose record it is; None: Dirichlet partition.
        unit_column: column whose equal values at one bank are one unit of privacy; None: each record is one.
        drop: columns left out.
        schema_file: TOML file with types, bounds and categories; None: inferred, listed as a release.
        dataset_id: the ledger's account; None: the file's name without its ending, or "synthetic-SEED".
        rows: of the synthetic data.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    data: Path | None = None
    label: str | None = None
    bank_column: str | None = None
    unit_column: str | None = None
    drop: tuple[str, ...] = ()
    schema_file: Path | None = None
    dataset_id: str | None = None
    rows: Annotated[int, pydantic.Field(ge=1_000, le=10_000_000)] = 60_000

    @pydantic.model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.data is not None and self.label is None:
            raise ValueError("--data needs --label COLUMN, the column of 0 and 1 to predict")
        if self.data is None and (self.label or self.bank_column or self.unit_column or self.drop or self.schema_file):
            raise ValueError(
                "--label, --bank-column, --unit-column, --drop and --schema describe a file: add --data FILE"
            )
        return self

    def account(self, seed: int) -> str:
        """The data-set id that the ledger is charged under."""
        if self.dataset_id is not None:
            return self.dataset_id
        return f"synthetic-{seed}" if self.data is None else NOT_AN_ID.sub("-", self.data.stem)[:64]


def with_unit(settings: RunSettings, data: DataSettings) -> RunSettings:
    """``settings`` with the number of rows that count, which says in public that the unit is an entity.

    Raises:
        ConfigError: rows of an entity are to be counted, but no column names entities.
    """
    if data.unit_column is None and settings.unit_rows is not None:
        raise ConfigError(
            "--unit-rows counts the rows of an entity, but no column says whose a row is",
            remedy="Name it with --unit-column, or leave --unit-rows out: the unit is then one record.",
        )
    if data.unit_column is None or settings.unit_rows is not None:
        return settings
    return settings.model_copy(update={"unit_rows": UNIT_ROWS})


def with_expiry(settings: RunSettings, *, today: datetime.date) -> RunSettings:
    """``settings`` with the day until which masked inputs are kept, where they are.

    Raises:
        ConfigError: that day is past.
    """
    until = settings.keep_masked_inputs_until
    if not settings.keep_masked_inputs:
        return settings
    if until is None:
        later = today + datetime.timedelta(days=KEEP_DAYS)
        return settings.model_copy(update={"keep_masked_inputs_until": later})
    if until <= today:
        raise ConfigError(
            f"--keep-masked-inputs-until: {until} is past",
            remedy="Name a later day, or leave --keep-masked-inputs out.",
        )
    return settings


Settings = TypeVar("Settings", bound=pydantic.BaseModel)


def validated(kind: type[Settings], values: dict[str, Any], *, where: str = "") -> Settings:
    """``values`` as settings of ``kind``; ``where`` they come from is put before a complaint.

    Raises:
        ConfigError: names the first option that does not hold, in the words of the command line.
    """
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"{where}a configuration file has no setting {first['loc'][0]!r}",
                remedy="It has the public settings of `fedsec run --help`; data, ledger and output are options only.",
            ) from None
        option = "--" + str(first["loc"][0]).replace("_", "-") + ": " if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        given = f", not {first['input']!r}" if first["loc"] else ""
        raise ConfigError(f"{where}{option}{message}{given}", remedy="See `fedsec run --help`.") from None


def read_config(path: Path) -> dict[str, Any]:
    """The table of a ``--config`` file.

    Raises:
        ConfigError: the file is missing or no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(
            f"{path} cannot be read as a TOML file: {error}", remedy="Write lines such as: epsilon = 3.0"
        ) from None
