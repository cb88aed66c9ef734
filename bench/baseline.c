/* baseline.c: softmax of float32 rows without softlane's contract, to show what the contract costs. Three passes: maximum; exp and sum;
   product. Nothing is done about the rounding of x * log2(e) or of the sum, about NaN, or about the same bits on every processor. For
   AVX-512 (F and DQ) or for AVX2 and FMA, as the compiler is told.

   exp(x - max) = 2^u, u = x * log2(e) - max * log2(e). The polynomial is 2^r with a relative error of 2.7 * 2^-24 at most, evaluated in
   float32 over 200,000 points; AVX-512 has 0 <= r < 1, AVX2 |r| <= 1/2. Both were fitted by reweighted least squares with p(0) = 1. */
#include <immintrin.h>
#include <math.h>
#include <stddef.h>

#ifdef __AVX512DQ__
#define V(operation) _mm512_##operation
enum { LANES = 16 };
typedef __m512 vec;
static const float coefficient[] = {0.693151295f, 0.240164444f, 0.0557999127f, 0.00901703071f, 0.00186713005f};

static vec load_part(const float *p, int k) { return _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), (__mmask16)((1u << k) - 1), p); }
static void store_part(float *p, vec v, int k) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << k) - 1), v); }
static float sum_lanes(vec v) { return _mm512_reduce_add_ps(v); }
static float max_lanes(vec v) { return _mm512_reduce_max_ps(v); }
#else
#define V(operation) _mm256_##operation
enum { LANES = 8 };
typedef __m256 vec;
static const float coefficient[] = {0.693147004f, 0.240222424f, 0.0555073358f, 0.00967151299f, 0.00132647273f};

static __m256i first(int k) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(k), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
static vec load_part(const float *p, int k) {
    return _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), _mm256_maskload_ps(p, first(k)), _mm256_castsi256_ps(first(k)));
}
static void store_part(float *p, vec v, int k) { _mm256_maskstore_ps(p, first(k), v); }
static float sum_lanes(vec v) {
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
static float max_lanes(vec v) {
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}
#endif

static inline vec polynomial(vec r) {
    vec p = V(fmadd_ps)(V(set1_ps)(coefficient[4]), r, V(set1_ps)(coefficient[3]));
    for (int i = 2; i >= 0; i--) p = V(fmadd_ps)(p, r, V(set1_ps)(coefficient[i]));
    return V(fmadd_ps)(p, r, V(set1_ps)(1));
}

static inline vec exp2_of(vec u) {
#ifdef __AVX512DQ__
    return _mm512_scalef_ps(polynomial(_mm512_reduce_ps(u, 9)), u); /* 9: r = u - floor(u); -inf gives 0 */
#else
    const vec shift = _mm256_set1_ps(0x1.8p23f + 64); /* 2^(u + 64): the last product alone can be subnormal */
    u = _mm256_max_ps(u, _mm256_set1_ps(-127 - 64));  /* gives 0 */
    const vec shifted = _mm256_add_ps(u, shift), p = polynomial(_mm256_sub_ps(u, _mm256_sub_ps(shifted, shift)));
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
#endif
}

static void softmax_row(const float *x, float *y, ptrdiff_t n) {
    const ptrdiff_t whole = n / LANES * LANES, steps = n / (4 * LANES) * (4 * LANES);
    const int rest = (int)(n - whole);
    const vec log2e = V(set1_ps)(0x1.715476p0f);
    vec m[4], s[2] = {V(setzero_ps)(), V(setzero_ps)()};
    for (int j = 0; j < 4; j++) m[j] = V(set1_ps)(-INFINITY);
    for (ptrdiff_t i = 0; i < steps; i += 4 * LANES)
        for (int j = 0; j < 4; j++) m[j] = V(max_ps)(m[j], V(loadu_ps)(x + i + j * LANES));
    for (ptrdiff_t i = steps; i < whole; i += LANES) m[0] = V(max_ps)(m[0], V(loadu_ps)(x + i));
    if (rest) m[1] = V(max_ps)(m[1], load_part(x + whole, rest));
    const vec minus_max = V(set1_ps)(-0x1.715476p0f * max_lanes(V(max_ps)(V(max_ps)(m[0], m[1]), V(max_ps)(m[2], m[3]))));

    for (ptrdiff_t i = 0; i < steps; i += 4 * LANES)
        for (int j = 0; j < 4; j++) {
            const vec e = exp2_of(V(fmadd_ps)(V(loadu_ps)(x + i + j * LANES), log2e, minus_max));
            V(storeu_ps)(y + i + j * LANES, e);
            s[j % 2] = V(add_ps)(s[j % 2], e); /* registers of AVX2 are few */
        }
    for (ptrdiff_t i = steps; i < whole; i += LANES) {
        const vec e = exp2_of(V(fmadd_ps)(V(loadu_ps)(x + i), log2e, minus_max));
        V(storeu_ps)(y + i, e);
        s[0] = V(add_ps)(s[0], e);
    }
    if (rest) {
        const vec e = exp2_of(V(fmadd_ps)(load_part(x + whole, rest), log2e, minus_max));
        store_part(y + whole, e, rest);
        s[1] = V(add_ps)(s[1], e);
    }
    const vec scale = V(set1_ps)(1 / sum_lanes(V(add_ps)(s[0], s[1])));

    for (ptrdiff_t i = 0; i < steps; i += 4 * LANES)
        for (int j = 0; j < 4; j++) V(storeu_ps)(y + i + j * LANES, V(mul_ps)(V(loadu_ps)(y + i + j * LANES), scale));
    for (ptrdiff_t i = steps; i < whole; i += LANES) V(storeu_ps)(y + i, V(mul_ps)(V(loadu_ps)(y + i), scale));
    if (rest) store_part(y + whole, V(mul_ps)(load_part(y + whole, rest), scale), rest);
}

void softmax_rows(const float *x, float *y, ptrdiff_t rows, ptrdiff_t n) {
    for (ptrdiff_t r = 0; r < rows; r++) softmax_row(x + r * n, y + r * n, n);
}
