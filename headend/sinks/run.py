"""The sinks of the settings, each a task of its own beside the collector."""

import asyncio
import random
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import structlog

from headend.clock import Clock
from headend.errors import SettingsError
from headend.secrets import Secrets
from headend.settings import SinkSettings
from headend.sinks.influx import InfluxServer
from headend.sinks.journal import StoreJournal
from headend.sinks.linesink import LineSink
from headend.sinks.sink import Sink
from headend.sinks.window import Form, read_window
from headend.store.model import Layer
from headend.store.place import Place
from headend.store.reader import StoreReader
from headend.store.writer import GroupCommitWriter

LINES, FILES = ("influxdb_client", "influxdb-client", "influx"), ("pyarrow", "pyarrow", "parquet")
NEEDS = {"influxdb": LINES, "victoriametrics": LINES, "parquet": FILES}
"""What each kind imports, what that is called, and the extra that brings it. It takes 0.3 s, so only who has a sink imports it."""
DRAIN = 120.0
"""How long sinks may go on after a single round. [wall s]"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """What the sinks of one service have in common."""

    store_path: Place
    writer: GroupCommitWriter
    clock: Clock
    stop: asyncio.Event


def open_sinks(
    sinks: Mapping[str, SinkSettings],
    store_path: Place,
    writer: GroupCommitWriter,
    clock: Clock,
    secrets: Secrets,
    stop: asyncio.Event,
    *,
    once: bool = False,
) -> list[Coroutine[Any, Any, None]]:
    """Make the tasks that deliver until ``stop`` is set, or, ``once``, until nothing is waiting, for `DRAIN` at most.

    Raises what `check_sinks` raises.
    """
    tokens = check_sinks(sinks, secrets)
    place = _Place(store_path, writer, clock, stop)
    run = _drain if once else _run
    return [run(place, name, settings, tokens[name]) for name, settings in sorted(sinks.items())]


def check_sinks(sinks: Mapping[str, SinkSettings], secrets: Secrets) -> dict[str, str]:
    """Give each sink's token. Raises `SettingsError` where an extra is missing, `SecretError`."""
    faults = []
    for name, settings in sorted(sinks.items()):
        module, package, extra = NEEDS[settings.kind]
        try:
            import_module(module)
        except ImportError:
            faults.append(f"sinks.{name}: needs {package}; install headend[{extra}]")
    if faults:
        raise SettingsError(faults)
    return {name: secrets.password(settings.token_ref).decode() for name, settings in sinks.items()}


async def _run(place: _Place, name: str, settings: SinkSettings, token: str) -> None:
    with _opened(place, name, settings, token) as sink:
        await sink.run(place.stop)


async def _drain(place: _Place, name: str, settings: SinkSettings, token: str) -> None:
    # What runs in a thread cannot be cancelled, so the sink is told to stop, as it is otherwise.
    ending = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(DRAIN, ending.set)
    relay = asyncio.ensure_future(_relay(place.stop, ending))
    try:
        with _opened(replace(place, stop=ending), name, settings, token) as sink:
            await sink.run_once(ending)
    finally:
        timer.cancel()
        relay.cancel()
    if ending.is_set():
        _log.warning("a sink has not delivered everything; the next run goes on", sink=name)


async def _relay(stop: asyncio.Event, ending: asyncio.Event) -> None:
    await stop.wait()
    ending.set()


@contextmanager
def _opened(place: _Place, name: str, settings: SinkSettings, token: str) -> Iterator[Sink]:
    layers = frozenset(Layer[layer.upper()] for layer in settings.layers)
    with StoreReader.open(place.store_path) as reader:
        if settings.kind == "parquet":
            from headend.sinks.dataset import Dataset  # noqa: PLC0415  as `NEEDS` says

            dataset = Dataset(Path(settings.directory), layers, is_stopped=place.stop.is_set)
            files = StoreJournal(name, reader, place.writer.submit, dataset.update)
            yield Sink(name, files, place.clock, random.random, pace=settings.gather)
            return
        from headend.sinks.exchange import HttpExchange  # noqa: PLC0415  as `NEEDS` says

        is_influx = settings.kind == "influxdb"
        read_next = partial(read_window, form=Form(layers, replaces=is_influx), most_lines=settings.batch)
        lines = StoreJournal(name, reader, place.writer.submit, read_next)
        with closing(HttpExchange(settings, token)) as exchange:
            server = InfluxServer(exchange, reads_back=not is_influx)
            yield LineSink(
                name, lines, server, place.clock, random.random,
                settle=settings.settle, pace=settings.pace, describe=lines.describe,
            )  # fmt: skip
