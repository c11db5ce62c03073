/* SPDX-License-Identifier: Apache-2.0 */
/* Policy documents: both layouts, every refusal with its words, the way out again, warnings. */
#include "access/policy.h"
#include "access/template.h"
#include "access/units.h"
#include "base/limits.h"

#include <stdlib.h>

#include "tests/lib/tap.h"

static struct json_reader *reader;

static struct access_policy *parse(const char *text, bool strict, struct err *e)
{
    struct access_policy *p;
    *e = (struct err){0};
    int rc = access_policy_parse(reader, slice_str(text), strict, 7, &p, e);
    if ((rc == 0) != (p != NULL) || (rc == 0) != (e->text[0] == '\0'))
        abort();
    return p;
}

static struct access_policy *good(const char *text)
{
    struct err e;
    struct access_policy *p = parse(text, false, &e);
    if (p == NULL)
        printf("# %s\n", e.text);
    return p;
}

static bool granted(const struct access_policy *p, const char *table, enum access_op op,
                    const char *role)
{
    return access_policy_grant(p, slice_str(table), op, slice_str(role)) != NULL;
}

static void layouts(void)
{
    struct access_policy *p = good(
        "{\"default_role\":\"public\",\"tables\":{"
        "\"events\":{\"select\":{\"viewer\":{},\"boss\":{}},\"insert\":{\"writer\":{}}},"
        "\"clicks\":{\"viewer\":{\"select\":{},\"insert\":{}},\"writer\":{\"insert\":{}},\"x\":{}},"
        "\"none\":{},\"half\":{\"select\":{\"a\":{}},\"insert\":null}}}");
    ok(p != NULL, "both layouts in one document");
    ok(granted(p, "events", ACCESS_SELECT, "viewer") &&
           granted(p, "events", ACCESS_SELECT, "boss") &&
           granted(p, "events", ACCESS_INSERT, "writer") && granted(p, "half", ACCESS_SELECT, "a"),
       "operation-first grants");
    ok(granted(p, "clicks", ACCESS_SELECT, "viewer") &&
           granted(p, "clicks", ACCESS_INSERT, "viewer") &&
           granted(p, "clicks", ACCESS_INSERT, "writer"),
       "role-first grants");
    ok(!granted(p, "events", ACCESS_SELECT, "writer") &&
           !granted(p, "events", ACCESS_INSERT, "viewer") &&
           !granted(p, "clicks", ACCESS_SELECT, "writer") &&
           !granted(p, "clicks", ACCESS_SELECT, "x") &&
           !granted(p, "none", ACCESS_SELECT, "viewer") &&
           !granted(p, "other", ACCESS_SELECT, "viewer"),
       "what is not granted is denied");
    ok(!granted(p, "events", ACCESS_SELECT, "") && !granted(p, "events", ACCESS_SELECT, "Viewer") &&
           !granted(p, "Events", ACCESS_SELECT, "viewer") &&
           !granted(p, "events", ACCESS_SELECT, "*") &&
           !granted(p, "events", ACCESS_SELECT, "view"),
       "names are exact");
    ok(slice_eq_str(access_policy_default_role(p), "public") &&
           slice_eq_str(access_policy_admin_role(p), "admin") && access_policy_version(p) == 7,
       "roles and version");
    access_policy_unref(p);

    p = good("{\"admin_role\":\"\",\"tables\":null}");
    ok(p != NULL && slice_eq_str(access_policy_admin_role(p), "admin") &&
           access_policy_default_role(p).len == 0,
       "an empty admin role means admin: nobody is admin by having no role");
    access_policy_unref(p);
    p = good("{\"tables\":{\"t\":{\"select\":{\"select\":{}},\"insert\":{\"insert\":{}}}}}");
    ok(p != NULL && granted(p, "t", ACCESS_SELECT, "select") &&
           granted(p, "t", ACCESS_INSERT, "insert"),
       "roles called select and insert, when both readings are the same");
    access_policy_unref(p);
    p = good("{\"tables\":{\"t\":{\"select\":{\"insert\":{}},\"insert\":{\"select\":{}}}}}");
    ok(p != NULL, "and across, when both readings are the same");
    access_policy_unref(p);
}

#define GRANT(op, fields) "{\"tables\":{\"t\":{\"" op "\":{\"r\":{" fields "}}}}}"
#define AT(op)            "table \"t\", op \"" op "\", role \"r\": "

static void refusals(void)
{
    static const struct {
        const char *text, *want; /* the finding's beginning */
    } table[] = {
        {"", "invalid json: "},
        {"{", "invalid json: "},
        {"[]", "invalid json: "},
        {"{} x", "invalid json: "},
        {"\xef\xbb\xbf{}", "invalid json: "},
        {"{\"tables\":[]}", "\"tables\" must be an object"},
        {"{\"tables\":{},\"tables\":{}}", "\"tables\" stands there twice"},
        {"{\"tables\":{\"t\":{},\"\\u0074\":{}}}", "\"\\u0074\" stands there twice"},
        {"{\"default_role\":7}", "\"default_role\" must be"},
        {"{\"tables\":{\"\":{}}}", "empty table name"},
        {"{\"tables\":{\"t\":[]}}", "table \"t\": must be an object"},
        {"{\"tables\":{\"t\":{\"select\":[]}}}",
         "table \"t\", op \"select\": must be an object of roles"},
        {"{\"tables\":{\"t\":{\"select\":{\"\":{}}}}}",
         "table \"t\", op \"select\": empty role name"},
        {"{\"tables\":{\"t\":{\"\":{\"select\":{}}}}}", "table \"t\": empty role name"},
        {"{\"tables\":{\"t\":{\"select\":{\"r\":null}}}}",
         AT("select") "must be an object; write {}"},
        {"{\"tables\":{\"t\":{\"r\":{\"selct\":{}}}}}",
         "table \"t\", role \"r\": unknown operation \"selct\""},
        {"{\"tables\":{\"t\":{\"selcet\":{\"viewer\":{}}}}}",
         "table \"t\", role \"selcet\": unknown operation \"viewer\""},
        {"{\"tables\":{\"t\":{\"r\":{}, \"select\":{}}}}",
         "table \"t\": mixes operations and roles"},
        {"{\"tables\":{\"t\":{\"select\":{\"insert\":{}}}}}",
         "table \"t\": a role called \"select\" or \"insert\" can be read in two ways"},
        {"{\"tables\":{\"t\":{\"select\":{\"insert\":{\"max_rows\":1}},\"insert\":{\"select\":{}}}}"
         "}",
         "table \"t\": a role called"},
        {"{\"tables\":{\"t\":{\"select\":{\"r\":{},\"r\":{}}}}}",
         "table \"t\", op \"select\": \"r\" stands there twice"},
        {GRANT("select", "\"filter\":{},\"filter\":{}"),
         AT("select") "\"filter\" stands there twice"},
        {GRANT("select", "\"max_rows\":-1"), AT("select") "\"max_rows\" must not be negative"},
        {GRANT("select", "\"max_rows\":1.5"), AT("select") "\"max_rows\" must be a whole number"},
        {GRANT("select", "\"max_rows\":\"9\""), AT("select") "\"max_rows\" must be a whole number"},
        {GRANT("select", "\"max_rows\":99999999999999999999"),
         AT("select") "\"max_rows\" must be a whole number"},
        {GRANT("select", "\"max_rows_to_read\":-1"),
         AT("select") "\"max_rows_to_read\" must not be negative"},
        {GRANT("select", "\"max_execution_time\":-1"),
         AT("select") "\"max_execution_time\" must not be negative"},
        {GRANT("select", "\"max_execution_time\":\"-5s\""),
         AT("select") "\"max_execution_time\" must not be negative"},
        {GRANT("select", "\"max_execution_time\":\"5 parsecs\""),
         AT("select") "\"max_execution_time\": \"5 parsecs\" is not"},
        {GRANT("select", "\"max_execution_time\":\"\""),
         AT("select") "\"max_execution_time\": \"\" is not"},
        {GRANT("select", "\"max_execution_time\":\"999us\""),
         AT("select") "\"max_execution_time\" must be at least 1 ms"},
        {GRANT("select", "\"max_execution_time\":0.5"),
         AT("select") "\"max_execution_time\" must be at least 1 ms"},
        {GRANT("select", "\"max_execution_time\":[]"),
         AT("select") "\"max_execution_time\" must be milliseconds"},
        {GRANT("select", "\"max_memory_usage\":\"4 gallons\""),
         AT("select") "\"max_memory_usage\": \"4 gallons\" is not"},
        {GRANT("select", "\"max_memory_usage\":\"99999999TiB\""),
         AT("select") "\"max_memory_usage\": "},
        {GRANT("select", "\"allow_columns\":\"a\""),
         AT("select") "\"allow_columns\" must be an array"},
        {GRANT("select", "\"deny_columns\":[1]"), AT("select") "\"deny_columns\" must be an array"},
        {GRANT("select", "\"filter\":[]"), AT("select") "\"filter\" must be an object of columns"},
        {GRANT("select", "\"filter\":{\"c\":{}}"),
         AT("select") "filter on column \"c\": no operator"},
        {GRANT("select", "\"filter\":{\"c\":\"x\"}"),
         AT("select") "filter on column \"c\": no operator"},
        {GRANT("select", "\"filter\":{\"c\":{\"_gte\":\"1\"}}"),
         AT("select") "filter on column \"c\": unknown operator \"_gte\""},
        {GRANT("select", "\"filter\":{\"c\":{\"_eq\":\"1\",\"_ne\":\"1\"}}"),
         AT("select") "filter on column \"c\": unknown operator \"_ne\""},
        {GRANT("select", "\"filter\":{\"c\":{\"_eq\":null}}"),
         AT("select") "filter on column \"c\": the value of _eq must be a string"},
        {GRANT("select", "\"filter\":{\"c\":{\"_in\":[\"a\"]}}"),
         AT("select") "filter on column \"c\": the value of _in must be a string such as"},
        {GRANT("select", "\"filter\":{\"c\":{\"_eq\":\"{{ jwt.a\"}}"),
         AT("select") "filter on column \"c\": unbalanced {{ }}"},
        {GRANT("select", "\"filter\":{\"c\":{\"_eq\":\"jwt.a }}\"}}"),
         AT("select") "filter on column \"c\": unbalanced {{ }}"},
        {GRANT("select", "\"filter\":{\"c\":{\"_eq\":\"{{ a }}\"}}"),
         AT("select") "filter on column \"c\": malformed {{ }}"},
        {GRANT("select", "\"filter\":{\"c\":{\"_eq\":\"{{ jwt. }}\"}}"),
         AT("select") "filter on column \"c\": malformed {{ }}"},
        {GRANT("select", "\"filter\":{\"c\":{\"_eq\":\"{{ jwt.a b }}\"}}"),
         AT("select") "filter on column \"c\": malformed {{ }}"},
        {GRANT("select", "\"filter\":{\"c\":{\"_eq\":\"{{ jwt.a..b }}\"}}"),
         AT("select") "filter on column \"c\": malformed {{ }}"},
        {GRANT("select", "\"filter\":{\"c\":{\"_eq\":\"{{}}\"}}"),
         AT("select") "filter on column \"c\": malformed {{ }}"},
        {GRANT("select", "\"check\":{\"c\":{\"_eq\":\"1\"}}"),
         AT("select") "a check has no effect on select"},
        {GRANT("insert", "\"filter\":{\"c\":{\"_eq\":\"1\"}}"),
         AT("insert") "a filter has no effect on insert"},
        {GRANT("insert", "\"check\":{\"c\":{\"_neq\":\"1\"}}"),
         AT("insert") "check on column \"c\": _neq cannot be checked"},
        {GRANT("insert", "\"check\":{\"c\":{\"_gt\":\"1\"}}"),
         AT("insert") "check on column \"c\": _gt cannot be checked"},
        {GRANT("insert", "\"check\":{\"c\":{\"_lt\":\"1\"}}"),
         AT("insert") "check on column \"c\": _lt cannot be checked"},
        {GRANT("insert", "\"check\":{\"c\":{\"_eq\":\"1\",\"_in\":\"{{ jwt.a }}\"}}"),
         AT("insert") "check on column \"c\": _eq together with _in"},
    };
    static const struct {
        const char *text, *want;
    } strict[] = {
        {GRANT("select", "\"fliter\":{\"c\":{\"_eq\":\"1\"}}"),
         AT("select") "\"fliter\" means nothing here; known are allow_columns, deny_columns, "
                      "filter, allowed_aggregations, denied_aggregations, "
                      "max_rows, max_rows_to_read, max_execution_time and max_memory_usage"},
        {GRANT("insert", "\"max_rows\":1"),
         AT("insert") "\"max_rows\" means nothing here; known are allow_columns, deny_columns and "
                      "check"},
        {"{\"tabels\":{}}",
         "\"tabels\" means nothing here; known are default_role, admin_role and tables"},
    };
    struct err e;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct access_policy *p = parse(table[i].text, false, &e);
        ok(p == NULL && strncmp(e.text, table[i].want, strlen(table[i].want)) == 0, "%s", e.text);
        access_policy_unref(p);
    }
    for (size_t i = 0; i < sizeof(strict) / sizeof(strict[0]); i++) {
        struct access_policy *p = parse(strict[i].text, false, &e);
        ok(p != NULL, "%s is kept", strict[i].text);
        access_policy_unref(p);
        p = parse(strict[i].text, true, &e);
        ok(p == NULL && strcmp(e.text, strict[i].want) == 0, "strict: %s", e.text);
        access_policy_unref(p);
    }
    struct buf large;
    buf_init(&large, SIZE_MAX);
    buf_put_str(&large, "{}");
    while (large.len <= LIMIT_POLICY_BYTES)
        buf_put_str(&large, "                                ");
    struct access_policy *p;
    ok(access_policy_parse(reader, buf_slice(&large), false, 1, &p, &e) == WH_ELIMIT && p == NULL,
       "%s", e.text);
    buf_reset(&large);
    buf_put_str(&large, "{\"tables\":{\"");
    for (int i = 0; i <= LIMIT_NAME_BYTES; i++)
        buf_put_u8(&large, 'x');
    buf_put_str(&large, "\":{}}}");
    ok(access_policy_parse(reader, buf_slice(&large), false, 1, &p, &e) == WH_EUNSUPPORTED, "%s",
       e.text);
    buf_reset(&large);
    buf_put_str(&large, "{\"tables\":{\"t\":{\"select\":{\"r\":{\"filter\":{\"c\":{\"_eq\":\"");
    for (int i = 0; i <= LIMIT_TEMPLATES; i++)
        buf_put_str(&large, "{{jwt.a}}");
    buf_put_str(&large, "\"}}}}}}}");
    ok(access_policy_parse(reader, buf_slice(&large), false, 1, &p, &e) == WH_EUNSUPPORTED, "%s",
       e.text);
    buf_fini(&large);
}

static void grants(void)
{
    struct access_policy *p = good(
        GRANT("select",
              "\"allow_columns\":[\"a\",\"b\",\"c\"],\"deny_columns\":[\"b\"],\"filter\":{\"z\":"
              "{\"_lt\":\"9\",\"_gt\":1.50},\"a\":{\"_in\":\"{{ jwt.orgs }}\"}},\"max_rows\":1e3,"
              "\"max_execution_time\":\"1.5s\",\"max_rows_to_read\":null,"
              "\"max_memory_usage\":\"4GiB\",\"allowed_aggregations\":[\"Count\",\"sum\"],"
              "\"denied_aggregations\":[\"SUM\"]"));
    const struct access_grant *g =
        access_policy_grant(p, SLICE_LIT("t"), ACCESS_SELECT, SLICE_LIT("r"));
    ok(access_grant_column(g, SLICE_LIT("a")) && !access_grant_column(g, SLICE_LIT("b")) &&
           access_grant_column(g, SLICE_LIT("c")) && !access_grant_column(g, SLICE_LIT("d")) &&
           !access_grant_column(g, SLICE_LIT("A")) && !access_grant_column(g, SLICE_LIT("*")),
       "columns: allowed, and deny wins");
    ok(access_grant_aggregation(g, SLICE_LIT("count")) &&
           access_grant_aggregation(g, SLICE_LIT("COUNT")) &&
           !access_grant_aggregation(g, SLICE_LIT("sum")) &&
           !access_grant_aggregation(g, SLICE_LIT("avg")),
       "aggregations: in any case, and deny wins");
    is_u64(g->max_rows, 1000, "max_rows");
    is_u64(g->max_execution_time_ms, 1500, "max_execution_time");
    is_u64(g->max_rows_to_read, 0, "max_rows_to_read");
    is_u64(g->max_memory_usage_bytes, 4 * GIB, "max_memory_usage");
    ok(g->rule_count == 3 && slice_eq_str(g->rules[0].column, "a") && g->rules[0].op == ACCESS_IN &&
           g->rules[1].op == ACCESS_GT && slice_eq_str(g->rules[1].value.source, "1.50") &&
           g->rules[2].op == ACCESS_LT,
       "rules in the order of their columns");
    access_policy_unref(p);
    p = good(GRANT("select", "\"allow_columns\":[\"a\",\"*\"],\"deny_columns\":[\"b\"]"));
    g = access_policy_grant(p, SLICE_LIT("t"), ACCESS_SELECT, SLICE_LIT("r"));
    ok(access_grant_column(g, SLICE_LIT("x")) && !access_grant_column(g, SLICE_LIT("b")),
       "a star allows all but the denied");
    access_policy_unref(p);
    p = good(GRANT("select", "\"allow_columns\":[],\"filter\":null,\"deny_columns\":null"));
    g = access_policy_grant(p, SLICE_LIT("t"), ACCESS_SELECT, SLICE_LIT("r"));
    ok(access_grant_column(g, SLICE_LIT("x")) && access_grant_aggregation(g, SLICE_LIT("x")) &&
           g->rule_count == 0,
       "empty and null restrict nothing");
    access_policy_unref(p);
}

static void round_trip(void)
{
    static const char first[] =
        "{\"note\":{\"by\": "
        "\"me\"},\"tables\":{\"b\":{\"viewer\":{\"select\":{\"max_execution_time\":\"5s\","
        "\"x-note\":[1, 2],\"max_memory_usage\":\"4GB\",\"filter\":{\"o\":{\"_eq\":\"{{ jwt.o "
        "}}\"}}},"
        "\"insert\":{}}},\"a\\\"\":{\"insert\":{\"w\":{}}}},\"default_role\":\"p\"}";
    static const char want[] =
        "{\"default_role\":\"p\",\"admin_role\":\"admin\",\"tables\":{\"a\\\"\":{\"insert\":{\"w\":"
        "{}}},"
        "\"b\":{\"select\":{\"viewer\":{\"max_execution_time\":5000,\"x-note\":[1,2],"
        "\"max_memory_usage\":4000000000,\"filter\":{\"o\":{\"_eq\":\"{{ jwt.o }}\"}}}},"
        "\"insert\":{\"viewer\":{}}}},\"note\":{\"by\":\"me\"}}";
    struct access_policy *p = good(first), *q;
    struct buf out, again;
    struct err e;
    buf_init(&out, SIZE_MAX);
    buf_init(&again, SIZE_MAX);
    access_policy_put_json(p, &out);
    is_mem(out.ptr, out.len, want, sizeof(want) - 1, "operation-first, exact limits, unknown kept");
    ok(access_policy_parse(reader, buf_slice(&out), false, 2, &q, &e) == 0, "GET can be PUT again");
    access_policy_put_json(q, &again);
    ok(slice_eq(buf_slice(&out), buf_slice(&again)), "and is the same then");
    access_policy_unref(q);
    access_policy_unref(access_policy_ref(p));
    access_policy_unref(p);
    buf_fini(&out);
    buf_fini(&again);
}

static void collect(void *arg, const char *text)
{
    buf_put_str(arg, text);
    buf_put_u8(arg, '\n');
}

static struct schema_catalog *catalog(void)
{
    struct schema_builder *b = schema_builder_new();
    struct err e;
    schema_builder_server(b, SLICE_LIT("26.7.1"), SLICE_LIT("UTC"));
    if (schema_builder_table(b, SLICE_LIT("t"), SLICE_LIT("MergeTree"), -1) != 0 ||
        schema_builder_column(b, SLICE_LIT("a"), SLICE_LIT("String"), SLICE_LIT(""),
                              SLICE_LIT("")) != 0)
        abort();
    struct schema_catalog *c = schema_builder_finish(b, &e);
    schema_builder_free(b);
    return c;
}

static void warnings(void)
{
    static const struct {
        const char *text, *want;
    } table[] = {
        {"{}", "the policy grants nothing to anybody but the admin role\n"},
        {"{\"default_role\":\"admin\",\"tables\":{\"t\":{\"select\":{\"r\":{}}}}}",
         "default_role is the admin role \"admin\": everybody without a token may do everything\n"},
        {"{\"default_role\":\"p\",\"tables\":{\"t\":{\"select\":{\"r\":{}}}}}",
         "default_role \"p\" has no grant\n"},
        {"{\"default_role\":\"r\",\"tables\":{\"t\":{\"select\":{\"r\":{}}}}}", ""},
        {"{\"tables\":{\"t\":{\"select\":{\"admin\":{}}}}}",
         "table \"t\", op \"select\", role \"admin\": the admin role may do everything; this entry "
         "has no effect\n"},
        {"{\"tables\":{\"t\":{\"select\":{\"*\":{}}}}}",
         "table \"t\", op \"select\", role \"*\": \"*\" is no wildcard: it matches only a role of "
         "that name\n"},
        {"{\"tables\":{\"t\":{\"select\":{\"r\":{\"fliter\":{}}}}}}",
         "table \"t\", op \"select\", role \"r\": \"fliter\" means nothing here; known are "
         "allow_columns, deny_columns, filter, allowed_aggregations, denied_aggregations, "
         "max_rows, max_rows_to_read, max_execution_time and max_memory_usage\n"},
        {"{\"tables\":{\"u\":{\"select\":{\"r\":{}}}}}", "table \"u\" is not known\n"},
        {"{\"tables\":{\"t\":{\"insert\":{\"r\":{\"check\":{\"b\":{\"_eq\":\"1\"}},\"deny_"
         "columns\":"
         "[\"a\",\"c\"]}}}}}",
         "table \"t\", op \"insert\", role \"r\": deny_columns names column \"c\", which the table "
         "does not have\n"
         "table \"t\", op \"insert\", role \"r\": check names column \"b\", which the table does "
         "not "
         "have\n"},
    };
    struct schema_catalog *c = catalog();
    struct buf out;
    buf_init(&out, SIZE_MAX);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct access_policy *p = good(table[i].text);
        buf_reset(&out);
        (void)access_policy_warn(p, c, collect, &out);
        is_mem(out.ptr, out.len, table[i].want, strlen(table[i].want), table[i].text);
        access_policy_unref(p);
    }
    buf_fini(&out);
    schema_catalog_unref(c);
}

static void units(void)
{
    static const struct {
        const char *text;
        uint64_t ns; /* UINT64_MAX: refused */
    } durations[] = {
        {"500", 500000000},
        {"500ms", 500000000},
        {"5s", 5000000000},
        {"1.5s", 1500000000},
        {"1m30s", 90000000000},
        {"1h", 3600000000000},
        {"250us", 250000},
        {"250\xc2\xb5s", 250000},
        {"0", 0},
        {"0.5", 500000},
        {"", UINT64_MAX},
        {"s", UINT64_MAX},
        {"5x", UINT64_MAX},
        {"5s3", UINT64_MAX},
        {"1.s", UINT64_MAX},
        {"-1s", UINT64_MAX},
        {"5 s", UINT64_MAX},
        {"99999999999h", UINT64_MAX},
        {"99999999999999999999s", UINT64_MAX},
    };
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        {"4096", 4096},
        {"4GiB", 4 * GIB},
        {"4GB", 4000000000},
        {"1.5 KiB", 1536},
        {"1kb", 1000},
        {"0", 0},
        {"7B", 7},
        {"1TiB", 1024 * GIB},
        {"", UINT64_MAX},
        {"GiB", UINT64_MAX},
        {"4Gi", UINT64_MAX},
        {"4  GiB", UINT64_MAX},
        {"9999999TiB", UINT64_MAX},
        {"4GiB ", UINT64_MAX},
    };
    uint64_t v;
    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        bool got = access_duration_ns(slice_str(durations[i].text), &v);
        ok(got ? v == durations[i].ns : durations[i].ns == UINT64_MAX, "\"%s\"", durations[i].text);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        bool got = access_size_bytes(slice_str(sizes[i].text), &v);
        ok(got ? v == sizes[i].bytes : sizes[i].bytes == UINT64_MAX, "\"%s\"", sizes[i].text);
    }
}

/* What a value resolves to, as "kind:text|kind:text", or "-" when it does not. */
static void templates(void)
{
    static const char claims[] = "{\"s\":\"x\",\"e\":\"\",\"q\":\"a\\\"b\",\"n\":42,\"f\":1.50,"
                                 "\"big\":18446744073709551616,\"x\":1e3,"
                                 "\"huge\":1e300,\"t\":true,\"nil\":null,\"o\":{\"d\":\"deep\"},"
                                 "\"l\":[\"a\",2,false],\"el\":[],"
                                 "\"bad\":[\"a\",{}],\"nul\":[\"a\",null]}";
    static const struct {
        const char *value;
        enum access_compare op;
        const char *want;
    } table[] = {
        {"plain", ACCESS_EQ, "0:plain"},
        {"", ACCESS_EQ, "0:"},
        {"{ jwt.s }", ACCESS_EQ, "0:{ jwt.s }"},
        {"{{ jwt.s }}", ACCESS_EQ, "1:x"},
        {"{{jwt.s}}", ACCESS_EQ, "1:x"},
        {"{{ jwt.e }}", ACCESS_EQ, "1:"},
        {"{{ jwt.q }}", ACCESS_EQ, "1:a\"b"},
        {"{{ jwt.n }}", ACCESS_EQ, "2:42"},
        {"{{ jwt.f }}", ACCESS_EQ, "2:1.5"},
        {"{{ jwt.big }}", ACCESS_EQ, "2:18446744073709551616"},
        {"{{ jwt.x }}", ACCESS_EQ, "2:1000"},
        {"{{ jwt.huge }}", ACCESS_EQ, "-"},
        {"{{ jwt.t }}", ACCESS_EQ, "3:true"},
        {"{{ jwt.nil }}", ACCESS_EQ, "-"},
        {"{{ jwt.none }}", ACCESS_EQ, "-"},
        {"{{ jwt.o }}", ACCESS_EQ, "-"},
        {"{{ jwt.o.d }}", ACCESS_EQ, "1:deep"},
        {"{{ jwt.s.d }}", ACCESS_EQ, "-"},
        {"{{ jwt.l }}", ACCESS_EQ, "-"},
        {"{{ jwt.l.0 }}", ACCESS_EQ, "-"},
        {"org-{{ jwt.s }}", ACCESS_EQ, "1:org-x"},
        {"{{ jwt.n }}/{{ jwt.s }}!", ACCESS_EQ, "1:42/x!"},
        {"{{ jwt.s }}{{ jwt.none }}", ACCESS_EQ, "-"},
        {"org-{{ jwt.l }}", ACCESS_IN, "-"},
        {"org-{{ jwt.s }}", ACCESS_IN, "1:org-x"},
        {"{{ jwt.l }}", ACCESS_IN, "1:a|2:2|3:false"},
        {"{{ jwt.el }}", ACCESS_IN, ""},
        {"{{ jwt.bad }}", ACCESS_IN, "-"},
        {"{{ jwt.nul }}", ACCESS_IN, "-"},
        {"{{ jwt.s }}", ACCESS_IN, "1:x"},
        {"{{ jwt.n }}", ACCESS_IN, "2:42"},
        {"{{ jwt.o }}", ACCESS_IN, "-"},
        {"{{ jwt.none }}", ACCESS_IN, "-"},
        {"plain", ACCESS_IN, "0:plain"},
    };
    struct access_claims *c;
    struct arena a;
    struct buf out;
    const char *why;
    arena_init(&a, 4096, SIZE_MAX);
    buf_init(&out, SIZE_MAX);
    if (access_claims_new(reader, slice_str(claims), &c, NULL) != 0)
        abort();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct access_value v;
        struct access_set set;
        buf_reset(&out);
        if (!access_template_parse(&a, slice_str(table[i].value), &v, &why))
            abort();
        if (access_template_resolve(&a, &v, table[i].op, c, &set) != ACCESS_RESOLVED)
            buf_put_str(&out, "-");
        else
            for (uint32_t k = 0; k < set.count; k++)
                buf_printf(&out, "%s%d:%.*s", k > 0 ? "|" : "", (int)set.list[k].kind,
                           SLICE_ARG(set.list[k].text));
        ok(slice_eq_str(buf_slice(&out), table[i].want), "%s%s is %.*s", table[i].value,
           table[i].op == ACCESS_IN ? " in" : "", SLICE_ARG(buf_slice(&out)));
        if (v.part_count > 0 && v.parts[0].is_claim)
            ok(access_template_resolve(&a, &v, table[i].op, NULL, &set) == ACCESS_UNRESOLVABLE,
               "and nothing without a token");
    }
    buf_reset(&out);
    buf_put_str(&out, "{\"l\":[");
    for (int i = 0; i <= LIMIT_CLAIM_VALUES; i++)
        buf_put_str(&out, i > 0 ? ",1" : "1");
    buf_put_str(&out, "]}");
    access_claims_unref(c);
    if (access_claims_new(reader, buf_slice(&out), &c, NULL) != 0)
        abort();
    struct access_value v;
    struct access_set set;
    ok(access_template_parse(&a, SLICE_LIT("{{ jwt.l }}"), &v, &why) &&
           access_template_resolve(&a, &v, ACCESS_IN, c, &set) == ACCESS_UNRESOLVABLE,
       "a list with more than %d values is unusable", LIMIT_CLAIM_VALUES);
    access_claims_unref(c);
    buf_fini(&out);
    arena_fini(&a);
}

int main(void)
{
    reader = json_reader_new(2 * MIB);
    layouts();
    refusals();
    grants();
    round_trip();
    warnings();
    units();
    templates();
    json_reader_free(reader);
    return tap_done();
}
