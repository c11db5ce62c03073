/* SPDX-License-Identifier: Apache-2.0 */
/* Payloads of the flusher's log entries; byte layouts in doc/flush.md.
 *
 * Writers append a whole payload to a buf (check buf_ok once). Readers give borrowed views and
 * check every length: a payload may be hostile. All return 0 or WH_ECORRUPT with a text in e. */
#ifndef WH_FLUSH_ENTRY_H
#define WH_FLUSH_ENTRY_H

#include "base/buf.h"
#include "base/err.h"
#include "flush/rows.h"

enum flush_plan_kind {
    FLUSH_KIND_PLAN = 0,    /* a table's range is cut */
    FLUSH_KIND_PROGRESS = 1 /* what of a plan is still open */
};

/* WAL_FLUSH_PLAN, kind PLAN: the table's events in [first, last] go to ClickHouse together. */
struct flush_plan {
    struct slice table;
    struct slice token;   /* base of the insert tokens */
    uint64_t first, last; /* log indexes, both included */
    uint64_t bytes;       /* of text */
    uint64_t fingerprint; /* schema version when it was cut; 0: none known */
    uint32_t rows;
    /* Not 0: the rows go in pieces of so many, rows 0 … piece_rows−1 and so on, each a unit of its
     * own from the start. */
    uint32_t piece_rows;
};
#define FLUSH_PIECES_MAX 64 /* more of them in a plan are damage */
static inline uint32_t flush_piece_count(uint32_t rows, uint32_t piece_rows)
{
    return piece_rows == 0 ? 1 : (rows - 1) / piece_rows + 1;
}

/* WAL_FLUSH_PLAN, kind PROGRESS: all rows of the plan that are in none of the units are finished.
 */
struct flush_progress {
    struct slice table;
    uint64_t plan_index; /* log index of the plan entry */
    uint32_t unit_count;
    struct slice units; /* unit_count × flush_rows, read with flush_rows_get */
};

/* WAL_FLUSH_DONE */
struct flush_done {
    struct slice table;
    uint64_t plan_index, first, last;
    uint32_t stored, dead; /* rows */
};

/* What happens to records that a plan cannot deliver. */
enum flush_fate {
    FLUSH_FATE_DEAD = 0,
    FLUSH_FATE_DROPPED =
        1, /* dlq.enabled is false for the table: the records are left out and not kept */
    FLUSH_FATE_HELD = 2 /* ingest.unknown_columns: hold, and a column went away */
};

/* WAL_DEAD_LETTER: records of one plan that ClickHouse (or the encoder in its place) refuses. */
struct flush_dead {
    struct slice table;
    uint64_t plan_index, failed_at_ns;
    uint32_t count;
    enum flush_fate fate;
    uint8_t version; /* of the items, filled by flush_dead_get */
    struct slice items;
};
struct flush_dead_item {
    uint64_t index, received_ns; /* log index of the record's entry */
    uint32_t ordinal;            /* place in that entry */
    uint32_t row;                /* number in the plan */
    int32_t code;
    struct slice text, sender, record; /* sender: "<peer> <request id>"; empty in old entries */
};

#define FLUSH_DEAD_TEXT_MAX   2048 /* bytes of ClickHouse's text kept */
#define FLUSH_DEAD_SENDER_MAX 512  /* of "<peer> <request id>" */

void flush_plan_put(struct buf *out, const struct flush_plan *p);
void flush_progress_put(struct buf *out, struct slice table, uint64_t plan_index,
                        const struct flush_rows *units, uint32_t unit_count);
void flush_done_put(struct buf *out, const struct flush_done *d);
/* Head first with count 0, then items, then the count. */
void flush_dead_put_head(struct buf *out, const struct flush_dead *d);
void flush_dead_put_item(struct buf *out, const struct flush_dead_item *i);
void flush_dead_set_count(struct buf *out, uint32_t count);

int flush_plan_kind(struct slice payload, enum flush_plan_kind *kind, struct err *e) WH_MUST_CHECK;
int flush_plan_get(struct slice payload, struct flush_plan *p, struct err *e) WH_MUST_CHECK;
int flush_progress_get(struct slice payload, struct flush_progress *p, struct err *e) WH_MUST_CHECK;
int flush_done_get(struct slice payload, struct flush_done *d, struct err *e) WH_MUST_CHECK;
int flush_dead_get(struct slice payload, struct flush_dead *d, struct err *e) WH_MUST_CHECK;
/* The next item; d->items moves on. WH_EEND when none is left. */
int flush_dead_next(struct flush_dead *d, struct flush_dead_item *i, struct err *e) WH_MUST_CHECK;

#endif
