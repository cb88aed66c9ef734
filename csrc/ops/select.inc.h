/* select.inc.h: the operations take, topk and rank: some classes of each row in place of all, and their probabilities. softlane.h has the
   order of classes. */
#ifndef SL_SELECT_INC
#define SL_SELECT_INC
#include "ops/candidates.inc.h"
#include "ops/class_weights.inc.h"
#include "rows/row_stats.inc.h"

SL_INLINE const sl_select_args *select_args(const sl_job *job) { return job->args; }
SL_INLINE int is_topk(const sl_job *job) { return job->op == SL_TOPK || job->op == SL_TOPK_PROBS || job->op == SL_TOPK_LOG_PROBS; }
SL_INLINE int selects_log_probs(const sl_job *job) { return job->op == SL_TAKE_LOG_PROBS || job->op == SL_TOPK_LOG_PROBS; }

/* A struct candidate_scratch, or NULL for given classes, which need none. Indices alone of columns need a block and no list. */
static void *take_select_scratch(const sl_job *job, struct arena *arena) {
    if (!is_topk(job) && job->op != SL_RANK) return NULL;
    const int by_columns = job->op == SL_TOPK && job->inner > 1;
    const ptrdiff_t columns = !by_columns ? 0 : job->inner < TILE_WIDTH ? job->inner : TILE_WIDTH, length = longest_block(job);
    struct candidate_scratch *s = arena_take(arena, sizeof *s);
    const struct candidate_scratch taken =
        take_candidate_scratch(job->n, length > columns ? length : columns, is_topk(job) && !by_columns ? select_args(job)->k : 0, arena);
    if (s) *s = taken;
    return s;
}

/* ---- topk ----------------------------------------------------------------------------------------------------- */

/* The maximum of a row, or NaN where it has a NaN or nothing above -inf */
static real max_or_nan(const sl_job *job, ptrdiff_t row, real *block) {
    vec nan = v_set1(0);
    real max = -INFINITY;
    if (x_is_native(job) && job->inner == 1) max = v_reduce_max(max_and_nan((const real *)job->x + row * job->n, job->n, &nan));
    else
        for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
            const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
            const real m = v_reduce_max(max_and_nan(load_row_block(job, row, b, n, block), n, &nan));
            max = m > max ? m : max;
        }
    return v_any_nan(nan) || max == -INFINITY ? (real)NAN : max;
}

/* The first k classes of a row. max: its maximum, or NaN where that is not known or the row has a NaN; maxima: those of its parts,
   which by_rows keeps, or NULL. */
static void find_topk(const sl_job *job, ptrdiff_t row, real max, const real *maxima, const struct candidate_scratch *s) {
    const sl_select_args *args = job->args;
    const sl_indices index = indices_from(&args->index, row * args->k);
    if (args->k == 1 && max == max) store_index(&index, 0, first_index_of_max(job, row, max, maxima, s->block));
    else find_first_classes(job, row, args->k, args->sorted, max == max ? maxima : NULL, s, &index);
}

/* The maxima of columns, one for each lane, with the first class that has them */
struct column_maxima {
    real max[TILE_WIDTH], first[TILE_WIDTH], nan[TILE_WIDTH];
};

/* Compares class k of some columns with the maxima so far. */
SL_INLINE void compare_class(struct column_maxima *m, const real *x, ptrdiff_t columns, ptrdiff_t k) {
    const vec number = v_set1((real)k), hit = v_set1(NAN);
    for (ptrdiff_t j = 0; j < columns; j += LANES) {
        const vec v = v_load_tail(x + j, columns - j < LANES ? columns - j : LANES, 0), max = v_load(m->max + j);
        v_store(m->first + j, v_select_lt(max, v, number, v_load(m->first + j)));
        v_store(m->max + j, v_select_lt(max, v, v, max));
        v_store(m->nan + j, v_select_eq(v, v, v_load(m->nan + j), hit));
    }
}

/* The first class of each column of a strip */
static void find_top_of_columns(const sl_job *job, struct strip strip, const struct candidate_scratch *s) {
    struct column_maxima m;
    const ptrdiff_t at = start_of_row(job, strip.first);
    for (ptrdiff_t j = 0; j < TILE_WIDTH; j++) {
        m.max[j] = -INFINITY;
        m.first[j] = m.nan[j] = 0;
    }
    for (ptrdiff_t k = 0; k < job->n; k++) compare_class(&m, load_block(job, at + k * job->inner, strip.rows, s->block), strip.rows, k);
    for (ptrdiff_t j = 0; j < strip.rows; j++) {
        const ptrdiff_t row = strip.first + j;
        const sl_indices index = indices_from(&select_args(job)->index, row);
        if (m.nan[j] != m.nan[j] || m.max[j] == -INFINITY) select_from_special_row(job, row, 1, NULL, 0, &index);
        else if ((int64_t)job->n < EXACT_INDEX_LIMIT) store_index(&index, 0, (int64_t)m.first[j]);
        else store_index(&index, 0, first_index_of_max(job, row, m.max[j], NULL, s->block));
    }
}

/* ---- rank ----------------------------------------------------------------------------------------------------- */

/* How many classes come before one that is NaN or -inf, or hidden */
static int64_t rank_of_special(const sl_job *job, ptrdiff_t row, int64_t k, real x) {
    const int hidden = is_hidden(job, row, k);
    int64_t rank = 0;
    for (int64_t c = 0; c < job->n; c++) {
        const real other = logit_at(job, row, c);
        if (x != x) rank += other != other && c < k;
        else if (other != -INFINITY) rank++;
        else rank += is_hidden(job, row, c) == hidden ? c < k : hidden;
    }
    return rank;
}

/* How many classes of a row come before one */
static int64_t rank_of(const sl_job *job, ptrdiff_t row, int64_t k, real *block) {
    const real x = logit_at(job, row, k);
    if (!(x > -INFINITY)) return rank_of_special(job, row, k, x);
    const struct class_weights counts = {job, row, NULL, block};
    return (int64_t)weight_of_prefix(&counts, 0, job->n, (struct order_prefix){x, (ptrdiff_t)k - 1});
}

/* ---- operations without values -------------------------------------------------------------------------------- */

/* The run function of SL_TOPK and SL_RANK */
static void select_rows(const sl_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    struct arena arena = {scratch, 0};
    const struct candidate_scratch *s = take_select_scratch(job, &arena);
    const sl_select_args *args = job->args;
    for (ptrdiff_t unit = first; unit < last; unit++) {
        const struct strip strip = strip_of_unit(job, unit);
        if (job->op == SL_TOPK && job->inner > 1) {
            find_top_of_columns(job, strip, s);
            continue;
        }
        for (ptrdiff_t row = strip.first; row < strip.first + strip.rows; row++) {
            const ptrdiff_t at = row * args->k;
            if (job->op == SL_TOPK) find_topk(job, row, args->k == 1 ? max_or_nan(job, row, s->block) : (real)NAN, NULL, s);
            for (ptrdiff_t j = 0; job->op == SL_RANK && j < args->k; j++)
                store_index(&args->rank, at + j, rank_of(job, row, index_at(&args->index, at + j), s->block));
        }
    }
}

/* ---- values of selected classes ------------------------------------------------------------------------------- */

/* What turns x of a class into its value: one row per lane, or one row in all lanes */
struct value_map {
    const struct exp_params *params;
    vec scale, scale_low; /* for probabilities */
    vec log_sum;          /* for log-probabilities */
};

/* The same steps as for whole rows, so that the bits are the same. */
SL_INLINE vec value_of_classes(int log, vec x, const struct value_map *map) {
    const struct exp_params *p = map->params;
    if (log) return shift_logit(x, p->max, map->log_sum, p->temperature);
    const struct exp_constants c = exp_constants_of(p);
    const vec shifted = v_sub(x, p->shift);
    struct pair unused = sum_begin();
    vec e;
    add_exp(1, &shifted, &c, &unused, &e);
    return scale_exp(e, map->scale, map->scale_low);
}

/* Replaces the values of one row that is nonfinite or confident. y[j] is that of the class at index place `at` + j. */
SL_NOINLINE void fix_special_values(const struct row_group *g, int lane, ptrdiff_t at, int count, real *y) {
    const sl_indices *index = &select_args(g->job)->index;
    const int log = selects_log_probs(g->job), confident = !log && g->stats->confident[lane] < 0;
    for (int j = 0; j < count; j++) {
        if (is_nonfinite(g->stats, lane)) {
            const real of_masked = log ? (real)-INFINITY : 0;
            y[j] = is_hidden(g->job, g->first + lane, index_at(index, at + j)) ? of_masked : (real)NAN;
        } else if (confident && y[j] > (real)0.5) y[j] = 1;
    }
}
SL_INLINE int has_special_rows(const struct row_group *g) { return g->stats->any_nonfinite || g->stats->any_confident; }

/* x of one class of each row: the maximum for topk, else of those given */
SL_INLINE vec selected_logits(const struct row_group *g) {
    if (is_topk(g->job)) return g->params.max;
    real x[LANES];
    for (int i = 0; i < LANES; i++) {
        const int64_t k = i < g->rows ? index_at(&select_args(g->job)->index, g->first + i) : 0;
        x[i] = i >= g->rows ? 0 : g->tile ? g->tile[k * g->tile_stride + i] : logit_at(g->job, g->first + i, k);
    }
    return v_load(x);
}

/* The values of one class of each row of a group, together */
static void store_one_value_each(const struct row_group *g) {
    const struct row_stats *stats = g->stats;
    const sl_indices *index = &select_args(g->job)->index;
    const int log = selects_log_probs(g->job);
    struct value_map map = {.params = &g->params};
    if (log) map.log_sum = v_load(stats->log_sum);
    else {
        map.scale = v_load(stats->scale);
        map.scale_low = v_load(stats->scale_low);
    }
    real y[LANES];
    if (!g->results) v_store(y, value_of_classes(log, selected_logits(g), &map));
    for (int i = 0; g->results && i < g->rows; i++) y[i] = g->results[index_at(index, g->first + i) * LANES + i];
    for (int i = 0; has_special_rows(g) && i < g->rows; i++) fix_special_values(g, i, g->first + i, 1, y + i);
    store_results(g->job, g->first, g->rows, y);
}

/* The values of k classes of one row of a group, a vector at a time */
static void store_values_of_row(const struct row_group *g, int lane, real max) {
    const sl_select_args *args = select_args(g->job);
    const ptrdiff_t k = args->k, row = g->first + lane;
    const int log = selects_log_probs(g->job);
    struct temperature_params temperature;
    const struct exp_params params = exp_params_for_max(v_set1(max), temperature_of_row(g->params.temperature, lane, &temperature));
    struct value_map map = {.params = &params};
    if (log) map.log_sum = v_set1(g->stats->log_sum[lane]);
    else {
        map.scale = v_set1(g->stats->scale[lane]);
        map.scale_low = v_set1(g->stats->scale_low[lane]);
    }
    for (ptrdiff_t j = 0; j < k; j += LANES) {
        const int count = (int)(k - j < LANES ? k - j : LANES);
        const ptrdiff_t at = row * k + j;
        real x[LANES], y[LANES];
        for (int l = 0; l < LANES; l++) x[l] = l < count ? logit_at(g->job, row, index_at(&args->index, at + l)) : 0;
        if (!g->results) v_store(y, value_of_classes(log, v_load(x), &map));
        for (int l = 0; g->results && l < count; l++) y[l] = g->results[index_at(&args->index, at + l) * LANES + lane];
        if (has_special_rows(g)) fix_special_values(g, lane, at, count, y);
        store_results(g->job, at, count, y);
    }
}

/* The first class with the maximum, of rows one per lane in a tile */
static void find_max_in_tile(const struct row_group *g, real *index) {
    vec found = v_set1(0);
    for (ptrdiff_t k = g->job->n - 1; k >= 0; k--)
        found = v_select_eq(v_load(g->tile + k * g->tile_stride), g->params.max, v_set1((real)k), found);
    v_store(index, found);
}

/* The first k classes of each row of a group. A nonfinite row has no use of its maximum or tile. */
static void find_topk_of_group(const struct row_group *g, const real *max) {
    const sl_select_args *args = select_args(g->job);
    const int in_tile = g->tile && args->k == 1;
    real found[LANES];
    if (in_tile) find_max_in_tile(g, found);
    for (int i = 0; i < g->rows; i++) {
        const ptrdiff_t row = g->first + i;
        const int nonfinite = is_nonfinite(g->stats, i);
        if (in_tile && !nonfinite) store_index(&args->index, row, (int64_t)found[i]);
        else if (g->x && args->k == 1 && !nonfinite)
            store_index(&args->index, row, first_not_below(g->x + i * g->x_step, g->job->n, max[i]));
        else find_topk(g->job, row, nonfinite ? (real)NAN : max[i], g->part_maxima, g->op_scratch);
    }
}

/* The hook of SL_TAKE_* and of SL_TOPK_* with values */
static void select_finish(struct row_group *g) {
    real max[LANES];
    v_store(max, g->params.max);
    if (is_topk(g->job)) find_topk_of_group(g, max);
    if (select_args(g->job)->k == 1) store_one_value_each(g);
    else
        for (int i = 0; i < g->rows; i++) store_values_of_row(g, i, max[i]);
}

#endif
