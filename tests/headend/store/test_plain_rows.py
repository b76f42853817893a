"""What SQL users see of the blocks: the decoder in SQL against the kernels, and views in words."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings

from drivers.facts import IntervalBlock, RegisterValue
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.registry.model import DAY, Installation
from headend.series import Series
from headend.store.block import HAS_VALUE_BY_STATE, Block, channel_of, encode
from headend.store.model import Layer, VeeRun
from headend.store.place import ServerPlace
from headend.store.postgresql.connect import connect_writing
from headend.store.postgresql.engine import PostgresEngine
from headend.store.store import Store
from kernels.quality import Reason, Rule, State
from tests.headend.store.builders import (
    EXPORT,
    FIRST_DAY,
    IMPORT,
    NOW,
    PERIOD,
    REGISTER,
    START,
    WH,
    block,
    expect,
    open_store,
)
from tests.headend.store.test_block import blocks
from tests.postgres import Postgres
from tests.shared import REPOSITORY

SLOTS = "SELECT layer, identity, day, channel, scaler, unit, is_primary, period, version, start, count, state, reason, rules FROM block_slots(?)"
VOLTS = Obis(1, 0, 32, 7, 3)


@pytest.fixture(scope="module")
def engine(postgres: Postgres) -> Iterator[PostgresEngine]:
    found = connect_writing(postgres.place())
    yield found
    found.close()


@pytest.fixture
def place(postgres: Postgres) -> ServerPlace:
    return postgres.emptied()


@pytest.fixture
def store(place: ServerPlace) -> Iterator[Store]:
    with open_store(place) as opened:
        yield opened


def slots_of(made: Block) -> list[tuple[object, ...]]:
    """Give what the SQL decoder must give: all slots but those not expected."""
    rows: list[tuple[object, ...]] = []
    for channel in made.channels:
        series = made.series(channel)
        for index, state in enumerate(series.state.tolist()):
            if state != State.NOT_EXPECTED:
                unit = channel.scaler_unit
                count = int(series.values[index]) if HAS_VALUE_BY_STATE[state] else None
                rows.append((
                    int(made.layer), made.identity, made.day, channel.obis.to_bytes(), unit.scaler, int(unit.unit),
                    channel.is_primary, channel.period, channel.version, series.start + index * channel.period, count, state,
                    int(series.reason[index]), int(series.rules[index]),
                ))  # fmt: skip
    return rows


@given(made=blocks())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_the_decoder_in_sql_gives_what_the_kernels_give(engine: PostgresEngine, made: Block) -> None:
    made.identity = made.identity.replace("\0", "0")  # which no name has, and no text of PostgreSQL's

    assert engine.rows(SLOTS, (encode(made),)) == slots_of(made)


def test_steady_values_extremes_and_gaps_are_decoded(engine: PostgresEngine) -> None:
    made = Block.empty(
        Layer.RAW, "SIM:1", -FIRST_DAY, [channel_of(code, PERIOD, 0, WH) for code in (IMPORT, EXPORT, VOLTS)]
    )
    values = [*[5] * 20, 0, 0, 0, -(2**31), 2**31 - 1, -(2**31), *range(0, 220, 10)]
    made.series(made.channels[0]).values[:] = values
    made.series(made.channels[0]).state[:] = [State.MEASURED if value else State.MISSING for value in values]
    made.series(made.channels[2]).state[:] = State.EDITED  # all of them 0; the channel between holds nothing

    assert engine.rows(SLOTS, (encode(made),)) == slots_of(made)
    only = engine.rows(f"{SLOTS[:-1]}, ?)", (encode(made), VOLTS.to_bytes()))
    assert only == [row for row in slots_of(made) if row[3] == VOLTS.to_bytes()]


@pytest.fixture
def refusals(engine: PostgresEngine) -> None:
    engine.script(
        "CREATE FUNCTION pg_temp.is_refused(octets BYTEA) RETURNS BOOLEAN LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM count(*) FROM block_slots(octets); RETURN FALSE; EXCEPTION WHEN data_corrupted THEN RETURN TRUE; END $$"
    )


@pytest.mark.usefixtures("refusals")
def test_every_flipped_bit_of_a_block_is_refused_in_sql(engine: PostgresEngine, store: Store) -> None:
    with store.transaction():
        store.record(1, [block(0, [1, 2, None, 400])], NOW)
    ((octets,),) = store._rows("SELECT block FROM raw")

    sql = "SELECT count(*), count(*) FILTER (WHERE pg_temp.is_refused(set_bit(b, bit, 1 - get_bit(b, bit)))) FROM"
    ((tried, refused),) = engine.rows(
        f"{sql} (SELECT CAST(? AS BYTEA) AS b) AS given, generate_series(0, length(b) * 8 - 1) AS bit", (octets,)
    )

    assert tried == refused == 8 * len(octets) > 500
    assert engine.rows("SELECT pg_temp.is_refused(?)", (octets,)) == [(False,)]


def test_readings_come_as_rows_with_exact_decimals_in_words(
    store: Store, place: ServerPlace, postgres: Postgres
) -> None:
    volts = ScalerUnit(-1, Unit.VOLT)
    with store.transaction():
        store.record(1, [block(0, [100, 7]), block(47, [9, 11])], NOW)
        store.mark_missing(1, IMPORT, START + 5 * PERIOD, START + 6 * PERIOD, Reason.NO_ROW)
        store.record(1, [RegisterValue(REGISTER, 123_456_789_012_345_678, volts, START)], NOW)
        series = Series.empty(START, PERIOD, volts, 48, State.ESTIMATED)
        series.values[:], series.reason[:], series.rules[:] = 2_300, Reason.LINEAR, Rule.SPIKE | Rule.STEP
        store.write_validated(1, VOLTS, FIRST_DAY, series, VeeRun("test 1", NOW))

    since, until = f"to_timestamp({START})", f"to_timestamp({START + 86_400 + PERIOD})"
    columns = (
        f"channel, extract(EPOCH FROM start)::INT - {START}, period, value, unit, state, coalesce(reason, '-'), rules"
    )
    schema = place.schema

    rows = postgres.sql(f"SELECT end_device, {columns} FROM {schema}.reading('SIM:1', {since}, {until}, '{IMPORT}')")
    assert rows.splitlines() == [
        f"SIM:1|{IMPORT}|0|00:30:00|100|Wh|measured|-|{{}}",
        f"SIM:1|{IMPORT}|1800|00:30:00|7|Wh|measured|-|{{}}",
        f"SIM:1|{IMPORT}|9000|00:30:00||Wh|missing|no_row|{{}}",
        f"SIM:1|{IMPORT}|84600|00:30:00|9|Wh|measured|-|{{}}",
        f"SIM:1|{IMPORT}|86400|00:30:00|11|Wh|measured|-|{{}}",
    ]
    view = postgres.sql(f"SELECT end_device, {columns} FROM {schema}.reading ORDER BY start")
    assert view == rows
    assert postgres.sql(f"SELECT DISTINCT usage_point FROM {schema}.reading") == "UP1"
    validated = postgres.sql(
        f"SELECT DISTINCT usage_point, value, unit, state, reason, rules, version FROM {schema}.validated_reading"
    )
    assert validated == "UP1|230.0|V|estimated|linear|{spike,step}|1"
    function = f"{schema}.validated_reading('UP1', {since}, {until}, '{VOLTS}')"
    assert postgres.sql(f"SELECT count(*), sum(value) FROM {function}") == f"48|{Decimal('230.0') * 48}"
    assert (
        postgres.sql(f"SELECT channel, value, unit FROM {schema}.register_reading")
        == f"{REGISTER}|12345678901234567.8|V"
    )


def test_each_grid_of_a_day_has_its_own_period(store: Store, place: ServerPlace, postgres: Postgres) -> None:
    noon = START + DAY // 2
    with store.transaction():
        expect(store, 1, end=noon)
        expect(store, 1, (IMPORT,), noon, period=900)
        store.record(1, [block(0, [1] * 24), IntervalBlock(IMPORT, WH, noon, 900, (1,) * 48)], NOW)

    found = postgres.sql(f"SELECT period, count(*) FROM {place.schema}.reading GROUP BY 1 ORDER BY 1")
    assert found == "00:15:00|48\n00:30:00|24"


def test_a_block_in_anothers_place_is_refused_in_sql(store: Store, place: ServerPlace, postgres: Postgres) -> None:
    with store.transaction():
        store.record(1, [block(0, [1])], NOW)
        store._run("UPDATE raw SET k = k + 4294967296")

    with pytest.raises(
        RuntimeError, match=f"it is of SIM:1 on day {FIRST_DAY}, and lies under SIM:1 on day {FIRST_DAY + 1}"
    ):
        postgres.sql(f"SELECT * FROM {place.schema}.reading")


def test_a_code_that_is_no_obis_code_is_refused_in_words(store: Store, place: ServerPlace, postgres: Postgres) -> None:
    assert store.last_seq() == 0
    with pytest.raises(RuntimeError, match=r"1\.8\.0 is no OBIS code"):
        postgres.sql(f"SELECT {place.schema}.octets_of_obis('1.8.0')")


def test_words_follow_the_programs_own(place: ServerPlace) -> None:
    with open_store(place) as store, store.transaction():
        expect(store, 1)
        store._run("UPDATE word SET word = 'was otherwise' WHERE kind = 'state' AND code = 2")
        store._run("DELETE FROM word WHERE kind = 'unit'")

    with Store.open(place, lambda: NOW) as store:
        words = {(kind, code): word for kind, code, word in store._rows("SELECT kind, code, word FROM word")}

    assert (words["state", 2], words["unit", 30], words["rule", 64]) == ("measured", "Wh", "conflict")
    assert {code for kind, code in words if kind == "reason"} == set(Reason)


def test_the_questions_that_the_integrator_s_page_shows_have_answers(postgres: Postgres) -> None:
    page = (REPOSITORY / "docs" / "integrator.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```pgsql\n(.*?)```", page, re.DOTALL)
    at = int(datetime(2026, 1, 15, tzinfo=UTC).timestamp())
    with Store.open(postgres.place("headend"), lambda: NOW) as store, store.transaction():
        meter, _ = store.put_end_device("SIM0000000001001", "sim", store.put_link("memory://one"), "1")
        point, _ = store.put_usage_point("NAAAMYS582", "UTC")
        store.put_installation(Installation(point.id, meter.id, 0))
        expect(store, meter.id, [IMPORT], 0)
        store.record(
            meter.id, [IntervalBlock(IMPORT, WH, at, PERIOD, (1,) * 48), RegisterValue(REGISTER, 5, WH, at)], NOW
        )
        series = store.raw_series(meter.id, IMPORT, at, at + DAY)
        store.write_validated(point.id, IMPORT, at // DAY, series, VeeRun("test 1", NOW))

    answers = [postgres.sql(question).splitlines() for question in shown.split(";\n")[:-1]]

    day, hours, overview, registers = answers
    assert (len(day), len(hours), hours[0].split("|")[1]) == (48, 24, "2")
    assert overview == [f"NAAAMYS582|{IMPORT}|48|0"]
    assert len(registers) == 1
