"""Every frame cut at every byte: a clear error within bounds, and the next meter is read right. In virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from drivers.contract import Credentials, Endpoint, SessionContext
from drivers.counters import NoCounters
from drivers.errors import ConnectionLost, DriverError, MeterRefused
from drivers.iec62056.driver import Iec62056Session, open_session
from drivers.iec62056.message import Message
from drivers.obis import resolve
from drivers.transports import MemoryStream, null_modem
from tests.drivers.iec62056.cases import load_all
from tests.drivers.iec62056.line import profile
from tests.headend.collect import virtual

CASES = load_all()
READOUT = CASES["iskra-mt174"].frame
IDENTIFICATION, BLOCK = READOUT[: READOUT.index(2)], READOUT[READOUT.index(2) :]
OPERAND = CASES["iec62056-21-058"].frame
PROFILE = Message("", CASES["load-profile-emh-energy"].frame).encode()
ENERGY = resolve("active_energy_import")
BOUND = 60.0
"""Two calls, three times a readout at 9600 baud, each waited for in full. [s]"""
READING = profile(load_profile=None, level="none")
BY_ADDRESS = profile(opening="programming")
Talk = Callable[[Iec62056Session], Awaitable[object]]


async def read_readout(opened: Iec62056Session) -> object:
    return (await opened.read_registers([ENERGY]))[0].count


async def read_load_profile(opened: Iec62056Session) -> object:
    return await opened.read_load_profile(0, 86_400)


SCRIPTS: dict[str, tuple[list[bytes], int, Talk]] = {
    "identification": ([IDENTIFICATION, BLOCK], 0, read_readout),
    "readout": ([IDENTIFICATION, BLOCK], 1, read_readout),
    "operand": ([IDENTIFICATION, OPERAND, b"\x06", PROFILE], 1, read_load_profile),
    "load profile": ([IDENTIFICATION, OPERAND, b"\x06", PROFILE], 3, read_load_profile),
}


async def answer(far: MemoryStream, answers: list[bytes]) -> None:
    """Answer the first questions, then keep silent."""
    with suppress(ConnectionLost):
        for octets in answers:
            await far.read(1_000_000)
            await far.write(octets)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_frame_cut_anywhere_is_an_error_in_time_and_the_next_meter_is_read(name: str) -> None:
    answers, place, talk = SCRIPTS[name]

    async def one(stream: MemoryStream, far: MemoryStream, said: list[bytes], ask: Talk) -> object:
        playing = asyncio.create_task(answer(far, said))
        meant = BY_ADDRESS if ask is read_load_profile else READING
        context = SessionContext(lambda: 1_800_000_000, bytes, NoCounters())
        try:
            async with open_session(stream, Endpoint("m", "", meant, Credentials(b"00000000")), context) as opened:
                return await ask(opened)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    async def main() -> int:
        near, far = null_modem()
        for end in range(len(answers[place])):
            far.discard_input()
            begun = asyncio.get_running_loop().time()
            with pytest.raises(DriverError) as caught:
                await one(near, far, [*answers[:place], answers[place][:end]], talk)
            assert not isinstance(caught.value, MeterRefused), end
            assert str(caught.value)
            assert asyncio.get_running_loop().time() - begun < BOUND, end
            far.discard_input()
            assert await one(near, far, [IDENTIFICATION, BLOCK], read_readout) == 502_853, end
        return len(answers[place])

    assert virtual.run(main) == len(answers[place]) > 10
