"""The address of a DL/T 645 meter in the table: twelve digits, zeros in front left out or not."""

import pytest

from headend.registry.cells import parse_address
from tests.drivers.dlt645.cases import shipped


@pytest.mark.parametrize("cell", ["1001", "000000001001"])
def test_zeros_in_front_may_be_left_out(cell: str) -> None:
    assert parse_address(cell, shipped("sim-dlt645")) == "000000001001"


@pytest.mark.parametrize("cell", ["", "1/17", "A1", "9" * 12, "1" * 13])
def test_what_is_no_address_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="address"):
        parse_address(cell, shipped("sim-dlt645"))
