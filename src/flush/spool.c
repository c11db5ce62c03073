/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/spool.h"

#define NS_PER_S   1e9
#define S_PER_HOUR 3600.0

void flush_spool_entry(struct flush_spool *s, uint64_t payload_bytes, uint64_t text_bytes)
{
    s->entry_bytes += payload_bytes;
    s->text_bytes += text_bytes;
}

/* Text of records as bytes of the log: as large as what was seen so far came out. */
static uint64_t in_log(const struct flush_spool *s, uint64_t text)
{
    if (s->text_bytes == 0)
        return text;
    return (uint64_t)((double)text * ((double)s->entry_bytes / (double)s->text_bytes));
}

static void average(struct flush_spool *s, double dt, double in, double growth)
{
    double share = dt / (FLUSH_SPOOL_MEAN_S + dt);
    s->in_sum += share * (in / dt - s->in_sum);
    s->growth_sum += share * (growth / dt - s->growth_sum);
    s->weight += share * (1 - s->weight); /* of the seconds before the first: unknown, not zero */
    s->in_per_s = s->in_sum / s->weight;
    s->growth_per_s = s->growth_sum / s->weight;
}

static bool judge(struct flush_spool *s, bool draining)
{
    enum flush_spool_level before = s->level;
    double relief = before == FLUSH_SPOOL_FINE ? 1 : 2;
    if (draining)
        s->level = FLUSH_SPOOL_FINE;
    else if (s->hours_left < FLUSH_SPOOL_SHORT_HOURS * (before == FLUSH_SPOOL_SHORT ? relief : 1))
        s->level = FLUSH_SPOOL_SHORT;
    else if (s->hours_left < FLUSH_SPOOL_LOW_HOURS * relief)
        s->level = FLUSH_SPOOL_LOW;
    else
        s->level = FLUSH_SPOOL_FINE;
    return s->level > before;
}

bool flush_spool_step(struct flush_spool *s, uint64_t now_ns, uint64_t pending_text,
                      uint64_t capacity, bool draining)
{
    uint64_t before = s->step_bytes;
    s->bytes = in_log(s, pending_text);
    s->capacity = capacity;
    if (s->step_ns != 0 && now_ns > s->step_ns)
        average(s, (double)(now_ns - s->step_ns) / NS_PER_S,
                (double)(s->entry_bytes - s->step_entry_bytes), (double)s->bytes - (double)before);
    s->step_ns = now_ns;
    s->step_entry_bytes = s->entry_bytes;
    s->step_bytes = s->bytes;
    double left = capacity > s->bytes ? (double)(capacity - s->bytes) : 0;
    double hours = FLUSH_SPOOL_HOURS_MAX;
    if (left <= 0)
        hours = 0;
    else if (s->in_per_s > 0)
        hours = left / s->in_per_s / S_PER_HOUR;
    s->hours_left = hours < FLUSH_SPOOL_HOURS_MAX ? hours : FLUSH_SPOOL_HOURS_MAX;
    return judge(s, draining);
}
