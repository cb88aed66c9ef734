/* by_tiles.inc.h: the layout with one row per lane, in tiles [class][row]: short rows transposed, or planes packed. Up to TILE_VECTORS
   vectors of rows go through these steps together:

     1. maximum -> range reduction -> collect targets -> sum of exponentials       sum_columns, sum_column_blocks
     2. row statistics -> confident and nonfinite rows again -> finish            finish_groups
     3. what the operation makes of each class -> patch -> store                   map_tile, map_column_blocks

   Columns of more than SL_BLOCK classes go through them one vector at a time, packed again block by block (blocks.inc.h). This file
   knows no operation and no threads. */
#ifndef SL_BY_TILES_INC
#define SL_BY_TILES_INC
#include "rows/blocks.inc.h"
#include "rows/finish.inc.h"
#include "rows/tile_loader.inc.h"
#include "rows/two_classes.inc.h"

/* Vectors of rows that go through all steps together. groups[j] has vector j: its rows, range reductions and statistics. */
struct tile_batch {
    const sl_job *job;
    const struct op *op;
    int count; /* vectors */
    int has_all_classes;
    real *tile; /* class k of the first vector at tile + k * stride; x, then e or results */
    ptrdiff_t stride;
    const real *x;             /* short rows, as they lie; or NULL */
    real *spare;               /* all classes of one vector of rows */
    const real *prefetched[2]; /* what to prefetch meanwhile: n classes for each row; or NULL */
    struct tile_output to;
    struct row_group groups[TILE_VECTORS];
    struct row_stats stats[TILE_VECTORS];
    struct row_targets targets[TILE_VECTORS];
    struct temperature_params temperatures[TILE_VECTORS];
};

/* ---- batches --------------------------------------------------------------------------------------------------- */

/* Field by field: zeros for all of it would cost more than a small call. */
static void init_batch(struct tile_batch *b, const sl_job *job, real *spare, void *op_scratch) {
    b->job = job;
    b->op = op_of(job);
    b->spare = spare;
    b->x = NULL;
    b->prefetched[0] = b->prefetched[1] = NULL;
    for (int j = 0; j < TILE_VECTORS; j++) b->groups[j].op_scratch = op_scratch;
}

/* Rows first to first + columns. shared: the one temperature of all rows, or NULL */
static void start_batch(struct tile_batch *b, ptrdiff_t first, ptrdiff_t columns, const struct temperature_params *shared) {
    b->count = (int)((columns + LANES - 1) / LANES);
    for (int j = 0; j < b->count; j++) {
        struct row_group *g = &b->groups[j];
        const ptrdiff_t left = columns - j * LANES;
        g->job = b->job;
        g->first = first + j * LANES;
        g->rows = (int)(left < LANES ? left : LANES);
        g->stats = &b->stats[j];
        g->targets = &b->targets[j];
        g->part_maxima = NULL;
        g->x = g->results = NULL;
        g->tile = b->has_all_classes && !keeps_exp(b->op) ? b->tile + j * LANES : NULL;
        g->tile_stride = b->stride;
        g->params.temperature = shared ? shared : load_temperature(b->job, g->first, g->rows, &b->temperatures[j]);
    }
}

SL_INLINE struct block block_of_columns(const struct row_group *g, ptrdiff_t first_class, ptrdiff_t n, real *at, ptrdiff_t stride) {
    return (struct block){g->first, g->rows, first_class, n, at, 1, stride};
}

/* ---- 1. the sums ------------------------------------------------------------------------------------------------ */

/* max: of each column, or NULL */
static void reduce_ranges(struct tile_batch *b, const real *max) {
    for (int j = 0; j < b->count; j++) {
        struct exp_params *p = &b->groups[j].params;
        const vec lowest = v_set1(-INFINITY);
        const vec m = max ? v_load(max + j * LANES) : column_max(b->tile + j * LANES, b->stride, b->job->n, lowest);
        *p = exp_params_for_max(m, p->temperature);
    }
}

static void prefetch_next(const struct tile_batch *b, int j) {
    for (int i = 0; i < 2; i++)
        for (ptrdiff_t k = 0; b->prefetched[i] && k < b->job->n; k++) sl_prefetch(b->prefetched[i] + (j * b->job->n + k) * LANES);
}

static void sum_columns(struct tile_batch *b, struct pair *sum) {
    const ptrdiff_t n = b->job->n;
    for (int j = 0; j < b->count; j++) {
        const struct row_group *g = &b->groups[j];
        const struct exp_params *p = &g->params;
        real *column = b->tile + j * LANES;
        prefetch_next(b, j);
        if (b->op->collect) {
            const struct block x = block_of_columns(g, 0, n, column, b->stride);
            real max[LANES];
            v_store(max, p->max);
            clear_targets(g->targets);
            b->op->collect(b->job, &x, max, g->targets);
        }
        if (p->shifted) column_shift(column, b->stride, n, p->shift);
        sum[j] =
            pair_renormalize(keeps_exp(b->op) ? column_exp_sum(column, b->stride, n, p, 1) : column_exp_sum(column, b->stride, n, p, 0));
    }
}

/* ---- 2. from sums to statistics --------------------------------------------------------------------------------- */

/* x - shift of one vector of rows, where e has taken its place in the tile */
static const real *reload_columns(const struct tile_batch *b, const struct row_group *g) {
    const sl_job *job = b->job;
    if (job->inner == 1) load_rows(b->x + (g->first - b->groups[0].first) * job->n, job->n, g->rows, b->spare, LANES);
    else {
        struct packed_tile t = {.job = job, .first = g->first, .columns = g->rows, .width = LANES, .tile = b->spare};
        pack_tile(&t, 0, job->n);
    }
    if (g->params.shifted) column_shift(b->spare, LANES, job->n, g->params.shift);
    return b->spare;
}
static struct pair sum_confident_columns(void *context, int j) {
    const struct tile_batch *b = context;
    const struct row_group *g = &b->groups[j];
    const ptrdiff_t n = b->job->n;
    const vec none = v_set1(0);
    return pair_renormalize(keeps_exp(b->op) ? column_sum_without_max(reload_columns(b, g), LANES, n, &g->params, none)
                                             : column_sum_without_max(b->tile + j * LANES, b->stride, n, &g->params, none));
}

/* ---- 3. from statistics to results ------------------------------------------------------------------------------ */

static void fill_nonfinite_columns(const struct row_group *g, const struct op *op, const struct block *y) {
    const sl_job *job = g->job;
    for (int i = 0; g->stats->any_nonfinite && i < g->rows; i++) {
        if (!is_nonfinite(g->stats, i)) continue;
        const ptrdiff_t at = start_of_row(job, g->first + i) + y->first_class * job->inner;
        fill_nonfinite(job, op, at, job->inner, y->classes, y->at + i, y->class_step);
    }
}

/* n classes from first_class on, which begin at the first class of the tile */
static void map_tile(const struct tile_batch *b, ptrdiff_t first_class, ptrdiff_t n) {
    map_columns(b->op, b->groups, b->tile, b->stride, n, &b->to);
    for (int j = 0; j < b->count; j++) {
        const struct row_group *g = &b->groups[j];
        const struct block y = block_of_columns(g, first_class, n, b->to.y + j * LANES, b->to.stride);
        fill_nonfinite_columns(g, b->op, &y);
        if (b->op->patch) b->op->patch(b->job, &y, g->targets);
    }
}

/* MAP_EXPECT, from the sums of all classes */
static void store_expectations(const struct tile_batch *b, struct dot_sum *sums) {
    for (int j = 0; j < b->count; j++) {
        for (int i = 0; i < HALVES; i++) sums[j].high[i] = f64_add(sums[j].high[i], sums[j].low[i]);
        v_store(b->groups[j].stats->result, from_double(sums[j].high));
        store_results_of_group(b->op, &b->groups[j]);
    }
}
static void expect_tile(const struct tile_batch *b) {
    const int flushes = b->job->mask != NULL;
    struct valued_tile t = {b->tile, b->op->class_values(b->job), b->stride, b->job->n};
    struct dot_sum sums[TILE_VECTORS];
    int j = 0;
    for (int i = 0; i < b->count; i++) sums[i] = dot_zero();
    for (; j + UNROLL <= b->count; j += UNROLL, t.tile += UNROLL * LANES) expect_columns(UNROLL, flushes, b->stats + j, &t, sums + j);
    for (; j < b->count; j++, t.tile += LANES) expect_columns(1, flushes, b->stats + j, &t, sums + j);
    store_expectations(b, sums);
}

static void run_two_classes(struct tile_batch *b) {
    for (int j = 0; j < b->count; j++) {
        struct row_group *g = &b->groups[j];
        const real *column = b->tile + j * LANES;
        real *y = b->to.y + j * LANES;
        vec results[2];
        prefetch_next(b, j);
        const struct two_classes t = exp_of_two(v_load(column), v_load(column + b->stride));
        stats_of_two(&t, b->op, g);
        if (b->op->per_row) {
            store_results_of_group(b->op, g);
            continue;
        }
        if (scales_exp(b->op)) softmax_of_two(&t, results);
        else log_softmax_of_two(&t, v_load(g->stats->log_sum), results);
        if (b->op->finish) {
            real both[2 * LANES];
            for (int k = 0; k < 2; k++) v_store(both + k * LANES, results[k]);
            g->results = both;
            b->op->finish(g);
            continue;
        }
        for (int k = 0; k < 2; k++) {
            if (g->rows == LANES) v_store(y + k * b->to.stride, results[k]);
            else v_store_tail(y + k * b->to.stride, g->rows, results[k]);
        }
        const struct block all = block_of_columns(g, 0, 2, y, b->to.stride);
        fill_nonfinite_columns(g, b->op, &all);
    }
}

/* A batch whose tile has all classes; max: of each column, or NULL */
static void run_batch(struct tile_batch *b, const real *max) {
    struct pair sum[TILE_VECTORS];
    if (b->count < 1) return; /* it is at least 1, but compilers do not see it */
    if (is_of_two_classes(b->job, b->op)) {
        run_two_classes(b);
        return;
    }
    reduce_ranges(b, max);
    sum_columns(b, sum);
    finish_groups(b->op, b->groups, b->count, sum, sum_confident_columns, b);
    if (b->op->map == MAP_EXPECT) expect_tile(b);
    else if (b->op->visits_classes) map_tile(b, 0, b->job->n);
}

_Static_assert(TILE_ELEMENTS / (SL_BLOCK + 1) < 2 * LANES, "columns of several blocks come one vector at a time");

/* ---- columns of several blocks ---------------------------------------------------------------------------------- */

struct column_blocks {
    const struct tile_batch *batch;
    struct packed_tile packed;
    struct block_facts blocks;
    struct pair *sum; /* of each block */
    real shift[LANES];
};

static struct column_blocks open_column_blocks(const sl_job *job, real *tile, struct arena *arena) {
    struct column_blocks c = {.packed = {.job = job, .width = LANES, .tile = tile}};
    if (job->n <= SL_BLOCK) return c;
    c.blocks = take_block_facts(job, LANES, arena);
    c.sum = arena_take(arena, (size_t)c.blocks.blocks * sizeof *c.sum);
    return c;
}

static void sum_column_blocks(struct tile_batch *b, struct column_blocks *c) {
    const struct row_group *g = &b->groups[0];
    const vec shift = v_load(c->shift);
    const int any_shift = v_any_lt(v_set1(0), v_max(shift, v_negate(shift)));
    for (ptrdiff_t i = 0; i < c->blocks.blocks; i++) {
        const ptrdiff_t k = i * SL_BLOCK, n = block_length(b->job, i);
        pack_tile(&c->packed, k, k + n);
        v_store(c->blocks.max + i * LANES, v_load(c->packed.max));
        if (b->op->collect) {
            const struct block x = block_of_columns(g, k, n, b->tile, LANES);
            collect_block(b->job, &c->blocks, &x, i);
        }
        if (any_shift) column_shift(b->tile, LANES, n, shift);
        const struct exp_params p = exp_params_of_block(v_load(c->packed.max), shift, g->params.temperature);
        c->sum[i] = column_exp_sum(b->tile, LANES, n, &p, 0);
    }
}

static struct pair add_column_blocks(const struct column_blocks *c, const struct row_group *g) {
    struct pair sum = pair_zero();
    find_block_scales(&c->blocks, &g->params, LANES);
    for (ptrdiff_t i = 0; i < c->blocks.blocks; i++)
        sum = pair_renormalize(pair_add(sum, pair_scale(c->sum[i], v_load(c->blocks.scale + i * LANES))));
    return sum;
}

static struct pair sum_confident_column_blocks(void *context, int j) {
    struct column_blocks *c = context;
    const struct tile_batch *b = c->batch;
    const struct row_group *g = &b->groups[j];
    struct pair others = pair_zero();
    for (ptrdiff_t i = 0; i < c->blocks.blocks; i++) {
        const ptrdiff_t k = i * SL_BLOCK, n = block_length(b->job, i);
        pack_tile(&c->packed, k, k + n);
        others = pair_renormalize(pair_add(others, column_sum_without_max(b->tile, LANES, n, &g->params, g->params.shift)));
    }
    return others;
}

static void finish_column_blocks(struct tile_batch *b, struct column_blocks *c) {
    struct row_group *g = &b->groups[0];
    const vec max = max_of_blocks(&c->blocks);
    g->params = exp_params_for_max(max, g->params.temperature);
    if (b->op->collect) add_block_targets(&c->blocks, g->rows, max, g->targets);
    const struct pair sum = add_column_blocks(c, g);
    finish_groups(b->op, g, 1, &sum, sum_confident_column_blocks, c);
}

static void map_column_blocks(struct tile_batch *b, struct column_blocks *c) {
    const struct exp_params *p = &b->groups[0].params;
    struct dot_sum sum = dot_zero();
    for (ptrdiff_t i = 0; i < c->blocks.blocks; i++) {
        const ptrdiff_t k = i * SL_BLOCK, n = block_length(b->job, i);
        pack_tile(&c->packed, k, k + n);
        if (p->shifted) column_shift(b->tile, LANES, n, p->shift);
        if (keeps_exp(b->op)) column_exp_sum(b->tile, LANES, n, p, 1);
        if (b->op->map == MAP_EXPECT) {
            const struct valued_tile t = {b->tile, b->op->class_values(b->job) + k, LANES, n};
            expect_columns(1, b->job->mask != NULL, b->stats, &t, &sum);
            continue;
        }
        map_tile(b, k, n);
        unpack_tile(&c->packed, k, k + n);
    }
    if (b->op->map == MAP_EXPECT) store_expectations(b, &sum);
}

/* One vector of rows of more than SL_BLOCK classes */
static void run_column_blocks(struct tile_batch *b, struct column_blocks *c) {
    const struct row_group *g = &b->groups[0];
    c->batch = b;
    c->packed.first = g->first;
    c->packed.columns = g->rows;
    v_store(c->shift, v_set1(0));
    sum_column_blocks(b, c);
    if (find_shift_of_rows(&c->blocks, g->params.temperature, g->rows, c->shift)) sum_column_blocks(b, c);
    finish_column_blocks(b, c);
    if (b->op->visits_classes) map_column_blocks(b, c);
}

/* ---- planes ----------------------------------------------------------------------------------------------------- */

struct plane_tiles {
    real *tile, *spare;
    struct column_blocks blocks;
    void *op_scratch;
};
static struct plane_tiles open_plane_tiles(const sl_job *job, struct arena *arena) {
    struct plane_tiles s;
    const ptrdiff_t n = job->n < SL_BLOCK ? job->n : SL_BLOCK;
    s.tile = take_reals(arena, n * tile_width(job));
    s.spare = take_reals(arena, n * LANES);
    s.blocks = open_column_blocks(job, s.tile, arena);
    s.op_scratch = op_of(job)->take_scratch ? op_of(job)->take_scratch(job, arena) : NULL;
    return s;
}

static ptrdiff_t tile_count(const sl_job *job) {
    const ptrdiff_t width = tile_width(job);
    if (job->inner < LANES) return (job->outer * job->inner + width - 1) / width;
    return job->outer * ((job->inner + width - 1) / width);
}
/* Tile number t: its columns. Field by field, as zeros for its maxima would cost more than to find them. */
static void set_tile(struct packed_tile *p, ptrdiff_t t) {
    const sl_job *job = p->job;
    const ptrdiff_t per_outer = (job->inner + p->width - 1) / p->width;
    ptrdiff_t end = job->outer * job->inner;
    p->first = t * p->width;
    if (job->inner >= LANES) {
        p->first = t / per_outer * job->inner + t % per_outer * p->width;
        end = (t / per_outer + 1) * job->inner;
    }
    p->columns = end - p->first < p->width ? end - p->first : p->width;
}

/* Units first to last: tiles of a job whose inner is not 1 */
static void planes_by_tiles(const sl_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    struct arena arena = {scratch, 0};
    struct plane_tiles s = open_plane_tiles(job, &arena);
    struct tile_batch b;
    init_batch(&b, job, s.spare, s.op_scratch);
    struct temperature_params memory;
    const struct temperature_params *shared = load_shared_temperature(job, &memory);
    b.has_all_classes = job->n <= SL_BLOCK;
    const int direct = b.has_all_classes && job->inner >= LANES && y_is_native(job) && writes_classes(b.op); /* from the tile to y */
    struct packed_tile p;
    p.job = job;
    p.width = tile_width(job);
    p.tile = s.tile;
    for (ptrdiff_t t = first; t < last; t++) {
        set_tile(&p, t);
        if (b.has_all_classes) pack_tile(&p, 0, job->n);
        for (ptrdiff_t j = 0; j < p.columns; j += TILE_VECTORS * LANES) {
            const ptrdiff_t left = p.columns - j < TILE_VECTORS * LANES ? p.columns - j : TILE_VECTORS * LANES;
            b.tile = p.tile + j;
            b.stride = p.width;
            b.to = (struct tile_output){b.tile, b.stride, left};
            if (direct) b.to = (struct tile_output){(real *)job->y + start_of_row(job, p.first + j), job->inner, left};
            start_batch(&b, p.first + j, left, shared);
            if (b.has_all_classes) run_batch(&b, p.max + j);
            else run_column_blocks(&b, &s.blocks);
        }
        if (writes_classes(b.op) && b.has_all_classes && !direct) unpack_tile(&p, 0, job->n);
    }
}

/* ---- short rows ------------------------------------------------------------------------------------------------- */

struct short_rows {
    real *tile, *raw, *spare;
    void *op_scratch;
};
static struct short_rows open_short_rows(const sl_job *job, struct arena *arena) {
    struct short_rows s;
    s.tile = take_reals(arena, TILE_VECTORS * LANES * job->n);
    s.raw = take_reals(arena, TILE_VECTORS * LANES * job->n);
    s.spare = take_reals(arena, LANES * job->n);
    s.op_scratch = op_of(job)->take_scratch ? op_of(job)->take_scratch(job, arena) : NULL;
    return s;
}

static void set_short_row_prefetch(struct tile_batch *b, ptrdiff_t row) {
    const sl_job *job = b->job;
    const ptrdiff_t ahead = row * job->n + PREFETCH_DISTANCE / (ptrdiff_t)sizeof(real);
    if (job->n <= HARDWARE_PREFETCHED && output_is_cached(job)) return;
    if (x_is_native(job)) b->prefetched[0] = (const real *)job->x + ahead;
    if (y_is_native(job) && writes_classes(b->op)) b->prefetched[1] = (const real *)job->y + ahead;
}

/* Units first to last: rows of a job whose inner is 1 */
static void short_rows_by_tiles(const sl_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    const ptrdiff_t n = job->n, step = TILE_VECTORS * LANES;
    struct arena arena = {scratch, 0};
    const struct short_rows s = open_short_rows(job, &arena);
    struct tile_batch b;
    init_batch(&b, job, s.spare, s.op_scratch);
    b.tile = s.tile;
    b.stride = step;
    b.has_all_classes = 1;
    struct temperature_params memory;
    const struct temperature_params *shared = load_shared_temperature(job, &memory);
    for (ptrdiff_t row = first; row < last; row += step) {
        const ptrdiff_t rows = last - row < step ? last - row : step;
        b.x = load_block(job, row * n, rows * n, s.raw);
        b.to = (struct tile_output){s.tile, step, rows};
        start_batch(&b, row, rows, shared);
        set_short_row_prefetch(&b, row);
        for (int j = 0; j < b.count; j++) load_rows(b.x + j * LANES * n, n, b.groups[j].rows, s.tile + j * LANES, step);
        run_batch(&b, NULL);
        if (!writes_classes(b.op)) continue;
        real *y = output_at(job, row * n, s.raw);
        for (int j = 0; j < b.count; j++) store_rows(s.tile + j * LANES, step, n, b.groups[j].rows, y + j * LANES * n);
        store_converted(job, row * n, rows * n, s.raw);
    }
}

#endif
