"""``headend plan``: what each link needs of its time, and what a night finishes, before anything is deployed."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal

import click

from drivers.cost import Medium
from drivers.modbus.cost import with_learned
from drivers.modbus.learned import kind_of
from drivers.profile import MeterProfile
from drivers.transports.url import Form, MemoryUrl, SerialUrl, UdpUrl, parse_url
from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.cli.options import output_option
from headend.cli.output import Column, Document, instant
from headend.cli.tablefile import emit_faults, read_text
from headend.cli.words import NO_METERS, counted
from headend.collect.advice import advise, duration, sentence
from headend.collect.demand import Assumptions
from headend.collect.forecast import COSTS, Backfill, Forecaster, LinkForecast, Night, Verdict, reference_day
from headend.collect.latency import MODEL
from headend.collect.latency_entry import decode_latencies
from headend.collect.registry import load_meters
from headend.collect.schedule import Meter
from headend.errors import RegistryError
from headend.registry import table
from headend.store.reader import StoreReader

DAY = 86_400
COLUMNS = (
    Column("link", "Link"),
    Column("meters", "Meters", is_number=True),
    Column("baud", "Baud", is_number=True),
    Column("load_percent", "Load %", is_number=True),
    Column("waiting_percent", "of it waiting", is_number=True),
    Column("octets_a_day", "Octets a day", is_number=True),
    Column("seconds_a_day", "Seconds a day by job"),
    Column("last_poll_s", "Last poll s", is_number=True),
    Column("tolerance_s", "Tolerance s", is_number=True),
    Column("late_polls", "Late polls", is_number=True),
    Column("missed_jobs", "Missed", is_number=True),
    Column("consumers", "Biggest (% of the link's time)"),
    Column("backfill_text", "Back-fill"),
    Column("backfill_days", "Days"),
    Column("backfill_s", "Back-fill s", is_number=True),
    Column("backfill_nights", "Nights", is_number=True),
    Column("backfill_last_poll_s", "Last poll meanwhile s", is_number=True),
    Column("not_computed", "Not computed"),
    Column("verdict", "Verdict"),
    Column("says", "In words"),
    Column("advice", "What would fit"),
)
HIDDEN = frozenset({
    "waiting_percent", "octets_a_day", "seconds_a_day", "late_polls", "missed_jobs", "backfill_days", "backfill_s", "backfill_nights",
    "backfill_last_poll_s", "not_computed", "says", "advice",
})  # fmt: skip
"""Columns for programs alone: a terminal shows what matters of them as sentences."""
MOSTLY = 0.5
_UNITS = {"s": 1, "min": 60, "h": 3_600, "d": DAY}


class Duration(click.ParamType):  # type: ignore[type-arg]  # it takes none before click 8.5
    """A period that divides a day, written ``30min``, ``1h`` or ``900s``. [s]"""

    name = "PERIOD"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a period."""
        found = re.fullmatch(r"([1-9][0-9]{0,5})(s|min|h|d)", str(value), re.ASCII)
        seconds = int(found[1]) * _UNITS[found[2]] if found else 0
        if not seconds or DAY % seconds:
            self.fail(f"{value!r} is no period that divides a day; write it as 30min, 1h or 900s", param, ctx)
        return seconds


class NightHours(click.ParamType):  # type: ignore[type-arg]  # as above
    """A nightly window in UTC, written ``22:00-06:00``."""

    name = "HH:MM-HH:MM"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Night:
        """Read a window."""
        if isinstance(value, Night):
            return value
        hours = r"([01][0-9]|2[0-3]):([0-5][0-9])"
        found = re.fullmatch(f"{hours}-{hours}", str(value), re.ASCII)
        if not found:
            self.fail(f"{value!r} is no window of a day; write it as 22:00-06:00", param, ctx)
        first, second, third, fourth = (int(part) for part in found.groups())
        return Night(first * 3_600 + second * 60, third * 3_600 + fourth * 60)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What is reckoned with instead of what is so. ``latency``: of every meter. [s]"""

    baud: int | None
    period: int | None
    latency: float | None
    failures: float


@click.command()
@click.option(
    "--meters",
    "file",
    type=click.File("rb", lazy=True),
    help="Plan for the meters of this table (CSV, - for stdin), registered or not.",
)
@click.option(
    "--link", "wanted", multiple=True, help="Only links whose URL holds this text; may be given more than once."
)
@click.option(
    "--night",
    type=NightHours(),
    help="Reckon back-fill within this window alone, in UTC: 22:00-06:00. Without it: around the clock.",
)
@click.option(
    "--backfill",
    "days",
    type=click.IntRange(0, 1_000),
    help="Days of back-fill to reckon, 0 for none. Default: collect.backfill_days.",
)
@click.option("--period", type=Duration(), help="What if every interval channel had this period: 30min, 1h, 900s.")
@click.option("--baud", type=click.IntRange(50, 4_000_000), help="What if every line had this speed.")
@click.option(
    "--latency",
    type=click.FloatRange(0, 60),
    help="What if every meter began its answers after so many seconds. Default: what its model was timed at, else what its profile declares.",
)
@click.option(
    "--failures", type=click.FloatRange(0, 90), default=0.0, show_default=True, help="Percentage of attempts that fail."
)
@output_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    file: io.BufferedReader | None,
    wanted: tuple[str, ...],
    night: Night | None,
    days: int | None,
    period: int | None,
    baud: int | None,
    latency: float | None,
    failures: float,
    format_name: str,
) -> int:
    """Say what each link needs of its time, how late its last meter is polled, and what back-fill takes. Reads no meter.

    Works before anything is deployed: on the registered meters, or on a table of them. Exit codes: 8 a link does not fit, 3
    something cannot be computed, 5 the table is faulty.
    """
    app = App.of(ctx, format_name)
    what_if = WhatIf(baud, period, latency, failures / 100)
    days = app.settings.collect.backfill_days if days is None else days
    day = reference_day(app.settings.collect, app.now())
    text = None if file is None else read_text(file)
    parsed = None if text is None else table.parse(text, app.profiles, app.calendars.tariffs)
    if file is not None and parsed is not None and parsed.faults:
        emit_faults(app, file.name, parsed.faults)
        return Exit.CONFIG
    found: list[tuple[LinkForecast, tuple[str, ...]]] = []
    with _registry(app, None if parsed is None else parsed.rows) as reader:
        meters, links = load_meters(reader, app.profiles)
        profiles, latencies = _learned(app, reader)
        chosen = {number: url for number, url in links.items() if not wanted or any(part in url for part in wanted)}
        if wanted and not chosen:
            raise Failure(f"no link holds {', '.join(wanted)}; headend meter list shows the links", Exit.USAGE)
        kept = {} if latency is not None else _kept(reader)
        if latency is not None:
            latencies = dict.fromkeys(app.profiles, latency)
        forecaster = Forecaster(Assumptions(app.settings.collect, COSTS, latencies, what_if.failures, period), day)
        by_link: dict[int, list[Meter]] = {}
        for meter in meters:
            known = None if meter.profile is None else profiles[meter.profile.name]
            by_link.setdefault(meter.device.link_id, []).append(replace(meter, profile=known))
        for number, url in sorted(chosen.items(), key=lambda item: item[1]):
            if of_link := by_link.get(number):
                here = forecaster.other(latencies=latencies | kept[url]) if url in kept else forecaster
                forecast = here.link(url, medium_of(url, baud), of_link, days=days, night=night)
                found.append((forecast, advise(here, forecast, of_link)))
    if not meters:
        app.output.say(NO_METERS)
    _emit(app, found, night, {"at": instant(app.now()), "day": instant(day)})
    _say(app, found, {url: latencies | kept.get(url, {}) for url in chosen.values()})
    verdicts = {forecast.verdict for forecast, _ in found}
    if Verdict.DOES_NOT_FIT in verdicts:
        return Exit.CHECK_FAILED
    return Exit.PARTIAL if Verdict.NOT_COMPUTED in verdicts else Exit.OK


def medium_of(url: str, baud: int | None = None) -> Medium:
    """Say what a link's URL tells of its line. ``baud``: instead of its own speed. [bit/s]"""
    try:
        link = parse_url(url)
    except ValueError:
        return Medium()  # a broker or a call: meters there speak first
    form: Form | None = None if isinstance(link, UdpUrl | MemoryUrl) else link.form
    if form is None:
        return Medium()
    has_parity = isinstance(link, SerialUrl) and link.parity != "N"
    return Medium(baud or form.baud, form.bits_per_character, has_parity)


@contextmanager
def _registry(app: App, rows: Sequence[table.MeterRow] | None) -> Iterator[StoreReader]:
    if rows is None:
        with app.reader() as reader:
            yield reader
        return
    with app.scratch() as store:
        try:
            table.apply(store, rows)
        except RegistryError as error:
            raise Failure(str(error), Exit.CONFIG) from error
        yield store


def _learned(app: App, reader: StoreReader) -> tuple[Mapping[str, MeterProfile], dict[str, float]]:
    """Give all profiles with what their meters taught us, and the latencies that are known. [s]"""
    profiles, latencies = dict(app.profiles), dict[str, float]()
    for name, profile in app.profiles.items():
        if profile.modbus is not None:
            entry = reader.metadata(kind_of(profile))
            profiles[name], latency = with_learned(profile, entry, app.now())
            if latency is not None:
                latencies[name] = latency
    return profiles, latencies


def _kept(reader: StoreReader) -> dict[str, dict[str, float]]:
    """Give, by link and model, the time in which 99 of 100 answers began, where enough were heard. [s]"""
    found: dict[str, dict[str, float]] = {}
    for link, entry in reader.latencies():
        for name, latency in decode_latencies(entry).items():
            if name.startswith(MODEL) and latency.is_known:
                found.setdefault(link, {})[name.removeprefix(MODEL)] = latency.percentile()
    return found


def _emit(
    app: App, found: Sequence[tuple[LinkForecast, tuple[str, ...]]], night: Night | None, summary: Mapping[str, object]
) -> None:
    rows = [_row(forecast, advice, night) for forecast, advice in found]
    empty = {
        key for key in ("last_poll_s", "tolerance_s", "backfill_text", "baud") if not any(row[key] for row in rows)
    }
    app.output.emit(Document("headend.plan/1", COLUMNS, rows, summary, hidden=HIDDEN | empty))


def _row(forecast: LinkForecast, advice: tuple[str, ...], night: Night | None) -> Mapping[str, object]:
    backfill = forecast.backfill
    return {
        "link": forecast.link,
        "meters": forecast.meters,
        "baud": forecast.medium.bits_per_second,
        "load_percent": _tenths(100 * forecast.load),
        "waiting_percent": _tenths(100 * forecast.waiting),
        "octets_a_day": forecast.octets,
        "seconds_a_day": {kind: _tenths(seconds) for kind, seconds in sorted(forecast.by_kind.items())},
        "last_poll_s": _tenths(forecast.worst_boundary),
        "tolerance_s": forecast.tolerance,
        "late_polls": forecast.late,
        "missed_jobs": forecast.missed,
        "consumers": {f"{one.profile} ({one.meters})": _tenths(100 * one.share) for one in forecast.biggest[:3]},
        "backfill_text": None if backfill is None else backfill_text(backfill, night),
        "backfill_days": None if backfill is None else backfill.days,
        "backfill_s": None if backfill is None else _tenths(backfill.seconds),
        "backfill_nights": None if backfill is None else backfill.nights,
        "backfill_last_poll_s": None if backfill is None else _tenths(backfill.worst_boundary),
        "not_computed": dict(forecast.uncounted),
        "verdict": str(forecast.verdict),
        "says": sentence(forecast),
        "advice": list(advice),
    }


def backfill_text(backfill: Backfill, night: Night | None) -> str:
    """Say how long back-fill takes."""
    what = f"{counted(backfill.days, 'day')} for {counted(backfill.meters, 'meter')}"
    if backfill.nights is None:
        return f"{what}: never, no time is left"
    return f"{what}: {counted(backfill.nights, 'night' if night else 'day')}"


def _say(
    app: App, found: Sequence[tuple[LinkForecast, tuple[str, ...]]], latencies: Mapping[str, Mapping[str, float]]
) -> None:
    """Say in sentences what a table has no room for."""
    for forecast, advice in found:
        if advice or forecast.verdict is Verdict.DOES_NOT_FIT:
            app.output.say(f"{forecast.link}: {sentence(forecast)}" + (f"; {', or '.join(advice)}" if advice else ""))
        for why, count in forecast.uncounted.items():
            app.output.warn(f"{forecast.link}: not computed for {counted(count, 'meter')}: {why}")
        if forecast.pushing:
            app.output.say(f"{forecast.link}: not counted, as they speak first: {counted(forecast.pushing, 'meter')}")
        if forecast.load and forecast.medium.bits_per_second is None:
            app.output.say(
                f"{forecast.link}: no speed is known, so only waiting is counted; of a line behind it say ?baud=9600"
            )
        unknown = [one.profile for one in forecast.biggest if one.profile not in latencies.get(forecast.link, {})]
        if unknown and forecast.waiting > MOSTLY * forecast.load:
            app.output.say(
                f"{forecast.link}: most of it is waiting for answers, as long as {', '.join(unknown)} may take by profile;"
                " if they are faster, say so with --latency"
            )
        backfill = forecast.backfill
        if backfill and backfill.worst_boundary and forecast.tolerance and backfill.worst_boundary > forecast.tolerance:
            app.output.say(
                f"{forecast.link}: while {duration(backfill.days * DAY)} are fetched again, the last meter is polled"
                f" {_tenths(backfill.worst_boundary)} s after its boundary; {forecast.tolerance} s are tolerated"
            )


def _tenths(figure: float | None) -> Decimal | None:
    """Round up to 0.1, so that what is not nothing does not look like it."""
    return None if figure is None else Decimal(str(float(figure))).quantize(Decimal("0.1"), ROUND_CEILING)
