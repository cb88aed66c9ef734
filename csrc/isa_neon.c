/* isa_neon.c: the path of AArch64 processors; Advanced SIMD is part of their baseline. */
#include "isa.h"

#ifdef SL_ARM
#include <arm_neon.h>
#include "storage.h"

#define SL_ISA neon
#include "vec_neon.h"
#include "isa.inc.h"
#endif
