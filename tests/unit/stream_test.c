/* SPDX-License-Identifier: Apache-2.0 */
/* The hub over a real log, with one socket loop in the test's own thread and clients on socket
 * pairs: who gets what, where a replay begins, slices that end inside an entry, changing rights. */
#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "http/priv.h"
#include "io/clock.h"
#include "stream/priv.h"
#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"

#include <event2/event.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 8

struct env {
    char *path;
    struct wal *w;
    struct commit_log *c;
    struct queue done;
    struct stream_hub *hub;
    struct loop *loop;
    struct stream_loop *sl;
    struct http_server *server;
    struct stream_ask ask; /* of the next request */
    int last_rc;
    /* what the hub is told */
    const struct access_policy *policy;
    _Atomic uint64_t policy_version;
    pthread_mutex_t lock;
};

struct client {
    int fd;
    struct buf got;
};

static struct access_caller caller;

static void on_poison(void *ctx, const struct err *e)
{
    (void)ctx;
    printf("Bail out! %s\n", e->text);
    exit(99);
}

static const struct access_policy *policy(void *ctx)
{
    struct env *v = ctx;
    (void)pthread_mutex_lock(&v->lock);
    const struct access_policy *p = v->policy != NULL ? access_policy_ref(v->policy) : NULL;
    (void)pthread_mutex_unlock(&v->lock);
    return p;
}

static uint64_t policy_version(void *ctx)
{
    return atomic_load(&((struct env *)ctx)->policy_version);
}

static struct schema_catalog *catalog(void *ctx)
{
    (void)ctx;
    return NULL;
}

static uint64_t catalog_version(void *ctx)
{
    (void)ctx;
    return 1;
}

static void policy_set(struct env *v, const char *text)
{
    static uint64_t version = 1;
    struct json_reader *reader = json_reader_new(LIMIT_POLICY_BYTES);
    struct access_policy *next;
    struct buf padded;
    struct err e;
    buf_init(&padded, SIZE_MAX);
    buf_put_str(&padded, text);
    memset(buf_extend(&padded, LIMIT_JSON_PADDING), 0, LIMIT_JSON_PADDING);
    must(access_policy_parse(reader, (struct slice){padded.ptr, strlen(text)}, false, ++version,
                             &next, &e) == 0);
    (void)pthread_mutex_lock(&v->lock);
    access_policy_unref(v->policy);
    v->policy = next;
    (void)pthread_mutex_unlock(&v->lock);
    atomic_store(&v->policy_version, version);
    buf_fini(&padded);
    json_reader_free(reader);
}

static int on_head(void *ctx, struct http_request *r, struct http_admit *admit)
{
    (void)ctx;
    (void)r;
    (void)admit;
    return 0;
}

static void on_request(void *ctx, struct http_request *r)
{
    struct env *v = ctx;
    v->last_rc = stream_subscribe(v->sl, r, &v->ask);
    if (v->last_rc != 0)
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
}

static void env_open(struct env *v)
{
    struct err e = {0};
    struct wal_recovery found;
    *v = (struct env){.path = tmpdir_make(), .policy_version = 1};
    (void)pthread_mutex_init(&v->lock, NULL);
    struct wal_options wo = {.path = v->path, .segment_size_bytes = 8 * MIB, .bytes_max = GIB};
    struct commit_options co = {.queue_cap = 1000,
                                .term = 1,
                                .group_bytes_max = MIB,
                                .room_ahead_bytes = MIB};
    must(wal_open(&v->w, io_posix(), &wo, &found, &e) == 0);
    must(commit_start(&v->c, v->w, &co, on_poison, NULL, &e) == 0);
    must(queue_init(&v->done, SIZE_MAX) == 0 && loop_new(&v->loop, &e) == 0);
    struct stream_options so = {.wal = v->w,
                                .commit = v->c,
                                .loops = 1,
                                .policy = policy,
                                .policy_version = policy_version,
                                .catalog = catalog,
                                .catalog_version = catalog_version,
                                .ctx = v};
    const struct stream_settings settings = {.keepalive_ms = 60000,
                                             .keepalive_buckets = 3,
                                             .max_subscribers = CLIENTS - 1};
    must(stream_start(&v->hub, &so, &e) == 0);
    must(stream_loop_new(&v->sl, v->hub, v->loop, &settings, &e) == 0);
    const struct http_handler handler = {.ctx = v, .on_head = on_head, .on_request = on_request};
    const struct http_options ho = {.connections_max = 100,
                                    .idle_timeout_ms = 60000,
                                    .header_timeout_ms = 60000,
                                    .body_timeout_ms = 60000};
    must(http_server_new(&v->server, loop_base(v->loop), NULL, 0, &handler, &ho, &e) == 0);
}

static void env_close(struct env *v)
{
    stream_stop(v->hub);
    commit_stop(v->c);
    http_server_free(v->server);
    stream_loop_free(v->sl);
    stream_free(v->hub);
    loop_free(v->loop);
    wal_close(v->w);
    queue_fini(&v->done);
    access_policy_unref(v->policy);
    tmpdir_remove(v->path);
}

/* Rows {"id":first…,"org":"a" or "b"} as one committed entry; the instant of the first. */
static uint64_t put_rows(struct env *v, const char *table, int first, int count, uint8_t flags,
                         size_t filler)
{
    struct wal_batch_builder b;
    wal_batch_init(&b);
    uint64_t last = commit_order_lock(v->c), now = io_realtime_ns();
    uint64_t ns = now > last ? now : last + 1;
    for (int i = 0; i < count; i++) {
        size_t off = b.text.len;
        buf_printf(&b.text, "{\"id\":%d,\"org\":\"%s\",\"pad\":\"", first + i,
                   i % 2 == 0 ? "a" : "b");
        memset(buf_extend(&b.text, filler), 'p', filler);
        buf_put_str(&b.text, "\"}");
        must(wal_batch_add(&b, ns + (uint64_t)i, off) == 0);
    }
    b.flags = flags;
    must(wal_batch_finish(&b, slice_str(table), SLICE_LIT("test")) == 0);
    struct proposal p = {.type = WAL_EVENTS, .done = &v->done};
    p.part_count = wal_batch_parts(&b, p.parts);
    commit_order_take(v->c, ns + (uint64_t)count);
    must(commit_propose(v->c, &p) == 0);
    commit_order_unlock(v->c);
    while (queue_pop(&v->done) == NULL)
        if (queue_sleep(&v->done)) {
            struct pollfd fd = {.fd = queue_fd(&v->done), .events = POLLIN};
            (void)poll(&fd, 1, 1000);
            queue_wake_ack(&v->done);
        }
    must(p.result == 0);
    wal_batch_fini(&b);
    return ns;
}

static void turn(struct env *v, struct client *c, bool read)
{
    char piece[65536];
    ssize_t n;
    struct timeval soon = {0, 1000};
    (void)event_base_loopexit(loop_base(v->loop), &soon);
    (void)event_base_dispatch(loop_base(v->loop));
    while (read && (n = recv(c->fd, piece, sizeof(piece), MSG_DONTWAIT)) > 0)
        buf_put(&c->got, piece, (size_t)n);
    if (c->got.len > 0) { /* to be searched as text */
        must(buf_reserve(&c->got, 1) == 0);
        c->got.ptr[c->got.len] = '\0';
    }
}

/* How often it stands behind *at, which moves on: what has been looked at is not looked at again.
 */
static int count_on(const struct client *c, size_t *at, const char *what)
{
    size_t len = strlen(what);
    int n = 0;
    while (*at + len <= c->got.len) {
        const char *p = c->got.ptr + *at;
        const char *hit = memchr(p, what[0], c->got.len - *at - len + 1);
        if (hit == NULL) {
            *at = c->got.len - len + 1;
            break;
        }
        bool same = memcmp(hit, what, len) == 0;
        n += same;
        *at = (size_t)(hit - c->got.ptr) + (same ? len : 1);
    }
    return n;
}

static int count_of(const struct client *c, const char *what)
{
    size_t at = 0;
    return count_on(c, &at, what);
}

/* Until what has come so often; ten seconds at most. */
static bool wait_for(struct env *v, struct client *c, const char *what, int times)
{
    size_t at = 0;
    int n = count_on(c, &at, what);
    for (int i = 0; i < 10000 && n < times; i++) {
        turn(v, c, true);
        n += count_on(c, &at, what);
    }
    return n == times;
}

static void client_open(struct env *v, struct client *c, struct stream_ask ask)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    int sv[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) == 0);
    must(http_server_take_fd(v->server, sv[0], &(struct http_listener){.fd = -1}, "test:1") == 0);
    c->fd = sv[1];
    buf_init(&c->got, SIZE_MAX);
    ask.caller = ask.caller != NULL ? ask.caller : &caller;
    v->ask = ask;
    must(send(c->fd, get, sizeof(get) - 1, 0) == (ssize_t)sizeof(get) - 1);
    (void)wait_for(v, c, "\r\n\r\n", 1);
}

static void client_close(struct client *c)
{
    (void)close(c->fd);
    buf_fini(&c->got);
}

static const struct slice clicks[] = {{"clicks", 6}}, two[] = {{"clicks", 6}, {"views", 5}};

static uint64_t value(const char *name)
{
    struct buf out;
    buf_init(&out, SIZE_MAX);
    metric_write_all(&out);
    buf_put_u8(&out, 0);
    char want[128];
    (void)snprintf(want, sizeof(want), "\n%s ", name);
    const char *at = strstr(out.ptr, want);
    uint64_t v = at != NULL ? strtoull(at + strlen(want), NULL, 10) : 0;
    buf_fini(&out);
    return v;
}

static void test_replay(void)
{
    struct env v;
    struct client all, since, after, live, both;
    env_open(&v);
    uint64_t first = put_rows(&v, "clicks", 100, 10, 0, 0);
    (void)put_rows(&v, "views", 500, 3, 0, 0);
    (void)put_rows(&v, "clicks", 900, 5, WAL_BATCH_HELD, 0);
    (void)put_rows(&v, "clicks", 900, 5, WAL_BATCH_QUIET, 0);
    uint64_t second = put_rows(&v, "clicks", 110, 10, 0, 0);
    struct stream_ask ask = {.tables = clicks,
                             .table_count = 1,
                             .unrestricted = true,
                             .from = STREAM_SINCE};
    client_open(&v, &all, ask);
    ok(wait_for(&v, &all, "\"id\":1", 20) && count_of(&all, "\"id\":9") == 0,
       "everything but what is held or was seen before");
    ask.from_ns = second + 3;
    client_open(&v, &since, ask);
    ask.from = STREAM_AFTER;
    client_open(&v, &after, ask);
    ask.from = STREAM_LIVE;
    client_open(&v, &live, ask);
    ask.from = STREAM_AFTER;
    ask.from_ns = first + 8;
    ask.tables = two;
    ask.table_count = 2;
    client_open(&v, &both, ask);
    ok(wait_for(&v, &since, "\"data\":{", 7) && count_of(&since, "\"id\":113,") == 1,
       "since an instant inside an entry");
    ok(wait_for(&v, &after, "\"data\":{", 6) && count_of(&after, "\"id\":113,") == 0, "after it");
    ok(wait_for(&v, &both, "\"data\":{", 1 + 3 + 10), "two tables");
    const char *a = strstr(both.got.ptr, "\"id\":109,"), *b = strstr(both.got.ptr, "\"id\":502,"),
               *c = strstr(both.got.ptr, "\"id\":110,");
    ok(a != NULL && a < b && b < c, "in the order of the log");
    (void)put_rows(&v, "clicks", 120, 1, 0, 0);
    ok(wait_for(&v, &live, "\"id\":", 1) && wait_for(&v, &all, "\"id\":1", 21) &&
           wait_for(&v, &both, "\"id\":120,", 1),
       "then live");
    is_u64(value("wavehouse_sse_channels"), 2,
           "equal ones share a channel, whatever they began with");
    struct client *open[] = {&all, &since, &after, &live, &both};
    for (int i = 0; i < 5; i++)
        client_close(open[i]);
    for (int i = 0; i < 1000 && value("wavehouse_sse_channels") > 0; i++)
        turn(&v, &all, false);
    is_u64(value("wavehouse_sse_channels"), 0, "which go with their last subscriber");
    env_close(&v);
}

static void test_inside_an_entry(void)
{
    struct env v;
    struct client c;
    env_open(&v);
    client_open(&v, &c,
                (struct stream_ask){.tables = clicks, .table_count = 1, .unrestricted = true});
    /* It reads nothing: two entries of 3 MiB and one more are far over what is queued. */
    for (int i = 0; i < 3; i++)
        (void)put_rows(&v, "clicks", 1000 + i * 1000, 1000, 0, 3000);
    for (int i = 0; i < 500; i++)
        turn(&v, &c, false);
    ok(value("wavehouse_sse_fell_behind_total") > 0, "a reader that sleeps falls behind");
    bool came = wait_for(&v, &c, "\"id\":", 3000);
    ok(came, "and gets everything, in slices that end inside entries");
    const char *at = c.got.ptr;
    bool order = came;
    for (int i = 0; i < 3000 && order; i++) {
        at = strstr(at, "\"id\":");
        order = atoi(at + 5) == 1000 + i;
        at += 5;
    }
    ok(order, "in order");
    (void)put_rows(&v, "clicks", 7, 1, 0, 0);
    ok(wait_for(&v, &c, "\"id\":7,", 1), "and is live again");
    client_close(&c);
    env_close(&v);
}

#define POLICY(columns, filter)                                                                  \
    "{\"default_role\":\"guest\",\"tables\":{\"clicks\":{\"select\":{\"guest\":{" columns filter \
    "}}}}}"

static void test_rights(void)
{
    struct env v;
    struct client guest, other, none;
    env_open(&v);
    struct stream_ask ask = {.tables = clicks, .table_count = 1};
    client_open(&v, &none, ask);
    (void)put_rows(&v, "clicks", 1, 4, 0, 0);
    for (int i = 0; i < 50; i++)
        turn(&v, &none, true);
    is_u64(count_of(&none, "\"id\":"), 0, "no policy: silence");
    policy_set(&v, POLICY("\"deny_columns\":[\"pad\"]", ""));
    client_open(&v, &guest, ask);
    client_open(&v, &other, ask);
    (void)put_rows(&v, "clicks", 10, 4, 0, 0);
    ok(wait_for(&v, &guest, "\"data\":{", 4) && wait_for(&v, &none, "\"data\":{", 4) &&
           wait_for(&v, &other, "{\"id\":10,\"org\":\"a\"}", 1) && count_of(&guest, "pad") == 0,
       "a policy that comes takes effect with the next event; columns are left out");
    is_u64(value("wavehouse_sse_channels"), 1, "one kind of subscriber");
    /* Without a catalog no filter can be proven. */
    policy_set(&v, POLICY("\"allow_columns\":[\"id\"]", ",\"filter\":{\"org\":{\"_gt\":\"a\"}}"));
    (void)put_rows(&v, "clicks", 20, 4, 0, 0);
    policy_set(&v, POLICY("\"allow_columns\":[\"id\"]", ""));
    (void)put_rows(&v, "clicks", 30, 1, 0, 0);
    ok(wait_for(&v, &guest, "\"data\":{\"id\":30}", 1), "what the next policy shows is shown");
    policy_set(&v, "{\"tables\":{}}");
    (void)put_rows(&v, "clicks", 40, 4, 0, 0);
    policy_set(&v, POLICY("\"deny_columns\":[\"pad\"]", ""));
    (void)put_rows(&v, "clicks", 50, 1, 0, 0);
    ok(wait_for(&v, &guest, "\"id\":50", 1), "and the one after it");
    struct client more[CLIENTS];
    for (int i = 0; i < CLIENTS - 4; i++)
        client_open(&v, &more[i], ask);
    ok(v.last_rc == 0, "up to the limit");
    client_open(&v, &more[CLIENTS - 4], ask);
    ok(v.last_rc == WH_EFULL, "and no further");
    for (int i = 0; i <= CLIENTS - 4; i++)
        client_close(&more[i]);
    client_close(&guest);
    client_close(&other);
    client_close(&none);
    env_close(&v);
}

/* Everything open and under way when it ends. */
static void test_end(void)
{
    struct env v;
    struct client c[3];
    env_open(&v);
    struct stream_ask ask = {.tables = clicks,
                             .table_count = 1,
                             .unrestricted = true,
                             .from = STREAM_SINCE};
    (void)put_rows(&v, "clicks", 0, 2000, 0, 1000);
    for (int i = 0; i < 3; i++)
        client_open(&v, &c[i], ask);
    (void)put_rows(&v, "clicks", 5000, 100, 0, 1000);
    env_close(&v);
    for (int i = 0; i < 3; i++)
        client_close(&c[i]);
    ok(true, "a stop in the middle of it leaves nothing behind");
}

int main(void)
{
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    test_replay();
    test_inside_an_entry();
    test_rights();
    test_end();
    return tap_done();
}
