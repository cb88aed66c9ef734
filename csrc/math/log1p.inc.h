/* log1p.inc.h: log(1 + z) and log(w). All constants come from csrc/tools/derive_constants.py, which prints their errors too. */
#ifndef SL_LOG1P_INC
#define SL_LOG1P_INC
#include "math/pair.inc.h"

/* log(2^e (1 + f)) + c = high + low for f in [sqrt(1/2) - 1, sqrt(2) - 1), with c small.
   s = f / (2 + f): log(1 + f) = 2 atanh(s) = f - f^2/2 + s * (f^2/2 + s^2 R(s^2)). */
static inline void f64_log_of_parts(f64_v f, f64_v e, f64_v c, f64_v *high, f64_v *low) {
    f64_v s = f64_div(f, f64_add(f64_set1(2.0), f));
    f64_v s2 = f64_mul(s, s);
    f64_v p = f64_fma(s2, f64_set1(0x1.2f0705cbcb74cp-3), f64_set1(0x1.39a1932f1d77ap-3));
    p = f64_fma(p, s2, f64_set1(0x1.7466405c3a0b6p-3));
    p = f64_fma(p, s2, f64_set1(0x1.c71c5202b0cfbp-3));
    p = f64_fma(p, s2, f64_set1(0x1.24924941f8d4ep-2));
    p = f64_fma(p, s2, f64_set1(0x1.999999997fd36p-2));
    p = f64_fma(p, s2, f64_set1(0x1.5555555555592p-1));
    f64_v half = f64_mul(f64_mul(f, f), f64_set1(0.5));
    f64_v tail = f64_fma(s, f64_fma(p, s2, half), f64_fma(e, f64_set1(0x1.473de6af278edp-34), c));
    tail = f64_sub(tail, half);
    f64_v k = f64_mul(e, f64_set1(0x1.62e42fefp-1)); /* exact: 20 trailing zero bits */
    f64_v h = f64_add(k, f);                         /* k is 0 or larger than f */
    tail = f64_add(tail, f64_sub(f, f64_sub(h, k)));
    *high = f64_add(h, tail);
    *low = f64_sub(tail, f64_sub(*high, h));
}

/* log(1 + zh + zl) = high + low for zh >= 0, |zl| <= ulp(zh); high alone is within 0.7 ulp.
   w = 1 + z = m * 2^e, f = m - 1. What the rounding of w loses comes back as the correction c, so that z = 1e-300 gives 1e-300. */
static inline void f64_log1p(f64_v zh, f64_v zl, f64_v *high, f64_v *low) {
    const f64_v one = f64_set1(1.0);
    f64_v lost, w = f64_two_sum(one, zh, &lost);
    lost = f64_add(lost, zl);
    f64_v e, f = f64_sub(f64_split(w, &e), one);
    f64_log_of_parts(f, e, f64_div(lost, w), high, low);
}

/* log(w) + c for finite w >= 0, |c| <= 2^-53; -inf for w = 0, NaN for NaN.
   f64_split takes w >= sqrt(1/2): for smaller ones its exponent is 4096 too large. */
static inline f64_v f64_log(f64_v w, f64_v c) {
    const f64_v smallest = f64_set1(0x1p-1022), zero = f64_set1(0.0);
    const f64_v normal = f64_select_lt(w, smallest, f64_mul(w, f64_set1(0x1p54)), w);
    f64_v e, f = f64_sub(f64_split(normal, &e), f64_set1(1.0)), high, low;
    e = f64_sub(e, f64_select_lt(f64_set1(2047.0), e, f64_set1(4096.0), zero));
    e = f64_sub(e, f64_select_lt(w, smallest, f64_set1(54.0), zero));
    f64_log_of_parts(f, e, c, &high, &low);
    return f64_select_lt(zero, w, high, f64_select_eq(w, zero, f64_set1(-INFINITY), w));
}

#if SL_REAL == 32
/* q(E) of u vectors, in step: log(1 + E) = E + E^2 q(E) for E in [0, 1] of float32, exact to 0.19 u of the logarithm. Terms
   go in pairs, as one chain of ten would be waited for; pairs have one sign, so that nothing cancels. */
SL_INLINE void log1p_polynomial(int u, const f32_v *x, f32_v *p) {
    static const float q[11] = {-0x1.fffffep-2f, 0x1.5554f6p-2f, -0x1.fff028p-3f, 0x1.98f08ap-3f, -0x1.512918p-3f, 0x1.1383fep-3f,
                                -0x1.a08dp-4f,   0x1.084158p-4f, -0x1.f4312ap-6f, 0x1.2e3f36p-7f, -0x1.5638c8p-10f};
    f32_v square[UNROLL], two_terms[UNROLL];
    for (int i = 0; i < u; i++) square[i] = f32_mul(x[i], x[i]);
    for (int i = 0; i < u; i++) p[i] = f32_set1(q[10]);
    for (int k = 8; k >= 0; k -= 2) {
        for (int i = 0; i < u; i++) two_terms[i] = f32_fma(x[i], f32_set1(q[k + 1]), f32_set1(q[k]));
        for (int i = 0; i < u; i++) p[i] = f32_fma(p[i], square[i], two_terms[i]);
    }
}
#endif

#endif
