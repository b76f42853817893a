"""End to end on a pseudo-terminal paced to the speed of a line, and through the collector into the store."""

import asyncio
import random
import time
from dataclasses import replace

import pytest

from drivers.contract import Endpoint
from drivers.dlt645.driver import open_session
from drivers.errors import RemoteProtocolError
from drivers.obis import resolve
from drivers.profile import TimingProfile
from drivers.transports import open_transport
from kernels.quality import Rule
from simulators.clock import WorldClock
from simulators.faults import LineDeed, LineFault
from simulators.line import Line
from tests.drivers.dlt645.line import LOAD, NOW, PERIOD, START, bus, context, meter, profile
from tests.drivers.dlt645.test_driver import ENERGY_NOW

IMPORT = resolve("active_energy_import")


async def test_meters_on_a_paced_line_are_read_to_the_last_digit_though_one_answers_wrongly() -> None:
    """A pseudo-terminal carries no parity, so what parity does is not proved here."""
    line_bus = bus(meter(1001), meter(1002, LineFault(LineDeed.OTHER_ADDRESS, times=1)), meter(1003))
    line = Line(line_bus, WorldClock(NOW, 1.0, time.monotonic), baud=9600, bits_per_character=11)
    meant = replace(profile(), timing=TimingProfile(latency=0.2, turnaround=0.02))
    with line.opened() as path:
        running = asyncio.create_task(line.run())
        stream = await open_transport(f"serial://{path}?baud=9600&parity=E")
        try:
            for serial in (1001, 1002, 1003):
                end = Endpoint(f"SIM:{serial:012d}", str(serial), meant)
                async with open_session(stream, end, context()) as session:
                    if serial == 1002:
                        with pytest.raises(RemoteProtocolError):
                            await session.read_identity()
                    identity = await session.read_identity()
                    (value,) = await session.read_registers([IMPORT])
                    block, *_ = await session.read_load_profile(START + 48 * PERIOD, START + 54 * PERIOD)
                assert identity.name == end.name
                assert (value.count, value.rules) == (ENERGY_NOW, Rule(0))
                assert block.counts == tuple(wh // 10 for wh in LOAD[48:54])  # type: ignore[union-attr]
        finally:
            await stream.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert line.count.collisions == 0


async def test_bit_errors_never_make_a_value_where_parity_is_marked() -> None:
    """Single and double bit errors in answers, told as the kernel marks them: an odd number of wrong bits in a byte is seen."""
    from drivers.dlt645.frame import Frame, FrameReader
    from tests.drivers.dlt645.cases import events

    chance = random.Random(645)
    clean = Frame("000000001001", 0x91, bytes.fromhex("0000010056341200"))
    octets = clean.encode(4)
    wrong = seen = 0
    for _ in range(20_000):
        spoilt = bytearray(octets)
        for _ in range(chance.choice((1, 2, 2, 3))):
            spoilt[chance.randrange(4, len(octets))] ^= 1 << chance.randrange(8)
        reader, found = FrameReader(), []
        for was, octet in zip(octets, spoilt, strict=True):
            if (was ^ octet).bit_count() % 2:
                reader.receive_damage()
            else:
                found += events(reader, bytes((octet,)))
        found += events(reader, b"")
        seen += bytes(spoilt) != octets
        wrong += any(isinstance(event, Frame) and event != clean for event in found)
    assert seen > 15_000
    assert wrong == 0
