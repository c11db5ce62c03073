/* SPDX-License-Identifier: Apache-2.0 */
/* The policy and the pipes by HTTP (http-api §14). Reading is answered from the loop's snapshot; a
 * change is a control_task, whose answer comes back through the loop's queue. */
#include "api/auth.h"

#include "base/limits.h"
#include "query/pipe.h"

#include <errno.h>
#include <stdlib.h>

#define WARNINGS_MAX 100 /* in an answer */

/* ---- a change on its way ---- */

struct ops_change {
    struct control_task task;
    struct http_request *request;
    struct buf name, text, who; /* what the task borrows */
    struct buf warnings;        /* "…","…" */
};

static void change_free(struct ops_change *c)
{
    buf_fini(&c->name);
    buf_fini(&c->text);
    buf_fini(&c->who);
    buf_fini(&c->warnings);
    free(c);
}

/* By which right: the operator key or the control socket, or a role. */
static void put_caller(struct api_loop *a, struct http_request *r, struct buf *who)
{
    struct api_identity id;
    if (r->is_control) {
        buf_put_str(who, " control socket");
        return;
    }
    if (!api_identify(a, r, &id))
        return; /* it cannot be: the gate has let the request pass */
    if (id.caller.is_operator) {
        buf_put_str(who, " operator");
    } else if (id.caller.role.len > 0) {
        buf_put_str(who, " role=");
        buf_put_slice(who, id.caller.role);
    }
    api_identity_fini(&id);
}

/* NULL: answered. */
static struct ops_change *change_new(struct api_loop *a, struct http_request *r,
                                     enum control_kind kind)
{
    struct ops_change *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return NULL;
    }
    c->request = r;
    c->task.kind = kind;
    c->task.done = &a->controlled;
    buf_init(&c->name, SIZE_MAX);
    buf_init(&c->text, SIZE_MAX);
    buf_init(&c->who, SIZE_MAX);
    buf_init(&c->warnings, SIZE_MAX);
    buf_put_slice(&c->who, r->peer);
    buf_put_u8(&c->who, ' ');
    buf_put_slice(&c->who, r->request_id);
    put_caller(a, r, &c->who);
    return c;
}

static void reply_limit(struct http_request *r)
{
    http_reply_error(r, 400,
                     SLICE_LIT("too many pipes, or documents too large together: remove some"), 0);
}

/* Taken either way. text.ptr NULL in the task: remove. */
static void change_send(struct api_loop *a, struct ops_change *c)
{
    c->task.name = buf_slice(&c->name);
    c->task.who = buf_slice(&c->who);
    int rc = buf_ok(&c->name) && buf_ok(&c->text) && buf_ok(&c->who)
                 ? control_ask(a->shared->control, &c->task)
                 : WH_EFULL;
    if (rc == 0)
        return;
    if (rc == WH_ELIMIT)
        reply_limit(c->request);
    else
        http_reply_error(c->request, 503, SLICE_LIT("service unavailable"), 1);
    change_free(c);
}

static void put_warnings(struct buf *out, const struct buf *warnings)
{
    if (warnings->len == 0)
        return;
    buf_put_str(out, ",\"warnings\":[");
    buf_put_slice(out, buf_slice(warnings));
    buf_put_u8(out, ']');
}

static void change_answer(struct api_loop *a, struct ops_change *c)
{
    struct http_request *r = c->request;
    switch (c->task.result) {
    case 0:
        buf_reset(&a->text);
        buf_put_str(&a->text, "{\"ok\":true");
        put_warnings(&a->text, &c->warnings);
        buf_put_u8(&a->text, '}');
        api_reply_text(a, r, 200);
        break;
    case WH_ELIMIT:
        reply_limit(r);
        break;
    case WH_EAGAIN:
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 30);
        break;
    default: /* stopping, or the log has failed */
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        break;
    }
}

void ops_on_controlled(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->controlled)) != NULL) {
        struct ops_change *c =
            QUEUE_ITEM(QUEUE_ITEM(link, struct control_task, link), struct ops_change, task);
        change_answer(a, c);
        change_free(c);
    }
}

struct warnings {
    struct buf *out;
    uint32_t count;
};

static void add_warning(void *arg, const char *text)
{
    struct warnings *w = arg;
    if (w->count++ >= WARNINGS_MAX)
        return;
    if (w->out->len > 0)
        buf_put_u8(w->out, ',');
    buf_put_json_string(w->out, slice_str(text));
}

/* ---- the policy ---- */

/* NULL: answered. */
static struct json_reader *reader_of(struct api_loop *a, struct http_request *r)
{
    struct json_reader *reader = ops_reader(a);
    if (reader == NULL)
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
    return reader;
}

static void reply_finding(struct http_request *r, int rc, const struct err *e)
{
    if (rc == -ENOMEM)
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
    else if (rc == WH_ESYNTAX)
        http_reply_error(r, 400, SLICE_LIT("invalid json"), 0);
    else
        http_reply_error(r, 400, slice_str(e->text), 0);
}

/* Is the body a policy? What is doubtful about it goes to warnings. False: answered. */
static bool policy_check(struct api_loop *a, struct http_request *r, struct buf *warnings)
{
    struct access_policy *p;
    struct err e = {0};
    struct json_reader *reader = reader_of(a, r);
    if (reader == NULL)
        return false;
    int rc = access_policy_parse(reader, r->body, a->config->policy.strict, 0, &p, &e);
    if (rc != 0) {
        reply_finding(r, rc, &e);
        return false;
    }
    struct warnings w = {.out = warnings};
    (void)access_policy_warn(p, a->catalog, add_warning, &w);
    access_policy_unref(p);
    if (!buf_ok(warnings)) /* they are not needed to store it */
        buf_reset(warnings);
    return true;
}

void ops_policy_get(struct api_loop *a, struct http_request *r)
{
    const struct access_policy *p = control_snapshot_policy(a->control);
    const struct control_document *d = control_snapshot_policy_document(a->control);
    buf_reset(&a->text);
    if (p != NULL)
        access_policy_put_json(p, &a->text);
    else if (d != NULL) /* refused by this version: to be mended */
        buf_put_slice(&a->text, d->text);
    else
        buf_put_str(&a->text, "{\"tables\":{}}");
    api_reply_text(a, r, 200);
}

void ops_policy_put(struct api_loop *a, struct http_request *r)
{
    struct ops_change *c = change_new(a, r, CONTROL_POLICY);
    if (c == NULL)
        return;
    if (!policy_check(a, r, &c->warnings)) {
        change_free(c);
        return;
    }
    c->task.text = r->body; /* stays until the answer */
    change_send(a, c);
}

void ops_policy_validate(struct api_loop *a, struct http_request *r)
{
    struct buf warnings;
    buf_init(&warnings, SIZE_MAX);
    if (policy_check(a, r, &warnings)) {
        buf_reset(&a->text);
        buf_put_str(&a->text, "{\"valid\":true");
        put_warnings(&a->text, &warnings);
        buf_put_u8(&a->text, '}');
        api_reply_text(a, r, 200);
    }
    buf_fini(&warnings);
}

/* ---- pipes ---- */

void ops_pipe_list(struct api_loop *a, struct http_request *r)
{
    uint32_t count;
    const struct control_document *d = control_snapshot_pipes(a->control, &count);
    buf_reset(&a->text);
    buf_put_u8(&a->text, '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            buf_put_u8(&a->text, ',');
        buf_put_slice(&a->text, d[i].text);
    }
    buf_put_u8(&a->text, ']');
    api_reply_text(a, r, 200);
}

void ops_pipe_get(struct api_loop *a, struct http_request *r)
{
    if (!api_param(a, r))
        return;
    const struct control_document *d = control_snapshot_pipe(a->control, buf_slice(&a->name));
    if (d == NULL) {
        http_reply_error(r, 404, SLICE_LIT("pipe not found"), 0);
        return;
    }
    buf_reset(&a->text);
    buf_put_slice(&a->text, d->text);
    api_reply_text(a, r, 200);
}

/* The definition in the body, as it is to be stored, in c->text. False: answered. */
static bool pipe_check(struct api_loop *a, struct http_request *r, struct ops_change *c)
{
    struct query_pipe *p = NULL;
    struct warnings w = {.out = &c->warnings};
    struct err e = {0};
    unsigned flags = a->config->pipes.strict ? QUERY_PIPE_STRICT_MEMBERS | QUERY_PIPE_STRICT_QUOTES
                     : a->config->policy.strict ? QUERY_PIPE_STRICT_MEMBERS
                                                : 0;
    struct json_reader *reader = reader_of(a, r);
    if (reader == NULL)
        return false;
    int rc = control_pipe_name(buf_slice(&c->name), &e);
    if (rc == 0)
        rc = query_pipe_parse(reader, buf_slice(&c->name), r->body, flags, &p, &e);
    if (rc != 0) {
        reply_finding(r, rc, &e);
        return false;
    }
    query_pipe_put_json(p, &c->text);
    (void)query_pipe_warn(p, add_warning, &w);
    query_pipe_unref(p);
    if (!buf_ok(&c->warnings))
        buf_reset(&c->warnings);
    return true;
}

void ops_pipe_put(struct api_loop *a, struct http_request *r)
{
    if (!api_param(a, r))
        return;
    struct ops_change *c = change_new(a, r, CONTROL_PIPE);
    if (c == NULL)
        return;
    buf_put_slice(&c->name, buf_slice(&a->name));
    if (!pipe_check(a, r, c)) {
        change_free(c);
        return;
    }
    c->task.text = buf_slice(&c->text);
    change_send(a, c);
}

void ops_pipe_put_unnamed(struct api_loop *a, struct http_request *r)
{
    (void)a;
    http_reply_error(r, 400, SLICE_LIT("pipe name is required"), 0);
}

void ops_pipe_delete(struct api_loop *a, struct http_request *r)
{
    if (!api_param(a, r))
        return;
    struct slice name = buf_slice(&a->name);
    if (name.len > LIMIT_PIPE_NAME_BYTES) { /* there is none of that name */
        http_reply_json_const(r, SLICE_LIT("{\"ok\":true}"));
        return;
    }
    struct ops_change *c = change_new(a, r, CONTROL_PIPE);
    if (c == NULL)
        return;
    buf_put_slice(&c->name, name);
    change_send(a, c);
}
