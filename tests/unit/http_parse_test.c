/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of the http room: head, chunks, gzip, percent-decoding, queries, buffers. */
#include "base/limits.h"
#include "http/chunked.h"
#include "http/decode.h"
#include "http/head.h"
#include "http/pool.h"
#include "tests/lib/tap.h"

#include <stdlib.h>

static void test_scan(void)
{
    static const char text[] = "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\nnext";
    enum http_refusal why = HTTP_REFUSE_NONE;
    struct http_scan s = {0};
    for (size_t n = 0; n < sizeof(text) - 6; n++)
        if (http_head_scan(&s, text, n, &why) != 0)
            ok(false, "head seems complete after %zu bytes", n);
    is_u64(http_head_scan(&s, text, sizeof(text) - 1, &why), sizeof(text) - 5, "head complete");
    is_u64(s.start, 2, "the empty line before it is skipped");

    s = (struct http_scan){0};
    ok(http_head_scan(&s, "G\n", 2, &why) == -1 && why == HTTP_REFUSE_LINE_END, "bare LF");
    s = (struct http_scan){0};
    ok(http_head_scan(&s, "\x16", 1, &why) == -1 && why == HTTP_REFUSE_REQUEST_LINE,
       "the first byte decides");
}

static enum http_refusal parse(const char *text, struct http_field *fields, struct http_head *h)
{
    return http_head_parse(slice_str(text), fields, h);
}

static void test_head(void)
{
    struct http_field fields[LIMIT_HTTP_FIELDS];
    struct http_head h;
    ok(parse("PUT /a%20b?x=1?y HTTP/1.1\r\nHOST: h\r\nContent-Length: \t 12 \r\nX:\r\n"
             "Content-Type: a/b\r\ncontent-type: c/d\r\nOrigin: http://o\r\n\r\n",
             fields, &h) == HTTP_REFUSE_NONE,
       "a full head");
    ok(h.method == HTTP_PUT && h.keep_alive && !h.http10 && !h.chunked, "method and version");
    ok(slice_eq_str(h.path, "/a%20b") && slice_eq_str(h.query, "x=1?y"), "path and query");
    ok(h.has_length && h.length == 12, "length without its white space");
    is_u64(h.field_count, 6, "fields");
    ok(fields[2].value.len == 0 && slice_eq_str(fields[2].name, "X"), "an empty value");
    ok(slice_eq_str(h.content_type, "a/b"), "the first Content-Type");
    ok(slice_eq_str(h.origin, "http://o"), "Origin");
    ok(http_field_is(&fields[0], "host") && !http_field_is(&fields[0], "hos"), "names");

    struct http_request r = {.fields = fields, .field_count = h.field_count};
    ok(slice_eq_str(http_field_get(&r, "content-type"), "a/b"), "http_field_get");
    ok(http_field_get(&r, "cookie").ptr == NULL, "an absent field");

    ok(parse("GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n", fields, &h) == HTTP_REFUSE_NONE &&
           slice_eq_str(h.path, "/") && slice_eq_str(h.query, "q"),
       "an absolute target without a path");
    ok(parse("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999999999999\r\n\r\n", fields,
             &h) == HTTP_REFUSE_NONE &&
           h.length == 999999999999999999u,
       "the largest length");
    ok(parse("GET / HTTP/1.1\r\nHost: h\r\nContent-Encoding: br\r\nContent-Encoding: gzip\r\n\r\n",
             fields, &h) == HTTP_REFUSE_NONE &&
           h.coding == HTTP_CODING_OTHER,
       "two codings are one we do not know");
    ok(parse("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, close\r\n\r\n", fields, &h) ==
               HTTP_REFUSE_NONE &&
           !h.keep_alive,
       "close wins");
    ok(parse("GET / HTTP/1.1\r\nHost: h\r\n", fields, &h) == HTTP_REFUSE_LINE_END,
       "a head without its end is refused, not read past");
}

static void test_chunked(void)
{
    static const char text[] = "5;x=\"y\"\r\nhello\r\n6\r\n world\r\n0\r\nT: v\r\n\r\nGET";
    for (size_t piece = 1; piece <= sizeof(text); piece++) {
        struct http_chunked d;
        char got[64];
        size_t got_len = 0, off = 0, used;
        enum http_chunked_got what = HTTP_CHUNKED_MORE;
        http_chunked_init(&d);
        while (what != HTTP_CHUNKED_DONE && what != HTTP_CHUNKED_BAD && off < sizeof(text) - 1) {
            struct slice data;
            size_t n = sizeof(text) - 1 - off;
            what = http_chunked_next(&d, text + off, n < piece ? n : piece, &used, &data);
            if (what == HTTP_CHUNKED_DATA) {
                memcpy(got + got_len, data.ptr, data.len);
                got_len += data.len;
            }
            off += used;
        }
        if (what != HTTP_CHUNKED_DONE || strcmp(text + off, "GET") != 0 || got_len != 11 ||
            memcmp(got, "hello world", 11) != 0)
            ok(false, "chunked in pieces of %zu", piece);
    }
    ok(true, "chunked in pieces of every size");

    struct http_chunked d;
    size_t used;
    struct slice data;
    http_chunked_init(&d);
    ok(http_chunked_next(&d, "a\r\n", 3, &used, &data) == HTTP_CHUNKED_MORE &&
           http_chunked_ahead(&d) == 10,
       "data ahead");
    http_chunked_skip(&d, 10);
    ok(http_chunked_ahead(&d) == 0, "none after it was taken directly");
    ok(http_chunked_next(&d, "x", 1, &used, &data) == HTTP_CHUNKED_BAD, "CRLF must follow");
}

/* "hello" in each coding. */
static const unsigned char gzip_hello[] = {0x1f, 0x8b, 8,    0,    0,    0,    0,    0,    2,
                                           0xff, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x86,
                                           0xa6, 0x10, 0x36, 0x05, 0x00, 0x00, 0x00};
static const unsigned char zlib_hello[] = {0x78, 0xda, 0xcb, 0x48, 0xcd, 0xc9, 0xc9,
                                           0x07, 0x00, 0x06, 0x2c, 0x02, 0x15};
static const unsigned char zstd_hello[] = {0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x05, 0x29, 0x00, 0x00,
                                           0x68, 0x65, 0x6c, 0x6c, 0x6f, 0xa3, 0x6d, 0x9f, 0x88};
static const struct {
    const char *what;
    enum http_coding coding;
    struct slice hello;
    bool repeats; /* several in a row are one body */
} codings[] = {
    {"gzip", HTTP_CODING_GZIP, {(const char *)gzip_hello, sizeof(gzip_hello)}, true},
    {"deflate", HTTP_CODING_DEFLATE, {(const char *)zlib_hello, sizeof(zlib_hello)}, false},
    {"bare deflate", HTTP_CODING_DEFLATE, {(const char *)zlib_hello + 2, 7}, false},
    {"zstd", HTTP_CODING_ZSTD, {(const char *)zstd_hello, sizeof(zstd_hello)}, true},
};
#define CODING_COUNT (sizeof(codings) / sizeof(codings[0]))

/* One byte in, one byte of room at a time; how many bytes came out, or the failure. */
static int decode_bytewise(struct http_decoder *d, struct slice all, char *out)
{
    int total = 0;
    for (size_t i = 0; i < all.len; i++) {
        struct slice in = {all.ptr + i, 1};
        size_t got = 1;
        while (got > 0) {
            int rc = http_decoder_run(d, &in, out + total, 1, &got);
            if (rc != 0)
                return rc;
            total += (int)got;
        }
        if (http_decoder_complete(d) != (i == all.len - 1))
            return -1; /* says so too early, or not at all */
    }
    return total;
}

static void test_decoders(void)
{
    struct http_decoder *d[HTTP_DECODER_KINDS] = {NULL};
    char out[32];
    size_t got;
    /* Twice, so that each decoder has had another coding before it. */
    for (size_t i = 0; i < 2 * CODING_COUNT; i++) {
        enum http_coding coding = codings[i % CODING_COUNT].coding;
        const char *what = codings[i % CODING_COUNT].what;
        struct slice hello = codings[i % CODING_COUNT].hello;
        struct http_decoder **at = &d[http_decoder_kind(coding)];
        if (*at == NULL)
            *at = http_decoder_new(coding);
        else
            http_decoder_reset(*at, coding);
        ok(http_decoder_coding(*at) == coding && !http_decoder_complete(*at), "%s: new", what);
        ok(decode_bytewise(*at, hello, out) == 5 && memcmp(out, "hello", 5) == 0,
           "%s: byte by byte", what);
        ok(http_decoder_bytes(*at) > 1000 && http_decoder_bytes(*at) < 300000, "%s: %zu bytes",
           what, http_decoder_bytes(*at));
        struct slice again = hello;
        int rc = http_decoder_run(*at, &again, out, sizeof(out), &got);
        if (codings[i % CODING_COUNT].repeats)
            ok(rc == 0 && got == 5 && again.len == 0 && http_decoder_complete(*at),
               "%s: once more is one body with it", what);
        else
            ok(rc == WH_ECORRUPT, "%s: nothing may follow", what);
        http_decoder_reset(*at, coding);
        struct slice cut = {hello.ptr, hello.len - 1};
        ok(http_decoder_run(*at, &cut, out, sizeof(out), &got) == 0 && !http_decoder_complete(*at),
           "%s: one byte short", what);
        http_decoder_reset(*at, coding);
        struct slice other = SLICE_LIT("{}");
        ok(http_decoder_run(*at, &other, out, sizeof(out), &got) == WH_ECORRUPT ||
               !http_decoder_complete(*at),
           "%s: something else", what);
    }
    /* The window is asked for by the frame's header, and counted. */
    size_t before = http_decoder_bytes(d[HTTP_DECODER_ZSTD]);
    struct slice large = {"\x28\xb5\x2f\xfd\x00\x68\x29\x00\x00hello", 14};
    http_decoder_reset(d[HTTP_DECODER_ZSTD], HTTP_CODING_ZSTD);
    ok(http_decoder_run(d[HTTP_DECODER_ZSTD], &large, out, sizeof(out), &got) == 0 &&
           http_decoder_bytes(d[HTTP_DECODER_ZSTD]) >= before + HTTP_ZSTD_WINDOW_BYTES,
       "a window of 8 MiB shows");
    struct slice larger = {"\x28\xb5\x2f\xfd\x00\x70\x29\x00\x00hello", 14};
    http_decoder_reset(d[HTTP_DECODER_ZSTD], HTTP_CODING_ZSTD);
    ok(http_decoder_run(d[HTTP_DECODER_ZSTD], &larger, out, sizeof(out), &got) == WH_ELIMIT,
       "a larger one is refused");
    for (int kind = 0; kind < HTTP_DECODER_KINDS; kind++)
        http_decoder_free(d[kind]);
    http_decoder_free(NULL);
}

static int query(const char *q, const char *key, char out[32])
{
    struct buf b;
    buf_init(&b, 31);
    int rc = http_query_get(slice_str(q), key, &b);
    memcpy(out, b.len > 0 ? b.ptr : "", b.len);
    out[b.len] = '\0';
    buf_fini(&b);
    return rc;
}

static void test_uri(void)
{
    char out[32];
    ok(query("table=clicks", "table", out) == 1 && strcmp(out, "clicks") == 0, "plain");
    ok(query("a=b&table=a%20b+c%2fd&table=z", "table", out) == 1 && strcmp(out, "a b c/d") == 0,
       "decoded, the first of two");
    ok(query("%74able=x", "table", out) == 1 && strcmp(out, "x") == 0, "an encoded key");
    ok(query("table", "table", out) == 1 && out[0] == '\0', "without =");
    ok(query("table=", "table", out) == 1 && out[0] == '\0', "empty");
    ok(query("tables=x&tabl=y&table%00=z&%=1", "table", out) == 0, "absent");
    ok(query("", "table", out) == 0 && query("&&&", "table", out) == 0, "no keys");
    ok(query("table=a=b", "table", out) == 1 && strcmp(out, "a=b") == 0, "= in the value");
    ok(query("table=%zz", "table", out) == WH_ESYNTAX, "bad escape");
    ok(query("table=%4", "table", out) == WH_ESYNTAX, "short escape");
    ok(query("table=%", "table", out) == WH_ESYNTAX, "shorter");
    ok(query("table=0123456789012345678901234567890123456789", "table", out) == WH_ELIMIT,
       "does not fit");

    struct buf b;
    buf_init(&b, SIZE_MAX);
    ok(http_percent_decode(SLICE_LIT("a+b%2B%00%fF"), false, &b) == 0, "a path");
    is_mem(b.ptr, b.len, "a+b+\0\xff", 6, "'+' stays, every byte is possible");
    buf_fini(&b);
}

static void test_pool(void)
{
    struct http_pool pool;
    size_t cap, cap2;
    http_pool_init(&pool);
    char *p = http_pool_get(&pool, 1, &cap);
    is_u64(cap, 4096, "smallest class");
    memset(p, 'x', cap);
    http_pool_put(&pool, p, cap);
    ok(http_pool_get(&pool, 4096, &cap2) == p && cap2 == cap, "reused");
    char *q = http_pool_grow(&pool, p, 4096, 4097, &cap);
    ok(cap == 8192 && q[4095] == 'x', "grown with its content");
    is_u64(pool.kept_bytes, 4096, "the smaller one is kept");
    q = http_pool_grow(&pool, q, 4096, (5 << 20) + 1, &cap);
    ok(cap == (5 << 20) + 1 && q[4095] == 'x', "beyond the classes: exactly");
    q = http_pool_grow(&pool, q, 4096, 6 << 20, &cap);
    ok(cap == 6 << 20 && q[4095] == 'x', "and grown there");
    http_pool_put(&pool, q, cap);
    is_u64(pool.kept_bytes, 4096 + 8192, "large ones are not kept");
    is_u64(http_pool_trim(&pool), 0, "in use since the last time: nothing is trimmed");
    is_u64(http_pool_trim(&pool), 4096 + 8192, "then it is");
    is_u64(pool.kept_bytes, 0, "and nothing is kept");

    enum {
        CROWD = 64
    };
    char *crowd[CROWD];
    for (int i = 0; i < CROWD; i++)
        crowd[i] = http_pool_get(&pool, 1, &cap);
    for (int i = 0; i < CROWD; i++)
        http_pool_put(&pool, crowd[i], cap);
    (void)http_pool_trim(&pool);
    int trims = 0;
    for (; pool.kept_bytes > 4096 && trims < 100; trims++) { /* one client goes on */
        http_pool_put(&pool, http_pool_get(&pool, 1, &cap), cap);
        (void)http_pool_trim(&pool);
    }
    ok(trims == 6, "what only a crowd needed is halved each time, though one client goes on");
    http_pool_put(&pool, http_pool_get(&pool, 1, &cap), cap);
    is_u64(http_pool_trim(&pool), 0, "what the client needs stays");
    http_pool_fini(&pool);
}

int main(void)
{
    test_scan();
    test_head();
    test_chunked();
    test_decoders();
    test_uri();
    test_pool();
    return tap_done();
}
