"""Where a store is: a file of SQLite, or a schema on a PostgreSQL server, named by a URL. Opens nothing."""

import getpass
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SCHEMES = ("postgresql://", "postgres://")
DEFAULT_PORT = 5_432
DEFAULT_SOCKET = "/var/run/postgresql"
"""Where Debian's server has its socket."""
MAX_NAME = 63
"""Longest identifier of PostgreSQL. [B]"""
TLS_MODES = ("disable", "require", "verify-full")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """A schema on a PostgreSQL server. ``host``: a name, an address, or the directory of a Unix socket.

    ``tls``: one of `TLS_MODES`.  ``certificates``: file of the authorities to trust, empty for the system's.
    """

    host: str
    port: int
    user: str
    database: str
    schema: str = "headend"
    tls: str = "verify-full"
    certificates: str = ""
    password: str = field(default="", repr=False, compare=False)

    @property
    def is_socket(self) -> bool:
        """Whether the server is reached through a Unix socket."""
        return self.host.startswith("/")

    def with_password(self, password: str) -> "ServerPlace":
        """Give the place with the password to enter with."""
        return replace(self, password=password)

    def __str__(self) -> str:
        host = "" if self.is_socket else f"[{self.host}]" if ":" in self.host else self.host
        parts = [f"host={quote(self.host)}"] if self.is_socket else []
        if self.schema != "headend":
            parts.append(f"schema={quote(self.schema)}")
        query = f"?{'&'.join(parts)}" if parts else ""
        return f"postgresql://{quote(self.user)}@{host}:{self.port}/{quote(self.database)}{query}"


Place = Path | str | ServerPlace
"""A path, or a URL as text; one that needs a password has it in a `ServerPlace`."""


def server_of(place: Place) -> ServerPlace | None:
    """Give the server's schema where a place is one, None where it is a file. Raises `ValueError`."""
    if isinstance(place, str) and place.startswith(SCHEMES):
        return parse_place(place)
    return place if isinstance(place, ServerPlace) else None


def parse_place(url: str) -> ServerPlace:
    """Read ``postgresql://USER@HOST:PORT/DATABASE?schema=...&sslmode=...&sslrootcert=...&host=...``.

    What is left out is as in PostgreSQL's own clients: the local socket, port 5432, this user, the database of the same name.
    Raises `ValueError` for anything else, and for a password: that comes by reference.
    """
    if not url.startswith(SCHEMES):
        raise ValueError("must look like postgresql://USER@HOST:5432/DATABASE")
    parts = urlsplit(url)
    if parts.password is not None:
        raise ValueError("must not carry a password; use store.password_ref")
    options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    if unknown := sorted(options.keys() - {"host", "schema", "sslmode", "sslrootcert"}):
        raise ValueError(f"has an unknown option {unknown[0][:60]!r}; known are host, schema, sslmode, sslrootcert")
    host = parts.hostname or options.get("host") or DEFAULT_SOCKET
    user = unquote(parts.username or "") or getpass.getuser()
    database = unquote(parts.path.removeprefix("/")) or user
    schema = options.get("schema", "headend")
    is_near = host.startswith("/") or host in _LOOPBACK
    tls = options.get("sslmode", "disable" if is_near else "verify-full")
    if tls not in TLS_MODES:
        raise ValueError(f"has sslmode {tls[:60]!r}, which is none of {', '.join(TLS_MODES)}")
    for what, name in (("user", user), ("database", database), ("schema", schema)):
        if not 0 < len(name.encode()) <= MAX_NAME or not name.isprintable():
            raise ValueError(f"names no {what} that PostgreSQL takes: {name[:60]!r}")
    if schema in {"public", "information_schema"} or schema.startswith("pg_"):
        raise ValueError(f"has schema {schema[:60]!r}; the store wants one of its own")
    return ServerPlace(host, parts.port or DEFAULT_PORT, user, database, schema, tls, options.get("sslrootcert", ""))
