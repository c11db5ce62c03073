/* SPDX-License-Identifier: Apache-2.0 */
/* Which tables have events in the segment being written: the footer's per-table positions.
 *
 * Fixed memory: at most WAL_TABLES_MAX tables and WAL_TABLE_NAMES_BYTES of names per segment; what
 * is beyond sets the flag incomplete, which tells readers to look at every entry. Writer thread
 * only. */
#ifndef WH_WAL_TABLES_H
#define WH_WAL_TABLES_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define WAL_TABLES_MAX        1024
#define WAL_TABLE_NAMES_BYTES (32 * 1024)

struct wal_table_stat {
    uint64_t first_index, last_index, records;
    uint32_t batches;
    uint32_t name_at, name_len;
};

struct wal_tables {
    struct wal_table_stat items[WAL_TABLES_MAX];
    uint16_t slots[2 * WAL_TABLES_MAX]; /* item number + 1; 0 is free */
    char names[WAL_TABLE_NAMES_BYTES];
    uint32_t count, names_len;
    bool incomplete;
};

void wal_tables_reset(struct wal_tables *t);
/* payload of a WAL_EVENTS entry; one that is not a batch sets incomplete. */
void wal_tables_note(struct wal_tables *t, uint64_t index, struct slice payload);
/* Write the items in footer form into at most cap bytes; returns the bytes used and how many items
 * through *count; sets incomplete when not all fit. */
size_t wal_tables_put(struct wal_tables *t, char *p, size_t cap, uint32_t *count);

#endif
