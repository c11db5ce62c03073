/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 server: connections, parsing, limits, answers (architecture §4, http-api §1–§3).
 *
 *   accept ─► parse head ─► on_head (route, body limit) ─► body collected ─► on_request
 *                                                                              │ http_reply… now,
 * or write ◄── answers in request order (pipelined ones are corked) ◄───────────┘ later, same loop
 *
 * One http_server per socket loop; all its callbacks run on that loop's thread, and all http_…
 * calls must be made there. A request object and everything it points to is valid until its reply
 * has been handed over (http_reply takes the answer's bytes by copy). If the client goes away
 * first, the request stays valid until replied and the reply is dropped: the handler needs no
 * cancel path. Requests of one connection are parsed ahead up to a bound, and answered strictly in
 * order. */
#ifndef WH_HTTP_HTTP_H
#define WH_HTTP_HTTP_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER
};

struct http_field {
    struct slice name;  /* as sent; compare with http_field_is */
    struct slice value; /* without surrounding white space */
};

struct http_request {
    enum http_method method;
    struct slice target; /* as sent */
    struct slice path;   /* target up to '?', still percent-encoded */
    struct slice query;  /* after '?', still percent-encoded; len 0 when none */
    const struct http_field *fields;
    uint32_t field_count;
    struct slice content_type; /* first Content-Type, or len 0 */
    struct slice request_id;   /* X-Request-ID as sent, or a generated one */
    struct slice peer;         /* "127.0.0.1:5123"; "uid 0" on the control socket */
    bool is_control;           /* came in by the control socket: the sender is the operator */
    bool is_tls;
    uint8_t label;        /* of the listener that it came in by */
    struct slice body;    /* complete, unchunked, decompressed; followed by LIMIT_JSON_PADDING
                             readable bytes */
    uint64_t received_ns; /* monotonic, at the head's last byte */
    void *user;           /* the handler's; starts NULL */
    bool identified;      /* the handler's; starts false */
    uint32_t mark;        /* the handler's; starts 0 */
};

/* What the handler decides once the head is known, before the body is read. */
struct http_admit {
    uint64_t body_max; /* bytes after decompression; beyond: 413 with http-api §1's text */
};

struct http_handler {
    void *ctx;
    /* The head is complete. Fill *admit (preset: LIMIT_OPS_BODY_BYTES) and return 0; or answer at
     * once with http_reply and return 1: a body that follows is drained (bounded) or the connection
     * closed. After 0 the request may still end without on_request (body refused, client gone), so
     * `user` must not own anything yet. */
    int (*on_head)(void *ctx, struct http_request *r, struct http_admit *admit);
    /* The request is complete: reply now or later. */
    void (*on_request)(void *ctx, struct http_request *r);
};

struct http_options {         /* reloadable: http_server_reconfigure */
    uint32_t connections_max; /* of this server (loop); further ones wait in the backlog */
    uint64_t idle_timeout_ms, header_timeout_ms, body_timeout_ms;
    struct http_tls_context *tls;     /* for HTTP_LISTEN_TLS; a reference is taken. NULL: none */
    bool cors_any;                    /* the allow-list has "*" */
    const struct slice *cors_origins; /* exact origins; owned by the caller until replaced */
    uint32_t cors_origin_count;
};

struct event_base;
struct http_server;
struct http_tls_context;

enum http_listen_kind {
    HTTP_LISTEN_PLAIN,
    HTTP_LISTEN_TLS,    /* http_options.tls says with which certificate */
    HTTP_LISTEN_CONTROL /* a unix socket whose mode decides who gets in */
};
struct http_listener {
    int fd; /* non-blocking */
    enum http_listen_kind kind;
    uint8_t label; /* the caller's; comes back in the requests */
};

/* base: of the calling thread's loop. The listeners are shared by all loops (each loop accepts from
 * all) and the caller's. */
int http_server_new(struct http_server **out, struct event_base *base,
                    const struct http_listener *listeners, int listen_count,
                    const struct http_handler *handler, const struct http_options *options,
                    struct err *e) WH_MUST_CHECK;
void http_server_reconfigure(struct http_server *s, const struct http_options *options);
/* Stop accepting; idle connections close now, busy ones after their last answer (Connection:
 * close). on_drained runs once none is left. */
void http_server_drain(struct http_server *s, void (*on_drained)(void *), void *arg);
void http_server_free(struct http_server *s); /* closes what is left */
uint32_t http_server_connections(const struct http_server *s);

/* Open a TCP listener: address is "127.0.0.1", "::1", "0.0.0.0", "::" or a host name; port 0 takes
 * a free one. *port_out gets the port. Returns through *fd. Any thread. */
int http_listen(const char *address, uint16_t port, int *fd, uint16_t *port_out,
                struct err *e) WH_MUST_CHECK;

/* The control socket at path: mode 0660, so owner and group may use it. A socket that nobody
 * answers at is replaced; -EADDRINUSE: another process does. Through *fd. Any thread. */
int http_listen_control(const char *path, int *fd, struct err *e) WH_MUST_CHECK;

struct http_reply {
    int status;
    const char *content_type; /* static text; NULL for none */
    struct slice extra; /* further header lines, each ended by CRLF, as bytes; usually empty */
    struct slice body;
    int retry_after_s; /* Retry-After when > 0 */
    bool close;
};
/* Hand over the answer, exactly once per request; the request object is gone afterwards. HEAD gets
 * the head of the GET's answer. Date, Content-Length, X-Request-ID, CORS and (for ≥ 400)
 * X-Content-Type-Options are added here. */
void http_reply(struct http_request *r, const struct http_reply *reply);
/* {"error":"<text>"} with the text escaped. */
void http_reply_error(struct http_request *r, int status, struct slice text, int retry_after_s);
/* 200 application/json from constant text: the fast path, no formatting. */
void http_reply_json_const(struct http_request *r, struct slice body);
/* The same with further header lines, each ended by CRLF. */
void http_reply_json_extra(struct http_request *r, struct slice extra, struct slice body);

/* ---- an answer in pieces: streams, large results ----------------------------------------------
 *
 * After http_stream_begin the request object is gone and the stream stands for it, until its
 * on_closed has been called or http_stream_end was. Bytes are queued and written as the client
 * reads; a writer looks at http_stream_queued and waits for on_room rather than queue without
 * bound. HTTP/1.1 clients get chunks, 1.0 clients a body that ends with the connection. No further
 * request of the connection is parsed while its stream is open.
 *
 * An open stream without queued bytes has no clock. With queued bytes it is as any answer: a client
 * that takes none of them for the body timeout is closed. */
struct http_stream;

struct http_stream_events {
    void *ctx;
    /* What is queued has fallen to room_bytes or less since more was. May write, and end. */
    void (*on_room)(void *ctx);
    /* Nobody reads any more: the stream is gone. Never from within a call of http_stream_…; not
     * called for http_stream_end. */
    void (*on_closed)(void *ctx);
    size_t room_bytes;
    /* A body that has no end of its own (server-sent events): a client that shuts down its sending
     * side is taken as gone, and a server that drains ends the stream at once. Otherwise such a
     * client still gets its answer, and draining waits for the end. */
    bool endless;
};

/* Bytes that several streams send: counted, immutable, freed with the last of them. On one loop's
 * thread only. */
struct http_block;
struct http_block *http_block_new(struct slice bytes); /* NULL: no memory, or no bytes */
struct http_block *http_block_ref(struct http_block *b);
void http_block_unref(struct http_block *b); /* NULL is fine */
struct slice http_block_bytes(const struct http_block *b);

/* Begin with the head; body, if any, is its first piece. Only for requests that on_request was
 * called for. 0; else there is no stream and the request is gone: -ENOMEM, it was answered 503;
 * -EPIPE, the client had left. A HEAD gets its head; on_closed follows. */
int http_stream_begin(struct http_request *r, const struct http_reply *head,
                      const struct http_stream_events *events,
                      struct http_stream **out) WH_MUST_CHECK;
/* Queue bytes, by copy or by reference. 0; -ENOMEM, WH_EFULL over HTTP_STREAM_BYTES_MAX: the stream
 * is then broken off as by http_stream_end(s, false). Nothing is written before the loop's turn
 * ends, so many small ones leave in one system call. */
#define HTTP_STREAM_BYTES_MAX ((size_t)64 << 20) /* three of the largest records */
int http_stream_write(struct http_stream *s, struct slice bytes) WH_MUST_CHECK;
int http_stream_write_block(struct http_stream *s, struct http_block *b) WH_MUST_CHECK;
size_t http_stream_queued(const struct http_stream *s); /* bytes not yet with the kernel */
/* whole: the body ends here, and the connection goes on; else what is queued is dropped and the
 * connection cut, so that the client sees that something is missing. The stream is gone. */
void http_stream_end(struct http_stream *s, bool whole);

/* The client has closed its connection, or at least its sending side, while the request waits for
 * its answer: work on it may be in vain. The reply is still owed. */
bool http_client_gone(const struct http_request *r);
/* Until http_request_release or the reply, no further request of r's connection is parsed, and
 * nothing is read from it beyond what has been: for a request that takes effect some turns later,
 * and must do so before those sent behind it. From within on_request, or later. */
void http_request_hold(struct http_request *r);
void http_request_release(struct http_request *r); /* one that is not held: nothing happens */

bool http_field_is(const struct http_field *f, const char *lower_name);
/* Look up a field by lower-case name; len 0 and ptr NULL when absent. */
struct slice http_field_get(const struct http_request *r, const char *lower_name);
/* Find key in an application/x-www-form-urlencoded query string and percent-decode its value into
 * dst. 1 found, 0 absent, WH_ESYNTAX bad escape, WH_ELIMIT does not fit. '+' stays '+' in
 * paths and becomes a space here. */
int http_query_get(struct slice query, const char *key, struct buf *dst) WH_MUST_CHECK;
/* The same for a key that may stand there more than once: *query moves behind what was found. */
int http_query_next(struct slice *query, const char *key, struct buf *dst) WH_MUST_CHECK;
int http_percent_decode(struct slice in, bool plus_is_space, struct buf *dst) WH_MUST_CHECK;

#endif
