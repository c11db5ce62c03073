/* SPDX-License-Identifier: Apache-2.0 */
/* Many statements at a time over HTTP, with libcurl's multi interface (http_pool.c; the blocking
 * client is http_client.c). One owner thread, which turns the pool: all callbacks come from
 * ch_pool_turn. Connections are kept and used again; endpoints are tried in order, the last good
 * one first, while nothing of a request has left this machine. */
#ifndef WH_CLICKHOUSE_HTTP_POOL_H
#define WH_CLICKHOUSE_HTTP_POOL_H

#include "base/buf.h"
#include "clickhouse/target.h"

struct ch_pool;
struct ch_transfer;

/* target: the pool takes a reference. NULL: no memory. */
struct ch_pool *ch_pool_new(struct ch_target *target);
/* Transfers that are left end without their callbacks. */
void ch_pool_free(struct ch_pool *p);
/* For transfers from now on. 0, -ENOMEM and the old one stays. */
int ch_pool_set_target(struct ch_pool *p, struct ch_target *target) WH_MUST_CHECK;

/* Of an answer of status 200, before its first byte. Valid during the call. */
struct ch_transfer_head {
    struct slice content_type;
    struct slice format;        /* X-ClickHouse-Format; len 0: not said (old servers) */
    struct slice exception_tag; /* X-ClickHouse-Exception-Tag; len 0: not said */
};

enum ch_flow {
    CH_FLOW_ON,
    CH_FLOW_PAUSE, /* not taken: the same bytes come again after ch_transfer_resume */
    CH_FLOW_STOP   /* the transfer ends, as CH_TRANSFER_STOPPED */
};

enum ch_transfer_outcome {
    CH_TRANSFER_DONE,      /* a 200, complete */
    CH_TRANSFER_EXCEPTION, /* ClickHouse says no: code, text, status */
    CH_TRANSFER_FAILED,    /* no answer, or not ClickHouse's; text */
    CH_TRANSFER_TIMEOUT,   /* as FAILED: it took longer than timeout_ms */
    CH_TRANSFER_STOPPED
};
struct ch_transfer_end {
    enum ch_transfer_outcome outcome;
    bool was_sent;     /* something of the request, so the statement may have run */
    int32_t code;      /* ClickHouse's number */
    int status;        /* of HTTP; 0: none */
    struct slice text; /* valid during the call */
};

struct ch_transfer_ask {
    struct slice sql;      /* the body; stays the asker's until the transfer has ended */
    struct slice settings; /* "&a=1&b=2", URL-encoded; copied */
    const char *query_id;  /* letters, digits, '-'; copied; NULL: none */
    uint64_t timeout_ms;
    bool may_repeat; /* it only reads: libcurl may send it again on a fresh connection */
    void *ctx;
    void (*on_head)(void *ctx, const struct ch_transfer_head *head); /* NULL: not asked for */
    enum ch_flow (*on_bytes)(void *ctx, struct slice bytes);
    void (*on_end)(void *ctx, const struct ch_transfer_end *end); /* the transfer is gone then */
};

/* 0; -ENOMEM, WH_EUNSUPPORTED (credentials that HTTP cannot carry): nothing will be called. */
int ch_transfer_start(struct ch_pool *p, const struct ch_transfer_ask *ask,
                      struct ch_transfer **out) WH_MUST_CHECK;
void ch_transfer_resume(struct ch_transfer *t);
/* End it now, without on_end: its connection is closed, and ClickHouse is told to kill the query.
 * Not from within its callbacks. */
void ch_transfer_cancel(struct ch_transfer *t);

/* Wait up to timeout_ms for sockets or for wake_fd to become readable, and go on with whatever can
 * go on. */
void ch_pool_turn(struct ch_pool *p, int wake_fd, int timeout_ms);

/* Append &name=value, encoded. */
void ch_put_setting(struct buf *out, const char *name, struct slice value);

#endif
