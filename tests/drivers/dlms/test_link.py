"""The HDLC data link between a client and a server: segments, acknowledgements, what is lost and what is foreign."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms.events import NEED_DATA, Apdu, Connect, Connected, Disconnect, Disconnected, LinkEvent, Poll
from drivers.dlms.hdlc import Frame, HdlcAddress, Kind
from drivers.dlms.link import HdlcLink
from drivers.dlms.wrapper import WrapperLink
from drivers.errors import LocalProtocolError, RemoteProtocolError

CLIENT, SERVER = HdlcAddress(16), HdlcAddress(1, 17)


class Pair:
    """A client and a server joined by a wire that carries everything."""

    def __init__(self, max_info: int = 128) -> None:
        self.client = HdlcLink("client", CLIENT, SERVER, max_info)
        self.server = HdlcLink("server", SERVER, None)
        self.at_client: list[LinkEvent] = []
        self.at_server: list[LinkEvent] = []

    def open(self) -> "Pair":
        self.to_server(self.client.send(Connect()))
        return self

    def to_server(self, octets: bytes) -> None:
        while octets:
            self.server.receive_data(octets)
            while (event := self.server.next_event()) is not NEED_DATA:
                self.at_server.append(event)
            octets = self.to_client(self.server.data_to_send())

    def to_client(self, octets: bytes) -> bytes:
        self.client.receive_data(octets)
        while (event := self.client.next_event()) is not NEED_DATA:
            self.at_client.append(event)
        return self.client.data_to_send()


@given(st.integers(20, 200), st.binary(min_size=1, max_size=1000), st.binary(min_size=1, max_size=1000))
def test_any_question_and_answer_pass_in_segments_of_any_size(max_info: int, question: bytes, answer: bytes) -> None:
    pair = Pair(max_info).open()

    pair.to_server(pair.client.send(Apdu(question)))
    pair.to_server(pair.to_client(pair.server.send(Apdu(answer))))
    pair.to_server(pair.client.send(Disconnect()))

    assert pair.at_server == [Connected(max_info, max_info), Apdu(question), Disconnected()]
    assert pair.at_client == [Connected(max_info, max_info), Apdu(answer), Disconnected()]


def test_the_smaller_information_field_of_the_two_sides_wins() -> None:
    pair = Pair(200)
    pair.server = HdlcLink("server", SERVER, None, 90)

    pair.open()

    assert pair.client.max_info_send == 90
    assert pair.server.max_info_send == 90


def test_a_lost_answer_is_sent_again_when_polled_and_the_question_is_not_repeated() -> None:
    pair = Pair().open()
    pair.to_server(pair.client.send(Apdu(b"question")))
    lost = pair.server.send(Apdu(b"answer"))

    pair.to_server(pair.client.send(Poll()))

    assert lost
    assert pair.at_client[-1] == Apdu(b"answer")
    assert pair.at_server.count(Apdu(b"question")) == 1


def test_a_lost_question_is_sent_again_when_polling_shows_that_it_never_came() -> None:
    pair = Pair().open()
    lost = pair.client.send(Apdu(b"question"))

    pair.to_server(pair.client.send(Poll()))

    assert lost
    assert pair.at_server[-1] == Apdu(b"question")


def test_an_answer_that_comes_twice_is_delivered_once() -> None:
    pair = Pair().open()
    pair.to_server(pair.client.send(Apdu(b"question")))
    answer = pair.server.send(Apdu(b"answer"))

    pair.to_client(answer + answer)

    assert pair.at_client.count(Apdu(b"answer")) == 1


@pytest.mark.parametrize("source", [HdlcAddress(2, 17), HdlcAddress(1, 18), HdlcAddress(1)])
def test_an_answer_of_another_meter_is_an_error(source: HdlcAddress) -> None:
    pair = Pair().open()
    foreign = Frame(CLIENT, source, Kind.I, 0, 1, information=b"\xe6\xe7\x00answer").encode()

    with pytest.raises(RemoteProtocolError, match="expected from 1/17"):
        pair.to_client(foreign)


def test_an_answer_to_another_client_is_an_error() -> None:
    pair = Pair().open()

    with pytest.raises(RemoteProtocolError, match="to 17"):
        pair.to_client(Frame(HdlcAddress(17), SERVER, Kind.I, 0, 0, information=b"\xe6\xe7\x00answer").encode())


@pytest.mark.parametrize(("send", "receive"), [(3, 1), (0, 4)])
def test_numbers_out_of_order_are_an_error(send: int, receive: int) -> None:
    pair = Pair().open()
    pair.client.send(Apdu(b"question"))

    with pytest.raises(RemoteProtocolError):
        pair.to_client(Frame(CLIENT, SERVER, Kind.I, send, receive, information=b"\xe6\xe7\x00answer").encode())


def test_information_without_the_response_header_is_an_error() -> None:
    pair = Pair().open()
    pair.client.send(Apdu(b"question"))

    with pytest.raises(RemoteProtocolError, match="LLC"):
        pair.to_client(Frame(CLIENT, SERVER, Kind.I, 0, 1, information=b"\xe6\xe6\x00answer").encode())


def test_a_meter_that_says_it_is_not_connected_is_heard() -> None:
    link = HdlcLink("client", CLIENT, SERVER)
    link.send(Connect())
    link.receive_data(Frame(CLIENT, SERVER, Kind.DM).encode())

    assert link.next_event() == Disconnected(was_open=False)


def test_sending_before_connecting_is_our_mistake() -> None:
    link = HdlcLink("client", CLIENT, SERVER)

    with pytest.raises(LocalProtocolError, match="while closed"):
        link.send(Apdu(b"question"))


def test_a_server_ignores_frames_for_other_meters_on_its_line() -> None:
    server = HdlcLink("server", SERVER, None)
    server.receive_data(Frame(HdlcAddress(1, 18), CLIENT, Kind.SNRM).encode())

    assert server.next_event() is NEED_DATA
    assert server.data_to_send() == b""


def test_segments_without_end_are_cut_off() -> None:
    pair = Pair(2030).open()
    pair.client.send(Apdu(b"question"))
    segments = b"".join(
        Frame(CLIENT, SERVER, Kind.I, number % 8, 1, segmented=True, information=bytes(2030)).encode()
        for number in range(40)
    )

    with pytest.raises(RemoteProtocolError, match="more than"):
        pair.to_client(segments)


# -- the wrapper


def test_a_wrapped_apdu_comes_out_whole_or_in_pieces() -> None:
    client, server = WrapperLink(16, 1), WrapperLink(1, None)
    octets = client.send(Apdu(b"question")) + client.send(Apdu(b"second"))

    found = []
    for octet in octets:
        server.receive_data(bytes([octet]))
        if (event := server.next_event()) is not NEED_DATA:
            found.append(event)

    assert found == [Apdu(b"question"), Apdu(b"second")]
    assert server.remote == 16


def test_two_wrapped_apdus_in_one_piece_are_two_events() -> None:
    client, server = WrapperLink(16, 1), WrapperLink(1, 16)
    server.receive_data(client.send(Apdu(b"one")) + client.send(Apdu(b"two")) + b"\x00")

    assert [server.next_event(), server.next_event()] == [Apdu(b"one"), Apdu(b"two")]
    assert server.next_event() is NEED_DATA


@pytest.mark.parametrize(
    "octets", ["0002000100100001aa", "7ea0", "0001000200100001aa", "0001000100110001aa", "0001000100100000"]
)
def test_a_wrapper_of_another_version_sender_receiver_or_without_content_is_an_error(octets: str) -> None:
    client = WrapperLink(16, 1)
    client.receive_data(bytes.fromhex(octets))

    with pytest.raises(RemoteProtocolError):
        client.next_event()
