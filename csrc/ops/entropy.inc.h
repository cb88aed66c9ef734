/* entropy.inc.h: the operations entropy and softmax_hessian_diag, from the statistics of rows.

       entropy:       log(S) + sum(e (m - x)) / (T S)    S = sum(e), e = exp((x - m) / T), m the maximum
       hessian_diag:  p (1 - p)

   Both terms of the entropy are >= 0, so nothing cancels. */
#ifndef SL_ENTROPY_INC
#define SL_ENTROPY_INC
#include "rows/row_stats.inc.h"

/* (high + low) / s, within half an ulp and little */
SL_INLINE f64_v divide_pairs(f64_v high, f64_v low, f64_v s_high, f64_v s_low) {
    const f64_v q = f64_div(high, s_high), minus = f64_negate(q);
    const f64_v rest = f64_add(f64_fma(minus, s_high, high), f64_fma(minus, s_low, low));
    return f64_add(q, f64_div(rest, s_high));
}

/* Hook `finish`: writes entropies. */
static void entropy_finish(struct row_group *g) {
    struct row_stats *s = g->stats;
    f64_v high[HALVES], low[HALVES], entropy[HALVES];
    to_double(s->sum.high, high);
    to_double(s->sum.low, low);
    for (int i = 0; i < HALVES; i++) {
        const f64_v sum = f64_add(high[i], low[i]), rest = f64_sub(low[i], f64_sub(sum, high[i]));
        f64_v mean = divide_pairs(f64_load(s->deviation + 8 * i), f64_load(s->deviation_low + 8 * i), sum, rest);
        if (g->params.temperature) mean = f64_div(mean, f64_load(g->params.temperature->exact + 8 * i));
        entropy[i] = f64_add(f64_load(s->log_sum_double + 8 * i), mean);
    }
    v_store(s->result, from_double(entropy));
}

/* Hook `finish`: p (1 - p) = z / (1 + z)^2 of the largest class, z being what the others weigh beside it. Only where p is above 1/2, and
   so z below 1, it is used. */
static void hessian_diag_finish(struct row_group *g) {
    const struct row_stats *s = g->stats;
    const f64_v one = f64_set1(1.0), two = f64_set1(2.0);
    f64_v variance[HALVES];
    for (int i = 0; i < HALVES; i++) {
        const f64_v z = f64_add(f64_load(s->ratio.high + 8 * i), f64_load(s->ratio.low + 8 * i));
        variance[i] = f64_div(z, f64_fma(z, f64_add(z, two), one));
    }
    v_store(g->targets->variance_of_max, from_double(variance));
}

/* From p, of one row or of a row in each lane: p - p^2 rounds once. What p is off enters by (1 - 2 p) / (1 - p) times, at most by 1. */
SL_INLINE vec variance_of(vec p, vec variance_of_max) {
    return v_select_lt(v_set1((real)0.5), p, variance_of_max, v_fma(v_negate(p), p, p));
}

/* Hook `patch`: y has p of a block of classes, and becomes p (1 - p). */
static void hessian_diag_patch(const sl_job *job, const struct block *y, const struct row_targets *t) {
    const int along_classes = y->class_step == 1;
    const ptrdiff_t lines = along_classes ? y->rows : y->classes, length = along_classes ? y->classes : y->rows;
    (void)job;
    for (ptrdiff_t i = 0; i < lines; i++) {
        real *line = y->at + i * (along_classes ? y->row_step : y->class_step);
        const vec largest = along_classes ? v_set1(t->variance_of_max[i]) : v_load(t->variance_of_max);
        ptrdiff_t k = 0;
        for (; k + LANES <= length; k += LANES) v_store(line + k, variance_of(v_load(line + k), largest));
        if (k < length) v_store_tail(line + k, length - k, variance_of(v_load_tail(line + k, length - k, 0), largest));
    }
}

#endif
