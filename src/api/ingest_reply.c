/* SPDX-License-Identifier: Apache-2.0 */
#include "api/api_priv.h"
#include "base/limits.h"

#include <inttypes.h>

void outcomes_reset(struct ingest_outcomes *o)
{
    buf_reset(&o->entries);
    o->total = o->succeeded = o->failed = o->duplicates = o->listed = 0;
}

/* `{"index":N` of the next entry; false when the list is full and only the counts go on. */
static bool entry_open(struct ingest_outcomes *o)
{
    o->total++;
    if (o->listed == LIMIT_BATCH_RESULTS)
        return false;
    if (o->listed++ > 0)
        buf_put_u8(&o->entries, ',');
    char digits[20];
    size_t at = sizeof(digits);
    for (uint64_t n = o->total; n > 0; n /= 10)
        digits[--at] = (char)('0' + n % 10);
    buf_put_slice(&o->entries, SLICE_LIT("{\"index\":"));
    buf_put(&o->entries, digits + at, sizeof(digits) - at);
    return true;
}

void outcome_ok(struct ingest_outcomes *o)
{
    o->succeeded++;
    if (entry_open(o))
        buf_put_slice(&o->entries, SLICE_LIT(",\"ok\":true}"));
}

void outcome_error(struct ingest_outcomes *o, struct slice message)
{
    o->failed++;
    if (!entry_open(o))
        return;
    buf_put_slice(&o->entries, SLICE_LIT(",\"error\":"));
    buf_put_json_string(&o->entries, message);
    buf_put_u8(&o->entries, '}');
}

void outcomes_write(const struct ingest_outcomes *o, struct buf *out)
{
    buf_printf(out,
               "{\"total\":%" PRIu64 ",\"succeeded\":%" PRIu64 ",\"failed\":%" PRIu64
               ",\"duplicates\":%" PRIu64 ",\"results\":[",
               o->total, o->succeeded, o->failed, o->duplicates);
    buf_put_slice(out, buf_slice(&o->entries));
    buf_put_slice(out, SLICE_LIT("]}"));
}
