/* sample.inc.h: the operation sample: one class of each row, drawn at random among those that top_k, top_p and min_p leave, with its
   log-probability among these. It draws from a list of the first classes where that holds all of them, else from the row. */
#ifndef SL_SAMPLE_INC
#define SL_SAMPLE_INC
#include "ops/candidates.inc.h"
#include "ops/class_weights.inc.h"
#include "rows/row_stats.inc.h"

enum { MAX_SAMPLE_CANDIDATES = 1024 }; /* classes in the list */

struct sample_scratch {
    struct candidate_scratch candidates;
    double *weights;       /* of the list, or of as many classes of a block */
    double *block_weights; /* of each block of the row */
};

static void *take_sample_scratch(const sl_job *job, struct arena *arena) {
    const ptrdiff_t n = job->n, listed = n < MAX_SAMPLE_CANDIDATES ? n : MAX_SAMPLE_CANDIDATES, blocks = (n + SL_BLOCK - 1) / SL_BLOCK;
    struct sample_scratch *s = arena_take(arena, sizeof *s);
    struct sample_scratch taken;
    taken.candidates = take_candidate_scratch(n, longest_block(job), listed, arena);
    taken.weights = arena_take(arena, (size_t)listed * sizeof(double));
    taken.block_weights = arena_take(arena, (size_t)blocks * sizeof(double));
    if (s) *s = taken;
    return s;
}

/* A row whose class is to be drawn */
struct sampling {
    ptrdiff_t top_k; /* n without that filter */
    double top_p, min_p, uniform;
    int in_list; /* does the list hold all that top_k leaves? */
    real max;
    struct class_weights weights;
    struct order_prefix prefix; /* what is left of the order, where that is not in the list */
    double total;               /* the weight of what top_k leaves, where top_p or min_p is set or the list has all */
    const struct sample_scratch *scratch;
};

static struct sampling sampling_of_row(const sl_job *job, ptrdiff_t row, const struct sample_scratch *scratch) {
    const sl_sample_args *args = job->args;
    struct sampling s = {.top_k = job->n, .top_p = 1, .min_p = 0, .uniform = args->uniform[row], .scratch = scratch};
    if (args->top_k && args->top_k[row * args->top_k_step] < job->n) s.top_k = (ptrdiff_t)args->top_k[row * args->top_k_step];
    if (args->top_p) s.top_p = args->top_p[row * args->top_p_step];
    if (args->min_p) s.min_p = args->min_p[row * args->min_p_step];
    s.in_list = s.top_k <= MAX_SAMPLE_CANDIDATES;
    s.weights = (struct class_weights){job, row, NULL, 0, scratch->candidates.block};
    s.prefix = (struct order_prefix){-INFINITY, -1};
    return s;
}
SL_INLINE int filters_by_weight(const struct sampling *s) { return s->top_p < 1 || s->min_p > 0; }

/* Sums of weights that reach top_p of all but for rounding do reach it. */
#define REACHED (1 - 0x1p-44)

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

/* ---- filters -------------------------------------------------------------------------------------------------- */

/* The prefix whose value is given takes the first of its equals, up to class end: as many as weigh `missing` together, and at least one. */
static void take_ties(const struct class_weights *w, double missing, ptrdiff_t end, struct order_prefix *prefix) {
    const double each = w->params ? weight_of(prefix->value, w->params) : 1;
    double ties = 0;
    for (ptrdiff_t k = 0; k < end && (ties * each < missing || ties == 0); k++) {
        if (logit_at(w->job, w->row, k) != prefix->value) continue;
        prefix->tie = k;
        ties++;
    }
}

/* The shortest prefix that weighs as much as target, inside another. Its last value is found by bisection: what is above `high` weighs
   less than target, and what is above `low` does not. */
static struct order_prefix find_prefix(const struct class_weights *w, double target, struct order_prefix within, real max) {
    const ptrdiff_t n = w->job->n;
    if (weight_of_prefix(w, 0, n, within) < target) return within;
    order_key low = key_of(-INFINITY), high = key_of(max);
    while (high - low > 1) {
        const order_key middle = low + (high - low) / 2;
        if (weight_of_prefix(w, 0, n, (struct order_prefix){value_of_key(middle), -1}) < target) high = middle;
        else low = middle;
    }
    struct order_prefix prefix = {value_of_key(high), -1};
    const double missing = target - weight_of_prefix(w, 0, n, prefix);
    take_ties(w, missing, prefix.value == within.value ? within.tie + 1 : n, &prefix);
    return prefix;
}

/* Where the list has too little: what top_k leaves of the row, and its weight where another filter needs it */
static void filter_row_by_top_k(struct sampling *s) {
    struct class_weights counts = s->weights;
    const ptrdiff_t n = counts.job->n;
    counts.params = NULL;
    if (s->top_k < n) s->prefix = find_prefix(&counts, (double)s->top_k, s->prefix, s->max);
    if (filters_by_weight(s)) s->total = weight_of_prefix(&s->weights, 0, n, s->prefix);
}

/* How many of the first classes the filters leave, from weights of `count` of them; 0 if that takes more weights. */
static ptrdiff_t count_unfiltered(const struct sampling *s, ptrdiff_t count) {
    const double *w = s->scratch->weights;
    ptrdiff_t kept = s->in_list ? count : 0, end = count;
    double sum = 0;
    for (ptrdiff_t i = 0; s->top_p < 1 && i < count; i++) {
        sum += w[i];
        if (sum < s->top_p * s->total * REACHED) continue;
        kept = end = i + 1;
        break;
    }
    for (ptrdiff_t i = 0; i < end; i++)
        if (w[i] < s->min_p * w[0]) return i;
    return kept;
}

/* The same for a list, whose weights become known */
static ptrdiff_t filter_list(struct sampling *s, ptrdiff_t count) {
    double *w = s->scratch->weights;
    for (ptrdiff_t i = 0; i < count; i++) w[i] = weight_of(candidate_value(s->scratch->candidates.list[i]), s->weights.params);
    for (ptrdiff_t i = 0; s->in_list && i < count; i++) s->total += w[i];
    return count_unfiltered(s, count);
}

/* ---- a draw ---------------------------------------------------------------------------------------------------- */

static void store_sample(const struct sampling *s, int64_t drawn) {
    const sl_sample_args *args = s->weights.job->args;
    args->index[s->weights.row] = drawn;
}

/* Stores the logarithm of the part that the drawn class has of all weights. others: the sum of those beside the largest */
static void store_log_prob(const struct sampling *s, int64_t drawn, double others, double largest) {
    const sl_job *job = s->weights.job;
    const struct exp_params *params = s->weights.params;
    struct ratio_others_to_max ratio;
    double log_double[LANES];
    real y[LANES];
    vec unused_logsumexp;
    for (int i = 0; i < LANES; i++) {
        ratio.high[i] = others / largest;
        ratio.low[i] = 0;
    }
    const vec log = log_of_ratio(&ratio, params, log_double, &unused_logsumexp);
    const vec x = v_set1(logit_at(job, s->weights.row, drawn));
    v_store(y, shift_logit(x, params->max, log, params->temperature));
    store_results(job, s->weights.row, 1, y);
}

/* Does a class take part, where the uniform number is 0? Not if its probability is 0 as float64. Every larger number is beyond the
   sum of such classes. */
static int may_be_drawn(const struct sampling *s, real x, double total) {
    if (s->uniform > 0) return 1;
    const struct temperature_params *t = s->weights.params->temperature;
    const double distance = ((double)s->max - x) / (t ? t->exact[0] : 1);
    return distance + log(total / weight_of(s->max, s->weights.params)) < 1075 * LN2;
}

/* The class that the uniform number means: the first, by index, at which the sum of weights exceeds that part of all. */
static int64_t draw_from_list(const struct sampling *s, ptrdiff_t kept) {
    candidate *list = s->scratch->candidates.list;
    double *w = s->scratch->weights, total = 0, sum = 0;
    real *x = s->scratch->candidates.block;
    for (ptrdiff_t i = 0; i < kept; i++) list[i] = make_candidate(0, candidate_index(list[i])); /* the index alone orders them */
    sort_candidates(list, kept, 1, s->scratch->candidates.spare);
    for (ptrdiff_t i = 0; i < kept; i++) x[i] = logit_at(s->weights.job, s->weights.row, candidate_index(list[i]));
    weights_of(x, kept, s->weights.params, w);
    for (ptrdiff_t i = 0; i < kept; i++) total += w[i];
    for (ptrdiff_t i = 0; i < kept; i++) {
        sum += w[i];
        if (sum > s->uniform * total && may_be_drawn(s, x[i], total)) return candidate_index(list[i]);
    }
    return candidate_index(list[kept - 1]);
}

static void sample_from_list(const struct sampling *s, ptrdiff_t kept) {
    const double *w = s->scratch->weights, largest = w[0];
    double others = 0, low = 0;
    for (ptrdiff_t i = 1; i < kept; i++) others = add_with_low(others, w[i], &low);
    others += low;
    const int64_t drawn = draw_from_list(s, kept);
    store_sample(s, drawn);
    if (s->weights.job->y) store_log_prob(s, drawn, others, largest);
}

/* The weights of the blocks of a row, and their sum */
static double weigh_blocks(const struct sampling *s) {
    const ptrdiff_t n = s->weights.job->n;
    double *sums = s->scratch->block_weights, total = 0;
    for (ptrdiff_t b = 0; b * SL_BLOCK < n; b++) {
        const ptrdiff_t end = (b + 1) * SL_BLOCK < n ? (b + 1) * SL_BLOCK : n;
        total += sums[b] = weight_of_prefix(&s->weights, b * SL_BLOCK, end, s->prefix);
    }
    return total;
}

/* The first class at which the sum of weights exceeds target, in a block from class `from` on, before which they are sum; or the last that
   the filters leave. */
static int64_t draw_from_block(const struct sampling *s, ptrdiff_t from, double sum, double target) {
    const sl_job *job = s->weights.job;
    const ptrdiff_t n = job->n - from < SL_BLOCK ? job->n - from : SL_BLOCK;
    const real *x = load_row_block(job, s->weights.row, from, n, s->weights.block);
    double *w = s->scratch->weights;
    ptrdiff_t drawn = -1;
    for (ptrdiff_t i = 0; i < n; i += MAX_SAMPLE_CANDIDATES) {
        const ptrdiff_t part = n - i < MAX_SAMPLE_CANDIDATES ? n - i : MAX_SAMPLE_CANDIDATES;
        weights_of(x + i, part, s->weights.params, w);
        for (ptrdiff_t j = 0; j < part; j++) {
            if (!in_prefix(&s->prefix, x[i + j], from + i + j) || (real)w[j] < s->weights.least) continue;
            drawn = from + i + j;
            sum += w[j];
            if (sum > target) return drawn;
        }
    }
    return drawn;
}

static int64_t first_that_may_be_drawn(const struct sampling *s, double total) {
    int64_t k = 0;
    for (real x = logit_at(s->weights.job, s->weights.row, k); k < s->weights.job->n - 1;) {
        if (in_prefix(&s->prefix, x, (ptrdiff_t)k) && (real)weight_of(x, s->weights.params) >= s->weights.least &&
            may_be_drawn(s, x, total))
            break;
        x = logit_at(s->weights.job, s->weights.row, ++k);
    }
    return k;
}

/* The same class as from a list: first its block, then the class. */
static int64_t draw_from_row(const struct sampling *s) {
    const double *sums = s->scratch->block_weights, total = weigh_blocks(s), target = s->uniform * total;
    double sum = 0;
    if (s->uniform == 0) return first_that_may_be_drawn(s, total);
    ptrdiff_t from = 0;
    for (ptrdiff_t b = 0; b * SL_BLOCK < s->weights.job->n; b++) {
        if (!(sums[b] > 0)) continue;
        from = b * SL_BLOCK;
        if (sum + sums[b] > target) break;
        sum += sums[b];
    }
    return draw_from_block(s, from, sum, target);
}

static void sample_from_row(struct sampling *s) {
    struct class_weights *w = &s->weights;
    const ptrdiff_t n = w->job->n;
    const double largest = weight_of(s->max, w->params);
    if (s->top_p < 1) s->prefix = find_prefix(w, s->top_p * s->total * REACHED, s->prefix, s->max);
    w->least = (real)(s->min_p * largest);
    const int64_t drawn = draw_from_row(s);
    store_sample(s, drawn);
    if (!w->job->y) return;
    const ptrdiff_t first = first_index_of_max(w->job, w->row, s->max, NULL, w->block);
    const double others = weight_of_prefix(w, 0, first, s->prefix) + weight_of_prefix(w, first + 1, n, s->prefix);
    store_log_prob(s, drawn, others, largest);
}
#undef REACHED

/* ---- rows ------------------------------------------------------------------------------------------------------ */

/* A row with a NaN or without a finite maximum: its first class in order, with NaN, or -inf where that is hidden */
static void sample_special_row(const sl_job *job, ptrdiff_t row, const candidate *list, ptrdiff_t count) {
    int64_t *index = ((const sl_sample_args *)job->args)->index + row;
    select_from_special_row(job, row, 1, list, count, index);
    const real y = is_hidden(job, row, *index) ? (real)-INFINITY : (real)NAN;
    if (job->y) store_results(job, row, 1, &y);
}

/* The list has what top_k leaves, if that is few. Else it begins short: it is likely to hold what the other filters leave. */
static void sample_row(const sl_job *job, ptrdiff_t row, const struct sample_scratch *scratch) {
    struct sampling s = sampling_of_row(job, row, scratch);
    const candidate *list = scratch->candidates.list;
    const ptrdiff_t few = filters_by_weight(&s) ? MAX_SAMPLE_CANDIDATES / 16 : 1;
    int has_nan;
    ptrdiff_t count = find_candidates(job, row, s.in_list ? s.top_k : few, 1, NULL, &scratch->candidates, &has_nan);
    if (has_nan || !count || !isfinite(candidate_value(list[0]))) {
        sample_special_row(job, row, list, count);
        return;
    }
    struct temperature_params temperature;
    s.max = candidate_value(list[0]);
    const struct exp_params params = exp_params_for_max(v_set1(s.max), load_temperature(job, row, 1, &temperature));
    s.weights.params = &params;
    if (!s.in_list) filter_row_by_top_k(&s);
    ptrdiff_t kept = filter_list(&s, count);
    if (!kept && filters_by_weight(&s)) {
        count = find_candidates(job, row, MAX_SAMPLE_CANDIDATES, 1, NULL, &scratch->candidates, &has_nan);
        kept = filter_list(&s, count);
    }
    if (kept) sample_from_list(&s, kept);
    else sample_from_row(&s);
}

/* The run function of SL_SAMPLE */
static void sample_rows(const sl_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    struct arena arena = {scratch, 0};
    const struct sample_scratch *s = take_sample_scratch(job, &arena);
    for (ptrdiff_t row = first; row < last; row++) sample_row(job, row, s);
}

#endif
