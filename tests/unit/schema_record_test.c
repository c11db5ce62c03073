/* SPDX-License-Identifier: Apache-2.0 */
/* record_check: messages, order of checks, canonical form (http-api §7.3, §7.4). */
#include "base/limits.h"
#include "schema/record.h"
#include "tests/lib/tap.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static struct schema_catalog *catalog;
static struct record_checker *checker;
static struct json_reader *reader;
static struct buf out;
static struct record_options options = {.ignore_unknown = false, .stamp_received = true};
static struct record_result result;
static const char *server_zone = "UTC";
#define RECEIVED_NS 1750478400123456789u /* 2025-06-21T04:00:00.123456789Z */

static int check(const char *table, const char *text)
{
    static char padded[65536];
    struct json_doc doc;
    size_t len = strlen(text);
    memcpy(padded, text, len);
    buf_reset(&out);
    if (json_reader_begin(reader, padded, len, JSON_ONE) != 0 ||
        json_reader_next(reader, &doc) != 0) {
        ok(false, "not JSON: %s", text);
        return -1;
    }
    return record_check(checker, schema_catalog_find(catalog, slice_str(table)),
                        slice_str(server_zone), &options, &doc, RECEIVED_NS, &out, &result);
}

static void becomes(const char *table, const char *text, const char *want)
{
    int rc = check(table, text);
    if (rc != 0)
        printf("# %d %s\n", rc, result.message);
    is_mem(out.ptr, rc == 0 ? out.len : 0, want, strlen(want), want);
}

static void stays(const char *table, const char *text)
{
    becomes(table, text, text);
}

static void refused(const char *table, const char *text, const char *message)
{
    int rc = check(table, text);
    ok(rc == 400 && result.status == 400 && out.len == 0, "refused: %.100s", text);
    is_str(result.message, message, message);
}

static void test_shape(void)
{
    refused("t", "[1]", "record must be a JSON object");
    refused("t", "\"x\"", "record must be a JSON object");
    refused("t", "null", "record must be a JSON object");
}

static void test_columns(void)
{
    stays("t", "{\"id\":1}");
    refused("t", "{\"id\":1,\"q\":2}", "unknown column \"q\" for table \"t\"");
    refused("t", "{\"id\":1,\"ID\":2}", "unknown column \"ID\" for table \"t\"");
    refused("t", "{\"id\":1,\"m\":2}", "unknown column \"m\" for table \"t\"");
    refused("t", "{\"id\":1,\"al\":2}", "unknown column \"al\" for table \"t\"");
    refused("t", "{\"id\":1,\"a\\\"b\":2}", "unknown column \"a\"b\" for table \"t\"");
    refused("t", "{\"q1\":1,\"q2\":2}", "unknown column \"q1\" for table \"t\"");
    refused("t", "{}", "missing required column \"id\" for table \"t\"");
    refused("two", "{}", "missing required column \"a\" for table \"two\"");
    refused("two", "{\"a\":1}", "missing required column \"b\" for table \"two\"");
    refused("two", "{\"a\":1,\"b\":null}", "null value for non-nullable column \"b\"");
    refused("two", "{\"b\":null,\"a\":null}", "null value for non-nullable column \"b\"");
    stays("t", "{\"id\":1,\"n\":null,\"d\":null,\"ln\":null}");
    stays("t", "{\"id\":1,\"e\":\"x\"}");
    stays("t", "{\"id\":1,\"e\":null}");
    stays("t", "{\"i\\u0064\":1}");
    stays("odd \"table\"", "{\"we\\\"ird\":1}");
    stays("odd \"table\"", "{\"we\\u0022ird\":1}");
    refused("odd \"table\"", "{}",
            "missing required column \"we\"ird\" for table \"odd \"table\"\"");
}

static void test_order(void)
{
    refused("t", "{\"s\":[],\"q\":1}", "unknown column \"q\" for table \"t\"");
    refused("two", "{\"a\":[]}", "type mismatch for column \"a\": cannot store array in UInt8");
    refused("two", "{\"a\":null}", "missing required column \"b\" for table \"two\"");
    refused("two", "{\"a\":null,\"b\":{}}",
            "type mismatch for column \"b\": cannot store object in UInt8");
}

static void test_ignore(void)
{
    options.ignore_unknown = true;
    becomes("t", "{\"q\":1,\"id\":2,\"m\":[{}],\"r\":{\"id\":3}}", "{\"id\":2}");
    is_u64(result.unknown_ignored, 3, "dropped keys are counted");
    becomes("any", "{\"q\":1}", "{}");
    stays("any", "{}");
    options.ignore_unknown = false;
    stays("t", "{\"id\":2}");
    is_u64(result.unknown_ignored, 0, "and start at none");
}

static void test_hold(void)
{
    options.hold_unknown = true;
    stays("t", "{\"q\":1,\"id\":2,\"r\":{\"x\":[1,\"y\"]},\"m\":null}");
    is_u64(result.unknown_held, 3, "keys without a column are counted");
    becomes("t", "{ \"id\" : 2, \"q\" : [[ 1, 2 ]] }", "{\"id\":2,\"q\":[[ 1, 2 ]]}");
    becomes("t", "{\"id\":2,\"q\":[\n1]}", "{\"id\":2,\"q\":[1]}");
    becomes("t", "{\"id\":1, \"q\":\"a b\",\"id\":3}", "{\"q\":\"a b\",\"id\":3}");
    refused("t", "{\"q\":1}", "missing required column \"id\" for table \"t\"");
    refused("t", "{\"q\":1,\"s\":[],\"id\":1}",
            "type mismatch for column \"s\": cannot store array in String");
    refused("two", "{\"a\":1,\"q\":1,\"b\":null}", "null value for non-nullable column \"b\"");
    stays("t", "{\"id\":2}");
    is_u64(result.unknown_held, 0, "a record that fits is not held");
    options.hold_unknown = false;
}

/* Which of string, number, bool, array, object a column takes: as letters. */
static void accepts(const char *column, const char *type, const char *kinds)
{
    static const struct {
        char letter;
        const char *text, *name;
    } values[] = {{'s', "\"x\"", "string"},  {'n', "1", "number"}, {'b', "true", "boolean"},
                  {'b', "false", "boolean"}, {'a', "[]", "array"}, {'o', "{}", "object"}};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char record[128], message[256];
        (void)snprintf(record, sizeof(record), "{\"%s\":%s}", column, values[i].text);
        (void)snprintf(message, sizeof(message),
                       "type mismatch for column \"%s\": cannot store %s in %s", column,
                       values[i].name, type);
        if (strchr(kinds, values[i].letter) != NULL)
            stays("kinds", record);
        else
            refused("kinds", record, message);
    }
}

static const char *const kind_columns[][2] = {
    {"String", "snb"},
    {"FixedString(3)", "snb"},
    {"UUID", "snb"},
    {"DateTime", "sn"},
    {"DateTime64(3)", "sn"},
    {"Date", "sn"},
    {"Date32", "sn"},
    {"Enum8('a' = 1)", "sn"},
    {"Enum16('a' = 1)", "sn"},
    {"IPv4", "sn"},
    {"IPv6", "sn"},
    {"Bool", "snb"},
    {"Int8", "sn"},
    {"UInt256", "sn"},
    {"Float32", "sn"},
    {"BFloat16", "sn"},
    {"Decimal(9, 2)", "sn"},
    {"Array(Int8)", "a"},
    {"Map(String, Int8)", "o"},
    {"Tuple(Int8)", "ao"},
    {"Tuple(a Int8)", "ao"},
    {"JSON", "snbao"},
    {"Variant(Int8, String)", "snbao"},
    {"Dynamic", "snbao"},
    {"Point", "snbao"},
    {"Time", "snbao"},
    {"SomethingNew(3)", "snbao"},
    {"LowCardinality(Nullable(String))", "snb"},
    {"Nullable(Int8)", "sn"},
};
#define KIND_COUNT (sizeof(kind_columns) / sizeof(kind_columns[0]))

static void test_kinds(void)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "c%zu", i);
        /* "x" and 1 are no timestamps that would be rewritten, except 1 itself. */
        if (strncmp(kind_columns[i][0], "DateTime", 8) == 0) {
            char record[64];
            (void)snprintf(record, sizeof(record), "{\"%s\":[]}", name);
            ok(check("kinds", record) == 400, "a timestamp takes no array");
            continue;
        }
        accepts(name, kind_columns[i][0], kind_columns[i][1]);
    }
}

static void test_form(void)
{
    becomes("t", " { \"id\" : 1 ,\n \"s\" : \"a b\" } ", "{\"id\":1,\"s\":\"a b\"}");
    becomes("t", "{\"id\":1,\"arr\":[ 1 , 2 ]}", "{\"id\":1,\"arr\":[1,2]}");
    /* What meets a String is stored as it was sent, but never with a line break. */
    becomes("texts", " { \"a\" : [ [1, 2] , \"x\" ] , \"n\" : [ 1 ] }",
            "{\"a\":[ [1, 2] , \"x\" ],\"n\":[1]}");
    becomes("texts", "{\"m\":{ \"k\" :{\"a\":\t1}}, \"n\":[] }",
            "{\"m\":{ \"k\" :{\"a\":\t1}},\"n\":[]}");
    becomes("texts", "{\"a\":[ [1,\n2] ]}", "{\"a\":[[1,2]]}");
    becomes("texts", "{\"a\":[ [1,\r2] ]}", "{\"a\":[[1,2]]}");
    becomes("t", "{\"id\":1,\"id\":2}", "{\"id\":2}");
    becomes("t", "{\"id\":[],\"s\":\"x\",\"id\":3,\"s\":\"y\"}", "{\"id\":3,\"s\":\"y\"}");
    becomes("t", "{\"id\":1,\"s\":\"x\",\"i\\u0064\":3}", "{\"s\":\"x\",\"i\\u0064\":3}");
    becomes("t", "{\"id\":1,\"id\":null,\"id\":2}", "{\"id\":2}");
    refused("t", "{\"id\":1,\"id\":null}", "null value for non-nullable column \"id\"");
    stays("t", "{\"s\":\"\\u00e9\\/\\n\",\"id\":18446744073709551615}");
    stays("t", "{\"id\":1e400}");
}

static void test_timestamps(void)
{
    becomes("t", "{\"id\":1,\"d\":\"2026-06-21T04:00:00.9+02:00\"}",
            "{\"id\":1,\"d\":\"2026-06-21T02:00:00Z\"}");
    stays("t", "{\"id\":1,\"d\":\"2026-06-21T02:00:00Z\"}");
    stays("t", "{\"id\":1,\"d\":\"yesterday\"}");
    becomes("t", "{\"d\":\"2026-06-21T02:00:00\\u005a\",\"id\":1}",
            "{\"d\":\"2026-06-21T02:00:00Z\",\"id\":1}");
    becomes("t", "{\"id\":1,\"d\":0}", "{\"id\":1,\"d\":\"1970-01-01T00:00:00Z\"}");
    stays("t", "{\"id\":1,\"d\":-1}");
    stays("t", "{\"id\":1,\"d\":-0}");
    stays("t", "{\"id\":1,\"d\":1.5}");
    stays("t", "{\"id\":1,\"d\":1e3}");
    stays("t", "{\"id\":1,\"s\":\"2026-06-21\",\"arr\":[\"2026-06-21\"]}");
    becomes("t", "{\"id\":1,\"id\":2,\"d\":\"2026-06-21\"}",
            "{\"id\":2,\"d\":\"2026-06-21T00:00:00Z\"}");
    server_zone = "Not/AZone";
    stays("t", "{\"id\":1,\"d\":\"2026-06-21\"}");
    server_zone = "";
    stays("t", "{\"id\":1,\"d\":\"2026-06-21\"}");
    if (access("/usr/share/zoneinfo/America/New_York", R_OK) == 0) {
        becomes("t", "{\"id\":1,\"ny\":\"2026-06-21 00:00:00.1239\"}",
                "{\"id\":1,\"ny\":\"2026-06-21T04:00:00.123Z\"}");
        server_zone = "Europe/Berlin";
        becomes("t", "{\"id\":1,\"d\":\"2026-06-21\",\"ny\":1750478400500}",
                "{\"id\":1,\"d\":\"2026-06-20T22:00:00Z\",\"ny\":\"2025-06-21T04:00:00.5Z\"}");
        stays("t", "{\"id\":1,\"ny\":1750478400.5}");
        stays("t", "{\"id\":1,\"ny\":\"20260621\"}");
        becomes("t", "{\"id\":1,\"ny\":\"1750478400.5\"}",
                "{\"id\":1,\"ny\":\"2025-06-21T04:00:00.5Z\"}");
    }
    server_zone = "UTC";
}

static void test_stamp(void)
{
    becomes("stamped", "{\"id\":1}",
            "{\"id\":1,\"received_timestamp\":\"2025-06-21T04:00:00.123456Z\"}");
    becomes("stamped_only", "{}", "{\"received_timestamp\":\"2025-06-21T04:00:00Z\"}");
    stays("stamped", "{\"id\":1,\"received_timestamp\":\"2020-01-01T00:00:00Z\"}");
    refused("stamped", "{\"id\":1,\"received_timestamp\":null}",
            "null value for non-nullable column \"received_timestamp\"");
    refused("stamped", "{}", "missing required column \"id\" for table \"stamped\"");
    options.stamp_received = false;
    refused("stamped", "{\"id\":1}",
            "missing required column \"received_timestamp\" for table \"stamped\"");
    options.stamp_received = true;
}

static void test_limits(void)
{
    char text[3000] = "{\"", want[1024];
    for (int i = 0; i < 1200; i++)
        (void)strcat(text, "\u00e9");
    (void)strcat(text, "\":1}");
    ok(check("t", text) == 400, "a long unknown key");
    size_t n = (size_t)snprintf(want, sizeof(want), "unknown column \"");
    for (int i = 0; i < 450; i++)
        n += (size_t)snprintf(want + n, sizeof(want) - n, "\u00e9");
    (void)snprintf(want + n, sizeof(want) - n, "\" for table \"t\"");
    is_str(result.message, want, "is cut between characters");
    out.max = 20;
    buf_fini(&out);
    ok(check("t", "{\"id\":1,\"s\":\"0123456789\"}") == WH_EFULL && out.len == 0, "full buffer");
    out.max = SIZE_MAX;
    stays("t", "{\"id\":1,\"s\":\"0123456789\"}");
    /* Alternate tables with different orders: predictions are only hints. */
    for (int i = 0; i < 3; i++) {
        stays("t", "{\"s\":\"x\",\"id\":1}");
        stays("two", "{\"b\":1,\"a\":2}");
        stays("t", "{\"id\":1,\"s\":\"x\"}");
        refused("guess", "{\"s\":1,\"id\":2}", "unknown column \"s\" for table \"guess\"");
    }
}

/* Counts allocations, where nothing else has taken malloc over. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__GLIBC__) && !defined(SANITIZED) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t n);
void *__libc_realloc(void *p, size_t n);
static uint64_t allocations;

void *malloc(size_t n)
{
    allocations++;
    return __libc_malloc(n);
}

void *realloc(void *p, size_t n)
{
    allocations++;
    return __libc_realloc(p, n);
}

static void test_steady(void)
{
    static const char *const records[] = {
        "{\"id\":1}",
        "{\"id\":1,\"d\":\"2026-06-21\",\"ny\":\"2026-06-21 00:00:00.5\",\"s\":\"\\u00e9\"}",
        "{\"id\":[],\"s\":[1,{\"a\":[]}],\"q\":1}",
        "{ \"s\" : \"a\" , \"id\" : 1, \"id\" : 2 }",
    };
    uint64_t before = 0;
    for (int i = 0; i < 1000; i++) {
        if (i == 10)
            before = allocations;
        (void)check("t", records[i % 4]);
    }
    is_u64(allocations - before, 0, "reading and checking allocate nothing in the steady state");
}
#else
static void test_steady(void)
{
    ok(true, "allocations # SKIP another allocator is in place");
}
#endif

static struct schema_builder *b;

static void add_table(const char *name)
{
    if (schema_builder_table(b, slice_str(name), SLICE_LIT("Memory"), 0) != 0)
        ok(false, "table");
}

static void add(const char *name, const char *type, const char *kind)
{
    if (schema_builder_column(b, slice_str(name), slice_str(type), slice_str(kind),
                              SLICE_LIT("")) != 0)
        ok(false, "column");
}

static void make_catalog(void)
{
    b = schema_builder_new();
    add_table("texts");
    add("a", "Array(Nullable(String))", "DEFAULT");
    add("m", "Map(String, LowCardinality(String))", "DEFAULT");
    add("n", "Array(Int32)", "DEFAULT");
    add_table("t");
    add("id", "UInt64", "");
    add("s", "String", "DEFAULT");
    add("n", "Nullable(Int32)", "");
    add("ln", "LowCardinality(Nullable(String))", "");
    add("d", "DateTime", "DEFAULT");
    add("ny", "Nullable(DateTime64(3, 'America/New_York'))", "");
    add("arr", "Array(String)", "DEFAULT");
    add("m", "UInt8", "MATERIALIZED");
    add("al", "UInt8", "ALIAS");
    add("e", "String", "EPHEMERAL");
    add_table("two");
    add("a", "UInt8", "");
    add("b", "UInt8", "");
    add_table("guess");
    add("id", "UInt8", "");
    add("s", "String", "MATERIALIZED");
    add_table("any");
    add("x", "Nullable(String)", "");
    add_table("odd \"table\"");
    add("we\"ird", "UInt8", "");
    add_table("stamped");
    add("id", "UInt8", "");
    add("received_timestamp", "DateTime64(6)", "");
    add_table("stamped_only");
    add("received_timestamp", "DateTime", "");
    add_table("kinds");
    for (size_t i = 0; i < KIND_COUNT; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "c%zu", i);
        add(name, kind_columns[i][0], "DEFAULT");
    }
    catalog = schema_builder_finish(b, NULL);
    schema_builder_free(b);
}

int main(void)
{
    make_catalog();
    checker = record_checker_new();
    reader = json_reader_new(1 * MIB);
    buf_init(&out, SIZE_MAX);
    test_shape();
    test_columns();
    test_order();
    test_ignore();
    test_hold();
    test_kinds();
    test_form();
    test_timestamps();
    test_stamp();
    test_limits();
    test_steady();
    record_checker_free(checker);
    record_checker_free(NULL);
    json_reader_free(reader);
    schema_catalog_unref(catalog);
    buf_fini(&out);
    return tap_done();
}
