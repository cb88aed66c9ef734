/* row_stats.inc.h: from the sum of a row to what its results need. One row per lane. */
#ifndef SL_ROW_STATS_INC
#define SL_ROW_STATS_INC
#include "math/exp.inc.h"
#include "math/log1p.inc.h"

/* ---- from sums to results, one row per lane ------------------------------------------------------------------ */

/* NaN where the row has a NaN or its maximum is not finite, a number elsewhere */
SL_INLINE vec nonfinite(const exp_params *p, pair sum) { return v_add(v_sub(p->max, p->max), sum.high); }

/* 1 / sum as a pair: the product with e then rounds once */
SL_INLINE pair reciprocal(pair sum) {
    vec one = v_set1(1), minus = v_sub(v_set1(0), v_div(one, sum.high));
    vec rest = v_fma(minus, sum.low, v_fma(minus, sum.high, one));
    vec high = v_sub(v_set1(0), minus);
    return (pair){high, v_mul(high, rest)};
}

/* sum - e(max): what the other classes weigh */
SL_INLINE pair sum_without_max(pair sum, pair e) {
    vec zero = v_set1(0);
    return pair_add(sum, (pair){v_sub(zero, e.high), v_sub(zero, e.low)});
}

/* z = (sum - e(max)) / e(max) as pairs of float64 */
typedef struct {
    double high[LANES], low[LANES];
} ratio_others_to_max;

static void ratio_from_pairs(pair o, pair e, ratio_others_to_max *z) {
#if SL_REAL == 32
    f64_v oh[2], ol[2], eh[2], el[2];
    f32_widen(o.high, &oh[0], &oh[1]);
    f32_widen(o.low, &ol[0], &ol[1]);
    f32_widen(e.high, &eh[0], &eh[1]);
    f32_widen(e.low, &el[0], &el[1]);
    for (int i = 0; i < 2; i++) {
        f64_store(z->high + 8 * i, f64_div(f64_add(oh[i], ol[i]), f64_add(eh[i], el[i])));
        f64_store(z->low + 8 * i, f64_set1(0.0));
    }
#else
    vec h = v_div(o.high, e.high), minus = v_sub(v_set1(0), h);
    vec rest = v_add(v_fma(minus, e.high, o.high), v_fma(minus, e.low, o.low));
    v_store(z->high, h);
    v_store(z->low, v_div(rest, e.high));
#endif
}

/* log(sum / e(max)) = log1p(z), and logsumexp = max + that */
static vec log_of_ratio(const ratio_others_to_max *z, const exp_params *p, vec *logsumexp, double *log) {
#if SL_REAL == 32
    f64_v m[2], l[2], low;
    f32_widen(p->max, &m[0], &m[1]);
    for (int i = 0; i < 2; i++) {
        if (p->heat) m[i] = f64_div(m[i], f64_load(p->heat->exact + 8 * i));
        sl_log1p(f64_load(z->high + 8 * i), f64_load(z->low + 8 * i), &l[i], &low);
        f64_store(log + 8 * i, l[i]);
        m[i] = f64_add(m[i], l[i]);
    }
    *logsumexp = f32_narrow(m[0], m[1]);
    return f32_narrow(l[0], l[1]);
#else
    pair l;
    sl_log1p(v_load(z->high), v_load(z->low), &l.high, &l.low);
    v_store(log, l.high);
    pair m = {p->max, v_set1(0)};
    if (p->heat) {
        m.high = v_div(p->max, p->heat->t);
        m.low = v_mul(v_fma(v_sub(v_set1(0), m.high), p->heat->t, p->max), p->heat->high);
    }
    const vec zero = v_set1(0), sum = pair_renormalize(pair_add(m, l)).high;
    *logsumexp = v_select_eq(v_sub(m.high, m.high), zero, sum, m.high); /* infinity: it has no low part */
    return l.high;
#endif
}

/* Where the other classes weigh less than this part of e(max), the low part of the sum carries most of them, and its own rounding
   (below 4 u^2 of e(max) times the square of the terms that it took) would show in log1p(z). Such rows add up the others alone.
   8 u (n + 2)^2 keeps that below half an ulp; the 2 is for the rounding of e(max). Where n is so large that this is above 1/64 the terms
   lie in many lanes and parts, each with its own low part, and no error has been found. */
#define CONFIDENT(n) ((n) + 2.0 < CONFIDENT_TERMS ? (R)(((n) + 2.0) * ((n) + 2.0) * 8 * UNIT_ROUNDOFF) : (R)(1.0 / 64))

/* Adds e(x) of u vectors, but for x equal to max, to a sum that may begin with nothing. From T and p, as in add_exp: roundings
   of many equal e would be one error. Max itself and -inf count as what the clamp leaves of them: less than 2^-50 of the
   smallest number of R, for each. */
SL_INLINE void add_exp_without_max(int u, vec *x, vec max, const vec *magic, const vec *clamp, const temperature_params *heat,
                                   v_table table, pair *sum) {
    vec T[UNROLL], p[UNROLL];
    for (int i = 0; i < u; i++) x[i] = v_select_eq(x[i], max, v_set1(-INFINITY), x[i]);
    exp_parts(u, x, magic, clamp, heat, table, T, p);
    for (int i = 0; i < u; i++) {
        const vec e = v_fma(T[i], p[i], T[i]);
        *sum = pair_add(*sum, (pair){e, v_fma(T[i], p[i], v_sub(T[i], e))});
    }
}

/* What a vector of rows has come to. Softmax multiplies e by (a, b), log_softmax subtracts a, then b, logsumexp is a;
   the cross-entropies take log and z. least: e below that is a result of 0; 0 where no mask hides classes.
   few: some row has few[lane] < 0, so nearly all of its weight on one class. bad: some row's poison is NaN. */
typedef struct {
    vec a, b, least, few, poison;
    pair e;
    ratio_others_to_max z;
    double log[LANES];
    int any_few, any_bad;
} row_stats;

SL_INLINE void stats_from_sum(const sl_job *job, const exp_params *plan, pair sum, row_stats *v) {
    const sl_op op = job->op;
    v->e = exp_of_max(plan);
    const pair o = sum_without_max(sum, v->e);
    v->few = v_sub(v_add(o.high, o.low), v_mul(v->e.high, v_set1(op == SL_SOFTMAX ? CERTAIN_BELOW : CONFIDENT(job->n))));
    v->poison = nonfinite(plan, sum);
    v->any_few = v_any_lt(v->few, v_set1(0));
    v->any_bad = v_any_nan(v->poison);
    v->least = job->mask && op == SL_SOFTMAX ? v_mul(v_mul(sum.high, v_set1(HALF_TINIEST_HIGH)), v_set1(HALF_TINIEST_LOW)) : v_set1(0);
    if (sl_scales(op)) {
        const pair inverse = reciprocal(sum);
        v->a = inverse.high;
        v->b = inverse.low;
    } else v->a = v->b = v_set1(0);
    if (op != SL_SOFTMAX) ratio_from_pairs(o, v->e, &v->z);
}
/* The odds of the confident rows, from the sums of their other classes. */
static void stats_fix_confident(pair others, row_stats *v) {
    ratio_others_to_max z;
    f64_v few[HALVES];
    ratio_from_pairs(others, v->e, &z);
    to_double(v->few, few);
    for (int i = 0; i < HALVES; i++) {
        double *high = v->z.high + 8 * i, *low = v->z.low + 8 * i;
        f64_store(high, f64_select_lt(few[i], f64_set1(0.0), f64_load(z.high + 8 * i), f64_load(high)));
        f64_store(low, f64_select_lt(few[i], f64_set1(0.0), f64_load(z.low + 8 * i), f64_load(low)));
    }
}
/* The logarithm, after the odds of confident rows have been put right. */
SL_INLINE void stats_log(sl_op op, const exp_params *plan, row_stats *v) {
    vec lse;
    const vec log = log_of_ratio(&v->z, plan, &lse, v->log);
    if (sl_scales(op)) return;
    v->b = log;
    v->a = op == SL_LOGSUMEXP ? lse : plan->max;
}

/* (x - max) / T - log: both terms have one sign, so nothing cancels, where x - logsumexp would */
SL_INLINE vec shift_logit(vec x, vec max, vec log, const temperature_params *heat) {
    const vec d = v_sub(x, max);
    if (!heat) return v_sub(d, log);
    return v_fma(d, heat->high, v_fma(d, heat->low, v_sub(v_set1(0), log))); /* low is positive: -inf stays -inf */
}
SL_INLINE vec log_prob(vec x, const exp_params *p, vec log) { return shift_logit(x, p->reduced, log, p->heat); }

/* A result is e * (a + b). Below half of the smallest number it is 0, but a product that finds out takes several times as long: so
   where a mask hides classes, what is below `least` becomes 0 before. */
SL_INLINE vec flush_below(vec e, int hides, vec least) { return hides ? v_select_lt(e, least, v_set1(0), e) : e; }
SL_INLINE vec scale_exp(vec e, vec a, vec b) { return v_fma(e, a, v_mul(e, b)); }

/* What finished rows need for their output: softmax multiplies by the pair (a, b), log_softmax subtracts a, then b,
   logsumexp is a. rare: some row is bad (NaN throughout) or certain (one class takes all). */
typedef struct {
    R a[LANES], b[LANES], least[LANES];
    double log[LANES];     /* for losses: log(sum / e(max)), */
    ratio_others_to_max z; /* what of the sum is not the maximum, */
    R poison[LANES];       /* and NaN where bad */
    const temperature_params *heat;
    unsigned char bad[LANES], certain[LANES];
    int rare;
} row_results;

#endif
