/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for dead letters: what each does to a record, and what is refused with which words. */
#include "base/limits.h"
#include "schema/rules.h"
#include "tests/lib/tap.h"
#include "json/json.h"

#include <stdlib.h>

static struct json_reader *rule_reader, *record_reader;
static char rule_text[256 * KIB], record_text[256 * KIB];

static const struct json_doc *read_text(struct json_reader *r, char *room, size_t cap,
                                        const char *text)
{
    static struct json_doc docs[2];
    struct json_doc *doc = &docs[r == record_reader];
    size_t len = strlen(text);
    if (len + LIMIT_JSON_PADDING > cap)
        abort();
    memcpy(room, text, len);
    if (json_reader_begin(r, room, len, JSON_ONE) != 0 || json_reader_next(r, doc) != 0)
        abort();
    return doc;
}

static struct rules *parse(const char *text, struct err *e)
{
    struct rules *r = NULL;
    const struct json_doc *doc = read_text(rule_reader, rule_text, sizeof(rule_text), text);
    *e = (struct err){0};
    int rc = rules_parse(&r, doc, doc->nodes, e);
    if ((rc == 0) != (r != NULL) || (rc != 0) != (e->text[0] != '\0'))
        ok(false, "result and text agree for %s", text);
    return r;
}

/* record under rules is want, or, for want without '{', an error text that contains want. */
static void applies(const char *text, const char *record, const char *want)
{
    struct err e;
    struct rules *r = parse(text, &e);
    struct buf out;
    buf_init(&out, SIZE_MAX);
    buf_put_str(&out, "kept:");
    if (r == NULL) {
        ok(false, "%s: %s", text, e.text);
        return;
    }
    /* Twice: the scratch memory of the first time must not show. */
    for (int i = 0; i < 2; i++) {
        out.len = 5;
        e = (struct err){0};
        int rc = rules_apply(r, read_text(record_reader, record_text, sizeof(record_text), record),
                             &out, &e);
        buf_put_u8(&out, '\0');
        bool right = rc == 0 ? strcmp(out.ptr + 5, want) == 0
                             : out.len == 6 && strstr(e.text, want) != NULL && want[0] != '{';
        ok(right, "%s on %.60s", text, record);
        if (!right)
            printf("#  got %d %s %s\n# want %s\n", rc, out.ptr + 5, e.text, want);
    }
    buf_fini(&out);
    rules_free(r);
}

static void refused(const char *text, const char *want)
{
    struct err e;
    struct rules *r = parse(text, &e);
    bool right = r == NULL && strstr(e.text, want) != NULL;
    ok(right, "refused: %.70s", text);
    if (!right)
        printf("#  got %s\n# want %s\n", r == NULL ? e.text : "(accepted)", want);
    rules_free(r);
}

static void test_rules(void)
{
    applies("[]", "{\"a\": 1 , \"b\":[1, 2]}", "{\"a\":1,\"b\":[1, 2]}");
    applies("[]", "{}", "{}");
    applies("[]", "{\"a\":1,\"b\":2,\"a\":3}", "{\"b\":2,\"a\":3}");
    applies("[]", "{\"a\":{\"x\":\n1}}", "{\"a\":{\"x\":1}}");
    applies("[]", "[1]", "record must be a JSON object");

    applies("[{\"rename\":{\"from\":\"a\",\"to\":\"b\"}}]", "{\"a\":1,\"c\":2}",
            "{\"b\":1,\"c\":2}");
    applies("[{\"rename\":{\"from\":\"a\",\"to\":\"b\"}}]", "{\"c\":2}", "{\"c\":2}");
    applies("[{\"rename\":{\"to\":\"b\",\"from\":\"a\"}}]", "{\"a\":1,\"b\":2}",
            "rule 1 (rename): the record has \"a\" and \"b\"; drop one of them first");
    applies("[{\"rename\":{\"from\":\"a\",\"to\":\"b\"}}]", "{\"a\":1,\"b\":null}", "{\"b\":1}");
    applies("[{\"rename\":{\"from\":\"a\",\"to\":\"a\"}}]", "{\"a\":1}", "{\"a\":1}");
    applies("[{\"rename\":{\"from\":\"\\u00e9\",\"to\":\"e\\\"\"}}]", "{\"\xc3\xa9\":1}",
            "{\"e\\\"\":1}");
    applies("[{\"rename\":{\"from\":\"\xc3\xa9\",\"to\":\"e\"}}]", "{\"\\u00E9\":1}", "{\"e\":1}");
    applies("[{\"\x64rop\":\"a\"}]", "{\"a\":1}", "{}");
    applies("[{\"drop\":\"a\"},{\"rename\":{\"from\":\"b\",\"to\":\"a\"}}]",
            "{\"a\":1,\"b\":2,\"c\":3}", "{\"a\":2,\"c\":3}");
    applies("[{\"drop\":\"a\"}]", "{\"a\":1,\"a\":2}", "{}");
    applies("[{\"drop\":\"x\"}]", "{\"a\":1}", "{\"a\":1}");

    applies("[{\"default\":{\"column\":\"a\",\"value\":12345678901234567890123.50}}]", "{\"b\":1}",
            "{\"b\":1,\"a\":12345678901234567890123.50}");
    applies("[{\"default\":{\"column\":\"a\",\"value\":\"x\"}}]", "{\"a\":null}", "{\"a\":\"x\"}");
    applies("[{\"default\":{\"column\":\"a\",\"value\":\"x\"}}]", "{\"a\":0}", "{\"a\":0}");
    applies("[{\"set\":{\"column\":\"a\",\"value\":null}},"
            "{\"default\":{\"column\":\"a\",\"value\":[1 , {\"y\" : 2}]}}]",
            "{\"a\":1}", "{\"a\":[1,{\"y\":2}]}");
    applies("[{\"set\":{\"column\":\"a\",\"value\":true}},{\"cast\":{\"column\":\"a\",\"to\":"
            "\"integer\"}}]",
            "{}", "{\"a\":1}");
    applies(
        "[{\"drop\":\"n\"},{\"drop\":\"m\"}]",
        "{\"i\":18446744073709551616,\"m\":1,\"f\":1.10,\"e\":1E+5,\"s\":\"\\u00e9\\n\",\"n\":[]}",
        "{\"i\":18446744073709551616,\"f\":1.10,\"e\":1E+5,\"s\":\"\\u00e9\\n\"}");
}

/* {"a":value} cast to `to` gives {"a":want}, or an error when want is NULL. */
static void casts(const char *to, const char *value, const char *want)
{
    char text[512], record[512], result[512];
    (void)snprintf(text, sizeof(text), "[{\"cast\":{\"column\":\"a\",\"to\":\"%s\"}}]", to);
    (void)snprintf(record, sizeof(record), "{\"a\":%s}", value);
    (void)snprintf(result, sizeof(result),
                   want == NULL ? "rule 1 (cast): column \"a\": " : "{\"a\":%s}", want);
    applies(text, record, result);
}

static void test_casts(void)
{
    casts("string", "1.50", "\"1.50\"");
    casts("string", "12345678901234567890123", "\"12345678901234567890123\"");
    casts("string", "true", "\"true\"");
    casts("string", "\"\\u0041\"", "\"\\u0041\"");
    casts("string", "[1, \"x\"]", "\"[1, \\\"x\\\"]\"");
    casts("string", "null", "null");

    casts("integer", "\" 42 \"", "42");
    casts("integer", "\"+007\"", "7");
    casts("integer", "\"-0\"", "0");
    casts("integer", "3.0", "3");
    casts("integer", "1.5e3", "1500");
    casts("integer", "1500e-2", "15");
    casts("integer", "0.000e400", "0");
    casts("integer", "\"99999999999999999999999999999999999999\"",
          "99999999999999999999999999999999999999");
    casts("integer", "true", "1");
    casts("integer", "false", "0");
    casts("integer", "null", "null");
    casts("integer", "3.7", NULL);
    casts("integer", "1e-1", NULL);
    casts("integer", "1e80", NULL);
    casts("integer", "1e99999999999999999999", NULL);
    casts("integer", "\"\"", NULL);
    casts("integer", "\"12a\"", NULL);
    casts("integer", "\"0x10\"", NULL);
    casts("integer", "\"1 2\"", NULL);
    casts("integer", "[1]", NULL);
    casts("integer", "{}", NULL);

    casts("number", "\"1.50\"", "1.50");
    casts("number", "\"+.5\"", "0.5");
    casts("number", "\"5.\"", "5");
    casts("number", "\"-00.10E+07\"", "-0.10e+07");
    casts("number", "1.50", "1.50");
    casts("number", "\"\\u0031\\u0032\"", "12");
    casts("number", "true", "1");
    casts("number", "\"nan\"", NULL);
    casts("number", "\".\"", NULL);
    casts("number", "\"1e\"", NULL);
    casts("number", "\"--1\"", NULL);
    casts("number", "\"1\\u00000\"", NULL);

    casts("boolean", "\"TRUE\"", "true");
    casts("boolean", "\" false\"", "false");
    casts("boolean", "1", "true");
    casts("boolean", "\"0\"", "false");
    casts("boolean", "0.0", "false");
    casts("boolean", "false", "false");
    casts("boolean", "2", NULL);
    casts("boolean", "\"yes\"", NULL);
    casts("boolean", "[]", NULL);
}

static void test_refused(void)
{
    refused("{}", "rules must be an array");
    refused("\"drop\"", "not string");
    refused("[1]", "rule 1 must be an object with one member");
    refused("[{}]", "rule 1 must be an object with one member");
    refused("[{\"drop\":\"a\",\"set\":1}]", "rule 1 must be an object with one member");
    refused("[{\"drop\":\"a\"},{\"delete\":\"a\"}]", "rule 2: unknown rule \"delete\"; known are");
    refused("[{\"drop\":1}]", "rule 1 (drop): drop must be a column's name");
    refused("[{\"drop\":\"\"}]", "must be a column's name");
    refused("[{\"rename\":\"a\"}]", "rule 1: rename must be {\"from\":…,\"to\":…}");
    refused("[{\"rename\":{\"from\":\"a\"}}]", "rule 1 (rename): \"to\" is missing");
    refused("[{\"rename\":{\"to\":\"a\"}}]", "rule 1 (rename): \"from\" is missing");
    refused("[{\"rename\":{\"from\":\"a\",\"to\":2}}]", "\"to\" must be a column's name");
    refused("[{\"rename\":{\"from\":\"a\",\"to\":\"b\",\"x\":1}}]",
            "unknown member \"x\"; known are from and to");
    refused("[{\"default\":{\"column\":\"a\"}}]", "rule 1 (default): \"value\" is missing");
    refused("[{\"set\":{\"value\":\"a\"}}]", "rule 1 (set): \"column\" is missing");
    refused("[{\"cast\":{\"column\":\"a\",\"to\":\"int\"}}]", "\"to\" must be \"string\"");
    refused("[{\"cast\":{\"column\":\"a\",\"to\":[]}}]", "\"to\" must be \"string\"");
}

static void test_limits(void)
{
    struct buf text;
    struct err e;
    buf_init(&text, SIZE_MAX);
    for (unsigned n = LIMIT_RULES; n <= LIMIT_RULES + 1; n++) {
        buf_reset(&text);
        for (unsigned i = 0; i < n; i++)
            buf_printf(&text, "%s{\"drop\":\"c%u\"}", i == 0 ? "[" : ",", i);
        buf_put(&text, "]", 2);
        struct rules *r = parse(text.ptr, &e);
        ok((r != NULL) == (n <= LIMIT_RULES), "%u rules", n);
        ok(r == NULL || rules_count(r) == n, "their number");
        rules_free(r);
    }
    ok(strstr(e.text, "more than 64 rules") != NULL, "one too many is refused with the limit");
    buf_reset(&text);
    for (unsigned i = 0; i <= LIMIT_TABLE_COLUMNS; i++)
        buf_printf(&text, "%c\"c%u\":%u", i == 0 ? '{' : ',', i, i);
    buf_put(&text, "}", 2);
    applies("[]", text.ptr, "the record has more than 4096 members");
    buf_reset(&text);
    buf_put_str(&text, "[{\"drop\":\"");
    for (unsigned i = 0; i <= 6 * LIMIT_NAME_BYTES; i++)
        buf_put_u8(&text, 'n');
    buf_put(&text, "\"}]", 4);
    refused(text.ptr, "is over 1024 bytes");
    buf_fini(&text);
}

int main(void)
{
    rule_reader = json_reader_new(MIB);
    record_reader = json_reader_new(MIB);
    if (rule_reader == NULL || record_reader == NULL)
        return 99;
    test_rules();
    test_casts();
    test_refused();
    test_limits();
    rules_free(NULL);
    json_reader_free(rule_reader);
    json_reader_free(record_reader);
    return tap_done();
}
