/* sigmoid.inc.h: the operations sigmoid, log_sigmoid and sigmoid_vjp, which have no rows: element by element, in blocks.

       sigmoid(x)  = 1 / (1 + exp(-x))
       softplus(x) = log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)) = -log_sigmoid(-x)

   No terms of these sums cancel. exp(-|x|) comes as e(-|x|) = exp(-|x|) e(0) (math/exp.inc.h), and e(0) is a number of the table,
   exactly. With a temperature T, x stands for x / T = high + low: exp would make |x / T| ulp of what the quotient rounds away. */
#ifndef SL_SIGMOID_INC
#define SL_SIGMOID_INC
#include "math/convert.inc.h"
#include "math/exp.inc.h"
#include "math/log1p.inc.h"
#include "math/pair.inc.h"
#include "rows/row_stats.inc.h"

/* ---- what does not depend on x -------------------------------------------------------------------------------- */

/* For e(-|x|) */
struct logistic_params {
    vec round_magic, lower_bound;
    struct pair exp_of_zero, inverse; /* e(0) and 1 / e(0) */
};
SL_INLINE struct logistic_params logistic_params_make(void) {
    const struct exp_params p = exp_params_for_max(v_set1(0), NULL);
    const struct pair exp_of_zero = exp_of_max(&p);
    return (struct logistic_params){p.round_magic, p.lower_bound, exp_of_zero, pair_reciprocal(exp_of_zero)};
}

/* For e(-x), whose bias is so low that nothing overflows. exp(-x) is a normal number wherever it matters, from 2^-72 to 2^150 for
   float32 and 2^1076 for float64. Below that, 1 + exp(-x) is 1. Above, sigmoid is 0. */
struct sigmoid_params {
    vec round_magic, lower_bound, exp_of_zero;
};
SL_INLINE struct sigmoid_params sigmoid_params_make(void) {
    struct exp_params p = exp_params_for_max(v_set1(0), NULL);
    p.round_magic = v_set1(ROUND_MAGIC + TABLE_SIZE * SIGMOID_BIAS);
    p.lower_bound = v_set1(-50);
    return (struct sigmoid_params){p.round_magic, p.lower_bound, exp_of_max(&p).high};
}

/* The compiler has to see that there is no temperature. */
SL_INLINE struct exp_constants constants_without_temperature(vec round_magic, vec lower_bound) {
    return (struct exp_constants){round_magic, lower_bound, v_load_table(exp_table), NULL};
}

/* ---- functions of u vectors, in step -------------------------------------------------------------------------- */

/* e(x + d) for small d: p of e = T + T * p becomes p + d (1 + p) */
SL_INLINE vec shift_exponent(vec p, vec d) { return v_add(p, v_fma(d, p, d)); }

/* low, and 0 where the exponential of -|x| is 0 or clamped */
SL_INLINE vec low_that_matters(vec x, vec low) { return v_select_lt(v_max(x, v_negate(x)), v_set1(-(SIGMOID_ZERO)), low, v_set1(0)); }

/* x becomes sigmoid(x + low), where low may be NULL. The sum and the quotient round once each. The rounding of e matters only where e is
   larger than e(0); what it has lost is added to e(0), and so survives there. */
SL_INLINE void sigmoid_of_vectors(int u, vec *x, const vec *low, const struct sigmoid_params *s) {
    const struct exp_constants constants = constants_without_temperature(s->round_magic, s->lower_bound);
    vec T[UNROLL], p[UNROLL], d[UNROLL];
    for (int i = 0; low && i < u; i++) d[i] = v_negate(low_that_matters(x[i], low[i]));
    for (int i = 0; i < u; i++) x[i] = v_negate(v_max(v_set1(SIGMOID_ZERO), x[i]));
    exp_parts(u, x, &constants, T, p);
    for (int i = 0; low && i < u; i++) p[i] = shift_exponent(p[i], d[i]);
    for (int i = 0; i < u; i++) {
        const struct pair e = exp_pair(T[i], p[i]);
        x[i] = v_div(s->exp_of_zero, v_add(v_add(s->exp_of_zero, e.low), e.high));
    }
}

/* x >= 0 ? a : b, and b for NaN */
SL_INLINE vec select_sign(vec x, vec a, vec b) { return v_select_eq(v_max(x, v_set1(0)), x, a, b); }

/* e(-|x + low|) as T + T * p; low may be NULL */
SL_INLINE void exp_parts_of_minus_abs(int u, const vec *x, const vec *low, const struct logistic_params *g, vec *T, vec *p) {
    const struct exp_constants constants = constants_without_temperature(g->round_magic, g->lower_bound);
    vec a[UNROLL];
    for (int i = 0; i < u; i++) a[i] = v_negate(x[i]);
    for (int i = 0; i < u; i++) a[i] = v_negate(v_max(a[i], x[i]));
    exp_parts(u, a, &constants, T, p);
    for (int i = 0; low && i < u; i++) {
        const vec d = low_that_matters(x[i], low[i]);
        p[i] = shift_exponent(p[i], select_sign(x[i], v_negate(d), d));
    }
}

/* log1p(exp(-|x + low|)) as pairs, where exp(-|x|) = e(-|x|) / e(0) is a pair too; low may be NULL */
SL_INLINE void log1p_of_exp(int u, const vec *x, const vec *low, const struct logistic_params *g, struct pair *log) {
    vec T[UNROLL], p[UNROLL], high[UNROLL];
    struct pair z[UNROLL];
    exp_parts_of_minus_abs(u, x, low, g, T, p);
    for (int i = 0; i < u; i++) z[i] = pair_multiply(exp_pair(T[i], p[i]), g->inverse);
    for (int i = 0; i < u; i++) high[i] = z[i].high;
#if SL_REAL == 32
    log1p_polynomial(u, high, p);
    for (int i = 0; i < u; i++) {
        const vec slope = v_fma(high[i], v_set1((real)-0.5), v_set1(1)); /* of log1p, near enough for low */
        log[i] = (struct pair){high[i], v_fma(v_mul(high[i], high[i]), p[i], v_mul(z[i].low, slope))};
    }
#else
    for (int i = 0; i < u; i++) f64_log1p(high[i], z[i].low, &log[i].high, &log[i].low);
#endif
}

/* log1p of numbers in [0, 1], to about 1 ulp */
SL_INLINE void log1p_below_1(int u, const vec *x, vec *log) {
#if SL_REAL == 32
    vec p[UNROLL];
    log1p_polynomial(u, x, p);
    for (int i = 0; i < u; i++) log[i] = v_fma(v_mul(x[i], x[i]), p[i], x[i]);
#else
    vec unused;
    for (int i = 0; i < u; i++) f64_log1p(x[i], v_set1(0), &log[i], &unused);
#endif
}

/* max(x, 0) + log, rounded once; NaN for NaN */
SL_INLINE vec softplus(vec x, struct pair log) {
    const struct pair sum = pair_add(pair_of(v_max(v_set1(0), x)), log);
    return v_select_eq(v_sub(sum.high, sum.high), v_set1(0), v_add(sum.high, sum.low), sum.high); /* infinity has no low part */
}

/* ---- blocks of elements --------------------------------------------------------------------------------------- */

/* At most SL_BLOCK elements of each array of a job. Those that the job does not have are NULL. */
struct elementwise_block {
    ptrdiff_t n;
    const real *x, *target, *weight, *pos_weight, *output;
    const double *temperature; /* of element i at temperature[i * temperature_step] */
    ptrdiff_t temperature_step;
    real *y, *loss;
    double *sum;            /* of the losses, as a pair */
    double *scaled_sum;     /* of float64: of the losses times 2^-64, or NULL */
    unsigned char *outside; /* is any x outside [0, 1]? */
    real scale;             /* of the gradient */
};

/* How many elements u vectors from element i on have: fewer than LANES for the last vector of a block */
SL_INLINE ptrdiff_t elements_in_step(int u, const struct elementwise_block *b, ptrdiff_t i) { return u > 1 ? u * LANES : b->n - i; }

SL_INLINE void prefetch_vectors(int u, const real *at) {
    for (int i = 0; i < u; i++) sl_prefetch((const char *)(at + i * LANES) + PREFETCH_DISTANCE);
}
SL_INLINE vec load_some(const real *from, ptrdiff_t count) { return count < LANES ? v_load_tail(from, count, 0) : v_load(from); }
SL_INLINE void load_vectors(int u, const real *from, ptrdiff_t count, vec *v) {
    for (int i = 0; i < u; i++) v[i] = load_some(from + i * LANES, count);
}
/* Element i and those that follow it of weights; all are 1 where there are none. */
SL_INLINE void load_weights(int u, const real *weights, ptrdiff_t at, ptrdiff_t count, vec *v) {
    for (int i = 0; i < u; i++)
        v[i] = !weights ? v_set1(1) : count < LANES ? v_load_tail(weights + at, count, 1) : v_load(weights + at + i * LANES);
}
SL_INLINE void store_vectors(int u, real *to, ptrdiff_t count, const vec *v) {
    for (int i = 0; i < u; i++) {
        const vec r = v_select_eq(v[i], v[i], v[i], v_set1(NAN)); /* the one NaN for any of them */
        if (count < LANES) v_store_tail(to, count, r);
        else v_store(to + i * LANES, r);
    }
}

/* ---- temperatures --------------------------------------------------------------------------------------------- */

SL_INLINE void load_temperatures(const struct elementwise_block *b, ptrdiff_t at, ptrdiff_t count, f64_v *t) {
    for (int h = 0; h < HALVES; h++) {
        const ptrdiff_t i = at + 8 * h, left = count - 8 * h;
        if (!b->temperature_step) t[h] = f64_set1(*b->temperature);
        else if (left >= 8) t[h] = f64_load(b->temperature + i);
        else t[h] = left > 0 ? f64_load_tail(b->temperature + i, left, 1) : f64_set1(1);
    }
}

/* x / T = high + low. Numbers near the smallest ones are scaled first, as the rest of the division would be too small. */
SL_INLINE struct pair divide_by_temperature(vec x, const f64_v *t) {
    struct pair q;
#if SL_REAL == 32
    f64_v exact[HALVES], rounded[HALVES];
    to_double(x, exact);
    for (int h = 0; h < HALVES; h++) exact[h] = f64_div(exact[h], t[h]);
    q.high = from_double(exact);
    to_double(q.high, rounded);
    for (int h = 0; h < HALVES; h++) exact[h] = f64_sub(exact[h], rounded[h]);
    q.low = from_double(exact);
#else
    const vec scale = v_select_lt(v_max(x, v_negate(x)), v_set1(0x1p-400), v_set1(0x1p600), v_set1(1));
    const vec a = v_mul(x, scale), b = v_mul(t[0], scale);
    q.high = v_div(a, b);
    q.low = v_div(v_fma(v_negate(q.high), b, a), b);
#endif
    q.low = v_select_lt(v_max(q.low, v_negate(q.low)), v_set1(INFINITY), q.low, v_set1(0)); /* infinity and 0 have no low part */
    return q;
}
/* x of u vectors becomes x / T, and what that rounds away */
SL_INLINE void divide_vectors(int u, const struct elementwise_block *b, ptrdiff_t i, ptrdiff_t count, vec *x, vec *low) {
    f64_v t[HALVES];
    for (int j = 0; j < u; j++) {
        load_temperatures(b, i + j * LANES, count, t);
        const struct pair q = divide_by_temperature(x[j], t);
        x[j] = q.high;
        low[j] = q.low;
    }
}

/* ---- sigmoid and log_sigmoid ---------------------------------------------------------------------------------- */

SL_INLINE void sigmoid_step(int u, int divides, const struct elementwise_block *b, ptrdiff_t i, const struct sigmoid_params *s) {
    const ptrdiff_t count = elements_in_step(u, b, i);
    vec v[UNROLL], low[UNROLL];
    prefetch_vectors(u, b->x + i);
    prefetch_vectors(u, b->y + i);
    load_vectors(u, b->x + i, count, v);
    if (divides) divide_vectors(u, b, i, count, v, low);
    sigmoid_of_vectors(u, v, divides ? low : NULL, s);
    store_vectors(u, b->y + i, count, v);
}
/* With temperatures, whose divisions take the time, one vector at a time */
static void sigmoid_block(const struct elementwise_block *block, const struct sigmoid_params *params) {
    const struct elementwise_block b = *block; /* copies stay in registers */
    const struct sigmoid_params s = *params;
    ptrdiff_t i = 0;
    for (; !b.temperature && i + UNROLL * LANES <= b.n; i += UNROLL * LANES) sigmoid_step(UNROLL, 0, &b, i, &s);
    for (; i < b.n; i += LANES) sigmoid_step(1, b.temperature != NULL, &b, i, &s);
}

/* log_sigmoid(x) = -softplus(-x), whose maximum of -x and 0 has a low part as well */
SL_INLINE void log_sigmoid_step(int u, int divides, const struct elementwise_block *b, ptrdiff_t i, const struct logistic_params *g) {
    const ptrdiff_t count = elements_in_step(u, b, i);
    vec v[UNROLL], low[UNROLL];
    struct pair log[UNROLL];
    prefetch_vectors(u, b->x + i);
    prefetch_vectors(u, b->y + i);
    load_vectors(u, b->x + i, count, v);
    if (divides) divide_vectors(u, b, i, count, v, low);
    log1p_of_exp(u, v, divides ? low : NULL, g, log);
    for (int j = 0; divides && j < u; j++) log[j].low = v_sub(log[j].low, select_sign(v[j], v_set1(0), low[j]));
    for (int j = 0; j < u; j++) v[j] = v_negate(softplus(v_negate(v[j]), log[j]));
    store_vectors(u, b->y + i, count, v);
}
static void log_sigmoid_block(const struct elementwise_block *block, const struct logistic_params *params) {
    const struct elementwise_block b = *block; /* copies stay in registers */
    const struct logistic_params g = *params;
    ptrdiff_t i = 0;
    for (; !b.temperature && i + UNROLL * LANES <= b.n; i += UNROLL * LANES) log_sigmoid_step(UNROLL, 0, &b, i, &g);
    for (; i < b.n; i += LANES) log_sigmoid_step(1, b.temperature != NULL, &b, i, &g);
}

/* ---- the vector-Jacobian product of sigmoid ------------------------------------------------------------------- */

/* g y (1 - y) from the gradient g and the output y of sigmoid, in float64 */
static void sigmoid_vjp_block(const struct elementwise_block *b) {
    for (ptrdiff_t i = 0; i < b->n; i += LANES) {
        vec gradient, output;
        f64_v g[HALVES], y[HALVES];
        load_vectors(1, b->x + i, b->n - i, &gradient);
        load_vectors(1, b->output + i, b->n - i, &output);
        to_double(gradient, g);
        to_double(output, y);
        for (int h = 0; h < HALVES; h++) g[h] = f64_mul(f64_mul(g[h], y[h]), f64_sub(f64_set1(1.0), y[h]));
        gradient = from_double(g);
        store_vectors(1, b->y + i, b->n - i, &gradient);
    }
}

#endif
