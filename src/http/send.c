/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of one connection, in the order of their requests, as many as are ready in one call. */
#include "http/priv.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* The answers that are ready at the front of the queue; returns how many pieces. */
static int gather(const struct http_conn *c, struct iovec *iov)
{
    int count = 0;
    if (c->done)
        return 0;
    if (c->stream != NULL)
        return http_stream_gather(c->stream, iov, HTTP_PIPELINE_MAX);
    for (struct http_req *r = c->first; r != NULL && count < HTTP_PIPELINE_MAX; r = r->next) {
        if (r->out_len > r->out_sent)
            iov[count++] = (struct iovec){r->out + r->out_sent, r->out_len - r->out_sent};
        if (r->stream != NULL)
            return count + http_stream_gather(r->stream, iov + count, HTTP_PIPELINE_MAX - count);
        if (!r->replied || r->close)
            break;
    }
    return count;
}

/* n bytes have gone out: requests that are answered completely leave the queue. */
static void sent(struct http_conn *c, size_t n)
{
    while (c->stream == NULL && c->first != NULL) {
        struct http_req *r = c->first;
        size_t left = r->out_len - r->out_sent, part = n < left ? n : left;
        r->out_sent += part;
        n -= part;
        if (!r->replied || part < left)
            break;
        if (r->stream != NULL) {
            http_stream_take_over(c, r);
            break;
        }
        bool last = r->close;
        http_conn_unlink(c, r);
        http_req_free(r);
        if (last) {
            http_conn_abandon(c);
            break;
        }
    }
    if (c->stream != NULL && n > 0)
        http_stream_sent(c->stream, n);
    else
        must(n == 0);
}

bool http_send_ready(struct http_conn *c)
{
    struct iovec iov[HTTP_PIPELINE_MAX];
    size_t turn = 0; /* bytes of streams */
    c->blocked = false;
    while (c->fd >= 0 && http_stream_settle(c)) {
        struct msghdr msg = {.msg_iov = iov};
        msg.msg_iovlen = (size_t)gather(c, iov);
        if (msg.msg_iovlen == 0)
            break;
        size_t total = 0;
        for (size_t i = 0; i < msg.msg_iovlen; i++)
            total += iov[i].iov_len;
        ssize_t n = c->tls != NULL ? http_tls_send(c->tls, iov, msg.msg_iovlen)
                                   : sendmsg(c->fd, &msg, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN) {
                c->blocked = true;
                break;
            }
            http_conn_close(c);
            break;
        }
        sent(c, (size_t)n);
        if (c->wait == HTTP_WAIT_WRITE)
            c->rewind = true;
        turn += c->stream != NULL ? (size_t)n : 0;
        if (turn >= HTTP_STREAM_TURN_BYTES && c->stream != NULL &&
            http_stream_queued(c->stream) > 0) {
            c->blocked = true; /* it is not, so the loop comes back after the others */
            break;
        }
        if ((size_t)n < total && c->tls == NULL) { /* TLS takes a record at a time */
            c->blocked = true;
            break;
        }
    }
    if (c->fd >= 0 && c->blocked && c->stream != NULL && http_stream_hurries(c->stream))
        http_conn_close(c);
    return c->fd >= 0;
}
