"""The part of a profile that says what the bits of a status mean: parsing."""

from drivers.status import MAX_BIT, UNDECLARED, Meaning, StatusBit, StatusLayout
from drivers.table import CheckedTable


def parse_status_layout(top: CheckedTable) -> StatusLayout:
    """Read the table ``status_layout``, every fault noted; `UNDECLARED` where there is none."""
    if not top.has("status_layout"):
        return UNDECLARED
    table = top.table("status_layout")
    layout = StatusLayout(
        name=table.text("name"), source=table.text("source"), bits=tuple(_bit(row) for row in table.tables("bits"))
    )
    for index, one in enumerate(layout.bits):
        if any(one.bit == other.bit for other in layout.bits[:index]):
            table.fault(f"bits[{index}].bit", f"{one.bit} is there twice")
    if not layout.bits:
        table.fault("bits", "must not be empty; a layout explains at least one bit")
    table.finish()
    return layout


def _bit(row: CheckedTable) -> StatusBit:
    bit = StatusBit(
        bit=row.integer("bit", None, 0, MAX_BIT),
        name=row.text("name"),
        means=Meaning(row.choice("means", tuple(map(str, Meaning)))),
    )
    row.finish()
    return bit
