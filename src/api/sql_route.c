/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/ops/query: SQL as it is, for administrators (http-api §9). Who may is decided by
 * ops_gate before this is called. */
#include "api/query_priv.h"

#include "api/sql_shape.h"
#include "base/limits.h"

#include <errno.h>

/* The last `sql` of the object into s->sql. 0; WH_ESYNTAX; WH_ENOTFOUND: it is missing or empty;
 * -ENOMEM. */
static int read_sql(struct api_loop *a, struct slice body, struct query_statement *s)
{
    struct json_reader *reader = ops_reader(a);
    struct json_doc doc;
    const struct json_node *sql = NULL;
    if (reader == NULL)
        return -ENOMEM;
    int rc = json_reader_begin(reader, body.ptr, body.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(reader, &doc);
    if (rc == -ENOMEM)
        return rc;
    if (rc != 0 || json_reader_trailing(reader) || doc.nodes[0].kind != JSON_OBJECT)
        return WH_ESYNTAX;
    for (uint32_t i = 1; i < doc.nodes[0].next; i = doc.nodes[i + 1].next)
        if (json_string_is(&doc, &doc.nodes[i], "sql"))
            sql = &doc.nodes[i + 1];
    if (sql == NULL || sql->kind == JSON_NULL)
        return WH_ENOTFOUND;
    if (sql->kind != JSON_STRING)
        return WH_ESYNTAX;
    struct slice raw = json_raw(&doc, sql);
    char *to = buf_extend(&s->sql, raw.len);
    if (to == NULL)
        return -ENOMEM;
    s->sql.len -= raw.len - json_unescape(raw, to);
    return s->sql.len > 0 ? 0 : WH_ENOTFOUND;
}

void sql_route(struct api_loop *a, struct http_request *r)
{
    struct query_statement *s = &a->query->statement;
    size_t usual = s->sql.max;
    query_statement_reset(s);
    s->sql.max = LIMIT_SQL_BODY_BYTES;
    int rc = read_sql(a, r->body, s);
    if (rc == WH_ESYNTAX)
        http_reply_error(r, 400, SLICE_LIT("invalid json"), 0);
    else if (rc == WH_ENOTFOUND)
        http_reply_error(r, 400, SLICE_LIT("missing sql"), 0);
    else if (rc != 0)
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
    if (rc == 0) {
        struct sql_shape shape = sql_shape_of(buf_slice(&s->sql));
        struct query_terms terms = {.rendering = QUERY_RAW_DATA, .cache_ttl_ms = 0};
        if (a->catalog != NULL)
            query_terms_make(a, &terms);
        terms.rendering = QUERY_RAW_DATA;
        s->writes = !shape.reads;
        if (shape.format.len > 0)
            query_stream_answer(a, r, s, &terms, QUERY_FORM_RAW, NULL,
                                shape.reads ? (struct slice){NULL, 0} : SLICE_LIT("[]"));
        else
            query_wait(a, r, s, &terms);
    }
    s->sql.max = usual;
    if (s->sql.cap > MIB) {
        query_statement_fini(s);
        query_statement_init(s);
    }
}
