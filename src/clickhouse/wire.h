/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the native protocol (clickhouse-native §1–§8), without a socket: encoders append to
 * a buffer, the decoder takes whole packets off received bytes. Private to the room, its unit tests
 * and its fuzz target.
 *
 * What a server sends is hostile input here: every length is checked against what is there and
 * against a limit before anything is allocated. */
#ifndef WH_CLICKHOUSE_WIRE_H
#define WH_CLICKHOUSE_WIRE_H

#include "base/buf.h"
#include "clickhouse/native.h"

/* The first revision that knows a thing (clickhouse-native §11). */
enum {
    CH_REV_TIMEZONE = 54058,
    CH_REV_DISPLAY_NAME = 54372,
    CH_REV_PATCH = 54401,
    CH_REV_WRITTEN_ROWS = 54420,
    CH_REV_TEXT_SETTINGS = 54429,
    CH_REV_SECRET = 54441,
    CH_REV_OPENTELEMETRY = 54442,
    CH_REV_DEPTH = 54448,
    CH_REV_START_TIME = 54449,
    CH_REV_PARALLEL_REPLICAS = 54453,
    CH_REV_CUSTOM_BYTE = 54454,
    CH_REV_ADDENDUM = 54458,
    CH_REV_PARAMETERS = 54459,
    CH_REV_QUERY_TIME = 54460,

    CH_REV_OLDEST = 54412, /* 18.16; older servers are refused */
    CH_REV_OURS = 54460    /* the last one that brings an inserter anything */
};

enum {
    CH_C_HELLO = 0,
    CH_C_QUERY = 1,
    CH_C_DATA = 2,
    CH_C_PING = 4,

    CH_S_HELLO = 0,
    CH_S_DATA = 1,
    CH_S_EXCEPTION = 2,
    CH_S_PROGRESS = 3,
    CH_S_PONG = 4,
    CH_S_END = 5,
    CH_S_PROFILE_INFO = 6,
    CH_S_TOTALS = 7,
    CH_S_EXTREMES = 8,
    CH_S_LOG = 10,
    CH_S_TABLE_COLUMNS = 11,
    CH_S_PROFILE_EVENTS = 14,
    CH_S_TIMEZONE = 17
};

/* A server packet longer than this closes the connection. The longest honest ones: the sample block
 * of a table with thousands of columns, an exception with a stack trace. */
#define CH_PACKET_BYTES_MAX  ((size_t)8 << 20)
#define CH_BLOCK_COLUMNS_MAX 65536
#define CH_BLOCK_ROWS_MAX    1000000 /* of Log and ProfileEvents blocks, which are skipped */
#define CH_NESTED_MAX        32      /* exceptions inside an exception */
#define CH_FRAME_PLAIN       ((size_t)1 << 20) /* plain bytes in a frame that we send */

/* ---- encoding ---- */

void ch_put_varint(struct buf *b, uint64_t v);
void ch_put_string(struct buf *b, struct slice s);
void ch_put_cstring(struct buf *b, const char *s);
/* `name`, with \ and ` escaped. */
void ch_put_identifier(struct buf *b, struct slice name);

/* Who we say we are. */
struct ch_identity {
    const char *name; /* of the client */
    const char *os_user, *host;
    uint32_t major, minor;
    uint32_t revision; /* our own, not the effective one */
};

struct ch_setting {
    const char *name, *value;
    bool important; /* a server that does not know it must refuse the query */
};

void ch_put_hello(struct buf *b, const struct ch_identity *id, const char *database,
                  const char *user, const char *password);
void ch_put_addendum(struct buf *b, uint32_t revision);
/* Without the empty Data packet that must follow. Settings are left out below CH_REV_TEXT_SETTINGS.
 */
void ch_put_query(struct buf *b, const struct ch_identity *id, uint32_t revision,
                  const struct ch_setting *settings, uint32_t setting_count, bool compression,
                  struct slice sql);
/* Code and table name of a Data packet; the block follows, framed or not. */
void ch_put_data_head(struct buf *b);
/* Block info, column and row count. */
void ch_put_block_head(struct buf *b, uint64_t column_count, uint64_t row_count);

enum ch_framing {
    CH_FRAMES_OFF,
    CH_FRAMES_PLAIN,
    CH_FRAMES_LZ4
};
/* One whole empty Data packet. */
void ch_put_empty_data(struct buf *b, enum ch_framing framing);

/* ---- frames (compress.c) ---- */

/* Append one frame with the n plain bytes at p, 1 ≤ n ≤ CH_FRAME_PLAIN. acceleration: liblz4's,
 * from 1 (smallest) on. */
void ch_put_frame(struct buf *b, enum ch_framing framing, const void *p, size_t n,
                  int acceleration);
/* Take one frame off the front of in, appending its plain bytes to out. 0 with *used bytes taken,
 * WH_EAGAIN when it is not all there, WH_ECORRUPT, WH_ELIMIT, WH_EUNSUPPORTED (method), -ENOMEM. */
int ch_frame_take(struct slice in, size_t *used, struct buf *out) WH_MUST_CHECK;

/* ---- decoding ---- */

struct ch_hello {
    uint32_t major, minor, patch, revision; /* revision: the server's own */
    char timezone[64];
};

struct ch_packet {
    uint64_t code;                          /* CH_S_… */
    struct ch_hello hello;                  /* CH_S_HELLO */
    int32_t exception;                      /* CH_S_EXCEPTION: number of the outermost one */
    struct slice text;                      /* CH_S_EXCEPTION: its message */
    const struct ch_sample_column *columns; /* CH_S_DATA */
    uint32_t column_count;
    uint64_t row_count; /* CH_S_DATA: always 0, a header or an empty block */
};

struct ch_decoder {
    uint32_t our_revision; /* what we advertised */
    uint32_t revision;     /* effective; our_revision until the Hello is read */
    bool framed;           /* Data packets come in frames */
    struct buf plain;      /* of a framed block */
    struct ch_sample_column *columns;
    uint32_t column_cap;
};

void ch_decoder_init(struct ch_decoder *d, uint32_t our_revision);
void ch_decoder_fini(struct ch_decoder *d);
/* Take one packet off the front of in. 0 with *used bytes taken and *out filled; slices in it are
 * valid until in changes or the next call. WH_EAGAIN: not all there yet. WH_ESYNTAX, WH_ELIMIT,
 * WH_ECORRUPT, WH_EUNSUPPORTED, -ENOMEM: the connection is of no use any more. */
int ch_packet_take(struct ch_decoder *d, struct slice in, size_t *used,
                   struct ch_packet *out) WH_MUST_CHECK;

#endif
