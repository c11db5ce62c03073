/* SPDX-License-Identifier: Apache-2.0 */
/* Health, version, metrics, schema (http-api §6, §12). */
#include "api/auth.h"
#include "flush/flush.h"
#include "flush/spool.h"
#include "io/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CAUSE_CAP 1024

static bool is_for_operators(struct slice path)
{
    static const char ops[] = "/v1/ops";
    size_t n = sizeof(ops) - 1;
    if (path.len >= n && memcmp(path.ptr, ops, n) == 0 && (path.len == n || path.ptr[n] == '/'))
        return true;
    return slice_eq_str(path, "/v1/schema/suggest");
}

bool ops_gate(struct api_loop *a, struct http_request *r)
{
    struct api_identity id;
    if (!is_for_operators(r->path))
        return true;
    if (a->route == NULL)
        a->route = "/v1/ops/";
    if (!api_identify(a, r, &id))
        return false;
    bool may = api_gate_ops(a, r, &id);
    api_identity_fini(&id);
    return may;
}

/* --- health -------------------------------------------------------------------------------- */

/* False, with the cause as a sentence, while there is no schema or the log has failed. */
static bool is_live(struct api_loop *a, char *cause, size_t cap)
{
    if (atomic_load(&a->shared->poisoned)) {
        (void)snprintf(cause, cap, "log: a write or sync failed; the daemon is stopping");
        return false;
    }
    if (a->catalog != NULL)
        return true;
    static const char prefix[] = "schema discovery: ";
    memcpy(cause, prefix, sizeof(prefix));
    (void)discovery_pending_cause(a->shared->discovery, cause + sizeof(prefix) - 1,
                                  cap - sizeof(prefix) + 1);
    return false;
}

/* What waits in the log, and for how long it will do (flush/spool.h): members beside those of
 * http-api §6. */
static void put_spool(struct api_loop *a)
{
    struct flush_stats s;
    if (a->shared->flush == NULL)
        return;
    flush_stats_get(a->shared->flush, &s);
    buf_printf(&a->text,
               ",\"spool\":{\"pending_records\":%" PRIu64 ",\"bytes\":%" PRIu64
               ",\"capacity_bytes\":%" PRIu64
               ",\"in_bytes_per_second\":%.0f,\"growth_bytes_per_second\":%.0f,\"hours_left\":",
               s.pending_rows, s.spool_bytes, s.spool_capacity, s.spool_in_per_s,
               s.spool_growth_per_s);
    if (s.spool_capacity > 0 && s.spool_hours_left < FLUSH_SPOOL_HOURS_MAX)
        buf_printf(&a->text, "%.1f", s.spool_hours_left);
    else
        buf_put_slice(&a->text, SLICE_LIT("null"));
    buf_printf(&a->text, ",\"backlog_records\":%" PRIu64 ",\"backlog_eta_seconds\":%" PRIu64 "}",
               s.backlog_rows, s.backlog_eta_s);
}

static void reply_status(struct api_loop *a, struct http_request *r, int status, const char *word,
                         const char *cause, bool with_spool)
{
    buf_reset(&a->text);
    buf_printf(&a->text, "{\"status\":\"%s\"", word);
    if (cause != NULL) {
        buf_put_slice(&a->text, SLICE_LIT(",\"error\":"));
        buf_put_json_string(&a->text, slice_str(cause));
    }
    if (with_spool)
        put_spool(a);
    buf_put_u8(&a->text, '}');
    api_reply_text(a, r, status);
}

void ops_livez(struct api_loop *a, struct http_request *r)
{
    char cause[CAUSE_CAP];
    if (is_live(a, cause, sizeof(cause)))
        http_reply_json_const(r, SLICE_LIT("{\"status\":\"ok\"}"));
    else
        reply_status(a, r, 503, "degraded", cause, false);
}

void ops_v1_health(struct api_loop *a, struct http_request *r)
{
    char cause[CAUSE_CAP];
    struct http_reply reply = {.status = is_live(a, cause, sizeof(cause)) ? 200 : 503};
    http_reply(r, &reply);
}

/* --- questions to the discovery thread ----------------------------------------------------- */

struct ops_task {
    struct discovery_task task;
    struct http_request *request;
};

static void ask(struct api_loop *a, struct http_request *r, enum discovery_task_kind kind)
{
    struct ops_task *t = calloc(1, sizeof(*t));
    if (t != NULL) {
        t->task.kind = kind;
        t->task.done = &a->discovered;
        t->request = r;
        if (discovery_ask(a->shared->discovery, &t->task) == 0)
            return;
        free(t);
    }
    http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
}

/* Ids of earlier runs are read, or no table has any use for them. */
static bool ids_known(struct api_loop *a)
{
    bool wanted = a->config->table_rest.dedupe.enabled;
    for (uint32_t i = 0; i < a->config->table_count; i++)
        wanted = wanted || a->config->tables[i].dedupe.enabled;
    return !wanted || a->shared->dedupe == NULL || dedupe_ready(a->shared->dedupe);
}

static void answer_ready(struct api_loop *a, struct http_request *r, const struct ops_task *t)
{
    const char *full = NULL;
    bool reached = t->task.outcome == CH_OK, room = commit_accepting(a->shared->log, &full);
    bool known = ids_known(a);
    char both[CAUSE_CAP + sizeof(t->task.error.text)]; /* all causes */
    if (reached && room && known) {
        reply_status(a, r, 200, "ready", NULL, true);
        return;
    }
    (void)snprintf(both, sizeof(both), "%s%s%s%s%s", reached ? "" : t->task.error.text,
                   reached || room ? "" : "; ", room ? "" : full,
                   (reached && room) || known ? "" : "; ",
                   known ? "" : "the ids of earlier events are being read (dedupe)");
    reply_status(a, r, 503, "not ready", both, true);
}

static void answer_refresh(struct api_loop *a, struct http_request *r, const struct ops_task *t)
{
    api_refresh(a);
    if (t->task.outcome == CH_OK) {
        ops_schema(a, r);
    } else if (t->task.outcome == CH_UNAVAILABLE) {
        http_reply_error(r, 503, SLICE_LIT("refresh failed: clickhouse unavailable"), 5);
    } else {
        http_reply_error(r, 500, SLICE_LIT("refresh failed"), 0);
    }
}

void ops_on_discovered(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->discovered)) != NULL) {
        struct ops_task *t =
            QUEUE_ITEM(QUEUE_ITEM(link, struct discovery_task, link), struct ops_task, task);
        if (a->stopping)
            http_reply_error(t->request, 503, SLICE_LIT("service unavailable"), 1);
        else if (t->task.kind == DISCOVERY_PING)
            answer_ready(a, t->request, t);
        else
            answer_refresh(a, t->request, t);
        free(t);
    }
}

void ops_readyz(struct api_loop *a, struct http_request *r)
{
    char cause[CAUSE_CAP];
    if (is_live(a, cause, sizeof(cause)))
        ask(a, r, DISCOVERY_PING);
    else
        reply_status(a, r, 503, "not ready", cause, true);
}

void ops_schema_refresh(struct api_loop *a, struct http_request *r)
{
    ask(a, r, DISCOVERY_REFRESH);
}

/* --- answers from what is known here ------------------------------------------------------- */

void ops_version(struct api_loop *a, struct http_request *r)
{
    const struct api_shared *s = a->shared;
    buf_reset(&a->text);
    buf_printf(&a->text, "{\"version\":\"%s\",\"git_commit\":\"%s\",\"build_time\":\"%s\"}",
               s->version, s->git_commit, s->build_time);
    api_reply_text(a, r, 200);
}

void ops_metrics(struct api_loop *a, struct http_request *r)
{
    /* What was rendered since the request came is as new as it can be asked for: one rendering
     * serves all scrapes that lie in a socket together. */
    if (a->metrics_ns < r->received_ns) {
        a->metrics_ns = io_monotonic_ns();
        buf_reset(&a->metrics_text);
        metric_write_all(&a->metrics_text);
    }
    struct http_reply reply = {.status = 200,
                               .content_type = "text/plain; version=0.0.4; charset=utf-8",
                               .body = buf_slice(&a->metrics_text)};
    http_reply(r, &reply);
}

int api_table_parameter(struct api_loop *a, struct http_request *r)
{
    buf_reset(&a->name);
    int rc = http_query_get(r->query, "table", &a->name);
    if (rc < 0) {
        http_reply_error(r, 400, SLICE_LIT("invalid table parameter"), 0);
        return -1;
    }
    return rc == 1 && a->name.len > 0;
}

void ops_schema(struct api_loop *a, struct http_request *r)
{
    int given = api_table_parameter(a, r);
    if (given < 0)
        return;
    if (a->catalog == NULL) {
        http_reply_error(r, 503, SLICE_LIT("schema not loaded yet"), 5);
        return;
    }
    buf_reset(&a->text);
    if (given == 0) {
        schema_catalog_json(a->catalog, &a->text);
    } else {
        const struct schema_table *t = schema_catalog_find(a->catalog, buf_slice(&a->name));
        if (t == NULL) {
            http_reply_error(r, 404, SLICE_LIT("table not found"), 0);
            return;
        }
        schema_table_json(t, &a->text);
    }
    api_reply_text(a, r, 200);
}
