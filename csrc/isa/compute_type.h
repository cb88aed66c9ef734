/* compute_type.h: what every part of the kernels stands on: a vector layer and a compute type. A unit (isa/<isa>_<type>.c) has
   chosen both before. A part that is opened by itself, as an editor does, gets float32 over the portable vectors. */
#ifndef SL_REAL
#define SL_UNIT(name) name##_f32_editor
#include "isa/unit.h"

#include "simd/vec_portable.h"
#include "isa/real_f32.h"
#endif
