/* avx512_f32.c: the kernels in float32 for x86-64 processors with AVX-512 F, BW, DQ and VL. */
#define SL_UNIT(name) name##_f32_avx512
#include "isa/unit.h"

#ifdef SL_X86
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
#include "simd/float16.h"

#include "simd/vec_avx512.h"
#include "isa/real_f32.h"

#include "isa/kernels.inc.h"
#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#endif
