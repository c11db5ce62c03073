/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/offset[?table=T]: how far the log, and a table of it, have come (doc/acknowledgement.md).
 * A table's is for who may read or write it, the log's for operators. */
#include "api/auth.h"
#include "base/limits.h"
#include "flush/flush.h"

#include <inttypes.h>
#include <stdlib.h>

/* A question on its way to the planner. */
struct offset_task {
    struct flush_offsets offsets; /* first */
    struct http_request *request;
    struct buf table;
};

static void answer(struct api_loop *a, struct offset_task *t)
{
    struct wal_stats log;
    if (a->stopping) {
        http_reply_error(t->request, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    wal_stats_get(a->shared->wal, &log);
    buf_reset(&a->text);
    buf_put_u8(&a->text, '{');
    if (t->table.len > 0) {
        buf_put_slice(&a->text, SLICE_LIT("\"table\":"));
        buf_put_json_string(&a->text, buf_slice(&t->table));
        buf_put_u8(&a->text, ',');
    }
    /* The commit mark is read after the planner's answer, so that it is never below `flushed`. */
    buf_printf(&a->text,
               "\"accepted\":%" PRIu64 ",\"committed\":%" PRIu64 ",\"flushed\":%" PRIu64
               ",\"pending_records\":%" PRIu64 ",\"oldest_pending_unix_ms\":%" PRIu64 "}",
               log.last_index, wal_commit_index(a->shared->wal), t->offsets.flushed,
               t->offsets.pending_rows, t->offsets.oldest_ns / 1000000);
    api_reply_text(a, t->request, 200);
}

void ops_on_offsets(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->offsets)) != NULL) {
        struct flush_msg *m = QUEUE_ITEM(link, struct flush_msg, link);
        struct flush_offsets *q = QUEUE_ITEM(&m->link, struct flush_offsets, msg.link);
        struct offset_task *t = QUEUE_ITEM(q, struct offset_task, offsets);
        answer(a, t);
        buf_fini(&t->table);
        free(t);
    }
}

static bool gate(struct api_loop *a, struct http_request *r, struct slice table)
{
    struct api_identity id;
    struct access_decision d;
    if (!api_identify(a, r, &id))
        return false;
    bool may = table.len == 0 ? api_gate_ops(a, r, &id)
                              : api_may_table(a, &id, table, ACCESS_SELECT, &d) ||
                                    api_gate_table(a, r, &id, table, ACCESS_INSERT, &d);
    api_identity_fini(&id);
    return may;
}

void ops_offset(struct api_loop *a, struct http_request *r)
{
    struct offset_task *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    buf_init(&t->table, LIMIT_NAME_BYTES);
    if (http_query_get(r->query, "table", &t->table) < 0) {
        http_reply_error(r, 400, SLICE_LIT("invalid table parameter"), 0);
        buf_fini(&t->table);
        free(t);
        return;
    }
    struct slice table = buf_slice(&t->table);
    if (!gate(a, r, table)) {
        buf_fini(&t->table);
        free(t);
        return;
    }
    if (table.len > 0 && a->catalog != NULL && schema_catalog_find(a->catalog, table) == NULL) {
        buf_reset(&a->text);
        buf_put_slice(&a->text, SLICE_LIT("unknown table: "));
        buf_put_slice(&a->text, table);
        http_reply_error(r, 404, buf_slice(&a->text), 0);
        buf_fini(&t->table);
        free(t);
        return;
    }
    t->request = r;
    t->offsets.table = table;
    t->offsets.done = &a->offsets;
    flush_offsets_ask(a->shared->flush, &t->offsets);
}
