/* SPDX-License-Identifier: Apache-2.0 */
/* Text in and out of nodes; the reader itself is json.cc. */
#include "json/json.h"

#include "base/limits.h"

/* Of a known name with all its bytes escaped: our names are short. */
#define JSON_NAME_BYTES_MAX 512

static uint32_t hex4(const char *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        uint32_t digit = c <= '9' ? (uint32_t)(c - '0') : (uint32_t)((c | 0x20) - 'a' + 10);
        v = v << 4 | digit;
    }
    return v;
}

static size_t put_utf8(char *dst, uint32_t c)
{
    if (c < 0x80) {
        dst[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        dst[0] = (char)(0xc0 | c >> 6);
        dst[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        dst[0] = (char)(0xe0 | c >> 12);
        dst[1] = (char)(0x80 | (c >> 6 & 0x3f));
        dst[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    dst[0] = (char)(0xf0 | c >> 18);
    dst[1] = (char)(0x80 | (c >> 12 & 0x3f));
    dst[2] = (char)(0x80 | (c >> 6 & 0x3f));
    dst[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* A \u escape at p ("\uXXXX", validated); *used becomes 6, or 12 for a surrogate pair. */
static uint32_t take_u(const char *p, const char *end, size_t *used)
{
    uint32_t c = hex4(p + 2);
    *used = 6;
    if (c < 0xd800 || c > 0xdfff)
        return c;
    if (c < 0xdc00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
        uint32_t low = hex4(p + 8);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *used = 12;
            return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

static char plain_escape(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c; /* " \ / */
    }
}

size_t json_unescape(struct slice raw, char *dst)
{
    const char *p = raw.ptr, *end = raw.ptr + raw.len;
    size_t n = 0;
    while (p < end) {
        const char *bs = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((bs == NULL ? end : bs) - p);
        memmove(dst + n, p, plain); /* dst may be where raw lies */
        n += plain;
        p += plain;
        if (bs == NULL)
            break;
        size_t used = 2;
        if (p[1] == 'u')
            n += put_utf8(dst + n, take_u(p, end, &used));
        else
            dst[n++] = plain_escape(p[1]);
        p += used;
    }
    return n;
}

static void put_token(struct buf *out, const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind == JSON_STRING) { /* the quotes lie around the slice */
        buf_put(out, doc->text + n->off - 1, (size_t)n->len + 2);
        return;
    }
    buf_put_slice(out, json_raw(doc, n));
}

/* Write container n token by token. Its depth is bounded by the reader (LIMIT_JSON_DEPTH), but a
 * loop over the flat nodes needs no recursion: every '}' and ']' falls where a node's `next` says.
 */
static void put_container(struct buf *out, const struct json_doc *doc, uint32_t first)
{
    struct open {
        uint32_t next;  /* node after the container */
        uint32_t count; /* values written */
        bool object;
        bool key; /* the next node is a key */
    } stack[LIMIT_JSON_DEPTH];
    uint32_t depth = 0, i = first;
    for (;;) {
        while (depth > 0 && stack[depth - 1].next == i)
            buf_put_u8(out, stack[--depth].object ? '}' : ']');
        if (depth == 0 && i != first)
            return;
        struct open *top = depth > 0 ? &stack[depth - 1] : NULL;
        if (top != NULL && top->object && top->key) {
            if (top->count++ != 0)
                buf_put_u8(out, ',');
            put_token(out, doc, &doc->nodes[i++]);
            buf_put_u8(out, ':');
            top->key = false;
        } else if (top != NULL && !top->object && top->count++ != 0) {
            buf_put_u8(out, ',');
        }
        if (top != NULL)
            top->key = true;
        const struct json_node *n = &doc->nodes[i];
        if (n->kind < JSON_ARRAY || (n->flags & JSON_F_SPACED) == 0) {
            put_token(out, doc, n);
            i = n->next;
            if (depth == 0)
                return;
            continue;
        }
        bool object = n->kind == JSON_OBJECT;
        buf_put_u8(out, object ? '{' : '[');
        stack[depth++] = (struct open){.next = n->next, .object = object, .key = true};
        i++;
    }
}

void json_put_minified(struct buf *out, const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind < JSON_ARRAY || (n->flags & JSON_F_SPACED) == 0)
        put_token(out, doc, n);
    else
        put_container(out, doc, (uint32_t)(n - doc->nodes));
}

bool json_string_is(const struct json_doc *d, const struct json_node *n, const char *text)
{
    struct slice raw = json_raw(d, n);
    char plain[JSON_NAME_BYTES_MAX];
    if (n->kind != JSON_STRING)
        return false;
    if ((n->flags & JSON_F_ESCAPED) == 0)
        return slice_eq_str(raw, text);
    if (raw.len > sizeof(plain))
        return false;
    return slice_eq_str((struct slice){plain, json_unescape(raw, plain)}, text);
}

const char *json_kind_name(uint8_t kind)
{
    static const char *const names[] = {"null",   "boolean", "boolean", "number",
                                        "string", "array",   "object"};
    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}
