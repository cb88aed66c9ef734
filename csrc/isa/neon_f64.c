/* neon_f64.c: the kernels in float64 for AArch64 processors; Advanced SIMD is part of their baseline. */
#define SL_UNIT(name) name##_f64_neon
#include "isa/unit.h"

#ifdef SL_ARM
#include "simd/vec_neon.h"
#include "isa/real_f64.h"

#include "isa/kernels.inc.h"

extern const sl_kernels sl_kernels_f32_neon;
const sl_isa sl_neon = {"neon", &sl_kernels_f32_neon, &sl_kernels_f64_neon, SL_ROW_FUNCTIONS};
#endif
