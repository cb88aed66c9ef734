/* vec_avx512.h: instruct. The virtual vector as one zmm register (AVX-512 F, BW, DQ, VL).
   Same operations, order and names as vec_portable.h, which says what each one means. */

#define UNROLL 4 /* vectors that go through exp together: what the registers hold */

typedef __m512 f32_v;
typedef __m512d f64_v;

static inline __mmask16 sl_mask16(ptrdiff_t k) { return (__mmask16)((1u << k) - 1u); }
static inline __mmask8 sl_mask8(ptrdiff_t k) { return (__mmask8)((1u << k) - 1u); }

static inline f32_v f32_load(const float *p) { return _mm512_loadu_ps(p); }
static inline f64_v f64_load(const double *p) { return _mm512_loadu_pd(p); }
static inline void f32_store(float *p, f32_v a) { _mm512_storeu_ps(p, a); }
static inline void f64_store(double *p, f64_v a) { _mm512_storeu_pd(p, a); }
static inline f32_v f32_load_tail(const float *p, ptrdiff_t k, float fill) { return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), sl_mask16(k), p); }
static inline f64_v f64_load_tail(const double *p, ptrdiff_t k, double fill) { return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), sl_mask8(k), p); }
static inline void f32_store_tail(float *p, ptrdiff_t k, f32_v a) { _mm512_mask_storeu_ps(p, sl_mask16(k), a); }
static inline void f64_store_tail(double *p, ptrdiff_t k, f64_v a) { _mm512_mask_storeu_pd(p, sl_mask8(k), a); }
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
static inline f32_v f32_select_eq(f32_v a, f32_v b, f32_v x, f32_v y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ), y, x); }
static inline f64_v f64_select_eq(f64_v a, f64_v b, f64_v x, f64_v y) { return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ), y, x); }
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

static inline f32_v f32_fma(f32_v a, f32_v b, f32_v c) { return _mm512_fmadd_ps(a, b, c); }
static inline f64_v f64_fma(f64_v a, f64_v b, f64_v c) { return _mm512_fmadd_pd(a, b, c); }

typedef __m512 f32_table;  /* the 8 entries twice: vpermps looks at 4 bits */
typedef __m512d f64_table; /* the 4 entries twice: vpermpd looks at 3 bits */
static inline f32_table f32_load_table(const uint32_t *p) { return _mm512_castsi512_ps(_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p))); }
static inline f64_table f64_load_table(const uint64_t *p) { return _mm512_castsi512_pd(_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p))); }
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

static inline void f32_widen(f32_v a, f64_v *low, f64_v *high) {
    *low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
    *high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}
static inline f32_v f32_narrow(f64_v low, f64_v high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

static inline void sl_prefetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }
