/* SPDX-License-Identifier: Apache-2.0 */
/* MB/s from text to JSON rows, and with the JSON reader behind it: rows like an access log's.
 *
 *   bench/text_bench [MIB] */
#include "base/buf.h"
#include "base/limits.h"
#include "base/magic.h"
#include "io/clock.h"
#include "text/text.h"
#include "json/json.h"

#include <stdio.h>
#include <stdlib.h>

static struct schema_catalog *make_catalog(void)
{
    static const char *const columns[][2] = {{"event_id", "String"},  {"ts", "DateTime64(3)"},
                                             {"ip", "IPv4"},          {"method", "String"},
                                             {"path", "String"},      {"status", "UInt16"},
                                             {"bytes", "UInt64"},     {"tags", "Array(String)"},
                                             {"user_agent", "String"}};
    struct schema_builder *b = schema_builder_new();
    must(schema_builder_table(b, SLICE_LIT("t"), SLICE_LIT("Memory"), 0) == 0);
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        must(schema_builder_column(b, slice_str(columns[i][0]), slice_str(columns[i][1]),
                                   SLICE_LIT(""), SLICE_LIT("")) == 0);
    struct schema_catalog *c = schema_builder_finish(b, NULL);
    schema_builder_free(b);
    must(c != NULL);
    return c;
}

static void measure(const char *name, enum text_format format, const char *const row[3],
                    const struct schema_table *t, size_t bytes)
{
    struct text_reader *r = text_reader_new();
    struct json_reader *j = json_reader_new(LIMIT_TEXT_ROW_BYTES);
    struct buf body;
    must(r != NULL && j != NULL);
    buf_init(&body, SIZE_MAX);
    for (unsigned i = 0; body.len < bytes; i++)
        buf_printf(&body, "%s%u%s%u%s", row[0], i, row[1], i % 256, row[2]);
    struct slice text = buf_slice(&body);
    must(buf_extend(&body, LIMIT_JSON_PADDING) != NULL);
    text.ptr = body.ptr;
    for (int parse = 0; parse < 2; parse++) {
        struct text_options o = {.format = format};
        struct slice json;
        struct json_doc doc;
        uint64_t began = io_monotonic_ns(), out = 0;
        must(text_reader_begin(r, t, &o, text) == 0);
        int rc;
        while ((rc = text_reader_next(r, &json)) == 0) {
            out += json.len;
            if (parse == 1)
                must(json_reader_begin(j, json.ptr, json.len, JSON_ONE) == 0 &&
                     json_reader_next(j, &doc) == 0);
        }
        must(rc == WH_EEND);
        double seconds = (double)(io_monotonic_ns() - began) / 1e9;
        printf("%-20s %-12s %6.0f MB/s in, %9.0f rows/s\n", name, parse == 1 ? "and parsed" : "",
               (double)text.len / 1e6 / seconds, (double)text_reader_rows(r) / seconds);
        must(out > 0);
    }
    buf_fini(&body);
    text_reader_free(r);
    json_reader_free(j);
}

int main(int argc, char **argv)
{
    size_t bytes = (size_t)(argc > 1 ? atoi(argv[1]) : 16) * MIB;
    struct schema_catalog *c = make_catalog();
    const struct schema_table *t = schema_catalog_table(c, 0);
    measure("CSV", TEXT_CSV,
            (const char *const[]){
                "e", ",2026-06-21 04:00:00.123,192.0.2.",
                ",GET,/index.html?q=1,200,5120,"
                "\"['a','b']\",\"Mozilla/5.0 (X11; Linux x86_64) \"\"Firefox\"\"\"\n"},
            t, bytes);
    measure("TSV", TEXT_TSV,
            (const char *const[]){"e", "\t2026-06-21 04:00:00.123\t192.0.2.",
                                  "\tGET\t/index.html?q=1\t200\t5120\t"
                                  "['a','b']\tMozilla/5.0 (X11; Linux x86_64) \\tFirefox\n"},
            t, bytes);
    measure("Values", TEXT_VALUES,
            (const char *const[]){"('e", "','2026-06-21 04:00:00.123','192.0.2.",
                                  "','GET','/index.html?q=1',200,5120,"
                                  "['a','b'],'Mozilla/5.0 (X11; Linux x86_64) \\'Firefox\\''),\n"},
            t, bytes);
    measure("JSONCompactEachRow", TEXT_JSON_COMPACT,
            (const char *const[]){
                "[\"e", "\",\"2026-06-21 04:00:00.123\",\"192.0.2.",
                "\",\"GET\",\"/index.html?q=1\",200,"
                "5120,[\"a\",\"b\"],\"Mozilla/5.0 (X11; Linux x86_64) \\\"Firefox\\\"\"]\n"},
            t, bytes);
    measure("JSONEachRow", TEXT_JSON_OBJECTS,
            (const char *const[]){
                "{\"event_id\":\"e", "\",\"ts\":\"2026-06-21 04:00:00.123\",\"ip\":\"192.0.2.",
                "\","
                "\"method\":\"GET\",\"path\":\"/index.html?q=1\",\"status\":200,\"bytes\":5120,"
                "\"tags\":[\"a\",\"b\"],\"user_agent\":\"Mozilla/5.0 (X11; Linux x86_64)\"}\n"},
            t, bytes);
    schema_catalog_unref(c);
    return 0;
}
