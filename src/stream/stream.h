/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events from the log (http-api §11, architecture §8).
 *
 *   log ──► wh-stream (one thread, the hub) ── blocks of frames ──► socket loops ──► subscribers
 *             reads each committed entry once, decides what each      write the same block to every
 *             kind of subscriber may see, renders each frame once     subscriber of that kind
 *
 * Subscribers that may see the same of the same tables share a channel. One that does not read fast
 * enough leaves its channel and is served from the log, at its own position and in slices, until it
 * has caught up. Nothing is dropped for it before the log itself is trimmed; then it is counted and
 * said. Loops never touch the log, so no page fault holds up a request.
 *
 * What identifies an event is its acceptance instant, which grows strictly along the log
 * (cluster/commit.h): "after this id" is one place. */
#ifndef WH_STREAM_STREAM_H
#define WH_STREAM_STREAM_H

#include "access/gate.h"
#include "access/predicate.h"
#include "cluster/commit.h"
#include "http/http.h"
#include "http/loop.h"

struct stream_hub;
struct stream_loop;

struct stream_options {
    struct wal *wal;
    struct commit_log *commit;
    uint32_t loops; /* so many stream_loop_new at most */
    /* The policy in force, one reference (NULL: none is loaded); the catalog likewise. The versions
     * move after each change and are cheap to ask for. Any thread. */
    const struct access_policy *(*policy)(void *ctx);
    uint64_t (*policy_version)(void *ctx);
    struct schema_catalog *(*catalog)(void *ctx);
    uint64_t (*catalog_version)(void *ctx);
    void *ctx;
};

/* Starts the hub's thread. */
int stream_start(struct stream_hub **out, const struct stream_options *options,
                 struct err *e) WH_MUST_CHECK;
/* Stops the thread: after the loops have stopped, before the log does. */
void stream_stop(struct stream_hub *h);
/* After every stream_loop_free. NULL is fine. */
void stream_free(struct stream_hub *h);

/* ---- a socket loop's share; its thread, or before it runs and after it has stopped ---- */

struct stream_settings { /* stream.* */
    uint64_t keepalive_ms;
    uint32_t keepalive_buckets;
    uint32_t max_subscribers; /* of all loops */
    bool close_on_token_expiry;
};

int stream_loop_new(struct stream_loop **out, struct stream_hub *h, struct loop *loop,
                    const struct stream_settings *settings, struct err *e) WH_MUST_CHECK;
void stream_loop_reload(struct stream_loop *l, const struct stream_settings *settings);
/* After http_server_free and stream_stop. NULL is fine. */
void stream_loop_free(struct stream_loop *l);

enum stream_from {
    STREAM_LIVE,  /* from now on */
    STREAM_SINCE, /* what was accepted at from_ns or later */
    STREAM_AFTER  /* what was accepted after from_ns */
};

struct stream_ask {
    const struct slice *tables;
    uint32_t table_count;
    const struct access_caller *caller; /* copied */
    struct access_claims *claims;       /* of a good token, a reference is taken; NULL: none */
    bool unrestricted;                  /* no access control (--insecure-open) */
    enum stream_from from;
    uint64_t from_ns;
    bool positional;     /* http-api §11.6 */
    uint64_t expires_ns; /* of the token, wall clock; 0: never, or no token */
    const char *note;    /* a comment for whoever reads along, one short line; NULL: none */
};
#define STREAM_TABLES_MAX 64

/* Answer r with a stream of what the caller may see of these tables: perhaps nothing. Events
 * committed before this call are not live any more. 0, and r is gone; WH_EFULL: as many subscribers
 * as there may be, -ENOMEM: r is still the caller's. */
int stream_subscribe(struct stream_loop *l, struct http_request *r,
                     const struct stream_ask *ask) WH_MUST_CHECK;

#endif
