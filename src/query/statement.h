/* SPDX-License-Identifier: Apache-2.0 */
/* A statement ready to be sent to ClickHouse: what the structured query (select.h) and the pipes
 * (pipe.h) make, and what the runner (runner.h) caches, coalesces and executes.
 *
 * Two equal statements (sql, values, limits, zone of rendering) give the same answer as long as no
 * table that they read has changed: that is the cache's key. */
#ifndef WH_QUERY_STATEMENT_H
#define WH_QUERY_STATEMENT_H

#include "base/buf.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* Does the server know {name:Type} parameters (clickhouse-native §13)? */
enum query_style {
    QUERY_PARAMETERS, /* values are sent beside the text */
    QUERY_LITERALS    /* values are escaped literals in the text; none is left to send */
};

struct query_limits { /* each 0: none */
    uint64_t max_execution_ms;
    uint64_t max_rows_to_read;
    uint64_t max_memory_bytes;
    uint64_t max_result_rows;
};

/* Filled by its maker, reused by its owner; query_statement_reset keeps the memory. */
struct query_statement {
    struct buf sql;
    struct buf values;     /* value texts one behind the other … */
    struct buf value_ends; /* … u32 end offset of each: p0, p1, … all of type String */
    struct buf tables;     /* names of the tables that it reads, in the configured database, each
                              ended by NUL; the runner adds what views stand for */
    bool tables_unknown;   /* it may read more than that: cached for 10 s at most (pipes.md §5) */
    bool writes;           /* never cached, never coalesced (pipes.md §6) */
    bool is_prefer_column; /* send prefer_column_name_to_alias=1 (http-api §8.3) */
    struct query_limits limits;
};

void query_statement_init(struct query_statement *s);
void query_statement_reset(struct query_statement *s);
void query_statement_fini(struct query_statement *s);
/* Append a value; its number through *number ("p%u" in the text). 0 or -ENOMEM. */
int query_statement_bind(struct query_statement *s, struct slice value,
                         uint32_t *number) WH_MUST_CHECK;
uint32_t query_statement_value_count(const struct query_statement *s);
struct slice query_statement_value(const struct query_statement *s, uint32_t i);

#endif
