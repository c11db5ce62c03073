/* SPDX-License-Identifier: Apache-2.0 */
/* dry_run=1: a request takes every check that a real one takes, and is told per record what would
 * be stored or which rule refuses it. Nothing reaches the log, no id is remembered. */
#include "api/ingest.h"

int ingest_dry_run_show(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                        struct slice canonical)
{
    struct ch_value_error e;
    buf_reset(&op->shown);
    int rc = ch_verdict_show(a->verdict, a->catalog, t, canonical, &op->shown, &e);
    if (rc == WH_ESYNTAX) {
        ingest_refuse_value(&op->result, &e);
        return 0;
    }
    return rc;
}

void ingest_dry_run_put_single(const struct ingest_op *op, struct buf *out)
{
    if (op->duplicate) {
        buf_put_slice(out, SLICE_LIT("{\"duplicate\":true,\"dry_run\":true}"));
        return;
    }
    buf_put_slice(out, SLICE_LIT("{\"ok\":true,\"dry_run\":true,"));
    buf_put_slice(out, buf_slice(&op->shown));
    buf_put_u8(out, '}');
}

int ingest_dry_run_asked(const struct http_request *r)
{
    char room[8];
    struct buf value = {.ptr = room, .cap = sizeof(room), .max = sizeof(room)};
    int rc = http_query_get(r->query, "dry_run", &value);
    struct slice v = buf_slice(&value);
    if (rc == 0 || (rc == 1 && (slice_eq_str(v, "0") || slice_eq_str(v, "false"))))
        return 0;
    return rc == 1 && (slice_eq_str(v, "1") || slice_eq_str(v, "true")) ? 1 : WH_ESYNTAX;
}
