"""``headend config``: check settings without any I/O but reading files, and show each with its origin."""

import click

from headend.cli.app import App
from headend.cli.options import output_option
from headend.cli.output import Column, Document


@click.group()
def command() -> None:
    """Check and show settings; reads no meter and opens no store."""


@command.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Check settings and the profiles they name; every fault at once. Exit code 5 if there is one."""
    app = App.of(ctx)
    files = ", ".join(str(path) for path in app.loaded.files) or "no file, every setting at its default"
    count = len(app.profiles)
    app.output.say(f"settings are valid ({files}); {count} meter profiles are valid")


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
            dotted = f"{section}.{key}"
            shown = list(value) if isinstance(value, tuple) else value
            rows.append({"key": dotted, "value": shown, "origin": app.loaded.origins.get(dotted, "default")})
    columns = [Column("key", "Setting"), Column("value", "Value"), Column("origin", "From")]
    app.output.emit(
        Document(
            "headend.config/1", columns if origin else columns[:2], rows, {"files": [str(p) for p in app.loaded.files]}
        )
    )
