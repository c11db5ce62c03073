/* SPDX-License-Identifier: Apache-2.0 */
/* The structured query: bodies → statements and refusals, every row of http-api §8's tables. What
 * the statements come to on real servers: tests/e2e/query_build.c. */
#include "base/limits.h"
#include "query/select.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tests/lib/tap.h"

static struct json_reader *reader;
static struct schema_catalog *catalog;
static struct access_predicates *predicates;
static struct query_select *maker;
static struct query_statement statement;
static enum query_style style = QUERY_PARAMETERS;
static uint64_t max_rows, bucket_s = 60, timeout_ms = 30000;

/* 2026-06-21T04:00:30.25Z */
#define NOW_NS 1782014430250000000u

static void make_catalog(void)
{
    static const char *const columns[][3] = {
        {"page", "String", ""},
        {"score", "Int32", ""},
        {"ts", "DateTime64(3)", ""},
        {"u8", "UInt8", ""},
        {"u64", "Nullable(UInt64)", ""},
        {"f32", "Float32", ""},
        {"f64", "Float64", ""},
        {"dec", "Decimal(9, 2)", ""},
        {"fs", "FixedString(4)", ""},
        {"lc", "LowCardinality(Nullable(String))", ""},
        {"b", "Bool", ""},
        {"dt", "DateTime", ""},
        {"dz", "DateTime('Europe/Berlin')", ""},
        {"d9", "DateTime64(9, 'UTC')", ""},
        {"day", "Date", ""},
        {"day32", "Date32", ""},
        {"id", "UUID", ""},
        {"e", "Enum8('a' = 1, 'it\\'s' = -2)", ""},
        {"ip", "IPv4", ""},
        {"arr", "Array(String)", ""},
        {"secret", "String", ""},
        {"m", "String", "MATERIALIZED"},
        {"ep", "String", "EPHEMERAL"},
        {"_x", "UInt8", ""},
        {"we`ird\\ ?", "String", ""},
    };
    struct schema_builder *b = schema_builder_new();
    struct err e;
    schema_builder_server(b, SLICE_LIT("26.7.1"), SLICE_LIT("UTC"));
    int rc = schema_builder_table(b, SLICE_LIT("clicks"), SLICE_LIT("MergeTree"), -1);
    for (size_t i = 0; rc == 0 && i < sizeof(columns) / sizeof(columns[0]); i++)
        rc = schema_builder_column(b, slice_str(columns[i][0]), slice_str(columns[i][1]),
                                   slice_str(columns[i][2]), SLICE_LIT(""));
    catalog = rc == 0 ? schema_builder_finish(b, &e) : NULL;
    schema_builder_free(b);
    if (catalog == NULL)
        abort();
}

static uint64_t policy_version;

/* What the maker says to body, as one text: "SQL", "SQL | value | value", "403 words", "empty". */
static const char *said(const char *grant, const char *claims_text, const char *body)
{
    static char text[16 * KIB], room[16 * KIB];
    struct access_policy *policy = NULL;
    struct access_claims *claims = NULL;
    struct access_decision d = {.gate = ACCESS_UNRESTRICTED};
    struct query_refusal no = {0};
    struct err e;
    char document[4096];
    if (grant != NULL) {
        (void)snprintf(document, sizeof(document),
                       "{\"tables\":{\"clicks\":{\"select\":{\"r\":{%s}}}}}", grant);
        if (access_policy_parse(reader, slice_str(document), false, ++policy_version, &policy,
                                &e) != 0) {
            printf("# %s\n", e.text);
            abort();
        }
        d.gate = ACCESS_GRANTED;
        d.grant = access_policy_grant(policy, SLICE_LIT("clicks"), ACCESS_SELECT, SLICE_LIT("r"));
    }
    if (claims_text != NULL && access_claims_new(reader, slice_str(claims_text), &claims, &e) != 0)
        abort();
    struct query_select_ask ask = {
        .catalog = catalog,
        .table = schema_catalog_find(catalog, SLICE_LIT("clicks")),
        .policy = policy,
        .decision = &d,
        .claims = claims,
        .predicates = predicates,
        .terms = {style, NOW_NS, max_rows, bucket_s, timeout_ms},
    };
    (void)snprintf(room, sizeof(room), "%s", body);
    enum query_result r = query_select_parse(maker, slice_str(room), &no);
    if (r == QUERY_READY)
        r = query_select_build(maker, &ask, &statement, &no);
    size_t n = 0;
    if (r == QUERY_EMPTY)
        n = (size_t)snprintf(text, sizeof(text), "empty");
    else if (r == QUERY_REFUSED)
        n = (size_t)snprintf(text, sizeof(text), "%d %.*s", no.status, SLICE_ARG(no.text));
    else if (r == QUERY_READY) {
        n = (size_t)snprintf(text, sizeof(text), "%.*s", SLICE_ARG(buf_slice(&statement.sql)));
        for (uint32_t i = 0; i < query_statement_value_count(&statement); i++)
            n += (size_t)snprintf(text + n, sizeof(text) - n, " | %.*s",
                                  SLICE_ARG(query_statement_value(&statement, i)));
    }
    access_policy_unref(policy);
    access_claims_unref(claims);
    return text;
}

struct row {
    const char *body, *want;
};

static void check_rows(const char *grant, const char *claims, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        is_str(said(grant, claims, rows[i].body), rows[i].want, rows[i].body);
}
#define CHECK(grant, claims, rows) \
    check_rows((grant), (claims), (rows), sizeof(rows) / sizeof((rows)[0]))

static void test_bodies(void)
{
    static const struct row rows[] = {
        {"", "400 invalid json"},
        {"[]", "400 invalid json"},
        {"\"x\"", "400 invalid json"},
        {"{", "400 invalid json"},
        {"{} {}", "400 invalid json"},
        {"{}", "empty"},
        {"{\"columns\":\"\"}", "empty"},
        {"{\"columns\":[]}", "empty"},
        {"{\"columns\":null,\"limit\":null,\"time_range\":null,\"filters\":null}", "empty"},
        {"{\"filters\":[{\"column\":\"page\",\"op\":\"nonsense\",\"value\":1}]}", "empty"},
        {"{\"columns\":5}", "400 invalid json"},
        {"{\"columns\":[5]}", "400 invalid json"},
        {"{\"columns\":[null]}", "400 invalid json"},
        {"{\"select_all\":1}", "400 invalid json"},
        {"{\"aggregations\":{}}", "400 invalid json"},
        {"{\"aggregations\":[5]}", "400 invalid json"},
        {"{\"aggregations\":[{\"fn\":5}]}", "400 invalid json"},
        {"{\"filters\":[{\"column\":[]}]}", "400 invalid json"},
        {"{\"order_by\":[\"page\"]}", "400 invalid json"},
        {"{\"limit\":\"10\"}", "400 invalid json"},
        {"{\"limit\":1.5}", "400 invalid json"},
        {"{\"time_range\":[]}", "400 invalid json"},
        {"{\"time_range\":{\"since\":5}}", "400 invalid json"},
        /* unknown members, the last of equal keys, escaped keys and names */
        {"{\"columns\":[\"nope\"],\"x\":[1,{\"columns\":1}],\"columns\":\"page\"}",
         "SELECT `page` FROM `clicks` LIMIT 10000"},
        {"{\"col\\u0075mns\":[\"p\\u0061ge\"]}", "SELECT `page` FROM `clicks` LIMIT 10000"},
    };
    CHECK(NULL, NULL, rows);
}

static void test_shape(void)
{
    static const struct row rows[] = {
        {"{\"columns\":[\"page\"],\"aggregations\":[{\"fn\":\"count\",\"column\":\"*\",\"alias\":"
         "\"total\"}],\"filters\":[{\"column\":\"score\",\"op\":\"gt\",\"value\":10}],\"group_by\":"
         "[\"page\"],\"order_by\":[{\"column\":\"total\",\"dir\":\"desc\"}],\"limit\":100,"
         "\"time_range\":{\"column\":\"ts\",\"since\":\"1h\"}}",
         "SELECT `page`, count(*) AS `total` FROM `clicks` WHERE `score` > {p0:String} AND `ts` >= "
         "parseDateTime64BestEffort({p1:String}, 8) GROUP BY `page` ORDER BY `total` DESC LIMIT "
         "100 | 10 | 2026-06-21T03:00:00Z"},
        {"{\"select_all\":true}", "SELECT * FROM `clicks` LIMIT 10000"},
        {"{\"select_all\":true,\"limit\":3}", "SELECT * FROM `clicks` LIMIT 3"},
        {"{\"columns\":[\"we`ird\\\\ ?\"],\"limit\":10001}",
         "SELECT `we\\`ird\\\\ ?` FROM `clicks` LIMIT 10000"},
        {"{\"columns\":\"page\",\"limit\":0}", "SELECT `page` FROM `clicks` LIMIT 10000"},
        {"{\"columns\":\"page\",\"limit\":-5}", "SELECT `page` FROM `clicks` LIMIT 10000"},
        {"{\"columns\":\"page\",\"limit\":99999999999999999999999}",
         "SELECT `page` FROM `clicks` LIMIT 10000"},
        {"{\"columns\":[\"page\",\"score\"],\"order_by\":[{\"column\":\"page\",\"dir\":\"DeSc\"},{"
         "\"column\":\"score\",\"dir\":\"descending\"},{\"column\":\"u8\"}]}",
         "SELECT `page`, `score` FROM `clicks` ORDER BY `page` DESC, `score` ASC, `u8` ASC LIMIT "
         "10000"},
        {"{\"aggregations\":[{\"fn\":\"COUNTDISTINCT\",\"column\":\"page\"},{\"fn\":\"STDDEVpop\","
         "\"column\":\"score\",\"alias\":\"a`b\\\\c\"}]}",
         "SELECT countDistinct(`page`), stddevPop(`score`) AS `a\\`b\\\\c` FROM `clicks` LIMIT "
         "10000"},
        {"{\"columns\":[\"nope\"],\"select_all\":true}",
         "400 columns and select_all are mutually exclusive"},
        {"{\"select_all\":true,\"aggregations\":[{\"fn\":\"nope\"}]}",
         "400 select_all cannot be combined with aggregations"},
        {"{\"columns\":[\"page\",\"nope\"]}", "400 unknown column: nope"},
        {"{\"columns\":[\"*\"]}", "400 unknown column: *"},
        {"{\"columns\":[\"\"]}", "400 unknown column: "},
        {"{\"aggregations\":[{\"fn\":\"nope\",\"column\":\"missing\"}]}",
         "400 unknown column: missing"},
        {"{\"aggregations\":[{\"fn\":\"sleep\",\"column\":\"page\"}]}",
         "400 unsupported aggregation function: sleep"},
        {"{\"aggregations\":[{\"fn\":\"sleep\",\"column\":\"*\"}]}",
         "400 unsupported aggregation function: sleep"},
        {"{\"aggregations\":[{\"fn\":\"uniq\",\"column\":\"*\"}]}", "400 unknown column: *"},
        {"{\"columns\":\"page\",\"filters\":[{\"column\":\"nope\",\"op\":\"x\"}],\"group_by\":["
         "\"nope2\"]}",
         "400 unknown column: nope"},
        {"{\"columns\":\"page\",\"group_by\":[\"nope2\"]}", "400 unknown column: nope2"},
        {"{\"columns\":\"page\",\"order_by\":[{\"column\":\"nope3\"}]}",
         "400 unknown column: nope3"},
        {"{\"columns\":\"page\",\"order_by\":[{\"column\":\"\"}],\"aggregations\":[{\"fn\":"
         "\"count\",\"column\":\"*\"}]}",
         "400 unknown column: "},
        {"{\"columns\":\"page\",\"time_range\":{\"column\":\"nope4\"}}",
         "400 unknown column: nope4"},
        {"{\"columns\":\"page\",\"time_range\":{\"column\":\"ts\",\"until\":\"nonsense\"}}",
         "SELECT `page` FROM `clicks` LIMIT 10000"},
        {"{\"columns\":\"page\",\"time_range\":{\"since\":\"nonsense\"}}",
         "SELECT `page` FROM `clicks` LIMIT 10000"},
        /* an alias that repeats a column: ordered by the aggregation, unless grouped by the column
         */
        {"{\"columns\":[\"page\"],\"aggregations\":[{\"fn\":\"sum\",\"column\":\"score\",\"alias\":"
         "\"score\"}],\"group_by\":[\"page\"],\"order_by\":[{\"column\":\"score\"}]}",
         "SELECT `page`, sum(`score`) AS `score` FROM `clicks` GROUP BY `page` ORDER BY "
         "sum(`score`) ASC LIMIT 10000"},
    };
    CHECK(NULL, NULL, rows);
}

/* Every function in any case comes out in its one spelling. */
static void test_functions(void)
{
    static const char *const names[] = {"count",      "sum",           "avg",       "min",
                                        "max",        "countDistinct", "uniq",      "any",
                                        "argMin",     "argMax",        "median",    "quantile",
                                        "uniqExact",  "anyLast",       "varPop",    "varSamp",
                                        "groupArray", "stddevPop",     "stddevSamp"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char body[256], want[256], upper[64];
        size_t n = strlen(names[i]);
        for (size_t k = 0; k <= n; k++)
            upper[k] =
                (char)(names[i][k] >= 'a' && names[i][k] <= 'z' ? names[i][k] - 32 : names[i][k]);
        (void)snprintf(body, sizeof(body),
                       "{\"aggregations\":[{\"fn\":\"%s\",\"column\":\"score\"}]}", upper);
        (void)snprintf(want, sizeof(want), "SELECT %s(`score`) FROM `clicks` LIMIT 10000",
                       names[i]);
        is_str(said(NULL, NULL, body), want, upper);
    }
}

static const char *filtered(const char *filter)
{
    char body[2048];
    (void)snprintf(body, sizeof(body), "{\"columns\":\"page\",\"filters\":[%s]}", filter);
    const char *text = said(NULL, NULL, body);
    static const char head[] = "SELECT `page` FROM `clicks` WHERE ";
    return strncmp(text, head, sizeof(head) - 1) == 0 ? text + sizeof(head) - 1 : text;
}

/* {column, op, value as JSON, what stands in WHERE} */
struct filter {
    const char *column, *op, *value, *want;
};
static void check_filters(const struct filter *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char filter[1024], want[1024];
        (void)snprintf(filter, sizeof(filter), "{\"column\":\"%s\",\"op\":\"%s\",\"value\":%s}",
                       rows[i].column, rows[i].op, rows[i].value);
        const char *bar = strstr(rows[i].want, " | ");
        size_t n = bar != NULL ? (size_t)(bar - rows[i].want) : strlen(rows[i].want);
        bool refused = strncmp(rows[i].want, "400", 3) == 0;
        (void)snprintf(want, sizeof(want), "%.*s%s%s", (int)n, rows[i].want,
                       refused ? "" : " LIMIT 10000", bar != NULL ? bar : "");
        is_str(filtered(filter), want, filter);
    }
}

#define WHERE "400 building WHERE clause: filter on column "
#define TS    "parseDateTime64BestEffort"

static void test_parameters(void)
{
    static const struct filter rows[] = {
        {"page", "eq", "\"a\"", "`page` = {p0:String} | a"},
        {"page", "EQ", "\"a\"", "`page` = {p0:String} | a"},
        {"page", "neq", "\"a\"", "`page` != {p0:String} | a"},
        {"page", "gt", "\"a\"", "`page` > {p0:String} | a"},
        {"page", "gte", "\"a\"", "`page` >= {p0:String} | a"},
        {"page", "lt", "\"a\"", "`page` < {p0:String} | a"},
        {"page", "lte", "\"a\"", "`page` <= {p0:String} | a"},
        {"page", "like", "\"%a_\"", "`page` LIKE {p0:String} | %a_"},
        {"page", "not_like", "\"%a_\"", "`page` NOT LIKE {p0:String} | %a_"},
        {"page", "in", "[\"a\",5,true]",
         "`page` IN ({p0:String}, {p1:String}, {p2:String}) | a | 5 | true"},
        {"page", "eq", "12345678901234567890123.50e1",
         "`page` = {p0:String} | 12345678901234567890123.50e1"},
        {"page", "eq", "true", "`page` = {p0:String} | true"},
        {"page", "eq", "\"it's \\\\ {p9:String} `\"",
         "`page` = {p0:String} | it's \\ {p9:String} `"},
        {"page", "eq", "null", "`page` IS NULL"},
        {"page", "neq", "null", "`page` IS NOT NULL"},
        {"page", "gt", "null", WHERE "\"page\": filter value must not be null"},
        {"page", "in", "null", WHERE "\"page\": filter value must not be null"},
        {"page", "like", "null", WHERE "\"page\": filter value must not be null"},
        {"page", "between", "null", WHERE "\"page\": unsupported operator: between"},
        {"page", "", "1", WHERE "\"page\": unsupported operator: "},
        {"page", "eq", "{}", WHERE "\"page\": invalid value for 'eq' operator"},
        {"page", "eq", "[1]", WHERE "\"page\": invalid value for 'eq' operator"},
        {"page", "in", "\"a\"", WHERE "\"page\": invalid value for 'in' operator"},
        {"page", "in", "[]", WHERE "\"page\": invalid value for 'in' operator"},
        {"page", "in", "[[1]]", WHERE "\"page\": invalid value for 'in' operator"},
        {"page", "in", "[null]", WHERE "\"page\": invalid value for 'in' operator"},
        {"page", "in", "[{}]", WHERE "\"page\": invalid value for 'in' operator"},
        /* integers: text in range, decided beyond it, canonical when a number is whole */
        {"u8", "eq", "7", "`u8` = {p0:String} | 7"},
        {"u8", "eq", "\"7\"", "`u8` = {p0:String} | 7"},
        {"u8", "eq", "7.0", "`u8` = {p0:String} | 7"},
        {"u8", "eq", "1e2", "`u8` = {p0:String} | 100"},
        {"u8", "eq", "1.5", "`u8` = {p0:String} | 1.5"},
        {"u8", "eq", "\"1e2\"", "`u8` = {p0:String} | 1e2"},
        {"u8", "eq", "true", "`u8` = {p0:String} | 1"},
        {"u8", "eq", "256", "1 = 0"},
        {"u8", "neq", "\"256\"", "`u8` IS NOT NULL"},
        {"u8", "gt", "-1", "`u8` IS NOT NULL"},
        {"u8", "lt", "-1", "1 = 0"},
        {"u64", "lte", "18446744073709551616", "`u64` IS NOT NULL"},
        {"u64", "gte", "18446744073709551616", "1 = 0"},
        {"u64", "gte", "18446744073709551615", "`u64` >= {p0:String} | 18446744073709551615"},
        {"u8", "in", "[1,256,\"x\"]",
         "`u8` IN (accurateCastOrNull({p0:String}, 'UInt8'), accurateCastOrNull({p1:String}, "
         "'UInt8')) | 1 | x"},
        {"u8", "in", "[256]", "1 = 0"},
        {"u64", "in", "[1]", "`u64` IN (accurateCastOrNull({p0:String}, 'UInt64')) | 1"},
        {"b", "eq", "true", "`b` = {p0:String} | true"},
        {"b", "eq", "false", "`b` = {p0:String} | false"},
        {"f64", "gt", "1.50", "`f64` > {p0:String} | 1.50"},
        {"dec", "gt", "1.50", "`dec` > {p0:String} | 1.50"},
        {"dec", "eq", "true", "`dec` = {p0:String} | 1"},
        {"lc", "in", "[\"x\"]", "`lc` IN ({p0:String}) | x"},
        {"id", "in", "[\"x\"]", "`id` IN (accurateCastOrNull({p0:String}, 'UUID')) | x"},
        {"e", "in", "[\"it's\",\"zz\",1]",
         "`e` IN (accurateCastOrNull({p0:String}, 'Enum8(\\'a\\' = 1, \\'it\\\\\\'s\\' = -2)'), "
         "accurateCastOrNull({p1:String}, 'Enum8(\\'a\\' = 1, \\'it\\\\\\'s\\' = -2)')) | it's | "
         "a"},
        {"e", "in", "[\"zz\"]", "1 = 0"},
        {"e", "eq", "\"zz\"", "1 = 0"},
        {"e", "neq", "\"zz\"", "`e` IS NOT NULL"},
        {"e", "eq", "\"it's\"", "`e` = {p0:String} | it's"},
        {"dt", "gt", "\"2026-06-21T04:00:00Z\"",
         "`dt` > " TS "({p0:String}, 8) | 2026-06-21T04:00:00Z"},
        {"dz", "gt", "\"2026-06-21\"",
         "`dz` > " TS "({p0:String}, 8, 'Europe/Berlin') | 2026-06-21"},
        {"d9", "eq", "1750478400", "`d9` = " TS "({p0:String}, 9, 'UTC') | 1750478400"},
        {"d9", "lt", "\"2400-01-01T00:00:00Z\"", "`d9` IS NOT NULL"},
        {"d9", "lt", "\"1800-01-01T00:00:00Z\"", "1 = 0"},
        {"dt", "in", "[\"x\",\"y\"]",
         "(`dt` = " TS "({p0:String}, 8) OR `dt` = " TS "({p1:String}, 8)) | x | y"},
        {"ts", "in", "[\"x\"]", "(`ts` = " TS "({p0:String}, 8)) | x"},
        {"day", "eq", "\"2026-06-21\"", "`day` = toDate(" TS "({p0:String}, 8)) | 2026-06-21"},
        {"day32", "in", "[\"2026-06-21\"]",
         "`day32` IN (toDate32(" TS "({p0:String}, 8))) | 2026-06-21"},
        {"we`ird\\\\ ?", "eq", "\"?\"", "`we\\`ird\\\\ ?` = {p0:String} | ?"},
    };
    style = QUERY_PARAMETERS;
    check_filters(rows, sizeof(rows) / sizeof(rows[0]));
    is_str(filtered("{\"column\":\"page\",\"op\":\"eq\"}"),
           WHERE "\"page\": filter value must not be null", "no value at all");
}

static void test_literals(void)
{
    static const struct filter rows[] = {
        {"page", "eq", "\"it's \\\\ `\"", "`page` = 'it\\'s \\\\ `'"},
        {"page", "eq", "\"a\\u0000b\"", "`page` = 'a\\0b'"},
        {"page", "eq", "5", "`page` = '5'"},
        {"page", "like", "\"50\\\\%\"", "`page` LIKE '50\\\\%'"},
        {"page", "in", "[\"a\",5]", "`page` IN ('a', '5')"},
        {"u8", "eq", "7", "`u8` = 7"},
        {"u8", "eq", "\"7\"", "`u8` = 7"},
        {"u8", "eq", "\"7 OR 1\"", "`u8` = '7 OR 1'"},
        {"u8", "eq", "\"01\"", "`u8` = '01'"},
        {"u8", "eq", "1.5", "`u8` = '1.5'"},
        {"u8", "eq", "true", "`u8` = 1"},
        {"u8", "gt", "-1", "`u8` IS NOT NULL"},
        {"score", "gt", "-1", "`score` > -1"},
        {"u8", "in", "[1,256,\"x\",2]", "`u8` IN (1, 2)"},
        {"f64", "gt", "1.50", "`f64` > 1.50"},
        {"f64", "gt", "-1e300", "`f64` > -1e300"},
        {"dt", "eq", "1782014400", "`dt` = toDateTime(1782014400)"},
        {"f64", "gt", "\"1) OR (1\"", "`f64` > '1) OR (1'"},
        {"f64", "gt", "\"inf\"", "`f64` > 'inf'"},
        {"f32", "in", "[0.1,\"x\"]", "`f32` IN (toFloat32(0.1))"},
        {"dec", "gt", "1.5", "`dec` > toDecimal128('1.5', 2)"},
        {"dec", "gt", "1.255", "`dec` > toDecimal128('1.255', 3)"},
        {"dec", "gt", "\"abc\"", "`dec` > 'abc'"},
        {"dec", "in", "[1.25,1.255]", "`dec` IN ('1.25')"},
        {"fs", "eq", "\"ab\"", "`fs` = 'ab\\0\\0'"},
        {"fs", "in", "[\"ab\",\"abcde\"]", "`fs` IN ('ab\\0\\0')"},
        {"e", "eq", "\"zz\"", "1 = 0"},
        {"e", "neq", "\"zz\"", "`e` IS NOT NULL"},
        {"e", "eq", "-2", "`e` = 'it\\'s'"},
        {"dt", "gte", "\"2026-06-21T04:00:00Z\"", "`dt` >= toDateTime(1782014400)"},
        {"dt", "gte", "\"2026-06-21T04:00:00.5Z\"", "`dt` > toDateTime(1782014400)"},
        {"dt", "gt", "\"2026-06-21T04:00:00.5Z\"", "`dt` > toDateTime(1782014400)"},
        {"dt", "lt", "\"2026-06-21T04:00:00.5Z\"", "`dt` <= toDateTime(1782014400)"},
        {"dt", "lte", "\"2026-06-21T04:00:00.5Z\"", "`dt` <= toDateTime(1782014400)"},
        {"dt", "eq", "\"2026-06-21T04:00:00.5Z\"", "1 = 0"},
        {"dt", "lt", "\"2200-06-21T04:00:00Z\"", "`dt` IS NOT NULL"},
        {"dz", "eq", "\"2026-06-21 04:00:00\"",
         "`dz` = parseDateTimeBestEffort('2026-06-21 04:00:00', 'Europe/Berlin')"},
        {"dt", "in", "[\"2026-06-21T04:00:00Z\",\"1969-01-01T00:00:00Z\"]",
         "(`dt` = toDateTime(1782014400) OR 1 = 0)"},
        {"day", "eq", "\"2026-06-21\"", "`day` = toDate('2026-06-21')"},
        {"day", "lt", "\"2400-06-21\"", "`day` IS NOT NULL"},
        {"day", "eq", "\"2026-02-30\"", "`day` = toDate(parseDateTimeBestEffort('2026-02-30'))"},
        {"page", "neq", "null", "`page` IS NOT NULL"},
    };
    style = QUERY_LITERALS;
    check_filters(rows, sizeof(rows) / sizeof(rows[0]));
    static const struct row captures[] = {
        {"{\"columns\":[\"page\"],\"aggregations\":[{\"fn\":\"max\",\"column\":\"u8\",\"alias\":"
         "\"secret\"},{\"fn\":\"sum\",\"column\":\"score\"},{\"fn\":\"count\",\"column\":\"*\"}],"
         "\"group_by\":[\"page\"],\"order_by\":[{\"column\":\"secret\"},{\"column\":\"page\"}],"
         "\"filters\":[{\"column\":\"u8\",\"op\":\"gt\",\"value\":1}],\"limit\":3}",
         "SELECT `__0` AS `page`, max(`__1`) AS `secret`, sum(`__2`) AS `sum(score)`, count(*) "
         "FROM (SELECT `page` AS `__0`, `u8` AS `__1`, `score` AS `__2` FROM `clicks` WHERE `u8` > "
         "1) GROUP BY `__0` ORDER BY max(`__1`) ASC, `__0` ASC LIMIT 3"},
        {"{\"aggregations\":[{\"fn\":\"count\",\"column\":\"*\",\"alias\":\"u8\"},{\"fn\":\"min\","
         "\"column\":\"u8\",\"alias\":\"__1\"}]}",
         "SELECT count(*) AS `u8`, min(`___0`) AS `__1` FROM (SELECT `u8` AS `___0` FROM `clicks`) "
         "LIMIT 10000"},
        {"{\"aggregations\":[{\"fn\":\"count\",\"column\":\"*\",\"alias\":\"u8\"}]}",
         "SELECT count(*) AS `u8` FROM (SELECT 1 FROM `clicks`) LIMIT 10000"},
        {"{\"aggregations\":[{\"fn\":\"count\",\"column\":\"*\",\"alias\":\"n\"}]}",
         "SELECT count(*) AS `n` FROM `clicks` LIMIT 10000"},
    };
    CHECK(NULL, NULL, captures);
    style = QUERY_PARAMETERS;
}

static void test_time_range(void)
{
    static const struct {
        const char *column, *since, *until;
        uint64_t bucket;
        const char *want;
    } rows[] = {
        {"ts", "1h", "30m", 60,
         "`ts` >= " TS "({p0:String}, 8) AND `ts` <= " TS
         "({p1:String}, 8) | 2026-06-21T03:00:00Z | 2026-06-21T03:30:00Z"},
        {"ts", "1h", "", 0, "`ts` >= " TS "({p0:String}, 8) | 2026-06-21T03:00:30.250000000Z"},
        {"ts", "1.5h", "", 1, "`ts` >= " TS "({p0:String}, 8) | 2026-06-21T02:30:30Z"},
        {"ts", "1d12h", "", 3600, "`ts` >= " TS "({p0:String}, 8) | 2026-06-19T16:00:00Z"},
        {"ts", "2w", "", 60, "`ts` >= " TS "({p0:String}, 8) | 2026-06-07T04:00:00Z"},
        {"d9", "500ms", "", 0,
         "`d9` >= " TS "({p0:String}, 9, 'UTC') | 2026-06-21T04:00:29.750000000Z"},
        {"day", "1d", "", 60, "`day` >= toDate(" TS "({p0:String}, 8)) | 2026-06-20T04:00:00Z"},
        {"ts", "2026-06-21T06:00:59.9+02:00", "", 60,
         "`ts` >= " TS "({p0:String}, 8) | 2026-06-21T04:00:00Z"},
        {"ts", "1969-12-31T23:59:59Z", "", 60,
         "`ts` >= " TS "({p0:String}, 8) | 1969-12-31T23:59:00Z"},
        {"ts", "0001-01-01T00:00:00Z", "", 60, "`ts` IS NOT NULL"},
        {"ts", "yesterday", "", 60,
         "400 building WHERE clause: time_range since: invalid time value \"yesterday\": want an "
         "RFC3339 timestamp or a relative duration such as \"1h\", \"30m\", \"7d\", \"2w\""},
        {"ts", "2026-06-21", "", 60,
         "400 building WHERE clause: time_range since: invalid time value \"2026-06-21\": want an "
         "RFC3339 timestamp or a relative duration such as \"1h\", \"30m\", \"7d\", \"2w\""},
        {"ts", "1h", "5 m", 60,
         "400 building WHERE clause: time_range until: invalid time value \"5 m\": want an RFC3339 "
         "timestamp or a relative duration such as \"1h\", \"30m\", \"7d\", \"2w\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char body[512], want[1024];
        const char *bar = strstr(rows[i].want, " | ");
        size_t n = bar != NULL ? (size_t)(bar - rows[i].want) : strlen(rows[i].want);
        bool refused = rows[i].want[0] == '4';
        (void)snprintf(want, sizeof(want), "%s%.*s%s%s",
                       refused ? "" : "SELECT `page` FROM `clicks` WHERE ", (int)n, rows[i].want,
                       refused ? "" : " LIMIT 10000", bar != NULL ? bar : "");
        (void)snprintf(body, sizeof(body),
                       "{\"columns\":\"page\",\"time_range\":{\"column\":\"%s\",\"since\":\"%s\","
                       "\"until\":\"%s\"}}",
                       rows[i].column, rows[i].since, rows[i].until);
        bucket_s = rows[i].bucket;
        is_str(said(NULL, NULL, body), want, rows[i].since);
    }
    bucket_s = 60;
}

static void test_grants(void)
{
    static const char hides[] = "\"deny_columns\":[\"secret\"],\"denied_aggregations\":[\"MAX\"],"
                                "\"filter\":{\"page\":{\"_eq\":\"{{ jwt.org }}\"}}";
    static const struct row rows[] = {
        {"{\"columns\":[\"secret\"]}", "403 column \"secret\" not allowed"},
        {"{\"aggregations\":[{\"fn\":\"count\",\"column\":\"secret\"}]}",
         "403 column \"secret\" not allowed"},
        {"{\"columns\":\"page\",\"filters\":[{\"column\":\"secret\",\"op\":\"eq\",\"value\":1}]}",
         "403 column \"secret\" not allowed"},
        {"{\"columns\":\"page\",\"group_by\":[\"secret\"]}", "403 column \"secret\" not allowed"},
        {"{\"columns\":\"page\",\"order_by\":[{\"column\":\"secret\"}]}",
         "403 column \"secret\" not allowed"},
        {"{\"aggregations\":[{\"fn\":\"count\",\"column\":\"*\",\"alias\":\"secret\"}],\"order_"
         "by\":[{\"column\":\"secret\"}]}",
         "403 column \"secret\" not allowed"},
        {"{\"columns\":\"page\",\"time_range\":{\"column\":\"secret\"}}",
         "403 column \"secret\" not allowed"},
        {"{\"aggregations\":[{\"fn\":\"max\",\"column\":\"u8\"}]}",
         "403 aggregation \"max\" not allowed"},
        {"{\"aggregations\":[{\"fn\":\"maxx\",\"column\":\"u8\"}]}",
         "400 unsupported aggregation function: maxx"},
        {"{\"columns\":\"u8\",\"filters\":[{\"column\":\"score\",\"op\":\"gt\",\"value\":1}]}",
         "SELECT `u8` FROM `clicks` WHERE (`page` = {p0:String}) AND `score` > {p1:String} LIMIT "
         "10000 | acme | 1"},
        {"{\"select_all\":true}",
         "SELECT `page`, `score`, `ts`, `u8`, `u64`, `f32`, `f64`, `dec`, `fs`, `lc`, `b`, `dt`, "
         "`dz`, `d9`, `day`, `day32`, `id`, `e`, `ip`, `arr`, `_x`, `we\\`ird\\\\ ?` FROM `clicks` "
         "WHERE (`page` = {p0:String}) LIMIT 10000 | acme"},
    };
    CHECK(hides, "{\"org\":\"acme\"}", rows);
    is_str(said(hides, "{}", "{\"columns\":\"u8\"}"),
           "SELECT `u8` FROM `clicks` WHERE (1 = 0) LIMIT 10000", "a claim is missing");
    is_str(said("\"allow_columns\":[\"m\",\"u8\"]", NULL, "{\"select_all\":true}"),
           "SELECT `u8`, `m` FROM `clicks` LIMIT 10000", "a computed column that is named");
    is_str(said("\"allow_columns\":[\"ep\"]", NULL, "{\"select_all\":true}"),
           "403 no columns readable for role", "only a column that cannot be read");
    is_str(said("\"allow_columns\":[\"nope\"]", NULL, "{\"select_all\":true}"),
           "403 no columns readable for role", "nothing");
    is_str(said("", NULL, "{\"select_all\":true}"), "SELECT * FROM `clicks` LIMIT 10000",
           "unrestricted columns");
    /* limits */
    static const char limits[] = "\"max_rows\":50,\"max_execution_time\":\"5s\","
                                 "\"max_rows_to_read\":1000,\"max_memory_usage\":\"1KiB\"";
    is_str(said(limits, NULL, "{\"columns\":\"u8\"}"), "SELECT `u8` FROM `clicks` LIMIT 50",
           "cap of the role");
    is_u64(statement.limits.max_execution_ms, 5000, "time of the role");
    is_u64(statement.limits.max_rows_to_read, 1000, "rows to read");
    is_u64(statement.limits.max_memory_bytes, 1024, "memory");
    is_u64(statement.limits.max_result_rows, 50, "result rows");
    is_str(said(limits, NULL, "{\"columns\":\"u8\",\"limit\":7}"),
           "SELECT `u8` FROM `clicks` LIMIT 7", "below the cap");
    timeout_ms = 3000;
    max_rows = 20;
    is_str(said(limits, NULL, "{\"columns\":\"u8\",\"limit\":70}"),
           "SELECT `u8` FROM `clicks` LIMIT 20", "cap of the server");
    is_u64(statement.limits.max_execution_ms, 3000, "time of the server");
    timeout_ms = 30000;
    max_rows = 0;
    (void)said(NULL, NULL, "{\"columns\":\"u8\"}");
    is_u64(statement.limits.max_execution_ms, 30000, "nobody's: the server's time");
    is_u64(statement.limits.max_result_rows, 0, "and no more");
    ok(statement.is_prefer_column, "columns before aliases");
    is_mem(statement.tables.ptr, statement.tables.len, "clicks", 7, "its table");
    style = QUERY_LITERALS;
    is_str(said(hides, "{\"org\":\"a'c\"}",
                "{\"aggregations\":[{\"fn\":\"count\",\"column\":\"*\",\"alias\":\"page\"}]}"),
           "SELECT count(*) AS `page` FROM (SELECT 1 FROM `clicks` WHERE (`page` = 'a\\'c')) LIMIT "
           "10000",
           "an alias does not capture the row filter");
    ok(!statement.is_prefer_column, "no setting that an old server lacks");
    style = QUERY_PARAMETERS;
}

static void test_limits(void)
{
    size_t cap = 1 << 20;
    char *body = malloc(cap + LIMIT_JSON_PADDING);
    struct query_refusal no;
    size_t n = (size_t)sprintf(body, "{\"columns\":\"page\",\"filters\":[");
    for (int i = 0; i <= LIMIT_QUERY_TERMS; i++)
        n += (size_t)sprintf(body + n, "%s{\"column\":\"page\",\"op\":\"eq\",\"value\":1}",
                             i > 0 ? "," : "");
    n += (size_t)sprintf(body + n, "]}");
    ok(query_select_parse(maker, (struct slice){body, n}, &no) == QUERY_REFUSED &&
           slice_eq_str(no.text, "too many terms in one query"),
       "too many filters");
    n = (size_t)sprintf(body, "{\"columns\":\"page\",\"filters\":[{\"column\":\"page\",\"op\":"
                              "\"in\",\"value\":[1");
    for (int i = 0; i < LIMIT_QUERY_VALUES; i++)
        n += (size_t)sprintf(body + n, ",%d", i);
    n += (size_t)sprintf(body + n, "]}]}");
    struct access_decision d = {.gate = ACCESS_UNRESTRICTED};
    struct query_select_ask ask = {.catalog = catalog,
                                   .table = schema_catalog_find(catalog, SLICE_LIT("clicks")),
                                   .decision = &d,
                                   .predicates = predicates};
    ok(query_select_parse(maker, (struct slice){body, n}, &no) == QUERY_READY &&
           query_select_build(maker, &ask, &statement, &no) == QUERY_REFUSED && no.status == 400,
       "too many values");
    printf("# %.*s\n", SLICE_ARG(no.text));
    free(body);
    ok(query_style_of(SLICE_LIT("18.16.1")) == QUERY_LITERALS, "18.16");
    ok(query_style_of(SLICE_LIT("21.3.20.1")) == QUERY_LITERALS, "21.3");
    ok(query_style_of(SLICE_LIT("21.4.1.1")) == QUERY_PARAMETERS, "21.4");
    ok(query_style_of(SLICE_LIT("26.7.2.1")) == QUERY_PARAMETERS, "26.7");
    ok(query_style_of(SLICE_LIT("")) == QUERY_LITERALS, "not known");
}

int main(void)
{
    reader = json_reader_new(1 << 20);
    predicates = access_predicates_new();
    maker = query_select_new();
    query_statement_init(&statement);
    make_catalog();
    test_bodies();
    test_shape();
    test_functions();
    test_parameters();
    test_literals();
    test_time_range();
    test_grants();
    test_limits();
    query_statement_fini(&statement);
    query_select_free(maker);
    access_predicates_free(predicates);
    schema_catalog_unref(catalog);
    json_reader_free(reader);
    return tap_done();
}
