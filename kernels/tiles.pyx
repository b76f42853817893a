"""The fast path: validate, estimate and aggregate rows of one day in lane tiles, all in one pass, at the speed of memory.

A tile holds 16 rows of one channel kind, ``[slot][16 rows]`` int32, one row in each lane of the machine's registers; see
`kernels` for the codes and `kernels.tile` for limits, flags and results. The work is done by C (tile_core.h and what it includes), compiled
for each instruction set; all give the same bytes.

The rules, per row: a slot without value is missing; a value outside the limits fails range and is treated as missing from
there on (its code stays); a value fails spike if (v - third highest) / third highest > spike_permille / 1000 and
v > spike_floor, where the third highest is positive; zeros in a row fail zero run from so many on, and a slot that is missing
ends a run. Then gaps of at most ``longest_gap`` slots between two values are drawn on the line between them, each slot rounded
half up; not where a slot of the gap is closed, nor, unless ``estimates_rejected``, where one was out of limits. Last, a row
without a gap left fails the sum check if its sum is off its register difference by more than sum_counts + |difference| *
sum_permille / 1000.
Source of the rules: see `kernels.validate` and `kernels.estimate`, which judge single rows of any length.
"""

from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from kernels.quality import State
from kernels import tile as given

cdef extern from "tile_core.h" nogil:
    enum:
        TILE
        TILE_TARIFFS
        TILE_MAX_SLOTS
        TILE_MAX_THREADS
        TILE_SETS
        TILE_CODE_MISSING
        TILE_CODE_CLOSED
    const int64_t TILE_NO_REGISTER
    ctypedef struct tile_limits:
        int32_t low
        uint32_t beyond
        int32_t zero
        int32_t zero_run
        int64_t spike_permille
        int64_t spike_floor
        int32_t longest_gap
        uint64_t sum_counts
        uint64_t sum_permille
        int fills_rejected
        int is_wide
    ctypedef struct tile_plan:
        pass
    ctypedef struct tile_room:
        int32_t* filled
        int is_past
        uint8_t* flags
        int64_t* hour_sum
        int32_t* hour_min
        int32_t* hour_max
        uint16_t* hour_count
        int64_t* day_sum
        int32_t* day_min
        int32_t* day_max
        int32_t* day_argmax
        int32_t* day_count
        int64_t* tariff_sum
        const int64_t* registers
    ctypedef void (*tile_body)(const int32_t*, const tile_plan*, const tile_limits*, void*, const tile_room*)
    ctypedef void (*tile_copy)(void*, const void*, size_t)
    ctypedef struct tile_set:
        const char* name
        tile_body body
        tile_copy stream
        int runs_here
    ctypedef struct tile_call:
        const int32_t* source "in"
        const uint8_t* kinds
        const tile_limits* limits
        const tile_plan* plan
        tile_room room
        Py_ssize_t tiles
        tile_body body
        tile_copy stream
    int tile_sets(tile_set* sets)
    int tile_plan_make(tile_plan* plan, int slots, const int32_t* edges, int hours, const uint8_t* tariffs)
    void tile_plan_free(tile_plan* plan)
    int tile_longest_segment(const tile_plan* plan)
    int tile_run(const tile_call* call, int threads)

cdef extern from "tile_transpose.h" nogil:
    void tile_from_rows(const int32_t* source, Py_ssize_t stride, int rows, int slots, int32_t* tile)
    void tile_to_rows(const int32_t* tile, int rows, int slots, int32_t* to, Py_ssize_t stride)
    void tile_from_series(
        const int32_t* values, const uint8_t* state, const uint8_t* reason, Py_ssize_t stride, int rows, int slots,
        int32_t low, int32_t* tile,
    )
    void tile_to_series(
        const int32_t* tile, const uint8_t* flags, int rows, int slots, int32_t low, unsigned failing,
        int32_t* values, uint8_t* state, uint8_t* reason, uint32_t* rules, Py_ssize_t stride,
    )

cdef enum:
    MAX_KINDS = 256
    STREAM_FROM = 8 << 20  # results beyond what a core's own cache holds by far [B]

assert (given.LANES, given.TARIFFS, given.MAX_SLOTS, given.MISSING, given.CLOSED, given.NO_REGISTER) == (
    TILE, TILE_TARIFFS, TILE_MAX_SLOTS, TILE_CODE_MISSING, TILE_CODE_CLOSED, TILE_NO_REGISTER
)
cdef int NEWEST_STATE = max(State)


def instruction_sets():
    """Name the instruction sets that this machine can run, narrowest first. `run` takes the last unless told otherwise."""
    cdef tile_set[TILE_SETS] sets
    cdef int known = tile_sets(sets), i
    return tuple([sets[i].name.decode() for i in range(known) if sets[i].runs_here])


cdef int find_set(object name, tile_call* call) except -1:
    cdef tile_set[TILE_SETS] sets
    cdef int known = tile_sets(sets), i
    call.body = NULL
    for i in range(known):
        if sets[i].runs_here and (name is None or sets[i].name.decode() == name):
            call.body = sets[i].body
            call.stream = sets[i].stream
    if call.body == NULL:
        raise ValueError(f"instruction set {name!r} does not run here; these do: {', '.join(instruction_sets())}")
    return 0


cdef int check_shape(str name, tuple shape, tuple expected) except -1:
    if shape != expected:
        raise ValueError(f"{name} has shape {shape}, not {expected}")
    return 0


cdef tuple shape3(const Py_ssize_t* shape):
    return (shape[0], shape[1], shape[2])


cdef int take_limits(object rule, int longest_segment, tile_limits* to) except -1:
    """Turn `Limits`, which checked themselves, into codes."""
    to.low = rule.low
    to.beyond = rule.high - rule.low + 1
    is_zero_legal = rule.low <= 0 <= rule.high
    to.zero = -rule.low if is_zero_legal else 0
    to.zero_run = rule.zero_run if is_zero_legal and rule.zero_run else INT32_MAX
    to.spike_permille = rule.spike_permille
    to.spike_floor = rule.spike_floor if rule.spike_permille else INT32_MAX
    to.longest_gap = rule.longest_gap
    to.sum_counts = rule.sum_counts
    to.sum_permille = rule.sum_permille
    to.fills_rejected = rule.estimates_rejected
    to.is_wide = (rule.high - rule.low) * longest_segment >= 2**32
    return 0


def run(
    const int32_t[:, :, ::1] tiles not None,
    const uint8_t[::1] kinds not None,
    limits,
    outcome,
    *,
    const int32_t[::1] edges not None,
    const uint8_t[::1] tariffs not None,
    const int64_t[:, ::1] registers=None,
    int32_t[:, :, ::1] out=None,
    threads=1,
    instruction_set=None,
):
    """Judge, fill and add up all rows of ``tiles``, shape (tiles, slots, 16); see the module for the rules.

    ``kinds``: which of ``limits``, a sequence of `kernels.tile.Limits`, holds for each tile, shape (tiles,).
    ``outcome``: a `kernels.tile.Outcome` of that size, written whole.
    ``edges``: slot at which each hour starts, and the end of the last: rising, from 0 to slots, shape (hours + 1,).
    ``tariffs``: in which of four sums each slot counts, 0 to 3, shape (slots,).
    ``registers``: difference of the register over each row, or `NO_REGISTER`, shape (tiles, 16); None where there are none.
    ``out``: where the filled codes go, shape of ``tiles``; ``tiles`` itself to fill in place; None is in place too.
    ``threads``: 1 to 64; each is bound to a CPU of its own for the call while there are enough.

    Runs without the interpreter lock. What is written must not overlap anything else of the call.
    Raises `ValueError` on other shapes, kinds without limits, edges or tariffs out of range, or an instruction set that
    this machine does not have; nothing is written then.
    """
    cdef Py_ssize_t n = tiles.shape[0], slots = tiles.shape[1], hours = edges.shape[0] - 1, i
    cdef uint8_t[:, :, ::1] flags = outcome.flags
    cdef int64_t[:, :, ::1] hour_sum = outcome.hour_sum
    cdef int32_t[:, :, ::1] hour_min = outcome.hour_min, hour_max = outcome.hour_max
    cdef uint16_t[:, :, ::1] hour_count = outcome.hour_count
    cdef int64_t[:, ::1] day_sum = outcome.day_sum
    cdef int32_t[:, ::1] day_min = outcome.day_min, day_max = outcome.day_max
    cdef int32_t[:, ::1] day_argmax = outcome.day_argmax, day_count = outcome.day_count
    cdef int64_t[:, :, ::1] tariff_sum = outcome.tariff_sum
    cdef tile_limits[MAX_KINDS] c_limits
    cdef tile_plan plan
    cdef tile_call call
    cdef int c_threads, failed
    if not 1 <= slots <= TILE_MAX_SLOTS or tiles.shape[2] != TILE:
        raise ValueError(f"tiles has shape {shape3(tiles.shape)}, not (tiles, 1..{TILE_MAX_SLOTS} slots, {TILE})")
    by_hour, by_day = (n, hours, TILE), (n, TILE)
    check_shape("kinds", (kinds.shape[0],), (n,))
    check_shape("tariffs", (tariffs.shape[0],), (slots,))
    check_shape("flags", shape3(flags.shape), (n, slots, TILE))
    check_shape("hour_sum", shape3(hour_sum.shape), by_hour)
    check_shape("hour_min", shape3(hour_min.shape), by_hour)
    check_shape("hour_max", shape3(hour_max.shape), by_hour)
    check_shape("hour_count", shape3(hour_count.shape), by_hour)
    check_shape("day_sum", (day_sum.shape[0], day_sum.shape[1]), by_day)
    check_shape("day_min", (day_min.shape[0], day_min.shape[1]), by_day)
    check_shape("day_max", (day_max.shape[0], day_max.shape[1]), by_day)
    check_shape("day_argmax", (day_argmax.shape[0], day_argmax.shape[1]), by_day)
    check_shape("day_count", (day_count.shape[0], day_count.shape[1]), by_day)
    check_shape("tariff_sum", shape3(tariff_sum.shape), (n, TILE_TARIFFS, TILE))
    if registers is not None:
        check_shape("registers", (registers.shape[0], registers.shape[1]), by_day)
    if out is not None:
        check_shape("out", shape3(out.shape), shape3(tiles.shape))
    cdef bint is_rising = hours >= 1 and edges[0] == 0 and edges[hours] == slots
    for i in range(hours):
        is_rising = is_rising and edges[i] < edges[i + 1]
    if not is_rising:
        raise ValueError(f"edges must rise from 0 to the {slots} slots of a row")
    for i in range(slots):
        if tariffs[i] >= TILE_TARIFFS:
            raise ValueError(f"tariff of slot {i} is {tariffs[i]}, not 0 to {TILE_TARIFFS - 1}")
    if not 1 <= len(limits) <= MAX_KINDS:
        raise ValueError(f"{len(limits)} limits are given, not 1 to {MAX_KINDS}")
    for i in range(n):
        if kinds[i] >= len(limits):
            raise ValueError(f"kind of tile {i} is {kinds[i]}, but there are {len(limits)} limits")
    if not 1 <= threads <= TILE_MAX_THREADS:
        raise ValueError(f"threads {threads} is not in 1..{TILE_MAX_THREADS}")
    c_threads = threads
    find_set(instruction_set, &call)
    if not all(isinstance(rule, given.Limits) for rule in limits):
        raise TypeError("limits must be a sequence of kernels.tile.Limits")
    if n == 0:
        return
    if out is None:
        out = writable(tiles)
    elif &out[0, 0, 0] != &tiles[0, 0, 0] and overlaps(&out[0, 0, 0], &tiles[0, 0, 0], n * slots * TILE):
        raise ValueError("out overlaps tiles without being the same")
    if tile_plan_make(&plan, <int>slots, &edges[0], <int>hours, &tariffs[0]) < 0:
        raise MemoryError
    try:
        for i in range(len(limits)):
            take_limits(limits[i], tile_longest_segment(&plan), &c_limits[i])
        call.source = &tiles[0, 0, 0]
        call.kinds = &kinds[0]
        call.limits = c_limits
        call.plan = &plan
        call.tiles = n
        call.room.filled = &out[0, 0, 0]
        call.room.is_past = False
        call.room.flags = &flags[0, 0, 0]
        call.room.hour_sum = &hour_sum[0, 0, 0]
        call.room.hour_min = &hour_min[0, 0, 0]
        call.room.hour_max = &hour_max[0, 0, 0]
        call.room.hour_count = &hour_count[0, 0, 0]
        call.room.day_sum = &day_sum[0, 0]
        call.room.day_min = &day_min[0, 0]
        call.room.day_max = &day_max[0, 0]
        call.room.day_argmax = &day_argmax[0, 0]
        call.room.day_count = &day_count[0, 0]
        call.room.tariff_sum = &tariff_sum[0, 0, 0]
        call.room.registers = NULL
        if registers is not None:
            call.room.registers = &registers[0, 0]
        if n * slots * TILE * 9 <= STREAM_FROM or not is_aligned(&call.room):
            call.stream = NULL
        with nogil:
            failed = tile_run(&call, c_threads)
    finally:
        tile_plan_free(&plan)
    if failed:
        raise MemoryError


cdef int32_t[:, :, ::1] writable(const int32_t[:, :, ::1] tiles):
    """Take the tiles for writing; raises `ValueError` where that is not allowed."""
    return tiles.base


cdef bint overlaps(const int32_t* one, const int32_t* other, Py_ssize_t length) noexcept:
    return one < other + length and other < one + length


cdef bint is_aligned(const tile_room* room) noexcept:
    """Whether each array begins on a cache line, so that it may be written past the cache."""
    return (
        <size_t>room.filled | <size_t>room.flags | <size_t>room.hour_sum | <size_t>room.hour_min | <size_t>room.hour_max
        | <size_t>room.hour_count
    ) % 64 == 0


cdef int check_tiles(tuple tiles, Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t slots) except -1:
    if slots > TILE_MAX_SLOTS:
        raise ValueError(f"rows of {slots} slots are longer than {TILE_MAX_SLOTS}")
    return check_shape("tiles", tiles, (channels * ((rows + TILE - 1) // TILE), slots, TILE))


def rows_to_tiles(const int32_t[:, ::1] rows not None, int32_t[:, :, ::1] tiles not None):
    """Lay rows of codes, shape (n, slots), out in tiles, shape (n / 16 rounded up, slots, 16); lanes without a row are closed.

    The arrays must not overlap. Raises `ValueError` on other shapes.
    """
    cdef Py_ssize_t n = rows.shape[0], slots = rows.shape[1], tile
    check_tiles(shape3(tiles.shape), n, 1, slots)
    if slots == 0:
        return
    with nogil:
        for tile in range(tiles.shape[0]):
            tile_from_rows(
                &rows[tile * TILE, 0], slots, <int>min(<Py_ssize_t>TILE, n - tile * TILE), <int>slots, &tiles[tile, 0, 0]
            )


def tiles_to_rows(const int32_t[:, :, ::1] tiles not None, int32_t[:, ::1] rows not None):
    """Undo `rows_to_tiles`: same shapes, ``rows`` is written."""
    cdef Py_ssize_t n = rows.shape[0], slots = rows.shape[1], tile
    check_tiles(shape3(tiles.shape), n, 1, slots)
    if slots == 0:
        return
    with nogil:
        for tile in range(tiles.shape[0]):
            tile_to_rows(
                &tiles[tile, 0, 0], <int>min(<Py_ssize_t>TILE, n - tile * TILE), <int>slots, &rows[tile * TILE, 0], slots
            )


def series_to_tiles(
    const int32_t[:, :, ::1] values not None,
    const uint8_t[:, :, ::1] state not None,
    const uint8_t[:, :, ::1] reason not None,
    const int32_t[::1] lows not None,
    int32_t[:, :, ::1] tiles not None,
):
    """Lay series as the store has them, shape (meters, channels, slots), out in tiles, channel after channel.

    ``lows``: lower limit of each channel, shape (channels,): what a code of 0 means. ``tiles``, written: shape
    (channels * (meters / 16 rounded up), slots, 16). A slot that carries a value gets its code, a missing one `MISSING`, all others and those
    missing for want of power `CLOSED`. The arrays must not overlap. Raises `ValueError` on other shapes and unknown states.
    """
    cdef Py_ssize_t meters = values.shape[0], channels = values.shape[1], slots = values.shape[2]
    cdef Py_ssize_t groups = (meters + TILE - 1) // TILE, channel, group, first
    check_shape("state", shape3(state.shape), shape3(values.shape))
    check_shape("reason", shape3(reason.shape), shape3(values.shape))
    check_shape("lows", (lows.shape[0],), (channels,))
    check_tiles(shape3(tiles.shape), meters, channels, slots)
    if meters * channels * slots == 0:
        return
    check_states(&state[0, 0, 0], meters * channels * slots)
    with nogil:
        for channel in range(channels):
            for group in range(groups):
                first = group * TILE
                tile_from_series(
                    &values[first, channel, 0], &state[first, channel, 0], &reason[first, channel, 0], channels * slots,
                    <int>min(<Py_ssize_t>TILE, meters - first), <int>slots, lows[channel],
                    &tiles[channel * groups + group, 0, 0],
                )


cdef int check_states(const uint8_t* state, Py_ssize_t n) except -1:
    cdef Py_ssize_t i
    cdef uint8_t largest = 0
    for i in range(n):
        largest = max(largest, state[i])
    if largest > NEWEST_STATE:
        raise ValueError(f"a state is {largest}, which is no code of State")
    return 0


def tiles_to_series(
    const int32_t[:, :, ::1] tiles not None,
    const uint8_t[:, :, ::1] flags not None,
    const int32_t[::1] lows not None,
    int32_t[:, :, ::1] values not None,
    uint8_t[:, :, ::1] state not None,
    uint8_t[:, :, ::1] reason not None,
    uint32_t[:, :, ::1] rules not None,
    *,
    failing,
):
    """Write what `run` found back to the series it came from; shapes as in `series_to_tiles`, ``rules`` like ``values``.

    An estimated slot gets its value, state ESTIMATED and reason LINEAR. Bits of failed rules are set in ``rules``; a measured slot that
    fails one of ``failing``, a mask of `Rule`, becomes QUESTIONABLE and keeps its value. All else stays as it is.
    The arrays must not overlap. Raises `ValueError` on other shapes.
    """
    cdef Py_ssize_t meters = values.shape[0], channels = values.shape[1], slots = values.shape[2]
    cdef Py_ssize_t groups = (meters + TILE - 1) // TILE, channel, group, first, tile
    cdef unsigned c_failing = failing & 0xF
    check_shape("state", shape3(state.shape), shape3(values.shape))
    check_shape("reason", shape3(reason.shape), shape3(values.shape))
    check_shape("rules", shape3(rules.shape), shape3(values.shape))
    check_shape("flags", shape3(flags.shape), shape3(tiles.shape))
    check_shape("lows", (lows.shape[0],), (channels,))
    check_tiles(shape3(tiles.shape), meters, channels, slots)
    if meters * channels * slots == 0:
        return
    with nogil:
        for channel in range(channels):
            for group in range(groups):
                first = group * TILE
                tile = channel * groups + group
                tile_to_series(
                    &tiles[tile, 0, 0], &flags[tile, 0, 0], <int>min(<Py_ssize_t>TILE, meters - first), <int>slots,
                    lows[channel], c_failing, &values[first, channel, 0], &state[first, channel, 0],
                    &reason[first, channel, 0], &rules[first, channel, 0], channels * slots,
                )
