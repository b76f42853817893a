"""What a finished job leaves in the store: its facts, its record, and a cause for every slot that stays empty.

Each function runs within one transaction of the writer, so that a reading, the ledger's new state and the record of the
job that brought it stand or fall together.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from drivers.errors import SecurityError, WrongMeter
from drivers.facts import ClockReading, IntervalBlock, RegisterValue, UtcSeconds
from drivers.obis import Obis, register_of
from drivers.profile import ChannelProfile
from headend.collect.intervals import Derived, derive
from headend.collect.job import Job, Mark, RoundSummary, Span
from headend.collect.schedule import Meter
from headend.collect.visit import Answer
from headend.registry.model import ChannelExpectation, overlap
from headend.store.model import MeterReading, Recorded
from headend.store.rawwrites import LAST_INSTANT, told_causes
from headend.store.recording import Steps
from headend.store.store import Store
from kernels.quality import Reason, Rule, State

LOOK_BACK = 4
"""Periods before a slot whose register readings help to decide what to believe."""


@dataclass(frozen=True, slots=True)
class _Oddity:
    """Something to be told once. ``kind``: of the event."""

    kind: str
    at: UtcSeconds
    text: str


def settle_answer(
    store: Store,
    meter: Meter,
    job: Job,
    answer: Answer,
    *,
    cause: Reason = Reason.NONE,
    started: UtcSeconds,
    ended: UtcSeconds,
    tell_clock: bool,
) -> Steps[RoundSummary]:
    """Store what a meter said, as a `Recording`'s steps: facts, then a cause for each slot of the job it said nothing of.

    ``cause``: of what is missing of an answer that was cut.  ``tell_clock``: a wrong clock makes an event; False while it
    has been told already.
    """
    device = meter.device
    detail = str(answer.cut or answer.shortfall or "")
    run_id = store.record_job(device.id, job.kind, started, ended, cause=cause, detail=detail, window=job.window)
    clock_fault = describe_clock_fault(meter, answer.clock)
    oddities = [_Oddity("clock", ended, clock_fault)] if clock_fault and tell_clock else []
    blocks, unfit = _fit_blocks(meter, job, answer, oddities)
    if clock_fault:
        blocks = [_doubted(store, meter, block) for block in blocks]
    registers = [item for item in answer.registers if _is_dated(item, oddities, ended)]
    recorded = yield MeterReading(device.id, [*registers, *blocks], ended, run_id)
    unreadable, told, had = _unreadable(answer, oddities), _told(blocks), _by_channel(blocks)
    marks: list[Mark] = []
    for span in job.spans:
        entry = _entry(meter, span)
        if entry is not None and entry.origin == "register":
            derived = _derive(store, meter, entry, span, oddities)
            if derived is not None and _has_any(derived.block):
                recorded += yield MeterReading(device.id, [derived.block], ended, run_id)
            marks += _unmade(store, meter, span, derived)
        elif span.obis in unfit:
            marks.append(Mark(device.id, span.obis, span.start, span.end, Reason.SET_ASIDE))
        else:
            said, unsaid = _divided(span, answer.rest)
            marks += [Mark(device.id, one.obis, one.start, one.end, cause) for one in unsaid]
            for one in said:
                if not _is_had(one, had.get(one.obis, ())):
                    marks += _not_had(device.id, one, unreadable, told)
    # Slots that have a value by now are left alone by the store, so what remains is what the meter did not have.
    marked = _mark(store, marks, run_id)
    for oddity in oddities:
        store.add_event(device.id, oddity.kind, 0, oddity.at, oddity.text, received_at=ended)
    summary = _summary(recorded, marked)
    return summary if cause is Reason.NONE else replace(summary, ok=0, failed={cause: 1})


def settle_failure(
    store: Store,
    meter: Meter,
    job: Job,
    error: Exception,
    *,
    cause: Reason,
    started: UtcSeconds,
    ended: UtcSeconds,
    tell: bool,
) -> RoundSummary:
    """Record a job that failed, and give its slots the cause. Nothing the meter said is kept.

    ``tell``: a wrong meter or a breach of security makes an event; False while the outage has been told already.
    """
    detail = str(error) or type(error).__name__
    run_id = store.record_job(meter.device.id, job.kind, started, ended, cause=cause, detail=detail, window=job.window)
    if tell and isinstance(error, WrongMeter | SecurityError):
        kind = "wrong_meter" if isinstance(error, WrongMeter) else "security"
        store.add_event(meter.device.id, kind, 0, ended, detail, received_at=ended)
    marks = [Mark(meter.device.id, span.obis, span.start, span.end, cause) for span in job.spans]
    return replace(_summary(Recorded(), _mark(store, marks, run_id)), ok=0, failed={cause: 1})


def settle_untried(store: Store, job: Job, cause: Reason) -> RoundSummary:
    """Give slots that nobody has tried yet the cause for which the line was not used."""
    marks = [Mark(job.device.id, span.obis, span.start, span.end, cause) for span in job.spans if span.is_untried]
    return replace(_summary(Recorded(), _mark(store, marks, None)), ok=0, failed={cause: 1})


def settle_marks(store: Store, marks: Iterable[Mark]) -> RoundSummary:
    """Give slots a cause the planner knew without asking."""
    return replace(_summary(Recorded(), _mark(store, marks, None)), jobs=0, ok=0)


def _is_dated(reading: RegisterValue, oddities: list[_Oddity], now: UtcSeconds) -> bool:
    """Say whether a register's instant can be stored; a meter without a clock may stamp 1960."""
    if 0 <= reading.captured_at < LAST_INSTANT:
        return True
    oddities.append(_Oddity("register", now, f"{reading.obis}: stamped {reading.captured_at} s from 1970; not stored"))
    return False


def _mark(store: Store, marks: Iterable[Mark], run_id: int | None) -> int:
    return sum(
        store.mark_all_missing(end_device_id, [(mark.obis, mark.start, mark.end, mark.cause) for mark in run], run_id)
        for end_device_id, run in groupby(marks, key=lambda mark: mark.end_device_id)
    )


def _summary(recorded: Recorded, marked: int) -> RoundSummary:
    return RoundSummary(1, 1, {}, recorded.new, recorded.same, recorded.conflicts, marked)


def _entry(meter: Meter, span: Span) -> ChannelExpectation | None:
    """Find the expectation that a span of slots comes from; None where the registry has dropped it meanwhile."""
    for item in meter.expectations:
        if item.obis == span.obis and overlap(span.start, span.end, item.start, item.end):
            return item
    return None


def _has_any(block: IntervalBlock) -> bool:
    return any(count is not None for count in block.counts)


def describe_clock_fault(meter: Meter, clock: ClockReading | None) -> str:
    """Say in words what is wrong with a meter's clock; empty where nothing is known to be."""
    assert meter.profile is not None
    if clock is None:
        return ""
    if clock.is_invalid:
        return "the meter itself says that its clock is invalid"
    if abs(clock.offset) > meter.profile.clock.tolerance:
        return f"the meter's clock is {abs(clock.offset)} s {'ahead of' if clock.offset > 0 else 'behind'} ours"
    return ""


def _fit_blocks(
    meter: Meter, job: Job, answer: Answer, oddities: list[_Oddity]
) -> tuple[list[IntervalBlock], set[Obis]]:
    """Give the blocks as the ledger's grid takes them, and the channels of those that do not fit it."""
    fitting: list[IntervalBlock] = []
    unfit: set[Obis] = set()
    for block in answer.blocks:
        entries = [
            item
            for item in meter.expectations
            if item.obis == block.obis and overlap(block.start, block.end, item.start, item.end)
        ]
        try:
            pieces = [_fit(block, item, job) for item in entries] or [block]
        except ValueError as error:
            unfit.add(block.obis)
            oddities.append(_Oddity("unfit_channel", block.start - block.start % 86_400, f"{block.obis}: {error}"))
            continue
        fitting += [piece for piece in pieces if _has_any(piece) or any(told_causes(piece))]
    return fitting, unfit


def _unreadable(answer: Answer, oddities: list[_Oddity]) -> set[tuple[Obis, UtcSeconds]]:
    """Find the slots for which the meter has a row that holds no count."""
    found: set[tuple[Obis, UtcSeconds]] = set()
    for block in answer.blocks:
        slots = [
            block.start + index * block.period
            for index, (count, rule) in enumerate(zip(block.counts, block.rules, strict=False))
            if count is None and rule & Rule.RANGE
        ]
        if slots:
            text = f"{block.obis}: {len(slots)} rows from {slots[0]} s on hold no count of {block.scaler_unit}"
            oddities.append(_Oddity("unreadable_rows", slots[0], text))
            found.update((block.obis, slot) for slot in slots)
    return found


def _divided(span: Span, rest: tuple[UtcSeconds, UtcSeconds] | None) -> tuple[list[Span], list[Span]]:
    """Divide a span into slots wholly outside ``rest`` [s UTC], and those that touch it."""
    if rest is None:
        return [span], []
    first, last = rest
    first = min(span.end, max(span.start, first - (first - span.start) % span.period))
    last = min(span.end, max(first, last + (span.start - last) % span.period))
    said = [replace(span, end=first), replace(span, start=last)]
    return [one for one in said if one.start < one.end], [replace(span, start=first, end=last)] if first < last else []


def _told(blocks: Iterable[IntervalBlock]) -> set[tuple[Obis, UtcSeconds]]:
    """Find the slots of which the meter itself says why they have no value; they were marked as they were stored."""
    return {
        (block.obis, slot)
        for block in blocks
        for start, end, _ in told_causes(block)
        for slot in range(start, end, block.period)
    }


def _by_channel(blocks: Iterable[IntervalBlock]) -> dict[Obis, list[IntervalBlock]]:
    found: dict[Obis, list[IntervalBlock]] = {}
    for block in blocks:
        found.setdefault(block.obis, []).append(block)
    return found


def _is_had(span: Span, blocks: Iterable[IntervalBlock]) -> bool:
    """Say whether one of a channel's blocks has a count for each slot of a span."""
    return any(
        block.start <= span.start
        and span.end <= block.end
        and None
        not in block.counts[(span.start - block.start) // block.period : (span.end - block.start) // block.period]
        for block in blocks
    )


def _not_had(
    end_device_id: int,
    span: Span,
    unreadable: Collection[tuple[Obis, UtcSeconds]],
    told: Collection[tuple[Obis, UtcSeconds]],
) -> Iterator[Mark]:
    """Say why slots of a load profile that was read have no value: no row, or one that was set aside."""
    if not unreadable and not told:
        yield Mark(end_device_id, span.obis, span.start, span.end, Reason.NO_ROW)
        return

    def cause_of(slot: UtcSeconds) -> Reason | None:
        if (span.obis, slot) in told:
            return None
        return Reason.SET_ASIDE if (span.obis, slot) in unreadable else Reason.NO_ROW

    for cause, run in groupby(range(span.start, span.end, span.period), key=cause_of):
        slots = list(run)
        if cause is not None:
            yield Mark(end_device_id, span.obis, slots[0], slots[-1] + span.period, cause)


def _fit(block: IntervalBlock, entry: ChannelExpectation, job: Job) -> IntervalBlock:
    """Cut a block to the job's window and the expectation's dates, in the expectation's scaler. Raises `ValueError`."""
    if block.period != entry.period or (block.start - entry.offset) % entry.period:
        raise ValueError(
            f"the meter records every {block.period} s from {block.start % 86_400} s, expected is every {entry.period} s"
            f" from {entry.offset} s; correct the meter's profile"
        )
    first = max(block.start, job.start, entry.start)
    last = min(block.end, job.end) if entry.end is None else min(block.end, job.end, entry.end)
    is_whole = first == block.start and last == block.end
    if is_whole and block.scaler_unit == entry.scaler_unit and not block.status:
        return block
    cut = slice(max(0, -((block.start - first) // block.period)), max(0, -((block.start - last) // block.period)))
    counts = block.counts[cut]
    if block.scaler_unit != entry.scaler_unit:
        counts = tuple(
            None if count is None else block.scaler_unit.rescale(count, entry.scaler_unit) for count in counts
        )
    start = block.start + cut.start * block.period
    end = start + block.period * len(counts)
    status = tuple(
        replace(said, start=max(said.start, start), end=min(said.end, end))
        for said in block.status
        if said.start < end and said.end > start
    )
    return IntervalBlock(block.obis, entry.scaler_unit, start, block.period, counts, block.rules[cut], status)


def _doubted(store: Store, meter: Meter, block: IntervalBlock) -> IntervalBlock:
    """Note on every interval that is new that the meter's clock, and so its stamp, is wrong.

    What is stored already was stamped before the clock went wrong: reading it again is no reason to doubt it.
    """
    held: set[UtcSeconds] = set()
    if any(item.obis == block.obis for item in meter.expectations):
        stored = store.raw_series(meter.device.id, block.obis, block.start, block.end)
        held = {stored.start + index * stored.period for index in stored.has_value.nonzero()[0].tolist()}
    rules = block.rules or (Rule(0),) * len(block.counts)
    starts = range(block.start, block.end, block.period)
    doubt = Rule.METER_STATUS | Rule.CLOCK_DRIFT
    doubted = (rule if at in held else rule | doubt for at, rule in zip(starts, rules, strict=True))
    return replace(block, rules=tuple(doubted))


def _derive(
    store: Store, meter: Meter, entry: ChannelExpectation, span: Span, oddities: list[_Oddity]
) -> Derived | None:
    """Make the intervals of ``span`` from stored registers; None, and an oddity, where the model does not say how."""
    try:
        channel = _channel(meter, entry)
        derived = derive(channel, _readings(store, meter, channel, span), span.start, span.end)
    except ValueError as error:
        oddities.append(_Oddity("unfit_channel", span.start - span.start % 86_400, str(error)))
        return None
    # Earlier ones were told when they were noticed.
    oddities += [
        _Oddity("register", item.noticed_at, f"{item.reading.obis}: {item.what}")
        for item in derived.rejected
        if item.noticed_at >= span.end
    ]
    return derived


def _channel(meter: Meter, entry: ChannelExpectation) -> ChannelProfile:
    """Find how the model describes a channel made from polls. Raises `ValueError` where it no longer does."""
    assert meter.profile is not None
    for item in meter.profile.channels:
        if (item.obis, item.period, item.scaler_unit) == (entry.obis, entry.period, entry.scaler_unit):
            return item
    raise ValueError(f"{entry.obis}: profile {meter.profile.name} describes it differently; import the meter again")


def _readings(store: Store, meter: Meter, channel: ChannelProfile, span: Span) -> list[RegisterValue]:
    """List the registers that decide about ``span``; nothing later, so that a slot settles the same way at any time."""
    obis = register_of(channel.obis)
    since, until = span.start - LOOK_BACK * channel.period, span.end + channel.period
    earlier = store.last_register(meter.device.id, obis, since)
    return [*([] if earlier is None else [earlier]), *store.registers(meter.device.id, obis, since, until)]


def _unmade(store: Store, meter: Meter, span: Span, derived: Derived | None) -> Iterator[Mark]:
    """Say why slots could not be made from registers, though the meter answered this time."""
    number = meter.device.id
    if derived is None:
        yield Mark(number, span.obis, span.start, span.end, Reason.SET_ASIDE)
        return
    for slot, count in zip(range(span.start, span.end, span.period), derived.block.counts, strict=True):
        if count is not None:
            continue
        if slot in derived.doubted:
            cause = Reason.SET_ASIDE
        elif slot in derived.opened:
            cause = Reason.NO_LINE_TIME  # the poll at the slot's end came too late to be exact
        else:
            # The poll at the slot's start failed, for the reason that the slot before it carries.
            before = store.raw_series(number, span.obis, slot - span.period, slot)
            is_known = len(before) == 1 and before.state[0] == State.MISSING
            cause = Reason(int(before.reason[0])) if is_known else Reason.GATEWAY_DOWN
        yield Mark(number, span.obis, slot, slot + span.period, cause)
