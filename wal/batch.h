/* SPDX-License-Identifier: Apache-2.0 */
/* Payload of a WAL_EVENTS entry: the accepted records of one request for one table.
 *
 *   u8 version=1 | u8 flags | u16 table_len | u16 sender_len | u16 0 | u32 count | u32 text_len |
 *   table | sender | pad to 8 | count × { u64 received_ns, u32 text_off, u32 text_len } |
 *   [WAL_BATCH_IDS: count × 16-byte id hash] | [WAL_BATCH_ORIGIN: u32 len, len bytes] |
 *   text: records joined by LF, each ended by LF
 *
 * All little-endian. The text area is one run of NDJSON, so that the flusher indexes it in one
 * pass. sender: who sent it, "<peer> <request id>". */
#ifndef WH_WAL_BATCH_H
#define WH_WAL_BATCH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define WAL_BATCH_VERSION  1
#define WAL_BATCH_ID_BYTES 16

enum {
    WAL_BATCH_IDS = 1,    /* an id hash per record; all zero: a record without id */
    WAL_BATCH_HELD = 2,   /* the records wait for columns that their table does not have yet: not
                             for ClickHouse, the planner parks them */
    WAL_BATCH_QUIET = 4,  /* records that were in the log before: not for subscribers again */
    WAL_BATCH_ORIGIN = 8, /* says where the records come from; its bytes are src/flush/origin.h's */
};

struct wal_batch_record {
    uint64_t received_ns; /* grows strictly along the log, batches HELD or QUIET left aside */
    struct slice text;    /* canonical JSON, no newline */
};

/* Building: records are collected first (text into one buf, 16-byte items into another), then the
 * head is made. The entry's payload is the pieces that wal_batch_parts names, in that order. */
struct wal_batch_builder {
    struct buf head; /* made by wal_batch_finish */
    struct buf items;
    struct buf ids;    /* empty, or one per record */
    struct buf origin; /* length and bytes; empty: none */
    struct buf text;
    uint32_t count;
    uint8_t flags; /* HELD, QUIET: the caller's; IDS, ORIGIN: made by wal_batch_finish */
};
#define WAL_BATCH_PARTS 5

void wal_batch_init(struct wal_batch_builder *b);
void wal_batch_fini(struct wal_batch_builder *b);
void wal_batch_reset(struct wal_batch_builder *b);
/* The record's text was just appended to b->text starting at text_off; ends it with LF. */
int wal_batch_add(struct wal_batch_builder *b, uint64_t received_ns, size_t text_off) WH_MUST_CHECK;
/* The id hash of the record added last; records without a call have none. 0 or WH_ELIMIT. */
int wal_batch_id(struct wal_batch_builder *b, const uint8_t id[WAL_BATCH_ID_BYTES]) WH_MUST_CHECK;
/* Set the origin section, before wal_batch_finish. */
void wal_batch_origin(struct wal_batch_builder *b, struct slice bytes);
/* The first record's received_ns; there is one. */
uint64_t wal_batch_first_ns(const struct wal_batch_builder *b);
/* A record as it was added, i < count; valid until the builder changes. */
struct wal_batch_record wal_batch_added(const struct wal_batch_builder *b, uint32_t i);
/* Add shift to every received_ns. */
void wal_batch_shift(struct wal_batch_builder *b, uint64_t shift);
/* Give the records the instants from first_ns on. Also after wal_batch_finish. */
void wal_batch_restamp(struct wal_batch_builder *b, uint64_t first_ns);
/* Make the head. 0, -ENOMEM, or WH_ELIMIT when the payload is over LIMIT_WAL_PAYLOAD_BYTES. */
int wal_batch_finish(struct wal_batch_builder *b, struct slice table,
                     struct slice sender) WH_MUST_CHECK;
/* The payload's pieces after wal_batch_finish; how many. Borrowed until the builder changes. */
int wal_batch_parts(const struct wal_batch_builder *b, struct iovec parts[WAL_BATCH_PARTS]);

/* Reading: borrowed views into the payload. Every offset is checked: the payload may be hostile. */
struct wal_batch {
    struct slice table, sender;
    uint8_t flags;
    uint32_t count;
    struct slice text;   /* whole NDJSON area */
    struct slice origin; /* with WAL_BATCH_ORIGIN */
    const char *ids;     /* count × WAL_BATCH_ID_BYTES, or NULL */
    const char *items;
};
int wal_batch_parse(struct slice payload, struct wal_batch *out, struct err *e) WH_MUST_CHECK;
/* Only table, record count and flags, for whoever looks at many batches. False: not a batch. */
bool wal_batch_head(struct slice payload, struct slice *table, uint32_t *count, uint8_t *flags);
/* i < count */
struct wal_batch_record wal_batch_get(const struct wal_batch *b, uint32_t i);

#endif
