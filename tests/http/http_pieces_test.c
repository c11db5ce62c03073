/* SPDX-License-Identifier: Apache-2.0 */
/* Answers in pieces over time: order, back-pressure, clients that leave, are slow or send on,
 * clocks, draining. */
#include "http/priv.h"
#include "tests/http/fixture.h"
#include "tests/lib/tap.h"

#include <event2/event.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEFER     "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n"
#define DEFER_1_0 "GET /defer HTTP/1.0\r\n\r\n"
#define GET_ECHO  "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"
#define BIG       ((size_t)3 << 20)

struct writer {
    struct http_stream *s;
    int rooms, closed;
    const char *refill; /* on_room writes it again */
    size_t refill_len;
};

static void on_room(void *ctx)
{
    struct writer *w = ctx;
    w->rooms++;
    if (w->refill != NULL)
        must(http_stream_write(w->s, (struct slice){w->refill, w->refill_len}) == 0);
}

static void on_closed(void *ctx)
{
    struct writer *w = ctx;
    w->closed++;
    w->s = NULL;
}

static void begin(struct fixture *f, int held, struct writer *w, bool endless)
{
    const struct http_stream_events events = {.ctx = w,
                                              .on_room = on_room,
                                              .on_closed = on_closed,
                                              .room_bytes = 1000,
                                              .endless = endless};
    const struct http_reply head = {.status = 200, .content_type = "text/plain"};
    struct http_request *r = f->held[held];
    f->held[held] = NULL;
    if (http_stream_begin(r, &head, &events, &w->s) != 0)
        w->s = NULL;
    fixture_pump(f);
}

static int open_stream(struct fixture *f, struct writer *w, bool endless)
{
    int fd = fixture_pair(f);
    f->held_count = 0;
    *w = (struct writer){0};
    fixture_send(f, fd, DEFER, strlen(DEFER));
    begin(f, 0, w, endless);
    return fd;
}

/* The body of the first answer in b, out of its chunks; false: they are not well-formed so far.
 * *ended: the last chunk was there. */
static bool unchunk(const struct buf *b, struct buf *body, bool *ended)
{
    const char *p = memmem(b->ptr, b->len, "\r\n\r\n", 4), *end = b->ptr + b->len;
    *ended = false;
    if (p == NULL)
        return false;
    for (p += 4; p < end;) {
        char *after;
        size_t n = strtoul(p, &after, 16);
        if (after == p || end - after < 4 || memcmp(after, "\r\n", 2) != 0)
            return false;
        p = after + 2;
        if ((size_t)(end - p) < n + 2 || memcmp(p + n, "\r\n", 2) != 0)
            return false;
        buf_put(body, p, n);
        p += n + 2;
        if (n == 0) {
            *ended = true;
            return true;
        }
    }
    return true;
}

static bool contains(const struct buf *b, const char *what)
{
    return b->len > 0 && memmem(b->ptr, b->len, what, strlen(what)) != NULL;
}

static int recv_to_end(struct fixture *f, int fd, struct buf *out)
{
    int end = 0;
    for (int i = 0; i < 500 && (end = fixture_recv(fd, out)) == 0; i++)
        fixture_wait_ms(f, 10);
    return end;
}

static void test_order(void)
{
    struct fixture f;
    struct writer a = {0}, b = {0};
    struct buf got;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    int fd = fixture_pair(&f);
    for (int i = 0; i < 4; i++)
        fixture_send(&f, fd, DEFER, strlen(DEFER));
    begin(&f, 1, &a, true);
    begin(&f, 3, &b, false);
    must(http_stream_write(a.s, SLICE_LIT("of a ")) == 0);
    must(http_stream_write(b.s, SLICE_LIT("of b ")) == 0);
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    is_u64(got.len, 0, "a stream waits for the answer before it");
    fixture_send(&f, fd, GET_ECHO, strlen(GET_ECHO));
    is_u64(f.held_count, 4, "nothing is parsed behind it");
    fixture_reply(&f, 0, "zero");
    fixture_reply(&f, 2, "two");
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    ok(contains(&got, "zero") && contains(&got, "5\r\nof a \r\n") && !contains(&got, "two"),
       "then what it was given goes out, and nothing of what is behind it");
    http_stream_end(a.s, true);
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    ok(contains(&got, "0\r\n\r\nHTTP/1.1 200 OK") && contains(&got, "two") &&
           contains(&got, "of b") && !contains(&got, "GET /echo"),
       "its end lets the next answers go");
    http_stream_end(b.s, true);
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    ok(contains(&got, "GET /echo"), "and the last one's lets requests be parsed again");
    is_u64(a.closed + b.closed, 0, "who ends a stream is not told of its end");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
}

static void test_shared_blocks(void)
{
    struct fixture f;
    struct writer w[3];
    int fds[3];
    struct buf big;
    fixture_init(&f, NULL, false);
    buf_init(&big, SIZE_MAX);
    for (size_t i = 0; i < BIG; i++)
        buf_put_u8(&big, (uint8_t)('a' + i % 23));
    for (int i = 0; i < 3; i++)
        fds[i] = open_stream(&f, &w[i], true);
    struct http_block *block = http_block_new(buf_slice(&big)),
                      *small = http_block_new(SLICE_LIT("small"));
    ok(http_block_new((struct slice){NULL, 0}) == NULL, "there is no empty block");
    ok(slice_eq(http_block_bytes(block), buf_slice(&big)), "a block shows its bytes");
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 5; k++)
            must(http_stream_write_block(w[i].s, k % 2 == 0 ? small : block) == 0);
    http_block_unref(block);
    http_block_unref(small);
    fixture_pump(&f);
    ok(http_stream_queued(w[0].s) > BIG, "what a client does not read stays queued");
    bool same = true, rooms = true;
    for (int i = 0; i < 3; i++) {
        struct buf got, body;
        bool ended;
        buf_init(&got, SIZE_MAX);
        buf_init(&body, SIZE_MAX);
        while (http_stream_queued(w[i].s) > 0) {
            (void)fixture_recv(fds[i], &got);
            fixture_pump(&f);
        }
        rooms = rooms && w[i].rooms == 1;
        http_stream_end(w[i].s, true);
        fixture_pump(&f);
        (void)fixture_recv(fds[i], &got);
        same = same && unchunk(&got, &body, &ended) && ended && body.len == 2 * BIG + 15 &&
               memcmp(body.ptr, "small", 5) == 0 && memcmp(body.ptr + 5, big.ptr, BIG) == 0 &&
               memcmp(body.ptr + 10 + BIG, big.ptr, BIG) == 0;
        (void)close(fds[i]);
        buf_fini(&got);
        buf_fini(&body);
    }
    ok(same, "three clients read the same blocks, whole and in order");
    ok(rooms, "each is told once that there is room again");
    fixture_fini(&f);
    buf_fini(&big);
}

static void test_full(void)
{
    struct fixture f;
    struct writer w;
    struct buf got, body;
    bool ended;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    buf_init(&body, SIZE_MAX);
    int fd = open_stream(&f, &w, false);
    char *mib = calloc(1, MIB);
    must(mib != NULL);
    struct http_block *block = http_block_new((struct slice){mib, MIB});
    int rc = 0, n = 0;
    for (; rc == 0 && n < 1000; n++)
        rc = http_stream_write_block(w.s, block);
    ok(rc == WH_EFULL && n == (int)(HTTP_STREAM_BYTES_MAX / MIB), "a stream's queue has a bound");
    http_block_unref(block);
    free(mib);
    fixture_pump(&f);
    ok(recv_to_end(&f, fd, &got) == 1, "past it the connection is cut");
    ok(!unchunk(&got, &body, &ended) || !ended,
       "so that the client sees that something is missing");
    is_u64(w.closed, 0, "the writer knows already");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
    buf_fini(&body);
}

static void test_cut(void)
{
    struct fixture f;
    struct writer w = {0};
    struct buf got;
    fixture_init(&f, NULL, true);
    buf_init(&got, SIZE_MAX);
    int fd = fixture_connect(&f);
    fixture_send(&f, fd, DEFER_1_0, strlen(DEFER_1_0));
    begin(&f, 0, &w, false);
    must(http_stream_write(w.s, SLICE_LIT("half")) == 0);
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    ok(contains(&got, "\r\n\r\nhalf") && !contains(&got, "chunked"), "HTTP/1.0 reads plain bytes");
    http_stream_end(w.s, false);
    ok(recv_to_end(&f, fd, &got) == -1, "a cut is a reset there");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
}

static void test_leaving(void)
{
    struct fixture f;
    struct writer w;
    struct buf got;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    int fd = open_stream(&f, &w, true);
    (void)close(fd);
    fixture_pump(&f);
    ok(w.closed == 1 && http_server_connections(f.s) == 0,
       "a client that leaves is noticed at once");

    fd = open_stream(&f, &w, true);
    (void)shutdown(fd, SHUT_WR);
    fixture_pump(&f);
    ok(w.closed == 1, "of an endless stream, also by half");
    (void)close(fd);

    fd = open_stream(&f, &w, false);
    (void)shutdown(fd, SHUT_WR);
    fixture_pump(&f);
    must(w.closed == 0 && http_stream_write(w.s, SLICE_LIT("owed")) == 0);
    http_stream_end(w.s, true);
    ok(recv_to_end(&f, fd, &got) == 1 && contains(&got, "owed\r\n0\r\n\r\n"),
       "of one with an end, what is owed still comes");
    (void)close(fd);
    fixture_pump(&f);

    /* Gone before it began, with its server still there. */
    fd = fixture_pair(&f);
    f.held_count = 0;
    fixture_send(&f, fd, DEFER, strlen(DEFER));
    fixture_send(&f, fd, DEFER, strlen(DEFER));
    fixture_reply(&f, 0, "x");
    (void)close(fd);
    fixture_pump(&f);
    w = (struct writer){0};
    begin(&f, 1, &w, true);
    ok(w.s == NULL && w.closed == 0, "no stream begins for a client that has left");

    fd = open_stream(&f, &w, true);
    http_server_free(f.s);
    f.s = NULL;
    is_u64(w.closed, 1, "a server that is freed tells its streams");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
}

static void test_head(void)
{
    struct fixture f;
    struct writer w = {0};
    struct buf got;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    int fd = fixture_pair(&f);
    fixture_send(&f, fd, "HEAD /defer HTTP/1.1\r\nHost: h\r\n\r\n" GET_ECHO, 34 + strlen(GET_ECHO));
    const struct http_stream_events events = {.ctx = &w, .on_closed = on_closed, .endless = true};
    must(http_stream_begin(f.held[0], &(struct http_reply){.status = 200, .body = SLICE_LIT("x")},
                           &events, &w.s) == 0);
    must(w.closed == 0 && http_stream_write(w.s, SLICE_LIT("nobody reads this")) == 0);
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    ok(w.closed == 1 && contains(&got, "Transfer-Encoding: chunked") && !contains(&got, "nobody") &&
           contains(&got, "GET /echo"),
       "HEAD ends after its head, and the next request is answered");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
}

static void test_clocks(void)
{
    struct fixture f;
    struct writer idle, slow;
    struct buf got;
    struct http_options o = {.connections_max = 100,
                             .idle_timeout_ms = 30,
                             .header_timeout_ms = 30,
                             .body_timeout_ms = 30};
    fixture_init(&f, &o, false);
    buf_init(&got, SIZE_MAX);
    int fd = open_stream(&f, &idle, true);
    fixture_send(&f, fd, "half a he", 9);
    fixture_wait_ms(&f, 200);
    ok(idle.closed == 0, "neither silence nor half a request behind it ends a stream");
    must(http_stream_write(idle.s, SLICE_LIT("still here")) == 0);
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    ok(contains(&got, "still here"), "it can be written to");

    int fd2 = open_stream(&f, &slow, true);
    char *big = calloc(1, BIG);
    must(big != NULL && http_stream_write(slow.s, (struct slice){big, BIG}) == 0);
    free(big);
    fixture_pump(&f);
    clock_t before = clock();
    for (int i = 0; i < 500 && slow.closed == 0; i++)
        fixture_wait_ms(&f, 10);
    ok(slow.closed == 1 && idle.closed == 0, "a client that takes nothing of what waits is closed");
    ok(clock() - before < CLOCKS_PER_SEC / 10, "and waiting for it costs no time of the processor");
    (void)close(fd);
    (void)close(fd2);
    fixture_fini(&f);
    buf_fini(&got);
}

static void test_turns(void)
{
    struct fixture f;
    struct writer w;
    struct buf got;
    static char piece[64 * KIB];
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    int fd = open_stream(&f, &w, false);
    int other = fixture_pair(&f);
    w.refill = piece;
    w.refill_len = sizeof(piece);
    must(http_stream_write(w.s, (struct slice){piece, sizeof(piece)}) == 0);
    bool answered = false;
    (void)send(other, GET_ECHO, strlen(GET_ECHO), MSG_NOSIGNAL);
    for (int i = 0; i < 100 && !answered; i++) {
        char sink[64 * KIB];
        while (recv(fd, sink, sizeof(sink), 0) > 0)
            ;
        (void)event_base_loop(f.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        (void)fixture_recv(other, &got);
        answered = contains(&got, "GET /echo");
    }
    ok(answered && w.rooms > 0, "a stream that never stops leaves others their turn");
    http_stream_end(w.s, false);
    (void)close(fd);
    (void)close(other);
    fixture_fini(&f);
    buf_fini(&got);
}

static void test_parse_ahead(void)
{
    struct fixture f;
    struct writer w;
    struct buf in;
    fixture_init(&f, NULL, false);
    buf_init(&in, SIZE_MAX);
    int fd = open_stream(&f, &w, true);
    for (int i = 0; i < 100000; i++)
        buf_put_str(&in, GET_ECHO);
    size_t off = 0;
    for (int idle = 0; off < in.len && idle < 3;) {
        ssize_t n = send(fd, in.ptr + off, in.len - off, MSG_NOSIGNAL);
        off += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        fixture_pump(&f);
    }
    ok(off < in.len, "what a client sends behind its stream is held back by its socket");
    clock_t before = clock();
    fixture_wait_ms(&f, 200);
    ok(clock() - before < CLOCKS_PER_SEC / 20, "without the loop spinning");
    must(http_stream_write(w.s, SLICE_LIT("x")) == 0);
    http_stream_end(w.s, true);
    struct buf got;
    buf_init(&got, SIZE_MAX);
    fixture_pump(&f);
    (void)fixture_recv(fd, &got);
    ok(contains(&got, "0\r\n\r\nHTTP/1.1 200 OK"), "and is read once it has ended");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&in);
    buf_fini(&got);
}

static void drained(void *arg)
{
    *(bool *)arg = true;
}

static void test_drain(void)
{
    struct fixture f;
    struct writer endless, stuck, finite, late;
    struct buf got;
    bool done = false, ended;
    fixture_init(&f, NULL, false);
    buf_init(&got, SIZE_MAX);
    int a = open_stream(&f, &endless, true), b = open_stream(&f, &stuck, true),
        c = open_stream(&f, &finite, false);
    int d = fixture_pair(&f);
    f.held_count = 0;
    fixture_send(&f, d, DEFER, strlen(DEFER));
    must(http_stream_write(endless.s, SLICE_LIT("last words")) == 0);
    char *big = calloc(1, BIG);
    must(big != NULL && http_stream_write(stuck.s, (struct slice){big, BIG}) == 0);
    free(big);
    fixture_pump(&f);
    http_server_drain(f.s, drained, &done);
    fixture_pump(&f);
    struct buf body;
    buf_init(&body, SIZE_MAX);
    (void)fixture_recv(a, &got);
    ok(endless.closed == 1 && unchunk(&got, &body, &ended) && ended,
       "draining ends an endless stream at once and whole");
    ok(stuck.closed == 1, "one that is not read is closed");
    ok(finite.closed == 0, "one with an end goes on");
    late = (struct writer){0};
    begin(&f, 0, &late, true);
    is_u64(late.closed, 1, "one that begins now ends at once");
    must(http_stream_write(finite.s, SLICE_LIT("rest")) == 0);
    http_stream_end(finite.s, true);
    buf_reset(&got);
    ok(recv_to_end(&f, c, &got) == 1 && contains(&got, "rest\r\n0\r\n\r\n"),
       "then comes its end, and the connection's");
    (void)close(a);
    (void)close(b);
    (void)close(c);
    (void)close(d);
    for (int i = 0; i < 500 && !done; i++)
        fixture_wait_ms(&f, 10);
    ok(done, "and the server is drained");
    fixture_fini(&f);
    buf_fini(&got);
    buf_fini(&body);
}

int main(void)
{
    test_order();
    test_shared_blocks();
    test_full();
    test_cut();
    test_leaving();
    test_head();
    test_clocks();
    test_turns();
    test_parse_ahead();
    test_drain();
    return tap_done();
}
