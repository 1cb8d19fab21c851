"""The verifier runs where nothing of fedsec, and no torch, can be imported."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.verifier.runs import Runs

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "verifier" / "fedsec_verify"
DEPENDENCIES = {"click", "cryptography", "msgspec", "numpy"}
FORBIDDEN = ("fedsec", "secagg", "dp", "fl_engine", "compliance", "cli", "torch", "opacus", "scipy", "pydantic", "rich")

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden}:
            raise ImportError(name + " is blocked")
        return None

sys.meta_path.insert(0, Blocked())
sys.path = [{verifier!r}] + [path for path in sys.path if path not in ("", {root!r})]
"""


def blocked(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """``fedsec-verify`` in an interpreter of its own, in which the forbidden packages cannot be imported."""
    head = BLOCKED.format(forbidden=set(FORBIDDEN), verifier=str(PACKAGE.parent), root=str(ROOT))
    code = head + before + "\nfrom fedsec_verify.command import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd="/", capture_output=True, text=True, timeout=120, check=False
    )


def test_a_run_is_verified_without_anything_of_fedsec(runs: Runs) -> None:
    for case in (runs.plain, runs.kept):
        done = blocked(str(case.path), "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["ok"] is True


@pytest.mark.parametrize("package", ["fedsec", "torch", "dp"])
def test_the_block_blocks(package: str, runs: Runs) -> None:
    """The control: an import of what is blocked would not go unseen."""
    done = blocked(str(runs.plain.path), before=f"import {package}")
    assert done.returncode == 1 and f"{package} is blocked" in done.stderr


def imported(source: str) -> set[str]:
    """Top-level packages that ``source`` imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_its_imports_are_its_dependencies_and_the_standard_library() -> None:
    found = set().union(*(imported(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")))
    assert found - set(sys.stdlib_module_names) - {"fedsec_verify"} == DEPENDENCIES
    assert imported("def f():\n    from secagg.encoding import digest") == {"secagg"}  # the control


def test_its_distribution_declares_no_more() -> None:
    project = tomllib.loads((ROOT / "verifier" / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.match(r"[a-z]+", line)[0] for line in project["dependencies"]}  # type: ignore[index]
    assert names == DEPENDENCIES
    assert project["scripts"] == {"fedsec-verify": "fedsec_verify.command:main"}


def test_fedsec_carries_the_same_package() -> None:
    """``pip install .`` has it, so that ``fedsec verify`` works; both declare the same version."""
    from setuptools import find_packages

    root = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    where = root["tool"]["setuptools"]["packages"]["find"]
    found = [name for folder in where["where"] for name in find_packages(str(ROOT / folder), include=where["include"])]
    assert "fedsec_verify" in found and found.count("fedsec_verify") == 1
    own = tomllib.loads((ROOT / "verifier" / "pyproject.toml").read_text("utf-8"))["project"]
    assert own["version"] == root["project"]["version"]
    without = find_packages(str(ROOT), include=where["include"])
    assert "fedsec_verify" not in without  # the control: it is the second folder that brings it
