/* SPDX-License-Identifier: Apache-2.0 */
/* First byte: whose grant, and which style of server; the rest: a body. What a caller sent is
 * inside quotes or bound, the row filter stands first, and a hidden column is named nowhere but as
 * an alias. */
#include "base/limits.h"
#include "base/magic.h"
#include "query/select.h"
#include "query/sql_lex.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct schema_catalog *catalog;
static struct json_reader *reader;
static struct access_predicates *predicates;
static struct query_select *maker;
static struct query_statement statement;
static struct access_claims *claims;
#define GRANTS 3
static struct access_policy *policies[GRANTS];

static void set_up(void)
{
    static const char *const columns[][2] = {{"page", "String"},        {"score", "Int32"},
                                             {"u", "Nullable(UInt64)"}, {"f", "Float32"},
                                             {"d", "Decimal(9, 2)"},    {"fs", "FixedString(4)"},
                                             {"e", "Enum8('a' = 1)"},   {"dt", "DateTime('UTC')"},
                                             {"d9", "DateTime64(9)"},   {"day", "Date"},
                                             {"secret", "String"},      {"b", "Bool"},
                                             {"arr", "Array(String)"},  {"_x`'\\", "String"}};
    static const char *const grants[GRANTS] = {
        "\"deny_columns\":[\"secret\"]",
        ("\"deny_columns\":[\"secret\"],\"filter\":{\"page\":{\"_eq\":\"{{jwt.v}}\"}}"),
        ("\"allow_columns\":[\"page\",\"score\"],\"filter\":{\"page\":{\"_in\":\"{{jwt.l}}\"}},"
         "\"max_rows\":10")};
    struct err e;
    struct schema_builder *b = schema_builder_new();
    schema_builder_server(b, SLICE_LIT("26.7"), SLICE_LIT("UTC"));
    must(schema_builder_table(b, SLICE_LIT("t`'\\"), SLICE_LIT("MergeTree"), 0) == 0);
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        must(schema_builder_column(b, slice_str(columns[i][0]), slice_str(columns[i][1]),
                                   SLICE_LIT(""), SLICE_LIT("")) == 0);
    catalog = schema_builder_finish(b, &e);
    schema_builder_free(b);
    reader = json_reader_new(1 * MIB);
    predicates = access_predicates_new();
    maker = query_select_new();
    query_statement_init(&statement);
    char text[512 + LIMIT_JSON_PADDING];
    (void)strcpy(text, "{\"v\":\"it's `\\\\ {p0:String}\",\"l\":[\"a'\",\"b\\\\\"]}");
    must(access_claims_new(reader, slice_str(text), &claims, &e) == 0);
    for (uint32_t i = 0; i < GRANTS; i++) {
        (void)snprintf(text, sizeof(text), "{\"tables\":{\"t`'\\\\\":{\"select\":{\"r\":{%s}}}}}",
                       grants[i]);
        must(access_policy_parse(reader, slice_str(text), true, i + 1, &policies[i], &e) == 0);
    }
}

/* Every word that a statement may have outside of quotes. */
static bool is_known(struct slice word)
{
    static const char known[] =
        " SELECT FROM WHERE AND OR IN IS NOT NULL LIKE GROUP BY ORDER ASC DESC LIMIT AS String "
        "count sum avg min max countDistinct uniq uniqExact any anyLast argMin argMax groupArray "
        "median quantile stddevPop stddevSamp varPop varSamp parseDateTime64BestEffort "
        "parseDateTimeBestEffort accurateCastOrNull toDate toDate32 toDateTime toDecimal128 "
        "toFloat32 toString if ";
    char text[40];
    if (word.len == 0 || word.len > sizeof(text) - 3)
        return false;
    (void)snprintf(text, sizeof(text), " %.*s ", (int)word.len, word.ptr);
    return strstr(known, text) != NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Code is known words, numbers, values and signs. */
static void check_code(struct slice sql)
{
    struct sql_lex lex = {.place = SQL_CODE};
    for (size_t at = 0, n; at < sql.len; at += n) {
        bool was_code = lex.place == SQL_CODE;
        n = sql_lex_step(&lex, (struct slice){sql.ptr + at, sql.len - at});
        must(lex.place == SQL_CODE || lex.place == SQL_TEXT || lex.place == SQL_NAME);
        char c = sql.ptr[at];
        if (!was_code || lex.place != SQL_CODE || strchr(" ,()=<>!.*-+", c) != NULL)
            continue;
        if (c == '{') { /* {pN:String} */
            must(sql.ptr[at + 1] == 'p' && is_digit(sql.ptr[at + 2]));
            n = 2;
            while (is_digit(sql.ptr[at + n]))
                n++;
            must(sql.len - at - n >= 8 && memcmp(sql.ptr + at + n, ":String}", 8) == 0);
            n += 8;
            continue;
        }
        must(is_digit(c) || is_known((struct slice){sql.ptr + at, n}));
        for (size_t i = 1; is_digit(c) && i < n; i++)
            must(is_digit(sql.ptr[at + i]) || sql.ptr[at + i] == 'e' || sql.ptr[at + i] == 'E');
    }
    must(lex.place == SQL_CODE);
}

static bool starts(struct slice s, size_t at, const char *text)
{
    size_t n = strlen(text);
    return s.len - at >= n && memcmp(s.ptr + at, text, n) == 0;
}

/* The name stands nowhere but behind AS. */
static void check_hidden(struct slice sql, const char *quoted)
{
    struct sql_lex lex = {.place = SQL_CODE};
    for (size_t at = 0, n; at < sql.len; at += n) {
        if (lex.place == SQL_CODE && starts(sql, at, quoted))
            must(at >= 4 && memcmp(sql.ptr + at - 4, " AS ", 4) == 0);
        n = sql_lex_step(&lex, (struct slice){sql.ptr + at, sql.len - at});
    }
}

/* The first WHERE is followed by the row filter. */
static void check_filter(struct slice sql, bool is_list)
{
    struct sql_lex lex = {.place = SQL_CODE};
    size_t at = 0;
    while (at < sql.len && !(lex.place == SQL_CODE && starts(sql, at, "WHERE ")))
        at += sql_lex_step(&lex, (struct slice){sql.ptr + at, sql.len - at});
    must(at < sql.len && starts(sql, at, is_list ? "WHERE (`page` IN (" : "WHERE (`page` = "));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct query_refusal no = {0};
    if (catalog == NULL)
        set_up();
    if (size == 0 || size > 64 * KIB)
        return 0;
    uint32_t grant = data[0] % (GRANTS + 1);
    struct access_decision d = {.gate = ACCESS_UNRESTRICTED};
    struct query_select_ask ask = {
        .catalog = catalog,
        .table = schema_catalog_table(catalog, 0),
        .decision = &d,
        .claims = claims,
        .predicates = predicates,
        .terms = {data[0] & 64 ? QUERY_LITERALS : QUERY_PARAMETERS, 1782014430250000000u, 0,
                  data[0] & 32 ? 60 : 0, 30000},
    };
    if (grant < GRANTS) {
        ask.policy = policies[grant];
        d.gate = ACCESS_GRANTED;
        d.grant = access_policy_grant(ask.policy, ask.table->name, ACCESS_SELECT, SLICE_LIT("r"));
    }
    struct buf body;
    buf_init(&body, SIZE_MAX);
    buf_put(&body, data + 1, size - 1);
    must(buf_reserve(&body, LIMIT_JSON_PADDING) == 0);
    enum query_result r = query_select_parse(maker, buf_slice(&body), &no);
    if (r == QUERY_READY)
        r = query_select_build(maker, &ask, &statement, &no);
    must(r != QUERY_REFUSED || ((no.status == 400 || no.status == 403) && no.text.len > 0));
    if (r == QUERY_READY) {
        struct slice sql = buf_slice(&statement.sql);
        must(ask.terms.style == QUERY_PARAMETERS || query_statement_value_count(&statement) == 0);
        check_code(sql);
        if (grant < GRANTS)
            check_hidden(sql, "`secret`");
        if (grant == 1 || grant == 2)
            check_filter(sql, grant == 2);
    }
    buf_fini(&body);
    return 0;
}
