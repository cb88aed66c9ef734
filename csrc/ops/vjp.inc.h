/* vjp.inc.h: the operations softmax_vjp and log_softmax_vjp: vector-Jacobian products, from the gradient g of the output and the
   output y itself.

       softmax:      y (g - sum(g y))
       log_softmax:  g - exp(y) sum(g)

   Sums are accumulated in float64; for float64 inputs as pairs. */
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

/* The sums of rows: one in each lane, or for a single row LANES parts of its sum, until those are added up. */
SL_INLINE ptrdiff_t sums_of(const struct vjp_block *b, ptrdiff_t i) { return b->one_class ? i / LANES : 0; }
SL_INLINE ptrdiff_t vjp_count(const struct vjp_block *b, ptrdiff_t i) { return b->n - i < LANES ? b->n - i : LANES; }

static void add_vjp_sums(sl_op op, const struct vjp_block *b, struct dot_sum *sums) {
    for (ptrdiff_t i = 0; i < b->n; i += LANES) {
        const ptrdiff_t count = vjp_count(b, i);
        const vec weight = op == SL_SOFTMAX_VJP ? load_some(b->output + i, count) : v_set1(1);
        dot_add_product(&sums[sums_of(b, i)], load_some(b->gradient + i, count), weight);
    }
}
/* The parts of the sum of a single row are added up. */
static void finish_vjp_sums(int one_class, struct dot_sum *sums, ptrdiff_t count) {
    if (!one_class) {
        double low = 0;
        const double high = dot_total(sums, &low);
        for (int h = 0; h < HALVES; h++) {
            sums->high[h] = f64_set1(high);
            sums->low[h] = f64_set1(low);
        }
    }
#if SL_REAL == 64 /* which reads the low parts: that of an infinite sum may be NaN */
    const f64_v zero = f64_set1(0.0);
    for (ptrdiff_t i = 0; i < count; i++)
        sums[i].low[0] = f64_select_eq(f64_sub(sums[i].high[0], sums[i].high[0]), zero, sums[i].low[0], zero);
#else
    (void)count;
#endif
}

static void softmax_vjp_block(const struct vjp_block *b, const struct dot_sum *sums, real *result) {
#if SL_REAL == 64
    const f64_v zero = f64_set1(0.0);
#endif
    for (ptrdiff_t i = 0; i < b->n; i += LANES) {
        const struct dot_sum *s = &sums[sums_of(b, i)];
        f64_v g[HALVES], y[HALVES], r[HALVES];
        to_double(load_some(b->gradient + i, vjp_count(b, i)), g);
        to_double(load_some(b->output + i, vjp_count(b, i)), y);
        for (int h = 0; h < HALVES; h++) {
#if SL_REAL == 32
            r[h] = f64_mul(y[h], f64_sub(g[h], s->high[h]));
#else
            f64_v rest, d = f64_two_sum(g[h], f64_negate(s->high[h]), &rest);
            rest = f64_select_eq(f64_sub(d, d), zero, f64_sub(rest, s->low[h]), zero);
            r[h] = f64_fma(y[h], d, f64_mul(y[h], rest));
#endif
        }
        const vec rounded = from_double(r);
        store_vectors(1, result + i, vjp_count(b, i), &rounded);
    }
}

/* exp(y) as p * down, a power of two, so that what is below the smallest normal number keeps its bits; float32 has room in float64. */
SL_INLINE void exp_of_log_probs(vec y, const struct exp_constants *constants, const struct logistic_params *g, f64_v *p, f64_v *down) {
    vec T, q;
    exp_parts(1, &y, constants, &T, &q);
#if SL_REAL == 32
    const vec up = v_set1(0x1p24f);
    const f64_v back = f64_set1(0x1p-24);
#else
    const vec far = v_set1(-600.0), up = v_select_lt(y, far, v_set1(0x1p60), v_set1(1));
    const f64_v back = v_select_lt(y, far, v_set1(0x1p-60), v_set1(1));
#endif
    to_double(scale_exp(v_fma(T, q, T), v_mul(g->inverse.high, up), v_mul(g->inverse.low, up)), p);
    for (int h = 0; h < HALVES; h++) down[h] = back;
}
static void log_softmax_vjp_block(const struct vjp_block *b, const struct dot_sum *sums, const struct logistic_params *params,
                                  real *result) {
    const struct exp_constants constants = constants_without_temperature(params->round_magic, params->lower_bound);
    for (ptrdiff_t i = 0; i < b->n; i += LANES) {
        const struct dot_sum *s = &sums[sums_of(b, i)];
        f64_v g[HALVES], p[HALVES], down[HALVES], r[HALVES];
        to_double(load_some(b->gradient + i, vjp_count(b, i)), g);
        exp_of_log_probs(load_some(b->output + i, vjp_count(b, i)), &constants, params, p, down);
        for (int h = 0; h < HALVES; h++) {
            const f64_v minus_p = f64_negate(p[h]);
            r[h] = f64_fma(minus_p, f64_mul(s->high[h], down[h]), g[h]);
#if SL_REAL == 64
            r[h] = f64_fma(minus_p, f64_mul(s->low[h], down[h]), r[h]);
#endif
        }
        const vec rounded = from_double(r);
        store_vectors(1, result + i, vjp_count(b, i), &rounded);
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
    struct dot_sum sums[TILE_WIDTH / LANES];
    const ptrdiff_t used = one_class ? (strip.rows + LANES - 1) / LANES : 1;
    for (ptrdiff_t i = 0; i < used; i++) sums[i] = dot_zero();
    for (ptrdiff_t k = 0; k < n; k += step) {
        const ptrdiff_t count = one_class ? strip.rows : n - k < step ? n - k : step;
        const struct vjp_block b = load_vjp_block(job, start + k * job->inner, count, s);
        add_vjp_sums(job->op, &b, sums);
    }
    finish_vjp_sums(one_class, sums, used);
    for (ptrdiff_t k = 0; k < n; k += step) {
        const ptrdiff_t at = start + k * job->inner, count = one_class ? strip.rows : n - k < step ? n - k : step;
        const struct vjp_block b = load_vjp_block(job, at, count, s);
        real *result = output_at(job, at, s->gradient);
        if (job->op == SL_SOFTMAX_VJP) softmax_vjp_block(&b, sums, result);
        else log_softmax_vjp_block(&b, sums, g, result);
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
