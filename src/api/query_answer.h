/* SPDX-License-Identifier: Apache-2.0 */
/* Run a statement and answer the request with it: what POST /v1/query and the pipes share.
 *
 *   if (!api_query_offset_reached(a, r, table)) return;   min_offset=: waits, or answered
 *   … build the statement (statement.h, query_style_of) …
 *   api_query_answer(a, r, &statement, &how);                    answered now or later
 *
 * JSON comes from the cache or is held whole; CSV and NDJSON (by Accept or by the path's ending)
 * stream. Query parameters understood here: fresh=1, min_offset=N (doc/query.md). On the loop's
 * thread. */
#ifndef WH_API_QUERY_ANSWER_H
#define WH_API_QUERY_ANSWER_H

#include "api/api_priv.h"
#include "query/runner.h"

struct query_answer_how {
    int64_t cache_ttl_ms; /* of a pipe; < 0: by the time the query took */
};

/* Takes r over. The statement is copied as far as needed. With s->writes: `[]`, X-Cache: BYPASS,
 * and an outcome that is not known is 424 (pipes.md §6). */
void api_query_answer(struct api_loop *a, struct http_request *r, const struct query_statement *s,
                      const struct query_answer_how *how);

/* The request has no min_offset=, or the table (len 0: all) has come that far: true. Else false:
 * answered, or waiting, and its handler is called anew when it has. */
bool api_query_offset_reached(struct api_loop *a, struct http_request *r, struct slice table);

/* POST /v1/query, .csv, .ndjson; POST /v1/ops/query. */
void query_route(struct api_loop *a, struct http_request *r);
/* GET|POST /v1/pipes/{name}, /v0/pipes/{name}.json. */
void pipe_route(struct api_loop *a, struct http_request *r);
/* Refuses at the head. False: answered. */
bool pipe_on_head(struct api_loop *a, struct http_request *r);
void sql_route(struct api_loop *a, struct http_request *r);

/* What the loop calls: answers are back, pieces have come, time passes. */
int query_loop_new(struct api_loop *a);
void query_loop_free(struct api_loop *a);
void query_on_answers(void *api_loop);
void query_on_pieces(void *api_loop);

#endif
