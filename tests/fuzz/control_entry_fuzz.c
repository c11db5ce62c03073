/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile control entries, stored values and pipes' definitions: what is accepted is written again
 * the same. */
#include "base/limits.h"
#include "control/definition.h"
#include "control/entry.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void entry(struct slice in)
{
    struct control_change c;
    struct err e;
    char head[CONTROL_HEAD_BYTES];
    if (control_change_get(in, &c, &e) != 0)
        return;
    control_change_head(head, &c);
    if (memcmp(head, in.ptr, sizeof(head)) != 0 || c.text.ptr + c.text.len != in.ptr + in.len)
        abort();
}

static void value(struct slice in)
{
    struct control_document d = {0};
    struct err e;
    struct buf out;
    if (control_value_get(in, &d, &e) != 0)
        return;
    buf_init(&out, SIZE_MAX);
    control_value_put(&out, &d);
    if (out.len != in.len || d.text.ptr + d.text.len != in.ptr + in.len)
        abort();
    buf_fini(&out);
}

/* The definition of a definition is itself. */
static void definition(struct slice in, bool strict)
{
    struct json_reader *reader = json_reader_new(2 * LIMIT_CONTROL_BYTES);
    struct buf padded, once, twice, sql;
    struct err e;
    buf_init(&padded, SIZE_MAX);
    buf_init(&once, SIZE_MAX);
    buf_init(&twice, SIZE_MAX);
    buf_init(&sql, SIZE_MAX);
    buf_put_slice(&padded, in);
    if (reader == NULL || buf_extend(&padded, LIMIT_JSON_PADDING) == NULL)
        abort();
    if (control_pipe_define(reader, SLICE_LIT("n"), (struct slice){padded.ptr, in.len}, strict,
                            &once, &sql, &e) == 0) {
        size_t len = once.len;
        if (buf_extend(&once, LIMIT_JSON_PADDING) == NULL)
            abort();
        struct slice text = {once.ptr, len};
        if (control_pipe_define(reader, SLICE_LIT("n"), text, true, &twice, NULL, &e) != 0 ||
            !slice_eq(text, buf_slice(&twice)))
            abort();
    }
    buf_fini(&padded);
    buf_fini(&once);
    buf_fini(&twice);
    buf_fini(&sql);
    json_reader_free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = {(const char *)data, size};
    entry(in);
    value(in);
    definition(in, false);
    definition(in, true);
    return 0;
}
