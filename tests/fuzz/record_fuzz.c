/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of JSON against a table with every kind of column. The first byte chooses options. What is
 * accepted must be one line of JSON and must not change when it is checked again. With bit 3 the
 * text is taken for a saved catalog instead: what loads must save to a text that loads to the same.
 */
#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "schema/record.h"

#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct schema_catalog *catalog;
static struct record_checker *checker;
static struct json_reader *reader, *second;

static void make_catalog(void)
{
    static const char *const columns[][3] = {
        {"s", "String", "DEFAULT"},
        {"n", "Nullable(Int64)", ""},
        {"d", "DateTime", "DEFAULT"},
        {"d3", "DateTime64(3, 'America/New_York')", "DEFAULT"},
        {"d9", "LowCardinality(Nullable(DateTime64(9, 'Asia/Kathmandu')))", ""},
        {"a", "Array(String)", "DEFAULT"},
        {"m", "Map(String, UInt8)", "DEFAULT"},
        {"t", "Tuple(a Int8, b String)", "DEFAULT"},
        {"j", "JSON", "DEFAULT"},
        {"b", "Bool", "DEFAULT"},
        {"e", "Enum8('x' = 1)", "DEFAULT"},
        {"x\"y", "UUID", "EPHEMERAL"},
        {"z", "String", "MATERIALIZED"},
        {"received_timestamp", "DateTime64(6)", ""},
    };
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT); /* tables left out are no news here */
    struct schema_builder *b = schema_builder_new();
    must(schema_builder_table(b, SLICE_LIT("t"), SLICE_LIT("Memory"), 0) == 0);
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        must(schema_builder_column(b, slice_str(columns[i][0]), slice_str(columns[i][1]),
                                   slice_str(columns[i][2]), SLICE_LIT("x")) == 0);
    catalog = schema_builder_finish(b, NULL);
    must(catalog != NULL);
    schema_builder_free(b);
    checker = record_checker_new();
    reader = json_reader_new(1 * MIB);
    second = json_reader_new(2 * MIB);
    must(checker != NULL && reader != NULL && second != NULL);
}

static void check_again(struct slice zone, const struct record_options *options, struct buf *first)
{
    struct json_doc doc;
    struct record_result result;
    struct buf out;
    size_t len = first->len;
    buf_init(&out, SIZE_MAX);
    must(memchr(first->ptr, '\n', len) == NULL);
    must(buf_extend(first, LIMIT_JSON_PADDING) != NULL);
    must(json_reader_begin(second, first->ptr, len, JSON_ONE) == 0);
    must(json_reader_next(second, &doc) == 0 && !json_reader_trailing(second));
    must(record_check(checker, schema_catalog_table(catalog, 0), zone, options, &doc, 7, &out,
                      &result) == 0);
    must(result.unknown_ignored == 0);
    must(out.len == len && memcmp(out.ptr, first->ptr, len) == 0);
    buf_fini(&out);
}

static void check_saved(struct slice text)
{
    struct err e = {.code = 0};
    struct buf one, two;
    struct schema_catalog *c = schema_catalog_load(text, &e), *again;
    if (c == NULL) {
        must(e.text[0] != '\0');
        return;
    }
    buf_init(&one, SIZE_MAX);
    buf_init(&two, SIZE_MAX);
    schema_catalog_save(c, &one);
    again = schema_catalog_load(buf_slice(&one), &e);
    must(again != NULL);
    schema_catalog_save(again, &two);
    must(slice_eq(buf_slice(&one), buf_slice(&two)));
    schema_catalog_unref(c);
    schema_catalog_unref(again);
    buf_fini(&one);
    buf_fini(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (catalog == NULL)
        make_catalog();
    if (size == 0 || size > 64 * KIB)
        return 0;
    if ((data[0] & 8) != 0) {
        check_saved((struct slice){(const char *)data + 1, size - 1});
        return 0;
    }
    struct record_options options = {.ignore_unknown = (data[0] & 1) != 0,
                                     .stamp_received = (data[0] & 2) != 0};
    struct slice zone = (data[0] & 4) != 0 ? SLICE_LIT("Europe/Berlin") : SLICE_LIT("UTC");
    static char text[64 * KIB + LIMIT_JSON_PADDING];
    memcpy(text, data + 1, size - 1);
    struct json_doc doc;
    struct record_result result;
    struct buf out;
    buf_init(&out, SIZE_MAX);
    must(json_reader_begin(reader, text, size - 1, JSON_LINES) == 0);
    for (int rc; (rc = json_reader_next(reader, &doc)) != WH_EEND;) {
        if (rc != 0)
            continue;
        buf_reset(&out);
        rc = record_check(checker, schema_catalog_table(catalog, 0), zone, &options, &doc,
                          1750478400123456789u, &out, &result);
        must(rc == 0 || rc == 400);
        must(rc == result.status && (rc == 0) == (result.message[0] == '\0'));
        must((rc == 0) == (out.len > 0));
        if (rc == 0)
            check_again(zone, &options, &out);
    }
    buf_fini(&out);
    return 0;
}
