/* SPDX-License-Identifier: Apache-2.0 */
/* Values as ClickHouse writes them within brackets, and in Values: 'text', 12.5, NULL, [1,2],
 * (1,'x'), {'k':1}. */
#include "text/text_priv.h"

#include <strings.h>

#define DEPTH_MAX LIMIT_TYPE_DEPTH

static void skip_space(const char **p, const char *end)
{
    while (*p < end && text_is_space(**p))
        (*p)++;
}

/* A few bytes of what is there, for a message. */
static int unexpected(struct text_reader *r, int32_t code, const char *p, const char *end,
                      const char *wanted)
{
    size_t n = (size_t)(end - p) < 20 ? (size_t)(end - p) : 20;
    if (n == 0)
        return text_refuse(r, code, "Cannot parse input: expected %s before the end", wanted);
    return text_refuse(r, code, "Cannot parse input: expected %s before: '%.*s'", wanted, (int)n,
                       p);
}

int text_hex_digit(char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* The escape behind a backslash, which *p is just behind of; false: cut off. */
static bool unescape(struct buf *out, const char **p, const char *end)
{
    if (*p == end)
        return false;
    char c = *(*p)++;
    static const char from[] = "abefnrtv0", to[] = "\a\b\x1b\f\n\r\t\v";
    const char *known = strchr(from, c);
    if (c == 'x') {
        if (end - *p < 2)
            return false;
        int high = text_hex_digit((*p)[0]), low = text_hex_digit((*p)[1]);
        if (high >= 0 && low >= 0) {
            buf_put_u8(out, (uint8_t)(high << 4 | low));
            *p += 2;
            return true;
        }
    }
    if (c == 'N')
        return true; /* within a text: nothing */
    if (c != '\0' && known != NULL) {
        buf_put_u8(out, (uint8_t)to[known - from]);
        return true;
    }
    /* So that 'Hello 100\%' keeps its backslash. */
    if (c != '\\' && c != '\'' && c != '"' && c != '`' && c != '/' && (unsigned char)c >= 0x20)
        buf_put_u8(out, '\\');
    buf_put_u8(out, (uint8_t)c);
    return true;
}

int text_unescape(struct buf *out, struct slice text)
{
    const char *p = text.ptr, *end = text.ptr + text.len;
    while (p < end) {
        const char *back = memchr(p, '\\', (size_t)(end - p));
        const char *stop = back != NULL ? back : end;
        buf_put(out, p, (size_t)(stop - p));
        p = stop;
        if (p < end) {
            p++;
            if (!unescape(out, &p, end))
                return WH_ESYNTAX;
        }
    }
    return 0;
}

/* 'text' at *p; *text is in the source when it has no escapes, else in r->scratch. */
static int read_string(struct text_reader *r, const char **p, const char *end, struct slice *text)
{
    const char *at = *p + 1;
    buf_reset(&r->scratch);
    bool copied = false;
    for (const char *run = at;; run = at) {
        while (at < end && *at != '\'' && *at != '\\')
            at++;
        if (at == end)
            return text_refuse(r, 26, "Cannot parse quoted string: expected closing quote '''");
        bool doubled = *at == '\'' && at + 1 < end && at[1] == '\'';
        if (*at == '\'' && !doubled && !copied) {
            *text = (struct slice){run, (size_t)(at - run)};
            break;
        }
        buf_put(&r->scratch, run, (size_t)(at - run));
        if (*at == '\'' && !doubled) {
            *text = buf_slice(&r->scratch);
            break;
        }
        copied = true;
        at++;
        if (doubled) {
            buf_put_u8(&r->scratch, '\'');
            at++;
        } else if (!unescape(&r->scratch, &at, end)) {
            return text_refuse(r, 25, "Cannot parse escape sequence");
        }
    }
    *p = at + 1;
    return 0;
}

/* A word or a number: everything up to what may follow a value. */
static struct slice read_word(const char **p, const char *end)
{
    const char *from = *p;
    while (*p < end && !text_is_space(**p) && strchr(",)]}(:[{'\";", **p) == NULL)
        (*p)++;
    return (struct slice){from, (size_t)(*p - from)};
}

static bool is_word(struct slice s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

static bool is_text_kind(enum ch_kind kind)
{
    return kind == CH_STRING || kind == CH_FIXED_STRING || kind == CH_UUID || kind == CH_IPV4 ||
           kind == CH_IPV6 || kind == CH_DATE || kind == CH_DATE32 || kind == CH_ENUM8 ||
           kind == CH_ENUM16;
}

/* NaN and infinity in their spellings, and digits in any of theirs. */
static bool is_numeric_word(struct slice s)
{
    size_t i = s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+');
    struct slice rest = {s.ptr + i, s.len - i};
    if (is_word(rest, "nan") || is_word(rest, "inf") || is_word(rest, "infinity"))
        return true;
    bool digit = false;
    unsigned points = 0;
    if (rest.len > 2 && rest.ptr[0] == '0' && (rest.ptr[1] | 0x20) == 'x') {
        size_t k = 2;
        while (k < rest.len && text_hex_digit(rest.ptr[k]) >= 0)
            k++;
        return k == rest.len;
    }
    for (size_t k = 0; k < rest.len; k++) {
        char c = rest.ptr[k];
        digit = digit || (c >= '0' && c <= '9');
        points += c == '.';
        bool sign = (c == '-' || c == '+') && k > 0 && (rest.ptr[k - 1] | 0x20) == 'e';
        if (!sign && c != '.' && (c | 0x20) != 'e' && (c < '0' || c > '9'))
            return false;
    }
    return digit && points < 2;
}

static int put_word(struct text_reader *r, const struct ch_type *peeled, const char **p,
                    const char *end)
{
    const char *from = *p;
    struct slice word = read_word(p, end);
    if (is_word(word, "NULL")) {
        buf_put_str(&r->out, "null");
        return 0;
    }
    bool boolean = is_word(word, "true") || is_word(word, "false");
    if (word.len == 0 || (*p < end && (**p == '(' || **p == '\'')) ||
        (!boolean && !is_numeric_word(word)))
        return unexpected(r, r->o.format == TEXT_VALUES ? 62 : 27, from, end,
                          "a literal (expressions are not evaluated here)");
    if (boolean && peeled != NULL && peeled->kind < CH_BOOL) {
        buf_put_u8(&r->out, is_word(word, "true") ? '1' : '0');
        return 0;
    }
    if (peeled != NULL && is_text_kind(peeled->kind) && r->o.format != TEXT_VALUES)
        return unexpected(r, 26, from, end, "'");
    if (peeled == NULL) {
        if (boolean || text_is_number(word))
            buf_put_slice(&r->out, word);
        else
            (void)text_put_string(&r->out, word);
        return 0;
    }
    return text_put_scalar(r, peeled, word);
}

/* Elements between brackets; where no type is known for them they say themselves what they are. */
static int put_list(struct text_reader *r, const struct ch_type *peeled, const char **p,
                    const char *end, char close, int depth)
{
    bool tuple = peeled != NULL && peeled->kind == CH_TUPLE;
    bool named = tuple && peeled->names != NULL;
    uint32_t n = 0;
    (*p)++;
    buf_put_u8(&r->out, named ? '{' : '[');
    for (;; n++) {
        skip_space(p, end);
        if (*p < end && **p == close)
            break;
        if (n > 0) {
            if (*p == end || **p != ',')
                return close == ']' ? unexpected(r, 130, *p, end, "',' or ']' in an array")
                                    : unexpected(r, 27, *p, end, "',' or ')'");
            (*p)++;
            skip_space(p, end);
            if (*p < end && **p == close && close == ')')
                break; /* (1,) is a tuple of one */
            if (!tuple)
                buf_put_u8(&r->out, ',');
        }
        if (tuple && n >= peeled->child_count)
            return text_refuse(r, 27,
                               "Cannot parse input: the tuple has %u elements, there are more",
                               peeled->child_count);
        const struct ch_type *child = NULL;
        if (tuple) {
            text_put_element(&r->out, peeled, n);
            child = peeled->children[n];
        } else if (peeled != NULL && peeled->child_count == 1) {
            child = peeled->children[0];
        }
        int rc = text_put_literal(r, child, p, end, depth + 1);
        if (rc != 0)
            return rc;
    }
    (*p)++;
    buf_put_u8(&r->out, named ? '}' : ']');
    if (tuple && n < peeled->child_count)
        return text_refuse(r, 27, "Cannot parse input: the tuple has %u elements, there are %u",
                           peeled->child_count, n);
    return 0;
}

/* A key must be a string in JSON, whatever it is here. */
static int put_key(struct text_reader *r, const struct ch_type *type, const char **p,
                   const char *end)
{
    struct slice key;
    if (*p < end && **p == '\'') {
        int rc = read_string(r, p, end, &key);
        if (rc != 0)
            return rc;
    } else {
        const char *from = *p;
        key = read_word(p, end);
        if (key.len == 0)
            return unexpected(r, 27, *p, end, "a key");
        if (type != NULL && is_text_kind(ch_type_peel(type)->kind))
            return unexpected(r, 26, from, end, "'");
    }
    if (!text_put_string(&r->out, key))
        return text_refuse(r, 117, "Cannot store bytes that are not UTF-8");
    return 0;
}

static int put_map(struct text_reader *r, const struct ch_type *peeled, const char **p,
                   const char *end, int depth)
{
    const struct ch_type *value =
        peeled != NULL && peeled->kind == CH_MAP ? peeled->children[1] : NULL;
    (*p)++;
    buf_put_u8(&r->out, '{');
    for (bool first = true;; first = false) {
        skip_space(p, end);
        if (*p < end && **p == '}')
            break;
        if (!first) {
            if (*p == end || **p != ',')
                return unexpected(r, 27, *p, end, "',' or '}'");
            (*p)++;
            skip_space(p, end);
            buf_put_u8(&r->out, ',');
        }
        int rc = put_key(r, value != NULL ? peeled->children[0] : NULL, p, end);
        if (rc != 0)
            return rc;
        skip_space(p, end);
        if (*p == end || **p != ':')
            return unexpected(r, 27, *p, end, "':'");
        (*p)++;
        skip_space(p, end);
        buf_put_u8(&r->out, ':');
        rc = text_put_literal(r, value, p, end, depth + 1);
        if (rc != 0)
            return rc;
    }
    (*p)++;
    buf_put_u8(&r->out, '}');
    return 0;
}

static bool is_number_kind(const struct ch_type *t)
{
    return t->kind < CH_BOOL || t->kind == CH_DECIMAL;
}

static const char *opening(const struct ch_type *peeled)
{
    return peeled->kind == CH_ARRAY   ? "'['"
           : peeled->kind == CH_TUPLE ? "'('"
           : peeled->kind == CH_MAP   ? "'{'"
                                      : "a single value";
}

int text_put_literal(struct text_reader *r, const struct ch_type *type, const char **p,
                     const char *end, int depth)
{
    const struct ch_type *peeled = type != NULL ? ch_type_peel(type) : NULL;
    struct slice text;
    const char *from = *p;
    int rc;
    if (depth > DEPTH_MAX)
        return text_refuse(r, 306, "Too deep recursion: more than %d brackets", DEPTH_MAX);
    if (*p == end)
        return unexpected(r, 27, *p, end, "a value");
    bool composite = peeled == NULL || text_is_composite(peeled) || peeled->kind >= CH_JSON;
    switch (**p) {
    case '\'':
        rc = read_string(r, p, end, &text);
        if (rc != 0)
            return rc;
        if (peeled != NULL && text_is_composite(peeled)) {
            /* INSERT … VALUES ('[1,2]'): what is in the string goes for the value. */
            if (r->o.format != TEXT_VALUES || depth > 0)
                return unexpected(r, peeled->kind == CH_ARRAY ? 130 : 27, from, end,
                                  opening(peeled));
            buf_reset(&r->field);
            buf_put_slice(&r->field, text);
            return text_put_literal_text(r, type, buf_slice(&r->field));
        }
        if (peeled != NULL && depth > 0 && r->o.format != TEXT_VALUES && is_number_kind(peeled))
            return unexpected(r, 27, from, end, "a number");
        if (peeled != NULL)
            return text_put_scalar(r, peeled, text);
        return text_put_string(&r->out, text)
                   ? 0
                   : text_refuse(r, 117, "Cannot store bytes that are not UTF-8");
    case '[':
        if (!composite || (peeled != NULL && peeled->kind == CH_TUPLE))
            break;
        return put_list(r, peeled, p, end, ']', depth);
    case '(':
        if (!composite || (peeled != NULL && peeled->kind == CH_ARRAY))
            break;
        return put_list(r, peeled, p, end, ')', depth);
    case '{':
        if (!composite)
            break;
        return put_map(r, peeled, p, end, depth);
    default:
        if (peeled != NULL && text_is_composite(peeled)) {
            if (is_word(read_word(p, end), "NULL") && (depth > 1 || r->o.format == TEXT_VALUES)) {
                buf_put_str(&r->out, "null");
                return 0;
            }
            *p = from;
            break;
        }
        return put_word(r, peeled, p, end);
    }
    return unexpected(r,
                      r->o.format == TEXT_VALUES ? 53
                      : peeled->kind == CH_ARRAY ? 130
                                                 : 27,
                      *p, end, opening(peeled));
}

int text_put_literal_text(struct text_reader *r, const struct ch_type *type, struct slice text)
{
    const char *p = text.ptr, *end = text.ptr + text.len;
    int rc = text_put_literal(r, type, &p, end, 1);
    if (rc != 0)
        return rc;
    skip_space(&p, end);
    return p == end ? 0 : unexpected(r, 27, p, end, "the end of the value");
}
