/* SPDX-License-Identifier: Apache-2.0 */
/* What ClickHouse is sent for a statement: settings in the URL, text in the body. */
#ifndef WH_QUERY_WIRE_H
#define WH_QUERY_WIRE_H

#include "query/runner.h"

/* How the answer is to come. */
enum query_wire {
    QUERY_WIRE_ROWS,  /* JSONCompact, complete before its first byte */
    QUERY_WIRE_LINES, /* JSONCompact as it comes, where errors in the middle can be told */
    QUERY_WIRE_CSV,
    QUERY_WIRE_RAW_JSON, /* http-api §9 */
    QUERY_WIRE_RAW
};

/* Settings ("&a=1&b=2") and the text of the body. sql stays empty when the statement's own text is
 * sent as it is. 0 or -ENOMEM. */
int query_wire_make(const struct query_statement *s, const struct query_terms *terms,
                    enum query_wire wire, uint64_t timeout_ms, struct buf *settings,
                    struct buf *sql) WH_MUST_CHECK;

/* ClickHouse's exception in the middle of an answer of status 200 (26.7 marks it with a tag of the
 * answer's head): bytes before the mark pass, what could be its beginning is held back. */
struct query_guard {
    char mark[160];
    uint8_t border[161]; /* of the mark's first n bytes: how many of them end as the mark begins */
    size_t mark_len;     /* 0: the server has no tags; everything passes */
    size_t held;         /* bytes of the mark that came last */
    bool found;
    struct buf text; /* behind the mark */
};
void query_guard_init(struct query_guard *g, struct slice tag);
void query_guard_fini(struct query_guard *g);
void query_guard_feed(struct query_guard *g, struct slice bytes, struct buf *out);
/* The end: what is held is no mark. */
void query_guard_finish(struct query_guard *g, struct buf *out);

/* "Code: 395. DB::Exception: …": the number; 0 without one. */
int32_t query_code_in_text(struct slice text);

#endif
