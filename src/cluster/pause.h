/* SPDX-License-Identifier: Apache-2.0 */
/* When long entries may be proposed, while short ones come too.
 *
 * Every entry waits for the sync before its own. Where a few tables send by the megabyte, the log
 * would be under way with their groups nearly all the time, and a short entry would wait for one of
 * them before its own sync begins:
 *
 *   ──[long group]──── pause ────[long group]──── pause ────[long group]──
 *                   ▲  ▲    ▲ short entries: a small group at once
 *
 * So after a group with long entries follows a pause, PAUSE_TIMES as long as it took and
 * PAUSE_NS_MAX at most; what is long gathers meanwhile with those who propose it and ask first
 * (proposal.gated: requests with long bodies). Nobody to make room for, no pause: only while a
 * short entry was seen within PAUSE_SHORT_NS.
 *
 * No clock here: the log thread says what happened when, any thread asks. */
#ifndef WH_CLUSTER_PAUSE_H
#define WH_CLUSTER_PAUSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAUSE_LONG_BYTES  ((size_t)16 * 1024) /* an entry with a larger payload is long */
#define PAUSE_SHORT_BYTES ((size_t)8 * 1024)  /* up to this it is short, between them neither */
#define PAUSE_TIMES       3                   /* the log has long groups a quarter of the time */
#define PAUSE_NS_MAX      UINT64_C(10000000)  /* what a slow disk may cost those who wait */
#define PAUSE_SHORT_NS    UINT64_C(1000000000)

struct commit_pause {
    _Atomic uint64_t until_ns, short_ns; /* monotonic; written by the log thread */
};

/* A group with entries of these kinds is about to be written. Log thread. */
void commit_pause_begin(struct commit_pause *p, bool has_short, bool has_long, uint64_t now_ns);
/* It was synced. Log thread. */
void commit_pause_end(struct commit_pause *p, bool has_long, uint64_t begun_ns, uint64_t now_ns);
/* Whether there is somebody to make room for, and in *wait_ns how long a long entry is to be kept
 * back (0: not). While such a group is written its end is not known: ask again. Any thread. */
bool commit_pause_ask(const struct commit_pause *p, uint64_t now_ns, uint64_t *wait_ns);

#endif
