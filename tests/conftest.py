"""What every test leaves as it found it."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Commands run within a test's process set up logging, to streams that end with the test."""
    drivers = logging.getLogger("drivers")
    before = list(drivers.handlers)
    yield
    drivers.handlers = before
    structlog.reset_defaults()
