/* avx2_f32.c: the kernels in float32 for x86-64 processors with AVX2 and FMA. */
#define SL_UNIT(name) name##_f32_avx2
#include "isa/unit.h"

#ifdef SL_X86
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "simd/float16.h"

#include "simd/vec_avx2.h"
#include "isa/real_f32.h"

#include "isa/kernels.inc.h"
#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#endif
