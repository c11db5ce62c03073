/* SPDX-License-Identifier: Apache-2.0 */
#include "clickhouse/verdict.h"

#include "base/limits.h"
#include "base/magic.h"
#include "schema/zone.h"

#include <errno.h>
#include <stdlib.h>

#define VERDICT_MAGIC 0x7e4d1c70u
#define KEEP_BYTES    (64 * KIB) /* of value memory per table, between records */

/* What is kept for a table. */
struct known_table {
    const struct schema_table *table; /* NULL: free */
    struct ch_block *block;           /* its columns that can be judged; NULL: there are none */
    uint64_t *judged;                 /* bit per ordinal */
    uint64_t used;                    /* when, by the count of questions */
    bool asked;                       /* since the last shrink */
};

struct ch_verdict {
    uint32_t magic;
    struct schema_catalog *catalog; /* of all tables below; a reference */
    struct json_reader *reader;     /* of canonical texts; made when first needed */
    struct known_table *last;
    uint64_t questions;
    struct known_table tables[LIMIT_VERDICT_TABLES];
};

struct ch_verdict *ch_verdict_new(void)
{
    struct ch_verdict *v = calloc(1, sizeof(*v));
    if (v != NULL)
        v->magic = VERDICT_MAGIC;
    return v;
}

static void forget(struct ch_verdict *v, struct known_table *k)
{
    ch_block_free(k->block);
    free(k->judged);
    if (v->last == k)
        v->last = NULL;
    *k = (struct known_table){.table = NULL};
}

static void forget_all(struct ch_verdict *v)
{
    for (size_t i = 0; i < LIMIT_VERDICT_TABLES; i++)
        forget(v, &v->tables[i]);
    schema_catalog_unref(v->catalog);
    v->catalog = NULL;
}

void ch_verdict_free(struct ch_verdict *v)
{
    if (v == NULL)
        return;
    CHECK_MAGIC(v, VERDICT_MAGIC);
    forget_all(v);
    json_reader_free(v->reader);
    v->magic = 0;
    free(v);
}

void ch_verdict_shrink(struct ch_verdict *v)
{
    CHECK_MAGIC(v, VERDICT_MAGIC);
    bool any = false;
    for (size_t i = 0; i < LIMIT_VERDICT_TABLES; i++) {
        struct known_table *k = &v->tables[i];
        if (k->table != NULL && !k->asked)
            forget(v, k);
        any = any || k->table != NULL;
        k->asked = false;
    }
    if (any)
        return;
    schema_catalog_unref(v->catalog);
    v->catalog = NULL;
    json_reader_free(v->reader);
    v->reader = NULL;
}

/* ---- tables */

static bool zones_known(const struct ch_type *t)
{
    struct zone *zone = NULL;
    if (t->timezone.len > 0 && zone_load(t->timezone, &zone, NULL) != 0)
        return false;
    zone_free(zone);
    for (uint32_t i = 0; i < t->child_count; i++)
        if (!zones_known(t->children[i]))
            return false;
    return true;
}

static int learn(struct ch_verdict *v, struct known_table *k, const struct schema_table *t)
{
    size_t words = ((size_t)t->column_count + 63) / 64;
    uint32_t n = 0, *ordinals = malloc(((size_t)t->column_count + 1) * sizeof(*ordinals));
    k->judged = calloc(words + 1, sizeof(*k->judged));
    int rc = ordinals == NULL || k->judged == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; rc == 0 && i < t->column_count; i++) {
        const struct schema_column *c = &t->columns[i];
        if (!c->insertable || !ch_type_is_native(c->type) || !zones_known(c->type))
            continue;
        k->judged[i / 64] |= (uint64_t)1 << (i % 64);
        ordinals[n++] = i;
    }
    if (rc == 0 && n > 0) {
        k->block = ch_block_new(t, ordinals, n, schema_catalog_timezone(v->catalog));
        rc = k->block == NULL ? -ENOMEM : 0;
    }
    free(ordinals);
    k->table = t;
    if (rc != 0)
        forget(v, k);
    return rc;
}

/* What is known about t, learnt now if it is new. */
static int find(struct ch_verdict *v, struct schema_catalog *catalog, const struct schema_table *t,
                struct known_table **out)
{
    struct known_table *k = v->last;
    v->questions++;
    if (v->catalog != catalog) {
        forget_all(v);
        v->catalog = schema_catalog_ref(catalog);
        k = NULL;
    }
    if (k == NULL || k->table != t) {
        struct known_table *oldest = &v->tables[0];
        k = NULL;
        for (size_t i = 0; k == NULL && i < LIMIT_VERDICT_TABLES; i++) {
            if (v->tables[i].table == t)
                k = &v->tables[i];
            else if (v->tables[i].used < oldest->used)
                oldest = &v->tables[i];
        }
        if (k == NULL) {
            forget(v, oldest);
            int rc = learn(v, oldest, t);
            if (rc != 0)
                return rc;
            k = oldest;
        }
    }
    k->used = v->questions;
    k->asked = true;
    v->last = *out = k;
    return 0;
}

/* ---- verdicts */

static int read_canonical(struct ch_verdict *v, struct slice canonical, struct json_doc *doc)
{
    if (v->reader == NULL)
        v->reader = json_reader_new(LIMIT_INGEST_BODY_BYTES_HARD);
    if (v->reader == NULL)
        return -ENOMEM;
    /* It was made from what was read: only memory can be wanting. */
    return json_reader_begin(v->reader, canonical.ptr, canonical.len, JSON_ONE) == 0 &&
                   json_reader_next(v->reader, doc) == 0
               ? 0
               : -ENOMEM;
}

int ch_verdict_check(struct ch_verdict *v, struct schema_catalog *catalog,
                     const struct schema_table *t, const struct json_doc *doc,
                     struct slice canonical, struct ch_value_error *e)
{
    CHECK_MAGIC(v, VERDICT_MAGIC);
    struct known_table *k;
    struct json_doc stored;
    int rc = find(v, catalog, t, &k);
    if (rc != 0 || k->block == NULL)
        return rc;
    /* What is taken as it was sent is taken in canonical form: that differs in ignored keys,
     * repeated keys and times only, the first two of which are refused here, and a canonical time
     * can always be read. So only what is refused is looked at again as it will be stored. */
    rc = ch_block_check(k->block, doc, e);
    if (rc == WH_ESYNTAX) {
        rc = read_canonical(v, canonical, &stored);
        if (rc == 0)
            rc = ch_block_check(k->block, &stored, e);
    }
    if (canonical.len > KEEP_BYTES)
        ch_block_trim(k->block, KEEP_BYTES);
    return rc;
}

/* ---- dry run */

/* The record has a value for it that is stored: not a null that asks for the DEFAULT. */
static bool is_given(const uint64_t *bits, uint32_t ordinal)
{
    return (bits[ordinal / 64] >> (ordinal % 64) & 1) != 0;
}

static bool is_computed(const struct schema_column *c, const uint64_t *given)
{
    if (c->default_kind == SCHEMA_DEFAULT_MATERIALIZED)
        return true;
    return c->default_kind == SCHEMA_DEFAULT_DEFAULT && !is_given(given, c->ordinal);
}

static bool is_stored(const struct schema_column *c)
{
    return c->default_kind != SCHEMA_DEFAULT_ALIAS && c->default_kind != SCHEMA_DEFAULT_EPHEMERAL;
}

static void put_name(struct buf *out, bool *first, struct slice name)
{
    if (!*first)
        buf_put_u8(out, ',');
    *first = false;
    buf_put_json_string(out, name);
}

static void put_defaults(const struct schema_table *t, const uint64_t *given, struct buf *out)
{
    bool first = true;
    for (uint32_t i = 0; i < t->column_count; i++) {
        const struct schema_column *c = &t->columns[i];
        if (!is_computed(c, given))
            continue;
        if (first)
            buf_put_str(out, ",\"defaults\":{");
        put_name(out, &first, c->name);
        buf_put_u8(out, ':');
        buf_put_json_string(out, c->default_expression);
    }
    if (!first)
        buf_put_u8(out, '}');
}

static void put_unchecked(const struct known_table *k, const uint64_t *given, struct buf *out)
{
    bool first = true;
    for (uint32_t i = 0; i < k->table->column_count; i++) {
        const struct schema_column *c = &k->table->columns[i];
        if (is_given(k->judged, i) || !is_stored(c) || is_computed(c, given))
            continue;
        if (first)
            buf_put_str(out, ",\"unchecked\":[");
        put_name(out, &first, c->name);
    }
    if (!first)
        buf_put_u8(out, ']');
}

static int put_row(const struct known_table *k, const uint64_t *given, struct buf *out)
{
    bool first = true;
    int rc = 0;
    buf_put_str(out, "\"row\":{");
    for (uint32_t i = 0; rc == 0 && i < k->table->column_count; i++) {
        const struct schema_column *c = &k->table->columns[i];
        if (!is_given(k->judged, i) || !is_stored(c) || is_computed(c, given))
            continue;
        put_name(out, &first, c->name);
        buf_put_u8(out, ':');
        rc = ch_block_show(k->block, i, out);
    }
    buf_put_u8(out, '}');
    put_defaults(k->table, given, out);
    put_unchecked(k, given, out);
    return rc;
}

/* The columns that can be judged, filled from the record. */
static int fill(struct known_table *k, const struct json_doc *doc, struct ch_value_error *e)
{
    if (k->block == NULL)
        return 0;
    int rc = ch_block_check(k->block, doc, e);
    return rc != 0 ? rc : ch_block_add_checked(k->block, doc);
}

int ch_verdict_show(struct ch_verdict *v, struct schema_catalog *catalog,
                    const struct schema_table *t, struct slice canonical, struct buf *out,
                    struct ch_value_error *e)
{
    CHECK_MAGIC(v, VERDICT_MAGIC);
    uint64_t given[LIMIT_TABLE_COLUMNS / 64] = {0};
    struct known_table *k = NULL;
    struct json_doc doc;
    size_t len = out->len;
    int rc = find(v, catalog, t, &k);
    if (rc == 0)
        rc = read_canonical(v, canonical, &doc);
    if (rc == 0)
        rc = ch_row_columns(t, &doc, given, e);
    if (rc == 0)
        rc = fill(k, &doc, e);
    if (rc == 0)
        rc = put_row(k, given, out);
    if (rc == 0 && !buf_ok(out))
        rc = -ENOMEM;
    if (rc != 0)
        out->len = len;
    if (k != NULL && k->block != NULL) {
        ch_block_reset(k->block);
        ch_block_trim(k->block, KEEP_BYTES);
    }
    return rc;
}
