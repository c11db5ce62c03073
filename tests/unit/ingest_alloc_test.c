/* SPDX-License-Identifier: Apache-2.0 */
/* The whole ingest path in one process, without ClickHouse: socket → loop → log → answer. In the
 * steady state it must not allocate (c-style §6). The linker sends our malloc, calloc and realloc
 * calls, and the rendering of metrics, through the counters below (--wrap). */
#include "access/jwt.h"
#include "api/api.h"
#include "api/auth_keys.h"
#include "base/log.h"
#include "base/metric.h"
#include "control/entry.h"
#include "io/clock.h"
#include "tests/lib/tap.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WARM_UP  300
#define MEASURED 1000
#define SLACK    5 /* timers of other threads */
#define TRIES    3 /* on a busy machine more of them fall into one measurement */

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t n);

static _Atomic uint64_t allocations;

/* What asks ClickHouse, which is not there, allocates when its time has come: no request's. */
static bool is_of_requests(void)
{
    static _Thread_local enum {
        UNKNOWN,
        YES,
        NO
    } known;
    if (known == UNKNOWN) {
        char name[16] = "";
        (void)pthread_getname_np(pthread_self(), name, sizeof(name));
        known = strcmp(name, "wh-discovery") == 0 || strcmp(name, "wh-ping") == 0 ? NO : YES;
    }
    return known == YES;
}

void *__wrap_malloc(size_t n)
{
    atomic_fetch_add(&allocations, is_of_requests());
    return __real_malloc(n);
}
void *__wrap_calloc(size_t count, size_t size)
{
    atomic_fetch_add(&allocations, is_of_requests());
    return __real_calloc(count, size);
}
void *__wrap_realloc(void *p, size_t n)
{
    atomic_fetch_add(&allocations, is_of_requests());
    return __real_realloc(p, n);
}

void __real_metric_write_all(struct buf *out);
void __wrap_metric_write_all(struct buf *out);

static _Atomic uint64_t renderings;

void __wrap_metric_write_all(struct buf *out)
{
    atomic_fetch_add(&renderings, 1);
    __real_metric_write_all(out);
}

static const struct config *_Atomic settings;

static const struct config *current_settings(void *ctx)
{
    (void)ctx;
    return config_ref(settings);
}

static void on_poison(void *ctx, const struct err *e)
{
    (void)ctx;
    (void)e;
}

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

/* As if an earlier run had discovered it. */
static bool persist_schema(struct store *store, struct err *e)
{
    struct schema_builder *b = schema_builder_new();
    schema_builder_server(b, SLICE_LIT("26.7.1.1"), SLICE_LIT("UTC"));
    bool fine = schema_builder_table(b, SLICE_LIT("t"), SLICE_LIT("MergeTree"), 100) == 0 &&
                schema_builder_column(b, SLICE_LIT("id"), SLICE_LIT("UInt64"), SLICE_LIT(""),
                                      SLICE_LIT("")) == 0 &&
                schema_builder_column(b, SLICE_LIT("ts"), SLICE_LIT("DateTime64(3, 'UTC')"),
                                      SLICE_LIT(""), SLICE_LIT("")) == 0 &&
                schema_builder_column(b, SLICE_LIT("note"), SLICE_LIT("String"), SLICE_LIT(""),
                                      SLICE_LIT("")) == 0;
    struct schema_catalog *c = schema_builder_finish(b, e);
    schema_builder_free(b);
    struct buf text;
    buf_init(&text, SIZE_MAX);
    if (c != NULL)
        schema_catalog_save(c, &text);
    fine = fine && c != NULL && store_blob_put(store, "schema.default", buf_slice(&text), e) == 0;
    buf_fini(&text);
    schema_catalog_unref(c);
    return fine;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0 ? fd : -1;
}

/* One POST with a further header line or none; true when the answer is a 200 that contains want. */
static bool post_with(int fd, const char *header, const char *body, const char *want)
{
    char request[4096], answer[4096];
    int n = snprintf(request, sizeof(request),
                     "POST /v1/ingest?table=t HTTP/1.1\r\nHost: x\r\nX-Request-ID: r\r\n"
                     "Content-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s",
                     header, strlen(body), body);
    if (send(fd, request, (size_t)n, 0) != n)
        return false;
    size_t got = 0;
    for (;;) {
        ssize_t k = recv(fd, answer + got, sizeof(answer) - 1 - got, 0);
        if (k <= 0)
            return false;
        got += (size_t)k;
        answer[got] = '\0';
        if (strstr(answer, "\r\n\r\n") != NULL && strstr(answer, want) != NULL)
            return strncmp(answer, "HTTP/1.1 200 ", 13) == 0;
        if (strstr(answer, "\r\n\r\n{\"error\"") != NULL && answer[got - 1] == '}')
            return false;
    }
}

static bool post(int fd, const char *body, const char *want)
{
    return post_with(fd, "", body, want);
}

static const char single[] = "{\"id\":1,\"ts\":\"2026-01-01 00:00:00.5\",\"note\":\"a\"}";
static const char batch[] = "[{\"id\":1,\"ts\":\"2026-01-01T00:00:00Z\",\"note\":\"a\"},"
                            "{\"id\":2,\"ts\":0,\"note\":\"b\"}]";

#define ROW2  "{\"id\":1,\"ts\":0,\"note\":\"\"},{\"id\":1,\"ts\":0,\"note\":\"\"}"
#define ROW8  ROW2 "," ROW2 "," ROW2 "," ROW2
#define ROW32 ROW8 "," ROW8 "," ROW8 "," ROW8
#define FILL  3000
static const char wide[] = "[" ROW32 "," ROW32 "]";

struct ask {
    const char *body, *want;
};

/* Allocations while MEASURED of each are asked: a request's own come in every try, timers do not.
 */
static uint64_t steady(int fd, const char *header, const struct ask *asks, int count, bool *all)
{
    uint64_t n = SLACK + 1;
    for (int tries = 0; tries < TRIES && n > SLACK; tries++) {
        uint64_t before = atomic_load(&allocations);
        for (int i = 0; i < MEASURED * count; i++)
            *all = *all && post_with(fd, header, asks[i % count].body, asks[i % count].want);
        n = atomic_load(&allocations) - before;
    }
    return n;
}

static void drive(int fd, const char *how)
{
    bool all = true;
    for (int i = 0; i < WARM_UP; i++)
        all = all && post(fd, single, "{\"ok\":true}") && post(fd, batch, "\"succeeded\":2");
    ok(all, "%s: single objects and batches are committed", how);
    uint64_t before = atomic_load(&allocations);
    const struct ask asks[] = {{single, "{\"ok\":true}"}, {batch, "\"succeeded\":2"}};
    uint64_t n = steady(fd, "", asks, 2, &all);
    ok(all, "%s: %d more of each", how, MEASURED);
    ok(before > 0 && n <= SLACK,
       "%s: no allocation per request in the steady state (%d allocations)", how, (int)n);
}

/* With ids: a known one costs nothing, new ones no more than the growth of the table, which takes
 * one block for the hundredth id and more of a shard. */
static void drive_dedupe(int fd)
{
    char header[64];
    bool all = true;
    uint64_t n = 0;
    for (int i = 0; i < FILL; i++) {
        (void)snprintf(header, sizeof(header), "Idempotency-Key: fill-%d\r\n", i);
        all = all && post_with(fd, header, wide, "\"succeeded\":64");
    }
    ok(all, "batches under a key are committed");
    /* The first try is not measured; as in steady(), a request's own come in every try. */
    n = SLACK + 1;
    for (int tries = 0; tries <= TRIES && n > SLACK; tries++) {
        uint64_t before = atomic_load(&allocations);
        for (int i = 0; i < MEASURED; i++) {
            (void)snprintf(header, sizeof(header), "Idempotency-Key: fill-%d\r\n", i);
            all = all && post_with(fd, header, single, "{\"duplicate\":true}");
        }
        if (tries > 0)
            n = atomic_load(&allocations) - before;
    }
    ok(all && n <= SLACK, "a known id: no allocation (%d for %d)", (int)n, MEASURED);
    n = atomic_load(&allocations);
    for (int i = 0; i < MEASURED; i++) {
        (void)snprintf(header, sizeof(header), "Idempotency-Key: new-%d\r\n", i);
        all = all && post_with(fd, header, single, "{\"ok\":true}");
    }
    n = atomic_load(&allocations) - n;
    ok(all && n <= MEASURED / 20, "a new id: only the table's growth (%d for %d)", (int)n,
       MEASURED);
}

/* ---- metrics ---- */

#define SCRAPES 32

/* Read so many answers to /metrics, which end alike. */
static bool read_scrapes(int fd, int count)
{
    static char chunk[1 << 20];
    static const char status[] = "HTTP/1.1 200 ";
    size_t kept = 0;
    while (count > 0) {
        ssize_t k = recv(fd, chunk + kept, sizeof(chunk) - kept, 0);
        if (k <= 0)
            return false;
        const char *at = chunk, *end = chunk + kept + (size_t)k, *body, *hit;
        while (count > 0 && (body = memmem(at, (size_t)(end - at), "\r\n\r\n", 4)) != NULL) {
            hit = memmem(at, (size_t)(body - at), "Content-Length: ", 16);
            if (memcmp(at, status, sizeof(status) - 1) != 0 || hit == NULL)
                return false;
            size_t length = strtoul(hit + 16, NULL, 10);
            if ((size_t)(end - body) < length + 4)
                break;
            at = body + 4 + length;
            count--;
        }
        kept = (size_t)(end - at);
        memmove(chunk, at, kept);
    }
    return kept == 0;
}

/* Many requests in one packet would stall the loop if each were rendered. */
static void drive_scrapes(int fd)
{
    static const char one[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    char many[SCRAPES * sizeof(one)];
    size_t n = 0;
    for (int i = 0; i < SCRAPES; i++, n += sizeof(one) - 1)
        memcpy(many + n, one, sizeof(one) - 1);
    uint64_t before = atomic_load(&renderings);
    ok(send(fd, many, n, 0) == (ssize_t)n && read_scrapes(fd, SCRAPES), "%d scrapes at once",
       SCRAPES);
    uint64_t made = atomic_load(&renderings) - before;
    ok(made > 0 && made <= SCRAPES / 4, "share renderings (%d)", (int)made);
    for (int i = 0; i < 3; i++)
        ok(send(fd, one, sizeof(one) - 1, 0) > 0 && read_scrapes(fd, 1), "a scrape");
    is_u64(atomic_load(&renderings) - before - made, 3, "one after the other, each is new");
}

/* ---- access control ---- */

#define SECRET "a secret of the tests that is long enough"

static const char policy[] =
    "{\"default_role\":\"public\",\"tables\":{\"t\":{\"insert\":{\"public\":{},"
    "\"writer\":{\"deny_columns\":[\"oops\"],\"check\":{\"note\":{\"_eq\":\"{{ jwt.note "
    "}}\"}}}}}}}";

/* As if it had come from the log. */
static bool put_policy(struct control *c, struct store *store, struct err *e)
{
    struct control_change change = {.kind = CONTROL_POLICY,
                                    .text = slice_str(policy),
                                    .who = SLICE_LIT("the test")};
    struct flush_fold fold = control_fold(c);
    struct store_txn *txn;
    struct buf payload;
    char head[CONTROL_HEAD_BYTES];
    control_change_head(head, &change);
    buf_init(&payload, SIZE_MAX);
    buf_put(&payload, head, sizeof(head));
    buf_put_slice(&payload, change.who);
    buf_put_slice(&payload, change.text);
    bool fine = store_txn_begin(store, &txn, e) == 0;
    if (fine) {
        fold.apply(fold.ctx, txn, 1, 1, buf_slice(&payload));
        fine = store_txn_commit(txn, e) == 0 && fold.stored(fold.ctx, 1);
    }
    buf_fini(&payload);
    return fine;
}

/* Requests under the header are not answered by allocating. */
static void drive_with(int fd, const char *header, const char *body, const char *want,
                       const char *how)
{
    bool all = true;
    for (int i = 0; i < WARM_UP; i++)
        all = all && post_with(fd, header, body, want);
    uint64_t n = steady(fd, header, &(struct ask){body, want}, 1, &all);
    ok(all && n <= SLACK, "%s: no allocation per request in the steady state (%d allocations)", how,
       (int)n);
}

static void drive_access(int fd)
{
    char header[1024];
    struct buf token;
    buf_init(&token, SIZE_MAX);
    access_jwt_sign(ACCESS_SHA256, SLICE_LIT(SECRET),
                    SLICE_LIT("{\"role\":\"writer\",\"note\":\"n\"}"), &token);
    (void)snprintf(header, sizeof(header), "Authorization: Bearer %.*s\r\n",
                   SLICE_ARG(buf_slice(&token)));
    drive_with(fd, "", single, "{\"ok\":true}", "public role");
    drive_with(fd, header, "{\"id\":1,\"ts\":0,\"note\":\"n\"}", "{\"ok\":true}", "checked");
    drive_with(fd, header, "{\"id\":1,\"ts\":0}", "{\"ok\":true}", "stamped");
    drive_with(fd, header, "[{\"id\":1,\"ts\":0},{\"id\":2,\"ts\":0,\"note\":\"x\"},{\"id\":3}]",
               "\"succeeded\":1,\"failed\":2", "a batch with refusals");
    ok(!post_with(fd, header, single, "never"), "another note is refused");
    ok(!post_with(fd, "Authorization: Bearer x.y.z\r\n", "{\"id\":1,\"oops\":1}", "never"),
       "a bad token");
    buf_fini(&token);
}

static int start_dedupe(struct api_shared *shared, const char *path, struct err *e)
{
    struct dedupe_options options = {.io = io_posix(),
                                     .path = path,
                                     .wal = shared->wal,
                                     .commit = shared->log,
                                     .store = shared->store,
                                     .retention_ns = UINT64_C(86400) * 1000000000,
                                     .max_ids = 50000000};
    return dedupe_start(&shared->dedupe, &options, e);
}

int main(void)
{
    char path[] = "/tmp/ingest_alloc_test.XXXXXX", wal_path[64], store_path[64], ids_path[64],
         command[128];
    struct err e = {0};
    struct buf findings;
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    ok(mkdtemp(path) != NULL, "temporary folder");
    (void)snprintf(wal_path, sizeof(wal_path), "%s/wal", path);
    (void)snprintf(store_path, sizeof(store_path), "%s/store", path);
    (void)snprintf(ids_path, sizeof(ids_path), "%s/dedupe", path);
    buf_init(&findings, SIZE_MAX);
    settings = config_load(&(struct config_options){.insecure_open = true}, &findings);

    struct api_shared shared = {.config = current_settings, .version = "0"};
    struct wal_recovery found;
    struct wal_options wo = {.path = wal_path,
                             .segment_size_bytes = 64 << 20,
                             .group_bytes_max = 1 << 20,
                             .bytes_max = UINT64_MAX};
    struct commit_options co = {.queue_cap = 1000, .term = 1, .group_bytes_max = 1 << 20};
    struct ch_endpoint nowhere = {.host = "127.0.0.1", .port = 1, .http_port = 1};
    struct ch_target *target = ch_target_new(&(struct ch_options){.endpoints = &nowhere,
                                                                  .endpoint_count = 1,
                                                                  .database = "default",
                                                                  .username = "default",
                                                                  .password = "",
                                                                  .connect_timeout_ms = 100,
                                                                  .io_timeout_ms = 100});
    struct discovery_options dopt = {.clickhouse = target, .refresh_interval_ms = 60000};
    struct loop *loop = NULL;
    struct api_loop *api = NULL;
    int listen_fd = -1;
    uint16_t port = 0;
    bool started =
        settings != NULL && wal_open(&shared.wal, io_posix(), &wo, &found, &e) == 0 &&
        store_open(&shared.store, &(struct store_options){.path = store_path}, &e) == 0 &&
        persist_schema(shared.store, &e) && control_open(&shared.control, shared.store, &e) == 0 &&
        commit_start(&shared.log, shared.wal, &co, on_poison, NULL, &e) == 0 &&
        discovery_start(&shared.discovery, shared.store, &dopt, &e) == 0 &&
        start_dedupe(&shared, ids_path, &e) == 0 &&
        auth_keys_start(&shared.keys, settings, &e) == 0 &&
        http_listen("127.0.0.1", 0, &listen_fd, &port, &e) == 0 && loop_new(&loop, &e) == 0 &&
        api_loop_new(&api, &shared, loop, &(struct http_listener){.fd = listen_fd}, 1, &e) == 0;
    if (!ok(started, "log, store, discovery and one loop started %s", e.text))
        return tap_done();
    pthread_t thread;
    ok(pthread_create(&thread, NULL, run_loop, loop) == 0, "loop runs");
    int fd = connect_to(port);
    if (ok(fd >= 0, "connected"))
        drive(fd, "shape");
    drive_scrapes(fd);
    static const char *const strict[] = {"ingest.validation=strict"};
    const struct config *shape = settings;
    settings =
        config_load(&(struct config_options){.sets = strict, .set_count = 1, .insecure_open = true},
                    &findings);
    atomic_fetch_add(&shared.config_version, 1);
    drive(fd, "strict");
    for (int i = 0; i < 1000 && !dedupe_ready(shared.dedupe); i++)
        (void)usleep(10000);
    drive_dedupe(fd);
    ok(!post(fd, "{\"id\":\"x\",\"ts\":0,\"note\":\"\"}", "never"), "a value is refused");
    ok(!post(fd, "{\"id\":1,\"oops\":2}", "never"), "an unknown column is refused");
    static const char *const closed_sets[] = {"auth.jwt_secret=" SECRET};
    const struct config *strict_open = settings;
    settings =
        config_load(&(struct config_options){.sets = closed_sets, .set_count = 1}, &findings);
    if (ok(settings != NULL && put_policy(shared.control, shared.store, &e), "a policy %s",
           e.text)) {
        auth_keys_reload(shared.keys, settings);
        atomic_fetch_add(&shared.config_version, 1);
        drive_access(fd);
    }

    (void)close(fd);
    loop_stop(loop);
    (void)pthread_join(thread, NULL);
    auth_keys_stop(shared.keys);
    discovery_stop(shared.discovery);
    dedupe_stop(shared.dedupe);
    commit_stop(shared.log);
    control_stop(shared.control);
    api_loop_free(api);
    auth_keys_free(shared.keys);
    control_free(shared.control);
    dedupe_free(shared.dedupe);
    loop_free(loop);
    (void)close(listen_fd);
    ch_target_unref(target);
    wal_close(shared.wal);
    store_close(shared.store);
    config_unref(settings);
    config_unref(shape);
    config_unref(strict_open);
    buf_fini(&findings);
    (void)snprintf(command, sizeof(command), "rm -rf %s", path);
    (void)!system(command);
    return tap_done();
}
