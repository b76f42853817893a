"""Link URLs: where a link is and how it is set up, checked before anything is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

FORMS = (
    "tcp://host:port, udp://host:port, serial:///dev/ttyUSB0?baud=9600&parity=N&bits=8&stop=1, rfc2217://host:port?baud=9600, "
    "mqtt://broker:1883?tx=topic&rx=topic, tcp-listen://host:port or memory://name"
)
Echo = Literal["no", "yes", "detect"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Form:
    """Speed and form of characters on a serial line. ``baud``: [bit/s].  ``parity``: N, E or O.  ``bits``, ``stop``: [bit]"""

    baud: int = 9600
    parity: str = "N"
    bits: int = 8
    stop: int = 1

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte: start, data, parity where there is one, stop. [bit]"""
        return 1 + self.bits + (self.parity != "N") + self.stop

    def __str__(self) -> str:
        """Write the settings as in a URL."""
        return f"baud={self.baud}&parity={self.parity}&bits={self.bits}&stop={self.stop}"


@dataclass(frozen=True, slots=True)
class TcpUrl:
    """A TCP connection. ``connect_timeout``: wall time to wait for it. [s]

    ``form``: of the serial line behind a transparent gateway, None where there is none or it does not matter.
    """

    host: str
    port: int
    connect_timeout: int = 10
    form: Form | None = None
    echo: Echo = "no"

    def __str__(self) -> str:
        """Write the URL, brackets around an IPv6 address."""
        return _write("tcp", self)


@dataclass(frozen=True, slots=True)
class ListenLinkUrl:
    """A port of ours that a gateway dials in to. ``connect_timeout``: wall time to wait for its call. [s]"""

    host: str
    port: int
    connect_timeout: int = 60
    form: Form | None = None
    echo: Echo = "no"

    def __str__(self) -> str:
        """Write the URL, brackets around an IPv6 address."""
        return _write("tcp-listen", self)


@dataclass(frozen=True, slots=True)
class Rfc2217Url:
    """A serial port on another machine, set up over Telnet (RFC 2217)."""

    host: str
    port: int
    connect_timeout: int = 10
    form: Form = Form()
    echo: Echo = "detect"

    def __str__(self) -> str:
        """Write the URL, brackets around an IPv6 address."""
        return _write("rfc2217", self)


@dataclass(frozen=True, slots=True)
class MqttUrl:
    """Bytes tunneled over a broker: ``tx`` is the topic we publish on, ``rx`` the one we listen to."""

    host: str
    port: int
    tx: str
    rx: str
    connect_timeout: int = 10
    form: Form | None = None
    is_secure: bool = False

    def __str__(self) -> str:
        """Write the URL, brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        form = f"&{self.form}" if self.form else ""
        return f"mqtt{'s' * self.is_secure}://{host}:{self.port}?tx={quote(self.tx)}&rx={quote(self.rx)}{form}"


@dataclass(frozen=True, slots=True)
class UdpUrl:
    """One host and port that speak in datagrams."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write the URL, brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"udp://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SerialUrl:
    """A serial port. ``baud``: [bit/s].  ``parity``: N, E or O.  ``bits``: data bits, 7 or 8.  ``stop``: stop bits, 1 or 2.

    ``echo``: whether the adapter gives back what is sent, see `drivers.transports.echo`.
    """

    path: str
    baud: int = 9600
    parity: str = "N"
    bits: int = 8
    stop: int = 1
    echo: Echo = "detect"

    @property
    def form(self) -> Form:
        """Speed and form of characters."""
        return Form(self.baud, self.parity, self.bits, self.stop)

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte: start, data, parity where there is one, stop. [bit]"""
        return self.form.bits_per_character

    def __str__(self) -> str:
        """Write the URL in full."""
        return f"serial://{self.path}?{self.form}" + (f"&echo={self.echo}" if self.echo != "detect" else "")


@dataclass(frozen=True, slots=True)
class MemoryUrl:
    """A link inside this process, to whoever listens under ``name``."""

    name: str

    def __str__(self) -> str:
        """Write the URL."""
        return f"memory://{self.name}"


LinkUrl = TcpUrl | UdpUrl | SerialUrl | Rfc2217Url | MqttUrl | ListenLinkUrl | MemoryUrl
MAX_TOPIC = 65_535  # MQTT 5.0, 1.5.4 [octet]


ECHOES: Final[Mapping[str, Echo]] = {"no": "no", "yes": "yes", "detect": "detect"}


def parse_url(text: str) -> LinkUrl:
    """Read a link URL. Raises `ValueError` that names the fault and the right form."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"link URL {text!r}: {error}; write {FORMS}") from error
    if parts.fragment or parts.username or parts.password:
        raise ValueError(f"link URL {text!r}: no user, password or '#' belongs here; write {FORMS}")
    query = _Query(text, parts.query)
    url: LinkUrl
    match parts.scheme:
        case "tcp" | "udp" | "rfc2217" | "tcp-listen" | "mqtt" | "mqtts":
            if parts.scheme.startswith("mqtt") and not port:
                port = 8883 if parts.scheme == "mqtts" else 1883
            if not parts.hostname or not port or parts.path not in {"", "/"}:
                raise ValueError(
                    f"link URL {text!r}: needs a host and a port from 1 to 65535, as {parts.scheme}://192.0.2.7:4059"
                )
            url = _network(parts.scheme, parts.hostname, port, query)
        case "serial":
            if parts.netloc or not parts.path.strip("/"):
                raise ValueError(f"link URL {text!r}: needs three slashes and a device, as serial:///dev/ttyUSB0")
            url = SerialUrl(
                parts.path,
                query.take("baud", _whole(50, 4_000_000), 9600),
                query.take("parity", _one_of({"N": "N", "E": "E", "O": "O"}), "N"),
                query.take("bits", _one_of({"7": 7, "8": 8}), 8),
                query.take("stop", _one_of({"1": 1, "2": 2}), 1),
                query.take("echo", _one_of(ECHOES), "detect"),
            )
        case "memory":
            if not parts.netloc or parts.path not in {"", "/"}:
                raise ValueError(f"link URL {text!r}: needs a name, as memory://bus")
            url = MemoryUrl(parts.netloc)
        case _:
            raise ValueError(f"link URL {text!r}: unknown kind {parts.scheme!r}; write {FORMS}")
    query.refuse_rest()
    return url


def _network(scheme: str, host: str, port: int, query: "_Query") -> LinkUrl:
    if scheme == "udp":
        return UdpUrl(host, port)
    wait = query.take("connect_timeout", _whole(1, 600), 60 if scheme == "tcp-listen" else 10)
    if scheme == "rfc2217":
        return Rfc2217Url(host, port, wait, _form(query) or Form(), query.take("echo", _one_of(ECHOES), "detect"))
    if scheme.startswith("mqtt"):
        tx, rx = query.take("tx", _topic, ""), query.take("rx", _topic, "")
        if not tx or not rx or tx == rx:
            raise ValueError(f"link URL {query.url!r}: needs two topics, as mqtt://broker?tx=line/7/down&rx=line/7/up")
        return MqttUrl(host, port, tx, rx, wait, _form(query), scheme == "mqtts")
    make = ListenLinkUrl if scheme == "tcp-listen" else TcpUrl
    return make(host, port, wait, _form(query), query.take("echo", _one_of(ECHOES), "no"))


def _form(query: "_Query") -> Form | None:
    """Take the settings of a serial line; None where its speed is not set, and then nothing else of it may be."""
    baud = query.take("baud", _whole(50, 4_000_000), 0)
    form = Form(
        baud,
        query.take("parity", _one_of({"N": "N", "E": "E", "O": "O"}), "N"),
        query.take("bits", _one_of({"7": 7, "8": 8}), 8),
        query.take("stop", _one_of({"1": 1, "2": 2}), 1),
    )
    if baud:
        return form
    if form != Form(0):
        raise ValueError(f"link URL {query.url!r}: says how characters look on a line, but not its baud")
    return None


def _write(scheme: str, url: TcpUrl | ListenLinkUrl | Rfc2217Url) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    settings = [str(url.form)] if url.form else []
    if url.echo != ("detect" if scheme == "rfc2217" else "no"):
        settings.append(f"echo={url.echo}")
    return f"{scheme}://{host}:{url.port}" + ("?" + "&".join(settings) if settings else "")


class _Query:
    """The settings behind the question mark, each taken once."""

    def __init__(self, url: str, query: str) -> None:
        self.url = url
        self._settings: dict[str, str] = {}
        for key, value in parse_qsl(query, keep_blank_values=True):
            if key in self._settings:
                raise ValueError(f"link URL {url!r}: {key} is set twice")
            self._settings[key] = value
        self._known: list[str] = []

    def take(self, key: str, parse: Callable[[str], _T], default: _T) -> _T:
        self._known.append(key)
        text = self._settings.pop(key, None)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"link URL {self.url!r}: {key}={text}: {error}") from error

    def refuse_rest(self) -> None:
        if self._settings:
            known = ", ".join(self._known) or "none"
            raise ValueError(f"link URL {self.url!r}: unknown setting {next(iter(self._settings))}; known: {known}")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            raise ValueError(f"not a whole number from {low} to {high}")
        return int(text)

    return parse


def _topic(text: str) -> str:
    if not text or set(text) & set("+#\0") or len(text.encode()) > MAX_TOPIC or not text.isprintable():
        raise ValueError("not a topic: neither empty nor with a wildcard")
    return text


def _one_of(choices: Mapping[str, _T]) -> Callable[[str], _T]:
    def parse(text: str) -> _T:
        if text not in choices:
            raise ValueError(f"not one of {', '.join(choices)}")
        return choices[text]

    return parse
