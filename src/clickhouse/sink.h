/* SPDX-License-Identifier: Apache-2.0 */
/* Where the body of a block goes: gathered in a buffer, long pieces past it without a copy. */
#ifndef WH_CLICKHOUSE_SINK_H
#define WH_CLICKHOUSE_SINK_H

#include "base/buf.h"

#define CH_SINK_BYTES ((size_t)256 << 10) /* gathered before drain is called */

struct ch_sink {
    struct buf *out; /* short things may be appended here directly */
    /* Take what is in out, then piece (borrowed for the call). NULL: everything stays in out. 0, or
     * an error that the writer hands back to its caller. */
    int (*drain)(struct ch_sink *s, struct slice piece);
};

/* 0, or what drain said; a full out shows in buf_ok at the end. */
static inline int ch_sink_put(struct ch_sink *s, const void *p, size_t n)
{
    if (s->drain != NULL && s->out->len + n > CH_SINK_BYTES)
        return s->drain(s, (struct slice){p, n});
    buf_put(s->out, p, n);
    return 0;
}

#endif
