/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes: definitions, templates, values; every vector and table of pipes.md. That a value stays
 * inside its literal on real servers: tests/e2e/query_build.c. */
#include "base/limits.h"
#include "query/pipe.h"

#include <stdlib.h>

#include "tests/lib/tap.h"

static struct json_reader *reader;
static struct query_binder *binder;
static struct query_statement statement;
static char room[64 * KIB]; /* a text with the padding that readers want */

static struct slice padded(const char *text)
{
    size_t n = strlen(text);
    memcpy(room, text, n + 1);
    return (struct slice){room, n};
}

static struct query_pipe *parse(const char *name, const char *text, unsigned flags, struct err *e)
{
    struct query_pipe *p;
    struct slice n = name != NULL ? slice_str(name) : (struct slice){NULL, 0};
    return query_pipe_parse(reader, n, padded(text), flags, &p, e) == 0 ? p : NULL;
}

static void check_definitions(void)
{
    static const struct {
        const char *text;
        unsigned flags;
        const char *want; /* as GET answers it, or the refusal */
    } rows[] = {
        {"{\"sql\":\"SELECT 1\"}", 0, "{\"name\":\"p\",\"sql\":\"SELECT 1\"}"},
        {"{\"name\":\"other\",\"sql\":\"SELECT {{a}}\",\"parameters\":[{\"name\":\"a\",\"type\":"
         "\"number\",\"required\":true},{\"name\":\"b\",\"type\":\"string\",\"default\":\"x\"}],"
         "\"description\":\"d\",\"allowed_roles\":[\"\",\"viewer\"],\"cache_ttl\":0}",
         0,
         "{\"name\":\"p\",\"sql\":\"SELECT {{a}}\",\"parameters\":[{\"name\":\"a\",\"type\":"
         "\"number\",\"required\":true},{\"name\":\"b\",\"type\":\"string\",\"default\":\"x\"}],"
         "\"description\":\"d\",\"allowed_roles\":[\"viewer\"],\"cache_ttl\":0}"},
        {"{\"sql\":\"SELECT 1\",\"parameters\":[],\"allowed_roles\":null,\"x\":1}", 0,
         "{\"name\":\"p\",\"sql\":\"SELECT 1\"}"},
        {"{\"sql\":\"SELECT 1\",\"x\":1}", QUERY_PIPE_STRICT_MEMBERS, "unknown member \"x\""},
        {"{\"sql\":\"SELECT 1\",\"parameters\":[{\"name\":\"a\",\"x\":1}]}",
         QUERY_PIPE_STRICT_MEMBERS, "unknown member \"x\""},
        {"", 0, "invalid json"},
        {"[]", 0, "invalid json"},
        {"{\"sql\":5}", 0, "invalid json"},
        {"{\"sql\":\"SELECT 1\"} 1", 0, "invalid json"},
        {"{\"sql\":\"SELECT 1\",\"allowed_roles\":[1]}", 0, "invalid json"},
        {"{\"sql\":\"SELECT 1\",\"parameters\":{}}", 0, "invalid json"},
        {"{}", 0, "pipe SQL is required"},
        {"{\"sql\":\" \\n\"}", 0, "pipe SQL is required"},
        {"{\"sql\":\"SELECT 1\",\"parameters\":[{}]}", 0, "parameter name is required"},
        {"{\"sql\":\"SELECT 1\",\"parameters\":[{\"name\":\"a\"},{\"name\":\"a\"}]}", 0,
         "duplicate parameter name \"a\""},
        {"{\"sql\":\"SELECT 1\",\"parameters\":[{\"name\":\"a\",\"type\":\"number\",\"default\":"
         "\"x\"}]}",
         0, "parameter \"a\": default: expected number, got string"},
        {"{\"sql\":\"SELECT 1\",\"parameters\":[{\"name\":\"a\",\"default\":{}}]}", 0,
         "parameter \"a\": default: unsupported parameter type object"},
        {"{\"sql\":\"SELECT 1\",\"cache_ttl\":-1}", 0,
         "cache_ttl must be a whole number of seconds, at most 31622400"},
        {"{\"sql\":\"SELECT 1\",\"cache_ttl\":\"5\"}", 0,
         "cache_ttl must be a whole number of seconds, at most 31622400"},
        {"{\"sql\":\"SELECT '{{a}}'\"}", 0, "{\"name\":\"p\",\"sql\":\"SELECT '{{a}}'\"}"},
        {"{\"sql\":\"SELECT\\n '{{a}}'\"}", QUERY_PIPE_STRICT_QUOTES,
         "pipe SQL, line 2, column 3: a placeholder stands in a quoted text: write it bare, page = "
         "{{page}}"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = {0};
        struct buf out;
        buf_init(&out, 64 * KIB);
        struct query_pipe *p = parse("p", rows[i].text, rows[i].flags, &e);
        if (p != NULL)
            query_pipe_put_json(p, &out);
        else
            buf_put_str(&out, e.text);
        is_mem(out.ptr, out.len, rows[i].want, strlen(rows[i].want), rows[i].text);
        if (p != NULL) { /* what GET answers, PUT takes */
            struct buf again;
            buf_init(&again, 64 * KIB);
            buf_put_u8(&out, 0);
            struct query_pipe *q = parse(NULL, out.ptr, 0, &e);
            if (q != NULL)
                query_pipe_put_json(q, &again);
            is_mem(again.ptr, again.len, out.ptr, out.len - 1, "again");
            query_pipe_unref(q);
            buf_fini(&again);
        }
        buf_fini(&out);
        query_pipe_unref(p);
    }
    struct err e;
    ok(parse("", "{\"sql\":\"SELECT 1\"}", 0, &e) == NULL &&
           strcmp(e.text, "pipe name is required") == 0,
       "a name is required");
    struct query_pipe *p =
        parse("p", "{\"sql\":\"SELECT 1\",\"allowed_roles\":[\"\",\"a\"],\"cache_ttl\":7}", 0, &e);
    uint64_t ttl;
    ok(query_pipe_allows(p, SLICE_LIT("a")) && !query_pipe_allows(p, SLICE_LIT("A")) &&
           !query_pipe_allows(p, SLICE_LIT("")),
       "roles are exact, the empty one is nobody");
    ok(query_pipe_ttl(p, &ttl) && ttl == 7, "cache_ttl");
    query_pipe_unref(p);
    struct buf seed;
    buf_init(&seed, KIB);
    query_pipe_put_seed(&seed, SLICE_LIT("a\"b"), SLICE_LIT("SELECT\n'x'"));
    buf_put_u8(&seed, 0);
    is_str(seed.ptr, "{\"name\":\"a\\\"b\",\"sql\":\"SELECT\\n'x'\"}", "a seed");
    buf_fini(&seed);
}

/* ---- binding ---- */

#define ARGUMENTS_MAX 8

/* Declared parameters and SQL, the query string as a=b&c=d (not encoded), the body → the statement
 * or the refusal. */
static const char *bound(const char *parameters, const char *sql, const char *query,
                         const char *body)
{
    static char text[16 * KIB], query_text[KIB];
    struct query_argument arguments[ARGUMENTS_MAX];
    uint32_t count = 0;
    struct err e = {0};
    struct buf definition;
    buf_init(&definition, 64 * KIB);
    buf_put_str(&definition, "{\"sql\":");
    buf_put_json_string(&definition, slice_str(sql));
    buf_printf(&definition, ",\"parameters\":[%s]}", parameters);
    buf_put_u8(&definition, 0);
    struct query_pipe *p = parse("p", definition.ptr, 0, &e);
    buf_fini(&definition);
    if (p == NULL) {
        (void)snprintf(text, sizeof(text), "%s", e.text);
        return text;
    }
    (void)snprintf(query_text, sizeof(query_text), "%s", query);
    char *save = NULL;
    for (char *a = strtok_r(query_text, "&", &save); a != NULL; a = strtok_r(NULL, "&", &save)) {
        char *equal = strchr(a, '=');
        arguments[count++] =
            (struct query_argument){{a, (size_t)(equal - a)}, slice_str(equal + 1)};
    }
    struct query_refusal no = {0};
    enum query_result r =
        query_pipe_bind(binder, p, arguments, count, padded(body), &statement, &no);
    if (r == QUERY_READY)
        (void)snprintf(text, sizeof(text), "%.*s", SLICE_ARG(buf_slice(&statement.sql)));
    else
        (void)snprintf(text, sizeof(text), "%d %.*s", no.status, SLICE_ARG(no.text));
    query_pipe_unref(p);
    return text;
}

struct row {
    const char *parameters, *sql, *query, *body, *want;
};
static void check_bound(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char name[512];
        (void)snprintf(name, sizeof(name), "%s + %s%s", rows[i].sql, rows[i].query, rows[i].body);
        is_str(bound(rows[i].parameters, rows[i].sql, rows[i].query, rows[i].body), rows[i].want,
               name);
    }
}
#define CHECK(rows) check_bound((rows), sizeof(rows) / sizeof((rows)[0]))

#define P(name, more) "{\"name\":\"" name "\"" more "}"

static void check_values(void)
{
    static const struct row rows[] = {
        /* the vectors of pipes.md §4 */
        {"", "{{limit:10}}", "", "", "10"},
        {"", "{{since:2024-01-01}}", "", "", "'2024-01-01'"},
        {"", "page IN {{p}}", "", "{\"p\":[\"/a\",\"it's\"]}", "page IN ('/a', 'it''s')"},
        {"", "{{x}}", "x=a\\' OR 1=1 --", "", "'a\\\\'' OR 1=1 --'"},
        {"", "{{n}}", "", "{\"n\":42.0}", "42"},
        {"", "{{n}}", "", "{\"n\":9007199254740993}", "9007199254740993"},
        /* values */
        {"", "{{x}}", "", "{\"x\":null}", "NULL"},
        {"", "{{x}} {{y}}", "", "{\"x\":true,\"y\":false}", "1 0"},
        {"", "{{x}}", "", "{\"x\":1.50e1}", "15"},
        {"", "{{x}}", "", "{\"x\":1.250}", "1.25"},
        {"", "{{x}}", "", "{\"x\":1e-7}", "0.0000001"},
        {"", "{{x}}", "", "{\"x\":-5}", "-5"},
        {"", "{{x}}", "", "{\"x\":123456789012345678901234567890}",
         "123456789012345678901234567890"},
        {"", "{{x}}", "x=10", "", "10"},
        {"", "{{x}}", "x=-1.5e+3", "", "-1.5e+3"},
        {"", "{{x}}", "x=1_000", "", "'1_000'"},
        {"", "{{x}}", "x=Inf", "", "'Inf'"},
        {"", "{{x}}", "x=NaN", "", "'NaN'"},
        {"", "{{x}}", "x=0x1p-2", "", "'0x1p-2'"},
        {"", "{{x}}", "x=+1", "", "'+1'"},
        {"", "{{x}}", "x=01", "", "'01'"},
        {"", "{{x}}", "x=1.", "", "'1.'"},
        {"", "{{x}}", "x=.5", "", "'.5'"},
        {"", "{{x}}", "x=1e", "", "'1e'"},
        {"", "{{x}}", "x=-", "", "'-'"},
        {"", "{{x}}", "x=1 OR 1", "", "'1 OR 1'"},
        {"", "{{x}}", "x=", "", "''"},
        {"", "{{x}}", "", "{\"x\":\"a\\nb\\u00e9\\\"\"}", "'a\nb\xc3\xa9\"'"},
        {"", "{{x}}", "", "{\"x\":[1,\"a\",[true,null]]}", "(1, 'a', (1, NULL))"},
        {"", "{{x}}", "", "{\"x\":[]}", "400 parameter \"x\": array parameter must not be empty"},
        {"", "{{x}}", "", "{\"x\":[[]]}", "400 parameter \"x\": array parameter must not be empty"},
        {"", "{{x}}", "", "{\"x\":{}}", "400 parameter \"x\": unsupported parameter type object"},
        {"", "{{x}}", "", "{\"x\":[1,{}]}",
         "400 parameter \"x\": unsupported parameter type object"},
        {"", "5-{{x}}", "x=-1", "", "5- -1"},
        /* where values come from */
        {"", "{{x}}", "x=1&x=2", "", "1"},
        {"", "{{x}}", "x=1", "{\"x\":2}", "2"},
        {"", "{{x}}", "x=1", "{\"x\":2,\"x\":3}", "3"},
        {"", "{{x}}", "x=1", "[2]", "1"},
        {"", "{{x}}", "x=1", "{\"x\":", "1"},
        {"", "{{x}}", "x=1", "{\"x\":2} 5", "1"},
        {"", "{{x}}", "x=1", "{\"\\u0078\":2}", "2"},
        {"", "{{token}}", "token=1", "", "400 missing required parameter: token"},
        {"", "{{x}}", "", "", "400 missing required parameter: x"},
        {"", "{{x:}}", "", "", "400 missing required parameter: x"},
        {"", "{{x: a b }}", "", "", "' a b '"},
        {P("x", ",\"default\":7"), "{{x:8}}", "", "", "7"},
        {P("x", ",\"default\":7"), "{{x:8}}", "", "{\"x\":null}", "NULL"},
        {P("x", ""), "{{x:8}}", "", "", "8"},
        {P("x", ""), "{{x}}", "", "", "NULL"},
        {P("x", ",\"default\":null"), "{{x}}", "", "", "NULL"},
        {P("x", ",\"required\":true,\"default\":7"), "{{x}}", "", "",
         "400 missing required parameter: x"},
        {P("x", ",\"required\":true"), "SELECT 1", "", "", "400 missing required parameter: x"},
        {P("x", ",\"required\":true"), "SELECT 1", "", "{\"x\":null}", "SELECT 1"},
        /* the template: one pass, and what does not match is left alone */
        {"", "{{x}}", "x={{y}}", "", "'{{y}}'"},
        {"", "{{ x }} {{x-y}} {{}} {{x} }}", "x=1", "", "{{ x }} {{x-y}} {{}} {{x} }}"},
        {"", "{{{x}}}", "x=1", "", "{1}"},
        {"", "{{x}}{{x}}", "x=a", "", "'a''a'"},
        {"", "a {{x:1:2}} b", "", "", "a '1:2' b"},
        {"", "%\nSELECT {{x}}", "x=1", "", "\nSELECT 1"},
        /* in quotes and comments the value stays there */
        {"", "'{{x}}'", "x=it's \\", "", "'it''s \\\\'"},
        {"", "`{{x}}`", "x=a`b\\", "", "`a\\`b\\\\`"},
        {"", "\"{{x}}\"", "x=a\"b", "", "\"a\\\"b\""},
        {"", "'%{{x}}%'", "x=5", "", "'%5%'"},
        {"", "'it''s {{x}}' {{x}}", "x=a'", "", "'it''s a''' 'a'''"},
        {"", "SELECT 1 -- {{x}}\n, {{x}}", "", "{\"x\":\"a\\nb\"}", "SELECT 1 -- 'a b'\n, 'a\nb'"},
        {"", "SELECT 1 /* {{x}} */", "x=*/ DROP", "", "SELECT 1 /* '   DROP' */"},
        {"", "$$ {{x}} $$", "x=1", "",
         "pipe SQL, line 1, column 4: a placeholder cannot be escaped in a heredoc"},
        {"", "\xe2\x80\x98{{x}}\xe2\x80\x99", "x=1", "",
         "pipe SQL, line 1, column 4: a placeholder cannot be escaped in typographic quotes"},
        {"", "${{x}}$", "x=1", "", "pipe SQL, line 1, column 2: a placeholder may not follow $"},
    };
    CHECK(rows);
}

#define T(type)         P("x", ",\"type\":\"" type "\"")
#define NOT(type, kind) "400 parameter \"x\": expected " type ", got " kind

static void check_types(void)
{
    static const struct row rows[] = {
        {T("string"), "{{x}}", "x=10", "", "'10'"},
        {T("string"), "{{x}}", "", "{\"x\":\"a\"}", "'a'"},
        {T("string"), "{{x}}", "", "{\"x\":5}", NOT("string", "number")},
        {T("string"), "{{x}}", "", "{\"x\":true}", NOT("string", "boolean")},
        {T("string"), "{{x}}", "", "{\"x\":null}", "NULL"},
        {T("number"), "{{x}}", "x=10", "", "10"},
        {T("number"), "{{x}}", "", "{\"x\":5.0}", "5"},
        {T("number"), "{{x}}", "", "{\"x\":\"5.0\"}", "5.0"},
        {T("number"), "{{x}}", "x=a", "", NOT("number", "string")},
        {T("number"), "{{x}}", "", "{\"x\":[1]}", NOT("number", "array")},
        {T("boolean"), "{{x}}", "x=true", "", "1"},
        {T("boolean"), "{{x}}", "x=0", "", "0"},
        {T("boolean"), "{{x}}", "", "{\"x\":false}", "0"},
        {T("boolean"), "{{x}}", "", "{\"x\":\"1\"}", "1"},
        {T("boolean"), "{{x}}", "x=yes", "", NOT("boolean", "string")},
        {T("boolean"), "{{x}}", "", "{\"x\":1}", NOT("boolean", "number")},
        {T("array"), "{{x}}", "x=1", "", NOT("array", "string")},
        {T("array"), "{{x}}", "", "{\"x\":[1,\"2\",\"a\"]}", "(1, 2, 'a')"},
        {T("array"), "{{x}}", "", "{\"x\":5}", NOT("array", "number")},
        {T("array"), "{{x}}", "", "{\"x\":{}}", NOT("array", "object")},
        {T("date"), "{{x}}", "x=10", "", "10"},
        {T("string"), "{{x:10}}", "", "", "10"}, /* inline defaults are untyped */
        {P("x", ",\"type\":\"string\",\"default\":\"10\""), "{{x}}", "", "", "'10'"},
    };
    CHECK(rows);
}

#define AT(where) "pipe SQL, line 1, column " where ": "

static void check_conditions(void)
{
    static const char one[] =
        "a{% if defined(x) %}b{% elif y == 'k' or not y %}c{% else %}d{% end %}e";
    static const char nested[] = "{% if x %}1{% if y %}2{% else %}3{% end %}4{%else%}5{%end%}";
    static const struct row rows[] = {
        {"", one, "x=1", "", "abe"},
        {"", one, "y=k", "", "ace"},
        {"", one, "y=z", "", "ade"},
        {"", one, "", "", "ace"},
        {"", one, "", "{\"x\":null,\"y\":\"z\"}", "ade"},
        {"", nested, "x=1&y=1", "", "124"},
        {"", nested, "x=1", "", "134"},
        {"", nested, "y=1", "", "5"},
        {"", "{% if x == 5 %}t{% end %}", "x=5.0", "", "t"},
        {"", "{% if x == 5 %}t{% end %}", "", "{\"x\":5}", "t"},
        {"", "{% if x != 5 %}t{% end %}", "", "{\"x\":5}", ""},
        {"", "{% if x == true %}t{% end %}", "", "{\"x\":true}", "t"},
        {"", "{% if x == true %}t{% end %}", "x=false", "", ""},
        {"", "{% if x == null %}t{% end %}", "", "", "t"},
        {"", "{% if x == \"it's\" %}t{% endif %}", "x=it's", "", "t"},
        {"", "{% if x == '%}' %}t{% end %}", "x=%}", "", "t"},
        {"", "{% if x %}t{% end %}", "x=0", "", ""},
        {"", "{% if x %}t{% end %}", "x=false", "", ""},
        {"", "{% if x %}t{% end %}", "", "{\"x\":[1]}", "t"},
        {"", "{% if not (a and b) or c %}t{% end %}", "a=1&b=1", "", ""},
        {"", "{% if not (a and b) or c %}t{% end %}", "a=1&b=1&c=1", "", "t"},
        {"", "{% if true and not false %}t{% end %}", "", "", "t"},
        {P("x", ",\"default\":\"k\""), "{% if x == 'k' %}t{% end %}{% if defined(x) %}u{% end %}",
         "", "", "t"},
        /* a placeholder that is not reached needs no value */
        {"", "{% if defined(x) %}{{x}}{% else %}none{% end %}", "", "", "none"},
        {"", "{% if not defined(x) %}{{ error('say \\'x\\' please') }}{% end %}", "", "",
         "400 say 'x' please"},
        {"", "{{error(\"no\")}}", "", "", "400 no"},
        {"", "{{ error }}", "", "", "{{ error }}"},
        {"", "{{error}}", "error=1", "", "1"},
        /* tags in quotes and comments are text */
        {"", "'{% if %}' -- {% else %}\n/* {% end %} */", "", "",
         "'{% if %}' -- {% else %}\n/* {% end %} */"},
        /* mistakes */
        {"", "{% if x %}", "", "", AT("1") "an if is not ended by {% end %}"},
        {"", "a{% end %}", "", "", AT("2") "end without an if before it"},
        {"", "{% else %}", "", "", AT("1") "else without an if before it"},
        {"", "{% if x %}{% else %}{% elif y %}{% end %}", "", "",
         AT("21") "elif without an if before it"},
        {"", "{% fi x %}", "", "", AT("1") "unknown tag \"fi\": there are if, elif, else and end"},
        {"", "{% if x", "", "", AT("1") "a tag {% is not ended by %}"},
        {"", "{% if %}", "", "",
         AT("7") "expected a condition: defined(name), name, name == 'text', not, and, or, "
                 "parentheses"},
        {"", "{% if x == y %}", "", "",
         AT("12") "expected a quoted text, a number, true, false or null"},
        {"", "{% if x > 5 %}", "", "", AT("9") "unexpected \"> 5 \""},
        {"", "{% if (x %}", "", "", AT("10") "expected )"},
        {"", "{% if defined x %}", "", "", AT("15") "unexpected \"x \""},
        {"", "{{ error(5) }}", "", "", AT("1") "expected error('words')"},
        {"", "{{ error('a' }}", "", "", AT("1") "expected error('words')"},
    };
    CHECK(rows);
}

static void check_verbs(void)
{
    static const char *const writing[] = {"INSERT INTO t SELECT 1",
                                          "  insert into t values (1)",
                                          "-- c\n/* d */ ((DELETE FROM t WHERE 1",
                                          "ALTER TABLE t DELETE WHERE 1",
                                          "WITH 1 AS x INSERT INTO t SELECT x",
                                          "WITH (SELECT 1) AS select2 INSERT INTO t SELECT 1",
                                          "# x\nsystem flush logs",
                                          "SET a = 1",
                                          "# x\n( OPTIMIZE TABLE t"};
    static const char *const reading[] = {"SELECT 1",
                                          "",
                                          "(SELECT 1)",
                                          "WITH 1 AS insert SELECT insert",
                                          "WITH replace('a', 'b', 'c') AS x SELECT x",
                                          "/* INSERT */ SELECT 1",
                                          "WITH x AS (SELECT 'INSERT') SELECT * FROM x",
                                          "EXPLAIN SELECT 1",
                                          "SHOW TABLES",
                                          "DESCRIBE t",
                                          "'INSERT'",
                                          "inserted"};
    for (size_t i = 0; i < sizeof(writing) / sizeof(writing[0]); i++)
        ok(query_sql_writes(slice_str(writing[i])), "writes: %s", writing[i]);
    for (size_t i = 0; i < sizeof(reading) / sizeof(reading[0]); i++)
        ok(!query_sql_writes(slice_str(reading[i])), "reads: %s", reading[i]);
    (void)bound("", "{% if w %}INSERT INTO t{% else %}SELECT 1{% end %}", "w=1", "");
    ok(statement.writes, "a branch that writes");
    (void)bound("", "{% if w %}INSERT INTO t{% else %}SELECT 1{% end %}", "", "");
    ok(!statement.writes, "and one that reads");
}

static void note(void *arg, const char *text)
{
    strcat(strcat(arg, text), "\n");
}

static void check_warnings(void)
{
    static char text[4096];
    struct err e;
    struct query_pipe *p = parse("p",
                                 "{\"sql\":\"SELECT '{{a}}' -- {{b}}\\n{{ c }} {{d}}\","
                                 "\"parameters\":[{\"name\":\"d\"},{\"name\":\"z\"}]}",
                                 0, &e);
    is_u64(query_pipe_warn(p, note, text), 4, "warnings");
    is_str(text,
           "pipe SQL, line 1, column 9: placeholder {{a}} stands in quotes: write it bare, it "
           "brings its own quotes\n"
           "pipe SQL, line 1, column 19: placeholder {{b}} stands in a comment: its value is "
           "written there, too\n"
           "pipe SQL, line 2, column 1: {{ begins no placeholder and is left as it is: there are "
           "{{name}}, {{name:default}} and {{ error('text') }}\n"
           "parameter \"z\" is not named in the SQL\n",
           "their words");
    query_pipe_unref(p);
}

static void check_limits(void)
{
    static char sql[60 * KIB];
    size_t n = 0;
    for (int i = 0; i < LIMIT_PIPE_PARTS + 1; i++)
        n += (size_t)sprintf(sql + n, "{{x}},");
    ok(strstr(bound("", sql, "x=1", ""), "more than 4096 placeholders and tags") != NULL,
       "placeholders");
    n = 0;
    for (int i = 0; i < LIMIT_PIPE_NAMES + 1; i++)
        n += (size_t)sprintf(sql + n, "{{x%d}}", i);
    ok(strstr(bound("", sql, "", ""), "more than 512 names") != NULL, "names");
    n = 0;
    for (int i = 0; i < LIMIT_PIPE_DEPTH + 1; i++)
        n += (size_t)sprintf(sql + n, "{%% if x %%}");
    ok(strstr(bound("", sql, "", ""), "ifs are nested more than 32 deep") != NULL, "ifs");
    n = (size_t)sprintf(sql, "{%% if ");
    for (int i = 0; i < LIMIT_PIPE_DEPTH + 1; i++)
        n += (size_t)sprintf(sql + n, "(");
    (void)sprintf(sql + n, " %%}");
    ok(strstr(bound("", sql, "", ""), "conditions are nested more than 32 deep") != NULL, "depth");
    n = (size_t)sprintf(sql, "{%% if x");
    for (int i = 0; i < LIMIT_PIPE_PARTS + 1; i++)
        n += (size_t)sprintf(sql + n, " or x");
    (void)sprintf(sql + n, " %%}");
    ok(strstr(bound("", sql, "", ""), "more than 4096 conditions") != NULL, "conditions");
    /* a small template and a large value */
    char *body = malloc(MIB);
    struct err e;
    n = 0;
    for (int i = 0; i < 50; i++)
        n += (size_t)sprintf(sql + n, "{{x}}");
    char definition[KIB];
    (void)snprintf(definition, sizeof(definition), "{\"sql\":\"%.500s\"}", sql);
    struct query_pipe *p = parse("p", definition, 0, &e);
    struct query_refusal no = {0};
    n = (size_t)sprintf(body, "{\"x\":\"");
    memset(body + n, 'a', 500 * KIB);
    n += 500 * KIB;
    n += (size_t)sprintf(body + n, "\"}");
    ok(query_pipe_bind(binder, p, NULL, 0, (struct slice){body, n}, &statement, &no) ==
               QUERY_REFUSED &&
           slice_eq_str(no.text, "the statement is too long"),
       "a statement over its limit");
    query_pipe_unref(p);
    free(body);
}

static void check_set(void)
{
    struct query_pipes *s = query_pipes_new();
    static const char *const names[] = {"m", "a", "z", "mm", "m"};
    struct err e;
    bool all = true;
    for (int i = 0; i < 5; i++)
        all &= query_pipes_take(s, parse(names[i], "{\"sql\":\"SELECT 1\"}", 0, &e));
    ok(all, "pipes are taken");
    is_u64(query_pipes_count(s), 4, "of one name there is one");
    const char *order[] = {"a", "m", "mm", "z"};
    for (uint32_t i = 0; i < 4; i++)
        ok(slice_eq_str(query_pipe_name(query_pipes_at(s, i)), order[i]), "place %u", i);
    ok(query_pipes_find(s, SLICE_LIT("mm")) == query_pipes_at(s, 2), "found");
    ok(query_pipes_find(s, SLICE_LIT("b")) == NULL, "not found");
    query_pipes_unref(s);
}

/* "names, each with a space; how many places are not resolved". */
static void check_tables(void)
{
    static const struct {
        const char *sql, *want;
    } rows[] = {
        {"SELECT 1", "0"},
        {"SELECT a FROM t", "t 0"},
        {"SELECT a FROM `t` AS x JOIN \"u v\" USING (a)", "t u v 0"},
        {"SELECT a FROM db.t, u", "t 1"},
        {"SELECT a FROM t, w.u", "t 1"},
        {"SELECT a FROM other.t", "t 1"},
        {"SELECT a FROM t WHERE b IN (SELECT c FROM t2) AND d IN (1, 2)", "t t2 0"},
        {"SELECT a FROM t WHERE b IN t2", "t t2 0"},
        {"SELECT a FROM t WHERE b IN nowhere", "t 1"},
        {"WITH x AS (SELECT 1 FROM t) SELECT * FROM x", "t 0"},
        {"SELECT * FROM (SELECT * FROM t) ORDER BY a, b LIMIT 1, 2", "t 0"},
        {"SELECT * FROM numbers(10)", "1"},
        {"SELECT dictGet('d', 'a', 1) FROM t", "t 1"},
        {"SELECT dictionary FROM t", "t 0"},
        {"SELECT 't2' FROM t -- FROM nowhere\n/* FROM x */", "t 0"},
        {"SELECT * FROM 't'", "1"},
        {"SELECT a FROM nowhere", "1"},
        {"SELECT a, t2 FROM t UNION ALL SELECT b, c FROM t2", "t2 t t2 0"},
    };
    struct schema_builder *b = schema_builder_new();
    struct err e;
    static const char *const tables[] = {"t", "t2", "u v"};
    int rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = schema_builder_table(b, slice_str(tables[i]), SLICE_LIT("MergeTree"), 0);
        if (rc == 0)
            rc = schema_builder_column(b, SLICE_LIT("a"), SLICE_LIT("String"), SLICE_LIT(""),
                                       SLICE_LIT(""));
    }
    struct schema_catalog *catalog = rc == 0 ? schema_builder_finish(b, &e) : NULL;
    schema_builder_free(b);
    for (size_t i = 0; catalog != NULL && i < sizeof(rows) / sizeof(rows[0]); i++) {
        char got[256] = "";
        query_statement_reset(&statement);
        uint32_t n = query_sql_tables(slice_str(rows[i].sql), catalog, SLICE_LIT("db"), &statement);
        for (size_t at = 0; at < statement.tables.len; at += strlen(statement.tables.ptr + at) + 1)
            (void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s ",
                           statement.tables.ptr + at);
        (void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%u", n);
        is_str(got, rows[i].want, rows[i].sql);
        ok(statement.tables_unknown == (n > 0), "and that is known");
    }
    schema_catalog_unref(catalog);
}

int main(void)
{
    reader = json_reader_new(1 << 20);
    binder = query_binder_new();
    query_statement_init(&statement);
    check_definitions();
    check_values();
    check_types();
    check_conditions();
    check_verbs();
    check_warnings();
    check_limits();
    check_set();
    check_tables();
    query_statement_fini(&statement);
    query_binder_free(binder);
    json_reader_free(reader);
    return tap_done();
}
