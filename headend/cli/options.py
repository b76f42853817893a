"""What the global options say, and options shared by commands. Imports nothing heavy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
FORMATS = ("table", "json", "ndjson", "csv")


@dataclass(frozen=True, slots=True)
class Globals:
    """Global options, as given. ``environment`` may hold secrets and stays out of the repr."""

    config: Path | None = None
    data: Path | None = None
    profiles: tuple[Path, ...] = ()
    color: str = "auto"
    is_ascii: bool = False
    quiet: bool = False
    verbose: int = 0
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def output_option(function: F) -> F:
    """Add ``-o`` to a command that gives data."""
    return click.option(
        "-o", "--output", "format_name", type=click.Choice(FORMATS), default="table", show_default=True,
        help="How data is written to stdout. JSON carries a schema name and version.",
    )(function)  # fmt: skip
