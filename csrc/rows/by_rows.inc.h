/* by_rows.inc.h: the layout with the class axis along the lanes. A group of rows goes through these steps:

     1. for each panel: maximum -> range reduction -> collect targets -> sum of exponentials        sum_blocks
     2. row statistics -> confident and nonfinite rows again -> finish                             finish_group
     3. for each panel: what the operation makes of its classes -> patch -> store                   map_blocks

   A long row has a panel for each block (blocks.inc.h). Where a row is far from zero, step 1 runs again, with its shift. This file
   knows no operation and no threads. */
#ifndef SL_BY_ROWS_INC
#define SL_BY_ROWS_INC
#include "rows/blocks.inc.h"
#include "rows/row_reader.inc.h"

/* ---- what is known of a group -------------------------------------------------------------------------------- */

/* Of the whole rows. It lies in memory that threads share where they share a row. */
struct group_facts {
    struct row_group group;
    struct row_stats stats;
    struct row_targets targets;
    struct temperature_params temperature;
    real shift[LANES]; /* of long rows, for the next sum */
};

/* A group, as one thread sees it. Arrays have an entry for each block, and are NULL where they are not needed. */
struct group_view {
    const sl_job *job;
    const struct op *op;
    ptrdiff_t full_rows; /* of a full group */
    ptrdiff_t first;     /* this group has the job's rows first to first + rows */
    int rows;
    struct group_facts *facts;
    const struct temperature_params *temperature;
    struct temperature_params temperature_memory;
    struct block_facts blocks; /* of long rows */
    struct pair *block_sum;    /* [blocks][full_rows] */
    double *block_dot;         /* [blocks][full_rows][2]: of MAP_EXPECT */
    real *part_maxima;         /* as op->keeps_part_maxima wants them */
    void *op_scratch;
};

enum { PART_MAXIMA = SL_BLOCK / VECTORS_PER_MAXIMUM }; /* of one block */

static struct group_view open_group(const sl_job *job, const struct op *op, ptrdiff_t rows, struct arena *arena) {
    struct group_view g = {.job = job, .op = op, .full_rows = rows};
    g.facts = arena_take(arena, sizeof *g.facts);
    if (job->n <= SL_BLOCK) return g;
    const size_t entries = (size_t)(block_count(job) * rows);
    g.blocks = take_block_facts(job, rows, arena);
    g.block_sum = arena_take(arena, entries * sizeof *g.block_sum);
    if (op->map == MAP_EXPECT) g.block_dot = arena_take(arena, entries * 2 * sizeof *g.block_dot);
    if (op->keeps_part_maxima && job->inner == 1) g.part_maxima = take_reals(arena, g.blocks.blocks * PART_MAXIMA);
    return g;
}

static void start_group(struct group_view *g, ptrdiff_t first, ptrdiff_t rows) {
    g->first = first;
    g->rows = (int)rows;
    if (!g->temperature || g->job->temperature_step) g->temperature = load_temperature(g->job, first, rows, &g->temperature_memory);
}

/* Is e of a long row kept in y? Not where y is of another dtype, or holds x that is read again. */
static int keeps_exp_in_output(const sl_job *job, const struct op *op) {
    return keeps_exp(op) && writes_classes(op) && y_is_native(job) && job->inner == 1 && !(rereads_x(op) && job->x == job->y);
}

/* ---- 1. the sums ---------------------------------------------------------------------------------------------- */

static void set_panel(const struct group_view *g, ptrdiff_t b, struct panel *p) {
    p->row = g->first;
    p->rows = g->rows;
    p->first_class = b * SL_BLOCK;
    p->n = block_length(g->job, b);
}

/* Rows that cross cache lines keep e in scratch, aligned, except where y is memory to be fetched anyway. Where x is in scratch, e takes its
   place. Operations that read x again keep it. */
static void place_whole_rows(const struct row_reader *r, struct panel *p) {
    const sl_job *job = r->job;
    const struct op *op = r->op;
    const int in_place = rereads_x(op) && job->x == job->y;
    const int aside = r->converts_ahead || (job->n % LANES && output_is_cached(job)) || in_place;
    const int y_in_scratch = !writes_classes(op) || !y_is_native(job) || r->transposes;
    for (int i = 0; i < p->rows; i++) {
        real *scratch = r->buffer + i * r->stride;
        p->y[i] = y_in_scratch ? scratch : (real *)job->y + element_of(r, p, i);
        real *e = aside ? scratch : p->y[i];
        if (r->transposes && rereads_x(op)) e = r->next_buffer + i * r->stride;
        p->e[i] = keeps_exp(op) ? e : NULL;
    }
    p->y_step = y_in_scratch ? r->stride : job->n;
}
static void place_block(const struct row_reader *r, struct panel *p, int keeps_e) {
    const sl_job *job = r->job;
    const int y_in_scratch = !writes_classes(r->op) || !y_is_native(job) || r->transposes;
    for (int i = 0; i < p->rows; i++) {
        real *scratch = r->buffer + i * r->stride;
        p->y[i] = y_in_scratch ? scratch : (real *)job->y + element_of(r, p, i);
        p->e[i] = keeps_e ? p->y[i] : NULL;
    }
    p->y_step = y_in_scratch ? r->stride : job->n;
}

static void collect_whole_rows(const struct group_view *g, const struct row_reader *r, const struct panel *p) {
    const struct block x = block_of_x(p);
    clear_targets(&g->facts->targets);
    g->op->collect(g->job, &x, r->max, &g->facts->targets);
}

static void start_long_rows(const struct group_view *g) { v_store(g->facts->shift, v_set1(0)); }
/* Blocks first to last of a long row */
static void sum_blocks(struct group_view *g, struct row_reader *r, ptrdiff_t first, ptrdiff_t last) {
    struct panel p;
    r->end = last;
    r->max_known = 0;
    for (ptrdiff_t b = first; b < last; b++) {
        real *part_maxima = g->part_maxima ? g->part_maxima + b * PART_MAXIMA : NULL;
        set_panel(g, b, &p);
        load_panel(r, &p, 1, part_maxima);
        place_block(r, &p, keeps_exp_in_output(g->job, g->op));
        v_store(g->blocks.max + b * LANES, v_load(r->max));
        if (g->op->collect) {
            const struct block x = block_of_x(&p);
            collect_block(g->job, &g->blocks, &x, b);
        }
        const struct exp_params params = exp_params_of_block(v_load(r->max), v_load(g->facts->shift), g->temperature);
        sum_panel(r, &p, &params, g->block_sum + b * g->full_rows, part_maxima ? part_maxima + PART_MAXIMA : NULL);
    }
}
static void max_blocks(struct group_view *g, struct row_reader *r, ptrdiff_t first, ptrdiff_t last) {
    struct panel p;
    r->max_known = 0;
    for (ptrdiff_t b = first; b < last; b++) {
        set_panel(g, b, &p);
        load_panel(r, &p, 1, NULL);
        v_store(g->blocks.max + b * LANES, v_load(r->max));
    }
}

/* ---- 2. from sums to statistics ------------------------------------------------------------------------------- */

/* The sums of long rows, one per lane, from those of their blocks */
static struct pair add_blocks(const struct group_view *g) {
    struct pair sums[LANES];
    for (int i = 0; i < g->rows; i++) sums[i] = pair_zero();
    for (ptrdiff_t b = 0; b < g->blocks.blocks; b++) {
        real scale[LANES];
        v_store(scale, scale_of_block(&g->blocks, b, &g->facts->group.params, g->rows));
        for (int i = 0; i < g->rows; i++)
            sums[i] = pair_renormalize(pair_add(sums[i], pair_scale(g->block_sum[b * g->full_rows + i], v_set1(scale[i]))));
    }
    return transpose_reduce_add(sums, g->rows);
}

/* The sum of e(x) of the classes of a confident row below its maximum, in LANES lanes. x: all classes, or NULL: they are loaded again. */
static struct pair row_sum_without_max(const struct row_group *group, int lane, const real *x, real *spare) {
    const sl_job *job = group->job;
    const vec shift = v_lane(group->params.shift, lane), max = v_lane(group->params.reduced, lane);
    struct temperature_params own;
    const struct exp_constants c = {v_lane(group->params.round_magic, lane), v_lane(group->params.lower_bound, lane),
                                    v_load_table(exp_table), temperature_of_row(group->params.temperature, lane, &own)};
    struct pair sum = pair_zero();
    for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
        const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
        const real *part = x ? x : load_row_block(job, group->first + lane, b, n, spare);
        vec v[UNROLL];
        ptrdiff_t i = 0;
        for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
            for (int k = 0; k < UNROLL; k++) v[k] = v_sub(v_load(part + i + k * LANES), shift);
            add_exp_without_max(UNROLL, v, max, &c, &sum);
        }
        for (; i < n; i += LANES) {
            v[0] = v_sub(v_load_tail(part + i, n - i < LANES ? n - i : LANES, -INFINITY), shift);
            add_exp_without_max(1, v, max, &c, &sum);
        }
        sum = pair_renormalize(sum);
    }
    return sum;
}

/* Confident rows, where the operation needs a logarithm: their other classes are summed alone. */
static void sum_confident_rows(const struct group_view *g, const struct row_reader *r, const struct panel *p) {
    const struct row_group *group = &g->facts->group;
    struct row_stats *stats = &g->facts->stats;
    struct pair others[LANES];
    for (int i = 0; i < group->rows; i++) {
        const real *x = p && p->e[i] != p->x[i] ? p->x[i] : NULL;
        others[i] = stats->confident[i] < 0 ? row_sum_without_max(group, i, x, r->spare) : pair_zero();
    }
    stats_fix_confident(transpose_reduce_add(others, group->rows), stats);
}

static void store_row_results(const struct group_view *g) {
    const struct row_group *group = &g->facts->group;
    struct row_stats *stats = &g->facts->stats;
    for (int i = 0; stats->any_nonfinite && i < group->rows; i++)
        if (is_nonfinite(stats, i)) stats->result[i] = g->op->result_of_nonfinite(group, i);
    store_results(g->job, group->first, group->rows, stats->result);
}

/* p: the panel that has the whole rows, or NULL for long rows. The facts have params and targets already. */
static void finish_group(struct group_view *g, const struct row_reader *r, const struct panel *p, struct pair sum) {
    struct row_group *group = &g->facts->group;
    struct row_stats *stats = &g->facts->stats;
    group->job = g->job;
    group->first = g->first;
    group->rows = g->rows;
    group->stats = stats;
    group->targets = &g->facts->targets;
    group->x = p && !keeps_exp(g->op) ? p->x : NULL;
    group->tile = NULL;
    group->part_maxima = g->part_maxima;
    group->op_scratch = g->op_scratch;
    stats_from_sum(g->job, g->op, &group->params, sum, group->rows, stats);
    if (g->op->needs_log) {
        if (stats->any_confident) sum_confident_rows(g, r, p);
        stats_log(&group->params, stats);
    }
    if (g->op->finish) g->op->finish(group);
    if (g->op->per_row && !g->op->visits_classes) store_row_results(g);
}

static void finish_long_rows(struct group_view *g, const struct row_reader *r) {
    struct group_facts *f = g->facts;
    const struct temperature_params *t = load_temperature(g->job, g->first, g->rows, &f->temperature);
    const vec max = max_of_blocks(&g->blocks);
    f->group.params = exp_params_for_max(max, t);
    if (g->op->collect) add_block_targets(&g->blocks, g->rows, max, &f->targets);
    finish_group(g, r, NULL, add_blocks(g));
}

/* ---- 3. from statistics to results ---------------------------------------------------------------------------- */

/* What the operation makes of the classes of one row, from e or from x, into y from element `to` on */
SL_INLINE void map_row_as(const struct group_view *g, const real *source, ptrdiff_t n, int i, real scale, const sl_dtype dtype, void *y,
                          ptrdiff_t to) {
    const struct row_group *group = &g->facts->group;
    const struct row_stats *s = &g->facts->stats;
    if (scales_exp(g->op)) {
        const struct row_scale factors = {scale, s->scale[i], s->scale_low[i], s->flush_below[i]};
        row_scale(source, n, &factors, dtype, y, to);
        return;
    }
    struct temperature_params own;
    real max[LANES];
    v_store(max, group->params.max);
    row_shift_logits(source, n, max[i], s->log_sum[i], temperature_of_row(group->params.temperature, i, &own), dtype, y, to);
}

/* Results of 16 bits are rounded as they are computed where nothing follows; then p->y has nothing of them. A certain probability
   rounds to 1 there. */
SL_INLINE void map_row(const struct group_view *g, const struct panel *p, int i, const real *source, real scale, int to_16_bits) {
    const sl_job *job = g->job;
    const ptrdiff_t at = (p->row + i) * job->n + p->first_class; /* inner is 1 */
    if (!to_16_bits) map_row_as(g, source, p->n, i, scale, OWN_DTYPE, p->y[i], 0);
#if SL_REAL == 32
    else if (job->y_dtype == SL_FLOAT16) map_row_as(g, source, p->n, i, scale, SL_FLOAT16, job->y, at);
    else map_row_as(g, source, p->n, i, scale, SL_BFLOAT16, job->y, at);
#else
    (void)at;
#endif
}

/* The same where some row of the group has special values */
static void map_row_of_special_group(const struct group_view *g, const struct panel *p, int i, const real *source, real scale,
                                     int to_16_bits) {
    const sl_job *job = g->job;
    const struct row_stats *s = &g->facts->stats;
    const ptrdiff_t at = start_of_row(job, p->row + i) + p->first_class * job->inner;
    if (is_nonfinite(s, i)) {
        fill_nonfinite(job, g->op, at, job->inner, p->n, p->y[i], 1);
        if (to_16_bits) store_converted(job, at, p->n, p->y[i]);
        return;
    }
    map_row(g, p, i, source, scale, to_16_bits);
    if (!to_16_bits && has_certain(g->op, s) && s->confident[i] < 0) fix_certain(p->y[i], p->n);
}

/* The results of a panel's rows; scale: of the blocks' e */
static void map_panel(struct group_view *g, const struct row_reader *r, const struct panel *p, const real *scale) {
    const struct row_stats *s = &g->facts->stats;
    const int special = s->any_nonfinite || has_certain(g->op, s), to_16_bits = maps_to_16_bits(r), keeps_e = keeps_exp(g->op);
    for (int i = 0; i < p->rows; i++) {
        const real *source = keeps_e ? p->e[i] : p->x[i];
        if (special) map_row_of_special_group(g, p, i, source, scale[i], to_16_bits);
        else map_row(g, p, i, source, scale[i], to_16_bits);
    }
    if (g->op->map == MAP_EXPECT) {
        const real *values = g->op->class_values(g->job) + p->first_class;
        for (int i = 0; i < p->rows; i++) {
            double low = 0;
            const double sum = row_expectation(p->y[i], values, p->n, &low);
            if (!r->is_long) g->facts->stats.result[i] = (real)(sum + low);
            else {
                double *dot = g->block_dot + 2 * (p->first_class / SL_BLOCK * g->full_rows + i);
                dot[0] = sum;
                dot[1] = low;
            }
        }
        return;
    }
    if (g->op->patch) {
        const struct block y = block_of_y(p);
        g->op->patch(g->job, &y, &g->facts->targets);
    }
    if (g->op->patch || r->transposes) store_panel(r, p);
}

/* Blocks first to last of a long row. Where y does not keep e, it is computed again, from the range reduction of the row. */
static void map_blocks(struct group_view *g, struct row_reader *r, ptrdiff_t first, ptrdiff_t last) {
    const struct row_group *group = &g->facts->group;
    const int kept = keeps_exp_in_output(g->job, g->op);
    struct panel p;
    struct pair unused[LANES];
    real scale[LANES];
    v_store(scale, v_set1(1));
    r->end = last;
    r->max_known = 0;
    for (ptrdiff_t b = first; b < last; b++) {
        set_panel(g, b, &p);
        if (!kept) load_panel(r, &p, 0, NULL);
        place_block(r, &p, kept);
        if (kept) {
            v_store(scale, scale_of_block(&g->blocks, b, &group->params, g->rows));
        } else if (keeps_exp(g->op)) {
            for (int i = 0; i < p.rows; i++) p.e[i] = r->buffer + i * r->stride;
            sum_panel(r, &p, &group->params, unused, NULL);
        }
        map_panel(g, r, &p, scale);
    }
}

/* MAP_EXPECT of long rows, from the sums of their blocks */
static void add_block_dots(struct group_view *g) {
    for (int i = 0; i < g->rows; i++) {
        double sum = 0, low = 0;
        for (ptrdiff_t b = 0; b < g->blocks.blocks; b++) {
            const double *dot = g->block_dot + 2 * (b * g->full_rows + i);
            sum = add_with_low(sum, dot[0], &low);
            low += dot[1];
        }
        g->facts->stats.result[i] = (real)(sum + low);
    }
}

/* ---- groups ---------------------------------------------------------------------------------------------------- */

static void run_whole_rows(struct group_view *g, struct row_reader *r) {
    struct row_group *group = &g->facts->group;
    struct pair sums[LANES];
    struct panel p;
    real one[LANES];
    set_panel(g, 0, &p);
    load_panel(r, &p, 1, NULL);
    place_whole_rows(r, &p);
    group->params = exp_params_for_max(v_load(r->max), g->temperature);
    if (g->op->collect) collect_whole_rows(g, r, &p);
    sum_panel(r, &p, &group->params, sums, NULL);
    finish_group(g, r, &p, transpose_reduce_add(sums, g->rows));
    if (!g->op->visits_classes) return;
    v_store(one, v_set1(1));
    map_panel(g, r, &p, one);
    if (g->op->per_row) store_row_results(g);
}

/* In place, e would overwrite what a second sum has to read. */
static int needs_max_first(const sl_job *job, const struct op *op) { return keeps_exp_in_output(job, op) && job->x == job->y; }

static void run_long_rows(struct group_view *g, struct row_reader *r) {
    const ptrdiff_t blocks = g->blocks.blocks;
    start_long_rows(g);
    if (needs_max_first(g->job, g->op)) {
        max_blocks(g, r, 0, blocks);
        find_shift_of_rows(&g->blocks, g->temperature, g->rows, g->facts->shift);
        sum_blocks(g, r, 0, blocks);
    } else {
        sum_blocks(g, r, 0, blocks);
        if (find_shift_of_rows(&g->blocks, g->temperature, g->rows, g->facts->shift)) sum_blocks(g, r, 0, blocks);
    }
    finish_long_rows(g, r);
    if (!g->op->visits_classes) return;
    map_blocks(g, r, 0, blocks);
    if (g->op->map == MAP_EXPECT) add_block_dots(g);
    if (g->op->per_row) store_row_results(g);
}

struct by_rows {
    struct group_view view;
    struct row_reader reader;
};
static struct by_rows open_by_rows(const sl_job *job, ptrdiff_t units, struct arena *arena) {
    struct by_rows s;
    const struct op *op = op_of(job);
    s.reader = open_rows(job, op, units, arena);
    s.view = open_group(job, op, s.reader.rows_per_group, arena);
    if (op->take_scratch) s.view.op_scratch = op->take_scratch(job, arena);
    return s;
}

/* Units first to last: rows, or outer indices where inner is not 1 */
static void by_rows(const sl_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    struct arena arena = {scratch, 0};
    struct by_rows s = open_by_rows(job, last - first, &arena);
    const ptrdiff_t end = last * job->inner, step = s.reader.rows_per_group;
    s.reader.end = end;
    for (ptrdiff_t row = first * job->inner; row < end; row += step) {
        start_group(&s.view, row, end - row < step ? end - row : step);
        if (s.reader.is_long) run_long_rows(&s.view, &s.reader);
        else run_whole_rows(&s.view, &s.reader);
    }
}

#endif
