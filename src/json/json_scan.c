/* SPDX-License-Identifier: Apache-2.0 */
/* One pass from the opening brace to the closing one. Whatever is not as it mostly is ends it: the
 * general reader starts again at the brace and finds the words for what is wrong. */
#include "json/json_scan.h"

#include "base/limits.h"

#include <string.h>

/* The plain way is built and tested on every machine: json_scan_test defines JSON_SCAN_PLAIN. */
#if defined __SSE2__ && !defined JSON_SCAN_PLAIN
#define JSON_SCAN_SSE2
#include <emmintrin.h>
#endif

bool json_number_valid(const char *p, size_t len, uint8_t *flags)
{
    const char *end = p + len;
    *flags = JSON_F_INTEGER;
    if (*p == '-') {
        *flags |= JSON_F_NEGATIVE;
        p++;
    }
    if (p == end || !json_is_digit(*p))
        return false;
    if (*p++ != '0')
        while (p < end && json_is_digit(*p))
            p++;
    if (p < end && *p == '.') {
        *flags = (uint8_t)(*flags & ~JSON_F_INTEGER);
        const char *from = ++p;
        while (p < end && json_is_digit(*p))
            p++;
        if (p == from)
            return false;
    }
    if (p < end && (*p | 0x20) == 'e') {
        *flags = (uint8_t)(*flags & ~JSON_F_INTEGER);
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        const char *from = p;
        while (p < end && json_is_digit(*p))
            p++;
        if (p == from)
            return false;
    }
    return p == end;
}

static bool is_hex4(const char *p)
{
    for (int i = 0; i < 4; i++) {
        char c = (char)(p[i] | 0x20);
        if (!json_is_digit(p[i]) && !(c >= 'a' && c <= 'f'))
            return false;
    }
    return true;
}

bool json_escapes_valid(const char *p, size_t len)
{
    const char *end = p + len;
    while ((p = memchr(p, '\\', (size_t)(end - p))) != NULL) {
        if (end - p < 2)
            return false;
        if (p[1] == 'u') {
            if (end - p < 6 || !is_hex4(p + 2))
                return false;
            p += 6;
        } else if (p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) != NULL) {
            p += 2;
        } else {
            return false;
        }
    }
    return true;
}

/* ---- strings ---- */

/* A bit for each byte of a step that ends a plain run: quote, backslash, control byte, not ASCII.
 * Right up to the first one. A step is as long as most strings: a loop of varying length is what
 * the processor predicts worst. */
#ifdef JSON_SCAN_SSE2
enum {
    STEP_BYTES = 32,
    BITS_PER_BYTE = 1
};
static inline uint32_t stops_16(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    /* As signed bytes, those that are not ASCII are below the space, too. */
    __m128i stop = _mm_or_si128(_mm_cmplt_epi8(v, _mm_set1_epi8(' ')),
                                _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                                             _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))));
    return (uint32_t)_mm_movemask_epi8(stop);
}
static inline uint64_t stops(const char *p)
{
    return stops_16(p) | stops_16(p + 16) << 16;
}
#else
enum {
    STEP_BYTES = 8,
    BITS_PER_BYTE = 8
};
/* (b - n) & ~b has the highest bit set for b < n; a borrow goes upwards only. */
static inline uint64_t stops(const char *p)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t x = le64_get(p), quote = x ^ '"' * ones, slash = x ^ '\\' * ones;
    return (((x - ' ' * ones) & ~x) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | x) &
           0x80 * ones;
}
#endif

/* What starts before the end is all that reads beyond it: a string's last step, or a key of the
 * shape. */
_Static_assert(LIMIT_JSON_PADDING >= STEP_BYTES + JSON_SHAPE_KEY_BYTES, "reads beyond the text");

/* The string whose inside starts at p into *node; where its closing quote is, or NULL. */
static inline const char *scan_string(const char *text, const char *p, const char *end,
                                      struct json_node *node)
{
    const char *from = p;
    uint8_t flags = 0;
    for (;;) {
        uint64_t stop;
        if (__builtin_expect(p >= end, 0))
            return NULL;
        while ((stop = stops(p)) == 0)
            if ((p += STEP_BYTES) >= end)
                return NULL;
        p += (unsigned)__builtin_ctzll(stop) / BITS_PER_BYTE;
        if (__builtin_expect(*p == '"', 1))
            break;
        if (*p != '\\')
            return NULL;
        flags = JSON_F_ESCAPED; /* what is escaped is looked at below */
        p += 2;
    }
    node->off = (uint32_t)(from - text);
    node->len = (uint32_t)(p - from);
    node->count = 0;
    node->kind = JSON_STRING;
    node->flags = flags;
    if (__builtin_expect(flags != 0, 0) && !json_escapes_valid(from, (size_t)(p - from)))
        return NULL;
    return p;
}

/* ---- numbers and words ---- */

static inline bool ends_value(char c)
{
    return c == ',' || c == '}';
}

/* Any number, or a word; as scan_scalar. */
static const char *scan_rare(const char *p, const char *end, struct json_node *node)
{
    const char *from = p;
    if (*p == '-' || json_is_digit(*p)) {
        while (p < end &&
               (json_is_digit(*p) || *p == '-' || *p == '+' || *p == '.' || (*p | 0x20) == 'e'))
            p++;
        node->kind = JSON_NUMBER;
        return json_number_valid(from, (size_t)(p - from), &node->flags) ? p : NULL;
    }
    node->flags = 0;
    if (memcmp(p, "null", 4) == 0) {
        node->kind = JSON_NULL;
        return p + 4;
    }
    if (memcmp(p, "true", 4) == 0) {
        node->kind = JSON_TRUE;
        return p + 4;
    }
    if (memcmp(p, "false", 5) == 0) {
        node->kind = JSON_FALSE;
        return p + 5;
    }
    return NULL;
}

/* The number or word at p into *node; the byte after it, or NULL. */
static inline const char *scan_scalar(const char *text, const char *p, const char *end,
                                      struct json_node *node)
{
    const char *from = p;
    if (p >= end)
        return NULL;
    uint32_t n = json_digits(p);
    if (n > 0 && n < 8 && ends_value(p[n]) && (*p != '0' || n == 1)) {
        node->kind = JSON_NUMBER;
        node->flags = JSON_F_INTEGER;
        p += n;
    } else {
        p = scan_rare(p, end, node);
        if (p == NULL)
            return NULL;
    }
    node->off = (uint32_t)(from - text);
    node->len = (uint32_t)(p - from);
    node->count = 0;
    return p;
}

/* ---- keys ---- */

static inline bool key_is(const struct json_shape_key *k, const char *p)
{
    return (((le64_get(p) ^ le64_get(k->text)) & k->mask[0]) |
            ((le64_get(p + 8) ^ le64_get(k->text + 8)) & k->mask[1])) == 0 &&
           k->len != 0;
}

static void key_learn(struct json_shape_key *k, const char *text, const struct json_node *node)
{
    char ones[JSON_SHAPE_KEY_BYTES];
    size_t n = node->len + strlen("\":");
    k->len = 0;
    if (node->len == 0 || n > JSON_SHAPE_KEY_BYTES || node->flags != 0)
        return;
    memset(ones, 0xff, sizeof(ones));
    memset(k, 0, sizeof(*k));
    memcpy(k->text, text + node->off, n);
    memcpy(k->mask, ones, n);
    k->len = node->len;
}

/* The key whose inside starts at p into *node, number i of its record; its value, or NULL. */
static inline const char *scan_key(struct json_shape *shape, uint32_t i, const char *text,
                                   const char *p, const char *end, struct json_node *node)
{
    /* Further members are compared with some key, too: they seldom have it, and that does no harm.
     */
    struct json_shape_key *k = &shape->keys[i % JSON_SHAPE_KEYS];
    if (__builtin_expect(key_is(k, p), 1)) {
        node->off = (uint32_t)(p - text);
        node->len = k->len;
        node->count = 0;
        node->kind = JSON_STRING;
        node->flags = 0;
        return p + k->len + 2;
    }
    p = scan_string(text, p, end, node);
    if (p == NULL || p[1] != ':')
        return NULL;
    if (i < JSON_SHAPE_KEYS)
        key_learn(k, text, node);
    return p + 2;
}

uint32_t json_scan_flat(struct json_shape *shape, const char *text, size_t len,
                        struct json_node *nodes, uint32_t node_cap)
{
    uint32_t n = 1, members = 0;
    if (len == 0 || *text != '{')
        return 0;
    const char *p = text;
    const char *end = text + (len < JSON_SCAN_BYTES_MAX ? len : JSON_SCAN_BYTES_MAX);
    do {
        if (node_cap < n + 2 || ++p >= end || *p != '"')
            return 0;
        struct json_node *node = &nodes[n];
        p = scan_key(shape, members, text, p + 1, end, node);
        if (p == NULL)
            return 0;
        node->next = n + 1;
        node++;
        if (*p == '"') {
            p = scan_string(text, p + 1, end, node);
            p = p == NULL ? NULL : p + 1;
        } else {
            p = scan_scalar(text, p, end, node);
        }
        if (p == NULL)
            return 0;
        node->next = n += 2;
        members++;
    } while (*p == ',');
    if (p >= end || *p != '}')
        return 0;
    nodes[0] = (struct json_node){0, (uint32_t)(p + 1 - text), n, members, JSON_OBJECT, 0};
    return n;
}
