/* SPDX-License-Identifier: Apache-2.0 */
/* zstd: libzstd behind decode.h. */
#include "base/magic.h"
#include "http/decode_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

struct unzstd {
    struct http_decoder d; /* first */
    ZSTD_DStream *z;
    bool inside; /* a frame has begun and not ended */
};

static struct http_decoder *unzstd_new(void)
{
    struct unzstd *u = calloc(1, sizeof(*u));
    if (u == NULL)
        return NULL;
    u->z = ZSTD_createDStream();
    if (u->z == NULL) {
        free(u);
        return NULL;
    }
    must(!ZSTD_isError(ZSTD_DCtx_setParameter(u->z, ZSTD_d_windowLogMax, HTTP_ZSTD_WINDOW_LOG)));
    return &u->d;
}

static void unzstd_free(struct http_decoder *d)
{
    struct unzstd *u = (struct unzstd *)d;
    (void)ZSTD_freeDStream(u->z);
    free(u);
}

static void unzstd_reset(struct http_decoder *d)
{
    struct unzstd *u = (struct unzstd *)d;
    must(!ZSTD_isError(ZSTD_DCtx_reset(u->z, ZSTD_reset_session_only)));
    u->inside = false;
}

static size_t unzstd_bytes(const struct http_decoder *d)
{
    const struct unzstd *u = (const struct unzstd *)d;
    return sizeof(*u) + ZSTD_sizeof_DStream(u->z);
}

/* 0xFD2FB528 little-endian, or a skippable frame's 0x184D2A5?. The library would also read the
 * formats before version 0.8, without regard for our limit on windows. */
static bool begins_frame(char first)
{
    unsigned char b = (unsigned char)first;
    return b == 0x28 || (b & 0xf0) == 0x50;
}

static int failure(size_t rc)
{
    switch (ZSTD_getErrorCode(rc)) {
    case ZSTD_error_frameParameter_windowTooLarge:
        return WH_ELIMIT;
    case ZSTD_error_memory_allocation:
        return -ENOMEM;
    default:
        return WH_ECORRUPT;
    }
}

static int unzstd_run(struct http_decoder *d, struct slice *in, char *out, size_t cap,
                      size_t *out_len)
{
    struct unzstd *u = (struct unzstd *)d;
    ZSTD_inBuffer zin = {in->ptr, in->len, 0};
    ZSTD_outBuffer zout = {out, cap, 0};
    int rc = 0;
    /* Also with no input left: the library may hold output back that had no room before. */
    while (rc == 0 && zout.pos < cap) {
        size_t in_was = zin.pos, out_was = zout.pos;
        if (!u->inside && zin.pos == zin.size)
            break;
        if (!u->inside && !begins_frame(in->ptr[zin.pos])) {
            rc = WH_ECORRUPT;
            break;
        }
        /* Never goes on into another frame. */
        size_t z = ZSTD_decompressStream(u->z, &zout, &zin);
        if (ZSTD_isError(z))
            rc = failure(z);
        d->complete = z == 0;
        u->inside = z != 0;
        if (zin.pos == in_was && zout.pos == out_was)
            break;
    }
    in->ptr += zin.pos;
    in->len -= zin.pos;
    *out_len = zout.pos;
    return rc;
}

const struct http_decoder_ops http_decoder_zstd = {
    .new = unzstd_new,
    .free = unzstd_free,
    .reset = unzstd_reset,
    .run = unzstd_run,
    .bytes = unzstd_bytes,
};
