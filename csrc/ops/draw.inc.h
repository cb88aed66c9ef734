/* draw.inc.h: random draws from the classes of a row that are left after the filters: from a list of them, or from the blocks of the row.
   A draw is the class, the first by index, at which the sum of weights exceeds its uniform number's part of all. Without replacement it
   takes its class out, and the next one is a draw from the rest. */
#ifndef SL_DRAW_INC
#define SL_DRAW_INC
#include "ops/candidates.inc.h"
#include "ops/class_weights.inc.h"

enum { MAX_SAMPLE_CANDIDATES = 1024 }; /* classes in the list */

struct sample_scratch {
    struct candidate_scratch candidates;
    double *weights, *sums; /* of the list, or of as many classes of a block */
    double *block_weights;  /* of each block of the row */
    uint64_t *out;          /* a bit for each class of the row: has a draw without replacement taken it out? */
};

/* A row from which classes are drawn */
struct sampling {
    ptrdiff_t draws;
    const double *uniform; /* for each draw */
    sl_indices index;      /* of each draw */
    int distinct;          /* may no class come twice? */
    ptrdiff_t top_k;       /* n without that filter */
    double top_p, min_p;
    int in_list; /* does the list hold all that top_k leaves? */
    real max;
    struct class_weights weights;
    struct order_prefix prefix; /* what is left of the order, where that is not in the list */
    double total;               /* the weight of what top_k leaves, where top_p or min_p is set or the list has all */
    const struct sample_scratch *scratch;
};

/* ---- weights of single classes -------------------------------------------------------------------------------- */

/* The weights e of n classes, as float64 */
static void weights_of(const real *x, ptrdiff_t n, const struct exp_params *params, double *weights) {
    const struct exp_constants c = exp_constants_of(params);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec shifted = v_sub(v_load_tail(x + i, n - i < LANES ? n - i : LANES, 0), params->shift);
        vec T, p;
        real t[LANES], q[LANES];
        exp_parts(1, &shifted, &c, &T, &p);
        v_store(t, T);
        v_store(q, p);
        for (ptrdiff_t l = 0; l < LANES && i + l < n; l++) weights[i + l] = (double)t[l] + (double)t[l] * (double)q[l];
    }
}
static double weight_of(real x, const struct exp_params *params) {
    double weight;
    weights_of(&x, 1, params, &weight);
    return weight;
}

/* Does a class take part, where the uniform number is 0? Not if its probability is 0 as float64. Every larger number is beyond the
   sum of such classes. */
static int may_be_drawn(const struct sampling *s, real x, double total) {
    const struct temperature_params *t = s->weights.params->temperature;
    const double distance = ((double)s->max - x) / (t ? t->exact[0] : 1);
    return distance + log(total / weight_of(s->max, s->weights.params)) < 1075 * LN2;
}

/* sums[i] becomes the weight of the first i + 1 of n classes; the last one is returned. */
static double add_up(const double *weights, ptrdiff_t n, double *sums) {
    double sum = 0;
    for (ptrdiff_t i = 0; i < n; i++) sums[i] = sum += weights[i];
    return sum;
}

/* What the sum of weights has to exceed for a draw: below total, also where the product rounds up to it */
static double target_of(const struct sampling *s, ptrdiff_t draw, double total) {
    const double target = s->uniform[draw] * total;
    return target < total ? target : nextafter(total, 0);
}
/* The first of n rising sums that exceeds target, or the last one */
static ptrdiff_t first_above(const double *sums, ptrdiff_t n, double target) {
    ptrdiff_t low = 0, high = n - 1;
    while (low < high) {
        const ptrdiff_t middle = low + (high - low) / 2;
        if (sums[middle] > target) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* ---- without replacement --------------------------------------------------------------------------------------- */

/* The weights of the rest are summed anew for each draw. A difference would be no more than the rounding of a class that had nearly all.
   Where the rest weighs less than this part of the largest weight, weights become relative to the largest of the rest. */
#define LITTLE 0x1p-60
static int weighs_little(const struct sampling *rest, double total) { return total < LITTLE * weight_of(rest->max, rest->weights.params); }
#undef LITTLE
static void change_max(struct sampling *rest, real max, struct exp_params *params) {
    *params = exp_params_for_max(v_set1(max), rest->weights.params->temperature);
    rest->weights.params = params;
    rest->max = max;
}

/* ---- draws from the list --------------------------------------------------------------------------------------- */

/* The sums of the weights of a list without what has been taken out, whose x is -inf */
static double add_up_list(struct sampling *rest, const real *x, ptrdiff_t n, struct exp_params *params) {
    const struct sample_scratch *scratch = rest->scratch;
    const double total = add_up(scratch->weights, n, scratch->sums);
    if (!weighs_little(rest, total)) return total;
    real max = -INFINITY;
    for (ptrdiff_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    change_max(rest, max, params);
    weights_of(x, n, params, scratch->weights);
    for (ptrdiff_t i = 0; i < n; i++)
        if (x[i] == -INFINITY) scratch->weights[i] = 0;
    return add_up(scratch->weights, n, scratch->sums);
}

/* All draws from the first n of the list */
static void draw_from_list(struct sampling s, ptrdiff_t n) {
    const struct sample_scratch *scratch = s.scratch;
    candidate *list = scratch->candidates.list;
    real *x = scratch->candidates.block;
    struct exp_params params;
    double total = 0;
    for (ptrdiff_t i = 0; i < n; i++) list[i] = make_candidate(0, candidate_index(list[i])); /* the index alone orders them */
    sort_candidates(list, n, 1, scratch->candidates.spare);
    for (ptrdiff_t i = 0; i < n; i++) x[i] = logit_at(s.weights.job, s.weights.row, candidate_index(list[i]));
    weights_of(x, n, s.weights.params, scratch->weights);
    for (ptrdiff_t j = 0; j < s.draws; j++) {
        if (j == 0 || s.distinct) total = add_up_list(&s, x, n, &params);
        ptrdiff_t i = first_above(scratch->sums, n, target_of(&s, j, total));
        while (s.uniform[j] == 0 && i < n - 1 && !may_be_drawn(&s, x[i], total)) i++;
        store_index(&s.index, j, candidate_index(list[i]));
        if (!s.distinct) continue;
        x[i] = -INFINITY;
        scratch->weights[i] = 0;
    }
}

/* ---- draws from the blocks of a row ---------------------------------------------------------------------------- */

SL_INLINE ptrdiff_t classes_of_block(const struct sampling *s, ptrdiff_t b) {
    const ptrdiff_t left = s->weights.job->n - b * SL_BLOCK;
    return left < SL_BLOCK ? left : SL_BLOCK;
}

/* A block of a row, with -inf for what draws without replacement have taken out */
static const real *load_rest(const struct sampling *s, ptrdiff_t b) {
    const struct class_weights *w = &s->weights;
    const ptrdiff_t first = b * SL_BLOCK, n = classes_of_block(s, b);
    const real *x = load_row_block(w->job, w->row, first, n, w->block);
    if (!s->distinct) return x;
    if (x != w->block) memcpy(w->block, x, (size_t)n * sizeof *x);
    for (ptrdiff_t i = 0; i < n; i += 64)
        for (uint64_t out = s->scratch->out[(first + i) / 64]; out; out &= out - 1) w->block[i + sl_lowest_bit(out)] = -INFINITY;
    return w->block;
}

/* The weights of a block or of all, and the sum of all */
static void weigh_block(const struct sampling *s, ptrdiff_t b) {
    const real *x = load_rest(s, b);
    s->scratch->block_weights[b] = add_block_of_prefix(&s->weights, x, b * SL_BLOCK, classes_of_block(s, b), s->prefix, 0);
}
static double add_up_blocks(const struct sampling *s) {
    double total = 0;
    for (ptrdiff_t b = 0; b * SL_BLOCK < s->weights.job->n; b++) total += s->scratch->block_weights[b];
    return total;
}
static double weigh_blocks(const struct sampling *s) {
    for (ptrdiff_t b = 0; b * SL_BLOCK < s->weights.job->n; b++) weigh_block(s, b);
    return add_up_blocks(s);
}

static real max_of_rest(const struct sampling *s) {
    real max = -INFINITY;
    for (ptrdiff_t b = 0; b * SL_BLOCK < s->weights.job->n; b++) {
        const real *x = load_rest(s, b);
        for (ptrdiff_t i = 0; i < classes_of_block(s, b); i++) max = x[i] > max ? x[i] : max;
    }
    return max;
}

/* The class of a draw whose uniform number is 0 */
static int64_t first_that_may_be_drawn(const struct sampling *s, double total) {
    for (ptrdiff_t b = 0; b * SL_BLOCK < s->weights.job->n; b++) {
        const real *x = load_rest(s, b);
        for (ptrdiff_t i = 0; i < classes_of_block(s, b); i++)
            if (in_prefix(&s->prefix, x[i], b * SL_BLOCK + i) && may_be_drawn(s, x[i], total)) return b * SL_BLOCK + i;
    }
    return 0;
}

/* Some draws from a row whose blocks weigh total: those from number `from` to `end` */
struct some_draws {
    ptrdiff_t from, end;
    double total;
};
SL_INLINE int is_between(double target, double low, double high) { return target >= low && target < high; }

/* The sums of n classes of a block, up to a part of MAX_SAMPLE_CANDIDATES, added to that of all before; returns the last one. */
static double add_up_part(const struct sampling *s, const real *x, ptrdiff_t first, ptrdiff_t n, double before) {
    double *sums = s->scratch->sums, sum = before;
    weights_of(x, n, s->weights.params, sums);
    for (ptrdiff_t i = 0; i < n; i++) sums[i] = sum += in_prefix(&s->prefix, x[i], first + i) ? sums[i] : 0;
    return sum;
}

/* The last of n classes from number `at` of a block on that adds weight to the sum of those before it; else `none` */
static ptrdiff_t last_with_weight(const double *sums, ptrdiff_t at, ptrdiff_t n, double before, ptrdiff_t none) {
    for (ptrdiff_t i = n - 1; i >= 0; i--)
        if (sums[i] > (i ? sums[i - 1] : before)) return at + i;
    return none;
}
/* Where the weights of a block are lost in the sum of those before it: its last class that has any */
static ptrdiff_t last_left(const struct sampling *s, const real *x, ptrdiff_t first, ptrdiff_t n) {
    ptrdiff_t k = n - 1;
    while (k > 0 && !(x[k] > -INFINITY && in_prefix(&s->prefix, x[k], first + k))) k--;
    return k;
}

/* Stores the classes of those draws whose targets are in a block: at least the weight of all before, and below that with the block. By
   rounding, its classes may not add up to that: then it is the last one that has weight. */
static void draw_from_block(const struct sampling *s, ptrdiff_t b, double before, double with, const struct some_draws *d) {
    const ptrdiff_t n = classes_of_block(s, b), first = b * SL_BLOCK;
    ptrdiff_t missing = 0;
    for (ptrdiff_t j = d->from; j < d->end; j++) missing += s->uniform[j] > 0 && is_between(target_of(s, j, d->total), before, with);
    if (!missing) return;
    const real *x = load_rest(s, b);
    double sum = before;
    ptrdiff_t with_weight = -1;
    for (ptrdiff_t i = 0; missing && i < n; i += MAX_SAMPLE_CANDIDATES) {
        const ptrdiff_t part = n - i < MAX_SAMPLE_CANDIDATES ? n - i : MAX_SAMPLE_CANDIDATES;
        const double next = add_up_part(s, x + i, first + i, part, sum), last = i + part == n || next > with ? with : next;
        with_weight = last_with_weight(s->scratch->sums, i, part, sum, with_weight);
        for (ptrdiff_t j = d->from; j < d->end; j++) {
            const double target = target_of(s, j, d->total);
            if (!(s->uniform[j] > 0) || !is_between(target, sum, last)) continue;
            ptrdiff_t drawn = i + first_above(s->scratch->sums, part, target);
            if (target >= next) drawn = with_weight < 0 ? last_left(s, x, first, n) : with_weight;
            store_index(&s->index, j, first + drawn);
            missing--;
        }
        sum = next;
    }
}

/* The same classes as from a list: first the block of each, then the class. */
static void draw_from_blocks(const struct sampling *s, const struct some_draws *d) {
    double before = 0;
    for (ptrdiff_t j = d->from; j < d->end; j++)
        if (s->uniform[j] == 0) store_index(&s->index, j, first_that_may_be_drawn(s, d->total));
    for (ptrdiff_t b = 0; b * SL_BLOCK < s->weights.job->n; b++) {
        const double with = before + s->scratch->block_weights[b];
        draw_from_block(s, b, before, with, d);
        before = with;
    }
}

static void draw_distinct_from_row(struct sampling s) {
    uint64_t *out = s.scratch->out;
    struct exp_params params;
    memset(out, 0, (size_t)(s.weights.job->n + 63) / 64 * sizeof *out);
    double total = weigh_blocks(&s);
    for (ptrdiff_t j = 0; j < s.draws; j++) {
        if (weighs_little(&s, total)) {
            change_max(&s, max_of_rest(&s), &params);
            total = weigh_blocks(&s);
        }
        draw_from_blocks(&s, &(struct some_draws){j, j + 1, total});
        const ptrdiff_t drawn = (ptrdiff_t)index_at(&s.index, j);
        out[drawn / 64] |= (uint64_t)1 << drawn % 64;
        weigh_block(&s, drawn / SL_BLOCK);
        total = add_up_blocks(&s);
    }
}

/* All draws from a row */
static void draw_from_row(const struct sampling *s) {
    if (s->distinct) draw_distinct_from_row(*s);
    else draw_from_blocks(s, &(struct some_draws){0, s->draws, weigh_blocks(s)});
}

#endif
