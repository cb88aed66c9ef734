/* summary.inc.h: what is known of rows after a part of their classes, and how two of that become one.

   A summary of a row has its maximum m and sums over the classes but that one:

       weight = sum(exp(x / T))      moment = sum(exp(x / T) * x)

   A merge adds what each of two summaries has, and exp(m / T) of the smaller maximum. Sums are of integers, so that no order of merges
   changes a bit: every term is cut into digits of SL_DIGIT_BITS bits at places that are the same for all terms of all rows, and a sum keeps
   the SL_WEIGHT_DIGITS (SL_MOMENT_DIGITS) highest places that any of its terms has. What the first term of all keeps is at least 2^-76
   (2^-114) of it. Each digit has an int64, which holds 2^23 terms.

   exp(x / T) has no place among those of others where x / T is far from zero: the sums of rows with |m / T| of 2^30 or more are relative to
   exp(m / T), and moments to m. A merge of two different maxima rounds there. */
#ifndef SL_SUMMARY_INC
#define SL_SUMMARY_INC
#include "math/exp.inc.h"
#include "math/log1p.inc.h"
#if SL_REAL == 64

#define FAR_FROM 0x1p30
#define NOTHING_LEFT (-2000.0) /* exp of that is 0 beside any number */

/* ---- exp as a pair --------------------------------------------------------------------------------------------- */

/* f * 2^k */
struct scaled_pair {
    struct pair f;
    vec k;
};

/* exp(z) for |z| <= 2^41, within 2^-66: exp(z) = 2^k (1 + y)^16, y = exp(r / 16) - 1. The series ends with the ninth power. */
SL_INLINE struct scaled_pair exp_of_pair(struct pair z) {
    static const double inverse_factorial[] = {0x1.71de3a556c734p-19, 0x1.a01a01a01a01ap-16, 0x1.a01a01a01a01ap-13, 0x1.6c16c16c16c17p-10,
                                               0x1.1111111111111p-7,  0x1.5555555555555p-5,  0x1.5555555555555p-3};
    const vec magic = v_set1(0x1.8p52), k = v_sub(v_fma(z.high, v_set1(LOG2E), magic), magic), minus_k = v_negate(k);
    const vec product = v_mul(minus_k, v_set1(LN2)), lost = v_fma(minus_k, v_set1(LN2), v_negate(product));
    struct pair r;
    r.high = v_two_sum(v_add(z.high, product), v_add(v_fma(minus_k, v_set1(LN2_REST), lost), z.low), &r.low);
    r = pair_scale(r, v_set1(0x1p-4));
    vec tail = v_set1(inverse_factorial[0]);
    for (int i = 1; i < 7; i++) tail = v_fma(tail, r.high, v_set1(inverse_factorial[i]));
    tail = v_mul(tail, v_mul(r.high, v_mul(r.high, r.high)));
    struct pair y = pair_scale(pair_multiply(r, r), v_set1(0.5));
    y.low = v_add(y.low, tail);
    y = pair_renormalize(pair_add(r, y));
    for (int i = 0; i < 4; i++) y = pair_renormalize(pair_add(pair_scale(y, v_set1(2)), pair_multiply(y, y)));
    return (struct scaled_pair){pair_renormalize(pair_add(pair_of(v_set1(1)), y)), k};
}

/* x / t, to twice the precision */
SL_INLINE struct pair divide_pair(struct pair x, vec t) {
    const vec q = v_div(x.high, t), rest = v_fma(v_negate(q), t, x.high), q_low = v_div(v_add(rest, x.low), t);
    return pair_renormalize((struct pair){q, q_low});
}

/* ---- sums of digits -------------------------------------------------------------------------------------------- */

/* A number, or with low 0 a double, times 2^exponent */
struct number {
    double high, low;
    int64_t exponent;
};
/* Digit i of a sum or of one of its terms counts 2^(SL_DIGIT_BITS * (top - i)). */
struct digits {
    int64_t top; /* SL_NO_DIGITS: 0 */
    int64_t digit[SL_MOMENT_DIGITS];
};

SL_INLINE double times_power_of_two(double x, int64_t n) {
    double power;
    const uint64_t bits = (uint64_t)(n + 1023) << 52;
    if (n < -1000 || n > 1000) return ldexp(x, n < -3000 ? -3000 : n > 3000 ? 3000 : (int)n);
    memcpy(&power, &bits, sizeof power);
    return x * power;
}
/* |x| is at least 2^that, and less than twice as much. */
SL_INLINE int exponent_of(double x) {
    uint64_t bits;
    int exponent;
    memcpy(&bits, &x, sizeof bits);
    exponent = (int)(bits >> 52 & 0x7ff);
    if (exponent) return exponent - 1023;
    frexp(x, &exponent);
    return exponent - 1;
}
SL_INLINE int64_t floor_of_division(int64_t a, int64_t b) { return a / b - (a % b < 0); }
SL_INLINE double nearest_integer(double x) { return (x + 0x1.8p52) - 0x1.8p52; } /* |x| < 2^51 */

SL_INLINE struct digits digits_of(struct number x, const int count) {
    struct digits d = {SL_NO_DIGITS, {0}};
    const double one = 0x1p38;
    double rest, lost;
    if (x.high == 0 || x.high - x.high != 0) return d;
    d.top = floor_of_division(x.exponent + exponent_of(x.high), SL_DIGIT_BITS);
    const int64_t shift = x.exponent - SL_DIGIT_BITS * d.top;
    rest = times_power_of_two(x.high, shift);
    double integer = nearest_integer(rest);
    d.digit[0] = (int64_t)integer;
    rest = two_sum(rest - integer, times_power_of_two(x.low, shift), &lost);
    for (int i = 1; i < count; i++) {
        rest = two_sum(rest * one, lost * one, &lost);
        integer = nearest_integer(rest);
        d.digit[i] = (int64_t)integer;
        rest -= integer;
    }
    return d;
}

/* Adds terms that are already cut. */
SL_INLINE void add_digits(int64_t *top, int64_t *sum, int count, int64_t other_top, const int64_t *other) {
    if (other_top == SL_NO_DIGITS) return;
    if (*top == other_top) {
        for (int i = 0; i < count; i++) sum[i] += other[i];
        return;
    }
    if (*top == SL_NO_DIGITS || other_top > *top) {
        const int64_t raised = *top == SL_NO_DIGITS ? count : other_top - *top;
        for (int i = count - 1; i >= 0; i--) sum[i] = i >= raised ? sum[i - raised] : 0;
        *top = other_top;
    }
    const int64_t below = *top - other_top;
    for (int i = 0; i + below < count; i++) sum[i + below] += other[i];
}

SL_INLINE struct number number_of(int64_t top, const int64_t *digit, const int count) {
    struct number x = {0, 0, 0};
    double unit = 1, lost, rest = 0;
    if (top == SL_NO_DIGITS) return x;
    x.exponent = SL_DIGIT_BITS * top;
    for (int i = 0; i < count; i++, unit *= 0x1p-38) {
        const double high = (double)digit[i], low = (double)(digit[i] - (int64_t)high);
        x.high = two_sum(x.high, unit * high, &lost);
        rest += lost + unit * low;
        x.high = two_sum(x.high, rest, &rest);
    }
    x.low = rest;
    return x;
}

/* ---- numbers --------------------------------------------------------------------------------------------------- */

SL_INLINE struct number multiply(struct number a, struct number b) {
    const double high = a.high * b.high, lost = fma(a.high, b.high, -high) + (a.high * b.low + a.low * b.high);
    struct number x = {0, 0, a.exponent + b.exponent};
    x.high = two_sum(high, lost, &x.low);
    return x;
}
static struct number negated(struct number a) { return (struct number){-a.high, -a.low, a.exponent}; }
static struct number of_double(double x) { return (struct number){x, 0, 0}; }

static struct number add(struct number a, struct number b) {
    if (a.high == 0) return b;
    if (b.high == 0) return a;
    if (a.exponent < b.exponent) return add(b, a);
    const int64_t n = b.exponent - a.exponent;
    double lost;
    struct number x = {0, 0, a.exponent};
    const double high = two_sum(a.high, times_power_of_two(b.high, n), &lost);
    x.high = two_sum(high, lost + a.low + times_power_of_two(b.low, n), &x.low);
    return x;
}

/* a / b, within 2^-100 */
static struct number divide(struct number a, struct number b) {
    const double q = a.high / b.high, rest = fma(-q, b.high, a.high) + (a.low - q * b.low);
    struct number x = {0, 0, a.exponent - b.exponent};
    x.high = two_sum(q, rest / b.high, &x.low);
    return x;
}

/* ---- a row ----------------------------------------------------------------------------------------------------- */

SL_INLINE int is_far(double max, double t) { return fabs(max) >= FAR_FROM * t; }
SL_INLINE int is_absolute(double max, double t) { return max - max == 0 && !is_far(max, t); }

/* exp(z) of one number */
static struct number exp_of(double high, double low) {
    const struct scaled_pair e = exp_of_pair((struct pair){v_set1(high), v_set1(low)});
    return (struct number){f64_reduce_max(e.f.high), f64_reduce_max(e.f.low), (int64_t)f64_reduce_max(e.k)};
}
/* exp(m / T) where the sums of the row are absolute, and 1 where they are relative to that */
static struct number unit_of(double max, double t) {
    if (!is_absolute(max, t)) return of_double(1);
    const struct pair z = divide_pair(pair_of(v_set1(max)), v_set1(t));
    return exp_of(f64_reduce_max(z.high), f64_reduce_max(z.low));
}

/* What the other classes weigh beside the maximum, and the mean of m - x over all classes times their weight. Neither is negative. */
struct relative {
    struct number others, deviation;
};
static struct relative relative_of(const sl_weight *w, const sl_moment *moment, double t, struct number unit) {
    const struct number weight = number_of(w->top, w->digit, SL_WEIGHT_DIGITS);
    struct relative r = {divide(weight, unit), of_double(0)};
    if (!moment) return r;
    const struct number origin = of_double(is_far(w->max, t) ? 0 : w->max), sum = number_of(moment->top, moment->digit, SL_MOMENT_DIGITS);
    r.deviation = divide(add(multiply(origin, weight), negated(sum)), unit);
    return r;
}

/* digits_of for a positive normal number: without a chain of additions, from the bits of high, and from low as an integer */
SL_INLINE struct digits digits_of_weight(struct number x) {
    struct digits d;
    uint64_t bits;
    memcpy(&bits, &x.high, sizeof bits);
    const int64_t exponent = x.exponent + (int64_t)(bits >> 52) - 1023, mask = ((int64_t)1 << SL_DIGIT_BITS) - 1;
    d.top = floor_of_division(exponent, SL_DIGIT_BITS);
    const int below = 52 - (int)(exponent - SL_DIGIT_BITS * d.top); /* bits of high that are below digit 0: 15 to 52 */
    const int64_t significand = (int64_t)((bits & 0xfffffffffffff) | 0x10000000000000);
    const int64_t rest = significand & (((int64_t)1 << below) - 1);
    const int64_t low = (int64_t)times_power_of_two(x.low, x.exponent - SL_DIGIT_BITS * (d.top - 2)); /* less than 2^61 */
    d.digit[0] = significand >> below;
    d.digit[1] = below > SL_DIGIT_BITS ? rest >> (below - SL_DIGIT_BITS) : rest << (SL_DIGIT_BITS - below);
    d.digit[2] = below > SL_DIGIT_BITS ? (rest & (((int64_t)1 << (below - SL_DIGIT_BITS)) - 1)) << (2 * SL_DIGIT_BITS - below) : 0;
    d.digit[1] += low >> SL_DIGIT_BITS;
    d.digit[2] += low & mask;
    return d;
}
SL_INLINE struct digits weight_digits(struct number x) {
    return x.high >= 0x1p-1000 && x.high <= 0x1p1000 ? digits_of_weight(x) : digits_of(x, SL_WEIGHT_DIGITS);
}
static void add_weight(sl_weight *w, struct number x) {
    const struct digits d = weight_digits(x);
    add_digits(&w->top, w->digit, SL_WEIGHT_DIGITS, d.top, d.digit);
}
static void add_moment(sl_moment *m, struct number x) {
    const struct digits d = digits_of(x, SL_MOMENT_DIGITS);
    add_digits(&m->top, m->digit, SL_MOMENT_DIGITS, d.top, d.digit);
}

static void clear_moment(sl_moment *moment) {
    if (moment) *moment = (sl_moment){SL_NO_DIGITS, {0}};
}

/* ---- merging --------------------------------------------------------------------------------------------------- */

/* Adds all classes of `from`, whose maximum is smaller, to a row whose sums are relative, or that has a maximum near zero. */
static void merge_far(sl_weight *w, sl_moment *moment, const sl_weight *from, const sl_moment *from_moment, double t) {
    const int to_relative = is_far(w->max, t);
    const double origin = to_relative ? w->max : 0;
    double lost, d = two_sum(from->max, -origin, &lost), z;
    if (d - d != 0) return; /* beyond the largest number */
    struct number q = divide((struct number){d, lost, 0}, of_double(t));
    z = q.high;
    if (from->max != w->max && (from->max - w->max) / t < NOTHING_LEFT) return;
    const struct number e = exp_of(z, q.low);
    const struct relative r = relative_of(from, from_moment, t, unit_of(from->max, t));
    add_weight(w, e);
    add_weight(w, multiply(e, r.others));
    if (!moment) return;
    /* sum(exp(x - origin) (x - origin)) = e ((m - origin) (1 + others) - deviation) */
    const struct number all = add(of_double(1), r.others), distance = {d, lost, 0};
    add_moment(moment, multiply(e, add(multiply(distance, all), negated(r.deviation))));
}

/* y becomes one of a and b; unit is exp(m / T) of the smaller maximum. */
static void merge_row(const sl_weight *a, const sl_moment *a_moment, const sl_weight *b, const sl_moment *b_moment, double t,
                      struct number unit, sl_weight *y, sl_moment *y_moment) {
    const int a_is_larger = !(a->max < b->max);
    const sl_weight larger = a_is_larger ? *a : *b, smaller = a_is_larger ? *b : *a;
    sl_moment none = {SL_NO_DIGITS, {0}}, moment = none, smaller_moment = none;
    if (y_moment) {
        moment = a_is_larger ? *a_moment : *b_moment;
        smaller_moment = a_is_larger ? *b_moment : *a_moment;
    }
    *y = larger;
    if (y_moment) *y_moment = moment;
    if (larger.max != larger.max || smaller.max != smaller.max) {
        *y = (sl_weight){(double)NAN, SL_NO_DIGITS, {0}};
        clear_moment(y_moment);
    } else if (larger.max == -INFINITY) {
        y->digit[0] |= smaller.digit[0]; /* does a class count? */
    } else if (larger.max == INFINITY || smaller.max == -INFINITY) {
        return;
    } else if (is_far(larger.max, t) || is_far(smaller.max, t)) {
        merge_far(y, y_moment, &smaller, y_moment ? &smaller_moment : NULL, t);
    } else {
        add_digits(&y->top, y->digit, SL_WEIGHT_DIGITS, smaller.top, smaller.digit);
        add_weight(y, unit);
        if (!y_moment) return;
        add_digits(&y_moment->top, y_moment->digit, SL_MOMENT_DIGITS, smaller_moment.top, smaller_moment.digit);
        add_moment(y_moment, multiply(unit, of_double(smaller.max)));
    }
}

/* exp(m / T) of up to 8 rows whose sums are absolute */
static void units_of(const double *max, const double *t, ptrdiff_t count, struct number *unit) {
    double m[8], temperature[8], high[8], low[8], k[8];
    for (int i = 0; i < 8; i++) {
        temperature[i] = t ? t[i < count ? i : 0] : 1;
        m[i] = i < count && is_absolute(max[i], temperature[i]) ? max[i] : 0;
    }
    struct pair z = pair_of(v_load(m));
    if (t) z = divide_pair(z, v_load(temperature));
    const struct scaled_pair e = exp_of_pair(z);
    v_store(high, e.f.high);
    v_store(low, e.f.low);
    v_store(k, e.k);
    for (int i = 0; i < 8; i++) unit[i] = (struct number){high[i], low[i], (int64_t)k[i]};
}

/* ---- for all rows ---------------------------------------------------------------------------------------------- */

SL_INLINE sl_moment *moment_of(const sl_summary *s, ptrdiff_t row) { return s->moment ? s->moment + row : NULL; }
/* The temperatures of 8 rows from number `row` on, or NULL; memory: for those */
SL_INLINE const double *temperatures_of(const sl_summary *s, ptrdiff_t row, ptrdiff_t count, double *memory) {
    if (!s->temperature) return NULL;
    for (int i = 0; i < 8; i++) memory[i] = s->temperature[s->temperature_step * (row + (i < count ? i : 0))];
    return memory;
}

/* y becomes the summaries of rows of which the statistics of a part are known. */
static void begin_summaries(const sl_summary_job *job, ptrdiff_t first, ptrdiff_t last) {
    const sl_part_args *part = &job->statistics;
    const sl_summary *y = &job->y;
    for (ptrdiff_t row = first; row < last; row += 8) {
        const ptrdiff_t count = last - row < 8 ? last - row : 8;
        double memory[8];
        const double *t = temperatures_of(y, row, count, memory);
        struct number unit[8];
        units_of(part->max + row, t, count, unit);
        for (ptrdiff_t i = 0; i < count; i++) {
            sl_weight *w = &y->weight[row + i];
            sl_moment *moment = moment_of(y, row + i);
            const double max = part->max[row + i] + 0.0; /* -0 as 0 */
            const struct number others = {part->others[row + i], part->others_low[row + i], 0};
            *w = (sl_weight){max, SL_NO_DIGITS, {0}};
            clear_moment(moment);
            if (max == -INFINITY) w->digit[0] = others.high != 0;
            if (max - max != 0) continue;
            const int far = is_far(max, t ? t[i] : 1);
            const struct number own = far ? of_double(1) : unit[i];
            const struct digits d = weight_digits(multiply(own, others));
            *w = (sl_weight){max, d.top, {d.digit[0], d.digit[1], d.digit[2]}};
            if (!moment) continue;
            const struct number origin = of_double(far ? 0 : max), deviation = of_double(part->deviation[row + i]);
            add_moment(moment, multiply(own, add(multiply(origin, others), negated(deviation))));
        }
    }
}

/* y becomes what a and b know. */
static void merge_summaries(const sl_summary_job *job, ptrdiff_t first, ptrdiff_t last) {
    const sl_summary *a = &job->a, *b = &job->b, *y = &job->y;
    for (ptrdiff_t row = first; row < last; row += 8) {
        const ptrdiff_t count = last - row < 8 ? last - row : 8;
        double memory[8], smaller[8] = {0};
        const double *t = temperatures_of(y, row, count, memory);
        struct number unit[8];
        for (ptrdiff_t i = 0; i < count; i++) {
            const double m = a->weight[row + i].max, n = b->weight[row + i].max;
            smaller[i] = m < n ? m : n;
        }
        units_of(smaller, t, count, unit);
        for (ptrdiff_t i = 0; i < count; i++)
            merge_row(&a->weight[row + i], moment_of(a, row + i), &b->weight[row + i], moment_of(b, row + i), t ? t[i] : 1, unit[i],
                      &y->weight[row + i], moment_of(y, row + i));
    }
}

/* The order of classes: NaN, then larger before smaller, then by key */
static int is_before(double x, int64_t x_key, double y, int64_t y_key) {
    const int x_is_nan = x != x, y_is_nan = y != y;
    if (x_is_nan != y_is_nan) return x_is_nan;
    return x_is_nan || x == y ? x_key < y_key : x > y;
}
static void merge_best(const sl_summary_job *job, ptrdiff_t first, ptrdiff_t last) {
    const sl_best *a = &job->a_best, *b = &job->b_best, *y = &job->y_best;
    const ptrdiff_t k = job->k;
    for (ptrdiff_t row = first; row < last; row++) {
        ptrdiff_t i = row * k, j = i;
        for (ptrdiff_t to = row * k; to < (row + 1) * k; to++) {
            const int takes_a = is_before(a->value[i], a->key[i], b->value[j], b->key[j]);
            y->value[to] = takes_a ? a->value[i] : b->value[j];
            y->key[to] = takes_a ? a->key[i++] : b->key[j++];
        }
    }
}

/* The statistics of the rows, and what follows from them */
static void finish_summaries(const sl_summary_job *job, ptrdiff_t first, ptrdiff_t last) {
    const sl_summary *s = &job->a;
    const sl_part_args *to = &job->statistics;
    for (ptrdiff_t row = first; row < last; row += 8) {
        const ptrdiff_t count = last - row < 8 ? last - row : 8;
        double memory[8], max[8] = {0}, others[8] = {0}, low[8] = {0}, log[8], result[8];
        const double *t = temperatures_of(s, row, count, memory);
        struct relative r[8];
        struct number unit[8];
        for (ptrdiff_t i = 0; i < count; i++) max[i] = s->weight[row + i].max;
        units_of(max, t, count, unit);
        for (ptrdiff_t i = 0; i < count; i++) {
            const sl_weight *w = &s->weight[row + i];
            const double own = t ? t[i] : 1;
            r[i] = relative_of(w, moment_of(s, row + i), own, is_absolute(w->max, own) ? unit[i] : of_double(1));
            to->max[row + i] = max[i];
            to->others[row + i] = others[i] = times_power_of_two(r[i].others.high, r[i].others.exponent);
            to->others_low[row + i] = low[i] = times_power_of_two(r[i].others.low, r[i].others.exponent);
        }
        struct pair logarithm, m = pair_of(v_load(max));
        f64_log1p(v_load(others), v_load(low), &logarithm.high, &logarithm.low);
        if (t) m = divide_pair(m, v_load(t));
        v_store(log, logarithm.high);
        v_store(result, pair_renormalize(pair_add(m, logarithm)).high);
        for (ptrdiff_t i = 0; i < count; i++) {
            const int special = max[i] - max[i] != 0;
            job->log_sum[row + i] = special ? (double)NAN : log[i];
            job->logsumexp[row + i] = special ? max[i] : result[i];
            if (!job->entropy) continue;
            const struct number mean = divide(r[i].deviation, multiply(add(of_double(1), r[i].others), of_double(t ? t[i] : 1)));
            job->entropy[row + i] = log[i] + times_power_of_two(mean.high, mean.exponent);
            if (special) job->entropy[row + i] = max[i] == -INFINITY && !s->weight[row + i].digit[0] ? 0 : (double)NAN;
        }
    }
}

/* A step on rows first to last */
static void sl_summaries(const sl_summary_job *job, ptrdiff_t first, ptrdiff_t last) {
    if (job->step == SL_BEGIN) begin_summaries(job, first, last);
    if (job->step == SL_MERGE) merge_summaries(job, first, last);
    if (job->step == SL_MERGE && job->k) merge_best(job, first, last);
    if (job->step == SL_FINISH) finish_summaries(job, first, last);
}

#endif
#endif
