"""Links that give back what is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import LineNoise, TransportTimeout
from drivers.transports import null_modem
from drivers.transports.echo import EchoFilter, EchoStream


@given(
    exchanges=st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(min_size=1, max_size=9)), max_size=5),
    size=st.integers(1, 7),
)
def test_a_declared_echo_is_dropped_and_nothing_else(exchanges: list[tuple[bytes, bytes]], size: int) -> None:
    echo = EchoFilter(is_sure=True)

    for question, answer in exchanges:
        echo.sent(question)
        came = question + answer

        heard = b"".join(echo.received(came[at : at + size]) for at in range(0, len(came), size))

        assert heard == answer


@given(question=st.binary(min_size=1, max_size=9), answer=st.binary(min_size=1, max_size=9), size=st.integers(1, 7))
def test_detection_loses_no_byte_of_a_line_without_echo(question: bytes, answer: bytes, size: int) -> None:
    echo = EchoFilter(is_sure=False)
    echo.sent(question)

    heard = b"".join(echo.received(answer[at : at + size]) for at in range(0, len(answer), size)) + echo.release()

    # An answer that begins with the whole question cannot be told from an echo and an answer.
    starts_alike = answer.startswith(question) and answer != question
    assert heard == (answer[len(question) :] if starts_alike else answer)


def test_a_changed_echo_is_told_once() -> None:
    echo = EchoFilter(is_sure=True)
    echo.sent(b"question")

    with pytest.raises(LineNoise, match="came back changed"):
        echo.received(b"quesXion")

    assert echo.received(b"answer") == b"answer"


def test_a_wrong_guess_is_taken_back() -> None:
    echo = EchoFilter(is_sure=False)
    echo.sent(b"on")
    assert echo.received(b"on!") == b"!"
    assert echo.is_sure

    echo.sent(b"off")

    assert echo.received(b"o") + echo.received(b"k") == b"ok"
    assert not echo.is_sure


async def test_an_answer_equal_to_its_question_is_delivered_when_nothing_follows() -> None:
    near, far = null_modem("bus", 9600)
    stream = EchoStream(near, is_sure=False)

    await stream.write(b"\x11\x06\x00\x01\x00\x03")
    await far.write(await far.read(1))

    assert await stream.read(0.05) == b"\x11\x06\x00\x01\x00\x03"
    assert (stream.bits_per_second, stream.bits_per_character, stream.has_parity) == (9600, 10, False)


async def test_an_echo_alone_is_no_answer() -> None:
    near, far = null_modem()
    stream = EchoStream(near, is_sure=True)

    await stream.write(b"question")
    await far.write(await far.read(1))

    with pytest.raises(TransportTimeout):
        await stream.read(0.02)
