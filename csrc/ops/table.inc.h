/* table.inc.h: every operation on rows, as a record. */
#ifndef SL_TABLE_INC
#define SL_TABLE_INC
#include "ops/cross_entropy.inc.h"
#include "ops/nll.inc.h"
#include "ops/entropy.inc.h"
#include "ops/kl.inc.h"
#include "ops/part.inc.h"
#include "ops/sample.inc.h"
#include "ops/select.inc.h"
#include "ops/softmax.inc.h"
#include "ops/vjp.inc.h"

static const struct op ops[] = {
    [SL_SOFTMAX] = {.map = MAP_SCALE_EXP, .visits_classes = 1, .of_masked = 0},
    [SL_LOG_SOFTMAX] = {.map = MAP_SHIFT_LOGIT, .visits_classes = 1, .needs_log = 1, .of_masked = -INFINITY},
    [SL_LOGSUMEXP] = {.per_row = 1, .needs_log = 1, .result_of_nonfinite = logsumexp_of_nonfinite},
    [SL_ENTROPY] =
        {.per_row = 1, .needs_log = 1, .sums_deviation = 1, .finish = entropy_finish, .result_of_nonfinite = expectation_of_nonfinite},
    [SL_KL_DIVERGENCE] = {.take_scratch = take_kl_scratch, .run = kl_rows},
    [SL_SOFTMAX_HESSIAN_DIAG] = {.map = MAP_SCALE_EXP,
                                 .visits_classes = 1,
                                 .needs_log = 1,
                                 .of_masked = 0,
                                 .finish = hessian_diag_finish,
                                 .patch = hessian_diag_patch},
    [SL_EXPECTATION] = {.map = MAP_EXPECT,
                        .visits_classes = 1,
                        .per_row = 1,
                        .class_values = expectation_values,
                        .result_of_nonfinite = expectation_of_nonfinite},
    [SL_CROSS_ENTROPY] = {.needs_log = 1, .collect = collect_targets, .finish = cross_entropy_finish},
    [SL_CROSS_ENTROPY_GRAD] = {.map = MAP_SCALE_EXP,
                               .visits_classes = 1,
                               .needs_log = 1,
                               .collect = collect_targets,
                               .finish = cross_entropy_finish,
                               .patch = subtract_targets},
    [SL_NLL] = {.take_scratch = take_nll_scratch, .run = nll_rows},
    [SL_LOG_LOSS] = {.take_scratch = take_nll_scratch, .run = nll_rows},
    [SL_TAKE_PROBS] = {.map = MAP_SCALE_EXP, .take_scratch = take_select_scratch, .finish = select_finish},
    [SL_TAKE_LOG_PROBS] = {.map = MAP_SHIFT_LOGIT, .needs_log = 1, .take_scratch = take_select_scratch, .finish = select_finish},
    [SL_TOPK] = {.take_scratch = take_select_scratch, .run = select_rows},
    [SL_TOPK_PROBS] = {.map = MAP_SCALE_EXP, .keeps_part_maxima = 1, .take_scratch = take_select_scratch, .finish = select_finish},
    [SL_TOPK_LOG_PROBS] =
        {.map = MAP_SHIFT_LOGIT, .needs_log = 1, .keeps_part_maxima = 1, .take_scratch = take_select_scratch, .finish = select_finish},
    [SL_RANK] = {.take_scratch = take_select_scratch, .run = select_rows},
    [SL_SAMPLE] = {.take_scratch = take_sample_scratch, .run = sample_rows},
    [SL_SOFTMAX_VJP] = {.take_scratch = take_vjp_scratch, .run = vjp_rows},
    [SL_LOG_SOFTMAX_VJP] = {.take_scratch = take_vjp_scratch, .run = vjp_rows},
    [SL_PART_STATISTICS] = {.is_of_part = 1, .needs_log = 1, .finish = part_statistics_finish},
    [SL_PART_STATISTICS_WITH_DEVIATION] = {.is_of_part = 1, .needs_log = 1, .sums_deviation = 1, .finish = part_statistics_finish},
    [SL_PART_SOFTMAX] =
        {.map = MAP_SCALE_EXP, .visits_classes = 1, .of_masked = 0, .is_of_part = 1, .has_given_max = 1, .finish = part_finish},
    [SL_PART_LOG_SOFTMAX] =
        {.map = MAP_SHIFT_LOGIT, .visits_classes = 1, .of_masked = -INFINITY, .is_of_part = 1, .has_given_max = 1, .finish = part_finish},
};

SL_INLINE const struct op *op_of(const sl_job *job) { return &ops[job->op]; }

#endif
