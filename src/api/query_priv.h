/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by query.c, query_stream.c, query_route.c and sql_route.c: a loop's share of queries. */
#ifndef WH_API_QUERY_PRIV_H
#define WH_API_QUERY_PRIV_H

#include "api/query_answer.h"
#include "query/select.h"

/* A client that has shut down its sending side may still read; one that waits for longer than this
 * behind it has left. */
#define QUERY_GONE_NS UINT64_C(1000000000)

enum query_output {
    QUERY_OUTPUT_JSON,
    QUERY_OUTPUT_NDJSON,
    QUERY_OUTPUT_CSV
};

/* A request that waits for an answer as one text. */
struct query_op {
    struct query_ask ask; /* first */
    struct http_request *request;
    struct query_op *next, *prev;
    uint64_t gone_ns; /* when its client was first seen to be gone; 0: it is not */
    bool raw, writes;
};

struct query_stream_op;
struct pipe_loop;                         /* pipe_route.c */
void pipe_loop_free(struct pipe_loop *l); /* NULL is fine */

struct query_loop {
    struct query_select *select; /* NULL until it is needed, as the others */
    struct access_predicates *predicates;
    struct query_statement statement;
    struct queue answers, pieces, offsets;
    struct query_op *first;
    struct query_op *spare; /* so that a hit allocates nothing */
    struct query_stream_op *streams;
    struct query_offset *offsets_waiting;
    uint32_t offset_count; /* waiting, or asked about */
    struct buf text, extra;
    struct pipe_loop *pipe; /* NULL until a pipe is asked for */
};

/* An answer in pieces, in the stream's own form. content_type: static; NULL: as ClickHouse says.
 * empty: what stands for no byte at all (with content type JSON); len 0: nothing does. */
void query_stream_answer(struct api_loop *a, struct http_request *r,
                         const struct query_statement *s, const struct query_terms *terms,
                         enum query_form form, const char *content_type, struct slice empty);
void query_stream_drop_all(struct api_loop *a);
/* Gives up what waits for its first byte when its client has left. */
void query_stream_timer(struct api_loop *a);

/* Waits; raw as http-api §9 has it. */
void query_wait(struct api_loop *a, struct http_request *r, const struct query_statement *s,
                const struct query_terms *terms);

void query_terms_make(const struct api_loop *a, struct query_terms *out);
/* Any answer but QUERY_FINE; raw: in the words and with the statuses of http-api §9. */
void api_query_refuse(struct api_loop *a, struct http_request *r, const struct query_answer *answer,
                      bool raw, bool writes);

/* query_offset.c: ask again for those who wait; answer them all. */
void query_offset_timer(struct api_loop *a);
void query_offset_drop_all(struct api_loop *a);
void query_on_offsets(void *api_loop);

/* Answers early what the head alone shows. False: answered. */
bool query_on_head(struct api_loop *a, struct http_request *r);

/* Every 100 ms: clients that have gone, tables that have come far enough. */
void query_timer(void *api_loop);

#endif
