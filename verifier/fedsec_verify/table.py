"""All steps in the order of docs/evidence.md."""

from __future__ import annotations

from fedsec_verify.steps import Rule

STEPS: tuple[Rule, ...] = ()
