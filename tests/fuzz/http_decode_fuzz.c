/* SPDX-License-Identifier: Apache-2.0 */
/* Decoders of bodies: pieces of any size, in and out, give what one piece gives, never a byte more
 * than the room. The first byte chooses the coding, the second the pieces. */
#include "base/magic.h"
#include "http/decode.h"

#include <stdint.h>
#include <stdlib.h>

#define OUT_MAX ((size_t)1 << 20) /* of a bomb this much is enough */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    int rc; /* 0, or the failure */
    bool complete;
    size_t len;
    char *out;
};

static struct outcome decode(struct http_decoder *d, struct slice all, size_t in_step,
                             size_t out_step)
{
    struct outcome o = {.out = malloc(OUT_MAX)};
    must(o.out != NULL);
    while (o.rc == 0 && all.len > 0 && o.len < OUT_MAX) {
        struct slice in = {all.ptr, in_step < all.len ? in_step : all.len};
        size_t given = in.len, got = out_step, room = out_step;
        /* Until the decoder has nothing more to say about this piece. */
        while (o.rc == 0 && got == room && o.len < OUT_MAX) {
            room = out_step < OUT_MAX - o.len ? out_step : OUT_MAX - o.len;
            o.rc = http_decoder_run(d, &in, o.out + o.len, room, &got);
            must(got <= room && in.len <= given);
            o.len += got;
        }
        must(o.rc != 0 || in.len == 0 || o.len == OUT_MAX);
        all.ptr += given - in.len;
        all.len -= given - in.len;
    }
    o.complete = o.rc == 0 && http_decoder_complete(d);
    must(http_decoder_bytes(d) < 2 * HTTP_ZSTD_WINDOW_BYTES);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum http_coding codings[] = {HTTP_CODING_GZIP, HTTP_CODING_DEFLATE,
                                               HTTP_CODING_ZSTD};
    static struct http_decoder *kept[HTTP_DECODER_KINDS]; /* reused, as the server does */
    if (size < 2)
        return 0;
    enum http_coding coding = codings[data[0] % 3];
    struct slice all = {(const char *)data + 2, size - 2};
    struct http_decoder **d = &kept[http_decoder_kind(coding)];
    if (*d == NULL)
        *d = http_decoder_new(coding);
    else
        http_decoder_reset(*d, coding);
    must(*d != NULL);
    struct outcome whole = decode(*d, all, all.len, OUT_MAX);
    http_decoder_reset(*d, coding);
    struct outcome pieces = decode(*d, all, 1 + (data[1] & 15u), 1 + (size_t)(data[1] >> 4) * 100);
    /* What comes out before a failure may differ, whether there is one must not; a full room may
     * hide one that comes later. */
    size_t len = whole.len < pieces.len ? whole.len : pieces.len;
    must(memcmp(whole.out, pieces.out, len) == 0);
    if (whole.len < OUT_MAX && pieces.len < OUT_MAX)
        must(whole.rc == pieces.rc && whole.complete == pieces.complete &&
             (whole.rc != 0 || whole.len == pieces.len));
    free(whole.out);
    free(pieces.out);
    return 0;
}
