/* SPDX-License-Identifier: Apache-2.0 */
/* Text formats against a table with every kind of column. The first byte chooses the format, the
 * second its options. Every row that comes out must be one JSON object of known columns, reading
 * must come to an end, and reading the same again must say the same. */
#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "text/text.h"
#include "json/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct schema_catalog *catalog;
static struct text_reader *reader;
static struct json_reader *json;

static void make_catalog(void)
{
    static const char *const columns[][3] = {
        {"i", "Int32", ""},
        {"s", "String", ""},
        {"n", "Nullable(Float64)", "DEFAULT"},
        {"b", "Bool", ""},
        {"e", "Enum8('x' = 1, '2' = 7)", ""},
        {"d", "DateTime", ""},
        {"l", "Array(Array(String))", ""},
        {"m", "Map(LowCardinality(String), Array(Int8))", ""},
        {"t", "Tuple(a Int8, b Tuple(String, Nullable(Date)))", ""},
        {"j", "JSON", ""},
        {"p", "Point", ""},
        {"x\"y", "UUID", "EPHEMERAL"},
        {"z", "String", "MATERIALIZED"},
    };
    static const char *const few[][3] = {{"i", "Int32", ""}, {"s", "String", ""}};
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    struct schema_builder *b = schema_builder_new();
    must(schema_builder_table(b, SLICE_LIT("few"), SLICE_LIT("Memory"), 0) == 0);
    for (size_t i = 0; i < sizeof(few) / sizeof(few[0]); i++)
        must(schema_builder_column(b, slice_str(few[i][0]), slice_str(few[i][1]),
                                   slice_str(few[i][2]), SLICE_LIT("")) == 0);
    must(schema_builder_table(b, SLICE_LIT("many"), SLICE_LIT("Memory"), 0) == 0);
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        must(schema_builder_column(b, slice_str(columns[i][0]), slice_str(columns[i][1]),
                                   slice_str(columns[i][2]), SLICE_LIT("x")) == 0);
    catalog = schema_builder_finish(b, NULL);
    schema_builder_free(b);
    reader = text_reader_new();
    json = json_reader_new(1 * MIB);
    must(catalog != NULL && reader != NULL && json != NULL);
}

/* JSONEachRow hands on what was sent, right or wrong; the others make their own. */
static void check_row(struct slice row, bool made)
{
    struct json_doc doc;
    must(row.len > 0 && json_reader_begin(json, row.ptr, row.len, JSON_ONE) == 0);
    int rc = json_reader_next(json, &doc);
    must(!made || (rc == 0 && doc.nodes[0].kind == JSON_OBJECT && !json_reader_trailing(json)));
}

/* A sum over all that is said about the body. */
static uint64_t read_all(const struct schema_table *t, const struct text_options *o,
                         struct slice body, size_t size)
{
    uint64_t sum = 1, calls = 0;
    int rc = text_reader_begin(reader, t, o, body);
    must(rc == 0 || rc == WH_ESYNTAX);
    while (rc == 0) {
        struct slice row;
        int got = text_reader_next(reader, &row);
        must(++calls <= size + 3);
        if (got == WH_EEND)
            break;
        must(got == 0 || got == WH_ESYNTAX);
        if (got == 0) {
            check_row(row, o->format != TEXT_JSON_OBJECTS);
            sum = sum * 31 + row.len;
        }
        sum = sum * 31 + (uint64_t)(got == 0 ? 0 : text_reader_error(reader)->code);
        must(got == 0 || text_reader_error(reader)->text[0] != '\0');
    }
    must(text_reader_rows(reader) <= size + 1);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t chosen[] = {1, 0};
    if (size < 2)
        return 0;
    if (catalog == NULL)
        make_catalog();
    struct text_options o = {.format = (enum text_format)(data[0] % 5),
                             .header = (enum text_header)((data[0] >> 4) % 4),
                             .any_case = (data[1] & 1) != 0,
                             .skip_unknown = (data[1] & 2) != 0,
                             .delimiter = (data[1] & 4) != 0 ? ';' : '\0'};
    if ((o.header == TEXT_HEADER_SNIFF && o.format > TEXT_TSV) || o.format == TEXT_VALUES ||
        o.format == TEXT_JSON_OBJECTS)
        o.header = TEXT_HEADER_NONE;
    if ((data[1] & 8) != 0) {
        o.columns = chosen;
        o.column_count = 2;
    }
    const struct schema_table *t =
        schema_catalog_find(catalog, (data[1] & 16) != 0 ? SLICE_LIT("many") : SLICE_LIT("few"));
    size -= 2;
    /* Of its own, so that AddressSanitizer sees what is read beyond the padding. */
    char *body = malloc(size + LIMIT_JSON_PADDING);
    must(body != NULL);
    memcpy(body, data + 2, size);
    memset(body + size, '7', LIMIT_JSON_PADDING);
    uint64_t first = read_all(t, &o, (struct slice){body, size}, size);
    must(first == read_all(t, &o, (struct slice){body, size}, size));
    free(body);
    return 0;
}
