"""A whole HDLC session with each single frame of it lost, damaged or doubled in turn, whatever the window.

It ends with the value it has on a clean line or with an error after which to try again; never with another value, and the
meter never gets a question twice.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from drivers.contract import Endpoint, SessionContext
from drivers.counters import NoCounters
from drivers.dlms.driver import DlmsSession, open_session
from drivers.dlms.events import NEED_DATA, Apdu, Busy, Connect, Connected, Disconnect, Disconnected, Poll, Ready
from drivers.dlms.hdlc import DamagedFrame, Frame, FrameReader, HdlcAddress, Kind, LinkParameters, encode_parameters
from drivers.dlms.link import HdlcLink
from drivers.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError, TransportTimeout
from drivers.facts import IntervalBlock
from drivers.profile import MeterProfile, TimingProfile
from drivers.transports import null_modem
from tests.drivers.dlms.meter import DAY, PROFILE, Meter

ADDRESS = HdlcAddress(1, 17)
WHOLE = tuple(range(1, 49))
TOGETHER = 8  # sessions at a time, so that a busy machine is not taken for a silent meter
Disturbance = Callable[[bytes], bytes]


def lost(_: bytes) -> bytes:
    return b""


def damaged(frame: bytes) -> bytes:
    middle = len(frame) // 2
    return frame[:middle] + bytes([frame[middle] ^ 0x10]) + frame[middle + 1 :]


def cut_short(frame: bytes) -> bytes:
    return frame[:-4]


def doubled(frame: bytes) -> bytes:
    return frame + frame


class Line:
    """A null modem with a meter at its far end, on which one frame of either side is disturbed.

    ``window``, ``info``: what the meter takes and sends at a time.
    """

    def __init__(self, *, window: int, info: int, number: int = -1, disturb: Disturbance = lost) -> None:
        self.near, self.far = null_modem()
        self.meter = Meter()
        self.link = HdlcLink("server", ADDRESS, None, info, window)
        self.frames: list[Frame] = []
        self.closed = False
        self.is_mute = False
        self.unheard = asyncio.Event()
        self._number = number
        self._disturb = disturb
        self._to_meter = FrameReader()

    def carry(self, octets: bytes) -> bytes:
        """Carry frames of one side to the other."""
        self._to_meter.receive_data(octets)
        carried = b""
        while (frame := self._to_meter.next_event()) is not NEED_DATA:
            octets = frame.encode()
            carried += self._disturb(octets) if len(self.frames) == self._number else octets
            self.frames.append(frame)
        return carried

    def hear(self, octets: bytes) -> bytes:
        self.link.receive_data(octets)
        answer = b""
        for _ in range(len(octets) + 1):
            try:
                event = self.link.next_event()
            except RemoteProtocolError:
                continue
            if event is NEED_DATA:
                break
            answer += self.link.data_to_send()
            if isinstance(event, Apdu):
                answer += self.link.send(Apdu(self.meter.answer(event.octets)))
            self.closed = isinstance(event, Disconnected)
        return answer + self.link.data_to_send()

    async def run(self) -> None:
        with suppress(ConnectionLost):
            while True:
                heard = self.carry(await self.far.read(60))
                if self.is_mute:
                    self.unheard.set()
                elif answer := self.carry(self.hear(heard)):
                    await self.far.write(answer)


def profile(**changes: Any) -> MeterProfile:
    assert PROFILE.dlms is not None
    settings = replace(PROFILE.dlms, framing="hdlc", **changes)
    return replace(PROFILE, timing=TimingProfile(latency=0.05), dlms=settings)


@asynccontextmanager
async def session(line: Line, **changes: Any) -> AsyncIterator[DlmsSession]:
    task = asyncio.create_task(line.run())
    context = SessionContext(lambda: DAY, bytes, NoCounters(), timeout_scale=0.2)
    try:
        async with open_session(line.near, Endpoint("m", "1/17", profile(**changes)), context) as opened:
            yield opened
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def read(line: Line, window: int) -> tuple[int | None, ...]:
    async with session(line, window=window) as opened:
        (block,) = await opened.read_load_profile(DAY, DAY + 86_400)
    assert isinstance(block, IntervalBlock)
    return block.counts


WINDOWS = [(1, 128), (2, 60), (3, 100), (7, 32), (7, 128)]


@pytest.mark.parametrize(("window", "info"), WINDOWS)
@pytest.mark.parametrize("disturb", [lost, damaged, cut_short, doubled], ids=lambda one: str(one.__name__))
async def test_each_frame_of_a_session_may_be_lost_damaged_or_doubled(
    window: int, info: int, disturb: Disturbance
) -> None:
    clean = Line(window=window, info=info)
    assert await read(clean, window) == WHOLE
    bursts = [frame for frame in clean.frames if frame.source == ADDRESS and not frame.poll_final]
    assert bool(bursts) == (window > 1)

    async def outcome(number: int) -> str:
        line = Line(window=window, info=info, number=number, disturb=disturb)
        values: tuple[int | None, ...] = ()
        with suppress(RemoteProtocolError, TransportTimeout):  # those after which to try again
            values = await read(line, window)
        assert line.meter.received == clean.meter.received[: len(line.meter.received)]
        assert values in {WHOLE, ()}
        return "read" if values else "failed"

    outcomes: list[str] = []
    for first in range(0, len(clean.frames), TOGETHER):
        outcomes += await asyncio.gather(*map(outcome, range(len(clean.frames))[first : first + TOGETHER]))

    assert set(outcomes) == {"read"}
    assert clean.closed


class Pair:
    """Two links that pass each other's frames, all but one; the client polls where nothing more moves."""

    def __init__(self, number: int, disturb: Disturbance) -> None:
        self.client = HdlcLink("client", HdlcAddress(16), ADDRESS, 32, 3)
        self.server = HdlcLink("server", ADDRESS, None, 32, 3)
        self.number, self.disturb, self.count = number, disturb, 0
        self.asked: list[bytes] = []
        self.answered: list[bytes] = []
        self.deliver(self.client.send(Connect()))

    def deliver(self, octets: bytes) -> None:
        to_server = True
        while octets:
            sender, receiver = (self.client, self.server) if to_server else (self.server, self.client)
            receiver.receive_data(self.through(octets))
            assert sender.data_to_send() == b""
            octets = self.heard_by(receiver)
            to_server = not to_server

    def through(self, octets: bytes) -> bytes:
        carried, reader = b"", FrameReader()
        reader.receive_data(octets)
        while (frame := reader.next_event()) is not NEED_DATA:
            is_it = frame.kind is not Kind.SNRM and frame.kind is not Kind.UA and self.count == self.number
            self.count += frame.kind not in {Kind.SNRM, Kind.UA}
            carried += self.disturb(frame.encode()) if is_it else frame.encode()
        return carried

    def heard_by(self, receiver: HdlcLink) -> bytes:
        answer = b""
        for _ in range(50):
            try:
                event = receiver.next_event()
            except DamagedFrame:
                continue
            answer += receiver.data_to_send()
            if event is NEED_DATA:
                break
            if isinstance(event, Apdu):
                (self.asked if receiver is self.server else self.answered).append(event.octets)
                if receiver is self.server:
                    answer += receiver.send(Apdu(bytes(reversed(event.octets))))
        return answer

    def ask(self, question: bytes) -> None:
        self.deliver(self.client.send(Apdu(question)))
        for _ in range(3):
            if len(self.answered) < len(self.asked) or not self.asked or self.asked[-1] != question:
                self.deliver(self.client.send(Poll()))


@pytest.mark.parametrize("number", range(20))
@pytest.mark.parametrize("disturb", [lost, damaged, doubled], ids=lambda one: str(one.__name__))
def test_each_frame_of_long_questions_and_answers_may_be_lost_damaged_or_doubled(
    number: int, disturb: Disturbance
) -> None:
    pair = Pair(number, disturb)
    questions = [bytes([turn]) * 10 + bytes(range(150)) for turn in range(3)]

    for question in questions:
        pair.ask(question)

    assert pair.asked == questions
    assert pair.answered == [bytes(reversed(question)) for question in questions]


# -- what the meter says of the link


def opened_client(window: int = 1) -> HdlcLink:
    link = HdlcLink("client", HdlcAddress(16), ADDRESS, window=window)
    link.send(Connect())
    said = encode_parameters(LinkParameters(128, 128, window, window))
    link.receive_data(Frame(HdlcAddress(16), ADDRESS, Kind.UA, information=said).encode())
    link.next_event()
    return link


def says(kind: Kind, number: int = 0, information: bytes = b"") -> bytes:
    return Frame(HdlcAddress(16), ADDRESS, kind, receive_number=number, information=information).encode()


def test_a_meter_without_room_is_polled_until_it_has_some() -> None:
    link = opened_client()
    question = link.send(Apdu(b"question"))

    link.receive_data(says(Kind.RNR, 0))
    assert link.next_event() == Busy()
    assert link.data_to_send() == b""
    link.send(Poll())
    link.receive_data(says(Kind.RR, 0))

    assert link.next_event() is NEED_DATA
    assert link.data_to_send() == question


def test_a_meter_that_has_all_and_no_answer_yet_says_so() -> None:
    link = opened_client()
    link.send(Apdu(b"question"))

    link.receive_data(says(Kind.RR, 1))

    assert link.next_event() == Ready()


def test_what_a_meter_said_too_late_is_no_error_and_sends_nothing_again() -> None:
    link = opened_client()
    link.send(Apdu(b"question"))
    answer = Frame(HdlcAddress(16), ADDRESS, Kind.I, 0, 1, information=b"\xe6\xe7\x00answer").encode()

    link.receive_data(answer + says(Kind.RR, 0) + answer)

    assert link.next_event() == Apdu(b"answer")
    assert link.next_event() is NEED_DATA
    assert link.data_to_send() == b""


def test_after_a_frame_that_the_meter_rejects_only_closing_is_left() -> None:
    link = opened_client()
    link.send(Apdu(b"question"))
    link.receive_data(says(Kind.FRMR, information=b"\x10\x00\x01"))

    with pytest.raises(RemoteProtocolError, match="FRMR 100001"):
        link.next_event()
    with pytest.raises(LocalProtocolError, match="while rejected"):
        link.send(Apdu(b"another"))
    assert link.send(Disconnect())


def test_a_meter_that_forgets_the_final_bit_is_answered_when_its_window_is_full() -> None:
    link = opened_client(2)
    link.send(Apdu(b"question"))
    for number in range(2):
        link.receive_data(
            Frame(
                HdlcAddress(16), ADDRESS, Kind.I, number, 1, poll_final=False, segmented=True, information=b"\xe6\xe7\x00x"
            ).encode()
        )  # fmt: skip

    assert link.next_event() is NEED_DATA
    assert link.data_to_send() == Frame(ADDRESS, HdlcAddress(16), Kind.RR, receive_number=2).encode()


@pytest.mark.parametrize(("offered", "said", "agreed"), [(7, 3, 3), (1, 1, 1), (4, 7, 7)])
def test_the_window_that_the_meter_says_counts(offered: int, said: int, agreed: int) -> None:
    link = HdlcLink("client", HdlcAddress(16), ADDRESS, window=offered)
    link.send(Connect())
    parameters = encode_parameters(LinkParameters(2030, 2030, said, said))
    link.receive_data(says(Kind.UA, information=parameters))

    assert link.next_event() == Connected(2030, 2030, min(offered, said), agreed)


@pytest.mark.parametrize("window", [0, 8])
def test_a_window_that_no_number_can_count_is_our_mistake(window: int) -> None:
    with pytest.raises(LocalProtocolError, match="not 1 to 7"):
        HdlcLink("client", HdlcAddress(16), ADDRESS, window=window)


# -- in time


async def test_an_idle_session_keeps_its_link_alive() -> None:
    line = Line(window=1, info=128)

    async with session(line, inactivity_time_out=2):
        asked = len(line.frames)
        await asyncio.sleep(0.5)
        kept = [frame.kind for frame in line.frames[asked:]]

    assert kept[:2] == [Kind.RR, Kind.RR]
    assert line.closed


async def test_a_session_whose_closing_was_canceled_says_nothing_more() -> None:
    line = Line(window=1, info=128)

    async def idle() -> None:
        async with session(line, inactivity_time_out=2):
            line.is_mute = True
            await asyncio.sleep(60)

    task = asyncio.create_task(idle())
    await line.unheard.wait()
    task.cancel()
    await asyncio.sleep(0)  # closing waits for the answer to RR
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    line.near.discard_input()
    line.far.discard_input()
    await asyncio.sleep(0.5)

    assert not line.far.discard_input()


@pytest.mark.parametrize("idle", [0, 0.4])
async def test_a_meter_that_closed_its_link_meanwhile_is_to_be_connected_again(idle: float) -> None:
    line = Line(window=1, info=128)

    async with session(line, inactivity_time_out=2) as opened:
        line.link = HdlcLink("server", ADDRESS, None)
        line.link.remote = HdlcAddress(16)
        await asyncio.sleep(idle)
        with pytest.raises(RemoteProtocolError, match="connect again"):
            await opened.read_identity()


async def test_a_busy_meter_is_waited_for_and_the_question_is_asked_once() -> None:
    line = Line(window=1, info=128)
    busy = 2
    hear = line.hear

    def reluctant(octets: bytes) -> bytes:
        nonlocal busy
        answer = hear(octets)
        if line.meter.received and busy:
            busy -= 1
            return says(Kind.RNR, line.link._inbox.expected)
        return answer

    line.hear = reluctant  # type: ignore[method-assign]
    async with session(line) as opened:
        identity = await opened.read_identity()

    assert identity.name
    assert busy == 0
    assert len(line.meter.received) == len(set(line.meter.received))
