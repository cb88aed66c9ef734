/* by_rows.inc.h: the layout with the class axis along the lanes. A group of rows goes through these steps:

     1. for each panel: maximum -> range reduction -> collect targets -> sum of exponentials        sum_panel
     2. row statistics -> confident and nonfinite rows again -> finish                             finish_group
     3. for each panel: what the operation makes of its classes -> patch -> store                   map_panel

   A long row has a panel for each block (blocks.inc.h). Where a long row is far from zero, step 1 runs again, with its shift. This file
   knows no operation and no threads. */
#ifndef SL_BY_ROWS_INC
#define SL_BY_ROWS_INC
#include "rows/blocks.inc.h"
#include "rows/finish.inc.h"
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

/* A group, as one thread sees it. Arrays have an entry for each block. blocks, block_sum and block_dot are unset
   where they are not needed; part_maxima and op_scratch are NULL then. */
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

/* Field by field, as zeros for all of it would cost more than a short row */
static void open_group(struct group_view *g, const sl_job *job, ptrdiff_t rows, struct arena *arena) {
    const struct op *op = op_of(job);
    g->job = job;
    g->op = op;
    g->full_rows = rows;
    g->facts = arena_take(arena, sizeof *g->facts);
    g->temperature = NULL;
    g->part_maxima = NULL;
    g->op_scratch = NULL;
    if (job->n <= SL_BLOCK) return;
    const size_t entries = (size_t)(block_count(job) * rows);
    g->blocks = take_block_facts(job, rows, arena);
    g->block_sum = arena_take(arena, entries * sizeof *g->block_sum);
    if (op->map == MAP_EXPECT) g->block_dot = arena_take(arena, entries * 2 * sizeof *g->block_dot);
    if (op->keeps_part_maxima && job->inner == 1) g->part_maxima = take_reals(arena, g->blocks.blocks * PART_MAXIMA);
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

/* Where e and results go; e in scratch, or where the result goes */
static void place_panel(const struct row_reader *r, struct panel *p, int keeps_e, int e_in_scratch) {
    const sl_job *job = r->job;
    const int y_in_scratch = !writes_classes(r->op) || !y_is_native(job) || r->transposes;
    p->y = y_in_scratch ? r->buffer : (real *)job->y + element_of(r, p, 0);
    p->y_step = y_in_scratch ? r->stride : job->n;
    p->e = !keeps_e ? NULL : e_in_scratch ? r->buffer : p->y;
    p->e_step = e_in_scratch ? r->stride : p->y_step;
}
/* Rows that cross cache lines keep e in scratch, aligned, except where y is memory to be fetched anyway. Where x is in scratch, e takes its
   place. Operations that read x again keep it. */
static void place_whole_rows(const struct row_reader *r, struct panel *p) {
    const sl_job *job = r->job;
    const int in_place = rereads_x(r->op) && job->x == job->y;
    place_panel(r, p, keeps_exp(r->op), r->converts_ahead || (job->n % LANES && output_is_cached(job)) || in_place);
    if (p->e && r->transposes && rereads_x(r->op)) {
        p->e = r->next_buffer;
        p->e_step = r->stride;
    }
}

static void collect_whole_rows(const struct group_view *g, const struct row_reader *r, const struct panel *p) {
    const struct block x = block_of_x(p);
    clear_targets(&g->facts->targets);
    g->op->collect(g->job, &x, r->max, &g->facts->targets);
}

static void start_long_rows(const struct group_view *g) { v_store(g->facts->shift, v_set1(0)); }
/* What block b of a long row weighs, and how far below its maximum: deviations, from its sum */
static void keep_block_deviations(const struct group_view *g, ptrdiff_t b, double (*deviations)[2]) {
    for (ptrdiff_t i = 0; i < g->rows; i++) {
        real high[LANES], low[LANES];
        const struct pair *sum = &g->block_sum[b * g->full_rows + i];
        struct block_deviation *d = &g->blocks.deviations[b * g->full_rows + i];
        v_store(high, sum->high);
        v_store(low, sum->low);
        *d = (struct block_deviation){deviations[i][0], deviations[i][1], 0};
        for (int l = 0; l < LANES; l++) d->weight += (double)high[l] + (double)low[l];
    }
}
/* Blocks first to last of a long row */
static void sum_blocks(struct group_view *g, struct row_reader *r, ptrdiff_t first, ptrdiff_t last) {
    struct panel p;
    double deviations[LANES][2];
    r->end = last;
    r->max_known = 0;
    for (ptrdiff_t b = first; b < last; b++) {
        real *part_maxima = g->part_maxima ? g->part_maxima + b * PART_MAXIMA : NULL;
        set_panel(g, b, &p);
        load_panel(r, &p, 1, part_maxima);
        place_panel(r, &p, keeps_exp_in_output(g->job, g->op), 0);
        v_store(g->blocks.max + b * LANES, v_load(r->max));
        if (g->op->collect) {
            const struct block x = block_of_x(&p);
            collect_block(g->job, &g->blocks, &x, b);
        }
        const struct exp_params params = exp_params_of_block(v_load(r->max), v_load(g->facts->shift), g->temperature);
        sum_panel(r, &p, &params, g->block_sum + b * g->full_rows, part_maxima ? part_maxima + PART_MAXIMA : NULL,
                  g->op->sums_deviation ? deviations : NULL);
        if (g->op->sums_deviation) keep_block_deviations(g, b, deviations);
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
    find_block_scales(&g->blocks, &g->facts->group.params, g->rows);
    for (ptrdiff_t b = 0; b < g->blocks.blocks; b++) {
        const real *scale = g->blocks.scale + b * LANES;
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

/* Where the rows of a group are, for confident ones. panel: has the whole rows, or is NULL for long rows */
struct confident_rows {
    const struct row_group *group;
    const struct row_reader *reader;
    const struct panel *panel;
};
/* Confident rows, where the operation needs a logarithm: their other classes are summed alone. */
static struct pair sum_confident_rows(void *context, int j) {
    const struct confident_rows *c = context;
    const struct panel *p = c->panel;
    struct pair others[LANES];
    for (int i = 0; i < c->group->rows; i++) {
        const real *x = p && p->e != p->x ? p->x + i * p->x_step : NULL;
        others[i] = c->group->stats->confident[i] < 0 ? row_sum_without_max(c->group, i, x, c->reader->spare) : pair_zero();
    }
    (void)j; /* the only group */
    return transpose_reduce_add(others, c->group->rows);
}

/* p: the panel that has the whole rows, or NULL for long rows. The facts have params and targets already. */
static void finish_group(struct group_view *g, const struct row_reader *r, const struct panel *p, struct pair sum) {
    struct row_group *group = &g->facts->group;
    struct confident_rows rows = {group, r, p};
    group->job = g->job;
    group->first = g->first;
    group->rows = g->rows;
    group->stats = &g->facts->stats;
    group->targets = &g->facts->targets;
    group->x = p && !keeps_exp(g->op) ? p->x : NULL;
    group->x_step = p ? p->x_step : 0;
    group->tile = group->results = NULL;
    group->part_maxima = g->part_maxima;
    group->op_scratch = g->op_scratch;
    finish_groups(g->op, group, 1, &sum, sum_confident_rows, &rows);
}

/* Writes the shift of long rows; are some of them far from zero? */
static int find_shift(struct group_view *g) {
    const vec max = max_of_rows(g->job, g->op, g->first, g->rows, max_of_blocks(&g->blocks));
    return find_shift_of_rows(max, g->temperature, g->rows, g->facts->shift);
}

static void finish_long_rows(struct group_view *g, const struct row_reader *r) {
    struct group_facts *f = g->facts;
    const struct temperature_params *t = load_temperature(g->job, g->first, g->rows, &f->temperature); /* where other threads read it */
    const vec max = max_of_rows(g->job, g->op, g->first, g->rows, max_of_blocks(&g->blocks));
    f->group.params = exp_params_for_max(max, t);
    if (g->op->collect) add_block_targets(g->job, &g->blocks, g->rows, max, &f->targets);
    const struct pair sum = add_blocks(g);
    if (g->op->sums_deviation) add_block_deviations(&g->blocks, &f->group.params, g->rows, &f->stats);
    finish_group(g, r, NULL, sum);
}

/* ---- 3. from statistics to results ---------------------------------------------------------------------------- */

/* What the operation makes of the classes of rows */
SL_INLINE void map_rows_as(const struct group_view *g, const struct rows_map *m, const sl_dtype dtype) {
    if (scales_exp(g->op)) rows_scale(m, &g->facts->stats, dtype);
    else rows_shift_logits(m, &g->facts->stats, &g->facts->group.params, dtype);
}
static void map_rows(const struct group_view *g, const struct rows_map *m, const sl_dtype dtype) {
#if SL_REAL == 32
    if (dtype == SL_FLOAT16) map_rows_as(g, m, SL_FLOAT16);
    else if (dtype == SL_BFLOAT16) map_rows_as(g, m, SL_BFLOAT16);
    else map_rows_as(g, m, SL_FLOAT32);
#else
    map_rows_as(g, m, dtype);
#endif
}

/* One of the rows, in a group with special values. A certain probability rounds to 1 in 16 bits as it is. */
static void map_row_of_special_group(const struct group_view *g, const struct panel *p, const struct rows_map *m, sl_dtype dtype) {
    const sl_job *job = g->job;
    const struct row_stats *s = &g->facts->stats;
    const int i = m->first;
    const ptrdiff_t at = start_of_row(job, p->row + i) + p->first_class * job->inner;
    real *y = p->y + i * p->y_step;
    if (!is_nonfinite(s, i)) map_rows(g, m, dtype);
    else fill_nonfinite(job, g->op, at, job->inner, p->n, y, 1);
    if (dtype == OWN_DTYPE && has_certain(g->op, s) && s->confident[i] < 0) fix_certain(y, p->n);
    if (dtype != OWN_DTYPE && is_nonfinite(s, i)) store_converted(job, at, p->n, y);
}

/* From e or x to the results of a panel's rows, which are rounded to 16 bits as they are computed where nothing follows: p->y has
   nothing of them then. block_scale: of the blocks' e, or NULL */
static void map_panel_rows(const struct group_view *g, const struct row_reader *r, const struct panel *p, const real *block_scale) {
    const sl_job *job = g->job;
    const struct row_stats *s = &g->facts->stats;
    const int rounds = maps_to_16_bits(r), keeps_e = keeps_exp(g->op);
    struct rows_map m = {
        .rows = p->rows, .n = p->n, .y = p->y, .y_step = p->y_step, .flushes = job->mask != NULL, .block_scale = block_scale};
    m.from = keeps_e ? p->e : p->x;
    m.from_step = keeps_e ? p->e_step : p->x_step;
    if (rounds) {
        m.y = job->y;
        m.at = element_of(r, p, 0);
        m.y_step = job->n;
    }
    if (!s->any_nonfinite && !has_certain(g->op, s)) map_rows(g, &m, rounds ? job->y_dtype : OWN_DTYPE);
    else
        for (m.rows = 1; m.first < p->rows; m.first++) map_row_of_special_group(g, p, &m, rounds ? job->y_dtype : OWN_DTYPE);
}

static void map_panel(struct group_view *g, const struct row_reader *r, const struct panel *p, const real *block_scale) {
    map_panel_rows(g, r, p, block_scale);
    if (g->op->map == MAP_EXPECT) {
        const real *values = g->op->class_values(g->job) + p->first_class;
        for (int i = 0; i < p->rows; i++) {
            double low = 0;
            const double sum = row_expectation(p->y + i * p->y_step, values, p->n, &low);
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
    const int kept = keeps_exp_in_output(g->job, g->op);
    struct panel p;
    struct pair unused[LANES];
    r->end = last;
    r->max_known = 0;
    for (ptrdiff_t b = first; b < last; b++) {
        set_panel(g, b, &p);
        if (!kept) load_panel(r, &p, 0, NULL);
        place_panel(r, &p, keeps_exp(g->op), !kept);
        if (!kept && keeps_exp(g->op)) sum_panel(r, &p, &g->facts->group.params, unused, NULL, NULL);
        map_panel(g, r, &p, kept ? g->blocks.scale + b * LANES : NULL);
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
    double deviations[LANES][2];
    struct panel p;
    set_panel(g, 0, &p);
    load_panel(r, &p, 1, NULL);
    place_whole_rows(r, &p);
    group->params = exp_params_for_max(max_of_rows(g->job, g->op, g->first, g->rows, v_load(r->max)), g->temperature);
    if (g->op->collect) collect_whole_rows(g, r, &p);
    sum_panel(r, &p, &group->params, sums, NULL, g->op->sums_deviation ? deviations : NULL);
    for (int i = 0; g->op->sums_deviation && i < LANES; i++) {
        g->facts->stats.deviation[i] = i < g->rows ? deviations[i][0] : 0;
        g->facts->stats.deviation_low[i] = i < g->rows ? deviations[i][1] : 0;
    }
    finish_group(g, r, &p, transpose_reduce_add(sums, g->rows));
    if (!g->op->visits_classes) return;
    map_panel(g, r, &p, NULL);
    if (g->op->per_row) store_results_of_group(g->op, &g->facts->group);
}

/* In place, e would overwrite what a second sum has to read. */
static int needs_max_first(const sl_job *job, const struct op *op) { return keeps_exp_in_output(job, op) && job->x == job->y; }

static void run_long_rows(struct group_view *g, struct row_reader *r) {
    const ptrdiff_t blocks = g->blocks.blocks;
    start_long_rows(g);
    if (needs_max_first(g->job, g->op)) {
        max_blocks(g, r, 0, blocks);
        find_shift(g);
        sum_blocks(g, r, 0, blocks);
    } else {
        sum_blocks(g, r, 0, blocks);
        if (find_shift(g)) sum_blocks(g, r, 0, blocks);
    }
    finish_long_rows(g, r);
    if (!g->op->visits_classes) return;
    map_blocks(g, r, 0, blocks);
    if (g->op->map == MAP_EXPECT) add_block_dots(g);
    if (g->op->per_row) store_results_of_group(g->op, &g->facts->group);
}

struct by_rows {
    struct group_view view;
    struct row_reader reader;
};
static void open_by_rows(struct by_rows *s, const sl_job *job, ptrdiff_t units, struct arena *arena) {
    open_rows(&s->reader, job, units, arena);
    open_group(&s->view, job, s->reader.rows_per_group, arena);
    if (op_of(job)->take_scratch) s->view.op_scratch = op_of(job)->take_scratch(job, arena);
}

/* Units first to last: rows, or outer indices where inner is not 1 */
static void by_rows(const sl_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    struct arena arena = {scratch, 0};
    struct by_rows s;
    open_by_rows(&s, job, last - first, &arena);
    const ptrdiff_t end = last * job->inner, step = s.reader.rows_per_group;
    s.reader.end = end;
    for (ptrdiff_t row = first * job->inner; row < end; row += step) {
        start_group(&s.view, row, end - row < step ? end - row : step);
        if (s.reader.is_long) run_long_rows(&s.view, &s.reader);
        else run_whole_rows(&s.view, &s.reader);
    }
}

#endif
