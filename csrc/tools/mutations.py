"""Run the tests against mutations of the kernels: each of them has to make the suite fail.

A mutation replaces one short piece of C code, which occurs once in its file, by a wrong one. All of them go into one
build, where the environment variable SOFTLANE_MUTANT says by number which is active (0: none). The form of the switch
depends on the original:

    a statement (ends with ;)  if (sl_mutant == K) { mutated } else { original }
    an expression              (sl_mutant == K ? (mutated) : (original))
    anything                   the mutated text, if it says MUTANT itself, which becomes (sl_mutant == K)

    python csrc/tools/mutations.py                    build, run all, print a table; exit 1 if a mutation survives
    python csrc/tools/mutations.py --build DIR NAME   keep the build in DIR (or use the one there), run some of them
    python csrc/tools/mutations.py --check            run nothing: do all of them apply, and are their tests there?

Each mutation names the test that should see it. Only if that passes, the whole suite runs. The script needs
what the tests need, and Cython and setuptools for the build.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 1800  # seconds; a mutation that makes the tests hang counts as seen


class Mutation(NamedTuple):
    name: str
    purpose: str  # what goes wrong, in one sentence
    file: str  # below csrc/
    original: str  # occurs once there
    mutated: str
    test: str  # the test, or test file, that should see it


MUTATIONS = [
    Mutation(
        "exp_low_reduction",
        "The range reduction drops the low part of ln2.",
        "math/exp.inc.h",
        "v_fma(k[i], step_low, r[i])",
        "r[i]",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "exp_clamp",
        "Elements far below the maximum are clamped at half the distance.",
        "math/exp.inc.h",
        "times_temperature(EXP_CLAMP, p->temperature)",
        "times_temperature(EXP_CLAMP / 2, p->temperature)",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "exp_table",
        "One entry of the float32 table is off by two units in the last place.",
        "isa/real_f32.h",
        "#define v_load_table f32_load_table",
        "#define v_load_table(t) f32_load_table("
        "MUTANT ? (const uint32_t[8]){t[0], t[1], t[2] + 2, t[3], t[4], t[5], t[6], t[7]} : t)",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "exp_polynomial_term",
        "The third coefficient of the polynomial is off by one percent.",
        "math/exp.inc.h",
        "v_constant(exp_terms[k])",
        "v_constant(exp_terms[k] * (MUTANT && k == 2 ? (real)1.01 : 1))",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "exp_polynomial_last",
        "The last coefficient of the polynomial is off by one percent.",
        "math/exp.inc.h",
        "v_constant(exp_terms[EXP_TERMS - 1])",
        "v_constant(exp_terms[EXP_TERMS - 1] * (real)1.01)",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "exp_hides_nan",
        "The clamp turns NaN into a number.",
        "math/exp.inc.h",
        "r[i] = v_max(c->lower_bound, x[i])",
        "r[i] = v_max(x[i], c->lower_bound)",
        "test_semantics.py::test_rows_with_nan_or_an_infinite_maximum",
    ),
    Mutation(
        "row_far_from_zero",
        "Rows are shifted only from a thousand times as far from zero as they must be.",
        "math/exp.inc.h",
        "times_temperature(SHIFT_FROM, temperature)",
        "times_temperature(SHIFT_FROM * 1024, temperature)",
        "test_accuracy.py::test_rows_around_powers_of_two",
    ),
    Mutation(
        "sum_low_part",
        "The sum of exponentials loses what its high part rounds away.",
        "math/exp.inc.h",
        "v_fma(T[i], p[i], v_sub(T[i], taken[i]))",
        "v_set1(0)",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "sum_of_lanes",
        "The sums of the lanes are added without their low parts.",
        "math/pair.inc.h",
        "v_unzip(half, a.low, b.low, &even.low, &odd.low);",
        "even.low = odd.low = v_set1(0);",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "reciprocal_low_part",
        "Softmax multiplies by the rounded reciprocal of the sum.",
        "rows/row_stats.inc.h",
        "return (struct pair){high, v_mul(high, rest)};",
        "return (struct pair){high, v_set1(0)};",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "log1p_correction",
        "log1p(z) becomes log(1 + z): what the rounding of 1 + z loses does not come back.",
        "math/log1p.inc.h",
        "f64_div(lost, w)",
        "f64_set1(0.0)",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "confident_rows",
        "Confident rows do not add up the other classes by themselves.",
        "rows/row_stats.inc.h",
        "confident_below(job->n)",
        "(real)0",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "certain_rows",
        "A probability that is 1 may come out an ulp below it.",
        "rows/by_rows.inc.h",
        "has_certain(g->op, s) && s->confident[i] < 0",
        "0",
        "test_semantics.py::test_probabilities_never_exceed_one_and_round_to_it_where_they_should",
    ),
    Mutation(
        "nonfinite_rows",
        "A nonfinite row is not found.",
        "rows/row_stats.inc.h",
        "v_add(v_sub(p->max, p->max), sum.high)",
        "sum.high",
        "test_semantics.py::test_rows_with_nan_or_an_infinite_maximum",
    ),
    Mutation(
        "nonfinite_logsumexp",
        "The logsumexp of a row with an infinite maximum is that infinity even where the row has a NaN.",
        "ops/softmax.inc.h",
        "row_has_nan(g, lane) ? (real)NAN : max[lane]",
        "max[lane]",
        "test_semantics.py::test_rows_with_nan_or_an_infinite_maximum",
    ),
    Mutation(
        "mask_at_tail",
        "The mask is ignored in the last vector of a row.",
        "math/convert.inc.h",
        "(!mask || mask[j])",
        "1",
        "test_options.py::test_masks_and_temperatures_against_the_reference",
    ),
    Mutation(
        "mask_in_nonfinite_row",
        "Hidden classes of a nonfinite row are NaN.",
        "rows/row_stats.inc.h",
        "job->mask && !job->mask[at + k * step]",
        "0",
        "test_options.py::test_what_is_hidden_does_not_matter_and_what_is_not_shows",
    ),
    Mutation(
        "temperature_reduction",
        "With a temperature the range reduction drops its low part.",
        "math/exp.inc.h",
        "v_fma(k[i], h->step_low, r[i])",
        "r[i]",
        "test_options.py::test_masks_and_temperatures_against_the_reference",
    ),
    Mutation(
        "temperature_of_row",
        "All rows of a group take the temperature of the first.",
        "math/exp.inc.h",
        "i < rows ? i : rows - 1",
        "0",
        "test_options.py::test_masks_and_temperatures_against_the_reference",
    ),
    Mutation(
        "target_first_class",
        "A target that is the first class of a block is not found.",
        "ops/cross_entropy.inc.h",
        "k >= first && k < last",
        "k > first && k < last",
        "test_losses.py::test_cross_entropy_with_every_option",
    ),
    Mutation(
        "target_out_of_range",
        "A target equal to the number of classes is accepted.",
        "ops/totals.inc.h",
        "is_kept & (uint64_t)((uint64_t)target[i] >= (uint64_t)n)",
        "is_kept & (uint64_t)((uint64_t)target[i] > (uint64_t)n)",
        "test_loss_errors.py::test_an_index_outside_the_classes_is_named",
    ),
    Mutation(
        "ignore_index",
        "Rows with the ignored target are not ignored.",
        "ops/cross_entropy.inc.h",
        "k == ignore_index",
        "0",
        "test_losses_semantics.py::test_ignored_samples_have_no_loss_and_no_gradient_whatever_they_hold",
    ),
    Mutation(
        "class_weight",
        "The mass of a target is not multiplied by the weight of its class.",
        "ops/cross_entropy.inc.h",
        "weight ? mass * weight[k] : mass",
        "mass",
        "test_losses.py::test_cross_entropy_with_every_option",
    ),
    Mutation(
        "factor_is_nan",
        "A mean whose divisor is NaN gives gradients with NaNs of both signs.",
        "ops/cross_entropy.inc.h",
        "f64_sub(of_factor[h], of_factor[h])",
        "zero",
        "test_losses_semantics.py::test_a_mean_with_weights_of_any_size",
    ),
    Mutation(
        "infinite_total",
        "A sum that is infinite becomes NaN.",
        "ops/totals.inc.h",
        "return sum - sum == 0 ? sum + low : sum;",
        "return sum + low;",
        "test_losses_semantics.py::test_a_mean_with_weights_of_any_size",
    ),
    Mutation(
        "total_weight",
        "The mean over weighted targets divides by their number.",
        "ops/totals.inc.h",
        "(weight ? weight[target[i]] : 1)",
        "1",
        "test_losses.py::test_cross_entropy_with_every_option",
    ),
    Mutation(
        "label_smoothing",
        "Label smoothing shares its mass among all classes but one.",
        "ops/cross_entropy.inc.h",
        "job->mask ? args->visible[row] : job->n",
        "job->mask ? args->visible[row] : job->n - 1",
        "test_losses.py::test_cross_entropy_with_every_option",
    ),
    Mutation(
        "smoothing_of_probabilities",
        "Targets that are probabilities keep their whole mass under label smoothing.",
        "ops/cross_entropy.inc.h",
        "m.of_mass = 1 - args->label_smoothing;",
        "m.of_mass = 1;",
        "test_losses.py::test_cross_entropy_with_every_option",
    ),
    Mutation(
        "smoothing_of_hidden",
        "Label smoothing gives a class that is hidden its share.",
        "ops/cross_entropy.inc.h",
        "is_visible ? m->uniform : 0",
        "m->uniform",
        "test_losses_options.py::test_smoothing_is_shared_by_the_classes_that_count",
    ),
    Mutation(
        "quotient_of_margins",
        "What a margin divided by the temperature rounds away is that of the margin.",
        "ops/cross_entropy.inc.h",
        "f64_div(f64_add(f64_fma(f64_negate(quotient), t, margin), *lost), t)",
        "*lost",
        "test_losses_options.py::test_losses_with_a_temperature_are_within_2_ulp",
    ),
    Mutation(
        "margin_unit",
        "A difference of logits beyond the largest number is infinite with a temperature too.",
        "rows/op.inc.h",
        "job->temperature ? 0.5 : 1",
        "1",
        "test_losses_options.py::test_differences_beyond_the_largest_number",
    ),
    Mutation(
        "hidden_target",
        "The gradient of a target that is hidden is not 0.",
        "ops/cross_entropy.inc.h",
        "if (job->mask) hide_gradients(job, y);",
        "",
        "test_losses_options.py::test_a_hidden_class_is_as_if_its_logit_were_minus_infinity",
    ),
    Mutation(
        "weight_of_a_row",
        "A row of weight 0 is computed, NaN included.",
        "ops/cross_entropy.inc.h",
        "args->row_weight[x->first_row + i] == 0",
        "0",
        "test_losses_semantics.py::test_samples_of_weight_0_may_hold_anything",
    ),
    Mutation(
        "subnormal_logarithm",
        "The logarithm of a subnormal number is off by its exponent.",
        "math/log1p.inc.h",
        "f64_set1(54.0)",
        "f64_set1(0.0)",
        "test_losses_options.py::test_the_logarithm_is_within_1_ulp",
    ),
    Mutation(
        "sum_of_lookups",
        "What sums over classes round away is lost.",
        "ops/nll.inc.h",
        "f64_add(f64_load(low + 8 * h), lost)",
        "f64_load(low + 8 * h)",
        "test_losses_options.py::test_sums_over_classes_are_of_twice_the_precision",
    ),
    Mutation(
        "loss_rounding_f64",
        "The float64 loss loses what its difference and its product round away.",
        "ops/cross_entropy.inc.h",
        "f64_select_eq(f64_sub(lost, lost), zero, lost, zero)",
        "zero",
        "test_losses.py::test_label_smoothing_is_within_2_ulp_too",
    ),
    Mutation(
        "gradient_cancels",
        "The gradient of a class with nearly all probability is computed as p - q.",
        "ops/cross_entropy.inc.h",
        "fabs(y) > 0.5 * fabs(scale * mass)",
        "0",
        "test_losses.py::test_the_gradient_of_a_confident_row_is_exact",
    ),
    Mutation(
        "gradient_at_target",
        "The gradient of a confident target is computed as p - q.",
        "ops/cross_entropy.inc.h",
        "f64_select_eq(f64_max(above_half, zero), zero, direct, from_others)",
        "direct",
        "test_losses.py::test_the_gradient_of_a_confident_row_is_exact",
    ),
    Mutation(
        "gradient_in_place",
        "A gradient in place overwrites x that a confident row has to read again.",
        "rows/by_rows.inc.h",
        "const int in_place = rereads_x(r->op) && job->x == job->y;",
        "const int in_place = !MUTANT && rereads_x(r->op) && job->x == job->y;",
        "test_losses.py::test_a_gradient_in_place_of_confident_rows_of_whole_vectors",
    ),
    Mutation(
        "total_of_losses",
        "The total of the losses leaves out the last ones, fewer than a vector.",
        "ops/totals.inc.h",
        "sum[0] = add_with_low(sum[0], x[i], &low[0]);",
        "",
        "test_losses.py::test_cross_entropy_with_every_option",
    ),
    Mutation(
        "topk_threshold",
        "The threshold for the first k classes is a value that fewer than k classes are above.",
        "ops/candidates.inc.h",
        "return low;",
        "return high;",
        "test_selection.py::test_topk_of_one_row",
    ),
    Mutation(
        "ties_in_columns",
        "Among equal maxima of a column the last is taken.",
        "ops/select.inc.h",
        "v_select_lt(max, v, number, v_load(m->first + j))",
        "v_select_lt(v, max, v_load(m->first + j), number)",
        "test_selection.py::test_the_order_by_hand",
    ),
    Mutation(
        "ties_in_sort",
        "Equal float64 values are sorted by falling index.",
        "ops/candidates.inc.h",
        "(a.key == b.key) & (a.index < b.index)",
        "(a.key == b.key) & (a.index > b.index)",
        "test_selection.py::test_topk_of_one_row",
    ),
    Mutation(
        "nan_in_second_vector",
        "A NaN in every second vector of a row is not seen by the selection.",
        "rows/part_maxima.inc.h",
        "seen_b = v_select_eq(v, v, seen_b, hit);",
        "",
        "test_selection.py::test_a_nan_anywhere",
    ),
    Mutation(
        "nan_behind_mask",
        "A hidden NaN is selected as if it were not hidden.",
        "ops/candidates.inc.h",
        "kind = is_hidden(job, row, c)",
        "kind = !MUTANT && is_hidden(job, row, c)",
        "test_selection.py::test_the_order_by_hand",
    ),
    Mutation(
        "rank_of_ties",
        "The rank of a class counts the class itself.",
        "ops/select.inc.h",
        "(ptrdiff_t)k - 1",
        "(ptrdiff_t)k",
        "test_selection.py::test_the_order_by_hand",
    ),
    Mutation(
        "sample_top_k",
        "The sample considers one class more than top_k.",
        "ops/sample.inc.h",
        "s.top_k = (ptrdiff_t)args->top_k[row * args->top_k_step];",
        "s.top_k = 1 + (ptrdiff_t)args->top_k[row * args->top_k_step];",
        "test_sample.py::test_top_k_keeps_exactly_so_many_of_equals",
    ),
    Mutation(
        "sample_top_p",
        "The class that reaches top_p is left out.",
        "ops/sample.inc.h",
        "kept = end = i + 1;",
        "kept = end = i ? i : 1;",
        "test_sample.py::test_top_p_keeps_the_shortest_prefix_that_reaches_it",
    ),
    Mutation(
        "sample_min_p",
        "Classes are compared with min_p of the sum of the weights, not of the largest.",
        "ops/sample.inc.h",
        "w[i] < s->min_p * w[0]",
        "w[i] < s->min_p * s->total",
        "test_sample.py::test_min_p_keeps_what_is_not_below",
    ),
    Mutation(
        "sample_min_p_row",
        "A class below min_p is drawn from a row that keeps more classes than the list holds.",
        "ops/sample.inc.h",
        "value_of_key(high) > s->prefix.value",
        "0",
        "test_sample.py::test_min_p_of_more_classes_than_a_list_holds",
    ),
    Mutation(
        "sample_boundary",
        "A uniform number at the boundary of two classes gives the first of them.",
        "ops/draw.inc.h",
        "sums[middle] > target",
        "sums[middle] >= target",
        "test_sample.py::test_a_uniform_number_at_the_boundary_of_two_classes",
    ),
    Mutation(
        "sample_little",
        "Draws from what dominant classes leave take the weights relative to these.",
        "ops/draw.inc.h",
        "total < LITTLE * weight_of(rest->max, rest->weights.params)",
        "0",
        "test_sample.py::test_what_dominant_classes_leave",
    ),
    Mutation(
        "sample_taken_out",
        "A class of a long row is drawn again without replacement.",
        "ops/draw.inc.h",
        "(uint64_t)1 << drawn % 64",
        "(uint64_t)0 << drawn % 64",
        "test_sample.py::test_all_classes_without_replacement",
    ),
    Mutation(
        "index_of_one_byte",
        "Indices of one byte stop at 127.",
        "ops/indices.inc.h",
        "(uint8_t)index",
        "(uint8_t)(index & 127)",
        "test_selection.py::test_the_last_class_that_a_dtype_holds",
    ),
    Mutation(
        "expectation_low_part",
        "The float64 expectation loses what its additions and products round away.",
        "math/pair.inc.h",
        "d->low[i] = f64_add(f64_add(d->low[i], rest), lost);",
        "",
        "test_selection.py::test_the_expectation_of_millions_of_classes",
    ),
    Mutation(
        "sigmoid_saturation",
        "The sigmoid saturates at half the distance from zero.",
        "ops/sigmoid.inc.h",
        "v_max(v_set1(SIGMOID_ZERO), x[i])",
        "v_max(v_set1(SIGMOID_ZERO / 2), x[i])",
        "test_elementwise.py::test_sigmoids_are_within_2_ulp",
    ),
    Mutation(
        "log_sigmoid_polynomial",
        "The float32 polynomial of log1p loses its last term.",
        "math/log1p.inc.h",
        "f32_set1(q[10])",
        "f32_set1(0)",
        "test_elementwise.py::test_sigmoids_are_within_2_ulp",
    ),
    Mutation(
        "quotient_low_part",
        "The sigmoid of x / T loses what the quotient rounds away.",
        "ops/sigmoid.inc.h",
        "v_add(p, v_fma(d, p, d))",
        "p",
        "test_elementwise.py::test_sigmoids_with_a_temperature_are_within_2_ulp",
    ),
    Mutation(
        "small_quotient",
        "A float64 near the smallest one is divided by a temperature like any other.",
        "ops/sigmoid.inc.h",
        "v_set1(0x1p600)",
        "v_set1(1)",
        "test_elementwise.py::test_sigmoids_with_a_temperature_are_within_2_ulp",
    ),
    Mutation(
        "weight_hides_nan",
        "A weight of 0 hides a NaN.",
        "ops/binary.inc.h",
        "v_select_eq(product, product, product, v_select_eq(sum, sum, zero, sum))",
        "v_select_eq(product, product, product, zero)",
        "test_elementwise.py::test_a_weight_of_0_hides_an_infinity_but_no_nan",
    ),
    Mutation(
        "slope_at_1",
        "The gradient at a target of 1 divides by 1 - p as well.",
        "ops/binary.inc.h",
        "f64_select_eq(y, one, p, f64_mul(p, rest))",
        "f64_mul(p, rest)",
        "test_elementwise.py::test_gradients_at_probabilities_of_0_and_1",
    ),
    Mutation(
        "log_of_subnormal",
        "The logarithm of a subnormal number does not scale it.",
        "math/log1p.inc.h",
        "f64_mul(w, f64_set1(0x1p54))",
        "w",
        "test_losses_semantics.py::test_the_logarithm_of_every_size",
    ),
    Mutation(
        "binary_pos_weight",
        "Binary cross-entropy ignores pos_weight.",
        "ops/binary.inc.h",
        "times_or_zero(pos_weight[j], target[j])",
        "target[j]",
        "test_elementwise.py::test_binary_cross_entropy_with_every_option",
    ),
    Mutation(
        "binary_infinite_logit",
        "A weight of 0 times an infinite logit is NaN.",
        "ops/binary.inc.h",
        "v_select_eq(side, v_set1(0), v_set1(0), v_mul(side, abs_x))",
        "v_mul(side, abs_x)",
        "test_elementwise.py::test_special_values_of_binary_cross_entropy",
    ),
    Mutation(
        "vjp_sum",
        "The product with the Jacobian of softmax ignores the sum.",
        "ops/vjp.inc.h",
        "f64_mul(y[h], f64_sub(g[h], s->high[h]))",
        "f64_mul(y[h], g[h])",
        "test_losses.py::test_gradients_from_an_output",
    ),
    Mutation(
        "block_scale",
        "Blocks of a long row far below its maximum vanish too early.",
        "math/exp.inc.h",
        "d[i] >= -EXP_DEPTH",
        "d[i] >= -EXP_DEPTH / 8",
        "test_accuracy.py::test_rows_around_powers_of_two",
    ),
    Mutation(
        "block_maximum",
        "The maximum of a long row is that of its last block.",
        "rows/blocks.inc.h",
        "v_max(v_load(f->max + b * LANES), m)",
        "v_load(f->max + b * LANES)",
        "test_accuracy.py::test_columns",
    ),
    Mutation(
        "column_blocks_sum",
        "The sum of a long column is that of its last block.",
        "rows/by_tiles.inc.h",
        "pair_add(sum, pair_scale(c->sum[i], v_load(c->blocks.scale + i * LANES)))",
        "pair_scale(c->sum[i], v_load(c->blocks.scale + i * LANES))",
        "test_accuracy.py::test_columns",
    ),
    Mutation(
        "column_blocks_shift",
        "A long column far from zero is read again without its shift.",
        "rows/tile_kernels.inc.h",
        "x[i] = v_sub(v_load(tile + (k + i) * stride), p->shift);",
        "x[i] = v_load(tile + (k + i) * stride);",
        "test_accuracy.py::test_columns",
    ),
    Mutation(
        "two_classes_difference",
        "Softmax of two classes takes the rounded difference.",
        "rows/two_classes.inc.h",
        "r = v_add(r, t.below_low);",
        "",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "two_classes_swapped",
        "Softmax of two classes exchanges them where the second is larger.",
        "rows/two_classes.inc.h",
        "v_select_lt(t->difference, zero, smaller, larger)",
        "larger",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "two_classes_gradient",
        "The gradient of the target, of two classes, has the sign of the other one.",
        "ops/cross_entropy.inc.h",
        "-gradient[i * y->row_step + (1 - k) * y->class_step]",
        "gradient[i * y->row_step + (1 - k) * y->class_step]",
        "test_losses.py",
    ),
    Mutation(
        "two_classes_logarithm",
        "The logarithm of two classes loses its polynomial.",
        "rows/two_classes.inc.h",
        "log[i] = f64_fma(f64_mul(e, e), q[i], e);",
        "log[i] = e;",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "tail_of_maximum",
        "The maximum of a row is at least 0 where its length is no multiple of the vector.",
        "rows/row_kernels.inc.h",
        "v_max(v_load_tail(x + i, n - i, -INFINITY), b)",
        "v_max(v_load_tail(x + i, n - i, 0), b)",
        "test_accuracy.py::test_rows_up_to_130_classes",
    ),
    Mutation(
        "tail_of_output",
        "The last vector of e in y is written whole, beyond the end of the row.",
        "rows/row_kernels.inc.h",
        "v_store_tail(r.e + i, n - i, v);",
        "v_store(r.e + i, v);",
        "test_guard_pages.py",
    ),
    Mutation(
        "fma_of_one_path",
        "The AVX2 path rounds the product and the sum of fma.",
        "simd/vec_avx2.h",
        "SL_F32(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b))",
        "SL_F32(_mm256_add_ps(_mm256_mul_ps(x.a, y.a), z.a), _mm256_add_ps(_mm256_mul_ps(x.b, y.b), z.b))",
        "test_paths.py",
    ),
    Mutation(
        "float16_ties",
        "The portable path rounds ties of float16 down.",
        "simd/float16.h",
        "((m >> 13) & 1u)",
        "0u",
        "test_dtypes.py::test_every_16_bit_float_is_read_and_rounded_right",
    ),
    Mutation(
        "bfloat16_ties",
        "The portable path rounds ties of bfloat16 up.",
        "simd/float16.h",
        "((b >> 16) & 1u)",
        "1u",
        "test_dtypes.py::test_every_16_bit_float_is_read_and_rounded_right",
    ),
    Mutation(
        "in_place_far",
        "A long row in place is overwritten before it is known to be far from zero.",
        "rows/by_rows.inc.h",
        "if (needs_max_first(g->job, g->op)) {",
        "if (!MUTANT && needs_max_first(g->job, g->op)) {",
        "test_semantics.py::test_rows_far_from_zero_in_place_and_on_several_threads",
    ),
    Mutation(
        "partition_rows",
        "The last unit of each chunk is left out where threads share the rows.",
        "parallel.c",
        "c->p->run(c->job, first, smaller(first + c->per_chunk, c->items)",
        "c->p->run(c->job, first, smaller(first + c->per_chunk, c->items) - MUTANT",
        "test_threads.py::test_the_number_of_threads_does_not_show",
    ),
    Mutation(
        "partition_long_row",
        "Threads that share a long row far from zero do not sum it again.",
        "parallel.c",
        "k->row_find_shift(job, c->row, c->shared, c->scratch) || c->p->max_first",
        "k->row_find_shift(job, c->row, c->shared, c->scratch), c->p->max_first",
        "test_semantics.py::test_rows_far_from_zero_in_place_and_on_several_threads",
    ),
    Mutation(
        "pool_scratch",
        "Threads of one job use the same scratch.",
        "pool.c",
        "current.threads - (int)(won >> PLACES)",
        "0",
        "test_threads.py::test_the_number_of_threads_does_not_show",
    ),
    Mutation(
        "pool_wait",
        "A call returns while a worker still has a chunk of it.",
        "pool.c",
        "while ((left = atomic_load(&unfinished))) {",
        "while (!MUTANT && (left = atomic_load(&unfinished))) {",
        "test_threads.py::test_the_number_of_threads_does_not_show",
    ),
    Mutation(
        "environment_of_rows",
        "Rows are computed in the floating-point environment of the caller.",
        "parallel.c",
        "const sl_environment before = sl_enter_default();\n    const int status",
        "const sl_environment before = MUTANT ? SL_MXCSR_DEFAULT : sl_enter_default();\n    const int status",
        "test_environment.py::test_results_do_not_depend_on_it",
    ),
    Mutation(
        "environment_of_elements",
        "Elements are computed in the floating-point environment of the caller.",
        "parallel.c",
        "const sl_environment before = sl_enter_default();\n    run_chunks(run_elements",
        "const sl_environment before = MUTANT ? SL_MXCSR_DEFAULT : sl_enter_default();\n    run_chunks(run_elements",
        "test_environment.py::test_results_do_not_depend_on_it",
    ),
    Mutation(
        "vjp_low_sum",
        "The gradient of log_softmax in float64 drops the low part of the sum of the gradients.",
        "ops/vjp.inc.h",
        "r[h] = f64_fma(minus_p, f64_mul(s->low[h], down[h]), r[h]);",
        "r[h] = f64_fma(minus_p, f64_set1(0.0), r[h]);",
        "test_losses.py",
    ),
    Mutation(
        "vjp_rest_of_difference",
        "The gradient of softmax in float64 drops what the difference of a gradient and the sum rounds away.",
        "ops/vjp.inc.h",
        "r[h] = f64_fma(y[h], d, f64_mul(y[h], rest));",
        "r[h] = f64_mul(y[h], d);",
        "test_losses.py",
    ),
    Mutation(
        "loss_scaled_sum",
        "The mean of binary losses whose sum is beyond the largest number is of other multiples.",
        "ops/binary.inc.h",
        "t->scaled = f64_fma(x, f64_set1(0x1p-64), t->scaled);",
        "t->scaled = f64_fma(x, f64_set1(0x1p-63), t->scaled);",
        "test_no_surprises.py::test_a_mean_whose_sum_is_beyond_the_largest_number",
    ),
]


SWITCH = """#include <stdlib.h>
int sl_mutant;
__attribute__((constructor)) static void choose_mutant(void) {
    const char *number = getenv("SOFTLANE_MUTANT");
    sl_mutant = number ? atoi(number) : 0;
}
"""


def switched(mutation, number):
    """The text that takes the place of the original."""
    is_active = f"(sl_mutant == {number})"
    original, mutated = mutation.original, mutation.mutated
    if "MUTANT" in mutated:
        return mutated.replace("MUTANT", is_active)
    if original.endswith(";"):
        return f"if {is_active} {{ {mutated} }} else {{ {original} }}"
    return f"({is_active} ? ({mutated}) : ({original}))"


def mutated_sources():
    """{path below the root: text} of the files that the mutations, and what the build needs, change."""
    changes = [(f"csrc/{m.file}", m.original, switched(m, number)) for number, m in enumerate(MUTATIONS, 1)]
    changes.append(("csrc/softlane.h", "#define SOFTLANE_H\n", "#define SOFTLANE_H\nextern int sl_mutant;\n"))
    changes.append(("setup.py", '"-O3"', '"-O1", "-g0", "-w"'))
    texts = {file: (ROOT / file).read_text() for file, _, _ in changes}
    for file, old, new in changes:
        if texts[file].count(old) != 1:
            sys.exit(f"{file} has {texts[file].count(old)} times, not once: {old}")
        texts[file] = texts[file].replace(old, new)
    return {**texts, "csrc/mutant.c": SWITCH}


def build(folder):
    """A copy of the sources with all mutations, compiled quickly rather than well."""
    for name in ("csrc", "src"):
        copytree(ROOT / name, folder / name, ignore=ignore_patterns("*.so", "_core.c", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, folder)
    for file, text in mutated_sources().items():
        (folder / file).write_text(text)
    subprocess.run([sys.executable, "setup.py", "-q", "egg_info", "build_ext", "--inplace"], cwd=folder, check=True)


def check():
    """Does every mutation change its file, and is its test there?"""
    mutated_sources()
    for name, count in Counter(m.name for m in MUTATIONS).items():
        if count > 1:
            sys.exit(f"two mutations have the name {name}")
    for m in MUTATIONS:
        file, _, function = m.test.partition("::")
        path = ROOT / "tests" / file
        if not path.exists() or (function and f"\ndef {function}(" not in path.read_text()):
            sys.exit(f"{m.name}: there is no tests/{m.test}")
    print(f"{len(MUTATIONS)} mutations apply")


def failing_test(folder, number, tests):
    """The name of the first test that fails on a mutation; None if all pass."""
    environment = dict(
        os.environ, SOFTLANE_MUTANT=str(number), PYTHONPATH=str(folder / "src"), PYTHONDONTWRITEBYTECODE="1"
    )
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", *tests]
    try:
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return "(hangs)"
    if run.returncode == 0:
        return None
    if run.returncode == 1:
        return re.search(r"^(?:FAILED|ERROR) (?:tests/)?(.+?)(?: - .*)?$", run.stdout, re.MULTILINE)[1]
    if run.returncode < 0:
        return f"(crash, signal {-run.returncode})"
    sys.exit(run.stdout + run.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutations to run; all of them by default")
    parser.add_argument("--build", type=Path, help="where to build, and to find the build if it is there")
    parser.add_argument("--check", action="store_true", help="only see whether the mutations apply")
    options = parser.parse_args()
    if options.check:
        return check()
    chosen = {m.name: n for n, m in enumerate(MUTATIONS, 1) if not options.names or m.name in options.names}
    if len(chosen) != len(options.names or MUTATIONS):
        sys.exit(f"unknown name; there are {', '.join(m.name for m in MUTATIONS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.build or Path(temporary)
        if not (folder / "csrc").exists():
            build(folder)
        hinted = sorted({f"tests/{MUTATIONS[number - 1].test}" for number in chosen.values()})
        if failed := failing_test(folder, 0, hinted):
            sys.exit(f"{failed} fails without a mutation")
        survivors = 0
        for name, number in chosen.items():
            start = time.monotonic()
            tests = [f"tests/{MUTATIONS[number - 1].test}"]
            failed = failing_test(folder, number, tests) or failing_test(folder, number, ["tests"])
            survivors += failed is None
            print(f"{name:26} {time.monotonic() - start:6.0f} s  {failed or 'SURVIVES'}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations make a test fail")
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
