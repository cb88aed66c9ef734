/* kernels.inc.h: every kernel of one unit, and the table that dispatch.c hands out. Included by isa/<isa>_<type>.c inside the
   target region, after vec_<isa>.h and real_<type>.h. The functions that the table names carry type and instruction set in
   the object file: by_rows is by_rows_f32_avx2 there. */
#define short_rows SL_UNIT(short_rows)
#define by_rows SL_UNIT(by_rows)
#define by_tiles SL_UNIT(by_tiles)
#define narrow_columns SL_UNIT(narrow_columns)
#define vjp SL_UNIT(vjp)
#define select_kernel SL_UNIT(select_kernel)
#define elementwise SL_UNIT(elementwise)
#define long_max SL_UNIT(long_max)
#define long_shift SL_UNIT(long_shift)
#define long_sum SL_UNIT(long_sum)
#define long_finish SL_UNIT(long_finish)
#define long_write SL_UNIT(long_write)
#define long_mean SL_UNIT(long_mean)

#include "math/convert.inc.h"
#include "math/exp.inc.h"
#include "ops/cross_entropy.inc.h"
#include "ops/expectation.inc.h"
#include "ops/select.inc.h"
#include "ops/sigmoid.inc.h"
#include "rows/by_rows.inc.h"
#include "rows/by_tiles.inc.h"
#include "rows/row_stats.inc.h"

const sl_kernels SL_UNIT(sl_kernels) = {
    short_rows, by_rows,    by_tiles, narrow_columns, vjp,        select_kernel, elementwise,
    long_max,   long_shift, long_sum, long_finish,    long_write, long_mean,
};
