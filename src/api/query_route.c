/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/query[.csv|.ndjson]?table=T (http-api §8). */
#include "api/query_priv.h"

#include "api/auth.h"
#include "io/clock.h"

#include <stdio.h>

static void reply_unknown(struct api_loop *a, struct http_request *r)
{
    buf_reset(&a->text);
    buf_put_slice(&a->text, SLICE_LIT("unknown table: "));
    buf_put_slice(&a->text, buf_slice(&a->name));
    http_reply_error(r, 404, buf_slice(&a->text), 0);
}

static bool may_select(struct api_loop *a, struct http_request *r)
{
    struct api_identity id;
    struct access_decision decision;
    if (!api_identify(a, r, &id))
        return false;
    bool may = api_gate_table(a, r, &id, buf_slice(&a->name), ACCESS_SELECT, &decision);
    api_identity_fini(&id);
    return may;
}

/* The table's name in a->name. NULL: answered. With api.hide_unknown_tables the gate comes first,
 * for tables that are there too: else a body that cannot be read would tell them apart. */
static const struct schema_table *table_of(struct api_loop *a, struct http_request *r)
{
    int given = api_table_parameter(a, r);
    if (given < 0)
        return NULL;
    if (given == 0) {
        http_reply_error(r, 400, SLICE_LIT("missing table"), 0);
        return NULL;
    }
    if (a->catalog == NULL) {
        http_reply_error(r, 503, SLICE_LIT("schema not loaded yet"), 5);
        return NULL;
    }
    if (a->config->api.hide_unknown_tables && !may_select(a, r))
        return NULL;
    const struct schema_table *t = schema_catalog_find(a->catalog, buf_slice(&a->name));
    if (t == NULL)
        reply_unknown(a, r);
    return t;
}

bool query_on_head(struct api_loop *a, struct http_request *r)
{
    return table_of(a, r) != NULL;
}

static bool memory_ready(struct query_loop *ql)
{
    if (ql->select == NULL)
        ql->select = query_select_new();
    if (ql->predicates == NULL)
        ql->predicates = access_predicates_new();
    return ql->select != NULL && ql->predicates != NULL;
}

/* The role may read the table, but not what was asked of it: a denial all the same. */
static void say_refused(struct api_loop *a, struct http_request *r,
                        const struct schema_table *table, const struct api_identity *id,
                        const struct access_decision *decision, const struct query_refusal *no)
{
    char reason[2 * LIMIT_NAME_BYTES];
    struct access_decision d = *decision;
    (void)snprintf(reason, sizeof(reason), "%.*s", SLICE_ARG(no->text));
    d.status = no->status;
    d.reason = reason;
    api_denied_table(a, r, id, table->name, &d);
}

static void build_and_answer(struct api_loop *a, struct http_request *r,
                             const struct schema_table *table, const struct api_identity *id,
                             const struct access_decision *decision)
{
    struct query_loop *ql = a->query;
    const struct config *c = a->config;
    struct query_refusal no = {0};
    struct query_select_ask ask = {
        .catalog = a->catalog,
        .table = table,
        .policy = id->policy,
        .decision = decision,
        .claims = id->claims,
        .predicates = ql->predicates,
        .terms = {.style = query_style_of(schema_catalog_version(a->catalog)),
                  .now_ns = io_realtime_ns(),
                  .default_max_rows = c->query.default_max_rows,
                  .bucket_s = c->query.timestamp_bucket_s,
                  .timeout_ms = c->clickhouse.query_timeout_ms},
    };
    switch (query_select_build(ql->select, &ask, &ql->statement, &no)) {
    case QUERY_READY:
        api_query_answer(a, r, &ql->statement, &(struct query_answer_how){.cache_ttl_ms = -1});
        break;
    case QUERY_EMPTY:
        http_reply_json_const(r, SLICE_LIT("[]"));
        break;
    case QUERY_REFUSED:
        if (no.status == 403)
            say_refused(a, r, table, id, decision, &no);
        http_reply_error(r, no.status, no.text, 0);
        break;
    case QUERY_NO_MEMORY:
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        break;
    }
}

void query_route(struct api_loop *a, struct http_request *r)
{
    struct query_loop *ql = a->query;
    const struct schema_table *table = table_of(a, r);
    struct query_refusal no = {0};
    struct api_identity id;
    struct access_decision decision;
    if (table == NULL)
        return;
    enum query_result read =
        memory_ready(ql) ? query_select_parse(ql->select, r->body, &no) : QUERY_NO_MEMORY;
    if (read == QUERY_NO_MEMORY) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    if (read == QUERY_REFUSED) {
        http_reply_error(r, no.status, no.text, 0);
        return;
    }
    if (!api_identify(a, r, &id))
        return;
    if (api_gate_table(a, r, &id, table->name, ACCESS_SELECT, &decision) &&
        api_query_offset_reached(a, r, table->name))
        build_and_answer(a, r, table, &id, &decision);
    api_identity_fini(&id);
}
