/* SPDX-License-Identifier: Apache-2.0 */
/* From ClickHouse's JSON to rows: every type's form, cut at every byte, and what is no answer. What
 * real servers send: tests/e2e/query.py. */
#include "base/limits.h"
#include "query/render.h"

#include <stdlib.h>

#include "tests/lib/tap.h"

static struct buf out;

static int render(struct query_render_options options, const char *text, size_t len, size_t step)
{
    struct query_render *r = query_render_new(&options);
    int rc = 0;
    buf_reset(&out);
    for (size_t i = 0; rc == 0 && i < len; i += step)
        rc = query_render_feed(r, (struct slice){text + i, len - i < step ? len - i : step}, &out);
    if (rc == 0)
        rc = query_render_finish(r, &out);
    query_render_free(r);
    return rc;
}

#define TYPES                                                                                     \
    "{\n\t\"meta\":\n\t[\n\t\t{\n\t\t\t\"name\": \"n\",\n\t\t\t\"type\": \"UInt64\"\n\t\t},"      \
    "{\"name\":\"s \\\"x\",\"type\":\"String\"},{\"type\":\"DateTime64(3, 'America/New_York')\"," \
    "\"name\":\"t\"},{\"name\":\"a\",\"type\":\"Array(DateTime('America/New_York'))\"},"          \
    "{\"name\":\"m\",\"type\":\"Map(String, Tuple(x DateTime, y String))\"},"                     \
    "{\"name\":\"e\",\"type\":\"Enum8('a\\\\'b' = 1)\"}\n\t],\n"

static void test_rows(void)
{
    static const char text[] =
        TYPES "\n\t\"data\":\n\t[\n\t\t[18446744073709551615, \"a,]\\\"[\", "
              "\"2026-06-21T08:00:00.120Z\", [\"2026-06-21T08:00:00Z\"], "
              "{\"k\":{\"x\":\"1970-01-01T00:00:05Z\",\"y\":\"1970-01-01T00:00:05Z\"}}, \"a'b\"],\n"
              "\t\t[0, \"\", null, [], {}, null]\n\t],\n\n\t\"rows\": 2,\n\n\t\"statistics\":\n\t{"
              "\"elapsed\": 0.1,\"x\":[1,{\"y\":2}]}\n}\n";
    static const char want[] =
        "[{\"n\":18446744073709551615,\"s \\\"x\":\"a,]\\\"[\",\"t\":\"2026-06-21T08:00:00.12Z\","
        "\"a\":[\"2026-06-21 04:00:00\"],"
        "\"m\":{\"k\":{\"x\":\"1970-01-01 00:00:05\",\"y\":\"1970-01-01T00:00:05Z\"}},"
        "\"e\":\"a'b\"},{\"n\":0,\"s \\\"x\":\"\",\"t\":null,\"a\":[],\"m\":{},\"e\":null}]";
    struct query_render_options o = {.utc = true, .server_zone = SLICE_LIT("UTC")};
    is_u64(render(o, text, sizeof(text) - 1, SIZE_MAX / 2), 0, "rendered");
    is_mem(out.ptr, out.len, want, sizeof(want) - 1, "rows, in one piece");
    uint32_t same = 0;
    for (size_t step = 1; step < sizeof(text); step++)
        same += render(o, text, sizeof(text) - 1, step) == 0 && out.len == sizeof(want) - 1 &&
                memcmp(out.ptr, want, out.len) == 0;
    is_u64(same, sizeof(text) - 1, "the same rows in pieces of every length");
    uint32_t refused = 0;
    for (size_t len = 0; len < sizeof(text) - 2; len++)
        refused += render(o, text, len, 64) == WH_ESYNTAX;
    is_u64(refused, sizeof(text) - 2, "cut at any byte, it is not taken for an answer");
    o.keep_zeros = true;
    (void)!render(o, text, sizeof(text) - 1, 100);
    ok(memmem(out.ptr, out.len, "08:00:00.120Z", 13) != NULL, "iso keeps the zeros");
    o.shape = QUERY_RENDER_LINES;
    is_u64(render(o, text, sizeof(text) - 1, 7), 0, "lines");
    ok(out.ptr[0] == '{' && out.ptr[out.len - 1] == '\n' &&
           memmem(out.ptr, out.len, "}\n{", 3) != NULL,
       "one a line");
}

static void test_old(void)
{
    static const char text[] =
        "{\"meta\":[{\"name\":\"t\",\"type\":\"DateTime('America/New_York')\"},"
        "{\"name\":\"a\",\"type\":\"Array(DateTime)\"}],\"data\":["
        "[\"2026-06-21 04:00:00\",[\"2026-06-21 04:00:00\"]],[\"0000-00-00 00:00:00\",[]]],"
        "\"rows\":2}";
    static const char want[] = "[{\"t\":\"2026-06-21T08:00:00Z\",\"a\":[\"2026-06-21 04:00:00\"]},"
                               "{\"t\":\"1970-01-01T00:00:00Z\",\"a\":[]}]";
    struct query_render_options o = {.server_zone = SLICE_LIT("UTC")};
    is_u64(render(o, text, sizeof(text) - 1, 11), 0, "an old server's");
    is_mem(out.ptr, out.len, want, sizeof(want) - 1, "its wall clocks become instants");
}

static void test_copy(void)
{
    static const char text[] = "{\"meta\":[],\"data\":[{\"a\": \"1\"},{\"a\": \"2\"}],\"rows\":2}";
    struct query_render_options o = {.shape = QUERY_RENDER_COPY};
    is_u64(render(o, text, sizeof(text) - 1, 3), 0, "the data of a raw answer");
    is_mem(out.ptr, out.len, "[{\"a\": \"1\"},{\"a\": \"2\"}]", 23, "as it is");
    is_u64(render(o, "", 0, 1), 0, "no byte at all");
    is_mem(out.ptr, out.len, "[]", 2, "is []");
}

static void test_none(void)
{
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"text", "Ok.\n"},
        {"an array", "[]"},
        {"no data", "{\"meta\":[],\"rows\":0}"},
        {"data before meta", "{\"data\":[[1]],\"meta\":[]}"},
        {"too few values",
         "{\"meta\":[{\"name\":\"a\",\"type\":\"UInt8\"},{\"name\":\"b\",\"type\":"
         "\"UInt8\"}],\"data\":[[1]]}"},
        {"too many values", "{\"meta\":[{\"name\":\"a\",\"type\":\"UInt8\"}],\"data\":[[1,2]]}"},
        {"a row that is an object",
         "{\"meta\":[{\"name\":\"a\",\"type\":\"UInt8\"}],\"data\":[{\"a\":1}]}"},
        {"something behind it", "{\"meta\":[],\"data\":[]}x"},
        {"a second one", "{\"meta\":[],\"data\":[]}{\"meta\":[],\"data\":[]}"},
        {"a value that is none", "{\"meta\":[{\"name\":\"a\",\"type\":\"UInt8\"}],\"data\":[[]]}"},
        {"a name that is no string", "{\"meta\":[{\"name\":1,\"type\":\"UInt8\"}],\"data\":[]}"},
        {"a key without an end", "{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
    };
    struct query_render_options o = {.utc = true};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ok(render(o, cases[i].text, strlen(cases[i].text), 5) == WH_ESYNTAX, "refused: %s",
           cases[i].name);
    /* Deep values are the server's business, as long as they end. */
    static char deep[20000];
    size_t n = (size_t)sprintf(deep, "{\"meta\":[{\"name\":\"a\",\"type\":\"Array(DateTime)\"}],"
                                     "\"data\":[[");
    memset(deep + n, '[', 5000);
    memset(deep + n + 5000, ']', 5000);
    strcpy(deep + n + 10000, "]]}");
    is_u64(render(o, deep, strlen(deep), 4096), 0, "five thousand brackets");
}

static void test_exception(void)
{
    static const char *const texts[] = {
        ("{\"meta\":[{\"name\":\"a\",\"type\":\"UInt8\"}],\"data\":[[1],\nCode: 395, "
         "e.displayText() = DB::Exception: boo"),
        "{\"meta\":[{\"name\":\"a\",\"type\":\"String\"}],\"data\":[[\"x\"],[\"yCode: 395, boo",
        "{\"meta\":[],\"data\":[]\r\n__exception__\r\nabc\r\nCode: 395. DB::Exception: boo",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct query_render_options o = {.utc = true};
        struct query_render *r = query_render_new(&o);
        buf_reset(&out);
        int rc = query_render_feed(r, slice_str(texts[i]), &out);
        if (rc == 0)
            rc = query_render_finish(r, &out);
        struct slice e = query_render_exception(r);
        ok(rc == WH_ESYNTAX && e.len > 9 && memcmp(e.ptr, "Code: 395", 9) == 0,
           "an exception in the middle is found (%zu)", i);
        query_render_free(r);
    }
}

int main(void)
{
    buf_init(&out, LIMIT_QUERY_RESULT_BYTES);
    test_rows();
    test_old();
    test_copy();
    test_none();
    test_exception();
    buf_fini(&out);
    return tap_done();
}
