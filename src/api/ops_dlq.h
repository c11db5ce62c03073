/* SPDX-License-Identifier: Apache-2.0 */
/* Letters (dead ones, and rows that are held) and log ranges by HTTP (http-api §13), within
 * src/api. What only reads is answered at once from the store; what changes something is a task of
 * the replay thread, whose answer comes back through the loop's queue. */
#ifndef WH_API_OPS_DLQ_H
#define WH_API_OPS_DLQ_H

#include "api/api_priv.h"
#include "api/ops_ask.h"
#include "replay/replay.h"

/* One change on its way to the replay thread and back. */
struct ops_task {
    struct replay_task task;
    struct http_request *request;
    struct buf who, table, into; /* what the task borrows */
    struct store_letter_id *ids;
    struct rules *rules;        /* of a replay; NULL: none */
    struct json_reader *reader; /* for them */
    struct buf text;            /* a record, with room to read it */
    bool by_code;               /* only letters with this code: */
    int32_t code;
    struct buf report; /* a replay's outcomes: "{…},{…}" */
    uint32_t reported;
    struct ch_verdict *verdict; /* what ClickHouse would say to the values of a record */
    struct buf row;             /* and the row that it would make of the one at hand */
    void (*answer)(struct api_loop *a, struct ops_task *t);
};

/* NULL: out of memory, and the request is answered. */
struct ops_task *ops_task_new(struct api_loop *a, struct http_request *r,
                              enum replay_task_kind kind,
                              void (*answer)(struct api_loop *a, struct ops_task *t));
void ops_task_free(struct ops_task *t);
/* Give it to the replay thread, or answer that this is not possible now. Taken either way. */
void ops_task_send(struct api_loop *a, struct ops_task *t);
/* A task that failed: answered by its result. */
void ops_task_refuse(struct api_loop *a, struct ops_task *t);

/* The shelf by its name in `shelf`: dead, unless it says held. */
enum store_shelf ops_shelf(struct ops_ask *q);
/* The id in the path. False: it is none, answered with 404. */
bool ops_letter_id(struct api_loop *a, struct http_request *r, struct store_letter_id *id);
/* dlq.enabled is false, no table has it otherwise, and neither letters nor held rows are left from
 * before: answered with 404 as http-api §13 says, and false. */
bool ops_dlq_enabled(struct api_loop *a, struct http_request *r);

#endif
