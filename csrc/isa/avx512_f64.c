/* avx512_f64.c: the kernels in float64 for x86-64 processors with AVX-512 F, BW, DQ and VL. */
#define SL_UNIT(name) name##_f64_avx512
#include "isa/unit.h"

#ifdef SL_X86
#include "simd/vec_avx512.h"
#include "isa/real_f64.h"

#include "isa/kernels.inc.h"

extern const sl_kernels sl_kernels_f32_avx512;
const sl_isa sl_avx512 = {"avx512", &sl_kernels_f32_avx512, &sl_kernels_f64_avx512, SL_ROW_FUNCTIONS};
#endif
