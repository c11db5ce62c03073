/* SPDX-License-Identifier: Apache-2.0 */
/* Answers in pieces: CSV, NDJSON and raw SQL with its own FORMAT. What ClickHouse sends goes on to
 * the client; as much as the client has not yet taken is on its way, and no more. */
#include "api/query_priv.h"

#include "io/clock.h"

#include <stdio.h>
#include <stdlib.h>

/* Queued for the client; below it ClickHouse may send more. */
#define ROOM_BYTES ((size_t)128 * 1024)
#define TYPE_CAP   128

struct query_stream_op {
    struct api_loop *a;
    struct query_stream_op *next, *prev;
    struct query_stream *stream;
    struct http_request *request; /* until the head is out */
    struct http_stream *out;      /* from then on, while the client is there */
    struct slice empty;
    size_t taken;     /* bytes that were queued and not yet given back as room */
    uint64_t gone_ns; /* when its client was first seen to be gone; 0: it is not */
    bool raw, writes, begun;
    char type[TYPE_CAP];
};

static void op_free(struct query_stream_op *op)
{
    *(op->prev != NULL ? &op->prev->next : &op->a->query->streams) = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    query_stream_free(op->stream);
    free(op);
}

/* What the client has taken makes room. */
static void give_room(struct query_stream_op *op)
{
    size_t queued = op->out != NULL ? http_stream_queued(op->out) : 0;
    if (op->taken <= queued || (queued > ROOM_BYTES && op->out != NULL))
        return;
    size_t n = op->taken - queued;
    op->taken = queued;
    query_stream_took(op->a->shared->query, op->stream, n);
}

static void on_room(void *ctx)
{
    give_room(ctx);
}

static void on_closed(void *ctx)
{
    struct query_stream_op *op = ctx;
    op->out = NULL;
    if (op->stream != NULL && !op->a->stopping)
        query_stream_cancel(op->a->shared->query, op->stream);
}

static void begin(struct query_stream_op *op)
{
    if (op->begun)
        return;
    struct http_request *r = op->request;
    struct http_stream *out = NULL;
    struct http_stream_events events = {.ctx = op,
                                        .on_room = on_room,
                                        .on_closed = on_closed,
                                        .room_bytes = ROOM_BYTES};
    struct http_reply head = {
        .status = 200,
        .content_type = op->type[0] != '\0' ? op->type : NULL,
        .extra = op->raw ? SLICE_LIT("Cache-Control: no-store\r\n"
                                     "X-Content-Type-Options: nosniff\r\n")
                         : SLICE_LIT("X-Cache: MISS\r\nCache-Control: private, no-store\r\n")};
    op->begun = true;
    op->request = NULL;
    if (http_stream_begin(r, &head, &events, &out) != 0)
        query_stream_cancel(op->a->shared->query, op->stream);
    else
        op->out = out;
}

static void on_bytes(struct query_stream_op *op, const struct query_piece *p)
{
    begin(op);
    op->taken += p->len;
    if (op->out != NULL && http_stream_write(op->out, (struct slice){p->bytes, p->len}) != 0) {
        op->out = NULL; /* broken off */
        query_stream_cancel(op->a->shared->query, op->stream);
    }
    give_room(op);
}

static void on_last(struct query_stream_op *op, const struct query_piece *p)
{
    bool whole = p->kind == QUERY_PIECE_END;
    if (!whole && op->request != NULL) {
        if (op->a->stopping)
            http_reply_error(op->request, 503, SLICE_LIT("service unavailable"), 1);
        else
            api_query_refuse(op->a, op->request, p->answer, op->raw, false);
    } else if (op->request != NULL && op->empty.len > 0) {
        http_reply(op->request,
                   &(struct http_reply){.status = 200,
                                        .content_type = "application/json",
                                        .extra = SLICE_LIT("Cache-Control: no-store\r\n"
                                                           "X-Content-Type-Options: nosniff\r\n"),
                                        .body = op->empty});
    } else {
        if (op->request != NULL)
            begin(op);
        if (op->out != NULL)
            http_stream_end(op->out, whole);
    }
    op_free(op);
}

void query_on_pieces(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->query->pieces)) != NULL) {
        struct query_piece *p = QUEUE_ITEM(link, struct query_piece, link);
        struct query_stream_op *op = p->user;
        switch (p->kind) {
        case QUERY_PIECE_HEAD:
            if (op->type[0] == '\0' && p->len < TYPE_CAP) {
                memcpy(op->type, p->bytes, p->len);
                op->type[p->len] = '\0';
            }
            break;
        case QUERY_PIECE_BYTES:
            on_bytes(op, p);
            break;
        case QUERY_PIECE_END:
        case QUERY_PIECE_FAILED:
            on_last(op, p);
            break;
        }
        query_piece_free(p);
    }
}

void query_stream_answer(struct api_loop *a, struct http_request *r,
                         const struct query_statement *s, const struct query_terms *terms,
                         enum query_form form, const char *content_type, struct slice empty)
{
    struct query_loop *ql = a->query;
    struct query_stream_op *op = calloc(1, sizeof(*op));
    if (op == NULL ||
        query_stream_start(a->shared->query, s, terms, form, &ql->pieces, op, &op->stream) != 0) {
        free(op);
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    op->a = a;
    op->request = r;
    op->raw = form == QUERY_FORM_RAW;
    op->writes = s->writes;
    op->empty = empty;
    if (content_type != NULL)
        (void)snprintf(op->type, sizeof(op->type), "%s", content_type);
    op->next = ql->streams;
    if (op->next != NULL)
        op->next->prev = op;
    ql->streams = op;
}

void query_stream_timer(struct api_loop *a)
{
    uint64_t now = io_monotonic_ns();
    for (struct query_stream_op *op = a->query->streams; op != NULL; op = op->next) {
        if (op->request == NULL || op->writes || !http_client_gone(op->request))
            continue;
        op->gone_ns = op->gone_ns != 0 ? op->gone_ns : now;
        if (now - op->gone_ns >= QUERY_GONE_NS)
            query_stream_cancel(a->shared->query, op->stream);
    }
}

/* The runner has stopped and its last pieces were taken: what is left would be a mistake. */
void query_stream_drop_all(struct api_loop *a)
{
    while (a->query->streams != NULL) {
        struct query_stream_op *op = a->query->streams;
        if (op->request != NULL)
            http_reply_error(op->request, 503, SLICE_LIT("service unavailable"), 1);
        op_free(op);
    }
}
