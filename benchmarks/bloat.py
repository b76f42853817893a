"""PostgreSQL: what rewriting the open day's blocks all day leaves behind, in the table, its index and the log.

Workload: `METERS` meters with `HISTORY` days behind them, then `DAYS` days of which each meter's block is written every hour or quarter
of an hour, in the order in which meters happen to answer, a checkpoint before each round. Instead of waiting for autovacuum's next look,
after each round the table is vacuumed when the server's own rule says so. The server is the benchmark's own. The last line of the
output is one JSON object.
"""

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.servers import postgres_server
from benchmarks.store_workload import CODES, FIRST_DAY, PERIOD, WH, open_store
from benchmarks.workload import CHANNELS, SLOTS, fleet
from drivers.facts import IntervalBlock
from headend.registry.model import DAY
from headend.store.postgresql.connect import connect_writing
from headend.store.postgresql.engine import PostgresEngine
from tests.postgres import Postgres

METERS = 500
HISTORY = 120
DAYS = 16
COMMIT = 50
"""Meters in a transaction."""
KINDS = 50
"""Meters whose blocks are made; the others have the same."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How the table is kept, and how often a block is written on its day.

    ``share``: of the rows that may be dead before it is vacuumed.  ``octets``: longest row with its block in it.  ``blocks``: how many
    blocks of ten channels, of different meters, make up one.
    """

    name: str
    rounds: int = 24
    fillfactor: int = 100
    share: float = 0.2
    octets: int = 2_032
    blocks: int = 1
    setting: str = "wal_compression = off"


VARIANTS = (
    Variant("as it is"),
    Variant("vacuumed at 5 %", share=0.05),
    Variant("vacuumed at 2 %", share=0.02),
    Variant("fillfactor 90", fillfactor=90),
    Variant("wal_compression", setting="wal_compression = on"),
    Variant("every 15 min", rounds=96),
    Variant("every 15 min, 2 %", rounds=96, share=0.02),
    Variant("20 channels", blocks=2),
    Variant("20 channels, in the row", blocks=2, octets=8_160),
    Variant("40 channels", blocks=4),
    Variant("40 channels, in the row", blocks=4, octets=8_160),
)


def growing_blocks(folder: Path) -> list[list[bytes]]:
    """Make the blocks of a day as they grow: for each quarter of an hour those of `KINDS` meters, with ten channels."""
    counts = fleet(KINDS, 1).values.reshape(KINDS, CHANNELS, SLOTS).tolist()
    found: list[list[bytes]] = []
    with open_store(folder / "blocks.db", KINDS) as store:
        for slot in range(SLOTS):
            start = FIRST_DAY * DAY + slot * PERIOD
            with store.transaction():
                for meter, channels in enumerate(counts, 1):
                    facts = [
                        IntervalBlock(code, WH, start, PERIOD, (channel[slot],))
                        for code, channel in zip(CODES, channels, strict=True)
                    ]
                    store.record(meter, facts, 0)
            found.append([data for (data,) in store._rows("SELECT block FROM raw ORDER BY k")])  # noqa: SLF001
    return found


def is_due(engine: PostgresEngine, variant: Variant) -> bool:
    """Apply autovacuum's rule: dead and new rows against a number and a share of all."""
    engine.rows("SELECT pg_stat_force_next_flush()")
    engine.rows("SELECT pg_stat_clear_snapshot()")
    ((dead, new, rows),) = engine.rows(
        "SELECT n_dead_tup, n_ins_since_vacuum, reltuples::BIGINT FROM pg_stat_user_tables JOIN pg_class ON pg_class.oid = relid"
        " WHERE relid = 'raw'::regclass"
    )
    return bool(dead > 50 + variant.share * rows or new > 1_000 + 0.2 * rows)


def keep(server: Postgres, variant: Variant, made: list[list[bytes]]) -> dict[str, float]:
    """Run the workload on a table of its own, and measure it."""
    engine = connect_writing(server.place())
    engine.script(
        f"SET {variant.setting}; ALTER TABLE raw SET (fillfactor = {variant.fillfactor},"
        f" toast_tuple_target = {variant.octets}, autovacuum_enabled = off, toast.autovacuum_enabled = off)"
    )

    def block(slot: int, meter: int) -> bytes:
        return b"".join(made[slot][(meter + 7 * other) % KINDS] for other in range(variant.blocks))

    for day in range(HISTORY):
        engine.begin(writes=True)
        engine.put_many("raw", ("k", "block"), [(day << 32 | meter, block(-1, meter)) for meter in range(METERS)])
        engine.commit()
    engine.script("VACUUM ANALYZE raw")
    sizes = "SELECT pg_table_size('raw'), pg_indexes_size('raw')"
    ((table, index),) = engine.rows(sizes)
    ((log,),) = engine.rows("SELECT pg_current_wal_insert_lsn()::TEXT")
    random = np.random.default_rng(2)
    vacuums, step = 0, SLOTS // variant.rounds
    for day in range(HISTORY, HISTORY + DAYS):
        for slot in range(step - 1, SLOTS, step):
            engine.script("CHECKPOINT")
            order = random.permutation(METERS).tolist()
            for first in range(0, METERS, COMMIT):
                engine.begin(writes=True)
                for meter in order[first : first + COMMIT]:
                    engine.run(
                        "INSERT INTO raw (k, block) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET block = excluded.block",
                        (day << 32 | meter, block(slot, meter)),
                    )
                engine.commit()
            if is_due(engine, variant):
                engine.script("VACUUM raw")
                vacuums += 1
    ((table_after, index_after),) = engine.rows(sizes)
    ((written,),) = engine.rows("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), ?::pg_lsn)::BIGINT", (log,))
    begun = time.perf_counter()
    for day in range(HISTORY + DAYS):
        engine.rows("SELECT block FROM raw WHERE k >= ? AND k < ?", (day << 32, day + 1 << 32))
    read = time.perf_counter() - begun
    ((hot, every),) = engine.rows(
        "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relid = 'raw'::regclass"
    )
    engine.script("DROP TABLE raw CASCADE")
    engine.close()
    content = sum(len(block(-1, meter)) for meter in range(METERS))
    return {
        "bulk_per_octet": table / HISTORY / content,
        "open_per_octet": (table_after - table) / DAYS / content,
        "index_mib": (index_after - index) / 2**20,
        "in_place": hot / every,
        "log_per_write": written / (METERS * variant.rounds * DAYS),
        "vacuums": vacuums,
        "read_day_ms": read / (HISTORY + DAYS) * 1e3,
    }


def told(name: str, found: dict[str, float]) -> dict[str, float]:
    """Print what was found, and give it on."""
    print(f"{name:<26}" + "  ".join(f"{key} {value:.2f}" for key, value in found.items()), flush=True)
    return found


def main() -> None:
    """Print the figures by line, and all of them as JSON."""
    with tempfile.TemporaryDirectory(prefix="headend-bench-") as folder:
        made = growing_blocks(Path(folder))
        with postgres_server(Path(folder)) as server:
            figures = {variant.name: told(variant.name, keep(server, variant, made)) for variant in VARIANTS}
    print(json.dumps({name: {key: round(value, 3) for key, value in found.items()} for name, found in figures.items()}))


if __name__ == "__main__":
    main()
