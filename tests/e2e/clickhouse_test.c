/* SPDX-License-Identifier: Apache-2.0 */
/* The native client, the HTTP client and discovery against real servers of both generations
 * (tests/lib/servers). Where to find them: WH_CH26_TCP, WH_CH26_HTTP, WH_CH26_ADMIN (front.js) and
 * WH_CH18_TCP, WH_CH18_HTTP. */
#include "clickhouse/http_client.h"
#include "clickhouse/wire.h"

#include "tests/lib/tap.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATABASE "wh_client_test"

static struct ch_endpoint endpoint;
static struct ch_options options;
static bool modern;
static uint16_t admin_port;

static uint16_t port_of(const char *variable)
{
    const char *v = getenv(variable);
    return v != NULL ? (uint16_t)atoi(v) : 0;
}

static void use_server(uint16_t tcp, uint16_t http, bool lz4)
{
    endpoint = (struct ch_endpoint){.host = "127.0.0.1", .port = tcp, .http_port = http};
    options = (struct ch_options){.endpoints = &endpoint,
                                  .endpoint_count = 1,
                                  .database = DATABASE,
                                  .username = "writer",
                                  .password = "secret",
                                  .compress_lz4 = lz4,
                                  .compress_loopback = true,
                                  .connect_timeout_ms = 5000,
                                  .io_timeout_ms = 20000};
}

static enum ch_outcome query_in(const char *database, const char *sql, char *answer, size_t cap,
                                struct ch_error *e)
{
    struct ch_options o = options;
    o.database = database;
    struct ch_http *h = ch_http_new(&o);
    struct buf out;
    buf_init(&out, 1 << 20);
    struct ch_http_request q = {.sql = slice_str(sql),
                                .timeout_ms = 20000,
                                .response_max = 1 << 20};
    enum ch_outcome r = h != NULL ? ch_http_query(h, &q, &out, e) : CH_BUG;
    size_t n = out.len < cap - 1 ? out.len : cap - 1;
    if (n > 0)
        memcpy(answer, out.ptr, n);
    answer[n] = '\0';
    if (n > 0 && answer[n - 1] == '\n')
        answer[n - 1] = '\0';
    buf_fini(&out);
    ch_http_free(h);
    return r;
}

/* What the server answers, or the error's text. */
static const char *query(const char *sql)
{
    static char answer[4096];
    struct ch_error e;
    if (query_in(DATABASE, sql, answer, sizeof(answer), &e) != CH_OK)
        (void)snprintf(answer, sizeof(answer), "error %d %s", e.code, e.text);
    return answer;
}

/* POST to the front's admin port; the answer is not looked at. */
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

/* ---- blocks made by hand ---- */

struct block {
    const char *names[8], *types[8];
    struct slice data[8]; /* prefix and data */
    uint32_t columns;
};

static int write_block(void *ctx, bool custom_byte, struct ch_sink *sink)
{
    struct buf *out = sink->out;
    const struct block *b = ctx;
    for (uint32_t i = 0; i < b->columns; i++) {
        ch_put_cstring(out, b->names[i]);
        ch_put_cstring(out, b->types[i]);
        if (custom_byte)
            buf_put_u8(out, 0);
        buf_put_slice(out, b->data[i]);
    }
    return 0;
}

typedef enum ch_outcome insert_fn(struct ch_native *c, const struct ch_insert *in,
                                  struct ch_error *e);

static enum ch_outcome insert_by(insert_fn *fn, struct ch_native *c, const char *table,
                                 struct block *b, uint64_t rows, const char *token,
                                 struct ch_error *e)
{
    struct slice names[8], types[8];
    for (uint32_t i = 0; i < b->columns; i++) {
        names[i] = slice_str(b->names[i]);
        types[i] = slice_str(b->types[i]);
    }
    struct ch_insert ins = {.table = slice_str(table),
                            .columns = names,
                            .types = types,
                            .column_count = b->columns,
                            .token = token,
                            .hold = fn != ch_native_insert,
                            .row_count = rows,
                            .write_columns = write_block,
                            .ctx = b};
    e->code = 0;
    e->text[0] = '\0';
    return fn(c, &ins, e);
}

static enum ch_outcome insert(struct ch_native *c, const char *table, struct block *b,
                              uint64_t rows, const char *token, struct ch_error *e)
{
    return insert_by(ch_native_insert, c, table, b, rows, token, e);
}

#define BYTES(s)           \
    {                      \
        (s), sizeof(s) - 1 \
    }

static struct block one_number = {{"k"}, {"UInt32"}, {BYTES("\x07\0\0\0")}, 1};

static void is_outcome(enum ch_outcome got, enum ch_outcome want, const struct ch_error *e,
                       const char *name)
{
    if (!ok(got == want, "%s: %s", name, ch_outcome_name(want)))
        printf("# got %s, code %d: %s\n", ch_outcome_name(got), e->code, e->text);
}

static void test_types(struct ch_native *c)
{
    struct ch_error e;
    struct block b = {{"a b`\\", "l", "arr", "n", "d", "u"},
                      {"String", "LowCardinality(String)", "Array(UInt8)", "Nullable(UInt16)",
                       "Decimal(9, 2)", "UUID"},
                      {BYTES("\x02hi\x00"),
                       BYTES("\1\0\0\0\0\0\0\0\0\6\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\1x"
                             "\2\0\0\0\0\0\0\0\1\0"),
                       BYTES("\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\1\2\3"), BYTES("\1\0\0\0\2\1"),
                       BYTES("\x83\xff\xff\xff\x01\0\0\0"),
                       BYTES("\xe7\x11\xb3\x5c\x04\xc4\xf0\x61\xa0\xdb\xd3\x6a\x00\xa6\x7b\x90"
                             "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")},
                      6};
    is_str(query("CREATE TABLE types (id UInt32 DEFAULT 9, `a b\\`\\\\` String, "
                 "l LowCardinality(String), arr Array(UInt8), n Nullable(UInt16), d Decimal(9, 2), "
                 "u UUID) ENGINE = MergeTree ORDER BY id"),
           "", "table of several types");
    is_outcome(insert(c, "types", &b, 2, NULL, &e), CH_OK, &e, "two rows of six types");
    is_str(query("SELECT * FROM types ORDER BY n NULLS LAST FORMAT TSV"),
           "9\t\t\t[3]\t258\t0.01\t00000000-0000-0000-0000-000000000000\n"
           "9\thi\tx\t[1,2]\t\\N\t-1.25\t61f0c404-5cb3-11e7-907b-a6006ad3dba0",
           "they are there, and the omitted column has its DEFAULT");
}

static void test_errors(struct ch_native *c)
{
    struct ch_error e;
    struct block b = one_number;
    (void)query("CREATE TABLE k (k UInt32) ENGINE = MergeTree ORDER BY k");
    is_outcome(insert(c, "missing", &b, 1, NULL, &e), CH_SCHEMA, &e, "unknown table");
    ok(e.code == 60 && strstr(e.text, "missing") != NULL, "code 60 and its text");
    b.names[0] = "nope";
    is_outcome(insert(c, "k", &b, 1, NULL, &e), CH_SCHEMA, &e, "unknown column");
    b = one_number;
    b.types[0] = "UInt64";
    is_outcome(insert(c, "k", &b, 1, NULL, &e), CH_SCHEMA, &e, "another type than the sample's");
    ok(strstr(e.text, "k UInt32") != NULL && strstr(e.text, "UInt64") != NULL, "both are named");
    b = one_number;
    is_outcome(insert(c, "k", &b, 1, NULL, &e), CH_OK, &e, "a good one after all these");
    is_str(query("SELECT count() FROM k"), "1", "one row");

    struct ch_options other = options;
    other.password = "wrong";
    struct ch_native *w = ch_native_new(&other);
    is_outcome(ch_native_connect(w, NULL, &e), CH_CONFIG, &e, "wrong password");
    ok(e.code == (modern ? 516 : 193), "its code is %d", e.code);
    ch_native_free(w);
    other = options;
    other.database = "no_such_database";
    w = ch_native_new(&other);
    is_outcome(ch_native_connect(w, NULL, &e), CH_SCHEMA, &e, "unknown database");
    ok(e.code == 81, "its code is %d", e.code);
    ch_native_free(w);
    struct ch_endpoint two[2] = {{.host = "127.0.0.1", .port = 1}, endpoint};
    other = options;
    other.endpoints = two;
    other.endpoint_count = 2;
    w = ch_native_new(&other);
    is_outcome(insert(w, "k", &b, 1, NULL, &e), CH_OK, &e, "the first endpoint refuses");
    ch_native_free(w);
}

/* A block whose rows a constraint or a partition limit refuses: an exception after the data. */
static void test_late_exceptions(struct ch_native *c)
{
    struct ch_error e;
    static char numbers[4 * 200];
    for (uint32_t i = 0; i < 200; i++)
        memcpy(numbers + 4 * i, &i, 4);
    struct block b = {{"k"}, {"UInt32"}, {{numbers, sizeof(numbers)}}, 1};
    if (!modern)
        return;
    (void)query("CREATE TABLE part (k UInt32) ENGINE = MergeTree PARTITION BY k ORDER BY k");
    is_outcome(insert(c, "part", &b, 200, NULL, &e), CH_SPLIT_PARTITIONS, &e,
               "200 partitions in a block");
    (void)query("CREATE TABLE checked (k UInt32, CONSTRAINT small CHECK k < 100) "
                "ENGINE = MergeTree ORDER BY k");
    is_outcome(insert(c, "checked", &b, 200, NULL, &e), CH_DATA, &e, "a violated constraint");
    ok(e.code == 469, "its code is %d", e.code);
    is_outcome(ch_native_ping(c, &e), CH_OK, &e, "a new connection after it");
    is_outcome(ch_native_ping(c, &e), CH_OK, &e, "and a ping on it");
}

static void test_dedup(struct ch_native *c)
{
    struct ch_error e;
    struct block b = one_number;
    if (!modern)
        return;
    (void)query("CREATE TABLE dedup (k UInt32) ENGINE = MergeTree ORDER BY k "
                "SETTINGS non_replicated_deduplication_window = 100");
    is_outcome(insert(c, "dedup", &b, 1, "c/dedup/1-1", &e), CH_OK, &e, "a token");
    is_outcome(insert(c, "dedup", &b, 1, "c/dedup/1-1", &e), CH_OK, &e, "the same again");
    is_str(query("SELECT count() FROM dedup"), "1", "is dropped");
    is_outcome(insert(c, "dedup", &b, 1, "c/dedup/2-2", &e), CH_OK, &e, "another token");
    is_str(query("SELECT count() FROM dedup"), "2", "is kept, although the rows are equal");
}

/* A block whose end has not come is not stored, and is not after it is cancelled: what the sender
 * relies on when it sends a block before its turn. */
static void test_steps(struct ch_native *c)
{
    static char numbers[4 * 200000];
    struct ch_error e;
    struct block b = {{"k"}, {"UInt32"}, {{numbers, sizeof(numbers)}}, 1};
    for (uint32_t i = 0; i < sizeof(numbers) / 4; i++)
        memcpy(numbers + (size_t)4 * i, &i, 4);
    (void)query("CREATE TABLE steps (p Date DEFAULT '2020-01-01', k UInt32) "
                "ENGINE = MergeTree PARTITION BY toYYYYMM(p) ORDER BY k");
    struct ch_native *other = ch_native_new(&options);
    is_outcome(insert_by(ch_native_insert_send, c, "steps", &b, 200000, "s/1", &e), CH_OK, &e,
               "a block is sent");
    is_outcome(insert_by(ch_native_insert_send, other, "steps", &b, 200000, "s/2", &e), CH_OK, &e,
               "another one beside it");
    (void)usleep(300000);
    is_str(query("SELECT count() FROM steps"), "0", "neither is stored before its end");
    is_outcome(ch_native_insert_end(c, &e), CH_OK, &e, "the end of the first");
    is_outcome(ch_native_insert_wait(c, &e), CH_OK, &e, "its verdict");
    is_str(query("SELECT count() FROM steps"), "200000", "it is stored, the other one is not");
    is_outcome(ch_native_insert_cancel(other, &e), CH_OK, &e, "which is cancelled");
    (void)usleep(300000);
    is_str(query("SELECT count() FROM steps"), "200000", "and still not");
    is_outcome(insert_by(ch_native_insert_send, other, "steps", &b, 200000, "s/2", &e), CH_OK, &e,
               "it is sent again");
    ch_native_disconnect(other);
    (void)usleep(300000);
    is_str(query("SELECT count() FROM steps"), modern ? "200000" : "400000",
           "closed before its end: what this server makes of that");
    ch_native_free(other);
}

/* ---- faults, through the front ---- */

static void fault(const char *json)
{
    admin("/clear", "{}");
    admin("/fault", json);
}

static void test_faults(void)
{
    static char numbers[4 << 20];
    struct ch_error e;
    struct block b = one_number, big = {{"k"}, {"UInt32"}, {{numbers, sizeof(numbers)}}, 1};
    for (uint32_t i = 0; i < sizeof(numbers) / 4; i++)
        memcpy(numbers + (size_t)4 * i, &(uint32_t){i * 2654435761u}, 4);
    (void)query("CREATE TABLE f (k UInt32) ENGINE = MergeTree ORDER BY k "
                "SETTINGS non_replicated_deduplication_window = 100");
    struct ch_options o = options;
    o.io_timeout_ms = 1500; /* for the hangs */
    o.connect_timeout_ms = 1500;

    static const struct {
        const char *fault, *name;
        enum ch_outcome want;
        bool big;
    } cases[] = {
        {"{\"at\":\"connect\",\"kind\":\"drop\",\"times\":1}", "cut at connect", CH_UNAVAILABLE, 0},
        {"{\"at\":\"hello\",\"kind\":\"drop\",\"times\":1}", "cut at hello", CH_UNAVAILABLE, 0},
        {"{\"at\":\"hello\",\"kind\":\"exception\",\"code\":516,\"times\":1}", "refused at hello",
         CH_CONFIG, 0},
        {"{\"at\":\"query\",\"kind\":\"drop\",\"times\":1}", "cut at the query", CH_UNAVAILABLE, 0},
        {"{\"at\":\"query\",\"kind\":\"exception\",\"code\":202,\"times\":1}", "too many queries",
         CH_UNAVAILABLE, 0},
        {"{\"at\":\"query\",\"kind\":\"exception\",\"code\":252,\"times\":1}", "too many parts",
         CH_TOO_MANY_PARTS, 0},
        {"{\"at\":\"query\",\"kind\":\"hang\",\"times\":1}", "silence after the query",
         CH_UNAVAILABLE, 0},
        {"{\"at\":\"data\",\"kind\":\"drop\",\"after\":500000,\"times\":1}", "cut inside the block",
         CH_UNKNOWN_FATE, 1},
        {"{\"at\":\"data\",\"kind\":\"drop\",\"rst\":false,\"after\":500000,\"times\":1}",
         "closed inside the block", CH_UNKNOWN_FATE, 1},
        {"{\"at\":\"data\",\"kind\":\"exception\",\"code\":241,\"after\":500000,\"times\":1}",
         "an exception inside the block", CH_UNAVAILABLE, 1},
        {"{\"at\":\"data\",\"kind\":\"hang\",\"after\":500000,\"times\":1}", "silence in the block",
         CH_UNKNOWN_FATE, 1},
        {"{\"at\":\"ack\",\"kind\":\"drop\",\"times\":1}", "the answer is lost", CH_UNKNOWN_FATE,
         0},
        {"{\"at\":\"ack\",\"kind\":\"exception\",\"code\":319,\"times\":1}", "the server is unsure",
         CH_UNKNOWN_FATE, 0},
    };
    size_t n = sizeof(cases) / sizeof(cases[0]);
    for (size_t i = 0; i < n; i++) {
        char token[32];
        (void)snprintf(token, sizeof(token), "fault-%zu", i);
        struct ch_native *c = ch_native_new(&o);
        struct block *which = cases[i].big ? &big : &b;
        uint64_t rows = cases[i].big ? sizeof(numbers) / 4 : 1;
        fault(cases[i].fault);
        is_outcome(insert(c, "f", which, rows, token, &e), cases[i].want, &e, cases[i].name);
        ch_native_free(c);
        admin("/clear", "{}");
        c = ch_native_new(&options);
        is_outcome(insert(c, "f", which, rows, token, &e), CH_OK, &e, "and then again");
        ch_native_free(c);
    }
    char want[32];
    (void)snprintf(want, sizeof(want), "%zu", 9 + 4 * sizeof(numbers) / 4);
    is_str(query("SELECT count() FROM f"), want, "every block is there exactly once");
}

static void test_restart(void)
{
    struct ch_error e;
    struct block b = one_number;
    struct ch_native *c = ch_native_new(&options);
    is_outcome(insert(c, "f", &b, 1, "restart-1", &e), CH_OK, &e, "before the server is killed");
    admin("/engine/kill", "{}");
    enum ch_outcome o = insert(c, "f", &b, 1, "restart-2", &e);
    is_outcome(o, CH_UNAVAILABLE, &e, "while it is down");
    admin("/engine/start", "{}");
    is_outcome(insert(c, "f", &b, 1, "restart-2", &e), CH_OK, &e, "after it is back");
    admin("/cut", "{}");
    is_outcome(insert(c, "f", &b, 1, "restart-3", &e), CH_OK, &e,
               "an idle connection that was cut is replaced");
    ch_native_free(c);
}

/* ---- HTTP ---- */

static void test_http(void)
{
    struct ch_error e;
    char answer[4096];
    is_outcome(query_in(DATABASE, "SELECT * FROM missing", answer, sizeof(answer), &e), CH_SCHEMA,
               &e, "HTTP: unknown table");
    ok(e.code == 60 && answer[0] == '\0', "code 60, nothing in the answer");
    is_outcome(query_in("no_such_database", "SELECT 1", answer, sizeof(answer), &e), CH_SCHEMA, &e,
               "HTTP: unknown database");
    is_outcome(query_in(DATABASE, "SELEC", answer, sizeof(answer), &e), CH_BUG, &e,
               "HTTP: a syntax error");
    struct ch_endpoint two[2] = {{.host = "127.0.0.1", .port = 1, .http_port = 1}, endpoint};
    struct ch_options saved = options;
    options.endpoints = two;
    options.endpoint_count = 2;
    is_str(query("SELECT 1"), "1", "HTTP: the first endpoint refuses");
    options = saved;
    options.password = "wrong";
    is_outcome(query_in(DATABASE, "SELECT 1", answer, sizeof(answer), &e), CH_CONFIG, &e,
               "HTTP: wrong password");
    options = saved;

    struct ch_http *h = ch_http_new(&options);
    struct buf out;
    buf_init(&out, 1 << 20);
    struct ch_http_request q = {.sql = SLICE_LIT("INSERT INTO k FORMAT JSONEachRow"),
                                .body = SLICE_LIT("{\"k\":100}\n{\"k\":101}\n"),
                                .timeout_ms = 5000,
                                .response_max = 4096};
    is_outcome(ch_http_query(h, &q, &out, &e), CH_OK, &e, "HTTP: INSERT of JSON rows");
    is_str(query("SELECT sum(k) FROM k WHERE k >= 100"), "201", "they are there");
    q.body = SLICE_LIT("{\"k\":\"x\"}\n");
    is_outcome(ch_http_query(h, &q, &out, &e), CH_DATA, &e, "HTTP: a bad row");
    q = (struct ch_http_request){.sql = SLICE_LIT("SELECT number FROM system.numbers LIMIT 10000"),
                                 .timeout_ms = 5000,
                                 .response_max = 4096};
    is_outcome(ch_http_query(h, &q, &out, &e), CH_UNAVAILABLE, &e, "HTTP: an answer too long");
    ok(out.len == 0, "nothing of it is kept");
    buf_fini(&out);
    ch_http_free(h);
}

static void test_discovery(void)
{
    struct ch_error e;
    struct schema_catalog *catalog = NULL;
    (void)query("CREATE TABLE found (id UInt64, s String DEFAULT 'x''y', m String MATERIALIZED "
                "upper(s), a UInt64 ALIAS id + 1) ENGINE = MergeTree ORDER BY id");
    (void)query("CREATE VIEW seen AS SELECT id FROM found");
    struct ch_http *h = ch_http_new(&options);
    is_outcome(ch_discover(h, DATABASE, &catalog, &e), CH_OK, &e, "discovery");
    if (catalog == NULL) {
        ch_http_free(h);
        return;
    }
    ok(schema_catalog_version(catalog).len > 4 &&
           memcmp(schema_catalog_version(catalog).ptr, modern ? "26." : "18.", 3) == 0,
       "version %.*s", SLICE_ARG(schema_catalog_version(catalog)));
    ok(schema_catalog_timezone(catalog).len > 0, "time zone %.*s",
       SLICE_ARG(schema_catalog_timezone(catalog)));
    const struct schema_table *t = schema_catalog_find(catalog, SLICE_LIT("found"));
    if (ok(t != NULL && t->column_count == 4, "a table with four columns")) {
        static const enum schema_default kinds[] = {SCHEMA_DEFAULT_NONE, SCHEMA_DEFAULT_DEFAULT,
                                                    SCHEMA_DEFAULT_MATERIALIZED,
                                                    SCHEMA_DEFAULT_ALIAS};
        bool same = slice_eq_str(t->columns[0].name, "id") &&
                    slice_eq_str(t->columns[3].name, "a") &&
                    slice_eq_str(t->columns[0].type->text, "UInt64");
        for (int i = 0; i < 4; i++)
            same = same && t->columns[i].default_kind == kinds[i];
        ok(same, "names in table order, types, default kinds");
        ok(slice_eq_str(t->engine, "MergeTree") && t->dedup_window == 0, "engine, no window");
    }
    t = schema_catalog_find(catalog, SLICE_LIT("seen"));
    ok(t != NULL && slice_eq_str(t->engine, "View") && t->dedup_window == -1, "a view");
    t = schema_catalog_find(catalog, SLICE_LIT("dedup"));
    if (modern)
        ok(t != NULL && t->dedup_window == 100, "a deduplication window");
    schema_catalog_unref(catalog);
    is_outcome(ch_discover(h, "it's \\ nothing", &catalog, &e), CH_OK, &e, "a quoted name");
    ok(catalog != NULL && schema_catalog_table_count(catalog) == 0, "has no tables");
    schema_catalog_unref(catalog);
    ch_http_free(h);
}

static void run(uint16_t tcp, uint16_t http, bool lz4)
{
    char answer[256];
    struct ch_error e;
    use_server(tcp, http, lz4);
    printf("# %s, compression %s\n", modern ? "26.7" : "18.16", lz4 ? "LZ4" : "off");
    is_outcome(query_in("default", "DROP DATABASE IF EXISTS " DATABASE, answer, sizeof(answer), &e),
               CH_OK, &e, "drop");
    is_outcome(query_in("default", "CREATE DATABASE " DATABASE, answer, sizeof(answer), &e), CH_OK,
               &e, "create the database");
    struct ch_native *c = ch_native_new(&options);
    struct ch_server server;
    is_outcome(ch_native_connect(c, &server, &e), CH_OK, &e, "connect");
    ok(server.revision == (modern ? 54460 : 54412) && server.major == (modern ? 26 : 18) &&
           server.timezone[0] != '\0',
       "revision %u, version %u.%u.%u, %s", server.revision, server.major, server.minor,
       server.patch, server.timezone);
    test_types(c);
    test_errors(c);
    test_late_exceptions(c);
    test_dedup(c);
    test_steps(c);
    ch_native_free(c);
    test_http();
    test_discovery();
    if (modern && admin_port != 0) {
        test_faults();
        test_restart();
    }
    (void)query_in("default", "DROP DATABASE " DATABASE, answer, sizeof(answer), &e);
}

int main(void)
{
    uint16_t tcp26 = port_of("WH_CH26_TCP"), tcp18 = port_of("WH_CH18_TCP");
    if (tcp26 == 0 && tcp18 == 0)
        return skip_all("no ClickHouse server: WH_CH26_TCP and WH_CH18_TCP are not set");
    admin_port = port_of("WH_CH26_ADMIN");
    for (int lz4 = 0; lz4 < 2; lz4++) {
        modern = true;
        if (tcp26 != 0)
            run(tcp26, port_of("WH_CH26_HTTP"), lz4);
        else if (lz4 == 0)
            ok(true, "26.7 # SKIP WH_CH26_TCP is not set");
        modern = false;
        if (tcp18 != 0)
            run(tcp18, port_of("WH_CH18_HTTP"), lz4);
        else if (lz4 == 0)
            ok(true, "18.16 # SKIP WH_CH18_TCP is not set");
    }
    if (tcp26 != 0 && admin_port == 0)
        ok(true, "faults # SKIP WH_CH26_ADMIN is not set");
    return tap_done();
}
