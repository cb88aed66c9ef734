/* choice.inc.h: compute. Some classes of each row: the largest, how many come before one, one drawn at random; and the
   probabilities of the chosen. Part of kernels.inc.h, which has the steps that all forms share.

   softlane.h has the order of classes. Rows are not sorted, but lists of candidates, which most classes never enter. */
#ifndef SL_SELECT_INC
#define SL_SELECT_INC
#include "ops/expectation.inc.h"

/* ---- the order ------------------------------------------------------------------------------------------------ */

/* Numbers, not NaN, as integers of the same order, which one can pack, and bisect between. -0 is 0. No branch hangs on a sign. */
#if SL_REAL == 32
typedef uint32_t order_key;
#else
typedef uint64_t order_key;
#endif
#define SIGN ((order_key)1 << (8 * sizeof(R) - 1))
SL_INLINE order_key key_of(R x) {
    order_key b;
    memcpy(&b, &x, sizeof b);
    b = b == SIGN ? 0 : b;
    return b ^ (SIGN | (0 - (b >> (8 * sizeof(R) - 1))));
}
SL_INLINE R value_of_key(order_key b) {
    R x;
    b ^= SIGN | ((b >> (8 * sizeof(R) - 1)) - 1);
    memcpy(&x, &b, sizeof x);
    return x;
}
#undef SIGN

/* A class: its value, not NaN, and its index, as one number where it has the bits. The smaller comes before. */
#if SL_REAL == 32
typedef uint64_t candidate;
SL_INLINE candidate make_candidate(R value, int64_t index) { return (uint64_t)~key_of(value) << 32 | (uint64_t)index; }
SL_INLINE R candidate_value(candidate e) { return value_of_key(~(order_key)(e >> 32)); }
SL_INLINE int64_t candidate_index(candidate e) { return (int64_t)(e & 0xFFFFFFFFu); }
SL_INLINE int candidate_before(candidate a, candidate b) { return a < b; }
SL_INLINE unsigned candidate_digit(candidate e, int d) { return e >> (8 * d) & 255; }
#define SORT_BY_RANK_LIMIT 96
#else
typedef struct {
    uint64_t key;
    int64_t index;
} candidate;
SL_INLINE candidate make_candidate(R value, int64_t index) { return (candidate){~key_of(value), index}; }
SL_INLINE R candidate_value(candidate e) { return value_of_key(~e.key); }
SL_INLINE int64_t candidate_index(candidate e) { return e.index; }
SL_INLINE int candidate_before(candidate a, candidate b) { return (a.key < b.key) | ((a.key == b.key) & (a.index < b.index)); }
SL_INLINE unsigned candidate_digit(candidate e, int d) { return (d < 8 ? (uint64_t)e.index : e.key) >> (8 * (d % 8)) & 255; }
#define SORT_BY_RANK_LIMIT 24
#endif
#define DIGITS ((int)sizeof(candidate) / 2) /* bytes of the index; those of the value follow */

/* Sorts entries by value, those with one value keeping their order; or by index, if their values are one. The few that are
   SORT_BY_RANK_LIMIT by a count of those before, in loops without a branch that depends on them; the others digit by digit. */
static void sort_candidates(candidate *a, ptrdiff_t n, int by_index, candidate *spare) {
    if (n <= SORT_BY_RANK_LIMIT) {
        memcpy(spare, a, (size_t)n * sizeof *a);
        for (ptrdiff_t i = 0; i < n; i++) {
            ptrdiff_t rank = 0;
            for (ptrdiff_t j = 0; j < n; j++) rank += candidate_before(spare[j], spare[i]);
            a[rank] = spare[i];
        }
        return;
    }
    ptrdiff_t end[DIGITS][256] = {{0}};
    const int first = by_index ? 0 : DIGITS;
    for (ptrdiff_t i = 0; i < n; i++)
        for (int d = 0; d < DIGITS; d++) end[d][candidate_digit(a[i], first + d)]++;
    candidate *from = a, *to = spare;
    for (int d = 0; d < DIGITS; d++) {
        ptrdiff_t *place = end[d], before = 0;
        if (place[candidate_digit(from[0], first + d)] == n) continue; /* all the same */
        for (int i = 0; i < 256; i++) {
            const ptrdiff_t count = place[i];
            place[i] = before;
            before += count;
        }
        for (ptrdiff_t i = 0; i < n; i++) to[place[candidate_digit(from[i], first + d)]++] = from[i];
        candidate *last = from;
        from = to;
        to = last;
    }
    if (from != a) memcpy(a, from, (size_t)n * sizeof *a);
}
#undef SORT_BY_RANK_LIMIT
#undef DIGITS

/* job->memory: a block, entries and as many spare ones, maxima of groups, and for a draw weights and sums of blocks */
SL_INLINE R *scratch_block(const sl_job *job) { return job->memory; }
SL_INLINE candidate *scratch_candidates(const sl_job *job) { return (candidate *)((char *)job->memory + sl_block_bytes(job->n)); }
SL_INLINE R *scratch_maxima(const sl_job *job) {
    return (R *)((char *)scratch_candidates(job) + sl_entry_bytes(job->n, sl_listed(job->choice, job->n), sizeof(candidate)));
}
SL_INLINE double *scratch_weights(const sl_job *job) {
    return (double *)((char *)scratch_maxima(job) + sl_maxima_bytes(job->n, sl_listed(job->choice, job->n), LANES));
}

SL_INLINE R logit_at(const sl_job *job, ptrdiff_t row, int64_t k) {
    const ptrdiff_t at = job->inner == 1 ? row * job->n + (ptrdiff_t)k : start_of_row(job, row) + (ptrdiff_t)k * job->inner;
    R one = 0;
    return x_is_native(job) ? ((const R *)job->x)[at] : *load_block(job, at, 1, &one);
}
SL_INLINE int is_hidden(const sl_job *job, ptrdiff_t row, int64_t k) {
    return job->mask && !job->mask[start_of_row(job, row) + (ptrdiff_t)k * job->inner];
}

#define ALL_LANES (unsigned)((1u << LANES) - 1)

/* The first of n numbers, none of them NaN, that is not below this one; or n. 64 at a time: which of them it is, nothing foresees. */
SL_INLINE ptrdiff_t first_not_below(const R *x, ptrdiff_t n, R value) {
    const vec v = v_set1(value);
    ptrdiff_t i = 0;
    for (; i + 64 <= n; i += 64) {
        uint64_t below = 0;
        for (int j = 0; j < 64; j += LANES) below |= (uint64_t)v_lanes_lt(v_load(x + i + j), v) << j;
        if (~below) return i + sl_lowest_bit(~below);
    }
    for (; i < n; i += LANES) {
        const unsigned below = v_lanes_lt(v_load_tail(x + i, n - i < LANES ? n - i : LANES, -INFINITY), v);
        if (below != ALL_LANES) return i + sl_lowest_bit(~below);
    }
    return n;
}
/* As first_of_max. Most of a long row need not be read where the maxima of its parts are known. */
static ptrdiff_t find_max_by_parts(const sl_job *job, ptrdiff_t row, R max, const R *maxima) {
    const ptrdiff_t step = maxima ? SL_VECTORS_PER_MAXIMUM * LANES : SL_BLOCK;
    ptrdiff_t k = maxima ? first_not_below(maxima, (job->n + step - 1) / step * LANES, max) / LANES * step : 0;
    for (; k < job->n; k += step) {
        const ptrdiff_t n = job->n - k < step ? job->n - k : step;
        const ptrdiff_t i = first_not_below(load_row_block(job, row, k, n, scratch_block(job)), n, max);
        if (i < n) return k + i;
    }
    return 0;
}

/* The first class with the row's maximum, if that is above -inf and there is no NaN. */
SL_INLINE ptrdiff_t first_index_of_max(const sl_job *job, ptrdiff_t row, R max, const R *maxima) {
    if (x_is_native(job) && job->inner == 1 && !maxima) return first_not_below((const R *)job->x + row * job->n, job->n, max);
    return find_max_by_parts(job, row, max, maxima);
}

/* The first k classes of a row that has NaN, or fewer than k above -inf; those that are neither are there, in order. */
static void fill_special_rows(const sl_job *job, ptrdiff_t row, ptrdiff_t k, const candidate *entries, ptrdiff_t count, int64_t *index) {
    enum { IS_NAN, IS_LOWEST, IS_HIDDEN };
    ptrdiff_t found = 0;
    for (int pass = IS_NAN; pass <= IS_HIDDEN; pass++) {
        for (ptrdiff_t c = 0; c < job->n && found < k; c++) {
            const R x = logit_at(job, row, c);
            const int kind = is_hidden(job, row, c) ? IS_HIDDEN : x != x ? IS_NAN : x == -INFINITY ? IS_LOWEST : -1;
            if (kind == pass) index[found++] = c;
        }
        for (ptrdiff_t i = 0; pass == IS_NAN && i < count && found < k; i++) index[found++] = candidate_index(entries[i]);
    }
}

/* ---- the largest ---------------------------------------------------------------------------------------------- */

/* The largest of each lane; *nan becomes NaN in lanes where there is one */
SL_INLINE vec max_and_nan(const R *x, ptrdiff_t n, vec *nan) {
    const vec lowest = v_set1(-INFINITY), hit = v_set1(NAN);
    vec a = lowest, b = lowest, seen = *nan, seen2 = *nan;
    ptrdiff_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        const vec u = v_load(x + i), v = v_load(x + i + LANES);
        a = v_max(u, a);
        b = v_max(v, b);
        seen = v_select_eq(u, u, seen, hit);
        seen2 = v_select_eq(v, v, seen2, hit);
    }
    for (; i < n; i += LANES) {
        const vec u = v_load_tail(x + i, n - i < LANES ? n - i : LANES, -INFINITY);
        a = v_max(u, a);
        seen = v_select_eq(u, u, seen, hit);
    }
    *nan = v_add(seen, seen2);
    return v_max(a, b);
}

/* The maxima of each lane of parts of so many vectors; *nan as above */
static void part_maxima(const sl_job *job, ptrdiff_t row, ptrdiff_t vectors, R *maxima, vec *nan) {
    for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
        const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
        const R *x = load_row_block(job, row, b, n, scratch_block(job));
        for (ptrdiff_t i = 0; i < n; i += vectors * LANES, maxima += LANES)
            v_store(maxima, max_and_nan(x + i, n - i < vectors * LANES ? n - i : vectors * LANES, nan));
    }
}

/* How many of n numbers are above one; n is a multiple of LANES. More than EXACT_TO in a lane would be too few, and do no harm. */
static ptrdiff_t count_above(const R *x, ptrdiff_t n, R bar) {
    const vec v = v_set1(bar), none = v_set1(0), one = v_set1(1);
    vec a = none, b = none;
    ptrdiff_t i = 0, count = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        a = v_add(a, v_select_lt(v, v_load(x + i), one, none));
        b = v_add(b, v_select_lt(v, v_load(x + i + LANES), one, none));
    }
    if (i < n) a = v_add(a, v_select_lt(v, v_load(x + i), one, none));
    R lane[LANES];
    v_store(lane, v_add(a, b));
    for (int l = 0; l < LANES; l++) count += (ptrdiff_t)lane[l];
    return count;
}

/* A number that at least k of those n are above, and not many more, unless more are equal: found by halves, of values, at times of
   their keys, as values may be too far apart. -inf where fewer than k are above that. */
static R topk_threshold(const R *x, ptrdiff_t n, ptrdiff_t k) {
    const vec lowest = v_set1(-INFINITY), zero = v_set1(0);
    vec top = lowest, bottom = lowest; /* bottom: of what is above -inf, negated */
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec v = v_load(x + i);
        top = v_max(v, top);
        bottom = v_max(v_select_lt(lowest, v, v_sub(zero, v), lowest), bottom);
    }
    R low = -INFINITY, high = v_reduce_max(top);
    const R least = -v_reduce_max(bottom);
    ptrdiff_t above_low = n, above_high = 0;
    for (int step = 0, idle = 0; step < 40 && idle < 8; step++) { /* idle: nothing lies between, as among equals */
        const R from = low < least ? least : low;
        R middle = from + (high - from) / 2;
        if (step % 4 == 3 || !(middle > low && middle < high)) middle = value_of_key(key_of(low) + (key_of(high) - key_of(low)) / 2);
        if (!(middle > low && middle < high)) break;
        const ptrdiff_t count = count_above(x, n, middle);
        idle = count == above_low || count == above_high ? idle + 1 : 0;
        if (count < k) {
            high = middle;
            above_high = count;
            continue;
        }
        low = middle;
        above_low = count;
        if (count <= k + k / 8 + 8) break;
    }
    return low;
}

/* The same for maxima of the lanes of parts, so many parts together. */
static R threshold_of_parts(const R *maxima, ptrdiff_t parts, ptrdiff_t together, ptrdiff_t k, R *tops) {
    if (together == 1) return topk_threshold(maxima, parts * LANES, k);
    ptrdiff_t count = 0;
    for (ptrdiff_t p = 0; p < parts; p += together, count += LANES) {
        vec top = v_load(maxima + p * LANES);
        for (ptrdiff_t i = p + 1; i < p + together && i < parts; i++) top = v_max(v_load(maxima + i * LANES), top);
        v_store(tops + count, top);
    }
    return topk_threshold(tops, count, k);
}

/* The first k classes above -inf to job->memory's entries; returns how many there are. NaN is not among them. maxima: of parts
   of SL_VECTORS_PER_MAXIMUM vectors of a row without NaN, if they are known. */
static ptrdiff_t find_candidates(const sl_job *job, ptrdiff_t row, ptrdiff_t k, int sorted, const R *maxima, int *has_nan) {
    candidate *entries = scratch_candidates(job);
    const int has_threshold = sl_has_threshold(job->n, k);
    const ptrdiff_t group = sl_vectors_per_maximum(job->n, k, LANES), room = sl_candidates(job->n, k);
    const ptrdiff_t fine = group < SL_VECTORS_PER_MAXIMUM ? group : SL_VECTORS_PER_MAXIMUM;
    candidate *spare = entries + room;
    vec nan = v_set1(0);
    const vec hit = v_set1(NAN);
    R bar = -INFINITY;
    if (has_threshold) {
        if (!maxima || fine < SL_VECTORS_PER_MAXIMUM) {
            part_maxima(job, row, fine, scratch_maxima(job), &nan);
            maxima = scratch_maxima(job);
        }
        bar = threshold_of_parts(maxima, (job->n + fine * LANES - 1) / (fine * LANES), group / fine, k, (R *)entries);
    }
    vec above = v_set1(bar);
    ptrdiff_t count = 0, part = 0;
    for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
        const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
        const R *x = NULL;
        for (ptrdiff_t start = 0; start < n; start += fine * LANES, part++) {
            if (has_threshold && !v_any_lt(above, v_load(maxima + part * LANES))) continue;
            if (!x) x = load_row_block(job, row, b, n, scratch_block(job));
            const ptrdiff_t end = start + fine * LANES < n ? start + fine * LANES : n;
            for (ptrdiff_t i = start; i < end; i += LANES) {
                const vec v = v_load_tail(x + i, end - i < LANES ? end - i : LANES, -INFINITY);
                if (!has_threshold) nan = v_select_eq(v, v, nan, hit);
                unsigned lanes = v_lanes_lt(above, v);
                const unsigned but_one = lanes & (lanes - 1), but_two = but_one & (but_one - 1);
                if (but_two && end - i >= LANES && count + LANES <= room) { /* three or more: sooner all than one by one */
                    candidate all[LANES];
                    for (int l = 0; l < LANES; l++) all[l] = make_candidate(x[i + l], b + i + l);
                    for (int l = 0; l < LANES; l++) {
                        entries[count] = all[l];
                        count += lanes >> l & 1;
                    }
                    continue;
                }
                for (; lanes; lanes &= lanes - 1) {
                    const ptrdiff_t l = i + sl_lowest_bit(lanes);
                    if (count == room) {
                        sort_candidates(entries, count, 0, spare); /* equals that follow have a higher index, and come too late */
                        count = k;
                        bar = candidate_value(entries[k - 1]);
                        above = v_set1(bar);
                    }
                    if (x[l] > bar) entries[count++] = make_candidate(x[l], b + l); /* it may have risen since */
                }
            }
        }
    }
    *has_nan = v_any_nan(nan);
    if (sorted || count > k) sort_candidates(entries, count, 0, spare);
    return count < k ? count : k;
}

static void find_topk(const sl_job *job, ptrdiff_t row, R max, const R *maxima, int64_t *index) {
    const ptrdiff_t k = job->choice->k;
    int has_nan;
    candidate *entries = scratch_candidates(job);
    const ptrdiff_t count = find_candidates(job, row, k, job->choice->sorted, max == max ? maxima : NULL, &has_nan);
    if (has_nan) sort_candidates(entries, count, 0, entries + count); /* the last of them have no place */
    if (has_nan || count < k) fill_special_rows(job, row, k, entries, count, index);
    else
        for (ptrdiff_t i = 0; i < k; i++) index[i] = candidate_index(entries[i]);
}

/* max: of the row, if that is known and there is no NaN, else NaN */
SL_INLINE void find_largest(const sl_job *job, ptrdiff_t row, R max, const R *maxima, int64_t *index) {
    if (job->choice->k == 1 && max == max) index[0] = first_index_of_max(job, row, max, maxima);
    else find_topk(job, row, max, maxima, index);
}

/* The largest of each column, in a strip of columns of one outer index. */
static void largest_of_columns(const sl_job *job, ptrdiff_t first, ptrdiff_t columns) {
    R max[SL_TILE_WIDTH], where[SL_TILE_WIDTH], nan[SL_TILE_WIDTH];
    const ptrdiff_t at = start_of_row(job, first);
    const vec hit = v_set1(NAN);
    for (ptrdiff_t j = 0; j < SL_TILE_WIDTH; j++) {
        max[j] = -INFINITY;
        where[j] = nan[j] = 0;
    }
    for (ptrdiff_t k = 0; k < job->n; k++) {
        const R *x = load_block(job, at + k * job->inner, columns, scratch_block(job));
        const vec class = v_set1((R)k);
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            const vec v = v_load_tail(x + j, columns - j < LANES ? columns - j : LANES, 0), m = v_load(max + j);
            v_store(where + j, v_select_lt(m, v, class, v_load(where + j)));
            v_store(max + j, v_select_lt(m, v, v, m));
            v_store(nan + j, v_select_eq(v, v, v_load(nan + j), hit));
        }
    }
    int64_t *index = job->choice->index + first;
    for (ptrdiff_t j = 0; j < columns; j++) {
        if (nan[j] != nan[j] || max[j] == -INFINITY) fill_special_rows(job, first + j, 1, NULL, 0, index + j);
        else index[j] = job->n < EXACT_INDEX_LIMIT ? (int64_t)where[j] : first_index_of_max(job, first + j, max[j], NULL);
    }
}

/* ---- values of chosen classes ----------------------------------------------------------------------------------- */

/* Softmax or log_softmax of single classes, in the steps that whole rows take: so the bits are those of whole rows. x: less shift. */
SL_INLINE vec value_of_class(sl_op op, vec x, const exp_params *plan, vec a, vec b) {
    if (op == SL_LOG_SOFTMAX) return log_prob(x, plan, b);
    pair unused = sum_begin(v_set1(SUM_ANCHOR));
    add_exp(1, &x, &plan->magic, &plan->clamp, plan->heat, v_load_table(exp_table), &unused, &x);
    return v_fma(x, a, v_mul(x, b));
}

/* The same for pick number j of row i, where the row is not like others. */
static R fix_special(const sl_job *job, ptrdiff_t row, int64_t class, R y, int bad, int certain) {
    if (bad) return !is_hidden(job, row, class) ? (R)NAN : job->op == SL_SOFTMAX ? 0 : (R)-INFINITY;
    return certain && job->op == SL_SOFTMAX && y > (R)0.5 ? 1 : y;
}

/* The largest of rows one per lane, whose tile holds x less shift. Bad rows are left to find_largest. */
static void largest_of_lanes(const exp_params *plan, const R *tile, ptrdiff_t stride, ptrdiff_t n, R *where) {
    vec w = v_set1(0);
    for (ptrdiff_t k = n - 1; k >= 0; k--) w = v_select_eq(v_load(tile + k * stride), plan->reduced, v_set1((R)k), w);
    v_store(where, w);
}

/* What the caller has found out about some rows, one per lane, becomes the values of their chosen classes. What helps to find
   these: a tile of which the rows are columns, with x less shift; or the maxima of the parts of a row. */
static void select_finish(const sl_job *job, ptrdiff_t first, int rows, const exp_params *plan, const row_results *r, const R *tile,
                          ptrdiff_t stride, const R *maxima) {
    const sl_choice *choice = job->choice;
    const ptrdiff_t k = choice->k;
    const int is_largest = choice->how == SL_LARGEST, by_lanes = is_largest && tile && k == 1;
    R max[LANES], x[LANES], y[LANES], where[LANES];
    v_store(max, plan->max);
    if (by_lanes) largest_of_lanes(plan, tile, stride, job->n, where);
    for (int i = 0; is_largest && i < rows; i++) {
        const int bad = r->rare && r->bad[i];
        if (by_lanes && !bad) choice->index[first + i] = (int64_t)where[i];
        else find_largest(job, first + i, bad ? (R)NAN : max[i], maxima, choice->index + (first + i) * k);
    }
    if (!job->y) return;
    if (k == 1) {
        const int64_t *index = choice->index + first;
        vec chosen = plan->reduced;
        if (!is_largest) {
            for (int i = 0; i < LANES; i++) x[i] = i >= rows ? 0 : tile ? tile[index[i] * stride + i] : logit_at(job, first + i, index[i]);
            chosen = tile ? v_load(x) : v_sub(v_load(x), plan->shift);
        }
        v_store(y, value_of_class(job->op, chosen, plan, v_load(r->a), v_load(r->b)));
        for (int i = 0; r->rare && i < rows; i++) y[i] = fix_special(job, first + i, index[i], y[i], r->bad[i], r->certain[i]);
        store_results(job, first, rows, y);
        return;
    }
    for (int i = 0; i < rows; i++) {
        temperature_params own;
        const exp_params one = exp_params_for_max(v_set1(max[i]), temperature_of_row(plan->heat, i, &own), 1);
        const vec a = v_set1(r->a[i]), b = v_set1(r->b[i]);
        for (ptrdiff_t j = 0; j < k; j += LANES) {
            const ptrdiff_t at = (first + i) * k + j;
            const int count = (int)(k - j < LANES ? k - j : LANES);
            const int64_t *index = choice->index + at;
            for (int l = 0; l < LANES; l++) x[l] = l < count ? logit_at(job, first + i, index[l]) : 0;
            v_store(y, value_of_class(job->op, v_sub(v_load(x), one.shift), &one, a, b));
            for (int l = 0; r->rare && l < count; l++) y[l] = fix_special(job, first + i, index[l], y[l], r->bad[i], r->certain[i]);
            store_results(job, at, count, y);
        }
    }
}

/* ---- weights of many classes ------------------------------------------------------------------------------------- */

/* A part of the order: the classes above value, and those that equal it up to index tie. */
typedef struct {
    R value;
    ptrdiff_t tie;
} rank_prefix;

/* What n classes of a row weigh: those above bar (or equal, if ties are set), if their e is at least so much. Without a plan each
   weighs 1, and NaN is above all. */
static double weight_in_block(const R *x, ptrdiff_t n, R bar, int ties, const exp_params *plan, R least) {
    const vec t = v_set1(bar), none = v_set1(0), one = v_set1(1), low_end = v_set1(least);
    const v_table table = v_load_table(exp_table);
    dot_sum sum = dot_zero();
    for (ptrdiff_t i = 0; i < n; i += UNROLL * LANES) {
        vec v[UNROLL], e[UNROLL], T[UNROLL], p[UNROLL], low[UNROLL], magic[1], clamp[1];
        for (int j = 0; j < UNROLL; j++) {
            const ptrdiff_t left = n - i - j * LANES;
            v[j] = left >= LANES ? v_load(x + i + j * LANES)
                   : left > 0    ? v_load_tail(x + i + j * LANES, left, -INFINITY)
                                 : v_set1(-INFINITY);
        }
        if (plan) {
            vec r[UNROLL];
            magic[0] = plan->magic;
            clamp[0] = plan->clamp;
            for (int j = 0; j < UNROLL; j++) r[j] = v_sub(v[j], plan->shift);
            exp_parts(UNROLL, r, magic, clamp, plan->heat, table, T, p);
            for (int j = 0; j < UNROLL; j++) e[j] = v_fma(T[j], p[j], T[j]);
            for (int j = 0; j < UNROLL; j++) low[j] = v_fma(T[j], p[j], v_sub(T[j], e[j]));
        }
        for (int j = 0; j < UNROLL; j++) {
            vec kept = v_select_lt(t, v[j], plan ? e[j] : one, none);
            if (ties) kept = v_select_eq(v[j], t, plan ? e[j] : one, kept);
            if (!plan) kept = v_select_eq(v[j], v[j], kept, one);
            else kept = v_select_lt(kept, low_end, none, kept);
            dot_add_product(&sum, kept, one);
            if (plan) dot_add_low(&sum, v_select_eq(kept, none, none, low[j]));
        }
    }
    double lost = 0;
    const double total = dot_total(&sum, &lost);
    return total + lost;
}

/* The same for the classes [from, to) of a row. */
static double weight_above(const sl_job *job, ptrdiff_t row, ptrdiff_t from, ptrdiff_t to, rank_prefix cut, const exp_params *plan,
                           R least) {
    double total = 0;
    while (from < to) {
        ptrdiff_t end = (from / SL_BLOCK + 1) * SL_BLOCK;
        if (end > to) end = to;
        if (from <= cut.tie && end > cut.tie + 1) end = cut.tie + 1;
        const R *x = load_row_block(job, row, from, end - from, scratch_block(job));
        total += weight_in_block(x, end - from, cut.value, from <= cut.tie, plan, least);
        from = end;
    }
    return total;
}

static int64_t rank_of(const sl_job *job, ptrdiff_t row, int64_t class) {
    const R x = logit_at(job, row, class);
    if (x > -INFINITY) return (int64_t)weight_above(job, row, 0, job->n, (rank_prefix){x, (ptrdiff_t) class - 1}, NULL, 0);
    const int hidden = is_hidden(job, row, class);
    int64_t rank = 0;
    for (int64_t c = 0; c < job->n; c++) {
        const R other = logit_at(job, row, c);
        if (x != x) rank += other != other && c < class;
        else if (other != -INFINITY) rank++;
        else rank += is_hidden(job, row, c) == hidden ? c < class : hidden;
    }
    return rank;
}

/* ---- a draw ----------------------------------------------------------------------------------------------------- */

/* weights e of n classes */
static void weights_of(const R *x, ptrdiff_t n, const exp_params *plan, double *w) {
    const v_table table = v_load_table(exp_table);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        vec r = v_sub(v_load_tail(x + i, n - i < LANES ? n - i : LANES, 0), plan->shift), T, p;
        R t[LANES], q[LANES];
        exp_parts(1, &r, &plan->magic, &plan->clamp, plan->heat, table, &T, &p);
        v_store(t, T);
        v_store(q, p);
        for (ptrdiff_t l = 0; l < LANES && i + l < n; l++) w[i + l] = (double)t[l] + (double)t[l] * (double)q[l];
    }
}
static double weight_of(R x, const exp_params *plan) {
    double w;
    weights_of(&x, 1, plan, &w);
    return w;
}

/* The shortest part of the order that weighs so much, inside another part. Bisects for its last value, counts its equals. */
static rank_prefix find_prefix(const sl_job *job, ptrdiff_t row, double target, rank_prefix within, R max, const exp_params *plan) {
    if (weight_above(job, row, 0, job->n, within, plan, 0) < target) return within;
    order_key low = key_of(-INFINITY), high = key_of(max); /* above high is less than the target, above low is not */
    while (high - low > 1) {
        const order_key middle = low + (high - low) / 2;
        if (weight_above(job, row, 0, job->n, (rank_prefix){value_of_key(middle), -1}, plan, 0) < target) high = middle;
        else low = middle;
    }
    rank_prefix cut = {value_of_key(high), -1};
    const double rest = target - weight_above(job, row, 0, job->n, cut, plan, 0);
    const double each = plan ? weight_of(cut.value, plan) : 1;
    const ptrdiff_t end = cut.value == within.value ? within.tie + 1 : job->n;
    double equals = 0;
    for (ptrdiff_t c = 0; c < end && (equals * each < rest || equals == 0); c++) {
        if (logit_at(job, row, c) != cut.value) continue;
        cut.tie = c;
        equals++;
    }
    return cut;
}

/* Sums of weights that reach top_p of all up to rounding do reach it. */
#define REACHED (1 - 0x1p-44)

typedef struct {
    ptrdiff_t top_k;
    double top_p, min_p, uniform;
} sample_params;

static sample_params sample_params_of(const sl_job *job, ptrdiff_t row) {
    const sl_choice *c = job->choice;
    sample_params d = {job->n, 1, 0, c->uniform[row]};
    if (c->top_k && c->top_k[row * c->top_k_step] < job->n) d.top_k = (ptrdiff_t)c->top_k[row * c->top_k_step];
    if (c->top_p) d.top_p = c->top_p[row * c->top_p_step];
    if (c->min_p) d.min_p = c->min_p[row * c->min_p_step];
    return d;
}

/* How many of the first classes, of which count weights are known, the filters leave; 0 if it takes more to know. */
static ptrdiff_t filter_candidates(const double *w, ptrdiff_t count, int is_all, double total, const sample_params *d) {
    ptrdiff_t kept = is_all ? count : 0, end = count;
    double sum = 0;
    for (ptrdiff_t i = 0; d->top_p < 1 && i < count; i++) {
        sum += w[i];
        if (sum < d->top_p * total * REACHED) continue;
        kept = end = i + 1;
        break;
    }
    for (ptrdiff_t i = 0; i < end; i++)
        if (w[i] < d->min_p * w[0]) return i;
    return kept;
}

/* Which class a uniform number means: the first at which the sum of weights, by index, exceeds this part of all. From a list, */
static int64_t sample_from_list(const sl_job *job, ptrdiff_t row, ptrdiff_t kept, double uniform, const exp_params *plan) {
    candidate *entries = scratch_candidates(job);
    double *w = scratch_weights(job), total = 0, sum = 0;
    R *x = scratch_block(job);
    for (ptrdiff_t i = 0; i < kept; i++) entries[i] = make_candidate(0, candidate_index(entries[i])); /* the index alone orders them */
    sort_candidates(entries, kept, 1, entries + kept);
    for (ptrdiff_t i = 0; i < kept; i++) x[i] = logit_at(job, row, candidate_index(entries[i]));
    weights_of(x, kept, plan, w);
    for (ptrdiff_t i = 0; i < kept; i++) total += w[i];
    for (ptrdiff_t i = 0; i < kept; i++) {
        sum += w[i];
        if (sum > uniform * total) return candidate_index(entries[i]);
    }
    return candidate_index(entries[kept - 1]);
}
/* and from the row: first the block, then the class. */
static int64_t sample_from_row(const sl_job *job, ptrdiff_t row, rank_prefix cut, double uniform, R least, const exp_params *plan) {
    double *w = scratch_weights(job), *sums = w + SL_MAX_SAMPLE_CANDIDATES, total = 0, sum = 0;
    const ptrdiff_t blocks = sl_block_count(job);
    ptrdiff_t block = 0;
    for (ptrdiff_t b = 0; b < blocks; b++) {
        const ptrdiff_t end = (b + 1) * SL_BLOCK < job->n ? (b + 1) * SL_BLOCK : job->n;
        total += sums[b] = weight_above(job, row, b * SL_BLOCK, end, cut, plan, least);
    }
    const double target = uniform * total;
    for (ptrdiff_t b = 0; b < blocks; b++) {
        if (!(sums[b] > 0)) continue;
        block = b;
        if (sum + sums[b] > target) break;
        sum += sums[b];
    }
    ptrdiff_t chosen = -1;
    const ptrdiff_t from = block * SL_BLOCK, n = job->n - from < SL_BLOCK ? job->n - from : SL_BLOCK;
    const R *x = load_row_block(job, row, from, n, scratch_block(job));
    for (ptrdiff_t i = 0; i < n; i += SL_MAX_SAMPLE_CANDIDATES) {
        const ptrdiff_t part = n - i < SL_MAX_SAMPLE_CANDIDATES ? n - i : SL_MAX_SAMPLE_CANDIDATES;
        weights_of(x + i, part, plan, w);
        for (ptrdiff_t j = 0; j < part; j++) {
            const ptrdiff_t class = from + i + j;
            if (!(x[i + j] > cut.value || (x[i + j] == cut.value && class <= cut.tie)) || (R)w[j] < least) continue;
            chosen = class;
            sum += w[j];
            if (sum > target) return chosen;
        }
    }
    return chosen;
}

/* log(weight of a class / weight of all that are kept), where others are those beside the largest */
static R log_prob_of_sample(const sl_job *job, ptrdiff_t row, int64_t class, double others, double largest, const exp_params *plan) {
    ratio_others_to_max z;
    double log[LANES];
    R y[LANES];
    vec unused;
    for (int i = 0; i < LANES; i++) {
        z.high[i] = others / largest;
        z.low[i] = 0;
    }
    const vec l = log_of_ratio(&z, plan, &unused, log);
    v_store(y, log_prob(v_sub(v_set1(logit_at(job, row, class)), plan->shift), plan, l));
    return y[0];
}

static void sample_row(const sl_job *job, ptrdiff_t row) {
    const sample_params d = sample_params_of(job, row);
    candidate *entries = scratch_candidates(job);
    double *w = scratch_weights(job), total = 0, others = 0;
    int64_t *index = job->choice->index + row;
    const int filters = d.top_p < 1 || d.min_p > 0, in_list = d.top_k <= SL_MAX_SAMPLE_CANDIDATES;
    int has_nan;
    /* A list of the first classes is all there is, or likely to hold what the filters leave; first a short one. */
    ptrdiff_t count = find_candidates(job, row, in_list ? d.top_k : filters ? SL_MAX_SAMPLE_CANDIDATES / 16 : 1, 1, NULL, &has_nan);
    if (has_nan || !count || !isfinite(candidate_value(entries[0]))) {
        fill_special_rows(job, row, 1, entries, count, index);
        const R y = is_hidden(job, row, *index) ? (R)-INFINITY : (R)NAN;
        if (job->y) store_results(job, row, 1, &y);
        return;
    }
    const R max = candidate_value(entries[0]);
    temperature_params heat;
    const exp_params plan = exp_params_for_max(v_set1(max), load_temperature(job, row, 1, &heat), 1);
    rank_prefix cut = {-INFINITY, -1};
    if (!in_list) {
        if (d.top_k < job->n) cut = find_prefix(job, row, (double)d.top_k, cut, max, NULL);
        if (filters) total = weight_above(job, row, 0, job->n, cut, &plan, 0);
    }
    ptrdiff_t kept = 0;
    for (int longer = 0; longer < 2; longer++) {
        if (longer) count = find_candidates(job, row, SL_MAX_SAMPLE_CANDIDATES, 1, NULL, &has_nan);
        for (ptrdiff_t i = 0; i < count; i++) w[i] = weight_of(candidate_value(entries[i]), &plan);
        for (ptrdiff_t i = 0; in_list && i < count; i++) total += w[i];
        kept = filter_candidates(w, count, in_list, total, &d);
        if (kept || !filters) break;
    }
    if (kept) {
        const double largest = w[0];
        double lost = 0;
        for (ptrdiff_t i = 1; i < kept; i++) others = sl_add(others, w[i], &lost);
        others += lost;
        *index = sample_from_list(job, row, kept, d.uniform, &plan);
        if (!job->y) return;
        const R y = log_prob_of_sample(job, row, *index, others, largest, &plan);
        store_results(job, row, 1, &y);
        return;
    }
    const double largest = weight_of(max, &plan);
    const R least = (R)(d.min_p * largest);
    if (d.top_p < 1) cut = find_prefix(job, row, d.top_p * total * REACHED, cut, max, &plan);
    *index = sample_from_row(job, row, cut, d.uniform, least, &plan);
    if (!job->y) return;
    const ptrdiff_t first = first_index_of_max(job, row, max, NULL);
    others = weight_above(job, row, 0, first, cut, &plan, least) + weight_above(job, row, first + 1, job->n, cut, &plan, least);
    const R y = log_prob_of_sample(job, row, *index, others, largest, &plan);
    store_results(job, row, 1, &y);
}

#undef REACHED

/* ---- choices that need no sum ----------------------------------------------------------------------------------- */

static R max_or_nan(const sl_job *job, ptrdiff_t row) { /* NaN as well where nothing is above -inf */
    vec nan = v_set1(0);
    R max = -INFINITY;
    for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
        const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
        const R m = v_reduce_max(max_and_nan(load_row_block(job, row, b, n, scratch_block(job)), n, &nan));
        max = m > max ? m : max;
    }
    return v_any_nan(nan) || max == -INFINITY ? (R)NAN : max;
}

void select_kernel(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const sl_choice *c = job->choice;
    (void)scratch;
    if (job->inner > 1) {
        const ptrdiff_t strips = (job->inner + SL_TILE_WIDTH - 1) / SL_TILE_WIDTH;
        for (ptrdiff_t t = first; t < last; t++) {
            const ptrdiff_t column = t % strips * SL_TILE_WIDTH, left = job->inner - column;
            largest_of_columns(job, t / strips * job->inner + column, left < SL_TILE_WIDTH ? left : SL_TILE_WIDTH);
        }
        return;
    }
    for (ptrdiff_t row = first; row < last; row++) {
        if (c->how == SL_LARGEST) find_largest(job, row, c->k == 1 ? max_or_nan(job, row) : (R)NAN, NULL, c->index + row * c->k);
        if (c->how == SL_DRAWN) sample_row(job, row);
        for (ptrdiff_t j = 0; c->how == SL_RANK && j < c->k; j++) c->rank[row * c->k + j] = rank_of(job, row, c->index[row * c->k + j]);
    }
}
#undef ALL_LANES

#endif
