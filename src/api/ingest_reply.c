/* SPDX-License-Identifier: Apache-2.0 */
#include "api/api_priv.h"
#include "base/limits.h"

#include <inttypes.h>

void outcomes_reset(struct ingest_outcomes *o)
{
    buf_reset(&o->entries);
    o->total = o->succeeded = o->failed = o->duplicates = o->listed = 0;
    o->cut = false;
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

void outcome_duplicate(struct ingest_outcomes *o)
{
    o->duplicates++;
    if (entry_open(o))
        buf_put_slice(&o->entries, SLICE_LIT(",\"duplicate\":true}"));
}

void outcome_refused(struct ingest_outcomes *o, struct slice message, int32_t code,
                     const char *rule)
{
    o->failed++;
    if (!entry_open(o))
        return;
    buf_put_slice(&o->entries, SLICE_LIT(",\"error\":"));
    buf_put_json_string(&o->entries, message);
    if (code != 0)
        buf_printf(&o->entries, ",\"exception_code\":%" PRId32, code);
    if (rule != NULL)
        buf_printf(&o->entries, ",\"rule\":\"%s\"", rule);
    buf_put_u8(&o->entries, '}');
}

void outcome_shown(struct ingest_outcomes *o, struct slice members)
{
    o->succeeded++;
    if (!entry_open(o))
        return;
    buf_put_slice(&o->entries, SLICE_LIT(",\"ok\":true"));
    o->cut = o->cut || o->entries.len + members.len > LIMIT_DRY_RUN_BYTES;
    if (!o->cut) {
        buf_put_u8(&o->entries, ',');
        buf_put_slice(&o->entries, members);
    }
    buf_put_u8(&o->entries, '}');
}

void outcomes_write(const struct ingest_outcomes *o, struct buf *out)
{
    buf_printf(out,
               "{\"total\":%" PRIu64 ",\"succeeded\":%" PRIu64 ",\"failed\":%" PRIu64
               ",\"duplicates\":%" PRIu64,
               o->total, o->succeeded, o->failed, o->duplicates);
    if (o->dry_run)
        buf_put_slice(out, SLICE_LIT(",\"dry_run\":true"));
    if (o->cut)
        buf_put_slice(out, SLICE_LIT(",\"truncated\":true"));
    buf_put_slice(out, SLICE_LIT(",\"results\":["));
    buf_put_slice(out, buf_slice(&o->entries));
    buf_put_slice(out, SLICE_LIT("]}"));
}
