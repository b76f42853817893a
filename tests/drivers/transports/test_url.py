"""Link URLs."""

import pytest

from drivers.errors import PortUnavailable
from drivers.transports import open_transport
from drivers.transports.url import (
    Form,
    LinkUrl,
    ListenLinkUrl,
    MemoryUrl,
    MqttUrl,
    Rfc2217Url,
    SerialUrl,
    TcpUrl,
    parse_url,
)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("tcp://192.0.2.7:4059", TcpUrl("192.0.2.7", 4059)),
        ("tcp://meter.example:502/?connect_timeout=3", TcpUrl("meter.example", 502, 3)),
        ("tcp://[2001:db8::1]:4059", TcpUrl("2001:db8::1", 4059)),
        ("serial:///dev/ttyUSB0", SerialUrl("/dev/ttyUSB0")),
        ("serial:///dev/ttyUSB0?baud=2400&parity=E&bits=7&stop=2", SerialUrl("/dev/ttyUSB0", 2400, "E", 7, 2)),
        ("serial:///dev/ttyUSB0?echo=yes", SerialUrl("/dev/ttyUSB0", echo="yes")),
        ("tcp://192.0.2.7:4001?baud=2400&parity=E&echo=yes", TcpUrl("192.0.2.7", 4001, 10, Form(2400, "E"), "yes")),
        ("tcp-listen://0.0.0.0:4001?baud=9600", ListenLinkUrl("0.0.0.0", 4001, 60, Form())),
        ("rfc2217://192.0.2.7:4001?parity=E&baud=300&bits=7", Rfc2217Url("192.0.2.7", 4001, 10, Form(300, "E", 7))),
        ("mqtt://broker?tx=a/b&rx=c", MqttUrl("broker", 1883, "a/b", "c")),
        ("mqtts://broker?tx=a&rx=c&baud=9600", MqttUrl("broker", 8883, "a", "c", 10, Form(), is_secure=True)),
        ("memory://bus", MemoryUrl("bus")),
    ],
)
def test_good_url_is_read(text: str, url: LinkUrl) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "tcp://192.0.2.7:1?baud=2400&parity=E&bits=8&stop=1&echo=yes",
        "tcp-listen://[::]:4001",
        "rfc2217://[::1]:4001?baud=9600&parity=N&bits=8&stop=1&echo=no",
        "mqtt://[::1]:1883?tx=a/b&rx=c%20d",
        "tcp://[2001:db8::1]:4059",
        "serial:///dev/x?baud=2400&parity=E&bits=7&stop=2",
        "memory://bus",
    ],
)
def test_url_writes_itself_as_it_was_read(text: str) -> None:
    assert str(parse_url(text)) == text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "unknown kind ''"),
        ("192.0.2.7:4059", "unknown kind"),
        ("ftp://192.0.2.7:4059", "unknown kind 'ftp'"),
        ("tcp://192.0.2.7", "needs a host and a port"),
        ("tcp://:4059", "needs a host and a port"),
        ("tcp://192.0.2.7:0", "needs a host and a port"),
        ("tcp://192.0.2.7:65536", "out of range"),
        ("tcp://user:secret@192.0.2.7:1", "no user, password"),
        ("tcp://192.0.2.7:1/path", "needs a host and a port"),
        ("serial://ttyUSB0", "three slashes"),
        ("serial:///", "three slashes"),
        ("serial:///dev/x?baud=fast", "baud=fast: not a whole number from 50"),
        ("serial:///dev/x?baud=", "not a whole number"),
        ("serial:///dev/x?parity=even", "parity=even: not one of N, E, O"),
        ("serial:///dev/x?bits=9", "bits=9: not one of 7, 8"),
        ("serial:///dev/x?speed=9600", "unknown setting speed; known: baud, parity, bits, stop"),
        ("serial:///dev/x?baud=9600&baud=2400", "baud is set twice"),
        ("serial:///dev/x?echo=maybe", "echo=maybe: not one of no, yes, detect"),
        ("tcp://192.0.2.7:1?parity=E", "but not its baud"),
        ("rfc2217://192.0.2.7", "needs a host and a port"),
        ("mqtt://broker?tx=a", "needs two topics"),
        ("mqtt://broker?tx=a&rx=a", "needs two topics"),
        ("mqtt://broker?tx=a&rx=b/%23", "rx=b/#: not a topic"),
        ("memory://", "needs a name"),
        ("tcp://[::1:1", "Invalid IPv6"),
    ],
)
async def test_bad_url_says_what_is_wrong_and_is_not_retried(text: str, fault: str) -> None:
    with pytest.raises(PortUnavailable) as caught:
        await open_transport(text)

    assert fault in str(caught.value)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("url", "bits"),
    [
        (SerialUrl("/dev/x"), 10),
        (SerialUrl("/dev/x", parity="E"), 11),
        (SerialUrl("/dev/x", bits=7, parity="E"), 10),
        (SerialUrl("/dev/x", stop=2), 11),
    ],
)
def test_character_takes_start_data_parity_and_stop_bits(url: SerialUrl, bits: int) -> None:
    assert url.bits_per_character == bits
