"""Forty meters of four protocols at mixed settings on one line: what a scan finds, how true its times are, and how it goes on."""

import asyncio
from functools import cache

import pytest

from drivers.dlms.hdlc import FrameReader as HdlcReader
from drivers.dlms.hdlc import Kind as HdlcKind
from drivers.dlt645.address import BROADCAST
from drivers.dlt645.control import Control, Control1997
from drivers.dlt645.frame import Frame as Dlt645Frame
from drivers.dlt645.frame import FrameReader as Dlt645Reader
from drivers.iec62056.programming import BREAK
from drivers.modbus.pdu import NEED_DATA, Function
from drivers.modbus.rtu import RequestReader
from drivers.transports.url import Form
from headend.scan.ground import Ground
from headend.scan.plan import Scan
from headend.scan.probe import Question
from headend.scan.state import dump, load
from tests.headend.collect.virtual import run
from tests.headend.scan.town import E24, E96, N96, Told, forty, line, modbus, scanned, words

READS = {
    Function.READ_HOLDING_REGISTERS, Function.READ_INPUT_REGISTERS, Function.ENCAPSULATED,
}  # fmt: skip
Asked = list[tuple[Form, bytes]]


@cache
def whole() -> tuple[Scan, Told, float, Asked]:
    """One scan from end to end: its state, what was told, how long it took, and what went over the line."""

    async def main() -> tuple[Scan, Told, float, Asked]:
        on = line(forty()[0])
        scan, told, was_asked = await scanned(on)
        assert was_asked
        return scan, told, asyncio.get_running_loop().time(), on.questions

    return run(main)


def test_all_forty_meters_are_found_with_their_names_none_invented_none_twice() -> None:
    scan, told, _, _ = whole()

    _, there = forty()
    assert len(there) == 40
    assert words(scan.meters) == sorted(there)
    assert words(told.meters) == sorted(there)
    assert (scan.crowds, told.notices) == ([], [])


@pytest.mark.parametrize(("share", "bound"), [(0.1, 0.15), (0.25, 0.05), (0.5, 0.05), (0.75, 0.05), (0.9, 0.05)])
def test_the_time_left_is_true(share: float, bound: float) -> None:
    _, told, took, _ = whole()
    at, left = next((at, left) for at, left in told.predicted if at >= share * took)

    assert left == pytest.approx(took - at, rel=bound)


def test_the_time_left_is_never_negative_and_the_whole_never_a_quarter_above_the_truth() -> None:
    _, told, took, _ = whole()

    assert min(left for _, left in told.predicted) >= 0
    assert max(at + left for at, left in told.predicted) < 1.25 * took
    assert min(at + left for at, left in told.predicted) > 0.75 * took
    assert told.predicted[-1][1] == 0


def test_nothing_that_could_change_a_meter_is_sent_and_nobody_is_broadcast_to() -> None:
    _, _, _, asked = whole()

    for form, octets in asked:
        assert is_read(octets), f"{form}: {octets.hex(' ')}"


def is_read(octets: bytes) -> bool:
    if octets in {b"/?!\r\n", BREAK.encode()}:
        return True
    reader = RequestReader()
    reader.receive_data(octets)
    if (request := reader.next_event()) is not NEED_DATA:
        return request.unit != 0 and request.pdu[0] in READS
    if octets[0] == 0x7E:
        hdlc = HdlcReader()
        hdlc.receive_data(octets)
        return getattr(hdlc.next_event(), "kind", None) in {HdlcKind.SNRM, HdlcKind.DISC, HdlcKind.I, HdlcKind.RR}
    dlt645 = Dlt645Reader()
    dlt645.receive_data(octets)
    question = dlt645.next_event()
    controls = {Control.READ, Control.READ_ADDRESS, Control1997.READ}
    return isinstance(question, Dlt645Frame) and question.control in controls and question.address != BROADCAST


class Kept:
    """Keeps a scan's state as a file would, and what was settled since."""

    def __init__(self) -> None:
        self.octets = b""
        self.settled: list[Question] = []


def test_a_scan_cut_at_many_points_goes_on_and_asks_nothing_twice_that_was_settled() -> None:
    kept = Kept()

    async def sitting() -> bool:
        scan = Scan(Ground())
        if kept.octets:
            load(kept.octets, scan, "port")

        def keep() -> None:
            kept.octets = dump(scan, "port")

        told = Told(scan)
        try:
            async with asyncio.timeout(61.7):
                _, told, _ = await scanned(line(forty()[0]), scan, keep=keep, told=told)
        except TimeoutError:
            return False
        finally:
            kept.settled += told.asked
        return True

    sittings = 1
    while not run(sitting):
        sittings += 1
        assert sittings < 60

    finished = Scan(Ground())
    load(kept.octets, finished, "port")
    _, told, _, _ = whole()
    assert sittings > 20
    assert words(finished.meters) == sorted(forty()[1])
    assert len(kept.settled) == len(set(kept.settled))
    assert set(kept.settled) == set(told.asked)
    assert finished.remaining() == 0


def test_nothing_on_the_line_is_said_and_takes_as_long_as_was_said_before() -> None:
    async def main() -> tuple[Scan, Told, float]:
        scan = Scan(Ground())
        before = scan.remaining()
        _, told, _ = await scanned(line([]), scan)
        return scan, told, before / asyncio.get_running_loop().time()

    scan, told, ratio = run(main)

    assert (scan.meters, scan.crowds, told.notices) == ([], [], [])
    assert ratio == pytest.approx(1, abs=0.05)


def test_a_fast_scan_finds_likely_addresses_in_two_minutes_and_the_neighbors_of_a_meter_behind_hdlc() -> None:
    async def main() -> tuple[Scan, float]:
        stations, _ = forty()
        scan, _, _ = await scanned(line([*stations[:4], *stations[26:29]]), ground=Ground("fast"))
        return scan, asyncio.get_running_loop().time()

    scan, took = run(main)

    assert len(scan.meters) == 7
    assert took < 200


def test_only_what_is_asked_for_is_scanned() -> None:
    async def main() -> Asked:
        on = line([modbus(N96, 3, 1003)])
        ground = Ground(protocols=("modbus",), bauds=(9_600, 2_400), parities=("E",), units=(3,))
        await scanned(on, ground=ground)
        return on.questions

    assert [form for form, _ in run(main)] == [E96, E24]
