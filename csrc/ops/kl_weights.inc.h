/* kl_weights.inc.h: the logits of kl_divergence, block by block, and their e as float64. */
#ifndef SL_KL_WEIGHTS_INC
#define SL_KL_WEIGHTS_INC
#include "ops/class_weights.inc.h"
#include "rows/tile_loader.inc.h"
#include "rows/transpose.inc.h"

enum { KL_GROUP = 1024 }; /* classes of rows that are computed together, while it is more than one row */

struct kl_scratch {
    real *x, *y, *raw;           /* SL_BLOCK each */
    double *x_weight, *y_weight; /* likewise */
};
static void *take_kl_scratch(const sl_job *job, struct arena *arena) {
    (void)job;
    struct kl_scratch *s = arena_take(arena, sizeof *s);
    struct kl_scratch taken;
    taken.x = take_reals(arena, SL_BLOCK);
    taken.y = take_reals(arena, SL_BLOCK);
    taken.raw = take_reals(arena, SL_BLOCK);
    taken.x_weight = arena_take(arena, SL_BLOCK * sizeof(double));
    taken.y_weight = arena_take(arena, SL_BLOCK * sizeof(double));
    if (s) *s = taken;
    return s;
}

/* high + low, one number per row */
struct kl_center {
    f64_v high[HALVES], low[HALVES];
};

/* Rows first to first + rows. Either one of them is in each lane, or each is a line of its own, whose classes lie along the lanes. */
struct kl_group {
    const sl_job *job, *other; /* other: the same with the second logits */
    const struct kl_scratch *scratch;
    ptrdiff_t first, rows;
    ptrdiff_t tile_first, tile_end; /* where inner is not 1: the rows in scratch, and the end of those that may be there */
    int along_classes;
    const struct temperature_params *temperature;
    struct exp_params x, y; /* the range reductions */
    struct kl_center center;
    f64_v unit[HALVES];                 /* what e(x) is multiplied by: 1, or a power of two lest the sums overflow */
    f64_v total[HALVES], ratio[HALVES]; /* the sum of e(x); what turns e(y) into q in the units of e(x) */
};
SL_INLINE ptrdiff_t kl_lines(const struct kl_group *g) { return g->along_classes ? g->rows : 1; }
SL_INLINE ptrdiff_t kl_block_classes(const struct kl_group *g) { return g->along_classes ? SL_BLOCK : SL_BLOCK / LANES; }
SL_INLINE int has_one_kl_block(const struct kl_group *g) { return g->job->n <= kl_block_classes(g); }

/* ---- blocks ---------------------------------------------------------------------------------------------------- */

/* Classes of a line: vector v is at x + v * step, y + v * step and at v * LANES of the weights. */
struct kl_block {
    ptrdiff_t elements, step;
    const real *x, *y;
    double *x_weight, *y_weight;
};

/* Columns in scratch at a time, of a job whose inner is not 1 */
static ptrdiff_t kl_tile_width(const struct kl_group *g) {
    if (g->job->inner < LANES || !has_one_kl_block(g)) return LANES;
    const ptrdiff_t width = SL_BLOCK / g->job->n / LANES * LANES;
    return width < TILE_WIDTH ? width : TILE_WIDTH;
}
static void pack_kl_tile(const sl_job *job, ptrdiff_t first, ptrdiff_t columns, ptrdiff_t width, ptrdiff_t k, ptrdiff_t n, real *tile) {
    struct packed_tile t;
    t.job = job;
    t.first = first;
    t.columns = columns < width ? columns : width;
    t.width = width;
    t.tile = tile;
    pack_tile(&t, k, k + n);
}
/* Classes k to k + n, of a strip of columns where there is one block */
static struct kl_block load_kl_columns(struct kl_group *g, ptrdiff_t k, ptrdiff_t n) {
    const struct kl_scratch *s = g->scratch;
    const ptrdiff_t width = kl_tile_width(g), one_block = has_one_kl_block(g);
    if (!one_block || g->tile_first < 0 || g->first < g->tile_first || g->first >= g->tile_first + width) {
        const ptrdiff_t columns = one_block ? g->tile_end - g->first : g->rows;
        pack_kl_tile(g->job, g->first, columns, width, k, n, s->x);
        pack_kl_tile(g->other, g->first, columns, width, k, n, s->y);
        g->tile_first = g->first;
    }
    const ptrdiff_t at = g->first - g->tile_first;
    return (struct kl_block){n * LANES, width, s->x + at, s->y + at, s->x_weight, s->y_weight};
}
static const real *load_kl_short_rows(const sl_job *job, const struct kl_group *g, real *tile) {
    load_rows(load_block(job, g->first * job->n, g->rows * job->n, g->scratch->raw), job->n, g->rows, tile, LANES);
    return tile;
}
/* The block of a line that begins with class k */
SL_NOINLINE struct kl_block load_kl_block(struct kl_group *g, ptrdiff_t line, ptrdiff_t k) {
    const ptrdiff_t most = kl_block_classes(g), left = g->job->n - k, n = left < most ? left : most;
    const struct kl_scratch *s = g->scratch;
    if (g->job->inner > 1) return load_kl_columns(g, k, n);
    if (!g->along_classes) {
        if (g->tile_first != g->first) {
            load_kl_short_rows(g->job, g, s->x);
            load_kl_short_rows(g->other, g, s->y);
            g->tile_first = g->first;
        }
        return (struct kl_block){n * LANES, LANES, s->x, s->y, s->x_weight, s->y_weight};
    }
    const ptrdiff_t row = g->first + line, at = line * ((n + LANES - 1) / LANES * LANES);
    const real *x = load_row_block(g->job, row, k, n, s->x + at), *y = load_row_block(g->other, row, k, n, s->y + at);
    return (struct kl_block){n, LANES, x, y, s->x_weight + at, s->y_weight + at};
}

static void find_kl_maxima(struct kl_group *g, real *max_x, real *max_y) {
    for (ptrdiff_t line = 0; line < kl_lines(g); line++) {
        vec x = v_set1(-INFINITY), y = x;
        for (ptrdiff_t k = 0; k < g->job->n; k += kl_block_classes(g)) {
            const struct kl_block b = load_kl_block(g, line, k);
            for (ptrdiff_t i = 0, at = 0; i < b.elements; i += LANES, at += b.step) {
                x = v_max(load_or_lowest(b.x + at, b.elements - i), x);
                y = v_max(load_or_lowest(b.y + at, b.elements - i), y);
            }
        }
        if (g->along_classes) {
            max_x[line] = v_reduce_max(x);
            max_y[line] = v_reduce_max(y);
        } else {
            v_store(max_x, x);
            v_store(max_y, y);
        }
    }
}

/* ---- weights --------------------------------------------------------------------------------------------------- */

/* Sums of float64; for float64 as if in twice the precision */
struct kl_sum {
    f64_v high[HALVES], low[HALVES];
};
SL_INLINE struct kl_sum kl_sum_zero(void) {
    struct kl_sum s;
    for (int i = 0; i < HALVES; i++) s.high[i] = s.low[i] = f64_set1(0.0);
    return s;
}
SL_INLINE void kl_sum_add(struct kl_sum *s, const f64_v *a) {
    for (int i = 0; i < HALVES; i++) {
#if SL_REAL == 32
        s->high[i] = f64_add(s->high[i], a[i]);
#else
        f64_v lost;
        s->high[i] = f64_two_sum(s->high[i], a[i], &lost);
        s->low[i] = f64_add(s->low[i], lost);
#endif
    }
}
/* Of all lanes: lane i and lane i + 4, and so on */
static double kl_sum_of_lanes(const struct kl_sum *s) {
    double high[8], low[8] = {0}, lost;
    f64_store(high, HALVES == 2 ? f64_add(s->high[0], s->high[HALVES - 1]) : s->high[0]);
    if (SL_REAL == 64) f64_store(low, s->low[0]);
    for (int half = 4; half > 0; half /= 2)
        for (int i = 0; i < half; i++) {
            high[i] = two_sum(high[i], high[i + half], &lost);
            if (SL_REAL == 64) low[i] += low[i + half] + lost;
        }
    return high[0] + low[0];
}
/* Of each lane, or of all lanes to that of the line */
static void kl_total(const struct kl_group *g, ptrdiff_t line, const struct kl_sum *s, double *total) {
    if (g->along_classes) total[line] = kl_sum_of_lanes(s);
    else
        for (int h = 0; h < HALVES; h++) f64_store(total + 8 * h, f64_add(s->high[h], s->low[h]));
}

/* A sum of e begins above every e for float64, as in sum_begin. */
SL_INLINE struct kl_sum kl_anchor(void) {
    struct kl_sum s = kl_sum_zero();
    if (SL_REAL == 64)
        for (int h = 0; h < HALVES; h++) s.high[h] = f64_set1((double)SUM_ANCHOR);
    return s;
}
SL_INLINE void remove_kl_anchor(struct kl_sum *s) {
    if (SL_REAL == 64)
        for (int h = 0; h < HALVES; h++) s->high[h] = f64_sub(s->high[h], f64_set1((double)SUM_ANCHOR));
}

/* The constants of a line, from those of the rows */
SL_INLINE vec of_kl_line(const struct kl_group *g, ptrdiff_t line, vec rows) { return g->along_classes ? v_lane(rows, (int)line) : rows; }
static void double_of_kl_line(const struct kl_group *g, ptrdiff_t line, const f64_v *rows, f64_v *one) {
    double lanes[LANES];
    for (int h = 0; h < HALVES; h++) f64_store(lanes + 8 * h, rows[h]);
    for (int h = 0; h < HALVES; h++) one[h] = g->along_classes ? f64_set1(lanes[line]) : rows[h];
}

/* e of u vectors, as float64, to `weight` and to the sum. Below the lower bound it is 0. */
SL_INLINE void kl_weigh_step(const int u, vec *v, const struct exp_constants *c, double *weight, struct kl_sum *sum) {
    vec T[UNROLL], p[UNROLL];
    exp_parts(u, v, c, T, p);
    for (int j = 0; j < u; j++) {
        f64_v t[HALVES], rest[HALVES];
        to_double(v_select_lt(v[j], c->lower_bound, v_set1(0), T[j]), t);
        to_double(p[j], rest);
        for (int h = 0; h < HALVES; h++) {
            const f64_v e = f64_fma(t[h], rest[h], t[h]), next = f64_add(sum->high[h], e);
            f64_store(weight + j * LANES + 8 * h, e);
#if SL_REAL == 64
            const f64_v left = f64_sub(t[h], f64_sub(next, sum->high[h])); /* high is above every e: see sum_begin */
            sum->low[h] = f64_add(sum->low[h], f64_fma(t[h], rest[h], left));
#endif
            sum->high[h] = next;
        }
    }
}
SL_INLINE void kl_weigh_with(const real *x, const struct kl_block *b, const vec shift, const struct exp_constants *constants,
                             const struct temperature_params *temperature, double *weight, struct kl_sum *sum) {
    struct exp_constants c = *constants;
    c.temperature = temperature;
    struct kl_sum s = *sum;
    ptrdiff_t i = 0, step = b->step;
    vec v[UNROLL];
    for (; i + UNROLL * LANES <= b->elements; i += UNROLL * LANES, x += UNROLL * step) {
        for (int j = 0; j < UNROLL; j++) v[j] = v_sub(v_load(x + j * step), shift);
        kl_weigh_step(UNROLL, v, &c, weight + i, &s);
    }
    for (; i < b->elements; i += LANES, x += step) {
        v[0] = v_sub(load_or_lowest(x, b->elements - i), shift);
        kl_weigh_step(1, v, &c, weight + i, &s);
    }
    *sum = s;
}
/* The e of a block of a line */
static void kl_weigh(const struct kl_group *g, ptrdiff_t line, const real *x, const struct kl_block *b, const struct exp_params *params,
                     double *weight, struct kl_sum *sum) {
    struct temperature_params memory;
    struct exp_constants c = exp_constants_of(params);
    c.round_magic = of_kl_line(g, line, c.round_magic);
    c.lower_bound = of_kl_line(g, line, c.lower_bound);
    const vec shift = of_kl_line(g, line, params->shift);
    if (!g->temperature) kl_weigh_with(x, b, shift, &c, NULL, weight, sum);
    else
        kl_weigh_with(x, b, shift, &c, g->along_classes ? temperature_of_row(g->temperature, (int)line, &memory) : g->temperature, weight,
                      sum);
}

#endif
