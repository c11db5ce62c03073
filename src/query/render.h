/* SPDX-License-Identifier: Apache-2.0 */
/* From ClickHouse's JSONCompact (or JSON) to the rows of an answer (http-api §8.6), while it comes:
 * no more than one row is held. Both server generations write this format, and every type has a
 * form in it; what is left to do is names, timestamps, and not to take a cut answer, or an
 * exception in the middle of one, for data. */
#ifndef WH_QUERY_RENDER_H
#define WH_QUERY_RENDER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>

enum query_render_shape {
    QUERY_RENDER_ARRAY, /* [{…},{…}] */
    QUERY_RENDER_LINES, /* {…}\n{…}\n */
    QUERY_RENDER_COPY   /* the `data` array as it is; no input at all is [] */
};

struct query_render_options {
    enum query_render_shape shape;
    bool keep_zeros; /* of a timestamp's fraction */
    /* Timestamps come as ISO 8601 UTC (date_time_output_format=iso), else as wall clock in their
     * zone. There the hour that a clock repeats in autumn is read as its first. */
    bool utc;
    struct slice server_zone; /* of timestamps whose type names none; copied */
};

struct query_render;
/* One owner at a time. NULL: no memory. Zone files are read when a row needs them. */
struct query_render *query_render_new(const struct query_render_options *options);
void query_render_free(struct query_render *r);

/* Append what the next bytes of the answer mean to out. 0; WH_ESYNTAX: this is no such answer, or
 * something else follows it; -ENOMEM, WH_EFULL: out or a row has no room. */
int query_render_feed(struct query_render *r, struct slice bytes, struct buf *out) WH_MUST_CHECK;
/* The answer has ended: WH_ESYNTAX when it is not complete. */
int query_render_finish(struct query_render *r, struct buf *out) WH_MUST_CHECK;
/* After WH_ESYNTAX: where "Code: …" begins, if ClickHouse wrote an exception into the answer. */
struct slice query_render_exception(const struct query_render *r);

#endif
