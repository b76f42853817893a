"""Where to wait for meters that call, as the settings write it. Pure; the sockets are `drivers.transports.listen`."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

FORMS = "tcp://0.0.0.0:4059, tcp://[::]:4059 or udp://0.0.0.0:4059"


@dataclass(frozen=True, slots=True)
class ListenUrl:
    """Where to wait. ``host``: address of ours to bind; ``port`` 0 takes any that is free."""

    kind: Literal["tcp", "udp"]
    host: str
    port: int

    def __str__(self) -> str:
        """Write the URL, brackets around an IPv6 address."""
        return (
            f"{self.kind}://[{self.host}]:{self.port}" if ":" in self.host else f"{self.kind}://{self.host}:{self.port}"
        )


def parse_listen_url(text: str) -> ListenUrl:
    """Read where to listen. Raises `ValueError` that names the fault and the right form."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; write {FORMS}") from error
    kind = parts.scheme
    if kind not in {"tcp", "udp"} or not parts.hostname or port is None or parts.username or parts.query:
        raise ValueError(f"{text!r} is no place to listen; write {FORMS}")
    if parts.path not in {"", "/"}:
        raise ValueError(f"{text!r} has a path; write {FORMS}")
    return ListenUrl("tcp" if kind == "tcp" else "udp", parts.hostname, port)
