/* SPDX-License-Identifier: Apache-2.0 */
/* GET /openapi.json: this API as OpenAPI 3.1, made for whoever asks: the tables of the live schema
 * that the caller may read or write, with the columns that it may name, the pipes that it may run,
 * and for an administrator the routes under /v1/ops. A caller without rights sees the public
 * routes; it is never refused, because the document says nothing that the caller may not use. */
#include "api/openapi.h"

#include "api/auth.h"
#include "base/limits.h"
#include "config/config.h"
#include "query/pipe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define JSON_TYPE "\"application/json\""
#define REF_ERROR "{\"$ref\":\"#/components/responses/Error\"}"
#define ERRORS    ",\"default\":" REF_ERROR "}"
#define OK_OBJECT                                               \
    "\"200\":{\"description\":\"done\",\"content\":{" JSON_TYPE \
    ":{\"schema\":{\"type\":\"object\"}}}}"
#define OK_ARRAY                                                \
    "\"200\":{\"description\":\"rows\",\"content\":{" JSON_TYPE \
    ":{\"schema\":{\"type\":\"array\"}}}}"
#define TAG_DATA     "\"tags\":[\"data\"],"
#define TAG_OPS      "\"tags\":[\"operations\"],"
#define BODY(schema) "\"requestBody\":{\"content\":{" JSON_TYPE ":{\"schema\":" schema "}}},"

/* A document of more bytes is made anew each time. */
#define KEPT_BYTES_MAX (2 * MIB)

/* The last document that a loop has made, and all that it depends on. */
struct openapi_kept {
    struct buf key, text;
};

/* Which tables, and what of them. */
struct table_right {
    const struct schema_table *t;
    bool may[ACCESS_OPS];
    struct access_decision how[ACCESS_OPS];
};

struct doc {
    struct api_loop *a;
    const struct api_identity *id;
    struct buf *out;
    struct table_right *rights; /* the tables that the caller may use at all */
    uint32_t right_count;
    uint32_t left_out; /* tables beyond the limit */
};

static void put(struct doc *d, const char *text)
{
    buf_put_str(d->out, text);
}

static void put_name(struct doc *d, struct slice name)
{
    buf_put_json_string(d->out, name);
}

static bool rights(struct doc *d, const struct schema_table *t, struct table_right *out)
{
    *out = (struct table_right){.t = t};
    for (int op = 0; op < ACCESS_OPS; op++)
        out->may[op] = api_may_table(d->a, d->id, t->name, (enum access_op)op, &out->how[op]);
    return out->may[ACCESS_SELECT] || out->may[ACCESS_INSERT];
}

static int find_rights(struct doc *d)
{
    uint32_t total = d->a->catalog != NULL ? schema_catalog_table_count(d->a->catalog) : 0;
    if (total == 0)
        return 0;
    d->rights = calloc(total, sizeof(*d->rights));
    if (d->rights == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < total; i++)
        d->right_count +=
            rights(d, schema_catalog_table(d->a->catalog, i), &d->rights[d->right_count]);
    return 0;
}

static bool may_column(const struct table_right *right, enum access_op op,
                       const struct schema_column *c)
{
    const struct access_decision *how = &right->how[op];
    return how->gate == ACCESS_UNRESTRICTED || access_grant_column(how->grant, c->name);
}

/* A column that an _eq check writes where the record leaves it out is not asked of the caller. */
static bool is_stamped(const struct table_right *right, const struct schema_column *c)
{
    const struct access_grant *g = right->how[ACCESS_INSERT].grant;
    if (right->how[ACCESS_INSERT].gate == ACCESS_UNRESTRICTED)
        return false;
    for (uint32_t i = 0; i < g->rule_count; i++)
        if (g->rules[i].op == ACCESS_EQ && slice_eq(g->rules[i].column, c->name))
            return true;
    return false;
}

/* Names in components are of [A-Za-z0-9._-]; a table may be called anything. One to one: other
 * bytes become _xx. '_' too, so that no two tables share a name. */
static void put_component(struct doc *d, struct slice table)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < table.len; i++) {
        unsigned char c = (unsigned char)table.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '-';
        if (plain) {
            buf_put_u8(d->out, c);
        } else {
            buf_put_u8(d->out, '_');
            buf_put_u8(d->out, (uint8_t)hex[c >> 4]);
            buf_put_u8(d->out, (uint8_t)hex[c & 15]);
        }
    }
}

static void put_ref(struct doc *d, const char *kind, struct slice table)
{
    buf_printf(d->out, "{\"$ref\":\"#/components/schemas/%s.", kind);
    put_component(d, table);
    put(d, "\"}");
}

/* The beginning of an object with the columns that are sent in a record, or answered in a row. */
static void put_columns(struct doc *d, const struct table_right *right, enum openapi_side side)
{
    const struct schema_table *t = right->t;
    enum access_op op = side == OPENAPI_SENT ? ACCESS_INSERT : ACCESS_SELECT;
    bool first = true;
    put(d, "{\"type\":\"object\",\"title\":");
    put_name(d, t->name);
    put(d, ",\"properties\":{");
    for (uint32_t i = 0; i < t->column_count; i++) {
        const struct schema_column *c = &t->columns[i];
        bool there =
            side == OPENAPI_SENT ? c->insertable : c->default_kind != SCHEMA_DEFAULT_EPHEMERAL;
        if (!there || !may_column(right, op, c))
            continue;
        put(d, first ? "" : ",");
        first = false;
        put_name(d, c->name);
        buf_put_u8(d->out, ':');
        openapi_put_type(d->out, c->type, side);
    }
    put(d, "}");
}

static void put_record(struct doc *d, const struct table_right *right)
{
    const struct schema_table *t = right->t;
    bool first = true;
    put_columns(d, right, OPENAPI_SENT);
    put(d, ",\"required\":[");
    for (uint32_t i = 0; i < t->column_count; i++) {
        const struct schema_column *c = &t->columns[i];
        bool stamped = is_stamped(right, c) || (d->a->config->ingest.stamp_received &&
                                                t->received_timestamp == (int32_t)c->ordinal);
        if (!c->required || stamped || !may_column(right, ACCESS_INSERT, c))
            continue;
        put(d, first ? "" : ",");
        first = false;
        put_name(d, c->name);
    }
    bool more = config_table_find(d->a->config, t->name)->unknown_columns != CONFIG_UNKNOWN_REJECT;
    buf_printf(d->out, "],\"additionalProperties\":%s}", more ? "true" : "false");
}

static void put_row(struct doc *d, const struct table_right *right)
{
    put_columns(d, right, OPENAPI_ANSWERED);
    put(d, "}");
}

/* Calls fn for each table that the caller may use, until the document has the size limit. */
static uint32_t each_table(struct doc *d, enum access_op op, bool count_left_out,
                           void (*fn)(struct doc *d, const struct table_right *right, bool first))
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->right_count; i++) {
        if (!d->rights[i].may[op])
            continue;
        if (n == LIMIT_OPENAPI_TABLES) {
            d->left_out += count_left_out;
            continue;
        }
        fn(d, &d->rights[i], n == 0);
        n++;
    }
    return n;
}

static void put_table_name(struct doc *d, const struct table_right *right, bool first)
{
    put(d, first ? "" : ",");
    put_name(d, right->t->name);
}

static void put_record_ref(struct doc *d, const struct table_right *right, bool first)
{
    put(d, first ? "" : ",");
    put_ref(d, "record", right->t->name);
}

static void put_row_ref(struct doc *d, const struct table_right *right, bool first)
{
    put(d, first ? "" : ",");
    put_ref(d, "row", right->t->name);
}

static void put_record_schema(struct doc *d, const struct table_right *right, bool first)
{
    (void)first;
    put(d, ",\"record.");
    put_component(d, right->t->name);
    put(d, "\":");
    put_record(d, right);
}

static void put_row_schema(struct doc *d, const struct table_right *right, bool first)
{
    (void)first;
    put(d, ",\"row.");
    put_component(d, right->t->name);
    put(d, "\":");
    put_row(d, right);
}

static bool has_table(struct doc *d, enum access_op op)
{
    for (uint32_t i = 0; i < d->right_count; i++)
        if (d->rights[i].may[op])
            return true;
    return false;
}

/* The parameter that names one of the caller's tables. */
static void put_table_parameter(struct doc *d, enum access_op op)
{
    put(d, "{\"name\":\"table\",\"in\":\"query\",\"required\":true,\"schema\":{\"type\":\"string\","
           "\"enum\":[");
    (void)each_table(d, op, false, put_table_name);
    put(d, "]}}");
}

static void put_ingest(struct doc *d)
{
    put(d, ",\"/v1/ingest\":{\"post\":{" TAG_DATA "\"operationId\":\"ingest\",\"summary\":"
           "\"Store one record, or many\",\"parameters\":[");
    put_table_parameter(d, ACCESS_INSERT);
    put(d,
        ",{\"name\":\"dry_run\",\"in\":\"query\",\"schema\":{\"type\":\"string\",\"enum\":[\"1\","
        "\"0\"]}},"
        "{\"name\":\"Idempotency-Key\",\"in\":\"header\",\"schema\":{\"type\":\"string\","
        "\"maxLength\":1024}},"
        "{\"name\":\"X-Ack\",\"in\":\"header\",\"schema\":{\"type\":\"string\",\"enum\":["
        "\"committed\",\"clickhouse\"]}}],"
        "\"requestBody\":{\"required\":true,\"content\":{" JSON_TYPE ":{\"schema\":{\"anyOf\":[");
    (void)each_table(d, ACCESS_INSERT, false, put_record_ref);
    put(d, ",{\"type\":\"array\",\"items\":{\"anyOf\":[");
    (void)each_table(d, ACCESS_INSERT, false, put_record_ref);
    put(d,
        "]}}]}},\"application/x-ndjson\":{\"schema\":{\"type\":\"string\"}},\"text/"
        "csv\":{\"schema\":"
        "{\"type\":\"string\"}},\"text/tab-separated-values\":{\"schema\":{\"type\":\"string\"}}}},"
        "\"responses\":{\"200\":{\"description\":\"stored\",\"content\":{" JSON_TYPE
        ":{\"schema\":{\"anyOf\":[{\"$ref\":\"#/components/schemas/IngestOne\"},"
        "{\"$ref\":\"#/components/schemas/IngestMany\"}]}}}}" ERRORS "}}");
}

static void put_query(struct doc *d)
{
    put(d, ",\"/v1/query\":{\"post\":{" TAG_DATA "\"operationId\":\"query\",\"summary\":"
           "\"Ask a table\",\"parameters\":[");
    put_table_parameter(d, ACCESS_SELECT);
    put(d,
        "]," BODY(
            "{\"$ref\":\"#/components/schemas/Query\"}") "\"responses\":{\"200\":{\"description\":"
                                                         "\"rows, with the asked columns "
                                                         "only\",\"headers\":{\"X-Cache\":"
                                                         "{\"schema\":{\"type\":\"string\","
                                                         "\"enum\":[\"HIT\",\"MISS\"]}}},"
                                                         "\"content\":{" JSON_TYPE
                                                         ":{\"schema\":{\"type\":\"array\","
                                                         "\"items\":{\"anyOf\":[");
    (void)each_table(d, ACCESS_SELECT, true, put_row_ref);
    put(d, ",{\"type\":\"object\"}]}}},\"text/csv\":{\"schema\":{\"type\":\"string\"}},"
           "\"application/x-ndjson\":{\"schema\":{\"type\":\"string\"}}}}" ERRORS "}}");
}

static void put_stream(struct doc *d)
{
    put(d, ",\"/v1/stream\":{\"get\":{" TAG_DATA "\"operationId\":\"stream\",\"summary\":"
           "\"Records as they are stored, as server-sent events\",\"parameters\":[");
    put_table_parameter(d, ACCESS_SELECT);
    put(d, ",{\"name\":\"since\",\"in\":\"query\",\"schema\":{\"type\":\"string\",\"format\":"
           "\"date-time\"}},"
           "{\"name\":\"Last-Event-ID\",\"in\":\"header\",\"schema\":{\"type\":\"string\"}}],"
           "\"responses\":{\"200\":{\"description\":\"a stream that does not end\",\"content\":"
           "{\"text/event-stream\":{\"schema\":{\"type\":\"string\"}}}}" ERRORS "}}");
}

static void put_path(struct doc *d, struct slice name)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != '\0' && strchr("-._~", c) != NULL);
        if (plain)
            buf_put_u8(d->out, c);
        else
            buf_printf(d->out, "%%%c%c", hex[c >> 4], hex[c & 15]);
    }
}

static const char *parameter_schema(struct slice type, bool in_query)
{
    if (slice_eq_str(type, "number"))
        return in_query ? "{\"type\":\"number\"}" : "{\"type\":[\"number\",\"string\"]}";
    if (slice_eq_str(type, "boolean"))
        return "{\"type\":\"boolean\"}";
    if (slice_eq_str(type, "string"))
        return "{\"type\":\"string\"}";
    if (slice_eq_str(type, "array"))
        return "{\"type\":\"array\"}";
    return "{}";
}

static void put_parameters(struct doc *d, const struct query_pipe *p)
{
    struct query_pipe_parameter a;
    bool first = true;
    put(d, "\"parameters\":[");
    for (uint32_t i = 0; query_pipe_parameter(p, i, &a); i++) {
        if (slice_eq_str(a.type, "array")) /* in a body only */
            continue;
        put(d, first ? "{\"name\":" : ",{\"name\":");
        first = false;
        put_name(d, a.name);
        buf_printf(d->out, ",\"in\":\"query\",\"required\":%s,\"schema\":%s}",
                   a.required ? "true" : "false", parameter_schema(a.type, true));
    }
    put(d, "],");
}

static void put_body(struct doc *d, const struct query_pipe *p)
{
    struct query_pipe_parameter a;
    bool first = true;
    put(d, "\"requestBody\":{\"content\":{" JSON_TYPE
           ":{\"schema\":{\"type\":\"object\",\"properties\":{");
    for (uint32_t i = 0; query_pipe_parameter(p, i, &a); i++) {
        put(d, i > 0 ? "," : "");
        put_name(d, a.name);
        buf_printf(d->out, ":%s", parameter_schema(a.type, false));
    }
    put(d, "},\"required\":[");
    for (uint32_t i = 0; query_pipe_parameter(p, i, &a); i++) {
        if (!a.required)
            continue;
        put(d, first ? "" : ",");
        first = false;
        put_name(d, a.name);
    }
    put(d, "]}}}},");
}

static void put_pipe(struct doc *d, const struct query_pipe *p)
{
    struct slice name = query_pipe_name(p), says = query_pipe_description(p);
    for (int post = 0; post < 2; post++) {
        if (post == 0) {
            put(d, ",\"/v1/pipes/");
            put_path(d, name);
            put(d, "\":{\"get\":{");
        } else {
            put(d, ",\"post\":{");
        }
        buf_printf(d->out, "\"tags\":[\"pipes\"],\"operationId\":\"pipe.%s.",
                   post == 0 ? "get" : "post");
        put_component(d, name);
        put(d, "\",");
        if (says.len > 0) {
            put(d, "\"description\":");
            put_name(d, says);
            put(d, ",");
        }
        if (post == 0)
            put_parameters(d, p);
        else
            put_body(d, p);
        put(d, "\"responses\":{" OK_ARRAY ERRORS "}");
    }
    put(d, "}");
}

/* Those that the caller may run. */
static void put_pipes(struct doc *d, bool is_admin)
{
    uint32_t count = 0;
    const struct control_document *all =
        d->a->control != NULL ? control_snapshot_pipes(d->a->control, &count) : NULL;
    struct slice role = api_role(d->a, d->id);
    for (uint32_t i = 0; i < count; i++) {
        const struct query_pipe *p = api_pipe(d->a, all[i].name);
        if (p != NULL && (is_admin || (d->id->policy != NULL && query_pipe_allows(p, role))))
            put_pipe(d, p);
    }
}

static void put_public(struct doc *d)
{
    put(d, "\"/"
           "livez\":{\"get\":{\"tags\":[\"health\"],\"operationId\":\"livez\",\"security\":[],"
           "\"responses\":{" OK_OBJECT ERRORS "}},"
           "\"/"
           "readyz\":{\"get\":{\"tags\":[\"health\"],\"operationId\":\"readyz\",\"security\":[],"
           "\"responses\":{" OK_OBJECT ERRORS "}},"
           "\"/v1/"
           "health\":{\"get\":{\"tags\":[\"health\"],\"operationId\":\"health\",\"security\":[],"
           "\"responses\":{\"200\":{\"description\":\"alive\"},\"503\":{\"description\":\"not "
           "yet\"}}}},"
           "\"/"
           "version\":{\"get\":{\"tags\":[\"health\"],\"operationId\":\"version\",\"security\":[],"
           "\"responses\":{" OK_OBJECT ERRORS "}}");
}

/* Everything behind the admin gate; one line each. */
static const struct {
    const char *path, *parameter; /* parameter: of the path, NULL: none */
    struct {
        const char *method, *id, *summary, *rest; /* rest: body and so on, each ended by a comma */
        bool is_array;
    } calls[3];
} ops[] = {
    {"/v1/ops/query",
     NULL,
     {{"post", "sql", "Run a statement",
       BODY("{\"type\":\"object\",\"required\":[\"sql\"],\"properties\":{\"sql\":{\"type\":"
            "\"string\"}}}"),
       true}}},
    {"/v1/ops/schema",
     NULL,
     {{"get", "schema", "Tables and their columns",
       "\"parameters\":[{\"$ref\":\"#/components/parameters/Table\"}],", true}}},
    {"/v1/ops/schema/refresh",
     NULL,
     {{"post", "schemaRefresh", "Discover the schema now", "", true}}},
    {"/v1/ops/policy",
     NULL,
     {{"get", "policy", "The policy in force", "", false},
      {"put", "policyPut", "Replace the policy", BODY("{\"type\":\"object\"}"), false}}},
    {"/v1/ops/policy/validate",
     NULL,
     {{"post", "policyValidate", "Check a policy without effect", BODY("{\"type\":\"object\"}"),
       false}}},
    {"/v1/ops/pipes", NULL, {{"get", "pipes", "All pipes", "", true}}},
    {"/v1/ops/pipes/{name}",
     "name",
     {{"get", "pipe", "One pipe", "", false},
      {"put", "pipePut", "Make or replace a pipe", BODY("{\"$ref\":\"#/components/schemas/Pipe\"}"),
       false},
      {"delete", "pipeDelete", "Remove a pipe", "", false}}},
    {"/v1/ops/dlq/stats",
     NULL,
     {{"get", "deadLetterStats", "Dead letters by table",
       "\"parameters\":[{\"$ref\":\"#/components/parameters/Table\"}],", false}}},
    {"/v1/ops/dlq",
     NULL,
     {{"get", "deadLetters", "Dead letters",
       "\"parameters\":[{\"$ref\":\"#/components/parameters/Table\"}],", false},
      {"delete", "deadLettersPurge", "Remove dead letters", "", false}}},
    {"/v1/ops/dlq/replay",
     NULL,
     {{"post", "deadLettersReplay", "Enter dead letters again", BODY("{\"type\":\"object\"}"),
       false}}},
    {"/v1/ops/drift", NULL, {{"get", "drift", "Columns that tables lack", "", false}}},
};

static void put_ops(struct doc *d)
{
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        buf_printf(d->out, ",\"%s\":{", ops[i].path);
        if (ops[i].parameter != NULL)
            buf_printf(
                d->out,
                "\"parameters\":[{\"name\":\"%s\",\"in\":\"path\",\"required\":true,\"schema\":"
                "{\"type\":\"string\"}}],",
                ops[i].parameter);
        for (size_t k = 0; k < 3 && ops[i].calls[k].method != NULL; k++)
            buf_printf(d->out,
                       "%s\"%s\":{" TAG_OPS
                       "\"operationId\":\"%s\",\"summary\":\"%s\",%s\"responses\":{%s" ERRORS "}",
                       k > 0 ? "," : "", ops[i].calls[k].method, ops[i].calls[k].id,
                       ops[i].calls[k].summary, ops[i].calls[k].rest,
                       ops[i].calls[k].is_array ? OK_ARRAY : OK_OBJECT);
        put(d, "}");
    }
}

static void put_components(struct doc *d)
{
    put(d,
        "\"components\":{\"securitySchemes\":{\"token\":{\"type\":\"http\",\"scheme\":\"bearer\","
        "\"bearerFormat\":\"JWT\"},"
        "\"operatorKey\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"X-Operator-Key\"}},"
        "\"parameters\":{\"Table\":{\"name\":\"table\",\"in\":\"query\",\"schema\":{\"type\":"
        "\"string\"}}},"
        "\"responses\":{\"Error\":{\"description\":\"what is wrong\",\"content\":{" JSON_TYPE
        ":{\"schema\":{\"$ref\":\"#/components/schemas/Error\"}}}}},"
        "\"schemas\":{\"Error\":{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{"
        "\"error\":{\"type\":\"string\"},"
        "\"code\":{\"type\":\"string\"},\"retryable\":{\"type\":\"boolean\"},\"exception_code\":{"
        "\"type\":\"integer\"}}},"
        "\"IngestOne\":{\"type\":\"object\",\"properties\":{\"ok\":{\"type\":\"boolean\"},"
        "\"duplicate\":{\"type\":\"boolean\"}}},"
        "\"IngestMany\":{\"type\":\"object\",\"required\":[\"total\",\"succeeded\",\"failed\","
        "\"duplicates\",\"results\"],\"properties\":"
        "{\"total\":{\"type\":\"integer\"},\"succeeded\":{\"type\":\"integer\"},\"failed\":{"
        "\"type\":\"integer\"},\"duplicates\":{\"type\":\"integer\"},"
        "\"results\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"index\"],"
        "\"properties\":{\"index\":{\"type\":\"integer\"},"
        "\"ok\":{\"type\":\"boolean\"},\"duplicate\":{\"type\":\"boolean\"},\"error\":{\"type\":"
        "\"string\"}}}}}},"
        "\"Query\":{\"type\":\"object\",\"properties\":{\"columns\":{\"type\":\"array\",\"items\":{"
        "\"type\":\"string\"}},\"select_all\":{\"type\":\"boolean\"},"
        "\"aggregations\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"fn\","
        "\"column\"],\"properties\":{\"fn\":{\"type\":\"string\"},"
        "\"column\":{\"type\":\"string\"},\"alias\":{\"type\":\"string\"}}}},"
        "\"filters\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"column\","
        "\"op\"],\"properties\":{\"column\":{\"type\":\"string\"},"
        "\"op\":{\"type\":\"string\",\"enum\":[\"eq\",\"neq\",\"gt\",\"gte\",\"lt\",\"lte\",\"in\","
        "\"like\",\"not_like\"]},\"value\":{}}}},"
        "\"group_by\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
        "\"order_by\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"column\"],"
        "\"properties\":{\"column\":{\"type\":\"string\"},"
        "\"dir\":{\"type\":\"string\",\"enum\":[\"asc\",\"desc\"]}}}},\"limit\":{\"type\":"
        "\"integer\"},"
        "\"time_range\":{\"type\":\"object\",\"required\":[\"column\",\"since\"],\"properties\":{"
        "\"column\":{\"type\":\"string\"},\"since\":{\"type\":\"string\"},"
        "\"until\":{\"type\":\"string\"}}}}},"
        "\"Pipe\":{\"type\":\"object\",\"required\":[\"sql\"],\"properties\":{\"name\":{\"type\":"
        "\"string\"},\"sql\":{\"type\":\"string\"},"
        "\"description\":{\"type\":\"string\"},\"allowed_roles\":{\"type\":\"array\",\"items\":{"
        "\"type\":\"string\"}},\"cache_ttl\":{\"type\":\"integer\"},"
        "\"parameters\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"name\"],"
        "\"properties\":{\"name\":{\"type\":\"string\"},"
        "\"type\":{\"type\":\"string\"},\"required\":{\"type\":\"boolean\"},\"default\":{}}}}}}");
    (void)each_table(d, ACCESS_INSERT, false, put_record_schema);
    (void)each_table(d, ACCESS_SELECT, false, put_row_schema);
    put(d, "}}");
}

static void put_document(struct doc *d)
{
    put(d, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"wavehoused\",\"version\":");
    put_name(d, slice_str(d->a->shared->version));
    put(d, "},\"servers\":[{\"url\":\"/"
           "\"}],\"security\":[{\"token\":[]},{\"operatorKey\":[]},{}],\"paths\":{");
    put_public(d);
    if (has_table(d, ACCESS_INSERT))
        put_ingest(d);
    if (has_table(d, ACCESS_SELECT)) {
        put_query(d);
        put_stream(d);
    }
    bool is_admin = api_may_ops(d->a, d->id);
    put_pipes(d, is_admin);
    if (is_admin)
        put_ops(d);
    put(d, "},");
    put_components(d);
    if (d->left_out > 0)
        buf_printf(d->out, ",\"x-tables-left-out\":%" PRIu32, d->left_out);
    put(d, "}");
}

/* All that the document is made of: the gates ask for the caller and its role, never for other
 * claims. */
static void put_key(struct buf *out, const struct api_loop *a, const struct api_identity *id)
{
    buf_printf(out, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %d %d %d ", a->config_version,
               a->catalog_version, a->control_version, id->policy != NULL, id->caller.is_operator,
               id->caller.bad_token);
    buf_put_slice(out, id->caller.role);
}

static struct openapi_kept *kept(struct api_loop *a)
{
    if (a->openapi == NULL && (a->openapi = calloc(1, sizeof(*a->openapi))) != NULL) {
        buf_init(&a->openapi->key, SIZE_MAX);
        buf_init(&a->openapi->text, KEPT_BYTES_MAX);
    }
    return a->openapi;
}

static bool is_kept(const struct openapi_kept *k, const struct buf *key)
{
    return buf_ok(key) && buf_ok(&k->key) && buf_ok(&k->text) && k->text.len > 0 &&
           slice_eq(buf_slice(&k->key), buf_slice(key));
}

static void keep(struct openapi_kept *k, const struct buf *key, const struct buf *text)
{
    buf_reset(&k->key);
    buf_reset(&k->text);
    if (!buf_ok(key) || !buf_ok(text))
        return;
    buf_put_slice(&k->key, buf_slice(key));
    buf_put_slice(&k->text, buf_slice(text));
}

void ops_openapi_free(struct api_loop *a)
{
    if (a->openapi == NULL)
        return;
    buf_fini(&a->openapi->key);
    buf_fini(&a->openapi->text);
    free(a->openapi);
    a->openapi = NULL;
}

void ops_openapi(struct api_loop *a, struct http_request *r)
{
    struct api_identity id;
    struct openapi_kept *k = kept(a);
    if (!api_identify(a, r, &id))
        return;
    struct doc d = {.a = a, .id = &id, .out = &a->text};
    buf_reset(&a->name);
    put_key(&a->name, a, &id);
    buf_reset(&a->text);
    if (k != NULL && is_kept(k, &a->name)) {
        buf_put_slice(&a->text, buf_slice(&k->text));
    } else if (find_rights(&d) == 0) {
        put_document(&d);
        if (k != NULL)
            keep(k, &a->name, &a->text);
    }
    free(d.rights);
    api_identity_fini(&id);
    if (a->text.len == 0)
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
    else
        api_reply_text(a, r, 200);
}
