"""Seeded work for a store that is going to crash, and what the store must hold after each step of it.

A step is one transaction. The account of the readings is kept here, beside the store and not by it.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from drivers.facts import Fact, IntervalBlock, MeterEvent, RegisterValue
from drivers.obis import Obis
from headend.registry.model import DAY, Installation
from headend.series import Series
from headend.settings import RetentionSettings
from headend.store.model import MeterReading, VeeRun
from headend.store.reader import StoreReader
from headend.store.retention import Kept
from headend.store.store import Store
from kernels.quality import Reason, State
from tests.headend.store.builders import EXPORT, FIRST_DAY, IMPORT, NOW, PERIOD, REGISTER, START, WH, block, expect

METERS = (1, 2, 3)
SLOTS = DAY // PERIOD

Slot = tuple[int, Obis, int]
"""Meter, channel and number of a half-hour after START."""
Step = Callable[[Store], object]


@dataclass(slots=True)
class Account:
    """What was handed in and taken: readings by slot, register counts by meter and instant."""

    readings: dict[Slot, int] = field(default_factory=dict)
    registers: dict[tuple[int, int], int] = field(default_factory=dict)

    def copy(self) -> "Account":
        return Account(dict(self.readings), dict(self.registers))


def register_meters(store: Store) -> None:
    """Register the meters, each at a usage point of its own, local ids 1 to 3."""
    link = store.put_link("memory://one")
    for number in METERS:
        meter, _ = store.put_end_device(f"SIM:{number}", "sim", link, str(number), serial=str(number))
        point, _ = store.put_usage_point(f"UP{number}", "UTC")
        store.put_installation(Installation(point.id, meter.id, START))
        expect(store, meter.id)


class Work:
    """An endless sequence of steps. ``account``: what a store holds that has done them all."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._next = dict.fromkeys(METERS, 0)
        self.account = Account()
        self._events = 0

    def steps(self) -> Iterator[Step]:
        """Give one step after the other; the account is that after the step given last."""
        yield register_meters
        kinds = [self._readings] * 6 + [
            self._again, self._contradiction, self._registers, self._event, self._missing, self._validated, self._cursor,
            self._counters, self._notes, self._retention,
        ]  # fmt: skip
        while True:
            yield self._dice.choice(kinds)()

    def _facts(self, meter: int, first: int, count: int) -> list[Fact]:
        facts: list[Fact] = []
        for code in (IMPORT, EXPORT):
            counts = [self._dice.randrange(10**6) for _ in range(count)]
            self.account.readings.update({(meter, code, first + n): value for n, value in enumerate(counts)})
            facts.append(block(first, counts, code))
        return facts

    def _readings(self) -> Step:
        """Record some half-hours of some meters together: readings, ledger and change log in one."""
        facts = {}
        for meter in self._dice.sample(METERS, self._dice.randint(1, len(METERS))):
            count = self._dice.choice((1, 2, 48))
            facts[meter] = self._facts(meter, self._next[meter], count)
            self._next[meter] += count
        return lambda store: store.record_all([MeterReading(meter, some, NOW) for meter, some in facts.items()])

    def _again(self) -> Step:
        """Record what is there already, as after a restart."""
        facts = facts_of(self.account)
        return lambda store: store.record_all([MeterReading(meter, some, NOW) for meter, some in facts.items()])

    def _contradiction(self) -> Step:
        """Record another value for a slot that has one: the first stays."""
        if not self.account.readings:
            return self._readings()
        (meter, code, slot), value = self._dice.choice(list(self.account.readings.items()))
        return lambda store: store.record(meter, [block(slot, [value + 1], code)], NOW)

    def _registers(self) -> Step:
        meter, at = self._dice.choice(METERS), START + self._dice.randrange(DAY)
        count = self.account.registers.setdefault((meter, at), self._dice.randrange(10**9))
        return lambda store: store.record(meter, [RegisterValue(REGISTER, count, WH, at)], NOW)

    def _event(self) -> Step:
        self._events += 1
        event = MeterEvent(self._events, START + self._events, "cover opened")
        return lambda store: store.record(self._dice.choice(METERS), [event], NOW)

    def _missing(self) -> Step:
        meter = self._dice.choice(METERS)
        first = START + self._next[meter] * PERIOD
        return lambda store: store.mark_missing(meter, IMPORT, first, first + 4 * PERIOD, Reason.NO_ANSWER)

    def _validated(self) -> Step:
        values = np.array([self._dice.randrange(10**6) for _ in range(SLOTS)], np.int32)
        series = Series.empty(START, PERIOD, WH, SLOTS)
        series.values[:], series.state[:] = values, State.MEASURED
        point, run = self._dice.choice(METERS), VeeRun("residential 1", NOW)
        return lambda store: store.write_validated(point, IMPORT, FIRST_DAY, series, run)

    def _cursor(self) -> Step:
        return lambda store: store.advance_cursor("influx", store.last_seq())

    def _counters(self) -> Step:
        noted = self._dice.randrange(10**6)
        return lambda store: (store.reserve_counter("ours/key", 256), store.note_counter("theirs/key", noted))

    def _retention(self) -> Step:
        """Drop the older half of what each meter has, with whatever else is as old, and give back some of the room."""
        day = FIRST_DAY + min(self._next.values()) // SLOTS // 2
        first = (day - FIRST_DAY) * SLOTS
        self.account.readings = {slot: value for slot, value in self.account.readings.items() if slot[2] >= first}
        policy = RetentionSettings(
            raw_days=35,
            validated_days=35,
            event_days=35,
            job_run_days=35,
            set_aside_days=35,
            change_days=35,
            sink_wait_days=0,
        )

        def step(store: Store) -> None:
            store.advance_cursor("vee", store.last_seq())
            store.raise_floors(store.plan_retention(policy, (day + 35) * DAY))
            for what in Kept:
                store.drop(store.doomed(what, policy.keep_sums, 10**6))
            store.give_back(3)

        return step

    def _notes(self) -> Step:
        number = self._dice.randrange(10**6)

        def step(store: Store) -> None:
            store.audit("anna", "test", f"{number}")
            store.set_aside("topic", b"%d" % number, "unreadable", NOW)
            store.record_job(1, "load_profile", NOW, NOW)
            store.quarantine_point("sink/influx", f"point {number}", "refused", 0)
            store.note_sink_trouble("sink/influx", "" if number % 2 else "no route")

        return step


def facts_of(account: Account) -> dict[int, list[IntervalBlock | RegisterValue]]:
    """Make the facts again that brought what an account holds, by meter."""
    facts: dict[int, list[IntervalBlock | RegisterValue]] = {}
    for meter in METERS:
        for code in (IMPORT, EXPORT):
            slots = [slot for number, obis, slot in account.readings if (number, obis) == (meter, code)]
            if slots:
                counts = [account.readings.get((meter, code, slot)) for slot in range(max(slots) + 1)]
                facts.setdefault(meter, []).append(block(0, counts, code))
    for (meter, at), count in account.registers.items():
        facts.setdefault(meter, []).append(RegisterValue(REGISTER, count, WH, at))
    return facts


def digest(store: StoreReader) -> bytes:
    """Make a fingerprint of every row of every table."""
    connection = store._connection
    found = hashlib.blake2b(digest_size=16)
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        found.update(repr((table, connection.execute(f'SELECT * FROM "{table}"').fetchall())).encode())
    return found.digest()
