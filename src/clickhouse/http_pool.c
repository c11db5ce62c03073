/* SPDX-License-Identifier: Apache-2.0 */
#include "clickhouse/http_pool.h"

#include "base/limits.h"
#include "base/magic.h"
#include "clickhouse/http_client.h"
#include "clickhouse/http_priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define POOL_MAGIC       0x6368506cu
#define URL_BYTES_MAX    (1 * MIB)  /* ClickHouse's own default for an URL */
#define ERROR_BYTES_MAX  (64 * KIB) /* of its text */
#define FIELD_CAP        128
#define KILL_TIMEOUT_MS  3000
#define KEPT_CONNECTIONS 64L
#define QUERY_ID_CAP     64

/* A target and what is the same for all its requests; counted by the transfers that use it. */
struct site {
    uint32_t refs;
    struct ch_target *target;
    struct curl_slist *headers;
    uint32_t endpoint; /* the last good one */
    bool bad_credentials;
};

struct ch_pool {
    uint32_t magic;
    CURLM *multi;
    struct site *site;
    struct ch_transfer *first;
};

struct ch_transfer {
    struct ch_pool *pool;
    struct site *site;
    struct ch_transfer *next, *prev;
    struct ch_transfer_ask ask;
    CURL *curl;
    struct buf settings, url, error;
    uint32_t endpoint, tried;
    bool head_said, stopped;
    int32_t exception;
    char query_id[QUERY_ID_CAP];
    char type[FIELD_CAP], format[FIELD_CAP], tag[FIELD_CAP];
    char kill_sql[QUERY_ID_CAP + 64]; /* of a transfer of our own */
    char detail[CURL_ERROR_SIZE];     /* of the last failure */
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready = CURLE_FAILED_INIT;

static void init_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* --- sites --------------------------------------------------------------------------------- */

static void site_unref(struct site *s)
{
    if (s == NULL || --s->refs > 0)
        return;
    curl_slist_free_all(s->headers);
    ch_target_unref(s->target);
    free(s);
}

static bool is_header_safe(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

static bool add_header(struct site *s, const char *name, const char *value)
{
    struct buf line;
    buf_init(&line, 1 << 16);
    buf_put_str(&line, name);
    buf_put_str(&line, value);
    buf_put_u8(&line, '\0');
    struct curl_slist *more = buf_ok(&line) ? curl_slist_append(s->headers, line.ptr) : NULL;
    buf_fini(&line);
    s->headers = more != NULL ? more : s->headers;
    return more != NULL;
}

static struct site *site_new(struct ch_target *target)
{
    struct site *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    const struct ch_options *o = ch_target_options(target);
    s->refs = 1;
    s->target = ch_target_ref(target);
    s->bad_credentials = !is_header_safe(o->username) || !is_header_safe(o->password);
    bool good =
        add_header(s, "Content-Type: ", "application/octet-stream") && add_header(s, "Expect:", "");
    if (good && !s->bad_credentials) {
        good = add_header(s, "X-ClickHouse-User: ", o->username);
        if (good && o->password[0] != '\0')
            good = add_header(s, "X-ClickHouse-Key: ", o->password);
    }
    if (good)
        return s;
    site_unref(s);
    return NULL;
}

struct ch_pool *ch_pool_new(struct ch_target *target)
{
    if (pthread_once(&curl_once, init_curl) != 0 || curl_ready != CURLE_OK)
        return NULL;
    struct ch_pool *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->magic = POOL_MAGIC;
    p->site = site_new(target);
    p->multi = curl_multi_init();
    if (p->site == NULL || p->multi == NULL ||
        curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS) != CURLM_OK) {
        ch_pool_free(p);
        return NULL;
    }
    return p;
}

int ch_pool_set_target(struct ch_pool *p, struct ch_target *target)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    struct site *s = site_new(target);
    if (s == NULL)
        return -ENOMEM;
    site_unref(p->site);
    p->site = s;
    return 0;
}

/* --- one transfer -------------------------------------------------------------------------- */

static void transfer_free(struct ch_transfer *t)
{
    struct ch_pool *p = t->pool;
    if (t->prev != NULL)
        t->prev->next = t->next;
    else if (p->first == t)
        p->first = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    if (t->curl != NULL) {
        (void)curl_multi_remove_handle(p->multi, t->curl);
        curl_easy_cleanup(t->curl);
    }
    buf_fini(&t->settings);
    buf_fini(&t->url);
    buf_fini(&t->error);
    site_unref(t->site);
    free(t);
}

void ch_pool_free(struct ch_pool *p)
{
    if (p == NULL)
        return;
    CHECK_MAGIC(p, POOL_MAGIC);
    while (p->first != NULL)
        transfer_free(p->first);
    if (p->multi != NULL)
        (void)curl_multi_cleanup(p->multi);
    site_unref(p->site);
    p->magic = 0;
    free(p);
}

void ch_put_setting(struct buf *out, const char *name, struct slice value)
{
    buf_put_u8(out, '&');
    buf_put_str(out, name);
    buf_put_u8(out, '=');
    ch_put_url_escaped(out, value);
}

static const struct ch_endpoint *endpoint_of(const struct ch_transfer *t)
{
    return &ch_target_options(t->site->target)->endpoints[t->endpoint];
}

static bool build_url(struct ch_transfer *t)
{
    const struct ch_endpoint *ep = endpoint_of(t);
    const struct ch_options *o = ch_target_options(t->site->target);
    bool v6 = strchr(ep->host, ':') != NULL;
    buf_reset(&t->url);
    buf_printf(&t->url, v6 ? "%s://[%s]:%u/?database=" : "%s://%s:%u/?database=", ch_http_scheme(o),
               ep->host, ep->http_port);
    ch_put_url_escaped(&t->url, slice_str(o->database));
    if (t->query_id[0] != '\0')
        ch_put_setting(&t->url, "query_id", slice_str(t->query_id));
    buf_put_slice(&t->url, buf_slice(&t->settings));
    buf_put_u8(&t->url, '\0');
    return buf_ok(&t->url);
}

/* Keeps the value of a header field, or an empty text when it is longer than any that we know. */
static void take_field(char out[FIELD_CAP], struct slice value)
{
    while (value.len > 0 && strchr(" \t\r\n", value.ptr[value.len - 1]) != NULL)
        value.len--;
    while (value.len > 0 && (*value.ptr == ' ' || *value.ptr == '\t')) {
        value.ptr++;
        value.len--;
    }
    if (value.len >= FIELD_CAP)
        value.len = 0;
    if (value.len > 0)
        memcpy(out, value.ptr, value.len);
    out[value.len] = '\0';
}

static bool field_is(struct slice line, const char *name, struct slice *value)
{
    size_t n = strlen(name);
    if (line.len <= n || line.ptr[n] != ':' || !curl_strnequal(line.ptr, name, n))
        return false;
    *value = (struct slice){line.ptr + n + 1, line.len - n - 1};
    return true;
}

static size_t on_header(char *p, size_t size, size_t count, void *ctx)
{
    struct ch_transfer *t = ctx;
    struct slice line = {p, size * count}, value;
    char number[FIELD_CAP];
    if (line.len >= 5 && memcmp(line.ptr, "HTTP/", 5) == 0) {
        t->exception = 0; /* of an interim answer */
        t->type[0] = t->format[0] = t->tag[0] = '\0';
    } else if (field_is(line, "X-ClickHouse-Exception-Code", &value)) {
        take_field(number, value);
        t->exception = (int32_t)strtol(number, NULL, 10);
    } else if (field_is(line, "Content-Type", &value)) {
        take_field(t->type, value);
    } else if (field_is(line, "X-ClickHouse-Format", &value)) {
        take_field(t->format, value);
    } else if (field_is(line, "X-ClickHouse-Exception-Tag", &value)) {
        take_field(t->tag, value);
    }
    return line.len;
}

static int status_of(const struct ch_transfer *t)
{
    long status = 0;
    if (curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK)
        status = 0;
    return (int)status;
}

static void say_head(struct ch_transfer *t)
{
    if (t->head_said)
        return;
    t->head_said = true;
    struct ch_transfer_head head = {slice_str(t->type), slice_str(t->format), slice_str(t->tag)};
    if (t->ask.on_head != NULL)
        t->ask.on_head(t->ask.ctx, &head);
}

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
    struct ch_transfer *t = ctx;
    size_t n = size * count;
    if (status_of(t) != 200 || t->exception != 0) {
        size_t room = t->error.max - t->error.len;
        buf_put(&t->error, p, n < room ? n : room);
        return n;
    }
    say_head(t);
    if (t->ask.on_bytes == NULL)
        return n;
    switch (t->ask.on_bytes(t->ask.ctx, (struct slice){p, n})) {
    case CH_FLOW_ON:
        return n;
    case CH_FLOW_PAUSE:
        return CURL_WRITEFUNC_PAUSE;
    case CH_FLOW_STOP:
        break;
    }
    t->stopped = true;
    return n > 0 ? 0 : 1;
}

static bool configure(struct ch_transfer *t)
{
    CURL *h = t->curl;
    const struct ch_options *o = ch_target_options(t->site->target);
    /* No proxy from the environment: the data goes to the configured hosts and nowhere else. */
    return curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 65536L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_HTTPHEADER, t->site->headers) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_WRITEDATA, t) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_HEADERDATA, t) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_PRIVATE, t) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_timeout_ms) ==
               CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)t->ask.timeout_ms) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_POSTFIELDS, t->ask.sql.ptr) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->ask.sql.len) ==
               CURLE_OK &&
           /* libcurl repeats a request by itself when a kept connection turns out to be dead. */
           curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, t->ask.may_repeat ? 0L : 1L) == CURLE_OK &&
           ch_http_set_tls(h, o, t->detail);
}

static bool launch(struct ch_transfer *t)
{
    return build_url(t) && curl_easy_setopt(t->curl, CURLOPT_URL, t->url.ptr) == CURLE_OK &&
           curl_multi_add_handle(t->pool->multi, t->curl) == CURLM_OK;
}

static int transfer_new(struct ch_pool *p, struct site *site, const struct ch_transfer_ask *ask,
                        uint32_t endpoint, struct ch_transfer **out)
{
    struct ch_transfer *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return -ENOMEM;
    t->pool = p;
    t->site = site;
    site->refs++;
    t->ask = *ask;
    t->endpoint = endpoint;
    buf_init(&t->settings, URL_BYTES_MAX);
    buf_init(&t->url, URL_BYTES_MAX);
    buf_init(&t->error, ERROR_BYTES_MAX);
    if (ask->query_id != NULL)
        (void)snprintf(t->query_id, sizeof(t->query_id), "%s", ask->query_id);
    buf_put_slice(&t->settings, ask->settings);
    t->next = p->first;
    if (t->next != NULL)
        t->next->prev = t;
    p->first = t;
    *out = t;
    return 0;
}

int ch_transfer_start(struct ch_pool *p, const struct ch_transfer_ask *ask,
                      struct ch_transfer **out)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    struct ch_transfer *t = NULL;
    if (p->site->bad_credentials || ch_target_options(p->site->target)->endpoint_count == 0)
        return WH_EUNSUPPORTED;
    int rc = transfer_new(p, p->site, ask, p->site->endpoint, &t);
    if (rc != 0)
        return rc;
    t->curl = curl_easy_init();
    if (t->curl == NULL || !buf_ok(&t->settings) || !configure(t) || !launch(t)) {
        transfer_free(t);
        return -ENOMEM;
    }
    *out = t;
    return 0;
}

void ch_transfer_resume(struct ch_transfer *t)
{
    (void)curl_easy_pause(t->curl, CURLPAUSE_CONT);
}

/* Whoever asked has gone. Closing the connection is not enough: ClickHouse looks at it when it
 * writes, and a long aggregation writes late. Fire and forget: a server that cannot be told has its
 * own max_execution_time. */
static void kill_query(struct ch_pool *p, struct ch_transfer *of)
{
    struct ch_transfer *t = NULL;
    struct ch_transfer_ask ask = {.timeout_ms = KILL_TIMEOUT_MS, .may_repeat = true};
    if (of->query_id[0] == '\0' || transfer_new(p, of->site, &ask, of->endpoint, &t) != 0)
        return;
    (void)snprintf(t->kill_sql, sizeof(t->kill_sql),
                   "KILL QUERY WHERE query_id = '%s' ASYNC FORMAT Null", of->query_id);
    t->ask.sql = slice_str(t->kill_sql);
    t->tried = UINT32_MAX - 1; /* this endpoint or none */
    t->curl = curl_easy_init();
    if (t->curl == NULL || !configure(t) || !launch(t))
        transfer_free(t);
}

/* Something of the request left this machine. */
static bool was_sent(const struct ch_transfer *t)
{
    long request_bytes = 0;
    return curl_easy_getinfo(t->curl, CURLINFO_REQUEST_SIZE, &request_bytes) != CURLE_OK ||
           request_bytes > 0;
}

void ch_transfer_cancel(struct ch_transfer *t)
{
    struct ch_pool *p = t->pool;
    if (was_sent(t))
        kill_query(p, t);
    transfer_free(t);
}

/* --- ends ---------------------------------------------------------------------------------- */

/* "Code: 60, e.displayText() = …" (old) and "Code: 60. DB::Exception: …": the number, or 0. */
static int32_t code_in_text(struct slice body)
{
    char head[32] = "";
    size_t n = body.len < sizeof(head) - 1 ? body.len : sizeof(head) - 1;
    if (n > 0)
        memcpy(head, body.ptr, n);
    return strncmp(head, "Code: ", 6) == 0 ? (int32_t)strtol(head + 6, NULL, 10) : 0;
}

static void judge(const struct ch_transfer *t, CURLcode rc, struct ch_transfer_end *end,
                  char *words, size_t cap)
{
    const struct ch_options *o = ch_target_options(t->site->target);
    const struct ch_endpoint *ep = endpoint_of(t);
    end->status = status_of(t);
    end->was_sent = was_sent(t);
    if (t->stopped) {
        end->outcome = CH_TRANSFER_STOPPED;
        return;
    }
    if (rc == CURLE_OK && end->status == 200 && t->exception == 0) {
        end->outcome = CH_TRANSFER_DONE;
        return;
    }
    end->outcome = CH_TRANSFER_FAILED;
    if (rc == CURLE_OK) {
        end->text = buf_slice(&t->error);
        end->code = t->exception != 0 ? t->exception : code_in_text(end->text);
        if (end->code != 0) {
            end->outcome = CH_TRANSFER_EXCEPTION;
            return;
        }
        /* Not ClickHouse's words: something stands between us. */
        (void)snprintf(words, cap, "ClickHouse %s://%s:%u: status %d", ch_http_scheme(o), ep->host,
                       ep->http_port, end->status);
    } else {
        if (rc == CURLE_OPERATION_TIMEDOUT)
            end->outcome = CH_TRANSFER_TIMEOUT;
        int n = snprintf(words, cap, "ClickHouse %s://%s:%u: ", ch_http_scheme(o), ep->host,
                         ep->http_port);
        if (n > 0 && (size_t)n < cap)
            ch_http_explain(o, rc, t->detail, words + n, cap - (size_t)n);
    }
    end->text = slice_str(words);
}

/* The next endpoint, while nothing was sent to this one. */
static bool tries_next(struct ch_transfer *t, CURLcode rc)
{
    uint32_t count = ch_target_options(t->site->target)->endpoint_count;
    if (rc == CURLE_OK || was_sent(t) || t->tried >= count - 1)
        return false;
    t->tried++;
    t->endpoint = (t->endpoint + 1) % count;
    return launch(t);
}

static void ended(struct ch_transfer *t, CURLcode rc)
{
    struct ch_pool *p = t->pool;
    struct ch_transfer_end end = {0};
    char words[1024];
    (void)curl_multi_remove_handle(p->multi, t->curl);
    if (tries_next(t, rc))
        return;
    judge(t, rc, &end, words, sizeof(words));
    if (end.status != 0)
        t->site->endpoint = t->endpoint;
    if (end.outcome == CH_TRANSFER_DONE)
        say_head(t);
    if ((end.outcome == CH_TRANSFER_TIMEOUT || end.outcome == CH_TRANSFER_STOPPED) && end.was_sent)
        kill_query(p, t);
    if (t->ask.on_end != NULL)
        t->ask.on_end(t->ask.ctx, &end);
    transfer_free(t);
}

void ch_pool_turn(struct ch_pool *p, int wake_fd, int timeout_ms)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    struct curl_waitfd wake = {.fd = wake_fd, .events = CURL_WAIT_POLLIN};
    int running = 0, left = 0, ready = 0;
    (void)curl_multi_poll(p->multi, &wake, 1, timeout_ms, &ready);
    (void)curl_multi_perform(p->multi, &running);
    CURLMsg *m;
    while ((m = curl_multi_info_read(p->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct ch_transfer *t = NULL;
        CURLcode rc = m->data.result;
        if (curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK && t != NULL)
            ended(t, rc);
    }
}
