/* SPDX-License-Identifier: Apache-2.0 */
/* Which types a sample suggests, to servers of several ages. */
#include "base/limits.h"
#include "schema/suggest.h"
#include "tests/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>

/* Look at the values of one column in turn (NULL last; "" stands for a record without it) and give
 * the type, with DEFAULT behind it when there is one. */
static const char *type_of(const char *version, const char *const *values, uint32_t widen)
{
    static char text[512];
    struct suggest *s = suggest_new();
    struct json_reader *reader = json_reader_new(1 << 20);
    struct suggest_options options = {.table = SLICE_LIT("t"),
                                      .server_version = slice_str(version),
                                      .stamped = true};
    for (; *values != NULL; values++) {
        char record[512 + LIMIT_JSON_PADDING];
        struct json_doc doc;
        int n = snprintf(record, sizeof(record), **values == '\0' ? "{}" : "{\"v\":%s}", *values);
        if (json_reader_begin(reader, record, (size_t)n, JSON_ONE) != 0 ||
            json_reader_next(reader, &doc) != 0 || suggest_add(s, &doc) != 0)
            return "no record";
    }
    int rc = suggest_finish(s, &options);
    for (uint32_t i = 0; rc == 0 && i < widen; i++)
        rc = suggest_widen(s, 0) ? suggest_finish(s, &options) : WH_ELIMIT;
    struct suggest_column c = suggest_column(s, 0);
    (void)snprintf(text, sizeof(text), rc == 0 ? "%.*s%s%.*s" : "as wide as can be",
                   SLICE_ARG(c.type), c.default_expr.len > 0 ? " DEFAULT " : "",
                   SLICE_ARG(c.default_expr));
    suggest_free(s);
    json_reader_free(reader);
    return text;
}

#define V(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_scalars(void)
{
    is_str(type_of("26.7", V("1", "-2", "300"), 0), "Int64", "integers");
    is_str(type_of("26.7", V("1", "9223372036854775808"), 0), "UInt64", "a large one");
    is_str(type_of("26.7", V("-1", "9223372036854775808"), 0), "Int128", "large and negative");
    is_str(type_of("20.3", V("-1", "9223372036854775808"), 0), "String", "on an old server");
    is_str(type_of("26.7", V("1", "1.5"), 0), "Float64", "with a fraction");
    is_str(type_of("26.7", V("true", "0", "1"), 0), "Bool", "true and 0");
    is_str(type_of("26.7", V("true", "2"), 0), "String", "true and 2");
    is_str(type_of("20.3", V("true"), 0), "String", "true on an old server");
    is_str(type_of("26.7", V("1", "\"x\""), 0), "String", "numbers and text");
    is_str(type_of("26.7", V("null", "1"), 0), "Nullable(Int64)", "null");
    is_str(type_of("26.7", V("1", ""), 0), "Nullable(Int64)", "missing");
    is_str(type_of("26.7", V("null"), 0), "Nullable(String)", "nothing but null");
}

static void test_texts(void)
{
    is_str(type_of("26.7", V("\"2026-06-21\""), 0), "Date", "a date");
    is_str(type_of("26.7", V("\"1926-06-21\""), 0), "Date32", "an early date");
    is_str(type_of("19.1", V("\"1926-06-21\""), 0), "String", "an early date, an old server");
    is_str(type_of("26.7", V("\"2026-06-21\"", "\"2026-06-21T04:00:00Z\""), 0), "DateTime('UTC')",
           "a date and a time");
    is_str(type_of("26.7", V("\"2026-06-21 04:00:00.25\""), 0), "DateTime64(3, 'UTC')",
           "a fraction");
    is_str(type_of("26.7", V("\"2026-06-21T04:00:00.1234567+02:00\""), 0), "DateTime64(9, 'UTC')",
           "a longer one");
    is_str(type_of("26.7", V("\"2280-06-21T04:00:00.1234567Z\""), 0), "DateTime64(6, 'UTC')",
           "beyond what nanoseconds reach");
    is_str(type_of("26.7", V("\"1960-06-21T04:00:00Z\""), 0), "DateTime64(3, 'UTC')",
           "before 1970");
    is_str(type_of("26.7", V("\"0001-01-01T00:00:00Z\""), 0), "String", "before 1900");
    is_str(type_of("26.7", V("\"2026-02-30\""), 0), "String", "no date");
    is_str(type_of("26.7", V("\"1750478400\""), 0), "String", "digits may be anything");
    is_str(type_of("18.16.1", V("\"2026-06-21T04:00:00.5Z\""), 0), "DateTime('UTC')",
           "an old server cuts fractions");
    is_str(type_of("26.7", V("\"61f0c404-5cb3-11e7-907b-a6006ad3dba0\""), 0), "UUID", "a UUID");
    is_str(type_of("26.7", V("\"1.2.3.4\""), 0), "IPv4", "an IPv4 address");
    is_str(type_of("26.7", V("\"1.2.3.4\"", "\"::1\""), 0), "IPv6", "and an IPv6 one");
    is_str(type_of("26.7", V("\"1.2.3.4\"", "\"\""), 0), "String", "an empty text is none");
    is_str(type_of("26.7",
                   V("\"a\"", "\"a\"", "\"a\"", "\"a\"", "\"a\"", "\"a\"", "\"a\"", "\"a\"",
                     "\"a\"", "\"a\""),
                   0),
           "LowCardinality(String)", "the same again and again");
}

static void test_composites(void)
{
    is_str(type_of("26.7", V("[1]", "[]", "[2.5,null]"), 0), "Array(Nullable(Float64))", "arrays");
    is_str(type_of("26.7", V("[1]", ""), 0), "Array(Int64) DEFAULT []", "a missing array");
    is_str(type_of("26.7", V("{\"a\":1,\"b c\":\"x\"}"), 0), "Tuple(`a` Int64, `b c` String)",
           "objects with the same keys");
    is_str(type_of("26.7", V("{\"a\":1}", "{\"b\":2.5}"), 0), "Map(String, Float64)",
           "changing keys");
    is_str(type_of("26.7", V("{\"a\":1}", "{\"b\":\"x\"}"), 0), "JSON", "and types");
    is_str(type_of("24.3", V("{\"a\":1}", "{\"b\":\"x\"}"), 0), "Map(String, String)",
           "before there was JSON");
    is_str(type_of("26.7", V("{\"a\":1,\"a\":\"x\"}"), 0), "Map(String, String)", "a repeated key");
    is_str(type_of("26.7", V("{\"a\":1}", ""), 0),
           "Tuple(`a` Int64) DEFAULT defaultValueOfTypeName('Tuple(`a` Int64)')", "missing");
    is_str(type_of("18.16.1", V("{\"a\":1}", ""), 0),
           "Tuple(`a` Int64) DEFAULT CAST(tuple(0) AS Tuple(`a` Int64))", "on an old server");
    is_str(type_of("26.7", V("1", "[1]"), 0), "Dynamic", "this and that");
    is_str(type_of("26.7", V("1", "{}"), 0), "", "Dynamic cannot read {}");
    is_str(type_of("18.16.1", V("1", "[1]"), 0), "", "an old server has no type for it");
}

static void test_widening(void)
{
    is_str(type_of("26.7", V("\"1.2.3.4\""), 1), "String", "a scalar becomes text");
    is_str(type_of("26.7", V("[1]"), 1), "Array(String)", "an array one of texts");
    is_str(type_of("26.7", V("{\"a\":1}"), 1), "Map(String, String)", "an object a map of texts");
    is_str(type_of("26.7", V("{\"a\":1}"), 2), "Dynamic", "then anything");
    is_str(type_of("26.7", V("{\"a\":1}"), 4), "as wide as can be", "and no further");
}

int main(void)
{
    test_scalars();
    test_texts();
    test_composites();
    test_widening();
    return tap_done();
}
