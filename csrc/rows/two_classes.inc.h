/* two_classes.inc.h: softmax, log_softmax and logsumexp of two classes, one row per lane, and selected results. One exponential makes all:

       a >= b:   softmax(a) = 1 / (1 + e)     log_softmax(a) = -log1p(e)             with e = exp(-|a - b|)
                 softmax(b) = e / (1 + e)     log_softmax(b) = -|a - b| - log1p(e)

   a - b is a pair without error, so rows may be anywhere, without a range reduction of their own. */
#ifndef SL_TWO_CLASSES_INC
#define SL_TWO_CLASSES_INC
#include "rows/row_stats.inc.h"

/* Losses and means of values take the way of all rows. */
SL_INLINE int is_of_two_classes(const sl_job *job, const struct op *op) {
    return job->n == 2 && !job->temperature && !op->collect && op->map != MAP_EXPECT;
}

struct two_classes {
    vec max, difference, below; /* a - b, and -|a - b| */
    struct pair e, one;         /* exp(-|a - b|) and exp(0), with one factor; e is NaN where max is not finite */
};
SL_INLINE struct two_classes exp_of_two(vec a, vec b) {
    const vec zero = v_set1(0), round_magic = v_set1(ROUND_MAGIC + TABLE_SIZE * EXP_BIAS);
    const v_table table = v_load_table(exp_table);
    struct two_classes t = {.max = v_max(a, b), .one = pair_of(v_pow2(table, round_magic))};
    vec lost;
    t.difference = v_two_sum(a, v_negate(b), &lost);
    t.below = v_select_lt(t.difference, zero, t.difference, v_negate(t.difference));
    lost = v_select_lt(t.difference, zero, lost, v_negate(lost));
    vec T, p, r = v_max(v_set1(-EXP_CLAMP), t.below);
    exp_reduce(1, round_magic, &T, &r);
    r = v_add(r, lost);
    T = v_pow2(table, T);
    exp_polynomial(1, &r, &p);
    const struct pair e = exp_pair(T, p);
    const vec least = v_set1(SIGMOID_ZERO); /* below it, all results are 0 or -|a - b| */
    t.e.high = v_add(v_select_lt(t.below, least, zero, e.high), v_sub(t.max, t.max));
    t.e.low = v_select_lt(t.below, least, zero, e.low);
    return t;
}

/* What the larger and the smaller class have, to a and b */
SL_INLINE void in_order_of_two(const struct two_classes *t, vec larger, vec smaller, vec *y) {
    y[0] = v_select_lt(t->difference, v_set1(0), smaller, larger);
    y[1] = v_select_lt(t->difference, v_set1(0), larger, smaller);
}
SL_INLINE void softmax_of_two(const struct two_classes *t, vec *y) {
    const vec one = t->one.high, e = t->e.high, sum = v_add(one, e);
    const struct pair inverse = pair_reciprocal((struct pair){sum, v_add(v_sub(one, sum), e)});
    in_order_of_two(t, scale_exp(one, inverse.high, inverse.low), scale_exp(e, inverse.high, inverse.low), y);
}
SL_INLINE void log_softmax_of_two(const struct two_classes *t, vec log_sum, vec *y) {
    in_order_of_two(t, v_negate(log_sum), v_sub(t->below, log_sum), y);
}

/* The statistics that these operations need */
SL_INLINE void stats_of_two(const struct two_classes *t, const struct op *op, struct row_group *g) {
    struct row_stats *s = g->stats;
    g->params.max = g->params.reduced = t->max;
    v_store(s->confident, v_set1(1));
    s->any_confident = 0;
    v_store(s->nonfinite, t->e.high);
    s->any_nonfinite = v_any_nan(t->e.high);
    if (!op->needs_log) return;
    ratio_of_pairs(t->e, t->one, &s->ratio);
    stats_log(&g->params, s);
}

#endif
