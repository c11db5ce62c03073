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

/* Of a server by its version() text. Parameters came with 19.14; what the texts need besides
 * (accurateCastOrNull, prefer_column_name_to_alias) is there from 21.4. */
enum query_style query_style_of(struct slice server_version);

struct query_limits { /* each 0: none */
    uint64_t max_execution_ms;
    uint64_t max_rows_to_read;
    uint64_t max_memory_bytes;
    uint64_t max_result_rows;
};

/* Filled by its maker, reused by its owner; query_statement_reset keeps the memory. */
struct query_statement {
    struct buf sql;
    struct buf values;     /* value texts one behind the other, as they are: the transport escapes
                              them (HTTP's param_p0=… is read as TSV: \\ \t \n \0 escaped) … */
    struct buf value_ends; /* … u32 end offset of each: p0, p1, … all of type String */
    struct buf tables;     /* names of the tables that it reads, in the configured database, each
                              ended by NUL; the runner adds what views stand for */
    bool tables_unknown;   /* it may read more than that: cached for 10 s at most (pipes.md §5) */
    bool reads_only;       /* sent as it is (QUERY_FORM_RAW), but in a session that only reads */
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
/* Append the value to the text as the style has it: {pN:String}, or an escaped literal. What does
 * not fit shows in query_statement_ok. */
void query_statement_put_value(struct query_statement *s, enum query_style style,
                               struct slice value);
/* Append text as an escaped literal: 'it\'s'. */
void query_put_literal(struct buf *out, struct slice text);
/* Append `name`, quoted. */
void query_statement_put_name(struct query_statement *s, struct slice name);
/* Append a table to the list. */
void query_statement_put_table(struct query_statement *s, struct slice name);
/* Is text -?digits[.digits][e±digits] without leading zeros, as JSON spells numbers? Such a text is
 * a literal as it stands. */
bool query_is_number(struct slice text);
/* Did everything fit? */
bool query_statement_ok(const struct query_statement *s);
uint32_t query_statement_value_count(const struct query_statement *s);
struct slice query_statement_value(const struct query_statement *s, uint32_t i);

#endif
