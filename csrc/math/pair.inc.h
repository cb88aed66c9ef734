/* pair.inc.h: numbers as unevaluated sums high + low. The only TwoSum of the project, for vectors and for
   float64, and sums that keep what they round away. */
#ifndef SL_PAIR_INC
#define SL_PAIR_INC
#include "isa/compute_type.h"

/* a + b rounded; *lost becomes what that rounds away, exactly (Knuth's TwoSum) */
SL_INLINE double two_sum(double a, double b, double *lost) {
    const double s = a + b, v = s - a;
    *lost = (a - (s - v)) + (b - v);
    return s;
}
SL_INLINE f64_v f64_two_sum(f64_v a, f64_v b, f64_v *lost) {
    const f64_v s = f64_add(a, b), v = f64_sub(s, a);
    *lost = f64_add(f64_sub(a, f64_sub(s, v)), f64_sub(b, v));
    return s;
}
SL_INLINE vec v_two_sum(vec a, vec b, vec *lost) {
    const vec s = v_add(a, b), v = v_sub(s, a);
    *lost = v_add(v_sub(a, v_sub(s, v)), v_sub(b, v));
    return s;
}

SL_INLINE f64_v f64_negate(f64_v x) { return f64_sub(f64_set1(0.0), x); }
SL_INLINE vec v_negate(vec x) { return v_sub(v_set1(0), x); }

/* a + b, with *low taking what is rounded away */
SL_INLINE double add_with_low(double a, double b, double *low) {
    double lost;
    const double s = two_sum(a, b, &lost);
    *low += lost;
    return s;
}

/* ---- pairs of vectors ----------------------------------------------------------------------------------------- */

struct pair {
    vec high, low;
};

SL_INLINE struct pair pair_of(vec high) { return (struct pair){high, v_set1(0)}; }
SL_INLINE struct pair pair_zero(void) { return pair_of(v_set1(0)); }

/* a + b: the high parts without loss, the low parts rounded */
SL_INLINE struct pair pair_add(struct pair a, struct pair b) {
    vec lost;
    const vec s = v_two_sum(a.high, b.high, &lost);
    return (struct pair){s, v_add(v_add(a.low, b.low), lost)};
}
/* The same number with high as near to it as can be. |low| may not be above |high|. */
SL_INLINE struct pair pair_renormalize(struct pair a) {
    const vec s = v_add(a.high, a.low);
    return (struct pair){s, v_sub(a.low, v_sub(s, a.high))};
}
SL_INLINE struct pair pair_scale(struct pair a, vec power_of_two) {
    return (struct pair){v_mul(a.high, power_of_two), v_mul(a.low, power_of_two)};
}

/* a * b, less the product of the low parts */
SL_INLINE struct pair pair_multiply(struct pair a, struct pair b) {
    const vec high = v_mul(a.high, b.high), lost = v_fma(a.high, b.high, v_negate(high));
    return (struct pair){high, v_fma(a.high, b.low, v_fma(a.low, b.high, lost))};
}

/* Adds lane j + half to lane j in each group of 2 * half lanes. The sums of a fill the lower half of the result, those of b the upper. */
SL_INLINE struct pair unzip_add(const int half, struct pair a, struct pair b) {
    struct pair even, odd;
    v_unzip(half, a.high, b.high, &even.high, &odd.high);
    v_unzip(half, a.low, b.low, &even.low, &odd.low);
    return pair_add(even, odd);
}
SL_INLINE vec unzip_max(const int half, vec a, vec b) {
    vec even, odd;
    v_unzip(half, a, b, &even, &odd);
    return v_max(even, odd);
}

/* unzip_add and unzip_max of 4, 8 and LANES vectors, down to one. Without a loop, so that few are in registers at a time */
#define SL_REDUCE_TREE(type, step)                                                                                        \
    SL_INLINE type step##_4(const int h, const type *s) { return step(h / 2, step(h, s[0], s[1]), step(h, s[2], s[3])); } \
    SL_INLINE type step##_8(const int h, const type *s) { return step(h / 4, step##_4(h, s), step##_4(h, s + 4)); }       \
    SL_INLINE type step##_lanes(const type *s) { return LANES == 8 ? step##_8(4, s) : step(1, step##_8(8, s), step##_8(8, s + LANES - 8)); }
SL_REDUCE_TREE(struct pair, unzip_add)
SL_REDUCE_TREE(vec, unzip_max)
#undef SL_REDUCE_TREE

/* The sum of the lanes of s[i] in lane i of the result, for count <= LANES. Changes s. */
static struct pair transpose_reduce_add(struct pair s[LANES], int count) {
    if (count == LANES) return pair_renormalize(unzip_add_lanes(s));
    for (int half = LANES / 2; half > 0; half /= 2) {
        if (count % 2) s[count] = pair_zero();
        for (int i = 0; i < count; i += 2) s[i / 2] = unzip_add(half, s[i], s[i + 1]);
        count = (count + 1) / 2;
    }
    return pair_renormalize(s[0]);
}
/* The maximum of the lanes of s[i] in lane i of the result */
static vec transpose_reduce_max(const vec s[LANES], int count) {
    if (count == LANES) return unzip_max_lanes(s);
    if (count == 1) return v_set1(v_reduce_max(s[0]));
    real max[LANES] = {0};
    for (int i = 0; i < count; i++) max[i] = v_reduce_max(s[i]);
    return v_load(max);
}

/* ---- float64 -------------------------------------------------------------------------------------------------- */

/* The compute type to float64 and back, as HALVES vectors of 8 lanes */
SL_INLINE void to_double(vec x, f64_v *d) {
#if SL_REAL == 32
    f32_widen(x, &d[0], &d[1]);
#else
    d[0] = x;
#endif
}
SL_INLINE vec from_double(const f64_v *d) {
#if SL_REAL == 32
    return f32_narrow(d[0], d[1]);
#else
    return d[0];
#endif
}

/* A sum of float64. For float32 that is exact enough; for float64 what it rounds away is kept, unless it is infinite. */
struct exact_sum {
    double sum, low;
};
SL_INLINE void exact_add(struct exact_sum *s, double x) {
#if SL_REAL == 64
    double lost;
    s->sum = two_sum(s->sum, x, &lost);
    if (s->sum - s->sum == 0) s->low += lost;
#else
    s->sum += x;
#endif
}
/* Adds q * (m - x): for float64 with what the difference and the product round away. */
SL_INLINE void exact_add_product(struct exact_sum *s, double q, double m, double x) {
#if SL_REAL == 64
    double rest;
    const double d = two_sum(m, -x, &rest), product = q * d, lost = fma(q, d, -product) + q * rest;
    exact_add(s, product);
    if (lost - lost == 0) s->low += lost;
#else
    exact_add(s, q * (m - x));
#endif
}

/* A sum of products p * w, as if in twice the precision */
struct dot_sum {
    f64_v high[HALVES], low[HALVES];
};
SL_INLINE struct dot_sum dot_zero(void) {
    struct dot_sum d;
    for (int i = 0; i < HALVES; i++) d.high[i] = d.low[i] = f64_set1(0.0);
    return d;
}
SL_INLINE void dot_add_doubles(struct dot_sum *d, const f64_v *a, const f64_v *b) {
    for (int i = 0; i < HALVES; i++) {
#if SL_REAL == 32
        d->high[i] = f64_fma(a[i], b[i], d->high[i]); /* products of float32 are exact */
#else
        f64_v lost;
        const f64_v product = f64_mul(a[i], b[i]), rest = f64_fma(a[i], b[i], f64_negate(product));
        d->high[i] = f64_two_sum(d->high[i], product, &lost);
        d->low[i] = f64_add(f64_add(d->low[i], rest), lost);
#endif
    }
}
SL_INLINE void dot_add_product(struct dot_sum *d, vec p, vec w) {
    f64_v a[HALVES], b[HALVES];
    to_double(p, a);
    to_double(w, b);
    dot_add_doubles(d, a, b);
}
/* The same with one factor for all lanes */
SL_INLINE void dot_add_multiple(struct dot_sum *d, vec p, real w) {
    f64_v a[HALVES], b[HALVES];
    to_double(p, a);
    for (int i = 0; i < HALVES; i++) b[i] = f64_set1((double)w);
    dot_add_doubles(d, a, b);
}
SL_INLINE void dot_add_low(struct dot_sum *d, vec low) {
    f64_v part[HALVES];
    to_double(low, part);
    for (int i = 0; i < HALVES; i++) d->low[i] = f64_add(d->low[i], part[i]);
}
static double dot_total(const struct dot_sum *d, double *low_sum) {
    double high[LANES], low[LANES], sum = 0;
    for (int i = 0; i < HALVES; i++) {
        f64_store(high + 8 * i, d->high[i]);
        f64_store(low + 8 * i, d->low[i]);
    }
    for (int i = 0; i < LANES; i++) {
        sum = add_with_low(sum, high[i], low_sum);
        *low_sum += low[i];
    }
    return sum;
}

#endif
