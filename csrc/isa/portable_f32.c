/* portable_f32.c: the kernels in float32 for every processor, in plain C. */
#define SL_UNIT(name) name##_f32_portable
#include "isa/unit.h"
#include "simd/vec_portable.h"
#include "isa/real_f32.h"

#include "isa/kernels.inc.h"
