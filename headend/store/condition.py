"""Whether a store can be written as usual, as seen from outside: by its device, its mount and the mark beside it."""

import os
from pathlib import Path

from headend.store.place import Place, server_of
from headend.store.quarantine import why_quarantined


def condition_of(place: Place, reserve: int) -> str:
    """Say why readings cannot be stored now, empty where they can. Touches nothing, and asks the device anew each time.

    ``reserve``: room kept for commands and audit. [B]  A server's device is not ours to see; it says so when it is full.
    """
    if server_of(place) is not None:
        return ""
    store = Path(str(place))
    if why := why_quarantined(str(store)):
        return f"the store is set apart as damaged: {why}"
    directory = store.absolute().parent
    try:
        found = os.statvfs(directory)
    except OSError as error:
        return f"{directory}: {error.strerror}"
    if found.f_flag & os.ST_RDONLY:
        return f"the file system of {directory} is mounted read-only"
    free = found.f_bavail * found.f_frsize
    if free < reserve:
        return (
            f"{free // 2**20} MiB are free in {directory}, and the last {reserve // 2**20} MiB are kept for commands and audit:"
            " make room"
        )
    return ""
