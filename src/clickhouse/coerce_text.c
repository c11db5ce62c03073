/* SPDX-License-Identifier: Apache-2.0 */
/* Strings, and values that have one text form: enumerations, UUID, addresses. */
#include "base/le.h"
#include "base/limits.h"
#include "clickhouse/columns_priv.h"

#include <errno.h>

/* ---- escapes */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int32_t hex4(const char *p, const char *end)
{
    int32_t v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int h = hex_value(p[i]);
        if (h < 0)
            return -1;
        v = v << 4 | h;
    }
    return v;
}

static char *utf8_put(char *dst, uint32_t c)
{
    if (c < 0x80) {
        *dst++ = (char)c;
    } else if (c < 0x800) {
        *dst++ = (char)(0xc0 | c >> 6);
        *dst++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *dst++ = (char)(0xe0 | c >> 12);
        *dst++ = (char)(0x80 | (c >> 6 & 0x3f));
        *dst++ = (char)(0x80 | (c & 0x3f));
    } else {
        *dst++ = (char)(0xf0 | c >> 18);
        *dst++ = (char)(0x80 | (c >> 12 & 0x3f));
        *dst++ = (char)(0x80 | (c >> 6 & 0x3f));
        *dst++ = (char)(0x80 | (c & 0x3f));
    }
    return dst;
}

/* *pp is behind the u of an escape. */
static int unescape_unicode(const char **pp, const char *end, char **dst)
{
    const char *p = *pp;
    int32_t c = hex4(p, end);
    if (c < 0)
        return CHE_ESCAPE;
    p += 4;
    if (c >= 0xd800 && c <= 0xdbff) {
        int32_t low = end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2, end) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return CHE_ESCAPE;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    *dst = utf8_put(*dst, (uint32_t)c);
    *pp = p;
    return 0;
}

int coerce_unescape(struct slice raw, char *dst, size_t *len)
{
    const char *p = raw.ptr, *end = raw.ptr + raw.len;
    char *d = dst;
    while (p < end) {
        const char *q = memchr(p, '\\', (size_t)(end - p));
        size_t n = (size_t)((q != NULL ? q : end) - p);
        memcpy(d, p, n);
        d += n;
        p += n;
        if (q == NULL)
            break;
        if (++p == end)
            return CHE_ESCAPE;
        char c = *p++;
        if (c == 'u') {
            int rc = unescape_unicode(&p, end, &d);
            if (rc != 0)
                return rc;
            continue;
        }
        *d++ = c == 'b'   ? '\b'
               : c == 'f' ? '\f'
               : c == 'n' ? '\n'
               : c == 'r' ? '\r'
               : c == 't' ? '\t'
                          : c;
    }
    *len = (size_t)(d - dst);
    return 0;
}

/* ---- String, FixedString */

static int put_escaped(struct column *c, struct slice raw)
{
    if (buf_reserve(&c->data, raw.len + 10) != 0)
        return -ENOMEM;
    /* Behind the longest length there could be; moved down when the real one is shorter. */
    char *start = c->data.ptr + c->data.len, *text = start + 10;
    size_t len = 0;
    int rc = coerce_unescape(raw, text, &len);
    if (rc != 0)
        return rc;
    char *p = varint_put(start, len);
    memmove(p, text, len);
    c->data.len += (size_t)(p - start) + len;
    return 0;
}

/* Most strings are short, and a call for each of them costs more than copying them: whole chunks,
 * up to COPY_BYTES − 1 bytes too many. So far dst has room, and the text is readable
 * (LIMIT_JSON_PADDING). */
enum {
    COPY_BYTES = 32,
    COPY_CHUNKS_MAX = 4
};
_Static_assert(COPY_BYTES <= LIMIT_JSON_PADDING, "reads no further than there is text");

static inline void copy_text(char *dst, struct slice s)
{
    if (__builtin_expect(s.len > COPY_CHUNKS_MAX * COPY_BYTES, 0)) {
        memcpy(dst, s.ptr, s.len);
        return;
    }
    for (size_t at = 0; at < s.len; at += COPY_BYTES)
        memcpy(dst + at, s.ptr + at, COPY_BYTES);
}

int coerce_string(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    struct slice s = json_raw(doc, n);
    if (n->kind == JSON_STRING && (n->flags & JSON_F_ESCAPED) != 0)
        return put_escaped(c, s);
    if (buf_reserve(&c->data, s.len + 10 + COPY_BYTES) != 0)
        return -ENOMEM;
    char *start = c->data.ptr + c->data.len, *p = start;
    if (__builtin_expect(s.len < 0x80, 1))
        *p++ = (char)s.len;
    else
        p = varint_put(p, s.len);
    copy_text(p, s);
    c->data.len += (size_t)(p - start) + s.len;
    return 0;
}

int coerce_fixed_string(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind != JSON_STRING)
        return CHE_QUOTED;
    struct slice s = json_raw(doc, n);
    size_t len = s.len;
    if (buf_reserve(&c->data, s.len + c->width) != 0)
        return -ENOMEM;
    char *dst = c->data.ptr + c->data.len;
    if ((n->flags & JSON_F_ESCAPED) != 0) {
        int rc = coerce_unescape(s, dst, &len);
        if (rc != 0)
            return rc;
    } else {
        memcpy(dst, s.ptr, s.len);
    }
    if (len > c->width)
        return CHE_TOO_LARGE;
    memset(dst + len, 0, c->width - len);
    c->data.len += c->width;
    return 0;
}

/* ---- Enum8, Enum16 */

static bool enum_declared(const struct column *c, int16_t v)
{
    const struct ch_type *t = c->type;
    if (c->width == 1)
        return (c->enum_value_known[(uint8_t)v >> 3] >> (v & 7) & 1) != 0;
    for (uint32_t i = 0; i < t->enum_count; i++)
        if (t->enum_items[i].value == v)
            return true;
    return false;
}

static bool enum_by_name(const struct column *c, struct slice name, int16_t *v)
{
    const struct ch_enum_item *items = c->type->enum_items;
    uint32_t h = dictionary_hash(name.ptr, name.len);
    for (uint32_t i = h & c->dict.mask; c->dict.slots[i] != 0; i = (i + 1) & c->dict.mask) {
        const struct ch_enum_item *item = &items[c->dict.slots[i] - 1];
        if (slice_eq(item->name, name)) {
            *v = item->value;
            return true;
        }
    }
    return false;
}

/* A name that is none may still be a number, of the right width and nothing else. */
static bool enum_by_number(const struct column *c, struct slice s, int16_t *v)
{
    int64_t limit = c->width == 1 ? INT8_MAX : INT16_MAX, number = 0;
    size_t i = s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+');
    bool negative = i > 0 && s.ptr[0] == '-';
    if (i == s.len)
        return false;
    for (; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        number = number * 10 + (s.ptr[i] - '0');
        if (number > limit + negative)
            return false;
    }
    *v = (int16_t)(negative ? -number : number);
    return enum_declared(c, *v);
}

static int enum_from_string(struct column *c, struct slice s, bool escaped, int16_t *v)
{
    if (escaped) {
        struct buf *scratch = &c->block->scratch;
        size_t len = 0;
        buf_reset(scratch);
        if (buf_reserve(scratch, s.len) != 0)
            return -ENOMEM;
        int rc = coerce_unescape(s, scratch->ptr, &len);
        if (rc != 0)
            return rc;
        s = (struct slice){scratch->ptr, len};
    }
    return enum_by_name(c, s, v) || enum_by_number(c, s, v) ? 0 : CHE_ENUM;
}

int coerce_enum(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    struct slice s = json_raw(doc, n);
    int16_t v = 0;
    int rc;
    if (n->kind == JSON_STRING) {
        rc = enum_from_string(c, s, (n->flags & JSON_F_ESCAPED) != 0, &v);
    } else {
        const char *p = s.ptr, *end = s.ptr + s.len;
        uint64_t number = 0;
        rc = coerce_scan_int(&p, end, true, &number);
        v = c->width == 1 ? (int16_t)(int8_t)number : (int16_t)number;
        if (rc == 0 && !enum_declared(c, v))
            rc = CHE_ENUM;
        if (rc == 0 && p != end)
            rc = CHE_TRAILING;
    }
    if (rc != 0)
        return rc;
    char *dst = column_extend(c, c->width);
    if (dst == NULL)
        return -ENOMEM;
    memcpy(dst, &v, c->width);
    return 0;
}

/* ---- UUID */

static bool hex_run(const char *p, size_t n, char *dst)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_value(p[2 * i]), low = hex_value(p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        dst[i] = (char)(high << 4 | low);
    }
    return true;
}

int coerce_uuid(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind != JSON_STRING)
        return CHE_INPUT;
    struct slice s = json_raw(doc, n);
    char b[16];
    bool dashed = s.len > 8 && s.ptr[8] == '-';
    size_t len = dashed ? 36 : 32;
    if (s.len < len)
        return CHE_UUID;
    bool good;
    if (dashed)
        good = s.ptr[13] == '-' && s.ptr[18] == '-' && s.ptr[23] == '-' && hex_run(s.ptr, 4, b) &&
               hex_run(s.ptr + 9, 2, b + 4) && hex_run(s.ptr + 14, 2, b + 6) &&
               hex_run(s.ptr + 19, 2, b + 8) && hex_run(s.ptr + 24, 6, b + 10);
    else
        good = hex_run(s.ptr, 16, b);
    if (!good)
        return CHE_UUID;
    if (s.len > len)
        return CHE_INPUT;
    char *dst = column_extend(c, 16);
    if (dst == NULL)
        return -ENOMEM;
    le64_put(dst, __builtin_bswap64(le64_get(b)));
    le64_put(dst + 8, __builtin_bswap64(le64_get(b + 8)));
    return 0;
}

/* ---- addresses */

/* Octets still to come, from `octet` on; one has one to four digits and at most 255. */
static bool scan_octets(const char **pp, const char *end, int octet, uint8_t *dst)
{
    const char *p = *pp;
    for (; octet < 4; octet++) {
        uint32_t v = 0;
        int digits = 0;
        for (; p < end && digits < 4 && *p >= '0' && *p <= '9'; p++, digits++)
            v = v * 10 + (uint32_t)(*p - '0');
        if (digits == 0 || v > 255)
            return false;
        dst[octet] = (uint8_t)v;
        if (octet < 3 && (p == end || *p++ != '.'))
            return false;
    }
    *pp = p;
    return true;
}

int coerce_ipv4(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind != JSON_STRING)
        return CHE_INPUT;
    struct slice s = json_raw(doc, n);
    const char *p = s.ptr, *end = s.ptr + s.len;
    uint8_t o[4];
    if (!scan_octets(&p, end, 0, o))
        return CHE_IPV4;
    if (p != end)
        return CHE_TRAILING_DATA;
    char *dst = column_extend(c, 4);
    if (dst == NULL)
        return -ENOMEM;
    le32_put(dst, (uint32_t)o[0] << 24 | (uint32_t)o[1] << 16 | (uint32_t)o[2] << 8 | o[3]);
    return 0;
}

/* A group of one to four hexadecimal digits. */
static int scan_group(const char **pp, const char *end, uint32_t *v)
{
    const char *p = *pp;
    int digits = 0;
    *v = 0;
    for (; p < end && digits < 4; p++, digits++) {
        int h = hex_value(*p);
        if (h < 0)
            break;
        *v = *v << 4 | (uint32_t)h;
    }
    *pp = p;
    return digits;
}

/* What looked like a hexadecimal group was the first octet of a dotted quad. */
static bool group_as_octet(uint32_t group, uint8_t *octet)
{
    uint32_t v = 0;
    for (int shift = 12; shift >= 0; shift -= 4) {
        uint32_t digit = group >> shift & 15;
        if (digit > 9)
            return false;
        v = v * 10 + digit;
    }
    *octet = (uint8_t)v;
    return v <= 255;
}

struct ipv6_scan {
    uint8_t bytes[16];
    int len; /* bytes filled */
    int gap; /* where :: stood, or -1 */
};

/* Groups from the start; stops at the first byte that cannot go on. As lax as ClickHouse: a third
 * colon and a :: that stands for nothing are let pass. */
static bool scan_groups(const char **pp, const char *end, struct ipv6_scan *a)
{
    const char *p = *pp;
    bool start = true; /* a group may begin here */
    while (p < end && a->len < 16) {
        if (*p == ':') {
            start = true;
            if (++p < end && *p == ':') {
                if (a->gap >= 0)
                    return false;
                a->gap = a->len;
                p++;
                continue;
            }
            if (a->len == 0)
                return false;
            if (p == end)
                break;
        }
        if (*p == '.') {
            if ((a->len <= 2 && a->gap < 0) || start)
                return false;
            a->len -= 2;
            uint8_t *quad = a->bytes + a->len;
            if (a->len > 12 || !group_as_octet((uint32_t)quad[0] << 8 | quad[1], quad))
                return false;
            p++;
            if (!scan_octets(&p, end, 1, quad))
                return false;
            a->len += 4;
            break;
        }
        if (!start)
            break;
        start = false;
        uint32_t group;
        if (scan_group(&p, end, &group) == 0)
            break;
        a->bytes[a->len] = (uint8_t)(group >> 8);
        a->bytes[a->len + 1] = (uint8_t)group;
        a->len += 2;
    }
    *pp = p;
    return true;
}

static bool scan_ipv6(const char **pp, const char *end, uint8_t dst[16])
{
    struct ipv6_scan a = {.gap = -1};
    if (!scan_groups(pp, end, &a))
        return false;
    if (a.gap < 0 && a.len < 16)
        return false;
    memset(dst, 0, 16);
    size_t head = (size_t)(a.gap < 0 ? a.len : a.gap), tail = (size_t)a.len - head;
    memcpy(dst, a.bytes, head);
    memcpy(dst + 16 - tail, a.bytes + head, tail);
    return true;
}

/* A dotted quad becomes ::ffff:a.b.c.d; its first octet has no needless zero, unlike the others. */
static bool scan_ipv6_or_ipv4(const char **pp, const char *end, uint8_t dst[16])
{
    const char *p = *pp;
    uint32_t group;
    int digits = scan_group(&p, end, &group);
    if (p == end || *p != '.')
        return scan_ipv6(pp, end, dst);
    if (digits == 0 || digits > 3 || (digits > 1 && **pp == '0'))
        return false;
    memset(dst, 0, 10);
    dst[10] = dst[11] = 0xff;
    *pp = p + 1;
    return group_as_octet(group, dst + 12) && scan_octets(pp, end, 1, dst + 12);
}

int coerce_ipv6(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind != JSON_STRING)
        return CHE_INPUT;
    struct slice s = json_raw(doc, n);
    const char *p = s.ptr, *end = s.ptr + s.len;
    uint8_t a[16];
    if (!scan_ipv6_or_ipv4(&p, end, a))
        return CHE_IPV6;
    if (p != end)
        return CHE_TRAILING_DATA;
    char *dst = column_extend(c, 16);
    if (dst == NULL)
        return -ENOMEM;
    memcpy(dst, a, 16);
    return 0;
}
