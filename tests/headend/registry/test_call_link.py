"""The link of meters that only call."""

import pytest

from headend.profiles import load_profiles
from headend.registry.cells import parse_link

PROFILES = load_profiles()


def test_meter_that_only_calls_needs_no_link() -> None:
    assert parse_link("", PROFILES["dlms-caller"]) == "call:"
    assert parse_link("call:", PROFILES["dlms-caller"]) == "call:"


@pytest.mark.parametrize("name", ["sim-dlms-wrapper", "sim-concentrator"])
def test_other_meters_do_not_have_it(name: str) -> None:
    with pytest.raises(ValueError, match="is for meters that only call"):
        parse_link("call:", PROFILES[name])
