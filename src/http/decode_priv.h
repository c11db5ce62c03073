/* SPDX-License-Identifier: Apache-2.0 */
/* What decode.c shares with the decoders. */
#ifndef WH_HTTP_DECODE_PRIV_H
#define WH_HTTP_DECODE_PRIV_H

#include "http/decode.h"

/* One library's decoder; its own struct begins with struct http_decoder. */
struct http_decoder_ops {
    struct http_decoder *(*new)(void); /* then reset */
    void (*free)(struct http_decoder *d);
    void (*reset)(struct http_decoder *d); /* for d->coding */
    int (*run)(struct http_decoder *d, struct slice *in, char *out, size_t cap, size_t *out_len);
    size_t (*bytes)(const struct http_decoder *d);
};
extern const struct http_decoder_ops http_decoder_zlib, http_decoder_zstd;

struct http_decoder {
    const struct http_decoder_ops *ops;
    enum http_coding coding;
    bool complete; /* set by run, cleared here by reset */
};

#endif
