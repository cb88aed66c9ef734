/* failing_malloc.c: makes one allocation fail, or all from one on. test_allocations.py preloads it into a process of Python and sets the
   variables. An allocation is a call of malloc and its relatives, or the start of a thread, by any thread of the process. Needs glibc,
   whose own functions it calls. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

_Atomic long countdown;    /* n: the n-th allocation from now on fails. 0: none does */
_Atomic int fails_on;      /* then all that follow fail too: countdown becomes -1, not 0 */
_Atomic size_t least_size; /* bytes; smaller allocations are not counted and do not fail */
_Atomic long live;         /* blocks that are allocated and not freed */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

static int fails(size_t size) {
    long left = atomic_load(&countdown);
    if (left == 0 || size < atomic_load(&least_size)) return 0;
    while (left > 0) {
        const long next = left > 1 ? left - 1 : -(long)atomic_load(&fails_on);
        if (atomic_compare_exchange_weak(&countdown, &left, next)) break;
    }
    if (left != 1 && left != -1) return 0;
    errno = ENOMEM;
    return 1;
}

static void *counted(void *memory) {
    if (memory) atomic_fetch_add(&live, 1);
    return memory;
}

void *malloc(size_t size) { return fails(size) ? NULL : counted(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return fails(count * size) ? NULL : counted(__libc_calloc(count, size)); }
void *memalign(size_t alignment, size_t size) { return fails(size) ? NULL : counted(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **to, size_t alignment, size_t size) {
    void *memory = memalign(alignment, size);
    if (!memory) return ENOMEM;
    *to = memory;
    return 0;
}

void *realloc(void *memory, size_t size) {
    if (!memory) return malloc(size);
    if (size == 0) return free(memory), NULL;
    return fails(size) ? NULL : __libc_realloc(memory, size);
}

void free(void *memory) {
    if (memory) atomic_fetch_sub(&live, 1);
    __libc_free(memory);
}

int pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*begin)(void *), void *argument) {
    static int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!create) *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    return fails((size_t)-1) ? EAGAIN : create(id, attributes, begin, argument);
}
