"""Opening a store on a PostgreSQL server: socket, session, the writer's lock, the schema."""

import os
import secrets
import socket
import ssl
from collections.abc import Mapping
from itertools import count
from weakref import WeakValueDictionary

from pg8000.core import CoreConnection
from pg8000.exceptions import Error

from headend.errors import StoreError
from headend.store.errors import StoreBusy
from headend.store.place import ServerPlace
from headend.store.postgresql.engine import PostgresEngine
from headend.store.postgresql.errors import state_of, translate
from headend.store.postgresql.migrate import check_schema, migrate, put_words, shipped_scripts

OLDEST_SERVER = 140_000
"""PostgreSQL 14: bodies of SQL functions that name their tables for good, `client_connection_check_interval`."""
CONNECT_TIMEOUT = 10.0
"""How long a server may take to answer a call. [s]"""
LOST_AFTER = 30
"""How long the network may be silent before a connection counts as lost, on either side. [s]"""
LOCK_TIMEOUT = 500
"""How long the writer's lock is waited for: a session that has just ended is cleared away. [ms]"""
_TOKEN = secrets.token_hex(4)
"""Tells this process's sessions from those of others, also of another machine's process of the same number."""
_sessions: WeakValueDictionary[str, PostgresEngine] = WeakValueDictionary()
"""Those of this process by name, while they are in use."""
_numbers = count(1)
_SESSION = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "client_connection_check_interval": f"{LOST_AFTER}s",
    "tcp_keepalives_idle": f"{LOST_AFTER // 2}",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "client_min_messages": "warning",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "jit": "off",
}
_LOCK = "hashtextextended('headend ' || ?, 0)"


def connect_writing(place: ServerPlace, scripts: Mapping[int, str] | None = None) -> PostgresEngine:
    """Open the schema as its one writer, make it where there is none, and bring it up to date. Raises `StoreError`."""
    engine = _connect(place, "writer")
    try:
        if engine.rows("SELECT current_setting('synchronous_commit')") == [("off",)]:
            engine.run("SET synchronous_commit = on")  # a server may be set so; a store is not
        _lock(engine, place)
        migrate(engine, place, shipped_scripts() if scripts is None else scripts)
        put_words(engine)
    except BaseException:
        engine.close()
        raise
    return engine


def connect_reading(place: ServerPlace) -> PostgresEngine:
    """Open an existing store for reading. Raises `StoreError`."""
    engine = _connect(place, "reader")
    try:
        _require_current(engine, place)
        engine.run("SET default_transaction_read_only = on")
    except BaseException:
        engine.close()
        raise
    return engine


def connect_asking(place: ServerPlace) -> PostgresEngine:
    """Open an existing store beside its writer, to write what is asked of that and nothing else. Raises `StoreError`."""
    engine = _connect(place, "asker")
    try:
        _require_current(engine, place)
    except BaseException:
        engine.close()
        raise
    return engine


def is_made(place: ServerPlace) -> bool:
    """Say whether the schema holds a store. Raises `StoreError`."""
    engine = _connect(place, "reader")
    try:
        return check_schema(engine, place, max(shipped_scripts())) > 0
    finally:
        engine.close()


def _require_current(engine: PostgresEngine, place: ServerPlace) -> None:
    newest = max(shipped_scripts())
    version = check_schema(engine, place, newest)
    if version == 0:
        raise StoreError(f"{place}: there is no store here; `headend meter import` makes one")
    if version < newest:
        raise StoreError(
            f"{place}: the store has schema {version}, older than this program's; "
            "open it once for writing, for example by `headend run --once`"
        )


def _connect(place: ServerPlace, role: str) -> PostgresEngine:
    name = f"headend {role} {os.getpid()} {_TOKEN}-{next(_numbers)}"
    try:
        connection = CoreConnection(
            place.user,
            host=place.host,
            database=place.database,
            password=place.password or None,
            application_name=name,
            sock=_call(place),
            ssl_context=_tls(place),
        )
    except (Error, OSError) as error:
        raise translate(error, str(place)) from error
    except (AttributeError, ValueError) as error:  # pg8000 without a password where one is asked for; scramp's refusals
        raise StoreError(f"{place}: the server refuses us ({error}); check store.password_ref") from error
    engine = _sessions[name] = PostgresEngine(str(place), connection)
    try:
        _prepare_session(engine, place, connection.parameter_statuses)
    except BaseException:
        engine.close()
        raise
    return engine


def _call(place: ServerPlace) -> socket.socket:
    """Reach the server; a network that falls silent later is noticed within `LOST_AFTER`."""
    if place.is_socket:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.settimeout(CONNECT_TIMEOUT)
        try:
            line.connect(f"{place.host}/.s.PGSQL.{place.port}")
        except OSError:
            line.close()
            raise
    else:
        line = socket.create_connection((place.host, place.port), CONNECT_TIMEOUT)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, LOST_AFTER // 2), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3),
            (socket.TCP_USER_TIMEOUT, LOST_AFTER * 1_000), (socket.TCP_NODELAY, 1),
        ):  # fmt: skip
            line.setsockopt(socket.IPPROTO_TCP, option, value)
    line.settimeout(None)
    return line


def _tls(place: ServerPlace) -> ssl.SSLContext | bool:
    if place.tls == "disable":
        return False
    context = ssl.create_default_context(cafile=place.certificates or None)
    if place.tls == "require":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _prepare_session(engine: PostgresEngine, place: ServerPlace, server: Mapping[str, str]) -> None:
    (number,) = engine.rows("SELECT current_setting('server_version_num')")[0]
    if int(number) < OLDEST_SERVER:
        raise StoreError(f"{place}: PostgreSQL {server.get('server_version')} is too old; 14 or newer is needed")
    if (encoding := server.get("server_encoding")) != "UTF8":
        raise StoreError(f"{place}: the database's encoding is {encoding}; make one with ENCODING 'UTF8'")
    for name, value in _SESSION.items():
        engine.rows("SELECT set_config(?, ?, false)", (name, value))
    schema = place.schema.replace('"', '""')
    engine.rows("SELECT set_config('search_path', ?, false)", (f'"{schema}", pg_temp',))


def _lock(engine: PostgresEngine, place: ServerPlace) -> None:
    """Take the writer's lock, which the server holds as long as this session lasts. Raises `StoreError` naming the holder."""
    for _, name, pid in _holders(engine, place):
        session = _sessions.get(name)
        # One of this very process that the network cut off: the server has not noticed yet.
        if _TOKEN in name and (session is None or not session.is_usable):
            engine.rows("SELECT pg_terminate_backend(CAST(? AS INTEGER), 5000)", (pid,))
    engine.rows("SELECT set_config('lock_timeout', ?, false)", (str(LOCK_TIMEOUT),))
    try:
        engine.rows(f"SELECT pg_advisory_lock({_LOCK})", (place.schema,))
    except StoreError as error:
        if error.__cause__ is None or state_of(error.__cause__) != "55P03":
            raise
        told = [f"process {name.split()[2]} ({host})" for host, name, _ in _holders(engine, place)]
        raise StoreBusy(
            f"{place}: {told[0] if told else 'another session'} is writing this store, and a store has one writer; "
            "stop that process first, or only read"
        ) from error
    engine.rows("SELECT set_config('lock_timeout', '0', false)")


def _holders(engine: PostgresEngine, place: ServerPlace) -> list[tuple[str, str, int]]:
    """Give machine, session's name and server process of whoever holds the lock; a name that is not ours is padded."""
    rows = engine.rows(
        "SELECT coalesce(host(a.client_addr), 'this server'), a.application_name, a.pid FROM pg_locks AS l"  # noqa: S608  a constant
        " JOIN pg_stat_activity AS a ON a.pid = l.pid JOIN pg_database AS d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = current_database()"
        f" AND (l.classid::BIGINT << 32 | l.objid::BIGINT) = {_LOCK}",
        (place.schema,),
    )
    return [(host, name if name.startswith("headend ") else f"headend ? ? {name}", pid) for host, name, pid in rows]
