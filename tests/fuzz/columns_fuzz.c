/* SPDX-License-Identifier: Apache-2.0 */
/* Any lines of JSON against a table with a column of every type: no crash; a refused row leaves no
 * trace; the written block can be walked by its types and ends where the walk ends. A block of the
 * first good row's columns is made a second time with ch_block_try_add alone and comes out equal.
 */
#include "base/limits.h"
#include "clickhouse/columns.h"
#include "tests/fuzz/every_type.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    TEXT_MAX = 1 << 20
};

/* ---- walking what was written */

struct walk {
    const char *p, *end;
};

static const char *take(struct walk *w, uint64_t n)
{
    assert(n <= (uint64_t)(w->end - w->p));
    const char *p = w->p;
    w->p += n;
    return p;
}

static uint64_t take_u64(struct walk *w)
{
    uint64_t v;
    memcpy(&v, take(w, 8), 8);
    return v;
}

static uint64_t take_varint(struct walk *w)
{
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
        assert(shift < 64);
        uint8_t b = (uint8_t)*take(w, 1);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return v;
    }
}

static void walk_prefix(struct walk *w, const struct ch_type *t)
{
    if (t->kind == CH_LOW_CARDINALITY) {
        assert(take_u64(w) == 1);
        return;
    }
    for (uint32_t i = 0; i < t->child_count; i++)
        walk_prefix(w, t->children[i]);
}

static void walk_data(struct walk *w, const struct ch_type *t, uint64_t rows);

static void walk_children(struct walk *w, const struct ch_type *t, uint64_t rows)
{
    for (uint32_t i = 0; i < t->child_count; i++)
        walk_data(w, t->children[i], rows);
}

/* End offsets never go back; the last is the number of elements. */
static uint64_t walk_offsets(struct walk *w, uint64_t rows)
{
    uint64_t end = 0;
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t next = take_u64(w);
        assert(next >= end);
        end = next;
    }
    return end;
}

static void walk_low_cardinality(struct walk *w, const struct ch_type *t, uint64_t rows)
{
    const struct ch_type *value = t->children[0];
    if (rows == 0)
        return;
    uint64_t flags = take_u64(w), entries = take_u64(w), width = (uint64_t)1 << (flags & 3);
    assert((flags & ~(uint64_t)3) == 0x600 && entries > 0);
    walk_data(w, value->kind == CH_NULLABLE ? value->children[0] : value, entries);
    assert(take_u64(w) == rows);
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t place = 0;
        memcpy(&place, take(w, width), width);
        assert(place < entries);
    }
}

static void walk_data(struct walk *w, const struct ch_type *t, uint64_t rows)
{
    switch (t->kind) {
    case CH_NULLABLE:
        for (const char *p = take(w, rows), *end = p + rows; p < end; p++)
            assert(*p == 0 || *p == 1);
        walk_children(w, t, rows);
        break;
    case CH_LOW_CARDINALITY:
        walk_low_cardinality(w, t, rows);
        break;
    case CH_ARRAY:
    case CH_MAP:
    case CH_NESTED:
        walk_children(w, t, walk_offsets(w, rows));
        break;
    case CH_TUPLE:
        if (t->child_count == 0)
            (void)take(w, rows);
        walk_children(w, t, rows);
        break;
    case CH_SIMPLE_AGGREGATE:
        walk_children(w, t, rows);
        break;
    case CH_STRING:
        for (uint64_t i = 0; i < rows; i++)
            (void)take(w, take_varint(w));
        break;
    default:
        (void)take(w, rows * t->width);
    }
}

static void check_written(struct ch_block *b, const struct schema_table *t)
{
    struct buf out;
    buf_init(&out, SIZE_MAX);
    assert(ch_block_write(b, true, &out) == 0);
    struct walk w = {out.ptr, out.ptr + out.len};
    uint64_t rows = ch_block_rows(b);
    for (uint32_t i = 0; i < t->column_count; i++) {
        (void)take(&w, take_varint(&w));
        (void)take(&w, take_varint(&w));
        assert(*take(&w, 1) == 0);
        if (rows == 0)
            continue;
        walk_prefix(&w, t->columns[i].type);
        walk_data(&w, t->columns[i].type, rows);
    }
    assert(w.p == w.end);
    buf_fini(&out);
}

/* ---- the target */

static void add_record(struct ch_block *b, const struct schema_table *t, const struct json_doc *doc)
{
    struct ch_value_error e = {.code = 0};
    uint64_t bits[(COLUMN_COUNT + 63) / 64] = {0};
    uint64_t rows = ch_block_rows(b), bytes = ch_block_bytes(b);
    int known = ch_row_columns(t, doc, bits, &e), rc = ch_block_add(b, doc, &e);
    assert(rc == 0 || rc == WH_ESYNTAX);
    if (rc == 0) {
        assert(known == 0 && ch_block_rows(b) == rows + 1);
        return;
    }
    assert(e.code > 0 && e.code < 1000 && memchr(e.text, '\0', sizeof(e.text)) != NULL);
    assert(ch_block_rows(b) == rows && ch_block_bytes(b) == bytes);
}

struct twins {
    struct ch_block *plain, *fused; /* NULL: no good row yet */
    uint64_t bits[(COLUMN_COUNT + 63) / 64];
    uint32_t column_count;
};

static void add_to_twins(struct twins *w, const struct schema_table *t, const struct json_doc *doc)
{
    struct ch_value_error e;
    uint64_t bits[(COLUMN_COUNT + 63) / 64] = {0};
    uint32_t ordinals[COLUMN_COUNT], n = 0;
    bool good = ch_row_columns(t, doc, bits, &e) == 0;
    if (w->plain == NULL && good) {
        for (uint32_t i = 0; i < COLUMN_COUNT; i++)
            if (bits[i / 64] >> (i % 64) & 1)
                ordinals[n++] = i;
        memcpy(w->bits, bits, sizeof(bits));
        w->column_count = n;
        w->plain = ch_block_new(t, ordinals, n, SLICE_LIT("Europe/Berlin"));
        w->fused = ch_block_new(t, ordinals, n, SLICE_LIT("Europe/Berlin"));
        assert(w->plain != NULL && w->fused != NULL);
    }
    if (w->plain == NULL)
        return;
    good = good && memcmp(bits, w->bits, sizeof(bits)) == 0 &&
           doc->nodes[0].count == w->column_count && ch_block_add(w->plain, doc, &e) == 0;
    assert(ch_block_try_add(w->fused, doc) == good);
}

static void compare_twins(struct twins *w)
{
    struct buf one, two;
    buf_init(&one, SIZE_MAX);
    buf_init(&two, SIZE_MAX);
    if (w->plain != NULL) {
        assert(ch_block_write(w->plain, true, &one) == 0);
        assert(ch_block_write(w->fused, true, &two) == 0);
        assert(one.len == two.len && (one.len == 0 || memcmp(one.ptr, two.ptr, one.len) == 0));
    }
    buf_fini(&one);
    buf_fini(&two);
    ch_block_free(w->plain);
    ch_block_free(w->fused);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct schema_catalog *catalog;
    static const struct schema_table *table;
    static struct ch_block *block;
    static struct json_reader *reader;
    if (catalog == NULL) {
        uint32_t ordinals[COLUMN_COUNT];
        for (uint32_t i = 0; i < COLUMN_COUNT; i++)
            ordinals[i] = i;
        catalog = make_catalog();
        table = schema_catalog_table(catalog, 0);
        block = ch_block_new(table, ordinals, COLUMN_COUNT, SLICE_LIT("Europe/Berlin"));
        reader = json_reader_new(TEXT_MAX);
        assert(block != NULL && reader != NULL);
    }
    if (size > TEXT_MAX)
        return 0;
    struct twins twins = {0};
    char *text = malloc(size + LIMIT_JSON_PADDING);
    struct json_doc doc;
    memcpy(text, data, size);
    memset(text + size, 0, LIMIT_JSON_PADDING);
    ch_block_reset(block);
    int rc = json_reader_begin(reader, text, size, JSON_LINES);
    while (rc == 0 && (rc = json_reader_next(reader, &doc)) != WH_EEND) {
        if (rc == 0 && doc.nodes[0].kind == JSON_OBJECT) {
            add_record(block, table, &doc);
            add_to_twins(&twins, table, &doc);
        } else if (rc != 0 && rc != WH_ESYNTAX && rc != WH_ELIMIT)
            break;
        rc = 0;
    }
    check_written(block, table);
    compare_twins(&twins);
    free(text);
    return 0;
}
