"""A short run of ``make noise``, which says what becomes of values on a noisy line."""

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks import noise
from benchmarks.noise import PROTOCOLS, batch, faults, measure, summarize

ANSWERS = 20_000
RATE = 1e-3


@pytest.mark.parametrize("has_parity", [True, False])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_noise_makes_no_wrong_value_and_what_no_parity_protects_says_so(name: str, has_parity: bool) -> None:
    told = measure(name, ANSWERS, RATE, 1, has_parity=has_parity)

    assert told["damaged"] > ANSWERS // 20
    assert told["right"] > ANSWERS // (2 if has_parity else 4)
    assert (told["wrong"], told["unmarked"]) == (0, 0)


async def test_a_single_reading_without_parity_lets_wrong_values_through() -> None:
    """Or else the noise were none, and the second reading for nothing."""
    trusting = PROTOCOLS["dlt645"]
    assert trusting.profile.dlt645 is not None
    settings = replace(trusting.profile.dlt645, parity="gateway")
    trusting = replace(trusting, profile=replace(trusting.profile, dlt645=settings))

    told = await batch(trusting, 0, ANSWERS, 5e-3, 1, has_parity=False)

    assert told["wrong"] > 0
    assert told["unmarked"] == told["right"] + told["wrong"] - told["counted"]
    assert len(faults({("dlt645", False): told})) == 2


def test_a_wrong_value_fails_the_run_with_parity_and_beyond_one_in_a_million_without() -> None:
    one = Counter(answers=1_000_000, wrong=1)
    two = Counter(answers=1_000_000, wrong=2)

    assert faults({("dlt645", True): one, ("modbus", False): two}) == [
        "dlt645 with parity: 1 wrong values accepted",
        "modbus without parity: 2 wrong values accepted",
    ]
    assert not faults({("dlt645", False): one})
    assert summarize({("dlt645", True): one, ("modbus", False): two})["wrong_flagged"] == 2


def test_the_run_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    noise.main(["--dlt645", "2000", "--modbus", "2000", "--processes", "1"])

    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith('{"frames": 800')
