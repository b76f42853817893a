"""What every test leaves as it found it."""

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

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
