/* SPDX-License-Identifier: Apache-2.0 */
/* Gates, row filters as SQL and on events, insert checks: the tables of access-control §3–§8 and
 * the fail-closed list of §11. That a stream shows nothing that a real server's query hides is
 * tested where there is a server; here it is tested against a model of the comparison. */
#include "access/check.h"
#include "access/gate.h"
#include "access/predicate.h"
#include "base/limits.h"
#include "schema/zone.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tests/lib/tap.h"

static struct json_reader *reader, *record_reader;
static struct schema_catalog *catalog;
static struct access_predicates *predicates;
static struct arena arena;
static struct buf scratch, out;

static const char claims_text[] =
    "{\"org\":\"a\",\"n\":42,\"s42\":\"42\",\"f\":1.50,\"yes\":true,\"l\":[\"a\",\"b\"],\"ln\":[1,"
    "2,\"x\"],"
    "\"el\":[],\"bad\":[\"a\",{}],\"sci\":\"1e3\",\"zero\":\"01\",\"big\":18446744073709551616,"
    "\"inject\":\"'; DROP TABLE t; --\\\\\\n`?\",\"nil\":null}";

static void make_catalog(void)
{
    static const char *const columns[][3] = {
        {"s", "String", ""},
        {"i8", "Int8", ""},
        {"i64", "Nullable(Int64)", ""},
        {"u64", "UInt64", ""},
        {"u256", "UInt256", ""},
        {"f32", "Float32", ""},
        {"f64", "Float64", ""},
        {"d", "Decimal(5, 2)", ""},
        {"fs", "FixedString(4)", ""},
        {"lc", "LowCardinality(Nullable(String))", ""},
        {"b", "Bool", ""},
        {"dt", "DateTime", ""},
        {"d3", "DateTime64(3, 'Europe/Berlin')", ""},
        {"d9", "DateTime64(9)", ""},
        {"day", "Date", ""},
        {"day32", "Date32", ""},
        {"id", "UUID", ""},
        {"e", "Enum8('a' = 1, 'b' = 2)", ""},
        {"ip", "IPv4", ""},
        {"arr", "Array(String)", ""},
        {"m", "String", "MATERIALIZED"},
        {"al", "String", "ALIAS"},
        {"ep", "String", "EPHEMERAL"},
        {"we`ird\\", "String", ""},
    };
    struct schema_builder *b = schema_builder_new();
    struct err e;
    schema_builder_server(b, SLICE_LIT("26.7.1"), SLICE_LIT("UTC"));
    int rc = schema_builder_table(b, SLICE_LIT("t"), SLICE_LIT("MergeTree"), -1);
    for (size_t i = 0; rc == 0 && i < sizeof(columns) / sizeof(columns[0]); i++)
        rc = schema_builder_column(b, slice_str(columns[i][0]), slice_str(columns[i][1]),
                                   slice_str(columns[i][2]), SLICE_LIT(""));
    catalog = rc == 0 ? schema_builder_finish(b, &e) : NULL;
    schema_builder_free(b);
    if (catalog == NULL)
        abort();
}

static struct access_claims *claims_of(const char *text)
{
    struct access_claims *c = NULL;
    if (text != NULL && access_claims_new(reader, slice_str(text), &c, NULL) != 0)
        abort();
    return c;
}

/* A policy that grants role r on table t this and only this. */
static struct access_policy *policy_of(const char *op, const char *fields)
{
    char text[4096];
    struct access_policy *p;
    struct err e;
    (void)snprintf(text, sizeof(text), "{\"tables\":{\"t\":{\"%s\":{\"r\":{%s}}}}}", op, fields);
    if (access_policy_parse(reader, slice_str(text), false, 1, &p, &e) != 0) {
        printf("# %s\n", e.text);
        abort();
    }
    return p;
}

static const struct access_grant *grant_of(const struct access_policy *p, enum access_op op)
{
    return access_policy_grant(p, SLICE_LIT("t"), op, SLICE_LIT("r"));
}

static struct access_predicate *predicate_of(const char *filter, const struct access_claims *c,
                                             struct schema_catalog *with)
{
    static uint64_t version;
    char text[4096];
    struct access_policy *p;
    struct err e;
    (void)snprintf(text, sizeof(text),
                   "{\"tables\":{\"t\":{\"select\":{\"r\":{\"filter\":{%s}}}}}}", filter);
    if (access_policy_parse(reader, slice_str(text), false, ++version, &p, &e) != 0) {
        printf("# %s\n", e.text);
        abort();
    }
    struct access_predicate *q =
        access_predicates_get(predicates, p, grant_of(p, ACCESS_SELECT), SLICE_LIT("t"), c, with);
    access_policy_unref(p);
    if (q == NULL)
        abort();
    return q;
}

/* The reader's document of a record; valid until the next call. */
static struct json_doc record_of(const char *text)
{
    static char room[64 * KIB];
    struct json_doc doc;
    (void)snprintf(room, sizeof(room) - LIMIT_JSON_PADDING, "%s", text);
    if (json_reader_begin(record_reader, room, strlen(room), JSON_ONE) != 0 ||
        json_reader_next(record_reader, &doc) != 0)
        abort();
    return doc;
}

static void gates(void)
{
    static const char text[] =
        "{\"default_role\":\"public\",\"tables\":{\"t\":{\"select\":{\"public\":{},"
        "\"r\":{}},\"insert\":{\"r\":{}}}}}";
    static const char closed[] =
        "{\"admin_role\":\"root\",\"tables\":{\"t\":{\"select\":{\"r\":{}}}}}";
    static const char long_message[] =
        "forbidden: request has no role and no public default_role is configured";
    struct access_policy *open, *shut;
    struct err e;
    struct access_decision d;
    if (access_policy_parse(reader, slice_str(text), true, 1, &open, &e) != 0 ||
        access_policy_parse(reader, slice_str(closed), true, 1, &shut, &e) != 0)
        abort();
    const struct {
        const struct access_policy *policy;
        struct access_caller caller;
        enum access_op op;
        enum access_gate want;
        int status;
        const char *message;
    } table[] = {
        {open, {.role = SLICE_LIT("r")}, ACCESS_SELECT, ACCESS_GRANTED, 0, NULL},
        {open, {.role = SLICE_LIT("r")}, ACCESS_INSERT, ACCESS_GRANTED, 0, NULL},
        {open, {.role = SLICE_LIT("")}, ACCESS_SELECT, ACCESS_GRANTED, 0, NULL},
        {open, {.role = SLICE_LIT("")}, ACCESS_INSERT, ACCESS_DENIED, 403, "forbidden"},
        {open, {.role = SLICE_LIT("x")}, ACCESS_SELECT, ACCESS_DENIED, 403, "forbidden"},
        {open, {.role = SLICE_LIT("R")}, ACCESS_SELECT, ACCESS_DENIED, 403, "forbidden"},
        {open, {.role = SLICE_LIT("admin")}, ACCESS_INSERT, ACCESS_UNRESTRICTED, 0, NULL},
        {open, {.is_operator = true}, ACCESS_INSERT, ACCESS_UNRESTRICTED, 0, NULL},
        {open,
         {.is_operator = true, .bad_token = true},
         ACCESS_INSERT,
         ACCESS_UNRESTRICTED,
         0,
         NULL},
        /* a bad token is as none, and remembered */
        {open,
         {.bad_token = true, .token = ACCESS_JWT_EXPIRED},
         ACCESS_SELECT,
         ACCESS_GRANTED,
         0,
         NULL},
        {open,
         {.bad_token = true, .token = ACCESS_JWT_EXPIRED},
         ACCESS_INSERT,
         ACCESS_DENIED,
         401,
         "token expired"},
        {open,
         {.bad_token = true, .token = ACCESS_JWT_INVALID},
         ACCESS_INSERT,
         ACCESS_DENIED,
         401,
         "invalid token"},
        {open,
         {.bad_token = true, .token = ACCESS_JWT_INVALID, .role = SLICE_LIT("admin")},
         ACCESS_INSERT,
         ACCESS_DENIED,
         401,
         "invalid token"},
        {shut, {.role = SLICE_LIT("")}, ACCESS_SELECT, ACCESS_DENIED, 403, long_message},
        {shut,
         {.bad_token = true, .token = ACCESS_JWT_EXPIRED},
         ACCESS_SELECT,
         ACCESS_DENIED,
         401,
         "token expired"},
        {shut, {.role = SLICE_LIT("admin")}, ACCESS_SELECT, ACCESS_DENIED, 403, "forbidden"},
        {shut, {.role = SLICE_LIT("root")}, ACCESS_SELECT, ACCESS_UNRESTRICTED, 0, NULL},
        {NULL, {.role = SLICE_LIT("admin")}, ACCESS_SELECT, ACCESS_DENIED, 403, "forbidden"},
        {NULL, {.role = SLICE_LIT("r")}, ACCESS_SELECT, ACCESS_DENIED, 403, "forbidden"},
        {NULL, {.role = SLICE_LIT("")}, ACCESS_SELECT, ACCESS_DENIED, 403, long_message},
        {NULL, {.is_operator = true}, ACCESS_SELECT, ACCESS_DENIED, 403, long_message},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        access_gate_table(table[i].policy, &table[i].caller, SLICE_LIT("t"), table[i].op, &d);
        ok(d.gate == table[i].want && d.status == table[i].status &&
               (d.message == NULL
                    ? table[i].message == NULL
                    : table[i].message != NULL && strcmp(d.message, table[i].message) == 0) &&
               (d.gate == ACCESS_GRANTED) == (d.grant != NULL) &&
               (d.gate == ACCESS_DENIED) == (d.reason != NULL),
           "%s, role \"%.*s\"%s%s, op %d: %s",
           table[i].policy == NULL   ? "no policy"
           : table[i].policy == open ? "open"
                                     : "closed",
           SLICE_ARG(table[i].caller.role), table[i].caller.is_operator ? ", operator" : "",
           table[i].caller.bad_token ? ", bad token" : "", (int)table[i].op,
           d.message != NULL ? d.message : "allowed");
    }
    const struct access_caller operator_key = {.is_operator = true},
                               admin = {.role = SLICE_LIT("admin")}, r = {.role = SLICE_LIT("r")},
                               expired = {.bad_token = true, .token = ACCESS_JWT_EXPIRED};
    access_gate_ops(NULL, &operator_key, &d);
    ok(d.gate == ACCESS_UNRESTRICTED, "ops: the operator key opens them without a policy");
    access_gate_ops(NULL, &admin, &d);
    ok(d.gate == ACCESS_DENIED && d.status == 403, "ops: the admin role does not");
    access_gate_ops(open, &admin, &d);
    ok(d.gate == ACCESS_UNRESTRICTED, "ops: the admin role");
    access_gate_ops(open, &r, &d);
    ok(d.gate == ACCESS_DENIED && d.status == 403, "ops: another role");
    access_gate_ops(open, &expired, &d);
    ok(d.gate == ACCESS_DENIED && d.status == 401, "ops: an expired token");
    access_policy_unref(open);
    access_policy_unref(shut);
}

static void sql(void)
{
    static const struct {
        const char *filter, *parameters, *literals; /* NULL: the same as parameters with no value */
    } table[] = {
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "(`s` = {p3:String})", "(`s` = 'a')"},
        {"\"s\":{\"_neq\":\"x\",\"_gt\":\"y\"}", "(`s` != {p3:String} AND `s` > {p4:String})",
         "(`s` != 'x' AND `s` > 'y')"},
        {"\"i8\":{\"_lt\":\"{{ jwt.n }}\"}",
         "(`i8` < if(toString(accurateCastOrNull({p3:String}, 'Int8')) = {p3:String}, "
         "accurateCastOrNull({p3:String}, 'Int8'), NULL))",
         "(`i8` < 42)"},
        {"\"i64\":{\"_in\":\"{{ jwt.ln }}\"}",
         "(`i64` IN (if(toString(accurateCastOrNull({p3:String}, 'Int64')) = {p3:String}, "
         "accurateCastOrNull({p3:String}, 'Int64'), NULL), if(toString(accurateCastOrNull("
         "{p4:String}, 'Int64')) = {p4:String}, accurateCastOrNull({p4:String}, 'Int64'), NULL), "
         "if(toString(accurateCastOrNull({p5:String}, 'Int64')) = {p5:String}, "
         "accurateCastOrNull({p5:String}, 'Int64'), NULL)))",
         "(`i64` IN (1, 2))"},
        {"\"i8\":{\"_eq\":\"{{ jwt.sci }}\"}", NULL, "(1 = 0)"},
        {"\"i8\":{\"_neq\":\"{{ jwt.zero }}\"}", NULL, "(1 = 0)"},
        {"\"i8\":{\"_neq\":\"128\"}", NULL, "(1 = 0)"},
        {"\"u64\":{\"_neq\":\"{{ jwt.big }}\"}", NULL, "(1 = 0)"},
        {"\"u64\":{\"_neq\":\"1; DROP\"}", NULL, "(1 = 0)"},
        {"\"s\":{\"_in\":\"{{ jwt.l }}\"}", "(`s` IN ({p3:String}, {p4:String}))",
         "(`s` IN ('a', 'b'))"},
        {"\"lc\":{\"_in\":\"{{ jwt.org }}\"}", "(`lc` IN ({p3:String}))", "(`lc` IN ('a'))"},
        {"\"f64\":{\"_eq\":\"{{ jwt.f }}\"}", "(`f64` = {p3:String})", "(`f64` = '1.5')"},
        {"\"f64\":{\"_in\":\"{{ jwt.f }}\"}",
         "(`f64` IN (accurateCastOrNull({p3:String}, 'Float64')))", "(`f64` IN ('1.5'))"},
        {"\"e\":{\"_in\":\"{{ jwt.org }}\"}",
         "(`e` IN (accurateCastOrNull({p3:String}, 'Enum8(\\'a\\' = 1, \\'b\\' = 2)')))",
         "(`e` IN ('a'))"},
        {"\"dt\":{\"_gt\":\"2026-01-01T00:00:00Z\"}",
         "(`dt` > parseDateTime64BestEffort({p3:String}, 8))",
         "(`dt` > parseDateTimeBestEffort('2026-01-01T00:00:00Z'))"},
        {"\"dt\":{\"_in\":\"{{ jwt.l }}\"}",
         "((`dt` = parseDateTime64BestEffort({p3:String}, 8) OR `dt` = "
         "parseDateTime64BestEffort({p4:String}, 8)))",
         "((`dt` = parseDateTimeBestEffort('a') OR `dt` = parseDateTimeBestEffort('b')))"},
        {"\"d3\":{\"_in\":\"{{ jwt.org }}\"}",
         "((`d3` = parseDateTime64BestEffort({p3:String}, 8, 'Europe/Berlin')))", NULL},
        {"\"d3\":{\"_in\":\"{{ jwt.l }}\"}",
         "((`d3` = parseDateTime64BestEffort({p3:String}, 8, 'Europe/Berlin') OR `d3` = "
         "parseDateTime64BestEffort({p4:String}, 8, 'Europe/Berlin')))",
         NULL},
        {"\"d3\":{\"_gt\":\"x\"}",
         "(`d3` > parseDateTime64BestEffort({p3:String}, 8, 'Europe/Berlin'))",
         "(`d3` > parseDateTime64BestEffort('x', 8, 'Europe/Berlin'))"},
        {"\"d9\":{\"_eq\":\"x\"}", "(`d9` = parseDateTime64BestEffort({p3:String}, 9))", NULL},
        {"\"day\":{\"_eq\":\"x\"}", "(`day` = toDate(parseDateTime64BestEffort({p3:String}, 8)))",
         "(`day` = toDate(parseDateTimeBestEffort('x')))"},
        {"\"day32\":{\"_eq\":\"x\"}",
         "(`day32` = toDate32(parseDateTime64BestEffort({p3:String}, 8)))", NULL},
        {"\"unknown\":{\"_eq\":\"x\"}", "(`unknown` = {p3:String})", "(`unknown` = 'x')"},
        {"\"we`ird\\\\\":{\"_eq\":\"{{ jwt.inject }}\"}", "(`we\\`ird\\\\` = {p3:String})",
         "(`we\\`ird\\\\` = '\\'; DROP TABLE t; --\\\\\n`?')"},
        {"\"s\":{\"_eq\":\"{{ jwt.none }}\"}", "(1 = 0)", "(1 = 0)"},
        {"\"s\":{\"_neq\":\"{{ jwt.none }}\"}", "(1 = 0)", "(1 = 0)"},
        {"\"s\":{\"_gt\":\"{{ jwt.nil }}\"}", "(1 = 0)", "(1 = 0)"},
        {"\"s\":{\"_lt\":\"x-{{ jwt.none }}\"}", "(1 = 0)", "(1 = 0)"},
        {"\"s\":{\"_in\":\"{{ jwt.none }}\"}", "(1 = 0)", "(1 = 0)"},
        {"\"s\":{\"_in\":\"{{ jwt.el }}\"}", "(1 = 0)", "(1 = 0)"},
        {"\"s\":{\"_in\":\"{{ jwt.bad }}\"}", "(1 = 0)", "(1 = 0)"},
        {"\"i8\":{\"_eq\":\"1\"},\"s\":{\"_in\":\"{{ jwt.el }}\"}", "(1 = 0)", "(1 = 0)"},
        {"\"i8\":{\"_eq\":\"1\"},\"s\":{\"_neq\":\"{{ jwt.none }}\"}", "(1 = 0)", "(1 = 0)"},
    };
    struct access_claims *c = claims_of(claims_text);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct access_predicate *p = predicate_of(table[i].filter, c, catalog);
        if (table[i].parameters != NULL) {
            buf_reset(&out);
            ok(access_predicate_sql(p, ACCESS_SQL_PARAMETERS, 3, &out), "%s filters",
               table[i].filter);
            is_mem(out.ptr, out.len, table[i].parameters, strlen(table[i].parameters),
                   "as parameters");
        }
        if (table[i].literals != NULL) {
            buf_reset(&out);
            (void)access_predicate_sql(p, ACCESS_SQL_LITERALS, 3, &out);
            is_mem(out.ptr, out.len, table[i].literals, strlen(table[i].literals), "as literals");
        }
        access_predicate_unref(p);
    }
    struct access_predicate *p =
        predicate_of("\"s\":{\"_in\":\"{{ jwt.l }}\"},\"lc\":{\"_eq\":\"x\"}", c, catalog);
    ok(access_predicate_value_count(p) == 3 && slice_eq_str(access_predicate_value(p, 0), "x") &&
           slice_eq_str(access_predicate_value(p, 1), "a") &&
           slice_eq_str(access_predicate_value(p, 2), "b"),
       "values in the order of their numbers");
    access_predicate_unref(p);
    p = predicate_of("\"s\":{\"_eq\":\"{{ jwt.none }}\"}", c, catalog);
    is_u64(access_predicate_value_count(p), 0, "a filter that nothing can pass binds nothing");
    access_predicate_unref(p);
    p = predicate_of("", c, catalog);
    buf_reset(&out);
    ok(!access_predicate_sql(p, ACCESS_SQL_PARAMETERS, 0, &out) && out.len == 0,
       "no filter, no text");
    ok(access_predicate_match(p, &(struct json_doc){0}, &scratch) == ACCESS_MATCH,
       "and every event passes");
    access_predicate_unref(p);
    access_claims_unref(c);
}

static void events(void)
{
    static const struct {
        const char *filter, *record;
        enum access_match want;
    } table[] = {
        /* strings: bytes */
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":\"a\"}", ACCESS_MATCH},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":\"\\u0061\"}", ACCESS_MATCH},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"\\u0073\":\"a\"}", ACCESS_MATCH},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":\"a\",\"s\":\"b\"}", ACCESS_MISMATCH},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":\"A\"}", ACCESS_MISMATCH},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"S\":\"a\"}", ACCESS_ABSENT},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":null}", ACCESS_NULL},
        {"\"s\":{\"_neq\":\"{{ jwt.org }}\"}", "{\"s\":null}", ACCESS_NULL},
        {"\"s\":{\"_neq\":\"{{ jwt.org }}\"}", "{}", ACCESS_ABSENT},
        {"\"s\":{\"_neq\":\"{{ jwt.org }}\"}", "{\"s\":[\"b\"]}", ACCESS_UNREADABLE},
        {"\"s\":{\"_neq\":\"{{ jwt.org }}\"}", "{\"s\":{}}", ACCESS_UNREADABLE},
        {"\"s\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"s\":42}", ACCESS_MATCH},
        {"\"s\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"s\":42.0}", ACCESS_MISMATCH},
        {"\"s\":{\"_eq\":\"true\"}", "{\"s\":true}", ACCESS_MATCH},
        {"\"s\":{\"_gt\":\"a\",\"_lt\":\"b\"}", "{\"s\":\"aa\"}", ACCESS_MATCH},
        {"\"s\":{\"_gt\":\"a\",\"_lt\":\"b\"}", "{\"s\":\"a\"}", ACCESS_MISMATCH},
        {"\"s\":{\"_gt\":\"a\"}", "{\"s\":\"\xc3\xa9\"}", ACCESS_MATCH},
        {"\"s\":{\"_in\":\"{{ jwt.l }}\"}", "{\"s\":\"b\"}", ACCESS_MATCH},
        {"\"s\":{\"_in\":\"{{ jwt.l }}\"}", "{\"s\":\"c\"}", ACCESS_MISMATCH},
        {"\"lc\":{\"_eq\":\"a\"}", "{\"lc\":\"a\"}", ACCESS_MATCH},
        {"\"s\":{\"_eq\":\"a\"},\"lc\":{\"_eq\":\"b\"}", "{\"s\":\"a\",\"lc\":\"b\"}",
         ACCESS_MATCH},
        {"\"s\":{\"_eq\":\"a\"},\"lc\":{\"_eq\":\"b\"}", "{\"s\":\"a\",\"lc\":\"c\"}",
         ACCESS_MISMATCH},
        /* FixedString: filled with zero bytes, never longer than it is */
        {"\"fs\":{\"_neq\":\"ab\"}", "{\"fs\":\"ab\\u0000\"}", ACCESS_MISMATCH},
        {"\"fs\":{\"_eq\":\"ab\"}", "{\"fs\":\"ab\\u0000\\u0000\"}", ACCESS_MATCH},
        {"\"fs\":{\"_neq\":\"abcde\"}", "{\"fs\":\"ab\"}", ACCESS_OPERAND},
        /* claims that are not there */
        {"\"s\":{\"_eq\":\"{{ jwt.none }}\"}", "{\"s\":\"\"}", ACCESS_NO_CLAIM},
        {"\"s\":{\"_neq\":\"{{ jwt.none }}\"}", "{\"s\":\"x\"}", ACCESS_NO_CLAIM},
        {"\"s\":{\"_gt\":\"{{ jwt.none }}\"}", "{\"s\":\"x\"}", ACCESS_NO_CLAIM},
        {"\"s\":{\"_lt\":\"{{ jwt.none }}\"}", "{\"s\":\"x\"}", ACCESS_NO_CLAIM},
        {"\"s\":{\"_in\":\"{{ jwt.none }}\"}", "{\"s\":\"x\"}", ACCESS_NO_CLAIM},
        {"\"s\":{\"_in\":\"{{ jwt.el }}\"}", "{\"s\":\"x\"}", ACCESS_NO_CLAIM},
        {"\"s\":{\"_in\":\"{{ jwt.bad }}\"}", "{\"s\":\"a\"}", ACCESS_NO_CLAIM},
        /* integers */
        {"\"i8\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i8\":42}", ACCESS_MATCH},
        {"\"i8\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i8\":\"42\"}", ACCESS_MATCH},
        {"\"i8\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i8\":42.0}", ACCESS_UNREADABLE},
        {"\"i8\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i8\":4.2e1}", ACCESS_UNREADABLE},
        {"\"i8\":{\"_neq\":\"{{ jwt.n }}\"}", "{\"i8\":298}", ACCESS_UNREADABLE},
        {"\"i8\":{\"_neq\":\"{{ jwt.n }}\"}", "{\"i8\":-0}", ACCESS_UNREADABLE},
        {"\"i8\":{\"_neq\":\"{{ jwt.n }}\"}", "{\"i8\":\"042\"}", ACCESS_UNREADABLE},
        {"\"i8\":{\"_neq\":\"{{ jwt.n }}\"}", "{\"i8\":\"+1\"}", ACCESS_UNREADABLE},
        {"\"i8\":{\"_neq\":\"{{ jwt.n }}\"}", "{\"i8\":\"0x1\"}", ACCESS_UNREADABLE},
        {"\"i8\":{\"_neq\":\"{{ jwt.n }}\"}", "{\"i8\":true}", ACCESS_UNREADABLE},
        {"\"i8\":{\"_neq\":\"{{ jwt.sci }}\"}", "{\"i8\":1}", ACCESS_OPERAND},
        {"\"i8\":{\"_neq\":\"{{ jwt.zero }}\"}", "{\"i8\":1}", ACCESS_OPERAND},
        {"\"i8\":{\"_lt\":\"128\"}", "{\"i8\":1}", ACCESS_OPERAND},
        {"\"u64\":{\"_eq\":\"{{ jwt.big }}\"}", "{\"u64\":0}", ACCESS_OPERAND},
        {"\"u64\":{\"_neq\":\"-1\"}", "{\"u64\":0}", ACCESS_OPERAND},
        {"\"u64\":{\"_gt\":\"18446744073709551614\"}", "{\"u64\":18446744073709551615}",
         ACCESS_MATCH},
        {"\"u256\":{\"_gt\":\"{{ jwt.big }}\"}",
         "{\"u256\":"
         "\"115792089237316195423570985008687907853269984665640564039457584007913129639935\"}",
         ACCESS_MATCH},
        {"\"i64\":{\"_in\":\"{{ jwt.ln }}\"}", "{\"i64\":2}", ACCESS_MATCH},
        {"\"i64\":{\"_in\":\"{{ jwt.ln }}\"}", "{\"i64\":3}", ACCESS_MISMATCH},
        /* floats: rounded once to the column's width */
        {"\"f32\":{\"_eq\":\"0.1\"}", "{\"f32\":0.10000000149011612}", ACCESS_MATCH},
        {"\"f64\":{\"_eq\":\"0.1\"}", "{\"f64\":0.10000000149011612}", ACCESS_MISMATCH},
        {"\"f64\":{\"_gt\":\"-1e2\"}", "{\"f64\":-99.5}", ACCESS_MATCH},
        {"\"f64\":{\"_neq\":\"1\"}", "{\"f64\":\"nan\"}", ACCESS_UNREADABLE},
        {"\"f64\":{\"_neq\":\"1\"}", "{\"f64\":\"inf\"}", ACCESS_UNREADABLE},
        {"\"f64\":{\"_neq\":\"1\"}", "{\"f64\":\"0x1\"}", ACCESS_UNREADABLE},
        {"\"f64\":{\"_neq\":\"nan\"}", "{\"f64\":1}", ACCESS_OPERAND},
        {"\"f32\":{\"_neq\":\"1\"}", "{\"f32\":1e60}", ACCESS_UNREADABLE},
        /* decimals */
        {"\"d\":{\"_eq\":\"1.23\"}", "{\"d\":1.239}", ACCESS_MATCH},
        {"\"d\":{\"_eq\":\"1.2\"}", "{\"d\":\"1.200\"}", ACCESS_MATCH},
        {"\"d\":{\"_eq\":\"0\"}", "{\"d\":-0.001}", ACCESS_MATCH},
        {"\"d\":{\"_lt\":\"-0.5\"}", "{\"d\":-0.51}", ACCESS_MATCH},
        {"\"d\":{\"_neq\":\"1\"}", "{\"d\":1000}", ACCESS_UNREADABLE},
        {"\"d\":{\"_neq\":\"1000\"}", "{\"d\":1}", ACCESS_OPERAND},
        {"\"d\":{\"_neq\":\"1.239\"}", "{\"d\":1.231}", ACCESS_MISMATCH},
        {"\"d\":{\"_eq\":\"-0.001\"}", "{\"d\":0}", ACCESS_MATCH},
        {"\"d\":{\"_gt\":\"999.98\"}", "{\"d\":999.99}", ACCESS_MATCH},
        /* Bool */
        {"\"b\":{\"_eq\":\"{{ jwt.yes }}\"}", "{\"b\":true}", ACCESS_MATCH},
        {"\"b\":{\"_eq\":\"{{ jwt.yes }}\"}", "{\"b\":1}", ACCESS_MATCH},
        {"\"b\":{\"_eq\":\"{{ jwt.yes }}\"}", "{\"b\":false}", ACCESS_MISMATCH},
        {"\"b\":{\"_neq\":\"1\"}", "{\"b\":0}", ACCESS_MATCH},
        {"\"b\":{\"_neq\":\"1\"}", "{\"b\":2}", ACCESS_UNREADABLE},
        {"\"b\":{\"_neq\":\"1\"}", "{\"b\":\"false\"}", ACCESS_UNREADABLE},
        {"\"b\":{\"_gt\":\"0\"}", "{\"b\":true}", ACCESS_UNPROVABLE},
        {"\"b\":{\"_neq\":\"maybe\"}", "{\"b\":true}", ACCESS_OPERAND},
        /* instants */
        {"\"dt\":{\"_eq\":\"2026-01-01T00:00:00Z\"}", "{\"dt\":\"2026-01-01T00:00:00Z\"}",
         ACCESS_MATCH},
        {"\"dt\":{\"_eq\":\"2026-01-01T01:00:00+01:00\"}", "{\"dt\":\"2026-01-01 00:00:00\"}",
         ACCESS_MATCH},
        {"\"dt\":{\"_eq\":\"1767225600\"}", "{\"dt\":1767225600}", ACCESS_MATCH},
        {"\"dt\":{\"_eq\":\"2026-01-01T00:00:00Z\"}", "{\"dt\":\"2026-01-01T00:00:00.9Z\"}",
         ACCESS_MATCH},
        {"\"dt\":{\"_neq\":\"2026-01-01T00:00:00.5Z\"}", "{\"dt\":\"2026-01-01T00:00:00Z\"}",
         ACCESS_OPERAND},
        {"\"dt\":{\"_gt\":\"2025-12-31T23:59:59Z\"}", "{\"dt\":\"2026-01-01T00:00:00Z\"}",
         ACCESS_MATCH},
        {"\"dt\":{\"_neq\":\"yesterday\"}", "{\"dt\":\"2026-01-01T00:00:00Z\"}", ACCESS_OPERAND},
        {"\"dt\":{\"_neq\":\"2026-01-01T00:00:00Z\"}", "{\"dt\":\"yesterday\"}", ACCESS_UNREADABLE},
        {"\"dt\":{\"_neq\":\"2026-01-01T00:00:00Z\"}", "{\"dt\":\"2200-01-01T00:00:00Z\"}",
         ACCESS_UNREADABLE},
        {"\"dt\":{\"_neq\":\"2200-01-01T00:00:00Z\"}", "{\"dt\":\"2026-01-01T00:00:00Z\"}",
         ACCESS_OPERAND},
        {"\"dt\":{\"_neq\":\"2026-01-01T00:00:00Z\"}", "{\"dt\":-1}", ACCESS_UNREADABLE},
        {"\"d3\":{\"_gt\":\"2026-01-01T00:00:00Z\"}", "{\"d3\":\"2026-01-01T00:00:00.001Z\"}",
         ACCESS_MATCH},
        {"\"d3\":{\"_gt\":\"2026-01-01T00:00:00.001Z\"}", "{\"d3\":\"2026-01-01T00:00:00.0019Z\"}",
         ACCESS_MISMATCH},
        {"\"d3\":{\"_neq\":\"2026-01-01T00:00:00.0001Z\"}", "{\"d3\":\"2026-01-01T00:00:00Z\"}",
         ACCESS_OPERAND},
        {"\"d3\":{\"_eq\":\"1767225600\"}", "{\"d3\":1767225600000}", ACCESS_MATCH},
        /* equal text only */
        {"\"day\":{\"_eq\":\"2026-01-01\"}", "{\"day\":\"2026-01-01\"}", ACCESS_MATCH},
        {"\"day\":{\"_eq\":\"2026-01-01\"}", "{\"day\":\"2026-01-02\"}", ACCESS_MISMATCH},
        {"\"day\":{\"_eq\":\"20454\"}", "{\"day\":\"20454\"}", ACCESS_UNREADABLE},
        {"\"day\":{\"_neq\":\"2026-01-01\"}", "{\"day\":\"2026-01-02\"}", ACCESS_UNPROVABLE},
        {"\"day\":{\"_gt\":\"2026-01-01\"}", "{\"day\":\"2026-01-02\"}", ACCESS_UNPROVABLE},
        {"\"day\":{\"_eq\":\"2300-01-01\"}", "{\"day\":\"2300-01-01\"}", ACCESS_UNREADABLE},
        {"\"e\":{\"_in\":\"{{ jwt.l }}\"}", "{\"e\":\"b\"}", ACCESS_MATCH},
        {"\"e\":{\"_eq\":\"1\"}", "{\"e\":1}", ACCESS_UNREADABLE},
        {"\"e\":{\"_eq\":\"1\"}", "{\"e\":\"1\"}", ACCESS_UNREADABLE},
        {"\"ip\":{\"_eq\":\"192.0.2.1\"}", "{\"ip\":\"192.0.2.1\"}", ACCESS_MATCH},
        {"\"ip\":{\"_lt\":\"192.0.2.1\"}", "{\"ip\":\"192.0.2.0\"}", ACCESS_UNPROVABLE},
        {"\"id\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"id\":\"b\"}", ACCESS_MISMATCH},
        {"\"arr\":{\"_eq\":\"[]\"}", "{\"arr\":\"[]\"}", ACCESS_UNPROVABLE},
        {"\"unknown\":{\"_eq\":\"a\"}", "{\"unknown\":\"a\"}", ACCESS_NO_COLUMN},
        {"\"m\":{\"_eq\":\"a\"}", "{\"s\":\"a\"}", ACCESS_ABSENT},
    };
    static const struct {
        const char *filter, *record;
        enum access_match want;
    } without_schema[] = {
        {"\"i8\":{\"_eq\":\"a\"}", "{\"i8\":\"a\"}", ACCESS_MATCH},
        {"\"i8\":{\"_in\":\"{{ jwt.l }}\"}", "{\"i8\":\"b\"}", ACCESS_MATCH},
        {"\"i8\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i8\":42}", ACCESS_UNREADABLE},
        {"\"i8\":{\"_neq\":\"a\"}", "{\"i8\":\"b\"}", ACCESS_UNPROVABLE},
        {"\"i8\":{\"_gt\":\"a\"}", "{\"i8\":\"b\"}", ACCESS_UNPROVABLE},
    };
    struct access_claims *c = claims_of(claims_text);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct access_predicate *p = predicate_of(table[i].filter, c, catalog);
        struct json_doc doc = record_of(table[i].record);
        enum access_match got = access_predicate_match(p, &doc, &scratch);
        ok(got == table[i].want, "%s on %s: %s", table[i].filter, table[i].record,
           access_match_name(got));
        access_predicate_unref(p);
    }
    for (size_t i = 0; i < sizeof(without_schema) / sizeof(without_schema[0]); i++) {
        struct access_predicate *p = predicate_of(without_schema[i].filter, c, NULL);
        struct json_doc doc = record_of(without_schema[i].record);
        enum access_match got = access_predicate_match(p, &doc, &scratch);
        ok(got == without_schema[i].want, "no schema, %s on %s: %s", without_schema[i].filter,
           without_schema[i].record, access_match_name(got));
        access_predicate_unref(p);
    }
    access_claims_unref(c);
}

static void zones(void)
{
    struct zone *z;
    struct err e;
    if (zone_load(SLICE_LIT("Europe/Berlin"), &z, &e) != 0) {
        ok(true, "a column's zone # SKIP this machine has no zoneinfo");
        return;
    }
    zone_free(z);
    struct access_predicate *p =
        predicate_of("\"d3\":{\"_eq\":\"2026-07-01 12:00:00\"}", NULL, catalog);
    struct json_doc doc = record_of("{\"d3\":\"2026-07-01T10:00:00Z\"}");
    ok(access_predicate_match(p, &doc, &scratch) == ACCESS_MATCH,
       "text without a zone is in the column's");
    access_predicate_unref(p);
}

/* Every operator on integers of every spelling, against machine arithmetic: what matches must hold,
 * and what is written in the usual way and holds must match. */
static void integers_agree_with_a_model(void)
{
    static const char *const ops[] = {"_eq", "_neq", "_gt", "_lt"};
    uint64_t seed = 1;
    bool sound = true, complete = true;
    for (int round = 0; round < 4000; round++) {
        char filter[128], record[128], number[64];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        int64_t operand = (int64_t)(seed >> 40) % 400 - 200,
                value = (int64_t)(seed >> 20) % 400 - 200;
        unsigned op = seed >> 33 & 3, spelling = (unsigned)(seed >> 35) % 5;
        if ((seed >> 50 & 3) == 0)
            value = operand;
        (void)snprintf(filter, sizeof(filter), "\"i8\":{\"%s\":\"%" PRId64 "\"}", ops[op], operand);
        static const char *const before[] = {"", "", "", "\"", "\"0"};
        static const char *const after[] = {"", ".0", "e0", "\"", "\""};
        (void)snprintf(number, sizeof(number), "%s%" PRId64 "%s", before[spelling], value,
                       after[spelling]);
        (void)snprintf(record, sizeof(record), "{\"i8\":%s}", number);
        struct access_predicate *p = predicate_of(filter, NULL, catalog);
        struct json_doc doc = record_of(record);
        bool match = access_predicate_match(p, &doc, &scratch) == ACCESS_MATCH;
        bool stored = value >= -128 && value <= 127, bound = operand >= -128 && operand <= 127;
        bool holds = op == 0   ? value == operand
                     : op == 1 ? value != operand
                     : op == 2 ? value > operand
                               : value < operand;
        sound &= !match || (holds && stored && bound);
        complete &= match || !(holds && stored && bound && (spelling == 0 || spelling == 3));
        access_predicate_unref(p);
    }
    ok(sound, "a match always holds");
    ok(complete, "what holds and is plainly spelt matches");
}

static void predicates_are_shared(void)
{
    struct access_policy *p = policy_of("select", "\"filter\":{\"s\":{\"_eq\":\"{{ jwt.org }}\"}}");
    struct access_policy *q;
    struct err e;
    buf_reset(&out);
    access_policy_put_json(p, &out);
    if (access_policy_parse(reader, buf_slice(&out), true, 2, &q, &e) != 0)
        abort();
    struct access_claims *a = claims_of("{\"org\":\"a\",\"sub\":1}"),
                         *a2 = claims_of("{\"sub\":2,\"org\":\"a\"}"),
                         *b = claims_of("{\"org\":\"b\"}");
    const struct access_grant *g = grant_of(p, ACCESS_SELECT);
    struct access_predicates *set = access_predicates_new();
    struct access_predicate *list[6] = {
        access_predicates_get(set, p, g, SLICE_LIT("t"), a, catalog),
        access_predicates_get(set, p, g, SLICE_LIT("t"), a2, catalog),
        access_predicates_get(set, p, g, SLICE_LIT("t"), b, catalog),
        access_predicates_get(set, p, g, SLICE_LIT("t"), NULL, catalog),
        access_predicates_get(set, q, grant_of(q, ACCESS_SELECT), SLICE_LIT("t"), a, catalog),
        access_predicates_get(set, p, g, SLICE_LIT("t"), a, NULL),
    };
    ok(list[0] == list[1],
       "the same values used: the same predicate, whatever else the claims say");
    bool distinct = true;
    for (int i = 0; i < 6; i++)
        for (int j = i + 1; j < 6; j++)
            distinct &= list[i] != list[j] || (i == 0 && j == 1);
    ok(distinct, "another value, no claims, another policy version, no schema: others");
    for (int i = 0; i < 6; i++)
        access_predicate_unref(list[i]);
    bool right = true;
    for (int i = 0; i < 3 * LIMIT_PREDICATES; i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "{\"org\":\"o%d\"}", i);
        struct access_claims *c = claims_of(text);
        struct access_predicate *one = access_predicates_get(set, p, g, SLICE_LIT("t"), c, catalog);
        (void)snprintf(text, sizeof(text), "{\"s\":\"o%d\"}", i);
        struct json_doc doc = record_of(text);
        right &= access_predicate_match(one, &doc, &scratch) == ACCESS_MATCH;
        access_predicate_unref(one);
        access_claims_unref(c);
    }
    ok(right, "more predicates than places: each is still right");
    access_predicates_free(set);
    access_claims_unref(a);
    access_claims_unref(a2);
    access_claims_unref(b);
    access_policy_unref(p);
    access_policy_unref(q);
}

static void checks(void)
{
    static const struct {
        const char *check, *record, *want; /* "-s": refused for column s; "!…": nothing may go in */
    } table[] = {
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":\"a\"}", ""},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":\"\\u0061\"}", ""},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":\"b\"}", "-s"},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":\"a\",\"s\":\"b\"}", "-s"},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":\"\"}", "-s"},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":null}", "-s"},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":[\"a\"]}", "-s"},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{\"s\":{\"a\":1}}", "-s"},
        {"\"s\":{\"_eq\":\"{{ jwt.org }}\"}", "{}", ",\"s\":\"a\""},
        {"\"s\":{\"_in\":\"{{ jwt.l }}\"}", "{\"s\":\"b\"}", ""},
        {"\"s\":{\"_in\":\"{{ jwt.l }}\"}", "{\"s\":\"c\"}", "-s"},
        {"\"s\":{\"_in\":\"{{ jwt.l }}\"}", "{}", "-s"},
        {"\"s\":{\"_in\":\"{{ jwt.el }}\"}", "{\"s\":\"a\"}", "-s"},
        {"\"s\":{\"_in\":\"{{ jwt.bad }}\"}", "{\"s\":\"a\"}", "!check failed for column \"s\""},
        {"\"s\":{\"_eq\":\"{{ jwt.none }}\"}", "{\"s\":\"\"}", "!check failed for column \"s\""},
        {"\"s\":{\"_eq\":\"{{ jwt.nil }}\"}", "{}", "!check failed for column \"s\""},
        {"\"s\":{\"_in\":\"{{ jwt.none }}\"}", "{\"s\":\"a\"}", "!check failed for column \"s\""},
        /* a literal takes text and number */
        {"\"i64\":{\"_eq\":\"42\"}", "{\"i64\":42}", ""},
        {"\"i64\":{\"_eq\":\"42\"}", "{\"i64\":\"42\"}", ""},
        {"\"i64\":{\"_eq\":\"42\"}", "{\"i64\":4.2e1}", ""},
        {"\"i64\":{\"_eq\":\"42\"}", "{\"i64\":43}", "-i64"},
        {"\"i64\":{\"_eq\":\"42\"}", "{}", ",\"i64\":42"},
        {"\"i64\":{\"_eq\":42}", "{}", ",\"i64\":42"},
        {"\"b\":{\"_eq\":\"true\"}", "{\"b\":true}", ""},
        {"\"b\":{\"_eq\":\"true\"}", "{}", ",\"b\":true"},
        {"\"s\":{\"_eq\":\"true\"}", "{}", ",\"s\":\"true\""},
        /* a string claim takes that text */
        {"\"i64\":{\"_eq\":\"{{ jwt.s42 }}\"}", "{\"i64\":\"42\"}", ""},
        {"\"i64\":{\"_eq\":\"{{ jwt.s42 }}\"}", "{\"i64\":42}", ""},
        {"\"i64\":{\"_eq\":\"{{ jwt.s42 }}\"}", "{\"i64\":42.0}", "-i64"},
        {"\"i64\":{\"_eq\":\"{{ jwt.s42 }}\"}", "{}", ",\"i64\":42"},
        /* a number claim takes the number in any spelling */
        {"\"i64\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i64\":42.0}", ""},
        {"\"i64\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i64\":420e-1}", ""},
        {"\"i64\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i64\":\"42\"}", ""},
        {"\"i64\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i64\":\"42.0\"}", "-i64"},
        {"\"i64\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i64\":42.5}", "-i64"},
        {"\"i64\":{\"_eq\":\"{{ jwt.n }}\"}", "{\"i64\":true}", "-i64"},
        {"\"s\":{\"_eq\":\"{{ jwt.n }}\"}", "{}", ",\"s\":\"42\""},
        {"\"b\":{\"_eq\":\"{{ jwt.yes }}\"}", "{\"b\":true}", ""},
        {"\"b\":{\"_eq\":\"{{ jwt.yes }}\"}", "{\"b\":1}", "-b"},
        {"\"b\":{\"_eq\":\"{{ jwt.yes }}\"}", "{}", ",\"b\":true"},
        {"\"s\":{\"_eq\":\"{{ jwt.inject }}\"}", "{}", ",\"s\":\"'; DROP TABLE t; --\\\\\\n`?\""},
        {"\"s\":{\"_eq\":\"a\"},\"lc\":{\"_eq\":\"b\"}", "{}", ",\"lc\":\"b\",\"s\":\"a\""},
        /* the table */
        {"\"nope\":{\"_eq\":\"a\"}", "{}",
         "!policy check references column \"nope\", which table \"t\" does not have"},
        {"\"m\":{\"_eq\":\"a\"}", "{}",
         "!policy check references column \"m\", which is materialized and cannot be inserted"},
        {"\"al\":{\"_eq\":\"a\"}", "{}",
         "!policy check references column \"al\", which is alias and cannot be inserted"},
        {"\"ep\":{\"_eq\":\"a\"}", "{}",
         "!policy check references column \"ep\", which is ephemeral and cannot be inserted"},
    };
    const struct schema_table *t = schema_catalog_find(catalog, SLICE_LIT("t"));
    struct access_claims *c = claims_of(claims_text);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char fields[512];
        struct access_check check;
        struct err e = {0};
        (void)snprintf(fields, sizeof(fields), "\"check\":{%s}", table[i].check);
        struct access_policy *p = policy_of("insert", fields);
        struct json_doc doc = record_of(table[i].record);
        buf_reset(&out);
        if (access_check_bind(&arena, grant_of(p, ACCESS_INSERT), c, t, &check, &e) != 0) {
            buf_printf(&out, "!%s", e.text);
        } else {
            const struct schema_column *bad = access_check_record(&check, &doc, &out);
            if (bad != NULL) {
                buf_reset(&out);
                buf_printf(&out, "-%.*s", SLICE_ARG(bad->name));
            }
        }
        ok(slice_eq_str(buf_slice(&out), table[i].want), "%s on %s: %.*s", table[i].check,
           table[i].record, SLICE_ARG(buf_slice(&out)));
        access_policy_unref(p);
    }
    access_claims_unref(c);

    struct access_policy *p =
        policy_of("insert", "\"deny_columns\":[\"s\"],\"check\":{\"s\":{\"_eq\":\"a\"}}");
    const struct access_grant *g = grant_of(p, ACCESS_INSERT);
    struct slice column;
    struct json_doc doc = record_of("{\"i8\":1,\"\\u0073\":\"a\"}");
    ok(access_check_columns(g, &doc, &column) && slice_eq_str(column, "\\u0073"),
       "a column that may not be written, however it is spelt");
    doc = record_of("{\"i8\":1}");
    struct access_check check;
    struct err e;
    buf_reset(&out);
    ok(!access_check_columns(g, &doc, &column) &&
           access_check_bind(&arena, g, NULL, t, &check, &e) == 0 &&
           access_check_record(&check, &doc, &out) == NULL &&
           slice_eq_str(buf_slice(&out), ",\"s\":\"a\""),
       "but it is stamped");
    access_policy_unref(p);
}

int main(void)
{
    reader = json_reader_new(2 * MIB);
    record_reader = json_reader_new(2 * MIB);
    predicates = access_predicates_new();
    arena_init(&arena, 4 * KIB, SIZE_MAX);
    buf_init(&scratch, SIZE_MAX);
    buf_init(&out, SIZE_MAX);
    make_catalog();
    gates();
    sql();
    events();
    zones();
    integers_agree_with_a_model();
    predicates_are_shared();
    checks();
    schema_catalog_unref(catalog);
    access_predicates_free(predicates);
    buf_fini(&out);
    buf_fini(&scratch);
    arena_fini(&arena);
    json_reader_free(record_reader);
    json_reader_free(reader);
    return tap_done();
}
