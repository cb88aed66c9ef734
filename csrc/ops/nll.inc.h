/* nll.inc.h: the operations nll and log_loss: losses of what is no logit. With the mass q of each class, all on one class that an index
   names or one for each class, and the weight w of the row,

       nll:       w * sum of -q x           x is log-probabilities, at most 0
       log_loss:  w * sum of -q log(x)      x is probabilities, 0 to 1

   Terms are computed in float64 and added up as if in twice the precision, in an order that the number of classes alone decides. A term
   with q = 0 is 0, unless x is NaN. */
#ifndef SL_NLL_INC
#define SL_NLL_INC
#include "math/convert.inc.h"
#include "math/log1p.inc.h"
#include "rows/op.inc.h"

/* Sums of terms, one for each row of a strip, or in LANES parts, which do not wait for each other, where the row is alone */
struct nll_sums {
    double sum[TILE_WIDTH], low[TILE_WIDTH], outside[TILE_WIDTH]; /* outside: how many x are beyond their domain */
};

/* Blocks of x and of the masses, where they have to be converted */
struct nll_scratch {
    struct nll_sums sums;
    real *x, *mass;
};
static void *take_nll_scratch(const sl_job *job, struct arena *arena) {
    const ptrdiff_t together = job->n < SL_BLOCK ? job->n : SL_BLOCK;
    const ptrdiff_t size = together < TILE_WIDTH ? TILE_WIDTH : together;
    struct nll_scratch *s = arena_take(arena, sizeof *s);
    real *x = take_reals(arena, size), *mass = take_reals(arena, size);
    if (s) {
        s->x = x;
        s->mass = mass;
    }
    return s;
}

/* Numbers that are computed together: the classes that indices name, classes of one row, or one class of neighbouring rows. The mass of
   x[i] is mass[i] * weight[i] * factor; what is NULL is 1. */
struct nll_block {
    ptrdiff_t n;
    const real *x, *mass, *weight;
    double factor;
    int one_row;
};

SL_INLINE void load_doubles(const real *x, ptrdiff_t count, real fill, f64_v *d) {
    to_double(x ? v_load_tail(x, count, fill) : v_set1(1), d);
}

/* The terms of 8 classes; *outside becomes 1 where x is beyond its domain. */
SL_INLINE f64_v nll_terms(const sl_job *job, f64_v x, f64_v q, f64_v *outside) {
    const f64_v zero = f64_set1(0.0), one = f64_set1(1.0), slack = f64_set1(((const sl_loss_args *)job->args)->slack);
    const int takes_log = job->op == SL_LOG_LOSS;
    const f64_v least = f64_set1(takes_log ? 0.0 : -(double)INFINITY), most = takes_log ? one : zero;
    *outside = f64_select_lt(f64_add(most, slack), x, one, f64_select_lt(x, f64_sub(least, slack), one, zero));
    const f64_v inside = f64_select_lt(most, x, most, f64_select_lt(x, least, least, x));
    const f64_v log = takes_log ? f64_log(inside, f64_set1(0.0)) : inside;
    return f64_select_eq(q, zero, f64_select_eq(x, x, zero, x), f64_negate(f64_mul(q, log)));
}

static void add_nll_block(const sl_job *job, const struct nll_block *b, struct nll_sums *s) {
    const real neutral = job->op == SL_LOG_LOSS ? 1 : 0;
    for (ptrdiff_t i = 0; i < b->n; i += LANES) {
        const ptrdiff_t count = b->n - i < LANES ? b->n - i : LANES;
        double *sum = s->sum + (b->one_row ? 0 : i), *low = s->low + (b->one_row ? 0 : i), *outside = s->outside + (b->one_row ? 0 : i);
        f64_v x[HALVES], mass[HALVES], weight[HALVES];
        load_doubles(b->x + i, count, neutral, x);
        load_doubles(b->mass ? b->mass + i : NULL, count, 0, mass);
        load_doubles(b->weight ? b->weight + i : NULL, count, 0, weight);
        for (int h = 0; h < HALVES; h++) {
            const f64_v q = f64_mul(f64_mul(mass[h], weight[h]), f64_set1(b->factor));
            f64_v is_outside, lost;
            const f64_v term = nll_terms(job, x[h], q, &is_outside);
            f64_store(sum + 8 * h, f64_two_sum(f64_load(sum + 8 * h), term, &lost));
            f64_store(low + 8 * h, f64_add(f64_load(low + 8 * h), lost));
            f64_store(outside + 8 * h, f64_add(f64_load(outside + 8 * h), is_outside));
        }
    }
}

SL_INLINE int is_left_out(const sl_loss_args *args, ptrdiff_t row) {
    return (args->row_weight && args->row_weight[row] == 0) || (args->target && args->target[row] == args->ignore_index);
}

/* The classes that indices name. Of rows that are left out, x is not looked at. */
static void add_nll_targets(const sl_job *job, struct strip strip, struct nll_scratch *s) {
    const sl_loss_args *args = job->args;
    const real *weight = args->class_weight;
    for (ptrdiff_t i = 0; i < strip.rows; i++) {
        const int left_out = is_left_out(args, strip.first + i);
        const int64_t k = left_out ? 0 : args->target[strip.first + i];
        s->x[i] = left_out ? 1 : logit_at(job, strip.first + i, k);
        s->mass[i] = weight ? weight[k] : 1;
    }
    const struct nll_block b = {strip.rows, s->x, s->mass, NULL, 1, 0};
    add_nll_block(job, &b, &s->sums);
}

/* All classes of the rows of a strip */
static void add_nll_masses(const sl_job *job, struct strip strip, struct nll_scratch *s) {
    const sl_loss_args *args = job->args;
    const struct source masses = {args->mass_dtype, 0, args->mass, NULL};
    const real *weight = args->class_weight;
    const int one_row = job->inner == 1;
    for (ptrdiff_t k = 0; k < job->n; k += one_row ? SL_BLOCK : 1) {
        const ptrdiff_t at = start_of_row(job, strip.first) + k * job->inner, left = job->n - k;
        struct nll_block b = {.n = one_row ? left < SL_BLOCK ? left : SL_BLOCK : strip.rows, .factor = 1, .one_row = one_row};
        b.x = load_block(job, at, b.n, s->x);
        b.mass = load_source(&masses, at, b.n, s->mass);
        if (weight && one_row) b.weight = weight + k;
        else if (weight) b.factor = weight[k];
        add_nll_block(job, &b, &s->sums);
    }
}

static void add_parts(struct nll_sums *s) {
    for (int i = 1; i < LANES; i++) {
        s->sum[0] = add_with_low(s->sum[0], s->sum[i], &s->low[0]);
        s->low[0] += s->low[i];
        s->outside[0] += s->outside[i];
    }
}

static void nll_of_strip(const sl_job *job, struct strip strip, struct nll_scratch *s) {
    const sl_loss_args *args = job->args;
    struct nll_sums *sums = &s->sums;
    for (ptrdiff_t i = 0; i < strip.rows || i < LANES; i++) sums->sum[i] = sums->low[i] = sums->outside[i] = 0;
    if (args->target) add_nll_targets(job, strip, s);
    else add_nll_masses(job, strip, s);
    if (!args->target && job->inner == 1) add_parts(sums);
    for (ptrdiff_t i = 0; i < strip.rows; i++) {
        const ptrdiff_t row = strip.first + i;
        const int left_out = is_left_out(args, row);
        const double sum = sums->sum[i], total = sum - sum == 0 ? sum + sums->low[i] : sum; /* the low part of an infinite sum is NaN */
        const double loss = args->row_weight ? total * args->row_weight[row] : total;
        args->loss[row] = left_out ? 0 : loss == loss ? loss : (double)NAN;
        args->outside[row] = !left_out && sums->outside[i] != 0;
    }
}

/* Hook `run`: units are rows, or strips where inner is not 1. Rows of which one class is looked at go together. */
static void nll_rows(const sl_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    const sl_loss_args *args = job->args;
    struct arena arena = {scratch, 0};
    struct nll_scratch *s = take_nll_scratch(job, &arena);
    const int together = args->target && job->inner == 1;
    for (ptrdiff_t unit = first; unit < last; unit += together ? TILE_WIDTH : 1) {
        const ptrdiff_t left = last - unit;
        nll_of_strip(job, together ? (struct strip){unit, left < TILE_WIDTH ? left : TILE_WIDTH} : strip_of_unit(job, unit), s);
    }
}

#endif
