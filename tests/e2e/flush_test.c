/* SPDX-License-Identifier: Apache-2.0 */
/* The flusher with the real log and a real ClickHouse 26.7 behind the fault-injecting front
 * (tests/lib/servers): every row there once, DEFAULTs by ClickHouse, refused rows in the dead
 * letters, whatever the front does to the connection. WH_CH26_TCP, WH_CH26_HTTP, WH_CH26_ADMIN say
 * where. */
#include "base/limits.h"
#include "clickhouse/http_client.h"
#include "flush/flush.h"
#include "io/clock.h"
#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"
#include "wal/batch.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define DATABASE "wh_flush_test"

static struct ch_endpoint endpoint;
static struct ch_options options;
static uint16_t admin_port;
static struct schema_catalog *catalog;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- ClickHouse ---- */

static const char *query_in(const char *database, const char *sql)
{
    static char answer[4096];
    struct ch_options o = options;
    struct ch_error e = {0};
    struct buf out;
    o.database = database;
    struct ch_http *h = ch_http_new(&o);
    buf_init(&out, 1 << 20);
    struct ch_http_request q = {.sql = slice_str(sql),
                                .timeout_ms = 20000,
                                .response_max = 1 << 20};
    if (ch_http_query(h, &q, &out, &e) != CH_OK)
        (void)snprintf(answer, sizeof(answer), "error %d %s", e.code, e.text);
    else
        (void)snprintf(answer, sizeof(answer), "%.*s", (int)(out.len > 0 ? out.len - 1 : 0),
                       out.ptr != NULL ? out.ptr : "");
    buf_fini(&out);
    ch_http_free(h);
    return answer;
}

static const char *query(const char *sql)
{
    return query_in(DATABASE, sql);
}

static void admin(const char *path, const char *json)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(admin_port),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char text[1024];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int n = snprintf(
        text, sizeof(text),
        "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", path,
        strlen(json), json);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || write(fd, text, (size_t)n) != n)
        ok(false, "admin %s", path);
    while (read(fd, text, sizeof(text)) > 0) {
    }
    (void)close(fd);
}

static struct schema_catalog *get_catalog(void *ctx)
{
    (void)ctx;
    (void)pthread_mutex_lock(&lock);
    struct schema_catalog *c = schema_catalog_ref(catalog);
    (void)pthread_mutex_unlock(&lock);
    return c;
}

static _Atomic uint64_t refresh_count;

static uint64_t count_refreshes(void *ctx)
{
    (void)ctx;
    return atomic_load(&refresh_count);
}

static void refresh(void *ctx)
{
    atomic_fetch_add(&refresh_count, 1);
    struct ch_http *h = ch_http_new(&options);
    struct schema_catalog *c = NULL;
    struct ch_error e = {0};
    (void)ctx;
    if (ch_discover(h, DATABASE, &c, &e) == CH_OK) {
        (void)pthread_mutex_lock(&lock);
        struct schema_catalog *old = catalog;
        catalog = c;
        (void)pthread_mutex_unlock(&lock);
        schema_catalog_unref(old);
    }
    ch_http_free(h);
}

/* ---- the node ---- */

struct node {
    struct wal *w;
    struct commit_log *log;
    struct store *store;
    struct flush *flush;
    struct queue done;
};

static void on_poison(void *ctx, const struct err *e)
{
    (void)ctx;
    printf("# poisoned: %s\n", e->text);
    abort();
}

static void start_log(struct node *n, const char *dir)
{
    char path[4096];
    struct err e = {0};
    struct wal_recovery r;
    memset(n, 0, sizeof(*n));
    (void)snprintf(path, sizeof(path), "%s/wal", dir);
    struct wal_options wo = {.path = path, .segment_size_bytes = 16 * MIB, .bytes_max = 4 * GIB};
    int rc = wal_open(&n->w, io_posix(), &wo, &r, &e);
    struct commit_options co = {.queue_cap = 4096,
                                .term = r.last_term + 1,
                                .group_bytes_max = 1 * MIB};
    if (rc == 0)
        rc = commit_start(&n->log, n->w, &co, on_poison, NULL, &e);
    (void)snprintf(path, sizeof(path), "%s/store", dir);
    struct store_options so = {.path = path};
    if (rc == 0)
        rc = store_open(&n->store, &so, &e);
    if (rc != 0 || queue_init(&n->done, 16) != 0) {
        printf("Bail out! %s\n", e.text);
        exit(99);
    }
}

static void start_flush(struct node *n, const char *cluster)
{
    struct err e = {0};
    struct ch_target *target = ch_target_new(&options);
    struct flush_options fo = {.wal = n->w,
                               .commit = n->log,
                               .store = n->store,
                               .clickhouse = target,
                               .cluster = cluster,
                               .max_open_conns = 4,
                               .interval_ms = 50,
                               .max_rows = 100000,
                               .max_bytes = 32 * MIB,
                               .retry_min_ms = 20,
                               .retry_max_ms = 200,
                               .dlq_max_bytes = 64 * MIB,
                               .catalog = get_catalog,
                               .request_refresh = refresh,
                               .refreshes = count_refreshes};
    if (flush_start(&n->flush, &fo, &e) != 0) {
        printf("Bail out! %s\n", e.text);
        exit(99);
    }
    ch_target_unref(target);
}

static void stop(struct node *n)
{
    ok(flush_stop(n->flush, 10000) == 0, "stop");
    commit_stop(n->log);
    wal_close(n->w);
    store_close(n->store);
    queue_fini(&n->done);
}

static void post(struct node *n, const char *table, uint32_t count, uint32_t first,
                 void (*record)(struct buf *out, uint32_t id))
{
    struct wal_batch_builder b;
    struct proposal p = {.type = WAL_EVENTS, .part_count = 3, .done = &n->done};
    wal_batch_init(&b);
    for (uint32_t i = 0; i < count; i++) {
        size_t at = b.text.len;
        record(&b.text, first + i);
        if (wal_batch_add(&b, first + i, at) != 0)
            abort();
    }
    if (wal_batch_finish(&b, slice_str(table), SLICE_LIT("")) != 0)
        abort();
    p.parts[0] = (struct iovec){b.head.ptr, b.head.len};
    p.parts[1] = (struct iovec){b.items.ptr, b.items.len};
    p.parts[2] = (struct iovec){b.text.ptr, b.text.len};
    for (p.result = WH_EAGAIN; p.result == WH_EAGAIN;) { /* until a segment is ready */
        if (commit_propose(n->log, &p) != 0)
            abort();
        while (queue_pop(&n->done) == NULL)
            if (queue_sleep(&n->done)) {
                struct pollfd fd = {.fd = queue_fd(&n->done), .events = POLLIN};
                (void)poll(&fd, 1, -1);
                queue_wake_ack(&n->done);
            }
        if (p.result == WH_EAGAIN)
            (void)poll(NULL, 0, 20);
    }
    wal_batch_fini(&b);
}

static bool drain(struct node *n, uint64_t timeout_ms)
{
    uint64_t end = io_monotonic_ns() + timeout_ms * 1000000u;
    struct flush_stats s = {0};
    while (io_monotonic_ns() < end) {
        flush_stats_get(n->flush, &s);
        if (s.replayed && s.pending_rows == 0 && s.open_plans == 0 &&
            s.applied_index == wal_commit_index(n->w))
            return true;
        (void)poll(NULL, 0, 5);
    }
    printf("# left: rows=%" PRIu64 " plans=%" PRIu64 "\n", s.pending_rows, s.open_plans);
    return false;
}

/* ---- records ---- */

static void mixed(struct buf *out, uint32_t id)
{
    buf_printf(out, "{\"id\":%u,\"name\":\"name %u\"", id, id % 100);
    if (id % 3 == 0)
        buf_printf(out, ",\"d\":%u", id);
    if (id % 5 == 0)
        buf_put_str(out, ",\"n\":null");
    buf_put_str(out, "}");
}

static void bad_some(struct buf *out, uint32_t id)
{
    if (id % 100 == 5)
        buf_printf(out, "{\"id\":\"not a number %u\"}", id);
    else
        buf_printf(out, "{\"id\":%u}", id);
}

static void dynamic(struct buf *out, uint32_t id)
{
    buf_printf(out, "{\"id\":%u,\"v\":%s}", id, id % 2 ? "\"text\"" : "[1,2]");
}

static void nothing(struct buf *out, uint32_t id)
{
    (void)id;
    buf_put_str(out, "{}");
}

/* {}, only the first column, only another one. */
static void one_or_none(struct buf *out, uint32_t id)
{
    buf_put_str(out, id % 3 == 0 ? "{}" : id % 3 == 1 ? "{\"a\":1}" : "{\"b\":2}");
}

/* One row that fills a thousand columns, and others of which each is as wide then. */
static void wide(struct buf *out, uint32_t id)
{
    buf_printf(out, "{\"id\":%u", id);
    for (int i = 0; i < 1000 && id == 20000; i++)
        buf_printf(out, ",\"w%d\":%d", i, i);
    buf_put_str(out, "}");
}

/* 2,048 column sets: eleven optional columns, one of them with a DEFAULT. */
static void sparse(struct buf *out, uint32_t id)
{
    buf_printf(out, "{\"id\":%u", id);
    for (int i = 0; i < 11; i++)
        if (id >> i & 1)
            buf_printf(out, ",\"c%d\":%u", i, id);
    buf_put_str(out, "}");
}

static void access_line(struct buf *out, uint32_t id)
{
    buf_printf(out,
               "{\"id\":%u,\"ts\":\"2026-11-20T12:%02u:%02u.%03uZ\",\"ip\":\"10.%u.%u.%u\","
               "\"method\":\"GET\",\"path\":\"/products/%u/details\",\"status\":%u,\"bytes\":%u,"
               "\"agent\":\"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\",\"took\":0.%03u}",
               id, id / 60 % 60, id % 60, id % 1000, id & 255, id >> 8 & 255, id >> 16 & 255,
               id % 5000, 200 + id % 3 * 100, id * 7 % 100000, id % 1000);
}

/* ---- tests ---- */

static void make_tables(void)
{
    static const char *const ddl[] = {
        "CREATE TABLE mixed (id UInt32, name LowCardinality(String), d UInt64 DEFAULT id * 10, "
        "n Nullable(Int8), t DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY id SETTINGS "
        "non_replicated_deduplication_window = 1000",
        "CREATE TABLE checked (id UInt32, CONSTRAINT c CHECK id % 1009 != 7) ENGINE = MergeTree "
        "ORDER BY id SETTINGS non_replicated_deduplication_window = 1000",
        "CREATE TABLE dyn (id UInt32, v Dynamic) ENGINE = MergeTree ORDER BY id SETTINGS "
        "non_replicated_deduplication_window = 1000",
        "CREATE TABLE defaults (a UInt8 DEFAULT 7, b String DEFAULT 'x') ENGINE = MergeTree ORDER "
        "BY "
        "a SETTINGS non_replicated_deduplication_window = 1000",
        "CREATE TABLE parted (id UInt32) ENGINE = MergeTree ORDER BY id PARTITION BY id % 250 "
        "SETTINGS "
        "non_replicated_deduplication_window = 1000",
        "CREATE TABLE sparse (id UInt32, c0 UInt32 DEFAULT id + 1, c1 UInt32, c2 UInt32, c3 "
        "UInt32, "
        "c4 UInt32, c5 UInt32, c6 UInt32, c7 Nullable(UInt32), c8 UInt32, c9 UInt32, c10 String) "
        "ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000",
        "CREATE TABLE optional (d UInt8 DEFAULT 9, a Nullable(UInt8), b Nullable(UInt8)) ENGINE = "
        "MergeTree ORDER BY d SETTINGS non_replicated_deduplication_window = 1000",
        "CREATE TABLE dropped (id UInt32) ENGINE = MergeTree ORDER BY id",
        "CREATE TABLE access (id UInt32, ts DateTime64(3), ip IPv4, method LowCardinality(String), "
        "path String, status UInt16, bytes UInt64, agent String, took Float64) ENGINE = MergeTree "
        "ORDER BY id SETTINGS non_replicated_deduplication_window = 1000",
    };
    (void)query_in("default", "DROP DATABASE IF EXISTS " DATABASE);
    is_str(query_in("default", "CREATE DATABASE " DATABASE), "", "a database");
    for (size_t i = 0; i < sizeof(ddl) / sizeof(ddl[0]); i++)
        is_str(query(ddl[i]), "", "a table");
    struct buf sql;
    buf_init(&sql, SIZE_MAX);
    buf_put_str(&sql, "CREATE TABLE wide (id UInt32");
    for (int i = 0; i < 1000; i++)
        buf_printf(&sql, ", w%d Nullable(Float64)", i);
    buf_put_str(&sql, ") ENGINE = MergeTree ORDER BY id SETTINGS "
                      "non_replicated_deduplication_window = 1000");
    buf_put_u8(&sql, 0);
    is_str(query(sql.ptr), "", "a wide table");
    buf_fini(&sql);
    refresh(NULL);
}

static bool show_letter(void *ctx, const struct store_letter *d)
{
    uint32_t *codes = ctx;
    codes[d->code == 469 ? 0 : d->code == 60 ? 1 : 2]++;
    return true;
}

static void test_tables(const char *dir)
{
    struct node n;
    start_log(&n, dir);
    start_flush(&n, "e2e");
    for (uint32_t i = 0; i < 100; i++)
        post(&n, "mixed", 100, i * 100, mixed);
    post(&n, "checked", 2500, 0, bad_some);
    post(&n, "dyn", 1000, 0, dynamic);
    post(&n, "defaults", 3, 0, nothing);
    post(&n, "parted", 1000, 0, bad_some);
    post(&n, "sparse", 8192, 0, sparse);
    post(&n, "optional", 300, 0, one_or_none);
    post(&n, "wide", 40000, 0, wide);
    ok(drain(&n, 20000), "all is flushed");
    is_str(query(
               "SELECT count(), uniqExact(id), sum(id), countIf(d = if(id % 3 = 0, id, id * 10)), "
               "countIf(isNull(n)), countIf(t > now() - 60) FROM mixed FORMAT TSV"),
           "10000\t10000\t49995000\t10000\t10000\t10000",
           "columns present and omitted: values, DEFAULTs, NULLs");
    is_str(query("SELECT count(), uniqExact(id) FROM checked FORMAT TSV"), "2472\t2472",
           "the good rows among refused ones");
    is_str(query("SELECT count(), uniqExact(id), countIf(dynamicType(v) = 'String') FROM dyn "
                 "FORMAT TSV"),
           "1000\t1000\t500", "a type that travels as JSONEachRow");
    is_str(query("SELECT count(), min(a), max(b) FROM defaults FORMAT TSV"), "3\t7\tx",
           "empty records");
    is_str(query("SELECT count(), uniqExact(id), count(w0), sum(w999) FROM wide FORMAT TSV"),
           "40000\t40000\t1\t999", "a block that would be too large is cut");
    is_str(query("SELECT count(), sum(rows) FROM system.parts WHERE database = '" DATABASE
                 "' AND table = 'wide' AND level = 0 FORMAT TSV"),
           "2\t40000", "in halves");
    is_str(query("SELECT count(), sum(d), count(a), sum(a), count(b), sum(b) FROM optional FORMAT "
                 "TSV"),
           "300\t2700\t100\t100\t100\t200", "empty records among others, in one block");
    is_str(query("SELECT count(), uniqExact(id) FROM parted FORMAT TSV"), "990\t990",
           "too many partitions for one block");
    is_str(query("SELECT count(), uniqExact(id), countIf(c0 != if(id % 2, id, id + 1)), "
                 "countIf(c3 != if(bitTest(id, 3), id, 0)), countIf(isNull(c7) = bitTest(id, 7)), "
                 "countIf(c10 != if(bitTest(id, 10), toString(id), '')) FROM sparse FORMAT TSV"),
           "8192\t8192\t0\t0\t0\t0", "2,048 sets of columns in one plan");
    is_str(query("SELECT count() FROM system.parts WHERE database = '" DATABASE
                 "' AND table = 'sparse' AND level = 0"),
           "2", "travel in two blocks");
    is_str(query("ALTER TABLE mixed ADD COLUMN late UInt8 DEFAULT 3"), "", "a column is added");
    is_str(query("DROP TABLE dropped SYNC"), "", "a table is dropped");
    post(&n, "mixed", 1000, 10000, mixed);
    post(&n, "dropped", 40, 0, bad_some);
    ok(drain(&n, 20000), "flushed against the changed schema");
    is_str(query("SELECT count(), sum(late) FROM mixed FORMAT TSV"), "11000\t33000",
           "the added column takes its DEFAULT");
    stop(&n);
    start_log(&n, dir);
    start_flush(&n, "e2e");
    uint32_t codes[3] = {0};
    struct err e = {0};
    ok(store_letter_list(n.store, STORE_DEAD, (struct slice){0}, (struct store_letter_id){0},
                         show_letter, codes, &e) == 0,
       "dead letters");
    is_u64(codes[0], 3, "of the constraint");
    is_u64(codes[1], 39, "of the dropped table");
    is_u64(codes[2], 25 + 10 + 1, "of values that do not parse");
    stop(&n);
}

static void fault(const char *json)
{
    admin("/fault", json);
}

static void test_front(const char *dir)
{
    struct node n;
    if (admin_port == 0) {
        ok(true, "faults # SKIP WH_CH26_ADMIN is not set");
        return;
    }
    is_str(query("TRUNCATE TABLE mixed"), "", "an empty table");
    start_log(&n, dir);
    start_flush(&n, "e2e-faults");
    fault("{\"at\":\"ack\",\"kind\":\"drop\",\"times\":3}");
    for (uint32_t i = 0; i < 20; i++)
        post(&n, "mixed", 500, i * 500, mixed);
    ok(drain(&n, 20000), "three answers lost after the commit");
    is_str(query("SELECT count(), uniqExact(id) FROM mixed FORMAT TSV"), "10000\t10000",
           "each row once");
    fault("{\"at\":\"data\",\"kind\":\"drop\",\"after\":2000,\"times\":3}");
    fault("{\"at\":\"query\",\"kind\":\"exception\",\"code\":252,\"message\":\"Too many parts\","
          "\"times\":2,\"skip\":1}");
    fault("{\"at\":\"query\",\"kind\":\"exception\",\"code\":241,\"message\":\"Memory limit\","
          "\"times\":2,\"skip\":2}");
    for (uint32_t i = 0; i < 20; i++)
        post(&n, "mixed", 500, 10000 + i * 500, mixed);
    ok(drain(&n, 20000), "cut in the data, too many parts, out of memory");
    is_str(query("SELECT count(), uniqExact(id) FROM mixed FORMAT TSV"), "20000\t20000",
           "each row once");
    /* Two groups of 16 column sets each; the second one's answer is lost, and it comes alone. */
    is_str(query("TRUNCATE TABLE sparse"), "", "an empty table");
    fault("{\"at\":\"ack\",\"kind\":\"drop\",\"times\":1,\"skip\":1}");
    post(&n, "sparse", 32, 0, sparse);
    ok(drain(&n, 20000), "the answer to the second of two groups lost");
    is_str(query("SELECT count(), uniqExact(id), countIf(c0 != if(id % 2, id, id + 1)) FROM sparse "
                 "FORMAT TSV"),
           "32\t32\t0", "each row once");
    admin("/clear", "{}");
    admin("/engine/kill", "{}");
    for (uint32_t i = 0; i < 20; i++)
        post(&n, "mixed", 500, 20000 + i * 500, mixed);
    admin("/engine/start", "{}");
    ok(drain(&n, 40000), "ClickHouse killed and started again");
    is_str(query("SELECT count(), uniqExact(id) FROM mixed FORMAT TSV"), "30000\t30000",
           "each row once");
    stop(&n);
}

/* What the flusher itself costs: the log is filled first, then only the flusher works. */
static void test_cost(const char *dir)
{
    enum {
        ROWS = 400000
    };
    struct node n;
    struct rusage a, b;
    start_log(&n, dir);
    for (uint32_t i = 0; i < ROWS / 1000; i++)
        post(&n, "access", 1000, i * 1000, access_line);
    uint64_t start = io_monotonic_ns();
    (void)getrusage(RUSAGE_SELF, &a);
    start_flush(&n, "e2e-cost");
    ok(drain(&n, 60000), "%d rows are flushed", ROWS);
    (void)getrusage(RUSAGE_SELF, &b);
    double cpu = (double)(b.ru_utime.tv_sec - a.ru_utime.tv_sec) +
                 (double)(b.ru_utime.tv_usec - a.ru_utime.tv_usec) / 1e6 +
                 (double)(b.ru_stime.tv_sec - a.ru_stime.tv_sec) +
                 (double)(b.ru_stime.tv_usec - a.ru_stime.tv_usec) / 1e6;
    printf("# flusher: %.2f s CPU per million rows, %.0f rows/s, %ld MiB resident at most\n",
           cpu / ROWS * 1e6, ROWS / ((double)(io_monotonic_ns() - start) / 1e9),
           b.ru_maxrss / 1024);
    is_str(query("SELECT count(), uniqExact(id) FROM access FORMAT TSV"), "400000\t400000",
           "each row once");
    stop(&n);
}

int main(void)
{
    const char *tcp = getenv("WH_CH26_TCP"), *http = getenv("WH_CH26_HTTP");
    const char *adm = getenv("WH_CH26_ADMIN");
    if (tcp == NULL || http == NULL)
        return skip_all("no ClickHouse server: WH_CH26_TCP and WH_CH26_HTTP are not set");
    admin_port = adm != NULL ? (uint16_t)atoi(adm) : 0;
    endpoint = (struct ch_endpoint){.host = "127.0.0.1",
                                    .port = (uint16_t)atoi(tcp),
                                    .http_port = (uint16_t)atoi(http)};
    options = (struct ch_options){.endpoints = &endpoint,
                                  .endpoint_count = 1,
                                  .database = DATABASE,
                                  .username = "default",
                                  .password = "",
                                  .compress_lz4 = true,
                                  .connect_timeout_ms = 5000,
                                  .io_timeout_ms = 20000};
    char *a = tmpdir_make(), *b = tmpdir_make(), *c = tmpdir_make();
    make_tables();
    test_tables(a);
    test_front(b);
    test_cost(c);
    (void)query_in("default", "DROP DATABASE " DATABASE);
    schema_catalog_unref(catalog);
    tmpdir_remove(a);
    tmpdir_remove(b);
    tmpdir_remove(c);
    return tap_done();
}
