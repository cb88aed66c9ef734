/* isa_portable.c: the path of every processor, in plain C. */
#include "isa.h"
#include "storage.h"

/* Steps of u vectors need not be inlined here, and then GCC does not see that u is never 0. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define SL_ISA portable
#include "vec_portable.h"
#include "isa.inc.h"
