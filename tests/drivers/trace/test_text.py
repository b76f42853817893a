"""The text of a trace, written and read back; and what is no trace, or a damaged one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.trace import text
from drivers.trace.text import Header, Record, TraceError, header_line, parse_trace, record_line, session_line

HEADER = Header("ACM1", "acme-e40", "hdlc", "tcp://192.0.2.7:4059", "1/17")


def written(*records: Record) -> bytes:
    return "".join([header_line(HEADER), session_line(0), *(record_line(record) for record in records)]).encode()


@given(
    st.binary(min_size=1, max_size=40),
    st.integers(0, 10**12),
    st.sampled_from("><x"),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_a_record_is_read_as_it_was_written(octets: bytes, at: int, mark: text.Mark, one: int, other: int) -> None:
    start, end = sorted((min(one, len(octets)), min(other, len(octets))))
    masked = ((start, end),) if start < end else ()
    hidden = octets[:start] + bytes([text.MASK]) * (end - start) + octets[end:]

    trace = parse_trace(written(Record(1, at, mark, hidden, masked)))

    assert trace.header == HEADER
    assert trace.records[1:] == (Record(1, at, mark, hidden, masked),)
    assert not trace.faults


def test_words_are_one_bounded_line_of_ascii() -> None:
    trace = parse_trace(written(Record(1, 5, "!", text="nothing\ncame \N{SNOWMAN}" + "x" * 1_000)))

    (_, note) = trace.records
    assert note.text.startswith("nothing came \\u2603xxx")
    assert len(note.text) == text.MAX_NOTE


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not a trace"),
        (b"usage_point,meter\n", "not a trace"),
        (b"headend-trace/2 {}\n", "another version"),
        (b"headend-trace/1 {broken\n", "damaged"),
        (b'headend-trace/1 {"meter": 5}\n', "damaged"),
        (b'headend-trace/1 {"meter": "ACM1"}\n', "framing"),
        (b"headend-trace/1 " + b"[" * 100_000 + b"\n", "damaged"),
    ],
)
def test_what_is_no_trace_is_refused_and_told_why(content: bytes, what: str) -> None:
    with pytest.raises(TraceError, match=what):
        parse_trace(content)


def test_damaged_lines_are_named_and_the_rest_is_kept() -> None:
    whole = written(Record(1, 1, ">", b"\x7e"), Record(1, 2, "<", b"\x7e\x7e"))

    trace = parse_trace(whole[:-1] + b"zz\nrubbish\n0.000009 > 7\n" + b"\xff\xfe\n" + whole.split(b"\n")[2][:9])

    assert [record.mark for record in trace.records] == ["@", ">"]
    assert [fault.split(":")[0] for fault in trace.faults] == ["line 4", "line 5", "line 6", "line 7", "line 8"]


def test_faults_are_bounded_in_number_and_length() -> None:
    trace = parse_trace(written() + b"x" * 400_000 + b"\n" + b"y\n" * 10_000)

    assert len(trace.faults) == text.MAX_FAULTS + 1
    assert all(len(fault) < 100 for fault in trace.faults)
