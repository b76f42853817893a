"""Exports: what the ledger holds, as files others can trust. One pure module per format; only `write` touches the disk."""
