/* Validate, estimate and aggregate one tile: the body, compiled once for each instruction set (see tile_core.h).

One pass over the slots judges the limits and keeps, in registers, the three highest values of each row and the sum, least,
most and count of each segment: what is out of limits or without value has all bits set, so that an unsigned minimum, a signed
maximum and a sum (one too low each) need no branch. What is rare is done afterwards, by event: a bit per lane and slot says
where a gap begins or ends, and what a fill changes in a segment is corrected there. Rows without a gap cost nothing.
*/

#define PARTS (TILE / LANES)

#if TILE_BITS_IN_ORDER && LANES == 8
#define KEEP_BITS(masks, slot, part, m) ((uint8_t *)(masks))[(slot) * PARTS + (part)] = (uint8_t)V(bits)(m)
#elif LANES == 8
#define KEEP_BITS(masks, slot, part, m) \
    ((part) ? ((masks)[slot] |= (uint16_t)(V(bits)(m) << 8)) : ((masks)[slot] = (uint16_t)V(bits)(m)))
#else
#define KEEP_BITS(masks, slot, part, m) (masks)[slot] = (uint16_t)V(bits)(m)
#endif

static inline __attribute__((always_inline)) void V(scan)(
    const int32_t *in, int32_t *out, const tile_plan *plan, const tile_limits *limits, tile_scratch *scratch,
    const int is_wide, const int is_past
) {
    const size_t ahead = (size_t)plan->slots * TILE * sizeof *in;
    const vec limit = V(splat)((int32_t)limits->beyond), zero = V(splat)(limits->zero), nothing = V(splat)(-1);
    for (int place = 0; place < 3; place++)
        for (int part = 0; part < PARTS; part++)
            V(store)(scratch->highest[place] + part * LANES, nothing);
    for (int segment = 0; segment < plan->segments; segment++) {
        const int first = plan->start[segment], end = plan->start[segment + 1];
        for (int part = 0; part < PARTS; part++) {
            int32_t *highest = scratch->highest[0] + part * LANES;
            vec top = V(load)(highest), second = V(load)(highest + TILE), third = V(load)(highest + 2 * TILE);
            vec sum = V(splat)(0), upper = V(splat)(0), count = V(splat)(end - first);
            vec least = V(splat)(LEAST_OF_NONE), most = nothing;
            for (int slot = first; slot < end; slot++) {
                const vec x = V(load)(in + slot * TILE + part * LANES);
                if (part == 0) /* the same slot of the next tile: results are on their way meanwhile */
                    __builtin_prefetch((const void *)((uintptr_t)(in + slot * TILE) + ahead));
                if (is_past)
                    V(store_past)(out + slot * TILE + part * LANES, x);
                else if (out != in)
                    V(store)(out + slot * TILE + part * LANES, x);
                const mask bad = V(beyond)(x, limit);
                KEEP_BITS(scratch->bad, slot, part, bad);
                KEEP_BITS(scratch->zero, slot, part, V(equal)(x, zero));
                const vec value = V(hide)(x, bad);
                count = V(tally)(count, bad);
                least = V(least)(least, value);
                most = V(most)(most, value);
                if (is_wide) {
                    sum = V(add)(sum, V(low_half)(value));
                    upper = V(add)(upper, V(high_half)(value));
                } else {
                    sum = V(add)(sum, value);
                }
                vec falling = value;
                V(sort)(&top, &falling);
                V(sort)(&second, &falling);
                third = V(most)(third, falling);
            }
            V(store)(highest, top);
            V(store)(highest + TILE, second);
            V(store)(highest + 2 * TILE, third);
            const ptrdiff_t at = (ptrdiff_t)segment * TILE + part * LANES;
            V(store)(scratch->count + at, count);
            V(store)(scratch->least + at, least);
            V(store)(scratch->most + at, most);
            const vec hidden = V(sub)(V(splat)(end - first), count);
            if (is_wide) {
                int32_t low_sum[LANES], high_sum[LANES], without[LANES];
                V(store)(low_sum, sum);
                V(store)(high_sum, upper);
                V(store)(without, hidden);
                for (int lane = 0; lane < LANES; lane++)
                    scratch->sum[at + lane] = (int64_t)(uint32_t)high_sum[lane] * 65536 + (uint32_t)low_sum[lane]
                        - without[lane] * (int64_t)UINT32_MAX;
            } else {
                V(widen)(scratch->sum + at, V(add)(sum, hidden));
            }
        }
    }
}

/* Spikes: third highest value of the row, exact in integers; at most the two above it can exceed it so far. */
static void V(flag_spikes)(
    const int32_t *in, const tile_plan *plan, const tile_limits *limits, const tile_scratch *scratch, uint8_t *flags
) {
    for (int lane = 0; lane < TILE; lane++) {
        const int64_t third = (int64_t)scratch->highest[2][lane] + limits->low;
        if (scratch->highest[2][lane] < 0 || third <= 0)
            continue;
        int64_t bound = third + third * limits->spike_permille / 1000;
        if (bound < limits->spike_floor)
            bound = limits->spike_floor;
        bound -= limits->low;
        if (scratch->highest[0][lane] <= bound)
            continue;
        for (int segment = 0; segment < plan->segments; segment++) {
            if (scratch->most[segment * TILE + lane] <= bound)
                continue;
            for (int slot = plan->start[segment]; slot < plan->start[segment + 1]; slot++) {
                const uint32_t code = (uint32_t)in[slot * TILE + lane];
                if (code < limits->beyond && code > bound)
                    flags[slot * TILE + lane] |= TILE_SPIKE;
            }
        }
    }
}

/* Zero runs, all lanes at once: 16 bits a slot; where a run starts, by halving; then all that it covers, by doubling. */
static void V(flag_zero_runs)(const tile_plan *plan, int shortest, tile_scratch *scratch, uint8_t *flags) {
    const int slots = plan->slots;
    uint16_t *runs = scratch->zero, *next = scratch->spare;
    int starts = slots, length = 1;
    if (shortest > slots)
        return;
    while (length < shortest) {
        const int step = length < shortest - length ? length : shortest - length;
        starts -= step;
        for (int slot = 0; slot < starts; slot++)
            next[slot] = runs[slot] & runs[slot + step];
        uint16_t *done = next;
        next = runs;
        runs = done;
        length += step;
    }
    unsigned any = 0;
    for (int slot = 0; slot < starts; slot++)
        any |= runs[slot];
    if (!any)
        return;
    memset(runs + starts, 0, (size_t)(slots - starts) * sizeof *runs);
    for (length = 1; length < shortest;) {
        const int step = length < shortest - length ? length : shortest - length;
        memcpy(next, runs, (size_t)step * sizeof *runs);
        for (int slot = step; slot < slots; slot++)
            next[slot] = runs[slot] | runs[slot - step];
        uint16_t *done = next;
        next = runs;
        runs = done;
        length += step;
    }
    tile_bytes marks = {0};
    for (int slot = 0, before = 0; slot < slots; slot++) {
        if (runs[slot] != before) {
            before = runs[slot];
            tile_spread(runs[slot], TILE_ZERO_RUN, &marks);
        }
        if (before)
            *(tile_bytes *)(flags + slot * TILE) |= marks;
    }
}

/* One gap of one row is known whole: say what is in it; draw a line through it where that is allowed. */
static void V(close_gap)(
    const int32_t *in, int32_t *out, const tile_plan *plan, const tile_limits *limits, tile_scratch *scratch,
    uint8_t *flags, int lane, int first, int end
) {
    const int steps = end - first + 1;
    int fills = first > 0 && end < plan->slots && end - first <= limits->longest_gap;
    for (int slot = first; slot < end; slot++) {
        const int32_t code = in[slot * TILE + lane];
        const int is_missing = code == TILE_CODE_MISSING || code == TILE_CODE_CLOSED;
        flags[slot * TILE + lane] = is_missing ? TILE_MISSING : TILE_RANGE;
        fills &= code == TILE_CODE_MISSING || (!is_missing && limits->fills_rejected);
    }
    if (!fills)
        return;
    /* floor((2 * rise * i + steps) / (2 * steps)), stepped: one division a gap. */
    const int64_t before = in[(first - 1) * TILE + lane], rise = 2 * (in[end * TILE + lane] - before), whole = 2 * steps;
    int64_t quotient = rise / whole, rest = rise % whole, value = before, left = steps;
    if (rest < 0) {
        rest += whole;
        quotient -= 1;
    }
    for (int slot = first; slot < end; slot++) {
        value += quotient;
        left += rest;
        if (left >= whole) {
            left -= whole;
            value += 1;
        }
        out[slot * TILE + lane] = (int32_t)value;
        /* A line never rises above its ends, but rounding may bring it there, and sooner. */
        if (value == scratch->highest[0][lane] && slot < scratch->first_fill[lane])
            scratch->first_fill[lane] = slot;
        flags[slot * TILE + lane] |= TILE_ESTIMATED;
        const int at = plan->segment_of[slot] * TILE + lane;
        scratch->sum[at] += value;
        scratch->count[at] += 1;
        if ((uint32_t)value < (uint32_t)scratch->least[at])
            scratch->least[at] = (int32_t)value;
        if (value > scratch->most[at])
            scratch->most[at] = (int32_t)value;
    }
}

static void V(close_gaps)(
    const int32_t *in, int32_t *out, const tile_plan *plan, const tile_limits *limits, tile_scratch *scratch, uint8_t *flags
) {
    int32_t opened[TILE];
    unsigned before = 0;
    scratch->bad[plan->slots] = 0;
    for (int lane = 0; lane < TILE; lane++)
        scratch->first_fill[lane] = plan->slots;
    for (int slot = 0; slot <= plan->slots; slot++) {
        const unsigned now = scratch->bad[slot];
        if (now == before)
            continue;
        for (unsigned ends = before & ~now; ends; ends &= ends - 1) {
            const int lane = __builtin_ctz(ends);
            V(close_gap)(in, out, plan, limits, scratch, flags, lane, opened[lane], slot);
        }
        for (unsigned starts = now & ~before; starts; starts &= starts - 1)
            opened[__builtin_ctz(starts)] = slot;
        before = now;
    }
}

/* Segments finer than hours: put them together. */
static void V(gather)(const tile_plan *plan, int32_t low, tile_scratch *scratch, int64_t tariffs[TILE_TARIFFS][TILE]) {
    for (int segment = 0, hour = -1; segment < plan->segments; segment++) {
        const ptrdiff_t from = (ptrdiff_t)segment * TILE, to = (ptrdiff_t)plan->hour[segment] * TILE;
        for (int lane = 0; lane < TILE; lane++)
            tariffs[plan->tariff[segment]][lane] += scratch->sum[from + lane] + (int64_t)low * scratch->count[from + lane];
        if (plan->hour[segment] != hour) {
            hour = plan->hour[segment];
            memmove(scratch->sum + to, scratch->sum + from, TILE * sizeof *scratch->sum);
            memmove(scratch->count + to, scratch->count + from, TILE * sizeof *scratch->count);
            memmove(scratch->least + to, scratch->least + from, TILE * sizeof *scratch->least);
            memmove(scratch->most + to, scratch->most + from, TILE * sizeof *scratch->most);
            continue;
        }
        for (int part = 0; part < TILE; part += LANES) {
            const ptrdiff_t a = from + part, b = to + part;
            V(store)(scratch->count + b, V(add)(V(load)(scratch->count + b), V(load)(scratch->count + a)));
            V(store)(scratch->least + b, V(least)(V(load)(scratch->least + b), V(load)(scratch->least + a)));
            V(store)(scratch->most + b, V(most)(V(load)(scratch->most + b), V(load)(scratch->most + a)));
        }
        for (int lane = 0; lane < TILE; lane++)
            scratch->sum[to + lane] += scratch->sum[from + lane];
    }
}

/* Hours to the day; codes to counts, and 0 where nothing was counted. */
static void V(finish)(
    const int32_t *in, const tile_plan *plan, const tile_limits *limits, tile_scratch *scratch, const tile_room *room
) {
    int64_t tariffs[TILE_TARIFFS][TILE] = {{0}};
    int32_t day_most[TILE], day_count[TILE], at[TILE];
    const int is_finer = plan->segments != plan->hours;
    const int32_t low = limits->low;
    if (is_finer)
        V(gather)(plan, low, scratch, tariffs);
    for (int part = 0; part < TILE; part += SUMS) {
        tile_sums yet = {0};
        for (int hour = 0; hour < plan->hours; hour++) {
            const ptrdiff_t at_part = (ptrdiff_t)hour * TILE + part;
            tile_sums sum = *(const tile_sums *)(scratch->sum + at_part);
            if (low)
                for (int lane = 0; lane < SUMS; lane++)
                    sum[lane] += (int64_t)low * scratch->count[at_part + lane];
            *(tile_sums *)(room->hour_sum + at_part) = sum;
            yet += sum;
            if (!is_finer && (hour + 1 == plan->hours || plan->tariff[hour] != plan->tariff[hour + 1])) {
                *(tile_sums *)(tariffs[plan->tariff[hour]] + part) += yet;
                yet = (tile_sums){0};
            }
        }
    }
    for (int part = 0; part < TILE; part += LANES) {
        const vec nothing = V(splat)(-1), none = V(splat)(0), lowest = V(splat)(low);
        vec most_yet = nothing, least_yet = V(splat)(LEAST_OF_NONE), count_yet = none, hour_of_most = none;
        for (int hour = 0; hour < plan->hours; hour++) {
            const ptrdiff_t from = (ptrdiff_t)hour * TILE + part;
            const vec most = V(load)(scratch->most + from), least = V(load)(scratch->least + from);
            const vec count = V(load)(scratch->count + from);
            const mask is_empty = V(equal)(most, nothing);
            hour_of_most = V(pick)(V(above)(most, most_yet), V(splat)(hour), hour_of_most);
            most_yet = V(most)(most_yet, most);
            least_yet = V(least)(least_yet, V(hide)(least, is_empty));
            count_yet = V(add)(count_yet, count);
            V(store)(room->hour_min + from, V(pick)(is_empty, none, V(add)(least, lowest)));
            V(store)(room->hour_max + from, V(pick)(is_empty, none, V(add)(most, lowest)));
            V(narrow)(room->hour_count + from, count);
        }
        const mask is_empty = V(equal)(most_yet, nothing);
        V(store)(room->day_min + part, V(pick)(is_empty, none, V(add)(least_yet, lowest)));
        V(store)(room->day_max + part, V(pick)(is_empty, none, V(add)(most_yet, lowest)));
        V(store)(day_count + part, count_yet);
        V(store)(day_most + part, most_yet);
        V(store)(at + part, hour_of_most);
    }
    memcpy(room->day_count, day_count, sizeof day_count);
    memcpy(room->tariff_sum, tariffs, sizeof tariffs);
    unsigned differs = 0;
    for (int lane = 0; lane < TILE; lane++) {
        int slot = plan->edges[at[lane]], is_lower = 1;
        for (int here = slot, end = plan->edges[at[lane] + 1]; here < end; here++) {
            is_lower &= in[here * TILE + lane] != day_most[lane];
            slot += is_lower;
        }
        if (slot > scratch->first_fill[lane])
            slot = scratch->first_fill[lane];
        room->day_argmax[lane] = day_most[lane] < 0 ? -1 : slot;
        const int64_t sum = tariffs[0][lane] + tariffs[1][lane] + tariffs[2][lane] + tariffs[3][lane];
        room->day_sum[lane] = sum;
        if (room->registers && day_count[lane] == plan->slots && tile_sum_differs(sum, room->registers[lane], limits))
            differs |= 1U << lane;
    }
    if (differs) {
        tile_bytes marks = {0};
        tile_spread(differs, TILE_SUM_CHECK, &marks);
        for (int slot = 0; slot < plan->slots; slot++)
            *(tile_bytes *)(room->flags + slot * TILE) |= marks;
    }
}

static void V(tile)(
    const int32_t *in, const tile_plan *plan, const tile_limits *limits, tile_scratch *scratch, const tile_room *room
) {
    tile_scratch near = *scratch;
    if (plan->segments == plan->hours) {
        near.sum = room->hour_sum;
        near.least = room->hour_min;
        near.most = room->hour_max;
    }
    scratch = &near;
    memset(room->flags, 0, (size_t)plan->slots * TILE);
    if (limits->is_wide)
        V(scan)(in, room->filled, plan, limits, scratch, 1, 0);
    else if (room->is_past)
        V(scan)(in, room->filled, plan, limits, scratch, 0, 1);
    else
        V(scan)(in, room->filled, plan, limits, scratch, 0, 0);
    V(flag_spikes)(in, plan, limits, scratch, room->flags);
    V(close_gaps)(in, room->filled, plan, limits, scratch, room->flags);
    V(flag_zero_runs)(plan, limits->zero_run, scratch, room->flags);
    V(finish)(in, plan, limits, scratch, room);
}

#undef KEEP_BITS
#undef PARTS
#undef LANES
#undef LEAST_OF_NONE
#undef vec
#undef mask
