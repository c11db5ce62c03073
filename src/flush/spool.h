/* SPDX-License-Identifier: Apache-2.0 */
/* How full the log is with what ClickHouse does not have yet, and for how long it will do.
 *
 *   bytes      of the log that unflushed records take (their text, and what entries add to it)
 *   capacity   what the log may come to: wal.max_bytes, or what the file system has
 *   in_per_s   what arrives a second, averaged over about ten minutes
 *   hours_left (capacity − bytes) / in_per_s: how long ClickHouse can stay away, from now on
 *
 * Arithmetic only: times and sums come in, once a second. The planner's. */
#ifndef WH_FLUSH_SPOOL_H
#define WH_FLUSH_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#define FLUSH_SPOOL_MEAN_S 600
/* Hours left that are worth a line in the log; again only after twice as much was left. */
#define FLUSH_SPOOL_LOW_HOURS   24
#define FLUSH_SPOOL_SHORT_HOURS 1
#define FLUSH_SPOOL_HOURS_MAX   1e6 /* "no end in sight" */

enum flush_spool_level {
    FLUSH_SPOOL_FINE,
    FLUSH_SPOOL_LOW,
    FLUSH_SPOOL_SHORT
};

struct flush_spool {
    uint64_t bytes, capacity;
    double in_per_s, growth_per_s; /* growth: of `bytes`; negative while it drains */
    double hours_left;             /* at most FLUSH_SPOOL_HOURS_MAX */
    enum flush_spool_level level;  /* fine as long as records reach ClickHouse */
    /* inside: */
    uint64_t entry_bytes, text_bytes; /* of all entries read so far */
    uint64_t step_ns, step_entry_bytes, step_bytes;
    double in_sum, growth_sum, weight; /* averages before they are made whole */
};

/* An entry of events was read. */
void flush_spool_entry(struct flush_spool *s, uint64_t payload_bytes, uint64_t text_bytes);
/* Time has passed. pending_text: of unflushed records; draining: they reach ClickHouse. True when
 * the level has become worse. */
bool flush_spool_step(struct flush_spool *s, uint64_t now_ns, uint64_t pending_text,
                      uint64_t capacity, bool draining);

#endif
