"""Exit codes of every command, in one place."""

from enum import IntEnum


class Exit(IntEnum):
    """What a command's exit status says."""

    OK = 0
    """Done."""
    INTERNAL = 1
    """A bug of ours, or a store or directory that cannot be used: damaged, full, not permitted, written by another process."""
    USAGE = 2
    """Wrong options or arguments, or something named that does not exist."""
    PARTIAL = 3
    """Some meters or items failed; the others were read."""
    NO_ANSWER = 4
    """Nothing answered."""
    CONFIG = 5
    """Settings, a profile or a table of meters is invalid."""
    PORT = 6
    """A port is missing, busy or not permitted."""
    REFUSED = 7
    """Refused: password, key (of a backup, too), role, or another meter answered."""
    CHECK_FAILED = 8
    """A check failed."""
    INTERRUPTED = 130
    """Interrupted from the keyboard."""


MEANING = {
    Exit.OK: "ok",
    Exit.INTERNAL: "internal error, or the store or a directory cannot be used",
    Exit.USAGE: "usage",
    Exit.PARTIAL: "partial: some meters or items failed",
    Exit.NO_ANSWER: "nothing answered",
    Exit.CONFIG: "configuration, profile or meter table invalid",
    Exit.PORT: "port missing, busy or not permitted",
    Exit.REFUSED: "refused: password, key, role or wrong meter",
    Exit.CHECK_FAILED: "a check failed",
    Exit.INTERRUPTED: "interrupted",
}
"""The same in words, for help and documents."""
