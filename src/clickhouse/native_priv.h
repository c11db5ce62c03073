/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of the native client: native_conn.c (socket, deadlines, handshake, fail-over) and
 * native.c (requests). */
#ifndef WH_CLICKHOUSE_NATIVE_PRIV_H
#define WH_CLICKHOUSE_NATIVE_PRIV_H

#include "clickhouse/tls_client.h"
#include "clickhouse/wire.h"

#define CH_NATIVE_MAGIC 0x63684e61u

struct ch_native {
    uint32_t magic;
    const struct ch_options *options;
    struct ch_identity identity;
    char host[256];          /* our own name, for the server's query log */
    uint32_t endpoint;       /* of the open connection, or the one to try first */
    int fd;                  /* −1: not connected */
    struct ch_tls_conn *tls; /* over fd; NULL: plain */
    bool lz4;                /* the open connection travels in LZ4 frames */
    bool block_started;      /* a byte of the current INSERT's block may have left */
    struct ch_server server;
    struct ch_decoder decoder;
    struct buf rx; /* received; [rx_pos, len) not yet decoded */
    size_t rx_pos;
    struct buf tx;    /* to send: small packets, or a few frames */
    struct buf plain; /* the INSERT's block before compression */
};

/* Fill *e; the text becomes one line of valid UTF-8, cut to fit. Returns outcome. */
enum ch_outcome ch_fail(struct ch_error *e, enum ch_outcome outcome, int32_t code, const char *fmt,
                        ...) __attribute__((format(printf, 4, 5)));
/* A server's exception, classified. */
enum ch_outcome ch_fail_exception(struct ch_error *e, int32_t code, struct slice text);
/* A broken connection or protocol: rc as the functions below return it, what: "reading the answer".
 */
enum ch_outcome ch_fail_broken(struct ch_native *c, struct ch_error *e, int rc, const char *what);

/* False when the idle connection was closed by the other side, or has bytes nobody asked for. */
bool ch_conn_is_idle(struct ch_native *c);

/* Send n bytes, reading whatever arrives in the meantime. *started (may be NULL) becomes true with
 * the first byte that the system took. 0; WH_EREMOTE: the server sent an exception instead of
 * waiting, *e is filled; -ETIMEDOUT after io_timeout_ms without progress; -errno; or a decoder's
 * code. */
int ch_conn_send(struct ch_native *c, struct slice data, bool *started,
                 struct ch_error *e) WH_MUST_CHECK;

/* The next packet that means something to an inserter: Progress, Log, ProfileEvents, ProfileInfo,
 * TableColumns and TimezoneUpdate are dropped. Blocks until it is there, at most io_timeout_ms
 * without a byte. 0, WH_EREMOTE (an exception; *e is filled), -ETIMEDOUT, -ECONNRESET (also: end of
 * stream), -errno or a decoder's code. Slices in *out are valid until the next call. */
int ch_conn_next(struct ch_native *c, struct ch_packet *out, struct ch_error *e) WH_MUST_CHECK;
/* The same for an answer that takes a server no work: at most connect_timeout_ms. */
int ch_conn_next_soon(struct ch_native *c, struct ch_packet *out, struct ch_error *e) WH_MUST_CHECK;

#endif
