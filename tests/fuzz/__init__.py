"""Fuzzing of every decoder and of both state machines: the same targets in ``make test`` (short) and ``make fuzz``."""
