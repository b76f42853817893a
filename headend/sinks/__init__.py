"""Sinks: cursors on the change log that take readings to servers of other people (docs/decisions/sinks.md)."""
