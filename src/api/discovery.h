/* SPDX-License-Identifier: Apache-2.0 */
/* The table schemas: discovered from ClickHouse, published as one snapshot, persisted for a restart
 * while ClickHouse is down (http-api §6, §12).
 *
 * One thread discovers (with backoff 2 s → 60 s until it first succeeds, then every
 * schema.refresh_interval) and refreshes on request; another one pings for /readyz (ping.h), since
 * a discovery may take as long as ClickHouse lets it. Requests to them are bounded; their answers
 * come back through the asking loop's queue. */
#ifndef WH_API_DISCOVERY_H
#define WH_API_DISCOVERY_H

#include "base/queue.h"
#include "clickhouse/http_client.h"
#include "clickhouse/target.h"
#include "schema/schema.h"
#include "store/store.h"

struct discovery;

struct discovery_options {
    struct ch_target *clickhouse; /* discovery takes a reference of its own */
    uint64_t refresh_interval_ms;
    bool embedded; /* the engine starts beside us: asked often until it answers, without alarm */
};

/* Loads the persisted schema, if any, and starts the thread. store: not owned. */
int discovery_start(struct discovery **out, struct store *store,
                    const struct discovery_options *options, struct err *e) WH_MUST_CHECK;
/* Tasks that were not begun come back as CH_UNAVAILABLE. */
void discovery_stop(struct discovery *d);
/* Another ClickHouse, or another way in: asked soon, without waiting for the interval or a backoff.
 * A question that is under way ends with the old one. Any thread. */
void discovery_set_target(struct discovery *d, struct ch_target *target);
/* Counts from a refresh that follows at once. Any thread. */
void discovery_set_interval(struct discovery *d, uint64_t refresh_interval_ms);

/* A new reference to the current catalog, or NULL before there is one. Any thread; takes a lock, so
 * loops keep theirs and ask again when discovery_version moves. */
struct schema_catalog *discovery_catalog(struct discovery *d);
uint64_t discovery_version(const struct discovery *d);
/* The same, but NULL while the catalog is still that of another database than the target's. */
struct schema_catalog *discovery_catalog_of_target(struct discovery *d);
/* Why there is no catalog yet: copied into text. False when there is one. */
bool discovery_pending_cause(struct discovery *d, char *text, size_t cap);

/* Refresh soon, at most once a second: an unknown table or column was met. Any thread, never
 * blocks. */
void discovery_nudge(struct discovery *d);
/* How many discoveries have succeeded. Any thread, never blocks. */
uint64_t discovery_refreshes(const struct discovery *d);

enum discovery_task_kind {
    DISCOVERY_PING,
    DISCOVERY_REFRESH
};
struct discovery_task {
    struct queue_link link;
    enum discovery_task_kind kind;
    struct queue *done; /* where the task comes back */
    void *user;
    enum ch_outcome outcome;
    struct ch_error error;
};
/* 0, or WH_EFULL and the task is still the caller's. A ping comes back within three seconds. Any
 * thread. */
int discovery_ask(struct discovery *d, struct discovery_task *task) WH_MUST_CHECK;
/* Answer CH_UNAVAILABLE to all that wait in the queue: for discovery.c and ping.c. */
void discovery_tasks_drop(struct queue *tasks);

#endif
