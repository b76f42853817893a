"""A line of several settings: who hears whom, and what becomes of those who speak at once. In virtual time."""

import asyncio
import os
import random
import termios

import pytest

from drivers.errors import ConnectionLost, LineNoise, TransportTimeout
from drivers.transports.url import Form
from simulators.bridge import bridged
from simulators.line import Answer
from simulators.mixed import HostPort, MixedLine, Station
from tests.headend.collect.virtual import run

E24, N96 = Form(2_400, "E"), Form(9_600, "N")


def parrot(form: Form, said: bytes, delay: float = 0.0) -> Station:
    return Station(form, lambda data, _: [Answer(0.05, said)] if data == b"who" else [], delay)


def line(*stations: Station, noise: float = 0.0) -> MixedLine:
    return MixedLine(stations, random.Random(3), lambda: 0, noise)


async def asked(port: HostPort, question: bytes = b"who") -> tuple[bytes, int, float]:
    """Ask; give what came whole, how much came damaged, and how long all took. [s]"""
    begun = asyncio.get_running_loop().time()
    await port.write(question)
    heard, damaged, last = b"", 0, begun
    while True:
        try:
            heard += await port.read(1.0)
        except LineNoise:
            damaged += 1
        except TransportTimeout:
            return heard, damaged, last - begun
        last = asyncio.get_running_loop().time()


def test_a_meter_answers_at_its_own_setting_and_in_the_time_the_line_takes() -> None:
    async def main() -> tuple[bytes, int, float]:
        return await asked(HostPort(line(parrot(E24, b"me")), E24))

    heard, damaged, took = run(main)

    assert (heard, damaged) == (b"me", 0)
    assert took == pytest.approx(5 * 11 / 2_400 + 0.05)


def test_a_meter_at_another_setting_hears_rubbish_and_keeps_quiet() -> None:
    async def main() -> list[tuple[bytes, int, float]]:
        port = HostPort(line(parrot(E24, b"me")), N96)
        wrong = await asked(port)
        await port.reconfigure(2_400, "N", 8)
        no_parity = await asked(port)
        await port.reconfigure(2_400, "E", 8)
        return [wrong, no_parity, await asked(port)]

    assert [heard for heard, _, _ in run(main)] == [b"", b"", b"me"]


@pytest.mark.parametrize("delay", [0.0, 0.0008, 0.003])
def test_two_who_answer_at_once_garble_each_other(delay: float) -> None:
    async def main() -> tuple[bytes, int, int]:
        on = line(parrot(N96, b"abcdefgh"), parrot(N96, b"ABCDEFGHIJ", delay))
        heard, damaged, _ = await asked(HostPort(on, N96))
        return heard, damaged, on.collisions

    heard, damaged, collisions = run(main)

    assert collisions == 1
    assert damaged or heard
    assert b"abcdefgh" not in heard
    assert (heard == b"ABCDEFGHIJ") == (delay == 0.0)  # to the bit the same but for those pulled low


def test_two_who_answer_one_after_the_other_are_both_heard() -> None:
    async def main() -> tuple[bytes, int, float]:
        return await asked(HostPort(line(parrot(N96, b"one"), parrot(N96, b"two", 0.1)), N96))

    assert run(main)[0] == b"onetwo"


def test_what_the_host_says_into_an_answer_is_garbled_too() -> None:
    async def main() -> tuple[bytes, int]:
        on = line(parrot(N96, b"x" * 100))
        port = HostPort(on, N96)
        await port.write(b"who")
        await asyncio.sleep(0.1)
        await port.write(b"who")
        heard, _, _ = await asked(port, b"?")
        return heard, on.collisions

    heard, collisions = run(main)

    assert collisions == 2  # two questions into one answer
    assert heard != b"x" * 100


def test_noise_hits_about_as_many_characters_as_told() -> None:
    async def main() -> tuple[bytes, int, float]:
        return await asked(HostPort(line(Station(N96, lambda *_: [Answer(0.0, bytes(10_000))]), noise=0.01), N96))

    heard, damaged, _ = run(main)

    assert 50 < damaged + sum(octet != 0 for octet in heard) < 150


def test_a_closed_port_is_lost_and_what_was_not_read_can_be_thrown_away() -> None:
    async def main() -> bytes:
        port = HostPort(line(parrot(N96, b"me")), N96)
        await port.write(b"who")
        await asyncio.sleep(1)
        thrown = port.discard_input()
        await port.close()
        with pytest.raises(ConnectionLost):
            await port.write(b"who")
        with pytest.raises(ConnectionLost):
            await port.read(1)
        return thrown

    assert run(main) == b"me"


async def test_on_a_pty_the_speed_of_the_port_is_that_of_the_line() -> None:
    with bridged(line(parrot(E24, b"me")), [E24]) as path:
        port = os.open(path, os.O_RDWR | os.O_NOCTTY)
        try:
            for speed, answer in ((termios.B9600, b""), (termios.B2400, b"me")):
                attributes = termios.tcgetattr(port)
                attributes[4] = attributes[5] = speed
                termios.tcsetattr(port, termios.TCSANOW, attributes)
                os.write(port, b"who")
                await asyncio.sleep(0.3)
                os.set_blocking(port, False)
                try:
                    heard = os.read(port, 100)
                except BlockingIOError:
                    heard = b""
                assert heard == answer
        finally:
            os.close(port)
