/* SPDX-License-Identifier: Apache-2.0 */
/* Would ClickHouse take this record, and what would it store?
 *
 * ingest.validation: strict and dry_run ask here, before anything is logged. The answer comes from
 * the column encoder, so it is the flusher's: a record that is taken here becomes a row unless
 * something beyond its own values says no (a constraint, a materialized view, a column that changed
 * meanwhile); one that is refused gets ClickHouse's own error number.
 *
 * Columns of types that the encoder does not know (schema_table.native is false: JSON, Variant,
 * Dynamic …), or in a time zone that this machine does not have, cannot be judged here: whatever
 * they hold is let pass, and a dry run names them.
 *
 * One owner thread. Keeps a checking block for each of the last LIMIT_VERDICT_TABLES tables of a
 * catalog, and a reference to that catalog; no allocation in the steady state. */
#ifndef WH_CLICKHOUSE_VERDICT_H
#define WH_CLICKHOUSE_VERDICT_H

#include "clickhouse/columns.h"

struct ch_verdict;

/* NULL when memory ran out. */
struct ch_verdict *ch_verdict_new(void);
void ch_verdict_free(struct ch_verdict *v);
/* Drop the tables that were not asked about since the last call of this. */
void ch_verdict_shrink(struct ch_verdict *v);

/* doc: an object that record_check has accepted for table t of the catalog; canonical: what it made
 * of it, LIMIT_JSON_PADDING readable bytes behind it, which is what will be stored. 0: taken, as
 * far as can be said; WH_ESYNTAX: refused, *e says why; -ENOMEM. May block on a zoneinfo file when
 * a table is asked about for the first time. */
int ch_verdict_check(struct ch_verdict *v, struct schema_catalog *catalog,
                     const struct schema_table *t, const struct json_doc *doc,
                     struct slice canonical, struct ch_value_error *e) WH_MUST_CHECK;

/* The same verdict; when the record is taken, also append to out what would be stored:
 *
 *   "row":{…}        columns and values in table order (http-api §8.6), omitted ones with their
 *                    type's default; EPHEMERAL and ALIAS columns are not stored
 *   ,"defaults":{…}  column: expression, for those that ClickHouse computes; left out when empty
 *   ,"unchecked":[…] columns that could not be judged; left out when empty
 *
 * Whether -ENOMEM or WH_ESYNTAX: out is as before. */
int ch_verdict_show(struct ch_verdict *v, struct schema_catalog *catalog,
                    const struct schema_table *t, struct slice canonical, struct buf *out,
                    struct ch_value_error *e) WH_MUST_CHECK;

#endif
