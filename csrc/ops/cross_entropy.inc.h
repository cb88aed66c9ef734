/* losses.inc.h: compute. Cross-entropy beside softmax: what the target of a row says, its loss and its gradient.
   Part of kernels.inc.h. The forms find m, log(sum / e(m)) and p of a row; this file knows what a loss makes of them.

   The target of a row is a weight q for each class: all on one class t, or spread over the classes, or, with label
   smoothing, both. Then

     loss     = sum of q_c (m - x_c) + Q * log(sum / e(m)),   Q = sum of q
     gradient = scale * (Q * p_c - q_c)

   All terms of the loss are >= 0 where the weights are, so nothing cancels. Everything here is float64. */
#ifndef SL_CROSS_ENTROPY_INC
#define SL_CROSS_ENTROPY_INC
#include "rows/row_stats.inc.h"

/* What the targets of some rows come to, one row per lane. An ignored row has neither loss nor gradient, whatever its
   logits are. */
typedef struct {
    double ignored[LANES];                 /* 0 or 1 */
    double q[LANES];                       /* q_t of the class that an index names; 0 without */
    double spread[LANES], distance[LANES]; /* sums of the other q, and of q (m - x) */
    R x[LANES];                            /* x_t */
    R at[LANES];                           /* the gradient of class t, unless the target is spread over the classes */
    double others[LANES];                  /* scale * Q * (1 - p) of the maximum, without loss */
    double odd[LANES];                     /* NaN where the gradient of the row is NaN or, as it is ignored, 0 */
    int any_odd;
} targets;

SL_INLINE double class_weight(const sl_loss *loss, ptrdiff_t k) { return loss->weight ? ((const R *)loss->weight)[k] : 1; }
SL_INLINE int has_class_mass(const sl_loss *loss) { return loss->dense || loss->smoothing != 0; }

/* q of class k, but for what an index adds */
SL_INLINE double class_mass(const sl_loss *loss, ptrdiff_t row, ptrdiff_t k) {
    double y = loss->smoothing / (double)loss->n;
    if (loss->dense) {
        const ptrdiff_t r = loss->first + row, at = r / loss->inner * loss->n * loss->inner + r % loss->inner + k * loss->inner;
        R one = 0;
        convert_block(loss->dense_storage, loss->dense, NULL, at, 1, &one);
        y += (1 - loss->smoothing) * one;
    }
    return y * class_weight(loss, k);
}

/* A sum of float64. For float32 that is enough; for float64 what it rounds away is kept, unless it is infinite. */
typedef struct {
    double sum, lost;
} exact_sum;
SL_INLINE void exact_add(exact_sum *s, double x) {
    const double sum = s->sum + x;
#if SL_REAL == 64
    const double v = sum - s->sum, lost = (s->sum - (sum - v)) + (x - v);
    if (sum - sum == 0) s->lost += lost;
#endif
    s->sum = sum;
}

/* q (m - x): for float64 with what two roundings would lose. */
SL_INLINE void exact_add_product(exact_sum *s, double q, double m, double x) {
    const double d = m - x, product = q * d;
    exact_add(s, product);
#if SL_REAL == 64
    const double v = d - m, rest = (m - (d - v)) - (x + v), lost = fma(q, d, -product) + q * rest;
    if (lost - lost == 0) s->lost += lost;
#endif
}

/* Adds n classes from k on, which lie in x at distances of stride. m is any number, the row's maximum at the end. */
static void collect_class_mass(const sl_job *job, ptrdiff_t row, ptrdiff_t k, ptrdiff_t n, const R *x, ptrdiff_t stride, double m,
                               targets *t, ptrdiff_t lane) {
    exact_sum spread[4] = {{0, 0}}, distance[4] = {{0, 0}};
    for (ptrdiff_t i = 0; i < n; i++) {
        const double q = class_mass(job->loss, row, k + i);
        exact_add(&spread[i % 4], q);
        if (q != 0) exact_add_product(&distance[i % 4], q, m, x[i * stride]); /* 0 times infinity is nothing here */
    }
    t->spread[lane] += (spread[0].sum + spread[1].sum) + (spread[2].sum + spread[3].sum);
    t->spread[lane] += (spread[0].lost + spread[1].lost) + (spread[2].lost + spread[3].lost);
    t->distance[lane] += (distance[0].sum + distance[1].sum) + (distance[2].sum + distance[3].sum);
    t->distance[lane] += (distance[0].lost + distance[1].lost) + (distance[2].lost + distance[3].lost);
}

SL_INLINE void clear_targets(targets *t) {
    double *const all[] = {t->ignored, t->q, t->spread, t->distance};
    for (int a = 0; a < 4; a++)
        for (int h = 0; h < HALVES; h++) f64_store(all[a] + 8 * h, f64_set1(0.0));
    v_store(t->x, v_set1(0));
}

/* What the targets of `count` rows say about n classes from k on, before x may be overwritten: class k of the first row
   is x[0], rows are row_step apart, classes class_step. m are any numbers, the rows' maxima at the end. Adds to t. */
static void collect_targets(const sl_job *job, ptrdiff_t row, ptrdiff_t count, ptrdiff_t k, ptrdiff_t n, const R *restrict x,
                            ptrdiff_t row_step, ptrdiff_t class_step, const R *m, targets *restrict t) {
    const sl_loss *loss = job->loss;
    if (loss->target) {
        const int64_t *restrict target = loss->target + loss->first + row, ignore = loss->ignore;
        const R *restrict weight = loss->weight;
        const double part = 1 - loss->smoothing;
        for (ptrdiff_t i = 0; i < count; i++) {
            const int64_t at = target[i];
            if (at == ignore) t->ignored[i] = 1;
            else if (at >= k && at < k + n) {
                t->x[i] = x[i * row_step + (at - k) * class_step];
                t->q[i] = weight ? part * weight[at] : part;
            }
        }
    }
    if (!has_class_mass(loss)) return;
    for (ptrdiff_t i = 0; i < count; i++)
        if (t->ignored[i] == 0) collect_class_mass(job, row + i, k, n, x + i * row_step, class_step, m[i], t, i);
}

/* scale * (Q p - q) from y = scale * Q * p. Where p is near 1, it is Q less what the other classes have. */
SL_INLINE R gradient_less_mass(R y, double q, double scale, double sum, double others) {
    const R rest = (R)(scale * (sum - q) - others), less = (R)(y - scale * q);
    return fabs(y) > 0.5 * fabs(scale * sum) ? rest : less;
}

/* The losses of rows first to first + rows of the job, one per lane. log is log(sum / e(m)), z what the other classes
   weigh beside the maximum; poison is NaN for a row that has NaN or no finite maximum. high and low are 1 / sum as a pair,
   and become what e is to be multiplied by for the gradient. Lanes without a row are computed with as well. */
static void cross_entropy_finish(const sl_job *job, ptrdiff_t first, ptrdiff_t rows, const exp_params *plan, targets *t, const double *log,
                                 const ratio_others_to_max *z, vec poison, vec *high, vec *low) {
    const f64_v zero = f64_set1(0.0), one = f64_set1(1.0), nan = f64_set1((double)NAN), scale = f64_set1(job->loss->scale);
    f64_v m[HALVES], x[HALVES], bad[HALVES], factor[HALVES], all[HALVES];
    double loss[LANES];
    to_double(plan->max, m);
    to_double(v_load(t->x), x);
    to_double(poison, bad);
    for (int h = 0; h < HALVES; h++) {
        const f64_v q = f64_load(t->q + 8 * h), ignored = f64_load(t->ignored + 8 * h);
        const f64_v d = f64_sub(m[h], x[h]), at_t = f64_select_eq(q, zero, zero, f64_mul(q, d)), distance = f64_load(t->distance + 8 * h);
        all[h] = f64_add(q, f64_load(t->spread + 8 * h));
        const f64_v apart = f64_add(distance, at_t);
        f64_v l = f64_load(log + 8 * h);
#if SL_REAL == 64 /* with what the difference, the product and the sum have lost, where they are finite */
        const f64_v v = f64_sub(d, m[h]), rest = f64_sub(f64_sub(m[h], f64_sub(d, v)), f64_add(x[h], v)), part = f64_sub(apart, at_t);
        const f64_v of_product = f64_fma(q, rest, f64_fma(q, d, f64_sub(zero, at_t)));
        const f64_v of_sum = f64_add(f64_sub(at_t, f64_sub(apart, part)), f64_sub(distance, part)), lost = f64_add(of_product, of_sum);
        l = f64_fma(all[h], l, f64_select_eq(f64_sub(lost, lost), zero, lost, zero));
        l = f64_add(apart, l);
#else
        l = f64_fma(all[h], l, apart);
#endif
        l = f64_select_eq(bad[h], bad[h], f64_select_eq(l, l, l, nan), nan); /* the one NaN for any of them */
        f64_store(loss + 8 * h, f64_select_eq(ignored, zero, l, zero));
        bad[h] = f64_add(f64_select_eq(ignored, zero, zero, nan), f64_add(f64_sub(bad[h], bad[h]), f64_sub(all[h], all[h])));
    }
    if (rows == LANES) memcpy(job->loss->loss + job->loss->first + first, loss, sizeof loss);
    else memcpy(job->loss->loss + job->loss->first + first, loss, (size_t)rows * sizeof *loss);
    if (!sl_writes_rows(job)) return;
    for (int h = 0; h < HALVES; h++) {
        const f64_v odds = f64_add(f64_load(z->high + 8 * h), f64_load(z->low + 8 * h));
        factor[h] = f64_mul(scale, all[h]);
        f64_store(t->others + 8 * h, f64_mul(factor[h], f64_div(odds, f64_add(one, odds))));
        f64_store(t->odd + 8 * h, bad[h]);
    }
    t->any_odd = 0;
    for (int h = 0; h < HALVES; h++) t->any_odd |= f64_any_nan(bad[h]);
    const vec f = from_double(factor), p = v_mul(*high, f);
    *low = v_add(v_fma(*high, f, v_sub(v_set1(0), p)), v_mul(*low, f));
    *high = p;
    /* e of class t, as it is in the row, and y */
    vec shifted = v_sub(v_load(t->x), plan->shift), T, q;
    exp_parts(1, &shifted, &plan->magic, &plan->clamp, NULL, v_load_table(exp_table), &T, &q);
    const vec e = v_fma(T, q, T);
    f64_v y[HALVES];
    to_double(v_fma(e, *high, v_mul(e, *low)), y);
    for (int h = 0; h < HALVES; h++) { /* gradient_less_mass with q = Q */
        const f64_v most =
            f64_sub(f64_max(y[h], f64_sub(zero, y[h])), f64_mul(f64_set1(0.5), f64_max(factor[h], f64_sub(zero, factor[h]))));
        const f64_v rest = f64_sub(zero, f64_load(t->others + 8 * h)), less = f64_sub(y[h], factor[h]);
        y[h] = f64_select_eq(f64_max(most, zero), zero, less, rest);
    }
    v_store(t->at, from_double(y));
}

/* y has scale * Q * p of n classes from k on, laid out as for aim: takes scale * q away. */
static void subtract_class_mass(const sl_job *job, ptrdiff_t row, ptrdiff_t k, ptrdiff_t n, const targets *t, ptrdiff_t lane, R *y,
                                ptrdiff_t stride) {
    const sl_loss *loss = job->loss;
    const ptrdiff_t at = loss->target ? (ptrdiff_t)loss->target[loss->first + row] - k : -1;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double q = class_mass(loss, row, k + i) + (i == at ? t->q[lane] : 0);
        y[i * stride] = gradient_less_mass(y[i * stride], q, loss->scale, t->q[lane] + t->spread[lane], t->others[lane]);
    }
}
static void subtract_targets(const sl_job *job, ptrdiff_t row, ptrdiff_t count, ptrdiff_t k, ptrdiff_t n, const targets *restrict t,
                             R *restrict y, ptrdiff_t row_step, ptrdiff_t class_step) {
    const int spread = has_class_mass(job->loss);
    if (!spread) {
        const int64_t *restrict target = job->loss->target + job->loss->first + row;
        for (ptrdiff_t i = 0; i < count; i++)
            if (target[i] >= k && target[i] < k + n) y[i * row_step + (target[i] - k) * class_step] = t->at[i];
    }
    if (!spread && !t->any_odd) return;
    for (ptrdiff_t i = 0; i < count; i++) {
        R *own = y + i * row_step;
        if (t->any_odd && t->odd[i] != t->odd[i])
            for (ptrdiff_t j = 0; j < n; j++) own[j * class_step] = t->ignored[i] != 0 ? 0 : (R)NAN;
        else if (spread) subtract_class_mass(job, row + i, k, n, t, i, own, class_step);
    }
}

#endif
