/* rows.inc.h: compute. Rows whose classes lie side by side, along the lanes: a few together, or one in blocks.
   Part of kernels.inc.h, which has the steps that all forms share. */
#ifndef SL_BY_ROWS_INC
#define SL_BY_ROWS_INC
#include "ops/cross_entropy.inc.h"
#include "ops/select.inc.h"

/* ---- rows: one row along the lanes ---------------------------------------------------------------------------- */

static R row_max(const R *x, ptrdiff_t n) {
    const vec lowest = v_set1(-INFINITY);
    vec a = lowest, b = lowest, c = lowest, d = lowest;
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) { /* max(x, a) keeps a where x is NaN: the sum will show it */
        a = v_max(v_load(x + i), a);
        b = v_max(v_load(x + i + LANES), b);
        c = v_max(v_load(x + i + 2 * LANES), c);
        d = v_max(v_load(x + i + 3 * LANES), d);
    }
    for (; i + LANES <= n; i += LANES) a = v_max(v_load(x + i), a);
    if (i < n) b = v_max(v_load_tail(x + i, n - i, -INFINITY), b);
    return v_reduce_max(v_max(v_max(a, b), v_max(c, d)));
}

/* The row, or block, that is computed after another one, and read along with it, in time that its way from memory would take
   anyway: its maximum is found, and what cannot be read where it is goes to scratch. */
typedef struct {
    sl_storage storage;
    const void *x; /* its elements from number at on */
    ptrdiff_t at;
    const unsigned char *mask;
    R *to; /* NULL: it is read where it is. Else it is of the types of sl_converts_ahead, and has no temperature */
} lookahead;

SL_INLINE lookahead lookahead_at(const R *x) { return (lookahead){OWN_STORAGE, x, 0, NULL, NULL}; }

/* count of its elements from i on */
SL_INLINE vec load_lookahead(const sl_storage storage, const lookahead *next, ptrdiff_t i, ptrdiff_t count) {
    const vec v = load_visible(storage, next->x, next->mask, next->at + i, count);
    if (next->to) v_store(next->to + i, v);
    return v;
}

SL_INLINE void row_exp_sum_step(int u, const R *x, const vec *magic, const vec *clamp, const temperature_params *heat, v_table table,
                                pair *sum, R *e, const R *y, const sl_storage storage, const lookahead *next, ptrdiff_t at, vec *most) {
    const ptrdiff_t size = (ptrdiff_t)element_size(storage), line = 64 / (LANES * size);
    vec v[UNROLL];
    for (int i = 0; i < u; i++) most[i] = v_max(load_lookahead(storage, next, at + i * LANES, LANES), most[i]);
    for (int i = 0; i < u; i += (int)line) sl_prefetch((const char *)next->x + (next->at + at + i * LANES) * size + SL_PREFETCH);
    if (next->mask) sl_prefetch(next->mask + next->at + at + SL_PREFETCH / 4);
    for (int i = 0; i < u; i++) v[i] = v_load(x + i * LANES);
    add_exp(u, v, magic, clamp, heat, table, sum, v);
    if (!e) return;
    for (int i = 0; i < u; i++) {
        sl_prefetch((const char *)(y + i * LANES) + SL_PREFETCH);
        v_store(e + i * LANES, v[i]);
    }
}

/* The sum of e(x) in LANES fixed lanes; e itself into e, unless that is NULL. e may be x.
   next is the row to be worked on then, x itself where there is none: n elements, whose maximum goes to max.
   maxima: those of its parts, if n is a multiple of them; or NULL. */
SL_INLINE pair row_exp_sum_as(const R *x, ptrdiff_t n, R row_magic, R row_clamp, const temperature_params *heat, R row_ceiling, R *e,
                              const R *y, const sl_storage storage, const lookahead next, R *max, R *maxima) {
    const vec magic = v_set1(row_magic), clamp = v_set1(row_clamp), ceiling = v_set1(row_ceiling);
    temperature_params own; /* where no store can change it */
    if (heat) own = *heat;
    heat = heat ? &own : NULL;
    const v_table table = v_load_table(exp_table);
    pair sum = sum_begin(ceiling);
    vec m[UNROLL], most = v_set1(-INFINITY);
    for (int i = 0; i < UNROLL; i++) m[i] = most;
    ptrdiff_t i = 0;
    for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
        row_exp_sum_step(UNROLL, x + i, &magic, &clamp, heat, table, &sum, e ? e + i : NULL, y + i, storage, &next, i, m);
        if ((i + UNROLL * LANES) % (SL_VECTORS_PER_MAXIMUM * LANES)) continue;
        sum = pair_renormalize(sum); /* keeps low small, and its rounding */
        if (!maxima) continue;
        for (int k = 1; k < UNROLL; k++) m[0] = v_max(m[k], m[0]);
        v_store(maxima, m[0]);
        maxima += LANES;
        most = v_max(m[0], most);
        for (int k = 0; k < UNROLL; k++) m[k] = v_set1(-INFINITY);
    }
    m[0] = v_max(most, m[0]);
    for (; i + 2 * LANES <= n; i += 2 * LANES)
        row_exp_sum_step(2, x + i, &magic, &clamp, heat, table, &sum, e ? e + i : NULL, y + i, storage, &next, i, m);
    for (; i + LANES <= n; i += LANES)
        row_exp_sum_step(1, x + i, &magic, &clamp, heat, table, &sum, e ? e + i : NULL, y + i, storage, &next, i, m);
    if (i < n) {
        vec v = v_load_tail(x + i, n - i, -INFINITY);
        m[0] = v_max(load_lookahead(storage, &next, i, n - i), m[0]);
        add_exp(1, &v, &magic, &clamp, heat, table, &sum, &v);
        if (e && e != y) v_store(e + i, v);
        else if (e) v_store_tail(e + i, n - i, v);
    }
    for (int k = 1; k < UNROLL; k++) m[0] = v_max(m[k], m[0]);
    *max = v_reduce_max(m[0]);
    return sum_end(sum, ceiling);
}
#define SUM(heat, storage, next)                                                           \
    (e ? row_exp_sum_as(x, n, magic, clamp, heat, ceiling, e, y, storage, next, max, NULL) \
       : row_exp_sum_as(x, n, magic, clamp, heat, ceiling, NULL, x, storage, next, max, NULL))
SL_INLINE pair row_exp_sum(const R *x, ptrdiff_t n, R magic, R clamp, const temperature_params *heat, R ceiling, R *e, const R *y,
                           const R *next_x, R *max) {
    return heat ? SUM(heat, OWN_STORAGE, lookahead_at(next_x)) : SUM(NULL, OWN_STORAGE, lookahead_at(next_x));
}
/* The same where the next row goes to scratch. A type that sl_converts_ahead names has to be here. */
static pair row_exp_sum_and_convert(const R *x, ptrdiff_t n, R magic, R clamp, R ceiling, R *e, const R *y, const lookahead *next, R *max) {
    const lookahead all = {next->storage, next->x, next->at, NULL, next->to};
    switch (next->storage) {
#if SL_REAL == 32
        case SL_FLOAT16: return next->mask ? SUM(NULL, SL_FLOAT16, *next) : SUM(NULL, SL_FLOAT16, all);
        case SL_BFLOAT16: return next->mask ? SUM(NULL, SL_BFLOAT16, *next) : SUM(NULL, SL_BFLOAT16, all);
        case SL_UINT8: return next->mask ? SUM(NULL, SL_UINT8, *next) : SUM(NULL, SL_UINT8, all);
#endif
        default: return next->mask ? SUM(NULL, OWN_STORAGE, *next) : SUM(NULL, OWN_STORAGE, all);
    }
}
#undef SUM

/* e * scale * (high + low): the power of two first, as high with it could be too small a number for all its bits. y from index at
   on, of any type for results. least: as of a verdict. */
SL_INLINE void row_scale_if(const int hides, const R *e, ptrdiff_t n, R scale, R high, R low, R least, const sl_storage storage, void *y,
                            ptrdiff_t at) {
    const vec s = v_set1(scale), h = v_set1(high), l = v_set1(low), bar = v_set1(least / scale);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) store_ahead(storage, y, at + i, scale_exp(v_mul(flush_below(v_load(e + i), hides, bar), s), h, l));
    if (i < n) store_vector(storage, y, at + i, n - i, scale_exp(v_mul(flush_below(v_load_tail(e + i, n - i, 0), hides, bar), s), h, l));
}
SL_INLINE void row_scale(const R *e, ptrdiff_t n, R scale, R high, R low, R least, const sl_storage storage, void *y, ptrdiff_t at) {
    if (least > 0) row_scale_if(1, e, n, scale, high, low, least, storage, y, at);
    else row_scale_if(0, e, n, scale, high, low, 0, storage, y, at);
}

SL_INLINE void row_subtract(const R *x, ptrdiff_t n, R max, R log, const temperature_params *heat, const sl_storage storage, void *y,
                            ptrdiff_t at) {
    const vec m = v_set1(max), l = v_set1(log);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) store_ahead(storage, y, at + i, shift_logit(v_load(x + i), m, l, heat));
    if (i < n) store_vector(storage, y, at + i, n - i, shift_logit(v_load_tail(x + i, n - i, 0), m, l, heat));
}

static void row_shift(const R *x, ptrdiff_t n, R shift, R *y) {
    for (ptrdiff_t i = 0; i < n; i++) y[i] = x[i] - shift;
}

/* Rows of which one class takes all: the product may be an ulp short of 1. */
static void fix_certain(R *y, ptrdiff_t n) {
    const vec half = v_set1((R)0.5), one = v_set1(1);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const ptrdiff_t k = n - i < LANES ? n - i : LANES;
        const vec v = v_load_tail(y + i, k, 0);
        v_store_tail(y + i, k, v_select_lt(half, v, one, v));
    }
}

static int row_has_nan(const sl_job *job, ptrdiff_t row, R *block) {
    for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
        const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
        const R *x = load_row_block(job, row, b, n, block);
        for (ptrdiff_t i = 0; i < n; i++)
            if (x[i] != x[i]) return 1;
    }
    return 0;
}

/* The sum of e of the classes of a confident row below its maximum, in LANES lanes; the row is read again, block by block */
static pair row_sum_without_max(const sl_job *job, ptrdiff_t row, const exp_params *plan, int lane, R *block) {
    const vec magic = v_lane(plan->magic, lane), clamp = v_lane(plan->clamp, lane);
    const vec shift = v_lane(plan->shift, lane), max = v_lane(plan->reduced, lane);
    const v_table table = v_load_table(exp_table);
    temperature_params own;
    const temperature_params *heat = temperature_of_row(plan->heat, lane, &own);
    pair sum = {v_set1(0), v_set1(0)};
    for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
        const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
        const R *x = load_row_block(job, row, b, n, block);
        vec v[UNROLL];
        ptrdiff_t i = 0;
        for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
            for (int k = 0; k < UNROLL; k++) v[k] = v_sub(v_load(x + i + k * LANES), shift);
            add_exp_without_max(UNROLL, v, max, &magic, &clamp, heat, table, &sum);
        }
        for (; i < n; i += LANES) {
            v[0] = v_sub(v_load_tail(x + i, n - i < LANES ? n - i : LANES, -INFINITY), shift);
            add_exp_without_max(1, v, max, &magic, &clamp, heat, table, &sum);
        }
        sum = pair_renormalize(sum);
    }
    return sum;
}

/* One row per lane: plan and sums to results. rows of them are real; the first is row number first. */
static void finish_group(const sl_job *job, ptrdiff_t first, int rows, const exp_params *plan, pair sum, R *block, row_results *r) {
    row_stats v;
    stats_from_sum(job, plan, sum, &v);
    r->heat = plan->heat;
    R few[LANES], poison[LANES], max[LANES];
    r->rare = v.any_few || v.any_bad;
    if (r->rare) {
        v_store(few, v.few);
        v_store(poison, v.poison);
        v_store(max, plan->max);
    }
    if (job->op != SL_SOFTMAX) {
        if (v.any_few) {
            pair others[LANES];
            for (int i = 0; i < rows; i++)
                others[i] = few[i] < 0 ? row_sum_without_max(job, first + i, plan, i, block) : (pair){v_set1(0), v_set1(0)};
            stats_fix_confident(transpose_reduce_add(others, rows), &v);
        }
        stats_log(job->op, plan, &v);
    }
    if (job->loss) {
        memcpy(r->log, v.log, sizeof r->log);
        r->z = v.z;
        v_store(r->poison, v.poison);
    }
    v_store(r->a, v.a);
    v_store(r->least, v.least);
    v_store(r->b, v.b);
    if (!r->rare) return;
    for (int i = 0; i < rows; i++) {
        r->bad[i] = poison[i] != poison[i];
        r->certain[i] = few[i] < 0;
        if (r->bad[i] && job->op == SL_LOGSUMEXP) r->a[i] = row_has_nan(job, first + i, block) ? (R)NAN : max[i]; /* -inf, +inf */
    }
}

/* The losses of those rows; for a gradient, what e is to be multiplied by. */
static void finish_losses(const sl_job *job, ptrdiff_t first, int rows, const exp_params *plan, targets *targets, row_results *r) {
    vec a = v_load(r->a), b = v_load(r->b);
    cross_entropy_finish(job, first, rows, plan, targets, r->log, &r->z, v_load(r->poison), &a, &b);
    v_store(r->a, a);
    v_store(r->b, b);
}

/* The last step of (a block of) row i of those, into y from index `to` on. source: e for softmax, x for log_softmax. */
SL_INLINE void map_row(const sl_job *job, const R *source, ptrdiff_t n, const row_results *r, int i, R scale, const sl_storage storage,
                       void *y, ptrdiff_t to) {
    temperature_params own;
    if (sl_keeps_exp(job)) row_scale(source, n, scale, r->a[i], r->b[i], r->least[i], storage, y, to);
    else row_subtract(source, n, r->a[i], r->b[i], temperature_of_row(r->heat, i, &own), storage, y, to);
}
/* The same for any row; at is where it begins in x. */
SL_INLINE void finish_row(const sl_job *job, ptrdiff_t at, const R *source, ptrdiff_t n, const row_results *r, int i, R scale, R *y) {
    map_row(job, source, n, r, i, scale, OWN_STORAGE, y, 0);
    if (!r->rare) return;
    if (r->bad[i]) fill_nonfinite(job, at, job->inner, n, y, 1);
    else if (job->op == SL_SOFTMAX && r->certain[i]) fix_certain(y, n);
}
/* The same into the job's y. Results of another type come from y here, or, but for bad rows, at once (a certain 1 rounds to 1 there);
   then y has nothing. */
SL_INLINE void store_row(const sl_job *job, ptrdiff_t at, const R *source, ptrdiff_t n, const row_results *r, int i, R scale, R *y) {
    const int last_step = !job->loss && !job->values;
#if SL_REAL == 32
    if (last_step && !y_is_native(job) && !(r->rare && r->bad[i])) {
        if (job->y_storage == SL_FLOAT16) map_row(job, source, n, r, i, scale, SL_FLOAT16, job->y, at);
        else map_row(job, source, n, r, i, scale, SL_BFLOAT16, job->y, at);
        return;
    }
#endif
    finish_row(job, at, source, n, r, i, scale, y);
    if (last_step && !y_is_native(job)) store_converted(job, at, n, y);
}

/* Some rows on their way: what is read, where the result goes, and where e is kept in between. */
typedef struct {
    ptrdiff_t first;
    int rows;
    const R *x[LANES];
    R *y[LANES], *e[LANES];
    ptrdiff_t y_step; /* from one y to the next */
    targets targets;
    row_results results;
} row_group;

static void map_group(const sl_job *job, row_group *g) {
    row_results *r = &g->results;
    if (job->op == SL_LOGSUMEXP) store_results(job, g->first, g->rows, r->a);
    if (!sl_visits_classes(job)) return;
    for (int i = 0; i < g->rows; i++)
        store_row(job, (g->first + i) * job->n, sl_keeps_exp(job) ? g->e[i] : g->x[i], job->n, r, i, 1, g->y[i]);
    if (job->values) {
        R mean[LANES];
        for (int i = 0; i < g->rows; i++) {
            double lost = 0;
            const double sum = expectation_of_row(g->y[i], job->values, job->n, &lost);
            mean[i] = (R)(sum + lost);
        }
        store_results(job, g->first, g->rows, mean);
        return;
    }
    if (!job->loss) return;
    subtract_targets(job, g->first, g->rows, 0, job->n, &g->targets, g->y[0], g->y_step, 1);
    for (int i = 0; i < g->rows; i++) store_converted(job, (g->first + i) * job->n, job->n, g->y[i]);
}

/* SL_SHORT < n <= SL_BLOCK. As many rows go together as the first-level cache holds with all that belongs to them. */
void by_rows(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t n = job->n;
    const ptrdiff_t stride = sl_row_stride(n, LANES);
    ptrdiff_t together = sl_rows_together(job, LANES);
    if (together > last - first) together = last - first;
    R *block = scratch, *kept = block + SL_BLOCK, *kept_next = kept + together * stride;
    const int native = x_is_native(job), converts = sl_converts_ahead(job);
    /* Rows that cross cache lines: e is kept aside, aligned, except where the output is memory to be fetched anyway. Where x is in
       scratch, e takes its place. And a gradient in place must leave x for those rows that finish_rows reads again. */
    const int aside = converts || (n % LANES && sl_cached(job)) || (job->op == SL_CROSS_ENTROPY_GRAD && job->x == job->y);
    row_group group = {0}, *g = &group; /* lanes without a row are computed with as well */
    temperature_params warm, own;
    const temperature_params *heat = NULL;
    R max[LANES] = {0};
    for (ptrdiff_t row = first; row < last; row += together) {
        g->first = row;
        g->rows = (int)(last - row < together ? last - row : together);
        R magic[LANES], clamp[LANES], shift[LANES];
        for (int i = 0; i < g->rows; i++) {
            if (native) g->x[i] = (const R *)job->x + (row + i) * n;
            else {
                g->x[i] = kept + i * stride;
                if (!converts || row == first)
                    max[i] = convert_block(job->x_storage, job->x, job->mask, (row + i) * n, n, kept + i * stride);
            }
            g->y[i] = job->values ? kept + i * stride : output_at(job, (row + i) * n, kept + i * stride);
            g->e[i] = aside ? kept + i * stride : g->y[i];
            if (native && row == first) max[i] = row_max(g->x[i], n); /* else known from the step before */
        }
        if (!heat || job->temperature_step) heat = load_temperature(job, row, g->rows, &warm);
        const exp_params plan = exp_params_for_max(v_load(max), heat, 1);
        v_store(magic, plan.magic);
        v_store(clamp, plan.clamp);
        v_store(shift, plan.shift);
        pair sums[LANES];
        const ptrdiff_t x_step = native ? n : stride;
        g->y_step = y_is_native(job) && !job->values ? n : stride;
        if (job->loss) {
            clear_targets(&g->targets);
            collect_targets(job, row, g->rows, 0, n, g->x[0], x_step, 1, max, &g->targets);
        }
        for (int i = 0; i < g->rows; i++) {
            const R *source = g->x[i];
            if (shift[i] != 0) {
                row_shift(source, n, shift[i], block);
                source = block;
            }
            const ptrdiff_t next = row + together + i;
            R *e = sl_keeps_exp(job) ? g->e[i] : NULL;
            if (converts && next < last) {
                const lookahead ahead = {job->x_storage, job->x, next * n, job->mask, kept_next + i * stride};
                sums[i] = row_exp_sum_and_convert(source, n, magic[i], clamp[i], SUM_ANCHOR, e, g->y[i], &ahead, &max[i]);
                continue;
            }
            const R *next_x = native && next < last ? g->x[i] + together * n : source;
            sums[i] =
                row_exp_sum(source, n, magic[i], clamp[i], temperature_of_row(heat, i, &own), SUM_ANCHOR, e, g->y[i], next_x, &max[i]);
        }
        finish_group(job, row, g->rows, &plan, transpose_reduce_add(sums, g->rows), block, &g->results);
        if (job->choice) select_finish(job, row, g->rows, &plan, &g->results, NULL, 0, NULL);
        if (job->loss) finish_losses(job, row, g->rows, &plan, &g->targets, &g->results);
        map_group(job, g);
        if (!converts) continue;
        R *spare = kept;
        kept = kept_next;
        kept_next = spare;
    }
}

/* ---- long rows: blocks of SL_BLOCK ---------------------------------------------------------------------------- */

/* Each block has its own plan, from its own maximum, so that x is read from memory once. Plans differ by a power of two,
   which is put right where sums and results come together. Only a row far from zero needs to know its maximum first:
   long_shift finds out, and long_sum runs again. In place that would be too late, so long_max runs before. */

typedef struct {
    row_results results;
    R k, shift; /* of the row's plan */
    targets targets;
    temperature_params heat;
} long_stats;
_Static_assert(sizeof(long_stats) <= SL_STATS, "long_stats");

SL_INLINE ptrdiff_t block_length(const sl_job *job, ptrdiff_t b) {
    return job->n - b * SL_BLOCK < SL_BLOCK ? job->n - b * SL_BLOCK : SL_BLOCK;
}

void long_max(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    for (ptrdiff_t b = first; b < last; b++) {
        const ptrdiff_t n = block_length(job, b);
        shared->max[b] = row_max(load_block(job, row * job->n + b * SL_BLOCK, n, scratch), n);
    }
}

static R max_of_blocks(const sl_job *job, const sl_long *shared) {
    R m = -INFINITY;
    for (ptrdiff_t b = 0; b < sl_block_count(job); b++) m = shared->max[b] > m ? (R)shared->max[b] : m;
    return m;
}

void long_shift(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    (void)first, (void)last, (void)scratch;
    R shift[LANES];
    temperature_params heat;
    v_store(shift, exp_params_for_max(v_set1(max_of_blocks(job, shared)), load_temperature(job, row, 1, &heat), 1).shift);
    shared->shift = shift[0];
}

/* The plan of a block with maximum max; one far below zero, in a row that is not, keeps to what a plan can stand. */
static exp_params exp_params_of_block(R max, R shift, const temperature_params *heat) {
    const R reduced = max - shift, lowest = -SHIFT_FROM * (heat ? (R)heat->exact[0] : 1);
    return exp_params_for_max(v_set1(reduced > lowest ? reduced : lowest), heat, 0);
}

/* e of a block, unless it is NULL, and its sum; maxima as for row_sum_into, where e is NULL and the next block is of R */
static pair block_sum(const R *x, ptrdiff_t n, R shift, const exp_params *plan, R *e, const lookahead *next, R *max, R *maxima, R *block) {
    R magic[LANES], clamp[LANES];
    v_store(magic, plan->magic);
    v_store(clamp, plan->clamp);
    if (shift != 0) {
        row_shift(x, n, shift, block);
        x = block;
    }
    if (next && next->to) return row_exp_sum_and_convert(x, n, magic[0], clamp[0], SUM_ANCHOR, e, e, next, max);
    const R *next_x = next ? (const R *)next->x + next->at : x;
    if (!maxima) return row_exp_sum(x, n, magic[0], clamp[0], plan->heat, SUM_ANCHOR, e, e, next_x, max);
    const lookahead ahead = lookahead_at(next_x);
    if (plan->heat) return row_exp_sum_as(x, n, magic[0], clamp[0], plan->heat, SUM_ANCHOR, NULL, x, OWN_STORAGE, ahead, max, maxima);
    return row_exp_sum_as(x, n, magic[0], clamp[0], NULL, SUM_ANCHOR, NULL, x, OWN_STORAGE, ahead, max, maxima);
}

/* The maximum of a block, and those of its parts */
static R block_max(const R *x, ptrdiff_t n, R *maxima) {
    if (!maxima) return row_max(x, n);
    const ptrdiff_t part = SL_VECTORS_PER_MAXIMUM * LANES;
    vec most = v_set1(-INFINITY), unused = most;
    for (ptrdiff_t i = 0; i < n; i += part, maxima += LANES) {
        const vec m = max_and_nan(x + i, n - i < part ? n - i : part, &unused);
        v_store(maxima, m);
        most = v_max(m, most);
    }
    return v_reduce_max(most);
}

/* Is e of a block kept in the output? Not if that is of another type, or the logits of a gradient, which finish_rows may have to read
   again: then write has to find e once more. */
SL_INLINE int keeps_exp_in_output(const sl_job *job) {
    return sl_keeps_exp(job) && y_is_native(job) && !job->values && !(job->op == SL_CROSS_ENTROPY_GRAD && job->x == job->y);
}

/* Blocks of a long row, one after the other: the one that is computed, and the whole one after it, read along with it. */
typedef struct {
    const sl_job *job;
    ptrdiff_t row, last;
    int sums;           /* is a sum made of each block? Only then the next one is read along */
    R *scratch, *spare; /* where blocks become R: this one, and the one that is read along */
    const R *x;
    ptrdiff_t at, n;
    lookahead next;
    int goes_on;
} block_cursor;
SL_INLINE block_cursor first_block(const sl_job *job, ptrdiff_t row, ptrdiff_t last, int sums, R *scratch) {
    return (block_cursor){.job = job, .row = row, .last = last, .sums = sums, .scratch = scratch, .spare = scratch + SL_BLOCK};
}
/* To block b; returns whether its maximum is known from the one before. */
static int next_block(block_cursor *w, ptrdiff_t b) {
    const sl_job *job = w->job;
    const int converts = sl_converts_ahead(job), known = w->goes_on;
    w->at = w->row * job->n + b * SL_BLOCK;
    w->n = block_length(job, b);
    if (known && converts) {
        R *spare = w->scratch;
        w->x = w->scratch = w->spare;
        w->spare = spare;
    } else w->x = load_block(job, w->at, w->n, w->scratch);
    w->goes_on = w->sums && (x_is_native(job) || converts) && b + 1 < w->last && block_length(job, b + 1) == SL_BLOCK;
    w->next = (lookahead){job->x_storage, job->x, w->at + SL_BLOCK, job->mask, converts ? w->spare : NULL};
    return known;
}

/* Distances of a block are from its own maximum, or from 0 if that is not finite. */
SL_INLINE double margin_origin(const sl_long *shared, ptrdiff_t b) { return isfinite(shared->max[b]) ? shared->max[b] : 0; }
static void collect_block_targets(const sl_job *job, ptrdiff_t row, ptrdiff_t b, const R *x, ptrdiff_t n, sl_long *shared) {
    targets t;
    const R origin = (R)margin_origin(shared, b);
    clear_targets(&t);
    collect_targets(job, row, 1, b * SL_BLOCK, n, x, n, 1, &origin, &t);
    if (t.q[0] != 0) shared->picked = t.x[0];
    shared->q[b] = t.q[0];
    shared->spread[b] = t.spread[0];
    shared->distance[b] = t.distance[0];
}
static void combine_block_targets(const sl_job *job, ptrdiff_t row, double m, const sl_long *shared, targets *t) {
    const sl_loss *loss = job->loss;
    clear_targets(t);
    t->ignored[0] = loss->target && loss->target[loss->first + row] == loss->ignore;
    t->x[0] = (R)shared->picked;
    for (ptrdiff_t b = 0; b < sl_block_count(job); b++) {
        t->q[0] += shared->q[b];
        t->spread[0] += shared->spread[b];
        t->distance[0] += shared->distance[b];
        if (shared->spread[b] != 0) t->distance[0] += shared->spread[b] * (m - margin_origin(shared, b));
    }
}

/* The maxima and sums of the blocks; where y keeps e, that as well. */
void long_sum(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    temperature_params warm;
    const temperature_params *heat = load_temperature(job, row, 1, &warm);
    block_cursor w = first_block(job, row, last, 1, scratch);
    R max = 0;
    for (ptrdiff_t b = first; b < last; b++) {
        R *maxima = shared->maxima ? (R *)shared->maxima + b * SL_BLOCK / SL_VECTORS_PER_MAXIMUM : NULL;
        if (!next_block(&w, b)) max = block_max(w.x, w.n, maxima);
        shared->max[b] = max;
        if (job->loss) collect_block_targets(job, row, b, w.x, w.n, shared);
        const exp_params plan = exp_params_of_block(max, (R)shared->shift, heat);
        R *e = keeps_exp_in_output(job) ? (R *)job->y + w.at : NULL;
        R *later = maxima && w.goes_on ? maxima + SL_BLOCK / SL_VECTORS_PER_MAXIMUM : NULL;
        const pair s = block_sum(w.x, w.n, (R)shared->shift, &plan, e, w.goes_on ? &w.next : NULL, &max, later, w.scratch);
        v_store((R *)shared->high + b * LANES, s.high);
        v_store((R *)shared->low + b * LANES, s.low);
    }
}

/* 2^(k of a block - k of the row): 0 where nothing of the block is left in the result */
SL_INLINE R block_scale(const exp_params *plan, R k) {
    R own[LANES];
    v_store(own, plan->k);
    return own[0] - k < -EXP_DEPTH ? 0 : (R)ldexp(1.0, (int)(own[0] - k));
}

void long_finish(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    long_stats *stats = shared->stats;
    const temperature_params *heat = load_temperature(job, row, 1, &stats->heat);
    const exp_params plan = exp_params_for_max(v_set1(max_of_blocks(job, shared)), heat, 1);
    R k[LANES], h[LANES], l[LANES];
    v_store(k, plan.k);
    stats->k = k[0];
    stats->shift = (R)shared->shift;
    pair sums[LANES];
    sums[0] = (pair){v_set1(0), v_set1(0)};
    for (ptrdiff_t b = first; b < last; b++) {
        const exp_params own = exp_params_of_block((R)shared->max[b], (R)shared->shift, heat);
        const vec scale = v_set1(block_scale(&own, k[0]));
        const pair s = {v_mul(v_load((R *)shared->high + b * LANES), scale), v_mul(v_load((R *)shared->low + b * LANES), scale)};
        sums[0] = pair_renormalize(pair_add(sums[0], s));
    }
    pair sum = transpose_reduce_add(sums, 1);
    v_store(h, sum.high);
    v_store(l, sum.low);
    sum = (pair){v_set1(h[0]), v_set1(l[0])};
    finish_group(job, row, 1, &plan, sum, scratch, &stats->results);
    if (job->choice) select_finish(job, row, 1, &plan, &stats->results, NULL, 0, shared->maxima);
    shared->shift = 0; /* for the next row */
    if (job->loss) {
        combine_block_targets(job, row, max_of_blocks(job, shared), shared, &stats->targets);
        finish_losses(job, row, 1, &plan, &stats->targets, &stats->results);
        shared->picked = 0; /* for the next row: a target of weight 0 leaves it as it is */
    }
    if (job->op == SL_LOGSUMEXP) store_results(job, row, 1, stats->results.a);
}

void long_write(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    const long_stats *stats = shared->stats;
    const row_results *r = &stats->results;
    const int keeps_e = keeps_exp_in_output(job);
    block_cursor w = first_block(job, row, last, sl_keeps_exp(job), scratch);
    for (ptrdiff_t b = first; b < last; b++) {
        const ptrdiff_t n = block_length(job, b), at = row * job->n + b * SL_BLOCK;
        if (!keeps_e) next_block(&w, b);
        R *y = job->values ? w.scratch : output_at(job, at, w.scratch);
        const R *source = keeps_e ? y : w.x;
        R scale = 1;
        if (sl_keeps_exp(job)) {
            const exp_params plan = exp_params_of_block((R)shared->max[b], stats->shift, r->heat);
            scale = block_scale(&plan, stats->k);
            if (!keeps_e) {
                R unused;
                block_sum(w.x, n, stats->shift, &plan, w.scratch, w.goes_on ? &w.next : NULL, &unused, NULL, w.scratch);
                source = w.scratch;
            }
        }
        store_row(job, at, source, n, r, 0, scale, y);
        if (job->values) {
            shared->spread[b] = 0;
            shared->q[b] = expectation_of_row(y, (const R *)job->values + b * SL_BLOCK, n, &shared->spread[b]);
            continue;
        }
        if (!job->loss) continue;
        subtract_targets(job, row, 1, b * SL_BLOCK, n, &stats->targets, y, n, 1);
        store_converted(job, at, n, y);
    }
}

/* The mean of values, from those of the blocks that long_write has left. */
void long_mean(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    (void)scratch;
    double sum = 0, lost = 0;
    for (ptrdiff_t b = first; b < last; b++) {
        sum = sl_add(sum, shared->q[b], &lost);
        lost += shared->spread[b];
    }
    const R mean = (R)(sum + lost);
    store_results(job, row, 1, &mean);
}

#endif
