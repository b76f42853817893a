"""Sixteen faults that stacks of this protocol have had, one test or more for each: what is hostile or wrong is refused, the rest is not there.

Every test holds a whole session through a null modem. Rows 1 to 3, 6, 7, 9 to 11 and 16 are answers no client may believe; the
others are faults of a client's own.
"""

import ast
import contextlib
import inspect
import io
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

import drivers
from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.driver import open_session
from drivers.dlms.xdlms import Attribute
from drivers.errors import (
    CounterError,
    DriverError,
    RemoteProtocolError,
    SecurityError,
    TransportTimeout,
)
from drivers.facts import IntervalBlock
from drivers.obis import Obis, resolve
from drivers.profile import ClockProfile
from headend.collect.engine import Engine
from simulators.faults import Deed, Misdeed, Stage
from tests.drivers.dlms import meter as scripted
from tests.drivers.dlms.adversary.hostile import (
    WRAPPER_HEADER,
    Alter,
    Line,
    Store,
    after,
    context,
    conversation,
    hostile,
    serving,
    session,
)
from tests.drivers.dlms.test_hostile_meter import Odd
from tests.drivers.dlms.test_hostile_meter import session as scripted_session
from tests.simulators.homes import MONDAY
from tests.simulators.test_dlms import NOW, named

NAME = Attribute(1, Obis(0, 0, 42, 0, 0), 2)
ENERGY = resolve("active_energy_import")
BOTH = pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
OPENING = {"none": 1, "hls5": 2}  # answers over WRAPPER before the association is open


async def read_name(line: Line, store: Store | None = None, **options: str) -> str:
    async with session(line, store, **options) as opened:
        return (await opened.read_identity()).name


def flipped(bit: int) -> Alter:
    def alter(octets: bytes) -> bytes:
        altered = bytearray(octets)
        altered[bit // 8] ^= 1 << bit % 8
        return bytes(altered)

    return alter


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.thread_time()
    yield
    assert time.thread_time() - start < seconds


# -- 1: the tag is compared


async def test_row_01_any_bit_flipped_in_an_authenticated_answer_is_refused_and_never_a_value() -> None:
    untouched = Line("wrapper", "hls5")
    assert await read_name(untouched) == "SIM0000000000017"
    answer = untouched.answered[OPENING["hls5"]]
    assert answer[WRAPPER_HEADER] == 0xCC
    assert answer[WRAPPER_HEADER + 2] == 0x30
    protected = range(8 * (WRAPPER_HEADER + 3), 8 * len(answer))  # counter, ciphertext, tag

    for bit in protected:
        with pytest.raises(SecurityError):
            await read_name(Line("wrapper", "hls5", alter=after(OPENING["hls5"], flipped(bit))))

    assert len(protected) == 8 * (4 + 22 + 12)


@BOTH
async def test_row_01_a_wrong_tag_is_a_security_error(framing: str) -> None:
    for stage in (Stage.AARE, Stage.PROOF, Stage.GET):
        with pytest.raises(SecurityError, match="tag is wrong"):
            await read_name(hostile(framing, "hls5", Misdeed(Deed.WRONG_TAG, stage=stage)))


# -- 2: nothing weaker than agreed


@BOTH
@pytest.mark.parametrize("deed", [Deed.PLAIN_ANSWER, Deed.WEAKER_ANSWER])
@pytest.mark.parametrize("stage", [Stage.AARE, Stage.PROOF, Stage.GET])
async def test_row_02_a_plain_or_weaker_answer_in_a_ciphered_association_is_a_security_error(
    framing: str, deed: Deed, stage: Stage
) -> None:
    with pytest.raises(SecurityError):
        await read_name(hostile(framing, "hls5", Misdeed(deed, stage=stage)))


async def test_row_02_nothing_is_asked_any_more_after_a_weaker_answer() -> None:
    line = hostile("wrapper", "hls5", Misdeed(Deed.PLAIN_ANSWER, stage=Stage.GET))

    async with conversation(line) as opened:
        with pytest.raises(SecurityError):
            await opened.get(NAME)
        asked = len(line.asked)
        with pytest.raises(DriverError):
            await opened.get(NAME)

    assert len(line.asked) == asked


# -- 3: no answer twice


@BOTH
@pytest.mark.parametrize("deed", [Deed.REPLAYED_ANSWER, Deed.COUNTER_STUCK, Deed.COUNTER_RESET])
async def test_row_03_a_counter_that_does_not_rise_is_a_counter_error(framing: str, deed: Deed) -> None:
    line = hostile(framing, "hls5", Misdeed(deed, first=2, stage=Stage.GET))

    async with conversation(line) as opened:
        await opened.get(NAME)
        with pytest.raises(CounterError):
            await opened.get(NAME)


async def test_row_03_a_whole_session_played_back_is_a_counter_error() -> None:
    line, store = Line("wrapper", "hls5"), Store()
    await read_name(line, store)
    recorded = iter(list(line.answered))
    store.following = 1  # even where our own counters, and so our octets, are the same again

    replayed = Line("wrapper", "hls5", alter=lambda _: next(recorded))
    with pytest.raises(CounterError, match="replayed session"):
        await read_name(replayed, store)


# -- 4: counters end


async def test_row_04_counters_end_before_2_to_the_32_with_a_rekey_error_and_none_is_used_twice() -> None:
    store, line = Store(following=2**32 - 8), Line("wrapper", "hls5")

    async with conversation(line, store) as opened:
        with pytest.raises(CounterError, match="rekey"):  # noqa: PT012 - which of them is the first is not the point
            for _ in range(10):
                await opened.get(NAME)

    sent = [int.from_bytes(octets[WRAPPER_HEADER + 3 : WRAPPER_HEADER + 7], "big") for octets in line.asked[1:]]
    assert sent
    assert all(before < following for before, following in pairwise(sent))
    assert max(sent) < 2**32 - 1
    assert not any(b"\x30\x00\x00\x00\x00" in octets or b"\x30\xff\xff\xff\xff" in octets for octets in line.asked)


# -- 5: randomness and keys


async def test_row_05_a_challenge_is_what_the_injected_generator_gave_and_nothing_else() -> None:
    given: list[bytes] = []

    def generator(count: int) -> bytes:
        given.append(os.urandom(count))
        return given[-1]

    line = Line("wrapper", "hls5")
    async with (
        serving(line) as stream,
        open_session(stream, line.endpoint(), context(line, random_bytes=generator)),
    ):
        pass

    assert len(given) == 1
    assert len(given[0]) == 16
    assert given[0] in line.asked[0]


def test_row_05_no_driver_has_randomness_of_its_own() -> None:
    """Whoever opens sessions hands in `os.urandom`; `random` is imported nowhere, nor is anything printed."""
    folder = Path(drivers.__file__).parent
    seen = 0
    for path in [*folder.rglob("*.py"), *(folder.parent / "headend" / "collect").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        is_driver = path.is_relative_to(folder)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not is_driver or not names & {"random", "secrets"}, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert not is_driver or node.func.id != "print", path
                if node.func.id == "SessionContext":
                    seen += 1
                    assert {"os.urandom", "random_bytes"} & {ast.unparse(argument) for argument in node.args}, path
    assert seen >= 2
    assert inspect.signature(Engine).parameters["random_bytes"].default is os.urandom


# -- 6: whose answer


@pytest.mark.parametrize(
    ("framing", "address"), [("wrapper", "17"), ("hdlc", "17"), ("hdlc", "1/17"), ("hdlc", "1/1017")]
)
@pytest.mark.parametrize("authentication", ["none", "hls5"])
async def test_row_06_another_meters_answer_is_never_taken_for_this_ones(
    framing: str, address: str, authentication: str
) -> None:
    line = Line(framing, authentication, named(17, Misdeed(Deed.OTHER_METER, stage=Stage.GET)), address=address)

    with pytest.raises(RemoteProtocolError, match="expected from"):
        await read_name(line)


# -- 7: which question


@BOTH
@pytest.mark.parametrize("authentication", ["none", "hls5"])
@pytest.mark.parametrize("deed", [Deed.WRONG_INVOKE_ID, Deed.LATE_ANSWER])
async def test_row_07_an_answer_to_another_question_is_a_protocol_error(
    framing: str, authentication: str, deed: Deed
) -> None:
    async with conversation(hostile(framing, authentication, Misdeed(deed, first=2, stage=Stage.GET))) as opened:
        await opened.get(NAME)
        with pytest.raises(RemoteProtocolError, match="late answer"):
            await opened.get(NAME)


async def test_row_07_an_answer_that_comes_after_we_gave_up_is_not_taken_for_the_next() -> None:
    line = hostile("wrapper", "none", Misdeed(Deed.HELD_ANSWER, first=1, times=1, stage=Stage.GET))

    async with conversation(line) as opened:
        with pytest.raises(TransportTimeout):
            await opened.get(NAME)
        with pytest.raises(DriverError):
            await opened.get(Attribute(8, Obis(0, 0, 1, 0, 0), 2))


# -- 8: windows


def hundred_rows(window: int, alter: Alter = lambda octets: octets) -> Line:
    home = replace(named(17).household, wh=tuple(range(100)))
    offer = {"window": window, "max_info": 64}
    return Line("hdlc", "none", named(17, household=home), dlms=offer, alter=alter, now=home.end)


async def read_hundred(line: Line) -> tuple[int | None, ...]:
    async with session(line) as opened:
        (block,) = await opened.read_load_profile(MONDAY, line.now)
    assert isinstance(block, IntervalBlock)
    return block.counts


async def test_row_08_windows_above_one_are_used_and_save_turns() -> None:
    turns = {}
    for window in range(1, 8):
        line = hundred_rows(window)
        assert await read_hundred(line) == tuple(range(100))
        turns[window] = len(line.asked)

    assert all(turns[window] > turns[window + 1] for window in range(1, 5))
    assert turns[7] < turns[1] / 3


@pytest.mark.parametrize("lost", range(4))
async def test_row_08_a_frame_lost_inside_a_window_is_sent_again(lost: int) -> None:
    dropped = 0

    def alter(octets: bytes) -> bytes:
        nonlocal dropped
        frames = [b"\x7e" + part + b"\x7e" for part in octets.strip(b"\x7e").split(b"\x7e\x7e")]
        if dropped or len(frames) < 4:
            return octets
        dropped = 1
        return b"".join(frames[:lost] + frames[lost + 1 :])

    line = hundred_rows(4, alter)

    assert await read_hundred(line) == tuple(range(100))
    assert dropped


# -- 9: depth and noise


async def test_row_09_three_thousand_flags_are_skipped_and_the_answer_behind_them_is_read() -> None:
    with within(2.0):
        assert await read_name(hostile("hdlc", "none", Misdeed(Deed.FLAG_STORM))) == "SIM0000000000017"


@pytest.mark.parametrize("noise", [b"\x7e" * 3000, b"\x7d" * 3000, b"\x7e\xa0" * 1500, b"\xff\x7e" * 1500, bytes(3000)])
async def test_row_09_noise_of_any_length_ends_in_an_answer_or_an_error_of_the_line(noise: bytes) -> None:
    with within(2.0), contextlib.suppress(RemoteProtocolError, TransportTimeout):
        assert await read_name(Line("hdlc", alter=lambda octets: noise + octets)) == "SIM0000000000017"


@BOTH
async def test_row_09_data_nested_three_thousand_deep_is_a_protocol_error(framing: str) -> None:
    with within(2.0), pytest.raises(RemoteProtocolError, match="deeper"):
        await read_name(hostile(framing, "none", Misdeed(Deed.NESTED_ANSWER)))


# -- 10: checksums


async def test_row_10_a_damaged_frame_is_asked_for_again_without_repeating_the_question() -> None:
    line = hostile("hdlc", "none", Misdeed(Deed.WRONG_FCS, times=1))

    assert await read_name(line) == "SIM0000000000017"

    questions = [octets for octets in line.asked if bytes.fromhex("c001c1") in octets]
    assert len(questions) == 1


async def test_row_10_a_line_that_damages_every_frame_is_a_protocol_error_that_may_be_retried() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        await read_name(hostile("hdlc", "none", Misdeed(Deed.WRONG_FCS)))

    assert caught.value.retryable


# -- 11: what nobody knows


@pytest.mark.parametrize("authentication", ["none", "hls5"])
@pytest.mark.parametrize("tag", [0xDD, 0xDF, 0xF5, 0x00, 0xFF, 0x7E])
async def test_row_11_a_service_that_was_not_agreed_is_an_error_at_once(authentication: str, tag: int) -> None:
    def alter(octets: bytes) -> bytes:
        return octets[:WRAPPER_HEADER] + bytes([tag]) + octets[WRAPPER_HEADER + 1 :]

    line = Line("wrapper", authentication, alter=after(OPENING[authentication], alter))

    with pytest.raises(SecurityError if authentication == "hls5" else RemoteProtocolError):
        await read_name(line)


@pytest.mark.parametrize("code", range(28, 34))
async def test_row_11_a_difference_where_a_value_should_be_is_a_protocol_error(code: int) -> None:
    meter = scripted.Meter(values={f"3/{scripted.REGISTER}/2": Data(Tag(code), 5)})

    async with scripted_session(meter) as opened:
        with pytest.raises(RemoteProtocolError, match="expected an integer, got delta"):
            await opened.read_registers([scripted.REGISTER])


@pytest.mark.parametrize("code", [7, 8, 11, 14, 34, 0x7F, 0xFE])
async def test_row_11_an_unknown_data_tag_is_a_protocol_error_at_once(code: int) -> None:
    def alter(octets: bytes) -> bytes:
        at = octets.index(b"SIM0")
        return octets[: at - 2] + bytes([code]) + octets[at - 1 :]

    with pytest.raises(RemoteProtocolError, match="unknown data tag"):
        await read_name(Line("wrapper", alter=after(1, alter)))


# -- 12: lists


@pytest.mark.parametrize("max_pdu", [64, 80, 128, 256, 65_535])
async def test_row_12_many_attributes_are_read_whatever_the_size_of_the_pdu(max_pdu: int) -> None:
    line = hostile("wrapper", "none", max_pdu=max_pdu)

    async with conversation(line) as opened:
        replies = await opened.get_many([NAME] * 40)

    assert [reply.data.octets() for reply in replies] == [b"SIM0000000000017"] * 40
    assert all(len(octets) - WRAPPER_HEADER <= max_pdu for octets in [*line.asked[1:], *line.answered[1:]])
    assert (max_pdu < 256) or len(line.asked) < 40


# -- 13: exact values


@pytest.mark.parametrize(
    ("count", "scaler", "value"),
    [(82, -2, "0.82"), (2**63 - 1, 0, "9223372036854775807"), (2**63 - 1, -3, "9223372036854775.807"), (1, -6, "0.000001")],
)  # fmt: skip
async def test_row_13_value_times_scaler_is_exact(count: int, scaler: int, value: str) -> None:
    scaler_unit = axdr.structure(axdr.integer(scaler), axdr.enum(30))
    values = {f"3/{scripted.REGISTER}/2": Data(Tag.LONG64_UNSIGNED, count), f"3/{scripted.REGISTER}/3": scaler_unit}

    async with scripted_session(scripted.Meter(values=values)) as opened:
        (register,) = await opened.read_registers([scripted.REGISTER])

    assert isinstance(register.value, Decimal)
    assert (register.count, register.value) == (count, Decimal(value))


async def test_row_13_a_count_that_cannot_be_kept_exactly_is_refused_not_rounded() -> None:
    meter = scripted.Meter(values={f"3/{scripted.REGISTER}/2": Data(Tag.LONG64_UNSIGNED, 2**63)})

    async with scripted_session(meter) as opened:
        with pytest.raises(RemoteProtocolError, match="does not fit 64 bits"):
            await opened.read_registers([scripted.REGISTER])


# -- 14: the host's zone


@pytest.fixture
def host_zone() -> Iterator[None]:
    before = os.environ.get("TZ")
    yield
    os.environ.pop("TZ", None)
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("host_zone")
@pytest.mark.parametrize("month", ["2026-01-15", "2026-07-15"])
@pytest.mark.parametrize("meter_zone", ["UTC", "Europe/Berlin"])
async def test_row_14_the_zone_of_the_host_changes_neither_a_request_nor_a_fact(month: str, meter_zone: str) -> None:
    assert scripted.PROFILE.dlms is not None
    results = []
    for zone in ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata"):
        os.environ["TZ"] = zone
        time.tzset()
        day = {"2026-01-15": 1_768_435_200, "2026-07-15": 1_784_073_600}[month]
        meter = scripted.Meter(rows=scripted.rows_of(list(range(1, 49)), day + 1800))
        async with scripted_session(meter) as opened:
            opened._profile = replace(opened._profile, clock=ClockProfile(zone=meter_zone))
            facts = await opened.read_load_profile(day, day + 86_400)
        results.append((meter.received, facts))

    assert all(result == results[0] for result in results)
    (block,) = results[0][1]
    assert isinstance(block, IntervalBlock)
    assert block.counts == tuple(range(1, 49))


# -- 15: columns left out


@pytest.mark.parametrize("manner", ["null", "delta", "compact", "plain"])
@BOTH
async def test_row_15_what_a_meter_leaves_out_of_a_row_is_what_stood_in_the_row_before(
    framing: str, manner: str
) -> None:
    async with session(Line(framing, "none", settings={"rows": manner})) as opened:
        (block,) = await opened.read_load_profile(MONDAY, NOW)

    assert isinstance(block, IntervalBlock)
    assert block.counts == (100, 0, 360, None, 7, 900)


async def test_row_15_null_in_any_column_is_expanded_not_only_in_the_clock() -> None:
    first, null = scripted.stamp(scripted.DAY + scripted.PERIOD), axdr.NULL
    rows = (
        axdr.structure(first, axdr.double_long_unsigned(7)),
        axdr.structure(null, null),
        axdr.structure(null, axdr.double_long_unsigned(8)),
        axdr.structure(null, null),
    )

    async with scripted_session(Odd(rows_given=rows)) as opened:
        (block,) = await opened.read_load_profile(scripted.DAY, scripted.DAY + 4 * scripted.PERIOD)

    assert isinstance(block, IntervalBlock)
    assert block.counts == (7, 7, 8, 8)


# -- 16: how a stream is cut


async def test_row_16_two_answers_in_one_segment_are_two_answers_and_the_surplus_one_is_refused() -> None:
    said = io.StringIO()
    line = hostile("wrapper", "none", Misdeed(Deed.DOUBLED_ANSWER, times=1, stage=Stage.GET))

    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        async with conversation(line) as opened:
            assert (await opened.get(NAME)).octets() == b"SIM0000000000017"
            with pytest.raises(RemoteProtocolError):
                await opened.get(Attribute(8, Obis(0, 0, 1, 0, 0), 2))

    assert not said.getvalue()


@BOTH
@pytest.mark.parametrize("authentication", ["none", "lls", "hls5"])
async def test_row_16_a_session_that_arrives_octet_by_octet_is_the_same_session(
    framing: str, authentication: str
) -> None:
    line = Line(framing, authentication)

    async with serving(line) as stream:
        read = stream.read

        left = bytearray()

        async def one_by_one(timeout: float) -> bytes:
            if not left:
                left.extend(await read(timeout))
            first = bytes(left[:1])
            del left[:1]
            return first

        stream.read = one_by_one  # type: ignore[method-assign]
        async with open_session(stream, line.endpoint(), context(line)) as opened:
            assert (await opened.read_identity()).name == "SIM0000000000017"
            (block,) = await opened.read_load_profile(MONDAY, NOW)

    assert isinstance(block, IntervalBlock)
    assert block.counts == (100, 0, 360, None, 7, 900)


def test_no_row_is_left_out() -> None:
    rows = {name[len("test_row_") :][:2] for name in globals() if name.startswith("test_row_")}

    assert rows == {f"{number:02}" for number in range(1, 17)}
