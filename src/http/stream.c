/* SPDX-License-Identifier: Apache-2.0 */
/* Answers in pieces.
 *
 *   connection ── queue: request, request, [head of a stream]      its stream waits, taking bytes
 *              └─ once that head is out: the stream alone; the request's memory is free again
 *
 * What the handler calls only queues and marks; http_stream_settle, from the loop, ends. A block
 * holds its chunk's frame around its bytes, so that a piece is one part of a writev, whoever it is
 * for. */
#include "http/priv.h"

#include <errno.h>
#include <stdio.h>

#define PIECES_INLINE 4
#define FRAME_HEAD    10 /* up to eight hexadecimal digits, CR LF */

struct http_block {
    uint32_t refs;
    uint32_t head_len; /* of the chunk's size line */
    size_t len;        /* of the bytes */
    char bytes[];      /* size line, bytes, CR LF */
};

enum stream_end {
    STREAM_OPEN,
    STREAM_WHOLE, /* what is queued, then the end */
    STREAM_CUT
};

struct http_stream {
    uint32_t magic;
    enum stream_end end;
    struct http_conn *c; /* NULL: lost, the handler is about to be told */
    struct http_stream *next;
    struct http_stream_events events;
    bool owned;   /* the handler has it: neither ended nor told that it is gone */
    bool chunked; /* else the body ends with the connection */
    bool close;   /* the connection ends with it */
    bool mute;    /* answers a HEAD */
    bool above;   /* more than room_bytes were queued: on_room is due */
    struct http_block **ring;
    uint32_t at, count, cap; /* cap is a power of two */
    size_t front_sent;       /* of the first piece */
    size_t queued;
    struct http_block *few[PIECES_INLINE];
};

struct http_block *http_block_new(struct slice bytes)
{
    char head[FRAME_HEAD + 1];
    if (bytes.len == 0 || bytes.len > UINT32_MAX)
        return NULL; /* an empty chunk would be the last one */
    int n = snprintf(head, sizeof(head), "%zx\r\n", bytes.len);
    must(n > 0 && (size_t)n < sizeof(head));
    struct http_block *b = malloc(sizeof(*b) + (size_t)n + bytes.len + 2);
    if (b == NULL)
        return NULL;
    *b = (struct http_block){.refs = 1, .head_len = (uint32_t)n, .len = bytes.len};
    memcpy(b->bytes, head, (size_t)n);
    memcpy(b->bytes + n, bytes.ptr, bytes.len);
    memcpy(b->bytes + (size_t)n + bytes.len, "\r\n", 2);
    return b;
}

/* The end of a chunked body: a piece with a frame only. */
static struct http_block *block_last(void)
{
    static const char last[] = "0\r\n\r\n";
    struct http_block *b = malloc(sizeof(*b) + sizeof(last) - 1);
    if (b == NULL)
        return NULL;
    *b = (struct http_block){.refs = 1, .head_len = sizeof(last) - 3};
    memcpy(b->bytes, last, sizeof(last) - 1);
    return b;
}

struct http_block *http_block_ref(struct http_block *b)
{
    b->refs++;
    return b;
}

void http_block_unref(struct http_block *b)
{
    if (b != NULL && --b->refs == 0)
        free(b);
}

struct slice http_block_bytes(const struct http_block *b)
{
    return (struct slice){b->bytes + b->head_len, b->len};
}

/* What of b goes to this stream's client. */
static struct slice piece(const struct http_stream *s, const struct http_block *b)
{
    return s->chunked ? (struct slice){b->bytes, b->head_len + b->len + 2} : http_block_bytes(b);
}

static bool push(struct http_stream *s, struct http_block *b)
{
    if (s->count == s->cap) {
        struct http_block **ring = malloc(2 * (size_t)s->cap * sizeof(struct http_block *));
        if (ring == NULL)
            return false;
        for (uint32_t i = 0; i < s->count; i++)
            ring[i] = s->ring[(s->at + i) & (s->cap - 1)];
        if (s->ring != s->few)
            free(s->ring);
        s->ring = ring;
        s->cap *= 2;
        s->at = 0;
    }
    s->ring[(s->at + s->count++) & (s->cap - 1)] = b;
    s->queued += piece(s, b).len;
    return true;
}

/* A stream that has caught up keeps no memory for its queue. */
static void ring_reset(struct http_stream *s)
{
    if (s->ring != s->few)
        free(s->ring);
    s->ring = s->few;
    s->cap = PIECES_INLINE;
    s->at = 0;
}

static void pieces_drop(struct http_stream *s)
{
    for (; s->count > 0; s->count--, s->at++)
        http_block_unref(s->ring[s->at & (s->cap - 1)]);
    s->queued = s->front_sent = 0;
    ring_reset(s);
}

static void stream_free(struct http_stream *s)
{
    pieces_drop(s);
    s->magic = 0;
    free(s);
}

static struct http_stream *stream_new(const struct http_req *r,
                                      const struct http_stream_events *events, struct slice body)
{
    struct http_stream *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->magic = HTTP_STREAM_MAGIC;
    s->c = r->c;
    s->events = *events;
    s->owned = true;
    s->chunked = !r->http10;
    s->mute = r->pub.method == HTTP_HEAD;
    ring_reset(s);
    if (body.len > 0 && !s->mute) {
        struct http_block *b = http_block_new(body);
        if (b == NULL || !push(s, b)) {
            http_block_unref(b);
            stream_free(s);
            return NULL;
        }
    }
    s->above = s->queued > events->room_bytes;
    return s;
}

int http_stream_begin(struct http_request *request, const struct http_reply *head,
                      const struct http_stream_events *events, struct http_stream **out)
{
    struct http_req *r = (struct http_req *)request;
    CHECK_MAGIC(r, HTTP_REQ_MAGIC);
    must(r->dispatched && head->status != 204 && head->status != 304);
    *out = NULL;
    struct http_stream *s = stream_new(r, events, head->body);
    r->stream = s;
    int rc = s != NULL ? http_reply_stream(r, head) : -ENOMEM;
    if (rc != 0) {
        if (s != NULL)
            stream_free(s);
        if (rc == -EPIPE)
            return rc; /* r is gone */
        r->stream = NULL;
        http_reply_error(request, 503, SLICE_LIT("service unavailable"), 1);
        return rc;
    }
    s->close = r->close;
    r->close = false; /* not after the head */
    s->c->streams++;
    *out = s;
    return 0;
}

static void wake(const struct http_stream *s)
{
    struct http_conn *c = s->c;
    /* Behind other answers, or to be written when the socket takes more: no need. */
    bool front = c->stream == s || (c->stream == NULL && c->first != NULL && c->first->stream == s);
    if (front && !c->running && (!c->blocked || s->end == STREAM_CUT))
        http_server_run_soon(c->s, c);
}

void http_stream_end(struct http_stream *s, bool whole)
{
    CHECK_MAGIC(s, HTTP_STREAM_MAGIC);
    must(s->owned);
    s->owned = false;
    if (s->c == NULL)
        return; /* lost: whoever was to tell it frees it */
    s->end = whole ? STREAM_WHOLE : STREAM_CUT;
    if (whole && s->chunked && !s->mute) {
        struct http_block *b = block_last();
        if (b == NULL || !push(s, b)) {
            http_block_unref(b);
            s->end = STREAM_CUT;
        }
    }
    wake(s);
}

int http_stream_write_block(struct http_stream *s, struct http_block *b)
{
    CHECK_MAGIC(s, HTTP_STREAM_MAGIC);
    must(s->owned);
    if (s->mute || s->c == NULL)
        return 0;
    int rc = 0;
    if (s->queued + piece(s, b).len > HTTP_STREAM_BYTES_MAX)
        rc = WH_EFULL;
    else if (!push(s, b))
        rc = -ENOMEM;
    if (rc != 0) {
        http_stream_end(s, false);
        return rc;
    }
    (void)http_block_ref(b);
    s->above = s->above || s->queued > s->events.room_bytes;
    wake(s);
    return 0;
}

int http_stream_write(struct http_stream *s, struct slice bytes)
{
    CHECK_MAGIC(s, HTTP_STREAM_MAGIC);
    must(s->owned);
    if (bytes.len == 0 || s->mute || s->c == NULL)
        return 0;
    struct http_block *b = bytes.len <= HTTP_STREAM_BYTES_MAX ? http_block_new(bytes) : NULL;
    if (b == NULL) {
        http_stream_end(s, false);
        return bytes.len <= HTTP_STREAM_BYTES_MAX ? -ENOMEM : WH_EFULL;
    }
    int rc = http_stream_write_block(s, b);
    http_block_unref(b);
    return rc;
}

size_t http_stream_queued(const struct http_stream *s)
{
    CHECK_MAGIC(s, HTTP_STREAM_MAGIC);
    return s->queued;
}

/* ---- from the loop ----------------------------------------------------------------------- */

int http_stream_gather(const struct http_stream *s, struct iovec *iov, int max)
{
    int n = 0;
    size_t skip = s->front_sent;
    if (s->end == STREAM_CUT)
        return 0;
    for (uint32_t i = 0; i < s->count && n < max; i++, skip = 0) {
        struct slice p = piece(s, s->ring[(s->at + i) & (s->cap - 1)]);
        if (p.len > skip) /* an end without chunks has no bytes */
            iov[n++] = (struct iovec){(char *)(uintptr_t)p.ptr + skip, p.len - skip};
    }
    return n;
}

void http_stream_sent(struct http_stream *s, size_t n)
{
    must(n <= s->queued);
    s->queued -= n;
    n += s->front_sent;
    while (s->count > 0) {
        struct http_block *b = s->ring[s->at];
        size_t len = piece(s, b).len;
        if (n < len)
            break;
        n -= len;
        http_block_unref(b);
        s->at = (s->at + 1) & (s->cap - 1);
        s->count--;
    }
    s->front_sent = n;
    if (s->count == 0)
        ring_reset(s);
    if (s->above && s->queued <= s->events.room_bytes) {
        s->above = false;
        if (s->owned && s->events.on_room != NULL)
            s->events.on_room(s->events.ctx);
    }
}

void http_stream_take_over(struct http_conn *c, struct http_req *r)
{
    must(c->stream == NULL && c->first == r);
    c->stream = r->stream;
    r->stream = NULL;
    http_conn_unlink(c, r);
    http_req_free(r);
}

/* The handler learns that nobody reads any more. */
static void tell_closed(struct http_stream *s)
{
    if (!s->owned)
        return;
    s->owned = false;
    s->events.on_closed(s->events.ctx);
}

bool http_stream_settle(struct http_conn *c)
{
    struct http_stream *s = c->stream;
    if (s == NULL)
        return c->fd >= 0;
    CHECK_MAGIC(s, HTTP_STREAM_MAGIC);
    bool over = s->events.endless && c->s->draining;
    if (s->owned && (over || s->mute)) {
        s->close = s->close || over;
        struct http_stream_events events = s->events;
        http_stream_end(s, true);
        events.on_closed(events.ctx);
    }
    if (s->end == STREAM_CUT || (s->end == STREAM_OPEN && s->events.endless && c->eof)) {
        /* A body without chunks would otherwise look complete. */
        if (!s->chunked && s->end == STREAM_CUT)
            http_conn_reset_on_close(c);
        http_conn_close(c);
        return false;
    }
    if (s->end == STREAM_OPEN || s->queued > 0)
        return true;
    bool close = s->close;
    c->stream = NULL;
    c->streams--;
    stream_free(s);
    if (close)
        http_conn_abandon(c);
    return true;
}

bool http_stream_hurries(const struct http_stream *s)
{
    return s->events.endless && s->c->s->draining;
}

void http_stream_lose(struct http_stream *s, struct http_stream **lost)
{
    struct http_conn *c = s->c;
    must(c->streams > 0);
    c->streams--;
    if (c->stream == s)
        c->stream = NULL;
    s->c = NULL;
    pieces_drop(s);
    s->next = *lost;
    *lost = s;
}

void http_stream_tell_lost(struct http_stream *lost)
{
    while (lost != NULL) {
        struct http_stream *s = lost;
        lost = s->next;
        tell_closed(s);
        stream_free(s);
    }
}
