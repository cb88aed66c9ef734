/* tile_kernels.inc.h: a tile [class][row], one row per lane: maxima, sums of exponentials and results of its columns. Class k of a vector
   of rows is at tile + k * stride. It knows no operation. */
#ifndef SL_TILE_KERNELS_INC
#define SL_TILE_KERNELS_INC
#include "rows/row_stats.inc.h"

/* Planes that are fetched ahead: the hardware prefetcher does not follow strides of planes. More of them at once would evict each other
   where the size of a plane is a power of two, since their lines fall into the same cache sets. */
enum { PLANES_AHEAD = 5 };

SL_INLINE vec column_max(const real *tile, ptrdiff_t stride, ptrdiff_t n, vec m) {
    for (ptrdiff_t k = 0; k < n; k++) m = v_max(v_load(tile + k * stride), m);
    return m;
}

static void column_shift(const real *from, ptrdiff_t stride, ptrdiff_t n, vec shift, real *to, ptrdiff_t to_stride) {
    for (ptrdiff_t k = 0; k < n; k++) v_store(to + k * to_stride, v_sub(v_load(from + k * stride), shift));
}

/* ---- sums of exponentials -------------------------------------------------------------------------------------- */

SL_INLINE void column_exp_sum_step(int u, real *tile, ptrdiff_t stride, const struct exp_constants *c, int stores_exp, struct pair *sum,
                                   struct deviation *deviation) {
    vec x[UNROLL], v[UNROLL];
    for (int i = 0; i < u; i++) x[i] = v_load(tile + i * stride);
    add_exp(u, x, c, sum, v);
    if (deviation) add_deviation(u, x, v, c, deviation);
    if (stores_exp)
        for (int i = 0; i < u; i++) v_store(tile + i * stride, v[i]);
}
SL_INLINE struct pair column_exp_sum_as(real *tile, ptrdiff_t stride, ptrdiff_t n, const struct exp_constants *constants, int stores_exp,
                                        struct deviation *deviation) {
    const struct exp_constants c = *constants;
    struct pair s = sum_begin();
    ptrdiff_t k = 0;
    for (; k + UNROLL <= n; k += UNROLL) {
        column_exp_sum_step(UNROLL, tile + k * stride, stride, &c, stores_exp, &s, deviation);
        if ((k + UNROLL) % 16 == 0) s = pair_renormalize(s);
    }
    for (; k + 2 <= n; k += 2) column_exp_sum_step(2, tile + k * stride, stride, &c, stores_exp, &s, deviation);
    if (k < n) column_exp_sum_step(1, tile + k * stride, stride, &c, stores_exp, &s, deviation);
    return sum_end(s);
}
/* The sum of e of n classes; e takes the place of x if stores_exp is set. */
SL_INLINE struct pair column_exp_sum(real *tile, ptrdiff_t stride, ptrdiff_t n, const struct exp_params *p, const int stores_exp) {
    struct exp_constants c = exp_constants_of(p);
    if (p->temperature) return column_exp_sum_as(tile, stride, n, &c, stores_exp, NULL);
    c.temperature = NULL;
    return column_exp_sum_as(tile, stride, n, &c, stores_exp, NULL);
}
/* The same, and the sums of e * (max - x), high and low */
static struct pair column_exp_sum_with_deviation(real *tile, ptrdiff_t stride, ptrdiff_t n, const struct exp_params *p, double *high,
                                                 double *low) {
    struct exp_constants c = exp_constants_of(p);
    struct deviation d = deviation_begin(p->reduced);
    struct pair sum;
    if (p->temperature) sum = column_exp_sum_as(tile, stride, n, &c, 0, &d);
    else {
        c.temperature = NULL;
        sum = column_exp_sum_as(tile, stride, n, &c, 0, &d);
    }
    for (int i = 0; i < HALVES; i++) {
        f64_store(high + 8 * i, d.sum.high[i]);
        f64_store(low + 8 * i, d.sum.low[i]);
    }
    return sum;
}

/* The sum of e of the classes below the maximum */
static struct pair column_sum_without_max(const real *tile, ptrdiff_t stride, ptrdiff_t n, const struct exp_params *p) {
    const struct exp_constants c = exp_constants_of(p);
    struct pair sum = pair_zero();
    vec x[UNROLL];
    ptrdiff_t k = 0;
    for (; k + UNROLL <= n; k += UNROLL) {
        for (int i = 0; i < UNROLL; i++) x[i] = v_sub(v_load(tile + (k + i) * stride), p->shift);
        add_exp_without_max(UNROLL, x, p->reduced, &c, &sum);
    }
    for (; k < n; k++) {
        x[0] = v_sub(v_load(tile + k * stride), p->shift);
        add_exp_without_max(1, x, p->reduced, &c, &sum);
    }
    return sum;
}

/* ---- results --------------------------------------------------------------------------------------------------- */

/* Where results go: class k of the first column is at y[k * stride]. */
struct tile_output {
    real *y;
    ptrdiff_t stride, columns;
};

/* n classes of some vectors of rows, from e or from x, class by class over all columns, as they lie in memory */
static void map_columns(const struct op *op, const struct row_group *groups, const real *tile, ptrdiff_t stride, ptrdiff_t n,
                        const struct tile_output *to) {
    const int scales = scales_exp(op), flushes = groups[0].job->mask != NULL;
    const int full = (int)(to->columns / LANES), count = (int)((to->columns + LANES - 1) / LANES);
    const ptrdiff_t prefetched = PLANES_AHEAD / 2 * to->stride;
    const vec one = v_set1(1);
    const struct row_stats *stats = groups[0].stats; /* of all groups, one after the other */
    int any_certain = 0;
    for (int j = 0; j < count; j++) any_certain |= has_certain(op, &stats[j]);
    for (ptrdiff_t k = 0; k < n; k++)
        for (int j = 0; j < count; j++) {
            const struct row_stats *s = &stats[j];
            const struct exp_params *p = &groups[j].params;
            const vec x = v_load(tile + k * stride + j * LANES);
            real *y = to->y + k * to->stride + j * LANES;
            sl_prefetch(y + prefetched);
            vec r = scales ? scale_exp(flush_small(x, flushes, v_load(s->flush_below)), v_load(s->scale), v_load(s->scale_low))
                           : shift_logit(x, p->max, v_load(s->log_sum), p->temperature);
            if (any_certain) r = v_select_lt(certain_from(s), r, one, r);
            if (j < full) v_store(y, r);
            else v_store_tail(y, to->columns - j * LANES, r);
        }
}

/* e of some classes in a tile, and the value of each class */
struct valued_tile {
    const real *tile, *values;
    ptrdiff_t stride, n;
};

/* Adds probabilities times the values of the classes to the sums of u vectors of rows. */
SL_INLINE void expect_columns_as(int u, const int flushes, const int fixes_certain, const struct row_stats *stats,
                                 const struct valued_tile *t, struct dot_sum *sums) {
    const vec one = v_set1(1);
    struct dot_sum d[UNROLL];
    for (int j = 0; j < u; j++) d[j] = sums[j];
    for (ptrdiff_t k = 0; k < t->n; k++)
        for (int j = 0; j < u; j++) {
            const struct row_stats *s = &stats[j];
            const vec e = flush_small(v_load(t->tile + k * t->stride + j * LANES), flushes, v_load(s->flush_below));
            vec p = scale_exp(e, v_load(s->scale), v_load(s->scale_low));
            if (fixes_certain) p = v_select_lt(certain_from(s), p, one, p);
            dot_add_multiple(&d[j], p, t->values[k]);
        }
    for (int j = 0; j < u; j++) sums[j] = d[j];
}
SL_INLINE void expect_columns(int u, const int flushes, const struct row_stats *stats, const struct valued_tile *t, struct dot_sum *sums) {
    int any_certain = 0;
    for (int j = 0; j < u; j++) any_certain |= stats[j].any_confident;
    if (any_certain) expect_columns_as(u, 1, 1, stats, t, sums);
    else if (flushes) expect_columns_as(u, 1, 0, stats, t, sums);
    else expect_columns_as(u, 0, 0, stats, t, sums);
}

#endif
