/* SPDX-License-Identifier: Apache-2.0 */
/* Catching up after an outage without knocking ClickHouse over again.
 *
 * A plan whose oldest record waited longer than FLUSH_STALE_NS is backlog. Backlog gets
 *   one sender at first, one more with each insert that went well (all at once would be the load of
 *   hours within a second);
 *   never the last sender, where there are several: fresh records of other tables find one;
 *   flush.catch_up_rows_per_second, where that is set.
 * Fresh plans are not held back, and pass backlog that is. Arithmetic only; the planner's. */
#ifndef WH_FLUSH_PACE_H
#define WH_FLUSH_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define FLUSH_STALE_NS 30000000000u

struct flush_pace {
    uint32_t allowed;       /* senders that backlog may have by now */
    uint32_t running;       /* that it has */
    uint64_t rows_per_s;    /* 0: any number */
    uint64_t owed_until_ns; /* monotonic: what was sent is above the rate until then */
    /* progress, for the log and the metrics */
    bool active; /* there is backlog */
    uint64_t rows_at_ns, rows_before, said_ns;
    double rows_per_s_seen;
};

/* ClickHouse was away, or is another one: begin anew. */
void flush_pace_restart(struct flush_pace *p);
/* May backlog have a sender now? *next_ns: when to ask again, if only the rate holds it back. */
bool flush_pace_may(const struct flush_pace *p, uint32_t senders, uint64_t now_ns,
                    uint64_t *next_ns);
/* It got one, for so many rows; its job ended, and so many of them were not sent: a job of a long
 * plan gives its sender back now and then, and one that fails sends nothing. */
void flush_pace_begin(struct flush_pace *p, uint64_t rows, uint64_t now_ns);
void flush_pace_end(struct flush_pace *p, uint64_t rows_unsent, bool went_well);
/* Rows of the backlog that are left, once a second. Seconds until none is; 0: unknown. */
uint64_t flush_pace_progress(struct flush_pace *p, uint64_t rows_left, uint64_t now_ns);

#endif
