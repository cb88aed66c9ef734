/* finish.inc.h: from the sums of rows to their statistics and to results with one number a row, the same in every layout. A layout only
   says how the classes of confident rows are summed again. */
#ifndef SL_FINISH_INC
#define SL_FINISH_INC
#include "rows/row_stats.inc.h"

static void store_results_of_group(const struct op *op, const struct row_group *g) {
    struct row_stats *s = g->stats;
    for (int i = 0; s->any_nonfinite && i < g->rows; i++)
        if (is_nonfinite(s, i)) s->result[i] = op->result_of_nonfinite(g, i);
    store_results(g->job, g->first, g->rows, s->result);
}

/* The sums of the classes below the maximum, for the confident rows of group j: one per lane. context: of the caller */
typedef struct pair sum_others_fn(void *context, int j);

/* sum: of each group, one row per lane. All of a group is set but its statistics. */
static void finish_groups(const struct op *op, struct row_group *groups, int count, const struct pair *sum, sum_others_fn *sum_others,
                          void *context) {
    for (int j = 0; j < count; j++) stats_from_sum(op, &groups[j], sum[j]);
    for (int j = 0; op->needs_log && j < count; j++) {
        if (groups[j].stats->any_confident) stats_fix_confident(sum_others(context, j), groups[j].stats);
        stats_log(&groups[j].params, groups[j].stats);
    }
    for (int j = 0; j < count; j++) {
        if (op->finish) op->finish(&groups[j]);
        if (op->per_row && !op->visits_classes) store_results_of_group(op, &groups[j]);
    }
}

#endif
