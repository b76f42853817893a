/* The fast path on lane tiles: types, what every instruction set shares, choice of the set, threads.

Layout and meaning are in kernels/__init__.py, the rules in kernels/tiles.pyx. Plain C, so that it also runs without Python
(tests/kernels/tiles_driver.c). The body in tile_kernel.h is compiled once for each instruction set and chosen at run time.
*/

#ifndef HEADEND_TILE_CORE_H
#define HEADEND_TILE_CORE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* threads bound to a CPU */
#endif
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 16, TILE_TARIFFS = 4, TILE_MAX_SLOTS = 32767, TILE_MAX_THREADS = 64, TILE_HANDFUL = 16 };

/* Codes of a slot; all from 0 to high - low carry a value; all others are out of limits. */
enum { TILE_CODE_MISSING = -1, TILE_CODE_CLOSED = -2, TILE_CODE_REJECTED = -3 };

/* Flags of a slot; the first four are bits of kernels.quality.Rule. */
enum { TILE_RANGE = 1, TILE_SPIKE = 2, TILE_ZERO_RUN = 4, TILE_SUM_CHECK = 8, TILE_MISSING = 16, TILE_ESTIMATED = 32 };

#define TILE_NO_REGISTER INT64_MIN

typedef struct {
    int32_t low;
    uint32_t beyond; /* high - low + 1: first code out of limits */
    int32_t zero;    /* code of a count of 0 */
    int32_t zero_run;
    int64_t spike_permille, spike_floor;
    int32_t longest_gap;
    uint64_t sum_counts, sum_permille;
    int fills_rejected;
    int is_wide; /* sums of codes may pass 32 bits within a segment */
} tile_limits;

/* A day cut into segments: runs of slots of one hour and one tariff. */
typedef struct {
    int slots, hours, segments;
    const int32_t *edges; /* hours + 1, the caller's */
    int *start; /* segments + 1 */
    int *hour, *tariff;
    int *segment_of; /* slots */
} tile_plan;

/* One thread's own room. */
typedef struct {
    int32_t highest[3][TILE];
    int32_t first_fill[TILE]; /* first slot filled with as much as the row's greatest, or slots */
    uint16_t *bad, *zero, *spare; /* a bit per lane; slots + 1 */
    int32_t *count, *least, *most; /* segments x TILE, codes */
    int64_t *sum;
    char *stage; /* one tile's slots and hours on their way past the cache */
} tile_scratch;

/* Where one tile's results go. */
typedef struct {
    int32_t *filled;
    int is_past; /* whether `filled` is written past the cache */
    uint8_t *flags;
    int64_t *hour_sum;
    int32_t *hour_min, *hour_max;
    uint16_t *hour_count;
    int64_t *day_sum;
    int32_t *day_min, *day_max, *day_argmax, *day_count;
    int64_t *tariff_sum;
    const int64_t *registers; /* or NULL */
} tile_room;

/* Four of a tile's sums, wherever they lie; the compiler makes of it what the machine has. */
typedef int64_t tile_sums __attribute__((vector_size(32), aligned(8), may_alias));
enum { SUMS = 4 };

/* A slot's flags, one byte for each lane. */
typedef uint8_t tile_bytes __attribute__((vector_size(16), aligned(1), may_alias));

/* `flag` in each lane whose bit is set. */
static inline void tile_spread(unsigned lanes, uint8_t flag, tile_bytes *marks) {
    for (int lane = 0; lane < TILE; lane++)
        (*marks)[lane] = (uint8_t)((lanes >> lane & 1) * flag);
}

static inline int tile_sum_differs(int64_t sum, int64_t reg, const tile_limits *limits) {
    if (reg == TILE_NO_REGISTER)
        return 0;
    const uint64_t size = reg < 0 ? 0 - (uint64_t)reg : (uint64_t)reg;
    const uint64_t off = sum > reg ? (uint64_t)sum - (uint64_t)reg : (uint64_t)reg - (uint64_t)sum;
    return off > limits->sum_counts + size / 1000 * limits->sum_permille + size % 1000 * limits->sum_permille / 1000;
}

/* Whether the bits of lanes 0 to 7 come first in memory. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define TILE_BITS_IN_ORDER 1
#else
#define TILE_BITS_IN_ORDER 0
#endif

#define TILE_PASTE(name, set) tile_##name##_##set
#define TILE_NAME(name, set) TILE_PASTE(name, set)
#define V(name) TILE_NAME(name, TILE_SET)

#define TILE_SET portable
#include "tile_lanes.h"
#include "tile_kernel.h"
#undef TILE_SET

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define TILE_X86 1
#include <immintrin.h>

#define TILE_SET sse2
#define LANES_SSE2
#include "tile_lanes.h"
#include "tile_kernel.h"
#undef LANES_SSE2
#undef TILE_SET

#pragma GCC push_options
#pragma GCC target("avx2,bmi")
#define TILE_SET avx2
#define LANES_AVX2
#include "tile_lanes.h"
#include "tile_kernel.h"
#undef LANES_AVX2
#undef TILE_SET
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,bmi,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#define TILE_SET avx512
#define LANES_AVX512
#include "tile_lanes.h"
#include "tile_kernel.h"
#undef LANES_AVX512
#undef TILE_SET
#pragma GCC pop_options

#elif defined(__aarch64__)
#define TILE_NEON 1
#include <arm_neon.h>

#define TILE_SET neon
#define LANES_NEON
#include "tile_lanes.h"
#include "tile_kernel.h"
#undef LANES_NEON
#undef TILE_SET
#endif
#undef V

typedef void (*tile_body)(const int32_t *, const tile_plan *, const tile_limits *, tile_scratch *, const tile_room *);

/* Copy whole multiples of 16 bytes, aligned to as many at least. */
typedef void (*tile_copy)(void *, const void *, size_t);

typedef struct {
    const char *name;
    tile_body body;
    tile_copy stream;
    int runs_here;
} tile_set;

enum { TILE_SETS = 4 };

/* All sets this build knows, narrowest first; the last that runs here is the one to take. Returns how many. */
static int tile_sets(tile_set sets[TILE_SETS]) {
    int known = 0;
    sets[known++] = (tile_set){"portable", tile_tile_portable, tile_stream_portable, 1};
#if defined(TILE_X86)
    __builtin_cpu_init();
    sets[known++] = (tile_set){"sse2", tile_tile_sse2, tile_stream_sse2, 1};
    sets[known++] = (tile_set){"avx2", tile_tile_avx2, tile_stream_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi")};
    sets[known++] = (tile_set){
        "avx512", tile_tile_avx512, tile_stream_avx512,
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512vl")};
#elif defined(TILE_NEON)
    sets[known++] = (tile_set){"neon", tile_tile_neon, tile_stream_neon, 1};
#endif
    return known;
}

typedef struct {
    const int32_t *in;
    const uint8_t *kinds;
    const tile_limits *limits;
    const tile_plan *plan;
    tile_room room; /* of the first tile */
    ptrdiff_t tiles;
    tile_body body;
    tile_copy stream; /* how results go past the cache, or NULL: they are too many to be read from it afterwards */
} tile_call;

static void tile_plan_free(tile_plan *plan) {
    free(plan->start);
    memset(plan, 0, sizeof *plan);
}

/* Cut a day of `slots` at the edges of its hours and where the tariff changes. 0, or -1 without memory. */
static int tile_plan_make(tile_plan *plan, int slots, const int32_t *edges, int hours, const uint8_t *tariffs) {
    int *room = (int *)malloc(((size_t)slots * 4 + 1) * sizeof(int));
    if (room == NULL)
        return -1;
    *plan = (tile_plan){slots, hours, 0, edges, room, room + slots + 1, room + 2 * slots + 1, room + 3 * slots + 1};
    for (int slot = 0, hour = 0; slot < slots; slot++) {
        while (slot >= edges[hour + 1])
            hour++;
        if (slot == edges[hour] || tariffs[slot] != tariffs[slot - 1]) {
            plan->start[plan->segments] = slot;
            plan->hour[plan->segments] = hour;
            plan->tariff[plan->segments++] = tariffs[slot];
        }
        plan->segment_of[slot] = plan->segments - 1;
    }
    plan->start[plan->segments] = slots;
    return 0;
}

static int tile_longest_segment(const tile_plan *plan) {
    int longest = 0;
    for (int segment = 0; segment < plan->segments; segment++)
        if (plan->start[segment + 1] - plan->start[segment] > longest)
            longest = plan->start[segment + 1] - plan->start[segment];
    return longest;
}

static size_t tile_stage_bytes(const tile_plan *plan) {
    return (size_t)plan->slots * TILE + (size_t)plan->hours * TILE * 18;
}

/* Lay a thread's room out in one piece. 0, or -1 without memory. */
static int tile_scratch_make(tile_scratch *scratch, const tile_plan *plan) {
    const size_t cells = (size_t)plan->segments * TILE, bits = ((size_t)plan->slots + 32) / 32 * 32;
    char *room = (char *)aligned_alloc(64, (cells * 20 + bits * 6 + tile_stage_bytes(plan) + 63) / 64 * 64);
    if (room == NULL)
        return -1;
    scratch->sum = (int64_t *)room;
    scratch->count = (int32_t *)(scratch->sum + cells);
    scratch->least = scratch->count + cells;
    scratch->most = scratch->least + cells;
    scratch->bad = (uint16_t *)(scratch->most + cells);
    scratch->zero = scratch->bad + bits;
    scratch->spare = scratch->zero + bits;
    scratch->stage = (char *)(scratch->spare + bits);
    return 0;
}

static void tile_share(const tile_call *call, tile_scratch *scratch, ptrdiff_t first, ptrdiff_t end) {
    const ptrdiff_t slots = call->plan->slots, hours = call->plan->hours;
    const tile_room *all = &call->room;
    const int in_place = all->filled == call->in;
    tile_room staged;
    staged.hour_sum = (int64_t *)scratch->stage;
    staged.hour_min = (int32_t *)(staged.hour_sum + hours * TILE);
    staged.hour_max = staged.hour_min + hours * TILE;
    staged.hour_count = (uint16_t *)(staged.hour_max + hours * TILE);
    staged.flags = (uint8_t *)(staged.hour_count + hours * TILE);
    for (ptrdiff_t tile = first; tile < end; tile++) {
        const ptrdiff_t cell = tile * slots * TILE, hour = tile * hours * TILE, row = tile * TILE;
        const tile_room final = {
            all->filled + cell, 0, all->flags + cell,
            all->hour_sum + hour, all->hour_min + hour, all->hour_max + hour, all->hour_count + hour,
            all->day_sum + row, all->day_min + row, all->day_max + row, all->day_argmax + row, all->day_count + row,
            all->tariff_sum + row * TILE_TARIFFS, all->registers == NULL ? NULL : all->registers + row,
        };
        const int32_t *in = call->in + cell;
        const tile_limits *limits = call->limits + call->kinds[tile];
        if (call->stream == NULL) {
            call->body(in, call->plan, limits, scratch, &final);
            continue;
        }
        tile_room near = final;
        near.is_past = !in_place;
        near.flags = staged.flags;
        near.hour_sum = staged.hour_sum;
        near.hour_min = staged.hour_min;
        near.hour_max = staged.hour_max;
        near.hour_count = staged.hour_count;
        call->body(in, call->plan, limits, scratch, &near);
        call->stream(final.flags, near.flags, (size_t)slots * TILE);
        call->stream(final.hour_sum, near.hour_sum, (size_t)hours * TILE * 8);
        call->stream(final.hour_min, near.hour_min, (size_t)hours * TILE * 4);
        call->stream(final.hour_max, near.hour_max, (size_t)hours * TILE * 4);
        call->stream(final.hour_count, near.hour_count, (size_t)hours * TILE * 2);
    }
#if defined(TILE_X86)
    if (call->stream != NULL)
        _mm_sfence();
#endif
}

typedef struct {
    const tile_call *call;
    tile_scratch scratch;
    ptrdiff_t *next; /* tile that nobody has taken yet */
    int cpu;         /* or -1 */
} tile_worker;

/* Bind the calling thread to one CPU: a thread that wakes beside its caller on the same one gains nothing. */
static void tile_bind(int cpu) {
    cpu_set_t one;
    if (cpu < 0)
        return;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

/* Take a few tiles at a time until there are none: a thread wakes late, by as long as hundreds of tiles take, and then does less. */
static void *tile_work(void *given) {
    tile_worker *worker = (tile_worker *)given;
    const ptrdiff_t tiles = worker->call->tiles;
    ptrdiff_t first;
    tile_bind(worker->cpu);
    while ((first = __atomic_fetch_add(worker->next, TILE_HANDFUL, __ATOMIC_RELAXED)) < tiles)
        tile_share(worker->call, &worker->scratch, first, first + TILE_HANDFUL < tiles ? first + TILE_HANDFUL : tiles);
    return NULL;
}

/* Run a call in so many threads, the caller's among them, each bound to a CPU of its own while there are enough.
   The caller may run where it could before when this returns. 0, or -1 without memory. */
static int tile_run(const tile_call *call, int threads) {
    tile_worker workers[TILE_MAX_THREADS];
    pthread_t started[TILE_MAX_THREADS];
    int ready = 0, running = 0;
    ptrdiff_t next = 0;
    cpu_set_t allowed;
    if (threads > call->tiles)
        threads = call->tiles > 0 ? (int)call->tiles : 1;
    for (; ready < threads; ready++) {
        workers[ready] = (tile_worker){call, {.sum = NULL}, &next, -1};
        if (tile_scratch_make(&workers[ready].scratch, call->plan) < 0)
            break;
    }
    if (ready == threads && threads > 1) {
        const int here = sched_getcpu();
        const int binds = here >= 0 && pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed) == 0
            && CPU_COUNT(&allowed) >= threads;
        if (binds) {
            workers[0].cpu = here;
            for (int thread = 1, cpu = 0; thread < threads; cpu++)
                if (cpu != here && CPU_ISSET(cpu, &allowed))
                    workers[thread++].cpu = cpu;
        }
        /* What a thread that cannot be had would have done, the others do. */
        for (int thread = 1; thread < threads; thread++)
            running += pthread_create(&started[running], NULL, tile_work, &workers[thread]) == 0;
        tile_work(&workers[0]);
        while (running > 0)
            pthread_join(started[--running], NULL);
        if (binds)
            (void)pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
    } else if (ready == threads) {
        tile_share(call, &workers[0].scratch, 0, call->tiles);
    }
    for (int worker = 0; worker < ready; worker++)
        free(workers[worker].scratch.sum);
    return ready == threads ? 0 : -1;
}

#endif
