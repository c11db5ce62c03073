/* SPDX-License-Identifier: Apache-2.0 */
/* Strict verdicts and dry runs: what is taken, which number a refusal has, how values are shown. */
#include "base/limits.h"
#include "clickhouse/verdict.h"
#include "schema/record.h"
#include "tests/lib/tap.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

struct fixture {
    struct schema_catalog *catalog;
    struct json_reader *reader;
    struct record_checker *checker;
    struct ch_verdict *verdict;
    struct buf text, canonical, shown;
    struct ch_value_error error;
};

struct column_text {
    const char *name, *type, *kind, *expression; /* kind NULL: no default */
};

static void add_table(struct schema_builder *b, const char *name, const struct column_text *c)
{
    int rc = schema_builder_table(b, slice_str(name), SLICE_LIT("MergeTree"), 0);
    for (; rc == 0 && c->name != NULL; c++)
        rc = schema_builder_column(b, slice_str(c->name), slice_str(c->type),
                                   slice_str(c->kind != NULL ? c->kind : ""),
                                   slice_str(c->kind != NULL ? c->expression : ""));
    if (rc != 0)
        printf("Bail out! %s\n", name);
}

static const struct column_text plain[] = {{"i", "Int32", NULL, NULL},
                                           {"u", "UInt8", NULL, NULL},
                                           {"s", "String", NULL, NULL},
                                           {"l", "LowCardinality(String)", NULL, NULL},
                                           {"e", "Enum8('a' = 1, 'b' = 2)", NULL, NULL},
                                           {"d", "Nullable(Date)", NULL, NULL},
                                           {"t", "DateTime64(3, 'America/New_York')", "DEFAULT",
                                            "now64()"},
                                           {"a", "Array(Nullable(Int16))", NULL, NULL},
                                           {"up", "String", "MATERIALIZED", "upper(s)"},
                                           {"al", "String", "ALIAS", "lower(s)"},
                                           {"raw", "String", "EPHEMERAL", ""},
                                           {NULL, NULL, NULL, NULL}};

static const struct column_text foreign[] = {{"id", "UInt32", NULL, NULL},
                                             {"j", "JSON", NULL, NULL},
                                             {"v", "Variant(String, UInt8)", "DEFAULT", "1"},
                                             {"p", "Point", NULL, NULL},
                                             {"z", "DateTime('No/Such_Zone')", NULL, NULL},
                                             {NULL, NULL, NULL, NULL}};

static const struct column_text nested[] = {{"n.a", "Array(UInt8)", NULL, NULL},
                                            {"n.b", "Array(String)", NULL, NULL},
                                            {"n.c", "Array(String)", "DEFAULT", "n.b"},
                                            {"m.a", "Array(UInt8)", "DEFAULT", "[1]"},
                                            {"m.b", "Array(UInt8)", "DEFAULT", "[2]"},
                                            {NULL, NULL, NULL, NULL}};

static struct schema_catalog *make_catalog(void)
{
    struct schema_builder *b = schema_builder_new();
    schema_builder_server(b, SLICE_LIT("26.7"), SLICE_LIT("UTC"));
    add_table(b, "plain", plain);
    add_table(b, "foreign", foreign);
    add_table(b, "nested", nested);
    struct schema_catalog *c = schema_builder_finish(b, NULL);
    schema_builder_free(b);
    return c;
}

static void setup(struct fixture *f)
{
    *f = (struct fixture){.catalog = make_catalog(),
                          .reader = json_reader_new(32 * MIB),
                          .checker = record_checker_new(),
                          .verdict = ch_verdict_new()};
    buf_init(&f->text, SIZE_MAX);
    buf_init(&f->canonical, SIZE_MAX);
    buf_init(&f->shown, SIZE_MAX);
}

static void teardown(struct fixture *f)
{
    ch_verdict_free(f->verdict);
    record_checker_free(f->checker);
    json_reader_free(f->reader);
    schema_catalog_unref(f->catalog);
    buf_fini(&f->text);
    buf_fini(&f->canonical);
    buf_fini(&f->shown);
}

/* The record through record_check, as the ingest path has it. */
static bool prepare(struct fixture *f, const struct schema_table *t, const char *record,
                    struct json_doc *doc)
{
    struct record_options options = {.ignore_unknown = true};
    struct record_result result;
    size_t len = strlen(record);
    buf_reset(&f->text);
    buf_reset(&f->canonical);
    buf_put(&f->text, record, len);
    if (buf_reserve(&f->text, LIMIT_JSON_PADDING) != 0 ||
        json_reader_begin(f->reader, f->text.ptr, len, JSON_ONE) != 0 ||
        json_reader_next(f->reader, doc) != 0 ||
        record_check(f->checker, t, SLICE_LIT("UTC"), &options, doc, 1, &f->canonical, &result) !=
            0 ||
        buf_reserve(&f->canonical, LIMIT_JSON_PADDING) != 0)
        return false;
    return true;
}

/* 0 taken, ClickHouse's number, or -1: it did not get so far. */
static int judge_in(struct fixture *f, struct schema_catalog *catalog, const char *table,
                    const char *record)
{
    struct json_doc doc;
    const struct schema_table *t = schema_catalog_find(catalog, slice_str(table));
    f->error.code = -1;
    if (!prepare(f, t, record, &doc))
        return -1;
    int rc = ch_verdict_check(f->verdict, catalog, t, &doc, buf_slice(&f->canonical), &f->error);
    return rc == 0 ? 0 : f->error.code;
}

static int judge(struct fixture *f, const char *table, const char *record)
{
    return judge_in(f, f->catalog, table, record);
}

static const char *show(struct fixture *f, const char *table, const char *record)
{
    struct json_doc doc;
    const struct schema_table *t = schema_catalog_find(f->catalog, slice_str(table));
    buf_reset(&f->shown);
    if (!prepare(f, t, record, &doc))
        return "not a record";
    int rc =
        ch_verdict_show(f->verdict, f->catalog, t, buf_slice(&f->canonical), &f->shown, &f->error);
    if (rc != 0)
        buf_printf(&f->shown, "refused %d", f->error.code);
    buf_put_u8(&f->shown, 0);
    return f->shown.ptr;
}

static void test_verdicts(struct fixture *f)
{
    is_u64(judge(f, "plain",
                 "{\"i\":1,\"u\":2,\"s\":\"x\",\"l\":\"y\",\"e\":\"a\",\"a\":[1,null]}"),
           0, "a good record");
    is_u64(judge(f, "plain", "{\"i\":1,\"u\":300,\"s\":\"\",\"l\":\"\",\"e\":2,\"a\":[]}"), 0,
           "300 wraps in a UInt8, as ClickHouse has it");
    is_u64(judge(f, "plain",
                 "{\"i\":\"12x\",\"u\":2,\"s\":\"x\",\"l\":\"y\",\"e\":\"a\",\"a\":[]}"),
           27, "text behind a number");
    is_str(f->error.column, "i", "the column");
    is_u64(judge(f, "plain", "{\"i\":1,\"u\":2,\"s\":\"x\",\"l\":\"y\",\"e\":\"c\",\"a\":[]}"), 691,
           "no element of the enumeration");
    is_u64(judge(f, "plain",
                 "{\"i\":1,\"u\":2,\"s\":\"x\",\"l\":\"y\",\"e\":1,\"d\":\"soon\",\"a\":[]}"),
           38, "no date");
    is_u64(judge(f, "plain",
                 "{\"i\":1,\"u\":2,\"s\":\"x\",\"l\":\"y\",\"e\":1,\"t\":\"soon\",\"a\":[]}"),
           41, "no time");
    is_u64(judge(f, "plain", "{\"i\":1,\"u\":2,\"s\":\"\\ud800\",\"l\":\"y\",\"e\":1,\"a\":[]}"),
           25, "a lone surrogate, in a String of all things");
    is_u64(judge(f, "plain", "{\"i\":1,\"u\":2,\"s\":\"x\",\"l\":\"y\",\"e\":1,\"a\":[\"q\"]}"), 27,
           "inside an array");
    is_u64(judge(f, "plain",
                 "{\"i\":\"x\",\"i\":1,\"u\":2,\"s\":\"\",\"l\":\"\",\"e\":1,\"a\":[],\"q\":3}"),
           0, "of repeated keys only the last counts, ignored ones do not");
    is_u64(judge(f, "plain",
                 "{\"i\":1,\"i\":\"x\",\"u\":2,\"s\":\"\",\"l\":\"\",\"e\":1,\"a\":[]}"),
           27, "and that one may be bad");
    is_u64(judge(f, "plain",
                 "{\"i\":1,\"u\":2,\"s\":\"\",\"l\":\"\",\"e\":1,\"a\":[],"
                 "\"t\":\"2026-06-21T04:00:00.1234567890123456789Z\"}"),
           0, "a time is judged in its canonical form");
}

static void test_foreign(struct fixture *f)
{
    is_u64(judge(f, "foreign", "{\"id\":1,\"j\":{\"a\":1},\"p\":[1,2],\"z\":\"whenever\"}"), 0,
           "columns that cannot be judged are let pass");
    is_u64(judge(f, "foreign", "{\"id\":\"x\",\"j\":1,\"p\":[1,2],\"z\":1}"), 27,
           "the others are judged");
    is_str(show(f, "foreign", "{\"id\":1,\"j\":{\"a\":1},\"p\":[1,2],\"z\":1}"),
           "\"row\":{\"id\":1},\"defaults\":{\"v\":\"1\"},\"unchecked\":[\"j\",\"p\",\"z\"]",
           "a dry run names them");
}

static void test_nested(struct fixture *f)
{
    is_u64(judge(f, "nested", "{\"n.a\":[1,2],\"n.b\":[\"x\",\"y\"]}"), 0, "equal lengths");
    is_u64(judge(f, "nested", "{\"n.a\":[1,2],\"n.b\":[\"x\"]}"), 190, "unequal ones");
    is_u64(judge(f, "nested", "{\"n.a\":[1],\"n.b\":[\"x\"],\"n.c\":[]}"), 190,
           "also of a column with a DEFAULT, when it is there");
    is_u64(judge(f, "nested", "{\"n.a\":[1],\"n.b\":[\"x\"],\"m.a\":[1,2,3]}"), 0,
           "a DEFAULT is ClickHouse's to evaluate");
    is_u64(judge(f, "nested", "{\"n.a\":[],\"n.b\":[],\"m.a\":[1,2],\"m.b\":[1]}"), 190,
           "two columns with a DEFAULT that are there");
    is_str(show(f, "nested", "{\"n.a\":[1],\"n.b\":[\"x\"]}"),
           "\"row\":{\"n.a\":[1],\"n.b\":[\"x\"]},\"defaults\":{\"n.c\":\"n.b\",\"m.a\":\"[1]\","
           "\"m.b\":\"[2]\"}",
           "what ClickHouse computes is told as its expression");
}

static void test_show(struct fixture *f)
{
    is_str(show(f, "plain",
                "{\"i\":-7,\"u\":300,\"s\":\"\\u00e9\\n\",\"l\":\"y\",\"e\":\"b\","
                "\"a\":[1,null],\"raw\":\"q\",\"t\":\"2026-06-21 00:00:00.1239\"}"),
           "\"row\":{\"i\":-7,\"u\":44,\"s\":\"é\\n\",\"l\":\"y\",\"e\":\"b\",\"d\":null,"
           "\"t\":\"2026-06-21T04:00:00.123Z\",\"a\":[1,null]},\"defaults\":{\"up\":\"upper(s)\"}",
           "a row as it would be stored");
    is_str(show(f, "plain",
                "{\"i\":1,\"u\":1,\"s\":\"x\",\"l\":\"y\",\"e\":1,\"a\":[],\"t\":null}"),
           "\"row\":{\"i\":1,\"u\":1,\"s\":\"x\",\"l\":\"y\",\"e\":\"a\",\"d\":null,\"a\":[]},"
           "\"defaults\":{\"t\":\"now64()\",\"up\":\"upper(s)\"}",
           "null asks for the DEFAULT");
    is_str(show(f, "plain", "{\"i\":\"x\",\"u\":1,\"s\":\"x\",\"l\":\"y\",\"e\":1,\"a\":[]}"),
           "refused 27", "a refused record is not shown");
}

/* One value of each kind of type, alone or in a composite. */
static void test_values(void)
{
    static const char *const cases[][3] = {
        {"Int256",
         "\"-57896044618658097711785492504343953926634992332820282019728792003956564819968\"",
         "-57896044618658097711785492504343953926634992332820282019728792003956564819968"},
        {"UInt128", "340282366920938463463374607431768211455",
         "340282366920938463463374607431768211455"},
        {"UInt64", "18446744073709551615", "18446744073709551615"},
        {"Int8", "-128", "-128"},
        {"Float64", "1e21", "1e21"},
        {"Float64", "123456789012345678901", "123456789012345680000"},
        {"Float64", "1e-7", "1e-7"},
        {"Float64", "0.000001", "0.000001"},
        {"Float64", "5e-324", "5e-324"},
        {"Float64", "9.5367431640625e-07", "9.5367431640625e-7"},
        {"Float64", "\"-inf\"", "null"},
        {"Float64", "-0.0", "-0"},
        {"Float32", "0.1", "0.1"},
        {"Float32", "16777217", "16777216"},
        {"BFloat16", "0.1", "0.099609375"},
        {"Decimal(76, 20)", "-1.25", "-1.25"},
        {"Decimal(9, 9)", "0.000000001", "0.000000001"},
        {"Decimal(9, 2)", "-0.10", "-0.1"},
        {"Decimal(9, 2)", "700", "700"},
        {"Bool", "1", "true"},
        {"FixedString(3)", "\"a\"", "\"a\\u0000\\u0000\""},
        {"String", "\"\\udc00x\"", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx\""},
        {"UUID", "\"61f0c404-5cb3-11e7-907b-a6006ad3dba0\"",
         "\"61f0c404-5cb3-11e7-907b-a6006ad3dba0\""},
        {"IPv4", "\"1.2.3.4\"", "\"1.2.3.4\""},
        {"IPv6", "\"1.2.3.4\"", "\"::ffff:1.2.3.4\""},
        {"IPv6", "\"::\"", "\"::\""},
        {"IPv6", "\"1:0:0:2:0:0:0:0\"", "\"1:0:0:2::\""},
        {"IPv6", "\"1::2\"", "\"1::2\""},
        {"IPv6", "\"1:0:2:3:4:5:6:7\"", "\"1:0:2:3:4:5:6:7\""},
        {"Date", "\"2026-02-03\"", "\"2026-02-03\""},
        {"Date32", "\"1925-01-01\"", "\"1925-01-01\""},
        {"DateTime('America/New_York')", "1781928000", "\"2026-06-20T04:00:00Z\""},
        {"DateTime64(6)", "\"1969-12-31T23:59:59.5Z\"", "\"1969-12-31T23:59:59.5Z\""},
        {"Array(DateTime64(3, 'America/New_York'))", "[\"2026-06-20T04:00:00.5Z\"]",
         "[\"2026-06-20 00:00:00.500\"]"},
        {"LowCardinality(Nullable(DateTime('UTC')))", "\"2026-06-20T04:00:00Z\"",
         "\"2026-06-20T04:00:00Z\""},
        {"LowCardinality(Nullable(String))", "null", "null"},
        {"Array(LowCardinality(Nullable(String)))", "[\"a\",null,\"\",\"a\"]",
         "[\"a\",null,\"\",\"a\"]"},
        {"Map(UInt8, Array(Nullable(String)))", "{\"1\":[\"x\",null],\"2\":[]}",
         "{\"1\":[\"x\",null],\"2\":[]}"},
        {"Map(Date, Float64)", "{\"2026-01-02\":1.5}", "{\"2026-01-02\":1.5}"},
        {"Tuple(UInt8, String)", "[1,\"x\"]", "[1,\"x\"]"},
        {"Tuple(a UInt8, `b c` Array(Tuple(x Nullable(Int8))))", "{\"b c\":[{\"x\":1},{}],\"a\":2}",
         "{\"a\":2,\"b c\":[{\"x\":1},{\"x\":null}]}"},
        {"Array(Array(UInt8))", "[[1],[],[2,3]]", "[[1],[],[2,3]]"},
        {"Nested(p UInt8, q String)", "[{\"p\":1,\"q\":\"x\"},{\"p\":2}]",
         "[{\"p\":1,\"q\":\"x\"},{\"p\":2,\"q\":\"\"}]"},
        {"SimpleAggregateFunction(max, Nullable(UInt8))", "7", "7"},
        {"Enum16('é\"' = -2)", "-2", "\"é\\\"\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct column_text columns[] = {{"v", cases[i][0], NULL, NULL}, {NULL, NULL, NULL, NULL}};
        struct schema_builder *b = schema_builder_new();
        struct fixture f;
        char record[512], want[512];
        setup(&f);
        schema_catalog_unref(f.catalog);
        add_table(b, "t", columns);
        f.catalog = schema_builder_finish(b, NULL);
        schema_builder_free(b);
        (void)snprintf(record, sizeof(record), "{\"v\":%s}", cases[i][1]);
        (void)snprintf(want, sizeof(want), "\"row\":{\"v\":%s}", cases[i][2]);
        is_str(show(&f, "t", record), want, cases[i][0]);
        teardown(&f);
    }
}

static void test_cache(struct fixture *f)
{
    enum {
        TABLES = LIMIT_VERDICT_TABLES + 3
    };
    struct column_text columns[] = {{"v", "Int8", NULL, NULL}, {NULL, NULL, NULL, NULL}};
    struct schema_builder *b = schema_builder_new();
    char name[16];
    for (int i = 0; i < TABLES; i++) {
        (void)snprintf(name, sizeof(name), "t%d", i);
        add_table(b, name, columns);
    }
    struct schema_catalog *many = schema_builder_finish(b, NULL);
    schema_builder_free(b);
    uint32_t right = 0;
    for (int i = 0; i < 3 * TABLES; i++) {
        (void)snprintf(name, sizeof(name), "t%d", i % TABLES);
        right += judge_in(f, many, name, "{\"v\":\"1\"}") == 0;
        right += judge_in(f, many, name, "{\"v\":\"x\"}") == 27;
    }
    is_u64(right, 6 * TABLES, "more tables than are kept");
    schema_catalog_unref(many); /* the verdict has a reference of its own */
    ch_verdict_shrink(f->verdict);
    is_u64(judge(f, "plain", "{\"i\":1,\"u\":1,\"s\":\"\",\"l\":\"\",\"e\":1,\"a\":[]}"), 0,
           "another catalog");
    ch_verdict_shrink(f->verdict);
    ch_verdict_shrink(f->verdict);
    is_u64(judge(f, "plain", "{\"i\":1,\"u\":1,\"s\":\"\",\"l\":\"\",\"e\":1,\"a\":[]}"), 0,
           "after everything was dropped");
}

/* Nothing is allocated once the usual has been seen, and a large value is not kept. */
static void test_memory(struct fixture *f)
{
    static const char *const usual[] = {
        "{\"i\":1,\"u\":2,\"s\":\"x\\n\",\"l\":\"y\",\"e\":\"a\",\"a\":[1,null]}",
        "{\"i\":\"12x\",\"u\":2,\"s\":\"x\",\"l\":\"y\",\"e\":\"a\",\"a\":[]}",
        "{\"u\":2,\"s\":\"x\",\"i\":3,\"l\":\"zzz\",\"e\":\"a\",\"a\":[],\"t\":\"2026-01-01\"}"};
    for (int i = 0; i < 6; i++)
        (void)judge(f, "plain", usual[i % 3]);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 3000; i++)
        (void)judge(f, "plain", usual[i % 3]);
    is_u64(mallinfo2().uordblks, before, "no memory in the steady state");
    struct buf large;
    buf_init(&large, SIZE_MAX);
    buf_put_str(&large, "{\"i\":1,\"u\":2,\"e\":1,\"a\":[],\"l\":\"\\n");
    for (int i = 0; i < 4000000; i++)
        buf_put_u8(&large, 'x');
    buf_put_str(&large, "\",\"s\":\"\"}");
    buf_put_u8(&large, 0);
    (void)judge(f, "plain", large.ptr);
    buf_fini(&large);
    buf_fini(&f->text);
    buf_init(&f->text, SIZE_MAX);
    buf_fini(&f->canonical);
    buf_init(&f->canonical, SIZE_MAX);
    (void)judge(f, "plain", usual[0]); /* the test's own reader gives its memory back as well */
    size_t after = mallinfo2().uordblks;
    ok(after < before + 512 * KIB, "4 MB in a dictionary are given back (%zu bytes more)",
       after - before);
}

int main(void)
{
    struct fixture f;
    setup(&f);
    test_verdicts(&f);
    test_foreign(&f);
    test_nested(&f);
    test_show(&f);
    test_values();
    test_cache(&f);
    test_memory(&f);
    teardown(&f);
    return tap_done();
}
