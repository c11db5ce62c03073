/* SPDX-License-Identifier: Apache-2.0 */
/* Start order: listeners bound (a taken port shows at once) → embedded engine → log recovered →
 * store → log thread → discovery → dedup index → flusher → socket loops → READY. Stop order is the
 * reverse; each step stops its own threads before what they use goes away. */
#include "daemon/daemon.h"

#include "access/operator.h"
#include "api/api.h"
#include "api/auth_keys.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "control/control.h"
#include "daemon/loops.h"
#include "daemon/notify.h"
#include "daemon/seeds.h"
#include "daemon/supervise.h"
#include "daemon/tls_files.h"
#include "dedupe/dedupe.h"
#include "flush/flush.h"
#include "flush/spool.h"
#include "io/clock.h"
#include "replay/replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LISTEN_MAX             16
#define ENDPOINTS_MAX          16
#define PROPOSALS_MAX          65536
#define CONNECT_TIMEOUT_MS     3000
#define WAL_DEFAULT_BYTES      (50 * UINT64_C(1000000000)) /* wal.max_bytes */
#define FLUSH_STOP_MS_MIN      1000
#define STATUS_EVERY_MS        5000
#define ROOM_RESERVE_BYTES_MAX (256 * KIB)
#define NS_PER_MS              UINT64_C(1000000)
#define PATH_CAP               4096
#define SEEDS_WAIT_MS          30000 /* for the log to be read; usually it takes milliseconds */

struct daemon {
    const struct config_options *options;
    pthread_mutex_t config_lock;
    const struct config *config;       /* in force */
    const struct config *start_config; /* strings that live as long as the daemon point into it */
    struct http_listener listeners[LISTEN_MAX + 1]; /* the control socket is one */
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
    char wal_path[PATH_CAP], store_path[PATH_CAP], dedupe_path[PATH_CAP];
    char log_id[33]; /* hexadecimal */
    int signal_fd;
    int poison_fd; /* eventfd: the log has failed */
    bool failed;
};

/* --- configuration -----------------------------------------------------------------------------
 */

static const struct config *config_current(void *ctx)
{
    struct daemon *d = ctx;
    (void)pthread_mutex_lock(&d->config_lock);
    const struct config *c = config_ref(d->config);
    (void)pthread_mutex_unlock(&d->config_lock);
    return c;
}

static const struct access_policy *policy_current(void *ctx)
{
    struct control_snapshot *s = control_current(((struct daemon *)ctx)->control);
    const struct access_policy *p = control_snapshot_policy(s);
    if (p != NULL)
        (void)access_policy_ref(p);
    control_snapshot_unref(s);
    return p;
}

static uint64_t policy_version(void *ctx)
{
    return control_version(((struct daemon *)ctx)->control);
}

static struct http_tls_material *tls_current(void *ctx)
{
    struct daemon *d = ctx;
    (void)pthread_mutex_lock(&d->config_lock);
    struct http_tls_material *m = d->tls != NULL ? http_tls_material_ref(d->tls) : NULL;
    (void)pthread_mutex_unlock(&d->config_lock);
    return m;
}

/* wal.max_bytes, or its default rule: 50 GB, or 80 % of the file system if that is less. */
static uint64_t wal_budget(const struct config *c)
{
    struct statvfs fs;
    if (c->wal.max_bytes != 0)
        return c->wal.max_bytes;
    if (statvfs(c->data_dir, &fs) != 0)
        return WAL_DEFAULT_BYTES;
    uint64_t most = (uint64_t)fs.f_blocks * fs.f_frsize / 10 * 8;
    return most < WAL_DEFAULT_BYTES ? most : WAL_DEFAULT_BYTES;
}

static struct schema_catalog *current_catalog(void *ctx)
{
    return discovery_catalog_of_target(((struct daemon *)ctx)->discovery);
}

static struct schema_catalog *served_catalog(void *ctx)
{
    return discovery_catalog(((struct daemon *)ctx)->discovery);
}

static uint64_t catalog_version(void *ctx)
{
    return discovery_version(((struct daemon *)ctx)->discovery);
}

static uint64_t refreshes(void *ctx)
{
    return discovery_refreshes(((struct daemon *)ctx)->discovery);
}

static void request_refresh(void *ctx)
{
    discovery_nudge(((struct daemon *)ctx)->discovery);
}

/* Where c says that ClickHouse is: a new target, or NULL without memory. */
static struct ch_target *target_make(const struct daemon *d, const struct config *c)
{
    struct ch_endpoint endpoints[ENDPOINTS_MAX];
    /* The engine listens where it was told to at its start, whatever the file says by now. */
    const struct config *at = c->clickhouse.embedded ? d->start_config : c;
    uint32_t n = at->clickhouse.addr_count;
    n = n < ENDPOINTS_MAX ? n : ENDPOINTS_MAX;
    for (uint32_t i = 0; i < n; i++) {
        (void)snprintf(endpoints[i].host, sizeof(endpoints[i].host), "%s",
                       at->clickhouse.addr[i].host);
        endpoints[i].port = at->clickhouse.addr[i].port;
        endpoints[i].http_port = at->clickhouse.http_port;
    }
    struct ch_options options = {
        .endpoints = endpoints,
        .endpoint_count = n,
        .database = c->clickhouse.database,
        .username = c->clickhouse.username,
        .password = c->clickhouse.password,
        .compress_lz4 = c->clickhouse.compression_lz4,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .io_timeout_ms = c->clickhouse.query_timeout_ms,
    };
    return ch_target_new(&options);
}

static bool endpoints_differ(const struct config *a, const struct config *b)
{
    bool differ = a->clickhouse.addr_count != b->clickhouse.addr_count ||
                  a->clickhouse.http_port != b->clickhouse.http_port;
    for (uint32_t i = 0; !differ && i < a->clickhouse.addr_count; i++)
        differ = a->clickhouse.addr[i].port != b->clickhouse.addr[i].port ||
                 strcmp(a->clickhouse.addr[i].host, b->clickhouse.addr[i].host) != 0;
    return differ;
}

/* Clients with the same target need not be made again. */
static bool targets_differ(const struct config *a, const struct config *b)
{
    return endpoints_differ(a, b) || strcmp(a->clickhouse.database, b->clickhouse.database) != 0 ||
           strcmp(a->clickhouse.username, b->clickhouse.username) != 0 ||
           strcmp(a->clickhouse.password, b->clickhouse.password) != 0 ||
           a->clickhouse.compression_lz4 != b->clickhouse.compression_lz4 ||
           a->clickhouse.query_timeout_ms != b->clickhouse.query_timeout_ms;
}

static uint64_t held_budget(const struct daemon *d, const struct config *c)
{
    /* A quarter of the store's largest size at most, as dead letters take up to a half. */
    uint64_t most = store_bytes_max(d->store) / 4;
    uint64_t bytes = c->ingest.held_max_bytes != 0 ? c->ingest.held_max_bytes : wal_budget(c) / 10;
    return bytes < most ? bytes : most;
}

static bool hold_unknown(void *ctx, struct slice table)
{
    const struct config *c = config_current(ctx);
    bool hold = config_table_find(c, table)->unknown_columns == CONFIG_UNKNOWN_HOLD;
    config_unref(c);
    return hold;
}

static void inserted(void *ctx, struct slice table)
{
    query_runner_bump(((struct daemon *)ctx)->query, table);
}

static void query_options_make(struct daemon *d, const struct config *c,
                               struct query_runner_options *o)
{
    *o = (struct query_runner_options){
        .clickhouse = d->target,
        .timeout_ms = c->clickhouse.query_timeout_ms,
        .cache_bytes = c->cache.l1_max_cost,
        .max_concurrent = c->query.max_concurrent,
        .refreshes = refreshes,
        .request_refresh = request_refresh,
        .ctx = d,
    };
}

static void flush_options_make(struct daemon *d, const struct config *c, struct flush_options *o)
{
    *o = (struct flush_options){
        .wal = d->wal,
        .commit = d->commit,
        .store = d->store,
        .clickhouse = d->target,
        .cluster = d->log_id,
        .max_open_conns = c->clickhouse.max_open_conns,
        .interval_ms = c->flush.interval_ms,
        .max_rows = c->flush.max_rows,
        .max_bytes = c->flush.max_bytes,
        .retry_min_ms = c->flush.retry_min_ms,
        .retry_max_ms = c->flush.retry_max_ms,
        .catch_up_rows_per_s = c->flush.catch_up_rows_per_second,
        .retain_ms = c->wal.retain_ms,
        .dlq_enabled = c->dlq.enabled,
        .dlq_max_bytes = c->dlq.max_bytes != 0 ? c->dlq.max_bytes : wal_budget(c) / 10,
        .catalog = current_catalog,
        .request_refresh = request_refresh,
        .refreshes = refreshes,
        .hold = hold_unknown,
        .inserted = inserted,
        .ctx = d,
        .fold = control_fold(d->control),
    };
}

/* A line each; what was only noticed is news, what needs the operator is a warning. */
static void log_lines(const char *id, const struct buf *text, const char *warn_about)
{
    const char *p = text->ptr, *end = text->len > 0 ? p + text->len : p;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = lf != NULL ? (size_t)(lf - p) : (size_t)(end - p);
        if (warn_about == NULL || memmem(p, n, warn_about, strlen(warn_about)) != NULL)
            log_warn(id, "%.*s", (int)n, p);
        else
            log_info(id, "%.*s", (int)n, p);
        p += n + 1;
    }
}

static void warn_key(const char *name, const char *key)
{
    size_t n = strlen(key);
    if (n > 0 && n < ACCESS_OPERATOR_KEY_BYTES_MIN)
        log_warn("auth.short_key", "%s has %zu bytes: make it %d or more", name, n,
                 ACCESS_OPERATOR_KEY_BYTES_MIN);
}

static void warn_keys(const struct config *c)
{
    warn_key("auth.operator_key", c->auth.operator_key);
    warn_key("auth.operator_key_next", c->auth.operator_key_next);
}

/* Hand the new settings to everybody who works by them. adopted: one reference, taken; target: the
 * same, or NULL when that did not change; tls: the same, NULL: none. */
static void adopt(struct daemon *d, const struct config *adopted, struct ch_target *target,
                  struct http_tls_material *tls)
{
    (void)pthread_mutex_lock(&d->config_lock);
    const struct config *old = d->config;
    struct http_tls_material *old_tls = d->tls;
    d->config = adopted;
    d->tls = tls;
    (void)pthread_mutex_unlock(&d->config_lock);
    http_tls_material_unref(old_tls);
    if (adopted->clickhouse.embedded && endpoints_differ(adopted, d->start_config))
        log_warn("config.changed", "clickhouse.addr, clickhouse.http_port: the embedded engine "
                                   "keeps its ports (restart needed)");
    config_unref(old);
    auth_keys_reload(d->api.keys, adopted); /* first: loops take both up in one step */
    atomic_fetch_add(&d->api.config_version, 1);
    warn_keys(adopted);
    if (target != NULL) {
        ch_target_unref(d->target);
        d->target = target;
        /* First of all, so that nobody who works with the new target sees the tables of the old
         * one's database as its own (discovery_catalog_of_target). */
        discovery_set_target(d->discovery, target);
    }
    struct query_runner_options qo;
    query_options_make(d, adopted, &qo);
    query_runner_reload(d->query, &qo);
    struct flush_options fo;
    flush_options_make(d, adopted, &fo);
    flush_reload(d->flush, &fo);
    dedupe_reload(d->dedupe, adopted->dedupe.retention_ms * NS_PER_MS, adopted->dedupe.max_ids);
    atomic_store(&d->api.held_bytes_max, held_budget(d, adopted));
    discovery_set_interval(d->discovery, adopted->schema_refresh_ms);
    wal_set_budget(d->wal, wal_budget(adopted), adopted->wal.min_free);
    log_configure(adopted->log_level, adopted->log_format);
}

/* Read what the settings name, and see that it can be used. Not 0: findings say why not. */
static int reload_seeds(struct daemon *d, const struct config *next, struct seeds **out,
                        struct buf *findings)
{
    *out = NULL;
    if (seeds_done(d->seeds))
        return seeds_read(out, next, &d->seeds_back, findings);
    buf_put_str(findings,
                "policy.file_path, pipes.dir: what the last start or reload read there is "
                "still on its way to the store; try again later\n");
    return WH_EAGAIN;
}

static void plant(struct daemon *d, struct seeds *seeds)
{
    struct err e = {0};
    seeds_free(d->seeds);
    d->seeds = seeds;
    if (seeds != NULL && seeds_plant(seeds, d->control, SEEDS_WAIT_MS, &e) != 0)
        log_error("control.seed_refused", "%s", e.text);
}

/* What needs the operator, line by line, for whoever asked for the reload. */
static void report(struct api_reload *task, bool adopted, const struct buf *text)
{
    const char *p = text->ptr, *end = text->len > 0 ? p + text->len : p;
    task->adopted = adopted;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = lf != NULL ? (size_t)(lf - p) : (size_t)(end - p);
        if (!adopted || memmem(p, n, "(restart needed)", 16) != NULL) {
            buf_put(&task->findings, p, n);
            buf_put_u8(&task->findings, '\n');
        }
        p += n + 1;
    }
}

/* task: who asked and is told, or NULL. */
static void reload(struct daemon *d, struct api_reload *task)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    notify_send("RELOADING=1");
    const struct config *next = config_load(d->options, &text), *adopted = NULL;
    struct ch_target *target = NULL;
    struct seeds *seeds = NULL;
    if (next != NULL && reload_seeds(d, next, &seeds, &text) == 0) {
        buf_reset(&text);
        adopted = config_adopt(d->config, next, &text);
    }
    if (adopted != NULL && targets_differ(d->config, adopted) &&
        (target = target_make(d, adopted)) == NULL) {
        buf_reset(&text);
        buf_put_str(&text, "out of memory");
        config_unref(adopted);
        adopted = NULL;
    }
    struct http_tls_material *tls = NULL;
    struct err e;
    if (adopted != NULL && tls_files_reload(adopted, d->tls, &tls, &e) != 0) {
        buf_reset(&text);
        buf_put_str(&text, e.text);
        config_unref(adopted);
        ch_target_unref(target);
        adopted = NULL;
    }
    if (adopted == NULL) {
        log_lines("config.refused", &text, NULL);
        log_warn("config.refused", "the settings in force stay");
    } else {
        bool waits = text.len > 0 && memmem(text.ptr, text.len, "(restart needed)", 16) != NULL;
        log_lines("config.changed", &text, "(restart needed)");
        adopt(d, adopted, target, tls);
        plant(d, seeds);
        seeds = NULL;
        log_info("config.reloaded", "the new settings are in force%s",
                 waits ? ", except those that need a restart" : "");
    }
    if (task != NULL)
        report(task, adopted != NULL, &text);
    seeds_free(seeds);
    config_unref(next);
    notify_send("READY=1");
    buf_fini(&text);
}

/* On a socket loop. */
static int request_reload(void *ctx, struct api_reload *task)
{
    struct daemon *d = ctx;
    (void)pthread_mutex_lock(&d->config_lock);
    bool taken = !d->stopping;
    if (taken)
        queue_push(&d->reloads, &task->link);
    (void)pthread_mutex_unlock(&d->config_lock);
    return taken ? 0 : WH_ESTOPPED;
}

static void take_reloads(struct daemon *d, bool stopping)
{
    struct queue_link *link;
    while ((link = queue_pop(&d->reloads)) != NULL) {
        struct api_reload *task = QUEUE_ITEM(link, struct api_reload, link);
        task->result = stopping ? WH_ESTOPPED : 0;
        if (!stopping)
            reload(d, task);
        queue_push(task->done, &task->link);
    }
}

/* --- start -------------------------------------------------------------------------------------
 */

/* The control socket of the default path is a convenience of the installed unit: a daemon that is
 * started by hand goes without. One that was asked for must be there. */
static int open_control(struct daemon *d, struct err *e)
{
    const char *path = d->config->server.control_socket;
    bool is_default = strcmp(path, CONFIG_CONTROL_SOCKET) == 0;
    if (*path == '\0')
        return 0;
    struct http_listener *l = &d->listeners[d->listen_count];
    int rc = http_listen_control(path, &l->fd, e);
    if (rc != 0 && is_default) {
        log_info("daemon.control", "%s; going without a control socket (server.control_socket)",
                 e->text);
        return 0;
    }
    if (rc != 0) {
        struct err cause = *e;
        return err_set(e, rc, "%s (server.control_socket)", cause.text);
    }
    l->kind = HTTP_LISTEN_CONTROL;
    d->listen_count++;
    d->has_control = true;
    log_info("daemon.listening", "control=%s", path);
    return 0;
}

static int open_listeners(struct daemon *d, struct err *e)
{
    const struct config *c = d->config;
    int tls = tls_files_load(c, &d->tls, e);
    if (tls != 0)
        return tls;
    if (c->insecure_open)
        log_warn("daemon.open",
                 "--insecure-open: no access control, whoever reaches the port is the operator%s",
                 config_listen_is_loopback(c) ? "" : "; it is open beyond this machine");
    else if (!config_listen_is_loopback(c) && d->tls == NULL)
        log_warn("daemon.plain",
                 "listening beyond loopback without TLS: tokens and keys can be read "
                 "on the way");
    uint16_t port = c->server.port;
    for (uint32_t i = 0; i < c->server.listen_count && i < LISTEN_MAX; i++) {
        struct http_listener *l = &d->listeners[d->listen_count];
        int rc = http_listen(c->server.listen[i], port, &l->fd, &port, e);
        if (rc != 0) {
            struct err cause = *e;
            return err_set(e, rc, "%s (server.listen, server.port)", cause.text);
        }
        l->kind = d->tls != NULL ? HTTP_LISTEN_TLS : HTTP_LISTEN_PLAIN;
        d->listen_count++;
        log_info("daemon.listening", "address=%s port=%u scheme=%s", c->server.listen[i], port,
                 d->tls != NULL ? "https" : "http");
    }
    return open_control(d, e);
}

static int start_clickhouse(struct daemon *d, struct err *e)
{
    const struct config *c = d->start_config;
    d->target = target_make(d, c);
    if (d->target == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    if (!c->clickhouse.embedded)
        return 0;
    const char *program = getenv("WAVEHOUSED_ENGINE"); /* an uninstalled build */
    struct engine_child_options options = {
        .program = program != NULL ? program : ENGINE_PATH,
        .library = c->clickhouse.embedded_library,
        .data_dir = c->data_dir,
        .tcp_port = c->clickhouse.addr[0].port,
        .http_port = c->clickhouse.http_port,
    };
    return engine_child_start(&d->engine, &options, e);
}

static void on_poison(void *ctx, const struct err *e)
{
    struct daemon *d = ctx;
    (void)e;
    uint64_t one = 1;
    atomic_store(&d->api.poisoned, true);
    (void)!write(d->poison_fd, &one, sizeof(one));
}

static int start_log(struct daemon *d, struct err *e)
{
    const struct config *c = d->config;
    struct wal_recovery found = {0};
    (void)snprintf(d->wal_path, sizeof(d->wal_path), "%s/wal", c->data_dir);
    (void)snprintf(d->store_path, sizeof(d->store_path), "%s/store", c->data_dir);
    struct wal_options options = {
        .path = d->wal_path,
        .segment_size_bytes = c->wal.segment_size,
        .group_bytes_max = c->wal.max_group,
        .bytes_max = wal_budget(c),
        .free_bytes_min = c->wal.min_free,
    };
    int rc = wal_open(&d->wal, io_posix(), &options, &found, e);
    if (rc != 0)
        return rc;
    uint8_t id[WAL_LOG_ID_BYTES];
    wal_log_id(d->wal, id);
    for (size_t i = 0; i < sizeof(id); i++)
        (void)snprintf(d->log_id + 2 * i, 3, "%02x", id[i]);
    log_info("wal.recovered",
             "first=%" PRIu64 " last=%" PRIu64 " segments=%" PRIu64 " bytes=%" PRIu64
             " torn_bytes=%" PRIu64 " took_us=%" PRIu64,
             found.first_index, found.last_index, found.segments, found.bytes, found.torn_bytes,
             found.duration_us);
    struct store_options store = {.path = d->store_path};
    rc = store_open(&d->store, &store, e);
    if (rc == 0)
        rc = control_open(&d->control, d->store, e);
    if (rc != 0)
        return rc;
    struct commit_options commit = {
        .queue_cap = PROPOSALS_MAX,
        .term = found.last_term + 1,
        .group_bytes_max = c->wal.max_group,
        .room_ahead_bytes = c->wal.segment_size / 4 * 3,
        .room_reserve_bytes = c->wal.segment_size / 16 < ROOM_RESERVE_BYTES_MAX
                                  ? c->wal.segment_size / 16
                                  : ROOM_RESERVE_BYTES_MAX,
    };
    rc = commit_start(&d->commit, d->wal, &commit, on_poison, d, e);
    if (rc == 0)
        control_start(d->control, d->commit);
    return rc;
}

static int start_rest(struct daemon *d, struct err *e)
{
    const struct config *c = d->config;
    struct discovery_options discovery = {.clickhouse = d->target,
                                          .refresh_interval_ms = c->schema_refresh_ms,
                                          .embedded = c->clickhouse.embedded};
    int rc = discovery_start(&d->discovery, d->store, &discovery, e);
    if (rc != 0)
        return rc;
    struct query_runner_options query;
    query_options_make(d, c, &query);
    rc = query_runner_start(&d->query, &query, e);
    if (rc != 0)
        return rc;
    struct dedupe_options dedupe = {.io = io_posix(),
                                    .path = d->dedupe_path,
                                    .wal = d->wal,
                                    .commit = d->commit,
                                    .store = d->store,
                                    .retention_ns = c->dedupe.retention_ms * NS_PER_MS,
                                    .max_ids = c->dedupe.max_ids};
    (void)snprintf(d->dedupe_path, sizeof(d->dedupe_path), "%s/dedupe", c->data_dir);
    rc = dedupe_start(&d->dedupe, &dedupe, e);
    if (rc != 0)
        return rc;
    struct flush_options flush;
    flush_options_make(d, c, &flush);
    rc = flush_start(&d->flush, &flush, e);
    if (rc != 0)
        return rc;
    struct replay_options replay = {.wal = d->wal,
                                    .commit = d->commit,
                                    .store = d->store,
                                    .flush = d->flush,
                                    .stamp_received = c->ingest.stamp_received,
                                    .catalog = current_catalog,
                                    .request_refresh = request_refresh,
                                    .ctx = d};
    rc = replay_start(&d->replay, &replay, e);
    if (rc != 0)
        return rc;
    struct stream_options stream = {.wal = d->wal,
                                    .commit = d->commit,
                                    .loops = (uint32_t)c->server.threads,
                                    .policy = policy_current,
                                    .policy_version = policy_version,
                                    .catalog = served_catalog,
                                    .catalog_version = catalog_version,
                                    .ctx = d};
    rc = stream_start(&d->stream, &stream, e);
    if (rc != 0)
        return rc;
    d->api.stream = d->stream;
    if (d->seeds != NULL && (rc = seeds_plant(d->seeds, d->control, SEEDS_WAIT_MS, e)) != 0)
        return rc;
    d->api.log = d->commit;
    d->api.wal = d->wal;
    d->api.store = d->store;
    d->api.flush = d->flush;
    d->api.discovery = d->discovery;
    d->api.query = d->query;
    d->api.dedupe = d->dedupe;
    d->api.replay = d->replay;
    d->api.control = d->control;
    atomic_store(&d->api.held_bytes_max, held_budget(d, c));
    d->api.version = BUILD_VERSION;
    d->api.git_commit = BUILD_GIT_COMMIT;
    d->api.build_time = BUILD_TIME;
    d->api.config = config_current;
    d->api.config_ctx = d;
    d->api.tls = tls_current;
    rc = auth_keys_start(&d->api.keys, c, e);
    if (rc != 0)
        return rc;
    warn_keys(c);
    d->api.reload = request_reload;
    d->api.limits = limits_new();
    if (d->api.limits == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    return loops_start(&d->loops, &d->api, c->server.threads, d->listeners, d->listen_count, e);
}

/* Said once and plainly here, rather than by whichever room is the first to need the folder. */
static int check_data_dir(const char *path, struct err *e)
{
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_set_errno(e, -errno,
                             "%s: cannot make this folder (data_dir); make it, owned by the user "
                             "of wavehoused",
                             path);
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        return err_set(e, -ENOTDIR, "%s (data_dir) is not a folder", path);
    if (access(path, R_OK | W_OK | X_OK) != 0)
        return err_set_errno(e, -errno,
                             "%s (data_dir) cannot be used by user id %u; it must be owned by the "
                             "user of wavehoused",
                             path, (unsigned)geteuid());
    return 0;
}

/* First of all: a mistake in these files must not be found with half a daemon running. */
static int read_seeds(struct daemon *d, struct err *e)
{
    struct buf findings;
    buf_init(&findings, SIZE_MAX);
    int rc = seeds_read(&d->seeds, d->config, &d->seeds_back, &findings);
    if (rc != 0) {
        while (findings.len > 0 && findings.ptr[findings.len - 1] == '\n')
            findings.len--;
        (void)err_set(e, rc, "%.*s", SLICE_ARG(buf_slice(&findings)));
    }
    buf_fini(&findings);
    return rc;
}

static int start(struct daemon *d, struct err *e)
{
    int rc = read_seeds(d, e);
    if (rc == 0)
        rc = check_data_dir(d->config->data_dir, e);
    if (rc == 0)
        rc = open_listeners(d, e);
    if (rc == 0)
        rc = start_clickhouse(d, e);
    if (rc == 0)
        rc = start_log(d, e);
    if (rc == 0)
        rc = start_rest(d, e);
    return rc;
}

/* --- run and stop ------------------------------------------------------------------------------
 */

static void update_status(struct daemon *d)
{
    struct flush_stats s;
    char text[256];
    flush_stats_get(d->flush, &s);
    int n = snprintf(text, sizeof(text), "STATUS=%" PRIu64 " rows waiting for ClickHouse (%s)",
                     s.pending_rows, s.reachable ? "reachable" : "unreachable");
    if (n > 0 && (size_t)n < sizeof(text) && s.spool_capacity > 0) {
        size_t left = sizeof(text) - (size_t)n;
        unsigned percent = (unsigned)(s.spool_bytes * 100 / s.spool_capacity);
        if (!s.reachable && s.spool_hours_left < FLUSH_SPOOL_HOURS_MAX)
            (void)snprintf(text + n, left, "; log %u %% full, %.1f hours left", percent,
                           s.spool_hours_left);
        else if (s.backlog_rows > 0)
            (void)snprintf(text + n, left, "; catching up, %" PRIu64 " s left", s.backlog_eta_s);
    }
    notify_send(text);
}

/* Until a signal says stop or the log fails. */
static void run(struct daemon *d)
{
    for (;;) {
        struct pollfd p[3] = {{.fd = d->signal_fd, .events = POLLIN},
                              {.fd = d->poison_fd, .events = POLLIN},
                              {.fd = queue_fd(&d->reloads), .events = POLLIN}};
        int n = queue_sleep(&d->reloads) ? poll(p, 3, STATUS_EVERY_MS) : -1;
        queue_wake_ack(&d->reloads);
        take_reloads(d, false);
        if (n == 0)
            update_status(d);
        if (p[1].revents != 0) {
            d->failed = true;
            return;
        }
        struct signalfd_siginfo si;
        if (p[0].revents == 0 || read(d->signal_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
            continue;
        if (si.ssi_signo == SIGHUP) {
            reload(d, NULL);
        } else {
            log_info("daemon.drain", "signal=%" PRIu32 "; a second one stops at once",
                     si.ssi_signo);
            return;
        }
    }
}

static void *second_signal_main(void *arg)
{
    struct daemon *d = arg;
    struct signalfd_siginfo si;
    struct pollfd p = {.fd = d->signal_fd, .events = POLLIN};
    for (;;) {
        if (poll(&p, 1, -1) == 1 && read(d->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si) &&
            si.ssi_signo != SIGHUP) {
            log_warn("daemon.stopped", "second signal: stopped at once; what was acknowledged is "
                                       "in the log");
            _exit(DAEMON_FAILED);
        }
    }
    return NULL;
}

static void stop(struct daemon *d)
{
    uint64_t timeout_ms = d->config->server.shutdown_timeout_ms;
    uint64_t until = io_monotonic_ns() + timeout_ms * 1000000;
    notify_send("STOPPING=1");
    (void)pthread_mutex_lock(&d->config_lock);
    d->stopping = true;
    (void)pthread_mutex_unlock(&d->config_lock);
    take_reloads(d, true);
    replay_drain(d->replay);
    if (d->loops != NULL)
        loops_stop(d->loops, timeout_ms);
    for (int i = 0; i < d->listen_count; i++)
        (void)close(d->listeners[i].fd);
    if (d->has_control)
        (void)unlink(d->start_config->server.control_socket);
    uint64_t now = io_monotonic_ns(), left_ms = until > now ? (until - now) / 1000000 : 0;
    /* Slow clients may have used the time up: an insert under way still gets its moment. */
    left_ms = left_ms > FLUSH_STOP_MS_MIN ? left_ms : FLUSH_STOP_MS_MIN;
    replay_stop(d->replay);
    if (d->flush != NULL && flush_stop(d->flush, left_ms) != 0) {
        /* A sender hangs in ClickHouse. Everything that it uses must stay; the process ends. */
        log_warn("daemon.stopped", "an insert did not end within server.shutdown_timeout; it is "
                                   "repeated at the next start");
        (void)fflush(NULL);
        _exit(d->failed ? DAEMON_FAILED : DAEMON_OK);
    }
    if (d->query != NULL)
        query_runner_stop(d->query);
    stream_stop(d->stream); /* it reads what discovery has */
    if (d->discovery != NULL)
        discovery_stop(d->discovery);
    if (d->dedupe != NULL)
        dedupe_stop(d->dedupe);
    if (d->commit != NULL)
        commit_stop(d->commit);
    control_stop(d->control);
    auth_keys_stop(d->api.keys);
    seeds_free(d->seeds);
    if (d->loops != NULL)
        loops_free(d->loops);
    stream_free(d->stream);
    query_runner_free(d->query);
    auth_keys_free(d->api.keys);
    limits_free(d->api.limits);
    dedupe_free(d->dedupe);
    control_free(d->control);
    if (d->wal != NULL)
        wal_close(d->wal);
    if (d->store != NULL)
        store_close(d->store);
    if (d->engine != NULL)
        engine_child_stop(d->engine);
    ch_target_unref(d->target);
    http_tls_material_unref(d->tls);
}

static int prepare_signals(struct daemon *d, struct err *e)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    /* Before any thread starts: all of them inherit the mask. */
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    d->poison_fd = eventfd(0, EFD_CLOEXEC);
    if (d->signal_fd < 0 || d->poison_fd < 0)
        return err_set_errno(e, -errno, "preparing signals");
    return 0;
}

int daemon_run(const struct config_options *options, const struct config *config)
{
    static struct daemon d;
    struct err e = {0};
    d.options = options;
    d.config = config;
    d.start_config = config_ref(config);
    (void)pthread_mutex_init(&d.config_lock, NULL);
    log_configure(config->log_level, config->log_format);
    if (queue_init(&d.reloads, SIZE_MAX) != 0 || queue_init(&d.seeds_back, SIZE_MAX) != 0) {
        log_error("daemon.failed", "cannot make a queue: %s", strerror(errno));
        return DAEMON_FAILED;
    }
    int rc = prepare_signals(&d, &e);
    if (rc == 0)
        rc = start(&d, &e);
    if (rc == 0) {
        log_info("daemon.ready", "version=%s data_dir=%s log_id=%s", BUILD_VERSION,
                 config->data_dir, d.log_id);
        notify_send("READY=1");
        run(&d);
    } else {
        log_error("daemon.failed", "%s", e.text);
        d.failed = true;
    }
    pthread_t watcher;
    if (pthread_create(&watcher, NULL, second_signal_main, &d) == 0)
        (void)pthread_detach(watcher);
    stop(&d);
    log_info("daemon.stopped", "%s", d.failed ? "after a failure" : "clean");
    return d.failed ? DAEMON_FAILED : DAEMON_OK;
}
