/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/rows.h"

#include "base/magic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void flush_rows_init(struct flush_rows *r)
{
    memset(r, 0, sizeof(*r));
}

void flush_rows_fini(struct flush_rows *r)
{
    free(r->ranges);
    memset(r, 0, sizeof(*r));
}

void flush_rows_reset(struct flush_rows *r)
{
    r->range_count = r->count = 0;
}

int flush_rows_reserve(struct flush_rows **sets, uint32_t *cap, uint32_t n)
{
    if (n <= *cap)
        return 0;
    uint32_t more = *cap < 8 ? 8 : *cap * 2;
    more = more < n ? n : more;
    struct flush_rows *p = realloc(*sets, more * sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    for (uint32_t i = *cap; i < more; i++)
        flush_rows_init(&p[i]);
    *sets = p;
    *cap = more;
    return 0;
}

static int ranges_reserve(struct flush_rows *r, uint32_t ranges)
{
    if (ranges <= r->range_cap)
        return 0;
    uint32_t cap = r->range_cap < 8 ? 8 : r->range_cap * 2;
    cap = cap < ranges ? ranges : cap;
    struct flush_range *p = realloc(r->ranges, cap * sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    r->ranges = p;
    r->range_cap = cap;
    return 0;
}

int flush_rows_append(struct flush_rows *r, uint32_t lo, uint32_t hi)
{
    if (lo >= hi)
        return 0;
    struct flush_range *last = r->range_count > 0 ? &r->ranges[r->range_count - 1] : NULL;
    must(last == NULL || lo >= last->hi);
    r->count += hi - lo;
    if (last != NULL && last->hi == lo) {
        last->hi = hi;
        return 0;
    }
    if (ranges_reserve(r, r->range_count + 1) != 0) {
        r->count -= hi - lo;
        return -ENOMEM;
    }
    r->ranges[r->range_count++] = (struct flush_range){lo, hi};
    return 0;
}

/* Number of the first range that ends above row. */
static uint32_t rows_find(const struct flush_rows *r, uint32_t row)
{
    uint32_t lo = 0, hi = r->range_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (r->ranges[mid].hi <= row)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool flush_rows_has(const struct flush_rows *r, uint32_t row)
{
    uint32_t i = rows_find(r, row);
    return i < r->range_count && r->ranges[i].lo <= row;
}

int flush_rows_insert(struct flush_rows *r, uint32_t row)
{
    if (ranges_reserve(r, r->range_count + 1) != 0)
        return -ENOMEM;
    uint32_t i = rows_find(r, row);
    struct flush_range *at = r->ranges + i;
    bool right = i < r->range_count && at->lo <= row + 1;
    if (right && at->lo <= row)
        return 0;
    bool left = i > 0 && at[-1].hi == row;
    if (left && right) {
        at[-1].hi = at->hi;
        memmove(at, at + 1, (r->range_count - i - 1) * sizeof(*at));
        r->range_count--;
    } else if (left) {
        at[-1].hi++;
    } else if (right) {
        at->lo--;
    } else {
        memmove(at + 1, at, (r->range_count - i) * sizeof(*at));
        *at = (struct flush_range){row, row + 1};
        r->range_count++;
    }
    r->count++;
    return 0;
}

int flush_rows_copy(struct flush_rows *to, const struct flush_rows *from)
{
    if (ranges_reserve(to, from->range_count) != 0)
        return -ENOMEM;
    if (from->range_count > 0)
        memcpy(to->ranges, from->ranges, from->range_count * sizeof(*to->ranges));
    to->range_count = from->range_count;
    to->count = from->count;
    return 0;
}

int flush_rows_minus(struct flush_rows *to, const struct flush_rows *a, const struct flush_rows *b)
{
    must(to != a && to != b);
    flush_rows_reset(to);
    uint32_t j = 0;
    for (uint32_t i = 0; i < a->range_count; i++) {
        uint32_t lo = a->ranges[i].lo, hi = a->ranges[i].hi;
        while (j < b->range_count && b->ranges[j].hi <= lo)
            j++;
        for (uint32_t k = j; k < b->range_count && b->ranges[k].lo < hi && lo < hi; k++) {
            if (b->ranges[k].lo > lo && flush_rows_append(to, lo, b->ranges[k].lo) != 0)
                return -ENOMEM;
            lo = b->ranges[k].hi;
        }
        if (lo < hi && flush_rows_append(to, lo, hi) != 0)
            return -ENOMEM;
    }
    return 0;
}

int flush_rows_split(const struct flush_rows *r, struct flush_rows *left, struct flush_rows *right)
{
    uint32_t want = r->count / 2;
    flush_rows_reset(left);
    flush_rows_reset(right);
    for (uint32_t i = 0; i < r->range_count; i++) {
        uint32_t lo = r->ranges[i].lo, hi = r->ranges[i].hi;
        uint32_t take = want - left->count < hi - lo ? want - left->count : hi - lo;
        if (flush_rows_append(left, lo, lo + take) != 0 ||
            flush_rows_append(right, lo + take, hi) != 0)
            return -ENOMEM;
    }
    return 0;
}

bool flush_rows_equal(const struct flush_rows *a, const struct flush_rows *b)
{
    return a->range_count == b->range_count &&
           (a->range_count == 0 ||
            memcmp(a->ranges, b->ranges, a->range_count * sizeof(*a->ranges)) == 0);
}

/* Part of the tokens, so never to be changed: the finaliser of MurmurHash3 over each range. */
uint64_t flush_rows_digest(const struct flush_rows *r)
{
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (uint32_t i = 0; i < r->range_count; i++) {
        h ^= (uint64_t)r->ranges[i].lo << 32 | r->ranges[i].hi;
        h ^= h >> 33;
        h *= 0xff51afd7ed558ccdu;
        h ^= h >> 33;
        h *= 0xc4ceb9fe1a85ec53u;
        h ^= h >> 33;
    }
    return h;
}

static void put_varint(struct buf *out, uint32_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_put_u8(out, (uint8_t)(v | 0x80));
    buf_put_u8(out, (uint8_t)v);
}

static bool get_varint(struct slice *at, uint32_t *v)
{
    uint64_t x = 0;
    for (unsigned shift = 0; shift < 35 && at->len > 0; shift += 7) {
        uint8_t byte = (uint8_t)*at->ptr;
        at->ptr++;
        at->len--;
        x |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *v = (uint32_t)x;
            return x <= UINT32_MAX;
        }
    }
    return false;
}

void flush_rows_put(struct buf *out, const struct flush_rows *r)
{
    uint32_t at = 0;
    put_varint(out, r->range_count);
    for (uint32_t i = 0; i < r->range_count; i++) {
        put_varint(out, r->ranges[i].lo - at);
        put_varint(out, r->ranges[i].hi - r->ranges[i].lo);
        at = r->ranges[i].hi;
    }
}

int flush_rows_get(struct flush_rows *r, struct slice *at)
{
    uint32_t n, gap, len;
    uint64_t row = 0;
    flush_rows_reset(r);
    if (!get_varint(at, &n) || n > FLUSH_PLAN_ROWS_MAX)
        return WH_ECORRUPT;
    for (uint32_t i = 0; i < n; i++) {
        /* Only the first range may start where the last ended: there is one spelling of a set. */
        if (!get_varint(at, &gap) || !get_varint(at, &len) || len == 0 || (i > 0 && gap == 0) ||
            row + gap + len > FLUSH_PLAN_ROWS_MAX)
            return WH_ECORRUPT;
        if (flush_rows_append(r, (uint32_t)(row + gap), (uint32_t)(row + gap + len)) != 0)
            return -ENOMEM;
        row += (uint64_t)gap + len;
    }
    return 0;
}
