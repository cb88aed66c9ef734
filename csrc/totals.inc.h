/* totals.inc.h: add up. What a loss needs of all rows at once: is every target a class, what do they weigh, what is the
   sum? In float64, in an order that the number of rows alone decides. Included by isa.inc.h, for compilers to vectorise
   with the instructions of each path. It knows nothing of kernels. */

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

/* a + b, whatever that rounds away going to *lost */
SL_INLINE double sl_add(double a, double b, double *lost) {
    const double s = a + b, v = s - a;
    *lost += (a - (s - v)) + (b - v);
    return s;
}

/* The weights of all targets that are not ignored. */
static double sl_total_weight(const int64_t *target, ptrdiff_t count, int64_t ignore, const double *weight) {
    double sum = 0, lost = 0;
    for (ptrdiff_t i = 0; i < count; i++)
        if (target[i] != ignore) sum = sl_add(sum, weight[target[i]], &lost);
    return sum + lost;
}

static double sl_total(const double *x, ptrdiff_t count) {
    enum { TOGETHER = 8 }; /* sums that do not wait for each other */
    double sum[TOGETHER] = {0}, lost[TOGETHER] = {0};
    ptrdiff_t i = 0;
    for (; i + TOGETHER <= count; i += TOGETHER)
        for (int j = 0; j < TOGETHER; j++) sum[j] = sl_add(sum[j], x[i + j], &lost[j]);
    for (; i < count; i++) sum[0] = sl_add(sum[0], x[i], &lost[0]);
    for (int j = 1; j < TOGETHER; j++) {
        sum[0] = sl_add(sum[0], sum[j], &lost[0]);
        lost[0] += lost[j];
    }
    if (sum[0] != sum[0]) return (double)NAN;
    return sum[0] - sum[0] == 0 ? sum[0] + lost[0] : sum[0]; /* infinity has no rest, but NaN in its place */
}
