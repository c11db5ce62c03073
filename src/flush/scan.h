/* SPDX-License-Identifier: Apache-2.0 */
/* The event batches of one table in a range of the log, in log order, with their row numbers. */
#ifndef WH_FLUSH_SCAN_H
#define WH_FLUSH_SCAN_H

#include "flush/ledger.h"
#include "wal/batch.h"
#include "wal/wal.h"

struct flush_scan {
    struct wal_cursor *cursor;
    struct slice table;
    const struct flush_span *spans;
    uint32_t span_count, at; /* spans; the one being read */
    uint32_t row;            /* records passed so far: the number of the next one */
};

struct flush_scan_entry {
    uint64_t index;         /* log index */
    uint32_t row;           /* number of its first record */
    struct wal_batch batch; /* borrowed from the mapping until the next call */
};

/* Over these spans (ascending, borrowed until close; none is the same as an empty range). Any
 * thread; one at a time. 0, WH_ENOTFOUND (trimmed), WH_ECORRUPT, -errno. */
int flush_scan_open(struct flush_scan *s, struct wal *w, struct slice table,
                    const struct flush_span *spans, uint32_t span_count,
                    struct err *e) WH_MUST_CHECK;
/* Go on with the entry `index`, which is of the table and in the spans; its first record has the
 * number row. 0; as open. */
int flush_scan_seek(struct flush_scan *s, uint64_t index, uint32_t row,
                    struct err *e) WH_MUST_CHECK;
/* WH_EEND past the range; WH_ECORRUPT. */
int flush_scan_next(struct flush_scan *s, struct flush_scan_entry *entry,
                    struct err *e) WH_MUST_CHECK;
/* After using an entry, and before anything that cannot be taken back: was it there all the time?
 * 0, WH_ECORRUPT (wal_cursor_check). */
int flush_scan_check(const struct flush_scan *s, struct err *e) WH_MUST_CHECK;
void flush_scan_close(struct flush_scan *s);

#endif
