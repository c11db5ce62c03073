/* SPDX-License-Identifier: Apache-2.0 */
/* What structured queries and pipes come to on real servers of both generations
 * (tests/lib/servers): comparisons of every type beside what is right, cursors that skip and repeat
 * nothing, and nothing that a caller sends leaving its literal or its name. WH_CH26_DIRECT_HTTP and
 * WH_CH18_HTTP say where they are. */
#include "base/limits.h"
#include "clickhouse/http_client.h"
#include "query/pipe.h"

#include <stdlib.h>

#include "tests/lib/tap.h"

#define DATABASE "wh_query_build"
#define NOW_NS   1782014430250000000u /* 2026-06-21T04:00:30.25Z */
#define ROWS     6

static struct ch_endpoint endpoint;
static struct ch_options options;
static struct ch_http *http;
static bool modern;
static const char *zone_setting; /* of the session, or "" */
static struct schema_catalog *catalog;
static struct json_reader *reader;
static struct access_predicates *predicates;
static struct query_select *maker;
static struct query_binder *binder;
static struct query_statement statement;
static struct buf answer;

/* ---- asking ---------------------------------------------------------------------------------- */

/* The answer without its last line end, or "error CODE …". Until the next call. */
static const char *ask_server(struct slice sql, const char *settings)
{
    struct ch_error e;
    struct ch_http_request q = {.sql = sql,
                                .settings = settings,
                                .timeout_ms = 20000,
                                .response_max = 4 * MIB};
    buf_reset(&answer);
    if (ch_http_query(http, &q, &answer, &e) != CH_OK) {
        buf_reset(&answer);
        buf_printf(&answer, "error %d %s", e.code, e.text);
    }
    if (answer.len > 0 && answer.ptr[answer.len - 1] == '\n')
        answer.len--;
    buf_put_u8(&answer, 0);
    return answer.ptr;
}

static const char *sql(const char *text)
{
    return ask_server(slice_str(text), "");
}

/* As HTTP's param_… want it: TSV escapes, then percent signs. */
static void put_parameter(struct buf *out, uint32_t number, struct slice value)
{
    buf_printf(out, "&param_p%u=", number);
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        const char *escape = c == '\\' ? "%5C%5C" : c == '\t' ? "%5Ct" : c == '\n' ? "%5Cn" : NULL;
        if (escape != NULL || c == 0)
            buf_put_str(out, c == 0 ? "%5C0" : escape);
        else
            buf_printf(out, "%%%02X", c);
    }
}

/* What the server says to the statement. */
static const char *execute(void)
{
    static struct buf settings;
    if (settings.max == 0)
        buf_init(&settings, 4 * MIB);
    buf_reset(&settings);
    buf_put_str(&settings, zone_setting);
    if (statement.is_prefer_column)
        buf_put_str(&settings, "&prefer_column_name_to_alias=1");
    for (uint32_t i = 0; i < query_statement_value_count(&statement); i++)
        put_parameter(&settings, i, query_statement_value(&statement, i));
    buf_put_u8(&settings, 0);
    return ask_server(buf_slice(&statement.sql), settings.ptr);
}

static uint64_t policy_version;

/* The answer to a body about a table, as admin (grant NULL) or under a grant with claims. */
static const char *query(const char *table, const char *grant, const char *claims_text,
                         struct slice body)
{
    static char text[64 * KIB];
    struct access_policy *policy = NULL;
    struct access_claims *claims = NULL;
    struct access_decision d = {.gate = ACCESS_UNRESTRICTED};
    struct query_refusal no = {0};
    struct err e;
    struct buf room;
    buf_init(&room, 4 * MIB);
    if (grant != NULL) {
        buf_put_str(&room, "{\"tables\":{");
        buf_put_json_string(&room, slice_str(table));
        buf_printf(&room, ":{\"select\":{\"r\":{%s}}}}}", grant);
        (void)buf_reserve(&room, LIMIT_JSON_PADDING);
        if (access_policy_parse(reader, buf_slice(&room), false, ++policy_version, &policy, &e)) {
            printf("# %s\n", e.text);
            abort();
        }
        d.gate = ACCESS_GRANTED;
        d.grant = access_policy_grant(policy, slice_str(table), ACCESS_SELECT, SLICE_LIT("r"));
    }
    if (claims_text != NULL) {
        buf_reset(&room);
        buf_put_str(&room, claims_text);
        (void)buf_reserve(&room, LIMIT_JSON_PADDING);
        if (access_claims_new(reader, buf_slice(&room), &claims, &e) != 0) {
            printf("# claims: %s\n", e.text);
            abort();
        }
    }
    struct query_select_ask ask = {
        .catalog = catalog,
        .table = schema_catalog_find(catalog, slice_str(table)),
        .policy = policy,
        .decision = &d,
        .claims = claims,
        .predicates = predicates,
        .terms = {modern ? QUERY_PARAMETERS : QUERY_LITERALS, NOW_NS, 0, 60, 30000},
    };
    buf_reset(&room);
    buf_put_slice(&room, body);
    (void)buf_reserve(&room, LIMIT_JSON_PADDING);
    enum query_result r = query_select_parse(maker, buf_slice(&room), &no);
    if (r == QUERY_READY)
        r = query_select_build(maker, &ask, &statement, &no);
    if (r == QUERY_READY)
        (void)snprintf(text, sizeof(text), "%s", execute());
    else
        (void)snprintf(text, sizeof(text), "%d %.*s", no.status, SLICE_ARG(no.text));
    buf_fini(&room);
    access_policy_unref(policy);
    access_claims_unref(claims);
    return text;
}

/* ---- a table of every type that the server has ------------------------------------------------
 */

struct column {
    const char *name, *type;
    bool is_old;              /* 18.16 has the type, too */
    const char *values[ROWS]; /* in SQL, ascending; the last two may be equal */
};
static const struct column columns[] = {
    {"i8", "Int8", true, {"-128", "-1", "0", "1", "127", "127"}},
    {"u8", "UInt8", true, {"0", "1", "2", "3", "254", "255"}},
    {"i64",
     "Int64",
     true,
     {"-9223372036854775808", "-1", "0", "5", "9007199254740993", "9223372036854775807"}},
    {"u64",
     "UInt64",
     true,
     {"0", "1", "9007199254740992", "9007199254740993", "18446744073709551614",
      "18446744073709551615"}},
    {"i128",
     "Int128",
     false,
     {"toInt128('-170141183460469231731687303715884105728')", "-1", "0", "1", "2",
      "toInt128('170141183460469231731687303715884105727')"}},
    {"u256",
     "UInt256",
     false,
     {"0", "1", "2", "3", "4",
      "toUInt256('115792089237316195423570985008687907853269984665640564039457584007913129639935'"
      ")"}},
    {"f32", "Float32", true, {"-1.5", "0.1", "0.2", "1", "16777216", "1e30"}},
    {"f64", "Float64", true, {"-1e300", "-0.1", "0.1", "0.3", "123456.789", "1e300"}},
    {"dec",
     "Decimal(18, 4)",
     true,
     {"toDecimal64('-1.5', 4)", "toDecimal64('0', 4)", "toDecimal64('0.0001', 4)",
      "toDecimal64('1.25', 4)", "toDecimal64('99999999999999', 4)",
      "toDecimal64('99999999999999.9999', 4)"}},
    {"s", "String", true, {"''", "'A'", "'a'", "'a\\'b'", "'a\\\\\\\\b'", "'\xc3\xa9'"}},
    {"fs", "FixedString(4)", true, {"'a'", "'ab'", "'abc'", "'abcd'", "'b'", "'zzzz'"}},
    {"lc", "LowCardinality(String)", false, {"''", "'a'", "'b'", "'c'", "'d'", "'e'"}},
    {"b", "Bool", false, {"false", "false", "false", "true", "true", "true"}},
    {"dt",
     "DateTime",
     true,
     {"toDateTime(0)", "toDateTime(1)", "toDateTime(1782014400)", "toDateTime(1782014401)",
      "toDateTime(1793511000)", "toDateTime(1793514600)"}}, /* the hour that New York has twice */
    {"dz",
     "DateTime('America/New_York')",
     true,
     {"toDateTime(0)", "toDateTime(1)", "toDateTime(1782014400)", "toDateTime(1782014401)",
      "toDateTime(1793511000)", "toDateTime(1793514600)"}},
    {"d3",
     "DateTime64(3)",
     false,
     {"toDateTime64('1900-01-02 00:00:00', 3, 'UTC')",
      "toDateTime64('1969-12-31 23:59:59.999', 3, 'UTC')",
      "toDateTime64('2026-06-21 04:00:00', 3, 'UTC')",
      "toDateTime64('2026-06-21 04:00:00.1', 3, 'UTC')",
      "toDateTime64('2026-06-21 04:00:00.123', 3, 'UTC')",
      "toDateTime64('2299-12-31 23:59:59.999', 3, 'UTC')"}},
    {"d3z",
     "DateTime64(3, 'America/New_York')",
     false,
     {"toDateTime64('1970-01-01 00:00:00', 3, 'UTC')",
      "toDateTime64('2026-06-21 04:00:00', 3, 'UTC')",
      "toDateTime64('2026-06-21 04:00:00.001', 3, 'UTC')",
      "toDateTime64('2026-11-01 05:30:00', 3, 'UTC')",
      "toDateTime64('2026-11-01 06:30:00', 3, 'UTC')",
      "toDateTime64('2026-11-01 06:30:00.5', 3, 'UTC')"}},
    {"d9",
     "DateTime64(9)",
     false,
     {"toDateTime64('1900-01-02 00:00:00', 9, 'UTC')",
      "toDateTime64('2026-06-21 04:00:00', 9, 'UTC')",
      "toDateTime64('2026-06-21 04:00:00.000000001', 9, 'UTC')",
      "toDateTime64('2026-06-21 04:00:00.123456788', 9, 'UTC')",
      "toDateTime64('2026-06-21 04:00:00.123456789', 9, 'UTC')",
      "toDateTime64('2262-04-11 23:47:15', 9, 'UTC')"}},
    {"day",
     "Date",
     true,
     {"'1970-01-02'", "'1999-12-31'", "'2000-02-29'", "'2026-06-20'", "'2026-06-21'",
      "'2026-06-22'"}},
    {"day32",
     "Date32",
     false,
     {"'1900-01-02'", "'1969-12-31'", "'1970-01-01'", "'2026-06-21'", "'2250-01-01'",
      "'2299-12-31'"}},
    {"id",
     "UUID",
     true,
     {"'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0001-0000-000000000000'",
      "'00000000-0000-0000-0000-000000000001'", "'61f0c404-5cb3-11e7-907b-a6006ad3dba0'",
      "'61f0c404-5cb3-11e7-907b-a6006ad3dba1'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"}},
    {"e",
     "Enum8('a' = -1, 'it\\'s' = 0, 'z' = 7)",
     true,
     {"'a'", "'a'", "'it\\'s'", "'it\\'s'", "'z'", "'z'"}},
    {"ip4",
     "IPv4",
     false,
     {"'0.0.0.0'", "'1.2.3.4'", "'1.2.3.5'", "'10.0.0.1'", "'192.0.2.1'", "'255.255.255.255'"}},
    {"ip6",
     "IPv6",
     false,
     {"'::'", "'::1'", "'::2'", "'2001:db8::1'", "'2001:db8::2'", "'ffff::'"}},
    {"ns", "Nullable(String)", true, {"'a'", "'b'", "'c'", "'d'", "NULL", "NULL"}},
    {"ni", "Nullable(Int32)", true, {"-1", "0", "1", "2", "NULL", "NULL"}},
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))
#define TABLE   "we`ird\\ ? 'ta;ble'"
#define QUOTED  "`we\\`ird\\\\ ? 'ta;ble'`"

static bool has(const struct column *c)
{
    return modern || c->is_old;
}

static void make_tables(void)
{
    struct buf text;
    buf_init(&text, MIB);
    buf_put_str(&text, "CREATE TABLE " QUOTED " (k UInt32");
    for (size_t i = 0; i < COLUMNS; i++)
        if (has(&columns[i]))
            buf_printf(&text, ", %s %s", columns[i].name, columns[i].type);
    buf_put_str(&text, ") ENGINE = MergeTree ORDER BY k");
    const char *said = ask_server(buf_slice(&text), "");
    ok(said[0] == '\0', "the table is made %s", said);
    for (int row = 0; row < ROWS; row++) {
        buf_reset(&text);
        buf_printf(&text, "INSERT INTO " QUOTED " SELECT %d", row + 1);
        for (size_t i = 0; i < COLUMNS; i++)
            if (has(&columns[i]))
                buf_printf(&text, ", CAST(%s AS %s)", columns[i].values[row],
                           strcmp(columns[i].values[row], "NULL") != 0 || modern ||
                                   columns[i].type[0] == 'N'
                               ? columns[i].type
                               : "String");
        said = ask_server(buf_slice(&text), "");
        ok(said[0] == '\0', "row %d %s", row + 1, said);
    }
    said = sql("CREATE TABLE texts (k UInt32, `we``ird\\\\ ?` String, s String, secret String) "
               "ENGINE = MergeTree ORDER BY k");
    ok(said[0] == '\0', "a table of texts %s", said);
    buf_fini(&text);
}

static void discover(void)
{
    struct ch_error e;
    schema_catalog_unref(catalog);
    catalog = NULL;
    if (!ok(ch_discover(http, DATABASE, &catalog, &e) == CH_OK, "the schema is discovered"))
        exit(tap_done());
}

/* Keys of the rows that match, as "1 2 3". */
static const char *keys(const char *filters)
{
    struct buf body;
    buf_init(&body, MIB);
    buf_printf(&body, "{\"columns\":\"k\",\"order_by\":[{\"column\":\"k\"}],\"filters\":[%s]}",
               filters);
    char *text = (char *)(uintptr_t)query(TABLE, NULL, NULL, buf_slice(&body));
    buf_fini(&body);
    for (char *c = text; strncmp(text, "error", 5) != 0 && *c != '\0'; c++)
        if (*c == '\n')
            *c = ' ';
    return text;
}

/* ---- comparisons beside what is right ---------------------------------------------------------
 */

static void check_comparisons(void)
{
    static const struct {
        const char *column, *op, *value, *want; /* keys; "error": the server refuses it */
    } rows[] = {
        {"u8", "eq", "1", "2"},
        {"u8", "eq", "1.0", "2"},
        {"u8", "eq", "\"1\"", "2"},
        {"u8", "eq", "257", ""},
        {"u8", "eq", "-1", ""},
        {"u8", "neq", "257", "1 2 3 4 5 6"},
        {"u8", "gt", "-1", "1 2 3 4 5 6"},
        {"u8", "lt", "256", "1 2 3 4 5 6"},
        {"u8", "gt", "256", ""},
        {"u8", "eq", "1.5", "error"},
        {"u8", "eq", "\"x\"", "error"},
        {"u8", "eq", "true", "2"},
        {"u8", "in", "[1,257,255]", "2 6"},
        {"u8", "in", "[257]", ""},
        {"u8", "in", "[1.5]", ""},
        {"i8", "lt", "-1", "1"},
        {"i8", "gte", "-128", "1 2 3 4 5 6"},
        {"i64", "eq", "9007199254740993", "5"},
        {"i64", "eq", "9007199254740992", ""},
        {"i64", "gte", "-9223372036854775808", "1 2 3 4 5 6"},
        {"i64", "lt", "9223372036854775808", "1 2 3 4 5 6"},
        {"u64", "gt", "18446744073709551614", "6"},
        {"u64", "lt", "18446744073709551616", "1 2 3 4 5 6"},
        {"u64", "gt", "18446744073709551616", ""},
        {"u64", "in", "[9007199254740993,18446744073709551615,36893488147419103231]", "4 6"},
        {"u64", "eq", "1e2", ""},
        {"i128", "gt", "2", "6"},
        {"i128", "lt", "170141183460469231731687303715884105728", "1 2 3 4 5 6"},
        {"u256", "gte", "4", "5 6"},
        {"f32", "eq", "0.1", "2"},
        {"f32", "in", "[0.1,0.2]", "2 3"},
        {"f32", "gt", "16777215", "5 6"},
        {"f64", "eq", "0.1", "3"},
        {"f64", "eq", "\"0.1\"", "3"},
        {"f64", "in", "[0.3,\"-0.1\"]", "2 4"},
        {"f64", "lt", "-0.1", "1"},
        {"f64", "gt", "\"x\"", "error"},
        {"dec", "eq", "1.25", "4"},
        {"dec", "eq", "1.2500", "4"},
        {"dec", "gt", "0.0001", "4 5 6"},
        {"dec", "in", "[0.0001,\"1.25\"]", "3 4"},
        {"dec", "gte", "99999999999999.9999", "6"},
        {"s", "eq", "\"a'b\"", "4"},
        {"s", "eq", "\"a\\\\\\\\b\"", "5"},
        {"s", "in", "[\"\",\"\\u00e9\"]", "1 6"},
        {"s", "like", "\"a%\"", "3 4 5"},
        {"s", "not_like", "\"a%\"", "1 2 6"},
        {"s", "like", "\"_\"", "2 3 6"},
        {"s", "gt", "\"a\"", "4 5 6"},
        {"fs", "eq", "\"ab\"", "2"},
        {"fs", "eq", "\"ab\\u0000\\u0000\"", "2"},
        {"fs", "eq", "\"abcde\"", ""},
        {"fs", "in", "[\"a\",\"abcd\",\"abcde\"]", "1 4"},
        {"fs", "gt", "\"abc\"", "4 5 6"},
        {"lc", "in", "[\"a\",\"e\"]", "2 6"},
        {"lc", "gt", "\"b\"", "4 5 6"},
        {"b", "eq", "true", "4 5 6"},
        {"b", "eq", "0", "1 2 3"},
        {"b", "in", "[false]", "1 2 3"},
        {"dt", "eq", "\"2026-06-21T04:00:00Z\"", "3"},
        {"dt", "eq", "\"2026-06-21T06:00:00+02:00\"", "3"},
        {"dt", "eq", "\"2026-06-21T04:00:00.5Z\"", ""},
        {"dt", "gt", "\"2026-06-21T04:00:00.5Z\"", "4 5 6"},
        {"dt", "lt", "\"2026-06-21T04:00:00.5Z\"", "1 2 3"},
        {"dt", "gte", "\"1950-01-01T00:00:00Z\"", "1 2 3 4 5 6"},
        {"dt", "lt", "\"2200-01-01T00:00:00Z\"", "1 2 3 4 5 6"},
        {"dt", "in", "[\"2026-06-21T04:00:00Z\",\"1970-01-01T00:00:01Z\"]", "2 3"},
        {"dt", "eq", "1782014400", "3"},
        {"dt", "eq", "\"nonsense\"", "error"},
        {"dz", "eq", "\"2026-06-21 00:00:00\"", "3"},
        {"dz", "eq", "\"2026-06-21T04:00:00Z\"", "3"},
        {"dz", "gt", "\"2026-11-01T05:30:00Z\"", "6"},
        {"d3", "eq", "\"2026-06-21T04:00:00.123Z\"", "5"},
        {"d3", "eq", "\"2026-06-21T04:00:00.1234Z\"", ""},
        {"d3", "lt", "\"2026-06-21T04:00:00.1234Z\"", "1 2 3 4 5"},
        {"d3", "in", "[\"2026-06-21T04:00:00.1Z\",\"2026-06-21T04:00:00.1234Z\"]", "4"},
        {"d3", "lt", "\"2400-01-01T00:00:00Z\"", "1 2 3 4 5 6"},
        {"d3", "gt", "\"1800-01-01T00:00:00Z\"", "1 2 3 4 5 6"},
        {"d3z", "eq", "\"2026-06-21 00:00:00.001\"", "3"},
        {"d3z", "gt", "\"2026-11-01T05:30:00Z\"", "5 6"},
        {"d9", "eq", "\"2026-06-21T04:00:00.123456789Z\"", "5"},
        {"d9", "gt", "\"2026-06-21T04:00:00.123456788Z\"", "5 6"},
        {"d9", "lt", "\"2300-01-01T00:00:00Z\"", "1 2 3 4 5 6"},
        {"day", "eq", "\"2026-06-21\"", "5"},
        {"day", "in", "[\"2026-06-21\",\"2000-02-29\"]", "3 5"},
        {"day", "gt", "\"2026-06-20\"", "5 6"},
        {"day32", "eq", "\"1969-12-31\"", "2"},
        {"day32", "in", "[\"1969-12-31\",\"2250-01-01\"]", "2 5"},
        {"id", "eq", "\"61f0c404-5cb3-11e7-907b-a6006ad3dba0\"", "4"},
        {"id", "in", "[\"61f0c404-5cb3-11e7-907b-a6006ad3dba0\"]", "4"},
        {"e", "eq", "\"it's\"", "3 4"},
        {"e", "eq", "\"nope\"", ""},
        {"e", "neq", "\"nope\"", "1 2 3 4 5 6"},
        {"e", "in", "[\"it's\",\"nope\",7]", "3 4 5 6"},
        {"ip4", "eq", "\"1.2.3.4\"", "2"},
        {"ip4", "in", "[\"1.2.3.4\",\"nonsense\"]", "2"},
        {"ip6", "eq", "\"2001:db8::1\"", "4"},
        {"ns", "eq", "null", "5 6"},
        {"ns", "neq", "null", "1 2 3 4"},
        {"ns", "neq", "\"a\"", "2 3 4"},
        {"ni", "gt", "0", "3 4"},
        {"ni", "lt", "9999999999", "1 2 3 4"},
        {"ni", "neq", "9999999999", "1 2 3 4"},
        {"ni", "in", "[1,9999999999]", "3"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char filter[512];
        size_t c = 0;
        while (strcmp(columns[c].name, rows[i].column) != 0)
            c++;
        if (!has(&columns[c]))
            continue;
        (void)snprintf(filter, sizeof(filter), "{\"column\":\"%s\",\"op\":\"%s\",\"value\":%s}",
                       rows[i].column, rows[i].op, rows[i].value);
        const char *got = keys(filter);
        bool is_error = strncmp(got, "error", 5) == 0;
        if (!ok(strcmp(rows[i].want, is_error ? "error" : got) == 0, "%s %s%s",
                modern ? "26.7:" : "18.16:", filter, zone_setting))
            printf("#  got %s\n# want %s\n", got, rows[i].want);
    }
}

/* ---- cursors ----------------------------------------------------------------------------------
 */

/* The value of a column in row k as an answer has it (http-api §8.6), as JSON. */
static void put_cursor(const struct column *c, int k, struct buf *out)
{
    char text[512];
    bool is_instant = strncmp(c->type, "DateTime", 8) == 0;
    bool is_number = strncmp(c->type, "Int", 3) == 0 || strncmp(c->type, "UInt", 4) == 0 ||
                     strncmp(c->type, "Float", 5) == 0 || strncmp(c->type, "Dec", 3) == 0 ||
                     strcmp(c->type, "Bool") == 0 || strstr(c->type, "Int32") != NULL;
    (void)snprintf(text, sizeof(text),
                   is_instant ? "SELECT replaceOne(toString(toTimeZone(%s, 'UTC')), ' ', 'T') "
                                "FROM " QUOTED " WHERE k = %d FORMAT RawBLOB"
                              : "SELECT toString(%s) FROM " QUOTED " WHERE k = %d FORMAT RawBLOB",
                   c->name, k);
    if (!modern) {
        char *format = strstr(text, "RawBLOB");
        memcpy(format, "TSVRaw ", 7);
        if (is_instant)
            (void)snprintf(text, sizeof(text),
                           "SELECT replaceOne(toString(%s, 'UTC'), ' ', 'T') FROM " QUOTED
                           " WHERE k = %d FORMAT TSVRaw",
                           c->name, k);
    }
    const char *value = sql(text);
    struct slice s = {value, answer.len - 1};
    if (is_number && strcmp(c->type, "Bool") != 0)
        buf_put_slice(out, s);
    else if (strcmp(c->type, "Bool") == 0)
        buf_put_str(out, value[0] == '1' || value[0] == 't' ? "true" : "false");
    else if (is_instant) { /* of the zero an old server shows no date, our answers do */
        bool is_zero = strncmp(value, "0000-00-00", 10) == 0;
        buf_printf(out, "\"%s%sZ\"", is_zero ? "1970-01-01" : "", value + (is_zero ? 10 : 0));
    } else {
        buf_put_json_string(out, s);
    }
}

/* Page after page of one row each, as the client does: the rows come once each, in order. Equal
 * values are one page: the client skips ties by design. */
static void check_cursors(bool descending)
{
    for (size_t c = 0; c < COLUMNS; c++) {
        struct buf body;
        int k;
        if (!has(&columns[c]))
            continue;
        buf_init(&body, 64 * KIB);
        buf_printf(&body,
                   "{\"columns\":\"k\",\"limit\":1,\"order_by\":[{\"column\":\"%s\",\"dir\":\"%s\"}"
                   "],\"filters\":[{\"column\":\"%s\",\"op\":\"neq\",\"value\":null}",
                   columns[c].name, descending ? "desc" : "asc", columns[c].name);
        const char *said = "";
        char pages[1024] = "", all[1024] = "";
        for (int page = 0; page <= ROWS; page++) {
            size_t here = body.len;
            buf_put_str(&body, "]}");
            said = query(TABLE, NULL, NULL, buf_slice(&body));
            body.len = here;
            k = atoi(said);
            if (k < 1 || k > ROWS)
                break;
            (void)snprintf(pages + strlen(pages), sizeof(pages) - strlen(pages), "%s ",
                           columns[c].values[k - 1]);
            buf_printf(&body, ",{\"column\":\"%s\",\"op\":\"%s\",\"value\":", columns[c].name,
                       descending ? "lt" : "gt");
            put_cursor(&columns[c], k, &body);
            buf_put_u8(&body, '}');
        }
        for (k = descending ? ROWS : 1; k >= 1 && k <= ROWS; k += descending ? -1 : 1) {
            const char *value = columns[c].values[k - 1];
            int other = descending ? k : k - 2;
            bool is_tie =
                other >= 0 && other < ROWS && strcmp(columns[c].values[other], value) == 0;
            if (!is_tie && strcmp(value, "NULL") != 0)
                (void)snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s ", value);
        }
        if (!ok(said[0] == '\0' && strcmp(pages, all) == 0, "%s %s pages by %s %s%s",
                modern ? "26.7:" : "18.16:", columns[c].type, columns[c].name,
                descending ? "desc" : "asc", zone_setting))
            printf("#  got %s(%s)\n# want %s\n# body %.*s\n", pages, said, all,
                   SLICE_ARG(buf_slice(&body)));
        buf_fini(&body);
    }
}

/* ---- hostile texts ----------------------------------------------------------------------------
 */

/* Each tries to leave a literal, a name or an alias. */
static const struct slice hostile[] = {
    {"'", 1},
    {"''", 2},
    {"\\", 1},
    {"\\'", 2},
    {"\\\\'", 3},
    {"`", 1},
    {"\\`", 2},
    {"\"", 1},
    {"a' OR 1=1 --", 12},
    {"a\\' OR 1=1 --", 13},
    {"') OR (1=1", 10},
    {"` FROM system.tables --", 23},
    {"{p0:String}", 11},
    {"{{x}}", 5},
    {"?", 1},
    {"--\n", 3},
    {"/*", 2},
    {"*/", 2},
    {"a\nb\tc\rd\be\f", 11},
    {"a\0b", 3},
    {"\0", 1},
    {"\\0\\n\\N", 6},
    {"\xe2\x80\x98\xe2\x80\x99", 6},
    {"\xe2\x80\x99 OR 1=1 --", 13},
    {"$$", 2},
    {"%", 1},
    {"; DROP TABLE texts", 18},
    {"\xf0\x9f\x92\xa5", 4},
    {" leading and trailing ", 22},
    {"", 0},
};
#define HOSTILE (sizeof(hostile) / sizeof(hostile[0]))

static void put_hex(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        buf_printf(out, "%02X", (unsigned char)s.ptr[i]);
}

/* A JSON string that spells the bytes (buf_put_json_string, but with the real NUL). */
static void fill_texts(void)
{
    struct buf text;
    buf_init(&text, MIB);
    buf_put_str(&text, "INSERT INTO texts SELECT * FROM (");
    for (uint32_t i = 0; i < HOSTILE; i++) {
        buf_printf(&text, "%sSELECT toUInt32(%u) AS k, ", i > 0 ? " UNION ALL " : "", i);
        for (int n = 0; n < 3; n++) {
            buf_put_str(&text, n > 0 ? ", unhex('" : "unhex('");
            put_hex(&text, hostile[i]);
            buf_printf(&text, "') AS c%d", n);
        }
    }
    buf_put_str(&text, ")");
    const char *said = ask_server(buf_slice(&text), "");
    ok(said[0] == '\0', "hostile texts are stored %s", said);
    buf_fini(&text);
}

static void put_filter(struct buf *body, const char *column, const char *op, struct slice value,
                       bool is_list)
{
    buf_printf(body, "{\"column\":\"%s\",\"op\":\"%s\",\"value\":%s", column, op,
               is_list ? "[" : "");
    buf_put_json_string(body, value);
    buf_printf(body, "%s}", is_list ? "]" : "");
}

/* As a value, a list's element, an alias, a claim: exactly the row that has the text. */
static void check_hostile(void)
{
    struct buf body, claims;
    buf_init(&body, MIB);
    buf_init(&claims, MIB);
    for (uint32_t i = 0; i < HOSTILE; i++) {
        char want[32];
        (void)snprintf(want, sizeof(want), "%u", i);
        for (int way = 0; way < 3; way++) {
            buf_reset(&body);
            buf_put_str(&body, "{\"columns\":[\"k\"],\"filters\":[");
            put_filter(&body, way == 1 ? "we`ird\\\\ ?" : "s", way == 2 ? "in" : "eq", hostile[i],
                       way == 2);
            buf_put_str(&body, "]}");
            const char *got = query("texts", NULL, NULL, buf_slice(&body));
            if (!ok(strcmp(got, want) == 0, "text %u as a value, way %d", i, way))
                printf("# got %s\n# %.*s\n", got, SLICE_ARG(buf_slice(&statement.sql)));
        }
        buf_reset(&claims);
        buf_put_str(&claims, "{\"v\":");
        buf_put_json_string(&claims, hostile[i]);
        buf_put_str(&claims, "}");
        buf_put_u8(&claims, 0);
        for (int in = 0; in < 2; in++) {
            const char *got = query("texts",
                                    in ? "\"filter\":{\"s\":{\"_in\":\"{{jwt.v}}\"}}"
                                       : "\"filter\":{\"s\":{\"_eq\":\"{{jwt.v}}\"}}",
                                    claims.ptr, SLICE_LIT("{\"columns\":[\"k\"]}"));
            if (!ok(strcmp(got, want) == 0, "text %u as a claim%s", i, in ? " in a list" : ""))
                printf("# got %s\n# %.*s\n", got, SLICE_ARG(buf_slice(&statement.sql)));
        }
        /* an alias: one number comes back, whatever its name */
        buf_reset(&body);
        buf_put_str(&body, "{\"aggregations\":[{\"fn\":\"count\",\"column\":\"*\",\"alias\":");
        buf_put_json_string(&body, hostile[i]);
        buf_put_str(&body, "}],\"filters\":[{\"column\":\"k\",\"op\":\"lt\",\"value\":3}]}");
        const char *got = query("texts", NULL, NULL, buf_slice(&body));
        if (!ok(strcmp(got, "3") == 0, "text %u as an alias", i))
            printf("# got %s\n# %.*s\n", got, SLICE_ARG(buf_slice(&statement.sql)));
        /* a name of a column or a function, an operator: refused before any server sees it */
        buf_reset(&body);
        buf_put_str(&body, "{\"columns\":[");
        buf_put_json_string(&body, hostile[i]);
        buf_put_str(&body, "]}");
        ok(strncmp(query("texts", NULL, NULL, buf_slice(&body)), "400 unknown column", 18) == 0,
           "text %u as a column", i);
    }
    buf_fini(&body);
    buf_fini(&claims);
}

/* ---- row filters ------------------------------------------------------------------------------
 */

static void check_grants(void)
{
    static const char hides[] = "\"deny_columns\":[\"secret\"],"
                                "\"filter\":{\"s\":{\"_eq\":\"{{jwt.v}}\"}}";
    static const char claims[] = "{\"v\":\"?\"}";
    static const struct {
        const char *body, *want;
    } rows[] = {
        {"{\"columns\":[\"k\"]}", "14"},
        {"{\"select_all\":true}", "14\t?\t?"},
        {"{\"columns\":[\"k\"],\"filters\":[{\"column\":\"k\",\"op\":\"neq\",\"value\":null}]}",
         "14"},
        /* an alias that repeats a column of the filter, of a caller's filter, of a computed value
         */
        {"{\"aggregations\":[{\"fn\":\"count\",\"column\":\"*\",\"alias\":\"s\"}]}", "1"},
        {"{\"aggregations\":[{\"fn\":\"max\",\"column\":\"k\",\"alias\":\"s\"},{\"fn\":\"max\","
         "\"column\":\"s\",\"alias\":\"k\"}]}",
         "14\t?"},
        {"{\"columns\":[\"k\"],\"aggregations\":[{\"fn\":\"any\",\"column\":\"k\",\"alias\":\"s\"}]"
         ",\"group_by\":[\"k\"],\"order_by\":[{\"column\":\"s\"}]}",
         "14\t14"},
        {"{\"aggregations\":[{\"fn\":\"count\",\"column\":\"*\",\"alias\":\"k\"}],\"filters\":[{"
         "\"column\":\"k\",\"op\":\"gt\",\"value\":13}]}",
         "1"},
        {"{\"aggregations\":[{\"fn\":\"count\",\"column\":\"*\",\"alias\":\"secret\"}]}", "1"},
        {"{\"aggregations\":[{\"fn\":\"min\",\"column\":\"k\",\"alias\":\"k\"}],\"order_by\":[{"
         "\"column\":\"k\"}]}",
         "14"},
        {"{\"columns\":[\"secret\"]}", "403 column \"secret\" not allowed"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *got = query("texts", hides, claims, slice_str(rows[i].body));
        if (!ok(strcmp(got, rows[i].want) == 0, "%s", rows[i].body))
            printf("#  got %s\n# want %s\n# %.*s\n", got, rows[i].want,
                   SLICE_ARG(buf_slice(&statement.sql)));
    }
    /* claims that are no plain integer in range see nothing */
    static const char *const integers[] = {"\"1e3\"", "\"01\"",  "18446744073709551616",
                                           "\"1.0\"", "\" 1\"",  "\"1 \"",
                                           "256",     "257",     "-255",
                                           "\"\"",    "\"0x1\"", "\"+1\"",
                                           "null",    "{}",      "[]",
                                           "[1]"};
    for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "{\"v\":%s}", integers[i]);
        ok(query(TABLE, "\"filter\":{\"u8\":{\"_eq\":\"{{jwt.v}}\"}}", text,
                 SLICE_LIT("{\"columns\":[\"k\"]}"))[0] == '\0',
           "no row for the claim %s", integers[i]);
    }
    ok(strcmp(query(TABLE, "\"filter\":{\"u8\":{\"_eq\":\"{{jwt.v}}\"}}", "{\"v\":1.0e0}",
                    SLICE_LIT("{\"columns\":[\"k\"]}")),
              "2") == 0,
       "the number 1 in another spelling is 1");
}

static void check_functions(void)
{
    static const char *const names[] = {"count",     "sum",           "avg",     "min",
                                        "max",       "countDistinct", "uniq",    "uniqExact",
                                        "any",       "median",        "anyLast", "groupArray",
                                        "quantile",  "stddevPop",     "varPop",  "varSamp",
                                        "stddevSamp"};
    char body[256];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        for (int way = 0; way < 2; way++) {
            (void)
                snprintf(body, sizeof(body),
                         "{\"aggregations\":[{\"fn\":\"%s\",\"column\":\"u8\",\"alias\":\"%s\"}]}",
                         names[i], way ? "u8" : "");
            const char *got = query(TABLE, NULL, NULL, slice_str(body));
            ok(got[0] != '\0' && strncmp(got, "error", 5) != 0, "%s(u8)%s: %.40s", names[i],
               way ? " AS u8" : "", got);
        }
    /* with one argument the servers have no argMin: their refusal reaches the caller */
    ok(strncmp(query(TABLE, NULL, NULL,
                     SLICE_LIT("{\"aggregations\":[{\"fn\":\"argMin\",\"column\":\"u8\"}]}")),
               "error 42", 8) == 0,
       "argMin wants two arguments");
    ok(strcmp(query(TABLE, NULL, NULL,
                    SLICE_LIT("{\"columns\":\"u8\",\"aggregations\":[{\"fn\":\"sum\",\"column\":"
                              "\"k\",\"alias\":\"k\"}],\"group_by\":[\"u8\"],\"order_by\":[{"
                              "\"column\":\"k\",\"dir\":\"desc\"}],\"limit\":2}")),
              "255\t6\n254\t5") == 0,
       "ordered by an aggregation that is named as its column");
    ok(strcmp(query(TABLE, NULL, NULL,
                    SLICE_LIT(
                        "{\"columns\":[\"k\"],\"order_by\":[{\"column\":\"k\"}],\"time_range\""
                        ":{\"column\":\"dt\",\"since\":\"30s\",\"until\":\"0s\"}}")),
              "3") == 0,
       "a time range, floored");
}

/* ---- pipes ------------------------------------------------------------------------------------
 */

/* The definition's SQL with x bound to the text. */
static const char *pipe_says(const char *template_sql, struct slice value)
{
    struct buf room;
    struct err e;
    struct query_pipe *p = NULL;
    struct query_refusal no = {0};
    struct query_argument x = {SLICE_LIT("x"), value};
    buf_init(&room, MIB);
    buf_put_str(&room, "{\"sql\":");
    buf_put_json_string(&room, slice_str(template_sql));
    buf_put_str(&room, "}");
    (void)buf_reserve(&room, LIMIT_JSON_PADDING);
    if (query_pipe_parse(reader, SLICE_LIT("p"), buf_slice(&room), 0, &p, &e) != 0) {
        printf("# %s\n", e.text);
        abort();
    }
    buf_fini(&room);
    enum query_result r = query_pipe_bind(binder, p, &x, 1, SLICE_LIT(""), &statement, &no);
    query_pipe_unref(p);
    return r == QUERY_READY ? execute() : "refused";
}

static void check_pipe(struct slice value, struct buf *want)
{
    static const char *const templates[] = {
        "SELECT hex(toString({{x}}))",
        "SELECT hex('{{x}}')",
        "SELECT hex(toString({{x}})) /* {{x}} */ -- {{x}}\n WHERE 1",
        "SELECT substring(hex('a{{x}}'), 3)",
        "{% if x != 'never' %}SELECT hex(toString({{x}})) AS `a{{x}}`{% end %}",
        "SELECT hex(toString(y)) FROM (SELECT {{x}} AS y) WHERE y = {{x}}",
    };
    buf_reset(want);
    put_hex(want, value);
    buf_put_u8(want, 0);
    for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++) {
        const char *got = pipe_says(templates[i], value);
        if (strcmp(got, want->ptr) != 0) {
            ok(false, "%s gives back %s", templates[i], want->ptr);
            printf("# got %s\n# %.*s\n", got, SLICE_ARG(buf_slice(&statement.sql)));
        }
    }
}

static void check_pipes(void)
{
    struct buf want;
    uint64_t seed = 7;
    buf_init(&want, 64 * KIB);
    int before = tap_failures;
    for (uint32_t i = 0; i < HOSTILE; i++)
        check_pipe(hostile[i], &want);
    ok(tap_failures == before, "%zu hostile texts come back from pipes", HOSTILE);
    before = tap_failures;
    static const char alphabet[] = "'\\`\"-/*{}\n\r\t %x;$#e0\0\xe2\x80\x98\x99";
    for (int i = 0; i < 200; i++) {
        char text[24];
        size_t n = 0;
        for (uint64_t length = (seed >> 33) % sizeof(text); n < length;) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            text[n++] = alphabet[(seed >> 33) % (sizeof(alphabet) - 1)];
        }
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        check_pipe((struct slice){text, n}, &want);
    }
    ok(tap_failures == before, "200 random texts come back from pipes");
    ok(strcmp(pipe_says("SELECT number FROM system.numbers LIMIT {{x}}", SLICE_LIT("2")), "0\n1") ==
           0,
       "LIMIT takes a number of the query string");
    ok(strcmp(pipe_says("SELECT 5-{{x}}, 7", SLICE_LIT("-1")), "6\t7") == 0,
       "a minus before a negative number begins no comment");
    buf_fini(&want);
}

/* ---- both servers -----------------------------------------------------------------------------
 */

static uint16_t port_of(const char *variable)
{
    const char *v = getenv(variable);
    return v != NULL ? (uint16_t)atoi(v) : 0;
}

static void connect_to(uint16_t port, const char *database)
{
    ch_http_free(http);
    endpoint = (struct ch_endpoint){.host = "127.0.0.1", .port = port, .http_port = port};
    options = (struct ch_options){.endpoints = &endpoint,
                                  .endpoint_count = 1,
                                  .database = database,
                                  .username = "default",
                                  .password = "",
                                  .connect_timeout_ms = 5000,
                                  .io_timeout_ms = 20000};
    http = ch_http_new(&options);
    if (http == NULL)
        abort();
}

static void check_server(uint16_t port, bool is_modern)
{
    modern = is_modern;
    zone_setting = "";
    connect_to(port, "default");
    (void)sql("DROP DATABASE IF EXISTS " DATABASE);
    ok(sql("CREATE DATABASE " DATABASE)[0] == '\0', "a database of our own");
    connect_to(port, DATABASE);
    make_tables();
    fill_texts();
    discover();
    for (int zone = 0; zone < (modern ? 2 : 1); zone++) {
        zone_setting = zone ? "&session_timezone=America/New_York" : "";
        check_comparisons();
        check_cursors(false);
        check_cursors(true);
    }
    zone_setting = "";
    check_functions();
    check_hostile();
    check_grants();
    check_pipes();
    ok(sql("SELECT count() FROM texts")[0] != 'e', "the table is still there");
    (void)sql("DROP DATABASE " DATABASE);
}

int main(void)
{
    uint16_t new_port = port_of("WH_CH26_DIRECT_HTTP"), old_port = port_of("WH_CH18_HTTP");
    if (new_port == 0 && old_port == 0)
        return skip_all("no ClickHouse server: tests/run starts them");
    reader = json_reader_new(1 << 20);
    predicates = access_predicates_new();
    maker = query_select_new();
    binder = query_binder_new();
    query_statement_init(&statement);
    buf_init(&answer, 8 * MIB);
    if (new_port != 0)
        check_server(new_port, true);
    else
        ok(true, "26.7 # SKIP it is not there");
    if (old_port != 0)
        check_server(old_port, false);
    else
        ok(true, "18.16 # SKIP it is not there");
    ch_http_free(http);
    schema_catalog_unref(catalog);
    buf_fini(&answer);
    query_statement_fini(&statement);
    query_binder_free(binder);
    query_select_free(maker);
    access_predicates_free(predicates);
    json_reader_free(reader);
    return tap_done();
}
