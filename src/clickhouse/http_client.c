/* SPDX-License-Identifier: Apache-2.0 */
/* ClickHouse over HTTP, one request at a time. */
#include "clickhouse/http_client.h"

#include "base/magic.h"
#include "clickhouse/http_priv.h"
#include "clickhouse/native_priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define HTTP_MAGIC    0x63684874u
#define URL_BYTES_MAX ((size_t)1 << 20)

struct ch_http {
    uint32_t magic;
    const struct ch_options *options;
    uint32_t endpoint; /* the last good one */
    CURL *curl;
    struct curl_slist *headers;
    struct buf url;
    bool bad_credentials;         /* they cannot be sent as a header */
    char detail[CURL_ERROR_SIZE]; /* of the last failure */
};

/* Where an answer goes while it comes. */
struct answer {
    struct buf *out;
    size_t start, max;
    bool too_long;
    bool no_memory;
    int32_t exception; /* from the header; 0 without one */
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready = CURLE_FAILED_INIT;

static void init_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool add_header(struct ch_http *c, const char *name, const char *value)
{
    struct buf line;
    buf_init(&line, 1 << 16);
    buf_printf(&line, "%s: %s", name, value);
    buf_put_u8(&line, '\0');
    struct curl_slist *more = buf_ok(&line) ? curl_slist_append(c->headers, line.ptr) : NULL;
    buf_fini(&line);
    if (more == NULL)
        return false;
    c->headers = more;
    return true;
}

static bool is_header_safe(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
    struct answer *a = ctx;
    size_t n = size * count;
    if (n > a->max || a->out->len - a->start > a->max - n) {
        a->too_long = true;
        return 0;
    }
    buf_put(a->out, p, n);
    a->no_memory = !buf_ok(a->out);
    return a->no_memory ? 0 : n;
}

static size_t on_header(char *p, size_t size, size_t count, void *ctx)
{
    static const char name[] = "x-clickhouse-exception-code:";
    struct answer *a = ctx;
    size_t n = size * count;
    if (n > sizeof(name) - 1 && n < 64 && curl_strnequal(p, name, sizeof(name) - 1)) {
        char number[64] = "";
        memcpy(number, p + sizeof(name) - 1, n - (sizeof(name) - 1));
        a->exception = (int32_t)strtol(number, NULL, 10);
    }
    return n;
}

static bool configure(struct ch_http *c)
{
    CURL *h = c->curl;
    /* No proxy from the environment: the data goes to the configured hosts and nowhere else. */
    return curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_HTTPHEADER, c->headers) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)c->options->connect_timeout_ms) ==
               CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_POST, 1L) == CURLE_OK &&
           ch_http_set_tls(h, c->options, c->detail);
}

struct ch_http *ch_http_new(const struct ch_options *options)
{
    if (pthread_once(&curl_once, init_curl) != 0 || curl_ready != CURLE_OK)
        return NULL;
    struct ch_http *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->magic = HTTP_MAGIC;
    c->options = options;
    buf_init(&c->url, URL_BYTES_MAX);
    c->bad_credentials = !is_header_safe(options->username) || !is_header_safe(options->password);
    c->curl = curl_easy_init();
    bool good = c->curl != NULL && add_header(c, "Content-Type", "application/octet-stream");
    struct curl_slist *more = good ? curl_slist_append(c->headers, "Expect:") : NULL;
    good = more != NULL;
    c->headers = good ? more : c->headers;
    if (good && !c->bad_credentials) {
        good = add_header(c, "X-ClickHouse-User", options->username);
        if (good && options->password[0] != '\0')
            good = add_header(c, "X-ClickHouse-Key", options->password);
    }
    if (!good || !configure(c)) {
        ch_http_free(c);
        return NULL;
    }
    return c;
}

void ch_http_free(struct ch_http *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, HTTP_MAGIC);
    if (c->curl != NULL)
        curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    buf_fini(&c->url);
    c->magic = 0;
    free(c);
}

void ch_put_url_escaped(struct buf *out, struct slice s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len; i++) {
        unsigned char ch = (unsigned char)s.ptr[i];
        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
            ch == '-' || ch == '_' || ch == '.') {
            buf_put_u8(out, ch);
        } else {
            char escape[3] = {'%', hex[ch >> 4], hex[ch & 15]};
            buf_put(out, escape, sizeof(escape));
        }
    }
}

static bool build_url(struct ch_http *c, const struct ch_http_request *q)
{
    const struct ch_endpoint *ep = &c->options->endpoints[c->endpoint];
    bool v6 = strchr(ep->host, ':') != NULL;
    buf_reset(&c->url);
    buf_printf(&c->url,
               v6 ? "%s://[%s]:%u/?database=" : "%s://%s:%u/?database=", ch_http_scheme(c->options),
               ep->host, ep->http_port);
    ch_put_url_escaped(&c->url, slice_str(c->options->database));
    /* Without it an error after the first bytes comes inside an answer of status 200. */
    buf_put_str(&c->url, "&wait_end_of_query=1");
    if (q->settings != NULL)
        buf_put_str(&c->url, q->settings);
    if (q->body.len > 0) {
        buf_put_str(&c->url, "&query=");
        ch_put_url_escaped(&c->url, q->sql);
    }
    buf_put_u8(&c->url, '\0');
    return buf_ok(&c->url);
}

static CURLcode perform(struct ch_http *c, const struct ch_http_request *q, struct answer *a)
{
    CURL *h = c->curl;
    struct slice body = q->body.len > 0 ? q->body : q->sql;
    /* libcurl repeats a request by itself when a kept connection turns out to be dead. A query may
     * be repeated; rows may not, so an INSERT takes a connection of its own. */
    long fresh = q->body.len > 0 ? 1 : 0;
    uint64_t timeout_ms = q->timeout_ms > 0 ? q->timeout_ms : c->options->io_timeout_ms;
    if (curl_easy_setopt(h, CURLOPT_URL, c->url.ptr) != CURLE_OK ||
        curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, fresh) != CURLE_OK ||
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, body.ptr) != CURLE_OK ||
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len) != CURLE_OK ||
        curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)timeout_ms) != CURLE_OK ||
        curl_easy_setopt(h, CURLOPT_WRITEDATA, a) != CURLE_OK ||
        curl_easy_setopt(h, CURLOPT_HEADERDATA, a) != CURLE_OK)
        return CURLE_OUT_OF_MEMORY;
    c->detail[0] = '\0';
    return curl_easy_perform(h);
}

/* Nothing of the request left this machine. */
static bool was_not_sent(struct ch_http *c)
{
    long request_bytes = 0;
    return curl_easy_getinfo(c->curl, CURLINFO_REQUEST_SIZE, &request_bytes) == CURLE_OK &&
           request_bytes == 0;
}

static enum ch_outcome fail_transfer(struct ch_http *c, const struct ch_http_request *q,
                                     CURLcode rc, const struct answer *a, struct ch_error *e)
{
    const struct ch_endpoint *ep = &c->options->endpoints[c->endpoint];
    bool unknown = q->body.len > 0 && !was_not_sent(c);
    char words[512];
    ch_http_explain(c->options, rc, c->detail, words, sizeof(words));
    return ch_fail(e, unknown ? CH_UNKNOWN_FATE : CH_UNAVAILABLE, 0, "ClickHouse %s://%s:%u: %s",
                   ch_http_scheme(c->options), ep->host, ep->http_port,
                   a->too_long    ? "the answer is longer than allowed"
                   : a->no_memory ? "out of memory for the answer"
                                  : words);
}

/* "Code: 60, e.displayText() = …" (old) and "Code: 60. DB::Exception: …": the number, or 0. */
static int32_t code_in_body(struct slice body)
{
    char head[32] = "";
    memcpy(head, body.ptr, body.len < sizeof(head) - 1 ? body.len : sizeof(head) - 1);
    return strncmp(head, "Code: ", 6) == 0 ? (int32_t)strtol(head + 6, NULL, 10) : 0;
}

static enum ch_outcome judge(struct ch_http *c, const struct ch_http_request *q,
                             const struct answer *a, struct ch_error *e)
{
    long status = 0;
    if (curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK)
        status = 0;
    if (status == 200 && a->exception == 0)
        return CH_OK;
    struct slice body = {a->out->ptr + a->start, a->out->len - a->start};
    int32_t code = a->exception != 0 ? a->exception : body.len > 0 ? code_in_body(body) : 0;
    if (code != 0)
        return ch_fail_exception(e, code, body);
    /* Not ClickHouse's words: something stands between us. */
    enum ch_outcome o = status == 401 || status == 403     ? CH_CONFIG
                        : q->body.len > 0 && status >= 500 ? CH_UNKNOWN_FATE
                                                           : CH_UNAVAILABLE;
    const struct ch_endpoint *ep = &c->options->endpoints[c->endpoint];
    return ch_fail(e, o, 0, "ClickHouse %s://%s:%u: status %ld: %.*s", ch_http_scheme(c->options),
                   ep->host, ep->http_port, status, body.len < 500 ? (int)body.len : 500,
                   body.len > 0 ? body.ptr : "");
}

enum ch_outcome ch_http_query(struct ch_http *c, const struct ch_http_request *q, struct buf *out,
                              struct ch_error *e)
{
    CHECK_MAGIC(c, HTTP_MAGIC);
    uint32_t count = c->options->endpoint_count, first = c->endpoint;
    if (count == 0)
        return ch_fail(e, CH_CONFIG, 0, "no ClickHouse endpoint is configured");
    if (c->bad_credentials)
        return ch_fail(e, CH_CONFIG, 0,
                       "user name or password has control characters, which HTTP cannot carry");
    enum ch_outcome o = CH_UNAVAILABLE;
    for (uint32_t i = 0; i < count; i++) {
        c->endpoint = (first + i) % count;
        struct answer a = {.out = out, .start = out->len, .max = q->response_max};
        if (!build_url(c, q)) {
            o = ch_fail(e, CH_BUG, 0, "the query is too long for a URL (%zu bytes)", q->sql.len);
            break;
        }
        CURLcode rc = perform(c, q, &a);
        o = rc == CURLE_OK ? judge(c, q, &a, e) : fail_transfer(c, q, rc, &a, e);
        if (o == CH_OK)
            return CH_OK;
        if (!a.no_memory)
            out->len = a.start;
        if (rc == CURLE_OK || !was_not_sent(c))
            break;
    }
    return o;
}

/* ---- other services ---------------------------------------------------------------------------
 */

#define GET_REDIRECTS_MAX 3

static int on_progress(void *ctx, curl_off_t down, curl_off_t now, curl_off_t up, curl_off_t sent)
{
    const struct ch_get *q = ctx;
    (void)down;
    (void)now;
    (void)up;
    (void)sent;
    return q->cancel != NULL && atomic_load(q->cancel);
}

static bool get_configure(CURL *h, const struct ch_get *q, struct answer *a, char *why)
{
    return curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_URL, q->url) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "https,http") == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, "https") == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_MAXREDIRS, (long)GET_REDIRECTS_MAX) == CURLE_OK &&
           (q->ca_file == NULL || curl_easy_setopt(h, CURLOPT_CAINFO, q->ca_file) == CURLE_OK) &&
           curl_easy_setopt(h, CURLOPT_ERRORBUFFER, why) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)q->timeout_ms) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_XFERINFODATA, q) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_WRITEDATA, a) == CURLE_OK;
}

int ch_get(const struct ch_get *q, struct buf *out, struct err *e)
{
    char why[CURL_ERROR_SIZE] = "";
    struct answer a = {.out = out, .start = out->len, .max = q->response_max};
    if (pthread_once(&curl_once, init_curl) != 0 || curl_ready != CURLE_OK)
        return err_set(e, -ENOMEM, "libcurl does not start");
    CURL *h = curl_easy_init();
    if (h == NULL || !get_configure(h, q, &a, why)) {
        curl_easy_cleanup(h);
        return err_set(e, -ENOMEM, "out of memory");
    }
    long status = 0;
    CURLcode rc = curl_easy_perform(h);
    if (curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK)
        status = 0;
    curl_easy_cleanup(h);
    if (rc == CURLE_OK && status == 200)
        return 0;
    if (buf_ok(out))
        out->len = a.start;
    if (a.too_long)
        return err_set(e, WH_ELIMIT, "%s: the answer is longer than %zu bytes", q->url,
                       q->response_max);
    if (a.no_memory)
        return err_set(e, -ENOMEM, "out of memory");
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return err_set(e, WH_ESTOPPED, "%s: given up", q->url);
    if (rc != CURLE_OK)
        return err_set(e, WH_EREMOTE, "%s: %s", q->url,
                       why[0] != '\0' ? why : curl_easy_strerror(rc));
    return err_set(e, WH_EREMOTE, "%s: status %ld", q->url, status);
}
