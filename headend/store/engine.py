"""What the store asks of a database: the seam between its mixins and SQLite or PostgreSQL.

SQL is written once, in the subset that both understand: parameters are ``?`` or ``?1``, an upsert names its columns, and
what SQLite calls ``ifnull`` is ``coalesce``, ``user`` stands in quotes, and a parameter is compared before it is tested for NULL,
which tells PostgreSQL its type. What is left is in each engine.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from headend.errors import StoreError

Bindings = Sequence[Any]
Row = tuple[Any, ...]


class Engine(Protocol):
    """One connection, used by one thread at a time. Each method raises `StoreError`, already translated.

    ``fault``: why nothing more may be done with this connection, None while it is well.
    """

    path: str
    fault: StoreError | None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, failed or not."""

    def rows(self, sql: str, bindings: Bindings = ()) -> list[Row]:
        """Run one statement and give all its rows."""

    def run(self, sql: str, bindings: Bindings = ()) -> None:
        """Run one statement for its effect."""

    def insert(self, sql: str, bindings: Bindings = ()) -> int:
        """Run an INSERT and give the new row's id."""

    def change(self, sql: str, bindings: Bindings = ()) -> int:
        """Run a statement and give the number of rows it inserted, changed or deleted."""

    def put_many(self, table: str, columns: Sequence[str], rows: Iterable[Bindings]) -> None:
        """Insert many rows, none of which is there yet: integers, octets and None."""

    def stamp(self) -> object:
        """Give what is another once another connection has changed the store."""

    def begin(self, *, writes: bool) -> None:
        """Begin a transaction; one that only reads sees the store as it was at its first statement."""

    def commit(self) -> None:
        """End the transaction, durable on return."""

    def rollback(self) -> None:
        """Undo the transaction. Never raises: a connection that cannot is at fault."""

    def begin_part(self) -> None:
        """Begin a part of the transaction that can be undone alone; parts nest."""

    def end_part(self) -> None:
        """Keep the innermost part."""

    def undo_part(self) -> None:
        """Undo the innermost part. Never raises: a connection that cannot is at fault."""

    def highest(self, table: str, number: str) -> int:
        """Give the highest number ever given to a row of a table that counts them, 0 before the first."""

    def keep_numbers(self) -> None:
        """Have the numbers that this transaction gave count as given, for `highest`, also once their rows are gone."""

    def crc_of(self, columns: str, function: str) -> str:
        """Write the SQL of the checksum over some columns, ``row_crc`` or ``change_crc``."""

    def structure_faults(self, most: int) -> Iterator[str]:
        """Name what the database finds wrong with its own structure."""

    def durability_faults(self) -> list[str]:
        """Name the settings under which the database does not keep what it acknowledges."""

    def sizes(self) -> list[tuple[str, int, int]]:
        """List the tables, the largest first: name, size with indexes, unused within it. [B]"""

    def unused_bytes(self) -> int:
        """Give what nobody uses between the tables. [B]"""

    def close(self) -> None:
        """Close; closing twice is harmless."""
