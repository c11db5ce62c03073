/* SPDX-License-Identifier: Apache-2.0 */
/* Any lines of JSON against a table with a column of every type: the verdict is what the flusher
 * would come to with a block of just the columns that the record fills, also its number; a dry run
 * comes to the same, and what it shows is JSON. */
#include "base/limits.h"
#include "clickhouse/verdict.h"
#include "tests/fuzz/every_type.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    TEXT_MAX = 1 << 20
};

/* 0, a number, or -1: an unknown key somewhere. */
static int flusher_says(const struct schema_table *t, const struct json_doc *doc)
{
    struct ch_value_error e = {.code = 0};
    uint64_t bits[(COLUMN_COUNT + 63) / 64] = {0};
    uint32_t ordinals[COLUMN_COUNT], n = 0;
    if (ch_row_columns(t, doc, bits, &e) != 0)
        return -1;
    for (uint32_t i = 0; i < COLUMN_COUNT; i++)
        if (bits[i / 64] >> (i % 64) & 1)
            ordinals[n++] = i;
    if (n == 0)
        return 0;
    struct ch_block *b = ch_block_new(t, ordinals, n, SLICE_LIT("Europe/Berlin"));
    assert(b != NULL);
    int rc = ch_block_add(b, doc, &e);
    assert(rc == 0 || rc == WH_ESYNTAX);
    ch_block_free(b);
    return rc == 0 ? 0 : e.code;
}

static void must_be_json(struct buf *shown)
{
    static struct json_reader *reader;
    struct json_doc doc;
    if (reader == NULL)
        reader = json_reader_new(64 * MIB);
    assert(reader != NULL && buf_reserve(shown, LIMIT_JSON_PADDING) == 0);
    assert(json_reader_begin(reader, shown->ptr, shown->len, JSON_ONE) == 0);
    assert(json_reader_next(reader, &doc) == 0 && !json_reader_trailing(reader));
    assert(doc.nodes[0].kind == JSON_OBJECT && doc.nodes[0].count == 1);
}

static void judge(struct ch_verdict *v, struct schema_catalog *catalog, const struct json_doc *doc)
{
    const struct schema_table *t = schema_catalog_table(catalog, 0);
    struct ch_value_error e = {.code = 0}, f = {.code = 0};
    struct buf canonical, shown;
    buf_init(&canonical, SIZE_MAX);
    buf_init(&shown, SIZE_MAX);
    json_put_minified(&canonical, doc, &doc->nodes[0]);
    assert(buf_reserve(&canonical, LIMIT_JSON_PADDING) == 0);
    int flusher = flusher_says(t, doc);
    int rc = ch_verdict_check(v, catalog, t, doc, buf_slice(&canonical), &e);
    assert(rc == 0 || rc == WH_ESYNTAX);
    assert((rc == 0) == (flusher == 0));
    assert(flusher <= 0 || e.code == flusher);
    buf_put_u8(&shown, '{');
    int dry = ch_verdict_show(v, catalog, t, buf_slice(&canonical), &shown, &f);
    assert(dry == rc);
    buf_put_u8(&shown, '}');
    if (dry == 0)
        must_be_json(&shown);
    else
        assert(shown.len == 2 && memchr(f.text, '\0', sizeof(f.text)) != NULL);
    buf_fini(&canonical);
    buf_fini(&shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct schema_catalog *catalog;
    static struct ch_verdict *verdict;
    static struct json_reader *reader;
    if (catalog == NULL) {
        catalog = make_catalog();
        verdict = ch_verdict_new();
        reader = json_reader_new(TEXT_MAX);
        assert(catalog != NULL && verdict != NULL && reader != NULL);
    }
    if (size > TEXT_MAX)
        return 0;
    char *text = malloc(size + LIMIT_JSON_PADDING);
    struct json_doc doc;
    memcpy(text, data, size);
    memset(text + size, 0, LIMIT_JSON_PADDING);
    int rc = json_reader_begin(reader, text, size, JSON_LINES);
    while (rc == 0 && (rc = json_reader_next(reader, &doc)) != WH_EEND) {
        if (rc == 0 && doc.nodes[0].kind == JSON_OBJECT)
            judge(verdict, catalog, &doc);
        else if (rc != 0 && rc != WH_ESYNTAX && rc != WH_ELIMIT)
            break;
        rc = 0;
    }
    free(text);
    return 0;
}
