/* two_classes.inc.h: rows of two classes without a temperature, one row per lane. One exponential makes all:

       a >= b:   softmax(a) = 1 / (1 + e)     log_softmax(a) = -log1p(e)             with e = exp(-|a - b|)
                 softmax(b) = e / (1 + e)     log_softmax(b) = -|a - b| - log1p(e)

   a - b is a pair without error, so rows may be anywhere, without a range reduction of their own. It knows no operation. */
#ifndef SL_TWO_CLASSES_INC
#define SL_TWO_CLASSES_INC
#include "rows/row_stats.inc.h"

SL_INLINE int is_of_two_classes(const sl_job *job, const struct op *op) {
    return job->n == 2 && !job->temperature && op->map != MAP_EXPECT && !op->is_of_part;
}

/* What is done for an operation. A loop is compiled for those that need nothing else. */
enum { SCALES_EXP = 1, NEEDS_LOG = 2, VISITS_CLASSES = 4, COLLECTS = 8, SELECTS = 16, DEVIATES = 32, FINISHES = 64 };
SL_INLINE int options_of_two(const struct op *op) {
    const int selects = op->map && !op->visits_classes;
    return (scales_exp(op) ? SCALES_EXP : 0) | (op->needs_log ? NEEDS_LOG : 0) | (op->visits_classes ? VISITS_CLASSES : 0) |
           (op->collect ? COLLECTS : 0) | (selects ? SELECTS : 0) | (op->sums_deviation ? DEVIATES : 0) |
           (op->finish && !op->collect && !selects ? FINISHES : 0);
}

/* exp(0) and what divides by it, in the scale that all exponentials here share */
struct exp_of_zero {
    vec round_magic;
    struct pair value, inverse;
    f64_v inverse_double;
};
SL_INLINE struct exp_of_zero exp_of_zero_make(void) {
    struct exp_of_zero z = {.round_magic = v_set1(ROUND_MAGIC + TABLE_SIZE * EXP_BIAS)};
    z.value = pair_of(v_pow2(v_load_table(exp_table), z.round_magic));
    z.inverse = pair_reciprocal(z.value);
    f64_v value[HALVES];
    to_double(z.value.high, value);
    z.inverse_double = f64_div(f64_set1(1.0), value[0]);
    return z;
}

struct two_classes {
    vec max, difference, below; /* a - b, and -|a - b| */
    vec below_low;              /* what the rounding of below loses */
    vec larger;                 /* exp(0) */
    struct pair smaller;        /* exp(-|a - b|); NaN where max is not finite */
    struct pair scale;          /* what makes probabilities of them */
    vec log_sum;                /* log1p(exp(-|a - b|)) */
};
/* least: of -|a - b|, below which smaller is 0 */
SL_INLINE struct two_classes exp_of_two(vec a, vec b, const struct exp_of_zero *one, real least) {
    const vec zero = v_set1(0);
    struct two_classes t = {.max = v_max(a, b), .larger = one->value.high, .scale = pair_zero(), .log_sum = zero};
    vec lost;
    t.difference = v_two_sum(a, v_negate(b), &lost);
    t.below = v_select_lt(t.difference, zero, t.difference, v_negate(t.difference));
    t.below_low = v_select_lt(t.difference, zero, lost, v_negate(lost));
    vec T, p, r = v_max(v_set1(-EXP_CLAMP), t.below);
    exp_reduce(1, one->round_magic, &T, &r);
    r = v_add(r, t.below_low);
    T = v_pow2(v_load_table(exp_table), T);
    exp_polynomial(1, &r, &p);
    const struct pair e = exp_pair(T, p);
    const vec zero_below = v_set1(least);
    t.smaller.high = v_add(v_select_lt(t.below, zero_below, zero, e.high), v_sub(t.max, t.max));
    t.smaller.low = v_select_lt(t.below, zero_below, zero, e.low);
    return t;
}

SL_INLINE struct pair sum_of_two(const struct two_classes *t) {
    const vec sum = v_add(t->larger, t->smaller.high);
    return (struct pair){sum, v_add(v_sub(t->larger, sum), t->smaller.high)};
}
SL_INLINE struct pair scale_of_two(const struct two_classes *t) { return pair_reciprocal(sum_of_two(t)); }

/* The sum of e and that of e * |a - b|, which is that of the smaller class alone. smaller is 0 where |a - b| is infinite. */
SL_INLINE void deviation_of_two(const struct two_classes *t, struct row_stats *s) {
    const vec zero = v_set1(0), finite = v_sub(t->below, t->below);
    const vec below = v_select_eq(finite, zero, v_negate(t->below), zero),
              below_low = v_select_eq(finite, zero, v_negate(t->below_low), zero);
    struct dot_sum d = dot_zero();
    dot_add_product(&d, t->smaller.high, below);
    dot_add_product(&d, t->smaller.low, below);
    dot_add_product(&d, t->smaller.high, below_low);
    for (int i = 0; i < HALVES; i++) {
        f64_store(s->deviation + 8 * i, d.high[i]);
        f64_store(s->deviation_low + 8 * i, d.low[i]);
    }
    s->sum = sum_of_two(t);
}

/* log1p(e), and the larger logit plus that, where e = smaller / larger. float32 takes e, and the terms beside the polynomial, as
   float64, since e alone may be subnormal. */
SL_INLINE void log_of_two(struct two_classes *t, const struct exp_of_zero *one, struct row_stats *s) {
#if SL_REAL == 32
    f64_v m[2], high[2], low[2], q[2], log[2];
    vec polynomial, rounded = v_mul(t->smaller.high, one->inverse.high);
    log1p_polynomial(1, &rounded, &polynomial);
    to_double(t->max, m);
    to_double(t->smaller.high, high);
    to_double(t->smaller.low, low);
    to_double(polynomial, q);
    for (int i = 0; i < 2; i++) {
        const f64_v e = f64_mul(f64_add(high[i], low[i]), one->inverse_double);
        log[i] = f64_fma(f64_mul(e, e), q[i], e);
        m[i] = f64_add(m[i], log[i]);
        f64_store(s->ratio.high + 8 * i, e);
        f64_store(s->ratio.low + 8 * i, f64_set1(0.0));
        f64_store(s->log_sum_double + 8 * i, log[i]);
    }
    t->log_sum = from_double(log);
    v_store(s->result, from_double(m));
#else
    const struct pair e = pair_multiply(t->smaller, one->inverse);
    struct pair log;
    f64_log1p(e.high, e.low, &log.high, &log.low);
    t->log_sum = log.high;
    v_store(s->ratio.high, e.high);
    v_store(s->ratio.low, e.low);
    v_store(s->log_sum_double, log.high);
    v_store(s->result, add_logarithm(pair_of(t->max), log));
#endif
}

/* The statistics that operations need. No row is confident: the smaller class is exact, however small. */
SL_INLINE void stats_of_two(struct two_classes *t, const struct exp_of_zero *one, const int options, struct row_group *g) {
    struct row_stats *s = g->stats;
    g->params.max = g->params.reduced = t->max;
    v_store(s->confident, v_set1(1));
    s->any_confident = 0;
    v_store(s->nonfinite, t->smaller.high);
    s->any_nonfinite = v_any_nan(t->smaller.high);
    if (options & SCALES_EXP) t->scale = scale_of_two(t);
    if (options & NEEDS_LOG) log_of_two(t, one, s);
    if (options & DEVIATES) deviation_of_two(t, s);
    if (!(options & COLLECTS)) return;
    v_store(s->scale, t->scale.high);
    v_store(s->scale_low, t->scale.low);
}

/* What the operation makes of the two classes, a and b */
SL_INLINE void results_of_two(const struct two_classes *t, const int options, vec *y) {
    const vec zero = v_set1(0);
    vec larger = v_negate(t->log_sum), smaller = v_sub(t->below, t->log_sum);
    if (options & SCALES_EXP) {
        larger = scale_exp(t->larger, t->scale.high, t->scale.low);
        smaller = scale_exp(t->smaller.high, t->scale.high, t->scale.low);
    }
    y[0] = v_select_lt(t->difference, zero, smaller, larger);
    y[1] = v_select_lt(t->difference, zero, larger, smaller);
}

#endif
