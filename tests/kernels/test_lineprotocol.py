from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import lineprotocol, reference
from kernels.quality import HAS_VALUE, Reason, State
from tests.kernels.strategies import INT32, REASONS, STATES

SLOTS = st.lists(st.tuples(INT32, STATES, REASONS, st.integers(0, 2**32 - 1)), max_size=40)
SCALERS = st.integers(-lineprotocol.MAX_SCALER, lineprotocol.MAX_SCALER)


def formatted(
    slots: list[Any],
    scaler: int = 0,
    *,
    prefix: bytes = b"m,meter=A",
    with_missing: bool = True,
    with_quality: bool = True,
) -> bytes:
    values, state, reason, rules = zip(*slots, strict=True) if slots else ((), (), (), ())
    return lineprotocol.format_slots(
        prefix, 1_700_000_100, 900, scaler, np.array(values, np.int32), np.array(state, np.uint8),
        np.array(reason, np.uint8), np.array(rules, np.uint32), with_missing=with_missing, with_quality=with_quality,
    )  # fmt: skip


@given(SLOTS, SCALERS, st.binary(min_size=1, max_size=20), st.booleans(), st.booleans())
def test_lines_agree_with_the_twin(
    slots: list[Any], scaler: int, prefix: bytes, with_missing: bool, with_quality: bool
) -> None:
    expected = reference.format_slots(
        prefix, 1_700_000_100, 900, scaler, slots, with_missing=with_missing, with_quality=with_quality
    )

    found = formatted(slots, scaler, prefix=prefix, with_missing=with_missing, with_quality=with_quality)

    assert found == expected


@given(INT32, SCALERS)
def test_value_is_the_exact_decimal_and_survives_a_64_bit_float(count: int, scaler: int) -> None:
    line = formatted([(count, State.MEASURED, 0, 0)], scaler)

    text = line.split(b"value=")[1].split(b",")[0].decode()
    assert Decimal(text) == Decimal(count).scaleb(scaler)
    assert Decimal(f"{float(text):.14e}") == Decimal(text)


@pytest.mark.parametrize(
    ("count", "scaler", "text"),
    [
        (0, 0, "0"), (0, 3, "0"), (0, -2, "0.00"), (5, -1, "0.5"), (5, -3, "0.005"), (-5, -1, "-0.5"), (123, -1, "12.3"),
        (120, -1, "12.0"), (7, 2, "700"), (-(2**31), 0, "-2147483648"), (2**31 - 1, -9, "2.147483647"),
        (2**31 - 1, -10, "0.2147483647"), (1, 30, "1" + "0" * 30), (-(2**31), -30, "-0.000000000000000000002147483648"),
    ],
)  # fmt: skip
def test_decimal_is_written_out_in_full(count: int, scaler: int, text: str) -> None:
    line = formatted([(count, State.ESTIMATED, Reason.LINEAR, 3)], scaler)

    assert line == f"m,meter=A value={text},state=4i,reason=64i,rules=3i 1700000100\n".encode()


def test_missing_slot_has_a_line_without_a_value_and_only_where_asked() -> None:
    slots = [(9, State.MISSING, Reason.NO_ANSWER, 0), (9, State.EXPECTED, 0, 0), (9, State.NOT_EXPECTED, 0, 0)]

    assert formatted(slots) == b"m,meter=A state=6i,reason=3i,rules=0i 1700000100\n"
    assert formatted(slots, with_missing=False) == b""


def test_the_longest_line_fits_what_is_set_aside_for_it() -> None:
    slots = [(-(2**31), 5, 255, 2**32 - 1)] * 50

    for scaler in (-30, 30):
        assert formatted(slots, scaler).count(b"\n") == 50


@pytest.mark.parametrize(("scaler", "prefix"), [(31, b"m"), (-31, b"m"), (0, b"")])
def test_scaler_or_prefix_out_of_range_is_an_error(scaler: int, prefix: bytes) -> None:
    with pytest.raises(ValueError, match=r"written out|measurement"):
        formatted([(1, State.MEASURED, 0, 0)], scaler, prefix=prefix)


def test_rows_of_unequal_lengths_are_an_error() -> None:
    one, two = np.zeros(1, np.uint8), np.zeros(2, np.uint8)

    with pytest.raises(ValueError, match="1 states"):
        lineprotocol.format_slots(
            b"m", 0, 1, 0, np.zeros(2, np.int32), one, two, np.zeros(2, np.uint32), with_missing=True
        )


def test_states_with_a_value_are_those_of_the_quality_codes() -> None:
    found = {state for state in State if b"value=" in formatted([(1, state, 0, 0)])}

    assert found == set(HAS_VALUE)
