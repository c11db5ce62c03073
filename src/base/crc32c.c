/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <string.h>

#define CRC32C_POLY_REVERSED 0x82f63b78u

static uint32_t table[256];

static void __attribute__((constructor)) table_make(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = (c & 1) ? (c >> 1) ^ CRC32C_POLY_REVERSED : c >> 1;
        table[i] = c;
    }
}

static uint32_t crc_bytes(uint32_t c, const unsigned char *p, size_t n)
{
    while (n-- > 0)
        c = table[(c ^ *p++) & 0xff] ^ (c >> 8);
    return c;
}

#if defined(__x86_64__)
/* Advancing a CRC over a fixed run of zero bytes is linear, so it is four table look-ups. With it
 * three independent instruction streams can be joined: the crc32 instruction has a latency of three
 * cycles and a throughput of one. Three streams of a kibibyte are too short for the processor to
 * fetch ahead, so the next three are asked for: the log is mostly read when it is in no cache.
 * Asking for bytes beyond the end does no harm. */
#define LANE_BYTES 1024
#define LINE_BYTES 64
static uint32_t shift_lane[4][256];

static void __attribute__((constructor)) shift_make(void)
{
    static const unsigned char zeros[LANE_BYTES];
    for (int b = 0; b < 4; b++)
        for (uint32_t i = 0; i < 256; i++) {
            if (table[1] == 0)
                table_make(); /* constructor order is not given */
            shift_lane[b][i] = crc_bytes(i << (8 * b), zeros, LANE_BYTES);
        }
}

static inline uint32_t shift(uint32_t c)
{
    return shift_lane[0][c & 0xff] ^ shift_lane[1][(c >> 8) & 0xff] ^
           shift_lane[2][(c >> 16) & 0xff] ^ shift_lane[3][c >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const unsigned char *p,
                                                            size_t n)
{
    uint64_t c = crc;
    while (n >= 3 * LANE_BYTES) {
        uint64_t c1 = 0, c2 = 0;
        for (size_t i = 0; i < LANE_BYTES; i += 8) {
            uint64_t a, b, d;
            if (i % LINE_BYTES == 0)
                for (size_t lane = 0; lane < 3; lane++)
                    __builtin_prefetch(p + i + (3 + lane) * LANE_BYTES);
            memcpy(&a, p + i, 8);
            memcpy(&b, p + LANE_BYTES + i, 8);
            memcpy(&d, p + 2 * LANE_BYTES + i, 8);
            c = __builtin_ia32_crc32di(c, a);
            c1 = __builtin_ia32_crc32di(c1, b);
            c2 = __builtin_ia32_crc32di(c2, d);
        }
        c = shift((uint32_t)c) ^ c1;
        c = shift((uint32_t)c) ^ c2;
        p += 3 * LANE_BYTES;
        n -= 3 * LANE_BYTES;
    }
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t a;
        memcpy(&a, p, 8);
        c = __builtin_ia32_crc32di(c, a);
    }
    uint32_t r = (uint32_t)c;
    while (n-- > 0)
        r = __builtin_ia32_crc32qi(r, *p++);
    return r;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_sse42(~crc, data, n);
#endif
    return ~crc_bytes(~crc, data, n);
}
