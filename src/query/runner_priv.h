/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the runner: runner.c has the thread and answers as one text, runner_stream.c those
 * in pieces, runner_judge.c says what an end means. */
#ifndef WH_QUERY_RUNNER_PRIV_H
#define WH_QUERY_RUNNER_PRIV_H

#include "base/metric.h"
#include "clickhouse/http_pool.h"
#include "query/cache.h"
#include "query/depend.h"
#include "query/render.h"
#include "query/wire.h"

#include <pthread.h>

/* ClickHouse's own words about a timeout are better than ours: it gets that much longer. */
#define TIMEOUT_GRACE_MS 1000
#define MS_NS            UINT64_C(1000000)

struct query_stream {
    struct query_job job; /* first */
    struct query_statement statement;
    struct query_terms terms;
    char *server_zone;
    enum query_form form;
    struct queue *done;
    void *user;
    struct query_piece *last; /* made at the start: there is always room for the end */
    _Atomic size_t window;    /* bytes on their way to the reader */
    _Atomic bool paused, cancelled;
};

enum run_kind {
    RUN_ENTRY,
    RUN_STREAM,
    RUN_DEPEND /* what system.tables says about views */
};

/* A statement on ClickHouse. */
struct run {
    struct run *next, *prev;
    struct query_runner *runner;
    enum run_kind kind;
    struct query_entry *entry;
    struct query_stream *stream;
    struct ch_transfer *transfer;
    struct query_render *render; /* NULL: the bytes go on as they are */
    struct query_guard guard;
    struct buf settings, sql, out;
    struct buf question;
    uint64_t started_ns, moved_ns, input_bytes;
    bool head_sent, too_large, no_memory, bad;
    char query_id[48];
};

struct query_runner {
    uint32_t magic;
    struct query_cache *cache;
    struct queue jobs;
    pthread_t thread;
    bool thread_runs;
    _Atomic bool stopping;
    pthread_mutex_t lock; /* next, depend */
    struct query_runner_options next;
    _Atomic bool reloaded;
    struct query_depend *depend;
    struct query_runner_options options; /* the thread's */
    struct ch_pool *pool;
    struct run *runs;
    uint32_t run_count, stream_count;
    /* Streams that wait for a place: their readers may be slow, so they never take all places. */
    struct query_job *aside_first, **aside_end;
    uint32_t aside_count;
    bool depend_runs;
    uint64_t refreshes; /* of the schema, when depend was made */
    uint64_t depend_sum;
    uint64_t next_tick_ns;
    char id_prefix[24];
    uint64_t id_next;
    struct query_answer *busy, *stopped, *no_memory;
    struct metric *query_seconds, *sql_seconds, *stream_seconds, *running, *waiting;
    struct metric *errors[QUERY_STOPPED + 1];
};

/* runner_judge.c. NULL: no memory. */
struct query_answer *runner_answer_text(enum query_class class, const char *text);
/* Of what has ended. */
struct query_answer *runner_judge(struct run *r, const struct ch_transfer_end *end);
void runner_count_error(struct query_runner *q, enum query_class class);
bool runner_is_raw(const struct run *r);

/* runner.c */
struct run *runner_run_new(struct query_runner *q, enum run_kind kind);
/* Has one more answer in pieces a place? */
bool runner_may_stream(const struct query_runner *q);
void runner_run_free(struct run *r);
bool runner_run_launch(struct run *r, const struct query_statement *s,
                       const struct query_terms *terms, enum query_wire wire, uint64_t timeout_ms,
                       struct ch_transfer_ask *ask);

/* runner_stream.c; the runner's thread. */
void runner_stream_start(struct query_runner *q, struct query_stream *st);
/* Resumed, given up, or out of patience with ClickHouse; r may be gone then. */
void runner_stream_watch(struct run *r, uint64_t now);
/* The stream is its owner's again with the last piece. answer: one reference, taken; NULL: no
 * memory. */
void runner_stream_end(struct query_runner *q, struct query_stream *st,
                       struct query_answer *answer);

#endif
