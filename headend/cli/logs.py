"""Starts logging for the commands that work with meters."""

import sys

from headend.cli.app import App
from headend.logging import configure


def start_logs(app: App) -> None:
    """Log to stderr at the settings' level, more under -v, errors only under --quiet."""
    level = app.settings.log.level
    if app.options.verbose:
        level = "debug" if app.options.verbose > 1 else "info"
    elif app.options.quiet:
        level = "error"
    configure(level, is_plain=sys.stderr.isatty())
