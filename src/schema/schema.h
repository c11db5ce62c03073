/* SPDX-License-Identifier: Apache-2.0 */
/* Tables and columns of the configured ClickHouse database, as an immutable, counted snapshot.
 *
 * Discovery fills a schema_builder row by row; schema_builder_finish makes a catalog. A catalog is
 * never changed: a refresh publishes a new one, readers keep theirs by reference. The catalog can
 * be written to and read from JSON text, so that a restart with ClickHouse down can serve ingest.
 */
#ifndef WH_SCHEMA_SCHEMA_H
#define WH_SCHEMA_SCHEMA_H

#include "base/buf.h"
#include "schema/type.h"

#include <stdint.h>

enum schema_default {
    SCHEMA_DEFAULT_NONE,
    SCHEMA_DEFAULT_DEFAULT,
    SCHEMA_DEFAULT_MATERIALIZED,
    SCHEMA_DEFAULT_ALIAS,
    SCHEMA_DEFAULT_EPHEMERAL
};

struct schema_column {
    struct slice name;
    struct slice json_key; /* name as the inside of a JSON string, in the usual spelling */
    const struct ch_type *type;
    const struct ch_type *peeled; /* ch_type_peel(type) */
    enum schema_default default_kind;
    struct slice default_expression;
    uint32_t ordinal; /* place in the table, from 0 */
    bool nullable;
    bool insertable; /* not MATERIALIZED, not ALIAS */
    bool required;   /* insertable, not nullable, no default, not EPHEMERAL; composites too */
};

struct schema_table {
    struct slice name;
    struct slice engine;           /* MergeTree, Distributed, View … */
    struct schema_column *columns; /* in table order */
    uint32_t column_count;
    uint32_t required_count;
    int32_t received_timestamp; /* ordinal of the column to stamp (http-api §7.3), or -1 */
    bool native;                /* every insertable column ch_type_is_native */
    uint64_t fingerprint;       /* over names, types and default kinds: the schema version that a
                                   flush plan carries */
    int64_t dedup_window;       /* *_deduplication_window of the table; 0 none, -1 not known */
    uint32_t *index; /* open-addressed hash of column names; schema_table_column uses it */
    uint32_t index_mask;
};

struct schema_catalog; /* opaque, reference-counted */

/* Counted references; thread-safe. unref(NULL) is fine. */
struct schema_catalog *schema_catalog_ref(struct schema_catalog *c);
void schema_catalog_unref(struct schema_catalog *c);

/* NULL when the table is not known. Valid while the catalog is referenced. */
const struct schema_table *schema_catalog_find(const struct schema_catalog *c, struct slice name);
uint32_t schema_catalog_table_count(const struct schema_catalog *c);
/* In name order. */
const struct schema_table *schema_catalog_table(const struct schema_catalog *c, uint32_t i);
struct slice schema_catalog_timezone(const struct schema_catalog *c); /* the server's */
struct slice schema_catalog_version(const struct schema_catalog *c);  /* the server's version() */

const struct schema_column *schema_table_column(const struct schema_table *t, struct slice name);

struct schema_builder;
struct schema_builder *schema_builder_new(void);
void schema_builder_free(struct schema_builder *b);
void schema_builder_server(struct schema_builder *b, struct slice version, struct slice timezone);
/* Start a table, then add its columns in table order. A column whose type text does not parse makes
 * the table unusable: it is left out and reported through log_warn("schema.bad_type"). The same
 * goes, as "schema.bad_table", for more than LIMIT_TABLE_COLUMNS columns, a name over
 * LIMIT_NAME_BYTES and a default_kind this version does not know. 0, -ENOMEM, WH_ELIMIT (more than
 * LIMIT_TABLES); both are sticky until schema_builder_finish. */
int schema_builder_table(struct schema_builder *b, struct slice name, struct slice engine,
                         int64_t dedup_window) WH_MUST_CHECK;
int schema_builder_column(struct schema_builder *b, struct slice name, struct slice type,
                          struct slice default_kind, struct slice default_expression) WH_MUST_CHECK;
/* NULL when memory ran out or a limit was passed; the builder is emptied either way. One reference.
 */
struct schema_catalog *schema_builder_finish(struct schema_builder *b, struct err *e);

/* Persisted form: one JSON text. load: NULL with the cause in e when it is not one of ours; one
 * reference otherwise. */
void schema_catalog_save(const struct schema_catalog *c, struct buf *out);
struct schema_catalog *schema_catalog_load(struct slice text, struct err *e);

/* http-api §12: one table, or all (a JSON array), as the ops route prints them. */
void schema_table_json(const struct schema_table *t, struct buf *out);
void schema_catalog_json(const struct schema_catalog *c, struct buf *out);
/* A name in backticks, or a text in apostrophes, as ClickHouse reads it in a statement. */
void schema_put_quoted(struct buf *out, struct slice name, char quote);

#endif
