/* SPDX-License-Identifier: Apache-2.0 */
/* ClickHouse's INSERT statement, as far as it leads to data that follows it:
 *
 *   INSERT INTO [TABLE] [db.]table [(a, `b`) | (*) | (* EXCEPT (a, b))]
 *          [SETTINGS name = value, …] FORMAT name ⏎ data  |  VALUES data
 *
 * Keywords in any case, names bare or in `…` or "…", comments as in SQL. */
#ifndef WH_API_INSERT_QUERY_H
#define WH_API_INSERT_QUERY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

struct insert_setting {
    struct slice name, value; /* value: without its quotes */
};

struct insert_query {
    struct slice database; /* len 0: not given */
    struct slice table;
    struct slice *columns; /* in the list, or excepted from it */
    uint32_t column_count;
    bool listed; /* columns are those that are filled */
    bool except; /* columns are those that are not */
    struct insert_setting *settings;
    uint32_t setting_count;
    struct slice format; /* as sent; "Values" for VALUES */
    size_t data;         /* where the data begins */
    /* After a refusal. */
    int32_t code; /* 62 syntax error, 48 another statement */
    char error[512];
};

/* Read the statement at the start of text; names live in the arena. 0; WH_EEND: it may go on behind
 * the text's end; WH_ESYNTAX: q->code and q->error say why; -ENOMEM, WH_ELIMIT (of the arena). */
int insert_query_parse(struct slice text, struct arena *arena,
                       struct insert_query *q) WH_MUST_CHECK;

#endif
