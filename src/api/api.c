/* SPDX-License-Identifier: Apache-2.0 */
#include "api/auth.h"
#include "api/door_clickhouse.h"
#include "api/ingest.h"
#include "api/query_priv.h"
#include "api/route.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"

#include <errno.h>
#include <stdlib.h>

#define API_MAGIC       0x4150494cu
#define SHRINK_EVERY_MS 5000
#define ACK_EVERY_MS    200 /* how exact X-Ack-Timeout is */
#define BODY_MAX_OTHER  LIMIT_OPS_BODY_BYTES
#define TEXT_KEEP_BYTES (64 * KIB)
#define SENDER_MAX      1024

struct route {
    const char *path; /* {name}: a parameter (route.h) */
    enum http_method method;
    api_handler handler;            /* or: */
    const struct ingest_door *door; /* a way for events in */
};

/* http-api §5, what exists so far. Paths with parameters come last: a path that is spelt out is
 * never one of theirs, whatever the method. */
static const struct route routes[] = {
    {"/v1/ingest", HTTP_POST, NULL, &door_wavehouse},
    {"/", HTTP_POST, NULL, &door_clickhouse},
    {"/", HTTP_GET, door_clickhouse_get, NULL},
    {"/ping", HTTP_GET, door_clickhouse_ping, NULL},
    {"/livez", HTTP_GET, ops_livez, NULL},
    {"/healthz", HTTP_GET, ops_livez, NULL},
    {"/health", HTTP_GET, ops_livez, NULL},
    {"/readyz", HTTP_GET, ops_readyz, NULL},
    {"/ready", HTTP_GET, ops_readyz, NULL},
    {"/v1/health", HTTP_GET, ops_v1_health, NULL},
    {"/version", HTTP_GET, ops_version, NULL},
    {"/openapi.json", HTTP_GET, ops_openapi, NULL},
    {"/v1/offset", HTTP_GET, ops_offset, NULL},
    {"/v1/stream", HTTP_GET, api_stream, NULL},
    {"/v1/schema/suggest", HTTP_POST, ops_suggest, NULL},
    {"/v1/query", HTTP_POST, query_route, NULL},
    {"/v1/query.csv", HTTP_POST, query_route, NULL},
    {"/v1/query.ndjson", HTTP_POST, query_route, NULL},
    {"/v1/ops/query", HTTP_POST, sql_route, NULL},
    {"/v1/ops/schema", HTTP_GET, ops_schema, NULL},
    {"/v1/ops/schema/refresh", HTTP_POST, ops_schema_refresh, NULL},
    {"/v1/ops/dlq/stats", HTTP_GET, ops_dlq_stats, NULL},
    {"/v1/ops/dlq", HTTP_GET, ops_dlq_list, NULL},
    {"/v1/ops/dlq", HTTP_DELETE, ops_dlq_purge, NULL},
    {"/v1/ops/dlq/replay", HTTP_POST, ops_dlq_replay, NULL},
    {"/v1/ops/drift", HTTP_GET, ops_drift, NULL},
    {"/v1/ops/replay", HTTP_POST, ops_replay_start, NULL},
    {"/v1/ops/replay", HTTP_GET, ops_replay_list, NULL},
    {"/v1/ops/policy", HTTP_GET, ops_policy_get, NULL},
    {"/v1/ops/policy", HTTP_PUT, ops_policy_put, NULL},
    {"/v1/ops/policy/validate", HTTP_POST, ops_policy_validate, NULL},
    {"/v1/ops/pipes", HTTP_GET, ops_pipe_list, NULL},
    {"/v1/ops/pipes/", HTTP_PUT, ops_pipe_put_unnamed, NULL},
    {"/v1/ops/settings/reload", HTTP_POST, ops_settings_reload, NULL},
    {"/v1/pipes/{name}", HTTP_GET, pipe_route, NULL},
    {"/v1/pipes/{name}", HTTP_POST, pipe_route, NULL},
    {"/v0/pipes/{name}", HTTP_GET, pipe_route, NULL},
    {"/v0/pipes/{name}", HTTP_POST, pipe_route, NULL},
    {"/v1/ops/dlq/{id}", HTTP_GET, ops_dlq_show, NULL},
    {"/v1/ops/dlq/{id}", HTTP_PUT, ops_dlq_edit, NULL},
    {"/v1/ops/dlq/{id}", HTTP_DELETE, ops_dlq_purge_one, NULL},
    {"/v1/ops/replay/{job}", HTTP_GET, ops_replay_show, NULL},
    {"/v1/ops/replay/{job}", HTTP_DELETE, ops_replay_cancel, NULL},
    {"/v1/ops/pipes/{name}", HTTP_GET, ops_pipe_get, NULL},
    {"/v1/ops/pipes/{name}", HTTP_PUT, ops_pipe_put, NULL},
    {"/v1/ops/pipes/{name}", HTTP_DELETE, ops_pipe_delete, NULL},
};
#define ROUTE_COUNT (sizeof(routes) / sizeof(routes[0]))

static bool method_matches(enum http_method want, enum http_method got)
{
    return want == got || (want == HTTP_GET && got == HTTP_HEAD);
}

static const struct route metrics_route = {NULL, HTTP_GET, ops_metrics, NULL};

/* Doors can be closed: then their paths are unknown. */
static bool is_open(const struct api_loop *a, const struct route *route)
{
    bool clickhouse = route->door == &door_clickhouse || route->handler == door_clickhouse_get ||
                      route->handler == door_clickhouse_ping;
    if (route->handler == api_stream)
        return a->stream != NULL;
    return !clickhouse || a->config->doors.clickhouse;
}

/* With a port of their own the metrics are not at the API's, but still at the control socket. */
static bool serves_metrics(const struct api_loop *a, const struct http_request *r)
{
    return a->config->prometheus.enabled && (r->is_control || !config_metrics_apart(a->config));
}

static const struct route *metrics_find(const struct api_loop *a, const struct http_request *r,
                                        bool *known_path)
{
    if (!slice_eq_str(r->path, a->config->prometheus.path))
        return NULL;
    *known_path = true;
    return method_matches(HTTP_GET, r->method) ? &metrics_route : NULL;
}

/* The route, or NULL with *known_path telling a wrong method from a wrong path. */
static const struct route *route_find(struct api_loop *a, const struct http_request *r,
                                      bool *known_path)
{
    bool spelt_out = false;
    *known_path = false;
    a->param = (struct slice){NULL, 0};
    a->route = NULL;
    if (r->label == API_METRICS_ONLY)
        return metrics_find(a, r, known_path);
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (!is_open(a, &routes[i]))
            continue;
        if (slice_eq_str(r->path, routes[i].path))
            spelt_out = true;
        else if (spelt_out || !route_match(routes[i].path, r->path, &a->param))
            continue;
        *known_path = true;
        a->route = routes[i].path;
        if (method_matches(routes[i].method, r->method))
            return &routes[i];
    }
    return serves_metrics(a, r) ? metrics_find(a, r, known_path) : NULL;
}

static void reply_unrouted(struct http_request *r, bool known_path)
{
    if (known_path)
        http_reply_error(r, 405, SLICE_LIT("method not allowed"), 0);
    else
        http_reply_error(r, 404, SLICE_LIT("not found"), 0);
}

bool api_param(struct api_loop *a, struct http_request *r)
{
    buf_reset(&a->name);
    if (http_percent_decode(a->param, false, &a->name) == 0)
        return true;
    http_reply_error(r, 400, SLICE_LIT("invalid percent-encoding in the path"), 0);
    return false;
}

static int on_head(void *ctx, struct http_request *r, struct http_admit *admit)
{
    struct api_loop *a = ctx;
    api_refresh(a);
    bool known_path;
    const struct route *route = route_find(a, r, &known_path);
    bool elsewhere = r->label == API_METRICS_ONLY && route == NULL; /* not there for anybody */
    if (!elsewhere && !ops_gate(a, r))
        return 1;
    if (route == NULL) {
        reply_unrouted(r, known_path);
        return 1;
    }
    if (route->door != NULL)
        return ingest_on_head(a, route->door, r, admit);
    if ((route->handler == query_route && !query_on_head(a, r)) ||
        (route->handler == pipe_route && !pipe_on_head(a, r)))
        return 1;
    /* A record that came in by ingest must be able to come back edited. */
    admit->body_max = route->handler == ops_dlq_edit ? LIMIT_RECORD_BYTES
                      : route->handler == sql_route  ? LIMIT_SQL_BODY_BYTES
                                                     : BODY_MAX_OTHER;
    return 0;
}

static void on_request(void *ctx, struct http_request *r)
{
    struct api_loop *a = ctx;
    api_refresh(a);
    bool known_path;
    const struct route *route = route_find(a, r, &known_path);
    if (route == NULL)
        reply_unrouted(r, known_path); /* a reload took the route away in between */
    else if (route->door != NULL)
        ingest_on_request(a, route->door, r);
    else
        route->handler(a, r);
}

void api_again(struct api_loop *a, struct http_request *r)
{
    on_request(a, r);
}

void api_reply_text(struct api_loop *a, struct http_request *r, int status)
{
    if (!buf_ok(&a->text)) {
        http_reply_error(r, 500, SLICE_LIT("internal server error"), 0);
        return;
    }
    struct http_reply reply = {.status = status,
                               .content_type = "application/json",
                               .body = buf_slice(&a->text)};
    http_reply(r, &reply);
}

/* Connections that are open keep the certificate that they began with. */
static int tls_make(struct api_loop *a)
{
    struct http_tls_material *m =
        a->shared->tls != NULL ? a->shared->tls(a->shared->config_ctx) : NULL;
    if (m == NULL || m == a->tls_material) {
        http_tls_material_unref(m);
        return 0;
    }
    struct err e;
    struct http_tls_context *x;
    int rc = http_tls_context_new(&x, m, &e);
    if (rc != 0) {
        log_error("tls.refused", "%s; the certificate in force stays", e.text);
        http_tls_material_unref(m);
        return rc;
    }
    http_tls_material_unref(a->tls_material);
    http_tls_context_unref(a->tls);
    a->tls_material = m;
    a->tls = x;
    return 0;
}

/* The parts of the configuration that the http room needs, in its own terms. */
static int http_options_make(struct api_loop *a)
{
    const struct config *c = a->config;
    struct slice *origins = NULL;
    bool any = false;
    int rc = tls_make(a);
    if (rc != 0 && a->tls == NULL)
        return rc;
    if (c->cors.allowed_origin_count > 0) {
        origins = calloc(c->cors.allowed_origin_count, sizeof(*origins));
        if (origins == NULL)
            return -ENOMEM;
    }
    for (uint32_t i = 0; i < c->cors.allowed_origin_count; i++) {
        origins[i] = slice_str(c->cors.allowed_origins[i]);
        any = any || slice_eq_str(origins[i], "*");
    }
    uint32_t per_loop = c->server.max_connections / c->server.threads;
    a->http_options = (struct http_options){
        .connections_max = per_loop > 0 ? per_loop : 1,
        .idle_timeout_ms = c->server.idle_timeout_ms,
        .header_timeout_ms = c->server.header_timeout_ms,
        .body_timeout_ms = c->server.body_timeout_ms,
        .tls = a->tls,
        .cors_any = any,
        .cors_origins = origins,
        .cors_origin_count = c->cors.allowed_origin_count,
    };
    if (a->server != NULL)
        http_server_reconfigure(a->server, &a->http_options);
    free(a->cors_origins);
    a->cors_origins = origins;
    return 0;
}

static void config_refresh(struct api_loop *a, uint64_t version)
{
    const struct config *old = a->config;
    a->config = a->shared->config(a->shared->config_ctx);
    a->config_version = version;
    if (http_options_make(a) != 0)
        log_error("config.refused", "out of memory while a socket loop took up the new settings");
    if (a->stream != NULL) {
        struct stream_settings settings = api_stream_settings(a->config);
        stream_loop_reload(a->stream, &settings);
    }
    /* The http room points into the old snapshot until http_options_make has replaced it. */
    config_unref(old);
}

void api_refresh(struct api_loop *a)
{
    uint64_t version = atomic_load_explicit(&a->shared->config_version, memory_order_acquire);
    if (version != a->config_version)
        config_refresh(a, version);
    version = discovery_version(a->shared->discovery);
    if (version != a->catalog_version) {
        schema_catalog_unref(a->catalog);
        a->catalog = discovery_catalog(a->shared->discovery);
        a->catalog_version = version;
    }
    api_auth_settle(a);
    if (a->shared->control == NULL)
        return;
    version = control_version(a->shared->control);
    if (version != a->control_version || a->control == NULL) {
        control_snapshot_unref(a->control);
        a->control = control_current(a->shared->control);
        a->control_version = control_snapshot_version(a->control);
    }
}

struct json_reader *ops_reader(struct api_loop *a)
{
    if (a->ops_reader == NULL)
        a->ops_reader = json_reader_new(LIMIT_INGEST_BODY_BYTES_HARD);
    a->ops_reader_used = true;
    return a->ops_reader;
}

static void on_timer(void *arg)
{
    struct api_loop *a = arg;
    api_refresh(a);
    ingest_shrink(a);
    ch_verdict_shrink(a->verdict);
    door_clickhouse_shrink(a);
    api_auth_timer(a);
    if (!a->ops_reader_used) {
        json_reader_free(a->ops_reader);
        a->ops_reader = NULL;
    }
    a->ops_reader_used = false;
    if (a->text.cap > TEXT_KEEP_BYTES) {
        buf_fini(&a->text);
        buf_init(&a->text, SIZE_MAX);
    }
    if (a->metrics_text.cap > TEXT_KEEP_BYTES) {
        buf_fini(&a->metrics_text);
        buf_init(&a->metrics_text, SIZE_MAX);
        a->metrics_ns = 0;
    }
}

static void metrics_make(struct api_metrics *m)
{
    static const char rejected[] = "wavehouse_ingest_rejected_total";
    static const char rejected_help[] = "Records or requests that were not accepted.";
    m->ingest_seconds = metric_new(METRIC_SECONDS, "wavehouse_ingest_duration_seconds",
                                   "From the request's head to its answer.", NULL);
    m->ingest_records =
        metric_new(METRIC_COUNTER, "wavehouse_ingest_records_total", "Records committed.", NULL);
    m->ingest_bytes = metric_new(METRIC_COUNTER, "wavehouse_ingest_bytes_total",
                                 "Body bytes of requests that reached the log.", NULL);
    m->ingest_held = metric_new(METRIC_COUNTER, "wavehouse_ingest_held_total",
                                "Records accepted that wait for a column.", NULL);
    m->ingest_unknown_ignored =
        metric_new(METRIC_COUNTER, "wavehouse_ingest_unknown_columns_ignored_total",
                   "Keys dropped under ingest.unknown_columns: ignore.", NULL);
    m->rejected_value = metric_new(METRIC_COUNTER, rejected, rejected_help, "reason=\"value\"");
    m->rejected_json = metric_new(METRIC_COUNTER, rejected, rejected_help, "reason=\"json\"");
    m->rejected_record = metric_new(METRIC_COUNTER, rejected, rejected_help, "reason=\"record\"");
    m->rejected_request = metric_new(METRIC_COUNTER, rejected, rejected_help, "reason=\"request\"");
    m->rejected_log = metric_new(METRIC_COUNTER, rejected, rejected_help, "reason=\"log\"");
    static const char acks[] = "wavehouse_ingest_ack_total";
    static const char acks_help[] = "Answers to X-Ack: clickhouse, by what they say.";
    m->ack_clickhouse = metric_new(METRIC_COUNTER, acks, acks_help, "ack=\"clickhouse\"");
    m->ack_committed = metric_new(METRIC_COUNTER, acks, acks_help, "ack=\"committed\"");
    m->rejected_limit = metric_new(METRIC_COUNTER, rejected, rejected_help, "reason=\"limit\"");
    m->rejected_denied = metric_new(METRIC_COUNTER, rejected, rejected_help, "reason=\"denied\"");
    m->ack_refused = metric_new(METRIC_COUNTER, rejected, rejected_help, "reason=\"ack\"");
    m->ack_waiting = metric_new(METRIC_GAUGE, "wavehouse_ingest_ack_waiting",
                                "Requests that wait for their records to be in ClickHouse.", NULL);
    m->in_flight_refused =
        metric_new(METRIC_COUNTER, rejected, rejected_help, "reason=\"in_flight\"");
}

int api_loop_new(struct api_loop **out, struct api_shared *shared, struct loop *loop,
                 const struct http_listener *listeners, int listen_count, struct err *e)
{
    struct api_loop *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return err_set_errno(e, -ENOMEM, "making a socket loop");
    a->magic = API_MAGIC;
    a->shared = shared;
    a->loop = loop;
    a->committed.fd = a->discovered.fd = a->replayed.fd = a->controlled.fd = a->reloaded.fd =
        a->watched.fd = a->offsets.fd = -1;
    buf_init(&a->name, LIMIT_NAME_BYTES);
    buf_init(&a->text, SIZE_MAX);
    buf_init(&a->metrics_text, SIZE_MAX);
    buf_init(&a->refusal, SIZE_MAX);
    buf_init(&a->sender, SENDER_MAX);
    metrics_make(&a->metrics);
    a->config_version = atomic_load(&shared->config_version);
    a->config = shared->config(shared->config_ctx);
    a->readers = ingest_readers_new();
    a->checker = record_checker_new();
    a->verdict = ch_verdict_new();
    int rc = a->readers == NULL || a->checker == NULL || a->verdict == NULL ? -ENOMEM
                                                                            : http_options_make(a);
    if (rc == 0)
        rc = api_auth_new(a);
    if (rc == 0)
        rc = ingest_access_loop_new(a);
    if (rc == 0)
        rc = queue_init(&a->committed, SIZE_MAX);
    if (rc == 0)
        rc = queue_init(&a->discovered, SIZE_MAX);
    if (rc == 0)
        rc = queue_init(&a->replayed, SIZE_MAX);
    if (rc == 0)
        rc = queue_init(&a->controlled, SIZE_MAX);
    if (rc == 0)
        rc = queue_init(&a->reloaded, SIZE_MAX);
    if (rc == 0)
        rc = queue_init(&a->watched, SIZE_MAX);
    if (rc == 0)
        rc = queue_init(&a->offsets, SIZE_MAX);
    if (rc == 0)
        rc = loop_watch_queue(loop, &a->watched, ingest_on_watched, a);
    if (rc == 0)
        rc = loop_watch_queue(loop, &a->offsets, ops_on_offsets, a);
    if (rc == 0)
        rc = loop_every(loop, ACK_EVERY_MS, ingest_ack_timer, a);
    if (rc == 0)
        rc = loop_watch_queue(loop, &a->committed, ingest_on_committed, a);
    if (rc == 0)
        rc = loop_watch_queue(loop, &a->discovered, ops_on_discovered, a);
    if (rc == 0)
        rc = loop_watch_queue(loop, &a->replayed, ops_on_replayed, a);
    if (rc == 0)
        rc = loop_watch_queue(loop, &a->controlled, ops_on_controlled, a);
    if (rc == 0)
        rc = loop_watch_queue(loop, &a->reloaded, ops_on_reloaded, a);
    if (rc == 0)
        rc = ingest_dedupe_loop_new(a);
    if (rc == 0)
        rc = query_loop_new(a);
    if (rc == 0)
        rc = loop_on_idle(loop, ingest_kick, a);
    if (rc == 0)
        rc = ingest_turns_new(a);
    if (rc == 0)
        rc = loop_every(loop, SHRINK_EVERY_MS, on_timer, a);
    if (rc != 0) {
        api_loop_free(a);
        return err_set_errno(e, rc, "making a socket loop");
    }
    if (shared->stream != NULL) {
        struct stream_settings settings = api_stream_settings(a->config);
        rc = stream_loop_new(&a->stream, shared->stream, loop, &settings, e);
        if (rc != 0) {
            api_loop_free(a);
            return rc;
        }
    }
    struct http_handler handler = {.ctx = a, .on_head = on_head, .on_request = on_request};
    rc = http_server_new(&a->server, loop_base(loop), listeners, listen_count, &handler,
                         &a->http_options, e);
    if (rc != 0) {
        api_loop_free(a);
        return rc;
    }
    *out = a;
    return 0;
}

void api_loop_drain(struct api_loop *a, void (*on_drained)(void *arg), void *arg)
{
    CHECK_MAGIC(a, API_MAGIC);
    ingest_ack_drain(a);
    http_server_drain(a->server, on_drained, arg);
}

void api_loop_free(struct api_loop *a)
{
    if (a == NULL)
        return;
    CHECK_MAGIC(a, API_MAGIC);
    if (a->server != NULL)
        http_server_free(a->server);
    stream_loop_free(a->stream);
    a->stopping = true;
    /* Answers to requests whose connections are gone now: dropped by http, but they end here. */
    if (a->committed.fd >= 0)
        ingest_on_committed(a);
    if (a->discovered.fd >= 0)
        ops_on_discovered(a);
    if (a->watched.fd >= 0)
        ingest_on_watched(a);
    if (a->offsets.fd >= 0)
        ops_on_offsets(a);
    if (a->replayed.fd >= 0)
        ops_on_replayed(a);
    if (a->controlled.fd >= 0)
        ops_on_controlled(a);
    if (a->reloaded.fd >= 0)
        ops_on_reloaded(a);
    ingest_turns_free(a);
    ingest_dedupe_loop_free(a);
    query_loop_free(a);
    ingest_access_loop_free(a);
    json_reader_free(a->ops_reader);
    ingest_free_all(a);
    ingest_readers_free(a->readers);
    door_clickhouse_free(a);
    record_checker_free(a->checker);
    ch_verdict_free(a->verdict);
    schema_catalog_unref(a->catalog);
    api_auth_free(a);
    control_snapshot_unref(a->control);
    config_unref(a->config);
    free(a->cors_origins);
    http_tls_context_unref(a->tls);
    http_tls_material_unref(a->tls_material);
    buf_fini(&a->name);
    buf_fini(&a->text);
    buf_fini(&a->metrics_text);
    ops_openapi_free(a);
    buf_fini(&a->refusal);
    buf_fini(&a->sender);
    if (a->committed.fd >= 0)
        queue_fini(&a->committed);
    if (a->discovered.fd >= 0)
        queue_fini(&a->discovered);
    if (a->watched.fd >= 0)
        queue_fini(&a->watched);
    if (a->offsets.fd >= 0)
        queue_fini(&a->offsets);
    if (a->replayed.fd >= 0)
        queue_fini(&a->replayed);
    if (a->controlled.fd >= 0)
        queue_fini(&a->controlled);
    if (a->reloaded.fd >= 0)
        queue_fini(&a->reloaded);
    a->magic = 0;
    free(a);
}
