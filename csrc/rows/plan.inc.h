/* plan.inc.h: which layout a job has, how it is cut into units, and how much scratch a thread needs. The layout, and every order of
   summation, come from class count, inner length and compute type, never from the batch. How many rows go together may come from the
   batch: no bit depends on it. */
#ifndef SL_PLAN_INC
#define SL_PLAN_INC
#include "rows/by_rows.inc.h"
#include "rows/by_tiles.inc.h"
#include "rows/shared_row.inc.h"

static void plan_strips(const sl_job *job, sl_partition *p) {
    struct arena arena = {NULL, 0};
    const struct op *op = op_of(job);
    op->take_scratch(job, &arena);
    p->run = op->run;
    p->units = job->outer * strips_per_outer(job);
    p->unit_size = job->n * (job->inner < TILE_WIDTH ? job->inner : TILE_WIDTH);
    p->scratch = arena.used;
}
static void plan_planes(const sl_job *job, sl_partition *p) {
    struct arena arena = {NULL, 0};
    open_plane_tiles(job, &arena);
    p->run = planes_by_tiles;
    p->units = tile_count(job);
    p->unit_size = job->n * tile_width(job);
    p->scratch = arena.used;
}
static void plan_short_rows(const sl_job *job, sl_partition *p) {
    struct arena arena = {NULL, 0};
    open_short_rows(job, &arena);
    p->run = short_rows_by_tiles;
    p->units_per_group = TILE_VECTORS * LANES;
    p->scratch = arena.used;
}
static void plan_rows(const sl_job *job, sl_partition *p) {
    struct arena arena = {NULL, 0};
    struct by_rows s;
    open_by_rows(&s, job, job->outer, &arena);
    p->run = by_rows;
    p->unit_size = job->n * job->inner;
    p->units_per_group = s.reader.rows_per_group / job->inner;
    p->scratch = arena.used;
    if (!s.reader.is_long || job->inner > 1) return;
    struct arena shared = {NULL, 0};
    open_group(&s.view, job, 1, &shared);
    p->blocks = block_count(job);
    p->shared = shared.used;
    p->max_first = needs_max_first(job, op_of(job));
    p->maps = op_of(job)->visits_classes;
    p->stores_result = op_of(job)->visits_classes && op_of(job)->per_row;
}

static void plan(const sl_job *job, sl_partition *p) {
    *p = (sl_partition){.units = job->outer, .unit_size = job->n, .units_per_group = 1, .blocks = 1};
    if (op_of(job)->run) plan_strips(job, p);
    else if (job->inner == 1 && job->n <= SHORT_ROW) plan_short_rows(job, p);
    else if (job->inner == 1 || (job->inner < LANES && job->n > SHORT_ROW)) plan_rows(job, p);
    else plan_planes(job, p);
}

#endif
