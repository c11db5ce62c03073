/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that steer the daemon and change while it runs: the policy, the pipes.
 *
 * A change is a WAL_CONTROL entry (control/entry.h): committed, then applied in log order on every
 * node, so that all of them come to the same documents. The flusher's planner reads the log anyway;
 * it applies them in the store transaction that moves its applied index, as it does letters and
 * jobs (flush_fold), so each exactly once; the log entry may be trimmed then.
 *
 *   control_ask ─► log ─► planner ─► store ─► a new snapshot ─► the task comes back
 *
 * Readers hold a reference of an immutable snapshot and take the next one when control_version has
 * moved. doc/control.md: formats, crash points, what a lost store or log means. */
#ifndef WH_CONTROL_CONTROL_H
#define WH_CONTROL_CONTROL_H

#include "access/policy.h"
#include "base/err.h"
#include "base/queue.h"
#include "base/slice.h"
#include "cluster/commit.h"
#include "flush/flush.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum control_kind {
    CONTROL_POLICY = 1, /* one document, its name is empty */
    CONTROL_PIPE = 2    /* one per pipe */
};

struct control_document {
    struct slice name;
    struct slice text; /* JSON, as it was put */
    uint64_t index;    /* log index of the entry that put it: its version */
    uint32_t epoch;    /* of the log in which that is (struct store_flush_state) */
    uint64_t time_ns;  /* when it was put */
    struct slice who;  /* by whom: "<peer> <request id>", or the file that seeded it */
};

/* Everything as of one entry of the log. Immutable, counted; any thread. */
struct control_snapshot;
struct control_snapshot *control_snapshot_ref(struct control_snapshot *s);
void control_snapshot_unref(struct control_snapshot *s); /* NULL is fine */
/* Of the last change in it; 0: there never was one. Another one whenever the documents differ, and
 * grows with each change, also when another log takes over. */
uint64_t control_snapshot_version(const struct control_snapshot *s);
/* NULL: no policy is loaded. As long as the snapshot. */
const struct access_policy *control_snapshot_policy(const struct control_snapshot *s);
/* Who put it and when; NULL when none is stored. A stored policy that this version refuses is no
 * policy: everybody is denied until it is replaced. */
const struct control_document *control_snapshot_policy_document(const struct control_snapshot *s);
/* Sorted by name. As long as the snapshot. */
const struct control_document *control_snapshot_pipes(const struct control_snapshot *s,
                                                      uint32_t *count);
/* NULL: there is none. As long as the snapshot. */
const struct control_document *control_snapshot_pipe(const struct control_snapshot *s,
                                                     struct slice name);

struct control;

/* Take up what the store has. WH_EUNSUPPORTED: this version refuses the stored policy, and e says
 * why and what to do. Blocks: reads the store. Metrics and warnings about the policy are made here
 * and with each change. */
int control_open(struct control **out, struct store *store, struct err *e) WH_MUST_CHECK;
/* What the flusher is to call (flush_options.fold). */
struct flush_fold control_fold(struct control *c);
/* Changes go to this log from now on. After commit_start, before the first control_ask. */
void control_start(struct control *c, struct commit_log *log);
/* After flush_stop and commit_stop: tasks that are still here go back with WH_ESTOPPED; what they
 * ask for is durable perhaps, and is applied at the next start then. */
void control_stop(struct control *c);
void control_free(struct control *c); /* after control_stop; NULL is fine */

/* A new reference to the snapshot in force, never NULL. Any thread; takes a lock, so loops keep
 * theirs and ask again when control_version moves (one atomic load). */
struct control_snapshot *control_current(struct control *c);
uint64_t control_version(const struct control *c);

#define CONTROL_WHO_MAX 512 /* bytes */

/* One change. The asker fills the first part; text and name are borrowed until the task is back. */
struct control_task {
    struct queue_link link;
    struct queue *done; /* where the task comes back */
    void *user;
    enum control_kind kind;
    struct slice name;
    struct slice text; /* the new document, already validated; ptr NULL: delete */
    struct slice who;  /* for the audit line: "<peer> <request id>"; cut at CONTROL_WHO_MAX */
    bool seed;         /* changes nothing when there is one of that name already */
    /* filled before it comes back */
    int result;     /* 0: durable, applied and in force on this node; WH_ELIMIT: name, text,
                       number of pipes or bytes of all over a limit (limits.h), nothing changed;
                       WH_EAGAIN no room in the log; WH_EPOISON; WH_ESTOPPED */
    uint64_t index; /* of its entry, when 0 */
};
/* May a pipe have this name? 0, or WH_EUNSUPPORTED, WH_ELIMIT with a text for the client. */
int control_pipe_name(struct slice name, struct err *e) WH_MUST_CHECK;

/* 0, or the task is still the caller's: WH_EFULL (the log's queue, or too
 * much waits: LIMIT_CONTROL_WAITING), -ENOMEM, WH_ELIMIT. Any thread,
 * never blocks. It comes back when the planner has stored it: some milliseconds; when the planner
 * still reads a long log after a start, or the disk is full, so much later. */
int control_ask(struct control *c, struct control_task *task) WH_MUST_CHECK;

#endif
