/* row_stats.inc.h: statistics of rows, from the sums of their exponentials to what results need. One row per lane. It knows no layout
   and no operation. */
#ifndef SL_ROW_STATS_INC
#define SL_ROW_STATS_INC
#include "math/exp.inc.h"
#include "math/log1p.inc.h"
#include "rows/op.inc.h"

/* (sum - e(max)) / e(max) as pairs of float64: what all other classes weigh beside the largest */
struct ratio_others_to_max {
    double high[LANES], low[LANES];
};

struct row_stats {
    real scale[LANES], scale_low[LANES]; /* what e is multiplied by, as a pair: 1 / sum, unless an operation changes it */
    real log_sum[LANES];                 /* log(sum / e(max)) */
    real result[LANES];                  /* of operations with one number a row: logsumexp, if nothing else */
    real flush_below[LANES];             /* e below that is a result of 0; 0 where no mask hides classes */
    real confident[LANES]; /* below 0 where nearly all weight of the row is on one class: as confident_below says where a logarithm is
                              needed, else so much that its probability is 1 (certain) */
    real nonfinite[LANES]; /* NaN where the row has a NaN or no finite maximum */
    double log_sum_double[LANES];
    double deviation[LANES], deviation_low[LANES]; /* the sum of e(x) * (max - x), where the operation sums it */
    struct pair sum;                               /* of e(x), where the operation sums deviations */
    struct ratio_others_to_max ratio;
    struct pair exp_of_max;
    int any_confident, any_nonfinite;
};

SL_INLINE int is_nonfinite(const struct row_stats *s, int lane) { return s->nonfinite[lane] != s->nonfinite[lane]; }

/* Where the other classes weigh less than this part of e(max), the row is confident: the low part of the sum carries most of them, and
   its own rounding would show in log1p(ratio). Such rows add up the other classes alone. The bound:

       error of low <= 4 u^2 e(max) (n + 2)^2 <= ulp / 2 of the logarithm   where the others weigh at least 8 u (n + 2)^2 e(max)

   The 2 is for the rounding of e(max). From CONFIDENT_TERMS on the bound is 1/64: the terms lie in many lanes and blocks
   then, each with its own low part (observed: no error above 2 ULP). */
SL_INLINE real confident_below(ptrdiff_t n) {
    return n + 2.0 < CONFIDENT_TERMS ? (real)((n + 2.0) * (n + 2.0) * 8 * UNIT_ROUNDOFF) : (real)(1.0 / 64);
}

/* 1 / sum as a pair: the product with e then rounds once */
SL_INLINE struct pair pair_reciprocal(struct pair sum) {
    const vec one = v_set1(1), minus = v_negate(v_div(one, sum.high));
    const vec rest = v_fma(minus, sum.low, v_fma(minus, sum.high, one)), high = v_negate(minus);
    return (struct pair){high, v_mul(high, rest)};
}

SL_INLINE struct pair sum_without_max(struct pair sum, struct pair e) {
    return pair_add(sum, (struct pair){v_negate(e.high), v_negate(e.low)});
}

static void ratio_of_pairs(struct pair others, struct pair max, struct ratio_others_to_max *ratio) {
#if SL_REAL == 32
    f64_v oh[2], ol[2], mh[2], ml[2];
    to_double(others.high, oh);
    to_double(others.low, ol);
    to_double(max.high, mh);
    to_double(max.low, ml);
    for (int i = 0; i < 2; i++) {
        f64_store(ratio->high + 8 * i, f64_div(f64_add(oh[i], ol[i]), f64_add(mh[i], ml[i])));
        f64_store(ratio->low + 8 * i, f64_set1(0.0));
    }
#else
    const vec high = v_div(others.high, max.high), minus = v_negate(high);
    const vec rest = v_add(v_fma(minus, max.high, others.high), v_fma(minus, max.low, others.low));
    v_store(ratio->high, high);
    v_store(ratio->low, v_div(rest, max.high));
#endif
}

/* max + log, rounded once. An infinite maximum has no low part. */
SL_INLINE vec add_logarithm(struct pair max, struct pair log) {
    const vec sum = pair_renormalize(pair_add(max, log)).high;
    return v_select_eq(v_sub(max.high, max.high), v_set1(0), sum, max.high);
}

/* log(sum / e(max)) = log1p(ratio), and logsumexp = max / T + that. Returns the logarithm. */
static vec log_of_ratio(const struct ratio_others_to_max *ratio, const struct exp_params *p, double *log, vec *logsumexp) {
#if SL_REAL == 32
    f64_v m[2], l[2], low;
    to_double(p->max, m);
    for (int i = 0; i < 2; i++) {
        if (p->temperature) m[i] = f64_div(m[i], f64_load(p->temperature->exact + 8 * i));
        f64_log1p(f64_load(ratio->high + 8 * i), f64_load(ratio->low + 8 * i), &l[i], &low);
        f64_store(log + 8 * i, l[i]);
        m[i] = f64_add(m[i], l[i]);
    }
    *logsumexp = from_double(m);
    return from_double(l);
#else
    struct pair l, m = pair_of(p->max);
    f64_log1p(v_load(ratio->high), v_load(ratio->low), &l.high, &l.low);
    v_store(log, l.high);
    if (p->temperature) {
        m.high = v_div(p->max, p->temperature->t);
        const vec inverse = v_mul(p->temperature->twice_inverse_high, v_set1((real)0.5));
        m.low = v_mul(v_fma(v_negate(m.high), p->temperature->t, p->max), inverse);
    }
    *logsumexp = add_logarithm(m, l);
    return l.high;
#endif
}

/* What a probability is e times: 1 / sum; and below which e it is 0 */
SL_INLINE void stats_scale(struct pair sum, struct row_stats *s) {
    const struct pair inverse = pair_reciprocal(sum);
    v_store(s->scale, inverse.high);
    v_store(s->scale_low, inverse.low);
}
SL_INLINE void stats_flush_below(struct pair sum, struct row_stats *s) {
    v_store(s->flush_below, v_mul(v_mul(sum.high, v_set1(QUARTER_TINIEST_HIGH)), v_set1(QUARTER_TINIEST_LOW)));
}

/* ---- the statistics -------------------------------------------------------------------------------------------- */

/* The lanes of rows that are there: the others are computed with as well. */
SL_INLINE unsigned real_lanes(int rows) { return (1u << rows) - 1; }

/* From the sums of rows. Where the operation needs the logarithm, stats_log has to follow, after stats_fix_confident. */
SL_INLINE void stats_from_sum(const struct op *op, const struct row_group *g, struct pair sum) {
    const sl_job *job = g->job;
    const struct exp_params *p = &g->params;
    struct row_stats *s = g->stats;
    const int rows = g->rows;
    s->exp_of_max = exp_of_max(p);
    if (op->sums_deviation) s->sum = sum;
    const struct pair others = sum_without_max(sum, s->exp_of_max);
    const real bound = op->needs_log ? confident_below(job->n) : CERTAIN_BELOW;
    const vec confident = v_sub(v_add(others.high, others.low), v_mul(s->exp_of_max.high, v_set1(bound)));
    const vec nonfinite = v_add(v_sub(p->max, p->max), sum.high);
    s->any_confident = v_any_lt(confident, v_set1(0));
    s->any_nonfinite = v_any_nan(nonfinite);
    if (rows < LANES) {
        const vec zero = v_set1(0), is_nan = v_select_eq(nonfinite, nonfinite, zero, v_set1(1));
        s->any_confident = (v_lanes_lt(confident, zero) & real_lanes(rows)) != 0;
        s->any_nonfinite = (v_lanes_lt(zero, is_nan) & real_lanes(rows)) != 0;
    }
    v_store(s->confident, confident);
    v_store(s->nonfinite, nonfinite);
    v_store(s->flush_below, v_set1(0));
    if (job->mask && !op->needs_log) stats_flush_below(sum, s);
    if (scales_exp(op)) stats_scale(sum, s);
    if (op->needs_log) ratio_of_pairs(others, s->exp_of_max, &s->ratio);
}

/* The ratio of confident rows, from the sums of their other classes */
static void stats_fix_confident(struct pair others, struct row_stats *s) {
    struct ratio_others_to_max ratio;
    f64_v confident[HALVES];
    const f64_v zero = f64_set1(0.0);
    ratio_of_pairs(others, s->exp_of_max, &ratio);
    to_double(v_load(s->confident), confident);
    for (int i = 0; i < HALVES; i++) {
        double *high = s->ratio.high + 8 * i, *low = s->ratio.low + 8 * i;
        f64_store(high, f64_select_lt(confident[i], zero, f64_load(ratio.high + 8 * i), f64_load(high)));
        f64_store(low, f64_select_lt(confident[i], zero, f64_load(ratio.low + 8 * i), f64_load(low)));
    }
}

SL_INLINE void stats_log(const struct exp_params *p, struct row_stats *s) {
    vec logsumexp;
    v_store(s->log_sum, log_of_ratio(&s->ratio, p, s->log_sum_double, &logsumexp));
    v_store(s->result, logsumexp);
}

/* ---- from statistics to the result of a class ------------------------------------------------------------------ */

/* The second half of a softmax: a probability is e * (scale + scale_low), rounded once. */
SL_INLINE vec scale_exp(vec e, vec scale, vec scale_low) { return v_fma(e, scale, v_mul(e, scale_low)); }

/* A subnormal product takes several times as long: where a mask hides classes, e that gives a result of 0 is 0 before. */
SL_INLINE vec flush_small(vec e, int flushes, vec flush_below) { return flushes ? v_select_lt(e, flush_below, v_set1(0), e) : e; }

/* A log-probability (x - max) / T - log_sum: both terms have one sign, so nothing cancels, where x - logsumexp would. */
SL_INLINE vec shift_logit(vec x, vec max, vec log_sum, const struct temperature_params *temperature) {
    if (!temperature) return v_sub(v_sub(x, max), log_sum);
    const vec half = v_set1((real)0.5), d = v_fma(x, half, v_negate(v_mul(max, half))); /* x - max could overflow */
    return v_fma(d, temperature->twice_inverse_high, v_fma(d, temperature->twice_inverse_low, v_negate(log_sum)));
}

/* Where one class of a row has all weight, its product may be an ulp short of 1: from here on a probability is 1. */
SL_INLINE vec certain_from(const struct row_stats *s) {
    return v_select_lt(v_load(s->confident), v_set1(0), v_set1((real)0.5), v_set1(INFINITY));
}
SL_INLINE int has_certain(const struct op *op, const struct row_stats *s) { return s->any_confident && !op->needs_log; }

/* NaN for n classes of a nonfinite row from index at of x on, at distances of step; what a mask hides is as in any other row */
static void fill_nonfinite(const sl_job *job, const struct op *op, ptrdiff_t at, ptrdiff_t step, ptrdiff_t n, real *y, ptrdiff_t y_step) {
    for (ptrdiff_t k = 0; k < n; k++) y[k * y_step] = job->mask && !job->mask[at + k * step] ? op->of_masked : (real)NAN;
}

#endif
