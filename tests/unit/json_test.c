/* SPDX-License-Identifier: Apache-2.0 */
/* Reader: grammar, framing, flags, limits. */
#include "base/limits.h"
#include "tests/lib/tap.h"
#include "json/json_scan.h"

#include <stdlib.h>

static struct json_reader *r;
static char *padded;

static void begin(const char *text, size_t len, enum json_framing framing)
{
    free(padded);
    padded = malloc(len + LIMIT_JSON_PADDING);
    memcpy(padded, text, len);
    /* Padding that would continue any value, to catch a read of its content. */
    memset(padded + len, '}', LIMIT_JSON_PADDING);
    if (json_reader_begin(r, padded, len, framing) != 0)
        ok(false, "begin");
}

/* All answers until the end as one line: minified values, "!cause" for refusals; at most 20. */
static const char *run(const char *text, size_t len, enum json_framing framing)
{
    static char line[4096];
    struct buf out;
    struct json_doc doc;
    buf_init(&out, sizeof(line) - 1);
    begin(text, len, framing);
    for (int i = 0; i < 20; i++) {
        int rc = json_reader_next(r, &doc);
        if (rc == WH_EEND)
            break;
        if (out.len > 0)
            buf_put_str(&out, " | ");
        if (rc == 0) {
            json_put_minified(&out, &doc, &doc.nodes[0]);
            continue;
        }
        buf_printf(&out, "!%s%s", rc == WH_ELIMIT ? "limit " : "", json_reader_error(r));
        if (framing != JSON_LINES)
            break;
    }
    memcpy(line, out.ptr == NULL ? "" : out.ptr, out.len);
    line[out.len] = '\0';
    buf_fini(&out);
    return line;
}

static void is_run(const char *text, enum json_framing framing, const char *want)
{
    is_str(run(text, strlen(text), framing), want, want);
}

static void test_one(void)
{
    is_run("{\"a\":[1,\"x\"]}", JSON_ONE, "{\"a\":[1,\"x\"]}");
    is_run(" \t\r\n{ \"a\" : [ 1 ,\"x y\" , { } , [ ] ] } ", JSON_ONE, "{\"a\":[1,\"x y\",{},[]]}");
    is_run("[]", JSON_ONE, "[]");
    is_run("true", JSON_ONE, "true");
    is_run(" false ", JSON_ONE, "false");
    is_run("null", JSON_ONE, "null");
    is_run("\"\"", JSON_ONE, "\"\"");
    is_run("-0.5e+10", JSON_ONE, "-0.5e+10");
    is_run("", JSON_ONE, "");
    is_run("  \n", JSON_ONE, "");
    static const char *const bad[][2] = {
        {"{", "!unexpected end"},
        {"{\"a\"", "!unexpected end"},
        {"{\"a\":", "!unexpected end"},
        {"{\"a\":1", "!unexpected end"},
        {"{\"a\":1,}", "!expected a string as object key"},
        {"{,}", "!expected a string as object key"},
        {"{1:2}", "!expected a string as object key"},
        {"{\"a\" 1}", "!expected a colon after the object key"},
        {"{\"a\"::1}", "!expected a value"},
        {"{\"a\":1 \"b\":2}", "!expected a comma or closing bracket"},
        {"{\"a\":1]", "!expected a comma or closing bracket"},
        {"[1}", "!expected a comma or closing bracket"},
        {"[1,]", "!expected a value"},
        {"[,1]", "!expected a value"},
        {"[1 2]", "!expected a comma or closing bracket"},
        {"]", "!expected a value"},
        {"nul", "!unknown word"},
        {"nulll", "!unknown word"},
        {"True", "!unknown word"},
        {"NaN", "!unknown word"},
        {"'a'", "!unknown word"},
        {"abc\"def\"", "!unknown word"},
        {"\"abc", "!unterminated string"},
        {"\"abc\\\"", "!unterminated string"},
        {"\"a\tb\"", "!control character in a string"},
        {"\"a\nb\"", "!control character in a string"},
        {"\"\\x\"", "!malformed escape in a string"},
        {"\"\\u12g4\"", "!malformed escape in a string"},
        {"\"\\u123\"", "!malformed escape in a string"},
        {"\"\xff\"", "!invalid utf-8"},
        {"\"\xc0\x80\"", "!invalid utf-8"},
        {"\"\xed\xa0\x80\"", "!invalid utf-8"},
        {"\"\xe2\x82", "!unterminated string"},
        {"\xef\xbb\xbf{}", "!unknown word"},
        {"[1]\xff", "[1]"},
        {"// x\n1", "!unknown word"},
        {"\f1", "!unknown word"},
        {"\x1a", "!unknown word"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        is_run(bad[i][0], JSON_ONE, bad[i][1]);
    static const char *const numbers[] = {"01",  "-",   "+1", "1.",    ".5",   "1e",
                                          "1e+", "--1", "1x", "0x1",   "1.e1", "1a",
                                          "1-2", "-a",  "00", "1.2.3", "1;",   "1e1.5"};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const char *got = run(numbers[i], strlen(numbers[i]), JSON_ONE);
        ok(got[0] == '!', "number refused: %s", numbers[i]);
    }
    is_str(run("1\0", 2, JSON_ONE), "!malformed number", "NUL is not white space");
    is_str(run("{\"a\0b\":1}", 9, JSON_ONE), "!control character in a string", "NUL in a string");
}

static void test_trailing(void)
{
    is_run("{\"a\":1}garbage", JSON_ONE, "{\"a\":1}");
    ok(json_reader_trailing(r), "trailing bytes are seen");
    is_run("{\"a\":1} \"unterminated", JSON_ONE, "{\"a\":1}");
    ok(json_reader_trailing(r), "trailing bytes are seen behind a cut");
    is_run("{\"a\":\"}\\\"\"}\x01\xff\"", JSON_ONE, "{\"a\":\"}\\\"\"}");
    is_run("12 \"unterminated", JSON_ONE, "12");
    is_run("\"s\" \"unterminated", JSON_ONE, "\"s\"");
    is_run("{} \n\t", JSON_ONE, "{}");
    ok(!json_reader_trailing(r), "white space is no trailing data");
    is_run("{\"a\":\"\x01\"} \"", JSON_ONE, "!control character in a string");
}

static void test_nodes(void)
{
    struct json_doc doc;
    begin("{\"a\":[1,\"x\"], \"b\\n\":-1.5}", 25, JSON_ONE);
    ok(json_reader_next(r, &doc) == 0, "value");
    is_u64(doc.node_count, 7, "nodes");
    const struct json_node *n = doc.nodes;
    ok(n[0].kind == JSON_OBJECT && n[0].count == 2 && n[0].next == 7 && n[0].len == 25 &&
           n[0].flags == JSON_F_SPACED,
       "object");
    ok(n[1].kind == JSON_STRING && n[1].next == 2 && n[1].len == 1, "key");
    ok(n[2].kind == JSON_ARRAY && n[2].count == 2 && n[2].next == 5 && n[2].len == 7 &&
           n[2].flags == 0,
       "array without space");
    ok(n[3].kind == JSON_NUMBER && n[3].flags == JSON_F_INTEGER && n[3].next == 4, "integer");
    ok(n[4].kind == JSON_STRING && slice_eq_str(json_raw(&doc, &n[4]), "x"), "string");
    ok(n[5].flags == JSON_F_ESCAPED && slice_eq_str(json_raw(&doc, &n[5]), "b\\n"), "escaped key");
    ok(n[6].flags == JSON_F_NEGATIVE && n[6].next == 7, "not an integer, negative");
    ok(json_reader_next(r, &doc) == WH_EEND, "one value only");
    ok(sizeof(struct json_node) <= 24, "nodes are small");
}

static void test_lines(void)
{
    is_run("{\"a\":1}\n{\"a\":2}\r\n\n  \n{\"a\":3}", JSON_LINES,
           "{\"a\":1} | {\"a\":2} | {\"a\":3}");
    is_run("1\nnope\n2\n", JSON_LINES, "1 | !unknown word | 2");
    is_run("{\"a\":\n1}\n2\n", JSON_LINES,
           "!unexpected end | !more than one value on the line | 2");
    is_run("{\"a\":1\n}\n2", JSON_LINES, "!unexpected end | !expected a value | 2");
    is_run("[\n[\n[1]\n", JSON_LINES, "!unexpected end | !unexpected end | [1]");
    is_run("1 2\n3\n", JSON_LINES, "!more than one value on the line | 3");
    is_run("{}{}\n3\n", JSON_LINES, "!more than one value on the line | 3");
    is_run("{\"a\":\"x\n\"b\"\n3", JSON_LINES, "!unterminated string | \"b\" | 3");
    is_run("\"\xff\"\n\"\x01\"\n3", JSON_LINES,
           "!invalid utf-8 | !control character in a string | 3");
    is_run("\n\n", JSON_LINES, "");
    is_run("", JSON_LINES, "");
    is_run("\"a\\\n\"b\"", JSON_LINES, "!unterminated string | \"b\"");
    is_run("\"\\q\"\n\"\\n\"\n\"\"", JSON_LINES, "!malformed escape in a string | \"\\n\" | \"\"");
    is_run("\\\"\n1", JSON_LINES, "!unknown word | 1");
}

static void test_items(void)
{
    is_run(" [ {\"a\":1} , 2,\"x\" ] \n", JSON_ITEMS, "{\"a\":1} | 2 | \"x\"");
    is_run("[]", JSON_ITEMS, "");
    is_run(" [ ] ", JSON_ITEMS, "");
    is_run("[", JSON_ITEMS, "!unterminated json array");
    is_run("[1", JSON_ITEMS, "1 | !unterminated json array");
    is_run("[1,", JSON_ITEMS, "1 | !unterminated json array");
    is_run("[1,{\"a\":", JSON_ITEMS, "1 | !unterminated json array");
    is_run("[1,{\"a\":\"x", JSON_ITEMS, "!unterminated json array");
    is_run("[1,]", JSON_ITEMS, "1 | !expected a value");
    is_run("[1 2]", JSON_ITEMS, "1 | !expected a comma or closing bracket");
    is_run("[1] x", JSON_ITEMS, "1 | !unexpected text after the array");
    is_run("[] []", JSON_ITEMS, "!unexpected text after the array");
    is_run("{}", JSON_ITEMS, "!expected an array");
    is_run("", JSON_ITEMS, "!expected an array");
    is_run("[\"\xff\"]", JSON_ITEMS, "!invalid utf-8");
}

static void test_depth(void)
{
    static char text[4 * LIMIT_JSON_DEPTH];
    for (int depth = LIMIT_JSON_DEPTH; depth <= LIMIT_JSON_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        struct json_doc doc;
        begin(text, (size_t)depth * 2, JSON_ONE);
        int rc = json_reader_next(r, &doc);
        ok(rc == (depth == LIMIT_JSON_DEPTH ? 0 : WH_ELIMIT), "depth %d", depth);
    }
    memset(text, '[', LIMIT_JSON_DEPTH + 1);
    memcpy(text + LIMIT_JSON_DEPTH + 1, "\n1", 3);
    is_run(text, JSON_LINES, "!limit nested too deeply | 1");
    /* Minify the deepest value. */
    memset(text, '[', LIMIT_JSON_DEPTH);
    memset(text + LIMIT_JSON_DEPTH, ']', LIMIT_JSON_DEPTH);
    memcpy(text + LIMIT_JSON_DEPTH - 1, "[ 1]", 4);
    memset(text + LIMIT_JSON_DEPTH + 3, ']', LIMIT_JSON_DEPTH - 1);
    struct json_doc doc;
    begin(text, 2 * LIMIT_JSON_DEPTH + 2, JSON_ONE);
    struct buf out;
    buf_init(&out, SIZE_MAX);
    ok(json_reader_next(r, &doc) == 0, "deep and spaced");
    json_put_minified(&out, &doc, &doc.nodes[0]);
    is_u64(out.len, 2 * LIMIT_JSON_DEPTH + 1, "minified");
    buf_fini(&out);
}

/* Many lines over several runs, and a line longer than a run. */
static void test_long(void)
{
    struct buf text;
    struct json_doc doc;
    buf_init(&text, SIZE_MAX);
    uint64_t lines = 0, bad = 0, sum = 0, want = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        if (i % 7777 == 5)
            buf_put_str(&text, "{\"n\":\"\n");
        buf_printf(&text, "{\"n\":%u}\n", i);
        want += i;
        if (i == 10000) {
            buf_put_u8(&text, '"');
            memset(buf_extend(&text, 300000), 'x', 300000);
            buf_put_str(&text, "\"\n");
        }
    }
    begin(text.ptr, text.len, JSON_LINES);
    int rc;
    while ((rc = json_reader_next(r, &doc)) != WH_EEND) {
        if (rc != 0)
            bad++;
        else if (doc.nodes[0].kind == JSON_OBJECT)
            sum += strtoul(doc.text + doc.nodes[2].off, NULL, 10);
        lines++;
    }
    is_u64(lines, 20004, "every line is answered");
    is_u64(bad, 3, "only the bad lines fail");
    is_u64(sum, want, "values are right");

    buf_reset(&text);
    memset(buf_extend(&text, LIMIT_NDJSON_LINE_BYTES), '1', LIMIT_NDJSON_LINE_BYTES);
    buf_put_str(&text, "\n2\n");
    begin(text.ptr, text.len, JSON_LINES);
    ok(json_reader_next(r, &doc) == 0, "a line of the longest size");
    ok(json_reader_next(r, &doc) == 0, "and the next");
    buf_reset(&text);
    memset(buf_extend(&text, LIMIT_NDJSON_LINE_BYTES + 1), '1', LIMIT_NDJSON_LINE_BYTES + 1);
    buf_put_str(&text, "\n2\n");
    begin(text.ptr, text.len, JSON_LINES);
    ok(json_reader_next(r, &doc) == WH_ELIMIT, "a line one byte longer");
    ok(json_reader_next(r, &doc) == 0 && json_reader_next(r, &doc) == WH_EEND, "and the next");
    ok(json_reader_begin(r, text.ptr, 64 * MIB, JSON_LINES) == WH_ELIMIT, "text over text_max");
    buf_fini(&text);
}

/* A body of random lines, many runs of them, against each line alone. */
static uint32_t random_state = 1;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % n;
}

static void put_random_line(struct buf *text)
{
    static const char *const lines[] = {"{\"a\":1}", "[1,2",    "\"x",
                                        "",          " \t",     "1 2",
                                        "\"\\q\"",   "\"\\n\"", "{\"b\":[{}]}\r",
                                        "\xff",      "nul",     "\\\""};
    uint32_t n = random_below(40);
    if (n == 0) {
        size_t len = random_below(5000); /* so that lines begin anywhere in a run */
        memset(buf_extend(text, len), ' ', len);
    } else if (n == 1 && random_below(20) == 0) {
        size_t len = 60000 + random_below(150000); /* around and over a whole run */
        char *p = buf_extend(text, len);
        memset(p, 'y', len);
        p[0] = p[len - 1] = '"';
    }
    /* Mostly good ones, so that most runs are read in one piece. */
    uint32_t kind = n < 39 ? 0 : random_below(sizeof(lines) / sizeof(lines[0]));
    buf_put_str(text, n == 1 ? "" : lines[kind]);
    buf_put_u8(text, '\n');
}

static void test_runs(void)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    while (text.len < 4 * MIB)
        put_random_line(&text);
    char *body = malloc(text.len + LIMIT_JSON_PADDING);
    memcpy(body, text.ptr, text.len);
    struct json_reader *whole = json_reader_new(8 * MIB);
    struct json_doc all, one;
    uint64_t lines = 0, bad = 0, different = 0;
    int rc = json_reader_begin(whole, body, text.len, JSON_LINES);
    for (const char *p = body, *end = body + text.len; rc == 0 && p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        rc = json_reader_begin(r, p, (size_t)(nl - p), JSON_LINES);
        int want = json_reader_next(r, &one);
        p = nl + 1;
        if (want == WH_EEND)
            continue;
        int got = json_reader_next(whole, &all);
        different += got != want;
        if (got == 0 && want == 0)
            different += !slice_eq(json_raw(&all, &all.nodes[0]), json_raw(&one, &one.nodes[0]));
        lines++;
        bad += want != 0;
    }
    ok(rc == 0 && json_reader_next(whole, &all) == WH_EEND, "both end together");
    ok(lines > 10000 && bad > 100, "%" PRIu64 " lines, %" PRIu64 " of them bad", lines, bad);
    is_u64(different, 0, "one by one and all at once give the same");
    json_reader_free(whole);
    free(body);
    buf_fini(&text);
}

/* ---- flat records: the short walk against the general one */

static uint64_t draw(uint64_t n)
{
    static uint64_t x = 0x2545f4914f6cdd1du;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x % n;
}

static void put_random_string(struct buf *out)
{
    static const char *const pieces[] = {"a",       "b c",      ",",    ":",
                                         "{",       "}",        "\\\"", "\\\\",
                                         "\\u00e9", "\xc3\xa9", "[]",   "0123456789abcdef",
                                         "\\x",     "\\u12",    "true", " "};
    buf_put_u8(out, '"');
    for (uint64_t n = draw(5); n > 0; n--) /* the last four pieces but two are refused */
        buf_put_str(out, pieces[draw(draw(30) == 0 ? 16 : 12)]);
    buf_put_u8(out, '"');
}

static void put_random_value(struct buf *out)
{
    static const char *const others[] = {
        "true",          "false", "null",          "-1", "0",  "1.5", "2e3", "-0.25E-2", "[]",
        "[1,{\"a\":2}]", "{}",    "{\"b\":\"c\"}", "01", "+1", "1x",  "tru", "-",        ""};
    uint64_t kind = draw(3);
    if (kind == 0)
        put_random_string(out);
    else if (kind == 1)
        buf_printf(out, "%.*s", (int)(1 + draw(17)), &"98765432101234567"[draw(9)]);
    else
        buf_put_str(out, others[draw(draw(20) == 0 ? 18 : 12)]);
}

/* Mostly the key that the record before has there, too; some are as long as a shape's may be. */
static void put_random_key(struct buf *out, unsigned i)
{
    static const char *const keys[] = {
        "id", "i", "thirteen_byte", "fourteen_bytes", "fifteen__bytes_", "id", "host"};
    uint64_t kind = draw(20);
    if (kind == 0)
        put_random_string(out);
    else if (kind == 1)
        buf_printf(out, "\"%s%u\"", keys[draw(7)], (unsigned)draw(3));
    else
        buf_printf(out, "\"%s\"", keys[i]);
}

/* The same record twice: without a space, and with one that makes it one for the general walk. */
static void put_twice(struct buf *tight, struct buf *spaced, struct slice members, const char *end)
{
    buf_printf(tight, "{%.*s%s\n", SLICE_ARG(members), end);
    buf_printf(spaced, "{ %.*s%s\n", SLICE_ARG(members), end);
}

static bool begin_both(struct json_reader *other, struct buf *tight, struct buf *spaced)
{
    static const char padding[LIMIT_JSON_PADDING];
    size_t tight_len = tight->len, spaced_len = spaced->len;
    buf_put(tight, padding, sizeof(padding));
    buf_put(spaced, padding, sizeof(padding));
    return buf_ok(tight) && buf_ok(spaced) &&
           json_reader_begin(r, tight->ptr, tight_len, JSON_LINES) == 0 &&
           json_reader_begin(other, spaced->ptr, spaced_len, JSON_LINES) == 0;
}

static void put_random_record(struct buf *tight, struct buf *spaced)
{
    struct buf members;
    buf_init(&members, SIZE_MAX);
    for (uint64_t i = 0, n = draw(7); i < n; i++) {
        if (i > 0)
            buf_put_u8(&members, ',');
        put_random_key(&members, (unsigned)i);
        buf_put_u8(&members, draw(200) == 0 ? ';' : ':');
        put_random_value(&members);
    }
    const char *end = draw(100) == 0 ? "}}" : draw(100) == 0 ? "" : draw(100) == 0 ? "} 1" : "}";
    put_twice(tight, spaced, members.len > 0 ? buf_slice(&members) : SLICE_LIT(""), end);
    buf_fini(&members);
}

static bool same_nodes(const struct json_doc *a, const struct json_doc *b)
{
    if (a->node_count != b->node_count)
        return false;
    for (uint32_t i = 0; i < a->node_count; i++) {
        const struct json_node *x = &a->nodes[i], *y = &b->nodes[i];
        if (x->kind != y->kind || x->next != y->next || x->count != y->count ||
            (x->flags | JSON_F_SPACED) != (y->flags | JSON_F_SPACED) ||
            (i > 0 && !slice_eq(json_raw(a, x), json_raw(b, y))) ||
            (i == 0 && x->len + 1 != y->len))
            return false;
    }
    return true;
}

/* The next record of both, each its own text. */
static bool same_answer(struct json_reader *other, struct slice tight, struct slice spaced,
                        enum json_framing framing)
{
    struct json_doc a, b;
    if (json_reader_begin(r, tight.ptr, tight.len, framing) != 0 ||
        json_reader_begin(other, spaced.ptr, spaced.len, framing) != 0)
        return false;
    int rc = json_reader_next(r, &a);
    if (json_reader_next(other, &b) != rc)
        return false;
    if (rc != 0)
        return strcmp(json_reader_error(r), json_reader_error(other)) == 0;
    return same_nodes(&a, &b) &&
           (framing != JSON_ONE || json_reader_trailing(r) == json_reader_trailing(other));
}

static struct slice line_of(const char **p)
{
    const char *from = *p, *nl = strchr(from, '\n');
    *p = nl + 1;
    return (struct slice){from, (size_t)(nl - from)};
}

/* All of them in one body, many in runs, and each by itself, which may need no index. */
static void test_flat(void)
{
    struct json_reader *other = json_reader_new(32 * MIB);
    struct buf tight, spaced;
    struct json_doc a, b;
    static struct json_shape shape;
    static struct json_node nodes[40];
    uint64_t records = 0, refused = 0, different = 0, scanned = 0;
    int rc;
    buf_init(&tight, SIZE_MAX);
    buf_init(&spaced, SIZE_MAX);
    for (int i = 0; i < 20000; i++)
        put_random_record(&tight, &spaced);
    size_t tight_len = tight.len;
    ok(begin_both(other, &tight, &spaced), "begin");
    while ((rc = json_reader_next(r, &a)) != WH_EEND) {
        different += json_reader_next(other, &b) != rc;
        different += rc == 0 && different == 0 && !same_nodes(&a, &b);
        different += rc != 0 && strcmp(json_reader_error(r), json_reader_error(other)) != 0;
        records++;
        refused += rc != 0;
    }
    ok(records == 20000 && refused > 1000 && refused < 19000,
       "%" PRIu64 " records, %" PRIu64 " of them refused", records, refused);
    is_u64(different, 0, "without and with a space: the same nodes, the same refusals");
    for (const char *t = tight.ptr, *s = spaced.ptr; t < tight.ptr + tight_len;) {
        struct slice x = line_of(&t), y = line_of(&s);
        scanned += json_scan_flat(&shape, x.ptr, x.len, nodes, 40) > 0;
        different += !same_answer(other, x, y, JSON_ONE);
        different += !same_answer(other, x, y, JSON_LINES);
    }
    ok(scanned > 4000, "%" PRIu64 " of them need no index", scanned);
    is_u64(different, 0, "each by itself: the same nodes, the same refusals");
    json_reader_free(other);
    buf_fini(&tight);
    buf_fini(&spaced);
}

/* One reader, one text after the other: nothing of the one before is left. */
static void test_again(void)
{
    for (int i = 0; i < 3; i++) {
        is_run("{\"a\":1}", JSON_ONE, "{\"a\":1}");
        is_run(" ", JSON_ONE, "");
        is_run("{\"a\":1}", JSON_ONE, "{\"a\":1}");
        is_run("[{\"a\":2},3]", JSON_ITEMS, "{\"a\":2} | 3");
        is_run("{\"a\":1}\n{\"a\":\"\xc3\xa9\"}\n{\"a\":3}\r\n{\"a\":4\n{\"a\":5}\n{\"b\":[]}\n{"
               "\"a\":7}",
               JSON_LINES,
               "{\"a\":1} | {\"a\":\"\xc3\xa9\"} | {\"a\":3} | !unexpected end | {\"a\":5} | "
               "{\"b\":[]} | {\"a\":7}");
        is_run("", JSON_LINES, "");
    }
}

/* Every beginning of a record, whatever stands behind it, is refused; the reader has read the whole
 * one before and expects its keys. */
static void test_cut(void)
{
    static const char *const records[] = {
        "{\"id\":12345,\"host\":\"web-1\",\"ok\":true,\"none\":null,\"x\":-1.5e3}",
        "{\"a\":\"0123456789012345678901234567890\",\"b\":\"\\n\\\\\",\"c\":false,\"d\":0}",
        "{\"s\":\"\",\"fourteen_bytes\":1,\"fifteen__bytes_\":12345678901234567890}"};
    /* "": what the record goes on with */
    static const char *const behind[] = {"",  "}",  "\"}", "\":1}",    "\":\"\"}", ",\"a\":1}",
                                         "0", "1,", "e1}", "\\\"}",    "\n}",      " }",
                                         ":", "l}", "ue}", "\":true}", "{}",       "\"\":\"\":"};
    static const enum json_framing framings[] = {JSON_ONE, JSON_LINES};
    struct json_doc doc;
    uint64_t taken = 0, cuts = 0, whole = 0, wholes = 0;
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
        for (size_t f = 0; f < 2; f++, wholes++) {
            size_t len = strlen(records[i]);
            begin(records[i], len, framings[f]);
            whole += json_reader_next(r, &doc) == 0;
            for (size_t cut = 1; cut < len; cut++)
                for (size_t k = 0; k < sizeof(behind) / sizeof(behind[0]); k++, cuts++) {
                    /* Just as long as promised: what reads further is seen. */
                    char *text = malloc(cut + LIMIT_JSON_PADDING);
                    const char *more = k == 0 ? records[i] + cut : behind[k];
                    memcpy(text, records[i], cut);
                    for (size_t n = 0; n < LIMIT_JSON_PADDING; n++)
                        text[cut + n] = more[n % strlen(more)];
                    taken += json_reader_begin(r, text, cut, framings[f]) != 0 ||
                             json_reader_next(r, &doc) != WH_ESYNTAX;
                    free(text);
                }
        }
    is_u64(taken, 0, "a cut record is refused, whatever stands behind it");
    ok(cuts > 5000 && whole == wholes, "%" PRIu64 " cuts", cuts);
}

/* Nodes are written where there is room and nowhere else. */
static void test_room(void)
{
    static const char record[] = "{\"a\":1,\"b\":\"x\",\"c\":null}";
    char text[sizeof(record) + LIMIT_JSON_PADDING] = {0};
    static struct json_shape shape;
    memcpy(text, record, sizeof(record));
    for (uint32_t cap = 0; cap <= 8; cap++) {
        struct json_node *nodes = malloc((cap + 1) * sizeof(*nodes));
        memset(nodes, 0x5a, (cap + 1) * sizeof(*nodes));
        struct json_node last = nodes[cap];
        uint32_t n = json_scan_flat(&shape, text, sizeof(record) - 1, nodes, cap);
        ok(n == (cap >= 7 ? 7 : 0) && memcmp(&last, &nodes[cap], sizeof(last)) == 0,
           "room for %u nodes", cap);
        free(nodes);
    }
}

/* Records as wide and as long as the short way takes them, and wider and longer. */
static void test_wide(void)
{
    struct json_reader *other = json_reader_new(32 * MIB);
    struct json_doc a, b;
    struct buf tight, spaced, members;
    buf_init(&members, SIZE_MAX);
    buf_init(&tight, SIZE_MAX);
    buf_init(&spaced, SIZE_MAX);
    for (unsigned count = 60; count <= 70; count++)
        for (unsigned pass = 0; pass < 3; pass++) {
            buf_reset(&members);
            for (unsigned i = 0; i < count; i++)
                buf_printf(&members, "%s\"k%u\":%u", i > 0 ? "," : "", i * (pass + 1), i);
            put_twice(&tight, &spaced, buf_slice(&members), "}");
        }
    for (size_t len = 64 * KIB - 20; len < 64 * KIB + 4; len++) {
        buf_reset(&members);
        buf_put_str(&members, "\"a\":\"");
        memset(buf_extend(&members, len), 'x', len);
        put_twice(&tight, &spaced, buf_slice(&members), "\"}");
    }
    ok(begin_both(other, &tight, &spaced), "begin");
    uint64_t records = 0, different = 0;
    while (json_reader_next(r, &a) == 0) {
        different += json_reader_next(other, &b) != 0 || !same_nodes(&a, &b);
        records++;
    }
    is_u64(records, 11 * 3 + 24, "wide and long records");
    is_u64(different, 0, "the same nodes");
    json_reader_free(other);
    buf_fini(&members);
    buf_fini(&tight);
    buf_fini(&spaced);
}

static void is_unescaped(const char *raw, const char *want, size_t want_len)
{
    char dst[64];
    size_t n = json_unescape(slice_str(raw), dst);
    ok(n <= strlen(raw), "fits");
    is_mem(dst, n, want, want_len, raw);
}

static void test_text(void)
{
    is_unescaped("plain", "plain", 5);
    is_unescaped("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t", 8);
    is_unescaped("a\\u0041\\u00e9\\u20AC!", "aA\u00e9\u20ac!", 8);
    is_unescaped("\\ud83d\\ude00", "\U0001F600", 4);
    is_unescaped("\\ud83d", "\uFFFD", 3);
    is_unescaped("\\ude00x", "\uFFFDx", 4);
    is_unescaped("\\ud83d\\u0041", "\uFFFD\x41", 4);
    is_unescaped("\\ud83d\\ud83d\\ude00", "\uFFFD\U0001F600", 7);
    is_unescaped("\\u0000", "\0", 1);
    is_str(json_kind_name(JSON_NULL), "null", "kind");
    is_str(json_kind_name(JSON_TRUE), "boolean", "kind");
    is_str(json_kind_name(JSON_OBJECT), "object", "kind");
}

int main(void)
{
    r = json_reader_new(32 * MIB);
    test_one();
    test_trailing();
    test_nodes();
    test_lines();
    test_items();
    test_depth();
    test_long();
    test_runs();
    test_flat();
    test_again();
    test_cut();
    test_room();
    test_wide();
    test_text();
    json_reader_free(r);
    json_reader_free(NULL);
    free(padded);
    return tap_done();
}
