"""Checks the evidence of a fedsec run. Written from the documents; shares no code with what it checks."""

__version__ = "0.1.0"
