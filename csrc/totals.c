/* totals.c: add up. What a loss needs of all rows at once: is every target a class, what do they weigh, what is the sum?
   In float64, in the order of the rows. It knows nothing of kernels. */
#include <math.h>

#include "softlane.h"

ptrdiff_t sl_wrong_target(const int64_t *target, ptrdiff_t count, ptrdiff_t n, int64_t ignore) {
    for (ptrdiff_t i = 0; i < count; i++)
        if (target[i] != ignore && (target[i] < 0 || target[i] >= n)) return i;
    return -1;
}

/* a + b, whatever that rounds away going to *lost */
static double add(double a, double b, double *lost) {
    const double s = a + b, v = s - a;
    *lost += (a - (s - v)) + (b - v);
    return s;
}

double sl_total_weight(const int64_t *target, ptrdiff_t count, int64_t ignore, const double *weight) {
    double sum = 0, lost = 0;
    for (ptrdiff_t i = 0; i < count; i++)
        if (target[i] != ignore) sum = add(sum, weight ? weight[target[i]] : 1, &lost);
    return sum + lost;
}

double sl_total(const double *x, ptrdiff_t count) {
    double sum = 0, lost = 0;
    for (ptrdiff_t i = 0; i < count; i++) sum = add(sum, x[i], &lost);
    if (sum != sum) return NAN;
    return sum - sum == 0 ? sum + lost : sum; /* infinity has no rest, but NaN in its place */
}
