/* SPDX-License-Identifier: Apache-2.0 */
/* The structured query (http-api §8): a JSON body and a caller's grant in, a statement out.
 *
 *   query_select_parse   body → AST                         400 invalid json
 *        the caller asks the gate                            401, 403
 *   query_select_build   AST + catalog + grant → statement   400, 403, or nothing to ask
 *
 * Nothing that a caller sent reaches the SQL outside a quoted identifier, the list of functions, an
 * integer, or a bound value. The row filter of the grant stands first in WHERE, in parentheses, and
 * no alias can capture its columns: with parameters through prefer_column_name_to_alias
 * (statement.is_prefer_column), on servers without it by a subquery of its own.
 *
 * No http in here, and no allocation once a builder has seen its usual load. */
#ifndef WH_QUERY_SELECT_H
#define WH_QUERY_SELECT_H

#include "access/claims.h"
#include "access/gate.h"
#include "access/predicate.h"
#include "query/statement.h"
#include "schema/schema.h"

/* One owner thread. */
struct query_select;

struct query_select *query_select_new(void); /* NULL: no memory */
void query_select_free(struct query_select *q);

enum query_result {
    QUERY_READY,   /* the statement is to be executed */
    QUERY_EMPTY,   /* nothing is asked for: 200 [], without X-Cache; ClickHouse is not called */
    QUERY_REFUSED, /* answer status and {"error":text} */
    QUERY_NO_MEMORY
};
struct query_refusal {
    int status;        /* 400 or 403 */
    struct slice text; /* not escaped; until the next call on the maker */
};

/* Read a body. LIMIT_JSON_PADDING readable bytes must follow it, and it must stay until
 * query_select_build has returned. READY, REFUSED or NO_MEMORY. */
enum query_result query_select_parse(struct query_select *q, struct slice body,
                                     struct query_refusal *no) WH_MUST_CHECK;

struct query_select_terms {
    enum query_style style;
    uint64_t now_ns;           /* since 1970 UTC: what durations count back from */
    uint64_t default_max_rows; /* query.default_max_rows; 0: 10,000 */
    uint64_t bucket_s;         /* query.timestamp_bucket_seconds; 0: no flooring */
    uint64_t timeout_ms;       /* clickhouse.query_timeout; 0: none */
};

/* Who asks what. */
struct query_select_ask {
    struct schema_catalog *catalog;
    const struct schema_table *table;       /* of the catalog */
    const struct access_policy *policy;     /* may be NULL when unrestricted */
    const struct access_decision *decision; /* GRANTED or UNRESTRICTED */
    const struct access_claims *claims;     /* NULL: none */
    struct access_predicates *predicates;   /* the owner thread's */
    struct query_select_terms terms;
};

/* Check what the last query_select_parse read and write it into s, which is reset first. Any of the
 * four results. Blocks on a zoneinfo file when a row filter on a DateTime column is new. */
enum query_result query_select_build(struct query_select *q, const struct query_select_ask *ask,
                                     struct query_statement *s,
                                     struct query_refusal *no) WH_MUST_CHECK;

#endif
