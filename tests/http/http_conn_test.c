/* SPDX-License-Identifier: Apache-2.0 */
/* Connections over time: pipelining, deferred answers, slow and vanishing clients, closing, limits,
 * draining, and what an idle connection costs. */
#include "http/priv.h"
#include "tests/http/fixture.h"
#include "tests/lib/tap.h"

#include <event2/event.h>

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET_ECHO "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"

static int count(const struct buf *b, const char *what)
{
    int n = 0;
    size_t len = strlen(what);
    for (const char *p = b->ptr, *end = p + b->len;
         b->len > 0 && (p = memmem(p, (size_t)(end - p), what, len)) != NULL; p += len)
        n++;
    return n;
}

static bool starts(const struct buf *b, const char *what)
{
    return b->len >= strlen(what) && memcmp(b->ptr, what, strlen(what)) == 0;
}

static void send_str(struct fixture *f, int fd, const char *text)
{
    fixture_send(f, fd, text, strlen(text));
}

static struct http_options options_default(void)
{
    return (struct http_options){.connections_max = 100000,
                                 .idle_timeout_ms = 60000,
                                 .header_timeout_ms = 60000,
                                 .body_timeout_ms = 60000};
}

/* Pump until the client's stream has ended, for at most five seconds. */
static int recv_to_end(struct fixture *f, int fd, struct buf *out)
{
    int end = 0;
    for (int i = 0; i < 500 && (end = fixture_recv(fd, out)) == 0; i++)
        fixture_wait_ms(f, 10);
    return end;
}

static void test_pipelining(void)
{
    struct fixture f;
    struct buf in, got;
    fixture_init(&f, NULL, false);
    buf_init(&in, SIZE_MAX);
    buf_init(&got, SIZE_MAX);
    int fd = fixture_pair(&f);
    for (int i = 0; i < 100; i++)
        buf_printf(&in, "POST /echo?%d HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n%02d", i, i);
    fixture_send(&f, fd, in.ptr, in.len);
    (void)fixture_recv(fd, &got);
    bool order = count(&got, "HTTP/1.1 200 OK") == 100;
    const char *at = got.ptr;
    for (int i = 0; i < 100 && order; i++) {
        char want[64];
        (void)snprintf(want, sizeof(want), "POST /echo?%d %02d", i, i);
        at = memmem(at, got.len - (size_t)(at - got.ptr), want, strlen(want));
        order = at != NULL;
    }
    ok(order, "100 pipelined requests in one write are answered in order");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&in);
    buf_fini(&got);
}

static void test_deferred(void)
{
    struct fixture f;
    struct buf got;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    int fd = fixture_pair(&f);
    for (int i = 0; i < 5; i++)
        send_str(&f, fd, "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n");
    send_str(&f, fd, GET_ECHO);
    is_u64(f.held_count, 5, "five requests wait");
    fixture_reply(&f, 3, "three");
    fixture_reply(&f, 1, "one");
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    is_u64(got.len, 0, "nothing overtakes the first");
    fixture_reply(&f, 0, "zero");
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    ok(count(&got, "HTTP/1.1 200") == 2 && count(&got, "zero") == 1 && count(&got, "one") == 1,
       "then those that are ready, up to the next gap");
    fixture_reply(&f, 4, "four");
    fixture_reply(&f, 2, "two");
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    const char *two = memmem(got.ptr, got.len, "two", 3),
               *three = memmem(got.ptr, got.len, "three", 5),
               *four = memmem(got.ptr, got.len, "four", 4),
               *echo = memmem(got.ptr, got.len, "GET /echo", 9);
    ok(two != NULL && two < three && three < four && four < echo, "all, in request order");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
}

static void test_backpressure(void)
{
    struct fixture f;
    struct buf in, got;
    fixture_init(&f, NULL, false);
    buf_init(&in, SIZE_MAX);
    buf_init(&got, SIZE_MAX);
    int fd = fixture_pair(&f);
    for (int i = 0; i < 200; i++)
        buf_put_str(&in, "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n");
    fixture_send(&f, fd, in.ptr, in.len);
    is_u64(f.held_count, HTTP_PIPELINE_MAX, "parse-ahead is bounded");
    for (int i = 0; i < 200; i++) {
        fixture_reply(&f, i, "x");
        fixture_pump(&f);
    }
    (void)fixture_recv(fd, &got);
    is_u64(count(&got, "HTTP/1.1 200 OK"), 200, "and goes on as answers leave");

    /* By bytes: two bodies of 700 KiB are over the bound, a third is not read. */
    f.held_count = 0;
    buf_reset(&in);
    for (int i = 0; i < 3; i++) {
        buf_put_str(&in, "POST /defer HTTP/1.1\r\nHost: h\r\nContent-Length: 716800\r\n\r\n");
        memset(buf_extend(&in, 716800), 'x', 716800);
    }
    size_t off = 0;
    for (int idle = 0; off < in.len && idle < 3;) {
        ssize_t n = send(fd, in.ptr + off, in.len - off, MSG_NOSIGNAL);
        off += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        fixture_pump(&f);
    }
    is_u64(f.held_count, 2, "bodies that wait are bounded in bytes");
    ok(off < in.len, "the client is held back by its socket");
    fixture_reply(&f, 0, "x");
    fixture_reply(&f, 1, "x");
    fixture_send(&f, fd, in.ptr + off, in.len - off);
    is_u64(f.held_count, 3, "then the rest is read");
    fixture_reply(&f, 2, "x");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&in);
    buf_fini(&got);
}

static void test_vanishing(void)
{
    struct fixture f;
    fixture_init(&f, NULL, false);
    int fd = fixture_pair(&f);
    for (int i = 0; i < 3; i++)
        send_str(&f, fd, "POST /defer HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    /* A pending answer makes the server notice: writing to a closed socket fails. */
    fixture_reply(&f, 0, "x");
    (void)close(fd);
    fixture_pump(&f);
    is_u64(http_server_connections(f.s), 0, "the connection is gone");
    ok(slice_eq_str(f.held[1]->body, "body") && slice_eq_str(f.held[2]->path, "/defer") &&
           slice_eq_str(f.held[1]->peer, "test:1"),
       "its requests stay readable");
    fixture_reply(&f, 2, "late");
    fixture_pump(&f);
    fixture_reply(&f, 1, "late");
    fixture_pump(&f);
    ok(true, "late answers are dropped");

    fd = fixture_pair(&f);
    f.held_count = 0;
    send_str(&f, fd, "POST /defer HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    http_server_free(f.s);
    f.s = NULL;
    ok(slice_eq_str(f.held[0]->body, "body"), "a request outlives its server");
    fixture_reply(&f, 0, "late");
    (void)close(fd);
    fixture_fini(&f);

    fixture_init(&f, NULL, false);
    fd = fixture_pair(&f);
    send_str(&f, fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 400000\r\n\r\nhalf");
    (void)close(fd);
    fixture_pump(&f);
    is_u64(http_server_connections(f.s), 0, "a client that leaves within its body");
    is_u64(f.seen.len, 0, "its request is not served");
    fixture_fini(&f);
}

static void test_close_drops_later(void)
{
    struct fixture f;
    struct buf got;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    int fd = fixture_pair(&f);
    for (int i = 0; i < 3; i++)
        send_str(&f, fd, "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n");
    http_reply(f.held[0], &(struct http_reply){.status = 204, .close = true});
    fixture_reply(&f, 2, "never");
    fixture_pump(&f);
    is_u64(fixture_recv(fd, &got), 1, "an answer that closes ends the stream");
    is_u64(count(&got, "HTTP/1.1"), 1, "and is the last");
    fixture_reply(&f, 1, "never");
    fixture_pump(&f);
    (void)close(fd);
    fixture_pump(&f);
    is_u64(http_server_connections(f.s), 0, "then the connection goes");
    fixture_fini(&f);
    buf_fini(&got);
}

static void test_continue(void)
{
    struct fixture f;
    struct buf got;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    int fd = fixture_pair(&f);
    send_str(&f, fd,
             "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n"
             "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
             "Content-Length: 5\r\n\r\n");
    (void)fixture_recv(fd, &got);
    is_u64(got.len, 0, "100 does not overtake an earlier answer");
    fixture_reply(&f, 0, "first");
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    ok(starts(&got, "HTTP/1.1 200") && count(&got, "firstHTTP/1.1 100 Continue\r\n\r\n") == 1,
       "it follows it");
    buf_reset(&got);
    send_str(&f, fd, "hello");
    (void)fixture_recv(fd, &got);
    ok(starts(&got, "HTTP/1.1 200") && count(&got, "POST /echo hello") == 1, "then the body");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
}

/* A client that does not look up while it sends. */
static void test_413_while_sending(void)
{
    static char zeros[65536];
    struct fixture f;
    struct buf got;
    fixture_init(&f, NULL, true);
    buf_init(&got, SIZE_MAX);
    int fd = fixture_connect(&f);
    send_str(&f, fd, "POST /small HTTP/1.1\r\nHost: h\r\nContent-Length: 8388608\r\n\r\n");
    for (int i = 0; i < 128; i++)
        fixture_send(&f, fd, zeros, sizeof(zeros));
    is_u64(recv_to_end(&f, fd, &got), 1, "413 while sending: no reset");
    ok(starts(&got, "HTTP/1.1 413") && count(&got, "request body exceeded 16 bytes") == 1,
       "the answer arrives after 8 MiB were sent");
    (void)close(fd);
    fixture_pump(&f);
    is_u64(http_server_connections(f.s), 0, "and the connection ends");
    fixture_fini(&f);
    buf_fini(&got);
}

static void test_timeouts(void)
{
    struct fixture f;
    struct buf got;
    struct http_options o = options_default();
    o.header_timeout_ms = 40;
    buf_init(&got, SIZE_MAX);
    fixture_init(&f, &o, false);
    int fd = fixture_pair(&f);
    /* A byte now and then does not help: the clock runs from the first one. */
    send_str(&f, fd, "GET / HTTP/1.1\r\nHost: h\r\n");
    int end = 0;
    for (int i = 0; i < 500 && (end = fixture_recv(fd, &got)) == 0; i++) {
        send_str(&f, fd, "X: y\r\n");
        fixture_wait_ms(&f, 5);
    }
    ok(end == 1 && starts(&got, "HTTP/1.1 408") && count(&got, "Connection: close") == 1,
       "slow head: 408 and close");
    (void)close(fd);
    fixture_fini(&f);

    o = options_default();
    o.body_timeout_ms = 60;
    fixture_init(&f, &o, false);
    buf_reset(&got);
    fd = fixture_pair(&f);
    send_str(&f, fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    for (int i = 0; i < 500 && (end = fixture_recv(fd, &got)) == 0; i++) {
        send_str(&f, fd, "x");
        fixture_wait_ms(&f, 5);
    }
    ok(end == 1 && starts(&got, "HTTP/1.1 408"), "slow body: 408 and close");
    (void)close(fd);
    buf_reset(&got);
    fd = fixture_pair(&f);
    send_str(&f, fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n\r\n");
    char part[200];
    memset(part, 'x', sizeof(part));
    for (int i = 0; i < 20; i++) { /* 100 ms in all */
        fixture_send(&f, fd, part, sizeof(part));
        fixture_wait_ms(&f, 5);
    }
    ok(fixture_recv(fd, &got) == 0 && starts(&got, "HTTP/1.1 200"),
       "a body that makes progress may take longer than the timeout");
    (void)close(fd);
    fixture_fini(&f);

    o = options_default();
    o.idle_timeout_ms = 20;
    fixture_init(&f, &o, false);
    buf_reset(&got);
    fd = fixture_pair(&f);
    is_u64(recv_to_end(&f, fd, &got), 1, "an idle connection is closed");
    is_u64(got.len, 0, "without a word");
    (void)close(fd);
    fd = fixture_pair(&f);
    f.held_count = 0;
    send_str(&f, fd, "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n");
    fixture_wait_ms(&f, 60);
    ok(fixture_recv(fd, &got) == 0, "one that waits for the handler is not");
    fixture_reply(&f, 0, "x");
    is_u64(recv_to_end(&f, fd, &got), 1, "until it has its answer");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
}

/* A client that asks for much and reads nothing. */
static void test_slow_reader(void)
{
    struct fixture f;
    struct http_options o = options_default();
    o.body_timeout_ms = 30;
    fixture_init(&f, &o, false);
    int fd = fixture_pair(&f);
    send_str(&f, fd, "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n");
    size_t big = 4 << 20;
    char *body = malloc(big + 1);
    memset(body, 'b', big);
    body[big] = '\0';
    fixture_reply(&f, 0, body);
    for (int i = 0; i < 500 && http_server_connections(f.s) > 0; i++)
        fixture_wait_ms(&f, 10);
    is_u64(http_server_connections(f.s), 0, "a client that does not read is closed");
    (void)close(fd);
    fixture_fini(&f);

    /* One that reads slowly gets everything. */
    struct buf got;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    fd = fixture_pair(&f);
    send_str(&f, fd, "GET /defer HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    fixture_reply(&f, 0, body);
    is_u64(recv_to_end(&f, fd, &got), 1, "one that reads gets a large answer to its end");
    ok(got.len > big && got.ptr[got.len - 1] == 'b' && count(&got, "Content-Length: 4194304") == 1,
       "all of it");
    free(body);
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
}

/* What is not read must not pile up: the next request waits for room. */
static void test_unread_answers(void)
{
    struct fixture f;
    struct buf got, requests;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    buf_init(&requests, SIZE_MAX);
    int fd = fixture_pair(&f);
    for (int i = 0; i < 20; i++)
        buf_printf(&requests, "GET /big HTTP/1.1\r\nHost: h\r\n%s\r\n",
                   i == 19 ? "Connection: close\r\n" : "");
    fixture_send(&f, fd, requests.ptr, requests.len);
    is_u64(count(&f.seen, "GET /big"), 1, "an answer that is not read holds back the next request");
    is_u64(recv_to_end(&f, fd, &got), 1, "who reads gets all of them");
    is_u64(count(&f.seen, "GET /big"), 20, "each request was seen once");
    ok(got.len > 20 * FIXTURE_BIG_BYTES && count(&got, "HTTP/1.1 200 OK") == 20, "and answered");
    (void)close(fd);
    buf_fini(&got);
    buf_fini(&requests);
    fixture_fini(&f);
}

static void drained(void *arg)
{
    ++*(int *)arg;
}

static void test_drain(void)
{
    struct fixture f;
    struct buf got;
    int said = 0;
    fixture_init(&f, NULL, true);
    buf_init(&got, SIZE_MAX);
    int idle = fixture_connect(&f), busy = fixture_connect(&f);
    send_str(&f, busy,
             "GET /defer HTTP/1.1\r\nHost: h\r\n\r\nGET /defer HTTP/1.1\r\nHost: h\r\n\r\n");
    http_server_drain(f.s, drained, &said);
    fixture_pump(&f);
    is_u64(fixture_recv(idle, &got), 1, "an idle connection closes at once");
    is_u64(got.len, 0, "without a word");
    ok(fixture_recv(busy, &got) == 0 && said == 0, "a busy one stays");
    fixture_reply(&f, 0, "one");
    fixture_pump(&f);
    ok(fixture_recv(busy, &got) == 0 && count(&got, "Connection: close") == 0, "for each answer");
    fixture_reply(&f, 1, "two");
    is_u64(recv_to_end(&f, busy, &got), 1, "and ends with the last");
    is_u64(count(&got, "Connection: close"), 1, "which says so");
    (void)close(busy);
    fixture_pump(&f);
    is_u64(said, 1, "drained is said once");
    (void)close(idle);
    fixture_fini(&f);

    fixture_init(&f, NULL, false);
    said = 0;
    http_server_drain(f.s, drained, &said);
    is_u64(said, 0, "not from within the call");
    fixture_pump(&f);
    is_u64(said, 1, "a server without connections drains too");
    fixture_fini(&f);
    buf_fini(&got);
}

static void test_accept_limits(void)
{
    struct fixture f;
    struct buf got;
    struct http_options o = options_default();
    o.connections_max = 2;
    fixture_init(&f, &o, true);
    buf_init(&got, SIZE_MAX);
    int a = fixture_connect(&f), b = fixture_connect(&f), c = fixture_connect(&f);
    is_u64(http_server_connections(f.s), 2, "no more connections than allowed");
    send_str(&f, c, GET_ECHO);
    ok(fixture_recv(c, &got) == 0 && got.len == 0, "the third waits");
    (void)close(a);
    fixture_pump(&f);
    (void)fixture_recv(c, &got);
    ok(starts(&got, "HTTP/1.1 200"), "and is served when one has gone");
    o.connections_max = 3;
    http_server_reconfigure(f.s, &o);
    (void)close(b);
    (void)close(c);

    /* No descriptors: accepting pauses instead of spinning, and goes on by itself. */
    struct rlimit old, low;
    must(getrlimit(RLIMIT_NOFILE, &old) == 0);
    a = socket(AF_UNIX, SOCK_STREAM, 0);
    fixture_pump(&f);
    int d = fixture_connect(&f);
    fixture_pump(&f);
    is_u64(http_server_connections(f.s), 1, "room again");
    low = old;
    low.rlim_cur = 0;
    struct buf got2;
    buf_init(&got2, SIZE_MAX);
    int e = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    must(getsockname(f.listen_fd, (struct sockaddr *)&ss, &len) == 0);
    must(setrlimit(RLIMIT_NOFILE, &low) == 0);
    must(connect(e, (struct sockaddr *)&ss, len) == 0);
    fixture_pump(&f);
    is_u64(http_server_connections(f.s), 1, "EMFILE: the client waits");
    must(setrlimit(RLIMIT_NOFILE, &old) == 0);
    for (int i = 0; i < 500 && http_server_connections(f.s) < 2; i++)
        fixture_wait_ms(&f, 10);
    is_u64(http_server_connections(f.s), 2, "and is accepted later");
    (void)close(a);
    (void)close(d);
    (void)close(e);
    fixture_fini(&f);
    buf_fini(&got);
    buf_fini(&got2);
}

static void test_cors_list(void)
{
    struct fixture f;
    struct buf got;
    const struct slice origins[] = {SLICE_LIT("http://a"), SLICE_LIT("http://b")};
    struct http_options o = options_default();
    o.cors_origins = origins;
    o.cors_origin_count = 2;
    fixture_init(&f, &o, false);
    buf_init(&got, SIZE_MAX);
    int fd = fixture_pair(&f);
    send_str(&f, fd, "GET /const HTTP/1.1\r\nHost: h\r\nOrigin: http://b\r\n\r\n");
    (void)fixture_recv(fd, &got);
    ok(count(&got, "Access-Control-Allow-Origin: http://b\r\n") == 1 &&
           count(&got, "Vary: Origin\r\n") == 1,
       "a listed origin is echoed");
    buf_reset(&got);
    send_str(&f, fd, "GET /const HTTP/1.1\r\nHost: h\r\nOrigin: http://b.evil\r\n\r\n");
    (void)fixture_recv(fd, &got);
    ok(count(&got, "Access-Control") == 0 && count(&got, "Vary: Origin\r\n") == 1,
       "another gets Vary only");
    buf_reset(&got);
    send_str(&f, fd, "GET /const HTTP/1.1\r\nHost: h\r\n\r\n");
    (void)fixture_recv(fd, &got);
    ok(count(&got, "Access-Control") == 0 && count(&got, "Vary") == 0, "no Origin, no headers");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
}

/* Memory of idle connections, and none taken by the next requests. */
static void test_memory(void)
{
    enum {
        N = 400
    };
    static int fds[N];
    static char body[300000];
    struct fixture f;
    struct buf got;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    for (int i = 0; i < N; i++) /* warm: libevent's tables, the descriptors */
        fds[i] = fixture_pair(&f);
    for (int i = 0; i < N; i++)
        (void)close(fds[i]);
    fixture_pump(&f);
    fds[0] = fixture_pair(&f);
    send_str(&f, fds[0], GET_ECHO "GET /const HTTP/1.1\r\nHost: h\r\n\r\n");
    (void)fixture_recv(fds[0], &got);
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < 1000; i++) {
        send_str(&f, fds[0], "POST /const HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
        buf_reset(&f.seen);
        (void)fixture_recv(fds[0], &got);
        buf_reset(&got);
    }
    struct mallinfo2 after = mallinfo2();
    is_u64(after.uordblks + after.hblkhd, before.uordblks + before.hblkhd,
           "1000 requests take no memory that stays");
    send_str(&f, fds[0], "POST /defer HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n");
    fixture_send(&f, fds[0], body, sizeof(body));
    is_u64(f.held[0]->body.len, sizeof(body), "a large body");
    fixture_reply(&f, 0, "x");
    fixture_pump(&f);
    for (int i = 0; i < 200 && f.s->pool.kept_bytes > 0; i++)
        (void)http_pool_trim(&f.s->pool);
    is_u64(f.s->bodies_bytes, 0, "no body memory is held afterwards");
    is_u64(f.s->pool.kept_bytes, 0, "and the pool gives it back");
    size_t per = sizeof(struct http_conn) + 2 * event_get_struct_event_size();
    printf("# bytes per idle connection: %zu\n", per);
    ok(per <= 768, "an idle connection costs less than 768 bytes");
    ok(f.s->free_req_count > 0 && f.s->free_req_count <= HTTP_REQUESTS_KEPT, "requests are pooled");
    (void)close(fds[0]);
    fixture_fini(&f);
    buf_fini(&got);
}

/* Windows of zstd count towards the memory that bodies may take, and are given back. */
static void test_windows(void)
{
    enum {
        N = 140
    };
    static int fds[N];
    /* A head, then half a frame that asks for 8 MiB of window. */
    static const char begin[] = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Encoding: zstd\r\n"
                                "Content-Length: 30\r\n\r\n(\xb5/\xfd\x00\x68";
    struct fixture f;
    struct buf got;
    int refused = 0;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    for (int i = 0; i < N; i++) {
        fds[i] = fixture_pair(&f);
        fixture_send(&f, fds[i], begin, sizeof(begin) - 1);
        (void)fixture_recv(fds[i], &got);
        refused += starts(&got, "HTTP/1.1 503 ");
        buf_reset(&got);
    }
    printf("# %d of %d refused, %llu bytes counted\n", refused, N,
           (unsigned long long)f.s->bodies_bytes);
    ok(refused > 0 && refused < N / 2, "beyond the loop's budget: 503");
    ok(f.s->bodies_bytes <= HTTP_BODIES_BYTES && f.s->bodies_bytes > HTTP_BODIES_BYTES / 2,
       "the budget is used and kept");
    for (int i = 0; i < N; i++)
        (void)close(fds[i]);
    fixture_pump(&f);
    is_u64(f.s->bodies_bytes, 0, "all of it is given back");
    is_u64(f.s->decoder_count[HTTP_DECODER_ZSTD], 0, "large windows are not kept");

    fds[0] = fixture_pair(&f);
    send_str(&f, fds[0],
             "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Encoding: zstd\r\nContent-Length: 3\r\n\r\n"
             "abc");
    (void)close(fds[0]);
    fixture_pump(&f);
    is_u64(f.s->decoder_count[HTTP_DECODER_ZSTD], 1, "a small decoder is");
    ok(http_recv_trim(f.s) && !http_recv_trim(f.s), "until nobody needs it");
    fixture_fini(&f);
    buf_fini(&got);
}

struct loop_thread {
    pthread_t thread;
    int listen_fd;
    _Atomic bool stop;
    _Atomic int served;
};

static int thread_head(void *ctx, struct http_request *r, struct http_admit *admit)
{
    (void)ctx;
    (void)r;
    (void)admit;
    return 0;
}

static void thread_request(void *ctx, struct http_request *r)
{
    struct loop_thread *t = ctx;
    atomic_fetch_add(&t->served, 1);
    http_reply_json_const(r, SLICE_LIT("{}"));
}

static void *thread_main(void *arg)
{
    struct loop_thread *t = arg;
    struct http_server *s;
    struct http_options o = options_default();
    const struct http_handler handler = {t, thread_head, thread_request};
    struct event_base *base = event_base_new();
    must(http_server_new(&s, base, &(struct http_listener){.fd = t->listen_fd}, 1, &handler, &o,
                         NULL) == 0);
    struct timeval tv = {0, 2000};
    while (!atomic_load(&t->stop)) {
        (void)event_base_loopexit(base, &tv);
        (void)event_base_dispatch(base);
    }
    http_server_free(s);
    event_base_free(base);
    return NULL;
}

/* Two loops share a listener: every client is served, whoever accepts it. */
static void test_two_loops(void)
{
    struct loop_thread loops[2] = {0};
    struct fixture f; /* only for its way to connect */
    struct err e;
    fixture_init(&f, NULL, false);
    must(http_listen("127.0.0.1", 0, &f.listen_fd, &f.port, &e) == 0);
    for (int i = 0; i < 2; i++) {
        loops[i].listen_fd = f.listen_fd;
        must(pthread_create(&loops[i].thread, NULL, thread_main, &loops[i]) == 0);
    }
    int answered = 0;
    for (int i = 0; i < 50; i++) {
        struct buf got;
        buf_init(&got, SIZE_MAX);
        int fd = fixture_connect(&f);
        send_str(&f, fd, "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        answered += recv_to_end(&f, fd, &got) == 1 && starts(&got, "HTTP/1.1 200 OK");
        (void)close(fd);
        buf_fini(&got);
    }
    is_u64(answered, 50, "two loops on one listener serve every client");
    int served = 0;
    for (int i = 0; i < 2; i++) {
        atomic_store(&loops[i].stop, true);
        (void)pthread_join(loops[i].thread, NULL);
        served += loops[i].served;
    }
    is_u64(served, 50, "each once");
    fixture_fini(&f);
}

static void test_listen(void)
{
    struct err e;
    int a, b;
    uint16_t port, port_b;
    must(http_listen("127.0.0.1", 0, &a, &port, &e) == 0);
    ok(http_listen("127.0.0.1", port, &b, &port_b, &e) == -EADDRINUSE, "a port that is taken");
    ok(strstr(e.text, "127.0.0.1") != NULL && strstr(e.text, "in use") != NULL, "says: %s", e.text);
    ok(http_listen("no.such.host.invalid", 1, &b, &port, &e) < 0 && e.text[0] != '\0', "says: %s",
       e.text);
    (void)close(a);
}

int main(void)
{
    test_two_loops();
    test_listen();
    test_pipelining();
    test_deferred();
    test_backpressure();
    test_vanishing();
    test_close_drops_later();
    test_continue();
    test_413_while_sending();
    test_timeouts();
    test_slow_reader();
    test_unread_answers();
    test_drain();
    test_accept_limits();
    test_cors_list();
    test_memory();
    test_windows();
    return tap_done();
}
