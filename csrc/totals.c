/* totals.c: add up. What a loss needs of all rows at once: is every target a class, what do they weigh, what is the sum?
   In float64, in the order of the rows. It knows nothing of kernels. */
#include <math.h>

#include "softlane.h"

ptrdiff_t sl_wrong_target(const int64_t *target, ptrdiff_t count, ptrdiff_t n, int64_t ignore) {
    for (ptrdiff_t i = 0; i < count; i++)
        if ((uint64_t)target[i] >= (uint64_t)n && target[i] != ignore) return i;
    return -1;
}

/* a + b, whatever that rounds away going to *lost */
static double add(double a, double b, double *lost) {
    const double s = a + b, v = s - a;
    *lost += (a - (s - v)) + (b - v);
    return s;
}

double sl_total_weight(const int64_t *target, ptrdiff_t count, int64_t ignore, const double *weight) {
    ptrdiff_t counted = 0;
    for (ptrdiff_t i = 0; i < count; i++) counted += target[i] != ignore;
    if (!weight) return (double)counted;
    double sum = 0, lost = 0;
    for (ptrdiff_t i = 0; i < count; i++)
        if (target[i] != ignore) sum = add(sum, weight[target[i]], &lost);
    return sum + lost;
}

double sl_total(const double *x, ptrdiff_t count) {
    enum { TOGETHER = 8 }; /* sums that do not wait for each other */
    double sum[TOGETHER] = {0}, lost[TOGETHER] = {0};
    ptrdiff_t i = 0;
    for (; i + TOGETHER <= count; i += TOGETHER)
        for (int j = 0; j < TOGETHER; j++) sum[j] = add(sum[j], x[i + j], &lost[j]);
    for (; i < count; i++) sum[0] = add(sum[0], x[i], &lost[0]);
    for (int j = 1; j < TOGETHER; j++) {
        sum[0] = add(sum[0], sum[j], &lost[0]);
        lost[0] += lost[j];
    }
    if (sum[0] != sum[0]) return NAN;
    return sum[0] - sum[0] == 0 ? sum[0] + lost[0] : sum[0]; /* infinity has no rest, but NaN in its place */
}
