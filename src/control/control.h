/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that steer the daemon and change while it runs: the policy, the pipes.
 *
 * A change is a WAL_CONTROL entry: committed, then applied in log order on every node, so that all
 * of them come to the same documents. What was applied is kept in the store, in the transaction
 * that moves its applied index; the log entry may be trimmed then.
 *
 *   control_ask ─► log ─► applied to the store ─► a new snapshot ─► the task comes back
 *
 * Readers hold a reference of an immutable snapshot and take the next one when control_version has
 * moved. */
#ifndef WH_CONTROL_CONTROL_H
#define WH_CONTROL_CONTROL_H

#include "access/policy.h"
#include "base/err.h"
#include "base/queue.h"
#include "base/slice.h"

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
};

/* Everything as of one entry of the log. Immutable, counted; any thread. */
struct control_snapshot;
struct control_snapshot *control_snapshot_ref(struct control_snapshot *s);
void control_snapshot_unref(struct control_snapshot *s); /* NULL is fine */
uint64_t control_snapshot_version(const struct control_snapshot *s);
/* NULL: no policy is loaded. As long as the snapshot. */
const struct access_policy *control_snapshot_policy(const struct control_snapshot *s);
/* Sorted by name. As long as the snapshot. */
const struct control_document *control_snapshot_pipes(const struct control_snapshot *s,
                                                      uint32_t *count);

struct control;
/* A new reference to the snapshot in force, never NULL. Any thread; takes a lock, so loops keep
 * theirs and ask again when control_version moves (one atomic load). */
struct control_snapshot *control_current(struct control *c);
uint64_t control_version(const struct control *c);

/* One change. The asker fills the first part; text and name are borrowed until the task is back. */
struct control_task {
    struct queue_link link;
    struct queue *done; /* where the task comes back */
    void *user;
    enum control_kind kind;
    struct slice name;
    struct slice text; /* the new document, already validated; ptr NULL: delete */
    struct slice who;  /* for the audit line: "<peer> <request id>" */
    /* filled before it comes back */
    int result;     /* 0: durable, applied and in force on this node; WH_EAGAIN no room in the
                       log; WH_EPOISON; WH_ESTOPPED */
    uint64_t index; /* of its entry, when 0 */
};
/* 0, or WH_EFULL and the task is still the caller's. Any thread, never blocks. */
int control_ask(struct control *c, struct control_task *task) WH_MUST_CHECK;

#endif
