"""The work: choose, call, check, store."""
