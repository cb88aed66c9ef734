/* two_classes.inc.h: softmax of two classes, one row per lane. One exponential makes both results:

       a >= b:   softmax(b) = e / (1 + e)  and  softmax(a) = 1 / (1 + e)   with e = exp(-|a - b|)

   a - b is a pair without error, so rows may be anywhere, without a range reduction of their own. */
#ifndef SL_TWO_CLASSES_INC
#define SL_TWO_CLASSES_INC
#include "rows/row_stats.inc.h"

/* Is that all that the operation wants? */
SL_INLINE int is_softmax_of_two(const sl_job *job, const struct op *op) {
    return job->n == 2 && !job->temperature && op->map == MAP_SCALE_EXP && writes_classes(op) && !op->needs_log;
}

/* The probabilities of a and b. Returns NaN for rows that have a NaN or no finite maximum, else 0. */
SL_INLINE vec softmax_of_two(vec a, vec b, vec *probability_a, vec *probability_b) {
    const vec zero = v_set1(0), max = v_max(a, b), round_magic = v_set1(ROUND_MAGIC + TABLE_SIZE * EXP_BIAS);
    const v_table table = v_load_table(exp_table);
    vec lost;
    const vec d = v_two_sum(a, v_negate(b), &lost);
    const vec x = v_select_lt(d, zero, d, v_negate(d)), rest = v_select_lt(d, zero, lost, v_negate(lost)); /* x + rest = -|a - b| */
    vec T, p, r = v_max(v_set1(-EXP_CLAMP), x);
    exp_reduce(1, round_magic, &T, &r);
    r = v_add(r, rest);
    T = v_pow2(table, T);
    exp_polynomial(1, &r, &p);
    const vec e = v_add(v_select_lt(x, v_set1(SIGMOID_ZERO), zero, v_fma(T, p, T)), v_sub(max, max));
    const vec one = v_pow2(table, round_magic), sum = v_add(one, e); /* exp(0), with the factor that e has */
    const struct pair inverse = pair_reciprocal((struct pair){sum, v_add(v_sub(one, sum), e)});
    const vec larger = scale_exp(one, inverse.high, inverse.low), smaller = scale_exp(e, inverse.high, inverse.low);
    *probability_a = v_select_lt(d, zero, smaller, larger);
    *probability_b = v_select_lt(d, zero, larger, smaller);
    return v_sub(sum, sum);
}

#endif
