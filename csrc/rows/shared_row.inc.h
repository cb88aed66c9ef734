/* shared_row.inc.h: by_rows for one long row whose blocks threads share. parallel.c calls these steps one after the other, those on
   blocks for chunks of them at a time. Each step has any thread, with any scratch: what one leaves to another is in shared. */
#ifndef SL_SHARED_ROW_INC
#define SL_SHARED_ROW_INC
#include "rows/by_rows.inc.h"

/* What a thread needs of its own is in scratch, and what they share in shared. Each step lays both out alike. */
static void open_shared_row(struct by_rows *s, const sl_job *job, ptrdiff_t row, char *shared, char *scratch) {
    struct arena own = {scratch, 0}, common = {shared, 0};
    const struct op *op = op_of(job);
    open_rows(&s->reader, job, 1, &own);
    open_group(&s->view, job, 1, &common);
    if (op->take_scratch) s->view.op_scratch = op->take_scratch(job, &own);
    start_group(&s->view, row, 1); /* the view points into itself, so it stays where it is */
}

static void row_start(const sl_job *job, ptrdiff_t row, char *shared, char *scratch) {
    struct by_rows s;
    open_shared_row(&s, job, row, shared, scratch);
    start_long_rows(&s.view);
}
static void row_max_blocks(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, char *shared, char *scratch) {
    struct by_rows s;
    open_shared_row(&s, job, row, shared, scratch);
    max_blocks(&s.view, &s.reader, first, last);
}
static void row_sum_blocks(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, char *shared, char *scratch) {
    struct by_rows s;
    open_shared_row(&s, job, row, shared, scratch);
    sum_blocks(&s.view, &s.reader, first, last);
}
static int row_find_shift(const sl_job *job, ptrdiff_t row, char *shared, char *scratch) {
    struct by_rows s;
    open_shared_row(&s, job, row, shared, scratch);
    return find_shift(&s.view);
}
static void row_finish(const sl_job *job, ptrdiff_t row, char *shared, char *scratch) {
    struct by_rows s;
    open_shared_row(&s, job, row, shared, scratch);
    finish_long_rows(&s.view, &s.reader);
}
static void row_map_blocks(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, char *shared, char *scratch) {
    struct by_rows s;
    open_shared_row(&s, job, row, shared, scratch);
    map_blocks(&s.view, &s.reader, first, last);
}
static void row_store_result(const sl_job *job, ptrdiff_t row, char *shared, char *scratch) {
    struct by_rows s;
    open_shared_row(&s, job, row, shared, scratch);
    if (s.view.op->map == MAP_EXPECT) add_block_dots(&s.view);
    if (s.view.op->per_row) store_results_of_group(s.view.op, &s.view.facts->group);
}

#endif
