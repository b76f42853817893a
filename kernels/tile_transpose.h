/* Rows to tiles and back: 16 rows, whose slots lie `stride` apart, and a tile of the same codes.

A block of 4 x 4 stays in registers. SSE2 and NEON are what every x86-64 and aarch64 has, so nothing is chosen at run time.
*/

#ifndef HEADEND_TILE_TRANSPOSE_H
#define HEADEND_TILE_TRANSPOSE_H

#include "tile_core.h"

/* States and reasons as kernels/quality.pxd numbers them for good. */
enum { TILE_MEASURED = 2, TILE_QUESTIONABLE = 3, TILE_STATE_ESTIMATED = 4, TILE_EDITED = 5, TILE_STATE_MISSING = 6 };
enum { TILE_POWER_OFF = 12, TILE_LINEAR = 64 };
enum { TILE_CHUNK = 64 };

/* to[j][i] = from[i][j] for 4 x 4, rows `across` and `down` apart. */
static inline void tile_turn(const int32_t *from, ptrdiff_t across, int32_t *to, ptrdiff_t down) {
#if defined(TILE_X86)
    const __m128i a = _mm_loadu_si128((const __m128i *)from), b = _mm_loadu_si128((const __m128i *)(from + across));
    const __m128i c = _mm_loadu_si128((const __m128i *)(from + 2 * across));
    const __m128i d = _mm_loadu_si128((const __m128i *)(from + 3 * across));
    const __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
    const __m128i ab_high = _mm_unpackhi_epi32(a, b), cd_high = _mm_unpackhi_epi32(c, d);
    _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi64(ab, cd));
    _mm_storeu_si128((__m128i *)(to + down), _mm_unpackhi_epi64(ab, cd));
    _mm_storeu_si128((__m128i *)(to + 2 * down), _mm_unpacklo_epi64(ab_high, cd_high));
    _mm_storeu_si128((__m128i *)(to + 3 * down), _mm_unpackhi_epi64(ab_high, cd_high));
#elif defined(TILE_NEON)
    const int32x4x2_t ab = vtrnq_s32(vld1q_s32(from), vld1q_s32(from + across));
    const int32x4x2_t cd = vtrnq_s32(vld1q_s32(from + 2 * across), vld1q_s32(from + 3 * across));
    vst1q_s32(to, vcombine_s32(vget_low_s32(ab.val[0]), vget_low_s32(cd.val[0])));
    vst1q_s32(to + down, vcombine_s32(vget_low_s32(ab.val[1]), vget_low_s32(cd.val[1])));
    vst1q_s32(to + 2 * down, vcombine_s32(vget_high_s32(ab.val[0]), vget_high_s32(cd.val[0])));
    vst1q_s32(to + 3 * down, vcombine_s32(vget_high_s32(ab.val[1]), vget_high_s32(cd.val[1])));
#else
    for (int row = 0; row < 4; row++)
        for (int column = 0; column < 4; column++)
            to[column * down + row] = from[row * across + column];
#endif
}

/* Rows beyond `rows` are closed: they carry nothing and nothing is drawn into them. */
static void tile_from_rows(const int32_t *from, ptrdiff_t stride, int rows, int slots, int32_t *tile) {
    const int whole = rows == TILE ? slots / 4 * 4 : 0;
    for (int slot = 0; slot < whole; slot += 4)
        for (int row = 0; row < TILE; row += 4)
            tile_turn(from + row * stride + slot, stride, tile + slot * TILE + row, TILE);
    for (int slot = whole; slot < slots; slot++)
        for (int row = 0; row < TILE; row++)
            tile[slot * TILE + row] = row < rows ? from[row * stride + slot] : TILE_CODE_CLOSED;
}

static void tile_to_rows(const int32_t *tile, int rows, int slots, int32_t *to, ptrdiff_t stride) {
    const int whole = rows == TILE ? slots / 4 * 4 : 0;
    for (int slot = 0; slot < whole; slot += 4)
        for (int row = 0; row < TILE; row += 4)
            tile_turn(tile + slot * TILE + row, TILE, to + row * stride + slot, stride);
    for (int slot = whole; slot < slots; slot++)
        for (int row = 0; row < rows; row++)
            to[row * stride + slot] = tile[slot * TILE + row];
}

/* A slot as the store has it to its code; a value whose code would mean that there is none is out of limits all the same. */
static inline void tile_codes(const int32_t *values, const uint8_t *state, const uint8_t *reason, int slots, int32_t low, int32_t *to) {
    for (int slot = 0; slot < slots; slot++) {
        const uint32_t code = (uint32_t)values[slot] - (uint32_t)low;
        const int32_t value = (int32_t)(code < (uint32_t)TILE_CODE_REJECTED ? code : (uint32_t)TILE_CODE_REJECTED);
        const int has_value = (uint8_t)(state[slot] - TILE_MEASURED) <= TILE_EDITED - TILE_MEASURED;
        const int is_missing = (state[slot] == TILE_STATE_MISSING) & (reason[slot] != TILE_POWER_OFF);
        to[slot] = has_value ? value : is_missing - 2;
    }
}

static void tile_from_series(
    const int32_t *values, const uint8_t *state, const uint8_t *reason, ptrdiff_t stride, int rows, int slots, int32_t low,
    int32_t *tile
) {
    int32_t codes[TILE * TILE_CHUNK];
    for (int first = 0; first < slots; first += TILE_CHUNK) {
        const int count = slots - first < TILE_CHUNK ? slots - first : TILE_CHUNK;
        for (int row = 0; row < rows; row++) {
            const ptrdiff_t at = row * stride + first;
            tile_codes(values + at, state + at, reason + at, count, low, codes + row * TILE_CHUNK);
        }
        tile_from_rows(codes, TILE_CHUNK, rows, count, tile + (ptrdiff_t)first * TILE);
    }
}

/* Write what a run found back to where the slots came from: most have no flag, and stay as they are. */
static void tile_to_series(
    const int32_t *tile, const uint8_t *flags, int rows, int slots, int32_t low, unsigned failing,
    int32_t *values, uint8_t *state, uint8_t *reason, uint32_t *rules, ptrdiff_t stride
) {
    for (int slot = 0; slot < slots; slot++) {
        uint64_t some[2];
        memcpy(some, flags + slot * TILE, sizeof some);
        if (!(some[0] | some[1]))
            continue;
        for (int row = 0; row < rows; row++) {
            const unsigned flag = flags[slot * TILE + row];
            const ptrdiff_t at = row * stride + slot;
            if (!flag)
                continue;
            rules[at] |= flag & (TILE_RANGE | TILE_SPIKE | TILE_ZERO_RUN | TILE_SUM_CHECK);
            if (flag & TILE_ESTIMATED) {
                values[at] = (int32_t)((uint32_t)tile[slot * TILE + row] + (uint32_t)low);
                state[at] = TILE_STATE_ESTIMATED;
                reason[at] = TILE_LINEAR;
            } else if (flag & failing && state[at] == TILE_MEASURED) {
                state[at] = TILE_QUESTIONABLE;
            }
        }
    }
}

#endif
