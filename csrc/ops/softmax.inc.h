/* softmax.inc.h: softmax, log_softmax, logsumexp and the mean of values. Their statistics are those of every row; here is what is left. */
#ifndef SL_SOFTMAX_INC
#define SL_SOFTMAX_INC
#include "rows/row_stats.inc.h"

static int has_nan(const real *x, ptrdiff_t n, ptrdiff_t step) {
    for (ptrdiff_t k = 0; k < n; k++)
        if (x[k * step] != x[k * step]) return 1;
    return 0;
}
static int row_has_nan(const struct row_group *g, int lane) {
    const sl_job *job = g->job;
    real block[SL_BLOCK];
    if (g->tile) return has_nan(g->tile + lane, job->n, g->tile_stride);
    if (g->x) return has_nan(g->x + lane * g->x_step, job->n, 1);
    for (ptrdiff_t k = 0; k < job->n; k += SL_BLOCK) {
        const ptrdiff_t n = job->n - k < SL_BLOCK ? job->n - k : SL_BLOCK;
        if (has_nan(load_row_block(job, g->first + lane, k, n, block), n, 1)) return 1;
    }
    return 0;
}
/* NaN, or the infinite maximum */
static real logsumexp_of_nonfinite(const struct row_group *g, int lane) {
    real max[LANES];
    v_store(max, g->params.max);
    return row_has_nan(g, lane) ? (real)NAN : max[lane];
}

/* NaN, or 0 where nothing counts */
static real expectation_of_nonfinite(const struct row_group *g, int lane) {
    for (ptrdiff_t k = 0; k < g->job->n; k++)
        if (!is_hidden(g->job, g->first + lane, k)) return (real)NAN;
    return 0;
}
static const real *expectation_values(const sl_job *job) { return ((const sl_expectation_args *)job->args)->values; }

#endif
