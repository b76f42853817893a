"""``headend profile``: check a meter profile, list those there are."""

from pathlib import Path

import click

from drivers.profile import MeterProfile
from headend.cli.app import App
from headend.cli.options import output_option
from headend.cli.output import Column, Document
from headend.profiles import load_profile, load_profile_file


@click.group()
def command() -> None:
    """Check and list meter profiles; reads no meter."""


@command.command()
@click.argument("name")
@output_option
@click.pass_context
def check(ctx: click.Context, name: str, format_name: str) -> None:
    """Check one profile: NAME of a known one, or a FILE. Names every fault at once; exit code 5 if there is one."""
    app = App.of(ctx, format_name)
    if name.endswith(".toml") or "/" in name:
        profile = load_profile_file(Path(name), app.profile_directories)
    else:
        profile = load_profile(name, app.profile_directories)
    app.output.emit(_document([profile]))
    app.output.say(f"profile {profile.name} is valid")


@command.command("list")
@output_option
@click.pass_context
def list_(ctx: click.Context, format_name: str) -> None:
    """List the meter models that can be read."""
    app = App.of(ctx, format_name)
    app.output.emit(_document(list(app.profiles.values())))


def _document(profiles: list[MeterProfile]) -> Document:
    columns = [
        Column("name", "Profile"),
        Column("protocol", "Protocol"),
        Column("maker", "Maker"),
        Column("model", "Model"),
        Column("status", "Proven"),
        Column("channels", "Channels"),
        Column("registers", "Registers"),
        Column("source", "Source"),
    ]
    rows = [
        {
            "name": profile.name,
            "protocol": profile.protocol,
            "maker": profile.maker,
            "model": profile.model,
            "status": profile.status,
            "channels": [f"{channel.obis} every {channel.period} s" for channel in profile.channels],
            "registers": [str(obis) for obis in profile.registers],
            "source": profile.source,
        }
        for profile in profiles
    ]
    return Document("headend.profile/1", columns, rows, hidden=frozenset({"registers", "source"}))
