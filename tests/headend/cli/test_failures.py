"""Exceptions as exit codes and words."""

import pytest

from drivers.errors import (
    CommandDeclined,
    CommandError,
    CommandUnverified,
    DriverError,
    LocalProtocolError,
    OutcomeUnknown,
)
from headend.cli.exits import Exit
from headend.cli.failures import report


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandDeclined("the clock is an hour away"), Exit.REFUSED),
        (CommandUnverified("the switch is still closed"), Exit.CHECK_FAILED),
        (OutcomeUnknown("no answer"), Exit.NO_ANSWER),
        (CommandError("came to nothing"), Exit.REFUSED),
        (LocalProtocolError("not opened"), Exit.INTERNAL),
    ],
)
def test_a_command_that_failed_is_told_by_its_exit_code(
    error: DriverError, code: Exit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error) == code
    assert capsys.readouterr().err.startswith(f"error: {error}\n")
