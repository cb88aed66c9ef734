/* portable_f64.c: the kernels in float64 for every processor, in plain C. */
#define SL_UNIT(name) name##_f64_portable
#include "isa/unit.h"
#include "simd/vec_portable.h"
#include "isa/real_f64.h"

#include "isa/kernels.inc.h"

extern const sl_kernels sl_kernels_f32_portable;
const sl_isa sl_portable = {"portable", &sl_kernels_f32_portable, &sl_kernels_f64_portable, SL_ROW_FUNCTIONS};
