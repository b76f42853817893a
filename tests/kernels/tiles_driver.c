/* Lane tiles without Python: one channel's series on standard input, all results on standard output, for another machine.

Usage: tiles_driver SET; in native byte order: int64 meters, slots, hours, failing, then the eight limits as `Limits` has them and
estimates_rejected; int32 edges (hours + 1), uint8 tariffs (slots), int64 registers (tiles x 16); int32 values, uint8 state,
uint8 reason, uint32 rules (meters x slots each). Out: the codes, all that kernels.tile.Outcome has, the filled codes by row,
and values, state, reason and rules as written back.
*/
#include "tile_transpose.h"
#include <stdio.h>

static void *take(size_t bytes) {
    void *to = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (to == NULL || (bytes && fread(to, bytes, 1, stdin) != 1))
        exit(3);
    return to;
}

static void *room(size_t bytes) {
    void *to = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (to == NULL)
        exit(4);
    return to;
}

static void give(const void *from, size_t bytes) {
    if (fwrite(from, bytes, 1, stdout) != 1)
        exit(5);
}

int main(int count, char **words) {
    const int64_t *given = take(13 * 8);
    const int meters = (int)given[0], slots = (int)given[1], hours = (int)given[2], tiles = (meters + TILE - 1) / TILE;
    const int64_t low = given[4], high = given[5];
    const int is_zero_legal = low <= 0 && high >= 0;
    tile_limits limits = {
        (int32_t)low, (uint32_t)(high - low + 1), is_zero_legal ? (int32_t)-low : 0,
        is_zero_legal && given[6] ? (int32_t)given[6] : INT32_MAX, given[7], given[7] ? given[8] : INT32_MAX,
        (int32_t)given[9], (uint64_t)given[11], (uint64_t)given[10], (int)given[12], 0,
    };
    const size_t cells = (size_t)tiles * slots * TILE, by_hour = (size_t)tiles * hours * TILE, lanes = (size_t)tiles * TILE;
    const int32_t *edges = take(4 * ((size_t)hours + 1));
    const uint8_t *tariffs = take((size_t)slots);
    tile_call call = {.tiles = tiles, .limits = &limits};
    call.room.registers = take(8 * lanes);
    const size_t n = (size_t)meters * slots;
    int32_t *values = take(4 * n);
    uint8_t *state = take(n), *reason = take(n);
    uint32_t *rules = take(4 * n);
    int32_t *codes = room(4 * cells), *rows = room(4 * n);
    for (int tile = 0; tile < tiles; tile++) {
        const ptrdiff_t at = (ptrdiff_t)tile * TILE * slots;
        const int here = meters - tile * TILE < TILE ? meters - tile * TILE : TILE;
        tile_from_series(values + at, state + at, reason + at, slots, here, slots, limits.low, codes + at);
    }
    call.in = codes;
    uint8_t *kinds = room((size_t)tiles);
    memset(kinds, 0, (size_t)tiles);
    call.kinds = kinds;
    call.room.filled = room(4 * cells);
    call.room.flags = room(cells);
    call.room.hour_sum = room(8 * by_hour);
    call.room.hour_min = room(4 * by_hour);
    call.room.hour_max = room(4 * by_hour);
    call.room.hour_count = room(2 * by_hour);
    call.room.day_sum = room(8 * lanes);
    call.room.day_min = room(4 * lanes);
    call.room.day_max = room(4 * lanes);
    call.room.day_argmax = room(4 * lanes);
    call.room.day_count = room(4 * lanes);
    call.room.tariff_sum = room(8 * lanes * TILE_TARIFFS);
    tile_plan plan;
    if (tile_plan_make(&plan, slots, edges, hours, tariffs) < 0)
        return 4;
    call.plan = &plan;
    limits.is_wide = (uint64_t)(high - low) * (uint64_t)tile_longest_segment(&plan) >= (uint64_t)1 << 32;
    tile_set sets[TILE_SETS];
    const int known = tile_sets(sets);
    for (int set = 0; set < known; set++)
        if (count == 2 && sets[set].runs_here && strcmp(sets[set].name, words[1]) == 0)
            call.body = sets[set].body;
    if (call.body == NULL) {
        fprintf(stderr, "no such instruction set here\n");
        return 2;
    }
    if (tile_run(&call, 2) < 0)
        return 4;
    for (int tile = 0; tile < tiles; tile++) {
        const ptrdiff_t at = (ptrdiff_t)tile * TILE * slots;
        const int here = meters - tile * TILE < TILE ? meters - tile * TILE : TILE;
        tile_to_rows(call.room.filled + at, here, slots, rows + at, slots);
        tile_to_series(
            call.room.filled + at, call.room.flags + at, here, slots, limits.low, (unsigned)given[3],
            values + at, state + at, reason + at, rules + at, slots
        );
    }
    give(codes, 4 * cells);
    give(call.room.flags, cells);
    give(call.room.hour_sum, 8 * by_hour);
    give(call.room.hour_min, 4 * by_hour);
    give(call.room.hour_max, 4 * by_hour);
    give(call.room.hour_count, 2 * by_hour);
    give(call.room.day_sum, 8 * lanes);
    give(call.room.day_min, 4 * lanes);
    give(call.room.day_max, 4 * lanes);
    give(call.room.day_argmax, 4 * lanes);
    give(call.room.day_count, 4 * lanes);
    give(call.room.tariff_sum, 8 * lanes * TILE_TARIFFS);
    give(rows, 4 * n);
    give(values, 4 * n);
    give(state, n);
    give(reason, n);
    give(rules, 4 * n);
    return 0;
}
