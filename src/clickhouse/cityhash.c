/* SPDX-License-Identifier: Apache-2.0 */
/* CityHash128 in its version 1.0.2, the checksum of ClickHouse's compressed frames
 * (clickhouse-native §8). Later versions of CityHash give other numbers. */
#include "base/le.h"
#include "clickhouse/native.h"

#define K0   0xc3a5c85c97cb3127u
#define K1   0xb492b66fbe98f273u
#define K2   0x9ae16a3b2f90404fu
#define K3   0xc949d7c7509e6557u
#define KMIX 0x9ddfea08eb382d69u

static inline uint64_t rot(uint64_t v, unsigned int by) /* by: 1 … 63 */
{
    return (v >> by) | (v << (64 - by));
}

static inline uint64_t fold(uint64_t v)
{
    return v ^ (v >> 47);
}

static inline uint64_t mix16(uint64_t u, uint64_t v)
{
    uint64_t a = fold((u ^ v) * KMIX);
    return fold((v ^ a) * KMIX) * KMIX;
}

static uint64_t hash_to_16(const unsigned char *p, size_t n)
{
    if (n > 8) {
        uint64_t a = le64_get(p), b = le64_get(p + n - 8);
        return mix16(a, rot(b + n, (unsigned int)n)) ^ b;
    }
    if (n >= 4)
        return mix16(n + ((uint64_t)le32_get(p) << 3), le32_get(p + n - 4));
    if (n > 0) {
        uint64_t y = p[0] + ((uint64_t)p[n >> 1] << 8), z = n + ((uint64_t)p[n - 1] << 2);
        return fold((y * K2) ^ (z * K3)) * K2;
    }
    return K2;
}

/* Two words of state stirred with 32 bytes of input. */
static inline struct ch_hash128 weak32(const unsigned char *p, uint64_t a, uint64_t b)
{
    uint64_t z = le64_get(p + 24);
    a += le64_get(p);
    b = rot(b + a + z, 21);
    uint64_t c = a;
    a += le64_get(p + 8) + le64_get(p + 16);
    b += rot(a, 44);
    return (struct ch_hash128){a + z, b + c};
}

/* Under 128 bytes: a Murmur-like loop. */
static struct ch_hash128 hash_short(const unsigned char *p, size_t n, struct ch_hash128 seed)
{
    uint64_t a = seed.low, b = seed.high, c, d;
    if (n <= 16) {
        a = fold(a * K1) * K1;
        c = b * K1 + hash_to_16(p, n);
        d = fold(a + (n >= 8 ? le64_get(p) : c));
    } else {
        c = mix16(le64_get(p + n - 8) + K1, a);
        d = mix16(b + n, c + le64_get(p + n - 16));
        a += d;
        for (size_t left = n - 16;; left -= 16, p += 16) {
            a = (a ^ (fold(le64_get(p) * K1) * K1)) * K1;
            b ^= a;
            c = (c ^ (fold(le64_get(p + 8) * K1) * K1)) * K1;
            d ^= c;
            if (left <= 16)
                break;
        }
    }
    a = mix16(a, c);
    b = mix16(d, b);
    return (struct ch_hash128){a ^ b, mix16(b, a)};
}

struct long_state {
    uint64_t x, y, z;
    struct ch_hash128 v, w;
};

static inline void step64(struct long_state *s, const unsigned char *p)
{
    uint64_t x = rot(s->x + s->y + s->v.low + le64_get(p + 16), 37) * K1;
    uint64_t y = rot(s->y + s->v.high + le64_get(p + 48), 42) * K1;
    x ^= s->w.high;
    y ^= s->v.low;
    uint64_t z = rot(s->z ^ s->w.low, 33);
    s->v = weak32(p, s->v.high * K1, x + s->w.low);
    s->w = weak32(p + 32, z + s->w.high, y);
    s->x = z; /* x and z change places each round */
    s->y = y;
    s->z = x;
}

static struct ch_hash128 hash_seeded(const unsigned char *p, size_t n, struct ch_hash128 seed)
{
    if (n < 128)
        return hash_short(p, n, seed);
    struct long_state s = {.x = seed.low, .y = seed.high, .z = n * K1};
    s.v.low = rot(s.y ^ K1, 49) * K1 + le64_get(p);
    s.v.high = rot(s.v.low, 42) * K1 + le64_get(p + 8);
    s.w.low = rot(s.y + s.z, 35) * K1 + s.x;
    s.w.high = rot(s.x + le64_get(p + 88), 53) * K1;
    for (; n >= 128; n -= 128, p += 128) {
        step64(&s, p);
        step64(&s, p + 64);
    }
    s.y += rot(s.w.low, 37) * K0 + s.z;
    s.x += rot(s.v.low + s.z, 49) * K0;
    /* The tail in steps of 32 bytes from the end; the last one may reach back into bytes already
     * hashed, which are there because at least 128 came before. */
    for (size_t done = 0; done < n;) {
        done += 32;
        const unsigned char *q = p + n - done;
        s.y = rot(s.y - s.x, 42) * K0 + s.v.high;
        s.w.low += le64_get(q + 16);
        s.x = rot(s.x, 49) * K0 + s.w.low;
        s.w.low += s.v.low;
        s.v = weak32(q, s.v.low, s.v.high);
    }
    uint64_t x = mix16(s.x, s.v.low), y = mix16(s.y, s.w.low);
    return (struct ch_hash128){mix16(x + s.v.high, s.w.high) + y,
                               mix16(x + s.w.high, y + s.v.high)};
}

struct ch_hash128 ch_cityhash128(const void *data, size_t n)
{
    const unsigned char *p = data;
    if (n >= 16)
        return hash_seeded(p + 16, n - 16, (struct ch_hash128){le64_get(p) ^ K3, le64_get(p + 8)});
    if (n >= 8)
        return hash_seeded(NULL, 0,
                           (struct ch_hash128){le64_get(p) ^ (n * K0), le64_get(p + n - 8) ^ K1});
    return hash_seeded(p, n, (struct ch_hash128){K0, K1});
}
