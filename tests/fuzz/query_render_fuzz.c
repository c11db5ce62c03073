/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of a ClickHouse that lies: the rows are the same however the bytes are cut, what is taken
 * for an answer is JSON as far as brackets go, and views' texts do no harm. First byte: how. */
#include "base/limits.h"
#include "base/magic.h"
#include "query/depend.h"
#include "query/render.h"
#include "query/wire.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int render(const struct query_render_options *o, struct slice in, size_t step,
                  struct buf *out)
{
    struct query_render *r = query_render_new(o);
    must(r != NULL);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < in.len; i += step)
        rc = query_render_feed(r, (struct slice){in.ptr + i, in.len - i < step ? in.len - i : step},
                               out);
    if (rc == 0)
        rc = query_render_finish(r, out);
    struct slice e = query_render_exception(r);
    must(e.len == 0 || memcmp(e.ptr, "Code: ", 6) == 0);
    query_render_free(r);
    return rc;
}

static void fuzz_render(uint8_t how, struct slice in)
{
    struct query_render_options o = {.shape = (enum query_render_shape)(how % 3),
                                     .keep_zeros = (how & 16) != 0,
                                     .utc = (how & 32) != 0,
                                     .server_zone = SLICE_LIT("UTC")};
    struct buf whole, pieces;
    buf_init(&whole, MIB);
    buf_init(&pieces, MIB);
    int a = render(&o, in, in.len + 1, &whole), b = render(&o, in, 1 + how / 64, &pieces);
    must(a == 0 || a == WH_ESYNTAX || a == WH_EFULL || a == -ENOMEM);
    must((a == 0) == (b == 0));
    if (a == 0) {
        must(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
        if (o.shape != QUERY_RENDER_LINES)
            must(whole.len >= 2 && whole.ptr[0] == '[' && whole.ptr[whole.len - 1] == ']');
    }
    buf_fini(&whole);
    buf_fini(&pieces);
}

static void fuzz_guard(struct slice in)
{
    struct buf out;
    struct query_guard g;
    size_t tag = in.len > 0 ? (unsigned char)in.ptr[0] % 8u : 0;
    tag = tag < in.len ? tag : 0;
    buf_init(&out, MIB);
    query_guard_init(&g, (struct slice){in.ptr, tag});
    for (size_t i = 0; i < in.len; i += 3)
        query_guard_feed(&g, (struct slice){in.ptr + i, in.len - i < 3 ? in.len - i : 3}, &out);
    query_guard_finish(&g, &out);
    /* What passes is the beginning of what came; all of it when there is no mark. */
    must(out.len <= in.len && (out.len == 0 || memcmp(out.ptr, in.ptr, out.len) == 0));
    must(g.found || out.len == in.len);
    query_guard_fini(&g);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice in = {(const char *)data + 1, size - 1};
    fuzz_render(data[0], in);
    fuzz_guard(in);
    struct query_depend *d = NULL;
    if (query_depend_new(in, SLICE_LIT("db"), &d) == 0)
        (void)query_depend_unsure(d, SLICE_LIT("t"));
    query_depend_free(d);
    return 0;
}
