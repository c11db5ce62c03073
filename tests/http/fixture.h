/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP server in the test's own thread, and clients over socket pairs or loopback.
 *
 * Nothing here sleeps: fixture_pump runs the server until it has nothing more to do.
 *
 *   path      handler
 *   /echo     200, "<METHOD> <target> <body>"
 *   /const    200, http_reply_json_const
 *   /early    403 at its head
 *   /defer    kept in held[], until the test calls fixture_reply
 *   /small    as /echo, but at most 16 bytes of body
 *   /close    200 and Connection: close
 *   /big      200 and FIXTURE_BIG_BYTES of 'b'
 *   /pieces   200 in pieces: "one", "two", then whole; with ?cut broken off after them
 *   /retry    503 with Retry-After
 *   others    404 */
#ifndef WH_TESTS_HTTP_FIXTURE_H
#define WH_TESTS_HTTP_FIXTURE_H

#include "base/buf.h"
#include "http/http.h"

#define FIXTURE_HELD_MAX  256
#define FIXTURE_BIG_BYTES ((size_t)2 << 20)

struct fixture {
    struct event_base *base;
    struct http_server *s;
    struct http_options options;
    int listen_fd;
    uint16_t port;
    struct http_request *held[FIXTURE_HELD_MAX];
    int held_count;
    struct buf seen; /* what the handler saw: "<METHOD> <target> <fields> <body>\n" per request */
};

/* listening: on a free loopback port too. Exits when anything fails. */
void fixture_init(struct fixture *f, const struct http_options *options, bool listening);
void fixture_fini(struct fixture *f); /* frees the server if the test has not */

int fixture_pair(struct fixture *f);             /* client end of a socket pair */
int fixture_connect(struct fixture *f);          /* over TCP, accepted */
void fixture_pump(struct fixture *f);            /* until quiet */
void fixture_wait_ms(struct fixture *f, int ms); /* let the server's timers run that long at most */

void fixture_send(struct fixture *f, int fd, const void *p, size_t n); /* and pump */
/* Append what has arrived at the client. 1: end of stream; 0: open; -1: reset. */
int fixture_recv(int fd, struct buf *out);
void fixture_reply(struct fixture *f, int held, const char *body); /* 200 to held[held] */

/* Values that differ from run to run become '*': Date, and ids that were generated. */
void fixture_normalise(struct buf *b);

#endif
