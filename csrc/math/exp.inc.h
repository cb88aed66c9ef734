/* exp.inc.h: exp of vectors, up to a factor that a row shares, and sums of it as pairs high + low.

   exp is never needed on its own, only up to a factor that all elements of a row share. So a row has an integer
   K near max * log2(e), and its elements are e(x) = F * 2^(B - K) * exp(x): F makes the table accurate, B keeps
   everything a normal number. The factor cancels in every result.

     1. t = x * (J / ln2) + round_magic   rounds to the integer k = t - round_magic; round_magic = 1.5 * 2^23 + J * (B - K)
     2. r = x - k * ln2/J                 in two steps: the first is exact, the second rounds by 0.03 u (float64: 0.07 u)
     3. T = table[k mod J] * 2^(k div J)
     4. e = T + T * p,  p = r + r^2 q(r) = exp(r) - 1

   u is the unit roundoff, 2^-24 for float32 and 2^-53 for float64. J is TABLE_SIZE, B is EXP_BIAS. T and p are exact to 0.15 u
   (0.25 u) of e together; e rounds once more, and sums use T and p instead. All constants come from
   csrc/tools/derive_constants.py, which prints their errors too. */
#ifndef SL_EXP_INC
#define SL_EXP_INC
#include "math/convert.inc.h"
#include "math/pair.inc.h"

/* ---- temperatures --------------------------------------------------------------------------------------------- */

/* The constants of exp for one temperature T per lane, divided beforehand, so that exp(x / T) costs the same steps as exp(x).
   All of it is in units of x: r is T times as large, and the polynomial's terms make up for it. */
struct temperature_params {
    vec steps_per_unit, step_high, step_low, term[EXP_TERMS];
    vec t, twice_inverse_high, twice_inverse_low; /* T; 2 / T as a pair, both > 0, so that -inf times either is -inf */
    double exact[LANES];
};

#define LN2 0x1.62e42fefa39efp-1
#define LN2_REST 0x1.abc9e3b39803fp-56 /* ln2 - LN2 */

/* The terms of exp(r / T) - 1: those of exp(r) - 1 times T^-1, T^-2, ... */
static void scale_exp_terms(struct temperature_params *h, const f64_v *inverse) {
    f64_v power[HALVES], part[HALVES];
    for (int i = 0; i < HALVES; i++) power[i] = f64_set1(1.0);
    for (int k = 0; k < EXP_TERMS; k++) {
        for (int i = 0; i < HALVES; i++) {
            power[i] = f64_mul(power[i], inverse[i]);
            part[i] = f64_mul(power[i], f64_set1(exp_terms[k]));
        }
        h->term[k] = from_double(part);
    }
}

/* The temperatures of `rows` rows from number row on; NULL where they are 1. Lanes without a row get that of the last one. */
static const struct temperature_params *load_temperature(const sl_job *job, ptrdiff_t row, ptrdiff_t rows, struct temperature_params *h) {
    if (!job->temperature) return NULL;
    if (job->temperature_step && rows >= LANES) memcpy(h->exact, job->temperature + row, sizeof h->exact);
    else
        for (ptrdiff_t i = 0; i < LANES; i++) h->exact[i] = job->temperature[job->temperature_step * (row + (i < rows ? i : rows - 1))];
    const f64_v below_1 = f64_set1(SL_REAL == 32 ? 1 - 0x1p-23 : 1 - 0x1p-51);
    f64_v t[HALVES], inverse[HALVES], part[HALVES], rest[HALVES];
    for (int i = 0; i < HALVES; i++) {
        t[i] = f64_load(h->exact + 8 * i);
        inverse[i] = f64_div(f64_set1(1.0), t[i]);
        part[i] = f64_mul(inverse[i], f64_set1(TABLE_SIZE / LN2));
    }
    h->t = from_double(t);
    h->steps_per_unit = from_double(part);
    for (int i = 0; i < HALVES; i++) part[i] = f64_mul(t[i], f64_set1(LN2 / TABLE_SIZE));
    h->step_high = from_double(part);
    to_double(h->step_high, rest);
    for (int i = 0; i < HALVES; i++) /* T ln2 / J less step_high, with ln2 to twice the precision */
        rest[i] = f64_fma(t[i], f64_set1(LN2_REST / TABLE_SIZE), f64_fma(t[i], f64_set1(LN2 / TABLE_SIZE), f64_negate(rest[i])));
    h->step_low = from_double(rest);
    for (int i = 0; i < HALVES; i++) part[i] = f64_mul(inverse[i], below_1);
    h->twice_inverse_high = v_mul(from_double(part), v_set1(2));
    to_double(from_double(part), rest);
    for (int i = 0; i < HALVES; i++) rest[i] = f64_mul(f64_fma(f64_negate(rest[i]), t[i], f64_set1(1.0)), inverse[i]);
    h->twice_inverse_low = v_mul(from_double(rest), v_set1(2));
    scale_exp_terms(h, inverse);
    return h;
}

/* The one temperature of all rows; NULL where there is none, or more */
static const struct temperature_params *load_shared_temperature(const sl_job *job, struct temperature_params *h) {
    return job->temperature_step ? NULL : load_temperature(job, 0, 1, h);
}

/* The temperature of one of the rows, in all lanes */
SL_INLINE vec v_lane(vec x, int lane) {
    real a[LANES];
    v_store(a, x);
    return v_set1(a[lane]);
}
static const struct temperature_params *temperature_of_row(const struct temperature_params *rows, int lane, struct temperature_params *h) {
    if (!rows) return NULL;
    h->steps_per_unit = v_lane(rows->steps_per_unit, lane);
    h->step_high = v_lane(rows->step_high, lane);
    h->step_low = v_lane(rows->step_low, lane);
    for (int k = 0; k < EXP_TERMS; k++) h->term[k] = v_lane(rows->term[k], lane);
    h->t = v_lane(rows->t, lane);
    h->twice_inverse_high = v_lane(rows->twice_inverse_high, lane);
    h->twice_inverse_low = v_lane(rows->twice_inverse_low, lane);
    for (int i = 0; i < LANES; i++) h->exact[i] = rows->exact[lane];
    return h;
}

SL_INLINE vec times_temperature(real a, const struct temperature_params *temperature) {
    return temperature ? v_mul(temperature->t, v_set1(a)) : v_set1(a);
}

/* ---- range reduction of a row --------------------------------------------------------------------------------- */

/* What turns the maximum of a row, one per lane, into its e(x). A row far from zero is shifted by its maximum first: the difference
   is then exact for every x that matters. Near zero x itself is used, as x - max would round away up to 4 ulp of the result. */
struct exp_params {
    vec max, shift, reduced;                      /* reduced = max - shift */
    vec k, round_magic, lower_bound;              /* of x - shift; lower_bound keeps e a normal number */
    const struct temperature_params *temperature; /* NULL where T is 1 */
    int shifted;
};

/* max where it is finite and far from zero, else 0 */
static vec shift_of_far_rows(vec max, vec far) {
    real a[LANES], limit[LANES];
    v_store(a, max);
    v_store(limit, far);
    for (int i = 0; i < LANES; i++) a[i] = isfinite(a[i]) && (a[i] > limit[i] || -a[i] > limit[i]) ? a[i] : 0;
    return v_load(a);
}

SL_INLINE void reduce_range(struct exp_params *p) {
    const vec log2e = p->temperature ? v_mul(p->temperature->steps_per_unit, v_set1((real)1 / TABLE_SIZE)) : v_set1(LOG2E);
    p->k = v_sub(v_fma(p->reduced, log2e, v_set1(ROUND_MAGIC)), v_set1(ROUND_MAGIC));
    p->round_magic = v_fma(p->k, v_set1(-TABLE_SIZE), v_set1(ROUND_MAGIC + TABLE_SIZE * EXP_BIAS));
    p->lower_bound = v_sub(p->reduced, times_temperature(EXP_CLAMP, p->temperature));
}

SL_INLINE struct exp_params exp_params_for_max(vec max, const struct temperature_params *temperature) {
    struct exp_params p;
    const vec far = times_temperature(SHIFT_FROM, temperature);
    p.temperature = temperature;
    p.max = p.reduced = max;
    p.shift = v_set1(0);
    p.shifted = v_any_lt(far, v_max(max, v_negate(max)));
    if (p.shifted) {
        p.shift = shift_of_far_rows(max, far);
        p.reduced = v_sub(max, p.shift);
    }
    reduce_range(&p);
    return p;
}

/* For a block of a long row, from the block's maximum and the row's shift. A block far below zero, in a row that is not, keeps to
   what the range reduction can stand. */
SL_INLINE struct exp_params exp_params_of_block(vec max, vec shift, const struct temperature_params *temperature) {
    struct exp_params p;
    p.temperature = temperature;
    p.shift = shift;
    p.shifted = v_any_lt(v_set1(0), v_max(shift, v_negate(shift)));
    p.max = p.reduced = v_max(v_sub(max, shift), times_temperature(-SHIFT_FROM, temperature));
    reduce_range(&p);
    return p;
}

/* 2^(k of a block - k of its row): 0 where nothing of the block is left in the result, or where these are not finite */
SL_INLINE vec block_scale(vec block_k, vec row_k, int rows) {
    real d[LANES];
    v_store(d, v_sub(block_k, row_k));
    for (int i = 0; i < rows; i++) d[i] = d[i] >= -EXP_DEPTH && d[i] <= EXP_DEPTH ? (real)ldexp(1.0, (int)d[i]) : 0;
    return v_load(d);
}

/* ---- exp of vectors ------------------------------------------------------------------------------------------- */

/* p(r) of u vectors, in step */
SL_INLINE void exp_polynomial(int u, const vec *r, vec *p) {
    const vec last = v_constant(exp_terms[EXP_TERMS - 1]);
    for (int i = 0; i < u; i++) p[i] = last;
    for (int k = EXP_TERMS - 2; k > 0; k--) {
        const vec term = v_constant(exp_terms[k]);
        for (int i = 0; i < u; i++) p[i] = v_fma(p[i], r[i], term);
    }
    for (int i = 0; i < u; i++) p[i] = v_fma(p[i], v_mul(r[i], r[i]), r[i]);
}

/* What exp_parts needs, in registers */
struct exp_constants {
    vec round_magic, lower_bound;
    v_table table;
    const struct temperature_params *temperature;
};
SL_INLINE struct exp_constants exp_constants_of(const struct exp_params *p) {
    return (struct exp_constants){p->round_magic, p->lower_bound, v_load_table(exp_table), p->temperature};
}

/* Steps 1 and 2, without a temperature: r has x and becomes the rest, T becomes t */
SL_INLINE void exp_reduce(int u, vec round_magic, vec *T, vec *r) {
    vec k[UNROLL];
    const vec steps_per_unit = v_constant(STEPS_PER_UNIT), step_high = v_constant(-STEP_HIGH), step_low = v_constant(-STEP_LOW);
    for (int i = 0; i < u; i++) T[i] = v_fma(r[i], steps_per_unit, round_magic);
    for (int i = 0; i < u; i++) k[i] = v_sub(T[i], round_magic);
    for (int i = 0; i < u; i++) r[i] = v_fma(k[i], step_high, r[i]);
    for (int i = 0; i < u; i++) r[i] = v_fma(k[i], step_low, r[i]);
}

/* e(x) = T + T * p of u vectors. They go through every step together, since one vector alone is a chain of some 50 cycles. A NaN
   comes through: max returns its second argument where the two do not compare. */
SL_INLINE void exp_parts(int u, const vec *x, const struct exp_constants *c, vec *T, vec *p) {
    const struct temperature_params *h = c->temperature;
    vec r[UNROLL], k[UNROLL];
    for (int i = 0; i < u; i++) r[i] = v_max(c->lower_bound, x[i]);
    if (h) {
        for (int i = 0; i < u; i++) T[i] = v_fma(r[i], h->steps_per_unit, c->round_magic);
        for (int i = 0; i < u; i++) k[i] = v_sub(c->round_magic, T[i]);
        for (int i = 0; i < u; i++) r[i] = v_fma(k[i], h->step_high, r[i]);
        for (int i = 0; i < u; i++) r[i] = v_fma(k[i], h->step_low, r[i]);
        for (int i = 0; i < u; i++) T[i] = v_pow2(c->table, T[i]);
        for (int i = 0; i < u; i++) p[i] = h->term[EXP_TERMS - 1];
        for (int j = EXP_TERMS - 2; j >= 0; j--)
            for (int i = 0; i < u; i++) p[i] = v_fma(p[i], r[i], h->term[j]);
        for (int i = 0; i < u; i++) p[i] = v_mul(p[i], r[i]);
        return;
    }
    exp_reduce(u, c->round_magic, T, r);
    for (int i = 0; i < u; i++) T[i] = v_pow2(c->table, T[i]);
    exp_polynomial(u, r, p);
}

/* e(x) as a pair: rounded, and what that rounds away */
SL_INLINE struct pair exp_pair(vec T, vec p) {
    const vec e = v_fma(T, p, T);
    return (struct pair){e, v_fma(T, p, v_sub(T, e))};
}
SL_INLINE struct pair exp_of_max(const struct exp_params *params) {
    const struct exp_constants c = exp_constants_of(params);
    vec T, p;
    exp_parts(1, &params->reduced, &c, &T, &p);
    return exp_pair(T, p);
}

/* ---- sums of exp ---------------------------------------------------------------------------------------------- */

/* Error-free extraction (Rump, Ogita and Oishi, "Accurate floating-point summation", 2008): sum.high starts at SUM_ANCHOR, a power
   of two above every e, so that (high + e) - high is exact and the part of e that high could not take is known. */
SL_INLINE struct pair sum_begin(void) { return pair_of(v_set1(SUM_ANCHOR)); }
SL_INLINE struct pair sum_end(struct pair s) { return (struct pair){v_sub(s.high, v_set1(SUM_ANCHOR)), s.low}; } /* exact */

/* The first half of a softmax: adds e(x) of u vectors to the sum, in their order, and returns e rounded. What high could not take goes to
   low, from T and p, so that the rounding of e itself does not enter the sum. */
SL_INLINE void add_exp(int u, const vec *x, const struct exp_constants *c, struct pair *sum, vec *e) {
    vec T[UNROLL], p[UNROLL], taken[UNROLL], high = sum->high;
    exp_parts(u, x, c, T, p);
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

/* The sum of e(x) * (max - x) */
struct deviation {
    vec max;
    struct dot_sum sum;
};
SL_INLINE struct deviation deviation_begin(vec max) { return (struct deviation){max, dot_zero()}; }

/* Adds u vectors, of which e is known. x counts as what lower_bound leaves of it, as in e(x), so that -inf adds next to nothing. */
SL_INLINE void add_deviation(int u, const vec *x, const vec *e, const struct exp_constants *c, struct deviation *d) {
    for (int i = 0; i < u; i++) {
        f64_v max[HALVES], below[HALVES], weight[HALVES], lost;
        to_double(d->max, max);
        to_double(v_max(c->lower_bound, x[i]), below);
        to_double(e[i], weight);
        for (int h = 0; h < HALVES; h++) {
#if SL_REAL == 32
            (void)lost;
            below[h] = f64_sub(max[h], below[h]);
#else
            below[h] = f64_two_sum(max[h], f64_negate(below[h]), &lost);
            d->sum.low[h] = f64_fma(weight[h], lost, d->sum.low[h]);
#endif
        }
        dot_add_doubles(&d->sum, weight, below);
    }
}

/* Adds e(x) of u vectors, except where x equals max, to a sum that begins with 0. T and p enter, not e: the roundings of
   many equal e would be one error. Max itself and -inf count as what lower_bound leaves of them: less than 2^-50 of the
   smallest number of the compute type, for each. */
SL_INLINE void add_exp_without_max(int u, vec *x, vec max, const struct exp_constants *c, struct pair *sum) {
    vec T[UNROLL], p[UNROLL];
    for (int i = 0; i < u; i++) x[i] = v_select_eq(x[i], max, v_set1(-INFINITY), x[i]);
    exp_parts(u, x, c, T, p);
    for (int i = 0; i < u; i++) *sum = pair_add(*sum, exp_pair(T[i], p[i]));
}

#endif
