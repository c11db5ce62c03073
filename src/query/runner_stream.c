/* SPDX-License-Identifier: Apache-2.0 */
/* Answers in pieces: what ClickHouse sends goes on to a reader, as fast as that takes it. */
#include "query/runner_priv.h"

#include "io/clock.h"

#include <errno.h>
#include <stdlib.h>

/* --- answers in pieces --------------------------------------------------------------------- */

static void send_piece(struct query_stream *st, struct query_piece *p, enum query_piece_kind kind)
{
    p->kind = kind;
    p->user = st->user;
    queue_push(st->done, &p->link);
}

static struct query_piece *piece_new(struct slice bytes)
{
    struct query_piece *p = malloc(sizeof(*p) + bytes.len);
    if (p == NULL)
        return NULL;
    memset(p, 0, sizeof(*p));
    p->len = bytes.len;
    if (bytes.len > 0)
        memcpy(p->bytes, bytes.ptr, bytes.len);
    return p;
}

void query_piece_free(struct query_piece *p)
{
    if (p == NULL)
        return;
    query_answer_unref(p->answer);
    free(p);
}

void runner_stream_end(struct query_runner *q, struct query_stream *st, struct query_answer *answer)
{
    struct query_piece *p = st->last;
    st->last = NULL;
    if (answer == NULL) {
        answer = q->no_memory;
        query_answer_ref(answer);
    }
    runner_count_error(q, answer->class);
    bool fine = answer->class == QUERY_FINE;
    p->answer = answer;
    send_piece(st, p, fine ? QUERY_PIECE_END : QUERY_PIECE_FAILED);
}

static void send_head(struct run *r, struct slice type)
{
    if (r->head_sent)
        return;
    struct query_piece *p = piece_new(type);
    r->head_sent = true;
    if (p != NULL)
        send_piece(r->stream, p, QUERY_PIECE_HEAD);
    else
        r->no_memory = true;
}

static void on_stream_head(void *ctx, const struct ch_transfer_head *head)
{
    struct run *r = ctx;
    if (r->stream->form != QUERY_FORM_NDJSON && r->stream->form != QUERY_FORM_NDJSON_ISO)
        query_guard_init(&r->guard, head->exception_tag);
    else
        r->moved_ns = io_monotonic_ns();
    /* The head goes out with the first byte, or with the end: an error may come first. */
    buf_put_slice(&r->question, head->content_type);
}

/* What r->out holds goes to the reader. */
static bool flush_out(struct run *r)
{
    if (!buf_ok(&r->out))
        r->no_memory = true;
    if (r->out.len == 0 || r->no_memory)
        return !r->no_memory;
    send_head(r, buf_slice(&r->question));
    struct query_piece *p = r->no_memory ? NULL : piece_new(buf_slice(&r->out));
    if (p == NULL) {
        r->no_memory = true;
        return false;
    }
    atomic_fetch_add(&r->stream->window, p->len);
    send_piece(r->stream, p, QUERY_PIECE_BYTES);
    buf_reset(&r->out);
    return true;
}

static enum ch_flow on_stream_bytes(void *ctx, struct slice bytes)
{
    struct run *r = ctx;
    struct query_stream *st = r->stream;
    r->moved_ns = io_monotonic_ns();
    if (atomic_load(&st->cancelled))
        return CH_FLOW_STOP;
    if (atomic_load(&st->window) >= QUERY_STREAM_WINDOW) {
        atomic_store(&st->paused, true);
        return CH_FLOW_PAUSE;
    }
    int rc = 0;
    if (r->render != NULL)
        rc = query_render_feed(r->render, bytes, &r->out);
    else
        query_guard_feed(&r->guard, bytes, &r->out);
    r->bad = rc == WH_ESYNTAX;
    r->too_large = rc == WH_EFULL; /* one row */
    r->no_memory = r->no_memory || rc == -ENOMEM;
    return flush_out(r) && rc == 0 ? CH_FLOW_ON : CH_FLOW_STOP;
}

static void on_stream_end(void *ctx, const struct ch_transfer_end *end)
{
    struct run *r = ctx;
    struct query_runner *q = r->runner;
    struct query_stream *st = r->stream;
    metric_observe(q->stream_seconds, io_monotonic_ns() - r->started_ns);
    struct query_answer *a = NULL;
    if (atomic_load(&st->cancelled)) {
        query_answer_ref(q->stopped);
        a = q->stopped;
    } else {
        a = runner_judge(r, end);
        query_guard_finish(&r->guard, &r->out);
        if (a != NULL && a->class == QUERY_FINE) {
            if (flush_out(r))
                send_head(r, buf_slice(&r->question)); /* of an empty answer */
            if (r->no_memory) {
                query_answer_unref(a);
                a = NULL;
            }
        }
    }
    runner_stream_end(q, st, a);
    runner_run_free(r);
}

void runner_stream_start(struct query_runner *q, struct query_stream *st)
{
    static const enum query_wire wires[] = {[QUERY_FORM_NDJSON] = QUERY_WIRE_LINES,
                                            [QUERY_FORM_NDJSON_ISO] = QUERY_WIRE_LINES,
                                            [QUERY_FORM_CSV] = QUERY_WIRE_CSV,
                                            [QUERY_FORM_RAW] = QUERY_WIRE_RAW};
    if (atomic_load(&st->cancelled)) {
        query_answer_ref(q->stopped);
        runner_stream_end(q, st, q->stopped);
        return;
    }
    struct query_render_options options = {.shape = QUERY_RENDER_LINES,
                                           .keep_zeros = st->form == QUERY_FORM_NDJSON_ISO,
                                           .utc = st->terms.modern,
                                           .server_zone = st->terms.server_zone};
    struct run *r = runner_run_new(q, RUN_STREAM);
    struct ch_transfer_ask ask = {.on_head = on_stream_head,
                                  .on_bytes = on_stream_bytes,
                                  .on_end = on_stream_end};
    bool good = r != NULL;
    if (good)
        r->stream = st;
    if (good && wires[st->form] == QUERY_WIRE_LINES)
        good = (r->render = query_render_new(&options)) != NULL;
    /* Its deadlines are watch_stream's: a reader may take its time. */
    if (good && runner_run_launch(r, &st->statement, &st->terms, wires[st->form], 0, &ask))
        return;
    if (r != NULL)
        runner_run_free(r);
    runner_stream_end(q, st, NULL);
}

void runner_stream_watch(struct run *r, uint64_t now)
{
    struct query_runner *q = r->runner;
    struct query_stream *st = r->stream;
    uint64_t patience = (q->options.timeout_ms + TIMEOUT_GRACE_MS) * MS_NS;
    bool paused = atomic_load(&st->paused);
    /* A reader may take its time, but not the place of those who wait for one. */
    bool full = q->run_count >= q->options.max_concurrent;
    bool crowded = (q->aside_count > 0 && (full || !runner_may_stream(q))) ||
                   (full && queue_count(&q->jobs) > 0);
    bool late = (!paused || crowded) && now > r->moved_ns && now - r->moved_ns > patience;
    if (atomic_load(&st->cancelled) || late) {
        struct query_answer *a = q->stopped;
        if (late)
            a = runner_answer_text(QUERY_UNAVAILABLE,
                                   runner_is_raw(r) ? "clickhouse request failed: it took too long"
                                                    : "ClickHouse took too long");
        else
            query_answer_ref(a);
        ch_transfer_cancel(r->transfer);
        runner_stream_end(q, st, a);
        runner_run_free(r);
    } else if (paused && atomic_load(&st->window) < QUERY_STREAM_WINDOW / 2) {
        atomic_store(&st->paused, false);
        r->moved_ns = now;
        ch_transfer_resume(r->transfer); /* may end in on_stream_bytes, never in on_stream_end */
    }
}

/* --- for others ---------------------------------------------------------------------------- */

int query_stream_start(struct query_runner *q, const struct query_statement *s,
                       const struct query_terms *terms, enum query_form form, struct queue *done,
                       void *user, struct query_stream **out)
{
    struct query_stream *st = calloc(1, sizeof(*st));
    if (st == NULL)
        return -ENOMEM;
    st->job.is_stream = true;
    st->job.queued_ns = io_monotonic_ns();
    query_statement_init(&st->statement);
    st->statement.sql.max = s->sql.max;
    buf_put_slice(&st->statement.sql, buf_slice(&s->sql));
    buf_put_slice(&st->statement.values, buf_slice(&s->values));
    buf_put_slice(&st->statement.value_ends, buf_slice(&s->value_ends));
    st->statement.is_prefer_column = s->is_prefer_column;
    st->statement.writes = s->writes;
    st->statement.reads_only = s->reads_only;
    st->statement.limits = s->limits;
    st->terms = *terms;
    st->server_zone = slice_dup(terms->server_zone);
    st->terms.server_zone =
        st->server_zone != NULL ? slice_str(st->server_zone) : (struct slice){NULL, 0};
    st->form = form;
    st->done = done;
    st->user = user;
    st->last = piece_new((struct slice){NULL, 0});
    int rc = st->server_zone == NULL || st->last == NULL || !query_statement_ok(&st->statement)
                 ? -ENOMEM
                 : queue_try_push(&q->jobs, &st->job.link);
    if (rc == 0)
        *out = st;
    else
        query_stream_free(st);
    return rc;
}

void query_stream_took(struct query_runner *q, struct query_stream *st, size_t n)
{
    size_t before = atomic_fetch_sub(&st->window, n);
    if (atomic_load(&st->paused) && before - n < QUERY_STREAM_WINDOW / 2)
        queue_wake(&q->jobs);
}

void query_stream_cancel(struct query_runner *q, struct query_stream *st)
{
    if (!atomic_exchange(&st->cancelled, true))
        queue_wake(&q->jobs);
}

void query_stream_free(struct query_stream *st)
{
    query_statement_fini(&st->statement);
    query_piece_free(st->last);
    free(st->server_zone);
    free(st);
}
