"""What the global options say, and options shared by commands. Imports nothing heavy."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from drivers.obis import Obis

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


def node_options(command: F) -> F:
    """Add the options that name a node of the network; together they mean what is under all of them."""
    for name in ("box", "feeder", "transformer", "area"):
        command = click.option(f"--{name}", help=f"Only usage points of this {name}.")(command)
    return command


def check_new(file: Path, suffix: str) -> None:
    """Refuse a file for ``--draft`` that could not be written once the meters have answered. Raises `click.BadParameter`."""
    if file.suffix != suffix:
        raise click.BadParameter(f"--draft: {file} does not end in {suffix}")
    if file.exists():
        raise click.BadParameter(f"--draft: {file} exists; name a new file")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise click.BadParameter(f"--draft: {file.parent} is no directory that may be written")


class Day(click.ParamType):  # type: ignore[type-arg]  # it takes none before click 8.5
    """A day, written ``2026-11-01``; within the years that every zone can represent."""

    name = "YYYY-MM-DD"
    first, last = date(1970, 1, 2), date(9998, 12, 31)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Read a day."""
        try:
            day = datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007  a day has no zone
        except ValueError:
            self.fail(f"{value!r} is no day; write it as 2026-11-01", param, ctx)
        if not self.first <= day <= self.last:
            self.fail(f"{value} is not within {self.first} to {self.last}", param, ctx)
        return day


DAY = Day()


class Instant(click.ParamType):  # type: ignore[type-arg]  # it takes none before click 8.5
    """An instant with its deviation from UTC, written ``2026-11-01T06:30Z`` or ``2026-11-01T07:30+01:00``; given as s UTC."""

    name = "INSTANT"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read an instant."""
        if isinstance(value, int):
            return value
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no instant; write it as 2026-11-01T06:30Z", param, ctx)
        if instant.tzinfo is None:
            self.fail(f"{value!r} does not say where its clock stands; end it with Z for UTC, or +01:00", param, ctx)
        if not 1970 <= instant.year < 9998:
            self.fail(f"{value} is not within 1970 to 9997", param, ctx)
        return int(instant.timestamp())


INSTANT = Instant()


def obis_option(_: click.Context, __: click.Parameter, text: str) -> "Obis":
    """Read a channel by its catalogue name or OBIS code."""
    from drivers.obis import resolve  # noqa: PLC0415  only for commands that take one

    try:
        return resolve(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def output_option(function: F) -> F:
    """Add ``-o`` to a command that gives data."""
    return click.option(
        "-o", "--output", "format_name", type=click.Choice(FORMATS), default="table", show_default=True,
        help="How data is written to stdout. JSON carries a schema name and version.",
    )(function)  # fmt: skip
