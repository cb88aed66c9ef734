/* vec_avx2.h: instruct. The virtual vector as two ymm registers (AVX2 + FMA).
   Same operations, order and names as vec_portable.h, which says what each one means. */
#include <immintrin.h>

#define SL_TARGET "avx2,fma,f16c"
SL_OPEN_TARGET(SL_TARGET)

#define UNROLL 2              /* vectors that go through exp together: what the registers hold */
#define HARDWARE_PREFETCHED 1 /* as in vec_avx512.h: none here, where prefetching halves the time of rows that are not in cache */

typedef struct {
    __m256 a, b;
} f32_v; /* lanes 0-7, 8-15 */
typedef struct {
    __m256d a, b;
} f64_v; /* lanes 0-3, 4-7 */

static inline __m256i sl_mask32(ptrdiff_t k) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)k), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline __m256i sl_mask64(ptrdiff_t k) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x(k), _mm256_setr_epi64x(0, 1, 2, 3)); }
static inline __m256 sl_maskload_ps(const float *p, ptrdiff_t k, float fill) {
    __m256i m = sl_mask32(k);
    return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, m), _mm256_castsi256_ps(m));
}
static inline __m256d sl_maskload_pd(const double *p, ptrdiff_t k, double fill) {
    __m256i m = sl_mask64(k);
    return _mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(p, m), _mm256_castsi256_pd(m));
}

#define SL_F32(fa, fb) \
    (f32_v) { fa, fb }
#define SL_F64(fa, fb) \
    (f64_v) { fa, fb }
static inline f32_v f32_load(const float *p) { return SL_F32(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
static inline f64_v f64_load(const double *p) { return SL_F64(_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)); }
static inline void f32_store(float *p, f32_v v) {
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}
static inline void f64_store(double *p, f64_v v) {
    _mm256_storeu_pd(p, v.a);
    _mm256_storeu_pd(p + 4, v.b);
}
/* a pointer is moved past the end only where elements follow it */
static inline f32_v f32_load_tail(const float *p, ptrdiff_t k, float fill) {
    return k > 8 ? SL_F32(_mm256_loadu_ps(p), sl_maskload_ps(p + 8, k - 8, fill))
                 : SL_F32(sl_maskload_ps(p, k, fill), _mm256_set1_ps(fill));
}
static inline f64_v f64_load_tail(const double *p, ptrdiff_t k, double fill) {
    return k > 4 ? SL_F64(_mm256_loadu_pd(p), sl_maskload_pd(p + 4, k - 4, fill))
                 : SL_F64(sl_maskload_pd(p, k, fill), _mm256_set1_pd(fill));
}
static inline void f32_store_tail(float *p, ptrdiff_t k, f32_v v) {
    if (k > 8) {
        _mm256_storeu_ps(p, v.a);
        _mm256_maskstore_ps(p + 8, sl_mask32(k - 8), v.b);
    } else _mm256_maskstore_ps(p, sl_mask32(k), v.a);
}
static inline void f64_store_tail(double *p, ptrdiff_t k, f64_v v) {
    if (k > 4) {
        _mm256_storeu_pd(p, v.a);
        _mm256_maskstore_pd(p + 4, sl_mask64(k - 4), v.b);
    } else _mm256_maskstore_pd(p, sl_mask64(k), v.a);
}
static inline f32_v f32_set1(float s) { return SL_F32(_mm256_set1_ps(s), _mm256_set1_ps(s)); }
static inline f64_v f64_set1(double s) { return SL_F64(_mm256_set1_pd(s), _mm256_set1_pd(s)); }
/* GCC would read the constant from memory for each vector that uses it. A register whose content it does not know is loaded once for
   them (observed: 2 to 5 % of the time of logsumexp). */
#if defined(__GNUC__)
#define SL_HIDE_CONSTANT(v) __asm__("" : "+x"(v))
#else
#define SL_HIDE_CONSTANT(v)
#endif
SL_INLINE f32_v f32_constant(float s) {
    __m256 both = _mm256_set1_ps(s);
    SL_HIDE_CONSTANT(both);
    return SL_F32(both, both);
}
SL_INLINE f64_v f64_constant(double s) {
    __m256d both = _mm256_set1_pd(s);
    SL_HIDE_CONSTANT(both);
    return SL_F64(both, both);
}
static inline f32_v f32_add(f32_v x, f32_v y) { return SL_F32(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
static inline f64_v f64_add(f64_v x, f64_v y) { return SL_F64(_mm256_add_pd(x.a, y.a), _mm256_add_pd(x.b, y.b)); }
static inline f32_v f32_sub(f32_v x, f32_v y) { return SL_F32(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
static inline f64_v f64_sub(f64_v x, f64_v y) { return SL_F64(_mm256_sub_pd(x.a, y.a), _mm256_sub_pd(x.b, y.b)); }
static inline f32_v f32_mul(f32_v x, f32_v y) { return SL_F32(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
static inline f64_v f64_mul(f64_v x, f64_v y) { return SL_F64(_mm256_mul_pd(x.a, y.a), _mm256_mul_pd(x.b, y.b)); }
static inline f32_v f32_div(f32_v x, f32_v y) { return SL_F32(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
static inline f64_v f64_div(f64_v x, f64_v y) { return SL_F64(_mm256_div_pd(x.a, y.a), _mm256_div_pd(x.b, y.b)); }
static inline f32_v f32_max(f32_v x, f32_v y) { return SL_F32(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)); }
static inline f64_v f64_max(f64_v x, f64_v y) { return SL_F64(_mm256_max_pd(x.a, y.a), _mm256_max_pd(x.b, y.b)); }
static inline f32_v f32_select_eq(f32_v p, f32_v q, f32_v x, f32_v y) {
    return SL_F32(_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(p.a, q.a, _CMP_EQ_OQ)),
                  _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(p.b, q.b, _CMP_EQ_OQ)));
}
static inline f64_v f64_select_eq(f64_v p, f64_v q, f64_v x, f64_v y) {
    return SL_F64(_mm256_blendv_pd(y.a, x.a, _mm256_cmp_pd(p.a, q.a, _CMP_EQ_OQ)),
                  _mm256_blendv_pd(y.b, x.b, _mm256_cmp_pd(p.b, q.b, _CMP_EQ_OQ)));
}
static inline f32_v f32_select_lt(f32_v p, f32_v q, f32_v x, f32_v y) {
    return SL_F32(_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(p.a, q.a, _CMP_LT_OQ)),
                  _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(p.b, q.b, _CMP_LT_OQ)));
}
static inline f64_v f64_select_lt(f64_v p, f64_v q, f64_v x, f64_v y) {
    return SL_F64(_mm256_blendv_pd(y.a, x.a, _mm256_cmp_pd(p.a, q.a, _CMP_LT_OQ)),
                  _mm256_blendv_pd(y.b, x.b, _mm256_cmp_pd(p.b, q.b, _CMP_LT_OQ)));
}
static inline unsigned f32_lanes_lt(f32_v x, f32_v y) {
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)) |
           (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)) << 8;
}
static inline unsigned f64_lanes_lt(f64_v x, f64_v y) {
    return (unsigned)_mm256_movemask_pd(_mm256_cmp_pd(x.a, y.a, _CMP_LT_OQ)) |
           (unsigned)_mm256_movemask_pd(_mm256_cmp_pd(x.b, y.b, _CMP_LT_OQ)) << 4;
}
static inline int f32_any_lt(f32_v x, f32_v y) {
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))) != 0;
}
static inline int f64_any_lt(f64_v x, f64_v y) {
    return _mm256_movemask_pd(_mm256_or_pd(_mm256_cmp_pd(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_pd(x.b, y.b, _CMP_LT_OQ))) != 0;
}
static inline int f32_any_nan(f32_v x) { return _mm256_movemask_ps(_mm256_cmp_ps(x.a, x.b, _CMP_UNORD_Q)) != 0; }
static inline int f64_any_nan(f64_v x) { return _mm256_movemask_pd(_mm256_cmp_pd(x.a, x.b, _CMP_UNORD_Q)) != 0; }
static inline float f32_reduce_max(f32_v x) {
    __m256 m = _mm256_max_ps(x.a, x.b);
    __m128 r = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    r = _mm_max_ps(r, _mm_movehl_ps(r, r));
    return _mm_cvtss_f32(_mm_max_ss(r, _mm_movehdup_ps(r)));
}
static inline double f64_reduce_max(f64_v x) {
    __m256d m = _mm256_max_pd(x.a, x.b);
    __m128d r = _mm_max_pd(_mm256_castpd256_pd128(m), _mm256_extractf128_pd(m, 1));
    return _mm_cvtsd_f64(_mm_max_sd(r, _mm_unpackhi_pd(r, r)));
}

SL_INLINE void sl_unzip8(const int w, __m256 a, __m256 b, __m256 *even, __m256 *odd) {
    if (w == 4) {
        *even = _mm256_permute2f128_ps(a, b, 0x20);
        *odd = _mm256_permute2f128_ps(a, b, 0x31);
        return;
    }
    __m256d e, o;
    if (w == 2) {
        e = _mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b));
        o = _mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b));
    } else {
        e = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
        o = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xDD));
    }
    *even = _mm256_castpd_ps(_mm256_permute4x64_pd(e, 0xD8));
    *odd = _mm256_castpd_ps(_mm256_permute4x64_pd(o, 0xD8));
}
SL_INLINE void f32_unzip(const int w, f32_v a, f32_v b, f32_v *even, f32_v *odd) {
    if (w == 8) {
        *even = (f32_v){a.a, b.a};
        *odd = (f32_v){a.b, b.b};
    } else {
        sl_unzip8(w, a.a, a.b, &even->a, &odd->a);
        sl_unzip8(w, b.a, b.b, &even->b, &odd->b);
    }
}
SL_INLINE void sl_unzip4(const int w, __m256d a, __m256d b, __m256d *even, __m256d *odd) {
    if (w == 2) {
        *even = _mm256_permute2f128_pd(a, b, 0x20);
        *odd = _mm256_permute2f128_pd(a, b, 0x31);
    } else {
        *even = _mm256_permute4x64_pd(_mm256_unpacklo_pd(a, b), 0xD8);
        *odd = _mm256_permute4x64_pd(_mm256_unpackhi_pd(a, b), 0xD8);
    }
}
SL_INLINE void f64_unzip(const int w, f64_v a, f64_v b, f64_v *even, f64_v *odd) {
    if (w == 4) {
        *even = (f64_v){a.a, b.a};
        *odd = (f64_v){a.b, b.b};
    } else {
        sl_unzip4(w, a.a, a.b, &even->a, &odd->a);
        sl_unzip4(w, b.a, b.b, &even->b, &odd->b);
    }
}
static inline void sl_transpose8(__m256 *v0, __m256 *v1, __m256 *v2, __m256 *v3, __m256 *v4, __m256 *v5, __m256 *v6, __m256 *v7) {
    __m256 a0 = _mm256_unpacklo_ps(*v0, *v1), a1 = _mm256_unpackhi_ps(*v0, *v1), a2 = _mm256_unpacklo_ps(*v2, *v3),
           a3 = _mm256_unpackhi_ps(*v2, *v3);
    __m256 a4 = _mm256_unpacklo_ps(*v4, *v5), a5 = _mm256_unpackhi_ps(*v4, *v5), a6 = _mm256_unpacklo_ps(*v6, *v7),
           a7 = _mm256_unpackhi_ps(*v6, *v7);
    __m256 b0 = _mm256_shuffle_ps(a0, a2, 0x44), b1 = _mm256_shuffle_ps(a0, a2, 0xEE), b2 = _mm256_shuffle_ps(a1, a3, 0x44),
           b3 = _mm256_shuffle_ps(a1, a3, 0xEE);
    __m256 b4 = _mm256_shuffle_ps(a4, a6, 0x44), b5 = _mm256_shuffle_ps(a4, a6, 0xEE), b6 = _mm256_shuffle_ps(a5, a7, 0x44),
           b7 = _mm256_shuffle_ps(a5, a7, 0xEE);
    *v0 = _mm256_permute2f128_ps(b0, b4, 0x20);
    *v4 = _mm256_permute2f128_ps(b0, b4, 0x31);
    *v1 = _mm256_permute2f128_ps(b1, b5, 0x20);
    *v5 = _mm256_permute2f128_ps(b1, b5, 0x31);
    *v2 = _mm256_permute2f128_ps(b2, b6, 0x20);
    *v6 = _mm256_permute2f128_ps(b2, b6, 0x31);
    *v3 = _mm256_permute2f128_ps(b3, b7, 0x20);
    *v7 = _mm256_permute2f128_ps(b3, b7, 0x31);
}
static inline void f32_transpose(f32_v v[16]) {
    for (int i = 0; i < 16; i += 8) {
        sl_transpose8(&v[i].a, &v[i + 1].a, &v[i + 2].a, &v[i + 3].a, &v[i + 4].a, &v[i + 5].a, &v[i + 6].a, &v[i + 7].a);
        sl_transpose8(&v[i].b, &v[i + 1].b, &v[i + 2].b, &v[i + 3].b, &v[i + 4].b, &v[i + 5].b, &v[i + 6].b, &v[i + 7].b);
    }
    for (int i = 0; i < 8; i++) {
        __m256 t = v[i].b;
        v[i].b = v[i + 8].a;
        v[i + 8].a = t;
    }
}
static inline void sl_transpose4(__m256d *v0, __m256d *v1, __m256d *v2, __m256d *v3) {
    __m256d a0 = _mm256_unpacklo_pd(*v0, *v1), a1 = _mm256_unpackhi_pd(*v0, *v1), a2 = _mm256_unpacklo_pd(*v2, *v3),
            a3 = _mm256_unpackhi_pd(*v2, *v3);
    *v0 = _mm256_permute2f128_pd(a0, a2, 0x20);
    *v2 = _mm256_permute2f128_pd(a0, a2, 0x31);
    *v1 = _mm256_permute2f128_pd(a1, a3, 0x20);
    *v3 = _mm256_permute2f128_pd(a1, a3, 0x31);
}
static inline void f64_transpose(f64_v v[8]) {
    for (int i = 0; i < 8; i += 4) {
        sl_transpose4(&v[i].a, &v[i + 1].a, &v[i + 2].a, &v[i + 3].a);
        sl_transpose4(&v[i].b, &v[i + 1].b, &v[i + 2].b, &v[i + 3].b);
    }
    for (int i = 0; i < 4; i++) {
        __m256d t = v[i].b;
        v[i].b = v[i + 4].a;
        v[i + 4].a = t;
    }
}

static inline f32_v f32_fma(f32_v x, f32_v y, f32_v z) { return SL_F32(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)); }
static inline f64_v f64_fma(f64_v x, f64_v y, f64_v z) { return SL_F64(_mm256_fmadd_pd(x.a, y.a, z.a), _mm256_fmadd_pd(x.b, y.b, z.b)); }

typedef __m256 f32_table;
typedef __m256 f64_table; /* 4 float64 as 8 halves: AVX2 permutes 32-bit lanes only */
static inline f32_table f32_load_table(const uint32_t *p) { return _mm256_castsi256_ps(_mm256_loadu_si256((const __m256i *)p)); }
static inline f64_table f64_load_table(const uint64_t *p) { return _mm256_castsi256_ps(_mm256_loadu_si256((const __m256i *)p)); }
static inline __m256 sl_pow2_ps(__m256 table, __m256 t) {
    __m256i k = _mm256_castps_si256(t);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(_mm256_permutevar8x32_ps(table, k)), _mm256_slli_epi32(k, 20)));
}
static inline __m256d sl_pow2_pd(__m256 table, __m256d t) {
    __m256i k = _mm256_castpd_si256(t);
    __m256i low = _mm256_shuffle_epi32(k, 0xA0); /* the low half of each k, twice; then halves 2k and 2k + 1 */
    __m256i half = _mm256_add_epi32(_mm256_add_epi32(low, low), _mm256_set1_epi64x(0x100000000));
    return _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castps_si256(_mm256_permutevar8x32_ps(table, half)), _mm256_slli_epi64(k, 50)));
}
static inline f32_v f32_pow2(f32_table table, f32_v t) { return SL_F32(sl_pow2_ps(table, t.a), sl_pow2_ps(table, t.b)); }
static inline f64_v f64_pow2(f64_table table, f64_v t) { return SL_F64(sl_pow2_pd(table, t.a), sl_pow2_pd(table, t.b)); }

static inline __m256d sl_split(__m256d w, __m256d *e) {
    __m256i b = _mm256_castpd_si256(w);
    __m256i k = _mm256_srli_epi64(_mm256_sub_epi64(b, _mm256_set1_epi64x(0x3FE6A09E667F3BCD)), 52);
    /* AVX2 has no int64 to float64: put k into the mantissa of 2^52 */
    *e = _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(k, _mm256_set1_epi64x(0x4330000000000000))), _mm256_set1_pd(0x1p52));
    return _mm256_castsi256_pd(_mm256_sub_epi64(b, _mm256_slli_epi64(k, 52)));
}
static inline f64_v f64_split(f64_v w, f64_v *e) { return SL_F64(sl_split(w.a, &e->a), sl_split(w.b, &e->b)); }

static inline f32_v f32_from_float16(const uint16_t *p) {
    return SL_F32(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}
static inline void f32_to_float16(uint16_t *p, f32_v x) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline __m256i sl_wide_i8(const int8_t *p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
static inline __m256i sl_wide_u8(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
static inline __m256i sl_wide_i16(const int16_t *p) { return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)p)); }
static inline __m256i sl_wide_u16(const uint16_t *p) { return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)); }
static inline f32_v f32_from_bfloat16(const uint16_t *p) {
    return SL_F32(_mm256_castsi256_ps(_mm256_slli_epi32(sl_wide_u16(p), 16)),
                  _mm256_castsi256_ps(_mm256_slli_epi32(sl_wide_u16(p + 8), 16)));
}
static inline __m256i sl_round_bfloat16(__m256 a) {
    const __m256i b = _mm256_castps_si256(a), odd = _mm256_and_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(1));
    const __m256i r = _mm256_srli_epi32(_mm256_add_epi32(b, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
    return _mm256_blendv_epi8(r, _mm256_set1_epi32(0x7FC0), _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
}
static inline void f32_to_bfloat16(uint16_t *p, f32_v x) {
    const __m256i packed = _mm256_packus_epi32(sl_round_bfloat16(x.a), sl_round_bfloat16(x.b));
    _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(packed, 0xD8));
}
static inline f32_v f32_from_int8(const int8_t *p) {
    return SL_F32(_mm256_cvtepi32_ps(sl_wide_i8(p)), _mm256_cvtepi32_ps(sl_wide_i8(p + 8)));
}
static inline f32_v f32_from_uint8(const uint8_t *p) {
    return SL_F32(_mm256_cvtepi32_ps(sl_wide_u8(p)), _mm256_cvtepi32_ps(sl_wide_u8(p + 8)));
}
static inline f32_v f32_from_int16(const int16_t *p) {
    return SL_F32(_mm256_cvtepi32_ps(sl_wide_i16(p)), _mm256_cvtepi32_ps(sl_wide_i16(p + 8)));
}
static inline f32_v f32_from_uint16(const uint16_t *p) {
    return SL_F32(_mm256_cvtepi32_ps(sl_wide_u16(p)), _mm256_cvtepi32_ps(sl_wide_u16(p + 8)));
}
static inline __m256 sl_hide(const unsigned char *mask, __m256 x) {
    const __m256i hidden = _mm256_cmpeq_epi32(sl_wide_u8(mask), _mm256_setzero_si256());
    return _mm256_blendv_ps(x, _mm256_set1_ps(-INFINITY), _mm256_castsi256_ps(hidden));
}
static inline f32_v f32_hide(const unsigned char *mask, f32_v x) { return SL_F32(sl_hide(mask, x.a), sl_hide(mask + 8, x.b)); }
static inline f64_v f64_hide(const unsigned char *mask, f64_v x) {
    const __m256i m = sl_wide_u8(mask), zero = _mm256_setzero_si256();
    const __m256i a = _mm256_cmpeq_epi64(_mm256_cvtepu32_epi64(_mm256_castsi256_si128(m)), zero);
    const __m256i b = _mm256_cmpeq_epi64(_mm256_cvtepu32_epi64(_mm256_extracti128_si256(m, 1)), zero);
    const __m256d lowest = _mm256_set1_pd(-(double)INFINITY);
    return SL_F64(_mm256_blendv_pd(x.a, lowest, _mm256_castsi256_pd(a)), _mm256_blendv_pd(x.b, lowest, _mm256_castsi256_pd(b)));
}

static inline void f32_widen(f32_v x, f64_v *low, f64_v *high) {
    *low = SL_F64(_mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)));
    *high = SL_F64(_mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1)));
}
static inline f32_v f32_narrow(f64_v low, f64_v high) {
    return SL_F32(_mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low.a)), _mm256_cvtpd_ps(low.b), 1),
                  _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(high.a)), _mm256_cvtpd_ps(high.b), 1));
}

/* Rows of n contiguous classes go to columns 4 classes at a time, where 4 rows take a 4 x 4 transpose in each half of 4 registers. The
   last 4 overlap those before, so that nothing beyond the rows is touched. */
SL_INLINE void sl_transpose_halves(__m256 v[4]) {
    const __m256 a = _mm256_unpacklo_ps(v[0], v[1]), b = _mm256_unpackhi_ps(v[0], v[1]);
    const __m256 c = _mm256_unpacklo_ps(v[2], v[3]), d = _mm256_unpackhi_ps(v[2], v[3]);
    v[0] = _mm256_shuffle_ps(a, c, 0x44);
    v[1] = _mm256_shuffle_ps(a, c, 0xEE);
    v[2] = _mm256_shuffle_ps(b, d, 0x44);
    v[3] = _mm256_shuffle_ps(b, d, 0xEE);
}
SL_INLINE void sl_load_8_rows(const float *x, ptrdiff_t n, float *column, ptrdiff_t stride) {
    for (ptrdiff_t k = 0; k < n; k += 4) {
        const ptrdiff_t c = k + 4 < n ? k : n - 4;
        __m256 v[4];
        for (int i = 0; i < 4; i++) v[i] = _mm256_loadu2_m128(x + (i + 4) * n + c, x + i * n + c);
        sl_transpose_halves(v);
        for (int i = 0; i < 4; i++) _mm256_storeu_ps(column + (c + i) * stride, v[i]);
    }
}
SL_INLINE void sl_store_8_rows(const float *column, ptrdiff_t stride, ptrdiff_t n, float *y) {
    for (ptrdiff_t k = 0; k < n; k += 4) {
        const ptrdiff_t c = k + 4 < n ? k : n - 4;
        __m256 v[4];
        for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_ps(column + (c + i) * stride);
        sl_transpose_halves(v);
        for (int i = 0; i < 4; i++) _mm256_storeu2_m128(y + (i + 4) * n + c, y + i * n + c, v[i]);
    }
}

/* Two and three classes lie too close for that: their elements are picked from two or three registers. */
SL_INLINE void sl_load_pairs(const float *x, float *column, ptrdiff_t stride) {
    const __m256 a = _mm256_loadu_ps(x), b = _mm256_loadu_ps(x + 8);
    const __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88)), odd = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xDD));
    _mm256_storeu_ps(column, _mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xD8)));
    _mm256_storeu_ps(column + stride, _mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xD8)));
}
SL_INLINE void sl_store_pairs(const float *column, ptrdiff_t stride, float *y) {
    const __m256 even = _mm256_loadu_ps(column), odd = _mm256_loadu_ps(column + stride);
    const __m256 a = _mm256_unpacklo_ps(even, odd), b = _mm256_unpackhi_ps(even, odd);
    _mm256_storeu_ps(y, _mm256_permute2f128_ps(a, b, 0x20));
    _mm256_storeu_ps(y + 8, _mm256_permute2f128_ps(a, b, 0x31));
}
SL_INLINE void sl_load_triples(const float *x, float *column, ptrdiff_t stride) {
    /* 128-bit parts p0 to p5: rows 0 to 3 are in p0, p1, p2, rows 4 to 7 in p3, p4, p5 */
    const __m256 a = _mm256_loadu2_m128(x + 12, x), b = _mm256_loadu2_m128(x + 16, x + 4), c = _mm256_loadu2_m128(x + 20, x + 8);
    const __m256 bc = _mm256_shuffle_ps(b, c, 0x9E), ab = _mm256_shuffle_ps(a, b, 0x49); /* x2 y2 x3 y3; y0 z0 y1 z1 */
    _mm256_storeu_ps(column, _mm256_shuffle_ps(a, bc, 0x8C));
    _mm256_storeu_ps(column + stride, _mm256_shuffle_ps(ab, bc, 0xD8));
    _mm256_storeu_ps(column + 2 * stride, _mm256_shuffle_ps(ab, c, 0xCD));
}
SL_INLINE void sl_store_triples(const float *column, ptrdiff_t stride, float *y) {
    const __m256 p = _mm256_loadu_ps(column), q = _mm256_loadu_ps(column + stride), r = _mm256_loadu_ps(column + 2 * stride);
    const __m256 pq = _mm256_shuffle_ps(p, q, 0x88), qr = _mm256_shuffle_ps(q, r, 0xDD), rp = _mm256_shuffle_ps(r, p, 0xD8);
    _mm256_storeu2_m128(y + 12, y, _mm256_shuffle_ps(pq, rp, 0x88));
    _mm256_storeu2_m128(y + 16, y + 4, _mm256_shuffle_ps(qr, pq, 0xD8));
    _mm256_storeu2_m128(y + 20, y + 8, _mm256_shuffle_ps(rp, qr, 0xDD));
}

#define HAS_F32_FEW
static inline int f32_load_few(const float *x, int n, float *column, ptrdiff_t stride) {
    if (n < 2) return 0;
    for (int h = 0; h < 2; h++, x += 8 * n, column += 8) {
        if (n == 2) sl_load_pairs(x, column, stride);
        else if (n == 3) sl_load_triples(x, column, stride);
        else sl_load_8_rows(x, n, column, stride);
    }
    return 1;
}
static inline int f32_store_few(const float *column, ptrdiff_t stride, int n, float *y) {
    if (n < 2) return 0;
    for (int h = 0; h < 2; h++, y += 8 * n, column += 8) {
        if (n == 2) sl_store_pairs(column, stride, y);
        else if (n == 3) sl_store_triples(column, stride, y);
        else sl_store_8_rows(column, stride, n, y);
    }
    return 1;
}

SL_INLINE void sl_load_4_rows(const double *x, ptrdiff_t n, double *column, ptrdiff_t stride) {
    for (ptrdiff_t k = 0; k < n; k += 4) {
        const ptrdiff_t c = k + 4 < n ? k : n - 4;
        __m256d v[4];
        for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_pd(x + i * n + c);
        sl_transpose4(&v[0], &v[1], &v[2], &v[3]);
        for (int i = 0; i < 4; i++) _mm256_storeu_pd(column + (c + i) * stride, v[i]);
    }
}
SL_INLINE void sl_store_4_rows(const double *column, ptrdiff_t stride, ptrdiff_t n, double *y) {
    for (ptrdiff_t k = 0; k < n; k += 4) {
        const ptrdiff_t c = k + 4 < n ? k : n - 4;
        __m256d v[4];
        for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_pd(column + (c + i) * stride);
        sl_transpose4(&v[0], &v[1], &v[2], &v[3]);
        for (int i = 0; i < 4; i++) _mm256_storeu_pd(y + i * n + c, v[i]);
    }
}
SL_INLINE void sl_load_4_pairs(const double *x, double *column, ptrdiff_t stride) {
    const __m256d a = _mm256_loadu_pd(x), b = _mm256_loadu_pd(x + 4);
    _mm256_storeu_pd(column, _mm256_permute4x64_pd(_mm256_unpacklo_pd(a, b), 0xD8));
    _mm256_storeu_pd(column + stride, _mm256_permute4x64_pd(_mm256_unpackhi_pd(a, b), 0xD8));
}
SL_INLINE void sl_store_4_pairs(const double *column, ptrdiff_t stride, double *y) {
    const __m256d even = _mm256_permute4x64_pd(_mm256_loadu_pd(column), 0xD8);
    const __m256d odd = _mm256_permute4x64_pd(_mm256_loadu_pd(column + stride), 0xD8);
    _mm256_storeu_pd(y, _mm256_unpacklo_pd(even, odd));
    _mm256_storeu_pd(y + 4, _mm256_unpackhi_pd(even, odd));
}
#define HAS_F64_FEW
static inline int f64_load_few(const double *x, int n, double *column, ptrdiff_t stride) {
    if (n < 2 || n == 3) return 0;
    for (int h = 0; h < 2; h++, x += 4 * n, column += 4) {
        if (n == 2) sl_load_4_pairs(x, column, stride);
        else sl_load_4_rows(x, n, column, stride);
    }
    return 1;
}
static inline int f64_store_few(const double *column, ptrdiff_t stride, int n, double *y) {
    if (n < 2 || n == 3) return 0;
    for (int h = 0; h < 2; h++, y += 4 * n, column += 4) {
        if (n == 2) sl_store_4_pairs(column, stride, y);
        else sl_store_4_rows(column, stride, n, y);
    }
    return 1;
}
#include "simd/few_classes.h"

SL_INLINE void sl_prefetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }

SL_CLOSE_TARGET
