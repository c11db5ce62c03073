/* SPDX-License-Identifier: Apache-2.0 */
/* The dictionary of a LowCardinality column: which of its values is at which place. The values
 * themselves are in the child column, in wire form; an entry is a run of its bytes. */
#include "clickhouse/columns_priv.h"

#include <errno.h>
#include <stdlib.h>

enum {
    DICTIONARY_SLOTS_MIN = 64
};

uint32_t dictionary_hash(const char *p, size_t n)
{
    const uint64_t k = 0x9e3779b97f4a7c15u;
    uint64_t h = n * k;
    for (; n >= 8; p += 8, n -= 8) {
        h = (h ^ le64_get(p)) * k;
        h ^= h >> 32;
    }
    uint64_t tail = 0;
    memcpy(&tail, p, n);
    h = (h ^ tail) * k;
    return (uint32_t)(h >> 32);
}

static int grow_slots(struct dictionary *d)
{
    uint32_t size = d->slots == NULL ? DICTIONARY_SLOTS_MIN : 2 * (d->mask + 1);
    uint32_t *slots = calloc(size, sizeof(*slots));
    if (slots == NULL)
        return -ENOMEM;
    /* In order of entry, so that the last entry can always be taken out again without a trace. */
    for (uint32_t e = 0; e < d->count; e++) {
        uint32_t i = d->hashes[e] & (size - 1);
        while (slots[i] != 0)
            i = (i + 1) & (size - 1);
        slots[i] = e + 1;
    }
    free(d->slots);
    d->slots = slots;
    d->mask = size - 1;
    return 0;
}

static int grow_entries(struct dictionary *d)
{
    uint32_t cap = d->cap == 0 ? DICTIONARY_SLOTS_MIN / 2 : 2 * d->cap;
    uint64_t *ends = reallocarray(d->ends, cap, sizeof(*ends));
    if (ends == NULL)
        return -ENOMEM;
    d->ends = ends;
    uint32_t *hashes = reallocarray(d->hashes, cap, sizeof(*hashes));
    if (hashes == NULL)
        return -ENOMEM;
    d->hashes = hashes;
    d->cap = cap;
    return 0;
}

/* At most half of the slots are taken. */
static int add_entry(struct dictionary *d, uint32_t hash, uint64_t end)
{
    if (d->count == d->cap && grow_entries(d) != 0)
        return -ENOMEM;
    if ((d->slots == NULL || 2 * (d->count + 1) > d->mask + 1) && grow_slots(d) != 0)
        return -ENOMEM;
    uint32_t i = hash & d->mask;
    while (d->slots[i] != 0)
        i = (i + 1) & d->mask;
    d->ends[d->count] = end;
    d->hashes[d->count] = hash;
    d->slots[i] = ++d->count;
    return 0;
}

static struct slice entry_bytes(const struct column *lc, uint32_t e)
{
    uint64_t start = e == 0 ? 0 : lc->dict.ends[e - 1];
    return (struct slice){lc->children->data.ptr + start, lc->dict.ends[e] - start};
}

/* Entry 0 is what null is: NULL, written as the type's default, when the values are Nullable. Then
 * the default value itself is entry 1 and not entry 0. */
int dictionary_init(struct column *lc)
{
    struct column *child = lc->children;
    column_clear(child);
    if (lc->dict.slots != NULL)
        memset(lc->dict.slots, 0, ((size_t)lc->dict.mask + 1) * sizeof(*lc->dict.slots));
    lc->dict.count = 0;
    lc->dict.last = UINT32_MAX;
    uint32_t entries = lc->takes_null ? 2 : 1;
    for (uint32_t e = 0; e < entries; e++) {
        size_t from = child->data.len;
        if (column_put_default(child) != 0)
            return -ENOMEM;
        uint32_t hash = dictionary_hash(child->data.ptr + from, child->data.len - from);
        if (add_entry(&lc->dict, hash, child->data.len) != 0)
            return -ENOMEM;
    }
    lc->dict.mark = lc->dict.count;
    return 0;
}

int dictionary_intern(struct column *lc, size_t from, uint32_t *place)
{
    struct column *child = lc->children;
    struct dictionary *d = &lc->dict;
    struct slice s = {child->data.ptr + from, child->data.len - from};
    if (d->last < d->count && text_equal(entry_bytes(lc, d->last), s)) {
        child->data.len = from;
        *place = d->last;
        return 0;
    }
    uint32_t hash = dictionary_hash(s.ptr, s.len);
    for (uint32_t i = hash & d->mask; d->slots[i] != 0; i = (i + 1) & d->mask) {
        uint32_t e = d->slots[i] - 1;
        if (d->hashes[e] == hash && !(e == 0 && lc->takes_null) &&
            text_equal(entry_bytes(lc, e), s)) {
            child->data.len = from;
            *place = d->last = e;
            return 0;
        }
    }
    *place = d->last = d->count;
    return add_entry(d, hash, child->data.len);
}

void dictionary_rollback(struct column *lc)
{
    struct dictionary *d = &lc->dict;
    while (d->count > d->mark) {
        uint32_t i = d->hashes[d->count - 1] & d->mask;
        while (d->slots[i] != d->count)
            i = (i + 1) & d->mask;
        d->slots[i] = 0; /* nothing was put behind the last one */
        d->count--;
    }
}
