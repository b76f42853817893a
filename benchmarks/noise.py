"""How many wrong values a noisy line gets past us: answers of DL/T 645 and Modbus RTU with flipped bits, in memory.

Bits flip independently at 10^-3, those of start, parity and stop and the silence around an answer among them; ``--burst 8``
makes them flip in bursts instead. `benchmarks.uart` says what becomes of the characters. A character whose parity or stop bit is
wrong is marked as the kernel marks it (PARMRK) and goes through the serial port's own reader of marks; this is not proved on
hardware. Without parity only a missing stop bit is marked.

A session of the real driver reads a register of energy, and where there is no parity reads until two readings agree. Only answers
matter: questions arrive. Where all the answers that a reading takes are whole, it is counted without being gone through, but for
one in a thousand. ``wrong`` counts readings accepted on a line with parity that hold another value than was sent;
``wrong_flagged`` the same without parity; ``unmarked`` those without parity that do not say so.

    python benchmarks/noise.py [--dlt645 10000000] [--modbus 1000000] [--rate 0.001] [--burst 1] [--processes 2]

Fails where a wrong value was accepted with parity, more than one in a million answers without, or one without its mark.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.uart import Uart, flips
from drivers.contract import Driver, Endpoint, ReadsRegisters, SessionContext
from drivers.counters import NoCounters
from drivers.dlt645 import driver as dlt645
from drivers.dlt645.frame import Frame
from drivers.errors import LineNoise, MeterRefused, RemoteProtocolError, TransportTimeout
from drivers.modbus import driver as modbus
from drivers.modbus.pdu import Function, ReadResponse
from drivers.modbus.rtu import RtuFrame
from drivers.obis import resolve
from drivers.profile import Dlt645Point, Dlt645Profile, MeterProfile, ModbusPoint, ModbusProfile, TimingProfile
from drivers.transports.marks import MarkReader
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule

BATCH = 100_000
SPARE = 8  # answers that the last reading of a batch may take beyond it
SAMPLE = 1_000
SEED = 20_261_120
ALLOWED = 1e-6  # wrong values accepted without parity, of the answers sent
ENERGY = resolve("active_energy_import")
SCALE = ScalerUnit(1, Unit.WATT_HOUR)
TIMING = TimingProfile(latency=1.0)
DATA_ITEM = bytes.fromhex("00000100")  # 00010000, low byte first


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is read how. ``answer``: octets by address and count.  ``address``, ``count``: by chance."""

    name: str
    driver: Driver
    profile: MeterProfile
    answer: Callable[[str, int], bytes]
    address: Callable[[random.Random], str]
    counts: int


def dlt645_answer(address: str, count: int) -> bytes:
    return Frame(address, 0x91, DATA_ITEM + bytes.fromhex(f"{count:08d}")[::-1]).encode(wake_up=4)


def modbus_answer(address: str, count: int) -> bytes:
    held = ReadResponse(Function.READ_HOLDING_REGISTERS, (count >> 16, count & 0xFFFF))
    return RtuFrame(int(address), held.encode()).encode()


PROTOCOLS = {
    "dlt645": Protocol(
        "DL/T 645",
        dlt645.open_session,
        MeterProfile(
            "noise", "dlt645", "DL/T 645-2007, annex A", timing=TIMING,
            dlt645=Dlt645Profile(points=(Dlt645Point(ENERGY, "00010000", 4, SCALE),)),
        ),
        dlt645_answer,
        lambda chance: f"{chance.randrange(10**12):012d}",
        10**8,
    ),
    "modbus": Protocol(
        "Modbus RTU",
        modbus.open_session,
        MeterProfile(
            "noise", "modbus", "V1.1b3, clause 6.3", timing=TIMING,
            modbus=ModbusProfile("rtu", (ModbusPoint(ENERGY, 10, "uint32", SCALE),)),
        ),
        modbus_answer,
        lambda chance: str(chance.randrange(1, 248)),
        2**32,
    ),
}  # fmt: skip


class NoisyStream:
    """A serial port to a meter that answers each question with ``octets``, of which bits flip on the way.

    ``sent``: answers so far.  ``hit``: the flipped bits of each answer that is to come.
    """

    bits_per_second = None  # so that nobody waits

    def __init__(self, uart: Uart, hit: dict[int, list[int]], *, has_parity: bool) -> None:
        self.has_parity = has_parity
        self.bits_per_character = uart.width
        self.octets = b""
        self.sent = 0
        self._uart = uart
        self._hit = hit
        self._pieces: deque[bytes | None] = deque()

    async def write(self, data: bytes) -> None:  # noqa: ARG002  whatever the question
        """Send a question."""
        delivered = self._uart.deliver(self.octets, self._hit.get(self.sent, []))
        self._pieces.extend(MarkReader().receive_data(delivered))
        self.sent += 1

    async def read(self, timeout: float) -> bytes:
        """Give what comes next."""
        if not self._pieces:
            raise TransportTimeout(f"nothing within {timeout} s")
        if (piece := self._pieces.popleft()) is None:
            raise LineNoise("a damaged byte")
        return piece

    def discard_input(self) -> bytes:
        """Throw away the rest."""
        self._pieces.clear()
        return b""

    async def close(self) -> None:
        """Close."""


async def batch(
    protocol: Protocol, number: int, answers: int, rate: float, burst: int, *, has_parity: bool
) -> Counter[str]:
    """Read a meter until so many answers were sent; count what came of them."""
    chance = random.Random(f"{SEED} {protocol.name} {has_parity} {number}")
    uart = Uart(has_parity=has_parity)
    address = protocol.address(chance)
    bits = uart.bits(len(protocol.answer(address, 0)))
    generator = np.random.default_rng(chance.getrandbits(64))
    hit = flips(generator, answers + SPARE, bits, rate, burst)
    stream = NoisyStream(uart, hit, has_parity=has_parity)
    context = SessionContext(lambda: 0, bytes, NoCounters())
    needed = 1 if has_parity else 2
    told: Counter[str] = Counter()
    async with protocol.driver(stream, Endpoint("noise", address, protocol.profile), context) as session:
        assert isinstance(session, ReadsRegisters)
        while stream.sent < answers:
            begin = stream.sent
            is_whole = hit.keys().isdisjoint(range(begin, begin + needed))
            if is_whole and begin % SAMPLE >= needed:
                stream.sent += needed
                told["right"] += 1
                told["counted"] += 1
                continue
            count = chance.randrange(protocol.counts)
            stream.octets = protocol.answer(address, count)
            told["gone through"] += 1
            try:
                (value,) = await session.read_registers([ENERGY])
            except (RemoteProtocolError, TransportTimeout, MeterRefused):
                assert not is_whole, "an answer without damage was refused"
                told["refused"] += 1
                continue
            told["right" if value.count == count else "wrong"] += 1
            told["unmarked"] += not has_parity and Rule.UNPROTECTED not in value.rules
    told["answers"] = stream.sent
    told["damaged"] = sum(answer < stream.sent for answer in hit)
    return told


def run_batch(name: str, rate: float, burst: int, has_parity: bool, number: int, answers: int) -> Counter[str]:
    return asyncio.run(batch(PROTOCOLS[name], number, answers, rate, burst, has_parity=has_parity))


def measure(
    name: str, answers: int, rate: float, burst: int, *, has_parity: bool, pool: ProcessPoolExecutor | None = None
) -> Counter[str]:
    """Send so many answers of a protocol; count answers, damaged, right, wrong, refused and unmarked."""
    sizes = [min(BATCH, answers - start) for start in range(0, answers, BATCH)]
    one = partial(run_batch, name, rate, burst, has_parity)
    return sum((pool.map if pool else map)(one, range(len(sizes)), sizes), Counter())


def summarize(counts: dict[tuple[str, bool], Counter[str]]) -> dict[str, object]:
    """Give the figures: sums, and each protocol's own."""
    figures: dict[str, object] = {
        "frames": sum(told["answers"] for told in counts.values()),
        "wrong": sum(told["wrong"] for (_, has_parity), told in counts.items() if has_parity),
        "wrong_flagged": sum(told["wrong"] for (_, has_parity), told in counts.items() if not has_parity),
        "unmarked": sum(told["unmarked"] for told in counts.values()),
    }
    for (name, has_parity), told in counts.items():
        figures[f"{name}_{'parity' if has_parity else 'no_parity'}"] = {
            key: told[key] for key in ("answers", "damaged", "right", "refused", "wrong")
        }
    return figures


def faults(counts: dict[tuple[str, bool], Counter[str]]) -> list[str]:
    """Say what is not as it is promised."""
    found = []
    for (name, has_parity), told in counts.items():
        if told["wrong"] > (0 if has_parity else ALLOWED * told["answers"]):
            found.append(f"{name} {'with' if has_parity else 'without'} parity: {told['wrong']} wrong values accepted")
        if told["unmarked"]:
            found.append(f"{name}: {told['unmarked']} values without parity do not say so")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Count wrong values that get through noise.")
    parser.add_argument(
        "--dlt645", type=int, default=10_000_000, help="answers of DL/T 645, with and without parity each"
    )
    parser.add_argument(
        "--modbus", type=int, default=1_000_000, help="answers of Modbus RTU, with and without parity each"
    )
    parser.add_argument("--rate", type=float, default=1e-3, help="share of bits that flip")
    parser.add_argument("--burst", type=int, default=1, help="bits that a disturbance reaches")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args(arguments)
    counts: dict[tuple[str, bool], Counter[str]] = {}
    with ProcessPoolExecutor(chosen.processes) as pool:
        for name, answers in (("dlt645", chosen.dlt645), ("modbus", chosen.modbus)):
            for has_parity in (True, False):
                begun = time.monotonic()
                told = measure(name, answers, chosen.rate, chosen.burst, has_parity=has_parity, pool=pool)
                counts[name, has_parity] = told
                print(
                    f"{PROTOCOLS[name].name} {'8E1' if has_parity else '8N1'}: {told['answers']} answers, "
                    f"{told['damaged']} damaged; readings: {told['right']} right, {told['refused']} refused, {told['wrong']} "
                    f"wrong accepted, {told['gone through']} gone through; {time.monotonic() - begun:.0f} s",
                    flush=True,
                )
    print("parity marks are injected as the kernel gives them; not proved on hardware")
    print(json.dumps(summarize(counts)))
    if found := faults(counts):
        sys.exit("; ".join(found))


if __name__ == "__main__":
    main()
