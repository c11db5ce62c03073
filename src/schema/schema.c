/* SPDX-License-Identifier: Apache-2.0 */
/* The finished catalog: references and look-ups. Built in schema_builder.c. */
#include "schema/schema.h"

#include "base/magic.h"
#include "schema/schema_priv.h"

/* FNV-1a. Part of the persisted fingerprint, so it may not change. */
uint64_t schema_hash(uint64_t seed, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        seed = (seed ^ (unsigned char)s.ptr[i]) * 0x100000001b3u;
    return seed;
}

static const char *const default_names[] = {"", "DEFAULT", "MATERIALIZED", "ALIAS", "EPHEMERAL"};

const char *schema_default_name(enum schema_default kind)
{
    return default_names[kind];
}

bool schema_default_parse(struct slice word, enum schema_default *kind)
{
    for (size_t i = 0; i < sizeof(default_names) / sizeof(default_names[0]); i++) {
        if (slice_eq_str(word, default_names[i])) {
            *kind = (enum schema_default)i;
            return true;
        }
    }
    return false;
}

struct schema_catalog *schema_catalog_ref(struct schema_catalog *c)
{
    CHECK_MAGIC(c, SCHEMA_CATALOG_MAGIC);
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void schema_catalog_unref(struct schema_catalog *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, SCHEMA_CATALOG_MAGIC);
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    c->magic = 0;
    arena_fini(&c->arena);
    free(c);
}

const struct schema_table *schema_catalog_find(const struct schema_catalog *c, struct slice name)
{
    CHECK_MAGIC(c, SCHEMA_CATALOG_MAGIC);
    uint32_t low = 0, high = c->table_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = slice_compare(c->tables[mid].name, name);
        if (order == 0)
            return &c->tables[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

uint32_t schema_catalog_table_count(const struct schema_catalog *c)
{
    CHECK_MAGIC(c, SCHEMA_CATALOG_MAGIC);
    return c->table_count;
}

const struct schema_table *schema_catalog_table(const struct schema_catalog *c, uint32_t i)
{
    CHECK_MAGIC(c, SCHEMA_CATALOG_MAGIC);
    must(i < c->table_count);
    return &c->tables[i];
}

struct slice schema_catalog_timezone(const struct schema_catalog *c)
{
    CHECK_MAGIC(c, SCHEMA_CATALOG_MAGIC);
    return c->timezone;
}

struct slice schema_catalog_version(const struct schema_catalog *c)
{
    CHECK_MAGIC(c, SCHEMA_CATALOG_MAGIC);
    return c->version;
}

const struct schema_column *schema_table_column(const struct schema_table *t, struct slice name)
{
    if (t->column_count == 0)
        return NULL;
    uint32_t i = (uint32_t)schema_hash(SCHEMA_HASH_SEED, name);
    for (;; i++) {
        uint32_t slot = t->index[i & t->index_mask]; /* ordinal + 1; 0: free */
        if (slot == 0)
            return NULL;
        if (slice_eq(t->columns[slot - 1].name, name))
            return &t->columns[slot - 1];
    }
}
