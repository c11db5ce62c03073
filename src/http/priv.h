/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the http room: what server.c, conn.c and reply.c share.
 *
 *   server ──┬── lists by timeout class ── connections ── queue of requests in arrival order
 *            ├── shared read buffer (a connection owns input bytes only while a head is incomplete)
 *            └── pools: requests, connections, buffers, decoders
 *
 * A connection that waits between requests therefore holds its own struct and two libevent events,
 * nothing else. A request carries its head, a small body and a small answer inside itself; only
 * larger ones take a buffer from the pool.
 *
 * Nothing here closes a connection while a handler's callback runs: http_reply only fills the
 * answer, and conn_run, started from the loop, writes and closes. */
#ifndef WH_HTTP_PRIV_H
#define WH_HTTP_PRIV_H

#include "base/limits.h"
#include "base/magic.h"
#include "base/metric.h"
#include "http/chunked.h"
#include "http/decode.h"
#include "http/head.h"
#include "http/http.h"
#include "http/pool.h"
#include "http/tls.h"

#include <sys/uio.h>

/* Parse-ahead on one connection: enough to keep a pipelining client busy, small enough that it
 * cannot take the loop's memory, with bodies or with answers that it does not read. Past either
 * bound the connection is not read. */
#define HTTP_PIPELINE_MAX   64
#define HTTP_PIPELINE_BYTES (1 * MIB)

/* One recv takes at most this; also the longest input a connection may have to keep. */
#define HTTP_READ_BYTES (64 * KIB)
/* After that many reads of one connection in a row, others get their turn. */
#define HTTP_READS_PER_WAKE   16
#define HTTP_ACCEPTS_PER_WAKE 64
/* Connections written in a row before others may be read: about a millisecond. */
#define HTTP_RUNS_PER_WAKE 256

/* A body that nobody wants (answered at its head) is read past up to here, so that keep-alive
 * survives a 404; a longer one costs the connection. */
#define HTTP_SKIP_BYTES (64 * KIB)
/* A closing connection is read past that far and that long, so that a client that is still sending
 * reads its answer instead of a reset. */
#define HTTP_LINGER_BYTES (64 * MIB)
#define HTTP_LINGER_MS    5000
#define HTTP_LINGER_STOP_MS \
    500 /* while the server drains: the answer is out, a stop must not wait long */

/* All bodies of one loop together; beyond, new body bytes are refused with 503. */
#define HTTP_BODIES_BYTES (1 * GIB)
/* A body slower than this over a body timeout is refused with 408. */
#define HTTP_BODY_BYTES_PER_S 1024

/* Waiting after accept said that descriptors or memory ran out. */
#define HTTP_ACCEPT_PAUSE_MS 100

#define HTTP_REQUEST_ID_MAX   128
#define HTTP_REQUEST_ID_MADE  16
#define HTTP_INLINE_BYTES     4096 /* head and small body inside the request object */
#define HTTP_INLINE_OUT_BYTES 1024 /* small answer inside the request object */
#define HTTP_REQUESTS_KEPT    256  /* in the pool of a loop, when free */
#define HTTP_CONNS_KEPT       1024
/* Of each kind; a decoder with a large window is not kept. */
#define HTTP_DECODERS_KEPT      4
#define HTTP_DECODER_KEPT_BYTES (4 * MIB) /* what zstd's usual levels ask for fits */
#define HTTP_CONSTS             4
#define HTTP_PEER_CAP           56 /* "[" 45 "]:" 5 */
#define HTTP_CONST_HEAD_BYTES   256
#define HTTP_CONST_BODY_BYTES   512

#define HTTP_REQ_MAGIC    0x48525131u
#define HTTP_CONN_MAGIC   0x48434e31u
#define HTTP_SERVER_MAGIC 0x48535631u

/* While a stream is open, so much input waits behind it; then the connection is not read. */
#define HTTP_STREAM_AHEAD_BYTES LIMIT_HTTP_HEAD_BYTES
/* A stream whose client reads as fast as it is written lets others have their turn after this. */
#define HTTP_STREAM_TURN_BYTES (256 * KIB)

#define HTTP_STREAM_MAGIC 0x48535431u

struct event;
struct http_conn;

struct http_req {
    struct http_request pub; /* first: the handler's pointer is ours */
    uint32_t magic;
    bool dispatched; /* on_request was called; ours again at http_reply */
    bool replied;    /* out holds the whole answer */
    bool close;      /* the connection ends after this answer */
    bool keep_alive; /* the client's wish */
    bool http10;
    bool skip_close; /* answered at its head, it costs the connection: the body is too long */
    bool held;       /* http_request_hold */
    struct http_server *s;
    struct http_conn *c;
    struct http_req *next;      /* queue of the connection, or free list */
    struct http_stream *stream; /* out is only its head; it follows */
    struct slice origin;        /* Origin, for CORS */
    struct slice content_encoding;
    uint64_t body_max;
    /* Each of these points into this struct (inl, out_inl), or to a buffer of the pool of _cap
     * bytes; _cap is 0 for the former. */
    char *head, *body, *out;
    size_t head_cap, body_cap, out_cap;
    size_t head_len;
    size_t body_room; /* bytes at body, padding included */
    size_t out_len, out_sent;
    char id[HTTP_REQUEST_ID_MADE];
    struct http_field fields[LIMIT_HTTP_FIELDS];
    char out_inl[HTTP_INLINE_OUT_BYTES];
    char inl[HTTP_INLINE_BYTES];
};

/* What the connection is reading. */
enum http_rx {
    HTTP_RX_HEAD,
    HTTP_RX_LENGTH,  /* a body of rx_left bytes */
    HTTP_RX_CHUNKED, /* a body in chunks */
    HTTP_RX_END      /* nothing more will be parsed */
};

/* Which clock runs. Each open connection is in exactly one list; a list is in order of since_ms,
 * because all its members have the same patience. */
enum http_wait {
    HTTP_WAIT_NONE, /* for the handler: its business */
    HTTP_WAIT_IDLE,
    HTTP_WAIT_HEAD, /* from the head's first byte */
    HTTP_WAIT_BODY,
    HTTP_WAIT_WRITE,
    HTTP_WAIT_LINGER,
    HTTP_WAITS
};

struct http_conn {
    uint32_t magic;
    int fd; /* -1 once closed; the object stays while the handler holds requests */
    struct http_server *s;
    struct http_tls *tls;             /* NULL: plain */
    struct event *ev_read, *ev_write; /* in the same allocation, behind this struct */
    bool reading, writing;            /* the event is added */
    bool running;                     /* conn_run or a read is on the stack: it will flush */
    bool dirty;                       /* in the server's dirty list */
    bool eof;                         /* the client has shut down its sending side */
    bool done;                        /* no answer will be written any more */
    bool lingering;                   /* our side is shut down; reading until the client's is */
    bool blocked;                     /* the socket's send buffer was full */
    bool shut;                        /* no further head is parsed */
    bool rewind;                      /* the clock of this wait starts again */
    bool control;                     /* came in by the control socket */
    bool held;                        /* a request of it is */
    uint8_t label;                    /* of the listener */
    uint8_t peer_len;
    enum http_rx rx;
    enum http_wait wait;
    uint64_t since_ms; /* when wait began */
    struct http_conn *prev, *next, *dirty_next;

    struct http_stream *stream;    /* its head is out; before the queue */
    uint32_t streams;              /* that one, and those whose heads wait in the queue */
    struct http_req *first, *last; /* queue in arrival order */
    uint32_t queued;
    size_t queued_bytes; /* in the queue: bodies with the handler, and answers */

    struct http_req *cur; /* the request whose body is being read; NULL when it is skipped */
    uint64_t rx_left;     /* RX_LENGTH */
    uint64_t rx_bytes;    /* of this body so far, as transferred */
    uint64_t rx_mark;     /* rx_bytes when the body clock was last wound */
    uint32_t tx_mark;     /* bytes that the kernel held when the write clock was last wound */
    struct http_chunked chunked;
    struct http_decoder *decoder; /* the body is compressed */
    size_t decoder_bytes;         /* of it, counted in bodies_bytes */

    char *in; /* unparsed input, from the pool; NULL when there is none */
    size_t in_len, in_cap;
    struct http_scan scan;    /* how far the incomplete head was looked at */
    uint64_t lingered;        /* bytes read past */
    char peer[HTTP_PEER_CAP]; /* "127.0.0.1:5123", "[::1]:5123" */
};

/* An answer that is always the same, up to its id: everything before the id. */
struct http_const {
    struct slice body;
    uint64_t date_s; /* the second the head was made for */
    size_t head_len;
    char head[HTTP_CONST_HEAD_BYTES];
};

struct http_list {
    struct http_conn *first, *last;
};

struct http_loop; /* libevent's part of the server, see server.c */

struct http_server {
    uint32_t magic;
    struct http_loop *loop;
    struct http_handler handler;
    struct http_options options;
    bool draining, freed, drained_said;
    void (*on_drained)(void *);
    void *drained_arg;

    struct http_list lists[HTTP_WAITS];
    struct http_conn *dirty, *dirty_last;
    uint32_t conn_count;
    uint32_t conn_peak;    /* most since the heap was last trimmed */
    bool crowd;            /* conn_peak is of one that is going */
    bool trim_due;         /* at the next tick */
    size_t freed_bytes;    /* by the pool since the heap was last trimmed */
    uint64_t handed_out;   /* requests the handler holds */
    uint64_t bodies_bytes; /* and of the decoders at work on them */

    uint64_t now_ns; /* monotonic, of this wake */
    uint64_t date_next_ns;
    uint64_t date_s;
    char date[40]; /* "Date: …\r\n" */
    size_t date_len;
    uint64_t id_next, id_seed;

    struct http_pool pool;
    struct http_req *free_reqs;
    uint32_t free_req_count;
    struct http_conn *free_conns;
    uint32_t free_conn_count;
    struct http_decoder *decoders[HTTP_DECODER_KINDS][HTTP_DECODERS_KEPT];
    uint32_t decoder_count[HTTP_DECODER_KINDS];
    bool decoders_used; /* since the last trim */
    struct http_const consts[HTTP_CONSTS];
    uint32_t const_next;

    struct metric *m_connections;
    struct metric *m_refused[HTTP_REFUSALS];
    char read[HTTP_READ_BYTES];
};

/* server.c */
void http_server_clock(struct http_server *s);
/* Have http_conn_run called for c before the loop waits again. */
void http_server_run_soon(struct http_server *s, struct http_conn *c);
/* A connection's socket was closed: room for another. */
void http_server_closed_one(struct http_server *s);
/* A handler gave back its last word: frees a server that waits for that. */
void http_server_request_back(struct http_server *s);
/* A connected, non-blocking socket becomes a connection; the fd is closed on failure. 0, -ENOMEM.
 */
int http_server_take_fd(struct http_server *s, int fd, const struct http_listener *from,
                        const char *peer) WH_MUST_CHECK;
struct event_base *http_server_base(struct http_server *s);

/* conn.c, called by the loop */
struct http_conn *http_conn_new(struct http_server *s, int fd, const struct http_listener *from,
                                const char *peer);
/* Close now. Requests the handler holds live on, and the object with them. */
void http_conn_close(struct http_conn *c);
/* Write what is ready, parse what is kept, set events and clocks; frees a closed one that nothing
 * refers to any more. */
void http_conn_run(struct http_conn *c);
void http_conn_expired(struct http_conn *c);
void http_conn_reset_on_close(struct http_conn *c); /* the client sees that it was cut off */
bool http_conn_is_idle(const struct http_conn *c);
void http_conn_unlink(struct http_conn *c, struct http_req *r); /* out of the queue */
/* Its last answer is out: requests behind it are dropped, those with the handler once replied. */
void http_conn_abandon(struct http_conn *c);
void http_conn_free(struct http_conn *c); /* closed and empty */
void http_conn_pool_free(struct http_server *s);

/* recv.c: from bytes to requests */
void http_recv_ready(struct http_conn *c); /* the socket is readable */
void http_recv_kept(struct http_conn *c);  /* parse kept input as far as bounds allow */
bool http_recv_wanted(const struct http_conn *c);
bool http_recv_parses(const struct http_conn *c); /* a head that arrives now is looked at */
void http_recv_refuse(struct http_conn *c, enum http_refusal why); /* the input ends with this */
void http_recv_stop(struct http_conn *c); /* drop what is being read; nothing more is parsed */

/* Called with http_pool_trim: gives back one idle decoder of each kind if none was needed since.
 * True when some are still kept. */
bool http_recv_trim(struct http_server *s);

/* send.c: answers in order. False: the connection was closed. */
bool http_send_ready(struct http_conn *c);

/* stream.c: answers in pieces, once their head is out */
/* Pieces of what the connection's stream has queued, at most max; returns how many. */
int http_stream_gather(const struct http_stream *s, struct iovec *iov, int max);
void http_stream_sent(struct http_stream *s, size_t n); /* of these; may call the handler */
/* r's head is out: its stream takes its place, and r is gone. */
void http_stream_take_over(struct http_conn *c, struct http_req *r);
/* Bring the connection's stream to its end if it is time. False: the connection was closed. */
bool http_stream_settle(struct http_conn *c);
/* Out of the connection, before its end; the handler is not told yet: a list through next. */
void http_stream_lose(struct http_stream *s, struct http_stream **lost);
void http_stream_tell_lost(struct http_stream *lost);
/* The server drains and this stream must not keep it: no waiting for the socket. */
bool http_stream_hurries(const struct http_stream *s);

/* request.c: memory of requests */
struct http_req *http_req_new(struct http_conn *c); /* at the end of c's queue; NULL: no memory */
void http_req_free(struct http_req *r);             /* not in a queue any more */
/* 0, -ENOMEM */
int http_req_set_head(struct http_req *r, const char *p, size_t n) WH_MUST_CHECK;
/* Room for need body bytes (padding comes on top). 0, -ENOMEM, WH_EFULL over the loop's budget. */
int http_req_body_reserve(struct http_req *r, size_t need) WH_MUST_CHECK;
void http_req_body_drop(struct http_req *r);
/* Room for n more bytes of answer. 0, -ENOMEM */
int http_req_out_reserve(struct http_req *r, size_t n) WH_MUST_CHECK;
void http_req_pool_free(struct http_server *s);

/* reply.c */
void http_reply_id(struct http_req *r); /* settle request_id: the client's, or a new one */
void http_reply_refusal(struct http_req *r, enum http_refusal why);
void http_reply_options(struct http_req *r);
void http_reply_continue(struct http_req *r);
/* The answer's head without a length, and what hangs on it. 0; -ENOMEM, nothing was done; -EPIPE,
 * nobody waits for it and r is gone. */
int http_reply_stream(struct http_req *r, const struct http_reply *head) WH_MUST_CHECK;

#endif
