/* SPDX-License-Identifier: Apache-2.0 */
/* What the end of a transfer means for those who wait for it. */
#include "query/runner_priv.h"

#include "base/limits.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* --- answers ------------------------------------------------------------------------------- */

void runner_count_error(struct query_runner *q, enum query_class class)
{
    if (q->errors[class] != NULL)
        metric_add(q->errors[class], 1);
}

struct query_answer *runner_answer_text(enum query_class class, const char *text)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_put_str(&b, text);
    struct query_answer *a = query_answer_new(class, &b);
    buf_fini(&b);
    return a;
}

static const struct query_statement *statement_of(const struct run *r)
{
    return r->kind == RUN_ENTRY ? &r->entry->statement : &r->stream->statement;
}

bool runner_is_raw(const struct run *r)
{
    return r->kind == RUN_ENTRY ? r->entry->terms.rendering == QUERY_RAW_DATA
                                : r->stream->form == QUERY_FORM_RAW;
}

/* What went wrong goes to the operator too, when it is the operator's: not what was asked. */
static void log_failure(enum query_class class, struct slice text)
{
    static struct log_limit limit = LOG_LIMIT(10);
    uint64_t dropped;
    if ((class == QUERY_UNAVAILABLE || class == QUERY_MISCONFIGURED || class == QUERY_UNKNOWN) &&
        log_limit_pass(&limit, &dropped))
        log_warn("query.failed", "%s: %.*s repeated=%" PRIu64, query_class_name(class),
                 (int)(text.len < 500 ? text.len : 500), text.len > 0 ? text.ptr : "", dropped);
}

/* ClickHouse has said no. */
static struct query_answer *answer_exception(struct run *r, int32_t code, int status,
                                             struct slice text)
{
    struct query_runner *q = r->runner;
    struct buf words;
    const struct query_statement *s = statement_of(r);
    enum query_class class = query_classify(code, &s->limits, q->options.timeout_ms);
    buf_init(&words, LIMIT_SQL_BODY_BYTES);
    if (runner_is_raw(r)) {
        while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
            text.len--;
        buf_put_slice(&words, text);
    } else {
        query_failure_text(&words, text, s);
    }
    if (!runner_is_raw(r))
        log_failure(class, buf_slice(&words));
    if (query_code_is_schema(code) && q->options.request_refresh != NULL)
        q->options.request_refresh(q->options.ctx);
    struct query_answer *a = query_answer_new(class, &words);
    buf_fini(&words);
    if (a != NULL) {
        a->exception_code = code;
        a->http_status = status;
    }
    return a;
}

static struct query_answer *answer_too_large(struct run *r)
{
    char text[160];
    (void)snprintf(text, sizeof(text),
                   "clickhouse response exceeded %" PRIu64
                   " bytes; narrow the query or use FORMAT JSONEachRow with streaming",
                   (uint64_t)LIMIT_QUERY_RESULT_BYTES);
    (void)r;
    return runner_answer_text(QUERY_TOO_LARGE, text);
}

/* An answer of status 200 that is none: cut, or with an exception in it. */
static struct query_answer *answer_bad(struct run *r)
{
    struct slice text = r->guard.found      ? buf_slice(&r->guard.text)
                        : r->render != NULL ? query_render_exception(r->render)
                                            : (struct slice){NULL, 0};
    int32_t code = query_code_in_text(text);
    if (code != 0)
        return answer_exception(r, code, 500, text);
    struct query_answer *a =
        runner_answer_text(QUERY_UNAVAILABLE,
                           runner_is_raw(r)
                               ? "clickhouse request failed: the answer is not complete"
                               : "ClickHouse's answer is not complete");
    if (a != NULL)
        log_failure(QUERY_UNAVAILABLE, a->body);
    return a;
}

static struct query_answer *answer_transport(struct run *r, const struct ch_transfer_end *end)
{
    char text[640];
    log_failure(QUERY_UNAVAILABLE, end->text);
    if (runner_is_raw(r)) {
        (void)snprintf(text, sizeof(text), "clickhouse request failed: %.*s",
                       (int)(end->text.len < 500 ? end->text.len : 500), end->text.ptr);
    } else { /* where ClickHouse is, is not the caller's to know */
        (void)snprintf(text, sizeof(text), "%s",
                       end->outcome == CH_TRANSFER_TIMEOUT ? "ClickHouse took too long"
                                                           : "ClickHouse cannot be reached");
    }
    struct query_answer *a = runner_answer_text(QUERY_UNAVAILABLE, text);
    if (a != NULL)
        a->exception_code = 0;
    return a;
}

static struct query_answer *answer_timeout(struct run *r, const struct ch_transfer_end *end)
{
    uint64_t own = statement_of(r)->limits.max_execution_ms;
    char text[96];
    if (r->kind != RUN_ENTRY || r->entry->terms.modern || own == 0 ||
        own >= r->runner->options.timeout_ms)
        return answer_transport(r, end);
    (void)snprintf(text, sizeof(text), "the query took longer than the %" PRIu64 " ms of its role",
                   own);
    return runner_answer_text(QUERY_LIMIT_EXCEEDED, text);
}

struct query_answer *runner_judge(struct run *r, const struct ch_transfer_end *end)
{
    if (r->too_large)
        return answer_too_large(r);
    if (r->no_memory)
        return NULL;
    if (r->bad || r->guard.found)
        return answer_bad(r);
    switch (end->outcome) {
    case CH_TRANSFER_EXCEPTION:
        return answer_exception(r, end->code, end->status, end->text);
    case CH_TRANSFER_TIMEOUT:
        return answer_timeout(r, end);
    case CH_TRANSFER_FAILED:
        return answer_transport(r, end);
    case CH_TRANSFER_STOPPED:
    case CH_TRANSFER_DONE:
        break;
    }
    if (r->render != NULL) {
        int rc = query_render_finish(r->render, &r->out);
        if (rc == WH_EFULL)
            return answer_too_large(r);
        if (rc != 0)
            return answer_bad(r);
    }
    if (r->kind == RUN_STREAM)
        return runner_answer_text(QUERY_FINE, "");
    return query_answer_new(QUERY_FINE, &r->out);
}
