"""`CheckedTable`: faults are noted, never raised, and reading goes on."""

from hypothesis import given
from hypothesis import strategies as st

from drivers.table import MAX_FAULTS, CheckedTable, Faults, nearest
from drivers.zone import parse_zone

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["text", "number", "flag", "word", "wait", "rows", "deep", "other"]), VALUES))
def test_no_value_whatever_makes_reading_raise(values: dict[str, object]) -> None:
    faults = Faults()
    table = CheckedTable(values, faults)

    assert isinstance(table.text("text"), str)
    assert 1 <= table.integer("number", None, 1, 9) <= 9
    assert isinstance(table.boolean("flag", default=True), bool)
    assert table.choice("word", ("a", "b")) in {"a", "b"}
    assert 0 <= table.seconds("wait", 1.0, 5.0) <= 5
    assert all(isinstance(word, str) for word in table.words("rows"))
    assert isinstance(table.table("deep"), CheckedTable)
    table.finish()

    assert all(": " in line and len(line) < 400 for line in faults.lines)
    assert ("other" in values) == any(line.startswith("other: is unknown") for line in faults.lines)


def test_number_of_faults_is_bounded() -> None:
    faults = Faults()
    for index in range(MAX_FAULTS * 2):
        faults.add(str(index), "is wrong")

    assert len(faults.lines) == MAX_FAULTS


def test_nearest_names_what_is_known_where_nothing_is_near() -> None:
    assert nearest("periode", ["period", "zone"]) == "; did you mean period?"
    assert nearest("x", ["period", "zone"]) == "; known: period, zone"
    assert nearest("x", []) == ""


@given(st.text(max_size=80))
def test_zone_is_a_zone_or_a_value_error(text: str) -> None:
    try:
        zone = parse_zone(text)
    except ValueError as error:
        assert len(str(error)) < 200  # noqa: PT017  both outcomes are right, neither may be anything else
    else:
        assert zone.utcoffset(None) is not None or hasattr(zone, "key")


def test_zone_file_outside_the_database_is_refused() -> None:
    for text in ("../../etc/passwd", "/etc/localtime", "UTC+15:00", "Europe/../Europe/Berlin", ""):
        try:
            parse_zone(text)
        except ValueError:
            continue
        raise AssertionError(text)
