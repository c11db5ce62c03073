/* SPDX-License-Identifier: Apache-2.0 */
/* One record: what http-api §7.2 step 6 does before the log. */
#include "api/ingest.h"

#include "base/limits.h"

#include <errno.h>
#include <stdio.h>

#define RECORD_SLACK_BYTES 1024 /* what stamping and canonical timestamps may add */

/* The part that a record of so many bytes goes to. */
static struct ingest_part *part_for(struct ingest_op *op, size_t bytes)
{
    struct ingest_part *part = op->last_part;
    if (part == NULL || (part->batch.count > 0 &&
                         part->batch.text.len + part->batch.items.len + bytes + RECORD_SLACK_BYTES >
                             LIMIT_WAL_ENTRY_BYTES))
        part = ingest_part_open(op);
    return part;
}

int ingest_record_add(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                      const struct json_doc *doc)
{
    size_t bytes = doc->nodes[0].len;
    if (bytes > LIMIT_RECORD_BYTES) {
        op->result.status = 413;
        (void)snprintf(op->result.message, sizeof(op->result.message), "record exceeded %llu bytes",
                       (unsigned long long)LIMIT_RECORD_BYTES);
        return 0;
    }
    struct ingest_part *part = part_for(op, bytes);
    if (part == NULL)
        return -ENOMEM;
    struct record_options options = {.ignore_unknown =
                                         op->settings->unknown_columns == CONFIG_UNKNOWN_IGNORE,
                                     .stamp_received = a->config->ingest.stamp_received};
    uint64_t received_ns = op->first_ns + op->records;
    size_t text_off = part->batch.text.len;
    int rc = record_check(a->checker, t, schema_catalog_timezone(a->catalog), &options, doc,
                          received_ns, &part->batch.text, &op->result);
    if (rc < 0)
        return rc;
    if (op->result.status != 0) {
        metric_add(a->metrics.rejected_record, 1);
        if (op->result.unknown_column) /* added a moment ago? The next try may know it. */
            discovery_nudge(a->shared->discovery);
        return 0;
    }
    if (op->result.unknown_ignored > 0)
        metric_add(a->metrics.ingest_unknown_ignored, op->result.unknown_ignored);
    op->records++;
    return wal_batch_add(&part->batch, received_ns, text_off);
}
