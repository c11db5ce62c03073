/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-decoding and query strings. */
#include "http/http.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at *i of in, decoded; *i moves past it. -1 for a bad escape. */
static int next_byte(struct slice in, bool plus_is_space, size_t *i)
{
    char c = in.ptr[(*i)++];
    if (c == '+' && plus_is_space)
        return ' ';
    if (c != '%')
        return (unsigned char)c;
    if (in.len - *i < 2 || hex(in.ptr[*i]) < 0 || hex(in.ptr[*i + 1]) < 0)
        return -1;
    int v = hex(in.ptr[*i]) * 16 + hex(in.ptr[*i + 1]);
    *i += 2;
    return v;
}

int http_percent_decode(struct slice in, bool plus_is_space, struct buf *dst)
{
    for (size_t i = 0; i < in.len;) {
        int c = next_byte(in, plus_is_space, &i);
        if (c < 0)
            return WH_ESYNTAX;
        buf_put_u8(dst, (uint8_t)c);
    }
    return buf_ok(dst) ? 0 : WH_ELIMIT;
}

/* Does the encoded name spell key? A name with a bad escape spells nothing. */
static bool spells(struct slice name, const char *key)
{
    for (size_t i = 0; i < name.len; key++) {
        int c = next_byte(name, true, &i);
        if (c < 0 || c == 0 || *key == '\0' || (unsigned char)*key != c)
            return false;
    }
    return *key == '\0';
}

int http_query_next(struct slice *query, const char *key, struct buf *dst)
{
    const char *p = query->ptr, *end = query->len > 0 ? query->ptr + query->len : query->ptr;
    while (p < end) {
        const char *amp = memchr(p, '&', (size_t)(end - p));
        const char *stop = amp != NULL ? amp : end;
        const char *eq = memchr(p, '=', (size_t)(stop - p));
        struct slice name = {p, (size_t)((eq != NULL ? eq : stop) - p)};
        p = amp != NULL ? amp + 1 : end;
        if (spells(name, key)) {
            struct slice value = {eq != NULL ? eq + 1 : stop,
                                  eq != NULL ? (size_t)(stop - eq - 1) : 0};
            int rc = http_percent_decode(value, true, dst);
            *query = (struct slice){p, (size_t)(end - p)};
            return rc != 0 ? rc : 1;
        }
    }
    return 0;
}

int http_query_get(struct slice query, const char *key, struct buf *dst)
{
    return http_query_next(&query, key, dst);
}
