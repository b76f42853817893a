"""The address of an IEC 62056-21 meter in the table: what stands behind the question mark, or nothing on an optical head."""

import pytest

from headend.registry.cells import parse_address
from tests.drivers.dlt645.cases import shipped


@pytest.mark.parametrize("cell", ["", "1001", "00001001", "ABC12"])
def test_an_address_is_kept_as_it_is_written(cell: str) -> None:
    assert parse_address(cell, shipped("sim-iec62056")) == cell


@pytest.mark.parametrize("cell", ["1/17", "12!", "1" * 33, "é"])
def test_what_is_no_address_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="IEC 62056-21 address"):
        parse_address(cell, shipped("sim-iec62056"))
