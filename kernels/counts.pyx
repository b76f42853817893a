"""Counts as facts hold them, tuples of Python integers and None, straight to rows of slots; and the rule masks beside them.

The one kernel whose loop meets Python objects: to turn them into an array first would take ten times as long as what follows.
"""

from cpython.long cimport PyLong_AsLongLong, PyLong_Check
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport INT32_MAX, INT32_MIN, UINT32_MAX, int32_t, int64_t, uint8_t, uint32_t

cdef enum:
    PLACE = 4


cdef int64_t number(object item, int64_t least, int64_t most, str what) except? -1:
    """Take an integer of a fact. Raises `TypeError`, `ValueError`."""
    cdef int64_t found
    if not PyLong_Check(item):
        raise TypeError(f"{what} is {item!r}, no integer")
    try:
        found = PyLong_AsLongLong(item)
    except OverflowError as error:
        raise ValueError(f"{what} {item} does not fit 32 bits") from error
    if not least <= found <= most:
        raise ValueError(f"{what} {found} does not fit 32 bits")
    return found


cdef int check_shape(str name, Py_ssize_t others, Py_ssize_t theirs, Py_ssize_t rows, Py_ssize_t slots) except -1:
    if (others, theirs) != (rows, slots):
        raise ValueError(f"{name} has the shape ({others}, {theirs}), values ({rows}, {slots})")
    return 0


cdef int check_place(const int64_t[::1] place, Py_ssize_t length, Py_ssize_t rows, Py_ssize_t slots) except -1:
    """Refuse a place that does not lie within the rows."""
    cdef int64_t row = place[0], column = place[1], width = place[2], first = place[3]
    if not (
        0 < width <= slots and 0 <= column <= slots - width and 0 <= first < width and 0 <= row < rows
        and length <= (rows - row) * width - first
    ):
        raise ValueError(
            f"{length} slots from ({row}, {column} + {first} of {width}) on do not lie in {rows} rows of {slots} slots"
        )
    return 0


def lay_facts(
    list counts not None, list masks not None, const int64_t[:, ::1] places not None, int32_t[:, ::1] values not None,
    uint8_t[:, ::1] has_value not None, uint32_t[:, ::1] rules not None,
):
    """Write facts into rows of slots, each where ``places`` says; give how many counts there were, and how many masks not 0.

    ``counts``: a tuple for each fact, None where there is no value: that slot is left as it is, but for its rules.
    ``masks``: a tuple as long for each fact, or an empty one.  ``places``: row, first column of the channel, its width, and
    the first slot within that; a fact that is longer than the row goes on in the same columns of the next one.
    Raises `TypeError`, `ValueError` for what is no integer of 32 bits; facts before it are written by then.
    """
    cdef Py_ssize_t facts = len(counts), rows = values.shape[0], slots = values.shape[1]
    cdef Py_ssize_t fact, i, length, laid = 0, ruled = 0, row, column, width, at
    cdef tuple said, mask
    cdef object item
    cdef bint has_masks
    cdef uint32_t rule
    check_shape("has_value", has_value.shape[0], has_value.shape[1], rows, slots)
    check_shape("rules", rules.shape[0], rules.shape[1], rows, slots)
    if len(masks) != facts or places.shape[0] != facts or (facts and places.shape[1] != PLACE):
        raise ValueError(f"{facts} facts, {len(masks)} masks and {places.shape[0]} places of {places.shape[1]} numbers")
    for fact in range(facts):
        said, mask = counts[fact], masks[fact]
        if said is None or mask is None:
            raise TypeError(f"fact {fact} is no tuple")
        length = PyTuple_GET_SIZE(said)
        has_masks = PyTuple_GET_SIZE(mask) > 0
        if has_masks and PyTuple_GET_SIZE(mask) != length:
            raise ValueError(f"{PyTuple_GET_SIZE(mask)} masks for {length} counts")
        check_place(places[fact], length, rows, slots)
    for fact in range(facts):
        said, mask = counts[fact], masks[fact]
        has_masks = PyTuple_GET_SIZE(mask) > 0
        row, column, width, at = places[fact, 0], places[fact, 1], places[fact, 2], places[fact, 3]
        for i in range(PyTuple_GET_SIZE(said)):
            item = <object>PyTuple_GET_ITEM(said, i)
            if item is not None:
                values[row, column + at] = <int32_t>number(item, INT32_MIN, INT32_MAX, "count")
                has_value[row, column + at] = 1
                laid += 1
            if has_masks:
                rule = <uint32_t>number(<object>PyTuple_GET_ITEM(mask, i), 0, UINT32_MAX, "mask")
                rules[row, column + at] = rule
                ruled += rule != 0
            at += 1
            if at == width:
                at = 0
                row += 1
    return laid, ruled
