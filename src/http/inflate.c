/* SPDX-License-Identifier: Apache-2.0 */
/* gzip and deflate: zlib behind decode.h. */
#include "base/magic.h"
#include "http/decode_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#define ZLIB_CONST /* zlib then takes its input as const */
#include <zlib.h>

/* Largest windows; which header must be there. */
#define WRAP_GZIP (15 + 16)
#define WRAP_ZLIB 15
#define WRAP_NONE (-15)

#define STATE_BYTES ((size_t)40 * 1024) /* zlib's state and its window of 32 KiB */

struct inflater {
    struct http_decoder d; /* first */
    z_stream z;
    bool begun; /* deflate: the first byte was seen */
};

static struct http_decoder *inflater_new(void)
{
    struct inflater *f = calloc(1, sizeof(*f));
    if (f != NULL && inflateInit2(&f->z, WRAP_GZIP) != Z_OK) {
        free(f);
        return NULL;
    }
    return f != NULL ? &f->d : NULL;
}

static void inflater_free(struct http_decoder *d)
{
    struct inflater *f = (struct inflater *)d;
    (void)inflateEnd(&f->z);
    free(f);
}

static void wrap(struct inflater *f, int bits)
{
    must(inflateReset2(&f->z, bits) == Z_OK);
    f->d.complete = false;
}

static void inflater_reset(struct http_decoder *d)
{
    struct inflater *f = (struct inflater *)d;
    f->begun = false;
    wrap(f, d->coding == HTTP_CODING_GZIP ? WRAP_GZIP : WRAP_ZLIB);
}

static size_t inflater_bytes(const struct http_decoder *d)
{
    (void)d;
    return sizeof(struct inflater) + STATE_BYTES;
}

/* The low half of a zlib header's first byte is 8. Bare deflate data that begins so would have to
 * be a stored block with a bit set in its padding, which no compressor writes. */
static void tell_deflate(struct inflater *f, char first)
{
    if (!f->begun && ((unsigned char)first & 15) != 8)
        wrap(f, WRAP_NONE);
    f->begun = true;
}

static unsigned clamp(size_t n)
{
    return n < UINT_MAX ? (unsigned)n : UINT_MAX;
}

static int inflater_run(struct http_decoder *d, struct slice *in, char *out, size_t cap,
                        size_t *out_len)
{
    struct inflater *f = (struct inflater *)d;
    z_stream *z = &f->z;
    if (d->coding == HTTP_CODING_DEFLATE && in->len > 0)
        tell_deflate(f, in->ptr[0]);
    /* Also with no input left: zlib may hold output back that had no room before. */
    for (;;) {
        if (d->complete) {
            if (in->len == 0)
                return 0;
            if (d->coding == HTTP_CODING_DEFLATE)
                return WH_ECORRUPT;
            wrap(f, WRAP_GZIP); /* another member */
        }
        unsigned in_give = clamp(in->len), out_give = clamp(cap - *out_len);
        z->next_in = (const Bytef *)in->ptr;
        z->avail_in = in_give;
        z->next_out = (Bytef *)(out + *out_len);
        z->avail_out = out_give;
        int rc = inflate(z, Z_NO_FLUSH);
        in->ptr += in_give - z->avail_in;
        in->len -= in_give - z->avail_in;
        *out_len += out_give - z->avail_out;
        bool stuck = in_give == z->avail_in && out_give == z->avail_out;
        if (rc == Z_STREAM_END)
            d->complete = true;
        else if (rc == Z_MEM_ERROR)
            return -ENOMEM;
        else if (rc != Z_OK && rc != Z_BUF_ERROR)
            return WH_ECORRUPT;
        else if (stuck || *out_len == cap)
            return 0;
    }
}

const struct http_decoder_ops http_decoder_zlib = {
    .new = inflater_new,
    .free = inflater_free,
    .reset = inflater_reset,
    .run = inflater_run,
    .bytes = inflater_bytes,
};
