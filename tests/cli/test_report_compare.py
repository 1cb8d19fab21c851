"""``fedsec report --compare``: only what can be compared stands side by side, and the ledger says what all cost."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from cli.main import invoke
from compliance.compare import compare, picture_of
from dp.statement import PrivacyStatement
from fl_engine.records import RunSummary
from tests.compliance.helpers import make_run
from tests.compliance.pages import after, without_bound


def changed(run: Path, /, **fields: object) -> Path:
    """``run`` with other fields of its summary."""
    summary = msgspec.json.decode((run / "summary.json").read_bytes(), type=RunSummary)
    (run / "summary.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(summary, **fields)))
    return run


def pair(tmp_path: Path, **second: object) -> list[Path]:
    first = after(make_run(tmp_path / "a"))
    return [first, after(make_run(tmp_path / "b", **{"epsilon": 0.9, **second}), first)]  # type: ignore[arg-type]  # keywords of the helper


def test_runs_of_one_kind_stand_side_by_side_with_what_they_cost_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = pair(tmp_path)
    before = sorted(path.name for path in first.iterdir())
    assert invoke(["report", "--compare", str(first), str(second), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"groups": 1, "html": "compare.html", "md": "compare.md", "json": "compare.json"}
    assert sorted(path.name for path in first.iterdir()) == before, "nothing is written into a run"
    document = json.loads((tmp_path / "compare.json").read_text("utf-8"))
    (group,) = document["groups"]
    assert [run["letter"] for run in group["runs"]] == ["A", "B"] and document["differs"] == []
    together = {each["part"]: each for each in document["together"]}
    spent = json.loads((second / "summary.json").read_text("utf-8"))["ledger"][0]["spent_epsilon"]
    assert together["training"]["epsilon"] == spent
    assert 2.9731 < spent < 2.9731 + 0.9, "composed, not added"
    for name in ("compare.html", "compare.md"):
        text = (tmp_path / name).read_text("utf-8")
        assert "2.973" in text and "0.7892" in text
        assert "A, B together have spent" in text and "cards-emea-q3" not in text
    assert "Average precision against ε" in (tmp_path / "compare.html").read_text("utf-8")


# What makes two figures different things, and the word under which the page says so.
DIFFERENT = {
    "evaluation": {"evaluation": "federated"},
    "adversary": {"mode": "local"},
    "records": {"dataset": "own data"},
    "privacy": {"private": False},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_cannot_be_compared_is_put_apart_and_said_to_be(what: str, tmp_path: Path) -> None:
    different, alike = compare(pair(tmp_path / "x", **DIFFERENT[what])), compare(pair(tmp_path / "y"))
    assert len(different.groups) == 2 and what in different.differs
    assert len(alike.groups) == 1 and alike.differs == ()  # the control: alike but for ε, they stand together


def test_another_delta_or_unit_is_put_apart(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    statement = msgspec.json.decode((second / "privacy.json").read_bytes(), type=PrivacyStatement)
    entity = msgspec.structs.replace(statement, unit="entity at one bank", unit_rows=8)
    (second / "privacy.json").write_bytes(msgspec.json.encode(entity))
    found = compare([first, second])
    assert len(found.groups) == 2 and found.differs == ("unit",)


def test_of_a_run_that_is_not_private_no_epsilon_stands_beside_another(tmp_path: Path) -> None:
    runs = [str(run) for run in pair(tmp_path, private=False)]
    assert invoke(["report", "--compare", *runs, "--out", str(tmp_path)]) == 0
    text = (tmp_path / "compare.html").read_text("utf-8")
    assert "NOT PRIVATE, run B" in text and text.count("none holds") == 2
    assert "nothing bounds it" in text and "together have spent" not in text
    control = [str(run) for run in pair(tmp_path / "control")]
    assert invoke(["report", "--compare", *control, "--out", str(tmp_path)]) == 0
    assert "none holds" not in (tmp_path / "compare.html").read_text("utf-8")


def together(runs: list[Path]) -> str:
    return next(each.text for each in compare(runs).together if each.part.value == "training")


def test_what_runs_cost_together_is_said_only_where_a_ledger_knows(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    assert together([first, second]).startswith("A, B together have spent ε = ")  # the control
    third = after(make_run(tmp_path / "c", epsilon=0.5), first, second)
    assert together([first, third]).startswith("A, B, and other runs that this ledger charged")
    alone = after(make_run(tmp_path / "d", epsilon=0.5))
    other_account = changed(alone, run="20260316-101500-0000aa", ledger_head=_head(second, 900))
    assert "different accounts" in together([first, other_account])
    foreign = changed(
        make_run(tmp_path / "e"), run="20260316-101500-0000bb", ledger_head=_head(second, 5, key="00" * 32)
    )
    said = together([first, foreign])
    assert "different ledgers" in said and "ε = 5.946 at δ = 2e-5" in said, "by adding up, and no less"
    unbounded = after(without_bound(make_run(tmp_path / "f")), first)
    assert "nothing bounds" in together([first, changed(without_bound(unbounded), run="20260316-101500-0000cc")])


def _head(run: Path, entry: int, key: str | None = None) -> object:
    head = msgspec.json.decode((run / "summary.json").read_bytes(), type=RunSummary).ledger_head
    return msgspec.structs.replace(head, entry=entry, public_key=key or head.public_key)


def test_the_picture_has_the_intervals_where_noise_is_in_the_figures(tmp_path: Path) -> None:
    noisy = pair(tmp_path / "n", evaluation="federated")
    first = after(make_run(tmp_path / "first", evaluation="federated"))
    (group,) = compare([first, noisy[1]]).groups
    picture, exact = picture_of(group, "one"), picture_of(compare(pair(tmp_path / "exact")).groups[0], "two")
    assert picture is not None and exact is not None
    bars = [svg.count("stroke-width: 5") for svg in (picture.svg, exact.svg)]
    assert bars == [2, 0]
    assert "A: ε 2.973, 0.8127" in picture.alternative and "δ = 1e-5" in picture.alternative
    (lone, _) = compare(pair(tmp_path / "apart", private=False)).groups
    assert picture_of(lone, "three") is None  # one point is no comparison


@pytest.mark.parametrize("which", ["one", "the same twice", "no run", "no folder"])
def test_what_is_no_comparison_is_bad_input(which: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pair(tmp_path)
    words = {
        "one": [first],
        "the same twice": [first, first],
        "no run": [first, tmp_path / "none"],
        "no folder": [first, second, "--out", tmp_path / "none"],
    }[which]
    assert invoke(["report", "--compare", *map(str, words)]) == 2
    assert capsys.readouterr().err.startswith("Error: ")
    assert not list(tmp_path.glob("compare.*"))


def test_several_runs_without_compare_are_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pair(tmp_path)
    assert invoke(["report", str(first), str(second)]) == 2
    assert "--compare" in capsys.readouterr().err
    assert not list(first.glob("report.*"))
