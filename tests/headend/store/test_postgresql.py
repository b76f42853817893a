"""What only the PostgreSQL engine has: its schema and lock, its server's errors, and a server that goes away."""

import asyncio
import hashlib
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from drivers.facts import IntervalBlock
from headend.errors import StoreError
from headend.registry.model import DAY
from headend.store.block import channel_of
from headend.store.errors import StoreFull, StoreUnavailable
from headend.store.meterdays import MeterDays
from headend.store.model import Recorded
from headend.store.place import ServerPlace, parse_place
from headend.store.postgresql.connect import connect_writing
from headend.store.postgresql.engine import PostgresEngine
from headend.store.postgresql.migrate import shipped_scripts
from headend.store.reader import StoreReader, is_there
from headend.store.seal import row_crc
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from tests.headend.store.builders import FIRST_DAY, IMPORT, NOW, PERIOD, START, WH, block, expect, open_store
from tests.headend.store.test_seal import SEALED, fill
from tests.postgres import Postgres, running

HEAD = channel_of(IMPORT, PERIOD, 0, WH)


@pytest.fixture
def place(postgres: Postgres) -> ServerPlace:
    return postgres.emptied()


@pytest.fixture
def store(place: ServerPlace) -> Iterator[Store]:
    with open_store(place) as opened:
        yield opened


def record(store: Store, slot: int) -> None:
    with store.transaction():
        store.record(1, [block(slot, [slot])], NOW)


def values(store: StoreReader, slots: int) -> list[int | None]:
    series = store.raw_series(1, IMPORT, START, START + slots * PERIOD)
    return [int(value) if held else None for value, held in zip(series.values, series.has_value, strict=True)]


# schema


def sqlite_schema(path: Path) -> dict[str, list[tuple[str, str, bool, int]]]:
    """Give each table's columns: name, type, whether it may be NULL, place in the primary key."""
    kinds = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}
    with Store.open(path, lambda: NOW) as store:
        tables = store._rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        return {
            table: sorted(
                (name, kinds[kind], not (must or key), key)
                for name, kind, must, key in store._rows(
                    'SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (table,)
                )
            )
            for (table,) in tables
        }


def test_both_engines_have_the_same_tables_and_columns(store: Store, tmp_path: Path) -> None:
    rows = store._rows(
        "SELECT c.table_name::TEXT, c.column_name::TEXT, c.data_type::TEXT, c.is_nullable = 'YES', coalesce(k.ordinal_position, 0),"
        " c.collation_name::TEXT FROM information_schema.columns AS c JOIN information_schema.tables AS t USING (table_schema, table_name)"
        " LEFT JOIN (information_schema.key_column_usage AS k JOIN information_schema.table_constraints AS p"
        " ON p.constraint_name = k.constraint_name AND p.table_name = k.table_name AND p.table_schema = k.table_schema"
        " AND p.constraint_type = 'PRIMARY KEY')"
        " ON k.table_name = c.table_name AND k.column_name = c.column_name AND k.table_schema = c.table_schema"
        " WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'"
    )
    found: dict[str, list[tuple[str, str, bool, int]]] = {}
    for table, column, kind, may_be_null, key, collation in rows:
        found.setdefault(table, []).append((column, kind, may_be_null, key))
        assert collation == ("C" if kind == "text" else None), f"{table}.{column} is not compared octet by octet"

    for own in ("schema_version", "word", "numbering", "request"):
        del found[own]
    assert {table: sorted(columns) for table, columns in found.items()} == sqlite_schema(tmp_path / "s.db")


def test_a_newer_schema_and_another_programs_are_refused(postgres: Postgres) -> None:
    newer, foreign, scripts = postgres.place(), postgres.place(), shipped_scripts()
    Store.open(newer, lambda: NOW, scripts={**scripts, len(scripts) + 1: "SELECT 1"}).close()
    postgres.sql(f"CREATE SCHEMA {foreign.schema}; CREATE TABLE {foreign.schema}.theirs (x INT)")

    words = f"schema {len(scripts) + 1}, this program knows up to {len(scripts)}.*upgrade"
    with pytest.raises(StoreError, match=words):
        Store.open(newer, lambda: NOW)
    with pytest.raises(StoreError, match=words):
        StoreReader.open(newer)
    with pytest.raises(StoreError, match=f"schema {foreign.schema} is another program's"):
        Store.open(foreign, lambda: NOW)


def test_a_migration_that_fails_leaves_the_store_as_it_was(place: ServerPlace) -> None:
    scripts = shipped_scripts()
    open_store(place).close()

    with pytest.raises(StoreError, match="nowhere"):
        Store.open(
            place,
            lambda: NOW,
            scripts={**scripts, len(scripts) + 1: "CREATE TABLE extra (x INT); SELECT x FROM nowhere"},
        )

    with open_store(place) as store:
        assert store._rows("SELECT to_regclass('extra')") == [(None,)]
        assert store._rows("SELECT max(number) FROM schema_version") == [(len(scripts),)]


def test_rows_from_before_a_migration_keep_their_checksum_and_damaged_ones_stay_damaged(postgres: Postgres) -> None:
    place, scripts = postgres.place(), shipped_scripts()
    with Store.open(place, lambda: NOW, scripts={number: scripts[number] for number in (1, 2)}) as store:
        columns = "(name, zone, area, transformer, feeder, box)"
        store._run(
            f"INSERT INTO usage_point {columns} VALUES ('UP1', 'UTC', '', '', '', ''), ('UP2', 'UTC', '', '', '', '')"
        )
        store._run("SET session_replication_role = replica")
        store._run("UPDATE usage_point SET zone = 'UTC+1' WHERE name = 'UP2'")

    with Store.open(place, lambda: NOW) as store:
        assert store.usage_point("UP1").zone == "UTC"
        with pytest.raises(StoreError, match="table usage_point is damaged"):
            store.usage_point("UP2")


def test_a_store_that_was_never_made_is_not_made_by_reading(postgres: Postgres) -> None:
    place = postgres.place()

    assert not is_there(place)
    with pytest.raises(StoreError, match="no store here"):
        StoreReader.open(place)
    assert not is_there(place)


# sessions


def test_a_commit_is_durable_also_where_the_server_is_set_otherwise(postgres: Postgres) -> None:
    postgres.sql("ALTER ROLE headend SET synchronous_commit = off")
    try:
        with Store.open(postgres.place(), lambda: NOW) as store:
            assert store._rows("SELECT current_setting('synchronous_commit')") == [("on",)]
            assert store.durability_faults() == ["fsync is off"], "as the tests' server is"
    finally:
        postgres.sql("ALTER ROLE headend RESET synchronous_commit")


def test_a_session_of_ours_that_was_cut_off_does_not_keep_us_out(place: ServerPlace) -> None:
    cut_off = connect_writing(place)
    cut_off.fault = StoreUnavailable("the network is gone, and the server has not noticed")

    with Store.open(place, lambda: NOW) as store:
        assert store.last_seq() == 0
    cut_off.close()


def test_what_the_server_refuses_is_said_with_what_to_do(postgres: Postgres) -> None:
    remote = postgres.remote()
    cases = (
        (remote.with_password("wrong"), "password authentication failed.*check user, password"),
        (remote.with_password(""), "check store.password_ref"),
        (replace(remote, database="nowhere"), "does not exist"),
        (replace(remote, tls="require"), "refuses SSL"),
    )

    for place, words in cases:
        with pytest.raises(StoreError, match=words):
            StoreReader.open(place)


def test_a_server_that_is_not_there_is_unavailable_and_may_be_tried_again(tmp_path: Path) -> None:
    for place in (ServerPlace(str(tmp_path), 5432, "me", "db"), parse_place("postgresql://me@127.0.0.1:1/db")):
        with pytest.raises(StoreUnavailable, match="connection to the server failed"):
            Store.open(place, lambda: NOW)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://me@host/db", "must look like postgresql://"),
        ("postgresql://me:secret@host/db", "must not carry a password"),
        ("postgresql://me@host/db?sslmode=prefer", "none of disable, require, verify-full"),
        ("postgresql://me@host/db?shema=x", "unknown option 'shema'"),
        ("postgresql://me@host/db?schema=public", "one of its own"),
        (f"postgresql://me@host/{'d' * 64}", "names no database"),
    ],
)
def test_a_url_that_names_no_place_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_place(url)


def test_a_url_says_where_the_store_is_and_never_the_password() -> None:
    far = parse_place("postgresql://me@db.example.org/metering?schema=town")

    assert (far.port, far.schema, far.tls) == (5432, "town", "verify-full")
    assert parse_place("postgresql://me@localhost/metering").tls == "disable"
    assert parse_place(str(far)) == far
    assert "hush" not in repr(far.with_password("hush")) + str(far.with_password("hush"))


# rows


@pytest.mark.parametrize("table", SEALED)
def test_a_row_changed_behind_the_triggers_is_refused_and_one_changed_in_sql_is_not(table: str, store: Store) -> None:
    change, read = SEALED[table]
    change = change.replace("user =", '"user" =').replace("x'00'", "'\\x00'")
    fill(store)
    key = store._rows(f"SELECT * FROM {table} LIMIT 1")
    if table != "change_log":  # whose entries are never changed
        store._run(f"UPDATE {table} SET {change}")
    store._forget()
    with store.transaction(keep=False):
        read(store)

    store._run("SET session_replication_role = replica")  # no trigger fires, as where a bit flips
    store._run(f"UPDATE {table} SET crc = (crc + 1) % 4294967296")
    store._run("RESET session_replication_role")
    store._forget()

    assert key
    with pytest.raises(StoreError, match=f"table {table} is damaged"), store.transaction():
        read(store)
    assert any(f"table {table} is damaged" in fault for fault in store.faults())


def test_a_note_of_the_numbers_given_that_is_gone_or_changed_is_named_by_the_check(store: Store) -> None:
    record(store, 0)
    with store.transaction():
        store.audit("ann", "look", "disk")
    ((noted,),) = store._rows("SELECT given FROM numbering WHERE name = 'change_log'")
    assert (noted, list(store.faults())) == (store.last_seq(), [])

    store._run("DELETE FROM numbering WHERE name = 'audit'")
    store._run("UPDATE numbering SET given = given - 1")
    put_back = list(store.faults())
    store._run("SET session_replication_role = replica")
    store._run("INSERT INTO numbering (name, given, crc) VALUES ('audit', 7, 7)")

    assert put_back == [
        f"numbering: the newest number of {name} is {newest}, noted is {given}: the note was removed or put back"
        for name, newest, given in (("audit", 1, None), ("change_log", noted, noted - 1))
    ]
    assert any("row audit of table numbering is damaged" in fault for fault in store.faults())


def test_entries_from_before_their_numbers_were_noted_are_missed_too(postgres: Postgres) -> None:
    place, scripts = postgres.place(), shipped_scripts()
    with Store.open(place, lambda: NOW, scripts={number: scripts[number] for number in range(1, 5)}) as store:
        for _ in range(3):
            store._run(
                "INSERT INTO change_log (layer, entity_id, day, channels, version, at) VALUES (3, 0, 0, '', 0, 2)"
            )
            store._run("INSERT INTO audit (at, \"user\", action, subject, detail) VALUES (1, 'a', 'b', '', '')")

    with Store.open(place, lambda: NOW) as store:
        assert list(store.faults()) == []
        store._run("DELETE FROM change_log WHERE seq > 2")
        store._run("DELETE FROM audit WHERE id > 1")

        assert list(store.faults()) == [
            "change log: entries 3 to 3 are gone from its end", "audit: entries 2 to 3 were removed from its end",
        ]  # fmt: skip


def test_the_checksum_of_a_row_is_the_same_in_sql(store: Store) -> None:
    texts = ["", "abc", "Zähler №7 \N{ELECTRIC PLUG}", "a" * 300, None]
    numbers = [0, -1, 2**63 - 1, -(2**63), None]
    octets = [b"", bytes(range(256)), None]

    for values_, kind in ((texts, "TEXT"), (numbers, "BIGINT"), (octets, "BYTEA")):
        for value in values_:
            (crc,) = store._rows(f"SELECT checksum(seal_part(CAST(? AS {kind})) || seal_part('x'::TEXT))", (value,))[0]
            assert crc == row_crc(value, "x")


def test_a_text_with_nul_is_kept_with_a_sign_in_its_place(store: Store) -> None:
    with store.transaction():
        store.add_event(1, "meter", 7, NOW, "door\0open", NOW)

    assert [event.text for event in store.events(1)] == ["door\N{SYMBOL FOR NULL}open"]


def test_long_keys_fit_the_servers_index(store: Store) -> None:
    text = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(200))
    wide = "".join(chr(0x4E00 + int(text[at : at + 4], 16) % 20_000) for at in range(0, len(text), 4))

    with store.transaction():
        for _ in range(2):
            store.add_event(1, "meter", 7, NOW, wide, NOW)
            store.set_aside(wide, b"payload", wide, NOW)
            store.quarantine_point("influx", wide, wide, 1)

    assert len(store.events(1)) == len(store.set_asides()) == len(store.quarantine("influx")) == 1
    assert store.quarantine("influx")[0].times == 2


def test_whole_days_copied_to_the_server_are_octet_for_octet_those_of_a_file(store: Store, tmp_path: Path) -> None:
    days = [
        MeterDays(FIRST_DAY + day, [1], (HEAD,), np.arange(48, dtype=np.int32)[None] * (day + 1)) for day in range(40)
    ]
    with open_store(tmp_path / "s.db") as file:
        for held in (store, file):
            with held.transaction():
                assert [held.record_days(said, NOW) for said in days] == [Recorded(new=48)] * 40
            with held.transaction():
                assert held.record_days(days[3], NOW) == Recorded(same=48)

        blocks = "SELECT k, block FROM raw ORDER BY k"
        assert store._rows(blocks) == file._rows(blocks)
        assert len(store.changes(0)) == len(file.changes(0)) == 40
    assert list(store.faults()) == []


def test_a_long_block_lies_beside_its_row_as_it_is_and_comes_back_whole(store: Store) -> None:
    ((beside,),) = store._rows("SELECT reltoastrelid::regclass::TEXT FROM pg_class WHERE oid = 'raw'::regclass")
    octets = f"SELECT coalesce(sum(length(chunk_data)), 0) FROM {beside}"
    record(store, 0)
    short = store._rows(octets)
    random = Random(1)
    counts = [random.randrange(2**31) for _ in range(DAY // 60)]

    with store.transaction():
        expect(store, 1, (IMPORT,), end=START + DAY)
        expect(store, 1, (IMPORT,), START + DAY, period=60)
        store.record(1, [IntervalBlock(IMPORT, WH, START + DAY, 60, tuple(counts))], NOW)

    ((size,),) = store._rows("SELECT max(length(block)) FROM raw")
    assert (short, store._rows(octets)) == ([(0,)], [(size,)])
    assert size > 2_032
    assert store.raw_series(1, IMPORT, START + DAY, START + 2 * DAY).values.tolist() == counts


def test_a_reader_sees_a_changed_registry_and_asks_for_any_number_of_keys(place: ServerPlace) -> None:
    with open_store(place) as store, StoreReader.open(place) as reader:
        record(store, 0)
        before = reader._stamp()
        assert reader._stamp() == before
        assert [len(reader._rows_in("SELECT k FROM raw WHERE k", range(number))) for number in range(1, 520)] == [
            0
        ] * 519
        with store.transaction():
            store.set_disabled("SIM:1", disabled=True)
        assert reader._stamp() != before


# trouble


def test_a_full_server_undoes_the_transaction_and_the_store_goes_on(store: Store) -> None:
    record(store, 0)
    store._engine.script(  # type: ignore[attr-defined]  # PostgreSQL's alone
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;"
        "CREATE TRIGGER no_room BEFORE INSERT ON change_log FOR EACH ROW EXECUTE FUNCTION no_room()"
    )
    try:
        with pytest.raises(StoreFull, match="make room"):
            record(store, 1)
        with store.transaction():
            with pytest.raises(StoreFull):
                record(store, 1)
            store.audit("ann", "look", "disk")  # from what is left
    finally:
        store._run("DROP FUNCTION no_room CASCADE")

    record(store, 2)
    assert values(store, 3) == [0, None, 2]
    assert len(store.audit_entries()) == 1


def test_a_transaction_with_a_failed_statement_is_never_reported_as_kept(store: Store) -> None:
    def pass_over_an_error() -> None:
        with store.transaction():
            record(store, 0)
            with pytest.raises(StoreError, match="does not exist"):
                store._run("SELECT nonsense")

    with pytest.raises(StoreError, match="nothing of it is kept"):
        pass_over_an_error()

    assert values(store, 1) == [None]
    record(store, 0)
    assert values(store, 1) == [0]


def test_a_killed_backend_is_fatal_to_the_connection_and_the_store_opens_again(
    place: ServerPlace, postgres: Postgres
) -> None:
    store = open_store(place)
    record(store, 0)
    ((backend,),) = store._rows("SELECT pg_backend_pid()")

    with pytest.raises(StoreUnavailable), store.transaction():  # noqa: PT012  the second statement finds it out
        store.record(1, [block(1, [1])], NOW)
        postgres.sql(f"SELECT pg_terminate_backend({backend})")
        store.record(1, [block(2, [2])], NOW)
    with pytest.raises(StoreError, match="refused after an earlier failure"):
        record(store, 3)
    store.close()

    with Store.open(place, lambda: NOW) as again:
        record(again, 1)
        assert values(again, 3) == [0, 1, None]


async def test_everyone_who_waits_for_a_lost_server_hears_of_it_and_may_try_again(
    place: ServerPlace, postgres: Postgres
) -> None:
    store = open_store(place)
    ((backend,),) = store._rows("SELECT pg_backend_pid()")
    postgres.sql(f"SELECT pg_terminate_backend({backend})")
    writer = GroupCommitWriter(store)

    def submissions(to: GroupCommitWriter) -> list[Coroutine[None, None, Recorded]]:
        return [
            to.submit(lambda store, slot=slot: store.record(1, [block(slot, [slot])], NOW))  # type: ignore[misc]
            for slot in range(20)
        ]

    results = await asyncio.gather(*submissions(writer), return_exceptions=True)
    await writer.close()
    store.close()

    assert {type(result) for result in results} == {StoreUnavailable}, "which has the store opened anew"
    with Store.open(place, lambda: NOW) as again:
        writer = GroupCommitWriter(again)
        assert await asyncio.gather(*submissions(writer)) == [Recorded(new=1)] * 20
        await writer.close()


class LostAnswer:
    """A connection that sends one COMMIT and loses the line before the answer comes."""

    def __init__(self, engine: PostgresEngine) -> None:
        self._connection = engine._connection

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute_named(self, *arguments: object) -> object:
        found = self._connection.execute_named(*arguments)
        if arguments[-1] == "COMMIT":
            self._connection.close()
            raise ConnectionResetError("Connection reset by peer")
        return found


def test_a_commit_whose_answer_is_lost_may_be_repeated_and_doubles_nothing(place: ServerPlace) -> None:
    store = open_store(place)
    before = store.last_seq()
    store._engine._connection = LostAnswer(store._engine)  # type: ignore[attr-defined, arg-type]  # PostgreSQL's alone

    with pytest.raises(StoreUnavailable, match="may or may not be kept"):
        record(store, 0)
    store.close()

    with Store.open(place, lambda: NOW) as again:
        assert values(again, 1) == [0], "this time it was"
        record(again, 0)
        assert (values(again, 1), len(again.changes(before)), again.conflicts()) == ([0], 1, [])


def write_until_lost(store: Store, first: int, acknowledged: list[int]) -> None:
    slot = first
    while True:
        try:
            record(store, slot)
        except StoreError:
            return
        acknowledged.append(slot)
        slot += 1


def kill_and_restart(server: Postgres, kills: int) -> None:
    """Kill the postmaster under load again and again: nothing acknowledged is lost, nothing is doubled."""
    place, random = server.place(), Random(1)
    open_store(place).close()
    acknowledged: list[int] = []
    for _ in range(kills):
        store = Store.open(place, lambda: NOW)
        # What was not acknowledged is read from the meter again, whether it was kept or not.
        writing = threading.Thread(target=write_until_lost, args=(store, len(acknowledged), acknowledged))
        before = len(acknowledged)
        writing.start()
        while len(acknowledged) < before + 5:
            time.sleep(0.001)
        time.sleep(random.random() / 20)

        server.kill()

        writing.join()
        store.close()
        server.start()
        with StoreReader.open(place) as reader:
            found = values(reader, len(acknowledged) + 2)
            assert found[: len(acknowledged)] == acknowledged == list(range(len(acknowledged)))
            assert found[-1] is None
            seen = [change.seq for change in reader.changes(0, 10**6)]
            assert len(seen) == sum(value is not None for value in found), "one entry for each slot"
            assert all(first < second for first, second in pairwise(seen))
            assert list(reader.faults()) == []
            assert reader.conflicts() == []


def test_nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed_under_load(postgres: Postgres) -> None:
    kill_and_restart(postgres, 3)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_nothing_is_lost_or_doubled_in_two_hundred_kills() -> None:
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, running(Path(folder), fsync=True) as server:
        kill_and_restart(server, 200)


# the administrator's own tools


def test_a_dump_restored_elsewhere_is_the_same_store(store: Store, postgres: Postgres) -> None:
    fill(store)
    record(store, 5)

    postgres.copy_by_dump("shared", "restored")

    place = replace(postgres.place("shared"), database="restored")
    with Store.open(place, lambda: NOW) as restored:
        assert list(restored.faults()) == []
        assert restored.changes(0) == store.changes(0)
        assert restored._rows("SELECT k, block FROM raw") == store._rows("SELECT k, block FROM raw")
        with restored.transaction():
            restored.set_disabled("SIM:1", disabled=True)
        assert restored.end_device("SIM:1").disabled
