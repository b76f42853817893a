"""A real PostgreSQL server in a folder of its own: on a Unix socket and a free loopback port, killed and started at will."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headend.store.place import ServerPlace

if TYPE_CHECKING:
    from headend.store.postgresql.engine import PostgresEngine

WAIT = 30.0
PASSWORD = "correct horse"
MISSING = "no PostgreSQL to test against: apt-get install postgresql, pip install 'headend[postgresql]'"
_MAX_SOCKET = 90
"""Longest directory of a Unix socket. [B]"""


def programs() -> Path | None:
    """Find the server's programs, where Debian keeps them or on the path; the newest."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


class Postgres:
    """Its process and cluster. The server refuses to run as root, so root runs it as ``postgres`` or ``nobody``."""

    def __init__(self, folder: Path) -> None:
        found = programs()
        if found is None:
            pytest.skip(MISSING)
        self._programs = found
        self._folder = folder
        self.user = "headend"
        self._run_as: dict[str, Any] = {}
        if os.geteuid() == 0:
            other = next(entry for entry in pwd.getpwall() if entry.pw_name in {"postgres", "nobody"})
            self._run_as = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
            os.chown(folder, other.pw_uid, other.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._schemas = count(1)
        self._admin: PostgresEngine | None = None
        self._tables: list[str] = []
        self._numbers: list[str] = []

    @property
    def cluster(self) -> Path:
        return self._folder / "cluster"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def make(self, *, fsync: bool = False) -> None:
        """Make the cluster; without ``fsync`` where durability is not what is tested."""
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        done = self._call(
            "initdb", "--pgdata", str(self.cluster), "--username", self.user, "--auth-local", "trust", "--auth-host",
            "scram-sha-256", "--pwfile", str(password), "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync",
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no PostgreSQL cluster can be made here: {done.stderr.decode()[-300:]}")
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "port": str(self.port),
            "unix_socket_directories": f"'{self._folder}'" if len(str(self._folder)) < _MAX_SOCKET else "''",
            "fsync": "on" if fsync else "off",
            "shared_buffers": "64MB",
            "max_connections": "40",
            "autovacuum_naptime": "60s",
        }
        with (self.cluster / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.cluster], stdout=log, stderr=log, cwd=self._folder,
                **self._run_as,
            )  # fmt: skip
        deadline = time.monotonic() + WAIT
        while b"accepting" not in self._call("pg_isready", "-h", "127.0.0.1", "-p", str(self.port)).stdout:
            assert self._process.poll() is None, f"PostgreSQL ended at once: {self.log[-500:]}"
            assert time.monotonic() < deadline, f"PostgreSQL does not listen: {self.log[-500:]}"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the postmaster as kill -9 does; its children notice and end by themselves."""
        assert self._process is not None
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + WAIT
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < deadline, "children of the killed postmaster do not end"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._admin is not None:
            self._admin.close()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(WAIT)

    def place(self, schema: str | None = None) -> ServerPlace:
        """A schema nobody has used yet, through the socket where its path is not too long."""
        name = schema or f"store_{next(self._schemas)}"
        if len(str(self._folder)) < _MAX_SOCKET:
            return ServerPlace(str(self._folder), self.port, self.user, "postgres", name, "disable")
        return self.remote(name)

    def emptied(self, like: ServerPlace | None = None) -> ServerPlace:
        """A store without a row, as a new one, or with those of another: one schema for all tests that leave its tables as they are."""
        from headend.store.postgresql.connect import connect_writing

        place = self.place("shared")
        if self._admin is None:
            connect_writing(place).close()
            self._admin = connect_writing(self.place("admin"))
            tables = self.sql(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'shared' AND tablename <> 'schema_version'"
            )
            numbers = self.sql("SELECT sequencename FROM pg_sequences WHERE schemaname = 'shared'")
            self._tables, self._numbers = tables.split(), numbers.split()
        work = [f"DELETE FROM shared.{name};" for name in self._tables]
        work += [f"ALTER SEQUENCE shared.{name} RESTART;" for name in self._numbers]
        if like is not None:
            work += [f"INSERT INTO shared.{name} SELECT * FROM {like.schema}.{name};" for name in self._tables]
            work += [
                f"SELECT setval('shared.{name}', last_value, is_called) FROM {like.schema}.{name};"
                for name in self._numbers
            ]
        self._admin.script(f"SET session_replication_role = replica;{''.join(work)}RESET session_replication_role;")
        return place

    def remote(self, schema: str | None = None) -> ServerPlace:
        """A schema over TCP, which asks for the password."""
        name = schema or f"store_{next(self._schemas)}"
        return ServerPlace("127.0.0.1", self.port, self.user, "postgres", name, "disable", "", PASSWORD)

    def sql(self, statement: str) -> str:
        """Run a statement as an SQL user would, in psql, and give what it prints: rows by line, columns by ``|``."""
        done = self._call(
            "psql", "-h", str(self._folder), "-p", str(self.port), "-U", self.user, "-d", "postgres", "-X", "-q", "-A",
            "-t", "-v", "ON_ERROR_STOP=1", "-c", statement,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.decode())
        return done.stdout.decode().rstrip("\n")

    def copy_by_dump(self, schema: str, database: str) -> None:
        """Dump a schema and restore it into a database that is made for it."""
        self.sql(f"CREATE DATABASE {database}")
        where = ("-h", str(self._folder), "-p", str(self.port), "-U", self.user)
        dump = self._folder / f"{database}.dump"
        for program, arguments in (
            ("pg_dump", (*where, "--format=custom", f"--schema={schema}", f"--file={dump}", "postgres")),
            ("pg_restore", (*where, "--exit-on-error", f"--dbname={database}", str(dump))),
        ):
            done = self._call(program, *arguments)
            assert done.returncode == 0, done.stderr.decode()

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            [self._programs / program, *arguments], capture_output=True, check=False, cwd=self._folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            **self._run_as,
        )  # fmt: skip
        return done


@contextmanager
def running(folder: Path, *, fsync: bool = False) -> Iterator[Postgres]:
    """Run a server with a new cluster in ``folder``, or skip saying what to install."""
    pytest.importorskip("pg8000", reason=MISSING)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    server = Postgres(folder)
    server.make(fsync=fsync)
    server.start()
    try:
        yield server
    finally:
        server.stop()
