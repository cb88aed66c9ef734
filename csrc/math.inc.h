/* math.inc.h: approximate. exp and log1p of one vector, over the operations of vec_<isa>.h.

   All constants come from csrc/tools/derive_constants.py, which prints their errors too.
   u is the unit roundoff, 2^-24 for float32 and 2^-53 for float64.

   exp is never needed on its own, only up to a factor that all elements of a row share. So a row has an integer
   K near max * log2(e), and its elements are e(x) = F * 2^(B - K) * exp(x): F makes the table accurate, B keeps
   everything a normal number. The factor cancels in every result.

     t = x * (J / ln2) + magic     rounds to the integer k = t - magic; magic = 1.5 * 2^23 + J * (B - K)
     r = x - k * ln2/J             in two steps: the first is exact, the second rounds by 0.03 u (0.07 u)
     T = table[k mod J] * 2^(k div J)
     e = T + T * p,  p = r + r^2 q(r) = exp(r) - 1

   T and p are exact to 0.15 u (0.25 u) of e together; e rounds once more, and sums can use T and p instead. */

/* J = 8; |r| <= 0.0435; x within 4300 of zero, so |k| < 2^16 and k * ln2_lo is exact enough.
   The polynomial's error is 0.004 u, the table's 0.05 u. */
#define F32_J 8
#define F32_TERMS 4
#define F32_J_LOG2E 0x1.715476p+3f
#define F32_LOG2E 0x1.715476p+0f
#define F32_LN2_HI 0x1.62e43p-4f
#define F32_LN2_LO -0x1.05c61p-32f
#define F32_ROUND 0x1.8p+23f
#define F32_BIAS 80          /* B: from exp(max - 139) = 2^-200 up to a sum of 2^31 terms, all is normal */
#define F32_DEPTH 200        /* powers of two from e(max) down to the clamp */
#define F32_CLAMP 139.0f     /* below max - 139 a term is less than 2^-50 of the smallest subnormal */
#define F32_CEILING 0x1p+82f /* above every e: F * 2^(B + 1/2 + 1/16) < 2^(B + 2) */
#define F32_SHIFT_FROM 4096.0f
#define F32_SIGMOID_BIAS -40
#define F32_SIGMOID_ZERO -104.0f /* sigmoid is less than half the smallest subnormal, 2^-150 */
#define F32_TINY 0x1p-25f        /* half an ulp of a number just below 1 */
#define F32_UNIT 0x1p-24
#define F32_MANY 181       /* (n + 2)^2 8 u is 1/64 */
#define F32_GONE 0x1p-100f /* times 2^-51: a quarter of the smallest number, which no number of R is */
#define F32_GONE_REST 0x1p-51f
#define F32_EXACT_TO (1 << 24) /* classes that have a number */

/* J = 4; |r| <= 0.0870; x within 2^17 of zero. The polynomial's error is 0.05 u, the table's 0.004 u. */
#define F64_J 4
#define F64_TERMS 8
#define F64_J_LOG2E 0x1.71547652b82fep+2
#define F64_LOG2E 0x1.71547652b82fep+0
#define F64_LN2_HI 0x1.62e42fefa39efp-3
#define F64_LN2_LO 0x1.abc9e3b39803fp-58
#define F64_ROUND 0x1.8p+52
#define F64_BIAS 160
#define F64_DEPTH 1139
#define F64_CLAMP 790.0 /* exp(-790) = 2^-1139: 2^-65 of the smallest subnormal */
#define F64_CEILING 0x1p+162
#define F64_SHIFT_FROM 65536.0
#define F64_SIGMOID_BIAS -100
#define F64_SIGMOID_ZERO -746.0
#define F64_TINY 0x1p-54
#define F64_UNIT 0x1p-53
#define F64_MANY 4194304
#define F64_GONE 0x1p-1000 /* times 2^-76 */
#define F64_GONE_REST 0x1p-76
#define F64_EXACT_TO ((ptrdiff_t)1 << 53)

/* The bits of F * 2^(j/J), less j << (mantissa bits - log2 J): the operation pow2 adds the whole k, j included. */
static const uint32_t sl_f32_table[8] = {
    0x3fa59202u,              /* 0x1.4b2404p+0 */
    0x3fb48e45u - (1u << 20), /* 0x1.691c8ap+0 */
    0x3fc4e5beu - (2u << 20), /* 0x1.89cb7cp+0 */
    0x3fd6b7dau - (3u << 20), /* 0x1.ad6fb4p+0 */
    0x3fea26deu - (4u << 20), /* 0x1.d44dbcp+0 */
    0x3fff5829u - (5u << 20), /* 0x1.feb052p+0 */
    0x400b3a3eu - (6u << 20), /* 0x1.16747cp+1 */
    0x4017d424u - (7u << 20), /* 0x1.2fa848p+1 */
};
static const uint64_t sl_f64_table[4] = {
    0x3ff22c40bbb22be7u,                       /* 0x1.22c40bbb22be7p+0 */
    0x3ff59c7e0141ba8du - ((uint64_t)1 << 50), /* 0x1.59c7e0141ba8dp+0 */
    0x3ff9b34772d3cf6eu - ((uint64_t)2 << 50), /* 0x1.9b34772d3cf6ep+0 */
    0x3ffe90202194bc6au - ((uint64_t)3 << 50), /* 0x1.e90202194bc6ap+0 */
};

/* exp(r) - 1 = r + r^2 / 2 + ...: the polynomials' terms from r on */
static const float sl_f32_exp[4] = {1.0f, 0.5f, 0x1.555c84p-3f, 0x1.554828p-5f};
static const double sl_f64_exp[8] = {1.0,
                                     0x1.0000000000006p-1,
                                     0x1.5555555557f63p-3,
                                     0x1.555555554144dp-5,
                                     0x1.1111109fcc309p-7,
                                     0x1.6c16c38a71addp-10,
                                     0x1.a030f4131a076p-13,
                                     0x1.a0007f611fc2ep-16};

/* p(r) of u vectors, in step */
SL_INLINE void f32_exp_polynomial(int u, const f32_v *r, f32_v *p) {
    for (int i = 0; i < u; i++) p[i] = f32_fma(r[i], f32_set1(sl_f32_exp[3]), f32_set1(sl_f32_exp[2]));
    for (int i = 0; i < u; i++) p[i] = f32_fma(p[i], r[i], f32_set1(sl_f32_exp[1]));
    for (int i = 0; i < u; i++) p[i] = f32_fma(p[i], f32_mul(r[i], r[i]), r[i]);
}
SL_INLINE void f64_exp_polynomial(int u, const f64_v *r, f64_v *p) {
    for (int i = 0; i < u; i++) p[i] = f64_fma(r[i], f64_set1(sl_f64_exp[7]), f64_set1(sl_f64_exp[6]));
    for (int k = 5; k > 0; k--)
        for (int i = 0; i < u; i++) p[i] = f64_fma(p[i], r[i], f64_set1(sl_f64_exp[k]));
    for (int i = 0; i < u; i++) p[i] = f64_fma(p[i], f64_mul(r[i], r[i]), r[i]);
}

/* log(1 + zh + zl) = high + low for zh >= 0, |zl| <= ulp(zh); high alone is within 0.7 ulp.
   w = 1 + z = m * 2^e, f = m - 1, s = f / (2 + f): log(m) = 2 atanh(s) = f - f^2/2 + s * (f^2/2 + s^2 R(s^2)).
   What the rounding of w loses comes back as the correction c, so that z = 1e-300 gives 1e-300. */
static inline void sl_log1p(f64_v zh, f64_v zl, f64_v *high, f64_v *low) {
    const f64_v one = f64_set1(1.0);
    f64_v w = f64_add(one, zh), v = f64_sub(w, one);
    f64_v lost = f64_add(f64_add(f64_sub(one, f64_sub(w, v)), f64_sub(zh, v)), zl);
    f64_v e, f = f64_sub(f64_split(w, &e), one);
    f64_v c = f64_div(lost, w);
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

/* q(E) of u vectors, in step: log(1 + E) = E + E^2 q(E) for E in [0, 1] of float32, exact to 0.19 u of the logarithm. Terms
   go in pairs, as one chain of ten would be waited for; pairs have one sign, so that nothing cancels. */
SL_INLINE void sl_log1p_polynomial(int u, const f32_v *x, f32_v *p) {
    static const float q[11] = {-0x1.fffffep-2f, 0x1.5554f6p-2f, -0x1.fff028p-3f, 0x1.98f08ap-3f, -0x1.512918p-3f, 0x1.1383fep-3f,
                                -0x1.a08dp-4f,   0x1.084158p-4f, -0x1.f4312ap-6f, 0x1.2e3f36p-7f, -0x1.5638c8p-10f};
    f32_v square[UNROLL], pair[UNROLL];
    for (int i = 0; i < u; i++) square[i] = f32_mul(x[i], x[i]);
    for (int i = 0; i < u; i++) p[i] = f32_set1(q[10]);
    for (int k = 8; k >= 0; k -= 2) {
        for (int i = 0; i < u; i++) pair[i] = f32_fma(x[i], f32_set1(q[k + 1]), f32_set1(q[k]));
        for (int i = 0; i < u; i++) p[i] = f32_fma(p[i], square[i], pair[i]);
    }
}
