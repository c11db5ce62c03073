/* SPDX-License-Identifier: Apache-2.0 */
/* Payloads and stored values, version 1: what was written once is read for ever, and written again
 * byte for byte (tests/golden/control-v1; UPDATE_GOLDEN=1 writes them anew, for a new version);
 * what is not sound is refused; and pipes' definitions. */
#include "base/limits.h"
#include "control/definition.h"
#include "control/entry.h"
#include "tests/lib/tap.h"

#include <stdlib.h>

static const struct control_change changes[] = {
    {.kind = CONTROL_POLICY,
     .name = {"", 0},
     .who = {"192.0.2.1:5123 req-7", 20},
     .text = {"{\"tables\":{}}", 13}},
    {.kind = CONTROL_POLICY,
     .seed = true,
     .name = {"", 0},
     .who = {"/etc/wavehoused/policy.yaml", 27},
     .text = {"{}", 2}},
    {.kind = CONTROL_PIPE,
     .name = {"top", 3},
     .who = {"192.0.2.1:5123 req-8", 20},
     .text = {"{\"name\":\"top\",\"sql\":\"SELECT 1\"}", 31}},
    {.kind = CONTROL_PIPE, .remove = true, .name = {"top", 3}, .who = {"", 0}, .text = {"", 0}},
};
#define CHANGE_COUNT (sizeof(changes) / sizeof(changes[0]))
static const struct control_document document = {.text = {"{\"tables\":{}}", 13},
                                                 .index = 0x1122334455,
                                                 .epoch = 3,
                                                 .time_ns = 1800000000000000000u,
                                                 .who = {"192.0.2.1:5123 req-7", 20}};

static void put_change(struct buf *out, const struct control_change *c)
{
    char head[CONTROL_HEAD_BYTES];
    control_change_head(head, c);
    buf_put(out, head, sizeof(head));
    buf_put_slice(out, c->name);
    buf_put_slice(out, c->who);
    buf_put_slice(out, c->text);
}

static void path_of(char *path, size_t cap, const char *name)
{
    const char *srcdir = getenv("srcdir");
    (void)snprintf(path, cap, "%s/tests/golden/control-v1/%s", srcdir != NULL ? srcdir : ".", name);
}

static bool golden(const char *name, const struct buf *want, struct buf *got)
{
    char path[4096];
    path_of(path, sizeof(path), name);
    FILE *f;
    if (getenv("UPDATE_GOLDEN") != NULL && (f = fopen(path, "wb")) != NULL) {
        (void)fwrite(want->ptr, 1, want->len, f);
        (void)fclose(f);
    }
    buf_reset(got);
    f = fopen(path, "rb");
    char *room = buf_extend(got, 4096);
    if (f == NULL || room == NULL)
        return false;
    got->len = fread(room, 1, 4096, f);
    (void)fclose(f);
    return slice_eq(buf_slice(got), buf_slice(want));
}

static bool same(const struct control_change *a, const struct control_change *b)
{
    return a->kind == b->kind && a->remove == b->remove && a->seed == b->seed &&
           slice_eq(a->name, b->name) && slice_eq(a->who, b->who) && slice_eq(a->text, b->text);
}

static void test_golden(void)
{
    static const char *const names[] = {"policy-put", "policy-seed", "pipe-put", "pipe-remove"};
    struct buf written, stored;
    struct err e = {0};
    buf_init(&written, SIZE_MAX);
    buf_init(&stored, SIZE_MAX);
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        struct control_change c = {0};
        buf_reset(&written);
        put_change(&written, &changes[i]);
        ok(golden(names[i], &written, &stored), "%s is written as ever", names[i]);
        ok(control_claims(buf_slice(&stored)) &&
               control_change_get(buf_slice(&stored), &c, &e) == 0 && same(&c, &changes[i]),
           "and read");
    }
    buf_reset(&written);
    control_value_put(&written, &document);
    struct control_document d = {0};
    ok(golden("value", &written, &stored) && control_value_get(buf_slice(&stored), &d, &e) == 0 &&
           slice_eq(d.text, document.text) && slice_eq(d.who, document.who) &&
           d.index == document.index && d.epoch == document.epoch && d.time_ns == document.time_ns,
       "a stored value");
    buf_fini(&written);
    buf_fini(&stored);
}

/* Every byte of the head made another; every length cut. */
static void test_unsound(void)
{
    struct buf b;
    struct control_change c;
    struct control_document d;
    struct err e;
    uint32_t wrong = 0;
    buf_init(&b, SIZE_MAX);
    put_change(&b, &changes[2]);
    for (size_t n = 0; n < b.len; n++)
        wrong += control_change_get((struct slice){b.ptr, n}, &c, &e) == 0;
    ok(wrong == 0, "a shorter one is refused, whatever is missing");
    buf_put_u8(&b, 'x');
    ok(control_change_get(buf_slice(&b), &c, &e) == WH_ECORRUPT, "a longer one too");
    b.len--;
    static const struct {
        size_t at;
        uint8_t value;
    } bad[] = {{0, 2}, {1, 4}, {1, 19}, {1, 17}, {2, 2}, {2, 0},  {3, 2},
               {4, 0}, {5, 1}, {6, 99}, {7, 3},  {8, 0}, {11, 1}, {12, 1}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char before = b.ptr[bad[i].at];
        b.ptr[bad[i].at] = (char)bad[i].value;
        ok(control_change_get(buf_slice(&b), &c, &e) == WH_ECORRUPT, "byte %zu = %u", bad[i].at,
           bad[i].value);
        b.ptr[bad[i].at] = before;
    }
    ok(control_change_get(buf_slice(&b), &c, &e) == 0, "put right again");
    buf_reset(&b);
    control_value_put(&b, &document);
    for (size_t n = 0; n < 24 + document.who.len; n++)
        wrong += control_value_get((struct slice){b.ptr, n}, &d, &e) == 0;
    ok(wrong == 0, "so with values");
    b.ptr[0] = 2;
    ok(control_value_get(buf_slice(&b), &d, &e) == WH_EUNSUPPORTED, "one of a later version");
    buf_fini(&b);
}

static void define(struct json_reader *reader, const char *text, bool strict, const char *want)
{
    struct buf out, sql, padded;
    struct err e = {0};
    buf_init(&out, SIZE_MAX);
    buf_init(&sql, SIZE_MAX);
    buf_init(&padded, SIZE_MAX);
    buf_put_str(&padded, text);
    if (buf_extend(&padded, LIMIT_JSON_PADDING) == NULL)
        abort();
    int rc = control_pipe_define(reader, SLICE_LIT("p"), (struct slice){padded.ptr, strlen(text)},
                                 strict, &out, &sql, &e);
    bool good = rc == 0 ? slice_eq_str(buf_slice(&out), want) : strcmp(e.text, want) == 0;
    ok(good, "%s", want);
    if (!good)
        printf("# got %d %.*s %s\n", rc, (int)out.len, out.ptr, e.text);
    buf_fini(&out);
    buf_fini(&sql);
    buf_fini(&padded);
}

static void test_definitions(void)
{
    struct json_reader *r = json_reader_new(2 * LIMIT_CONTROL_BYTES);
    define(r, "{\"sql\":\"SELECT 1\"}", true, "{\"name\":\"p\",\"sql\":\"SELECT 1\"}");
    define(r, " { \"sql\" : \"a\\u0062\", \"sql\":\"c\" } ", false,
           "{\"name\":\"p\",\"sql\":\"c\"}");
    define(r,
           "{\"sql\":\"1\",\"parameters\":[{\"name\":\"a\",\"default\":null,\"required\":true,"
           "\"x\":1}]}",
           false,
           "{\"name\":\"p\",\"sql\":\"1\",\"parameters\":[{\"name\":\"a\",\"required\":true,"
           "\"default\":null}]}");
    define(r, "{\"sql\":\"1\",\"parameters\":[{\"name\":\"a\",\"x\":1}]}", true,
           "unknown member \"x\" (pipes.strict refuses it)");
    define(r, "{\"sql\":\"1\",\"parameters\":[{\"name\":\"a\"},{\"name\":\"\\u0061\"}]}", false,
           "duplicate parameter: a");
    define(r, "{\"sql\":\"1\",\"allowed_roles\":[\"\"]}", false, "{\"name\":\"p\",\"sql\":\"1\"}");
    define(r, "{\"sql\":\"\"}", false, "pipe SQL is required");
    define(r, "{\"sql\":\"1\"}}", false, "invalid json");
    define(r, "{\"sql\":\"1\",\"cache_ttl\":0}", true,
           "{\"name\":\"p\",\"sql\":\"1\",\"cache_ttl\":0}");
    define(r, "{\"sql\":\"1\",\"cache_ttl\":1.5}", true,
           "\"cache_ttl\" must be whole seconds; 0: never");
    struct buf out;
    struct err e;
    buf_init(&out, SIZE_MAX);
    ok(control_pipe_from_sql(SLICE_LIT("x\"y"), SLICE_LIT("SELECT '\n'"), &out, &e) == 0 &&
           slice_eq_str(buf_slice(&out), "{\"name\":\"x\\\"y\",\"sql\":\"SELECT '\\n'\"}"),
       "from a file");
    buf_reset(&out);
    ok(control_pipe_from_sql(SLICE_LIT("\xff"), SLICE_LIT("1"), &out, &e) != 0 &&
           strcmp(e.text, "pipe name is not UTF-8") == 0,
       "a name that would not come back");
    buf_fini(&out);
    json_reader_free(r);
}

int main(void)
{
    test_golden();
    test_unsound();
    test_definitions();
    return tap_done();
}
