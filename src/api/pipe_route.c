/* SPDX-License-Identifier: Apache-2.0 */
/* GET|POST /v1/pipes/{name}[.csv|.ndjson] and /v0/pipes/{name}.json (pipes.md §2, doc/pipes.md).
 *
 * A loop compiles a pipe when it is first asked for, and all of them anew when a control entry has
 * been applied: that takes microseconds a pipe, and no lock. */
#include "api/query_priv.h"

#include "api/auth.h"
#include "base/limits.h"
#include "query/pipe.h"

#include <errno.h>
#include <stdlib.h>

#define ARGUMENTS_MAX 512 /* a target of 8 KiB has few more */
#define V0            "/v0/"

struct pipe_loop {
    struct query_binder *binder;
    struct query_pipes *pipes; /* compiled so far */
    uint64_t version;          /* of the control snapshot that they are from */
    struct buf arguments;      /* decoded names and values */
    struct query_argument list[ARGUMENTS_MAX];
    struct metric *fallback, *unresolved;
};

static struct pipe_loop *pipe_loop_new(void)
{
    struct pipe_loop *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return NULL;
    buf_init(&l->arguments, LIMIT_HTTP_TARGET_BYTES);
    l->binder = query_binder_new();
    l->fallback = metric_new(METRIC_COUNTER, "wavehouse_pipe_dep_resolution_fallback_total",
                             "Runs of pipes that may read more than the tables known, and are "
                             "cached for 10 s at most.",
                             NULL);
    l->unresolved = metric_new(METRIC_COUNTER, "wavehouse_pipe_dep_resolution_unresolved_total",
                               "Places in the SQL of pipes that were run where no known table "
                               "stands.",
                               NULL);
    return l;
}

void pipe_loop_free(struct pipe_loop *l)
{
    if (l == NULL)
        return;
    query_binder_free(l->binder);
    query_pipes_unref(l->pipes);
    buf_fini(&l->arguments);
    free(l);
}

static void reply_no_memory(struct http_request *r)
{
    http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
}

/* Everything that is needed is there. */
static bool is_ready(struct api_loop *a)
{
    struct query_loop *ql = a->query;
    if (ql->pipe == NULL)
        ql->pipe = pipe_loop_new();
    struct pipe_loop *l = ql->pipe;
    if (l == NULL || l->binder == NULL)
        return false;
    if (l->pipes == NULL || l->version != a->control_version) {
        query_pipes_unref(l->pipes);
        l->pipes = query_pipes_new();
        l->version = a->control_version;
    }
    return l->pipes != NULL;
}

/* The compiled pipe; WH_ENOTFOUND, -ENOMEM, or its definition is refused by this version (e). */
static int compile(struct api_loop *a, struct slice name, struct query_pipe **out, struct err *e)
{
    struct pipe_loop *l = a->query->pipe;
    struct json_reader *reader = ops_reader(a);
    struct buf text;
    *out = query_pipes_find(l->pipes, name);
    if (*out != NULL)
        return 0;
    const struct control_document *d =
        a->control != NULL ? control_snapshot_pipe(a->control, name) : NULL;
    if (d == NULL)
        return WH_ENOTFOUND;
    buf_init(&text, SIZE_MAX);
    buf_put_slice(&text, d->text);
    int rc = reader != NULL && buf_reserve(&text, LIMIT_JSON_PADDING) == 0
                 ? query_pipe_parse(reader, name, buf_slice(&text), 0, out, e)
                 : -ENOMEM;
    buf_fini(&text);
    if (rc != 0)
        return rc;
    if (query_pipes_take(l->pipes, *out))
        return 0;
    *out = NULL;
    return -ENOMEM;
}

struct query_pipe *api_pipe(struct api_loop *a, struct slice name)
{
    struct query_pipe *p;
    struct err e;
    return is_ready(a) && compile(a, name, &p, &e) == 0 ? p : NULL;
}

static bool strip(struct slice *name, const char *ending)
{
    size_t n = strlen(ending);
    if (name->len <= n || memcmp(name->ptr + name->len - n, ending, n) != 0)
        return false;
    name->len -= n;
    return true;
}

static bool is_v0(const struct http_request *r)
{
    return r->path.len > 4 && memcmp(r->path.ptr, V0, 4) == 0;
}

/* NULL: answered. */
static struct query_pipe *pipe_of(struct api_loop *a, struct http_request *r)
{
    struct query_pipe *p = NULL;
    struct err e = {0};
    if (!api_param(a, r))
        return NULL;
    if (!is_ready(a)) {
        reply_no_memory(r);
        return NULL;
    }
    struct slice name = buf_slice(&a->name);
    int rc = WH_ENOTFOUND;
    if (!is_v0(r))
        rc = compile(a, name, &p, &e);
    if (rc == WH_ENOTFOUND &&
        (is_v0(r) ? strip(&name, ".json") : strip(&name, ".csv") || strip(&name, ".ndjson")))
        rc = compile(a, name, &p, &e);
    if (rc == WH_ENOTFOUND)
        http_reply_error(r, 404, SLICE_LIT("pipe not found"), 0);
    else if (rc == -ENOMEM)
        reply_no_memory(r);
    else if (rc != 0)
        http_reply_error(r, 500, slice_str(e.text), 0);
    return p;
}

/* Unknown name, then authorisation, then the body (pipes.md §2). */
static bool may_run(struct api_loop *a, struct http_request *r, const struct query_pipe *p)
{
    struct api_identity id;
    uint32_t count;
    const struct slice *roles = query_pipe_roles(p, &count);
    if (!api_identify(a, r, &id))
        return false;
    bool granted = api_gate_pipe(a, r, &id, query_pipe_name(p), roles, count);
    api_identity_fini(&id);
    return granted;
}

bool pipe_on_head(struct api_loop *a, struct http_request *r)
{
    struct query_pipe *p = pipe_of(a, r);
    return p != NULL && may_run(a, r, p);
}

/* The query string, decoded. False: answered. */
static bool read_arguments(struct api_loop *a, struct http_request *r, uint32_t *count)
{
    struct pipe_loop *l = a->query->pipe;
    struct slice rest = r->query;
    int rc = buf_reserve(&l->arguments, r->query.len); /* so that it does not move */
    buf_reset(&l->arguments);
    *count = 0;
    while (rc == 0 && rest.len > 0 && *count < ARGUMENTS_MAX) {
        const char *end = memchr(rest.ptr, '&', rest.len);
        struct slice pair = {rest.ptr, end != NULL ? (size_t)(end - rest.ptr) : rest.len};
        rest = (struct slice){rest.ptr + pair.len + (end != NULL),
                              rest.len - pair.len - (end != NULL)};
        const char *equal = pair.len > 0 ? memchr(pair.ptr, '=', pair.len) : NULL;
        struct slice name = {pair.ptr, equal != NULL ? (size_t)(equal - pair.ptr) : pair.len};
        if (name.len == 0)
            continue;
        struct query_argument *arg = &l->list[(*count)++];
        size_t start = l->arguments.len;
        rc = http_percent_decode(name, true, &l->arguments);
        arg->name = (struct slice){l->arguments.ptr + start, l->arguments.len - start};
        start = l->arguments.len;
        if (rc == 0 && equal != NULL)
            rc = http_percent_decode((struct slice){equal + 1, pair.len - name.len - 1}, true,
                                     &l->arguments);
        arg->value = (struct slice){l->arguments.ptr + start, l->arguments.len - start};
    }
    if (rc == -ENOMEM)
        reply_no_memory(r);
    else if (rc != 0)
        http_reply_error(r, 400, SLICE_LIT("invalid percent-encoding in the query"), 0);
    return rc == 0;
}

/* In the shape of ClickHouse's own JSON format, which is that ecosystem's, too. */
static void answer_v0(struct api_loop *a, struct http_request *r, struct query_statement *s)
{
    struct query_terms terms;
    query_terms_make(a, &terms);
    buf_put_str(&s->sql, "\nFORMAT JSON");
    s->reads_only = true;
    if (!buf_ok(&s->sql))
        http_reply_error(r, 400, SLICE_LIT("the statement is too long"), 0);
    else
        query_stream_answer(a, r, s, &terms, QUERY_FORM_RAW, "application/json",
                            (struct slice){NULL, 0});
}

void pipe_route(struct api_loop *a, struct http_request *r)
{
    struct query_refusal no = {0};
    struct query_statement *s = &a->query->statement;
    struct query_pipe *p = pipe_of(a, r);
    uint32_t count;
    uint64_t ttl_s;
    if (p == NULL || !may_run(a, r, p))
        return;
    if (a->catalog == NULL) {
        http_reply_error(r, 503, SLICE_LIT("schema not loaded yet"), 5);
        return;
    }
    if (!read_arguments(a, r, &count) || !api_query_offset_reached(a, r, (struct slice){NULL, 0}))
        return;
    struct pipe_loop *l = a->query->pipe;
    enum query_result bound = query_pipe_bind(l->binder, p, l->list, count, r->body, s, &no);
    if (bound == QUERY_REFUSED) {
        http_reply_error(r, no.status, no.text, 0);
        return;
    }
    if (bound != QUERY_READY) {
        reply_no_memory(r);
        return;
    }
    s->limits.max_execution_ms = a->config->clickhouse.query_timeout_ms;
    if (!s->writes) {
        uint32_t unknown = query_sql_tables(buf_slice(&s->sql), a->catalog,
                                            slice_str(a->config->clickhouse.database), s);
        metric_add(l->unresolved, unknown);
        metric_add(l->fallback, s->tables_unknown);
    }
    if (is_v0(r) && !s->writes) {
        answer_v0(a, r, s);
        return;
    }
    bool has_ttl = query_pipe_ttl(p, &ttl_s);
    api_query_answer(a, r, s,
                     &(struct query_answer_how){.cache_ttl_ms =
                                                    has_ttl ? (int64_t)(ttl_s * 1000) : -1});
}
