/* totals.inc.h: add up. What a loss needs of all rows at once: is every target a class, what do they weigh, what is the
   sum? In float64, in an order that the number of rows alone decides. It knows nothing of kernels. */
#ifndef SL_TOTALS_INC
#define SL_TOTALS_INC
#include "math/exp.inc.h"

/* The first target that is neither a class nor ignored, or -1; *counted becomes the number of those not ignored. */
static ptrdiff_t sl_wrong_target(const int64_t *target, ptrdiff_t count, ptrdiff_t n, int64_t ignore, ptrdiff_t *counted) {
    uint64_t wrong = 0, kept = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        const uint64_t is_kept = target[i] != ignore;
        kept += is_kept;
        wrong |= is_kept & (uint64_t)((uint64_t)target[i] >= (uint64_t)n);
    }
    *counted = (ptrdiff_t)kept;
    for (ptrdiff_t i = 0; wrong; i++)
        if (target[i] != ignore && (uint64_t)target[i] >= (uint64_t)n) return i;
    return -1;
}

/* The weights of all targets that are not ignored. */
static double sl_total_weight(const int64_t *target, ptrdiff_t count, int64_t ignore, const double *weight) {
    double sum = 0, lost = 0;
    for (ptrdiff_t i = 0; i < count; i++)
        if (target[i] != ignore) sum = sl_add(sum, weight[target[i]], &lost);
    return sum + lost;
}

static double sl_total(const double *x, ptrdiff_t count) {
    double sum[8], lost[8];
    f64_v high = f64_set1(0.0), low = high;
    ptrdiff_t i = 0;
    for (; i + 8 <= count; i += 8) { /* sl_add, in sums that do not wait for each other */
        const f64_v b = f64_load(x + i), s = f64_add(high, b), v = f64_sub(s, high);
        low = f64_add(low, f64_add(f64_sub(high, f64_sub(s, v)), f64_sub(b, v)));
        high = s;
    }
    f64_store(sum, high);
    f64_store(lost, low);
    for (; i < count; i++) sum[0] = sl_add(sum[0], x[i], &lost[0]);
    for (int j = 1; j < 8; j++) {
        sum[0] = sl_add(sum[0], sum[j], &lost[0]);
        lost[0] += lost[j];
    }
    if (sum[0] != sum[0]) return (double)NAN;
    return sum[0] - sum[0] == 0 ? sum[0] + lost[0] : sum[0]; /* infinity has no rest, but NaN in its place */
}

#endif
