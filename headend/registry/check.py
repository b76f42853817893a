"""What one row alone cannot show: rows that contradict each other."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from headend.registry.row import Fault, MeterRow

_OF_METER = ("profile", "link", "address", "password", "encryption_key", "authentication_key", "options")
_OF_USAGE_POINT = (
    "zone", "area", "transformer", "feeder", "box", "check_meter", "check_ratio", "tariff",
)  # fmt: skip
_BROKERS = ("mqtt:", "mqtts:", "call:")
_MAX_OPEN = 50
"""Most earlier rows a row is compared with; a usage point has a handful of meters."""


def check_rows(rows: Sequence[MeterRow]) -> Iterator[Fault]:
    """Find rows that disagree about one meter or usage point, or claim one thing twice at one time."""
    yield from _disagreements(rows, "meter", _OF_METER)
    yield from _disagreements(rows, "usage_point", _OF_USAGE_POINT)
    for row, other in _overlapping(rows, lambda row: row.meter):
        yield Fault(
            row.number,
            "from",
            f"meter {row.meter} is in row {other.number} too at that time; let one end (to) where the other begins (from)",
        )
    for row, other in _overlapping(rows, lambda row: row.usage_point):
        shared = {item.obis for item in row.profile.channels} & {item.obis for item in other.profile.channels}
        if shared and row.meter != other.meter:
            yield Fault(
                row.number,
                "from",
                f"usage point {row.usage_point} already has {min(shared)} from meter {other.meter} at that time"
                f" (row {other.number}); for a swap let one end where the other begins",
            )
    wired = [row for row in rows if not row.link.startswith(_BROKERS)]
    for row, other in _overlapping(wired, lambda row: (row.link, row.address)):
        if row.meter != other.meter:
            yield Fault(row.number, "address", f"meter {other.meter} answers there at that time (row {other.number})")


def _groups(rows: Iterable[MeterRow], key: Callable[[MeterRow], Hashable]) -> Iterator[list[MeterRow]]:
    groups: dict[Hashable, list[MeterRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return (group for group in groups.values() if len(group) > 1)


def _disagreements(rows: Sequence[MeterRow], about: str, columns: Sequence[str]) -> Iterator[Fault]:
    for first, *others in _groups(rows, lambda row: str(getattr(row, about))):
        for row in others:
            for column in columns:
                if getattr(row, column) != getattr(first, column):
                    name = getattr(row, about)
                    yield Fault(row.number, column, f"differs from row {first.number}, which is about {name} too")


def _overlapping(rows: Iterable[MeterRow], key: Callable[[MeterRow], Hashable]) -> Iterator[tuple[MeterRow, MeterRow]]:
    """Find pairs (later, earlier) of one group that share an instant."""
    for group in _groups(rows, key):
        still_open: list[MeterRow] = []
        for row in sorted(group, key=lambda row: (row.start, row.number)):
            still_open = [other for other in still_open[-_MAX_OPEN:] if other.overlaps(row)]
            yield from ((row, other) for other in still_open)
            still_open.append(row)
