"""The empirical audit: canaries in an invented training run, guesses about them, and what ε is at least.

It can disprove a guarantee and never prove one. Start reading at :mod:`compliance.audit.suite`; the broken variants
that it has to notice are in :mod:`compliance.audit.controls`.
"""
