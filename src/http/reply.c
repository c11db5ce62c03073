/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: their bytes, and handing them over. */
#include "http/priv.h"

#include "io/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define CORS_REST                                                                        \
    "Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n"                  \
    "Access-Control-Allow-Headers: Accept, Authorization, Content-Type, Last-Event-ID, " \
    "X-Request-ID, Idempotency-Key, X-Ack, X-Ack-Timeout\r\n"                            \
    "Access-Control-Expose-Headers: X-Cache, X-Request-ID, Retry-After, ETag, "          \
    "X-WaveHouse-Offset\r\n"                                                             \
    "Access-Control-Max-Age: 3600\r\n"
#define CORS_ANY "Access-Control-Allow-Origin: *\r\n" CORS_REST

/* Status line, the fields made here and their values, without CORS and the id. */
#define HEAD_ROOM 512
#define CORS_ROOM (sizeof(CORS_ANY) + 64)

static const char *phrase(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 422:
        return "Unprocessable Content";
    case 424:
        return "Failed Dependency";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Status"; /* the phrase means nothing to a client; the number does */
    }
}

/* Appending to an answer whose room was reserved before. */
static void put(struct http_req *r, const void *p, size_t n)
{
    if (n > 0)
        memcpy(r->out + r->out_len, p, n);
    r->out_len += n;
}

static void put_slice(struct http_req *r, struct slice s)
{
    put(r, s.ptr, s.len);
}

#define PUT_LIT(r, s) put((r), (s), sizeof(s) - 1)

static void put_number(struct http_req *r, uint64_t v)
{
    char text[20];
    size_t i = sizeof(text);
    do
        text[--i] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    put(r, text + i, sizeof(text) - i);
}

/* The Date line, made once a second. */
static void date_refresh(struct http_server *s)
{
    if (s->now_ns < s->date_next_ns)
        return;
    uint64_t real_ns = io_realtime_ns();
    time_t t = (time_t)(real_ns / 1000000000);
    struct tm tm;
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    must(gmtime_r(&t, &tm) != NULL);
    /* Not strftime: the names are the protocol's, whatever the locale. */
    s->date_len =
        (size_t)snprintf(s->date, sizeof(s->date), "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
                         days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
                         tm.tm_hour, tm.tm_min, tm.tm_sec);
    must(s->date_len < sizeof(s->date));
    s->date_s = (uint64_t)t;
    s->date_next_ns = s->now_ns + (1000000000 - real_ns % 1000000000);
}

void http_reply_id(struct http_req *r)
{
    struct slice *id = &r->pub.request_id;
    bool fine = id->len > 0 && id->len <= HTTP_REQUEST_ID_MAX;
    for (size_t i = 0; fine && i < id->len; i++)
        fine = id->ptr[i] >= 0x20 && id->ptr[i] < 0x7f;
    if (fine)
        return;
    /* splitmix64 over a counter from a random start: unique on this loop, unlike the others'. */
    static const char hex[] = "0123456789abcdef";
    uint64_t z = r->s->id_seed + 0x9e3779b97f4a7c15u * ++r->s->id_next;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    for (size_t i = 0; i < HTTP_REQUEST_ID_MADE; i++, z >>= 4)
        r->id[i] = hex[z & 15];
    *id = (struct slice){r->id, HTTP_REQUEST_ID_MADE};
}

static bool origin_listed(const struct http_req *r)
{
    const struct http_options *o = &r->s->options;
    for (uint32_t i = 0; i < o->cors_origin_count; i++)
        if (slice_eq(r->origin, o->cors_origins[i]))
            return true;
    return false;
}

static void put_cors(struct http_req *r)
{
    if (r->origin.len == 0)
        return;
    if (r->s->options.cors_any) {
        PUT_LIT(r, CORS_ANY);
        return;
    }
    if (origin_listed(r)) {
        PUT_LIT(r, "Access-Control-Allow-Origin: ");
        put_slice(r, r->origin);
        PUT_LIT(r, "\r\n" CORS_REST);
    }
    PUT_LIT(r, "Vary: Origin\r\n");
}

static void put_head(struct http_req *r, const struct http_reply *reply)
{
    PUT_LIT(r, "HTTP/1.1 ");
    put_number(r, (uint64_t)reply->status);
    PUT_LIT(r, " ");
    put(r, phrase(reply->status), strlen(phrase(reply->status)));
    PUT_LIT(r, "\r\n");
    if (reply->content_type != NULL) {
        PUT_LIT(r, "Content-Type: ");
        put(r, reply->content_type, strlen(reply->content_type));
        PUT_LIT(r, "\r\n");
    }
    if (r->stream != NULL) {
        if (!r->http10)
            PUT_LIT(r, "Transfer-Encoding: chunked\r\n");
    } else if (reply->status != 204 && reply->status != 304) {
        PUT_LIT(r, "Content-Length: ");
        put_number(r, reply->body.len);
        PUT_LIT(r, "\r\n");
    }
    put(r, r->s->date, r->s->date_len);
    PUT_LIT(r, "X-Request-ID: ");
    put_slice(r, r->pub.request_id);
    PUT_LIT(r, "\r\n");
    put_cors(r);
    if (reply->status >= 400)
        PUT_LIT(r, "X-Content-Type-Options: nosniff\r\n");
    if (reply->retry_after_s > 0) {
        PUT_LIT(r, "Retry-After: ");
        put_number(r, (uint64_t)reply->retry_after_s);
        PUT_LIT(r, "\r\n");
    }
    if (r->close)
        PUT_LIT(r, "Connection: close\r\n");
    else if (r->http10 || r->stream != NULL)
        PUT_LIT(r, "Connection: keep-alive\r\n");
    put_slice(r, reply->extra);
    PUT_LIT(r, "\r\n");
}

/* An interim answer that is still unsent has lost its meaning. */
static void forget_continue(struct http_req *r)
{
    if (r->out_sent == 0)
        r->out_len = 0;
}

/* Does the connection end with this answer? */
static bool closes(const struct http_req *r)
{
    const struct http_conn *c = r->c;
    if (!r->keep_alive || (!r->dispatched && r->skip_close))
        return true;
    return r->s->draining && r == c->last && (c->cur == NULL || c->cur == r);
}

void http_request_hold(struct http_request *request)
{
    struct http_req *r = (struct http_req *)request;
    CHECK_MAGIC(r, HTTP_REQ_MAGIC);
    must(r->dispatched && !r->c->held);
    r->held = r->c->held = true;
}

void http_request_release(struct http_request *request)
{
    struct http_req *r = (struct http_req *)request;
    CHECK_MAGIC(r, HTTP_REQ_MAGIC);
    if (!r->held)
        return;
    r->held = r->c->held = false;
    if (r->c->fd >= 0 && !r->c->running)
        http_server_run_soon(r->s, r->c);
}

/* The answer's bytes are complete. */
static void hand_over(struct http_req *r)
{
    struct http_conn *c = r->c;
    http_request_release(&r->pub);
    r->replied = true;
    if (r->close)
        c->shut = true;
    if (r->dispatched) {
        c->queued_bytes -= r->pub.body.len;
        http_server_request_back(r->s);
    }
    c->queued_bytes += r->out_len; /* http_conn_unlink takes them off */
    http_req_body_drop(r);
    if (c->first == r && !c->running)
        http_server_run_soon(r->s, c);
}

/* A reply nobody waits for any more: true when r is gone. */
static bool dropped(struct http_req *r)
{
    struct http_conn *c = r->c;
    struct http_server *s = r->s;
    if (!c->done)
        return false;
    must(r->dispatched);
    http_request_release(&r->pub);
    http_conn_unlink(c, r);
    http_req_free(r);
    if (c->fd < 0 && c->first == NULL) {
        if (s->freed)
            http_conn_free(c);
        else
            http_server_run_soon(s, c);
    }
    http_server_request_back(s);
    return true;
}

static size_t head_room(const struct http_req *r, const struct http_reply *reply)
{
    size_t type_len = reply->content_type != NULL ? strlen(reply->content_type) : 0;
    return HEAD_ROOM + r->pub.request_id.len + type_len + reply->extra.len +
           (r->origin.len > 0 ? CORS_ROOM + r->origin.len : 0);
}

void http_reply(struct http_request *request, const struct http_reply *reply)
{
    static const struct http_reply no_memory = {
        .status = 503,
        .content_type = "application/json",
        .body = {"{\"error\":\"service unavailable\"}", 31},
        .retry_after_s = 1,
    };
    struct http_req *r = (struct http_req *)request;
    CHECK_MAGIC(r, HTTP_REQ_MAGIC);
    must(!r->replied && reply->status >= 200 && reply->status <= 999);
    if (dropped(r))
        return;
    if (!r->c->running)
        http_server_clock(r->s); /* a late answer, from outside of our callbacks */
    date_refresh(r->s);
    forget_continue(r);
    r->close = r->close || reply->close || closes(r);
    size_t room = head_room(r, reply);
    bool with_body = r->pub.method != HTTP_HEAD && reply->status != 204 && reply->status != 304;
    if (http_req_out_reserve(r, room + (with_body ? reply->body.len : 0)) != 0) {
        reply = &no_memory;
        r->origin.len = 0;
        with_body = r->pub.method != HTTP_HEAD;
        must(http_req_out_reserve(r, HEAD_ROOM + r->pub.request_id.len + reply->body.len) == 0);
    }
    put_head(r, reply);
    if (with_body)
        put_slice(r, reply->body);
    hand_over(r);
}

int http_reply_stream(struct http_req *r, const struct http_reply *head)
{
    must(!r->replied && r->dispatched && r->stream != NULL);
    if (dropped(r))
        return -EPIPE;
    if (!r->c->running)
        http_server_clock(r->s);
    date_refresh(r->s);
    forget_continue(r);
    if (http_req_out_reserve(r, head_room(r, head)) != 0)
        return -ENOMEM;
    r->close = r->close || head->close || closes(r) || r->http10;
    put_head(r, head);
    hand_over(r);
    return 0;
}

void http_reply_error(struct http_request *request, int status, struct slice text,
                      int retry_after_s)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_put_str(&b, "{\"error\":");
    buf_put_json_string(&b, text);
    buf_put_u8(&b, '}');
    struct http_reply reply = {.status = status,
                               .content_type = "application/json",
                               .body = buf_ok(&b) ? buf_slice(&b)
                                                  : SLICE_LIT("{\"error\":\"out of memory\"}"),
                               .retry_after_s = retry_after_s};
    http_reply(request, &reply);
    buf_fini(&b);
}

/* The prepared head for a constant body; NULL when it is not for this table. */
static const struct http_const *const_for(struct http_server *s, struct slice body)
{
    struct http_const *k = NULL;
    for (size_t i = 0; i < HTTP_CONSTS && k == NULL; i++)
        if (s->consts[i].body.ptr == body.ptr && s->consts[i].body.len == body.len)
            k = &s->consts[i];
    if (k == NULL) {
        k = &s->consts[s->const_next++ % HTTP_CONSTS];
        *k = (struct http_const){.body = body};
    }
    if (k->head_len == 0 || k->date_s != s->date_s) {
        k->date_s = s->date_s;
        int n = snprintf(k->head, sizeof(k->head),
                         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                         "Content-Length: %zu\r\n%sX-Request-ID: ",
                         body.len, s->date);
        must(n > 0 && (size_t)n < sizeof(k->head));
        k->head_len = (size_t)n;
    }
    return k;
}

/* Room for the whole answer, or 0 when only http_reply can make it. */
static size_t const_room(const struct http_req *r, struct slice body)
{
    if (r->c->done || r->http10 || r->pub.method == HTTP_HEAD || body.len > HTTP_CONST_BODY_BYTES ||
        closes(r))
        return 0;
    if (r->origin.len > 0 && !r->s->options.cors_any)
        return 0;
    return HTTP_CONST_HEAD_BYTES + r->pub.request_id.len + sizeof(CORS_ANY) + 4 + body.len;
}

void http_reply_json_const(struct http_request *request, struct slice body)
{
    http_reply_json_extra(request, (struct slice){NULL, 0}, body);
}

void http_reply_json_extra(struct http_request *request, struct slice extra, struct slice body)
{
    struct http_req *r = (struct http_req *)request;
    CHECK_MAGIC(r, HTTP_REQ_MAGIC);
    must(!r->replied);
    size_t room = const_room(r, body);
    if (room > 0)
        forget_continue(r);
    if (room == 0 || http_req_out_reserve(r, room + extra.len) != 0) {
        http_reply(request, &(struct http_reply){.status = 200,
                                                 .content_type = "application/json",
                                                 .extra = extra,
                                                 .body = body});
        return;
    }
    if (!r->c->running)
        http_server_clock(r->s);
    date_refresh(r->s);
    const struct http_const *k = const_for(r->s, body);
    put(r, k->head, k->head_len);
    put_slice(r, r->pub.request_id);
    PUT_LIT(r, "\r\n");
    if (r->origin.len > 0)
        PUT_LIT(r, CORS_ANY);
    put_slice(r, extra);
    PUT_LIT(r, "\r\n");
    put_slice(r, body);
    hand_over(r);
}

void http_reply_refusal(struct http_req *r, enum http_refusal why)
{
    const struct http_refusal_info *info = http_refusal_info(why);
    char text[512];
    struct slice t = {text, 0};
    struct buf b;
    if (why == HTTP_REFUSE_BODY_SIZE)
        (void)snprintf(text, sizeof(text), "request body exceeded %llu bytes",
                       (unsigned long long)r->body_max);
    else if (why == HTTP_REFUSE_CONTENT_ENCODING)
        (void)snprintf(text, sizeof(text),
                       "unsupported Content-Encoding \"%.*s\": send the body as gzip, deflate or "
                       "zstd, or as it is",
                       r->content_encoding.len < 64 ? (int)r->content_encoding.len : 64,
                       r->content_encoding.ptr);
    else
        (void)snprintf(text, sizeof(text), "%s", info->text);
    t.len = strlen(text);
    r->close = true;
    buf_init(&b, 4 * sizeof(text));
    buf_put_str(&b, "{\"error\":");
    buf_put_json_string(&b, t);
    buf_put_u8(&b, '}');
    http_reply(&r->pub,
               &(struct http_reply){.status = info->status,
                                    .content_type = "application/json",
                                    .extra =
                                        why == HTTP_REFUSE_CONTENT_ENCODING
                                            ? SLICE_LIT("Accept-Encoding: gzip, deflate, zstd\r\n")
                                            : (struct slice){NULL, 0},
                                    .body = buf_slice(&b),
                                    .retry_after_s = why == HTTP_REFUSE_OVERLOAD ? 1 : 0});
    buf_fini(&b);
}

void http_reply_options(struct http_req *r)
{
    http_reply(&r->pub, &(struct http_reply){.status = 204});
}

void http_reply_continue(struct http_req *r)
{
    PUT_LIT(r, "HTTP/1.1 100 Continue\r\n\r\n");
}

bool http_client_gone(const struct http_request *request)
{
    const struct http_req *r = (const struct http_req *)request;
    CHECK_MAGIC(r, HTTP_REQ_MAGIC);
    return r->c->done || r->c->fd < 0 || r->c->eof;
}

bool http_field_is(const struct http_field *f, const char *lower_name)
{
    size_t i = 0;
    for (; i < f->name.len && lower_name[i] != '\0'; i++) {
        char c = f->name.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + ('a' - 'A'));
        if (c != lower_name[i])
            return false;
    }
    return i == f->name.len && lower_name[i] == '\0';
}

struct slice http_field_get(const struct http_request *r, const char *lower_name)
{
    for (uint32_t i = 0; i < r->field_count; i++)
        if (http_field_is(&r->fields[i], lower_name))
            return r->fields[i].value;
    return (struct slice){NULL, 0};
}
