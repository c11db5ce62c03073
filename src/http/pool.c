/* SPDX-License-Identifier: Apache-2.0 */
#include "http/pool.h"

#include "base/magic.h"
#include "base/poison.h"

#include <stdlib.h>
#include <string.h>

#define TOP_BYTES ((size_t)1 << HTTP_POOL_MAX_SHIFT)

static unsigned class_of(size_t need)
{
    if (need <= (size_t)1 << HTTP_POOL_MIN_SHIFT)
        return 0;
    return (unsigned)(64 - __builtin_clzl(need - 1)) - HTTP_POOL_MIN_SHIFT;
}

static size_t class_bytes(unsigned class)
{
    return (size_t)1 << (class + HTTP_POOL_MIN_SHIFT);
}

void http_pool_init(struct http_pool *pool)
{
    *pool = (struct http_pool){0};
}

/* Take one kept buffer out of its list; NULL when there is none. */
static char *pop(struct http_pool *pool, unsigned class)
{
    char *p = pool->kept[class];
    if (p == NULL)
        return NULL;
    UNPOISON(p, class_bytes(class));
    memcpy(&pool->kept[class], p, sizeof(void *));
    pool->kept_bytes -= class_bytes(class);
    pool->count[class]--;
    if (pool->count[class] < pool->low[class])
        pool->low[class] = pool->count[class];
    return p;
}

void http_pool_fini(struct http_pool *pool)
{
    for (unsigned class = 0; class < HTTP_POOL_CLASSES; class ++)
        for (char *p; (p = pop(pool, class)) != NULL;)
            free(p);
    must(pool->kept_bytes == 0);
    pool->closed = true;
}

char *http_pool_get(struct http_pool *pool, size_t need, size_t *cap)
{
    char *p = NULL;
    if (need > TOP_BYTES) {
        *cap = need;
        return malloc(need);
    }
    unsigned class = class_of(need);
    *cap = class_bytes(class);
    p = pop(pool, class);
    return p != NULL ? p : malloc(*cap);
}

void http_pool_put(struct http_pool *pool, char *p, size_t cap)
{
    if (p == NULL)
        return;
    if (cap > TOP_BYTES || pool->closed || pool->kept_bytes + cap > HTTP_POOL_KEPT_MAX) {
        free(p);
        return;
    }
    unsigned class = class_of(cap);
    must(class_bytes(class) == cap);
    memcpy(p, &pool->kept[class], sizeof(void *));
    pool->kept[class] = p;
    pool->count[class]++;
    pool->kept_bytes += cap;
    POISON(p, cap);
}

char *http_pool_grow(struct http_pool *pool, char *p, size_t used, size_t need, size_t *cap)
{
    if (*cap > TOP_BYTES) {
        /* Large blocks are moved by the kernel, not copied. */
        char *q = realloc(p, need);
        if (q != NULL)
            *cap = need;
        return q;
    }
    size_t cap_new;
    char *q = http_pool_get(pool, need, &cap_new);
    if (q == NULL)
        return NULL;
    if (used > 0)
        memcpy(q, p, used);
    http_pool_put(pool, p, *cap);
    *cap = cap_new;
    return q;
}

size_t http_pool_trim(struct http_pool *pool)
{
    size_t before = pool->kept_bytes;
    for (unsigned class = 0; class < HTTP_POOL_CLASSES; class ++) {
        for (uint32_t n = (pool->low[class] + 1) / 2; n > 0; n--)
            free(pop(pool, class));
        pool->low[class] = pool->count[class];
    }
    return before - pool->kept_bytes;
}
