/* candidates.inc.h: the order of classes, and the first k classes of a row. Rows are not sorted: a threshold keeps most classes out of
   a list of candidates, and that list is sorted. */
#ifndef SL_CANDIDATES_INC
#define SL_CANDIDATES_INC
#include "ops/indices.inc.h"
#include "rows/part_maxima.inc.h"

/* ---- the order ------------------------------------------------------------------------------------------------ */

/* Numbers as integers of the same order, which can be packed and bisected. NaN has no key, and -0 has that of 0. No branch depends on
   a sign. */
#if SL_REAL == 32
typedef uint32_t order_key;
#else
typedef uint64_t order_key;
#endif
#define SIGN_SHIFT (8 * sizeof(real) - 1)
#define SIGN_BIT ((order_key)1 << SIGN_SHIFT)
SL_INLINE order_key key_of(real x) {
    order_key b;
    memcpy(&b, &x, sizeof b);
    b = b == SIGN_BIT ? 0 : b;
    return b ^ (SIGN_BIT | (0 - (b >> SIGN_SHIFT)));
}
SL_INLINE real value_of_key(order_key b) {
    real x;
    b ^= SIGN_BIT | ((b >> SIGN_SHIFT) - 1);
    memcpy(&x, &b, sizeof x);
    return x;
}
#undef SIGN_BIT
#undef SIGN_SHIFT

/* A class with its value, which is not NaN, and its index. For float32 both are packed into one integer. The smaller comes before.
   Digits are bytes: first those of the index, then those of the value. */
#if SL_REAL == 32
typedef uint64_t candidate;
SL_INLINE candidate make_candidate(real value, int64_t index) { return (uint64_t)~key_of(value) << 32 | (uint64_t)index; }
SL_INLINE real candidate_value(candidate c) { return value_of_key(~(order_key)(c >> 32)); }
SL_INLINE int64_t candidate_index(candidate c) { return (int64_t)(c & 0xFFFFFFFFu); }
SL_INLINE int candidate_before(candidate a, candidate b) { return a < b; }
SL_INLINE unsigned candidate_digit(candidate c, int d) { return c >> (8 * d) & 255; }
enum { SORT_BY_RANK_LIMIT = 96 };
#else
typedef struct {
    uint64_t key;
    int64_t index;
} candidate;
SL_INLINE candidate make_candidate(real value, int64_t index) { return (candidate){~key_of(value), index}; }
SL_INLINE real candidate_value(candidate c) { return value_of_key(~c.key); }
SL_INLINE int64_t candidate_index(candidate c) { return c.index; }
SL_INLINE int candidate_before(candidate a, candidate b) { return (a.key < b.key) | ((a.key == b.key) & (a.index < b.index)); }
SL_INLINE unsigned candidate_digit(candidate c, int d) { return (d < 8 ? (uint64_t)c.index : c.key) >> (8 * (d % 8)) & 255; }
enum { SORT_BY_RANK_LIMIT = 24 };
#endif
enum { CANDIDATE_DIGITS = sizeof(candidate) / 2 }; /* of the index, and as many of the value */

/* ---- sorting -------------------------------------------------------------------------------------------------- */

/* Each candidate goes where the count of those before it says. No branch depends on a comparison. */
static void sort_by_rank(candidate *list, ptrdiff_t n, candidate *spare) {
    memcpy(spare, list, (size_t)n * sizeof *list);
    for (ptrdiff_t i = 0; i < n; i++) {
        ptrdiff_t rank = 0;
        for (ptrdiff_t j = 0; j < n; j++) rank += candidate_before(spare[j], spare[i]);
        list[rank] = spare[i];
    }
}

/* Counts of digits become the places where they start. */
SL_INLINE void counts_to_starts(ptrdiff_t *place) {
    ptrdiff_t before = 0;
    for (int i = 0; i < 256; i++) {
        const ptrdiff_t count = place[i];
        place[i] = before;
        before += count;
    }
}

/* A radix sort by CANDIDATE_DIGITS digits from number first_digit on, the lowest first */
static void sort_by_digits(candidate *list, ptrdiff_t n, int first_digit, candidate *spare) {
    ptrdiff_t place[CANDIDATE_DIGITS][256] = {{0}};
    for (ptrdiff_t i = 0; i < n; i++)
        for (int d = 0; d < CANDIDATE_DIGITS; d++) place[d][candidate_digit(list[i], first_digit + d)]++;
    candidate *from = list, *to = spare;
    for (int d = 0; d < CANDIDATE_DIGITS; d++) {
        if (place[d][candidate_digit(from[0], first_digit + d)] == n) continue; /* all have this digit */
        counts_to_starts(place[d]);
        for (ptrdiff_t i = 0; i < n; i++) to[place[d][candidate_digit(from[i], first_digit + d)]++] = from[i];
        candidate *last = from;
        from = to;
        to = last;
    }
    if (from != list) memcpy(list, from, (size_t)n * sizeof *list);
}

/* Sorts by value, where candidates of one value keep their order. by_index: sorts by index, where all have one value. */
static void sort_candidates(candidate *list, ptrdiff_t n, int by_index, candidate *spare) {
    if (n <= SORT_BY_RANK_LIMIT) sort_by_rank(list, n, spare);
    else sort_by_digits(list, n, by_index ? 0 : CANDIDATE_DIGITS, spare);
}

/* ---- scratch memory ------------------------------------------------------------------------------------------- */

/* The threshold for the first k classes is a number that k maxima of parts of the row are above. About 3 k maxima, one for each
   lane of coarse parts, let few parts have two of the k. Fine parts say where to look; by_rows keeps the maxima of the same. */
SL_INLINE ptrdiff_t part_count(ptrdiff_t n, ptrdiff_t vectors) { return (n + vectors * LANES - 1) / (vectors * LANES); }
SL_INLINE ptrdiff_t vectors_per_coarse_part(ptrdiff_t n, ptrdiff_t k) {
    const ptrdiff_t all = part_count(n, 1);
    ptrdiff_t vectors = 1;
    while (vectors < all && (all + 2 * vectors - 1) / (2 * vectors) * LANES >= 3 * k) vectors *= 2;
    return vectors;
}
SL_INLINE ptrdiff_t vectors_per_fine_part(ptrdiff_t n, ptrdiff_t k) {
    const ptrdiff_t vectors = vectors_per_coarse_part(n, k);
    return vectors < VECTORS_PER_MAXIMUM ? vectors : VECTORS_PER_MAXIMUM;
}
/* Where k is most of a row, all classes are candidates. */
SL_INLINE int has_threshold(ptrdiff_t n, ptrdiff_t k) { return n >= k + k / 4 + 16; }
SL_INLINE ptrdiff_t candidate_capacity(ptrdiff_t n, ptrdiff_t k) { return 2 * k + 64 < n ? 2 * k + 64 : n; }

/* Classes of a row that are loaded at once, at most */
SL_INLINE ptrdiff_t longest_block(const sl_job *job) { return job->n < SL_BLOCK ? job->n : SL_BLOCK; }

struct candidate_scratch {
    real *block; /* longest_block numbers or more: what load_row_block has converted */
    candidate *list, *spare;
    real *fine_maxima, *coarse_maxima; /* LANES for each part */
};

/* For the first max_k classes of a row, or fewer: a smaller k has fewer candidates and larger parts. max_k is 0 where only the block
   is needed. Coarse parts that are no larger than fine ones need no maxima of their own. */
static struct candidate_scratch take_candidate_scratch(ptrdiff_t n, ptrdiff_t block, ptrdiff_t max_k, struct arena *arena) {
    struct candidate_scratch s = {take_reals(arena, block), NULL, NULL, NULL, NULL};
    if (!max_k) return s;
    const size_t list_bytes = (size_t)candidate_capacity(n, max_k) * sizeof(candidate);
    const ptrdiff_t coarse = vectors_per_coarse_part(n, max_k), least_coarse = 2 * VECTORS_PER_MAXIMUM;
    s.list = arena_take(arena, list_bytes);
    s.spare = arena_take(arena, list_bytes);
    s.fine_maxima = take_reals(arena, part_count(n, vectors_per_fine_part(n, max_k)) * LANES);
    s.coarse_maxima = take_reals(arena, part_count(n, coarse < least_coarse ? least_coarse : coarse) * LANES);
    return s;
}

/* ---- the threshold -------------------------------------------------------------------------------------------- */

/* The maxima of each lane of parts of the row; *nan is as in max_and_nan. */
static void find_part_maxima(const sl_job *job, ptrdiff_t row, ptrdiff_t vectors, const struct candidate_scratch *s, vec *nan) {
    real *maxima = s->fine_maxima;
    for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK, maxima += SL_BLOCK / vectors) {
        const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
        part_maxima_of_block(load_row_block(job, row, b, n, s->block), n, vectors, maxima, nan);
    }
}

/* How many of n numbers are above one; n is a multiple of LANES. A lane of float32 counts up to 2^24: a count that stops there is too
   small, which only makes the threshold lower. */
static ptrdiff_t count_above(const real *x, ptrdiff_t n, real threshold) {
    const vec t = v_set1(threshold), zero = v_set1(0), one = v_set1(1);
    vec a = zero, b = zero;
    ptrdiff_t i = 0, count = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        a = v_add(a, v_select_lt(t, v_load(x + i), one, zero));
        b = v_add(b, v_select_lt(t, v_load(x + i + LANES), one, zero));
    }
    if (i < n) a = v_add(a, v_select_lt(t, v_load(x + i), one, zero));
    real lane[LANES];
    v_store(lane, v_add(a, b));
    for (int l = 0; l < LANES; l++) count += (ptrdiff_t)lane[l];
    return count;
}

/* The least of n numbers above -inf, and the maximum of all */
SL_INLINE void range_of(const real *x, ptrdiff_t n, real *least, real *max) {
    const vec lowest = v_set1(-INFINITY), zero = v_set1(0);
    vec top = lowest, bottom = lowest; /* bottom is negated */
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec v = v_load(x + i);
        top = v_max(v, top);
        bottom = v_max(v_select_lt(lowest, v, v_sub(zero, v), lowest), bottom);
    }
    *max = v_reduce_max(top);
    *least = -v_reduce_max(bottom);
}

/* A number between low and high: halfway by value, or by key where by_key is set or that is not between. It equals one of the two
   where nothing is between. */
SL_INLINE real halfway(real low, real high, real least, int by_key) {
    const real from = low < least ? least : low, middle = from + (high - from) / 2;
    if (!by_key && middle > low && middle < high) return middle;
    return value_of_key(key_of(low) + (key_of(high) - key_of(low)) / 2);
}

/* A number that at least k of n are above, and not many more, unless more are equal. -inf where fewer than k are above that. Found
   by bisection of values, and every fourth time of keys, as values may be too far apart. It ends when nothing lies between for
   some steps, as among equals. */
static real topk_threshold(const real *x, ptrdiff_t n, ptrdiff_t k) {
    real low = -INFINITY, high, least;
    ptrdiff_t above_low = n, above_high = 0;
    range_of(x, n, &least, &high);
    for (int step = 0, idle = 0; step < 40 && idle < 8; step++) {
        const real middle = halfway(low, high, least, step % 4 == 3);
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

/* The threshold of maxima of coarse parts, each of so many fine parts */
static real threshold_of_parts(const real *fine, ptrdiff_t parts, ptrdiff_t fine_per_coarse, ptrdiff_t k, real *coarse) {
    if (fine_per_coarse == 1) return topk_threshold(fine, parts * LANES, k);
    ptrdiff_t count = 0;
    for (ptrdiff_t p = 0; p < parts; p += fine_per_coarse, count += LANES) {
        vec max = v_load(fine + p * LANES);
        for (ptrdiff_t i = p + 1; i < p + fine_per_coarse && i < parts; i++) max = v_max(v_load(fine + i * LANES), max);
        v_store(coarse + count, max);
    }
    return topk_threshold(coarse, count, k);
}

/* ---- the list ------------------------------------------------------------------------------------------------- */

/* The candidates among the classes that have been seen: those above the threshold, in the order of their index */
struct candidate_search {
    ptrdiff_t k, count, capacity, part; /* part: classes in a fine part */
    candidate *list, *spare;
    real threshold;
    vec thresholds, nan; /* nan: NaN in lanes that have had one, where looks_for_nan is set */
    int looks_for_nan;
};

/* Makes room in a full list. Only the first k stay, and the last of them is the threshold: an equal that follows has a higher index. */
SL_INLINE void drop_all_but_k(struct candidate_search *c) {
    sort_candidates(c->list, c->count, 0, c->spare);
    c->count = c->k;
    c->threshold = candidate_value(c->list[c->k - 1]);
    c->thresholds = v_set1(c->threshold);
}

/* Adds the lanes above the threshold without a branch: each is stored, and the count grows for those that stay. */
SL_INLINE void add_many(struct candidate_search *c, const real *x, ptrdiff_t index, unsigned lanes) {
    candidate all[LANES];
    for (int l = 0; l < LANES; l++) all[l] = make_candidate(x[l], index + l);
    for (int l = 0; l < LANES; l++) {
        c->list[c->count] = all[l];
        c->count += lanes >> l & 1;
    }
}
SL_INLINE void add_one_by_one(struct candidate_search *c, const real *x, ptrdiff_t index, unsigned lanes) {
    for (; lanes; lanes &= lanes - 1) {
        const int l = sl_lowest_bit(lanes);
        if (c->count == c->capacity) drop_all_but_k(c);
        if (x[l] > c->threshold) c->list[c->count++] = make_candidate(x[l], index + l); /* the threshold may have risen since */
    }
}

/* Adds what n classes from number index on have above the threshold. */
SL_INLINE void add_part(struct candidate_search *c, const real *x, ptrdiff_t n, ptrdiff_t index) {
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec v = v_load_tail(x + i, n - i < LANES ? n - i : LANES, -INFINITY);
        if (c->looks_for_nan) c->nan = v_select_eq(v, v, c->nan, v_set1(NAN));
        const unsigned lanes = v_lanes_lt(c->thresholds, v);
        const unsigned but_one = lanes & (lanes - 1), but_two = but_one & (but_one - 1);
        if (but_two && n - i >= LANES && c->count + LANES <= c->capacity) add_many(c, x + i, index + i, lanes);
        else add_one_by_one(c, x + i, index + i, lanes);
    }
}

/* Adds a block of a row. It is loaded only where one of its maxima, if they are known, is above the threshold. */
SL_INLINE void add_block(struct candidate_search *c, const sl_job *job, ptrdiff_t row, ptrdiff_t first, const real *maxima, real *block) {
    const ptrdiff_t n = job->n - first < SL_BLOCK ? job->n - first : SL_BLOCK;
    const real *x = NULL;
    for (ptrdiff_t i = 0, lane = 0; i < n; i += c->part, lane += LANES) {
        if (maxima && !v_any_lt(c->thresholds, v_load(maxima + lane))) continue;
        if (!x) x = load_row_block(job, row, first, n, block);
        add_part(c, x + i, n - i < c->part ? n - i : c->part, first + i);
    }
}

/* Lists the first k classes above -inf, without NaN, and returns how many there are. Without `sorted` a list of k has any order. maxima:
   those that by_rows keeps of a row without NaN, or NULL. */
static ptrdiff_t find_candidates(const sl_job *job, ptrdiff_t row, ptrdiff_t k, int sorted, const real *maxima,
                                 const struct candidate_scratch *s, int *has_nan) {
    const ptrdiff_t n = job->n, coarse = vectors_per_coarse_part(n, k), fine = vectors_per_fine_part(n, k);
    const int bounded = has_threshold(n, k);
    real threshold = -INFINITY;
    vec nan = v_set1(0);
    if (bounded && (!maxima || fine < VECTORS_PER_MAXIMUM)) {
        find_part_maxima(job, row, fine, s, &nan);
        maxima = s->fine_maxima;
    }
    if (bounded) threshold = threshold_of_parts(maxima, part_count(n, fine), coarse / fine, k, s->coarse_maxima);
    else maxima = NULL;
    struct candidate_search c = {.k = k, .capacity = candidate_capacity(n, k), .part = fine * LANES, .list = s->list, .spare = s->spare};
    c.threshold = threshold;
    c.thresholds = v_set1(threshold);
    c.nan = nan;
    c.looks_for_nan = !bounded;
    for (ptrdiff_t b = 0; b < n; b += SL_BLOCK) add_block(&c, job, row, b, maxima ? maxima + b / fine : NULL, s->block);
    *has_nan = v_any_nan(c.nan);
    if (sorted || c.count > k) sort_candidates(c.list, c.count, 0, c.spare);
    return c.count < k ? c.count : k;
}

/* ---- the maximum ---------------------------------------------------------------------------------------------- */

/* The first of n numbers, of which none is NaN, that is not below value; or n. 64 are compared before a branch, as it cannot be
   predicted. */
SL_INLINE ptrdiff_t first_not_below(const real *x, ptrdiff_t n, real value) {
    const vec v = v_set1(value);
    const unsigned all_lanes = (1u << LANES) - 1;
    ptrdiff_t i = 0;
    for (; i + 64 <= n; i += 64) {
        uint64_t below = 0;
        for (int j = 0; j < 64; j += LANES) below |= (uint64_t)v_lanes_lt(v_load(x + i + j), v) << j;
        if (~below) return i + sl_lowest_bit(~below);
    }
    for (; i < n; i += LANES) {
        const unsigned below = v_lanes_lt(i + LANES <= n ? v_load(x + i) : v_load_tail(x + i, n - i, -INFINITY), v);
        if (below != all_lanes) return i + sl_lowest_bit(~below);
    }
    return n;
}

/* The first class with the row's maximum, read in blocks, or in parts from the first that has it where their maxima are known */
static ptrdiff_t find_max_by_parts(const sl_job *job, ptrdiff_t row, real max, const real *maxima, real *block) {
    const ptrdiff_t step = maxima ? VECTORS_PER_MAXIMUM * LANES : SL_BLOCK;
    ptrdiff_t k = maxima ? first_not_below(maxima, (job->n + step - 1) / step * LANES, max) / LANES * step : 0;
    for (; k < job->n; k += step) {
        const ptrdiff_t n = job->n - k < step ? job->n - k : step;
        const ptrdiff_t i = first_not_below(load_row_block(job, row, k, n, block), n, max);
        if (i < n) return k + i;
    }
    return 0;
}

/* The first class with the row's maximum, if that is above -inf and the row has no NaN */
SL_INLINE ptrdiff_t first_index_of_max(const sl_job *job, ptrdiff_t row, real max, const real *maxima, real *block) {
    if (x_is_native(job) && job->inner == 1 && !maxima) return first_not_below((const real *)job->x + row * job->n, job->n, max);
    return find_max_by_parts(job, row, max, maxima, block);
}

/* ---- rows with special values --------------------------------------------------------------------------------- */

/* The first k classes of a row that has NaN, or fewer than k classes above -inf. The list has its classes that are neither NaN nor -inf,
   in order. */
static void select_from_special_row(const sl_job *job, ptrdiff_t row, ptrdiff_t k, const candidate *list, ptrdiff_t count,
                                    const sl_indices *index) {
    enum { IS_NAN, IS_LOWEST, IS_HIDDEN };
    ptrdiff_t found = 0;
    for (int pass = IS_NAN; pass <= IS_HIDDEN; pass++) {
        for (ptrdiff_t c = 0; c < job->n && found < k; c++) {
            const real x = logit_at(job, row, c);
            const int kind = is_hidden(job, row, c) ? IS_HIDDEN : x != x ? IS_NAN : x == -INFINITY ? IS_LOWEST : -1;
            if (kind == pass) store_index(index, found++, c);
        }
        for (ptrdiff_t i = 0; pass == IS_NAN && i < count && found < k; i++) store_index(index, found++, candidate_index(list[i]));
    }
}

/* The first k classes of any row. maxima: as for find_candidates */
static void find_first_classes(const sl_job *job, ptrdiff_t row, ptrdiff_t k, int sorted, const real *maxima,
                               const struct candidate_scratch *s, const sl_indices *index) {
    int has_nan;
    const ptrdiff_t count = find_candidates(job, row, k, sorted, maxima, s, &has_nan);
    if (has_nan) sort_candidates(s->list, count, 0, s->spare); /* NaN comes first, so that the last of the list have no place */
    if (has_nan || count < k) select_from_special_row(job, row, k, s->list, count, index);
    else
        for (ptrdiff_t i = 0; i < k; i++) store_index(index, i, candidate_index(s->list[i]));
}

#endif
