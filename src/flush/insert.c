/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/insert.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "io/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* An error quotes the value that it is about. As much as the native client takes. */
#define ANSWER_BYTES_MAX (8 * MIB)
/* ErrorCodes.cpp */
#define UNKNOWN_SETTING    115
#define SETTING_CONSTRAINT 452 /* a profile forbids it */

void flush_token_of(const struct flush_job *job, const struct flush_rows *rows,
                    char out[FLUSH_TOKEN_CAP])
{
    if (rows->count == job->plan.rows)
        (void)snprintf(out, FLUSH_TOKEN_CAP, "%s", job->token);
    else
        (void)snprintf(out, FLUSH_TOKEN_CAP, "%s/%u-%u.%016" PRIx64, job->token, rows->ranges[0].lo,
                       rows->ranges[rows->range_count - 1].hi - 1, flush_rows_digest(rows));
}

/* ---- connections ---- */

static void count_error(enum ch_outcome outcome)
{
    metric_add(metric_new(METRIC_COUNTER, "wavehouse_clickhouse_errors_total",
                          "Operations on ClickHouse that failed, by class", "class=\"%s\"",
                          ch_outcome_name(outcome)),
               1);
}

static enum ch_outcome counted(enum ch_outcome outcome)
{
    if (outcome != CH_OK)
        count_error(outcome);
    return outcome;
}

void flush_client_init(struct flush_client *c)
{
    *c = (struct flush_client){
        .insert_seconds = metric_new(METRIC_SECONDS, "wavehouse_clickhouse_duration_seconds",
                                     "Time of operations on ClickHouse", "op=\"insert\""),
        .early = metric_new(METRIC_COUNTER, "wavehouse_clickhouse_inserts_early_total",
                            "INSERTs whose block was sent while the one before was written", NULL)};
}

void flush_client_release(struct flush_client *c)
{
    ch_native_free(c->native);
    ch_http_free(c->http);
    ch_target_unref(c->target);
    c->native = NULL;
    c->http = NULL;
    c->target = NULL;
}

static enum ch_outcome no_memory(struct ch_error *e)
{
    e->code = 0;
    (void)snprintf(e->text, sizeof(e->text), "out of memory");
    return CH_UNAVAILABLE;
}

enum ch_outcome flush_client_connect(struct flush_client *c, struct ch_target *target,
                                     struct ch_error *e)
{
    if (c->target != target) {
        flush_client_release(c);
        c->target = ch_target_ref(target);
    }
    if (c->native == NULL)
        c->native = ch_native_new(ch_target_options(c->target));
    if (c->native == NULL)
        return no_memory(e);
    enum ch_outcome outcome = ch_native_ping(c->native, e);
    if (outcome != CH_OK) {
        /* An idle connection may have died of old age. */
        ch_native_disconnect(c->native);
        outcome = ch_native_ping(c->native, e);
    }
    return counted(outcome);
}

/* ---- inserting ---- */

static struct ch_insert group_insert(const struct flush_insert *in, bool ignore_views)
{
    const struct flush_group *g = in->group;
    must(ch_block_rows(g->block) == g->rows.count);
    return (struct ch_insert){.table = in->name,
                              .columns = g->names,
                              .types = g->types,
                              .column_count = g->column_count,
                              .token = in->token,
                              .ignore_views = ignore_views,
                              .row_count = g->rows.count,
                              .write_columns = ch_block_send,
                              .ctx = g->block};
}

static enum ch_outcome insert_native(struct flush_client *c, const struct flush_insert *in,
                                     bool ignore_views, struct ch_error *e)
{
    struct ch_insert insert = group_insert(in, ignore_views);
    return ch_native_insert(c->native, &insert, e);
}

static void put_url(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        char c = *text;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (plain)
            buf_put_u8(out, (uint8_t)c);
        else
            buf_printf(out, "%%%02X", (unsigned char)c);
    }
}

/* Servers before 20 know none of the settings, nor tokens. */
static bool server_is_old(const struct schema_catalog *c)
{
    struct slice v = schema_catalog_version(c);
    return v.len >= 2 && v.ptr[0] == '1' && v.ptr[1] >= '0' && v.ptr[1] <= '9';
}

static enum ch_outcome insert_http(struct flush_client *c, const struct flush_insert *in,
                                   bool ignore_views, struct ch_error *e)
{
    const struct schema_table *t = in->table;
    struct buf sql, settings, answer;
    buf_init(&sql, SIZE_MAX);
    buf_init(&settings, SIZE_MAX);
    buf_init(&answer, ANSWER_BYTES_MAX);
    buf_put_str(&sql, "INSERT INTO ");
    schema_put_quoted(&sql, t->name, '`');
    const char *comma = " (";
    for (uint32_t i = 0; i < t->column_count; i++)
        if (t->columns[i].insertable) {
            buf_put_str(&sql, comma);
            schema_put_quoted(&sql, t->columns[i].name, '`');
            comma = ", ";
        }
    buf_put_str(&sql, ") FORMAT JSONEachRow");
    if (!server_is_old(in->catalog)) {
        buf_put_str(&settings,
                    "&async_insert=0&input_format_null_as_default=1"
                    "&date_time_input_format=best_effort&input_format_skip_unknown_fields=0"
                    "&insert_deduplicate=1"
                    "&insert_deduplication_token=");
        put_url(&settings, in->token);
        if (ignore_views)
            buf_put_str(&settings, "&materialized_views_ignore_errors=1");
    }
    buf_put_u8(&settings, 0);
    enum ch_outcome outcome;
    if (c->http == NULL)
        c->http = ch_http_new(ch_target_options(c->target));
    if (c->http == NULL || !buf_ok(&sql) || !buf_ok(&settings)) {
        outcome = no_memory(e);
    } else {
        struct ch_http_request q = {.sql = buf_slice(&sql),
                                    .body = in->lines,
                                    .settings = settings.ptr,
                                    .response_max = ANSWER_BYTES_MAX};
        outcome = ch_http_query(c->http, &q, &answer, e);
    }
    buf_fini(&sql);
    buf_fini(&settings);
    buf_fini(&answer);
    return outcome;
}

/* A materialized view refused the rows, for good. ClickHouse has stored them in the table by then
 * (or does so with the view's errors ignored), so halves of them, under tokens of their own, would
 * be stored again, and dead letters would be there twice. Not known of other engines: rows that go
 * through a Null table are nowhere but in its views. */
static bool view_refused(const struct flush_insert *in, enum ch_outcome outcome,
                         const struct ch_error *e)
{
    bool final = outcome == CH_DATA || outcome == CH_SPLIT_PARTITIONS ||
                 (outcome == CH_SCHEMA && in->give_up) || (outcome == CH_BUG && in->as_data);
    return final && in->table->dedup_window >= 0 && e->from_view;
}

/* An attempt has ended, however. */
static void attempted(struct flush_client *c, const struct flush_insert *in)
{
    metric_observe(c->insert_seconds, io_monotonic_ns() - c->started_ns);
    if (in->options->inserted != NULL)
        in->options->inserted(in->options->ctx, in->table->name);
}

static enum ch_outcome insert_once(struct flush_client *c, const struct flush_insert *in,
                                   bool ignore_views, struct ch_error *e)
{
    c->started_ns = io_monotonic_ns();
    enum ch_outcome outcome = in->group != NULL ? insert_native(c, in, ignore_views, e)
                                                : insert_http(c, in, ignore_views, e);
    attempted(c, in);
    return outcome;
}

static void view_say(const struct flush_insert *in, const struct ch_error *e)
{
    static struct log_limit limit = LOG_LIMIT(10);
    uint64_t dropped;
    if (log_limit_pass(&limit, &dropped))
        log_error(
            "flush.view_failed",
            "table=%.*s rows=%u code=%d: %s; the rows are in the table, but this view has none "
            "of them; repeated=%" PRIu64,
            SLICE_ARG(in->name), in->row_count, e->code, e->text, dropped);
}

/* The same rows under the same token, without the views. What else is said than OK leaves it open
 * whether the first time has stored the rows: e->from_view. When the view refuses them again, or
 * the server will not ignore views for us, the first refusal is what is told. */
static enum ch_outcome insert_past_views(struct flush_client *c, const struct flush_insert *in,
                                         enum ch_outcome refused, struct ch_error *e)
{
    struct ch_error again = {0};
    enum ch_outcome outcome = insert_once(c, in, true, &again);
    if (outcome == CH_OK)
        view_say(in, e);
    else if (view_refused(in, outcome, &again) || again.code == UNKNOWN_SETTING ||
             again.code == SETTING_CONSTRAINT) {
        e->from_view = in->table->dedup_window > 0; /* else each time would store them again */
        return refused;
    }
    count_error(refused);
    *e = again;
    e->from_view = true;
    return outcome;
}

enum ch_outcome flush_client_insert(struct flush_client *c, const struct flush_insert *in,
                                    struct ch_error *e)
{
    enum ch_outcome outcome = insert_once(c, in, false, e);
    if (view_refused(in, outcome, e))
        outcome = insert_past_views(c, in, outcome, e);
    return counted(outcome);
}

/* ---- in steps ---- */

/* Anything but OK ends the attempt. */
static enum ch_outcome step_taken(struct flush_client *c, const struct flush_insert *in,
                                  enum ch_outcome outcome)
{
    if (outcome != CH_OK)
        attempted(c, in);
    return counted(outcome);
}

enum ch_outcome flush_client_send(struct flush_client *c, const struct flush_insert *in, bool early,
                                  struct ch_error *e)
{
    struct ch_insert insert = group_insert(in, false);
    insert.hold = true;
    c->started_ns = io_monotonic_ns();
    metric_add(c->early, early);
    return step_taken(c, in, ch_native_insert_send(c->native, &insert, e));
}

enum ch_outcome flush_client_end(struct flush_client *c, const struct flush_insert *in,
                                 struct ch_error *e)
{
    return step_taken(c, in, ch_native_insert_end(c->native, e));
}

enum ch_outcome flush_client_wait(struct flush_client *c, const struct flush_insert *in,
                                  struct ch_error *e)
{
    enum ch_outcome outcome = ch_native_insert_wait(c->native, e);
    attempted(c, in);
    /* When it is asked again ClickHouse may drop the rows as a repetition and not name the view. */
    if (view_refused(in, outcome, e))
        view_say(in, e);
    return counted(outcome);
}

enum ch_outcome flush_client_cancel(struct flush_client *c, const struct flush_insert *in)
{
    struct ch_error e; /* the exception that was asked for, or a connection that is gone */
    enum ch_outcome outcome = ch_native_insert_cancel(c->native, &e);
    attempted(c, in);
    return outcome;
}
