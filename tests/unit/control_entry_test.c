/* SPDX-License-Identifier: Apache-2.0 */
/* Payloads and stored values, version 1: what was written once is read for ever, and written again
 * byte for byte (tests/golden/control-v1; UPDATE_GOLDEN=1 writes them anew, for a new version);
 * what is not sound is refused; and pipes' names. */
#include "base/limits.h"
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

static void test_names(void)
{
    struct err e;
    char name[LIMIT_PIPE_NAME_BYTES + 1];
    memset(name, '"', sizeof(name));
    ok(control_pipe_name(SLICE_LIT("a/b \xc3\xa9\x01"), &e) == 0 &&
           control_pipe_name((struct slice){name, LIMIT_PIPE_NAME_BYTES}, &e) == 0,
       "names of pipes");
    ok(control_pipe_name((struct slice){name, sizeof(name)}, &e) == WH_ELIMIT,
       "one that is too long");
    ok(control_pipe_name(SLICE_LIT(""), &e) != 0 && control_pipe_name(SLICE_LIT("\xff"), &e) != 0 &&
           strcmp(e.text, "pipe name is not UTF-8") == 0,
       "none, and one that would not come back");
}

int main(void)
{
    test_golden();
    test_unsound();
    test_names();
    return tap_done();
}
