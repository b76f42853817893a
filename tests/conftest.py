"""What every test leaves as it found it, and the server that many share."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.postgres import Postgres, running

# How long an example takes is the machine's business, never a test's.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Commands run within a test's process set up logging, to streams that end with the test."""
    drivers = logging.getLogger("drivers")
    before = list(drivers.handlers)
    yield
    drivers.handlers = before
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; each test takes a schema of its own, and who kills the server starts it again."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        with running(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder)
