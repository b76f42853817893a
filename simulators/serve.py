"""What ``headend-simulate`` does once its arguments are read: run the demonstration world, or meters on their own."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

from drivers.dlt645.control import Edition
from drivers.dlt645.services import Identifier, read
from drivers.modbus.pdu import Function, ReadRequest
from drivers.modbus.rtu import RtuFrame
from drivers.trace.text import MAX_TEXT, TraceError, parse_trace
from drivers.transports.url import Form, SerialUrl, parse_url
from simulators import control, dlt645, iec62056, mixed, town, world
from simulators.bridge import bridged
from simulators.chance import seeded
from simulators.clock import WorldClock
from simulators.dlms import gateway
from simulators.dlms.gateway import DlmsGateway, DlmsPlace
from simulators.dlms.options import Options
from simulators.dlt645 import Dlt645Bus, Dlt645Conversation
from simulators.faults import Fault
from simulators.household import bundled
from simulators.iec62056 import Iec62056Bus, Iec62056Conversation
from simulators.line import Line, parse_troubles
from simulators.meter import Meter, Position, position
from simulators.mixed import MixedLine
from simulators.modbus import ENERGY, NAME_FORMAT, ModbusBus, ModbusTcpConversation
from simulators.replay import ReplayBus, ReplayConversation, Script
from simulators.tcp import HOST, serving
from simulators.town import DAY, DIALS, HOUR, REGISTER_REFRESH

HISTORY = 7 * DAY  # [s] what standing meters have measured before the world begins
FIRST_PHYSICAL_ADDRESS = 17


async def serve_world(
    mqtt: str, *, days: int, start: int, rate: float, seed: int, meters_out: Path | None, truth_out: Path | None
) -> None:
    """Run the demonstration town until stdin ends or a signal says so. Raises `ValueError`, `OSError`."""
    stop = _stop_on_signal()
    built = town.build(start, days, seed)
    clock = WorldClock(start, rate, time.monotonic)
    async with world.running(built, clock, mqtt, seed) as running:
        if meters_out is not None:
            world.write_meters(built, running.links, meters_out)
        if truth_out is not None:
            world.write_truth(built, truth_out)
        ready = {
            "start": built.start,
            "end": built.end,
            "meters": len(built.residents),
            "links": dict(running.links),
            "meters_out": str(meters_out) if meters_out else None,
            "truth_out": str(truth_out) if truth_out else None,
        }
        _say({"ready": ready, **running.state()})
        obeying = control.obey(sys.stdin.buffer, _say, running.skip_to, running.state)
        await _until(stop, obeying)


@dataclass(frozen=True, slots=True)
class Standing:
    """Meters on their own: how many, and the world they live in. ``faults``: by the number of the meter, from 1."""

    count: int
    start: int
    rate: float
    seed: int
    faults: Mapping[int, tuple[Fault, ...]]

    def __post_init__(self) -> None:
        """Refuse a fault of a meter that is not there."""
        if self.faults and max(self.faults) > self.count:
            raise ValueError(f"a fault is of meter {max(self.faults)}; there are {self.count}")

    def clock(self) -> WorldClock:
        """Start their world."""
        return WorldClock(self.start, self.rate, time.monotonic)

    def positions(self, name_format: str, addresses: Sequence[str]) -> list[Position]:
        """Put a meter at each address; all have measured for a week."""
        installed_at = (self.start - HISTORY) // HOUR * HOUR
        households = bundled()
        chosen = seeded(self.seed, "standing").sample(households, min(self.count, len(households)))
        homes = [home.moved_to(installed_at) for home in chosen]
        return [
            position(
                address,
                Meter(
                    name_format.format(1000 + number),
                    1000 + number,
                    home,
                    installed_at,
                    dials=DIALS,
                    refresh=REGISTER_REFRESH,
                    faults=self.faults.get(number, ()),
                ),
                name_format,
            )
            for number, (address, home) in enumerate(zip(addresses, cycle(homes), strict=False), start=1)
        ]


async def serve_modbus(port: int | None, meters: Standing, troubles: Sequence[str] = ()) -> None:
    """Serve Modbus TCP on ``port`` (0 for a free one), or RTU on a pty where ``port`` is None, until a signal.

    ``troubles``: of the pty's line, see `parse_troubles`. Raises `ValueError` for one that is unknown.
    """
    stop = _stop_on_signal()
    clock = meters.clock()
    positions = meters.positions(NAME_FORMAT, [str(unit) for unit in range(1, meters.count + 1)])
    try_it = "-a 1 -0 -1 -B -t 4:int -r 10"
    if port is not None:
        async with serving(clock, lambda: ModbusTcpConversation(positions), port) as bound:
            _tell(
                f"Modbus TCP on {HOST}:{bound}, units 1 to {meters.count}", f"mbpoll -m tcp -p {bound} {try_it} {HOST}"
            )
            await stop.wait()
        return
    stranger = RtuFrame(1, ReadRequest(Function.READ_HOLDING_REGISTERS, ENERGY, 2).encode()).encode()
    line = Line(
        ModbusBus(positions, seeded(meters.seed, "modbus")),
        clock,
        baud=world.BAUD,
        troubles=parse_troubles(troubles, stranger),
    )
    with line.opened() as path:
        _tell(
            f"Modbus RTU on {path}, 9600 8N1, units 1 to {meters.count}",
            f"mbpoll -m rtu -b 9600 -P none {try_it} {path}",
        )
        await _until(stop, line.run())


async def serve_dlt645(port: int | None, meters: Standing, baud: int, troubles: Sequence[str] = ()) -> None:
    """Serve DL/T 645 meters on ``port`` (0 for a free one), or on a pty where it is None, until a signal.

    ``troubles``: of the pty's line, see `parse_troubles`. Raises `ValueError` for one that is unknown.
    """
    stop = _stop_on_signal()
    addresses = [f"{1000 + number:012d}" for number in range(1, meters.count + 1)]
    bus = Dlt645Bus(meters.positions(dlt645.NAME_FORMAT, addresses), seeded(meters.seed, "dlt645"))
    row = f"a meter row with profile sim-dlt645, address {addresses[0]}, link"
    what = f"addresses {addresses[0]} to {addresses[-1]}"
    if port is not None:
        async with serving(meters.clock(), lambda: Dlt645Conversation(bus), port) as bound:
            _tell(f"DL/T 645 on {HOST}:{bound}, {what}", f"{row} tcp://{HOST}:{bound}")
            await stop.wait()
        return
    stranger = read(addresses[0], Identifier("00010000"), Edition.E2007).encode()
    line = Line(bus, meters.clock(), baud=baud, bits_per_character=11, troubles=parse_troubles(troubles, stranger))
    with line.opened() as path:
        _tell(f"DL/T 645 on {path}, {baud} 8E1, {what}", f"{row} serial://{path}?baud={baud}&parity=E")
        await _until(stop, line.run())


async def serve_iec62056(port: int | None, meters: Standing, settings: iec62056.Settings) -> None:
    """Serve IEC 62056-21 meters on ``port`` (0 for a free one), or on a pty where it is None, until a signal."""
    stop = _stop_on_signal()
    addresses = [f"{1000 + number:08d}" for number in range(1, meters.count + 1)]
    bus = Iec62056Bus(meters.positions(iec62056.NAME_FORMAT, addresses), seeded(meters.seed, "iec62056"), settings)
    row = f"a meter row with profile sim-iec62056, address {addresses[0]}, link"
    what = f"mode {settings.mode}, addresses {addresses[0]} to {addresses[-1]}"
    if port is not None:
        async with serving(meters.clock(), lambda: Iec62056Conversation(bus), port) as bound:
            _tell(f"IEC 62056-21 on {HOST}:{bound}, {what}", f"{row} tcp://{HOST}:{bound}")
            await stop.wait()
        return
    line = Line(bus, meters.clock(), baud=settings.speed)
    with line.opened() as path:
        _tell(f"IEC 62056-21 on {path}, {what}", f"{row} serial://{path}?baud=300&bits=7&parity=E")
        await _until(stop, line.run())


async def serve_dlms(framing: str, port: int, options: Options, meters: Standing) -> None:
    """Serve DLMS over TCP on ``port`` (0 for a free one) until a signal. Raises `ValueError` for options that do not fit together."""
    settings = options.settings()
    stop = _stop_on_signal()
    is_hdlc = framing == "hdlc"
    numbers = range(meters.count)
    addresses = [f"1/{FIRST_PHYSICAL_ADDRESS + number}" if is_hdlc else str(1 + number) for number in numbers]
    places = [DlmsPlace(placed, settings) for placed in meters.positions(gateway.NAME_FORMAT, addresses)]
    served = DlmsGateway(places, seeded(meters.seed, "dlms"))
    talk = served.hdlc_conversation if is_hdlc else served.wrapper_conversation
    async with serving(meters.clock(), talk, port) as bound:
        _tell(
            f"DLMS ({framing}, {settings.authentication}) on {HOST}:{bound}, addresses {addresses[0]} to {addresses[-1]}",
            f"a meter row with profile sim-dlms-{framing}, link tcp://{HOST}:{bound}, address {addresses[0]}",
        )
        await stop.wait()


async def serve_line(meters: Standing) -> None:
    """Serve Modbus, DL/T 645 and DLMS meters, so many of each, on one pty at three speeds, until a signal."""
    stop = _stop_on_signal()
    numbers = range(1, meters.count + 1)
    chance = seeded(meters.seed, "line")
    modbus, chinese, hdlc = Form(9600), Form(2400, "E"), Form(19200)
    stations = [
        *(
            mixed.modbus_station(modbus, one, chance)
            for one in meters.positions(NAME_FORMAT, [str(unit) for unit in numbers])
        ),
        *(
            mixed.dlt645_station(chinese, one, chance)
            for one in meters.positions(dlt645.NAME_FORMAT, [f"{1000 + number:012d}" for number in numbers])
        ),
        *(
            mixed.dlms_station(hdlc, DlmsPlace(one), chance)
            for one in meters.positions(
                gateway.NAME_FORMAT, [f"1/{FIRST_PHYSICAL_ADDRESS + number - 1}" for number in numbers]
            )
        ),
    ]
    line = MixedLine(stations, chance, meters.clock().now)
    with bridged(line, (modbus, chinese, hdlc)) as path:
        _tell(
            f"A line on {path}: of each {meters.count}, Modbus at 9600, DL/T 645 at 2400, DLMS at 19200 baud",
            f"headend scan {path} --fast",
        )
        await stop.wait()


async def serve_replay(path: Path, port: int | None, rate: float) -> None:
    """Serve the meter of a trace on ``port`` (0 for a free one), or on a pty where it is None, until a signal.

    Raises `ValueError` for a trace that cannot be replayed, `OSError`.
    """
    stop = _stop_on_signal()
    with path.open("rb") as file:
        octets = file.read(MAX_TEXT + 1)
    try:
        trace = parse_trace(octets)
        script = Script(trace, lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201  words for whoever watches
    except TraceError as error:
        raise ValueError(f"{path}: {error}") from error
    header = trace.header
    for fault in trace.faults:
        sys.stderr.write(f"{path}: {fault}\n")
    clock = WorldClock(0, rate, time.monotonic)
    asked = len(script.exchanges)
    what = f"{header.meter} as recorded ({header.framing}, {asked} question{'' if asked == 1 else 's'})"
    row = f"a meter row with profile {header.profile}, address {header.address}"
    if port is not None:
        async with serving(clock, lambda: ReplayConversation(script), port) as bound:
            _tell(f"{what} on {HOST}:{bound}", f"{row}, link tcp://{HOST}:{bound}")
            await stop.wait()
        return
    url = _line_of(header.link)
    line = Line(ReplayBus(script), clock, baud=url.baud, bits_per_character=url.bits_per_character)
    with line.opened() as device:
        _tell(f"{what} on {device}", f"{row}, link {replace(url, path=device)}")
        await _until(stop, line.run())


def _line_of(link: str) -> SerialUrl:
    """Give the line settings of a recorded link; the usual ones where it was none."""
    try:
        url = parse_url(link)
    except ValueError:
        url = None
    return url if isinstance(url, SerialUrl) else SerialUrl("pty")


def _stop_on_signal() -> asyncio.Event:
    """Give an event that SIGINT and SIGTERM set; to be called before anybody is told that we are here."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _until(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Do work until ``stop``, or until it ends; a failure of it is raised."""
    waiting, working = asyncio.create_task(stop.wait()), asyncio.create_task(work)
    await asyncio.wait({waiting, working}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


def _say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _tell(what: str, try_it: str) -> None:
    sys.stdout.write(f"{what}\nTry: {try_it}\nEnd with Ctrl-C.\n")
    sys.stdout.flush()
