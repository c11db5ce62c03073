/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of a server, as wavehousectl reads them: whole, in single bytes, cut off, and bad. */
#include "base/limits.h"
#include "ctl/answer.h"
#include "tests/lib/tap.h"

/* Bytes arrive step by step. 0 and the body, or an error and its text; -1: more was wanted when all
 * was there. */
static int read_in_steps(const char *text, size_t step, bool close, struct buf *rx,
                         struct ctl_answer *a, struct err *e)
{
    size_t len = strlen(text);
    int rc = WH_EAGAIN;
    buf_reset(rx);
    *e = (struct err){0};
    for (size_t at = 0; at < len && rc == WH_EAGAIN; at += step) {
        buf_put(rx, text + at, len - at < step ? len - at : step);
        rc = ctl_answer_read(rx, false, a, e);
    }
    if (rc == WH_EAGAIN && close)
        rc = ctl_answer_read(rx, true, a, e);
    return rc;
}

static void good(const char *text, bool close, int status, const char *body)
{
    struct buf rx;
    struct ctl_answer a = {0};
    struct err e;
    buf_init(&rx, SIZE_MAX);
    for (size_t step = 1; step < 80; step = step * 3 + 1) {
        int rc = read_in_steps(text, step, close, &rx, &a, &e);
        if (!ok(rc == 0 && a.status == status && slice_eq_str(a.body, body), "%d \"%s\" in %zus",
                status, body, step))
            printf("# got %d %d \"%.*s\" %s\n", rc, a.status, SLICE_ARG(a.body), e.text);
    }
    buf_fini(&rx);
}

static void bad(const char *text, const char *want)
{
    struct buf rx;
    struct ctl_answer a = {0};
    struct err e;
    buf_init(&rx, SIZE_MAX);
    int rc = read_in_steps(text, strlen(text) > 0 ? strlen(text) : 1, true, &rx, &a, &e);
    if (!ok(rc != 0 && rc != WH_EAGAIN && strstr(e.text, want) != NULL, "refused: %s", want))
        printf("# got %d %s\n", rc, e.text);
    buf_fini(&rx);
}

int main(void)
{
    good("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", false, 200, "{}");
    good("HTTP/1.1 200 OK\r\ncontent-length:2 \r\nX: y\r\n\r\n{}more", false, 200, "{}");
    good("HTTP/1.0 503 \r\n\r\nuntil the end", true, 503, "until the end");
    good("HTTP/1.1 204 No Content\r\n\r\n", false, 204, "");
    good("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", false, 200,
         "1");
    good("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0a;x=y\r\n0123456789\r\n"
         "0\r\n\r\n",
         false, 200, "abc0123456789");
    bad("", "ended in the middle");
    bad("SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP");
    bad("HTTP/1.1 2x0 OK\r\n\r\n", "bad status line");
    bad("HTTP/1.1 200 OK\r\n", "ended in the middle");
    bad("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "ended in the middle");
    bad("HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nabc", "bad Content-Length");
    bad("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", "bad Content-Length");
    bad("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "bad Content-Length");
    bad("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "bad Content-Length");
    bad("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "field without a colon");
    bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "other than chunked");
    bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "bad chunk");
    bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", "bad chunk");
    bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "ended in the middle");
    bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", "over 67108864 bytes");
    bad("HTTP/1.1 200 OK\r\nContent-Length: 67108865\r\n\r\n", "ended in the middle");

    static char huge[ANSWER_HEAD_BYTES_MAX + 64] = "HTTP/1.1 200 OK\r\nX: ";
    memset(huge + strlen(huge), 'x', sizeof(huge) - 1 - strlen(huge));
    bad(huge, "head is over 65536 bytes");
    return tap_done();
}
