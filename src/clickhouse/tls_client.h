/* SPDX-License-Identifier: Apache-2.0 */
/* TLS towards ClickHouse's native port, behind names of ours; tls_client.c is the one file of this
 * room that names mbedtls. Over HTTP libcurl has TLS of its own, with the same settings
 * (http_tls.c).
 *
 *   ch_tls        whom to believe: authorities, read and parsed once; shared by all connections
 *   ch_tls_conn   one connection; looks like the socket's recv and send
 *
 * TLS 1.2 with ECDHE and AEAD suites only (mbedtls 2.28, Debian 12's, has no TLS 1.3). The server's
 * certificate must be signed by one of the authorities and be for the host that was asked for: a
 * name by its DNS names (without any, its common name), an address by its IP addresses. Nothing
 * here blocks or waits. */
#ifndef WH_CLICKHOUSE_TLS_CLIENT_H
#define WH_CLICKHOUSE_TLS_CLIENT_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>

/* ---- whom to believe: any thread; counted, immutable ---- */

#define CH_TLS_SYSTEM_CA "/etc/ssl/certs/ca-certificates.crt" /* of the package ca-certificates */

struct ch_tls_options {
    struct slice ca;     /* PEM, all authorities; len 0 only with insecure_skip_verify */
    const char *ca_name; /* the file that it comes from; for messages */
    /* It is the system's store: authorities in it that mbedtls cannot read (others were made for)
     * are passed over, and libcurl reads the file itself. */
    bool ca_is_system;
    bool insecure_skip_verify; /* any certificate will do */
};

struct ch_tls;
/* Copies what o points to. On success one reference in *out. WH_ESYNTAX with a sentence in e: not
 * PEM; -ENOMEM. */
int ch_tls_new(struct ch_tls **out, const struct ch_tls_options *o, struct err *e) WH_MUST_CHECK;
struct ch_tls *ch_tls_ref(struct ch_tls *x);
void ch_tls_unref(struct ch_tls *x); /* NULL is fine */
/* The same authorities, byte by byte, and the same strictness? NULL: no TLS. */
bool ch_tls_same(const struct ch_tls *a, const struct ch_tls *b);
/* As given to ch_tls_new; valid while the reference is held. */
const struct ch_tls_options *ch_tls_options(const struct ch_tls *x);

/* ---- one connection: one owner thread at a time ---- */

struct ch_tls_conn;
/* fd is a non-blocking connected socket and stays the caller's; host is a name or an address. A
 * reference to x is held until free. NULL: no memory. */
struct ch_tls_conn *ch_tls_conn_new(struct ch_tls *x, int fd, const char *host);
void ch_tls_conn_free(struct ch_tls_conn *t); /* NULL is fine; sends nothing */

/* Go on with the handshake. 0: done; WH_EAGAIN: again after poll(ch_tls_conn_events); another code:
 * the connection is of no use, and e says why, in words for the operator. */
int ch_tls_conn_handshake(struct ch_tls_conn *t, struct err *e) WH_MUST_CHECK;
/* As recv and send of a non-blocking socket: how many bytes (at least one), WH_EAGAIN,
 * -ECONNRESET at the end of the stream, -EPROTO when the other side does not follow TLS, or -errno.
 * WH_EAGAIN of read means that nothing decrypted is left either; it comes also, with more in the
 * socket, from a peer that sends much and no data. After WH_EAGAIN of write the same
 * bytes must come again (more may follow): their record is on its way. */
int ch_tls_conn_read(struct ch_tls_conn *t, void *at, size_t room) WH_MUST_CHECK;
int ch_tls_conn_write(struct ch_tls_conn *t, const void *data, size_t len) WH_MUST_CHECK;
/* What to poll for after the last WH_EAGAIN: POLLIN or POLLOUT. In a handshake it is one or the
 * other; read and write, which renegotiate nothing, wait as those of a socket do. */
short ch_tls_conn_events(const struct ch_tls_conn *t);
/* Bytes have come that no poll will announce: decrypted ones, or a part of a record. */
bool ch_tls_conn_pending(const struct ch_tls_conn *t);
/* Say that nothing more comes from us, as far as the socket takes it. */
void ch_tls_conn_close_notify(struct ch_tls_conn *t);

#endif
