/* avx512_f32.c: the kernels in float32 for x86-64 processors with AVX-512 F, BW, DQ and VL. */
#define SL_UNIT(name) name##_f32_avx512
#include "isa/unit.h"

#ifdef SL_X86
#include "simd/vec_avx512.h"
#include "isa/real_f32.h"

#include "isa/kernels.inc.h"
#endif
