/* SPDX-License-Identifier: Apache-2.0 */
/* The log thread: proposals in, committed out (architecture §3, §5).
 *
 * Any thread proposes entries; the one log thread numbers them, appends a group, syncs it, and
 * hands each proposal back through its own done queue. While it waits in fdatasync the next group
 * piles up: group commit without a timer. A single node is a cluster of one: what is durable here
 * is committed. */
#ifndef WH_CLUSTER_COMMIT_H
#define WH_CLUSTER_COMMIT_H

#include "base/queue.h"
#include "wal/wal.h"

struct proposal {
    struct queue_link link;
    uint8_t type, flags;
    struct iovec parts[5]; /* payload; owned by the proposer until the proposal comes back */
    int part_count;
    /* NULL, or the proposal before it that it makes no sense without: refused as that one was. Of
     * the same proposer, and proposed before; it must stay until this one comes back, too. */
    const struct proposal *after;
    bool gated; /* its proposer heeds commit_long_wait: only such entries make others wait there */
    struct queue *done; /* where it goes when decided; NULL: on_done is called on the log thread */
    void (*on_done)(struct proposal *p);
    /* filled before it comes back */
    int result;         /* 0 committed; WH_EAGAIN no room (disk or budget full): nothing stored;
                           WH_ELIMIT larger than an entry may be; WH_EPOISON; WH_ESTOPPED */
    uint64_t index;     /* when committed */
    uint64_t queued_ns; /* monotonic */
};

struct commit_log;

struct commit_options {
    size_t queue_cap;            /* proposals waiting; beyond it commit_propose answers WH_EFULL */
    uint64_t term;               /* of this reign: above every term in the log */
    uint64_t group_bytes_max;    /* payload bytes gathered before a sync */
    uint64_t room_reserve_bytes; /* of the open segment, that events leave to other entries */
    uint64_t room_ahead_bytes;   /* less room than this: the next segment is prepared */
};

/* Starts the log thread and the housekeeping thread over an open wal (not owned), and commits a
 * no-op of the new term (blocks until it is durable), and with it everything that recovery found.
 * on_poison runs on the log thread once, after the failed group's proposals were answered
 * WH_EPOISON. */
int commit_start(struct commit_log **out, struct wal *w, const struct commit_options *options,
                 void (*on_poison)(void *ctx, const struct err *e), void *ctx,
                 struct err *e) WH_MUST_CHECK;
/* Answers what is queued, then stops both threads. */
void commit_stop(struct commit_log *c);

/* Any thread, never blocks. 0: the proposal is the log's until it comes back; WH_EFULL: still the
 * caller's. */
int commit_propose(struct commit_log *c, struct proposal *p) WH_MUST_CHECK;

/* The same in two steps, for a proposer that has several: quiet ones lie in the queue until
 * commit_kick (or somebody else's proposal) wakes the log thread. One wake-up and one larger group
 * instead of many small ones. */
int commit_propose_quiet(struct commit_log *c, struct proposal *p) WH_MUST_CHECK;
void commit_kick(struct commit_log *c);

/* Long entries (cluster/pause.h) are to be kept back while short ones come: how many nanoseconds;
 * 0: now is fine. *shared: somebody would wait for them, so they are proposed many at a time, and
 * not while others are on their way. Any thread; not binding. At most PAUSE_NS_MAX, but when it is
 * asked again it may say so again: whoever waits sets a limit. */
uint64_t commit_long_wait(const struct commit_log *c, bool *shared);

/* Acceptance instants, nanoseconds since 1970 UTC: they grow strictly along the log, over restarts
 * and clocks that are set back too, and so identify what streams send (http-api §11.2). Whoever
 * proposes such entries takes instants above what commit_order_lock returns, says the highest with
 * commit_order_take, and proposes, all under the lock. An entry's time in the log is never below an
 * instant in it, and never falls; after a dead letter entry it grows by more than the entry has
 * letters, so that these have instants of their own. Short: nobody waits for a disk under this
 * lock. */
uint64_t commit_order_lock(struct commit_log *c);
void commit_order_take(struct commit_log *c, uint64_t last_ns);
void commit_order_unlock(struct commit_log *c);

/* Consumers of committed entries (flusher, later streams) give a queue to be woken through after
 * each commit: only while it sleeps, so a consumer calls queue_sleep(), then looks at
 * wal_commit_index() once more, and only then polls. At most 8. */
int commit_subscribe(struct commit_log *c, struct queue *wake) WH_MUST_CHECK;
/* wake is not touched after this returns. Waits for the log thread's current answers (not for a
 * sync). */
void commit_unsubscribe(struct commit_log *c, struct queue *wake);
/* A done queue whose proposals have all come back is not touched by the log thread after this
 * returns: a proposal is visible to its owner a moment before the log thread has let go of the
 * queue. To be called before such a queue is freed. Waits as commit_unsubscribe. */
void commit_quiesce(struct commit_log *c);

/* Everything below index may be deleted once it is also older than retain_ns (wall clock age); when
 * the byte budget or the disk is full, sooner: room for new events is worth more than the replay
 * window. It may stay some seconds longer, so that its file can become the next segment. Any
 * thread. */
void commit_set_trim(struct commit_log *c, uint64_t index, uint64_t retain_ns);

/* Somebody beside the flusher who must have read an entry before it may be deleted: nothing at or
 * above the lowest holder's index goes. index: what it needs first; 0 is everything. Call before
 * the flusher starts. Returns the holder's number, or WH_EFULL (COMMIT_HOLDERS_MAX). */
#define COMMIT_HOLDERS_MAX 4
int commit_hold(struct commit_log *c, uint64_t index) WH_MUST_CHECK;
/* From now on it needs index and what follows. Any thread. */
void commit_hold_move(struct commit_log *c, int holder, uint64_t index);

/* True when new events can be taken: a segment with room is ready. cause (static text) otherwise.
 */
bool commit_accepting(struct commit_log *c, const char **cause);
uint64_t commit_term(const struct commit_log *c);

#endif
