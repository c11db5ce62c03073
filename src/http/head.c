/* SPDX-License-Identifier: Apache-2.0 */
#include "http/head.h"

#include "base/limits.h"

#include <strings.h>

_Static_assert(LIMIT_HTTP_HEAD_BYTES == 16384 && LIMIT_HTTP_FIELDS == 64, "texts below");
_Static_assert(HTTP_ZSTD_WINDOW_BYTES == 8 << 20, "texts below");

static const struct http_refusal_info refusals[HTTP_REFUSALS] = {
    [HTTP_REFUSE_NONE] = {500, "none", "internal server error"},
    [HTTP_REFUSE_REQUEST_LINE] = {400, "request_line", "malformed request line"},
    [HTTP_REFUSE_LINE_END] = {400, "line_end", "malformed request: a line must end in CRLF"},
    [HTTP_REFUSE_FIELD] = {400, "field", "malformed header field"},
    [HTTP_REFUSE_HOST] = {400, "host", "exactly one valid Host header is required"},
    [HTTP_REFUSE_LENGTH] = {400, "content_length", "invalid Content-Length"},
    [HTTP_REFUSE_LENGTH_AND_ENCODING] = {400, "content_length",
                                         "both Content-Length and Transfer-Encoding were sent"},
    [HTTP_REFUSE_TRANSFER_ENCODING_SYNTAX] = {400, "transfer_encoding",
                                              "invalid Transfer-Encoding"},
    [HTTP_REFUSE_TRANSFER_ENCODING] = {501, "transfer_encoding",
                                       "unsupported Transfer-Encoding: only chunked is read"},
    [HTTP_REFUSE_VERSION] = {505, "version", "HTTP version not supported: use HTTP/1.1"},
    [HTTP_REFUSE_TARGET_SIZE] = {414, "target_size", "request target is too long"},
    [HTTP_REFUSE_HEAD_SIZE] = {431, "head_size", "request header is larger than 16384 bytes"},
    [HTTP_REFUSE_FIELD_COUNT] = {431, "field_count", "more than 64 request header fields"},
    [HTTP_REFUSE_EXPECT] = {417, "expect", "only Expect: 100-continue is supported"},
    [HTTP_REFUSE_CHUNK] = {400, "chunk", "malformed chunked request body"},
    [HTTP_REFUSE_BODY_SIZE] = {413, "body_size", NULL}, /* the text carries the limit */
    [HTTP_REFUSE_GZIP] = {400, "gzip", "request body is not valid gzip"},
    [HTTP_REFUSE_DEFLATE] = {400, "deflate", "request body is not valid deflate"},
    [HTTP_REFUSE_ZSTD] = {400, "zstd", "request body is not valid zstd"},
    [HTTP_REFUSE_ZSTD_WINDOW] = {400, "zstd_window",
                                 "request body needs a zstd window over 8 MiB: compress it without "
                                 "--long and --ultra"},
    [HTTP_REFUSE_CONTENT_ENCODING] = {415, "content_encoding", NULL}, /* the text names it */
    [HTTP_REFUSE_TIMEOUT] = {408, "timeout", "request timeout: the request came too slowly"},
    [HTTP_REFUSE_OVERLOAD] = {503, "overload", "service unavailable"},
};
_Static_assert(LIMIT_HTTP_HEAD_BYTES == 16384 && LIMIT_HTTP_FIELDS == 64, "refusal texts");

const struct http_refusal_info *http_refusal_info(enum http_refusal why)
{
    return &refusals[why];
}

enum {
    TOKEN = 1,
    VALUE = 2,
    TARGET = 4,
    HOST = 8
};

/* Byte classes: token (RFC 9110 §5.6.2), field value, request target, Host. */
#define A (TOKEN | VALUE | TARGET | HOST)
#define T (TOKEN | VALUE | TARGET)
#define H (VALUE | TARGET | HOST)
#define G (VALUE | TARGET)
#define V VALUE
/* clang-format off */
static const uint8_t classes[256] = {
    ['\t'] = V, [' '] = V, ['!'] = A, ['"'] = G, ['#'] = TOKEN | VALUE, ['$'] = A, ['%'] = A,
    ['&'] = A, ['\''] = A, ['('] = H, [')'] = H, ['*'] = A, ['+'] = A, [','] = G, ['-'] = A,
    ['.'] = A, ['/'] = G, ['0' ... '9'] = A, [':'] = H, [';'] = H, ['<'] = G, ['='] = H,
    ['>'] = G, ['?'] = G, ['@'] = G, ['A' ... 'Z'] = A, ['['] = H, ['\\'] = G, [']'] = H,
    ['^'] = T, ['_'] = A, ['`'] = T, ['a' ... 'z'] = A, ['{'] = G, ['|'] = T, ['}'] = G,
    ['~'] = A, [0x80 ... 0xff] = V,
};
/* clang-format on */
#undef A
#undef T
#undef H
#undef G
#undef V

static bool is(char c, int class)
{
    return (classes[(unsigned char)c] & class) != 0;
}

static bool all_are(struct slice s, int class)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is(s.ptr[i], class))
            return false;
    return true;
}

/* Case-insensitive equality with a lower-case text. */
static bool is_word(struct slice s, const char *lower)
{
    return s.len == strlen(lower) && strncasecmp(s.ptr, lower, s.len) == 0;
}

int http_head_scan(struct http_scan *s, const char *p, size_t n, enum http_refusal *why)
{
    size_t end = n < LIMIT_HTTP_HEAD_BYTES ? n : LIMIT_HTTP_HEAD_BYTES;
    for (;;) {
        /* A first byte that no method starts with (a TLS hello, say) needs no further waiting. */
        if (s->line == s->start && s->line < end && p[s->line] != '\r' && !is(p[s->line], TOKEN)) {
            *why = p[s->line] == '\n' ? HTTP_REFUSE_LINE_END : HTTP_REFUSE_REQUEST_LINE;
            return -1;
        }
        const char *found = s->pos < end ? memchr(p + s->pos, '\n', end - s->pos) : NULL;
        if (found == NULL) {
            s->pos = (uint32_t)end;
            if (end < LIMIT_HTTP_HEAD_BYTES)
                return 0;
            *why = s->line == s->start ? HTTP_REFUSE_TARGET_SIZE : HTTP_REFUSE_HEAD_SIZE;
            return -1;
        }
        uint32_t lf = (uint32_t)(found - p);
        if (lf == s->line || p[lf - 1] != '\r') {
            *why = HTTP_REFUSE_LINE_END;
            return -1;
        }
        bool empty = lf - 1 == s->line;
        bool before = s->line == s->start; /* no request line yet */
        s->pos = s->line = lf + 1;
        if (empty && !before)
            return (int)(lf + 1);
        if (empty)
            s->start = s->line;
    }
}

static enum http_method method_of(struct slice s)
{
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},
                   {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS}};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (slice_eq_str(s, methods[i].name))
            return methods[i].method;
    return HTTP_OTHER;
}

static bool host_valid(struct slice v)
{
    return all_are(v, HOST);
}

/* "http://host:port/path?query" → from the path on; NULL ptr when it is not of that form. */
static struct slice absolute_rest(struct slice t)
{
    size_t skip = t.len >= 7 && strncasecmp(t.ptr, "http://", 7) == 0    ? 7
                  : t.len >= 8 && strncasecmp(t.ptr, "https://", 8) == 0 ? 8
                                                                         : 0;
    size_t i = skip;
    while (i < t.len && t.ptr[i] != '/' && t.ptr[i] != '?')
        i++;
    if (skip == 0 || i == skip || !host_valid((struct slice){t.ptr + skip, i - skip}))
        return (struct slice){NULL, 0};
    return (struct slice){t.ptr + i, t.len - i};
}

static enum http_refusal parse_target(struct slice t, struct http_head *h)
{
    if (t.len > LIMIT_HTTP_TARGET_BYTES)
        return HTTP_REFUSE_TARGET_SIZE;
    if (t.len == 0 || !all_are(t, TARGET))
        return HTTP_REFUSE_REQUEST_LINE;
    h->target = t;
    struct slice rest = t;
    if (t.ptr[0] != '/' && !(t.len == 1 && t.ptr[0] == '*' && h->method == HTTP_OPTIONS)) {
        rest = absolute_rest(t);
        if (rest.ptr == NULL)
            return HTTP_REFUSE_REQUEST_LINE;
    }
    const char *q = rest.len == 0 ? NULL : memchr(rest.ptr, '?', rest.len);
    h->path = rest;
    if (q != NULL) {
        h->path.len = (size_t)(q - rest.ptr);
        h->query = (struct slice){q + 1, rest.len - h->path.len - 1};
    }
    if (h->path.len == 0)
        h->path = SLICE_LIT("/");
    return HTTP_REFUSE_NONE;
}

/* "POST /v1/ingest HTTP/1.1", without its CRLF */
static enum http_refusal parse_request_line(struct slice line, struct http_head *h)
{
    const char *end = line.ptr + line.len;
    const char *a = memchr(line.ptr, ' ', line.len);
    const char *b = a == NULL ? NULL : memchr(a + 1, ' ', (size_t)(end - a - 1));
    if (b == NULL)
        return HTTP_REFUSE_REQUEST_LINE;
    struct slice method = {line.ptr, (size_t)(a - line.ptr)};
    struct slice version = {b + 1, (size_t)(end - b - 1)};
    if (method.len == 0 || !all_are(method, TOKEN))
        return HTTP_REFUSE_REQUEST_LINE;
    if (version.len != 8 || memcmp(version.ptr, "HTTP/", 5) != 0 || version.ptr[6] != '.' ||
        version.ptr[5] < '0' || version.ptr[5] > '9' || version.ptr[7] < '0' ||
        version.ptr[7] > '9')
        return HTTP_REFUSE_REQUEST_LINE;
    h->method = method_of(method);
    enum http_refusal why = parse_target((struct slice){a + 1, (size_t)(b - a - 1)}, h);
    if (why != HTTP_REFUSE_NONE)
        return why;
    h->http10 = version.ptr[7] == '0';
    h->keep_alive = !h->http10;
    return version.ptr[5] == '1' && version.ptr[7] <= '1' ? HTTP_REFUSE_NONE : HTTP_REFUSE_VERSION;
}

/* What must be judged over all fields together. */
struct seen {
    uint32_t hosts, lengths, encodings;
    struct slice length;
    bool host_bad, length_bad, encoding_chunked, expect_bad, says_close, says_keep;
};

static void seen_length(struct seen *seen, struct http_head *h, struct slice v)
{
    if (seen->lengths++ > 0) {
        seen->length_bad |= !slice_eq(v, seen->length);
        return;
    }
    seen->length = v;
    seen->length_bad = v.len == 0 || v.len > 18; /* 18 digits always fit */
    for (size_t i = 0; i < v.len && !seen->length_bad; i++) {
        if (v.ptr[i] < '0' || v.ptr[i] > '9')
            seen->length_bad = true;
        h->length = h->length * 10 + (uint64_t)(v.ptr[i] - '0');
    }
    h->has_length = true;
}

static void seen_connection(struct seen *seen, struct slice v)
{
    size_t i = 0;
    while (i < v.len) {
        size_t start = i;
        while (i < v.len && v.ptr[i] != ',')
            i++;
        size_t end = i++;
        while (start < end && (v.ptr[start] == ' ' || v.ptr[start] == '\t'))
            start++;
        while (end > start && (v.ptr[end - 1] == ' ' || v.ptr[end - 1] == '\t'))
            end--;
        struct slice word = {v.ptr + start, end - start};
        seen->says_close |= is_word(word, "close");
        seen->says_keep |= is_word(word, "keep-alive");
    }
}

static void seen_coding(struct http_head *h, struct slice v)
{
    if (v.len == 0 || is_word(v, "identity"))
        return;
    if (h->content_encoding.len == 0)
        h->content_encoding = v;
    enum http_coding coding = HTTP_CODING_OTHER;
    if (is_word(v, "gzip") || is_word(v, "x-gzip"))
        coding = HTTP_CODING_GZIP;
    else if (is_word(v, "deflate"))
        coding = HTTP_CODING_DEFLATE;
    else if (is_word(v, "zstd"))
        coding = HTTP_CODING_ZSTD;
    h->coding = h->coding == HTTP_CODING_NONE ? coding : HTTP_CODING_OTHER;
}

static void seen_field(struct seen *seen, struct http_head *h, const struct http_field *f)
{
    struct slice v = f->value;
    switch (f->name.len) {
    case 4:
        if (is_word(f->name, "host")) {
            seen->hosts++;
            seen->host_bad |= !host_valid(v);
        }
        break;
    case 6:
        if (is_word(f->name, "origin") && h->origin.ptr == NULL)
            h->origin = v;
        else if (is_word(f->name, "expect")) {
            h->expect_continue = is_word(v, "100-continue");
            seen->expect_bad |= !h->expect_continue;
        }
        break;
    case 10:
        if (is_word(f->name, "connection"))
            seen_connection(seen, v);
        break;
    case 12:
        if (is_word(f->name, "content-type") && h->content_type.ptr == NULL)
            h->content_type = v;
        else if (is_word(f->name, "x-request-id") && h->request_id.ptr == NULL)
            h->request_id = v;
        break;
    case 14:
        if (is_word(f->name, "content-length"))
            seen_length(seen, h, v);
        break;
    case 16:
        if (is_word(f->name, "content-encoding"))
            seen_coding(h, v);
        break;
    case 17:
        if (is_word(f->name, "transfer-encoding")) {
            seen->encodings++;
            seen->encoding_chunked = is_word(v, "chunked");
        }
        break;
    default:
        break;
    }
}

static enum http_refusal judge(const struct seen *seen, struct http_head *h)
{
    h->chunked = seen->encodings > 0;
    if (seen->says_close)
        h->keep_alive = false;
    else if (seen->says_keep)
        h->keep_alive = true;
    if (seen->hosts > 1 || seen->host_bad || (seen->hosts == 0 && !h->http10))
        return HTTP_REFUSE_HOST;
    if (seen->encodings > 0 && seen->lengths > 0)
        return HTTP_REFUSE_LENGTH_AND_ENCODING;
    if (seen->length_bad)
        return HTTP_REFUSE_LENGTH;
    /* HTTP/1.0 knows no transfer encodings: whoever sends one is confused or wants us to be. */
    if (seen->encodings > 1 || (seen->encodings > 0 && h->http10))
        return HTTP_REFUSE_TRANSFER_ENCODING_SYNTAX;
    if (seen->encodings == 1 && !seen->encoding_chunked)
        return HTTP_REFUSE_TRANSFER_ENCODING;
    if (h->http10)
        h->expect_continue = false;
    else if (seen->expect_bad)
        return HTTP_REFUSE_EXPECT;
    return HTTP_REFUSE_NONE;
}

/* One line without its CRLF. */
static enum http_refusal parse_field(const char *p, const char *end, struct http_field *f)
{
    const char *name = p;
    while (p < end && is(*p, TOKEN))
        p++;
    if (p == name || p == end || *p != ':')
        return HTTP_REFUSE_FIELD;
    f->name = (struct slice){name, (size_t)(p - name)};
    p++;
    for (const char *q = p; q < end; q++)
        if (!is(*q, VALUE))
            return HTTP_REFUSE_FIELD;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    f->value = (struct slice){p, (size_t)(end - p)};
    return HTTP_REFUSE_NONE;
}

enum http_refusal http_head_parse(struct slice head, struct http_field *fields, struct http_head *h)
{
    *h = (struct http_head){.method = HTTP_OTHER};
    struct seen seen = {0};
    const char *p = head.ptr, *end = head.ptr + head.len;
    enum http_refusal why = HTTP_REFUSE_NONE;
    for (bool first = true;; first = false) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        if (lf == NULL || lf == p || lf[-1] != '\r')
            return HTTP_REFUSE_LINE_END; /* the scan has seen to it; checked again, not trusted */
        if (lf == p + 1)
            break;
        if (first) {
            why = parse_request_line((struct slice){p, (size_t)(lf - 1 - p)}, h);
        } else {
            if (h->field_count == LIMIT_HTTP_FIELDS)
                return HTTP_REFUSE_FIELD_COUNT;
            struct http_field *f = &fields[h->field_count];
            why = parse_field(p, lf - 1, f);
            if (why == HTTP_REFUSE_NONE) {
                h->field_count++;
                seen_field(&seen, h, f);
            }
        }
        if (why != HTTP_REFUSE_NONE)
            return why;
        p = lf + 1;
    }
    return judge(&seen, h);
}
