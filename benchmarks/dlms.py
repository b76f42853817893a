"""DLMS against gurux-dlms, in one run: decoding a load profile, encoding a question, an HLS-5 token, a whole session. ``make bench-dlms``.

The profile is a day of 96 rows of 8 columns: stamp, status, six 32-bit counts. Every work runs in rounds, ours and the rival's one
after the other; CPU times are of the process that does the work, the rival's and the meter's being others. What both make of the same
octets is compared in the same run, and a difference ends it. A ratio is the lower quartile of the rounds' ratios.

Behind that comes the table of the paced line, see ``benchmarks/line.py``.

gurux-dlms is GPL-2.0-only and is imported in its own process alone: ``tests/peers/gurux_decoder.py``.
"""

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pytest

from drivers.contract import ByteStream, Credentials, Endpoint, SessionContext
from drivers.dlms import acse, axdr, loading, objects, xdlms
from drivers.dlms.axdr import Data
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import Keys, encrypt, gmac_token
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.driver import DlmsSession
from drivers.dlms.events import NEED_DATA, Apdu
from drivers.dlms.objects import CaptureObject, Row
from drivers.dlms.rows import Buffer, Rows
from drivers.dlms.wrapper import WrapperLink
from drivers.dlms.xdlms import Attribute
from drivers.facts import IntervalBlock, RegisterValue
from drivers.obis import Obis
from drivers.profile import ChannelProfile, ClockProfile, DlmsColumn, DlmsProfile, MeterProfile
from drivers.transports import open_transport
from drivers.units import ScalerUnit, Unit
from tests.drivers.dlms import pushes, test_push_vectors, test_vectors
from tests.drivers.dlms.cases import load_all
from tests.shared import shared_data

START, SLOTS, PERIOD = 1_772_323_200, 96, 900
ROUNDS = 15
LINE = ROOT / "benchmarks" / "line.py"
RIVAL = ROOT / "tests" / "peers" / "gurux_decoder.py"
CLIENT, CLIENT_TITLE = 16, b"HEADEND1"
KEYS = Keys(bytes(range(16)), bytes(range(16, 32)))
SERVER_TITLE = b"BENCH\0\0\1"
CHALLENGE = bytes(range(100, 116))
COUNTER_VALUE = 123_456
GRANTED = xdlms.Conformance.GET | xdlms.Conformance.ACTION | xdlms.Conformance.SELECTIVE_ACCESS
COUNTER = Obis.parse("0-0:43.1.0")
STATUS = Obis.parse("0-0:96.10.1")
INTERVALS = [Obis.parse(f"{code}.29.0") for code in (1, 2, 3, 4)]
REGISTERS = [Obis.parse(f"{code}.8.0") for code in (1, 2)]
WATT_HOUR = ScalerUnit(0, Unit.WATT_HOUR)
CAPTURED = (
    objects.CLOCK_COLUMN, CaptureObject(1, STATUS, 2), *(CaptureObject(3, code, 2) for code in (*INTERVALS, *REGISTERS)),
)  # fmt: skip
PROFILE = MeterProfile(
    "bench", "dlms", "benchmarks/dlms.py", channels=tuple(ChannelProfile(code, PERIOD, WATT_HOUR, "load_profile") for code in INTERVALS),
    dlms=DlmsProfile(
        client=CLIENT, authentication="hls5", client_system_title=CLIENT_TITLE, max_pdu=0xFFFF,
        load_profile=Obis.parse("1-0:99.1.0"),
        columns=(*(DlmsColumn(code, code) for code in INTERVALS), *(DlmsColumn(code, code, cumulative=True) for code in REGISTERS)),
    ),
)  # fmt: skip
CLOCK = ClockProfile()
Table = list[list[int]]


def truth() -> Table:
    """Make the day's rows: stamp [s UTC], status, four interval counts, two registers."""
    chance = random.Random(1)
    running = [4_000_000, 120_000]
    table = []
    for slot in range(1, SLOTS + 1):
        counts = [chance.randrange(2_000) for _ in INTERVALS]
        running = [running[0] + counts[0], running[1] + counts[1]]
        table.append([START + slot * PERIOD, 8 * (slot % 30 == 0), *counts, *running])
    return table


TRUTH = truth()


def buffer_octets() -> bytes:
    """Encode the day as a meter does, each stamp in full: 4610 octets."""
    structures = [
        axdr.structure(
            axdr.octet_string(CosemDateTime.from_utc(row[0]).encode()),
            axdr.unsigned(row[1]),
            *(axdr.double_long_unsigned(count) for count in row[2:]),
        )
        for row in TRUTH
    ]
    return axdr.encode(axdr.array(structures))


BUFFER = buffer_octets()
RESPONSE = bytes((xdlms.GET_RESPONSE, 1, 0xC1, 0)) + BUFFER


# -- The meter, in its own process


class Meter:
    """A meter with HLS-5 and this day for its only profile; it checks what it is sent, and answers nothing else."""

    def __init__(self) -> None:
        self.counters = range(1, 2**31)
        self.channel: SecureChannel | None = None
        self.challenges = (b"", b"")

    def answer(self, apdu: bytes) -> bytes:
        if apdu[0] == acse.RLRQ:
            return acse.Release(is_response=True).encode()
        if apdu[0] == acse.AARQ:
            return self.accept(cast("acse.Aarq", acse.decode(apdu)))
        assert self.channel is not None
        match xdlms.decode(self.channel.open(apdu)):
            case xdlms.ActionRequest(invoke_id=invoke_id, parameters=Data() as token):
                self.channel.verify(self.challenges[1], token.octets())
                proof = axdr.octet_string(self.channel.prove(self.challenges[0]))
                return self.channel.seal(xdlms.ActionResponse(invoke_id, 0, proof).encode())
            case xdlms.GetRequest(invoke_id=invoke_id, attribute=attribute):
                return self.channel.seal(bytes((xdlms.GET_RESPONSE, 1, invoke_id, 0)) + self.value(attribute))
        raise SystemExit("the meter is asked what it does not know")

    def accept(self, request: acse.Aarq) -> bytes:
        if self.channel is not None:
            self.counters = self.counters[-self.channel.counters_left :]
        self.channel = SecureChannel(KEYS, SERVER_TITLE, request.calling_title)
        self.channel.supply(self.counters)
        self.channel.open(request.user_information)
        self.challenges = request.authentication_value, os.urandom(16)
        return acse.Aare(
            acse.ApplicationContext.LOGICAL_NAME_CIPHERED,
            diagnostic=acse.Diagnostic.AUTHENTICATION_REQUIRED,
            responding_title=SERVER_TITLE,
            mechanism=acse.Mechanism.HIGH_GMAC,
            authentication_value=self.challenges[1],
            user_information=self.channel.seal(xdlms.InitiateResponse(GRANTED, 0xFFFF).encode()),
        ).encode()

    def value(self, attribute: Attribute) -> bytes:
        match attribute.class_id, attribute.index:
            case objects.PROFILE_GENERIC, objects.BUFFER:
                return BUFFER
            case objects.PROFILE_GENERIC, objects.CAPTURE_OBJECTS:
                return axdr.encode(axdr.array([column.encode() for column in CAPTURED]))
            case objects.PROFILE_GENERIC, objects.CAPTURE_PERIOD:
                return axdr.encode(axdr.double_long_unsigned(PERIOD))
            case objects.REGISTER, 3:
                return axdr.encode(objects.encode_scaler_unit(WATT_HOUR))
        return axdr.encode(axdr.double_long_unsigned(COUNTER_VALUE))


def serve() -> None:
    """Answer whoever connects, until killed."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def converse(connection: socket.socket) -> None:
    """Be the meter on one connection, for one association after the other."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link, meter = WrapperLink(1, None), Meter()
    with connection:
        while octets := connection.recv(65_536):
            link.receive_data(octets)
            while (event := link.next_event()) is not NEED_DATA:
                connection.sendall(link.send(Apdu(meter.answer(event.octets))))


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a child that ends with its standard input, or is made to."""
    child = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


# -- Ours


def wrapped(apdu: bytes) -> bytes:
    return WrapperLink(1, CLIENT).send(Apdu(apdu))


def sealed(counter: int) -> bytes:
    protected = encrypt(KEYS, SERVER_TITLE, counter, RESPONSE)
    return wrapped(b"\xcc" + axdr.encode_length(len(protected)) + protected)


PLAIN_FRAME = wrapped(RESPONSE)
CIPHERED_FRAMES = [sealed(counter) for counter in range(1, 101)]


class Counters:
    """Counters in memory: durability is the store's, and measured there."""

    def __init__(self) -> None:
        self.next = 1

    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:  # noqa: ARG002  one key, one meter
        first = max(self.next, floor)
        self.next = first + size
        return range(first, self.next)

    async def note(self, key_id: str, counter: int) -> int:  # noqa: ARG002  the same
        return -1


COUNTERS = Counters()


class Ours:
    """Our side of each work. ``is_compiled``: by the kernel, else by the Python codec alone."""

    def __init__(self, port: int, *, is_compiled: bool) -> None:
        self.is_compiled = is_compiled
        self.link = WrapperLink(CLIENT, 1)
        self.channel = SecureChannel(KEYS, CLIENT_TITLE, SERVER_TITLE)
        self.frames = iter(CIPHERED_FRAMES)
        self.next_counter = 1_000
        self.loop = asyncio.new_event_loop()
        self.port = port
        self.stream: ByteStream | None = None
        self.known: DlmsSession | None = None

    def opened(self, frame: bytes) -> bytes:
        self.link.receive_data(frame)
        return cast("Apdu", self.link.next_event()).octets

    def decoded(self, apdu: bytes) -> Rows | list[Row]:
        if self.is_compiled:
            response = cast("xdlms.GetResponseOctets", xdlms.decode(apdu, leaves_data=True))
            return Buffer(response.octets, CAPTURED, CLOCK).rows(0)
        return objects.decode_rows(cast("Data", cast("xdlms.GetResponse", xdlms.decode(apdu)).data), CAPTURED, 0, CLOCK)

    def decode_plain(self) -> object:
        return self.decoded(self.opened(PLAIN_FRAME))

    def decode_ciphered(self) -> object:
        frame = next(self.frames, None)
        if frame is None:
            self.frames, self.channel.last_seen = iter(CIPHERED_FRAMES[1:]), -1
            frame = CIPHERED_FRAMES[0]
        return self.decoded(self.channel.open(self.opened(frame)))

    def question(self) -> bytes:
        return xdlms.GetRequest(0xC1, Attribute(3, REGISTERS[0], 2)).encode()

    def encode_plain(self) -> object:
        return self.link.send(Apdu(self.question()))

    def encode_ciphered(self) -> object:
        if not self.channel.counters_left:
            self.channel.supply(range(self.next_counter, self.next_counter + 10_000))
        return self.link.send(Apdu(self.channel.seal(self.question())))

    def token(self) -> object:
        return gmac_token(KEYS, CLIENT_TITLE, 1_000, CHALLENGE)

    def session(self) -> object:
        return self.loop.run_until_complete(self.talk())

    async def talk(self) -> tuple[int, list[IntervalBlock | RegisterValue]]:
        """Associate, read the meter's counter and the profile, release; on one connection. What was learnt is kept for the next."""
        credentials = Credentials(encryption_key=KEYS.encryption, authentication_key=KEYS.authentication)
        endpoint = Endpoint("BENCH0000000001", "1", PROFILE, credentials)
        self.stream = self.stream or await open_transport(f"tcp://127.0.0.1:{self.port}")
        session = DlmsSession(self.stream, endpoint, SessionContext(lambda: START, os.urandom, COUNTERS))
        if self.known is not None:
            session._loading.known = self.known._loading.known  # noqa: SLF001  what a cache would give
        await session.open()
        counter = await session._get(objects.DATA, COUNTER, 2)  # noqa: SLF001  one plain attribute
        facts = await session.read_load_profile(START, START + SLOTS * PERIOD)
        await session.close()
        self.known = self.known or session
        return counter.integer(), facts

    def first_session(self) -> object:
        """The same, asking for columns, capture period and six scalers first."""
        self.known = None
        return self.session()


def told(work: str, outcome: Any) -> Any:
    """Turn an outcome into what the rival tells of its own."""
    if work.startswith("decode"):
        table = outcome.one_by_one() if isinstance(outcome, Rows) else outcome
        return [[row.stamp, *(data.integer() for data in row.values[1:])] for row in table]
    if work.endswith("session"):
        counter, facts = outcome
        blocks = {fact.obis: fact.counts for fact in facts if isinstance(fact, IntervalBlock)}
        registers: dict[Obis, list[int]] = {code: [] for code in REGISTERS}
        for fact in facts:
            if isinstance(fact, RegisterValue):
                registers[fact.obis].append(fact.count)
        stamps, status = [row[0] for row in TRUTH], [row[1] for row in TRUTH]  # no fact tells them
        parts = [stamps, status, *(blocks[code] for code in INTERVALS), *(registers[code] for code in REGISTERS)]
        return [counter, [list(row) for row in zip(*parts, strict=True)]]
    return outcome.hex()


# -- Measuring

# Name, what the table calls it, how often in one round: ours, the rival.
WORKS = (
    ("decode_plain", "decode 96 x 8, plain", 20, 2),
    ("decode_ciphered", "decode 96 x 8, ciphered", 20, 1),
    ("encode_plain", "encode GET, plain", 1_000, 100),
    ("encode_ciphered", "encode GET, ciphered", 500, 5),
    ("token", "HLS-5 token", 500, 5),
    ("session", "session: HLS-5, counter, 96 x 8, release", 10, 1),
)


def cpu_time(work: Callable[[], object], times: int) -> tuple[float, object]:
    """Measure the CPU time of one piece of work; give it with the last outcome. [s]"""
    begin = time.process_time()
    for _ in range(times):
        outcome = work()
    return (time.process_time() - begin) / times, outcome


class Rival:
    """The other process."""

    def __init__(self, child: subprocess.Popen[str], port: int) -> None:
        self.child = child
        known = {
            "client": CLIENT, "client_title": CLIENT_TITLE.hex(), "session_title": b"HEADEND2".hex(),
            "server_title": SERVER_TITLE.hex(),
            "encryption_key": KEYS.encryption.hex(), "authentication_key": KEYS.authentication.hex(),
            "columns": [[column.class_id, dotted(column.logical_name)] for column in CAPTURED],
            "register": dotted(REGISTERS[0]), "plain": PLAIN_FRAME.hex(), "ciphered": [f.hex() for f in CIPHERED_FRAMES[:8]],
            "challenge": CHALLENGE.hex(), "counter": 1_000, "next_counter": 1, "port": port,
        }  # fmt: skip
        self.send(known)

    def send(self, message: object) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(message) + "\n")
        self.child.stdin.flush()

    def run(self, work: str, times: int) -> tuple[float, object]:
        self.send({"work": work, "times": times})
        assert self.child.stdout is not None
        answer = json.loads(self.child.stdout.readline())
        return answer["cpu"], answer["outcome"]


def dotted(code: Obis) -> str:
    return ".".join(map(str, code.to_bytes()))


def lower_quartile(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=4)[0]


def passes(check: Callable[[Any], None], case: Any) -> bool:
    try:
        check(case)
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  whatever went wrong, it is not the published answer
        print(f"{case.name}: {error!r}")
        return False
    return True


def vectors() -> tuple[int, int]:
    """Count the published DLMS, HDLC and ciphering frames that decode to their published answer, and how many are published."""
    cases: list[tuple[Callable[[Any], None], Any]] = [
        (check, case) for protocol, check in test_vectors.CHECKS.items() for case in load_all(protocol)
    ]
    cases += [(test_push_vectors.CHECKS[push.expected["origin"]["repo"]], push) for push in pushes.load_all()]
    good = sum(passes(check, case) for check, case in cases)
    data = shared_data()
    if data is None:
        print("the whole collection of vectors is not here: counting the ones carried")
        return good, len(cases)
    protocols = {*test_vectors.CHECKS, "dlms-push"}
    published = json.loads((data / "vectors.json").read_text())["vectors"]
    return good, sum(vector["protocol"] in protocols for vector in published)


Figures = dict[str, dict[str, list[float]]]


def measure(port: int, rival: Rival) -> Figures:
    """Run every work in rounds; give CPU times by work and by who did it. Ends the run where outcomes differ."""
    python, compiled = Ours(port, is_compiled=False), Ours(port, is_compiled=True)
    figures: Figures = {work: {"python": [], "compiled": [], "rival": []} for work, *_ in WORKS}
    by_python = type("ByPython", (Buffer,), {"_columns_read": lambda _self, _step: None})
    for side in (python, compiled):
        side.first_session()
    for turn in range(ROUNDS + 1):  # the first warms up
        for work, _, ours_times, rival_times in WORKS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(loading, "Buffer", by_python)
                one, by_codec = cpu_time(getattr(python, work), ours_times)
            two, by_kernel = cpu_time(getattr(compiled, work), ours_times)
            three, theirs = rival.run(work, rival_times)
            ours = told(work, by_codec)
            if work.startswith("encode") and work.endswith("ciphered"):
                same = told(work, Ours(port, is_compiled=True).encode_ciphered())
            else:
                same = told(work, by_kernel)
                assert ours == same, f"{work}: by kernel {same}, by codec {ours}"
            assert same == theirs, f"{work}: ours {same}, rival {theirs}"
            if work.startswith(("decode", "session")):
                assert same == (TRUTH if work.startswith("decode") else [COUNTER_VALUE, TRUTH]), (
                    f"{work}: not what the meter had"
                )
            if turn:
                for name, value in zip(("python", "compiled", "rival"), (one, two, three), strict=True):
                    figures[work][name].append(value)
    return figures


def report(figures: Figures, first: float) -> None:
    print(
        f"CPU time of one piece, median of {ROUNDS} rounds [us]; ratio: lower quartile of the rounds, against ours (kernel)"
    )
    print(f"{'':<42} {'ours, Python':>13} {'ours, kernel':>13} {'gurux-dlms':>13} {'ratio':>9}")
    for work, title, *_ in WORKS:
        sides = figures[work]
        times = [f"{1e6 * statistics.median(sides[name]):>13,.1f}" for name in ("python", "compiled", "rival")]
        print(f"{title:<42} {' '.join(times)} {ratio(sides):>9,.1f}")
    print(f"{'session that also asks columns and scalers':<42} {'':>13} {1e6 * first:>13,.1f}")


def ratio(sides: dict[str, list[float]]) -> float:
    return lower_quartile([theirs / ours for ours, theirs in zip(sides["compiled"], sides["rival"], strict=True)])


def line_limit_ratio() -> float:
    """Run the benchmark of the paced line by itself, print its table and give its lowest ratio. Ends the run where it fails."""
    line = subprocess.run([sys.executable, str(LINE)], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    *table, figures = line.stdout.splitlines()
    print("\n".join(table))
    return float(json.loads(figures)["line_limit_ratio_min"])


def main() -> None:
    """Print a table, then one JSON object."""
    good, total = vectors()
    with running(__file__, "--meter") as meter_process, running(str(RIVAL)) as rival_process:
        assert meter_process.stdout is not None
        port = int(meter_process.stdout.readline())
        figures = measure(port, Rival(rival_process, port))
        asking = Ours(port, is_compiled=True)
        first = statistics.median(cpu_time(asking.first_session, 10)[0] for _ in range(5))
    report(figures, first)
    print(f"published frames that decode to their published answer: {good} of {total}")
    ciphered = figures["decode_ciphered"]
    told_figures = {
        "ciphered_decode_vs_gurux": round(ratio(ciphered), 1),
        "ciphered_decode_us": round(1e6 * statistics.median(ciphered["compiled"]), 1),
        "session_cpu_ms": round(1e3 * statistics.median(figures["session"]["compiled"]), 3),
        "line_limit_ratio_min": line_limit_ratio(),
        "vectors_ok": good,
        "vectors_total": total,
    }
    print(json.dumps(told_figures))


if __name__ == "__main__":
    if sys.argv[1:] == ["--meter"]:
        serve()
    else:
        main()
