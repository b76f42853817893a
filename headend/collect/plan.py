"""The planner: from expectations, ledger, job history and now to jobs, and to causes that need no asking. Pure.

What to ask follows from the ledger alone. A slot is asked for while it is due and has no value, unless asking again is
known to be vain: the meter said often enough that it has no such row, or refuses us and nothing has changed since.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from drivers.facts import UtcSeconds
from drivers.obis import Obis, register_of
from headend.collect.job import Job, JobKind, Mark, Priority, Span
from headend.collect.schedule import Meter, boundary_at, polled_boundary
from headend.registry.model import ChannelExpectation
from headend.series import Series
from headend.settings import CollectSettings
from headend.store.model import JobRun
from kernels.quality import Reason, State

DAY = 86_400
MERGE_GAP = 4 * 3_600
"""Holes closer than this are asked for in one window: a few rows too many cost less than another visit. [s]"""
PUSH_GRACE = 2 * 3_600
"""How long after its end a pushed slot may take to arrive before it counts as unanswered. [s]"""

BOUNDED = frozenset((Reason.NO_ROW, Reason.SET_ASIDE, Reason.CLOCK_MOVED))
"""Causes the meter's own answer gave: asked again, but only so often."""
PERMANENT = frozenset((Reason.WRONG_METER, Reason.REFUSED, Reason.SECURITY, Reason.COUNTER))
"""Causes that last until somebody acts: asked again once the meter has been read since."""
FINAL = frozenset((Reason.MEMORY_LOST, Reason.POWER_OFF))
"""Causes after which there is nothing to be had."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ledger:
    """A meter with its due slots and its history. ``series``: one per expectation, of `due_slots` since some instant.

    ``runs``: load-profile job runs since then, any order.
    """

    meter: Meter
    series: Sequence[tuple[ChannelExpectation, Series]]
    runs: Sequence[JobRun] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs to do, slots to mark without asking, and per end device the instant before which nothing is open any more."""

    jobs: tuple[Job, ...]
    marks: tuple[Mark, ...]
    settled: Mapping[int, UtcSeconds]


def plan(
    ledgers: Iterable[Ledger],
    settings: CollectSettings,
    now: UtcSeconds,
    busy: Collection[tuple[int, JobKind]] = (),
) -> Plan:
    """Say what to ask for on a tick of the profile schedule, and which slots are missing for a cause already known.

    ``busy``: work still on its way, not planned again.
    """
    jobs: list[Job] = []
    marks: list[Mark] = []
    settled: dict[int, UtcSeconds] = {}
    for ledger in ledgers:
        device = ledger.meter.device
        marks += _known_causes(ledger, settings, now)
        spans, open_since = _wanted_spans(ledger, settings, now)
        settled[device.id] = open_since
        if not ledger.meter.is_visited or (device.id, JobKind.LOAD_PROFILE) in busy:
            continue
        extra = _tick_registers(ledger.meter, now)
        windows = _windows(spans, settings.window_days * DAY)
        for index, within in enumerate(windows):
            start, end = min(span.start for span in within), max(span.end for span in within)
            priority = Priority.SCHEDULED if end > now - DAY else Priority.BACKFILL
            registers = extra if index == 0 else ()
            jobs.append(Job(device, JobKind.LOAD_PROFILE, priority, start, end, within, registers))
        if not windows and extra and (device.id, JobKind.REGISTERS) not in busy:
            jobs.append(Job(device, JobKind.REGISTERS, Priority.SCHEDULED, now, now, (), extra))
    return Plan(tuple(jobs), tuple(marks), settled)


def polls(
    meters: Iterable[Meter],
    settings: CollectSettings,
    since: UtcSeconds | None,
    now: UtcSeconds,
    busy: Collection[tuple[int, JobKind]] = (),
) -> list[Job]:
    """Give the register polls whose boundary plus ``register_delay`` lies within ``(since, now]``, one per meter."""
    jobs = []
    for meter in meters:
        if not meter.is_visited or (meter.device.id, JobKind.REGISTERS) in busy:
            continue
        spans: list[Span] = []
        registers: list[Obis] = []
        expires: list[UtcSeconds] = []
        for expectation in meter.expectations:
            if expectation.origin != "register":
                continue
            boundary = polled_boundary(expectation, settings.register_delay, since, now)
            if boundary is None:
                continue
            registers.append(register_of(expectation.obis))
            expires.append(boundary + expectation.period)
            slot = boundary - expectation.period
            if slot >= expectation.start and (expectation.end is None or slot < expectation.end):
                spans.append(Span(expectation.obis, expectation.period, slot, boundary, is_untried=True))
        if registers:
            start = min((span.start for span in spans), default=now)
            end = max((span.end for span in spans), default=now)
            unique = tuple(dict.fromkeys(registers))
            jobs.append(
                Job(meter.device, JobKind.REGISTERS, Priority.SCHEDULED, start, end, tuple(spans), unique, min(expires))
            )
    return jobs


def clock_checks(meters: Iterable[Meter], now: UtcSeconds, busy: Collection[tuple[int, JobKind]] = ()) -> list[Job]:
    """Give one clock comparison per meter whose protocol knows clocks."""
    return [
        Job(meter.device, JobKind.CLOCK, Priority.SCHEDULED, now, now)
        for meter in meters
        if meter.is_visited
        and meter.profile is not None
        and meter.profile.protocol in {"dlms", "dlt645", "iec62056"}
        and meter.is_in_place(now)
        and (meter.device.id, JobKind.CLOCK) not in busy
    ]


def _tick_registers(meter: Meter, now: UtcSeconds) -> tuple[Obis, ...]:
    """Registers of the model that no boundary poll reads anyway; none where the meter has been taken away."""
    assert meter.profile is not None
    if not meter.is_in_place(now):
        return ()
    polled = {register_of(item.obis) for item in meter.expectations if item.origin == "register"}
    return tuple(obis for obis in meter.profile.registers if obis not in polled)


def _known_causes(ledger: Ledger, settings: CollectSettings, now: UtcSeconds) -> Iterator[Mark]:
    """Name slots nobody tried whose cause needs no asking."""
    meter = ledger.meter
    for expectation, series in ledger.series:
        ends = _ends(series)
        untried = series.state == State.EXPECTED
        if meter.device.disabled:
            cause = Reason.DISABLED
        elif meter.profile is None:
            cause = Reason.NO_ROUTE
        elif expectation.origin == "push":
            cause = Reason.NO_ANSWER
            untried = untried & (ends + PUSH_GRACE <= now)
        elif expectation.origin == "register":
            # Its boundary was never polled, and by now the poll of the next one is due: nobody was there to ask.
            cause = Reason.GATEWAY_DOWN
            untried = untried & (ends + expectation.period + settings.register_delay <= now)
        else:
            continue
        for start, end in _runs(untried, series):
            yield Mark(meter.device.id, expectation.obis, start, end, cause)


def _wanted_spans(ledger: Ledger, settings: CollectSettings, now: UtcSeconds) -> tuple[tuple[Span, ...], UtcSeconds]:
    """Find the load-profile slots to ask for, oldest first, and the instant before which nothing is open."""
    spans: list[Span] = []
    # The slots that run now are open whether or not any slot before them is due.
    open_since = min((boundary_at(expectation, now) for expectation in ledger.meter.expectations), default=now)
    for expectation, series in ledger.series:
        untried = series.state == State.EXPECTED
        if expectation.origin == "load_profile":
            wanted, later = _wanted(series, ledger.runs, settings.no_row_retries)
            for mask, is_untried in ((wanted & untried, True), (wanted & ~untried, False)):
                spans += [
                    Span(expectation.obis, series.period, start, end, is_untried) for start, end in _runs(mask, series)
                ]
            pending = wanted | later
        else:
            pending = untried
        if pending.any():
            open_since = min(open_since, series.start + int(np.argmax(pending)) * series.period)
    return tuple(sorted(spans, key=lambda span: (span.start, span.obis))), open_since


def _wanted(series: Series, runs: Sequence[JobRun], no_row_retries: int) -> tuple[Bools, Bools]:
    """Say per slot whether to ask for it now, and whether it may have to be asked for later."""
    is_missing = series.state == State.MISSING
    answered, asked = np.zeros(len(series), np.int64), np.zeros(len(series), np.int64)
    failed_at = np.full(len(series), -1, np.int64)
    last_success = max((run.started_at for run in runs if run.succeeded), default=-1)
    for run in runs:
        if run.window is None:
            continue
        first, last = (_round_up(instant - series.start, series.period) for instant in run.window)
        cut = slice(max(0, first), max(0, last))
        asked[cut] += 1
        if run.succeeded:
            answered[cut] += 1
        else:
            failed_at[cut] = np.maximum(failed_at[cut], run.started_at)
    bounded = is_missing & _has_reason(series, BOUNDED)
    permanent = is_missing & _has_reason(series, PERMANENT)
    final = is_missing & _has_reason(series, FINAL)
    may_recover = permanent & (asked <= no_row_retries)
    wanted = (series.state == State.EXPECTED) | (is_missing & ~bounded & ~permanent & ~final)
    wanted |= bounded & (answered <= no_row_retries)
    wanted |= may_recover & (failed_at < last_success)
    return wanted, may_recover


def _round_up(offset: int, period: int) -> int:
    """Count the slots that start before ``offset`` [s]."""
    return -(-offset // period)


def _windows(spans: Iterable[Span], longest: int) -> list[tuple[Span, ...]]:
    """Group spans into windows of at most ``longest`` [s, whole days], newest first; long ones are cut at UTC midnights."""
    merged: list[list[UtcSeconds]] = []
    every = sorted(spans, key=lambda span: (span.start, span.end))
    for span in every:
        if merged and span.start - merged[-1][1] <= MERGE_GAP:
            merged[-1][1] = max(merged[-1][1], span.end)
        else:
            merged.append([span.start, span.end])
    windows = []
    for start, end in reversed(merged):
        until = end
        while until > start:
            since = max(start, _round_up(until - longest, DAY) * DAY)
            within = (clipped for span in every if (clipped := _clip(span, since, until)))
            if window := tuple(within):
                windows.append(window)
            until = since
    return windows


def _clip(span: Span, start: UtcSeconds, end: UtcSeconds) -> Span | None:
    """Keep the slots that start within ``[start, end)``."""
    first = span.start + max(0, _round_up(start - span.start, span.period)) * span.period
    last = min(span.end, span.start + max(0, _round_up(end - span.start, span.period)) * span.period)
    return replace(span, start=first, end=last) if first < last else None


def _has_reason(series: Series, reasons: Iterable[Reason]) -> Bools:
    return np.isin(series.reason, [int(reason) for reason in reasons])


def _ends(series: Series) -> npt.NDArray[np.int64]:
    return series.start + series.period * np.arange(1, len(series) + 1, dtype=np.int64)


def _runs(mask: Bools, series: Series) -> Iterator[tuple[UtcSeconds, UtcSeconds]]:
    """Give the maximal runs of marked slots as ``[start, end)``, oldest first."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield series.start + first * series.period, series.start + last * series.period
