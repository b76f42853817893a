"""Schema migrations: numbered SQL files, one transaction each, counted in ``user_version``."""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

import apsw

from headend.errors import StoreError

APPLICATION_ID = 0x48454144
"""``HEAD``, set by the first schema, so that no other program's file is taken for a store."""


def shipped_scripts() -> dict[int, str]:
    """Load the schema files of this program by number, which run from 1 without a gap."""
    return numbered_scripts(files("headend.store") / "schema")


def numbered_scripts(folder: Traversable) -> dict[int, str]:
    """Load a folder's schema files by number. Raises `StoreError` for a gap."""
    scripts = {
        int(entry.name.removesuffix(".sql")): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    }
    if not scripts or sorted(scripts) != list(range(1, len(scripts) + 1)):
        raise StoreError(f"the installation is incomplete: schema files {sorted(scripts)} found; install headend again")
    return scripts


def check_schema(connection: apsw.Connection, path: str, newest: int) -> int:
    """Give the schema's number, 0 for an empty file. Raises `StoreError` for a foreign file or a newer schema."""
    application = int(connection.pragma("application_id"))
    version = int(connection.pragma("user_version"))
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").get == 0
    if application != APPLICATION_ID and not is_empty:
        raise StoreError(f"{path}: an SQLite file of another program, not a headend store; give another path")
    if version > newest:
        raise StoreError(
            f"{path}: the store has schema {version}, this program knows up to {newest}; "
            "it was written by a newer headend: upgrade this one, or restore an older backup"
        )
    return version


def migrate(connection: apsw.Connection, path: str, scripts: Mapping[int, str]) -> int:
    """Bring the schema up to the newest script, and give its number.

    A script that fails leaves the file at the number before. Raises `StoreError`; errors of SQLite pass through.
    """
    newest = max(scripts)
    for number in range(check_schema(connection, path, newest) + 1, newest + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(scripts[number])
            connection.execute(f"PRAGMA user_version = {number:d}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return newest
