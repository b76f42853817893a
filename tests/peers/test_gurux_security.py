"""Authentication and security against an independent meter: what it computes is gurux's, what is demanded of it is ours."""

from typing import Any

import pytest

from drivers.errors import SecurityError
from drivers.facts import IntervalBlock
from drivers.profile import Security
from tests.peers.meters import gurux_meter
from tests.peers.test_gurux_meter import DAY, FRAMINGS, endpoint, session

BY_SECRET = ["hls3", "hls4", "hls6"]


async def read(known: dict[str, Any], **changes: Any) -> tuple[str, list[int | None]]:
    async with session(known["port"], endpoint(known, **changes)) as opened:
        identity = await opened.read_identity()
        block, *_ = await opened.read_load_profile(DAY, DAY + 86_400)
    assert isinstance(block, IntervalBlock)
    return identity.name, list(block.counts)


def told(known: dict[str, Any]) -> tuple[str, list[int | None]]:
    return known["name"], [10 * value for value in known["values"]]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("authentication", BY_SECRET)
async def test_a_secret_is_proved_both_ways_with_an_independent_meter(framing: str, authentication: str) -> None:
    with gurux_meter("--framing", framing, "--authentication", authentication) as known:
        assert await read(known) == told(known)


@pytest.mark.parametrize("authentication", BY_SECRET)
async def test_the_wrong_secret_is_a_security_error(authentication: str) -> None:
    with (
        gurux_meter("--authentication", authentication) as known,
        pytest.raises(SecurityError, match="refuses our HLS"),
    ):
        await read({**known, "password": "87654321"})


@pytest.mark.parametrize("security", ["authenticated", "encrypted", "authenticated-encrypted"])
@pytest.mark.parametrize("authentication", ["lls", "hls5", *BY_SECRET])
async def test_an_independent_meter_is_read_under_each_security(authentication: str, security: Security) -> None:
    with gurux_meter("--authentication", authentication) as known:
        assert await read(known, security=security) == told(known)
