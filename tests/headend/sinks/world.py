"""A store that goes on changing, a journal without threads, and what a server must hold in the end, said without a kernel."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import numpy as np

from drivers.facts import IntervalBlock, RegisterValue
from drivers.obis import Obis, by_obis
from drivers.units import ScalerUnit, Unit
from headend.registry.model import DAY, ChannelExpectation, Installation
from headend.series import Series
from headend.sinks.journal import StoreJournal
from headend.sinks.window import Form, read_window
from headend.store.model import Layer, VeeRun
from headend.store.place import Place
from headend.store.reader import StoreReader
from headend.store.store import Store
from kernels.quality import HAS_VALUE, Reason, Rule, State
from tests.headend.sinks.fake_influx import Key

NOW = 1_700_000_000
FIRST_DAY = NOW // DAY - 3
DAYS = 3
METERS = ("SIM:1", "SIM=2, north side")
POINTS = ("UP1", "UP 2")
ENERGY = Obis(1, 0, 1, 29, 0)
VOLTAGE = Obis(1, 0, 32, 7, 3)
REGISTER = Obis(1, 0, 1, 8, 0)
UNITS = {ENERGY: ScalerUnit(0, Unit.WATT_HOUR), VOLTAGE: ScalerUnit(-1, Unit.VOLT)}
KILO = ScalerUnit(3, Unit.WATT_HOUR)
ALL = frozenset({Layer.RAW, Layer.VALIDATED, Layer.REGISTER, Layer.EVENT})

Expected = dict[Key, dict[str, Decimal | str]]


def make_store(place: Place, period: int = 21_600) -> None:
    """Two meters at two usage points, two channels each."""
    with Store.open(place, lambda: NOW) as store, store.transaction():
        link = store.put_link("memory://one")
        for number, (name, home) in enumerate(zip(METERS, POINTS, strict=True), 1):
            meter, _ = store.put_end_device(name, "sim", link, str(number))
            point, _ = store.put_usage_point(home, "UTC")
            store.put_installation(Installation(point.id, meter.id, FIRST_DAY * DAY))
            store.put_expectations(
                meter.id,
                FIRST_DAY * DAY,
                [
                    ChannelExpectation(meter.id, obis, period, 0, unit, "load_profile", FIRST_DAY * DAY)
                    for obis, unit in UNITS.items()
                ],
            )


def change(store: Store, random: Random, period: int = 21_600) -> None:
    """Make one change of any kind, in one transaction."""
    number, day = random.randint(1, len(METERS)), FIRST_DAY + random.randrange(DAYS)
    obis, slots = random.choice(list(UNITS)), DAY // period
    with store.transaction():
        match random.randrange(6):
            case 0 | 1:
                first = random.randrange(slots)
                counts = tuple(random.choice([None, random.randrange(-50, 3_000)]) for _ in range(slots - first))
                rules = tuple(random.choice([Rule(0), Rule(0), Rule.METER_STATUS]) for _ in counts)
                start = day * DAY + first * period
                store.record(number, [IntervalBlock(obis, UNITS[obis], start, period, counts, rules)], NOW)
            case 2:
                store.mark_missing(
                    number, obis, day * DAY, (day + 1) * DAY, random.choice([Reason.NO_ANSWER, Reason.NO_ROW])
                )
            case 3:
                series = Series.empty(day * DAY, period, UNITS[obis], slots, State.MISSING)
                series.values[:] = np.array([random.randrange(2**31) for _ in range(slots)], np.int32)
                series.state[:] = random.choices(
                    [State.MEASURED, State.ESTIMATED, State.EDITED, State.MISSING], k=slots
                )
                store.write_validated(number, obis, day, series, VeeRun("test 1", NOW))
            case 4:
                at, count = day * DAY + random.randrange(DAY), random.choice([0, random.randrange(10**14), 10**15 + 1])
                store.record(number, [RegisterValue(REGISTER, count, KILO, at, random.randrange(3))], NOW)
            case _:
                text = random.choice(["door opened", 'magnet, "strong"', "C:\\meter"])
                store.add_event(number or None, "meter", random.randrange(9), day * DAY, text, NOW)


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def journal(name: str, store: Store, form: Form, most_lines: int) -> StoreJournal:
    """A journal on the writer itself, without threads, so that virtual time holds."""

    async def submit(work: Callable[[Store], Any]) -> Any:
        with store.transaction():
            return work(store)

    return StoreJournal(name, store, submit, partial(read_window, form=form, most_lines=most_lines), call=at_once)


def expected(reader: StoreReader, form: Form, days: range = range(FIRST_DAY, FIRST_DAY + DAYS)) -> Expected:
    """Say what a server must hold of the store as it stands, value by value in `Decimal`."""
    found: Expected = {}
    for number, (meter, point) in enumerate(zip(METERS, POINTS, strict=True), 1):
        for day in days:
            for obis, unit in UNITS.items():
                tags = {"channel": _name(obis), "unit": unit.unit.symbol}
                raw = reader.raw_series(number, obis, day * DAY, (day + 1) * DAY)
                _put_series(found, "meter_interval", {"meter": meter, **tags}, raw, form)
                if versions := reader.versions(number, obis, day):
                    series = reader.validated_version(number, obis, day)
                    if not form.replaces:
                        tags["version"] = str(versions[-1].version)
                    _put_series(found, "usage_point_interval", {"usage_point": point, **tags}, series, form)
            for value in reader.registers(number, REGISTER, day * DAY, (day + 1) * DAY):
                if len(str(value.count).rstrip("0")) <= 15:
                    tags = {"meter": meter, "channel": _name(REGISTER), "unit": "Wh"}
                    found["meter_register", frozenset(tags.items()), value.captured_at] = {
                        "value": value.value, "uncertainty": Decimal(value.uncertainty), "rules": Decimal(0),
                    }  # fmt: skip
    for event in reader.events():
        key = {"meter": METERS[event.end_device_id - 1]} if event.end_device_id else {}
        names = frozenset({**key, "kind": event.kind, "code": str(event.code)}.items())
        fields = found.setdefault(("meter_event", names, event.at), {"value": Decimal(1)})
        if form.replaces:
            fields["text"] = f"{fields['text']}; {event.text}" if "text" in fields else event.text
    return found


def _put_series(found: Expected, measurement: str, tags: dict[str, str], series: Series, form: Form) -> None:
    names = frozenset({**tags, "period": str(series.period)}.items())
    for index, state in enumerate(series.state.tolist()):
        fields: dict[str, Decimal | str] = {
            "state": Decimal(state),
            "reason": Decimal(int(series.reason[index])),
            "rules": Decimal(int(series.rules[index])),
        }
        if state in HAS_VALUE:
            fields["value"] = series.scaler_unit.to_decimal(int(series.values[index]))
        if not form.replaces and measurement == "meter_interval":
            fields = {name: value for name, value in fields.items() if name == "value"}
        if state in HAS_VALUE or (state == State.MISSING and form.replaces):
            found[measurement, names, series.start + index * series.period] = fields


def _name(obis: Obis) -> str:
    entry = by_obis(obis)
    return entry.name if entry else str(obis)
