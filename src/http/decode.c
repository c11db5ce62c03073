/* SPDX-License-Identifier: Apache-2.0 */
#include "base/magic.h"
#include "http/decode_priv.h"

static const struct http_decoder_ops *const kinds[HTTP_DECODER_KINDS] = {
    [HTTP_DECODER_ZLIB] = &http_decoder_zlib,
    [HTTP_DECODER_ZSTD] = &http_decoder_zstd,
};

enum http_decoder_kind http_decoder_kind(enum http_coding coding)
{
    must(coding != HTTP_CODING_NONE && coding != HTTP_CODING_OTHER);
    return coding == HTTP_CODING_ZSTD ? HTTP_DECODER_ZSTD : HTTP_DECODER_ZLIB;
}

struct http_decoder *http_decoder_new(enum http_coding coding)
{
    const struct http_decoder_ops *ops = kinds[http_decoder_kind(coding)];
    struct http_decoder *d = ops->new ();
    if (d == NULL)
        return NULL;
    d->ops = ops;
    http_decoder_reset(d, coding);
    return d;
}

void http_decoder_free(struct http_decoder *d)
{
    if (d != NULL)
        d->ops->free(d);
}

void http_decoder_reset(struct http_decoder *d, enum http_coding coding)
{
    must(d->ops == kinds[http_decoder_kind(coding)]);
    d->coding = coding;
    d->complete = false;
    d->ops->reset(d);
}

enum http_coding http_decoder_coding(const struct http_decoder *d)
{
    return d->coding;
}

size_t http_decoder_bytes(const struct http_decoder *d)
{
    return d->ops->bytes(d);
}

int http_decoder_run(struct http_decoder *d, struct slice *in, char *out, size_t cap,
                     size_t *out_len)
{
    *out_len = 0;
    return d->ops->run(d, in, out, cap, out_len);
}

bool http_decoder_complete(const struct http_decoder *d)
{
    return d->complete;
}
