/* sample.inc.h: the operation sample: classes of each row, drawn at random among those that top_k, top_p and min_p leave, with their
   log-probabilities among these. It draws from a list of the first classes where that holds all of them, else from the row. */
#ifndef SL_SAMPLE_INC
#define SL_SAMPLE_INC
#include "ops/draw.inc.h"
#include "rows/row_stats.inc.h"

static void *take_sample_scratch(const sl_job *job, struct arena *arena) {
    const sl_sample_args *args = job->args;
    const ptrdiff_t n = job->n, listed = n < MAX_SAMPLE_CANDIDATES ? n : MAX_SAMPLE_CANDIDATES, blocks = (n + SL_BLOCK - 1) / SL_BLOCK;
    const ptrdiff_t distinct = args->without_replacement ? args->draws : 1; /* of a row without a distribution: the first so many */
    struct sample_scratch *s = arena_take(arena, sizeof *s);
    struct sample_scratch taken;
    taken.candidates = take_candidate_scratch(n, longest_block(job), listed > distinct ? listed : distinct, arena);
    taken.weights = arena_take(arena, (size_t)listed * sizeof(double));
    taken.sums = arena_take(arena, (size_t)listed * sizeof(double));
    taken.block_weights = arena_take(arena, (size_t)blocks * sizeof(double));
    taken.out = distinct > 1 ? arena_take(arena, (size_t)(n + 63) / 64 * sizeof(uint64_t)) : NULL;
    if (s) *s = taken;
    return s;
}

SL_INLINE int filters_by_weight(const struct sampling *s) { return s->top_p < 1 || s->min_p > 0; }

static struct sampling sampling_of_row(const sl_job *job, ptrdiff_t row, const struct sample_scratch *scratch) {
    const sl_sample_args *args = job->args;
    struct sampling s = {.draws = args->draws, .top_k = job->n, .top_p = 1, .min_p = 0, .scratch = scratch};
    s.uniform = args->uniform + row * s.draws;
    s.index = indices_from(&args->index, row * s.draws);
    s.distinct = args->without_replacement && args->draws > 1;
    if (args->top_k && args->top_k[row * args->top_k_step] < job->n) s.top_k = (ptrdiff_t)args->top_k[row * args->top_k_step];
    if (args->top_p) s.top_p = args->top_p[row * args->top_p_step];
    if (args->min_p) s.min_p = args->min_p[row * args->min_p_step];
    s.in_list = s.top_k <= MAX_SAMPLE_CANDIDATES && (s.top_k < job->n || filters_by_weight(&s));
    s.weights = (struct class_weights){job, row, NULL, scratch->candidates.block};
    s.prefix = (struct order_prefix){-INFINITY, -1};
    return s;
}

/* Sums of weights that reach top_p of all but for rounding do reach it. */
#define REACHED (1 - 0x1p-44)

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

/* top_p and min_p of a row. The classes that min_p leaves are a prefix too: the smallest that weighs as much is found by bisection. */
static void filter_row_by_weight(struct sampling *s) {
    const struct exp_params *params = s->weights.params;
    const real least = (real)(s->min_p * weight_of(s->max, params));
    order_key low = key_of(-INFINITY), high = key_of(s->max);
    if (s->top_p < 1) s->prefix = find_prefix(&s->weights, s->top_p * s->total * REACHED, s->prefix, s->max);
    while (s->min_p > 0 && high - low > 1) {
        const order_key middle = low + (high - low) / 2;
        if ((real)weight_of(value_of_key(middle), params) < least) low = middle;
        else high = middle;
    }
    if (s->min_p > 0 && value_of_key(high) > s->prefix.value) s->prefix = (struct order_prefix){value_of_key(high), s->weights.job->n - 1};
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

/* ---- results --------------------------------------------------------------------------------------------------- */

/* Stores the logarithm of the part that each drawn class has of all weights. others: the sum of those beside the largest */
static void store_log_probs(const struct sampling *s, double others, double largest) {
    const sl_job *job = s->weights.job;
    const struct exp_params *params = s->weights.params;
    const ptrdiff_t first = s->weights.row * s->draws;
    struct ratio_others_to_max ratio;
    double log_double[LANES];
    vec unused_logsumexp;
    for (int i = 0; i < LANES; i++) {
        ratio.high[i] = others / largest;
        ratio.low[i] = 0;
    }
    const vec log = log_of_ratio(&ratio, params, log_double, &unused_logsumexp);
    for (ptrdiff_t j = 0; j < s->draws; j += LANES) {
        const ptrdiff_t count = s->draws - j < LANES ? s->draws - j : LANES;
        real x[LANES], y[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) x[l] = logit_at(job, s->weights.row, index_at(&s->index, j + (l < count ? l : 0)));
        v_store(y, shift_logit(v_load(x), params->max, log, params->temperature));
        store_results(job, first + j, count, y);
    }
}

/* A row that has fewer classes than draws without replacement */
static void store_too_few(const struct sampling *s, ptrdiff_t left) {
    const sl_job *job = s->weights.job;
    const real y = (real)NAN;
    for (ptrdiff_t j = 0; j < s->draws; j++) {
        store_index(&s->index, j, left);
        if (job->y) store_results(job, s->weights.row * s->draws + j, 1, &y);
    }
}

static void sample_from_list(const struct sampling *s, ptrdiff_t kept) {
    const double *w = s->scratch->weights, largest = w[0];
    double others = 0, low = 0;
    if (s->distinct && kept < s->draws) {
        store_too_few(s, kept);
        return;
    }
    for (ptrdiff_t i = 1; i < kept; i++) others = add_with_low(others, w[i], &low);
    others += low;
    draw_from_list(*s, kept);
    if (s->weights.job->y) store_log_probs(s, others, largest);
}

static void sample_from_row(struct sampling *s) {
    const struct class_weights *w = &s->weights;
    const ptrdiff_t n = w->job->n;
    filter_row_by_weight(s);
    if (s->distinct) {
        const struct class_weights counts = {w->job, w->row, NULL, w->block};
        const ptrdiff_t left = (ptrdiff_t)weight_of_prefix(&counts, 0, n, s->prefix);
        if (left < s->draws) {
            store_too_few(s, left);
            return;
        }
    }
    draw_from_row(s);
    if (!w->job->y) return;
    const ptrdiff_t first = first_index_of_max(w->job, w->row, s->max, NULL, w->block);
    const double others = weight_of_prefix(w, 0, first, s->prefix) + weight_of_prefix(w, first + 1, n, s->prefix);
    store_log_probs(s, others, weight_of(s->max, w->params));
}
#undef REACHED

/* ---- rows ------------------------------------------------------------------------------------------------------ */

/* A row with a NaN or without a finite maximum: its first class in order or, where none may come twice, the first classes. They have NaN,
   or -inf where they are hidden. */
static void sample_special_row(const struct sampling *s) {
    const sl_job *job = s->weights.job;
    const ptrdiff_t row = s->weights.row, classes = s->distinct ? s->draws : 1;
    find_first_classes(job, row, classes, 1, NULL, &s->scratch->candidates, &s->index);
    for (ptrdiff_t j = 0; j < s->draws; j++) {
        const int64_t k = index_at(&s->index, j < classes ? j : 0);
        const real y = is_hidden(job, row, k) ? (real)-INFINITY : (real)NAN;
        store_index(&s->index, j, k);
        if (job->y) store_results(job, row * s->draws + j, 1, &y);
    }
}

/* The list has what top_k leaves, if that is few. Else it begins short: it is likely to hold what the other filters leave. */
static void sample_row(const sl_job *job, ptrdiff_t row, const struct sample_scratch *scratch) {
    struct sampling s = sampling_of_row(job, row, scratch);
    const candidate *list = scratch->candidates.list;
    const ptrdiff_t few = filters_by_weight(&s) ? MAX_SAMPLE_CANDIDATES / 16 : 1;
    int has_nan;
    ptrdiff_t count = find_candidates(job, row, s.in_list ? s.top_k : few, 1, NULL, &scratch->candidates, &has_nan);
    if (has_nan || !count || !isfinite(candidate_value(list[0]))) {
        sample_special_row(&s);
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
