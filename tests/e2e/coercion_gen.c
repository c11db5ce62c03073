/* SPDX-License-Identifier: Apache-2.0 */
/* JSON values for coercion_diff, made from a type: boundary values in order, then random ones in
 * every form that JSON has, then damaged ones. */
#include "tests/e2e/coercion.h"
#include "tests/e2e/coercion_edges.h"

#include <stdio.h>

uint32_t gen_below(struct gen *g, uint32_t n)
{
    /* splitmix64 */
    uint64_t z = g->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32) % n;
}

static bool chance(struct gen *g, uint32_t percent)
{
    return gen_below(g, 100) < percent;
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *pick(struct gen *g, const char *const *list, size_t n)
{
    return list[gen_below(g, (uint32_t)n)];
}
#define PICK(g, list) pick((g), (list), COUNT(list))

/* ---- pieces */

static void put_digits(struct gen *g, struct buf *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        buf_put_u8(out, (uint8_t)('0' + (i == 0 ? 1 + gen_below(g, 9) : gen_below(g, 10))));
}

/* Replace, drop or add a byte somewhere in what was written since from; never a quote or a control.
 */
static void damage(struct gen *g, struct buf *out, size_t from)
{
    static const char bytes[] = "0123456789+-.:/ eETZxaAbMPm,_%[]{}()'";
    size_t len = out->len - from, at = from + (len == 0 ? 0 : gen_below(g, (uint32_t)len));
    char c = bytes[gen_below(g, sizeof(bytes) - 1)];
    uint32_t how = gen_below(g, 3);
    if (how == 0 && len > 0) {
        out->ptr[at] = c;
    } else if (how == 1 && len > 0) {
        memmove(out->ptr + at, out->ptr + at + 1, out->len - at - 1);
        out->len--;
    } else {
        buf_put_u8(out, 0);
        memmove(out->ptr + at + 1, out->ptr + at, out->len - at - 1);
        out->ptr[at] = c;
    }
}

/* ---- numbers */

static void gen_int(struct gen *g, uint32_t number, struct buf *out)
{
    if (number < 2 * COUNT(int_edges)) {
        bool quoted = number % 2 == 1;
        buf_printf(out, quoted ? "\"%s\"" : "%s", int_edges[number / 2]);
        return;
    }
    bool quoted = chance(g, 50);
    if (quoted)
        buf_put_u8(out, '"');
    size_t from = out->len;
    if (chance(g, 35))
        buf_put_u8(out, '-');
    else if (quoted && chance(g, 10))
        buf_put_u8(out, '+');
    if (quoted && chance(g, 8))
        buf_put_str(out, "00");
    put_digits(g, out, 1 + gen_below(g, chance(g, 70) ? 10 : 80));
    if (quoted && chance(g, 20))
        damage(g, out, from);
    if (!quoted && chance(g, 8))
        buf_put_str(out, chance(g, 50) ? ".5" : "e2");
    if (quoted)
        buf_put_u8(out, '"');
}

static void put_float(struct gen *g, struct buf *out)
{
    if (chance(g, 40))
        buf_put_u8(out, '-');
    put_digits(g, out, 1 + gen_below(g, chance(g, 80) ? 6 : 40));
    if (chance(g, 70)) {
        buf_put_u8(out, '.');
        for (uint32_t n = 1 + gen_below(g, chance(g, 70) ? 8 : 40); n > 0; n--)
            buf_put_u8(out, (uint8_t)('0' + gen_below(g, 10)));
    }
    if (chance(g, 30))
        buf_printf(out, "%c%s%u", chance(g, 50) ? 'e' : 'E',
                   chance(g, 50)   ? "-"
                   : chance(g, 50) ? "+"
                                   : "",
                   gen_below(g, chance(g, 50) ? 30 : 330));
}

static void gen_float(struct gen *g, uint32_t number, struct buf *out)
{
    if (number < COUNT(float_edges)) {
        buf_put_str(out, float_edges[number]);
    } else if (number < COUNT(float_edges) + COUNT(float_words)) {
        buf_put_str(out, float_words[number - COUNT(float_edges)]);
    } else if (chance(g, 40)) {
        buf_put_u8(out, '"');
        size_t from = out->len;
        put_float(g, out);
        if (chance(g, 25))
            damage(g, out, from);
        buf_put_u8(out, '"');
    } else {
        put_float(g, out);
    }
}

static void gen_decimal(struct gen *g, const struct ch_type *t, uint32_t number, struct buf *out)
{
    if (number < COUNT(decimal_edges)) {
        buf_put_str(out, decimal_edges[number]);
        return;
    }
    bool quoted = chance(g, 50);
    if (quoted)
        buf_put_u8(out, '"');
    size_t from = out->len;
    if (chance(g, 40))
        buf_put_u8(out, '-');
    uint32_t whole = t->precision - t->scale;
    if (chance(g, 30)) { /* the limits */
        for (uint32_t i = 0; i < whole; i++)
            buf_put_u8(out, '9');
        if (whole == 0 || chance(g, 10))
            buf_put_u8(out, '0');
    } else {
        put_digits(g, out, 1 + gen_below(g, whole + 1));
    }
    if (chance(g, 70)) {
        buf_put_u8(out, '.');
        for (uint32_t n = 1 + gen_below(g, t->scale + 3u); n > 0; n--)
            buf_put_u8(out, (uint8_t)('0' + (chance(g, 60) ? gen_below(g, 10) : 0)));
    }
    if (chance(g, 20))
        buf_printf(out, "e%d", (int)gen_below(g, 12) - 6);
    if (quoted && chance(g, 15))
        damage(g, out, from);
    if (quoted)
        buf_put_u8(out, '"');
}

/* ---- text */

static void gen_string(struct gen *g, struct buf *out)
{
    buf_put_u8(out, '"');
    uint32_t n = gen_below(g, chance(g, 80) ? 8 : 200);
    for (uint32_t i = 0; i < n; i++)
        buf_put_str(out, chance(g, 2) ? PICK(g, bad_pieces) : PICK(g, string_pieces));
    buf_put_u8(out, '"');
}

static void gen_json(struct gen *g, struct buf *out, int depth);

static void gen_json_container(struct gen *g, struct buf *out, int depth)
{
    bool object = chance(g, 50);
    buf_put_u8(out, object ? '{' : '[');
    uint32_t n = gen_below(g, 4);
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            buf_put_str(out, chance(g, 50) ? "," : " , ");
        if (object) {
            gen_string(g, out);
            buf_put_u8(out, ':');
        }
        gen_json(g, out, depth + 1);
    }
    buf_put_u8(out, object ? '}' : ']');
}

static void gen_json(struct gen *g, struct buf *out, int depth)
{
    switch (gen_below(g, depth > 3 ? 3 : 5)) {
    case 0:
        gen_string(g, out);
        break;
    case 1:
        put_float(g, out);
        break;
    case 2:
        buf_put_str(out, PICK(g, odd_values));
        break;
    default:
        gen_json_container(g, out, depth);
    }
}

static void gen_fixed_string(struct gen *g, const struct ch_type *t, struct buf *out)
{
    buf_put_u8(out, '"');
    uint32_t n = gen_below(g, t->width + 2);
    while (n > 0) {
        if (n >= 2 && chance(g, 20)) {
            buf_put_str(out, chance(g, 50) ? "é" : "\\u00e9");
            n -= 2;
        } else {
            buf_put_str(out, chance(g, 10) ? "\\n" : "k");
            n--;
        }
    }
    buf_put_u8(out, '"');
}

static void gen_enum(struct gen *g, const struct ch_type *t, struct buf *out)
{
    const struct ch_enum_item *item = &t->enum_items[gen_below(g, t->enum_count)];
    if (chance(g, 50)) {
        buf_put_json_string(out, item->name);
        if (chance(g, 10))
            out->ptr[out->len - 2] = 'q';
    } else if (chance(g, 50)) {
        buf_printf(out, "%d",
                   item->value + (chance(g, 20) ? (int)gen_below(g, 3) : 0) +
                       (chance(g, 10) ? 256 : 0));
    } else {
        buf_printf(out, "\"%s%d\"", chance(g, 10) ? "+" : "",
                   item->value + (chance(g, 20) ? (int)gen_below(g, 3) : 0));
    }
}

static void gen_uuid(struct gen *g, struct buf *out)
{
    static const char lower[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";
    const char *hex = chance(g, 70) ? lower : upper;
    bool dashes = chance(g, 70);
    buf_put_u8(out, '"');
    size_t from = out->len;
    for (uint32_t i = 0; i < 32; i++) {
        if (dashes && (i == 8 || i == 12 || i == 16 || i == 20))
            buf_put_u8(out, '-');
        buf_put_u8(out, (uint8_t)hex[gen_below(g, 16)]);
    }
    if (chance(g, 25))
        damage(g, out, from);
    buf_put_u8(out, '"');
}

static void put_quad(struct gen *g, struct buf *out)
{
    for (int i = 0; i < 4; i++)
        buf_printf(out, "%s%s%u", i > 0 ? "." : "", chance(g, 5) ? "0" : "",
                   gen_below(g, chance(g, 95) ? 256 : 2000));
}

static void gen_ip(struct gen *g, bool six, uint32_t number, struct buf *out)
{
    if (number < COUNT(ipv6_edges)) {
        buf_printf(out, "\"%s\"", ipv6_edges[number]);
        return;
    }
    buf_put_u8(out, '"');
    size_t from = out->len;
    if (!six || chance(g, 20)) {
        put_quad(g, out);
    } else {
        uint32_t groups = chance(g, 50) ? 8 : gen_below(g, 8), gap = gen_below(g, 8);
        for (uint32_t i = 0; i < groups; i++)
            buf_printf(out, "%s%x",
                       i == 0                   ? ""
                       : groups < 8 && i == gap ? "::"
                                                : ":",
                       gen_below(g, chance(g, 50) ? 65536 : 16));
        if (groups < 8 && gap >= groups)
            buf_put_str(out, "::");
        if (chance(g, 10)) {
            buf_put_u8(out, ':');
            put_quad(g, out);
        }
    }
    if (chance(g, 20))
        damage(g, out, from);
    buf_put_u8(out, '"');
}

/* ---- dates and times */

static void gen_date(struct gen *g, uint32_t number, struct buf *out)
{
    if (number < COUNT(date_edges)) {
        buf_printf(out, "\"%s\"", date_edges[number]);
    } else if (chance(g, 20)) {
        gen_int(g, UINT32_MAX, out);
    } else {
        static const char separators[] = "-/. :x";
        char s = separators[gen_below(g, chance(g, 80) ? 1 : sizeof(separators) - 1)];
        buf_put_u8(out, '"');
        size_t from = out->len;
        uint32_t y = chance(g, 80) ? 1890 + gen_below(g, 420) : gen_below(g, 10000);
        const char *format = chance(g, 20) ? "%04u%c%u%c%u" : "%04u%c%02u%c%02u";
        uint32_t m = 1 + gen_below(g, chance(g, 95) ? 12 : 99);
        uint32_t d = 1 + gen_below(g, chance(g, 95) ? 31 : 99);
        char text[64];
        if (chance(g, 10))
            (void)snprintf(text, sizeof(text), "%04u%02u%02u", y, m, d);
        else if (format[5] == 'u')
            (void)snprintf(text, sizeof(text), "%04u%c%u%c%u", y, s, m, s, d);
        else
            (void)snprintf(text, sizeof(text), "%04u%c%02u%c%02u", y, s, m, s, d);
        buf_put_str(out, text);
        if (chance(g, 10))
            damage(g, out, from);
        buf_put_u8(out, '"');
    }
}

static void put_datetime(struct gen *g, struct buf *out)
{
    static const char *const joins[] = {" ", "T", "T", ", ", "  "};
    static const char *const tails[] = {"",          "",     "Z",    "Z",    "+02:00",      "-0530",
                                        " +1",       " UTC", " GMT", " MSK", " PM",         "AM",
                                        " am",       ".5",   ".123", ".25Z", ".123456789Z", "-03",
                                        ".999+01:00"};
    static const char *const months[] = {"Jan", "feb", "March", "APR", "may", "June",
                                         "Jul", "Aug", "Sept",  "Oct", "nov", "December"};
    uint32_t y = chance(g, 70)   ? 1970 + gen_below(g, 80)
                 : chance(g, 80) ? 1880 + gen_below(g, 430)
                                 : gen_below(g, 10000);
    uint32_t m = 1 + gen_below(g, chance(g, 97) ? 12 : 20),
             d = 1 + gen_below(g, chance(g, 90) ? 28 : 33);
    switch (gen_below(g, 9)) {
    case 0:
        buf_printf(out, "%u %s %04u", d, months[(m - 1) % 12], y);
        break;
    case 1:
        buf_printf(out, "%s %u, %04u", months[(m - 1) % 12], d, y);
        break;
    case 2:
        buf_printf(out, "%02u/%02u/%04u", d, m, y);
        break;
    case 3:
        buf_printf(out, "%04u%02u%02u", y, m, d);
        break;
    default:
        buf_printf(out, "%04u-%02u-%02u", y, m, d);
    }
    if (chance(g, 85)) {
        buf_put_str(out, PICK(g, joins));
        buf_printf(out, "%02u:%02u", gen_below(g, chance(g, 97) ? 24 : 99), gen_below(g, 60));
        if (chance(g, 85))
            buf_printf(out, ":%02u", gen_below(g, 60));
        buf_put_str(out, PICK(g, tails));
    }
}

static void gen_datetime(struct gen *g, uint32_t number, struct buf *out)
{
    if (number < COUNT(time_edges)) {
        buf_printf(out, "\"%s\"", time_edges[number]);
        return;
    }
    switch (gen_below(g, 8)) {
    case 0:
        gen_int(g, chance(g, 50) ? gen_below(g, 40) : UINT32_MAX, out);
        break;
    case 1:
        buf_printf(out, "%s%u", chance(g, 10) ? "-" : "", gen_below(g, UINT32_MAX));
        break;
    case 2:
        buf_put_u8(out, '"');
        put_digits(g, out, chance(g, 50) ? 10 : 1 + gen_below(g, 20));
        if (chance(g, 30))
            buf_printf(out, ".%u", gen_below(g, 100000));
        buf_put_u8(out, '"');
        break;
    default:
        buf_put_u8(out, '"');
        size_t from = out->len;
        put_datetime(g, out);
        if (chance(g, 15))
            damage(g, out, from);
        buf_put_u8(out, '"');
    }
}

/* ---- types made of types */

static void gen_inner(struct gen *g, const struct ch_type *t, struct buf *out)
{
    /* Inside a container most values are good, or hardly any container would be. */
    if (chance(g, 90) && t->kind <= CH_UINT256)
        buf_printf(out, chance(g, 50) ? "%u" : "\"%u\"", gen_below(g, 300));
    else if (chance(g, 80) && (t->kind == CH_FLOAT32 || t->kind == CH_FLOAT64))
        put_float(g, out);
    else if (chance(g, 90) && (t->kind == CH_DATE || t->kind == CH_DATE32))
        buf_printf(out, "\"%u-%02u-%02u\"", 1970 + gen_below(g, 100), 1 + gen_below(g, 12),
                   1 + gen_below(g, 28));
    else if (chance(g, 5))
        buf_put_str(out, PICK(g, odd_values));
    else
        gen_value(g, t, 100000, out);
}

static void gen_array(struct gen *g, const struct ch_type *t, struct buf *out)
{
    uint32_t n = gen_below(g, chance(g, 90) ? 4 : 20);
    buf_put_u8(out, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            buf_put_str(out, chance(g, 80) ? "," : " , ");
        gen_inner(g, t, out);
    }
    buf_put_u8(out, ']');
}

static void gen_map(struct gen *g, const struct ch_type *t, struct buf *out)
{
    uint32_t n = gen_below(g, 4);
    buf_put_u8(out, '{');
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            buf_put_u8(out, ',');
        size_t from = out->len;
        gen_inner(g, t->children[0], out);
        if (out->ptr[from] != '"') { /* a key is a string */
            out->len = from;
            buf_printf(out, "\"%u\"", gen_below(g, 100));
        }
        buf_put_u8(out, ':');
        gen_inner(g, t->children[1], out);
    }
    buf_put_u8(out, '}');
}

static void gen_tuple_object(struct gen *g, const struct ch_type *t, struct buf *out)
{
    bool first = true;
    uint32_t start = gen_below(g, t->child_count);
    buf_put_u8(out, '{');
    for (uint32_t i = 0; i < t->child_count; i++) {
        uint32_t e = (start + i) % t->child_count;
        if (chance(g, 10))
            continue;
        if (!first)
            buf_put_u8(out, ',');
        buf_put_json_string(out, t->names[e]);
        buf_put_u8(out, ':');
        gen_inner(g, t->children[e], out);
        if (chance(g, 3)) {
            buf_put_u8(out, ',');
            buf_put_json_string(out, t->names[e]);
            buf_put_str(out, ":null");
        }
        if (chance(g, 5))
            buf_put_str(out, ",\"other\":{\"x\":[1,\"}\"]}");
        first = false;
    }
    buf_put_u8(out, '}');
}

static void gen_tuple(struct gen *g, const struct ch_type *t, struct buf *out)
{
    if (t->names != NULL && chance(g, 95)) {
        gen_tuple_object(g, t, out);
        return;
    }
    buf_put_u8(out, '[');
    uint32_t n = chance(g, 95) ? t->child_count : gen_below(g, 5);
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            buf_put_u8(out, ',');
        gen_inner(g, t->children[i % t->child_count], out);
    }
    buf_put_u8(out, ']');
}

/* The declared values do not include 0: what null stores there cannot be read back (691). */
static bool null_is_unreadable(const struct ch_type *t)
{
    if (t->kind == CH_NULLABLE)
        return false;
    for (uint32_t i = 0; i < t->child_count; i++)
        if (null_is_unreadable(t->children[i]))
            return true;
    for (uint32_t i = 0; i < t->enum_count; i++)
        if (t->enum_items[i].value == 0)
            return false;
    return t->enum_count > 0;
}

static void gen_kind(struct gen *g, const struct ch_type *t, uint32_t number, struct buf *out)
{
    switch (t->kind) {
    case CH_FLOAT32:
    case CH_FLOAT64:
    case CH_BFLOAT16:
        gen_float(g, number, out);
        break;
    case CH_BOOL:
        buf_put_str(out, chance(g, 50) ? "true" : chance(g, 50) ? "false" : PICK(g, odd_values));
        break;
    case CH_STRING:
        if (chance(g, 60))
            gen_string(g, out);
        else
            gen_json(g, out, 0);
        break;
    case CH_FIXED_STRING:
        gen_fixed_string(g, t, out);
        break;
    case CH_UUID:
        gen_uuid(g, out);
        break;
    case CH_IPV4:
    case CH_IPV6:
        gen_ip(g, t->kind == CH_IPV6, number, out);
        break;
    case CH_DATE:
    case CH_DATE32:
        gen_date(g, number, out);
        break;
    case CH_DATETIME:
    case CH_DATETIME64:
        gen_datetime(g, number, out);
        break;
    case CH_DECIMAL:
        gen_decimal(g, t, number, out);
        break;
    case CH_ENUM8:
    case CH_ENUM16:
        gen_enum(g, t, out);
        break;
    case CH_ARRAY:
        gen_array(g, t->children[0], out);
        break;
    case CH_MAP:
        gen_map(g, t, out);
        break;
    case CH_TUPLE:
        gen_tuple(g, t, out);
        break;
    case CH_NULLABLE:
    case CH_LOW_CARDINALITY:
    case CH_SIMPLE_AGGREGATE:
        gen_value(g, t->children[0], number, out);
        break;
    default:
        gen_int(g, number, out);
    }
}

void gen_value(struct gen *g, const struct ch_type *t, uint32_t number, struct buf *out)
{
    size_t from = out->len;
    bool composite = t->kind == CH_ARRAY || t->kind == CH_MAP || t->kind == CH_TUPLE;
    uint32_t odd = (uint32_t)COUNT(odd_values);
    /* A top-level type starts with the odd ones; its own boundary values follow. */
    if (number < odd)
        buf_put_str(out, odd_values[number]);
    else if (chance(g, composite ? 4 : 6) && number >= 1000)
        buf_put_str(out, PICK(g, odd_values));
    else
        gen_kind(g, t, number >= 100000 ? number : number - odd, out);
    if (null_is_unreadable(t) && out->len - from >= 4)
        for (size_t i = from; i + 4 <= out->len; i++)
            if (memcmp(out->ptr + i, "null", 4) == 0)
                memcpy(out->ptr + i, "1111", 4);
}
