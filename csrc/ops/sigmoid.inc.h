/* sigmoid.inc.h: the operations sigmoid, log_sigmoid, binary_cross_entropy and binary_cross_entropy_grad, which have no rows: element
   by element, in blocks.

       sigmoid(x)  = 1 / (1 + exp(-x))
       softplus(x) = log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)) = -log_sigmoid(-x)

   No terms of these sums cancel. exp(-|x|) comes as e(-|x|) = exp(-|x|) e(0) (math/exp.inc.h), and e(0) is a number of the table,
   exactly. */
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

/* x becomes sigmoid(x). The sum and the quotient round once each. The rounding of e matters only where e is larger than e(0); what it
   has lost is added to e(0), and so survives there. */
SL_INLINE void sigmoid_of_vectors(int u, vec *x, const struct sigmoid_params *s) {
    const struct exp_constants constants = constants_without_temperature(s->round_magic, s->lower_bound);
    vec T[UNROLL], p[UNROLL];
    for (int i = 0; i < u; i++) x[i] = v_negate(v_max(v_set1(SIGMOID_ZERO), x[i]));
    exp_parts(u, x, &constants, T, p);
    for (int i = 0; i < u; i++) {
        const struct pair e = exp_pair(T[i], p[i]);
        x[i] = v_div(s->exp_of_zero, v_add(v_add(s->exp_of_zero, e.low), e.high));
    }
}

/* e(-|x|) as T + T * p */
SL_INLINE void exp_parts_of_minus_abs(int u, const vec *x, const struct logistic_params *g, vec *T, vec *p) {
    const struct exp_constants constants = constants_without_temperature(g->round_magic, g->lower_bound);
    vec a[UNROLL];
    for (int i = 0; i < u; i++) a[i] = v_negate(x[i]);
    for (int i = 0; i < u; i++) a[i] = v_negate(v_max(a[i], x[i]));
    exp_parts(u, a, &constants, T, p);
}

/* log1p(exp(-|x|)) as pairs, where exp(-|x|) = e(-|x|) / e(0) = high + low */
SL_INLINE void log1p_of_exp(int u, const vec *x, const struct logistic_params *g, struct pair *log) {
    vec T[UNROLL], p[UNROLL], high[UNROLL];
    struct pair z[UNROLL];
    exp_parts_of_minus_abs(u, x, g, T, p);
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

/* x >= 0 ? a : b, and b for NaN */
SL_INLINE vec select_sign(vec x, vec a, vec b) { return v_select_eq(v_max(x, v_set1(0)), x, a, b); }

/* coefficient * x, and 0 where the coefficient is 0 and x is infinite */
SL_INLINE vec times_or_zero(vec coefficient, vec x) { return v_select_eq(coefficient, v_set1(0), v_set1(0), v_mul(coefficient, x)); }

/* ---- blocks of elements --------------------------------------------------------------------------------------- */

/* At most SL_BLOCK elements of each array of a job. Those that the job does not have are NULL. */
struct elementwise_block {
    ptrdiff_t n;
    const real *x, *target, *weight, *pos_weight;
    real *y, *loss;
    double *sum; /* of the losses */
    real scale;  /* of the gradient */
};

/* How many elements u vectors from element i on have: fewer than LANES for the last vector of a block */
SL_INLINE ptrdiff_t elements_in_step(int u, const struct elementwise_block *b, ptrdiff_t i) { return u > 1 ? u * LANES : b->n - i; }

SL_INLINE void prefetch_vectors(int u, const real *at) {
    for (int i = 0; i < u; i++) sl_prefetch((const char *)(at + i * LANES) + PREFETCH_DISTANCE);
}
SL_INLINE void load_vectors(int u, const real *from, ptrdiff_t count, vec *v) {
    for (int i = 0; i < u; i++) v[i] = count < LANES ? v_load_tail(from, count, 0) : v_load(from + i * LANES);
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

/* ---- sigmoid and log_sigmoid ---------------------------------------------------------------------------------- */

SL_INLINE void sigmoid_step(int u, const struct elementwise_block *b, ptrdiff_t i, const struct sigmoid_params *s) {
    const ptrdiff_t count = elements_in_step(u, b, i);
    vec v[UNROLL];
    prefetch_vectors(u, b->x + i);
    prefetch_vectors(u, b->y + i);
    load_vectors(u, b->x + i, count, v);
    sigmoid_of_vectors(u, v, s);
    store_vectors(u, b->y + i, count, v);
}
static void sigmoid_block(const struct elementwise_block *block, const struct sigmoid_params *params) {
    const struct elementwise_block b = *block; /* copies stay in registers */
    const struct sigmoid_params s = *params;
    ptrdiff_t i = 0;
    for (; i + UNROLL * LANES <= b.n; i += UNROLL * LANES) sigmoid_step(UNROLL, &b, i, &s);
    for (; i < b.n; i += LANES) sigmoid_step(1, &b, i, &s);
}

/* log_sigmoid(x) = -softplus(-x) */
SL_INLINE void log_sigmoid_step(int u, const struct elementwise_block *b, ptrdiff_t i, const struct logistic_params *g) {
    const ptrdiff_t count = elements_in_step(u, b, i);
    vec v[UNROLL];
    struct pair log[UNROLL];
    prefetch_vectors(u, b->x + i);
    prefetch_vectors(u, b->y + i);
    load_vectors(u, b->x + i, count, v);
    log1p_of_exp(u, v, g, log);
    for (int j = 0; j < u; j++) v[j] = v_negate(softplus(v_negate(v[j]), log[j]));
    store_vectors(u, b->y + i, count, v);
}
static void log_sigmoid_block(const struct elementwise_block *block, const struct logistic_params *params) {
    const struct elementwise_block b = *block; /* copies stay in registers */
    const struct logistic_params g = *params;
    ptrdiff_t i = 0;
    for (; i + UNROLL * LANES <= b.n; i += UNROLL * LANES) log_sigmoid_step(UNROLL, &b, i, &g);
    for (; i < b.n; i += LANES) log_sigmoid_step(1, &b, i, &g);
}

/* ---- binary cross-entropy ------------------------------------------------------------------------------------- */

/* The sum of losses: float64 lanes, each an unevaluated pair */
struct loss_total {
    f64_v high, low;
};
SL_INLINE void loss_total_add(struct loss_total *t, f64_v x) {
    f64_v lost;
    t->high = f64_two_sum(t->high, x, &lost);
    t->low = f64_add(t->low, lost);
}
/* Adds `count` losses of u vectors. */
SL_INLINE void add_losses(int u, const vec *loss, ptrdiff_t count, struct loss_total *t) {
    for (int i = 0; i < u; i++) {
        vec l = loss[i];
        if (count < LANES) {
            real some[LANES];
            v_store(some, l);
            l = v_load_tail(some, count, 0);
        }
#if SL_REAL == 32
        f64_v a, b;
        f32_widen(l, &a, &b);
        loss_total_add(t, f64_add(a, b)); /* two float32 of like size: what this rounds away is far below the result's */
#else
        loss_total_add(t, l);
#endif
    }
}
static double loss_total_of_lanes(const struct loss_total *t) {
    double high[8], low[8], sum = 0, lost = 0;
    f64_store(high, t->high);
    f64_store(low, t->low);
    for (int i = 0; i < 8; i++) {
        sum += high[i];
        lost += low[i];
    }
    return sum - sum == 0 ? sum + lost : sum == sum ? sum : (double)NAN; /* infinity has no low part */
}

/* a sigmoid(x) - b sigmoid(-x): the sigmoids are 1 and exp(-|x|) over 1 + exp(-|x|). */
SL_INLINE vec binary_slope(vec x, vec a, vec b, vec e, vec exp_of_zero) {
    const vec inverse = v_div(v_set1(1), v_add(exp_of_zero, e)), large = v_mul(exp_of_zero, inverse), small = v_mul(e, inverse);
    return v_sub(v_mul(a, select_sign(x, large, small)), v_mul(b, select_sign(x, small, large)));
}

/* With a = 1 - target and b = pos_weight * target:

       loss     = weight (a softplus(x) + b softplus(-x))
       gradient = scale weight (a sigmoid(x) - b sigmoid(-x))

   softplus(x) and softplus(-x) share their logarithm, and one of them has |x| besides. */
SL_INLINE void binary_step(int u, int wants_gradient, const struct elementwise_block *block, ptrdiff_t i, const struct logistic_params *g,
                           struct loss_total *total) {
    const ptrdiff_t count = elements_in_step(u, block, i);
    vec x[UNROLL], target[UNROLL], weight[UNROLL], pos_weight[UNROLL], T[UNROLL], p[UNROLL], e[UNROLL], exp_x[UNROLL];
    vec loss[UNROLL], gradient[UNROLL];
    prefetch_vectors(u, block->x + i);
    if (wants_gradient) prefetch_vectors(u, block->y + i);
    prefetch_vectors(u, block->target + i);
    load_vectors(u, block->x + i, count, x);
    load_vectors(u, block->target + i, count, target);
    load_weights(u, block->weight, i, count, weight);
    load_weights(u, block->pos_weight, i, count, pos_weight);
    exp_parts_of_minus_abs(u, x, g, T, p);
    for (int j = 0; j < u; j++) e[j] = v_fma(T[j], p[j], T[j]);
    for (int j = 0; j < u; j++) exp_x[j] = v_mul(e[j], g->inverse.high);
    log1p_below_1(u, exp_x, loss);
    for (int j = 0; j < u; j++) {
        const vec a = v_sub(v_set1(1), target[j]), b = block->pos_weight ? v_mul(pos_weight[j], target[j]) : target[j];
        const vec abs_x = v_max(x[j], v_negate(x[j]));
        loss[j] = v_fma(v_add(a, b), loss[j], times_or_zero(select_sign(x[j], a, b), abs_x));
        if (block->weight) loss[j] = times_or_zero(weight[j], loss[j]);
        if (!wants_gradient) continue;
        const vec slope = binary_slope(x[j], a, b, e[j], g->exp_of_zero.high);
        gradient[j] = v_mul(block->weight ? times_or_zero(weight[j], slope) : slope, v_set1(block->scale));
    }
    if (block->loss) store_vectors(u, block->loss + i, count, loss);
    if (wants_gradient) store_vectors(u, block->y + i, count, gradient);
    if (block->sum) add_losses(u, loss, count, total);
}
SL_INLINE void binary_block(int wants_gradient, const struct elementwise_block *block, const struct logistic_params *params) {
    const struct elementwise_block b = *block; /* copies stay in registers */
    const struct logistic_params g = *params;
    struct loss_total total = {f64_set1(0.0), f64_set1(0.0)};
    ptrdiff_t i = 0;
    for (; i + UNROLL * LANES <= b.n; i += UNROLL * LANES) binary_step(UNROLL, wants_gradient, &b, i, &g, &total);
    for (; i < b.n; i += LANES) binary_step(1, wants_gradient, &b, i, &g, &total);
    if (b.sum) *b.sum = loss_total_of_lanes(&total);
}
static void binary_cross_entropy_block(const struct elementwise_block *b, const struct logistic_params *g) { binary_block(0, b, g); }
static void binary_cross_entropy_grad_block(const struct elementwise_block *b, const struct logistic_params *g) { binary_block(1, b, g); }

/* ---- the kernel ----------------------------------------------------------------------------------------------- */

SL_INLINE const real *reals_from(const void *array, ptrdiff_t i) { return array ? (const real *)array + i : NULL; }

/* Entry of the kernel table: blocks first to last of SL_BLOCK elements. */
static void elementwise(const sl_elementwise_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    const struct logistic_params logistic = logistic_params_make();
    const struct sigmoid_params sigmoid = sigmoid_params_make();
    const sl_job io = {.x_dtype = job->x_dtype, .y_dtype = job->y_dtype, .x = job->x, .y = job->y}; /* for loading and storing */
    const int writes_y = job->op != SL_BINARY_CROSS_ENTROPY;
    real *converted = (real *)(void *)scratch;
    for (ptrdiff_t k = first; k < last; k++) {
        const ptrdiff_t at = k * SL_BLOCK, n = job->n - at < SL_BLOCK ? job->n - at : SL_BLOCK;
        struct elementwise_block b = {.n = n, .x = load_block(&io, at, n, converted), .scale = (real)job->scale};
        b.y = writes_y ? output_at(&io, at, converted) : NULL;
        b.target = reals_from(job->target, at);
        b.weight = reals_from(job->weight, at);
        b.pos_weight = reals_from(job->pos_weight, at);
        b.loss = job->loss ? (real *)job->loss + at : NULL;
        b.sum = job->sums ? job->sums + k : NULL;
        if (job->op == SL_SIGMOID) sigmoid_block(&b, &sigmoid);
        else if (job->op == SL_LOG_SIGMOID) log_sigmoid_block(&b, &logistic);
        else if (job->op == SL_BINARY_CROSS_ENTROPY) binary_cross_entropy_block(&b, &logistic);
        else binary_cross_entropy_grad_block(&b, &logistic);
        if (writes_y) store_converted(&io, at, n, b.y);
    }
}

#endif
