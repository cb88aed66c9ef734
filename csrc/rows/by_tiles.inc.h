/* by_tiles.inc.h: the layout with one row per lane, in tiles [class][row]: short rows transposed, or planes packed. Batches of a tile go
   through all steps together (tile_batch.inc.h). Columns of more than SL_BLOCK classes go through them one vector at a time, packed
   again block by block (blocks.inc.h). This file knows no operation and no threads. */
#ifndef SL_BY_TILES_INC
#define SL_BY_TILES_INC
#include "rows/tile_batch.inc.h"

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

static void sum_column_block_with_deviation(const struct tile_batch *b, struct column_blocks *c, ptrdiff_t i, ptrdiff_t n,
                                            const struct exp_params *p) {
    double high[LANES], low[LANES];
    real sum_high[LANES], sum_low[LANES];
    c->sum[i] = column_exp_sum_with_deviation(b->tile, LANES, n, p, high, low);
    v_store(sum_high, c->sum[i].high);
    v_store(sum_low, c->sum[i].low);
    for (int l = 0; l < LANES; l++)
        c->blocks.deviations[i * LANES + l] = (struct block_deviation){high[l], low[l], (double)sum_high[l] + (double)sum_low[l]};
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
        if (any_shift) column_shift(b->tile, LANES, n, shift, b->tile, LANES);
        const struct exp_params p = exp_params_of_block(v_load(c->packed.max), shift, g->params.temperature);
        if (b->op->sums_deviation) sum_column_block_with_deviation(b, c, i, n, &p);
        else c->sum[i] = column_exp_sum(b->tile, LANES, n, &p, 0);
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
        others = pair_renormalize(pair_add(others, column_sum_without_max(b->tile, LANES, n, &g->params)));
    }
    return others;
}

static void finish_column_blocks(struct tile_batch *b, struct column_blocks *c) {
    struct row_group *g = &b->groups[0];
    const vec max = max_of_rows(b->job, b->op, g->first, g->rows, max_of_blocks(&c->blocks));
    g->params = exp_params_for_max(max, g->params.temperature);
    if (b->op->collect) add_block_targets(b->job, &c->blocks, g->rows, max, g->targets);
    const struct pair sum = add_column_blocks(c, g);
    if (b->op->sums_deviation) add_block_deviations(&c->blocks, &g->params, LANES, g->stats);
    finish_groups(b->op, g, 1, &sum, sum_confident_column_blocks, c);
}

static void map_column_blocks(struct tile_batch *b, struct column_blocks *c) {
    const struct exp_params *p = &b->groups[0].params;
    struct dot_sum sum = dot_zero();
    for (ptrdiff_t i = 0; i < c->blocks.blocks; i++) {
        const ptrdiff_t k = i * SL_BLOCK, n = block_length(b->job, i);
        pack_tile(&c->packed, k, k + n);
        if (keeps_exp(b->op) && p->shifted) column_shift(b->tile, LANES, n, p->shift, b->tile, LANES);
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
    const vec max = max_of_rows(b->job, b->op, g->first, g->rows, max_of_blocks(&c->blocks));
    if (find_shift_of_rows(max, g->params.temperature, g->rows, c->shift)) sum_column_blocks(b, c);
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
    const int direct = b.has_all_classes && job->inner >= LANES && y_is_native(job) && writes_classes(b.op);        /* from the tile to y */
    const int fetches = b.has_all_classes && job->inner >= 2 * LANES && x_is_native(job) && !output_is_cached(job); /* the next tile */
    b.prefetched_vector = LANES;
    b.prefetched_class = job->inner;
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
            if (fetches) b.prefetched[0] = (const real *)job->x + start_of_row(job, p.first) + p.width + j;
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
    b.prefetched_vector = n * LANES;
    b.prefetched_class = LANES;
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
