"""Real runs, made once for all tests of a process."""

from __future__ import annotations

import pytest

from tests.verifier.runs import Runs, make_runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Two finished runs; whoever changes one copies it first."""
    return make_runs(tmp_path_factory.mktemp("verifier"))
