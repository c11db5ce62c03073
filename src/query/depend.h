/* SPDX-License-Identifier: Apache-2.0 */
/* Which tables change with which (http-api §8.7, pipes.md §5): views over a table, targets of its
 * materialized views, tables behind a Buffer. Made from what system.tables says, by the names that
 * occur in a view's text: one name too many costs a hit, one too few would serve old rows. */
#ifndef WH_QUERY_DEPEND_H
#define WH_QUERY_DEPEND_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct query_depend;

/* The question whose answer, as RowBinary, query_depend_new reads. */
void query_depend_sql(struct buf *out, struct slice database);
/* 0; WH_ESYNTAX: this is no such answer; -ENOMEM, WH_ELIMIT. */
int query_depend_new(struct slice answer, struct slice database,
                     struct query_depend **out) WH_MUST_CHECK;
void query_depend_free(struct query_depend *d);

/* Slots (cache.h) of everything that changes with the table, itself not among them. */
const uint16_t *query_depend_slots(const struct query_depend *d, struct slice table,
                                   uint32_t *count);
/* Rows may change without any insert of ours being seen: other databases, other servers, or a name
 * that is not known. */
bool query_depend_unsure(const struct query_depend *d, struct slice table);

#endif
