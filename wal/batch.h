/* SPDX-License-Identifier: Apache-2.0 */
/* Payload of a WAL_EVENTS entry: the accepted records of one request for one table.
 *
 *   u8 version=1 | u8 flags | u16 table_len | u16 sender_len | u16 0 | u32 count | u32 text_len |
 *   table | sender | pad to 8 | count × { u64 received_ns, u32 text_off, u32 text_len } |
 *   [flags&1: count × 16-byte dedup id hash] | text: records joined by LF, each ended by LF
 *
 * All little-endian. The text area is one run of NDJSON, so that the flusher indexes it in one
 * pass. */
#ifndef WH_WAL_BATCH_H
#define WH_WAL_BATCH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define WAL_BATCH_VERSION 1

struct wal_batch_record {
    uint64_t received_ns; /* strictly increasing per table */
    struct slice text;    /* canonical JSON, no newline */
};

/* Building: records are collected first (text into one buf, 16-byte items into another), then the
 * head is made. The entry's payload is the three pieces head, items, text in this order. */
struct wal_batch_builder {
    struct buf head; /* made by wal_batch_finish */
    struct buf items;
    struct buf text;
    uint32_t count;
};

void wal_batch_init(struct wal_batch_builder *b);
void wal_batch_fini(struct wal_batch_builder *b);
void wal_batch_reset(struct wal_batch_builder *b);
/* The record's text was just appended to b->text starting at text_off; ends it with LF. */
int wal_batch_add(struct wal_batch_builder *b, uint64_t received_ns, size_t text_off) WH_MUST_CHECK;
/* Add shift to every received_ns. */
void wal_batch_shift(struct wal_batch_builder *b, uint64_t shift);
/* Make the head. 0, -ENOMEM, or WH_ELIMIT when the payload is over LIMIT_WAL_PAYLOAD_BYTES. */
int wal_batch_finish(struct wal_batch_builder *b, struct slice table,
                     struct slice sender) WH_MUST_CHECK;

/* Reading: borrowed views into the payload. Every offset is checked: the payload may be hostile. */
struct wal_batch {
    struct slice table, sender;
    uint32_t count;
    struct slice text; /* whole NDJSON area */
    const char *items;
};
int wal_batch_parse(struct slice payload, struct wal_batch *out, struct err *e) WH_MUST_CHECK;
/* Only the table and the record count, for whoever looks at many batches. False: not a batch. */
bool wal_batch_head(struct slice payload, struct slice *table, uint32_t *count);
/* i < count */
struct wal_batch_record wal_batch_get(const struct wal_batch *b, uint32_t i);

#endif
