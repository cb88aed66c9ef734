/* exp.inc.h: exp of vectors, up to a factor that a row shares, and sums of it as pairs high + low.

exp is never needed on its own, only up to a factor that all elements of a row share. So a row has an integer
   K near max * log2(e), and its elements are e(x) = F * 2^(B - K) * exp(x): F makes the table accurate, B keeps
   everything a normal number. The factor cancels in every result.

     t = x * (J / ln2) + magic     rounds to the integer k = t - magic; magic = 1.5 * 2^23 + J * (B - K)
     r = x - k * ln2/J             in two steps: the first is exact, the second rounds by 0.03 u (0.07 u)
     T = table[k mod J] * 2^(k div J)
     e = T + T * p,  p = r + r^2 q(r) = exp(r) - 1

   T and p are exact to 0.15 u (0.25 u) of e together; e rounds once more, and sums can use T and p instead. */
#ifndef SL_EXP_INC
#define SL_EXP_INC
#include "math/convert.inc.h"

/* ---- exp and sums ----------------------------------------------------------------------------------------- */

typedef struct {
    vec high, low;
} pair;

/* Temperatures T of rows, one per lane: what takes the place of the constants of exp, so that it is exp(x / T). All of it is
   in units of x, and no step more than without: r is T times as large, and the polynomial's terms make up for it. */
typedef struct {
    vec j_log2e, ln2_hi, ln2_lo, term[EXP_TERMS];
    vec t, high, low; /* T; 1 / T as a pair, both > 0, so that -inf times either is -inf */
    double exact[LANES];
} temperature_params;

static const temperature_params *load_temperature(const sl_job *job, ptrdiff_t row, ptrdiff_t rows, temperature_params *h) {
    if (!job->temperature) return NULL;
    if (job->temperature_step && rows >= LANES) memcpy(h->exact, job->temperature + row, sizeof h->exact);
    else
        for (ptrdiff_t i = 0; i < LANES; i++) h->exact[i] = job->temperature[job->temperature_step * (row + (i < rows ? i : rows - 1))];
    const f64_v below = f64_set1(SL_REAL == 32 ? 1 - 0x1p-23 : 1 - 0x1p-51);
    f64_v t[HALVES], inverse[HALVES], part[HALVES], rest[HALVES];
    for (int i = 0; i < HALVES; i++) {
        t[i] = f64_load(h->exact + 8 * i);
        inverse[i] = f64_div(f64_set1(1.0), t[i]);
        part[i] = f64_mul(inverse[i], f64_set1(TABLE_SIZE / 0x1.62e42fefa39efp-1));
    }
    h->t = from_double(t);
    h->j_log2e = from_double(part);
    for (int i = 0; i < HALVES; i++) part[i] = f64_mul(t[i], f64_set1(0x1.62e42fefa39efp-1 / TABLE_SIZE));
    h->ln2_hi = from_double(part);
    to_double(h->ln2_hi, rest);
    for (int i = 0; i < HALVES; i++) /* T ln2 / J without the high part; ln2 to twice the precision */
        rest[i] = f64_fma(t[i], f64_set1(0x1.abc9e3b39803fp-56 / TABLE_SIZE),
                          f64_fma(t[i], f64_set1(0x1.62e42fefa39efp-1 / TABLE_SIZE), f64_sub(f64_set1(0.0), rest[i])));
    h->ln2_lo = from_double(rest);
    for (int i = 0; i < HALVES; i++) part[i] = f64_mul(inverse[i], below);
    h->high = from_double(part);
    to_double(h->high, rest);
    for (int i = 0; i < HALVES; i++) rest[i] = f64_mul(f64_fma(f64_sub(f64_set1(0.0), rest[i]), t[i], f64_set1(1.0)), inverse[i]);
    h->low = from_double(rest);
    for (int i = 0; i < HALVES; i++) rest[i] = f64_set1(1.0);
    for (int k = 0; k < EXP_TERMS; k++) {
        for (int i = 0; i < HALVES; i++) {
            rest[i] = f64_mul(rest[i], inverse[i]);
            part[i] = f64_mul(rest[i], f64_set1(exp_terms[k]));
        }
        h->term[k] = from_double(part);
    }
    return h;
}

/* The one temperature of all rows; NULL where there is none, or more */
static const temperature_params *load_shared_temperature(const sl_job *job, temperature_params *h) {
    return job->temperature_step ? NULL : load_temperature(job, 0, 1, h);
}

/* The same for one of the rows, in all lanes */
SL_INLINE vec v_lane(vec x, int lane) {
    R a[LANES];
    v_store(a, x);
    return v_set1(a[lane]);
}
static const temperature_params *temperature_of_row(const temperature_params *rows, int lane, temperature_params *h) {
    if (!rows) return NULL;
    h->j_log2e = v_lane(rows->j_log2e, lane);
    h->ln2_hi = v_lane(rows->ln2_hi, lane);
    h->ln2_lo = v_lane(rows->ln2_lo, lane);
    for (int k = 0; k < EXP_TERMS; k++) h->term[k] = v_lane(rows->term[k], lane);
    h->t = v_lane(rows->t, lane);
    h->high = v_lane(rows->high, lane);
    h->low = v_lane(rows->low, lane);
    for (int i = 0; i < LANES; i++) h->exact[i] = rows->exact[lane];
    return h;
}

/* What turns the maximum m of a row into its e(x). A row far from zero is shifted by m first: x - m is then exact
   for every x that matters. Near zero x itself is used, as x - m would round away up to 4 ulp of the result. */
typedef struct {
    vec max, shift, reduced, k, magic, clamp;
    const temperature_params *heat; /* NULL where T is 1 */
    int shifted;
} exp_params;

/* a multiple of T */
SL_INLINE vec times_temperature(R a, const temperature_params *heat) { return heat ? v_mul(heat->t, v_set1(a)) : v_set1(a); }

static vec shift_of_far_rows(vec m, vec from) { /* m where it is finite and far from zero, else 0 */
    R a[LANES], far[LANES];
    v_store(a, m);
    v_store(far, from);
    for (int i = 0; i < LANES; i++) a[i] = isfinite(a[i]) && (a[i] > far[i] || -a[i] > far[i]) ? a[i] : 0;
    return v_load(a);
}
SL_INLINE exp_params exp_params_for_max(vec m, const temperature_params *heat, int may_shift) {
    exp_params p;
    const vec far = times_temperature(SHIFT_FROM, heat);
    p.heat = heat;
    p.max = p.reduced = m;
    p.shift = v_set1(0);
    p.shifted = may_shift && v_any_lt(far, v_max(m, v_sub(p.shift, m)));
    if (p.shifted) {
        p.shift = shift_of_far_rows(m, far);
        p.reduced = v_sub(m, p.shift);
    }
    const vec log2e = heat ? v_mul(heat->j_log2e, v_set1((R)1 / TABLE_SIZE)) : v_set1(LOG2E);
    p.k = v_sub(v_fma(p.reduced, log2e, v_set1(ROUND_MAGIC)), v_set1(ROUND_MAGIC));
    p.magic = v_fma(p.k, v_set1(-TABLE_SIZE), v_set1(ROUND_MAGIC + TABLE_SIZE * EXP_BIAS));
    p.clamp = v_sub(p.reduced, times_temperature(EXP_CLAMP, heat));
    return p;
}

/* a + b, whatever that rounds away going to *lost */
SL_INLINE double sl_add(double a, double b, double *lost) {
    const double s = a + b, v = s - a;
    *lost += (a - (s - v)) + (b - v);
    return s;
}

/* p(r) of u vectors, in step */
#if SL_REAL == 32
SL_INLINE void exp_polynomial(int u, const vec *r, vec *p) {
    for (int i = 0; i < u; i++) p[i] = v_fma(r[i], v_set1(exp_terms[3]), v_set1(exp_terms[2]));
    for (int i = 0; i < u; i++) p[i] = v_fma(p[i], r[i], v_set1(exp_terms[1]));
    for (int i = 0; i < u; i++) p[i] = v_fma(p[i], v_mul(r[i], r[i]), r[i]);
}
#else
SL_INLINE void exp_polynomial(int u, const vec *r, vec *p) {
    for (int i = 0; i < u; i++) p[i] = v_fma(r[i], v_set1(exp_terms[7]), v_set1(exp_terms[6]));
    for (int k = 5; k > 0; k--)
        for (int i = 0; i < u; i++) p[i] = v_fma(p[i], r[i], v_set1(exp_terms[k]));
    for (int i = 0; i < u; i++) p[i] = v_fma(p[i], v_mul(r[i], r[i]), r[i]);
}
#endif

/* e(x) = T + T * p of u vectors. They go through every step together: one vector alone is a chain of some 50 cycles,
   and more of those than a processor's schedulers hold would have to overlap. A NaN comes through: max returns its
   second argument where the two do not compare. */
SL_INLINE void exp_parts(int u, const vec *x, const vec *magic, const vec *clamp, const temperature_params *heat, v_table table, vec *T,
                         vec *p) {
    vec r[UNROLL], k[UNROLL];
    for (int i = 0; i < u; i++) r[i] = v_max(*clamp, x[i]);
    if (heat) {
        for (int i = 0; i < u; i++) T[i] = v_fma(r[i], heat->j_log2e, *magic);
        for (int i = 0; i < u; i++) k[i] = v_sub(*magic, T[i]);
        for (int i = 0; i < u; i++) r[i] = v_fma(k[i], heat->ln2_hi, r[i]);
        for (int i = 0; i < u; i++) r[i] = v_fma(k[i], heat->ln2_lo, r[i]);
        for (int i = 0; i < u; i++) T[i] = v_pow2(table, T[i]);
        for (int i = 0; i < u; i++) p[i] = heat->term[EXP_TERMS - 1];
        for (int j = EXP_TERMS - 2; j >= 0; j--)
            for (int i = 0; i < u; i++) p[i] = v_fma(p[i], r[i], heat->term[j]);
        for (int i = 0; i < u; i++) p[i] = v_mul(p[i], r[i]);
        return;
    }
    for (int i = 0; i < u; i++) T[i] = v_fma(r[i], v_set1(STEPS_PER_UNIT), *magic);
    for (int i = 0; i < u; i++) k[i] = v_sub(T[i], *magic);
    for (int i = 0; i < u; i++) r[i] = v_fma(k[i], v_set1(-STEP_HIGH), r[i]);
    for (int i = 0; i < u; i++) r[i] = v_fma(k[i], v_set1(-STEP_LOW), r[i]);
    for (int i = 0; i < u; i++) T[i] = v_pow2(table, T[i]);
    exp_polynomial(u, r, p);
}

/* Adds e(x) of u vectors to the sum, in their order, and returns e rounded. sum.high starts at SUM_ANCHOR, above every e,
   so that (high + e) - high is exact and the part of e that high could not take is known; that part goes to sum.low,
   from T and p, so that the rounding of e itself does not enter the sum. */
SL_INLINE void add_exp(int u, const vec *x, const vec *magic, const vec *clamp, const temperature_params *heat, v_table table, pair *sum,
                       vec *e) {
    vec T[UNROLL], p[UNROLL], taken[UNROLL], high = sum->high;
    exp_parts(u, x, magic, clamp, heat, table, T, p);
    for (int i = 0; i < u; i++) e[i] = v_fma(T[i], p[i], T[i]);
    for (int i = 0; i < u; i++) {
        vec next = v_add(high, e[i]);
        taken[i] = v_sub(next, high);
        high = next;
    }
    for (int i = 0; i < u; i++) taken[i] = v_fma(T[i], p[i], v_sub(T[i], taken[i]));
    for (int i = 0; i < u; i++) sum->low = v_add(sum->low, taken[i]);
    sum->high = high;
}

SL_INLINE pair sum_begin(vec ceiling) { return (pair){ceiling, v_set1(0)}; }
SL_INLINE pair sum_end(pair s, vec ceiling) { /* exact */
    s.high = v_sub(s.high, ceiling);
    return s;
}

/* SUM_ANCHOR for a part of a long row whose own maximum is m: lower than that of the row by a power of two, so that parts
   far below the row's maximum are added up as exactly as the part that has it. There may be very many of them. */
static R sum_anchor_of_part(R m, R k, const temperature_params *heat) {
    R log2e = LOG2E;
    if (heat) log2e = (R)(0x1.71547652b82fep+0 / heat->exact[0]);
    R below = (R)(fma(m, log2e, ROUND_MAGIC) - ROUND_MAGIC) - k;
    if (!(below > -EXP_DEPTH)) below = -EXP_DEPTH;
    return (R)ldexp(SUM_ANCHOR, (int)below);
}

/* a + b without loss: b may be larger than a (two_sum), or may not (fast_two_sum). */
SL_INLINE pair pair_add(pair a, pair b) {
    vec s = v_add(a.high, b.high), v = v_sub(s, a.high);
    vec lost = v_add(v_sub(a.high, v_sub(s, v)), v_sub(b.high, v));
    return (pair){s, v_add(v_add(a.low, b.low), lost)};
}
SL_INLINE pair pair_renormalize(pair a) {
    vec s = v_add(a.high, a.low);
    return (pair){s, v_sub(a.low, v_sub(s, a.high))};
}

/* One step on the way from the lanes of rows to their sums: the halves of every row are added, two vectors become one. */
SL_INLINE int transpose_reduce_step(const int half, pair s[LANES], int count) {
    if (count % 2) s[count] = (pair){v_set1(0), v_set1(0)};
    for (int i = 0; i < count; i += 2) {
        pair even, odd;
        v_unzip(half, s[i].high, s[i + 1].high, &even.high, &odd.high);
        v_unzip(half, s[i].low, s[i + 1].low, &even.low, &odd.low);
        s[i / 2] = pair_add(even, odd);
    }
    return (count + 1) / 2;
}
/* The lanes of s[i] added up in lane i of the result, for count <= LANES rows. Each step adds lane j to lane j + half. */
static pair transpose_reduce_add(pair s[LANES], int count) {
#if SL_REAL == 32
    count = transpose_reduce_step(8, s, count);
#endif
    count = transpose_reduce_step(4, s, count);
    count = transpose_reduce_step(2, s, count);
    transpose_reduce_step(1, s, count);
    return pair_renormalize(s[0]);
}

/* e(max) as a pair */
SL_INLINE pair exp_of_max(const exp_params *p) {
    vec T, q;
    exp_parts(1, &p->reduced, &p->magic, &p->clamp, p->heat, v_load_table(exp_table), &T, &q);
    vec e = v_fma(T, q, T);
    return (pair){e, v_fma(T, q, v_sub(T, e))};
}

#endif
