"""Values of each kind that an attribute may be, for Hypothesis."""

from typing import Any

from hypothesis import strategies as st

from drivers.dlms.axdr import Data, Tag
from drivers.dlms.datetime import MAX_DEVIATION, CosemDateTime
from drivers.dlms.listing import ObjectEntry
from drivers.dlms.objects import kinds
from drivers.dlms.objects.associations import Identifier, ObjectList
from drivers.dlms.objects.dates import CosemDate, CosemTime
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit

NAMES = st.builds(Obis, *[st.integers(0, 255)] * 6)
SIMPLE = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(lambda number: Data(Tag.DOUBLE_LONG, number)),
    st.binary(max_size=12).map(lambda octets: Data(Tag.OCTET_STRING, octets)),
    st.just(Data(Tag.NULL, None)),
    st.booleans().map(lambda value: Data(Tag.BOOLEAN, value)),
)
ANY = st.one_of(SIMPLE, st.lists(SIMPLE, max_size=3).map(lambda items: Data(Tag.STRUCTURE, tuple(items))))
_OCTET = st.integers(0, 255)
WRITTEN: dict[type, st.SearchStrategy[Any]] = {
    Obis: NAMES,
    CosemDateTime: st.builds(
        CosemDateTime,
        st.integers(0, 0xFFFF),
        *[_OCTET] * 5,
        st.none() | st.integers(-MAX_DEVIATION, MAX_DEVIATION),
        _OCTET,
        _OCTET,
        _OCTET,
    ),
    CosemDate: st.builds(
        CosemDate,
        st.integers(0, 0xFFFF),
        st.integers(1, 12) | st.integers(0xFD, 0xFF),
        st.integers(1, 31) | st.integers(0xFD, 0xFF),
        st.integers(1, 7) | st.just(0xFF),
    ),
    CosemTime: st.builds(
        CosemTime, st.integers(0, 23) | st.just(0xFF), st.integers(0, 59), st.integers(0, 59), st.integers(0, 99)
    ),
}


def values(kind: kinds.Kind) -> st.SearchStrategy[Any]:
    """Give values that are of a kind."""
    match kind:
        case kinds.Whole():
            bits, is_signed = kinds.WIDTHS[kind.tag]
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
            return st.integers(low if kind.low is None else kind.low, high if kind.high is None else kind.high)
        case kinds.Enumerated():
            known = st.sampled_from([one for one in kind.values if one <= kind.last])
            return known | st.integers(kind.maker_from, 255) if kind.maker_from < 256 else known
        case kinds.Flags():
            return st.integers(0, (1 << kind.size) - 1).map(kind.values)
        case kinds.Bits():
            size = kind.size
            return st.text("01", min_size=size or 0, max_size=20 if size is None else size)
        case kinds.Truth():
            return st.booleans()
        case kinds.Octets():
            return st.binary(min_size=kind.low, max_size=min(kind.high, 24))
        case kinds.SecretOctets():
            return st.binary(max_size=16).map(kinds.Secret)
        case kinds.Text():
            return st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20), max_size=20)
        case kinds.Written():
            return WRITTEN[kind.value]
        case kinds.ScalerUnits():
            return st.builds(ScalerUnit, st.integers(-128, 127), st.sampled_from(Unit))
        case kinds.Choice():
            return SIMPLE if kind.is_simple else ANY
        case kinds.Repeated():
            return st.lists(values(kind.item), min_size=kind.low, max_size=min(kind.high, 3)).map(tuple)
        case kinds.Grouped():
            return st.builds(kind.made, **{name: values(part) for name, part in kind.kinds.items()})
        case Identifier():
            return st.tuples(
                st.just(2), st.integers(0, 39), st.integers(0, 16383), *[st.integers(0, 127)] * 4
            )  # 2.16.756.5.8.x.y
        case ObjectList():
            rights = st.dictionaries(st.integers(1, 20), st.integers(0, 6), max_size=3)
            return st.lists(
                st.builds(ObjectEntry, st.integers(1, 200), st.integers(0, 3), NAMES, rights, rights), max_size=3
            ).map(tuple)
    raise AssertionError(f"no values for {kind!r}")
