/* losses.inc.h: compute. Cross-entropy beside softmax: what the target of a row says, its loss and its gradient.
   Part of kernels.inc.h. The forms find m, log(sum / e(m)) and p of a row; this file knows what a loss makes of them.

   The target of a row is a weight q for each class: all on one class t, or spread over the classes, or, with label
   smoothing, both. Then

     loss     = sum of q_c (m - x_c) + Q * log(sum / e(m)),   Q = sum of q
     gradient = scale * (Q * p_c - q_c)

   All terms of the loss are >= 0 where the weights are, so nothing cancels. Everything here is float64. */

/* What the target of one row comes to. An ignored row has neither loss nor gradient, whatever its logits are. */
typedef struct {
    int ignored;
    double x, q;             /* x_t and q_t of the class that an index names; 0 and 0 without */
    double spread, distance; /* sums of the other q, and of q (m - x) */
} V(target_row);

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

/* Has to be called before x may be overwritten. at is the index of class 0 of the row in x, step the one to the next. */
SL_INLINE V(target_row) V(aim)(const sl_job *job, ptrdiff_t row, ptrdiff_t at, ptrdiff_t step) {
    const sl_loss *loss = job->loss;
    V(target_row) t = {0, 0, 0, 0, 0};
    if (!loss->target) return t;
    const int64_t k = loss->target[loss->first + row];
    t.ignored = k == loss->ignore;
    if (t.ignored) return t;
    R one;
    const ptrdiff_t i = at + (ptrdiff_t)k * step;
    t.x = *(V(native)(job) ? (const R *)job->x + i : V(read)(job, i, 1, &one));
    t.q = (1 - loss->smoothing) * V(class_weight)(loss, (ptrdiff_t)k);
    return t;
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
                          V(target_row) * t) {
    if (!V(is_spread)(job->loss) || t->ignored) return;
    V(exact_sum) spread[4] = {{0, 0}}, distance[4] = {{0, 0}};
    for (ptrdiff_t i = 0; i < n; i++) {
        const double q = V(spread_of)(job->loss, row, k + i), d = q * (m - x[i * stride]);
        V(exact_add)(&spread[i % 4], q);
        if (q != 0) V(exact_add)(&distance[i % 4], d); /* 0 times infinity is nothing here */
    }
    t->spread += (spread[0].sum + spread[1].sum) + (spread[2].sum + spread[3].sum);
    t->spread += (spread[0].lost + spread[1].lost) + (spread[2].lost + spread[3].lost);
    t->distance += (distance[0].sum + distance[1].sum) + (distance[2].sum + distance[3].sum);
    t->distance += (distance[0].lost + distance[1].lost) + (distance[2].lost + distance[3].lost);
}

/* log is log(sum / e(m)); bad: the row has NaN, or no finite maximum */
SL_INLINE void V(lose)(const sl_job *job, ptrdiff_t row, const V(target_row) * t, double m, double log, int bad) {
    double loss = t->distance;
    if (t->q != 0) loss += t->q * (m - t->x);
    loss = fma(t->q + t->spread, log, loss);
    job->loss->loss[job->loss->first + row] = t->ignored ? 0 : bad || loss != loss ? (double)NAN : loss;
}

/* 1 / sum as a pair, times what all p of the row have in common */
SL_INLINE void V(scale_gradient)(const sl_job *job, const V(target_row) * t, R *high, R *low) {
    const R h = *high, f = (R)(job->loss->scale * (t->q + t->spread));
#if SL_REAL == 32
    *high = h * f;
    *low = fmaf(h, f, -*high) + *low * f;
#else
    *high = h * f;
    *low = fma(h, f, -*high) + *low * f;
#endif
}

/* y has scale * Q * p of n classes from k on, at distances of stride: takes scale * q away. odds is what the other classes
   weigh beside the maximum: where t is that class, p_t - 1 is -odds / (1 + odds), without loss. */
SL_INLINE void V(aim_gradient)(const sl_job *job, ptrdiff_t row, ptrdiff_t k, ptrdiff_t n, const V(target_row) * t, double m, double odds,
                               int bad, R *y, ptrdiff_t stride) {
    const sl_loss *loss = job->loss;
    if (t->ignored || bad || t->q + t->spread != t->q + t->spread) {
        for (ptrdiff_t i = 0; i < n; i++) y[i * stride] = t->ignored ? 0 : (R)NAN;
        return;
    }
    if (V(is_spread)(loss))
        for (ptrdiff_t i = 0; i < n; i++) y[i * stride] = (R)(y[i * stride] - loss->scale * V(spread_of)(loss, row, k + i));
    if (!loss->target) return;
    const ptrdiff_t at = (ptrdiff_t)loss->target[loss->first + row] - k;
    if (at < 0 || at >= n) return;
    R *yt = y + at * stride;
    if (t->x == m && !V(is_spread)(loss)) *yt = (R)(-loss->scale * t->q * (odds / (1 + odds)));
    else *yt = (R)(*yt - loss->scale * t->q);
}
