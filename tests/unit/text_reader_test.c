/* SPDX-License-Identifier: Apache-2.0 */
/* CSV, TSV, Values and rows of JSON against what ClickHouse 26.7 makes of them. */
#include "base/limits.h"
#include "tests/lib/tap.h"
#include "text/text.h"

#include <stdlib.h>

static struct schema_catalog *catalog;
static struct text_reader *reader;

static void add_table(struct schema_builder *b, const char *name, const char *const (*columns)[3],
                      size_t count)
{
    bool fine = schema_builder_table(b, slice_str(name), SLICE_LIT("Memory"), 0) == 0;
    for (size_t i = 0; i < count; i++)
        fine = fine && schema_builder_column(b, slice_str(columns[i][0]), slice_str(columns[i][1]),
                                             slice_str(columns[i][2]), SLICE_LIT("1")) == 0;
    if (!fine)
        exit(99);
}
#define TABLE(b, name, columns) \
    add_table((b), (name), (columns), sizeof(columns) / sizeof((columns)[0]))

static void make_catalog(void)
{
    static const char *const two[][3] = {{"a", "Int32", ""}, {"s", "String", ""}};
    static const char *const wide[][3] = {
        {"n", "Nullable(Int32)", "DEFAULT"},
        {"d", "Int32", "DEFAULT"},
        {"m", "Int32", "MATERIALIZED"},
        {"e", "String", "EPHEMERAL"},
        {"ls", "LowCardinality(Nullable(String))", ""},
    };
    static const char *const boxes[][3] = {{"l", "Array(Nullable(Int8))", ""},
                                           {"k", "Map(String, Array(String))", ""},
                                           {"t", "Tuple(x Int8, y Nullable(String))", ""}};
    static const char *const kinds[][3] = {
        {"f", "Float64", ""},   {"b", "Bool", ""}, {"en", "Enum8('x' = 1, '7' = 2, 'y' = 7)", ""},
        {"dt", "DateTime", ""}, {"j", "JSON", ""}, {"dc", "Decimal(9, 2)", ""},
        {"u", "UInt64", ""}};
    static const char *const one[][3] = {{"s", "String", ""}};
    struct schema_builder *b = schema_builder_new();
    TABLE(b, "boxes", boxes);
    TABLE(b, "kinds", kinds);
    TABLE(b, "one", one);
    TABLE(b, "two", two);
    TABLE(b, "wide", wide);
    catalog = schema_builder_finish(b, NULL);
    schema_builder_free(b);
    reader = text_reader_new();
    if (catalog == NULL || reader == NULL)
        exit(99);
}

/* Every row as JSON, refused ones as `!code`, one after the other with a space between. */
static char *rows_of(const struct text_options *o, const char *table, const char *body, size_t len)
{
    static char out[4096];
    static char text[4096 + LIMIT_JSON_PADDING];
    size_t n = 0;
    memcpy(text, body, len);
    int rc = text_reader_begin(reader, schema_catalog_find(catalog, slice_str(table)), o,
                               (struct slice){text, len});
    if (rc != 0) {
        (void)snprintf(out, sizeof(out), "!!%d", text_reader_error(reader)->code);
        return out;
    }
    out[0] = '\0';
    for (int i = 0; i < 100; i++) {
        struct slice json;
        rc = text_reader_next(reader, &json);
        if (rc == WH_EEND)
            return out;
        const char *space = n > 0 ? " " : "";
        if (rc == 0)
            n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%.*s", space, SLICE_ARG(json));
        else
            n += (size_t)snprintf(out + n, sizeof(out) - n, "%s!%d", space,
                                  text_reader_error(reader)->code);
    }
    return out; /* goes round in circles */
}

static void is_rows(struct text_options o, const char *table, const char *body, const char *want)
{
    char name[96];
    (void)snprintf(name, sizeof(name), "%d %s: %.60s", (int)o.format, table, body);
    for (char *p = name; *p != '\0'; p++)
        if (*p == '\n' || *p == '#')
            *p = '~';
    is_str(rows_of(&o, table, body, strlen(body)), want, name);
}

static const struct text_options csv = {.format = TEXT_CSV}, tsv = {.format = TEXT_TSV},
                                 values = {.format = TEXT_VALUES},
                                 compact = {.format = TEXT_JSON_COMPACT},
                                 objects = {.format = TEXT_JSON_OBJECTS};

static void test_csv(void)
{
    is_rows(csv, "two", "1,x\n2,\"y\"\r\n3,z",
            "{\"a\":1,\"s\":\"x\"} {\"a\":2,\"s\":\"y\"} "
            "{\"a\":3,\"s\":\"z\"}");
    is_rows(csv, "two", " 1\t, a b \n\"5\" , \"c\" \n",
            "{\"a\":1,\"s\":\"a b\"} {\"a\":5,\"s\":\"c\"}");
    is_rows(csv, "two", "1,\"a \"\"b\"\"\n\xc3\xa9,\"\n",
            "{\"a\":1,\"s\":\"a \\\"b\\\"\\n\xc3\xa9,\"}");
    is_rows(csv, "two", "1,a\"b\n", "{\"a\":1,\"s\":\"a\\\"b\"}");
    is_rows(csv, "two", "1,'a'\n", "{\"a\":1,\"s\":\"'a'\"}");
    is_rows(csv, "two", "+5,x\n007,y\n-0,z\n1.5,u\nab,v\n\"\",w\n",
            "{\"a\":\"+5\",\"s\":\"x\"} {\"a\":\"007\",\"s\":\"y\"} {\"a\":-0,\"s\":\"z\"} "
            "{\"a\":1.5,\"s\":\"u\"} {\"a\":\"ab\",\"s\":\"v\"} {\"a\":0,\"s\":\"w\"}");
    is_rows(csv, "two", ",\n,x\n", "{} {\"s\":\"x\"}");
    is_rows(csv, "two", "1,a,\n2,b\n", "{\"a\":1,\"s\":\"a\"} {\"a\":2,\"s\":\"b\"}");
    is_rows(csv, "two", "1\n2,b,c\n\n3,d\n", "!27 !117 !27 {\"a\":3,\"s\":\"d\"}");
    is_rows(csv, "two", "\"1\"x,a\n2,b\n", "!27 {\"a\":2,\"s\":\"b\"}");
    is_rows(csv, "two", "1,\"a\n2,b\n", "!27");
    is_rows(csv, "two", "1,a\r2,b\n", "!117");
    is_rows(csv, "two", "1,a\xff\n2,b\n", "!117 {\"a\":2,\"s\":\"b\"}");
    is_rows(csv, "two", "1,\xed\xa0\x80\n1,\xc0\x80\n1,\xf4\x90\x80\x80\n1,\xe2\x82\n",
            "!117 !117 !117 !117");
    is_rows(csv, "two", "", "");
    is_rows(csv, "one", "\n\nx\n", "{} {} {\"s\":\"x\"}");
    is_rows(csv, "one", "\x01\x1f\x7f\\\n", "{\"s\":\"\\u0001\\u001f\x7f\\\\\"}");
    is_rows(csv, "wide", "\\N,\\N,\\N\n,,\n1,2,\"\\N\"\n",
            "{\"n\":null,\"ls\":null} {} {\"n\":1,\"d\":2,\"ls\":\"\\\\N\"}");
    is_rows(
        csv, "boxes", "\"[1,NULL, 3]\",\"{'a':['x','it''s\\n'],'b':[]}\",1,\\N\n",
        "{\"l\":[1,null,3],\"k\":{\"a\":[\"x\",\"it's\\n\"],\"b\":[]},\"t\":{\"x\":1,\"y\":null}}");
    is_rows(csv, "boxes", "[1],{},\"(2,'u')\"\n",
            "{\"l\":[1],\"k\":{},\"t\":{\"x\":2,\"y\":\"u\"}}");
    is_rows(csv, "boxes", "\"['1']\",{},1,2\n\"[1\",{},1,2\n\"[1]]\",{},1,2\n1,{},1,2\n",
            "!27 !130 !27 !130");
    is_rows(csv, "boxes", "[],\"{'a':1}\",1,2\n[],\"{'a'}\",1,2\n[],{},1\n", "!130 !27 !27");
    is_rows(csv, "kinds", "nan,yes,x,1600000000,\"{\"\"a\"\": [1]}\",1.50,18446744073709551615\n",
            "{\"f\":\"nan\",\"b\":true,\"en\":\"x\",\"dt\":\"1600000000\",\"j\":{\"a\":[1]},"
            "\"dc\":1.50,\"u\":18446744073709551615}");
    is_rows(csv, "kinds", ".5,OFF,7,,,,\n1e5,maybe,1,,,,\n",
            "{\"f\":\".5\",\"b\":false,\"en\":\"7\"} {\"f\":1e5,\"b\":\"maybe\",\"en\":1}");
    is_rows(csv, "kinds", ",,,,\"{}, \"\"u\"\": 1\",,\n,,,,\"{\",,\n", "!117 !117");
    struct text_options semicolon = csv;
    semicolon.delimiter = ';';
    is_rows(semicolon, "two", "1;a,b\n", "{\"a\":1,\"s\":\"a,b\"}");
    semicolon.delimiter = '\t';
    is_rows(semicolon, "two", "1\ta b\n\tx\n", "{\"a\":1,\"s\":\"a b\"} {\"s\":\"x\"}");
}

static void test_tsv(void)
{
    is_rows(tsv, "two", "1\tx\n2\t a b \n3\t",
            "{\"a\":1,\"s\":\"x\"} {\"a\":2,\"s\":\" a b \"} "
            "{\"a\":3,\"s\":\"\"}");
    is_rows(tsv, "two", "1\ta\\tb\\x41\\%\\0\\e\\\\\\'\\\nc\\Nd\n",
            "{\"a\":1,\"s\":\"a\\tbA\\\\%\\u0000\\u001b\\\\'\\ncd\"}");
    is_rows(tsv, "two", "\tx\n1\n2\tb\tc\n3\td\n",
            "{\"a\":0,\"s\":\"x\"} !27 !27 {\"a\":3,\"s\":\"d\"}");
    is_rows(tsv, "two", "6\\N\tx\n\\61\tx\n", "!27 !27");
    is_rows(tsv, "boxes", "null\t{}\t(1,'x')\n", "!130");
    is_rows(tsv, "two", "1\tx\r\n2\ty\n", "!117 {\"a\":2,\"s\":\"y\"}");
    is_rows(tsv, "two", "1\tx\n2\ty\r\n", "{\"a\":1,\"s\":\"x\"} {\"a\":2,\"s\":\"y\\r\"}");
    is_rows(tsv, "two", "\\N\t\\N\n1\ta\\", "{} !25");
    is_rows(tsv, "wide", "\\N\t\\N\t\\N\n", "{\"n\":null,\"ls\":null}");
    is_rows(tsv, "boxes", "[ 1 ,NULL]\t{'a':['x\ty','\\'']}\t(1,NULL)\n[\\N]\t{}\t(1,'x')\n",
            "{\"l\":[1,null],\"k\":{\"a\":[\"x\\ty\",\"'\"]},\"t\":{\"x\":1,\"y\":null}} !27");
    is_rows(tsv, "boxes", "\\N\t\\N\t\\N\n[1] \t{}\t(1,'x')\n", "{} !27");
}

static void test_values(void)
{
    is_rows(values, "two", "(1,'x'), (2,'y')\n(3,'z');\n",
            "{\"a\":1,\"s\":\"x\"} {\"a\":2,\"s\":\"y\"} {\"a\":3,\"s\":\"z\"}");
    is_rows(values, "two", " ( -5 , 'it''s \\'q\\' \\\\ \\x41\n' ) ",
            "{\"a\":-5,\"s\":\"it's 'q' \\\\ A\\n\"}");
    is_rows(values, "two",
            "('5',6),(5.0,'a'),(1e3,'b'),(0x1F,'c'),(true,'d'),(120.50e1,'e'),(1.5,'f')",
            "{\"a\":5,\"s\":\"6\"} {\"a\":5,\"s\":\"a\"} {\"a\":1000,\"s\":\"b\"} "
            "{\"a\":31,\"s\":\"c\"} "
            "{\"a\":1,\"s\":\"d\"} {\"a\":1205,\"s\":\"e\"} {\"a\":1.5,\"s\":\"f\"}");
    is_rows(values, "two", "(0E07,'x'),(00.0e-3,'y'),(-0e0,'z')",
            "{\"a\":0,\"s\":\"x\"} {\"a\":0,\"s\":\"y\"} {\"a\":-0,\"s\":\"z\"}");
    is_rows(values, "two", "(1.2.3,'x')", "!62");
    is_rows(values, "two", "(default, DEFAULT),(0.00,NULL)", "{} {\"a\":0}");
    is_rows(values, "wide", "(null,NULL,NULL),(1,2,'NULL')",
            "{\"n\":null,\"ls\":null} {\"n\":1,\"d\":2,\"ls\":\"NULL\"}");
    is_rows(values, "boxes", "([1,NULL],{'a':['b']},(1,NULL)),('[2]',{},(1,'x',))",
            "{\"l\":[1,null],\"k\":{\"a\":[\"b\"]},\"t\":{\"x\":1,\"y\":null}} "
            "{\"l\":[2],\"k\":{},\"t\":{\"x\":1,\"y\":\"x\"}}");
    static const char *const refused[] = {
        "(1,lower('x'))", "(1+1,'x')", "(now(),'x')", "(1,'a'||'b')", "(1,\"x\")",
        "(1,x)",          "(1)",       "(1,'x','y')", "(1,DEFAULTS)"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        is_rows(values, "two", refused[i], "!62");
    is_rows(values, "two", "(1,'x') y", "{\"a\":1,\"s\":\"x\"} !27");
    is_rows(values, "two", "(1,'x'); (2,'y')", "{\"a\":1,\"s\":\"x\"} !62");
    is_rows(values, "two", "(1,'x", "!26");
    is_rows(values, "two", "(1,'x\\", "!25");
    is_rows(values, "boxes", "(map('a',1),{},(1,2))", "!53");
    is_rows(values, "boxes", "([],{},(1))", "!27");
}

static void test_json(void)
{
    is_rows(compact, "two", "[1,\"a\\u0041\"]\n[2, \"b\"],\n[ 3 ,null]",
            "{\"a\":1,\"s\":\"a\\u0041\"} {\"a\":2,\"s\":\"b\"} {\"a\":3,\"s\":null}");
    is_rows(compact, "boxes", "[[1,null],{\"a\":[\"[\"]},{\"x\":1}]",
            "{\"l\":[1,null],\"k\":{\"a\":[\"[\"]},\"t\":{\"x\":1}}");
    is_rows(compact, "two", "[1]", "!27");
    is_rows(compact, "two", "[1,\"a\",2]", "!27");
    is_rows(compact, "two", "[1,\"a\"", "!27");
    is_rows(compact, "two", "{\"a\":1}", "!27");
    is_rows(compact, "two", "[1,x]", "!117");
    is_rows(objects, "two", "{\"a\":1}{\"a\":2},{\"a\":\n3}\n;", "{\"a\":1} {\"a\":2} {\"a\":\n3}");
    is_rows(objects, "two", " [ {\"a\":1} , {\"s\":\"]}\"} ] ", "{\"a\":1} {\"s\":\"]}\"}");
    is_rows(objects, "two", "[]", "");
    is_rows(objects, "two", "[{\"a\":1}", "{\"a\":1} !27");
    is_rows(objects, "two", "[{\"a\":1}]{\"a\":2}", "{\"a\":1} !117");
    is_rows(objects, "two", "1", "!27");
    is_rows(objects, "two", "{\"a\":1", "!27");
    is_rows(objects, "two", " \n", "");
}

static void test_headers(void)
{
    struct text_options o = {.format = TEXT_CSV, .header = TEXT_HEADER_NAMES};
    is_rows(o, "two", "s,a\nx,1\n", "{\"s\":\"x\",\"a\":1}");
    is_rows(o, "two", "\xef\xbb\xbf\"s\"\r\nx\r\n", "{\"s\":\"x\"}");
    is_rows(o, "two", "S,a\n", "!!117");
    is_rows(o, "two", "s,s\n", "!!117");
    is_str(text_reader_error(reader)->text, "Duplicate field found while parsing format header: s",
           "a name twice");
    is_rows(o, "two", "s,zz\n", "!!117");
    is_str(text_reader_error(reader)->text,
           "Unknown field found in format header: 'zz' at position 1\nSet the "
           "'input_format_skip_unknown_fields' parameter explicitly to ignore and proceed",
           "a name that is no column");
    is_rows(o, "wide", "e,d\nx,1\n", "{\"e\":\"x\",\"d\":1}");
    is_rows(o, "wide", "m\n", "!!117");
    is_rows(o, "two", "", "");
    is_rows(o, "two", "a,s\n", "");
    ok(text_reader_had_header(reader) && text_reader_rows(reader) == 0, "a header only");
    o.any_case = true;
    is_rows(o, "two", "S,A\nx,1\n", "{\"s\":\"x\",\"a\":1}");
    is_rows(o, "two", "S,s\n", "!!117");
    o.skip_unknown = true;
    is_rows(o, "two", "zz,S\n\"1,2\",x\n", "{\"s\":\"x\"}");

    o = (struct text_options){.format = TEXT_CSV, .header = TEXT_HEADER_SNIFF, .any_case = true};
    is_rows(o, "two", "A,s\n1,x\n", "{\"a\":1,\"s\":\"x\"}");
    is_rows(o, "two", "1,s\n2,x\n", "{\"a\":1,\"s\":\"s\"} {\"a\":2,\"s\":\"x\"}");
    ok(!text_reader_had_header(reader) && text_reader_rows(reader) == 2, "no header there");
    is_rows(o, "two", "a,s,z\n", "!117");
    o.skip_unknown = true;
    is_rows(o, "two", "a,s,z\n1,x,2\n", "{\"a\":1,\"s\":\"x\"}");

    o = (struct text_options){.format = TEXT_TSV, .header = TEXT_HEADER_NAMES_AND_TYPES};
    is_rows(o, "two", "s\ta\nString\tInt32\nx\t1\n", "{\"s\":\"x\",\"a\":1}");
    is_rows(o, "two", "s\ta\nString\tInt64\nx\t1\n", "!!117");
    is_str(text_reader_error(reader)->text, "Type of 'a' must be Int32, not Int64", "a wrong type");
    is_rows(o, "two", "s\ta\nString\n", "!!117");
    is_rows(o, "two", "s\ta\r\nString\tInt32\r\n", "!!117");
    o = (struct text_options){.format = TEXT_JSON_COMPACT, .header = TEXT_HEADER_NAMES_AND_TYPES};
    is_rows(o, "two", "[\"\\u0073\",\"a\"]\n[\"String\",\"Int32\"]\n[\"x\",1]",
            "{\"s\":\"x\",\"a\":1}");
    is_rows(o, "two", "[1]", "!!117");

    static const uint32_t backwards[] = {1, 0}, hidden[] = {3};
    o = (struct text_options){.format = TEXT_CSV, .columns = backwards, .column_count = 2};
    is_rows(o, "two", "x,1\n", "{\"s\":\"x\",\"a\":1}");
    o = (struct text_options){.format = TEXT_CSV, .columns = hidden, .column_count = 1};
    is_rows(o, "wide", "x\n", "{\"e\":\"x\"}");
    o.header = TEXT_HEADER_NAMES;
    is_rows(o, "wide", "d\n1\n", "!!117");
}

/* A row that does not end is refused at its limit, and reading goes on behind its line. */
static void test_long_row(void)
{
    size_t len = LIMIT_TEXT_ROW_BYTES + 100;
    char *body = malloc(len + 8 + LIMIT_JSON_PADDING);
    struct slice json;
    memset(body, 'x', len);
    memcpy(body, "1,", 2);
    memcpy(body + len, "\n2,b\n", 5);
    static const char quote[] = {'x', '"'};
    for (int i = 0; i < 2; i++) {
        body[2] = quote[i];
        int rc = text_reader_begin(reader, schema_catalog_find(catalog, SLICE_LIT("two")), &csv,
                                   (struct slice){body, len + 5});
        ok(rc == 0 && text_reader_next(reader, &json) == WH_ESYNTAX, "a row over the limit");
        is_str(text_reader_error(reader)->text, "A row is longer than 10485760 bytes", "says so");
        ok(text_reader_next(reader, &json) == 0 && slice_eq_str(json, "{\"a\":2,\"s\":\"b\"}"),
           "the next row is read");
        ok(text_reader_next(reader, &json) == WH_EEND, "then the end");
    }
    free(body);
}

/* JSON in a quoted field, of every length around the sizes that buffers have: what the JSON reader
 * is given has readable bytes behind it (seen by AddressSanitizer). */
static void test_json_field(void)
{
    static const struct text_options *const options[] = {&csv, &values};
    static const char *const frames[][2] = {{"\"{\"\"a\"\":\"\"", "\"\"}\"\n"},
                                            {"('{\\\"a\":\"", "\"}')\n"}};
    static const uint32_t column[] = {4} /* kinds.j */;
    uint32_t wrong = 0, rows = 0;
    for (size_t f = 0; f < 2; f++)
        for (size_t n = 200; n < 1100; n++, rows++) {
            char body[1200 + LIMIT_JSON_PADDING] = {0};
            struct slice json;
            struct text_options o = *options[f];
            o.columns = column;
            o.column_count = 1;
            size_t len = strlen(strcpy(body, frames[f][0]));
            memset(body + len, 'x', n);
            strcpy(body + len + n, frames[f][1]);
            wrong += text_reader_begin(reader, schema_catalog_find(catalog, SLICE_LIT("kinds")), &o,
                                       (struct slice){body, strlen(body)}) != 0 ||
                     text_reader_next(reader, &json) != 0 || json.len < n;
        }
    is_u64(wrong, 0, "JSON in quoted fields of every length");
    ok(rows == 1800, "%u rows", rows);
}

int main(void)
{
    make_catalog();
    test_csv();
    test_tsv();
    test_values();
    test_json();
    test_headers();
    test_long_row();
    test_json_field();
    text_reader_free(reader);
    text_reader_free(NULL);
    schema_catalog_unref(catalog);
    return tap_done();
}
