/* rows.inc.h: compute. Rows whose classes lie side by side, along the lanes: a few together, or one in blocks.
   Part of kernels.inc.h, which has the steps that all forms share. */

/* ---- rows: one row along the lanes ---------------------------------------------------------------------------- */

static R V(row_max)(const R *x, ptrdiff_t n) {
    const vec lowest = V(set1)(-INFINITY);
    vec a = lowest, b = lowest, c = lowest, d = lowest;
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) { /* max(x, a) keeps a where x is NaN: the sum will show it */
        a = V(max)(V(load)(x + i), a);
        b = V(max)(V(load)(x + i + LANES), b);
        c = V(max)(V(load)(x + i + 2 * LANES), c);
        d = V(max)(V(load)(x + i + 3 * LANES), d);
    }
    for (; i + LANES <= n; i += LANES) a = V(max)(V(load)(x + i), a);
    if (i < n) b = V(max)(V(load_tail)(x + i, n - i, -INFINITY), b);
    return V(reduce_max)(V(max)(V(max)(a, b), V(max)(c, d)));
}

/* The row, or block, that is computed after another one, and read along with it, in time that its way from memory would take
   anyway: its maximum is found, and what cannot be read where it is goes to scratch. */
typedef struct {
    sl_storage storage;
    const void *x; /* its elements from number at on */
    ptrdiff_t at;
    const unsigned char *mask;
    R *to; /* NULL: it is read where it is. Else it is of the types of sl_converts_ahead, and has no temperature */
} V(ahead);

SL_INLINE V(ahead) V(ahead_of)(const R *x) { return (V(ahead)){OWN_STORAGE, x, 0, NULL, NULL}; }

/* count of its elements from i on */
SL_INLINE vec V(take_ahead)(const sl_storage storage, const V(ahead) * next, ptrdiff_t i, ptrdiff_t count) {
    const vec v = V(load_visible)(storage, next->x, next->mask, next->at + i, count);
    if (next->to) V(store)(next->to + i, v);
    return v;
}

SL_INLINE void V(row_step)(int u, const R *x, const vec *magic, const vec *clamp, const V(heat) * heat, V(table) table, V(pair) * sum, R *e,
                           const R *y, const sl_storage storage, const V(ahead) * next, ptrdiff_t at, vec *most) {
    const ptrdiff_t size = (ptrdiff_t)V(size_of)(storage), line = 64 / (LANES * size);
    vec v[UNROLL];
    for (int i = 0; i < u; i++) most[i] = V(max)(V(take_ahead)(storage, next, at + i * LANES, LANES), most[i]);
    for (int i = 0; i < u; i += (int)line) sl_prefetch((const char *)next->x + (next->at + at + i * LANES) * size + SL_PREFETCH);
    if (next->mask) sl_prefetch(next->mask + next->at + at + SL_PREFETCH / 4);
    for (int i = 0; i < u; i++) v[i] = V(load)(x + i * LANES);
    V(add_exp)(u, v, magic, clamp, heat, table, sum, v);
    if (!e) return;
    for (int i = 0; i < u; i++) {
        sl_prefetch((const char *)(y + i * LANES) + SL_PREFETCH);
        V(store)(e + i * LANES, v[i]);
    }
}

/* The sum of e(x) in LANES fixed lanes; e itself into e, unless that is NULL. e may be x.
   next is the row to be worked on then, x itself where there is none: n elements, whose maximum goes to max.
   maxima: those of its parts, if n is a multiple of them; or NULL. */
SL_INLINE V(pair) V(row_sum_into)(const R *x, ptrdiff_t n, R row_magic, R row_clamp, const V(heat) * heat, R row_ceiling, R *e, const R *y,
                                  const sl_storage storage, const V(ahead) next, R *max, R *maxima) {
    const vec magic = V(set1)(row_magic), clamp = V(set1)(row_clamp), ceiling = V(set1)(row_ceiling);
    V(heat) own; /* where no store can change it */
    if (heat) own = *heat;
    heat = heat ? &own : NULL;
    const V(table) table = V(load_table)(V_TABLE);
    V(pair) sum = V(sum_begin)(ceiling);
    vec m[UNROLL], most = V(set1)(-INFINITY);
    for (int i = 0; i < UNROLL; i++) m[i] = most;
    ptrdiff_t i = 0;
    for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
        V(row_step)(UNROLL, x + i, &magic, &clamp, heat, table, &sum, e ? e + i : NULL, y + i, storage, &next, i, m);
        if ((i + UNROLL * LANES) % (SL_FINE * LANES)) continue;
        sum = V(fast_two_sum)(sum); /* keeps low small, and its rounding */
        if (!maxima) continue;
        for (int k = 1; k < UNROLL; k++) m[0] = V(max)(m[k], m[0]);
        V(store)(maxima, m[0]);
        maxima += LANES;
        most = V(max)(m[0], most);
        for (int k = 0; k < UNROLL; k++) m[k] = V(set1)(-INFINITY);
    }
    m[0] = V(max)(most, m[0]);
    for (; i + 2 * LANES <= n; i += 2 * LANES)
        V(row_step)(2, x + i, &magic, &clamp, heat, table, &sum, e ? e + i : NULL, y + i, storage, &next, i, m);
    for (; i + LANES <= n; i += LANES)
        V(row_step)(1, x + i, &magic, &clamp, heat, table, &sum, e ? e + i : NULL, y + i, storage, &next, i, m);
    if (i < n) {
        vec v = V(load_tail)(x + i, n - i, -INFINITY);
        m[0] = V(max)(V(take_ahead)(storage, &next, i, n - i), m[0]);
        V(add_exp)(1, &v, &magic, &clamp, heat, table, &sum, &v);
        if (e && e != y) V(store)(e + i, v);
        else if (e) V(store_tail)(e + i, n - i, v);
    }
    for (int k = 1; k < UNROLL; k++) m[0] = V(max)(m[k], m[0]);
    *max = V(reduce_max)(m[0]);
    return V(sum_end)(sum, ceiling);
}
#define SUM(heat, storage, next)                                                            \
    (e ? V(row_sum_into)(x, n, magic, clamp, heat, ceiling, e, y, storage, next, max, NULL) \
       : V(row_sum_into)(x, n, magic, clamp, heat, ceiling, NULL, x, storage, next, max, NULL))
SL_INLINE V(pair)
    V(row_sum)(const R *x, ptrdiff_t n, R magic, R clamp, const V(heat) * heat, R ceiling, R *e, const R *y, const R *next_x, R *max) {
    return heat ? SUM(heat, OWN_STORAGE, V(ahead_of)(next_x)) : SUM(NULL, OWN_STORAGE, V(ahead_of)(next_x));
}
/* The same where the next row goes to scratch. A type that sl_converts_ahead names has to be here. */
static V(pair)
    V(row_sum_and_convert)(const R *x, ptrdiff_t n, R magic, R clamp, R ceiling, R *e, const R *y, const V(ahead) * next, R *max) {
    const V(ahead) all = {next->storage, next->x, next->at, NULL, next->to};
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
SL_INLINE void V(row_scale_if)(const int hides, const R *e, ptrdiff_t n, R scale, R high, R low, R least, const sl_storage storage, void *y,
                               ptrdiff_t at) {
    const vec s = V(set1)(scale), h = V(set1)(high), l = V(set1)(low), bar = V(set1)(least / scale);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) V(store_ahead)(storage, y, at + i, V(share)(V(mul)(V(kept)(V(load)(e + i), hides, bar), s), h, l));
    if (i < n) V(store_as)(storage, y, at + i, n - i, V(share)(V(mul)(V(kept)(V(load_tail)(e + i, n - i, 0), hides, bar), s), h, l));
}
SL_INLINE void V(row_scale)(const R *e, ptrdiff_t n, R scale, R high, R low, R least, const sl_storage storage, void *y, ptrdiff_t at) {
    if (least > 0) V(row_scale_if)(1, e, n, scale, high, low, least, storage, y, at);
    else V(row_scale_if)(0, e, n, scale, high, low, 0, storage, y, at);
}

SL_INLINE void V(row_subtract)(const R *x, ptrdiff_t n, R max, R log, const V(heat) * heat, const sl_storage storage, void *y,
                               ptrdiff_t at) {
    const vec m = V(set1)(max), l = V(set1)(log);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) V(store_ahead)(storage, y, at + i, V(subtract)(V(load)(x + i), m, l, heat));
    if (i < n) V(store_as)(storage, y, at + i, n - i, V(subtract)(V(load_tail)(x + i, n - i, 0), m, l, heat));
}

static void V(row_shift)(const R *x, ptrdiff_t n, R shift, R *y) {
    for (ptrdiff_t i = 0; i < n; i++) y[i] = x[i] - shift;
}

/* Rows of which one class takes all: the product may be an ulp short of 1. */
static void V(make_certain)(R *y, ptrdiff_t n) {
    const vec half = V(set1)((R)0.5), one = V(set1)(1);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const ptrdiff_t k = n - i < LANES ? n - i : LANES;
        const vec v = V(load_tail)(y + i, k, 0);
        V(store_tail)(y + i, k, V(select_lt)(half, v, one, v));
    }
}

static int V(row_has_nan)(const sl_job *job, ptrdiff_t row, R *block) {
    for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
        const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
        const R *x = V(read_row)(job, row, b, n, block);
        for (ptrdiff_t i = 0; i < n; i++)
            if (x[i] != x[i]) return 1;
    }
    return 0;
}

/* The sum of e of the classes of a confident row below its maximum, in LANES lanes; the row is read again, block by block */
static V(pair) V(row_others)(const sl_job *job, ptrdiff_t row, const V(plan) * plan, int lane, R *block) {
    const vec magic = V(lane_of)(plan->magic, lane), clamp = V(lane_of)(plan->clamp, lane);
    const vec shift = V(lane_of)(plan->shift, lane), max = V(lane_of)(plan->reduced, lane);
    const V(table) table = V(load_table)(V_TABLE);
    V(heat) own;
    const V(heat) *heat = V(warm_row)(plan->heat, lane, &own);
    V(pair) sum = {V(set1)(0), V(set1)(0)};
    for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
        const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
        const R *x = V(read_row)(job, row, b, n, block);
        vec v[UNROLL];
        ptrdiff_t i = 0;
        for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
            for (int k = 0; k < UNROLL; k++) v[k] = V(sub)(V(load)(x + i + k * LANES), shift);
            V(add_others)(UNROLL, v, max, &magic, &clamp, heat, table, &sum);
        }
        for (; i < n; i += LANES) {
            v[0] = V(sub)(V(load_tail)(x + i, n - i < LANES ? n - i : LANES, -INFINITY), shift);
            V(add_others)(1, v, max, &magic, &clamp, heat, table, &sum);
        }
        sum = V(fast_two_sum)(sum);
    }
    return sum;
}

/* One row per lane: plan and sums to results. rows of them are real; the first is row number first. */
static void V(finish_rows)(const sl_job *job, ptrdiff_t first, int rows, const V(plan) * plan, V(pair) sum, R *block, V(results) * r) {
    V(verdict) v;
    V(judge)(job, plan, sum, &v);
    r->heat = plan->heat;
    R few[LANES], poison[LANES], max[LANES];
    r->rare = v.any_few || v.any_bad;
    if (r->rare) {
        V(store)(few, v.few);
        V(store)(poison, v.poison);
        V(store)(max, plan->max);
    }
    if (job->op != SL_SOFTMAX) {
        if (v.any_few) {
            V(pair) others[LANES];
            for (int i = 0; i < rows; i++)
                others[i] = few[i] < 0 ? V(row_others)(job, first + i, plan, i, block) : (V(pair)){V(set1)(0), V(set1)(0)};
            V(judge_few)(V(add_lanes)(others, rows), &v);
        }
        V(judge_log)(job->op, plan, &v);
    }
    if (job->loss) {
        memcpy(r->log, v.log, sizeof r->log);
        r->z = v.z;
        V(store)(r->poison, v.poison);
    }
    V(store)(r->a, v.a);
    V(store)(r->least, v.least);
    V(store)(r->b, v.b);
    if (!r->rare) return;
    for (int i = 0; i < rows; i++) {
        r->bad[i] = poison[i] != poison[i];
        r->certain[i] = few[i] < 0;
        if (r->bad[i] && job->op == SL_LOGSUMEXP) r->a[i] = V(row_has_nan)(job, first + i, block) ? (R)NAN : max[i]; /* -inf, +inf */
    }
}

/* The losses of those rows; for a gradient, what e is to be multiplied by. */
static void V(lose_rows)(const sl_job *job, ptrdiff_t first, int rows, const V(plan) * plan, V(targets) * targets, V(results) * r) {
    vec a = V(load)(r->a), b = V(load)(r->b);
    V(lose)(job, first, rows, plan, targets, r->log, &r->z, V(load)(r->poison), &a, &b);
    V(store)(r->a, a);
    V(store)(r->b, b);
}

/* The last step of (a block of) row i of those, into y from index `to` on. source: e for softmax, x for log_softmax. */
SL_INLINE void V(make_row_as)(const sl_job *job, const R *source, ptrdiff_t n, const V(results) * r, int i, R scale,
                              const sl_storage storage, void *y, ptrdiff_t to) {
    V(heat) own;
    if (sl_keeps_exp(job)) V(row_scale)(source, n, scale, r->a[i], r->b[i], r->least[i], storage, y, to);
    else V(row_subtract)(source, n, r->a[i], r->b[i], V(warm_row)(r->heat, i, &own), storage, y, to);
}
/* The same for any row; at is where it begins in x. */
SL_INLINE void V(make_row)(const sl_job *job, ptrdiff_t at, const R *source, ptrdiff_t n, const V(results) * r, int i, R scale, R *y) {
    V(make_row_as)(job, source, n, r, i, scale, OWN_STORAGE, y, 0);
    if (!r->rare) return;
    if (r->bad[i]) V(fill_bad)(job, at, job->inner, n, y, 1);
    else if (job->op == SL_SOFTMAX && r->certain[i]) V(make_certain)(y, n);
}
/* The same into the job's y. Results of another type come from y here, or, but for bad rows, at once (a certain 1 rounds to 1 there);
   then y has nothing. */
SL_INLINE void V(write_row)(const sl_job *job, ptrdiff_t at, const R *source, ptrdiff_t n, const V(results) * r, int i, R scale, R *y) {
    const int last_step = !job->loss && !job->values;
#if SL_REAL == 32
    if (last_step && !V(y_native)(job) && !(r->rare && r->bad[i])) {
        if (job->y_storage == SL_FLOAT16) V(make_row_as)(job, source, n, r, i, scale, SL_FLOAT16, job->y, at);
        else V(make_row_as)(job, source, n, r, i, scale, SL_BFLOAT16, job->y, at);
        return;
    }
#endif
    V(make_row)(job, at, source, n, r, i, scale, y);
    if (last_step && !V(y_native)(job)) V(written)(job, at, n, y);
}

/* Some rows on their way: what is read, where the result goes, and where e is kept in between. */
typedef struct {
    ptrdiff_t first;
    int rows;
    const R *x[LANES];
    R *y[LANES], *e[LANES];
    ptrdiff_t y_step; /* from one y to the next */
    V(targets) targets;
    V(results) results;
} V(group);

static void V(write_group)(const sl_job *job, V(group) * g) {
    V(results) *r = &g->results;
    if (job->op == SL_LOGSUMEXP) V(put_values)(job, g->first, g->rows, r->a);
    if (!sl_visits_classes(job)) return;
    for (int i = 0; i < g->rows; i++)
        V(write_row)(job, (g->first + i) * job->n, sl_keeps_exp(job) ? g->e[i] : g->x[i], job->n, r, i, 1, g->y[i]);
    if (job->values) {
        R mean[LANES];
        for (int i = 0; i < g->rows; i++) {
            double lost = 0;
            const double sum = V(mean_of_row)(g->y[i], job->values, job->n, &lost);
            mean[i] = (R)(sum + lost);
        }
        V(put_values)(job, g->first, g->rows, mean);
        return;
    }
    if (!job->loss) return;
    V(aim_gradient)(job, g->first, g->rows, 0, job->n, &g->targets, g->y[0], g->y_step, 1);
    for (int i = 0; i < g->rows; i++) V(written)(job, (g->first + i) * job->n, job->n, g->y[i]);
}

/* SL_SHORT < n <= SL_BLOCK. As many rows go together as the first-level cache holds with all that belongs to them. */
static void V(rows)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t n = job->n;
    const ptrdiff_t stride = sl_row_stride(n, LANES);
    ptrdiff_t together = sl_rows_together(job, LANES);
    if (together > last - first) together = last - first;
    R *block = scratch, *kept = block + SL_BLOCK, *kept_next = kept + together * stride;
    const int native = V(x_native)(job), converts = sl_converts_ahead(job);
    /* Rows that cross cache lines: e is kept aside, aligned, except where the output is memory to be fetched anyway. Where x is in
       scratch, e takes its place. And a gradient in place must leave x for those rows that finish_rows reads again. */
    const int aside = converts || (n % LANES && sl_cached(job)) || (job->op == SL_CROSS_ENTROPY_GRAD && job->x == job->y);
    V(group) group = {0}, *g = &group; /* lanes without a row are computed with as well */
    V(heat) warm, own;
    const V(heat) *heat = NULL;
    R max[LANES] = {0};
    for (ptrdiff_t row = first; row < last; row += together) {
        g->first = row;
        g->rows = (int)(last - row < together ? last - row : together);
        R magic[LANES], clamp[LANES], shift[LANES];
        for (int i = 0; i < g->rows; i++) {
            if (native) g->x[i] = (const R *)job->x + (row + i) * n;
            else {
                g->x[i] = kept + i * stride;
                if (!converts || row == first) max[i] = V(convert)(job->x_storage, job->x, job->mask, (row + i) * n, n, kept + i * stride);
            }
            g->y[i] = job->values ? kept + i * stride : V(target)(job, (row + i) * n, kept + i * stride);
            g->e[i] = aside ? kept + i * stride : g->y[i];
            if (native && row == first) max[i] = V(row_max)(g->x[i], n); /* else known from the step before */
        }
        if (!heat || job->temperature_step) heat = V(warm)(job, row, g->rows, &warm);
        const V(plan) plan = V(make_plan)(V(load)(max), heat, 1);
        V(store)(magic, plan.magic);
        V(store)(clamp, plan.clamp);
        V(store)(shift, plan.shift);
        V(pair) sums[LANES];
        const ptrdiff_t x_step = native ? n : stride;
        g->y_step = V(y_native)(job) && !job->values ? n : stride;
        if (job->loss) {
            V(clear)(&g->targets);
            V(aim)(job, row, g->rows, 0, n, g->x[0], x_step, 1, max, &g->targets);
        }
        for (int i = 0; i < g->rows; i++) {
            const R *source = g->x[i];
            if (shift[i] != 0) {
                V(row_shift)(source, n, shift[i], block);
                source = block;
            }
            const ptrdiff_t next = row + together + i;
            R *e = sl_keeps_exp(job) ? g->e[i] : NULL;
            if (converts && next < last) {
                const V(ahead) ahead = {job->x_storage, job->x, next * n, job->mask, kept_next + i * stride};
                sums[i] = V(row_sum_and_convert)(source, n, magic[i], clamp[i], C(CEILING), e, g->y[i], &ahead, &max[i]);
                continue;
            }
            const R *next_x = native && next < last ? g->x[i] + together * n : source;
            sums[i] = V(row_sum)(source, n, magic[i], clamp[i], V(warm_row)(heat, i, &own), C(CEILING), e, g->y[i], next_x, &max[i]);
        }
        V(finish_rows)(job, row, g->rows, &plan, V(add_lanes)(sums, g->rows), block, &g->results);
        if (job->choice) V(pick)(job, row, g->rows, &plan, &g->results, NULL, 0, NULL);
        if (job->loss) V(lose_rows)(job, row, g->rows, &plan, &g->targets, &g->results);
        V(write_group)(job, g);
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
    V(results) results;
    R k, shift; /* of the row's plan */
    V(targets) targets;
    V(heat) heat;
} V(long_stats);
_Static_assert(sizeof(V(long_stats)) <= SL_STATS, "long_stats");

SL_INLINE ptrdiff_t V(block)(const sl_job *job, ptrdiff_t b) { return job->n - b * SL_BLOCK < SL_BLOCK ? job->n - b * SL_BLOCK : SL_BLOCK; }

static void V(long_max)(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    for (ptrdiff_t b = first; b < last; b++) {
        const ptrdiff_t n = V(block)(job, b);
        shared->max[b] = V(row_max)(V(read)(job, row * job->n + b * SL_BLOCK, n, scratch), n);
    }
}

static R V(max_of_blocks)(const sl_job *job, const sl_long *shared) {
    R m = -INFINITY;
    for (ptrdiff_t b = 0; b < sl_block_count(job); b++) m = shared->max[b] > m ? (R)shared->max[b] : m;
    return m;
}

static void V(long_shift)(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    (void)first, (void)last, (void)scratch;
    R shift[LANES];
    V(heat) heat;
    V(store)(shift, V(make_plan)(V(set1)(V(max_of_blocks)(job, shared)), V(warm)(job, row, 1, &heat), 1).shift);
    shared->shift = shift[0];
}

/* The plan of a block with maximum max; one far below zero, in a row that is not, keeps to what a plan can stand. */
static V(plan) V(block_plan)(R max, R shift, const V(heat) * heat) {
    const R reduced = max - shift, lowest = -C(SHIFT_FROM) * (heat ? (R)heat->exact[0] : 1);
    return V(make_plan)(V(set1)(reduced > lowest ? reduced : lowest), heat, 0);
}

/* e of a block, unless it is NULL, and its sum; maxima as for row_sum_into, where e is NULL and the next block is of R */
static V(pair)
    V(block_sum)(const R *x, ptrdiff_t n, R shift, const V(plan) * plan, R *e, const V(ahead) * next, R *max, R *maxima, R *block) {
    R magic[LANES], clamp[LANES];
    V(store)(magic, plan->magic);
    V(store)(clamp, plan->clamp);
    if (shift != 0) {
        V(row_shift)(x, n, shift, block);
        x = block;
    }
    if (next && next->to) return V(row_sum_and_convert)(x, n, magic[0], clamp[0], C(CEILING), e, e, next, max);
    const R *next_x = next ? (const R *)next->x + next->at : x;
    if (!maxima) return V(row_sum)(x, n, magic[0], clamp[0], plan->heat, C(CEILING), e, e, next_x, max);
    const V(ahead) ahead = V(ahead_of)(next_x);
    if (plan->heat) return V(row_sum_into)(x, n, magic[0], clamp[0], plan->heat, C(CEILING), NULL, x, OWN_STORAGE, ahead, max, maxima);
    return V(row_sum_into)(x, n, magic[0], clamp[0], NULL, C(CEILING), NULL, x, OWN_STORAGE, ahead, max, maxima);
}

/* The maximum of a block, and those of its parts */
static R V(block_max)(const R *x, ptrdiff_t n, R *maxima) {
    if (!maxima) return V(row_max)(x, n);
    const ptrdiff_t part = SL_FINE * LANES;
    vec most = V(set1)(-INFINITY), unused = most;
    for (ptrdiff_t i = 0; i < n; i += part, maxima += LANES) {
        const vec m = V(lane_max)(x + i, n - i < part ? n - i : part, &unused);
        V(store)(maxima, m);
        most = V(max)(m, most);
    }
    return V(reduce_max)(most);
}

/* Is e of a block kept in the output? Not if that is of another type, or the logits of a gradient, which finish_rows may have to read
   again: then write has to find e once more. */
SL_INLINE int V(keeps_e)(const sl_job *job) {
    return sl_keeps_exp(job) && V(y_native)(job) && !job->values && !(job->op == SL_CROSS_ENTROPY_GRAD && job->x == job->y);
}

/* Blocks of a long row, one after the other: the one that is computed, and the whole one after it, read along with it. */
typedef struct {
    const sl_job *job;
    ptrdiff_t row, last;
    int sums;           /* is a sum made of each block? Only then the next one is read along */
    R *scratch, *spare; /* where blocks become R: this one, and the one that is read along */
    const R *x;
    ptrdiff_t at, n;
    V(ahead) next;
    int goes_on;
} V(walk);
SL_INLINE V(walk) V(walk_from)(const sl_job *job, ptrdiff_t row, ptrdiff_t last, int sums, R *scratch) {
    return (V(walk)){.job = job, .row = row, .last = last, .sums = sums, .scratch = scratch, .spare = scratch + SL_BLOCK};
}
/* To block b; returns whether its maximum is known from the one before. */
static int V(step_to)(V(walk) * w, ptrdiff_t b) {
    const sl_job *job = w->job;
    const int converts = sl_converts_ahead(job), known = w->goes_on;
    w->at = w->row * job->n + b * SL_BLOCK;
    w->n = V(block)(job, b);
    if (known && converts) {
        R *spare = w->scratch;
        w->x = w->scratch = w->spare;
        w->spare = spare;
    } else w->x = V(read)(job, w->at, w->n, w->scratch);
    w->goes_on = w->sums && (V(x_native)(job) || converts) && b + 1 < w->last && V(block)(job, b + 1) == SL_BLOCK;
    w->next = (V(ahead)){job->x_storage, job->x, w->at + SL_BLOCK, job->mask, converts ? w->spare : NULL};
    return known;
}

/* Distances of a block are from its own maximum, or from 0 if that is not finite. */
SL_INLINE double V(long_origin)(const sl_long *shared, ptrdiff_t b) { return isfinite(shared->max[b]) ? shared->max[b] : 0; }
static void V(long_aim)(const sl_job *job, ptrdiff_t row, ptrdiff_t b, const R *x, ptrdiff_t n, sl_long *shared) {
    V(targets) t;
    const R origin = (R)V(long_origin)(shared, b);
    V(clear)(&t);
    V(aim)(job, row, 1, b * SL_BLOCK, n, x, n, 1, &origin, &t);
    if (t.q[0] != 0) shared->picked = t.x[0];
    shared->q[b] = t.q[0];
    shared->spread[b] = t.spread[0];
    shared->distance[b] = t.distance[0];
}
static void V(long_target)(const sl_job *job, ptrdiff_t row, double m, const sl_long *shared, V(targets) * t) {
    const sl_loss *loss = job->loss;
    V(clear)(t);
    t->ignored[0] = loss->target && loss->target[loss->first + row] == loss->ignore;
    t->x[0] = (R)shared->picked;
    for (ptrdiff_t b = 0; b < sl_block_count(job); b++) {
        t->q[0] += shared->q[b];
        t->spread[0] += shared->spread[b];
        t->distance[0] += shared->distance[b];
        if (shared->spread[b] != 0) t->distance[0] += shared->spread[b] * (m - V(long_origin)(shared, b));
    }
}

/* The maxima and sums of the blocks; where y keeps e, that as well. */
static void V(long_sum)(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    V(heat) warm;
    const V(heat) *heat = V(warm)(job, row, 1, &warm);
    V(walk) w = V(walk_from)(job, row, last, 1, scratch);
    R max = 0;
    for (ptrdiff_t b = first; b < last; b++) {
        R *maxima = shared->maxima ? (R *)shared->maxima + b * SL_BLOCK / SL_FINE : NULL;
        if (!V(step_to)(&w, b)) max = V(block_max)(w.x, w.n, maxima);
        shared->max[b] = max;
        if (job->loss) V(long_aim)(job, row, b, w.x, w.n, shared);
        const V(plan) plan = V(block_plan)(max, (R)shared->shift, heat);
        R *e = V(keeps_e)(job) ? (R *)job->y + w.at : NULL;
        R *later = maxima && w.goes_on ? maxima + SL_BLOCK / SL_FINE : NULL;
        const V(pair) s = V(block_sum)(w.x, w.n, (R)shared->shift, &plan, e, w.goes_on ? &w.next : NULL, &max, later, w.scratch);
        V(store)((R *)shared->high + b * LANES, s.high);
        V(store)((R *)shared->low + b * LANES, s.low);
    }
}

/* 2^(k of a block - k of the row): 0 where nothing of the block is left in the result */
SL_INLINE R V(block_scale)(const V(plan) * plan, R k) {
    R own[LANES];
    V(store)(own, plan->k);
    return own[0] - k < -C(DEPTH) ? 0 : (R)ldexp(1.0, (int)(own[0] - k));
}

static void V(long_finish)(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    V(long_stats) *stats = shared->stats;
    const V(heat) *heat = V(warm)(job, row, 1, &stats->heat);
    const V(plan) plan = V(make_plan)(V(set1)(V(max_of_blocks)(job, shared)), heat, 1);
    R k[LANES], h[LANES], l[LANES];
    V(store)(k, plan.k);
    stats->k = k[0];
    stats->shift = (R)shared->shift;
    V(pair) sums[LANES];
    sums[0] = (V(pair)){V(set1)(0), V(set1)(0)};
    for (ptrdiff_t b = first; b < last; b++) {
        const V(plan) own = V(block_plan)((R)shared->max[b], (R)shared->shift, heat);
        const vec scale = V(set1)(V(block_scale)(&own, k[0]));
        const V(pair) s = {V(mul)(V(load)((R *)shared->high + b * LANES), scale), V(mul)(V(load)((R *)shared->low + b * LANES), scale)};
        sums[0] = V(fast_two_sum)(V(two_sum)(sums[0], s));
    }
    V(pair) sum = V(add_lanes)(sums, 1);
    V(store)(h, sum.high);
    V(store)(l, sum.low);
    sum = (V(pair)){V(set1)(h[0]), V(set1)(l[0])};
    V(finish_rows)(job, row, 1, &plan, sum, scratch, &stats->results);
    if (job->choice) V(pick)(job, row, 1, &plan, &stats->results, NULL, 0, shared->maxima);
    shared->shift = 0; /* for the next row */
    if (job->loss) {
        V(long_target)(job, row, V(max_of_blocks)(job, shared), shared, &stats->targets);
        V(lose_rows)(job, row, 1, &plan, &stats->targets, &stats->results);
        shared->picked = 0; /* for the next row: a target of weight 0 leaves it as it is */
    }
    if (job->op == SL_LOGSUMEXP) V(put_values)(job, row, 1, stats->results.a);
}

static void V(long_write)(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    const V(long_stats) *stats = shared->stats;
    const V(results) *r = &stats->results;
    const int keeps_e = V(keeps_e)(job);
    V(walk) w = V(walk_from)(job, row, last, sl_keeps_exp(job), scratch);
    for (ptrdiff_t b = first; b < last; b++) {
        const ptrdiff_t n = V(block)(job, b), at = row * job->n + b * SL_BLOCK;
        if (!keeps_e) V(step_to)(&w, b);
        R *y = job->values ? w.scratch : V(target)(job, at, w.scratch);
        const R *source = keeps_e ? y : w.x;
        R scale = 1;
        if (sl_keeps_exp(job)) {
            const V(plan) plan = V(block_plan)((R)shared->max[b], stats->shift, r->heat);
            scale = V(block_scale)(&plan, stats->k);
            if (!keeps_e) {
                R unused;
                V(block_sum)(w.x, n, stats->shift, &plan, w.scratch, w.goes_on ? &w.next : NULL, &unused, NULL, w.scratch);
                source = w.scratch;
            }
        }
        V(write_row)(job, at, source, n, r, 0, scale, y);
        if (job->values) {
            shared->spread[b] = 0;
            shared->q[b] = V(mean_of_row)(y, (const R *)job->values + b * SL_BLOCK, n, &shared->spread[b]);
            continue;
        }
        if (!job->loss) continue;
        V(aim_gradient)(job, row, 1, b * SL_BLOCK, n, &stats->targets, y, n, 1);
        V(written)(job, at, n, y);
    }
}

/* The mean of values, from those of the blocks that long_write has left. */
static void V(long_mean)(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch) {
    (void)scratch;
    double sum = 0, lost = 0;
    for (ptrdiff_t b = first; b < last; b++) {
        sum = sl_add(sum, shared->q[b], &lost);
        lost += shared->spread[b];
    }
    const R mean = (R)(sum + lost);
    V(put_values)(job, row, 1, &mean);
}
