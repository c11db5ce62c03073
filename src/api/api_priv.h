/* SPDX-License-Identifier: Apache-2.0 */
/* Shared within src/api. Everything here is used on one loop's thread. */
#ifndef WH_API_API_PRIV_H
#define WH_API_API_PRIV_H

#include "api/api.h"
#include "base/metric.h"
#include "clickhouse/verdict.h"
#include "schema/record.h"
#include "wal/batch.h"
#include "json/json.h"

struct door_clickhouse;
struct api_auth;
struct ingest_op;
struct ingest_readers;
struct ingest_access_loop;
struct ingest_turns;
struct ingest_dedupe_loop;
struct query_loop;

struct api_metrics {
    struct metric *ingest_seconds, *ingest_records, *ingest_bytes, *ingest_unknown_ignored,
        *ingest_held;
    struct metric *rejected_value, *rejected_json, *rejected_record, *rejected_request,
        *rejected_log;
    struct metric *in_flight_refused, *rejected_limit, *rejected_denied;
    struct metric *ack_waiting, *ack_clickhouse, *ack_committed, *ack_refused;
};

struct api_loop {
    uint32_t magic;
    struct api_shared *shared;
    struct loop *loop;
    struct http_server *server;
    struct queue committed;      /* proposals coming back from the log */
    struct queue discovered;     /* discovery_tasks coming back */
    struct queue replayed;       /* replay_tasks coming back */
    struct queue controlled;     /* control_tasks coming back */
    struct queue reloaded;       /* api_reloads coming back */
    struct queue watched;        /* watches coming back from the flusher */
    struct queue offsets;        /* offset_tasks coming back from the flusher */
    struct ingest_op *ack_first; /* requests that wait for their watches */
    uint64_t ack_bytes;          /* of their bodies */
    bool ack_draining;
    const struct config *config;
    uint64_t config_version;
    struct http_options http_options;
    struct http_tls_material *tls_material; /* what tls was made of; NULL: none */
    struct http_tls_context *tls;
    struct slice *cors_origins;
    struct schema_catalog *catalog; /* NULL before there is one */
    uint64_t catalog_version;
    struct api_auth *auth;
    const char *route;                /* the pattern that the request at hand matches; NULL: none */
    struct control_snapshot *control; /* NULL before the first request */
    uint64_t control_version;
    struct ingest_readers *readers;
    struct door_clickhouse *clickhouse; /* NULL until that door is used */
    struct json_reader *ops_reader;     /* NULL until it is needed */
    bool ops_reader_used;               /* since the timer looked last */
    struct record_checker *checker;
    struct ch_verdict *verdict; /* strict validation and dry runs */
    struct ingest_dedupe_loop *dedupe;
    struct stream_loop *stream; /* NULL: no streams */
    struct ingest_access_loop *access;
    struct query_loop *query;
    struct ingest_turns *turns;
    struct slice param;           /* of the path of the request at hand, still percent-encoded */
    struct buf name;              /* decoded table name of the request at hand */
    struct buf text;              /* an answer being made */
    struct openapi_kept *openapi; /* NULL until it is asked for */
    struct buf metrics_text;      /* as rendered at metrics_ns, monotonic */
    uint64_t metrics_ns;
    struct buf refusal;         /* an answer that says more than an error text */
    struct buf sender;          /* "<peer> <request id>" of the request at hand */
    struct ingest_op *idle_ops; /* free list, most recently used first */
    uint64_t quiet_count;       /* proposals pushed since the log thread was last woken */
    uint64_t quiet_since_ns;    /* monotonic time of the first of them */
    uint64_t in_flight_bytes;   /* body bytes between validation and commit */
    bool stopping; /* the rooms around are gone: nothing but http and memory may be used */
    struct api_metrics metrics;
};

/* A request's handler. Replies now or later. */
typedef void (*api_handler)(struct api_loop *a, struct http_request *r);

/* Take up a new configuration, catalog, policy or pipes, if there are any. Cheap: three atomic
 * loads. What one request does is decided on the snapshots that it found: keep a reference across a
 * wait.
 */
void api_refresh(struct api_loop *a);
/* The request anew, with its body: one that has waited. Its route and parameter are found again,
 * for others were served meanwhile. */
void api_again(struct api_loop *a, struct http_request *r);

/* Ingest: ingest.h, and what the loop calls. */
void ingest_on_committed(void *api_loop);
/* Wake the log thread for what this turn has proposed. */
void ingest_kick(void *api_loop);
/* Give back the memory of requests that have been idle for a while. */
void ingest_shrink(struct api_loop *a);
void ingest_free_all(struct api_loop *a);
/* Long bodies take turns. free: also answers who still waits. */
int ingest_turns_new(struct api_loop *a);
void ingest_turns_free(struct api_loop *a);
void ingest_turns_shrink(struct api_loop *a);
/* The loop's share of access control. */
int ingest_access_loop_new(struct api_loop *a);
void ingest_access_loop_free(struct api_loop *a);
/* The loop's share of dedup; free: also answers who still waits. */
int ingest_dedupe_loop_new(struct api_loop *a);
void ingest_dedupe_loop_free(struct api_loop *a);

/* ingest_ack.c: a watch is back; time passes; the daemon stops. */
void ingest_on_watched(void *api_loop);
void ingest_ack_timer(void *api_loop);
void ingest_ack_drain(struct api_loop *a);

/* Batch answers (http-api §7.7). */
struct ingest_outcomes {
    struct buf entries; /* "{…},{…}" */
    uint64_t total, succeeded, failed, duplicates;
    uint64_t listed;
    bool dry_run;
    bool cut; /* a dry run's answer has no room for further rows */
};
void outcomes_reset(struct ingest_outcomes *o);
void outcome_ok(struct ingest_outcomes *o);
void outcome_duplicate(struct ingest_outcomes *o);
/* With ClickHouse's number (0: none) and, in a dry run, the rule (NULL: none). */
void outcome_refused(struct ingest_outcomes *o, struct slice message, int32_t code,
                     const char *rule);
/* A dry run's: what would be stored, as members of an object. */
void outcome_shown(struct ingest_outcomes *o, struct slice members);
void outcomes_write(const struct ingest_outcomes *o, struct buf *out);

/* Everything under /v1/ops passes here before it is routed, unknown paths too (http-api §2), and so
 * does /v1/schema/suggest: false, and the request is answered. */
bool ops_gate(struct api_loop *a, struct http_request *r);
/* The `table` parameter into a->name. 1 given, 0 absent, -1 answered. */
int api_table_parameter(struct api_loop *a, struct http_request *r);
/* The loop's reader for JSON that is no record of an ingest, made when it is needed; NULL: out of
 * memory. Given back when it has not been used for a while. */
struct json_reader *ops_reader(struct api_loop *a);
/* The path's parameter, decoded, into a->name. False: answered. */
bool api_param(struct api_loop *a, struct http_request *r);

/* Everything else. */
void ops_livez(struct api_loop *a, struct http_request *r);
void ops_readyz(struct api_loop *a, struct http_request *r);
void ops_v1_health(struct api_loop *a, struct http_request *r);
void ops_version(struct api_loop *a, struct http_request *r);
struct query_pipe;
/* The compiled pipe of this name, as long as the control snapshot; NULL: there is none, or it
 * cannot be compiled. */
struct query_pipe *api_pipe(struct api_loop *a, struct slice name);
void ops_openapi(struct api_loop *a, struct http_request *r);
void ops_openapi_free(struct api_loop *a);
void ops_metrics(struct api_loop *a, struct http_request *r);
void ops_schema(struct api_loop *a, struct http_request *r);
void ops_schema_refresh(struct api_loop *a, struct http_request *r);
void ops_offset(struct api_loop *a, struct http_request *r);
void ops_on_offsets(void *api_loop);
void ops_suggest(struct api_loop *a, struct http_request *r);
void ops_on_discovered(void *api_loop);

/* Dead letters and held rows: ops_dlq.c, ops_replay.c. */
void ops_dlq_stats(struct api_loop *a, struct http_request *r);
void ops_dlq_list(struct api_loop *a, struct http_request *r);
void ops_dlq_show(struct api_loop *a, struct http_request *r);
void ops_dlq_edit(struct api_loop *a, struct http_request *r);
void ops_dlq_replay(struct api_loop *a, struct http_request *r);
void ops_dlq_purge(struct api_loop *a, struct http_request *r);
void ops_dlq_purge_one(struct api_loop *a, struct http_request *r);
void ops_replay_start(struct api_loop *a, struct http_request *r);
void ops_replay_list(struct api_loop *a, struct http_request *r);
void ops_replay_show(struct api_loop *a, struct http_request *r);
void ops_replay_cancel(struct api_loop *a, struct http_request *r);
void ops_drift(struct api_loop *a, struct http_request *r);
void ops_on_replayed(void *api_loop);

/* Live events: stream_route.c. */
void api_stream(struct api_loop *a, struct http_request *r);
struct stream_settings api_stream_settings(const struct config *c);

/* The policy and the pipes: ops_control.c. */
void ops_policy_get(struct api_loop *a, struct http_request *r);
void ops_policy_put(struct api_loop *a, struct http_request *r);
void ops_policy_validate(struct api_loop *a, struct http_request *r);
void ops_pipe_list(struct api_loop *a, struct http_request *r);
void ops_pipe_get(struct api_loop *a, struct http_request *r);
void ops_pipe_put(struct api_loop *a, struct http_request *r);
void ops_pipe_put_unnamed(struct api_loop *a, struct http_request *r);
void ops_pipe_delete(struct api_loop *a, struct http_request *r);
void ops_on_controlled(void *api_loop);

/* Settings: ops_reload.c. */
void ops_settings_reload(struct api_loop *a, struct http_request *r);
void ops_on_reloaded(void *api_loop);

/* {"error":…} or JSON from a->text. */
void api_reply_text(struct api_loop *a, struct http_request *r, int status);

#endif
