"""All edits, by the step that has to find them."""

from __future__ import annotations

from tests.verifier import tampers_of_results, tampers_of_rounds, tampers_of_rules
from tests.verifier.cases import Tamper

TAMPERS: tuple[Tamper, ...] = (*tampers_of_rounds.TAMPERS, *tampers_of_results.TAMPERS, *tampers_of_rules.TAMPERS)
