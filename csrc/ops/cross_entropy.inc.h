/* cross_entropy.inc.h: hooks of the operations cross_entropy and cross_entropy_grad. They collect what the targets of rows say, and make
   losses and gradients of that and of the row's statistics.

   The target of a row is a mass q_c for each class c: all on one class t that an index names, or a mass for each class, or, with
   label smoothing, both. Then, with m the maximum of the row and Q the sum of its masses,

       loss     = w (sum of q_c (m - x_c) / T + Q log(sum / e(m)))
       gradient = scale w / T (Q p_c - q_c)

   with the weight w and the temperature T of the row. Where the masses are >= 0, all terms of the loss are, so that nothing cancels. Losses
   are computed in float64. A class that the mask hides has x = -inf, no part of the label smoothing, and gradient 0. */
#ifndef SL_CROSS_ENTROPY_INC
#define SL_CROSS_ENTROPY_INC
#include "math/convert.inc.h"
#include "math/exp.inc.h"
#include "math/pair.inc.h"
#include "rows/op.inc.h"
#include "rows/row_stats.inc.h"

/* ---- masses of classes ---------------------------------------------------------------------------------------- */

/* Do all classes have a mass, or only the one that an index names? */
SL_INLINE int has_class_masses(const sl_loss_args *args) { return args->mass || args->label_smoothing != 0; }

SL_INLINE double weight_of_class(const sl_loss_args *args, ptrdiff_t k) {
    return args->class_weight ? ((const real *)args->class_weight)[k] : 1;
}

/* The masses of the classes of one row, without what an index adds to one of them */
struct class_masses {
    const sl_loss_args *args;
    struct source mass;        /* mass.x is NULL where there is none */
    const unsigned char *mask; /* or NULL */
    ptrdiff_t start, step;     /* mass and mask of class k are element start + k * step */
    double uniform, of_mass;   /* what smoothing gives each visible class, and what it leaves of mass */
};
SL_INLINE struct class_masses class_masses_of_row(const sl_job *job, ptrdiff_t row) {
    const sl_loss_args *args = job->args;
    struct class_masses m;
    m.args = args;
    m.mass = (struct source){args->mass_dtype, 0, args->mass, NULL};
    m.mask = job->mask;
    m.start = start_of_row(job, row);
    m.step = job->inner;
    m.uniform = args->label_smoothing == 0 ? 0 : args->label_smoothing / (double)(job->mask ? args->visible[row] : job->n);
    m.of_mass = 1 - args->label_smoothing;
    return m;
}
SL_INLINE double mass_of_class(const struct class_masses *m, ptrdiff_t k) {
    const ptrdiff_t at = m->start + k * m->step;
    const int is_visible = !m->mask || m->mask[at];
    double mass = is_visible ? m->uniform : 0;
    if (m->mass.x) {
        real one = 0;
        mass += m->of_mass * (source_is_native(&m->mass) ? ((const real *)m->mass.x)[at] : *load_source(&m->mass, at, 1, &one));
    }
    return is_visible || mass != 0 ? mass * weight_of_class(m->args, k) : 0;
}

/* ---- first pass: collect what targets say --------------------------------------------------------------------- */

/* The classes that an index names, as far as the block has them */
static void collect_target_classes(const sl_loss_args *args, const struct block *x, struct row_targets *restrict t) {
    const int64_t *restrict target = args->target + x->first_row, ignore_index = args->ignore_index;
    const real *restrict weight = args->class_weight, *restrict logit = x->at;
    const ptrdiff_t first = x->first_class, last = first + x->classes;
    const double mass = 1 - args->label_smoothing;
    for (ptrdiff_t i = 0; i < x->rows; i++) {
        const int64_t k = target[i];
        if (k == ignore_index) t->ignored[i] = 1;
        else if (k >= first && k < last) {
            t->target_logit[i] = logit[i * x->row_step + (k - first) * x->class_step];
            t->target_mass[i] = weight ? mass * weight[k] : mass;
        }
    }
}

SL_INLINE double total_of_four(const struct exact_sum *s) { return (s[0].sum + s[1].sum) + (s[2].sum + s[3].sum); }
SL_INLINE double low_of_four(const struct exact_sum *s) { return (s[0].low + s[1].low) + (s[2].low + s[3].low); }

/* Adds the masses of one row's classes, and mass * (origin - x) in units of margin_unit, in four sums each that do not wait for each
   other. */
static void collect_class_masses(const sl_job *job, const struct block *x, ptrdiff_t lane, double origin, struct row_targets *t) {
    const struct class_masses masses = class_masses_of_row(job, x->first_row + lane);
    const real *logit = x->at + lane * x->row_step;
    const double unit = margin_unit(job), from = unit * origin;
    struct exact_sum mass[4] = {{0, 0}}, margin[4] = {{0, 0}};
    for (ptrdiff_t i = 0; i < x->classes; i++) {
        const double q = mass_of_class(&masses, x->first_class + i);
        exact_add(&mass[i % 4], q);
        if (q != 0) exact_add_product(&margin[i % 4], q, from, unit * logit[i * x->class_step]); /* 0 times infinity is 0 here */
    }
    t->other_mass[lane] += total_of_four(mass);
    t->other_mass[lane] += low_of_four(mass);
    t->margin[lane] += total_of_four(margin);
    t->margin[lane] += low_of_four(margin);
}

/* Hook `collect`: adds what the targets of a block of classes say to t. It runs while x is still there. origin is any number for each
   row: its maximum, or that of the block. */
static void collect_targets(const sl_job *job, const struct block *x, const real *origin, struct row_targets *t) {
    const sl_loss_args *args = job->args;
    for (ptrdiff_t i = 0; args->row_weight && i < x->rows; i++)
        if (args->row_weight[x->first_row + i] == 0) t->ignored[i] = 1;
    if (args->target) collect_target_classes(args, x, t);
    if (!has_class_masses(args)) return;
    for (ptrdiff_t i = 0; i < x->rows; i++)
        if (t->ignored[i] == 0) collect_class_masses(job, x, i, origin[i], t);
}

/* ---- losses, and what the gradient needs ---------------------------------------------------------------------- */

/* Q of 8 rows from lane 8 * half on */
SL_INLINE f64_v total_mass(const struct row_targets *t, int half) {
    return f64_add(f64_load(t->target_mass + 8 * half), f64_load(t->other_mass + 8 * half));
}

/* (margin + *lost) / T for 8 rows, from halves of both. *lost becomes what the quotient rounds away. */
SL_INLINE f64_v divide_margin(f64_v margin, const double *temperature, f64_v *lost) {
    const f64_v t = f64_mul(f64_load(temperature), f64_set1(0.5)), quotient = f64_div(margin, t);
    *lost = f64_div(f64_add(f64_fma(f64_negate(quotient), t, margin), *lost), t);
    return quotient;
}

/* The losses of 8 rows but for their weight: (margin + q_t (max - x_t)) / T + Q log_sum. For float64 the terms come with what the
   difference, the product, the sum and the quotient round away, where that is finite. */
SL_INLINE f64_v loss_of_half(const struct row_group *g, int half, f64_v max, f64_v x, f64_v log_sum) {
    const struct row_targets *t = g->targets;
    const f64_v zero = f64_set1(0.0), q = f64_load(t->target_mass + 8 * half), mass = total_mass(t, half);
    const f64_v unit = f64_set1(margin_unit(g->job));
    f64_v difference_lost, lost;
    const f64_v difference = f64_two_sum(f64_mul(unit, max), f64_negate(f64_mul(unit, x)), &difference_lost);
    const f64_v of_target = f64_select_eq(q, zero, zero, f64_mul(q, difference));
    f64_v margin = f64_two_sum(of_target, f64_load(t->margin + 8 * half), &lost);
#if SL_REAL == 64
    lost = f64_add(f64_fma(q, difference_lost, f64_fma(q, difference, f64_negate(of_target))), lost);
#endif
    if (g->job->temperature) margin = divide_margin(margin, g->params.temperature->exact + 8 * half, &lost);
#if SL_REAL == 64
    const f64_v low = f64_select_eq(f64_sub(lost, lost), zero, lost, zero);
    return f64_add(margin, f64_fma(mass, log_sum, low));
#else
    return f64_fma(mass, log_sum, margin);
#endif
}

/* Writes the losses of the group's rows. Lanes without a row are computed with, but not written. */
static void losses_of_rows(const struct row_group *g) {
    const sl_loss_args *args = g->job->args;
    const struct row_targets *t = g->targets;
    const f64_v zero = f64_set1(0.0), nan = f64_set1((double)NAN);
    f64_v max[HALVES], x[HALVES], nonfinite[HALVES];
    double loss[LANES];
    to_double(g->params.max, max);
    to_double(v_load(t->target_logit), x);
    to_double(v_load(g->stats->nonfinite), nonfinite);
    for (int h = 0; h < HALVES; h++) {
        f64_v l = loss_of_half(g, h, max[h], x[h], f64_load(g->stats->log_sum_double + 8 * h));
        if (args->row_weight) l = f64_mul(l, f64_load(t->row_weight + 8 * h));
        l = f64_select_eq(nonfinite[h], nonfinite[h], f64_select_eq(l, l, l, nan), nan); /* the one NaN for any of them */
        f64_store(loss + 8 * h, f64_select_eq(f64_load(t->ignored + 8 * h), zero, l, zero));
    }
    if (g->rows == LANES) memcpy(args->loss + g->first, loss, sizeof loss);
    else memcpy(args->loss + g->first, loss, (size_t)g->rows * sizeof *loss);
}

/* Finds the rows whose gradient does not come from the formula: ignored ones, and those whose logits or factor (scale * Q) are not finite.
   The factor of all rows is NaN in a mean whose weights add up to 0. */
static void find_special_rows(const struct row_stats *stats, const f64_v *factor, struct row_targets *t) {
    const f64_v zero = f64_set1(0.0), nan = f64_set1((double)NAN);
    f64_v nonfinite[HALVES], of_factor[HALVES];
    to_double(v_load(stats->nonfinite), nonfinite);
    to_double(from_double(factor), of_factor); /* it may overflow in float32 */
    t->any_special = 0;
    for (int h = 0; h < HALVES; h++) {
        const f64_v ignored = f64_select_eq(f64_load(t->ignored + 8 * h), zero, zero, nan);
        const f64_v special = f64_add(ignored, f64_add(f64_sub(nonfinite[h], nonfinite[h]), f64_sub(of_factor[h], of_factor[h])));
        f64_store(t->special + 8 * h, special);
        t->any_special |= f64_any_nan(special);
    }
}

/* Finds the scale of the gradient, and multiplies stats->scale by factor = scale * Q, so that e times that is scale * Q * p. Finds
   scale * Q * (1 - p) of the maximum. */
static void scale_of_gradient(const struct row_group *g, f64_v *factor) {
    const sl_loss_args *args = g->job->args;
    struct row_stats *stats = g->stats;
    struct row_targets *t = g->targets;
    const f64_v one = f64_set1(1.0);
    for (int h = 0; h < HALVES; h++) {
        f64_v scale = f64_set1(args->scale);
        if (args->row_weight) scale = f64_mul(scale, f64_load(t->row_weight + 8 * h));
        if (g->job->temperature) scale = f64_div(scale, f64_load(g->params.temperature->exact + 8 * h));
        f64_store(t->scale + 8 * h, scale);
        const f64_v ratio = f64_add(f64_load(stats->ratio.high + 8 * h), f64_load(stats->ratio.low + 8 * h));
        factor[h] = f64_mul(scale, total_mass(t, h));
        f64_store(t->weight_of_others + 8 * h, f64_mul(factor[h], f64_div(ratio, f64_add(one, ratio))));
    }
    const vec f = from_double(factor), high = v_load(stats->scale), low = v_load(stats->scale_low), product = v_mul(high, f);
    v_store(stats->scale_low, v_add(v_fma(high, f, v_negate(product)), v_mul(low, f)));
    v_store(stats->scale, product);
}

/* scale * (Q p - q) from y = scale * Q * p, where mass is Q. Where p is above 1/2, it is Q less what the other classes have. */
SL_INLINE real gradient_less_mass(real y, double q, double scale, double mass, double weight_of_others) {
    const real from_others = (real)(scale * (mass - q) - weight_of_others), direct = (real)(y - scale * q);
    return fabs(y) > 0.5 * fabs(scale * mass) ? from_others : direct;
}

SL_INLINE f64_v f64_magnitude(f64_v x) { return f64_max(x, f64_negate(x)); }

/* The gradient of the class that an index names, which has all mass: gradient_less_mass with q = Q, one row per lane. e of that class
   is computed again, as it was in the row. */
static void gradient_of_target(const struct row_group *g, const f64_v *factor) {
    struct row_targets *t = g->targets;
    const f64_v zero = f64_set1(0.0), one_half = f64_set1(0.5);
    const struct exp_constants constants = exp_constants_of(&g->params);
    const vec shifted = v_sub(v_load(t->target_logit), g->params.shift);
    vec T, p;
    exp_parts(1, &shifted, &constants, &T, &p);
    f64_v y[HALVES];
    to_double(scale_exp(v_fma(T, p, T), v_load(g->stats->scale), v_load(g->stats->scale_low)), y);
    for (int h = 0; h < HALVES; h++) {
        const f64_v above_half = f64_sub(f64_magnitude(y[h]), f64_mul(one_half, f64_magnitude(factor[h])));
        const f64_v from_others = f64_negate(f64_load(t->weight_of_others + 8 * h)), direct = f64_sub(y[h], factor[h]);
        y[h] = f64_select_eq(f64_max(above_half, zero), zero, direct, from_others);
    }
    v_store(t->target_gradient, from_double(y));
}

/* Hook `finish`: writes losses, and prepares the second pass of the gradient. */
static void cross_entropy_finish(struct row_group *g) {
    const sl_loss_args *args = g->job->args;
    for (int i = 0; args->row_weight && i < LANES; i++) g->targets->row_weight[i] = i < g->rows ? args->row_weight[g->first + i] : 1;
    losses_of_rows(g);
    if (g->job->op != SL_CROSS_ENTROPY_GRAD) return;
    f64_v factor[HALVES];
    scale_of_gradient(g, factor);
    find_special_rows(g->stats, factor, g->targets);
    if (g->job->n != 2) gradient_of_target(g, factor);
}

/* ---- second pass: the gradient -------------------------------------------------------------------------------- */

/* Takes scale * q from each class of one row of y. */
static void subtract_class_masses(const sl_job *job, const struct block *y, const struct row_targets *t, ptrdiff_t lane) {
    const sl_loss_args *args = job->args;
    const struct class_masses masses = class_masses_of_row(job, y->first_row + lane);
    const ptrdiff_t target = args->target ? (ptrdiff_t)args->target[y->first_row + lane] - y->first_class : -1;
    const double target_mass = t->target_mass[lane], mass = target_mass + t->other_mass[lane], others = t->weight_of_others[lane];
    const double scale = t->scale[lane];
    real *row = y->at + lane * y->row_step;
    for (ptrdiff_t i = 0; i < y->classes; i++) {
        const double q = mass_of_class(&masses, y->first_class + i) + (i == target ? target_mass : 0);
        row[i * y->class_step] = gradient_less_mass(row[i * y->class_step], q, scale, mass, others);
    }
}

/* Writes the gradient of the class that an index names where there are two: that of the other one, negated. */
static void negate_other_gradients(const sl_loss_args *args, const struct block *y) {
    const int64_t *restrict target = args->target + y->first_row;
    real *restrict gradient = y->at;
    for (ptrdiff_t i = 0; i < y->rows; i++) {
        const int64_t k = target[i];
        if (k >= 0 && k < 2) gradient[i * y->row_step + k * y->class_step] = -gradient[i * y->row_step + (1 - k) * y->class_step];
    }
}

/* Writes the gradient of the classes that an index names. */
static void write_target_gradients(const sl_loss_args *args, const struct block *y, const struct row_targets *restrict t) {
    const int64_t *restrict target = args->target + y->first_row;
    const ptrdiff_t first = y->first_class, last = first + y->classes;
    real *restrict gradient = y->at;
    for (ptrdiff_t i = 0; i < y->rows; i++)
        if (target[i] >= first && target[i] < last) gradient[i * y->row_step + (target[i] - first) * y->class_step] = t->target_gradient[i];
}

static void hide_gradients(const sl_job *job, const struct block *y) {
    for (ptrdiff_t i = 0; i < y->rows; i++) {
        const unsigned char *mask = job->mask + start_of_row(job, y->first_row + i) + y->first_class * job->inner;
        const vec zero = v_set1(0);
        real *row = y->at + i * y->row_step;
        ptrdiff_t k = 0;
        for (; job->inner == 1 && y->class_step == 1 && k + LANES <= y->classes; k += LANES)
            v_store(row + k, v_select_eq(v_hide(mask + k, zero), zero, v_load(row + k), zero));
        for (; k < y->classes; k++) row[k * y->class_step] = mask[k * job->inner] ? row[k * y->class_step] : 0;
    }
}

/* Hook `patch`: y has scale * Q * p of a block of classes, and becomes the gradient. */
static void subtract_targets(const sl_job *job, const struct block *y, const struct row_targets *t) {
    const sl_loss_args *args = job->args;
    const int all_classes = has_class_masses(args);
    if (!all_classes && job->n == 2) negate_other_gradients(args, y);
    else if (!all_classes) write_target_gradients(args, y, t);
    for (ptrdiff_t i = 0; (all_classes || t->any_special) && i < y->rows; i++) {
        real *row = y->at + i * y->row_step;
        if (t->any_special && t->special[i] != t->special[i])
            for (ptrdiff_t k = 0; k < y->classes; k++) row[k * y->class_step] = t->ignored[i] != 0 ? 0 : (real)NAN;
        else if (all_classes) subtract_class_masses(job, y, t, i);
    }
    if (job->mask) hide_gradients(job, y);
}

#endif
