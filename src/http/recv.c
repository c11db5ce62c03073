/* SPDX-License-Identifier: Apache-2.0 */
/* From bytes to requests: reading one connection, head after body after head.
 *
 * Input is read into the loop's shared buffer and parsed there; only what is left over (half a
 * head, or requests beyond the pipelining bound) moves into a buffer of the connection. A body that
 * needs no decoding is read straight to its final place. */
#include "http/priv.h"

#include <errno.h>
#include <sys/socket.h>

/* Below this a chunk is copied with its neighbours rather than read with a call of its own. */
#define DIRECT_CHUNK_BYTES 4096

/* No further head is parsed for now. */
static bool queue_full(const struct http_conn *c)
{
    return c->held || c->streams > 0 || c->queued >= HTTP_PIPELINE_MAX ||
           c->queued_bytes > HTTP_PIPELINE_BYTES;
}

bool http_recv_parses(const struct http_conn *c)
{
    return !c->eof && c->rx == HTTP_RX_HEAD && !queue_full(c);
}

bool http_recv_wanted(const struct http_conn *c)
{
    if (c->eof)
        return false;
    /* Behind a stream, to see its client leave; what comes after the last request is dropped. */
    if (c->streams > 0 && (c->rx == HTTP_RX_END || c->in_len < HTTP_STREAM_AHEAD_BYTES))
        return true;
    return c->rx != HTTP_RX_END && (c->rx != HTTP_RX_HEAD || !queue_full(c));
}

/* Count the decoder's memory; false: the loop's budget is used up. */
static bool decoder_count(struct http_conn *c)
{
    struct http_server *s = c->s;
    size_t bytes = http_decoder_bytes(c->decoder);
    s->bodies_bytes = s->bodies_bytes - c->decoder_bytes + bytes;
    c->decoder_bytes = bytes;
    return s->bodies_bytes <= HTTP_BODIES_BYTES;
}

static void decoder_back(struct http_conn *c)
{
    struct http_server *s = c->s;
    if (c->decoder == NULL)
        return;
    enum http_decoder_kind kind = http_decoder_kind(http_decoder_coding(c->decoder));
    if (s->decoder_count[kind] < HTTP_DECODERS_KEPT && c->decoder_bytes <= HTTP_DECODER_KEPT_BYTES)
        s->decoders[kind][s->decoder_count[kind]++] = c->decoder;
    else
        http_decoder_free(c->decoder);
    s->bodies_bytes -= c->decoder_bytes;
    c->decoder = NULL;
    c->decoder_bytes = 0;
}

/* False: no memory for one. */
static bool decoder_get(struct http_conn *c, enum http_coding coding)
{
    struct http_server *s = c->s;
    enum http_decoder_kind kind = http_decoder_kind(coding);
    s->decoders_used = true;
    if (s->decoder_count[kind] == 0) {
        c->decoder = http_decoder_new(coding);
    } else {
        c->decoder = s->decoders[kind][--s->decoder_count[kind]];
        http_decoder_reset(c->decoder, coding);
    }
    return c->decoder != NULL && decoder_count(c);
}

bool http_recv_trim(struct http_server *s)
{
    bool kept = false;
    for (int kind = 0; kind < HTTP_DECODER_KINDS; kind++) {
        if (!s->decoders_used && s->decoder_count[kind] > 0)
            http_decoder_free(s->decoders[kind][--s->decoder_count[kind]]);
        kept = kept || s->decoder_count[kind] > 0;
    }
    s->decoders_used = false;
    return kept;
}

static void input_drop(struct http_conn *c)
{
    http_pool_put(&c->s->pool, c->in, c->in_cap);
    c->in = NULL;
    c->in_len = c->in_cap = 0;
}

void http_recv_stop(struct http_conn *c)
{
    struct http_req *r = c->cur;
    c->cur = NULL;
    c->rx = HTTP_RX_END;
    decoder_back(c);
    input_drop(c);
    if (r != NULL && !r->replied) {
        http_conn_unlink(c, r);
        http_req_free(r);
    }
}

/* Refuse r, which is the last of its connection's queue and was not given to the handler. */
static void refuse(struct http_req *r, enum http_refusal why)
{
    struct http_conn *c = r->c;
    metric_add(c->s->m_refused[why], 1);
    http_req_body_drop(r);
    http_reply_id(r);
    http_reply_refusal(r, why);
    http_recv_stop(c);
}

void http_recv_refuse(struct http_conn *c, enum http_refusal why)
{
    struct http_req *r = c->cur;
    if (r == NULL && c->rx == HTTP_RX_HEAD)
        r = http_req_new(c);
    if (r != NULL)
        refuse(r, why);
    else
        http_recv_stop(c); /* a body that is skipped has its answer; or no memory for one */
}

static enum http_refusal reserve_refusal(int rc)
{
    return rc == 0 ? HTTP_REFUSE_NONE : HTTP_REFUSE_OVERLOAD;
}

/* Compressed bytes may be a little more than the plain ones (stored blocks); without a bound of
 * their own, empty blocks could go on for ever. */
static uint64_t compressed_max(uint64_t body_max)
{
    return body_max + body_max / 8 + 64 * KIB;
}

/* Why a body of that coding is refused, from what its decoder said. */
static enum http_refusal coding_refusal(enum http_coding coding, int rc)
{
    if (rc == -ENOMEM)
        return HTTP_REFUSE_OVERLOAD;
    if (rc == WH_ELIMIT)
        return HTTP_REFUSE_ZSTD_WINDOW;
    return coding == HTTP_CODING_GZIP      ? HTTP_REFUSE_GZIP
           : coding == HTTP_CODING_DEFLATE ? HTTP_REFUSE_DEFLATE
                                           : HTTP_REFUSE_ZSTD;
}

static enum http_refusal sink_coded(struct http_conn *c, struct http_req *r, struct slice in)
{
    uint64_t over = 0, raw_max = compressed_max(r->body_max);
    if (c->rx_bytes > raw_max) { /* rx_bytes counts in already */
        over = c->rx_bytes - raw_max;
        in.len -= over < in.len ? (size_t)over : in.len;
    }
    for (;;) {
        /* One byte beyond the limit shows that there is more. */
        size_t want = r->pub.body.len + 4 * in.len + 512;
        if (want > r->body_max + 1)
            want = (size_t)r->body_max + 1;
        int rc = http_req_body_reserve(r, want);
        if (rc != 0)
            return reserve_refusal(rc);
        size_t room = r->body_room - LIMIT_JSON_PADDING - r->pub.body.len, got;
        if (room > r->body_max + 1 - r->pub.body.len)
            room = (size_t)r->body_max + 1 - r->pub.body.len;
        rc = http_decoder_run(c->decoder, &in, r->body + r->pub.body.len, room, &got);
        r->pub.body.ptr = r->body;
        r->pub.body.len += got;
        if (r->pub.body.len > r->body_max)
            return HTTP_REFUSE_BODY_SIZE;
        if (rc != 0)
            return coding_refusal(http_decoder_coding(c->decoder), rc);
        if (!decoder_count(c))
            return HTTP_REFUSE_OVERLOAD;
        if (got < room)
            break;
    }
    return over > 0 ? HTTP_REFUSE_BODY_SIZE : HTTP_REFUSE_NONE;
}

/* n more bytes of the body, freed of chunk framing. */
static enum http_refusal sink(struct http_conn *c, const char *p, size_t n)
{
    struct http_req *r = c->cur;
    c->rx_bytes += n;
    if (r == NULL) {
        if (c->rx_bytes > HTTP_SKIP_BYTES)
            c->shut = true;
        return HTTP_REFUSE_NONE;
    }
    if (c->decoder != NULL)
        return sink_coded(c, r, (struct slice){p, n});
    if (n > r->body_max - r->pub.body.len)
        return HTTP_REFUSE_BODY_SIZE;
    int rc = http_req_body_reserve(r, r->pub.body.len + n);
    if (rc != 0)
        return reserve_refusal(rc);
    memcpy(r->body + r->pub.body.len, p, n);
    r->pub.body.ptr = r->body;
    r->pub.body.len += n;
    return HTTP_REFUSE_NONE;
}

/* The request is complete. */
static void dispatch(struct http_conn *c, struct http_req *r)
{
    struct http_server *s = c->s;
    c->cur = NULL;
    c->rx = HTTP_RX_HEAD;
    if (!r->keep_alive)
        c->shut = true;
    if (r->body != NULL)
        memset(r->body + r->pub.body.len, 0, LIMIT_JSON_PADDING);
    c->queued_bytes += r->pub.body.len;
    r->dispatched = true;
    s->handed_out++;
    s->handler.on_request(s->handler.ctx, &r->pub);
}

static void end_body(struct http_conn *c)
{
    struct http_req *r = c->cur;
    c->rx = HTTP_RX_HEAD;
    if (r == NULL)
        return;
    /* No bytes at all are an empty body, whatever coding was announced for them. */
    enum http_refusal why = HTTP_REFUSE_NONE;
    if (c->decoder != NULL && c->rx_bytes > 0 && !http_decoder_complete(c->decoder))
        why = coding_refusal(http_decoder_coding(c->decoder), WH_ECORRUPT);
    decoder_back(c);
    if (why == HTTP_REFUSE_NONE)
        dispatch(c, r);
    else
        refuse(r, why);
}

/* The handler, or OPTIONS, answered at the head: read past the body. */
static void begin_skip(struct http_conn *c, struct http_req *r, const struct http_head *h)
{
    if (!r->keep_alive || r->close)
        c->shut = true;
    if (r->close || (!h->chunked && h->length == 0))
        return; /* after a close, lingering reads past it */
    c->cur = NULL;
    c->rx_bytes = c->rx_mark = 0;
    c->rx_left = h->length;
    c->rx = h->chunked ? HTTP_RX_CHUNKED : HTTP_RX_LENGTH;
    http_chunked_init(&c->chunked);
}

static void begin_body(struct http_conn *c, struct http_req *r, const struct http_head *h,
                       bool body_waits)
{
    if (!h->chunked && h->length == 0) {
        dispatch(c, r);
        return;
    }
    bool coded = h->coding != HTTP_CODING_NONE;
    c->cur = r;
    c->rx_bytes = c->rx_mark = 0;
    c->rx_left = h->length;
    c->rx = h->chunked ? HTTP_RX_CHUNKED : HTTP_RX_LENGTH;
    http_chunked_init(&c->chunked);
    enum http_refusal why = HTTP_REFUSE_NONE;
    if (h->coding == HTTP_CODING_OTHER)
        why = HTTP_REFUSE_CONTENT_ENCODING;
    else if (h->length > (coded ? compressed_max(r->body_max) : r->body_max))
        why = HTTP_REFUSE_BODY_SIZE;
    else if (coded && !decoder_get(c, h->coding))
        why = HTTP_REFUSE_OVERLOAD;
    if (why != HTTP_REFUSE_NONE)
        refuse(r, why);
    else if (h->expect_continue && !body_waits)
        http_reply_continue(r);
}

static void adopt_head(struct http_req *r, const struct http_head *h)
{
    struct http_request *pub = &r->pub;
    pub->method = h->method;
    pub->target = h->target;
    pub->path = h->path;
    pub->query = h->query;
    pub->field_count = h->field_count;
    pub->content_type = h->content_type;
    pub->request_id = h->request_id; /* reply.c replaces one that must not be echoed */
    r->origin = h->origin;
    r->keep_alive = h->keep_alive;
    r->http10 = h->http10;
    r->content_encoding = h->content_encoding;
    r->skip_close = h->expect_continue || h->length > HTTP_SKIP_BYTES;
    http_reply_id(r);
}

static void start_request(struct http_conn *c, struct http_req *r, struct slice head,
                          bool body_waits)
{
    struct http_server *s = c->s;
    struct http_head h;
    enum http_refusal why = http_head_parse(head, r->fields, &h);
    adopt_head(r, &h);
    if (why != HTTP_REFUSE_NONE) {
        refuse(r, why);
        return;
    }
    struct http_admit admit = {.body_max = LIMIT_OPS_BODY_BYTES};
    if (h.method == HTTP_OPTIONS) {
        http_reply_options(r);
    } else {
        int answered = s->handler.on_head(s->handler.ctx, &r->pub, &admit);
        must((answered != 0) == r->replied);
    }
    r->body_max = admit.body_max < LIMIT_INGEST_BODY_BYTES_HARD ? admit.body_max
                                                                : LIMIT_INGEST_BODY_BYTES_HARD;
    if (r->replied)
        begin_skip(c, r, &h);
    else
        begin_body(c, r, &h, body_waits);
}

/* A head from the front of p: bytes used, or 0 when it is not complete. */
static size_t take_head(struct http_conn *c, const char *p, size_t n)
{
    enum http_refusal why;
    int len = http_head_scan(&c->scan, p, n, &why);
    if (len == 0)
        return 0;
    uint32_t start = c->scan.start;
    c->scan = (struct http_scan){0};
    c->rewind = true;
    struct http_req *r = http_req_new(c);
    if (r == NULL) {
        http_recv_stop(c); /* no memory even for an answer */
        return n;
    }
    if (len < 0) {
        refuse(r, why);
        return n;
    }
    size_t head_len = (size_t)len - start;
    if (http_req_set_head(r, p + start, head_len) != 0) {
        refuse(r, HTTP_REFUSE_OVERLOAD);
        return n;
    }
    start_request(c, r, (struct slice){r->head, head_len}, n > (size_t)len);
    return (size_t)len;
}

/* Body bytes from the front of p; *used says how many. True when the body is complete or refused.
 */
static bool take_body(struct http_conn *c, const char *p, size_t n, size_t *used)
{
    enum http_refusal why = HTTP_REFUSE_NONE;
    *used = 0;
    if (c->rx == HTTP_RX_LENGTH) {
        *used = n < c->rx_left ? n : (size_t)c->rx_left;
        c->rx_left -= *used;
        why = sink(c, p, *used);
        if (why == HTTP_REFUSE_NONE && c->rx_left == 0)
            end_body(c);
    }
    while (c->rx == HTTP_RX_CHUNKED && why == HTTP_REFUSE_NONE) {
        size_t step;
        struct slice data;
        switch (http_chunked_next(&c->chunked, p + *used, n - *used, &step, &data)) {
        case HTTP_CHUNKED_MORE:
            *used += step;
            return false;
        case HTTP_CHUNKED_DATA:
            why = sink(c, data.ptr, data.len);
            break;
        case HTTP_CHUNKED_DONE:
            end_body(c);
            break;
        case HTTP_CHUNKED_BAD:
            why = HTTP_REFUSE_CHUNK;
            break;
        }
        *used += step;
    }
    if (why != HTTP_REFUSE_NONE)
        http_recv_refuse(c, why);
    return c->rx != HTTP_RX_LENGTH;
}

/* Parse from p until bytes or bounds run out; returns how much was used. */
static size_t parse(struct http_conn *c, const char *p, size_t n)
{
    size_t off = 0;
    while (off < n && c->rx != HTTP_RX_END) {
        size_t used = 0;
        if (c->rx != HTTP_RX_HEAD) {
            (void)take_body(c, p + off, n - off, &used);
            /* A body that is skipped and turned out too long ends the connection. */
            if (c->shut && c->cur == NULL && c->rx != HTTP_RX_HEAD)
                http_recv_stop(c);
        } else if (c->shut) {
            http_recv_stop(c);
        } else if (queue_full(c)) {
            break;
        } else {
            used = take_head(c, p + off, n - off);
            if (used == 0)
                break;
        }
        off += used;
    }
    if (c->rx == HTTP_RX_HEAD && c->shut)
        http_recv_stop(c);
    return c->rx == HTTP_RX_END ? n : off;
}

/* As parse, but answers that are ready are written when the queue is full. False: closed. */
static bool parse_all(struct http_conn *c, const char *p, size_t n, size_t *used)
{
    *used = parse(c, p, n);
    while (*used < n && queue_full(c)) {
        if (!http_send_ready(c))
            return false;
        if (queue_full(c))
            break;
        *used += parse(c, p + *used, n - *used);
    }
    return true;
}

/* Keep n unparsed bytes for later. */
static void keep(struct http_conn *c, const char *p, size_t n)
{
    if (n == 0)
        return;
    size_t cap;
    char *in = http_pool_get(&c->s->pool, n, &cap);
    if (in == NULL) {
        http_recv_stop(c);
        return;
    }
    memcpy(in, p, n);
    c->in = in;
    c->in_len = n;
    c->in_cap = cap;
}

/* The first used bytes of the kept input are done with. */
static void kept_used(struct http_conn *c, size_t used)
{
    if (c->in == NULL)
        return; /* http_recv_stop dropped it */
    must(used <= c->in_len);
    c->in_len -= used;
    if (c->in_len == 0)
        input_drop(c);
    else if (used > 0)
        memmove(c->in, c->in + used, c->in_len);
}

void http_recv_kept(struct http_conn *c)
{
    size_t used;
    /* The queue may have been full in the middle of it; parsing stops at the same place otherwise.
     */
    if (c->in_len == 0 || c->rx == HTTP_RX_END || queue_full(c))
        return;
    char *in = c->in;
    size_t in_cap = c->in_cap, in_len = c->in_len;
    /* Parsed as a detached buffer: a refusal drops the connection's input on the way. */
    c->in = NULL;
    c->in_len = c->in_cap = 0;
    bool open = parse_all(c, in, in_len, &used);
    if (open && c->rx != HTTP_RX_END && used < in_len) {
        c->in = in;
        c->in_cap = in_cap;
        c->in_len = in_len;
        kept_used(c, used);
        return;
    }
    http_pool_put(&c->s->pool, in, in_cap);
}

/* Where the next bytes can go without a copy: the body's own place. 0 bytes: nowhere. */
static size_t direct_room(struct http_conn *c, char **at)
{
    struct http_req *r = c->cur;
    if (r == NULL || c->decoder != NULL || c->in_len > 0)
        return 0;
    uint64_t ahead = 0;
    if (c->rx == HTTP_RX_LENGTH)
        ahead = c->rx_left;
    else if (c->rx == HTTP_RX_CHUNKED)
        ahead = http_chunked_ahead(&c->chunked);
    if (ahead < DIRECT_CHUNK_BYTES || ahead > r->body_max - r->pub.body.len)
        return 0;
    /* The room grows with what has arrived, not with what was announced. */
    size_t len = r->pub.body.len, step = len < HTTP_READ_BYTES ? HTTP_READ_BYTES : len;
    if (r->body_room < len + DIRECT_CHUNK_BYTES + LIMIT_JSON_PADDING &&
        http_req_body_reserve(r, len + (step < ahead ? step : (size_t)ahead)) != 0)
        return 0;
    size_t room = r->body_room - LIMIT_JSON_PADDING - len;
    *at = r->body + len;
    return room < ahead ? room : (size_t)ahead;
}

static void direct_took(struct http_conn *c, size_t n)
{
    struct http_req *r = c->cur;
    c->rx_bytes += n;
    r->pub.body.ptr = r->body;
    r->pub.body.len += n;
    if (c->rx == HTTP_RX_CHUNKED) {
        http_chunked_skip(&c->chunked, n);
        return;
    }
    c->rx_left -= n;
    if (c->rx_left == 0)
        end_body(c);
}

/* Room behind the kept input for at least a page. */
static bool kept_room(struct http_conn *c)
{
    if (c->in_cap - c->in_len >= 2048)
        return true;
    size_t cap = c->in_cap;
    char *in = http_pool_grow(&c->s->pool, c->in, c->in_len, c->in_len + 4096, &cap);
    if (in == NULL)
        return false;
    c->in = in;
    c->in_cap = cap;
    return true;
}

/* Somebody speaks HTTP to the HTTPS port: say so in HTTP, and close. True when it was done. */
static bool refuse_plain(struct http_conn *c)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
                                 "Content-Length: 53\r\nConnection: close\r\n\r\n"
                                 "{\"error\":\"this port speaks HTTPS: ask with https://\"}";
    unsigned char first;
    if (recv(c->fd, &first, 1, MSG_PEEK) != 1 || !http_tls_is_plain(first))
        return false;
    /* What the client has sent must be read, or the reset overtakes the answer. */
    (void)recv(c->fd, c->s->read, sizeof(c->s->read), 0);
    (void)send(c->fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
    http_conn_close(c);
    return true;
}

/* One recv and its parsing. 1: there may be more to read; 0: not now; -1: closed. */
static int read_once(struct http_conn *c)
{
    char *at = NULL;
    size_t room = direct_room(c, &at), used;
    bool direct = room > 0, kept = !direct && c->in_len > 0;
    if (kept) {
        if (!kept_room(c)) {
            http_recv_stop(c);
            return 0;
        }
        at = c->in + c->in_len;
        room = c->in_cap - c->in_len;
    } else if (!direct) {
        at = c->s->read;
        room = sizeof(c->s->read);
    }
    if (c->tls != NULL && !http_tls_is_open(c->tls) && refuse_plain(c))
        return -1;
    ssize_t n = c->tls != NULL ? http_tls_recv(c->tls, at, room) : recv(c->fd, at, room, 0);
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return 0;
        http_conn_close(c);
        return -1;
    }
    if (n == 0) {
        /* Answers that are owed still go out; half a request goes nowhere. */
        c->eof = true;
        http_recv_stop(c);
        return 0; /* an endless stream ends when it is settled next */
    }
    if (direct) {
        direct_took(c, (size_t)n);
    } else if (kept) {
        c->in_len += (size_t)n;
        http_recv_kept(c);
    } else {
        if (!parse_all(c, at, (size_t)n, &used))
            return -1;
        keep(c, at + used, (size_t)n - used);
    }
    if (c->fd < 0)
        return -1;
    return c->tls != NULL || (size_t)n == room; /* a record is less than there may be */
}

void http_recv_ready(struct http_conn *c)
{
    for (int i = 0; i < HTTP_READS_PER_WAKE && http_recv_wanted(c); i++)
        if (read_once(c) <= 0)
            return;
}
