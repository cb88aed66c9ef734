/* vec_avx512.h: instruct. The virtual vector as one zmm register (AVX-512 F, BW, DQ, VL).
   Same operations, order and names as vec_portable.h, which says what each one means. */
#include <immintrin.h>

#define SL_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"
SL_OPEN_TARGET(SL_TARGET)

#define UNROLL 4 /* vectors that go through exp together: what the registers hold */
#define HARDWARE_PREFETCHED \
    3 /* rows of up to so many classes are loaded in streams that the processor foresees: prefetching costs them 5 to 20 % */

typedef __m512 f32_v;
typedef __m512d f64_v;

static inline __mmask16 sl_mask16(ptrdiff_t k) { return (__mmask16)((1u << k) - 1u); }
static inline __mmask8 sl_mask8(ptrdiff_t k) { return (__mmask8)((1u << k) - 1u); }

static inline f32_v f32_load(const float *p) { return _mm512_loadu_ps(p); }
static inline f64_v f64_load(const double *p) { return _mm512_loadu_pd(p); }
static inline void f32_store(float *p, f32_v a) { _mm512_storeu_ps(p, a); }
static inline void f64_store(double *p, f64_v a) { _mm512_storeu_pd(p, a); }
static inline f32_v f32_load_tail(const float *p, ptrdiff_t k, float fill) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), sl_mask16(k), p);
}
static inline f64_v f64_load_tail(const double *p, ptrdiff_t k, double fill) {
    return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), sl_mask8(k), p);
}
static inline void f32_store_tail(float *p, ptrdiff_t k, f32_v a) { _mm512_mask_storeu_ps(p, sl_mask16(k), a); }
static inline void f64_store_tail(double *p, ptrdiff_t k, f64_v a) { _mm512_mask_storeu_pd(p, sl_mask8(k), a); }
/* set1 of a constant that many vectors use: see vec_avx2.h */
#define f32_constant f32_set1
#define f64_constant f64_set1
static inline f32_v f32_set1(float s) { return _mm512_set1_ps(s); }
static inline f64_v f64_set1(double s) { return _mm512_set1_pd(s); }
static inline f32_v f32_add(f32_v a, f32_v b) { return _mm512_add_ps(a, b); }
static inline f64_v f64_add(f64_v a, f64_v b) { return _mm512_add_pd(a, b); }
static inline f32_v f32_sub(f32_v a, f32_v b) { return _mm512_sub_ps(a, b); }
static inline f64_v f64_sub(f64_v a, f64_v b) { return _mm512_sub_pd(a, b); }
static inline f32_v f32_mul(f32_v a, f32_v b) { return _mm512_mul_ps(a, b); }
static inline f64_v f64_mul(f64_v a, f64_v b) { return _mm512_mul_pd(a, b); }
static inline f32_v f32_div(f32_v a, f32_v b) { return _mm512_div_ps(a, b); }
static inline f64_v f64_div(f64_v a, f64_v b) { return _mm512_div_pd(a, b); }
static inline f32_v f32_max(f32_v a, f32_v b) { return _mm512_max_ps(a, b); }
static inline f64_v f64_max(f64_v a, f64_v b) { return _mm512_max_pd(a, b); }
static inline f32_v f32_select_eq(f32_v a, f32_v b, f32_v x, f32_v y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ), y, x);
}
static inline f64_v f64_select_eq(f64_v a, f64_v b, f64_v x, f64_v y) {
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ), y, x);
}
static inline f32_v f32_select_lt(f32_v a, f32_v b, f32_v x, f32_v y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
static inline f64_v f64_select_lt(f64_v a, f64_v b, f64_v x, f64_v y) {
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), y, x);
}
static inline unsigned f32_lanes_lt(f32_v a, f32_v b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline unsigned f64_lanes_lt(f64_v a, f64_v b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
static inline int f32_any_lt(f32_v a, f32_v b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ) != 0; }
static inline int f64_any_lt(f64_v a, f64_v b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ) != 0; }
static inline int f32_any_nan(f32_v a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0; }
static inline int f64_any_nan(f64_v a) { return _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q) != 0; }
static inline float f32_reduce_max(f32_v a) { return _mm512_reduce_max_ps(a); }
static inline double f64_reduce_max(f64_v a) { return _mm512_reduce_max_pd(a); }

static inline void f32_transpose(f32_v v[16]) {
    f32_v t[16];
    for (int i = 0; i < 16; i += 4) { /* 4x4 blocks inside each 128-bit lane */
        f32_v a = _mm512_unpacklo_ps(v[i], v[i + 1]), b = _mm512_unpackhi_ps(v[i], v[i + 1]);
        f32_v c = _mm512_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
        t[i + 0] = _mm512_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm512_shuffle_ps(a, c, 0xEE);
        t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm512_shuffle_ps(b, d, 0xEE);
    }
    for (int i = 0; i < 4; i++) { /* then the 4x4 arrangement of those lanes */
        f32_v a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xDD);
        f32_v c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xDD);
        v[i + 0] = _mm512_shuffle_f32x4(a, c, 0x88);
        v[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(a, c, 0xDD);
        v[i + 12] = _mm512_shuffle_f32x4(b, d, 0xDD);
    }
}
static inline void f64_transpose(f64_v v[8]) {
    f64_v t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_pd(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_pd(v[i], v[i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        f64_v a = _mm512_shuffle_f64x2(t[i], t[i + 2], 0x88), b = _mm512_shuffle_f64x2(t[i], t[i + 2], 0xDD);
        f64_v c = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0x88), d = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0xDD);
        v[i + 0] = _mm512_shuffle_f64x2(a, c, 0x88);
        v[i + 2] = _mm512_shuffle_f64x2(b, d, 0x88);
        v[i + 4] = _mm512_shuffle_f64x2(a, c, 0xDD);
        v[i + 6] = _mm512_shuffle_f64x2(b, d, 0xDD);
    }
}

SL_INLINE void f32_unzip(const int w, f32_v a, f32_v b, f32_v *even, f32_v *odd) {
    if (w == 8) {
        *even = _mm512_shuffle_f32x4(a, b, 0x44);
        *odd = _mm512_shuffle_f32x4(a, b, 0xEE);
    } else if (w == 4) {
        *even = _mm512_shuffle_f32x4(a, b, 0x88);
        *odd = _mm512_shuffle_f32x4(a, b, 0xDD);
    } else if (w == 2) {
        const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
        *even = _mm512_castpd_ps(_mm512_permutex2var_pd(x, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), y));
        *odd = _mm512_castpd_ps(_mm512_permutex2var_pd(x, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), y));
    } else {
        const __m512i at = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        *even = _mm512_permutex2var_ps(a, at, b);
        *odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(at, _mm512_set1_epi32(1)), b);
    }
}
SL_INLINE void f64_unzip(const int w, f64_v a, f64_v b, f64_v *even, f64_v *odd) {
    if (w == 4) {
        *even = _mm512_shuffle_f64x2(a, b, 0x44);
        *odd = _mm512_shuffle_f64x2(a, b, 0xEE);
    } else if (w == 2) {
        *even = _mm512_shuffle_f64x2(a, b, 0x88);
        *odd = _mm512_shuffle_f64x2(a, b, 0xDD);
    } else {
        *even = _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
        *odd = _mm512_permutex2var_pd(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b);
    }
}

static inline f32_v f32_fma(f32_v a, f32_v b, f32_v c) { return _mm512_fmadd_ps(a, b, c); }
static inline f64_v f64_fma(f64_v a, f64_v b, f64_v c) { return _mm512_fmadd_pd(a, b, c); }

typedef __m512 f32_table;  /* the 8 entries twice: vpermps looks at 4 bits */
typedef __m512d f64_table; /* the 4 entries twice: vpermpd looks at 3 bits */
static inline f32_table f32_load_table(const uint32_t *p) {
    return _mm512_castsi512_ps(_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p)));
}
static inline f64_table f64_load_table(const uint64_t *p) {
    return _mm512_castsi512_pd(_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p)));
}
static inline f32_v f32_pow2(f32_table table, f32_v t) {
    __m512i k = _mm512_castps_si512(t);
    __m512i m = _mm512_castps_si512(_mm512_permutexvar_ps(k, table));
    return _mm512_castsi512_ps(_mm512_add_epi32(m, _mm512_slli_epi32(k, 20)));
}
static inline f64_v f64_pow2(f64_table table, f64_v t) {
    __m512i k = _mm512_castpd_si512(t);
    __m512i m = _mm512_castpd_si512(_mm512_permutexvar_pd(k, table));
    return _mm512_castsi512_pd(_mm512_add_epi64(m, _mm512_slli_epi64(k, 50)));
}

static inline f64_v f64_split(f64_v w, f64_v *e) {
    __m512i b = _mm512_castpd_si512(w);
    __m512i k = _mm512_srli_epi64(_mm512_sub_epi64(b, _mm512_set1_epi64(0x3FE6A09E667F3BCD)), 52);
    *e = _mm512_cvtepi64_pd(k);
    return _mm512_castsi512_pd(_mm512_sub_epi64(b, _mm512_slli_epi64(k, 52)));
}

static inline f32_v f32_from_float16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
static inline void f32_to_float16(uint16_t *p, f32_v a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline f32_v f32_from_bfloat16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
static inline void f32_to_bfloat16(uint16_t *p, f32_v a) { /* half of the last place, less 1 where that would leave a tie odd */
    const __m512i b = _mm512_castps_si512(a), odd = _mm512_and_si512(_mm512_srli_epi32(b, 16), _mm512_set1_epi32(1));
    const __m512i r = _mm512_srli_epi32(_mm512_add_epi32(b, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
    const __m512i nan = _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), _mm512_set1_epi32(0x7FC0));
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(nan));
}
static inline f32_v f32_from_int8(const int8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p))); }
static inline f32_v f32_from_uint8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline f32_v f32_from_int16(const int16_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)p)));
}
static inline f32_v f32_from_uint16(const uint16_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)));
}
static inline f32_v f32_hide(const unsigned char *mask, f32_v x) {
    const __m128i m = _mm_loadu_si128((const __m128i *)mask);
    return _mm512_mask_blend_ps(_mm_test_epi8_mask(m, m), _mm512_set1_ps(-INFINITY), x);
}
static inline f64_v f64_hide(const unsigned char *mask, f64_v x) {
    const __m128i m = _mm_loadl_epi64((const __m128i *)mask);
    return _mm512_mask_blend_pd((__mmask8)_mm_test_epi8_mask(m, m), _mm512_set1_pd(-(double)INFINITY), x);
}

static inline void f32_widen(f32_v a, f64_v *low, f64_v *high) {
    *low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
    *high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}
static inline f32_v f32_narrow(f64_v low, f64_v high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

#define HAS_F32_FEW
#include "simd/few_classes.h"

/* Rows of 2 to 8 contiguous classes: each column, and each vector of rows, is picked from two vectors at a time with
   indices that are constants once n is. That beats a transpose of which most would be thrown away. */
#define SL_PICK(f) _mm512_setr_epi32(f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15))
#define SL_WHERE(f)                                                                                                                \
    (__mmask16)(f(0) | f(1) << 1 | f(2) << 2 | f(3) << 3 | f(4) << 4 | f(5) << 5 | f(6) << 6 | f(7) << 7 | f(8) << 8 | f(9) << 9 | \
                f(10) << 10 | f(11) << 11 | f(12) << 12 | f(13) << 13 | f(14) << 14 | f(15) << 15)
SL_INLINE void sl_load_columns(const float *x, const int n, float *column, ptrdiff_t stride) {
    f32_v v[8];
    for (int q = 0; q < n; q++) v[q] = f32_load(x + 16 * q);
#define SL_AT(row) ((row) * n + j)
#define SL_INDEX(row) (SL_AT(row) % 32)
#define SL_IN_PAIR(row) (SL_AT(row) / 32 == q / 2)
#pragma GCC unroll 8
    for (int j = 0; j < n; j++) {
        f32_v c = v[0];
#pragma GCC unroll 4
        for (int q = 0; q < n; q += 2)
            c = _mm512_mask_blend_ps(SL_WHERE(SL_IN_PAIR), c, _mm512_permutex2var_ps(v[q], SL_PICK(SL_INDEX), v[q + 1 < n ? q + 1 : q]));
        f32_store(column + j * stride, c);
    }
#undef SL_AT
#undef SL_INDEX
#undef SL_IN_PAIR
}
SL_INLINE void sl_store_columns(const float *column, ptrdiff_t stride, const int n, float *y) {
    f32_v v[8];
    for (int j = 0; j < n; j++) v[j] = f32_load(column + j * stride);
#define SL_CLASS(lane) ((16 * q + (lane)) % n)
#define SL_INDEX(lane) ((16 * q + (lane)) / n + 16 * (SL_CLASS(lane) % 2))
#define SL_IN_PAIR(lane) (SL_CLASS(lane) / 2 == j / 2)
#pragma GCC unroll 8
    for (int q = 0; q < n; q++) {
        f32_v r = v[0];
#pragma GCC unroll 4
        for (int j = 0; j < n; j += 2)
            r = _mm512_mask_blend_ps(SL_WHERE(SL_IN_PAIR), r, _mm512_permutex2var_ps(v[j], SL_PICK(SL_INDEX), v[j + 1 < n ? j + 1 : j]));
        f32_store(y + 16 * q, r);
    }
#undef SL_CLASS
#undef SL_INDEX
#undef SL_IN_PAIR
}
#define SL_FOR_FEW(n, call)        \
    switch (n) {                   \
        case 2: call(2); return 1; \
        case 3: call(3); return 1; \
        case 4: call(4); return 1; \
        case 5: call(5); return 1; \
        case 6: call(6); return 1; \
        case 7: call(7); return 1; \
        case 8: call(8); return 1; \
        default: return 0;         \
    }
static inline int f32_load_few(const float *x, int n, float *column, ptrdiff_t stride) {
#define SL_CALL(n) sl_load_columns(x, n, column, stride)
    SL_FOR_FEW(n, SL_CALL);
#undef SL_CALL
}
static inline int f32_store_few(const float *column, ptrdiff_t stride, int n, float *y) {
#define SL_CALL(n) sl_store_columns(column, stride, n, y)
    SL_FOR_FEW(n, SL_CALL);
#undef SL_CALL
}

SL_INLINE void sl_prefetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }

SL_CLOSE_TARGET
