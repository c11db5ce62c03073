/* SPDX-License-Identifier: Apache-2.0 */
/* Server packets (clickhouse-native §3, §5, §7.9). A packet is decoded from its first byte each
 * time more of it has come: packets are small, and there is no half-decoded state to keep or to get
 * wrong. */
#include "base/le.h"
#include "clickhouse/wire.h"

#include <errno.h>
#include <stdlib.h>

/* A place in received bytes. The first failure sticks and later reads give zeros, so that a run of
 * reads is checked once. */
struct reader {
    const unsigned char *p, *end;
    int rc;
};

static const unsigned char *take(struct reader *r, uint64_t n)
{
    if (r->rc != 0)
        return NULL;
    if (n > (uint64_t)(r->end - r->p)) {
        r->rc = n > CH_PACKET_BYTES_MAX ? WH_ELIMIT : WH_EAGAIN;
        return NULL;
    }
    const unsigned char *p = r->p;
    r->p += n;
    return p;
}

static uint8_t take_u8(struct reader *r)
{
    const unsigned char *p = take(r, 1);
    return p != NULL ? *p : 0;
}

static uint64_t take_varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned int shift = 0; shift < 64; shift += 7) {
        uint8_t byte = take_u8(r);
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return r->rc == 0 ? v : 0;
    }
    r->rc = r->rc != 0 ? r->rc : WH_ESYNTAX;
    return 0;
}

static uint32_t take_varint32(struct reader *r)
{
    uint64_t v = take_varint(r);
    if (v > UINT32_MAX) {
        r->rc = WH_ESYNTAX;
        return 0;
    }
    return (uint32_t)v;
}

static struct slice take_string(struct reader *r)
{
    uint64_t n = take_varint(r);
    const unsigned char *p = take(r, n);
    return p != NULL ? (struct slice){(const char *)p, (size_t)n} : (struct slice){NULL, 0};
}

static void fail(struct reader *r, int rc)
{
    if (r->rc == 0)
        r->rc = rc;
}

static void take_hello(struct ch_decoder *d, struct reader *r, struct ch_hello *h)
{
    (void)take_string(r); /* "ClickHouse" */
    h->major = take_varint32(r);
    h->minor = take_varint32(r);
    h->revision = take_varint32(r);
    if (r->rc != 0)
        return;
    uint32_t revision = h->revision < d->our_revision ? h->revision : d->our_revision;
    struct slice zone = {NULL, 0};
    if (revision >= CH_REV_TIMEZONE)
        zone = take_string(r);
    if (revision >= CH_REV_DISPLAY_NAME)
        (void)take_string(r);
    if (revision >= CH_REV_PATCH)
        h->patch = take_varint32(r);
    /* We never advertise more than CH_REV_OURS, so nothing of what came later can follow. */
    if (zone.len >= sizeof(h->timezone))
        fail(r, WH_ELIMIT);
    if (r->rc != 0)
        return;
    if (zone.len > 0)
        memcpy(h->timezone, zone.ptr, zone.len);
    h->timezone[zone.len] = '\0';
    d->revision = revision;
}

static void take_exception(struct reader *r, struct ch_packet *out)
{
    uint8_t nested = 1;
    for (uint32_t depth = 0; nested != 0 && r->rc == 0; depth++) {
        if (depth == CH_NESTED_MAX) {
            fail(r, WH_ELIMIT);
            return;
        }
        const unsigned char *code = take(r, 4);
        (void)take_string(r); /* class */
        struct slice text = take_string(r);
        (void)take_string(r); /* stack */
        nested = take_u8(r);
        if (depth == 0 && code != NULL) {
            out->exception = (int32_t)le32_get(code);
            out->text = text;
        }
    }
}

/* Bytes of a value of the types that Log and ProfileEvents blocks are made of; 0: a String;
 * −1: not one of them. */
static int side_type_width(struct slice type)
{
    static const struct {
        const char *name;
        int width;
        bool prefix; /* parameters may follow */
    } types[] = {{"String", 0, false}, {"DateTime", 4, true}, {"DateTime64(", 8, true},
                 {"UInt8", 1, false},  {"UInt16", 2, false},  {"UInt32", 4, false},
                 {"UInt64", 8, false}, {"Int8", 1, false},    {"Int16", 2, false},
                 {"Int32", 4, false},  {"Int64", 8, false},   {"Enum8(", 1, true},
                 {"Float64", 8, false}};
    /* Longest names first would be another way; here a later prefix match wins over an earlier one.
     */
    int width = -1;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct slice name = slice_str(types[i].name);
        if (slice_eq(type, name) ||
            (types[i].prefix && type.len > name.len && memcmp(type.ptr, name.ptr, name.len) == 0))
            width = types[i].width;
    }
    return width;
}

static void skip_column(struct reader *r, struct slice type, uint64_t rows)
{
    int width = side_type_width(type);
    if (width < 0) {
        fail(r, WH_EUNSUPPORTED);
    } else if (width > 0) {
        (void)take(r, rows * (uint64_t)width);
    } else {
        for (uint64_t i = 0; i < rows && r->rc == 0; i++)
            (void)take_string(r);
    }
}

static bool grow_columns(struct ch_decoder *d, uint32_t n)
{
    if (n <= d->column_cap)
        return true;
    uint32_t cap = n < 64 ? 64 : n * 2;
    struct ch_sample_column *p = realloc(d->columns, cap * sizeof(*p));
    if (p == NULL)
        return false;
    d->columns = p;
    d->column_cap = cap;
    return true;
}

/* A block. With out: a header or an empty one, its columns are kept. Without: any, skipped. */
static void take_block(struct ch_decoder *d, struct reader *r, struct ch_packet *out)
{
    for (uint64_t field; (field = take_varint(r)) != 0;) {
        if (field > 2)
            fail(r, WH_ESYNTAX);
        (void)take(r, field == 1 ? 1 : 4);
    }
    uint64_t columns = take_varint(r), rows = take_varint(r);
    if (columns > CH_BLOCK_COLUMNS_MAX || rows > CH_BLOCK_ROWS_MAX)
        fail(r, WH_ELIMIT);
    if (out != NULL && rows > 0)
        fail(r, WH_EUNSUPPORTED); /* an INSERT gets no rows */
    for (uint32_t i = 0; i < columns && r->rc == 0; i++) {
        struct slice name = take_string(r), type = take_string(r);
        if (d->revision >= CH_REV_CUSTOM_BYTE && take_u8(r) != 0)
            fail(r, WH_EUNSUPPORTED);
        if (rows > 0)
            skip_column(r, type, rows);
        if (out == NULL || r->rc != 0)
            continue;
        if (!grow_columns(d, i + 1)) {
            fail(r, -ENOMEM);
            return;
        }
        d->columns[i] = (struct ch_sample_column){name, type};
    }
    if (out != NULL && r->rc == 0) {
        out->columns = d->columns;
        out->column_count = (uint32_t)columns;
        out->row_count = rows;
    }
}

/* A block in frames: as many as it takes until it is whole; it must end where a frame ends. */
static void take_framed_block(struct ch_decoder *d, struct reader *r, struct ch_packet *out)
{
    buf_reset(&d->plain);
    while (r->rc == 0) {
        size_t used = 0;
        struct slice rest = {(const char *)r->p, (size_t)(r->end - r->p)};
        r->rc = ch_frame_take(rest, &used, &d->plain);
        if (r->rc != 0)
            return;
        r->p += used;
        const unsigned char *plain = (const unsigned char *)d->plain.ptr;
        struct reader inner = {plain, plain + d->plain.len, 0};
        take_block(d, &inner, out);
        if (inner.rc == WH_EAGAIN)
            continue;
        r->rc = inner.rc == 0 && inner.p != inner.end ? WH_ESYNTAX : inner.rc;
        return;
    }
}

static void take_progress(const struct ch_decoder *d, struct reader *r)
{
    int n = d->revision >= CH_REV_QUERY_TIME ? 6 : d->revision >= CH_REV_WRITTEN_ROWS ? 5 : 3;
    while (n-- > 0)
        (void)take_varint(r);
}

static void take_body(struct ch_decoder *d, struct reader *r, struct ch_packet *out)
{
    switch (out->code) {
    case CH_S_HELLO:
        take_hello(d, r, &out->hello);
        break;
    case CH_S_EXCEPTION:
        take_exception(r, out);
        break;
    case CH_S_DATA:
    case CH_S_TOTALS:
    case CH_S_EXTREMES:
        (void)take_string(r);
        if (d->framed)
            take_framed_block(d, r, out);
        else
            take_block(d, r, out);
        break;
    case CH_S_PROGRESS:
        take_progress(d, r);
        break;
    case CH_S_PONG:
    case CH_S_END:
        break;
    case CH_S_PROFILE_INFO:
        for (int i = 0; i < 3; i++)
            (void)take_varint(r);
        (void)take_u8(r);
        (void)take_varint(r);
        (void)take_u8(r);
        break;
    case CH_S_LOG: /* these two are never framed at our revision */
    case CH_S_PROFILE_EVENTS:
        (void)take_string(r);
        take_block(d, r, NULL);
        break;
    case CH_S_TABLE_COLUMNS:
        (void)take_string(r);
        (void)take_string(r);
        break;
    case CH_S_TIMEZONE:
        (void)take_string(r);
        break;
    default: /* it has no length, so it cannot be skipped */
        fail(r, WH_ESYNTAX);
    }
}

void ch_decoder_init(struct ch_decoder *d, uint32_t our_revision)
{
    *d = (struct ch_decoder){.our_revision = our_revision, .revision = our_revision};
    buf_init(&d->plain, CH_PACKET_BYTES_MAX);
}

void ch_decoder_fini(struct ch_decoder *d)
{
    buf_fini(&d->plain);
    free(d->columns);
    *d = (struct ch_decoder){0};
}

int ch_packet_take(struct ch_decoder *d, struct slice in, size_t *used, struct ch_packet *out)
{
    if (in.len == 0)
        return WH_EAGAIN;
    const unsigned char *p = (const unsigned char *)in.ptr;
    struct reader r = {p, p + in.len, 0};
    *out = (struct ch_packet){.code = take_varint(&r)};
    if (r.rc == 0)
        take_body(d, &r, out);
    if (r.rc == WH_EAGAIN && in.len >= CH_PACKET_BYTES_MAX)
        return WH_ELIMIT;
    if (r.rc == 0)
        *used = (size_t)(r.p - p);
    return r.rc;
}
