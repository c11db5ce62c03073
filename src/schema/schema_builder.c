/* SPDX-License-Identifier: Apache-2.0 */
/* From rows of system.tables and system.columns to a catalog. */
#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "schema/schema.h"
#include "schema/schema_priv.h"

#include <errno.h>
#include <inttypes.h>

#define BUILDER_MAGIC     0x5c4eb11d
#define ARENA_BLOCK_BYTES (16 * KIB)
#define CATALOG_BYTES_MAX GIB /* far above any real server; bounds what a broken one can cost */
#define TABLES_MIN        16
#define COLUMNS_MIN       64

struct schema_builder {
    uint32_t magic;
    struct schema_catalog *c; /* being filled; NULL until first used */
    uint32_t table_cap;       /* of tables (malloc; moved into the arena at the end) */
    struct schema_table *tables;
    struct schema_column *columns; /* of the table being filled */
    uint32_t column_cap;
    struct buf key; /* scratch */
    bool unusable;  /* the current table is left out */
    int failed;     /* sticky: 0, -ENOMEM, WH_ELIMIT */
};

struct schema_builder *schema_builder_new(void)
{
    struct schema_builder *b = calloc(1, sizeof(*b));
    if (b != NULL) {
        b->magic = BUILDER_MAGIC;
        buf_init(&b->key, SIZE_MAX);
    }
    return b;
}

static void builder_empty(struct schema_builder *b)
{
    free(b->tables);
    free(b->columns);
    schema_catalog_unref(b->c);
    b->tables = NULL;
    b->columns = NULL;
    b->c = NULL;
    b->table_cap = b->column_cap = 0;
    b->failed = 0;
    b->unusable = false;
}

void schema_builder_free(struct schema_builder *b)
{
    if (b == NULL)
        return;
    CHECK_MAGIC(b, BUILDER_MAGIC);
    b->magic = 0;
    builder_empty(b);
    buf_fini(&b->key);
    free(b);
}

/* The catalog being filled; NULL when memory ran out. */
static struct schema_catalog *builder_catalog(struct schema_builder *b)
{
    CHECK_MAGIC(b, BUILDER_MAGIC);
    if (b->c == NULL && b->failed == 0) {
        b->c = calloc(1, sizeof(*b->c));
        if (b->c == NULL) {
            b->failed = -ENOMEM;
            return NULL;
        }
        b->c->magic = SCHEMA_CATALOG_MAGIC;
        atomic_init(&b->c->refs, 1);
        arena_init(&b->c->arena, ARENA_BLOCK_BYTES, CATALOG_BYTES_MAX);
    }
    return b->c;
}

static struct slice keep(struct schema_builder *b, struct slice s)
{
    struct slice copy = arena_dup(&b->c->arena, s);
    if (copy.ptr == NULL)
        b->failed = -ENOMEM;
    return copy;
}

void schema_builder_server(struct schema_builder *b, struct slice version, struct slice timezone)
{
    if (builder_catalog(b) == NULL)
        return;
    b->c->version = keep(b, version);
    b->c->timezone = keep(b, timezone);
}

/* Items for one more; doubles. NULL when memory ran out, the old array stays. */
static void *grow(void *items, uint32_t count, uint32_t *cap, uint32_t cap_min, size_t size)
{
    if (count < *cap)
        return items;
    uint32_t more = *cap == 0 ? cap_min : *cap * 2;
    void *grown = realloc(items, more * size);
    if (grown != NULL)
        *cap = more;
    return grown;
}

static struct schema_table *builder_current(struct schema_builder *b)
{
    return &b->tables[b->c->table_count - 1];
}

static void leave_out(struct schema_builder *b, const char *id, struct slice column,
                      const char *why)
{
    struct slice name = builder_current(b)->name;
    log_write(LOG_LEVEL_WARN, id,
              "table=\"%.*s\" column=\"%.*s\" cause=\"%s\" action=\"table left out\"",
              SLICE_ARG(name), (int)(column.len > 200 ? 200 : column.len), column.ptr, why);
    b->unusable = true;
}

static bool build_index(struct schema_builder *b, struct schema_table *t)
{
    uint32_t size = 4;
    while (size < t->column_count * 2)
        size *= 2;
    t->index = arena_calloc(&b->c->arena, size, sizeof(t->index[0]));
    if (t->index == NULL)
        return false;
    t->index_mask = size - 1;
    for (uint32_t n = 0; n < t->column_count; n++) {
        uint32_t i = (uint32_t)schema_hash(SCHEMA_HASH_SEED, t->columns[n].name);
        for (; t->index[i & t->index_mask] != 0; i++)
            continue;
        t->index[i & t->index_mask] = n + 1;
    }
    return true;
}

static uint64_t fingerprint(const struct schema_table *t)
{
    uint64_t h = SCHEMA_HASH_SEED;
    for (uint32_t i = 0; i < t->column_count; i++) {
        const struct schema_column *col = &t->columns[i];
        /* Each text with its end, so that neighbours cannot be taken for one another. */
        h = schema_hash(schema_hash(h, col->name), (struct slice){"", 1});
        h = schema_hash(schema_hash(h, col->type->text), (struct slice){"", 1});
        h = schema_hash(h, slice_str(schema_default_name(col->default_kind)));
        h = schema_hash(h, (struct slice){"", 1});
    }
    return h;
}

static bool is_stampable(const struct schema_column *col)
{
    enum ch_kind kind = col->peeled->kind;
    return slice_eq(col->name, SLICE_LIT("received_timestamp")) &&
           col->default_kind == SCHEMA_DEFAULT_NONE &&
           (kind == CH_DATETIME || kind == CH_DATETIME64);
}

/* The current table has all its columns. */
static void finish_table(struct schema_builder *b)
{
    if (b->c == NULL || b->c->table_count == 0 || b->failed != 0)
        return;
    struct schema_table *t = builder_current(b);
    if (b->unusable || t->columns != NULL) {
        b->c->table_count -= b->unusable;
        b->unusable = false;
        return;
    }
    t->columns = arena_calloc(&b->c->arena, (size_t)t->column_count + 1, sizeof(t->columns[0]));
    if (t->columns == NULL) {
        b->failed = -ENOMEM;
        return;
    }
    t->received_timestamp = -1;
    t->native = true;
    for (uint32_t i = 0; i < t->column_count; i++) {
        t->columns[i] = b->columns[i];
        const struct schema_column *col = &t->columns[i];
        t->required_count += col->required;
        if (is_stampable(col))
            t->received_timestamp = (int32_t)i;
        if (col->insertable && !ch_type_is_native(col->type))
            t->native = false;
    }
    t->fingerprint = fingerprint(t);
    if (!build_index(b, t))
        b->failed = -ENOMEM;
}

int schema_builder_table(struct schema_builder *b, struct slice name, struct slice engine,
                         int64_t dedup_window)
{
    if (builder_catalog(b) == NULL)
        return b->failed;
    finish_table(b);
    if (b->failed != 0)
        return b->failed;
    if (b->c->table_count == LIMIT_TABLES)
        return b->failed = WH_ELIMIT;
    struct schema_table *grown =
        grow(b->tables, b->c->table_count, &b->table_cap, TABLES_MIN, sizeof(b->tables[0]));
    if (grown == NULL)
        return b->failed = -ENOMEM;
    b->tables = grown;
    b->tables[b->c->table_count++] = (struct schema_table){.name = keep(b, name),
                                                           .engine = keep(b, engine),
                                                           .dedup_window = dedup_window};
    if (b->failed == 0 && name.len > LIMIT_NAME_BYTES)
        leave_out(b, "schema.bad_table", (struct slice){"", 0}, "name too long");
    return b->failed;
}

/* Name of col as it stands between the quotes of a JSON key. */
static struct slice json_key(struct schema_builder *b, struct slice name)
{
    buf_reset(&b->key);
    buf_put_json_string(&b->key, name);
    if (!buf_ok(&b->key)) {
        b->failed = -ENOMEM;
        return (struct slice){NULL, 0};
    }
    return keep(b, (struct slice){b->key.ptr + 1, b->key.len - 2});
}

static int fill_column(struct schema_builder *b, struct schema_column *col, struct slice name,
                       struct slice type)
{
    struct err e;
    int rc = ch_type_parse(&b->c->arena, type, &col->type, &e);
    if (rc == -ENOMEM)
        return b->failed = rc;
    if (rc != 0) {
        leave_out(b, "schema.bad_type", name, e.text);
        return 0;
    }
    enum schema_default kind = col->default_kind;
    col->peeled = ch_type_peel(col->type);
    col->nullable = ch_type_is_nullable(col->type);
    col->insertable = kind != SCHEMA_DEFAULT_MATERIALIZED && kind != SCHEMA_DEFAULT_ALIAS;
    col->required = kind == SCHEMA_DEFAULT_NONE && !col->nullable;
    col->name = keep(b, name);
    col->json_key = json_key(b, name);
    return b->failed;
}

int schema_builder_column(struct schema_builder *b, struct slice name, struct slice type,
                          struct slice default_kind, struct slice default_expression)
{
    CHECK_MAGIC(b, BUILDER_MAGIC);
    if (b->failed != 0)
        return b->failed;
    must(b->c != NULL && b->c->table_count > 0);
    if (b->unusable)
        return 0;
    struct schema_table *t = builder_current(b);
    enum schema_default kind = SCHEMA_DEFAULT_NONE;
    const char *why = NULL;
    if (t->column_count == LIMIT_TABLE_COLUMNS)
        why = "too many columns";
    else if (name.len > LIMIT_NAME_BYTES)
        why = "name too long";
    else if (!schema_default_parse(default_kind, &kind))
        why = "unknown kind of default";
    if (why != NULL) {
        leave_out(b, "schema.bad_table", name, why);
        return 0;
    }
    struct schema_column *grown =
        grow(b->columns, t->column_count, &b->column_cap, COLUMNS_MIN, sizeof(b->columns[0]));
    if (grown == NULL)
        return b->failed = -ENOMEM;
    b->columns = grown;
    struct schema_column *col = &b->columns[t->column_count];
    *col = (struct schema_column){.ordinal = t->column_count,
                                  .default_kind = kind,
                                  .default_expression = keep(b, default_expression)};
    t->column_count++;
    return fill_column(b, col, name, type);
}

static int by_name(const void *a, const void *b)
{
    const struct schema_table *ta = a, *tb = b;
    return slice_compare(ta->name, tb->name);
}

/* Sorted into the arena; of two tables with one name (a server gone wrong) one is kept. */
static int take_tables(struct schema_builder *b)
{
    struct schema_catalog *c = b->c;
    if (c->table_count == 0)
        return 0;
    qsort(b->tables, c->table_count, sizeof(b->tables[0]), by_name);
    uint32_t n = 1;
    for (uint32_t i = 1; i < c->table_count; i++)
        if (!slice_eq(b->tables[i].name, b->tables[n - 1].name))
            b->tables[n++] = b->tables[i];
    c->table_count = n;
    c->tables = arena_alloc(&c->arena, n * sizeof(c->tables[0]));
    if (c->tables == NULL)
        return -ENOMEM;
    memcpy(c->tables, b->tables, n * sizeof(c->tables[0]));
    return 0;
}

struct schema_catalog *schema_builder_finish(struct schema_builder *b, struct err *e)
{
    struct schema_catalog *c = builder_catalog(b);
    if (c != NULL)
        finish_table(b);
    if (b->failed == 0)
        b->failed = take_tables(b);
    if (b->failed == WH_ELIMIT)
        (void)err_set(e, WH_ELIMIT, "the database has more than %d tables", LIMIT_TABLES);
    else if (b->failed != 0)
        (void)err_set(e, b->failed, "out of memory while building the schema of %" PRIu32 " tables",
                      c == NULL ? 0 : c->table_count);
    else
        b->c = NULL; /* the caller's from here */
    bool good = b->failed == 0;
    builder_empty(b);
    return good ? c : NULL;
}
