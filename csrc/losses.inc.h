/* losses.inc.h: compute. Cross-entropy beside softmax: what the target of a row says, its loss and its gradient.
   Part of kernels.inc.h. The forms find m, log(sum / e(m)) and p of a row; this file knows what a loss makes of them.

   The target of a row is a weight q for each class: all on one class t, or spread over the classes, or, with label
   smoothing, both. Then

     loss     = sum of q_c (m - x_c) + Q * log(sum / e(m)),   Q = sum of q
     gradient = scale * (Q * p_c - q_c)

   All terms of the loss are >= 0 where the weights are, so nothing cancels. Everything here is float64. */

/* What the targets of some rows come to, one row per lane. An ignored row has neither loss nor gradient, whatever its
   logits are. */
typedef struct {
    double ignored[LANES];                 /* 0 or 1 */
    double x[LANES], q[LANES];             /* x_t and q_t of the class that an index names; 0 and 0 without */
    double spread[LANES], distance[LANES]; /* sums of the other q, and of q (m - x) */
    double others[LANES];                  /* scale * Q * (1 - p) of the maximum, without loss */
} V(targets);

SL_INLINE double V(class_weight)(const sl_loss *loss, ptrdiff_t k) { return loss->weight ? ((const R *)loss->weight)[k] : 1; }
SL_INLINE int V(is_spread)(const sl_loss *loss) { return loss->dense || loss->smoothing != 0; }

/* q of class k, but for what an index adds */
SL_INLINE double V(spread_of)(const sl_loss *loss, ptrdiff_t row, ptrdiff_t k) {
    double y = loss->smoothing / (double)loss->n;
    if (loss->dense) {
        const ptrdiff_t r = loss->first + row, at = r / loss->inner * loss->n * loss->inner + r % loss->inner + k * loss->inner;
        const sl_job dense = {.storage = loss->dense_storage, .x = loss->dense};
        R one;
        y += (1 - loss->smoothing) * *(V(native)(&dense) ? (const R *)loss->dense + at : V(read)(&dense, at, 1, &one));
    }
    return y * V(class_weight)(loss, k);
}

/* Into a lane that is all 0, before x may be overwritten. at is the index of class 0 of the row in x, step the one to the next. */
SL_INLINE void V(aim)(const sl_job *job, ptrdiff_t row, ptrdiff_t at, ptrdiff_t step, V(targets) * t, ptrdiff_t lane) {
    const sl_loss *loss = job->loss;
    if (!loss->target) return;
    const int64_t k = loss->target[loss->first + row];
    if (k == loss->ignore) {
        t->ignored[lane] = 1;
        return;
    }
    R one;
    const ptrdiff_t i = at + (ptrdiff_t)k * step;
    t->x[lane] = *(V(native)(job) ? (const R *)job->x + i : V(read)(job, i, 1, &one));
    t->q[lane] = (1 - loss->smoothing) * V(class_weight)(loss, (ptrdiff_t)k);
}

/* A sum of float64. For float32 that is enough; for float64 what it rounds away is kept, unless it is infinite. */
typedef struct {
    double sum, lost;
} V(exact_sum);
SL_INLINE void V(exact_add)(V(exact_sum) * s, double x) {
    const double sum = s->sum + x;
#if SL_REAL == 64
    const double v = sum - s->sum, lost = (s->sum - (sum - v)) + (x - v);
    if (sum - sum == 0) s->lost += lost;
#endif
    s->sum = sum;
}

/* Adds n classes from k on, which lie in x at distances of stride. m is any number, the row's maximum at the end. */
static void V(aim_spread)(const sl_job *job, ptrdiff_t row, ptrdiff_t k, const R *x, ptrdiff_t stride, ptrdiff_t n, double m,
                          V(targets) * t, ptrdiff_t lane) {
    if (!V(is_spread)(job->loss) || t->ignored[lane] != 0) return;
    V(exact_sum) spread[4] = {{0, 0}}, distance[4] = {{0, 0}};
    for (ptrdiff_t i = 0; i < n; i++) {
        const double q = V(spread_of)(job->loss, row, k + i), d = q * (m - x[i * stride]);
        V(exact_add)(&spread[i % 4], q);
        if (q != 0) V(exact_add)(&distance[i % 4], d); /* 0 times infinity is nothing here */
    }
    t->spread[lane] += (spread[0].sum + spread[1].sum) + (spread[2].sum + spread[3].sum);
    t->spread[lane] += (spread[0].lost + spread[1].lost) + (spread[2].lost + spread[3].lost);
    t->distance[lane] += (distance[0].sum + distance[1].sum) + (distance[2].sum + distance[3].sum);
    t->distance[lane] += (distance[0].lost + distance[1].lost) + (distance[2].lost + distance[3].lost);
}

/* The losses of rows first to first + rows of the job, one per lane. log is log(sum / e(m)), odds what the other classes
   weigh beside the maximum; poison is NaN for a row that has NaN or no finite maximum. high and low are 1 / sum as a pair,
   and become what e is to be multiplied by for the gradient. Lanes without a row are computed with as well. */
static void V(lose)(const sl_job *job, ptrdiff_t first, ptrdiff_t rows, V(targets) *restrict t, const R *restrict m,
                    const double *restrict log, const double *restrict odds, const R *restrict poison, R *restrict high, R *restrict low) {
    double loss[LANES];
    for (int i = 0; i < LANES; i++) {
        const double at_t = t->q[i] * (m[i] - t->x[i]);
        double l = fma(t->q[i] + t->spread[i], log[i], t->distance[i] + (t->q[i] != 0 ? at_t : 0));
        l = poison[i] == poison[i] ? l : (double)NAN;
        l = l == l ? l : (double)NAN; /* the one NaN for any of them */
        loss[i] = t->ignored[i] == 0 ? l : 0;
    }
    memcpy(job->loss->loss + job->loss->first + first, loss, (size_t)rows * sizeof *loss);
    if (!sl_writes_rows(job->op)) return;
    const double scale = job->loss->scale;
    for (int i = 0; i < LANES; i++) {
        const R f = (R)(scale * (t->q[i] + t->spread[i])), h = high[i] * f;
#if SL_REAL == 32
        low[i] = fmaf(high[i], f, -h) + low[i] * f;
#else
        low[i] = fma(high[i], f, -h) + low[i] * f;
#endif
        high[i] = h;
        t->others[i] = scale * (t->q[i] + t->spread[i]) * (odds[i] / (1 + odds[i]));
    }
}

/* scale * (Q p - q) from y = scale * Q * p. Where p is near 1, it is Q less what the other classes have. */
SL_INLINE R V(less)(R y, double q, double scale, double sum, double others) {
    if (fabs(y) > 0.5 * fabs(scale * sum)) return (R)(scale * (sum - q) - others);
    return (R)(y - scale * q);
}

/* y has scale * Q * p of n classes from k on, at distances of stride: takes scale * q away. */
SL_INLINE void V(aim_gradient)(const sl_job *job, ptrdiff_t row, ptrdiff_t k, ptrdiff_t n, const V(targets) * t, ptrdiff_t lane, R poison,
                               R *y, ptrdiff_t stride) {
    const sl_loss *loss = job->loss;
    const double sum = t->q[lane] + t->spread[lane], scale = loss->scale, others = t->others[lane];
    if (t->ignored[lane] != 0 || poison != poison || sum != sum) {
        for (ptrdiff_t i = 0; i < n; i++) y[i * stride] = t->ignored[lane] != 0 ? 0 : (R)NAN;
        return;
    }
    const ptrdiff_t at = loss->target ? (ptrdiff_t)loss->target[loss->first + row] - k : -1;
    if (V(is_spread)(loss)) {
        for (ptrdiff_t i = 0; i < n; i++) {
            const double q = V(spread_of)(loss, row, k + i) + (i == at ? t->q[lane] : 0);
            y[i * stride] = V(less)(y[i * stride], q, scale, sum, others);
        }
    } else if (at >= 0 && at < n) y[at * stride] = V(less)(y[at * stride], t->q[lane], scale, sum, others);
}
