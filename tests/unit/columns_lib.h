/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the column encoder: a table from a few column texts, rows from JSON text. */
#ifndef WH_TESTS_COLUMNS_LIB_H
#define WH_TESTS_COLUMNS_LIB_H

#include "base/limits.h"
#include "clickhouse/columns.h"
#include "tests/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>

struct fixture {
    struct schema_catalog *catalog;
    const struct schema_table *table;
    struct ch_block *block;
    struct json_reader *reader;
    char text[65536 + LIMIT_JSON_PADDING];
};

/* columns: "name type" or "name type DEFAULT expression", NULL last; all of them are in the block.
 */
__attribute__((unused)) static bool fixture_init(struct fixture *f, const char *timezone,
                                                 const char *const *columns)
{
    struct schema_builder *b = schema_builder_new();
    uint32_t ordinals[64], n = 0;
    *f = (struct fixture){.reader = json_reader_new(1 << 20)};
    schema_builder_server(b, SLICE_LIT("26.7"), slice_str(timezone));
    int rc = schema_builder_table(b, SLICE_LIT("t"), SLICE_LIT("Memory"), 0);
    for (; rc == 0 && columns[n] != NULL; n++) {
        const char *space = strchr(columns[n], ' '), *def = strstr(columns[n], " DEFAULT ");
        size_t type_len = def != NULL ? (size_t)(def - space) - 1 : strlen(space + 1);
        rc = schema_builder_column(b, (struct slice){columns[n], (size_t)(space - columns[n])},
                                   (struct slice){space + 1, type_len},
                                   slice_str(def != NULL ? "DEFAULT" : ""),
                                   slice_str(def != NULL ? def + 9 : ""));
        ordinals[n] = n;
    }
    f->catalog = schema_builder_finish(b, NULL);
    schema_builder_free(b);
    f->table = f->catalog == NULL ? NULL : schema_catalog_find(f->catalog, SLICE_LIT("t"));
    if (rc != 0 || f->table == NULL)
        return false;
    f->block = ch_block_new(f->table, ordinals, n, slice_str(timezone));
    return f->block != NULL;
}

__attribute__((unused)) static void fixture_fini(struct fixture *f)
{
    ch_block_free(f->block);
    schema_catalog_unref(f->catalog);
    json_reader_free(f->reader);
}

__attribute__((unused)) static int fixture_parse(struct fixture *f, const char *record,
                                                 struct json_doc *doc)
{
    size_t len = strlen(record);
    memcpy(f->text, record, len + 1);
    int rc = json_reader_begin(f->reader, f->text, len, JSON_ONE);
    return rc != 0 ? rc : json_reader_next(f->reader, doc);
}

/* 0, ClickHouse's code, or -1 when the text is no JSON. */
__attribute__((unused)) static int fixture_add(struct fixture *f, const char *record)
{
    struct json_doc doc;
    struct ch_value_error e = {.code = -1};
    if (fixture_parse(f, record, &doc) != 0)
        return -1;
    int rc = ch_block_add(f->block, &doc, &e);
    return rc == 0 ? 0 : e.code;
}

/* Hexadecimal text of s, spaces left out of neither. */
__attribute__((unused)) static char *hex_of(const char *p, size_t n, char *out, size_t cap)
{
    size_t at = 0;
    for (size_t i = 0; i < n && at + 3 < cap; i++)
        at += (size_t)snprintf(out + at, cap - at, "%02x", (unsigned char)p[i]);
    out[at] = '\0';
    return out;
}

#endif
