/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/build.h"

#include "base/limits.h"
#include "base/magic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Column data of other tables that is kept in memory. A sender meets many tables, and a block is as
 * large as its table's bursts. */
#define OTHERS_BYTES_MAX (32 * MIB)
/* A unit whose blocks are larger is cut in halves. One row that fills a thousand columns makes each
 * other row of its block wide, and ClickHouse's memory for an INSERT is a multiple of it. */
#define BLOCKS_BYTES_MAX ((uint64_t)256 * MIB)
#define BLOCKS_LOOK_ROWS 4096
/* So many builds share a guess of the columns that occur. One that is sent and not filled costs its
 * default for each row; one that is missing in the guess, a second pass. */
#define GUESS_BUILDS 16
/* Unknown field, in the absence of a better number for a record that is not what it was. */
#define CODE_INCORRECT_DATA 117

void flush_build_init(struct flush_build *b)
{
    memset(b, 0, sizeof(*b));
    buf_init(&b->body, SIZE_MAX);
}

static void group_free(struct flush_group *g)
{
    ch_block_free(g->block);
    schema_catalog_unref(g->catalog);
    free(g->bits);
    free(g->names);
    flush_rows_fini(&g->rows);
    memset(g, 0, sizeof(*g));
}

static void columns_fini(struct flush_columns *c)
{
    schema_catalog_unref(c->catalog);
    free(c->row);
    memset(c, 0, sizeof(*c));
}

void flush_build_fini(struct flush_build *b)
{
    for (uint32_t i = 0; i < FLUSH_GROUPS_MAX; i++)
        group_free(&b->slots[i]);
    json_reader_free(b->reader);
    flush_rows_fini(&b->rest);
    flush_rows_fini(&b->refused);
    flush_rows_fini(&b->todo);
    columns_fini(&b->columns);
    buf_fini(&b->body);
    flush_build_init(b);
}

/* ---- groups ---- */

static bool group_is(const struct flush_group *g, const struct schema_table *table,
                     const uint64_t *bits)
{
    return g->bits != NULL && g->table == table &&
           memcmp(g->bits, bits, g->word_count * sizeof(*bits)) == 0;
}

/* Make slot g a group of these columns. */
static int group_make(struct flush_group *g, const struct flush_source *src, const uint64_t *bits,
                      uint32_t word_count)
{
    uint32_t n = 0, cap = 0;
    for (uint32_t i = 0; i < word_count; i++)
        cap += (uint32_t)__builtin_popcountll(bits[i]);
    group_free(g);
    uint32_t *ordinals = calloc(cap + 1, sizeof(*ordinals));
    g->bits = malloc(word_count * sizeof(*bits));
    g->names = calloc(2 * (size_t)cap + 1, sizeof(*g->names));
    if (ordinals == NULL || g->bits == NULL || g->names == NULL) {
        free(ordinals);
        return -ENOMEM;
    }
    memcpy(g->bits, bits, word_count * sizeof(*bits));
    g->word_count = word_count;
    g->types = g->names + cap;
    for (uint32_t c = 0; c < src->table->column_count; c++)
        if (bits[c / 64] >> (c % 64) & 1) {
            ordinals[n] = c;
            g->names[n] = src->table->columns[c].name;
            g->types[n++] = src->table->columns[c].type->text;
        }
    g->column_count = n;
    g->table = src->table;
    g->catalog = schema_catalog_ref(src->catalog);
    if (n == 0) { /* every column takes its DEFAULT: no block can say that, JSONEachRow can */
        free(ordinals);
        return 0;
    }
    g->block = ch_block_new(src->table, ordinals, n, schema_catalog_timezone(src->catalog));
    free(ordinals);
    return g->block == NULL ? -ENOMEM : 0;
}

static bool group_used(const struct flush_build *b, const struct flush_group *g)
{
    for (uint32_t i = 0; i < b->group_count; i++)
        if (b->groups[i] == g)
            return true;
    return false;
}

/* A slot that this build does not use: one that already has these columns, else an empty one, else
 * any. */
static struct flush_group *slot_for(struct flush_build *b, const struct schema_table *table,
                                    const uint64_t *bits)
{
    struct flush_group *best = NULL;
    for (uint32_t i = 0; i < FLUSH_GROUPS_MAX; i++) {
        struct flush_group *g = &b->slots[i];
        if (group_used(b, g))
            continue;
        if (group_is(g, table, bits))
            return g;
        if (best == NULL || (best->bits != NULL && g->bits == NULL))
            best = g;
    }
    return best;
}

/* The group for the columns in columns.row; *out NULL: all slots are taken. */
static int group_for(struct flush_build *b, const struct flush_source *src,
                     struct flush_group **out)
{
    const uint64_t *bits = b->columns.row;
    for (uint32_t i = 0; i < b->group_count; i++)
        if (group_is(b->groups[i], src->table, bits)) {
            *out = b->groups[i];
            return 0;
        }
    *out = NULL;
    if (b->group_count == FLUSH_GROUPS_MAX)
        return 0;
    struct flush_group *g = slot_for(b, src->table, bits);
    if (!group_is(g, src->table, bits)) {
        int rc = group_make(g, src, bits, b->columns.words);
        if (rc != 0) {
            group_free(g);
            return rc;
        }
    }
    if (g->block != NULL)
        ch_block_reset(g->block);
    flush_rows_reset(&g->rows);
    g->whole = false;
    b->groups[b->group_count++] = g;
    *out = g;
    return 0;
}

void flush_build_shed(struct flush_build *b, const struct schema_table *table)
{
    uint64_t held = b->body.cap;
    for (uint32_t i = 0; i < FLUSH_GROUPS_MAX; i++)
        if (b->slots[i].block != NULL && b->slots[i].table != table)
            held += ch_block_held(b->slots[i].block);
    if (held <= OTHERS_BYTES_MAX)
        return;
    b->group_count = 0;
    for (uint32_t i = 0; i < FLUSH_GROUPS_MAX; i++)
        if (b->slots[i].table != table)
            group_free(&b->slots[i]);
    buf_reset(&b->body);
    buf_trim(&b->body);
}

/* ---- rows ---- */

struct pass { /* one walk over the range */
    struct flush_build *b;
    const struct flush_source *src;
    struct flush_rows_walk walk;
    struct flush_group *last; /* group of the row before: most often the next row's too */
    bool narrow;    /* a row fills a column that the blocks lack: from here on only look */
    int32_t filler; /* ordinal of a column to send for records that fill none, or -1 */
    uint32_t rows;  /* met so far */
    const struct flush_scan *scan;
    const struct flush_scan_entry *entry;
};

/* A block has at least one column, so a row that fills none is taken for one that fills this
 * column: its type's default is the same as nothing. −1: no column will do. */
static int32_t filler_of(const struct flush_columns *c)
{
    for (uint32_t i = 0; i < c->table->column_count; i++)
        if (c->table->columns[i].insertable && (c->apart[i / 64] >> (i % 64) & 1) == 0)
            return (int32_t)i;
    return -1;
}

static bool bits_empty(const uint64_t *bits, uint32_t word_count)
{
    for (uint32_t i = 0; i < word_count; i++)
        if (bits[i] != 0)
            return false;
    return true;
}

/* The part [*lo, *hi) of an entry's records that holds all wanted rows of it; false: none. */
static bool wanted(const struct flush_rows_walk *walk, const struct flush_scan_entry *entry,
                   uint32_t *lo, uint32_t *hi)
{
    const struct flush_rows *r = walk->rows;
    uint32_t end = entry->row + entry->batch.count, at = walk->at;
    while (at < r->range_count && r->ranges[at].hi <= entry->row)
        at++;
    if (at == r->range_count || r->ranges[at].lo >= end)
        return false;
    *lo = r->ranges[at].lo > entry->row ? r->ranges[at].lo - entry->row : 0;
    while (at + 1 < r->range_count && r->ranges[at + 1].lo < end)
        at++;
    *hi = (r->ranges[at].hi < end ? r->ranges[at].hi : end) - entry->row;
    return true;
}

static struct flush_row row_of(const struct pass *p, uint32_t ordinal)
{
    return (struct flush_row){.row = p->entry->row + ordinal,
                              .index = p->entry->index,
                              .ordinal = ordinal,
                              .record = wal_batch_get(&p->entry->batch, ordinal),
                              .sender = p->entry->batch.sender,
                              .reentered = (p->entry->batch.flags & WAL_BATCH_ORIGIN) != 0};
}

/* A page of the log that vanishes while it is read looks like a bad record: checked first, since
 * refused records are committed as dead letters now and then in the middle of a build. */
static int refuse(struct pass *p, uint32_t ordinal, int32_t code, struct slice text,
                  bool unknown_column, struct err *e)
{
    struct flush_row row = row_of(p, ordinal);
    int rc = flush_scan_check(p->scan, e);
    if (rc == 0)
        rc = flush_rows_append(&p->b->refused, row.row, row.row + 1);
    if (rc != 0)
        return rc;
    return p->src->refuse(p->src->ctx, &row, code, text, unknown_column);
}

/* The columns in which the row travels, in columns.row. */
static int row_columns(struct pass *p, const struct json_doc *doc, struct ch_value_error *ve)
{
    struct flush_columns *c = &p->b->columns;
    memset(c->row, 0, c->words * sizeof(*c->row));
    int rc = ch_row_columns(p->src->table, doc, c->row, ve);
    if (rc != 0)
        return rc;
    if (p->filler >= 0 && bits_empty(c->row, c->words))
        c->row[p->filler / 64] |= (uint64_t)1 << (p->filler % 64);
    uint64_t lacking = 0;
    for (uint32_t i = 0; i < c->words; i++) {
        uint64_t plain = c->row[i] & ~c->apart[i];
        c->seen[i] |= plain;
        lacking |= plain & ~c->plain[i];
        c->plain[i] |= plain;
        c->row[i] = (c->row[i] & c->apart[i]) | c->plain[i];
    }
    p->narrow = p->narrow || (lacking != 0 && p->b->group_count > 0);
    return 0;
}

static bool blocks_large(const struct flush_build *b)
{
    uint64_t bytes = 0, rows = 0;
    for (uint32_t i = 0; i < b->group_count; i++)
        if (b->groups[i]->block != NULL) {
            bytes += ch_block_bytes(b->groups[i]->block);
            rows += b->groups[i]->rows.count;
        }
    return bytes > BLOCKS_BYTES_MAX && rows > 1;
}

static int add_row(struct pass *p, const struct json_doc *doc, uint32_t ordinal, struct err *e)
{
    struct flush_build *b = p->b;
    struct ch_value_error ve;
    uint32_t row = p->entry->row + ordinal;
    if (++p->rows % BLOCKS_LOOK_ROWS == 0 && blocks_large(b))
        return WH_ELIMIT;
    if (p->last != NULL && p->last->block != NULL && !p->narrow &&
        ch_block_try_add(p->last->block, doc)) {
        p->last->whole = true;
        return flush_rows_append(&p->last->rows, row, row + 1);
    }
    int rc = row_columns(p, doc, &ve);
    bool unknown_column = rc == WH_ESYNTAX;
    if (rc == 0 && p->narrow)
        return 0;
    if (rc == 0 && (p->last == NULL || !group_is(p->last, p->src->table, b->columns.row)))
        rc = group_for(b, p->src, &p->last);
    if (rc == 0 && p->last == NULL)
        return flush_rows_append(&b->rest, row, row + 1);
    if (rc == 0 && p->last->block != NULL)
        rc = ch_block_add(p->last->block, doc, &ve);
    if (rc == WH_ESYNTAX)
        return refuse(p, ordinal, ve.code, slice_str(ve.text), unknown_column, e);
    return rc != 0 ? rc : flush_rows_append(&p->last->rows, row, row + 1);
}

/* Encode the wanted records of one entry: one pass of the JSON reader over their part of the text.
 */
static int add_entry(struct pass *p, struct err *e)
{
    uint32_t lo, hi;
    const struct wal_batch *batch = &p->entry->batch;
    if (!wanted(&p->walk, p->entry, &lo, &hi))
        return 0;
    const char *start = wal_batch_get(batch, lo).text.ptr;
    struct slice end = wal_batch_get(batch, hi - 1).text;
    int rc =
        json_reader_begin(p->b->reader, start, (size_t)(end.ptr + end.len - start), JSON_LINES);
    for (uint32_t i = lo; i < hi && rc == 0; i++) {
        struct json_doc doc;
        rc = json_reader_next(p->b->reader, &doc);
        if (rc == WH_EEND)
            return err_set(e, WH_ECORRUPT, "log entry %llu has fewer lines than records",
                           (unsigned long long)p->entry->index);
        if (!flush_rows_walk_has(&p->walk, p->entry->row + i)) {
            rc = rc == -ENOMEM ? rc : 0;
            continue;
        }
        if (rc == WH_ESYNTAX || rc == WH_ELIMIT)
            rc = refuse(p, i, CODE_INCORRECT_DATA, slice_str(json_reader_error(p->b->reader)),
                        false, e);
        else if (rc == 0)
            rc = add_row(p, &doc, i, e);
    }
    return rc;
}

/* All entries that hold wanted rows. After the last of them it ends, unless they are the plan's
 * last ones: then the log must end with them. */
static int each_entry(const struct flush_source *src, struct pass *p,
                      int (*each)(struct pass *p, struct err *e), struct err *e)
{
    struct flush_scan scan;
    struct flush_scan_entry entry;
    const struct flush_rows *rows = p->walk.rows;
    struct flush_mark *mark = src->mark;
    if (rows->range_count == 0)
        return 0;
    uint32_t end = rows->ranges[rows->range_count - 1].hi;
    int rc = flush_scan_open(&scan, src->wal, src->table_name, src->spans, src->span_count, e);
    if (rc == 0 && mark->index != 0 && mark->row <= rows->ranges[0].lo)
        rc = flush_scan_seek(&scan, mark->index, mark->row, e);
    p->scan = &scan;
    p->entry = &entry;
    while (rc == 0 && (scan.row < end || end == src->row_count) &&
           (rc = flush_scan_next(&scan, &entry, e)) == 0) {
        *mark = (struct flush_mark){entry.index, entry.row};
        rc = each(p, e);
        if (rc == 0)
            rc = flush_scan_check(&scan, e);
    }
    flush_scan_close(&scan);
    if (rc != WH_EEND)
        return rc;
    if (scan.row != src->row_count)
        return err_set(e, WH_ECORRUPT, "the log holds %u rows of the table, the plan says %u",
                       scan.row, src->row_count);
    return 0;
}

/* Begin with what builds of this table before have found. */
static int columns_begin(struct flush_columns *c, const struct flush_source *src)
{
    uint32_t words = (src->table->column_count + 63) / 64;
    if (c->table == src->table)
        return 0;
    columns_fini(c);
    c->row = calloc(4 * (size_t)words + 1, sizeof(*c->row));
    if (c->row == NULL)
        return -ENOMEM;
    c->apart = c->row + words;
    c->plain = c->apart + words;
    c->seen = c->plain + words;
    c->words = words;
    c->catalog = schema_catalog_ref(src->catalog);
    c->table = src->table;
    ch_apart_columns(c->table, c->apart);
    return 0;
}

/* Columns that have occurred no more are left out again. */
static void columns_end(struct flush_build *b)
{
    struct flush_columns *c = &b->columns;
    for (uint32_t g = 0; g < b->group_count; g++)
        for (uint32_t i = 0; b->groups[g]->whole && i < c->words; i++)
            c->seen[i] |= b->groups[g]->bits[i] & ~c->apart[i];
    if (++c->builds % GUESS_BUILDS != 0)
        return;
    memcpy(c->plain, c->seen, c->words * sizeof(*c->plain));
    memset(c->seen, 0, c->words * sizeof(*c->seen));
}

int flush_build_blocks(struct flush_build *b, const struct flush_source *src,
                       const struct flush_rows *rows, struct err *e)
{
    struct flush_columns *c = &b->columns;
    bool narrow = false, exact = false;
    if (b->reader == NULL)
        b->reader = json_reader_new(LIMIT_WAL_PAYLOAD_BYTES);
    if (b->reader == NULL || columns_begin(c, src) != 0)
        return err_set(e, -ENOMEM, "out of memory");
    int32_t filler = filler_of(c);
    flush_rows_reset(&b->refused);
    int rc = flush_rows_copy(&b->todo, rows);
    while (rc == 0) {
        struct pass p = {.b = b, .src = src, .walk = {.rows = &b->todo}, .filler = filler};
        b->group_count = 0;
        flush_rows_reset(&b->rest);
        rc = each_entry(src, &p, add_entry, e);
        if (rc == 0 && !p.narrow && blocks_large(b)) /* in any case: its groups come alone, too */
            rc = WH_ELIMIT;
        must(rc != 0 || !narrow || !p.narrow);
        narrow = rc == 0 && p.narrow; /* all columns are known now: once more */
        bool large = rc == WH_ELIMIT && !exact;
        if (large) { /* not because of a guess: without one, the same rows are always too many */
            memset(c->plain, 0, c->words * sizeof(*c->plain));
            memset(c->seen, 0, c->words * sizeof(*c->seen));
            exact = true;
            rc = 0;
        }
        if (rc == 0 && !narrow && !large) {
            columns_end(b);
            return 0;
        }
        struct flush_rows met = b->todo;
        b->todo = b->rest;
        b->rest = met;
        int minus = flush_rows_minus(&b->todo, &b->rest, &b->refused);
        flush_rows_reset(&b->refused);
        rc = minus != 0 ? minus : rc;
    }
    b->group_count = 0;
    return rc;
}

static int add_lines(struct pass *p, struct err *e)
{
    uint32_t lo, hi;
    (void)e;
    if (!wanted(&p->walk, p->entry, &lo, &hi))
        return 0;
    for (uint32_t i = lo; i < hi; i++) {
        if (!flush_rows_walk_has(&p->walk, p->entry->row + i))
            continue;
        buf_put_slice(&p->b->body, wal_batch_get(&p->entry->batch, i).text);
        buf_put_u8(&p->b->body, '\n');
    }
    return buf_ok(&p->b->body) ? 0 : -ENOMEM;
}

int flush_build_lines(struct flush_build *b, const struct flush_source *src,
                      const struct flush_rows *rows, struct err *e)
{
    buf_reset(&b->body);
    struct pass p = {.b = b, .src = src, .walk = {.rows = rows}};
    return each_entry(src, &p, add_lines, e);
}

struct each_row {
    struct pass pass; /* first: add_one gets at the rest through it */
    int (*each)(void *ctx, const struct flush_row *row);
    void *ctx;
};

static int add_one(struct pass *p, struct err *e)
{
    struct each_row *r = (struct each_row *)p;
    uint32_t lo, hi;
    int rc = 0;
    if (!wanted(&p->walk, p->entry, &lo, &hi))
        return 0;
    for (uint32_t i = lo; i < hi && rc == 0; i++) {
        if (!flush_rows_walk_has(&p->walk, p->entry->row + i))
            continue;
        struct flush_row row = row_of(p, i);
        rc = flush_scan_check(p->scan, e);
        if (rc != 0)
            return rc;
        rc = r->each(r->ctx, &row);
    }
    return rc;
}

int flush_each_row(const struct flush_source *src, const struct flush_rows *rows,
                   int (*each)(void *ctx, const struct flush_row *row), void *ctx, struct err *e)
{
    struct each_row r = {.pass = {.src = src, .walk = {.rows = rows}}, .each = each, .ctx = ctx};
    return each_entry(src, &r.pass, add_one, e);
}
