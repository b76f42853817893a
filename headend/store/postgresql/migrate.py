"""Schema migrations on PostgreSQL: numbered SQL files of its own, one transaction each, counted in ``schema_version``."""

from collections.abc import Mapping
from importlib.resources import files

from drivers.units import Unit
from headend.errors import StoreError
from headend.store.migrate import numbered_scripts
from headend.store.place import ServerPlace
from headend.store.postgresql.engine import PostgresEngine
from kernels.quality import Reason, Rule, State


def shipped_scripts() -> dict[int, str]:
    """Load the schema files of this program by number, which run from 1 without a gap."""
    return numbered_scripts(files("headend.store") / "schema" / "postgresql")


def check_schema(engine: PostgresEngine, place: ServerPlace, newest: int) -> int:
    """Give the schema's number, 0 where there is none. Raises `StoreError` for a foreign or a newer schema."""
    tables = [
        name for (name,) in engine.rows("SELECT tablename::TEXT FROM pg_tables WHERE schemaname = ?", (place.schema,))
    ]
    if not tables:
        return 0
    if "schema_version" not in tables:
        raise StoreError(f"{place}: schema {place.schema} is another program's; name one of its own, ?schema=NAME")
    version = int(engine.rows("SELECT coalesce(max(number), 0) FROM schema_version")[0][0])
    if version > newest:
        raise StoreError(
            f"{place}: the store has schema {version}, this program knows up to {newest}; "
            "it was written by a newer headend: upgrade this one, or restore an older backup"
        )
    return version


def migrate(engine: PostgresEngine, place: ServerPlace, scripts: Mapping[int, str]) -> int:
    """Bring the schema up to the newest script, and give its number. Needs the writer's lock.

    A script that fails leaves the schema at the number before. Raises `StoreError`.
    """
    newest = max(scripts)
    present = check_schema(engine, place, newest)
    if not engine.rows("SELECT 1 FROM pg_namespace WHERE nspname = ?", (place.schema,)):
        name = place.schema.replace('"', '""')
        engine.run(f'CREATE SCHEMA "{name}"')
    for number in range(present + 1, newest + 1):
        engine.begin(writes=True)
        try:
            engine.script(scripts[number])
            engine.run("INSERT INTO schema_version (number) VALUES (?)", (number,))
            engine.commit()
        except BaseException:
            if engine.in_transaction:
                engine.rollback()
            raise
    return newest


def put_words(engine: PostgresEngine) -> None:
    """Have table ``word`` say what codes are called, for SQL users; writes only what is not there yet, or was called otherwise."""
    present = {(kind, code): word for kind, code, word in engine.rows("SELECT kind, code, word FROM word")}
    wanted = {("unit", int(unit)): unit.symbol for unit in Unit}
    for kind, codes in (("state", State), ("reason", Reason), ("rule", Rule)):
        wanted |= {(kind, int(code)): code.name.lower() for code in codes if code.name}
    news = [(*key, word) for key, word in wanted.items() if present.get(key) != word]
    if news:
        engine.begin(writes=True)
        for row in news:
            engine.run(
                "INSERT INTO word (kind, code, word) VALUES (?, ?, ?) ON CONFLICT (kind, code) DO UPDATE SET word = excluded.word",
                row,
            )
        engine.commit()
