"""Finished runs that several test modules read; none changes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.compliance.real_runs import real_run


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A real run of a kind, made when it is first asked for."""

    @cache
    def made(kind: str) -> Path:
        return real_run(tmp_path_factory.mktemp("real"), kind)

    return made
