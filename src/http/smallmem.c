/* SPDX-License-Identifier: Apache-2.0 */
#include "http/smallmem.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PIECE_BYTES 32
/* Address space only, until it is touched: a million descriptors. What does not fit comes from
 * malloc. */
#define RANGE_BYTES ((size_t)32 << 20)

static pthread_once_t once = PTHREAD_ONCE_INIT;
/* A leaf, taken when a loop sees a descriptor's number for the first time. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *range;
static size_t range_used;
static void *free_pieces; /* list through the first word of each */

static void *small_malloc(size_t n)
{
    void *p = NULL;
    if (n > PIECE_BYTES)
        return malloc(n);
    (void)pthread_mutex_lock(&lock);
    if (free_pieces != NULL) {
        p = free_pieces;
        memcpy(&free_pieces, p, sizeof(void *));
    } else if (range_used + PIECE_BYTES <= RANGE_BYTES) {
        p = range + range_used;
        range_used += PIECE_BYTES;
    }
    (void)pthread_mutex_unlock(&lock);
    return p != NULL ? p : malloc(n);
}

static bool is_piece(const void *p)
{
    return (uintptr_t)p - (uintptr_t)range < RANGE_BYTES;
}

static void small_free(void *p)
{
    if (p == NULL)
        return;
    if (!is_piece(p)) {
        free(p);
        return;
    }
    (void)pthread_mutex_lock(&lock);
    memcpy(p, &free_pieces, sizeof(void *));
    free_pieces = p;
    (void)pthread_mutex_unlock(&lock);
}

static void *small_realloc(void *p, size_t n)
{
    if (p == NULL)
        return small_malloc(n);
    if (!is_piece(p))
        return realloc(p, n);
    if (n <= PIECE_BYTES)
        return p;
    void *q = malloc(n);
    if (q == NULL)
        return NULL;
    memcpy(q, p, PIECE_BYTES);
    small_free(p);
    return q;
}

static void init(void)
{
    void *p = mmap(NULL, RANGE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return;
    range = p;
    event_set_mem_functions(small_malloc, small_realloc, small_free);
}

void smallmem_init(void)
{
    (void)pthread_once(&once, init);
}
