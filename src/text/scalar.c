/* SPDX-License-Identifier: Apache-2.0 */
/* Single values: text without quotes and escapes in, JSON out. */
#include "text/text_priv.h"

#include <errno.h>
#include <strings.h>

/* Bytes that stand for themselves within a JSON string; 0x80 and above must be UTF-8 together. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

size_t text_utf8_len(const unsigned char *p, size_t n)
{
    static const unsigned char lows[] = {0x80, 0x80, 0xa0, 0x90};
    size_t len = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    unsigned char low = p[0] == 0xe0 ? lows[2] : p[0] == 0xf0 ? lows[3] : lows[0];
    unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

static void put_escape(struct buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char text[6] = {'\\', (char)c};
    size_t len = 2;
    if (c < sizeof(shorts) && shorts[c] != 0) {
        text[1] = shorts[c];
    } else if (c < 0x20) {
        memcpy(text + 1, "u00", 3);
        text[4] = hex[c >> 4];
        text[5] = hex[c & 15];
        len = 6;
    }
    buf_put(out, text, len);
}

bool text_put_string(struct buf *out, struct slice text)
{
    const unsigned char *p = (const unsigned char *)text.ptr, *end = p + text.len;
    buf_put_u8(out, '"');
    while (p < end) {
        const unsigned char *run = p;
        while (p < end && is_plain(*p))
            p++;
        while (p < end && *p >= 0x80) {
            size_t len = text_utf8_len(p, (size_t)(end - p));
            if (len == 0)
                return false;
            p += len;
        }
        buf_put(out, run, (size_t)(p - run));
        if (p < end && p[0] < 0x80 && !is_plain(*p))
            put_escape(out, *p++);
    }
    buf_put_u8(out, '"');
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool text_is_number(struct slice s)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    p += p < end && *p == '-';
    if (p == end || !is_digit(*p) || (*p == '0' && p + 1 < end && is_digit(p[1])))
        return false;
    while (p < end && is_digit(*p))
        p++;
    if (p < end && *p == '.') {
        if (++p == end || !is_digit(*p))
            return false;
        while (p < end && is_digit(*p))
            p++;
    }
    if (p < end && (*p | 0x20) == 'e') {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        if (p == end || !is_digit(*p))
            return false;
        while (p < end && is_digit(*p))
            p++;
    }
    return p == end;
}

static bool is_integer(struct slice s)
{
    size_t i = s.len > 0 && s.ptr[0] == '-';
    for (; i < s.len; i++)
        if (!is_digit(s.ptr[i]))
            return false;
    return text_is_number(s);
}

/* Of a named tuple ClickHouse's JSON reader takes objects only. */
void text_put_element(struct buf *out, const struct ch_type *tuple, uint32_t i)
{
    if (i > 0)
        buf_put_u8(out, ',');
    if (tuple->names == NULL)
        return;
    (void)text_put_string(out,
                          tuple->names[i]); /* of the server: UTF-8, or no JSON of ours knows it */
    buf_put_u8(out, ':');
}

bool text_is_composite(const struct ch_type *t)
{
    return (t->kind >= CH_ARRAY && t->kind <= CH_NESTED) ||
           (t->kind >= CH_POINT && t->kind <= CH_MULTI_POLYGON);
}

/* What ClickHouse's readers take for a Bool. */
static const char *bool_word(struct slice s)
{
    static const char *const yes[] = {"true", "t", "yes", "y", "on", "enable", "enabled", "1"};
    static const char *const no[] = {"false", "f", "no", "n", "off", "disable", "disabled", "0"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (s.len == strlen(yes[i]) && strncasecmp(s.ptr, yes[i], s.len) == 0)
            return "true";
        if (s.len == strlen(no[i]) && strncasecmp(s.ptr, no[i], s.len) == 0)
            return "false";
    }
    return NULL;
}

/* An Enum's value by its number is a number in JSON; by a name that looks like one, a string. */
static bool is_enum_number(const struct ch_type *t, struct slice s)
{
    if (!is_integer(s))
        return false;
    for (uint32_t i = 0; i < t->enum_count; i++)
        if (slice_eq(t->enum_items[i].name, s))
            return false;
    return true;
}

static int put_json(struct text_reader *r, struct slice text)
{
    struct json_doc doc;
    buf_reset(&r->value);
    buf_put_slice(&r->value, text);
    if (buf_reserve(&r->value, LIMIT_JSON_PADDING) != 0)
        return -ENOMEM;
    if (json_reader_begin(r->json, r->value.ptr, text.len, JSON_ONE) != 0 ||
        json_reader_next(r->json, &doc) != 0 || json_reader_trailing(r->json))
        return text_refuse(r, 117, "Cannot parse JSON object here");
    json_put_minified(&r->out, &doc, &doc.nodes[0]);
    return 0;
}

static bool is_exact(const struct ch_type *t)
{
    return t->kind < CH_FLOAT32 || t->kind == CH_DECIMAL;
}

/* In VALUES a literal is read first and made to fit then: 5.0, 1e3 and 0x1F are integers there, in
 * the other formats they are errors. False: text is none that only looks different. */
static bool put_integral(struct buf *out, struct slice text)
{
    char digits[24];
    size_t n = 0, i = 0;
    int exponent = 0;
    bool minus = text.len > 0 && text.ptr[0] == '-';
    i += minus || (text.len > 0 && text.ptr[0] == '+');
    if (text.len - i > 2 && text.len - i <= 17 && text.ptr[i] == '0' &&
        (text.ptr[i + 1] | 0x20) == 'x') {
        uint64_t v = 0;
        for (i += 2; i < text.len; i++) {
            int d = text_hex_digit(text.ptr[i]);
            if (d < 0)
                return false;
            v = v << 4 | (unsigned)d;
        }
        buf_printf(out, "%s%llu", minus ? "-" : "", (unsigned long long)v);
        return true;
    }
    bool point = false, plain = true;
    for (; i < text.len && (text.ptr[i] | 0x20) != 'e'; i++) {
        if (text.ptr[i] == '.') {
            point = true;
            plain = false;
            continue;
        }
        if (!is_digit(text.ptr[i]) || n == sizeof(digits))
            return false;
        digits[n++] = text.ptr[i];
        exponent -= point;
    }
    if (i < text.len) {
        struct slice e = {text.ptr + i + 1, text.len - i - 1};
        bool down = e.len > 0 && e.ptr[0] == '-';
        size_t k = down || (e.len > 0 && e.ptr[0] == '+');
        int v = 0;
        plain = false;
        if (k == e.len || e.len - k > 2)
            return false;
        for (; k < e.len; k++) {
            if (!is_digit(e.ptr[k]))
                return false;
            v = v * 10 + (e.ptr[k] - '0');
        }
        exponent += down ? -v : v;
    }
    if (plain || n == 0 || exponent > 20)
        return false;
    for (; exponent < 0 && n > 0 && digits[n - 1] == '0'; exponent++)
        n--;
    size_t zeros = 0;
    while (zeros + 1 < n && digits[zeros] == '0')
        zeros++;
    if (exponent < 0 && n > 0)
        return false;
    if (n == 0)
        digits[n++] = '0';
    if (n - zeros == 1 && digits[zeros] == '0')
        exponent = 0;
    buf_printf(out, "%s%.*s%.*s", minus ? "-" : "", (int)(n - zeros), digits + zeros,
               exponent > 0 ? exponent : 0, "00000000000000000000");
    return true;
}

int text_put_scalar(struct text_reader *r, const struct ch_type *t, struct slice text)
{
    struct buf *out = &r->out;
    const char *word;
    switch (t->kind) {
    case CH_STRING:
    case CH_FIXED_STRING:
        break;
    case CH_BOOL:
        word = bool_word(text);
        if (word != NULL) {
            buf_put_str(out, word);
            return 0;
        }
        break;
    case CH_ENUM8:
    case CH_ENUM16:
        if (is_enum_number(t, text)) {
            buf_put_slice(out, text);
            return 0;
        }
        break;
    case CH_JSON:
    case CH_OBJECT:
        return put_json(r, text);
    default:
        if (t->kind < CH_BOOL && r->o.format != TEXT_VALUES && bool_word(text) != NULL &&
            !is_digit(text.ptr[0])) /* in JSON it would be 1 */
            return text_refuse(r, 27, "Cannot parse input: expected a number, not '%.*s'",
                               (int)text.len, text.ptr);
        if (text.len == 0 && is_exact(t) &&
            r->o.format != TEXT_VALUES) { /* as ClickHouse's readers do, but for floats */
            buf_put_u8(out, '0');
            return 0;
        }
        if (r->o.format == TEXT_VALUES && t->kind < CH_FLOAT32 && put_integral(out, text))
            return 0;
        if ((t->kind <= CH_BFLOAT16 || t->kind == CH_DECIMAL || t->kind == CH_INTERVAL ||
             t->kind == CH_VARIANT || t->kind == CH_DYNAMIC) &&
            text_is_number(text)) {
            buf_put_slice(out, text);
            return 0;
        }
        break;
    }
    if (text_put_string(out, text))
        return 0;
    return text_refuse(r, 117,
                       "Cannot store bytes that are not UTF-8: send them in RowBinary or "
                       "Native to ClickHouse itself");
}
