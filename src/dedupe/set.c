/* SPDX-License-Identifier: Apache-2.0 */
#include "dedupe/set.h"

#include "base/le.h"
#include "dedupe/table.h"

#include <errno.h>
#include <stdlib.h>

#define CAP_MIN 256u

void dedupe_set_fini(struct dedupe_set *s)
{
    free(s->slots);
    *s = (struct dedupe_set){0};
}

void dedupe_set_reset(struct dedupe_set *s, size_t keep_bytes)
{
    if (s->cap * sizeof(*s->slots) > keep_bytes)
        dedupe_set_fini(s);
    else if (s->count > 0)
        memset(s->slots, 0, s->cap * sizeof(*s->slots));
    s->count = 0;
}

/* The slot of the id, or the free one where it belongs. Ids are hashes already. */
static struct dedupe_id *find(const struct dedupe_set *s, const uint8_t *id)
{
    size_t i = le64_get(id) & (s->cap - 1);
    while (!dedupe_id_is_none(s->slots[i].bytes) && !dedupe_id_same(s->slots[i].bytes, id))
        i = (i + 1) & (s->cap - 1);
    return &s->slots[i];
}

static int grow(struct dedupe_set *s)
{
    struct dedupe_set larger = {.cap = s->cap > 0 ? 2 * s->cap : CAP_MIN, .count = s->count};
    larger.slots = calloc(larger.cap, sizeof(*larger.slots));
    if (larger.slots == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < s->cap; i++)
        if (!dedupe_id_is_none(s->slots[i].bytes))
            *find(&larger, s->slots[i].bytes) = s->slots[i];
    free(s->slots);
    *s = larger;
    return 0;
}

int dedupe_set_add(struct dedupe_set *s, const uint8_t id[DEDUPE_ID_BYTES])
{
    if (2 * (s->count + 1) > s->cap) {
        int rc = grow(s);
        if (rc != 0)
            return rc;
    }
    struct dedupe_id *slot = find(s, id);
    s->count += dedupe_id_is_none(slot->bytes);
    memcpy(slot->bytes, id, sizeof(slot->bytes));
    return 0;
}

bool dedupe_set_has(const struct dedupe_set *s, const uint8_t id[DEDUPE_ID_BYTES])
{
    return s->cap > 0 && !dedupe_id_is_none(find(s, id)->bytes);
}
