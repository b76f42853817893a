"""Numbers: arrays in, arrays out. Compiled, no I/O.

The contract of every kernel:

- **Arrays** are numpy arrays (or any buffer) taken as typed memoryviews: one dtype, C-contiguous, of the shape its docstring
  states. The stub shows the C type. Another dtype, shape or layout is a `ValueError` before the first slot is touched, and so
  are sizes, limits, states and edges out of range. An object that is no buffer is a `TypeError`.
- **The caller owns the memory.** Results go into arrays the caller passes, or are small numbers; what is written says so in
  the stub. An array that is written must not overlap another one.
- **Checks before the loop**, then a loop without Python objects and without the interpreter lock (but for `counts`, which takes
  them apart): O(n), exact integers, no float in a value. Counts are int32, sums int64; what does not fit is a `ValueError`, never a wrap.
- **Missing is a state, never a number.** What a slot without value holds in ``values`` is not looked at, and is 0 when written.
- **Batches are rows**: where many rows are worked on in one call, arrays have the shape (rows, slots), and `edges` cut every row.
- **Decoders trust nothing**: damaged input is a `ValueError` or a row of the length asked for, in time and memory bounded by
  that length.
- **Two implementations, one truth.** `kernels.reference` says the same slowly; tests hold both equal. There is no run-time
  fallback. ``HEADEND_CHECKED_KERNELS=1`` builds with bounds checks, ``HEADEND_SANITIZED_KERNELS=1`` with
  sanitizers; ``kernels.quality`` tells which one runs.

===============  =====================================================================================
`quality`        the permanent codes of state, reason and rule
`checksum`       CRC-16 of Modbus, FCS-16 of HDLC, CRC-16/CCITT, CRC-32
`axdr`           a load profile's buffer straight to columns, and a column onto its grid; twin: `drivers.dlms`
`blocks`         the codecs inside a stored block: packed values, runs of qualities, bodies of both; in batches
`counts`         counts and rule masks of facts, as Python holds them, laid into rows of slots
`lineprotocol`   the slots of a channel as lines of InfluxDB, each value the exact decimal
`validate`       missing, range, zero run, spike; sum of intervals against the register
`runs`           negative, constant and never-zero runs; steps from slot to slot, local peaks
`usage`          days with too few values; a period's usage against an earlier one's
`pairs`          import against export, reactive beside active energy
`phases`         limits that must hold for a while; voltages and currents of the phases together
`status`         the meter's own status bits as rule bits and causes of a miss
`estimate`       linear, like day, another row, zero, spread of a register difference
`aggregate`      sums and counts per bucket, least and greatest value, maximum demand (block, sliding) with its slot
`tou`            sums and demand by tariff bucket, price steps, time within a voltage band
`combine`        sums that keep their quality: virtual meters, longer intervals
`tiles`          the fast path below; `tile`: its limits, flags and arrays
`reference`      the slow, obvious twin of each, for tests; `reference_rules`, `reference_sums`, `reference_tiles`: its other rooms
===============  =====================================================================================

**The fast path** (`tiles`) takes whole days of many rows in lane tiles and does the common rules, the line through short gaps and the
sums in one pass. Why it is shaped so: docs/decisions/kernel-tiles.md.

- A **tile** is 16 rows of one kind of channel, slot after slot: int32 of shape (slots, 16); an array of them has shape
  (tiles, slots, 16). A row is one local day: 23 to 25 hours of 1, 5, 10, 15, 30 or 60 min, or any other number of slots up
  to 32,767; hours are slots between ``edges``, of any lengths. All rows of a call have the same slots, hours and tariffs.
- A slot holds a **code**: value - lower limit, in counts of the channel, so that one unsigned comparison covers both limits and
  missing; negative values are legal where the lower limit is negative. -1 is missing, -2 missing for good (not expected, or
  without power), everything else outside 0 to high - low a value out of limits. Lanes without a row are -2.
- ``rows_to_tiles``, ``tiles_to_rows`` transpose codes; ``series_to_tiles``, ``tiles_to_series`` go straight from and to values
  int32 with state, reason and rules, as blocks hold them.
- **Results** (`tile.Outcome`): one byte of flags a slot; by hour sum int64, least and greatest int32, count uint16; by day the
  same and the first slot of the greatest; four sums by tariff. All in counts, with the estimates; 0 where nothing was counted.
  Filled codes go into ``out``, or into the tiles themselves. What came out of limits keeps its code. Arrays from `tile.empty`
  start on a cache line; others work and are slower.
- **One thread** unless asked for more; each is then bound to a CPU of its own while the call lasts. SSE2, AVX2, AVX-512 and
  NEON are compiled into one build and chosen when it runs; all give the same bytes, and so does plain C elsewhere.
"""
