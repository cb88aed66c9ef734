/* isa.inc.h: stamp. Included by isa_<name>.c after its vec_<name>.h, inside the target region: the kernels in both
   compute types and the table that dispatch.c hands out. SL_ISA is the name of the path. */
#include "math.inc.h"
#include "totals.inc.h"

#define SL_REAL 32
#define V_TABLE sl_f32_table
#define V_EXP_TERMS sl_f32_exp
#include "kernels.inc.h"
#undef SL_REAL
#undef V_TABLE
#undef V_EXP_TERMS
#define SL_REAL 64
#define V_TABLE sl_f64_table
#define V_EXP_TERMS sl_f64_exp
#include "kernels.inc.h"
#undef SL_REAL
#undef V_TABLE
#undef V_EXP_TERMS

#define SL_TEXT_(name) #name
#define SL_TEXT(name) SL_TEXT_(name)
#define SL_PASTE_(a, b) a##b
#define SL_PASTE(a, b) SL_PASTE_(a, b)
#define SL_FORMS(P)                                                                                         \
    {P##short_rows, P##rows,       P##tiles,    P##narrow_columns, P##jacobian,   P##choose,   P##elements, \
     P##long_max,   P##long_shift, P##long_sum, P##long_finish,    P##long_write, P##long_mean}
const sl_kernels SL_PASTE(sl_, SL_ISA) = {SL_TEXT(SL_ISA), SL_FORMS(f32_), SL_FORMS(f64_), sl_wrong_target, sl_total_weight, sl_total};
