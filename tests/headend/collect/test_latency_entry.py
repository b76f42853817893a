import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.collect.latency import ENOUGH, HALVED_AT, STEPS, Latencies, Latency
from headend.collect.latency_entry import MAX_NAMES, VERSION, decode_latencies, encode_latencies
from tests.headend.collect.builders import taught

DECLARED = 2.0


@given(st.dictionaries(st.text(max_size=20), st.lists(st.floats(0.0, 60.0), max_size=50), max_size=5))
def test_what_was_learned_comes_back_to_the_microsecond(times: dict[str, list[float]]) -> None:
    known = {name: taught(heard) for name, heard in times.items()}

    entry = encode_latencies(known)

    assert entry is not None
    back = decode_latencies(entry)
    assert back.keys() == known.keys()
    for name, one in back.items():
        assert list(one.counts) == list(known[name].counts)
        assert one.longest == pytest.approx(known[name].longest, abs=1e-6)


def test_a_restarted_collector_allows_what_it_allowed_before() -> None:
    before = Latencies()
    for _ in range(ENOUGH):
        before.heard("bus", "A:1", "model", 0.1)
    ((link, known),) = before.take_news().items()
    entry = encode_latencies(known)
    assert entry is not None

    after = Latencies()
    after.recall(link, decode_latencies(entry))

    for meter in ("A:1", "A:2"):
        allowed = after.allowance("bus", meter, "model", DECLARED)
        assert allowed == pytest.approx(before.allowance("bus", meter, "model", DECLARED)) != DECLARED
    assert not before.take_news()
    assert not after.take_news()


def test_what_was_learned_since_is_not_undone_by_what_is_recalled() -> None:
    latencies = Latencies()
    for _ in range(ENOUGH):
        latencies.heard("bus", "A:1", "model", 0.1)
    allowed = latencies.allowance("bus", "A:1", "model", DECLARED)

    latencies.recall("bus", {"A:1": taught([1.0] * ENOUGH)})

    assert latencies.allowance("bus", "A:1", "model", DECLARED) == allowed


def test_every_damaged_octet_makes_an_entry_nothing() -> None:
    entry = encode_latencies({"A:1": taught([0.1] * 30)})
    assert entry is not None

    for at in range(len(entry)):
        damaged = bytearray(entry)
        damaged[at] ^= 0x55
        assert decode_latencies(bytes(damaged)) == {}
        assert decode_latencies(entry[:at]) == {}


@pytest.mark.parametrize(
    "json",
    [
        "", "[]", "null", "7", '{"a":7}', '{"a":[1]}', '{"a":[1,2,3]}', '{"a":[1,2,[[1]]]}', '{"a":[1,2,[[1,2,3]]]}',
        '{"a":[-1,2,[]]}', '{"a":[1.5,2,[]]}', '{"a":[true,2,[]]}', '{"a":["1",2,[]]}', '{"a":[1,2,[[1,-2]]]}',
        '{"a":[1,2,{"b":1}]}', '{"a":[1,1e400,[]]}', "[" * 50_000,
        f'{{"a":[1,2,[[{STEPS},1]]]}}', f'{{"a":[1,2,[[1,{HALVED_AT}]]]}}',
    ],
)  # fmt: skip
def test_an_entry_that_holds_something_else_is_nothing(json: str) -> None:
    octets = bytes((VERSION,)) + json.encode()

    assert decode_latencies(octets + zlib.crc32(octets).to_bytes(4)) == {}


def test_an_entry_of_another_version_is_nothing() -> None:
    octets = bytes((VERSION + 1,)) + b"{}"

    assert decode_latencies(octets + zlib.crc32(octets).to_bytes(4)) == {}


def test_more_names_than_a_line_has_are_not_kept() -> None:
    assert encode_latencies({str(name): Latency() for name in range(MAX_NAMES)}) is not None
    assert encode_latencies({str(name): Latency() for name in range(MAX_NAMES + 1)}) is None
