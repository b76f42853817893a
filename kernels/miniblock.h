/* Mini-blocks of 16 counts: differences, zigzag, bit-packing. Plain C with vectors of 128 bits, which GCC and clang turn into
 * SSE2, NEON, or ordinary registers where there is neither.
 *
 * A field is w bits wide, lowest bit first, without gaps; 16 fields fill 2 w bytes. Up to 16 bits a block is packed as a tree:
 * two fields side by side in a 64-bit lane become a pair of 2 w bits, two pairs a quad of 4 w, two quads are joined on the way to
 * memory. Each step is a shift by one count for all lanes, so no branch depends on w. Unpacking is the same backwards.
 *
 * Encoders may write up to SLACK bytes behind what they report. Decoders may read, and then not use, what lies between the end of
 * a row and the end of the buffer; they read nothing behind that.
 */
#ifndef HEADEND_MINIBLOCK_H
#define HEADEND_MINIBLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK = 16, SLACK = 72, TREE_WIDTH = 16, WIDEST = 32, WIDTH_BITS = 5 };
enum { SEGMENT_FINE = 0, SEGMENT_TRUNCATED, SEGMENT_PADDING };

typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));

#ifdef __clang__
#define SHUFFLE2(a, b, i, j) __builtin_shufflevector(a, b, i, j)
#define SHUFFLE4(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE2(a, b, i, j) __builtin_shuffle(a, b, (u64x2){i, j})
#define SHUFFLE4(a, b, i, j, k, l) __builtin_shuffle(a, b, (u32x4){i, j, k, l})
#endif

static inline uint64_t load64(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline void store64(uint8_t *at, uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(at, &word, 8);
}

/* The least width that holds every bit set in `bits`. */
static inline unsigned width_of(uint32_t bits) {
    unsigned width = bits ? 32u - (unsigned)__builtin_clz(bits) : 0;
    return width == 31 ? 32 : width; /* code 31 stands for 32 */
}

/* Zigzag of the differences of v[0..15] from v[-1..14]; returns all their bits in one word. */
static inline uint32_t differences(const int32_t *v, uint32_t *fields) {
    u32x4 all = {0, 0, 0, 0};
    for (int i = 0; i < BLOCK; i += 4) {
        u32x4 now, before;
        memcpy(&now, v + i, 16);
        memcpy(&before, v + i - 1, 16);
        u32x4 delta = now - before;
        u32x4 field = (delta << 1) ^ (u32x4)((i32x4)delta >> 31);
        all |= field;
        memcpy(fields + i, &field, 16);
    }
    all |= SHUFFLE4(all, all, 2, 3, 0, 1);
    return all[0] | all[1];
}

static inline void pack_any(const uint32_t *fields, unsigned w, uint8_t *out) {
    uint64_t waiting = 0;
    unsigned held = 0;
    for (int i = 0; i < BLOCK; i++) {
        waiting |= (uint64_t)fields[i] << held;
        held += w;
        if (held >= 32) {
            store64(out, waiting);
            out += 4;
            waiting >>= 32;
            held -= 32;
        }
    }
    store64(out, waiting);
}

/* Reads up to 7 bytes behind the 2 w of the block. */
static inline void unpack_any(const uint8_t *data, unsigned w, uint32_t *fields) {
    const uint64_t mask = ((uint64_t)1 << w) - 1;
    for (unsigned i = 0; i < BLOCK; i++)
        fields[i] = (uint32_t)(load64(data + (i * w >> 3)) >> (i * w & 7) & mask);
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* 1 <= w <= 16. */
static inline void pack_tree(const uint32_t *fields, unsigned w, uint8_t *out) {
    const uint64_t low = 0xFFFFFFFF;
    u64x2 pair[4];
    for (int i = 0; i < 4; i++) {
        u64x2 two;
        memcpy(&two, fields + 4 * i, 16);
        pair[i] = (two & low) | (two >> (32 - w));
    }
    for (int half = 0; half < 2; half++, out += w) {
        u64x2 even = SHUFFLE2(pair[2 * half], pair[2 * half + 1], 0, 2);
        u64x2 odd = SHUFFLE2(pair[2 * half], pair[2 * half + 1], 1, 3);
        u64x2 quad = even | odd << (2 * w);
        store64(out, quad[0] | quad[1] << (4 * w - 1) << 1); /* 4 w may be 64, more than C shifts by */
        store64(out + 8, quad[1] >> (64 - 4 * w));
    }
}

/* 1 <= w <= 16. Reads up to 7 bytes behind the 2 w of the block. */
static inline void unpack_tree(const uint8_t *data, unsigned w, uint32_t *fields) {
    const uint64_t one = ((uint64_t)1 << w) - 1, two = ((uint64_t)1 << 2 * w) - 1;
    for (int half = 0; half < 2; half++, data += w) {
        u64x2 quad = {load64(data), load64(data + (w >> 1)) >> (w & 1) * 4};
        u64x2 even = quad & two, odd = quad >> (2 * w) & two;
        u64x2 pair[2] = {SHUFFLE2(even, odd, 0, 2), SHUFFLE2(even, odd, 1, 3)};
        for (int i = 0; i < 2; i++) {
            u64x2 field = (pair[i] & one) | (pair[i] << (32 - w) & one << 32);
            memcpy(fields + 8 * half + 4 * i, &field, 16);
        }
    }
}
#else
#define pack_tree pack_any
#define unpack_tree unpack_any
#endif

/* Undo the zigzag and sum up from `before`; returns the last sum. */
static inline uint32_t sums(const uint32_t *fields, uint32_t before, int32_t *out) {
    const u32x4 none = {0, 0, 0, 0};
    u32x4 carry = {before, before, before, before};
    for (int i = 0; i < BLOCK; i += 4) {
        u32x4 x;
        memcpy(&x, fields + i, 16);
        x = (x >> 1) ^ -(x & 1);
        x += SHUFFLE4(none, x, 0, 4, 5, 6);
        x += SHUFFLE4(none, x, 0, 1, 4, 5);
        x += carry;
        memcpy(out + i, &x, 16);
        carry = SHUFFLE4(x, x, 3, 3, 3, 3);
    }
    return carry[0];
}

static inline size_t widths_size(size_t count) {
    return ((count + BLOCK - 1) / BLOCK * WIDTH_BITS + 7) / 8;
}

/* Most bytes that a segment of `count` takes, without its base. */
static inline size_t segment_bound(size_t count) {
    return widths_size(count) + 4 * count;
}

/* Write widths and mini-blocks of v[0..count-1], count >= 1; the first difference is from v[0] itself. Returns bytes used. */
static size_t encode_segment(const int32_t *v, size_t count, uint8_t *out) {
    uint32_t fields[BLOCK];
    int32_t edge[1 + BLOCK];
    uint8_t *const widths = out;
    uint64_t waiting = 0;
    unsigned held = 0;
    size_t written = 0;
    out += widths_size(count);
    for (size_t first = 0; first < count; first += BLOCK) {
        const size_t size = count - first < BLOCK ? count - first : BLOCK;
        const int32_t *block = v + first;
        if (first == 0 || size < BLOCK) {
            /* The ends have no neighbor: what stands in for it differs by 0. */
            edge[0] = first ? v[first - 1] : v[0];
            for (size_t i = 0; i < BLOCK; i++)
                edge[1 + i] = block[i < size ? i : size - 1];
            block = edge + 1;
        }
        const unsigned w = width_of(differences(block, fields));
        waiting |= (uint64_t)(w == 32 ? 31 : w) << held;
        held += WIDTH_BITS;
        if (held >= 8) {
            widths[written++] = (uint8_t)waiting;
            waiting >>= 8;
            held -= 8;
        }
        if (w == 0)
            continue;
        if (w <= TREE_WIDTH)
            pack_tree(fields, w, out);
        else
            pack_any(fields, w, out);
        out += (size * w + 7) / 8;
    }
    if (held)
        widths[written] = (uint8_t)waiting;
    return (size_t)(out - widths);
}

/* Read `count` >= 1 values into out[0..count-1] and move *from behind them. `end` ends the row, `readable` the buffer around it;
 * `before` is the base. */
static int decode_segment(const uint8_t **from, const uint8_t *end, const uint8_t *readable, size_t count, uint32_t before,
                          int32_t *out) {
    uint32_t fields[BLOCK];
    int32_t edge[BLOCK];
    uint8_t copy[2 * WIDEST + 8];
    const uint8_t *widths = *from, *at = *from;
    uint64_t waiting = 0;
    unsigned held = 0;
    if ((size_t)(end - at) < widths_size(count))
        return SEGMENT_TRUNCATED;
    at += widths_size(count);
    for (size_t first = 0; first < count; first += BLOCK) {
        const size_t size = count - first < BLOCK ? count - first : BLOCK;
        if (held < WIDTH_BITS) {
            waiting |= (uint64_t)*widths++ << held;
            held += 8;
        }
        unsigned w = waiting & 31;
        waiting >>= WIDTH_BITS;
        held -= WIDTH_BITS;
        w = w == 31 ? 32 : w;
        const size_t bytes = (size * w + 7) / 8;
        const uint8_t *block = at;
        if ((size_t)(end - at) < bytes)
            return SEGMENT_TRUNCATED;
        if ((size_t)(readable - at) < 2 * w + 8 || size < BLOCK) {
            memset(copy, 0, sizeof copy);
            memcpy(copy, at, bytes);
            block = copy;
        }
        at += bytes;
        if (w == 0)
            memset(fields, 0, sizeof fields);
        else if (w <= TREE_WIDTH)
            unpack_tree(block, w, fields);
        else
            unpack_any(block, w, fields);
        if (size == BLOCK) {
            before = sums(fields, before, out + first);
        } else {
            uint32_t rest = 0;
            for (size_t i = size; i < BLOCK; i++)
                rest |= fields[i];
            if (rest)
                return SEGMENT_PADDING;
            sums(fields, before, edge);
            memcpy(out + first, edge, size * sizeof *out);
        }
    }
    if (waiting)
        return SEGMENT_PADDING;
    *from = at;
    return SEGMENT_FINE;
}

/* Move *from behind a segment of `count` >= 1 values by its widths alone; what the fields hold is not looked at. */
static int skip_segment(const uint8_t **from, const uint8_t *end, size_t count) {
    const uint8_t *widths = *from;
    uint64_t waiting = 0, bytes = widths_size(count);
    unsigned held = 0;
    if ((size_t)(end - widths) < bytes)
        return SEGMENT_TRUNCATED;
    for (size_t first = 0; first < count; first += BLOCK) {
        const size_t size = count - first < BLOCK ? count - first : BLOCK;
        if (held < WIDTH_BITS) {
            waiting |= (uint64_t)*widths++ << held;
            held += 8;
        }
        const unsigned w = waiting & 31;
        waiting >>= WIDTH_BITS;
        held -= WIDTH_BITS;
        bytes += (size * (w == 31 ? 32 : w) + 7) / 8;
    }
    if ((size_t)(end - *from) < bytes)
        return SEGMENT_TRUNCATED;
    *from += bytes;
    return SEGMENT_FINE;
}

#endif
