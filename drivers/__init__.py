"""Bytes: what the meter said, as immutable facts."""
