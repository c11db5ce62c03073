/* SPDX-License-Identifier: Apache-2.0 */
/* A sender's state and the steps of its job, shared by sender….c only. All of it belongs to the
 * sender's thread, except what its helper has while flush_ahead_busy. */
#ifndef WH_FLUSH_SENDER_H
#define WH_FLUSH_SENDER_H

#include "flush/ahead.h"
#include "flush/insert.h"
#include "flush/job.h"

struct flush_sender {
    uint32_t magic;
    struct flush_sender_options options;
    struct queue queue;
    pthread_t thread;
    _Atomic bool stop;
    struct flush_job job;
    struct flush_proposal proposal; /* one at a time */
    struct flush_client clients[2];
    struct flush_client *client, *second; /* they change places with each INSERT in flight */
    struct flush_flight {                 /* an INSERT that ClickHouse has whole */
        bool busy;                        /* on client; its verdict is not known */
        struct flush_rows rows, next;     /* next: of the one that is being sent */
    } flight;
    bool alone, second_ready;     /* of the job: no more flights; second was connected */
    struct flush_build builds[2]; /* at hand, and the helper's; they change places */
    struct flush_build *build, *other;
    struct flush_ahead *ahead; /* NULL: not made yet */
    struct flush_rows unit, left, right;
    struct flush_source source; /* of the job at hand */
    struct flush_mark mark;     /* in its plan */
    struct dead_items {
        uint32_t count;       /* items in the payload */
        int32_t code;         /* of the first of them */
        enum flush_fate fate; /* of all of them */
    } dead, ahead_dead;       /* in proposal.payload; in ahead_payload */
    struct buf ahead_payload;
    bool split;   /* halves on the stack that no progress entry knows */
    bool unsaved; /* the stack differs from what a restart would find */
    uint64_t started_ns;
};

/* Ends of a step, besides 0. */
enum {
    STEP_RETRY = 1, /* the job ends and comes again; its stack is whole */
    STEP_LOG = 2 /* the log took no entry, or the stack is not whole: the plan comes again whole */
};

/* sender.c */
/* Commit what is in proposal.payload, which is empty afterwards. 0 or STEP_LOG. */
int sender_commit(struct flush_sender *s, uint8_t type);
/* The job ends for this reason. STEP_RETRY */
int sender_retry(struct flush_sender *s, enum ch_outcome outcome, int32_t code, const char *text);
int sender_retry_memory(struct flush_sender *s);
/* What reading the log or the encoder answered, as a step. */
int sender_build_failed(struct flush_sender *s, int rc, const struct err *e);

/* sender_dead.c: rows that are refused for good. They gather in proposal.payload. */
flush_refuse_fn sender_refused;       /* ctx: the sender */
flush_refuse_fn sender_refused_ahead; /* the helper's: into ahead_payload; WH_EFULL: no more */
/* Commit those gathered. */
int sender_dead_commit(struct flush_sender *s);
/* Dead-letter these rows with the job's code and text, and commit. */
int sender_dead_rows(struct flush_sender *s, const struct flush_rows *rows);

/* sender_units.c */
/* Take the top unit of the stack and send it, or say why not. Its INSERT may be under way still:
 * sender_land. With STEP_RETRY the stack is whole, except for that. */
int sender_unit(struct flush_sender *s);
/* Wait for the verdict on what is in flight. *stored: it is OK, or nothing was in flight. Else its
 * rows are on the stack again, those at hand (NULL: none) below them; with 0 they can be sent at
 * once. */
int sender_land(struct flush_sender *s, const struct flush_rows *at_hand, bool *stored);
/* The helper has nothing of the job any more. */
void sender_ahead_end(struct flush_sender *s);

#endif
