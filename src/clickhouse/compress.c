/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed frames (clickhouse-native §8); the only file that knows liblz4.
 *
 *   16 bytes  CityHash128 of all that follows, low word first
 *    1 byte   method
 *    4 bytes  9 + body bytes          ┐ little-endian
 *    4 bytes  plain bytes             ┘
 *    body                                                                            */
#include "base/le.h"
#include "base/magic.h"
#include "clickhouse/wire.h"

#include <lz4.h>

#define HASH_BYTES  16
#define HEAD_BYTES  9
#define METHOD_NONE 0x02
#define METHOD_LZ4  0x82

void ch_put_frame(struct buf *b, enum ch_framing framing, const void *p, size_t n, int acceleration)
{
    must(n >= 1 && n <= CH_FRAME_PLAIN && framing != CH_FRAMES_OFF);
    size_t cap = framing == CH_FRAMES_LZ4 ? (size_t)LZ4_compressBound((int)n) : n;
    size_t start = b->len;
    char *frame = buf_extend(b, HASH_BYTES + HEAD_BYTES + cap);
    if (frame == NULL)
        return;
    char *head = frame + HASH_BYTES, *body = head + HEAD_BYTES;
    size_t body_len = n;
    if (framing == CH_FRAMES_LZ4) {
        int got = LZ4_compress_fast(p, body, (int)n, (int)cap, acceleration);
        must(got > 0); /* cannot fail with a bound-sized target */
        body_len = (size_t)got;
    } else {
        memcpy(body, p, n);
    }
    head[0] = (char)(framing == CH_FRAMES_LZ4 ? METHOD_LZ4 : METHOD_NONE);
    le32_put(head + 1, (uint32_t)(HEAD_BYTES + body_len));
    le32_put(head + 5, (uint32_t)n);
    struct ch_hash128 h = ch_cityhash128(head, HEAD_BYTES + body_len);
    le64_put(frame, h.low);
    le64_put(frame + 8, h.high);
    b->len = start + HASH_BYTES + HEAD_BYTES + body_len;
}

int ch_frame_take(struct slice in, size_t *used, struct buf *out)
{
    if (in.len < HASH_BYTES + HEAD_BYTES)
        return WH_EAGAIN;
    const char *head = in.ptr + HASH_BYTES, *body = head + HEAD_BYTES;
    size_t size = le32_get(head + 1), plain = le32_get(head + 5);
    if (size < HEAD_BYTES || plain == 0)
        return WH_ECORRUPT;
    if (size > CH_PACKET_BYTES_MAX || plain > CH_PACKET_BYTES_MAX)
        return WH_ELIMIT;
    if (in.len - HASH_BYTES < size)
        return WH_EAGAIN;
    struct ch_hash128 h = ch_cityhash128(head, size);
    if (h.low != le64_get(in.ptr) || h.high != le64_get(in.ptr + 8))
        return WH_ECORRUPT;
    size_t body_len = size - HEAD_BYTES;
    unsigned char method = (unsigned char)head[0];
    if (method != METHOD_LZ4 && method != METHOD_NONE)
        return WH_EUNSUPPORTED;
    if (method == METHOD_NONE && body_len != plain)
        return WH_ECORRUPT;
    char *to = buf_extend(out, plain);
    if (to == NULL)
        return WH_ELIMIT;
    if (method == METHOD_NONE)
        memcpy(to, body, plain);
    else if (LZ4_decompress_safe(body, to, (int)body_len, (int)plain) != (int)plain)
        return WH_ECORRUPT;
    *used = HASH_BYTES + size;
    return 0;
}
