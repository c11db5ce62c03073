/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters changed, replayed and purged; jobs over a range of the log; drift. */
#include "api/ops_dlq.h"

#include "base/limits.h"
#include "clickhouse/verdict.h"
#include "io/clock.h"
#include "schema/instant.h"
#include "schema/rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define REPORT_ENTRIES_MAX 100       /* letters in a replay's answer */
#define REPORT_BYTES_MAX   (1 * MIB) /* and what they may take together */
#define REPORT_RECORD_MAX  (64 * KIB)
#define RATE_MAX           100000000u /* rows a second; far beyond what goes in */

/* --- tasks --------------------------------------------------------------------------------- */

void ops_task_free(struct ops_task *t)
{
    if (t == NULL)
        return;
    replay_task_fini(&t->task);
    rules_free(t->rules);
    json_reader_free(t->reader);
    ch_verdict_free(t->verdict);
    buf_fini(&t->row);
    buf_fini(&t->who);
    buf_fini(&t->table);
    buf_fini(&t->into);
    buf_fini(&t->text);
    buf_fini(&t->report);
    free(t->ids);
    free(t);
}

struct ops_task *ops_task_new(struct api_loop *a, struct http_request *r,
                              enum replay_task_kind kind,
                              void (*answer)(struct api_loop *a, struct ops_task *t))
{
    struct ops_task *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return NULL;
    }
    t->request = r;
    t->answer = answer;
    t->task.kind = kind;
    t->task.done = &a->replayed;
    buf_init(&t->who, SIZE_MAX);
    buf_init(&t->table, LIMIT_NAME_BYTES);
    buf_init(&t->into, LIMIT_NAME_BYTES);
    buf_init(&t->text, SIZE_MAX);
    buf_init(&t->report, SIZE_MAX);
    buf_init(&t->row, SIZE_MAX);
    buf_put_slice(&t->who, r->peer);
    buf_put_u8(&t->who, ' ');
    buf_put_slice(&t->who, r->request_id);
    return t;
}

void ops_task_send(struct api_loop *a, struct ops_task *t)
{
    t->task.who = buf_slice(&t->who);
    if (buf_ok(&t->who) && replay_ask(a->shared->replay, &t->task) == 0)
        return;
    http_reply_error(t->request, 503, SLICE_LIT("service unavailable"), 1);
    ops_task_free(t);
}

static int status_of(int result, int *retry_after_s)
{
    *retry_after_s = 0;
    switch (result) {
    case WH_ENOTFOUND:
        return 404;
    case WH_ESYNTAX:
    case WH_ELIMIT:
        return 400;
    case WH_EFULL:
        return 409;
    case WH_EAGAIN:
        *retry_after_s = 5;
        return 503;
    case WH_ESTOPPED:
        *retry_after_s = 1;
        return 503;
    default:
        return 500;
    }
}

void ops_task_refuse(struct api_loop *a, struct ops_task *t)
{
    int retry_after_s, status = status_of(t->task.result, &retry_after_s);
    const char *text = t->task.error[0] != '\0' ? t->task.error : err_text(t->task.result);
    (void)a;
    http_reply_error(t->request, status, slice_str(text), retry_after_s);
}

void ops_on_replayed(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->replayed)) != NULL) {
        struct ops_task *t =
            QUEUE_ITEM(QUEUE_ITEM(link, struct replay_task, link), struct ops_task, task);
        if (a->stopping) /* the replay thread is gone, and so is the connection */
            http_reply_error(t->request, 503, SLICE_LIT("service unavailable"), 1);
        else
            t->answer(a, t);
        ops_task_free(t);
    }
}

/* --- edit ---------------------------------------------------------------------------------- */

static void answer_edit(struct api_loop *a, struct ops_task *t)
{
    if (t->task.result != 0) {
        ops_task_refuse(a, t);
        return;
    }
    char id[STORE_LETTER_ID_CAP];
    store_letter_id_print(id, t->task.edit.id);
    buf_reset(&a->text);
    buf_printf(&a->text, "{\"ok\":true,\"id\":\"%s\"}", id);
    api_reply_text(a, t->request, 200);
}

static void ignore_letter(void *ctx, const struct store_letter *l)
{
    (void)ctx;
    (void)l;
}

/* Which shelf holds the letter: known ids stay on theirs until they are gone. */
static enum store_shelf shelf_of(struct api_loop *a, struct store_letter_id id)
{
    int rc = store_letter_get(a->shared->store, STORE_HELD, id, ignore_letter, NULL, NULL);
    return rc == 0 ? STORE_HELD : STORE_DEAD;
}

void ops_dlq_edit(struct api_loop *a, struct http_request *r)
{
    struct store_letter_id id;
    struct json_doc doc;
    if (!ops_dlq_enabled(a, r) || !ops_letter_id(a, r, &id))
        return;
    struct json_reader *reader = ops_reader(a);
    if (reader == NULL) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    if (json_reader_begin(reader, r->body.ptr, r->body.len, JSON_ONE) != 0 ||
        json_reader_next(reader, &doc) != 0 || json_reader_trailing(reader)) {
        http_reply_error(r, 400, SLICE_LIT("invalid json"), 0);
        return;
    }
    if (doc.nodes[0].kind != JSON_OBJECT) {
        http_reply_error(r, 400, SLICE_LIT("record must be a JSON object"), 0);
        return;
    }
    struct ops_task *t = ops_task_new(a, r, REPLAY_EDIT, answer_edit);
    if (t == NULL)
        return;
    t->task.edit.id = id;
    t->task.edit.shelf = shelf_of(a, id);
    t->task.edit.record = r->body; /* stays until the answer */
    ops_task_send(a, t);
}

/* --- replay -------------------------------------------------------------------------------- */

/* On the replay thread. */
static bool match_code(void *ctx, const struct store_letter *l)
{
    const struct ops_task *t = ctx;
    return l->code == t->code;
}

/* On the replay thread. */
static int apply_rules(void *ctx, const struct store_letter *l, struct buf *out,
                       char why[REPLAY_TEXT_CAP])
{
    struct ops_task *t = ctx;
    struct json_doc doc;
    struct err e = {0};
    buf_reset(&t->text);
    buf_put_slice(&t->text, l->record);
    if (buf_extend(&t->text, LIMIT_JSON_PADDING) == NULL)
        return -ENOMEM;
    if (json_reader_begin(t->reader, t->text.ptr, l->record.len, JSON_ONE) != 0 ||
        json_reader_next(t->reader, &doc) != 0 || json_reader_trailing(t->reader)) {
        (void)snprintf(why, REPLAY_TEXT_CAP, "invalid json: give it another record first");
        return 1;
    }
    int rc = rules_apply(t->rules, &doc, out, &e);
    if (rc != WH_ESYNTAX && rc != WH_ELIMIT)
        return rc;
    (void)snprintf(why, REPLAY_TEXT_CAP, "%.*s", REPLAY_TEXT_CAP - 1, e.text);
    return 1;
}

/* On the replay thread: ClickHouse refused the record once, so its values are read as ClickHouse
 * reads them before it is sent again, whatever ingest.validation says. The row goes into t->row. */
static int judge(void *ctx, struct schema_catalog *catalog, const struct schema_table *table,
                 struct slice record, char why[REPLAY_TEXT_CAP], int32_t *code)
{
    struct ops_task *t = ctx;
    struct ch_value_error e;
    buf_reset(&t->row);
    buf_reset(&t->text);
    buf_put_slice(&t->text, record);
    if (buf_extend(&t->text, LIMIT_JSON_PADDING) == NULL)
        return -ENOMEM;
    record.ptr = t->text.ptr;
    int rc = ch_verdict_show(t->verdict, catalog, table, record, &t->row, &e);
    if (rc != WH_ESYNTAX)
        return rc;
    (void)snprintf(why, REPLAY_TEXT_CAP, "column \"%.140s\": %.350s", e.column, e.text);
    *code = e.code;
    return 1;
}

/* On the replay thread: what is worth telling goes into the report, as far as that reaches. */
static void report(void *ctx, const struct replay_outcome *o)
{
    struct ops_task *t = ctx;
    struct buf *out = &t->report;
    if ((o->ok && !t->task.enter.dry_run) || t->reported == REPORT_ENTRIES_MAX ||
        out->len > REPORT_BYTES_MAX)
        return;
    char id[STORE_LETTER_ID_CAP];
    store_letter_id_print(id, o->letter->id);
    buf_printf(out, "%s{\"id\":\"%s\",\"table\":", t->reported++ > 0 ? "," : "", id);
    buf_put_json_string(out, o->letter->table);
    if (!o->ok) {
        buf_put_str(out, ",\"error\":");
        buf_put_json_string(out, slice_str(o->message));
        buf_printf(out, ",\"error_code\":%" PRId32 "}", o->code);
        return;
    }
    if (o->record.len <= REPORT_RECORD_MAX) {
        buf_put_str(out, ",\"data\":");
        buf_put_slice(out, o->record);
        if (t->row.len > 0 && buf_ok(&t->row) && t->row.len <= 2 * REPORT_RECORD_MAX) {
            buf_put_u8(out, ',');
            buf_put_slice(out, buf_slice(&t->row));
        }
    }
    buf_put_u8(out, '}');
}

static void put_id(struct buf *out, struct store_letter_id id)
{
    char text[STORE_LETTER_ID_CAP];
    if (id.index == 0 && id.ordinal == 0 && id.epoch == 0) {
        buf_put_str(out, "null");
        return;
    }
    store_letter_id_print(text, id);
    buf_printf(out, "\"%s\"", text);
}

static void answer_replay(struct api_loop *a, struct ops_task *t)
{
    const struct replay_task *k = &t->task;
    int retry_after_s = 0, status = k->result == 0 ? 200 : status_of(k->result, &retry_after_s);
    struct buf *out = &a->text;
    buf_reset(out);
    buf_put_u8(out, '{');
    if (k->result != 0) { /* what was done before it stopped stays done */
        buf_put_str(out, "\"error\":");
        buf_put_json_string(out, slice_str(k->error[0] != '\0' ? k->error : err_text(k->result)));
        buf_put_u8(out, ',');
    }
    if (k->enter.dry_run)
        buf_put_str(out, "\"dry_run\":true,");
    buf_printf(out,
               "\"replayed\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"missing\":%" PRIu64 ",\"next\":",
               k->entered, k->refused, k->missing);
    put_id(out, k->next);
    if (k->choice.before_ns != 0) {
        buf_put_str(out, ",\"before\":\"");
        instant_put(out, k->choice.before_ns);
        buf_put_u8(out, '"');
    }
    buf_printf(out, ",\"%s\":[", k->enter.dry_run ? "records" : "errors");
    if (buf_ok(&t->report))
        buf_put_slice(out, buf_slice(&t->report));
    buf_put_str(out, "]}");
    if (!buf_ok(out)) {
        http_reply_error(t->request, 500, SLICE_LIT("internal server error"), 0);
        return;
    }
    struct http_reply reply = {.status = status,
                               .content_type = "application/json",
                               .body = buf_slice(out),
                               .retry_after_s = retry_after_s};
    http_reply(t->request, &reply);
}

static int by_age(const void *x, const void *y)
{
    const struct store_letter_id *a = x, *b = y;
    return store_letter_id_cmp(*a, *b);
}

/* The ids of a body, oldest first, each once. */
static void ask_ids(struct ops_ask *q, struct ops_task *t)
{
    const struct json_node *list = ops_ask_node(q, "ids");
    if (list == NULL)
        return;
    if (list->kind != JSON_ARRAY || list->count == 0 || list->count > REPLAY_IDS_MAX) {
        ops_ask_refuse(q, "ids must be an array of 1 to %u ids", (unsigned)REPLAY_IDS_MAX);
        return;
    }
    size_t n = 0, kept = 1;
    t->ids = calloc(list->count, sizeof(*t->ids));
    if (t->ids == NULL) {
        ops_ask_refuse(q, "out of memory");
        return;
    }
    for (const struct json_node *id = list + 1; n < list->count; id = &q->doc.nodes[id->next], n++)
        if (id->kind != JSON_STRING || !store_letter_id_parse(json_raw(&q->doc, id), &t->ids[n])) {
            ops_ask_refuse(q, "ids: \"%.*s\" is no id",
                           (int)(id->len < STORE_LETTER_ID_CAP ? id->len : STORE_LETTER_ID_CAP),
                           json_raw(&q->doc, id).ptr);
            return;
        }
    qsort(t->ids, n, sizeof(*t->ids), by_age);
    for (size_t i = 1; i < n; i++)
        if (store_letter_id_cmp(t->ids[i], t->ids[kept - 1]) != 0)
            t->ids[kept++] = t->ids[i];
    t->task.choice.ids = t->ids;
    t->task.choice.id_count = kept;
}

static void ask_rules(struct ops_ask *q, struct ops_task *t)
{
    const struct json_node *list = ops_ask_node(q, "rules");
    struct err e;
    if (list == NULL)
        return;
    if (rules_parse(&t->rules, &q->doc, list, &e) != 0) {
        ops_ask_refuse(q, "%s", e.text);
        return;
    }
    if (rules_count(t->rules) == 0)
        return;
    t->reader = json_reader_new(LIMIT_INGEST_BODY_BYTES_HARD);
    if (t->reader == NULL)
        ops_ask_refuse(q, "out of memory");
    t->task.enter.transform = apply_rules;
}

/* What a choice of letters has beside ids: false for a table that is named with ids, because then
 * one of them is a mistake. */
static void ask_choice(struct ops_ask *q, struct ops_task *t)
{
    struct replay_choice *c = &t->task.choice;
    c->shelf = ops_shelf(q);
    c->before_ns = ops_ask_instant(q, "before");
    (void)ops_ask_text(q, "table", &t->table);
    c->table = buf_slice(&t->table);
    if (c->ids != NULL && (c->table.len > 0 || c->before_ns != 0))
        ops_ask_refuse(q, "either ids or a table and a time, not both");
}

void ops_dlq_replay(struct api_loop *a, struct http_request *r)
{
    if (!ops_dlq_enabled(a, r))
        return;
    struct ops_task *t = ops_task_new(a, r, REPLAY_ENTER, answer_replay);
    if (t == NULL)
        return;
    struct ops_ask q;
    ops_ask_body(&q, a, r,
                 "table ids shelf before error_code rules dry_run ignore_unknown limit after");
    ask_ids(&q, t);
    ask_choice(&q, t);
    ask_rules(&q, t);
    /* Letters that fail again are new ones, and would be replayed for ever. */
    if (t->ids == NULL && t->task.choice.before_ns == 0)
        t->task.choice.before_ns = io_realtime_ns();
    t->task.enter.ctx = t;
    t->task.enter.outcome = report;
    t->task.enter.dry_run = ops_ask_flag(&q, "dry_run");
    t->task.enter.ignore_unknown = ops_ask_flag(&q, "ignore_unknown");
    t->task.enter.limit = ops_ask_count(&q, "limit", 0, 1, UINT64_MAX);
    uint64_t code = ops_ask_count(&q, "error_code", UINT64_MAX, 0, INT32_MAX);
    if (code != UINT64_MAX) {
        t->code = (int32_t)code;
        t->task.enter.match = match_code;
    }
    if (ops_ask_text(&q, "after", &t->text) &&
        (t->table.len == 0 || !store_letter_id_parse(buf_slice(&t->text), &t->task.enter.after)))
        ops_ask_refuse(&q, "after must be an id, as \"next\" of the answer before gives it, and "
                           "come with its table");
    t->task.enter.judge = judge;
    t->verdict = ch_verdict_new();
    if (t->verdict == NULL)
        ops_ask_refuse(&q, "out of memory");
    if (ops_ask_end(&q))
        ops_task_send(a, t);
    else
        ops_task_free(t);
}

/* --- purge --------------------------------------------------------------------------------- */

static void answer_purge(struct api_loop *a, struct ops_task *t)
{
    const struct replay_task *k = &t->task;
    struct buf *out = &a->text;
    if (k->result != 0) {
        ops_task_refuse(a, t);
        return;
    }
    buf_reset(out);
    buf_printf(out, "{\"deleted\":%" PRIu64 ",\"receipt\":{\"at\":", k->purged_count);
    if (k->index != 0) {
        buf_put_u8(out, '"');
        instant_put(out, k->time_ns);
        buf_printf(out, "\",\"log_index\":%" PRIu64, k->index);
    } else {
        buf_put_str(out, "null,\"log_index\":null");
    }
    buf_put_str(out, ",\"by\":");
    buf_put_json_string(out, k->who);
    buf_printf(out, ",\"shelf\":\"%s\",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"tables\":{",
               k->choice.shelf == STORE_HELD ? "held" : "dead", k->purged_count, k->purged_bytes);
    for (uint32_t i = 0; i < k->purged_tables; i++) {
        if (i > 0)
            buf_put_u8(out, ',');
        buf_put_json_string(out, slice_str(k->purged[i].table));
        buf_printf(out, ":{\"records\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", k->purged[i].count,
                   k->purged[i].bytes);
    }
    buf_put_str(out, "}}}");
    api_reply_text(a, t->request, 200);
}

void ops_dlq_purge(struct api_loop *a, struct http_request *r)
{
    if (!ops_dlq_enabled(a, r))
        return;
    struct ops_task *t = ops_task_new(a, r, REPLAY_PURGE, answer_purge);
    if (t == NULL)
        return;
    struct ops_ask q;
    ops_ask_query(&q, a, r, "table id before shelf");
    if (ops_ask_text(&q, "id", &t->text)) {
        t->ids = calloc(1, sizeof(*t->ids));
        if (t->ids == NULL || !store_letter_id_parse(buf_slice(&t->text), t->ids))
            ops_ask_refuse(&q, "id is no id of a dead letter");
        t->task.choice.ids = t->ids;
        t->task.choice.id_count = 1;
    }
    ask_choice(&q, t);
    if (ops_ask_end(&q))
        ops_task_send(a, t);
    else
        ops_task_free(t);
}

void ops_dlq_purge_one(struct api_loop *a, struct http_request *r)
{
    struct store_letter_id id;
    if (!ops_dlq_enabled(a, r) || !ops_letter_id(a, r, &id))
        return;
    struct ops_task *t = ops_task_new(a, r, REPLAY_PURGE, answer_purge);
    if (t == NULL)
        return;
    t->ids = calloc(1, sizeof(*t->ids));
    if (t->ids == NULL) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        ops_task_free(t);
        return;
    }
    *t->ids = id;
    t->task.choice.ids = t->ids;
    t->task.choice.id_count = 1;
    t->task.choice.shelf = shelf_of(a, id);
    ops_task_send(a, t);
}

/* --- jobs over a range of the log ------------------------------------------------------------ */

/* One end of a range: a position as number or digits, else a point in time. */
static uint64_t ask_end(struct ops_ask *q, struct ops_task *t, const char *name, bool *by_time,
                        bool *given)
{
    const struct json_node *n = ops_ask_node(q, name);
    *given = n != NULL;
    *by_time = false;
    if (n == NULL)
        return 0;
    if (n->kind == JSON_NUMBER)
        return ops_ask_count(q, name, 0, 0, UINT64_MAX);
    *by_time = true;
    buf_reset(&t->text);
    return ops_ask_instant(q, name);
}

static void answer_job(struct api_loop *a, struct ops_task *t)
{
    if (t->task.result != 0) {
        ops_task_refuse(a, t);
        return;
    }
    buf_reset(&a->text);
    if (replay_jobs_json(a->shared->replay, t->task.job.job, &a->text) != 0)
        http_reply_error(t->request, 404, SLICE_LIT("no such job"), 0);
    else
        api_reply_text(a, t->request, 200);
}

void ops_replay_start(struct api_loop *a, struct http_request *r)
{
    struct ops_task *t = ops_task_new(a, r, REPLAY_JOB_START, answer_job);
    if (t == NULL)
        return;
    struct ops_ask q;
    bool from_time, to_time, from_given, to_given;
    ops_ask_body(&q, a, r, "table into from to rate held ignore_unknown");
    if (!ops_ask_text(&q, "table", &t->table) || t->table.len == 0)
        ops_ask_refuse(&q, "missing table");
    (void)ops_ask_text(&q, "into", &t->into);
    t->task.job.table = buf_slice(&t->table);
    t->task.job.into = buf_slice(&t->into);
    t->task.job.from = ask_end(&q, t, "from", &from_time, &from_given);
    t->task.job.to = ask_end(&q, t, "to", &to_time, &to_given);
    if (!from_given)
        ops_ask_refuse(&q,
                       "missing from: a position in the log (0: its beginning) or " INSTANT_FORMS);
    if (to_given && from_time != to_time && t->task.job.from != 0)
        ops_ask_refuse(&q, "from and to must both be positions or both be points in time");
    t->task.job.by_time = from_time || to_time;
    if (to_given && t->task.job.to < t->task.job.from)
        ops_ask_refuse(&q, "to lies before from");
    t->task.job.rows_per_second = ops_ask_count(&q, "rate", 0, 0, RATE_MAX);
    t->task.job.held = ops_ask_flag(&q, "held");
    t->task.job.ignore_unknown = ops_ask_flag(&q, "ignore_unknown");
    if (ops_ask_end(&q))
        ops_task_send(a, t);
    else
        ops_task_free(t);
}

void ops_replay_list(struct api_loop *a, struct http_request *r)
{
    buf_reset(&a->text);
    buf_put_str(&a->text, "{\"jobs\":");
    int rc = replay_jobs_json(a->shared->replay, 0, &a->text);
    buf_put_u8(&a->text, '}');
    if (rc != 0)
        http_reply_error(r, 500, slice_str(err_text(rc)), 0);
    else
        api_reply_text(a, r, 200);
}

/* The job's number from the path; 0, answered, when it is none. */
static uint64_t job_parameter(struct api_loop *a, struct http_request *r)
{
    uint64_t job = 0;
    if (!api_param(a, r))
        return 0;
    for (size_t i = 0; i < a->name.len; i++) {
        char c = a->name.ptr[i];
        if (c < '0' || c > '9' || __builtin_mul_overflow(job, 10u, &job) ||
            __builtin_add_overflow(job, (uint64_t)(c - '0'), &job)) {
            job = 0;
            break;
        }
    }
    if (job == 0)
        http_reply_error(r, 404, SLICE_LIT("no such job"), 0);
    return job;
}

void ops_replay_show(struct api_loop *a, struct http_request *r)
{
    uint64_t job = job_parameter(a, r);
    if (job == 0)
        return;
    buf_reset(&a->text);
    if (replay_jobs_json(a->shared->replay, job, &a->text) != 0)
        http_reply_error(r, 404, SLICE_LIT("no such job"), 0);
    else
        api_reply_text(a, r, 200);
}

void ops_replay_cancel(struct api_loop *a, struct http_request *r)
{
    uint64_t job = job_parameter(a, r);
    if (job == 0)
        return;
    struct ops_task *t = ops_task_new(a, r, REPLAY_JOB_CANCEL, answer_job);
    if (t == NULL)
        return;
    t->task.job.job = job;
    ops_task_send(a, t);
}

/* --- drift --------------------------------------------------------------------------------- */

void ops_drift(struct api_loop *a, struct http_request *r)
{
    struct ops_ask q;
    ops_ask_query(&q, a, r, "table");
    buf_reset(&a->name);
    (void)ops_ask_text(&q, "table", &a->name);
    if (!ops_ask_end(&q))
        return;
    buf_reset(&a->text);
    int rc = replay_drift_json(a->shared->replay, buf_slice(&a->name), &a->text);
    if (rc != 0)
        http_reply_error(r, 500, slice_str(err_text(rc)), 0);
    else
        api_reply_text(a, r, 200);
}
