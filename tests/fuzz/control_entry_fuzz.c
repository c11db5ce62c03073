/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile control entries, stored values and names: what is accepted is written again the same. */
#include "base/limits.h"
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

static void name(struct slice in)
{
    struct err e;
    if (control_pipe_name(in, &e) == 0 && in.len > LIMIT_PIPE_NAME_BYTES)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = {(const char *)data, size};
    entry(in);
    value(in);
    name(in);
    return 0;
}
