/* vjp.inc.h: the operations softmax_vjp and log_softmax_vjp: vector-Jacobian products, from the gradient g of the output and the
   output y itself.

       softmax:      y (g - sum(g y))
       log_softmax:  g - exp(y) sum(g)

   Sums and products are computed in float64. */
#ifndef SL_VJP_INC
#define SL_VJP_INC
#include "math/convert.inc.h"
#include "math/exp.inc.h"
#include "ops/sigmoid.inc.h"
#include "rows/op.inc.h"
#include "rows/row_stats.inc.h"

/* Blocks of the two inputs, where they have to be converted; the first one takes results as well. */
struct vjp_scratch {
    real *gradient, *output;
};
static void *take_vjp_scratch(const sl_job *job, struct arena *arena) {
    (void)job;
    struct vjp_scratch *s = arena_take(arena, sizeof *s);
    real *gradient = take_reals(arena, SL_BLOCK), *output = take_reals(arena, SL_BLOCK);
    if (s) *s = (struct vjp_scratch){gradient, output};
    return s;
}

/* Elements of both inputs that are computed together: classes of one row, or one class of neighbouring rows */
struct vjp_block {
    ptrdiff_t n;
    const real *gradient, *output;
    int one_class; /* of neighbouring rows */
};

/* Adds to the sums of rows, one for each. The sum of a single row is in LANES parts, which do not wait for each other. */
static void add_vjp_sums(sl_op op, const struct vjp_block *b, double *sum) {
    const real *gradient = b->gradient, *output = b->output;
    const ptrdiff_t n = b->n;
    const int one_class = b->one_class;
    for (ptrdiff_t i = 0; i < n; i++)
        sum[one_class ? i : i % LANES] += op == SL_SOFTMAX_VJP ? (double)gradient[i] * output[i] : gradient[i];
}

SL_INLINE real only_nan(real x) { return x == x ? x : (real)NAN; } /* the one NaN for any of them */

static void softmax_vjp_block(const struct vjp_block *b, const double *sum, real *result) {
    const real *gradient = b->gradient, *output = b->output;
    for (ptrdiff_t i = 0; i < b->n; i++) result[i] = only_nan((real)(output[i] * (gradient[i] - sum[b->one_class ? i : 0])));
}

static void log_softmax_vjp_block(const struct vjp_block *b, const double *sum, const struct logistic_params *g, real *result) {
    const struct exp_constants constants = constants_without_temperature(g->round_magic, g->lower_bound);
    for (ptrdiff_t i = 0; i < b->n; i += LANES) {
        const ptrdiff_t count = b->n - i < LANES ? b->n - i : LANES;
        const vec y = v_load_tail(b->output + i, count, 0);
        vec T, p;
        exp_parts(1, &y, &constants, &T, &p);
        real exp_y[LANES]; /* e(y) / e(0) */
        v_store(exp_y, scale_exp(v_fma(T, p, T), g->inverse.high, g->inverse.low));
        for (ptrdiff_t j = 0; j < count; j++)
            result[i + j] = only_nan((real)(b->gradient[i + j] - exp_y[j] * sum[b->one_class ? i + j : 0]));
    }
}

/* Elements from index at of x and of the output on */
SL_INLINE struct vjp_block load_vjp_block(const sl_job *job, ptrdiff_t at, ptrdiff_t n, const struct vjp_scratch *s) {
    const sl_vjp_args *args = job->args;
    const struct source output = {job->x_dtype, 0, args->output, NULL};
    return (struct vjp_block){n, load_block(job, at, n, s->gradient), load_source(&output, at, n, s->output), job->inner > 1};
}

/* One row or strip of rows: the sums, then the results */
static void vjp_of_strip(const sl_job *job, struct strip strip, const struct logistic_params *g, const struct vjp_scratch *s) {
    const ptrdiff_t n = job->n, start = start_of_row(job, strip.first);
    const int one_class = job->inner > 1;
    const ptrdiff_t step = one_class ? 1 : SL_BLOCK;
    double sum[TILE_WIDTH] = {0};
    for (ptrdiff_t k = 0; k < n; k += step) {
        const ptrdiff_t count = one_class ? strip.rows : n - k < step ? n - k : step;
        const struct vjp_block b = load_vjp_block(job, start + k * job->inner, count, s);
        add_vjp_sums(job->op, &b, sum);
    }
    for (int i = 1; !one_class && i < LANES; i++) sum[0] += sum[i];
    for (ptrdiff_t k = 0; k < n; k += step) {
        const ptrdiff_t at = start + k * job->inner, count = one_class ? strip.rows : n - k < step ? n - k : step;
        const struct vjp_block b = load_vjp_block(job, at, count, s);
        real *result = output_at(job, at, s->gradient);
        if (job->op == SL_SOFTMAX_VJP) softmax_vjp_block(&b, sum, result);
        else log_softmax_vjp_block(&b, sum, g, result);
        store_converted(job, at, count, result);
    }
}

/* Hook `run`: units are rows, or strips where inner is not 1. */
static void vjp_rows(const sl_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    struct arena arena = {scratch, 0};
    const struct vjp_scratch *s = take_vjp_scratch(job, &arena);
    const struct logistic_params g = logistic_params_make();
    for (ptrdiff_t unit = first; unit < last; unit++) vjp_of_strip(job, strip_of_unit(job, unit), &g, s);
}

#endif
