"""Log lines, to stderr where nothing else is said: one JSON object each, or plain words on a terminal."""

import logging
import sys
from typing import TextIO

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Forward(logging.Handler):
    """Hands what the drivers log to our log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record as ours."""
        structlog.get_logger(record.name).log(record.levelno, record.getMessage())


def configure(level: str, *, is_plain: bool, stream: TextIO | None = None) -> None:
    """Send log lines of ``level`` (debug, info, warning, error) and above to ``stream``, stderr by default."""
    drivers = logging.getLogger("drivers")  # they know nothing of how we log
    drivers.handlers = [_Forward()]
    renderer = structlog.dev.ConsoleRenderer(colors=False) if is_plain else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
