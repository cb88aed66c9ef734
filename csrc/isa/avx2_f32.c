/* avx2_f32.c: the kernels in float32 for x86-64 processors with AVX2 and FMA. */
#define SL_UNIT(name) name##_f32_avx2
#include "isa/unit.h"

#ifdef SL_X86
#include "simd/vec_avx2.h"
#include "isa/real_f32.h"

#include "isa/kernels.inc.h"
#endif
