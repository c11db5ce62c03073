/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP API: routes, and the glue between http and the rest (http-api.md).
 *
 * One api_loop per socket loop, with that loop's reader, checker, free requests and queues; what
 * they share is in struct api_shared, made by the daemon and constant while loops run. */
#ifndef WH_API_API_H
#define WH_API_API_H

#include "api/discovery.h"
#include "api/limits.h"
#include "cluster/commit.h"
#include "config/config.h"
#include "control/control.h"
#include "dedupe/dedupe.h"
#include "http/http.h"
#include "http/loop.h"
#include "http/tls.h"
#include "query/runner.h"
#include "replay/replay.h"
#include "store/store.h"
#include "stream/stream.h"

#include <pthread.h>

/* Label of an http_listener that serves the metrics and nothing else; others have 0. */
#define API_METRICS_ONLY 1

struct auth_keys;

/* The settings read anew, as on SIGHUP (http-api §15). The asker's until it is given to reload, and
 * again when it is back. */
struct api_reload {
    struct queue_link link;
    struct queue *done;
    /* filled before it comes back */
    int result;          /* 0; WH_ESTOPPED: the daemon is stopping, nothing was done */
    bool adopted;        /* else the settings in force stay, and lines say why */
    struct buf findings; /* lines: what is wrong, or what the operator has to know; made by the
                            asker */
};

struct api_shared {
    struct commit_log *log;
    struct wal *wal;
    struct store *store;
    struct flush *flush;
    struct limits *limits; /* NULL: none are enforced */
    struct discovery *discovery;
    struct query_runner *query;
    struct dedupe *dedupe; /* NULL: none; what would need it is answered 503 */
    struct replay *replay;
    struct control *control;         /* the policy, the pipes */
    struct stream_hub *stream;       /* NULL: no streams */
    _Atomic uint64_t held_bytes_max; /* ingest.held_max_bytes; written by the daemon */
    const char *version, *git_commit, *build_time; /* static texts for GET /version */
    /* A new reference to the configuration in force. Any thread. */
    const struct config *(*config)(void *ctx);
    void *config_ctx;
    /* The certificate in force, one reference; NULL: there is none. Changes with config_version.
     * Any thread. */
    struct http_tls_material *(*tls)(void *config_ctx);
    /* 0, or WH_ESTOPPED and the task is still the caller's. Any thread, never blocks. */
    int (*reload)(void *config_ctx, struct api_reload *task);
    _Atomic uint64_t config_version; /* moved by the daemon after a reload */
    struct auth_keys *keys;          /* of tokens; NULL: no token is good */
    _Atomic bool poisoned;           /* the log has failed: readiness says so */
};

struct api_loop;

/* Makes the loop's state and its http_server over listeners, and watches its queues. On the thread
 * that will run the loop, or before it starts. shared is not owned. */
int api_loop_new(struct api_loop **out, struct api_shared *shared, struct loop *loop,
                 const struct http_listener *listeners, int listen_count,
                 struct err *e) WH_MUST_CHECK;
/* The loop's own thread: stop accepting, finish what is in flight, then call on_drained. */
void api_loop_drain(struct api_loop *a, void (*on_drained)(void *arg), void *arg);
/* After the loop, the log and discovery have stopped, so that every proposal and task is back. */
void api_loop_free(struct api_loop *a);

#endif
