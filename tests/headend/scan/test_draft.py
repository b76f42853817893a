"""The drafted meter table is what `meter import` reads, and says what is missing in it."""

from drivers.transports.url import Form, SerialUrl
from headend.registry import table
from headend.scan.draft import draft
from headend.scan.found import FoundMeter
from headend.scan.ground import OPTICAL, Kind
from tests.headend.scan.town import E24, N96, PROFILES

KNOWN = FoundMeter(Kind.MODBUS, N96, "3", "SIM:1003", "", "sim-modbus-rtu")
LONG = FoundMeter(Kind.DLMS, N96, "1/17:4", "SIM0000000000017", "", "sim-dlms-hdlc", "address_size=4")
NAMELESS = FoundMeter(Kind.DLT645_2007, E24, "000000000042")
OPENED = FoundMeter(Kind.IEC62056, OPTICAL, "", model="LGZ ZMD120AP")


def link(form: Form) -> str:
    return str(SerialUrl("/dev/ttyUSB0", form.baud, form.parity, form.bits))


def test_a_table_of_meters_that_are_known_is_taken_as_it_is() -> None:
    made = draft([KNOWN, LONG], link, "2026-11-28", "UTC+08:00", "NAAA")

    parsed = table.parse(made.text, PROFILES)
    assert parsed.faults == ()
    assert [(row.usage_point, row.meter, row.address, dict(row.options)) for row in parsed.rows] == [
        ("NAAA1", "SIM:1003", "3", {}),
        ("NAAA2", "SIM0000000000017", "1/17", {"address_size": "4"}),
    ]
    assert parsed.rows[0].link == "serial:///dev/ttyUSB0?baud=9600&parity=N&bits=8&stop=1"
    assert made.gaps == {}


def test_what_a_scan_cannot_know_is_left_empty_named_and_found_by_the_import() -> None:
    made = draft([KNOWN, NAMELESS, OPENED], link, "2026-11-28", "UTC")

    faults = {(fault.row, fault.column) for fault in table.parse(made.text, PROFILES).faults}
    assert made.gaps == {"usage_point": [2, 3, 4], "meter": [3, 4], "profile": [3, 4]}
    assert {(row, column) for column, rows in made.gaps.items() for row in rows} == faults
    assert made.advice()[1] == "meter of 2 rows: its global name: logical device name, or MAKER:SERIAL"


def test_a_name_that_a_spreadsheet_would_run_is_escaped() -> None:
    hostile = FoundMeter(Kind.DLMS, N96, "1/17", "=1+1", "", "sim-dlms-hdlc")

    assert "'=1+1" in draft([hostile], link, "2026-11-28", "UTC").text
