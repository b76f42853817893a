"""What a variable of the environment that begins like a setting and is none was meant to be. Pure; `headend.settings` asks."""

import difflib
import re
from collections.abc import Collection

PREFIX = "HEADEND_"
_OTHERS = re.compile(
    # of the build and of the tests (CONTRIBUTING.md)
    r"(?!.*__)HEADEND_(CHECKED_KERNELS|SANITIZED_KERNELS|SHARED|TEST_.+"
    # what Kubernetes, and Docker's links, tell of a service whose name begins with headend
    r"|(.+_)?(SERVICE_(HOST|PORT(_.+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?))"
)


def is_ours(name: str) -> bool:
    """Say whether a variable's name should be a setting's."""
    return name.startswith(PREFIX) and not _OTHERS.fullmatch(name)


def variable(section: str, key: str) -> str:
    """Name the variable of a setting; ``key`` with dots in a sink's table."""
    return f"{PREFIX}{section}__{key.replace('.', '__')}".upper()


def misnamed(name: str, known: Collection[str], sink_keys: Collection[str]) -> str:
    """Say what is wrong with a variable that is no setting, naming the nearest of those ``known``.

    ``sink_keys``: of a sink's table, whose own name is the user's and may be in no file.
    """
    close = difflib.get_close_matches(name.upper(), sorted(known), 1, cutoff=0.75)
    sink = re.fullmatch(rf"{PREFIX}SINKS_+(.+?)_+({'|'.join(sink_keys)})", name, re.IGNORECASE)
    if sink:
        close = [variable("sinks", f"{sink[1]}.{sink[2]}")]
    if close:
        return f"is unknown; did you mean {close[0]}?"
    return f"is unknown; a setting is {PREFIX}SECTION__KEY, with two underscores between. Name a variable of your own otherwise"
