/* SPDX-License-Identifier: Apache-2.0 */
/* What ClickHouse's failures mean to the caller of a query (http-api §8.8). */
#ifndef WH_QUERY_FAILURE_H
#define WH_QUERY_FAILURE_H

#include "base/buf.h"
#include "query/statement.h"

enum query_class {
    QUERY_FINE,
    QUERY_REJECTED,       /* syntax, types, unknown names, arguments */
    QUERY_LIMIT_EXCEEDED, /* the role's own rows, memory or time */
    QUERY_ACCESS_DENIED,
    QUERY_MISCONFIGURED, /* our account at ClickHouse, its database */
    QUERY_TOO_LARGE,     /* the answer is longer than LIMIT_QUERY_RESULT_BYTES */
    QUERY_UNAVAILABLE,   /* connect, timeout, overload */
    QUERY_UNKNOWN,
    QUERY_BUSY,   /* too many wait already */
    QUERY_STOPPED /* the daemon stops */
};

/* "clickhouse.rejected" …; for metrics and answers. */
const char *query_class_name(enum query_class c);
int query_class_status(enum query_class c); /* 400 … 503 */
bool query_class_retryable(enum query_class c);
int query_class_retry_after(enum query_class c); /* seconds; 0: none */

/* By ClickHouse's number. limits: of the statement, which tell a role's cap from the server's
 * trouble; timeout_ms: clickhouse.query_timeout. */
enum query_class query_classify(int32_t code, const struct query_limits *limits,
                                uint64_t timeout_ms);
/* Our belief about the schema is out of date. */
bool query_code_is_schema(int32_t code);

/* ClickHouse's text for the caller: one sentence, without the server's version, and with every
 * value of the statement, bound or literal, taken out: a policy's values are not the caller's to
 * see. */
void query_failure_text(struct buf *out, struct slice text, const struct query_statement *s);

#endif
