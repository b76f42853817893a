"""What ``--trace`` adds to a command that talks to meters; without it nothing is imported, nothing wrapped."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from drivers.contract import Driver
from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.collect.line import Open


class Wiring(TypedDict, total=False):
    """How links are opened and which drivers are used, where not as usual."""

    open_transport: Open
    drivers: Mapping[str, Driver]


@contextmanager
def wiring(app: App, *, file: Path | None = None, directory: Path | None = None) -> Iterator[Wiring]:
    """Give what traces to a file, or to a file per meter in a directory; nothing where neither is asked for.

    Raises `Failure` where a trace cannot be written there.
    """
    if file is None and directory is None:
        yield Wiring()
        return
    from drivers.transports import open_transport  # noqa: PLC0415  only for a trace
    from headend.service import DRIVERS  # noqa: PLC0415
    from headend.trace import TraceFileError, Tracer  # noqa: PLC0415

    try:
        if file is not None:
            tracer = Tracer.to_file(app.clock, file)
        else:
            assert directory is not None
            tracer = Tracer.to_directory(app.clock, directory)
    except TraceFileError as error:
        raise Failure(str(error), Exit.USAGE) from error
    with tracer:
        try:
            yield Wiring(open_transport=tracer.opening(open_transport), drivers=tracer.watching(DRIVERS))
        finally:
            if tracer.paths or not tracer.faults:
                written = ", ".join(str(path) for path in tracer.paths) or "nothing, no link was opened"
                app.output.say(f"trace: {written}")
            for fault in tracer.faults:
                app.output.warn(f"trace: {fault}")
