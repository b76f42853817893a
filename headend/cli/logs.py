"""Starts logging for the commands that work with meters."""

import sys

from headend.cli.app import App
from headend.logging import configure


def start_logs(app: App, level: str | None = None) -> None:
    """Log to stderr at ``level``, the settings' without one; more under -v, errors only under --quiet."""
    level = level or app.settings.log.level
    if app.options.verbose:
        level = "debug" if app.options.verbose > 1 else "info"
    elif app.options.quiet:
        level = "error"
    configure(level, is_plain=sys.stderr.isatty())
