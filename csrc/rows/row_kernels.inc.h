/* row_kernels.inc.h: one row whose classes lie side by side, along the lanes: its maximum, its sum of exponentials, its results.
   It knows no operation and no job. */
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

/* ---- the sum of exponentials ---------------------------------------------------------------------------------- */

/* The row (or block) that is computed next. It is read along with this one, which hides the latency of memory: its maximum is
   found, and what cannot be read in place is converted into scratch. */
struct lookahead {
    sl_dtype dtype;
    const void *x; /* its elements from number at on */
    ptrdiff_t at;
    const unsigned char *mask;
    real *to; /* scratch; or NULL: it is read in place */
};

struct row_sum {
    const real *x;
    ptrdiff_t n;
    real round_magic, lower_bound;
    const struct temperature_params *temperature;
    real *e;               /* where e goes, or NULL; may be x */
    const real *y;         /* where results will go, prefetched along with e; unless e is y, e has room for a whole last vector */
    struct lookahead next; /* n elements; x itself where there is no next row */
    real *next_max;
    real *next_part_maxima; /* if n is a multiple of the parts; or NULL */
};

SL_INLINE vec load_lookahead(const sl_dtype dtype, const int converts, const struct lookahead *next, ptrdiff_t i, ptrdiff_t count) {
    const vec v = load_visible(dtype, 0, next->x, next->mask, next->at + i, count);
    if (converts) v_store(next->to + i, v);
    return v;
}

/* u vectors from element i on */
SL_INLINE void row_exp_sum_step(int u, const sl_dtype dtype, const int converts, const struct row_sum *r, ptrdiff_t i,
                                const struct exp_constants *c, struct pair *sum, vec *next_max) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype), vectors_per_line = 64 / (LANES * size);
    const struct lookahead *next = &r->next;
    vec v[UNROLL];
    for (int j = 0; j < u; j++) next_max[j] = v_max(load_lookahead(dtype, converts, next, i + j * LANES, LANES), next_max[j]);
    for (int j = 0; j < u; j += (int)vectors_per_line)
        sl_prefetch((const char *)next->x + (next->at + i + j * LANES) * size + PREFETCH_DISTANCE);
    if (next->mask) sl_prefetch(next->mask + next->at + i + PREFETCH_DISTANCE / 4);
    for (int j = 0; j < u; j++) v[j] = v_load(r->x + i + j * LANES);
    add_exp(u, v, c, sum, v);
    if (!r->e) return;
    for (int j = 0; j < u; j++) {
        sl_prefetch((const char *)(r->y + i + j * LANES) + PREFETCH_DISTANCE);
        v_store(r->e + i + j * LANES, v[j]);
    }
}

SL_INLINE void store_part_maxima(vec *m, vec *most, real *to) {
    for (int k = 1; k < UNROLL; k++) m[0] = v_max(m[k], m[0]);
    v_store(to, m[0]);
    *most = v_max(m[0], *most);
    for (int k = 0; k < UNROLL; k++) m[k] = v_set1(-INFINITY);
}

/* The sum of e(x) in LANES fixed lanes, for a row whose options are known where this is compiled */
SL_INLINE struct pair row_exp_sum_as(const sl_dtype dtype, const int converts, struct row_sum r) {
    struct temperature_params own; /* a copy that no store can change */
    if (r.temperature) own = *r.temperature;
    const struct exp_constants c = {v_set1(r.round_magic), v_set1(r.lower_bound), v_load_table(exp_table), r.temperature ? &own : NULL};
    struct pair sum = sum_begin();
    vec m[UNROLL], most = v_set1(-INFINITY);
    for (int k = 0; k < UNROLL; k++) m[k] = most;
    ptrdiff_t i = 0;
    for (; i + UNROLL * LANES <= r.n; i += UNROLL * LANES) {
        row_exp_sum_step(UNROLL, dtype, converts, &r, i, &c, &sum, m);
        if ((i + UNROLL * LANES) % (VECTORS_PER_MAXIMUM * LANES)) continue;
        sum = pair_renormalize(sum); /* keeps low small, and so its rounding */
        if (r.next_part_maxima) store_part_maxima(m, &most, r.next_part_maxima + i / (VECTORS_PER_MAXIMUM * LANES) * LANES);
    }
    m[0] = v_max(most, m[0]);
    for (; i + 2 * LANES <= r.n; i += 2 * LANES) row_exp_sum_step(2, dtype, converts, &r, i, &c, &sum, m);
    for (; i + LANES <= r.n; i += LANES) row_exp_sum_step(1, dtype, converts, &r, i, &c, &sum, m);
    if (i < r.n) {
        vec v = v_load_tail(r.x + i, r.n - i, -INFINITY);
        m[0] = v_max(load_lookahead(dtype, converts, &r.next, i, r.n - i), m[0]);
        add_exp(1, &v, &c, &sum, &v);
        if (r.e && r.e != r.y) v_store(r.e + i, v);
        else if (r.e) v_store_tail(r.e + i, r.n - i, v);
    }
    for (int k = 1; k < UNROLL; k++) m[0] = v_max(m[k], m[0]);
    *r.next_max = v_reduce_max(m[0]);
    return sum_end(sum);
}

/* One loop is compiled for each of these choices: is e stored, has the next row a mask, a temperature? The assignments change nothing:
   they let the compiler drop that case from the loop. */
SL_INLINE struct pair row_exp_sum_dtype(const sl_dtype dtype, const int converts, struct row_sum r) {
    if (r.e) return row_exp_sum_as(dtype, converts, r);
    r.e = NULL;
    r.y = r.x;
    return row_exp_sum_as(dtype, converts, r);
}
SL_INLINE struct pair row_exp_sum_masked(const sl_dtype dtype, struct row_sum r) {
    r.temperature = NULL;
    r.next_part_maxima = NULL;
    if (r.next.mask) return row_exp_sum_dtype(dtype, 1, r);
    r.next.mask = NULL;
    return row_exp_sum_dtype(dtype, 1, r);
}

/* The next row goes to scratch: it has a dtype that converts_ahead names. */
static struct pair row_exp_sum_and_convert(const struct row_sum *r) {
    switch (r->next.dtype) {
#if SL_REAL == 32
        case SL_FLOAT16: return row_exp_sum_masked(SL_FLOAT16, *r);
        case SL_BFLOAT16: return row_exp_sum_masked(SL_BFLOAT16, *r);
        case SL_UINT8: return row_exp_sum_masked(SL_UINT8, *r);
#endif
        default: return row_exp_sum_masked(OWN_DTYPE, *r);
    }
}

/* The next row is read in place. */
SL_INLINE struct pair row_exp_sum_in_place(struct row_sum r) {
    r.next.mask = NULL;
    if (r.temperature) return row_exp_sum_dtype(OWN_DTYPE, 0, r);
    r.temperature = NULL;
    return row_exp_sum_dtype(OWN_DTYPE, 0, r);
}
static struct pair row_exp_sum_with_maxima(struct row_sum r) {
    r.e = NULL;
    return row_exp_sum_in_place(r);
}
/* By value, and with a copy for the function that is called: a struct in memory would cost some cycles for each row. */
SL_INLINE struct pair row_exp_sum(struct row_sum r) {
    if (r.next.to) {
        const struct row_sum copy = r;
        return row_exp_sum_and_convert(&copy);
    }
    if (r.next_part_maxima) return row_exp_sum_with_maxima(r);
    r.next_part_maxima = NULL;
    return row_exp_sum_in_place(r);
}

/* ---- results of a row ------------------------------------------------------------------------------------------ */

/* e * block_scale * (scale + scale_low): the power of two first, as scale with it could be too small a number for all its bits */
struct row_scale {
    real block_scale, scale, scale_low, flush_below;
};
SL_INLINE void row_scale_as(const int flushes, const real *e, ptrdiff_t n, const struct row_scale *s, const sl_dtype dtype, void *y,
                            ptrdiff_t at) {
    const vec power = v_set1(s->block_scale), high = v_set1(s->scale), low = v_set1(s->scale_low);
    const vec flush_below = v_set1(s->flush_below / s->block_scale);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store_ahead(dtype, y, at + i, scale_exp(v_mul(flush_small(v_load(e + i), flushes, flush_below), power), high, low));
    if (i == n) return;
    const vec tail = flush_small(v_load_tail(e + i, n - i, 0), flushes, flush_below);
    store_vector(dtype, y, at + i, n - i, scale_exp(v_mul(tail, power), high, low));
}
SL_INLINE void row_scale(const real *e, ptrdiff_t n, const struct row_scale *s, const sl_dtype dtype, void *y, ptrdiff_t at) {
    if (s->flush_below > 0) row_scale_as(1, e, n, s, dtype, y, at);
    else row_scale_as(0, e, n, s, dtype, y, at);
}

SL_INLINE void row_shift_logits(const real *x, ptrdiff_t n, real max, real log_sum, const struct temperature_params *temperature,
                                const sl_dtype dtype, void *y, ptrdiff_t at) {
    const vec m = v_set1(max), l = v_set1(log_sum);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) store_ahead(dtype, y, at + i, shift_logit(v_load(x + i), m, l, temperature));
    if (i < n) store_vector(dtype, y, at + i, n - i, shift_logit(v_load_tail(x + i, n - i, 0), m, l, temperature));
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
