/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/http/fixture.h"

#include "http/priv.h"

#include <event2/event.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "OTHER"};

static int on_head(void *ctx, struct http_request *r, struct http_admit *admit)
{
    (void)ctx;
    if (slice_eq_str(r->path, "/early")) {
        http_reply_error(r, 403, SLICE_LIT("forbidden"), 0);
        return 1;
    }
    admit->body_max = slice_eq_str(r->path, "/small") ? 16 : LIMIT_OPS_BODY_BYTES;
    return 0;
}

static void see(struct fixture *f, const struct http_request *r)
{
    buf_put_str(&f->seen, methods[r->method]);
    buf_put_u8(&f->seen, ' ');
    buf_put_slice(&f->seen, r->target);
    for (uint32_t i = 0; i < r->field_count; i++) {
        buf_put_str(&f->seen, " [");
        buf_put_slice(&f->seen, r->fields[i].name);
        buf_put_u8(&f->seen, '=');
        buf_put_slice(&f->seen, r->fields[i].value);
        buf_put_u8(&f->seen, ']');
    }
    buf_put_u8(&f->seen, ' ');
    buf_put_slice(&f->seen, r->body);
    buf_put_u8(&f->seen, '\n');
}

static void reply_echo(struct http_request *r, bool close)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_put_str(&b, methods[r->method]);
    buf_put_u8(&b, ' ');
    buf_put_slice(&b, r->target);
    buf_put_u8(&b, ' ');
    buf_put_slice(&b, r->body);
    http_reply(r, &(struct http_reply){.status = 200,
                                       .content_type = "text/plain",
                                       .body = buf_slice(&b),
                                       .close = close});
    buf_fini(&b);
}

static void reply_big(struct http_request *r)
{
    char *body = malloc(FIXTURE_BIG_BYTES);
    must(body != NULL);
    memset(body, 'b', FIXTURE_BIG_BYTES);
    http_reply(r, &(struct http_reply){.status = 200,
                                       .content_type = "text/plain",
                                       .body = {body, FIXTURE_BIG_BYTES}});
    free(body);
}

static void pieces_closed(void *ctx)
{
    (void)ctx; /* a HEAD has its head */
}

static void reply_pieces(struct http_request *r)
{
    const struct http_stream_events events = {.on_closed = pieces_closed};
    struct http_stream *s;
    bool whole = !slice_eq_str(r->query, "cut");
    if (http_stream_begin(r,
                          &(struct http_reply){.status = 200,
                                               .content_type = "text/plain",
                                               .body = SLICE_LIT("one")},
                          &events, &s) != 0)
        return;
    must(http_stream_write(s, (struct slice){NULL, 0}) == 0); /* nothing, and not the end */
    must(http_stream_write(s, SLICE_LIT("two")) == 0);
    http_stream_end(s, whole);
}

static void on_request(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    see(f, r);
    for (size_t i = 0; i < LIMIT_JSON_PADDING; i++) /* readable, says the header */
        must(r->body.ptr[r->body.len + i] == 0);
    if (slice_eq_str(r->path, "/const"))
        http_reply_json_const(r, SLICE_LIT("{\"ok\":true}"));
    else if (slice_eq_str(r->path, "/echo") || slice_eq_str(r->path, "/small"))
        reply_echo(r, false);
    else if (slice_eq_str(r->path, "/close"))
        reply_echo(r, true);
    else if (slice_eq_str(r->path, "/big"))
        reply_big(r);
    else if (slice_eq_str(r->path, "/pieces"))
        reply_pieces(r);
    else if (slice_eq_str(r->path, "/retry"))
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 30);
    else if (slice_eq_str(r->path, "/defer") && f->held_count < FIXTURE_HELD_MAX)
        f->held[f->held_count++] = r;
    else
        http_reply_error(r, 404, SLICE_LIT("not found"), 0);
}

void fixture_init(struct fixture *f, const struct http_options *options, bool listening)
{
    struct err e;
    const struct http_handler handler = {.ctx = f, .on_head = on_head, .on_request = on_request};
    *f = (struct fixture){.listen_fd = -1};
    f->options = options != NULL ? *options
                                 : (struct http_options){.connections_max = 100000,
                                                         .idle_timeout_ms = 60000,
                                                         .header_timeout_ms = 60000,
                                                         .body_timeout_ms = 60000,
                                                         .cors_any = true};
    buf_init(&f->seen, SIZE_MAX);
    f->base = event_base_new();
    if (listening && http_listen("127.0.0.1", 0, &f->listen_fd, &f->port, &e) != 0) {
        printf("Bail out! %s\n", e.text);
        exit(99);
    }
    must(http_server_new(&f->s, f->base, &(struct http_listener){.fd = f->listen_fd},
                         listening ? 1 : 0, &handler, &f->options, &e) == 0);
}

void fixture_fini(struct fixture *f)
{
    http_server_free(f->s);
    if (f->listen_fd >= 0)
        (void)close(f->listen_fd);
    event_base_free(f->base);
    buf_fini(&f->seen);
}

int fixture_pair(struct fixture *f)
{
    int sv[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) == 0);
    must(http_server_take_fd(f->s, sv[0], &(struct http_listener){.fd = -1}, "test:1") == 0);
    return sv[1];
}

int fixture_connect(struct fixture *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    fixture_pump(f);
    return fd;
}

void fixture_pump(struct fixture *f)
{
    /* A wake may lead to another (a full queue that is written, a read budget); a few rounds in a
     * row find everything that is possible without new input. */
    for (int i = 0; i < 4; i++)
        (void)event_base_loop(f->base, EVLOOP_NONBLOCK);
}

void fixture_wait_ms(struct fixture *f, int ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    (void)event_base_loopexit(f->base, &tv);
    (void)event_base_dispatch(f->base);
}

void fixture_send(struct fixture *f, int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t k = send(fd, at, n, MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN)
            return; /* the server has closed; the answer tells why */
        if (k > 0) {
            at += k;
            n -= (size_t)k;
        }
        fixture_pump(f);
    }
}

int fixture_recv(int fd, struct buf *out)
{
    char piece[16384];
    for (;;) {
        ssize_t n = recv(fd, piece, sizeof(piece), 0);
        if (n > 0)
            buf_put(out, piece, (size_t)n);
        else
            return n == 0 ? 1 : errno == EAGAIN ? 0 : -1;
    }
}

void fixture_reply(struct fixture *f, int held, const char *body)
{
    struct http_request *r = f->held[held];
    f->held[held] = NULL;
    http_reply(r, &(struct http_reply){.status = 200,
                                       .content_type = "text/plain",
                                       .body = slice_str(body)});
}

static bool generated(struct slice v)
{
    bool hex = v.len == HTTP_REQUEST_ID_MADE;
    for (size_t i = 0; i < v.len && hex; i++)
        hex = strchr("0123456789abcdef", v.ptr[i]) != NULL && v.ptr[i] != '\0';
    return hex;
}

void fixture_normalise(struct buf *b)
{
    static const char *const names[] = {"\r\nDate: ", "\r\nX-Request-ID: "};
    for (size_t i = 0; i < 2; i++) {
        size_t name_len = strlen(names[i]), at = 0;
        char *p;
        while (at < b->len && (p = memmem(b->ptr + at, b->len - at, names[i], name_len)) != NULL) {
            p += name_len;
            at = (size_t)(p - b->ptr);
            const char *end = memchr(p, '\r', b->len - at);
            if (end == NULL)
                break;
            size_t n = (size_t)(end - p);
            if (n == 0 || (i == 1 && !generated((struct slice){p, n})))
                continue;
            *p = '*';
            memmove(p + 1, end, b->len - at - n);
            b->len -= n - 1;
        }
    }
}
