/* columns.inc.h: compute. One row per lane: strided classes in packed tiles, short rows transposed into such tiles, and
   narrow columns turned into rows. Part of kernels.inc.h, which has the steps that all forms share. */

/* ---- columns: one row per lane -------------------------------------------------------------------------------- */

/* Columns go SL_GROUP vectors at a time through each step: one alone would wait for its own results most of the time. */

SL_INLINE vec V(column_max)(const R *tile, ptrdiff_t stride, ptrdiff_t n, vec m) {
    for (ptrdiff_t k = 0; k < n; k++) m = V(max)(V(load)(tile + k * stride), m);
    return m;
}

/* Adds the e of n classes to sum, and stores them over x if store is set. */
SL_INLINE void V(column_step)(int u, R *tile, ptrdiff_t stride, const V(plan) * p, const V(heat) * heat, V(table) table, int store,
                              V(pair) * sum) {
    vec v[UNROLL];
    for (int i = 0; i < u; i++) v[i] = V(load)(tile + i * stride);
    V(add_exp)(u, v, &p->magic, &p->clamp, heat, table, sum, v);
    if (store)
        for (int i = 0; i < u; i++) V(store)(tile + i * stride, v[i]);
}
SL_INLINE void V(column_sum_with)(R *tile, ptrdiff_t stride, ptrdiff_t n, const V(plan) * p, const V(heat) * heat, int store,
                                  V(pair) * sum) {
    const V(table) table = V(load_table)(V_TABLE);
    V(pair) s = *sum;
    ptrdiff_t k = 0;
    for (; k + UNROLL <= n; k += UNROLL) {
        V(column_step)(UNROLL, tile + k * stride, stride, p, heat, table, store, &s);
        if ((k + UNROLL) % 16 == 0) s = V(fast_two_sum)(s);
    }
    for (; k + 2 <= n; k += 2) V(column_step)(2, tile + k * stride, stride, p, heat, table, store, &s);
    if (k < n) V(column_step)(1, tile + k * stride, stride, p, heat, table, store, &s);
    *sum = s;
}

SL_INLINE void V(column_sum)(R *tile, ptrdiff_t stride, ptrdiff_t n, const V(plan) * p, int store, V(pair) * sum) {
    if (p->heat) V(column_sum_with)(tile, stride, n, p, p->heat, store, sum);
    else V(column_sum_with)(tile, stride, n, p, NULL, store, sum);
}

/* ceiling_of for each lane of a part of a column; CEILING itself where the part is the whole */
static vec V(column_ceiling)(int whole, const R *tile, ptrdiff_t stride, ptrdiff_t n, const V(plan) * p) {
    if (whole) return V(set1)(C(CEILING));
    const vec highest = V(column_max)(tile, stride, n, V(set1)(-INFINITY));
    R m[LANES], k[LANES];
    V(store)(m, highest);
    V(store)(k, p->k);
    V(heat) own;
    for (int i = 0; i < LANES; i++) m[i] = V(ceiling_of)(m[i], k[i], V(warm_row)(p->heat, i, &own));
    return V(load)(m);
}

static void V(column_shift)(R *tile, ptrdiff_t stride, ptrdiff_t n, vec shift) {
    for (ptrdiff_t k = 0; k < n; k++) V(store)(tile + k * stride, V(sub)(V(load)(tile + k * stride), shift));
}

/* The tile of a job's columns: class k of column j is at tile[k * width + j]. A tile of more than SL_BLOCK classes is
   not kept, but packed again, SL_BLOCK classes at a time, for each step. */
typedef struct {
    const sl_job *job;
    ptrdiff_t first, columns, width;
    R *tile;
    R max[SL_TILE_WIDTH]; /* of each column, over the classes that were packed last */
} V(source);

/* Planes far apart are streams too short and too many for the processor to foresee. More of them at once would evict
   each other where the plane's size is a power of two: their lines all fall into the same cache sets. */
#define PLANES_AHEAD 5

SL_INLINE void V(put)(vec x, R *to, R *max) {
    V(store)(to, x);
    V(store)(max, V(max)(x, V(load)(max)));
}

static void V(pack)(V(source) * s, ptrdiff_t k0, ptrdiff_t k1) {
    const sl_job *job = s->job;
    for (ptrdiff_t j = 0; j < s->width; j++) s->max[j] = -INFINITY;
    if (job->inner >= LANES) { /* columns of one outer index: contiguous runs */
        const ptrdiff_t at = V(column_at)(job, s->first), full = s->columns - s->columns % LANES;
        for (ptrdiff_t k = k0; k < k1; k++) {
            R *to = s->tile + (k - k0) * s->width;
            const R *x = V(read)(job, at + k * job->inner, s->columns, to);
            const R *soon = x + (x != to && k + PLANES_AHEAD < k1 ? PLANES_AHEAD * job->inner : 0);
            for (ptrdiff_t j = 0; j < full; j += LANES) {
                sl_prefetch(soon + j);
                V(put)(V(load)(x + j), to + j, s->max + j);
            }
            if (full < s->columns) V(put)(V(load_tail)(x + full, s->columns - full, 0), to + full, s->max + full);
        }
        return;
    }
    for (ptrdiff_t j = 0; j < LANES; j++) {
        const ptrdiff_t at = V(column_at)(job, s->first + (j < s->columns ? j : 0));
        for (ptrdiff_t k = k0; k < k1; k++) {
            R one = 0;
            const R x = s->tile[(k - k0) * LANES + j] = *V(read)(job, at + k * job->inner, 1, &one);
            if (x > s->max[j]) s->max[j] = x;
        }
    }
}

static void V(unpack)(V(source) * s, ptrdiff_t k0, ptrdiff_t k1) {
    const sl_job *job = s->job;
    if (job->inner >= LANES) {
        const ptrdiff_t at = V(column_at)(job, s->first), full = s->columns - s->columns % LANES;
        for (ptrdiff_t k = k0; k < k1; k++) {
            const R *from = s->tile + (k - k0) * s->width;
            const ptrdiff_t i = at + k * job->inner;
            if (!V(y_native)(job)) {
                V(written)(job, i, s->columns, from);
                continue;
            }
            R *y = (R *)job->y + i;
            const R *soon = y + (k + PLANES_AHEAD < k1 ? PLANES_AHEAD * job->inner : 0);
            for (ptrdiff_t j = 0; j < full; j += LANES) {
                sl_prefetch(soon + j);
                V(store)(y + j, V(load)(from + j));
            }
            if (full < s->columns) V(store_tail)(y + full, s->columns - full, V(load)(from + full));
        }
        return;
    }
    for (ptrdiff_t j = 0; j < s->columns; j++) {
        const ptrdiff_t at = V(column_at)(job, s->first + j);
        for (ptrdiff_t k = k0; k < k1; k++) {
            const R *from = s->tile + (k - k0) * LANES + j;
            if (V(y_native)(job)) ((R *)job->y)[at + k * job->inner] = *from;
            else V(written)(job, at + k * job->inner, 1, from);
        }
    }
}

/* ---- short rows to columns and back: width <= LANES classes from c on are transposed ---------------------------- */

SL_INLINE void V(load_part)(const R *x, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t width, R *tile, ptrdiff_t stride) {
    vec v[LANES];
    if (rows == LANES && width == LANES)
        for (int i = 0; i < LANES; i++) v[i] = V(load)(x + i * n + c);
    else if (rows == LANES)
        for (int i = 0; i < LANES; i++) v[i] = V(load_tail)(x + i * n + c, width, 0);
    else
        for (int i = 0; i < LANES; i++) v[i] = V(load_tail)(x + (i < rows ? i : rows - 1) * n + c, width, 0); /* repeats the last row */
    V(transpose)(v);
    for (int i = 0; i < LANES && i < width; i++) V(store)(tile + (c + i) * stride, v[i]);
}
SL_INLINE void V(load_rows)(const R *x, ptrdiff_t n, ptrdiff_t rows, R *tile, ptrdiff_t stride) {
    if (rows == LANES && V(load_few)(x, (int)n, tile, stride)) return;
    for (ptrdiff_t c = 0; c < n; c += LANES) V(load_part)(x, n, rows, c, n - c < LANES ? n - c : LANES, tile, stride);
}
SL_INLINE void V(store_part)(const R *tile, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t width, R *y) {
    vec v[LANES];
    for (int i = 0; i < LANES; i++) v[i] = V(load)(tile + (c + (i < width ? i : 0)) * stride);
    V(transpose)(v);
    if (rows == LANES && width == LANES)
        for (int i = 0; i < LANES; i++) V(store)(y + i * n + c, v[i]);
    else
        for (int i = 0; i < rows; i++) V(store_tail)(y + i * n + c, width, v[i]);
}
static void V(store_rows)(const R *tile, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t rows, R *y) {
    if (rows == LANES && V(store_few)(tile, stride, (int)n, y)) return;
    for (ptrdiff_t c = 0; c < n; c += LANES) V(store_part)(tile, stride, n, rows, c, n - c < LANES ? n - c : LANES, y);
}

/* ---- columns: the steps, over tiles that are whole (source NULL) or packed again part by part ---- */

#define FOR_EACH_PART                                                                                                      \
    for (ptrdiff_t k0 = 0, part = source ? SL_BLOCK : n, rows = n < part ? n : part; k0 < n && V(fetch)(source, k0, rows); \
         k0 += part, rows = n - k0 < part ? n - k0 : part)

SL_INLINE int V(fetch)(V(source) * source, ptrdiff_t k0, ptrdiff_t rows) {
    if (source) V(pack)(source, k0, k0 + rows);
    return 1;
}

/* The odds of the confident lanes of one vector of columns, from the classes below their maximum. */
static void V(column_others)(V(source) * source, const R *tile, ptrdiff_t stride, ptrdiff_t n, const V(plan) * p, V(verdict) * v) {
    const V(table) table = V(load_table)(V_TABLE);
    const vec shift = source ? p->shift : V(set1)(0); /* a tile that was packed again */
    V(pair) sum = {V(set1)(0), V(set1)(0)};
    vec x[UNROLL];
    FOR_EACH_PART {
        ptrdiff_t k = 0;
        for (; k + UNROLL <= rows; k += UNROLL) {
            for (int i = 0; i < UNROLL; i++) x[i] = V(sub)(V(load)(tile + (k + i) * stride), shift);
            V(add_others)(UNROLL, x, p->reduced, &p->magic, &p->clamp, p->heat, table, &sum);
        }
        for (; k < rows; k++) {
            x[0] = V(sub)(V(load)(tile + k * stride), shift);
            V(add_others)(1, x, p->reduced, &p->magic, &p->clamp, p->heat, table, &sum);
        }
        sum = V(fast_two_sum)(sum);
    }
    V(judge_few)(sum, v);
}

/* logsumexp of the lanes with NaN or an infinite maximum */
static vec V(column_bad)(V(source) * source, R *tile, ptrdiff_t stride, ptrdiff_t n, const V(plan) * plan, const V(verdict) * v) {
    R value[LANES], max[LANES], poison[LANES];
    V(store)(value, v->a);
    V(store)(max, plan->max);
    V(store)(poison, v->poison);
    for (int i = 0; i < LANES; i++)
        if (poison[i] != poison[i]) value[i] = max[i];
    FOR_EACH_PART {
        for (int i = 0; i < LANES; i++)
            for (ptrdiff_t k = 0; k < rows; k++) {
                const R x = tile[k * stride + i];
                if (poison[i] != poison[i] && x != x) value[i] = NAN;
            }
    }
    return V(load)(value);
}

/* Where results go: class k of the first column is at y[k * stride], and there are so many columns. */
typedef struct {
    R *y;
    ptrdiff_t stride, columns;
} V(sink);

/* From where on a probability is 1: as make_certain */
SL_INLINE vec V(one_from)(const V(verdict) * v) { return V(select_lt)(v->few, V(set1)(0), V(set1)((R)0.5), V(set1)(INFINITY)); }

/* The last step: x or e to results, class by class over all columns, as they lie in memory. The tile has n classes from k0
   on, of the rows from first on. */
static void V(columns_write)(const sl_job *job, ptrdiff_t first, ptrdiff_t k0, const R *tile, ptrdiff_t stride, ptrdiff_t n,
                             const V(plan) * plan, const V(verdict) * v, V(sink) to) {
    const sl_op op = job->op;
    const int keeps_exp = sl_keeps_exp(job), hides = job->mask != NULL;
    const int full = (int)(to.columns / LANES), count = (int)((to.columns + LANES - 1) / LANES);
    const ptrdiff_t soon = PLANES_AHEAD / 2 * to.stride;
    const vec one = V(set1)(1);
    vec one_from[SL_GROUP];
    int any_certain = 0, any_bad = 0;
    for (int j = 0; j < count; j++) {
        one_from[j] = V(one_from)(&v[j]);
        any_certain |= op == SL_SOFTMAX && v[j].any_few;
        any_bad |= v[j].any_bad;
    }
    for (ptrdiff_t k = 0; k < n; k++)
        for (int j = 0; j < count; j++) {
            const vec x = V(load)(tile + k * stride + j * LANES);
            R *y = to.y + k * to.stride + j * LANES;
            sl_prefetch(y + soon);
            vec r = keeps_exp ? V(share)(V(kept)(x, hides, v[j].least), v[j].a, v[j].b) : V(log_of)(x, &plan[j], v[j].b);
            if (any_certain) r = V(select_lt)(one_from[j], r, one, r);
            if (j < full) V(store)(y, r);
            else V(store_tail)(y, to.columns - j * LANES, r);
        }
    for (int j = 0; any_bad && j < count; j++) {
        const vec zero = V(set1)(0);
        unsigned bad = V(lanes_lt)(zero, V(select_eq)(v[j].poison, v[j].poison, zero, one));
        for (; bad; bad &= bad - 1) {
            const ptrdiff_t i = j * LANES + sl_lowest_bit(bad);
            if (i >= to.columns) break;
            const ptrdiff_t at = V(column_at)(job, first + i) + k0 * job->inner;
            V(fill_bad)(job, at, job->inner, n, to.y + i, to.stride);
        }
    }
}

/* Up to SL_GROUP vectors of columns that go through all steps together. */
typedef struct {
    const sl_job *job;
    ptrdiff_t first, columns; /* rows first to first + columns of the job, one per lane */
    R *tile;                  /* class k of the first at tile[k * stride]; holds x */
    ptrdiff_t stride;
    const R *max;         /* of each column, where it is known */
    const V(heat) * heat; /* of all rows, where they have one temperature */
    R *spare;             /* room for one vector of columns, all classes that the tile has */
    const R *x;           /* the rows as they lie, where inner is 1 */
    V(sink) to;           /* where results go. logsumexp leaves its own in class 0 of the tile */
    const R *soon[2];     /* what to prefetch meanwhile: of n classes for each column; or NULL */
} V(batch);

SL_INLINE ptrdiff_t V(lanes_of)(const V(batch) * b, int j) { return b->columns - j * LANES < LANES ? b->columns - j * LANES : LANES; }

/* x of one vector of columns again, shifted, where e has taken its place in the tile */
static const R *V(columns_again)(const V(batch) * b, int j, const V(plan) * plan) {
    const sl_job *job = b->job;
    const ptrdiff_t n = job->n, first = b->first + j * LANES, columns = V(lanes_of)(b, j);
    if (job->inner == 1) {
        V(load_rows)(b->x + j * LANES * n, n, columns, b->spare, LANES);
    } else {
        V(source) s = {.job = job, .first = first, .columns = columns, .width = LANES, .tile = b->spare};
        V(pack)(&s, 0, n);
    }
    if (plan->shifted) V(column_shift)(b->spare, LANES, n, plan->shift);
    return b->spare;
}

/* The means of values of u vectors of columns, whose tile has e, to its class 0 */
SL_INLINE void V(mean_of_columns)(int u, int hides, const R *values, ptrdiff_t n, R *tile, ptrdiff_t stride, const V(verdict) * v) {
    const vec one = V(set1)(1);
    vec one_from[4];
    V(dot) d[4];
    int few = 0;
    for (int j = 0; j < u; j++) {
        d[j] = V(no_products)();
        one_from[j] = V(one_from)(&v[j]);
        few |= v[j].any_few;
    }
    for (ptrdiff_t k = 0; k < n; k++) {
        const vec value = V(set1)(values[k]);
        for (int j = 0; j < u; j++) {
            vec p = V(share)(V(kept)(V(load)(tile + k * stride + j * LANES), hides, v[j].least), v[j].a, v[j].b);
            if (few) p = V(select_lt)(one_from[j], p, one, p);
            V(add_product)(&d[j], p, value);
        }
    }
    for (int j = 0; j < u; j++) {
        for (int i = 0; i < HALVES; i++) d[j].high[i] = f64_add(d[j].high[i], d[j].low[i]);
        V(store)(tile + j * LANES, V(from_double)(d[j].high));
    }
}
/* and of a row without a finite maximum: NaN, or 0 where nothing counts */
static R V(mean_of_none)(const sl_job *job, ptrdiff_t row) {
    int counts = !job->mask;
    for (ptrdiff_t k = 0; k < job->n && !counts; k++) counts = !V(is_hidden)(job, row, k);
    return counts ? (R)NAN : 0;
}
static void V(mean_of_bad)(const sl_job *job, ptrdiff_t first, ptrdiff_t rows, const V(verdict) * v, R *tile) {
    R poison[LANES];
    V(store)(poison, v->poison);
    for (ptrdiff_t i = 0; i < rows; i++)
        if (poison[i] != poison[i]) tile[i] = V(mean_of_none)(job, first + i);
}

static void V(as_results)(const V(verdict) * v, V(results) * r) {
    R few[LANES], poison[LANES];
    V(store)(r->a, v->a);
    V(store)(r->b, v->b);
    r->rare = v->any_few || v->any_bad;
    if (!r->rare) return;
    V(store)(few, v->few);
    V(store)(poison, v->poison);
    for (int i = 0; i < LANES; i++) {
        r->bad[i] = poison[i] != poison[i];
        r->certain[i] = few[i] < 0;
    }
}

/* With a source there is one vector of columns, and the result goes straight back to the job. */
static void V(columns)(V(source) * source, const V(batch) * b) {
    const sl_job *job = b->job;
    const sl_op op = job->op;
    const ptrdiff_t n = job->n, stride = b->stride;
    const int count = (int)((b->columns + LANES - 1) / LANES), keeps_e = sl_keeps_exp(job) && !source;
    R *tile = b->tile;
    V(plan) plan[SL_GROUP];
    V(pair) sum[SL_GROUP];
    V(verdict) v[SL_GROUP];
    V(targets) targets[SL_GROUP];
    if (count < 1) return; /* there is always one, but compilers do not know */
    for (int j = 0; j < count; j++) {
        vec m = b->max ? V(load)(b->max + j * LANES) : V(set1)(-INFINITY);
        FOR_EACH_PART {
            if (source) m = V(max)(V(load)(source->max), m);
            else if (!b->max) m = V(column_max)(tile + j * LANES, stride, rows, m);
        }
        plan[j].max = m;
    }
    V(heat) heat[SL_GROUP];
    for (int j = 0; j < count; j++) {
        const V(heat) *own = b->heat ? b->heat : V(warm)(job, b->first + j * LANES, V(lanes_of)(b, j), &heat[j]);
        plan[j] = V(make_plan)(plan[j].max, own, 1);
    }
    for (int j = 0; j < count; j++) {
        R *column = tile + j * LANES;
        for (int i = 0; i < 2; i++)
            for (ptrdiff_t k = 0; b->soon[i] && k < n; k++) sl_prefetch(b->soon[i] + (j * n + k) * LANES);
        sum[j] = (V(pair)){V(set1)(0), V(set1)(0)};
        FOR_EACH_PART {
            if (job->loss) {
                R max[LANES];
                V(store)(max, plan[j].max);
                if (k0 == 0) V(clear)(&targets[j]);
                V(aim)(job, b->first + j * LANES, V(lanes_of)(b, j), k0, rows, column, 1, stride, max, &targets[j]);
            }
            if (plan[j].shifted) V(column_shift)(column, stride, rows, plan[j].shift);
            const vec ceiling = V(column_ceiling)(!source, column, stride, rows, &plan[j]);
            V(pair) part_sum = V(sum_begin)(ceiling);
            if (keeps_e) V(column_sum)(column, stride, rows, &plan[j], 1, &part_sum);
            else V(column_sum)(column, stride, rows, &plan[j], 0, &part_sum);
            part_sum = V(sum_end)(part_sum, ceiling);
            sum[j] = V(fast_two_sum)(source ? V(two_sum)(sum[j], part_sum) : part_sum);
        }
    }
    for (int j = 0; j < count; j++) V(judge)(job, &plan[j], sum[j], &v[j]);
    if (op != SL_SOFTMAX) {
        for (int j = 0; j < count; j++) {
            if (!v[j].any_few) continue;
            if (keeps_e) V(column_others)(NULL, V(columns_again)(b, j, &plan[j]), LANES, n, &plan[j], &v[j]);
            else V(column_others)(source, tile + j * LANES, stride, n, &plan[j], &v[j]);
        }
        for (int j = 0; j < count; j++) V(judge_log)(op, &plan[j], &v[j]);
    }
    if (job->loss)
        for (int j = 0; j < count; j++) {
            const ptrdiff_t row = b->first + j * LANES;
            V(lose)(job, row, V(lanes_of)(b, j), &plan[j], &targets[j], v[j].log, &v[j].z, v[j].poison, &v[j].a, &v[j].b);
        }
    for (int j = 0; job->choice && j < count; j++) {
        V(results) r;
        V(as_results)(&v[j], &r);
        V(pick)(job, b->first + j * LANES, (int)V(lanes_of)(b, j), &plan[j], &r, source ? NULL : tile + j * LANES, stride, NULL);
    }
    if (op == SL_LOGSUMEXP) {
        for (int j = 0; j < count; j++) {
            R *column = tile + j * LANES;
            V(store)(column, v[j].any_bad ? V(column_bad)(source, column, stride, n, &plan[j], &v[j]) : v[j].a);
        }
    }
    if (!sl_visits_classes(job)) return;
    if (job->values) { /* the tile is whole */
        int j = 0;
        for (; j + 4 <= count; j += 4) V(mean_of_columns)(4, job->mask != NULL, job->values, n, tile + j * LANES, stride, v + j);
        for (; j < count; j++) V(mean_of_columns)(1, job->mask != NULL, job->values, n, tile + j * LANES, stride, v + j);
        for (j = 0; j < count; j++)
            if (v[j].any_bad) V(mean_of_bad)(job, b->first + j * LANES, V(lanes_of)(b, j), &v[j], tile + j * LANES);
        return;
    }
    FOR_EACH_PART {
        if (source) {
            V(pair) unused = V(sum_begin)(V(set1)(C(CEILING)));
            if (plan[0].shifted) V(column_shift)(tile, stride, rows, plan[0].shift);
            if (sl_keeps_exp(job)) V(column_sum)(tile, stride, rows, &plan[0], 1, &unused);
        }
        V(columns_write)(job, b->first, k0, tile, stride, rows, plan, v, b->to);
        for (int j = 0; job->loss && j < count; j++)
            V(aim_gradient)(job, b->first + j * LANES, V(lanes_of)(b, j), k0, rows, &targets[j], b->to.y + j * LANES, 1, b->to.stride);
        if (source) V(unpack)(source, k0, k0 + rows);
    }
}
#undef FOR_EACH_PART

static void V(tiles)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t width = sl_tile_width(job->n, job->inner, LANES), all = job->outer * job->inner;
    const ptrdiff_t per_outer = (job->inner + width - 1) / width;
    V(heat) heat;
    const V(heat) *one = V(warm_all)(job, &heat);
    const int whole = job->n <= SL_BLOCK,
              direct = whole && job->inner >= LANES && V(y_native)(job) && sl_writes_rows(job); /* from the tile to y */
    for (ptrdiff_t t = first; t < last; t++) {
        V(source) s = {.job = job, .first = t * width, .width = width, .tile = scratch};
        ptrdiff_t end = all;
        if (job->inner >= LANES) {
            s.first = t / per_outer * job->inner + t % per_outer * width;
            end = (t / per_outer + 1) * job->inner;
        }
        s.columns = end - s.first < width ? end - s.first : width;
        if (whole) V(pack)(&s, 0, job->n);
        for (ptrdiff_t j = 0; j < s.columns; j += SL_GROUP * LANES) {
            const ptrdiff_t left = s.columns - j < SL_GROUP * LANES ? s.columns - j : SL_GROUP * LANES;
            V(batch) b = {.job = job, .first = s.first + j, .columns = left, .tile = s.tile + j, .stride = width, .heat = one};
            b.max = whole ? s.max + j : NULL;
            b.spare = s.tile + job->n * width;
            b.to = (V(sink)){s.tile + j, width, left};
            if (direct) b.to = (V(sink)){(R *)job->y + V(column_at)(job, s.first + j), job->inner, left};
            V(columns)(whole ? NULL : &s, &b);
        }
        if (sl_writes_rows(job) && whole && !direct) V(unpack)(&s, 0, job->n);
        if (sl_reduces(job)) V(put_values)(job, s.first, s.columns, s.tile);
    }
}

/* ---- n <= SL_SHORT, inner 1: SL_GROUP times LANES rows at a time go through a tile ------------------------------- */

static void V(short_rows)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t n = job->n;
    R *tile = scratch, *raw = tile + SL_GROUP * LANES * n;
    const int prefetches = n > STREAMED || !sl_cached(job);
    V(heat) heat;
    const V(heat) *one = V(warm_all)(job, &heat);
    for (ptrdiff_t row = first; row < last; row += SL_GROUP * LANES) {
        const ptrdiff_t rows = last - row < SL_GROUP * LANES ? last - row : SL_GROUP * LANES;
        const int count = (int)((rows + LANES - 1) / LANES);
        const R *x = V(read)(job, row * n, rows * n, raw);
        for (int j = 0; j < count; j++)
            V(load_rows)(x + j * LANES * n, n, rows - j * LANES < LANES ? rows - j * LANES : LANES, tile + j * LANES, SL_GROUP * LANES);
        V(batch) b = {.job = job, .first = row, .columns = rows, .tile = tile, .stride = SL_GROUP * LANES, .heat = one, .x = x};
        b.spare = raw + SL_GROUP * LANES * n;
        b.to = (V(sink)){tile, SL_GROUP * LANES, rows};
        if (prefetches && V(x_native)(job)) b.soon[0] = (const R *)job->x + row * n + SL_PREFETCH / sizeof(R);
        if (prefetches && V(y_native)(job) && sl_writes_rows(job)) b.soon[1] = (const R *)job->y + row * n + SL_PREFETCH / sizeof(R);
        V(columns)(NULL, &b);
        if (sl_reduces(job)) V(put_values)(job, row, rows, tile);
        if (!sl_writes_rows(job)) continue;
        R *y = V(y_native)(job) ? (R *)job->y + row * n : raw;
        for (int j = 0; j < count; j++)
            V(store_rows)(tile + j * LANES, SL_GROUP * LANES, n, rows - j * LANES < LANES ? rows - j * LANES : LANES, y + j * LANES * n);
        V(written)(job, row * n, rows * n, raw);
    }
}

/* ---- narrow columns: fewer columns than lanes, more than SL_SHORT classes. Turned into rows, LANES classes at a time */

/* From the last classes to the first: a vector that reaches past the end of its row is overwritten by the next row's. */
static void V(turn)(const sl_job *job, ptrdiff_t at, ptrdiff_t n, R *rows, ptrdiff_t stride) {
    R raw[LANES * LANES];
    for (ptrdiff_t k = (n - 1) / LANES * LANES; k >= 0; k -= LANES) {
        const ptrdiff_t count = n - k < LANES ? n - k : LANES;
        V(load_rows)(V(read)(job, at + k * job->inner, count * job->inner, raw), job->inner, count, rows + k, stride);
    }
}
static void V(turn_back)(const sl_job *job, const R *rows, ptrdiff_t stride, ptrdiff_t at, ptrdiff_t n) {
    R raw[LANES * LANES];
    for (ptrdiff_t k = 0; k < n; k += LANES) {
        const ptrdiff_t count = n - k < LANES ? n - k : LANES;
        V(store_rows)(rows + k, stride, job->inner, count, V(target)(job, at + k * job->inner, raw));
        V(written)(job, at + k * job->inner, count * job->inner, raw);
    }
}

/* What turned rows, in which hidden classes are -inf, have come to: a row with nothing above -inf again, with the mask. */
static void V(mend_turned)(const sl_job *job, ptrdiff_t first, ptrdiff_t count, const R *rows, R *result) {
    for (ptrdiff_t i = 0; job->choice && i < count; i++) {
        int64_t *index = job->choice->index + first + i;
        if (job->choice->how == SL_LARGEST && rows[i * job->n + *index] == -INFINITY) V(complete)(job, first + i, 1, NULL, 0, index);
        if (job->y && result[i] != result[i]) result[i] = V(mended)(job, first + i, *index, result[i], 1, 0);
    }
    for (ptrdiff_t i = 0; job->values && i < count; i++)
        if (result[i] != result[i]) result[i] = V(mean_of_none)(job, first + i);
}

/* Some outer indices, together no more rows than LANES */
static void V(narrow_whole)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t n = job->n, size = n * job->inner, count = (last - first) * job->inner;
    R *rows = scratch, *result = rows + LANES * n + LANES, *work = result + LANES;
    for (ptrdiff_t outer = first; outer < last; outer++) V(turn)(job, outer * size, n, rows + (outer - first) * size, n);
    sl_job turned = *job;
    turned.x_storage = turned.y_storage = OWN_STORAGE;
    turned.mask = NULL; /* has done its work */
    if (job->temperature) turned.temperature += job->temperature_step * first * job->inner;
    turned.x = rows;
    turned.y = sl_writes_rows(job) ? rows : result;
    sl_choice choice;
    if (job->choice) {
        choice = *job->choice;
        choice.index += first * job->inner;
        turned.choice = &choice;
    }
    sl_loss loss;
    if (job->loss) {
        loss = *job->loss;
        loss.first = first * job->inner;
        turned.loss = &loss;
    }
    turned.outer = count;
    turned.inner = 1;
    V(rows)(&turned, 0, count, work);
    if (!sl_writes_rows(job)) {
        if (job->mask) V(mend_turned)(job, first * job->inner, count, rows, result);
        if (job->y) V(put_values)(job, first * job->inner, count, result);
        return;
    }
    for (ptrdiff_t outer = first; outer < last; outer++) {
        R *own = rows + (outer - first) * size;
        for (ptrdiff_t i = 0; job->mask && i < job->inner; i++)
            if (own[i * n] != own[i * n]) V(fill_bad)(job, outer * size + i, job->inner, n, own + i * n, 1);
        V(turn_back)(job, own, n, outer * size, n);
    }
}

/* The same block by block, as there is room for one block only. */
static void V(narrow_long)(const sl_job *job, ptrdiff_t outer, void *scratch) {
    const int columns = (int)job->inner;
    R *rows = scratch, *block = rows + LANES * SL_BLOCK + LANES;
    R max[LANES] = {0}, magic[LANES], clamp[LANES], shift[LANES], k_of_max[LANES], unused;
    V(pair) sums[LANES];
    for (int i = 0; i < LANES; i++) sums[i] = (V(pair)){V(set1)(0), V(set1)(0)};
    V(plan) plan;
    V(heat) warm;
    V(results) results;
    V(targets) targets;
    V(clear)(&targets);
    for (int step = 0; step < 3; step++) {
        for (ptrdiff_t k = 0; k < job->n; k += SL_BLOCK) {
            const ptrdiff_t n = job->n - k < SL_BLOCK ? job->n - k : SL_BLOCK, at = (outer * job->n + k) * job->inner;
            V(turn)(job, at, n, rows, SL_BLOCK);
            if (job->loss && step == 1) V(aim)(job, outer * job->inner, columns, k, n, rows, SL_BLOCK, 1, max, &targets);
            for (int i = 0; i < columns; i++) {
                R *row = rows + i * SL_BLOCK;
                V(heat) own;
                const V(heat) *heat = step == 0 ? NULL : V(warm_row)(plan.heat, i, &own);
                if (step == 0) {
                    const R m = V(row_max)(row, n);
                    max[i] = k == 0 || m > max[i] ? m : max[i];
                    continue;
                }
                if (shift[i] != 0 && (step == 1 || sl_keeps_exp(job))) V(row_shift)(row, n, shift[i], row);
                if (step == 1) {
                    const R ceiling = V(ceiling_of)(V(row_max)(row, n), k_of_max[i], heat);
                    const V(pair) s = V(row_sum)(row, n, magic[i], clamp[i], heat, ceiling, NULL, NULL, row, &unused);
                    sums[i] = V(fast_two_sum)(V(two_sum)(sums[i], s));
                } else {
                    if (sl_keeps_exp(job)) V(row_sum)(row, n, magic[i], clamp[i], heat, C(CEILING), row, row, row, &unused);
                    V(make_row)(job, at + i, row, n, &results, i, 1, row);
                }
            }
            if (step < 2) continue;
            if (job->loss) V(aim_gradient)(job, outer * job->inner, columns, k, n, &targets, rows, SL_BLOCK, 1);
            V(turn_back)(job, rows, SL_BLOCK, at, n);
        }
        if (step == 0) {
            plan = V(make_plan)(V(load)(max), V(warm)(job, outer * job->inner, columns, &warm), 1);
            V(store)(magic, plan.magic);
            V(store)(clamp, plan.clamp);
            V(store)(shift, plan.shift);
            V(store)(k_of_max, plan.k);
        } else if (step == 1) {
            V(finish_rows)(job, outer * job->inner, columns, &plan, V(add_lanes)(sums, columns), block, &results);
            if (job->choice) V(pick)(job, outer * job->inner, columns, &plan, &results, NULL, 0, NULL);
            if (job->loss) V(lose_rows)(job, outer * job->inner, columns, &plan, &targets, &results);
            if (job->op == SL_LOGSUMEXP) V(put_values)(job, outer * job->inner, columns, results.a);
            if (!sl_writes_rows(job)) return;
        }
    }
}

static void V(narrow_columns)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t together = job->n <= SL_BLOCK ? LANES / job->inner : 1;
    for (ptrdiff_t outer = first; outer < last; outer += together) {
        if (job->n <= SL_BLOCK) V(narrow_whole)(job, outer, outer + together < last ? outer + together : last, scratch);
        else V(narrow_long)(job, outer, scratch);
    }
}

#undef PLANES_AHEAD
