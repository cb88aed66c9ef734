/* part_maxima.inc.h: maxima of parts of a row, one per lane. They say which parts can have one of the largest classes, so that
   by_rows keeps them of long rows for topk, and topk finds them itself elsewhere. */
#ifndef SL_PART_MAXIMA_INC
#define SL_PART_MAXIMA_INC
#include "math/convert.inc.h"

enum { VECTORS_PER_MAXIMUM = 16 }; /* vectors in a part. SL_BLOCK is a multiple of a part. */

/* The maximum of each lane, without NaN; *nan becomes NaN in lanes that have one. */
SL_INLINE vec max_and_nan(const real *x, ptrdiff_t n, vec *nan) {
    const vec lowest = v_set1(-INFINITY), hit = v_set1(NAN);
    vec a = lowest, b = lowest, seen_a = *nan, seen_b = *nan;
    ptrdiff_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        const vec u = v_load(x + i), v = v_load(x + i + LANES);
        a = v_max(u, a);
        b = v_max(v, b);
        seen_a = v_select_eq(u, u, seen_a, hit);
        seen_b = v_select_eq(v, v, seen_b, hit);
    }
    for (; i < n; i += LANES) {
        const vec u = i + LANES <= n ? v_load(x + i) : v_load_tail(x + i, n - i, -INFINITY);
        a = v_max(u, a);
        seen_a = v_select_eq(u, u, seen_a, hit);
    }
    *nan = v_add(seen_a, seen_b);
    return v_max(a, b);
}

/* Stores the maxima of all parts of a block, LANES for each part, and returns the maximum of each lane. `vectors` is the size of a
   part; *nan is as in max_and_nan. */
SL_INLINE vec part_maxima_of_block(const real *x, ptrdiff_t n, ptrdiff_t vectors, real *maxima, vec *nan) {
    const ptrdiff_t part = vectors * LANES;
    vec max = v_set1(-INFINITY);
    for (ptrdiff_t i = 0; i < n; i += part, maxima += LANES) {
        const vec m = max_and_nan(x + i, n - i < part ? n - i : part, nan);
        v_store(maxima, m);
        max = v_max(m, max);
    }
    return max;
}

#endif
