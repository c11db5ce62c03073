/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the room: the daemon's state, and the steps of its life that have a file each. All of it
 * is the main thread's but for what says otherwise. */
#ifndef WH_DAEMON_PRIV_H
#define WH_DAEMON_PRIV_H

#include "api/api.h"
#include "api/auth_keys.h"
#include "base/log.h"
#include "control/control.h"
#include "daemon/daemon.h"
#include "daemon/loops.h"
#include "daemon/notify.h"
#include "daemon/seeds.h"
#include "daemon/supervise.h"
#include "daemon/tls_files.h"
#include "dedupe/dedupe.h"
#include "flush/flush.h"
#include "replay/replay.h"

#include <pthread.h>

#define DAEMON_LISTEN_MAX    16
#define DAEMON_PATH_CAP      4096
#define DAEMON_NS_PER_MS     UINT64_C(1000000)
#define DAEMON_SEEDS_WAIT_MS 30000 /* for the log to be read; usually it takes milliseconds */

struct daemon {
    const struct config_options *options;
    pthread_mutex_t config_lock;
    const struct config *config;       /* in force */
    const struct config *start_config; /* strings that live as long as the daemon point into it */
    struct http_listener listeners[2 * DAEMON_LISTEN_MAX + 1]; /* API, metrics, control socket */
    int listen_count;
    struct http_tls_material *tls; /* under config_lock; NULL: none */
    bool has_control;
    struct ch_target *target; /* main thread */
    struct engine_child *engine;
    struct wal *wal;
    struct store *store;
    struct control *control;
    struct commit_log *commit;
    struct discovery *discovery;
    struct query_runner *query;
    struct dedupe *dedupe;
    struct flush *flush;
    struct replay *replay;
    struct stream_hub *stream;
    struct api_shared api;
    struct loops *loops;
    struct seeds *seeds;     /* the last ones */
    struct queue seeds_back; /* what they asked for */
    struct queue reloads;    /* api_reload tasks */
    bool stopping;           /* no more of them; under config_lock */
    char wal_path[DAEMON_PATH_CAP], store_path[DAEMON_PATH_CAP], dedupe_path[DAEMON_PATH_CAP];
    char log_id[33]; /* hexadecimal */
    int signal_fd;
    int poison_fd; /* eventfd: the log has failed */
    bool failed;
};

/* --- options.c: what each room is given of the settings ----------------------------------------
 */

/* The settings in force, a reference of the caller's. Any thread. */
const struct config *daemon_config(void *ctx);
/* The catalog of the ClickHouse that is the target now, or NULL; a reference. Any thread. */
struct schema_catalog *daemon_target_catalog(void *ctx);
/* Ask ClickHouse for its tables soon. Any thread. */
void daemon_request_refresh(void *ctx);
/* wal.max_bytes, or its default rule: 50 GB, or 80 % of the file system if that is less. */
uint64_t daemon_wal_budget(const struct config *c);
/* ingest.held_max_bytes, or its default rule. Needs the store. */
uint64_t daemon_held_budget(const struct daemon *d, const struct config *c);
/* Where c says that ClickHouse is: a new target, or NULL without memory. It takes a reference of
 * its own to tls, which may be NULL. */
struct ch_target *daemon_target_make(const struct daemon *d, const struct config *c,
                                     struct ch_tls *tls);
bool daemon_endpoints_differ(const struct config *a, const struct config *b);
/* Clients with the same target need not be made again. What clickhouse.tls says is for ch_tls_same
 * to compare: a file may have changed under the same name. */
bool daemon_targets_differ(const struct config *a, const struct config *b);
void daemon_query_options(struct daemon *d, const struct config *c, struct query_runner_options *o);
void daemon_flush_options(struct daemon *d, const struct config *c, struct flush_options *o);
/* A log line for each operator key that is too short. */
void daemon_warn_keys(const struct config *c);
/* A log line when ClickHouse's certificate is not checked. */
void daemon_warn_clickhouse(const struct config *c);

/* --- start.c, reload.c ------------------------------------------------------------------------ */

/* Not 0: *e says why; what has been started is for the caller to stop. */
int daemon_start(struct daemon *d, struct err *e);
/* Read the settings again, and take them over if all of them can be. task: who asked and is told,
 * or NULL. */
void daemon_reload(struct daemon *d, struct api_reload *task);
/* On a socket loop: WH_ESTOPPED, or the task comes back through its own queue. */
int daemon_request_reload(void *ctx, struct api_reload *task);
/* Do what was requested; stopping: say that it is not done. */
void daemon_take_reloads(struct daemon *d, bool stopping);

#endif
