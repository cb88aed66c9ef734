/* elements.inc.h: compute. What has no rows: sigmoid, its logarithm and its cross-entropy, element by element.
   Part of kernels.inc.h.

     sigmoid(x)  = 1 / (1 + exp(-x)), with e(-x) against a bias so low that nothing overflows
     softplus(x) = log(1 + exp(x)) = max(x, 0) + log1p(E) = -log_sigmoid(-x), with E = exp(-|x|), so that nothing cancels

   e(-|x|) is E * e(0) (math.inc.h); e(0) is a number of the table, exactly. */
#ifndef SL_SIGMOID_INC
#define SL_SIGMOID_INC
#include "rows/row_stats.inc.h"

/* What does not depend on x */
typedef struct {
    exp_params plan;
    pair unit, inverse; /* e(0), 1 / e(0) */
} logistic_params;

SL_INLINE logistic_params logistic_params_make(void) {
    logistic_params g;
    g.plan = exp_params_for_max(v_set1(0), NULL, 0);
    g.unit = exp_of_max(&g.plan);
    g.inverse = reciprocal(g.unit);
    return g;
}

/* e(-|x|) of u vectors, rounded, and what that lost where lost is not NULL */
SL_INLINE void exp_of_minus(int u, const vec *x, const logistic_params *g, vec *e, vec *lost) {
    vec a[UNROLL], T[UNROLL], p[UNROLL];
    for (int i = 0; i < u; i++) a[i] = v_sub(v_set1(0), x[i]);
    for (int i = 0; i < u; i++) a[i] = v_sub(v_set1(0), v_max(a[i], x[i]));
    exp_parts(u, a, &g->plan.magic, &g->plan.clamp, NULL, v_load_table(exp_table), T, p);
    for (int i = 0; i < u; i++) e[i] = v_fma(T[i], p[i], T[i]);
    for (int i = 0; lost && i < u; i++) lost[i] = v_fma(T[i], p[i], v_sub(T[i], e[i]));
}

SL_INLINE vec positive(vec x) { return v_max(v_set1(0), x); } /* max(x, 0), NaN for NaN */

/* x >= 0 ? a : b, b for NaN */
SL_INLINE vec select_sign(vec x, vec a, vec b) { return v_select_eq(v_max(x, v_set1(0)), x, a, b); }

/* The plan of sigmoid: exp(-x) of all numbers that matter, 2^-72 to 2^150 (2^1076), is a normal number. Below, 1 + exp(-x)
   is 1; above, the result is 0. */
SL_INLINE exp_params sigmoid_plan(void) {
    exp_params p = exp_params_for_max(v_set1(0), NULL, 0);
    p.magic = v_set1(ROUND_MAGIC + TABLE_SIZE * SIGMOID_BIAS);
    p.clamp = v_set1(-50);
    return p;
}
/* The sum and the quotient round once each, and e hardly: where that matters, it is larger than unit. */
SL_INLINE void sigmoid_vectors(int u, vec *x, const exp_params *plan, vec unit) {
    vec T[UNROLL], p[UNROLL];
    for (int i = 0; i < u; i++) x[i] = v_sub(v_set1(0), v_max(v_set1(SIGMOID_ZERO), x[i]));
    exp_parts(u, x, &plan->magic, &plan->clamp, NULL, v_load_table(exp_table), T, p);
    for (int i = 0; i < u; i++) {
        const vec e = v_fma(T[i], p[i], T[i]), lost = v_fma(T[i], p[i], v_sub(T[i], e));
        x[i] = v_div(unit, v_add(v_add(unit, lost), e));
    }
}

/* log1p(E) of u vectors as pairs, from e(-|x|) and what its rounding lost */
SL_INLINE void log1p_of_exp(int u, const vec *e, const vec *lost, const logistic_params *g, pair *log) {
    vec high[UNROLL], low[UNROLL];
    for (int i = 0; i < u; i++) high[i] = v_mul(e[i], g->inverse.high);
    for (int i = 0; i < u; i++) {
        low[i] = v_fma(e[i], g->inverse.high, v_sub(v_set1(0), high[i]));
        low[i] = v_fma(e[i], g->inverse.low, v_fma(lost[i], g->inverse.high, low[i]));
    }
#if SL_REAL == 32
    vec p[UNROLL];
    sl_log1p_polynomial(u, high, p);
    for (int i = 0; i < u; i++) {
        const vec slope = v_fma(high[i], v_set1((R)-0.5), v_set1(1)); /* of log1p, near enough for low */
        log[i] = (pair){high[i], v_fma(v_mul(high[i], high[i]), p[i], v_mul(low[i], slope))};
    }
#else
    for (int i = 0; i < u; i++) sl_log1p(high[i], low[i], &log[i].high, &log[i].low);
#endif
}

/* log1p of u vectors in [0, 1], to 1 ulp or so */
SL_INLINE void log1p_below_1(int u, const vec *x, vec *log) {
#if SL_REAL == 32
    vec p[UNROLL];
    sl_log1p_polynomial(u, x, p);
    for (int i = 0; i < u; i++) log[i] = v_fma(v_mul(x[i], x[i]), p[i], x[i]);
#else
    vec unused;
    for (int i = 0; i < u; i++) sl_log1p(x[i], v_set1(0), &log[i], &unused);
#endif
}

/* max(x, 0) + log, rounded once */
SL_INLINE vec softplus(vec x, pair log) {
    const pair sum = pair_add((pair){positive(x), v_set1(0)}, log);
    return v_select_eq(v_sub(sum.high, sum.high), v_set1(0), v_add(sum.high, sum.low), sum.high); /* infinity has no low part */
}

/* coefficient * x, 0 where the coefficient is 0 and x is infinite */
SL_INLINE vec times_or_zero(vec coefficient, vec x) { return v_select_eq(coefficient, v_set1(0), v_set1(0), v_mul(coefficient, x)); }

/* Some vectors from each of the arrays of a job; k is the number of elements, fewer than LANES in the last one. */
SL_INLINE void load_vectors(int u, const R *from, ptrdiff_t k, R fill, vec *v) {
    for (int i = 0; i < u; i++) v[i] = !from ? v_set1(fill) : k < LANES ? v_load_tail(from, k, fill) : v_load(from + i * LANES);
}
SL_INLINE void store_vectors(int u, R *to, ptrdiff_t k, const vec *v) {
    for (int i = 0; i < u; i++) {
        const vec r = v_select_eq(v[i], v[i], v[i], v_set1(NAN)); /* the one NaN for any of them */
        if (k < LANES) v_store_tail(to, k, r);
        else v_store(to + i * LANES, r);
    }
}

SL_INLINE void sigmoid_step(int u, const R *x, R *y, ptrdiff_t k, const exp_params *plan, vec unit) {
    vec v[UNROLL];
    load_vectors(u, x, k, 0, v);
    sigmoid_vectors(u, v, plan, unit);
    store_vectors(u, y, k, v);
}
SL_INLINE void log_sigmoid_step(int u, const R *x, R *y, ptrdiff_t k, const logistic_params *g) {
    vec v[UNROLL], e[UNROLL], lost[UNROLL];
    pair log[UNROLL];
    load_vectors(u, x, k, 0, v);
    exp_of_minus(u, v, g, e, lost);
    log1p_of_exp(u, e, lost, g, log);
    for (int i = 0; i < u; i++) v[i] = v_sub(v_set1(0), softplus(v_sub(v_set1(0), v[i]), log[i]));
    store_vectors(u, y, k, v);
}

/* The sum of losses: float64 lanes, each an unevaluated pair. */
typedef struct {
    f64_v high, low;
} loss_total;
SL_INLINE void loss_total_add(loss_total *t, f64_v x) {
    const f64_v s = f64_add(t->high, x), v = f64_sub(s, t->high);
    t->low = f64_add(t->low, f64_add(f64_sub(t->high, f64_sub(s, v)), f64_sub(x, v)));
    t->high = s;
}
SL_INLINE void add_losses(loss_total *t, vec loss) {
#if SL_REAL == 32
    f64_v a, b;
    f32_widen(loss, &a, &b);
    loss_total_add(t, f64_add(a, b)); /* two float32 of like size: what this rounds away is far below the result's */
#else
    loss_total_add(t, loss);
#endif
}

/* With a = 1 - y and b = pos y: loss = w (a softplus(x) + b softplus(-x)), gradient = scale w (a sigmoid(x) - b sigmoid(-x)).
   softplus(x) and softplus(-x) share their logarithm, and one of them has |x| besides; the sigmoids are 1 and E over 1 + E. */
SL_INLINE void binary_step(int u, const sl_elements *s, const R *x, const R *target, const R *weight, const R *pos_weight, R *loss, R *grad,
                           ptrdiff_t k, const logistic_params *g, loss_total *total) {
    const vec zero = v_set1(0), one = v_set1(1);
    vec v[UNROLL], y[UNROLL], w[UNROLL], pos[UNROLL], e[UNROLL], E[UNROLL], l[UNROLL], d[UNROLL];
    load_vectors(u, x, k, 0, v);
    load_vectors(u, target, k, 0, y);
    load_vectors(u, weight, k, 1, w);
    load_vectors(u, pos_weight, k, 1, pos);
    exp_of_minus(u, v, g, e, NULL);
    for (int i = 0; i < u; i++) E[i] = v_mul(e[i], g->inverse.high);
    log1p_below_1(u, E, l);
    for (int i = 0; i < u; i++) {
        const vec a = v_sub(one, y[i]), b = pos_weight ? v_mul(pos[i], y[i]) : y[i];
        l[i] = v_fma(v_add(a, b), l[i], times_or_zero(select_sign(v[i], a, b), v_max(v[i], v_sub(zero, v[i]))));
        if (weight) l[i] = times_or_zero(w[i], l[i]);
        d[i] = zero;
        if (!grad) continue;
        const vec inverse = v_div(one, v_add(g->unit.high, e[i])), large = v_mul(g->unit.high, inverse), small = v_mul(e[i], inverse);
        d[i] = v_sub(v_mul(a, select_sign(v[i], large, small)), v_mul(b, select_sign(v[i], small, large)));
        d[i] = v_mul(weight ? times_or_zero(w[i], d[i]) : d[i], v_set1((R)s->scale));
    }
    if (loss) store_vectors(u, loss, k, l);
    if (grad) store_vectors(u, grad, k, d);
    if (!s->sums) return;
    if (k < LANES) {
        R rest[LANES];
        v_store(rest, l[0]);
        l[0] = v_load_tail(rest, k, 0);
    }
    for (int i = 0; i < u; i++) add_losses(total, l[i]);
}

/* Blocks first to last of SL_BLOCK elements */
void elementwise(const sl_elements *s, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const logistic_params g = logistic_params_make();
    const exp_params plan = sigmoid_plan();
    const vec unit = exp_of_max(&plan).high;
    const sl_job job = {.x_storage = s->x_storage, .y_storage = s->y_storage, .x = s->x, .y = s->y};
    R *converted = scratch;
    for (ptrdiff_t b = first; b < last; b++) {
        const ptrdiff_t at = b * SL_BLOCK, n = s->n - at < SL_BLOCK ? s->n - at : SL_BLOCK;
        const R *x = load_block(&job, at, n, converted);
        R *y = s->y ? output_at(&job, at, converted) : NULL;
        const R *target = (const R *)s->target + at, *weight = s->weight ? (const R *)s->weight + at : NULL;
        const R *pos_weight = s->pos_weight ? (const R *)s->pos_weight + at : NULL;
        R *loss = s->loss ? (R *)s->loss + at : NULL;
        loss_total total = {f64_set1(0.0), f64_set1(0.0)};
        for (ptrdiff_t i = 0; i < n;) {
            const int u = i + UNROLL * LANES <= n ? UNROLL : 1;
            const ptrdiff_t k = n - i;
            for (int j = 0; j < u; j++) sl_prefetch((const char *)(x + i + j * LANES) + SL_PREFETCH);
            for (int j = 0; y && j < u; j++) sl_prefetch((const char *)(y + i + j * LANES) + SL_PREFETCH);
            if (s->op == SL_SIGMOID && u > 1) sigmoid_step(UNROLL, x + i, y + i, k, &plan, unit);
            else if (s->op == SL_SIGMOID) sigmoid_step(1, x + i, y + i, k, &plan, unit);
            else if (s->op == SL_LOG_SIGMOID && u > 1) log_sigmoid_step(UNROLL, x + i, y + i, k, &g);
            else if (s->op == SL_LOG_SIGMOID) log_sigmoid_step(1, x + i, y + i, k, &g);
            else {
                const R *w = weight ? weight + i : NULL, *pos = pos_weight ? pos_weight + i : NULL;
                R *l = loss ? loss + i : NULL, *d = y ? y + i : NULL;
                for (int j = 0; j < u; j++) sl_prefetch((const char *)(target + i + j * LANES) + SL_PREFETCH);
                if (u > 1 && d) binary_step(UNROLL, s, x + i, target + i, w, pos, l, d, k, &g, &total);
                else if (u > 1) binary_step(UNROLL, s, x + i, target + i, w, pos, l, NULL, k, &g, &total);
                else binary_step(1, s, x + i, target + i, w, pos, l, d, k, &g, &total);
            }
            i += u * LANES;
        }
        if (y) store_converted(&job, at, n, y);
        if (s->sums) {
            double high[8], low[8], sum = 0, lost = 0;
            f64_store(high, total.high);
            f64_store(low, total.low);
            for (int i = 0; i < 8; i++) {
                sum += high[i];
                lost += low[i];
            }
            s->sums[b] = sum - sum == 0 ? sum + lost : sum == sum ? sum : (double)NAN; /* infinity has no low part */
        }
    }
}

/* ---- vector-Jacobian products: what comes back through softmax and log_softmax, from the gradient g and the output y ---- */

/* softmax: y (g - sum(g y)). log_softmax: g - exp(y) sum(g). sum has one number for all n, or, step 1, one for each. */
static void vjp_block(sl_op op, const R *grad, const R *y, ptrdiff_t n, const double *sum, int step, const logistic_params *g, R *out) {
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const ptrdiff_t k = n - i < LANES ? n - i : LANES;
        R p[LANES];
        if (op == SL_LOG_SOFTMAX_GRAD) {
            vec v = v_load_tail(y + i, k, 0), T, q;
            exp_parts(1, &v, &g->plan.magic, &g->plan.clamp, NULL, v_load_table(exp_table), &T, &q);
            v = v_fma(T, q, T);
            v_store(p, v_fma(v, g->inverse.high, v_mul(v, g->inverse.low)));
        }
        for (ptrdiff_t j = 0; j < k; j++) {
            const double s = sum[step * (i + j)];
            const R r = (R)(op == SL_SOFTMAX_GRAD ? y[i + j] * (grad[i + j] - s) : grad[i + j] - p[j] * s);
            out[i + j] = r == r ? r : (R)NAN;
        }
    }
}

/* The unit is a row, or SL_TILE_WIDTH columns. */
void vjp(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const logistic_params g = logistic_params_make();
    const ptrdiff_t n = job->n, inner = job->inner, per_outer = (inner + SL_TILE_WIDTH - 1) / SL_TILE_WIDTH;
    const int columns = inner > 1;
    const ptrdiff_t step = columns ? 1 : SL_BLOCK;
    sl_job output = *job;
    output.x = job->output;
    R *a = scratch, *b = a + SL_BLOCK;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const ptrdiff_t left = inner - unit % per_outer * SL_TILE_WIDTH, width = left < SL_TILE_WIDTH ? left : SL_TILE_WIDTH;
        const ptrdiff_t start = unit / per_outer * n * inner + unit % per_outer * SL_TILE_WIDTH;
        double sum[SL_TILE_WIDTH] = {0};
        for (ptrdiff_t k = 0; k < n; k += step) {
            const ptrdiff_t at = start + k * inner, count = columns ? width : n - k < step ? n - k : step;
            const R *grad = load_block(job, at, count, a), *y = load_block(&output, at, count, b);
            for (ptrdiff_t i = 0; i < count; i++) /* a row adds up in LANES lanes */
                sum[columns ? i : i % LANES] += job->op == SL_SOFTMAX_GRAD ? (double)grad[i] * y[i] : grad[i];
        }
        for (int i = 1; !columns && i < LANES; i++) sum[0] += sum[i];
        for (ptrdiff_t k = 0; k < n; k += step) {
            const ptrdiff_t at = start + k * inner, count = columns ? width : n - k < step ? n - k : step;
            const R *grad = load_block(job, at, count, a), *y = load_block(&output, at, count, b);
            R *out = output_at(job, at, a);
            vjp_block(job->op, grad, y, count, sum, columns, &g, out);
            store_converted(job, at, count, out);
        }
    }
}

#endif
