/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/ops/settings/reload (http-api §15): what SIGHUP does, with an answer. */
#include "api/api_priv.h"

#include <stdlib.h>

struct ops_reload {
    struct api_reload task;
    struct http_request *request;
};

/* "file:12:3: message", or only a message. What stands before the message without a number is part
 * of it. */
static struct slice file_of(struct slice *line)
{
    for (size_t i = 1; i + 2 < line->len; i++) {
        if (line->ptr[i] != ':' || line->ptr[i + 1] < '0' || line->ptr[i + 1] > '9')
            continue;
        size_t end = i + 1;
        while (end < line->len &&
               (line->ptr[end] == ':' || (line->ptr[end] >= '0' && line->ptr[end] <= '9')))
            end++;
        if (end == line->len || line->ptr[end] != ' ' || line->ptr[end - 1] != ':')
            continue;
        struct slice file = {line->ptr, end - 1};
        line->ptr += end + 1;
        line->len -= end + 1;
        return file;
    }
    return (struct slice){NULL, 0};
}

static void put_finding(struct buf *out, struct slice line, bool error, bool first)
{
    struct slice file = file_of(&line);
    buf_put_str(out, first ? "{\"severity\":" : ",{\"severity\":");
    buf_put_str(out, error ? "\"error\"" : "\"warning\"");
    if (file.len > 0) {
        buf_put_str(out, ",\"file\":");
        buf_put_json_string(out, file);
    }
    buf_put_str(out, ",\"message\":");
    buf_put_json_string(out, line);
    buf_put_u8(out, '}');
}

static void reload_answer(struct api_loop *a, struct ops_reload *t)
{
    struct api_reload *task = &t->task;
    if (task->result != 0) {
        http_reply_error(t->request, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    const char *p = task->findings.ptr, *end = task->findings.len > 0 ? p + task->findings.len : p;
    buf_reset(&a->text);
    buf_printf(&a->text, "{\"adopted\":%s,\"findings\":[", task->adopted ? "true" : "false");
    for (bool first = true; p < end; first = false) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = lf != NULL ? (size_t)(lf - p) : (size_t)(end - p);
        put_finding(&a->text, (struct slice){p, n}, !task->adopted, first);
        p += n + 1;
    }
    buf_put_str(&a->text, "]}");
    api_reply_text(a, t->request, task->adopted ? 200 : 422);
}

static void reload_free(struct ops_reload *t)
{
    buf_fini(&t->task.findings);
    free(t);
}

void ops_on_reloaded(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->reloaded)) != NULL) {
        struct ops_reload *t =
            QUEUE_ITEM(QUEUE_ITEM(link, struct api_reload, link), struct ops_reload, task);
        reload_answer(a, t);
        reload_free(t);
    }
}

void ops_settings_reload(struct api_loop *a, struct http_request *r)
{
    struct ops_reload *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    t->request = r;
    t->task.done = &a->reloaded;
    buf_init(&t->task.findings, SIZE_MAX);
    if (a->shared->reload(a->shared->config_ctx, &t->task) == 0)
        return;
    http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
    reload_free(t);
}
