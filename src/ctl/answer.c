/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/answer.h"

#include "base/limits.h"

#include <errno.h>
#include <stdint.h>
#include <strings.h>

struct head {
    int status;
    size_t len; /* with its empty line */
    bool chunked, has_length;
    uint64_t length;
};

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = (struct slice){s.ptr + 1, s.len - 1};
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static bool is_named(struct slice s, const char *name)
{
    return s.len == strlen(name) && strncasecmp(s.ptr, name, s.len) == 0;
}

static int field(struct slice line, struct head *h, struct err *e)
{
    const char *colon = memchr(line.ptr, ':', line.len);
    if (colon == NULL)
        return err_set(e, WH_ESYNTAX, "the answer has a field without a colon");
    struct slice name = {line.ptr, (size_t)(colon - line.ptr)};
    struct slice value = trim((struct slice){colon + 1, line.len - name.len - 1});
    if (is_named(name, "transfer-encoding")) {
        if (!is_named(value, "chunked"))
            return err_set(e, WH_ESYNTAX, "the answer has a transfer encoding other than chunked");
        h->chunked = true;
    } else if (is_named(name, "content-length")) {
        uint64_t n = 0;
        for (size_t i = 0; i < value.len; i++) {
            if (value.ptr[i] < '0' || value.ptr[i] > '9' || n > ANSWER_BODY_BYTES_MAX)
                return err_set(e, WH_ESYNTAX, "the answer has a bad Content-Length");
            n = n * 10 + (uint64_t)(value.ptr[i] - '0');
        }
        if (value.len == 0 || (h->has_length && n != h->length))
            return err_set(e, WH_ESYNTAX, "the answer has a bad Content-Length");
        h->has_length = true;
        h->length = n;
    }
    return 0;
}

static int head_read(struct slice in, struct head *h, struct err *e)
{
    *h = (struct head){0};
    if (in.len < 12 || memcmp(in.ptr, "HTTP/1.", 7) != 0 || in.ptr[8] != ' ')
        return err_set(e, WH_ESYNTAX, "what answers there does not speak HTTP/1.1");
    for (int i = 9; i < 12; i++) {
        if (in.ptr[i] < '0' || in.ptr[i] > '9')
            return err_set(e, WH_ESYNTAX, "the answer has a bad status line");
        h->status = h->status * 10 + (in.ptr[i] - '0');
    }
    const char *p = in.ptr, *end = in.ptr + in.len;
    for (bool first = true;; first = false) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        if (lf == NULL)
            return err_set(e, WH_ESYNTAX, "the answer's head is not complete");
        struct slice line = {p, (size_t)(lf - p)};
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        p = lf + 1;
        if (line.len == 0)
            break;
        int rc = first ? 0 : field(line, h, e);
        if (rc != 0)
            return rc;
    }
    h->len = (size_t)(p - in.ptr);
    return 0;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The size line at *p: its value, or WH_EAGAIN, WH_ESYNTAX, WH_ELIMIT. */
static int64_t chunk_size(const char **p, const char *end)
{
    const char *lf = memchr(*p, '\n', (size_t)(end - *p));
    int64_t size = 0;
    if (lf == NULL)
        return end - *p > ANSWER_HEAD_BYTES_MAX ? WH_ESYNTAX : WH_EAGAIN;
    const char *q = *p;
    for (; hex(*q) >= 0; q++) { /* ends at the LF at last */
        size = size * 16 + hex(*q);
        if (size > ANSWER_BODY_BYTES_MAX)
            return WH_ELIMIT;
    }
    if (q == *p || (*q != '\r' && *q != '\n' && *q != ';' && *q != ' '))
        return WH_ESYNTAX;
    *p = lf + 1;
    return size;
}

/* Walk the chunks in [at, end). With move, bring their content together at its start. */
static int chunks(char *at, const char *end, bool move, size_t *len)
{
    const char *p = at;
    *len = 0;
    for (;;) {
        int64_t size = chunk_size(&p, end);
        if (size < 0)
            return (int)size;
        if (size == 0)
            return 0; /* trailers are of no interest, and the connection ends here */
        if (end - p < size + 2)
            return WH_EAGAIN;
        if (p[size] != '\r' || p[size + 1] != '\n')
            return WH_ESYNTAX;
        if (*len + (size_t)size > ANSWER_BODY_BYTES_MAX)
            return WH_ELIMIT;
        if (move)
            memmove(at + *len, p, (size_t)size);
        *len += (size_t)size;
        p += size + 2;
    }
}

static int incomplete(bool eof, struct err *e)
{
    return eof ? err_set(e, WH_ESYNTAX, "the connection ended in the middle of the answer")
               : WH_EAGAIN;
}

static int body_read(struct buf *rx, bool eof, const struct head *h, struct ctl_answer *a,
                     struct err *e)
{
    size_t len = rx->len - h->len;
    int rc = 0;
    if (h->status == 204 || h->status == 304) {
        len = 0; /* whatever the head says */
    } else if (h->chunked) {
        rc = chunks(rx->ptr + h->len, rx->ptr + rx->len, false, &len);
        if (rc == WH_EAGAIN)
            return incomplete(eof, e);
        if (rc == WH_ESYNTAX)
            return err_set(e, rc, "the answer has a bad chunk");
        if (rc == 0)
            rc = chunks(rx->ptr + h->len, rx->ptr + rx->len, true, &len);
    } else if (h->has_length) {
        if (len < h->length)
            return incomplete(eof, e);
        len = (size_t)h->length;
    } else if (!eof) {
        rc = len > ANSWER_BODY_BYTES_MAX ? WH_ELIMIT : WH_EAGAIN;
    }
    if (rc == WH_EAGAIN)
        return rc;
    if (rc != 0 || len > ANSWER_BODY_BYTES_MAX)
        return err_set(e, WH_ELIMIT, "the answer is over %u bytes", ANSWER_BODY_BYTES_MAX);
    if (buf_reserve(rx, LIMIT_JSON_PADDING) != 0)
        return err_set(e, -ENOMEM, "out of memory");
    memset(rx->ptr + rx->len, 0, LIMIT_JSON_PADDING);
    a->status = h->status;
    a->body = (struct slice){rx->ptr + h->len, len};
    return 0;
}

int ctl_answer_read(struct buf *rx, bool eof, struct ctl_answer *a, struct err *e)
{
    for (;;) {
        struct head h;
        const char *end = rx->len > 0 ? memmem(rx->ptr, rx->len, "\r\n\r\n", 4) : NULL;
        if (end == NULL && rx->len > ANSWER_HEAD_BYTES_MAX)
            return err_set(e, WH_ELIMIT, "the answer's head is over %u bytes",
                           ANSWER_HEAD_BYTES_MAX);
        if (end == NULL && rx->len >= 7 && memcmp(rx->ptr, "HTTP/1.", 7) != 0)
            return err_set(e, WH_ESYNTAX, "what answers there does not speak HTTP/1.1");
        if (end == NULL)
            return incomplete(eof, e);
        int rc = head_read((struct slice){rx->ptr, (size_t)(end - rx->ptr) + 4}, &h, e);
        if (rc != 0)
            return rc;
        if (h.status >= 200)
            return body_read(rx, eof, &h, a, e);
        rx->len -= h.len;
        memmove(rx->ptr, rx->ptr + h.len, rx->len);
    }
}
