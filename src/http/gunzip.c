/* SPDX-License-Identifier: Apache-2.0 */
#include "http/gunzip.h"

#include "base/magic.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#define ZLIB_CONST /* zlib then takes its input as const */
#include <zlib.h>

#define GZIP_ONLY (15 + 16) /* largest window; gzip header required */

struct http_gunzip {
    z_stream z;
    bool complete; /* the last byte read ended a member */
};

struct http_gunzip *http_gunzip_new(void)
{
    struct http_gunzip *g = calloc(1, sizeof(*g));
    if (g != NULL && inflateInit2(&g->z, GZIP_ONLY) != Z_OK) {
        free(g);
        return NULL;
    }
    return g;
}

void http_gunzip_free(struct http_gunzip *g)
{
    if (g == NULL)
        return;
    (void)inflateEnd(&g->z);
    free(g);
}

void http_gunzip_reset(struct http_gunzip *g)
{
    must(inflateReset2(&g->z, GZIP_ONLY) == Z_OK);
    g->complete = false;
}

static unsigned clamp(size_t n)
{
    return n < UINT_MAX ? (unsigned)n : UINT_MAX;
}

int http_gunzip_run(struct http_gunzip *g, struct slice *in, char *out, size_t cap, size_t *out_len)
{
    *out_len = 0;
    /* Also with no input left: zlib may hold output back that had no room before. */
    for (;;) {
        if (g->complete) {
            if (in->len == 0)
                return 0;
            http_gunzip_reset(g); /* another member */
        }
        unsigned in_give = clamp(in->len), out_give = clamp(cap - *out_len);
        g->z.next_in = (const Bytef *)in->ptr;
        g->z.avail_in = in_give;
        g->z.next_out = (Bytef *)(out + *out_len);
        g->z.avail_out = out_give;
        int rc = inflate(&g->z, Z_NO_FLUSH);
        in->ptr += in_give - g->z.avail_in;
        in->len -= in_give - g->z.avail_in;
        *out_len += out_give - g->z.avail_out;
        bool stuck = in_give == g->z.avail_in && out_give == g->z.avail_out;
        if (rc == Z_STREAM_END)
            g->complete = true;
        else if (rc == Z_MEM_ERROR)
            return -ENOMEM;
        else if (rc != Z_OK && rc != Z_BUF_ERROR)
            return WH_ECORRUPT;
        else if (stuck || *out_len == cap)
            return 0;
    }
}

bool http_gunzip_complete(const struct http_gunzip *g)
{
    return g->complete;
}
