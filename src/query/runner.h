/* SPDX-License-Identifier: Apache-2.0 */
/* Runs statements on ClickHouse: cache, single flight, one thread with all transfers (http-api
 * §8.6–§8.8, architecture §3).
 *
 *   socket loop ── query_run ──► hit: the answer, at once, on this thread
 *                     │
 *                     ├─ the same is under way: wait for it
 *                     └─ queue ─► wh-query (libcurl) ─► ClickHouse ─► rows rendered while they come
 *                                     │
 *   socket loop ◄── ask->done ◄───────┴─► cache, unless a table has changed meanwhile
 *
 * The cache's key is everything that the answer depends on: text, values, limits, rendering. It
 * holds under the versions of the tables that are read; versions move with query_runner_bump. */
#ifndef WH_QUERY_RUNNER_H
#define WH_QUERY_RUNNER_H

#include "base/err.h"
#include "base/queue.h"
#include "clickhouse/target.h"
#include "query/failure.h"
#include "query/statement.h"

struct query_runner;

struct query_runner_options {
    struct ch_target *clickhouse; /* the runner takes a reference of its own */
    uint64_t timeout_ms;          /* clickhouse.query_timeout */
    uint64_t cache_bytes;         /* cache.l1_max_cost; 0: nothing is kept */
    uint32_t max_concurrent;      /* query.max_concurrent: on ClickHouse at a time; ≥ 1 */
    /* Counts successful schema discoveries: with each, views are resolved anew. Called from the
     * runner's thread, never blocks. NULL: they never are. */
    uint64_t (*refreshes)(void *ctx);
    /* ClickHouse does not know a table or column that we believe in. Any thread. NULL: nobody. */
    void (*request_refresh)(void *ctx);
    void *ctx;
};

/* Starts the thread. Blocks for that. */
int query_runner_start(struct query_runner **out, const struct query_runner_options *options,
                       struct err *e) WH_MUST_CHECK;
/* New settings; another target empties the cache. Any thread. */
void query_runner_reload(struct query_runner *q, const struct query_runner_options *options);
/* Ends what runs; asks that are out come back with QUERY_STOPPED, streams fail. After it nothing
 * may be asked; answers that are held stay valid. Then free: when the queues that answers go to
 * have been emptied. Blocks briefly. */
void query_runner_stop(struct query_runner *q);
void query_runner_free(struct query_runner *q);

/* Rows of this table may have changed: what was cached about it, about targets of its materialized
 * views and about views over it is void. Before the change is told to anybody. Any thread; a short
 * lock. */
void query_runner_bump(struct query_runner *q, struct slice table);

/* ---- an answer as one text: cached, coalesced -------------------------------------------- */

enum query_rendering {
    QUERY_ROWS_CANONICAL, /* a JSON array of objects; timestamps as query.timestamp_format says: */
    QUERY_ROWS_ISO,       /* the same, zeros of fractions stay */
    QUERY_RAW_DATA /* the `data` array of ClickHouse's own JSON (http-api §9); never cached */
};

/* Immutable, counted; any thread. */
struct query_answer {
    enum query_class class; /* QUERY_FINE: body is the answer; else its text is for the client */
    struct slice body;
    int32_t exception_code; /* ClickHouse's number; 0: none */
    int32_t http_status;    /* ClickHouse's own, for http-api §9; 0: there was no answer */
    bool fate_unknown;      /* of a statement that writes: it may have happened */
    uint64_t etag;          /* over the body */
    uint64_t took_ns;       /* ClickHouse's share */
};
void query_answer_ref(struct query_answer *r);
void query_answer_unref(struct query_answer *r); /* NULL is fine */

struct query_terms {
    enum query_rendering rendering;
    bool modern; /* the server knows parameters and ISO timestamps: schema_catalog_version ≥ 21 */
    bool fresh;  /* do not answer from the cache; what comes goes into it */
    int64_t cache_ttl_ms;     /* < 0: by the time it took (http-api §8.7); 0: never cached */
    struct slice server_zone; /* schema_catalog_timezone: of timestamps without a zone */
};

/* One asker, inside a struct of its own; zeroed at first, may be used again once it is back. */
struct query_ask {
    struct queue_link link;      /* in done */
    struct queue *done;          /* set before */
    struct query_answer *answer; /* when it is back: one reference, the asker's */
    /* the runner's: */
    struct query_entry *entry; /* under the lock of the shard that hash names */
    uint64_t hash;
    struct query_ask *next, *prev;
};

enum query_run_outcome {
    QUERY_RUN_HIT,  /* *hit is the answer, one reference */
    QUERY_RUN_WAIT, /* the ask comes back through its queue; when too many wait, as QUERY_BUSY */
    QUERY_RUN_NO_MEMORY
};
/* s and terms are copied as far as needed. Any thread, never blocks; a hit takes a shard's lock for
 * one look-up. */
enum query_run_outcome query_run(struct query_runner *q, const struct query_statement *s,
                                 const struct query_terms *terms, struct query_ask *ask,
                                 struct query_answer **hit);
/* Nobody waits for it any more. True: the ask is the caller's at once, and the execution ends when
 * this was its last asker; false: it is on its way back. */
bool query_cancel(struct query_runner *q, struct query_ask *ask);

/* ---- an answer in pieces: never held whole, never cached ---------------------------------- */

enum query_form {
    QUERY_FORM_NDJSON,     /* rows as the JSON answer has them, one a line */
    QUERY_FORM_NDJSON_ISO, /* with the zeros of fractions */
    QUERY_FORM_CSV,        /* ClickHouse's CSVWithNames */
    QUERY_FORM_RAW         /* the statement names its FORMAT (http-api §9) */
};

struct query_stream;

enum query_piece_kind {
    QUERY_PIECE_HEAD, /* the first; bytes: content type of QUERY_FORM_RAW */
    QUERY_PIECE_BYTES,
    QUERY_PIECE_END,   /* the last: all was sent */
    QUERY_PIECE_FAILED /* the last: answer says why. Without a HEAD before: answer it; after one:
                          cut the answer */
};
/* Comes through the stream's queue, in order; freed by query_piece_free. */
struct query_piece {
    struct queue_link link;
    enum query_piece_kind kind;
    void *user;                  /* of the stream */
    struct query_answer *answer; /* of FAILED; the piece's */
    size_t len;
    char bytes[];
};

/* Nothing more than QUERY_STREAM_WINDOW bytes is on its way at a time; query_stream_took says that
 * n of them are dealt with. */
#define QUERY_STREAM_WINDOW (512 * 1024)
/* 0; WH_EFULL: too many wait; -ENOMEM. */
int query_stream_start(struct query_runner *q, const struct query_statement *s,
                       const struct query_terms *terms, enum query_form form, struct queue *done,
                       void *user, struct query_stream **out) WH_MUST_CHECK;
void query_stream_took(struct query_runner *q, struct query_stream *st, size_t n);
/* Nobody reads any more; pieces may still come, up to the last one (FAILED or END). */
void query_stream_cancel(struct query_runner *q, struct query_stream *st);
/* After the last piece has come. */
void query_stream_free(struct query_stream *st);
void query_piece_free(struct query_piece *p);

#endif
