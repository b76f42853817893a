"""AEMO NEM12: interval data as the Australian market exchanges it. Pure: rows in, bytes out.

Source: AEMO, Meter Data File Format Specification NEM12 & NEM13, sections 3 and 4. Records 100 header, 200 channel, 300
day, 400 quality of part of a day, 900 end. Days and times are UTC+10 all year. The usage point's name is the NMI.
A day is written whole: slots outside its expectation are null. Record 500 (manual reads, service orders) has no
counterpart here and is not written.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.errors import ExportError
from headend.export import quality
from headend.export.errors import NotExportable
from headend.export.quality import NEM12_NOT_METERED, Nem12Quality
from headend.export.rows import Row, Slot

SUFFIX = ".nem12.csv"
OFFSET = 36_000  # UTC+10, no daylight saving [s]
DAY = 86_400
PERIODS = (300, 900, 1_800)  # IntervalLength 5, 15 or 30 minutes [s]
_NMI = re.compile(r"[A-HJ-NP-Z0-9]{10}", re.ASCII)  # the letters I and O are not used
_SERIAL = re.compile(r"[!#-+\--~]{1,12}", re.ASCII)  # MeterSerialNumber, 12 characters; no comma, no quote
_PARTICIPANT = re.compile(r"[A-Z0-9]{1,10}", re.ASCII)

# NMI Procedure: E takes from the grid, B feeds into it; Q and K the same for reactive energy. Master streams, meter 1.
SUFFIX_OF = {
    Obis(1, 0, 1, 29, 0): ("E1", "kWh"),
    Obis(1, 0, 2, 29, 0): ("B1", "kWh"),
    Obis(1, 0, 3, 29, 0): ("Q1", "kVArh"),
    Obis(1, 0, 4, 29, 0): ("K1", "kVArh"),
}
_OTHER_RECORDS = ("100", "900")
_OBIS_OF = {suffix: obis for obis, (suffix, _) in SUFFIX_OF.items()}


@dataclass(frozen=True, slots=True)
class Header:
    """Who sends the file to whom (AEMO participant identifiers), and when it was made. [s UTC]"""

    created: UtcSeconds
    sender: str = "HEADEND"
    receiver: str = "RECEIVER"

    def __post_init__(self) -> None:
        """Refuse identifiers that are not 1 to 10 capital letters and digits."""
        for name in (self.sender, self.receiver):
            if not _PARTICIPANT.fullmatch(name):
                raise NotExportable(
                    f"{name[:40]!r} is not a participant identifier: 1 to 10 capital letters and digits"
                )


def nmi_checksum(nmi: str) -> int:
    """Compute the check digit of a National Metering Identifier.

    AEMO NMI Procedure: character codes are taken from the right, every other one doubled starting with the rightmost;
    the digits of all are added and the sum is filled up to a multiple of ten. Raises `ExportError`.
    """
    check_nmi(nmi)
    total = 0
    for place, character in enumerate(reversed(nmi)):
        total += sum(int(digit) for digit in str(ord(character) * (1 if place % 2 else 2)))
    return -total % 10


def check_nmi(nmi: str) -> None:
    """Refuse a usage point name that is not an NMI. Raises `ExportError` that says what one looks like."""
    if not _NMI.fullmatch(nmi):
        hint = ""
        if _NMI.fullmatch(nmi[:10]) and nmi[10:].isdecimal() and len(nmi) == 11:
            hint = "; leave the check digit off"
        raise NotExportable(
            f"usage point {nmi[:40]!r} is not an NMI: 10 capital letters and digits without I and O{hint}. "
            "NEM12 names usage points by NMI; rename it in the meter table, or export as csv"
        )


def check_channel(obis: Obis, period: int) -> None:
    """Refuse a channel that NEM12 cannot carry. Raises `ExportError`."""
    if obis not in SUFFIX_OF:
        known = ", ".join(str(known) for known in SUFFIX_OF)
        raise NotExportable(f"NEM12 has no data stream for {obis}; it carries {known}. Leave it out, or export as csv")
    if period not in PERIODS:
        raise NotExportable(f"{obis}: NEM12 takes intervals of 5, 15 or 30 minutes, not {period} s; export as csv")


def check_period(start: UtcSeconds, end: UtcSeconds) -> None:
    """Refuse a period that is not whole UTC+10 days. Raises `ExportError`."""
    if (start + OFFSET) % DAY or (end + OFFSET) % DAY or start >= end:
        raise NotExportable(
            f"NEM12 writes whole days of UTC+10; {_stamp(start, '%Y-%m-%d %H:%M')} to {_stamp(end, '%Y-%m-%d %H:%M')}"
            " (UTC+10) is not that. Days begin at 14:00 UTC of the day before"
        )


def encode(rows: Iterable[Row], header: Header, channels: Iterable[tuple[str, Obis]]) -> Iterator[bytes]:
    """Make the file, in chunks: one per channel and meter, rows in order of usage point, channel and time.

    ``channels``: every (usage point, channel) in the file, for the NMI configuration. Raises `ExportError` where a row
    cannot be written in this format.
    """
    configuration = _configuration(channels)
    yield _lines([("100", "NEM12", _stamp(header.created, "%Y%m%d%H%M"), header.sender, header.receiver)])
    for (usage_point, obis), of_channel in groupby(rows, lambda row: (row.usage_point, row.obis)):
        days = [(day, list(of_day)) for day, of_day in groupby(of_channel, _day)]
        for previous, following in pairwise(day for day, _ in days):
            if following <= previous:
                raise ExportError(f"{usage_point} {obis}: rows are not in order of time")
        for (serial, period), stretch in groupby(days, lambda item: (item[1][-1].serial, _period(item[1]))):
            yield _block(
                usage_point=usage_point,
                obis=obis,
                serial=serial,
                period=period,
                days=list(stretch),
                configuration=configuration[usage_point],
                header=header,
            )
    yield _lines([("900",)])


def decode(lines: Iterable[str]) -> Iterator[Slot]:
    """Read a file of `encode` back, one `Slot` per interval, in order.

    Made to compare exports with each other, not to read other systems' files. Raises `ValueError` naming the line.
    """
    nmi, obis, serial, period, start = "", "", "", 0, 0
    day: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        cells = line.rstrip("\r\n").split(",")
        try:
            if cells[0] in ("200", "300", "900"):
                for index, (value, method) in enumerate(day):
                    at = _stamp(start + index * period, "%Y%m%d%H%M")
                    yield (nmi, obis, at), ("" if method.startswith("N") else value, method, serial)
                day = []
            if cells[0] == "200":
                nmi, obis, serial, period = cells[1], str(_OBIS_OF[cells[4]]), cells[6], int(cells[8]) * 60
            elif cells[0] == "300":
                count = DAY // period
                start = int(datetime.strptime(cells[1], "%Y%m%d").replace(tzinfo=UTC).timestamp()) - OFFSET
                day = [(value, f"{cells[2 + count]} {cells[4 + count]}") for value in cells[2 : 2 + count]]
            elif cells[0] == "400":
                for index in range(int(cells[1]) - 1, int(cells[2])):
                    day[index] = (day[index][0], f"{cells[3]} {cells[5]}")
            else:
                _OTHER_RECORDS.index(cells[0])
        except (ValueError, KeyError, IndexError, ZeroDivisionError) as error:
            raise ValueError(f"line {number}: {error!r}") from error


def _configuration(channels: Iterable[tuple[str, Obis]]) -> dict[str, str]:
    suffixes: dict[str, set[str]] = {}
    for usage_point, obis in channels:
        suffixes.setdefault(usage_point, set()).add(SUFFIX_OF[obis][0])
    return {usage_point: "".join(sorted(found)) for usage_point, found in suffixes.items()}


def _block(
    *,
    usage_point: str,
    obis: Obis,
    serial: str,
    period: int,
    days: Sequence[tuple[int, list[Row]]],
    configuration: str,
    header: Header,
) -> bytes:
    check_nmi(usage_point)
    check_channel(obis, period)
    suffix, unit = SUFFIX_OF[obis]
    printed = serial if _SERIAL.fullmatch(serial) else ""
    lines: list[Sequence[str]] = [
        ("200", usage_point, configuration, suffix, suffix, "", printed, unit, str(period // 60), "")
    ]
    for day, rows in days:
        lines.extend(_day_records(day, rows, period, header))
    return _lines(lines)


def _day_records(day: int, rows: Sequence[Row], period: int, header: Header) -> Iterator[Sequence[str]]:
    start, count = day * DAY - OFFSET, DAY // period
    values = ["0"] * count
    qualities = [NEM12_NOT_METERED] * count
    previous = -1
    for row in rows:
        index, rest = divmod(row.start - start, period)
        if rest or row.end - row.start != period:
            raise ExportError(f"{row.usage_point} {row.obis}: slot {row.start} is not on the grid of a UTC+10 day")
        if index <= previous:
            raise ExportError(f"{row.usage_point} {row.obis}: slot {row.start} comes twice or out of order")
        previous = index
        values[index] = _value(row)
        qualities[index] = quality.nem12(row)
    updated = _stamp(max((row.updated_at or header.created for row in rows), default=header.created), "%Y%m%d%H%M%S")
    date = _stamp(start, "%Y%m%d")
    ranges = list(_ranges(qualities))
    if len(ranges) == 1:
        common = ranges[0][2]
        yield ("300", date, *values, *_quality_cells(common), "" if common.method == "N" else updated, "")
        return
    yield ("300", date, *values, "V", "", "", updated, "")
    for first, last, found in ranges:
        yield ("400", str(first), str(last), *_quality_cells(found))


def _ranges(qualities: Sequence[Nem12Quality]) -> Iterator[tuple[int, int, Nem12Quality]]:
    """Give (first, last, quality) of runs of equal quality; intervals count from 1, last is inclusive."""
    first = 1
    for found, run in groupby(qualities):
        length = sum(1 for _ in run)
        yield first, first + length - 1, found
        first += length


def _quality_cells(found: Nem12Quality) -> tuple[str, str, str]:
    return found.method, "" if found.reason is None else str(found.reason), found.text


def _value(row: Row) -> str:
    if row.value is None:
        return "0"
    if row.value < 0:
        raise NotExportable(
            f"{row.usage_point} {row.obis}: {row.value} {row.unit} at {_stamp(row.start, '%Y-%m-%d %H:%M')} (UTC+10);"
            " NEM12 takes no negative values. Edit the value, or export as csv"
        )
    return format(row.value, "f")


def _day(row: Row) -> int:
    return (row.start + OFFSET) // DAY


def _period(rows: Sequence[Row]) -> int:
    return rows[0].end - rows[0].start


def _stamp(at: UtcSeconds, form: str) -> str:
    return (datetime.fromtimestamp(at, UTC) + timedelta(seconds=OFFSET)).strftime(form)


def _lines(records: Iterable[Sequence[str]]) -> bytes:
    return "".join(",".join(record) + "\r\n" for record in records).encode("ascii")
