/* SPDX-License-Identifier: Apache-2.0 */
/* The values of a block's only row back as JSON, as a query renders them (http-api §8.6).
 *
 * Every column of a tree is read in order from its start, like the wire form: `at` holds a place
 * for each node of the block. A dictionary's values are read where its entries are. */
#include "base/le.h"
#include "clickhouse/columns_priv.h"
#include "schema/civil.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct show {
    const struct column *first; /* node 0 of the block */
    size_t *at;                 /* bytes read of each node's data */
    struct buf *out;
    bool quoted; /* a key of a Map: everything is a string */
};

/* ---- numbers */

/* Digits of a little-endian integer of n bytes. */
static void put_wide(struct buf *out, const char *p, uint32_t n, bool is_signed, uint32_t scale)
{
    enum {
        DIGITS_MAX = 80
    };
    uint32_t limb[8] = {0};
    char digits[DIGITS_MAX];
    size_t at = sizeof(digits);
    bool negative = is_signed && ((unsigned char)p[n - 1] & 0x80) != 0;
    uint64_t carry = negative;
    memset(limb, negative ? 0xff : 0, sizeof(limb));
    memcpy(limb, p, n);
    for (uint32_t i = 0; i < 8 && negative; i++) {
        carry += (uint32_t)~limb[i];
        limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    bool more = true;
    for (uint32_t d = 0; more || d <= scale; d++) {
        uint64_t rest = 0;
        more = false;
        for (int i = 7; i >= 0; i--) {
            rest = rest << 32 | limb[i];
            limb[i] = (uint32_t)(rest / 10);
            rest %= 10;
            more = more || limb[i] != 0;
        }
        digits[--at] = (char)('0' + rest);
    }
    size_t point = sizeof(digits) - scale, end = sizeof(digits);
    while (end > point && digits[end - 1] == '0') /* as ClickHouse prints them */
        end--;
    if (negative)
        buf_put_u8(out, '-');
    buf_put(out, digits + at, point - at);
    if (end == point)
        return;
    buf_put_u8(out, '.');
    buf_put(out, digits + point, end - point);
}

static bool reads_back(const char *text, double v, bool is_float)
{
    return is_float ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v;
}

/* The fewest digits that read back as v (positive, finite), without the point; *exponent: of the
 * first digit. The nearest text of n digits may miss where the lower neighbour is closer than the
 * upper one; then the next one above is tried. */
static size_t shortest_digits(double v, bool is_float, char digits[20], int *exponent)
{
    char text[40];
    int most = is_float ? 9 : 17;
    for (int n = 1; n <= most; n++) {
        (void)snprintf(text, sizeof(text), "%.*e", n - 1, v);
        bool good = reads_back(text, v, is_float);
        char *last = text + (n == 1 ? 0 : n);
        if (!good && n < most && *last < '9') {
            ++*last;
            good = reads_back(text, v, is_float);
        }
        if (!good && n < most)
            continue;
        digits[0] = text[0];
        for (int i = 1; i < n; i++)
            digits[i] = text[i + 1];
        *exponent = atoi(strchr(text, 'e') + 1);
        return (size_t)n;
    }
    return 0;
}

/* ECMAScript's notation but for the sign of a positive exponent: a plain number from 1e-6 to below
 * 1e21. */
static void put_float(struct buf *out, double v, bool is_float)
{
    enum {
        PLAIN_LOW = -7,
        PLAIN_HIGH = 21
    };
    static const char zeros[] = "00000000000000000000000";
    char digits[20];
    int e = 0;
    if (!isfinite(v)) {
        buf_put_str(out, "null");
        return;
    }
    if (signbit(v))
        buf_put_u8(out, '-');
    v = fabs(v);
    if (v == 0) {
        buf_put_u8(out, '0');
        return;
    }
    size_t n = shortest_digits(v, is_float, digits, &e);
    if (e <= PLAIN_LOW || e >= PLAIN_HIGH) {
        buf_put_u8(out, (uint8_t)digits[0]);
        if (n > 1)
            buf_put_u8(out, '.');
        buf_put(out, digits + 1, n - 1);
        buf_printf(out, "e%d", e);
    } else if (e < 0) {
        buf_put(out, "0.", 2);
        buf_put(out, zeros, (size_t)(-e - 1));
        buf_put(out, digits, n);
    } else if ((size_t)e + 1 >= n) {
        buf_put(out, digits, n);
        buf_put(out, zeros, (size_t)e + 1 - n);
    } else {
        buf_put(out, digits, (size_t)e + 1);
        buf_put_u8(out, '.');
        buf_put(out, digits + e + 1, n - (size_t)e - 1);
    }
}

static void put_floating(struct buf *out, const char *p, uint32_t width)
{
    double v;
    float f;
    if (width == 8) {
        memcpy(&v, p, 8);
        put_float(out, v, false);
        return;
    }
    uint32_t bits = width == 4 ? le32_get(p) : (uint32_t)le16_get(p) << 16;
    memcpy(&f, &bits, 4);
    put_float(out, (double)f, true);
}

/* ---- times */

/* The days that a year of four digits can say; what is beyond them is shown as the nearest. */
enum {
    DAY_LEAST = -719528, /* 0000-01-01 */
    DAY_LAST = 2932896   /* 9999-12-31 */
};

static void put_date(struct buf *out, int32_t days)
{
    days = days < DAY_LEAST ? DAY_LEAST : days > DAY_LAST ? DAY_LAST : days;
    struct civil_date d = civil_from_days(days);
    buf_printf(out, "\"%04d-%02u-%02u\"", d.year, d.month, d.day);
}

/* Alone: http-api §7.4. In arrays and the like: ClickHouse's text, in the column's zone. */
static void put_time(struct buf *out, const struct column *c, int64_t v, bool alone)
{
    int64_t unit = 1;
    uint32_t digits = c->type->kind == CH_DATETIME64 ? c->precision : 0;
    for (uint32_t i = 0; i < digits; i++)
        unit *= 10;
    int64_t s = v / unit, fraction = v % unit;
    if (fraction < 0) {
        fraction += unit;
        s--;
    }
    if (!alone)
        s += zones_offset(c->zone, s);
    const int64_t least = (int64_t)DAY_LEAST * CIVIL_DAY_S,
                  last = (int64_t)(DAY_LAST + 1) * CIVIL_DAY_S - 1;
    s = s < least ? least : s > last ? last : s;
    int32_t day = civil_day_of(s);
    uint32_t in_day = (uint32_t)(s - (int64_t)day * CIVIL_DAY_S);
    struct civil_date d = civil_from_days(day);
    buf_printf(out, "\"%04d-%02u-%02u%c%02u:%02u:%02u", d.year, d.month, d.day, alone ? 'T' : ' ',
               in_day / 3600, in_day / 60 % 60, in_day % 60);
    while (alone && digits > 0 && fraction % 10 == 0) {
        fraction /= 10;
        digits--;
    }
    if (digits > 0)
        buf_printf(out, ".%0*lld", (int)digits, (long long)fraction);
    buf_put_str(out, alone ? "Z\"" : "\"");
}

/* ---- values with one text form */

static void put_enum(struct buf *out, const struct column *c, int16_t v)
{
    for (uint32_t i = 0; i < c->type->enum_count; i++)
        if (c->type->enum_items[i].value == v) {
            buf_put_json_string(out, c->type->enum_items[i].name);
            return;
        }
    buf_put_str(out, "null"); /* cannot be: the encoder takes declared values only */
}

static void put_uuid(struct buf *out, const char *p)
{
    uint64_t high = le64_get(p), low = le64_get(p + 8);
    buf_printf(out, "\"%08x-%04x-%04x-%04x-%012llx\"", (unsigned)(high >> 32),
               (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff), (unsigned)(low >> 48),
               (unsigned long long)(low & 0xffffffffffff));
}

static void put_ipv6(struct buf *out, const unsigned char *p)
{
    int best = -1, best_len = 1, run = 0;
    for (int i = 0; i < 8; i++) {
        run = p[2 * i] == 0 && p[2 * i + 1] == 0 ? run + 1 : 0;
        if (run > best_len) {
            best_len = run;
            best = i - run + 1;
        }
    }
    /* An IPv4 address in an IPv6 one: ::ffff:a.b.c.d, or ::a.b.c.d as there once was. */
    bool mapped = best == 0 && (best_len == 6 || (best_len == 5 && p[10] == 0xff && p[11] == 0xff));
    buf_put_u8(out, '"');
    for (int i = 0; i < (mapped ? 6 : 8); i++) {
        if (i == best) {
            buf_put(out, "::", i == 0 ? 2 : 1); /* a group before has written its colon */
            i += best_len - 1;
            continue;
        }
        buf_printf(out, "%x%s", (unsigned)p[2 * i] << 8 | p[2 * i + 1], i < 7 ? ":" : "");
    }
    if (mapped)
        buf_printf(out, "%u.%u.%u.%u", p[12], p[13], p[14], p[15]);
    buf_put_u8(out, '"');
}

/* ---- any scalar at p */

static void put_unquoted(struct buf *out, const struct column *c, const char *p)
{
    switch (c->type->kind) {
    case CH_FLOAT32:
    case CH_FLOAT64:
    case CH_BFLOAT16:
        put_floating(out, p, c->width);
        break;
    case CH_BOOL:
        buf_put_str(out, *p != 0 ? "true" : "false");
        break;
    case CH_DECIMAL:
        put_wide(out, p, c->width, true, c->scale);
        break;
    default:
        put_wide(out, p, c->width, c->is_signed, 0);
    }
}

static void put_scalar(struct show *s, const struct column *c, const char *p, bool alone)
{
    struct buf *out = s->out;
    switch (c->type->kind) {
    case CH_FIXED_STRING:
        buf_put_json_string(out, (struct slice){p, c->width});
        break;
    case CH_UUID:
        put_uuid(out, p);
        break;
    case CH_IPV4:
        buf_printf(out, "\"%u.%u.%u.%u\"", (unsigned char)p[3], (unsigned char)p[2],
                   (unsigned char)p[1], (unsigned char)p[0]);
        break;
    case CH_IPV6:
        put_ipv6(out, (const unsigned char *)p);
        break;
    case CH_DATE:
        put_date(out, le16_get(p));
        break;
    case CH_DATE32:
        put_date(out, (int32_t)le32_get(p));
        break;
    case CH_DATETIME:
        put_time(out, c, le32_get(p), alone);
        break;
    case CH_DATETIME64:
        put_time(out, c, (int64_t)le64_get(p), alone);
        break;
    case CH_ENUM8:
        put_enum(out, c, (int8_t)*p);
        break;
    case CH_ENUM16:
        put_enum(out, c, (int16_t)le16_get(p));
        break;
    default:
        if (s->quoted)
            buf_put_u8(out, '"');
        put_unquoted(out, c, p);
        if (s->quoted)
            buf_put_u8(out, '"');
    }
}

/* A value of varying or fixed width at p; how many bytes it has. */
static size_t put_at(struct show *s, const struct column *c, const char *p, bool alone)
{
    if (c->width != 0) {
        put_scalar(s, c, p, alone);
        return c->width;
    }
    uint64_t len = 0;
    const char *q = p;
    for (int shift = 0;; shift += 7) {
        uint8_t b = (uint8_t)*q++;
        len |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            break;
    }
    buf_put_json_string(s->out, (struct slice){q, len});
    return (size_t)(q - p) + len;
}

/* ---- trees */

static const char *next_bytes(struct show *s, const struct column *c, size_t n)
{
    size_t *at = &s->at[c - s->first];
    const char *p = c->data.ptr + *at;
    *at += n;
    return p;
}

static void show_value(struct show *s, const struct column *c, bool alone);

static void show_nullable(struct show *s, const struct column *c, bool alone)
{
    bool null = *next_bytes(s, c, 1) != 0;
    size_t len = s->out->len;
    show_value(s, c->children, alone); /* NULL has a value behind it, too */
    if (!null || !buf_ok(s->out))
        return;
    s->out->len = len;
    buf_put_str(s->out, "null");
}

static void show_low_cardinality(struct show *s, const struct column *c, bool alone)
{
    uint32_t place = le32_get(next_bytes(s, c, 4));
    if (place == 0 && c->takes_null)
        buf_put_str(s->out, "null");
    else
        (void)put_at(s, c->children,
                     c->children->data.ptr + (place == 0 ? 0 : c->dict.ends[place - 1]), alone);
}

/* How many elements the next array has: the offsets are running ends. */
static uint64_t next_count(struct show *s, const struct column *c)
{
    size_t at = s->at[c - s->first];
    uint64_t start = at == 0 ? 0 : le64_get(c->data.ptr + at - 8);
    return le64_get(next_bytes(s, c, 8)) - start;
}

static void show_array(struct show *s, const struct column *c)
{
    uint64_t n = next_count(s, c);
    buf_put_u8(s->out, '[');
    for (uint64_t i = 0; i < n; i++) {
        if (i > 0)
            buf_put_u8(s->out, ',');
        show_value(s, c->children, false);
    }
    buf_put_u8(s->out, ']');
}

static void show_map(struct show *s, const struct column *c)
{
    uint64_t n = next_count(s, c);
    const struct column *keys = c->children, *values = keys + keys->span;
    buf_put_u8(s->out, '{');
    for (uint64_t i = 0; i < n; i++) {
        if (i > 0)
            buf_put_u8(s->out, ',');
        s->quoted = true;
        show_value(s, keys, false);
        s->quoted = false;
        buf_put_u8(s->out, ':');
        show_value(s, values, false);
    }
    buf_put_u8(s->out, '}');
}

static void show_tuple(struct show *s, const struct column *c)
{
    const struct column *child = c->children;
    bool named = c->names != NULL && c->child_count > 0;
    if (c->width != 0)
        (void)next_bytes(s, c, 1);
    buf_put_u8(s->out, named ? '{' : '[');
    for (uint32_t i = 0; i < c->child_count; i++, child += child->span) {
        if (i > 0)
            buf_put_u8(s->out, ',');
        if (named) {
            buf_put_json_string(s->out, c->names[i]);
            buf_put_u8(s->out, ':');
        }
        show_value(s, child, false);
    }
    buf_put_u8(s->out, named ? '}' : ']');
}

static void show_value(struct show *s, const struct column *c, bool alone)
{
    if (c->read == coerce_nullable)
        show_nullable(s, c, alone);
    else if (c->read == coerce_low_cardinality)
        show_low_cardinality(s, c, alone);
    else if (c->read == coerce_array)
        show_array(s, c);
    else if (c->read == coerce_map)
        show_map(s, c);
    else if (c->read == coerce_tuple)
        show_tuple(s, c);
    else {
        size_t *at = &s->at[c - s->first];
        *at += put_at(s, c, c->data.ptr + *at, alone);
    }
}

int ch_block_show(const struct ch_block *b, uint32_t ordinal, struct buf *out)
{
    int32_t slot = b->slot_of_ordinal[ordinal];
    const struct column *root = b->slots[slot].root;
    struct show s = {.first = root, .out = out};
    s.at = calloc(root->span, sizeof(*s.at));
    if (s.at == NULL)
        return -ENOMEM;
    show_value(&s, root, true);
    free(s.at);
    return buf_ok(out) ? 0 : -ENOMEM;
}
