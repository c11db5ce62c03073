/* SPDX-License-Identifier: Apache-2.0 */
#include "http/chunked.h"

#include "base/magic.h"

enum {
    SIZE,       /* hex digits */
    EXTENSION,  /* after ';', up to CR */
    SIZE_LF,    /* after CR of the size line */
    DATA,       /* left bytes */
    DATA_CR,    /* after the data */
    DATA_LF,    /* */
    LINE,       /* start of a trailer line, or CR of the last line */
    NAME,       /* of a trailer */
    VALUE,      /* of a trailer, up to CR */
    TRAILER_LF, /* after CR of a trailer */
    LAST_LF,    /* after CR of the empty line */
    DONE
};

/* 15 hex digits cannot overflow; no body of ours needs half of them. */
#define DIGITS_MAX 15

void http_chunked_init(struct http_chunked *d)
{
    *d = (struct http_chunked){.state = SIZE};
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_text(char c)
{
    unsigned char u = (unsigned char)c;
    return (u >= 0x20 && u != 0x7f) || u == '\t';
}

/* Names of trailers are dropped, so their exact alphabet does not matter: no space, no control. */
static bool is_name(char c)
{
    return c > 0x20 && c < 0x7f;
}

/* One byte that is not data; false when it may not stand here. */
static bool step(struct http_chunked *d, char c)
{
    switch (d->state) {
    case SIZE:
        if (hex(c) >= 0 && d->digits < DIGITS_MAX) {
            d->digits++;
            d->left = d->left * 16 + (uint64_t)hex(c);
            return true;
        }
        d->state = c == '\r' ? SIZE_LF : EXTENSION;
        return d->digits > 0 && (c == '\r' || c == ';');
    case EXTENSION:
        if (c == '\r')
            d->state = SIZE_LF;
        return c == '\r' || (is_text(c) && d->extra++ < HTTP_CHUNKED_EXTRA_BYTES);
    case SIZE_LF:
        d->digits = 0;
        d->state = d->left > 0 ? DATA : LINE;
        return c == '\n';
    case DATA_CR:
        d->state = DATA_LF;
        return c == '\r';
    case DATA_LF:
        d->state = SIZE;
        return c == '\n';
    case LINE:
        d->state = c == '\r' ? LAST_LF : NAME;
        return c == '\r' || (is_name(c) && c != ':' && d->extra++ < HTTP_CHUNKED_EXTRA_BYTES);
    case NAME:
        if (c == ':')
            d->state = VALUE;
        return is_name(c) && d->extra++ < HTTP_CHUNKED_EXTRA_BYTES;
    case VALUE:
        if (c == '\r')
            d->state = TRAILER_LF;
        return c == '\r' || (is_text(c) && d->extra++ < HTTP_CHUNKED_EXTRA_BYTES);
    case TRAILER_LF:
        d->state = LINE;
        return c == '\n';
    case LAST_LF:
        d->state = DONE;
        return c == '\n';
    default:
        return false;
    }
}

enum http_chunked_got http_chunked_next(struct http_chunked *d, const char *p, size_t n,
                                        size_t *used, struct slice *data)
{
    for (size_t i = 0; i < n; i++) {
        if (d->state == DATA) {
            size_t take = n - i < d->left ? n - i : (size_t)d->left;
            *data = (struct slice){p + i, take};
            *used = i + take;
            http_chunked_skip(d, take);
            return HTTP_CHUNKED_DATA;
        }
        if (!step(d, p[i])) {
            *used = i + 1;
            return HTTP_CHUNKED_BAD;
        }
        if (d->state == DONE) {
            *used = i + 1;
            return HTTP_CHUNKED_DONE;
        }
    }
    *used = n;
    return HTTP_CHUNKED_MORE;
}

uint64_t http_chunked_ahead(const struct http_chunked *d)
{
    return d->state == DATA ? d->left : 0;
}

void http_chunked_skip(struct http_chunked *d, size_t n)
{
    must(d->state == DATA && n <= d->left);
    d->left -= n;
    if (d->left == 0)
        d->state = DATA_CR;
}
