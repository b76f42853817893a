"""General block transfer: both sides of it against each other, with blocks lost, doubled and damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms import transfer
from drivers.dlms.transfer import BlockTransfer, GeneralBlock, Turn, decode_block
from drivers.errors import LocalProtocolError, RemoteProtocolError


def carried(
    apdu: bytes, near: BlockTransfer, far: BlockTransfer, largest: int, lost: frozenset[int]
) -> tuple[bytes, int]:
    """Carry an APDU over; ``lost``: blocks on the way, counted from 0 both ways. Gives it as it arrived, and the count."""
    blocks, count = near.send(apdu, largest), 0
    sides = (near, far)
    for _ in range(2000):
        sender, receiver = sides
        turn: Turn | None = None
        for block in blocks:
            assert len(block) <= largest
            if count not in lost:
                turn = receiver.receive(block)
            count += 1
        if turn is None:  # silence: who waits for an answer asks again
            blocks = sender.repeat() if sender is near else receiver.repeat()
            sides = (near, far)
            continue
        if turn.whole is not None:
            return turn.whole, count
        blocks, sides = list(turn.blocks), (receiver, sender)
    raise AssertionError("no end")


@given(
    st.binary(min_size=1, max_size=900), st.integers(10, 80), st.integers(1, 7), st.integers(1, 7), st.integers(1, 7)
)
def test_an_apdu_arrives_whole_whatever_the_windows(
    apdu: bytes, largest: int, window: int, other: int, sends: int
) -> None:
    near, far = BlockTransfer(window, sends), BlockTransfer(other, sends)

    request, _ = carried(b"\xc0" + apdu, near, far, largest, frozenset())
    answer, _ = carried(b"\xc4" + apdu, far, near, largest, frozenset())

    assert request == b"\xc0" + apdu
    assert answer == b"\xc4" + apdu


@given(st.binary(min_size=200, max_size=600), st.integers(1, 7), st.sets(st.integers(1, 40), max_size=6))
def test_lost_blocks_are_sent_again(apdu: bytes, window: int, lost: set[int]) -> None:
    near, far = BlockTransfer(7, 7), BlockTransfer(window, 7)

    arrived, count = carried(b"\xc1" + apdu, near, far, 40, frozenset(lost))

    assert arrived == b"\xc1" + apdu
    assert count >= (len(apdu) + 31) // 31


def test_a_window_of_seven_takes_a_turn_after_seven_blocks() -> None:
    near, far = BlockTransfer(7, 7), BlockTransfer(7, 7)

    near.send(b"\xc0", 100)
    assert far.receive(near.repeat()[0]) == Turn(whole=b"\xc0")
    burst = [decode_block(block) for block in far.send(b"\xc4" + bytes(999), 100)]
    turns = [near.receive(block.encode()) for block in burst]

    assert [block.number for block in burst] == [1, 2, 3, 4, 5, 6, 7]
    assert [block.is_streaming for block in burst] == [True] * 6 + [False]
    assert turns[:-1] == [None] * 6
    assert turns[-1] == Turn([GeneralBlock(2, 7, b"", is_last=True, window=7).encode()])


def test_after_a_lost_block_the_last_in_order_is_acknowledged() -> None:
    near = BlockTransfer(3)

    near.send(b"\xc0", 0)
    assert near.receive(GeneralBlock(1, 1, b"\xc4", is_streaming=True).encode()) is None
    turn = near.receive(GeneralBlock(3, 1, b"c").encode())

    assert turn is not None
    assert decode_block(turn.blocks[0]).acknowledged == 1


@pytest.mark.parametrize(
    ("blocks", "complaint"),
    [
        ([GeneralBlock(1, 2, b"x")], "2 is acknowledged, 1 were sent"),
        ([GeneralBlock(0, 1, b"x")], "block 0 came"),
        ([GeneralBlock(900, 1, b"x")], "block 900 came"),
        ([GeneralBlock(1, 1, b"\xe0", is_last=True)], "blocks again"),
        ([GeneralBlock(2, 1, b"x")] * 6, "without progress"),
        ([GeneralBlock(1, 1, b"")] * 6, "without progress"),
        ([GeneralBlock(2, 1, b"x", is_streaming=True)] * 64, "without a turn"),
    ],
)
def test_blocks_that_make_no_sense_are_errors(blocks: list[GeneralBlock], complaint: str) -> None:
    near = BlockTransfer(7)
    near.send(b"\xc0", 0)

    with pytest.raises(RemoteProtocolError, match=complaint):
        _ = [near.receive(block.encode()) for block in blocks]


def test_too_much_in_all_blocks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MAX_WHOLE", 100)
    near = BlockTransfer(7)

    with pytest.raises(RemoteProtocolError, match="more than 100"):
        _ = [near.receive(GeneralBlock(number, 0, bytes(40)).encode()) for number in range(1, 5)]
    with pytest.raises(LocalProtocolError, match="too long"):
        near.send(bytes(101), 50)


def test_who_takes_no_more_blocks_ends_it() -> None:
    near = BlockTransfer(1)
    near.send(bytes(100), 50)

    with pytest.raises(RemoteProtocolError, match="takes no general block after 1"):
        near.receive(GeneralBlock(1, 1, b"", window=0).encode())


BLOCK = GeneralBlock(2, 1, bytes(200), is_last=True, window=5)


def test_a_block_encoded_is_the_one_decoded_and_cut_short_or_longer_an_error() -> None:
    octets = BLOCK.encode()

    assert decode_block(octets) == BLOCK
    for end in range(len(octets)):
        with pytest.raises(RemoteProtocolError):
            decode_block(octets[:end])
    with pytest.raises(RemoteProtocolError, match="surplus"):
        decode_block(octets + b"\x00")


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_octets_are_a_block_or_an_error(octets: list[bytes]) -> None:
    near = BlockTransfer(3, 3)
    near.send(bytes(50), 20)
    try:
        for block in octets:
            near.receive(b"\xe0" + block)
    except RemoteProtocolError:
        return
