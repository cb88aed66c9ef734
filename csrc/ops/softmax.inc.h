/* softmax.inc.h: softmax, log_softmax, logsumexp and the mean of values. Their statistics are those of every row; here is what is left. */
#ifndef SL_SOFTMAX_INC
#define SL_SOFTMAX_INC
#include "rows/row_stats.inc.h"

/* Calls visit for each class of a row, wherever its logits are; stops where that returns 1, and returns it. */
static int any_class(const struct row_group *g, int lane, int (*visit)(const struct row_group *g, int lane, ptrdiff_t k, real x)) {
    for (ptrdiff_t k = 0; k < g->job->n; k++) {
        const real x = g->tile ? g->tile[k * g->tile_stride + lane] : logit_at(g->job, g->first + lane, k);
        if (visit(g, lane, k, x)) return 1;
    }
    return 0;
}

static int class_is_nan(const struct row_group *g, int lane, ptrdiff_t k, real x) {
    (void)g, (void)lane, (void)k;
    return x != x;
}
/* NaN, or the infinite maximum */
static real logsumexp_of_nonfinite(const struct row_group *g, int lane) {
    real max[LANES];
    v_store(max, g->params.max);
    return any_class(g, lane, class_is_nan) ? (real)NAN : max[lane];
}

static int class_is_visible(const struct row_group *g, int lane, ptrdiff_t k, real x) {
    (void)x;
    return !is_hidden(g->job, g->first + lane, k);
}
/* NaN, or 0 where nothing counts */
static real expectation_of_nonfinite(const struct row_group *g, int lane) { return any_class(g, lane, class_is_visible) ? (real)NAN : 0; }
static const real *expectation_values(const sl_job *job) { return ((const sl_expectation_args *)job->args)->values; }

#endif
