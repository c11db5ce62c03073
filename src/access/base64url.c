/* SPDX-License-Identifier: Apache-2.0 */
#include "access/base64url.h"

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool access_base64url_decode(struct slice text, char *dst, size_t *len)
{
    uint32_t bits = 0;
    unsigned held = 0; /* bits in hand that are not written yet */
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        int v = value_of(text.ptr[i]);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        held += 6;
        if (held >= 8) {
            held -= 8;
            dst[n++] = (char)(bits >> held);
            bits &= (1u << held) - 1;
        }
    }
    *len = n;
    return held < 6 && bits == 0;
}

void access_base64url_put(struct buf *out, struct slice bytes)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        bits = (bits << 8 | (uint8_t)bytes.ptr[i]) & 0xffff;
        for (held += 8; held >= 6; held -= 6)
            buf_put_u8(out, (uint8_t)alphabet[bits >> (held - 6) & 63]);
    }
    if (held > 0)
        buf_put_u8(out, (uint8_t)alphabet[bits << (6 - held) & 63]);
}
