"""The whole store, or a part of it, as open files in a directory that is complete or absent: for leaving, or for keeping.

Everything is written into ``DIRECTORY.partial`` from one view of the store, fsynced, and gets its name by one rename at the end. What
an interrupted run left there is removed by the next, which begins anew: another moment's view must not be mixed with it.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from drivers.facts import UtcSeconds
from headend.errors import ExportError, StoreError
from headend.export import plainrows
from headend.export.errors import NotExportable
from headend.export.files import locked, make_directory, sync_directory, write_new
from headend.export.holdings import GROUP, ChannelDay, Damage, owners
from headend.export.registrytables import registry_tables
from headend.export.rows import channel_name, instant
from headend.registry import table as metertable
from headend.registry.model import DAY
from headend.store.model import Layer
from headend.store.reader import StoreReader
from headend.store.retention import Kept
from kernels.quality import HAS_VALUE, State

SCHEMA = "headend.archive/1"
MANIFEST, SUMS, METERS = "manifest.json", "SHA256SUMS", "meters.csv"
LOCK = ".headend-archive.lock"
FORMATS = ("csv", "parquet")
ALL = 2**62
"""More rows, and a later instant, than there are."""

_STATES = tuple(state.name.lower() for state in State)


@dataclass(frozen=True, slots=True)
class Part:
    """What of the store is wanted. ``start``, ``end``: whole UTC days [s UTC], None: without bound.  ``area``: None for all."""

    start: UtcSeconds | None = None
    end: UtcSeconds | None = None
    area: str | None = None

    @property
    def days(self) -> range:
        """The days since 1970-01-01 UTC."""
        return range((self.start or 0) // DAY, ALL // DAY if self.end is None else self.end // DAY)


@dataclass(frozen=True, slots=True)
class File:
    """One file of an archive. ``day``: YYYY-MM-DD, empty for a table without days."""

    name: str
    table: str
    day: str
    rows: int
    bytes: int
    sha256: str


@dataclass(slots=True)
class Archive:
    """What was written. ``damaged``: what of the store could not be read; the rest is there."""

    directory: Path
    seq: int
    files: list[File] = field(default_factory=list)
    damaged: list[Damage] = field(default_factory=list)


def archive(
    reader: StoreReader,
    directory: Path,
    format: str,  # noqa: A002 - the word users type
    part: Part,
    now: UtcSeconds,
    at_step: Callable[[str], None] = lambda _: None,
) -> Archive:
    """Write an archive to a directory that is not there yet.

    ``at_step``: told each step before it is taken (tests stop there). Raises `ExportError`; then there is no directory.
    """
    if format not in FORMATS:
        raise NotExportable(f"unknown format {format[:40]!r}; known: {', '.join(FORMATS)}")
    if format == "parquet":
        try:
            import_module("pyarrow")
        except ImportError as error:
            raise NotExportable("format parquet needs pyarrow; install headend[parquet], or take csv") from error
    if directory.exists():
        raise NotExportable(f"{directory} is there already; name another, or take it away")
    if part.area is not None and part.area not in {point.area for point in reader.usage_points()}:
        raise NotExportable(f"no usage point is in area {part.area!r}; `headend meter list` shows the areas")
    partial = directory.with_name(f"{directory.name}.partial")
    try:
        _begin(partial)
        with locked(partial / LOCK, f"{directory}: another archive is being written there"), reader.snapshot():
            done = _Run(reader, partial, format, part, at_step, Archive(directory, reader.last_seq())).run(now)
            at_step("rename archive")
            partial.rename(directory)
            (directory / LOCK).unlink()
        at_step("sync parent")
        sync_directory(directory.parent)
    except OSError as error:
        raise ExportError(
            f"{error.filename or directory}: {error.strerror}; what was written is in {partial}, the next run removes it"
        ) from error
    return done


def _begin(partial: Path) -> None:
    if partial.exists():
        if not (partial / LOCK).exists():
            raise NotExportable(f"{partial} is there and none of ours; take it away")
        with locked(partial / LOCK, f"{partial}: another archive is being written there"):
            shutil.rmtree(partial)
    make_directory(partial)


@dataclass(slots=True)
class _Run:
    """One run, within one view of the store."""

    reader: StoreReader
    root: Path
    format: str
    part: Part
    at_step: Callable[[str], None]
    done: Archive

    def run(self, now: UtcSeconds) -> Archive:
        """Write everything, the manifest and the sums last."""
        points = {
            point.name for point in self.reader.usage_points() if self.part.area in {None, point.area}
        }  # fmt: skip
        wanted = self._wanted(points)
        meters = metertable.dump(self.reader, points)
        self._put(METERS, "meters", "", meters.encode(), meters.count("\n") - 1)
        for name, (header, rows) in registry_tables(self.reader).items():
            kept = [row for row in rows if self.part.area is None or row[0] in points | set(wanted[Layer.RAW].values())]
            self._table(name, "", header, kept)
        for layer in plainrows.HEADERS:
            self._layer(layer, wanted[layer])
        self._superseded(wanted[Layer.VALIDATED])
        self._table("sum", "", ("usage_point", "start", "seconds", "obis", "sum", "unit", *_STATES), self._sums(wanted))
        if self.part.area is None:
            for name, (header, found) in _journal(self.reader, self.part).items():
                self._table(name, "", header, found)
        self._finish(now)
        return self.done

    def _wanted(self, points: set[str]) -> dict[Layer, dict[int, str]]:
        """Give whose rows are wanted of each layer, by local id: an area's meters are all that ever hung there."""
        found = {layer: owners(self.reader, layer) for layer in plainrows.HEADERS}
        if self.part.area is None:
            return found
        inside = {number for number, name in found[Layer.VALIDATED].items() if name in points}
        meters = {
            place.end_device_id for place in self.reader.installations() if place.usage_point_id in inside
        }  # fmt: skip
        return {
            layer: {
                number: name
                for number, name in names.items()
                if number in (inside if layer is Layer.VALIDATED else meters)
            }
            for layer, names in found.items()
        }

    def _layer(self, layer: Layer, names: Mapping[int, str]) -> None:
        """Write a layer: a file for each day, and each thousand of owners."""
        groups: dict[int, dict[int, str]] = {}
        for number, name in names.items():
            groups.setdefault(0 if layer is Layer.EVENT else number // GROUP, {})[number] = name
        if layer is Layer.EVENT:
            groups = groups or {0: {}}
        for day in self.reader.stored_days(layer):
            if day not in self.part.days:
                continue
            for group, members in sorted(groups.items()):
                table = layer.name.lower()
                where = f"{table}/day={_date(day)}/{group:05d}"
                if self.format == "parquet":
                    from headend.export import parquet  # noqa: PLC0415  an extra

                    found, damaged = parquet.load(self.reader, layer, day, members, self.done.seq)
                    encoded = parquet.encode(found)
                else:
                    found, damaged = plainrows.load(self.reader, layer, day, members, self.done.seq)
                    encoded = plainrows.encode(plainrows.HEADERS[layer], found)
                self.done.damaged += damaged
                if len(found):
                    self._put(f"{where}.{self.format}", table, _date(day), encoded, len(found))

    def _superseded(self, names: Mapping[int, str]) -> None:
        """Write every version of the validated layer: who made it and why, and the values of those no longer in force."""
        versions: list[Sequence[Any]] = []
        old: list[ChannelDay] = []
        for number, name in sorted(names.items(), key=lambda item: item[1]):
            for day, obis in self.reader.validated_days(number, max(0, self.part.days.start)):
                if day not in self.part.days:
                    continue
                for version in self.reader.versions(number, obis, day):
                    run = version.run
                    versions.append((
                        name, _date(day), str(obis), channel_name(obis), version.version, version.is_newest, run.rules,
                        instant(run.at), run.user, run.reason, version.seq,
                    ))  # fmt: skip
                    if version.is_newest:
                        continue
                    try:
                        series = self.reader.validated_version(number, obis, day, version.version)
                    except StoreError as error:
                        where = f"version {version.version} of {obis} of {name}, day {day} since 1970"
                        self.done.damaged.append(Damage(name, where, str(error)))
                        continue
                    old.append(ChannelDay(name, obis, series.scaler_unit, version.version, series))
        header = (
            "usage_point", "day", "obis", "channel", "version", "is_newest", "rules", "made_at", "user", "reason", "seq",
        )  # fmt: skip
        self._table("version", "", header, versions)
        if not old:
            return
        if self.format == "parquet":
            from headend.export import parquet  # noqa: PLC0415  an extra

            encoded = parquet.encode(parquet.interval_table(Layer.VALIDATED, old, self.done.seq))
        else:
            rows = (row for found in old for row in plainrows.interval_rows(Layer.VALIDATED, found, self.done.seq))
            encoded = plainrows.encode(plainrows.INTERVAL, rows)
        self._put(f"superseded.{self.format}", "superseded", "", encoded, sum(len(found.series) for found in old))

    def _sums(self, wanted: Mapping[Layer, Mapping[int, str]]) -> list[Sequence[Any]]:
        """Give what is left of validated days that retention has dropped."""
        rows: list[Sequence[Any]] = []
        oldest = self.reader.first_sums()
        if oldest is None:
            return rows
        first, last = max(self.part.days.start, oldest), min(self.part.days.stop, self.reader.floor(Kept.VALIDATED).day)
        for number, name in sorted(wanted[Layer.VALIDATED].items(), key=lambda item: item[1]):
            for day in self.reader.sums(number, name, first, last):
                for channel in day.channels:
                    seconds, unit = DAY // len(channel.sums), channel.scaler_unit
                    rows += [
                        (
                            name, instant(day.day * DAY + index * seconds), seconds, str(channel.obis),
                            str(unit.to_decimal(total)) if any(counts[state] for state in HAS_VALUE) else "",
                            unit.unit.symbol, *counts,
                        )
                        for index, (total, counts) in enumerate(
                            zip(channel.sums.tolist(), channel.counts.tolist(), strict=True)
                        )
                    ]  # fmt: skip
        return rows

    def _table(self, name: str, day: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if self.format == "parquet":
            from headend.export import parquet  # noqa: PLC0415  an extra

            encoded = parquet.encode(parquet.text_table(header, rows))
        else:
            encoded = plainrows.encode(header, rows)
        self._put(f"{name}.{self.format}", name, day, encoded, len(rows))

    def _put(self, name: str, table: str, day: str, data: bytes, rows: int) -> None:
        make_directory((self.root / name).parent)
        digest, size = write_new(self.root / name, [data], table, self.at_step)
        self.done.files.append(File(name, table, day, rows, size, digest))

    def _finish(self, now: UtcSeconds) -> None:
        part = self.part
        document = {
            "schema": SCHEMA,
            "created": instant(now),
            "change_log": self.done.seq,
            "format": self.format,
            "period": {
                bound: None if at is None else instant(at) for bound, at in (("start", part.start), ("end", part.end))
            },
            "area": part.area,
            "files": [asdict(file) for file in self.done.files],
            "damaged": [asdict(item) for item in self.done.damaged],
        }
        data = (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
        write_new(self.root / MANIFEST, [data], "manifest", self.at_step)
        sums = [(file.sha256, file.name) for file in self.done.files] + [(hashlib.sha256(data).hexdigest(), MANIFEST)]
        lines = "".join(f"{digest}  {name}\n" for digest, name in sums)
        write_new(self.root / SUMS, [lines.encode()], "sums", self.at_step)
        for folder in sorted({path.parent for path in self.root.rglob("*")}, reverse=True):
            sync_directory(folder)


def _journal(reader: StoreReader, part: Part) -> dict[str, tuple[tuple[str, ...], list[Sequence[Any]]]]:
    """Give what was recorded beside the readings."""
    start, end = part.start or 0, ALL if part.end is None else part.end
    meters = {device.id: device.name for device in reader.end_devices()}
    return {
        "conflict": (
            ("end_device", "layer", "obis", "at", "kept", "kept_scaler", "kept_unit", "refused", "refused_scaler",
             "refused_unit", "received_at"),
            [
                (
                    meters[item.end_device_id], item.layer.name.lower(), str(item.obis), instant(item.at), item.kept,
                    item.kept_scaler_unit.scaler, item.kept_scaler_unit.unit.symbol, item.refused,
                    item.refused_scaler_unit.scaler, item.refused_scaler_unit.unit.symbol, instant(item.received_at),
                )
                for item in reader.conflicts(None, start, end, ALL)
            ],
        ),
        "job_run": (
            ("end_device", "kind", "started_at", "ended_at", "succeeded", "cause", "detail", "window_start", "window_end"),
            [
                (
                    meters[item.end_device_id], item.kind, instant(item.started_at), instant(item.ended_at), item.succeeded,
                    item.cause.name.lower(), item.detail, *(map(instant, item.window) if item.window else ("", "")),
                )
                for item in reader.job_runs(since=start, limit=ALL)
                if item.started_at < end
            ],
        ),
        "set_aside": (
            ("topic", "payload_base64", "size", "reason", "first_at", "last_at", "times"),
            [
                (
                    item.topic, base64.b64encode(item.payload).decode(), item.size, item.reason, instant(item.first_at),
                    instant(item.last_at), item.times,
                )
                for item in reader.set_asides(start, ALL)
                if item.first_at < end
            ],
        ),
        "sink_gap": (
            ("sink", "first_seq", "last_seq", "layer", "first_day", "last_day", "changes", "at", "reached_at"),
            [
                (
                    gap.sink, gap.first_seq, gap.last_seq, "" if gap.layer is None else gap.layer.name.lower(),
                    *("" if day is None else _date(day) for day in (gap.first_day, gap.last_day)), gap.changes,
                    instant(gap.at), "" if gap.reached_at is None else instant(gap.reached_at),
                )
                for gap in reader.gaps()
            ],
        ),
        "audit": (
            ("at", "user", "action", "subject", "detail"),
            [
                (instant(item.at), item.user, item.action, item.subject, item.detail)
                for item in reader.audit_entries(start, ALL)
                if item.at < end
            ],
        ),
        "invocation_counter": (("key_id", "next"), [(item.key_id, item.next) for item in reader.counters()]),
    }  # fmt: skip


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()
