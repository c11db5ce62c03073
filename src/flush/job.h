/* SPDX-License-Identifier: Apache-2.0 */
/* What planner and senders hand each other. A job is one attempt at one plan. */
#ifndef WH_FLUSH_JOB_H
#define WH_FLUSH_JOB_H

#include "base/queue.h"
#include "clickhouse/native.h"
#include "cluster/commit.h"
#include "flush/flush.h"
#include "flush/ledger.h"

#include <pthread.h>

/* A proposal whose answer comes through `to` as a message. */
struct flush_proposal {
    struct flush_msg msg;
    struct proposal p;
    struct queue *to;
    struct buf payload;
    void *owner;
};
/* Start it: the payload is in fp->payload. 0, or WH_EFULL: nothing happened. */
int flush_propose(struct commit_log *c, struct flush_proposal *fp, uint8_t type,
                  struct queue *to) WH_MUST_CHECK;

enum flush_result {
    FLUSH_RESULT_DONE,  /* the done entry is committed */
    FLUSH_RESULT_YIELD, /* progress made and committed, more to do */
    FLUSH_RESULT_RETRY, /* outcome, code and text say why */
    FLUSH_RESULT_LOG    /* an entry found no room in the log, or the log is stopping */
};

struct flush_job {
    struct flush_msg msg;
    /* Filled by the planner: */
    struct flush_table *owner; /* the planner's; the sender only reads its name */
    struct flush_plan plan;    /* slices point to the owner's name and to token */
    uint64_t plan_index;
    char *token;
    struct flush_span *spans;
    uint32_t span_count;
    struct flush_rows *units; /* to send, each its own INSERT where the schema allows */
    uint32_t unit_count, unit_cap;
    uint32_t dead;            /* rows dead-lettered so far */
    struct flush_doubt doubt; /* what is known when the job begins; the sender changes it */
    bool give_up;             /* schema trouble again is final: dead-letter */
    bool as_data;             /* trouble of our own making again: treat as data error, bisect */
    bool dlq_enabled;
    bool hold;        /* rows with a column that is gone are held instead of dead-lettered */
    bool backlog;     /* counts against the pace of catching up */
    uint32_t paced;   /* rows that it was counted with there */
    bool warn_window; /* check the table's dedup window */
    bool overlap;     /* there may be a second connection */
    struct ch_target *target; /* a reference of the job's */
    struct flush_sender *sender;
    /* Filled by the sender: */
    enum flush_result result;
    bool reached;   /* a connection to ClickHouse was there */
    bool no_schema; /* the tables of the database are not known yet */
    enum ch_outcome outcome;
    int32_t code;
    char text[512];
    uint32_t stored;     /* rows, in this attempt */
    uint64_t last_index; /* of the last entry that it committed; 0: none */
    uint64_t duration_ns;
};

struct flush_sender;
struct flush_sender_options {
    const struct flush_options *flush;
    struct queue *planner;        /* jobs go back here */
    const _Atomic bool *stopping; /* end jobs at the next unit */
    const _Atomic bool *crowded;  /* others wait: end jobs that have taken long at the next unit */
    unsigned number;
};
struct flush_sender *flush_sender_start(const struct flush_sender_options *options, struct err *e);
/* The sender's one job: the planner fills it while the sender is idle, then gives it. */
struct flush_job *flush_sender_job(struct flush_sender *s);
void flush_sender_give(struct flush_sender *s);
/* Ask it to end; then join when it is idle. */
void flush_sender_stop(struct flush_sender *s);

#endif
