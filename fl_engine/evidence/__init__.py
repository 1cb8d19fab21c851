"""The evidence of a run: what is kept of each attempt, what is signed in the end, and by whom (docs/evidence.md)."""
