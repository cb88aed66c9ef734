/* columns.inc.h: compute. One row per lane: strided classes in packed tiles, short rows transposed into such tiles, and
   narrow columns turned into rows. Part of kernels.inc.h, which has the steps that all forms share. */
#ifndef SL_BY_TILES_INC
#define SL_BY_TILES_INC
#include "rows/by_rows.inc.h"

/* ---- columns: one row per lane -------------------------------------------------------------------------------- */

/* Columns go SL_GROUP vectors at a time through each step: one alone would wait for its own results most of the time. */

SL_INLINE vec column_max(const R *tile, ptrdiff_t stride, ptrdiff_t n, vec m) {
    for (ptrdiff_t k = 0; k < n; k++) m = v_max(v_load(tile + k * stride), m);
    return m;
}

/* Adds the e of n classes to sum, and stores them over x if store is set. */
SL_INLINE void column_exp_sum_step(int u, R *tile, ptrdiff_t stride, const exp_params *p, const temperature_params *heat, v_table table,
                                   int store, pair *sum) {
    vec v[UNROLL];
    for (int i = 0; i < u; i++) v[i] = v_load(tile + i * stride);
    add_exp(u, v, &p->magic, &p->clamp, heat, table, sum, v);
    if (store)
        for (int i = 0; i < u; i++) v_store(tile + i * stride, v[i]);
}
SL_INLINE void column_exp_sum_as(R *tile, ptrdiff_t stride, ptrdiff_t n, const exp_params *p, const temperature_params *heat, int store,
                                 pair *sum) {
    const v_table table = v_load_table(exp_table);
    pair s = *sum;
    ptrdiff_t k = 0;
    for (; k + UNROLL <= n; k += UNROLL) {
        column_exp_sum_step(UNROLL, tile + k * stride, stride, p, heat, table, store, &s);
        if ((k + UNROLL) % 16 == 0) s = pair_renormalize(s);
    }
    for (; k + 2 <= n; k += 2) column_exp_sum_step(2, tile + k * stride, stride, p, heat, table, store, &s);
    if (k < n) column_exp_sum_step(1, tile + k * stride, stride, p, heat, table, store, &s);
    *sum = s;
}

SL_INLINE void column_exp_sum(R *tile, ptrdiff_t stride, ptrdiff_t n, const exp_params *p, int store, pair *sum) {
    if (p->heat) column_exp_sum_as(tile, stride, n, p, p->heat, store, sum);
    else column_exp_sum_as(tile, stride, n, p, NULL, store, sum);
}

/* ceiling_of for each lane of a part of a column; SUM_ANCHOR itself where the part is the whole */
static vec column_sum_anchor(int whole, const R *tile, ptrdiff_t stride, ptrdiff_t n, const exp_params *p) {
    if (whole) return v_set1(SUM_ANCHOR);
    const vec highest = column_max(tile, stride, n, v_set1(-INFINITY));
    R m[LANES], k[LANES];
    v_store(m, highest);
    v_store(k, p->k);
    temperature_params own;
    for (int i = 0; i < LANES; i++) m[i] = sum_anchor_of_part(m[i], k[i], temperature_of_row(p->heat, i, &own));
    return v_load(m);
}

static void column_shift(R *tile, ptrdiff_t stride, ptrdiff_t n, vec shift) {
    for (ptrdiff_t k = 0; k < n; k++) v_store(tile + k * stride, v_sub(v_load(tile + k * stride), shift));
}

/* The tile of a job's columns: class k of column j is at tile[k * width + j]. A tile of more than SL_BLOCK classes is
   not kept, but packed again, SL_BLOCK classes at a time, for each step. */
typedef struct {
    const sl_job *job;
    ptrdiff_t first, columns, width;
    R *tile;
    R max[SL_TILE_WIDTH]; /* of each column, over the classes that were packed last */
} packed_tile;

/* Planes far apart are streams too short and too many for the processor to foresee. More of them at once would evict
   each other where the plane's size is a power of two: their lines all fall into the same cache sets. */
#define PLANES_AHEAD 5

SL_INLINE void store_and_max(vec x, R *to, R *max) {
    v_store(to, x);
    v_store(max, v_max(x, v_load(max)));
}

static void pack_tile(packed_tile *s, ptrdiff_t k0, ptrdiff_t k1) {
    const sl_job *job = s->job;
    for (ptrdiff_t j = 0; j < s->width; j++) s->max[j] = -INFINITY;
    if (job->inner >= LANES) { /* columns of one outer index: contiguous runs */
        const ptrdiff_t at = start_of_row(job, s->first), full = s->columns - s->columns % LANES;
        for (ptrdiff_t k = k0; k < k1; k++) {
            R *to = s->tile + (k - k0) * s->width;
            const R *x = load_block(job, at + k * job->inner, s->columns, to);
            const R *soon = x + (x != to && k + PLANES_AHEAD < k1 ? PLANES_AHEAD * job->inner : 0);
            for (ptrdiff_t j = 0; j < full; j += LANES) {
                sl_prefetch(soon + j);
                store_and_max(v_load(x + j), to + j, s->max + j);
            }
            if (full < s->columns) store_and_max(v_load_tail(x + full, s->columns - full, 0), to + full, s->max + full);
        }
        return;
    }
    for (ptrdiff_t j = 0; j < LANES; j++) {
        const ptrdiff_t at = start_of_row(job, s->first + (j < s->columns ? j : 0));
        for (ptrdiff_t k = k0; k < k1; k++) {
            R one = 0;
            const R x = s->tile[(k - k0) * LANES + j] = *load_block(job, at + k * job->inner, 1, &one);
            if (x > s->max[j]) s->max[j] = x;
        }
    }
}

static void unpack_tile(packed_tile *s, ptrdiff_t k0, ptrdiff_t k1) {
    const sl_job *job = s->job;
    if (job->inner >= LANES) {
        const ptrdiff_t at = start_of_row(job, s->first), full = s->columns - s->columns % LANES;
        for (ptrdiff_t k = k0; k < k1; k++) {
            const R *from = s->tile + (k - k0) * s->width;
            const ptrdiff_t i = at + k * job->inner;
            if (!y_is_native(job)) {
                store_converted(job, i, s->columns, from);
                continue;
            }
            R *y = (R *)job->y + i;
            const R *soon = y + (k + PLANES_AHEAD < k1 ? PLANES_AHEAD * job->inner : 0);
            for (ptrdiff_t j = 0; j < full; j += LANES) {
                sl_prefetch(soon + j);
                v_store(y + j, v_load(from + j));
            }
            if (full < s->columns) v_store_tail(y + full, s->columns - full, v_load(from + full));
        }
        return;
    }
    for (ptrdiff_t j = 0; j < s->columns; j++) {
        const ptrdiff_t at = start_of_row(job, s->first + j);
        for (ptrdiff_t k = k0; k < k1; k++) {
            const R *from = s->tile + (k - k0) * LANES + j;
            if (y_is_native(job)) ((R *)job->y)[at + k * job->inner] = *from;
            else store_converted(job, at + k * job->inner, 1, from);
        }
    }
}

/* ---- short rows to columns and back: width <= LANES classes from c on are transposed ---------------------------- */

SL_INLINE void load_part(const R *x, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t width, R *tile, ptrdiff_t stride) {
    vec v[LANES];
    if (rows == LANES && width == LANES)
        for (int i = 0; i < LANES; i++) v[i] = v_load(x + i * n + c);
    else if (rows == LANES)
        for (int i = 0; i < LANES; i++) v[i] = v_load_tail(x + i * n + c, width, 0);
    else
        for (int i = 0; i < LANES; i++) v[i] = v_load_tail(x + (i < rows ? i : rows - 1) * n + c, width, 0); /* repeats the last row */
    v_transpose(v);
    for (int i = 0; i < LANES && i < width; i++) v_store(tile + (c + i) * stride, v[i]);
}
SL_INLINE void load_rows(const R *x, ptrdiff_t n, ptrdiff_t rows, R *tile, ptrdiff_t stride) {
    if (rows == LANES && v_load_few(x, (int)n, tile, stride)) return;
    for (ptrdiff_t c = 0; c < n; c += LANES) load_part(x, n, rows, c, n - c < LANES ? n - c : LANES, tile, stride);
}
SL_INLINE void store_part(const R *tile, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t width, R *y) {
    vec v[LANES];
    for (int i = 0; i < LANES; i++) v[i] = v_load(tile + (c + (i < width ? i : 0)) * stride);
    v_transpose(v);
    if (rows == LANES && width == LANES)
        for (int i = 0; i < LANES; i++) v_store(y + i * n + c, v[i]);
    else
        for (int i = 0; i < rows; i++) v_store_tail(y + i * n + c, width, v[i]);
}
static void store_rows(const R *tile, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t rows, R *y) {
    if (rows == LANES && v_store_few(tile, stride, (int)n, y)) return;
    for (ptrdiff_t c = 0; c < n; c += LANES) store_part(tile, stride, n, rows, c, n - c < LANES ? n - c : LANES, y);
}

/* ---- columns: the steps, over tiles that are whole (source NULL) or packed again part by part ---- */

#define FOR_EACH_PART                                                                                                        \
    for (ptrdiff_t k0 = 0, part = source ? SL_BLOCK : n, rows = n < part ? n : part; k0 < n && fetch_part(source, k0, rows); \
         k0 += part, rows = n - k0 < part ? n - k0 : part)

SL_INLINE int fetch_part(packed_tile *source, ptrdiff_t k0, ptrdiff_t rows) {
    if (source) pack_tile(source, k0, k0 + rows);
    return 1;
}

/* The odds of the confident lanes of one vector of columns, from the classes below their maximum. */
static void column_sum_without_max(packed_tile *source, const R *tile, ptrdiff_t stride, ptrdiff_t n, const exp_params *p, row_stats *v) {
    const v_table table = v_load_table(exp_table);
    const vec shift = source ? p->shift : v_set1(0); /* a tile that was packed again */
    pair sum = {v_set1(0), v_set1(0)};
    vec x[UNROLL];
    FOR_EACH_PART {
        ptrdiff_t k = 0;
        for (; k + UNROLL <= rows; k += UNROLL) {
            for (int i = 0; i < UNROLL; i++) x[i] = v_sub(v_load(tile + (k + i) * stride), shift);
            add_exp_without_max(UNROLL, x, p->reduced, &p->magic, &p->clamp, p->heat, table, &sum);
        }
        for (; k < rows; k++) {
            x[0] = v_sub(v_load(tile + k * stride), shift);
            add_exp_without_max(1, x, p->reduced, &p->magic, &p->clamp, p->heat, table, &sum);
        }
        sum = pair_renormalize(sum);
    }
    stats_fix_confident(sum, v);
}

/* logsumexp of the lanes with NaN or an infinite maximum */
static vec column_nonfinite(packed_tile *source, R *tile, ptrdiff_t stride, ptrdiff_t n, const exp_params *plan, const row_stats *v) {
    R value[LANES], max[LANES], poison[LANES];
    v_store(value, v->a);
    v_store(max, plan->max);
    v_store(poison, v->poison);
    for (int i = 0; i < LANES; i++)
        if (poison[i] != poison[i]) value[i] = max[i];
    FOR_EACH_PART {
        for (int i = 0; i < LANES; i++)
            for (ptrdiff_t k = 0; k < rows; k++) {
                const R x = tile[k * stride + i];
                if (poison[i] != poison[i] && x != x) value[i] = NAN;
            }
    }
    return v_load(value);
}

/* Where results go: class k of the first column is at y[k * stride], and there are so many columns. */
typedef struct {
    R *y;
    ptrdiff_t stride, columns;
} tile_output;

/* From where on a probability is 1: as make_certain */
SL_INLINE vec certain_from(const row_stats *v) { return v_select_lt(v->few, v_set1(0), v_set1((R)0.5), v_set1(INFINITY)); }

/* The last step: x or e to results, class by class over all columns, as they lie in memory. The tile has n classes from k0
   on, of the rows from first on. */
static void map_columns(const sl_job *job, ptrdiff_t first, ptrdiff_t k0, const R *tile, ptrdiff_t stride, ptrdiff_t n,
                        const exp_params *plan, const row_stats *v, tile_output to) {
    const sl_op op = job->op;
    const int keeps_exp = sl_keeps_exp(job), hides = job->mask != NULL;
    const int full = (int)(to.columns / LANES), count = (int)((to.columns + LANES - 1) / LANES);
    const ptrdiff_t soon = PLANES_AHEAD / 2 * to.stride;
    const vec one = v_set1(1);
    vec one_from[SL_GROUP];
    int any_certain = 0, any_bad = 0;
    for (int j = 0; j < count; j++) {
        one_from[j] = certain_from(&v[j]);
        any_certain |= op == SL_SOFTMAX && v[j].any_few;
        any_bad |= v[j].any_bad;
    }
    for (ptrdiff_t k = 0; k < n; k++)
        for (int j = 0; j < count; j++) {
            const vec x = v_load(tile + k * stride + j * LANES);
            R *y = to.y + k * to.stride + j * LANES;
            sl_prefetch(y + soon);
            vec r = keeps_exp ? scale_exp(flush_below(x, hides, v[j].least), v[j].a, v[j].b) : log_prob(x, &plan[j], v[j].b);
            if (any_certain) r = v_select_lt(one_from[j], r, one, r);
            if (j < full) v_store(y, r);
            else v_store_tail(y, to.columns - j * LANES, r);
        }
    for (int j = 0; any_bad && j < count; j++) {
        const vec zero = v_set1(0);
        unsigned bad = v_lanes_lt(zero, v_select_eq(v[j].poison, v[j].poison, zero, one));
        for (; bad; bad &= bad - 1) {
            const ptrdiff_t i = j * LANES + sl_lowest_bit(bad);
            if (i >= to.columns) break;
            const ptrdiff_t at = start_of_row(job, first + i) + k0 * job->inner;
            fill_nonfinite(job, at, job->inner, n, to.y + i, to.stride);
        }
    }
}

/* Up to SL_GROUP vectors of columns that go through all steps together. */
typedef struct {
    const sl_job *job;
    ptrdiff_t first, columns; /* rows first to first + columns of the job, one per lane */
    R *tile;                  /* class k of the first at tile[k * stride]; holds x */
    ptrdiff_t stride;
    const R *max;                   /* of each column, where it is known */
    const temperature_params *heat; /* of all rows, where they have one temperature */
    R *spare;                       /* room for one vector of columns, all classes that the tile has */
    const R *x;                     /* the rows as they lie, where inner is 1 */
    tile_output to;                 /* where results go. logsumexp leaves its own in class 0 of the tile */
    const R *soon[2];               /* what to prefetch meanwhile: of n classes for each column; or NULL */
} tile_batch;

SL_INLINE ptrdiff_t lanes_of(const tile_batch *b, int j) { return b->columns - j * LANES < LANES ? b->columns - j * LANES : LANES; }

/* x of one vector of columns again, shifted, where e has taken its place in the tile */
static const R *reload_columns(const tile_batch *b, int j, const exp_params *plan) {
    const sl_job *job = b->job;
    const ptrdiff_t n = job->n, first = b->first + j * LANES, columns = lanes_of(b, j);
    if (job->inner == 1) {
        load_rows(b->x + j * LANES * n, n, columns, b->spare, LANES);
    } else {
        packed_tile s = {.job = job, .first = first, .columns = columns, .width = LANES, .tile = b->spare};
        pack_tile(&s, 0, n);
    }
    if (plan->shifted) column_shift(b->spare, LANES, n, plan->shift);
    return b->spare;
}

/* The means of values of u vectors of columns, whose tile has e, to its class 0 */
SL_INLINE void expectations_of_tile(int u, int hides, const R *values, ptrdiff_t n, R *tile, ptrdiff_t stride, const row_stats *v) {
    const vec one = v_set1(1);
    vec one_from[4];
    dot_sum d[4];
    int few = 0;
    for (int j = 0; j < u; j++) {
        d[j] = dot_zero();
        one_from[j] = certain_from(&v[j]);
        few |= v[j].any_few;
    }
    for (ptrdiff_t k = 0; k < n; k++) {
        const vec value = v_set1(values[k]);
        for (int j = 0; j < u; j++) {
            vec p = scale_exp(flush_below(v_load(tile + k * stride + j * LANES), hides, v[j].least), v[j].a, v[j].b);
            if (few) p = v_select_lt(one_from[j], p, one, p);
            dot_add_product(&d[j], p, value);
        }
    }
    for (int j = 0; j < u; j++) {
        for (int i = 0; i < HALVES; i++) d[j].high[i] = f64_add(d[j].high[i], d[j].low[i]);
        v_store(tile + j * LANES, from_double(d[j].high));
    }
}
/* and of a row without a finite maximum: NaN, or 0 where nothing counts */
static R expectation_of_nonfinite(const sl_job *job, ptrdiff_t row) {
    int counts = !job->mask;
    for (ptrdiff_t k = 0; k < job->n && !counts; k++) counts = !is_hidden(job, row, k);
    return counts ? (R)NAN : 0;
}
static void fix_expectations(const sl_job *job, ptrdiff_t first, ptrdiff_t rows, const row_stats *v, R *tile) {
    R poison[LANES];
    v_store(poison, v->poison);
    for (ptrdiff_t i = 0; i < rows; i++)
        if (poison[i] != poison[i]) tile[i] = expectation_of_nonfinite(job, first + i);
}

static void results_of_stats(const row_stats *v, row_results *r) {
    R few[LANES], poison[LANES];
    v_store(r->a, v->a);
    v_store(r->b, v->b);
    r->rare = v->any_few || v->any_bad;
    if (!r->rare) return;
    v_store(few, v->few);
    v_store(poison, v->poison);
    for (int i = 0; i < LANES; i++) {
        r->bad[i] = poison[i] != poison[i];
        r->certain[i] = few[i] < 0;
    }
}

/* With a source there is one vector of columns, and the result goes straight back to the job. */
static void run_tile(packed_tile *source, const tile_batch *b) {
    const sl_job *job = b->job;
    const sl_op op = job->op;
    const ptrdiff_t n = job->n, stride = b->stride;
    const int count = (int)((b->columns + LANES - 1) / LANES), keeps_e = sl_keeps_exp(job) && !source;
    R *tile = b->tile;
    exp_params plan[SL_GROUP];
    pair sum[SL_GROUP];
    row_stats v[SL_GROUP];
    targets targets[SL_GROUP];
    if (count < 1) return; /* there is always one, but compilers do not know */
    for (int j = 0; j < count; j++) {
        vec m = b->max ? v_load(b->max + j * LANES) : v_set1(-INFINITY);
        FOR_EACH_PART {
            if (source) m = v_max(v_load(source->max), m);
            else if (!b->max) m = column_max(tile + j * LANES, stride, rows, m);
        }
        plan[j].max = m;
    }
    temperature_params heat[SL_GROUP];
    for (int j = 0; j < count; j++) {
        const temperature_params *own = b->heat ? b->heat : load_temperature(job, b->first + j * LANES, lanes_of(b, j), &heat[j]);
        plan[j] = exp_params_for_max(plan[j].max, own, 1);
    }
    for (int j = 0; j < count; j++) {
        R *column = tile + j * LANES;
        for (int i = 0; i < 2; i++)
            for (ptrdiff_t k = 0; b->soon[i] && k < n; k++) sl_prefetch(b->soon[i] + (j * n + k) * LANES);
        sum[j] = (pair){v_set1(0), v_set1(0)};
        FOR_EACH_PART {
            if (job->loss) {
                R max[LANES];
                v_store(max, plan[j].max);
                if (k0 == 0) clear_targets(&targets[j]);
                collect_targets(job, b->first + j * LANES, lanes_of(b, j), k0, rows, column, 1, stride, max, &targets[j]);
            }
            if (plan[j].shifted) column_shift(column, stride, rows, plan[j].shift);
            const vec ceiling = column_sum_anchor(!source, column, stride, rows, &plan[j]);
            pair part_sum = sum_begin(ceiling);
            if (keeps_e) column_exp_sum(column, stride, rows, &plan[j], 1, &part_sum);
            else column_exp_sum(column, stride, rows, &plan[j], 0, &part_sum);
            part_sum = sum_end(part_sum, ceiling);
            sum[j] = pair_renormalize(source ? pair_add(sum[j], part_sum) : part_sum);
        }
    }
    for (int j = 0; j < count; j++) stats_from_sum(job, &plan[j], sum[j], &v[j]);
    if (op != SL_SOFTMAX) {
        for (int j = 0; j < count; j++) {
            if (!v[j].any_few) continue;
            if (keeps_e) column_sum_without_max(NULL, reload_columns(b, j, &plan[j]), LANES, n, &plan[j], &v[j]);
            else column_sum_without_max(source, tile + j * LANES, stride, n, &plan[j], &v[j]);
        }
        for (int j = 0; j < count; j++) stats_log(op, &plan[j], &v[j]);
    }
    if (job->loss)
        for (int j = 0; j < count; j++) {
            const ptrdiff_t row = b->first + j * LANES;
            cross_entropy_finish(job, row, lanes_of(b, j), &plan[j], &targets[j], v[j].log, &v[j].z, v[j].poison, &v[j].a, &v[j].b);
        }
    for (int j = 0; job->choice && j < count; j++) {
        row_results r;
        results_of_stats(&v[j], &r);
        select_finish(job, b->first + j * LANES, (int)lanes_of(b, j), &plan[j], &r, source ? NULL : tile + j * LANES, stride, NULL);
    }
    if (op == SL_LOGSUMEXP) {
        for (int j = 0; j < count; j++) {
            R *column = tile + j * LANES;
            v_store(column, v[j].any_bad ? column_nonfinite(source, column, stride, n, &plan[j], &v[j]) : v[j].a);
        }
    }
    if (!sl_visits_classes(job)) return;
    if (job->values) { /* the tile is whole */
        int j = 0;
        for (; j + 4 <= count; j += 4) expectations_of_tile(4, job->mask != NULL, job->values, n, tile + j * LANES, stride, v + j);
        for (; j < count; j++) expectations_of_tile(1, job->mask != NULL, job->values, n, tile + j * LANES, stride, v + j);
        for (j = 0; j < count; j++)
            if (v[j].any_bad) fix_expectations(job, b->first + j * LANES, lanes_of(b, j), &v[j], tile + j * LANES);
        return;
    }
    FOR_EACH_PART {
        if (source) {
            pair unused = sum_begin(v_set1(SUM_ANCHOR));
            if (plan[0].shifted) column_shift(tile, stride, rows, plan[0].shift);
            if (sl_keeps_exp(job)) column_exp_sum(tile, stride, rows, &plan[0], 1, &unused);
        }
        map_columns(job, b->first, k0, tile, stride, rows, plan, v, b->to);
        for (int j = 0; job->loss && j < count; j++)
            subtract_targets(job, b->first + j * LANES, lanes_of(b, j), k0, rows, &targets[j], b->to.y + j * LANES, 1, b->to.stride);
        if (source) unpack_tile(source, k0, k0 + rows);
    }
}
#undef FOR_EACH_PART

void by_tiles(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t width = sl_tile_width(job->n, job->inner, LANES), all = job->outer * job->inner;
    const ptrdiff_t per_outer = (job->inner + width - 1) / width;
    temperature_params heat;
    const temperature_params *one = load_shared_temperature(job, &heat);
    const int whole = job->n <= SL_BLOCK,
              direct = whole && job->inner >= LANES && y_is_native(job) && sl_writes_rows(job); /* from the tile to y */
    for (ptrdiff_t t = first; t < last; t++) {
        packed_tile s = {.job = job, .first = t * width, .width = width, .tile = scratch};
        ptrdiff_t end = all;
        if (job->inner >= LANES) {
            s.first = t / per_outer * job->inner + t % per_outer * width;
            end = (t / per_outer + 1) * job->inner;
        }
        s.columns = end - s.first < width ? end - s.first : width;
        if (whole) pack_tile(&s, 0, job->n);
        for (ptrdiff_t j = 0; j < s.columns; j += SL_GROUP * LANES) {
            const ptrdiff_t left = s.columns - j < SL_GROUP * LANES ? s.columns - j : SL_GROUP * LANES;
            tile_batch b = {.job = job, .first = s.first + j, .columns = left, .tile = s.tile + j, .stride = width, .heat = one};
            b.max = whole ? s.max + j : NULL;
            b.spare = s.tile + job->n * width;
            b.to = (tile_output){s.tile + j, width, left};
            if (direct) b.to = (tile_output){(R *)job->y + start_of_row(job, s.first + j), job->inner, left};
            run_tile(whole ? NULL : &s, &b);
        }
        if (sl_writes_rows(job) && whole && !direct) unpack_tile(&s, 0, job->n);
        if (sl_reduces(job)) store_results(job, s.first, s.columns, s.tile);
    }
}

/* ---- n <= SL_SHORT, inner 1: SL_GROUP times LANES rows at a time go through a tile ------------------------------- */

void short_rows(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t n = job->n;
    R *tile = scratch, *raw = tile + SL_GROUP * LANES * n;
    const int prefetches = n > HARDWARE_PREFETCHED || !sl_cached(job);
    temperature_params heat;
    const temperature_params *one = load_shared_temperature(job, &heat);
    for (ptrdiff_t row = first; row < last; row += SL_GROUP * LANES) {
        const ptrdiff_t rows = last - row < SL_GROUP * LANES ? last - row : SL_GROUP * LANES;
        const int count = (int)((rows + LANES - 1) / LANES);
        const R *x = load_block(job, row * n, rows * n, raw);
        for (int j = 0; j < count; j++)
            load_rows(x + j * LANES * n, n, rows - j * LANES < LANES ? rows - j * LANES : LANES, tile + j * LANES, SL_GROUP * LANES);
        tile_batch b = {.job = job, .first = row, .columns = rows, .tile = tile, .stride = SL_GROUP * LANES, .heat = one, .x = x};
        b.spare = raw + SL_GROUP * LANES * n;
        b.to = (tile_output){tile, SL_GROUP * LANES, rows};
        if (prefetches && x_is_native(job)) b.soon[0] = (const R *)job->x + row * n + SL_PREFETCH / sizeof(R);
        if (prefetches && y_is_native(job) && sl_writes_rows(job)) b.soon[1] = (const R *)job->y + row * n + SL_PREFETCH / sizeof(R);
        run_tile(NULL, &b);
        if (sl_reduces(job)) store_results(job, row, rows, tile);
        if (!sl_writes_rows(job)) continue;
        R *y = y_is_native(job) ? (R *)job->y + row * n : raw;
        for (int j = 0; j < count; j++)
            store_rows(tile + j * LANES, SL_GROUP * LANES, n, rows - j * LANES < LANES ? rows - j * LANES : LANES, y + j * LANES * n);
        store_converted(job, row * n, rows * n, raw);
    }
}

/* ---- narrow columns: fewer columns than lanes, more than SL_SHORT classes. Turned into rows, LANES classes at a time */

/* From the last classes to the first: a vector that reaches past the end of its row is overwritten by the next row's. */
static void transpose_to_rows(const sl_job *job, ptrdiff_t at, ptrdiff_t n, R *rows, ptrdiff_t stride) {
    R raw[LANES * LANES];
    for (ptrdiff_t k = (n - 1) / LANES * LANES; k >= 0; k -= LANES) {
        const ptrdiff_t count = n - k < LANES ? n - k : LANES;
        load_rows(load_block(job, at + k * job->inner, count * job->inner, raw), job->inner, count, rows + k, stride);
    }
}
static void transpose_from_rows(const sl_job *job, const R *rows, ptrdiff_t stride, ptrdiff_t at, ptrdiff_t n) {
    R raw[LANES * LANES];
    for (ptrdiff_t k = 0; k < n; k += LANES) {
        const ptrdiff_t count = n - k < LANES ? n - k : LANES;
        store_rows(rows + k, stride, job->inner, count, output_at(job, at + k * job->inner, raw));
        store_converted(job, at + k * job->inner, count * job->inner, raw);
    }
}

/* What turned rows, in which hidden classes are -inf, have come to: a row with nothing above -inf again, with the mask. */
static void fix_transposed(const sl_job *job, ptrdiff_t first, ptrdiff_t count, const R *rows, R *result) {
    for (ptrdiff_t i = 0; job->choice && i < count; i++) {
        int64_t *index = job->choice->index + first + i;
        if (job->choice->how == SL_LARGEST && rows[i * job->n + *index] == -INFINITY) fill_special_rows(job, first + i, 1, NULL, 0, index);
        if (job->y && result[i] != result[i]) result[i] = fix_special(job, first + i, *index, result[i], 1, 0);
    }
    for (ptrdiff_t i = 0; job->values && i < count; i++)
        if (result[i] != result[i]) result[i] = expectation_of_nonfinite(job, first + i);
}

/* Some outer indices, together no more rows than LANES */
static void small_inner_whole(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t n = job->n, size = n * job->inner, count = (last - first) * job->inner;
    R *rows = scratch, *result = rows + LANES * n + LANES, *work = result + LANES;
    for (ptrdiff_t outer = first; outer < last; outer++) transpose_to_rows(job, outer * size, n, rows + (outer - first) * size, n);
    sl_job turned = *job;
    turned.x_storage = turned.y_storage = OWN_STORAGE;
    turned.mask = NULL; /* has done its work */
    if (job->temperature) turned.temperature += job->temperature_step * first * job->inner;
    turned.x = rows;
    turned.y = sl_writes_rows(job) ? rows : result;
    sl_choice choice;
    if (job->choice) {
        choice = *job->choice;
        choice.index += first * job->inner;
        turned.choice = &choice;
    }
    sl_loss loss;
    if (job->loss) {
        loss = *job->loss;
        loss.first = first * job->inner;
        turned.loss = &loss;
    }
    turned.outer = count;
    turned.inner = 1;
    by_rows(&turned, 0, count, work);
    if (!sl_writes_rows(job)) {
        if (job->mask) fix_transposed(job, first * job->inner, count, rows, result);
        if (job->y) store_results(job, first * job->inner, count, result);
        return;
    }
    for (ptrdiff_t outer = first; outer < last; outer++) {
        R *own = rows + (outer - first) * size;
        for (ptrdiff_t i = 0; job->mask && i < job->inner; i++)
            if (own[i * n] != own[i * n]) fill_nonfinite(job, outer * size + i, job->inner, n, own + i * n, 1);
        transpose_from_rows(job, own, n, outer * size, n);
    }
}

/* The same block by block, as there is room for one block only. */
static void small_inner_long(const sl_job *job, ptrdiff_t outer, void *scratch) {
    const int columns = (int)job->inner;
    R *rows = scratch, *block = rows + LANES * SL_BLOCK + LANES;
    R max[LANES] = {0}, magic[LANES], clamp[LANES], shift[LANES], k_of_max[LANES], unused;
    pair sums[LANES];
    for (int i = 0; i < LANES; i++) sums[i] = (pair){v_set1(0), v_set1(0)};
    exp_params plan;
    temperature_params warm;
    row_results results;
    targets targets;
    clear_targets(&targets);
    for (int step = 0; step < 3; step++) {
        for (ptrdiff_t k = 0; k < job->n; k += SL_BLOCK) {
            const ptrdiff_t n = job->n - k < SL_BLOCK ? job->n - k : SL_BLOCK, at = (outer * job->n + k) * job->inner;
            transpose_to_rows(job, at, n, rows, SL_BLOCK);
            if (job->loss && step == 1) collect_targets(job, outer * job->inner, columns, k, n, rows, SL_BLOCK, 1, max, &targets);
            for (int i = 0; i < columns; i++) {
                R *row = rows + i * SL_BLOCK;
                temperature_params own;
                const temperature_params *heat = step == 0 ? NULL : temperature_of_row(plan.heat, i, &own);
                if (step == 0) {
                    const R m = row_max(row, n);
                    max[i] = k == 0 || m > max[i] ? m : max[i];
                    continue;
                }
                if (shift[i] != 0 && (step == 1 || sl_keeps_exp(job))) row_shift(row, n, shift[i], row);
                if (step == 1) {
                    const R ceiling = sum_anchor_of_part(row_max(row, n), k_of_max[i], heat);
                    const pair s = row_exp_sum(row, n, magic[i], clamp[i], heat, ceiling, NULL, NULL, row, &unused);
                    sums[i] = pair_renormalize(pair_add(sums[i], s));
                } else {
                    if (sl_keeps_exp(job)) row_exp_sum(row, n, magic[i], clamp[i], heat, SUM_ANCHOR, row, row, row, &unused);
                    finish_row(job, at + i, row, n, &results, i, 1, row);
                }
            }
            if (step < 2) continue;
            if (job->loss) subtract_targets(job, outer * job->inner, columns, k, n, &targets, rows, SL_BLOCK, 1);
            transpose_from_rows(job, rows, SL_BLOCK, at, n);
        }
        if (step == 0) {
            plan = exp_params_for_max(v_load(max), load_temperature(job, outer * job->inner, columns, &warm), 1);
            v_store(magic, plan.magic);
            v_store(clamp, plan.clamp);
            v_store(shift, plan.shift);
            v_store(k_of_max, plan.k);
        } else if (step == 1) {
            finish_group(job, outer * job->inner, columns, &plan, transpose_reduce_add(sums, columns), block, &results);
            if (job->choice) select_finish(job, outer * job->inner, columns, &plan, &results, NULL, 0, NULL);
            if (job->loss) finish_losses(job, outer * job->inner, columns, &plan, &targets, &results);
            if (job->op == SL_LOGSUMEXP) store_results(job, outer * job->inner, columns, results.a);
            if (!sl_writes_rows(job)) return;
        }
    }
}

void narrow_columns(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t together = job->n <= SL_BLOCK ? LANES / job->inner : 1;
    for (ptrdiff_t outer = first; outer < last; outer += together) {
        if (job->n <= SL_BLOCK) small_inner_whole(job, outer, outer + together < last ? outer + together : last, scratch);
        else small_inner_long(job, outer, scratch);
    }
}

#undef PLANES_AHEAD

#endif
