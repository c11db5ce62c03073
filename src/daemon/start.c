/* SPDX-License-Identifier: Apache-2.0 */
/* Start order: listeners bound (a taken port shows at once) → embedded engine → log recovered →
 * store → log thread → discovery → dedup index → flusher → socket loops. */
#include "daemon/daemon_priv.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROPOSALS_MAX          65536
#define ROOM_RESERVE_BYTES_MAX (256 * KIB)

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

static struct schema_catalog *served_catalog(void *ctx)
{
    return discovery_catalog(((struct daemon *)ctx)->discovery);
}

static uint64_t catalog_version(void *ctx)
{
    return discovery_version(((struct daemon *)ctx)->discovery);
}

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

/* Every address of server.listen at this port; keys: the settings that say so. */
static int open_port(struct daemon *d, uint16_t port, uint8_t label, const char *keys,
                     struct err *e)
{
    const struct config *c = d->config;
    for (uint32_t i = 0; i < c->server.listen_count && i < DAEMON_LISTEN_MAX; i++) {
        struct http_listener *l = &d->listeners[d->listen_count];
        int rc = http_listen(c->server.listen[i], port, &l->fd, &port, e);
        if (rc != 0) {
            struct err cause = *e;
            return err_set(e, rc, "%s (%s)", cause.text, keys);
        }
        l->kind = d->tls != NULL ? HTTP_LISTEN_TLS : HTTP_LISTEN_PLAIN;
        l->label = label;
        d->listen_count++;
        log_info("daemon.listening", "address=%s port=%u scheme=%s%s", c->server.listen[i], port,
                 d->tls != NULL ? "https" : "http",
                 label == API_METRICS_ONLY ? " for=metrics" : "");
    }
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
    int rc = open_port(d, c->server.port, 0, "server.listen, server.port", e);
    if (rc == 0 && config_metrics_apart(c))
        rc =
            open_port(d, c->prometheus.port, API_METRICS_ONLY, "server.listen, prometheus.port", e);
    return rc != 0 ? rc : open_control(d, e);
}

static int start_clickhouse(struct daemon *d, struct err *e)
{
    const struct config *c = d->start_config;
    struct ch_tls *tls;
    int rc = tls_files_clickhouse(c, &tls, e);
    if (rc != 0)
        return rc;
    d->target = daemon_target_make(d, c, tls);
    ch_tls_unref(tls);
    if (d->target == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    daemon_warn_clickhouse(c);
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
        .bytes_max = daemon_wal_budget(c),
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
    daemon_query_options(d, c, &query);
    rc = query_runner_start(&d->query, &query, e);
    if (rc != 0)
        return rc;
    struct dedupe_options dedupe = {.io = io_posix(),
                                    .path = d->dedupe_path,
                                    .wal = d->wal,
                                    .commit = d->commit,
                                    .store = d->store,
                                    .retention_ns = c->dedupe.retention_ms * DAEMON_NS_PER_MS,
                                    .max_ids = c->dedupe.max_ids};
    (void)snprintf(d->dedupe_path, sizeof(d->dedupe_path), "%s/dedupe", c->data_dir);
    rc = dedupe_start(&d->dedupe, &dedupe, e);
    if (rc != 0)
        return rc;
    struct flush_options flush;
    daemon_flush_options(d, c, &flush);
    rc = flush_start(&d->flush, &flush, e);
    if (rc != 0)
        return rc;
    struct replay_options replay = {.wal = d->wal,
                                    .commit = d->commit,
                                    .store = d->store,
                                    .flush = d->flush,
                                    .stamp_received = c->ingest.stamp_received,
                                    .catalog = daemon_target_catalog,
                                    .request_refresh = daemon_request_refresh,
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
    if (d->seeds != NULL && (rc = seeds_plant(d->seeds, d->control, DAEMON_SEEDS_WAIT_MS, e)) != 0)
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
    atomic_store(&d->api.held_bytes_max, daemon_held_budget(d, c));
    d->api.version = BUILD_VERSION;
    d->api.git_commit = BUILD_GIT_COMMIT;
    d->api.build_time = BUILD_TIME;
    d->api.config = daemon_config;
    d->api.config_ctx = d;
    d->api.tls = tls_current;
    rc = auth_keys_start(&d->api.keys, c, e);
    if (rc != 0)
        return rc;
    daemon_warn_keys(c);
    d->api.reload = daemon_request_reload;
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

int daemon_start(struct daemon *d, struct err *e)
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
