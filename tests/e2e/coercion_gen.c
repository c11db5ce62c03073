/* SPDX-License-Identifier: Apache-2.0 */
/* JSON values for coercion_diff, made from a type: boundary values in order, then random ones in
 * every form that JSON has, then damaged ones. */
#include "tests/e2e/coercion.h"

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

/* Values of other kinds than the type's usual one. */
static const char *const odd_values[] = {"null",    "true",   "false", "0",         "1",
                                         "-1",      "1.5",    "1e3",   "\"\"",      "\"a\"",
                                         "\" \"",   "\"1\"",  "\"-\"", "\"null\"",  "[]",
                                         "[1]",     "[null]", "{}",    "{\"a\":1}", "\"true\"",
                                         "\"t\"",   "\"f\"",  "[[1]]", "\"nan\"",   "\"\\u0031\"",
                                         "\"\\n\"", "-0",     "1E400", "\"[1]\"",   "\"{}\"",
                                         "\"+\"",   "\"1 \""};

/* ---- numbers */

static const char *const int_edges[] = {
    "0",
    "-0",
    "127",
    "128",
    "-128",
    "-129",
    "255",
    "256",
    "32767",
    "32768",
    "-32768",
    "-32769",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "170141183460469231731687303715884105727",
    "170141183460469231731687303715884105728",
    "-170141183460469231731687303715884105728",
    "-170141183460469231731687303715884105729",
    "340282366920938463463374607431768211455",
    "340282366920938463463374607431768211456",
    "57896044618658097711785492504343953926634992332820282019728792003956564819967",
    "57896044618658097711785492504343953926634992332820282019728792003956564819968",
    "-57896044618658097711785492504343953926634992332820282019728792003956564819968",
    "-57896044618658097711785492504343953926634992332820282019728792003956564819969",
    "115792089237316195423570985008687907853269984665640564039457584007913129639935",
    "115792089237316195423570985008687907853269984665640564039457584007913129639936",
    "99999999999999999999999999999999999999999999999999999999999999999999999999999999"};

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

static const char *const float_edges[] = {"0",
                                          "-0",
                                          "-0.0",
                                          "1",
                                          "0.1",
                                          "1e22",
                                          "1e23",
                                          "9007199254740992",
                                          "9007199254740993",
                                          "9007199254740994",
                                          "5e-324",
                                          "2.4703282292062327e-324",
                                          "2.4703282292062328e-324",
                                          "2.2250738585072014e-308",
                                          "2.2250738585072011e-308",
                                          "1.7976931348623157e308",
                                          "1.7976931348623158e308",
                                          "1.7976931348623159e308",
                                          "1e309",
                                          "-1e309",
                                          "1e-400",
                                          "1e400",
                                          "3.4028234663852886e38",
                                          "3.4028235677973366e38",
                                          "3.4028235677973367e38",
                                          "3.4028236e38",
                                          "1.17549435e-38",
                                          "1.4e-45",
                                          "7.006492321624085e-46",
                                          "7.006492321624086e-46",
                                          "16777216",
                                          "16777217",
                                          "16777219",
                                          "33554433.5",
                                          "0.000001",
                                          "123456789.123456789",
                                          "8.41e21",
                                          "1.00000005960464477539062500000",
                                          "1.00000005960464477539062500001",
                                          "1.00000017881393432617187500000",
                                          "0.30000000000000004",
                                          "1e00005",
                                          "1E-7",
                                          "6.02214076e23",
                                          "179769313486231580793728971405301e276",
                                          "4.35",
                                          "4.349999999999999644728632"};
static const char *const float_words[] = {"\"nan\"",
                                          "\"NaN\"",
                                          "\"-nan\"",
                                          "\"+nan\"",
                                          "\"inf\"",
                                          "\"-inf\"",
                                          "\"+Inf\"",
                                          "\"Infinity\"",
                                          "\"-INFINITY\"",
                                          "\"infinit\"",
                                          "\"nan(1)\"",
                                          "\"na\"",
                                          "\"i\"",
                                          "\"1.\"",
                                          "\".5\"",
                                          "\".\"",
                                          "\"+.5\"",
                                          "\"1.e5\"",
                                          "\".e5\"",
                                          "\"1e\"",
                                          "\"1e+\"",
                                          "\"0x10\"",
                                          "\"1.5.5\"",
                                          "\"-\"",
                                          "\"1e99999999999\"",
                                          "\"1e-99999999999\"",
                                          "\"1_0\"",
                                          "\"nanx\"",
                                          "\"infx\"",
                                          "\"tru\""};

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

/* Not 1e-2147483648: ClickHouse 26.7 negates the exponent and dies of it (SIGFPE). */
static const char *const decimal_edges[] = {
    "0",
    "-0",
    "0.0",
    "0e100",
    "0e5",
    "1e-100",
    "1e100",
    "\"1e\"",
    "\"1e+\"",
    "\"1e+2\"",
    "\"1.2.3\"",
    "\".\"",
    "\"-\"",
    "\"+1\"",
    "\"+\"",
    "\".5\"",
    "\"5.\"",
    "\"00000.5\"",
    "\"1e99999999999\"",
    "\"1e2147483648\"",
    "\"1e-2147483649\"",
    "\"--1\"",
    "\"1e5x\"",
    "1.999",
    "-1.999",
    "0.00000000000000000000000000000000000000000000000000000000000000000000000000000001",
    "1.0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    "\"0.0005e3\"",
    "\"0.10e1\"",
    "\"10e-1\"",
    "\"e5\"",
    "\".e5\"",
    "1e0",
    "\"1E1\"",
    "\"0.0.1\""};

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

static const char *const string_pieces[] = {"a",
                                            "Z",
                                            "0",
                                            " ",
                                            "/",
                                            "\\/",
                                            "\\\"",
                                            "\\\\",
                                            "\\b",
                                            "\\f",
                                            "\\n",
                                            "\\r",
                                            "\\t",
                                            "\\u0000",
                                            "\\u0041",
                                            "\\u00e9",
                                            "\\u20AC",
                                            "\\uFFFF",
                                            "\\ud83d\\ude00",
                                            "\\uDBFF\\uDFFF",
                                            "é",
                                            "€",
                                            "😀",
                                            "\xef\xbf\xbf",
                                            "\xc2\x80",
                                            "'",
                                            "`",
                                            "{",
                                            "}",
                                            "[",
                                            "]",
                                            ":",
                                            ",",
                                            "x\\u007f",
                                            "\x7f",
                                            "日本語"};
static const char *const bad_pieces[] = {"\\ud83d",        "\\ude00",        "\\ud800x",
                                         "\\ud83d\\u0041", "\\ud83d\\ud83d", "\\udc00\\ud800"};

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

static const char *const ipv6_edges[] = {"::",
                                         "::1",
                                         "1::",
                                         "1:2:3:4:5:6:7:8",
                                         "1:2:3:4:5:6:7",
                                         "1:2:3:4:5:6:7:8:9",
                                         "1:2:3:4:5:6:7::",
                                         "::2:3:4:5:6:7:8",
                                         "1::8",
                                         "1::2::3",
                                         ":::",
                                         "1:::2",
                                         "::1:",
                                         "1:",
                                         ":1",
                                         "1:2:3:4:5:6:7:8:",
                                         "::ffff:1.2.3.4",
                                         "::1.2.3.4",
                                         "1:2:3:4:5:6:1.2.3.4",
                                         "1:2:3:4:5:6:7:1.2.3.4",
                                         "1::1.2.3.4:5",
                                         "::256.1.1.1",
                                         "::1.2.3",
                                         "12345::",
                                         "0001::",
                                         "00001::",
                                         "::01.2.3.4",
                                         "01.2.3.4",
                                         "1.02.3.4",
                                         "1.2.3.4",
                                         "1.2.3",
                                         "1.2.3.4.5",
                                         "f.2.3.4",
                                         "1f.2.3.4",
                                         "1:2",
                                         "::%1",
                                         "::1/64",
                                         "[::1]",
                                         "g::",
                                         "1::1.2.3.4",
                                         "1:1.2.3.4",
                                         "::1:1.2.3.4",
                                         "1:2:3:4:5:6:7:8::",
                                         "::1:2:3:4:5:6:7:8",
                                         "ABCD:ef01::9",
                                         "1.2.3.4:",
                                         "1:.2.3.4",
                                         "::.2.3.4",
                                         "1000.2.3.4",
                                         "0.0.0.0",
                                         "00.0.0.0"};

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

static const char *const date_edges[] = {
    "2024-01-02",  "2024-1-2",   "2024/01/02",  "20240102",
    "2024-02-29",  "2023-02-29", "2024-02-30",  "2024-04-31",
    "2024-13-01",  "2024-00-10", "2024-01-00",  "2024-01-32",
    "0000-00-00",  "1969-12-31", "1970-01-01",  "1970-01-02",
    "2149-06-06",  "2149-06-07", "2299-12-31",  "2300-01-01",
    "2300-13-01",  "1900-01-01", "1899-12-31",  "9999-12-31",
    "0001-01-01",  "2024-01",    "2024",        "2024-1",
    "24-01-02",    "2024-01-0",  "2024-01-02x", "2024-01-02 00:00:00",
    "2024.01.02",  "2024a01b02", "2024 01 02",  "2024-001-02",
    "2024-01-002", "202401",     "2024010",     "202401023",
    "12345678",    "99999999",   "2024--1-2",   "2024-1--2",
    "é024-01-02",  "2024é01é02", "1900-02-29",  "2100-02-29",
    "2024-1-2 "};

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

static const char *const time_edges[] = {"1704164645",
                                         "0",
                                         "123456789",
                                         "12345",
                                         "12345678901",
                                         "1704164645123",
                                         "1704164645123456",
                                         "1704164645123456789",
                                         "17041646451234567890",
                                         "1704164645.5",
                                         "1704164645.123456789",
                                         "1704164645123.5",
                                         "999999999.999999999999999999999",
                                         "4294967295",
                                         "4294967296",
                                         "-5",
                                         "+5",
                                         "20240102",
                                         "20240102030405",
                                         "202401",
                                         "2024",
                                         "2024-01",
                                         "2024-01-02",
                                         "2024-01-02T03:04:05Z",
                                         "2024-01-02T03:04:05.123Z",
                                         "2024-01-02T03:04:05.123456789Z",
                                         "2024-01-02T03:04:05.1234567891Z",
                                         "2024-01-02T03:04:05.123456789012345678Z",
                                         "2024-01-02T03:04:05.1234567890123456789Z",
                                         "2024-01-02T03:04:05.12345678901234567890Z",
                                         "2024-01-02T03:04:05.Z",
                                         "2024-01-02 03:04:05",
                                         "2024-01-02T03:04:05+02:00",
                                         "2024-01-02T03:04:05-0530",
                                         "2024-01-02T03:04:05-5",
                                         "2024-01-02T03:04:05+530",
                                         "2024-01-02 03:04:05 +02:00",
                                         "2024-01-02 03:04:05+02:00+01:00",
                                         "2024-01-02 03:04:05-02:00+01:00",
                                         "2024-01-02 030405",
                                         "2024-01-02+030405",
                                         "2024-01-02 03",
                                         "2024-01-02 03 04",
                                         "2024-01-02 03:4",
                                         "2024-01-02 3:4:5",
                                         "2024-01-02 03:04 PM",
                                         "2024-01-02 12:00 AM",
                                         "2024-01-02 12:00pm",
                                         "2024-01-02 13:00 AM",
                                         "2024-01-02 3 PM",
                                         "2024-01-02 AM PM 12:00",
                                         "Jan 2 2024",
                                         "2 Jan 2024",
                                         "January 2, 2024",
                                         "Jan 2, 2024 03:04",
                                         "2-Jan-2024",
                                         "2/Jan/2024:03:04:05 +0000",
                                         "02/Jan/2024:03:04:05",
                                         "2-January-2024",
                                         "2-Janu-2024",
                                         "Tue, 02 Jan 2024 03:04:05 GMT",
                                         "Tuesday, January 2, 2024 03:04:05",
                                         "Tues Jan 2 2024",
                                         "02/01/2024",
                                         "13/12/2024",
                                         "12/13/2024",
                                         "31.12.99",
                                         "31.12.69",
                                         "01-02-03",
                                         "1/2",
                                         "1.2.2024",
                                         "Mar 3 2024 UTC",
                                         "2024-01-02 03:04:05 MSK",
                                         "2024-01-02 03:04:05 MSD",
                                         "2024-01-02 03:04:05 EST",
                                         "2024-01-02T03:04:05ZZ",
                                         "2024-01-02T03:04:05 Z",
                                         "Z2024-01-02",
                                         "2024-01-02Z",
                                         "2024-01-02, 03:04:05",
                                         "2024-01-02,",
                                         "2024,",
                                         "2024-01-02,03",
                                         "2024-13-01",
                                         "2024-02-30",
                                         "2023-02-29",
                                         "2024-00-01",
                                         "2024-01-00",
                                         "2024-01-02 24:00:00",
                                         "2024-01-02 99:99:99",
                                         "1969-12-31 23:59:59",
                                         "1969-12-31 23:59:59.5",
                                         "1969-12-31 23:59:58.25",
                                         "1970-01-01 00:00:00",
                                         "2106-02-07 06:28:15",
                                         "2106-02-07 06:28:16",
                                         "1900-01-01 00:00:00",
                                         "1899-12-31 23:59:59",
                                         "2262-04-11 23:47:16",
                                         "2262-04-11 23:47:16.854775807",
                                         "2262-04-11 23:47:16.854775808",
                                         "2262-04-11 23:47:17",
                                         "1677-09-21 00:12:44",
                                         "1677-09-21 00:12:43.5",
                                         "2299-12-31 23:59:59.999999999",
                                         "2300-01-01",
                                         "9999-12-31 23:59:59",
                                         "0001-01-01",
                                         "0004-02-29",
                                         "0100-02-29",
                                         " 2024-01-02",
                                         "2024-01-02 ",
                                         "2024-01-02T",
                                         "T2024-01-02",
                                         "2024-01-02 T 03:04",
                                         "2024/01/02",
                                         "2024.01.02",
                                         "2024:01:02",
                                         "2024-01/02",
                                         "2024 01 02",
                                         "2024 1",
                                         "2024 Jan 2",
                                         "2024Jan02",
                                         "Jan2024",
                                         "20240102T030405Z",
                                         "20240102 030405",
                                         "202401 02",
                                         "Jan 20240102",
                                         "1:2:3 2024-01-02",
                                         "03:04:05.5 2024-01-02",
                                         "2024-01-02 03:04:05.1.2",
                                         "2024-01-02.5",
                                         "abc",
                                         "a",
                                         "ab",
                                         "am",
                                         "Mon",
                                         "Monday",
                                         "May",
                                         "Maya",
                                         "2024-01-02\xc3\xa9",
                                         "\xc3\xa9",
                                         "2024\xc3\xa9 01",
                                         "2024;01",
                                         "2024'01",
                                         "2024-1-2-3",
                                         "2024-01-02--3",
                                         "2024-01-02 03:04:05+",
                                         "2024-01-02 03:04:05+12345",
                                         "2024-01-02 03:04:05+1:2",
                                         "2024-01-02 03:04:05+1:",
                                         "2024-01-02 03:04:05+99:99",
                                         "2024-03-10 02:30:00",
                                         "2024-11-03 01:30:00",
                                         "2024-11-03 02:00:00",
                                         "2018-11-04 00:30:00",
                                         "2019-02-16 23:30:00",
                                         "2011-12-30 12:00:00",
                                         "1941-10-01 00:00:00",
                                         "2024-04-07 01:45:00",
                                         "2024-04-07 02:15:00",
                                         "2024-10-06 02:15:00",
                                         "1937-07-01 00:00:00",
                                         "2024-03-31 02:30:00",
                                         "2024-10-27 02:30:00",
                                         "2500-03-14 02:30:00",
                                         "1883-11-18 12:03:57"};

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
