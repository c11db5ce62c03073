/* SPDX-License-Identifier: Apache-2.0 */
/* ClickHouse native TCP client: what an inserter needs (clickhouse-native §0–§9).
 *
 * One connection, one request at a time, blocking with a deadline, one owner thread at a time.
 * Revision 54460 is advertised; everything from 54412 (18.16) on is spoken. After an exception in
 * an INSERT the connection is closed; ch_native_insert opens it again when needed. */
#ifndef WH_CLICKHOUSE_NATIVE_H
#define WH_CLICKHOUSE_NATIVE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "clickhouse/sink.h"

#include <stdbool.h>
#include <stdint.h>

/* How an operation on ClickHouse ended, and so what to do next (clickhouse-native §10). */
enum ch_outcome {
    CH_OK,
    CH_UNAVAILABLE,  /* connect, network, overload, memory, keeper …: same block again, backoff */
    CH_UNKNOWN_FATE, /* cut after data was out: same block, same token again */
    CH_TOO_MANY_PARTS,   /* 252: long backoff */
    CH_SPLIT_PARTITIONS, /* 252 "Too many partitions for single INSERT block": split the block */
    CH_SCHEMA,           /* table, column, setting unknown: refresh, retry once, then dead-letter */
    CH_DATA,             /* the rows: bisect, dead-letter */
    CH_CONFIG,           /* credentials, rights: stop, alarm, never dead-letter */
    CH_BUG               /* our side: dead-letter after a few retries, alarm */
};

struct ch_error {
    enum ch_outcome outcome;
    int32_t code;    /* ClickHouse's number; 0 when it is not from ClickHouse */
    char text[2048]; /* ClickHouse's text or ours; UTF-8, one line; of a long one both ends */
    /* ClickHouse met it while it pushed the rows on to a materialized view. The table that they
     * were sent to may have them. */
    bool from_view;
};

enum ch_outcome ch_classify(int32_t code, const char *text);
const char *ch_outcome_name(enum ch_outcome o); /* "unavailable", "data", … for metrics and logs */

struct ch_endpoint {
    char host[256];
    uint16_t port; /* native */
    uint16_t http_port;
};

struct ch_tls;
struct ch_options {
    const struct ch_endpoint *endpoints; /* fail-over in order; the last good one is tried first */
    uint32_t endpoint_count;
    const char *database, *username, *password;
    struct ch_tls *tls;     /* by TLS, and HTTPS, on its terms; NULL: plain */
    bool compress_lz4;      /* LZ4 frames, but not to a server on loopback: there they cost only */
    bool compress_loopback; /* there too; tests need frames */
    uint64_t connect_timeout_ms, io_timeout_ms;
    uint32_t revision;         /* 0: 54460; tests may advertise an older one */
    uint32_t lz4_acceleration; /* 0: the measured best (native.c) */
};

struct ch_native;
/* No I/O. options and what it points to stay valid until free. */
struct ch_native *ch_native_new(const struct ch_options *options);
void ch_native_free(struct ch_native *c);

struct ch_server {
    uint32_t revision; /* effective */
    uint32_t major, minor, patch;
    char timezone[64];
};
/* Connect if not connected. Blocks: connect, handshake. */
enum ch_outcome ch_native_connect(struct ch_native *c, struct ch_server *server,
                                  struct ch_error *e);
void ch_native_disconnect(struct ch_native *c);
/* Ping on the open connection, or connect. Blocks: connect_timeout_ms, since a server that lives
 * answers a Ping at once. */
enum ch_outcome ch_native_ping(struct ch_native *c, struct ch_error *e);

/* A column of the sample block that the server sent for an INSERT. Borrowed. */
struct ch_sample_column {
    struct slice name, type;
};

/* min_insert_block_size_rows and _bytes of an INSERT with `hold`: ClickHouse's own defaults. */
#define CH_HELD_ROWS  1048449
#define CH_HELD_BYTES 268402944

struct ch_insert {
    struct slice table;
    const struct slice *columns; /* names, in block order */
    uint32_t column_count;
    const char *token; /* insert_deduplication_token, or NULL; sent where the server knows it */
    /* Errors of materialized views do not fail the INSERT (servers that know the setting). */
    bool ignore_views;
    /* Whatever the user's profile says, a block of less than CH_HELD_ROWS and CH_HELD_BYTES is
     * written when the end of the data has come, not before. */
    bool hold;
    uint64_t row_count;
    /* Write the block body (column name, type, [custom byte], data for every column, in order of
     * `columns`) to sink, which sends while it is filled. `custom_byte`: revision ≥ 54454. Called
     * once. An error that sink gave is handed back; one of its own is CH_BUG. Types of the sample
     * are checked first against `types`; a difference is CH_SCHEMA. */
    const struct slice *types;
    int (*write_columns)(void *ctx, bool custom_byte, struct ch_sink *sink);
    void *ctx;
};
/* One INSERT of one block. Blocks. */
enum ch_outcome ch_native_insert(struct ch_native *c, const struct ch_insert *insert,
                                 struct ch_error *e);

/* The same in steps, so that a block can travel before it may count:
 *   send     everything but the end of the data
 *   end      the end of the data; does not wait for ClickHouse
 *   wait     the verdict
 *   cancel   instead of end: CH_OK when nothing of it is stored, else CH_UNKNOWN_FATE
 * Each after the one before has answered CH_OK; another answer ends the INSERT and the connection,
 * and so does cancel. Until the end has come ClickHouse stores nothing of an INSERT with `hold`, as
 * long as the connection stands. */
enum ch_outcome ch_native_insert_send(struct ch_native *c, const struct ch_insert *insert,
                                      struct ch_error *e);
enum ch_outcome ch_native_insert_end(struct ch_native *c, struct ch_error *e);
enum ch_outcome ch_native_insert_wait(struct ch_native *c, struct ch_error *e);
enum ch_outcome ch_native_insert_cancel(struct ch_native *c, struct ch_error *e);

/* ClickHouse's checksum of a compressed frame. */
struct ch_hash128 {
    uint64_t low, high;
};
struct ch_hash128 ch_cityhash128(const void *p, size_t n); /* CityHash 1.0.2 */

#endif
