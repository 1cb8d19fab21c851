"""Code that is made wrong on purpose, one line at a time, to see that a test falls (PROTOCOL T7)."""
