/* SPDX-License-Identifier: Apache-2.0 */
/* The native client against a peer on loopback that follows a script: what is sent, in which order,
 * and which outcome each way of breaking off has. */
#include "clickhouse/native.h"
#include "clickhouse/tls_client.h"
#include "clickhouse/wire.h"
#include "io/clock.h"

#include "tests/lib/tap.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A step of the peer: read until what came since the last step ends with `until`, then send. */
enum step_kind {
    STEP_END,
    STEP_ACCEPT,
    STEP_READ,
    STEP_SEND,
    STEP_CLOSE,
    STEP_RESET,
    STEP_DRAIN
};
struct step {
    enum step_kind kind;
    struct slice bytes;
};

static struct {
    int listen_fd;
    struct step steps[64];
    int step_count;
    struct buf in;    /* everything of the last READ step */
    struct buf query; /* the last READ that began with a query */
    int accepts;
    bool failed;
    pthread_t thread;
} peer;

static struct buf texts[64]; /* bytes of the steps */
static int text_count;
static struct ch_endpoint endpoint;
static struct ch_options options;

/* Whoever answers is waited for, however busy the machine is; whoever is silent, not as long. */
#define PATIENCE_MS 20000
#define SILENCE_MS  500
static void patience(uint64_t ms)
{
    options.connect_timeout_ms = options.io_timeout_ms = ms;
}

static struct buf *text(void)
{
    struct buf *b = &texts[text_count++];
    buf_init(b, 1 << 20);
    return b;
}

static void step(enum step_kind kind, const struct buf *b)
{
    peer.steps[peer.step_count++] =
        (struct step){kind, b != NULL ? buf_slice(b) : (struct slice){NULL, 0}};
}

static bool read_until(int fd, struct slice end)
{
    buf_reset(&peer.in);
    while (peer.in.len < end.len ||
           memcmp(peer.in.ptr + peer.in.len - end.len, end.ptr, end.len) != 0) {
        char piece[65536];
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n <= 0)
            return false;
        buf_put(&peer.in, piece, (size_t)n);
    }
    size_t addendum = peer.in.len > 1 && peer.in.ptr[0] == 0 ? 1 : 0; /* an empty quota key */
    if (peer.in.len > addendum && peer.in.ptr[addendum] == CH_C_QUERY) {
        buf_reset(&peer.query);
        buf_put(&peer.query, peer.in.ptr, peer.in.len);
    }
    return true;
}

static void *run_peer(void *arg)
{
    (void)arg;
    int fd = -1;
    for (int i = 0; i < peer.step_count && !peer.failed; i++) {
        const struct step *s = &peer.steps[i];
        struct linger reset = {1, 0};
        char skip[65536];
        switch (s->kind) {
        case STEP_ACCEPT:
            fd = accept(peer.listen_fd, NULL, NULL);
            peer.accepts++;
            break;
        case STEP_READ:
            peer.failed = !read_until(fd, s->bytes);
            break;
        case STEP_SEND:
            peer.failed =
                send(fd, s->bytes.ptr, s->bytes.len, MSG_NOSIGNAL) != (ssize_t)s->bytes.len;
            break;
        case STEP_DRAIN: /* until the client closes */
            while (read(fd, skip, sizeof(skip)) > 0) {
            }
            break;
        case STEP_RESET:
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
            (void)close(fd);
            fd = -1;
            break;
        default:
            (void)close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

/* ---- pieces of a conversation ---- */

static void hello_step(uint32_t major, uint32_t revision)
{
    struct buf *b = text();
    ch_put_cstring(b, "default");
    ch_put_cstring(b, "pass");
    step(STEP_ACCEPT, NULL);
    step(STEP_READ, b);
    b = text();
    buf_put_u8(b, CH_S_HELLO);
    ch_put_cstring(b, "ClickHouse");
    ch_put_varint(b, major);
    ch_put_varint(b, 3);
    ch_put_varint(b, revision);
    ch_put_cstring(b, "UTC");
    ch_put_cstring(b, "peer");
    ch_put_varint(b, 1);
    step(STEP_SEND, b);
}

static void read_empty_block(enum ch_framing framing)
{
    struct buf *b = text();
    ch_put_empty_data(b, framing);
    step(STEP_READ, b);
}

static void sample_step(const char *type, uint32_t revision, enum ch_framing framing)
{
    struct buf *b = text(), block;
    buf_put_u8(b, CH_S_TABLE_COLUMNS);
    ch_put_cstring(b, "");
    ch_put_cstring(b, "columns format version: 1");
    buf_put_u8(b, CH_S_PROGRESS);
    for (int i = 0; i < (revision >= 54460 ? 6 : 3); i++)
        ch_put_varint(b, 1000);
    buf_put_u8(b, CH_S_DATA);
    ch_put_cstring(b, "");
    buf_init(&block, 4096);
    ch_put_block_head(&block, 1, 0);
    ch_put_cstring(&block, "k");
    ch_put_cstring(&block, type);
    if (revision >= CH_REV_CUSTOM_BYTE)
        buf_put_u8(&block, 0);
    if (framing == CH_FRAMES_OFF)
        buf_put_slice(b, buf_slice(&block));
    else
        ch_put_frame(b, framing, block.ptr, block.len, 1);
    buf_fini(&block);
    step(STEP_SEND, b);
}

static void byte_step(uint8_t code)
{
    struct buf *b = text();
    buf_put_u8(b, code);
    step(STEP_SEND, b);
}

static void exception_step(int32_t code, const char *message)
{
    struct buf *b = text();
    buf_put_u8(b, CH_S_EXCEPTION);
    buf_put_le32(b, (uint32_t)code);
    ch_put_cstring(b, "DB::Exception");
    ch_put_cstring(b, message);
    ch_put_cstring(b, "");
    buf_put_u8(b, 0);
    step(STEP_SEND, b);
}

static void good_insert_steps(void)
{
    read_empty_block(CH_FRAMES_OFF);
    sample_step("UInt32", 54460, CH_FRAMES_OFF);
    read_empty_block(CH_FRAMES_OFF);
    byte_step(CH_S_END);
}

/* ---- running a script ---- */

static struct ch_native *begin_script(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(a);
    peer.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer.listen_fd < 0 || bind(peer.listen_fd, (struct sockaddr *)&a, len) != 0 ||
        listen(peer.listen_fd, 8) != 0 ||
        getsockname(peer.listen_fd, (struct sockaddr *)&a, &len) != 0)
        exit(99);
    endpoint = (struct ch_endpoint){.host = "127.0.0.1", .port = ntohs(a.sin_port)};
    options.endpoints = &endpoint;
    options.endpoint_count = 1;
    peer.accepts = 0;
    peer.failed = false;
    buf_reset(&peer.query);
    if (pthread_create(&peer.thread, NULL, run_peer, NULL) != 0)
        exit(99);
    return ch_native_new(&options);
}

static void end_script(struct ch_native *c)
{
    ch_native_free(c);
    (void)pthread_join(peer.thread, NULL);
    (void)close(peer.listen_fd);
    for (int i = 0; i < text_count; i++)
        buf_fini(&texts[i]);
    text_count = 0;
    peer.step_count = 0;
}

static uint64_t block_rows = 1;
static int writes;

static int write_numbers(void *ctx, bool custom_byte, struct ch_sink *sink)
{
    struct buf *out = sink->out;
    (void)ctx;
    writes++;
    ch_put_cstring(out, "k");
    ch_put_cstring(out, "UInt32");
    if (custom_byte)
        buf_put_u8(out, 0);
    /* In pieces of 1, 10, … 1,000,000 numbers, over and over. */
    struct buf numbers;
    buf_init(&numbers, SIZE_MAX);
    int rc = 0;
    for (uint32_t i = 0, n = 1, left = (uint32_t)block_rows; left > 0 && rc == 0; left -= n) {
        n = n == 1000000 ? 1 : n * 10;
        n = n < left ? n : left;
        buf_reset(&numbers);
        for (uint32_t k = 0; k < n; k++)
            buf_put_le32(&numbers, i++ * 2654435761u);
        rc = ch_sink_put(sink, numbers.ptr, numbers.len);
    }
    buf_fini(&numbers);
    return rc;
}

static enum ch_outcome insert_by(enum ch_outcome (*fn)(struct ch_native *c,
                                                       const struct ch_insert *ins,
                                                       struct ch_error *e),
                                 struct ch_native *c, struct ch_error *e)
{
    static const struct slice names[] = {{"k", 1}}, types[] = {{"UInt32", 6}};
    struct ch_insert ins = {.table = SLICE_LIT("t"),
                            .columns = names,
                            .types = types,
                            .column_count = 1,
                            .token = "c/t/1-9",
                            .hold = fn != ch_native_insert,
                            .row_count = block_rows,
                            .write_columns = write_numbers};
    *e = (struct ch_error){0};
    writes = 0;
    return fn(c, &ins, e);
}

static enum ch_outcome insert(struct ch_native *c, struct ch_error *e)
{
    return insert_by(ch_native_insert, c, e);
}

static void is_outcome(enum ch_outcome got, enum ch_outcome want, const struct ch_error *e,
                       const char *name)
{
    if (!ok(got == want, "%s: %s", name, ch_outcome_name(want)))
        printf("# got %s, code %d: %s\n", ch_outcome_name(got), e->code, e->text);
}

static bool query_has(const char *s)
{
    return peer.query.len > 0 && memmem(peer.query.ptr, peer.query.len, s, strlen(s)) != NULL;
}

/* ---- tests ---- */

static void test_good(enum ch_framing framing)
{
    struct ch_error e;
    options.compress_lz4 = framing != CH_FRAMES_OFF;
    hello_step(26, 54488);
    read_empty_block(framing);
    sample_step("UInt32", 54460, framing);
    read_empty_block(framing);
    byte_step(CH_S_END);
    struct ch_native *c = begin_script();
    is_outcome(insert(c, &e), CH_OK, &e, framing ? "insert, LZ4" : "insert, no compression");
    end_script(c);
    ok(writes == 1 && !peer.failed, "the block was written once");
    ok(query_has("INSERT INTO `default`.`t` (`k`) VALUES"), "the columns are named and quoted");
    ok(query_has("\x0c"
                 "async_insert\x01\x01"
                 "0") &&
           query_has("\x12"
                     "insert_deduplicate\x01\x01"
                     "1") &&
           query_has("\x1a"
                     "insert_deduplication_token\x01\x07"
                     "c/t/1-9"),
       "settings and token, each important");

    struct buf want, got;
    struct ch_sink sink = {.out = &want};
    buf_init(&want, SIZE_MAX);
    buf_init(&got, SIZE_MAX);
    if (framing == CH_FRAMES_OFF)
        ch_put_data_head(&want);
    ch_put_block_head(&want, 1, block_rows);
    (void)write_numbers(NULL, true, &sink);
    if (framing == CH_FRAMES_OFF) {
        ch_put_empty_data(&want, framing);
        buf_put(&got, peer.in.ptr, peer.in.len);
    } else {
        struct slice in = {peer.in.ptr + 2, peer.in.len - 2};
        size_t used = 0;
        int rc = 0;
        while (rc == 0 && got.len < want.len) {
            rc = ch_frame_take(in, &used, &got);
            in.ptr += used;
            in.len -= used;
        }
        ok(rc == 0, "the frames are good");
    }
    is_mem(got.ptr, got.len, want.ptr, want.len, "the bytes of the block");
    buf_fini(&want);
    buf_fini(&got);
    options.compress_lz4 = false;
}

/* LZ4 was asked for, but the peer is on loopback. */
static void test_loopback(const char *host)
{
    struct ch_error e;
    options.compress_lz4 = true;
    options.compress_loopback = false;
    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    sample_step("UInt32", 54460, CH_FRAMES_OFF);
    read_empty_block(CH_FRAMES_OFF);
    byte_step(CH_S_END);
    struct ch_native *c = begin_script();
    (void)snprintf(endpoint.host, sizeof(endpoint.host), "%s", host);
    is_outcome(insert(c, &e), CH_OK, &e, host);
    end_script(c);
    ok(!peer.failed, "a block without frames to %s", host);
    options.compress_lz4 = false;
    options.compress_loopback = true;
}

static void test_loopbacks(void)
{
    test_loopback("127.0.0.1");
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        ok(true, "::ffff:127.0.0.1 # SKIP no IPv6 here");
        return;
    }
    (void)close(fd);
    test_loopback("::ffff:127.0.0.1");
}

static void test_old_servers(void)
{
    struct ch_error e;
    hello_step(18, 54412);
    read_empty_block(CH_FRAMES_OFF);
    sample_step("UInt32", 54412, CH_FRAMES_OFF);
    read_empty_block(CH_FRAMES_OFF);
    byte_step(CH_S_END);
    struct ch_native *c = begin_script();
    is_outcome(insert(c, &e), CH_OK, &e, "18.16");
    end_script(c);
    ok(!query_has("insert_dedup") && !query_has("async_insert"), "18.16 gets no settings");

    hello_step(21, 54449);
    read_empty_block(CH_FRAMES_OFF);
    sample_step("UInt32", 54449, CH_FRAMES_OFF);
    c = begin_script();
    is_outcome(insert(c, &e), CH_UNKNOWN_FATE, &e,
               "21.3, closed in the block or before the answer");
    end_script(c);
    ok(query_has("insert_deduplicate") && !query_has("token") && !query_has("async_insert"),
       "21.3 gets only the settings that it knows");

    hello_step(1, 54000);
    step(STEP_DRAIN, NULL);
    c = begin_script();
    is_outcome(insert(c, &e), CH_CONFIG, &e, "a server that is too old");
    end_script(c);
}

static void test_reconnect(void)
{
    struct ch_error e;
    hello_step(26, 54488);
    good_insert_steps();
    step(STEP_CLOSE, NULL);
    hello_step(26, 54488);
    good_insert_steps();
    read_empty_block(CH_FRAMES_OFF); /* the next query, and then nothing */
    step(STEP_CLOSE, NULL);
    hello_step(26, 54488);
    good_insert_steps();
    struct ch_native *c = begin_script();
    is_outcome(insert(c, &e), CH_OK, &e, "first insert");
    is_outcome(insert(c, &e), CH_OK, &e, "on a new connection, the idle one was closed");
    is_outcome(insert(c, &e), CH_OK, &e, "again, when it is closed after the query");
    end_script(c);
    ok(peer.accepts == 3 && !peer.failed, "three connections in all");

    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    step(STEP_CLOSE, NULL);
    c = begin_script();
    is_outcome(insert(c, &e), CH_UNAVAILABLE, &e, "a fresh connection closed after the query");
    end_script(c);
    ok(writes == 0 && peer.accepts == 1, "is not tried again at once");
}

/* A Pong takes a server no work: one that hangs is known long before a query would time out. */
static void test_silent_ping(void)
{
    struct ch_error e;
    options.io_timeout_ms = 60000;
    hello_step(26, 54488);
    step(STEP_DRAIN, NULL);
    struct ch_native *c = begin_script();
    is_outcome(ch_native_ping(c, &e), CH_OK, &e, "a handshake is as good as a Pong");
    uint64_t began_ns = io_monotonic_ns();
    options.connect_timeout_ms = SILENCE_MS;
    is_outcome(ch_native_ping(c, &e), CH_UNAVAILABLE, &e, "silence instead of a Pong");
    ok(io_monotonic_ns() - began_ns < UINT64_C(30000000000), "is noticed within connect_timeout");
    end_script(c);
    patience(PATIENCE_MS);
}

static void test_cuts(void)
{
    struct ch_error e;
    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    sample_step("UInt32", 54460, CH_FRAMES_OFF);
    read_empty_block(CH_FRAMES_OFF);
    step(STEP_RESET, NULL);
    struct ch_native *c = begin_script();
    is_outcome(insert(c, &e), CH_UNKNOWN_FATE, &e, "reset instead of an answer");
    end_script(c);

    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    sample_step("UInt32", 54460, CH_FRAMES_OFF);
    step(STEP_DRAIN, NULL);
    c = begin_script();
    patience(SILENCE_MS);
    is_outcome(insert(c, &e), CH_UNKNOWN_FATE, &e, "silence instead of an answer");
    end_script(c);

    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    step(STEP_DRAIN, NULL);
    c = begin_script();
    is_outcome(insert(c, &e), CH_UNAVAILABLE, &e, "silence instead of a sample");
    end_script(c);
    patience(PATIENCE_MS);

    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    byte_step(99);
    step(STEP_DRAIN, NULL);
    c = begin_script();
    is_outcome(insert(c, &e), CH_BUG, &e, "a packet code that nobody knows");
    end_script(c);

    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    sample_step("UInt32", 54460, CH_FRAMES_OFF);
    read_empty_block(CH_FRAMES_OFF);
    byte_step(CH_S_PONG);
    step(STEP_DRAIN, NULL);
    c = begin_script();
    is_outcome(insert(c, &e), CH_UNKNOWN_FATE, &e, "a Pong instead of an answer");
    end_script(c);
}

/* A cancelled INSERT is surely not stored only when the server says so. */
static void test_cancel(void)
{
    struct ch_error e;
    static const struct {
        enum step_kind kind;
        enum ch_outcome want;
        const char *name;
    } cases[] = {
        {STEP_SEND, CH_OK, "the exception that was asked for"},
        {STEP_CLOSE, CH_UNKNOWN_FATE, "the connection is closed instead"},
        {STEP_RESET, CH_UNKNOWN_FATE, "or reset"},
        {STEP_DRAIN, CH_UNKNOWN_FATE, "or silent"},
        {STEP_READ, CH_UNKNOWN_FATE, "or the INSERT is ended after all"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hello_step(26, 54488);
        read_empty_block(CH_FRAMES_OFF);
        sample_step("UInt32", 54460, CH_FRAMES_OFF);
        struct buf *hello_end = text();
        ch_put_cstring(hello_end, "default");
        ch_put_cstring(hello_end, "");
        step(STEP_READ, hello_end);
        if (cases[i].kind == STEP_SEND)
            exception_step(101, "Unexpected packet Hello received from client");
        else if (cases[i].kind == STEP_READ)
            byte_step(CH_S_END);
        else
            step(cases[i].kind, NULL);
        struct ch_native *c = begin_script();
        is_outcome(insert_by(ch_native_insert_send, c, &e), CH_OK, &e, "a block is sent");
        ok(query_has("min_insert_block_size_rows") && query_has("268402944"),
           "which ClickHouse is told to hold back");
        patience(cases[i].kind == STEP_DRAIN ? SILENCE_MS : PATIENCE_MS);
        is_outcome(ch_native_insert_cancel(c, &e), cases[i].want, &e, cases[i].name);
        patience(PATIENCE_MS);
        end_script(c);
    }
}

static void test_exceptions(void)
{
    struct ch_error e;
    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    exception_step(60, "DB::Exception: Table\ndefault.t \xff\xc3\xa4 does not exist.\n");
    step(STEP_DRAIN, NULL);
    struct ch_native *c = begin_script();
    is_outcome(insert(c, &e), CH_SCHEMA, &e, "an exception instead of a sample");
    is_str(e.text, "DB::Exception: Table default.t ?\xc3\xa4 does not exist.",
           "its text is one line of UTF-8");
    end_script(c);

    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    sample_step("UInt32", 54460, CH_FRAMES_OFF);
    read_empty_block(CH_FRAMES_OFF);
    exception_step(252, "Too many parts");
    step(STEP_DRAIN, NULL);
    c = begin_script();
    is_outcome(insert(c, &e), CH_TOO_MANY_PARTS, &e, "an exception after the block");
    end_script(c);

    /* The peer reads nothing of a block that is larger than all socket buffers; only a client that
     * listens while it writes gets out of this one. */
    block_rows = 16 << 20;
    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    sample_step("UInt32", 54460, CH_FRAMES_OFF);
    exception_step(469, "Constraint");
    hello_step(26, 54488);
    step(STEP_DRAIN, NULL);
    c = begin_script();
    is_outcome(insert(c, &e), CH_DATA, &e, "an exception in the middle of a block of 64 MiB");
    is_outcome(ch_native_ping(c, &e), CH_OK, &e, "the next request has a new connection");
    end_script(c);
    block_rows = 1;
}

static void test_sample(void)
{
    struct ch_error e;
    hello_step(26, 54488);
    read_empty_block(CH_FRAMES_OFF);
    sample_step("UInt64", 54460, CH_FRAMES_OFF);
    step(STEP_DRAIN, NULL);
    struct ch_native *c = begin_script();
    is_outcome(insert(c, &e), CH_SCHEMA, &e, "a sample of another type");
    ok(writes == 0 && strstr(e.text, "k UInt64") != NULL && strstr(e.text, "k UInt32") != NULL,
       "no block is made, both types are named");
    end_script(c);
}

static void test_endpoints(void)
{
    struct ch_error e;
    struct ch_endpoint list[2] = {{.host = "127.0.0.1", .port = 1}};
    hello_step(26, 54488);
    step(STEP_DRAIN, NULL);
    struct ch_native *c = begin_script();
    list[1] = endpoint;
    options.endpoints = list;
    options.endpoint_count = 2;
    is_outcome(ch_native_connect(c, NULL, &e), CH_OK, &e, "the second endpoint answers");
    end_script(c);
    options.endpoint_count = 1;
    c = ch_native_new(&options);
    is_outcome(ch_native_connect(c, NULL, &e), CH_UNAVAILABLE, &e, "none answers");
    ok(strstr(e.text, "127.0.0.1:1") != NULL, "the text names it");
    ch_native_free(c);

    struct buf *b = text();
    ch_put_cstring(b, "pass");
    step(STEP_ACCEPT, NULL);
    step(STEP_READ, b);
    exception_step(516, "Authentication failed");
    step(STEP_CLOSE, NULL);
    c = begin_script();
    list[0] = endpoint;
    list[1] = (struct ch_endpoint){.host = "127.0.0.1", .port = 1};
    options.endpoints = list;
    options.endpoint_count = 2;
    is_outcome(ch_native_connect(c, NULL, &e), CH_CONFIG, &e,
               "a refused password counts more than a refused connection");
    end_script(c);
}

/* One side speaks TLS and the other does not. */
static void tls_mismatch(const char *answer, size_t len, enum step_kind after, const char *want)
{
    struct ch_error e = {0};
    struct buf *b = text();
    buf_put(b, answer, len);
    step(STEP_ACCEPT, NULL);
    step(STEP_SEND, b);
    step(after, NULL);
    struct ch_native *c = begin_script();
    is_outcome(ch_native_connect(c, NULL, &e), CH_UNAVAILABLE, &e, want);
    if (!ok(strstr(e.text, "127.0.0.1:") != NULL && strstr(e.text, want) != NULL,
            "the text says where and what"))
        printf("# %s\n", e.text);
    end_script(c);
}

static void test_tls_mismatch(void)
{
    struct ch_tls_options o = {.insecure_skip_verify = true};
    struct err e;
    tls_mismatch("\x15\x03\x03\x00\x02\x02\x46", 7, STEP_DRAIN, "the port speaks TLS");
    tls_mismatch("HTTP/1.1 400 Bad Request\r\n\r\n", 28, STEP_DRAIN, "the port speaks HTTP");
    /* Nothing that a port says before an INSERT is the rows' fault. */
    tls_mismatch("\x63 and so on", 11, STEP_DRAIN, "not the protocol");
    if (ch_tls_new(&options.tls, &o, &e) != 0)
        exit(99);
    tls_mismatch("\x02\x65\x00\x00\x00\x03\x44", 7, STEP_DRAIN, "does not speak TLS");
    tls_mismatch("", 0, STEP_CLOSE, "TLS handshake: ");
    patience(SILENCE_MS);
    tls_mismatch("", 0, STEP_DRAIN, "TLS handshake: Connection timed out");
    patience(PATIENCE_MS);
    ch_tls_unref(options.tls);
    options.tls = NULL;
}

int main(void)
{
    options = (struct ch_options){.database = "default",
                                  .username = "default",
                                  .password = "pass",
                                  .compress_loopback = true};
    patience(PATIENCE_MS);
    buf_init(&peer.in, 16 << 20);
    buf_init(&peer.query, 1 << 20);
    test_good(CH_FRAMES_OFF);
    test_good(CH_FRAMES_LZ4);
    block_rows = 2500000; /* 10 MB: sent in parts */
    test_good(CH_FRAMES_OFF);
    test_good(CH_FRAMES_LZ4);
    block_rows = 1;
    test_loopbacks();
    test_old_servers();
    test_reconnect();
    test_silent_ping();
    test_cuts();
    test_cancel();
    test_exceptions();
    test_sample();
    test_endpoints();
    test_tls_mismatch();
    buf_fini(&peer.in);
    buf_fini(&peer.query);
    return tap_done();
}
