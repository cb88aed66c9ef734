/* part.inc.h: blocks of classes that are a part of their rows. SL_PART_STATISTICS writes what is known of each row after one block;
   SL_PART_SOFTMAX and SL_PART_LOG_SOFTMAX compute a block under the statistics of whole rows. ops/summary.inc.h has what is between. */
#ifndef SL_PART_INC
#define SL_PART_INC
#include "math/log1p.inc.h"
#include "ops/entropy.inc.h"
#include "ops/softmax.inc.h"

/* Hook `finish`: writes the statistics of this part. */
static void part_statistics_finish(struct row_group *g) {
    const sl_part_args *to = g->job->args;
    const struct row_stats *s = g->stats;
    double e_high[LANES], e_low[LANES];
    real max[LANES], high[LANES], low[LANES];
    v_store(max, g->params.max);
    v_store(high, s->exp_of_max.high);
    v_store(low, s->exp_of_max.low);
    for (int i = 0; i < LANES; i++) {
        e_high[i] = (double)high[i] + (double)low[i];
        e_low[i] = (double)low[i] - (e_high[i] - (double)high[i]);
    }
    for (int i = 0; i < g->rows; i++) {
        const int special = is_nonfinite(s, i);
        const ptrdiff_t row = g->first + i;
        to->max[row] = special ? logsumexp_of_nonfinite(g, i) : max[i];
        to->others[row] = special ? (double)(expectation_of_nonfinite(g, i) != 0) : s->ratio.high[i];
        to->others_low[row] = special ? 0 : s->ratio.low[i];
    }
    for (int h = 0; to->deviation && h < HALVES; h++) {
        double deviation[8];
        f64_store(deviation, divide_pairs(f64_load(s->deviation + 8 * h), f64_load(s->deviation_low + 8 * h), f64_load(e_high + 8 * h),
                                          f64_load(e_low + 8 * h)));
        for (int i = 8 * h; i < 8 * h + 8 && i < g->rows; i++) to->deviation[g->first + i] = is_nonfinite(s, i) ? 0 : deviation[i - 8 * h];
    }
}

/* Hook `finish`: the statistics of this part give way to those of the whole rows. Lanes without a row get those of the last one. */
static void part_finish(struct row_group *g) {
    const sl_part_args *given = g->job->args;
    struct row_stats *s = g->stats;
    real confident[LANES];
    for (int i = 0; i < LANES; i++) {
        const ptrdiff_t row = g->first + (i < g->rows ? i : g->rows - 1);
        const double others = given->others[row];
        s->ratio.high[i] = others;
        s->ratio.low[i] = given->others_low[row];
        confident[i] = others < CERTAIN_BELOW ? -1 : 1;
    }
    const struct pair e = s->exp_of_max;
#if SL_REAL == 32
    f64_v sum[2], high[2], low[2];
    to_double(e.high, high);
    to_double(e.low, low);
    for (int i = 0; i < 2; i++) sum[i] = f64_mul(f64_add(high[i], low[i]), f64_add(f64_set1(1.0), f64_load(s->ratio.high + 8 * i)));
    const struct pair rounded = pair_of(from_double(sum));
    to_double(rounded.high, high);
    for (int i = 0; i < 2; i++) low[i] = f64_sub(sum[i], high[i]);
    const struct pair total = {rounded.high, from_double(low)};
#else
    const struct pair ratio = {v_load(s->ratio.high), v_load(s->ratio.low)};
    const struct pair total = pair_renormalize(pair_multiply(e, pair_renormalize(pair_add(pair_of(v_set1(1)), ratio))));
#endif
    stats_scale(total, s);
    if (g->job->mask) stats_flush_below(total, s);
    v_store(s->confident, v_load(confident));
    s->any_confident = g->job->op == SL_PART_SOFTMAX && v_any_lt(v_load(confident), v_set1(0));
    stats_log(&g->params, s);
}

#endif
