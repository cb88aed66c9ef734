/* isa_avx512.c: the path of x86-64 processors with AVX-512 F, BW, DQ and VL. Only code between push and pop may use them. */
#include "isa.h"

#ifdef SL_X86
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
#include "storage.h"

#define SL_ISA avx512
#include "vec_avx512.h"
#include "isa.inc.h"

#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#endif
