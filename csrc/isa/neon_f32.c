/* neon_f32.c: the kernels in float32 for AArch64 processors; Advanced SIMD is part of their baseline. */
#define SL_UNIT(name) name##_f32_neon
#include "isa/unit.h"

#ifdef SL_ARM
#include "simd/vec_neon.h"
#include "isa/real_f32.h"

#include "isa/kernels.inc.h"
#endif
