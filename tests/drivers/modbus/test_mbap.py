"""MBAP framing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import RemoteProtocolError
from drivers.modbus.mbap import MbapFrame, MbapReader
from drivers.modbus.pdu import NEED_DATA

FRAME = MbapFrame(1, 17, bytes.fromhex("0306022b00000064"))


@given(
    st.lists(st.builds(MbapFrame, st.integers(0, 65535), st.integers(0, 255), st.binary(min_size=1, max_size=253))),
    st.integers(1, 9),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames: Any, size: Any) -> None:
    stream = b"".join(frame.encode() for frame in frames)
    reader = MbapReader()

    found = []
    for start in range(0, len(stream), size):
        reader.receive_data(stream[start : start + size])
        while (event := reader.next_event()) is not NEED_DATA:
            found.append(event)

    assert found == frames


def test_rubbish_behind_a_frame_does_not_spoil_it() -> None:
    reader = MbapReader()
    reader.receive_data(FRAME.encode() + b"\xff" * 9)

    assert reader.next_event() == FRAME
    with pytest.raises(RemoteProtocolError):
        reader.next_event()


@pytest.mark.parametrize(
    "header", ["0001000100020103", "0001000000010103", "00010000ffff0103"], ids=["protocol", "short", "long"]
)
def test_impossible_header_is_a_protocol_error(header: Any) -> None:
    reader = MbapReader()
    reader.receive_data(bytes.fromhex(header))

    with pytest.raises(RemoteProtocolError):
        reader.next_event()
