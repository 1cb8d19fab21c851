"""Entities as the unit of privacy, from the file to the statement: identity, split, dealing, plan, accounts."""

from __future__ import annotations

import dataclasses
import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from compliance.attacks.setting import run_setting
from dp.ledger import Ledger
from fedsec.errors import ConfigError
from fl_engine.contribution import Contribution
from fl_engine.data.dataset import BankData, Dataset
from fl_engine.data.roles import read_units
from fl_engine.data.split import entity_coins
from fl_engine.data.tabular import columns_of
from fl_engine.model import ModelSpec
from fl_engine.plan import TaskPlan
from fl_engine.planning import build_plan
from fl_engine.run import EARLIER_UNIT, Run
from fl_engine.settings import UNIT_ROWS, DataSettings, RunSettings
from fl_engine.sums import is_sound
from tests.fl_engine.data_helpers import BANKS, KEY, load, payments, write
from tests.fl_engine.run_helpers import finish, own_place
from tests.fl_engine.test_accounts_of_a_run import charged

ROWS, CUSTOMERS = 1200, 90


def with_customers(rows: int = ROWS) -> dict[str, list[Any]]:
    names = [f"c{number}" for number in np.random.default_rng(4).integers(0, CUSTOMERS, rows)]
    return payments(rows) | {"customer": names}


def units(cells: Any) -> tuple[list[int], list[str]]:
    (column,) = columns_of(pa.table({"unit": cells}))
    numbers, names = read_units(column)
    return numbers.tolist(), names


def by_customer(path: Path, **changes: object) -> Dataset:
    return load(path, **{"bank_column": "bank", "unit_column": "customer", **changes})


def sides(columns: dict[str, list[Any]], data: Dataset) -> dict[str, set[bool]]:
    """On which sides of the split each customer has rows, over all banks; banks are in the file's order of rows."""
    found: dict[str, set[bool]] = {}
    for index, name in enumerate(sorted(BANKS)):
        names = [c for c, bank in zip(columns["customer"], columns["bank"], strict=True) if bank == name]
        for customer, held_out in zip(names, data.banks[index].holdout.tolist(), strict=True):
            found.setdefault(customer, set()).add(held_out)
    return found


# Who is an entity


def test_names_are_compared_as_the_file_writes_them_so_that_no_two_people_become_one() -> None:
    assert units(["a", " a ", "b"]) == ([0, 0, 1], ["a", "b"])
    beyond_floats = [2**53, 2**53 + 1, 2**53]
    for cells in (beyond_floats, [str(number) for number in beyond_floats]):
        assert units(cells) == ([0, 1, 0], ["9007199254740992", "9007199254740993"])
    assert float(beyond_floats[0]) == float(beyond_floats[1])  # control: as numbers they would be one
    assert units(["007", "7"])[0] == [0, 1]


@pytest.mark.parametrize("missing", ["", "NaN", "n/a", "NULL", None])
def test_rows_of_nobody_are_refused_by_their_number_alone(missing: str | None) -> None:
    with pytest.raises(ConfigError, match="'unit' has no value in 2 of 4 rows") as caught:
        units(["secret", missing, "other", missing])
    assert "secret" not in str(caught.value)
    assert units(["secret", "x", "other", "x"])[0] == [0, 1, 2, 1]  # control


def test_numbers_with_gaps_and_dates_are_refused() -> None:
    with pytest.raises(ConfigError, match="in 1 of 3 rows"):
        units([1.0, None, 2.0])
    with pytest.raises(ConfigError, match="neither text nor numbers"):
        units(pa.array([0, 1], pa.timestamp("s")))
    assert units([1.0, 3.0, 2.0])[0] == [0, 1, 2]  # control


def test_the_unit_column_is_no_input_and_may_be_none_of_a_schema(tmp_path: Path) -> None:
    path = write(tmp_path, with_customers())
    assert "customer" not in by_customer(path).schema.column_names
    plain = load(path, bank_column="bank")
    assert "customer" in plain.schema.column_names  # control: without the role it is one
    with pytest.raises(ConfigError, match="'customer' is the unit column, and an input in the schema"):
        by_customer(path, schema=plain.schema)


# The split


def test_all_rows_of_an_entity_are_on_one_side_at_every_bank(tmp_path: Path) -> None:
    columns = with_customers()
    path = write(tmp_path, columns)
    entity = sides(columns, by_customer(path))
    assert {frozenset(side) for side in entity.values()} == {frozenset({True}), frozenset({False})}
    held_out = sum(True in side for side in entity.values())
    assert abs(held_out - 0.2 * CUSTOMERS) < 6 * np.sqrt(0.16 * CUSTOMERS)
    record = sides(columns, load(path, bank_column="bank"))  # control: by records most customers are on both
    assert sum(len(side) == 2 for side in record.values()) > CUSTOMERS / 2


def test_an_entitys_side_depends_on_its_name_alone(tmp_path: Path) -> None:
    columns = with_customers()
    whole = sides(columns, by_customer(write(tmp_path, columns)))
    kept = [row for row, name in enumerate(columns["customer"]) if name not in {"c1", "c2"}]
    fewer = {name: [cells[row] for row in kept] for name, cells in columns.items()}
    fewer["amount"] = [amount + 1.0 for amount in fewer["amount"]]
    rest = sides(fewer, by_customer(write(tmp_path, fewer, "fewer.parquet")))
    assert rest == {name: side for name, side in whole.items() if name not in {"c1", "c2"}}
    other_key = sides(columns, by_customer(write(tmp_path, columns), split_key=KEY[::-1]))
    assert other_key != whole  # control


def test_an_entitys_coin_is_the_documented_hmac_and_no_records() -> None:
    names = [f"c{number}" for number in range(200)]

    def by_hand(label: bytes) -> list[bool]:
        coins = (hmac.digest(KEY, label + b"\x00" + name.encode(), "sha256") for name in names)
        return [int.from_bytes(coin[:8], "big") < 2**62 for coin in coins]

    assert entity_coins(names, key=KEY, fraction=0.25).tolist() == by_hand(b"fedsec data/entity-coin v1")
    assert by_hand(b"fedsec data/split-coin v1") != by_hand(b"fedsec data/entity-coin v1")


def test_simulated_banks_are_dealt_whole_entities(tmp_path: Path) -> None:
    columns = {name: cells for name, cells in with_customers().items() if name != "bank"}
    path = write(tmp_path, columns)
    data = load(path, unit_column="customer")
    homes = [set(np.unique(bank.entities).tolist()) for bank in data.banks]
    assert sum(len(home) for home in homes) == len(set().union(*homes)) == CUSTOMERS
    assert any("how many rows an entity has" in sentence for sentence in data.outside_ledger)
    with pytest.raises(ConfigError, match="dealt by whole entities"):
        load(write(tmp_path, columns | {"customer": ["one"] * ROWS}, "one.csv"), unit_column="customer")


# What a bank agrees to


def plan_for(**settings: Any) -> TaskPlan:
    return build_plan(
        RunSettings(rounds=2, **settings),
        task="task",
        slots=(40,) * 5,
        model=ModelSpec(inputs=4, hidden=(3,)),
        numeric_width=3,
        federated_evaluation=True,
    )


def bank(entities: np.ndarray | None) -> BankData:
    return BankData(
        features=np.zeros((40, 4), np.float32),
        labels=np.zeros(40, np.uint8),
        holdout=np.zeros(40, bool),
        entities=entities,
    )


def test_a_bank_takes_no_part_under_another_unit_than_its_own() -> None:
    entities = np.arange(40) // 4
    for unit_rows, data, fits in (
        (None, bank(None), True),
        (8, bank(entities), True),
        (8, bank(None), False),
        (None, bank(entities), False),
    ):
        if fits:
            Contribution(plan_for(unit_rows=unit_rows), index=0, data=data)
            continue
        with pytest.raises(ConfigError, match="same unit of privacy"):
            Contribution(plan_for(unit_rows=unit_rows), index=0, data=data)


def test_a_bank_takes_no_part_with_an_entity_on_both_sides_of_the_split() -> None:
    data = bank(np.arange(40) // 4)
    whole = dataclasses.replace(data, holdout=np.arange(40) < 4)
    Contribution(plan_for(unit_rows=8), index=0, data=whole)
    torn = dataclasses.replace(data, holdout=np.arange(40) < 3)
    with pytest.raises(ConfigError, match="both sides"):
        Contribution(plan_for(unit_rows=8), index=0, data=torn)


def test_a_plan_whose_noise_is_not_sized_for_entities_is_unsound() -> None:
    entity, record = plan_for(unit_rows=8), plan_for()
    assert is_sound(entity)
    assert is_sound(record)
    assert not is_sound(msgspec.structs.replace(record, unit_rows=8))  # the noise of records, called that of entities
    assert not is_sound(msgspec.structs.replace(entity, unit_rows=None))
    assert not is_sound(msgspec.structs.replace(entity, unit_rows=16))
    for rows in (0, 65):
        assert not is_sound(msgspec.structs.replace(entity, unit_rows=rows))


def test_evaluation_is_sized_for_m_rows_of_an_entity_and_training_for_one_clip() -> None:
    entity, record = plan_for(unit_rows=8), plan_for()
    assert entity.sum("evaluation").mechanism.sensitivity == 8 * record.sum("evaluation").mechanism.sensitivity
    for name in ("scaling", "training"):
        ratio = entity.sum(name).mechanism.sensitivity / record.sum(name).mechanism.sensitivity
        assert 1 <= ratio < 1 + 1e-6


# Whole runs


def data_settings(path: Path, unit_column: str | None) -> DataSettings:
    return DataSettings(data=path, label="fraud", bank_column="bank", unit_column=unit_column, dataset_id="cards")


def start(folder: Path, path: Path, ledger: Ledger, unit_column: str | None, **settings: Any) -> Run:
    public = RunSettings(rounds=1, epsilon=1.0, **settings)
    return Run.start(public, data_settings(path, unit_column), out=folder / "runs", ledger=ledger)


def both_parts(ledger: Ledger, run: Run) -> bool:
    return all(
        accounts == {"cards/train", "cards/holdout"} for accounts in charged(ledger, run.directory.name).values()
    )


def test_another_unit_than_before_is_charged_to_both_parts_and_told_of(tmp_path: Path) -> None:
    columns = with_customers()
    path = write(tmp_path, columns | {"account": columns["customer"][::-1]})
    with own_place(tmp_path), Ledger.open() as ledger:
        told = []
        for unit_column in ("customer", "customer", None, "customer", "account"):
            run = start(tmp_path, path, ledger, unit_column)
            finish(run)
            told.append((both_parts(ledger, run), EARLIER_UNIT in run.statement().outside_ledger))
        assert told == [(False, False), (False, False), (True, True), (True, True), (True, True)]
        assert ledger.verify().ok


@pytest.mark.parametrize("mode", ["distributed", "local"])
def test_a_run_says_that_entities_are_protected_and_goes_on_after_a_kill(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path, with_customers())
    with own_place(tmp_path), Ledger.open() as ledger:
        run = start(tmp_path, path, ledger, "customer", dp_mode=mode)
        next(run.attempts())
        run.close()
        run = Run.resume(run.directory.path, ledger=ledger)
        finish(run)
        statement = json.loads((run.directory.path / "privacy.json").read_bytes())
        assert statement["unit"] == "entity at one bank"
        assert statement["unit_rows"] == UNIT_ROWS
        assert f"at most {UNIT_ROWS} rows count" in statement["protects"]
        assert "entity" in next(r["mechanism"] for r in statement["releases"] if r["name"] == "training")
        record = start(tmp_path, path, ledger, None, dp_mode=mode)  # control
        finish(record)
        assert record.statement().unit == "record"
        assert "entity" not in record.statement().protects
        assert run_setting(record.directory.path).mode == mode
        with pytest.raises(ConfigError, match="attacks are on single records"):
            run_setting(run.directory.path)
