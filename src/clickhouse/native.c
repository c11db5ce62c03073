/* SPDX-License-Identifier: Apache-2.0 */
/* Requests over a native connection: INSERT of one block, and Ping.
 *
 *   C: Query, empty Data                      (one write)
 *   S: header Data = the sample block
 *   C: Data (the block, in frames), empty Data
 *   S: EndOfStream | Exception
 *
 * After an exception the connection is closed: the server may wait at a place nobody knows
 * (clickhouse-native §0). */
#include "clickhouse/native.h"

#include "base/magic.h"
#include "clickhouse/native_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK_BYTES_MAX ((size_t)1 << 30) /* of one INSERT, before compression */
#define SETTINGS_MAX    7
#define TEXT_OF(n)      #n
#define HELD(n)         TEXT_OF(n)
#define KEEP_BYTES_MAX  ((size_t)64 << 20)  /* a buffer over this is given back after the INSERT */
#define SEND_BYTES      ((size_t)512 << 10) /* frames are collected up to this before a send */

/* Measured with 100,000 rows (20 MB) of a web server's access log, nanoseconds of our CPU a row and
 * compression ratio: 1: 140, 7.4; 2: 135, 7.2; 4: 135, 6.9; 8: 129, 6.2; 16: 127, 5.3; 32:
 * 120, 4.3; without compression: 64 (and so it is to loopback). The server's CPU does not depend on
 * it (300 ns a row, ± 20). From 8 on the ratio falls faster than the cost. */
#define LZ4_ACCELERATION 8

struct ch_native *ch_native_new(const struct ch_options *options)
{
    struct ch_native *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    uint32_t revision = options->revision;
    if (revision == 0 || revision > CH_REV_OURS)
        revision = CH_REV_OURS;
    c->magic = CH_NATIVE_MAGIC;
    c->options = options;
    c->fd = -1;
    if (gethostname(c->host, sizeof(c->host) - 1) != 0)
        memcpy(c->host, "localhost", sizeof("localhost"));
    c->identity = (struct ch_identity){.name = "wavehoused",
                                       .os_user = "wavehoused",
                                       .host = c->host,
                                       .major = 0,
                                       .minor = 1,
                                       .revision = revision};
    ch_decoder_init(&c->decoder, revision);
    buf_init(&c->rx, CH_PACKET_BYTES_MAX + ((size_t)1 << 20));
    buf_init(&c->tx, BLOCK_BYTES_MAX);
    buf_init(&c->plain, BLOCK_BYTES_MAX);
    return c;
}

void ch_native_free(struct ch_native *c)
{
    if (c == NULL)
        return;
    /* Never while an INSERT is under way: an orderly end must not pass for the end of its data. */
    if (c->tls != NULL && !c->block_started)
        ch_tls_conn_close_notify(c->tls);
    ch_native_disconnect(c);
    ch_decoder_fini(&c->decoder);
    buf_fini(&c->rx);
    buf_fini(&c->tx);
    buf_fini(&c->plain);
    c->magic = 0;
    free(c);
}

/* A request ended badly: close, and say how. rc as ch_conn_next and ch_conn_send return it. */
static enum ch_outcome give_up(struct ch_native *c, struct ch_error *e, int rc, const char *what)
{
    enum ch_outcome o = rc == WH_EREMOTE ? e->outcome : ch_fail_broken(c, e, rc, what);
    ch_native_disconnect(c);
    return o;
}

/* Exceptions that say "this server, now": another endpoint, if there is one, is tried first next
 * time. */
static void prefer_other_endpoint(struct ch_native *c, int32_t code)
{
    static const int32_t codes[] = {202, 203, 225, 241, 242, 243, 999};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (code == codes[i])
            c->endpoint = (c->endpoint + 1) % c->options->endpoint_count;
}

enum ch_outcome ch_native_ping(struct ch_native *c, struct ch_error *e)
{
    CHECK_MAGIC(c, CH_NATIVE_MAGIC);
    if (c->fd >= 0 && !ch_conn_is_idle(c))
        ch_native_disconnect(c);
    if (c->fd < 0)
        return ch_native_connect(c, NULL, e); /* the handshake is as good as a Ping */
    struct ch_packet packet;
    c->block_started = false;
    buf_reset(&c->tx);
    ch_put_varint(&c->tx, CH_C_PING);
    int rc = ch_conn_send(c, buf_slice(&c->tx), NULL, e);
    if (rc == 0)
        rc = ch_conn_next_soon(c, &packet, e);
    if (rc == 0 && packet.code != CH_S_PONG)
        rc = WH_ESYNTAX;
    return rc == 0 ? CH_OK : give_up(c, e, rc, "ping");
}

/* ---- INSERT ---- */

static enum ch_outcome insert_failed(struct ch_native *c, struct ch_error *e, int rc,
                                     const char *what)
{
    enum ch_outcome o = give_up(c, e, rc, what);
    if (rc == WH_EREMOTE)
        prefer_other_endpoint(c, e->code);
    return o;
}

static bool server_at_least(const struct ch_native *c, uint32_t major, uint32_t minor)
{
    return c->server.major > major || (c->server.major == major && c->server.minor >= minor);
}

static enum ch_framing framing(const struct ch_native *c)
{
    return c->lz4 ? CH_FRAMES_LZ4 : CH_FRAMES_OFF;
}

static void put_insert_sql(struct buf *b, const char *database, const struct ch_insert *ins)
{
    buf_put_str(b, "INSERT INTO ");
    ch_put_identifier(b, slice_str(database));
    buf_put_str(b, ".");
    ch_put_identifier(b, ins->table);
    buf_put_str(b, " (");
    for (uint32_t i = 0; i < ins->column_count; i++) {
        if (i > 0)
            buf_put_str(b, ", ");
        ch_put_identifier(b, ins->columns[i]);
    }
    buf_put_str(b, ") VALUES");
}

/* Settings that decide the outcome are marked important, and so only sent to a server that knows
 * them; it would refuse the query otherwise. */
static uint32_t insert_settings(const struct ch_native *c, const struct ch_insert *ins,
                                struct ch_setting s[SETTINGS_MAX])
{
    uint32_t n = 0;
    if (server_at_least(c, 21, 11))
        s[n++] = (struct ch_setting){"async_insert", "0", true};
    s[n++] = (struct ch_setting){"insert_deduplicate", "1", true};
    if (ins->token != NULL && server_at_least(c, 22, 2))
        s[n++] = (struct ch_setting){"insert_deduplication_token", ins->token, true};
    if (ins->hold) {
        s[n++] = (struct ch_setting){"min_insert_block_size_rows", HELD(CH_HELD_ROWS), true};
        s[n++] = (struct ch_setting){"min_insert_block_size_bytes", HELD(CH_HELD_BYTES), true};
    }
    if (ins->ignore_views)
        s[n++] = (struct ch_setting){"materialized_views_ignore_errors", "1", false};
    s[n++] = (struct ch_setting){"send_profile_events", "0", false}; /* only saves work */
    return n;
}

/* Query and empty Data; then wait for the sample block. */
static int begin(struct ch_native *c, const struct ch_insert *ins, struct ch_packet *sample,
                 struct ch_error *e)
{
    struct ch_setting settings[SETTINGS_MAX];
    uint32_t setting_count = insert_settings(c, ins, settings);
    buf_reset(&c->plain);
    put_insert_sql(&c->plain, c->options->database, ins);
    buf_reset(&c->tx);
    ch_put_query(&c->tx, &c->identity, c->server.revision, settings, setting_count, c->lz4,
                 buf_slice(&c->plain));
    ch_put_empty_data(&c->tx, framing(c));
    if (!buf_ok(&c->tx) || !buf_ok(&c->plain))
        return -ENOMEM;
    c->decoder.framed = c->lz4;
    int rc = ch_conn_send(c, buf_slice(&c->tx), NULL, e);
    if (rc == 0)
        rc = ch_conn_next(c, sample, e);
    return rc == 0 && sample->code != CH_S_DATA ? WH_ESYNTAX : rc;
}

static enum ch_outcome check_sample(const struct ch_insert *ins, const struct ch_packet *sample,
                                    struct ch_error *e)
{
    if (sample->column_count != ins->column_count)
        return ch_fail(e, CH_SCHEMA, 0, "table %.*s: the server wants %u columns, the block has %u",
                       SLICE_ARG(ins->table), sample->column_count, ins->column_count);
    for (uint32_t i = 0; i < ins->column_count; i++) {
        const struct ch_sample_column *s = &sample->columns[i];
        if (!slice_eq(s->name, ins->columns[i]) || !slice_eq(s->type, ins->types[i]))
            return ch_fail(e, CH_SCHEMA, 0,
                           "table %.*s: the server wants column %.*s %.*s, the block has %.*s %.*s",
                           SLICE_ARG(ins->table), SLICE_ARG(s->name), SLICE_ARG(s->type),
                           SLICE_ARG(ins->columns[i]), SLICE_ARG(ins->types[i]));
    }
    return CH_OK;
}

/* The block on its way: plain bytes gather in c->plain, frames in c->tx, and are sent while the
 * rest is still to be written, so that the server works on one piece while we work on the next. */
struct insert_sink {
    struct ch_sink sink; /* out is c->plain */
    struct ch_native *c;
    struct ch_error *e;
    uint64_t bytes;
    int rc; /* of sending */
};

static int send_all(struct insert_sink *s, struct slice data)
{
    return s->rc = ch_conn_send(s->c, data, &s->c->block_started, s->e);
}

/* Frames out of *rest: full ones, or, when it is the last of the block, all. */
static int send_frames(struct insert_sink *s, struct slice *rest, bool last)
{
    struct ch_native *c = s->c;
    int acceleration =
        c->options->lz4_acceleration > 0 ? (int)c->options->lz4_acceleration : LZ4_ACCELERATION;
    while (rest->len >= CH_FRAME_PLAIN || (last && rest->len > 0)) {
        size_t n = rest->len < CH_FRAME_PLAIN ? rest->len : CH_FRAME_PLAIN;
        ch_put_frame(&c->tx, CH_FRAMES_LZ4, rest->ptr, n, acceleration);
        rest->ptr += n;
        rest->len -= n;
        if (!buf_ok(&c->tx))
            return s->rc = -ENOMEM;
        if (c->tx.len < SEND_BYTES)
            continue;
        if (send_all(s, buf_slice(&c->tx)) != 0)
            return s->rc;
        buf_reset(&c->tx);
    }
    return 0;
}

/* Fill the frame that c->plain has begun, then make frames straight out of the piece. */
static int drain_framed(struct insert_sink *s, struct slice piece)
{
    struct buf *plain = &s->c->plain;
    size_t n = plain->len >= CH_FRAME_PLAIN ? 0 : CH_FRAME_PLAIN - plain->len;
    n = plain->len == 0 ? 0 : n < piece.len ? n : piece.len;
    buf_put(plain, piece.ptr, n);
    piece.ptr += n;
    piece.len -= n;
    struct slice rest = buf_slice(plain);
    int rc = buf_ok(plain) ? send_frames(s, &rest, false) : -ENOMEM;
    if (rc == 0 && rest.len > 0)
        memmove(plain->ptr, rest.ptr, rest.len);
    plain->len = rest.len;
    if (rc == 0 && rest.len == 0)
        rc = send_frames(s, &piece, false);
    if (rc == 0)
        buf_put_slice(plain, piece);
    return rc != 0 ? rc : buf_ok(plain) ? 0 : -ENOMEM;
}

static int drain(struct ch_sink *sink, struct slice piece)
{
    struct insert_sink *s = (struct insert_sink *)sink;
    struct buf *plain = &s->c->plain;
    s->bytes += piece.len;
    if (s->bytes > BLOCK_BYTES_MAX)
        return WH_EFULL;
    if (s->c->lz4)
        return drain_framed(s, piece);
    if (!buf_ok(plain))
        return -ENOMEM;
    if (send_all(s, buf_slice(plain)) != 0)
        return s->rc;
    buf_reset(plain);
    return send_all(s, piece);
}

/* What has gathered. */
static int send_rest(struct insert_sink *s)
{
    struct ch_native *c = s->c;
    struct slice rest = buf_slice(&c->plain);
    int rc = c->lz4 ? send_frames(s, &rest, true) : 0;
    struct buf *last = c->lz4 ? &c->tx : &c->plain;
    return rc != 0 ? rc : buf_ok(last) ? send_all(s, buf_slice(last)) : -ENOMEM;
}

static enum ch_outcome send_block(struct ch_native *c, const struct ch_insert *ins,
                                  struct ch_error *e)
{
    struct insert_sink s = {.sink = {.out = &c->plain, .drain = drain}, .c = c, .e = e};
    buf_reset(&c->plain);
    buf_reset(&c->tx);
    ch_put_data_head(c->lz4 ? &c->tx : &c->plain);
    ch_put_block_head(&c->plain, ins->column_count, ins->row_count);
    int rc = ins->write_columns(ins->ctx, c->server.revision >= CH_REV_CUSTOM_BYTE, &s.sink);
    if (s.rc == 0 && (rc != 0 || !buf_ok(&c->plain))) {
        ch_native_disconnect(c);
        return ch_fail(e, CH_BUG, 0,
                       "table %.*s: cannot write the block (%s); the limit is %zu MiB",
                       SLICE_ARG(ins->table), err_text(rc != 0 ? rc : WH_EFULL),
                       BLOCK_BYTES_MAX >> 20);
    }
    rc = s.rc != 0 ? s.rc : send_rest(&s);
    return rc == 0 ? CH_OK : insert_failed(c, e, rc, "sending the block");
}

static void shrink(struct buf *b)
{
    if (b->cap > KEEP_BYTES_MAX) {
        size_t max = b->max;
        buf_fini(b);
        buf_init(b, max);
    }
}

enum ch_outcome ch_native_insert_send(struct ch_native *c, const struct ch_insert *ins,
                                      struct ch_error *e)
{
    CHECK_MAGIC(c, CH_NATIVE_MAGIC);
    must(ins->column_count > 0 && ins->row_count > 0);
    struct ch_packet sample;
    c->block_started = false;
    if (c->fd >= 0 && !ch_conn_is_idle(c))
        ch_native_disconnect(c);
    for (bool reused = c->fd >= 0;; reused = false) {
        enum ch_outcome o = ch_native_connect(c, NULL, e);
        if (o != CH_OK)
            return o;
        int rc = begin(c, ins, &sample, e);
        if (rc == 0)
            break;
        o = insert_failed(c, e, rc, "starting the INSERT");
        /* A connection that has died between two INSERTs may show it only now. No row was sent, so
         * this is no outcome yet; but a new connection gets no second chance. */
        if (!reused || rc == WH_EREMOTE || rc == -ETIMEDOUT || rc == -ENOMEM)
            return o;
    }
    enum ch_outcome o = check_sample(ins, &sample, e);
    if (o != CH_OK) {
        ch_native_disconnect(c); /* the server waits for a block that will not come */
        return o;
    }
    o = send_block(c, ins, e);
    shrink(&c->plain);
    shrink(&c->tx);
    return o;
}

enum ch_outcome ch_native_insert_end(struct ch_native *c, struct ch_error *e)
{
    CHECK_MAGIC(c, CH_NATIVE_MAGIC);
    must(c->fd >= 0 && c->block_started);
    buf_reset(&c->tx);
    ch_put_empty_data(&c->tx, framing(c));
    int rc = buf_ok(&c->tx) ? ch_conn_send(c, buf_slice(&c->tx), NULL, e) : -ENOMEM;
    return rc == 0 ? CH_OK : insert_failed(c, e, rc, "ending the INSERT");
}

enum ch_outcome ch_native_insert_wait(struct ch_native *c, struct ch_error *e)
{
    CHECK_MAGIC(c, CH_NATIVE_MAGIC);
    must(c->fd >= 0 && c->block_started);
    struct ch_packet packet;
    int rc = ch_conn_next(c, &packet, e);
    if (rc == 0 && packet.code != CH_S_END)
        rc = WH_ESYNTAX;
    if (rc != 0)
        return insert_failed(c, e, rc, "waiting for the end of the INSERT");
    c->block_started = false;
    return CH_OK;
}

/* A Hello where a block or the end is due: every server answers with an exception, and then nothing
 * of the INSERT is stored. Closing the connection says less: 18.16 takes the end of the stream for
 * the end of the data and stores the block, 26.7 does not (tests/e2e/clickhouse_test.c). */
enum ch_outcome ch_native_insert_cancel(struct ch_native *c, struct ch_error *e)
{
    CHECK_MAGIC(c, CH_NATIVE_MAGIC);
    must(c->fd >= 0 && c->block_started);
    struct ch_packet packet;
    buf_reset(&c->tx);
    ch_put_hello(&c->tx, &c->identity, c->options->database, c->options->username, "");
    int rc = buf_ok(&c->tx) ? ch_conn_send(c, buf_slice(&c->tx), NULL, e) : -ENOMEM;
    if (rc == 0)
        rc = ch_conn_next_soon(c, &packet, e);
    if (rc == 0)
        rc = WH_ESYNTAX;
    (void)give_up(c, e, rc, "cancelling the INSERT");
    return rc == WH_EREMOTE ? CH_OK : CH_UNKNOWN_FATE;
}

enum ch_outcome ch_native_insert(struct ch_native *c, const struct ch_insert *ins,
                                 struct ch_error *e)
{
    enum ch_outcome o = ch_native_insert_send(c, ins, e);
    if (o == CH_OK)
        o = ch_native_insert_end(c, e);
    return o == CH_OK ? ch_native_insert_wait(c, e) : o;
}
