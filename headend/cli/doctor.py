"""``headend doctor``: everything around the program, one line each with the fix."""

import click

from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.options import output_option
from headend.cli.output import Column, Document
from headend.doctor import Check, Verdict, checks

COLUMNS = (
    Column("verdict", "Result"),
    Column("subject", "Check"),
    Column("found", "Found"),
    Column("fix", "What to do"),
)


@click.command()
@output_option
@click.pass_context
def command(ctx: click.Context, format_name: str) -> int:
    """Check everything around the program: PASS, WARN or FAIL, with a fix. Exit code 8 if one fails."""
    app = App.of(ctx, format_name)
    options = app.options
    found: list[Check] = list(checks(options.config, options.data, options.profiles, options.environment, app.now()))
    rows = [
        {"verdict": check.verdict, "subject": check.subject, "found": check.found, "fix": check.fix} for check in found
    ]
    app.output.emit(Document("headend.doctor/1", COLUMNS, rows))
    failed = sum(check.verdict is Verdict.FAIL for check in found)
    app.output.say(f"{len(found)} checks, {failed} failed")
    return Exit.CHECK_FAILED if failed else Exit.OK
