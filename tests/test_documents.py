"""Documents say what the program does: commands, links, targets and variables exist, and so do tests and packages."""

from __future__ import annotations

import ast
import math
import re
import shutil
import sys
import tomllib
from importlib.metadata import packages_distributions
from statistics import NormalDist

import pytest

import dp.mechanism
import fl_engine.data.synthetic
import fl_engine.evaluation
import fl_engine.model
import fl_engine.plan
import fl_engine.planning
import fl_engine.scaling
import fl_engine.settings
from dp.adversaries import adversary_bounds
from dp.events import Composed, Repeated
from fl_engine.settings import RunSettings
from tests.check_readme import ROOT, commands, documents, parse_fault, problems

PACKAGES = ("fedsec", "secagg", "dp", "fl_engine", "compliance", "cli")
TEST_FILE = re.compile(r"\btests/[\w/]+\.py\b")
PYTHON_FILE = re.compile(r"(?<![\w/.])(?:fedsec|secagg|dp|fl_engine|compliance|cli)/[\w/]+\.(?:py|j2)\b")
THREAT_ROW = re.compile(r"^\| (?!threat )(?!--)(.+) \| (.+) \| (.+) \|$")


def named_files(text: str, pattern: re.Pattern[str]) -> set[str]:
    return set(pattern.findall(text))


def missing_files(text: str, pattern: re.Pattern[str]) -> list[str]:
    return sorted(name for name in named_files(text, pattern) if not (ROOT / name).is_file())


def normal(requirement: str) -> str:
    """A distribution's name without extras and versions, as package indexes compare it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def listed_packages(page: str, section: str) -> list[str]:
    body = page.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return [normal(name) for name in re.findall(r"^\| ([a-z][a-z0-9-]+) \|", body, re.MULTILINE) if name != "package"]


def test_readme_and_documents_agree_with_the_program():
    assert problems(ROOT) == []


@pytest.fixture
def copy(tmp_path):
    """What the checker reads, in a folder where it may be spoilt: documents with their links, Makefile, code."""
    for name in ("Makefile", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for path in ROOT.glob("*.md"):
        shutil.copy(path, tmp_path)
    for name in ("docs", "examples", *PACKAGES, "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "vectors"))
    return tmp_path


VARIABLE = "FEDSEC" + "_NOTHING"  # in one piece it would stand in a test, hence exist


@pytest.mark.parametrize(
    ("addition", "told"),
    [
        ("```sh\nfedsec run --epsilom 3\n```", "--epsilom"),
        ("```console\n$ fedsec lodger show\n```", "lodger"),
        ("```\nfedsec ledger budget payments \\\n  --epsilon four\n```", "'four' is not a valid float"),
        ("```sh\nfedsec ledger budget payments\n```", "Missing option '--epsilon'"),
        ("```sh\nfedsec federation join\n```", "not part of this version"),
        (f"```sh\n{VARIABLE}=1 fedsec run --nothing\n```", "--nothing"),
        ("```sh\nfedsec ledger show | fedsec ledger hide\n```", "hide"),
        ("Say `fedsec run --sed 4`.", "--sed"),
        ("Say `make rnu`.", "no target 'rnu'"),
        ("```sh\nmake checks PYTHON=python3.12\n```", "no target 'checks'"),
        ("See [this](docs/nowhere.md).", "leads nowhere"),
        ("See [this](#no-such-heading).", "names no heading"),
        (f"Set {VARIABLE}.", f"no code reads {VARIABLE}"),
    ],
)
def test_control_each_kind_of_fault_in_a_readme_is_found_at_its_line(copy, addition, told):
    readme = copy / "README.md"
    before = problems(copy)
    line = len(readme.read_text("utf-8").splitlines()) + 2
    readme.write_text(readme.read_text("utf-8") + "\n" + addition + "\n", "utf-8")
    new = [fault for fault in problems(copy) if fault not in before]
    assert any(told in fault for fault in new), new
    assert all(int(fault.split(":")[1]) in range(line, line + 3) for fault in new)
    assert all(fault.startswith("README.md:") for fault in new)


def test_what_stands_in_documents_is_parsed_as_a_shell_would():
    assert list(commands("$ A=1 fedsec run --drop a,b  # why")) == [["fedsec", "run", "--drop", "a,b"]]
    assert list(commands("fedsec run --data 'my file.csv' && make test")) == [
        ["fedsec", "run", "--data", "my file.csv"],
        ["make", "test"],
    ]
    assert parse_fault(["ledger", "budget", "DATASET"], complete=False) is None
    assert parse_fault(["ledger", "budget", "DATASET"], complete=True) is not None
    assert parse_fault(["run", "--help"], complete=True) is None


def test_every_test_and_module_that_a_document_names_exists():
    for path in documents(ROOT):
        text = path.read_text("utf-8")
        assert missing_files(text, TEST_FILE) == [], path.name
        assert missing_files(text, PYTHON_FILE) == [], path.name


def test_control_a_test_or_module_that_is_not_there_is_found():
    text = "held by `tests/dp/test_nothing.py` and dp/nothing.py, not by tests/dp/test_ledger.py"
    assert missing_files(text, TEST_FILE) == ["tests/dp/test_nothing.py"]
    assert missing_files(text, PYTHON_FILE) == ["dp/nothing.py"]


def threats_without_tests(page: str) -> list[str]:
    """Rows of the threat tables whose last cell names no test file."""
    section = page.partition("## Threats\n")[2].partition("\n## ")[0]
    rows = [row for line in section.splitlines() if (row := THREAT_ROW.match(line))]
    assert len(rows) >= 15, "the tables are not read"
    return [row[1] for row in rows if not TEST_FILE.search(row[3])]


def test_every_threat_names_its_tests():
    assert threats_without_tests((ROOT / "SECURITY.md").read_text("utf-8")) == []


def test_control_a_threat_without_a_test_is_found():
    page = (ROOT / "SECURITY.md").read_text("utf-8")
    page = page.replace("### Corrupt banks", "| flattery | vigilance | none needed |\n\n### Corrupt banks")
    assert threats_without_tests(page) == ["flattery"]


def undocumented(page: str, project: dict) -> list[str]:
    """Packages that are on one of the page and pyproject.toml and not on the other."""
    extras = project["optional-dependencies"]
    wanted = {
        "To run": project["dependencies"],
        "To test": extras["test"],
        "Extras": [name for extra in extras if extra != "test" for name in extras[extra]],
    }
    return [
        f"{section}: {name}"
        for section, requirements in wanted.items()
        for name in sorted({normal(r) for r in requirements} ^ set(listed_packages(page, section)))
    ]


def test_dependencies_are_listed_with_their_reasons():
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert undocumented(page, project) == []
    assert undocumented(page.replace("| rich |", "| poor |"), project) == ["To run: poor", "To run: rich"]


CONSTANT = re.compile(r"^\| `(\w+)\.(\w+)(?:\[\"(\w+)\"\])?` \| (\S+) \|", re.MULTILINE)
MODULES = (
    dp.mechanism,
    fl_engine.evaluation,
    fl_engine.model,
    fl_engine.planning,
    fl_engine.scaling,
    fl_engine.settings,
)


def wrong_constants(page: str) -> list[str]:
    """Rows whose value is not the code's."""
    modules = {module.__name__.rpartition(".")[2]: module for module in MODULES}
    wrong = []
    for module, name, key, value in CONSTANT.findall(page):
        actual = getattr(modules[module], name)
        actual = actual[key] if key else actual
        if float(value) != actual:
            wrong.append(f"{module}.{name} is {actual}, not {value}")
    return wrong


def test_the_constants_in_the_privacy_page_are_the_codes():
    page = (ROOT / "docs" / "privacy.md").read_text("utf-8")
    assert len(CONSTANT.findall(page)) >= 15
    assert wrong_constants(page) == []
    assert wrong_constants(page.replace("`planning.TRIES` | 3", "`planning.TRIES` | 4")) == [
        "planning.TRIES is 3, not 4"
    ]


def default_plan() -> fl_engine.plan.TaskPlan:
    """The plan of `fedsec run --epsilon 3`."""
    settings = RunSettings(epsilon=3.0)
    schema = fl_engine.data.synthetic.SYNTHETIC_SCHEMA
    return fl_engine.planning.build_plan(
        settings,
        task="readme",
        slots=(6_000,) * settings.banks,
        model=fl_engine.model.ModelSpec(inputs=schema.width),
        numeric_width=schema.numeric_width,
        federated_evaluation=False,
    )


def default_run() -> tuple[float, float, list[float]]:
    """ε spent, ε reserved and ε by adversary of `fedsec run --epsilon 3` when no attempt is lost."""
    plan = default_plan()
    begun = {"scaling": 1, "training": plan.rounds}
    bounds = adversary_bounds(
        lambda shares: [
            Composed(events=tuple(Repeated(count=begun[s.name], event=s.event(shares)) for s in plan.sums))
        ],
        mode=plan.mode,
        corrupt=plan.corrupt,
        honest_inputs=plan.honest_inputs,
        min_survivors=plan.clients,
        delta=plan.delta,
        eta=fl_engine.plan.ETA,
    )
    epsilons = [bound.epsilon for bound in bounds]
    assert None not in epsilons
    return plan.spent_epsilon("train", begun), plan.planned_epsilon("train"), epsilons


def test_the_figures_of_the_readmes_statement_are_those_of_a_default_run():
    page = (ROOT / "README.md").read_text("utf-8")
    spent, reserved, against = default_run()
    assert f"ε = {spent:.3f} (reserved {reserved:.3f}) at δ = 1e-5" in page
    assert f"| ε = {spent:.3f} |" in page and f"here {math.exp(spent):.0f} times" in page
    table = page.partition("| against |")[2].partition("\n\n")[0]
    assert re.findall(r"\| ([\d.]+) \|$", table, re.MULTILINE) == [f"{epsilon:.2f}" for epsilon in against]


def test_the_figures_of_the_weaknesses_page_are_those_of_a_default_run():
    page = (ROOT / "docs" / "weaknesses.md").read_text("utf-8")
    plan = default_plan()
    training = next(planned for planned in plan.sums if planned.name == "training")
    mechanism, clip = training.mechanism, training.mechanism.clip * training.mechanism.grid_scale
    deviation = math.sqrt(mechanism.share_variance)
    assert f"{plan.rounds} training rounds of d = {training.dimension:,} values" in page
    assert f"n = {plan.clients}, c = {plan.corrupt}, t = m = {plan.threshold}, h = {plan.honest_inputs}" in page
    assert plan.min_survivors == plan.threshold
    table = page.partition("| shares that count |")[2].partition("\n\n")[0]
    advantages = {
        int(shares): float(value)
        for shares, value in re.findall(r"^\| (\d+) \| .* \| ([\d.]+) \|$", table, re.MULTILINE)
    }
    assert advantages == {
        shares: round(
            2 * NormalDist().cdf(mechanism.sensitivity / deviation * math.sqrt(plan.rounds / shares) / 2) - 1, 3
        )
        for shares in (10, 7, 4, 1)
    }
    one = (training.quantiser.saturation + training.quantiser.noise_bound) / clip
    assert f"{one:,.0f} clips a coordinate, {one * math.sqrt(training.dimension):,.0f} clips in L2 norm" in page
    assert f"the noise of ten has a standard deviation of {math.sqrt(10) * deviation / clip:.1f} clips" in page
    assert f"10 banks against 9: {math.sqrt(19) * deviation / clip:.1f} clips" in page
    assert f"13 of the 19: {math.sqrt(13) * deviation / clip:.1f} clips" in page
    pair = 2 * plan.honest_inputs + 1  # of the fewest survivors, with and without the bank
    assert f"nine shares count, {math.sqrt(pair) * deviation / clip:.1f} clips" in page
    assert pair == 9
    assert f"ε = {default_run()[2][-1]:.2f} in a default run" in page


def imported() -> set[str]:
    """Top-level names of what the packages import that is neither theirs nor the standard library's."""
    names: set[str] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    names.update(alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - set(PACKAGES)


def test_what_is_imported_is_a_dependency_and_what_is_a_dependency_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    homes = packages_distributions()
    needed = {normal(homes[name][0]) for name in imported()}
    at_wish = project["optional-dependencies"][
        "pdf"
    ]  # imported where it is called for, and told of where it is missing
    assert needed == {normal(requirement) for requirement in [*project["dependencies"], *at_wish]}
