/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/pace.h"

#include "base/magic.h"

#define NS_PER_S   1000000000u
#define SEEN_SHARE 0.1 /* of the newest second in the speed that is seen */

void flush_pace_restart(struct flush_pace *p)
{
    p->allowed = 1;
}

bool flush_pace_may(const struct flush_pace *p, uint32_t senders, uint64_t now_ns,
                    uint64_t *next_ns)
{
    uint32_t most = senders > 1 ? senders - 1 : 1;
    if (p->running >= most || p->running >= p->allowed)
        return false; /* the end of a job is when to ask again */
    if (p->rows_per_s == 0 || p->owed_until_ns <= now_ns)
        return true;
    if (p->owed_until_ns < *next_ns)
        *next_ns = p->owed_until_ns;
    return false;
}

void flush_pace_begin(struct flush_pace *p, uint64_t rows, uint64_t now_ns)
{
    p->running++;
    if (p->rows_per_s == 0)
        return;
    uint64_t from = p->owed_until_ns > now_ns ? p->owed_until_ns : now_ns;
    p->owed_until_ns = from + rows * NS_PER_S / p->rows_per_s; /* rows fit 32 bits */
}

void flush_pace_end(struct flush_pace *p, uint64_t rows_unsent, bool went_well)
{
    must(p->running > 0);
    p->running--;
    if (p->rows_per_s != 0) {
        uint64_t back = rows_unsent * NS_PER_S / p->rows_per_s;
        p->owed_until_ns -= back < p->owed_until_ns ? back : p->owed_until_ns;
    }
    if (went_well && p->allowed < UINT32_MAX)
        p->allowed++;
}

uint64_t flush_pace_progress(struct flush_pace *p, uint64_t rows_left, uint64_t now_ns)
{
    if (p->rows_at_ns != 0 && now_ns > p->rows_at_ns) {
        double dt = (double)(now_ns - p->rows_at_ns) / NS_PER_S;
        double speed = ((double)p->rows_before - (double)rows_left) / dt;
        p->rows_per_s_seen += SEEN_SHARE * (speed - p->rows_per_s_seen);
    }
    p->rows_at_ns = now_ns;
    p->rows_before = rows_left;
    if (rows_left == 0 || p->rows_per_s_seen < 1)
        return 0;
    return (uint64_t)((double)rows_left / p->rows_per_s_seen) + 1;
}
