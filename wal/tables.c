/* SPDX-License-Identifier: Apache-2.0 */
#include "wal/tables.h"

#include "base/crc32c.h"
#include "base/le.h"
#include "wal/batch.h"
#include "wal/format.h"

#define SLOT_COUNT (2u * WAL_TABLES_MAX)
_Static_assert((SLOT_COUNT & (SLOT_COUNT - 1)) == 0, "slots are masked");

void wal_tables_reset(struct wal_tables *t)
{
    memset(t->slots, 0, sizeof(t->slots));
    t->count = 0;
    t->names_len = 0;
    t->incomplete = false;
}

static struct slice item_name(const struct wal_tables *t, uint32_t i)
{
    return (struct slice){t->names + t->items[i].name_at, t->items[i].name_len};
}

/* The table's item, a new one if needed; NULL when there is no room. */
static struct wal_table_stat *table_find(struct wal_tables *t, struct slice name)
{
    uint32_t at = crc32c(0, name.ptr, name.len) & (SLOT_COUNT - 1);
    struct wal_table_stat *item;

    for (; t->slots[at] != 0; at = (at + 1) & (SLOT_COUNT - 1))
        if (slice_eq(item_name(t, t->slots[at] - 1u), name))
            return &t->items[t->slots[at] - 1];
    if (t->count == WAL_TABLES_MAX || name.len > WAL_TABLE_NAMES_BYTES - t->names_len)
        return NULL;
    item = &t->items[t->count++];
    *item = (struct wal_table_stat){.name_at = t->names_len, .name_len = (uint32_t)name.len};
    if (name.len > 0)
        memcpy(t->names + t->names_len, name.ptr, name.len);
    t->names_len += (uint32_t)name.len;
    t->slots[at] = (uint16_t)t->count;
    return item;
}

void wal_tables_note(struct wal_tables *t, uint64_t index, struct slice payload)
{
    struct slice table;
    uint32_t count;
    uint8_t flags;
    struct wal_table_stat *item;

    if (!wal_batch_head(payload, &table, &count, &flags) || (item = table_find(t, table)) == NULL) {
        t->incomplete = true;
        return;
    }
    if (item->batches == 0)
        item->first_index = index;
    item->last_index = index;
    item->batches++;
    item->records += count;
}

size_t wal_tables_put(struct wal_tables *t, char *p, size_t cap, uint32_t *count)
{
    size_t used = 0;

    *count = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct wal_table_stat *item = &t->items[i];
        size_t n = WAL_TABLE_BYTES + (size_t)wal_align(item->name_len, 8);

        if (n > cap - used) {
            t->incomplete = true;
            break;
        }
        memset(p + used, 0, n);
        le64_put(p + used, item->first_index);
        le64_put(p + used + 8, item->last_index);
        le64_put(p + used + 16, item->records);
        le32_put(p + used + 24, item->batches);
        le32_put(p + used + 28, item->name_len);
        if (item->name_len > 0)
            memcpy(p + used + WAL_TABLE_BYTES, t->names + item->name_at, item->name_len);
        used += n;
        ++*count;
    }
    return used;
}
