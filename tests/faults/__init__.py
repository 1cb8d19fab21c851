"""Faults injected into the ledger at every system call that touches a file or a socket: ``make faults``."""
