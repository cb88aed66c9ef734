/* isa_avx2.c: the path of x86-64 processors with AVX2 and FMA. Only code between push and pop may use them. */
#include "isa.h"

#ifdef SL_X86
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "storage.h"

#define SL_ISA avx2
#include "vec_avx2.h"
#include "isa.inc.h"

#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#endif
