/* expectation.inc.h: the mean of values under the probabilities of a row. */
#ifndef SL_EXPECTATION_INC
#define SL_EXPECTATION_INC
#include "rows/row_stats.inc.h"

/* ---- the mean of values ----------------------------------------------------------------------------------------- */

/* A sum of products, as if in twice the precision */
typedef struct {
    f64_v high[HALVES], low[HALVES];
} dot_sum;
SL_INLINE void dot_add_product(dot_sum *d, vec p, vec value) {
    f64_v a[HALVES], b[HALVES];
    to_double(p, a);
    to_double(value, b);
#if SL_REAL == 32
    for (int i = 0; i < HALVES; i++) d->high[i] = f64_fma(a[i], b[i], d->high[i]); /* products of float32 are exact */
#else
    const f64_v product = f64_mul(a[0], b[0]), rest = f64_fma(a[0], b[0], f64_sub(f64_set1(0.0), product));
    const pair s = pair_add((pair){d->high[0], d->low[0]}, (pair){product, rest});
    d->high[0] = s.high;
    d->low[0] = s.low;
#endif
}
SL_INLINE dot_sum dot_zero(void) {
    dot_sum d;
    for (int i = 0; i < HALVES; i++) d.high[i] = d.low[i] = f64_set1(0.0);
    return d;
}
/* what products have rounded away, or the like */
SL_INLINE void dot_add_low(dot_sum *d, vec low) {
    f64_v part[HALVES];
    to_double(low, part);
    for (int i = 0; i < HALVES; i++) d->low[i] = f64_add(d->low[i], part[i]);
}
static double dot_total(const dot_sum *d, double *lost) {
    double high[LANES], low[LANES], sum = 0;
    for (int i = 0; i < HALVES; i++) {
        f64_store(high + 8 * i, d->high[i]);
        f64_store(low + 8 * i, d->low[i]);
    }
    for (int i = 0; i < LANES; i++) {
        sum = sl_add(sum, high[i], lost);
        *lost += low[i];
    }
    return sum;
}
static double expectation_of_row(const R *p, const R *values, ptrdiff_t n, double *lost) {
    dot_sum d = dot_zero();
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const ptrdiff_t count = n - i < LANES ? n - i : LANES;
        dot_add_product(&d, v_load_tail(p + i, count, 0), v_load_tail(values + i, count, 0));
    }
    return dot_total(&d, lost);
}

#endif
