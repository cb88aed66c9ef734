/* binary.inc.h: binary cross-entropy of logits and of probabilities, and their gradients: element by element, in blocks. */
#ifndef SL_BINARY_INC
#define SL_BINARY_INC
#include "ops/sigmoid.inc.h"

/* a * b, where 0 times an infinity is 0, and 0 times NaN is NaN; never -0 where a is 0 */
SL_INLINE vec times_or_zero(vec a, vec b) {
    const vec zero = v_set1(0), product = v_mul(a, b), sum = v_add(a, b); /* NaN if one of a and b is */
    const vec found = v_select_eq(product, product, product, v_select_eq(sum, sum, zero, sum));
    return v_select_eq(a, zero, v_add(found, zero), found);
}
SL_INLINE f64_v f64_times_or_zero(f64_v a, f64_v b) {
    const f64_v zero = f64_set1(0.0), product = f64_mul(a, b), sum = f64_add(a, b);
    const f64_v found = f64_select_eq(product, product, product, f64_select_eq(sum, sum, zero, sum));
    return f64_select_eq(a, zero, f64_add(found, zero), found);
}

/* ---- sums of losses ------------------------------------------------------------------------------------------- */

/* The sum of losses: float64 lanes, each an unevaluated pair. A sum of float64 may overflow where the mean does not: then that of the
   losses times 2^-64 counts, which is added plainly. */
struct loss_total {
    f64_v high, low, scaled;
};
SL_INLINE struct loss_total loss_total_zero(void) { return (struct loss_total){f64_set1(0.0), f64_set1(0.0), f64_set1(0.0)}; }
SL_INLINE void loss_total_add(struct loss_total *t, f64_v x) {
    f64_v lost;
    t->high = f64_two_sum(t->high, x, &lost);
    t->low = f64_add(t->low, lost);
#if SL_REAL == 64
    t->scaled = f64_fma(x, f64_set1(0x1p-64), t->scaled);
#endif
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
/* The sum of lanes as a pair; infinity has no low part. */
SL_NOINLINE double sum_of_lanes(f64_v high_lanes, f64_v low_lanes, double *low_sum) {
    double high[8], low[8], sum = 0;
    f64_store(high, high_lanes);
    f64_store(low, low_lanes);
    *low_sum = 0;
    for (int i = 0; i < 8; i++) {
        sum = add_with_low(sum, high[i], low_sum);
        *low_sum += low[i];
    }
    if (sum - sum != 0) *low_sum = 0;
    return sum == sum ? sum : (double)NAN;
}
SL_NOINLINE void store_loss_total(const struct elementwise_block *b, const struct loss_total *t) {
    double unused;
    if (b->sum) b->sum[0] = sum_of_lanes(t->high, t->low, &b->sum[1]);
    if (b->scaled_sum) *b->scaled_sum = sum_of_lanes(t->scaled, f64_set1(0.0), &unused);
}

/* ---- of logits ------------------------------------------------------------------------------------------------ */

/* a sigmoid(x) - b sigmoid(-x): the sigmoids are 1 and exp(-|x|) over 1 + exp(-|x|). */
SL_INLINE vec binary_slope(vec x, vec a, vec b, int b_is_weighed, vec e, vec exp_of_zero) {
    const vec inverse = v_div(v_set1(1), v_add(exp_of_zero, e)), large = v_mul(exp_of_zero, inverse), small = v_mul(e, inverse);
    const vec of_zero = select_sign(x, small, large);
    return v_sub(v_mul(a, select_sign(x, large, small)), b_is_weighed ? times_or_zero(b, of_zero) : v_mul(b, of_zero));
}

/* scale * slope / T, whose factors may be beyond the range of float32 */
SL_INLINE vec divide_gradient(const struct elementwise_block *b, ptrdiff_t at, ptrdiff_t count, vec slope) {
    f64_v t[HALVES], d[HALVES];
    load_temperatures(b, at, count, t);
    to_double(slope, d);
    for (int h = 0; h < HALVES; h++) d[h] = f64_div(f64_mul(d[h], f64_set1((double)b->scale)), t[h]);
    return from_double(d);
}

/* With a = 1 - target and b = pos_weight * target:

       loss     = weight (a softplus(x) + b softplus(-x))
       gradient = scale weight (a sigmoid(x) - b sigmoid(-x)) / temperature

   softplus(x) and softplus(-x) share their logarithm, and one of them has |x| besides. A weight that is infinite, as those beyond the range
   of the compute type are, leaves what is 0 without it. */
SL_INLINE void binary_step(int u, int wants_gradient, int divides, const struct elementwise_block *block, ptrdiff_t i,
                           const struct logistic_params *g, struct loss_total *total) {
    const ptrdiff_t count = elements_in_step(u, block, i);
    vec x[UNROLL], target[UNROLL], weight[UNROLL], pos_weight[UNROLL], T[UNROLL], p[UNROLL], e[UNROLL], exp_x[UNROLL];
    vec loss[UNROLL], gradient[UNROLL], low[UNROLL];
    prefetch_vectors(u, block->x + i);
    if (wants_gradient) prefetch_vectors(u, block->y + i);
    prefetch_vectors(u, block->target + i);
    load_vectors(u, block->x + i, count, x);
    load_vectors(u, block->target + i, count, target);
    load_weights(u, block->weight, i, count, weight);
    load_weights(u, block->pos_weight, i, count, pos_weight);
    if (divides) divide_vectors(u, block, i, count, x, low);
    exp_parts_of_minus_abs(u, x, divides ? low : NULL, g, T, p);
    for (int j = 0; j < u; j++) e[j] = v_fma(T[j], p[j], T[j]);
    for (int j = 0; j < u; j++) exp_x[j] = v_mul(e[j], g->inverse.high);
    log1p_below_1(u, exp_x, loss);
    for (int j = 0; j < u; j++) {
        const vec a = v_sub(v_set1(1), target[j]), b = block->pos_weight ? times_or_zero(pos_weight[j], target[j]) : target[j];
        const vec abs_x = v_max(x[j], v_negate(x[j])), side = select_sign(x[j], a, b), log = loss[j];
        const vec linear = v_select_eq(side, v_set1(0), v_set1(0), v_mul(side, abs_x)); /* the logarithm of a NaN is one too */
        loss[j] = v_fma(v_add(a, b), log, linear);
        if (block->pos_weight) loss[j] = v_select_eq(loss[j], loss[j], loss[j], v_add(times_or_zero(v_add(a, b), log), linear));
        if (block->weight) loss[j] = times_or_zero(weight[j], loss[j]);
        if (!wants_gradient) continue;
        vec slope = binary_slope(x[j], a, b, block->pos_weight != NULL, e[j], g->exp_of_zero.high);
        if (block->weight) slope = times_or_zero(weight[j], slope);
        gradient[j] = v_mul(slope, v_set1(block->scale));
        if (divides) gradient[j] = divide_gradient(block, i + j * LANES, count, slope);
    }
    if (block->loss) store_vectors(u, block->loss + i, count, loss);
    if (wants_gradient) store_vectors(u, block->y + i, count, gradient);
    if (block->sum) add_losses(u, loss, count, total);
}
/* With temperatures, whose divisions take the time, one vector at a time */
SL_INLINE void binary_loop(int wants_gradient, const struct elementwise_block *block, const struct logistic_params *params) {
    const struct elementwise_block b = *block; /* copies stay in registers */
    const struct logistic_params g = *params;
    struct loss_total total = loss_total_zero();
    ptrdiff_t i = 0;
    for (; !b.temperature && i + UNROLL * LANES <= b.n; i += UNROLL * LANES) binary_step(UNROLL, wants_gradient, 0, &b, i, &g, &total);
    for (; i < b.n; i += LANES) binary_step(1, wants_gradient, b.temperature != NULL, &b, i, &g, &total);
    store_loss_total(&b, &total);
}
static void binary_cross_entropy_block(const struct elementwise_block *b, const struct logistic_params *g) { binary_loop(0, b, g); }
static void binary_cross_entropy_grad_block(const struct elementwise_block *b, const struct logistic_params *g) { binary_loop(1, b, g); }

/* ---- of probabilities ----------------------------------------------------------------------------------------- */

/* w (y -log(p) + (1 - y) -log(1 - p)) */
SL_INLINE f64_v loss_of_probability(f64_v p, f64_v y, f64_v w) {
    const f64_v one = f64_set1(1.0);
    f64_v lost, rest = f64_two_sum(one, f64_negate(p), &lost);        /* nothing is lost from 1/2 on */
    const f64_v c = f64_fma(f64_mul(lost, p), f64_add(one, p), lost); /* lost / (1 - p), nearly */
    const f64_v log_p = f64_log(p, f64_set1(0.0)), log_rest = f64_log(rest, c);
    const f64_v sum = f64_add(f64_times_or_zero(y, f64_negate(log_p)), f64_times_or_zero(f64_sub(one, y), f64_negate(log_rest)));
    return f64_times_or_zero(w, sum);
}

/* w (-y / p + (1 - y) / (1 - p)) = w (p - y) / (p (1 - p)), where a term whose factor is 0 is 0: only one is left where y is 0 or 1. */
SL_INLINE f64_v slope_of_probability(f64_v p, f64_v y, f64_v w) {
    const f64_v zero = f64_set1(0.0), one = f64_set1(1.0), minus_one = f64_set1(-1.0), rest = f64_sub(one, p);
    const f64_v above = f64_select_eq(y, zero, one, f64_select_eq(y, one, minus_one, f64_sub(p, y)));
    const f64_v below = f64_select_eq(y, zero, rest, f64_select_eq(y, one, p, f64_mul(p, rest)));
    return f64_times_or_zero(w, f64_div(above, below));
}

/* Probabilities beyond 0 and 1 count as these. All arithmetic is in float64, and rounds to the compute type once. Returns if any is beyond.
 */
SL_INLINE int probs_step(const struct elementwise_block *b, ptrdiff_t i, struct loss_total *total) {
    const ptrdiff_t count = b->n - i;
    const f64_v zero = f64_set1(0.0), one = f64_set1(1.0);
    vec x, target, weight;
    f64_v p[HALVES], y[HALVES], w[HALVES], loss[HALVES];
    int outside = 0;
    load_vectors(1, b->x + i, count, &x);
    load_vectors(1, b->target + i, count, &target);
    load_weights(1, b->weight, i, count, &weight);
    to_double(x, p);
    to_double(target, y);
    to_double(weight, w);
    for (int h = 0; h < HALVES; h++) {
        outside |= f64_any_lt(p[h], zero) | f64_any_lt(one, p[h]);
        p[h] = f64_select_lt(one, p[h], one, f64_max(zero, f64_add(p[h], zero))); /* never -0 */
        loss[h] = loss_of_probability(p[h], y[h], w[h]);
        if (b->sum) loss_total_add(total, loss[h]); /* lanes that are not there have target 0 of probability 0 */
        if (b->y) p[h] = f64_mul(slope_of_probability(p[h], y[h], w[h]), f64_set1((double)b->scale));
    }
    if (b->loss) {
        const vec rounded = from_double(loss);
        store_vectors(1, b->loss + i, count, &rounded);
    }
    if (b->y) {
        const vec gradient = from_double(p);
        store_vectors(1, b->y + i, count, &gradient);
    }
    return outside;
}
static void probs_block(const struct elementwise_block *block) {
    const struct elementwise_block b = *block;
    struct loss_total total = loss_total_zero();
    int outside = 0;
    for (ptrdiff_t i = 0; i < b.n; i += LANES) outside |= probs_step(&b, i, &total);
    store_loss_total(&b, &total);
    *b.outside = (unsigned char)outside;
}

#endif
