/* SPDX-License-Identifier: Apache-2.0 */
/* TLS for clients, behind names of ours; tls.c is the one file that names mbedtls' TLS.
 *
 *   http_tls_material   certificate, key, client CA as read and checked by the daemon; shared
 *   http_tls_context    one per socket loop, made from material; never shared
 *   http_tls            one per connection; looks like the socket's recv and sendmsg
 *
 * TLS 1.2 with ECDHE and AEAD suites only (mbedtls 2.28, Debian 12's, has no TLS 1.3). Sessions are
 * resumed by ticket, whose keys live as long as the context. Never blocks. */
#ifndef WH_HTTP_TLS_H
#define WH_HTTP_TLS_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* ---- material: any thread; counted, immutable ---- */

struct http_tls_material;
/* Each text is PEM; names are for messages. client_ca with len 0: no client certificates.
 * WH_ESYNTAX with a sentence in e: not PEM, key and certificate do not belong together, expired is
 * only warned about. */
struct http_tls_pem {
    struct slice text;
    const char *name;
};
int http_tls_material_new(struct http_tls_material **out, const struct http_tls_pem *certificate,
                          const struct http_tls_pem *key, const struct http_tls_pem *client_ca,
                          struct err *e) WH_MUST_CHECK;
struct http_tls_material *http_tls_material_ref(struct http_tls_material *m);
void http_tls_material_unref(struct http_tls_material *m); /* NULL is fine; the key is wiped */
/* Same bytes? */
bool http_tls_material_same(const struct http_tls_material *a, const struct http_tls_material *b);
/* When the certificate ends, "2027-01-31 12:00:00" UTC; days until then, negative when it is over.
 */
void http_tls_material_end(const struct http_tls_material *m, int64_t now_s, char text[24],
                           int64_t *days);

/* ---- context: one loop's thread; counted, because connections outlive a reload ---- */

struct http_tls_context;
int http_tls_context_new(struct http_tls_context **out, struct http_tls_material *m,
                         struct err *e) WH_MUST_CHECK;
struct http_tls_context *http_tls_context_ref(struct http_tls_context *x);
void http_tls_context_unref(struct http_tls_context *x); /* NULL is fine */

/* ---- one connection ---- */

struct http_tls;
/* fd stays the caller's. NULL: no memory. */
struct http_tls *http_tls_new(struct http_tls_context *x, int fd);
void http_tls_free(struct http_tls *t); /* NULL is fine */
/* The handshake is done. */
bool http_tls_is_open(const struct http_tls *t);
/* As recv(2) and sendmsg(2) on a non-blocking socket: -1 and errno EAGAIN, or another errno when
 * the connection is of no use any more (EPROTO: the other side does not follow TLS, or is refused).
 * recv also shakes hands. After EAGAIN of send the same bytes must come again, more may follow. */
ssize_t http_tls_recv(struct http_tls *t, void *at, size_t room);
ssize_t http_tls_send(struct http_tls *t, const struct iovec *iov, size_t count);
/* Bytes are here that no readiness of the socket will announce. */
bool http_tls_pending(const struct http_tls *t);
/* recv could not go on because the socket takes no more bytes: call it again when it does. */
bool http_tls_wants_write(const struct http_tls *t);
/* Say that nothing more comes from us; as far as the socket takes it. */
void http_tls_close_notify(struct http_tls *t);
/* Is this what a client says that takes the port for a plain one? first: its first byte. */
bool http_tls_is_plain(unsigned char first);

#endif
