/* totals.inc.h: what a loss needs of all rows at once: is every target a class, what do the targets weigh, and what is the sum of the
   losses? Sums are of float64, in an order that the number of rows alone decides. And how many classes of each row does a mask show? */
#ifndef SL_TOTALS_INC
#define SL_TOTALS_INC
#include "math/pair.inc.h"

/* The first target that is neither a class nor ignored, or -1. *counted becomes the number of those that are not ignored. */
static ptrdiff_t sl_wrong_target(const int64_t *target, ptrdiff_t count, ptrdiff_t n, int64_t ignore_index, ptrdiff_t *counted) {
    uint64_t any_wrong = 0, kept = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        const uint64_t is_kept = target[i] != ignore_index;
        kept += is_kept;
        any_wrong |= is_kept & (uint64_t)((uint64_t)target[i] >= (uint64_t)n);
    }
    *counted = (ptrdiff_t)kept;
    for (ptrdiff_t i = 0; any_wrong; i++)
        if (target[i] != ignore_index && (uint64_t)target[i] >= (uint64_t)n) return i;
    return -1;
}

/* sum + low. The low part of an infinite sum is NaN. */
static double pair_total(double sum, double low) {
    if (sum != sum) return (double)NAN;
    return sum - sum == 0 ? sum + low : sum;
}

/* The weights of all targets that are not ignored: those of their classes times those of their rows; either may be NULL: all 1. */
static double sl_total_weight(const int64_t *target, ptrdiff_t count, int64_t ignore_index, const double *weight,
                              const double *row_weight) {
    double sum = 0, low = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        if (target[i] == ignore_index || (row_weight && row_weight[i] == 0)) continue;
        sum = add_with_low(sum, (weight ? weight[target[i]] : 1) * (row_weight ? row_weight[i] : 1), &low);
    }
    return pair_total(sum, low);
}

/* The sum of x, as if in twice the precision. Eight sums do not wait for each other. */
static double sl_total(const double *x, ptrdiff_t count) {
    double sum[8], low[8];
    f64_v sum_v = f64_set1(0.0), low_v = sum_v;
    ptrdiff_t i = 0;
    for (; i + 8 <= count; i += 8) {
        f64_v lost;
        sum_v = f64_two_sum(sum_v, f64_load(x + i), &lost);
        low_v = f64_add(low_v, lost);
    }
    f64_store(sum, sum_v);
    f64_store(low, low_v);
    for (; i < count; i++) sum[0] = add_with_low(sum[0], x[i], &low[0]);
    for (int j = 1; j < 8; j++) {
        sum[0] = add_with_low(sum[0], sum[j], &low[0]);
        low[0] += low[j];
    }
    return pair_total(sum[0], low[0]);
}

/* The visible classes of each row of a job with a mask */
static void sl_count_visible(const sl_job *job, int64_t *visible) {
    const unsigned char *mask = job->mask;
    const ptrdiff_t n = job->n, inner = job->inner;
    for (ptrdiff_t o = 0; o < job->outer; o++, mask += n * inner, visible += inner) {
        int64_t count = 0;
        for (ptrdiff_t k = 0; inner == 1 && k < n; k++) count += mask[k] != 0;
        for (ptrdiff_t i = 0; i < inner; i++) visible[i] = count;
        for (ptrdiff_t k = 0; inner > 1 && k < n; k++)
            for (ptrdiff_t i = 0; i < inner; i++) visible[i] += mask[k * inner + i] != 0;
    }
}

#endif
