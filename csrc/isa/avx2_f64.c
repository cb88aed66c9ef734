/* avx2_f64.c: the kernels in float64 for x86-64 processors with AVX2 and FMA. */
#define SL_UNIT(name) name##_f64_avx2
#include "isa/unit.h"

#ifdef SL_X86
#include "simd/vec_avx2.h"
#include "isa/real_f64.h"

#include "isa/kernels.inc.h"

extern const sl_kernels sl_kernels_f32_avx2;
const sl_isa sl_avx2 = {"avx2", &sl_kernels_f32_avx2, &sl_kernels_f64_avx2, SL_ROW_FUNCTIONS};
#endif
