/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include "base/poison.h"

#include <stdlib.h>

#define ARENA_ALIGN 16

struct arena_block {
    struct arena_block *prev;
    size_t cap;
    size_t used;
    _Alignas(ARENA_ALIGN) char data[];
};

void arena_init(struct arena *a, size_t block_bytes, size_t max_bytes)
{
    *a = (struct arena){.block_bytes = block_bytes, .max_bytes = max_bytes};
}

static void block_free(struct arena_block *b)
{
    UNPOISON(b->data, b->cap);
    free(b);
}

void arena_fini(struct arena *a)
{
    while (a->head != NULL) {
        struct arena_block *prev = a->head->prev;
        block_free(a->head);
        a->head = prev;
    }
}

void arena_reset(struct arena *a)
{
    while (a->head != NULL && a->head->prev != NULL) {
        struct arena_block *prev = a->head->prev;
        block_free(a->head);
        a->head = prev;
    }
    if (a->head != NULL) {
        a->head->used = 0;
        POISON(a->head->data, a->head->cap);
    }
    a->used_bytes = 0;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (n > a->max_bytes || a->used_bytes > a->max_bytes - n)
        return NULL;
    struct arena_block *b = a->head;
    if (b == NULL || b->cap - b->used < n) {
        size_t cap = n > a->block_bytes ? n : a->block_bytes;
        b = malloc(sizeof(*b) + cap);
        if (b == NULL)
            return NULL;
        b->prev = a->head;
        b->cap = cap;
        b->used = 0;
        a->head = b;
        POISON(b->data, cap);
    }
    void *p = b->data + b->used;
    b->used += n;
    a->used_bytes += n;
    UNPOISON(p, n);
    return p;
}

void *arena_calloc(struct arena *a, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    void *p = arena_alloc(a, n);
    if (p != NULL)
        memset(p, 0, n);
    return p;
}

struct slice arena_dup(struct arena *a, struct slice s)
{
    char *p = arena_alloc(a, s.len + 1);
    if (p == NULL)
        return (struct slice){NULL, 0};
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return (struct slice){p, s.len};
}
