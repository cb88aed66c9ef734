/* row_kernels.inc.h: rows whose classes lie side by side, along the lanes: their maxima, their sums of exponentials, their results. What
   all rows of a call share is decided once for them, outside their loops. It knows no operation and no job. */
#ifndef SL_ROW_KERNELS_INC
#define SL_ROW_KERNELS_INC
#include "rows/part_maxima.inc.h"
#include "rows/row_stats.inc.h"

static real row_max(const real *x, ptrdiff_t n) {
    const vec lowest = v_set1(-INFINITY);
    vec a = lowest, b = lowest, c = lowest, d = lowest;
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) { /* max(x, a) keeps a where x is NaN: the sum will show it */
        a = v_max(v_load(x + i), a);
        b = v_max(v_load(x + i + LANES), b);
        c = v_max(v_load(x + i + 2 * LANES), c);
        d = v_max(v_load(x + i + 3 * LANES), d);
    }
    for (; i + LANES <= n; i += LANES) a = v_max(v_load(x + i), a);
    if (i < n) b = v_max(v_load_tail(x + i, n - i, -INFINITY), b);
    return v_reduce_max(v_max(v_max(a, b), v_max(c, d)));
}

static void row_shift(const real *x, ptrdiff_t n, real shift, real *y) {
    for (ptrdiff_t i = 0; i < n; i++) y[i] = x[i] - shift;
}

/* ---- sums of exponentials -------------------------------------------------------------------------------------- */

/* The rows that are computed next. They are read along with those of now, which hides the latency of memory: their maxima are found,
   and what cannot be read in place is converted into scratch. */
struct lookahead {
    sl_dtype dtype;
    int rows; /* at least 1: rows after the last are read as the last */
    const void *x;
    ptrdiff_t at, step; /* class 0 of the first row is element `at` of x; from there to the next row */
    const unsigned char *mask;
    real *to; /* scratch; or NULL: they are read in place */
    ptrdiff_t to_step;
};

/* Rows first to first + rows of a group, all with n classes */
struct rows_sum {
    int first, rows;
    ptrdiff_t n;
    const real *x;
    real *e;       /* where e goes, or NULL; may be x */
    const real *y; /* where results will go, which is prefetched; or NULL. Unless e is y, e has room for a whole last vector. */
    ptrdiff_t x_step, e_step, y_step;
    real round_magic[LANES], lower_bound[LANES];
    const struct temperature_params *temperature;
    struct lookahead next;
    vec next_max[LANES];     /* becomes the maxima of the next rows */
    real *next_part_maxima;  /* of one row, if n is a multiple of the parts; or NULL */
    struct pair *sums;       /* becomes the sums of e(x), in LANES lanes each */
    double (*deviations)[2]; /* becomes the sums of e(x) * (max - x), high and low; or NULL */
    real max[LANES];         /* for these: of x, as it is here */
};

/* What rows share. A loop is compiled for each set of options that occurs. */
enum { STORES_E = 1, FETCHES_Y = 2, HAS_TEMPERATURE = 4, CONVERTS_NEXT = 8, MASKS_NEXT = 16, KEEPS_NEXT_MAXIMA = 32, SUMS_DEVIATION = 64 };

/* One row of a rows_sum, and the row that is read along with it */
struct row_sum {
    const real *x, *y;
    real *e, *next_to;
    const char *next_x;
    const unsigned char *next_mask;
    struct deviation *deviation;
};
SL_INLINE struct row_sum row_of(const sl_dtype dtype, const int options, const struct rows_sum *s, int i) {
    const struct lookahead *next = &s->next;
    const ptrdiff_t j = i < next->rows ? i : next->rows - 1, at = next->at + j * next->step;
    return (struct row_sum){
        .x = s->x + i * s->x_step,
        .y = options & FETCHES_Y ? s->y + i * s->y_step : NULL,
        .e = options & STORES_E ? s->e + i * s->e_step : NULL,
        .next_to = options & CONVERTS_NEXT ? next->to + i * next->to_step : NULL,
        .next_x = (const char *)next->x + at * (ptrdiff_t)element_size(dtype),
        .next_mask = options & MASKS_NEXT ? next->mask + at : NULL,
    };
}

SL_INLINE vec load_lookahead(const sl_dtype dtype, const int options, const struct row_sum *r, ptrdiff_t i, ptrdiff_t count) {
    const vec v = load_visible(dtype, 0, r->next_x, options & MASKS_NEXT ? r->next_mask : NULL, i, count);
    if (options & CONVERTS_NEXT) v_store(r->next_to + i, v);
    return v;
}

/* u vectors from element i on */
SL_INLINE void row_exp_sum_step(int u, const sl_dtype dtype, const int options, const struct row_sum *r, ptrdiff_t i,
                                const struct exp_constants *c, struct pair *sum, vec *next_max) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype), vectors_per_line = 64 / (LANES * size);
    vec x[UNROLL], v[UNROLL];
    for (int j = 0; j < u; j++) *next_max = v_max(load_lookahead(dtype, options, r, i + j * LANES, LANES), *next_max);
    for (int j = 0; j < u; j += (int)vectors_per_line) sl_prefetch(r->next_x + (i + j * LANES) * size + PREFETCH_DISTANCE);
    if (options & MASKS_NEXT) sl_prefetch(r->next_mask + i + PREFETCH_DISTANCE / 4);
    for (int j = 0; j < u; j++) x[j] = v_load(r->x + i + j * LANES);
    add_exp(u, x, c, sum, v);
    if (options & SUMS_DEVIATION) add_deviation(u, x, v, c, r->deviation);
    for (int j = 0; j < u; j++) {
        if (options & FETCHES_Y) sl_prefetch((const char *)(r->y + i + j * LANES) + PREFETCH_DISTANCE);
        if (options & STORES_E) v_store(r->e + i + j * LANES, v[j]);
    }
}

/* The sum of e(x) of one row in LANES fixed lanes; next_max becomes the maxima of the row read along. */
SL_INLINE struct pair row_exp_sum(const sl_dtype dtype, const int options, const struct row_sum r, ptrdiff_t n,
                                  const struct exp_constants *c, real *next_part_maxima, vec *next_max) {
    struct pair sum = sum_begin();
    vec max = v_set1(-INFINITY), max_of_parts = max;
    ptrdiff_t i = 0;
    for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
        row_exp_sum_step(UNROLL, dtype, options, &r, i, c, &sum, &max);
        if ((i + UNROLL * LANES) % (VECTORS_PER_MAXIMUM * LANES)) continue;
        sum = pair_renormalize(sum); /* keeps low small, and so its rounding */
        if (!(options & KEEPS_NEXT_MAXIMA)) continue;
        v_store(next_part_maxima + i / (VECTORS_PER_MAXIMUM * LANES) * LANES, max);
        max_of_parts = v_max(max, max_of_parts);
        max = v_set1(-INFINITY);
    }
    _Static_assert(UNROLL <= 4, "fewer than 4 vectors are left");
    if (UNROLL > 2 && i + 2 * LANES <= n) {
        row_exp_sum_step(2, dtype, options, &r, i, c, &sum, &max);
        i += 2 * LANES;
    }
    if (i + LANES <= n) {
        row_exp_sum_step(1, dtype, options, &r, i, c, &sum, &max);
        i += LANES;
    }
    if (i < n) {
        vec v;
        const vec x = v_load_tail(r.x + i, n - i, -INFINITY);
        max = v_max(load_lookahead(dtype, options, &r, i, n - i), max);
        add_exp(1, &x, c, &sum, &v);
        if (options & SUMS_DEVIATION) add_deviation(1, &x, &v, c, r.deviation);
        if (options & STORES_E && r.e != r.y) v_store(r.e + i, v);
        else if (options & STORES_E) v_store_tail(r.e + i, n - i, v);
    }
    *next_max = v_max(max, max_of_parts);
    return sum_end(sum);
}

/* rows_exp_sum for one dtype of the next rows and one set of options, both constants */
SL_INLINE void rows_exp_sum_as(const sl_dtype dtype, const int options, struct rows_sum *s) {
    const v_table table = v_load_table(exp_table);
    for (int i = s->first; i < s->first + s->rows; i++) {
        struct temperature_params own; /* a copy that no store can change */
        if (options & HAS_TEMPERATURE) temperature_of_row(s->temperature, i, &own);
        const struct exp_constants c = {v_set1(s->round_magic[i]), v_set1(s->lower_bound[i]), table,
                                        options & HAS_TEMPERATURE ? &own : NULL};
        struct row_sum row = row_of(dtype, options, s, i);
        struct deviation deviation;
        if (options & SUMS_DEVIATION) {
            deviation = deviation_begin(v_set1(s->max[i]));
            row.deviation = &deviation;
        }
        s->sums[i] = row_exp_sum(dtype, options, row, s->n, &c, s->next_part_maxima, &s->next_max[i]);
        if (!(options & SUMS_DEVIATION)) continue;
        double *to = s->deviations[i];
        to[1] = 0;
        to[0] = dot_total(&deviation.sum, &to[1]);
    }
}

/* The next rows go to scratch. options: MASKS_NEXT or 0 */
SL_INLINE void rows_exp_sum_converting(const sl_dtype dtype, const int options, struct rows_sum *s) {
    if (s->e) rows_exp_sum_as(dtype, options | CONVERTS_NEXT | STORES_E | FETCHES_Y, s);
    else rows_exp_sum_as(dtype, options | CONVERTS_NEXT, s);
}
/* The next rows have a dtype that converts_ahead names; those of the compute type are masked. */
static void rows_exp_sum_and_convert(struct rows_sum *s) {
    switch (s->next.dtype) {
#if SL_REAL == 32
        case SL_FLOAT16: rows_exp_sum_converting(SL_FLOAT16, 0, s); return;
        case SL_BFLOAT16: rows_exp_sum_converting(SL_BFLOAT16, 0, s); return;
        case SL_UINT8: rows_exp_sum_converting(SL_UINT8, 0, s); return;
#endif
        default: rows_exp_sum_converting(OWN_DTYPE, MASKS_NEXT, s);
    }
}

/* The next rows are read in place. */
SL_INLINE void rows_exp_sum_in_place(const int options, struct rows_sum *s) {
    if (s->temperature) rows_exp_sum_as(OWN_DTYPE, options | HAS_TEMPERATURE, s);
    else rows_exp_sum_as(OWN_DTYPE, options, s);
}
/* Part maxima and deviations are of operations without a second pass alone, so that there is neither e nor y then. Rows that are converted
   have neither temperatures nor deviations (converts_ahead). */
static void rows_exp_sum(struct rows_sum *s) {
    if (s->next.to) rows_exp_sum_and_convert(s);
    else if (s->e) rows_exp_sum_in_place(STORES_E | FETCHES_Y, s);
    else if (s->y) rows_exp_sum_in_place(FETCHES_Y, s);
    else if (s->deviations) rows_exp_sum_in_place(SUMS_DEVIATION, s);
    else if (s->next_part_maxima) rows_exp_sum_in_place(KEEPS_NEXT_MAXIMA, s);
    else rows_exp_sum_in_place(0, s);
}

/* ---- results of rows ------------------------------------------------------------------------------------------- */

/* Rows first to first + rows of a group, from e or x to results. The n classes of row i go to y from element at + i * y_step on. */
struct rows_map {
    int first, rows;
    ptrdiff_t n;
    const real *from;
    ptrdiff_t from_step;
    void *y;
    ptrdiff_t at, y_step;
    int flushes;             /* has flush_below of row_stats anything to say? */
    const real *block_scale; /* of blocks: one for each row; or NULL */
};

/* e * block_scale * (scale + scale_low): the power of two first, as scale with it could be too small a number for all its bits */
SL_INLINE void row_scale(const int flushes, const int in_blocks, const struct rows_map *m, const struct row_stats *s, int lane,
                         const sl_dtype dtype) {
    const real *e = m->from + lane * m->from_step, block_scale = in_blocks ? m->block_scale[lane] : 1;
    const vec power = v_set1(block_scale), high = v_set1(s->scale[lane]), low = v_set1(s->scale_low[lane]);
    const vec flush_below = v_set1(s->flush_below[lane] / block_scale);
    const ptrdiff_t n = m->n, at = m->at + lane * m->y_step; /* copies that no store can change */
    void *y = m->y;
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vec v = flush_small(v_load(e + i), flushes, flush_below);
        store_ahead(dtype, y, at + i, scale_exp(in_blocks ? v_mul(v, power) : v, high, low));
    }
    if (i == n) return;
    const vec v = flush_small(v_load_tail(e + i, n - i, 0), flushes, flush_below);
    store_vector(dtype, y, at + i, n - i, scale_exp(in_blocks ? v_mul(v, power) : v, high, low));
}
SL_INLINE void rows_scale_as(const int flushes, const int in_blocks, const struct rows_map *m, const struct row_stats *s,
                             const sl_dtype dtype) {
    for (int i = m->first; i < m->first + m->rows; i++) row_scale(flushes, in_blocks, m, s, i, dtype);
}
SL_INLINE void rows_scale(const struct rows_map *m, const struct row_stats *s, const sl_dtype dtype) {
    const int in_blocks = dtype == OWN_DTYPE && m->block_scale; /* e of blocks is kept in y alone, which is of real */
    if (m->flushes && in_blocks) rows_scale_as(1, 1, m, s, dtype);
    else if (m->flushes) rows_scale_as(1, 0, m, s, dtype);
    else if (in_blocks) rows_scale_as(0, 1, m, s, dtype);
    else rows_scale_as(0, 0, m, s, dtype);
}

SL_INLINE void row_shift_logits(const real *x, ptrdiff_t n, real max, real log_sum, const struct temperature_params *temperature,
                                const sl_dtype dtype, void *y, ptrdiff_t at) {
    const vec m = v_set1(max), l = v_set1(log_sum);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) store_ahead(dtype, y, at + i, shift_logit(v_load(x + i), m, l, temperature));
    if (i < n) store_vector(dtype, y, at + i, n - i, shift_logit(v_load_tail(x + i, n - i, 0), m, l, temperature));
}
SL_INLINE void rows_shift_logits(const struct rows_map *m, const struct row_stats *s, const struct exp_params *params,
                                 const sl_dtype dtype) {
    real max[LANES];
    v_store(max, params->max);
    for (int i = m->first; i < m->first + m->rows; i++) {
        struct temperature_params own;
        const struct temperature_params *t = temperature_of_row(params->temperature, i, &own);
        row_shift_logits(m->from + i * m->from_step, m->n, max[i], s->log_sum[i], t, dtype, m->y, m->at + i * m->y_step);
    }
}

/* Rows of which one class has all weight: the product may be an ulp short of 1. */
static void fix_certain(real *y, ptrdiff_t n) {
    const vec half = v_set1((real)0.5), one = v_set1(1);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const ptrdiff_t k = n - i < LANES ? n - i : LANES;
        const vec v = v_load_tail(y + i, k, 0);
        v_store_tail(y + i, k, v_select_lt(half, v, one, v));
    }
}

/* The sum of p times the values of its classes; *low takes what it rounds away. */
static double row_expectation(const real *p, const real *values, ptrdiff_t n, double *low) {
    struct dot_sum d = dot_zero();
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const ptrdiff_t count = n - i < LANES ? n - i : LANES;
        dot_add_product(&d, v_load_tail(p + i, count, 0), v_load_tail(values + i, count, 0));
    }
    return dot_total(&d, low);
}

#endif
