/* class_weights.inc.h: what many classes of a row weigh, without a list of them: those that come first in the order of classes. */
#ifndef SL_CLASS_WEIGHTS_INC
#define SL_CLASS_WEIGHTS_INC
#include "rows/op.inc.h"

/* The classes that come first in their order: all above value, and those that equal it up to index tie. */
struct order_prefix {
    real value;
    ptrdiff_t tie;
};
SL_INLINE int in_prefix(const struct order_prefix *p, real x, ptrdiff_t k) { return x > p->value || (x == p->value && k <= p->tie); }

/* What a class of a row weighs: e(x). Where params is NULL each class weighs 1, and NaN is above all. */
struct class_weights {
    const sl_job *job;
    ptrdiff_t row;
    const struct exp_params *params;
    real *block; /* scratch for load_row_block */
};

SL_INLINE vec load_or_lowest(const real *x, ptrdiff_t count) {
    return count >= LANES ? v_load(x) : count > 0 ? v_load_tail(x, count, -INFINITY) : v_set1(-INFINITY);
}

/* How many of n classes are above value, or equal where with_ties is set. A lane counts up to SL_BLOCK, exactly. */
static double count_in_block(const real *x, ptrdiff_t n, real value, int with_ties) {
    const vec bound = v_set1(value), zero = v_set1(0), one = v_set1(1);
    vec counts = zero;
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec v = load_or_lowest(x + i, n - i);
        vec counted = v_select_lt(bound, v, one, zero);
        if (with_ties) counted = v_select_eq(v, bound, one, counted);
        counts = v_add(counts, v_select_eq(v, v, counted, one));
    }
    real lane[LANES];
    double total = 0;
    v_store(lane, counts);
    for (int l = 0; l < LANES; l++) total += (double)lane[l];
    return total;
}

/* The weight of those classes, from e as pairs */
static double weight_in_block(const struct class_weights *w, const real *x, ptrdiff_t n, real value, int with_ties) {
    const vec bound = v_set1(value), zero = v_set1(0), one = v_set1(1);
    const struct exp_constants c = exp_constants_of(w->params);
    struct dot_sum sum = dot_zero();
    for (ptrdiff_t i = 0; i < n; i += UNROLL * LANES) {
        vec v[UNROLL], shifted[UNROLL], T[UNROLL], p[UNROLL];
        for (int j = 0; j < UNROLL; j++) {
            const ptrdiff_t at = i + j * LANES;
            v[j] = load_or_lowest(x + (at < n ? at : n), n - at);
            shifted[j] = v_sub(v[j], w->params->shift);
        }
        exp_parts(UNROLL, shifted, &c, T, p);
        for (int j = 0; j < UNROLL; j++) {
            const struct pair e = exp_pair(T[j], p[j]);
            vec kept = v_select_lt(bound, v[j], e.high, zero);
            if (with_ties) kept = v_select_eq(v[j], bound, e.high, kept);
            dot_add_product(&sum, kept, one);
            dot_add_low(&sum, v_select_eq(kept, zero, zero, e.low));
        }
    }
    double low = 0;
    const double total = dot_total(&sum, &low);
    return total + low;
}

/* Adds to total what the classes of a prefix weigh that are in a block: n classes x from number `from` on, in pieces that end with the last
   tie and with the block. */
static double add_block_of_prefix(const struct class_weights *w, const real *x, ptrdiff_t from, ptrdiff_t n, struct order_prefix prefix,
                                  double total) {
    const ptrdiff_t ties = prefix.tie + 1 - from, first = ties > 0 && ties < n ? ties : n;
    for (ptrdiff_t i = 0, end = first; i < n; i = end, end = n)
        total +=
            w->params ? weight_in_block(w, x + i, end - i, prefix.value, i < ties) : count_in_block(x + i, end - i, prefix.value, i < ties);
    return total;
}

/* What the classes of a prefix weigh that are in [from, to) */
static double weight_of_prefix(const struct class_weights *w, ptrdiff_t from, ptrdiff_t to, struct order_prefix prefix) {
    double total = 0;
    while (from < to) {
        ptrdiff_t end = (from / SL_BLOCK + 1) * SL_BLOCK;
        if (end > to) end = to;
        total = add_block_of_prefix(w, load_row_block(w->job, w->row, from, end - from, w->block), from, end - from, prefix, total);
        from = end;
    }
    return total;
}

#endif
