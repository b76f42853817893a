"""Link URLs: where a link is and how it is set up, checked before anything is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

FORMS = "tcp://host:port, udp://host:port, serial:///dev/ttyUSB0?baud=9600&parity=N&bits=8&stop=1 or memory://name"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TcpUrl:
    """A TCP connection. ``connect_timeout``: wall time to wait for it. [s]"""

    host: str
    port: int
    connect_timeout: int = 10

    def __str__(self) -> str:
        """Write the URL, brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


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
    """A serial port. ``baud``: [bit/s].  ``parity``: N, E or O.  ``bits``: data bits, 7 or 8.  ``stop``: stop bits, 1 or 2."""

    path: str
    baud: int = 9600
    parity: str = "N"
    bits: int = 8
    stop: int = 1

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte: start, data, parity where there is one, stop. [bit]"""
        return 1 + self.bits + (self.parity != "N") + self.stop

    def __str__(self) -> str:
        """Write the URL in full."""
        return f"serial://{self.path}?baud={self.baud}&parity={self.parity}&bits={self.bits}&stop={self.stop}"


@dataclass(frozen=True, slots=True)
class MemoryUrl:
    """A link inside this process, to whoever listens under ``name``."""

    name: str

    def __str__(self) -> str:
        """Write the URL."""
        return f"memory://{self.name}"


LinkUrl = TcpUrl | UdpUrl | SerialUrl | MemoryUrl


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
        case "tcp" | "udp":
            if not parts.hostname or not port or parts.path not in {"", "/"}:
                raise ValueError(
                    f"link URL {text!r}: needs a host and a port from 1 to 65535, as {parts.scheme}://192.0.2.7:4059"
                )
            if parts.scheme == "udp":
                url = UdpUrl(parts.hostname, port)
            else:
                url = TcpUrl(parts.hostname, port, query.take("connect_timeout", _whole(1, 600), 10))
        case "serial":
            if parts.netloc or not parts.path.strip("/"):
                raise ValueError(f"link URL {text!r}: needs three slashes and a device, as serial:///dev/ttyUSB0")
            url = SerialUrl(
                parts.path,
                query.take("baud", _whole(50, 4_000_000), 9600),
                query.take("parity", _one_of({"N": "N", "E": "E", "O": "O"}), "N"),
                query.take("bits", _one_of({"7": 7, "8": 8}), 8),
                query.take("stop", _one_of({"1": 1, "2": 2}), 1),
            )
        case "memory":
            if not parts.netloc or parts.path not in {"", "/"}:
                raise ValueError(f"link URL {text!r}: needs a name, as memory://bus")
            url = MemoryUrl(parts.netloc)
        case _:
            raise ValueError(f"link URL {text!r}: unknown kind {parts.scheme!r}; write {FORMS}")
    query.refuse_rest()
    return url


class _Query:
    """The settings behind the question mark, each taken once."""

    def __init__(self, url: str, query: str) -> None:
        self._url = url
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
            raise ValueError(f"link URL {self._url!r}: {key}={text}: {error}") from error

    def refuse_rest(self) -> None:
        if self._settings:
            known = ", ".join(self._known) or "none"
            raise ValueError(f"link URL {self._url!r}: unknown setting {next(iter(self._settings))}; known: {known}")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            raise ValueError(f"not a whole number from {low} to {high}")
        return int(text)

    return parse


def _one_of(choices: Mapping[str, _T]) -> Callable[[str], _T]:
    def parse(text: str) -> _T:
        if text not in choices:
            raise ValueError(f"not one of {', '.join(choices)}")
        return choices[text]

    return parse
