"""The sinks of the settings, each a task of its own beside the collector."""

import asyncio
import random
from collections.abc import Coroutine, Mapping
from contextlib import closing
from typing import Any

from headend.clock import Clock
from headend.errors import SettingsError
from headend.secrets import Secrets
from headend.settings import SinkSettings
from headend.sinks.influx import InfluxServer
from headend.sinks.journal import StoreJournal
from headend.sinks.sink import Sink
from headend.sinks.window import Form
from headend.store.model import Layer
from headend.store.place import Place
from headend.store.reader import StoreReader
from headend.store.writer import GroupCommitWriter


def open_sinks(
    sinks: Mapping[str, SinkSettings],
    store_path: Place,
    writer: GroupCommitWriter,
    clock: Clock,
    secrets: Secrets,
    stop: asyncio.Event,
) -> list[Coroutine[Any, Any, None]]:
    """Make the tasks that deliver until ``stop`` is set. Raises `SettingsError` where the extra is missing, `SecretError`."""
    tokens = {name: secrets.password(settings.token_ref).decode() for name, settings in sinks.items()}
    if sinks:
        try:
            import influxdb_client  # noqa: F401, PLC0415  0.3 s, and an extra: only who has a sink needs it
        except ImportError as error:
            raise SettingsError(
                [f"sinks.{name}: needs influxdb-client; install headend[influx]" for name in sinks]
            ) from error
    return [
        _run(name, settings, tokens[name], store_path, writer, clock, stop) for name, settings in sorted(sinks.items())
    ]


async def _run(
    name: str,
    settings: SinkSettings,
    token: str,
    store_path: Place,
    writer: GroupCommitWriter,
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    from headend.sinks.exchange import HttpExchange  # noqa: PLC0415  as above

    is_influx = settings.kind == "influxdb"
    form = Form(frozenset(Layer[layer.upper()] for layer in settings.layers), replaces=is_influx)
    with StoreReader.open(store_path) as reader, closing(HttpExchange(settings, token)) as exchange:
        await Sink(
            name,
            StoreJournal(name, reader, writer.submit, form, settings.batch),
            InfluxServer(exchange, reads_back=not is_influx),
            clock,
            random.random,
            settle=settings.settle,
            pace=settings.pace,
        ).run(stop)
