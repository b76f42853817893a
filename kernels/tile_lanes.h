/* What one instruction set can do with the lanes of a tile, under one set of names.

Included once for each instruction set by tile_core.h, which defines V(name) and one of LANES_*. Codes are int32; those that
carry a value are not negative. A mask tells lanes apart, in whatever form the machine likes.

    LANES    lanes of one `vec`: 8 or 16; a tile's slot is TILE / LANES of them
    beyond   lanes of x at or above `limit`, unsigned: out of limits or without value
    hide     all bits set where the mask is: ignored by `least`, whose first argument began as `LEAST_OF_NONE`, and by `most`
    tally    one less where the mask is
    sort     the greater of each lane to the first, the lesser to the second (signed)
    above    lanes of x greater than y (signed)
    pick     x where the mask is, else y
    bits     one bit per lane
    narrow   lanes as numbers of 16 bits
    widen    lanes as unsigned numbers of 64 bits
    store_past  store past the cache, aligned, where that can be said
    stream   copy past the cache, where that can be said: writing a line that way does not read it first
*/

#if defined(LANES_AVX512)

#define LANES 16
#define vec __m512i
#define mask __mmask16
static inline vec V(load)(const int32_t *at) { return _mm512_loadu_si512((const void *)at); }
static inline void V(store)(int32_t *at, vec x) { _mm512_storeu_si512((void *)at, x); }
static inline void V(store_past)(int32_t *at, vec x) { _mm512_stream_si512((__m512i *)at, x); }
static inline vec V(splat)(int32_t x) { return _mm512_set1_epi32(x); }
static inline mask V(beyond)(vec x, vec limit) { return _mm512_cmpge_epu32_mask(x, limit); }
static inline mask V(equal)(vec x, vec y) { return _mm512_cmpeq_epi32_mask(x, y); }
static inline vec V(hide)(vec x, mask m) { return _mm512_mask_mov_epi32(x, m, _mm512_set1_epi32(-1)); }
static inline vec V(tally)(vec x, mask m) { return _mm512_mask_sub_epi32(x, m, x, _mm512_set1_epi32(1)); }
static inline vec V(add)(vec x, vec y) { return _mm512_add_epi32(x, y); }
static inline vec V(sub)(vec x, vec y) { return _mm512_sub_epi32(x, y); }
static inline vec V(low_half)(vec x) { return _mm512_and_si512(x, _mm512_set1_epi32(0xFFFF)); }
static inline vec V(high_half)(vec x) { return _mm512_srli_epi32(x, 16); }
static inline vec V(least)(vec x, vec y) { return _mm512_min_epu32(x, y); }
static inline vec V(most)(vec x, vec y) { return _mm512_max_epi32(x, y); }
static inline void V(sort)(vec *x, vec *y) {
    vec greater = _mm512_max_epi32(*x, *y);
    *y = _mm512_min_epi32(*x, *y);
    *x = greater;
}
static inline mask V(above)(vec x, vec y) { return _mm512_cmpgt_epi32_mask(x, y); }
static inline vec V(pick)(mask m, vec x, vec y) { return _mm512_mask_mov_epi32(y, m, x); }
static inline unsigned V(bits)(mask m) { return m; }
static inline void V(narrow)(uint16_t *at, vec x) { _mm256_storeu_si256((__m256i *)at, _mm512_cvtepi32_epi16(x)); }
static inline void V(widen)(int64_t *at, vec x) {
    _mm512_storeu_si512((void *)at, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(x)));
    _mm512_storeu_si512((void *)(at + 8), _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(x, 1)));
}
static void V(stream)(void *to, const void *from, size_t bytes) {
    size_t at = 0;
    if ((uintptr_t)to % 64 == 0)
        for (; at + 64 <= bytes; at += 64)
            _mm512_stream_si512((__m512i *)((char *)to + at), _mm512_loadu_si512((const __m512i *)((const char *)from + at)));
    for (; at < bytes; at += 16)
        _mm_stream_si128((__m128i *)((char *)to + at), _mm_loadu_si128((const __m128i *)((const char *)from + at)));
}

#elif defined(LANES_AVX2)

#define LANES 8
#define vec __m256i
#define mask __m256i
static inline vec V(load)(const int32_t *at) { return _mm256_loadu_si256((const __m256i *)at); }
static inline void V(store)(int32_t *at, vec x) { _mm256_storeu_si256((__m256i *)at, x); }
static inline void V(store_past)(int32_t *at, vec x) { _mm256_stream_si256((__m256i *)at, x); }
static inline vec V(splat)(int32_t x) { return _mm256_set1_epi32(x); }
static inline mask V(beyond)(vec x, vec limit) { return _mm256_cmpeq_epi32(_mm256_max_epu32(x, limit), x); }
static inline mask V(equal)(vec x, vec y) { return _mm256_cmpeq_epi32(x, y); }
static inline vec V(hide)(vec x, mask m) { return _mm256_or_si256(x, m); }
static inline vec V(tally)(vec x, mask m) { return _mm256_add_epi32(x, m); }
static inline vec V(add)(vec x, vec y) { return _mm256_add_epi32(x, y); }
static inline vec V(sub)(vec x, vec y) { return _mm256_sub_epi32(x, y); }
static inline vec V(low_half)(vec x) { return _mm256_and_si256(x, _mm256_set1_epi32(0xFFFF)); }
static inline vec V(high_half)(vec x) { return _mm256_srli_epi32(x, 16); }
static inline vec V(least)(vec x, vec y) { return _mm256_min_epu32(x, y); }
static inline vec V(most)(vec x, vec y) { return _mm256_max_epi32(x, y); }
static inline void V(sort)(vec *x, vec *y) {
    vec greater = _mm256_max_epi32(*x, *y);
    *y = _mm256_min_epi32(*x, *y);
    *x = greater;
}
static inline mask V(above)(vec x, vec y) { return _mm256_cmpgt_epi32(x, y); }
static inline vec V(pick)(mask m, vec x, vec y) { return _mm256_blendv_epi8(y, x, m); }
static inline unsigned V(bits)(mask m) { return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(m)); }
static inline void V(narrow)(uint16_t *at, vec x) {
    __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(x, x), 0x08);
    _mm_storeu_si128((__m128i *)at, _mm256_castsi256_si128(halves));
}
static inline void V(widen)(int64_t *at, vec x) {
    _mm256_storeu_si256((__m256i *)at, _mm256_cvtepu32_epi64(_mm256_castsi256_si128(x)));
    _mm256_storeu_si256((__m256i *)(at + 4), _mm256_cvtepu32_epi64(_mm256_extracti128_si256(x, 1)));
}
static void V(stream)(void *to, const void *from, size_t bytes) {
    size_t at = 0;
    if ((uintptr_t)to % 32 == 0)
        for (; at + 32 <= bytes; at += 32)
            _mm256_stream_si256((__m256i *)((char *)to + at), _mm256_loadu_si256((const __m256i *)((const char *)from + at)));
    for (; at < bytes; at += 16)
        _mm_stream_si128((__m128i *)((char *)to + at), _mm_loadu_si128((const __m128i *)((const char *)from + at)));
}

#elif defined(LANES_SSE2)

/* No unsigned compare, no minimum or maximum of 32 bits: a compare and a choice by bits instead. */
#define LANES 8
#define vec V(pair)
#define mask V(pair)
typedef struct { __m128i a, b; } vec;
static inline __m128i V(choose)(__m128i m, __m128i x, __m128i y) {
    return _mm_xor_si128(y, _mm_and_si128(m, _mm_xor_si128(x, y)));
}
#define EACH(expression_a, expression_b) ((vec){(expression_a), (expression_b)})
static inline vec V(load)(const int32_t *at) {
    return EACH(_mm_loadu_si128((const __m128i *)at), _mm_loadu_si128((const __m128i *)(at + 4)));
}
static inline void V(store)(int32_t *at, vec x) {
    _mm_storeu_si128((__m128i *)at, x.a);
    _mm_storeu_si128((__m128i *)(at + 4), x.b);
}
static inline void V(store_past)(int32_t *at, vec x) {
    _mm_stream_si128((__m128i *)at, x.a);
    _mm_stream_si128((__m128i *)(at + 4), x.b);
}
static inline vec V(splat)(int32_t x) { return EACH(_mm_set1_epi32(x), _mm_set1_epi32(x)); }
static inline __m128i V(beyond1)(__m128i x, __m128i limit) {
    return _mm_or_si128(_mm_srai_epi32(x, 31), _mm_cmpgt_epi32(x, _mm_sub_epi32(limit, _mm_set1_epi32(1))));
}
static inline mask V(beyond)(vec x, vec limit) { return EACH(V(beyond1)(x.a, limit.a), V(beyond1)(x.b, limit.b)); }
static inline mask V(equal)(vec x, vec y) { return EACH(_mm_cmpeq_epi32(x.a, y.a), _mm_cmpeq_epi32(x.b, y.b)); }
static inline vec V(hide)(vec x, mask m) { return EACH(_mm_or_si128(x.a, m.a), _mm_or_si128(x.b, m.b)); }
static inline vec V(add)(vec x, vec y) { return EACH(_mm_add_epi32(x.a, y.a), _mm_add_epi32(x.b, y.b)); }
static inline vec V(tally)(vec x, mask m) { return V(add)(x, m); }
static inline vec V(sub)(vec x, vec y) { return EACH(_mm_sub_epi32(x.a, y.a), _mm_sub_epi32(x.b, y.b)); }
static inline vec V(low_half)(vec x) {
    __m128i low = _mm_set1_epi32(0xFFFF);
    return EACH(_mm_and_si128(x.a, low), _mm_and_si128(x.b, low));
}
static inline vec V(high_half)(vec x) { return EACH(_mm_srli_epi32(x.a, 16), _mm_srli_epi32(x.b, 16)); }
/* A hidden lane without its sign bit is above every code: so a signed minimum ignores it. */
#define LEAST_OF_NONE INT32_MAX
static inline __m128i V(least1)(__m128i x, __m128i y) {
    y = _mm_and_si128(y, _mm_set1_epi32(INT32_MAX));
    return V(choose)(_mm_cmpgt_epi32(x, y), y, x);
}
static inline mask V(above)(vec x, vec y) { return EACH(_mm_cmpgt_epi32(x.a, y.a), _mm_cmpgt_epi32(x.b, y.b)); }
static inline vec V(pick)(mask m, vec x, vec y) {
    return EACH(V(choose)(m.a, x.a, y.a), V(choose)(m.b, x.b, y.b));
}
static inline vec V(least)(vec x, vec y) { return EACH(V(least1)(x.a, y.a), V(least1)(x.b, y.b)); }
static inline vec V(most)(vec x, vec y) {
    return EACH(V(choose)(_mm_cmpgt_epi32(x.a, y.a), x.a, y.a), V(choose)(_mm_cmpgt_epi32(x.b, y.b), x.b, y.b));
}
static inline void V(sort1)(__m128i *x, __m128i *y) {
    __m128i swap = _mm_and_si128(_mm_cmpgt_epi32(*y, *x), _mm_xor_si128(*x, *y));
    *x = _mm_xor_si128(*x, swap);
    *y = _mm_xor_si128(*y, swap);
}
static inline void V(sort)(vec *x, vec *y) {
    V(sort1)(&x->a, &y->a);
    V(sort1)(&x->b, &y->b);
}
static inline unsigned V(bits)(mask m) {
    __m128i halves = _mm_packs_epi32(m.a, m.b);
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(halves, _mm_setzero_si128()));
}
/* Packing saturates at 15 bits, which no count of slots passes. */
static inline void V(narrow)(uint16_t *at, vec x) { _mm_storeu_si128((__m128i *)at, _mm_packs_epi32(x.a, x.b)); }
static inline void V(widen1)(int64_t *at, __m128i x) {
    _mm_storeu_si128((__m128i *)at, _mm_unpacklo_epi32(x, _mm_setzero_si128()));
    _mm_storeu_si128((__m128i *)(at + 2), _mm_unpackhi_epi32(x, _mm_setzero_si128()));
}
static inline void V(widen)(int64_t *at, vec x) {
    V(widen1)(at, x.a);
    V(widen1)(at + 4, x.b);
}
static void V(stream)(void *to, const void *from, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 16)
        _mm_stream_si128((__m128i *)((char *)to + at), _mm_loadu_si128((const __m128i *)((const char *)from + at)));
}
#undef EACH

#elif defined(LANES_NEON)

#define LANES 8
#define vec V(pair)
#define mask V(pair)
typedef struct { int32x4_t a, b; } vec;
#define EACH(expression_a, expression_b) ((vec){(expression_a), (expression_b)})
#define U(x) vreinterpretq_u32_s32(x)
#define S(x) vreinterpretq_s32_u32(x)
static inline vec V(load)(const int32_t *at) { return EACH(vld1q_s32(at), vld1q_s32(at + 4)); }
static inline void V(store)(int32_t *at, vec x) {
    vst1q_s32(at, x.a);
    vst1q_s32(at + 4, x.b);
}
static inline void V(store_past)(int32_t *at, vec x) { V(store)(at, x); }
static inline vec V(splat)(int32_t x) { return EACH(vdupq_n_s32(x), vdupq_n_s32(x)); }
static inline mask V(beyond)(vec x, vec limit) {
    return EACH(S(vcgeq_u32(U(x.a), U(limit.a))), S(vcgeq_u32(U(x.b), U(limit.b))));
}
static inline mask V(equal)(vec x, vec y) { return EACH(S(vceqq_s32(x.a, y.a)), S(vceqq_s32(x.b, y.b))); }
static inline vec V(hide)(vec x, mask m) { return EACH(vorrq_s32(x.a, m.a), vorrq_s32(x.b, m.b)); }
static inline vec V(add)(vec x, vec y) { return EACH(vaddq_s32(x.a, y.a), vaddq_s32(x.b, y.b)); }
static inline vec V(tally)(vec x, mask m) { return V(add)(x, m); }
static inline vec V(sub)(vec x, vec y) { return EACH(vsubq_s32(x.a, y.a), vsubq_s32(x.b, y.b)); }
static inline vec V(low_half)(vec x) {
    return EACH(vandq_s32(x.a, vdupq_n_s32(0xFFFF)), vandq_s32(x.b, vdupq_n_s32(0xFFFF)));
}
static inline vec V(high_half)(vec x) { return EACH(S(vshrq_n_u32(U(x.a), 16)), S(vshrq_n_u32(U(x.b), 16))); }
static inline vec V(least)(vec x, vec y) { return EACH(S(vminq_u32(U(x.a), U(y.a))), S(vminq_u32(U(x.b), U(y.b)))); }
static inline vec V(most)(vec x, vec y) { return EACH(vmaxq_s32(x.a, y.a), vmaxq_s32(x.b, y.b)); }
static inline void V(sort)(vec *x, vec *y) {
    vec lesser = EACH(vminq_s32(x->a, y->a), vminq_s32(x->b, y->b));
    *x = V(most)(*x, *y);
    *y = lesser;
}
static inline mask V(above)(vec x, vec y) { return EACH(S(vcgtq_s32(x.a, y.a)), S(vcgtq_s32(x.b, y.b))); }
static inline vec V(pick)(mask m, vec x, vec y) {
    return EACH(vbslq_s32(U(m.a), x.a, y.a), vbslq_s32(U(m.b), x.b, y.b));
}
static inline void V(narrow)(uint16_t *at, vec x) {
    vst1q_u16(at, vcombine_u16(vmovn_u32(U(x.a)), vmovn_u32(U(x.b))));
}
static inline unsigned V(bits)(mask m) {
    static const uint16_t places[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    uint16x8_t lanes = vcombine_u16(vmovn_u32(U(m.a)), vmovn_u32(U(m.b)));
    return vaddvq_u16(vandq_u16(lanes, vld1q_u16(places)));
}
static inline void V(widen1)(int64_t *at, int32x4_t x) {
    vst1q_s64(at, vreinterpretq_s64_u64(vmovl_u32(vget_low_u32(U(x)))));
    vst1q_s64(at + 2, vreinterpretq_s64_u64(vmovl_u32(vget_high_u32(U(x)))));
}
static inline void V(widen)(int64_t *at, vec x) {
    V(widen1)(at, x.a);
    V(widen1)(at + 4, x.b);
}
static void V(stream)(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
#undef U
#undef S
#undef EACH

#else /* any machine that C runs on */

#define LANES 8
#define vec V(lanes)
#define mask V(lanes)
typedef struct { int32_t lane[LANES]; } vec;
#define EACH(expression) vec z; for (int i = 0; i < LANES; i++) z.lane[i] = (int32_t)(expression); return z
static inline vec V(load)(const int32_t *at) { EACH(at[i]); }
static inline void V(store)(int32_t *at, vec x) { memcpy(at, x.lane, sizeof x.lane); }
static inline void V(store_past)(int32_t *at, vec x) { V(store)(at, x); }
static inline vec V(splat)(int32_t x) { EACH(x); }
static inline mask V(beyond)(vec x, vec limit) { EACH(-((uint32_t)x.lane[i] >= (uint32_t)limit.lane[i])); }
static inline mask V(equal)(vec x, vec y) { EACH(-(x.lane[i] == y.lane[i])); }
static inline vec V(hide)(vec x, mask m) { EACH(x.lane[i] | m.lane[i]); }
static inline vec V(add)(vec x, vec y) { EACH((uint32_t)x.lane[i] + (uint32_t)y.lane[i]); }
static inline vec V(tally)(vec x, mask m) { return V(add)(x, m); }
static inline vec V(sub)(vec x, vec y) { EACH((uint32_t)x.lane[i] - (uint32_t)y.lane[i]); }
static inline vec V(low_half)(vec x) { EACH(x.lane[i] & 0xFFFF); }
static inline vec V(high_half)(vec x) { EACH((uint32_t)x.lane[i] >> 16); }
static inline vec V(least)(vec x, vec y) { EACH((uint32_t)x.lane[i] < (uint32_t)y.lane[i] ? x.lane[i] : y.lane[i]); }
static inline vec V(most)(vec x, vec y) { EACH(x.lane[i] > y.lane[i] ? x.lane[i] : y.lane[i]); }
static inline vec V(fewest)(vec x, vec y) { EACH(x.lane[i] < y.lane[i] ? x.lane[i] : y.lane[i]); }
static inline void V(sort)(vec *x, vec *y) {
    vec lesser = V(fewest)(*x, *y);
    *x = V(most)(*x, *y);
    *y = lesser;
}
static inline mask V(above)(vec x, vec y) { EACH(-(x.lane[i] > y.lane[i])); }
static inline vec V(pick)(mask m, vec x, vec y) { EACH((x.lane[i] & m.lane[i]) | (y.lane[i] & ~m.lane[i])); }
static inline void V(narrow)(uint16_t *at, vec x) {
    for (int i = 0; i < LANES; i++) at[i] = (uint16_t)x.lane[i];
}
static inline unsigned V(bits)(mask m) {
    unsigned found = 0;
    for (int i = 0; i < LANES; i++) found |= (unsigned)(m.lane[i] & 1) << i;
    return found;
}
static inline void V(widen)(int64_t *at, vec x) {
    for (int i = 0; i < LANES; i++) at[i] = (uint32_t)x.lane[i];
}
static void V(stream)(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
#undef EACH

#endif

#ifndef LEAST_OF_NONE
#define LEAST_OF_NONE -1
#endif
