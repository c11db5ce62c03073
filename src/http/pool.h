/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers that are taken and given back many times a second, kept by size.
 *
 * Sizes are powers of two from 4 KiB to 4 MiB; larger ones come from and go to malloc. What is kept
 * unused is bounded, and http_pool_trim gives back what the present load does not need. Kept
 * memory is poisoned under AddressSanitizer. Single-threaded. */
#ifndef WH_HTTP_POOL_H
#define WH_HTTP_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_POOL_MIN_SHIFT 12
#define HTTP_POOL_MAX_SHIFT 22
#define HTTP_POOL_CLASSES   (HTTP_POOL_MAX_SHIFT - HTTP_POOL_MIN_SHIFT + 1)
#define HTTP_POOL_KEPT_MAX  ((size_t)16 << 20) /* unused bytes kept by one loop */

struct http_pool {
    void *kept[HTTP_POOL_CLASSES]; /* list through the first word of each buffer */
    uint32_t count[HTTP_POOL_CLASSES];
    uint32_t low[HTTP_POOL_CLASSES]; /* least count since the last trim: what nobody needed */
    size_t kept_bytes;
    bool closed; /* after http_pool_fini: what comes back is freed */
};

void http_pool_init(struct http_pool *pool);
void http_pool_fini(struct http_pool *pool);

/* A buffer of at least need bytes; *cap gets its size. NULL when memory ran out. */
char *http_pool_get(struct http_pool *pool, size_t need, size_t *cap);
/* A buffer from http_pool_get, with the cap it came with. NULL is fine. */
void http_pool_put(struct http_pool *pool, char *p, size_t cap);
/* A larger one with the first used bytes of p, which is given back; on NULL p stays as it is. */
char *http_pool_grow(struct http_pool *pool, char *p, size_t used, size_t need, size_t *cap);
/* Called once a second or so: of the buffers that lay unused all the time since the last call,
 * frees half in each size (a single one too). So a crowd's buffers go within seconds, though a few
 * clients go on. Returns the bytes freed; kept_bytes says what is left. */
size_t http_pool_trim(struct http_pool *pool);

#endif
