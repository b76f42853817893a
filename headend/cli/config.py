"""``headend config``: check settings without any I/O but reading files, and show each with its origin."""

import click

from drivers.errors import ProfileError
from headend.cli.app import App
from headend.cli.options import output_option
from headend.cli.output import Column, Document
from headend.cli.words import counted
from headend.errors import SettingsError
from headend.vee.rules import load_rules


@click.group()
def command() -> None:
    """Check and show settings; reads no meter and opens no store."""


@command.command(short_help="Check settings and what they name, every fault at once.")
@click.pass_context
def check(ctx: click.Context) -> None:
    """Check settings, and the profiles and the rule set they name; every fault at once. Exit code 5 if there is one."""
    app = App.of(ctx)
    faults: list[str] = []
    try:
        load_rules(app.settings.vee.rules)
    except SettingsError as error:
        faults += error.faults
    try:
        count = len(app.profiles)
    except ProfileError as error:
        faults += [f"profile {fault}" for fault in error.faults]
    if faults:
        raise SettingsError(faults)
    files = ", ".join(str(path) for path in app.loaded.files) or "no file, every setting at its default"
    app.output.say(f"settings are valid ({files}); {counted(count, 'meter profile')} valid")


@command.command()
@click.option("--origin", is_flag=True, help="Also say where each value comes from.")
@output_option
@click.pass_context
def show(ctx: click.Context, *, origin: bool, format_name: str) -> None:
    """Show every setting in force."""
    app = App.of(ctx, format_name)
    rows = []
    for section, values in app.settings.model_dump().items():
        for key, value in values.items():
            inner = {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
            for name, item in inner.items():
                dotted = f"{section}.{name}"
                shown = list(item) if isinstance(item, tuple) else item
                rows.append({"key": dotted, "value": shown, "origin": app.loaded.origins.get(dotted, "default")})
    columns = [Column("key", "Setting"), Column("value", "Value"), Column("origin", "From")]
    app.output.emit(
        Document(
            "headend.config/1", columns if origin else columns[:2], rows, {"files": [str(p) for p in app.loaded.files]}
        )
    )
