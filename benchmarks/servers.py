"""Servers that benchmarks start: where one cannot be had, the benchmark ends and says what is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.postgres import Postgres, running


@contextmanager
def postgres_server(folder: Path, *, fsync: bool = False) -> Iterator[Postgres]:
    """Run a PostgreSQL server of its own in a folder. Raises `SystemExit` where it is not installed."""
    try:
        with running(folder, fsync=fsync) as server:
            yield server
    except pytest.skip.Exception as reason:
        raise SystemExit(str(reason)) from reason
