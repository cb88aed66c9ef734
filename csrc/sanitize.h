/* sanitize.h: lets AddressSanitizer watch scratch memory. Nothing of it is left in other builds. */
#ifndef SOFTLANE_SANITIZE_H
#define SOFTLANE_SANITIZE_H

#if defined(__SANITIZE_ADDRESS__)
#define SL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SL_ASAN 1
#endif
#endif

#ifdef SL_ASAN
#include <sanitizer/asan_interface.h>
#define SL_SCRATCH_GUARD 64 /* bytes after each piece of scratch that must not be touched */
#define sl_poison(at, bytes) ASAN_POISON_MEMORY_REGION(at, bytes)
#define sl_unpoison(at, bytes) ASAN_UNPOISON_MEMORY_REGION(at, bytes)
#else
#define SL_SCRATCH_GUARD 0
#define sl_poison(at, bytes) ((void)(at), (void)(bytes))
#define sl_unpoison(at, bytes) ((void)(at), (void)(bytes))
#endif

#endif
