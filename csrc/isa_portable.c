/* isa_portable.c: the path of every processor, in plain C. */
#include "isa.h"
#include "storage.h"

#define SL_ISA portable
#include "vec_portable.h"
#include "isa.inc.h"
