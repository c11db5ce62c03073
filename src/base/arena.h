/* SPDX-License-Identifier: Apache-2.0 */
/* Request memory: many small allocations, freed in one step.
 *
 * A pointer from an arena is valid until arena_reset or arena_fini. Reset keeps the first block, so
 * a reused arena stops allocating once it has seen its usual load. Freed space is poisoned under
 * AddressSanitizer. Single-threaded. */
#ifndef WH_BASE_ARENA_H
#define WH_BASE_ARENA_H

#include "base/slice.h"

#include <stdint.h>

struct arena_block;

struct arena {
    struct arena_block *head; /* the block being filled; older ones hang behind it */
    size_t block_bytes;       /* size of a fresh block */
    size_t used_bytes;        /* handed out since the last reset */
    size_t max_bytes;         /* arena_alloc returns NULL beyond this */
};

void arena_init(struct arena *a, size_t block_bytes, size_t max_bytes);
void arena_fini(struct arena *a);
void arena_reset(struct arena *a);

/* n bytes, aligned for any type, not zeroed; NULL when memory or max_bytes runs out. */
void *arena_alloc(struct arena *a, size_t n) __attribute__((malloc, warn_unused_result));
/* count × size bytes, zeroed; NULL also when the product overflows. */
void *arena_calloc(struct arena *a, size_t count, size_t size) __attribute__((warn_unused_result));
/* A NUL-terminated copy of s; .ptr is NULL on failure. The NUL is not counted in len. */
struct slice arena_dup(struct arena *a, struct slice s);

#endif
