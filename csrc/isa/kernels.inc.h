/* kernels.inc.h: every kernel of one unit, and the table that dispatch.c hands out. Included by isa/<isa>_<type>.c after
   vec_<isa>.h, which names the target that kernels are compiled for, and real_<type>.h. The functions that leave a unit carry type
   and instruction set in the object file: by_rows is by_rows_f32_avx2 there. */
#define plan SL_UNIT(plan)
#define by_rows SL_UNIT(by_rows)
#define planes_by_tiles SL_UNIT(planes_by_tiles)
#define short_rows_by_tiles SL_UNIT(short_rows_by_tiles)
#define row_start SL_UNIT(row_start)
#define row_max_blocks SL_UNIT(row_max_blocks)
#define row_sum_blocks SL_UNIT(row_sum_blocks)
#define row_find_shift SL_UNIT(row_find_shift)
#define row_finish SL_UNIT(row_finish)
#define row_map_blocks SL_UNIT(row_map_blocks)
#define row_store_result SL_UNIT(row_store_result)
#define select_rows SL_UNIT(select_rows)
#define sample_rows SL_UNIT(sample_rows)
#define vjp_rows SL_UNIT(vjp_rows)
#define nll_rows SL_UNIT(nll_rows)
#define kl_rows SL_UNIT(kl_rows)
#define elementwise SL_UNIT(elementwise)

#ifdef SL_TARGET
SL_OPEN_TARGET(SL_TARGET)
#endif
#if SL_REAL == 64
#include "ops/summary.inc.h"
#include "ops/totals.inc.h"
/* What an sl_isa has besides its name and its kernels */
#define SL_ROW_FUNCTIONS sl_wrong_target, sl_total_weight, sl_total, sl_count_visible, sl_summaries
#endif
#include "ops/elementwise.inc.h"
#include "rows/plan.inc.h"
#ifdef SL_TARGET
SL_CLOSE_TARGET
#endif

const sl_kernels SL_UNIT(sl_kernels) = {
    plan, row_max_blocks, row_sum_blocks, row_map_blocks, row_find_shift, row_start, row_finish, row_store_result, elementwise,
};
