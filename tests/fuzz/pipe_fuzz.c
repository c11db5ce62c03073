/* SPDX-License-Identifier: Apache-2.0 */
/* SQL of a pipe, a NUL byte, a value of x, a NUL byte, a body. A text that is bound to x changes
 * nothing but the inside of quotes and comments: the statement has the same code as with another
 * text, and as many quoted parts. */
#include "base/limits.h"
#include "base/magic.h"
#include "query/pipe.h"
#include "query/sql_lex.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct json_reader *reader;
static struct query_binder *binder;

static struct query_pipe *parse(struct slice sql, const char *type, unsigned flags)
{
    struct err e = {0};
    struct query_pipe *p = NULL;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_put_str(&text, "{\"sql\":");
    buf_put_json_string(&text, sql);
    buf_printf(&text, ",\"parameters\":[{\"name\":\"x\",\"type\":\"%s\"}]}", type);
    must(buf_reserve(&text, LIMIT_JSON_PADDING) == 0);
    int rc = query_pipe_parse(reader, SLICE_LIT("p"), buf_slice(&text), flags, &p, &e);
    must((rc == 0) == (p != NULL) && (rc == 0) == (e.text[0] == '\0'));
    buf_fini(&text);
    return p;
}

/* Code as it is; a quoted part or comment is one byte that says which. */
static void put_skeleton(struct buf *out, struct slice sql)
{
    struct sql_lex lex = {.place = SQL_CODE};
    for (size_t at = 0, n; at < sql.len; at += n) {
        enum sql_place before = lex.place;
        n = sql_lex_step(&lex, (struct slice){sql.ptr + at, sql.len - at});
        if (before == SQL_CODE && lex.place == SQL_CODE)
            buf_put(out, sql.ptr + at, n);
        else if (before == SQL_CODE)
            buf_put_u8(out, (uint8_t)(1 + lex.place));
    }
    buf_put_u8(out, (uint8_t)(1 + lex.place));
}

static bool bind(const struct query_pipe *p, struct slice x, struct slice body,
                 struct buf *skeleton)
{
    static struct query_statement s;
    struct query_refusal no = {0};
    struct query_argument a = {SLICE_LIT("x"), x};
    if (s.sql.max == 0)
        query_statement_init(&s);
    enum query_result r = query_pipe_bind(binder, p, &a, 1, body, &s, &no);
    must(r != QUERY_REFUSED || no.status == 400);
    buf_reset(skeleton);
    if (r == QUERY_READY)
        put_skeleton(skeleton, buf_slice(&s.sql));
    return r == QUERY_READY;
}

static void nothing(void *arg, const char *text)
{
    (void)arg;
    must(text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (reader == NULL) {
        reader = json_reader_new(1 * MIB);
        binder = query_binder_new();
    }
    if (size > 64 * KIB)
        return 0;
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    if (end == NULL)
        return 0;
    struct slice sql = {(const char *)data, (size_t)(end - data)};
    struct slice x = {(const char *)end + 1, size - sql.len - 1};
    const char *second = x.len > 0 ? memchr(x.ptr, 0, x.len) : NULL;
    struct buf body, one, other;
    buf_init(&body, SIZE_MAX);
    buf_init(&one, SIZE_MAX);
    buf_init(&other, SIZE_MAX);
    if (second != NULL)
        buf_put(&body, second + 1, (size_t)(x.ptr + x.len - second - 1));
    if (second != NULL)
        x.len = (size_t)(second - x.ptr);
    must(buf_reserve(&body, LIMIT_JSON_PADDING) == 0);
    struct query_pipe *p = parse(sql, "string", 0), *untyped = parse(sql, "", 3);
    must(untyped == NULL || p != NULL);
    if (p != NULL) {
        struct slice none = {body.ptr, 0};
        (void)query_pipe_warn(p, nothing, NULL);
        bool first = bind(p, SLICE_LIT("a"), none, &one), then = bind(p, x, none, &other);
        if (memmem(sql.ptr, sql.len, "{%", 2) == NULL) { /* conditions may ask for the value */
            must(first == then);
            must(slice_eq(buf_slice(&one), buf_slice(&other)));
        }
    }
    if (untyped != NULL)
        (void)bind(untyped, x, buf_slice(&body), &one);
    query_pipe_unref(p);
    query_pipe_unref(untyped);
    buf_fini(&body);
    buf_fini(&one);
    buf_fini(&other);
    return 0;
}
