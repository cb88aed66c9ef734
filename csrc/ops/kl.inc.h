/* kl.inc.h: the operation kl_divergence, of two arrays of logits: sum(p log(p / q)) with p = softmax(x / T), q = softmax(y / T).

   Where p and q nearly agree, the terms p log(p / q) cancel. With f = log(p / q) and h(f) = exp(-f) - 1 + f it is

       sum(p h(f)),    as sum(p (exp(-f) - 1)) = sum(q - p) = 0,

   whose terms are >= 0. f is (x - y - center) / T, where x and y are less the shifts of their rows, with a center near
   T log(sum(exp(x / T)) / sum(exp(y / T))). What the center is off shows as s = sum(p (exp(-f) - 1)), and

       sum(p h(f)) - (s - log(1 + s))

   is the divergence for any center. That correction is of second order. Where it is not small beside the sum, the logits differ by little
   more than their roundings. The difference of the maxima, which is exact, is the center then, and if need be what s makes of that.

   The kernels see vectors. Either a group is one row whose classes lie along the lanes, or each lane has a row of its own. */
#ifndef SL_KL_INC
#define SL_KL_INC
#include "math/log1p.inc.h"
#include "ops/kl_weights.inc.h"

/* ---- terms ----------------------------------------------------------------------------------------------------- */

/* h(f) = f^2 (1/2! - f/3! + f^2/4! - ...) where |f| is below KL_SERIES_BELOW; else as it stands. The rest of the series is 0.01 u, and
   what the difference cancels below 4 (float64: 2) times h. */
#if SL_REAL == 32
enum { KL_TERMS = 11 };
#define KL_SERIES_BELOW 1.0
#else
enum { KL_TERMS = 23 };
#define KL_SERIES_BELOW 2.0
#endif
static const double kl_series[23] = {1.0 / 2.0,
                                     -1.0 / 6.0,
                                     1.0 / 24.0,
                                     -1.0 / 120.0,
                                     1.0 / 720.0,
                                     -1.0 / 5040.0,
                                     1.0 / 40320.0,
                                     -1.0 / 362880.0,
                                     1.0 / 3628800.0,
                                     -1.0 / 39916800.0,
                                     1.0 / 479001600.0,
                                     -1.0 / 6227020800.0,
                                     1.0 / 87178291200.0,
                                     -1.0 / 1307674368000.0,
                                     1.0 / 20922789888000.0,
                                     -1.0 / 355687428096000.0,
                                     1.0 / 6402373705728000.0,
                                     -1.0 / 121645100408832000.0,
                                     1.0 / 2432902008176640000.0,
                                     -1.0 / 51090942171709440000.0,
                                     1.0 / 1124000727777607680000.0,
                                     -1.0 / 25852016738884976640000.0,
                                     1.0 / 620448401733239439360000.0};

/* Sums over classes, in units of e: of the lanes of a line, and of rows */
struct kl_sums {
    struct kl_sum terms, linear; /* p h(f), p f */
    f64_v difference[HALVES];    /* the largest x - y: infinite where q is 0 and p is not */
};
struct kl_totals {
    double terms[LANES], linear[LANES], difference[LANES];
};

/* What the terms of a line need */
struct kl_line {
    vec x_shift, y_shift;
    f64_v center[HALVES], center_low[HALVES], unit[HALVES], ratio[HALVES], temperature[HALVES];
};
static struct kl_line kl_line_of(const struct kl_group *g, ptrdiff_t line) {
    struct kl_line l;
    l.x_shift = of_kl_line(g, line, g->x.shift);
    l.y_shift = of_kl_line(g, line, g->y.shift);
    double_of_kl_line(g, line, g->center.high, l.center);
    double_of_kl_line(g, line, g->center.low, l.center_low);
    double_of_kl_line(g, line, g->unit, l.unit);
    double_of_kl_line(g, line, g->ratio, l.ratio);
    for (int h = 0; h < HALVES; h++) l.ratio[h] = f64_mul(l.ratio[h], l.unit[h]);
    for (int h = 0; h < HALVES; h++) l.temperature[h] = f64_set1(1.0);
    if (!g->temperature) return l;
    for (int h = 0; h < HALVES; h++) l.temperature[h] = f64_load(g->temperature->exact + 8 * h);
    double_of_kl_line(g, line, l.temperature, l.temperature);
    return l;
}

/* (h(f) / f^2) where it is a series: even and odd terms side by side */
SL_INLINE f64_v kl_series_of(f64_v f, f64_v square) {
    f64_v even = f64_set1(kl_series[KL_TERMS - 1]), odd = f64_set1(kl_series[KL_TERMS - 2]);
    for (int k = KL_TERMS - 3; k > 0; k -= 2) {
        even = f64_fma(even, square, f64_set1(kl_series[k]));
        odd = f64_fma(odd, square, f64_set1(kl_series[k - 1]));
    }
    return f64_fma(odd, f, f64_fma(even, square, f64_set1(kl_series[0])));
}
/* p h(f) = q - p + p f, where that does not cancel */
SL_INLINE f64_v kl_term(f64_v p, f64_v q, f64_v f, f64_v linear) {
    const f64_v square = f64_mul(f, f), small = f64_mul(linear, f64_mul(f, kl_series_of(f, square)));
    return f64_select_lt(square, f64_set1(KL_SERIES_BELOW * KL_SERIES_BELOW), small, f64_fma(p, f, f64_sub(q, p)));
}
/* f from half a vector of logits; what x - y rounds away counts where `exact` is set. No f is -inf or NaN, so that p f is 0 where p is. */
SL_INLINE f64_v kl_log_ratio(const struct kl_line *l, const int divides, const int exact, int h, f64_v x, f64_v y, f64_v *difference) {
    f64_v lost, rest, f;
    if (exact) {
        *difference = f64_two_sum(x, f64_negate(y), &lost);
        f = f64_two_sum(*difference, f64_negate(l->center[h]), &rest);
        f = f64_add(f, f64_add(rest, f64_sub(lost, l->center_low[h])));
    } else {
        *difference = f64_sub(x, y);
        f = f64_sub(*difference, l->center[h]);
    }
    if (divides) f = f64_div(f, l->temperature[h]);
    return f64_max(f, f64_set1(-0x1p200));
}
/* Logits less the shift of their row, where float32 would overflow in float64 */
SL_INLINE void kl_shifted(vec logits, vec shift, f64_v *shifted) {
#if SL_REAL == 32
    f64_v c[HALVES];
    to_double(shift, c);
    to_double(logits, shifted);
    for (int h = 0; h < HALVES; h++) shifted[h] = f64_sub(shifted[h], c[h]);
#else
    to_double(v_sub(logits, shift), shifted);
#endif
}
SL_INLINE void kl_add_vector(const struct kl_line *l, const int divides, const int exact, vec x_logits, vec y_logits,
                             const double *x_weight, const double *y_weight, struct kl_sums *s) {
    f64_v x[HALVES], y[HALVES], term[HALVES], difference;
    kl_shifted(x_logits, l->x_shift, x);
    kl_shifted(y_logits, l->y_shift, y);
    for (int h = 0; h < HALVES; h++) {
        const f64_v f = kl_log_ratio(l, divides, exact, h, x[h], y[h], &difference);
        const f64_v p = f64_mul(f64_load(x_weight + 8 * h), l->unit[h]), q = f64_mul(f64_load(y_weight + 8 * h), l->ratio[h]);
        const f64_v linear = f64_mul(p, f);
        term[h] = kl_term(p, q, f, linear);
        s->linear.high[h] = f64_add(s->linear.high[h], linear);
        s->difference[h] = f64_max(difference, s->difference[h]);
    }
    kl_sum_add(&s->terms, term);
}
SL_INLINE void kl_add_block_with(const struct kl_line *line, const int divides, const int exact, const struct kl_block *block,
                                 struct kl_sums *sums) {
    const struct kl_block b = *block;
    const struct kl_line l = *line;
    struct kl_sums s = *sums;
    ptrdiff_t i = 0, at = 0;
    for (; i + LANES <= b.elements; i += LANES, at += b.step)
        kl_add_vector(&l, divides, exact, v_load(b.x + at), v_load(b.y + at), b.x_weight + i, b.y_weight + i, &s);
    if (i < b.elements) {
        const vec x = load_or_lowest(b.x + at, b.elements - i), y = load_or_lowest(b.y + at, b.elements - i);
        kl_add_vector(&l, divides, exact, x, y, b.x_weight + i, b.y_weight + i, &s);
    }
    *sums = s;
}
static void kl_add_block(const struct kl_group *g, const struct kl_line *l, int exact, const struct kl_block *b, struct kl_sums *s) {
    const int wide = SL_REAL == 64; /* always exact; in float32 the temperature 1 does for the few rows that are */
    if (g->temperature || (exact && !wide)) kl_add_block_with(l, 1, 1, b, s);
    else kl_add_block_with(l, 0, wide, b, s);
}
SL_NOINLINE void sum_kl_terms(struct kl_group *g, int exact, struct kl_totals *totals) {
    struct kl_sum again = kl_sum_zero();
    for (int h = 0; h < HALVES; h++) {
        f64_store(totals->terms + 8 * h, f64_set1(0.0));
        f64_store(totals->linear + 8 * h, f64_set1(0.0));
        f64_store(totals->difference + 8 * h, f64_set1(0.0));
    }
    for (ptrdiff_t line = 0; line < kl_lines(g); line++) {
        struct kl_sums s;
        s.terms = s.linear = kl_sum_zero();
        for (int h = 0; h < HALVES; h++) s.difference[h] = f64_set1(-INFINITY);
        const struct kl_line l = kl_line_of(g, line);
        for (ptrdiff_t k = 0; k < g->job->n; k += kl_block_classes(g)) {
            const struct kl_block b = load_kl_block(g, line, k);
            if (!has_one_kl_block(g)) {
                kl_weigh(g, line, b.x, &b, &g->x, b.x_weight, &again);
                kl_weigh(g, line, b.y, &b, &g->y, b.y_weight, &again);
            }
            kl_add_block(g, &l, exact, &b, &s);
        }
        kl_total(g, line, &s.terms, totals->terms);
        kl_total(g, line, &s.linear, totals->linear);
        for (int h = 0; h < HALVES; h++) {
            if (!g->along_classes) f64_store(totals->difference + 8 * h, s.difference[h]);
            else if (h + 1 < HALVES) s.difference[h + 1] = f64_max(s.difference[h], s.difference[h + 1]);
            else totals->difference[line] = f64_reduce_max(s.difference[h]);
        }
    }
}

/* ---- rows ------------------------------------------------------------------------------------------------------ */

/* log(1 + z) for z > -1 */
SL_INLINE f64_v kl_log1p(f64_v z) {
    const f64_v zero = f64_set1(0.0), below = f64_div(f64_negate(z), f64_add(f64_set1(1.0), z));
    f64_v log, low;
    f64_log1p(f64_select_lt(z, zero, below, z), zero, &log, &low);
    return f64_select_lt(z, zero, f64_negate(log), log);
}
/* log(a / b) = high + low. log(1 + z) is of the larger over the smaller one: of the other quotient, 1 + z would lose its digits. */
SL_INLINE void kl_log_of_ratio(f64_v a, f64_v b, f64_v *high, f64_v *low) {
    const f64_v larger = f64_max(a, b), smaller = f64_select_lt(a, b, a, b);
    f64_v lost;
    const f64_v excess = f64_two_sum(larger, f64_negate(smaller), &lost), z = f64_div(excess, smaller);
    const f64_v rest = f64_fma(f64_negate(z), smaller, excess); /* exact */
    f64_log1p(z, f64_div(f64_add(rest, lost), smaller), high, low);
    *high = f64_select_lt(a, b, f64_negate(*high), *high);
    *low = f64_select_lt(a, b, f64_negate(*low), *low);
}
/* a - b + T (k ln2 + c + c_low), for a whole number k */
static struct kl_center center_of(const struct kl_group *g, vec a, vec b, vec k, const f64_v *c, const f64_v *c_low) {
    struct kl_center center;
    f64_v x[HALVES], y[HALVES], powers[HALVES], lost, rest, last;
    to_double(a, x);
    to_double(b, y);
    to_double(k, powers);
    for (int h = 0; h < HALVES; h++) {
        const f64_v t = g->temperature ? f64_load(g->temperature->exact + 8 * h) : f64_set1(1.0);
        const f64_v of_powers = f64_mul(powers[h], f64_set1(LN2)), ln2 = f64_two_sum(of_powers, c[h], &lost);
        lost = f64_add(f64_add(lost, c_low[h]), f64_fma(powers[h], f64_set1(LN2), f64_negate(of_powers)));
        lost = f64_fma(powers[h], f64_set1(LN2_REST), lost);
        const f64_v product = f64_mul(t, ln2), between = f64_two_sum(x[h], f64_negate(y[h]), &rest);
        lost = f64_fma(t, lost, f64_fma(t, ln2, f64_negate(product)));
        center.high[h] = f64_two_sum(between, product, &last);
        center.low[h] = f64_add(f64_add(lost, rest), last);
    }
    return center;
}
/* The center from the sums of e */
static void find_kl_center(struct kl_group *g) {
    double total_x[LANES], total_y[LANES];
    f64_v log[HALVES], log_low[HALVES];
    for (int h = 0; h < HALVES; h++) {
        f64_store(total_x + 8 * h, f64_set1(1.0));
        f64_store(total_y + 8 * h, f64_set1(1.0));
    }
    for (ptrdiff_t line = 0; line < kl_lines(g); line++) {
        struct kl_sum x = kl_anchor(), y = x;
        for (ptrdiff_t k = 0; k < g->job->n; k += kl_block_classes(g)) {
            const struct kl_block b = load_kl_block(g, line, k);
            kl_weigh(g, line, b.x, &b, &g->x, b.x_weight, &x);
            kl_weigh(g, line, b.y, &b, &g->y, b.y_weight, &y);
        }
        remove_kl_anchor(&x);
        remove_kl_anchor(&y);
        kl_total(g, line, &x, total_x);
        kl_total(g, line, &y, total_y);
    }
    for (int h = 0; h < HALVES; h++) {
        const f64_v y = f64_load(total_y + 8 * h);
        g->total[h] = f64_load(total_x + 8 * h);
        g->ratio[h] = f64_div(g->total[h], y);
        g->unit[h] = f64_set1(1.0);
        kl_log_of_ratio(g->total[h], y, &log[h], &log_low[h]);
    }
    g->center = center_of(g, v_set1(0), v_set1(0), v_sub(g->x.k, g->y.k), log, log_low);
}

/* float64: another unit for the rows whose terms overflow. Their e are up to 2^162 and a difference may be as large as any number. */
static int shrink_kl_unit(struct kl_group *g, const struct kl_totals *t) {
    int any = 0;
    for (int h = 0; h < HALVES && SL_REAL == 64; h++) {
        const f64_v one = f64_set1(1.0), limit = f64_set1(0x1p1000), terms = f64_load(t->terms + 8 * h);
        g->unit[h] = f64_select_lt(terms, limit, one, f64_set1(0x1p-240)); /* of NaN as well: inf - inf */
        g->total[h] = f64_mul(g->total[h], g->unit[h]);
        any |= f64_any_lt(g->unit[h], one);
    }
    return any;
}

struct kl_result {
    f64_v divergence[HALVES], off[HALVES], wants[HALVES]; /* off: s; wants: 1 where another center is wanted, else 0 */
    int any_wants;
};
SL_NOINLINE struct kl_result kl_from_totals(const struct kl_group *g, const struct kl_totals *t, int exact) {
    const f64_v zero = f64_set1(0.0), one = f64_set1(1.0), infinity = f64_set1(INFINITY), half = f64_set1(0.5);
    const f64_v third = f64_set1(1.0 / 3);
    struct kl_result r;
    r.any_wants = 0;
    for (int h = 0; h < HALVES; h++) {
        const f64_v terms = f64_load(t->terms + 8 * h), linear = f64_load(t->linear + 8 * h), most = f64_load(t->difference + 8 * h);
        const f64_v sum = f64_div(terms, g->total[h]), off = f64_div(f64_sub(terms, linear), g->total[h]);
        const f64_v square = f64_mul(off, off), rest = f64_mul(square, f64_sub(half, f64_mul(off, third))); /* off - log(1 + off) */
        f64_v bound = f64_mul(square, f64_set1(4.0)), rounding = f64_mul(g->center.high[h], f64_set1(0x1p-24));
        if (!exact) bound = f64_max(f64_mul(rounding, rounding), bound);
        r.off[h] = off;
        r.divergence[h] = f64_select_lt(sum, rest, zero, f64_sub(sum, rest));
        r.divergence[h] = f64_select_eq(most, infinity, f64_add(infinity, f64_sub(g->ratio[h], g->ratio[h])), r.divergence[h]);
        r.wants[h] = f64_select_eq(most, infinity, zero, f64_select_lt(sum, bound, one, zero));
        r.any_wants |= f64_any_lt(zero, r.wants[h]);
    }
    return r;
}
/* The sums again, around another center that is off by log(1 + off) */
static void repeat_kl(struct kl_group *g, const f64_v *off, struct kl_result *r) {
    const struct kl_center before = g->center;
    f64_v log[HALVES], none[HALVES], ratio[HALVES];
    for (int h = 0; h < HALVES; h++) {
        log[h] = f64_negate(kl_log1p(off[h]));
        none[h] = f64_set1(0.0);
        ratio[h] = g->ratio[h];
    }
    g->center = center_of(g, g->x.reduced, g->y.reduced, v_set1(0), log, none);
    for (int h = 0; h < HALVES; h++) { /* exp of what the center moved */
        f64_v moved = f64_add(f64_sub(g->center.high[h], before.high[h]), f64_sub(g->center.low[h], before.low[h]));
        if (g->temperature) moved = f64_div(moved, f64_load(g->temperature->exact + 8 * h));
        const f64_v square = f64_mul(moved, moved);
        g->ratio[h] = f64_fma(ratio[h], f64_fma(square, kl_series_of(f64_negate(moved), square), moved), ratio[h]);
    }
    struct kl_totals totals;
    sum_kl_terms(g, 1, &totals);
    const struct kl_result next = kl_from_totals(g, &totals, 1);
    r->any_wants = 0;
    for (int h = 0; h < HALVES; h++) {
        const f64_v zero = f64_set1(0.0), wanted = r->wants[h];
        r->divergence[h] = f64_select_lt(zero, wanted, next.divergence[h], r->divergence[h]);
        r->off[h] = next.off[h];
        r->wants[h] = f64_select_lt(zero, wanted, next.wants[h], zero);
        r->any_wants |= f64_any_lt(zero, r->wants[h]);
    }
}

/* A row with NaN or without a finite maximum: NaN, or 0 where nothing counts */
static real kl_of_nonfinite(const struct kl_group *g, ptrdiff_t lane) {
    for (ptrdiff_t k = 0; k < g->job->n; k++)
        if (!is_hidden(g->job, g->first + lane, k)) return (real)NAN;
    return 0;
}

static void kl_of_group(struct kl_group *g) {
    struct temperature_params memory;
    struct kl_totals totals;
    real max_x[LANES], max_y[LANES], result[LANES];
    f64_v none[HALVES];
    const int exact = SL_REAL == 64 || g->job->temperature;
    g->temperature = load_temperature(g->job, g->first, g->rows, &memory);
    v_store(max_x, v_set1(0));
    v_store(max_y, v_set1(0));
    find_kl_maxima(g, max_x, max_y);
    g->x = exp_params_for_max(v_load(max_x), g->temperature);
    g->y = exp_params_for_max(v_load(max_y), g->temperature);
    find_kl_center(g);
    sum_kl_terms(g, exact, &totals);
    if (shrink_kl_unit(g, &totals)) sum_kl_terms(g, exact, &totals);
    struct kl_result r = kl_from_totals(g, &totals, exact);
    for (int h = 0; h < HALVES; h++) none[h] = f64_set1(0.0);
    if (r.any_wants) repeat_kl(g, none, &r);
    if (r.any_wants) repeat_kl(g, r.off, &r);
    v_store(result, from_double(r.divergence));
    for (ptrdiff_t i = 0; i < g->rows; i++)
        if (result[i] != result[i]) result[i] = kl_of_nonfinite(g, i);
    store_results(g->job, g->first, g->rows, result);
}

/* Rows that are computed together */
static ptrdiff_t kl_group_rows(const sl_job *job) {
    if (job->inner > 1 || job->n <= SHORT_ROW) return LANES;
    const ptrdiff_t rows = KL_GROUP / ((job->n + LANES - 1) / LANES * LANES);
    return rows < 1 ? 1 : rows < LANES ? rows : LANES;
}

/* Hook `run`: units are rows, or strips where inner is not 1. Short rows go LANES at a time, one for each lane. */
static void kl_rows(const sl_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    struct arena arena = {scratch, 0};
    const sl_kl_args *args = job->args;
    sl_job other = *job;
    other.x = args->other;
    struct kl_group g = {.job = job, .other = &other, .scratch = take_kl_scratch(job, &arena)};
    const ptrdiff_t most = kl_group_rows(job);
    g.along_classes = job->inner == 1 && job->n > SHORT_ROW;
    for (ptrdiff_t unit = first; unit < last; unit += job->inner == 1 ? most : 1) {
        struct strip strip = strip_of_unit(job, unit);
        if (job->inner == 1) strip.rows = last - unit < most ? last - unit : most;
        g.tile_first = -1;
        g.tile_end = strip.first + strip.rows;
        for (ptrdiff_t j = 0; j < strip.rows; j += most) {
            g.first = strip.first + j;
            g.rows = strip.rows - j < most ? strip.rows - j : most;
            kl_of_group(&g);
        }
    }
}

#endif
